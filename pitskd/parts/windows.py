"""The windows of a series that comes in parts, as `make_windows` would cut them from the whole.

Each group keeps the rows that a later window may hold, and where the next window starts. A part is put behind them and
cut; a window is given out as soon as nothing that comes later can change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from pitskd._plan import Plan, Request
from pitskd._series import Pace, Table, as_frame, check_ascending, group_rows, index_numbers
from pitskd._validation import check_fits, wrong
from pitskd.parts._rows import Reader, Rows
from pitskd.windows import PrivilegedWindows

__all__ = ["join_windows", "windows_from_parts"]

_N_STEPS = 1000  # steps of the clock that tell the usual one; a part of the usual size has more


def windows_from_parts(
    parts: Iterable[Any],
    target: Any,
    *,
    window: int,
    horizon: int | Sequence[int],
    privileged: Any = "between",
    privileged_columns: Any = None,
    stride: int = 1,
    threshold: Any = None,
    groups: Any = None,
    require_target: bool = True,
    max_gap: Any = None,
) -> Iterator[PrivilegedWindows]:
    """Cut a series that comes in parts into windows, none lost and none twice where two parts meet.

    Use it where the series is longer than memory: only one part, the few rows before it that later windows need, and
    the record that was given out last are held.

    Parameters
    ----------
    parts : iterable of arrays or frames
        Consecutive rows of one series, such as `read_parts` gives; parts without rows are passed over. Frames have the
        same columns. A RangeIndex only numbers the rows, and is counted on from the first part's.
    target, window, horizon, privileged, privileged_columns, stride, threshold, require_target, max_gap
        As in `make_windows`.
    groups : column name or array of shape (n_rows,), default=None
        As in `make_windows`; an array has the labels of all parts. By default the group of the parts, if they are
        `TableParts`.

    Yields
    ------
    windows : PrivilegedWindows
        One record at most for each part. All together hold the windows of the whole series, each group in order; with
        one group they are in the order of the whole. `dropped` of all together is that of the whole.

    Raises
    ------
    ValueError, TypeError
        As `make_windows`; also if a part has other columns, or another kind of index, than the first.

    Notes
    -----
    Where `max_gap` is None, windows must not span a hole, a step that is not the usual one. The usual step is the
    median of the first thousand or more steps (all of them, if the series is shorter); the whole is not known yet. If
    ever more than half of all steps so far differ from it, that is an error, not a long row of dropped windows.

    Positions (`origin` and `spans` of arrays) count through all parts. With ``require_target=False`` a window whose
    target is yet to come is given out when the series ends, or has a hole there.

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd import windows_from_parts
    >>> parts = np.arange(4.0), np.arange(4.0, 10.0)
    >>> [w.origin.tolist() for w in windows_from_parts(parts, 0, window=3, horizon=1)]
    [[2], [3, 4, 5, 6, 7, 8]]
    """
    request = Request.check(
        target, window=window, horizon=horizon, privileged=privileged, privileged_columns=privileged_columns,
        stride=stride, threshold=threshold, require_target=require_target,
    )  # fmt: skip
    if isinstance(parts, np.ndarray | str) or as_frame(parts) is not None or not isinstance(parts, Iterable):
        raise wrong("parts", "an iterable of arrays or frames", parts, "Use make_windows for one series.", TypeError)
    groups = getattr(parts, "group", None) if groups is None else groups
    return _records(_Seam(request, Reader(groups, max_gap), max_gap), parts)


def join_windows(records: Iterable[PrivilegedWindows]) -> PrivilegedWindows:
    """Return one record of many, such as `windows_from_parts` gives.

    Parameters
    ----------
    records : iterable of PrivilegedWindows
        Windows that were cut alike.

    Returns
    -------
    windows : PrivilegedWindows
        All of them in that order, in arrays of their own; what was dropped is summed.

    Raises
    ------
    ValueError
        If there is no record, or their columns, steps or lengths differ.
    MemoryError
        If the arrays do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd import join_windows, windows_from_parts
    >>> parts = np.arange(4.0), np.arange(4.0, 10.0)
    >>> join_windows(windows_from_parts(parts, 0, window=3, horizon=1))
    PrivilegedWindows(n_windows=7, window=3, horizon=1, n_channels=1, privileged_steps=[])
    """
    records = list(records)
    if not records:
        raise wrong("records", "at least one record of windows", records, "Check what the parts hold.")
    first = records[0]
    for number, record in enumerate(records):
        for name in ("feature_names", "privileged_feature_names", "target_names", "window", "horizon"):
            _check_alike(number, name, getattr(record, name), getattr(first, name))
        _check_alike(number, "privileged_steps", record.privileged_steps.tolist(), first.privileged_steps.tolist())
    n_windows = sum(record.n_windows for record in records)
    check_fits("X", (n_windows, *first.X.shape[1:]), first.X.dtype.itemsize)
    dropped = Counter()
    for record in records:
        dropped.update(record.dropped)
    joined = {name: _joined(name, records) for name in ("X", "X_privileged", "y", "origin", "groups", "spans")}
    others = ("privileged_steps", "window", "horizon", "feature_names", "privileged_feature_names", "target_names")
    return PrivilegedWindows(**joined, **{name: getattr(first, name) for name in others}, dropped=dict(dropped))


def _check_alike(number: int, name: str, value: Any, expected: Any) -> None:
    if value != expected:
        found = f"{name} {value!r} in record {number} and {expected!r} in record 0"
        raise wrong("records", "cut alike", found, "Join windows of one series.")


def _joined(name: str, records: list[PrivilegedWindows]) -> Any:
    arrays = [getattr(record, name) for record in records]
    return None if any(array is None for array in arrays) else np.concatenate(arrays)


def _records(seam: _Seam, parts: Iterable[Any]) -> Iterator[PrivilegedWindows]:
    """Yield records one part late: what later parts drop without leaving a window is told by the last record."""
    pending: Plan | None = None
    for plan in seam.plans(parts):
        if pending is not None:
            yield PrivilegedWindows._lazy(pending)
        pending = plan
    if pending is None:
        raise wrong("series", "complete enough for one window", f"none left of {dict(seam.dropped)}", "Check its gaps.")
    told = Counter(pending.dropped_before)
    yield PrivilegedWindows._lazy(replace(pending, dropped_before=told + seam.dropped) if seam.dropped else pending)


@dataclass
class _Tail:
    """The end of a group: the rows that a later window may hold, the last row of the group always among them."""

    rows: Rows
    upcoming: int = 0  # where the next window starts, counted from the first of these rows


@dataclass(eq=False)
class _Seam:
    """Where parts meet: what is kept of those before, and by what pace their clock goes."""

    request: Request
    reader: Reader
    max_gap: Any
    pace: Pace | None = None
    n_steps: int = 0
    n_holes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # and not told by a record yet
    tails: dict[Any, _Tail] = field(default_factory=dict)

    def plans(self, parts: Iterable[Any]) -> Iterator[Plan]:
        """Yield how each part is cut together with the rows before it, where that leaves windows."""
        for rows in self._enough_at_first(self.reader.read(parts)):
            yield from self._cut(self._by_group(rows))
        self.request.check_length(self.reader.n_rows)
        if not self.request.require_target:
            yield from self._cut(dict.fromkeys(self.tails), ended=True)

    def _enough_at_first(self, pieces: Iterator[Rows]) -> Iterator[Rows]:
        """Put the first parts together until they tell the usual step of the clock."""
        held: list[Rows] = []
        labels: set[Any] = set()
        for piece in pieces:
            held.append(piece)
            if self.reader.timed and self.pace is None:
                labels.update([None] if piece.groups is None else piece.groups.tolist())
                if self.reader.n_rows - len(labels) < _N_STEPS:  # so many steps lie inside groups
                    continue
            yield Rows.join(held)
            held = []
        if held:
            yield Rows.join(held)

    def _by_group(self, rows: Rows) -> dict[Any, Rows | None]:
        """Return the new rows of each group."""
        if rows.groups is None:
            return {None: rows}
        _, order = group_rows(rows.groups, len(rows))
        rows = rows if order is None else rows.take(order)
        assert rows.groups is not None
        cuts = [0, *(np.flatnonzero(rows.groups[1:] != rows.groups[:-1]) + 1).tolist(), len(rows)]
        return {rows.groups[first]: rows.take(slice(first, stop)) for first, stop in pairwise(cuts)}

    def _cut(self, arrived: dict[Any, Rows | None], *, ended: bool = False) -> Iterator[Plan]:
        """Cut the new rows of each group behind those kept of it; yield the plan if it leaves windows."""
        pieces, fresh, sizes = [], [], []
        for label, new in arrived.items():
            known = [self.tails[label].rows] if label in self.tails else []
            block = [*known, *([] if new is None else [new])]
            pieces += block
            sizes.append(sum(map(len, block)))
            fresh.append(np.arange(sizes[-1]) >= sum(map(len, known)))
        rows = Rows.join(pieces)
        table = self._table(rows, np.concatenate(fresh))
        offered, first = [], 0
        for label, size in zip(arrived, sizes, strict=True):
            offered.append(self._offered(label, table, first, first + size, ended=ended))
            self._keep(label, rows, offered[-1], first, first + size)
            first += size
        starts = offered[0] if len(offered) == 1 else np.concatenate([np.asarray(r, dtype=np.int64) for r in offered])
        plan = self.request.plan(table, starts, self.dropped)
        left = len(plan.with_target) > 0
        self.dropped = Counter() if left else Counter(plan.dropped)
        if left:
            yield plan

    def _table(self, rows: Rows, fresh: np.ndarray) -> Table:
        """Return the rows as a table; `fresh` are those that were not seen before."""
        labels = rows.groups
        inside = np.ones(len(rows) - 1, dtype=bool) if labels is None else labels[1:] == labels[:-1]
        clock, holes = rows.positions, np.zeros(len(rows) - 1, dtype=bool)
        if self.reader.timed:
            clock = index_numbers(rows.index)
            check_ascending(rows.index, np.diff(clock), inside)
            holes = self._holes(rows, clock, inside, inside & fresh[1:])
        breaks = np.concatenate([[0], np.cumsum(holes | ~inside)])
        return Table(
            rows.values, self.reader.names, rows.index, rows.positions, labels, breaks if breaks[-1] else None, clock,
            self.pace,
        )  # fmt: skip

    def _holes(self, rows: Rows, clock: np.ndarray, inside: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Tell which steps are holes, and keep count of them."""
        if self.pace is None and inside.any():
            self.pace = Pace.of(rows.index, clock, inside, self.max_gap)
        if self.pace is None:
            return np.zeros_like(inside)
        holes = inside & self.pace.holes(rows.index, clock)
        self.n_steps += int(new.sum())
        self.n_holes += int((holes & new).sum())
        self.pace.check_share(self.n_holes, self.n_steps)
        return holes

    def _offered(self, label: Any, table: Table, first: int, stop: int, *, ended: bool) -> range:
        """Return the starts of those windows of a group that nothing to come can change."""
        request = self.request
        end = stop - request.n_rows_needed + 1
        if not request.require_target and not ended:
            # A window is final once its target is there, or a hole lies between them.
            last_hole = first if table.breaks is None else int(np.searchsorted(table.breaks, table.breaks[stop - 1]))
            end = min(end, max(last_hole, end - max(request.horizons)))
        begin = first + (self.tails[label].upcoming if label in self.tails else 0)
        return range(begin, max(begin, end), request.stride)

    def _keep(self, label: Any, rows: Rows, offered: range, first: int, stop: int) -> None:
        upcoming = offered.start + len(offered) * offered.step
        kept = min(upcoming, stop - 1)
        self.tails[label] = _Tail(rows.take(slice(kept, stop)).copy(), upcoming - kept)
