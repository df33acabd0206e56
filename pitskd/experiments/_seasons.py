"""Seasons as a person gives them, and the clocks that they are counted on: times, months or rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pitskd._series import counts_rows, index_numbers
from pitskd._validation import wrong

__all__: list[str] = []


def usual_season(index: pd.Index, *, step: Any = None) -> tuple[Any, str]:
    """Return the season that a clock suggests, or why it suggests none.

    Parameters
    ----------
    index : Index
        Of the series: times, ascending.
    step : Timedelta, default=None
        From one row to the next, where rows of several groups alternate; None: as the index has it.

    Returns
    -------
    season : Timedelta, "12 months" or None
        A day for steps of a minute to 12 hours, a week for days, 52 weeks for weeks, a year for months.
    reason : str
        Empty where there is one.

    Examples
    --------
    >>> import pandas as pd
    >>> from pitskd.experiments import usual_season
    >>> usual_season(pd.date_range("2024-01-01", periods=9, freq="h"))
    (Timedelta('1 days 00:00:00'), '')
    """
    if not isinstance(index, pd.DatetimeIndex) or len(index) < 2:
        return None, "the rows carry no times that would suggest a season; give --season"
    if step is None:
        forward = np.diff(index.asi8)
        forward = np.sort(forward[forward > 0])  # groups may share times or follow each other
        step = pd.Timedelta(int(forward[(len(forward) - 1) // 2]) if len(forward) else 0, index.unit)
    if pd.Timedelta("1min") <= step <= pd.Timedelta("12h"):
        return pd.Timedelta("1D"), ""
    if step in _SEASONS:
        return _SEASONS[step], ""
    if pd.Timedelta("28D") <= step <= pd.Timedelta("31D"):
        return "12 months", ""
    return None, f"rows {step} apart suggest no season; give --season"


_SEASONS = {pd.Timedelta("1D"): pd.Timedelta("7D"), pd.Timedelta("7D"): pd.Timedelta("364D")}


def clocks(
    index: pd.Index, origin: np.ndarray, season: Any, *, step: float | None = None, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the clock of the series, that of the origins, and the season, all in one unit.

    `step` is the usual step of a group in units of the index, which rows of several groups that alternate hide.
    """
    if isinstance(index, pd.DatetimeIndex):
        return _of_times(index, pd.DatetimeIndex(origin), season, step)
    if not isinstance(season, int):
        expected = f"a number of rows for a file {'without times' if counts_rows(index) else 'whose clock is numbers'}"
        raise wrong("--season", expected, str(season), "Give it in rows, or name a column of times with --time.")
    clock = index_numbers(index)
    if counts_rows(index) and groups is not None:  # rows of a season are rows of a group
        place = pd.Series(clock).groupby(pd.factorize(groups)[0]).cumcount().to_numpy()
        return place, place[np.searchsorted(clock, origin)], float(season)
    return clock, np.asarray(origin), season * (step or 1.0)


def _of_times(
    index: pd.DatetimeIndex, origin: pd.DatetimeIndex, season: Any, step: float | None
) -> tuple[np.ndarray, np.ndarray, float]:
    monthly = season == "12 months"
    if isinstance(season, int):
        monthly = (
            usual_season(index, step=None if step is None else pd.Timedelta(int(step), index.unit))[0] == "12 months"
        )
    if monthly:
        months = [np.asarray(12 * one.year + one.month) for one in (index, origin)]
        return months[0], months[1], 12.0 if isinstance(season, str) else float(season)
    step = step or 1.0
    if isinstance(season, int):
        length = season * step
    elif (length := season / pd.Timedelta(1, index.unit)) < step:
        raise wrong("--season", f"at least one step of the clock, {pd.Timedelta(int(step), index.unit)}",
                    str(season), "Use e.g. 24h.")  # fmt: skip
    return index.asi8, origin.as_unit(index.unit).asi8, length


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
    if days >= 14 and days % 7 == 0:
        return f"{days / 7:g} weeks"
    return f"{days:g} d" if days >= 1 else f"{season / pd.Timedelta('1h'):g} h"
