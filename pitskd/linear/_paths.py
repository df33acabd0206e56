"""Convex students for whole grids at once: every target, penalty and training set is one problem of a batch.

Every loss here is a weighted *sum* over rows plus ``penalty / 2`` times the sum of squared coefficients; the intercept
is free. Targets of a classifier are probabilities. A row of weight 0 is held out: the folds of a cross-validation are
rows of `sample_weight`. Solvers that take a `device` run in numpy where it is None, else in torch (float64) on it, from
the same lines; arrays go in and come out as numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pitskd.linear._arrays import Space, batches
from pitskd.linear._logistic import logistic_path as logistic_path

__all__: list[str] = []

_EPS = float(np.finfo(np.float64).eps)
# A Gram matrix squares the condition number: its eigenvalues are off by eps times the largest. Without penalty the
# smallest must exceed this share of the largest, so that it is right to a few 1e-11; with one, what counts is their
# sum, and 1e-8 in a direction that the penalty all but removes. The singular value decomposition taken otherwise costs
# about three times as much.
_SOUND, _SOUND_PENALISED = 1e-5, 1e-8


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


def ridge_grid(
    X: np.ndarray,
    y: np.ndarray,
    penalties: np.ndarray,
    sample_weight: np.ndarray,
    *,
    indicators: bool = False,
    device: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit ridge regressions at every penalty on every training set, each standardised by its own rows.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n, k) or (n_sets, n, k)
    penalties : ndarray of shape (n_penalties,)
        On coefficients of standardised features, at least 0.
    sample_weight : ndarray of shape (n_sets, n)
        One training set per row.
    indicators : bool, default=False
        Whether columns of two values keep their 0/1 scale (divided by their range) instead of being standardised.
    device : str, optional
        "cpu" or "cuda" asks for torch.

    Returns
    -------
    coef : ndarray of shape (n_sets, n_penalties, k, d)
        For features as given.
    intercept : ndarray of shape (n_sets, n_penalties, k)
    """
    coef, intercept = ridge_chain_grid(
        [X], y, np.zeros(1), penalties, sample_weight, indicators=indicators, device=device
    )
    return coef[:, 0], intercept[:, 0]


def ridge_chain_grid(
    states: Sequence[np.ndarray],
    y: np.ndarray,
    imitations: np.ndarray,
    penalties: np.ndarray,
    sample_weight: np.ndarray,
    *,
    indicators: bool = False,
    device: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit chains of ridge regressions, each link learning from the next, at every imitation x penalty x training set.

    The last link regresses `y` on the last state. Any other regresses ``(1 - imitation) * y + imitation * f`` on its
    own state, with f the values of the next link on the next state. The first link is the student.

    Parameters
    ----------
    states : sequence of S + 1 ndarrays of shape (n, d_t)
        What the student sees, then the privileged states in order of time.
    y : ndarray of shape (n, k) or (n_sets, n, k)
    imitations : ndarray of shape (n_imitations,)
        In [0, 1].
    penalties : ndarray of shape (n_penalties,)
        Of every link, on coefficients of features standardised by the training set's weighted mean and standard
        deviation (constant columns get coefficient 0). At 0 each link is the minimum-norm least-squares solution.
    sample_weight : ndarray of shape (n_sets, n)
        One training set per row.
    indicators : bool, default=False
        Whether columns of two values keep their 0/1 scale (divided by their range) instead of being standardised.
    device : str, optional
        "cpu" or "cuda" asks for torch.

    Returns
    -------
    coef : ndarray of shape (n_sets, n_imitations, n_penalties, k, d_0)
        For features as given.
    intercept : ndarray of shape (n_sets, n_imitations, n_penalties, k)

    Notes
    -----
    With the thin factorisation ``Z_t = U_t diag(s_t) V_t'`` of the standardised, root-weighted state, the fitted values
    of link t are ``U_t a_t``, where ``a_t = s_t^2 / (s_t^2 + penalty) * ((1 - l) U_t'y + l U_t'U_{t+1} a_{t+1})``: no
    candidate touches the rows. Directions whose singular value is below ``max(n, d_t) * eps`` of the largest are taken
    for rounding and left out, as in `ridge_path`.
    """
    space, floor = Space(device), float(np.min(penalties))
    fixed = [two_valued_range(state) if indicators else None for state in states]
    y, mixes, penalties = (space.array(a) for a in (y, np.asarray(imitations)[:, None, None, None], penalties))
    parts = []
    for batch in batches(len(sample_weight), 8 * len(states[0]) * max(state.shape[1] for state in states)):
        weight = space.array(sample_weight[batch])
        centre, root_y = _centred(y if y.ndim == 2 else y[batch], weight)
        axes = _Axes.of(space, space.array(states[-1]), weight, fixed[-1], floor)
        hard = (root_y.mT @ axes.U)[:, None, None]
        fitted = axes.shrinkage(penalties)[:, None, :, None] * (hard + 0.0 * mixes)  # the same for every imitation
        for state, ranges in zip(states[-2::-1], fixed[-2::-1], strict=True):
            following, axes = axes, _Axes.of(space, space.array(state), weight, ranges, floor)
            hard = (root_y.mT @ axes.U)[:, None, None]
            carried = fitted @ (following.U.mT @ axes.U)[:, None, None]
            fitted = axes.shrinkage(penalties)[:, None, :, None] * ((1.0 - mixes) * hard + mixes * carried)
        coef = axes.coefficients(fitted)
        parts.append((coef, centre[:, None, None] - (coef @ axes.mean[:, None, None, :, None])[..., 0]))
    return _joined(space, parts)


def ridge_anchor_grid(
    X: np.ndarray,
    y: np.ndarray,
    priors: np.ndarray,
    anchors: np.ndarray,
    sample_weight: np.ndarray,
    *,
    indicators: bool = False,
    device: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit linear rules shrunk towards prior rules, at every anchor and on every training set.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n, k) or (n_sets, n, k)
    priors : ndarray of shape (n_sets, n_priors, k, d)
        Coefficients for features as given; the intercept is learnt anew.
    anchors : ndarray of shape (n_anchors,)
        Penalties on the departure from the prior, in coefficients of standardised features. At 0 the least-squares
        solution nearest to the prior, at infinity the prior itself.
    sample_weight : ndarray of shape (n_sets, n)
        One training set per row.
    indicators : bool, default=False
        Whether columns of two values keep their 0/1 scale (divided by their range) instead of being standardised.
    device : str, optional
        "cpu" or "cuda" asks for torch.

    Returns
    -------
    coef : ndarray of shape (n_sets, n_priors, n_anchors, k, d)
        For features as given.
    intercept : ndarray of shape (n_sets, n_priors, n_anchors, k)

    Notes
    -----
    The departure is the ridge regression of what the prior leaves of `y`. Directions are cut as in `ridge_chain_grid`.
    """
    space, floor = Space(device), float(np.min(anchors))
    fixed = two_valued_range(X) if indicators else None
    X, y, anchors = (space.array(a) for a in (X, y, anchors))
    parts = []
    for batch in batches(len(sample_weight), 8 * X.shape[0] * X.shape[1]):
        weight, prior = space.array(sample_weight[batch]), space.array(priors[batch])
        centre, root_y = _centred(y if y.ndim == 2 else y[batch], weight)
        axes = _Axes.of(space, X, weight, fixed, floor)
        left = (root_y.mT @ axes.U)[:, None] - axes.project(prior)
        departure = axes.shrinkage(anchors)[:, None, :, None] * left[:, :, None]
        coef = prior[:, :, None] + axes.coefficients(departure)
        parts.append((coef, centre[:, None, None] - (coef @ axes.mean[:, None, None, :, None])[..., 0]))
    return _joined(space, parts)


def _centred(values: Any, weight: Any) -> tuple[Any, Any]:
    """Return weighted means (sets, k) of values (n, k) or (sets, n, k), and root-weighted departures from them."""
    mean = ((weight / weight.sum(axis=1)[:, None])[:, None] @ values)[:, 0]
    return mean, weight[..., None] ** 0.5 * (values - mean[:, None])


class _Axes(NamedTuple):
    """Thin factors of one state, standardised on every training set and root-weighted: ``U diag(s) V'``."""

    space: Space
    mean: Any  # (sets, d)
    scale: Any  # (sets, d)
    U: Any  # (sets, n, r)
    s: Any  # (sets, r)
    V: Any  # (sets, d, r)

    @classmethod
    def of(cls, space: Space, X: Any, weight: Any, fixed: np.ndarray | None, floor: float) -> _Axes:
        """Factorise; numbers in `fixed` (d,) replace standard deviations, `floor` is the least penalty in use."""
        xp, (n, d) = space.xp, X.shape
        mean, Z = _centred(X, weight)
        total = weight.sum(axis=1)[:, None]
        scale = (xp.einsum("fnd,fnd->fd", Z, Z) / total) ** 0.5
        varies = scale > n * _EPS * abs(mean)  # else constant up to rounding of the mean
        scale = xp.where(varies, scale, 1.0)
        if fixed is not None:
            ranges = space.array(fixed)
            scale = xp.where(xp.isnan(ranges), scale, ranges)
        Z = Z * (varies / scale)[:, None]
        U, s, V = _thin_factors(xp, Z, floor)
        kept = s > max(n, d) * _EPS * xp.amax(s, axis=1)[:, None]
        s, U = xp.where(kept, s, 0.0), U * kept[:, None]
        return cls(space, mean, scale, U, s, V)

    def shrinkage(self, penalties: Any) -> Any:
        """Return what each penalty leaves of a target along U, (sets, n_penalties, r)."""
        square = (self.s**2)[:, None]
        return square / (self.space.xp.where(square > 0, square, 1.0) + penalties[:, None])

    def coefficients(self, fitted: Any) -> Any:
        """Return rules for features as given from their root-weighted values along U, (sets, ., ., k, r)."""
        inverse = 1.0 / self.space.xp.where(self.s > 0, self.s, 1.0)
        standardised = (fitted * inverse[:, None, None, None]) @ self.V.mT[:, None, None]
        return standardised / self.scale[:, None, None, None]

    def project(self, coef: Any) -> Any:
        """Return along U the root-weighted, centred values of rules (sets, m, k, d) for features as given."""
        return (coef * self.scale[:, None, None]) @ self.V[:, None] * self.s[:, None, None]


def two_valued_range(X: np.ndarray) -> np.ndarray:
    """Return the range of columns that hold exactly two values, NaN for others, (d,).

    Standardised, an indicator of a rare event is the column with the largest values and the least data behind them: its
    coefficient is hardly shrunk and mostly noise. Divided by its range it stays comparable to other indicators.
    """
    low, high = X.min(axis=0), X.max(axis=0)
    two = (low < high) & ((low == X) | (high == X)).all(axis=0)
    return np.where(two, high - low, np.nan)


def _thin_factors(xp: Any, Z: Any, floor: float) -> tuple[Any, Any, Any]:
    """Return U, s, V of a batch ``Z = U diag(s) V'``, by the Gram matrix where that loses no digits one would miss."""
    if Z.shape[1] >= Z.shape[2]:
        values, V = xp.linalg.eigh(Z.mT @ Z)
        sound = (values[:, 0] > _SOUND * values[:, -1]) | (floor > _SOUND_PENALISED * values[:, -1])
        if sound.all():
            s = xp.where(values > 0, values, 0.0) ** 0.5
            return (Z @ V) / xp.where(s > 0, s, 1.0)[:, None], s, V
    U, s, Vt = xp.linalg.svd(Z, full_matrices=False)
    return U, s, Vt.mT


def _joined(space: Space, parts: Sequence[tuple[Any, Any]]) -> tuple[np.ndarray, np.ndarray]:
    coef, intercept = (np.concatenate([space.numpy(part) for part in column]) for column in zip(*parts, strict=True))
    return coef, intercept
