"""Labelled logs of rigs and plants: a water loop (SKAB) and the Tennessee Eastman process (TEP).

The readers change no number, fill nothing and drop nothing: they name columns, split off the privileged ones and say
which rows are anomalous.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pitskd._validation import check_choice, check_integer, is_list, shorten, wrong
from pitskd.datasets._remote import DatasetError, fetch, registry

__all__ = ["SensorLog", "fetch_skab", "fetch_tep", "skab_runs"]

_SKAB_SOURCE = "SKAB (Katser and Kozitsin 2020), https://github.com/waico/SKAB"
_SKAB_UNITS = {
    "Accelerometer1RMS": "g",
    "Accelerometer2RMS": "g",
    "Current": "A",
    "Pressure": "bar",
    "Temperature": "deg C",
    "Thermocouple": "deg C",
    "Voltage": "V",
    "Volume Flow RateRMS": "L/min",
}
_SKAB_DESCRIPTIONS = {
    "Accelerometer1RMS": "vibration acceleration",
    "Accelerometer2RMS": "vibration acceleration",
    "Current": "of the electric motor",
    "Pressure": "in the loop behind the water pump",
    "Temperature": "of the body of the motor",
    "Thermocouple": "temperature of the circulating fluid",
    "Voltage": "of the electric motor",
    "Volume Flow RateRMS": "flow of the circulating fluid",
}

_TEP_SOURCE = (
    "Tennessee Eastman process (Downs and Vogel 1993) as simulated by Russell, Chiang and Braatz (2000), "
    "https://github.com/jkitchin/tennessee-eastman-profbraatz"
)
_TEP_ONSET = 160  # row of the test files where the fault starts: 8 hours
_MEASURED = """
A feed (stream 1); 1000 m3/h, standard conditions
D feed (stream 2); kg/h
E feed (stream 3); kg/h
A and C feed (stream 4); 1000 m3/h, standard conditions
recycle flow (stream 8); 1000 m3/h, standard conditions
reactor feed rate (stream 6); 1000 m3/h, standard conditions
reactor pressure; kPa gauge
reactor level; %
reactor temperature; deg C
purge rate (stream 9); 1000 m3/h, standard conditions
separator temperature; deg C
separator level; %
separator pressure; kPa gauge
separator underflow (stream 10); m3/h
stripper level; %
stripper pressure; kPa gauge
stripper underflow (stream 11); m3/h
stripper temperature; deg C
stripper steam flow; kg/h
compressor work; kW
reactor cooling water outlet temperature; deg C
separator cooling water outlet temperature; deg C
"""
_ANALYSED = {"reactor feed (stream 6)": "ABCDEF", "purge gas (stream 9)": "ABCDEFGH", "product (stream 11)": "DEFGH"}
_MANIPULATED = """
D feed flow (stream 2)
E feed flow (stream 3)
A feed flow (stream 1)
A and C feed flow (stream 4)
compressor recycle valve
purge valve (stream 9)
separator liquid flow (stream 10)
stripper liquid product flow (stream 11)
stripper steam valve
reactor cooling water flow
condenser cooling water flow
"""
_FAULTS = """
none
A/C feed ratio, B composition constant (stream 4); step
B composition, A/C ratio constant (stream 4); step
D feed temperature (stream 2); step
reactor cooling water inlet temperature; step
condenser cooling water inlet temperature; step
A feed loss (stream 1); step
C header pressure loss, reduced availability (stream 4); step
A, B, C feed composition (stream 4); random variation
D feed temperature (stream 2); random variation
C feed temperature (stream 4); random variation
reactor cooling water inlet temperature; random variation
condenser cooling water inlet temperature; random variation
reaction kinetics; slow drift
reactor cooling water valve; sticking
condenser cooling water valve; sticking
unknown
unknown
unknown
unknown
unknown
valve of stream 4 fixed at its steady-state position; constant position
"""


def _signals() -> dict[str, tuple[str, str]]:
    """Return description and unit of the 52 signals, in the order of the files."""
    measured = [(line.partition("; ")[0], line.partition("; ")[2]) for line in _MEASURED.strip().splitlines()]
    analysed = [(f"{component} in {stream}", "mol %") for stream, letters in _ANALYSED.items() for component in letters]
    manipulated = [(line, "% of range") for line in _MANIPULATED.strip().splitlines()]
    named = {f"XMEAS {k}": signal for k, signal in enumerate([*measured, *analysed], 1)}
    return {**named, **{f"XMV {k}": signal for k, signal in enumerate(manipulated, 1)}}


_SIGNALS = _signals()
_ANALYSERS = tuple(f"XMEAS {k}" for k in range(23, 42))
_TEP_KEPT = {
    "process": tuple(name for name in _SIGNALS if name not in _ANALYSERS),
    "manipulated": tuple(name for name in _SIGNALS if name.startswith("XMV")),
    "all": tuple(_SIGNALS),
}


@dataclass(frozen=True, eq=False)
class SensorLog:
    """The log of one run of a rig: the sensors that stay, those that only the teacher sees, and labels.

    Parameters
    ----------
    X : DataFrame of shape (n_rows, n_channels)
        The sensors that stay, float64; the index is the time of the rows. ``X.attrs`` holds ``units``,
        ``descriptions``, ``source`` and ``licence``.
    X_privileged : DataFrame of shape (n_rows, n_privileged_channels) or None
        The other sensors, with the same index; None if there are none.
    anomaly : Series of bool, shape (n_rows,)
        Whether a row is anomalous; False throughout in normal runs.
    changepoint : Series of bool, shape (n_rows,), or None
        Where the publisher marks a change of state; None if nothing is marked.
    name : str
        The run, such as "valve1/0" or "d01_te".
    period : float
        Usual time from row to row. Unit: s.

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame({"flow": [1.0, 1.1, 9.0]})
    >>> log = SensorLog(X, None, pd.Series([False, False, True]), None, "mine", 1.0)
    >>> log.X[~log.anomaly]
       flow
    0   1.0
    1   1.1
    """

    X: pd.DataFrame
    X_privileged: pd.DataFrame | None
    anomaly: pd.Series
    changepoint: pd.Series | None
    name: str
    period: float


# ---------------------------------------------------------------- SKAB


def skab_runs() -> tuple[str, ...]:
    """Return the names of the 35 runs of SKAB: the anomaly-free one, then 34 with labels.

    Returns
    -------
    tuple of str
        As `fetch_skab` takes them.

    Examples
    --------
    >>> len(skab_runs()), skab_runs()[:2], skab_runs()[-1]
    (35, ('anomaly-free', 'other/1'), 'valve2/3')
    """
    files = [name.removeprefix("skab/").removesuffix(".csv") for name in registry() if name.startswith("skab/")]
    runs = [name for name in files if not name.startswith("anomaly-free/")]
    ordered = sorted(runs, key=lambda run: [int(part) if part.isdigit() else part for part in run.split("/")])
    return ("anomaly-free", *ordered)


def fetch_skab(
    run: str, *, privileged: Sequence[str] = (), data_home: str | os.PathLike[str] | None = None
) -> SensorLog:
    """Read one run of the water loop of the Skoltech anomaly benchmark: 8 sensors at 1 Hz.

    Parameters
    ----------
    run : str
        One of `skab_runs`: "anomaly-free", "valve1/0" to "valve1/15" (a valve at the outlet is closed and opened),
        "valve2/0" to "valve2/3" (the same at the inlet), "other/1" to "other/14" (leaks, imbalance, cavitation, ...).
    privileged : sequence of str, default=()
        Sensors that only the teacher sees. The bench has no natural ones; the flow meter carries most of the
        information on valves, so ``["Volume Flow RateRMS"]`` is the hard case.
    data_home : str or path, default=None
        Folder with ``skab/<run>.csv``. Then ``PITSKD_DATA_HOME`` and the cache are searched; a file found nowhere is
        downloaded (0.1 MB; 0.8 MB for the anomaly-free run).

    Returns
    -------
    log : SensorLog
        About 1,150 rows with one anomalous stretch; 9,405 rows of the anomaly-free run. The index is the naive local
        time written by the bench.

        ===================  ===================================  =======
        column               what                                 unit
        ===================  ===================================  =======
        Accelerometer1RMS    vibration acceleration               g
        Accelerometer2RMS    vibration acceleration               g
        Current              of the electric motor                A
        Pressure             in the loop behind the water pump    bar
        Temperature          of the body of the motor             deg C
        Thermocouple         temperature of the fluid             deg C
        Voltage              of the electric motor                V
        Volume Flow RateRMS  flow of the fluid                    L/min
        ===================  ===================================  =======

    Raises
    ------
    DatasetError
        If the file cannot be had, is damaged, or does not hold these columns. It is an ``OSError``.
    ValueError
        If there is no such run or sensor, or no sensor is left.

    Notes
    -----
    Source: [1]_. Licence: GPL-3.0. Sampling period: 1 s, with holes: about 5 % of the steps are 2 s because the bench
    skips a second (43 to 61 steps a run of valve1, 556 of the anomaly-free run), and valve1/2, valve1/4 and valve1/7
    have one hole of 76, 54 and 65 s. In these 17 runs no value is missing and no time repeated or out of order. Nothing
    is filled or dropped. The anomaly-free run was recorded at another working point (flow 125 L/min, against 32 L/min
    in valve1/0): it is no training log for the others, whose first 400 rows are normal.

    References
    ----------
    .. [1] Katser and Kozitsin (2020). Skoltech Anomaly Benchmark (SKAB). Kaggle. doi:10.34740/KAGGLE/DSV/1693952.

    Examples
    --------
    >>> fetch_skab("valve3/0")
    Traceback (most recent call last):
        ...
    ValueError: run must be a run of SKAB, got valve3/0. Names are like valve1/0; skab_runs() lists them.
    """
    if run not in skab_runs():
        raise wrong("run", "a run of SKAB", run, "Names are like valve1/0; skab_runs() lists them.")
    split = _split("privileged", tuple(_SKAB_UNITS), _names("privileged", privileged, _SKAB_UNITS))
    file = fetch(f"skab/{run}/{run}.csv" if run == "anomaly-free" else f"skab/{run}.csv", data_home)
    table = _read_skab(file, labelled=run != "anomaly-free")
    attrs = _attrs(_SKAB_UNITS, _SKAB_DESCRIPTIONS, _SKAB_SOURCE, "GPL-3.0", "1 s")
    labels = [table[label] == 1 if label in table else None for label in ("anomaly", "changepoint")]
    anomaly = pd.Series(False, index=table.index, name="anomaly") if labels[0] is None else labels[0]
    return _log(table, split, attrs, anomaly, labels[1], run, 1.0)


def _read_skab(file: Path, labelled: bool) -> pd.DataFrame:
    columns = [*_SKAB_UNITS, *(["anomaly", "changepoint"] if labelled else [])]
    try:
        table = pd.read_csv(file, sep=";", index_col="datetime", usecols=["datetime", *columns])
        table.index = pd.DatetimeIndex(pd.to_datetime(table.index, format="%Y-%m-%d %H:%M:%S"), name="time")
        table = table[columns].astype(np.float64)
    except (ValueError, TypeError) as error:  # pandas' and Python's errors of parsing, decoding and missing columns
        raise _not_the_data(file, _SKAB_SOURCE, shorten(str(error), 120)) from error
    labels = table[columns[len(_SKAB_UNITS) :]]
    if not labels.isin([0.0, 1.0]).all(axis=None):
        raise _not_the_data(file, _SKAB_SOURCE, "a label is neither 0 nor 1")
    return table


# ---------------------------------------------------------------- TEP


def fetch_tep(
    fault: int,
    *,
    test: bool = False,
    keep: Literal["process", "manipulated", "all"] | Sequence[str] = "process",
    privileged: Literal["analysers"] | Sequence[str] | None = "analysers",
    data_home: str | os.PathLike[str] | None = None,
) -> SensorLog:
    """Read one run of the Tennessee Eastman process: 52 signals of a chemical plant every 3 minutes.

    Parameters
    ----------
    fault : int
        0 for normal operation, 1 to 21 for a fault; ``log.X.attrs["fault"]`` says which. Faults 3, 9 and 15 hardly show
        in any signal.
    test : bool, default=False
        False: a training run, normal (500 rows) or faulty **throughout** (480 rows). True: a test run of 960 rows whose
        fault starts at row 160.
    keep : {"process", "manipulated", "all"} or sequence of str, default="process"
        The signals that stay. "process": XMEAS 1 to 22 and XMV 1 to 11; "manipulated": XMV 1 to 11 alone.
    privileged : "analysers", sequence of str or None, default="analysers"
        The signals that only the teacher sees; they are taken out of those that stay. "analysers": XMEAS 23 to 41, the
        19 compositions, which are slow and costly to measure. For all 52 signals in ``X``, pass ``keep="all",
        privileged=None``.
    data_home : str or path, default=None
        Folder with ``tep/dNN.dat`` and ``tep/dNN_te.dat``. Then ``PITSKD_DATA_HOME`` and the cache are searched; a file
        found nowhere is downloaded (0.4 or 0.8 MB).

    Returns
    -------
    log : SensorLog
        The index is the time since the first row, a TimedeltaIndex. ``X.attrs["units"]`` and
        ``X.attrs["descriptions"]`` say what each signal is.

        ===========  ======================================================================
        XMEAS 1-6    feeds, recycle and reactor feed: 1000 m3/h at standard conditions; D
                     and E feed (2, 3): kg/h
        XMEAS 7-9    reactor: pressure (kPa gauge), level (%), temperature (deg C)
        XMEAS 10     purge: 1000 m3/h at standard conditions
        XMEAS 11-14  separator: deg C, %, kPa gauge, underflow (m3/h)
        XMEAS 15-19  stripper: %, kPa gauge, underflow (m3/h), deg C, steam (kg/h)
        XMEAS 20-22  compressor work (kW), cooling water outlets of reactor and separator
                     (deg C)
        XMEAS 23-28  A to F in the reactor feed, analysed every 6 minutes (mol %)
        XMEAS 29-36  A to H in the purge gas, analysed every 6 minutes (mol %)
        XMEAS 37-41  D to H in the product, analysed every 15 minutes (mol %)
        XMV 1-11     valves: feeds of D, E, A, A and C, recycle, purge, separator, stripper,
                     steam, cooling water of reactor and condenser (% of range)
        ===========  ======================================================================

    Raises
    ------
    DatasetError
        If the file cannot be had, is damaged, or holds no 52 signals. It is an ``OSError``.
    ValueError
        If there is no such fault or signal, or no signal is left.

    Notes
    -----
    Source: [2]_, simulation of [1]_ under closed-loop control. Licence: BSD-style, University of Illinois. Sampling
    period: 3 min, none missing; between two analyses the last value is held (and known 6 or 15 minutes late).
    The twelfth manipulated variable, the agitator, is constant and not in the files. ``d00.dat`` is stored
    transposed, 52 rows of 500 values; it is turned here. Training runs of faults leave out the first hour, which was
    normal. Nothing is filled or dropped.

    References
    ----------
    .. [1] Downs and Vogel (1993). A plant-wide industrial process control problem. Computers and Chemical Engineering
       17, 245-255, tables 3 to 5 (signals) and 8 (faults). doi:10.1016/0098-1354(93)80018-I.
    .. [2] Russell, Chiang and Braatz (2000). Data-driven Methods for Fault Detection and Diagnosis in Chemical
       Processes. Springer. doi:10.1007/978-1-4471-0409-4.

    Examples
    --------
    >>> fetch_tep(1, keep=["XMV 12"])
    Traceback (most recent call last):
        ...
    ValueError: keep must be names of signals, got XMV 12. They are: XMEAS 1 to 41, XMV 1 to 11.
    """
    number = check_integer("fault", fault, minimum=0, step="Use 0 for normal operation, 1 to 21 for a fault.")
    faults = _FAULTS.strip().splitlines()
    if number >= len(faults):
        raise wrong("fault", "at most 21", number, "The data set has no other fault.")
    check_choice("test", test, (True, False), "Use True for the run whose fault starts at row 160.")
    kept = _TEP_KEPT[keep] if isinstance(keep, str) and keep in _TEP_KEPT else _names("keep", keep, _SIGNALS)
    hidden = _ANALYSERS if isinstance(privileged, str) and privileged == "analysers" else privileged
    split = _split("keep", kept, _names("privileged", hidden, _SIGNALS))
    name = f"d{number:02d}_te" if test else f"d{number:02d}"
    table = _read_tep(fetch(f"tep/{name}.dat", data_home))
    units, descriptions = ({signal: told[k] for signal, told in _SIGNALS.items()} for k in (1, 0))
    attrs = _attrs(units, descriptions, _TEP_SOURCE, "BSD-style, University of Illinois", "3 min")
    onset = len(table) if number == 0 else _TEP_ONSET if test else 0
    anomaly = pd.Series(np.arange(len(table)) >= onset, index=table.index, name="anomaly")
    return _log(table, split, {**attrs, "fault": faults[number]}, anomaly, None, name, 180.0)


def _read_tep(file: Path) -> pd.DataFrame:
    try:
        values = np.loadtxt(file, ndmin=2)
    except ValueError as error:
        raise _not_the_data(file, _TEP_SOURCE, shorten(str(error), 120)) from error
    if file.stem == "d00" and len(values) == len(_SIGNALS):
        values = np.ascontiguousarray(values.T)
    if values.shape[1] != len(_SIGNALS):
        raise _not_the_data(file, _TEP_SOURCE, f"it has {values.shape[1]} columns where 52 signals are expected")
    index = pd.timedelta_range(0, periods=len(values), freq="3min", name="time")
    return pd.DataFrame(values, index=index, columns=pd.Index(_SIGNALS))


# ---------------------------------------------------------------- both


def _names(name: str, chosen: Any, known: Any) -> tuple[str, ...]:
    """Return the chosen columns as names, in the order given; None is none."""
    listed = [] if chosen is None else list(chosen) if is_list(chosen) else [chosen]
    for column in listed:
        if not isinstance(column, str) or column not in known:
            they = "XMEAS 1 to 41, XMV 1 to 11" if known is _SIGNALS else ", ".join(known)
            raise wrong(name, "names of signals", column, f"They are: {they}.")
    if len(set(listed)) < len(listed):
        twice = next(column for column in listed if listed.count(column) > 1)
        raise wrong(name, "names of different signals", f"{twice} twice", "Name each once.")
    return tuple(listed)


def _split(name: str, kept: tuple[str, ...], privileged: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the columns that stay and the privileged ones, which are never both."""
    staying = [column for column in kept if column not in privileged]
    if not staying:
        raise wrong(name, "such that a signal stays in X", "none", "Make fewer privileged, or keep more.")
    return staying, list(privileged)


def _attrs(units: Any, descriptions: Any, source: str, licence: str, sampling_period: str) -> dict[str, Any]:
    told = {"source": source, "licence": licence, "sampling_period": sampling_period}
    return {"units": units, "descriptions": descriptions, **told}


def _log(
    table: pd.DataFrame, split: tuple[list[str], list[str]], attrs: dict[str, Any], anomaly: pd.Series,
    changepoint: pd.Series | None, name: str, period: float,
) -> SensorLog:  # fmt: skip
    kept, hidden = (_with_attrs(table[columns], attrs) for columns in split)
    return SensorLog(kept, hidden if split[1] else None, anomaly, changepoint, name, period)


def _with_attrs(frame: pd.DataFrame, attrs: dict[str, Any]) -> pd.DataFrame:
    own = {what: {c: attrs[what][c] for c in frame.columns} for what in ("units", "descriptions")}
    frame = frame.copy()
    frame.attrs = {**attrs, **own}
    return frame


def _not_the_data(file: Path, source: str, problem: str) -> DatasetError:
    return DatasetError(f"{file} does not hold {source}: {problem}. Delete it and use the file as published.")
