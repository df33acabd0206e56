"""The clock of a sensor log: which rows follow each other, which repeat, and where a gap starts a new run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from pitskd._series import counts_rows, index_numbers
from pitskd._validation import check_positive, wrong

__all__: list[str] = []

_LONGEST = 10  # usual steps: rows further apart than this are of different runs
_PER_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Clock:
    """How the rows of the training log were dated.

    Parameters
    ----------
    kind : "rows", "numbers" or "times"
        Times count nanoseconds.
    period : float
        Usual step.
    longest : float
        The longest step that still leads to the next row.
    zoned : bool
        Whether the times have a time zone.
    """

    kind: str
    period: float
    longest: float
    zoned: bool = False

    @classmethod
    def learn(cls, index: pd.Index | None, max_gap: Any) -> Clock:
        """Read the usual step of a training log."""
        kind = _kind(index)
        if kind == "rows" and max_gap is not None:
            raise wrong("max_gap", "None where rows have no clock", max_gap, "Pass X with times as its index.")
        times = _numbers(index)
        steps = np.diff(times) if times is not None else np.ones(0)
        steps = steps[steps > 0]
        period = float(np.quantile(steps, 0.5, method="lower")) if len(steps) else 1.0
        zoned = getattr(index, "tz", None) is not None
        if max_gap is None:
            return cls(kind, period, _LONGEST * period, zoned)
        if kind == "numbers":
            return cls(kind, period, check_positive("max_gap", max_gap, "Use a step in units of the index of X."))
        try:
            gap = pd.Timedelta(max_gap).as_unit("ns").value
        except (ValueError, TypeError):
            gap = 0
        if isinstance(max_gap, int | float) or gap <= 0:
            raise wrong("max_gap", 'a time above 0 such as "30s"', max_gap, "Use a pandas.Timedelta or its text.")
        return cls(kind, period, float(gap), zoned)

    @property
    def seconds(self) -> float | None:
        """Usual step in seconds; None where the clock does not tell."""
        return self.period / _PER_SECOND if self.kind == "times" else None

    def read(self, index: pd.Index | None) -> np.ndarray | None:
        """Return the time of each row, ascending; None where rows simply follow each other."""
        kind = _kind(index)
        if "rows" in (kind, self.kind):
            return None
        if kind != self.kind or (getattr(index, "tz", None) is not None) != self.zoned:
            raise wrong("X", f"indexed by {self._words()}, as in fit", f"{index!r}", "Give it the index of the log.")
        times = _numbers(index)
        if times is not None:
            backwards = np.flatnonzero(np.diff(times) < 0)
            if len(backwards):
                assert index is not None
                row = int(backwards[0])
                raise wrong(
                    "X",
                    "in order of time",
                    f"{index[row]} before {index[row + 1]} (row {row + 1})",
                    "Use X.sort_index().",
                )
        return times

    def stamp(self, time: Any) -> Any:
        """Return the time of one row as a number."""
        if time is None or self.kind == "rows":
            return None
        if self.kind == "numbers":
            if (
                isinstance(time, bool)
                or not isinstance(time, int | float | np.integer | np.floating)
                or not isfinite(time)
            ):
                raise wrong(
                    "time", "a number, as the index of X in fit", time, "Pass the time in the same unit, or None."
                )
            return time
        if isinstance(time, str) and not any(letter.isdigit() for letter in time):  # "now" is no time of a row
            raise wrong("time", "a date and time", time, "Use e.g. 2024-05-01T12:00:00.")
        if not isinstance(time, datetime | np.datetime64 | np.timedelta64 | pd.Timedelta | str) or pd.isna(time):
            raise wrong(
                "time", "a date and time, as the index of X in fit", time, "Pass a datetime, or None.", TypeError
            )
        try:
            stamp: Any = time if isinstance(time, pd.Timedelta) else pd.Timestamp(time)
        except (ValueError, TypeError):
            stamp = pd.NaT
        if pd.isna(stamp):  # also of "" and "NaT"
            raise wrong("time", "a date and time", time, "Use e.g. 2024-05-01T12:00:00.")
        if isinstance(stamp, pd.Timestamp) and (stamp.tzinfo is not None) != self.zoned:
            raise wrong("time", f"one of {self._words()}, as in fit", str(time), "Use tz_localize or tz_convert.")
        return stamp.as_unit("ns").value

    def _words(self) -> str:
        if self.kind == "numbers":
            return "numbers"
        return "times with a time zone" if self.zoned else "times without a time zone"

    def runs(self, times: np.ndarray | None, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of the run of each row, and which rows repeat the time of the one before."""
        if times is None:
            return np.zeros(n_rows, dtype=np.int64), np.zeros(n_rows, dtype=bool)
        steps = np.diff(times, prepend=times[:1])
        repeated = steps == 0
        repeated[:1] = False
        return np.cumsum(steps > self.longest), repeated


def _kind(index: pd.Index | None) -> str:
    if index is None or counts_rows(index):
        return "rows"
    return "times" if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex | pd.PeriodIndex) else "numbers"


def _numbers(index: pd.Index | None) -> np.ndarray | None:
    if index is None or _kind(index) == "rows":
        return None
    plain = index.to_timestamp() if isinstance(index, pd.PeriodIndex) else index
    exact = plain.as_unit("ns") if isinstance(plain, pd.DatetimeIndex | pd.TimedeltaIndex) else plain
    return index_numbers(exact, "X")
