"""Blocks of time of a series that is longer than memory: what each adds up to, and what rules leave of it.

A squared error needs no more than sums of products, so strengths can be chosen, and students judged, on blocks whose
rows are gone. Windows that reach across a border between two blocks belong to neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from pitskd.linear._evidence import BOTH, LABELLED, Evidence, chain_links, shrunk_path
from pitskd.linear._moments import Affine
from pitskd.linear._states import Walk
from pitskd.windows import PrivilegedWindows

__all__: list[str] = []

Path = list[tuple[np.ndarray, np.ndarray]]  # rules (coef, intercept) of all strengths
STRENGTHS = np.logspace(-2.0, 7.0, 10)  # of penalties and anchors: sums over many rows want strong ones
_FINE = 2  # stretches that are added up for each block, so that blocks can be evened out


class TimeBlocks:
    """Adds up windows that come in order of time.

    Windows of several groups come in order of the file; then blocks of one group may share time with those of another.

    Parameters
    ----------
    read : callable
        Takes a record of windows and returns what it adds up to.
    n_expected : int
        How many windows may come at most.
    n_blocks : int
    stride : int, default=1
        Rows from one window to the next, at least.
    """

    def __init__(
        self, read: Callable[[PrivilegedWindows], Evidence], n_expected: int, n_blocks: int, stride: int = 1
    ) -> None:
        self._read, self._n_expected, self._n_blocks, self._stride = read, n_expected, n_blocks, stride
        self._stretches: dict[int, Evidence] = {}
        self._across: Evidence | None = None
        self._passed = 0

    def add(self, record: PrivilegedWindows) -> None:
        """Add the windows that come next."""
        rows, n_stretches = record.window + int(np.max(record.horizon)) - 1, _FINE * self._n_blocks
        reach = -(-rows // self._stride)  # windows ahead that may share a row
        first = self._passed + np.arange(record.n_windows)
        own, reached = (
            np.minimum(place * n_stretches // self._n_expected, n_stretches - 1) for place in (first, first + reach)
        )
        self._passed += record.n_windows
        for number in np.unique(own):
            inner = (own == number) & (reached == number)
            if inner.any():
                part = self._read(record.take(np.flatnonzero(inner)))
                known = self._stretches.get(int(number))
                self._stretches[int(number)] = part if known is None else known.merged(part)
        if (own != reached).any():
            part = self._read(record.take(np.flatnonzero(own != reached)))
            self._across = part if self._across is None else self._across.merged(part)

    @property
    def blocks(self) -> list[Evidence]:
        """Blocks of about equal numbers of windows; fewer where many windows did not come."""
        stretches = [self._stretches[number] for number in sorted(self._stretches)]
        counts = np.array([stretch.n_labelled for stretch in stretches])
        if not counts.sum():
            return []
        n_blocks = min(self._n_blocks, max(1, len(stretches) // _FINE))
        middle = np.cumsum(counts) - counts / 2
        block = np.minimum((middle * n_blocks / counts.sum()).astype(int), n_blocks - 1)
        joined_up = [joined([stretches[i] for i in np.flatnonzero(block == number)]) for number in np.unique(block)]
        return [one for one in joined_up if one.n_labelled > 1]

    @property
    def total(self) -> Evidence:
        """Return what all windows add up to, those across borders too."""
        return joined([*self._stretches.values(), *([] if self._across is None else [self._across])])


def joined(parts: Sequence[Evidence]) -> Evidence:
    """Return what all parts add up to."""
    return reduce(Evidence.merged, parts)


def left_over(evidence: Evidence, rules: Path) -> np.ndarray:
    """Return the mean square of what every rule leaves of every target, (n_rules, n_targets)."""
    y, columns = evidence.target(), np.arange(evidence.n_features)
    told = [evidence.told(coef, intercept, columns) for coef, intercept in rules]
    left = Affine(np.vstack([y.matrix - one.matrix for one in told]), np.concatenate([-one.shift for one in told]))
    squares = evidence.regression(np.arange(0), dict.fromkeys((BOTH, LABELLED), (left, 1.0))).mean_square()
    return squares.reshape(len(rules), -1)


def chosen_strength(blocks: Sequence[Evidence], path: Callable[[Evidence], Path]) -> float | None:
    """Return the strength of least held-out squared error, ties to the strongest; None without three blocks."""
    if len(blocks) < 3:
        return None
    losses = np.zeros(len(STRENGTHS))
    for number, held_out in enumerate(blocks):
        rules = path(joined([*blocks[:number], *blocks[number + 1 :]]))
        losses += held_out.n_labelled * left_over(held_out, rules).mean(axis=1)
    return float(STRENGTHS[len(losses) - 1 - int(np.argmin(losses[::-1]))])


def plain_path(evidence: Evidence) -> Path:
    """Return ridge regressions at every strength."""
    nothing = np.zeros((evidence.n_targets, evidence.n_features)), np.zeros(evidence.n_targets)
    return shrunk_path(evidence, nothing, STRENGTHS)


def anchored_path(evidence: Evidence, imitation: float, penalty: float) -> Path:
    """Return students shrunk towards a chain, at every anchor."""
    return shrunk_path(evidence, chain_links(evidence, Walk(), imitation, penalty)[0], STRENGTHS)


def chain_path(evidence: Evidence, imitation: float) -> Path:
    """Return the students of chains at every penalty."""
    return [chain_links(evidence, Walk(), imitation, float(penalty))[0] for penalty in STRENGTHS]


def reading(reader: Any) -> Callable[[PrivilegedWindows], Evidence]:
    """Return what reads windows as a regressor that adds rows up does."""

    def read(part: PrivilegedWindows) -> Evidence:
        task = reader._task()
        lesson = reader._read_rows(task, part.X, part.y, part.X_privileged, None, least=1)
        return Evidence.of(lesson, task.one_target)

    return read
