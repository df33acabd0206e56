"""Training the networks of a group on the same rows: scaled, put on the device, stacked where that can be done."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from pitskd._lessons import Classification
from pitskd._random import seeded, stage_seed
from pitskd.losses.base import ResponseLoss
from pitskd.losses.response import Pinball
from pitskd.models.stacking import StackedNetwork, can_stack
from pitskd.neural._hints import Hints
from pitskd.neural._material import Told, classes_of
from pitskd.neural._settings import build
from pitskd.neural._student import NetworkStudent, Scale, channels_first, steps
from pitskd.objective import Batch, Objective, cross_entropy, squared_error
from pitskd.training import Outcome, Plan, Rows, train

__all__: list[str] = []

_LARGEST = 5e7  # weights of a stack


@dataclass(frozen=True, eq=False)
class Assignment:
    """What networks of one architecture learn from, and how; each differs in what it is told, seed and rates."""

    name: str  # of the parameter that builds them, for errors and bars
    builder: Callable[..., nn.Module]
    shape: tuple[int, ...]
    X: np.ndarray  # (n, d)
    held_out: np.ndarray  # (n_held_out, d)
    told: Sequence[Told]
    seeds: Sequence[int]
    plan: Plan
    device: Any = "cpu"
    precision: str = "float32"
    verbose: bool = False
    temperatures: Sequence[float] = ()
    soft_loss: ResponseLoss | None = None
    quantiles: tuple[float, ...] | None = None
    hints: Hints | None = None
    resumed: NetworkStudent | None = None  # goes on from its weights and scales
    live: Callable[[Batch], Batch] | None = None  # asks the teacher anew about augmented windows

    def fit(self) -> list[NetworkStudent]:
        """Train the networks, as one where that can be done; one after the other gives the same.

        If interrupted, those are returned that were trained.
        """
        networks = [self._network(seed) for seed in self.seeds]
        outcomes: list[Outcome] = []
        for some in self._stacks(networks):
            try:
                outcomes += self._train(networks, some)
            except KeyboardInterrupt:
                if not outcomes or self.name == "teacher":
                    raise
                break
            if outcomes[-1].ended == "interrupted":
                break
        if self.name == "teacher":
            self._check_teachers(outcomes)
        return [self._student(outcome, k) for k, outcome in enumerate(outcomes)]

    def _check_teachers(self, outcomes: list[Outcome]) -> None:
        """Let no student learn from a teacher that was interrupted, and none unawares from one that failed."""
        if any(outcome.ended == "interrupted" for outcome in outcomes):
            raise KeyboardInterrupt
        for outcome, rate in zip(outcomes, self.plan.learning_rates, strict=True):
            warn_of_end("teacher", outcome, rate, stacklevel=8)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of weights and rows."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @cached_property
    def _windows(self) -> np.ndarray:
        return steps(np.asarray(self.X, dtype=np.float64), self.shape)

    @cached_property
    def inputs(self) -> Scale:
        """What brings channels to a common scale."""
        return Scale.of(self._windows) if self.resumed is None else self.resumed.inputs

    @cached_property
    def outputs(self) -> list[Scale]:
        """What brings the targets of each network to a common scale."""
        return [self._output_scale(told) for told in self.told]

    def _output_scale(self, told: Told) -> Scale:
        if self.resumed is not None:
            return self.resumed.outputs
        if isinstance(told.task, Classification):
            return Scale.none(told.hard.shape[1])
        labelled = told.hard[told.plain > 0]
        known = labelled if len(labelled) else np.asarray(told.soft)[:, : told.hard.shape[1]]
        scale, n = Scale.of(known), len(self.quantiles or (0,))
        return Scale(np.repeat(scale.mean, n), np.repeat(scale.deviation, n))

    @cached_property
    def sizes(self) -> dict[str, int]:
        """What builders are told."""
        _, length, n_channels = self._windows.shape
        return {"n_channels": n_channels, "length": length, "n_outputs": len(self.outputs[0].mean)}

    def _network(self, seed: int) -> nn.Module:
        if self.resumed is None:
            network = build(self.name, self.builder, self.sizes, stage_seed(seed, f"{self.name} weights"))
        else:
            network = self.resumed.copied()
        return network.to(self.device, self.dtype)

    @cached_property
    def _seen(self) -> Tensor:
        return channels_first(self.inputs.apply(self._windows), self.dtype, self.device)

    def _stacks(self, networks: list[nn.Module]) -> Iterator[list[int]]:
        """Yield the networks that are trained as one."""
        n = len(networks)
        alike = self.plan.proportional or len(set(self.plan.learning_rates)) == 1
        alone = self.plan.augmentation is not None or not (self.hints is None or self.hints.stackable)
        frozen = any(not weight.requires_grad for weight in networks[0].parameters())
        if n == 1 or alone or frozen or not alike or not can_stack(networks[0], self._seen[:2]):
            yield from ([k] for k in range(n))
            return
        largest = max(1, int(_LARGEST / max(1, sum(value.numel() for value in networks[0].parameters()))))
        yield from (list(range(start, min(n, start + largest))) for start in range(0, n, largest))

    def _train(self, networks: list[nn.Module], some: list[int]) -> list[Outcome]:
        column = self._seen.new_tensor([self.temperatures[k] for k in some] if self.temperatures else [1.0] * len(some))
        classify = isinstance(self.told[0].task, Classification)
        objective = Objective(self._hard_loss(), self.soft_loss, column[:, None], classify)
        plan = replace(self.plan, learning_rates=[self.plan.learning_rates[k] for k in some])
        seeds = [stage_seed(self.seeds[k], "batches") for k in some]
        own, rows = [networks[k] for k in some], self._rows(some)
        hints = None
        if self.hints is not None:
            rows = self.hints.add_features(rows, some)
            with seeded(stage_seed(self.seeds[some[0]], "adapters")):
                hints = self.hints.attach(own, rows, some)
        # Modules of others may draw from torch's global generator, of which a process has one.
        with seeded(seeds[0]) if StackedNetwork(own[0]).mapped else nullcontext():
            return train(
                own, rows, self._judged(some), objective, plan, seeds, hints=hints, label=self.name,
                verbose=self.verbose, resumed=self.resumed is not None,
            )  # fmt: skip

    def _hard_loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        if isinstance(self.told[0].task, Classification):
            return cross_entropy
        if self.quantiles is not None:
            pinball = Pinball(self.quantiles)
            return lambda said, targets: pinball.rows(said, None, targets)
        return squared_error

    def _rows(self, some: list[int]) -> Rows:
        told = [self.told[k] for k in some]
        hard = self._stacked([self._scaled(one.hard, k) for one, k in zip(told, some, strict=True)])
        plain = self._weights([one.plain for one in told])
        taught = next((one for one in told if one.soft_weight is not None), None)
        if taught is None:
            return Rows(self._seen, hard, plain, plain)
        idle = np.zeros(len(taught.hard))  # of students that do not imitate beside those that do
        weight = self._stacked([idle if one.soft_weight is None else one.soft_weight for one in told])
        soft = None
        if taught.soft is not None:
            silent = np.zeros_like(taught.soft)
            said = [
                silent if one.soft is None else self._scaled(one.soft, k) for one, k in zip(told, some, strict=True)
            ]
            soft = self._stacked(said)
        mixed = self._weights([one.mixed for one in told])
        return Rows(self._seen, hard, plain, mixed, soft, weight, live=self.live)

    def _judged(self, some: list[int]) -> Rows | None:
        """Return the rows that the best weights are chosen by, if there are any."""
        if not len(self.held_out):
            return None
        told = [self.told[k] for k in some]
        seen = channels_first(self.inputs.apply(steps(self.held_out, self.shape)), self.dtype, self.device)
        targets = self._stacked([self._scaled(one.held_out, k) for one, k in zip(told, some, strict=True)])
        return Rows(seen, targets, self._weights([one.held_out_weight for one in told]))

    def _scaled(self, values: Any, k: int) -> np.ndarray:
        """Return values (n, n_outputs), or one per target of quantile forecasts, in the unit of the network."""
        scale, n = self.outputs[k], len(self.quantiles or (0,))
        every = 1 if values.shape[-1] == len(scale.mean) else n
        return (values - scale.mean[::every]) / scale.deviation[::every]

    def _stacked(self, parts: Sequence[np.ndarray]) -> Tensor:
        """Return what networks are told, once where they are told the same."""
        same = all(part is parts[0] or np.array_equal(part, parts[0]) for part in parts[1:])
        return torch.from_numpy(np.stack(parts[:1] if same else parts)).to(self.device, self.dtype)

    def _weights(self, parts: Sequence[Any]) -> Tensor | None:
        """Return weights; None where all are 1."""
        return None if all((part == 1.0).all() for part in parts) else self._stacked(parts)

    def _student(self, outcome: Outcome, k: int) -> NetworkStudent:
        task, before = self.told[k].task, [] if self.resumed is None else self.resumed.history
        student = NetworkStudent(
            outcome.network,
            self.builder,
            self.sizes,
            self.shape,
            self.inputs,
            self.outputs[k],
            classes=classes_of(task),
            quantiles=self.quantiles,
            one_target=getattr(task, "one_target", True),
        )
        shift = int(before[-1]["epoch"]) if before else 0
        silent = {"soft"} if self.told[k].soft_weight is None else set()  # others of its stack may imitate
        own = [{name: value for name, value in entry.items() if name not in silent} for entry in outcome.history]
        student.history = [*before, *({**entry, "epoch": entry["epoch"] + shift} for entry in own)]
        old = 0 if self.resumed is None else self.resumed.best_epoch
        student.best_epoch = outcome.best_epoch + shift if outcome.best_epoch else old
        student.ended = outcome.ended
        return student


def warn_of_end(name: str, outcome: Any, learning_rate: float, stacklevel: int) -> None:
    """Say what became of a training that did not end by itself."""
    last = int(outcome.history[-1]["epoch"]) if outcome.history else 0
    kept = f"the weights of epoch {outcome.best_epoch} are kept" if outcome.best_epoch else "it has learnt nothing"
    whose = "The" if name == "student" else f"The {name}'s"
    if outcome.ended == "diverged":
        warnings.warn(
            f"{whose} loss became NaN or infinite in epoch {last}; {kept}. Use clip=1.0, a learning_rate below "
            f"{learning_rate:g}, or look for outliers in X, X_privileged and y.",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
    if outcome.ended == "interrupted":
        warnings.warn(
            f"Training was interrupted in epoch {last + 1}; {kept}. Use warm_start=True and fit again to go on.",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
