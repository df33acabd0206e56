"""A student of the privileged quantity: how likely it is off-spec, judged from the sensors that stay.

A soft sensor (ridge regression on the present row, two lags and trailing means of up to 80 rows) forecasts every
limited column. With held-out residuals of standard deviation s_j, column j lies outside its limits with probability
``P_j = Phi((y_j - high_j) / s_j) + Phi((low_j - y_j) / s_j)``, some column with ``1 - prod(1 - P_j)``. Faults of a kind
never seen may move the quantity in ways the soft sensor has not learnt: an isolation forest on the same features is
asked as well. Each is turned into minus the log of its p-value among held-out normal rows, and the raw score is the
mean of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.ensemble import IsolationForest

from pitskd._random import stage_generator
from pitskd._validation import wrong
from pitskd.anomaly.head import runs_of
from pitskd.anomaly.scorer import Running, Scorer
from pitskd.anomaly.smoothing import Smoother, trailing_mean
from pitskd.linear._paths import ridge_grid

__all__: list[str] = []

_LAGS, _SPANS = (1, 2), (5, 10, 20, 40, 80)
_PENALTIES = np.logspace(1, 5, 5)
_CLIP = 6.0  # standard deviations: a fault must not drive the ridge far outside what it has seen
_N_BLOCKS, _N_TREES, _TAIL = 5, 200, 0.1
_FEWEST = 10
_TIE = 1e-3  # of a margin in standard deviations: orders rows whose probability rounds to 1


class TargetScorer(Scorer):
    """Rows as evidence that a privileged quantity is off-spec.

    Parameters
    ----------
    rows : ndarray of shape (n, c)
        NaN where missing: the last value known stands for it.
    run : ndarray of shape (n,)
    limited : ndarray of shape (n, m)
        Privileged columns that have limits; NaN where not measured.
    normal : ndarray of shape (n,), bool
        Rows inside the limits, and not known to be anomalous in another way.
    low, high : ndarrays of shape (m,)
        Limits in the units of the columns; infinite where there is none.
    random_state : int, generator or None
    """

    def __init__(
        self,
        rows: np.ndarray,
        run: np.ndarray,
        limited: np.ndarray,
        normal: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        random_state: Any,
    ) -> None:
        self.n_channels = rows.shape[1]
        rows = _carried_forward(rows, run)
        self.centre, self.scale = rows[normal].mean(axis=0), rows[normal].std(axis=0)
        self.scale = np.where(self.scale > 0, self.scale, 1.0)
        self._fit_units(limited[normal], low, high)
        features = np.concatenate([self._features(self._standard(rows[inside])) for inside in runs_of(run)])
        measured = ~np.asarray(np.isnan(limited).any(axis=1))
        block = _blocks(run)
        seeds = stage_generator(random_state, "target forest").integers(2**31, size=block.max() + 2)
        self._check_blocks(measured, normal, block, run)
        self._learn(features, limited, measured, normal, block, run, seeds)

    def _fit_units(self, limited: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Set the units of the limited columns, and the limits and clips in these units."""
        centre, scale = np.nanmean(limited, axis=0), np.nanstd(limited, axis=0)
        self.target_centre, self.target_scale = centre, np.where(scale > 0, scale, 1.0)
        self.low, self.high = (low - centre) / self.target_scale, (high - centre) / self.target_scale
        reach = np.maximum(*(np.where(np.isfinite(limit), np.abs(limit), 0.0) for limit in (self.low, self.high)))
        self.clip = 2.0 * np.maximum(reach, 1.0)

    @staticmethod
    def _check_blocks(measured: np.ndarray, normal: np.ndarray, block: np.ndarray, run: np.ndarray) -> None:
        """Refuse a log that one block of time tells everything about."""
        outside = [_apart(block, number, run) for number in range(block.max() + 1)]
        if min(min((measured & apart).sum(), (normal & apart).sum()) for apart in outside) < _FEWEST:
            step = "Record a longer log, or measure the columns with limits in more parts of it."
            raise wrong(
                "X_privileged", f"measured, and inside the limits, in {_FEWEST} rows beside each fifth of the log",
                "fewer", step,
            )  # fmt: skip

    def _learn(
        self,
        features: np.ndarray,
        limited: np.ndarray,
        measured: np.ndarray,
        normal: np.ndarray,
        block: np.ndarray,
        run: np.ndarray,
        seeds: np.ndarray,
    ) -> None:
        """Fit both on all rows, and to every block's complement for the reference."""
        targets = np.clip((limited - self.target_centre) / self.target_scale, -self.clip, self.clip)
        outside = [_apart(block, number, run) for number in range(block.max() + 1)]
        sets = np.array([measured & apart for apart in outside] + [measured], dtype=float)
        coef, intercept = ridge_grid(features, np.where(measured[:, None], targets, 0.0), _PENALTIES, sets)
        held_out = np.empty((len(_PENALTIES), *targets.shape))
        for number in range(block.max() + 1):
            inside = block == number
            held_out[:, inside] = features[inside] @ coef[number].transpose(0, 2, 1) + intercept[number][:, None]
        errors = (held_out - targets)[:, measured]
        best = int(np.argmin(np.mean(np.minimum(errors**2, _CLIP**2), axis=(1, 2))))
        self.penalty = float(_PENALTIES[best])
        self.coef, self.intercept = coef[-1, best].T, intercept[-1, best]
        self.residual_scale = np.maximum(errors[best][normal[measured]].std(axis=0), 1e-6)
        self.forest = self._forest(features[normal], seeds[-1])
        isolation = np.empty(len(features))
        for number in range(block.max() + 1):
            inside = block == number
            forest = self._forest(features[normal & outside[number]], seeds[number])
            isolation[inside] = -forest.score_samples(features[inside])
        off_spec = self._log_probability(held_out[best])
        self.references = [np.sort(scores[normal]) for scores in (off_spec, isolation)]
        self.held_out_scores = self._combine(off_spec, isolation)

    @staticmethod
    def _forest(features: np.ndarray, seed: int) -> IsolationForest:
        return IsolationForest(n_estimators=_N_TREES, random_state=int(seed)).fit(features)

    def _standard(self, rows: np.ndarray) -> np.ndarray:
        """Return rows in standard deviations, missing values as the last one known."""
        z = (rows - self.centre) / self.scale
        absent = np.isnan(z)
        if absent.any():
            last = np.maximum.accumulate(np.where(absent, -1, np.arange(len(z))[:, None]), axis=0)
            z = np.where(last < 0, 0.0, np.take_along_axis(z, np.maximum(last, 0), axis=0))
        return z

    @staticmethod
    def _features(z: np.ndarray) -> np.ndarray:
        """Return present, lags and trailing means of a run (n, c), what lies before it as its first row: (n, 8 c)."""
        row = np.arange(len(z))
        lags = [z[np.maximum(row - lag, 0)] for lag in _LAGS]
        means = [trailing_mean(z, span, z[0]) for span in _SPANS]
        return np.clip(np.hstack([z, *lags, *means]), -_CLIP, _CLIP)

    def _log_probability(self, forecasts: np.ndarray) -> np.ndarray:
        """Return the log of the probability that some column is outside its limits."""
        above = norm.logcdf((forecasts - self.high) / self.residual_scale)
        below = norm.logcdf((self.low - forecasts) / self.residual_scale)
        inside = np.log1p(-np.exp(np.minimum(np.logaddexp(above, below), -1e-12))).sum(axis=1)
        margin = np.maximum(forecasts - self.high, self.low - forecasts) / self.residual_scale
        return np.log(-np.expm1(inside) + 1e-300) + _TIE * np.maximum(margin.max(axis=1), 0.0)

    def _combine(self, off_spec: np.ndarray, isolation: np.ndarray) -> np.ndarray:
        first, second = map(_surprise, (off_spec, isolation), self.references)
        return 0.5 * (first + second)

    def _scores(self, features: np.ndarray) -> np.ndarray:
        off_spec = self._log_probability(features @ self.coef + self.intercept)
        return self._combine(off_spec, -self.forest.score_samples(features))

    def _parts(self, features: np.ndarray) -> np.ndarray:
        """Split the score of rows by how much each sensor moves the forecast of the column nearest to a limit."""
        forecasts = features @ self.coef + self.intercept
        margin = np.maximum(forecasts - self.high, self.low - forecasts) / self.residual_scale
        pull = np.abs(features * self.coef.T[margin.argmax(axis=1)])
        by_sensor = pull.reshape(len(features), -1, self.n_channels).sum(axis=1) + 1e-12
        return self._scores(features)[:, None] * by_sensor / by_sensor.sum(axis=1, keepdims=True)

    def raw_scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the raw scores of consecutive rows (n, c), NaN where missing."""
        return self._scores(self._features(self._standard(rows)))

    def contributions(self, rows: np.ndarray) -> np.ndarray:
        """Return each sensor's part of the raw score of consecutive rows (n, c), NaN where missing."""
        return self._parts(self._features(self._standard(rows)))

    def start(self, n_streams: int) -> RunningTarget:
        """Return the state of fresh streams."""
        return RunningTarget(self, n_streams)

    def identity(self) -> Sequence[np.ndarray]:
        """Return the numbers that tell this scorer from another."""
        return [self.coef, self.intercept, self.residual_scale, self.centre, *self.references]

    def running_parts(self, features: np.ndarray) -> np.ndarray:
        """Return each sensor's part of the raw scores of features (n_streams, 8 c)."""
        return self._parts(np.clip(features, -_CLIP, _CLIP))


class RunningTarget(Running):
    """The last rows and the trailing means of streams."""

    STATE = ("age", "last")

    def __init__(self, scorer: TargetScorer, n_streams: int) -> None:
        shape = (n_streams, scorer.n_channels)
        self.scorer, self.shape = scorer, shape
        self.smoothers = [Smoother(span, shape, 0.0) for span in _SPANS]
        self.last = np.zeros((max(_LAGS) + 1, *shape))  # the newest row first
        self.restart()

    def state(self) -> dict[str, Any]:
        """Return all that the next row needs."""
        means = {f"mean_{n}_{name}": getattr(self.smoothers[n], name) for n, name in self._names()}
        return super().state() | means

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        super().restore(state)
        for n, name in self._names():
            setattr(self.smoothers[n], name, state[f"mean_{n}_{name}"])

    def _names(self) -> list[tuple[int, str]]:
        return [(n, name) for n in range(len(_SPANS)) for name in Smoother.STATE]

    def restart(self) -> None:
        """Forget the past rows, as behind a gap."""
        self.age = 0

    def step(self, rows: np.ndarray, absent: np.ndarray | None) -> np.ndarray:
        """Take the next row of every stream, return each sensor's part of its raw score, (n_streams, c)."""
        z = (rows - self.scorer.centre) / self.scorer.scale
        if absent is not None:
            z = np.where(absent, self.last[0] if self.age else 0.0, z)
        if not self.age:
            self.last[:] = z
            for smoother in self.smoothers:
                smoother.before = z
                smoother.restart()
        self.last[1:] = self.last[:-1].copy()
        self.last[0] = z
        self.age += 1
        means = [smoother.step(z) for smoother in self.smoothers]
        return self.scorer.running_parts(np.hstack([z, *(self.last[lag] for lag in _LAGS), *means]))


def _carried_forward(rows: np.ndarray, run: np.ndarray) -> np.ndarray:
    """Return rows with holes filled by the last value known in the run, else by the mean."""
    if not np.isnan(rows).any():
        return rows
    filled = pd.DataFrame(rows).groupby(run).ffill()
    return filled.fillna(filled.mean()).to_numpy()


def within(limited: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the rows with every limited column measured and inside its limits; the limits are inside."""
    return np.asarray(((limited >= low) & (limited <= high)).all(axis=1))


def _blocks(run: np.ndarray) -> np.ndarray:
    """Return the number of the block of each row: runs, which may each be of another fault, the longest ones in parts.

    There are at least five.
    """
    runs = runs_of(run)
    lengths = np.array([inside.stop - inside.start for inside in runs])
    parts = np.ones(len(runs), dtype=np.int64)
    while parts.sum() < _N_BLOCKS:
        parts[np.argmax(lengths / parts)] += 1
    block, number = np.empty(len(run), dtype=np.int64), 0
    for inside, n_parts in zip(runs, parts, strict=True):
        for rows in np.array_split(np.arange(inside.start, inside.stop), n_parts):
            block[rows] = number
            number += 1
    return block


def _apart(block: np.ndarray, number: int, run: np.ndarray) -> np.ndarray:
    """Return the rows outside a block whose trailing means share no row with its own, (n,) bool.

    Of a short run not more than an eighth on either side is given up for that.
    """
    inside = np.flatnonzero(block == number)
    row, own = np.arange(len(block)), run == run[inside[0]]
    reach = min(max(_SPANS), max(np.count_nonzero(own) // 8, 1))
    return ~((row > inside[0] - reach) & (row < inside[-1] + reach) & own)


def _surprise(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return minus the log of the p-value of scores; beyond the largest tenth it goes on with their mean excess."""
    n = len(reference)
    level = reference[int((1.0 - _TAIL) * (n - 1))]
    excess = reference[reference > level] - level
    p = (n + 1.0 - np.searchsorted(reference, scores, side="left")) / (n + 1.0)
    beyond = (scores - level) / max(float(excess.mean()) if len(excess) else 0.0, 1e-12)
    return np.where(scores > level, beyond - np.log(_TAIL), -np.log(p))
