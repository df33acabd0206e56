"""Scores turned into logits by one slope and free intercepts, for many scores at once."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

__all__: list[str] = []

_PENALTY = 1e-4  # keeps the slope finite where the classes can be told apart without error
_MAX_STEPS = 200


def calibrate(scores: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit slope and intercepts of every batch of scores to targets.

    Parameters
    ----------
    scores : ndarray of shape (n_problems, n, k)
        Of the second of two classes (k = 1), else one per class.
    targets : ndarray of shape (n, n_classes)
        Probabilities.
    sample_weight : ndarray of shape (n_problems, n)
        At 0 a row is held out.

    Returns
    -------
    slope : ndarray of shape (n_problems,)
        ``slope * scores + intercept`` are logits.
    intercept : ndarray of shape (n_problems, k)

    Notes
    -----
    Minimises the summed cross-entropy plus half a penalty of 1e-4 times the squared slope of scores of unit spread.
    """
    binary = scores.shape[-1] == 1
    share = (sample_weight / sample_weight.sum(axis=1, keepdims=True))[..., None]
    mean = (share * scores).sum(axis=1)
    spread = np.sqrt((share * np.square(scores - mean[:, None])).sum(axis=1).mean(axis=-1))
    tiny = scores.shape[1] * np.finfo(np.float64).eps * np.abs(mean).max(axis=-1)
    spread = np.where(spread <= tiny, 1.0, spread)
    unit = (scores - mean[:, None]) / spread[:, None, None]
    if binary:
        unit = np.concatenate([np.zeros_like(unit), unit], axis=-1)
    theta = _newton(unit, targets, sample_weight)
    slope = theta[:, 0] / spread
    # The first class has intercept 0, which several logits leave free.
    free = theta[:, 1:] if binary else np.pad(theta[:, 1:], ((0, 0), (1, 0)))
    return slope, free - slope[:, None] * mean


def _newton(scores: np.ndarray, targets: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return slope and the intercepts of all classes but the first, (n_problems, n_classes)."""
    theta = np.zeros((len(scores), scores.shape[-1]))
    bound = 1e-11 * weight.sum(axis=1)
    for _ in range(_MAX_STEPS):
        gradient, hessian = _derivatives(theta, scores, targets, weight)
        moving = np.flatnonzero(np.abs(gradient).max(axis=1) > bound)
        if not len(moving):
            break
        step = np.linalg.solve(hessian[moving], gradient[moving][..., None])[..., 0]
        theta[moving] = _shorten(theta[moving], step, scores[moving], targets, weight[moving])
    return theta


def _log_probabilities(theta: np.ndarray, scores: np.ndarray) -> np.ndarray:
    logits = theta[:, :1, None] * scores
    logits[..., 1:] += theta[:, None, 1:]
    return log_softmax(logits, axis=-1)


def _loss(theta: np.ndarray, scores: np.ndarray, targets: np.ndarray, weight: np.ndarray) -> np.ndarray:
    cross_entropy = -(targets * _log_probabilities(theta, scores)).sum(axis=-1)
    return (weight * cross_entropy).sum(axis=1) + 0.5 * _PENALTY * theta[:, 0] ** 2


def _derivatives(
    theta: np.ndarray, scores: np.ndarray, targets: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    p = np.exp(_log_probabilities(theta, scores))
    residual = weight[..., None] * (p - targets)
    gradient = np.concatenate([(residual * scores).sum(axis=(1, 2))[:, None], residual.sum(axis=1)[:, 1:]], axis=1)
    gradient[:, 0] += _PENALTY * theta[:, 0]
    weighted = weight[..., None] * p
    centred = scores - (p * scores).sum(axis=-1, keepdims=True)
    hessian = np.empty((len(theta), theta.shape[1], theta.shape[1]))
    hessian[:, 0, 0] = (weighted * centred * scores).sum(axis=(1, 2)) + _PENALTY
    hessian[:, 0, 1:] = hessian[:, 1:, 0] = (weighted * centred).sum(axis=1)[:, 1:]
    hessian[:, 1:, 1:] = -(np.swapaxes(weighted, 1, 2) @ p)[:, 1:, 1:]
    inner = np.arange(1, theta.shape[1])
    # A class without a row, or saturated probabilities, leave nothing else that holds an intercept.
    hessian[:, inner, inner] += weighted.sum(axis=1)[:, 1:] + 1e-12 * weight.sum(axis=1)[:, None]
    return gradient, hessian


def _shorten(
    theta: np.ndarray, step: np.ndarray, scores: np.ndarray, targets: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Halve each problem's step until its loss does not rise."""
    before, length = _loss(theta, scores, targets, weight), np.ones(len(theta))
    for _ in range(40):
        rises = _loss(theta - length[:, None] * step, scores, targets, weight) > before + 1e-13 * np.abs(before)
        if not rises.any():
            break
        length = np.where(rises, 0.5 * length, length)
    return theta - length[:, None] * step
