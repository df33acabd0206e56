"""Losses between predictions, one number per row: what a student learns from the soft targets of others.

The last axis holds classes (or outputs), every axis before it rows: the batch, the steps of a window, stacked students.
A loss is the mean over all rows, so per-step logits (batch, length, classes) do not weigh more in longer windows;
``reduction="none"`` hands out the rows. Teachers and peers are detached here and brought to the student's precision.
Targets of an integer type are class indices (...), of a floating type probabilities (..., n_classes).

A number such as `temperature` is checked; where a tensor holds one per row or student, as in a stack of students, its
values are checked by the caller, once and not in every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pitskd._validation import check_fraction, wrong
from pitskd.losses.functional._rows import (
    check_bool,
    check_targets,
    cross_entropy,
    log_probabilities,
    per_temperature,
    reduced,
    taught,
)

__all__ = [
    "kd",
    "logit_regression",
    "mutual",
    "soft_cross_entropy",
    "soft_targets",
    "trust_weights",
]


def kd(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor = 1.0, *, reduction: str = "mean"
) -> Tensor:
    """Compare softened class probabilities: the squared temperature times their Kullback-Leibler divergence.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor of shape (..., n_classes)
        At least two classes. The teacher's may lack leading axes (one teacher of many students) and hold -inf, the
        student's where the teacher's do.
    temperature : float or Tensor, default=1.0
        Above 0. A tensor is broadcast to the rows, e.g. (n_students, 1) for rows (n_students, batch); its values are
        checked by the caller.
    reduction : {"mean", "none"}, default="mean"
        Mean over the rows, or the rows.

    Returns
    -------
    loss : Tensor
        Scalar, or of shape (...). At least 0.

    Raises
    ------
    ValueError
        If shapes differ, there is one class only, or `temperature` is no number above 0.

    Notes
    -----
    T^2 KL(p_t(T) || p_s(T)), summed over classes: no division by their number. The factor T^2 ([1]_, section 2)
    keeps the size of the gradient: T (p_s - p_t) per row, eq. (2), which tends to centre(z_s - z_t) / n_classes as T
    grows, eq. (4). There is no hard term here; both meet by ``imitation``. Adding a constant to a row of logits changes
    nothing, and in float32 a large one costs no more digits than it costs the logits.

    References
    ----------
    .. [1] Hinton, Vinyals, Dean (2015). Distilling the Knowledge in a Neural Network. arXiv:1503.02531, eq. (1)-(4).

    Examples
    --------
    A teacher of odds 3 to 1 and a student of even odds: 3/4 ln(3/2) + 1/4 ln(1/2).

    >>> teacher = torch.tensor([[3.0, 1.0]]).log()
    >>> print(f"{kd(torch.zeros(1, 2), teacher).item():.4f}")
    0.1308
    """
    teacher_logits = taught(student_logits, teacher_logits, "teacher_logits")
    log_student = log_probabilities(student_logits, temperature)
    log_teacher = log_probabilities(teacher_logits, temperature)
    p_teacher = log_teacher.exp()
    # A class of which the teacher is sure that it is not counts 0, whatever the student says.
    divergence = torch.where(p_teacher == 0, 0.0, p_teacher * (log_teacher - log_student)).sum(-1)
    return reduced(per_temperature(divergence, temperature), reduction)


def soft_cross_entropy(student_logits: Tensor, soft_targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """Score the student's class probabilities against soft targets.

    Parameters
    ----------
    student_logits : Tensor of shape (..., n_classes)
        At least two classes.
    soft_targets : Tensor of shape (..., n_classes)
        Probabilities, detached here; they may lack leading axes.
    reduction : {"mean", "none"}, default="mean"
        Mean over the rows, or the rows.

    Returns
    -------
    loss : Tensor
        Scalar, or of shape (...).

    Raises
    ------
    ValueError
        If shapes differ or there is one class only.

    Notes
    -----
    -sum_c s_c log p_c, the student untempered: the soft term of generalized distillation [1]_. With soft
    targets softmax(z_t) it is `kd` at temperature 1 plus the teacher's entropy: equal gradients.

    References
    ----------
    .. [1] Lopez-Paz, Bottou, Schoelkopf, Vapnik (2016). Unifying distillation and privileged information. ICLR.
       arXiv:1511.03643, section 4.

    Examples
    --------
    >>> print(f"{soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.75, 0.25]])).item():.4f}")
    0.6931
    """
    soft_targets = taught(student_logits, soft_targets, "soft_targets")
    return reduced(cross_entropy(student_logits.log_softmax(-1), soft_targets), reduction)


def soft_targets(teacher_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Turn the teacher's logits into softened class probabilities.

    Parameters
    ----------
    teacher_logits : Tensor of shape (..., n_classes)
        May hold -inf.
    temperature : float or Tensor, default=1.0
        Above 0; larger is softer. A tensor is broadcast to the rows; its values are checked by the caller.

    Returns
    -------
    soft_targets : Tensor of shape (..., n_classes)
        Rows sum to 1; no gradient.

    Raises
    ------
    ValueError
        If `temperature` is no number above 0.

    References
    ----------
    .. [1] Hinton, Vinyals, Dean (2015). Distilling the Knowledge in a Neural Network. arXiv:1503.02531, eq. (1).

    Examples
    --------
    >>> soft_targets(torch.tensor([16.0, 1.0]).log(), temperature=2.0)
    tensor([0.8000, 0.2000])
    """
    return log_probabilities(teacher_logits.detach(), temperature).exp()


def logit_regression(
    student_logits: Tensor, teacher_logits: Tensor, *, centre: bool = False, reduction: str = "mean"
) -> Tensor:
    """Regress the teacher's logits, or its forecasts.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor of shape (..., n_outputs)
        The teacher's may lack leading axes.
    centre : bool, default=False
        Compare up to a constant per row, the part of logits that probabilities depend on.
    reduction : {"mean", "none"}, default="mean"
        Mean over the rows, or the rows.

    Returns
    -------
    loss : Tensor
        Scalar, or of shape (...). Unit: square of the outputs'.

    Raises
    ------
    ValueError
        If shapes differ.
    TypeError
        If `centre` is no bool.

    Notes
    -----
    Mean of squares over rows and outputs. Half of it, with ``centre=True``, is the limit of `kd` at high temperature
    ([2]_, eq. 4); [1]_ regresses the logits of an ensemble on pseudo-rows (`pitskd.neural.munge`).

    References
    ----------
    .. [1] Bucila, Caruana, Niculescu-Mizil (2006). Model Compression. KDD.
    .. [2] Hinton, Vinyals, Dean (2015). Distilling the Knowledge in a Neural Network. arXiv:1503.02531.

    Examples
    --------
    >>> student, teacher = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.0]])
    >>> logit_regression(student, teacher).item(), logit_regression(student, teacher, centre=True).item()
    (5.0, 1.0)
    """
    difference = student_logits - taught(student_logits, teacher_logits, "teacher_logits", minimum=1)
    if check_bool("centre", centre):
        difference = difference - difference.mean(-1, keepdim=True)
    return reduced(difference.square().mean(-1), reduction)


def mutual(student_logits: Tensor, *peer_logits: Tensor, reduction: str = "mean") -> Tensor:
    """Compare a student with its peers, which learn at the same time and teach each other.

    Parameters
    ----------
    student_logits : Tensor of shape (..., n_classes)
        At least two classes.
    *peer_logits : Tensor of shape (..., n_classes)
        Those of one peer each, detached here. Peers may have seen other inputs.
    reduction : {"mean", "none"}, default="mean"
        Mean over the rows, or the rows.

    Returns
    -------
    loss : Tensor
        Scalar, or of shape (...). At least 0.

    Raises
    ------
    ValueError
        If there is no peer, shapes differ, or there is one class only.
    TypeError
        If a peer is no tensor, such as a list of peers.

    Notes
    -----
    Mean over peers of KL(peer || student), to be added to the student's cross-entropy with weight 1 ([1]_). Identical
    peers add no gradient.

    References
    ----------
    .. [1] Zhang, Xiang, Hospedales, Lu (2018). Deep Mutual Learning. CVPR. arXiv:1706.00384, sections 2.1 and 2.3.

    Examples
    --------
    >>> student, sure = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
    >>> print(f"{mutual(student, sure).item():.4f} {mutual(student, sure, student).item():.4f}")
    0.1308 0.0654
    """
    if not peer_logits:
        raise wrong("peer_logits", "the logits of at least one peer", "none", "Pass them behind those of the student.")
    for peer in peer_logits:
        if not isinstance(peer, Tensor):
            given, step = f"a {type(peer).__name__}", "Unpack several peers: mutual(student_logits, *peers)."
            raise wrong("peer_logits", "one tensor per peer", given, step, TypeError)
    terms = [kd(student_logits, peer, reduction=reduction) for peer in peer_logits]
    return torch.stack(terms).mean(0)


def trust_weights(teacher_logits: Tensor, targets: Tensor, *, threshold: float = 0.5) -> Tensor:
    """Tell which rows a teacher may teach: those it gets right and is sure of.

    Parameters
    ----------
    teacher_logits : Tensor of shape (..., n_classes)
        At least two classes.
    targets : Tensor of shape (...) or (..., n_classes)
        Class indices of an integer type, or probabilities of a floating type, whose largest is the true class.
    threshold : float, default=0.5
        In [0, 1]: the true class must be the teacher's first choice and have more probability than this.

    Returns
    -------
    weights : Tensor of shape (...)
        1 where the soft term of a row counts, else 0; no gradient.

    Raises
    ------
    ValueError
        If shapes do not fit, there is one class only or one that does not exist, or
        `threshold` is no number between 0 and 1.

    Notes
    -----
    To be multiplied with rows of a soft loss (``reduction="none"``): rows of weight 0 give no gradient. The mean is
    still taken over all rows, so that fewer trusted rows mean less imitation. Probabilities are those at temperature 1.

    Examples
    --------
    >>> teacher = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]).log()  # right, wrong, unsure
    >>> trust_weights(teacher, torch.tensor([0, 0, 0]))
    tensor([1., 0., 0.])
    """
    check_targets(teacher_logits, targets)
    threshold = check_fraction("threshold", threshold, "Use e.g. 0.5.")
    sureness, choice = teacher_logits.detach().softmax(-1).max(-1)
    truth = targets.argmax(-1) if targets.is_floating_point() else targets
    return ((choice == truth) & (sureness > threshold)).to(sureness.dtype)
