"""What a teacher tells a student: rows checked and flattened, the teacher fitted, its soft targets mixed with the hard.

Rows come in three kinds. *Labelled and privileged* rows train the teacher and have mixed targets; *labelled only* rows
(`X_privileged` all NaN) keep their hard targets; *privileged only* rows (`y` missing) get soft targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, has_fit_parameter

from pitskd._validation import check_finite, check_same_rows, check_two_classes, wrong
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class Lesson:
    """Everything a fit learns from, as checked arrays of n rows."""

    X: np.ndarray  # (n, d)
    y: np.ndarray  # (n,) or (n, n_targets), as the teacher's and student's own `fit` takes it
    hard: np.ndarray  # (n, k) targets, or one-hot labels; zeros where missing
    labelled: np.ndarray  # (n,) bool
    Z: np.ndarray  # (n, d_teacher) what the teacher sees; no columns if nothing
    privileged: np.ndarray  # (n,) bool
    weight: np.ndarray | None  # (n,)

    def rows(self, chosen: np.ndarray) -> Lesson:
        """Return some of the rows."""
        weight = None if self.weight is None else self.weight[chosen]
        X, y, hard = self.X[chosen], self.y[chosen], self.hard[chosen]
        return Lesson(X, y, hard, self.labelled[chosen], self.Z[chosen], self.privileged[chosen], weight)

    def mix(self, soft: np.ndarray, imitation: float) -> tuple[np.ndarray, np.ndarray]:
        """Return targets (n, k) and weights (n,) of the rows for a given imitation.

        A row with both targets weighs ``(1 - imitation) + imitation``, a labelled row 1 and a row without label
        `imitation`, so that the fit changes continuously from hard targets only to soft ones.
        """
        taught = np.logical_not(np.isnan(soft).any(axis=1))
        share = np.where(self.labelled, imitation * taught, taught).reshape(-1, 1)
        targets = (1.0 - share) * self.hard + share * np.nan_to_num(soft)
        weight = np.where(self.labelled, 1.0, imitation * taught)
        return targets, weight if self.weight is None else weight * self.weight


class Task(ABC):
    """What regression and classification do differently."""

    @abstractmethod
    def read(self, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return targets as estimators take them, as a matrix (n, k), and which rows have one."""

    def can_learn(self, hard: np.ndarray) -> bool:
        """Tell whether these targets suffice to fit a model."""
        return len(hard) > 0

    @abstractmethod
    def default(self) -> Any:
        """Return the tuned linear model that stands in for a missing teacher or student."""

    @abstractmethod
    def scores(self, teacher: Any, Z: np.ndarray) -> np.ndarray:
        """Return what the teacher says of each row, (n, k), before any temperature."""

    @abstractmethod
    def soften(self, scores: np.ndarray, temperature: float) -> np.ndarray:
        """Turn scores into soft targets (n, k)."""

    @abstractmethod
    def fit(self, student: Any, X: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> Any:
        """Fit a clone of the student to soft targets."""

    @abstractmethod
    def predict(self, student: Any, X: np.ndarray) -> np.ndarray:
        """Return predictions, or probabilities of the classes, (n, k)."""

    @abstractmethod
    def losses(self, predicted: np.ndarray, hard: np.ndarray) -> np.ndarray:
        """Return the held-out loss of each row, (n,)."""


class Regression(Task):
    """Soft targets are the teacher's predictions; half squared error makes mixing targets the same as mixing losses."""

    def read(self, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = np.asarray(y)
        if y.dtype.kind not in "biuf":
            y = _to_floats(y)
        if y.ndim not in (1, 2):
            raise wrong("y", "of shape (n,) or (n, n_targets)", f"shape {y.shape}", "Pass one column per target.")
        matrix = y.reshape(len(y), -1).astype(np.float64, copy=False)
        labelled = ~np.isnan(matrix).any(axis=1)
        check_finite("y", matrix[labelled], "Drop or mend these targets.")
        self.one_target = y.ndim == 1
        return y, np.where(labelled[:, None], matrix, 0.0), labelled

    def default(self) -> Any:
        return TunedRidge()

    def scores(self, teacher: Any, Z: np.ndarray) -> np.ndarray:
        return np.asarray(teacher.predict(Z), dtype=np.float64).reshape(len(Z), -1)

    def soften(self, scores: np.ndarray, temperature: float) -> np.ndarray:
        return scores

    def fit(self, student: Any, X: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> Any:
        return fit_weighted("student", clone(student), X, targets[:, 0] if self.one_target else targets, weight)

    def predict(self, student: Any, X: np.ndarray) -> np.ndarray:
        return self.scores(student, X)

    def losses(self, predicted: np.ndarray, hard: np.ndarray) -> np.ndarray:
        return TunedRidge.losses(predicted, hard)


class Classification(Task):
    """Soft targets are probabilities, sigma(f / T) of the teacher's decision function or log-probabilities."""

    def read(self, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = column_or_1d(y, warn=True)
        labelled = ~np.asarray(pd.isna(y))
        known = _plain_labels(y[labelled])
        if not len(known):
            raise wrong("y", "labels in some rows", "none", "Pass the labels you have; the rest may be missing.")
        check_classification_targets(known)
        self.classes, codes = np.unique(known, return_inverse=True)
        check_two_classes("y", self.classes)
        hard = np.zeros((len(y), len(self.classes)))
        hard[labelled] = np.eye(len(self.classes))[codes]
        # Estimators get labels of one kind; rows without one are never shown to them as labels.
        filled = np.full(len(y), self.classes[0], dtype=self.classes.dtype)
        filled[labelled] = known
        return filled, hard, labelled

    def can_learn(self, hard: np.ndarray) -> bool:
        return bool(np.count_nonzero(hard.any(axis=0)) > 1)

    def default(self) -> Any:
        return TunedLogisticRegression()

    def scores(self, teacher: Any, Z: np.ndarray) -> np.ndarray:
        values = self._logits(teacher, Z)
        place = np.searchsorted(self.classes, teacher.classes_)
        scores = np.full((len(Z), len(self.classes)), -np.inf)  # a class that the teacher has never seen
        scores[:, place] = values
        return scores

    def _logits(self, teacher: Any, Z: np.ndarray) -> np.ndarray:
        n_classes = len(teacher.classes_)
        unknown = np.setdiff1d(teacher.classes_, self.classes)
        if len(unknown):
            raise wrong("teacher", "trained on the classes of y", f"class {unknown[0]!r}", "Relabel y or the teacher.")
        if hasattr(teacher, "decision_function"):
            values = np.asarray(teacher.decision_function(Z), dtype=np.float64)
            if values.ndim == 1:
                return np.stack([np.zeros(len(Z)), values], axis=1)
            if values.shape[1] == n_classes:
                return values
        if not hasattr(teacher, "predict_proba"):
            raise wrong(
                "teacher", "a classifier with predict_proba or one decision value per class", type(teacher).__name__,
                "Wrap it in sklearn.calibration.CalibratedClassifierCV.", TypeError,
            )  # fmt: skip
        with np.errstate(divide="ignore"):
            return np.log(np.asarray(teacher.predict_proba(Z), dtype=np.float64))

    def soften(self, scores: np.ndarray, temperature: float) -> np.ndarray:
        return softmax(scores / temperature, axis=1)

    def fit(self, student: Any, X: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> Any:
        student = clone(student)
        if has_fit_parameter(student, "soft_targets"):
            labels = self.classes[targets.argmax(axis=1)]
            missing = np.setdiff1d(self.classes, labels)
            labels[: len(missing)] = missing  # the student must hear of every class; it learns from soft_targets alone
            return student.fit(X, labels, soft_targets=targets, sample_weight=weight)
        # Cross-entropy with a soft target is the weighted sum of cross-entropies with each class. Rows of weight 0
        # stay, so that every row counts as often as any other in a scaler inside the student.
        n_classes = len(self.classes)
        shares = (targets if weight is None else targets * weight[:, None]).T.ravel()
        return fit_weighted("student", student, np.tile(X, (n_classes, 1)), np.repeat(self.classes, len(X)), shares)

    def predict(self, student: Any, X: np.ndarray) -> np.ndarray:
        if not hasattr(student, "predict_proba"):
            raise wrong(
                "student", "a classifier with predict_proba, to be chosen by log-loss", type(student).__name__,
                "Wrap it in sklearn.calibration.CalibratedClassifierCV.", TypeError,
            )  # fmt: skip
        probabilities = np.zeros((len(X), len(self.classes)))
        probabilities[:, np.searchsorted(self.classes, student.classes_)] = student.predict_proba(X)
        return probabilities

    def losses(self, predicted: np.ndarray, hard: np.ndarray) -> np.ndarray:
        return -np.log(np.clip((predicted * hard).sum(axis=1), np.finfo(np.float64).eps, None))


@dataclass(frozen=True)
class Teaching:
    """How the teacher is fitted and asked."""

    task: Task
    teacher: Any
    transformer: Any
    cross_fit: Any

    def run(self, lesson: Lesson) -> tuple[Any, np.ndarray]:
        """Return the fitted teacher and its scores (n, k); NaN where it may not or cannot speak."""
        scores = np.full(lesson.hard.shape, np.nan)
        if is_prefitted(self.teacher, self.cross_fit):
            teacher = self.teacher
            scores[lesson.privileged] = self.task.scores(teacher, lesson.Z[lesson.privileged])
            return teacher, scores
        own = np.flatnonzero(lesson.labelled & lesson.privileged)
        if not self.task.can_learn(lesson.hard[own]):
            raise wrong(
                "X_privileged", "present in labelled rows, of two classes at least",
                f"{len(own)} rows with label and privilege", "Pass more rows, or a prefitted teacher.",
            )  # fmt: skip
        teacher = self._fit(lesson.rows(own))
        asked = lesson.privileged if self.cross_fit is None else lesson.privileged & ~lesson.labelled
        if asked.any():
            scores[asked] = self.task.scores(teacher, lesson.Z[asked])
        if self.cross_fit is not None:
            self._cross_fit(lesson, own, scores)
        return teacher, scores

    def _cross_fit(self, lesson: Lesson, own: np.ndarray, scores: np.ndarray) -> None:
        """Let no row be taught by a teacher that has seen its target."""
        for train, test in split_rows("cross_fit", self.cross_fit, self.task, lesson.rows(own)):
            teacher = self._fit(lesson.rows(own[train]))
            scores[own[test]] = self.task.scores(teacher, lesson.Z[own[test]])

    def _fit(self, lesson: Lesson) -> Any:
        scaler = StandardScaler() if self.transformer is None else clone(self.transformer)
        teacher = self.task.default() if self.teacher is None else clone(self.teacher)
        pipeline = teacher if isinstance(self.transformer, str) else make_pipeline(scaler, teacher)
        return fit_weighted("teacher", pipeline, lesson.Z, lesson.y, lesson.weight)


def is_prefitted(teacher: Any, cross_fit: Any) -> bool:
    """Tell whether the teacher is used as it is."""
    return (isinstance(cross_fit, str) and cross_fit == "prefit") or type(teacher).__name__ == "FrozenEstimator"


def check_prefitted(teacher: Any, cross_fit: Any) -> None:
    """Refuse a teacher that is said to be fitted and is not."""
    if not is_prefitted(teacher, cross_fit):
        return
    try:
        check_is_fitted(getattr(teacher, "estimator", teacher))
    except (NotFittedError, TypeError):
        expected = "fitted, because it is used as it is"
        shown = "None" if teacher is None else f"an unfitted {type(getattr(teacher, 'estimator', teacher)).__name__}"
        raise wrong("teacher", expected, shown, "Fit it first, or leave cross_fit=None.", NotFittedError) from None


def split_rows(name: str, splitter: Any, task: Task, lesson: Lesson) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield train and test positions; an int gives contiguous (for classes: stratified) folds."""
    n_rows = len(lesson.X)
    if isinstance(splitter, int) and not 2 <= splitter <= n_rows:
        raise wrong(name, f"between 2 and the {n_rows} rows to be split", splitter, "Use fewer folds or more rows.")
    strata = lesson.hard.argmax(axis=1) if isinstance(task, Classification) else lesson.y
    cv: Any = check_cv(splitter, strata, classifier=isinstance(task, Classification))
    return cv.split(lesson.X, strata)


def fit_weighted(name: str, estimator: Any, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> Any:
    """Fit with sample weights, which reach every step of a pipeline that takes them, the last in any case."""
    if weight is None:
        return estimator.fit(X, y)
    takers = list(_weight_arguments(estimator, "", last=True))
    if not takers or takers[-1] is None:
        expected = "an estimator whose fit takes sample_weight" + (" or soft_targets" if name == "student" else "")
        raise wrong(name, expected, type(estimator).__name__, "Use e.g. a linear model or trees.", TypeError)
    with _routing_off():
        return estimator.fit(X, y, **dict.fromkeys(filter(None, takers), weight))


def _weight_arguments(estimator: Any, prefix: str, last: bool) -> Iterator[str | None]:
    """Yield the fit arguments that take weights; None for a last step that has none."""
    if isinstance(estimator, Pipeline):
        for number, (step, part) in enumerate(estimator.steps):
            yield from _weight_arguments(part, f"{prefix}{step}__", last and number == len(estimator.steps) - 1)
    elif has_fit_parameter(estimator, "sample_weight"):
        yield f"{prefix}sample_weight"
    elif last:
        yield None


@contextmanager
def _routing_off() -> Iterator[None]:
    """Weights made here are passed by name to one step; what the caller requests for its own metadata stays out."""
    with sklearn.config_context(enable_metadata_routing=False):
        yield


def read_privileged(
    X: np.ndarray, values: Any, sees_both: bool, teacher: Any
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    """Return what the teacher sees (n, d_teacher), which rows have it, and the privileged names."""
    nothing = np.empty((len(X), 0)), np.zeros(len(X), dtype=bool), None
    if values is None:
        return nothing
    names = tuple(map(str, values.columns)) if hasattr(values, "columns") else None
    Z, _ = flatten("X_privileged", values)
    Z = _to_floats(np.asarray(Z))
    Z = Z[:, None] if Z.ndim == 1 else Z
    check_same_rows("X_privileged", len(Z), len(X), "Pass the rows of the same windows, e.g. `w.take(rows)`.")
    if Z.shape[1] == 0 and not sees_both:
        return nothing
    missing = np.isnan(Z)
    privileged = np.ones(len(X), dtype=bool)
    if Z.shape[1]:
        privileged = np.asarray(~missing.all(axis=1))
    if missing[privileged].any() and not (teacher is not None and get_tags(teacher).input_tags.allow_nan):
        row = int(np.flatnonzero(missing.any(axis=1) & privileged)[0])
        raise wrong(
            "X_privileged", "complete or all NaN in each row", f"NaN in part of row {row}",
            "Impute it, blank the whole row, or use a teacher that accepts NaN.",
        )  # fmt: skip
    check_finite("X_privileged", np.where(missing, 0.0, Z), "Replace infinities by NaN or a bound.")
    return np.hstack([X, Z]) if sees_both else Z, privileged, names


def flatten(name: str, values: Any) -> tuple[Any, tuple[int, ...]]:
    """Return windows (n, steps, channels) as (n, steps * channels), time-major, and their trailing shape."""
    shape = tuple(getattr(values, "shape", ())) or np.asarray(values).shape
    if len(shape) == 3:
        return np.asarray(values).reshape(shape[0], -1), shape[1:]
    if len(shape) > 3:
        raise wrong(name, "of shape (n, d) or (n, steps, channels)", f"shape {shape}", "Flatten what lies beyond.")
    return values, shape[1:]


def _to_floats(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "biuf":
        return values.astype(np.float64, copy=False)
    return np.where(pd.isna(values), np.nan, values).astype(np.float64)


def _plain_labels(labels: np.ndarray) -> np.ndarray:
    """Return labels without the dtype that only missing values needed: 1.0 stays, objects become str or int."""
    return np.asarray(labels.tolist()) if labels.dtype == object else labels
