"""The only room that seeds: one derived seed per stage, global generators are never touched."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pitskd._validation import wrong

__all__: list[str] = []

_GLOBAL_GENERATORS = threading.RLock()


def stage_generator(random_state: Any, stage: str) -> np.random.Generator:
    """Return a generator for one stage of a computation, independent of every other stage's.

    Parameters
    ----------
    random_state : int, numpy Generator, numpy RandomState or None
        What the user passed. An int gives the same stream for the same stage each time; a generator is advanced by
        one draw; None draws fresh entropy.
    stage : str
        Name of the stage ("history", "noise", "permutation", ...).
    """
    return np.random.default_rng(
        np.random.SeedSequence(_entropy(random_state), spawn_key=(zlib.crc32(stage.encode()),))
    )


def stage_seed(random_state: Any, stage: str) -> int:
    """Return a seed for one stage, for what takes an int: a torch generator, a noise key."""
    return int(stage_generator(random_state, stage).integers(2**63))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run code that draws from torch's global generators from a seed, and leave these as they were.

    Modules initialise themselves, and foreign ones drop units, by the global generators: there is no other way in. One
    thread at a time goes through.
    """
    import torch  # here, so that rooms above the networks do not load it

    # Not torch.manual_seed and fork_rng, which prepare every kind of device, absent ones too, at milliseconds a call.
    on_gpu = torch.cuda.is_initialized()
    with _GLOBAL_GENERATORS:
        before = torch.default_generator.get_state(), torch.cuda.get_rng_state_all() if on_gpu else []
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed_all(seed)
        try:
            yield
        finally:
            torch.default_generator.set_state(before[0])
            if on_gpu:
                torch.cuda.set_rng_state_all(before[1])


def _entropy(random_state: Any) -> int | None:
    if random_state is None:
        return None
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool) and random_state >= 0:
        return int(random_state)
    raise wrong(
        "random_state", "a non-negative integer, a numpy generator or None", random_state, "Use random_state=0."
    )
