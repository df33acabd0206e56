"""Simulated sensor logs, and detectors fitted to one of them once per session."""

import copy
from functools import cache

import numpy as np
import pandas as pd
import pytest

from pitskd.anomaly import PrivilegedAnomalyDetector

NAMES = ("flow", "heat", "load")
START = "2024-05-01"


def _simulate(n_rows, seed=0, n_channels=3):
    """Return a stationary VAR(1) with correlated noise, (n_rows, n_channels)."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(n_channels) + 0.3 * (np.arange(n_channels)[:, None] < np.arange(n_channels))
    noise = rng.normal(size=(n_rows + 50, n_channels)) @ mixing
    rows = np.zeros_like(noise)
    for t in range(1, len(rows)):
        rows[t] = 0.6 * rows[t - 1] + 0.2 * np.roll(rows[t - 1], 1) + noise[t]
    return rows[50:]


def _framed(rows, seconds=1.0, start=START):
    """Return rows as a frame of named columns, one row every so many seconds."""
    index = pd.Timestamp(start) + pd.to_timedelta(np.arange(len(rows)) * seconds, unit="s")
    return pd.DataFrame(rows, columns=list(NAMES), index=index)


@cache
def _fit(settings):
    return PrivilegedAnomalyDetector(**dict(settings)).fit(_framed(_simulate(900)))


@pytest.fixture(scope="session")
def simulate():
    return _simulate


@pytest.fixture(scope="session")
def framed():
    return _framed


@pytest.fixture(scope="session")
def dicts():
    """Return what makes a mapping by sensor of every row."""
    return lambda rows: [dict(zip(NAMES, map(float, row), strict=True)) for row in rows]


@pytest.fixture(scope="session")
def fitted():
    """Return what gives a detector of these parameters, fitted to one log with names and times, its stream at rest."""

    def build(**settings):
        detector = copy.copy(_fit(tuple(sorted(settings.items()))))
        detector.reset()
        return detector

    return build


@pytest.fixture(scope="session")
def numbers():
    """Return what lists the numbers that a running stream depends on, comparable with ==; NaN as text."""

    def listed(detector):
        return {name: repr(np.asarray(value).tolist()) for name, value in detector.stream_.state().items()}

    return listed
