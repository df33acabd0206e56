"""Windows of several frequencies, classed by the strongest: what soft labels tell of a class that no label shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from pitskd._random import stage_generator
from pitskd._validation import check_fraction, check_integer, check_strength
from pitskd.datasets.simulations import PrivilegedSample

__all__ = ["simulate_frequencies"]


def simulate_frequencies(
    n_samples: int,
    *,
    n_classes: int = 4,
    length: int = 24,
    rival: float = 0.8,
    noise: float = 0.2,
    random_state: Any = None,
) -> PrivilegedSample:
    """Draw series of several frequencies, classed by the strongest one; the teacher sees all amplitudes.

    Weaker frequencies make a soft label say more than the class: a student can learn from it what a class looks like
    of which it has never seen a sample.

    Parameters
    ----------
    n_samples : int
        Rows drawn, at least 1.
    n_classes : int, default=4
        Frequencies, at least 2; class k has k + 1 cycles per window.
    length : int, default=24
        Steps of a window, above twice `n_classes`, so that no frequency is mistaken for another.
    rival : float, default=0.8
        In [0, 1]: largest amplitude of the frequencies that are not the strongest, whose amplitude is 1.
    noise : float, default=0.2
        Deviation of the noise of every step, at least 0.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        Seed of the rows.

    Returns
    -------
    PrivilegedSample
        X (n_samples, length, 1); X_privileged (n_samples, n_classes) the amplitudes; y (n_samples,) the class, from 0.

    Raises
    ------
    ValueError
        If a size is too small, rival outside [0, 1] or noise below 0; ``TypeError`` if a size is no integer.

    Notes
    -----
    x_t = sum_k a_k sin(2 pi (k + 1) t / length + phi_k) + noise e_t, phases phi_k uniform, a_y = 1, else a_k ~ U(0,
    rival), y uniform. A design of this package for the experiment of [1]_ in which a class is omitted.

    References
    ----------
    .. [1] Hinton, Vinyals, Dean (2015). Distilling the Knowledge in a Neural Network. arXiv:1503.02531, section 3.

    Examples
    --------
    >>> X, X_privileged, y = simulate_frequencies(1000, random_state=0)
    >>> X.shape, X_privileged.shape, bool((X_privileged.argmax(axis=1) == y).all())
    ((1000, 24, 1), (1000, 4), True)
    """
    n_samples = check_integer("n_samples", n_samples, minimum=1, step="Use e.g. 1000.")
    n_classes = check_integer("n_classes", n_classes, minimum=2, step="Use 4 for frequencies of 1 to 4 cycles.")
    length = check_integer("length", length, minimum=2 * n_classes + 1, step="Use longer windows or fewer classes.")
    rival = check_fraction("rival", rival, "Use 0.8 for rivals of up to 0.8 times the strongest amplitude.")
    noise = check_strength("noise", noise, "Use 0.2.")
    y = stage_generator(random_state, "classes").integers(n_classes, size=n_samples)
    amplitudes = rival * stage_generator(random_state, "amplitudes").uniform(size=(n_samples, n_classes))
    amplitudes[np.arange(n_samples), y] = 1.0
    phases = 2 * np.pi * stage_generator(random_state, "phases").uniform(size=(n_samples, n_classes))
    cycles = 2 * np.pi * np.arange(1, n_classes + 1) * np.arange(length)[:, None] / length
    waves = np.einsum("nk,nlk->nl", amplitudes, np.sin(cycles + phases[:, None]))
    X = waves + noise * stage_generator(random_state, "step noise").normal(size=(n_samples, length))
    return PrivilegedSample(X[:, :, None], amplitudes, y)
