"""Losses on hidden features, configured: which layers, through which adapter, against what of the teacher.

Each is a term to be added to what the student learns anyway. Names of layers are those of ``network.named_modules()``.
Adapters are made on the first batch, trained with the student, and dropped when it is trained.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from pitskd._validation import check_fraction, check_positive, check_strength, wrong
from pitskd.losses._signals import LayerPair, as_features, both_features, check_layer, made, mask_of, n_channels
from pitskd.losses.adapters import ChannelAdapter, Paraphraser, SplitTranslator, Translator
from pitskd.losses.base import DistillationLoss, Signals
from pitskd.losses.functional import features as functional

__all__ = ["ActivationBoundary", "FactorTransfer", "FitNetHint", "InheritanceExploration"]


class FitNetHint(LayerPair):
    """Match one hidden layer of the student to one of the teacher, through a linear adapter if channels differ.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Names as in ``network.named_modules()``; features (batch, channels, length) or (batch, units).
    weight_decay : float, default=0.0
        At least 0. Penalty on the adapter's weights only, added to the loss; above 0 there is an adapter for equal
        channels too. Unit: 1 / (squared weight).

    Raises
    ------
    ValueError
        If a network gives no features of that layer, or `weight_decay` is negative.

    Notes
    -----
    Mean over all elements of (W f_s + b - f_t)^2. Joint training adds it to the task; the two stages of [1] train it
    alone first. It reaches no layer above the student's. With `weight_decay` students cannot be stacked.

    References
    ----------
    .. [1] Romero et al. (2015). FitNets: Hints for Thin Deep Nets. ICLR. arXiv:1412.6550, eq. (3).

    Examples
    --------
    >>> loss = FitNetHint("hidden", "hidden")
    >>> student = Signals(torch.zeros(1, 1), features={"hidden": torch.tensor([[1.0, 2.0]])})
    >>> teacher = Signals(torch.zeros(1, 1), features={"hidden": torch.tensor([[1.0, 4.0]])})
    >>> loss(student, teacher, loss.adapter(student, teacher))
    tensor(2.)
    """

    def __init__(self, student_layer: str, teacher_layer: str, weight_decay: float = 0.0):
        super().__init__(student_layer, teacher_layer)
        self.weight_decay = check_strength("weight_decay", weight_decay, "Use 0.0 for none.")
        self.stackable = weight_decay == 0.0

    def adapter(self, student: Signals, teacher: Signals) -> nn.Module | None:
        """Make a 1x1 convolution, or None for equal channels without weight decay."""
        always = self.weight_decay > 0.0
        return channel_adapter(student, self.student_layer, teacher, self.teacher_layer, always=always)

    def __call__(
        self,
        student: Signals,
        teacher: Signals,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compare both layers on one batch."""
        loss = super().__call__(student, teacher, adapter, paraphraser, generator)
        if self.weight_decay == 0.0:
            return loss
        return loss + self.weight_decay * made("adapter", adapter, self).get_parameter("weight").square().sum()

    def compare(self, own: Tensor, taught: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Compare both layers."""
        return functional.hint(own, taught, mask=mask)


class ActivationBoundary(LayerPair):
    """Make the student's units active where the teacher's are: a start from which the task is learnt sooner.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Layers whose output goes into the nonlinearity, such as the convolution or linear layer before it.
    margin : float, default=1.0
        Above 0. How far beyond 0 the student's pre-activations should lie. Unit: that of its features.

    Raises
    ------
    ValueError
        If a network gives no features of that layer, or `margin` is not above 0.

    Notes
    -----
    `pitskd.losses.functional.activation_boundary`, through a 1x1 convolution where channels differ; [1] uses it alone
    as initialisation. Scaling the teacher's features by a positive number changes nothing.

    References
    ----------
    .. [1] Heo et al. (2019). Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons.
       AAAI. arXiv:1811.03233, section "Method".

    Examples
    --------
    >>> ActivationBoundary("hidden.1", "hidden.1", margin=0.5)
    ActivationBoundary(student_layer='hidden.1', teacher_layer='hidden.1', margin=0.5)
    """

    def __init__(self, student_layer: str, teacher_layer: str, margin: float = 1.0):
        super().__init__(student_layer, teacher_layer)
        self.margin = check_positive("margin", margin, "Use 1.0.")

    def adapter(self, student: Signals, teacher: Signals) -> nn.Module | None:
        """Make a 1x1 convolution, or None for equal channels."""
        return channel_adapter(student, self.student_layer, teacher, self.teacher_layer)

    def compare(self, own: Tensor, taught: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Compare both layers."""
        return functional.activation_boundary(own, taught, self.margin, mask=mask)


class FactorTransfer(DistillationLoss):
    """Teach what a paraphraser found worth saying of the teacher's features; a translator says it for the student.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Names as in ``network.named_modules()``; features (batch, channels, length) or (batch, units).
    paraphrase_rate : float, default=0.5
        In (0, 1]. Channels of the factor as a share of the teacher's, rounded up.

    Raises
    ------
    ValueError
        If a network gives no features of that layer, or `paraphrase_rate` is out of range.

    Notes
    -----
    The paraphraser is trained first, to write the teacher's features back, and then frozen; the translator is the
    adapter. Each is one convolution over three steps with a leaky rectifier, where [1] stacks three and normalises
    batches. The loss is `pitskd.losses.functional.factor_transfer`.

    References
    ----------
    .. [1] Kim, Park, Kwak (2018). Paraphrasing Complex Network: Network Compression via Factor Transfer. NeurIPS.
       arXiv:1802.04977, section 3.

    Examples
    --------
    >>> loss = FactorTransfer("blocks", "blocks")
    >>> teacher = Signals(torch.zeros(1, 1), features={"blocks": torch.zeros(1, 8, 5)})
    >>> loss.paraphraser(teacher)(teacher.features["blocks"]).shape
    torch.Size([1, 4, 5])
    """

    def __init__(self, student_layer: str, teacher_layer: str, paraphrase_rate: float = 0.5):
        self.student_layer = check_layer("student_layer", student_layer)
        self.teacher_layer = check_layer("teacher_layer", teacher_layer)
        self.paraphrase_rate = check_rate("paraphrase_rate", paraphrase_rate)
        self.student_layers, self.teacher_layers = (student_layer,), (teacher_layer,)

    def adapter(self, student: Signals, teacher: Signals) -> nn.Module:
        """Make the translator."""
        n_factors = ceil(self.paraphrase_rate * n_channels("teacher", teacher, self.teacher_layer))
        translator = Translator(n_channels("student", student, self.student_layer), n_factors)
        return as_features(translator, "student", student, self.student_layer)

    def paraphraser(self, teacher: Signals) -> nn.Module:
        """Make the paraphraser."""
        channels = n_channels("teacher", teacher, self.teacher_layer)
        module = Paraphraser(self.teacher_layer, channels, ceil(self.paraphrase_rate * channels))
        return as_features(module, "teacher", teacher, self.teacher_layer)

    def __call__(
        self,
        student: Signals,
        teacher: Signals,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compare the student's factor with the teacher's on one batch."""
        own, taught = both_features(student, self.student_layer, teacher, self.teacher_layer)
        mask = mask_of(student, teacher)
        translated = made("adapter", adapter, self)(own, mask)
        factor = made("paraphraser", paraphraser, self)(taught.detach(), mask)
        return functional.factor_transfer(translated, factor, mask=mask)


class InheritanceExploration(DistillationLoss):
    """Let half of the student's channels inherit the teacher's factor and the other half find something else.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Names as in ``network.named_modules()``; the student's layer has two channels at least.
    paraphrase_rate : float, default=0.5
        In (0, 1]. Channels of the factor as a share of the teacher's, rounded up.
    exploration_weight : float, default=1.0
        At least 0; 0 is factor transfer to the inheriting half.

    Raises
    ------
    ValueError
        If a network gives no features of that layer, the student's has one channel, or a number is out of range.

    Notes
    -----
    `pitskd.losses.functional.inheritance` of the first half plus the weight times `exploration` of the second; each
    half has its own translator. Paraphraser as in `FactorTransfer`.

    References
    ----------
    .. [1] Huang et al. (2021). Revisiting Knowledge Distillation: An Inheritance and Exploration Framework. CVPR.
       arXiv:2107.00181, section 3.

    Examples
    --------
    >>> InheritanceExploration("hidden", "hidden", exploration_weight=0.5)
    InheritanceExploration(student_layer='hidden', teacher_layer='hidden', exploration_weight=0.5)
    """

    def __init__(
        self, student_layer: str, teacher_layer: str, paraphrase_rate: float = 0.5, exploration_weight: float = 1.0
    ):
        self.student_layer = check_layer("student_layer", student_layer)
        self.teacher_layer = check_layer("teacher_layer", teacher_layer)
        self.paraphrase_rate = check_rate("paraphrase_rate", paraphrase_rate)
        self.exploration_weight = check_strength("exploration_weight", exploration_weight, "Use 0.0 for none.")
        self.student_layers, self.teacher_layers = (student_layer,), (teacher_layer,)

    def adapter(self, student: Signals, teacher: Signals) -> nn.Module:
        """Make the translators of both halves."""
        channels = n_channels("student", student, self.student_layer)
        if channels < 2:
            step = "Choose a wider layer, or FactorTransfer."
            raise wrong("student_layer", "a layer of at least 2 channels, one for each half", f"{channels}", step)
        n_factors = ceil(self.paraphrase_rate * n_channels("teacher", teacher, self.teacher_layer))
        return as_features(SplitTranslator(channels, n_factors), "student", student, self.student_layer)

    def paraphraser(self, teacher: Signals) -> nn.Module:
        """Make the paraphraser."""
        return FactorTransfer(self.student_layer, self.teacher_layer, self.paraphrase_rate).paraphraser(teacher)

    def __call__(
        self,
        student: Signals,
        teacher: Signals,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compare both halves of the student with the teacher's factor on one batch."""
        own, taught = both_features(student, self.student_layer, teacher, self.teacher_layer)
        mask = mask_of(student, teacher)
        inheriting, exploring = made("adapter", adapter, self)(own, mask)
        factor = made("paraphraser", paraphraser, self)(taught.detach(), mask)
        loss = functional.inheritance(inheriting, factor, mask=mask)
        if self.exploration_weight == 0.0:
            return loss
        return loss + self.exploration_weight * functional.exploration(exploring, factor, mask=mask)


def channel_adapter(
    student: Signals, student_layer: str, teacher: Signals, teacher_layer: str, *, always: bool = False
) -> nn.Module | None:
    """Make a 1x1 convolution between two layers, or, unless always, None for equal channels."""
    own, taught = n_channels("student", student, student_layer), n_channels("teacher", teacher, teacher_layer)
    if own == taught and not always:
        return None
    return as_features(ChannelAdapter(own, taught), "student", student, student_layer)


def check_rate(name: str, rate: float) -> float:
    """Return a share above 0."""
    return check_positive(name, check_fraction(name, rate, "Use 0.5 for half as many."), "Use 0.5 for half as many.")
