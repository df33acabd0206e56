"""What a student is told: rows as read, hard and soft targets mixed, and a clone of the student fitted to them.

Rows come in three kinds. *Labelled and privileged* rows train the teacher and have mixed targets; *labelled only* rows
(`X_privileged` all NaN) keep their hard targets; *privileged only* rows (`y` missing) get soft targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from scipy.special import softmax
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, has_fit_parameter

from pitskd._validation import (
    check_finite,
    check_floats,
    check_model,
    check_positions,
    check_two_classes,
    has_finite_sum,
    wrong,
)

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
    names: tuple[str, ...] | None = None  # of the columns of Z, if they came in frames
    features: tuple[str, ...] | None = None  # of the columns of X, likewise
    window: tuple[int, ...] = ()  # trailing shape of X as given, (d,) or (window, n_channels)
    middle: tuple[int, ...] = ()  # trailing shape of X_privileged as given

    def rows(self, chosen: np.ndarray) -> Lesson:
        """Return some of the rows."""
        arrays = ("X", "y", "hard", "labelled", "Z", "privileged", "weight")
        parts = {name: getattr(self, name) for name in arrays}
        return replace(self, **{name: part[chosen] for name, part in parts.items() if part is not None})

    @property
    def counts(self) -> np.ndarray:
        """Rows with label and with weight, (n,) bool."""
        return self.labelled if self.weight is None else self.labelled & (self.weight > 0)

    def needs_weights(self, imitations: set[float]) -> bool:
        """Tell whether a student taught at these imitations must take weights, whatever its task."""
        unlabelled = bool((self.privileged & ~self.labelled).any()) and imitations != {1.0}
        return self.weight is not None or (imitations != {0.0} and unlabelled)

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

    def __init__(self, model: Any) -> None:
        self._model = model

    def default(self) -> Any:
        """Return the tuned linear model that stands in for a missing teacher or student."""
        return clone(self._model)

    @abstractmethod
    def read(self, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return targets as estimators take them, as a matrix (n, k), and which rows have one."""

    @abstractmethod
    def can_learn(self, hard: np.ndarray) -> bool:
        """Tell whether these targets suffice to fit a model."""

    @abstractmethod
    def check_teacher(self, teacher: Any, name: str = "teacher") -> None:
        """Refuse a teacher of the wrong kind."""

    @abstractmethod
    def check_student(self, student: Any, *, taught: bool, weighted: bool, scored: bool, name: str = "student") -> None:
        """Refuse a student that can not take what it will be taught, or can not be scored."""

    @abstractmethod
    def scores(self, teacher: Any, Z: np.ndarray) -> np.ndarray:
        """Return what the teacher says of each row, (n, k), before any temperature."""

    @abstractmethod
    def soften(self, scores: np.ndarray, temperature: float) -> np.ndarray:
        """Turn scores into soft targets (n, k)."""

    @abstractmethod
    def fit(self, student: Any, lesson: Lesson, targets: np.ndarray, weight: np.ndarray | None) -> Any:
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
        array = np.asarray(y) if hasattr(y, "dtype") else check_floats("y", y)
        y = array if array.dtype.kind in "biuf" else check_floats("y", array)
        if y.ndim not in (1, 2):
            raise wrong("y", "of shape (n,) or (n, n_targets)", f"shape {y.shape}", "Pass one column per target.")
        matrix = y.reshape(len(y), -1).astype(np.float64, copy=False)
        self.one_target = y.ndim == 1
        if has_finite_sum(matrix):
            return y, matrix, np.ones(len(y), dtype=bool)
        labelled = ~np.isnan(matrix).any(axis=1)
        check_finite("y", matrix[labelled], "Drop or mend these targets.")
        return y, np.where(labelled[:, None], matrix, 0.0), labelled

    def can_learn(self, hard: np.ndarray) -> bool:
        return len(hard) > 1

    def check_teacher(self, teacher: Any, name: str = "teacher") -> None:
        check_model(name, teacher, "regressor")
        if teacher is not None and is_classifier(teacher):
            raise wrong(name, "a regressor", type(teacher).__name__, "Use the classifier of pitskd.", TypeError)

    def check_student(self, student: Any, *, taught: bool, weighted: bool, scored: bool, name: str = "student") -> None:
        check_model(name, student, "regressor")
        if is_classifier(student):
            raise wrong(name, "a regressor", type(student).__name__, "Use the classifier of pitskd.", TypeError)
        if weighted:
            check_takes_weights(name, student)

    def scores(self, teacher: Any, Z: np.ndarray) -> np.ndarray:
        return np.asarray(teacher.predict(Z), dtype=np.float64).reshape(len(Z), -1)

    def soften(self, scores: np.ndarray, temperature: float) -> np.ndarray:
        return scores

    def fit(self, student: Any, lesson: Lesson, targets: np.ndarray, weight: np.ndarray | None) -> Any:
        y = targets[:, 0] if self.one_target else targets
        return fit_weighted("student", clone(student), lesson.X, y, weight)

    def predict(self, student: Any, X: np.ndarray) -> np.ndarray:
        return self.scores(student, X)

    def losses(self, predicted: np.ndarray, hard: np.ndarray) -> np.ndarray:
        return np.square(predicted - hard).mean(axis=-1)


class Classification(Task):
    """Soft targets are probabilities, sigma(f / T) of the teacher's decision function or log-probabilities."""

    def read(self, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = column_or_1d(y, warn=True)
        labelled = ~np.asarray(pd.isna(y))
        known = _plain_labels(y[labelled])
        if not len(known):
            raise wrong("y", "labels in some rows", "none", "Pass the labels you have; the rest may be missing.")
        if known.dtype.kind == "f":
            check_finite("y", known, "Mark missing labels by NaN.")
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

    def check_teacher(self, teacher: Any, name: str = "teacher") -> None:
        check_model(name, teacher, "classifier")
        if teacher is not None and not hasattr(teacher, "decision_function") and not hasattr(teacher, "predict_proba"):
            raise _without_probabilities(name, "predict_proba or a decision function", teacher)

    def check_student(self, student: Any, *, taught: bool, weighted: bool, scored: bool, name: str = "student") -> None:
        check_model(name, student, "classifier")
        if is_regressor(student):
            raise wrong(name, "a classifier", type(student).__name__, "Use the regressor of pitskd.", TypeError)
        if (taught or weighted) and not has_fit_parameter(student, "soft_targets"):
            check_takes_weights(name, student)
        if scored and not hasattr(student, "predict_proba"):
            raise _without_probabilities(name, "predict_proba, to be chosen by log-loss", student)

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
            raise _without_probabilities("teacher", "predict_proba or one decision value per class", teacher)
        with np.errstate(divide="ignore"):
            return np.log(np.asarray(teacher.predict_proba(Z), dtype=np.float64))

    def soften(self, scores: np.ndarray, temperature: float) -> np.ndarray:
        return softmax(scores / temperature, axis=1)

    def fit(self, student: Any, lesson: Lesson, targets: np.ndarray, weight: np.ndarray | None) -> Any:
        student, X = clone(student), lesson.X
        if has_fit_parameter(student, "soft_targets"):
            labels = np.where(lesson.labelled, lesson.y, self.classes[targets.argmax(axis=1)])
            present, first = np.unique(labels, return_index=True)
            missing = np.setdiff1d(self.classes, present)
            # The student must hear of every class; it learns from soft_targets alone.
            labels[np.delete(np.arange(len(labels)), first)[: len(missing)]] = missing
            return student.fit(X, labels, soft_targets=targets, sample_weight=weight)
        # Cross-entropy with a soft target is the weighted sum of cross-entropies with each class. Rows of weight 0
        # stay, so that every row counts as often as any other in a scaler inside the student.
        n_classes = len(self.classes)
        shares = (targets if weight is None else targets * weight[:, None]).T.ravel()
        return fit_weighted("student", student, np.tile(X, (n_classes, 1)), np.repeat(self.classes, len(X)), shares)

    def predict(self, student: Any, X: np.ndarray) -> np.ndarray:
        probabilities = np.zeros((len(X), len(self.classes)))
        probabilities[:, np.searchsorted(self.classes, student.classes_)] = student.predict_proba(X)
        return probabilities

    def losses(self, predicted: np.ndarray, hard: np.ndarray) -> np.ndarray:
        return -np.log(np.clip((predicted * hard).sum(axis=1), np.finfo(np.float64).eps, None))


def teach(task: Task, student: Any, lesson: Lesson, soft: np.ndarray, imitation: float) -> Any:
    """Return a fitted clone of the student; at imitation 0 it is fitted as if there were no teacher, bit for bit."""
    taught = ~np.isnan(soft).any(axis=1)
    if imitation == 0.0:
        hard = lesson if lesson.labelled.all() else lesson.rows(lesson.labelled)
        return fit_weighted("student", clone(student), hard.X, hard.y, hard.weight)
    kept = lesson.labelled | taught
    targets, weight = (part[kept] for part in lesson.mix(soft, imitation))
    even = lesson.weight is None and bool((weight == 1.0).all())
    return task.fit(student, lesson.rows(kept), targets, None if even else weight)


def fit_weighted(name: str, estimator: Any, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> Any:
    """Fit with sample weights, which reach every step of a pipeline that takes them, the last in any case."""
    if weight is None:
        return estimator.fit(X, y)
    takers = check_takes_weights(name, estimator)
    with _routing_off():
        return estimator.fit(X, y, **dict.fromkeys(takers, weight))


def check_takes_weights(name: str, estimator: Any) -> list[str]:
    """Return the fit arguments that take weights; the last step of a pipeline must have one."""
    takers = list(_weight_arguments(estimator, "", last=True))
    if not takers or takers[-1] is None:
        expected = "an estimator whose fit takes sample_weight" + (" or soft_targets" if name != "teacher" else "")
        raise wrong(name, expected, type(estimator).__name__, "Use e.g. a linear model or trees.", TypeError)
    return [taker for taker in takers if taker is not None]


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


Folds = list[tuple[np.ndarray, np.ndarray]]


def split_rows(name: str, splitter: Any, task: Task, lesson: Lesson) -> Folds:
    """Return train and test positions; an int gives contiguous (for classes: stratified) folds."""
    n_rows, classify = len(lesson.X), isinstance(task, Classification)
    # Rows without label are a stratum of their own.
    strata = np.where(lesson.labelled, lesson.hard.argmax(axis=1), lesson.hard.shape[1]) if classify else lesson.y
    if isinstance(splitter, int | np.integer):
        largest = int(np.bincount(strata).max()) if classify else n_rows
        if splitter > largest:
            what = "rows of the largest class" if classify else "rows to be split"
            raise wrong(name, f"at most {largest}, the {what}", splitter, "Use fewer folds or more rows.")
    cv: Any = check_cv(splitter, strata, classifier=classify)
    folds: Any = [[check_positions(name, part, n_rows) for part in fold] for fold in cv.split(lesson.X, strata)]
    return folds


def _without_probabilities(name: str, needed: str, model: Any) -> Exception:
    step = "Wrap it in sklearn.calibration.CalibratedClassifierCV."
    return wrong(name, f"a classifier with {needed}", type(model).__name__, step, TypeError)


def _plain_labels(labels: np.ndarray) -> np.ndarray:
    """Return labels without the dtype that only missing values needed: 1.0 stays, objects become str or int."""
    if labels.dtype != object:
        return labels
    listed = labels.tolist()
    if 0 < sum(isinstance(label, str) for label in listed) < len(listed):
        raise wrong("y", "labels of one kind", "text and numbers", "Turn them all into text, or into numbers.")
    return np.asarray(listed)
