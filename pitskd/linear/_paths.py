"""Convex students for whole grids at once: all targets share one design, all penalties one path.

Every loss here is a weighted *sum* over rows plus ``penalty / 2`` times the sum of squared coefficients; the intercept
is free. Features are expected on one scale (standardised), targets of a classifier are probabilities.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, softmax

__all__: list[str] = []


def ridge_path(
    X: np.ndarray, y: np.ndarray, penalties: np.ndarray, sample_weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit ridge regressions of every target at every penalty from one factorisation.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n, n_targets)
    penalties : ndarray of shape (n_penalties,)
        At 0 the minimum-norm least-squares solution.
    sample_weight : ndarray of shape (n,)

    Returns
    -------
    coef : ndarray of shape (n_penalties, n_targets, d)
    intercept : ndarray of shape (n_penalties, n_targets)
    """
    share = sample_weight / sample_weight.sum()
    x_mean, y_mean = share @ X, share @ y
    root = np.sqrt(sample_weight)[:, None]
    U, s, Vt = np.linalg.svd(root * (X - x_mean), full_matrices=False)
    projected = U.T @ (root * (y - y_mean))
    # Directions that carry only rounding errors must not be inverted where the penalty is 0.
    s_safe = np.where(s > s.max(initial=0.0) * max(X.shape) * np.finfo(np.float64).eps, s, 0.0)
    denominator = s_safe**2 + np.asarray(penalties, dtype=np.float64)[:, None]
    shrink = np.divide(s_safe, denominator, out=np.zeros_like(denominator), where=denominator > 0)
    coef = (shrink[:, None, :] * projected.T) @ Vt
    return coef, y_mean - coef @ x_mean


def logistic_path(
    X: np.ndarray,
    targets: np.ndarray,
    penalties: np.ndarray,
    sample_weight: np.ndarray,
    *,
    offset: np.ndarray | None = None,
    tol: float = 1e-9,
    max_iter: int = 200,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit L2-logistic models of every target at every penalty by Newton steps taken for all targets together.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    targets : ndarray of shape (n_targets, n, n_classes)
        Probabilities of the classes, rows summing to 1.
    penalties : ndarray of shape (n_penalties,)
        Above 0.
    sample_weight : ndarray of shape (n_targets, n)
    offset : ndarray of shape (n,), optional
        Added to the logit of two-class models: the coefficients are then shrunk towards the offset's own.
    tol : float, default=1e-9
        Stop when no gradient entry exceeds this share of the total weight.
    max_iter : int, default=200
        Newton steps per penalty at most.

    Returns
    -------
    coef : ndarray of shape (n_targets, n_penalties, n_logits, d)
        One logit for two classes, as scikit-learn has it, else one per class with centred intercepts.
    intercept : ndarray of shape (n_targets, n_penalties, n_logits)

    Notes
    -----
    Penalties are visited from strong to weak, each starting at the previous optimum. With more features than rows the
    path is solved in the rows' span, to which the optimum belongs.
    """
    n, d = X.shape
    basis = None
    if d > n:
        U, s, basis = np.linalg.svd(X, full_matrices=False)
        X = U * s
    problem = _Logistic(X, targets, sample_weight, np.zeros(n) if offset is None else offset)
    coef = np.empty((len(targets), len(penalties), problem.n_logits, X.shape[1]))
    intercept = np.empty(coef.shape[:-1])
    theta = np.zeros((len(targets), problem.n_logits, X.shape[1] + 1))
    for p in np.argsort(penalties)[::-1]:
        theta = problem.minimise(theta, float(penalties[p]), tol, max_iter)
        coef[:, p], intercept[:, p] = theta[..., :-1], theta[..., -1]
    return (coef if basis is None else coef @ basis), intercept


class _Logistic:
    """Penalised cross-entropy of a batch of targets over one design."""

    def __init__(self, X: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray, offset: np.ndarray) -> None:
        self.design = np.column_stack([X, np.ones(len(X))])
        self.binary = targets.shape[-1] == 2
        self.targets = targets[..., 1:] if self.binary else targets
        self.weight = sample_weight[..., None]
        self.offset = offset[:, None]
        self.n_logits = self.targets.shape[-1]

    def minimise(self, theta: np.ndarray, penalty: float, tol: float, max_iter: int) -> np.ndarray:
        theta = theta.copy()
        active = np.arange(len(theta))
        bound = tol * self.weight.sum(axis=(1, 2))
        for _ in range(max_iter):
            gradient, hessian = self._derivatives(theta[active], penalty, active)
            moving = np.abs(gradient).max(axis=1) > bound[active]
            active, gradient, hessian = active[moving], gradient[moving], hessian[moving]
            if not len(active):
                break
            step = np.linalg.solve(hessian, gradient[..., None])[..., 0].reshape(theta[active].shape)
            theta[active] = self._line_search(theta[active], step, gradient, penalty, active)
        return theta

    def _logits(self, theta: np.ndarray) -> np.ndarray:
        return np.swapaxes(theta @ self.design.T, 1, 2) + self.offset

    def _loss(self, theta: np.ndarray, penalty: float, rows: np.ndarray) -> np.ndarray:
        logits = self._logits(theta)
        normaliser = np.logaddexp(0.0, logits) if self.binary else logsumexp(logits, axis=-1, keepdims=True)
        # All entries of a row of targets sum to 1 unless there is one logit, where log(1 + e^z) stands once as well.
        fit = self.weight[rows] * (normaliser - (self.targets[rows] * logits).sum(axis=-1, keepdims=True))
        ridge = 0.5 * penalty * np.square(theta[..., :-1]).sum(axis=(1, 2))
        return fit.sum(axis=(1, 2)) + ridge + 0.5 * self._pin * theta[..., -1].sum(axis=1) ** 2

    @property
    def _pin(self) -> float:
        """Several intercepts are free up to a common shift: hold their sum at 0, which costs the loss nothing."""
        return 0.0 if self.binary else 1.0

    def _derivatives(self, theta: np.ndarray, penalty: float, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits = self._logits(theta)
        p = _sigmoid(logits) if self.binary else softmax(logits, axis=-1)
        weight, (n_problems, n_logits, width) = self.weight[rows], theta.shape
        gradient = np.swapaxes(weight * (p - self.targets[rows]), 1, 2) @ self.design
        gradient[..., :-1] += penalty * theta[..., :-1]
        gradient[..., -1] += self._pin * theta[..., -1].sum(axis=1, keepdims=True)
        hessian = np.empty((n_problems, n_logits, width, n_logits, width))
        for k in range(n_logits):
            for m in range(n_logits):
                curvature = weight[..., 0] * p[..., k] * ((k == m) - p[..., m])
                hessian[:, k, :, m, :] = self.design.T @ (curvature[..., None] * self.design)
                hessian[:, k, -1, m, -1] += self._pin
            # Where every probability has saturated nothing else holds the intercept; no optimum moves by it.
            hessian[:, k, -1, k, -1] += 1e-12 * weight[..., 0].sum(axis=1)
            diagonal = np.arange(width - 1)
            hessian[:, k, diagonal, k, diagonal] += penalty
        size = n_logits * width
        return gradient.reshape(n_problems, size), hessian.reshape(n_problems, size, size)

    def _line_search(
        self, theta: np.ndarray, step: np.ndarray, gradient: np.ndarray, penalty: float, rows: np.ndarray
    ) -> np.ndarray:
        """Halve each problem's step until its loss falls (Armijo); near the optimum the full step passes at once."""
        before = self._loss(theta, penalty, rows)
        slope = (gradient * step.reshape(len(step), -1)).sum(axis=1)
        length = np.ones(len(theta))
        for _ in range(40):
            after = self._loss(theta - length[:, None, None] * step, penalty, rows)
            # Rounding of the loss must not stop a step whose promise is smaller than it.
            short = after > before - 1e-4 * length * slope + 1e-12 * np.abs(before)
            if not short.any():
                break
            length = np.where(short, 0.5 * length, length)
        return theta - length[:, None, None] * step


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * z))
