"""Streams that a head follows: past rows in a page that is moved once in a while, and what they forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pitskd.anomaly.scorer import Running

if TYPE_CHECKING:
    from pitskd.anomaly.head import Head

__all__: list[str] = []

_SPARE_ROWS = 64  # the newest rows move to the front of their page once in so many rows


class Page:
    """The newest rows of streams side by side, oldest first: (n_streams, n_rows * c)."""

    STATE = ("first", "values")

    def __init__(self, n_streams: int, n_rows: int, n_channels: int) -> None:
        self.n_channels, self.width = n_channels, n_rows * n_channels
        # Many streams move their rows often: pages of their own would not stay in the cache.
        self.values = np.zeros((n_streams, self.width + n_channels * (1 + _SPARE_ROWS // n_streams)))
        self.first = 0  # where the newest `n_rows` rows start

    def push(self, rows: np.ndarray) -> np.ndarray:
        """Add the next row of every stream, return the newest `n_rows`, (n_streams, n_rows * c)."""
        first, width, n_channels, values = self.first + self.n_channels, self.width, self.n_channels, self.values
        if first + width > values.shape[1]:
            values[:, : width - n_channels] = values[:, first : first + width - n_channels].copy()
            first = 0
        self.first = first
        values[:, first + width - n_channels : first + width] = rows
        return values[:, first : first + width]

    def newest(self) -> np.ndarray:
        """Return the newest `n_rows` rows."""
        return self.values[:, self.first : self.first + self.width]


class _Paged(Running):
    """What every stream of a head has: a page of rows, a moving average, and offsets that were learnt."""

    STATE = ("age", "adapted", "offset", "average")

    def __init__(self, head: Head, n_streams: int, n_rows: int) -> None:
        self.head = head
        self.page = Page(n_streams, n_rows, head.n_channels)
        self.offset = np.zeros((n_streams, head.n_innovations))  # what slow adaptation has learnt
        self.adapted = False
        self.average = np.zeros((n_streams, head.n_innovations))
        self.restart()

    def restart(self) -> None:
        """Forget the past rows, as behind a gap; what was learnt stays."""
        self.age = 0
        self.average[:] = 0.0

    def state(self) -> dict[str, Any]:
        """Return all that the next row needs."""
        return super().state() | {f"page_{name}": getattr(self.page, name) for name in Page.STATE}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        super().restore(state)
        for name in Page.STATE:
            setattr(self.page, name, state[f"page_{name}"])

    def _learn(self, innovations: np.ndarray, calm: np.ndarray, share: float) -> None:
        """Move the offsets of calm streams a share towards innovations."""
        self.offset += np.where(calm, share, 0.0)[:, None] * innovations
        self.adapted = True


class RunningOneStep(_Paged):
    """Streams of a linear student of the next row: forecast, difference and whitening are one product."""

    def __init__(self, head: Head, n_streams: int) -> None:
        self.n_lags = head.student.n_lags
        super().__init__(head, n_streams, self.n_lags + 1)

    def step(self, rows: np.ndarray, absent: np.ndarray | None) -> np.ndarray:
        """Take the next row of every stream, return each sensor's part of its raw score, (n_streams, c)."""
        head, age = self.head, self.age
        foreseen = age >= self.n_lags
        if absent is not None:
            forecast = self._forecast(self.page.newest()[:, head.n_channels :]) if foreseen else rows[:, :0]
            rows = head.fill_rows(rows, absent, forecast)
        window = self.page.push(rows)
        self.age = age + 1
        if not foreseen:
            parts = np.full(rows.shape, 1.0 / head.n_channels)
        else:
            z = window.dot(head.folded)
            z += head.folded_intercept
            if self.adapted:
                z -= self.offset.dot(head.roots[0])
            if head.memory is None:
                z *= z
                parts = z
            else:
                parts = head.remember(self.average, z, age - self.n_lags + 1)
        if absent is not None:
            parts = parts + absent * head.absence(int(foreseen))
        return parts if head.forest is None else 0.5 * (parts + head.opinion(rows))

    def _forecast(self, window: np.ndarray) -> np.ndarray:
        return self.head.student.forecast_flat(window) + self.offset

    def adapt(self, calm: np.ndarray, share: float) -> None:
        """Move the offsets of calm streams a share towards their innovations."""
        if self.age > self.n_lags:
            window, n_channels = self.page.newest(), self.head.n_channels
            innovations = window[:, -n_channels:] - self._forecast(window[:, :-n_channels])
            self._learn(innovations, calm, share)


class RunningHead(_Paged):
    """Past rows and the forecasts made from them."""

    def __init__(self, head: Head, n_streams: int) -> None:
        self.n_history = head.n_history
        self.n_lags, self.horizons = head.student.n_lags, head.student.horizons
        # Of every horizon the last forecasts, each (n_streams, c), in the place of the row that they are of.
        self.ahead = [[np.zeros((n_streams, head.n_channels))] * horizon for horizon in self.horizons]
        self.innovations: np.ndarray | None = None
        super().__init__(head, n_streams, self.n_lags)

    def state(self) -> dict[str, Any]:
        """Return all that the next row needs."""
        return super().state() | {f"ahead_{n}": np.array(kept) for n, kept in enumerate(self.ahead)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        super().restore(state)
        self.ahead = [list(state[f"ahead_{n}"]) for n in range(len(self.horizons))]

    def step(self, rows: np.ndarray, absent: np.ndarray | None) -> np.ndarray:
        """Take the next row of every stream, return each sensor's part of its raw score, (n_streams, c)."""
        head, age = self.head, self.age
        g = head.n_horizons if age >= self.n_history else head.n_available(age)
        expected = [self.ahead[n][age % self.horizons[n]] for n in range(g)]
        forecast = expected[0] if g == 1 else np.hstack(expected) if g else rows[:, :0]
        if self.adapted:
            forecast = forecast + self.offset[:, : forecast.shape[1]]
        if absent is not None:
            rows = head.fill_rows(rows, absent, forecast)
        self._remember(rows)
        if g == head.n_horizons:
            self.innovations = innovations = (rows if g == 1 else np.tile(rows, g)) - forecast
            z = innovations.dot(head.roots[-1])
            if head.memory is None:
                z *= z
            else:
                z = head.remember(self.average, z, age - self.n_history + 1)
            parts = z if g == 1 else z.reshape(len(rows), g, -1).sum(axis=1)
        else:
            self.innovations = None
            parts = self._first_parts(rows, forecast, g)
        if absent is not None:
            parts = parts + absent * head.absence(g)
        return parts if head.forest is None else 0.5 * (parts + head.opinion(rows))

    def _first_parts(self, rows: np.ndarray, forecast: np.ndarray, g: int) -> np.ndarray:
        """Return the parts while only the shortest `g` horizons have a forecast."""
        parts = np.full(rows.shape, (self.head.n_horizons - g) / self.head.n_innovations)
        if g:
            z = (np.tile(rows, g) - forecast).dot(self.head.roots[g - 1])
            parts += (z * z).reshape(len(rows), g, -1).sum(axis=1)
        return parts

    def _remember(self, rows: np.ndarray) -> None:
        """Store the rows and what they forecast."""
        window, n_channels = self.page.push(rows), rows.shape[1]
        if self.age >= self.n_lags - 1:
            forecasts = self.head.student.forecast_flat(window)
            for number, horizon in enumerate(self.horizons):
                part = forecasts[:, number * n_channels : (number + 1) * n_channels]
                self.ahead[number][self.age % horizon] = part
        self.age += 1

    def adapt(self, calm: np.ndarray, share: float) -> None:
        """Move the offsets of calm streams a share towards their innovations."""
        if self.innovations is not None:
            self._learn(self.innovations, calm, share)
