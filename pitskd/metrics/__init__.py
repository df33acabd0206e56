"""Scores of anomaly detectors that scikit-learn does not have: volumes under range-based curves, and events.

Labels are 0 (normal) and 1 (anomalous), one per row in order of time; a score is larger where a row is more anomalous.
For curves over single rows use ``sklearn.metrics.roc_auc_score`` and ``average_precision_score``.
"""

from pitskd.metrics.events import (
    EventScores,
    event_scores,
    events_of,
    false_alarm_rate,
    false_alarms_per_day,
    fault_detection_rate,
)
from pitskd.metrics.volumes import vus_pr, vus_pr_scorer, vus_roc, vus_roc_scorer

__all__ = [
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
]
