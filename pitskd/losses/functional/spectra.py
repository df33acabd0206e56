"""Losses that compare the singular values and vectors of maps (length, channels), window by window.

Channels need not agree: left singular vectors are patterns over time, singular values their strengths. Derivatives stay
finite where singular values repeat, which those of ``torch.linalg.svd`` do not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pitskd._validation import check_integer
from pitskd.losses.functional.maps import matched, mean_of_windows, unit

__all__ = ["singular_values", "singular_vectors"]


def singular_values(student: Tensor, teacher: Tensor, *, n_values: int = 4, mask: Tensor | None = None) -> Tensor:
    """Compare how many independent patterns over time two feature maps hold, and how strong they are.

    Parameters
    ----------
    student, teacher : Tensor of shape (batch, channels, length) or (batch, units)
        Channels may differ; a longer map is pooled to the shorter one.
    n_values : int, default=4
        Compare so many of the largest singular values; a map with fewer has zeros for the rest.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        In [0, 2 / n_values]. Scaling a map or rotating its channels changes nothing.

    Raises
    ------
    ValueError
        If windows differ or `n_values` is below 1.

    Notes
    -----
    Mean of squared differences; each window's map has norm 1 over channels and time, so that the squares of its
    singular values are shares. A companion of `singular_vectors`; [1] weights the vectors by these values instead.

    References
    ----------
    .. [1] Lee, Kim, Song (2018). Self-supervised Knowledge Distillation Using Singular Value Decomposition. ECCV.
       arXiv:1807.06819, section 3.

    Examples
    --------
    >>> one_pattern, two_patterns = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), torch.eye(2).unsqueeze(0)
    >>> singular_values(one_pattern, two_patterns, n_values=2)  # (1, 0) against (.7071, .7071)
    tensor(0.2929)
    """
    n_values = check_integer("n_values", n_values, minimum=1, step="Use 4.")
    student, teacher, weights = matched(student, teacher, mask=mask)
    spectra = [_spectrum(maps, n_values) for maps in (student, teacher)]
    return mean_of_windows((spectra[0] - spectra[1]).square().mean(dim=1), weights)


def _spectrum(maps: Tensor, n_values: int) -> Tensor:
    values = torch.linalg.svdvals(unit(maps, (1, 2)))[:, :n_values]
    return nn.functional.pad(values, (0, n_values - values.shape[1]))


def singular_vectors(student: Tensor, teacher: Tensor, *, n_vectors: int = 1, mask: Tensor | None = None) -> Tensor:
    """Compare the strongest patterns over time of two feature maps.

    Parameters
    ----------
    student, teacher : Tensor of shape (batch, channels, length) or (batch, units)
        Channels may differ; a longer map is pooled to the shorter one.
    n_vectors : int, default=1
        Number of top left singular vectors that span the patterns.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        In [0, 1]: 0 if both span the same patterns, 1 if they are orthogonal. Neither the scale of a map, nor a
        rotation of its channels, nor the sign of a vector matters.

    Raises
    ------
    ValueError
        If windows differ or `n_vectors` is below 1.

    Notes
    -----
    Mean over windows of ||P_s - P_t||^2 / (2 n_vectors) with P = U U' for the top singular vectors U over time, which
    have no sign to be aligned; [1] aligns signs and compares radial basis functions of vectors of successive layers.
    The derivative of P has factors 1 / d, d a difference of squared singular values inside and outside the top; here
    d / (d^2 + eps) with eps the precision of the numbers, which is 0 where they coincide. A vector of singular value 0
    is no pattern and left out.

    References
    ----------
    .. [1] Lee, Kim, Song (2018). Self-supervised Knowledge Distillation Using Singular Value Decomposition. ECCV.
       arXiv:1807.06819, section 3.

    Examples
    --------
    >>> early, late = torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[[0.0, 0.0, 2.0]]])
    >>> singular_vectors(early, late), singular_vectors(early, -3.0 * early)
    (tensor(1.), tensor(0.))
    """
    n_vectors = check_integer("n_vectors", n_vectors, minimum=1, step="Use 1 for the strongest pattern.")
    student, teacher, weights = matched(student, teacher, mask=mask)
    difference = _projector(student, n_vectors) - _projector(teacher, n_vectors)
    return mean_of_windows(difference.square().sum(dim=(1, 2)) / (2.0 * n_vectors), weights)


def _projector(maps: Tensor, n_vectors: int) -> Tensor:
    """Return P = U U' (batch, length, length) of the top left singular vectors, with its first derivative.

    Vectors are constants; P moves with the Gram matrix A over time as perturbation theory says: by the sum over i in
    the top and j outside of u_j (u_j' dA u_i) u_i' / (a_i - a_j), and its transpose. dA is A - constant A: zero, with
    the gradient of A. `left_out` are the directions of singular value 0 that a thin decomposition does not list.
    """
    scale = maps.detach().square().sum(dim=(1, 2), keepdim=True).sqrt()
    maps = maps / torch.where(scale > 0, scale, 1.0)
    vectors, values, _ = torch.linalg.svd(maps.detach().mT, full_matrices=False)
    tiny = torch.finfo(maps.dtype).eps
    squares, pattern = values.square(), (values > tiny * max(maps.shape[1:])).to(maps.dtype)
    top, others = vectors[..., :n_vectors] * pattern[:, None, :n_vectors], vectors[..., n_vectors:]
    gap = squares[:, None, :n_vectors] - squares[:, n_vectors:, None]
    moment = maps.mT @ maps
    pull = (moment - moment.detach()) @ top
    inside = others.mT @ pull
    move = others @ (inside * gap / (gap.square() + tiny))
    left_out = pull - vectors @ (vectors.mT @ pull)
    largest = squares[:, None, :n_vectors]
    move = (move + left_out * largest / (largest.square() + tiny)) @ top.mT
    return top @ top.mT + move + move.mT
