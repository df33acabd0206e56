"""Splits of windows by the time they span: whatever shares a moment with a held-out window teaches nobody.

Groups (cities, runs) share time too: windows of another group at the same time are kept out of training as well.
"""

from __future__ import annotations

import numpy as np

from pitskd._folds import time_block_numbers
from pitskd._random import stage_generator
from pitskd._validation import wrong

__all__: list[str] = []

_LEAST = 4  # blocks
_STEP = "Use a longer file, a shorter --window or --horizon, or a smaller --stride."


def time_splits(
    spans: np.ndarray, y: np.ndarray, taught: np.ndarray, *, classify: bool, n_splits: int, random_state: int,
    step: str = _STEP,
) -> list[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """Draw distinct splits that hold out a quarter of the blocks of time, each block about equally often.

    Parameters
    ----------
    spans : ndarray of shape (n, 2)
        First and last moment of each window, ascending in the first.
    y : ndarray of shape (n,)
    taught : ndarray of bool of shape (n,)
        Windows that have a privileged part.
    classify : bool
        Whether a training part needs two classes.
    n_splits : int
    random_state : int
    step : str
        What to do where there are too few windows.

    Raises
    ------
    ValueError
        If there are too few windows apart from each other.
    """
    n = len(spans)
    last = np.maximum.accumulate(spans[:, 1])
    gap = int((np.searchsorted(spans[:, 0], last, side="right") - 1 - np.arange(n)).max())
    block = time_block_numbers(n, gap)
    splits: list[tuple[np.ndarray, np.ndarray]] = []
    drawn: set[frozenset[int]] = set()
    generator = stage_generator(random_state, "time splits")
    for _ in range(10 * n_splits if block.max() + 1 >= _LEAST else 0):
        for part in np.array_split(generator.permutation(block.max() + 1), 4):
            held_out = frozenset(part.tolist())
            if len(splits) == n_splits or held_out in drawn:
                continue
            drawn.add(held_out)
            train = _clear_of(spans, block, part)
            learnt = y[train[taught[train]]]
            if len(np.unique(learnt)) > 1 if classify else len(learnt) > 1:
                splits.append((train, np.flatnonzero(np.isin(block, part))))
    if len(splits) < 2:
        found = f"{n} windows, of which {gap + 1} in a row share time" if gap else f"{n} windows"
        found += "" if taught.all() else f", and {taught.sum()} with a whole privileged part"
        classes = ", of two classes" if classify else ""
        expected = f"long enough to learn from three quarters of its time and test on the rest{classes}"
        raise wrong("FILE", expected, found, step)
    return splits


def _clear_of(spans: np.ndarray, block: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return the windows that share no moment with a block that is held out."""
    clear = np.ones(len(spans), dtype=bool)
    for number in part:
        held_out = spans[block == number]
        clear &= (spans[:, 1] < held_out[:, 0].min()) | (spans[:, 0] > held_out[:, 1].max())
    return np.flatnonzero(clear)
