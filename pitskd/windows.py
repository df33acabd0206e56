"""The one place that knows time: which rows a model may see, which only its teacher, and which are to be predicted.

With `o` the origin (the last row of the input), a window consists of the input rows `o - window + 1 .. o`, the middle
rows `o + 1 .. o + horizon - 1` and the target row `o + horizon`. A record computes each array when it is first read, as
a view of the series wherever that is possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from pitskd._plan import Plan, Request
from pitskd._series import Table, as_slice
from pitskd._validation import check_integer, check_positions, wrong

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
    def _lazy(cls, plan: Plan) -> PrivilegedWindows:
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
    request = Request.check(
        target, window=window, horizon=horizon, privileged=privileged, privileged_columns=privileged_columns,
        stride=stride, threshold=threshold, require_target=require_target,
    )  # fmt: skip
    table = Table.read(series, groups, max_gap)
    plan = request.plan(table)
    request.check_length(len(table.values))
    return PrivilegedWindows._lazy(plan)


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
