"""Feature maps side by side: one length, one mask, and means in which every window counts the same.

A map is (batch, channels, length), time last; (batch, units) is a map of length 1. A mask (batch, length) is True where
a step counts. Each window is averaged over its own steps, then the windows are averaged: the loss of a padded batch is
the mean of the losses of its windows, each alone and without padding. A teacher has no gradient here and the precision
of its student.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pitskd._validation import wrong

__all__ = ["matched"]


def matched(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Bring two feature maps to the length of the shorter one; the teacher's is detached, in the student's precision.

    Parameters
    ----------
    student, teacher : Tensor of shape (batch, channels, length) or (batch, units)
        Channels and lengths may differ.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step of the window counts; brought to the length of each map. None: all do.

    Returns
    -------
    student, teacher : Tensor of shape (batch, channels, shorter length)
        Zero at steps that do not count.
    weights : Tensor of shape (batch, shorter length), or None without a mask
        1 where a step counts in both maps, else 0.

    Raises
    ------
    ValueError
        If a tensor has other axes, or the windows are not equally many.

    Notes
    -----
    Adaptive average pooling as in torch, over the steps that count. A step of a shorter map counts if any step it was
    made from does. A padded batch equals the shorter windows where the longer length is a multiple of the shorter one.

    Examples
    --------
    >>> long, short = torch.tensor([[[1.0, 3.0, 5.0, 100.0]]]), torch.zeros(1, 2, 2)
    >>> mask = torch.tensor([[True, True, True, False]])
    >>> matched(long, short, mask=mask)[0]
    tensor([[[2., 5.]]])
    """
    maps, weights = matched_maps({"student": student, "teacher": constant(teacher, student)}, mask)
    return maps[0], maps[1], weights


def constant(teacher: Tensor, like: Tensor) -> Tensor:
    """Return what a teacher gave, as a constant of the student's precision."""
    return teacher.detach().to(like.dtype)


def matched_maps(features: dict[str, Tensor], mask: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
    """Bring maps, by the name of their argument, to the shortest length; return them and the weights of their steps."""
    maps = [as_map(name, tensor) for name, tensor in features.items()]
    check_same_windows(dict(zip(features, maps, strict=True)))
    length = min(tensor.shape[-1] for tensor in maps)
    if mask is None:
        return [_pooled(tensor, length) for tensor in maps], None
    pooled = [_pooled_steps(tensor, step_weights(tensor, mask), length) for tensor in maps]
    weights = torch.stack([weights for _, weights in pooled]).amin(dim=0)
    return [kept(tensor, weights) for tensor, _ in pooled], weights


def as_map(name: str, features: Tensor) -> Tensor:
    """Return features as (batch, channels, length)."""
    if features.ndim not in (2, 3):
        shape = f"shape {tuple(features.shape)}"
        raise wrong(name, "features (batch, channels, length) or (batch, units)", shape, "Tap a layer of such shape.")
    return features.unsqueeze(-1) if features.ndim == 2 else features


def check_same_windows(maps: dict[str, Tensor]) -> None:
    """Compare how many windows each argument holds with the first one."""
    first, expected = next(iter(maps.items()))
    for name, tensor in maps.items():
        if len(tensor) != len(expected):
            step = f"Pass the same windows as in {first}."
            raise wrong(name, f"features of {len(expected)} windows", f"{len(tensor)} windows", step)


def check_same_channels(student: Tensor, teacher: Tensor) -> None:
    """Compare the channels of two maps that are subtracted."""
    if student.shape[1] != teacher.shape[1]:
        step = "Map them by a 1x1 convolution first, as the adapters of the loss classes do."
        raise wrong("student", f"of {teacher.shape[1]} channels as the teacher", f"{student.shape[1]} channels", step)


def step_weights(features: Tensor, mask: Tensor) -> Tensor:
    """Return 1 where a step of a map counts, else 0; a step counts if any step of the mask in its bin does."""
    batch, _, length = features.shape
    if mask.dtype != torch.bool or mask.ndim != 2 or len(mask) != batch:
        given = f"{mask.dtype} of shape {tuple(mask.shape)}"
        raise wrong("mask", f"torch.bool of shape ({batch}, window)", given, "True is a step that counts.")
    counted = mask.to(features.dtype)
    if mask.shape[1] == length:
        return counted
    return (counted @ _bins(features, mask.shape[1], length) > 0).to(features.dtype)


def kept(features: Tensor, weights: Tensor) -> Tensor:
    """Set a map to zero where steps do not count, whatever it holds there, NaN too."""
    return torch.where(
        weights.unsqueeze(1) > 0, features, torch.zeros((), dtype=features.dtype, device=features.device)
    )


def mean_over_windows(per_step: Tensor, weights: Tensor | None) -> Tensor:
    """Average (batch, length) over the steps of each window that count, then over windows."""
    if weights is None:
        return per_step.mean()
    per_window = (per_step * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
    return mean_of_windows(per_window, weights)


def mean_of_windows(per_window: Tensor, weights: Tensor | None) -> Tensor:
    """Average (batch,) over windows that have a step; the others must be zero."""
    if weights is None:
        return per_window.mean()
    return per_window.sum() / weights.amax(dim=1).sum().clamp(min=1.0)


def unit(values: Tensor, dims: Sequence[int]) -> Tensor:
    """Scale to Euclidean norm 1 over axes; zeros stay zero, and their gradient is finite.

    The largest value is divided out first, as a constant: a function of degree 0 has the same gradient, and nothing
    over- or underflows in the squares.
    """
    largest = values.detach().abs().amax(dim=tuple(dims), keepdim=True)
    scaled = values / torch.where(largest > 0, largest, 1.0)
    return scaled / root(scaled.square().sum(dim=tuple(dims), keepdim=True), at_zero=1.0)


def root(squares: Tensor, at_zero: float = 0.0) -> Tensor:
    """Take the square root with gradient 0, not infinity, at 0."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), at_zero)


def _pooled(features: Tensor, length: int) -> Tensor:
    if features.shape[-1] == length:
        return features
    bins = _bins(features, features.shape[-1], length)
    return (features @ bins) / bins.sum(dim=0)


def _pooled_steps(features: Tensor, weights: Tensor, length: int) -> tuple[Tensor, Tensor]:
    features = kept(features, weights)
    if features.shape[-1] == length:
        return features, weights
    bins = _bins(features, features.shape[-1], length)
    counted = weights @ bins
    return (features @ bins) / counted.clamp(min=1.0).unsqueeze(1), (counted > 0).to(features.dtype)


def _bins(like: Tensor, length: int, n_bins: int) -> Tensor:
    """Return (length, n_bins), 1 where adaptive pooling puts a step into a bin; a step may lie in two."""
    step = torch.arange(length, device=like.device).unsqueeze(1)
    bin_ = torch.arange(n_bins, device=like.device)
    first = torch.div(bin_ * length, n_bins, rounding_mode="floor")
    last = torch.div((bin_ + 1) * length + n_bins - 1, n_bins, rounding_mode="floor")
    return ((step >= first) & (step < last)).to(like.dtype)
