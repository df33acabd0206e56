"""What may be asked of a file: options as typed, and one clear error for each that does not fit it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pitskd._files import PARQUET, CsvHeader, ParquetTable, find_time, number
from pitskd._plan import Request
from pitskd._series import Pace, index_numbers
from pitskd._validation import check_integer, wrong
from pitskd.parts import TableParts

__all__ = ["WindowOptions"]

MAX_WINDOWS = 2000  # where neither a stride nor a number of windows is asked for
_LABELS = ("--time", "--group", "--unit")  # options whose columns need not hold numbers
_WORDS = {  # of Python, as a shell has them
    "'between', None,": "between, none,", "'between' or None": "between or none", "use None for": "use none for",
    "a list of steps from": "steps by commas, from", 'Use e.g. "3h" for times, 3 for numbers, numpy.inf for any.':
    "Use e.g. 3h for times, 3 for numbers, inf for any.", "with max_gap.": "with --max-gap.",
}  # fmt: skip
_OPTIONS = ("window", "horizon", "privileged_columns", "privileged", "max_gap", "threshold", "stride", "target")


@dataclass(frozen=True)
class WindowOptions:
    """What is asked of a file, as typed in a shell.

    Parameters
    ----------
    target : str
    window, horizon : int
        In rows.
    privileged : "between", int, list of int or None, default="between"
        Middle rows that the teacher sees, as in `make_windows`.
    privileged_columns : sequence of str, default=()
        Columns that the student will not have.
    columns : sequence of str, default=()
        Its inputs; empty: all columns of numbers but the privileged ones, the target among them. A target that is
        neither listed nor privileged is seen by nobody.
    threshold : float, default=None
        Makes events of the target, ``value > threshold``.
    time, group : str, default=None
    max_gap : str or float, default=None
        Longest step of the clock inside a window; by default every step is the usual one.
    stride : int, default=None
        Rows between windows. None: so that at most `max_windows` are taken, evenly spaced.
    max_windows : int, default=None
        None: 2000.
    units : mapping, default={}
        Unit of columns, by name; goes before what the file says.
    """

    target: str
    window: int
    horizon: int
    privileged: Any = "between"
    privileged_columns: Sequence[str] = ()
    columns: Sequence[str] = ()
    threshold: float | None = None
    time: str | None = None
    group: str | None = None
    max_gap: str | float | None = None
    stride: int | None = None
    max_windows: int | None = None
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def needed(self) -> int:
        """Rows from the first of a window to its target."""
        return self.window + self.horizon


def check_numbers(options: WindowOptions) -> None:
    """Refuse numbers that can be judged without the file."""
    for name, step in (("window", "It is a number of rows."), ("horizon", "Use 1 for the next row.")):
        check_integer(f"--{name}", getattr(options, name), minimum=1, step=step)
    for name in ("stride", "max_windows"):
        if getattr(options, name) is not None:
            check_integer(_dashed(name), getattr(options, name), minimum=1, step="It is a number of rows or windows.")
    if options.stride is not None and options.max_windows is not None:
        raise wrong("--stride", "given without --max-windows", f"{options.max_windows}", "Drop one.")
    if options.threshold is not None and not np.isfinite(options.threshold):
        raise wrong("--threshold", "a finite number", options.threshold, "Events are targets above it.")


def check_middle(options: WindowOptions) -> tuple[int, ...]:
    """Return the rows ahead of the origin that the teacher sees."""
    with as_typed("FILE"):
        request = Request.check(
            options.target, window=options.window, horizon=options.horizon, privileged=options.privileged,
            privileged_columns=None, stride=1, threshold=None, require_target=True,
        )  # fmt: skip
    return () if request.middle is None else tuple(map(int, request.middle))


def check_lists(options: WindowOptions) -> None:
    """Refuse columns that are named twice or for two things."""
    for option, listed in (("--columns", options.columns), ("--privileged-columns", options.privileged_columns)):
        twice = [name for name in listed if list(listed).count(name) > 1]
        if twice:
            raise wrong(option, "columns, none twice", repr(twice[0]), "Name it once.")
    both = [name for name in options.privileged_columns if name in options.columns]
    if both:
        raise wrong("--privileged-columns", "other columns than --columns", repr(both[0]), "It stays or does not.")


def asked_for(options: WindowOptions) -> list[str] | None:
    """Return the columns to read; None: all that hold numbers."""
    if not options.columns:
        return None
    return list(dict.fromkeys([*options.columns, *options.privileged_columns, options.target]))


def check_named(options: WindowOptions, names: Sequence[str], path: Any) -> None:
    """Refuse names that the file does not have, and the clock or the group as a column of numbers."""
    for option, listed in _named(options).items():
        for name in listed:
            if name not in names:
                raise _no_column(option, name, "", names, path)
    roles = {find_time("FILE", names, options.time): "which is the time", options.group: "which is the group"}
    for option, listed in _named(options).items():
        for name in listed:
            if option not in _LABELS and name in roles:
                raise _no_column(option, name, roles[name], names, path)


def check_columns(options: WindowOptions, parts: TableParts) -> None:
    """Refuse columns that hold no numbers, and a file that leaves the student none."""
    for option, listed in _named(options).items():
        for name in listed:
            if option not in _LABELS and name in parts.left_out:
                raise _no_column(option, name, f"which {parts.left_out[name]}", parts.columns, parts.path)
    if not options.columns and set(parts.columns) <= set(options.privileged_columns):
        step = "The student needs a column that stays."
        raise wrong("--privileged-columns", "fewer than all columns of numbers", ", ".join(parts.columns), step)


def _named(options: WindowOptions) -> dict[str, Sequence[str]]:
    """Return the columns that were named, by option."""
    return {
        "--target": [options.target], "--privileged-columns": options.privileged_columns,
        "--columns": options.columns, "--time": [options.time] if options.time else [],
        "--group": [options.group] if options.group else [], "--unit": list(options.units),
    }  # fmt: skip


def _no_column(option: str, name: str, reason: str, names: Sequence[str], path: Any) -> Exception:
    expected = f"{'columns' if option.endswith('columns') else 'a column'}{' of numbers' * bool(reason)} of {path}"
    return wrong(option, expected, f"{name!r}{', ' * bool(reason)}{reason}", f"It has: {', '.join(names)}.")


def column_names(name: str, path: Path) -> tuple[str, ...]:
    """Return the names of the columns, which is all that is read of the file."""
    if path.suffix.lower() not in PARQUET:
        return tuple(CsvHeader.read(name, path).names)
    return tuple(ParquetTable.open(name, path).names)


def check_length(options: WindowOptions, parts: TableParts) -> None:
    """Refuse windows that are longer than the file."""
    if options.needed <= parts.n_rows:
        return
    option = "window" if options.window >= parts.n_rows > options.horizon else "horizon"
    other = "horizon" if option == "window" else "window"
    expected = f"such that --window and --horizon fit the file, which has {parts.n_rows} rows"
    found = f"{getattr(options, option)} with --{other} {getattr(options, other)}, together {options.needed}"
    raise wrong(f"--{option}", expected, found, "Use a shorter one, or a longer file.")


def read_gap(options: WindowOptions, parts: TableParts) -> Any:
    """Return the longest step as the clock takes it."""
    gap = parsed_gap(options.max_gap)
    if gap is not None and parts.time is None:
        raise wrong("--max-gap", "given for a file with a time column", options.max_gap, "Name it with --time.")
    if gap is not None:
        index = next(iter(parts)).index
        with as_typed("FILE"):
            Pace.of(index, index_numbers(index), np.ones(len(index) - 1, dtype=bool), gap)
    return gap


def parsed_gap(text: str | float | None) -> Any:
    """Return a number where a text says one, else the text, which is a time; days are D to pandas."""
    value = None if text is None else np.inf if str(text).lower() == "inf" else number(str(text))
    return re.sub(r"(?<=\d)d$", "D", text) if value is None and isinstance(text, str) else value


@contextmanager
def as_typed(name: str) -> Iterator[None]:
    """Let errors name the options and the file as typed."""
    try:
        yield
    except (ValueError, TypeError) as error:
        text = str(error)
        for parameter, typed in {**{option: _dashed(option) for option in _OPTIONS}, "groups": "--group",
                                 "columns": "--columns", "series": name, "path": name}.items():  # fmt: skip
            if text.startswith(f"{parameter} must"):
                raise type(error)(typed + _in_shell(text.removeprefix(parameter))) from None
        raise


def _in_shell(text: str) -> str:
    for python, shell in _WORDS.items():
        text = text.replace(python, shell)
    return text


def _dashed(parameter: str) -> str:
    return "--" + parameter.replace("_", "-")


def is_none_left(error: ValueError) -> bool:
    """Tell whether an error says that a series has no window."""
    return "must be complete enough for one window" in str(error)
