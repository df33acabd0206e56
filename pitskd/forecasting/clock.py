"""The usual step of a file's clock, found while its rows pass by, in words and in seconds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from pitskd._calendars import Calendar, Months, Weekdays
from pitskd._series import Pace, counts_rows, index_numbers

__all__: list[str] = []

_ENOUGH = 1_000_000  # steps after which the usual one is known
_SURE = 1000
CALENDARS: dict[str, Calendar] = {"months": Months(), "month ends": Months(ends=True), "weekdays": Weekdays()}
_NAMES = {"months": "month", "month ends": "month", "weekdays": "weekday"}  # of their steps
_DAY, _HOUR = 86400.0, 3600.0  # seconds
_UNITS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class Clock:
    """The steps between neighbouring rows of a group.

    Attributes
    ----------
    kind : "rows", "numbers" or "times"
    aware : bool
        Whether times have an offset from UTC.
    calendar : str or None
        One of `CALENDARS` where rows are more regular by it than in time.
    calendar_step : int
        Usual step in the calendar.
    even : bool
        Whether no step was another.
    """

    def __init__(self) -> None:
        self.kind = "rows"
        self.aware = False
        self.unit: str | None = None
        self.calendar: str | None = None
        self.calendar_step = 1
        self.even = True
        self._steps: Counter[float] = Counter()
        self._off_midnight = False
        self._last: dict[Any, Any] = {}  # by group: clock of the row before
        self._counted = 0

    def add(self, index: pd.Index, labels: Any = None) -> None:
        """Look at the index of one part; `labels` are the groups of its rows."""
        if counts_rows(index):
            return
        dated = isinstance(index, pd.DatetimeIndex)
        self.kind = "times" if dated else "numbers"
        self.aware = dated and index.tz is not None
        self.unit = index.unit if dated else None
        if isinstance(index, pd.DatetimeIndex) and index.tz is not None:
            self._off_midnight = self._off_midnight or bool((index != index.normalize()).any())
        if self._counted >= _ENOUGH:
            return
        numbers = index_numbers(index)
        codes, known = (np.zeros(len(index), dtype=int), [None]) if labels is None else pd.factorize(np.asarray(labels))
        begun = [place for place, label in enumerate(known) if label in self._last]
        before = np.array([self._last[known[place]] for place in begun], dtype=numbers.dtype)
        clock = np.concatenate([before, numbers])
        codes = np.concatenate([np.array(begun, dtype=int), codes])
        order = np.argsort(codes, kind="stable")
        clock, codes = clock[order], codes[order]
        self._look_at_calendar(clock, np.diff(codes) == 0)
        values, counts = np.unique(np.diff(clock)[np.diff(codes) == 0], return_counts=True)
        ends = np.flatnonzero(np.diff(codes, append=len(known)))
        self._last.update(zip(known, clock[ends].tolist(), strict=True))
        self._steps.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        self._counted += int(counts.sum())

    def _look_at_calendar(self, clock: np.ndarray, inside: np.ndarray) -> None:
        """Find out by what calendar the rows of a part are regular, and whether all are."""
        if not inside.any():
            return
        index = pd.Index(clock if self.unit is None else clock.astype(f"datetime64[{self.unit}]"))
        pace = Pace.of(index, clock, inside, None, tuple(CALENDARS.values()))
        self.even = self.even and not (inside & pace.holes(index, clock)).any()
        if self.calendar is None and not self.is_known:
            self.calendar = next((name for name, one in CALENDARS.items() if one == pace.calendar), None)
            self.calendar_step = 1 if self.calendar is None else int(pace.calendar_step)

    @property
    def shifts(self) -> bool:
        """Whether rows are days or more apart, by the clock of a place that may be changed: not at midnight in UTC."""
        return self._off_midnight and (self.period or 0.0) >= _DAY - _HOUR

    @property
    def is_known(self) -> bool:
        """Whether so many steps were seen that a few holes do not matter."""
        return self._counted >= _SURE

    @property
    def ticks(self) -> float | None:
        """Median step, the lower of two, in units of the index; None without a clock."""
        if not self._steps:
            return None
        values, counts = np.array(sorted(self._steps.items()), dtype=np.float64).T
        return float(values[np.searchsorted(np.cumsum(counts), (counts.sum() + 1) // 2)])

    @property
    def period(self) -> float | None:
        """The same, in seconds for times."""
        ticks = self.ticks
        return ticks if ticks is None or self.unit is None else ticks * _UNITS[self.unit]

    def times(self, values: np.ndarray) -> pd.DatetimeIndex:
        """Return times of the index, or their numbers, as times."""
        given = np.asarray(values)
        times = pd.DatetimeIndex(given if given.dtype.kind == "O" else given.astype(f"datetime64[{self.unit}]"))
        return times.tz_localize("UTC") if self.aware and times.tz is None else times

    @property
    def step(self) -> str:
        """The usual step in words."""
        if self.calendar is not None:
            return f"{self.calendar_step} {_NAMES[self.calendar]}{'s' if self.calendar_step > 1 else ''}"
        return step_in_words(self.kind, self.period)


def step_in_words(kind: str, period: float | None) -> str:
    """Return a step for people.

    Examples
    --------
    >>> step_in_words("times", 3600.0), step_in_words("times", 90.0), step_in_words("rows", None)
    ('1 h', '90 s', '1 row')
    """
    if kind == "rows" or period is None:
        return "1 row"
    if kind == "numbers":
        return f"{period:g}"
    for unit, seconds in _UNITS.items():
        if period >= seconds and (period / seconds).is_integer():
            return f"{period / seconds:g} {unit}"
    return f"{period:g} s"
