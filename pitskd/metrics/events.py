"""Alarms against anomalous events: which were found, how late, and how often an alarm was false.

An event is a run of anomalous rows, an alarm a run of alarmed ones. Nothing here adjusts points: a row counts as
alarmed if it was alarmed, not because another row of its event was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pitskd._validation import check_integer, check_positive, check_same_rows, wrong
from pitskd.metrics._columns import read_column, read_mask

__all__ = [
    "EventScores",
    "event_scores",
    "events_of",
    "false_alarm_rate",
    "false_alarms_per_day",
    "fault_detection_rate",
]

_DAY = 86_400.0  # seconds


@dataclass(frozen=True, eq=False)
class EventScores:
    """How the alarms of a detector met the events of a log; made by `event_scores`.

    Parameters
    ----------
    n_events, n_detected : int
        Anomalous events, and those of them that an alarmed row touches.
    n_alarms, n_false_alarms : int
        Alarms, which are runs of alarmed rows, and those of them that touch no event.
    recall : float
        Detected share of the events; NaN without events.
    precision : float
        Share of the alarms that touch an event; NaN without alarms.
    f1 : float
        Harmonic mean of both; 0 if nothing was detected, NaN without events.
    delays : ndarray of shape (n_detected,)
        From the start of each detected event to its first alarmed row. Unit: rows, or that of ``time``.
    mean_delay : float
        NaN if nothing was detected.
    missed : ndarray of shape (n_events - n_detected, 2)
        First and one-past-last row of the other events.

    Examples
    --------
    >>> event_scores([0, 1, 1, 0, 1], [0, 0, 1, 0, 0]).missed
    array([[4, 5]])
    """

    n_events: int
    n_detected: int
    n_alarms: int
    n_false_alarms: int
    recall: float
    precision: float
    f1: float
    delays: np.ndarray
    mean_delay: float
    missed: np.ndarray


def events_of(mask: Any) -> np.ndarray:
    """Return where the runs of True begin and end.

    Parameters
    ----------
    mask : array-like of shape (n_rows,)
        True or 1 in events, else False or 0.

    Returns
    -------
    events : ndarray of int, shape (n_events, 2)
        First and one-past-last row of each run, ascending.

    Raises
    ------
    ValueError
        If `mask` holds anything else, such as NaN.

    Examples
    --------
    >>> events_of([0, 1, 1, 0, 1])
    array([[1, 3],
           [4, 5]])
    """
    inside = np.concatenate([[False], read_mask("mask", mask), [False]])
    return np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)


def event_scores(y_true: Any, alarms: Any, *, tolerance: int = 0, time: Any = None) -> EventScores:
    """Count which events were found, which alarms were false, and how late the alarms came.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
        1 where a row is anomalous, else 0. An event is a run of 1.
    alarms : array-like of shape (n_rows,)
        1 or True where a row was alarmed. An alarm is a run of these.
    tolerance : int, default=0
        Events count as touched up to this many rows before and behind them. Unit: rows.
    time : array-like of shape (n_rows,), default=None
        Ascending times of the rows, such as the index of a frame. None: row numbers.

    Returns
    -------
    scores : EventScores
        Delays in rows if `time` is None, in seconds for dates and time deltas, else in the unit of the numbers. An
        alarm that begins before the event and touches it, has delay 0.

    Raises
    ------
    ValueError
        If labels or alarms are not 0 or 1, lengths differ, `tolerance` is negative or `time` descends.

    Notes
    -----
    No point adjustment: one alarmed row detects an event, and no other row counts as alarmed for it.

    Examples
    --------
    >>> y_true = [0, 0, 1, 1, 1, 0, 0, 0, 1, 1]
    >>> alarms = [1, 0, 0, 1, 1, 1, 0, 0, 0, 0]
    >>> scores = event_scores(y_true, alarms)
    >>> scores.n_detected, scores.n_events, scores.n_false_alarms, scores.n_alarms
    (1, 2, 1, 2)
    >>> scores.recall, scores.precision, scores.delays
    (0.5, 0.5, array([1.]))
    """
    anomalous, alarmed = _two_masks(y_true, alarms)
    margin = check_integer("tolerance", tolerance, minimum=0, step="Use 0 for events as they are labelled.")
    clock = _clock(time, len(anomalous))
    events, alarm_events = events_of(anomalous), events_of(alarmed)
    detected = _touched(events, alarmed, margin)
    found = events[detected]
    first = np.searchsorted(np.flatnonzero(alarmed), found[:, 0] - margin)
    delays = np.maximum(clock[np.flatnonzero(alarmed)[first]] - clock[found[:, 0]], 0.0)
    n_true = int(np.count_nonzero(_touched(alarm_events, anomalous, margin)))
    recall, precision = _share(len(found), len(events)), _share(n_true, len(alarm_events))
    return EventScores(
        n_events=len(events), n_detected=len(found), n_alarms=len(alarm_events),
        n_false_alarms=len(alarm_events) - n_true, recall=recall, precision=precision,
        f1=_harmonic_mean(recall, precision), delays=delays, mean_delay=_share(delays.sum(), len(delays)),
        missed=events[~detected],
    )  # fmt: skip


def false_alarms_per_day(y_true: Any, alarms: Any, *, period: Any) -> float:
    """Count the alarms that touch no anomalous row, per day of normal time.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
        1 where a row is anomalous, else 0.
    alarms : array-like of shape (n_rows,)
        1 or True where a row was alarmed. A run of these is one alarm.
    period : float, str or timedelta
        Time from row to row: a number of seconds, or what ``pandas.Timedelta`` reads, such as "3min".

    Returns
    -------
    rate : float
        At least 0. Unit: 1 / day. An alarm that began in normal rows but lasts into an event is none of them.

    Raises
    ------
    ValueError
        If there is no normal row, labels or alarms are not 0 or 1, lengths differ, or `period` is no time above 0.

    Examples
    --------
    >>> false_alarms_per_day([0] * 960, [0] * 500 + [1, 1] + [0] * 458, period="3min")
    0.5
    """
    anomalous, alarmed = _two_masks(y_true, alarms)
    n_normal = _count("normal", ~anomalous)
    false = ~_touched(events_of(alarmed), anomalous, 0)
    return float(np.count_nonzero(false) * _DAY / (n_normal * _seconds(period)))


def false_alarm_rate(y_true: Any, alarms: Any) -> float:
    """Compute the share of the normal rows that were alarmed.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
        1 where a row is anomalous, else 0.
    alarms : array-like of shape (n_rows,)
        1 or True where a row was alarmed.

    Returns
    -------
    rate : float
        In [0, 1].

    Raises
    ------
    ValueError
        If there is no normal row, labels or alarms are not 0 or 1, or lengths differ.

    Examples
    --------
    >>> false_alarm_rate([0, 0, 0, 0, 1], [1, 0, 0, 0, 1])
    0.25
    """
    anomalous, alarmed = _two_masks(y_true, alarms)
    return float(np.count_nonzero(alarmed & ~anomalous) / _count("normal", ~anomalous))


def fault_detection_rate(y_true: Any, alarms: Any) -> float:
    """Compute the share of the anomalous rows that were alarmed.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
        1 where a row is anomalous, else 0.
    alarms : array-like of shape (n_rows,)
        1 or True where a row was alarmed.

    Returns
    -------
    rate : float
        In [0, 1].

    Raises
    ------
    ValueError
        If there is no anomalous row, labels or alarms are not 0 or 1, or lengths differ.

    Examples
    --------
    >>> fault_detection_rate([0, 1, 1, 1, 1], [1, 0, 0, 1, 1])
    0.5
    """
    anomalous, alarmed = _two_masks(y_true, alarms)
    return float(np.count_nonzero(alarmed & anomalous) / _count("anomalous", anomalous))


def _touched(events: np.ndarray, mask: np.ndarray, margin: int) -> np.ndarray:
    """Tell for each event whether the mask holds anywhere from `margin` rows before to `margin` rows behind it."""
    before = np.concatenate([[0], np.cumsum(mask)])
    first, stop = np.clip(events[:, 0] - margin, 0, len(mask)), np.clip(events[:, 1] + margin, 0, len(mask))
    return before[stop] > before[first]


def _share(part: Any, whole: int) -> float:
    return float(part / whole) if whole else np.nan


def _harmonic_mean(recall: float, precision: float) -> float:
    if np.isnan(recall) or recall == 0.0:
        return recall
    return 2 * recall * precision / (recall + precision)


def _count(what: str, rows: np.ndarray) -> int:
    n_rows = int(np.count_nonzero(rows))
    if not n_rows:
        raise wrong("y_true", f"{what} in some row", "none", "The rate has no meaning without.")
    return n_rows


def _two_masks(y_true: Any, alarms: Any) -> tuple[np.ndarray, np.ndarray]:
    anomalous, alarmed = read_mask("y_true", y_true), read_mask("alarms", alarms)
    check_same_rows("alarms", len(alarmed), len(anomalous), "Pass one alarm per label.", reference="y_true")
    return anomalous, alarmed


def _clock(time: Any, n_rows: int) -> np.ndarray:
    if time is None:
        return np.arange(n_rows, dtype=np.float64)
    kind = getattr(getattr(time, "dtype", None), "kind", "")
    # pandas hands out times with a zone as objects unless told what to make of them
    array = time.to_numpy(dtype="datetime64[ns]") if kind == "M" and hasattr(time, "to_numpy") else np.asarray(time)
    if array.dtype.kind in "mM":
        # Seconds since the first row: a float holds them to the nanosecond for three months.
        steps = (array - array[:1]).astype("timedelta64[ns]")
        clock = np.where(np.isnat(steps), np.nan, steps.astype(np.int64) / 1e9)
    else:
        clock = array
    clock = read_column("time", clock)
    check_same_rows("time", len(clock), n_rows, "Pass the time of every row.", reference="y_true")
    if (np.diff(clock) < 0).any():
        row = int(np.argmax(np.diff(clock) < 0))
        raise wrong("time", "ascending", f"an earlier time in row {row + 1}", "Sort the rows by time.")
    return clock


def _seconds(period: Any) -> float:
    step = 'Use a number of seconds, or a time such as "3min".'
    if isinstance(period, int | float | np.integer | np.floating) and not isinstance(period, np.timedelta64):
        return check_positive("period", period, step)
    import pandas as pd  # only times in words pay for it

    try:
        seconds = pd.Timedelta(period).total_seconds()
    except (ValueError, TypeError):
        raise wrong("period", "a time above 0", period, step) from None
    return check_positive("period", seconds, step)
