"""Pooled dynamics: one ridge regression of the next row on the rows before it, over every transition at hand.

Rolled forward it is a linear map of the last rows seen. Learnt from the input windows alone it tells what a model can
know of the middle without seeing it; learnt from the middle as well it is the rule that anchored students are drawn to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pitskd.linear._paths import ridge_path
from pitskd.linear.tuned import location_and_scale

__all__: list[str] = []


class Dynamics(NamedTuple):
    """The affine map ``state @ matrix.T + shift`` from stacked rows (n, order * n_channels) to those `steps` later."""

    matrix: np.ndarray  # (order * n_channels, order * n_channels)
    shift: np.ndarray  # (order * n_channels,)

    def rolled(self, steps: int) -> Dynamics:
        """Return the map over several steps."""
        matrix, shift = np.eye(len(self.shift)), np.zeros(len(self.shift))
        for _ in range(steps):
            matrix, shift = self.matrix @ matrix, self.matrix @ shift + self.shift
        return Dynamics(matrix, shift)

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """Return the state that follows each."""
        return state @ self.matrix.T + self.shift


def pooled_dynamics(
    path: np.ndarray,
    sample_weight: np.ndarray,
    *,
    order: int = 1,
    penalty: float = 1.0,
    moving: np.ndarray | None = None,
) -> Dynamics:
    """Fit a ridge VAR to all transitions of all paths; those that touch a missing row are left out.

    Parameters
    ----------
    path : ndarray of shape (n, n_rows, n_channels)
        Consecutive rows in order of time; more than `order` of them.
    sample_weight : ndarray of shape (n,)
        At 0 a path is held out.
    order : int, default=1
        Lags, at least 1.
    penalty : float, default=1.0
        L2 on half the summed squares over channels scaled by all rows jointly; at 0 least squares of minimum norm.
    moving : ndarray of shape (n_moving,), default=None
        Positions of the channels that change; the others are kept as they are. None: all.

    Returns
    -------
    dynamics : Dynamics
        From the last `order` rows, older rows first, to the same one step later, in the units of `path`.
    """
    n, n_rows, n_channels = path.shape
    moving = np.arange(n_channels) if moving is None else moving
    rows, weight = path.reshape(n * n_rows, n_channels), np.repeat(sample_weight, n_rows)
    seen = ~np.isnan(rows).any(axis=1)
    mean, scale = location_and_scale(rows[seen], weight[seen])
    past, following = _transitions((path - mean) / scale, order)
    weight = np.tile(sample_weight, n_rows - order)
    used = (weight > 0) & ~np.isnan(past).any(axis=1) & ~np.isnan(following).any(axis=1)
    coef, intercept = ridge_path(past[used], following[used][:, moving], np.array([penalty]), weight[used])
    # What is kept moves up by one place: rows 1 .. order - 1 of the old state, and still channels of its last row.
    matrix, shift = np.eye(order * n_channels, k=n_channels), np.zeros(order * n_channels)
    still = (order - 1) * n_channels + np.setdiff1d(np.arange(n_channels), moving)
    matrix[still, still] = 1.0
    stacked_mean, stacked_scale = np.tile(mean, order), np.tile(scale, order)
    last = (order - 1) * n_channels + moving
    matrix[last] = scale[moving, None] * coef[0] / stacked_scale
    shift[last] = mean[moving] + scale[moving] * intercept[0] - matrix[last] @ stacked_mean
    return Dynamics(matrix, shift)


def dynamics_rule(
    dynamics: Dynamics, steps: int, link_coef: np.ndarray, link_intercept: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compose pooled dynamics, rolled from the end of the input window, with a linear link at the state they reach.

    Parameters
    ----------
    dynamics : Dynamics
        One step of stacked rows.
    steps : int
        Rows from the end of the window to the last privileged one.
    link_coef : ndarray of shape (k, order * n_channels)
        Of the link from the last rows up to that one to the target.
    link_intercept : ndarray of shape (k,)
    width : int
        ``window * n_channels`` of the input window, which is at least as long as the order.

    Returns
    -------
    coef : ndarray of shape (k, width)
        For windows flattened time-major; 0 on rows older than the order.
    intercept : ndarray of shape (k,)
    """
    rolled = dynamics.rolled(steps)
    coef = np.zeros((len(link_coef), width))
    coef[:, width - len(rolled.shift) :] = link_coef @ rolled.matrix
    return coef, link_intercept + link_coef @ rolled.shift


def rolled_forecast(
    X_train: np.ndarray, X: np.ndarray, *, horizon: int, order: int = 1, penalty: float = 1.0
) -> np.ndarray:
    """Forecast all channels by a ridge VAR pooled over the training windows and rolled from the end of each window.

    Parameters
    ----------
    X_train : ndarray of shape (n_train, window, n_channels)
        Windows whose inner transitions train the VAR.
    X : ndarray of shape (n, window, n_channels)
        Windows to forecast from.
    horizon : int
        Rows ahead, at least 1.
    order : int, default=1
        Lags of the VAR, below `window`.
    penalty : float, default=1.0
        L2 on half the summed squares over standardised channels.

    Returns
    -------
    forecast : ndarray of shape (n, n_channels)
        In the units of `X`.
    """
    dynamics = pooled_dynamics(X_train, np.ones(len(X_train)), order=order, penalty=penalty).rolled(horizon)
    state = X[:, -order:].reshape(len(X), -1)
    return dynamics(state)[:, -X.shape[2] :]


def _transitions(windows: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all stretches of `order` rows and the row after each."""
    n_windows, window, n_channels = windows.shape
    past = [windows[:, t : t + order].reshape(n_windows, order * n_channels) for t in range(window - order)]
    following = [windows[:, t + order] for t in range(window - order)]
    return np.concatenate(past), np.concatenate(following)
