"""Losses that compare features of student and teacher element by element, or their weights.

Every loss detaches the teacher itself, averages each window over its channels and steps and then the windows, and takes
maps of (batch, channels, length) or (batch, units), of unequal lengths (pooled to the shorter one) and with a mask.
Channels must agree: the classes of `pitskd.losses` bring adapters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pitskd._validation import check_positive, wrong
from pitskd.losses.functional.maps import check_same_channels, matched, mean_over_windows, unit

__all__ = [
    "activation_boundary",
    "boundary_distance",
    "exploration",
    "factor_transfer",
    "hint",
    "inheritance",
    "weight_matching",
]


def hint(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Ask the student for the teacher's features themselves.

    Parameters
    ----------
    student, teacher : Tensor of shape (batch, channels, length) or (batch, units)
        Equal channels; a longer map is pooled to the shorter one.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        At least 0. Unit: squared unit of the features.

    Raises
    ------
    ValueError
        If channels or windows differ.

    Notes
    -----
    Mean of squared differences over all elements; [1] has half their sum, and a regressor on the student's side.

    References
    ----------
    .. [1] Romero et al. (2015). FitNets: Hints for Thin Deep Nets. ICLR. arXiv:1412.6550, eq. (3).

    Examples
    --------
    >>> hint(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
    tensor(2.)
    """
    student, teacher, weights = matched(student, teacher, mask=mask)
    check_same_channels(student, teacher)
    return mean_over_windows((student - teacher).square().mean(dim=1), weights)


def weight_matching(
    student_weights: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    teacher_weights: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
) -> Tensor:
    """Pull the student's weights to the teacher's of the same shape.

    Parameters
    ----------
    student_weights, teacher_weights : Tensor, sequence of Tensor, or mapping of str to Tensor
        Equally many, of pairwise equal shapes; mappings are paired by name.

    Returns
    -------
    loss : Tensor, scalar
        At least 0, and 0 for equal weights.

    Raises
    ------
    ValueError
        If names, numbers or shapes differ, or there are no weights.

    Notes
    -----
    Mean of squared differences over all weights of all tensors. It does not depend on the batch.

    Examples
    --------
    >>> weight_matching([torch.ones(3), torch.zeros(1)], [torch.zeros(3), torch.zeros(1)])
    tensor(0.7500)
    """
    student, teacher = _named(student_weights), _named(teacher_weights)
    if not student or set(student) != set(teacher):
        raise wrong("student_weights", f"named {sorted(teacher)}", str(sorted(student)), "Pass the weights in pairs.")
    for name, weights in student.items():
        if weights.shape != teacher[name].shape:
            expected, given = f"of shape {tuple(teacher[name].shape)} at {name}", f"shape {tuple(weights.shape)}"
            raise wrong("student_weights", expected, given, "Leave out layers whose shapes differ.")
    squares = [(weights - teacher[name].detach()).square().sum() for name, weights in student.items()]
    return torch.stack(squares).sum() / max(sum(weights.numel() for weights in student.values()), 1)


def _named(weights: Tensor | Sequence[Tensor] | Mapping[str, Tensor]) -> dict[str, Tensor]:
    if isinstance(weights, Tensor):
        return {"0": weights}
    return dict(weights) if isinstance(weights, Mapping) else {str(i): w for i, w in enumerate(weights)}


def activation_boundary(student: Tensor, teacher: Tensor, margin: float = 1.0, *, mask: Tensor | None = None) -> Tensor:
    """Ask every unit of the student to be active where the teacher's is, by a margin.

    Meant for activations before the nonlinearity, and as initialisation before the task is learnt.

    Parameters
    ----------
    student, teacher : Tensor of shape (batch, channels, length) or (batch, units)
        Pre-activations, equal channels; of the teacher only the sign counts, and 0 is inactive.
    margin : float, default=1.0
        Above 0. How far beyond 0 the student's pre-activation should lie. Unit: that of the student's features.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        At least 0; 0 if every unit is on the teacher's side by the margin.

    Raises
    ------
    ValueError
        If channels or windows differ or `margin` is not above 0.

    Notes
    -----
    Mean over all elements of (s + m)^2 [s > -m, t <= 0] + (s - m)^2 [s <= m, t > 0]; [1] sums over units. The count of
    disagreeing units that this replaces has no gradient: it is `boundary_distance`.

    References
    ----------
    .. [1] Heo et al. (2019). Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons.
       AAAI. arXiv:1811.03233, section "Method".

    Examples
    --------
    >>> activation_boundary(torch.tensor([[0.5, 0.5, 2.0]]), torch.tensor([[3.0, -3.0, 1.0]])) * 3
    tensor(2.5000)
    """
    margin = check_positive("margin", margin, "Use 1.0.")
    student, teacher, weights = matched(student, teacher, mask=mask)
    check_same_channels(student, teacher)
    wrong_side = torch.where(teacher > 0, margin - student, margin + student).clamp(min=0.0)
    return mean_over_windows(wrong_side.square().mean(dim=1), weights)


def boundary_distance(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Measure the share of units that are active in one network and not in the other.

    The metric behind `activation_boundary`: the Hamming distance of two sparsity patterns. It has no gradient.

    Parameters
    ----------
    student, teacher : Tensor of shape (batch, channels, length) or (batch, units)
        Equal channels; a unit is active above 0.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    distance : Tensor, scalar
        In [0, 1].

    Raises
    ------
    ValueError
        If channels or windows differ.

    References
    ----------
    .. [1] Heo et al. (2019). Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons.
       AAAI. arXiv:1811.03233, section "Method".

    Examples
    --------
    >>> boundary_distance(torch.tensor([[1.0, -1.0]]), torch.tensor([[5.0, 5.0]]))
    tensor(0.5000)
    """
    student, teacher, weights = matched(student.detach(), teacher, mask=mask)
    check_same_channels(student, teacher)
    return mean_over_windows(((student > 0) != (teacher > 0)).to(student.dtype).mean(dim=1), weights)


def factor_transfer(student_factor: Tensor, teacher_factor: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Compare the student's factor with the teacher's paraphrased one, up to scale.

    Parameters
    ----------
    student_factor, teacher_factor : Tensor of shape (batch, channels, length) or (batch, units)
        Equal channels; what translator and paraphraser make of features.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        At least 0; does not change if a factor is scaled by a positive number.

    Raises
    ------
    ValueError
        If channels or windows differ.

    Notes
    -----
    Mean over all elements of the absolute difference of factors, each window's flattened to norm 1; [1] has the norm
    itself, a sum. A factor that is zero everywhere stays zero.

    References
    ----------
    .. [1] Kim, Park, Kwak (2018). Paraphrasing Complex Network: Network Compression via Factor Transfer. NeurIPS.
       arXiv:1802.04977, section 3.

    Examples
    --------
    >>> factor_transfer(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]]))
    tensor(0.2000)
    """
    student, teacher, weights = matched(student_factor, teacher_factor, mask=mask)
    check_same_channels(student, teacher)
    difference = (unit(student, (1, 2)) - unit(teacher, (1, 2))).abs()
    return mean_over_windows(difference.mean(dim=1), weights)


def inheritance(student_factor: Tensor, teacher_factor: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Ask one half of the student's features to carry what the teacher's do.

    Parameters
    ----------
    student_factor, teacher_factor : Tensor of shape (batch, channels, length) or (batch, units)
        Equal channels; the student's is made from the half that inherits.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        At least 0.

    Raises
    ------
    ValueError
        If channels or windows differ.

    Notes
    -----
    `factor_transfer`, the first of the similarities that [1] proposes.

    References
    ----------
    .. [1] Huang et al. (2021). Revisiting Knowledge Distillation: An Inheritance and Exploration Framework. CVPR.
       arXiv:2107.00181, section 3.

    Examples
    --------
    >>> inheritance(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0]]))
    tensor(0.)
    """
    return factor_transfer(student_factor, teacher_factor, mask=mask)


def exploration(student_factor: Tensor, teacher_factor: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Ask the other half of the student's features to carry what the teacher's do not.

    Parameters
    ----------
    student_factor, teacher_factor : Tensor of shape (batch, channels, length) or (batch, units)
        Equal channels; the student's is made from the half that explores.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        At most 0, and bounded below by -2 / sqrt(channels * length): both factors have norm 1.

    Raises
    ------
    ValueError
        If channels or windows differ.

    Notes
    -----
    The negative of `inheritance`.

    References
    ----------
    .. [1] Huang et al. (2021). Revisiting Knowledge Distillation: An Inheritance and Exploration Framework. CVPR.
       arXiv:2107.00181, section 3.

    Examples
    --------
    >>> exploration(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]]))
    tensor(-0.2000)
    """
    return -factor_transfer(student_factor, teacher_factor, mask=mask)
