"""Tables of a user, read whole with names, clock and one clear error each; results that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pitskd._files.cells import column_numbers
from pitskd._files.clock import ClockReader, find_time
from pitskd._files.columnar import PARQUET, ParquetTable
from pitskd._files.lines import CsvHeader, count_rows, utf8
from pitskd._validation import wrong

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class TableFile:
    """The table of a file: its columns as read, and the clock of its rows.

    Parameters
    ----------
    name : str
        The option or parameter that named the file, for errors.
    path : Path
    columns : DataFrame
        All columns but the time.
    names : tuple of str
        All columns, in the order of the file.
    time : str or None
        Name of the time column.
    index : Index
        Times, numbers, or the number of each row.
    stamps : sequence or None
        The times as the file has them, without blanks around them.
    """

    name: str
    path: Path
    columns: pd.DataFrame
    names: tuple[str, ...]
    time: str | None
    index: pd.Index
    stamps: Any

    @classmethod
    def read(cls, name: str, path: Any, *, time: str | None = None, usual: str | None = None) -> TableFile:
        """Read a CSV or Parquet file.

        Parameters
        ----------
        name : str
        path : str or path
            Parquet by its ending, else CSV in UTF-8 with a header line; comma, semicolon or tab.
        time : str, default=None
            Column with times (ISO 8601, or YYYYMMDD in all rows) or numbers, ascending. None: the one named time,
            timestamp, datetime or date.
        usual : str, default=None
            The time column of files like this one: taken where `time` is None and the file has it.

        Raises
        ------
        ValueError
            If the file cannot be read, is empty, has no header or lines of another length, has no such column, or its
            time is not ascending.
        """
        path = Path(path)
        check_readable(name, path)
        parquet = path.suffix.lower() in PARQUET
        frame = next(ParquetTable.open(name, path).read(), None) if parquet else _read_csv(name, path, time, usual)
        if frame is None or not len(frame):
            raise wrong(name, "a file with rows below its header", f"{path}, which has none", "Record some rows.")
        names = tuple(map(str, frame.columns))
        frame.columns = list(names)
        clock = find_time(name, names, time, usual)
        if clock is None:
            import pandas as pd

            return cls(name, path, frame, names, None, pd.RangeIndex(len(frame)), None)
        reader = ClockReader(name, path)
        index = reader.read(frame[clock])
        stamps = reader.stamps(frame[clock]).to_numpy()
        return cls(name, path, frame.drop(columns=clock), names, clock, index, stamps)

    def check_columns(self, name: str, wanted: Sequence[str]) -> None:
        """Refuse names that the table does not have."""
        absent = [column for column in wanted if column not in self.columns.columns]
        if absent:
            found = f"{absent[0]!r}, which is the time" if absent[0] == self.time else repr(absent[0])
            raise wrong(name, f"columns of {self.path}", found, f"It has: {', '.join(self.names)}.")

    def numbers(self, wanted: Sequence[str]) -> pd.DataFrame:
        """Return columns as numbers, NaN where missing, indexed by the time."""
        import pandas as pd

        every = {column: self._column(column) for column in wanted}
        return pd.DataFrame(every, index=self.index, columns=list(wanted))

    def _column(self, name: str) -> np.ndarray:
        return column_numbers(self.name, self.columns[name])


def check_readable(name: str, path: Path) -> None:
    """Refuse a file that is not there, cannot be read or holds nothing."""
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise wrong(name, "a file that can be read", f"{path} ({error.strerror})", "Check the path.") from None
    if empty:
        raise wrong(name, "a file with rows", f"{path}, which is empty", "Record some rows.")


def check_writable(name: str, path: Path) -> None:
    """Refuse a place where no file can be put, before any work."""
    folder = path.parent
    reason = "it is a folder" if path.is_dir() else "" if folder.is_dir() else f"there is no folder {folder}"
    if not reason and not os.access(folder, os.W_OK):
        reason = f"{folder} may not be written to"
    if reason:
        raise wrong(name, "a file that can be written", f"{path} ({reason})", "Choose another place.")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside `path` and rename it at the end, so that a stop leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _read_csv(name: str, path: Path, time: str | None, usual: str | None) -> pd.DataFrame:
    header = CsvHeader.read(name, path)
    clock = find_time(name, header.names, time, usual)
    count_rows(name, path, header)
    with utf8(name, path):
        return header.open(path, [] if clock is None else [clock])
