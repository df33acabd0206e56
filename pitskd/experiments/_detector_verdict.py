"""From what detectors say of test runs to metrics, paired differences, a verdict and its words.

A lead is an improvement: positive where the detector is better, whichever way the metric counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from pitskd._random import stage_generator
from pitskd.anomaly.calibration import AchievedRate, rate_of
from pitskd.experiments._detector_controls import DETECTOR, Said
from pitskd.experiments._verdict import number, signed
from pitskd.experiments.compare import paired_interval
from pitskd.metrics import event_scores, events_of, false_alarm_rate, fault_detection_rate, vus_pr

__all__: list[str] = []

NAMES = {
    "roc": "ROC",
    "vus_pr": "VUS-PR",
    "balanced_accuracy": "balanced accuracy",
    "false_alarm_rate": "false-alarm rate",
    "detection_rate": "alarmed anomalous rows",
    "event_recall": "events found",
    "delay": "delay / rows",
}
LOWER_IS_BETTER = ("false_alarm_rate", "delay")
BY_ROW = ("roc", "balanced_accuracy", "false_alarm_rate", "detection_rate")  # what resampled rows can tell
FEWEST_EVENTS = 3  # of a single run, before anything is claimed of others

_N_BOOTSTRAP = 1000
_CELLS = 2_000_000  # of a table of resampled rows


def measured(truth: np.ndarray, said: Said) -> dict[str, float]:
    """Return every metric of one run; truth (n,) is 1, 0, or NaN where nobody knows."""
    known = ~np.isnan(truth)
    y, score, alarm = truth[known] == 1, said.score[known], said.alarm[known]
    both = bool(y.any() and not y.all())
    far = false_alarm_rate(y, alarm) if not y.all() else np.nan
    detected = fault_detection_rate(y, alarm) if y.any() else np.nan
    return {
        "roc": float(roc_auc_score(y, score)) if both else np.nan,
        "vus_pr": vus_pr(y, score) if both else np.nan,
        "balanced_accuracy": 0.5 * (detected + 1.0 - far),
        "false_alarm_rate": far,
        "detection_rate": detected,
        "event_recall": event_scores(y, alarm).recall if y.any() else np.nan,
        "delay": _delay(y, alarm),
    }


def _delay(y: np.ndarray, alarm: np.ndarray) -> float:
    """Return the mean over events of the rows until their first alarm; a missed one counts with its length."""
    if not y.any():
        return np.nan
    scores = event_scores(y, alarm)
    lost = float(scores.delays.sum() + np.diff(scores.missed, axis=1).sum())
    return lost / scores.n_events


def judged(truths: Sequence[np.ndarray], said: Mapping[str, list[Said]]) -> pd.DataFrame:
    """Return one row per method and run: number, judged rows, events and all metrics."""
    rows = []
    for method, runs in said.items():
        for run, (truth, one) in enumerate(zip(truths, runs, strict=True)):
            known = truth[~np.isnan(truth)] == 1
            sizes = {"n_rows": len(known), "n_events": len(events_of(known))}
            rows.append({"run": run, "method": method, **sizes, **measured(truth, one)})
    return pd.DataFrame(rows)


def achieved(truths: Sequence[np.ndarray], said: Sequence[Said], smoothing: int, seed: int) -> AchievedRate:
    """Return the share of normal rows of all runs with an alarm, and its interval."""
    normal = [one.alarm[truth == 0] for truth, one in zip(truths, said, strict=True)]
    n = sum(map(len, normal))
    if not n:
        return AchievedRate(np.nan, np.nan, np.nan, 0, "share of rows")
    return rate_of(normal, rows_per_day=None, block=max(2 * smoothing, int(np.sqrt(n))), random_state=seed)


def tabulate(runs: pd.DataFrame, roles: Mapping[str, str], rates: Mapping[str, AchievedRate]) -> pd.DataFrame:
    """Return one row per method: role, runs, mean metrics over the runs that have them, and pooled false alarms."""
    means = runs.groupby("method", sort=False)[list(NAMES)].mean()
    means["false_alarm_rate"] = [rates[method].rate for method in means.index]
    place = means.columns.get_loc("false_alarm_rate") + 1
    means.insert(place, "false_alarm_lower", [rates[method].lower for method in means.index])
    means.insert(place + 1, "false_alarm_upper", [rates[method].upper for method in means.index])
    means.insert(0, "role", [roles[method] for method in means.index])
    means.insert(1, "n_runs", runs.groupby("method", sort=False).size())
    return means.reset_index()


# ---------------------------------------------------------------- differences


def differences(
    runs: pd.DataFrame, roles: Mapping[str, str], truths: Sequence[np.ndarray], said: Mapping[str, list[Said]],
    *, smoothing: int, confidence: float, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Return the detector's lead over every other method in every metric, with interval and p-value."""
    draws = _drawn(truths[0], {name: one[0] for name, one in said.items()}, smoothing, seed) if len(truths) == 1 else {}
    by_run = {name: rows.set_index("run")[list(NAMES)] for name, rows in runs.groupby("method", sort=False)}
    rows = []
    for metric in NAMES:
        sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
        for opponent in [name for name in said if name != DETECTOR]:
            ahead = (sign * (by_run[DETECTOR][metric] - by_run[opponent][metric])).dropna().to_numpy()
            drawn = (
                sign * (draws[DETECTOR][metric] - draws[opponent][metric])
                if metric in draws.get(opponent, {})
                else None
            )
            lead = _lead(ahead, drawn, confidence)
            rows.append({"metric": metric, "opponent": opponent, "role": roles[opponent], **lead, "n_runs": len(ahead)})
    return pd.DataFrame(rows)


def _lead(ahead: np.ndarray, drawn: np.ndarray | None, confidence: float) -> dict[str, float]:
    unknown = {"lower": np.nan, "upper": np.nan, "p_value": np.nan}
    if not len(ahead):
        return {"lead": np.nan, **unknown}
    if len(ahead) > 1:
        t = paired_interval(ahead, confidence=confidence)
        p = float(ahead[0] == 0) if np.ptp(ahead) == 0 else float(stats.ttest_1samp(ahead, 0.0).pvalue)
        return {"lead": t.mean, "lower": t.lower, "upper": t.upper, "p_value": p}
    drawn = np.empty(0) if drawn is None else drawn[~np.isnan(drawn)]
    if not len(drawn):
        return {"lead": float(ahead[0]), **unknown}
    tail = 0.5 * (1.0 - confidence)
    lower, upper = np.quantile(drawn, [tail, 1.0 - tail])
    p = 2.0 * (1.0 + min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))) / (1.0 + len(drawn))
    return {"lead": float(ahead[0]), "lower": float(lower), "upper": float(upper), "p_value": min(p, 1.0)}


def block_length(truth: np.ndarray, smoothing: int) -> int:
    """Return the rows of a block of time: as long as the longest event, at most a fifth of the run."""
    known = truth[~np.isnan(truth)]
    longest = np.diff(events_of(known == 1), axis=1).max(initial=1)
    return int(np.clip(max(2 * smoothing, np.sqrt(len(known)), longest), 1, max(len(known) // 5, 1)))


def _drawn(truth: np.ndarray, said: Mapping[str, Said], smoothing: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Return every metric of single rows on resampled blocks of time; all methods meet the same blocks."""
    known = ~np.isnan(truth)
    y = truth[known] == 1
    parts: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in said}
    for weight in _weights(len(y), block_length(truth, smoothing), seed):
        for name, one in said.items():
            parts[name].append(_weighted(y, one.score[known], one.alarm[known], weight))
    return {name: {m: np.concatenate([part[m] for part in some]) for m in BY_ROW} for name, some in parts.items()}


def _weights(n: int, length: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each row occurs in resamples of blocks (n_draws, n), some draws at a time."""
    generator = stage_generator(seed, "blocks of test time")
    n_blocks, step = -(-n // length), max(_CELLS // n, 1)
    for first in range(0, _N_BOOTSTRAP, step):
        n_draws = min(step, _N_BOOTSTRAP - first)
        starts = generator.integers(n - length + 1, size=(n_draws, n_blocks))
        change = np.zeros((n_draws, n + 1))
        draw = np.arange(n_draws)[:, None]
        np.add.at(change, (draw, starts), 1.0)
        np.add.at(change, (draw, starts + length), -1.0)
        yield np.cumsum(change[:, :-1], axis=1)


def _weighted(y: np.ndarray, score: np.ndarray, alarm: np.ndarray, weight: np.ndarray) -> dict[str, np.ndarray]:
    """Return metrics of single rows under weights (n_draws, n), NaN where a draw has rows of one kind only."""
    with np.errstate(invalid="ignore", divide="ignore"):
        far = weight[:, alarm & ~y].sum(axis=1) / weight[:, ~y].sum(axis=1)
        detected = weight[:, alarm & y].sum(axis=1) / weight[:, y].sum(axis=1)
        values = {
            "balanced_accuracy": 0.5 * (detected + 1.0 - far),
            "false_alarm_rate": far,
            "detection_rate": detected,
        }
        return values | {"roc": _weighted_roc(y, score, weight)}


def _weighted_roc(y: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0)  # of rows with the same score
    positive = np.add.reduceat(np.where(y, weight, 0.0)[:, order], starts, axis=1)
    negative = np.add.reduceat(np.where(y, 0.0, weight)[:, order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - 0.5 * negative
    return (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))


# ---------------------------------------------------------------- verdict and words


def judge(
    leads: pd.DataFrame, table: pd.DataFrame, metrics: tuple[str, ...], n_events: int, confidence: float
) -> tuple[str, str]:
    """Return the verdict and the sentences that give its numbers."""
    duels = {m: leads[(leads["metric"] == m) & leads["role"].isin(["baseline", "control"])] for m in metrics}
    worst = np.array([duel["p_value"].max(skipna=False) for duel in duels.values()])
    adjusted = worst if np.isnan(worst).any() else multipletests(worst, method="holm")[1]
    gains, losses = [], []
    for (metric, duel), p in zip(duels.items(), adjusted, strict=True):
        if (duel["lower"] > 0).all() and p < 1.0 - confidence:
            gains.append(metric)
        if (duel[duel["role"] == "baseline"]["upper"] < 0).any():
            losses.append(metric)
    alone = len(table) > 0 and int(table["n_runs"].iloc[0]) == 1
    few = alone and n_events < FEWEST_EVENTS
    verdict = "no evidence" if few or bool(gains) == bool(losses) else "helps" if gains else "hurts"
    told = [_sentence(duel, table, metric) for metric, duel in duels.items()]
    return verdict, " ".join([*told, *_cautions(duels, gains, losses, n_events if few else None)])


def _sentence(duel: pd.DataFrame, table: pd.DataFrame, metric: str) -> str:
    """Say where the detector stands against the baseline, and against its hardest opponent."""
    values = table.set_index("method")[metric]
    bar = duel[duel["role"] == "baseline"].iloc[0]
    hardest = duel.loc[duel["lower"].fillna(duel["lead"]).idxmin()] if duel["lead"].notna().any() else bar
    text = f"{NAMES[metric]} of the detector is {number(values[DETECTOR])}, {_against(bar, values)}"
    if hardest["opponent"] == bar["opponent"]:
        return f"{text}, its hardest opponent."
    return f"{text}, and {_against(hardest, values)}, its hardest opponent."


def _against(duel: pd.Series, values: pd.Series) -> str:
    opponent = duel["opponent"]
    return f'{_span(duel)} against "{opponent}" ({number(values[opponent])})'


def _cautions(duels: Mapping[str, pd.DataFrame], gains: list[str], losses: list[str], few: int | None) -> Iterator[str]:
    if few is not None:
        yield f"One run with {few} event(s) says nothing of others: pass more runs."
    elif any(duel["lower"].isna().any() for duel in duels.values()):
        yield "Some differences have no interval: pass more runs with normal and anomalous rows."
    if gains and losses:
        yield f"A gain in {_listed(gains)} is paid for in {_listed(losses)}."
    elif gains and few is None:
        yield f"The interval excludes zero against every control: a gain in {_listed(gains)}."


def _listed(metrics: list[str]) -> str:
    return " and ".join(NAMES[metric] for metric in metrics)


def _span(row: pd.Series) -> str:
    inside = "" if np.isnan(row["lower"]) else f" [{row['lower']:+.3f}, {row['upper']:+.3f}]"
    return f"{signed(row['lead'])}{inside}"


def table_shown(table: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """Return every method's metrics as text."""
    shown: dict[str, Any] = _left("method", table["method"])
    for name, title in NAMES.items():
        if name == "false_alarm_rate":
            shown["false alarms [95 %]"] = [_rate(row) for _, row in table.iterrows()]
        elif name != "detection_rate" or name in metrics:
            shown[title] = table[name].map(_one if name == "delay" else number)
    return pd.DataFrame(shown)


def _rate(row: pd.Series) -> str:
    if np.isnan(row["false_alarm_rate"]):
        return ""
    return f"{row['false_alarm_rate']:.1%} [{row['false_alarm_lower']:.1%}, {row['false_alarm_upper']:.1%}]"


def _one(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"


def leads_shown(leads: pd.DataFrame, metric: str, confidence: float) -> pd.DataFrame:
    """Return the detector's lead over every other method in one metric as text."""
    rows = leads[leads["metric"] == metric]
    shown = _left("better than", rows["opponent"]) | {NAMES[metric]: rows["lead"].map(signed)}
    shown[f"{100 * confidence:g} %"] = [
        "" if np.isnan(low) else f"[{low:+.3f}, {high:+.3f}]"
        for low, high in zip(rows["lower"], rows["upper"], strict=True)
    ]
    shown["p"] = ["" if np.isnan(p) else "<.001" if p < 0.001 else f"{p:.3f}" for p in rows["p_value"]]
    return pd.DataFrame(shown)


def _left(title: str, names: pd.Series) -> dict[str, Any]:
    width = int(names.str.len().max())
    return {title.ljust(width): names.str.ljust(width)}
