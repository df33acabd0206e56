"""Series to learn from: simulators and readers of public data."""

from pitskd.datasets._remote import DatasetError
from pitskd.datasets.frequencies import simulate_frequencies
from pitskd.datasets.injection import inject_anomalies
from pitskd.datasets.mackey_glass import mackey_glass_windows, simulate_mackey_glass
from pitskd.datasets.pm25 import fetch_beijing_pm25, fetch_five_cities_pm25, five_cities_windows, pm25_windows
from pitskd.datasets.sensors import SensorLog, fetch_skab, fetch_tep, skab_runs
from pitskd.datasets.simulations import (
    PrivilegedSample,
    linear_chain_coef,
    simulate_clean_features,
    simulate_clean_labels,
    simulate_linear_chain,
    simulate_relevant_features,
    simulate_sample_dependent_features,
)

__all__ = [
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
]
