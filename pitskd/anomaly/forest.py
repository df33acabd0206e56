"""An isolation forest beside the innovations: it sees where a row lies, not whether it was foreseen."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest

from pitskd._random import stage_generator

__all__: list[str] = []


class Forest:
    """Rows as minus the log of their p-value under an isolation forest: 1 on average where nothing is wrong.

    Parameters
    ----------
    rows : ndarray of shape (n, c)
        Normal rows without a hole.
    block : ndarray of shape (n,)
        The forest that scores a block for reference has not seen it.
    random_state : int, generator or None
    """

    def __init__(self, rows: np.ndarray, block: np.ndarray, random_state: Any) -> None:
        seeds = stage_generator(random_state, "isolation forest").integers(2**31, size=1 + len(np.unique(block)))
        self.model = IsolationForest(random_state=int(seeds[0])).fit(rows)
        held_out = np.empty(len(rows))
        for seed, number in zip(seeds[1:], np.unique(block), strict=True):
            inside = block == number
            others = rows if inside.all() else rows[~inside]
            held_out[inside] = -IsolationForest(random_state=int(seed)).fit(others).score_samples(rows[inside])
        self.reference = np.sort(held_out)
        self.held_out_scores = self._surprise(held_out)

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return ``-log p`` of rows (n, c)."""
        return self._surprise(-self.model.score_samples(rows))

    def _surprise(self, scores: np.ndarray) -> np.ndarray:
        n = len(self.reference)
        return -np.log((n + 1.0 - np.searchsorted(self.reference, scores, side="left")) / (n + 1.0))
