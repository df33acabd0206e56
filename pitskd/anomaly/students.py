"""Students of a sensor stream: what they forecast of a row from the rows before it.

A student sees the last `n_lags` rows and forecasts the row `h` ahead of the newest, for every `h` of its `horizons`,
directly. Horizon 0 is the newest row itself: a reconstruction. The head asks for nothing else, so anything that
forecasts or reconstructs rows can stand here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.base import clone
from sklearn.covariance import ledoit_wolf

from pitskd._estimator import Distillation
from pitskd.linear._paths import ridge_grid

__all__: list[str] = []

PENALTIES = np.logspace(-2, 4, 7)
ORDERS = (1, 2, 3, 5)
_N_BLOCKS, _N_BLOCKS_OF_ESTIMATORS = 10, 5
_ROWS_PER_BLOCK = 5  # of the shortest log


@dataclass(frozen=True, eq=False)
class Log:
    """Rows to learn from: consecutive inside a run, usable where every channel is known and the row is normal."""

    rows: np.ndarray  # (n, c), runs one below the other
    run: np.ndarray  # (n,) number of the run of each row, ascending
    usable: np.ndarray  # (n,) bool
    privileged: np.ndarray | None = None  # (n, c*)

    def blocks(self, n_blocks: int) -> np.ndarray:
        """Return the number of the block of each row: contiguous, with equal shares of the usable rows."""
        before = np.cumsum(self.usable) - self.usable
        return np.minimum(before * n_blocks // max(np.count_nonzero(self.usable), 1), n_blocks - 1)

    def samples(self, n_lags: int, horizon: int) -> np.ndarray:
        """Return the rows that can be forecast: they and all rows from the first lag on are usable, in one run."""
        reach = n_lags - 1 + horizon
        if len(self.rows) <= reach:
            return np.empty(0, dtype=np.int64)
        bad = np.concatenate([[0], np.cumsum(~self.usable)])
        last = np.arange(reach, len(self.rows))
        return last[(bad[last + 1] == bad[last - reach]) & (self.run[last] == self.run[last - reach])]

    def lags(self, rows: np.ndarray, n_lags: int, horizon: int) -> np.ndarray:
        """Return what is seen when `rows` are forecast: (n, n_lags, c), oldest first."""
        return self.rows[rows[:, None] - horizon - n_lags + 1 + np.arange(n_lags)]

    def middle(self, rows: np.ndarray, n_lags: int, horizon: int) -> np.ndarray:
        """Return what only a teacher sees: all channels from the first lag to the row before the one forecast."""
        assert self.privileged is not None
        every = np.hstack([self.rows, self.privileged])
        return every[rows[:, None] - horizon - n_lags + 1 + np.arange(n_lags + horizon - 1)]


class Student(ABC):
    """Forecast rows from the rows before them."""

    n_lags: int
    horizons: tuple[int, ...]

    @abstractmethod
    def forecast(self, windows: np.ndarray) -> np.ndarray:
        """Forecast from windows (n, n_lags, c), oldest row first: (n, n_horizons, c)."""

    def forecast_flat(self, windows: np.ndarray) -> np.ndarray:
        """Forecast from windows (n, n_lags * c): (n, n_horizons * c)."""
        n = len(windows)
        return self.forecast(windows.reshape(n, self.n_lags, -1)).reshape(n, -1)


class LinearStudent(Student):
    """A vector autoregression with one coefficient matrix for every horizon."""

    def __init__(self, coef: Sequence[np.ndarray], intercept: Sequence[np.ndarray], horizons: tuple[int, ...]) -> None:
        self.horizons = horizons
        self.n_channels = len(intercept[0])
        self.n_lags = coef[0].shape[1] // self.n_channels
        self.weight = np.ascontiguousarray(np.vstack(coef).T)  # (n_lags * c, n_horizons * c)
        self.intercept = np.concatenate(intercept)

    def forecast(self, windows: np.ndarray) -> np.ndarray:
        """Forecast from windows (n, n_lags, c), oldest row first: (n, n_horizons, c)."""
        values = self.forecast_flat(windows.reshape(len(windows), -1))
        return values.reshape(len(windows), len(self.horizons), self.n_channels)

    def forecast_flat(self, windows: np.ndarray) -> np.ndarray:
        """Forecast from windows (n, n_lags * c): (n, n_horizons * c)."""
        values = windows.dot(self.weight)
        values += self.intercept
        return values


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A fitted regressor of one horizon, that sees and tells rows in standard deviations of those it learnt from."""

    model: Any
    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, estimator: Any, log: Log, rows: np.ndarray, n_lags: int, horizon: int) -> Forecaster:
        """Learn to forecast `rows` of a log; an estimator that distils sees the rows between while it learns."""
        y = log.rows[rows]
        centre, scale = y.mean(axis=0), y.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        windows, y = (log.lags(rows, n_lags, horizon) - centre) / scale, (y - centre) / scale
        if not isinstance(estimator, Distillation):
            return cls(clone(estimator).fit(windows.reshape(len(windows), -1), y), centre, scale)
        Z = None
        if log.privileged is not None:
            Z = log.middle(rows, n_lags, horizon)
            Z[..., : len(centre)] = (Z[..., : len(centre)] - centre) / scale  # what both see has the same units
        return cls(clone(estimator).fit(windows, y, X_privileged=Z), centre, scale)

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Forecast from windows (n, n_lags, c): (n, c)."""
        X = (windows - self.centre) / self.scale
        X = X if isinstance(self.model, Distillation) else X.reshape(len(X), -1)
        return np.asarray(self.model.predict(X)).reshape(len(X), -1) * self.scale + self.centre


class EstimatorStudent(Student):
    """One fitted regressor for every horizon."""

    def __init__(self, forecasters: Sequence[Forecaster], horizons: tuple[int, ...], n_lags: int) -> None:
        self.forecasters, self.horizons, self.n_lags = list(forecasters), horizons, n_lags

    def forecast(self, windows: np.ndarray) -> np.ndarray:
        """Forecast from windows (n, n_lags, c), oldest row first: (n, n_horizons, c)."""
        return np.stack([forecaster(windows) for forecaster in self.forecasters], axis=1)


@dataclass(frozen=True, eq=False)
class Lesson:
    """A fitted student with innovations of students that had not seen the block of the row, and how it was chosen."""

    student: Student
    innovations: np.ndarray  # (n, n_horizons, c), NaN where a row could not be forecast
    block: np.ndarray  # (n,)
    penalties: np.ndarray | None = None  # (n_horizons,)
    log_likelihoods: dict[int, float] | None = None  # per row of the shortest horizon, by order


def learn_ridge(log: Log, horizons: tuple[int, ...], n_lags: int | None) -> Lesson:
    """Fit a ridge VAR; the penalty of each horizon and, unless given, the order maximise a held-out likelihood.

    The Gaussian log-likelihood of the innovations of each block has the Ledoit-Wolf covariance of the other blocks'
    innovations. The order is that of the shortest horizon, judged on the same rows for all orders: forecasts further
    ahead depend on it little, and drag it down.
    """
    orders = [n_lags] if n_lags is not None else _orders(log, horizons)
    block = log.blocks(_n_blocks(log, orders[-1], horizons, _N_BLOCKS))
    found = {order: _ridge(log, block, horizons, order) for order in orders}
    common = log.samples(orders[-1], min(horizons))
    likelihoods = {
        order: _log_likelihood(lesson.innovations[common, 0], block[common]) for order, lesson in found.items()
    }
    best = max(likelihoods, key=lambda order: (likelihoods[order], -order))
    chosen = found[best]
    return Lesson(chosen.student, chosen.innovations, block, chosen.penalties, likelihoods)


def learn_estimator(log: Log, horizons: tuple[int, ...], n_lags: int, estimator: Any) -> Lesson:
    """Fit a regressor to each horizon; one that distils learns from the rows between and the privileged sensors too."""
    innovations = np.full((len(log.rows), len(horizons), log.rows.shape[1]), np.nan)
    block = log.blocks(_n_blocks(log, n_lags, horizons, _N_BLOCKS_OF_ESTIMATORS))
    forecasters = []
    for number, horizon in enumerate(horizons):
        rows = log.samples(n_lags, horizon)
        for train, test in _folds(rows, n_lags - 1 + horizon, block):
            forecaster = Forecaster.fit(estimator, log, rows[train], n_lags, horizon)
            seen = log.lags(rows[test], n_lags, horizon)
            innovations[rows[test], number] = log.rows[rows[test]] - forecaster(seen)
        forecasters.append(Forecaster.fit(estimator, log, rows, n_lags, horizon))
    return Lesson(EstimatorStudent(forecasters, horizons, n_lags), innovations, block)


def _ridge(log: Log, block: np.ndarray, horizons: tuple[int, ...], n_lags: int) -> Lesson:
    innovations = np.full((len(log.rows), len(horizons), log.rows.shape[1]), np.nan)
    coefs, intercepts, penalties = [], [], []
    for number, horizon in enumerate(horizons):
        rows = log.samples(n_lags, horizon)
        X, y = log.lags(rows, n_lags, horizon).reshape(len(rows), -1), log.rows[rows]
        folds = list(_folds(rows, n_lags - 1 + horizon, block))
        sets = np.zeros((len(folds) + 1, len(rows)))
        sets[-1] = 1.0
        for weight, (train, _) in zip(sets, folds, strict=False):
            weight[train] = 1.0
        coef, intercept = ridge_grid(X, y, PENALTIES, sets)
        left = np.full((len(PENALTIES), *y.shape), np.nan)
        for f, (_, test) in enumerate(folds):
            left[:, test] = y[test] - (X[test] @ coef[f].transpose(0, 2, 1) + intercept[f][:, None])
        best = int(np.argmax([_log_likelihood(e, block[rows]) for e in left]))
        innovations[rows, number] = left[best]
        coefs.append(coef[-1, best])
        intercepts.append(intercept[-1, best])
        penalties.append(PENALTIES[best])
    return Lesson(LinearStudent(coefs, intercepts, horizons), innovations, block, np.array(penalties))


def _orders(log: Log, horizons: tuple[int, ...]) -> list[int]:
    """Return the orders that leave more rows than coefficients per channel in four fifths of the log."""
    n_channels = log.rows.shape[1]
    fits = [order for order in ORDERS if 0.8 * len(log.samples(order, max(horizons))) > order * n_channels]
    return fits or [1]


def _n_blocks(log: Log, n_lags: int, horizons: tuple[int, ...], most: int) -> int:
    """Return how many blocks of some rows there are; at least two."""
    return int(np.clip(len(log.samples(n_lags, max(horizons))) // _ROWS_PER_BLOCK, 2, most))


def _folds(rows: np.ndarray, reach: int, block: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each block the positions of `rows` outside, which share no row with it, and of those in it."""
    for number in np.unique(block[rows]):
        inside = np.flatnonzero(block == number)
        test = np.flatnonzero(block[rows] == number)
        train = np.flatnonzero((rows < inside[0]) | (rows - reach > inside[-1]))
        if len(train) > 1:
            yield train, test


def _log_likelihood(innovations: np.ndarray, block: np.ndarray) -> float:
    """Return the Gaussian log-likelihood per row of innovations (n, c), each block under the covariance of the others.

    Constant up to the terms that all candidates share; rows with a NaN and channels that never differ do not count.
    """
    known = ~np.isnan(innovations).any(axis=1)
    values, block = innovations[known], block[known]
    scale = values.std(axis=0)
    values = values[:, scale > 0] / scale[scale > 0]
    total = 0.0
    for number in np.unique(block) if values.size else ():
        inside = block == number
        if np.count_nonzero(~inside) < 2:
            continue
        covariance = ledoit_wolf(values[~inside], assume_centered=True)[0]
        distances = np.einsum("ij,ij->i", values[inside] @ np.linalg.inv(covariance), values[inside])
        total -= 0.5 * float((distances + np.linalg.slogdet(covariance)[1]).sum())
    return total / max(len(values), 1) - float(np.log(scale[scale > 0]).sum()) if total else -np.inf


def lag_windows(rows: np.ndarray, n_lags: int) -> np.ndarray:
    """Return all windows of consecutive rows, (n - n_lags + 1, n_lags, c), as a view."""
    return sliding_window_view(rows, n_lags, axis=0).swapaxes(1, 2)
