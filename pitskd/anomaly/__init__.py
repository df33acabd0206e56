"""Anomalies on sensor streams: a student forecasts the sensors that stay, and what it did not foresee is the score."""

from pitskd.anomaly.calibration import AchievedRate
from pitskd.anomaly.detector import PrivilegedAnomalyDetector
from pitskd.anomaly.river import RiverAdapter
from pitskd.anomaly.stream import Alarm

__all__ = ["AchievedRate", "Alarm", "PrivilegedAnomalyDetector", "RiverAdapter"]
