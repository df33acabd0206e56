"""The one place that knows time: which rows a model may see, which only its teacher, and which are to be predicted.

With `o` the origin (the last row of the input), a window consists of the input rows `o - window + 1 .. o`, the middle
rows `o + 1 .. o + horizon - 1` and the target row `o + horizon`. A record computes each array when it is first read, as
a view of the series wherever that is possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from pitskd._series import Table, as_range, as_slice, plain
from pitskd._validation import check_choice, check_integer, check_positions, is_list, wrong

__all__ = ["PrivilegedWindows", "make_windows"]


@dataclass(frozen=True, eq=False, repr=False)
class PrivilegedWindows:
    """Windows of a series: what both models see, what only the teacher sees, and what is to be predicted.

    Made by `make_windows`, which computes each array when it is first read and hands out read-only views of the series
    where it can. The record has neither length nor items, so that scikit-learn never takes it for a list.

    Parameters
    ----------
    X : ndarray of shape (n_windows, window, n_channels)
        Input rows, seen by student and teacher. In the units of the series.
    X_privileged : ndarray of shape (n_windows, n_steps, n_privileged_channels) or None
        Rows that only the teacher may see, ascending in time.
    y : ndarray of shape (n_windows,) or (n_windows, n_targets)
        Targets; several horizons and targets are ordered by horizon first.
    origin : ndarray of shape (n_windows,)
        Last row of `X`: its position (array series) or its index label (frame).
    privileged_steps : ndarray of shape (n_steps,)
        Offset of each privileged row from the origin; above 0 is middle time.
    window : int
        Number of input rows.
    horizon : int or tuple of int
        Rows from the origin to the target.
    feature_names, privileged_feature_names : tuple of str
        Names of the channels of `X` and of `X_privileged`.
    target_names : tuple of str
        Names of the columns of `y`, such as ``"pm2.5+8"``.
    groups : ndarray of shape (n_windows,) or None
        The group each window lies in.
    spans : ndarray of shape (n_windows, 2) or None
        Clock of the first input row and of the last target row of each window, in row positions or index units.
        `split` keeps these intervals apart.
    dropped : dict of str to int
        How many windows were left out, by reason.

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd import make_windows
    >>> w = make_windows(np.arange(8.0), 0, window=3, horizon=2)
    >>> w
    PrivilegedWindows(n_windows=4, window=3, horizon=2, n_channels=1, privileged_steps=[1])
    >>> w.X[0, :, 0], w.X_privileged[0, :, 0], w.y[0]
    (array([0., 1., 2.]), array([3.]), np.float64(4.0))
    """

    X: np.ndarray
    X_privileged: np.ndarray | None
    y: np.ndarray
    origin: np.ndarray
    privileged_steps: np.ndarray
    window: int
    horizon: int | tuple[int, ...]
    feature_names: tuple[str, ...]
    privileged_feature_names: tuple[str, ...]
    # Factories rather than defaults: a default would become a class attribute and hide the lazy value.
    target_names: tuple[str, ...] = field(default_factory=tuple)
    groups: np.ndarray | None = field(default_factory=lambda: None)
    spans: np.ndarray | None = field(default_factory=lambda: None)
    dropped: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def _lazy(cls, plan: _Plan) -> PrivilegedWindows:
        record = object.__new__(cls)
        record.__dict__["_plan"] = plan
        return record

    def __getattr__(self, name: str) -> Any:
        """Compute a field when it is first read; Python asks here only for attributes that are not set yet."""
        plan = self.__dict__.get("_plan")
        if plan is None or name not in _FIELDS:
            raise AttributeError(f"'PrivilegedWindows' object has no attribute {name!r}")
        return self.__dict__.setdefault(name, getattr(plan, name))

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the series and the starts, not every overlapping window."""
        plan = self.__dict__.get("_plan")
        # A replaced plan and table have their fields alone, not what they computed since.
        return dict(self.__dict__) if plan is None else {"_plan": replace(plan, table=replace(plan.table))}

    def __repr__(self) -> str:
        return (
            f"PrivilegedWindows(n_windows={self.n_windows}, window={self.window}, horizon={self.horizon}, "
            f"n_channels={len(self.feature_names)}, privileged_steps={list(map(int, self.privileged_steps))})"
        )

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        plan = self.__dict__.get("_plan")
        return len(self.X) if plan is None else len(plan.starts)

    def take(self, rows: Any) -> PrivilegedWindows:
        """Return the windows at the given positions, in that order.

        Parameters
        ----------
        rows : slice, array of int or array of bool of shape (n_windows,)
            Which windows to keep; a slice keeps views.

        Raises
        ------
        IndexError
            If a position lies outside ``-n_windows .. n_windows - 1``.
        """
        rows = check_positions("rows", rows, self.n_windows)
        plan = self.__dict__.get("_plan")
        if plan is not None:
            chosen = plan.starts[rows] if isinstance(rows, slice) else np.asarray(plan.starts)[rows]
            return self._lazy(replace(plan, chosen=chosen))
        arrays = {name: getattr(self, name) for name in ("X", "X_privileged", "y", "origin", "groups", "spans")}
        return replace(self, **{name: None if array is None else array[rows] for name, array in arrays.items()})

    def split(self, *sizes: float, gap: int | str = "auto") -> tuple[PrivilegedWindows, ...]:
        """Cut by time into ``len(sizes) + 1`` parts; the last one is the rest.

        Windows are ordered by the time of their first row before (windows of several groups may interleave).

        Parameters
        ----------
        *sizes : float or int
            A float is a fraction of `n_windows`, an int a number of windows, both before the gap.
        gap : int or "auto", default="auto"
            How many windows to drop from the end of each earlier part. "auto" drops every window whose target row is at
            or after the first input row of a later part, so that no value is shared across a cut.

        Returns
        -------
        parts : tuple of PrivilegedWindows
            In order of time.

        Raises
        ------
        ValueError
            If a part would be empty.

        Examples
        --------
        >>> import numpy as np
        >>> from pitskd import make_windows
        >>> train, test = make_windows(np.arange(100.0), 0, window=3, horizon=2).split(0.6)
        >>> train.n_windows, test.n_windows, int(train.origin[-1]) + 2, int(test.origin[0]) - 2
        (53, 39, 56, 57)
        """
        counts = _part_sizes(sizes, self.n_windows)
        if gap != "auto":
            gap = check_integer("gap", gap, minimum=0, step='Use gap="auto" to share no value across a cut.')
        spans, order = self._clock()
        borders = np.cumsum([0, *counts])
        parts = []
        for number, (begin, end) in enumerate(pairwise(borders)):
            kept = order[begin:end]
            if end < self.n_windows:
                kept = kept[spans[kept, 1] < spans[order[end], 0]] if gap == "auto" else kept[: -gap or None]
            if not len(kept):
                expected = f"large enough to leave windows in part {number} after the gap"
                raise wrong("sizes", expected, sizes, "Use larger parts.")
            parts.append(self.take(as_slice(kept)))
        return tuple(parts)

    def _clock(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the spans and the positions of the windows in order of their first rows."""
        spans = self.spans
        if spans is None:
            if self.origin.dtype.kind not in "iu":
                raise wrong("spans", "given for windows whose origin is not a row position", None, "Use make_windows.")
            spans = np.stack([self.origin - self.window + 1, self.origin + np.max(self.horizon)], axis=1)
        return spans, np.argsort(spans[:, 0], kind="stable")


_FIELDS = frozenset(f.name for f in fields(PrivilegedWindows))


def make_windows(
    series: Any,
    target: Any,
    *,
    window: int,
    horizon: int | Sequence[int],
    privileged: Any = "between",
    privileged_columns: Any = None,
    stride: int = 1,
    threshold: Any = None,
    groups: Any = None,
    require_target: bool = True,
    max_gap: Any = None,
) -> PrivilegedWindows:
    """Cut a series into windows with a privileged part.

    Parameters
    ----------
    series : array of shape (n_rows,) or (n_rows, n_columns), DataFrame or Series
        Numbers, ascending in time, NaN where missing. Frames of other libraries are taken through their ``to_pandas``;
        if such a frame has exactly one column of timestamps, that column becomes the index.
    target : int, str or list of them
        Column position (array) or name (frame).
    window : int
        Number of input rows, at least 1.
    horizon : int or sequence of int
        Rows from the origin (last input row) to the target row, at least 1. A sequence gives one target per horizon.
    privileged : "between", int, list of int or None, default="between"
        Which middle rows the teacher sees, in all columns: all rows between origin and (largest) target, the last k of
        them, those at the given steps ahead of the origin, or none.
    privileged_columns : int, str or list of them, default=None
        Columns taken out of `X` and given to the teacher. With ``privileged=None`` the teacher sees them over the input
        rows; together with middle rows it sees all columns over the input rows and the chosen middle rows.
    stride : int, default=1
        Window i starts at row ``i * stride`` of the series (of its group).
    threshold : float or sequence of float, default=None
        Turns targets into event labels ``value > threshold`` (strict): int64, or float64 with NaN kept if
        ``require_target=False``. A sequence gives one threshold per target.
    groups : array of shape (n_rows,) or column name, default=None
        One label per row (city, run, machine); no window spans two groups, and rows of a group need not be adjacent. A
        named column is taken out of the channels.
    require_target : bool, default=True
        If False, origins without a target are returned too, with NaN in `y`: the input of a live forecast.
    max_gap : number, timedelta or str, default=None
        Longest step of the index allowed inside a window, e.g. ``"3h"``, or ``numpy.inf`` for any. By default every
        step must equal the usual one (a row, an hour, a day, a month), and a window with a hole inside is dropped.

    Returns
    -------
    windows : PrivilegedWindows
        ``1 + (n_rows - window - max(horizon)) // stride`` of them where nothing is missing.

    Raises
    ------
    ValueError
        For values out of range, unknown columns, an index that is unsorted, repeats or has no usual step, and, when the
        windows are first read, if none is left.
    TypeError
        For columns or an index that do not hold numbers or times.
    MemoryError
        When windows that need a copy are first read and the copy does not fit.

    Notes
    -----
    Nothing is scanned until an array is read, except the index of a frame. A window whose target is missing, or with a
    hole in the time index inside it, is dropped and counted in ``dropped``; with ``require_target=False`` a hole after
    the origin only makes what lies behind it NaN. Missing inputs stay NaN. Nothing is imputed.

    Arrays are views of the series when the kept starts and the columns are equally spaced, else one copy; with
    ``require_target=False`` only `X` is a view. The series must not be changed in place while its windows are in use.
    (``torch.from_numpy`` warns about read-only arrays: copy the batch, not the series.)

    Examples
    --------
    >>> import pandas as pd
    >>> from pitskd import make_windows
    >>> frame = pd.DataFrame(
    ...     {"pm": [1.0, 5.0, 2.0, 8.0, 3.0], "lab": [0.1, 0.2, 0.3, 0.4, 0.5]},
    ...     index=pd.date_range("2024-01-01", periods=5, freq="h"),
    ... )
    >>> w = make_windows(frame, "pm", window=2, horizon=1, privileged=None, privileged_columns="lab", threshold=2.5)
    >>> w.feature_names, w.privileged_feature_names, w.y
    (('pm',), ('lab',), array([0, 1, 1]))
    """
    window = check_integer("window", window, minimum=1, step="Use window=1 to see the origin alone.")
    stride = check_integer("stride", stride, minimum=1, step="Use stride=1 for a window at every row.")
    check_choice("require_target", require_target, (True, False), "Use False for the inputs of a live forecast.")
    target, horizon, privileged, privileged_columns = map(plain, (target, horizon, privileged, privileged_columns))
    horizons = _horizons(horizon)
    middle = _middle_steps(privileged, max(horizons))
    table = Table.read(series, groups, max_gap)
    targets = table.columns("target", target)
    taken = () if privileged_columns is None else table.columns("privileged_columns", privileged_columns)
    shared = tuple(c for c in range(len(table.names)) if c not in taken)
    if not shared:
        raise wrong("privileged_columns", "fewer than all columns", privileged_columns, "Leave one for the student.")
    needed = window + (max(horizons) if require_target else 0)
    if needed > len(table.values):
        raise wrong(
            "window", f"short enough for a series of {len(table.values)} rows",
            f"{window} with horizon {horizon}, together {needed} rows", "Use a shorter window or horizon.",
        )  # fmt: skip
    plan = _Plan(
        table=table,
        targets=targets,
        squeeze=not is_list(target) and not is_list(horizon),
        thresholds=_thresholds(threshold, len(targets), len(horizons)),
        shared=shared,
        taken=tuple(range(len(table.names))) if privileged is not None else taken,
        privileged_steps=np.concatenate([np.arange(1 - window, 1), middle]) if taken else middle,
        has_privileged=privileged is not None or bool(taken),
        window=window,
        horizon=tuple(horizons) if is_list(horizon) else horizons[0],
        stride=stride,
        require_target=require_target,
    )
    return PrivilegedWindows._lazy(plan)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What was asked of a table; its attributes compute the fields of the record."""

    table: Table
    targets: tuple[int, ...]
    squeeze: bool
    thresholds: np.ndarray | None
    shared: tuple[int, ...]
    taken: tuple[int, ...]
    privileged_steps: np.ndarray
    has_privileged: bool
    window: int
    horizon: int | tuple[int, ...]
    stride: int
    require_target: bool
    chosen: range | np.ndarray | None = None  # starts picked by `take`

    @cached_property
    def horizons(self) -> np.ndarray:
        return np.atleast_1d(self.horizon)

    @cached_property
    def starts(self) -> range | np.ndarray:
        """First row of every kept window: a range if equally spaced, so that windows can be views."""
        if self.chosen is not None:
            return as_range(self.chosen)
        starts = as_range(self._with_target)
        if not len(starts):
            raise wrong("series", "complete enough for one window", f"none left of {self.dropped}", "Check its gaps.")
        return starts

    @property
    def _n_rows_needed(self) -> int:
        return self.window + (int(self.horizons.max()) if self.require_target else 0)

    @cached_property
    def _roomy(self) -> range | np.ndarray:
        """Starts of every window that its group has room for."""
        ranges = [range(first, stop - self._n_rows_needed + 1, self.stride) for first, stop in self.table.runs]
        return ranges[0] if len(ranges) == 1 else np.concatenate([np.asarray(r, dtype=np.int64) for r in ranges])

    @cached_property
    def _whole(self) -> range | np.ndarray:
        """Those without a hole inside."""
        if self.table.breaks is None:
            return self._roomy
        starts = np.asarray(self._roomy, dtype=np.int64)
        return starts[self.table.last_row[starts] >= starts + self._n_rows_needed - 1]

    @cached_property
    def _with_target(self) -> range | np.ndarray:
        """Those whose targets are all there."""
        starts = self._whole
        if not self.require_target or self.table.values.dtype.kind != "f":
            return starts
        missing = np.zeros(len(starts), dtype=bool)
        for column in self.targets:
            for step in self.horizons:
                missing |= np.isnan(self.table.values[self.window - 1 + int(step) :, column][as_slice(starts)])
        return np.asarray(starts)[~missing] if missing.any() else starts

    @cached_property
    def dropped(self) -> dict[str, int]:
        return {
            "hole in the index": len(self._roomy) - len(self._whole),
            "missing target": len(self._whole) - len(self._with_target),
        }

    @cached_property
    def X(self) -> np.ndarray:
        return self.table.cut("X", self.shared, self.starts, np.arange(self.window))

    @cached_property
    def X_privileged(self) -> np.ndarray | None:
        if not self.has_privileged:
            return None
        return self._cut("X_privileged", self.taken, self.window - 1 + self.privileged_steps)

    def _cut(self, name: str, columns: tuple[int, ...], offsets: np.ndarray) -> np.ndarray:
        cut = self.table.cut if self.require_target else self.table.reach
        return cut(name, columns, self.starts, offsets)

    @cached_property
    def y(self) -> np.ndarray:
        y = self._cut("y", self.targets, self.window - 1 + self.horizons)
        y = y[:, 0, 0] if self.squeeze else y.reshape(len(y), -1)
        return y if self.thresholds is None else self._labels(y)

    def _labels(self, y: np.ndarray) -> np.ndarray:
        assert self.thresholds is not None
        above = y > (self.thresholds[0] if self.squeeze else self.thresholds)
        if self.require_target:
            return above.astype(np.int64)
        return np.where(np.isnan(y), np.nan, above)

    @cached_property
    def origin(self) -> np.ndarray:
        rows = np.asarray(self.starts, dtype=np.int64) + self.window - 1
        if self.table.index is not None:
            return self.table.index[rows].to_numpy()
        return rows if self.table.rows is None else self.table.rows[rows]

    @cached_property
    def groups(self) -> np.ndarray | None:
        return None if self.table.groups is None else self.table.groups[np.asarray(self.starts, dtype=np.int64)]

    @cached_property
    def spans(self) -> np.ndarray:
        first = np.asarray(self.starts, dtype=np.int64)
        target = first + self.window - 1 + int(self.horizons.max())
        if self.table.clock is None:
            return np.stack([first, target], axis=1)
        reached = np.minimum(target, self.table.last_row[first])
        # A target that is not there yet is due so many usual steps after the last row reached.
        wait = ((target - reached) * self.table.period).astype(self.table.clock.dtype)
        return np.stack([self.table.clock[first], self.table.clock[reached] + wait], axis=1)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(str(self.table.names[c]) for c in self.shared)

    @cached_property
    def privileged_feature_names(self) -> tuple[str, ...]:
        return tuple(str(self.table.names[c]) for c in self.taken) if self.has_privileged else ()

    @cached_property
    def target_names(self) -> tuple[str, ...]:
        return tuple(f"{self.table.names[c]}+{step}" for step in self.horizons for c in self.targets)


def _horizons(horizon: Any) -> list[int]:
    step = "Use horizon=1 for the row after the origin."
    listed = list(horizon) if is_list(horizon) else [horizon]
    steps = [check_integer("horizon", value, minimum=1, step=step) for value in listed]
    if not steps or len(set(steps)) < len(steps):
        raise wrong("horizon", "at least one number of rows, none twice", horizon, step)
    return steps


def _thresholds(threshold: Any, n_targets: int, n_horizons: int) -> np.ndarray | None:
    """Return one threshold per column of y."""
    if threshold is None:
        return None
    values = np.atleast_1d(np.asarray(threshold, dtype=object))
    numeric = all(isinstance(v, int | float | np.integer | np.floating) and v == v for v in values)
    if not numeric or any(isinstance(v, bool) for v in values) or len(values) not in (1, n_targets):
        raise wrong("threshold", "a number, or one per target", threshold, "Labels are 1 where the target is above it.")
    return np.tile(np.broadcast_to(values.astype(np.float64), n_targets), n_horizons)


def _middle_steps(privileged: Any, horizon: int) -> np.ndarray:
    """Return the offsets from the origin of the middle rows that the teacher sees."""
    advice = "The middle lies strictly between the origin and the target; use None for no middle rows."
    allowed = f"'between', None, a number of rows up to {horizon - 1}, or a list of steps from 1 to {horizon - 1}"
    if privileged is None:
        return np.arange(0)
    if isinstance(privileged, str):
        if privileged != "between":
            raise wrong("privileged", allowed, privileged, advice)
        return np.arange(1, horizon)
    if is_list(privileged):
        steps = sorted(check_integer("privileged", step, minimum=1, step=advice) for step in privileged)
    else:
        steps = range(horizon - check_integer("privileged", privileged, minimum=1, step=advice), horizon)
    if not steps or steps[0] < 1 or steps[-1] >= horizon or len(set(steps)) < len(steps):
        raise wrong("privileged", allowed, privileged, advice)
    return np.asarray(steps)


def _part_sizes(sizes: tuple[Any, ...], n_windows: int) -> list[int]:
    """Return the number of windows of every part, the rest included."""
    advice = "w.split(0.6) gives the first 60 % and the rest."
    counts = []
    for size in sizes:
        if isinstance(size, float | np.floating) and 0 < size < 1:
            counts.append(int(np.floor(size * n_windows + 1e-9)))  # 0.29 * 100 is 28.999...
        elif isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0:
            counts.append(int(size))
        else:
            raise wrong("sizes", "fractions between 0 and 1 or numbers of windows", sizes, advice)
    if not counts or sum(counts) >= n_windows:
        raise wrong("sizes", f"one or more, below {n_windows} windows together", sizes, advice)
    return [*counts, n_windows - sum(counts)]
