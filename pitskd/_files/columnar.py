"""Parquet files: the columns with their types, and the index that pandas stored among them or noted beside them.

An index with a name is a column like any other. One without a name is the time if it holds times, else it only numbers
or labels rows, as a filtered frame keeps it, and is left aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pitskd._files.lines import check_unique_names
from pitskd._validation import shorten, wrong

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__: list[str] = []

PARQUET = (".parquet", ".pq")  # endings


@contextmanager
def parquet(name: str, path: Path) -> Iterator[None]:
    """Say what is wrong with a file that is no Parquet, or what to install."""
    try:
        yield
    except ImportError:
        raise wrong(name, "a CSV file", f"{path}", "To read Parquet: pip install pyarrow.") from None
    except (ValueError, OSError) as error:
        raise wrong(name, "a Parquet file", f"{path} ({shorten(str(error))})", "Check how it was written.") from None


class ParquetTable(NamedTuple):
    """A Parquet file, of which only the schema has been read."""

    name: str
    path: Path
    names: list[str]
    types: dict[str, Any]  # the Arrow type of each column
    stored: dict[str, str]  # what the file calls a column, where we call it otherwise
    counted: dict[str, range]  # columns of which pandas noted only where they begin, end, and their step
    metadata: Mapping[bytes, bytes]
    n_rows: int

    @classmethod
    def open(cls, name: str, path: Path) -> ParquetTable:
        """Read the names and types of the columns."""
        with parquet(name, path):
            from pyarrow.parquet import ParquetFile

            with ParquetFile(path) as file:
                schema, n_rows = file.schema_arrow, file.metadata.num_rows
        index = (schema.pandas_metadata or {}).get("index_columns", ())
        levels = [(_level_name(schema, level), level) for level in index if level in schema.names]
        counted = _counted(index, n_rows)
        inside = {level for _, level in levels}
        columns = [(column, column) for column in schema.names if column not in inside]
        known = [(column, stored) for column, stored in [*levels, *columns] if column is not None]
        names = [*counted, *(column for column, _ in known)]
        check_unique_names(name, path, names)
        types = {column: schema.field(stored).type for column, stored in known}
        stored = {column: other for column, other in known if column != other}
        return cls(name, path, names, types, stored, counted, schema.metadata or {}, n_rows)

    def declared(self, column: str) -> str:
        """Return what a column holds by its type: numbers, truths, times, text, or "lists or records"."""
        import pyarrow as pa

        kind = self.types.get(column, pa.int64())
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if any(holds(kind) for holds in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)):
            return "numbers"
        if pa.types.is_boolean(kind):
            return "truths"
        if pa.types.is_nested(kind):
            return "lists or records"
        return "times" if pa.types.is_temporal(kind) else "numbers" if pa.types.is_null(kind) else "text"

    def read(self, columns: Sequence[str] | None = None, rows: int | None = None) -> Iterator[pd.DataFrame]:
        """Yield the rows of some columns, in the order of the file, so many at a time; all at once by default."""
        from pyarrow.parquet import ParquetFile

        wanted = [column for column in self.names if columns is None or column in columns]
        stored = [self.stored.get(column, column) for column in wanted if column not in self.counted]
        n_before = 0
        with parquet(self.name, self.path), ParquetFile(self.path) as file:
            tables = [file.read(columns=stored)] if rows is None else file.iter_batches(rows, columns=stored)
            for table in tables:
                if table.num_rows:
                    yield self._frame(table, wanted, stored, n_before)
                n_before += table.num_rows

    def _frame(self, table: Any, wanted: list[str], stored: list[str], n_before: int) -> pd.DataFrame:
        """Return rows as pandas has them; without what it noted beside them, its index is a column like any other."""
        import pandas as pd
        import pyarrow as pa

        rows = range(n_before, n_before + table.num_rows)
        columns = {column: self.counted[column][rows.start : rows.stop] for column in wanted if column in self.counted}
        counts = pd.DataFrame(columns, index=pd.RangeIndex(len(rows)))
        if not stored:
            return counts
        whole = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
        read = whole.select(stored).rename_columns(wanted[len(columns) :]).replace_schema_metadata(None).to_pandas()
        return pd.concat([counts, read], axis=1) if columns else read


def _level_name(schema: pa.Schema, level: str) -> str | None:
    """Return what we call a stored level of the index; None if it only numbers or labels rows."""
    import pyarrow as pa

    if not level.startswith("__index_level_"):
        return level
    return "time" if pa.types.is_temporal(schema.field(level).type) else None


def _counted(index: Sequence[Any], n_rows: int) -> dict[str, range]:
    """Return the levels of the index with a name that pandas did not store, as they count evenly."""
    noted = [level for level in index if isinstance(level, dict) and level.get("name") is not None]
    found = {str(level["name"]): range(level["start"], level["stop"], level["step"]) for level in noted}
    return {name: counts for name, counts in found.items() if len(counts) == n_rows}  # else others wrote rows since
