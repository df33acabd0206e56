"""Lines in, one JSON object per row out, in constant memory and without a wait for more than the line at hand.

A line is a CSV row, a CSV header or a JSON object; which of them, its first character and its names tell. A line that
is none of them, or whose row the detector cannot take, is named with its reason and left out; the stream goes on.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from pitskd._files import MISSING, fields, has_offset, is_date, number, why_no_number
from pitskd._validation import shorten

__all__: list[str] = []

_CHUNK = 1 << 16  # bytes taken from a pipe at once; as few as there are
_LONGEST = 1 << 20  # bytes of a line
_LARGEST = float(np.finfo(np.float64).max)


class Malformed(Exception):  # noqa: N818  a line is not an error of the program
    """Say why a line holds no row."""


class Row(NamedTuple):
    """A row of the sensors, with its time as written and as the detector reads it."""

    stamp: Any  # for the answer: text, number or None
    time: Any
    values: np.ndarray  # (n_channels,), NaN where missing


class _Layout(NamedTuple):
    """Where the fields of a CSV line stand."""

    n_fields: int
    time: int | None
    sensors: list[int]


class Feed:
    """What a line means to one detector.

    Parameters
    ----------
    sensors : sequence of str
        Names of the sensors, in the order of fit.
    clock : "rows", "numbers" or "times"
        How the rows of the training log were dated.
    time : str
        Name of the time, in a header and in JSON.
    columns : sequence of str, default=()
        All columns of the training file, in its order; those that are no sensors are known and left alone.
    aware : bool or None, default=None
        Whether times have a UTC offset; None: as the first one has.

    Examples
    --------
    >>> feed = Feed(["flow", "level"], "numbers")
    >>> feed.row(b"level,flow,time")
    >>> row = feed.row(b"2.5,,17")
    >>> row.stamp, row.values.tolist()
    (17, [nan, 2.5])
    >>> feed.row(b'{"flow": 1, "level": null}').values.tolist()
    [1.0, nan]
    """

    def __init__(
        self,
        sensors: Sequence[str],
        clock: str,
        *,
        time: str = "time",
        columns: Sequence[str] = (),
        aware: bool | None = None,
    ) -> None:
        self.sensors, self.clock, self.time, self.aware = list(sensors), clock, time, aware
        self.known = {*columns, *sensors, time}
        self.unused: list[str] = []  # columns of the header that are no sensors
        self.n_lines = 0
        self.layouts = self._without_header(list(columns))

    def _without_header(self, columns: list[str]) -> dict[int, _Layout]:
        """Return what a line of so many fields is as long as no header was seen."""
        every = list(range(len(self.sensors)))
        layouts = [_Layout(len(every), None, every)]
        if self.clock != "rows":
            layouts.append(_Layout(len(every) + 1, 0, [position + 1 for position in every]))
        if {*self.sensors} <= {*columns}:
            layouts.append(self._layout(columns))
        return {layout.n_fields: layout for layout in layouts}

    def _layout(self, names: list[str]) -> _Layout:
        time = names.index(self.time) if self.time in names else None
        return _Layout(len(names), time, [names.index(sensor) for sensor in self.sensors])

    def row(self, line: bytes) -> Row | None:
        """Return the row of a line, or None for a header or an empty line.

        Raises
        ------
        Malformed
            If the line is neither.
        """
        self.n_lines += 1
        try:
            text = line.decode("utf-8-sig" if self.n_lines == 1 else "utf-8").strip("\r\n")
        except UnicodeDecodeError:
            raise Malformed("not UTF-8") from None
        if not text.strip():
            return None
        return self._from_json(text) if text.lstrip()[0] == "{" else self._from_csv(text)

    def _from_csv(self, text: str) -> Row | None:
        parts = fields(text)
        layout = self.layouts.get(len(parts))
        values = [] if layout is None else [number(parts[position]) for position in layout.sensors]
        complete = layout is not None and None not in values
        if (not complete or self.n_lines == 1) and self._is_header([part.strip() for part in parts]):
            return None  # names that read as numbers make a header on the first line only
        if layout is None:
            raise Malformed(f"{len(parts)} fields instead of {' or '.join(map(str, sorted(self.layouts)))}")
        if not complete:
            place = values.index(None)
            raise Malformed(f"{self.sensors[place]} is {why_no_number(parts[layout.sensors[place]])}")
        stamp = None if layout.time is None else parts[layout.time].strip()
        return self._dated(stamp, np.array(values, dtype=np.float64))

    def _is_header(self, names: list[str]) -> bool:
        """Take a header in; columns that are no sensors are left alone."""
        if not {*self.sensors} <= {*names}:
            return False
        twice = [name for name in names if names.count(name) > 1 and name in (*self.sensors, self.time)]
        if twice:
            raise Malformed(f"a header with {twice[0]} twice")
        layout = self._layout(names)
        self.layouts = {layout.n_fields: layout}
        self.unused = [name for name in names if name not in (*self.sensors, self.time)]
        return True

    def _from_json(self, text: str) -> Row:
        try:
            item = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Malformed(f"broken JSON: {shorten(str(error))}") from None
        unknown = [name for name in item if name not in self.known]
        absent = [name for name in self.sensors if name not in item]
        if unknown or absent:
            found = [f"{what} sensor {listed[0]}" for what, listed in [("no", absent), ("unknown", unknown)] if listed]
            raise Malformed(shorten(" and ".join(found)))
        values = np.array([_from_item(name, item[name]) for name in self.sensors], dtype=np.float64)
        return self._dated(item.get(self.time) if self.time not in self.sensors else None, values)

    def _dated(self, stamp: Any, values: np.ndarray) -> Row:
        """Return the row with its time; one without follows the row before."""
        if stamp is None or self.clock == "rows":
            shown = isinstance(stamp, str | int) or (isinstance(stamp, float) and math.isfinite(stamp))
            return Row(stamp if shown else None, None, values)
        if self.clock == "numbers":
            time = _as_number(stamp)
            return Row(time, time, values)
        if not isinstance(stamp, str) or not is_date(stamp):
            raise Malformed(f"time is {shorten(repr(stamp))}, not a date and time such as 2024-05-01T12:00:00")
        aware = has_offset(stamp)
        if self.aware is None:
            self.aware = aware
        if aware is not self.aware:
            other = "has none" if self.aware is False else "has one"
            raise Malformed(f"time is {stamp} {'with' if aware else 'without'} a UTC offset, where the log {other}")
        return Row(stamp, stamp, values)


def _as_number(stamp: Any) -> int | float:
    """Return a time that counts; whole numbers keep all their digits."""
    if isinstance(stamp, int | float) and not isinstance(stamp, bool) and math.isfinite(stamp):
        return stamp
    text = stamp.strip() if isinstance(stamp, str) else ""
    if text.lstrip("+-").isdecimal() and len(text) < 20:
        return int(text)
    value = number(text) if text.lower() not in MISSING else None
    if value is None or math.isnan(value):
        raise Malformed(f"time is {shorten(repr(stamp))}, not a number as in the log")
    return value


def _from_item(name: str, value: Any) -> float:
    """Return a value of a JSON object."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return np.nan
    if isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > _LARGEST:  # NaN passes
        return float(value)
    if isinstance(value, str):
        raise Malformed(f"{name} is {shorten(repr(value))} where a number belongs")
    raise Malformed(f"{name} is {why_no_number(json.dumps(value))}")


def answer(stamp: Any, alarm: Any, sensors: Sequence[str]) -> str:
    """Return what a detector says of a row as one line of JSON, all numbers finite.

    Parameters
    ----------
    stamp : str, number or None
    alarm : Alarm
        Of one stream, or anything with its fields.
    sensors : sequence of str
        Names of its contributions.

    Examples
    --------
    >>> from pitskd import Alarm
    >>> print(answer(3, Alarm(1.5, 0.25, False, np.array([1.5]), 0, 0), ["flow"]))
    {"time": 3, "score": 1.5, "p_value": 0.25, "is_anomaly": false, "event": 0, "n_missing": 0,
     "contributions": {"flow": 1.5}}
    """
    said: dict[str, Any] = {
        "time": stamp,
        "score": float(alarm.score),
        "p_value": float(alarm.p_value),
        "is_anomaly": bool(alarm.is_anomaly),
        "event": int(alarm.event),
        "n_missing": int(alarm.n_missing),
        "contributions": dict(zip(sensors, np.asarray(alarm.contributions).tolist(), strict=True)),
    }
    try:
        return json.dumps(said, ensure_ascii=False, allow_nan=False)
    except ValueError:  # a score beyond the largest number
        said |= {"score": _finite(said["score"]), "p_value": _finite(said["p_value"])}
        said["contributions"] = {name: _finite(value) for name, value in said["contributions"].items()}
        return json.dumps(said, ensure_ascii=False)


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else max(min(value, _LARGEST), -_LARGEST)


@dataclass
class Tally:
    """What a stream came to."""

    n_rows: int = 0
    n_malformed: int = 0
    n_alarmed: int = 0
    n_events: int = 0
    cut_off: bool = False  # whoever read the answers has gone


def follow(
    model: Any,
    feed: Feed,
    lines: Iterable[bytes | None],
    write: Callable[[str], None],
    report: Callable[[str], None],
    *,
    learn: bool = False,
) -> Tally:
    """Answer line by line.

    Parameters
    ----------
    model : PrivilegedAnomalyDetector
        Its running stream goes on.
    feed : Feed
    lines : iterable of bytes
        None stands for a line that is too long.
    write, report : callable
        Take an answer, and a complaint.
    learn : bool, default=False
        As in `update`.

    Returns
    -------
    Tally
    """
    tally, unused = Tally(), feed.unused
    last = getattr(getattr(model, "stream_", None), "last", None)
    event = 0 if last is None else last.event
    for line in lines:
        try:
            if line is None:
                feed.n_lines += 1
                raise Malformed(f"longer than {_LONGEST} bytes")
            row = feed.row(line)
            if row is None:
                if feed.unused is not unused and feed.unused:
                    report(f"line {feed.n_lines}: columns that are no sensors are left alone: {', '.join(feed.unused)}")
                unused = feed.unused
                continue
            alarm = model.update(row.values, row.time, learn=learn)
        except (Malformed, ValueError, TypeError, OverflowError) as error:
            tally.n_malformed += 1
            report(f"line {feed.n_lines}: {error}")
            continue
        tally.n_rows += 1
        tally.n_alarmed += bool(alarm.is_anomaly)
        tally.n_events += bool(alarm.event) and alarm.event != event
        event = alarm.event
        try:
            write(answer(row.stamp, alarm, feed.sensors))
        except BrokenPipeError:
            tally.cut_off = True
            break
    return tally


class Stop:
    """SIGINT and SIGTERM as a request to finish what is at hand; a second one ends the process as usual.

    A context; outside the main thread, where there are no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self.unfinished = False  # whether part of a line had come by then
        self.files: tuple[int, int] | None = None
        self._before: Mapping[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self.files = os.pipe()
            os.set_blocking(self.files[1], False)
            self._wakeup = signal.set_wakeup_fd(self.files[1], warn_on_full_buffer=False)
            self._before = {kind: signal.signal(kind, self._request) for kind in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        if self.files is not None:
            for kind, handler in self._before.items():
                signal.signal(kind, handler)
            signal.set_wakeup_fd(self._wakeup)
            for file in self.files:
                os.close(file)
            self.files = None

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        for kind in self._before:
            signal.signal(kind, signal.SIG_DFL)


def follow_lines(file: Any, stop: Stop) -> Iterator[bytes | None]:
    """Yield the lines of a binary file or pipe as they come, until its end or the request to stop.

    Lines that were read before that request are still yielded. None stands for a line that is too long.
    """
    pending, skipping = bytearray(), False
    for chunk in _chunks(file, stop):
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            line = bytes(pending + part) if pending else part
            pending.clear()
            if not skipping:
                yield line
            skipping = False
        pending += rest
        if skipping or len(pending) > _LONGEST:
            pending.clear()
            if not skipping:
                yield None
            skipping = True
    stop.unfinished = bool(pending) and stop.requested
    if pending and not stop.requested:  # the last line of a file need not end
        yield bytes(pending)


def _chunks(file: Any, stop: Stop) -> Iterator[bytes]:
    """Yield what is there, as soon as it is there."""
    try:
        source = file.fileno()
    except (OSError, AttributeError):  # not a file of the system
        source = None
    if source is None or stop.files is None or os.name != "posix":
        while not stop.requested and (line := file.readline()):
            yield line
        return
    while not stop.requested:
        ready, _, _ = select.select([source, stop.files[0]], [], [])
        if stop.files[0] in ready:
            return
        chunk = os.read(source, _CHUNK)
        if not chunk:
            return
        yield chunk
