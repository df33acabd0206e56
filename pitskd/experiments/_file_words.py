"""A report on a file as a letter: the verdict first, then one table, what was used and dropped, and what to do next."""

from __future__ import annotations

import shlex
import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pitskd.experiments import _verdict as words
from pitskd.experiments.competitors import BASELINE, STUDENT
from pitskd.experiments.privileged_report import PrivilegedReport
from pitskd.experiments.references import BASE_RATE
from pitskd.forecasting.clock import step_in_words
from pitskd.forecasting.recipe import RIDGE

if TYPE_CHECKING:
    from pitskd.experiments.whole_file import WholeFile
    from pitskd.forecasting.own_file import Gathered, OwnFile
    from pitskd.windows import PrivilegedWindows

__all__: list[str] = []

FRONT_DOOR = "front-door"
_WIDTH = 98
_FEW, _RARE = 10, 0.1  # separate events, and share of the rarer class
_ORDER = ("student", "baseline", "control", "reference", "bound")


@dataclass(frozen=True, eq=False)
class FileReport:
    """What `file_report` found; printed as a short letter.

    Parameters
    ----------
    verdict : "helps", "no evidence" or "hurts"
    summary : str
        The verdict in words, with the number and the hardest opponent.
    table : DataFrame
        That of `PrivilegedReport`, with rmse beside mse; mae and rmse in the unit of the target.
    report : PrivilegedReport
        With cells, imitation path, learning curve and what was left out.
    facts : dict
        Of the file, in plain values: rows, first and last time, step, columns with units, what is privileged, windows
        used, looked at and possible, how many were dropped and why, share of events.
    remarks : list of str
        What has to be said beside: the references, the middle, the season.
    next_steps : list of str
        What to do now, with the command to type.
    stretch : DataFrame or None
        The last windows (of the last group), at most a quarter of all, as a student forecasts them that learnt from
        what lies before: origin; target (an event: 0 or 1); student (its forecast, or the probability of an event);
        persistence where there is one.
    whole : WholeFile or None
        What all windows say, where the report judges some of them: a linear student beside tuned ridge.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np, pandas as pd
    >>> from pathlib import Path
    >>> from pitskd import file_report
    >>> noise = pd.DataFrame(np.random.default_rng(0).normal(size=(160, 2)), columns=["a", "b [m]"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     noise.to_csv(Path(folder) / "noise.csv", index=False)
    ...     report = file_report(Path(folder) / "noise.csv", target="b [m]", window=1, horizon=3)
    >>> report.verdict, report.facts["unit"], report.facts["windows"]
    ('no evidence', 'm', 157)
    """

    verdict: str
    summary: str
    table: pd.DataFrame
    report: PrivilegedReport
    facts: dict[str, Any]
    remarks: list[str]
    next_steps: list[str]
    stretch: pd.DataFrame | None
    whole: WholeFile | None = None

    @classmethod
    def of(
        cls, report: PrivilegedReport, own: OwnFile, gathered: Gathered, windows: PrivilegedWindows, y: np.ndarray, *,
        set_aside: int, index: pd.Index, notes: list[str], stretch: pd.DataFrame | None,
        whole: WholeFile | None = None,
    ) -> FileReport:  # fmt: skip
        """Return the report with its facts and words."""
        table = report.table.copy()
        if "mse" in table:
            table.insert(list(table.columns).index("mae") + 1, "rmse", np.sqrt(table["mse"]))
        found = facts(own, gathered, windows, y, set_aside, index)
        every = "" if whole is None else f"All windows: {whole}"
        rare = _of_rare_events(report, found)
        told = [words.reference_remark(table), rare, f"Middle: {report.markov}", every, *notes]
        steps = next_steps(report.verdict, table, own, whole)
        summary = " ".join([report.summary, *cautions(found)])
        return cls(report.verdict, summary, table, report, found, [*filter(None, told)], steps, stretch, whole)

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the table."""
        return self.table.copy()

    def to_json(self) -> dict[str, Any]:
        """Return everything but the cells as plain values, None for what is missing."""
        curve, report = self.report.learning_curve, self.report
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "about": report.about,
            "metric": report.metric,
            "confidence": report.confidence,
            "facts": _plain(self.facts),
            "table": _records(self.table),
            "imitation_path": _records(report.imitation_path),
            "learning_curve": None if curve is None else _records(curve),
            "all_windows": None if self.whole is None else _plain(self.whole.to_json()),
            "remarks": list(self.remarks),
            "left_out": dict(report.left_out),
            "next_steps": list(self.next_steps),
        }

    def __str__(self) -> str:
        facts, head = self.facts, self.summary[:1].upper() + self.summary[1:]
        parts = [_wrapped(f"{_sentence(self.verdict, facts)}{_elsewhere(self.verdict, self.whole)}. {head}")]
        parts.append(_shown(self.table, self.report.metric, facts, self.report.confidence))
        if self.report.learning_curve is not None:
            parts.append(words.curve_shown(self.report.learning_curve, self.report.confidence).to_string(index=False))
        parts.append("\n".join(map(_wrapped, self.remarks)))
        left_out = [f"Left out: {what}: {why}." for what, why in self.report.left_out.items()]
        parts.append("\n".join(map(_wrapped, [*_told(facts), f"Compared: {self.report.about}", *left_out])))
        parts.append("Next:\n" + "\n".join(_indented(step) for step in self.next_steps))
        return "\n\n".join(parts)


def facts(
    own: OwnFile, gathered: Gathered, windows: PrivilegedWindows, y: np.ndarray, set_aside: int, index: pd.Index
) -> dict[str, Any]:
    """Return what is to be known of a file and its windows, in plain values."""
    options, parts, clock = own.options, own.parts, gathered.tally.clock
    even = clock.kind == "times" and clock.calendar is None  # months differ in days
    period = clock.period if even else None
    return {
        "path": str(own.path),
        "target": options.target,
        "unit": own.units.get(options.target),
        "window": options.window,
        "horizon": options.horizon,
        "ahead": None if period is None else step_in_words("times", period * options.horizon),
        "threshold": options.threshold,
        "share_of_events": None if options.threshold is None else float(y.mean()),
        "separate_events": None if options.threshold is None else _separate(y, windows.groups),
        "rows": gathered.n_rows,
        "first": None if parts.time is None else str(index.min()),
        "last": None if parts.time is None else str(index.max()),
        "step": gathered.step,
        "group": options.group,
        "n_groups": None if options.group is None else len(gathered.tally.runs),
        "columns": {name: own.units.get(name) for name in windows.feature_names},
        "privileged": _privilege(own, windows),
        "privileged_columns": {name: own.units.get(name) for name in options.privileged_columns},
        "privileged_steps": windows.privileged_steps.tolist(),
        "columns_left_out": dict(parts.left_out),
        "windows": windows.n_windows,
        "windows_looked_at": gathered.n_looked_at,
        "windows_possible": gathered.n_possible,
        "stride": gathered.stride,
        "dropped": {reason: count for reason, count in gathered.dropped.items() if count},
        "missing_privilege": {"set aside": set_aside, "taught by the target alone": gathered.n_untaught - set_aside},
    }


def _separate(y: np.ndarray, groups: np.ndarray | None) -> int:
    """Return how many runs of windows with an event there are in time, in each group."""
    labels = np.zeros(len(y)) if groups is None else groups
    return sum(int((np.diff(runs, prepend=0) > 0).sum()) for runs in (y[labels == one] for one in pd.unique(labels)))


def _privilege(own: OwnFile, windows: PrivilegedWindows) -> str:
    """Say what only the teacher sees."""
    ahead = windows.privileged_steps[windows.privileged_steps > 0]
    texts = []
    if len(own.options.privileged_columns):
        texts.append(", ".join(own.options.privileged_columns))
    if len(ahead):
        rows = f"{len(ahead)} row{'s' if len(ahead) > 1 else ''}"
        all_of_them = len(ahead) == own.options.horizon - 1
        texts.append(f"the {rows} between input and target" if all_of_them else f"{rows} between input and target")
    return " and ".join(texts)


def cautions(facts: dict[str, Any]) -> list[str]:
    """Return what keeps a verdict from standing alone."""
    told = []
    untaught = facts["missing_privilege"]["taught by the target alone"]
    if untaught:
        whole = facts["windows"] - untaught
        told.append(f"Caution: only {whole} of {facts['windows']} windows have a whole privileged part.")
    separate = facts["separate_events"]
    if separate is not None and separate < _FEW:
        are = "is 1 separate event" if separate == 1 else f"are {separate} separate events"
        told.append(f"Caution: there {are} in these windows, too few to tell.")
    return told


def _of_rare_events(report: PrivilegedReport, facts: dict[str, Any]) -> str:
    """Say what the log-loss says, where accuracy says little."""
    share = facts["share_of_events"]
    if share is None or min(share, 1.0 - share) >= _RARE:
        return ""
    loss = report.table.set_index("method").loc[STUDENT, "log_loss"]
    leads = {name: words.log_loss_lead(report.cells, name, report.confidence) for name in (BASELINE, BASE_RATE)}
    apart = ", ".join(f"of the {name} by {lead}" for name, lead in leads.items())
    return f"Rare events: accuracy says little. The student's log-loss is {loss:.3f}, below that {apart}."


def next_steps(verdict: str, table: pd.DataFrame, own: OwnFile, whole: WholeFile | None = None) -> list[str]:
    """Return what to do now."""
    better = words.unbeaten(table)
    simpler = [] if better is None else [_simpler(better)]
    unlimited = replace(own, options=replace(own.options, max_windows=None))  # ridge learns from all windows as well
    if whole is not None and _is_better_there(whole, table):
        r2 = table.set_index("role").loc["student", "r2"]
        more = (
            f"Learn from all windows: tuned ridge has R2 {whole.r2:.3f} there, the student {r2:.3f} here, on other "
            "held-out rows"
        )
        every = replace(own, options=replace(unlimited.options, stride=None))
        return [*simpler, f"{more}: {command(every, RIDGE)}"]
    if verdict == "helps":
        all_the_same = " all the same" if simpler else ""
        return [*simpler, f"Save the student{all_the_same}: {command(own, FRONT_DOOR)}"]
    if verdict == "hurts":
        return [*simpler, f"Leave the privileged part out: {command(unlimited, RIDGE)}"]
    where = (
        "Look where privilege pays: fewer training windows (see --learning-curve), a shorter --window, another "
        "--horizon, other --privileged-columns."
    )
    return [*simpler, *([] if simpler else [f"Fit without privilege: {command(unlimited, RIDGE)}"]), where]


def _is_better_there(whole: WholeFile, table: pd.DataFrame) -> bool:
    """Tell whether ridge on all windows is above the student on some, and the doubt about what privilege is worth."""
    rows = table.set_index("method")
    ends = rows.loc[BASELINE, ["lead_lower", "lead_upper", "lead_bootstrap_lower", "lead_bootstrap_upper"]]
    doubt = float(ends.max() - ends.min()) / 2.0
    return whole.verdict != "helps" and whole.r2 > rows.loc[STUDENT, "r2"] + doubt


def _simpler(reference: pd.Series) -> str:
    name = reference["method"]
    if name == BASE_RATE:
        known = "use its probabilities only where its log-loss is lower"
        return f"By accuracy the student is not better than the base rate: {known}, and record more events."
    if reference["lead"] <= 0:
        return f"Forecast with {name}: the student is not better."
    return f"The student is not better than {name} for certain: forecast with {name} unless more windows say otherwise."


def command(own: OwnFile, student: str) -> str:
    """Return the command that fits a student with the options of this report."""
    options = own.options
    middle = options.privileged
    shown = {
        "target": options.target, "window": options.window, "horizon": options.horizon,
        "privileged": {None: "none", "between": None}.get(middle, middle) if not isinstance(middle, list | tuple)
        else ",".join(map(str, middle)),
        "privileged-columns": ",".join(options.privileged_columns) or None,
        "columns": ",".join(options.columns) or None, "threshold": options.threshold, "time": options.time,
        "group": options.group, "max-gap": options.max_gap, "stride": options.stride,
        "max-windows": options.max_windows if options.stride is None else None,
    }  # fmt: skip
    typed = [part for option, value in shown.items() if value is not None for part in (f"--{option}", str(value))]
    typed += [part for name, unit in options.units.items() for part in ("--unit", f"{name}={unit}")]
    return shlex.join(["pitskd", "fit", str(own.path), *typed, "--student", student, "--model", "student.pitskd"])


# ---------------------------------------------------------------- texts


def _sentence(verdict: str, facts: dict[str, Any]) -> str:
    what = facts["privileged"]
    event = "" if facts["threshold"] is None else f" above {facts['threshold']:g}"
    aim = f"{facts['target']}{event}, {_ahead(facts)} ahead"
    if verdict == "helps":
        return f"HELPS: teaching with {what} helps to forecast {aim}"
    if verdict == "hurts":
        return f"HURTS: teaching with {what} hurts the forecast of {aim}"
    return f"NO EVIDENCE that teaching with {what} helps to forecast {aim}"


def _elsewhere(verdict: str, whole: WholeFile | None) -> str:
    """Say in half a sentence where all windows say otherwise than those of the verdict."""
    if whole is None or whole.verdict == verdict:
        return ""
    said = {"helps": "it helps a linear student", "hurts": "it hurts a linear student"}
    told = said.get(whole.verdict, f"there is no evidence that it {verdict}")
    return f"; where all windows teach, {told}"


def _ahead(facts: dict[str, Any]) -> str:
    rows = f"{facts['horizon']} row{'s' if facts['horizon'] > 1 else ''}"
    return rows if facts["ahead"] is None else f"{rows} ({facts['ahead']})"


def _shown(table: pd.DataFrame, metric: str, facts: dict[str, Any], confidence: float) -> str:
    """Return the one table: scores, errors in the unit of the target, and what the student has on each method."""
    rows = table[table["role"].isin(_ORDER)]
    rows = rows.iloc[np.argsort(rows["role"].map(_ORDER.index), kind="stable")]
    unit = f" [{facts['unit']}]" if facts["unit"] else ""
    named = {"r2": "R2", "mae": f"MAE{unit}", "rmse": f"RMSE{unit}", "accuracy": "accuracy", "log_loss": "log-loss"}
    width = int(rows["method"].str.len().max())
    shown: dict[str, Any] = {"method".ljust(width): rows["method"].str.ljust(width)}
    shown |= {title: rows[name].map(words.number) for name, title in named.items() if name in rows}
    title = f"student minus it ({words.NAMES[metric]}, {100 * confidence:g} %)"
    shown[title] = [words.span(row, "lead") if pd.notna(row["lead"]) else "" for _, row in rows.iterrows()]
    return "\n".join(line.rstrip() for line in pd.DataFrame(shown).to_string(index=False).splitlines())


def _told(facts: dict[str, Any]) -> list[str]:
    """Return lines on what was used and what was dropped."""
    period = f", {facts['first']} to {facts['last']}, one every {facts['step']}" if facts["first"] else ""
    groups = f", {facts['n_groups']} groups by {facts['group']}" if facts["group"] else ""
    lines = [f"File: {facts['path']}: {facts['rows']} rows{period}{groups}."]
    lines.append(f"Seen: {facts['window']} row{'s' if facts['window'] > 1 else ''} of {_columns(facts['columns'])}.")
    units = [f"{name} in {unit}" for name, unit in facts["privileged_columns"].items() if unit]
    lines.append(f"Teacher only: {facts['privileged']}" + (f" ({', '.join(units)})." if units else "."))
    if facts["share_of_events"] is not None:
        unit = f" {facts['unit']}" if facts["unit"] else ""
        lines.append(
            f"Events: {facts['target']} above {facts['threshold']:g}{unit} in "
            f"{100 * facts['share_of_events']:.1f} % of the windows, {_times(facts['separate_events'])}."
        )
    looked, possible = facts["windows_looked_at"], facts["windows_possible"]
    spaced = f", one every {facts['stride']} rows of {possible} possible" if facts["stride"] > 1 else ""
    lines.append(f"Windows: {facts['windows']} used of {looked} looked at{spaced}.")
    dropped = dict(facts["dropped"])
    if facts["missing_privilege"]["set aside"]:
        dropped["missing value in the privileged part"] = facts["missing_privilege"]["set aside"]
    lines.append("Dropped: " + ("; ".join(f"{count} for a {why}" for why, count in dropped.items()) or "none") + ".")
    if facts["missing_privilege"]["taught by the target alone"]:
        count = facts["missing_privilege"]["taught by the target alone"]
        lines.append(f"Without a whole privileged part: {count} of the windows, taught by their target alone.")
    if facts["columns_left_out"]:
        why = "; ".join(f"{name} {reason}" for name, reason in facts["columns_left_out"].items())
        lines.append(f"Columns left out: {why}.")
    lines.append(
        "Nothing was imputed. Held out are blocks of time; a window that shares a moment with them, in any group, "
        "taught nobody."
    )
    return lines


def _times(number: int) -> str:
    return f"{number} separate event{'s' if number != 1 else ''}"


def _columns(units: dict[str, str | None]) -> str:
    return ", ".join(name if not unit or unit in name else f"{name} [{unit}]" for name, unit in units.items())


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _indented(text: str) -> str:
    """Return a step; a command stays on a line of its own, to be copied."""
    said, mark, line = text.partition(": pitskd ")
    wrapped = textwrap.fill(said + (":" if mark else ""), _WIDTH, initial_indent="  ", subsequent_indent="  ",
                            break_on_hyphens=False)  # fmt: skip
    return f"{wrapped}\n    pitskd {line}" if mark else wrapped


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [_plain(row) for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    """Return what JSON can hold, None for NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
