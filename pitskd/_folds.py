"""Folds that keep windows which share time steps out of each other's training rows."""

from __future__ import annotations

import numpy as np

from pitskd._lessons import Classification, Folds, Lesson, Task
from pitskd.linear._states import channels_agree, whole_path

__all__: list[str] = []

_N_FOLDS, _N_REPEATS = 5, 2
_LARGE = 1e7  # rows times squared columns from where a second round of folds costs more than it steadies
_SAMPLE = 100  # pairs of windows that are compared
_MOST, _MOST_LAGS = 0.5, 0.8  # share of them that must agree; more where a single number is compared


def default_folds(task: Task, lesson: Lesson) -> Folds:
    """Return training rows and labelled held-out rows of twice five folds; none where too little is left to learn from.

    Large problems have five folds once. Without overlap the folds are stratified, each class cut into contiguous parts.
    With overlap they are contiguous, and rows that share a time step with a held-out row, its target included, are in
    no part of that fold. Where the windows hold fewer than eight that share nothing, that would leave too little to
    learn from (at 47 windows of 14 rows it cost a noisy Mackey-Glass forecast .15 in R2): then the nearest eighth of
    the rows is left out on each side.
    """
    n = len(lesson.X)
    gap = min(overlap(lesson, numbers=not isinstance(task, Classification)), n // 8)
    scored = np.flatnonzero(lesson.counts)
    strata = (
        lesson.hard[scored].argmax(axis=1) if isinstance(task, Classification) and not gap else np.zeros(len(scored))
    )
    folds: Folds = []
    n_folds = min(_N_FOLDS, len(scored))
    for repeat in range(1 if is_large(lesson) else _N_REPEATS):
        part = _parts(strata, n_folds, repeat / (_N_REPEATS * max(n_folds, 1)))
        for number in range(n_folds):
            test = scored[part == number]
            train = np.flatnonzero(_distance(test, n) > gap)
            left = lesson.rows(train)
            if len(test) and task.can_learn(left.hard[left.counts]) and _taught(task, lesson, left):
                folds.append((train, test))
    # Rows held out of one class alone would praise whoever is surest of it.
    held_out = np.unique(np.concatenate([test for _, test in folds])) if folds else []
    return folds if task.can_learn(lesson.hard[held_out]) else []


def is_large(lesson: Lesson) -> bool:
    """Tell whether the rows are so many and wide that one round of folds has to do."""
    return lesson.X.shape[0] * lesson.X.shape[1] ** 2 >= _LARGE


def overlap(lesson: Lesson, numbers: bool = True) -> int:
    """Return how many windows further on still share a time step with a window, 0 where neighbours share none.

    Windows cut at a regular stride repeat each other's rows: the shift that repeats them is looked for in the arrays.
    Where the middle does not follow the input at once, the windows whose input holds its last row tell how far ahead it
    lies; so do those that hold the target, if `y` are `numbers`. Without either the target is taken for the row after.
    """
    X, Z = _steps(lesson.X, lesson.window), _steps(lesson.Z, lesson.middle)
    rows = X.shape[1] + Z.shape[1]
    gaps = [rows // stride for stride in (_stride(X), _stride(Z)) if stride]
    if Z.shape[1] and lesson.privileged.any() and channels_agree(lesson):
        path = whole_path(lesson, "folds", "your own cv")
        if stride := _stride(path):
            gaps.append(rows // stride)
        elif last := _lag(path[:, None, -1], X):
            gaps.append(last + 1)  # the target lies behind it
    if len(lesson.window) < 2 and (stride := _stride(lesson.X[..., None], lesson.X.shape[1] // 2)):
        gaps.append((lesson.X.shape[1] + lesson.Z.shape[1]) // stride)  # lags side by side as columns
    if numbers:
        hard = np.where(lesson.labelled[:, None], lesson.hard, np.nan)
        gaps.append(_lag(hard[:, :, None, None, None], X[:, None, :, :, None]))
    return max(gaps, default=0)


def _steps(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return flat rows as (n, steps, channels)."""
    steps = shape if len(shape) == 2 else (1, values.shape[1])
    return np.asarray(values, dtype=np.float64).reshape(len(values), *(steps if values.shape[1] else (0, 1)))


def _stride(path: np.ndarray, largest: int | None = None) -> int:
    """Return by how many rows most windows (n, n_rows, channels) are ahead of the one before; 0 if they share none."""
    n, n_rows, _ = path.shape
    first = np.unique(np.linspace(0, n - 2, min(n - 1, _SAMPLE)).astype(np.int64))
    before, after = path[first], path[first + 1]
    for shift in range(1, min(n_rows, n_rows if largest is None else largest + 1)):
        early, late, past = before[:, shift:], after[:, : n_rows - shift], before[:, : n_rows - shift]
        known = ~(np.isnan(early) | np.isnan(late))
        # What stands still repeats itself at any shift and tells nothing.
        told = (known & (early != past) & ~np.isnan(past)).any(axis=(1, 2))
        if told.any() and np.mean(((early == late) | ~known)[told].all(axis=(1, 2))) > _MOST:
            return shift
    return 0


def _lag(ahead: np.ndarray, X: np.ndarray) -> int:
    """Return the largest number of windows after which most inputs hold, at one place, what lies ahead of a window.

    `ahead` (n, ...) is compared with `X` (n, ...) along the last axis, other axes are places.
    """
    n, lags = len(X), 0
    for lag in range(1, n // 8 + 1):
        first = np.unique(np.linspace(1, n - lag - 1, min(n - lag - 1, _SAMPLE)).astype(np.int64))
        said, seen, past = ahead[first], X[first + lag], X[first + lag - 1]
        told = (~np.isnan(said) & (seen != past)).any(axis=-1)
        same = told & (said == seen).all(axis=-1)
        if (same.sum(axis=0) > _MOST_LAGS * np.maximum(told.sum(axis=0), _SAMPLE // 10)).any():
            lags = lag
    return lags


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
    return task.can_learn(left.hard[left.counts & left.privileged]) or not teachable(task, lesson)


def teachable(task: Task, lesson: Lesson) -> bool:
    """Tell whether rows that have both label and privilege suffice to learn from."""
    return task.can_learn(lesson.hard[lesson.counts & lesson.privileged])


def time_block_numbers(n: int, gap: int, *, most: int = 16) -> np.ndarray:
    """Return the number of the contiguous block that each of n rows belongs to.

    Blocks outlast the overlap twice: held out one by one, they cost the rest at most as many rows as they hold.
    """
    n_blocks = max(1, min(most, n // max(2, 2 * gap)))
    return np.arange(n) * n_blocks // n


def held_out_blocks(
    task: Task, lesson: Lesson, block: np.ndarray, gap: int, generator: np.random.Generator, n_splits: int = 20
) -> Folds:
    """Draw distinct splits that hold out a quarter of the blocks, each block about equally often.

    The blocks are shuffled and dealt to four parts, again and again. Rows that share a time step with a held-out row
    are in neither part; splits whose training part is too poor to learn from are left out.
    """
    splits: Folds = []
    drawn: set[frozenset[int]] = set()
    for _ in range(10 * n_splits):
        for part in np.array_split(generator.permutation(block.max() + 1), 4):
            held_out = frozenset(part.tolist())
            if len(splits) == n_splits or not held_out or held_out in drawn:
                continue
            drawn.add(held_out)
            train, test = apart(lesson, np.flatnonzero(np.isin(block, part)), gap)
            if len(test) and teaches(task, lesson, train):
                splits.append((train, test))
    return splits


def apart(lesson: Lesson, held_out: np.ndarray, gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that share no time step with those held out, and the held-out rows that can be scored."""
    train = np.flatnonzero(_distance(np.unique(held_out), len(lesson.X)) > gap)
    return train, held_out[lesson.counts[held_out]]


def teaches(task: Task, lesson: Lesson, train: np.ndarray) -> bool:
    """Tell whether a training part can be learnt from, its privileged rows included."""
    left = lesson.rows(train)
    return task.can_learn(left.hard[left.counts]) and _taught(task, lesson, left)
