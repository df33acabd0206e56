"""A fitted detector under the protocol of river: `score_one` looks at a row, `learn_one` takes it.

River itself is not needed. Where it is imported, its classes take the adaptor for one of their anomaly detectors.
"""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from pitskd._validation import check_choice, wrong
from pitskd.anomaly.calibration import Level
from pitskd.anomaly.detector import PrivilegedAnomalyDetector
from pitskd.anomaly.running import Page
from pitskd.anomaly.scorer import Running
from pitskd.anomaly.smoothing import Smoother
from pitskd.anomaly.stream import Alarm, Stream

__all__ = ["RiverAdapter"]


class RiverAdapter:
    """A fitted detector as a step of a river pipeline.

    The detector is trained beforehand, from a log; in the pipeline it follows one stream, row by row. A row is seen
    twice there, and counted once: what `score_one` computed is kept for the `learn_one` of the same row.

    Parameters
    ----------
    detector : PrivilegedAnomalyDetector
        Fitted on a frame, whose columns are the keys of the rows. Its running stream is the one that is followed.
    learn : bool, default=True
        Whether the detector moves slowly with normal rows, as ``update(x, learn=True)`` does.

    Raises
    ------
    TypeError
        If `detector` is no `PrivilegedAnomalyDetector`.

    Notes
    -----
    In a filter of river set ``protect_anomaly_detector=False``: it would keep anomalous rows from the stream, and the
    rows behind them would be forecast from a past that is not theirs. The detector itself stops learning while an alarm
    lasts. Scores have no upper end; metrics of river that expect [0, 1], such as ``metrics.ROCAUC``, do not fit, while
    ``metrics.RollingROCAUC`` does.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from pitskd.anomaly import PrivilegedAnomalyDetector
    >>> log = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 2)), columns=["flow", "heat"])
    >>> model = RiverAdapter(PrivilegedAnomalyDetector(n_lags=1, smoothing=1).fit(log))
    >>> for x in [{"flow": 0.1, "heat": 0.2}, {"flow": 0.0, "heat": -0.3}, {"flow": 9.0, "heat": 0.0}]:
    ...     score = model.score_one(x)
    ...     model.learn_one(x)
    >>> score > 10
    True
    """

    _supervised = False  # river asks every step
    _tags: frozenset[str] = frozenset()

    def __init__(self, detector: PrivilegedAnomalyDetector, learn: bool = True) -> None:
        if not isinstance(detector, PrivilegedAnomalyDetector):
            step = "Fit one and pass it."
            raise wrong("detector", "a fitted PrivilegedAnomalyDetector", detector, step, TypeError)
        self.detector = detector
        self.learn = check_choice("learn", learn, (True, False), "Use False for a detector that stays as fitted.")
        self._seen: tuple[Any, ...] | None = None
        base = sys.modules.get("river.base")
        if base is not None:
            base.AnomalyDetector.register(RiverAdapter)

    def score_one(self, x: Mapping[Any, Any], t: Any = None) -> float:
        """Return the anomaly score that `x` would have as the next row; nothing changes.

        Parameters
        ----------
        x : mapping
            Value of each sensor, NaN or None where missing.
        t : datetime, number or None, default=None
            Time of the row; None: it follows the row before.

        Returns
        -------
        float
            At least 0, about 1 on normal rows; larger is more anomalous.

        Raises
        ------
        ValueError
            As `PrivilegedAnomalyDetector.update` does.
        """
        return float(self._look_at(x, t).score)

    def learn_one(self, x: Mapping[Any, Any], t: Any = None) -> None:
        """Take `x` as the next row.

        Parameters
        ----------
        x : mapping
            Value of each sensor, NaN or None where missing.
        t : datetime, number or None, default=None
            Time of the row; None: it follows the row before.

        Raises
        ------
        ValueError
            As `PrivilegedAnomalyDetector.update` does. The row is not taken then.
        """
        ahead = self._ahead(x, t)
        if ahead is None:
            self.detector.update(x, t, learn=self.learn)
        else:
            self.detector.stream_ = ahead
        self._seen = None

    def clone(self, new_params: Mapping[str, Any] | None = None, include_attributes: bool = False) -> RiverAdapter:
        """Return an adaptor of its own around the same fitted detector.

        Parameters
        ----------
        new_params : mapping, default=None
            Parameters to set, such as ``{"learn": False}``.
        include_attributes : bool, default=False
            Whether it goes on from the running stream, rather than start afresh.

        Returns
        -------
        RiverAdapter
        """
        detector, running = copy.copy(self.detector), getattr(self.detector, "stream_", None)
        detector.stream_ = _twin(running) if include_attributes and running is not None else None
        return RiverAdapter(**({"detector": detector, "learn": self.learn} | dict(new_params or {})))

    def _look_at(self, x: Mapping[Any, Any], t: Any) -> Alarm:
        """Let a copy of the running stream take the row, and keep it for `learn_one`."""
        running = getattr(self.detector, "stream_", None)
        self.detector.stream_ = None if running is None else _twin(running)
        try:
            alarm = self.detector.update(x, t, learn=self.learn)
            self._seen = dict(x), t, running, None if running is None else running.last, self.detector.stream_
        finally:
            self.detector.stream_ = running
        return alarm

    def _ahead(self, x: Mapping[Any, Any], t: Any) -> Stream | None:
        """Return the stream behind this row, if it was the last looked at and the detector stands where it stood.

        Others may have fed, reset or restored it since.
        """
        if self._seen is None:
            return None
        seen, time, running, last, ahead = self._seen
        now = getattr(self.detector, "stream_", None)
        same_place = now is running and (now is None or now.last is last)
        return ahead if same_place and time == t and seen == x else None


def _twin(part: Any) -> Any:
    """Copy what the next row changes; what was fitted is shared."""
    if isinstance(part, np.ndarray | deque):
        return part.copy()
    if isinstance(part, list):
        return [_twin(entry) for entry in part]
    if not isinstance(part, Stream | Running | Page | Smoother | Level):
        return part
    twin = object.__new__(type(part))  # copy.copy takes ten times as long
    vars(twin).update({name: _twin(value) for name, value in vars(part).items()})
    return twin
