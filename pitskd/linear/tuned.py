"""The bar: ridge and L2-logistic regression, penalty chosen by held-out loss. Also the default teacher and student.

Features are standardised inside, so a `penalty` is L2 on the summed loss over standardised features: ``alpha`` of
scikit-learn's ``Ridge``, ``1 / C`` of its ``LogisticRegression``. The intercept is free.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.model_selection import check_cv
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from pitskd._estimator import read_weights, restored_on_failure
from pitskd._validation import (
    check_mergeable,
    check_penalties,
    check_rows_for_folds,
    check_soft_targets,
    check_splitter,
    check_two_classes,
    check_weights,
    wrong,
)
from pitskd.linear import _dask
from pitskd.linear._moments import Affine, Moments, Segments, merged, ridge_rules, warn_if_forgetting
from pitskd.linear._paths import logistic_path, ridge_grid, ridge_path

__all__ = ["TunedLogisticRegression", "TunedRidge"]

# Down to 1e-4: on noise-free series a stronger floor cripples the baseline and makes gains that are none.
_PENALTIES = np.logspace(-4, 4, 9)
_STRETCHES = 8  # that are kept for each fold where rows are added up


class _Tuned(BaseEstimator, ABC):
    """Standardise, choose a penalty, fit: what both tasks share."""

    def __init__(self, penalties: Any = None, cv: Any = None) -> None:
        self.penalties = penalties
        self.cv = cv

    def _fit(self, X: np.ndarray, targets: np.ndarray, y: np.ndarray, sample_weight: np.ndarray) -> None:
        penalties = self._penalty_grid()
        best = self._choose(penalties, self._held_out_losses(X, targets, y, sample_weight, penalties))
        coef, intercept = self._paths(X, targets[None], penalties[best : best + 1], sample_weight)
        self.coef_, self.intercept_ = coef[0, 0], intercept[0, 0]

    def _choose(self, penalties: np.ndarray, losses: np.ndarray) -> int:
        """Return the place of the best penalty."""
        if np.isnan(losses).all():  # nothing to choose by: the penalty nearest to 1
            best = int(np.argmin(np.abs(np.log(penalties + 1e-300))))
        else:  # ties go to the strongest
            best = len(penalties) - 1 - int(np.argmin(losses[::-1]))
        self.held_out_losses_, self.penalty_ = losses, float(penalties[best])
        return best

    def _penalty_grid(self) -> np.ndarray:
        """Return the distinct penalties, ascending."""
        listed = _PENALTIES if self.penalties is None else self.penalties
        return np.unique(check_penalties("penalties", listed, above=isinstance(self, ClassifierMixin)))

    def _held_out_losses(
        self, X: np.ndarray, targets: np.ndarray, y: np.ndarray, sample_weight: np.ndarray, penalties: np.ndarray
    ) -> np.ndarray:
        folds = list(self._folds(X, y)) if len(penalties) > 1 else []
        sets = np.zeros((len(folds), len(X)))
        for row, (train, _) in zip(sets, folds, strict=True):
            if not sample_weight[train].any():
                raise wrong("cv", "a splitter whose training parts have weight", self.cv, "Use fewer folds.")
            np.add.at(row, train, sample_weight[train])  # a splitter may draw a row twice
        if not folds:
            return np.full(len(penalties), np.nan)
        coef, intercept = self._grid(X, np.broadcast_to(targets, (len(folds), *targets.shape)), penalties, sets)
        losses, weight = np.zeros(len(penalties)), 0.0
        for f, (_, test) in enumerate(folds):
            losses += self.losses(linear_values(X[test], coef[f], intercept[f]), targets[test]) @ sample_weight[test]
            weight += sample_weight[test].sum()
        return losses / weight if weight else np.full(len(penalties), np.nan)

    def _folds(self, X: np.ndarray, y: np.ndarray) -> Any:
        check_splitter("cv", self.cv, "Use e.g. 5 or TimeSeriesSplit().")
        classify = isinstance(self, ClassifierMixin)
        if self.cv is None:
            scarcest = int(np.unique(y, return_counts=True)[1].min()) if classify else len(X)
            n_folds: Any = min(5, scarcest)
            return check_cv(n_folds, y, classifier=classify).split(X, y) if n_folds > 1 else ()
        if isinstance(self.cv, int | np.integer):
            check_rows_for_folds("cv", int(self.cv), len(X))
            largest = int(np.unique(y, return_counts=True)[1].max()) if classify else len(X)
            if self.cv > largest:
                raise wrong("cv", f"at most {largest}, the rows of the largest class", self.cv, "Use e.g. cv=2.")
        splitter: Any = check_cv(self.cv, y, classifier=classify)
        return splitter.split(X, y)

    def solve_grid(
        self, X: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit every target at every penalty, each on rows and weights of its own, as one batch.

        Parameters
        ----------
        X : ndarray of shape (n, d)
        targets : ndarray of shape (n_targets, n, k)
            Regression targets, or probabilities of the sorted classes.
        sample_weight : ndarray of shape (n_targets, n)
            Rows of weight 0 are held out.

        Returns
        -------
        coef : ndarray of shape (n_targets, n_penalties, k_linear, d)
            For features as given, penalties ascending; one logit for two classes.
        intercept : ndarray of shape (n_targets, n_penalties, k_linear)
        """
        return self._grid(np.asarray(X, dtype=np.float64), targets, self._penalty_grid(), sample_weight)

    def _paths(
        self, X: np.ndarray, targets: np.ndarray, penalties: np.ndarray, sample_weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve on standardised features, return coefficients for X as given."""
        X = np.asarray(X, dtype=np.float64)
        mean, scale = location_and_scale(X, sample_weight)
        coef, intercept = self._solve((X - mean) / scale, targets, penalties, sample_weight)
        coef = coef / scale
        return coef, intercept - coef @ mean

    @abstractmethod
    def _solve(
        self, X: np.ndarray, targets: np.ndarray, penalties: np.ndarray, sample_weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]: ...

    @abstractmethod
    def _grid(
        self, X: np.ndarray, targets: np.ndarray, penalties: np.ndarray, sets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit targets (n_targets, n, k), each on its own row of weights, features standardised by it."""

    @staticmethod
    @abstractmethod
    def losses(linear: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Loss of each row, shape (..., n), for linear values of shape (..., n, k)."""

    def _linear_values(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return X @ self.coef_.T + self.intercept_


class TunedRidge(RegressorMixin, _Tuned):
    """Ridge regression whose penalty is chosen by held-out squared error: the baseline that a student has to beat.

    Parameters
    ----------
    penalties : array of shape (n_penalties,), default=None
        L2 penalties on half the summed squares over standardised features, at least 0. None: 1e-4 .. 1e4, nine values.
    cv : int, splitter or iterable, default=None
        Folds for the choice; an int gives contiguous folds, which keep most overlapping windows apart. None: five, or
        as many as there are rows.

    Attributes
    ----------
    penalty_ : float
        The chosen penalty.
    held_out_losses_ : ndarray of shape (n_penalties,)
        Mean squared error at each distinct penalty, ascending; NaN where there was no choice.
    coef_ : ndarray of shape (n_targets, n_features)
        For features as given.
    intercept_ : ndarray of shape (n_targets,)
    statistics_ : object
        What the rows given to `partial_fit` add up to; not after `fit`.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd import TunedRidge
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> TunedRidge().fit(X, X @ [1.0, 2.0, 0.0] + 3.0).predict([[1.0, 1.0, 1.0]]).round(2)
    array([6.])
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TunedRidge:
        """Choose the penalty and fit, to arrays in memory or of dask.

        Parameters
        ----------
        X : array of shape (n, d)
            Blocks of a dask array are added up where they lie, as in `partial_fit`; y and weights must be its like.
        y : array of shape (n,) or (n, n_targets)
        sample_weight : array of shape (n,), default=None

        Returns
        -------
        self : TunedRidge
        """
        given = {"X": X, "y": y, "X_privileged": None, "sample_weight": sample_weight}
        with restored_on_failure(self):
            self.__dict__.pop("statistics_", None)
            if any(map(_dask.is_dask, given.values())):
                self._forget()
                return self._take(_dask.summed(clone(self), given), least=2)
            X, targets, weight, self._one_target = self._read(X, y, sample_weight, least=2)
            self._fit(X, targets, y, weight)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> TunedRidge:
        """Learn from more rows; memory does not grow with their number.

        With one penalty the result is that of `fit` on all rows so far. Where there is a choice, folds are cut between
        parts, as near to those of `fit` as that allows (exactly, if all rows come at once); eight stretches a fold are
        kept at most.

        Parameters
        ----------
        X : array of shape (n, d)
            One row or more.
        y : array of shape (n,) or (n, n_targets)
        sample_weight : array of shape (n,), default=None

        Returns
        -------
        self : TunedRidge
            Fitted once there are two rows.

        Raises
        ------
        ValueError
            As `fit`; or if `cv` is a splitter and there is a choice.

        Warns
        -----
        UserWarning
            After `fit`, which keeps no sums: its rows are forgotten.

        Examples
        --------
        >>> import numpy as np
        >>> from pitskd import TunedRidge
        >>> X = np.random.default_rng(0).normal(size=(60, 3))
        >>> ridge = TunedRidge().partial_fit(X[:50], X[:50] @ [1.0, 2.0, 0.0] + 3.0)
        >>> ridge.partial_fit(X[50:], X[50:] @ [1.0, 2.0, 0.0] + 3.0).predict([[1.0, 1.0, 1.0]]).round(2)
        array([6.])
        """
        return self._take(self._evidence(X, y, None, sample_weight))

    def merge(self, other: Any) -> TunedRidge:
        """Take over what another model has learnt by `partial_fit`, as if its rows had come here next.

        Parameters
        ----------
        other : TunedRidge
            With rows of the same shape and columns; it is left as it is.

        Returns
        -------
        self : TunedRidge

        Raises
        ------
        ValueError
            If the rows have another shape or other columns, or `other` has learnt from none.
        TypeError
            If `other` is of another class.
        """
        check_mergeable(self, other)
        warn_if_forgetting(self, "coef_", 3)
        return self._take(other.statistics_)

    def _read(self, X: Any, y: Any, sample_weight: Any, least: int, reset: bool = True) -> tuple[Any, ...]:
        """Return rows, targets (n, k) and weights, checked, and whether targets have one axis."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=least, reset=reset)
        targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        return X, targets, read_weights(sample_weight, X, least), y.ndim == 1

    def _evidence(self, X: Any, y: Any, X_privileged: Any, sample_weight: Any) -> Segments:
        """Return what rows add up to, all arguments checked; there is no privileged part."""
        n_folds = self._n_folds()
        warn_if_forgetting(self, "coef_", 4)
        first = not hasattr(self, "statistics_")
        X, targets, weight, one_target = self._read(X, y, sample_weight, least=1, reset=first)
        names = getattr(self, "feature_names_in_", None)
        cuts = np.array_split(np.arange(len(X)), min(n_folds, len(X)))
        spans = [slice(rows[0], rows[-1] + 1) for rows in cuts]
        weights = [None if sample_weight is None else weight[span] for span in spans]
        parts = [Moments.of((X[span], targets[span]), part) for span, part in zip(spans, weights, strict=True)]
        names = None if names is None else tuple(names)
        most = 1 if n_folds == 1 else _STRETCHES * n_folds
        return Segments(tuple(parts), X.shape[1], one_target, names, most)

    def _n_folds(self) -> int:
        """Return how many folds there are to choose by, 1 for no choice."""
        if len(self._penalty_grid()) == 1:
            return 1
        if self.cv is not None and not isinstance(self.cv, int | np.integer):
            expected = "an integer or None where rows are added up and several penalties are to be compared"
            raise wrong("cv", expected, self.cv, "Use e.g. cv=5, or a single penalty.")
        check_splitter("cv", self.cv, "Use e.g. 5 or TimeSeriesSplit().")
        return 5 if self.cv is None else int(self.cv)

    def _take(self, given: Segments, least: int = 1) -> TunedRidge:
        """Add stretches and learn from all there are, if they suffice."""
        known = given.shortened() if not hasattr(self, "statistics_") else self.statistics_.merged(given)
        n_folds, penalties, total = self._n_folds(), self._penalty_grid(), known.total
        if known.n_rows < least or (least > 1 and not total.weight):
            raise wrong("X", f"of at least {least} rows with weight", f"{known.n_rows}", "Pass more rows.")
        losses = self._segment_losses(known, n_folds, penalties)
        self._forget()
        self.n_features_in_, self._one_target = known.n_features, known.one_target
        if known.features is not None:
            self.feature_names_in_ = np.asarray(known.features, dtype=object)
        if known.n_rows > 1 and total.weight:
            best = self._choose(penalties, losses)
            coef, intercept = ridge_rules(total, known.n_features, penalties[best : best + 1])
            self.coef_, self.intercept_ = coef[0], intercept[0]
        self.statistics_ = known
        return self

    def _forget(self) -> None:
        """Drop what was learnt; what follows is learnt from all rows that count."""
        for name in ("coef_", "intercept_", "penalty_", "held_out_losses_", "feature_names_in_"):
            self.__dict__.pop(name, None)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")

    def _segment_losses(self, known: Segments, n_folds: int, penalties: np.ndarray) -> np.ndarray:
        """Return the held-out mean squared error at every penalty."""
        d, folds = known.n_features, [fold for fold in known.folds(n_folds) if fold.weight]
        if len(folds) < 2:
            return np.full(len(penalties), np.nan)
        losses, weight = np.zeros(len(penalties)), 0.0
        for number, test in enumerate(folds):
            train = merged(folds[:number] + folds[number + 1 :], len(test.mean))
            for place, (coef, intercept) in enumerate(zip(*ridge_rules(train, d, penalties, tell=False), strict=True)):
                left = Affine(np.hstack([-coef, np.eye(len(coef))]), -intercept)
                losses[place] += test.mapped(left).mean_square().mean() * test.weight
            weight += test.weight
        return losses / weight

    def predict(self, X: Any) -> np.ndarray:
        """Return predictions of shape (n,) or (n, n_targets)."""
        values = self._linear_values(X)
        return values[:, 0] if self._one_target else values

    def _solve(self, X: np.ndarray, targets: np.ndarray, penalties: np.ndarray, sample_weight: np.ndarray) -> Any:
        n_sets, n, k = targets.shape
        side_by_side = targets.transpose(1, 0, 2).reshape(n, n_sets * k)
        coef, intercept = ridge_path(X, side_by_side, penalties, sample_weight)
        coef = coef.reshape(len(penalties), n_sets, k, -1).swapaxes(0, 1)
        return coef, intercept.reshape(len(penalties), n_sets, k).swapaxes(0, 1)

    def _grid(self, X: np.ndarray, targets: np.ndarray, penalties: np.ndarray, sets: np.ndarray) -> Any:
        distinct, member, count = np.unique(sets, axis=0, return_inverse=True, return_counts=True)
        n, k = targets.shape[1:]
        coef = np.empty((len(targets), len(penalties), k, X.shape[1]))
        intercept = np.empty(coef.shape[:-1])
        # Targets of equal weights share one factorisation; sets that share as many are solved side by side.
        for size in np.unique(count):
            rows = np.stack([np.flatnonzero(member.ravel() == group) for group in np.flatnonzero(count == size)])
            together = targets[rows].transpose(0, 2, 1, 3).reshape(len(rows), n, size * k)
            solved = ridge_grid(X, together, penalties, distinct[count == size])
            shape = len(rows), len(penalties), size, k
            coef[rows] = solved[0].reshape(*shape, -1).swapaxes(1, 2)
            intercept[rows] = solved[1].reshape(shape).swapaxes(1, 2)
        return coef, intercept

    @staticmethod
    def losses(linear: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Squared error, averaged over targets."""
        return np.square(linear - targets).mean(axis=-1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class TunedLogisticRegression(ClassifierMixin, _Tuned):
    """L2-logistic regression whose penalty is chosen by held-out log-loss: the baseline that a student has to beat.

    Learns from labels or, through `soft_targets`, from probabilities.

    Parameters
    ----------
    penalties : array of shape (n_penalties,), default=None
        L2 penalties on the summed cross-entropy over standardised features, above 0. None: 1e-4 .. 1e4, nine values.
    cv : int, splitter or iterable, default=None
        Folds for the choice; an int gives stratified folds without shuffling. None: five, or as many as the scarcest
        class has rows; where it has one, there is no choice and the penalty nearest to 1 is taken.

    Attributes
    ----------
    penalty_ : float
        The chosen penalty.
    held_out_losses_ : ndarray of shape (n_penalties,)
        Mean log-loss in nats at each distinct penalty, ascending; NaN where there was no choice.
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_logits, n_features)
        For features as given; one logit for two classes, else one per class.
    intercept_ : ndarray of shape (n_logits,)
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd import TunedLogisticRegression
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> TunedLogisticRegression().fit(X, X[:, 0] > 0).predict([[2.0, 0.0], [-2.0, 0.0]])
    array([ True, False])
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, soft_targets: Any = None) -> TunedLogisticRegression:
        """Choose the penalty and fit.

        Parameters
        ----------
        X : array of shape (n, d)
        y : array of shape (n,)
            Labels. With `soft_targets` they only name the classes and stratify the folds.
        sample_weight : array of shape (n,), default=None
        soft_targets : array of shape (n, n_classes), default=None
            Probabilities of the sorted classes, learnt in place of `y`.

        Returns
        -------
        self : TunedLogisticRegression
        """
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        weight = check_weights("sample_weight", _check_sample_weight(sample_weight, X, dtype=np.float64))
        self.classes_, codes = np.unique(y, return_inverse=True)
        check_two_classes("y", self.classes_)
        if soft_targets is None:
            targets = np.eye(len(self.classes_))[codes]
        else:
            targets = check_soft_targets("soft_targets", soft_targets, len(y), len(self.classes_))
        self._fit(X, targets, y, weight)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logit of the second of two classes, shape (n,), or one logit per class, (n, n_classes)."""
        values = self._linear_values(X)
        return values[:, 0] if len(self.classes_) == 2 else values

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return log-probabilities of shape (n, n_classes)."""
        return log_probabilities(self._linear_values(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities of shape (n, n_classes)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, shape (n,)."""
        values = log_probabilities(self._linear_values(X))
        return self.classes_[values.argmax(axis=1)]

    def _solve(self, X: np.ndarray, targets: np.ndarray, penalties: np.ndarray, sample_weight: np.ndarray) -> Any:
        return logistic_path(X, targets, penalties, np.tile(sample_weight, (len(targets), 1)))

    def _grid(self, X: np.ndarray, targets: np.ndarray, penalties: np.ndarray, sets: np.ndarray) -> Any:
        distinct, member = np.unique(sets, axis=0, return_inverse=True)
        scales = np.stack([location_and_scale(X, weight)[1] for weight in distinct])
        return logistic_path(X, targets, penalties, sets, scale=scales[member.ravel()])

    @staticmethod
    def losses(linear: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Cross-entropy in nats."""
        return -(targets * log_probabilities(linear)).sum(axis=-1)


def location_and_scale(X: np.ndarray, sample_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted means and standard deviations (d,) of rows (n, d); 1 for columns constant up to rounding."""
    share = sample_weight / sample_weight.sum()
    mean = share @ X
    scale = np.sqrt(share @ np.square(X - mean))
    scale[scale <= len(X) * np.finfo(np.float64).eps * np.abs(mean)] = 1.0
    return mean, scale


def linear_values(X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Return values (..., n, k) of rules (..., k, d)."""
    return np.swapaxes(coef @ X.T, -1, -2) + intercept[..., None, :]


def log_probabilities(linear: np.ndarray) -> np.ndarray:
    """Return log-probabilities (..., n_classes) of one logit, that of the second of two classes, or one per class."""
    if linear.shape[-1] == 1:
        return np.concatenate([-np.logaddexp(0.0, linear), -np.logaddexp(0.0, -linear)], axis=-1)
    return log_softmax(linear, axis=-1)
