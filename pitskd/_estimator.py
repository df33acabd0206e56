"""What every estimator of privileged rows shares: they are read and checked in `fit`; a student alone predicts."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from pitskd._lessons import Folds, Lesson, Task, split_rows
from pitskd._teaching import accepts_nan, flatten, read_privileged
from pitskd._validation import (
    check_complete,
    check_same_index,
    check_same_rows,
    check_splitter,
    check_text_free,
    check_weights,
    wrong,
)

__all__: list[str] = []


class Distillation(BaseEstimator, ABC):
    """Reading rows in `fit` and predicting with the student alone."""

    student_: Any
    _learner, _predictor = "teacher", "student"  # who sees the middle, and X, in errors; empty: no NaN ever
    _caller = 3  # frames from a warning to whoever called `fit`
    __metadata_request__fit = {"X_privileged": True}  # noqa: RUF012  scikit-learn reads this name from the class

    @abstractmethod
    def _task(self) -> Task:
        """Return a fresh task."""

    @abstractmethod
    def _template(self) -> Any:
        """Return what will be cloned and will predict; None is a linear model of the package."""

    def _check_settings(self, task: Task) -> None:
        """Refuse wrong parameters."""

    def _check_lesson(self, task: Task, lesson: Lesson, imitations: set[float]) -> None:
        """Refuse rows that a fit could only stumble over later."""

    def _sees_both(self) -> bool:
        """Tell whether the teacher sees X beside the privileged rows."""
        return False

    def _allows_holes(self, task: Task) -> bool:
        """Tell whether part of a privileged row may be missing."""
        return False

    def _read(
        self, task: Task, X: Any, y: Any, X_privileged: Any, sample_weight: Any, imitations: set[float]
    ) -> Lesson:
        """Check every argument before any work."""
        lesson = self._read_rows(task, X, y, X_privileged, sample_weight)
        self._check_lesson(task, lesson, imitations if lesson.privileged.any() else {0.0})
        return lesson

    def _read_rows(
        self, task: Task, X: Any, y: Any, X_privileged: Any, sample_weight: Any, *, reset: bool = True, least: int = 2
    ) -> Lesson:
        """Return rows as a lesson; unless `reset`, they must look like the rows before."""
        if y is None:
            step = f"{type(self).__name__} requires y to be passed, but the target y is None."
            raise wrong("y", "one target per row of X", None, step)
        self._check_settings(task)
        if X_privileged is not None:
            check_same_index("X_privileged", X_privileged, X, "Use X_privileged.loc[X.index].")
        if reset:
            flat, self._trailing_shape = flatten("X", X)
        else:
            flat = self._flattened(X)
        check_text_free("X", flat)
        array = validate_data(self, flat, ensure_all_finite=False, ensure_min_samples=least, reset=reset)
        self._check_missing(array, self._template())
        targets, hard, labelled = task.read(y)
        check_same_rows("y", len(hard), len(array), "Pass one target per row.")
        read = read_privileged(array, X_privileged, self._sees_both(), lambda: self._allows_holes(task), self._learner)
        if reset:
            self._remember(read.names)
        weight = sample_weight
        if weight is not None:
            weight = read_weights(weight, array, least)
        features, names = self._names(), read.names
        if names is not None and self._sees_both():
            names = None if features is None else (*features, *names)
        window = self._trailing_shape if len(self._trailing_shape) == 2 else array.shape[1:]
        return Lesson(array, targets, hard, labelled, read.Z, read.rows, weight, names, features, window, read.shape)

    def _names(self) -> tuple[str, ...] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else tuple(names)

    def _check_missing(self, X: np.ndarray, model: Any) -> np.ndarray:
        allow_nan = hasattr(model, "fit") and accepts_nan(model)
        other = f", or use a {self._predictor} that accepts NaN such as HistGradientBoostingClassifier"
        step = f"Impute it{other if self._predictor else ''}."
        return check_complete("X", X, allow_nan=allow_nan, step=step)

    def _remember(self, names: tuple[str, ...] | None) -> None:
        if names is not None:
            self.privileged_feature_names_in_ = np.asarray(names, dtype=object)
        elif hasattr(self, "privileged_feature_names_in_"):
            del self.privileged_feature_names_in_

    def _finish(self, task: Any) -> Any:
        """Store what only one task has."""
        return self

    def _can_teach(self, lesson: Lesson) -> bool:
        """Tell whether there is a row to be taught by; warn if there is none."""
        if lesson.privileged.any():
            return True
        self._warn_untaught()
        return False

    def _warn_untaught(self) -> None:
        warnings.warn(
            f"X_privileged is None or empty: {type(self).__name__} learns from hard targets only. "
            "Pass X_privileged to fit, or imitation=0 if this is meant.",
            UserWarning,
            stacklevel=self._caller + 1,
        )

    def _inputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        flat = self._flattened(X)
        check_text_free("X", flat)
        array = validate_data(self, flat, ensure_all_finite=False, reset=False)
        return self._check_missing(array, self.student_)

    def _flattened(self, X: Any) -> Any:
        """Return windows flattened, if they have the shape of those before."""
        flat, trailing = flatten("X", X)
        if 2 in (len(trailing), len(self._trailing_shape)) and trailing != self._trailing_shape:
            raise wrong(
                "X", f"of shape (n, {', '.join(map(str, self._trailing_shape))}) as in fit", f"shape {np.shape(X)}",
                "Pass windows of the same length and channels.",
            )  # fmt: skip
        return flat

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
        tags.input_tags.three_d_array = True
        model = self._template()
        tags.input_tags.allow_nan = hasattr(model, "fit") and accepts_nan(model)
        return tags


def read_weights(values: Any, X: np.ndarray, least: int) -> np.ndarray:
    """Return weights of rows, checked; where one row suffices, a part, all of them may be 0."""
    idle = least == 1 and values is not None and not np.any(values)
    weight = _check_sample_weight(np.ones_like(values, dtype=np.float64) if idle else values, X, dtype=np.float64)
    return np.zeros(len(weight)) if idle else check_weights("sample_weight", weight)


@contextmanager
def restored_on_failure(model: Any) -> Iterator[None]:
    """Leave a model that has added rows up as it was, if what is done to it fails."""
    before = dict(model.__dict__)
    try:
        yield
    except BaseException:
        if "statistics_" in before:
            model.__dict__.clear()
            model.__dict__.update(before)
        raise


def _offers(method: str) -> Callable[[Any], bool]:
    def offered(estimator: Any) -> bool:
        model = getattr(estimator, "student_", estimator._template())
        return model is None or hasattr(model, method)

    return offered


class Classifying(ClassifierMixin, Distillation):
    """What classifiers add: classes, probabilities and decision values of the student."""

    classes_: np.ndarray

    def _finish(self, task: Any) -> Any:
        self.classes_ = task.classes
        return super()._finish(task)

    @available_if(_offers("predict_proba"))
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

    @available_if(_offers("decision_function"))
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


class Searching(Distillation):
    """Choosing among settings by held-out loss."""

    cv: Any
    best_params_: dict[str, Any]

    def _check_settings(self, task: Task) -> None:
        super()._check_settings(task)
        check_splitter("cv", self.cv, "Use e.g. 5 or TimeSeriesSplit(gap=window + horizon - 1).")

    def _splits(self, task: Task, lesson: Lesson, check: Callable[[Lesson], Any] | None) -> Folds:
        """Return training rows and labelled test rows of each fold; `check` may refuse a training part."""
        if self.cv is None or isinstance(self.cv, int | np.integer):
            known, rows = np.flatnonzero(lesson.labelled), np.arange(len(lesson.X))
            folds = split_rows("cv", 5 if self.cv is None else self.cv, task, lesson.rows(known))
            # Rows without label are never scored, so they train in every fold.
            folds = [(np.setdiff1d(rows, known[test]), known[test]) for _, test in folds]
        else:
            folds = split_rows("cv", self.cv, task, lesson)
            folds = [(train, test[lesson.labelled[test]]) for train, test in folds]
        for train, _ in folds:
            part = lesson.rows(train)
            if not task.can_learn(part.hard[part.counts]):
                expected = "a splitter whose training parts hold two labelled rows, of two classes"
                raise wrong("cv", expected, self.cv, "Use fewer folds or more rows.")
            if check is not None:
                check(part)
        if not any(lesson.counts[test].any() for _, test in folds):
            raise wrong("cv", "a splitter that holds out labelled rows", self.cv, "Use fewer folds.")
        return folds

    def _choose_best(self, settings: dict[str, np.ndarray], losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Tabulate summed losses (n_folds, n_settings) of folds that weigh (n_folds,); return mean losses.

        On a tie the setting that is listed first wins.
        """
        mean = losses.sum(axis=0) / weights.sum()
        best = int(np.argmin(mean))
        self.best_params_ = {name: values[best].item() for name, values in settings.items()}
        self.best_loss_ = float(mean[best])
        self.cv_results_ = {**settings, "mean_test_loss": mean}
        for number, (fold, weight) in enumerate(zip(losses, weights, strict=True)):
            self.cv_results_[f"split{number}_test_loss"] = fold / weight if weight else np.full(len(mean), np.nan)
        return mean
