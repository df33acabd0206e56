"""Losses that compare where in time two networks look, not what they see there.

Attention is the mean over channels of squared activations or of squared gradients, scaled to norm 1 over time; channels
need not agree. Squares come before pooling: activations of opposite signs do not cancel where lengths differ. Teachers
are detached here; masks and lengths as in `pitskd.losses.functional.maps`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pitskd._validation import check_choice, wrong
from pitskd.losses.functional.maps import (
    as_map,
    constant,
    kept,
    matched,
    mean_of_windows,
    mean_over_windows,
    root,
    step_weights,
    unit,
)  # fmt: skip

__all__ = ["attention_transfer", "gradient_attention", "input_gradient", "self_attention", "temporal_attention"]


def temporal_attention(features: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Compute where in time a feature map is active.

    Parameters
    ----------
    features : Tensor of shape (batch, channels, length) or (batch, units)
        Activations, or gradients.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    attention : Tensor of shape (batch, length)
        At least 0, of norm 1 in every window, or 0 for a map of zeros; 0 at steps that do not count.

    Raises
    ------
    ValueError
        If `features` or `mask` has other axes.

    Notes
    -----
    Mean of squares over channels; the sum of [1] is the same after scaling.

    References
    ----------
    .. [1] Zagoruyko, Komodakis (2017). Paying More Attention to Attention. ICLR. arXiv:1612.03928, section 3.1.

    Examples
    --------
    >>> temporal_attention(torch.tensor([[[0.0, 1.0, 2.0], [0.0, 1.0, 0.0]]]))
    tensor([[0.0000, 0.4472, 0.8944]])
    """
    return unit(_energy("features", features, mask)[:, 0], (1,))


def _energy(name: str, features: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of squares over channels, (batch, 1, length), up to a constant factor per window."""
    features = as_map(name, features)
    if mask is not None:
        features = kept(features, step_weights(features, mask))
    # Divided out before squaring, so that large activations do not overflow.
    largest = features.detach().abs().amax(dim=(1, 2), keepdim=True)
    return (features / torch.where(largest > 0, largest, 1.0)).square().mean(dim=1, keepdim=True)


def attention_transfer(student: Tensor, teacher: Tensor, mode: str = "mse", *, mask: Tensor | None = None) -> Tensor:
    """Compare where in time two feature maps are active.

    Parameters
    ----------
    student, teacher : Tensor of shape (batch, channels, length) or (batch, units)
        Channels and lengths may differ; the attention of a longer map is pooled to the shorter one.
    mode : {"mse", "norm"}, default="mse"
        Mean of squared differences over time, or the Euclidean norm of the difference.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        In [0, 2 / length] for "mse", in [0, sqrt(2)] for "norm"; 0 always for maps of length 1.

    Raises
    ------
    ValueError
        If windows differ or `mode` is unknown.

    Notes
    -----
    Q = mean of squares over channels, pooled where lengths differ and then scaled to norm 1; the loss is a mean over
    windows of the distance of both Q. "norm" is the term of [1] without its factor beta / 2. Scaling a feature map
    changes nothing.

    References
    ----------
    .. [1] Zagoruyko, Komodakis (2017). Paying More Attention to Attention. ICLR. arXiv:1612.03928, eq. (2).

    Examples
    --------
    >>> early, late = torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 5.0]]])
    >>> attention_transfer(early, late), attention_transfer(early, late, mode="norm")
    (tensor(1.), tensor(1.4142))
    """
    check_choice("mode", mode, ("mse", "norm"), "Use 'norm' for the distance as published.")
    own, taught, weights = matched(
        _energy("student", student, mask), _energy("teacher", constant(teacher, student), mask), mask=mask
    )
    squares = (unit(own[:, 0], (1,)) - unit(taught[:, 0], (1,))).square()
    if mode == "mse":
        return mean_over_windows(squares, weights)
    return mean_of_windows(root(squares.sum(dim=1)), weights)


def input_gradient(loss: Tensor, inputs: Tensor, *, create_graph: bool = True) -> Tensor:
    """Compute how a loss changes with every value of the windows, dL/dx.

    Parameters
    ----------
    loss : Tensor, scalar
        A mean or sum over windows, computed from `inputs`.
    inputs : Tensor of shape (batch, n_channels, length)
        Windows with ``requires_grad=True``.
    create_graph : bool, default=True
        True for a student, whose weights learn through the gradient; False for a teacher.

    Returns
    -------
    gradient : Tensor of the shape of `inputs`

    Raises
    ------
    ValueError
        If `inputs` require no gradient, or `loss` does not depend on them.

    References
    ----------
    .. [1] Zagoruyko, Komodakis (2017). Paying More Attention to Attention. ICLR. arXiv:1612.03928, section 3.2.

    Examples
    --------
    >>> x = torch.tensor([[[1.0, 2.0]]], requires_grad=True)
    >>> input_gradient(x.square().sum(), x, create_graph=False)
    tensor([[[2., 4.]]])
    """
    step = "Call inputs.requires_grad_() before the network runs."
    if not inputs.requires_grad or not loss.requires_grad:
        raise wrong("inputs", "a tensor with requires_grad=True, of which the loss is made", "one without", step)
    (gradient,) = torch.autograd.grad(loss, inputs, create_graph=create_graph, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise wrong("inputs", "a tensor with requires_grad=True, of which the loss is made", "another tensor", step)
    return gradient


def gradient_attention(
    student_gradient: Tensor, teacher_gradient: Tensor, mode: str = "mse", *, mask: Tensor | None = None
) -> Tensor:
    """Compare to which steps of the window the losses of two networks are sensitive.

    Parameters
    ----------
    student_gradient, teacher_gradient : Tensor of shape (batch, channels, length)
        dL/dx of both, e.g. by `input_gradient`. Channels may differ: a teacher may see privileged ones.
    mode : {"mse", "norm"}, default="mse"
        As in `attention_transfer`.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        Range as in `attention_transfer`.

    Raises
    ------
    ValueError
        If windows differ or `mode` is unknown.

    Notes
    -----
    Temporal attention of the gradients, so that neither the scale of a loss nor the number of channels counts. [1]
    takes the norm of J_S - J_T itself, for networks with the same inputs: up to scale, `hint` of both gradients.

    References
    ----------
    .. [1] Zagoruyko, Komodakis (2017). Paying More Attention to Attention. ICLR. arXiv:1612.03928, section 3.2.

    Examples
    --------
    >>> gradient_attention(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, -2.0], [0.0, 3.0]]]))
    tensor(1.)
    """
    return attention_transfer(student_gradient, teacher_gradient, mode, mask=mask)


def self_attention(shallow: Tensor, deep: Tensor, mode: str = "mse", *, mask: Tensor | None = None) -> Tensor:
    """Let a deeper layer show a shallower one of the same network where to look.

    Parameters
    ----------
    shallow, deep : Tensor of shape (batch, channels, length)
        Features of one network; the gradient reaches `shallow` only.
    mode : {"mse", "norm"}, default="mse"
        As in `attention_transfer`.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        Range as in `attention_transfer`.

    Raises
    ------
    ValueError
        If windows differ or `mode` is unknown.

    Notes
    -----
    Attention has norm 1 and lengths are pooled to the shorter; [1] upsamples and takes a softmax.

    References
    ----------
    .. [1] Hou et al. (2019). Learning Lightweight Lane Detection CNNs by Self Attention Distillation. ICCV.
       arXiv:1908.00821, section 3.

    Examples
    --------
    >>> self_attention(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]]), mode="norm")
    tensor(1.4142)
    """
    return attention_transfer(shallow, deep, mode, mask=mask)
