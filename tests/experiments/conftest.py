import numpy as np
import pytest

from pitskd import make_windows, simulate_mackey_glass
from pitskd.experiments.compare import time_blocks
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
