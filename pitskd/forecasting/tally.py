"""What the rows of a file come to while they pass by: counts, ranges and the usual step, without a second look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pitskd.forecasting.clock import Clock

__all__: list[str] = []


class Tally:
    """What the rows of a file came to while they passed by."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.low = self.high = pd.Series(dtype=np.float64)
        self.present = pd.Series(dtype=np.int64)  # rows with a value, by column
        self.runs: Counter[Any] = Counter()  # rows, by group

    def add(self, frame: pd.DataFrame, group: str | None) -> None:
        """Count the rows of one part."""
        labels = None if group is None else frame[group]
        values = frame if group is None else frame.drop(columns=group)
        self.runs.update({None: len(frame)} if labels is None else labels.value_counts().to_dict())
        self.clock.add(frame.index, labels)
        self.low = pd.concat([self.low, values.min()]).groupby(level=0).min() if len(self.low) else values.min()
        self.high = pd.concat([self.high, values.max()]).groupby(level=0).max() if len(self.high) else values.max()
        self.present = self.present.add(values.count(), fill_value=0)

    def room(self, needed: int, stride: int = 1) -> int:
        """Return how many windows of so many rows the groups have room for."""
        return sum(1 + (n_rows - needed) // stride for n_rows in self.runs.values() if n_rows >= needed)

    def ranges(self, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Return the least and the largest value of columns."""
        return {name: (float(self.low[name]), float(self.high[name])) for name in names}
