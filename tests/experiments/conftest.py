import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

from pitskd import make_windows, simulate_mackey_glass
from pitskd.experiments.compare import time_blocks
from pitskd.experiments.five_cities import five_cities_tasks
from pitskd.experiments.protocols import EventTask


@pytest.fixture(scope="session")
def small_task():
    """A protocol C task of a second: 40 training and 40 validation windows of a noisy series."""
    series = simulate_mackey_glass(1600, noise=0.05, random_state=1)
    windows = make_windows(series, 0, window=4, horizon=4, privileged=2, stride=8)

    def choose(generator):
        order = generator.permutation(windows.n_windows)
        return order[:80], np.sort(order[80:])

    block = time_blocks(windows.origin, length=400)
    return EventTask("small", windows, 0.9, choose, block, {"student": 0.9}, n_train=40, n_validation=40)


def city_frame(n_hours, seed=0):
    """Hours of a made-up city: slow PM and temperature, gaps in PM, a few missing values of weather and wind."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_hours, 5))
    slow = lfilter([0.2], [1, -0.97], noise, axis=0)
    hours = pd.date_range("2010-01-01", periods=n_hours, freq="h", name="time")
    frame = pd.DataFrame(
        {
            "season": hours.month % 12 // 3 + 1.0,
            "PM_US Post": 80 + 60 * slow[:, 0] + 20 * slow[:, 1],
            "DEWP": 20 * slow[:, 1],
            "HUMI": 50 + 10 * slow[:, 2],
            "PRES": 1010 + 5 * slow[:, 3],
            "TEMP": 10 + 8 * slow[:, 4],
            "cbwd": rng.choice(["NE", "NW", "SE", "cv"], size=n_hours),
            "Iws": rng.exponential(20, size=n_hours),
        },
        index=hours,
    )
    frame.loc[rng.random(n_hours) < 0.02, "PM_US Post"] = np.nan
    frame.loc[rng.random(n_hours) < 0.05, ["HUMI", "PRES"]] = np.nan
    frame.loc[rng.random(n_hours) < 0.05, "cbwd"] = None
    return frame


@pytest.fixture(scope="session")
def city():
    return city_frame(4000)


@pytest.fixture(scope="session")
def city_tasks(city):
    """Four cells of a made-up city."""
    return five_cities_tasks(city, "utopia", horizons=(3, 5), sizes=(20, 60))
