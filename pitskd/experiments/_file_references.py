"""The series beside its windows, and forecasts that anybody can have from it: the references of a report on a file.

In every split an autoregression learns from all rows of the series that no held-out block of time touches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pitskd._series import Table
from pitskd.experiments._seasons import clocks, season_in_words, usual_season
from pitskd.experiments.references import (
    AUTOREGRESSION,
    BASE_RATE,
    PERSISTENCE,
    SEASONAL,
    Autoregression,
    EventForecast,
    Persistence,
    seasonal_naive,
)
from pitskd.forecasting.clock import Clock
from pitskd.forecasting.own_file import OwnFile, WindowOptions
from pitskd.linear.tuned import TunedRidge
from pitskd.windows import PrivilegedWindows

__all__: list[str] = []

ON_NUMBER = "ridge on the number"
Splits = Sequence[tuple[np.ndarray, np.ndarray]]


class Recorded:
    """The parts of a file, of which the clock, the target and the group of every row are kept while they pass by."""

    def __init__(self, parts: Any, options: WindowOptions) -> None:
        self._parts, self._options = parts, options
        self._clock: list[pd.Index] = []
        self._values: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parts, name)

    @property
    def of_file(self) -> Any:
        """The parts alone."""
        return self._parts

    def __iter__(self) -> Iterator[pd.DataFrame]:
        self._clock, self._values, self._labels = [], [], []
        for frame in self._parts:
            self._clock.append(frame.index)
            self._values.append(frame[self._options.target].to_numpy(dtype=np.float64))
            if self._options.group is not None:
                self._labels.append(pd.Categorical(frame[self._options.group]))
            yield frame

    @property
    def index(self) -> pd.Index:
        return self._clock[0].append(self._clock[1:])

    @property
    def values(self) -> np.ndarray:
        return np.concatenate(self._values)

    @property
    def groups(self) -> np.ndarray | None:
        """Label of each row."""
        return np.asarray(pd.api.types.union_categoricals(self._labels)) if self._labels else None

    def of_target(self, max_gap: Any) -> Table:
        """Return the target as windows see it: by group, with its clock and its holes."""
        return Table.read(pd.DataFrame({"target": self.values}, index=self.index), self.groups, max_gap)


def references(
    own: OwnFile, windows: PrivilegedWindows, series: Recorded, clock: Clock, season: Any, splits: Splits
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Return references by name, what is left out and why, and what has to be said of them."""
    options = own.options
    found: dict[str, Any] = {}
    absent: dict[str, str] = {}
    notes: list[str] = []
    if options.target not in windows.feature_names:
        why = "privileged" if options.target in options.privileged_columns else "not among --columns"
        reason = f"{options.target!r} is {why}: its past is not known when the student forecasts"
        absent |= dict.fromkeys((PERSISTENCE, SEASONAL, AUTOREGRESSION), reason)
    else:
        found[PERSISTENCE] = Persistence(windows.feature_names.index(options.target))
        found[AUTOREGRESSION] = _autoregressions(own, windows, series, splits)
        said, why = _seasonal(options, windows, series, clock, season, notes)
        if said is None:
            absent[SEASONAL] = why
        else:
            found[SEASONAL] = said
    if options.threshold is not None:
        found = _as_events(found, windows, options.threshold, splits, notes)
    return found, absent, notes


def _autoregressions(
    own: OwnFile, windows: PrivilegedWindows, series: Recorded, splits: Splits
) -> list[Autoregression]:
    """Return one for each split, of the series but for the time that is held out."""
    channel, table = windows.feature_names.index(own.options.target), series.of_target(own.max_gap)
    model = Autoregression(channel, horizon=own.options.horizon)
    fitted = []
    for train, test in splits:
        known = training_part(table, np.asarray(windows.spans), test)
        fitted.append(clone(model).fit(windows.X[train], windows.y[train], series=known))
    return fitted


def training_part(table: Table, spans: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return a series with NaN from the first to the last moment of held-out windows in a row, and at its borders.

    Parameters
    ----------
    table : Table
        One column.
    spans : ndarray of shape (n, 2)
        First and last moment of each window, ascending in the first.
    test : ndarray of int
        Windows that are held out, ascending.
    """
    values = table.values[:, 0].astype(np.float64)
    clock = np.arange(len(values)) if table.clock is None else table.clock
    for block in np.split(test, np.flatnonzero(np.diff(test) > 1) + 1):
        values[(clock >= spans[block, 0].min()) & (clock <= spans[block, 1].max())] = np.nan
    borders = [] if table.breaks is None else np.flatnonzero(np.diff(table.breaks)) + 1
    return np.insert(values, borders, np.nan) if len(borders) else values


def _as_events(
    found: dict[str, Any], windows: PrivilegedWindows, threshold: float, splits: Splits, notes: list[str]
) -> dict[str, Any]:
    """Return references as forecasts of events, and with them what needs no series, or the number behind the event."""
    events: dict[str, Any] = {BASE_RATE: (DummyClassifier(strategy="prior"), None)}
    for name, one in found.items():
        if isinstance(one, np.ndarray):
            events[name] = (one > threshold).astype(np.int64)
        elif isinstance(one, list):
            events[name] = [
                EventForecast(FrozenEstimator(model), threshold).fit(windows.X[train], windows.y[train])
                for model, (train, _) in zip(one, splits, strict=True)
            ]
        else:
            events[name] = EventForecast(one, threshold), windows.y
    ridge = make_pipeline(FunctionTransformer(_flat), TunedRidge())
    events[ON_NUMBER] = EventForecast(ridge, threshold, cv=5), windows.y
    notes.append(
        "References but the base rate forecast the number; a logistic rule of it, learnt in training, says the event."
    )
    if SEASONAL in events:
        notes.append("The seasonal naive forecast is compared with the threshold as it is.")
    return events


def _flat(X: np.ndarray) -> np.ndarray:
    return np.asarray(X).reshape(len(X), -1)


def _step(clock: Clock) -> pd.Timedelta | None:
    """Return the usual step of a group, for times."""
    return None if clock.ticks is None or clock.unit is None else pd.Timedelta(int(clock.ticks), clock.unit)


def _seasonal(
    options: WindowOptions, windows: PrivilegedWindows, series: Recorded, clock: Clock, season: Any, notes: list[str]
) -> tuple[np.ndarray | None, str]:
    """Return the seasonal naive forecast of every window, or why there is none."""
    index, why = series.index, ""
    given = season
    if season is None:
        season, why = usual_season(index, step=_step(clock))
        if season is None:
            return None, why
    passed, origin, length = clocks(index, windows.origin, season, step=clock.ticks, groups=series.groups)
    said = seasonal_naive(
        passed, series.values, origin, horizon=options.horizon, season=length, groups=series.groups,
        group=windows.groups,
    )  # fmt: skip
    missing = np.isnan(said)
    if missing.all():
        return None, f"no window has a known value a season ({season_in_words(season)}) before its target"
    last = Persistence(windows.feature_names.index(options.target)).fit(windows.X).predict(windows.X)
    filled = np.where(missing, last, said)
    if np.array_equal(filled, last):
        return None, f"the horizon is a whole number of seasons ({season_in_words(season)}): it is {PERSISTENCE}"
    whence = "as asked" if given is not None else "as the clock suggests"
    notes.append(f"Season: {season_in_words(season)}, {whence}.")
    if missing.any():
        stands_in = f"in {missing.sum()} of {len(said)} windows that have none"
        notes.append(f"Seasonal naive: the last value stands in for that of a season ago {stands_in}.")
    return filled, ""
