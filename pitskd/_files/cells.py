"""What counts as a missing value, a number and a time, defined once: for files, for parts, for lines of a stream."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from pitskd._validation import shorten, wrong

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

MISSING = frozenset({"", "nan", "null", "na", "n/a", "none"})  # in any case
SPELT = sorted({form(marker) for marker in MISSING for form in (str.lower, str.upper, str.title)} | {"NaN"})
OFFSET = re.compile(r"\d[T ]\d{2}.*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$")
YEARS = range(1900, 2101)  # of days written YYYYMMDD; other digits are numbers
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


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
    if is_mistaken(plain):
        return f"{shorten(plain)}, which is not finite"
    return f"{shorten(repr(plain))} where a number belongs"


def is_mistaken(text: str) -> bool:
    """Tell whether a text was meant for a number, though it is none: infinite, or with a decimal comma."""
    plain = text.strip()
    infinite = plain.lower().lstrip("+-") in ("inf", "infinity") or _is_number(plain)
    return infinite or _DECIMAL_COMMA.fullmatch(plain) is not None


def has_offset(text: str) -> bool:
    """Tell whether a written time says how far it is from UTC."""
    return OFFSET.search(text) is not None


def is_date(text: str) -> bool:
    """Tell whether a text is a date and time as ISO 8601 writes it; digits alone are a day YYYYMMDD of `YEARS`."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return False
    return not text.isdecimal() or (len(text) == 8 and time.year in YEARS)


def try_numbers(values: pd.Series) -> tuple[np.ndarray, int | None, str]:
    """Return a column as numbers, and the first row that holds none with what is wrong there, if there is one."""
    import pandas as pd

    kind = values.dtype
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
        array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        read = [np.nan if value is None else number(str(value)) for value in values]
        if None in read:
            row = read.index(None)
            return np.empty(0), row, why_no_number(str(values.iloc[row]))
        array = np.array(read, dtype=np.float64)
    infinite = np.isinf(array)
    if not infinite.any():
        return array, None, ""
    row = int(infinite.argmax())
    return array, row, why_no_number(str(array[row]))


def column_numbers(name: str, values: pd.Series, n_before: int = 0) -> np.ndarray:
    """Return a column as numbers, NaN where missing; `n_before` rows of the file stand above it."""
    array, row, found = try_numbers(values)
    if row is not None:
        step = "Mend the file, or choose other columns."
        raise wrong(
            name, f"a file of numbers in column {values.name!r}", f"{found} (row {n_before + row + 1})", step
        )  # fmt: skip
    return array


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
