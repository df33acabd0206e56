"""What every scorer of rows offers: numbers for whole arrays, and a state that takes rows one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__: list[str] = []


class Scorer(ABC):
    """What gives rows a raw score, about 1 where nothing is wrong, and each sensor its part in it."""

    n_channels: int

    @abstractmethod
    def raw_scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the raw scores of consecutive rows (n, c), NaN where missing."""

    @abstractmethod
    def contributions(self, rows: np.ndarray) -> np.ndarray:
        """Return each sensor's part of the raw score of consecutive rows (n, c), NaN where missing."""

    @abstractmethod
    def start(self, n_streams: int) -> Running:
        """Return the state of fresh streams."""

    @abstractmethod
    def identity(self) -> Sequence[np.ndarray]:
        """Return the numbers that tell this scorer from another."""


class Running(ABC):
    """The state of streams that a scorer follows; the attributes named in `STATE` are all that the next row needs."""

    STATE: tuple[str, ...]

    @abstractmethod
    def restart(self) -> None:
        """Forget the past rows, as behind a gap."""

    @abstractmethod
    def step(self, rows: np.ndarray, absent: np.ndarray | None) -> np.ndarray:
        """Take the next row of every stream, return each sensor's part of its raw score, (n_streams, c)."""

    def state(self) -> dict[str, Any]:
        """Return all that the next row needs."""
        return {name: getattr(self, name) for name in self.STATE}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        for name in self.STATE:
            setattr(self, name, state[name])

    def adapt(self, calm: np.ndarray, share: float) -> None:  # noqa: B027  not every scorer learns while it runs
        """Let streams move a share towards what was not foreseen in the row just taken, where they are calm."""
