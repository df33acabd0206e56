"""Labels that are regular by the calendar though not in time: which number each has, and which label follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []


class Calendar(ABC):
    """What regular labels count though their steps are uneven in time."""

    @abstractmethod
    def numbers(self, index: pd.DatetimeIndex) -> np.ndarray | None:
        """Return the number of each label; None where they are no labels of this calendar."""

    @abstractmethod
    def after(self, index: pd.DatetimeIndex, numbers: np.ndarray) -> pd.DatetimeIndex:
        """Return the labels that follow others by so many."""


@dataclass(frozen=True)
class Frequency(Calendar):
    """The rows of an index with a set frequency, such as business days: whoever set it vouches for it."""

    freq: Any

    def numbers(self, index: pd.DatetimeIndex) -> np.ndarray | None:
        return None if index.freq is None else np.arange(len(index))

    def after(self, index: pd.DatetimeIndex, numbers: np.ndarray) -> pd.DatetimeIndex:
        import pandas as pd

        later = [label + int(number) * self.freq for label, number in zip(index, numbers, strict=True)]
        return pd.DatetimeIndex(later, tz=index.tz).as_unit(index.unit)


@dataclass(frozen=True)
class Days(Calendar):
    """Days, where all labels have the same time of day: regular numbers though summer time changes."""

    def numbers(self, index: pd.DatetimeIndex) -> np.ndarray | None:
        wall = index.tz_localize(None)
        days = wall.normalize()
        return days.asi8 if (wall - days == wall[0] - days[0]).all() else None

    def after(self, index: pd.DatetimeIndex, numbers: np.ndarray) -> pd.DatetimeIndex:
        import pandas as pd

        wall = index.tz_localize(None)
        return _like(index, wall + pd.TimedeltaIndex(numbers.astype(f"timedelta64[{index.unit}]")))


@dataclass(frozen=True)
class Months(Calendar):
    """Months, where all labels are the same day of it or its last: regular numbers of unequal length."""

    ends: bool = False  # whether the labels are last days

    @classmethod
    def of(cls, index: pd.DatetimeIndex) -> Months:
        """Return months as an index has them."""
        return cls(not (index.day == index.day[0]).all())

    def numbers(self, index: pd.DatetimeIndex) -> np.ndarray | None:
        wall = index.tz_localize(None)
        same = (wall.day == wall.day[0]).all() or wall.is_month_end.all()
        return (12 * wall.year + wall.month).to_numpy() if same else None

    def after(self, index: pd.DatetimeIndex, numbers: np.ndarray) -> pd.DatetimeIndex:
        import pandas as pd

        wall = index.tz_localize(None)
        dates = wall.to_numpy().astype("datetime64[D]")
        first = dates.astype("datetime64[M]")
        last = (first + numbers + 1).astype("datetime64[D]") - 1
        day = (first + numbers).astype("datetime64[D]") + (dates - first.astype("datetime64[D]"))
        later = last if self.ends else np.minimum(day, last)
        return _like(index, pd.DatetimeIndex(later) + (wall - wall.normalize()))


@dataclass(frozen=True)
class Weekdays(Calendar):
    """Days from Monday to Friday, where no label is another: a weekend is no step."""

    def numbers(self, index: pd.DatetimeIndex) -> np.ndarray | None:
        days = Days().numbers(index)
        dates = index.tz_localize(None).to_numpy().astype("datetime64[D]")
        if days is None or not np.is_busday(dates).all():
            return None
        return np.busday_count(np.datetime64("1970-01-01"), dates)

    def after(self, index: pd.DatetimeIndex, numbers: np.ndarray) -> pd.DatetimeIndex:
        import pandas as pd

        wall = index.tz_localize(None)
        dates = wall.to_numpy().astype("datetime64[D]")
        later = np.busday_offset(dates, numbers, roll="backward")
        return _like(index, pd.DatetimeIndex(later) + (wall - wall.normalize()))


def _like(index: pd.DatetimeIndex, wall: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return times of a wall clock in the unit and the zone of an index; of two that are alike, the first."""
    wall = wall.as_unit(index.unit)
    return wall.tz_localize(index.tz, ambiguous=np.ones(len(wall), dtype=bool), nonexistent="shift_forward")


def calendars_of(index: pd.DatetimeIndex) -> tuple[Calendar, ...]:
    """Return the calendars that labels may be regular by."""
    return Frequency(index.freq), Days(), Months.of(index)
