"""What networks are told: which rows they learn from and are judged by, what a teacher sees, how much rows weigh."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from pitskd._folds import apart, overlap
from pitskd._lessons import Classification, Lesson, Task
from pitskd._validation import wrong

__all__: list[str] = []

Split = tuple[np.ndarray, np.ndarray]  # positions of training rows, and of those held out

_FEWEST = 10  # labelled rows below which none is held out


def classes_of(task: Task) -> np.ndarray | None:
    """Return the classes that a task tells apart; None for regression."""
    return task.classes if isinstance(task, Classification) else None


def split_in_time(task: Task, lesson: Lesson, share: float | None) -> Split:
    """Return training rows, and the last labelled rows, for early stopping; none of the latter where rows are few.

    Where windows overlap, the rows that share a time step with the held-out part are in neither; else classes are cut
    one by one, so that each is in both. Privileged rows have no say: a student at imitation 0 learns from the same rows
    with them and without.
    """
    known, everything = np.flatnonzero(lesson.counts), np.arange(len(lesson.X))
    nothing = everything, np.empty(0, dtype=np.int64)
    if share is None or len(known) < _FEWEST:
        return nothing
    classify = isinstance(task, Classification)
    gap = gap_of(task, lesson, lesson.X, lesson.window)
    strata = lesson.hard[known].argmax(axis=1) if classify and not gap else np.zeros(len(known), dtype=int)
    groups = [known[strata == stratum] for stratum in np.unique(strata)]
    held_out = np.sort(np.concatenate([rows[len(rows) - round(share * len(rows)) :] for rows in groups]))
    if not len(held_out):
        return nothing
    train_rows, _ = apart(lesson, held_out, gap)
    left = lesson.rows(train_rows)
    if task.can_learn(left.hard[left.counts]):
        return train_rows, held_out
    warnings.warn(
        f"validation={share} leaves too little to learn from: no row is held out, and the weights of the last epoch "
        "count. Use a smaller share, or validation=None.",
        UserWarning,
        stacklevel=3,
    )
    return nothing


def gap_of(task: Task, lesson: Lesson, seen: np.ndarray, shape: tuple[int, ...]) -> int:
    """Return how many rows further on still share a time step with a row, as one network sees them, and targets.

    No more than an eighth of the rows, as in `default_folds`: else few long windows leave nothing to learn from.
    """
    nothing, nobody = np.empty((len(seen), 0)), np.zeros(len(seen), dtype=bool)
    alone = replace(lesson, X=seen, window=shape, Z=nothing, privileged=nobody, middle=())
    return min(overlap(alone, numbers=not isinstance(task, Classification)), len(seen) // 8)


def privilege_alone(lesson: Lesson) -> Lesson:
    """Return the rows as given, where the teacher sees `X` beside the privileged part."""
    first = lesson.Z.shape[1] - int(np.prod(lesson.middle))
    return replace(lesson, Z=lesson.Z[:, first:]) if lesson.middle and first else lesson


def teacher_shape(lesson: Lesson, sees_both: bool) -> tuple[tuple[int, ...], np.ndarray]:
    """Return the trailing shape of what a teacher network sees, and the rows in that order.

    Middle steps with the channels of `X` go on behind the window; sensors over the same steps stand beside it; anything
    else is one step of many channels.
    """
    middle = lesson.middle
    if not sees_both:
        return (middle if len(middle) == 2 else (lesson.Z.shape[1],)), lesson.Z
    width = lesson.X.shape[1]
    if len(lesson.window) == len(middle) == 2:
        if lesson.window[1] == middle[1]:
            return (lesson.window[0] + middle[0], middle[1]), lesson.Z
        if lesson.window[0] == middle[0]:
            n, first, rest = len(lesson.Z), lesson.Z[:, :width], lesson.Z[:, width:]
            beside = np.concatenate([first.reshape(n, *lesson.window), rest.reshape(n, *middle)], axis=2)
            return beside.shape[1:], beside.reshape(n, lesson.Z.shape[1])
    return (lesson.Z.shape[1],), lesson.Z


def class_weights(task: Task, lesson: Lesson, weights: Any, judged: Lesson) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of each labelled row's class, 1 elsewhere; `judged` rows weigh as their class does there."""
    if weights is None or not isinstance(task, Classification):
        return np.ones(len(lesson.X)), np.ones(len(judged.X))
    check_class_weights(task, weights)
    labels = lesson.y[lesson.labelled]
    present = np.unique(labels)
    of_class = weights  # a class without one weighs 1
    if not isinstance(weights, Mapping):
        of_class = dict(zip(present, compute_class_weight(weights, classes=present, y=labels), strict=True))
    own, other = (
        np.array([of_class.get(y, 1.0) if known else 1.0 for y, known in zip(part.y, part.labelled, strict=True)])
        for part in (lesson, judged)
    )
    return own, other


def check_class_weights(task: Task, weights: Any) -> None:
    """Refuse weights of classes that are not there."""
    if not isinstance(weights, Mapping) or not isinstance(task, Classification):
        return
    known = task.classes.tolist()
    unknown = [label for label in weights if label not in known]
    if unknown:
        step = f"The classes are {', '.join(map(repr, known))}."
        raise wrong("class_weight", "weights of classes of y", f"one of class {unknown[0]!r}", step)


@dataclass(frozen=True, eq=False)
class Told:
    """What one network is told of its rows: hard targets, and perhaps what a teacher says."""

    task: Task
    hard: np.ndarray  # (n, k) in their unit, or one-hot
    plain: np.ndarray  # (n,) weights while there is no teacher
    mixed: np.ndarray  # (n,) weights of hard targets beside soft ones
    soft: np.ndarray | None = None  # (n, k') in their unit, or logits
    soft_weight: np.ndarray | None = None  # (n,)
    held_out: np.ndarray | None = None  # (n_held_out, k)
    held_out_weight: np.ndarray | None = None  # (n_held_out,)
