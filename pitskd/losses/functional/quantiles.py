"""Losses of quantile forecasts: each output is one quantile of what is to come."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pitskd._validation import check_fraction, wrong
from pitskd.losses.functional._rows import check_rows, reduced

__all__ = ["pinball"]


def pinball(predictions: Tensor, targets: Tensor, quantiles: Sequence[float], *, reduction: str = "mean") -> Tensor:
    """Score forecasts of quantiles.

    Parameters
    ----------
    predictions : Tensor of shape (..., n_quantiles)
        One forecast per quantile.
    targets : Tensor of shape (...)
        One value per row; may lack leading axes.
    quantiles : sequence of float
        Each above 0 and below 1, in the order of the last axis.
    reduction : {"mean", "none"}, default="mean"
        Mean over the rows, or the rows.

    Returns
    -------
    loss : Tensor
        Scalar, or of shape (...). Unit: that of the targets.

    Raises
    ------
    ValueError
        If `quantiles` are no probabilities, or not as many as there are predictions; if shapes differ.

    Notes
    -----
    max(q u, (q - 1) u) with u = target - forecast, a mean over rows and quantiles where [1]_ has the sum; each is
    that of ``sklearn.metrics.mean_pinball_loss``. Where a forecast is exact the gradient is a subgradient.

    References
    ----------
    .. [1] Koenker, Bassett (1978). Regression Quantiles. Econometrica 46(1), section 3.

    Examples
    --------
    >>> forecasts = torch.tensor([[1.0, 2.0, 3.0]])
    >>> pinball(forecasts, torch.tensor([2.0]), (0.25, 0.5, 0.75), reduction="none")
    tensor([0.1667])
    """
    listed = check_quantiles(quantiles)
    if len(listed) != predictions.shape[-1]:
        step = "Give the network one output per quantile."
        raise wrong("predictions", f"of shape (..., {len(listed)})", f"shape {tuple(predictions.shape)}", step)
    check_rows("targets", targets.shape, predictions.shape[:-1])
    excess = targets.detach()[..., None] - predictions
    level = torch.tensor(listed, dtype=excess.dtype, device=excess.device)
    return reduced(torch.maximum(level * excess, (level - 1) * excess).mean(-1), reduction)


def check_quantiles(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Return levels, each strictly between 0 and 1; at least one."""
    step = "Use e.g. (0.1, 0.5, 0.9)."
    levels = tuple(check_fraction("quantiles", level, step) for level in quantiles)
    if not levels or not 0.0 < min(levels) <= max(levels) < 1.0:
        raise wrong("quantiles", "numbers above 0 and below 1", list(levels), step)
    return levels
