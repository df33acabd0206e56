"""A table of a file, read in parts: any length of file in the memory of one part.

What can be told from the header is told first; then the rows are counted (in a CSV file with a look at every line), and
the first part decides what each column holds. Later parts must keep to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pitskd._files import (
    PARQUET,
    ClockReader,
    CsvHeader,
    ParquetTable,
    check_readable,
    column_numbers,
    count_rows,
    find_time,
    is_date,
    is_mistaken,
    try_numbers,
    utf8,
)
from pitskd._validation import check_integer, shorten, wrong

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TableParts", "read_parts"]

_UNIT = re.compile(r".*\S\s*(?:\[([^\[\]]+)\]|\(([^()]+)\))")
_TRUTHS = {"true": 1.0, "false": 0.0}


def read_parts(
    path: Any,
    *,
    columns: Sequence[str] | None = None,
    time: str | None = None,
    group: str | None = None,
    rows: int = 100_000,
    name: str = "path",
) -> TableParts:
    r"""Open a CSV or Parquet file of any length to read it in parts.

    Parameters
    ----------
    path : str or path
        Parquet by its ending (.parquet, .pq), else CSV in UTF-8 with a header line; comma, semicolon or tab. A pandas
        index in Parquet is a column by its name; without a name it is the time if it holds times, else left aside.
    columns : sequence of str, default=None
        Columns to read, all of which must hold numbers (or truths, read as 1 and 0). None: all that do by the first
        part, or by their type in Parquet where that holds nothing; the others are listed in ``left_out``.
    time : str, default=None
        Column with times (ISO 8601) or numbers, ascending, none twice (within each group). Numbers are read as days
        YYYYMMDD where all of the first part are days of the calendar from 1900 to 2100. None: the one named time,
        timestamp, datetime or date; a file without one has numbered rows.
    group : str, default=None
        Column that says to which series (city, run, machine) a row belongs; series may follow each other or interleave.
    rows : int, default=100_000
        Rows of a part, at least 1.
    name : str, default="path"
        What errors call the file: the parameter or option as the user typed it.

    Returns
    -------
    parts : TableParts
        Iterate over it as often as you like; each time the file is read anew.

    Raises
    ------
    ValueError
        If the file cannot be read, is empty, has no header, a line with another number of fields, nested columns, no
        such column, text where a number belongs, or times that are no times, mix offsets with none, repeat or descend.
        What the first part shows is raised here, the rest when it is reached; rows are counted from 1 below the header.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from pitskd import read_parts
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "air.csv"
    >>> _ = file.write_text("date,pm [ug/m3],wind\n2024-05-01,7,NW\n2024-05-02,,N\n2024-05-03,9,N\n")
    >>> parts = read_parts(file, rows=2)
    >>> parts.n_rows, parts.columns, parts.left_out, parts.units
    (3, ('pm [ug/m3]',), {'wind': "holds text: 'NW'"}, {'pm [ug/m3]': 'ug/m3'})
    >>> [len(frame) for frame in parts]
    [2, 1]
    """
    rows = check_integer("rows", rows, minimum=1, step="Use e.g. rows=100_000.")
    path = Path(path)
    check_readable(name, path)
    source = (_Parquet if path.suffix.lower() in PARQUET else _Csv).open(name, path)
    option = "" if name == "path" else "--"
    clock = find_time(name, source.names, time, option=option)
    _check_asked(source, columns, clock, group, option)
    n_rows = source.count()
    if not n_rows:
        raise wrong(name, "a file with rows below its header", f"{path}, which has none", "Record some rows.")
    wanted = None if columns is None else [*columns, *(c for c in (clock, group) if c is not None)]
    first = next(iter(source.read(wanted, clock, group, rows)))
    kinds, left_out = _first_look(source, first, columns, (clock, group), option)
    kept = tuple(column for column in source.names if column in kinds)
    units = {column: unit for column, unit in source.units.items() if column in kinds}
    parts = TableParts(
        tuple(source.names), kept, left_out, clock, group, path, n_rows, units, source, kinds, rows, option
    )
    parts._frame(first, parts._clock(), 0)
    return parts


@dataclass(frozen=True, eq=False, repr=False)
class TableParts:
    r"""A table read in parts: every iteration is a fresh pass over the file, in the memory of one part.

    Made by `read_parts`. A part is a DataFrame with the numeric columns as float64, NaN where missing, and the column
    of the group as it stands in the file; its index is the clock (times, those with an offset in UTC, or numbers), or
    numbers the rows of the file from 0.

    Parameters
    ----------
    names : tuple of str
        All columns of the file.
    columns : tuple of str
        Columns with numbers that the parts hold, in the order of the file.
    left_out : dict of str to str
        Why a column is not among them, where all columns with numbers were asked for.
    time, group : str or None
        Columns of the clock and of the series that a row belongs to.
    path : Path
    n_rows : int
        Rows of the whole file.
    units : dict of str to str
        Units of columns that are known: from the name, such as ``"TEMP (degC)"`` or ``"pm2.5 [ug/m3]"``, or from
        ``frame.attrs["units"]`` that pandas stored in a Parquet file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from pitskd import read_parts
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = file.write_text("a;b\n1;2\n3;4\n5;\n")
    >>> for frame in read_parts(file, rows=2):
    ...     print(frame)
         a    b
    0  1.0  2.0
    1  3.0  4.0
         a   b
    2  5.0 NaN
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    left_out: dict[str, str]
    time: str | None
    group: str | None
    path: Path
    n_rows: int
    units: dict[str, str]
    _source: _Csv | _Parquet
    _kinds: dict[str, Kind]
    _rows: int
    _option: str

    def __iter__(self) -> Iterator[pd.DataFrame]:
        clock, n_before = self._clock(), 0
        wanted = [*self.columns, *(column for column in (self.time, self.group) if column is not None)]
        for table in self._source.read(wanted, self.time, self.group, self._rows):
            yield self._frame(table, clock, n_before)
            n_before += len(table)
        if n_before != self.n_rows:
            found = f"{n_before} rows, and {self.n_rows} when it was opened"
            raise wrong(self._source.name, "a file that nobody changes", found, "Open it again.")

    def __repr__(self) -> str:
        return f"TableParts({str(self.path)!r}, n_rows={self.n_rows}, columns={list(self.columns)})"

    def _clock(self) -> ClockReader:
        return ClockReader(self._source.name, self.path, strict=True, option=self._option)

    def _frame(self, table: pd.DataFrame, clock: ClockReader, n_before: int) -> pd.DataFrame:
        import pandas as pd

        labels = None if self.group is None else self._labels(table[self.group], n_before)
        index = pd.RangeIndex(n_before, n_before + len(table))
        if self.time is not None:
            index = clock.read(table[self.time], labels)
        values = np.empty((len(self.columns), len(table)))
        for row, column in zip(values, self.columns, strict=True):
            row[:] = self._kinds[column](self._source.name, table[column], n_before)
        frame = pd.DataFrame(values.T, index=index, columns=list(self.columns), copy=False)
        if self.group is not None:
            frame[self.group] = table[self.group].array
        return frame

    def _labels(self, values: pd.Series, n_before: int) -> np.ndarray:
        missing = values.isna().to_numpy()
        if missing.any():
            found = f"none in row {n_before + int(missing.argmax()) + 1}"
            raise wrong(
                self._source.name, f"a file with a label in every row of {self.group!r}", found, "Drop the row."
            )
        return values.to_numpy()


Kind = Callable[[str, "pd.Series", int], np.ndarray]  # turns a column of a part into numbers


@dataclass(frozen=True)
class _Csv:
    name: str
    path: Path
    header: CsvHeader
    names: list[str]
    units: dict[str, str]

    @classmethod
    def open(cls, name: str, path: Path) -> _Csv:
        header = CsvHeader.read(name, path)
        return cls(name, path, header, header.names, _units_of(header.names))

    def check_plain(self, columns: Sequence[str], option: str) -> None:
        """Find nothing: a CSV file has no nested columns."""

    def declared(self, column: str) -> str:
        """Return nothing: a CSV file has no types."""
        return ""

    def type_of(self, column: str) -> str:
        return "of text"

    def count(self) -> int:
        return count_rows(self.name, self.path, self.header)

    def read(
        self, columns: Sequence[str] | None, time: str | None, group: str | None, rows: int
    ) -> Iterator[pd.DataFrame]:
        texts = [column for column in (time, group) if column is not None]  # else 007 is 7 in one part and not in all
        with (
            utf8(self.name, self.path),
            self.header.open(self.path, texts, chunksize=rows, usecols=columns) as reader,
        ):
            yield from reader


@dataclass(frozen=True)
class _Parquet:
    name: str
    path: Path
    table: ParquetTable
    names: list[str]
    units: dict[str, str]

    @classmethod
    def open(cls, name: str, path: Path) -> _Parquet:
        table = ParquetTable.open(name, path)
        return cls(name, path, table, table.names, _units_of(table.names) | _attrs(table.metadata))

    def check_plain(self, columns: Sequence[str], option: str) -> None:
        for column in columns:
            if self.declared(column) == "lists or records":
                found = f"nested column {column!r} ({self.type_of(column)})"
                step = f"Flatten it, or choose other columns with {option}columns."
                raise wrong(self.name, "a file with one value in every cell", found, step)

    def declared(self, column: str) -> str:
        return self.table.declared(column)

    def type_of(self, column: str) -> str:
        return shorten(str(self.table.types[column]))

    def count(self) -> int:
        return self.table.n_rows

    def read(
        self, columns: Sequence[str] | None, time: str | None, group: str | None, rows: int
    ) -> Iterator[pd.DataFrame]:
        yield from self.table.read(columns, rows)


def _check_asked(
    source: _Csv | _Parquet, columns: Any, time: str | None, group: str | None, option: str
) -> None:  # fmt: skip
    """Refuse columns that the header does not have."""
    listing = f"It has: {', '.join(source.names)}."
    if group is not None and (group not in source.names or group == time):
        found = f"{group!r}, which is the time" if group == time else repr(group)
        raise wrong(f"{option}group", "a column of the file", found, listing)
    taken = {time: "which is the time", group: "which is the group"}
    if columns is not None and (isinstance(columns, str) or not len(columns)):
        raise wrong(f"{option}columns", f"a list of columns of {source.path}", columns, listing)
    named = [] if columns is None else list(columns)
    twice = [column for column in named if named.count(column) > 1]
    if twice:
        raise wrong(f"{option}columns", "columns, none twice", repr(twice[0]), "Name it once.")
    for column in named:
        if column in taken or column not in source.names:
            found = f"{column!r}, {taken[column]}" if column in taken else repr(column)
            raise wrong(f"{option}columns", f"columns of {source.path}", found, listing)
    read = source.names if columns is None else [*named, *(c for c in (time, group) if c is not None)]
    source.check_plain(read, option)


def _first_look(
    source: _Csv | _Parquet,
    table: pd.DataFrame,
    columns: Sequence[str] | None,
    taken: Sequence[str | None],
    option: str,
) -> tuple[dict[str, Kind], dict[str, str]]:
    """Return by the first part how each column is read, and why others are not."""
    kinds: dict[str, Kind] = {}
    left_out: dict[str, str] = {}
    for column in table.columns if columns is None else columns:
        if column in taken:
            continue
        empty, reason = _without_numbers(table[column])
        declared = source.declared(column) if empty else ""
        if declared in ("times", "text"):
            reason = f"holds {declared}, by its type {source.type_of(column)}"
        if declared == "truths" or _holds_truths(table[column]):
            kinds[column] = _truths
        elif reason is not None and columns is None:
            left_out[column] = reason
        else:
            unknown = empty and declared != "numbers"
            kinds[column] = partial(_late_numbers, len(table), option) if unknown else column_numbers
    if not kinds:
        found = "; ".join(f"{column!r} {reason}" for column, reason in left_out.items()) or "none beside the time"
        raise wrong(source.name, "a file with a column of numbers", shorten(found, 200), "Check how it was written.")
    return kinds, left_out


def _without_numbers(values: pd.Series) -> tuple[bool, str | None]:
    """Return whether a column holds nothing, and why it holds no numbers; None if it does, or was meant to."""
    import pandas as pd

    known = values.dropna()
    array, row, _ = try_numbers(known)
    if row is None:
        return bool(np.isnan(array).all()), None
    text = str(known.iloc[row])
    if is_mistaken(text):
        return False, None
    kind = "times" if pd.api.types.is_datetime64_any_dtype(values.dtype) or is_date(text) else "text"
    return False, f"holds {kind}: {text if kind == 'times' else shorten(repr(text), 40)}"


def _late_numbers(n_first: int, option: str, name: str, values: pd.Series, n_before: int) -> np.ndarray:
    """Return a column as numbers that held nothing where it was decided whether it is one of numbers."""
    array, row, found = try_numbers(values)
    if row is not None:
        found = f"{found} (row {n_before + row + 1}), and nothing in the first part of {n_first} rows"
        step = f"Mend the file, or leave that column out with {option}columns."
        raise wrong(name, f"a file of numbers in column {values.name!r}", found, step)
    return array


def _holds_truths(values: pd.Series) -> bool:
    known = values.dropna()
    if values.dtype == bool or not len(known) or values.dtype.kind in "iuf":
        return values.dtype == bool
    return all(str(value).lower() in _TRUTHS for value in known)


def _truths(name: str, values: pd.Series, n_before: int) -> np.ndarray:
    """Return a column of true and false as 1 and 0."""
    if values.dtype == bool:
        return values.to_numpy(dtype=np.float64)
    truths = np.array([_TRUTHS.get(str(value).lower(), np.nan) for value in values])
    other = np.flatnonzero(np.isnan(truths) & values.notna().to_numpy())
    if len(other):
        row = int(other[0])
        found = f"{str(values.iloc[row])!r} (row {n_before + row + 1})"
        step = "Mend the file, or choose other columns."
        raise wrong(name, f"a file of true and false in column {values.name!r}", found, step)
    return truths


def _units_of(names: Sequence[str]) -> dict[str, str]:
    found = {name: _UNIT.fullmatch(name) for name in names}
    return {name: next(filter(None, match.groups())).strip() for name, match in found.items() if match}


def _attrs(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the units that pandas stored with a frame."""
    try:
        units = json.loads(metadata.get(b"PANDAS_ATTRS", b"{}")).get("units", {})
    except (ValueError, AttributeError):
        return {}
    return {str(column): str(unit) for column, unit in units.items()} if isinstance(units, dict) else {}
