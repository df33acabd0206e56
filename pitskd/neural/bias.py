"""Class-bias correction: one number per class that makes a classifier as ready to say it as the class is frequent.

A student that met a class only in its teacher's soft labels knows what it looks like, but hardly ever says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from pitskd._validation import check_floats, check_same_rows, check_weights, wrong

__all__ = ["ClassBiasCorrection"]

_MAX_STEPS = 500  # about ten, unless every row is sure
_PRECISION = 1e-10  # of mean probabilities
_DAMPING = 1e-3  # of the first step
_ROUNDING = 1e-14  # of the potential


class ClassBiasCorrection(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose log-probabilities get one bias per class.

    Use it when classes were rare or missing among the hard labels of training: a fault, a regime that only the teacher
    has seen. Choose the biases on validation rows that hold every class, or from known frequencies; never on test rows.

    Parameters
    ----------
    estimator : fitted classifier
        Has `predict_proba` and `classes_`, among them the class unseen in training. It is never fitted here; inside
        `clone` (searches, cross-validation) wrap it as ``sklearn.frozen.FrozenEstimator(estimator)``.
    prior : array-like of shape (n_classes,) or mapping, default=None
        Frequencies in the order of ``estimator.classes_``, or by class; each above 0, together 1. None takes them from
        the labels passed to `fit`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Those of the estimator.
    bias_ : ndarray of shape (n_classes,)
        Added to log-probabilities; their mean is 0.
    prior_ : ndarray of shape (n_classes,)
        The frequencies met.
    n_features_in_ : int
        As of the estimator, where it has one.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the labels lack a class or hold an unknown one, or `prior` is no probability of each class.

    Notes
    -----
    The biases solve mean_i softmax(log p_i + b)_c = prior_c for every class c. With the class frequencies of labelled
    rows for prior these are the equations of least log-loss on them, so both uses are one: b is the least of
    mean_i logsumexp(log p_i + b) - prior' b, found by Newton's method. Departs from [1]_ in that every class gets a
    bias, not only the unseen one, and that it is fitted on validation rows, where [1]_ looked at the test set.

    References
    ----------
    .. [1] Hinton, Vinyals, Dean (2015). Distilling the Knowledge in a Neural Network. arXiv:1503.02531, section 3.

    Examples
    --------
    A classifier trained on two rows of class 1 among twenty, used where both classes are as frequent.

    >>> from sklearn.linear_model import LogisticRegression
    >>> X = np.linspace(0.0, 1.0, 20)[:, None]
    >>> model = LogisticRegression().fit(X, X[:, 0] > 0.93)
    >>> corrected = ClassBiasCorrection(model, prior=[0.5, 0.5]).fit(X)
    >>> model.predict(X).mean(), corrected.predict(X).mean()
    (np.float64(0.0), np.float64(0.5))
    """

    def __init__(self, estimator: Any, prior: Any = None) -> None:
        self.estimator = estimator
        self.prior = prior

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> ClassBiasCorrection:
        """Choose the biases.

        Parameters
        ----------
        X : array-like
            Validation rows, as the estimator takes them.
        y : array-like of shape (n_rows,), default=None
            Their labels, every class among them; ignored if `prior` is given.
        sample_weight : array-like of shape (n_rows,), default=None
            Weights of the rows, at least 0.

        Returns
        -------
        self : ClassBiasCorrection
        """
        self._check_estimator()
        classes = np.asarray(self.estimator.classes_)
        # Labels are read first: predicting may be long, and a mistake should not wait for it.
        labels = None if self.prior is not None else _read_labels(y, classes)
        prior = None if self.prior is None else _read_prior(self.prior, classes)
        log_p = self._log_probabilities(X)
        weight = _read_weights(sample_weight, log_p)
        if labels is not None:
            check_same_rows("y", len(labels), len(log_p), "Pass one label per row.")
            prior = _frequencies(labels, weight, classes)
        assert prior is not None
        self.bias_ = _solve(log_p, prior, weight)
        self.classes_, self.prior_ = classes, prior
        if hasattr(self.estimator, "n_features_in_"):
            self.n_features_in_ = self.estimator.n_features_in_
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return corrected probabilities.

        Parameters
        ----------
        X : array-like
            Rows, as the estimator takes them.

        Returns
        -------
        probabilities : ndarray of shape (n_rows, n_classes)
        """
        check_is_fitted(self)
        return softmax(self._log_probabilities(X) + self.bias_, axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest class of each row after the correction.

        Parameters
        ----------
        X : array-like
            Rows, as the estimator takes them.

        Returns
        -------
        labels : ndarray of shape (n_rows,)
        """
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def _check_estimator(self) -> None:
        if isinstance(self.estimator, type) or not hasattr(self.estimator, "fit"):
            step = "Pass a fitted one with predict_proba."
            raise wrong("estimator", "a classifier", self.estimator, step, TypeError)
        check_is_fitted(
            self.estimator,
            msg="estimator must be fitted, got an unfitted %(name)s. "
            "Fit it first; where it will be cloned, wrap it as sklearn.frozen.FrozenEstimator(estimator).",
        )
        if not hasattr(self.estimator, "predict_proba"):
            step = "Use e.g. LogisticRegression."
            raise wrong("estimator", "a classifier with predict_proba", self.estimator, step, TypeError)

    def _log_probabilities(self, X: Any) -> np.ndarray:
        probabilities = np.asarray(self.estimator.predict_proba(X), dtype=np.float64)
        # A class of probability 0 could not be corrected; the floor is that of sklearn.metrics.log_loss.
        return np.log(np.maximum(probabilities, np.finfo(np.float64).eps))


def _read_labels(y: Any, classes: np.ndarray) -> np.ndarray:
    """Return labels as positions in classes; every class occurs."""
    step = "Pass the labels of validation rows, or the known frequencies as prior."
    if y is None:
        raise wrong("y", "one label per row of X where prior is None", None, step)
    labels = check_array(y, ensure_2d=False, dtype=None, input_name="y")
    if labels.ndim != 1:
        raise wrong("y", "of shape (n_rows,)", f"shape {labels.shape}", step)
    unknown = sorted(set(labels.tolist()) - set(classes.tolist()))
    if unknown:
        raise wrong("y", f"among {classes.tolist()}", unknown[0], "The estimator has no probability for it.")
    missing = sorted(set(classes.tolist()) - set(labels.tolist()))
    if missing:
        raise wrong("y", "labels of every class", f"none of class {missing[0]!r}", step)
    positions = {label: position for position, label in enumerate(classes.tolist())}
    return np.array([positions[label] for label in labels.tolist()])


def _read_prior(prior: Any, classes: np.ndarray) -> np.ndarray:
    """Return frequencies in the order of classes."""
    step = "Pass one frequency per class, e.g. 0.01 for a rare one."
    if isinstance(prior, Mapping):
        if set(prior) != set(classes.tolist()):
            raise wrong("prior", f"a frequency of each of {classes.tolist()}", sorted(prior, key=repr), step)
        prior = [prior[label] for label in classes.tolist()]
    frequencies = check_floats("prior", prior)
    if frequencies.shape != classes.shape:
        raise wrong("prior", f"of shape {classes.shape}", f"shape {frequencies.shape}", step)
    if not (frequencies > 0).all() or not np.isclose(frequencies.sum(), 1.0):
        raise wrong("prior", "frequencies above 0 whose sum is 1", frequencies.tolist(), step)
    return frequencies / frequencies.sum()


def _read_weights(sample_weight: Any, log_p: np.ndarray) -> np.ndarray:
    """Return weights whose sum is 1."""
    weight = _check_sample_weight(sample_weight, log_p, dtype=np.float64)
    weight = check_weights("sample_weight", weight)
    return weight / weight.sum()


def _frequencies(labels: np.ndarray, weight: np.ndarray, classes: np.ndarray) -> np.ndarray:
    frequencies = np.bincount(labels, weights=weight, minlength=len(classes))
    if not (frequencies > 0).all():
        label = classes[frequencies == 0].tolist()[0]
        step = "Give a row of it some weight, or the known frequencies as prior."
        raise wrong("sample_weight", "above 0 in a row of every class", f"0 in all of class {label!r}", step)
    return frequencies


def _solve(log_p: np.ndarray, prior: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return biases of mean 0 under which the weighted mean probabilities are the prior."""
    bias, damping = np.zeros(len(prior)), _DAMPING
    potential = _potential(log_p, bias, prior, weight)
    for _ in range(_MAX_STEPS):
        p = softmax(log_p + bias, axis=1)
        missed = prior - weight @ p
        if np.abs(missed).max() < _PRECISION:
            break
        # Where all rows are sure the curvature vanishes: damping, as Levenberg's, keeps the step in bounds.
        # Equal biases change nothing: the last summand makes them a direction like others, and keeps their mean 0.
        curvature = np.diag(weight @ p + damping) - (p * weight[:, None]).T @ p + 1.0 / len(prior)
        trial = bias + np.linalg.solve(curvature, missed)
        reached = _potential(log_p, trial, prior, weight)
        if reached <= potential + _ROUNDING * abs(potential):
            bias, potential, damping = trial, reached, damping / 10
        else:
            damping *= 10
    return bias


def _potential(log_p: np.ndarray, bias: np.ndarray, prior: np.ndarray, weight: np.ndarray) -> float:
    """Return the convex function whose gradient is the mean probabilities minus the prior."""
    return float(weight @ logsumexp(log_p + bias, axis=1) - prior @ bias)
