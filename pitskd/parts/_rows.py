"""Consecutive parts as the rows of one series: the same columns, one index that goes on, one count of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pitskd._series import as_frame, counts_rows, has_clock, index_numbers, read_values
from pitskd._validation import check_same_rows, wrong

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a series: their numbers, labels in the index (None: an array), positions and groups (None: one)."""

    values: np.ndarray
    index: Any
    positions: np.ndarray
    groups: np.ndarray | None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Any) -> Rows:
        """Return some of the rows."""
        index = None if self.index is None else self.index[rows]
        return Rows(self.values[rows], index, self.positions[rows], None if self.groups is None else self.groups[rows])

    def copy(self) -> Rows:
        """Return the rows without the larger arrays that they are views of."""
        index = None if self.index is None else self.index.copy(deep=True)
        return Rows(
            self.values.copy(), index, self.positions.copy(), None if self.groups is None else self.groups.copy()
        )

    @classmethod
    def join(cls, pieces: Sequence[Rows]) -> Rows:
        """Return rows that follow each other as one."""
        first = pieces[0]
        if len(pieces) == 1:
            return first
        return cls(
            np.concatenate([piece.values for piece in pieces]),
            None if first.index is None else first.index.append([piece.index for piece in pieces[1:]]),
            np.concatenate([piece.positions for piece in pieces]),
            None if first.groups is None else np.concatenate([np.asarray(piece.groups) for piece in pieces]),
        )


@dataclass(eq=False)
class Reader:
    """Reads parts one after the other; the first decides which columns and what kind of index the others must have."""

    groups: Any
    max_gap: Any
    n_rows: int = 0
    names: tuple[Any, ...] = ()
    index: Any = None  # of the first part; None for arrays
    timed: bool = False  # whether the index gives times, between which there may be holes

    def read(self, parts: Iterable[Any]) -> Iterator[Rows]:
        """Yield the rows of every part that has some."""
        for number, part in enumerate(parts):
            frame = as_frame(part)
            if len(part if frame is None else frame):
                yield self._rows(number, part if frame is None else frame)
        if not self.n_rows:
            raise wrong("parts", "arrays or frames with rows", "none with rows", "Check where they come from.")
        if is_labels(self.groups):
            check_same_rows("groups", len(self.groups), self.n_rows, "Pass one label per row.", reference="all parts")

    def _rows(self, number: int, part: Any) -> Rows:
        by_name = isinstance(self.groups, str)
        values, names, index, labels = read_values(part, self.groups if by_name else None)
        if not self.n_rows:
            self.names, self.index, self.timed = names, index, has_clock(index, self.max_gap)
        values = values[:, self._order(number, names)]
        index = self._continued(number, index, len(values))
        begin, self.n_rows = self.n_rows, self.n_rows + len(values)
        if is_labels(self.groups):
            labels = np.asarray(self.groups)[begin : self.n_rows]
            if len(labels) < len(values):
                n_labels, so_far = len(self.groups), f"parts 0 to {number}"
                check_same_rows("groups", n_labels, self.n_rows, "Pass one label per row.", reference=so_far)
        elif self.groups is not None:
            labels = self._named(number, labels)
        return Rows(values, index, np.arange(begin, self.n_rows), labels)

    def _named(self, number: int, labels: Any) -> np.ndarray:
        if not by_column(labels):
            found = f"{self.groups!r}, which part {number} does not have"
            raise wrong("groups", "one label per row, or a column of the frames", found, "Pass an array of labels.")
        return np.asarray(labels)

    def _order(self, number: int, names: tuple[Any, ...]) -> Any:
        """Return where the columns of the first part are."""
        if names == self.names:
            return slice(None)
        absent = [name for name in self.names if name not in names]
        strange = [name for name in names if name not in self.names]
        if absent or strange:
            found = f"part {number} {f'without {absent[0]!r}' if absent else f'with {strange[0]!r} beside them'}"
            raise wrong("parts", "arrays or frames with the columns of part 0", found, "Give each the same columns.")
        return [names.index(name) for name in self.names]

    def _continued(self, number: int, index: pd.Index | None, n_rows: int) -> pd.Index | None:
        """Return the index of a part in the way that the first begins it: counting on, or in the same unit."""
        if index is None and self.index is None:
            return None
        if index is not None and self.index is not None:
            alike = self._counted(index, n_rows) if counts_rows(self.index) else _as_type(index, self.index)
            if alike is not None:
                return alike
        expected = f"arrays or frames with an index that goes on as in part 0, {_kind(self.index)}"
        raise wrong("parts", expected, f"{_kind(index)} in part {number}", "Give each the same kind of index.")

    def _counted(self, index: pd.Index, n_rows: int) -> pd.Index | None:
        """Return the count of rows going on, where a part goes on with it or starts it anew."""
        import pandas as pd

        first, step = self.index.start, self.index.step
        begin = first + step * self.n_rows
        if not isinstance(index, pd.RangeIndex) or index.start not in (first, begin):
            return None
        if n_rows > 1 and index.step != step:
            return None
        return pd.RangeIndex(begin, begin + step * n_rows, step, name=self.index.name)


def is_labels(groups: Any) -> bool:
    """Tell whether groups are one label per row, for all parts together."""
    return groups is not None and not isinstance(groups, str) and np.ndim(groups) == 1


def by_column(labels: Any) -> bool:
    """Tell whether labels were found in a frame."""
    return hasattr(labels, "dtype")


def _as_type(index: pd.Index, first: pd.Index) -> pd.Index | None:
    """Return an index in the type of the first, None if it cannot be put so."""
    index_numbers(index)
    if index.dtype == first.dtype:
        return index
    try:
        changed = index.astype(first.dtype)
        return changed if (changed == index).all() else None
    except (TypeError, ValueError):
        return None


def _kind(index: pd.Index | None) -> str:
    if index is None:
        return "no index"
    return f"rows counted from {index[0]}" if counts_rows(index) else f"an index of {index.dtype}"
