"""Losses made from labels alone: smoothed, with a penalty on sureness, or as a teacher made by hand would say them.

Rows, reductions, and tensors of settings are as in `pitskd.losses.functional.response`.
"""

from __future__ import annotations

from torch import Tensor

from pitskd._validation import check_fraction, check_strength
from pitskd.losses.functional._rows import check_targets, cross_entropy, one_hot, reduced
from pitskd.losses.functional.response import kd

__all__ = ["entropy_regularized", "label_smoothing", "virtual_teacher"]


def label_smoothing(logits: Tensor, targets: Tensor, eps: float | Tensor, *, reduction: str = "mean") -> Tensor:
    """Score class probabilities against labels of which a share is spread over all classes.

    Parameters
    ----------
    logits : Tensor of shape (..., n_classes)
        At least two classes.
    targets : Tensor of shape (...) or (..., n_classes)
        Class indices of an integer type, or probabilities of a floating type.
    eps : float or Tensor
        Share that is spread, in [0, 1]; a tensor is broadcast to the rows, its values are checked by the caller.
    reduction : {"mean", "none"}, default="mean"
        Mean over the rows, or the rows.

    Returns
    -------
    loss : Tensor
        Scalar, or of shape (...).

    Raises
    ------
    ValueError
        If shapes do not fit, there is one class only or one that does not exist, or
        `eps` is no number between 0 and 1.

    Notes
    -----
    (1 - eps) CE(y, p) + eps / C sum_c CE(c, p): every class gets eps / C, the true one too, as in [1]_ and
    ``torch.nn.functional.cross_entropy``; not eps / (C - 1) on the others.

    References
    ----------
    .. [1] Szegedy et al. (2016). Rethinking the Inception Architecture for Computer Vision. CVPR. arXiv:1512.00567,
       section 7.

    Examples
    --------
    Two classes, a true one of log-odds ln 3: 0.9 ln(4/3) + 0.1 ln(4).

    >>> import torch
    >>> logits = torch.tensor([[3.0, 1.0]]).log()
    >>> print(f"{label_smoothing(logits, torch.tensor([0]), eps=0.2).item():.4f}")
    0.3975
    """
    check_targets(logits, targets)
    eps = eps if isinstance(eps, Tensor) else check_fraction("eps", eps, "Use e.g. 0.1.")
    log_p = logits.log_softmax(-1)
    return reduced((1 - eps) * cross_entropy(log_p, targets) - eps * log_p.mean(-1), reduction)


def entropy_regularized(
    logits: Tensor, targets: Tensor, strength: float | Tensor, *, reduction: str = "mean"
) -> Tensor:
    """Score class probabilities, and penalise those that are far from uniform.

    Parameters
    ----------
    logits : Tensor of shape (..., n_classes)
        At least two classes.
    targets : Tensor of shape (...) or (..., n_classes)
        Class indices of an integer type, or probabilities of a floating type.
    strength : float or Tensor
        Weight of the penalty, at least 0; a tensor is broadcast to the rows, its values are checked by the caller.
    reduction : {"mean", "none"}, default="mean"
        Mean over the rows, or the rows.

    Returns
    -------
    loss : Tensor
        Scalar, or of shape (...).

    Raises
    ------
    ValueError
        If shapes do not fit, there is one class only or one that does not exist, or
        `strength` is no finite number of at least 0.

    Notes
    -----
    CE(y, p) + strength / C sum_c CE(c, p), the cross-entropy from the uniform distribution. It is (1 + l) times
    `label_smoothing` with eps = l / (1 + l). The confidence penalty of [1]_ subtracts the entropy of p instead,
    which is the divergence in the other direction.

    References
    ----------
    .. [1] Pereyra et al. (2017). Regularizing Neural Networks by Penalizing Confident Output Distributions.
       arXiv:1701.06548, section 3.

    Examples
    --------
    >>> import torch
    >>> print(f"{entropy_regularized(torch.zeros(1, 2), torch.tensor([0]), strength=1.0).item():.4f}")
    1.3863
    """
    check_targets(logits, targets)
    if not isinstance(strength, Tensor):
        strength = check_strength("strength", strength, "Use e.g. 0.1.")
    log_p = logits.log_softmax(-1)
    return reduced(cross_entropy(log_p, targets) - strength * log_p.mean(-1), reduction)


def virtual_teacher(
    logits: Tensor,
    targets: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    mass: float = 0.9,
    reduction: str = "mean",
) -> Tensor:
    """Distil from a teacher made by hand: sure of the true class up to ``mass``, undecided about all others.

    Parameters
    ----------
    logits : Tensor of shape (..., n_classes)
        At least two classes.
    targets : Tensor of shape (...) or (..., n_classes)
        Class indices of an integer type, or one-hot rows of a floating type. Probabilities are smoothed alike:
        p_d = b + (mass - b) targets, with b the probability of a wrong class.
    temperature : float or Tensor, default=1.0
        Above 0. The made-up teacher is softened as softmax(log p_d / T). A tensor is broadcast to the rows; its values
        are checked by the caller.
    mass : float, default=0.9
        Probability of the true class, in [0, 1]; [1]_ takes at least 0.9.
    reduction : {"mean", "none"}, default="mean"
        Mean over the rows, or the rows.

    Returns
    -------
    loss : Tensor
        Scalar, or of shape (...). At least 0.

    Raises
    ------
    ValueError
        If shapes do not fit, there is one class only or one that does not exist, or
        `temperature` or `mass` is out of range.

    Notes
    -----
    T^2 KL(p_d(T) || p(T)), the soft term alone. Departs from [1]_ in the factor T^2, so that
    ``imitation`` weighs it as it weighs a true teacher. At T = 1 and imitation l it is label smoothing with
    eps = l (1 - mass) C / (C - 1), up to a constant.

    References
    ----------
    .. [1] Yuan, Tay, Li, Wang, Feng (2020). Revisiting Knowledge Distillation via Label Smoothing Regularization.
       CVPR. arXiv:1909.11723, section 4 (Tf-KD_reg).

    Examples
    --------
    A student that says what the virtual teacher says has nothing to learn.

    >>> import torch
    >>> student = torch.tensor([[0.8, 0.1, 0.1]]).log()
    >>> print(f"{virtual_teacher(student, torch.tensor([0]), temperature=20.0, mass=0.8).item():.4f}")
    0.0000
    """
    check_targets(logits, targets)
    mass = check_fraction("mass", mass, "Use e.g. 0.9.")
    other = (1 - mass) / (logits.shape[-1] - 1)
    made_up = other + (mass - other) * one_hot(targets, logits)
    return kd(logits, made_up.log(), temperature, reduction=reduction)
