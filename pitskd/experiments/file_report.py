"""Does the privileged part help on a user's own file: its windows, the front door, and forecasts that anybody can have.

The file is read once, in parts; what is dropped is counted. All statistics are those of `privileged_report`.
"""

from __future__ import annotations

import numbers
import re
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pitskd._validation import wrong
from pitskd.experiments._file_references import Recorded, references
from pitskd.experiments._file_words import FileReport
from pitskd.experiments._seasons import read_season
from pitskd.experiments._time_splits import time_splits
from pitskd.experiments.privileged_report import check_jobs, privileged_report
from pitskd.experiments.references import PERSISTENCE
from pitskd.experiments.whole_file import MOST_COLUMNS, WholeFile, compare_on_all
from pitskd.forecasting.own_file import Gathered, OwnFile, WindowOptions, check_both, check_taught, gather, open_file
from pitskd.privileged import PrivilegedClassifier, PrivilegedRegressor
from pitskd.windows import PrivilegedWindows

__all__ = ["FileReport", "file_report"]

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
        twelve hours, a week for days, 52 weeks for weeks, twelve for months, else none.
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
    if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, numbers.Real)):
        raise wrong("threshold", "a number", threshold, "Events are targets above it.", TypeError)
    check_jobs("n_jobs", n_jobs)
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
    series: Any = Recorded(own.parts, options)
    own.parts = series
    numbers = replace(own, options=replace(options, threshold=None))
    gathered = gather(numbers)
    windows, set_aside = _judged(gathered)
    y = windows.y if options.threshold is None else (windows.y > options.threshold).astype(np.int64)
    _check_target(own, gathered, windows, y)
    spans, Z = _spans_and_privilege(windows)
    taught = np.asarray(~np.isnan(Z).any(axis=(1, 2)))
    _check_taught(own, gathered, taught)
    classify = options.threshold is not None
    folds = time_splits(
        spans, y, taught, classify=classify, n_splits=_n_splits(windows, options, bool(taught.all())),
        random_state=random_state, step=_longer(options, gathered.stride),
    )  # fmt: skip
    beside, absent, notes = references(own, windows, series, gathered.tally.clock, season, folds)
    report = privileged_report(
        PrivilegedClassifier() if classify else PrivilegedRegressor(), windows.X, y, X_privileged=windows.X_privileged,
        cv=folds, references=beside, learning_curve=learning_curve, random_state=random_state, n_jobs=n_jobs,
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
    text = re.sub("^FILE must", "path must", re.sub("^--unit must", "units must", text))
    return re.sub(r"--([a-z][a-z-]+)", lambda found: found[1].replace("-", "_"), text)


def _check_privilege(options: WindowOptions) -> None:
    step = "Name columns with --privileged-columns, or use --privileged between with a --horizon of 2 or more."
    if options.privileged is None and not options.privileged_columns:
        raise wrong("--privileged", "given, or --privileged-columns: else there is nothing to report", "none", step)
    if options.privileged == "between" and options.horizon == 1 and not options.privileged_columns:
        raise wrong("--horizon", "at least 2 for --privileged between: else no row lies between", 1, step)


def _check_target(own: OwnFile, gathered: Gathered, windows: PrivilegedWindows, y: np.ndarray) -> None:
    if windows.n_windows < _LEAST:
        step = _longer(own.options, gathered.stride)
        raise wrong("FILE", f"long enough for {_LEAST} windows", f"{windows.n_windows} of them", step)
    if own.options.threshold is not None:
        check_both(own, gathered.tally, y)
    elif np.ptp(y) == 0:
        found = f"{own.options.target!r}, which is {y[0]:g} in all {len(y)} windows"
        raise wrong("--target", "a column that varies", found, "There is nothing to forecast.")


def _longer(options: WindowOptions, stride: int) -> str:
    """Say what to do where there are too few windows."""
    more = "a smaller --stride" if options.stride is not None else "a larger --max-windows" if stride > 1 else ""
    parts = ["a longer file", "a shorter --window or --horizon", *filter(None, [more])]
    return f"Use {', '.join(parts[:-1])}{',' * (len(parts) > 2)} or {parts[-1]}."


def _check_taught(own: OwnFile, gathered: Gathered, taught: np.ndarray) -> None:
    """Refuse a file too few of whose windows show the teacher anything."""
    n_taught = int(taught.sum())
    check_taught(own, gathered.tally, len(taught), len(taught) - n_taught)
    if n_taught < _LEAST:
        expected = f"long enough for {_LEAST} windows with a whole privileged part"
        raise wrong("FILE", expected, f"{n_taught} of {len(taught)}", "Leave out what is seldom known.")


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
