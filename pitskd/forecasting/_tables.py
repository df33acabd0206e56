"""Tables of forecasts written part after part, as CSV, JSON lines or Parquet, whole or not at all."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd

from pitskd._files import check_writable, replacing
from pitskd._validation import wrong

__all__: list[str] = []

STANDARD_OUTPUT = "-"
_IN_MEMORY = 2**24  # bytes kept for standard output before a temporary file takes them


class Writer(ABC):
    """A file that tables of the same columns are added to."""

    def __init__(self, file: IO[bytes], units: Mapping[str, str]) -> None:
        self.file = file
        self.units = units

    @abstractmethod
    def add(self, table: pd.DataFrame) -> None:
        """Write the rows of a table."""

    def close(self) -> None:
        """Write what ends the file."""
        return


class CsvWriter(Writer):
    """Comma-separated, with a header line; an empty field is missing."""

    _begun = False

    def add(self, table: pd.DataFrame) -> None:
        _with_text(table).to_csv(self.file, index=False, header=not self._begun, encoding="utf-8")
        self._begun = True


class JsonWriter(Writer):
    """One JSON object per line; null is missing."""

    def add(self, table: pd.DataFrame) -> None:
        whole = _with_text(table).astype(object)
        for row in whole.where(whole.notna(), None).to_dict("records"):
            self.file.write((json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n").encode())


class ParquetWriter(Writer):
    """Row groups, with times as times and units where pandas keeps them."""

    _writer: Any = None

    def add(self, table: pd.DataFrame) -> None:
        import pyarrow
        import pyarrow.parquet

        rows = pyarrow.Table.from_pandas(table, preserve_index=False)
        if self._writer is None:
            known = {**(rows.schema.metadata or {}), b"PANDAS_ATTRS": json.dumps({"units": dict(self.units)}).encode()}
            self._schema = rows.schema.with_metadata(known)
            self._writer = pyarrow.parquet.ParquetWriter(self.file, self._schema)
        self._writer.write_table(rows.cast(self._schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


_WRITERS = {".csv": CsvWriter, ".jsonl": JsonWriter, ".parquet": ParquetWriter}


def check_out(name: str, out: str) -> None:
    """Refuse a place or a kind of file that cannot be written."""
    if out == STANDARD_OUTPUT:
        return
    path = Path(out)
    check_writable(name, path)
    ending = path.suffix.lower()
    if ending not in _WRITERS:
        expected = f"- or a file that ends in {' or '.join(_WRITERS)}"
        raise wrong(name, expected, out, "The ending tells the kind.")
    if ending == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise wrong(name, "a .csv or .jsonl file", out, "To write Parquet: pip install pyarrow.")


@contextmanager
def written(out: str, units: Mapping[str, str]) -> Iterator[Writer]:
    """Give a writer whose rows appear together at the end, or not at all."""
    if out == STANDARD_OUTPUT:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
            yield CsvWriter(file, units)
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return
    path = Path(out)
    with replacing(path) as file:
        writer = _WRITERS[path.suffix.lower()](file, units)
        try:
            yield writer
        finally:
            writer.close()


def _with_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with times as text, alike in every part of a file."""
    times = {name: column.map(str) for name, column in table.items() if column.dtype.kind == "M"}
    return table.assign(**times) if times else table
