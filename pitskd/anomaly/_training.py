"""How a log becomes a scorer: which rows are normal, what forecasts them, and what their held-out scores were."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from pitskd._validation import wrong
from pitskd.anomaly._settings import read_limits
from pitskd.anomaly.curation import normal_rows
from pitskd.anomaly.forest import Forest
from pitskd.anomaly.head import Head, runs_of
from pitskd.anomaly.scorer import Scorer
from pitskd.anomaly.students import Lesson, Log, learn_estimator, learn_ridge
from pitskd.anomaly.target import TargetScorer, within

__all__: list[str] = []

_ROUNDING = 1e-12  # of a value: a constant column differs from its mean by so much
_LAGS_OF_ESTIMATORS = 3


@dataclass(frozen=True, eq=False)
class Trained:
    """A scorer, the rows taken for normal, and raw scores of normal rows that it was not fitted on."""

    scorer: Scorer
    normal: np.ndarray  # (n,) bool
    held_out: np.ndarray  # (n_held_out,), in order of time
    counted: np.ndarray | None = None  # (n_held_out,) bool: rows known to be normal, where others lie between them
    lesson: Lesson | None = None


def train(
    detector: Any,
    rows: np.ndarray,
    run: np.ndarray,
    Z: np.ndarray | None,
    known: np.ndarray,
    horizons: tuple[int, ...],
) -> Trained:
    """Learn from a log (n, c) with privileged columns (n, c*), of which the `known` rows (n,) may be normal."""
    complete = ~np.isnan(rows).any(axis=1)
    if not complete.any():
        raise wrong("X", "rows with a value of every sensor", "none", "Leave out sensors that are always missing.")
    if detector.target is not None:
        return _train_target(detector, rows, run, Z, known)
    normal = complete & known
    normal[known] &= _curate(detector, rows[known], run[known], None if Z is None else Z[known])
    cut = len(rows)
    if detector.calibration_size is not None:
        share = 1.0 - detector.calibration_size
        cut = int(np.searchsorted(np.cumsum(normal), share * np.count_nonzero(normal)) + 1)
    log = Log(rows[:cut], run[:cut], normal[:cut], None if Z is None else Z[:cut])
    lesson = _learn(detector, log, horizons)
    seen = log.rows[log.usable]
    forest = Forest(seen, lesson.block[log.usable], detector.random_state) if detector.isolation_forest else None
    constant = _constant(seen, detector._centre, getattr(detector, "feature_names_in_", None))
    head = Head(lesson.student, lesson.innovations, seen.mean(axis=0), constant, detector.memory, forest)
    if detector.calibration_size is not None:
        return Trained(head, normal, _scores_behind(head, cut, rows, run, normal), lesson=lesson)
    opinion = None
    if forest is not None:
        opinion = np.full(len(log.rows), np.nan)
        opinion[log.usable] = forest.held_out_scores
    return Trained(head, normal, head.held_out_scores(lesson.innovations, lesson.block, opinion), lesson=lesson)


def _curate(detector: Any, rows: np.ndarray, run: np.ndarray, Z: np.ndarray | None) -> np.ndarray:
    """Return the rows taken for normal."""
    if detector.curate is None:
        return np.ones(len(rows), dtype=bool)
    if detector.curate == "privileged":
        if Z is None:
            step = 'Pass the sensors that judge, or use curate="self".'
            raise wrong("X_privileged", 'given with curate="privileged"', None, step)
        rows = np.hstack([rows, Z])
    return normal_rows(rows, run, detector.contamination)


def _learn(detector: Any, log: Log, horizons: tuple[int, ...]) -> Lesson:
    n_lags = _LAGS_OF_ESTIMATORS if detector.n_lags is None and detector.student is not None else detector.n_lags
    if len(log.samples(n_lags or 1, max(horizons))) < 2:
        n_needed = (n_lags or 1) + max(horizons) + 1
        raise wrong(
            "X", f"long enough to learn from: at least {n_needed} consecutive normal rows beside those held out",
            f"{len(log.rows)} rows", "Record a longer log, or use fewer n_lags and shorter horizons.",
        )  # fmt: skip
    if detector.student is None:
        return learn_ridge(log, horizons, n_lags)
    return learn_estimator(log, horizons, n_lags or 1, detector.student)


def _constant(rows: np.ndarray, centre: np.ndarray, names: Any) -> np.ndarray:
    """Return which sensors never moved but for rounding, with a warning that names them."""
    constant = np.ptp(rows, axis=0) <= _ROUNDING * np.abs(rows + centre).max(axis=0)
    if constant.any():
        known = [f"x{number}" for number in range(len(constant))] if names is None else names
        stuck = ", ".join(str(name) for name, still in zip(known, constant, strict=True) if still)
        warnings.warn(
            f"X has sensors that never move in the rows to learn from: {stuck}. They add nothing to the score. "
            "Mend them, or leave them out.",
            UserWarning,
            stacklevel=4,
        )
    return constant


def _scores_behind(head: Head, cut: int, rows: np.ndarray, run: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the raw scores of the normal rows behind `cut`; rows before it serve as history only."""
    scores = [np.empty(0)]
    for inside in runs_of(np.cumsum(np.diff(run, prepend=run[:1]) + np.diff(normal, prepend=normal[:1]))):
        start = max(cut, inside.start + min(head.n_history, (inside.stop - inside.start) // 2))
        if normal[inside.start] and start < inside.stop:
            scores.append(head.raw_scores(rows[inside])[start - inside.start :])
    return np.concatenate(scores)


def _train_target(detector: Any, rows: np.ndarray, run: np.ndarray, Z: np.ndarray | None, known: np.ndarray) -> Trained:
    if Z is None:
        raise wrong("X_privileged", "given with a target", None, "Pass the columns that have limits.")
    names = getattr(detector, "privileged_feature_names_in_", None)
    columns, low, high = read_limits(detector.target, names, Z.shape[1])
    normal = known & within(Z[:, columns], low, high)
    if np.count_nonzero(normal) < 2:
        step = "Widen the limits, or record a log with rows inside them."
        raise wrong("target", "limits that some rows keep", f"{np.count_nonzero(normal)} normal rows inside", step)
    scorer = TargetScorer(rows, run, Z[:, columns], normal, low, high, detector.random_state)
    return Trained(scorer, normal, scorer.held_out_scores, normal)
