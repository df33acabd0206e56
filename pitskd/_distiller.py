"""The inside of generalized distillation: one student at one imitation, and the search over many."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from pitskd._estimator import Classifying, Distillation, Searching
from pitskd._lessons import Classification, Folds, Lesson, Task, teach
from pitskd._teaching import Teaching, accepts_nan, check_prefitted, check_transformer, is_prefitted
from pitskd._validation import (
    check_choice,
    check_fraction,
    check_model,
    check_penalties,
    check_splitter,
    is_list,
    wrong,
)
from pitskd.linear._arrays import batches
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge, linear_values

__all__: list[str] = []


class Generalized(Distillation):
    """A teacher on privileged features and a student: what single students and searches share."""

    teacher: Any
    student: Any
    teacher_sees: str
    cross_fit: Any
    privileged_transformer: Any

    def _check_settings(self, task: Task) -> None:
        check_choice("teacher_sees", self.teacher_sees, ("privileged", "both"), 'Use "both" for [X, X_privileged].')
        check_transformer(self.privileged_transformer)
        task.check_teacher(self.teacher)
        check_model("student", self.student, "student")
        check_prefitted(self.teacher, self.cross_fit)
        if not is_prefitted(self.teacher, self.cross_fit):
            check_splitter("cross_fit", self.cross_fit, 'Use e.g. 5, a splitter, "prefit" or None.')

    def _check_lesson(self, task: Task, lesson: Lesson, imitations: set[float]) -> None:
        """Refuse what the teacher or the student could only stumble over later."""
        fitted = is_prefitted(self.teacher, self.cross_fit)
        if not lesson.labelled.any() and (0.0 in imitations or not fitted):
            raise wrong("y", "present in some rows", "none", "Pass targets, or imitation=1 with a fitted teacher.")
        taught = imitations != {0.0}
        weighted = lesson.needs_weights(imitations)
        task.check_student(self._student(task), taught=taught, weighted=weighted, scored=isinstance(self, Search))
        if taught:
            step = 'Compare teacher_sees ("privileged" or "both") with how the teacher was fitted.'
            self._teaching(task).check_width(lesson, step)

    def _template(self) -> Any:
        return self.student

    def _sees_both(self) -> bool:
        return self.teacher_sees == "both"

    def _allows_holes(self, task: Task) -> bool:
        return accepts_nan(self._teaching(task).model)

    def _student(self, task: Task) -> Any:
        return task.default() if self.student is None else self.student

    def _teaching(self, task: Task) -> Teaching:
        return Teaching(task, self.teacher, self.privileged_transformer, self.cross_fit)

    def _warn_if_idle(self, lesson: Lesson) -> None:
        """Name the one combination that provably cannot teach (methods: generalized distillation)."""
        complete = lesson.labelled.all() and lesson.privileged.all()
        in_sample = self.cross_fit is None and not is_prefitted(self.teacher, self.cross_fit)
        squares = isinstance(_scaled(self.student), Ridge | RidgeCV | LinearRegression | TunedRidge | None)
        spans = self.teacher_sees == "both" and _scaled(self.privileged_transformer) is None
        if not (complete and in_sample and squares and spans and _is_least_squares(_scaled(self.teacher))):
            return
        warnings.warn(
            "teacher is an unpenalised least squares on [X, X_privileged] fitted to the rows it teaches: its soft "
            "targets leave a least-squares or ridge student of any one penalty exactly unchanged. "
            'Use a penalised teacher such as Ridge, teacher_sees="privileged", or cross_fit=5.',
            UserWarning,
            stacklevel=4,
        )


class Student(Generalized):
    """One student at one imitation."""

    imitation: float

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Fit the teacher, then the student.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What teacher and student see; windows are flattened time-major.
        y : array of shape (n,), or (n, n_targets) for regression
            Targets; NaN or None where missing (such rows learn from the soft target alone; one missing of several
            targets is a missing target).
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
        lesson = self._read(task, X, y, X_privileged, sample_weight, {imitation})
        self.teacher_, soft = None, np.full(lesson.hard.shape, np.nan)
        if imitation > 0.0 and not self._can_teach(lesson):
            imitation = 0.0
        if imitation > 0.0:
            self._warn_if_idle(lesson)
            self.teacher_, scores = self._teaching(task).run(lesson)
            soft = task.soften(scores, temperature)
        self.student_ = teach(task, self._student(task), lesson, soft, imitation)
        return self._finish(task)

    def _check_temperature(self) -> float:
        return 1.0


class Classifier(Classifying, Generalized):
    """The tuned logistic model is the default teacher and student."""

    def _task(self) -> Task:
        return Classification(TunedLogisticRegression())


class Search(Searching, Generalized):
    """The best of many students by held-out loss, then fitted to all rows."""

    imitations: Any
    penalties: Any

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Search by held-out loss, then fit the best student to all rows.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What teacher and student see; windows are flattened time-major.
        y : array of shape (n,), or (n, n_targets) for regression
            Targets; NaN or None where missing (such rows learn from the soft target alone and are never scored).
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
        lesson = self._read(task, X, y, X_privileged, sample_weight, {imitation for imitation, _ in candidates})
        penalties = self._penalty_candidates(task)
        if len(candidates) > 1 and not self._can_teach(lesson):
            candidates = candidates[:1]
        splits = self._splits(task, lesson, self._teaching(task).check if len(candidates) > 1 else None)
        told = [self._ask(task, lesson, train, test, candidates) for train, test in splits]
        losses = self._student_losses(task, lesson, splits, [lessons for lessons, _ in told], penalties)
        folds = [
            _sums(lesson, test, lost, taught) for (_, test), lost, (_, taught) in zip(splits, losses, told, strict=True)
        ]
        self._choose(candidates, penalties, folds)
        best = self._best(task).fit(X, y, X_privileged=X_privileged, sample_weight=sample_weight)
        self.best_estimator_, self.student_, self.teacher_ = best, best.student_, best.teacher_
        return self._finish(task)

    def _candidates(self) -> list[tuple[float, float]]:
        """Return pairs of imitation and temperature; imitation 0 comes first and once, whatever the temperature."""
        advice = "Use e.g. (0.25, 0.5, 0.75, 1.0)."
        listed = list(self.imitations) if is_list(self.imitations) else [self.imitations]
        if not listed:
            raise wrong("imitations", "at least one number between 0 and 1", self.imitations, advice)
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
        if not (last := _last(student).get_params()).keys() & {"alpha", "C", "penalties"}:
            expected = "None for a student without alpha or C"
            raise wrong("penalties", expected, self.penalties, "Tune it with GridSearchCV instead.")
        above = "alpha" not in last
        return np.unique(check_penalties("penalties", self.penalties, above=above))[::-1]

    def _ask(
        self, task: Task, lesson: Lesson, train: np.ndarray, test: np.ndarray, candidates: list[tuple[float, float]]
    ) -> tuple[list[tuple[np.ndarray, float]], float]:
        """Return every candidate's soft targets on the training rows and imitation, and the teacher's held-out loss."""
        part, held_out, teaching = lesson.rows(train), lesson.rows(test), self._teaching(task)
        scores, taught, asked = np.full(part.hard.shape, np.nan), 0.0, held_out.privileged
        if len(candidates) > 1:
            teacher, scores = teaching.run(part)
            if asked.any():
                told = task.soften(teaching.ask(teacher, held_out.rows(asked)), 1.0)
                taught = float(_row_weights(held_out)[asked] @ task.losses(told, held_out.hard[asked]))
        return [(task.soften(scores, temperature), imitation) for imitation, temperature in candidates], taught

    def _student_losses(
        self,
        task: Task,
        lesson: Lesson,
        splits: Folds,
        told: list[list[tuple[np.ndarray, float]]],
        penalties: np.ndarray,
    ) -> list[np.ndarray]:
        """Return the held-out losses (n_candidates, n_penalties, n_test) of every fold."""
        student = self._student(task)
        if isinstance(student, TunedRidge | TunedLogisticRegression):
            return _default_losses(clone(student).set_params(penalties=penalties), lesson, splits, told)
        losses = []
        for (train, test), lessons in zip(splits, told, strict=True):
            part, held_out = lesson.rows(train), lesson.rows(test)
            fold = np.empty((len(lessons), len(penalties), len(test)))
            for m, (soft, imitation) in enumerate(lessons):
                for p, penalty in enumerate(penalties):
                    fitted = teach(task, _with_penalty(student, penalty), part, soft, imitation)
                    if len(test):
                        fold[m, p] = task.losses(task.predict(fitted, held_out.X), held_out.hard)
            losses.append(fold)
        return losses

    def _choose(
        self, candidates: list[tuple[float, float]], penalties: np.ndarray, folds: list[dict[str, Any]]
    ) -> None:
        # Listed from small imitation and strong penalty: on a tie they win.
        grid = np.array([(*candidate, penalty) for candidate in candidates for penalty in penalties])
        names = ("imitation", "temperature", "penalty")
        settings = {name: column.copy() for name, column in zip(names, grid.T, strict=True)}
        losses = np.stack([fold["losses"].ravel() for fold in folds])
        mean = self._choose_best(settings, losses, np.array([fold["weight"] for fold in folds]))
        asked = sum(fold["asked"] for fold in folds) if len(candidates) > 1 else 0.0
        self.teacher_loss_ = float(sum(fold["teacher"] for fold in folds) / asked) if asked else np.nan
        plain = sum(fold["plain"][np.argmin(mean[: len(penalties)])] for fold in folds)
        self._warn_of_weak_teacher(float(plain / asked) if asked else np.nan)

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


def _default_losses(
    student: Any, lesson: Lesson, splits: Folds, told: list[list[tuple[np.ndarray, float]]]
) -> list[np.ndarray]:
    """Solve default students of every candidate, penalty and fold as one batch; rows held out weigh nothing."""
    n_candidates, losses = len(told[0]), []
    for some in batches(len(splits), 8 * n_candidates * lesson.hard.size):
        targets = np.zeros((len(splits[some]), n_candidates, *lesson.hard.shape))
        weights = np.zeros(targets.shape[:3])
        for f, ((train, _), lessons) in enumerate(zip(splits[some], told[some], strict=True)):
            part = lesson.rows(train)
            for m, (soft, imitation) in enumerate(lessons):
                targets[f, m, train], counts = part.mix(soft, imitation)
                np.add.at(weights[f, m], train, counts)  # a splitter may draw a row twice
        shape = targets.shape[:2]
        coef, intercept = student.solve_grid(
            lesson.X, targets.reshape(-1, *lesson.hard.shape), weights.reshape(-1, len(lesson.X))
        )
        coef, intercept = coef.reshape(*shape, *coef.shape[1:]), intercept.reshape(*shape, *intercept.shape[1:])
        for f, (_, test) in enumerate(splits[some]):
            values = linear_values(np.asarray(lesson.X[test], dtype=np.float64), coef[f], intercept[f])
            losses.append(student.losses(values[:, ::-1], lesson.hard[test]))
    return losses


def _sums(lesson: Lesson, test: np.ndarray, losses: np.ndarray, taught: float) -> dict[str, Any]:
    """Return the summed held-out losses of every candidate at every penalty, and what they compare with."""
    weight, asked = _row_weights(lesson.rows(test)), lesson.privileged[test]
    plain = losses[0][:, asked] @ weight[asked]  # on the rows that the teacher is judged by
    sums = {"weight": weight.sum(), "teacher": taught, "asked": weight[asked].sum()}
    return {"losses": losses @ weight, "plain": plain, **sums}


def _row_weights(lesson: Lesson) -> np.ndarray:
    return np.ones(len(lesson.X)) if lesson.weight is None else lesson.weight


def _last(estimator: Any) -> Any:
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def _scaled(model: Any) -> Any:
    """Return a linear model without the scalers before it, which leave the span of its features as it is."""
    scalers = StandardScaler | MinMaxScaler | MaxAbsScaler | RobustScaler
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    kept = [step for step in steps if not (step == "passthrough" or isinstance(step, scalers))]
    if not kept:
        return None
    return kept[0] if len(kept) == 1 else model


def _is_least_squares(model: Any) -> bool:
    if isinstance(model, TunedRidge):
        return model.penalties is not None and not np.any(model.penalties)
    if isinstance(model, LinearRegression):
        return model.fit_intercept and not model.positive
    return isinstance(model, Ridge) and model.fit_intercept and not model.positive and not np.any(model.alpha)


def _with_penalty(student: Any, penalty: float) -> Any:
    """Return an unfitted student of that penalty; NaN leaves it as it is."""
    student = clone(student)
    if not np.isnan(penalty):
        last = _last(student)
        known = last.get_params()
        name = next(name for name in ("penalties", "alpha", "C") if name in known)
        last.set_params(**{name: {"penalties": [penalty], "alpha": penalty}.get(name, 1.0 / (penalty or np.nan))})
    return student
