"""A user's own file and what was asked of it: checked once, then read as windows that are whole.

One rule for missing values holds everywhere. A window without its target, with a hole in the clock or with a missing
input is dropped and counted; where only the privileged part has a missing value, the window teaches by its target
alone. Nothing is imputed. Windows come in pieces of bounded size, so that memory depends neither on the length of the
file nor on that of the window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from pitskd._files import check_readable
from pitskd._validation import check_two_classes, wrong
from pitskd.forecasting.asked import (
    MAX_WINDOWS,
    WindowOptions,
    as_typed,
    asked_for,
    check_columns,
    check_length,
    check_lists,
    check_middle,
    check_named,
    check_numbers,
    column_names,
    is_none_left,
    read_gap,
)
from pitskd.forecasting.tally import Tally
from pitskd.parts import TableParts, join_windows, read_parts, windows_from_parts
from pitskd.windows import PrivilegedWindows

__all__ = ["Gathered", "OwnFile", "WindowOptions", "gather", "open_file"]

MISSING_INPUT = "missing input"
TARGET_ALONE = "they teach by their target alone"
PATIENCE = 5.0  # seconds after which progress is shown
_ELEMENTS = 2**23  # numbers in one piece: 64 MiB


@dataclass(eq=False)
class OwnFile:
    """An opened file and what was asked of it, all of it checked.

    Parameters
    ----------
    name : str
        The option or argument that named the file, for errors.
    parts : TableParts
    options : WindowOptions
    stride : int
        Of the windows that are taken.
    units : dict of str to str
        Of columns that have one.
    max_gap : str, float or None
        As the clock of the file takes it.
    """

    name: str
    parts: TableParts
    options: WindowOptions
    stride: int
    units: dict[str, str]
    max_gap: Any = None

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.parts.path

    @property
    def n_rows(self) -> int:
        """Rows of the file."""
        return self.parts.n_rows

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Columns that the student sees, in the order of the file."""
        options = self.options
        chosen = options.columns or [name for name in self.parts.columns if name not in options.privileged_columns]
        return tuple(name for name in self.parts.columns if name in chosen)

    @cached_property
    def privileged_feature_names(self) -> tuple[str, ...]:
        """Columns that the teacher sees, in the order of the file; none where nothing is privileged."""
        taken, middle = self.options.privileged_columns, self.options.privileged is not None
        seen = {*taken, *(self.feature_names if middle else ())}
        return tuple(name for name in self.parts.columns if name in seen)

    @cached_property
    def privileged_steps(self) -> tuple[int, ...]:
        """Rows that the teacher sees, counted from the origin."""
        inside = range(1 - self.options.window, 1) if self.options.privileged_columns else ()
        return (*inside, *check_middle(self.options))

    @property
    def target_name(self) -> str:
        """The target and how many rows ahead it is, such as ``"pm2.5+48"``."""
        return f"{self.options.target}+{self.options.horizon}"

    def windows(
        self, *, stride: int | None = None, require_target: bool = True, tally: Tally | None = None
    ) -> Iterator[PrivilegedWindows]:
        """Yield the windows of the file in pieces, each with what was dropped beside it.

        Parameters
        ----------
        stride : int, default=None
            None: that of the file.
        require_target : bool, default=True
            As in `make_windows`.
        tally : Tally, default=None
            Told of every row that is read.

        Yields
        ------
        PrivilegedWindows
            Without missing inputs; it may hold no window. A privileged row is whole or all NaN.
        """
        options, tally = self.options, Tally() if tally is None else tally
        rows = self._rows(tally)
        settings: dict[str, Any] = {
            "window": options.window, "horizon": options.horizon, "privileged": options.privileged,
            "privileged_columns": list(options.privileged_columns) or None, "threshold": options.threshold,
            "groups": options.group, "max_gap": self.max_gap, "require_target": require_target,
            "stride": self.stride if stride is None else stride,
        }  # fmt: skip
        try:
            with as_typed(self.name):
                for record in windows_from_parts(rows, options.target, **settings):
                    yield from map(self._whole, pieces(record))
        except ValueError as error:
            if not is_none_left(error):
                raise
            n_possible = tally.room(options.needed)
            reason = (
                f"each of {n_possible} has a hole in the clock or no target" if n_possible else "no group is so long"
            )
            raise nothing_left(self, tally, reason) from None

    def _rows(self, tally: Tally) -> Iterator[pd.DataFrame]:
        """Yield the parts of the file, with progress."""
        with tqdm(total=self.n_rows, unit="row", unit_scale=True, delay=PATIENCE, desc=self.path.name) as bar:
            for frame in self.parts:
                tally.add(frame, self.options.group)
                yield frame
                bar.update(len(frame))

    def _whole(self, record: PrivilegedWindows) -> PrivilegedWindows:
        """Return the windows without missing inputs, of the columns asked for."""
        X, names = _channels(record.X, record.feature_names, self.feature_names)
        Z, others = record.X_privileged, record.privileged_feature_names
        if Z is not None:
            Z, others = _channels(Z, others, self.privileged_feature_names)
            Z = _blanked(Z)
        missing = np.isnan(X).any(axis=(1, 2))
        dropped = {**record.dropped, MISSING_INPUT: int(missing.sum())}
        whole = replace(
            record, X=X, X_privileged=Z, feature_names=names, privileged_feature_names=others, dropped=dropped
        )
        return whole.take(~missing) if missing.any() else whole


@dataclass(frozen=True, eq=False)
class Gathered:
    """Windows of a file that fit into memory, and how they came about.

    Parameters
    ----------
    windows : PrivilegedWindows
        Evenly spaced, in the order of the file, without missing inputs.
    dropped : dict of str to int
        How many of the windows looked at were left out, by reason.
    n_untaught : int
        Windows that teach by their target alone as their privileged part has missing values.
    n_looked_at, n_possible : int
        Windows at this stride, and at every row, that the file has room for.
    n_rows, stride : int
    step : str
        Usual step of the clock, such as ``"1 h"``; ``"1 row"`` without one.
    tally : Tally
    lines : list of str
        All of this for people.
    """

    windows: PrivilegedWindows
    dropped: dict[str, int]
    n_untaught: int
    n_looked_at: int
    n_possible: int
    n_rows: int
    stride: int
    step: str
    tally: Tally
    lines: list[str]


def told(
    own_file: OwnFile, tally: Tally, stride: int, n_windows: int, dropped: Mapping[str, int], n_untaught: int
) -> list[str]:
    """Return lines about windows: how many of how many were used, and why others were not."""
    needed, n_rows = own_file.options.needed, own_file.n_rows
    looked_at, possible = tally.room(needed, stride), tally.room(needed)
    spaced = "" if looked_at == possible else f" at every {stride} rows ({possible} at every row)"
    lost = "; ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
    unclocked = "" if own_file.parts.time else " (no time column)"
    lines = [
        f"rows: {n_rows}, step {tally.clock.step}{unclocked}"
        + ("" if len(tally.runs) == 1 else f", groups: {len(tally.runs)}"),
        f"windows: {n_windows} of {looked_at}{spaced}" + (f"; left out for a {lost}" if lost else ""),
    ]
    if n_untaught:
        lines.append(f"a privileged value is missing in {n_untaught} windows: {TARGET_ALONE}")
    return lines


def open_file(name: str, path: Any, options: WindowOptions) -> OwnFile:
    r"""Open a file for windows, after all that can be wrong in what was asked of it was checked.

    Parameters
    ----------
    name : str
        The option or argument that names the file, for errors.
    path : str or path
    options : WindowOptions

    Returns
    -------
    OwnFile

    Raises
    ------
    ValueError, TypeError
        If the file cannot be read, has no such column or too few rows, or an option is out of range. The error names
        the option as typed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "air.csv"
    >>> _ = path.write_text("pm,wind\n" + "\n".join(f"{row},{row % 3}" for row in range(20)))
    >>> air = open_file("FILE", path, WindowOptions("pm", window=3, horizon=2))
    >>> air.feature_names, air.target_name, air.stride
    (('pm', 'wind'), 'pm+2', 1)
    >>> gather(air).windows
    PrivilegedWindows(n_windows=16, window=3, horizon=2, n_channels=2, privileged_steps=[1])
    >>> folder.cleanup()
    """
    check_readable(name, Path(path))
    check_numbers(options)
    check_lists(options)
    check_named(options, column_names(name, Path(path)), path)
    with as_typed(name):
        parts = read_parts(path, columns=asked_for(options), time=options.time, group=options.group, name=name)
    check_columns(options, parts)
    check_length(options, parts)
    check_middle(options)
    gap = read_gap(options, parts)
    units = {**parts.units, **options.units}
    return OwnFile(name, parts, options, _stride(options, parts.n_rows), units, gap)


def gather(own_file: OwnFile) -> Gathered:
    """Return the windows of a file at its stride.

    Parameters
    ----------
    own_file : OwnFile

    Returns
    -------
    Gathered
        At most ``max_windows`` windows where no stride was asked for.

    Raises
    ------
    ValueError
        If no window is left, or its events are all of one class. The error names the option as typed.
    """
    tally, options = Tally(), own_file.options
    pieces = [owned(piece) for piece in own_file.windows(tally=tally)]
    dropped = total(piece.dropped for piece in pieces)
    kept = [piece for piece in pieces if piece.n_windows]
    check_some_left(own_file, tally, dropped, len(kept))
    windows = _thinned(join_windows(kept), options)
    if options.threshold is not None:
        check_both(own_file, tally, windows.y)
    n_untaught, stride = untaught(windows), own_file.stride
    lines = told(own_file, tally, stride, windows.n_windows, dropped, n_untaught)
    return Gathered(
        windows, dropped, n_untaught, tally.room(options.needed, stride), tally.room(options.needed),
        own_file.n_rows, stride, tally.clock.step, tally, lines,
    )  # fmt: skip


def total(counts: Any) -> dict[str, int]:
    """Return the sums of what was dropped, by reason."""
    summed: Counter[str] = Counter()
    for dropped in counts:
        summed.update(dropped)
    return dict(summed)


def untaught(windows: PrivilegedWindows) -> int:
    """Return how many windows have no privileged part though others may."""
    Z = windows.X_privileged
    return 0 if Z is None or not Z[0].size else int(np.isnan(Z[:, 0, 0]).sum())


def check_some_left(own_file: OwnFile, tally: Tally, dropped: Mapping[str, int], n_left: int) -> None:
    """Refuse a file of which no window is left."""
    if not n_left:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
        raise nothing_left(own_file, tally, reasons)


def nothing_left(own_file: OwnFile, tally: Tally, reasons: str) -> Exception:
    """Return the error of a file without a whole window: what there is none of, or why they were dropped."""
    named = {own_file.options.target: ("--target", "a column with values", "Choose another column.")}
    for name in (own_file.options.target, *own_file.feature_names):
        if not tally.present[name]:
            option, expected, step = named.get(name, ("--columns", "columns with values", "Leave it out."))
            return wrong(option, expected, f"{name!r}, all {own_file.n_rows} missing", step)
    step = "Use a shorter --window or --horizon, a larger --max-gap, or fewer --columns."
    rarest = min(own_file.feature_names, key=lambda name: tally.present[name])
    if MISSING_INPUT in reasons:
        reasons = f"{reasons}; {_lacking(own_file, tally, rarest)}"
        step = f"Leave {rarest!r} out with --columns, or use a shorter --window."
    return wrong(own_file.name, "a file with a whole window", f"none ({reasons})", step)


def _lacking(own_file: OwnFile, tally: Tally, name: str) -> str:
    missing = own_file.n_rows - int(tally.present[name])
    return f"{name!r}, which has no value in {missing} of {own_file.n_rows} rows, {missing / own_file.n_rows:.0%}"


def check_taught(own_file: OwnFile, tally: Tally, n_windows: int, n_untaught: int) -> None:
    """Refuse a file where something is privileged and no window has a whole privileged part.

    Parameters
    ----------
    own_file : OwnFile
    tally : Tally
        Of all rows.
    n_windows, n_untaught : int
        Windows, and those of them whose privileged part has a missing value.
    """
    if n_untaught < n_windows or not n_windows:
        return
    privileged, step = own_file.options.privileged_columns, "Use a shorter --horizon, or --privileged with fewer rows."
    rarest = min(own_file.privileged_feature_names, key=lambda name: tally.present[name])
    option, expected = "--privileged", "such that some window has all of its privileged part"
    if rarest in privileged:
        option, step = "--privileged-columns", "Leave it out, or keep only rows where it was measured."
        expected = "columns that some window has every value of"
    raise wrong(option, expected, _lacking(own_file, tally, rarest), step)


def check_both(own_file: OwnFile, tally: Tally, labels: np.ndarray) -> None:
    """Refuse a threshold that makes one class of all windows."""
    try:
        check_two_classes("--threshold", np.unique(labels))
    except ValueError:
        target, threshold = own_file.options.target, own_file.options.threshold
        low, high = tally.low[target], tally.high[target]
        expected = f"such that the windows hold both classes; {target!r} lies between {low:g} and {high:g}"
        raise wrong("--threshold", expected, f"{threshold:g}", "Choose one that some targets exceed.") from None


def _stride(options: WindowOptions, n_rows: int) -> int:
    if options.stride is not None:
        return options.stride
    return -(-(n_rows - options.needed + 1) // (options.max_windows or MAX_WINDOWS))


# ---------------------------------------------------------------- pieces of windows


def pieces(record: PrivilegedWindows) -> Iterator[PrivilegedWindows]:
    """Cut a record so that the inputs of a piece are no larger than memory should hold at once."""
    each = record.window * len(record.feature_names)
    if record.X_privileged is not None:
        each += len(record.privileged_steps) * len(record.privileged_feature_names)
    size = max(1, _ELEMENTS // each)
    if record.n_windows <= size:
        yield record
        return
    for start in range(0, record.n_windows, size):
        piece = record.take(slice(start, start + size))
        yield piece if start == 0 else replace(piece, dropped={})


def _channels(array: np.ndarray, names: tuple[str, ...], kept: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the channels that are kept; a view where that is all of them."""
    if names == kept:
        return array, names
    return array[:, :, [names.index(name) for name in kept]], kept


def _blanked(Z: np.ndarray) -> np.ndarray:
    """Return privileged rows, all NaN where a value is missing."""
    partly = np.isnan(Z).any(axis=(1, 2))
    if partly.any():
        Z = np.array(Z)
        Z[partly] = np.nan
    return Z


def owned(record: PrivilegedWindows) -> PrivilegedWindows:
    """Return the windows without a hold on the part of the file that they were cut from."""
    Z = record.X_privileged
    return replace(record, X=np.array(record.X), X_privileged=None if Z is None else np.array(Z), y=np.array(record.y))


def _thinned(windows: PrivilegedWindows, options: WindowOptions) -> PrivilegedWindows:
    """Return at most as many windows as asked for: groups may each have one more than their share."""
    most = options.max_windows or MAX_WINDOWS
    if options.stride is not None or windows.n_windows <= most:
        return windows
    return windows.take(np.linspace(0, windows.n_windows - 1, most).round().astype(np.int64))
