"""Files of a user: what their cells, lines and clocks mean, tables read whole, and results written whole.

What counts as a missing value, a number and a time is defined here once, for files and for lines of a stream.
"""

from pitskd._files.cells import (
    MISSING,
    column_numbers,
    has_offset,
    is_date,
    is_mistaken,
    number,
    try_numbers,
    why_no_number,
)
from pitskd._files.clock import TIME_NAMES, ClockReader, find_time
from pitskd._files.columnar import PARQUET, ParquetTable, parquet
from pitskd._files.lines import CsvHeader, check_unique_names, count_rows, delimiter, fields, utf8
from pitskd._files.tables import TableFile, check_readable, check_writable, replacing

__all__: list[str] = []
