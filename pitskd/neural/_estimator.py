"""What neural students share: reading rows, training one or a grid of them, and the best of a search."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ParameterGrid
from torch import nn

from pitskd._estimator import Distillation, Searching
from pitskd._folds import default_folds
from pitskd._lessons import Classification, Lesson, Task
from pitskd._random import stage_seed
from pitskd._teaching import check_prefitted, check_transformer, is_prefitted
from pitskd._validation import (
    check_choice,
    check_fraction,
    check_penalties,
    check_positive,
    check_splitter,
    is_list,
    wrong,
)
from pitskd.neural._fitting import warn_of_end
from pitskd.neural._learning import Fitted, Group, Pupil, warn_of_weak_teacher
from pitskd.neural._material import Split, check_class_weights, classes_of, privilege_alone, split_in_time
from pitskd.neural._settings import check_builder, check_training
from pitskd.neural._student import NetworkStudent
from pitskd.neural._teachers import is_builder, listed

__all__: list[str] = []

_OWN = ("imitation", "temperature", "learning_rate", "random_state", "y")  # what students of one stack may differ in


class Neural(Distillation):
    """A student that is a network."""

    teacher: Any
    student: Any
    imitation: float
    soft_loss: Any
    hints: Any
    teacher_sees: str
    teacher_weights: Any
    cross_fit: Any
    privileged_transformer: Any
    learning_rate: float
    warm_start: bool
    random_state: Any
    validation: float | None
    student_: NetworkStudent

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Fit the teacher, then the student.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What the student sees, rows in order of time. Its network gets (batch, n_channels, window), or
            (batch, d, 1).
        y : array of shape (n,), or (n, n_targets) for regression
            Targets; NaN or None where missing (such rows learn from the teacher alone).
        X_privileged : array of shape (n, d) or (n, n_steps, n_privileged_channels), default=None
            What only the teacher sees; a row that is all NaN has no privileged part and keeps its hard target.
        sample_weight : array of shape (n,), default=None
            Weights of rows, for teacher, student and early stopping. A row of weight 0 is left out.

        Returns
        -------
        self : object

        Warns
        -----
        ConvergenceWarning
            If the loss became NaN, or training was interrupted: the best weights so far are kept.
        UserWarning
            If there is nothing to be taught by, or the teacher is no better than the student on held-out rows.
        """
        task = self._task()
        lesson = self._lesson(task, X, y, X_privileged, sample_weight)
        (fitted,) = Group([self._pupil(task, lesson, split_in_time(task, lesson, self.validation))]).fit()
        return self._accept(task, fitted)

    def fit_grid(
        self,
        X: Any,
        y: Any,
        grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
        *,
        X_privileged: Any = None,
        sample_weight: Any = None,
    ) -> list[Any]:
        """Fit a student per point of a grid; those of one architecture train as one network.

        Each is what `fit` of a clone with these parameters gives, to the precision of the arithmetic. Students that
        differ in `imitation`, `temperature`, `learning_rate`, `random_state` or targets share every step; other
        parameters make groups of their own.

        Parameters
        ----------
        X, X_privileged, sample_weight : array
            As in `fit`.
        y : array
            As in `fit`, for points without targets of their own.
        grid : mapping of str to sequences, or sequence of mappings
            Parameters and their values, all combinations as in ``ParameterGrid``; or points one by one. The name "y"
            stands for the targets.

        Returns
        -------
        students : list of estimators
            Fitted, in the order of ``ParameterGrid(grid)``, or of the points.

        Warns
        -----
        ConvergenceWarning
            As `fit`; if interrupted, those of groups that were not reached are left unfitted.
        """
        points = self._points(grid)
        models = [self._at(point) for point in points]
        lessons: dict[tuple[Any, ...], tuple[Any, Task, Lesson]] = {}
        splits: dict[tuple[Any, ...], Split] = {}
        groups: dict[tuple[Any, ...], list[Pupil]] = {}
        distinct: dict[str, list[Any]] = {}
        for model, point in zip(models, points, strict=True):
            target = point.get("y", y)
            read = id(target), id(point.get("classes")), model._sees_both()
            if read in lessons:
                reader, task, lesson = lessons[read]
                model._check_settings(task)
                model._look_like(reader)
                model._check_lesson(task, lesson, {model.imitation})
            else:
                task = model._task()
                lesson = model._lesson(task, X, target, X_privileged, sample_weight)
                lessons[read] = model, task, lesson
            key = *read, model.validation
            splits[key] = splits.get(key) or split_in_time(task, lesson, model.validation)
            others = ((name, _place(value, distinct.setdefault(name, []))) for name, value in point.items())
            kind = (*sorted(pair for pair in others if pair[0] not in _OWN), *_kind(task, lesson, splits[key]))
            groups.setdefault(kind, []).append(model._pupil(task, lesson, splits[key]))
        self._fit_groups(list(groups.values()))
        return models

    def _fit_groups(self, groups: list[list[Pupil]]) -> None:
        """Fit one group after the other; an interruption keeps those that are fitted."""
        heard: dict[Any, Any] = {}
        for number, pupils in enumerate(groups):
            try:
                fitted = Group(pupils, heard).fit()
            except KeyboardInterrupt:
                if not number:
                    raise
                return _warn_of_rest(groups[number:])
            for pupil, one in zip(pupils, fitted, strict=False):
                pupil.model._accept(pupil.task, one)
            rest = [left for left in (pupils[len(fitted) :], *groups[number + 1 :]) if left]
            if rest and (len(fitted) < len(pupils) or fitted[-1].student.ended == "interrupted"):
                return _warn_of_rest(rest)
        return None

    def _points(self, grid: Any) -> list[dict[str, Any]]:
        step = 'Use e.g. {"imitation": [0.0, 0.5, 1.0]}.'
        if not isinstance(grid, Mapping) and not (is_list(grid) and all(isinstance(one, Mapping) for one in grid)):
            raise wrong("grid", "a mapping of names to sequences, or a list of mappings", grid, step, TypeError)
        points = list(ParameterGrid(dict(grid))) if isinstance(grid, Mapping) else [dict(point) for point in grid]
        if not points:
            raise wrong("grid", "at least one point", grid, step)
        known = self.get_params(deep=False)
        for name in dict.fromkeys(name for point in points for name in point):
            if name != "y" and name not in known:
                raise wrong("grid", "of parameters of this student, or y", name, f"It has: {', '.join(known)}.")
        return points

    def _at(self, point: Mapping[str, Any]) -> Any:
        """Return this student with other parameters; a fitted teacher stays fitted, as a clone of it would not."""
        own = {name: value for name, value in point.items() if name != "y"}
        return type(self)(**{**self.get_params(deep=False), **own})

    def _look_like(self, reader: Any) -> None:
        """Take over what another has learnt of the shape and the names of rows."""
        for name in ("n_features_in_", "feature_names_in_", "privileged_feature_names_in_", "_trailing_shape"):
            if hasattr(reader, name):
                setattr(self, name, getattr(reader, name))

    def _lesson(self, task: Task, X: Any, y: Any, X_privileged: Any, sample_weight: Any) -> Lesson:
        """Return all rows that count, checked."""
        lesson = self._read(task, X, y, X_privileged, sample_weight, set())
        return lesson if lesson.weight is None else lesson.rows(lesson.weight > 0)

    def _pupil(self, task: Task, lesson: Lesson, split: Split) -> Pupil:
        """Return what is to be fitted; without privileged rows nothing is asked of a teacher."""
        imitation, free = float(self.imitation), self.soft_loss is not None and not self.soft_loss.needs_teacher
        asks = (imitation > 0.0 and not free) or any(loss.needs_teacher for loss, _ in self.hints)
        if asks and not self._can_teach(lesson):
            imitation = imitation if free else 0.0
        return Pupil(self, task, lesson, split, imitation, stage_seed(self.random_state, "neural"))

    def _check_settings(self, task: Task) -> None:
        check_fraction("imitation", self.imitation, "Use 1.0 to learn from soft targets only.")
        check_training(self)
        check_choice("teacher_sees", self.teacher_sees, ("privileged", "both"), 'Use "both" for [X, X_privileged].')
        check_transformer(self.privileged_transformer)
        if isinstance(weights := getattr(self, "class_weight", None), dict):
            check_penalties("class_weight", list(weights.values()))
        if (levels := getattr(self, "quantiles", None)) is not None and not is_list(levels):
            raise wrong(
                "quantiles", "a sequence of levels above 0 and below 1, or None", levels, "Use e.g. (0.1, 0.9)."
            )
        check_builder("student", self.student)
        teachers = listed(self.teacher)
        if not teachers:
            raise wrong("teacher", "at least one teacher, or None for an MLP", self.teacher, "Leave it None.")
        if not (isinstance(self.cross_fit, str) and self.cross_fit == "prefit"):
            check_splitter("cross_fit", self.cross_fit, 'Use e.g. 5, a splitter, "prefit" or None.')
        for teacher in teachers:
            self._check_teacher(task, teacher)
        if self.teacher_weights is not None:
            weights = check_penalties("teacher_weights", self.teacher_weights)
            if len(weights) != len(teachers) or not weights.sum() > 0:
                expected = f"{len(teachers)} numbers, one per teacher, not all 0"
                raise wrong("teacher_weights", expected, self.teacher_weights, "Leave it None for equal weights.")

    def _check_teacher(self, task: Task, teacher: Any) -> None:
        prefit = isinstance(self.cross_fit, str)  # "prefit", as no other text is allowed
        if isinstance(teacher, nn.Module) or (is_builder(teacher) and not prefit):
            return
        check_prefitted(teacher, self.cross_fit)
        task.check_teacher(teacher)

    def _check_lesson(self, task: Task, lesson: Lesson, imitations: set[float]) -> None:
        self._check_resumed(task, lesson)
        check_class_weights(task, getattr(self, "class_weight", None))
        if not task.can_learn(lesson.hard[lesson.counts]) and not self._needs_no_label(lesson):
            classes = " and of two classes" if isinstance(task, Classification) else ""
            expected, got = f"present in two rows of weight above 0{classes}", np.count_nonzero(lesson.counts)
            raise wrong(
                "y", expected, f"{got} such rows", "Pass more labelled rows, or imitation=1 with a fitted teacher."
            )

    def _needs_no_label(self, lesson: Lesson) -> bool:
        fitted = all(isinstance(one, nn.Module) or is_prefitted(one, self.cross_fit) for one in listed(self.teacher))
        return fitted and self.imitation == 1.0 and bool(lesson.privileged.any())

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "student_")  # rows are read, and their shape is known, before anything is learnt

    def _template(self) -> Any:
        return None

    def _sees_both(self) -> bool:
        return self.teacher_sees == "both"

    def _resumed(self) -> NetworkStudent | None:
        """Return the student that a warm start goes on from."""
        return getattr(self, "student_", None) if self.warm_start else None

    def _check_resumed(self, task: Task, lesson: Lesson) -> None:
        """Refuse rows and targets that the student of a warm start was not made for."""
        before, step = self._resumed(), "Use warm_start=False."
        if before is None:
            return
        if tuple(before.shape) != tuple(lesson.window):
            expected = f"of shape (n, {', '.join(map(str, before.shape))}) as in the fit that warm_start goes on from"
            raise wrong("X", expected, f"rows of shape {tuple(lesson.window)}", step)
        known, told = classes_of(task), before.classes_
        if known is not None and told is not None and not np.array_equal(known, told):
            expected = f"of the classes {told.tolist()} of the fit that warm_start goes on from"
            raise wrong("y", expected, f"{known.tolist()}", step)
        levels = getattr(self, "quantiles", None)
        if (None if levels is None else tuple(levels)) != before.quantiles:
            expected = f"{before.quantiles} as in the fit that warm_start goes on from"
            raise wrong("quantiles", expected, levels, step)
        n_targets = before.sizes["n_outputs"] // len(before.quantiles or (0,))
        if n_targets != lesson.hard.shape[1]:
            expected = f"{n_targets} targets per row as in the fit that warm_start goes on from"
            raise wrong("y", expected, f"{lesson.hard.shape[1]}", step)

    def _accept(self, task: Task, fitted: Fitted) -> Any:
        """Store what was learnt."""
        self.student_, self.teacher_ = fitted.student, fitted.teacher
        self.history_ = pd.DataFrame(fitted.student.history).set_index("epoch")
        self.best_epoch_, self.ended_ = fitted.student.best_epoch, fitted.student.ended
        self.student_loss_, self.teacher_loss_ = fitted.student_loss, fitted.teacher_loss
        warn_of_end("student", fitted.student, self.learning_rate, self._caller + 1)
        warn_of_weak_teacher(self.student_loss_, self.teacher_loss_, self._caller + 1)
        return self._finish(task)


def _kind(task: Task, lesson: Lesson, split: Split) -> tuple[Any, ...]:
    """Return what students must have in common to train as one: rows, which of them have targets, and classes."""
    classes = classes_of(task)
    told = None if classes is None else tuple(classes.tolist())
    return told, lesson.hard.shape, lesson.counts.tobytes(), *(rows.tobytes() for rows in split)


def _place(value: Any, distinct: list[Any]) -> int:
    """Return the place of a parameter among those that differ, where it is added if it is new."""
    for place, other in enumerate(distinct):
        if _alike(value, other):
            return place
    distinct.append(value)
    return len(distinct) - 1


def _alike(value: Any, other: Any) -> bool:
    if isinstance(value, partial) and isinstance(other, partial):
        return (value.func, value.args, value.keywords) == (other.func, other.args, other.keywords)
    if value is other or type(value) is not type(other):
        return value is other
    same = value == other
    return bool(same) if isinstance(same, bool | np.bool_) else False


def _warn_of_rest(groups: list[list[Pupil]]) -> None:
    left = sum(len(pupils) for pupils in groups)
    warnings.warn(
        f"Training was interrupted: {left} students of the grid are left unfitted. Fit their points again.",
        ConvergenceWarning,
        stacklevel=4,
    )


class NeuralSearch(Searching):
    """The best of a grid of neural students by held-out loss, then fitted to all rows."""

    estimator: Any
    imitations: Any
    learning_rates: Any

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Search by held-out loss, then fit the best student to all rows.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What the student sees, rows in order of time.
        y : array of shape (n,), or (n, n_targets) for regression
            Targets; NaN or None where missing (such rows learn from the teacher alone and are never scored).
        X_privileged : array of shape (n, d) or (n, n_steps, n_privileged_channels), default=None
            What only the teacher sees; a row that is all NaN has no privileged part and keeps its hard target.
        sample_weight : array of shape (n,), default=None
            Weights of rows, in training and held-out loss.

        Returns
        -------
        self : object
        """
        task, model = self._task(), self._model()
        points = self._points()
        lesson = self._read(task, X, y, X_privileged, sample_weight, {point["imitation"] for point in points})
        free = model.soft_loss is not None and not model.soft_loss.needs_teacher
        if not free and not lesson.privileged.any() and any(point["imitation"] > 0 for point in points):
            self._warn_untaught()
            plain = {"imitation": 0.0, **self._temperatures(0.0)[0]}
            points = [{**plain, "learning_rate": rate} for rate in dict.fromkeys(p["learning_rate"] for p in points)]
        folds = default_folds(task, privilege_alone(lesson)) if self.cv is None else self._splits(task, lesson, None)
        if not folds:
            raise wrong("cv", "a splitter that holds out labelled rows", self.cv, "Pass more rows, or your own cv.")
        weights = np.ones(len(lesson.X)) if lesson.weight is None else lesson.weight
        losses = np.stack([self._fold_losses(model, task, lesson, points, *fold) for fold in folds])
        settings = {name: np.array([point[name] for point in points]) for name in points[0]}
        self._choose_best(settings, losses, np.array([weights[test].sum() for _, test in folds]))
        best = model._at(self.best_params_)
        best.fit(X, y, X_privileged=X_privileged, sample_weight=sample_weight)
        self.best_estimator_, self.student_, self.teacher_ = best, best.student_, best.teacher_
        return self._finish(task)

    def _fold_losses(
        self, model: Any, task: Task, lesson: Lesson, points: list[dict[str, Any]], train: np.ndarray, test: np.ndarray
    ) -> np.ndarray:
        """Return the summed held-out loss of every point, all students of a fold trained as one."""
        part, held_out = lesson.rows(train), lesson.rows(test)
        if part.weight is not None:
            part = part.rows(part.weight > 0)
        students = [model._at(point) for point in points]
        for student in students:
            student._look_like(self)
        split = split_in_time(task, part, model.validation)
        fitted = Group([student._pupil(task, part, split) for student in students]).fit()
        if len(fitted) < len(students) or any(one.student.ended == "interrupted" for one in fitted):
            raise KeyboardInterrupt  # a search is of no use half done
        weight = np.ones(len(test)) if held_out.weight is None else held_out.weight
        lost = [task.losses(self._said(task, one.student, held_out.X), held_out.hard) @ weight for one in fitted]
        return np.nan_to_num(np.array(lost), nan=np.inf)

    def _said(self, task: Task, student: NetworkStudent, X: np.ndarray) -> np.ndarray:
        if isinstance(task, Classification):
            return student.predict_proba(X)
        return student.predict(X).reshape(len(X), -1)

    def _model(self) -> Any:
        """Return the student whose settings are searched."""
        if self.estimator is None:
            return self._default()
        if type(self.estimator) is not type(self._default()):
            kind = type(self._default()).__name__
            raise wrong("estimator", f"a {kind} or None", type(self.estimator).__name__, "Leave it None.", TypeError)
        return self.estimator

    @abstractmethod
    def _default(self) -> Any:
        """Return the student with its default settings."""

    def _check_settings(self, task: Task) -> None:
        super()._check_settings(task)
        for point in self._points():
            self._model()._at(point)._check_settings(task)

    def _check_lesson(self, task: Task, lesson: Lesson, imitations: set[float]) -> None:
        self._model()._check_lesson(task, lesson, imitations)

    def _points(self) -> list[dict[str, Any]]:
        """Return the points of the grid; imitation 0 comes once, whatever the temperature, and first."""
        imitations = self._listed("imitations", self.imitations)
        rates = [self._model().learning_rate] if self.learning_rates is None else self.learning_rates
        points = []
        for rate in self._listed("learning_rates", rates):
            for imitation in sorted(set(imitations)):
                point = {"imitation": imitation, "learning_rate": rate}
                points += [{**point, **more} for more in self._temperatures(imitation)]
        return points

    def _temperatures(self, imitation: float) -> list[dict[str, float]]:
        return [{}]

    def _listed(self, name: str, values: Any) -> list[float]:
        listed_values = list(values) if isinstance(values, list | tuple | np.ndarray) else [values]
        check = check_fraction if name == "imitations" else check_positive
        if not listed_values:
            raise wrong(name, "at least one number", values, "Use e.g. (0.0, 0.5, 1.0).")
        return [check(name, value, "Use e.g. (0.25, 0.5, 1.0).") for value in listed_values]

    def _template(self) -> Any:
        return None

    def _sees_both(self) -> bool:
        return self._model().teacher_sees == "both"
