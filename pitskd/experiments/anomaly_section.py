"""Tables, figures and the section of protocol A from the cells of its tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pitskd._random import stage_generator
from pitskd.experiments.anomalies import (
    ALWAYS,
    DRIFT,
    HARD_FAULTS,
    HORIZONS,
    MEMORIES,
    MODES,
    NEURAL,
    NORMAL,
    OURS,
    SIGNALS,
    SKAB_RANKING,
    SKAB_THRESHOLD,
    TEP_RANKING,
    TEP_THRESHOLD,
)
from pitskd.experiments.compare import Interval, paired_interval
from pitskd.experiments.detectors import river_is_there, short_references
from pitskd.experiments.privileged_anomalies import (
    CLEAN,
    CONTAMINATED,
    CURATED,
    CURATED_BLINDLY,
    FOREST,
    FOREST_OF_MEANS,
    KNOWN,
    KPI,
    NO_PRIVILEGE,
    NOT_CURATED,
    OWN_LIMITS,
    TARGET,
    TRIMMED,
    TRIMMED_BLINDLY,
)

__all__: list[str] = []

ONE, SEVERAL = HORIZONS
_N_BOOTSTRAP = 2000
_LEAST_RATE, _LARGEST_RATE = 0.002, 0.02
_CURATION_TOLERANCE = 0.01


class Counts:
    """The cells of a run, by task.

    Parameters
    ----------
    results : DataFrame
        As from `run_tasks`.
    """

    def __init__(self, results: pd.DataFrame) -> None:
        self.by_task = dict(iter(results.groupby("task", sort=False)))

    def has(self, task: str) -> bool:
        """Tell whether something of this task was counted."""
        return task in self.by_task

    def values(self, task: str, metric: str) -> pd.DataFrame:
        """Return the value of each method (columns) on each file, fault or log (rows)."""
        cells = self._cells(task, metric)
        values = cells.assign(value=cells["sum"] / cells["n_test"])
        return values.pivot_table(index="block", columns="method", values="value", sort=False)

    def sums(self, task: str, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return sums and counts of each method (columns) on each block (rows)."""
        cells = self._cells(task, metric)
        sums, counts = (
            cells.pivot_table(index="block", columns="method", values=column, sort=False)
            for column in ("sum", "n_test")
        )
        return sums, counts

    def pooled(self, task: str, metric: str) -> pd.Series:
        """Return the value of each method over all blocks together."""
        sums, counts = self.sums(task, metric)
        return sums.sum() / counts.sum()

    def _cells(self, task: str, metric: str) -> pd.DataFrame:
        cells = self.by_task[task]
        return cells[cells["metric"] == metric]


def f1_of(detected: Any, alarmed: Any, n_anomalous: Any) -> Any:
    """Return F1 of rows: ``2 TP / (2 TP + FP + FN)`` with TP detected, FP alarmed, and FN = n_anomalous - TP."""
    return 2.0 * detected / (detected + alarmed + n_anomalous)


def difference(values: pd.DataFrame, ours: str, other: str) -> Interval:
    """Return ours minus the other with its interval over rows."""
    both = values[[ours, other]].dropna()
    return paired_interval((both[ours] - both[other]).to_numpy())


def f1_difference(counts: Counts, task: str, other: str) -> Interval:
    """Return the difference of pooled F1, ours minus the other, with the bootstrap interval over files."""
    (found, n_anomalous), (false, _) = (counts.sums(task, metric) for metric in ("detected", "alarmed"))
    n = len(found)
    drawn = stage_generator(0, "files of F1").multinomial(n, np.full(n, 1 / n), size=_N_BOOTSTRAP)
    both = []
    for weights in (np.ones((1, n)), drawn):
        ours, theirs = (
            f1_of(*(weights @ table[method].to_numpy() for table in (found, false, n_anomalous)))
            for method in (OURS, other)
        )
        both.append(ours - theirs)
    lower, upper = np.quantile(both[1], [0.025, 0.975])
    return Interval(float(both[0][0]), float(lower), float(upper), n)


# ---------------------------------------------------------------- what was asked for


def bars(counts: Counts) -> pd.DataFrame:
    """Return one row per bar: the best other method, ours, the difference with its interval, and whether it is met."""
    rows = [*_skab_bars(counts), *_tep_bars(counts), *_normal_bars(counts), *_privileged_bars(counts)]
    columns = ["task", "tuned baseline", "student", "difference", "lower", "upper", "n_splits", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _bar(
    task: str, against: str | None, theirs: float, ours: float, found: Interval, verdict: str | None = None
) -> list[Any]:
    if verdict is None:
        verdict = "above" if found.lower > 0 else "below" if found.upper < 0 else None
        verdict = verdict or f"{'higher' if found.mean > 0 else 'lower'}, no evidence"
    return [task, theirs, ours, *found, f"{verdict}: {_short(against)}" if against else verdict]


def _compared(task: str, values: pd.DataFrame, other: str, ours: str, verdict: str | None = None) -> list[Any]:
    theirs, own = (float(values[method].mean()) for method in (other, ours))
    return _bar(task, other, theirs, own, difference(values, ours, other), verdict)


def _skab_bars(counts: Counts) -> Iterator[list[Any]]:
    if not counts.has(SKAB_RANKING):
        return
    for metric in ("ROC", "VUS-PR"):
        values = counts.values(SKAB_RANKING, metric)
        best = values.drop(columns=[OURS, NEURAL], errors="ignore").mean().idxmax()
        yield _compared(f"SKAB, {metric}", values, str(best), OURS)
    for mode in MODES:
        task = f"{SKAB_THRESHOLD}, {mode}"
        table = alarm_table(counts, task).drop(index=ALWAYS)
        best = table.drop(index=[OURS, NEURAL], errors="ignore")["F1"].idxmax()
        found, ours, theirs = f1_difference(counts, task, str(best)), table.loc[OURS], table.loc[best]
        met = ours["F1"] > theirs["F1"] and ours["FAR"] <= theirs["FAR"]
        verdict = f"FAR {ours['FAR']:.3f} against {theirs['FAR']:.3f}: {'met' if met else 'not met'}"
        yield _bar(f"SKAB, F1, {mode}", str(best), theirs["F1"], ours["F1"], found, verdict)


def _tep_bars(counts: Counts) -> Iterator[list[Any]]:
    task = f"{TEP_RANKING}, 11 signals"
    if not counts.has(task):
        return
    for length in (1, 10):
        values = easy_faults(counts.values(task, f"ROC, mean over {length}"))
        for memory in MEMORIES:
            ours = f"{OURS}, {SEVERAL}, {memory}"
            for other in (f"{OURS}, {ONE}, {memory}", *_classics(values)):
                name = f"TEP, 11 signals, ROC, mean over {length}, {memory}"
                yield _compared(name, values, other, ours)


def _classics(values: pd.DataFrame) -> list[str]:
    """Return PCA with either statistic, the better of each, and the isolation forest."""
    best = [values.filter(regex=rf"^PCA {kind}").mean().idxmax() for kind in ("T2", "Q")]
    return [*map(str, best), "IsolationForest"]


def easy_faults(values: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of faults that show."""
    return values.drop(index=[fault for fault in values.index if int(fault) in HARD_FAULTS])


def _normal_bars(counts: Counts) -> Iterator[list[Any]]:
    if not counts.has(NORMAL):
        return
    rates = counts.values(NORMAL, "rate")
    for memory in MEMORIES:
        for length in (1, 10):
            for mode in MODES:
                found = rates[f"{OURS}, {memory}, mean over {length}, {mode}"]
                n_met = int(found.between(_LEAST_RATE, _LARGEST_RATE).sum())
                spread = Interval(float(found.mean()), float(found.min()), float(found.max()), len(found))
                verdict = f"{n_met} of {len(found)} logs between .2 % and 2 %"
                name = f"asked 1 % on normal runs, {memory}, mean over {length}, {mode}"
                yield _bar(name, None, 0.01, spread.mean, spread, verdict)


def _privileged_bars(counts: Counts) -> Iterator[list[Any]]:
    for task in (task for task in counts.by_task if task.startswith(CONTAMINATED)):
        values = counts.values(task, "alarmed")
        found = difference(values, CURATED, CLEAN)
        verdict = "met" if max(abs(found.lower), abs(found.upper)) <= _CURATION_TOLERANCE else None
        near = abs(found.mean) <= _CURATION_TOLERANCE
        verdict = verdict or ("mean within 1 point, interval not" if near else "farther than 1 point")
        yield _compared(f"{task}, FAR", values, CLEAN, CURATED, verdict)
    for task in (task for task in counts.by_task if task.startswith(KPI)):
        values = by_fault(counts.values(task, "ROC"))
        for other in (NO_PRIVILEGE, OWN_LIMITS, FOREST, FOREST_OF_MEANS):
            yield _compared(f"{task}, ROC", values, other, TARGET)


def by_fault(values: pd.DataFrame) -> pd.DataFrame:
    """Return means over draws: a fault seen in several draws is one witness."""
    return values.groupby([str(block).partition(" ")[0] for block in values.index], sort=False).mean()


# ---------------------------------------------------------------- tables


def alarm_table(counts: Counts, task: str) -> pd.DataFrame:
    """Return F1, FAR and events of each method over all files together."""
    found, n_anomalous = counts.sums(task, "detected")
    false, _ = counts.sums(task, "alarmed")
    return pd.DataFrame(
        {
            "F1": f1_of(found.sum(), false.sum(), n_anomalous.sum()),
            "FAR": counts.pooled(task, "alarmed"),
            "rows detected": counts.pooled(task, "detected"),
            "event recall": counts.pooled(task, "events found"),
            "delay": counts.pooled(task, "delay"),
            "per day": counts.pooled(task, "false events per day"),
        }
    ).sort_values("F1", ascending=False)


def _ranking_lines(counts: Counts) -> list[str]:
    tables = {metric: counts.values(SKAB_RANKING, metric) for metric in ("ROC", "VUS-ROC", "VUS-PR")}
    order = tables["VUS-PR"].mean().sort_values(ascending=False).index
    rows = []
    for method in order:
        cells = [_bold(method), *(f"{table[method].mean():.3f}" for table in tables.values())]
        for metric in ("ROC", "VUS-PR"):
            table = tables[metric]
            n_above = int((table[OURS] > table[method]).sum())
            same = method == OURS
            cells.append("-" if same else f"{_interval(difference(table, OURS, method))}, {n_above}/{len(table)}")
        rows.append(cells)
    heads = ["detector", *tables, "ours minus it, ROC; files above", "ours minus it, VUS-PR; files above"]
    return markdown(heads, rows)


def _alarm_lines(counts: Counts, mode: str) -> list[str]:
    task = f"{SKAB_THRESHOLD}, {mode}"
    rows = []
    for method, row in alarm_table(counts, task).iterrows():
        same = method == OURS
        cells = [_bold(str(method)), *(f"{row[name]:.3f}" for name in ("F1", "FAR", "event recall"))]
        cells += [f"{row['delay']:.0f}", f"{row['per day']:.0f}"]
        rows.append([*cells, "-" if same else _interval(f1_difference(counts, task, str(method)))])
    heads = ["detector", "F1", "FAR", "event recall", "mean delay (s)", "false alarms per day", "ours minus it, F1"]
    return markdown(heads, rows)


def _tep_lines(counts: Counts) -> list[str]:
    present = [n for n in SIGNALS if counts.has(f"{TEP_RANKING}, {n} signals")]
    tables = {
        (n, length): easy_faults(counts.values(f"{TEP_RANKING}, {n} signals", f"ROC, mean over {length}"))
        for n in present
        for length in (1, 10)
    }
    methods = next(iter(tables.values())).columns
    rows = [[_short(method), *(f"{table[method].mean():.4f}" for table in tables.values())] for method in methods]
    heads = ["detector", *(f"{n} signals, mean over {length}" for n, length in tables)]
    lines = [*markdown(heads, rows), ""]
    pairs = []
    for memory in MEMORIES:
        ours = f"{OURS}, {SEVERAL}, {memory}"
        for other in (f"{OURS}, {ONE}, {memory}", *methods[~methods.str.startswith(OURS)]):
            cells = (_interval(difference(table, ours, other), 4) for table in tables.values())
            pairs.append([f"{SEVERAL}, {memory}, minus {_short(other)}", *cells])
    return [*lines, *markdown(["difference", *heads[1:]], pairs)]


def _fault_lines(counts: Counts, n_signals: int, length: int) -> list[str]:
    task = f"{TEP_THRESHOLD}, mean over {length}, {n_signals} signals"
    detected, false = counts.values(task, "detected"), counts.pooled(task, "alarmed")
    memory = next(iter(MEMORIES))
    methods = [f"{OURS}, {horizons}, {memory}" for horizons in HORIZONS]
    methods += [method for method in detected.columns if not method.startswith(OURS)]
    rows = [[f"fault {fault}", *(f"{row[method]:.3f}" for method in methods)] for fault, row in detected.iterrows()]
    easy = easy_faults(detected)
    rows.append(["mean without 3, 9, 15", *(f"{easy[method].mean():.3f}" for method in methods)])
    rows.append(["FAR, all runs before the fault", *(f"{false[method]:.3f}" for method in methods)])
    return markdown(["detected rows (FDR)", *map(_short, methods)], rows)


def _normal_lines(counts: Counts) -> list[str]:
    rate, lower, upper = (counts.values(NORMAL, metric) for metric in ("rate", "lower", "upper"))
    rows = []
    for method in rate.columns:
        cells = [
            f"{rate[method][run]:.2%} [{lower[method][run]:.2%}, {upper[method][run]:.2%}]".replace("%", "")
            for run in rate.index
        ]
        rows.append([_short(method), *cells])
    return markdown(["detector", *map(str, rate.index)], rows)


def _contaminated_lines(counts: Counts) -> list[str]:
    rows = []
    for task in (task for task in counts.by_task if task.startswith(CONTAMINATED)):
        false, found, roc = (counts.values(task, metric) for metric in ("alarmed", "detected", "ROC"))
        for way in (CLEAN, KNOWN, CURATED, TRIMMED, CURATED_BLINDLY, TRIMMED_BLINDLY, NOT_CURATED):
            against = "-" if way == CLEAN else _interval(difference(100 * false, way, CLEAN), 2)
            values = [f"{false[way].mean():.2%}", against, f"{found[way].mean():.1%}", f"{roc[way].mean():.4f}"]
            rows.append([task.removeprefix(f"{CONTAMINATED}, "), way, *values, str(len(false))])
    heads = ["log", "rows to learn from", "FAR", "FAR minus clean log's, points", "rows detected", "ROC", "logs"]
    return markdown(heads, rows)


def _kpi_lines(counts: Counts) -> list[str]:
    rows = []
    for task in (task for task in counts.by_task if task.startswith(KPI)):
        values = by_fault(counts.values(task, "ROC"))
        for method in values.mean().sort_values(ascending=False).index:
            against = "-" if method == TARGET else _interval(difference(values, TARGET, method))
            name = f"**{method}**" if method == TARGET else method
            rows.append(
                [task.removeprefix(f"{KPI}, "), name, f"{values[method].mean():.3f}", against, str(len(values))]
            )
    return markdown(["off-spec", "method", "ROC", "student of the target minus it", "faults"], rows)


def _bar_lines(table: pd.DataFrame) -> list[str]:
    rows = []
    for row in table.to_dict("records"):
        interval = f"{row['difference']:+.4f} [{row['lower']:+.4f}, {row['upper']:+.4f}]"
        if row["task"].startswith(NORMAL):
            interval = f"least {row['lower']:.2%}, largest {row['upper']:.2%}"
        values = [f"{row['tuned baseline']:.4f}", f"{row['student']:.4f}"]
        rows.append([row["task"], *values, interval, row["verdict"]])
    return markdown(["what", "best other", "ours", "difference", "finding"], rows)


def section(part: Any, table: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Return the Markdown lines of the whole section of a `Part` with its bars."""
    counts = Counts(part.results)
    lines = [part.origin, "", _HEAD, "", *([] if river_is_there() else [_NO_RIVER, ""]), "### What was asked for", ""]
    lines += [*_bar_lines(table), ""]
    if counts.has(SKAB_RANKING):
        n_files = len(counts.values(SKAB_RANKING, "ROC"))
        quick = len(counts.values(SKAB_RANKING, "ROC").columns) <= len(short_references()) + 1
        lines += [f"### SKAB, {n_files} files: ranking, mean over 30 rows", "", *([_QUICK, ""] if quick else [])]
        lines += [*_ranking_lines(counts), ""]
        for mode in MODES:
            lines += [f"### SKAB, {n_files} files: asked 1 %, mean over 10 rows, {mode}", ""]
            lines += [*_alarm_lines(counts, mode), ""]
    if any(task.startswith(TEP_RANKING) for task in counts.by_task):
        lines += ["### TEP: mean ROC over faults, learnt from 500 normal rows", "", *_tep_lines(counts), ""]
        for n_signals in (11, 52):
            title = f"### TEP, {n_signals} signals: rows detected at asked 1 %, mean over 10 rows, memory .3"
            lines += [title, "", *_fault_lines(counts, n_signals, 10), ""]
    if counts.has(NORMAL):
        lines += ["### Asked 1 % on normal runs: achieved, in %", "", _INTERVALS, "", *_normal_lines(counts), ""]
    if any(task.startswith(CONTAMINATED) for task in counts.by_task):
        lines += ["### TEP, contaminated log", "", _LOGS, "", *_contaminated_lines(counts), ""]
    if any(task.startswith(KPI) for task in counts.by_task):
        lines += ["### TEP, off-spec alarms under faults never seen", "", _TARGETS, "", *_kpi_lines(counts), ""]
    return lines


_HEAD = (
    "Protocol A. Every detector has the same smoothing and the same calibration: peaks over threshold on the scores of "
    "ten held-out blocks of its own normal log, for 1 % of normal rows. Labels enter the counting only; no point "
    "adjustment. Intervals are 95 % t intervals of paired differences over files or faults; those of pooled F1 are "
    "bootstrapped over files. Settings of ours and of the references were chosen on these very files, so figures of "
    "both are optimistic. Here ours stands where other parts of this report have the student, and the best reference "
    "where they have the tuned baseline. Layers, epochs and rates of autoencoders were chosen by the error on normal "
    "rows alone. *GRU in the same head* is ours with a network as its student: no reference, and no bar."
)
_NO_RIVER = "Half-space trees are left out: river is not installed."
_QUICK = (
    "The short list of references, with 100 trees instead of 200; `pitskd reproduce anomalies` runs all of them, and "
    "more contaminated logs and draws of faults."
)
_INTERVALS = "In brackets the moving-block bootstrap over the run's time, blocks of 200 (SKAB) and 50 rows (TEP)."
_LOGS = (
    "The normal run with stretches of four faults in it. False alarms on normal rows of all test runs, rows detected "
    "in all faulty ones, ROC without faults 3, 9 and 15. The share of faulty rows is given unless unknown; where they "
    "are *known* they are left out."
)
_TARGETS = (
    "Limits stand 3 standard deviations around the mean of the normal run for the product (XMEAS 37-41), 4 for any "
    "analyser (XMEAS 23-41). The log has the normal run and three faulty ones; test faults are others. ROC of off-spec "
    "rows; a fault of several draws counts once. *Own limits* gives the same student limits on the sensors it keeps."
)


def _bold(method: str) -> str:
    return f"**{method}**" if method == OURS else method


def _short(method: str) -> str:
    return method.replace(f"{OURS}, ", "ours, ")


def _interval(found: Interval, digits: int = 3) -> str:
    mean, lower, upper = (f"{value:+.{digits}f}" for value in found[:3])
    return f"{mean} [{lower}, {upper}]"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table, line by line."""
    return ["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows)]


# ---------------------------------------------------------------- figures


def draw(stem: str, part: Any, table: pd.DataFrame, compared: pd.DataFrame, out: Path) -> Iterator[str]:
    """Draw SKAB's detectors and TEP's faults of a `Part`; yield the names of the files."""
    from matplotlib.figure import Figure

    counts = Counts(part.results)
    if counts.has(SKAB_RANKING):
        figure = Figure(figsize=(13.0, 5.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_differences(left, counts.values(SKAB_RANKING, "VUS-PR"))
        _draw_operating_points(right, alarm_table(counts, f"{SKAB_THRESHOLD}, {DRIFT}"))
        yield _save(figure, out / f"{stem}-skab.png")
    task = f"{TEP_RANKING}, 11 signals"
    if counts.has(task):
        figure = Figure(figsize=(9.0, 4.0), layout="constrained")
        _draw_faults(figure.subplots(), counts.values(task, "ROC, mean over 1"))
        yield _save(figure, out / f"{stem}-tep.png")


def _draw_differences(ax: Any, values: pd.DataFrame) -> None:
    others = values.drop(columns=OURS).mean().sort_values().index
    found = [difference(values, OURS, other) for other in others]
    means, lower, upper = (np.array([interval[k] for interval in found]) for k in range(3))
    ax.errorbar(means, range(len(others)), xerr=[means - lower, upper - means], fmt="o", color="black", capsize=3)
    ax.axvline(0.0, color="grey", linewidth=0.8)
    ax.set_yticks(range(len(others)), [f"{other}  {values[other].mean():.3f}" for other in others])
    ax.set_xlabel(f"VUS-PR of ours ({values[OURS].mean():.3f}) minus the reference's, 95 % over files")
    ax.set_title("SKAB, ranking", fontsize="medium")


def _draw_operating_points(ax: Any, table: pd.DataFrame) -> None:
    table = table.iloc[::-1]
    places = np.arange(len(table))
    ax.hlines(places, table["FAR"], table["F1"], color="lightgrey", zorder=0)
    ax.scatter(table["F1"], places, color=["crimson" if method == OURS else "black" for method in table.index])
    ax.scatter(table["FAR"], places, facecolors="white", edgecolors="black")
    ax.set_yticks(places, ["ours" if method == OURS else method for method in table.index])
    ax.set_xlabel("F1 (filled), false-alarm rate (open)")
    ax.set_title(f"SKAB, thresholds, {DRIFT}", fontsize="medium")


def _draw_faults(ax: Any, values: pd.DataFrame) -> None:
    memory = next(iter(MEMORIES))
    shown = {f"{OURS}, {horizons}, {memory}": f"ours, {horizons}" for horizons in (SEVERAL, ONE)}
    shown |= {method: method for method in _classics(values)}
    for number, (method, label) in enumerate(shown.items()):
        style = {"marker": "*" if number == 0 else "o", "s": 90 if number == 0 else 24}
        ax.scatter(np.arange(len(values)) + 0.12 * (number - 2), values[method], label=label, **style)
    ax.set_xticks(range(len(values)), [f"{fault}" for fault in values.index])
    ax.set_xlabel("fault")
    ax.set_ylabel("ROC, without smoothing")
    ax.set_title("TEP, 11 manipulated signals, learnt from 500 normal rows", fontsize="medium")
    ax.legend(fontsize="small", loc="lower right")


def _save(figure: Any, file: Path) -> str:
    figure.savefig(file, dpi=120)
    return file.name
