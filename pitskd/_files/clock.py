"""The column that says when each row was: which it is, and its times in order, however the file writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pitskd._files.cells import OFFSET, YEARS, is_date, number
from pitskd._validation import wrong

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

TIME_NAMES = ("time", "timestamp", "datetime", "date")  # taken for the clock where the user names none, in any case


def find_time(
    name: str, names: Sequence[str], time: str | None, usual: str | None = None, option: str = "--"
) -> str | None:
    """Return the time column among the names of a table."""
    if time is not None:
        if time not in names:
            raise wrong(f"{option}time", "a column of the file", repr(time), f"It has: {', '.join(names)}.")
        return time
    if usual in names:
        return usual
    found = [column for column in names if column.lower() in TIME_NAMES]
    if len(found) > 1:
        raise wrong(name, "a file with one time column", " and ".join(found), f"Name it with {option}time.")
    return found[0] if found else None


@dataclass
class ClockReader:
    """Reads a column of times, whole or part by part, as numbers or times in ascending order.

    The first part decides whether the column holds numbers or times, with an offset from UTC or without. Whole numbers
    are days where all of the first part are a day of the calendar between 1900 and 2100 written YYYYMMDD.
    """

    name: str
    path: Path
    strict: bool = False  # refuse a time that is there twice
    option: str = "--"  # how the user spells a parameter
    n_rows: int = 0
    kind: str = ""  # of the first part: "numbers", "days", "times", or "times in UTC"
    first: Any = None  # time of the first row as the file has it
    unit: Any = None  # of the first part: the dtype of its index
    last: dict[Any, tuple[Any, Any]] = field(default_factory=dict)  # by group: last time, read and as the file has it

    def read(self, values: pd.Series, groups: np.ndarray | None = None) -> pd.Index:
        """Return the times of the next rows.

        Parameters
        ----------
        values : Series
            The times as the file has them.
        groups : array, default=None
            Times ascend within each of these groups; by default the whole file is one.
        """
        if values.isna().any():
            row = self.n_rows + int(values.isna().to_numpy().argmax()) + 1
            expected = f"a file with a time in every row of {values.name!r}"
            raise wrong(self.name, expected, f"none in row {row}", "Drop the row.")
        index = self._parse(values)
        self._check_order(values, index, groups)
        self.n_rows += len(values)
        return index.rename(str(values.name))

    def stamps(self, values: pd.Series) -> pd.Series:
        """Return times that were read as the file has them, without blanks around them; days as text."""
        import pandas as pd

        return _text(values) if self.kind == "days" or pd.api.types.is_string_dtype(values) else values

    def _parse(self, values: pd.Series) -> pd.Index:
        import pandas as pd

        first = not self.kind
        if first:
            self.first = values.iloc[0]
        if first or self.kind == "days":
            days = _days(values)
            if days.notna().all():
                self.kind = "days"
                return self._like_first(values, pd.Index(days))
            if not first:
                raise self._other_kind(values, int(days.isna().argmax()), f"days such as {self.first}")
        if pd.api.types.is_datetime64_any_dtype(values.dtype):
            self.kind = "times" if values.dt.tz is None else "times in UTC"
            return pd.Index(values.to_numpy() if values.dt.tz is None else values.dt.tz_convert("UTC"))
        numeric = pd.to_numeric(values, errors="coerce") if first or self.kind == "numbers" else None
        if numeric is not None and np.isfinite(numeric).all():
            self.kind = "numbers"
            return self._like_first(values, pd.Index(numeric))
        if self.kind == "numbers":
            assert numeric is not None
            raise self._other_kind(values, int(np.argmin(np.isfinite(numeric))), "numbers")
        return self._like_first(values, pd.Index(self._dates(values)))

    def _dates(self, values: pd.Series) -> pd.Series:
        import pandas as pd

        text = _text(values)
        aware = text.str.contains(OFFSET).to_numpy(dtype=bool)
        utc = bool(aware[0]) if not self.kind else self.kind == "times in UTC"
        if (aware != utc).any():
            raise self._other_kind(values, int(np.argmax(aware != utc)), "times that all have a UTC offset or none")
        try:
            dates = pd.to_datetime(text, format="ISO8601", utc=utc)
        except (ValueError, OverflowError):
            if self.kind == "" and number(text.iloc[0]) is not None:
                numeric = pd.to_numeric(values, errors="coerce")
                raise self._other_kind(values, int(np.argmin(np.isfinite(numeric))), "numbers") from None
            row = int(np.argmin(text.map(is_date)))
            found = f"{text.iloc[row]!r} (row {self.n_rows + row + 1})"
            step = f"Use e.g. 2024-05-01T12:00:00, or name another column with {self.option}time."
            raise wrong(
                self.name, f"a file with numbers or ISO 8601 times in {values.name!r}", found, step
            ) from None  # fmt: skip
        self.kind = "times in UTC" if utc else "times"
        return dates

    def _like_first(self, values: pd.Series, index: pd.Index) -> pd.Index:
        """Return the times in the unit of the first part, so that all parts are one clock."""
        self.unit = self.unit or index.dtype
        if index.dtype == self.unit:
            return index
        alike = index.astype(self.unit)
        if (alike != index).any():
            raise self._other_kind(values, int(np.argmax(alike != index)), f"times as exact as {self.first}")
        return alike

    def _other_kind(self, values: pd.Series, row: int, kind: str) -> Exception:
        found = f"{self.first} and {values.iloc[row]} (row {self.n_rows + row + 1})"
        return wrong(self.name, f"a file with {kind} in {values.name!r}", found, "Write all of them alike.")

    def _check_order(self, values: pd.Series, index: pd.Index, groups: np.ndarray | None) -> None:
        import pandas as pd

        codes, labels = (np.zeros(len(index), dtype=np.int64), [None]) if groups is None else pd.factorize(groups)
        order = np.argsort(codes, kind="stable")
        clock = (index.asi8 if isinstance(index, pd.DatetimeIndex) else index.to_numpy())[order]
        begins = np.flatnonzero(np.diff(codes[order], prepend=-1))
        steps = np.diff(clock, prepend=clock[:1])
        for place, group in zip(begins, labels, strict=True):
            steps[place] = clock[place] - self.last[group][0] if group in self.last else 1
        bad = np.flatnonzero(steps <= 0 if self.strict else steps < 0)
        if len(bad):
            place = int(bad[np.argmin(order[bad])])
            before = self.last[labels[codes[order[place]]]][1] if place in begins else values.iloc[order[place - 1]]
            raise self._disorder(values, int(order[place]), before, repeated=steps[place] == 0)
        for place, group in zip([*begins[1:], len(order)], labels, strict=True):
            self.last[group] = clock[place - 1], values.iloc[order[place - 1]]

    def _disorder(self, values: pd.Series, row: int, before: Any, *, repeated: bool) -> Exception:
        place = f"(row {self.n_rows + row + 1})"
        several = f", or name the column of its series with {self.option}group" if self.strict else ""
        if repeated:
            step = f"Drop or average the repeats{several}."
            return wrong(self.name, f"a file with every time of {values.name!r} once", f"{before} twice {place}", step)
        found = f"{values.iloc[row]} behind {before} {place}"
        return wrong(self.name, f"in order of {values.name!r}", found, f"Sort {self.path} by that column{several}.")


def _text(values: pd.Series) -> pd.Series:
    return values.astype(str).str.strip()


def _days(values: pd.Series) -> pd.Series:
    """Return days written YYYYMMDD as times; NaT where there is something else."""
    import pandas as pd

    if values.dtype.kind in "Mmfb" or not is_date(str(values.iloc[0]).strip()):  # most columns: a look at one row
        return pd.Series(pd.NaT, index=values.index)
    text = _text(values)
    days = pd.to_datetime(text.where(text.str.fullmatch(r"\d{8}")), format="%Y%m%d", errors="coerce")
    return days.where(days.dt.year.isin(YEARS))
