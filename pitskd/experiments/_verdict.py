"""From the cells of all splits to a table, a verdict and its words, through the paired statistics of the package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from pitskd.experiments._controls import INDICATORS, STANDARDISED
from pitskd.experiments.compare import compare_methods, is_gain
from pitskd.experiments.competitors import BASELINE, NO_MIDDLE, PERMUTED, SAME_LOSS, STUDENT, TEACHER

__all__: list[str] = []

TASK = "rows"
OPPONENTS = (BASELINE, STANDARDISED, INDICATORS, SAME_LOSS, NO_MIDDLE, PERMUTED)
CONTROLS = (SAME_LOSS, NO_MIDDLE, PERMUTED)
NAMES = {"r2": "R2", "mse": "MSE", "mae": "MAE", "accuracy": "accuracy", "log_loss": "log-loss"}
_INTERVALS = ("lower", "upper", "bootstrap_lower", "bootstrap_upper")
_VERDICTS = {"gain": "helps", "loss": "hurts", "no evidence": "no evidence"}


def scored(cells: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return cells with the columns task and sum that `compare_methods` asks for."""
    sums = -cells["log_loss"] if metric == "log_loss" else cells[metric]
    return cells.assign(task=TASK, sum=sums)


def tabulate(
    cells: pd.DataFrame, *, confidence: float, random_state: int, references: Sequence[str] = ()
) -> pd.DataFrame:
    """Return one row per method: scores, the difference to the tuned baseline, and the student's lead over it."""
    options: Any = {"confidence": confidence, "random_state": random_state}
    table = compare_methods(cells, baseline=BASELINE, metric="score", **options)
    table.insert(1, "role", ["reference" if name in references else _role(name) for name in table["method"]])
    for name in [name for name in NAMES if name in cells]:
        table[name] = [float(_by_split(cells, method, name).mean()) for method in table["method"]]
    present = [method for method in OPPONENTS if (table["method"] == method).any()]
    leads = {opponent: _lead(cells, opponent, options) for opponent in present}
    raw = np.array([lead["p_value"] for lead in leads.values()])
    adjusted = raw if np.isnan(raw).any() else multipletests(raw, method="holm")[1]
    for lead, p in zip(leads.values(), adjusted, strict=True):
        lead["p_holm"] = p
    leads |= {name: _lead(cells, name, options) | {"p_holm": np.nan} for name in references}  # no part of the verdict
    led = pd.DataFrame.from_dict(leads, orient="index")
    table = table.drop(columns="task").join(led, on="method")
    first = ["method", "role", "n_splits", "n_blocks", "score", *(name for name in NAMES if name in cells)]
    return table[first + [name for name in table if name not in first]]


def _role(method: str) -> str:
    known = {STUDENT: "student", TEACHER: "bound"} | dict.fromkeys(CONTROLS, "control")
    return known.get(method, "baseline" if method in OPPONENTS else "candidate")


def _by_split(cells: pd.DataFrame, method: str, column: str) -> pd.Series:
    """Return means per held-out row of each split."""
    sums = cells[cells["method"] == method].groupby("seed")[[column, "n_test"]].sum(min_count=1)
    return sums[column] / sums["n_test"]


def _lead(cells: pd.DataFrame, opponent: str, options: dict[str, Any]) -> dict[str, float]:
    """Return the difference student minus opponent, its intervals, and the p-value of the paired t test."""
    both = cells[cells["method"].isin([STUDENT, opponent])]
    row = compare_methods(both, baseline=opponent, metric="score", **options).set_index("method").loc[STUDENT]
    lead = {"lead": row["difference"], **{f"lead_{name}": row[name] for name in _INTERVALS}}
    differences = _by_split(cells, STUDENT, "sum") - _by_split(cells, opponent, "sum")
    return lead | {"p_value": _p_value(differences.to_numpy())}


def _p_value(differences: np.ndarray) -> float:
    if len(differences) < 2:
        return np.nan
    if np.ptp(differences) == 0:  # no spread, as `paired_interval` takes it
        return float(differences[0] == 0)
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def judge(
    cells: pd.DataFrame, table: pd.DataFrame, metric: str, *, confidence: float, random_state: int
) -> tuple[str, str]:
    """Return the verdict and the sentence that gives its number and the hardest opponent."""
    present = [method for method in OPPONENTS if (table["method"] == method).any()]
    decided = is_gain(
        cells, student=STUDENT, baseline=BASELINE, controls=present[1:], confidence=confidence,
        random_state=random_state,
    ).iloc[0]  # fmt: skip
    rows = table.set_index("method")
    verdict = _VERDICTS[str(decided["verdict"])]
    if verdict == "helps" and not (rows.loc[present, "p_holm"] < 1.0 - confidence).all():
        verdict = "no evidence"
    hardest = str(decided["hardest"])
    bar, student = rows.loc[BASELINE], rows.loc[STUDENT]
    sentence = (
        f"held-out {NAMES[metric]} of the student is {_score(student, metric)}, {span(bar, 'lead')} against the tuned "
        f"baseline ({_score(bar, metric)})"
    )
    if hardest == BASELINE:
        return verdict, f"{sentence}, the hardest opponent." + _caution(verdict, bar, hardest)
    return verdict, (
        f"{sentence}; the hardest opponent is the {hardest} ({_score(rows.loc[hardest], metric)}), student minus it "
        f"{span(rows.loc[hardest], 'lead')}." + _caution(verdict, bar, hardest)
    )


def _caution(verdict: str, bar: pd.Series, hardest: str) -> str:
    """Say what a verdict does not say."""
    if verdict == "hurts":
        return " Use the tuned baseline."
    if np.isnan(bar["lead_lower"]):
        return " One split gives no interval: pass more."
    if verdict == "no evidence" and min(bar["lead_lower"], np.nan_to_num(bar["lead_bootstrap_lower"], nan=1.0)) > 0:
        return (
            f" It beats the baseline, but not the {hardest} beyond doubt: that need not be the privileged rows' merit."
        )
    return ""


def reference_remark(table: pd.DataFrame) -> str:
    """Say whether the student is above every reference: the best it does not beat, else the hardest; empty if none."""
    rows = table[table["role"] == "reference"]
    if rows.empty:
        return ""
    best = unbeaten(table)
    hardest = rows.loc[_low(rows).fillna(-np.inf).idxmin()] if best is None else best
    lead = f"{hardest['method']} (student minus it {span(hardest, 'lead')})"
    if np.isnan(hardest["lead_lower"]):
        return f"References: one split gives no interval; the best is {lead}."
    if best is None:
        return f"References: all are beaten; the hardest is {lead}."
    if max(hardest["lead_upper"], np.nan_to_num(hardest["lead_bootstrap_upper"], nan=-np.inf)) < 0:
        return f"References: {lead} is better: the student is not worth deploying."
    return f"References: {lead} is not beaten beyond doubt: on these rows the student is not worth deploying."


def unbeaten(table: pd.DataFrame) -> pd.Series | None:
    """Return the best of the references that are not beaten beyond doubt."""
    rows = table[table["role"] == "reference"]
    rows = rows[~(_low(rows) > 0)]
    return None if rows.empty else rows.loc[rows["score"].idxmax()]


def _low(rows: pd.DataFrame) -> pd.Series:
    """Return the lower end of the student's lead that both intervals reach; NaN for one split."""
    return np.fmin(rows["lead_lower"], rows["lead_bootstrap_lower"])


def log_loss_lead(cells: pd.DataFrame, opponent: str, confidence: float) -> str:
    """Return by how much the student's log-loss is below an opponent's, as text."""
    lead = _lead(scored(cells, "log_loss"), opponent, {"confidence": confidence, "random_state": 0})
    return span(pd.Series(lead), "lead")


def _score(row: pd.Series, metric: str) -> str:
    return number(row[metric])


def learning_curve(cells: pd.DataFrame, metric: str, *, confidence: float, random_state: int) -> pd.DataFrame:
    """Return student, baseline and their difference for every size, over the splits that could be cut so far down."""
    options: Any = {"confidence": confidence, "random_state": random_state}
    rows = []
    for size, part in cells.groupby("size", sort=False):
        row = compare_methods(part, baseline=BASELINE, metric="score", **options).set_index("method").loc[STUDENT]
        means = {name: float(_by_split(part, method, metric).mean()) for name, method in _CURVES.items()}
        n_train = part.groupby("seed")["n_train"].first().mean()
        kept = {name: row[name] for name in ("difference", *_INTERVALS, "n_splits")}
        rows.append({"size": size, "n_train": n_train, **means, **kept})
    return pd.DataFrame(rows, columns=["size", "n_train", *_CURVES, "difference", *_INTERVALS, "n_splits"])


_CURVES = {"baseline": BASELINE, "student": STUDENT}


def number(value: float) -> str:
    """Return four significant digits at least three decimals deep, or nothing."""
    return "" if np.isnan(value) else f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def signed(value: float, decimals: int = 3) -> str:
    """Return a difference with its sign."""
    return "" if np.isnan(value) else f"{value:+.{decimals}f}"


def interval(low: float, high: float, decimals: int) -> str:
    """Return both ends of an interval; nothing where there is none."""
    return "" if np.isnan(low) else f" [{low:+.{decimals}f}, {high:+.{decimals}f}]"


def decimals_for(low: float, high: float) -> int:
    """Return three decimals, or so many that an end near 0 is seen on its side with two digits."""
    ends = np.abs([low, high])
    near = float(ends.min() if low * high > 0 else ends.max())
    if not 0.0 < near < 0.005:
        return 3
    return min(12, 1 - int(np.floor(np.log10(near))))


def span(row: pd.Series, prefix: str) -> str:
    """Return a lead and the ends that both intervals reach."""
    low = np.fmin(row[f"{prefix}_lower"], row[f"{prefix}_bootstrap_lower"])
    high = np.fmax(row[f"{prefix}_upper"], row[f"{prefix}_bootstrap_upper"])
    if np.isnan(row[f"{prefix}_lower"]):
        return signed(row[prefix])
    decimals = decimals_for(low, high)
    return f"{signed(row[prefix], decimals)}{interval(low, high, decimals)}"


def scores_shown(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return every method's scores and difference to the tuned baseline, as text."""
    shown: dict[str, Any] = _named("method", table["method"])
    shown |= {NAMES[name]: table[name].map(number) for name in NAMES if name in table}
    shown |= {"to baseline": table["difference"].map(signed), **_spans(table, "", confidence)}
    frame = pd.DataFrame(shown)
    frame.loc[table["method"] == BASELINE, list(frame.columns[-3:])] = ""
    return frame


def leads_shown(table: pd.DataFrame, metric: str, confidence: float) -> pd.DataFrame:
    """Return what the student has on each opponent, as text."""
    rows = table[table["lead"].notna()]
    shown = _named("student minus", rows["method"]) | {NAMES[metric]: rows["lead"].map(signed)}
    shown |= _spans(rows, "lead_", confidence)
    return pd.DataFrame(shown | {"p": rows["p_value"].map(_share), "p (Holm)": rows["p_holm"].map(_share)})


def curve_shown(curve: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return the learning curve as text."""
    shown: dict[str, Any] = {"training rows": curve["n_train"].round().astype(int).astype(str)}
    shown |= {name: curve[name].map(number) for name in _CURVES}
    shown |= {"difference": curve["difference"].map(signed), **_spans(curve, "", confidence)}
    return pd.DataFrame(shown)


def _named(title: str, names: pd.Series) -> dict[str, Any]:
    """Return a column of text that stands at the left, as its title does."""
    width = int(names.str.len().max())
    return {title.ljust(width): names.str.ljust(width)}


def _spans(rows: pd.DataFrame, prefix: str, confidence: float) -> dict[str, list[str]]:
    kinds = {f"t {100 * confidence:g} %": "", "bootstrap": "bootstrap_"}
    return {
        title: [
            interval(low, high, decimals_for(low, high)).strip()
            for low, high in zip(rows[f"{prefix}{kind}lower"], rows[f"{prefix}{kind}upper"], strict=True)
        ]
        for title, kind in kinds.items()
    }


def _share(p: float) -> str:
    return "" if np.isnan(p) else "<.001" if p < 0.001 else f"{p:.3f}"
