"""How a loss reads two networks: its layers, its mask, and an error in words where something is missing.

Most losses on features compare one layer of the student with one of the teacher: such a `LayerPair` only says how.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from pitskd._validation import wrong
from pitskd.losses.base import DistillationLoss, Signals
from pitskd.losses.functional.maps import as_map

__all__: list[str] = []


def features_of(owner: str, signals: Signals, layer: str) -> Tensor:
    """Return the features of one layer of the student or the teacher."""
    if layer not in signals.features:
        has = ", ".join(map(repr, sorted(signals.features))) or "none"
        step = (
            "Pass a network that has this layer, or drop the loss; a model without layers can teach soft targets only."
        )
        raise wrong(owner, f"a network with features of layer {layer!r}", f"features of {has}", step)
    return signals.features[layer]


def both_features(student: Signals, student_layer: str, teacher: Signals, teacher_layer: str) -> tuple[Tensor, Tensor]:
    """Return the features of a layer of the student and of one of the teacher."""
    return features_of("student", student, student_layer), features_of("teacher", teacher, teacher_layer)


def n_channels(owner: str, signals: Signals, layer: str) -> int:
    """Return the channels of one layer."""
    return as_map(owner, features_of(owner, signals, layer)).shape[1]


def as_features(module: nn.Module, owner: str, signals: Signals, layer: str) -> nn.Module:
    """Bring a new module to the device and the precision of features."""
    features = features_of(owner, signals, layer)
    return module.to(device=features.device, dtype=features.dtype)


def mask_of(student: Signals, teacher: Signals) -> Tensor | None:
    """Return which steps count: those of the student, else those of the teacher."""
    return teacher.mask if student.mask is None else student.mask


def made(name: str, module: Any, loss: object) -> Any:
    """Return an adapter or a paraphraser that a loss cannot do without."""
    if module is None:
        step = f"Make it on the first batch, {type(loss).__name__}.{name}(...), and pass it with every batch."
        raise wrong(name, f"the module made by {type(loss).__name__}.{name}", None, step)
    return module


def check_layer(name: str, layer: Any) -> str:
    """Return the name of a layer, a text."""
    if not isinstance(layer, str) or not layer:
        kind = ValueError if isinstance(layer, str) else TypeError
        raise wrong(name, "the name of a layer", repr(layer), "Take one of network.named_modules().", kind)
    return layer


def check_names(
    name: str, names: Any, expected: str, step: str, least: int, most: int | None = None
) -> tuple[str, ...]:
    """Return several names of layers or weights as a tuple."""
    if not isinstance(names, list | tuple):
        raise wrong(name, expected, repr(names), step, TypeError)
    if not least <= len(names) <= (most or len(names)):
        raise wrong(name, expected, f"{len(names)} names", step)
    return tuple(check_layer(f"{name}[{i}]", each) for i, each in enumerate(names))


def hard_loss(prediction: Tensor, targets: Tensor) -> Tensor:
    """Compute cross-entropy for class indices, else the mean squared error where targets are known."""
    if not torch.is_floating_point(targets):
        return nn.functional.cross_entropy(prediction, targets)
    if targets.shape != prediction.shape and (*targets.shape, 1) != prediction.shape:
        step = "Give the network one output per target; quantiles have no error of this kind."
        raise wrong("targets", f"of shape {tuple(prediction.shape)}", f"shape {tuple(targets.shape)}", step)
    targets = targets.reshape(prediction.shape).to(prediction.dtype)
    known = torch.where(targets.isnan(), prediction.detach(), targets)
    return (prediction - known).square().mean()


class LayerPair(DistillationLoss):
    """Compare one layer of the student with one of the teacher.

    Parameters
    ----------
    student_layer, teacher_layer : str
        Names as in ``network.named_modules()``.
    """

    def __init__(self, student_layer: str, teacher_layer: str):
        self.student_layer = check_layer("student_layer", student_layer)
        self.teacher_layer = check_layer("teacher_layer", teacher_layer)
        self.student_layers, self.teacher_layers = (student_layer,), (teacher_layer,)

    def __call__(
        self,
        student: Signals,
        teacher: Signals,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compare the features of both layers on one batch, the student's through its adapter."""
        own, taught = both_features(student, self.student_layer, teacher, self.teacher_layer)
        return self.compare(own if adapter is None else adapter(own), taught, mask_of(student, teacher), generator)

    @abstractmethod
    def compare(self, own: Tensor, taught: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Compare features of the student with those of the teacher.

        Parameters
        ----------
        own, taught : Tensor of shape (batch, channels, length) or (batch, units)
        mask : bool Tensor of shape (batch, window), optional
        generator : torch.Generator, optional

        Returns
        -------
        loss : Tensor, scalar
        """
