"""What a loss is told about two networks, and what it answers: the two interfaces of every distillation loss.

A `ResponseLoss` compares predictions row by row and is the soft loss of an estimator; a `DistillationLoss` compares
anything else a network gives (features, gradients, weights) and is added to it with a weight. Both hold settings and
nothing else, so they can be hashed, pickled, cloned, and typed as they are shown.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["DistillationLoss", "ResponseLoss", "Signals"]


@dataclass(frozen=True, eq=False)
class Signals:
    """What a network gave for one batch.

    Parameters
    ----------
    prediction : Tensor of shape (batch, n_outputs)
        Logits, one per class, or values.
    features : mapping of str to Tensor
        Activations by the name of their layer: (batch, channels, length), or (batch, units) for one step.
    parameters : mapping of str to Tensor
        Weights by name.
    inputs : Tensor of shape (batch, n_channels, length), optional
        What the network saw; requires a gradient where a loss asks for it.
    mask : bool Tensor of shape (batch, length), optional
        True where a step counts; None if all do.
    network : nn.Module, optional
        For losses that run one block alone.
    targets : Tensor, optional
        Hard targets of the batch: class indices (batch,), or values (batch, n_outputs).

    Examples
    --------
    >>> signals = Signals(torch.zeros(32, 2), features={"hidden": torch.zeros(32, 64)})
    >>> signals.features["hidden"].shape
    torch.Size([32, 64])
    """

    prediction: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    inputs: Tensor | None = None
    mask: Tensor | None = None
    network: nn.Module | None = None
    targets: Tensor | None = None


class _Configured:
    """An object that is its settings: the arguments of ``__init__``, stored under their names."""

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Configured) and type(self) is type(other) and self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash((type(self), *self._settings().items()))

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        changed = (f"{name}={value!r}" for name, value in self._settings().items() if value != defaults[name])
        return f"{type(self).__name__}({', '.join(changed)})"


class DistillationLoss(_Configured, ABC):
    """A term that teaches the student something else than the teacher's predictions.

    Subclasses store hashable settings (no tensors) in ``__init__`` under the names of its arguments; what is trained
    with them, the adapter and the paraphraser, belongs to the training loop.

    Attributes
    ----------
    student_layers, teacher_layers : tuple of str
        Names of the layers whose features it reads, as in ``network.named_modules()``; () for none.
    needs_teacher : bool
        False if the student is its own teacher.
    needs_inputs : bool
        True if it differentiates with respect to ``Signals.inputs``.
    stackable : bool
        True if it runs under `torch.vmap` over students.
    """

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    needs_teacher: bool = True
    needs_inputs: bool = False
    stackable: bool = True

    def adapter(self, student: Signals, teacher: Signals) -> nn.Module | None:
        """Make what brings the student's features into the teacher's shape, from shapes only.

        Called on the first batch. The module is trained with the student and dropped afterwards.

        Returns
        -------
        adapter : nn.Module or None
            None if the shapes agree.

        Raises
        ------
        ValueError
            If no adapter can match the shapes.
        """
        return None

    def paraphraser(self, teacher: Signals) -> nn.Module | None:
        """Make what rewrites the teacher's features, from shapes only.

        Trained first, by the least of its own ``reconstruction(teacher)``, and frozen afterwards.

        Returns
        -------
        paraphraser : nn.Module or None
            None if the loss reads the teacher's features as they are.
        """
        return None

    @abstractmethod
    def __call__(
        self,
        student: Signals,
        teacher: Signals,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compare both networks on one batch.

        Returns
        -------
        loss : Tensor, scalar
            A mean over the batch; the teacher gets no gradient.
        """


class ResponseLoss(_Configured, ABC):
    """A loss between predictions, row by row; the ``soft_loss`` of an estimator.

    Attributes
    ----------
    needs_teacher : bool
        False if it is made from the hard targets alone.
    """

    needs_teacher: bool = True

    @abstractmethod
    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute the loss of every row.

        Parameters
        ----------
        student_logits : Tensor of shape (..., n_outputs)
            Logits, or values of a regression; leading axes are students, rows, steps as the caller has them.
        teacher_logits : Tensor of the same shape, optional
            Gets no gradient.
        targets : Tensor, optional
            Class indices (...) of an integer type, or probabilities or values (..., n_outputs).
        temperature : float or Tensor, default=1.0
            Above 0; a tensor is broadcast to the leading axes, e.g. (n_students, 1) for rows (n_students, batch), and
            its values are checked by the caller.

        Returns
        -------
        rows : Tensor of shape (...)
            One number per row; its mean is the loss.
        """
