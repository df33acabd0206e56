"""Trailing means that are the same from arrays and row by row.

Every window is the end of one block and the start of the next, so sums of ends and of starts give it in one addition.
Unlike differences of running sums they keep their digits behind a huge value, and unlike a sum over the window their
cost does not depend on its length. Rows before the first count with a value that the caller names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__: list[str] = []

_FEW = 64  # values of a row up to which numpy's own running sum is the faster one


def trailing_mean(values: np.ndarray, length: int, before: Any) -> np.ndarray:
    """Return the mean of each row and the `length` - 1 before it.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
    length : int
    before : float or ndarray of shape (...)
        What rows before the first are taken for.
    """
    n = len(values)
    if length == 1 or n == 0:
        return np.array(values, dtype=np.float64)
    n_blocks = 1 - (-n // length)
    blocks = np.zeros((n_blocks * length, *values.shape[1:]))
    blocks[:length] = before
    blocks[length : length + n] = values
    blocks = blocks.reshape(n_blocks, length, *values.shape[1:])
    starts = np.cumsum(blocks, axis=1)
    ends = np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1]
    starts[1:, :-1] += ends[:-1, 1:]
    means = starts.reshape(n_blocks * length, *values.shape[1:])[length : length + n]
    means /= length
    return means


class Smoother:
    """The trailing mean of rows as they come.

    Parameters
    ----------
    length : int
    shape : tuple
        Of a row.
    before : float or ndarray
        What rows before the first are taken for.
    """

    STATE = ("place", "block", "ends", "start")

    def __init__(self, length: int, shape: tuple[int, ...], before: Any) -> None:
        self.length, self.shape, self.before = length, shape, before
        self.block = np.empty((length, *shape))  # rows of the running block
        self.ends = np.empty((length, *shape))  # sums from each row to the end of the block before
        self.start = np.empty(shape)  # sum of the running block
        self.share = 1.0 / length
        self.restart()

    def restart(self) -> None:
        """Forget the rows so far."""
        self.place = 0
        self.block[:] = self.before
        self._turn()

    def _turn(self) -> None:
        """Make the running block the one before."""
        if self.start.size <= _FEW:
            np.add.accumulate(self.block[::-1], axis=0, out=self.ends[::-1])
        else:  # the former walks through memory column by column
            self.ends[-1] = self.block[-1]
            for place in range(self.length - 2, -1, -1):
                np.add(self.ends[place + 1], self.block[place], out=self.ends[place])
        self.start[:] = 0.0

    def step(self, values: np.ndarray) -> np.ndarray:
        """Take a row, return its trailing mean."""
        if self.length == 1:
            return values
        place = self.place
        self.block[place] = values
        self.start += values
        place += 1
        if place < self.length:
            self.place = place
            mean = self.start + self.ends[place]
            mean *= self.share
            return mean
        mean = self.start * self.share
        self.place = 0
        self._turn()
        return mean
