"""What a training is made of: rows on the device, a plan, and what became of a student."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam as functional_adam

from pitskd.objective import Batch

__all__ = ["Outcome", "Plan", "Rows", "adam"]

# Every change of theirs is proportional to the learning rate, so that students of one stack can have their own.
_PROPORTIONAL = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)


@dataclass(frozen=True, eq=False)
class Rows:
    """All rows that students are told of, on the device.

    Where students differ the first axis is theirs, else it is 1; `inputs` are the same for all.
    """

    inputs: Tensor  # (n, n_channels, length)
    targets: Tensor  # (n_students or 1, n, n_outputs)
    plain_weight: Tensor | None = None  # (n_students or 1, n) of hard targets while there is no teacher; None: 1
    hard_weight: Tensor | None = None  # (n_students or 1, n) beside soft targets, with imitation in it; None: 1
    soft: Tensor | None = None  # (n_students or 1, n, n_outputs) values, or logits, of the teacher
    soft_weight: Tensor | None = None  # (n_students or 1, n), with imitation in it; None: no soft term
    features: Mapping[str, Tensor] = field(default_factory=dict)  # of the teacher, (n_students or 1, n, ...)
    privileged: Tensor | None = None  # (1, n) bool: rows that have such features; None: all
    teacher_inputs: Tensor | None = None  # (1, n, ...) for losses that differentiate the teacher
    live: Callable[[Batch], Batch] | None = None  # asks the teacher anew about augmented inputs

    def batch(self, index: Tensor, students: Tensor, *, plain: bool) -> Batch:
        """Return rows (n_students, batch) for these students; `plain`: as if there were no teacher."""
        positions = index.reshape(-1)

        def take(values: Tensor) -> Tensor:
            some = values.shape[2:]
            if len(values) == 1:
                return values[0].index_select(0, positions).view(*index.shape, *some)
            own = index + (students * values.shape[1])[:, None]
            return values.flatten(0, 1).index_select(0, own.view(-1)).view(*index.shape, *some)

        def told(values: Tensor | None) -> Tensor | None:
            return None if values is None else take(values)

        inputs, targets = take(self.inputs[None]), take(self.targets)
        if plain:
            return Batch(inputs, targets, told(self.plain_weight))
        features = {name: take(values) for name, values in self.features.items()}
        hard, soft, weight = told(self.hard_weight), told(self.soft), told(self.soft_weight)
        taught = told(self.privileged), told(self.teacher_inputs)
        return Batch(inputs, targets, hard, soft, weight, features, *taught)


@dataclass(frozen=True, eq=False)
class Plan:
    """How students are trained.

    Parameters
    ----------
    learning_rates : sequence of float
        One per student.
    optimizer : callable
        ``optimizer(parameters, lr=...)``.
    schedule : "cosine", "plateau", callable or None
        A callable takes the number of the epoch, from 0, and returns a factor of the learning rate.
    clip : float or None
        Largest norm of a student's gradient.
    patience : int
        Epochs without a better held-out loss after which a student is done.
    distil_from : int
        Epoch, from 0, from which on soft targets and hints count.
    hints_alone : int
        Epochs before all others in which hints alone count.
    augmentation : callable or None
        ``augmentation(inputs, generator)`` of windows (batch, n_channels, length).
    """

    learning_rates: Sequence[float]
    optimizer: Callable[..., torch.optim.Optimizer]
    max_epochs: int = 200
    batch_size: int = 32
    schedule: Any = None
    clip: float | None = None
    patience: int = 20
    distil_from: int = 0
    hints_alone: int = 0
    augmentation: Any = None

    def alone(self) -> Plan:
        """Return the plan of a network that learns from hard targets alone, and sees its inputs as they are."""
        return replace(self, distil_from=0, hints_alone=0, augmentation=None)

    @property
    def proportional(self) -> bool:
        """Tell whether students of one stack may have different learning rates."""
        return isinstance(self.optimizer([nn.Parameter(torch.zeros(1))], lr=1.0), _PROPORTIONAL)


class FlatAdam(torch.optim.Adam):
    """Adam of one vector: torch's kernel without the bookkeeping of a step, which costs small networks more."""

    @torch.no_grad()
    def advance(self) -> None:
        """Do what `step` does."""
        group = self.param_groups[0]
        (leaf,) = group["params"]
        state = self.state[leaf]
        if not state:
            self.step()
            return
        functional_adam(
            [leaf], [leaf.grad], [state["exp_avg"]], [state["exp_avg_sq"]], [], [state["step"]],
            fused=group["fused"], amsgrad=False, beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"],
            weight_decay=0.0, eps=group["eps"], maximize=False,
        )  # fmt: skip


def adam(parameters: Any, lr: float) -> torch.optim.Optimizer:
    """Return Adam, in one kernel per step where the device has it."""
    parameters = list(parameters)
    return FlatAdam(parameters, lr=lr, fused=parameters[0].device.type in ("cpu", "cuda"))


@dataclass(eq=False)
class Outcome:
    """What became of one student.

    Attributes
    ----------
    network : Module
        With its best weights, in evaluation mode.
    history : list of dict
        One per epoch, from 1: epoch, loss and its terms, validation_loss, learning_rate.
    best_epoch : int
        0 if none was finished.
    ended : "epochs", "patience", "diverged" or "interrupted"
    """

    network: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    ended: str = "epochs"
