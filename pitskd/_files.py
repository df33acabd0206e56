"""Files of a user: tables read with names, clock and one clear error each; results that appear whole or not at all.

What counts as a missing value, a number and a time is defined here once, for files and for lines of a stream.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pitskd._validation import shorten, wrong

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

MISSING = frozenset({"", "nan", "null", "na", "n/a", "none"})  # in any case
TIME_NAMES = ("time", "timestamp", "datetime", "date")  # taken for the clock where the user names none, in any case
_SPELT = sorted({form(marker) for marker in MISSING for form in (str.lower, str.upper, str.title)} | {"NaN"})
_OFFSET = re.compile(r"\d[T ]\d{2}.*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_PARQUET = (".parquet", ".pq")


def delimiter(line: str) -> str:
    """Return what separates the fields of a line: a tab or else a semicolon where there is one, else a comma."""
    unquoted = re.sub(r'"[^"]*"', "", line) if '"' in line else line
    return "\t" if "\t" in unquoted else ";" if ";" in unquoted else ","


def fields(line: str) -> list[str]:
    """Return the fields of one line."""
    separator = delimiter(line)
    return next(csv.reader([line], delimiter=separator)) if '"' in line else line.split(separator)


def number(text: str) -> float | None:
    """Return a finite number, NaN for what marks a missing value, None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return np.nan if text.strip().lower() in MISSING else None
    return None if value in (np.inf, -np.inf) or "_" in text else value


def why_no_number(text: str) -> str:
    """Return what is wrong with a text that should be a number."""
    plain = text.strip()
    if _DECIMAL_COMMA.fullmatch(plain):
        return f"{plain} with a decimal comma; write {plain.replace(',', '.')}"
    if plain.lower().lstrip("+-") in ("inf", "infinity") or _is_number(plain):
        return f"{shorten(plain)}, which is not finite"
    return f"{shorten(repr(plain))} where a number belongs"


def has_offset(text: str) -> bool:
    """Tell whether a written time says how far it is from UTC."""
    return _OFFSET.search(text) is not None


def is_date(text: str) -> bool:
    """Tell whether a text is a date and time as ISO 8601 writes it."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return not text.isdecimal()


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
        The times as the file has them.
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
            Column with times (ISO 8601) or numbers, ascending. None: the one named time, timestamp, datetime or date.
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
        parquet = path.suffix.lower() in _PARQUET
        frame = _read_parquet(name, path) if parquet else _read_csv(name, path, time, usual)
        if not len(frame):
            raise wrong(name, "a file with rows below its header", f"{path}, which has none", "Record some rows.")
        names = tuple(map(str, frame.columns))
        frame.columns = list(names)
        clock = find_time(name, names, time, usual)
        if clock is None:
            import pandas as pd

            return cls(name, path, frame, names, None, pd.RangeIndex(len(frame)), None)
        index = _read_times(name, path, frame[clock])
        return cls(name, path, frame.drop(columns=clock), names, clock, index, frame[clock].to_numpy())

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
        import pandas as pd

        values = self.columns[name]
        kind = values.dtype
        if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
            array = values.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            read = [np.nan if value is None else number(str(value)) for value in values]
            if None in read:
                row = read.index(None)
                raise self._no_number(name, row, why_no_number(str(values.iloc[row])))
            array = np.array(read, dtype=np.float64)
        infinite = np.flatnonzero(np.isinf(array))
        if len(infinite):
            raise self._no_number(name, int(infinite[0]), why_no_number(str(array[infinite[0]])))
        return array

    def _no_number(self, column: str, row: int, found: str) -> Exception:
        step = "Mend the file, or choose other columns."
        return wrong(self.name, f"a file of numbers in column {column!r}", f"{found} (row {row + 1})", step)


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


def find_time(name: str, names: Sequence[str], time: str | None, usual: str | None = None) -> str | None:
    """Return the time column among the names of a table."""
    if time is not None:
        if time not in names:
            raise wrong("--time", "a column of the file", repr(time), f"It has: {', '.join(names)}.")
        return time
    if usual in names:
        return usual
    found = [column for column in names if column.lower() in TIME_NAMES]
    if len(found) > 1:
        raise wrong(name, "a file with one time column", " and ".join(found), "Name it with --time.")
    return found[0] if found else None


def _read_parquet(name: str, path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise wrong(name, "a CSV file", f"{path}", "To read Parquet: pip install pyarrow.") from None
    except (ValueError, OSError) as error:
        raise wrong(name, "a Parquet file", f"{path} ({shorten(str(error))})", "Check how it was written.") from None
    if isinstance(frame.index, pd.RangeIndex) and frame.index.name is None:
        return frame
    label = frame.index.name or "time"
    _check_names(name, path, [label, *map(str, frame.columns)])
    return frame.rename_axis(index=label).reset_index()


def _read_csv(name: str, path: Path, time: str | None, usual: str | None) -> pd.DataFrame:
    import pandas as pd

    names, separator, n_above = _check_lines(name, path)
    clock = find_time(name, names, time, usual)
    old = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)  # since then digits are read exactly by default
    exact: dict[str, Any] = {"float_precision": "round_trip"} if old else {}
    return pd.read_csv(
        path, sep=separator, header=None, names=names, skiprows=n_above + 1, index_col=False, encoding="utf-8-sig",
        dtype={} if clock is None else {clock: str}, na_values=_SPELT, keep_default_na=False, skipinitialspace=True,
        low_memory=False, **exact,
    )  # fmt: skip


def _check_lines(name: str, path: Path) -> tuple[list[str], str, int]:
    """Return names, separator, and how many empty lines stand above them, after a look at the length of every line."""
    with path.open("rb") as lines:
        names: list[str] = []
        separator, n_above, mark = ",", 0, b","
        for line_number, line in enumerate(lines, start=1):
            if not line.strip():
                n_above += not names
            elif not names:
                header = _text(name, path, line)
                separator = delimiter(header)
                names = [field.strip() for field in fields(header)]
                mark = separator.encode()
                _check_names(name, path, names)
            elif line.count(mark) != len(names) - 1 and b'"' not in line:
                found = f"{line.count(mark) + 1} in line {line_number} of {path}"
                raise wrong(name, f"a file with {len(names)} fields in every line", found, "Mend or remove the line.")
    if not names:
        raise wrong(name, "a file with rows", f"{path}, which is empty", "Record some rows.")
    return names, separator, n_above


def _text(name: str, path: Path, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError:
        raise wrong(name, "a CSV file in UTF-8", f"{path}", "Parquet is known by its ending .parquet.") from None


def _check_names(name: str, path: Path, names: Sequence[str]) -> None:
    if all(number(column) is not None for column in names):
        found = shorten(", ".join(names))
        raise wrong(name, "a file whose first line names its columns", f"{found} in {path}", "Add a header line.")
    twice = [column for column in names if names.count(column) > 1]
    if twice:
        raise wrong(name, "a file that names each column once", f"{twice[0]!r} twice in {path}", "Rename one of them.")


def _read_times(name: str, path: Path, values: pd.Series) -> pd.Index:
    """Return the clock as numbers or times, ascending."""
    import pandas as pd

    if values.isna().any():
        row = int(values.isna().to_numpy().argmax()) + 1
        raise wrong(name, f"a file with a time in every row of {values.name!r}", f"none in row {row}", "Drop the row.")
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        index = pd.Index(values.to_numpy() if values.dt.tz is None else values.dt.tz_convert("UTC"))
    else:
        numeric = pd.to_numeric(values, errors="coerce")
        index = pd.Index(numeric if np.isfinite(numeric).all() else _dates(name, values))
    backwards = np.flatnonzero(index[1:] < index[:-1])
    if len(backwards):
        row = int(backwards[0]) + 1
        found = f"{values.iloc[row]} behind {values.iloc[row - 1]} (row {row + 1})"
        raise wrong(name, f"in order of {values.name!r}", found, f"Sort {path} by that column.")
    return index.rename(str(values.name))


def _dates(name: str, values: pd.Series) -> pd.Series:
    import pandas as pd

    text = values.astype(str)
    aware = text.map(has_offset)
    if aware.any() and not aware.all():
        row = int(np.argmax(aware != aware.iloc[0]))
        found = f"{text.iloc[0]} and {text.iloc[row]} (row {row + 1})"
        raise wrong(name, f"a file whose times in {values.name!r} all have a UTC offset or none", found, "Mend it.")
    try:
        return pd.to_datetime(text, format="ISO8601", utc=bool(aware.all()))
    except (ValueError, OverflowError):
        row = int(np.argmin(text.map(is_date)))
        found = f"{text.iloc[row]!r} (row {row + 1})"
        step = "Use e.g. 2024-05-01T12:00:00, or name another column with --time."
        raise wrong(name, f"a file with numbers or ISO 8601 times in {values.name!r}", found, step) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
