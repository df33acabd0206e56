"""Folds that keep windows which share time steps out of each other's training rows."""

from __future__ import annotations

import numpy as np

from pitskd._lessons import Classification, Folds, Lesson, Task
from pitskd.linear._states import channels_agree, whole_path

__all__: list[str] = []

_N_FOLDS, _N_REPEATS = 5, 2
_SAMPLE = 100  # pairs of neighbouring windows that are compared


def default_folds(task: Task, lesson: Lesson) -> Folds:
    """Return training rows and labelled held-out rows of twice five folds; none where too little is left to learn from.

    Without overlap the folds are stratified, each class cut into contiguous parts. With overlap they are contiguous,
    and rows that share a time step with a held-out row, its target included, are in no part of that fold. Where the
    windows hold fewer than eight that share nothing, that would leave too little to learn from (at 47 windows of 14
    rows it cost a noisy Mackey-Glass forecast .15 in R2): then the nearest eighth of the rows is left out on each side.
    """
    n = len(lesson.X)
    gap = min(overlap(lesson), n // 8)
    scored = np.flatnonzero(lesson.counts)
    strata = (
        lesson.hard[scored].argmax(axis=1) if isinstance(task, Classification) and not gap else np.zeros(len(scored))
    )
    folds: Folds = []
    n_folds = min(_N_FOLDS, len(scored))
    for repeat in range(_N_REPEATS):
        part = _parts(strata, n_folds, repeat / (_N_REPEATS * max(n_folds, 1)))
        for number in range(n_folds):
            test = scored[part == number]
            train = np.flatnonzero(_distance(test, n) > gap)
            left = lesson.rows(train)
            if len(test) and task.can_learn(left.hard[left.counts]) and _taught(task, lesson, left):
                folds.append((train, test))
    return folds


def overlap(lesson: Lesson) -> int:
    """Return how many windows further on still share a time step with a window, 0 where neighbours share none.

    Windows cut at a regular stride repeat each other's rows: the shift that repeats them is looked for in the arrays.
    """
    if lesson.privileged.any() and lesson.Z.shape[1] and channels_agree(lesson):
        path, hidden = whole_path(lesson, "folds", "your own cv"), 0
    else:
        path = np.asarray(lesson.X, dtype=np.float64)
        path = path.reshape(len(path), *(lesson.window if len(lesson.window) == 2 else (1, path.shape[1])))
        hidden = lesson.middle[0] if len(lesson.middle) == 2 else 1 if lesson.middle else 0
    n, n_rows, _ = path.shape
    before = path[: min(n - 1, _SAMPLE)]
    after = path[1 : len(before) + 1]
    # Channels that stand still, and holes, repeat themselves at any shift.
    varies = np.nanmax(np.nan_to_num(path), axis=(0, 1)) > np.nanmin(np.nan_to_num(path), axis=(0, 1))
    for shift in range(1, n_rows):
        early, late = before[:, shift:], after[:, : n_rows - shift]
        same = ((early == late) | np.isnan(early) | np.isnan(late)).all(axis=1)
        moved = (early != before[:, : n_rows - shift]).any(axis=1)  # else it would repeat itself without overlap
        if len(same) and np.mean((same | ~varies).all(axis=1) & (moved & varies).any(axis=1)) > 0.5:
            return (n_rows + hidden) // shift
    return 0


def _parts(strata: np.ndarray, n_folds: int, offset: float) -> np.ndarray:
    """Return the fold of each row: every stratum is cut into contiguous parts of equal size, the cuts moved on."""
    part = np.empty(len(strata), dtype=np.int64)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        share = (np.arange(len(members)) + 0.5) / len(members)
        part[members] = np.floor(n_folds * ((share + offset) % 1.0)).astype(np.int64)
    return part


def _distance(rows: np.ndarray, n: int) -> np.ndarray:
    """Return how far each of n rows is from the nearest of some; 0 for these, n without any."""
    if not len(rows):
        return np.full(n, n)
    after = np.searchsorted(rows, np.arange(n))
    right = np.where(after < len(rows), rows[np.minimum(after, len(rows) - 1)] - np.arange(n), n)
    left = np.where(after > 0, np.arange(n) - rows[np.maximum(after - 1, 0)], n)
    return np.minimum(left, right)


def _taught(task: Task, lesson: Lesson, left: Lesson) -> bool:
    """Tell whether a training part keeps rows to be taught by, where there are any."""
    both = left.counts & left.privileged
    return not lesson.privileged.any() or task.can_learn(left.hard[both])
