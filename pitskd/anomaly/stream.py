"""Rows one by one, from one stream or many at once: the same numbers as from an array, in constant memory."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Collection, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import pitskd
from pitskd._files import replacing
from pitskd._validation import check_floats, check_text_free, wrong
from pitskd.anomaly._clock import Clock
from pitskd.anomaly.calibration import Calibration, Level
from pitskd.anomaly.scorer import Scorer
from pitskd.anomaly.smoothing import Smoother

__all__ = ["Alarm"]

_FLOAT = np.dtype(np.float64)  # of which numpy keeps one
_FORMAT = 1  # of a saved state


class Alarm(NamedTuple):
    """What a detector says of one row, or of one row of each of many streams.

    Parameters
    ----------
    score : float or ndarray of shape (n_streams,)
        Smoothed anomaly score, about 1 on normal rows; larger is more anomalous.
    p_value : float or ndarray of shape (n_streams,)
        Share of normal rows at least as anomalous, in (0, 1].
    is_anomaly : bool or ndarray of shape (n_streams,)
    contributions : ndarray of shape (n_channels,) or (n_streams, n_channels)
        Part of each sensor in the score; they sum to it and none is negative.
    event : int or ndarray of shape (n_streams,)
        Number of the event that the row belongs to, from 1; 0 outside events.
    n_missing : int or ndarray of shape (n_streams,)
        Sensors without a value in this row.

    Examples
    --------
    >>> import numpy as np
    >>> Alarm(3.2, 0.004, True, np.array([3.0, 0.2]), 1, 0).is_anomaly
    True
    """

    score: Any
    p_value: Any
    is_anomaly: Any
    contributions: Any
    event: Any
    n_missing: Any


class Stream:
    """The state of running streams that tick together.

    Parameters
    ----------
    scorer : Scorer
    calibration : Calibration
    smoothing : int
    n_streams : int or None
        None for one stream, whose alarms hold numbers instead of arrays.
    missing : "marginal", "flag" or "raise"
    clock : Clock
    names : tuple or None
        Names of the sensors.
    centre : ndarray of shape (n_channels,)
        What rows are counted from.
    """

    def __init__(
        self,
        scorer: Scorer,
        calibration: Calibration,
        smoothing: int,
        n_streams: int | None,
        *,
        missing: str,
        clock: Clock,
        names: tuple[Any, ...] | None,
        centre: np.ndarray,
    ) -> None:
        self.scorer, self.calibration, self.n_streams = scorer, calibration, n_streams
        self.missing, self.clock, self.names, self.centre = missing, clock, names, centre
        width = 1 if n_streams is None else max(n_streams, 1)
        self.shape = (width, scorer.n_channels)
        self.row_shape = self.shape[1:] if n_streams is None else self.shape
        self.channel_ones = np.ones(scorer.n_channels)
        self.no_missing: Any = 0 if n_streams is None else np.zeros(width, dtype=np.int64)
        self.running = scorer.start(width)
        self.smoother = Smoother(smoothing, self.shape, 1.0 / scorer.n_channels)
        self.above: Any = self.no_missing
        self.below: Any = self.no_missing
        self.lasting: Any = False if n_streams is None else np.zeros(width, dtype=bool)
        self.alarmed: Any = self.lasting  # with rows that are an alarm by themselves
        self.lasted: Any = self.no_missing
        self.n_events: Any = self.no_missing
        self.levels = [] if calibration.reference is None else [calibration.level() for _ in range(width)]
        self.time: float | None = None
        self.last: Alarm | None = None

    def update(self, x: Any, time: Any, adaptation: float) -> Alarm:
        """Take the next row of every stream as the user gives it."""
        rows = x if type(x) is np.ndarray and x.dtype is _FLOAT else self._read(x)
        if rows.shape != self.row_shape or not rows.size:
            expected = f"of shape {self.row_shape}, one value per sensor"
            raise wrong("x", expected, f"shape {rows.shape}", "Call reset before streams of another number.")
        total = rows.dot(self.channel_ones)  # of a value that is not finite, neither is the sum
        rows = rows.reshape(self.shape)
        n_missing = self.no_missing
        if not isfinite(total if self.n_streams is None else total.sum()):
            n_missing = self._count_missing(rows)
        if time is not None and not self._advance(time):
            assert self.last is not None
            return self.last
        self.last = self.step(rows - self.centre, n_missing, adaptation)
        return self.last

    def _read(self, x: Any) -> np.ndarray:
        """Return a row, or a row of every stream, as floats."""
        if isinstance(x, Mapping):
            names = self._known(x, x)
            values = [x[name] for name in names]
            if not all(type(value) is float or type(value) is int for value in values):
                values = [self._value(x, name) for name in names]
            return np.array(values, dtype=np.float64)
        if isinstance(x, pd.Series | pd.DataFrame):
            names = list(x.index if isinstance(x, pd.Series) else x.columns)
            if self.names is not None and names != self._known(x, names):
                raise wrong("x", f"in the order of fit: {list(self.names)}", names, "Use x[model.feature_names_in_].")
            x = x.to_numpy()
        check_text_free("x", x)
        return check_floats("x", x)

    def _known(self, x: Any, names: Collection[Any]) -> list[Any]:
        """Return the names of fit, after a look whether the row has them all and no other."""
        if self.names is not None and len(names) == len(self.names) and all(name in names for name in self.names):
            return list(self.names)
        if self.names is None:
            raise wrong("x", "an array of values", x, "The detector was fitted to an array, which has no names.")
        absent = [name for name in self.names if name not in names]
        extra = [name for name in names if name not in self.names]
        if absent or extra:
            found = " and ".join(f"{what} {listed}" for what, listed in [("no", absent), ("unknown", extra)] if listed)
            raise wrong("x", "a row with the sensors of fit", found, f"They are: {list(self.names)}.")
        return list(self.names)

    @staticmethod
    def _value(x: Mapping[Any, Any], name: Any) -> float:
        shown = f"x[{name!r}]"
        check_text_free(shown, x[name])
        value = check_floats(shown, x[name])
        if value.ndim:
            raise wrong(shown, "a number", x[name], "Pass one row at a time.")
        return float(value)

    def _count_missing(self, rows: np.ndarray) -> Any:
        """Return how many sensors of each stream are missing; refuse infinities."""
        absent = np.isnan(rows)
        if np.isinf(rows).any():
            raise wrong("x", "finite or NaN", rows.tolist() if len(rows) == 1 else "infinity", "The row was not taken.")
        if self.missing == "raise" and absent.any():
            raise wrong("x", "without NaN", rows.tolist(), 'Use missing="marginal" to score what is observed.')
        counts = absent.sum(axis=1)
        return int(counts[0]) if self.n_streams is None else counts

    def _advance(self, time: Any) -> bool:
        """Move the clock; return whether the row is a new one."""
        now = self.clock.stamp(time)
        if now is None:
            return True
        if self.time is not None:
            if now < self.time:
                raise wrong(
                    "time", "not before that of the row before", time, "The row was not taken: send rows in order."
                )
            if now == self.time:
                return False
            if now - self.time > self.clock.longest:
                self.restart()
        self.time = now
        return True

    def restart(self) -> None:
        """Forget the past rows, as behind a gap; events, what is usual and what was learnt stay."""
        self.running.restart()
        self.smoother.restart()

    def step(self, rows: np.ndarray, n_missing: Any, adaptation: float = 0.0) -> Alarm:
        """Take the next row of every stream, (n_streams, c) with NaN where missing."""
        absent = None if n_missing is self.no_missing else np.isnan(rows)
        contributions = self.smoother.step(self.running.step(rows, absent))
        calibration, before = self.calibration, self.alarmed
        if self.n_streams is None:
            contributions = contributions[0]
            score: Any = float(contributions.dot(self.channel_ones))
            usual = score
            if self.levels:
                median = self.levels[0].median()
                score, contributions = score / median, contributions / median
            p_value: Any = calibration.p_value(score)
        else:
            score = contributions @ self.channel_ones
            usual = score
            if self.levels:
                median = np.array([level.median() for level in self.levels])
                score, contributions = score / median, contributions / median[:, None]
            p_value = calibration.p_values(score)
        # Of numbers too large to be squared a score may be NaN: that is no calm.
        alarmed: Any = (
            not score <= calibration.threshold if self.n_streams is None else ~(score <= calibration.threshold)
        )
        if not calibration.debounce.is_idle:
            step = calibration.debounce.step
            self.above, self.below, self.lasting = step(alarmed, self.above, self.below, self.lasting)
            alarmed = self.lasting
        if self.missing == "flag":
            alarmed = alarmed | (n_missing > 0)
        self.n_events = self.n_events + (alarmed > before)
        self.alarmed = alarmed
        if self.levels:
            self._follow(usual, alarmed)
        if adaptation:
            self.running.adapt(~np.broadcast_to(alarmed, len(rows)), adaptation)
        return Alarm(score, p_value, alarmed, contributions, self.n_events * alarmed, n_missing)

    def _follow(self, scores: Any, alarmed: Any) -> None:
        """Let the running medians of streams without an alarm, or with one for too long, take their newest scores."""
        self.lasted = (self.lasted + 1) * alarmed
        frozen = (self.lasted > 0) & (self.lasted <= self.calibration.patience)
        for level, score, still in zip(self.levels, np.atleast_1d(scores), np.atleast_1d(frozen), strict=True):
            if not still:
                level.push(float(score))

    _STATE = ("time", "above", "below", "lasting", "alarmed", "lasted", "n_events")

    def state(self) -> dict[str, Any]:
        """Return everything that the next row depends on."""
        values = {name: getattr(self, name) for name in self._STATE}
        values |= {f"running_{name}": value for name, value in self.running.state().items()}
        values |= {f"smoother_{name}": getattr(self.smoother, name) for name in Smoother.STATE}
        values |= {f"level_{number}": np.array(level.recent) for number, level in enumerate(self.levels)}
        values |= {} if self.last is None else {f"last_{name}": value for name, value in self.last._asdict().items()}
        return {"fingerprint": self.fingerprint(), "n_streams": self.n_streams, **values}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        if state["fingerprint"] != self.fingerprint():
            step = "Load the detector that the state was saved with."
            raise wrong("path", "a state of this detector", "one of another", step)
        for name in self._STATE:
            setattr(self, name, state[name])
        prefix = "running_"
        self.running.restore({name.removeprefix(prefix): value for name, value in state.items() if prefix in name})
        for name in Smoother.STATE:
            setattr(self.smoother, name, state[f"smoother_{name}"])
        self.levels = [Level(self.calibration.drift, state[f"level_{n}"]) for n in range(len(self.levels))]
        self.last = Alarm(*(state[f"last_{name}"] for name in Alarm._fields)) if "last_score" in state else None

    def fingerprint(self) -> str:
        """Return a digest of what scores and alarms depend on."""
        digest = hashlib.sha256()
        settings = np.array([self.calibration.threshold, self.calibration.drift, self.smoother.length])
        for array in (*self.scorer.identity(), self.centre, settings):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((self.names, self.missing, self.calibration.debounce, self.calibration.patience)).encode())
        return digest.hexdigest()


def save_state(stream: Stream, path: Any) -> None:
    """Write the state beside `path` and rename, so that a stop leaves the old file or the new one."""
    state = stream.state()
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    plain = {name: _plain(value) for name, value in state.items() if name not in arrays}
    header = json.dumps({"format": _FORMAT, "pitskd": pitskd.__version__, **plain})
    with replacing(Path(path)) as file:
        np.savez(file, allow_pickle=False, header=np.array(header), **arrays)


def read_state(path: Any) -> dict[str, Any]:
    """Return what `save_state` wrote."""
    step = "Pass a file that save_state wrote."
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:  # np.load leaves broken ones open
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
    except (ValueError, KeyError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile):
        raise wrong("path", "a saved state", str(path), step) from None
    if header.pop("format", None) != _FORMAT:
        version = header.get("pitskd", "an unknown version")
        raise wrong(
            "path", f"a state of format {_FORMAT}", f"one written by pitskd {version}", "Start the stream afresh."
        )
    return header | arrays


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
