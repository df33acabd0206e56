"""Does the privileged part help on a user's own file: its windows, the front door, and forecasts that anybody can have.

The file is read once, in parts; what is dropped is counted. All statistics are those of `privileged_report`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from threadpoolctl import threadpool_limits

from pitskd._validation import wrong
from pitskd.experiments._file_words import FileReport
from pitskd.experiments._seasons import clocks, read_season, season_in_words
from pitskd.experiments._time_splits import time_splits
from pitskd.experiments.privileged_report import privileged_report
from pitskd.experiments.references import (
    AUTOREGRESSION,
    PERSISTENCE,
    SEASONAL,
    Autoregression,
    EventForecast,
    Persistence,
    seasonal_naive,
    usual_season,
)
from pitskd.experiments.whole_file import MOST_COLUMNS, WholeFile, compare_on_all
from pitskd.forecasting.own_file import Gathered, OwnFile, WindowOptions, check_both, gather, open_file
from pitskd.linear.tuned import TunedRidge
from pitskd.privileged import PrivilegedClassifier, PrivilegedRegressor
from pitskd.windows import PrivilegedWindows

__all__ = ["FileReport", "file_report"]

ON_NUMBER = "ridge on the number"
ON_MARGIN = "ridge on the margin"  # what `privileged_report` leaves out: here the number behind the label is known
_SPLITS = (20, 16, 12, 8)
_SIZES = (2000, 1500, 1000, 750, 500)  # windows
_PATIENCE = 105.0  # seconds that the splits should take on one core: fewer are drawn, of fewer windows
_LEAST = 8  # windows
_STRETCH = 120  # windows of a figure
_PRODUCTS = 1e12  # of numbers, that a pass over all windows may take unasked


def file_report(
    path: Any,
    *,
    target: str,
    window: int,
    horizon: int,
    privileged: Any = "between",
    privileged_columns: Any = None,
    columns: Any = None,
    threshold: float | None = None,
    time: str | None = None,
    group: str | None = None,
    season: Any = None,
    max_windows: int | None = None,
    stride: int | None = None,
    max_gap: Any = None,
    units: Any = None,
    all_windows: bool | None = None,
    learning_curve: Any = False,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> FileReport:
    """Say whether the rows in between, or columns that will not be there later, help to forecast a column of a file.

    Windows are cut, the front door is judged by `privileged_report` beside its baselines and controls, and beside
    persistence, a seasonal naive forecast and an autoregression, on held-out blocks of time.

    Parameters
    ----------
    path : str or path
        CSV or Parquet, in order of time (in each group).
    target : str
        Column to forecast.
    window, horizon : int
        Rows seen, and rows from the last of them to the target.
    privileged : "between", int, list of int or None, default="between"
        Rows between input and target that the teacher sees, as in `make_windows`.
    privileged_columns : list of str, default=None
        Columns that the student will not have.
    columns : list of str, default=None
        Its inputs; None: all columns of numbers.
    threshold : float, default=None
        Forecast the event that the target is above it.
    time : str, default=None
        Time column; None: the one named time, timestamp, datetime or date, if there is one.
    group : str, default=None
        Column that tells series apart; no window spans two.
    season : int, str or Timedelta, default=None
        Of the seasonal naive forecast, in rows or as a time such as ``"24h"``. None: a day for steps of a minute to
        twelve hours, a week for days, twelve for months, else none.
    max_windows : int, default=None
        At most so many evenly spaced windows; None: 2000, down to 500 where the models are large, such as those of
        events long ahead, so that most reports take less than two minutes on one core.
    stride : int, default=None
        Rows from one window to the next, in place of `max_windows`.
    max_gap : str or number, default=None
        Longest step of the clock inside a window; None: the usual one.
    units : mapping, default=None
        Unit of columns by name; the file's own are known from Parquet's attributes or names like ``pm2.5 [ug/m3]``.
    all_windows : bool, default=None
        Where only some windows are judged: whether a second pass compares a linear student with tuned ridge on all of
        them, from sums over blocks of time (no events, no groups). None: where that takes about a minute at most.
    learning_curve, n_jobs, random_state
        As for `privileged_report`; a random_state here is an integer.

    Returns
    -------
    FileReport
        `print` it; `verdict`, `summary`, `table`, `report`, `facts`, `to_frame` and `to_json` hold the parts.

    Raises
    ------
    ValueError, TypeError
        For a file that cannot be read, a column it does not have, too few windows, a target of one value, nothing
        privileged, or a parameter out of range; before any training.

    Notes
    -----
    A window with a missing target, a missing input or a hole in the clock is dropped. Windows whose privileged part has
    missing values are left out too while that leaves more than half, so that every method and the bound are judged on
    the same rows; else they teach by their target alone. Nothing is imputed. Eight to twenty splits are drawn, fewer
    where the models are large.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np, pandas as pd
    >>> from pathlib import Path
    >>> from pitskd import file_report
    >>> load = np.random.default_rng(0).normal(size=240).cumsum()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pd.DataFrame({"load": load}).to_csv(Path(folder) / "load.csv", index=False)
    ...     report = file_report(Path(folder) / "load.csv", target="load", window=2, horizon=3)
    >>> report.facts["windows"], "persistence" in set(report.table["method"])
    (236, True)
    """
    options = WindowOptions(
        target=target, window=window, horizon=horizon, privileged=privileged, threshold=threshold, time=time,
        privileged_columns=_listed(privileged_columns), columns=_listed(columns), group=group, max_gap=max_gap,
        stride=stride, max_windows=max_windows, units=dict(units or {}),
    )  # fmt: skip
    try:
        return report_on(
            path, options, season=season, all_windows=all_windows, learning_curve=learning_curve, n_jobs=n_jobs,
            random_state=random_state,
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise type(error)(_as_parameter(str(error))) from None


def report_on(
    path: Any,
    options: WindowOptions,
    *,
    season: Any = None,
    all_windows: bool | None = None,
    learning_curve: Any = False,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> FileReport:
    """Return the report on a file; errors name options as they are typed in a shell."""
    _check_privilege(options)
    season = read_season(season)
    own = _affordable(open_file("FILE", path, options))
    options = own.options
    series: Any = _Recorded(own.parts, options)
    own.parts = series
    numbers = replace(own, options=replace(options, threshold=None))
    gathered = gather(numbers)
    windows, set_aside = _judged(gathered)
    y = windows.y if options.threshold is None else (windows.y > options.threshold).astype(np.int64)
    _check_target(own, gathered, windows, y)
    references, absent, notes = _references(own, windows, series, season)
    spans, Z = _spans_and_privilege(windows)
    taught = np.asarray(~np.isnan(Z).any(axis=(1, 2)))
    classify = options.threshold is not None
    folds = time_splits(
        spans,
        y,
        taught,
        classify=classify,
        n_splits=_n_splits(windows, options, bool(taught.all())),
        random_state=random_state,
    )
    report = privileged_report(
        PrivilegedClassifier() if classify else PrivilegedRegressor(), windows.X, y, X_privileged=windows.X_privileged,
        cv=folds, references=references, learning_curve=learning_curve, random_state=random_state, n_jobs=n_jobs,
    )  # fmt: skip
    left_out = {what: why for what, why in report.left_out.items() if what != ON_MARGIN}
    whole, why = _on_all(replace(own, parts=series.of_file), gathered, all_windows)
    report = replace(report, left_out=left_out | absent | ({"all windows": why} if why else {}))
    return FileReport.of(report, own, gathered, windows, y, set_aside=set_aside, index=series.index, notes=notes,
                         stretch=_last_stretch(windows, y, own.options), whole=whole)  # fmt: skip


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])


def _as_parameter(text: str) -> str:
    """Return an error of an option as one of the parameter of that name."""
    known = {"FILE must": "path must", "--unit must": "units must"}
    for typed, parameter in known.items():
        if text.startswith(typed):
            return parameter + text.removeprefix(typed)
    return re.sub(r"--([a-z][a-z-]+)", lambda found: found[1].replace("-", "_"), text)


def _check_privilege(options: WindowOptions) -> None:
    step = "Name columns with --privileged-columns, or use --privileged between with a --horizon of 2 or more."
    if options.privileged is None and not options.privileged_columns:
        raise wrong("--privileged", "given, or --privileged-columns: else there is nothing to report", "none", step)
    if options.privileged == "between" and options.horizon == 1 and not options.privileged_columns:
        raise wrong("--horizon", "at least 2 for --privileged between: else no row lies between", 1, step)


def _check_target(own: OwnFile, gathered: Gathered, windows: PrivilegedWindows, y: np.ndarray) -> None:
    if windows.n_windows < _LEAST:
        step = "Use a longer file, a shorter --window or --horizon, or a smaller --stride."
        raise wrong("FILE", f"long enough for {_LEAST} windows", f"{windows.n_windows} of them", step)
    if own.options.threshold is not None:
        check_both(own, gathered.tally, y)
    elif np.ptp(y) == 0:
        found = f"{own.options.target!r}, which is {y[0]:g} in all {len(y)} windows"
        raise wrong("--target", "a column that varies", found, "There is nothing to forecast.")


def _judged(gathered: Gathered) -> tuple[PrivilegedWindows, int]:
    """Return windows in order of time, and how many were set aside as their privileged part has missing values."""
    windows = gathered.windows
    spans, Z = _spans_and_privilege(windows)
    whole = np.asarray(~np.isnan(Z).any(axis=(1, 2)))
    kept = whole if whole.sum() > len(whole) / 2 else np.ones(len(whole), dtype=bool)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(spans[rows, 0], kind="stable")]
    return windows.take(rows), int(len(kept) - kept.sum())


def _spans_and_privilege(windows: PrivilegedWindows) -> tuple[np.ndarray, np.ndarray]:
    assert windows.spans is not None  # `make_windows` gives both where something is privileged
    assert windows.X_privileged is not None
    return windows.spans, windows.X_privileged


def _on_all(own: OwnFile, gathered: Gathered, asked: bool | None) -> tuple[WholeFile | None, str]:
    """Return what all windows say, where those of the report are some of them; or why they are not asked."""
    if gathered.n_looked_at == gathered.n_possible or asked is False:
        return None, ""
    if own.options.threshold is not None:
        return None, "sums tell squared errors, not those of events"
    if own.options.group is not None:
        return None, "groups share time, which blocks of rows do not know"
    steps = len(own.privileged_steps) * len(own.privileged_feature_names)
    width = own.options.window * len(own.feature_names) + steps + 1
    if width > MOST_COLUMNS:
        return None, f"{width} columns of windows and middle are too many for sums of products, {MOST_COLUMNS} at most"
    if asked is None and gathered.n_possible * width**2 > _PRODUCTS:
        return None, "they take more than a minute; ask for them (--all-windows)"
    try:
        return compare_on_all(own.windows(stride=1), gathered.n_possible), ""
    except ValueError as error:  # too few are left for blocks
        return None, str(error)


def _seconds(n: int, d: int, links: int, *, classify: bool, whole: bool = True) -> float:
    """Return about how long a split takes on one core, as measured: most of it are the links of chains."""
    if classify:
        return 1.0 + links * (0.05 + 1.2e-5 * d**2 + 5e-4 * n)
    shared = 2.8e-8 * min(n, d) ** 2 * d + 2e-9 * n * d**2
    return 1.0 + links * shared * (1.0 if whole else 5.0)  # factors are shared by all penalties where rows are whole


def _affordable(own: OwnFile) -> OwnFile:
    """Return the file with so many windows, if none were asked for, that the fewest splits do not take too long."""
    options = own.options
    if options.stride is not None or options.max_windows is not None:
        return own
    d = options.window * len(own.feature_names)
    links = _links(options)
    classify = options.threshold is not None
    fewest = (_SPLITS[-1] * _seconds(size, d, links, classify=classify) for size in _SIZES)
    sizes = (size for size, seconds in zip(_SIZES, fewest, strict=True) if seconds <= _PATIENCE)
    most = next(sizes, _SIZES[-1])
    stride = max(1, -(-(own.n_rows - options.needed + 1) // most))
    return replace(own, options=replace(options, max_windows=most), stride=stride)


def _links(options: WindowOptions) -> int:
    """Return how many steps a chain through the privileged rows may take."""
    middle = options.privileged
    if middle is None:
        return options.window if options.privileged_columns else 1
    return 1 + (
        options.horizon - 1 if middle == "between" else len(middle) if isinstance(middle, list) else int(middle)
    )


def _n_splits(windows: PrivilegedWindows, options: WindowOptions, whole: bool) -> int:
    """Return how many splits can be afforded."""
    n, d, links = len(windows.X), windows.X[0].size, _links(options)
    seconds = _seconds(n, d, links, classify=options.threshold is not None, whole=whole)
    return next((number for number in _SPLITS if number * seconds <= _PATIENCE), _SPLITS[-1])


def _last_stretch(windows: PrivilegedWindows, y: np.ndarray, options: WindowOptions) -> pd.DataFrame | None:
    """Return forecasts of the last windows by a student that learnt from what lies before them; None if too little."""
    n = windows.n_windows
    rows = np.arange(n - min(n // 4, _STRETCH), n)
    spans, Z = _spans_and_privilege(windows)
    train = np.flatnonzero(spans[:, 1] < spans[rows[0], 0])
    classify = options.threshold is not None
    if windows.groups is not None:
        rows = rows[windows.groups[rows] == windows.groups[-1]]
    if len(train) < _LEAST or len(np.unique(y[train])) < 2 or np.isnan(Z[train]).any(axis=(1, 2)).all():
        return None
    student: Any = PrivilegedClassifier() if classify else PrivilegedRegressor()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the splits have said it
        student.fit(windows.X[train], y[train], X_privileged=Z[train])
    said = student.predict_proba(windows.X[rows])[:, 1] if classify else student.predict(windows.X[rows])
    drawn = {"origin": windows.origin[rows], "target": y[rows], "student": said}
    if options.target in windows.feature_names and not classify:
        drawn[PERSISTENCE] = windows.X[rows, -1, windows.feature_names.index(options.target)]
    return pd.DataFrame(drawn)


# ---------------------------------------------------------------- the series itself


class _Recorded:
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


# ---------------------------------------------------------------- forecasts that anybody can have


def _references(
    own: OwnFile, windows: PrivilegedWindows, series: _Recorded, season: Any
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
        channel = windows.feature_names.index(options.target)
        found[PERSISTENCE] = Persistence(channel)
        if options.window > 1:
            found[AUTOREGRESSION] = Autoregression(channel, horizon=options.horizon)
        else:
            absent[AUTOREGRESSION] = "a window of one row shows no dynamics"
        said, why = _seasonal(options, windows, series, season, notes)
        if said is None:
            absent[SEASONAL] = why
        else:
            found[SEASONAL] = said
    return (found if options.threshold is None else _as_events(found, windows, options.threshold, notes)), absent, notes


def _as_events(found: dict[str, Any], windows: PrivilegedWindows, threshold: float, notes: list[str]) -> dict[str, Any]:
    """Return references as forecasts of events, and with them a regression of the number behind the event."""
    found |= {ON_NUMBER: make_pipeline(FunctionTransformer(_flat), TunedRidge())}
    events: dict[str, Any] = {}
    for name, one in found.items():
        if isinstance(one, np.ndarray):
            events[name] = (one > threshold).astype(np.int64)
        else:
            events[name] = EventForecast(one, threshold, cv=5 if name == ON_NUMBER else None), windows.y
    notes.append("References forecast the number; a logistic rule of it, learnt in training, says the event.")
    if SEASONAL in events:
        notes.append("The seasonal naive forecast is compared with the threshold as it is.")
    return events


def _flat(X: np.ndarray) -> np.ndarray:
    return np.asarray(X).reshape(len(X), -1)


def _seasonal(
    options: WindowOptions, windows: PrivilegedWindows, series: _Recorded, season: Any, notes: list[str]
) -> tuple[np.ndarray | None, str]:
    """Return the seasonal naive forecast of every window, or why there is none."""
    index, why = series.index, ""
    given = season
    if season is None:
        season, why = usual_season(index)
        if season is None:
            return None, why
    clock, origin, length = clocks(index, windows.origin, season)
    said = seasonal_naive(
        clock, series.values, origin, horizon=options.horizon, season=length, groups=series.groups,
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
