"""Protocol A: anomalies on sensor streams. Which files are learnt from, which are judged, and what is counted.

A detector is learnt and calibrated on normal rows alone; labels enter the counting only. All detectors get the same
treatment: raw scores, a trailing mean, scores of held-out blocks of the log, and a threshold for the rate asked for.
No point adjustment.
"""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from pitskd.anomaly.calibration import Calibration, Debounce, calibrate, rate_of
from pitskd.anomaly.detector import PrivilegedAnomalyDetector
from pitskd.anomaly.smoothing import trailing_mean
from pitskd.experiments.detectors import (
    Autoregression,
    PrincipalComponents,
    Reference,
    all_references,
    short_references,
)
from pitskd.metrics import event_scores, vus_pr, vus_roc

__all__ = ["AnomalyTask"]

OURS = "PrivilegedAnomalyDetector"
NEURAL = "GRU in the same head"
ALWAYS = "always alarm"
SKAB_RANKING = "SKAB, ranking"
SKAB_THRESHOLD = "SKAB, asked 1 %"
TEP_RANKING = "TEP, ranking"
TEP_THRESHOLD = "TEP, asked 1 %"
NORMAL = "asked 1 % on normal runs"

ASKED = 0.01
DRIFT, STATIC = "drift mode", "no drift mode"
MODES: Mapping[str, Mapping[str, Any]] = {DRIFT: {"drift": 150, "patience": 300}, STATIC: {}}
N_LEARN = 400  # rows of a SKAB file that are known to be normal
HISTORY = 40  # rows of a TEP file that fill the memory of detectors before any is judged
HORIZONS: Mapping[str, tuple[int, ...]] = {"one horizon": (1,), "horizons 1, 5, 20": (1, 5, 20)}
MEMORIES: Mapping[str, float | None] = {"memory .3": 0.3, "no memory": None}
SIGNALS: Mapping[int, str] = {11: "manipulated", 33: "process", 52: "all"}
HARD_FAULTS = (3, 9, 15)  # hardly visible in any signal
DAY = 86_400.0  # seconds


class AnomalyTask(ABC):
    """One log to learn from and what is judged by it.

    Its cells have a row per (task, method, block, metric), where the block is the file, the fault or the log: `sum`
    over `n_test` is the value, so that counts can be pooled.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Return what tells this task from others."""

    @abstractmethod
    def settings(self) -> tuple[Any, ...]:
        """Return what tells this task from another of the same name: sizes and data."""

    @abstractmethod
    def count(self, seed: int) -> Iterator[Cell]:
        """Learn, judge and count."""

    def fingerprint(self) -> str:
        """Return a short digest of the settings."""
        return hashlib.sha256(repr(self.settings()).encode()).hexdigest()[:8]

    def cells(self, seed: int) -> pd.DataFrame:
        """Return what was counted, one row per cell."""
        return pd.DataFrame(self.count(seed)).assign(seed=seed)


class Cell(NamedTuple):
    """A count or a value of one method on one file, fault or log."""

    task: str
    method: str
    block: str
    metric: str
    sum: float
    n_test: float = 1.0


class Judged(NamedTuple):
    """What a detector says of a file: a smoothed score of every row, and a calibration for each mode."""

    scores: np.ndarray
    calibrations: Mapping[str, Calibration]

    def alarms(self, mode: str, first: int = 0) -> np.ndarray:
        """Return which rows from the first on have an alarm."""
        scores = self.scores[first:]
        return self.calibrations[mode].follow(scores, np.zeros(len(scores), dtype=bool))[1]


def digest(*arrays: Any) -> str:
    """Return a digest of the data of a task."""
    data = hashlib.sha256()
    for array in arrays:
        data.update(np.ascontiguousarray(array).tobytes())
    return data.hexdigest()


# ---------------------------------------------------------------- detectors, all treated alike


class Learnt:
    """A detector that has learnt a log, with raw scores of the log's held-out blocks.

    Parameters
    ----------
    score : callable
        Raw scores (m,) of the rows (m, c) of a file.
    held_out : ndarray of shape (n,)
        In order of time.
    usual : float
        What rows before a file are taken to score.
    """

    def __init__(self, score: Callable[[np.ndarray], np.ndarray], held_out: np.ndarray, usual: float) -> None:
        self.score, self.held_out, self.usual = score, held_out, usual

    @classmethod
    def reference(cls, reference: Reference, log: np.ndarray) -> Learnt:
        """Let a reference learn a log (n, c)."""
        held_out = reference.held_out(log)
        return cls(reference.fit(log).score, held_out, float(held_out.mean()))

    @classmethod
    def ours(cls, log: np.ndarray, **settings: Any) -> Learnt:
        """Let our detector learn a log (n, c)."""
        detector = fit_quietly(_Open(smoothing=1, false_alarm_rate=ASKED, **settings), log)
        return cls(lambda rows: -detector.score_samples(rows), detector.held_out_, 1.0)

    @classmethod
    def neural(cls, log: np.ndarray) -> Learnt:
        """Let our detector learn a log (n, c) with a network as its student, in the time that a file may take."""
        from pitskd.models import GRU  # loads torch
        from pitskd.neural import NeuralDistillationRegressor

        student = NeuralDistillationRegressor(
            student=partial(GRU, hidden=16), imitation=0.0, max_epochs=20, batch_size=64, learning_rate=0.01,
            schedule="cosine", validation=None, random_state=0,
        )  # fmt: skip
        return cls.ours(log, student=student)

    def judge(self, rows: np.ndarray, smoothing: int, modes: Sequence[str] = tuple(MODES)) -> Judged:
        """Judge the rows of a file."""
        return self.smooth(self.score(rows), smoothing, modes)

    def smooth(self, raw: np.ndarray, smoothing: int, modes: Sequence[str] = tuple(MODES)) -> Judged:
        """Judge rows by their raw scores."""
        first = min(smoothing - 1, len(self.held_out) // 2)
        run = trailing_mean(self.held_out, smoothing, self.usual)[first:]
        scores = trailing_mean(raw, smoothing, self.usual)
        return Judged(scores, {mode: _calibration(run, **MODES[mode]) for mode in modes})


def fit_quietly(detector: Any, X: Any, X_privileged: Any = None, normal: Any = None) -> Any:
    """Fit a detector; that logs drift is what this protocol measures, and needs no word at every fit."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X (drifts|is short)", category=UserWarning)
        return detector.fit(X, X_privileged=X_privileged, normal=normal)


class _Open(PrivilegedAnomalyDetector):
    """Our detector, which keeps what it is calibrated on: one fit serves all smoothings and modes."""

    def _calibrate(
        self, raw: np.ndarray, counted: np.ndarray | None, run: np.ndarray, rate: float, rows_per_day: float | None
    ) -> None:
        self.held_out_ = raw
        super()._calibrate(raw, counted, run, rate, rows_per_day)


def _calibration(run: np.ndarray, drift: int | None = None, patience: float = np.inf) -> Calibration:
    return calibrate([run], ASKED, Debounce(), method="pot", rows_per_day=None, drift=drift, patience=patience)


# ---------------------------------------------------------------- counting


def ranked(task: str, method: str, block: str, anomaly: np.ndarray, scores: np.ndarray) -> Iterator[Cell]:
    """Yield how well the scores of rows (n,) put the anomalous ones first."""
    yield Cell(task, method, block, "ROC", float(roc_auc_score(anomaly, scores)))
    yield Cell(task, method, block, "VUS-ROC", vus_roc(anomaly, scores))
    yield Cell(task, method, block, "VUS-PR", vus_pr(anomaly, scores))


def counted(
    task: str, method: str, block: str, anomaly: np.ndarray, alarms: np.ndarray, period: float
) -> Iterator[Cell]:
    """Yield what the alarms of rows (n,) found and what not; `period` is the time from row to row in seconds."""
    normal = ~anomaly
    yield Cell(task, method, block, "detected", float((alarms & anomaly).sum()), float(anomaly.sum()))
    yield Cell(task, method, block, "alarmed", float((alarms & normal).sum()), float(normal.sum()))
    events = event_scores(anomaly, alarms)
    yield Cell(task, method, block, "events found", events.n_detected, events.n_events)
    yield Cell(task, method, block, "delay", float(events.delays.sum()) * period, events.n_detected)
    yield Cell(task, method, block, "false events per day", events.n_false_alarms, float(normal.sum()) * period / DAY)


# ---------------------------------------------------------------- SKAB


@dataclass(frozen=True, eq=False)
class SkabTask(AnomalyTask):
    """One labelled file of SKAB: learnt from its first rows, judged on the others.

    Parameters
    ----------
    run : str
        Such as "valve1/0".
    rows : ndarray of shape (n, c)
    anomaly : ndarray of bool, shape (n,)
        Labels; those of the first rows are not looked at.
    period : float
        Unit: s.
    n_learn : int, default=400
    quick : bool, default=False
        Whether the short list of references is enough.
    """

    run: str
    rows: np.ndarray
    anomaly: np.ndarray
    period: float = 1.0
    n_learn: int = N_LEARN
    quick: bool = False

    @property
    def name(self) -> str:
        """Return the name of the file."""
        return f"SKAB {self.run}"

    def settings(self) -> tuple[Any, ...]:
        """Return sizes and a digest of the data."""
        return self.n_learn, self.quick, digest(self.rows, self.anomaly)

    def count(self, seed: int) -> Iterator[Cell]:
        """Rank with a mean over 30 rows, alarm with one over 10."""
        log, behind = self.rows[: self.n_learn], self.anomaly[self.n_learn :]
        for reference in short_references(n_trees=100) if self.quick else all_references():
            yield from self._say(reference.name, Learnt.reference(reference, log), behind)
        yield from self._say(OURS, Learnt.ours(log), behind)
        if not self.quick:
            yield from self._say(NEURAL, Learnt.neural(log), behind)
        for mode in MODES:
            always = np.ones(len(behind), dtype=bool)
            yield from counted(f"{SKAB_THRESHOLD}, {mode}", ALWAYS, self.run, behind, always, self.period)

    def _say(self, method: str, learnt: Learnt, behind: np.ndarray) -> Iterator[Cell]:
        raw = learnt.score(self.rows)
        ranking, alarming = learnt.smooth(raw, 30, []), learnt.smooth(raw, 10)
        yield from ranked(SKAB_RANKING, method, self.run, behind, ranking.scores[self.n_learn :])
        for mode in MODES:
            alarms = alarming.alarms(mode, self.n_learn)
            yield from counted(f"{SKAB_THRESHOLD}, {mode}", method, self.run, behind, alarms, self.period)


# ---------------------------------------------------------------- TEP


@dataclass(frozen=True, eq=False)
class TepTask(AnomalyTask):
    """Faults of a plant that a detector of the normal run has never seen.

    Parameters
    ----------
    n_signals : int
        11, 33 or 52.
    log : ndarray of shape (n, c)
        The normal run.
    runs : dict of int to ndarray of shape (m, c)
        Test runs by fault.
    onset : int, default=160
        Row where the fault of each begins.
    """

    n_signals: int
    log: np.ndarray
    runs: Mapping[int, np.ndarray]
    onset: int = 160
    period: float = 180.0

    @property
    def name(self) -> str:
        """Return the number of signals."""
        return f"TEP {self.n_signals} signals"

    def settings(self) -> tuple[Any, ...]:
        """Return a digest of the data."""
        return self.onset, *self.runs, digest(self.log, *self.runs.values())

    def count(self, seed: int) -> Iterator[Cell]:
        """Rank without smoothing and with a mean over 10 rows; alarm with the latter."""
        for reference in short_references():
            yield from self._say(reference.name, Learnt.reference(reference, self.log))
        for horizons, listed in HORIZONS.items():
            for memory, weight in MEMORIES.items():
                learnt = Learnt.ours(self.log, horizons=listed, memory=weight)
                yield from self._say(f"{OURS}, {horizons}, {memory}", learnt)

    def _say(self, method: str, learnt: Learnt) -> Iterator[Cell]:
        for fault, rows in self.runs.items():
            raw = learnt.score(rows)
            for length in (1, 10):
                judged = learnt.smooth(raw, length, [STATIC])
                yield self._rank(method, fault, length, judged.scores)
                yield from self._alarm(method, fault, length, judged)

    def _rank(self, method: str, fault: int, length: int, scores: np.ndarray) -> Cell:
        anomaly = np.arange(HISTORY, len(scores)) >= self.onset
        value = float(roc_auc_score(anomaly, scores[HISTORY:]))
        return Cell(f"{TEP_RANKING}, {self.n_signals} signals", method, str(fault), f"ROC, mean over {length}", value)

    def _alarm(self, method: str, fault: int, length: int, judged: Judged) -> Iterator[Cell]:
        alarms = judged.alarms(STATIC, HISTORY)
        anomaly = np.arange(HISTORY, HISTORY + len(alarms)) >= self.onset
        task = f"{TEP_THRESHOLD}, mean over {length}, {self.n_signals} signals"
        yield from counted(task, method, str(fault), anomaly, alarms, self.period)


# ---------------------------------------------------------------- normal runs


@dataclass(frozen=True, eq=False)
class NormalTask(AnomalyTask):
    """Rows without an anomaly behind a log without one: every alarm is false.

    Parameters
    ----------
    run : str
        Shown in tables.
    log : ndarray of shape (n, c)
    rows : ndarray of shape (m, c)
        What is judged; the first `first` rows only fill memories.
    first : int
    block : int
        Rows of a block of the bootstrap.
    horizons : tuple of int
    """

    run: str
    log: np.ndarray
    rows: np.ndarray
    first: int
    block: int
    horizons: tuple[int, ...] = (1,)

    @property
    def name(self) -> str:
        """Return the name of the run."""
        return f"normal {self.run}"

    def settings(self) -> tuple[Any, ...]:
        """Return sizes and a digest of the data."""
        return self.first, self.block, self.horizons, digest(self.log, self.rows)

    def count(self, seed: int) -> Iterator[Cell]:
        """Count alarms of our detector, and of two references for comparison."""
        entrants = {
            f"{OURS}, {memory}": Learnt.ours(self.log, memory=weight, horizons=self.horizons)
            for memory, weight in MEMORIES.items()
        }
        for reference in (PrincipalComponents("Q", 0.8, n_lags=4), Autoregression(3)):
            entrants[reference.name] = Learnt.reference(reference, self.log)
        for method, learnt in entrants.items():
            raw = learnt.score(self.rows)
            for length in (1, 10):
                yield from self._say(method, length, learnt.smooth(raw, length), seed)

    def _say(self, method: str, length: int, judged: Judged, seed: int) -> Iterator[Cell]:
        for mode in MODES:
            alarms = judged.alarms(mode, self.first)
            found = rate_of([alarms], rows_per_day=None, block=self.block, random_state=seed)
            place = NORMAL, f"{method}, mean over {length}, {mode}", self.run
            yield Cell(*place, "rate", float(alarms.sum()), float(len(alarms)))
            yield Cell(*place, "lower", found.lower)
            yield Cell(*place, "upper", found.upper)
