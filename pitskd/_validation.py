"""The words of every argument error: the parameter as typed, what was given, what is expected, the next step.

Other rooms decide *when* an argument is wrong and raise what these functions return or check; none of them words a
message of its own, so that all errors of the package read alike.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

__all__: list[str] = []


def wrong(name: str, expected: str, got: Any, step: str, kind: type[Exception] = ValueError) -> Exception:
    """Return the error "`name` must be `expected`, got `got`. `step`".

    Parameters
    ----------
    name : str
        The parameter as the user typed it.
    expected : str
        What is allowed, without the word "must be".
    got : object
        What was given; strings are shown as they are, everything else by its ``repr`` cut to 60 characters.
    step : str
        One sentence: what to do next.
    kind : type, default=ValueError
        ``ValueError`` for values, ``TypeError`` for kinds.
    """
    shown = got if isinstance(got, str) else shorten(repr(got.item() if isinstance(got, np.generic) else got))
    return kind(f"{name} must be {expected}, got {shown}. {step}")


def shorten(text: str, length: int = 60) -> str:
    """Cut a text in the middle so that a message stays on a screen."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 10]}...{text[-7:]}"


def check_integer(name: str, value: Any, *, minimum: int, step: str) -> int:
    """Return ``value`` as an int of at least ``minimum``; booleans and floats are refused."""
    # numpy registers time deltas as integers
    if isinstance(value, bool | np.bool_ | np.timedelta64) or not isinstance(value, numbers.Integral):
        raise wrong(name, f"an integer of at least {minimum}", value, step, TypeError)
    if value < minimum:
        raise wrong(name, f"an integer of at least {minimum}", value, step)
    return int(value)


def check_fraction(name: str, value: Any, step: str) -> float:
    """Return ``value`` as a float in [0, 1]; NaN is refused."""
    if not _is_number(value) or not 0.0 <= value <= 1.0:
        raise wrong(name, "a number between 0 and 1", value, step)
    return float(value)


def check_positive(name: str, value: Any, step: str) -> float:
    """Return ``value`` as a finite float above 0; NaN is refused."""
    if not _is_number(value) or not 0.0 < value < np.inf:
        raise wrong(name, "a finite number above 0", value, step)
    return float(value)


def check_strength(name: str, value: Any, step: str, *, above: bool = False) -> float:
    """Return one penalty as a float: finite, at least 0 or, with ``above``, above it; NaN is refused."""
    if not _is_number(value) or not 0.0 <= value < np.inf or (above and value == 0.0):
        raise wrong(name, f"a finite number {'above' if above else 'of at least'} 0", value, step)
    return float(value)


def check_choice(name: str, value: Any, choices: Sequence[Any], step: str) -> Any:
    """Return ``value`` if it is one of ``choices``."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise wrong(name, " or ".join(map(repr, choices)), value, step)
    return value


def check_same_rows(name: str, n_rows: int, n_expected: int, step: str, reference: str = "X") -> None:
    """Compare the length of an argument with that of ``reference``."""
    if n_rows != n_expected:
        raise ValueError(f"{name} has {n_rows} rows but {reference} has {n_expected}. {step}")


def check_positions(name: str, rows: Any, n_rows: int) -> slice | np.ndarray:
    """Return rows of something ``n_rows`` long as a slice or as non-negative positions."""
    if isinstance(rows, slice):
        return rows
    positions = np.asarray(rows)
    if positions.size == 0:
        return np.empty(0, dtype=np.int64)
    if positions.ndim != 1 or positions.dtype.kind not in "biu":
        raise wrong(name, "a slice, or a list of positions or booleans", rows, "Pass e.g. [0, 2, 5].", TypeError)
    if positions.dtype.kind == "b":
        check_same_rows(name, len(positions), n_rows, "Pass one boolean per window.", reference="the record")
        return np.flatnonzero(positions)
    outside = positions[(positions < -n_rows) | (positions >= n_rows)]
    if len(outside):
        raise wrong(name, f"between {-n_rows} and {n_rows - 1}", outside[0], f"There are {n_rows} windows.", IndexError)
    return positions.astype(np.int64) % n_rows


def check_fits(name: str, shape: tuple[int, ...], itemsize: int = 8) -> None:
    """Refuse an array that is larger than the memory at hand, before it is made."""
    needed, available = float(np.prod(shape, dtype=np.float64)) * itemsize, _available_memory()
    if needed > available:
        raise MemoryError(
            f"{name} of shape {shape} needs a copy of {needed / 2**30:.1f} GiB, "
            f"but {available / 2**30:.1f} GiB are free. "
            "Use a larger stride, fewer rows, or a series without missing targets, whose windows need no copy."
        )


def _available_memory() -> float:
    """Return the bytes that can be taken without swapping; infinite where the system does not tell."""
    try:
        with open("/proc/meminfo") as lines:
            return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return np.inf


def is_list(value: Any) -> bool:
    """Tell whether an argument names several things rather than one."""
    return isinstance(value, list | tuple | np.ndarray | range)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def check_penalties(name: str, values: Any, *, above: bool = False) -> np.ndarray:
    """Return L2 penalties as an array; finite, at least 0 or, with ``above``, above it."""
    listed = list(values) if is_list(values) else [values]
    numeric = bool(listed) and all(_is_number(v) and np.isfinite(v) and v >= 0 and (v > 0 or not above) for v in listed)
    if not numeric:
        raise wrong(name, f"finite numbers {'above' if above else 'of at least'} 0", values, "Use e.g. [0.1, 1, 10].")
    return np.asarray(listed, dtype=np.float64)


def check_two_classes(name: str, classes: np.ndarray) -> None:
    """Refuse labels of a single class."""
    if len(classes) < 2:
        only = f"one class {classes.tolist()[0]!r}"
        raise wrong(name, "labels of at least two classes", only, "Pass rows of another class as well.")


def check_rows_for_folds(name: str, n_folds: int, n_rows: int) -> None:
    """Refuse more folds than rows."""
    if n_rows < n_folds:
        raise wrong(name, f"at most the number of rows, {n_rows}", n_folds, "Use fewer folds or more rows.")


def check_soft_targets(name: str, values: Any, n_rows: int, n_classes: int) -> np.ndarray:
    """Return probabilities of shape (n_rows, n_classes) whose rows sum to 1."""
    soft = np.asarray(values, dtype=np.float64)
    shape = (n_rows, n_classes)
    if soft.shape != shape:
        raise wrong(name, f"of shape {shape}", f"shape {soft.shape}", "Pass one column per class, classes sorted.")
    if not (soft >= 0).all() or not np.allclose(soft.sum(axis=1), 1.0):
        raise wrong(name, "probabilities whose rows sum to 1", values, "Divide each row by its sum.")
    return soft


def check_finite(name: str, values: np.ndarray, step: str) -> None:
    """Refuse infinities."""
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.flatnonzero(infinite.reshape(len(values), -1).any(axis=1))[0])
        raise wrong(name, "finite or missing", f"infinity in row {row}", step)


def check_same_index(name: str, values: Any, reference: Any, step: str) -> None:
    """Compare the index of two frames or series; arrays have none."""
    index, expected = getattr(values, "index", None), getattr(reference, "index", None)
    if callable(index) or callable(expected) or index is None or expected is None:  # lists have a method `index`
        return
    if len(index) == len(expected) and not index.equals(expected):
        # Indexes of different kinds need not be comparable; their entries as written always are.
        for row, (given, label) in enumerate(zip(index, expected, strict=True)):
            if repr(given) != repr(label):
                raise wrong(name, "indexed like X", f"{given} where X has {label} in row {row}", step)


def check_splitter(name: str, value: Any, step: str) -> None:
    """Refuse what can split no rows: folds are an integer of at least 2, a splitter, or pairs of positions."""
    folds = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 2
    splitter = hasattr(value, "split") or (isinstance(value, Iterable) and not isinstance(value, Mapping))
    if value is not None and not folds and (isinstance(value, str) or not splitter):
        raise wrong(name, "an integer of at least 2 or a splitter", value, step)


def check_weights(name: str, values: np.ndarray) -> np.ndarray:
    """Return weights if none is negative and one at least is positive."""
    if (values < 0).any() or not (values > 0).any():
        raise wrong(name, "at least 0, and above 0 in some row", values, "Drop rows that shall not count.")
    return values


def check_floats(name: str, values: Any) -> np.ndarray:
    """Return numbers as float64, whatever marks the missing ones as NaN."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            array = np.array([_to_float(value) for value in array.ravel()]).reshape(array.shape)
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise wrong(name, "an array of numbers", values, "Encode what is not a number, NaN where missing.") from None


def _to_float(value: Any) -> float:
    """Return one entry of an object array; None, pandas' NA and NaT are missing, text and dates are no numbers."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return np.nan
    if isinstance(value, str | bytes | complex | np.complexfloating | np.datetime64 | np.timedelta64):
        raise TypeError
    return float(value)


def check_text_free(name: str, values: Any) -> None:
    """Refuse text and times before anything tries to make numbers of them."""
    try:
        array = np.asarray(values)
    except TypeError:  # numpy has no type for times beside numbers
        array = np.asarray(values, dtype=object)
    found = [array.dtype] if array.dtype.kind in "USmM" else []
    if array.dtype.kind == "O" and array.ndim:
        found = [repr(value) for value in array.ravel() if isinstance(value, str | date) and value == value]  # no NaT
    if found:
        step = "Encode it, e.g. with sklearn.preprocessing.OneHotEncoder, or drop it."
        raise wrong(name, "numbers", str(found[0]), step)


def has_finite_sum(array: np.ndarray) -> bool:
    """Tell at the price of one pass that all values are finite; of huge ones it may not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))


def check_complete(name: str, array: np.ndarray, *, allow_nan: bool, step: str) -> np.ndarray:
    """Return the array if it holds no infinity and, unless allowed, no NaN."""
    if array.dtype.kind == "f" and not has_finite_sum(array):
        infinite, missing = np.isinf(array), np.isnan(array)
        bad = infinite if allow_nan else infinite | missing
        if bad.any():
            row = int(np.flatnonzero(bad.any(axis=1))[0])
            what = "infinity" if infinite[row].any() else "NaN"
            raise wrong(name, "finite or NaN" if allow_nan else "finite", f"{what} in row {row}", step)
    return array


def check_model(name: str, value: Any, kind: str) -> None:
    """Refuse what is not an unfitted or fitted estimator."""
    if value is not None and (isinstance(value, type) or not hasattr(value, "fit")):
        raise wrong(
            name, f"a {kind}, an estimator with fit", value, "Pass an instance, or None for the default.", TypeError
        )


def check_mergeable(model: Any, other: Any) -> None:
    """Refuse to merge with anything but sums of the same class."""
    if type(other) is not type(model):
        step = "Merge models of one class."
        raise wrong("other", f"a {type(model).__name__}", type(other).__name__, step, TypeError)
    if not hasattr(other, "statistics_"):
        raise wrong("other", "a model with rows from partial_fit", "one without", "Call other.partial_fit first.")
