"""Networks draw their weights from torch's global generator: here from a seed, and it is left as it was."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded_and_restored():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
