"""Teachers of neural students: networks, any estimator, fitted ones, or several of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.frozen import FrozenEstimator
from torch import nn

from pitskd._folds import apart
from pitskd._lessons import Classification, Folds, Lesson, Task, split_rows
from pitskd._random import stage_seed
from pitskd._teaching import Teaching, check_privileged_rows, is_prefitted
from pitskd._validation import is_list, wrong
from pitskd.neural._fitting import Assignment
from pitskd.neural._material import Told, classes_of, gap_of, teacher_shape
from pitskd.neural._settings import check_builder, check_outputs
from pitskd.neural._student import NetworkStudent, Scale

__all__: list[str] = []

_LOWEST = 700.0  # a class that a teacher has never seen is so far below the others, in logits


class OpenClassification(Classification):
    """Classes of which `y` may lack some that a teacher tells of; None for those of `y`."""

    def __init__(self, model: Any, classes: Any) -> None:
        super().__init__(model)
        self.every = classes

    def read(self, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        filled, hard, labelled = super().read(y)
        if self.every is not None:
            present, self.classes = self.classes, _check_classes(self.every, self.classes)
            wider = np.zeros((len(hard), len(self.classes)))
            wider[:, np.searchsorted(self.classes, present)] = hard
            hard = wider
        return filled, hard, labelled


def _check_classes(values: Any, present: np.ndarray) -> np.ndarray:
    """Return all classes in order, those present among them."""
    step = "List every class that y and the teacher know."
    classes = np.asarray(values if is_list(values) else [])
    alike = (classes.dtype.kind in "US") == (present.dtype.kind in "US")
    if classes.ndim != 1 or not len(classes) or not alike or len(np.unique(classes)) < len(classes):
        raise wrong("classes", "a list of distinct labels of the kind of y, or None", values, step)
    missing = np.setdiff1d(present, classes).tolist()
    if missing:
        raise wrong("classes", f"all classes, {missing[0]!r} of y among them", values, step)
    return np.sort(classes)


def listed(teacher: Any) -> list[Any]:
    """Return teachers as a list."""
    return list(teacher) if isinstance(teacher, list | tuple) else [teacher]


def is_builder(teacher: Any) -> bool:
    """Tell whether a teacher is a network that is still to be built and trained."""
    return teacher is None or (callable(teacher) and not isinstance(teacher, nn.Module) and not hasattr(teacher, "fit"))


def fitted_network(teacher: Any, cross_fit: Any) -> NetworkStudent | None:
    """Return the network inside a fitted neural student that is used as it is."""
    inner = teacher.estimator if isinstance(teacher, FrozenEstimator) else teacher
    student = getattr(inner, "student_", None)
    return student if is_prefitted(teacher, cross_fit) and isinstance(student, NetworkStudent) else None


@dataclass(frozen=True, eq=False)
class Taught:
    """What one student's teachers say."""

    teacher: Any  # fitted, or a list of fitted ones
    scores: list[np.ndarray]  # of each teacher: (n, k) of training rows, NaN where it does not speak
    held_out: list[np.ndarray]  # the same of held-out rows
    network: NetworkStudent | None  # the first teacher with features


@dataclass(frozen=True, eq=False)
class Classroom:
    """One lesson of a group of students: the rows, who teaches, and how teachers' networks are trained."""

    task: Task
    part: Lesson  # training rows
    held_out: Lesson
    teachers: Sequence[Any]
    sees_both: bool
    transformer: Any
    cross_fit: Any
    assignment: Assignment  # how networks are trained; rows and targets are filled in

    def teach(self, seeds: Sequence[int], rates: Sequence[float]) -> list[Taught]:
        """Return what teachers say to students of these seeds and learning rates."""
        self._check()
        taught = [Taught(None, [], [], None) for _ in seeds]
        for number, teacher in enumerate(self.teachers):
            voices = self._voices(teacher, [stage_seed(seed, f"teacher {number}") for seed in seeds], rates)
            taught = [_joined(before, *voice) for before, voice in zip(taught, voices, strict=True)]
        return taught

    def _check(self) -> None:
        """Refuse what some teacher can not be trained on before the first one is trained."""
        for teacher in self.teachers:
            if is_builder(teacher):
                self._folds()
            elif not isinstance(teacher, nn.Module) and fitted_network(teacher, self.cross_fit) is None:
                teaching = self._teaching(teacher)
                teaching.check_width(self.part, 'Compare teacher_sees ("privileged" or "both") with how it was fitted.')
                teaching.check(self.part)

    def _teaching(self, teacher: Any) -> Teaching:
        return Teaching(self.task, teacher, self.transformer, self.cross_fit)

    def _voices(self, teacher: Any, seeds: Sequence[int], rates: Sequence[float]) -> list[tuple[Any, Any, Any]]:
        """Return, for each student, a fitted teacher and its scores of training and held-out rows."""
        if is_builder(teacher):
            return self._networks(check_builder("teacher", teacher), seeds, rates)
        if isinstance(teacher, nn.Module):
            return [self._asked(self._wrapped(teacher))] * len(seeds)
        if (network := fitted_network(teacher, self.cross_fit)) is not None:
            self._check_width(network)
            return [self._asked(network)] * len(seeds)
        teaching = self._teaching(teacher)
        model, scores = teaching.run(self.part)
        asked = self.held_out.privileged
        held_out = np.full(self.held_out.hard.shape, np.nan)
        if asked.any():
            held_out[asked] = teaching.ask(model, self.held_out.rows(asked))
        return [(model, scores, held_out)] * len(seeds)

    def _asked(self, network: NetworkStudent) -> tuple[Any, np.ndarray, np.ndarray]:
        return network, self._scores(network, self.part), self._scores(network, self.held_out)

    def _scores(self, network: NetworkStudent, lesson: Lesson, rows: np.ndarray | None = None) -> np.ndarray:
        """Return what a network says of privileged rows (or of these), NaN elsewhere."""
        asked = np.flatnonzero(lesson.privileged) if rows is None else rows
        _, Z = teacher_shape(lesson, self.sees_both)
        n_said = network.sizes["n_outputs"] if self._is_raw(network) else lesson.hard.shape[1]
        known = classes_of(self.task)
        if not len(asked):
            return np.full((len(lesson.X), n_said if known is None else len(known)), np.nan)
        said = self._said(network, Z[asked])
        if known is not None and network.classes_ is not None:
            said = _placed(said, network.classes_, known)
        scores = np.full((len(lesson.X), said.shape[1]), np.nan)
        scores[asked] = said
        return scores

    def _said(self, network: NetworkStudent, Z: np.ndarray) -> np.ndarray:
        """Return logits, values, or quantiles; those of other levels than the students' are asked for the middle."""
        return network.raw(Z) if self._is_raw(network) else network.predict(Z).reshape(len(Z), -1)

    def _is_raw(self, network: NetworkStudent) -> bool:
        """Tell whether students learn from all that a network gives."""
        return network.classes_ is not None or network.quantiles == self.assignment.quantiles

    def _networks(
        self, builder: Callable[..., nn.Module], seeds: Sequence[int], rates: Sequence[float]
    ) -> list[tuple[Any, Any, Any]]:
        """Train a teacher network per distinct seed and rate, all as one."""
        own = self.part.rows(self.part.labelled & self.part.privileged)
        distinct = list(dict.fromkeys(zip(seeds, rates, strict=True)))
        networks = self._trained(builder, own, distinct)
        scores = [self._scores(network, self.part) for network in networks]
        if self.cross_fit is not None:
            scores = self._cross_fitted(builder, networks, distinct)
        held_out = [self._scores(network, self.held_out) for network in networks]
        place = [distinct.index(pair) for pair in zip(seeds, rates, strict=True)]
        return [(networks[k], scores[k], held_out[k]) for k in place]

    def _folds(self) -> Folds:
        """Return positions of the folds of `cross_fit`; those of a number are kept apart where windows overlap.

        A splitter of the user's own is followed as it is.
        """
        own = check_privileged_rows(self.task, self.part, "Pass more rows, or a fitted teacher.")
        if self.cross_fit is None:
            return []
        rows = np.flatnonzero(self.part.labelled & self.part.privileged)
        split = split_rows("cross_fit", self.cross_fit, self.task, own)
        folds = [(rows[train], rows[test]) for train, test in split]
        if isinstance(self.cross_fit, int | np.integer):
            shape, seen = teacher_shape(self.part, self.sees_both)
            gap = gap_of(self.task, self.part, seen, shape)
            folds = [(np.intersect1d(train, apart(self.part, test, gap)[0]), test) for train, test in folds]
        counts = self.part.counts
        if not all(self.task.can_learn(self.part.hard[train[counts[train]]]) for train, _ in folds):
            expected = "folds whose training parts hold two rows, of two classes, that share no time step with the rest"
            step = "Use fewer folds, more rows, or a splitter of your own."
            raise wrong("cross_fit", expected, self.cross_fit, step)
        return folds

    def _cross_fitted(
        self, builder: Any, networks: list[NetworkStudent], distinct: list[tuple[int, float]]
    ) -> list[np.ndarray]:
        """Return scores of rows from networks that have not seen their targets."""
        unlabelled = np.flatnonzero(self.part.privileged & ~self.part.labelled)
        scores = [self._scores(network, self.part, unlabelled) for network in networks]
        for train, test in self._folds():
            others = self._trained(builder, self.part.rows(train), distinct)
            for one, other in zip(scores, others, strict=True):
                one[test] = self._scores(other, self.part, test)[test]
        return scores

    def _trained(self, builder: Any, own: Lesson, distinct: list[tuple[int, float]]) -> list[NetworkStudent]:
        shape, Z = teacher_shape(own, self.sees_both)
        judged = self.held_out.rows(self.held_out.privileged & self.held_out.counts)
        told = told_plainly(self.task, own, judged, np.ones(len(own.X)))
        plan = replace(self.assignment.plan, learning_rates=[rate for _, rate in distinct])
        work = replace(
            self.assignment, name="teacher", builder=builder, shape=shape, X=Z, told=[told] * len(distinct),
            held_out=teacher_shape(judged, self.sees_both)[1], seeds=[seed for seed, _ in distinct], plan=plan,
        )  # fmt: skip
        return work.fit()

    def _check_width(self, network: NetworkStudent) -> None:
        width = self.part.Z.shape[1]
        if network.n_features_in_ != width:
            expected = f"what the fitted teacher knows, {network.n_features_in_} columns in all"
            step = 'Compare teacher_sees ("privileged" or "both") with how the teacher was fitted.'
            raise wrong("X_privileged", expected, f"{width}", step)
        n_targets = network.sizes["n_outputs"] // len(network.quantiles or (0,))
        if classes_of(self.task) is None and n_targets != self.part.hard.shape[1]:
            expected = f"trained on {self.part.hard.shape[1]} targets, as y has"
            raise wrong("teacher", expected, f"one of {n_targets}", "Fit it to the same targets.")

    def _wrapped(self, network: nn.Module) -> NetworkStudent:
        """Return a module of the user's as a teacher: it takes unscaled windows and gives logits or values."""
        shape, _ = teacher_shape(self.part, self.sees_both)
        length, n_channels = shape if len(shape) == 2 else (1, shape[0])
        n_outputs = self.part.hard.shape[1]
        sizes = {"n_channels": n_channels, "length": length, "n_outputs": n_outputs}
        network = deepcopy(network).eval()  # the user's own is left as it is, its modes and statistics too
        check_outputs("teacher", network, type(network), sizes)
        none = Scale.none(n_channels), Scale.none(n_outputs)
        return NetworkStudent(network, None, sizes, shape, *none, classes=classes_of(self.task))


def _placed(said: np.ndarray, classes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return logits in the order of the student's classes; those that the teacher does not know are far below."""
    unknown = np.setdiff1d(classes, known)
    if len(unknown):
        step = "Relabel y or the teacher, or pass all classes as classes."
        raise wrong("teacher", "trained on the classes of y", f"class {unknown.tolist()[0]!r}", step)
    placed = np.full((len(said), len(known)), -np.inf)
    placed[:, np.searchsorted(known, classes)] = said
    return placed


def told_plainly(
    task: Task, own: Lesson, judged: Lesson, class_weight: np.ndarray, judged_class_weight: np.ndarray | float = 1.0
) -> Told:
    """Return hard targets alone, with weights of mean 1."""
    plain = own.labelled * (np.ones(len(own.X)) if own.weight is None else own.weight) * class_weight
    if plain.any():
        plain = plain / plain[own.labelled].mean()
    judged_weight = (np.ones(len(judged.X)) if judged.weight is None else judged.weight) * judged_class_weight
    return Told(task, own.hard, plain, plain, held_out=judged.hard, held_out_weight=judged_weight)


def _joined(before: Taught, teacher: Any, scores: np.ndarray, held_out: np.ndarray) -> Taught:
    """Add a teacher to those before."""
    several = before.scores
    everyone = teacher if not several else [*(before.teacher if len(several) > 1 else [before.teacher]), teacher]
    network = before.network or (teacher if isinstance(teacher, NetworkStudent) else None)
    return Taught(everyone, [*several, scores], [*before.held_out, held_out], network)


def merged(task: Task, scores: Sequence[np.ndarray], weights: Sequence[float], temperature: float) -> np.ndarray:
    """Return one teacher's scores for those of several: means of values, or of probabilities at the temperature."""
    share = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    if not isinstance(task, Classification):
        return scores[0] if len(scores) == 1 else np.tensordot(share, np.stack(scores), axes=1)
    bounded = [np.maximum(one, one.max(axis=1, keepdims=True) - _LOWEST) for one in scores]
    if len(bounded) == 1:
        return bounded[0]
    logs = np.stack([log_softmax(one / temperature, axis=1) for one in bounded])
    return temperature * logsumexp(logs, axis=0, b=share[:, None, None])


def held_out_losses(task: Task, scores: np.ndarray, hard: np.ndarray) -> np.ndarray:
    """Return the loss of each row for scores as teachers and students give them."""
    return task.losses(softmax(scores, axis=1) if isinstance(task, Classification) else scores, hard)
