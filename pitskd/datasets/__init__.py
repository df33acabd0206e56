"""Series to learn from: simulators and readers of public data."""

from pitskd.datasets._remote import DatasetError
from pitskd.datasets.mackey_glass import mackey_glass_windows, simulate_mackey_glass
from pitskd.datasets.pm25 import fetch_beijing_pm25, fetch_five_cities_pm25, five_cities_windows, pm25_windows
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
    "fetch_beijing_pm25",
    "fetch_five_cities_pm25",
    "five_cities_windows",
    "linear_chain_coef",
    "mackey_glass_windows",
    "pm25_windows",
    "simulate_clean_features",
    "simulate_clean_labels",
    "simulate_linear_chain",
    "simulate_mackey_glass",
    "simulate_relevant_features",
    "simulate_sample_dependent_features",
]
