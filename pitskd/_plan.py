"""Which rows of a table each window holds: what was asked, checked, and the arrays that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pitskd._series import Table, as_range, as_slice, plain
from pitskd._validation import check_choice, check_integer, is_list, wrong

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class Request:
    """What was asked of a series, checked as far as that goes without it."""

    target: Any
    window: int
    horizon: Any
    horizons: list[int]
    middle: np.ndarray | None  # offsets from the origin of the middle rows that the teacher sees
    privileged_columns: Any
    stride: int
    threshold: Any
    require_target: bool

    @classmethod
    def check(
        cls,
        target: Any,
        *,
        window: Any,
        horizon: Any,
        privileged: Any,
        privileged_columns: Any,
        stride: Any,
        threshold: Any,
        require_target: Any,
    ) -> Request:
        """Check the arguments of `make_windows` that can be judged alone."""
        window = check_integer("window", window, minimum=1, step="Use window=1 to see the origin alone.")
        stride = check_integer("stride", stride, minimum=1, step="Use stride=1 for a window at every row.")
        check_choice("require_target", require_target, (True, False), "Use False for the inputs of a live forecast.")
        target, horizon, privileged, privileged_columns = map(plain, (target, horizon, privileged, privileged_columns))
        horizons = _horizons(horizon)
        middle = None if privileged is None else _middle_steps(privileged, max(horizons))
        return cls(
            target, window, horizon, horizons, middle, privileged_columns, stride, threshold,
            require_target,
        )  # fmt: skip

    @property
    def n_rows_needed(self) -> int:
        """Rows that a window must find."""
        return self.window + (max(self.horizons) if self.require_target else 0)

    def check_length(self, n_rows: int) -> None:
        """Refuse a series that is shorter than one window."""
        if self.n_rows_needed > n_rows:
            raise wrong(
                "window", f"short enough for a series of {n_rows} rows",
                f"{self.window} with horizon {self.horizon}, together {self.n_rows_needed} rows",
                "Use a shorter window or horizon.",
            )  # fmt: skip

    def plan(
        self, table: Table, offered: range | np.ndarray | None = None, dropped: Mapping[str, int] | None = None
    ) -> Plan:
        """Return how a table is cut; `offered` and `dropped` as `offered` and `dropped_before` of `Plan`."""
        targets = table.columns("target", self.target)
        taken = () if self.privileged_columns is None else table.columns("privileged_columns", self.privileged_columns)
        shared = tuple(c for c in range(len(table.names)) if c not in taken)
        if not shared:
            found = self.privileged_columns
            raise wrong("privileged_columns", "fewer than all columns", found, "Leave one for the student.")
        middle = np.arange(0) if self.middle is None else self.middle
        return Plan(
            table=table,
            targets=targets,
            squeeze=not is_list(self.target) and not is_list(self.horizon),
            thresholds=_thresholds(self.threshold, len(targets), len(self.horizons)),
            shared=shared,
            taken=tuple(range(len(table.names))) if self.middle is not None else taken,
            privileged_steps=np.concatenate([np.arange(1 - self.window, 1), middle]) if taken else middle,
            has_privileged=self.middle is not None or bool(taken),
            window=self.window,
            horizon=tuple(self.horizons) if is_list(self.horizon) else self.horizons[0],
            stride=self.stride,
            require_target=self.require_target,
            offered=offered,
            dropped_before=dropped or {},
        )


@dataclass(frozen=True, eq=False)
class Plan:
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
    offered: range | np.ndarray | None = None  # starts to choose from; None: as many as every group has room for
    dropped_before: Mapping[str, int] = field(default_factory=dict)  # in parts of the series that left no window

    @cached_property
    def horizons(self) -> np.ndarray:
        return np.atleast_1d(self.horizon)

    @cached_property
    def starts(self) -> range | np.ndarray:
        """First row of every kept window: a range if equally spaced, so that windows can be views."""
        if self.chosen is not None:
            return as_range(self.chosen)
        starts = as_range(self.with_target)
        if not len(starts):
            raise wrong("series", "complete enough for one window", f"none left of {self.dropped}", "Check its gaps.")
        return starts

    @property
    def _n_rows_needed(self) -> int:
        return self.window + (int(self.horizons.max()) if self.require_target else 0)

    @cached_property
    def _roomy(self) -> range | np.ndarray:
        """Starts of every window that its group has room for."""
        if self.offered is not None:
            return self.offered
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
    def with_target(self) -> range | np.ndarray:
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
        counts = {
            "hole in the index": len(self._roomy) - len(self._whole),
            "missing target": len(self._whole) - len(self.with_target),
        }
        return {reason: count + self.dropped_before.get(reason, 0) for reason, count in counts.items()}

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
        last = self.table.clock[reached]
        missing = np.flatnonzero(target > reached)
        if len(missing):  # a target that is not there yet is due so many usual steps after the last row reached
            last[missing] = self.table.after(reached[missing], (target - reached)[missing])
        return np.stack([self.table.clock[first], last], axis=1)

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
    if horizon == 1:  # the target is the next row
        allowed = "'between' or None where the horizon is 1, which leaves no row between"
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
