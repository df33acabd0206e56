"""Predictions of a new file by a saved student: of the origins whose target lies beyond its end, or of all.

A column that is never missing stands in for the target, so that a target missing in the file is not mistaken for one
that is still to come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from pitskd._files import check_readable
from pitskd._series import index_numbers
from pitskd._validation import wrong
from pitskd.forecasting.asked import as_typed, column_names, is_none_left, parsed_gap
from pitskd.forecasting.clock import CALENDARS, Clock, step_in_words
from pitskd.forecasting.own_file import PATIENCE, owned, pieces
from pitskd.forecasting.recipe import Forecaster, Recipe
from pitskd.parts import TableParts, read_parts, windows_from_parts
from pitskd.windows import PrivilegedWindows

__all__ = ["NewFile", "open_new"]

_PRESENT = "\0present"  # no column of a file is named so
_OFFSETS = {True: "with UTC offsets", False: "without UTC offsets"}
_MONTH = 27 * 86400.0  # seconds; steps this long are as uneven as the calendar


@dataclass(eq=False)
class NewFile:
    """A file that a student can read, checked for its columns.

    Parameters
    ----------
    name : str
        The argument that named the file, for errors.
    parts : TableParts
    forecaster : Forecaster
    group : str or None
    every : bool
        Whether origins whose target is in the file are predicted too.
    ignored : list of str
        Columns that the student does not read.
    """

    name: str
    parts: TableParts
    forecaster: Forecaster
    group: str | None
    every: bool
    ignored: list[str]

    @property
    def recipe(self) -> Recipe:
        """That of the student."""
        return self.forecaster.recipe

    def __post_init__(self) -> None:
        self.ends = Ends(self.recipe.horizon)
        self.clock = Clock()
        self.outside = Outside(self.recipe)
        self.n_forecasts = self.n_empty = self.n_to_come = 0
        self.dropped: Counter[str] = Counter()

    def forecasts(self) -> Iterator[pd.DataFrame]:
        """Yield tables of forecasts, one row per origin; an empty prediction where an input is missing."""
        waiting = []
        for piece in self._pieces():
            self.dropped.update(piece.dropped)
            chosen = piece if self.every else piece.take(np.isnan(piece.y))
            if not chosen.n_windows:
                continue
            if self.every:
                yield self._counted(self._table(chosen), chosen.X)
            else:
                waiting = self._still_to_come([*waiting, chosen])
        for piece in waiting:
            yield self._counted(self._table(piece), piece.X)
        if not self.n_forecasts:
            raise too_short(self.name, self.recipe.window, f"a hole in the clock of {self.parts.n_rows} rows")

    def _pieces(self) -> Iterator[PrivilegedWindows]:
        recipe = self.recipe
        try:
            with as_typed(self.name):
                for record in windows_from_parts(
                    self._frames(), _PRESENT, window=recipe.window, horizon=recipe.horizon, privileged=None,
                    privileged_columns=[_PRESENT], groups=self.group, max_gap=parsed_gap(recipe.max_gap),
                    require_target=False,
                ):  # fmt: skip
                    yield from pieces(record)
        except ValueError as error:
            if not is_none_left(error):
                raise

    def _frames(self) -> Iterator[pd.DataFrame]:
        """Yield the inputs in the order of the student, with a column that is never missing."""
        kept = [*self.recipe.columns, *([] if self.group is None else [self.group])]
        path = self.parts.path
        with tqdm(total=self.parts.n_rows, unit="row", unit_scale=True, delay=PATIENCE, desc=path.name) as bar:
            for frame in self.parts:
                labels = None if self.group is None else frame[self.group]
                self.clock.add(frame.index, labels)
                self._check_clock()
                if self.clock.is_known:
                    self._check_step()
                self.ends.add(index_numbers(frame.index), labels)
                yield frame[kept].assign(**{_PRESENT: 1.0})
                bar.update(len(frame))
        self._check_step()

    def _check_clock(self) -> None:
        """Refuse another kind of clock than that of the training."""
        recipe, clock = self.recipe, self.clock
        if recipe.clock == "rows":
            return
        if clock.kind != recipe.clock:
            step = "Convert it, or name another column with --time."
            raise wrong(self.name, f"a file dated by {recipe.clock}, as the training file was", clock.kind, step)
        if clock.kind == "times" and clock.aware is not recipe.aware:
            found = f"times {_OFFSETS[clock.aware]}"
            raise wrong(self.name, f"a file {_OFFSETS[recipe.aware]}, as the training file was", found, "Convert them.")

    def _check_step(self) -> None:
        """Refuse another usual step: it is what the student counts in."""
        recipe, clock = self.recipe, self.clock
        period = clock.period
        if recipe.clock == "rows" or period is None or recipe.period is None:
            return
        slack = 0.15 if clock.kind == "times" and recipe.period > _MONTH else 0.01
        slack = 0.5 if recipe.max_gap is not None and not recipe.even else slack  # no two stretches are alike
        if abs(period - recipe.period) > slack * recipe.period:
            expected = f"a file with a row every {recipe.step}, as the training file was"
            step = f"The student looks {recipe.horizon} such steps ahead: resample the file, or train on one like it."
            raise wrong(self.name, expected, f"one every {step_in_words(clock.kind, period)}", step)

    def _still_to_come(self, waiting: list[PrivilegedWindows]) -> list[PrivilegedWindows]:
        """Return the windows whose target lies behind all rows of their group so far, without a hold on the file."""
        left = [(piece, self.ends.are_before(piece)) for piece in waiting]
        return [owned(piece.take(before)) for piece, before in left if before.any()]

    def _table(self, windows: PrivilegedWindows) -> pd.DataFrame:
        assert windows.spans is not None
        columns: dict[str, Any] = {"origin": windows.origin}
        if self.clock.kind == "times":
            columns = {"origin": pd.Series(self.clock.times(windows.origin))}
        if self.clock.kind != "rows":
            columns["target_time"] = self._due(windows)
        elif self.group is None:  # rows of other groups may come in between
            columns["target_row"] = windows.spans[:, 1]
        if self.group_column is not None:
            columns[self.group_column] = windows.groups
        return pd.DataFrame({**columns, **self.forecaster.predict(windows.X)})

    @property
    def group_column(self) -> str | None:
        """The column of the groups among the forecasts; not one of theirs."""
        taken = ("origin", "target_time", "target_row", "probability", self.recipe.name)
        return f"group {self.group}" if self.group in taken else self.group

    def _due(self, windows: PrivilegedWindows) -> pd.Series:
        """Return the times of the targets: those of their rows in the file, or so many usual steps ahead."""
        assert windows.spans is not None
        due, timed = windows.spans[:, 1], self.clock.kind == "times"
        due = pd.Series(self.clock.times(due) if timed else due)
        to_come = np.flatnonzero(np.isnan(windows.y))
        if len(to_come):
            due.iloc[to_come] = self._later(windows.take(to_come))
            self.n_to_come += len(to_come)
        return due

    def _later(self, windows: PrivilegedWindows) -> Any:
        """Return when targets that the file does not hold are due; missing where nobody knows the step."""
        recipe, clock, timed = self.recipe, self.clock, self.clock.kind == "times"
        origin: Any = windows.origin
        numbers = clock.times(origin).as_unit(str(clock.unit)).asi8 if timed else origin
        steps = np.full(windows.n_windows, recipe.horizon)
        if recipe.max_gap is not None:  # steps may differ: count from the last row rather than from the origin
            numbers, steps = self.ends.reached(numbers, windows.groups)
        origin = clock.times(numbers) if timed else numbers
        calendar = CALENDARS.get(recipe.calendar or "")
        if timed and calendar is not None:
            return calendar.after(origin, steps * recipe.calendar_step)
        period = clock.period or recipe.period
        ahead = steps * (np.nan if period is None else period)
        if not timed:
            return origin + ahead
        return origin + pd.to_timedelta(ahead, unit="s").as_unit(str(clock.unit))

    def _counted(self, table: pd.DataFrame, X: np.ndarray) -> pd.DataFrame:
        empty = table[self.recipe.name].isna().to_numpy()
        self.n_forecasts += len(table)
        self.n_empty += int(empty.sum())
        self.outside.add(X[~empty])
        if self.recipe.threshold is not None:  # labels; missing where there is none
            table[self.recipe.name] = table[self.recipe.name].astype("Int64")
        return table

    @property
    def lines(self) -> list[str]:
        """What a person should know of the forecasts."""
        made, recipe = self.n_forecasts - self.n_empty, self.recipe
        unit = f" in {recipe.units[recipe.target]}" if recipe.target in recipe.units and not recipe.threshold else ""
        what = "origins" if self.every else "origins whose target is not in the file"
        n_origins = self.parts.n_rows if self.every else self.ends.n_origins
        step = step_in_words(self.clock.kind, self.clock.period or recipe.period)
        lines = [f"rows: {self.parts.n_rows}, step {step}",
                 f"forecasts of {recipe.name}{unit}: {made} of {n_origins} {what}"]  # fmt: skip
        if self.n_empty:
            lines.append(f"left empty, an input is missing: {self.n_empty}")
        if n_origins > self.n_forecasts:
            reasons = f"less than {recipe.window} rows, or a hole in the clock, before them"
            lines.append(f"left out, {reasons}: {n_origins - self.n_forecasts}")
        if self.group_column != self.group:
            lines.append(f"the group column {self.group!r} is written as {self.group_column!r}")
        if self.n_to_come and self._nominal:
            lines.append(f"target_time is nominal where the target is not in the file: {self._nominal}")
        if self.ignored:
            lines.append(f"columns that the student does not read: {', '.join(self.ignored)}")
        return [*lines, *self.outside.lines(made)]

    @property
    def _nominal(self) -> str:
        """Why a time ahead may turn out another; empty where it will not."""
        recipe, clock = self.recipe, self.clock
        if clock.kind == "rows":
            return ""
        if recipe.max_gap is not None and not (recipe.even and clock.even):
            return f"so many usual steps behind the last row, though steps up to --max-gap {recipe.max_gap} are allowed"
        if clock.aware and (recipe.shifts or clock.shifts):
            return "days of 24 h, though clocks may be changed in between"
        return ""


class Ends:
    """The last rows of every group so far."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self._tails: dict[Any, np.ndarray] = {}  # clock of the last rows

    def add(self, clock: np.ndarray, labels: Any) -> None:
        """Take the rows of one part."""
        parts = {None: clock} if labels is None else {
            label: clock[rows] for label, rows in pd.Series(clock).groupby(np.asarray(labels)).indices.items()
        }  # fmt: skip
        for label, part in parts.items():
            before = self._tails.get(label)
            self._tails[label] = np.array(part if before is None else np.concatenate([before, part]))[-self.horizon :]

    def are_before(self, windows: PrivilegedWindows) -> np.ndarray:
        """Tell which windows have a target behind the last row of their group."""
        assert windows.spans is not None
        if windows.groups is None:
            return windows.spans[:, 1] > self._tails[None][-1]
        ends = {label: tail[-1] for label, tail in self._tails.items()}
        return windows.spans[:, 1] > np.array([ends[label] for label in windows.groups.tolist()])

    def reached(self, numbers: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the last row before each target that is to come, and how many rows after it the target will be.

        Rows are told by their clock, origins by `numbers` of it.
        """
        reached, steps = np.array(numbers), np.full(len(numbers), self.horizon)
        labels = [None] * len(numbers) if groups is None else groups.tolist()
        for place, (number, label) in enumerate(zip(numbers, labels, strict=True)):
            tail = self._tails[label]
            row = int(np.searchsorted(tail, number))
            if row < len(tail) and tail[row] == number:  # else a hole of the past lies before the target
                reached[place] = tail[-1]
                steps[place] -= len(tail) - 1 - row
        return reached, steps

    @property
    def n_origins(self) -> int:
        """How many rows have their target behind the last row of their group."""
        return sum(map(len, self._tails.values()))


class Outside:
    """How often an input left the range of the training, and how far."""

    def __init__(self, recipe: Recipe) -> None:
        self.units = recipe.units
        self.names = recipe.columns
        self.low, self.high = np.array([recipe.ranges[name] for name in recipe.columns], dtype=np.float64).T
        self.counts = np.zeros(len(self.names), dtype=np.int64)
        self.least, self.most = self.low.copy(), self.high.copy()

    def add(self, X: np.ndarray) -> None:
        """Look at whole windows."""
        if not len(X):
            return
        least, most = X.min(axis=1), X.max(axis=1)
        self.counts += ((least < self.low) | (most > self.high)).sum(axis=0)
        self.least = np.minimum(self.least, least.min(axis=0))
        self.most = np.maximum(self.most, most.max(axis=0))

    def lines(self, n_forecasts: int) -> list[str]:
        """Return a warning for every column that left its range."""
        return [self._line(int(place), n_forecasts) for place in np.flatnonzero(self.counts)]

    def _line(self, place: int, n_forecasts: int) -> str:
        name, low, high = self.names[place], self.low[place], self.high[place]
        below, above = low - self.least[place], self.most[place] - high
        worst = self.most[place] if above >= below else self.least[place]
        unit = f" {self.units[name]}" if name in self.units else ""
        return (
            f"warning: {name!r} leaves the range of the training, {low:g} to {high:g}{unit}, in "
            f"{self.counts[place]} of {n_forecasts} forecasts; the farthest value is {worst:g}"
        )


def open_new(
    name: str, path: Path, forecaster: Forecaster, *, time: str | None, group: str | None, every: bool
) -> NewFile:
    """Open a file for a student, if it has what the student reads.

    Parameters
    ----------
    name : str
        The argument that names the file, for errors.
    path : Path
    forecaster : Forecaster
    time, group : str or None
        Columns; None: those of the training file.
    every : bool
        Whether origins whose target is in the file are predicted too.

    Raises
    ------
    ValueError
        If the file cannot be read, or lacks a column.
    """
    recipe = forecaster.recipe
    check_readable(name, path)
    names = column_names(name, path)
    for column in [*recipe.columns, *([] if time or recipe.time is None else [recipe.time])]:
        if column not in names:
            expected = "a file with the columns of the model"
            step = "Rename one of them" + (", or name the time with --time." if column == recipe.time else ".")
            raise wrong(name, expected, f"none named {column!r}", f"It has: {', '.join(names)}. {step}")
    if group is not None and group not in names:
        raise wrong("--group", f"a column of {path}", repr(group), f"It has: {', '.join(names)}.")
    if group is None and recipe.group is not None and recipe.group not in names:
        expected = f"a column of {path} that tells series apart, as {recipe.group!r} did in training"
        raise wrong("--group", expected, "none", f"It has: {', '.join(names)}. Name or add one; one label will do.")
    group = group or recipe.group
    with as_typed(name):
        parts = read_parts(path, columns=recipe.columns, time=time or recipe.time, group=group, name=name)
    if parts.n_rows < recipe.window:
        raise too_short(name, recipe.window, f"{parts.n_rows} rows")
    ignored = [one for one in names if one not in (*recipe.columns, parts.time, group)]
    return NewFile(name, parts, forecaster, group, every, ignored)


def too_short(name: str, window: int, found: str) -> Exception:
    """Return the error of a file that no forecast can be made from."""
    return wrong(name, f"a file that ends with {window} rows in a row", found, "The student sees that many.")
