"""Series of any kind (array, pandas or other frame) as one numeric table with the clock of its rows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pitskd._calendars import Calendar, Days, calendars_of
from pitskd._validation import check_fits, check_same_rows, is_list, wrong

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class Table:
    """A series as one array, with the clock of its rows and the places that no window may span."""

    values: np.ndarray  # (n_rows, n_columns)
    names: tuple[Hashable, ...]
    index: pd.Index | None  # None for arrays
    rows: np.ndarray | None  # position of each row in the series as given; None if unchanged
    groups: np.ndarray | None  # label of each row, equal labels adjacent
    breaks: np.ndarray | None  # (n_rows,) how many borders (group or hole) lie before each row; None if there are none
    clock: np.ndarray | None  # (n_rows,) time of each row; None: its position
    pace: Pace | None  # of the clock; None: rows are numbered, or there is no step to tell

    @classmethod
    def read(cls, series: Any, groups: Any, max_gap: Any) -> Table:
        values, names, index, groups = read_values(series, groups)
        timed = has_clock(index, max_gap)
        if groups is None:
            labels = rows = None
        else:
            labels, rows = group_rows(groups, len(values))
        if rows is not None:
            check_fits("series", values.shape, values.dtype.itemsize)
            values = values[rows]
            index = None if index is None else index[rows]
        clock, pace, holes = _read_clock(index, labels, max_gap) if timed else (rows, None, None)
        borders = holes if labels is None else _either(holes, labels[1:] != labels[:-1])
        breaks = None if borders is None else np.concatenate([[0], np.cumsum(borders)])
        return cls(values, names, index, rows, labels, breaks, clock, pace)

    def columns(self, argument: str, chosen: Any) -> tuple[int, ...]:
        """Return positions of the chosen columns."""
        listed = list(chosen) if is_list(chosen) else [chosen]
        positions = [self._column(argument, name) for name in listed]
        if not positions or len(set(positions)) < len(positions):
            raise wrong(argument, "at least one column, none twice", chosen, f"The columns are: {self._listing()}.")
        return tuple(positions)

    def _column(self, argument: str, name: Any) -> int:
        n_columns = len(self.names)
        if self.index is None:
            if isinstance(name, int | np.integer) and not isinstance(name, bool) and -n_columns <= name < n_columns:
                return int(name) % n_columns
            raise wrong(argument, f"a column position between 0 and {n_columns - 1}", name, "Arrays have no names.")
        if isinstance(name, bool | np.bool_) or name not in self.names:  # True equals 1
            raise wrong(argument, "a column of the frame", name, f"It has: {self._listing()}.")
        return self.names.index(name)

    def _listing(self) -> str:
        return ", ".join(repr(name) for name in self.names)

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """First and one-past-last row of each group."""
        if self.groups is None:
            return [(0, len(self.values))]
        cuts = np.flatnonzero(self.groups[1:] != self.groups[:-1]) + 1
        return list(pairwise([0, *map(int, cuts), len(self.values)]))

    @cached_property
    def last_row(self) -> np.ndarray:
        """Return for each row the last row that a window holding it may reach."""
        n_rows = len(self.values)
        if self.breaks is None:
            return np.broadcast_to(np.int64(n_rows - 1), n_rows)
        return np.searchsorted(self.breaks, self.breaks, side="right") - 1

    def after(self, rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return the clock so many usual steps after rows."""
        assert self.clock is not None
        if self.pace is None:
            return self.clock[rows] + steps.astype(self.clock.dtype)
        return self.pace.after(self.index, self.clock, rows, steps)

    def select(self, columns: tuple[int, ...]) -> np.ndarray:
        """Return some columns, as a view if they are equally spaced, else as one copy kept for later."""
        if columns not in self._selected:
            chosen = as_slice(np.asarray(columns))
            if not isinstance(chosen, slice):
                check_fits("series", (len(self.values), len(columns)), self.values.dtype.itemsize)
            self._selected[columns] = self.values[:, chosen]
        return self._selected[columns]

    def cut(self, name: str, columns: tuple[int, ...], starts: range | np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return rows ``start + offset``, (n_windows, n_offsets, n_columns), as a view if spaced alike."""
        block = self.select(columns)
        if not len(offsets):
            return np.empty((len(starts), 0, len(columns)), dtype=block.dtype)
        first, last = int(offsets.min()), int(offsets.max())
        windows = sliding_window_view(block[first:], last - first + 1, axis=0).swapaxes(1, 2)
        steps = as_slice(offsets - first)
        if not (isinstance(starts, range) and isinstance(steps, slice)):
            check_fits(name, (len(starts), len(offsets), len(columns)), block.dtype.itemsize)
        return windows[as_slice(starts)][:, steps]

    def reach(self, name: str, columns: tuple[int, ...], starts: range | np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return the same rows where some may lie beyond a hole or the end of the series: NaN there."""
        block, first_rows = self.select(columns), np.asarray(starts, dtype=np.int64)
        check_fits(name, (len(first_rows), len(offsets), len(columns)))
        rows = first_rows[:, None] + offsets
        reached = rows <= self.last_row[first_rows][:, None]
        gathered = block[np.minimum(rows, len(block) - 1)].astype(np.result_type(block, np.float16), copy=False)
        gathered[~reached] = np.nan
        return gathered

    @cached_property
    def _selected(self) -> dict[tuple[int, ...], np.ndarray]:
        return {}


def read_values(series: Any, groups: Any) -> tuple[np.ndarray, tuple[Hashable, ...], pd.Index | None, Any]:
    """Return the numbers of a series, the names of its columns, its index, and the groups, by name or as given."""
    frame = as_frame(series)
    if frame is None:
        values = _as_array(series)
        return values, tuple(f"x{i}" for i in range(values.shape[1])), None, groups
    _check_unique(frame.columns)
    if isinstance(groups, str) and groups in frame.columns:
        groups, frame = frame[groups], frame.drop(columns=groups)
    return _numbers(frame), tuple(frame.columns), frame.index, groups


def has_clock(index: pd.Index | None, max_gap: Any) -> bool:
    """Tell whether an index gives times, between which there may be holes."""
    if index is None and max_gap is not None:
        raise wrong("max_gap", "None for an array, which has no time index", max_gap, "Pass a DataFrame.")
    return index is not None and not (max_gap is None and counts_rows(index))


def as_slice(rows: Any) -> Any:
    """Return equally spaced ascending rows as a slice, which indexes without a copy; others as they are."""
    spaced = as_range(rows)
    return slice(spaced.start, spaced.stop, spaced.step) if isinstance(spaced, range) else rows


def as_range(rows: range | np.ndarray) -> range | np.ndarray:
    if isinstance(rows, range) and rows.step > 0:
        return rows
    rows = np.asarray(rows, dtype=np.int64)
    if not len(rows) or rows[0] < 0:
        return rows
    step = int(rows[1] - rows[0]) if len(rows) > 1 else 1
    if step < 1 or np.any(np.diff(rows) != step):
        return rows
    return range(int(rows[0]), int(rows[-1]) + 1, step)


def plain(argument: Any) -> Any:
    """Return what numpy and pandas wrap, such as ``frame.columns[:3]``, as a list or a plain value."""
    return argument.tolist() if hasattr(argument, "tolist") else argument


def as_frame(series: Any) -> pd.DataFrame | None:
    """Return a frame with its index, or None for what numpy reads."""
    if isinstance(series, np.ndarray | list | tuple):
        return None
    import pandas as pd  # only frames pay for it

    if isinstance(series, pd.Series):
        return series.to_frame()
    if isinstance(series, pd.DataFrame):
        return series
    if not hasattr(series, "to_pandas"):
        return None
    frame = series.to_pandas()
    frame = frame.to_frame() if isinstance(frame, pd.Series) else frame
    times = [name for name, dtype in frame.dtypes.items() if pd.api.types.is_datetime64_any_dtype(dtype)]
    return frame.set_index(times[0]) if len(times) == 1 else frame


def _as_array(series: Any) -> np.ndarray:
    if np.ma.isMaskedArray(series):
        raise wrong("series", "an array without a mask", "a masked array", "Use series.filled(numpy.nan).", TypeError)
    try:
        values = np.asarray(series)
    except ValueError as error:
        raise wrong("series", "rows of equal length", series, "Pad short rows with NaN.") from error
    if values.size and values.dtype.kind not in "biuf":
        raise wrong(
            "series", "an array of numbers", f"dtype {values.dtype}", "Convert or drop what is no number.", TypeError
        )
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise wrong(
            "series", "of shape (n_rows,) or (n_rows, n_columns), not empty", f"shape {values.shape}",
            "Windows are cut by make_windows itself: pass the plain series.",
        )  # fmt: skip
    values = values.astype(np.float64) if values.dtype.kind == "b" else values
    return values[:, None] if values.ndim == 1 else values


def _check_unique(columns: pd.Index) -> None:
    if not columns.is_unique:
        twice = columns[columns.duplicated()][0]
        raise wrong("series", "a frame with unique column names", f"{twice!r} twice", "Rename one of them.")


def _numbers(frame: pd.DataFrame) -> np.ndarray:
    """Return the columns of a frame as one array; a view if they are one block."""
    import pandas as pd

    for name, dtype in frame.dtypes.items():
        if not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_complex_dtype(dtype):
            step = (
                "Set it as the index."
                if pd.api.types.is_datetime64_any_dtype(dtype)
                else "Encode it, e.g. with pandas.get_dummies, or drop it."
            )
            raise wrong("series", "a frame of numbers", f"dtype {dtype} in column {name!r}", step, TypeError)
    if len(set(frame.dtypes)) > 1:
        check_fits("series", frame.shape)
    if any(not isinstance(dtype, np.dtype) for dtype in frame.dtypes):
        return _as_array(frame.to_numpy(dtype=np.float64, na_value=np.nan))
    # Without a dtype pandas makes objects of numbers beside booleans.
    return _as_array(frame.to_numpy(dtype=np.result_type(*frame.dtypes) if frame.size else None))


def group_rows(groups: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the label of each row with equal labels adjacent, and the order of rows that makes them so."""
    import pandas as pd

    if isinstance(groups, str) or np.ndim(groups) != 1:
        raise wrong("groups", "one label per row, or a column of the frame", groups, "Pass an array of labels.")
    labels = np.asarray(groups)
    check_same_rows("groups", len(labels), n_rows, "Pass one label per row.", reference="series")
    codes, uniques = pd.factorize(labels, use_na_sentinel=True)
    if codes.min(initial=0) < 0:
        raise wrong(
            "groups", "a label in every row", f"none in row {int(np.argmin(codes))}", "Name or drop these rows."
        )
    if len(uniques) == 1 + np.count_nonzero(np.diff(codes)):
        return labels, None
    order = np.argsort(codes, kind="stable")
    return labels[order], order


def counts_rows(index: pd.Index) -> bool:
    """Tell whether an index only numbers the rows: then it has no holes, however groups interleave."""
    import pandas as pd

    return isinstance(index, pd.RangeIndex) and index.step > 0


def _read_clock(
    index: pd.Index, groups: np.ndarray | None, max_gap: Any
) -> tuple[np.ndarray, Pace | None, np.ndarray | None]:
    """Return the time of each row, the pace, and whether there is a hole behind each row but the last."""
    clock = index_numbers(index)
    steps = np.diff(clock)
    inside = np.ones(len(steps), dtype=bool) if groups is None else groups[1:] == groups[:-1]
    check_ascending(index, steps, inside)
    if not inside.any():
        return clock, None, None
    pace = Pace.of(index, clock, inside, max_gap)
    holes = inside & pace.holes(index, clock)
    pace.check_share(int(holes.sum()), int(inside.sum()))
    return clock, pace, holes if holes.any() else None


@dataclass(frozen=True)
class Pace:
    """The usual step of a clock, and by it which steps are holes."""

    period: float  # median step in units of the clock
    longest: float | None = None  # longest step allowed; None: every step must be the usual one
    calendar: Calendar | None = None  # days or months that the labels stand for
    calendar_step: float = 1.0

    @classmethod
    def of(
        cls, index: pd.Index, clock: np.ndarray, inside: np.ndarray, max_gap: Any, further: Sequence[Calendar] = ()
    ) -> Pace:
        """Return the pace of a clock; `inside` says which of its steps lie inside a group, and at least one does.

        Calendars are those that may tell where holes are, and `further` ones.
        """
        import pandas as pd

        pace = cls(_usual(np.diff(clock)[inside]), None if max_gap is None else _gap_number(index, max_gap))
        if max_gap is not None or not isinstance(index, pd.DatetimeIndex):
            return pace
        fewest = np.count_nonzero(inside & pace.holes(index, clock))
        for calendar in (*calendars_of(index), *further) if fewest or index.tz is not None else ():
            numbers = calendar.numbers(index)
            if numbers is None or not (np.diff(numbers)[inside] > 0).all():
                continue
            other = cls(pace.period, None, calendar, _usual(np.diff(numbers)[inside]))
            count = np.count_nonzero(inside & other.holes(index, clock))
            # Days of a zone may come to have 23 hours, though none has yet.
            if count < fewest or (count == fewest and isinstance(calendar, Days)):
                pace, fewest = other, count
        return pace

    def holes(self, index: pd.Index, clock: np.ndarray) -> np.ndarray:
        """Tell which steps are holes."""
        if self.longest is not None:
            return np.diff(clock) > self.longest + _rounding(clock, self.period)
        numbers = None if self.calendar is None else self.calendar.numbers(index)
        if numbers is None:
            return np.abs(np.diff(clock) - self.period) > _rounding(clock, self.period)
        return np.abs(np.diff(numbers) - self.calendar_step) > _rounding(numbers, self.calendar_step)

    def after(self, index: Any, clock: np.ndarray, rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return the clock so many usual steps after rows."""
        if self.calendar is None:
            return clock[rows] + (steps * self.period).astype(clock.dtype)
        return index_numbers(self.calendar.after(index[rows], steps * int(self.calendar_step)))

    def check_share(self, n_holes: int, n_steps: int) -> None:
        """Refuse a clock most of whose steps are unusual."""
        if self.longest is None and n_holes > 0.5 * n_steps:
            raise wrong(
                "series", "indexed at a usual step", f"an index where {n_holes / n_steps:.0%} of the steps differ",
                "Resample it, or allow longer steps with max_gap.",
            )  # fmt: skip


def _usual(steps: np.ndarray) -> float:
    """Return the median, the lower of two, so that it is a step."""
    return float(np.quantile(steps, 0.5, method="lower"))


def _rounding(clock: np.ndarray, period: float) -> float:
    """How far equal steps may differ: 0.1, 0.2, 0.3 are regular, and so are seconds since 1970 in tenths."""
    digits = 4 * float(np.spacing(np.abs(clock).max())) if clock.dtype.kind == "f" else 0.0
    return min(max(1e-6 * period, digits), period / 2)


def index_numbers(index: pd.Index, name: str = "series") -> np.ndarray:
    """Return times as integers of the unit of the index, numbers as they are."""
    import pandas as pd

    times = isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex | pd.PeriodIndex)
    if not times and index.dtype.kind not in "iuf":
        raise wrong(
            name, "indexed by times or numbers", f"an index of dtype {index.dtype}",
            f"Use pandas.to_datetime({name}.index) or {name}.reset_index(drop=True).", TypeError,
        )  # fmt: skip
    missing = index.isna() | np.isin(index, (np.inf, -np.inf)) if index.dtype.kind == "f" else index.isna()
    if missing.any():
        raise wrong(name, "indexed without missing labels", f"none in row {int(missing.argmax())}", "Drop these rows.")
    if times:
        return index.asi8
    clock = index.to_numpy()
    return clock if clock.dtype.kind == "f" else clock.astype(np.int64)  # steps of small ints would overflow


def check_ascending(index: pd.Index, steps: np.ndarray, inside: np.ndarray) -> None:
    backwards = np.flatnonzero(inside & (steps < 0))
    if len(backwards):
        raise wrong(
            "series", "sorted by its index", f"{index[backwards[0]]} before {index[backwards[0] + 1]}",
            "Use series.sort_index().",
        )  # fmt: skip
    repeated = np.flatnonzero(inside & (steps == 0))
    if len(repeated):
        raise wrong(
            "series", "indexed by unique labels", f"{index[repeated[0]]} twice ({len(repeated)} such rows)",
            "Drop or average the repeats, or pass groups if several series are stacked.",
        )  # fmt: skip


def _gap_number(index: pd.Index, max_gap: Any) -> float:
    """Return the longest allowed step in units of the clock."""
    import pandas as pd

    timed = isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex)
    if isinstance(max_gap, int | float | np.integer | np.floating) and not isinstance(max_gap, bool | np.timedelta64):
        if max_gap > 0 and (max_gap == np.inf or not timed):
            return float(max_gap)
    elif timed and not isinstance(max_gap, bool):
        try:
            gap = pd.Timedelta(max_gap)
        except (ValueError, TypeError):
            gap = pd.NaT
        if gap > pd.Timedelta(0):
            return gap / pd.Timedelta(1, index.unit)
    raise wrong(
        "max_gap", "a step above 0 in units of the index", max_gap,
        'Use e.g. "3h" for times, 3 for numbers, numpy.inf for any.',
    )  # fmt: skip


def _either(first: np.ndarray | None, second: np.ndarray) -> np.ndarray:
    return second if first is None else first | second
