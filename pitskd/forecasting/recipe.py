"""What a forecasting student must know of the files it reads: it travels in the notes of the model file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from pitskd._validation import wrong
from pitskd.forecasting.clock import CALENDARS, step_in_words
from pitskd.persistence import load, model_facts

__all__ = ["Forecaster", "Recipe", "load_forecaster"]

RIDGE = "ridge"  # the student that takes windows flattened
_KEY = "forecast"  # of the notes
_TRAIN = "Train one with pitskd fit."


def as_read(X: np.ndarray, student: str) -> np.ndarray:
    """Return windows as the student takes them: scikit-learn's own kind has two axes."""
    return X.reshape(len(X), -1) if student == RIDGE else X


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _integer(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value)) and len(set(value)) == len(value)


def _range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and value[0] <= value[1]


def _by_name(value: Any, kind: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(_text, value)) and all(map(kind, value.values()))


_KINDS: dict[str, Callable[[Any], bool]] = {  # what a recipe may hold
    "target": _text, "window": lambda value: _integer(value, 1), "horizon": lambda value: _integer(value, 1),
    "threshold": lambda value: value is None or _number(value), "columns": lambda value: _texts(value) and bool(value),
    "privileged_columns": _texts,
    "privileged_steps": lambda value: isinstance(value, list) and all(_integer(one, -10**9) for one in value),
    "time": _text_or_none, "group": _text_or_none, "max_gap": lambda value: _text_or_none(value) or _number(value),
    "clock": lambda value: value in ("rows", "numbers", "times"), "aware": _truth,
    "period": lambda value: value is None or (_number(value) and value > 0),
    "ranges": lambda value: _by_name(value, _range), "student": _text, "rows": _integer, "windows": _integer,
    "stride": lambda value: _integer(value, 1), "file": _text,
    "calendar": lambda value: value is None or value in CALENDARS, "calendar_step": lambda value: _integer(value, 1),
    "even": _truth, "shifts": _truth, "units": lambda value: _by_name(value, _text),
    "dropped": lambda value: _by_name(value, _integer),
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How the windows of a student were cut, and what its file looked like.

    Parameters
    ----------
    target : str
    window, horizon : int
        In rows.
    threshold : float or None
    columns : list of str
        Inputs, in order.
    privileged_columns : list of str
        Columns that the teacher saw.
    privileged_steps : list of int
        Rows that the teacher saw, from the origin.
    time, group : str or None
        Columns of the file.
    max_gap : str, float or None
    clock : str
        "rows", "numbers" or "times".
    aware : bool
        Whether the times have an offset from UTC.
    period : float or None
        Usual step, in seconds for times.
    calendar : str or None
        By which rows are more regular than in time.
    calendar_step : int
        Usual step in it.
    even : bool
        Whether every step was the usual one.
    shifts : bool
        Whether clocks were changed.
    ranges : dict of str to list of float
        Least and largest value of every input.
    units : dict of str to str
    student : str
    rows, windows, stride : int
        Learnt from.
    dropped : dict of str to int
        Windows left out, by reason.
    file : str
        Name of the file, without its folder.
    """

    target: str
    window: int
    horizon: int
    threshold: float | None
    columns: list[str]
    privileged_columns: list[str]
    privileged_steps: list[int]
    time: str | None
    group: str | None
    max_gap: Any
    clock: str
    aware: bool
    period: float | None
    ranges: dict[str, Sequence[float]]
    student: str
    rows: int
    windows: int
    stride: int
    file: str
    calendar: str | None = None
    calendar_step: int = 1
    even: bool = False
    shifts: bool = False
    units: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def step(self) -> str:
        """The usual step of the clock in words."""
        return step_in_words(self.clock, self.period)

    @property
    def name(self) -> str:
        """What is forecast, such as ``"pm2.5+48"`` or ``"pm2.5+48>75"``."""
        event = "" if self.threshold is None else f">{self.threshold:g}"
        return f"{self.target}+{self.horizon}{event}"

    @property
    def notes(self) -> dict[str, Any]:
        """What travels with the model."""
        return {_KEY: asdict(self)}

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> Recipe:
        """Return the recipe in the notes of a model file; a KeyError, TypeError or ValueError where there is none."""
        given = notes[_KEY]
        later = ("calendar", "calendar_step", "even", "shifts")  # not in the notes of older versions
        recipe = cls(**{one.name: given[one.name] for one in fields(cls) if one.name in given or one.name not in later})
        for one in fields(cls):
            if not _KINDS[one.name](getattr(recipe, one.name)):
                raise KeyError(one.name)
        if not all(name in recipe.ranges for name in recipe.columns):
            raise KeyError("ranges")
        return recipe


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A student and its recipe.

    Parameters
    ----------
    model : estimator
        With `predict` of windows (n, window, n_columns); events also with `predict_proba`.
    recipe : Recipe
    """

    model: Any
    recipe: Recipe

    def predict(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Return predictions of whole windows by the name of their column; NaN where an input is missing."""
        whole = ~np.asarray(np.isnan(X).any(axis=(1, 2)))
        said = {self.recipe.name: self._filled(whole, self.model.predict, X)}
        if self.recipe.threshold is not None and hasattr(self.model, "predict_proba"):
            said["probability"] = self._filled(whole, lambda rows: self.model.predict_proba(rows)[:, -1], X)
        return said

    def _filled(self, whole: np.ndarray, say: Callable[[np.ndarray], Any], X: np.ndarray) -> np.ndarray:
        values = np.full(len(X), np.nan)
        if whole.any():
            values[whole] = say(as_read(X if whole.all() else X[whole], self.recipe.student))
        return values


def load_forecaster(name: str, path: Path) -> Forecaster:
    """Return the student of a file that `pitskd fit` wrote.

    Parameters
    ----------
    name : str
        The option or argument that named the file, for errors.
    path : Path

    Raises
    ------
    ValueError
        If there is no such file, it is no model file, is damaged, was written by a newer pitskd, or its model is
        another one.
    """
    try:
        facts = model_facts(path)
        model = load(path) if _KEY in facts["notes"] else None
    except ValueError as error:
        raise type(error)(name + str(error).removeprefix("path")) from None
    if model is None:
        raise wrong(name, "a model of pitskd fit", facts["model"], _TRAIN)
    try:
        recipe = Recipe.of(facts["notes"])
        fits = model.n_features_in_ == recipe.window * len(recipe.columns)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found = f"{facts['model']} with other notes (see {error.args[0] if error.args else _KEY})"
        raise wrong(name, "a model of pitskd fit", found, _TRAIN) from None
    if not fits:
        found = f"{facts['model']} of other inputs than its notes say"
        raise wrong(name, "a model of pitskd fit", found, _TRAIN)
    return Forecaster(model, recipe)
