"""Losses on features made ready for training: whose features they read, adapters, and what is trained before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pitskd._random import seeded, stage_seed
from pitskd._validation import wrong
from pitskd.losses.base import DistillationLoss, Signals
from pitskd.models.taps import check_layers, tapped
from pitskd.neural._settings import example_of
from pitskd.neural._student import NetworkStudent
from pitskd.objective import Hint
from pitskd.training import Rows, fit_module

__all__: list[str] = []

_FIRST = 32  # rows that adapters are made from
_EPOCHS = 30  # of what rewrites the teacher's features


def rehearse(
    losses: Sequence[tuple[DistillationLoss, float]],
    student: nn.Module,
    teacher: nn.Module,
    sizes: dict[str, int],
    teacher_sizes: dict[str, int],
    targets: Tensor,
) -> None:
    """Refuse losses that cannot compare two networks, before either is trained; both are left as they are.

    `targets` are those of any four rows, which tell their shape.
    """
    own, taught = deepcopy(student).eval(), deepcopy(teacher).eval()
    like = example_of(own, sizes)
    taught, seen = taught.to(like), _any_windows(teacher_sizes, like)
    for loss, weight in losses:
        inputs = _any_windows(sizes, like).requires_grad_(loss.needs_inputs)
        with tapped(own, loss.student_layers) as features:
            said = own(inputs)
        signals = Signals(said, dict(features), dict(own.named_parameters()), inputs, network=own, targets=targets)
        with tapped(taught, loss.teacher_layers) as features, torch.no_grad():
            told = Signals(taught(seen), dict(features), dict(taught.named_parameters()), network=taught)
        with seeded(0):
            paraphraser = loss.paraphraser(told)
        hint = Hint(loss, weight, loss.adapter(signals, told), paraphraser, taught)
        generator = torch.Generator(device=like.device).manual_seed(0)
        hint(signals, hint.taught(told.prediction, told.features, seen), generator)


def _any_windows(sizes: dict[str, int], like: Tensor) -> Tensor:
    """Return four windows that differ."""
    shape = 4, sizes["n_channels"], sizes["length"]
    return torch.linspace(-1.0, 1.0, math.prod(shape)).sin().reshape(shape).to(like)


@dataclass(frozen=True, eq=False)
class Hints:
    """Losses on features for a group of students, and the teachers they listen to."""

    losses: Sequence[tuple[DistillationLoss, float]]
    teachers: Sequence[NetworkStudent | None]  # one per student
    Z: np.ndarray  # (n, d_teacher)
    privileged: np.ndarray  # (n,) bool
    seeds: Sequence[int]  # one per student

    @property
    def stackable(self) -> bool:
        """Tell whether a stack of students can hear them at once."""
        every = all(
            loss.stackable and not loss.needs_inputs and type(loss).paraphraser is DistillationLoss.paraphraser
            for loss, _ in self.losses
        )
        return every and bool(self.privileged.all())

    @cached_property
    def _layers(self) -> list[str]:
        return list(dict.fromkeys(name for loss, _ in self.losses for name in loss.teacher_layers))

    def check(self) -> None:
        """Refuse layers that teachers do not have, and teachers without any."""
        for loss, _ in self.losses:
            teacher = self.teachers[0]
            if teacher is None:
                if loss.needs_teacher:
                    step = "Pass a builder of networks, or a fitted network, as teacher; or drop the loss from hints."
                    raise wrong("teacher", f"a network, which {loss!r} needs", "a model without features", step)
                continue
            check_layers("teacher_layer", teacher.network, loss.teacher_layers)

    def add_features(self, rows: Rows, some: Sequence[int]) -> Rows:
        """Return rows with the teacher's features beside, computed once and kept by row."""
        teachers = [self.teachers[k] for k in some]
        first = teachers[0]
        if first is None:
            return rows
        distinct = [first] if all(teacher is first for teacher in teachers) else teachers
        left = self.teachers[max(some) + 1 :]
        parts = [self._features(teacher, rows.inputs, left) for teacher in distinct if teacher is not None]
        features = {name: torch.stack([part[name] for part in parts]) for name in self._layers}
        everywhere = bool(self.privileged.all())
        kept = None if everywhere else torch.from_numpy(self.privileged)[None].to(rows.inputs.device)
        seen = None
        if any(loss.needs_inputs for loss, _ in self.losses):
            seen = first.tensor(np.where(self.privileged[:, None], self.Z, 0.0)).to(rows.inputs)[None]
        return replace(rows, features=features, privileged=kept, teacher_inputs=seen)

    @cached_property
    def _kept(self) -> dict[int, dict[str, Tensor]]:
        return {}

    def _features(self, teacher: NetworkStudent, like: Tensor, left: Sequence[Any]) -> dict[str, Tensor]:
        """Return the features of a teacher, kept as long as a student is left that listens to it."""
        features = self._kept.pop(id(teacher), None)
        features = self._looked_at(teacher, like) if features is None else features
        if any(other is teacher for other in left):
            self._kept[id(teacher)] = features
        return features

    def _looked_at(self, teacher: NetworkStudent, like: Tensor) -> dict[str, Tensor]:
        at = np.flatnonzero(self.privileged)
        _, seen = teacher.look(self.Z[at], self._layers)
        if len(at) == len(self.Z):
            return {name: values.to(like) for name, values in seen.items()}
        every = {}
        for name, values in seen.items():
            every[name] = torch.zeros(len(self.Z), *values.shape[1:], dtype=like.dtype, device=like.device)
            every[name][torch.from_numpy(at).to(like.device)] = values.to(like)
        return every

    def attach(self, networks: Sequence[nn.Module], rows: Rows, some: Sequence[int]) -> list[list[Hint]]:
        """Return the hints of every student, with adapters made from the first rows."""
        return [
            self._attached(network, rows, number, k)
            for number, (network, k) in enumerate(zip(networks, some, strict=True))
        ]

    def _attached(self, network: nn.Module, rows: Rows, number: int, k: int) -> list[Hint]:
        at = np.flatnonzero(self.privileged)[:_FIRST]
        first = torch.from_numpy(at).to(rows.inputs.device)
        teacher = self._teacher(k, rows.inputs)
        told = self._told(teacher, rows, first, number)
        hints = []
        for loss, weight in self.losses:
            check_layers("student_layer", network, loss.student_layers)
            with tapped(network, loss.student_layers) as features, torch.no_grad():
                said = network(rows.inputs[first])
            student = Signals(said, dict(features), dict(network.named_parameters()), network=network)
            with seeded(stage_seed(self.seeds[k], "paraphraser")):
                paraphraser = self._paraphraser(loss, told, rows, number, self.seeds[k])
            adapter = loss.adapter(student, told)
            hints.append(Hint(loss, weight, None if adapter is None else adapter.to(rows.inputs), paraphraser, teacher))
        return hints

    def _teacher(self, k: int, like: Tensor) -> nn.Module | None:
        """Return the network that teaches a student; a copy where it lies elsewhere or is of another precision."""
        teacher = self.teachers[k]
        if teacher is None:
            return None
        alike = all(
            (weight.dtype, weight.device) == (like.dtype, like.device) for weight in teacher.network.parameters()
        )
        return teacher.network if alike else teacher.copied().to(like)

    def _told(self, teacher: nn.Module | None, rows: Rows, at: Tensor, number: int) -> Signals:
        features = {name: values[number if len(values) > 1 else 0][at] for name, values in rows.features.items()}
        nothing = rows.inputs.new_zeros(len(at), rows.targets.shape[-1])
        if teacher is None:
            return Signals(nothing, features)
        return Signals(nothing, features, dict(teacher.named_parameters()), network=teacher)

    def _paraphraser(
        self, loss: DistillationLoss, told: Signals, rows: Rows, number: int, seed: int
    ) -> nn.Module | None:
        """Return what rewrites the teacher's features, trained to rebuild them and frozen."""
        paraphraser: Any = loss.paraphraser(told)
        if paraphraser is None:
            return None
        paraphraser.to(rows.inputs)
        at = torch.from_numpy(np.flatnonzero(self.privileged)).to(rows.inputs.device)
        features = {name: values[number if len(values) > 1 else 0][at] for name, values in rows.features.items()}

        def lost(index: Tensor) -> Tensor:
            some = {name: values[index] for name, values in features.items()}
            return paraphraser.reconstruction(Signals(rows.inputs.new_zeros(len(index), 1), some))

        fit_module(paraphraser, lost, len(at), epochs=_EPOCHS, seed=stage_seed(seed, "rewriting"))
        return paraphraser.requires_grad_(False).eval()
