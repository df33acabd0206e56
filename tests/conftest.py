"""Every test runs on one thread, without a network, and leaves the global random generators as they were."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before a numerical library starts; subprocesses inherit it

import random
import socket
import sys

import numpy as np
import pytest
import sklearn.model_selection  # noqa: F401  it loads rich, which draws from the global generator when first imported
from threadpoolctl import threadpool_limits

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session", autouse=True)
def no_network():
    def guarded(connect):
        def refuse(sock, address):
            if isinstance(address, tuple) and address[0] not in LOOPBACK:
                raise ConnectionRefusedError(f"a test tried to reach {address}; tests run without a network")
            return connect(sock, address)

        return refuse

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        yield


def torch_state():
    """Return the state of torch's global generator, None where torch is not loaded."""
    return sys.modules["torch"].get_rng_state().numpy().tobytes() if "torch" in sys.modules else None


@pytest.fixture(autouse=True)
def global_generators_untouched():
    before, torch_before = (np.random.get_state(legacy=True), random.getstate()), torch_state()
    yield
    after, torch_after = (np.random.get_state(legacy=True), random.getstate()), torch_state()
    assert after[1] == before[1], "python's global generator was used; pass random_state"
    assert torch_before in (None, torch_after), "torch's global generator was used; pass random_state"
    for now, then in zip(after[0], before[0], strict=True):
        assert np.array_equal(now, then), "numpy's global generator was used; pass random_state"
