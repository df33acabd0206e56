"""Hourly PM2.5 and weather of Chinese cities, in the windows that the papers on privileged time series cut from it.

The readers change nothing but what they say: "NA" becomes NaN, and so do the two numbers that stand for "not measured".
Nothing is filled; a wind direction that is not known is NaN in all its one-hot columns.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pitskd._validation import check_choice, check_integer, shorten, wrong
from pitskd.datasets._remote import DatasetError, fetch
from pitskd.windows import PrivilegedWindows, make_windows

__all__ = [
    "fetch_beijing_pm25",
    "fetch_five_cities_pm25",
    "pm25_windows",
    "five_cities_windows",
]

_CITIES = ("beijing", "chengdu", "guangzhou", "shanghai", "shenyang")
_SEASONS = (1, 2, 3, 4)
# Fixed lists: all cities get the same columns, although Beijing has no south-west wind.
_WINDS = ("NE", "NW", "SE", "cv")
_CITY_WINDS = ("NE", "NW", "SE", "SW", "cv")
# Stand for "not measured"; both lie far outside what any of the columns can hold.
_SENTINELS = (-9999.0, 999990.0)

_UNITS = {
    "season": "1 spring, 2 summer, 3 autumn, 4 winter",
    "pm2.5": "ug/m3",
    "DEWP": "deg C",
    "HUMI": "%",
    "PRES": "hPa",
    "TEMP": "deg C",
    "cbwd": "direction, cv is calm and variable",
    "Iws": "m/s, cumulated while the direction lasts",
    "Is": "h, cumulated while it snows",
    "Ir": "h, cumulated while it rains",
    "precipitation": "mm",
    "Iprec": "mm, cumulated while it lasts",
}
# Wide enough for any weather in China: they catch swapped columns and other units, not outliers.
_PLAUSIBLE = {
    "season": (1, 4),
    "pm2.5": (0, 5000),
    "DEWP": (-60, 60),
    "HUMI": (0, 110),
    "PRES": (800, 1100),
    "TEMP": (-60, 60),
    "Iws": (0, 100_000),
    "Is": (0, 1000),
    "Ir": (0, 1000),
    "precipitation": (0, 1000),
    "Iprec": (0, 10_000),
}


@dataclass(frozen=True)
class _Layout:
    """What a file of one of the two data sets must hold."""

    columns: tuple[str, ...]
    winds: tuple[str, ...]
    first: str
    last: str
    source: str

    @property
    def hours(self) -> pd.DatetimeIndex:
        return pd.date_range(self.first, self.last, freq="h", name="time")


_EMBASSY = _Layout(
    columns=("pm2.5", "DEWP", "TEMP", "PRES", "cbwd", "Iws", "Is", "Ir"),
    winds=_WINDS,
    first="2010-01-01 00:00",
    last="2014-12-31 23:00",
    source="UCI data set 381, Beijing PM2.5 (Liang et al. 2015), https://archive.ics.uci.edu/dataset/381",
)
_FIVE_CITIES = _Layout(
    columns=("season", "PM_US Post", "DEWP", "HUMI", "PRES", "TEMP", "cbwd", "Iws", "precipitation", "Iprec"),
    winds=_CITY_WINDS,
    first="2010-01-01 00:00",
    last="2015-12-31 23:00",
    source="UCI data set 394, PM2.5 of five Chinese cities (Liang et al. 2016), https://archive.ics.uci.edu/dataset/394",
)
_EMBASSY_FEATURES = ("pm2.5", "DEWP", "TEMP", "PRES", "cbwd", "Iws", "Is", "Ir")
_CITY_FEATURES = ("season", "cbwd", "DEWP", "HUMI", "PRES", "TEMP", "Iws", "PM_US Post")


def fetch_beijing_pm25(
    *, data_home: str | os.PathLike[str] | None = None, path: str | os.PathLike[str] | None = None
) -> pd.DataFrame:
    """Read five years of hourly PM2.5 of the US embassy in Beijing, with the weather at the airport.

    Parameters
    ----------
    data_home : str or path, default=None
        Folder with ``pm25/beijing_us_embassy.csv`` or UCI's own ``PRSA_data_2010.1.1-2014.12.31.csv``. Then
        ``PITSKD_DATA_HOME`` and the cache are searched; a file found nowhere is downloaded (2 MB).
    path : str or path, default=None
        The file itself, under any name. It is not compared with a hash; its columns, hours and ranges are checked.

    Returns
    -------
    frame : DataFrame of shape (43824, 8)
        One row per hour, 2010-01-01 00:00 to 2014-12-31 23:00, index ``time``: naive local time of Beijing (UTC+8, no
        summer time). Numbers are float64, ``cbwd`` is a category.

        ========  =====================================================  ==============
        column    what                                                   unit
        ========  =====================================================  ==============
        pm2.5     fine particles                                         ug/m3
        DEWP      dew point                                              deg C
        TEMP      temperature                                            deg C
        PRES      air pressure                                           hPa
        cbwd      combined wind direction: NE, NW, SE, cv (calm, varies)
        Iws       wind speed, cumulated while the direction lasts        m/s
        Is        hours of snow, cumulated while it snows                h
        Ir        hours of rain, cumulated while it rains                h
        ========  =====================================================  ==============

        ``frame.attrs`` holds ``units``, ``source``, ``licence``, ``sampling_period`` and ``n_sentinels`` (empty).

    Raises
    ------
    DatasetError
        If the file cannot be had, is damaged, or does not hold these columns and hours. It is an ``OSError``.
    ValueError
        If `path` is no file or `data_home` no folder.

    Notes
    -----
    Source: UCI data set 381 [1]_. Licence: CC BY 4.0. Sampling period: one hour; every hour is there, which is checked.
    Dropped: the row number ``No``, and year, month, day and hour, which became the index. Nothing is filled: 2,067
    hours have no PM2.5, among them the first 24.

    References
    ----------
    .. [1] Liang et al. (2015). Assessing Beijing's PM2.5 pollution: severity, weather impact, APEC and winter heating.
       Proceedings of the Royal Society A 471. doi:10.1098/rspa.2015.0257.

    Examples
    --------
    >>> fetch_beijing_pm25(path="no_such_file.csv")
    Traceback (most recent call last):
        ...
    ValueError: path must be an existing file, got no_such_file.csv. Leave it out to search the data folders.
    """
    name, original = "pm25/beijing_us_embassy.csv", "PRSA_data_2010.1.1-2014.12.31.csv"
    return _read(name, original, _EMBASSY, data_home, path)


def fetch_five_cities_pm25(
    city: str, *, data_home: str | os.PathLike[str] | None = None, path: str | os.PathLike[str] | None = None
) -> pd.DataFrame:
    """Read six years of hourly PM2.5 and weather of one of five Chinese cities.

    Parameters
    ----------
    city : {"beijing", "chengdu", "guangzhou", "shanghai", "shenyang"}
        In small or capital letters.
    data_home : str or path, default=None
        Folder with ``pm25/<city>.csv`` or UCI's own ``<City>PM20100101_20151231.csv``. Then ``PITSKD_DATA_HOME`` and
        the cache are searched; a file found nowhere is downloaded (3 MB).
    path : str or path, default=None
        The file itself, under any name. It is not compared with a hash; its columns, hours and ranges are checked.

    Returns
    -------
    frame : DataFrame of shape (52584, n_columns)
        One row per hour, 2010-01-01 00:00 to 2015-12-31 23:00, index ``time``: naive local time (UTC+8, no summer
        time). Numbers are float64, ``cbwd`` is a category.

        =============  ===================================================  ======
        column         what                                                 unit
        =============  ===================================================  ======
        season         1 March to May, 2 June to August, 3 September to
                       November, 4 December to February
        PM_<station>   fine particles at two or three stations of the city  ug/m3
        PM_US Post     fine particles at the embassy or consulate           ug/m3
        DEWP           dew point                                            deg C
        HUMI           relative humidity                                    %
        PRES           air pressure                                         hPa
        TEMP           temperature                                          deg C
        cbwd           combined wind direction: NE, NW, SE, SW, cv
        Iws            wind speed, cumulated while the direction lasts      m/s
        precipitation  precipitation of the hour                            mm
        Iprec          precipitation, cumulated while it lasts              mm
        =============  ===================================================  ======

        ``frame.attrs`` holds ``units``, ``source``, ``licence``, ``sampling_period`` and ``n_sentinels``.

    Raises
    ------
    DatasetError
        If the file cannot be had, is damaged, or does not hold these columns and hours. It is an ``OSError``.
    ValueError
        If there is no such city, `path` is no file or `data_home` no folder.

    Notes
    -----
    Source: UCI data set 394 [1]_. Licence: CC BY 4.0. Sampling period: one hour; every hour is there, which is checked.
    Dropped: the row number ``No``, and year, month, day and hour, which became the index. The numbers -9999 and 999990
    stand for "not measured"; they become NaN and are counted by column in ``frame.attrs["n_sentinels"]`` (Beijing has
    one hour with 999990 mm of rain, Shanghai none). Nothing else is changed and nothing is filled.

    References
    ----------
    .. [1] Liang et al. (2016). PM2.5 data reliability, consistency, and air quality assessment in five Chinese cities.
       Journal of Geophysical Research: Atmospheres 121. doi:10.1002/2016JD024877.

    Examples
    --------
    >>> fetch_five_cities_pm25("Beijing", path="no_such_file.csv")
    Traceback (most recent call last):
        ...
    ValueError: path must be an existing file, got no_such_file.csv. Leave it out to search the data folders.
    """
    key = city.lower() if isinstance(city, str) else city
    check_choice("city", key, _CITIES, "The data set has no other city.")
    frame = _read(f"pm25/{key}.csv", f"{key.capitalize()}PM20100101_20151231.csv", _FIVE_CITIES, data_home, path)
    frame.attrs["city"] = key
    return frame


def pm25_windows(
    frame: pd.DataFrame,
    *,
    window: int = 7,
    horizon: int | Sequence[int] = 8,
    privileged: Any = "between",
    privileged_columns: Any = None,
    threshold: float | None = None,
    stride: int = 1,
    require_observed: bool = True,
) -> PrivilegedWindows:
    """Cut the Beijing series into windows that predict PM2.5, or whether it will exceed a threshold.

    Parameters
    ----------
    frame : DataFrame
        With the columns of `fetch_beijing_pm25`; others are not used. It is not changed.
    window : int, default=7
        Number of input rows. Unit: hours, as are `horizon` and `stride`.
    horizon : int or sequence of int, default=8
        From the last input row to the target.
    privileged : "between", int, list of int or None, default="between"
        Which hours between input and target the teacher sees; as in `make_windows`.
    privileged_columns : str or list of str, default=None
        Features that only the teacher sees; as in `make_windows`.
    threshold : float, default=None
        Labels are ``pm2.5 > threshold`` if given. Unit: ug/m3.
    stride : int, default=1
        Hours from the start of one window to that of the next, before any is dropped.
    require_observed : bool, default=True
        Drop windows in which PM2.5 is missing anywhere from the first input row to the last target row. They are the
        same windows whatever the teacher sees. If False, only windows with a missing target are dropped.

    Returns
    -------
    windows : PrivilegedWindows
        11 features: pm2.5 (ug/m3), DEWP, TEMP (deg C), PRES (hPa), cbwd_NE, cbwd_NW, cbwd_SE, cbwd_cv (0 or 1), Iws
        (m/s), Is, Ir (h). Its ``dropped`` counts missing targets only.

    Raises
    ------
    ValueError
        If a column is missing, a wind direction is unknown, or no window is left; and as `make_windows`.
    TypeError
        If `frame` is no DataFrame or a column holds no numbers.

    Notes
    -----
    Protocol of [1]_, whose label and aggregation are not public; the nearest reading is hourly with ``threshold=75``,
    ``window=3, horizon=12`` or ``window=7, horizon=8``, the last two hours before the target privileged.

    References
    ----------
    .. [1] Hayashi et al. (2019). Long-term prediction of small time-series data using generalized distillation. IJCNN.

    Examples
    --------
    >>> import pandas as pd
    >>> hours = pd.date_range("2014-01-01", periods=6, freq="h", name="time")
    >>> weather = {"DEWP": -20.0, "TEMP": -5.0, "PRES": 1020.0, "cbwd": "NW", "Iws": 4.0, "Is": 0.0, "Ir": 0.0}
    >>> frame = pd.DataFrame({"pm2.5": [40.0, 60.0, 90.0, 70.0, 80.0, 30.0], **weather}, index=hours)
    >>> w = pm25_windows(frame, window=2, horizon=2, threshold=75)
    >>> w.X.shape, w.X_privileged.shape, w.y
    ((3, 2, 11), (3, 1, 11), array([0, 1, 0]))
    """
    block = _features(frame, _EMBASSY_FEATURES, {"cbwd": _WINDS}, "fetch_beijing_pm25()")
    check_choice("require_observed", require_observed, (True, False), "Use False to keep windows with missing inputs.")
    windows = make_windows(
        block, "pm2.5", window=window, horizon=horizon, privileged=privileged, privileged_columns=privileged_columns,
        stride=stride, threshold=threshold,
    )  # fmt: skip
    if not require_observed:
        return windows
    observed = _observed_throughout(windows, block, "pm2.5")
    if not observed.any():
        raise wrong("frame", "observed over at least one window", "none", "Use fewer hours, or require_observed=False.")
    return windows.take(observed)


def five_cities_windows(
    frame: pd.DataFrame, *, horizon: int = 5, privileged: Any = "between", skip: int = 6
) -> PrivilegedWindows:
    """Cut the series of a city into disjoint sequences whose first hour predicts PM2.5 of the last.

    A scan from the first row takes the next ``horizon + 1`` hours as a sequence if PM2.5 is observed in all of them,
    and then passes over `skip` rows. Otherwise it passes over `skip` rows from the first missing one, which is the
    first of the `skip`, and tries again there.

    Parameters
    ----------
    frame : DataFrame
        With the columns of `fetch_five_cities_pm25`; others are not used. It is not changed.
    horizon : int, default=5
        From the input hour to the target, T in [1]_. Unit: hours.
    privileged : "between", int, list of int or None, default="between"
        Which hours between input and target the teacher sees; as in `make_windows`.
    skip : int, default=6
        Rows passed over, at least 1. Unit: hours.

    Returns
    -------
    windows : PrivilegedWindows
        ``window=1``. 15 features: season_1 to season_4, cbwd_NE, cbwd_NW, cbwd_SE, cbwd_SW, cbwd_cv (0 or 1), DEWP
        (deg C), HUMI (%), PRES (hPa), TEMP (deg C), Iws (m/s), PM_US Post (ug/m3). All but the last may be NaN.

    Raises
    ------
    ValueError
        If a column is missing, a season or wind direction is unknown, hours are missing in the index, or no sequence is
        found; and as `make_windows`.
    TypeError
        If `frame` is no DataFrame or a column holds no numbers.

    Notes
    -----
    Protocol of [1]_ with T in {5, 11, 23}; ``train, dropped, test = w.split(0.8, 1)`` cuts as the paper does (Beijing,
    T = 5: 3315 training and 828 test sequences). The authors' code passes over one row more each time (3056 and 763;
    ``skip=7``). Missing values of other columns stay NaN: the protocol imputes them per draw of training sequences.

    References
    ----------
    .. [1] Karlsson et al. (2022). Using time-series privileged information for provably efficient learning of
       prediction models. AISTATS. arXiv:2110.14993.

    Examples
    --------
    >>> import pandas as pd
    >>> hours = pd.date_range("2014-01-01", periods=12, freq="h", name="time")
    >>> weather = {"season": 4.0, "DEWP": -20.0, "HUMI": 40.0, "PRES": 1020.0, "TEMP": -5.0, "cbwd": "SW", "Iws": 4.0}
    >>> frame = pd.DataFrame({"PM_US Post": range(12), **weather}, index=hours)
    >>> w = five_cities_windows(frame, horizon=2)
    >>> w.X[:, 0, -1], w.X_privileged[:, 0, -1], w.y
    (array([0., 9.]), array([ 1., 10.]), array([ 2., 11.]))
    """
    categories = {"season": _SEASONS, "cbwd": _CITY_WINDS}
    block = _features(frame, _CITY_FEATURES, categories, 'fetch_five_cities_pm25("beijing")')
    horizon = check_integer("horizon", horizon, minimum=1, step="Use horizon=5 for five hours ahead.")
    skip = check_integer("skip", skip, minimum=1, step="Use skip=6 for the published protocol.")
    windows = make_windows(block, "PM_US Post", window=1, horizon=horizon, privileged=privileged)
    if windows.dropped["hole in the index"]:
        raise wrong("frame", "without missing hours", "a hole in its index", 'Use frame.asfreq("h"): it adds NaN rows.')
    starts = _scan(block["PM_US Post"].notna().to_numpy(), horizon + 1, skip)
    if not len(starts):
        raise wrong(
            "frame", f"observed over {horizon + 1} hours in a row", "no such sequence", "Use a shorter horizon."
        )
    return windows.take(np.searchsorted(_origin_rows(windows, block), starts))


def _scan(observed: np.ndarray, length: int, skip: int) -> np.ndarray:
    """Return first rows of disjoint runs of ``length`` observed rows, skipping as `five_cities_windows` says."""
    missing = np.append(np.flatnonzero(~observed), len(observed))
    starts, row = [], 0
    while row + length <= len(observed):
        next_missing = int(missing[np.searchsorted(missing, row)])
        if next_missing < row + length:
            row = next_missing + skip
        else:
            starts.append(row)
            row += length + skip
    return np.asarray(starts, dtype=np.int64)


def _origin_rows(windows: PrivilegedWindows, block: pd.DataFrame) -> np.ndarray:
    return block.index.get_indexer(pd.Index(windows.origin))


def _observed_throughout(windows: PrivilegedWindows, block: pd.DataFrame, column: str) -> np.ndarray:
    """Tell for each window whether a column is there from its first input row to its last target row."""
    n_missing = np.concatenate([[0], block[column].isna().to_numpy().cumsum()])
    origin = _origin_rows(windows, block)
    return n_missing[origin - windows.window + 1] == n_missing[origin + np.max(windows.horizon) + 1]


def _features(
    frame: pd.DataFrame, columns: Sequence[str], categories: Mapping[str, Sequence[Any]], reader: str
) -> pd.DataFrame:
    """Return some columns as one block of floats, so that windows can be views; categories become one-hot columns."""
    if not isinstance(frame, pd.DataFrame):
        raise wrong("frame", "a pandas DataFrame", frame, f"{reader} reads one.", TypeError)
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        listed = ", ".join(map(repr, columns))
        raise wrong("frame", f"a DataFrame with the columns {listed}", f"one without {absent}", f"{reader} reads one.")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise wrong("frame", "a DataFrame with unique column names", f"{twice!r} twice", "Rename one of them.")
    parts, names = [], []
    for column, values in frame.reindex(columns=list(columns)).items():
        kinds = categories.get(str(column))
        parts.append(_numbers(values) if kinds is None else _one_hot(values, kinds))
        names += [column] if kinds is None else [f"{column}_{kind}" for kind in kinds]
    return pd.DataFrame(np.column_stack(parts), index=frame.index, columns=names)


def _numbers(column: pd.Series) -> np.ndarray:
    if not pd.api.types.is_numeric_dtype(column.dtype):
        step = "Convert it with pandas.to_numeric."
        raise wrong("frame", f"numeric in column {column.name!r}", f"dtype {column.dtype}", step, TypeError)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _one_hot(column: pd.Series, kinds: Sequence[Any]) -> np.ndarray:
    """Return one column of 0 and 1 per kind; rows without a value are NaN."""
    codes = pd.Index(kinds, dtype=object).get_indexer(pd.Index(column.to_numpy(dtype=object), dtype=object))
    unknown = (codes < 0) & column.notna().to_numpy()
    if unknown.any():
        expected = f"one of {', '.join(map(str, kinds))} or missing in column {column.name!r}"
        raise wrong("frame", expected, column.to_numpy(dtype=object)[unknown][0], "Rename it, or set it to NaN.")
    return np.where(codes[:, None] < 0, np.nan, np.eye(len(kinds))[codes])


def _read(name: str, original: str, layout: _Layout, data_home: Any, path: Any) -> pd.DataFrame:
    file = fetch(name, data_home, originals=[original]) if path is None else _existing(path)
    try:
        table = pd.read_csv(file, na_values=["NA", ""], keep_default_na=False)
    except ValueError as error:  # pandas' and Python's errors of parsing and decoding
        raise _not_the_data(file, layout, f"it is no table of comma-separated values ({error})") from error
    absent = [c for c in ("year", "month", "day", "hour", *layout.columns) if c not in table.columns]
    if absent:
        raise _not_the_data(file, layout, f"it has no column {', '.join(map(repr, absent))}")
    frame = _with_types(table, file, layout)
    frame.index = _hours(table, file, layout)
    n_sentinels = _remove_sentinels(frame)
    if file.name != Path(name).name or path is not None:  # others are known by their hash
        _check_plausible(frame, file, layout)
    frame.attrs = {
        "units": {column: _unit(column) for column in frame.columns},
        "source": layout.source,
        "licence": "CC BY 4.0",
        "sampling_period": "1 h",
        "n_sentinels": n_sentinels,
    }
    return frame


def _existing(path: Any) -> Path:
    step = "Leave it out to search the data folders."
    if not isinstance(path, str | os.PathLike):
        raise wrong("path", "the path of a file", path, step, TypeError)
    file = Path(path).expanduser()
    if not file.is_file():
        raise wrong("path", "an existing file", str(path), step)
    return file


def _with_types(table: pd.DataFrame, file: Path, layout: _Layout) -> pd.DataFrame:
    """Return the columns of the data set in the order of the file: floats, and the direction as a category."""
    kept = [c for c in table.columns if c in layout.columns or (layout is _FIVE_CITIES and c.startswith("PM_"))]
    unknown = set(table["cbwd"].dropna()) - set(layout.winds)
    if unknown:
        raise _not_the_data(file, layout, f"its wind directions include {sorted(map(str, unknown))}")
    types = {c: pd.CategoricalDtype(layout.winds) if c == "cbwd" else np.float64 for c in kept}
    try:
        return table.reindex(columns=kept).astype(types)
    except ValueError as error:
        raise _not_the_data(file, layout, f"a column is no column of numbers ({shorten(str(error))})") from error


def _hours(table: pd.DataFrame, file: Path, layout: _Layout) -> pd.DatetimeIndex:
    expected = layout.hours
    try:
        found = pd.DatetimeIndex(pd.to_datetime(table[["year", "month", "day", "hour"]]))
    except (ValueError, TypeError) as error:
        raise _not_the_data(
            file, layout, f"its year, month, day and hour are no times ({shorten(str(error))})"
        ) from error
    n_common = min(len(found), len(expected))
    differs = np.flatnonzero(found[:n_common] != expected[:n_common])
    if len(differs):
        row = differs[0]
        raise _not_the_data(file, layout, f"row {row} is of {found[row]} where {expected[row]} is expected")
    if len(found) != len(expected):
        raise _not_the_data(file, layout, f"it has {len(found)} rows where {len(expected)} hours are expected")
    return expected


def _remove_sentinels(frame: pd.DataFrame) -> dict[str, int]:
    """Set numbers that stand for "not measured" to NaN in place; return how many by column."""
    removed = {}
    for column in frame.columns.drop("cbwd"):
        sentinel = np.isin(frame[column].to_numpy(), _SENTINELS)
        if sentinel.any():
            frame[column] = frame[column].mask(sentinel)
            removed[column] = int(sentinel.sum())
    return removed


def _check_plausible(frame: pd.DataFrame, file: Path, layout: _Layout) -> None:
    for column in frame.columns.drop("cbwd"):
        low, high = _PLAUSIBLE[_quantity(column)]
        values = frame[column].to_numpy()
        outside = np.flatnonzero((values < low) | (values > high))
        if len(outside):
            row = outside[0]
            problem = f"{column} is {values[row]:g} at {frame.index[row]}, outside {low} .. {high} {_unit(column)}"
            raise _not_the_data(file, layout, problem)


def _quantity(column: str) -> str:
    return "pm2.5" if column.startswith("PM_") else column


def _unit(column: str) -> str:
    return _UNITS[_quantity(column)]


def _not_the_data(file: Path, layout: _Layout, problem: str) -> DatasetError:
    return DatasetError(
        f"{file} does not hold {layout.source}: {problem}. Use the file as published, or leave path out to fetch it."
    )
