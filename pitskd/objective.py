"""The only place where terms meet: hard targets, soft targets and hints, of one student or of a stack of students.

Every tensor here has the students of a stack as its first axis, one of size 1 if there is a single student; a term is
one number per student.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pitskd.losses.base import DistillationLoss, ResponseLoss, Signals
from pitskd.losses.functional import soft_cross_entropy
from pitskd.losses.response import SoftTargets, SquaredError

__all__ = ["Batch", "Hint", "Objective"]


@dataclass(frozen=True, eq=False)
class Batch:
    """What the students are told of one batch: (n_students, batch, ...) throughout."""

    inputs: Tensor  # (..., n_channels, length)
    targets: Tensor  # (..., n_outputs) values, or probabilities of the classes
    hard_weight: Tensor | None = None  # (n_students, batch); None: 1
    soft: Tensor | None = None  # (..., n_outputs) what the teacher says: values, or logits
    soft_weight: Tensor | None = None  # (n_students, batch); None: no soft term
    features: Mapping[str, Tensor] = field(default_factory=dict)  # of the teacher, by layer
    privileged: Tensor | None = None  # (n_students, batch) bool: where there are such features; None: everywhere
    teacher_inputs: Tensor | None = None  # (1, batch, ...) for losses that differentiate the teacher


class Hint(nn.Module):
    """One loss on features with what is trained beside the student for it, and dropped afterwards.

    Parameters
    ----------
    loss : DistillationLoss
    weight : float
        Of the loss in the objective.
    adapter : Module or None
        Trained with the student.
    paraphraser : Module or None
        Trained before, frozen.
    teacher : Module or None
        For losses that look at the teacher's weights or differentiate it.
    """

    def __init__(
        self,
        loss: DistillationLoss,
        weight: float,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.loss, self.weight, self.adapter = loss, weight, adapter
        self._frozen = (paraphraser, teacher)  # in a tuple: their weights are not this module's to train

    def forward(self, student: Signals, teacher: Signals, generator: torch.Generator | None = None) -> Tensor:
        """Return the weighted loss of a batch."""
        return self.weight * self.loss(student, teacher, self.adapter, self._frozen[0], generator)

    def taught(self, told: Tensor, features: Mapping[str, Tensor], inputs: Tensor | None) -> Signals:
        """Return the teacher's signals; it runs anew only where the loss differentiates it."""
        network = self._frozen[1]
        parameters = {} if network is None else dict(network.named_parameters())
        if not self.loss.needs_inputs or network is None or inputs is None:
            return Signals(told, features, parameters)
        seen = inputs.detach().requires_grad_()
        return Signals(network(seen), features, parameters, seen)


@dataclass(frozen=True, eq=False)
class Objective:
    """What students minimise: mean over the batch of weighted hard and soft losses of rows, plus hints.

    The weights of rows hold `imitation` already, see `Lesson.mix`: a row with both targets weighs
    ``(1 - imitation)`` in the hard and ``imitation`` in the soft loss.

    Parameters
    ----------
    hard : callable
        Predictions and targets (..., n_outputs) to losses of rows (...).
    soft : ResponseLoss or None
    temperature : Tensor of shape (n_students, 1)
    classify : bool
        Whether targets are probabilities of classes.
    """

    hard: Callable[[Tensor, Tensor], Tensor]
    soft: ResponseLoss | None = None
    temperature: Tensor | None = None
    classify: bool = False

    def targets(self, prediction: Tensor, batch: Batch, students: Tensor | None = None) -> dict[str, Tensor]:
        """Return the terms of hard and soft targets, each (n_students,)."""
        terms = {"hard": _mean(self.hard(prediction, batch.targets), batch.hard_weight)}
        if self.soft is not None and batch.soft_weight is not None:
            assert self.temperature is not None
            temperature = self.temperature if students is None else self.temperature[students]
            rows = self.soft.rows(prediction, batch.soft, batch.targets, temperature)
            terms["soft"] = _mean(rows, batch.soft_weight)
        return terms

    def slopes(
        self, prediction: Tensor, batch: Batch, students: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms, and their gradient with respect to the prediction, written out where losses allow it."""
        parts: list[tuple[str, Any, Tensor | None, Tensor | None]] = [
            ("hard", _WRITTEN_OUT.get(self.hard), batch.targets, batch.hard_weight)
        ]
        if self.soft is not None and batch.soft_weight is not None:
            parts.append(("soft", _WRITTEN_OUT.get(type(self.soft)), batch.soft, batch.soft_weight))
        if any(form is None or wanted is None for _, form, wanted, _ in parts):
            prediction = prediction.detach().requires_grad_()
            terms = self.targets(prediction, batch, students)
            ones = [torch.ones_like(term) for term in terms.values()]
            return terms, torch.autograd.grad(list(terms.values()), prediction, ones)[0]
        temperature = self.temperature if students is None or self.temperature is None else self.temperature[students]
        terms, gradient, n = {}, None, prediction.shape[-2]
        with torch.no_grad():
            for name, form, wanted, weight in parts:
                rows, slope = form(prediction, wanted, temperature)
                terms[name] = _mean(rows, weight)
                share = slope / n if weight is None else slope * (weight / n).unsqueeze(-1)
                gradient = share if gradient is None else gradient + share
        assert gradient is not None
        return terms, gradient

    def known(self, targets: Tensor) -> Tensor:
        """Return targets as losses on features take them: class indices, or values."""
        return targets.argmax(dim=-1) if self.classify else targets


def squared_error(said: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of rows (..., n_outputs)."""
    return _squared(said, targets, None)[0]


def cross_entropy(said: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of rows of logits (..., n_classes) with probabilities."""
    return soft_cross_entropy(said, targets, reduction="none")


def _squared(said: Tensor, wanted: Any, temperature: Tensor | None) -> tuple[Tensor, Tensor]:
    difference = said - wanted
    squares, n = difference.square(), said.shape[-1]
    return (squares.squeeze(-1) if n == 1 else squares.mean(dim=-1)), difference * (2.0 / n)


def _cross_entropy(said: Tensor, wanted: Any, temperature: Tensor | None) -> tuple[Tensor, Tensor]:
    logs = torch.log_softmax(said, dim=-1)
    return -(wanted * logs).sum(dim=-1), logs.exp() * wanted.sum(dim=-1, keepdim=True) - wanted


def _softened(said: Tensor, wanted: Any, temperature: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return T^2 KL(teacher || student) and T (p_s - p_t), methods' first identity."""
    assert temperature is not None
    heat = temperature.unsqueeze(-1)
    own, taught = (
        torch.log_softmax((logits - logits.amax(dim=-1, keepdim=True)) / heat, dim=-1) for logits in (said, wanted)
    )
    shares = taught.exp()
    divergence = (torch.xlogy(shares, shares) - shares * own).sum(dim=-1)
    return temperature.square() * divergence, heat * (own.exp() - shares)


# Values and gradients of rows: what is left to autograd costs more than the layers of a small network.
_WRITTEN_OUT: dict[Any, Callable[[Tensor, Any, Tensor | None], tuple[Tensor, Tensor]]] = {
    squared_error: _squared,
    cross_entropy: _cross_entropy,
    SquaredError: _squared,
    SoftTargets: _softened,
}


def _mean(rows: Tensor, weight: Tensor | None) -> Tensor:
    return (rows if weight is None else rows * weight).mean(dim=-1)


def hint_alone(hint: Hint, signals: Signals, batch: Batch, generator: torch.Generator | None) -> Tensor:
    """Return the hint of a single student, (1,), on the rows that the teacher has features of.

    `signals` are those of the student's batch without the axis of students.
    """
    features = {name: values[0] for name, values in batch.features.items()}
    told = signals.prediction.detach() if batch.soft is None else batch.soft[0]
    inputs = None if batch.teacher_inputs is None else batch.teacher_inputs[0]
    kept = None if batch.privileged is None else batch.privileged[0]
    if kept is not None and hint.loss.needs_teacher and not bool(kept.all()):
        if not bool(kept.any()):
            return signals.prediction.sum().reshape(1) * 0.0
        signals, told = _some(signals, kept, again=hint.loss.needs_inputs), told[kept]
        features = {name: values[kept] for name, values in features.items()}
        inputs = None if inputs is None else inputs[kept]
    return hint(signals, hint.taught(told, features, inputs), generator).reshape(1)


def hints_stacked(
    hint: Hint, parameters: Mapping[str, Tensor], prediction: Tensor, features: Mapping[str, Tensor], batch: Batch
) -> Tensor:
    """Return the hint of every student of a stack, (n_students,)."""

    def one(own: Any, said: Tensor, seen: Any, told: Tensor, taught: Any) -> Tensor:
        return functional_call(hint, own, (Signals(said, seen), Signals(told, taught)))

    told = prediction.detach() if batch.soft is None else batch.soft
    return torch.vmap(one)(dict(parameters), prediction, dict(features), told, dict(batch.features))


def _some(signals: Signals, kept: Tensor, *, again: bool) -> Signals:
    """Return some rows of a batch; `again`: the student runs anew, so that gradients are those of these inputs."""
    if again and signals.inputs is not None and signals.network is not None:
        seen = signals.inputs.detach()[kept].requires_grad_()
        targets = None if signals.targets is None else signals.targets[kept]
        return replace(signals, prediction=signals.network(seen), inputs=seen, targets=targets)
    return replace(
        signals,
        prediction=signals.prediction[kept],
        features={name: values[kept] for name, values in signals.features.items()},
        mask=None if signals.mask is None else signals.mask[kept],
        targets=None if signals.targets is None else signals.targets[kept],
    )
