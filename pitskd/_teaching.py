"""The teacher: how it is fitted and asked, and how the privileged rows that it sees are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from pitskd._lessons import Folds, Lesson, Task, check_takes_weights, fit_weighted, split_rows
from pitskd._validation import check_finite, check_floats, check_same_rows, has_finite_sum, wrong

__all__: list[str] = []


@dataclass(frozen=True)
class Teaching:
    """How the teacher is fitted and asked."""

    task: Task
    teacher: Any
    transformer: Any
    cross_fit: Any

    @property
    def model(self) -> Any:
        """What is fitted: the teacher behind its scaler, or the fitted teacher itself."""
        if is_prefitted(self.teacher, self.cross_fit):
            return self.teacher
        teacher = self.task.default() if self.teacher is None else clone(self.teacher)
        if isinstance(self.transformer, str):
            return teacher
        return make_pipeline(StandardScaler() if self.transformer is None else clone(self.transformer), teacher)

    def check(self, lesson: Lesson) -> Folds:
        """Refuse rows that can not be taught from, before any training; return the folds of `cross_fit`."""
        if is_prefitted(self.teacher, self.cross_fit):
            return []
        if lesson.weight is not None:
            check_takes_weights("teacher", self.model)
        own = check_privileged_rows(self.task, lesson, "Pass more rows, or a prefitted teacher.")
        counts = own.counts
        folds = [] if self.cross_fit is None else split_rows("cross_fit", self.cross_fit, self.task, own)
        if not all(self.task.can_learn(own.hard[train][counts[train]]) for train, _ in folds):
            expected = "a splitter whose training parts hold two rows, of two classes"
            raise wrong("cross_fit", expected, self.cross_fit, "Use fewer folds or more rows.")
        return folds

    def check_width(self, lesson: Lesson, step: str) -> None:
        """Refuse a fitted teacher that has seen other columns."""
        width = getattr(self.teacher, "n_features_in_", None)
        if is_prefitted(self.teacher, self.cross_fit) and width not in (None, lesson.Z.shape[1]):
            expected = f"what the fitted teacher knows, {width} columns in all"
            raise wrong("X_privileged", expected, f"{lesson.Z.shape[1]}", step)

    def run(self, lesson: Lesson) -> tuple[Any, np.ndarray]:
        """Return the fitted teacher and its scores (n, k); NaN where it may not or cannot speak."""
        folds = self.check(lesson)
        scores = np.full(lesson.hard.shape, np.nan)
        if is_prefitted(self.teacher, self.cross_fit):
            teacher, asked = self.teacher, lesson.privileged
        else:
            own = np.flatnonzero(lesson.labelled & lesson.privileged)
            teacher = self._fit(lesson.rows(own))
            asked = lesson.privileged if self.cross_fit is None else lesson.privileged & ~lesson.labelled
            # No row is taught by a teacher that has seen its target.
            for train, test in folds:
                scores[own[test]] = self.ask(self._fit(lesson.rows(own[train])), lesson.rows(own[test]))
        if asked.any():
            scores[asked] = self.ask(teacher, lesson.rows(asked))
        return teacher, scores

    def ask(self, teacher: Any, lesson: Lesson) -> np.ndarray:
        """Return the teacher's scores (n, k); one that was fitted to frames elsewhere gets its names to compare."""
        named = lesson.names is not None and hasattr(teacher, "feature_names_in_")
        Z: Any = pd.DataFrame(lesson.Z, columns=pd.Index(lesson.names)) if named else lesson.Z
        return self.task.scores(teacher, Z)

    def _fit(self, lesson: Lesson) -> Any:
        return fit_weighted("teacher", self.model, lesson.Z, lesson.y, lesson.weight)


def check_privileged_rows(task: Task, lesson: Lesson, step: str) -> Lesson:
    """Return the rows with label and privilege; refuse too few of them."""
    own = lesson.rows(lesson.labelled & lesson.privileged)
    if not task.can_learn(own.hard[own.counts]):
        expected, got = "present in labelled rows, at least two and of two classes", f"{len(own.X)} rows with label"
        raise wrong("X_privileged", expected, f"{got} and privilege", step)
    return own


def is_prefitted(teacher: Any, cross_fit: Any) -> bool:
    """Tell whether the teacher is used as it is."""
    return (isinstance(cross_fit, str) and cross_fit == "prefit") or isinstance(teacher, FrozenEstimator)


def check_prefitted(teacher: Any, cross_fit: Any) -> None:
    """Refuse a teacher that is said to be fitted and is not."""
    if not is_prefitted(teacher, cross_fit):
        return
    try:
        check_is_fitted(teacher)
    except (NotFittedError, TypeError):
        template = teacher.estimator if isinstance(teacher, FrozenEstimator) else teacher
        shown = "None" if template is None else f"an unfitted {type(template).__name__}"
        step = "Fit it first (and wrap it in FrozenEstimator, which a clone keeps fitted), or leave cross_fit=None."
        raise wrong("teacher", "fitted, because it is used as it is", shown, step, NotFittedError) from None


def check_transformer(value: Any) -> None:
    """Refuse what can not scale the teacher's features."""
    passthrough = isinstance(value, str) and value == "passthrough"
    if value is not None and not passthrough and (isinstance(value, type) or not hasattr(value, "transform")):
        expected = 'a transformer, "passthrough" or None'
        raise wrong("privileged_transformer", expected, value, "Use e.g. sklearn.preprocessing.RobustScaler().")


def accepts_nan(estimator: Any) -> bool:
    """Tell whether missing values may enter: a pipeline takes them if each step up to its first imputer does."""
    if isinstance(estimator, Pipeline):
        for step in _leaves(estimator):
            if not accepts_nan(step) or type(step).__module__.startswith("sklearn.impute"):
                return accepts_nan(step)
        return True
    inner = getattr(estimator, "estimator", None)
    return get_tags(estimator).input_tags.allow_nan or (hasattr(inner, "fit") and accepts_nan(inner))


def _leaves(pipeline: Any) -> Iterator[Any]:
    """Yield the steps of a pipeline and of the pipelines in it."""
    for _, step in pipeline.steps:
        if isinstance(step, Pipeline):
            yield from _leaves(step)
        elif step is not None and not isinstance(step, str):
            yield step


@dataclass(frozen=True, eq=False)
class Privilege:
    """X_privileged as read: columns, rows that have it, names of the columns, trailing shape."""

    Z: np.ndarray
    rows: np.ndarray
    names: tuple[str, ...] | None = None
    shape: tuple[int, ...] = ()


def read_privileged(
    X: np.ndarray, values: Any, sees_both: bool, allows_holes: Callable[[], bool], learner: str = "teacher"
) -> Privilege:
    """Return what the teacher sees (n, d_teacher), which rows have it, and what it was called."""
    nothing = Privilege(np.empty((len(X), 0)), np.zeros(len(X), dtype=bool))
    if values is None:
        return nothing
    names = tuple(map(str, values.columns)) if hasattr(values, "columns") else None
    flat, shape = flatten("X_privileged", values)
    Z = check_floats("X_privileged", flat)
    if Z.ndim not in (1, 2):
        expected = "of shape (n, d) or (n, steps, channels)"
        raise wrong("X_privileged", expected, f"shape {Z.shape}", "Pass a dense array with one row per row of X.")
    Z = Z[:, None] if Z.ndim == 1 else Z
    check_same_rows("X_privileged", len(Z), len(X), "Pass the rows of the same windows, e.g. `w.take(rows)`.")
    if Z.shape[1] == 0 and not sees_both:
        return nothing
    if has_finite_sum(Z) and (not sees_both or has_finite_sum(X)):
        seen = np.hstack([X, Z]) if sees_both else Z
        return Privilege(seen, np.ones(len(X), dtype=bool), names, shape if len(shape) == 2 else Z.shape[1:])
    missing = np.isnan(Z)
    check_finite("X_privileged", np.where(missing, 0.0, Z), "Replace infinities by NaN or a bound.")
    privileged = np.logical_not(missing.all(axis=1)) if Z.shape[1] else np.ones(len(X), dtype=bool)
    seen = np.hstack([X, Z]) if sees_both else Z
    holes = np.isnan(seen).any(axis=1) & privileged
    if holes.any() and not allows_holes():
        row = int(np.flatnonzero(holes)[0])
        name = "X_privileged" if missing[row].any() else "X"
        expected, step = "complete, or all NaN in a row", "Impute it, or blank the row of X_privileged."
        if learner:
            expected = f"complete where the {learner} sees it, or X_privileged all NaN"
            step = f"Impute it, blank the row of X_privileged, or use a {learner} that accepts NaN."
        raise wrong(name, expected, f"NaN in part of row {row}", step)
    return Privilege(seen, privileged, names, shape if len(shape) == 2 else Z.shape[1:])


def flatten(name: str, values: Any) -> tuple[Any, tuple[int, ...]]:
    """Return windows (n, steps, channels) as (n, steps * channels), time-major, and their trailing shape."""
    try:
        shape = tuple(getattr(values, "shape", ())) or np.asarray(values).shape
    except ValueError:  # a ragged list, which is refused where it is read
        shape = ()
    if len(shape) == 3:
        return np.asarray(values).reshape(shape[0], shape[1] * shape[2]), shape[1:]
    if len(shape) > 3:
        raise wrong(name, "of shape (n, d) or (n, steps, channels)", f"shape {shape}", "Flatten what lies beyond.")
    return values, shape[1:]
