"""The words of every argument error: the parameter as typed, what was given, what is expected, the next step.

Other rooms decide *when* an argument is wrong and raise what these functions return or check; none of them words a
message of its own, so that all errors of the package read alike.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
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
    shown = got if isinstance(got, str) else shorten(repr(got))
    return kind(f"{name} must be {expected}, got {shown}. {step}")


def shorten(text: str, length: int = 60) -> str:
    """Cut a text in the middle so that a message stays on a screen."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 10]}...{text[-7:]}"


def check_integer(name: str, value: Any, *, minimum: int, step: str) -> int:
    """Return ``value`` as an int of at least ``minimum``; booleans and floats are refused."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
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


def check_choice(name: str, value: Any, choices: Sequence[Any], step: str) -> Any:
    """Return ``value`` if it is one of ``choices``."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise wrong(name, " or ".join(map(repr, choices)), value, step)
    return value


def check_same_rows(name: str, n_rows: int, n_expected: int, step: str, reference: str = "X") -> None:
    """Compare the length of an argument with that of ``reference``."""
    if n_rows != n_expected:
        raise ValueError(f"{name} has {n_rows} rows but {reference} has {n_expected}. {step}")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
