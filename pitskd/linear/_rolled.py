"""Chains through pooled dynamics: every imitation, penalty and training set from moments, no row is touched twice.

The dynamics are one ridge VAR over every transition inside the windows, input and middle. Where a step-wise chain
regresses the next state on each state anew, this one asks the dynamics; the rest is the chain's own recursion.
"""

from __future__ import annotations

import numpy as np

from pitskd.linear._paths import two_valued_range

__all__: list[str] = []

_CHUNK = 2**24  # numbers held at once while moments are summed
_EPS = float(np.finfo(np.float64).eps)


def rolled_chain_grid(
    path: np.ndarray,
    y: np.ndarray,
    imitations: np.ndarray,
    penalties: np.ndarray,
    sample_weight: np.ndarray,
    *,
    window: int,
    order: int = 1,
    labelled: np.ndarray | None = None,
    indicators: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit chains whose every step is the same pooled VAR, at every imitation x penalty x training set.

    The state at step t is the last `order` rows up to it. The last link regresses `y` on the last state; any other is
    ``(1 - imitation) *`` the regression of `y` on its state plus ``imitation *`` the next link asked at the forecast.

    Parameters
    ----------
    path : ndarray of shape (n, n_rows, n_channels)
        Input window and middle as one, rows in order of time. Rows of the middle may be NaN.
    y : ndarray of shape (n, k)
    imitations : ndarray of shape (n_imitations,)
        In [0, 1]; 1 is the link rolled back alone.
    penalties : ndarray of shape (n_penalties,)
        Of each link, on channels scaled by all rows jointly; the dynamics have the same strength per transition. At 0
        minimum-norm least squares.
    sample_weight : ndarray of shape (n_sets, n)
        One training set per row, 0 for rows held out.
    window : int
        Rows of the input window, at least `order`.
    order : int, default=1
        Rows in a state.
    labelled : ndarray of bool of shape (n,), default=None
        Rows whose `y` counts; None: all.
    indicators : bool, default=False
        Whether channels of two values are divided by their range instead of their standard deviation.

    Returns
    -------
    coef : ndarray of shape (n_sets, n_imitations, n_penalties, k, window * n_channels)
        For windows flattened time-major, as given; 0 on rows older than the order.
    intercept : ndarray of shape (n_sets, n_imitations, n_penalties, k)
        The mean target at the mean window.
    """
    n, n_rows, n_channels = path.shape
    labelled = np.ones(n, dtype=bool) if labelled is None else labelled
    known = np.logical_not(np.isnan(path).any(axis=2))
    centre = np.stack([path[..., c][known].mean() for c in range(n_channels)])
    filled = np.where(known[..., None], path - centre, 0.0)
    scale = _joint_scale(filled, known, sample_weight, path if indicators else None)
    mixes = np.asarray(imitations, dtype=np.float64)[:, None, None, None]
    penalties = np.asarray(penalties, dtype=np.float64)
    carry = _transition(filled, known, sample_weight, scale, penalties, order)
    wide, rule = np.tile(scale, order), None
    for t in range(n_rows - window, -1, -1):
        rows = slice(window - order + t, window + t)
        state, seen = filled[:, rows].reshape(n, -1), known[:, rows].all(axis=1) & labelled
        direct = _ridge(state, y, sample_weight * seen, wide, penalties)[:, None]
        if rule is None:
            rule = direct + 0.0 * mixes
            continue
        newest = rule[..., -n_channels:]
        told = newest @ carry[:, None]
        told[..., n_channels:] += rule[..., :-n_channels]  # what was the row before the newest is one row older
        rule = (1.0 - mixes) * direct + mixes * told
    assert rule is not None
    coef = np.zeros((*rule.shape[:-1], window * n_channels))
    coef[..., coef.shape[-1] - rule.shape[-1] :] = rule / wide[:, None, None, None]
    share = sample_weight * labelled
    share = share / share.sum(axis=1, keepdims=True)
    mean = share @ np.nan_to_num(path[:, :window].reshape(n, -1))
    return coef, (share @ y)[:, None, None] - (coef @ mean[:, None, None, :, None])[..., 0]


def _joint_scale(filled: np.ndarray, known: np.ndarray, weight: np.ndarray, raw: np.ndarray | None) -> np.ndarray:
    """Return scales of the channels over all rows of each training set, (n_sets, n_channels)."""
    count = weight @ known.sum(axis=1)
    mean = weight @ filled.sum(axis=1) / count[:, None]
    spread = np.sqrt(np.maximum(weight @ np.square(filled).sum(axis=1) / count[:, None] - np.square(mean), 0.0))
    largest = np.abs(filled).max(axis=(0, 1))
    scale = np.where(spread > 1e-7 * largest, spread, 1.0)
    if raw is None:
        return scale
    ranges = two_valued_range(raw[known])
    return np.where(np.isnan(ranges), scale, ranges)


def _transition(
    filled: np.ndarray, known: np.ndarray, weight: np.ndarray, scale: np.ndarray, penalties: np.ndarray, order: int
) -> np.ndarray:
    """Return the VAR over scaled channels, (n_sets, n_penalties, n_channels, order * n_channels)."""
    n, n_rows, n_channels = filled.shape
    size, n_steps = (order + 1) * n_channels, n_rows - order
    first, second, count = np.zeros((len(weight), size)), np.zeros((len(weight), size, size)), np.zeros(len(weight))
    for rows in _chunks(n, size * max(size, n_steps)):
        stretches = np.lib.stride_tricks.sliding_window_view(filled[rows], order + 1, axis=1)  # (n, steps, c, order+1)
        stretches = stretches.swapaxes(2, 3).reshape(-1, n_steps, size)
        whole = np.min(np.lib.stride_tricks.sliding_window_view(known[rows], order + 1, axis=1), axis=2)
        stretches = stretches * whole[..., None]
        part = weight[:, rows]
        first += part @ stretches.sum(axis=1)
        second += (part @ (stretches.mT @ stretches).reshape(len(stretches), -1)).reshape(second.shape)
        count += part @ whole.sum(axis=1)
    wide = np.tile(scale, order + 1)
    moments = (second - first[:, :, None] * first[:, None] / count[:, None, None]) / wide[:, :, None] / wide[:, None]
    split = order * n_channels
    # The pooled rows outnumber those of a link by the number of steps: equal strength per row.
    solved = _solve(moments[:, :split, :split], moments[:, :split, split:], penalties * n_steps)
    return solved.mT


def _ridge(
    state: np.ndarray, y: np.ndarray, weight: np.ndarray, scale: np.ndarray, penalties: np.ndarray
) -> np.ndarray:
    """Return ridge rules for the scaled state, (n_sets, n_penalties, k, d)."""
    n, d = state.shape
    both = np.hstack([state, y])
    second = np.zeros((len(weight), d, both.shape[1]))
    for rows in _chunks(n, second[0].size):
        outer = state[rows, :, None] * both[rows, None]
        second += (weight[:, rows] @ outer.reshape(len(outer), -1)).reshape(second.shape)
    mean = weight @ both / weight.sum(axis=1, keepdims=True)
    second -= weight.sum(axis=1)[:, None, None] * mean[:, :d, None] * mean[:, None]
    second /= scale[:, :, None]
    return _solve(second[..., :d] / scale[:, None], second[..., d:], penalties).mT


def _solve(gram: np.ndarray, cross: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Return ``(gram + penalty I)^+ cross`` at every penalty, (n_sets, n_penalties, d, m)."""
    values, vectors = np.linalg.eigh(gram)
    real = values > len(values[0]) * 8 * _EPS * values[:, -1:]
    strength = values[:, None] + penalties[:, None]
    inverse = np.divide(real[:, None], strength, out=np.zeros_like(strength), where=real[:, None] & (strength > 0))
    return vectors[:, None] @ (inverse[..., None] * (vectors.mT @ cross)[:, None])


def _chunks(n: int, numbers_per_row: int) -> list[slice]:
    step = max(1, _CHUNK // max(1, numbers_per_row))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
