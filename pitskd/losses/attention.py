"""Losses on temporal attention, configured: where a network looks, by activations, by gradients, or by itself."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pitskd._validation import check_choice, wrong
from pitskd.losses._signals import LayerPair, check_names, features_of, hard_loss, mask_of
from pitskd.losses.base import DistillationLoss, Signals
from pitskd.losses.functional import attention as functional

__all__ = ["AttentionTransfer", "GradientAttention", "SelfAttention"]

_MODES = ("mse", "norm")
_STEP = "Take names of network.named_modules(), e.g. ('blocks.0', 'blocks.1')."


class AttentionTransfer(LayerPair):
    """Make the student look at the steps at which the teacher looks.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Names as in ``network.named_modules()``; features (batch, channels, length), length above 1 to have an effect.
    mode : {"mse", "norm"}, default="mse"
        Mean of squared differences over time, or the norm of the difference as published.

    Raises
    ------
    ValueError
        If a network gives no features of that layer, or `mode` is unknown.

    Notes
    -----
    `pitskd.losses.functional.attention_transfer`. Channels may differ, so that there is no adapter.

    References
    ----------
    .. [1] Zagoruyko, Komodakis (2017). Paying More Attention to Attention. ICLR. arXiv:1612.03928, eq. (2).

    Examples
    --------
    >>> AttentionTransfer("blocks.0", "blocks.2", mode="norm")
    AttentionTransfer(student_layer='blocks.0', teacher_layer='blocks.2', mode='norm')
    """

    def __init__(self, student_layer: str, teacher_layer: str, mode: str = "mse"):
        super().__init__(student_layer, teacher_layer)
        self.mode = check_choice("mode", mode, _MODES, "Use 'norm' for the distance as published.")

    def compare(self, own: Tensor, taught: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Compare where both layers are active."""
        return functional.attention_transfer(own, taught, self.mode, mask=mask)


class GradientAttention(DistillationLoss):
    """Make the student's error depend on the same steps of the window as the teacher's.

    Parameters
    ----------
    mode : {"mse", "norm"}, default="mse"
        Mean of squared differences over time, or the norm of the difference.

    Raises
    ------
    ValueError
        If there are no targets or not as many as outputs, inputs require no gradient, or `mode` is unknown.

    Notes
    -----
    The error is the plain one, whatever the networks are trained on: cross-entropy for class indices, without weights
    of classes, else the squared error where targets are known, so that networks of quantiles are refused. The student's
    gradient with respect to its inputs is differentiated again. `pitskd.losses.functional.gradient_attention` says how
    it departs from [1]. Not for stacks of students.

    References
    ----------
    .. [1] Zagoruyko, Komodakis (2017). Paying More Attention to Attention. ICLR. arXiv:1612.03928, section 3.2.

    Examples
    --------
    >>> GradientAttention().needs_inputs
    True
    """

    needs_inputs = True
    stackable = False

    def __init__(self, mode: str = "mse"):
        self.mode = check_choice("mode", mode, _MODES, "Use 'norm' for the norm of the difference.")

    def adapter(self, student: Signals, teacher: Signals) -> None:
        """Check that both networks have the outputs that one error compares with targets; there is no adapter."""
        n_own, n_taught = student.prediction.shape[-1], teacher.prediction.shape[-1]
        if n_own != n_taught:
            step = "Give both networks one output per target or class; for quantiles choose another loss."
            raise wrong("student", f"a network of {n_taught} outputs, as many as the teacher or targets", n_own, step)
        targets = _targets(student, teacher)
        if targets is not None:
            hard_loss(student.prediction.detach(), targets)

    def __call__(
        self,
        student: Signals,
        teacher: Signals,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compare the gradients of both errors on one batch."""
        targets = _targets(student, teacher)
        if targets is None:
            step = "Put the hard targets of the batch into the student's signals."
            raise wrong("targets", "class indices or values", None, step)
        own = _gradient("student", student, targets, create_graph=True)
        taught = _gradient("teacher", teacher, targets, create_graph=False)
        return functional.gradient_attention(own, taught, self.mode, mask=mask_of(student, teacher))


def _targets(student: Signals, teacher: Signals) -> Tensor | None:
    return teacher.targets if student.targets is None else student.targets


def _gradient(owner: str, signals: Signals, targets: Tensor, create_graph: bool) -> Tensor:
    if signals.inputs is None:
        step = "Pass a network; other models have no gradient."
        raise wrong(owner, "a network whose inputs are known", "none", step)
    return functional.input_gradient(hard_loss(signals.prediction, targets), signals.inputs, create_graph=create_graph)


class SelfAttention(DistillationLoss):
    """Let each deeper layer of the student show the one before it where to look; no teacher is needed.

    Parameters
    ----------
    student_layers : sequence of str
        Two layers or more, from shallow to deep; features (batch, channels, length).
    mode : {"mse", "norm"}, default="mse"
        Mean of squared differences over time, or the norm of the difference.

    Raises
    ------
    ValueError
        If there are fewer than two layers, the student has not all of them, or `mode` is unknown.

    Notes
    -----
    Mean over successive pairs of `pitskd.losses.functional.self_attention`; [1] sums, and begins when the network is
    trained to a reasonable level.

    References
    ----------
    .. [1] Hou et al. (2019). Learning Lightweight Lane Detection CNNs by Self Attention Distillation. ICCV.
       arXiv:1908.00821, section 3.

    Examples
    --------
    >>> SelfAttention(("blocks.0", "blocks.1", "blocks.2")).needs_teacher
    False
    """

    needs_teacher = False

    def __init__(self, student_layers: tuple[str, ...], mode: str = "mse"):
        expected = "a sequence of two layers or more, from shallow to deep"
        self.student_layers = check_names("student_layers", student_layers, expected, _STEP, least=2)
        self.mode = check_choice("mode", mode, _MODES, "Use 'norm' for the norm of the difference.")

    def __call__(
        self,
        student: Signals,
        teacher: Signals | None = None,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compare successive layers of the student on one batch."""
        maps = [features_of("student", student, layer) for layer in self.student_layers]
        losses = [
            functional.self_attention(shallow, deep, self.mode, mask=student.mask) for shallow, deep in pairwise(maps)
        ]
        return torch.stack(losses).mean()
