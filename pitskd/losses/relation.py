"""Losses on relations, configured: between windows, between channels, and between layers.

Which window is like which other one, which patterns the channels select, how one layer follows from another: relations
need not know the number of channels, and adapters are the exception.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pitskd._validation import check_integer
from pitskd.losses._signals import LayerPair, check_names, features_of, mask_of
from pitskd.losses.adapters import PairAdapter
from pitskd.losses.base import DistillationLoss, Signals
from pitskd.losses.feature import channel_adapter
from pitskd.losses.functional import relations as functional
from pitskd.losses.functional._rows import check_bool
from pitskd.losses.functional.spectra import singular_values, singular_vectors

__all__ = [
    "FlowOfSolution",
    "NeuronSelectivity",
    "RelationalAngle",
    "RelationalDistance",
    "SingularValues",
    "SingularVectors",
]

_STEP = "Take names of network.named_modules(), e.g. ('blocks.0', 'blocks.1')."


class NeuronSelectivity(LayerPair):
    """Make the student's channels select the patterns over time that the teacher's do, in any order.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Names as in ``network.named_modules()``; features (batch, channels, length), length above 1 to have an effect.

    Raises
    ------
    ValueError
        If a network gives no features of that layer.

    Notes
    -----
    `pitskd.losses.functional.neuron_selectivity`. Channels may differ, so that there is no adapter.

    References
    ----------
    .. [1] Huang, Wang (2017). Like What You Like: Knowledge Distill via Neuron Selectivity Transfer. arXiv:1707.01219,
       section on neuron selectivity transfer, polynomial kernel of degree 2.

    Examples
    --------
    >>> NeuronSelectivity("blocks.0", "blocks.2")
    NeuronSelectivity(student_layer='blocks.0', teacher_layer='blocks.2')
    """

    def compare(self, own: Tensor, taught: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Compare the channels of both layers."""
        return functional.neuron_selectivity(own, taught, mask=mask)


class FlowOfSolution(DistillationLoss):
    """Teach how features of one layer become those of a later one, not the features themselves.

    Parameters
    ----------
    student_layers, teacher_layers : pair of str
        An earlier and a later layer of each network; features (batch, channels, length).

    Raises
    ------
    ValueError
        If there are not two layers, or a network gives no features of one.

    Notes
    -----
    `pitskd.losses.functional.fsp`. Where channels differ, the student's go through a 1x1 convolution; [1] chooses
    layers of equal widths.

    References
    ----------
    .. [1] Yim et al. (2017). A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer
       Learning. CVPR, eq. (1) and (2).

    Examples
    --------
    >>> FlowOfSolution(("blocks.0", "blocks.1"), ("blocks.0", "blocks.3"))
    FlowOfSolution(student_layers=('blocks.0', 'blocks.1'), teacher_layers=('blocks.0', 'blocks.3'))
    """

    def __init__(self, student_layers: tuple[str, str], teacher_layers: tuple[str, str]):
        expected = "a pair of layers, an earlier and a later one"
        self.student_layers = check_names("student_layers", student_layers, expected, _STEP, least=2, most=2)
        self.teacher_layers = check_names("teacher_layers", teacher_layers, expected, _STEP, least=2, most=2)

    def adapter(self, student: Signals, teacher: Signals) -> nn.Module | None:
        """Make a 1x1 convolution for each layer whose channels differ, or None if none does."""
        layers = zip(self.student_layers, self.teacher_layers, strict=True)
        first, later = (channel_adapter(student, own, teacher, taught) for own, taught in layers)
        return None if first is None and later is None else PairAdapter(first or nn.Identity(), later or nn.Identity())

    def __call__(
        self,
        student: Signals,
        teacher: Signals,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compare the flow between two layers on one batch."""
        first, later = (features_of("student", student, layer) for layer in self.student_layers)
        taught_first, taught_later = (features_of("teacher", teacher, layer) for layer in self.teacher_layers)
        own = (first, later) if adapter is None else adapter((first, later))
        return functional.fsp(own, (taught_first, taught_later), mask=mask_of(student, teacher))


class RelationalDistance(LayerPair):
    """Make windows lie near each other for the student where they do for the teacher.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Names as in ``network.named_modules()``; features are flattened to one embedding per window.
    squared : bool, default=False
        Compare squared distances.
    normalise : bool, default=True
        Divide by the mean of the positive distances of the batch.

    Raises
    ------
    ValueError
        If a network gives no features of that layer.
    TypeError
        If `squared` or `normalise` is no bool.

    Notes
    -----
    `pitskd.losses.functional.relational_distance`; (False, True) is [1], (True, False) an older form.

    References
    ----------
    .. [1] Park et al. (2019). Relational Knowledge Distillation. CVPR. arXiv:1904.05068, section 3.2, distances.

    Examples
    --------
    >>> RelationalDistance("hidden", "hidden", squared=True, normalise=False)
    RelationalDistance(student_layer='hidden', teacher_layer='hidden', squared=True, normalise=False)
    """

    def __init__(self, student_layer: str, teacher_layer: str, squared: bool = False, normalise: bool = True):
        super().__init__(student_layer, teacher_layer)
        self.squared, self.normalise = check_bool("squared", squared), check_bool("normalise", normalise)

    def compare(self, own: Tensor, taught: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Compare the distances of both layers."""
        return functional.relational_distance(own, taught, squared=self.squared, normalise=self.normalise, mask=mask)


class RelationalAngle(LayerPair):
    """Make triples of windows form the angles for the student that they form for the teacher.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Names as in ``network.named_modules()``; features are flattened to one embedding per window.
    max_triples : int, default=None
        Draw so many of the batch^3 triples if there are more, by the generator of the training. None: all.

    Raises
    ------
    ValueError
        If a network gives no features of that layer, or `max_triples` is below 1.

    Notes
    -----
    `pitskd.losses.functional.relational_angle`. All triples of 64 windows are 262,144 numbers, of 512 windows 134
    million: draw some. Students whose triples are drawn cannot be stacked.

    References
    ----------
    .. [1] Park et al. (2019). Relational Knowledge Distillation. CVPR. arXiv:1904.05068, section 3.2, angles.

    Examples
    --------
    >>> RelationalAngle("hidden", "hidden", max_triples=10_000).stackable
    False
    """

    def __init__(self, student_layer: str, teacher_layer: str, max_triples: int | None = None):
        super().__init__(student_layer, teacher_layer)
        if max_triples is not None:
            max_triples = check_integer("max_triples", max_triples, minimum=1, step="Pass None for all triples.")
        self.max_triples = max_triples
        self.stackable = max_triples is None

    def compare(self, own: Tensor, taught: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Compare the angles of both layers."""
        return functional.relational_angle(own, taught, max_triples=self.max_triples, generator=generator, mask=mask)


class SingularVectors(LayerPair):
    """Make the strongest patterns over time of the student's features those of the teacher's.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Names as in ``network.named_modules()``; features (batch, channels, length), length above 1 to have an effect.
    n_vectors : int, default=1
        Number of top singular vectors that span the patterns.

    Raises
    ------
    ValueError
        If a network gives no features of that layer, or `n_vectors` is below 1.

    Notes
    -----
    `pitskd.losses.functional.singular_vectors`. Channels may differ, so that there is no adapter.

    References
    ----------
    .. [1] Lee, Kim, Song (2018). Self-supervised Knowledge Distillation Using Singular Value Decomposition. ECCV.
       arXiv:1807.06819, section 3.

    Examples
    --------
    >>> SingularVectors("blocks.0", "blocks.2", n_vectors=2)
    SingularVectors(student_layer='blocks.0', teacher_layer='blocks.2', n_vectors=2)
    """

    def __init__(self, student_layer: str, teacher_layer: str, n_vectors: int = 1):
        super().__init__(student_layer, teacher_layer)
        self.n_vectors = check_integer("n_vectors", n_vectors, minimum=1, step="Use 1 for the strongest pattern.")

    def compare(self, own: Tensor, taught: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Compare the patterns of both layers."""
        return singular_vectors(own, taught, n_vectors=self.n_vectors, mask=mask)


class SingularValues(LayerPair):
    """Make the student's features hold as many independent patterns over time, of the strengths, as the teacher's.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Names as in ``network.named_modules()``; features (batch, channels, length), length above 1 to have an effect.
    n_values : int, default=4
        Number of largest singular values that are compared.

    Raises
    ------
    ValueError
        If a network gives no features of that layer, or `n_values` is below 1.

    Notes
    -----
    `pitskd.losses.functional.singular_values`, a companion of `SingularVectors` without a paper of its own. Channels
    may differ, so that there is no adapter.

    Examples
    --------
    >>> SingularValues("blocks.0", "blocks.2", n_values=2)
    SingularValues(student_layer='blocks.0', teacher_layer='blocks.2', n_values=2)
    """

    def __init__(self, student_layer: str, teacher_layer: str, n_values: int = 4):
        super().__init__(student_layer, teacher_layer)
        self.n_values = check_integer("n_values", n_values, minimum=1, step="Use 4.")

    def compare(self, own: Tensor, taught: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Compare the strengths of the patterns of both layers."""
        return singular_values(own, taught, n_values=self.n_values, mask=mask)
