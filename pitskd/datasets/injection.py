"""Known anomalies put into a log of one's own, for users without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pitskd._random import stage_generator
from pitskd._validation import (
    check_complete,
    check_floats,
    check_integer,
    check_positive,
    check_text_free,
    is_list,
    wrong,
)

__all__ = ["inject_anomalies"]


def inject_anomalies(
    X: Any,
    *,
    kinds: str | Sequence[str] = ("spike", "level_shift", "drift", "stuck", "variance", "correlation"),
    n_events: int | None = None,
    length: int | tuple[int, int] = 30,
    size: float = 3.0,
    margin: int | None = None,
    random_state: Any = None,
) -> tuple[Any, Any, pd.DataFrame]:
    """Put labelled anomalies into a copy of a log, each in one channel for some rows.

    Shows which kinds and sizes of anomaly a detector would find in *your* normal data, before any real one happened.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_rows, n_channels)
        Rows in order of time, normal as far as known; NaN allowed. It is not changed.
    kinds : str or sequence of str, default=all
        What happens in the rows of an event, with s the standard deviation of the channel over the whole log:

        * "spike": ``size * s`` is added to or subtracted from a single row, whatever `length` says;
        * "level_shift": ``size * s`` is added or subtracted;
        * "drift": the same, growing linearly from ``size * s / length`` in the first row to ``size * s`` in the last;
        * "stuck": the last value before the event is held;
        * "variance": deviations from the mean of the event's rows are multiplied by `size`;
        * "correlation": the rows are played backwards: the channel keeps its values and its rhythm but no longer
          follows the others. Needs a second channel.
    n_events : int, default=None
        Number of events; the kinds take turns, in random order. None: one of each kind.
    length : int or (int, int), default=30
        Rows of an event, at least 2; a pair is a range, ends included, from which each event draws.
    size : float, default=3.0
        Above 0; see `kinds`. "stuck" and "correlation" have none.
    margin : int, default=None
        Fewest unchanged rows before, between and after events, at least 1. None: the longest event.
    random_state : int, Generator or None, default=None
        Decides order, place, channel, length and sign. The same integer gives the same events.

    Returns
    -------
    X : DataFrame or ndarray of shape (n_rows, n_channels)
        A float64 copy of the same kind. Rows outside events, and other channels in them, are those given, bit for bit;
        NaN stays NaN.
    anomaly : Series or ndarray of bool, shape (n_rows,)
        Whether a row lies in an event.
    events : DataFrame of shape (n_events, 5)
        In order of time: ``kind``, ``channel`` (its name; its position in an array), ``start`` and ``stop`` (first and
        one-past-last row), ``size`` (signed multiple of s; the factor of "variance"; NaN where there is none).

    Raises
    ------
    ValueError
        If a kind is unknown, the log too short for the events and their margins, no channel varies, or a parameter is
        out of range.

    Notes
    -----
    Channels that never vary are left alone: an anomaly of zero size is none. The standard deviation is that of the
    values, not of their increments: on a channel with a trend, `size` counts in units of the trend.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> X_new, anomaly, events = inject_anomalies(X, kinds="stuck", n_events=2, length=10, random_state=0)
    >>> anomaly.sum(), (X_new == X)[~anomaly].all()
    (np.int64(20), np.True_)
    >>> events["kind"].tolist(), (events["stop"] - events["start"]).tolist()
    (['stuck', 'stuck'], [10, 10])
    """
    values = _values(X)
    spreads = np.array([np.nanstd(column) if np.isfinite(column).any() else 0.0 for column in values.T])
    varying = np.flatnonzero(spreads > 0)
    if not len(varying):
        raise wrong("X", "such that a channel varies", "constant channels", "Pass a log of sensors that move.")
    generator = stage_generator(random_state, "anomalies")
    chosen = _chosen(kinds, n_events, values.shape[1], generator)
    low, high = _length_range(length)
    lengths = np.where(chosen == "spike", 1, generator.integers(low, high, size=len(chosen), endpoint=True))
    starts = _places(lengths, len(values), _margin(margin, lengths), generator)
    factor = check_positive("size", size, "Use multiples of the standard deviation, such as 3.")
    out, rows = values.copy(), []
    for kind, start, n_rows in zip(chosen, starts, lengths, strict=True):
        channel = int(generator.choice(varying))
        effect = _size_of(kind, factor, generator)
        column = out[:, channel]
        column[start : start + n_rows] = _ANOMALIES[kind](column, start, start + n_rows, effect, spreads[channel])
        rows.append((kind, _label(X, channel), int(start), int(start + n_rows), effect))
    events = pd.DataFrame(rows, columns=pd.Index(["kind", "channel", "start", "stop", "size"]))
    return _like(X, out), _mask(X, events, len(values)), events


# ---------------------------------------------------------------- the anomalies: new values of rows start to stop


def _spike(column: np.ndarray, start: int, stop: int, size: float, spread: float) -> np.ndarray:
    return column[start:stop] + size * spread


def _drift(column: np.ndarray, start: int, stop: int, size: float, spread: float) -> np.ndarray:
    ramp = np.arange(1, stop - start + 1) / (stop - start)
    return column[start:stop] + size * spread * ramp


def _stuck(column: np.ndarray, start: int, stop: int, size: float, spread: float) -> np.ndarray:
    segment, earlier = column[start:stop], column[:start][np.isfinite(column[:start])]
    held = earlier[-1] if len(earlier) else np.nanmean(column)
    return np.where(np.isnan(segment), np.nan, held)


def _variance(column: np.ndarray, start: int, stop: int, size: float, spread: float) -> np.ndarray:
    segment = column[start:stop]
    if np.isnan(segment).all():
        return segment
    middle = np.nanmean(segment)
    return middle + size * (segment - middle)


def _correlation(column: np.ndarray, start: int, stop: int, size: float, spread: float) -> np.ndarray:
    segment = column[start:stop].copy()
    observed = np.isfinite(segment)
    segment[observed] = segment[observed][::-1]
    return segment


_ANOMALIES: dict[str, Callable[[np.ndarray, int, int, float, float], np.ndarray]] = {
    "spike": _spike,
    "level_shift": _spike,
    "drift": _drift,
    "stuck": _stuck,
    "variance": _variance,
    "correlation": _correlation,
}


def _size_of(kind: str, size: float, generator: np.random.Generator) -> float:
    sign = generator.choice([-1.0, 1.0])
    if kind in ("stuck", "correlation"):
        return np.nan
    return size if kind == "variance" else float(sign * size)


# ---------------------------------------------------------------- which, where, and in which form


def _chosen(kinds: Any, n_events: Any, n_channels: int, generator: np.random.Generator) -> np.ndarray:
    listed = list(kinds) if is_list(kinds) else [kinds]
    unknown = [kind for kind in listed if not isinstance(kind, str) or kind not in _ANOMALIES]
    if unknown or not listed:
        raise wrong("kinds", "among the known kinds", unknown or "none", f"They are: {', '.join(_ANOMALIES)}.")
    if "correlation" in listed and n_channels < 2:
        raise wrong("kinds", "without 'correlation' for a single channel", kinds, "It breaks a relation between two.")
    step = "Use None for one event of each kind."
    n_chosen = len(listed) if n_events is None else check_integer("n_events", n_events, minimum=1, step=step)
    return generator.permutation(np.resize(np.array(listed), n_chosen))


def _length_range(length: Any) -> tuple[int, int]:
    step = "Use a number of rows, or a pair for a range."
    ends = list(length) if is_list(length) and len(length) else [length, length]
    low, high = (check_integer("length", end, minimum=2, step=step) for end in (ends[0], ends[-1]))
    if len(ends) != 2 or low > high:
        raise wrong("length", "a number of rows or a pair in ascending order", length, step)
    return low, high


def _margin(margin: Any, lengths: np.ndarray) -> int:
    if margin is None:
        return int(lengths.max())
    return check_integer("margin", margin, minimum=1, step="Use None for the length of the longest event.")


def _places(lengths: np.ndarray, n_rows: int, margin: int, generator: np.random.Generator) -> np.ndarray:
    """Return first rows of events in the order given, all possible placements alike likely."""
    needed = int(lengths.sum()) + margin * (len(lengths) + 1)
    if needed > n_rows:
        step = "Use fewer or shorter events, or a smaller margin."
        raise wrong("X", f"of at least {needed} rows for {len(lengths)} events", f"{n_rows} rows", step)
    # Stars and bars: distinct draws, less their rank, are sorted draws with repeats, each multiset alike likely.
    free = n_rows - needed
    drawn = np.sort(generator.choice(free + len(lengths), size=len(lengths), replace=False))
    before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return drawn - np.arange(len(lengths)) + before + margin * np.arange(1, len(lengths) + 1)


def _values(X: Any) -> np.ndarray:
    check_text_free("X", X)
    values = check_floats("X", X)
    if values.ndim != 2 or 0 in values.shape:
        raise wrong(
            "X", "of shape (n_rows, n_channels), not empty", f"shape {values.shape}", "Pass X[:, None] for one."
        )
    return check_complete("X", values, allow_nan=True, step="Replace infinities by NaN.")


def _label(X: Any, channel: int) -> Any:
    return X.columns[channel] if isinstance(X, pd.DataFrame) else channel


def _like(X: Any, values: np.ndarray) -> Any:
    if not isinstance(X, pd.DataFrame):
        return values
    frame = pd.DataFrame(values, index=X.index, columns=X.columns)
    frame.attrs = dict(X.attrs)
    return frame


def _mask(X: Any, events: pd.DataFrame, n_rows: int) -> Any:
    anomaly = np.zeros(n_rows, dtype=bool)
    for start, stop in zip(events["start"], events["stop"], strict=True):
        anomaly[start:stop] = True
    return pd.Series(anomaly, index=X.index, name="anomaly") if isinstance(X, pd.DataFrame) else anomaly
