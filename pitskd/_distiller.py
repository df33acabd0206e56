"""The inside of generalized distillation: one student at one imitation, and the search over many."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from pitskd._teaching import (
    Classification,
    Lesson,
    Task,
    Teaching,
    check_prefitted,
    fit_weighted,
    flatten,
    is_prefitted,
    read_privileged,
    split_rows,
)
from pitskd._validation import (
    check_choice,
    check_fraction,
    check_penalties,
    check_same_index,
    check_same_rows,
    is_list,
    wrong,
)
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge

__all__: list[str] = []


class Distillation(BaseEstimator, ABC):
    """Reading rows and predicting: what single students and searches share."""

    teacher: Any
    student: Any
    teacher_sees: str
    cross_fit: Any
    privileged_transformer: Any
    student_: Any
    __metadata_request__fit = {"X_privileged": True}  # noqa: RUF012  scikit-learn reads this name from the class

    @abstractmethod
    def _task(self) -> Task:
        """Return a fresh task."""

    def _read(self, task: Task, X: Any, y: Any, X_privileged: Any, sample_weight: Any) -> Lesson:
        """Check every argument before any work."""
        if y is None:
            step = f"{type(self).__name__} requires y to be passed, but the target y is None."
            raise wrong("y", "one target per row of X", None, step)
        check_choice("teacher_sees", self.teacher_sees, ("privileged", "both"), 'Use "both" for [X, X_privileged].')
        check_prefitted(self.teacher, self.cross_fit)
        if X_privileged is not None:
            check_same_index("X_privileged", X_privileged, X, "Use X_privileged.loc[X.index].")
        flat, self._trailing_shape = flatten("X", X)
        finite: Any = "allow-nan" if get_tags(self._student(task)).input_tags.allow_nan else True
        array = validate_data(self, flat, ensure_all_finite=finite, ensure_min_samples=2)
        targets, hard, labelled = task.read(y)
        check_same_rows("y", len(hard), len(array), "Pass one target per row.")
        Z, privileged, names = read_privileged(array, X_privileged, self.teacher_sees == "both", self.teacher)
        if names is not None:
            self.privileged_feature_names_in_ = np.asarray(names, dtype=object)
        elif hasattr(self, "privileged_feature_names_in_"):
            del self.privileged_feature_names_in_
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, array, dtype=np.float64)
        return Lesson(array, targets, hard, labelled, Z, privileged, weight)

    def _student(self, task: Task) -> Any:
        return task.default() if self.student is None else self.student

    def _teaching(self, task: Task) -> Teaching:
        return Teaching(task, self.teacher, self.privileged_transformer, self.cross_fit)

    def _finish(self, task: Any) -> Any:
        """Store what only one task has."""
        return self

    def _can_teach(self, lesson: Lesson) -> bool:
        """Tell whether there is a row to be taught by; warn if there is none."""
        if lesson.privileged.any():
            return True
        warnings.warn(
            f"X_privileged is None or empty: {type(self).__name__} learns from hard targets only. "
            "Pass X_privileged to fit, or imitation=0 if this is meant.",
            UserWarning,
            stacklevel=3,
        )
        return False

    def _warn_if_idle(self, lesson: Lesson) -> None:
        """Name the one combination that provably cannot teach (methods: generalized distillation)."""
        complete = lesson.labelled.all() and lesson.privileged.all() and lesson.weight is None
        in_sample = self.cross_fit is None and not is_prefitted(self.teacher, self.cross_fit)
        squares = isinstance(_last(self.student), Ridge | RidgeCV | LinearRegression | TunedRidge | None)
        if not (complete and in_sample and squares and self.teacher_sees == "both" and _is_least_squares(self.teacher)):
            return
        warnings.warn(
            "teacher is an unpenalised least squares on [X, X_privileged] fitted to the rows it teaches: its soft "
            "targets leave a least-squares or ridge student exactly unchanged. "
            'Use a penalised teacher such as Ridge, teacher_sees="privileged", or cross_fit=5.',
            UserWarning,
            stacklevel=4,
        )

    def _inputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        flat, trailing = flatten("X", X)
        if len(self._trailing_shape) == 2 and trailing != self._trailing_shape:
            raise wrong(
                "X", f"of shape (n, {', '.join(map(str, self._trailing_shape))}) as in fit", f"shape {np.shape(X)}",
                "Pass windows of the same length and channels.",
            )  # fmt: skip
        finite: Any = "allow-nan" if get_tags(self.student_).input_tags.allow_nan else True
        return validate_data(self, flat, ensure_all_finite=finite, reset=False)

    def predict(self, X: Any) -> np.ndarray:
        """Predict with the student alone.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)

        Returns
        -------
        y : ndarray of shape (n,) or (n, n_targets)
        """
        X = self._inputs(X)
        return self.student_.predict(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = self.student is not None and get_tags(self.student).input_tags.allow_nan
        return tags


class Student(Distillation):
    """One student at one imitation."""

    imitation: float

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Fit the teacher, then the student.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What teacher and student see; windows are flattened time-major.
        y : array of shape (n,), or (n, n_targets) for regression
            Targets; NaN or None where missing (such rows learn from the soft target alone).
        X_privileged : array of shape (n, d_privileged) or (n, n_steps, n_privileged_channels), default=None
            What only the teacher sees; a row that is all NaN has no privileged part and keeps its hard target.
        sample_weight : array of shape (n,), default=None
            Weights of rows, for teacher and student.

        Returns
        -------
        self : object
        """
        imitation = check_fraction("imitation", self.imitation, "Use 1.0 to learn from soft targets only.")
        temperature = self._check_temperature()
        task = self._task()
        lesson = self._read(task, X, y, X_privileged, sample_weight)
        if imitation == 0.0 or not self._can_teach(lesson):
            self.teacher_, hard = None, lesson.rows(lesson.labelled)
            self.student_ = fit_weighted("student", clone(self._student(task)), hard.X, hard.y, hard.weight)
        else:
            self._warn_if_idle(lesson)
            self.teacher_, scores = self._teaching(task).run(lesson)
            self._imitate(task, lesson, task.soften(scores, temperature), imitation)
        return self._finish(task)

    def _imitate(self, task: Task, lesson: Lesson, soft: np.ndarray, imitation: float) -> None:
        targets, weight = lesson.mix(soft, imitation)
        kept = lesson.labelled | ~np.isnan(soft).any(axis=1)
        even = lesson.weight is None and (weight[kept] == 1.0).all()
        self.student_ = task.fit(self._student(task), lesson.X[kept], targets[kept], None if even else weight[kept])

    def _check_temperature(self) -> float:
        return 1.0


class Classifier(ClassifierMixin, Distillation):
    """What classifiers add: classes, probabilities and decision values of the student."""

    classes_: np.ndarray

    def _task(self) -> Task:
        return Classification()

    def _finish(self, task: Any) -> Any:
        self.classes_ = task.classes
        return self

    @available_if(lambda self: hasattr(_model(self), "predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the student's probabilities.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)

        Returns
        -------
        probabilities : ndarray of shape (n, n_classes)
            In the order of `classes_`.
        """
        X = self._inputs(X)
        return self.student_.predict_proba(X)

    @available_if(lambda self: hasattr(_model(self), "decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the student's decision values.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)

        Returns
        -------
        values : ndarray of shape (n,) for two classes, else (n, n_classes)
        """
        X = self._inputs(X)
        return self.student_.decision_function(X)


def _model(estimator: Any) -> Any:
    """Return the student that will predict, or its template before fit."""
    template = TunedLogisticRegression() if estimator.student is None else estimator.student
    return getattr(estimator, "student_", template)


class Search(Distillation):
    """The best of many students by held-out loss, then fitted to all rows."""

    imitations: Any
    penalties: Any
    cv: Any

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Search by held-out loss, then fit the best student to all rows.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What teacher and student see; windows are flattened time-major.
        y : array of shape (n,), or (n, n_targets) for regression
            Targets; NaN or None where missing (such rows learn from the soft target alone and are never held out).
        X_privileged : array of shape (n, d_privileged) or (n, n_steps, n_privileged_channels), default=None
            What only the teacher sees; a row that is all NaN has no privileged part and keeps its hard target.
        sample_weight : array of shape (n,), default=None
            Weights of rows, for teacher, student and held-out loss.

        Returns
        -------
        self : object
        """
        candidates = self._candidates()
        task = self._task()
        penalties = self._penalty_candidates(task)
        lesson = self._read(task, X, y, X_privileged, sample_weight)
        if len(candidates) > 1 and not self._can_teach(lesson):
            candidates = candidates[:1]
        folds = [
            self._fold(task, lesson, train, test[lesson.labelled[test]], candidates, penalties)
            for train, test in split_rows("cv", self.cv, task, lesson)
        ]
        self._choose(candidates, penalties, folds)
        best = self._best(task).fit(X, y, X_privileged=X_privileged, sample_weight=sample_weight)
        self.best_estimator_, self.student_, self.teacher_ = best, best.student_, best.teacher_
        return self._finish(task)

    def _candidates(self) -> list[tuple[float, float]]:
        """Return pairs of imitation and temperature; imitation 0 comes first and once, whatever the temperature."""
        advice = "Use e.g. (0.25, 0.5, 0.75, 1.0)."
        listed = list(self.imitations) if is_list(self.imitations) else [self.imitations]
        positive = sorted({check_fraction("imitations", value, advice) for value in listed} - {0.0})
        return [(0.0, 1.0), *((imitation, t) for imitation in positive for t in self._temperature_candidates())]

    def _temperature_candidates(self) -> list[float]:
        return [1.0]

    def _penalty_candidates(self, task: Task) -> np.ndarray:
        """Return penalties from strong to weak, so that ties go to the strong; a single NaN if there is no choice."""
        student = self._student(task)
        if isinstance(student, TunedRidge | TunedLogisticRegression):
            own = student if self.penalties is None else clone(student).set_params(penalties=self.penalties)
            return own._penalty_grid()[::-1]
        if self.penalties is None:
            return np.full(1, np.nan)
        if not {"alpha", "C"} & set(_last(student).get_params()):
            raise wrong(
                "penalties",
                "None for a student without alpha or C",
                self.penalties,
                "Tune it with GridSearchCV instead.",
            )
        positive = isinstance(task, Classification)
        return np.sort(check_penalties("penalties", self.penalties, above=positive))[::-1]

    def _fold(
        self,
        task: Task,
        lesson: Lesson,
        train: np.ndarray,
        test: np.ndarray,
        candidates: list[tuple[float, float]],
        penalties: np.ndarray,
    ) -> dict[str, Any]:
        """Return the summed held-out losses of every candidate at every penalty and of the teacher."""
        part = lesson.rows(train)
        weight = np.ones(len(test)) if lesson.weight is None else lesson.weight[test]
        scores, taught = np.full(part.hard.shape, np.nan), np.nan
        if len(candidates) > 1:
            teacher, scores = self._teaching(task).run(part)
            asked = lesson.privileged[test]
            told = task.soften(task.scores(teacher, lesson.Z[test[asked]]), 1.0) if asked.any() else scores[:0]
            taught = float(weight[asked] @ task.losses(told, lesson.hard[test[asked]]))
        mixes = [part.mix(task.soften(scores, temperature), imitation) for imitation, temperature in candidates]
        losses = self._student_losses(task, part.X, mixes, penalties, lesson.X[test], lesson.hard[test])
        return {"losses": losses @ weight, "teacher": taught, "weight": float(weight.sum())}

    def _student_losses(
        self,
        task: Task,
        X: np.ndarray,
        mixes: list[tuple[np.ndarray, np.ndarray]],
        penalties: np.ndarray,
        X_test: np.ndarray,
        hard: np.ndarray,
    ) -> np.ndarray:
        """Return held-out losses (n_candidates, n_penalties, n_test)."""
        student = self._student(task)
        if isinstance(student, TunedRidge | TunedLogisticRegression):
            targets, weights = (np.stack(parts) for parts in zip(*mixes, strict=True))
            linear = clone(student).set_params(penalties=penalties).predict_grid(X, targets, weights, X_test)
            return student.losses(linear[:, ::-1], hard)
        losses = np.empty((len(mixes), len(penalties), len(X_test)))
        for m, (targets, weight) in enumerate(mixes):
            for p, penalty in enumerate(penalties):
                fitted = task.fit(
                    _with_penalty(student, penalty), X, targets, None if (weight == 1.0).all() else weight
                )
                losses[m, p] = task.losses(task.predict(fitted, X_test), hard)
        return losses

    def _choose(
        self, candidates: list[tuple[float, float]], penalties: np.ndarray, folds: list[dict[str, Any]]
    ) -> None:
        weights = np.array([fold["weight"] for fold in folds])
        if weights.sum() == 0:
            raise wrong("cv", "a splitter that holds out labelled rows", self.cv, "Use fewer folds.")
        per_fold = np.stack([fold["losses"] for fold in folds])
        mean = per_fold.sum(axis=0) / weights.sum()
        # argmin returns the first: on a tie the smaller imitation and the stronger penalty.
        m, p = np.unravel_index(int(np.argmin(mean)), mean.shape)
        grid = [(*candidate, penalty) for candidate in candidates for penalty in penalties]
        self.cv_results_ = {
            name: np.array(values)
            for name, values in zip(("imitation", "temperature", "penalty"), zip(*grid, strict=True), strict=True)
        }
        self.cv_results_["mean_test_loss"] = mean.ravel()
        for number, (losses, weight) in enumerate(zip(per_fold, weights, strict=True)):
            self.cv_results_[f"split{number}_test_loss"] = (
                losses.ravel() / weight if weight else np.full(mean.size, np.nan)
            )
        self.best_params_ = dict(
            zip(("imitation", "temperature", "penalty"), map(float, (*candidates[m], penalties[p])), strict=True)
        )
        self.best_loss_ = float(mean[m, p])
        self.teacher_loss_ = float(sum(fold["teacher"] for fold in folds) / weights.sum())
        self._warn_of_weak_teacher(float(mean[0].min()))

    def _warn_of_weak_teacher(self, plain_loss: float) -> None:
        if self.teacher_loss_ >= plain_loss:
            warnings.warn(
                f"The teacher's held-out loss {self.teacher_loss_:.4g} is not below the {plain_loss:.4g} of a student "
                "without it: its soft targets are unlikely to help. Give it better privileged features, or "
                'teacher_sees="both".',
                UserWarning,
                stacklevel=4,
            )

    def _best_settings(self, task: Task) -> dict[str, Any]:
        """Return the parameters of the single student to be fitted."""
        shared = ("teacher", "teacher_sees", "cross_fit", "privileged_transformer")
        return {
            **{name: getattr(self, name) for name in shared},
            "student": _with_penalty(self._student(task), self.best_params_["penalty"]),
            "imitation": self.best_params_["imitation"],
        }

    @abstractmethod
    def _best(self, task: Task) -> Any:
        """Return the single student to be fitted to all rows."""


def _last(estimator: Any) -> Any:
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def _is_least_squares(teacher: Any) -> bool:
    model = _last(teacher)
    if isinstance(model, LinearRegression):
        return not model.positive
    return isinstance(model, Ridge) and bool(np.all(np.asarray(model.alpha) == 0))


def _with_penalty(student: Any, penalty: float) -> Any:
    """Return an unfitted student of that penalty; NaN leaves it as it is."""
    student = clone(student)
    last = _last(student)
    if isinstance(last, TunedRidge | TunedLogisticRegression):
        last.set_params(penalties=[penalty])
    elif not np.isnan(penalty):
        last.set_params(**({"alpha": penalty} if "alpha" in last.get_params() else {"C": 1.0 / penalty}))
    return student
