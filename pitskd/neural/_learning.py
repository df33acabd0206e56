"""From rows and parameters to fitted neural students: the way that one student and a whole grid of them go."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pitskd._lessons import Classification, Lesson, Task
from pitskd._random import stage_seed
from pitskd._teaching import is_prefitted
from pitskd.losses.base import ResponseLoss
from pitskd.losses.functional import pinball
from pitskd.losses.response import SoftTargets, SquaredError
from pitskd.models.taps import check_layers
from pitskd.neural._fitting import Assignment
from pitskd.neural._hints import Hints, rehearse
from pitskd.neural._material import Split, Told, class_weights, teacher_shape
from pitskd.neural._settings import (
    build,
    check_augmentation,
    check_builder,
    check_hints,
    example_of,
    plan_of,
    sizes_of,
)
from pitskd.neural._student import NetworkStudent
from pitskd.neural._teachers import (
    Classroom,
    Taught,
    fitted_network,
    held_out_losses,
    is_builder,
    listed,
    merged,
    told_plainly,
)

__all__: list[str] = []


class PointImitation(ResponseLoss):
    """Quantile forecasts scored against what a teacher of points says."""

    def __init__(self, quantiles: tuple[float, ...]) -> None:
        self.quantiles = quantiles

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute the mean over targets and quantiles of every row."""
        assert teacher_logits is not None
        said = student_logits.unflatten(-1, (-1, len(self.quantiles)))
        return pinball(said, teacher_logits.detach(), self.quantiles, reduction="none").mean(-1)


_OF_TEACHERS = (
    *("teacher", "teacher_sees", "cross_fit", "privileged_transformer", "quantiles", "optimizer", "schedule"),
    *("max_epochs", "batch_size", "clip", "validation", "patience", "precision", "device"),
)


@dataclass(frozen=True, eq=False)
class Pupil:
    """One student to be fitted: its estimator, its rows, and how much it imitates."""

    model: Any
    task: Task
    lesson: Lesson
    split: Split
    imitation: float
    seed: int

    @property
    def temperature(self) -> float:
        """Of its softmax; regressors have none."""
        return float(getattr(self.model, "temperature", 1.0))


class Fitted(NamedTuple):
    """What one student became, who taught it, and the losses of both on the same held-out rows, NaN without such."""

    student: NetworkStudent
    teacher: Any
    student_loss: float
    teacher_loss: float


@dataclass(frozen=True, eq=False)
class Group:
    """Students that share rows and everything but targets, imitation, temperature, learning rate and seed."""

    pupils: Sequence[Pupil]
    heard: dict[Any, Taught] = field(default_factory=dict)  # what teachers said, shared by the groups of a grid

    def fit(self) -> list[Fitted]:
        """Return what became of every student; if interrupted, of those that were reached."""
        self._rehearse()
        taught = self._taught()
        told = [self._told(pupil, voice) for pupil, voice in zip(self.pupils, taught, strict=True)]
        students = self._assignment(told, taught).fit()
        return [
            Fitted(student, voice.teacher, *self._losses(pupil, student, voice))
            for pupil, student, voice in zip(self.pupils, students, taught, strict=False)  # fewer if interrupted
        ]

    def _rehearse(self) -> None:
        """Build every network once, so that a wrong builder or layer costs no training of a teacher."""
        first, lesson = self.first, self.pupils[0].lesson
        teachers = listed(first.teacher) if self._asks else []
        if all(isinstance(one, nn.Module) or is_prefitted(one, first.cross_fit) for one in teachers):
            return
        n_outputs = lesson.hard.shape[1] * len(self.quantiles or (0,))
        before = first._resumed()
        builder, sizes = check_builder("student", first.student), sizes_of(lesson.window, n_outputs)
        student = build("student", builder, sizes, 0) if before is None else before.network
        for loss, _ in self.hints:
            check_layers("student_layer", student, loss.student_layers)
        check_augmentation(first.augmentation, example_of(student, sizes))
        shape, _ = teacher_shape(lesson.rows(np.arange(1)), first.teacher_sees == "both")
        hints = self.hints
        for teacher in teachers:
            network, fitted = teacher, fitted_network(teacher, first.cross_fit)
            if is_builder(teacher):
                network = build("teacher", check_builder("teacher", teacher), sizes_of(shape, n_outputs), 0)
            elif fitted is not None:
                network = fitted.network
            if not isinstance(network, nn.Module):
                continue
            for loss, _ in hints:
                check_layers("teacher_layer", network, loss.teacher_layers)
            if network is not teacher:  # one of the user's own is not trained, and checked where it is copied
                seen = sizes_of(shape, n_outputs) if fitted is None else fitted.sizes
                rehearse(hints, student, network, sizes, seen, self._any_targets())
            hints = []  # the first with features is listened to

    def _any_targets(self) -> Tensor:
        """Return targets of four rows as losses on features take them."""
        if isinstance(self.pupils[0].task, Classification):
            return torch.zeros(4, dtype=torch.int64)
        return torch.zeros(4, self.pupils[0].lesson.hard.shape[1])

    @property
    def first(self) -> Any:
        """An estimator that stands for all where they agree."""
        return self.pupils[0].model

    @cached_property
    def _parts(self) -> dict[tuple[int, bool], Lesson]:
        return {}

    def _part(self, pupil: Pupil) -> Lesson:
        return self._rows(pupil, held_out=False)

    def _held_out(self, pupil: Pupil) -> Lesson:
        return self._rows(pupil, held_out=True)

    def _rows(self, pupil: Pupil, *, held_out: bool) -> Lesson:
        """Return training or held-out rows, taken once for all students of the same lesson."""
        key = id(pupil.lesson), held_out
        if key not in self._parts:
            rows = pupil.split[held_out]
            self._parts[key] = pupil.lesson if len(rows) == len(pupil.lesson.X) else pupil.lesson.rows(rows)
        return self._parts[key]

    @cached_property
    def quantiles(self) -> tuple[float, ...] | None:
        """Levels of quantile forecasts."""
        levels = getattr(self.first, "quantiles", None)
        return None if levels is None else tuple(levels)

    @cached_property
    def hints(self) -> list[Any]:
        """Losses on features; without privileged rows those alone that need no teacher."""
        taught = bool(self.pupils[0].lesson.privileged.any())
        return [(loss, weight) for loss, weight in check_hints(self.first.hints) if taught or not loss.needs_teacher]

    @cached_property
    def _asks(self) -> bool:
        """Tell whether a teacher is needed at all."""
        soft = self.first.soft_loss
        by_targets = (soft is None or soft.needs_teacher) and any(pupil.imitation > 0 for pupil in self.pupils)
        return by_targets or self._hints_ask

    @property
    def _hints_ask(self) -> bool:
        return any(loss.needs_teacher for loss, _ in self.hints)

    def _taught(self) -> list[Taught]:
        """Return what teachers say to each student, asked once for students of the same targets."""
        nothing = Taught(None, [], [], None)
        if not self._asks:
            return [nothing] * len(self.pupils)
        asked = [pupil for pupil in self.pupils if pupil.imitation > 0 or self._hints_ask]
        new: dict[int, list[Pupil]] = {}
        for pupil in asked:
            if self._key(pupil) not in self.heard:
                new.setdefault(id(pupil.lesson), []).append(pupil)
        for some in new.values():
            rates = [float(pupil.model.learning_rate) for pupil in some]
            voices = self._classroom(some[0]).teach([pupil.seed for pupil in some], rates)
            self.heard.update(zip(map(self._key, some), voices, strict=True))
        return [self.heard[self._key(pupil)] if pupil in asked else nothing for pupil in self.pupils]

    def _key(self, pupil: Pupil) -> tuple[Any, ...]:
        """Return what decides what teachers say to a student."""
        settings = (id(getattr(pupil.model, name, None)) for name in _OF_TEACHERS)
        rows = id(pupil.lesson), pupil.split[0].tobytes(), pupil.split[1].tobytes()
        return *settings, *rows, pupil.seed, float(pupil.model.learning_rate)

    def _classroom(self, pupil: Pupil) -> Classroom:
        first, part = self.first, self._part(pupil)
        nothing = part.rows(np.empty(0, dtype=np.int64))
        assignment = Assignment(
            "teacher", check_builder("student", None), part.X.shape[1:], nothing.X, nothing.X, [], [],
            plan_of([first]).alone(), first.device, first.precision, first.verbose, quantiles=self.quantiles,
        )  # fmt: skip
        return Classroom(
            pupil.task, part, self._held_out(pupil), listed(first.teacher), first.teacher_sees == "both",
            first.privileged_transformer, first.cross_fit, assignment,
        )  # fmt: skip

    def _told(self, pupil: Pupil, voice: Taught) -> Told:
        """Return targets and weights of the rows, see `Lesson.mix`."""
        part, held_out = self._part(pupil), self._held_out(pupil)
        weight, judged = class_weights(pupil.task, part, getattr(pupil.model, "class_weight", None), held_out)
        if not part.labelled.any():
            weight = np.zeros(len(part.X))
        plain = told_plainly(pupil.task, part, held_out, weight, judged)
        if pupil.imitation == 0.0:
            return plain
        imitation, soft, own_loss = pupil.imitation, None, self.first.soft_loss
        base = np.ones(len(part.X))
        if part.weight is not None:  # in the unit of the hard targets
            base = part.weight / part.weight[part.labelled if part.labelled.any() else slice(None)].mean()
        if own_loss is not None and not own_loss.needs_teacher:
            speaks = part.labelled
        else:
            soft = self._merged(pupil.task, voice.scores, pupil.temperature)
            speaks = np.logical_not(np.isnan(soft).any(axis=1))
            soft = np.where(speaks[:, None], soft, 0.0)
        mixed = plain.plain * np.where(speaks, 1.0 - imitation, 1.0)
        return Told(
            pupil.task, plain.hard, plain.plain, mixed, soft, base * imitation * speaks, plain.held_out,
            plain.held_out_weight,
        )  # fmt: skip

    def _merged(self, task: Task, scores: list[np.ndarray], temperature: float) -> np.ndarray:
        """Return what several teachers say together; as points, if one of them gives no quantiles."""
        width = min(one.shape[1] for one in scores)
        alike = [one if one.shape[1] == width else self._middle(one) for one in scores]
        weights = self.first.teacher_weights
        return merged(task, alike, [1.0] * len(scores) if weights is None else weights, temperature)

    def _middle(self, values: np.ndarray) -> np.ndarray:
        """Return the quantile nearest to the median of values (n, n_targets * n_quantiles)."""
        assert self.quantiles is not None
        return values[:, int(np.argmin(np.abs(np.asarray(self.quantiles) - 0.5))) :: len(self.quantiles)]

    def _soft_loss(self, told: Sequence[Told], n_outputs: int) -> ResponseLoss | None:
        if self.first.soft_loss is not None:
            return self.first.soft_loss
        if isinstance(self.pupils[0].task, Classification):
            return SoftTargets()
        widths = {one.soft.shape[1] for one in told if one.soft is not None}
        if self.quantiles is not None and widths and widths != {n_outputs}:
            return PointImitation(self.quantiles)
        return SquaredError()

    def _assignment(self, told: list[Told], taught: list[Taught]) -> Assignment:
        first, lesson = self.first, self.pupils[0].lesson
        part = self._part(self.pupils[0])
        n_outputs = part.hard.shape[1] * len(self.quantiles or (0,))
        plan, hints = plan_of([pupil.model for pupil in self.pupils]), None
        if self.hints:
            _, Z = teacher_shape(part, first.teacher_sees == "both")
            seeds = [stage_seed(pupil.seed, "hints") for pupil in self.pupils]
            hints = Hints(self.hints, [voice.network for voice in taught], Z, part.privileged, seeds)
            hints.check()
        return Assignment(
            "student",
            check_builder("student", first.student),
            lesson.window,
            part.X,
            self._held_out(self.pupils[0]).X,
            told,
            [pupil.seed for pupil in self.pupils],
            plan if self.hints else replace(plan, hints_alone=0),
            first.device,
            first.precision,
            first.verbose,
            [pupil.temperature for pupil in self.pupils],
            self._soft_loss(told, n_outputs),
            self.quantiles,
            hints,
            first._resumed(),
        )

    def _losses(self, pupil: Pupil, student: NetworkStudent, voice: Taught) -> tuple[float, float]:
        """Return held-out losses of student and teacher on the rows that both can be judged by, NaN without such."""
        held_out = self._held_out(pupil)
        asked = held_out.privileged
        if not asked.any() or not voice.held_out:
            return np.nan, np.nan
        said = student.raw(held_out.X[asked])
        scores = self._merged(pupil.task, [one[asked] for one in voice.held_out], 1.0)
        hard = held_out.hard[asked]
        if self.quantiles is not None:
            said = self._middle(said)
            scores = scores if scores.shape[1] == hard.shape[1] else self._middle(scores)
        own, taught = held_out_losses(pupil.task, said, hard), held_out_losses(pupil.task, scores, hard)
        return float(own.mean()), float(taught.mean())


def warn_of_weak_teacher(student: float, teacher: float, stacklevel: int) -> None:
    """Say that a teacher knows no more than its student does."""
    if teacher >= student:
        warnings.warn(
            f"The teacher's held-out loss {teacher:.4g} is not below the student's {student:.4g}: what it teaches is "
            'unlikely to help. Give it better privileged features, teacher_sees="both", or compare with imitation=0.',
            UserWarning,
            stacklevel=stacklevel,
        )
