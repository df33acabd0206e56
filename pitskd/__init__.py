"""Privileged-information distillation of time series.

Train with more than you will have in production (the values between input and target, or sensors too costly to keep),
deploy a student that runs without it. Importing this package loads none of its heavy dependencies: every public name
is fetched from its room when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; __getattr__ does the same at run time
    from pitskd.anomaly import AchievedRate, Alarm, PrivilegedAnomalyDetector, RiverAdapter
    from pitskd.datasets import (
        DatasetError,
        PrivilegedSample,
        SensorLog,
        fetch_beijing_pm25,
        fetch_five_cities_pm25,
        fetch_skab,
        fetch_tep,
        five_cities_windows,
        inject_anomalies,
        linear_chain_coef,
        mackey_glass_windows,
        pm25_windows,
        simulate_clean_features,
        simulate_clean_labels,
        simulate_frequencies,
        simulate_linear_chain,
        simulate_mackey_glass,
        simulate_relevant_features,
        simulate_sample_dependent_features,
        skab_runs,
    )
    from pitskd.distillation import (
        GeneralizedDistillationClassifier,
        GeneralizedDistillationClassifierCV,
        GeneralizedDistillationRegressor,
        GeneralizedDistillationRegressorCV,
    )
    from pitskd.experiments import (
        AnomalyTimelineDisplay,
        DetectorReport,
        FileReport,
        ImitationPathDisplay,
        PrivilegedGainDisplay,
        detector_report,
        file_report,
        privileged_report,
    )
    from pitskd.linear import (
        AnchoredDistillationClassifier,
        AnchoredDistillationClassifierCV,
        AnchoredDistillationRegressor,
        AnchoredDistillationRegressorCV,
        ChainDistillationClassifier,
        ChainDistillationClassifierCV,
        ChainDistillationRegressor,
        ChainDistillationRegressorCV,
        TunedLogisticRegression,
        TunedRidge,
    )
    from pitskd.metrics import (
        EventScores,
        event_scores,
        events_of,
        false_alarm_rate,
        false_alarms_per_day,
        fault_detection_rate,
        vus_pr,
        vus_pr_scorer,
        vus_roc,
        vus_roc_scorer,
    )
    from pitskd.neural import (
        ClassBiasCorrection,
        LabelRefineryClassifier,
        NeuralDistillationClassifier,
        NeuralDistillationClassifierCV,
        NeuralDistillationRegressor,
        NeuralDistillationRegressorCV,
        munge,
    )
    from pitskd.parts import TableParts, join_windows, read_parts, windows_from_parts
    from pitskd.persistence import load, model_facts, save
    from pitskd.privileged import PrivilegedClassifier, PrivilegedRegressor
    from pitskd.windows import PrivilegedWindows, make_windows

__version__ = "0.1.0"

_ROOMS = {
    "windows": ("PrivilegedWindows", "make_windows"),
    "parts": ("TableParts", "join_windows", "read_parts", "windows_from_parts"),
    "datasets": (
        "DatasetError",
        "PrivilegedSample",
        "SensorLog",
        "fetch_beijing_pm25",
        "fetch_five_cities_pm25",
        "fetch_skab",
        "fetch_tep",
        "five_cities_windows",
        "inject_anomalies",
        "linear_chain_coef",
        "mackey_glass_windows",
        "pm25_windows",
        "simulate_clean_features",
        "simulate_clean_labels",
        "simulate_frequencies",
        "simulate_linear_chain",
        "simulate_mackey_glass",
        "simulate_relevant_features",
        "simulate_sample_dependent_features",
        "skab_runs",
    ),
    "metrics": (
        "EventScores",
        "event_scores",
        "events_of",
        "false_alarm_rate",
        "false_alarms_per_day",
        "fault_detection_rate",
        "vus_pr",
        "vus_pr_scorer",
        "vus_roc",
        "vus_roc_scorer",
    ),
    "linear": (
        "AnchoredDistillationClassifier",
        "AnchoredDistillationClassifierCV",
        "AnchoredDistillationRegressor",
        "AnchoredDistillationRegressorCV",
        "ChainDistillationClassifier",
        "ChainDistillationClassifierCV",
        "ChainDistillationRegressor",
        "ChainDistillationRegressorCV",
        "TunedLogisticRegression",
        "TunedRidge",
    ),
    "distillation": (
        "GeneralizedDistillationClassifier",
        "GeneralizedDistillationClassifierCV",
        "GeneralizedDistillationRegressor",
        "GeneralizedDistillationRegressorCV",
    ),
    "privileged": ("PrivilegedClassifier", "PrivilegedRegressor"),
    # Networks and losses are used as pitskd.models.MLP and pitskd.losses.FitNetHint.
    "models": (),
    "losses": (),
    "neural": (
        "ClassBiasCorrection",
        "LabelRefineryClassifier",
        "NeuralDistillationClassifier",
        "NeuralDistillationClassifierCV",
        "NeuralDistillationRegressor",
        "NeuralDistillationRegressorCV",
        "munge",
    ),
    "persistence": ("load", "model_facts", "save"),
    "anomaly": ("AchievedRate", "Alarm", "PrivilegedAnomalyDetector", "RiverAdapter"),
    # The other names of this room are used as pitskd.experiments.compare_methods.
    "experiments": (
        "AnomalyTimelineDisplay",
        "DetectorReport",
        "FileReport",
        "ImitationPathDisplay",
        "PrivilegedGainDisplay",
        "detector_report",
        "file_report",
        "privileged_report",
    ),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

# Derived, so that a name is listed once; type checkers read the imports above.
__all__ = [*_HOME, *_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import the room of a public name when it is first asked for."""
    if name in _ROOMS:
        return importlib.import_module(f"pitskd.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"pitskd.{_HOME[name]}"), name)
    raise AttributeError(f"module 'pitskd' has no attribute {name!r}. It has: {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
