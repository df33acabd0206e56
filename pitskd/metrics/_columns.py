"""Labels, alarms and scores as one column of numbers, one per row; NaN is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from pitskd._validation import check_floats, check_text_free, wrong

__all__: list[str] = []


def read_mask(name: str, values: Any) -> np.ndarray:
    """Return 0 and 1, or booleans, as booleans."""
    column = read_column(name, values)
    other = (column != 0) & (column != 1)
    if other.any():
        row = int(np.argmax(other))
        raise wrong(name, "0 or 1 in every row", f"{column[row]:g} in row {row}", "1 stands for anomalous or alarmed.")
    return column == 1


def read_column(name: str, values: Any) -> np.ndarray:
    """Return one number per row; frames of one column are taken as that column."""
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind == "b":
        return values.view(np.int8)
    check_text_free(name, values)
    array = check_floats(name, values)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1:
        raise wrong(name, "of shape (n_rows,)", f"shape {array.shape}", "Pass one number per row.")
    missing = np.isnan(array)
    if missing.any():
        raise wrong(name, "without NaN", f"NaN in row {int(np.argmax(missing))}", "Drop these rows or decide them.")
    return array
