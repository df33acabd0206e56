"""The states that a chain walks through: for every time one row of features per window, first what the student sees.

Rows without privileged part have NaN in every state but the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pitskd._lessons import Lesson
from pitskd._validation import check_choice, is_list, wrong

__all__: list[str] = []

_WINDOWS = 'states="windows"', 'states="steps"'
DYNAMICS = 'towards="dynamics"', 'towards="chain"'


@dataclass(frozen=True)
class Walk:
    """How states are made of `X` and `X_privileged`; `alike` asks for states of the same columns throughout."""

    states: str = "steps"
    static: Any = None
    alike: bool = False

    def check(self) -> None:
        """Refuse settings that fit no rows."""
        check_choice("states", self.states, ("steps", "windows"), 'Use "steps" for the privileged steps themselves.')
        if self.states == "windows" and self.static is not None:
            raise wrong("static", 'None with states="windows"', self.static, "Windows hold every channel already.")

    def check_rows(self, lesson: Lesson) -> None:
        """Refuse rows that these settings do not fit."""
        positions = self._positions(lesson)
        if not lesson.privileged.any():
            return
        if self.states == "windows":
            channel_order(lesson, *_WINDOWS)
        elif self.alike:
            self._step_order(lesson, positions)

    def of(self, lesson: Lesson) -> list[np.ndarray]:
        """Return x_0 .. x_S, float arrays of shape (n, d_t)."""
        X = np.asarray(lesson.X, dtype=np.float64)
        if not lesson.privileged.any():
            return [X]
        if self.states == "windows":
            rows, window = whole_path(lesson, *_WINDOWS), _as_steps(lesson.window)[0]
            return [rows[:, t : t + window].reshape(len(X), -1) for t in range(rows.shape[1] - window + 1)]
        static, Z = self._positions(lesson), lesson.Z.reshape(len(X), *_as_steps(lesson.middle))
        if not self.alike:
            seen = np.where(lesson.privileged[:, None], X[:, static], np.nan)
            return [X, *(np.hstack([Z[:, t], seen]) for t in range(Z.shape[1]))]
        moving, order = self.moving(lesson), self._step_order(lesson, static)
        states = [X]
        for t in range(Z.shape[1]):
            state = np.where(lesson.privileged[:, None], X, np.nan)
            state[:, moving] = Z[:, t, order]
            states.append(state)
        return states

    def moving(self, lesson: Lesson) -> np.ndarray:
        """Return the positions of columns of `X` that are not static."""
        return np.setdiff1d(np.arange(lesson.X.shape[1]), self._positions(lesson))

    def _step_order(self, lesson: Lesson, static: np.ndarray) -> np.ndarray:
        """Return the privileged columns in the order of those of `X` that move."""
        moving, width = self.moving(lesson), _as_steps(lesson.middle)[1]
        if len(moving) != width:
            raise wrong(
                "X_privileged", f"of {len(moving)} columns per step, those of X that are not static, "
                "for stationary dynamics", f"{width}", "Name the static columns of X, or use stationary=False.",
            )  # fmt: skip
        names = None if lesson.features is None else [lesson.features[column] for column in moving]
        return _by_name(names, lesson.names, width)

    def _positions(self, lesson: Lesson) -> np.ndarray:
        """Return `static` as positions of columns of `X`."""
        if self.static is None:
            return np.empty(0, dtype=np.intp)
        d, names = lesson.X.shape[1], lesson.features or ()
        listed = list(self.static) if is_list(self.static) else [self.static]
        places = [names.index(column) if isinstance(column, str) and column in names else column for column in listed]
        fitting = [isinstance(p, int | np.integer) and not isinstance(p, bool) and 0 <= p < d for p in places]
        if not all(fitting) or len(set(places)) < len(places):
            expected = f"distinct columns of X, positions 0 .. {d - 1}" + (" or names" if names else "")
            raise wrong("static", expected, self.static, "Name the columns that do not change with time.")
        return np.asarray(places, dtype=np.intp)


def whole_path(lesson: Lesson, needed_by: str, instead: str = "other states") -> np.ndarray:
    """Return input window and middle as one, (n, window + S, c), channels in the order of `X`."""
    order = channel_order(lesson, needed_by, instead)
    X = np.asarray(lesson.X, dtype=np.float64).reshape(len(lesson.X), *_as_steps(lesson.window))
    Z = lesson.Z.reshape(len(lesson.X), *_as_steps(lesson.middle))
    return np.concatenate([X, Z[:, :, order]], axis=1)


def channels_agree(lesson: Lesson) -> bool:
    """Tell whether the channels of X_privileged, if any, are those of `X`, by name, else by number."""
    if not lesson.middle or _as_steps(lesson.window)[1] != _as_steps(lesson.middle)[1]:
        return False
    return not _one_sided(lesson.features or (), lesson.names or ())


def follows(lesson: Lesson) -> bool:
    """Tell whether the first privileged row seems to be the one right after the input window.

    Nothing in the arrays says how far ahead it lies. A channel that drifts moves further over a gap than over a step:
    where the step into the middle is half as long again as any other, rows are taken to be missing between.
    """
    path = whole_path(lesson, "dynamics", "other candidates")[lesson.privileged]
    if path.shape[1] < 4:  # two other steps at least to compare with
        return True
    moves = np.abs(np.diff(path, axis=1))
    usual = np.nanmean(moves, axis=(0, 1))
    if not (usual > 0).any():
        return True
    # The median window: a few strange rows must not decide for all.
    lengths = np.median((moves[..., usual > 0] / usual[usual > 0]).mean(axis=2), axis=0)
    into = path.shape[1] - _as_steps(lesson.middle)[0] - 1
    return bool(lengths[into] <= 1.5 * np.delete(lengths, into).max())


def channel_order(lesson: Lesson, needed_by: str, instead: str = "other states") -> np.ndarray:
    """Return the privileged channels in the order of those of `X`: by name, else by position.

    The error of channels that do not correspond names the setting that needs them and the one to use instead.
    """
    (window, channels), (steps, privileged) = _as_steps(lesson.window), _as_steps(lesson.middle)
    if channels != privileged:
        raise wrong(
            "X_privileged", f"of the {channels} channels of X at every step after the window, for {needed_by}",
            f"{steps} steps of {privileged} beside X with {window} of {channels}",
            f"Pass X (n, window, c) and X_privileged (n, steps, c), or use {instead}.",
        )  # fmt: skip
    return _by_name(None if lesson.features is None else list(lesson.features), lesson.names, channels)


def _by_name(features: list[str] | None, names: tuple[str, ...] | None, width: int) -> np.ndarray:
    if features is None or names is None or not set(features) & set(names):
        return np.arange(width)
    if missing := _one_sided(features, names):
        expected = "of the columns of X, or of names that X has none of"
        raise wrong("X_privileged", expected, f"no column {missing[0]}", "Rename the columns.")
    return np.array([names.index(name) for name in features])


def _one_sided(features: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return columns of X that the middle has not, where it has others of them."""
    return sorted(set(features) - set(names)) if set(features) & set(names) else []


def _as_steps(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return steps and channels of a trailing shape; rows of columns are one step."""
    return (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])
