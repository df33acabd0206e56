"""From scores of held-out normal rows to p-values, a threshold for the rate asked for, and the rate achieved.

Nothing here ever sees a row that the student was fitted on: a threshold that is a quantile of fitted rows' scores runs
at many times the rate it promises.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from pitskd._random import stage_generator
from pitskd._validation import wrong

__all__ = ["AchievedRate"]

_TAIL = 0.1  # share of the calibration scores that the generalised Pareto distribution is fitted to
_FEWEST_PEAKS = 10
_N_BOOTSTRAP = 1000
_HEAVIEST = 0.99
_ROUNDING = 1e-9
_SMALLEST = 1e-300  # p-value: beyond it exp has no numbers left
_FLOOR = 1e-12  # of a median: a log that is foreseen to the last digit has none
_FEWEST_RECENT = 20  # scores that a running median needs to start with


class AchievedRate(NamedTuple):
    """The false-alarm rate that the calibration achieved on normal rows it had not seen.

    Parameters
    ----------
    rate : float
        Share of rows with an alarm, in [0, 1], or false alarms per day.
    lower, upper : float
        Ends of the interval of 95 %.
    n_rows : int
        Normal rows behind it.
    unit : str
        ``"share of rows"`` or ``"per day"``.

    Examples
    --------
    >>> AchievedRate(0.011, 0.004, 0.018, 600, "share of rows").upper
    0.018
    """

    rate: float
    lower: float
    upper: float
    n_rows: int
    unit: str


@dataclass(frozen=True)
class Debounce:
    """An alarm starts after some consecutive rows above the threshold and ends after some below."""

    alarm_after: int = 1
    clear_after: int = 1

    @cached_property
    def is_idle(self) -> bool:
        """Whether every row above the threshold is an alarm, and no other."""
        return self.alarm_after == self.clear_after == 1

    def alarms(self, over: np.ndarray) -> np.ndarray:
        """Return which rows of one run (n,) have an alarm."""
        if self.is_idle:
            return over
        row = np.arange(len(over))
        above = row - np.maximum.accumulate(np.where(over, -1, row))  # consecutive rows above, up to this one
        below = row - np.maximum.accumulate(np.where(over, row, -1))
        start = np.maximum.accumulate(np.where(above >= self.alarm_after, row, -1))
        stop = np.maximum.accumulate(np.where(~over & (below >= self.clear_after), row, -1))
        return start > stop

    def step(self, over: Any, above: Any, below: Any, lasting: Any) -> tuple[Any, Any, Any]:
        """Return the counts of rows above and below, and whether an alarm lasts; for numbers and arrays alike."""
        above = (above + 1) * over
        below = (below + 1) * (1 - over)
        return above, below, (lasting & (below < self.clear_after)) | (above >= self.alarm_after)


class Level:
    """The running median of the last scores without an alarm: what is usual by now.

    Parameters
    ----------
    length : int
    scores : iterable of float
        What is usual at the start; the last `length` count.
    """

    def __init__(self, length: int, scores: Iterable[float]) -> None:
        self.recent = deque(map(float, scores), maxlen=length)
        self.ordered = sorted(self.recent)

    def median(self) -> float:
        """Return the median, a positive number."""
        n = len(self.ordered)
        return max(0.5 * (self.ordered[(n - 1) // 2] + self.ordered[n // 2]), _FLOOR)

    def push(self, score: float) -> None:
        """Let the newest score take the place of the oldest."""
        if len(self.recent) == self.recent.maxlen:
            self.ordered.pop(bisect_left(self.ordered, self.recent[0]))
        self.recent.append(score)
        insort(self.ordered, score)


@dataclass(eq=False)
class Tail:
    """Excesses over a level as a generalised Pareto distribution: how often, and how far."""

    level: float
    share: float  # of rows above the level, or events above it per day
    shape: float
    scale: float

    @classmethod
    def fit(cls, level: float, share: float, excesses: np.ndarray) -> Tail:
        """Fit by maximum likelihood; a shape below 0, an end of the possible, is not believed, nor one above .99."""
        shape, scale = 0.0, float(excesses.mean())
        if len(excesses) >= _FEWEST_PEAKS and np.ptp(excesses) > 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # the search of scipy passes through impossible shapes
                found, _, width = stats.genpareto.fit(excesses, floc=0.0)
                if found >= _HEAVIEST:  # a mean excess that does not exist says nothing of the tail
                    found, _, width = stats.genpareto.fit(excesses, f0=_HEAVIEST, floc=0.0)
            if found > 0.0:
                shape, scale = found, width
        return cls(level, share, float(shape), float(scale))

    def share_above(self, scores: Any) -> np.ndarray:
        """Return the share above scores that are not below the level."""
        excess = (np.asarray(scores) - self.level) / self.scale
        if self.shape == 0.0:
            return self.share * np.exp(-excess)
        return self.share * (1.0 + self.shape * excess) ** (-1.0 / self.shape)

    def score_at(self, share: float) -> float:
        """Return the score that this share exceeds."""
        ratio = self.share / share
        if self.shape == 0.0:
            return self.level + self.scale * float(np.log(ratio))
        return self.level + self.scale / self.shape * (ratio**self.shape - 1.0)


@dataclass(eq=False)
class Calibration:
    """Scores of held-out normal rows, sorted, with the tail beyond them and the threshold for what was asked."""

    scores: np.ndarray  # (n,), ascending
    tail: Tail | None
    threshold: float
    debounce: Debounce = field(default_factory=Debounce)
    reference: np.ndarray | None = None  # with drift, the last scores before they were divided by their running median
    drift: int = 0
    patience: float = np.inf  # rows after which an alarm that lasts is what is usual now

    def level(self) -> Level:
        """Return a running median that starts from the last held-out rows."""
        assert self.reference is not None
        return Level(self.drift, self.reference)

    def follow(self, scores: np.ndarray, forced: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the level of each row (n,) and whether it has an alarm; `forced` rows have one whatever they score."""
        if self.reference is None:
            return np.ones(len(scores)), self.debounce.alarms(~(scores <= self.threshold)) | forced
        level, alarms, levels = self.level(), np.zeros(len(scores), dtype=bool), np.empty(len(scores))
        above, below, lasting, lasted = 0, 0, False, 0
        for row, (score, force) in enumerate(zip(scores.tolist(), forced.tolist(), strict=True)):
            levels[row] = median = level.median()
            above, below, lasting = self.debounce.step(not score / median <= self.threshold, above, below, lasting)
            alarms[row] = alarmed = lasting or force
            lasted = (lasted + 1) * alarmed
            if not 0 < lasted <= self.patience:
                level.push(score)
        return levels, alarms

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return ``(1 + #{held-out >= score}) / (n + 1)``, or what the tail says."""
        n = len(self.scores)
        p = (n + 1.0 - np.searchsorted(self.scores, scores, side="left")) / (n + 1.0)
        if self.tail is not None:
            beyond = scores > self.tail.level
            if beyond.any():
                p[beyond] = np.maximum(self.tail.share_above(scores[beyond]), _SMALLEST)
        return p

    def p_value(self, score: float) -> float:
        """Return the p-value of one score."""
        if self.tail is not None and score > self.tail.level:
            return max(float(self.tail.share_above(score)), _SMALLEST)
        n = len(self.ordered)
        return (n + 1.0 - bisect_left(self.ordered, score)) / (n + 1.0)

    @cached_property
    def ordered(self) -> list[float]:
        """The scores as numbers, among which one is found faster."""
        return self.scores.tolist()


def calibrate(
    runs: Sequence[np.ndarray],
    rate: float,
    debounce: Debounce,
    *,
    method: str,
    rows_per_day: float | None,
    drift: int | None = None,
    patience: float = np.inf,
) -> Calibration:
    """Set the threshold for a share of alarmed rows, or with `rows_per_day` for `rate` events per day.

    Parameters
    ----------
    runs : sequence of ndarrays of shape (n_i,)
        Smoothed scores of held-out normal rows.
    rate : float
    debounce : Debounce
    method : "conformal" or "pot"
    rows_per_day : float or None
    drift : int or None
        Rows of the running median that scores are divided by.
    patience : float
        Rows after which an alarm that lasts is taken for what is usual now.
    """
    reference = None
    if drift is not None:
        reference = np.concatenate(runs)[-drift:]
        runs = over_running_median(runs, drift)
    # A score that equals one of these but for rounding counts as equal, whichever way it was summed.
    scores = np.sort(np.concatenate(runs)) * (1.0 + _ROUNDING)
    tail = _tail_of_rows(scores) if method == "pot" else None
    if rows_per_day is not None:
        threshold = _threshold_of_events(runs, rate, debounce, rows_per_day, method)
    elif not debounce.is_idle and rate * len(scores) >= 1.0:
        threshold = _threshold_of_alarms(runs, scores, rate, debounce)
    elif tail is not None and rate < tail.share:
        threshold = tail.score_at(rate)
    elif method == "pot" and rate * (len(scores) + 1) < 1:  # all scores equal
        threshold = float(scores[-1])
    else:
        threshold = _conformal_threshold(scores, rate)
    return Calibration(scores, tail, threshold, debounce, reference, drift or 0, patience)


def over_running_median(runs: Sequence[np.ndarray], length: int) -> list[np.ndarray]:
    """Return scores over the median of those before them, without the first, which have too few before them."""
    first = min(_FEWEST_RECENT, length, sum(map(len, runs)) // 2)
    level: Level | None = None
    seen: list[float] = []
    divided = []
    for scores in runs:
        ratios = []
        for score in scores.tolist():
            if level is None:
                seen.append(score)
                level = Level(length, seen) if len(seen) >= first else None
                continue
            ratios.append(score / level.median())
            level.push(score)
        divided.append(np.array(ratios))
    return [ratios for ratios in divided if len(ratios)]


def _threshold_of_alarms(runs: Sequence[np.ndarray], scores: np.ndarray, rate: float, debounce: Debounce) -> float:
    """Return the lowest score from which on debounced alarms take at most `rate` of the rows."""
    thresholds = _levels(scores)
    for threshold, lower in pairwise(thresholds):
        if sum(np.count_nonzero(debounce.alarms(part > lower)) for part in runs) > rate * len(scores):
            return float(threshold)
    return float(thresholds[-1])


def _levels(scores: np.ndarray) -> np.ndarray:
    """Return sorted scores as thresholds, descending: the largest ones one by one, then in steps of a percent."""
    ranks = np.unique(np.geomspace(1, len(scores), 500).astype(np.int64))
    return np.unique(scores[len(scores) - ranks])[::-1]


def _conformal_threshold(scores: np.ndarray, rate: float) -> float:
    """Return the score above which the conformal p-value is at most `rate`."""
    n = len(scores)
    rank = int(np.floor(rate * (n + 1) + 1e-9))
    if rank < 1:
        step = 'Record a longer log, ask for a higher rate, or use calibration="pot", which extrapolates.'
        raise wrong(
            "X",
            f"long enough to hold out {int(np.ceil(1 / rate)) - 1} normal rows for a rate of {rate:g}",
            f"{n} held-out rows",
            step,
        )
    return float(scores[max(n - rank, 0)])


def _tail_of_rows(scores: np.ndarray) -> Tail | None:
    """Fit the tail to the largest tenth, or the ten largest of few; None where even these do not differ."""
    n_peaks = min(max(int(_TAIL * len(scores)), _FEWEST_PEAKS), len(scores) - 1)
    if n_peaks < 1:
        return None
    level = float(scores[-n_peaks - 1])
    excesses = scores[-n_peaks:] - level
    excesses = excesses[excesses > 0]
    if not len(excesses):
        return None
    return Tail.fit(level, len(excesses) / len(scores), excesses)


def event_peaks(runs: Sequence[np.ndarray], level: float, debounce: Debounce) -> np.ndarray:
    """Return the largest score of every event that a threshold at `level` gives."""
    peaks: list[float] = []
    for scores in runs:
        alarms = debounce.alarms(scores > level)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], alarms, [False]])))
        peaks += [float(scores[first:last].max()) for first, last in edges.reshape(-1, 2)]
    return np.array(peaks)


def _threshold_of_events(
    runs: Sequence[np.ndarray], per_day: float, debounce: Debounce, rows_per_day: float, method: str
) -> float:
    scores = np.sort(np.concatenate(runs))
    days = len(scores) / rows_per_day
    if method == "conformal":
        return _lowest_threshold(runs, scores, int(np.floor(per_day * days + 1e-9)), debounce, per_day, days)
    tail = None
    for share in (_TAIL, 0.2, 0.4):
        level = float(np.quantile(scores, 1 - share, method="lower"))
        peaks = event_peaks(runs, level, debounce)
        peaks = peaks[peaks > level]
        if len(peaks) > 1 and np.ptp(peaks) > 0:
            tail = Tail.fit(level, len(peaks) / days, peaks - level)
        if len(peaks) >= _FEWEST_PEAKS:
            break
    if tail is None or per_day >= tail.share:
        return _lowest_threshold(runs, scores, int(np.floor(per_day * days + 1e-9)), debounce, per_day, days)
    return tail.score_at(per_day)


def _lowest_threshold(
    runs: Sequence[np.ndarray], scores: np.ndarray, n_events: int, debounce: Debounce, per_day: float, days: float
) -> float:
    """Return the lowest score from which on no threshold gives more events than `n_events`."""
    if n_events < 1:
        step = 'Record a longer log, ask for more, or use calibration="pot", which extrapolates.'
        raise wrong(
            "X", f"long enough to see one false alarm at {per_day:g} a day", f"{days:.3g} days of held-out rows", step
        )
    thresholds = _levels(scores)  # at the largest score there is no event
    counts = [0]
    for threshold, lower in pairwise(thresholds):
        counts.append(len(event_peaks(runs, float(lower), debounce)))
        if counts[-1] > n_events:
            return float(threshold)
    if max(counts) == n_events:  # lower thresholds merge events; an alarm for ever is none
        return float(thresholds[int(np.argmax(counts))])
    step = "Ask for fewer, or use less smoothing and a smaller alarm_after, which make more and shorter events."
    raise wrong("false_alarms_per_day", f"at most {max(counts) / days:.3g}, what any threshold gives", per_day, step)


def achieved_rate(
    runs: Sequence[np.ndarray],
    rate: float,
    debounce: Debounce,
    *,
    method: str,
    rows_per_day: float | None,
    block: int,
    random_state: Any,
    drift: int | None = None,
) -> AchievedRate:
    """Measure the rate on held-out rows that the threshold has not seen either: five blocks, each by the other four.

    Returns
    -------
    AchievedRate
        With NaN where four blocks are too short to set a threshold.
    """
    alarms: list[np.ndarray] = []
    runs = runs if drift is None else over_running_median(runs, drift)
    for seen, unseen in _parts(runs, 5):
        try:
            threshold = calibrate(seen, rate, debounce, method=method, rows_per_day=rows_per_day).threshold
        except ValueError:
            return AchievedRate(np.nan, np.nan, np.nan, 0, _unit(rows_per_day))
        alarms += [debounce.alarms(scores > threshold) for scores in unseen]
    return rate_of(alarms, rows_per_day=rows_per_day, block=block, random_state=random_state)


def rate_of(alarms: Sequence[np.ndarray], *, rows_per_day: float | None, block: int, random_state: Any) -> AchievedRate:
    """Return the rate of alarms in normal runs with its interval by a moving-block bootstrap.

    Without a single alarm every resample has none: then the upper end is the rate at which as many independent blocks
    would be free of alarms once in forty times.
    """
    counted = [a if rows_per_day is None else a & ~np.concatenate([[False], a[:-1]]) for a in alarms]
    row = np.concatenate(counted).astype(np.float64)
    n, scale = len(row), 1.0 if rows_per_day is None else rows_per_day
    length = min(block, n)
    n_blocks = max(n // length, 1)
    if not row.any():
        upper = (1.0 - 0.025 ** (1.0 / n_blocks)) / (1.0 if rows_per_day is None else length)
        return AchievedRate(0.0, 0.0, float(upper * scale), n, _unit(rows_per_day))
    sums = np.convolve(row, np.ones(length), mode="valid") / length
    drawn = stage_generator(random_state, "blocks of calibration").integers(len(sums), size=(_N_BOOTSTRAP, n_blocks))
    lower, upper = np.quantile(sums[drawn].mean(axis=1), [0.025, 0.975]) * scale
    return AchievedRate(float(row.mean() * scale), float(lower), float(upper), n, _unit(rows_per_day))


def _unit(rows_per_day: float | None) -> str:
    return "share of rows" if rows_per_day is None else "per day"


def _parts(runs: Sequence[np.ndarray], n_parts: int) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Return for each of `n_parts` stretches of time the runs outside and inside it."""
    total = sum(map(len, runs))
    cuts = np.linspace(0, total, n_parts + 1).astype(np.int64)
    parts = []
    for first, last in pairwise(cuts):
        outside, inside, start = [], [], 0
        for scores in runs:
            a, b = np.clip([first - start, last - start], 0, len(scores))
            inside.append(scores[a:b])
            outside += [scores[:a], scores[b:]]
            start += len(scores)
        parts.append(([part for part in outside if len(part)], [part for part in inside if len(part)]))
    return parts
