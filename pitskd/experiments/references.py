"""Forecasts that anybody can have without a student: the last value, the value a season ago, an autoregression.

They see the target's own channel in the input windows, or the series up to the origin, and nothing privileged.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.utils.validation import check_is_fitted
from statsmodels.regression.linear_model import OLS

from pitskd import _validation as check
from pitskd._random import stage_generator
from pitskd._validation import wrong
from pitskd.experiments._seasons import usual_season

__all__ = ["Autoregression", "EventForecast", "Persistence", "seasonal_naive", "usual_season"]

PERSISTENCE, SEASONAL, AUTOREGRESSION = "persistence", "seasonal naive", "autoregression"  # as tables name them
BASE_RATE = "base rate"
_ORDERS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 72, 96, 168)
_EQUATIONS = 20_000
_WINDOWS = "Pass windows of shape (n, window, n_channels)."


class Persistence(BaseEstimator):
    """The last observed value of a channel, for any horizon.

    Parameters
    ----------
    channel : int, default=0
        Where the target is among the channels of X.

    Attributes
    ----------
    mean_ : float
        Of the channel in training, for windows in which it was never observed.

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd.experiments import Persistence
    >>> X = np.array([[1.0, 2.0], [3.0, np.nan]])[:, :, None]
    >>> Persistence().fit(X, [5.0, 6.0]).predict(X)
    array([2., 3.])
    """

    mean_: float

    def __init__(self, channel: int = 0) -> None:
        self.channel = channel

    def fit(self, X: Any, y: Any = None) -> Persistence:
        """Remember the mean.

        Parameters
        ----------
        X : array of shape (n, window, n_channels)
        y : ignored

        Returns
        -------
        self : Persistence
        """
        path = _channel(X, self.channel)
        self.mean_ = float(path[~np.isnan(path)].mean()) if not np.isnan(path).all() else 0.0
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the last observed values, (n,).

        Parameters
        ----------
        X : array of shape (n, window, n_channels)
        """
        check_is_fitted(self)
        path = _channel(X, self.channel)
        known = ~np.isnan(path)
        last = path.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
        return np.where(known.any(axis=1), path[np.arange(len(path)), last], self.mean_)


class Autoregression(BaseEstimator):
    """A linear autoregression of one channel, iterated to the horizon from the rows of a window.

    Parameters
    ----------
    channel : int, default=0
        Where the target is among the channels of X.
    horizon : int, default=1
        Rows from the last input row to the target.
    orders : list of int, default=None
        Numbers of lags to choose from, at most the number of input rows (below it where no series is given); 0 is a
        constant. None: up to 168.

    Attributes
    ----------
    order_ : int
        The order of least squared error at the horizon, over the targets of the training windows.
    params_ : ndarray of shape (order_ + 1,)
        Constant, then lag 1 to lag `order_`, as statsmodels' AutoReg has them.

    Raises
    ------
    ValueError
        If windows hold NaN, or have a single row though no series is given, or an order or the channel is out of range.

    Notes
    -----
    Conditional least squares, by statsmodels' OLS, over every row that has enough rows before it: on one stretch these
    are the equations of `statsmodels.tsa.ar_model.AutoReg`. Of more than 20,000 such rows that many are drawn, the same
    ones each time. The series gives more equations than its windows, and longer ones. Without it, windows that overlap
    repeat the equations of their common rows. Targets choose the order and are no equations themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd.experiments import Autoregression
    >>> X = 0.5 ** np.arange(12.0).reshape(3, 4, 1)  # every value is half the one before
    >>> Autoregression(horizon=2, orders=[1]).fit(X, X[:, -1, 0] / 4).predict(np.ones((1, 4, 1))).round(6)
    array([0.25])
    """

    order_: int
    params_: np.ndarray

    def __init__(self, channel: int = 0, *, horizon: int = 1, orders: Any = None) -> None:
        self.channel = channel
        self.horizon = horizon
        self.orders = orders

    def fit(self, X: Any, y: Any, *, series: Any = None) -> Autoregression:
        """Fit every order and keep the best at the horizon.

        Parameters
        ----------
        X : array of shape (n, window, n_channels)
        y : array of shape (n,)
            The channel, `horizon` rows behind each window.
        series : array of shape (n_rows,), default=None
            The channel over all that may be learnt from, row by row; NaN where a value is missing, and between
            stretches that do not follow each other. None: the windows are all there is.

        Returns
        -------
        self : Autoregression
        """
        check.check_integer("horizon", self.horizon, minimum=1, step="Use horizon=1 for the next row.")
        path, y = _observed(X, self.channel), np.asarray(y, dtype=np.float64)
        check.check_same_rows("y", len(y), len(path), "Pass one target per window.")
        orders = self._orders(path.shape[1], alone=series is None)
        values = np.pad(path, ((0, 0), (0, 1)), constant_values=np.nan).ravel() if series is None else _row(series)
        fitted = list(_conditional_least_squares(values, orders))
        if not fitted:
            step = "Pass the training part, or None."
            raise wrong("series", "a series with rows that follow each other", f"{len(values)} rows", step)
        errors = [np.square(_iterate(path, params, self.horizon) - y).mean() for params in fitted]
        self.params_ = fitted[int(np.argmin(np.nan_to_num(errors, nan=np.inf)))]
        self.order_ = len(self.params_) - 1
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return forecasts from each window's own last values, (n,).

        Parameters
        ----------
        X : array of shape (n, window, n_channels)
        """
        check_is_fitted(self)
        return _iterate(_observed(X, self.channel), self.params_, self.horizon)

    def _orders(self, window: int, *, alone: bool) -> list[int]:
        if alone and window < 2:
            raise wrong("X", "windows of two rows at least", f"{window}", "A single row shows no dynamics.")
        longest = window - 1 if alone else window
        if self.orders is None:
            most = min(longest, _ORDERS[-1])
            return sorted({order for order in _ORDERS if order < most} | {most})
        step = f"Use orders up to {longest}."
        orders = [check.check_integer("orders", order, minimum=0, step=step) for order in self.orders]
        if not orders or max(orders) > longest:
            within = "below" if alone else "up to"
            raise wrong("orders", f"numbers of lags {within} the {window} rows of a window", self.orders, step)
        return orders


class EventForecast(BaseEstimator):
    """Events from a forecast of the number behind them, which may be above a threshold.

    A logistic rule of the forecast, fitted in training, turns it into a probability, so that a forecast drawn to the
    mean is not held against it. Fit it to the *numbers*, not to the labels.

    Parameters
    ----------
    model : estimator
        Forecasts the number; it is cloned.
    threshold : float
        An event is a number above it.
    cv : int, default=None
        Contiguous folds whose held-out forecasts teach the rule; None: the forecasts of training rows, which do where
        the model has few parameters.

    Attributes
    ----------
    model_ : estimator
    rule_ : LogisticRegression
    classes_ : ndarray of shape (2,)
        0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd.experiments import EventForecast, Persistence
    >>> X = np.arange(8.0).reshape(8, 1, 1)
    >>> EventForecast(Persistence(), threshold=4.5).fit(X, X[:, 0, 0] + 1).predict(X)
    array([0, 0, 0, 0, 1, 1, 1, 1])
    """

    model_: Any
    rule_: LogisticRegression
    classes_: np.ndarray

    def __init__(self, model: Any, threshold: float, cv: int | None = None) -> None:
        self.model = model
        self.threshold = threshold
        self.cv = cv

    def fit(self, X: Any, y: Any) -> EventForecast:
        """Fit the model, and the rule to its forecasts.

        Parameters
        ----------
        X : array of shape (n, ...)
            As the model takes it.
        y : array of shape (n,)
            Numbers, some above the threshold and some not.

        Returns
        -------
        self : EventForecast
        """
        y = np.asarray(y, dtype=np.float64)
        labels = (y > self.threshold).astype(np.int64)
        check.check_two_classes("y", np.unique(labels))
        self.model_ = clone(self.model).fit(X, y)
        said = self.model_.predict(X) if self.cv is None else cross_val_predict(self.model, X, y, cv=KFold(self.cv))
        self._centre, self._spread = float(np.mean(said)), float(np.std(said)) or 1.0
        self.rule_ = LogisticRegression(C=1e4).fit(self._scaled(said), labels)
        self.classes_ = self.rule_.classes_
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return labels 0 and 1, (n,)."""
        check_is_fitted(self)
        return self.rule_.predict(self._scaled(self.model_.predict(X)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of no event and of one, (n, 2)."""
        check_is_fitted(self)
        return self.rule_.predict_proba(self._scaled(self.model_.predict(X)))

    def _scaled(self, said: Any) -> np.ndarray:
        return (np.asarray(said, dtype=np.float64).reshape(-1, 1) - self._centre) / self._spread


def seasonal_naive(
    clock: Any, values: Any, origin: Any, *, horizon: int, season: float, groups: Any = None, group: Any = None
) -> np.ndarray:
    """Return what a series was the least number of whole seasons before the time to be forecast.

    Parameters
    ----------
    clock : array of shape (n_rows,)
        Numbers, ascending (in each group): times as integers, months counted on, or row numbers.
    values : array of shape (n_rows,)
        The series, NaN where missing.
    origin : array of shape (n,)
        Clock of the last known row of each forecast.
    horizon : int
        Rows from the origin to the target.
    season : float
        In units of the clock, above 0.
    groups, group : array of shape (n_rows,) and of shape (n,), default=None
        Which group each row and each forecast belongs to; only its own rows are read.

    Returns
    -------
    forecasts : ndarray of shape (n,)
        NaN where there is no row at that time (to within half the usual step), or its value is missing.

    Examples
    --------
    >>> from pitskd.experiments import seasonal_naive
    >>> seasonal_naive(range(10), [0.0, 10.0, 20.0, 30.0, 40.0] * 2, [5, 7, 1], horizon=2, season=5)
    array([20., 40., nan])
    """
    horizon = check.check_integer("horizon", horizon, minimum=1, step="Use horizon=1 for the next row.")
    season = check.check_positive("season", season, "Give it in units of the clock.")
    clock, values, origin = np.asarray(clock), np.asarray(values, dtype=np.float64), np.asarray(origin)
    if groups is None:
        return _a_season_ago(clock, values, origin, horizon, season)
    codes, labels = pd.factorize(np.asarray(groups))
    order = np.argsort(codes, kind="stable")
    borders = np.searchsorted(codes[order], np.arange(len(labels) + 1))
    asked_of = pd.Index(labels).get_indexer(pd.Index(np.asarray(group)))
    said = np.full(len(origin), np.nan)
    for code in np.unique(asked_of[asked_of >= 0]):
        rows, asked = order[borders[code] : borders[code + 1]], asked_of == code
        said[asked] = _a_season_ago(clock[rows], values[rows], origin[asked], horizon, season)
    return said


def read_references(references: Any, n_rows: int, n_targets: int, counts: np.ndarray, taken: Any) -> dict[str, Any]:
    """Return references by name, checked.

    They are arrays of forecasts, pairs of an estimator and its targets (or None), or lists of a fitted model per split.
    """
    if references is None:
        return {}
    step = 'Pass e.g. references={"persistence": Persistence(channel=0)}.'
    if not isinstance(references, Mapping):
        raise wrong("references", "a mapping of names", type(references).__name__, step, TypeError)
    for name in references:
        if not isinstance(name, str) or name in taken or name.startswith("candidate: "):
            raise wrong("references", "named by texts that no other method has", name, "Choose another name.")
    return {name: _reference(name, one, n_rows, n_targets, counts) for name, one in references.items()}


def _reference(name: str, given: Any, n_rows: int, n_targets: int, counts: np.ndarray) -> Any:
    label = f"references[{name!r}]"
    if isinstance(given, list) and given and all(hasattr(one, "predict") for one in given):
        return given
    estimator, targets = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if targets is not None:
        targets = np.asarray(targets)
        check.check_same_rows(label, len(targets), n_rows, "Pass one target per row.")
    if hasattr(estimator, "fit") and hasattr(estimator, "predict") and not isinstance(estimator, type):
        return estimator, targets
    said = np.asarray(estimator)
    if targets is not None or said.dtype.kind not in "biufUO" or said.ndim not in (1, 2):
        expected = "an estimator with fit and predict, or a forecast of every row"
        raise wrong(label, expected, given, "Pass Persistence(), or an array.", TypeError)
    check.check_same_rows(label, len(said), n_rows, "Pass one forecast per row.")
    if said.size != n_rows * n_targets:
        raise wrong(label, f"of shape ({n_rows}, {n_targets})", f"shape {said.shape}", "One column per target.")
    if pd.isna(said[counts]).any():
        raise wrong(label, "a forecast of every row that is scored", "NaN", "Fill it, e.g. with the last value.")
    return said


def check_per_split(references: Mapping[str, Any], n_splits: int) -> None:
    """Refuse fitted models that are not one for each split."""
    for name, one in references.items():
        if isinstance(one, list) and len(one) != n_splits:
            expected = f"an estimator, forecasts, or one fitted model for each of {n_splits} splits"
            raise wrong(f"references[{name!r}]", expected, f"{len(one)} models", "Pass the splits as cv, too.")


def _channel(X: Any, channel: int) -> np.ndarray:
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 3:
        raise wrong("X", "of shape (n, window, n_channels)", f"shape {X.shape}", _WINDOWS)
    if not 0 <= channel < X.shape[2]:
        raise wrong("channel", f"between 0 and {X.shape[2] - 1}", channel, "Count the channels of X from 0.")
    return X[:, :, channel]


def _observed(X: Any, channel: int) -> np.ndarray:
    path = _channel(X, channel)
    if not np.isfinite(path).all():
        raise wrong("X", "finite", "NaN or infinity", "Drop these windows.")
    return path


def _row(series: Any) -> np.ndarray:
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1:
        raise wrong("series", "of shape (n_rows,)", f"shape {values.shape}", "Pass the one channel.")
    return values


def _conditional_least_squares(values: np.ndarray, orders: list[int]) -> Iterator[np.ndarray]:
    """Yield constant and lags 1 to order, where a series has rows with so many before them."""
    bad = np.where(np.isfinite(values), -1, np.arange(len(values)))
    before = np.arange(len(values)) - np.maximum.accumulate(bad) - 1  # known rows right before each; -1: missing itself
    rows = _drawn(np.flatnonzero(before >= max(orders)))
    centre = values[rows].mean() if len(rows) else 0.0  # a level far from 0 would cost digits
    for order in orders:
        due = rows if len(rows) == _EQUATIONS else _drawn(np.flatnonzero(before >= order))
        if not len(due):
            continue
        known = np.lib.stride_tricks.sliding_window_view(values, order + 1)[due - order][:, ::-1] - centre
        design = np.column_stack([np.ones(len(due)), known[:, 1:]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where equations leave a choice, the shortest solution is meant
            params = np.array(OLS(known[:, 0], design).fit().params)
        params[0] += centre * (1.0 - params[1:].sum())
        yield params


def _drawn(rows: np.ndarray) -> np.ndarray:
    """Return rows, or as many of them as will do; evenly spaced ones might all be of one hour of the day."""
    if len(rows) <= _EQUATIONS:
        return rows
    return np.sort(stage_generator(0, "autoregression").choice(rows, _EQUATIONS, replace=False, shuffle=False))


def _iterate(path: np.ndarray, params: np.ndarray, horizon: int) -> np.ndarray:
    """Return the forecast of each path (n, window) some rows on."""
    order = len(params) - 1
    known = path[:, path.shape[1] - order :][:, ::-1]  # newest first
    said = np.full(len(path), params[0])
    with np.errstate(over="ignore", invalid="ignore"):  # an order that explodes loses
        for _ in range(horizon if order else 1):
            said = params[0] + known @ params[1:]
            known = np.column_stack([said, known[:, :-1]])
    return said


def _a_season_ago(clock: np.ndarray, values: np.ndarray, origin: np.ndarray, horizon: int, season: float) -> np.ndarray:
    row = np.searchsorted(clock, origin)
    usual = float(np.quantile(np.diff(clock), 0.5, method="lower")) if len(clock) > 1 else 1.0
    ahead = np.minimum(row + horizon, len(clock) - 1)
    due = clock[ahead] + (row + horizon - ahead) * usual
    wanted = due - np.ceil((due - origin) / season - 1e-9) * season
    near = np.clip(np.searchsorted(clock, wanted - usual / 2), 0, len(clock) - 1)
    found = (np.abs(clock[near] - wanted) < usual / 2) & (clock[near] <= origin)
    return np.where(found, values[near], np.nan)
