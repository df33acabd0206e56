"""Seasons as a person gives them, and the clocks that they are counted on: times, months or rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pitskd._series import index_numbers
from pitskd._validation import wrong
from pitskd.experiments.references import usual_season

__all__: list[str] = []


def clocks(index: pd.Index, origin: np.ndarray, season: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the clock of the series, that of the origins, and the season, all in one unit."""
    if isinstance(index, pd.DatetimeIndex):
        asked = pd.DatetimeIndex(origin).tz_localize(None) if len(origin) else pd.DatetimeIndex([])
        index = index.tz_localize(None)
        monthly = season == "12 months" or (isinstance(season, int) and usual_season(index)[0] == "12 months")
        if monthly:
            months = [np.asarray(12 * one.year + one.month) for one in (index, asked)]
            return months[0], months[1], 12.0 if isinstance(season, str) else float(season)
        clock, start = index_numbers(index), asked.as_unit(index.unit).asi8
        period = _period(clock)
        if isinstance(season, int):
            return clock, start, season * period
        length = season / pd.Timedelta(1, index.unit)
        if length < period:
            raise wrong("--season", f"at least one step of the clock, {pd.Timedelta(int(period), index.unit)}",
                        str(season), "Use e.g. 24h.")  # fmt: skip
        return clock, start, length
    if not isinstance(season, int):
        step = "Give it in rows, or name the time column with --time."
        raise wrong("--season", "a number of rows for a file without times", str(season), step)
    clock = index_numbers(index)
    return clock, np.asarray(origin), season * _period(clock)


def _period(clock: np.ndarray) -> float:
    steps = np.diff(clock)
    forward = steps[steps > 0]
    return float(np.quantile(forward, 0.5, method="lower")) if len(forward) else 1.0


def read_season(season: Any) -> Any:
    """Return a season as a number of rows, a Timedelta or None."""
    step = "Use a number of rows such as 24, or a time such as 24h."
    if season is None:
        return None
    if isinstance(season, int | np.integer) or (isinstance(season, str) and season.strip().isdecimal()):
        rows = int(season)
        if rows < 1 or isinstance(season, bool):
            raise wrong("--season", "at least one row", season, step)
        return rows
    try:
        length = pd.Timedelta(season)
    except (ValueError, TypeError):
        length = pd.NaT
    if not length > pd.Timedelta(0):
        raise wrong("--season", "a number of rows or a time", season, step)
    return length


def season_in_words(season: Any) -> str:
    if isinstance(season, int):
        return f"{season} rows"
    if isinstance(season, str):
        return season
    days = season / pd.Timedelta("1D")
    return f"{days:g} d" if days >= 1 else f"{season / pd.Timedelta('1h'):g} h"
