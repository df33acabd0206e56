"""Protocol A where privileged sensors have a part: logs with faults in them, and alarms for a quantity nobody measures.

The process is TEP; its 19 analysers are privileged. A detector never has them when it judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from pitskd._random import stage_generator
from pitskd.anomaly.detector import PrivilegedAnomalyDetector
from pitskd.anomaly.smoothing import trailing_mean
from pitskd.experiments.anomalies import (
    ALWAYS,
    ASKED,
    HARD_FAULTS,
    HISTORY,
    OURS,
    AnomalyTask,
    Cell,
    digest,
    fit_quietly,
)
from pitskd.experiments.detectors import Forest

__all__: list[str] = []

CONTAMINATED = "TEP, contaminated log"
KPI = "TEP, off-spec"
CLEAN, KNOWN = "clean log", "faulty rows known"
CURATED, CURATED_BLINDLY = "privileged curation", "privileged curation, share unknown"
TRIMMED, TRIMMED_BLINDLY = "self-trimming", "self-trimming, share unknown"
NOT_CURATED = "no curation"
SHARES = (0.25, 0.4)
TARGET, OWN_LIMITS, NO_PRIVILEGE = "student of the target", "same student, own limits", f"{OURS}, normal run"
FOREST, FOREST_OF_MEANS = "IsolationForest", "IsolationForest on means over 10"
# Columns with limits, and limits in standard deviations of the normal run.
SPECIFICATIONS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "product": (tuple(f"XMEAS {k}" for k in range(37, 42)), 3.0),
    "any analyser": (tuple(f"XMEAS {k}" for k in range(23, 42)), 4.0),
}

_N_STRETCHES = 4
_FEWEST = 20  # rows of either kind that a ROC needs


@dataclass(frozen=True, eq=False)
class Plant:
    """The runs of TEP that are at hand, with all their signals.

    Parameters
    ----------
    learn : dict of int to DataFrame
        Runs to learn from, by fault; 0 is normal.
    test : dict of int to DataFrame
        Test runs, by fault; the fault begins at the onset.
    onset : int, default=160
    """

    learn: Mapping[int, pd.DataFrame]
    test: Mapping[int, pd.DataFrame]
    onset: int = 160

    def settings(self) -> tuple[Any, ...]:
        """Return which runs there are, and a digest of their data."""
        return self.onset, *self.learn, *self.test, digest(*self.learn.values(), *self.test.values())

    def faults(self) -> list[int]:
        """Return the faults that can be learnt from."""
        return [fault for fault in self.learn if fault]


@dataclass(frozen=True, eq=False)
class ContaminatedTask(AnomalyTask):
    """The normal run with stretches of faults in it, four kinds drawn anew for each log.

    Parameters
    ----------
    plant : Plant
    kept, privileged : tuple of str
        Signals of the detector, and those that may only choose rows.
    share : float
        Of faulty rows in the log.
    number : int
        Of the log; added to the seed.
    """

    plant: Plant
    kept: tuple[str, ...]
    privileged: tuple[str, ...]
    share: float
    number: int

    @property
    def name(self) -> str:
        """Return signals, share and number."""
        return f"contaminated {len(self.kept)} signals {self.share:.0%} log {self.number}"

    def settings(self) -> tuple[Any, ...]:
        """Return all that the log is drawn from."""
        return self.kept, self.privileged, self.share, self.number, *self.plant.settings()

    def count(self, seed: int) -> Iterator[Cell]:
        """Learn from the log in each way; count false alarms and rank the faults."""
        log, faulty = contaminated_log(self.plant, self.share, seed + self.number)
        ways: dict[str, tuple[pd.DataFrame, dict[str, Any]]] = {
            CLEAN: (self.plant.learn[0], {}),
            KNOWN: (log.mask(np.broadcast_to(faulty[:, None], log.shape)), {}),
            NOT_CURATED: (log, {}),
            CURATED: (log, {"curate": "privileged", "contamination": self.share}),
            TRIMMED: (log, {"curate": "self", "contamination": self.share}),
            CURATED_BLINDLY: (log, {"curate": "privileged"}),
            TRIMMED_BLINDLY: (log, {"curate": "self"}),
        }
        place = f"{CONTAMINATED}, {len(self.kept)} signals, {self.share:.0%}"
        for way, (rows, settings) in ways.items():
            Z = rows[list(self.privileged)].to_numpy() if settings.get("curate") == "privileged" else None
            detector = PrivilegedAnomalyDetector(false_alarm_rate=ASKED, **settings)
            detector = fit_quietly(detector, rows[list(self.kept)].to_numpy(), Z)
            yield from self._judge(place, way, str(seed + self.number), detector)

    def _judge(self, place: str, way: str, block: str, detector: PrivilegedAnomalyDetector) -> Iterator[Cell]:
        over, faulty, rocs = [], [], []
        for fault, run in self.plant.test.items():
            scores = -detector.score_samples(run[list(self.kept)].to_numpy())[HISTORY:]
            anomaly = (np.arange(HISTORY, HISTORY + len(scores)) >= self.plant.onset) & (fault > 0)
            over.append(scores > detector.threshold_)
            faulty.append(anomaly)
            if fault and fault not in HARD_FAULTS:
                rocs.append(roc_auc_score(anomaly, scores))
        alarms, anomaly = np.concatenate(over), np.concatenate(faulty)
        yield Cell(place, way, block, "alarmed", float((alarms & ~anomaly).sum()), float((~anomaly).sum()))
        yield Cell(place, way, block, "detected", float((alarms & anomaly).sum()), float(anomaly.sum()))
        yield Cell(place, way, block, "ROC", float(np.mean(rocs)))


def contaminated_log(plant: Plant, share: float, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the normal run with stretches of up to four faults in it, `share` of all rows.

    Parameters
    ----------
    plant : Plant
    share : float
        In (0, 1).
    seed : int
        Draws kinds, places, and which part of a faulty run is taken.

    Returns
    -------
    log : DataFrame
        The runs one below the other, numbered anew.
    faulty : ndarray of bool, shape (n_rows,)
        Which rows are of a fault.
    """
    generator = stage_generator(seed, "contaminated log")
    normal = plant.learn[0]
    n_stretches = min(_N_STRETCHES, len(plant.faults()))
    lengths = np.full(n_stretches, round(len(normal) * share / (1.0 - share)) // n_stretches)
    kinds = generator.choice(plant.faults(), n_stretches, replace=False)
    places = np.sort(generator.choice(np.arange(1, len(normal)), n_stretches, replace=False))
    parts, faulty, done = [], [], 0
    for kind, place, length in zip(kinds.tolist(), places.tolist(), lengths.tolist(), strict=True):
        first = int(generator.integers(max(len(plant.learn[kind]) - length, 0) + 1))
        parts += [normal.iloc[done:place], plant.learn[kind].iloc[first : first + length]]
        faulty += [np.zeros(place - done, dtype=bool), np.ones(len(parts[-1]), dtype=bool)]
        done = place
    faulty.append(np.zeros(len(normal) - done, dtype=bool))
    return pd.concat([*parts, normal.iloc[done:]], ignore_index=True), np.concatenate(faulty)


@dataclass(frozen=True, eq=False)
class KpiTask(AnomalyTask):
    """Alarm when a privileged quantity would be off-spec, under faults of kinds that no log has shown.

    The log is the normal run, which is known to be one, and three faulty runs, with all their sensors.

    Parameters
    ----------
    plant : Plant
    kept : tuple of str
        Signals of the detector.
    specification : str
        One of `SPECIFICATIONS`.
    number : int
        Of the draw of faults; added to the seed.
    """

    plant: Plant
    kept: tuple[str, ...]
    specification: str
    number: int

    @property
    def name(self) -> str:
        """Return signals, specification and number."""
        return f"off-spec {self.specification} {len(self.kept)} signals draw {self.number}"

    def settings(self) -> tuple[Any, ...]:
        """Return all that the log is drawn from."""
        return self.kept, self.specification, self.number, *self.plant.settings()

    def count(self, seed: int) -> Iterator[Cell]:
        """Learn in each way; rank the off-spec rows of unseen faults."""
        generator = stage_generator(seed + self.number, "faults of a log")
        seen = generator.choice(self.plant.faults(), 3, replace=False).tolist()
        columns, width = SPECIFICATIONS[self.specification]
        unseen = {fault: run for fault, run in self.plant.test.items() if fault and fault not in seen}
        limits = limits_of(self.plant.learn[0], columns, width)
        place = f"{KPI}, {self.specification}, {len(self.kept)} signals"
        learnt = list(self._learn(log_of_runs([self.plant.learn[fault] for fault in (0, *seen)]), limits, width))
        for fault, run in unseen.items():
            off_spec = _off_spec(run, limits)[HISTORY:]
            if min(off_spec.sum(), (~off_spec).sum()) < _FEWEST:
                continue
            for method, score in learnt:
                scores = score(run[list(self.kept)].to_numpy())[HISTORY:]
                value = float(roc_auc_score(off_spec, scores))
                yield Cell(place, method, f"{fault} draw {seed + self.number}", "ROC", value)
            yield Cell(place, ALWAYS, f"{fault} draw {seed + self.number}", "ROC", 0.5)

    def _learn(self, log: pd.DataFrame, limits: Mapping[str, tuple[float, float]], width: float) -> Iterator[Any]:
        """Yield methods with what scores a run."""
        X, normal = log[list(self.kept)], self.plant.learn[0][list(self.kept)].to_numpy()
        own = limits_of(self.plant.learn[0], self.kept, width)
        of_normal_run = np.arange(len(log)) < len(normal)
        for name, target, Z in ((TARGET, limits, log[list(limits)]), (OWN_LIMITS, own, X)):
            detector = fit_quietly(PrivilegedAnomalyDetector(target=target, max_gap=1.5), X, Z, of_normal_run)
            yield name, lambda rows, detector=detector: -detector.score_samples(_numbered(rows, list(self.kept)))
        unsupervised = fit_quietly(PrivilegedAnomalyDetector(horizons=(1, 5, 20)), normal)
        yield NO_PRIVILEGE, lambda rows: -unsupervised.score_samples(rows)
        forest = Forest().fit(normal)
        yield FOREST, lambda rows: _mean_over_10(forest.score(rows))
        forest_of_means = Forest().fit(_mean_over_10(normal))
        yield FOREST_OF_MEANS, lambda rows: forest_of_means.score(_mean_over_10(rows))


def _mean_over_10(rows: np.ndarray) -> np.ndarray:
    return trailing_mean(rows, 10, rows[0])


def _numbered(rows: np.ndarray, columns: list[str]) -> pd.DataFrame:
    """Return rows with numbers as times, as those of `log_of_runs`."""
    return pd.DataFrame(rows, np.arange(1, len(rows) + 1), columns)


def limits_of(normal: pd.DataFrame, columns: tuple[str, ...], width: float) -> dict[str, tuple[float, float]]:
    """Return limits so many standard deviations of the normal run around its mean."""
    mean, deviation = normal[list(columns)].mean(), normal[list(columns)].std(ddof=0)
    return {c: (float(mean[c] - width * deviation[c]), float(mean[c] + width * deviation[c])) for c in columns}


def _off_spec(run: pd.DataFrame, limits: Mapping[str, tuple[float, float]]) -> np.ndarray:
    outside = [(run[c] < low) | (run[c] > high) for c, (low, high) in limits.items()]
    return np.any(outside, axis=0)


def log_of_runs(runs: list[pd.DataFrame]) -> pd.DataFrame:
    """Put runs one below the other; row numbers leave a gap of ten between them."""
    starts = np.cumsum([1, *(len(run) + 10 for run in runs[:-1])])
    return pd.concat([run.set_index(np.arange(len(run)) + start) for run, start in zip(runs, starts, strict=True)])
