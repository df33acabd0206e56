"""From what a student did not foresee to one number per row, and to the sensor that speaks.

The innovations e of a row, its values minus the forecasts of every horizon, are whitened jointly: ``z = e P`` with
``P P' = S^-1`` and S the Ledoit-Wolf covariance of innovations of rows that the student was not fitted on, scaled so
that these score 1 on average. The raw score of a row is the mean of the k squares of z. P is the symmetric root in
units of standard deviations (ZCA-cor), so that each z stays as near as can be to one sensor and the squares split by
sensor.

What is not observed counts with its expectation, 1: an innovation whose forecast had no history yet, and a missing
sensor. With the present values of missing sensors chosen to minimise the score, which is the Gaussian marginal of those
observed, each adds its one lost square.

A small shift that stays hides in the noise of single rows and adds up in a moving average. With a `memory` w the score
is half the mean of squares above and half that of the multivariate EWMA ``m_t = (1 - w) m_{t-1} + w z_t``, each square
over its variance ``w / (2 - w) (1 - (1 - w)^2t)`` (Lowry et al. 1992), the whole scaled to 1 on average too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.signal import lfilter
from sklearn.covariance import ledoit_wolf

from pitskd._validation import wrong
from pitskd.anomaly.forest import Forest
from pitskd.anomaly.running import RunningHead, RunningOneStep
from pitskd.anomaly.scorer import Running, Scorer
from pitskd.anomaly.students import LinearStudent, Student, lag_windows

__all__: list[str] = []

_FARTHEST = 100.0  # standard deviations: one absurd value must not outlast its row by long in a moving average
_MOST_SOLVERS = 256  # patterns of missing sensors that are remembered
_LEAST_INFLATION = 1e-3
_ROWS_TO_STEADY = 20.0  # over the weight of the newest: what is left of the first row is lost in rounding
_CHUNK = 2048  # rows whose windows, innovations and squares stay in the cache of a processor


class Head(Scorer):
    """Whitened innovations of a student as contributions of sensors to a raw score.

    Parameters
    ----------
    student : Student
    innovations : ndarray of shape (n, n_horizons, c)
        Of rows that the student was not fitted on; rows with a NaN are left out.
    centre : ndarray of shape (c,)
        What stands for a sensor that is missing before anything could be forecast.
    constant : ndarray of shape (c,), bool
        Sensors that never moved in the log: nothing says what is unusual of them, so they add nothing to the score.
    memory : float or None
        Weight of the newest row in the moving average, in (0, 1).
    forest : Forest or None
        A second opinion: the raw score is the mean of both, and the forest's half is shared equally by the sensors.
    """

    def __init__(
        self,
        student: Student,
        innovations: np.ndarray,
        centre: np.ndarray,
        constant: np.ndarray,
        memory: float | None = None,
        forest: Forest | None = None,
    ) -> None:
        self.student, self.centre, self.memory, self.forest = student, centre, memory, forest
        self.n_channels, self.n_horizons = len(centre), len(student.horizons)
        self.n_innovations = self.n_horizons * self.n_channels
        known = innovations[~np.isnan(innovations).any(axis=(1, 2))]
        if len(known) < 2:
            step = "Record a longer log, or use fewer n_lags and shorter horizons."
            raise wrong("X", "long enough to hold rows out", f"{len(known)} rows that could be", step)
        # Forecasts of the shorter horizons come first after a start: a root for each number of them.
        self.moving = np.tile(~constant, self.n_horizons)
        # What the square of a sensor is expected to be: those that never moved have none.
        self.square = ~constant * (self.n_channels / max(np.count_nonzero(~constant), 1)) / self.n_innovations
        self.roots = [self._root(known, g) for g in range(1, self.n_horizons + 1)]
        self.unit = np.sqrt(np.mean(known[:, 0] ** 2, axis=0))
        self.unit = np.where(self.unit > 0, self.unit, 1.0)
        self._solvers: dict[tuple[bytes, int], np.ndarray] = {}
        self.inflation = 1.0
        if memory is not None:
            z = known.reshape(len(known), -1) @ self.roots[-1]
            self.inflation = float(self._add_memory(z, np.zeros((1, z.shape[1])), 0)[0].sum(axis=1).mean() * 2.0 - 1.0)
            self.inflation = max(self.inflation, _LEAST_INFLATION)

    @property
    def n_history(self) -> int:
        """Rows before the first whose innovations are complete."""
        return self.student.n_lags - 1 + max(self.student.horizons)

    def start(self, n_streams: int) -> Running:
        """Return the state of fresh streams."""
        one_step = isinstance(self.student, LinearStudent) and self.student.horizons == (1,)
        return RunningOneStep(self, n_streams) if one_step else RunningHead(self, n_streams)

    @cached_property
    def folded(self) -> np.ndarray:
        """What takes the rows that a linear student sees and the next one to its whitened innovations."""
        assert isinstance(self.student, LinearStudent)
        return np.vstack([-self.student.weight @ self.roots[0], self.roots[0]])

    @cached_property
    def folded_intercept(self) -> np.ndarray:
        """What is added to it."""
        assert isinstance(self.student, LinearStudent)
        return -self.student.intercept @ self.roots[0]

    def identity(self) -> Sequence[np.ndarray]:
        """Return the numbers that tell this head from another."""
        return [
            *self.roots,
            self.centre,
            np.array([self.student.n_lags, *self.student.horizons, self.memory or 0.0, self.inflation]),
        ]

    def n_available(self, age: int) -> int:
        """Return how many horizons forecast a row that has `age` rows before it."""
        return sum(age >= self.student.n_lags - 1 + horizon for horizon in self.student.horizons)

    def _root(self, innovations: np.ndarray, g: int) -> np.ndarray:
        """Return the whitening matrix of the first `g` horizons, such that squares sum to g / n_horizons on average.

        Shrinkage makes squares too small where innovations of several horizons are nearly the same.
        """
        flat = innovations[:, :g].reshape(len(innovations), -1)
        root = _root(flat, self.moving[: flat.shape[1]])
        mean = float(np.mean(np.sum((flat @ root) ** 2, axis=1))) if len(flat) else 0.0
        return root * np.sqrt(g / self.n_horizons / mean) if mean > 0 else root

    def held_out_scores(
        self, innovations: np.ndarray, block: np.ndarray, opinion: np.ndarray | None = None
    ) -> np.ndarray:
        """Return raw scores of held-out innovations in order of time, each block whitened by the others.

        Parameters
        ----------
        innovations : ndarray of shape (n, n_horizons, c)
            Of students that had not seen the block of the row; NaN where a row could not be forecast.
        block : ndarray of shape (n,)
        opinion : ndarray of shape (n,) or None
            What forests that had not seen the block say of it.
        """
        known = ~np.asarray(np.isnan(innovations).any(axis=(1, 2)))
        z = np.empty((len(innovations), self.n_innovations))
        for number in np.unique(block[known]):
            inside, others = known & (block == number), known & (block != number)
            root = self._root(innovations[others], self.n_horizons) if others.any() else self.roots[-1]
            z[inside] = innovations[inside].reshape(-1, self.n_innovations) @ root
        state = np.zeros((1, self.n_innovations))
        scores = [np.empty(0)]
        for inside in runs_of(np.cumsum(np.diff(known, prepend=known[:1]))):
            if known[inside.start]:
                raw = self._add_memory(z[inside], state, 0)[0].sum(axis=1)
                scores.append(raw if opinion is None else 0.5 * (raw + opinion[inside]))
        return np.concatenate(scores)

    def contributions(self, rows: np.ndarray) -> np.ndarray:
        """Return each sensor's part of the raw score of consecutive rows (n, c), NaN where missing."""
        filled, absent = self.fill(rows)
        parts = np.empty(filled.shape)
        for first, last, g, squares in self._squares(filled):
            parts[first:last] = squares.reshape(last - first, g, self.n_channels).sum(axis=1)
            parts[first:last] += (self.n_horizons - g) / self.n_innovations
            if absent is not None:
                parts[first:last] += absent[first:last] * self.absence(g)
        return parts if self.forest is None else 0.5 * (parts + self.opinion(filled))

    def opinion(self, rows: np.ndarray) -> np.ndarray:
        """Return the forest's score of rows without a hole (n, c), shared equally: (n, 1)."""
        assert self.forest is not None
        return self.forest.scores(rows)[:, None] / self.n_channels

    def raw_scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the raw scores of consecutive rows (n, c), NaN where missing."""
        filled, absent = self.fill(rows)
        scores = np.empty(len(filled))
        for first, last, g, squares in self._squares(filled):
            scores[first:last] = squares.sum(axis=1)
            scores[first:last] += 1.0 - g / self.n_horizons
            if absent is not None:
                scores[first:last] += absent[first:last] @ self.absence(g)
        return scores if self.forest is None else 0.5 * (scores + self.forest.scores(filled))

    def absence(self, g: int) -> np.ndarray:
        """Return what missing sensors add, (c,), where `g` horizons have a forecast: the squares that are lost."""
        if g == 0:
            return np.zeros(self.n_channels)
        return self.square if self.memory is None or g < self.n_horizons else 0.5 * self.square

    def remember(self, average: np.ndarray, z: np.ndarray, n_rows: int) -> np.ndarray:
        """Move the average by one row in place, the `n_rows`-th; turn z into the squares of row and average."""
        weight = self.memory or 1.0
        part = self._bounded(z)
        part *= weight
        average *= 1.0 - weight
        average += part
        np.multiply(average, average, out=part)
        part *= 0.5 * (self._steady if n_rows > _ROWS_TO_STEADY / weight else self._precision(n_rows))
        z *= z
        z *= 0.5
        z += part
        return z

    @cached_property
    def _steady(self) -> float:
        """The precision behind so many rows that it changes no more."""
        return float(self._precision(np.inf))

    def _bounded(self, z: np.ndarray) -> np.ndarray:
        farthest = _FARTHEST / np.sqrt(self.n_innovations)
        bounded = np.maximum(z, -farthest)
        return np.minimum(bounded, farthest, out=bounded)

    def _precision(self, n_rows: float | np.ndarray) -> Any:
        """Return one over the variance of the average of `n_rows` rows.

        That of rows which do not depend on each other, times how much more it is on held-out rows: innovations of
        horizons beyond 1 overlap.
        """
        weight = self.memory or 1.0
        return (2.0 - weight) / (self.inflation * weight * (1.0 - (1.0 - weight) ** (2.0 * n_rows)))

    def _squares(self, rows: np.ndarray) -> Iterator[tuple[int, int, int, np.ndarray]]:
        """Yield stretches of rows, how many horizons forecast them, and what is summed over innovations (n, g c)."""
        ages = [0, *(self.student.n_lags - 1 + horizon for horizon in self.student.horizons), len(rows)]
        state = np.zeros((1, self.n_innovations))
        for g, (start, stop) in enumerate(pairwise(ages)):
            for first in range(start, min(stop, len(rows)), _CHUNK):
                last = min(first + _CHUNK, stop, len(rows))
                z = self._whitened(rows, first, last, g)
                if g < self.n_horizons:
                    yield first, last, g, z * z
                else:
                    squares, state = self._add_memory(z, state, first - start)
                    yield first, last, g, squares

    def _add_memory(self, z: np.ndarray, state: np.ndarray, n_before: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the squares of rows and of their moving average, which goes on from `state` after `n_before` rows."""
        if self.memory is None:
            return np.multiply(z, z, out=z), state
        average, state = lfilter([self.memory], [1.0, self.memory - 1.0], self._bounded(z), axis=0, zi=state)
        precision = self._precision(np.arange(n_before + 1, n_before + len(z) + 1))
        return 0.5 * (z * z + average * average * precision[:, None]), state

    def _whitened(self, rows: np.ndarray, first: int, last: int, g: int) -> np.ndarray:
        """Return z / sqrt(k) of some rows by the first `g` horizons."""
        if g == 0:
            return np.zeros((last - first, 0))
        n_lags, horizons = self.student.n_lags, self.student.horizons[:g]
        oldest = first - horizons[-1] - n_lags + 1
        newest = last - horizons[0]
        forecasts = self.student.forecast(lag_windows(rows[oldest:newest], n_lags))
        innovations = np.empty((last - first, g, self.n_channels))
        for number, horizon in enumerate(horizons):
            start = horizons[-1] - horizon
            np.subtract(rows[first:last], forecasts[start : start + last - first, number], out=innovations[:, number])
        return innovations.reshape(last - first, -1) @ self.roots[g - 1]

    def fill(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return rows without holes, and which values were missing; None if there are none."""
        absent = np.isnan(rows)
        if not absent.any():
            return rows, None
        filled = np.where(absent, self.centre, rows)
        for age in np.flatnonzero(absent.any(axis=1)):  # one after the other: a filled row is history to the next
            forecasts = self._forecasts_of(filled, int(age)).reshape(1, -1)
            filled[age] = self.fill_rows(rows[age : age + 1], absent[age : age + 1], forecasts)[0]
        return filled, absent

    def fill_rows(self, rows: np.ndarray, absent: np.ndarray, forecasts: np.ndarray) -> np.ndarray:
        """Fill the rows of streams (n_streams, c), given their forecasts (n_streams, g * c)."""
        filled = np.where(absent, self.centre, rows)
        g = forecasts.shape[1] // self.n_channels
        if g == 0:
            return filled
        away = filled @ self._by_sensor(g) - forecasts @ self.roots[g - 1]
        patterns, which = np.unique(absent, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            if pattern.any():
                streams = np.flatnonzero(which.ravel() == number)
                filled[np.ix_(streams, np.flatnonzero(pattern))] -= away[streams] @ self._solver(pattern, g)
        return filled

    def _by_sensor(self, g: int) -> np.ndarray:
        """Return what a unit of each sensor adds to z, (c, g c)."""
        return self.roots[g - 1].reshape(g, self.n_channels, -1).sum(axis=0)

    def _solver(self, absent: np.ndarray, g: int) -> np.ndarray:
        """Return what takes z to how far the sensors that are `absent` (c,) must move to make it smallest."""
        key = absent.tobytes(), g
        if key not in self._solvers:
            if len(self._solvers) >= _MOST_SOLVERS:
                self._solvers.clear()
            unit = self.unit[absent]  # units of sensors may differ by many orders
            self._solvers[key] = np.linalg.pinv(unit[:, None] * self._by_sensor(g)[absent]) * unit
        return self._solvers[key]

    def _forecasts_of(self, rows: np.ndarray, age: int) -> np.ndarray:
        """Return the forecasts of one row by the horizons that had history."""
        n_lags, g = self.student.n_lags, self.n_available(age)
        lasts = [age - horizon + 1 for horizon in self.student.horizons[:g]]
        every = [self.student.forecast(rows[None, last - n_lags : last])[0] for last in lasts]
        return np.array([forecast[number] for number, forecast in enumerate(every)]).reshape(g, self.n_channels)


def runs_of(run: np.ndarray) -> Sequence[slice]:
    """Return the rows of each run, given its number in every row."""
    cuts = [0, *(np.flatnonzero(np.diff(run)) + 1).tolist(), len(run)]
    return [slice(first, last) for first, last in pairwise(cuts) if last > first]


def _root(innovations: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Return P with ``P P' = S^-1``: the symmetric root of the inverse correlation, over root mean squares."""
    scale = np.sqrt(np.mean(innovations**2, axis=0))
    moving = moving & (scale > 0)
    if not moving.any():
        return np.zeros((len(scale), len(scale)))
    values, vectors = np.linalg.eigh(ledoit_wolf(innovations[:, moving] / scale[moving], assume_centered=True)[0])
    smallest = values.max() * len(values) * np.finfo(np.float64).eps
    inverse = 1.0 / np.sqrt(np.maximum(values, smallest))
    root = np.zeros((len(scale), len(scale)))
    root[np.ix_(moving, moving)] = ((vectors * inverse) @ vectors.T) / scale[moving][:, None]
    return root
