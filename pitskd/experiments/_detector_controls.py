"""Whom a detector has to beat on the same runs: itself without the privileged side or with a wrong one, and two others.

Everything is fitted to the log; test rows are only judged, and their labels never come here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import IsolationForest

from pitskd._estimator import Distillation
from pitskd._random import stage_generator
from pitskd._series import as_frame
from pitskd._validation import wrong
from pitskd.anomaly.calibration import Debounce, calibrate
from pitskd.anomaly.head import runs_of
from pitskd.anomaly.smoothing import trailing_mean
from pitskd.experiments._controls import without_privilege

__all__: list[str] = []

DETECTOR = "detector"
SELF_TRIMMED, NOT_CURATED = "curated by itself", "not curated"
SAME_STUDENT, RIDGE = "same student without privilege", "ridge student"
NO_TARGET, NO_TARGET_TRIMMED = "no target: innovations", "no target: innovations, curated by itself"
NO_LIMITS = "no target: forest on the same features"
PERMUTED, FOREST, ALWAYS = "permuted privilege", "IsolationForest", "always alarm"
ALL_SENSORS = "all sensors (bound)"

_N_BLOCKS = 20  # of time, whose order is permuted
_N_HELD_OUT = 5  # blocks of the log that the isolation forest is calibrated on


class Said(NamedTuple):
    """What is said of the rows of a run."""

    score: np.ndarray
    alarm: np.ndarray


@dataclass(frozen=True, eq=False)
class Rival:
    """A detector, its part in the report, and what it is given for privileged rows."""

    name: str
    role: str  # student, baseline, control or bound
    detector: Any
    privileged: str = "none"  # none, given, permuted, blank, beside


@dataclass(frozen=True, eq=False)
class Study:
    """A detector, the log that it learns from, and the runs that it judges."""

    detector: Any
    X: Any
    Z: Any
    normal: Any
    runs: Sequence[Any]
    privileged_runs: Sequence[Any] | None
    seed: int

    def said(self, rival: Rival) -> tuple[Any, list[Said]]:
        """Fit a rival and let it judge every run; return both."""
        beside = rival.privileged == "beside"
        X = joined(self.X, self.Z) if beside else self.X
        fitted = clone(rival.detector).fit(X, X_privileged=self._privileged(rival), normal=self.normal)
        runs = self.runs
        if beside:
            assert self.privileged_runs is not None
            runs = [joined(*pair) for pair in zip(self.runs, self.privileged_runs, strict=True)]
        return fitted, [_said(fitted.detect(run)) for run in runs]

    def _privileged(self, rival: Rival) -> Any:
        if rival.privileged == "beside":
            return None if rival.detector.target is None else self.Z
        kinds: dict[str, Callable[[], Any]] = {
            "none": lambda: None,
            "given": lambda: self.Z,
            "permuted": lambda: self._permuted(),
            "blank": lambda: np.zeros((len(self.Z), 1)),
        }
        return kinds[rival.privileged]()

    def _permuted(self) -> Any:
        """Return privileged rows in blocks of time of which none stays in its place."""
        n = len(self.Z)
        blocks = np.array_split(np.arange(n), int(np.clip(n // _N_BLOCKS, 2, _N_BLOCKS)))
        cycle = stage_generator(self.seed, "permuted privilege").permutation(len(blocks))
        source = np.empty(len(blocks), dtype=np.int64)
        source[cycle] = np.roll(cycle, 1)
        order = np.concatenate([blocks[number] for number in source])
        frame = as_frame(self.Z)
        return np.asarray(self.Z)[order] if frame is None else frame.iloc[order].set_axis(frame.index)

    def always(self) -> list[Said]:
        """Alarm in every row."""
        return [Said(np.ones(len(run)), np.ones(len(run), dtype=bool)) for run in self.runs]

    def forest(self, fitted: Any) -> list[Said]:
        """Judge rows by an isolation forest that is smoothed and calibrated as a fitted detector."""
        rows = [_values(part) for part in (self.X, *self.runs)]
        middle = np.nanmedian(rows[0], axis=0)
        log, *tests = [np.where(np.isnan(part), middle, part) for part in rows]
        log = log if self.normal is None else log[np.asarray(self.normal, dtype=bool)]
        seed = int(stage_generator(self.seed, "isolation forest").integers(2**31))
        model, held_out = IsolationForest(random_state=seed).fit(log), np.empty(len(log))
        for inside in np.array_split(np.arange(len(log)), _N_HELD_OUT):
            others = IsolationForest(random_state=seed).fit(np.delete(log, inside, axis=0))
            held_out[inside] = -others.score_samples(log[inside])
        judge = _calibrated(fitted, held_out)
        stretches = (_stretches(fitted.clock_, run) for run in self.runs)
        return [judge(-model.score_samples(part), stretch) for part, stretch in zip(tests, stretches, strict=True)]


def _stretches(clock: Any, run: Any) -> np.ndarray:
    """Return the number of the stretch without a gap of each row."""
    frame = as_frame(run)
    return clock.runs(clock.read(None if frame is None else frame.index), len(run))[0]


def _calibrated(fitted: Any, held_out: np.ndarray) -> Callable[[np.ndarray, np.ndarray], Said]:
    """Return what turns raw scores of rows, and the stretch that each is in, into scores and alarms."""
    usual, smoothing = float(held_out.mean()), fitted.smoothing
    smooth = trailing_mean(held_out, smoothing, usual)[min(smoothing - 1, len(held_out) // 2) :]
    rate, rows_per_day = fitted._asked()
    calibration = calibrate(
        [smooth], rate, Debounce(fitted.alarm_after, fitted.clear_after), method=fitted.calibration,
        rows_per_day=rows_per_day, drift=fitted.drift, patience=np.inf if fitted.patience is None else fitted.patience,
    )  # fmt: skip

    def judge(raw: np.ndarray, run: np.ndarray) -> Said:
        score = np.concatenate([trailing_mean(raw[inside], smoothing, usual) for inside in runs_of(run)])
        level, alarm = calibration.follow(score, np.zeros(len(score), dtype=bool))
        return Said(score / level, alarm)

    return judge


def _said(detections: pd.DataFrame) -> Said:
    return Said(detections["score"].to_numpy(), detections["is_anomaly"].to_numpy())


def rivals(detector: Any) -> Iterator[Rival]:
    """Yield the detector, then itself without the privileged side and with a permuted one, then the bound."""
    yield Rival(DETECTOR, "student", detector, "given")
    others = list(_without(detector))
    if not others:
        step = 'Set curate="privileged", a target, or a student that distils such as ChainDistillationRegressorCV().'
        raise wrong("detector", "one that learns from X_privileged", repr(detector), step)
    yield from others
    yield Rival(PERMUTED, "control", detector, "permuted")
    curate = None if detector.curate is None else "self"
    yield Rival(ALL_SENSORS, "bound", clone(detector).set_params(curate=curate, student=_own(detector)), "beside")


def _own(detector: Any) -> Any:
    """Return the student without its teacher."""
    if not isinstance(detector.student, Distillation):
        return detector.student
    plain = without_privilege(detector.student)
    return detector.student if plain is None else plain


def _without(detector: Any) -> Iterator[Rival]:
    """Yield the detector without its privileged side; the first is the baseline."""
    if detector.target is not None:
        yield Rival(NO_TARGET, "baseline", clone(detector).set_params(target=None))
        yield Rival(NO_TARGET_TRIMMED, "control", clone(detector).set_params(target=None, curate="self"))
        # A quantity that never comes near its limits: what is left of the score is the forest.
        yield Rival(NO_LIMITS, "control", clone(detector).set_params(target={0: (-1.0, 1.0)}), "blank")
        return
    plain = clone(detector).set_params(student=_own(detector))
    if detector.curate == "privileged":
        yield Rival(SELF_TRIMMED, "baseline", clone(plain).set_params(curate="self"))
        yield Rival(NOT_CURATED, "control", clone(plain).set_params(curate=None, contamination=None))
    if isinstance(detector.student, Distillation):
        curate = None if detector.curate is None else "self"
        if detector.curate != "privileged":
            yield Rival(SAME_STUDENT, "baseline", plain)
        yield Rival(RIDGE, "control", clone(detector).set_params(curate=curate, student=None))


def joined(X: Any, Z: Any) -> pd.DataFrame:
    """Return the sensors that stay and the others side by side, with the index of X."""
    frame = as_frame(X)
    return pd.DataFrame(np.hstack([_values(X), _values(Z)]), index=None if frame is None else frame.index)


def _values(rows: Any) -> np.ndarray:
    frame = as_frame(rows)
    values = np.asarray(rows if frame is None else frame, dtype=np.float64)
    return values[:, None] if values.ndim == 1 else values
