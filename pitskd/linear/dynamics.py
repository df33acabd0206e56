"""Forecasts from the dynamics of the input windows alone: what a model can know of the middle without seeing it."""

from __future__ import annotations

import numpy as np

from pitskd.linear._paths import ridge_path

__all__: list[str] = []


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
    n_channels = X_train.shape[2]
    mean = X_train.mean(axis=(0, 1))
    scale = X_train.std(axis=(0, 1))
    scale[scale == 0] = 1.0
    past, following = _transitions((X_train - mean) / scale, order)
    coef, intercept = ridge_path(past, following, np.array([penalty]), np.ones(len(past)))
    state = ((X - mean) / scale)[:, -order:].reshape(len(X), order * n_channels)
    for _ in range(horizon):
        state = np.hstack([state[:, n_channels:], state @ coef[0].T + intercept[0]])
    return state[:, -n_channels:] * scale + mean


def _transitions(windows: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all stretches of `order` rows and the row after each."""
    n_windows, window, n_channels = windows.shape
    past = [windows[:, t : t + order].reshape(n_windows, order * n_channels) for t in range(window - order)]
    following = [windows[:, t + order] for t in range(window - order)]
    return np.concatenate(past), np.concatenate(following)
