"""Losses that compare relations: between windows of a batch, between channels, between two layers of one network.

What is compared is a distance, an angle or a Gram matrix, so that the numbers of channels need not always agree.
Distances and angles are made of differences of embeddings, never of differences of squares: neither embeddings far from
zero nor windows that are nearly the same cost digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pitskd._validation import check_integer, wrong
from pitskd.losses.functional._rows import check_bool
from pitskd.losses.functional.maps import (
    as_map,
    check_same_channels,
    check_same_windows,
    constant,
    kept,
    matched,
    matched_maps,
    mean_of_windows,
    step_weights,
    unit,
)  # fmt: skip

__all__ = ["fsp", "neuron_selectivity", "relational_angle", "relational_distance"]

_ENTRIES = 2**18  # of the largest tensor that one part of the triples needs


def neuron_selectivity(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Compare which patterns over time the channels of two networks select, whatever their order and number.

    Parameters
    ----------
    student, teacher : Tensor of shape (batch, channels, length) or (batch, units)
        Channels may differ; a longer map is pooled to the shorter one.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        In [0, 2]. Permuting channels, or scaling each by a positive number or -1, changes nothing.

    Raises
    ------
    ValueError
        If windows differ.

    Notes
    -----
    Squared maximum mean discrepancy with kernel k(a, b) = <a, b>^2 of [1] (no offset), each channel's map scaled to
    norm 1 over time, averaged over pairs of channels and over windows. As k(a, b) = <aa', bb'>, it is the squared
    distance of S'S / C_s and T'T / C_t, matrices (length, length): no pair of channels is formed, and a difference is
    taken before the square, so that it is never negative and keeps its digits where all channels are much alike. Where
    there are more steps than channels, both are first written in a basis of what their channels span: the same value
    and gradient in C_s + C_t instead of length steps. Second derivatives are not available.

    References
    ----------
    .. [1] Huang, Wang (2017). Like What You Like: Knowledge Distill via Neuron Selectivity Transfer. arXiv:1707.01219,
       section on neuron selectivity transfer, polynomial kernel of degree 2.

    Examples
    --------
    >>> maps = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])
    >>> swapped_and_scaled = torch.tensor([[[30.0, -10.0], [1.0, 2.0]]])
    >>> bool(neuron_selectivity(maps, swapped_and_scaled) < 1e-12)
    True
    """
    student, teacher, weights = matched(student, teacher, mask=mask)
    student, teacher = (unit(maps, (2,)) / maps.shape[1] ** 0.5 for maps in (student, teacher))
    if student.shape[2] > student.shape[1] + teacher.shape[1]:
        # A constant basis will do: a change of the student beside it moves the loss in second order only.
        basis = torch.linalg.qr(torch.cat([student, teacher], dim=1).detach().mT).Q
        student, teacher = student @ basis, teacher @ basis
    moments = student.mT @ student - teacher.mT @ teacher
    return mean_of_windows(moments.square().sum(dim=(1, 2)), weights)


def fsp(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], *, mask: Tensor | None = None) -> Tensor:
    """Compare how features flow from one layer to a later one: the flow of the solution procedure.

    Parameters
    ----------
    student, teacher : pair of Tensor of shape (batch, channels, length)
        Features of two layers; the channels of the first layers agree, and those of the second ones. All are pooled to
        the shortest length.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts.

    Returns
    -------
    loss : Tensor, scalar
        At least 0. One permutation of time for all four maps changes nothing.

    Raises
    ------
    ValueError
        If channels or windows differ, or a network has not two layers.

    Notes
    -----
    G = F1 F2' / length [1, eq. (1)], mean of squared differences over entries and windows; [1, eq. (2)] sums over
    entries. Computed as (S1 - T1) S2' + T1 (S2 - T2)', which is the same and keeps its digits where features are large.

    References
    ----------
    .. [1] Yim et al. (2017). A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer
       Learning. CVPR.

    Examples
    --------
    >>> one, two = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[2.0, 2.0]]])
    >>> fsp((one, two), (one, torch.zeros_like(two)))  # G is 4 and 0
    tensor(16.)
    """
    for name, pair in (("student", student), ("teacher", teacher)):
        if len(pair) != 2:
            raise wrong(name, "a pair of features", f"{len(pair)} of them", "Pass (first layer, later layer).")
    taught = {f"teacher[{i}]": constant(features, student[i]) for i, features in enumerate(teacher)}
    features = {"student[0]": student[0], "student[1]": student[1], **taught}
    (first, later, first_taught, later_taught), weights = matched_maps(features, mask)
    check_same_channels(first, first_taught)
    check_same_channels(later, later_taught)
    difference = (first - first_taught) @ later.mT + first_taught @ (later - later_taught).mT
    steps = first.shape[2] if weights is None else weights.sum(dim=1).clamp(min=1.0)[:, None, None]
    return mean_of_windows((difference / steps).square().mean(dim=(1, 2)), weights)


def relational_distance(
    student: Tensor, teacher: Tensor, *, squared: bool = False, normalise: bool = True, mask: Tensor | None = None
) -> Tensor:
    """Compare which windows of the batch lie near each other.

    Parameters
    ----------
    student, teacher : Tensor of shape (batch, channels, length) or (batch, units)
        One embedding per window, flattened; channels and lengths may differ.
    squared : bool, default=False
        Compare squared distances.
    normalise : bool, default=True
        Divide by the mean of the positive distances of the batch, each network by its own.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts; a step that does not is put at the mean of the batch.

    Returns
    -------
    loss : Tensor, scalar
        At least 0, and 0 for one window. Shifting and rotating an embedding changes nothing, nor does scaling it if
        `normalise`.

    Raises
    ------
    ValueError
        If windows differ.
    TypeError
        If `squared` or `normalise` is no bool.

    Notes
    -----
    Smooth-L1 with threshold 1, averaged over all N^2 pairs with the diagonal; [1] sums over pairs.
    ``squared=True, normalise=False`` is an older form. Distances are norms of differences, never |a|^2 + |b|^2 - 2ab.
    Where two embeddings coincide, their pair has gradient 0. Second derivatives are not available.

    References
    ----------
    .. [1] Park et al. (2019). Relational Knowledge Distillation. CVPR. arXiv:1904.05068, section 3.2, distances.

    Examples
    --------
    >>> line, twice_as_long = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[5.0], [7.0], [11.0]])
    >>> relational_distance(line, twice_as_long)
    tensor(0.)
    >>> relational_distance(line, twice_as_long, normalise=False)  # pairs differ by 1, 2 and 3
    tensor(1.)
    """
    squared, normalise = check_bool("squared", squared), check_bool("normalise", normalise)
    own, taught = _two_embeddings(student, teacher, mask)
    distances = [_distances(embedded, squared, normalise) for embedded in (own, taught)]
    return nn.functional.smooth_l1_loss(distances[0], distances[1])


def relational_angle(
    student: Tensor,
    teacher: Tensor,
    *,
    max_triples: int | None = None,
    generator: torch.Generator | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Compare the angles that triples of windows form.

    Parameters
    ----------
    student, teacher : Tensor of shape (batch, channels, length) or (batch, units)
        One embedding per window, flattened; channels and lengths may differ.
    max_triples : int, default=None
        Draw so many of the N^3 triples, with replacement, if there are more. None: all of them.
    generator : torch.Generator, default=None
        Draws the triples; needed if some are drawn.
    mask : bool Tensor of shape (batch, window), default=None
        True where a step counts; a step that does not is put at the mean of the batch.

    Returns
    -------
    loss : Tensor, scalar
        In [0, 1.5]. Shifting, rotating and scaling an embedding changes nothing. With `max_triples` an unbiased
        estimate.

    Raises
    ------
    ValueError
        If windows differ, `max_triples` is below 1, or `generator` is missing.

    Notes
    -----
    Smooth-L1 of cosines at the middle window j of triples (i, j, k), averaged over all N^3; [1] sums. A triple without
    an angle, as i = j, counts as cosine 0. Cosines are products of unit differences; the law of cosines would lose its
    digits where windows are nearly the same. Value and gradient are summed part by part, so that no tensor holds N^3 of
    anything; second derivatives are not available.

    References
    ----------
    .. [1] Park et al. (2019). Relational Knowledge Distillation. CVPR. arXiv:1904.05068, section 3.2, angles.

    Examples
    --------
    >>> corner = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    >>> line = torch.tensor([[0.0], [1.0], [2.0]])
    >>> bool(relational_angle(corner, 3.0 * corner + 7.0) < 1e-12), relational_angle(corner, line)
    (True, tensor(0.0434))
    """
    own, taught = _two_embeddings(student, teacher, mask)
    drawn = _triples(len(own), max_triples, generator, own.device)
    widest = max(own.shape[1], taught.shape[1])
    if drawn is None:
        at_once = max(1, _ENTRIES // (len(own) * max(len(own), widest)))
        middles = torch.arange(len(own), device=own.device)
        return _in_parts(_angles_at, own, taught, middles.split(at_once)) / len(own) ** 3
    at_once = max(1, _ENTRIES // widest)
    return _in_parts(_angles_of, own, taught, drawn.split(at_once, dim=1)) / drawn.shape[1]


def _two_embeddings(student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    own, taught = as_map("student", student), as_map("teacher", teacher.detach())
    check_same_windows({"student": own, "teacher": taught})
    own = _embedding(own, mask)
    return own, constant(_embedding(taught, mask), own)


def _embedding(maps: Tensor, mask: Tensor | None) -> Tensor:
    """Return (batch, channels * length); steps that do not count lie at the centre of those that do."""
    if mask is None:
        return maps.flatten(1)
    weights = step_weights(maps, mask)
    centre = kept(maps, weights).sum(dim=0) / weights.sum(dim=0).clamp(min=1.0)
    # Nothing is centred: the difference of two windows that are nearly the same would be rounded.
    return torch.where(weights.unsqueeze(1) > 0, maps, centre).flatten(1)


def _distances(embedded: Tensor, squared: bool = False, normalise: bool = True) -> Tensor:
    # Differences first: exact zeros for equal rows, whose gradient torch defines as 0.
    distances = torch.cdist(embedded, embedded, compute_mode="donot_use_mm_for_euclid_dist")
    if squared:
        distances = distances.square()
    if not normalise:
        return distances
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / torch.where(mean > 0, mean, 1.0)


def _triples(
    n_windows: int, max_triples: int | None, generator: torch.Generator | None, device: torch.device
) -> Tensor | None:
    """Draw positions (i, j, k) as (3, n_triples), or return None for all triples."""
    if max_triples is None:
        return None
    most = check_integer("max_triples", max_triples, minimum=1, step="Pass None for all triples.")
    if n_windows**3 <= most:
        return None
    if not isinstance(generator, torch.Generator):
        step = "Pass torch.Generator().manual_seed(0), or max_triples=None."
        raise wrong("generator", "a torch.Generator where triples are drawn", generator, step)
    drawn = torch.randint(n_windows**3, (most,), generator=generator, device=generator.device).to(device)
    rows = torch.div(drawn, n_windows, rounding_mode="floor")
    return torch.stack([torch.div(rows, n_windows, rounding_mode="floor"), rows % n_windows, drawn % n_windows])


def _in_parts(
    lost: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    own: Tensor,
    taught: Tensor,
    parts: Sequence[Tensor],
) -> Tensor:
    """Sum a loss over parts; as each tells its gradient at once, nothing of a part stays in memory."""
    fixed = own.detach()
    value, slope = own.new_zeros(()), torch.zeros_like(fixed)
    for part in parts:
        lost_here, slope_here = lost(fixed, taught, part)
        value, slope = value + lost_here, slope + slope_here
    return value + (slope * (own - fixed)).sum()


def _angles_at(own: Tensor, taught: Tensor, middles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss, and its gradient, summed over all triples whose middle window is one of some."""
    towards, inverse = _directions(own[None] - own[middles][:, None])
    expected, _ = _directions(taught[None] - taught[middles][:, None])
    cosines, wanted = towards @ towards.mT, expected @ expected.mT
    pull = 2.0 * (cosines - wanted).clamp(-1.0, 1.0) @ towards  # 2: each end is once i and once k
    turned = _turning(pull, towards, inverse)
    slope = turned.sum(dim=0).index_add(0, middles, -turned.sum(dim=1))
    return nn.functional.smooth_l1_loss(cosines, wanted, reduction="sum"), slope


def _angles_of(own: Tensor, taught: Tensor, triples: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss, and its gradient, summed over triples (3, n_triples)."""
    i, j, k = triples
    (to_i, inverse_i), (to_k, inverse_k) = (_directions(own[end] - own[j]) for end in (i, k))
    (taught_i, _), (taught_k, _) = (_directions(taught[end] - taught[j]) for end in (i, k))
    cosines, wanted = (to_i * to_k).sum(dim=1), (taught_i * taught_k).sum(dim=1)
    pull = (cosines - wanted).clamp(-1.0, 1.0)[:, None]
    turned_i, turned_k = _turning(pull * to_k, to_i, inverse_i), _turning(pull * to_i, to_k, inverse_k)
    slope = torch.zeros_like(own).index_add(0, i, turned_i).index_add(0, k, turned_k)
    return nn.functional.smooth_l1_loss(cosines, wanted, reduction="sum"), slope.index_add(0, j, -turned_i - turned_k)


def _directions(differences: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit vectors along the last axis and their inverse lengths; both are 0 where two windows coincide."""
    largest = differences.abs().amax(dim=-1, keepdim=True)
    apart = largest > torch.finfo(largest.dtype).tiny
    scaled = differences / torch.where(apart, largest, torch.inf)  # the squares neither over- nor underflow
    length = torch.where(apart, torch.linalg.vector_norm(scaled, dim=-1, keepdim=True), 1.0)
    return scaled / length, torch.where(apart, 1.0 / (largest * length), 0.0)


def _turning(pull: Tensor, towards: Tensor, inverse: Tensor) -> Tensor:
    """Return what a pull on the ends of unit vectors is at the differences they were made of."""
    return (pull - (pull * towards).sum(dim=-1, keepdim=True) * towards) * inverse
