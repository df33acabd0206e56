"""Pseudo-rows near the rows at hand, for a teacher to label where unlabelled windows are scarce: MUNGE."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from pitskd._random import stage_generator
from pitskd._validation import (
    check_complete,
    check_floats,
    check_fraction,
    check_integer,
    check_positive,
    wrong,
)

__all__ = ["munge"]


def munge(
    X: Any,
    *,
    n_copies: int = 1,
    probability: float = 0.5,
    local_variance: float = 1.0,
    random_state: Any = None,
) -> np.ndarray:
    """Make pseudo-rows by exchanging channels between each row and its nearest neighbour.

    A student needs more inputs than a small set holds, and a teacher can label any. Pseudo-rows keep to where rows
    lie, which noise on every value would not.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_channels) or (n_windows, window, n_channels)
        At least two rows, complete. A 2-D row is one step of time: each column is a channel.
    n_copies : int, default=1
        Pseudo-rows per row.
    probability : float, default=0.5
        Of exchanging a channel, in [0, 1].
    local_variance : float, default=1.0
        Above 0; the larger, the closer an exchanged value stays to the neighbour's. The standard deviation around it
        is the distance of both values divided by this.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        An int gives the same pseudo-rows each time.

    Returns
    -------
    pseudo : ndarray of shape (n_copies * n_rows, ...)
        float64; copy after copy, each in the order of `X`. The rows themselves are not among them.

    Raises
    ------
    ValueError
        If `X` has fewer than two rows, another number of axes, or missing values; if a number is out of its range.

    Notes
    -----
    Algorithm MUNGE of [1]_ (Table 1) for continuous attributes, adapted to windows in three ways. An attribute is the
    whole path of a channel, so that serial order inside a window is kept: no path mixes two sources. One normal number
    moves a whole path, ``e' + z (e - e') / local_variance``, which at each single step has the law of [1]_ but stays
    as smooth as both paths are. And neighbours are those in `X`, found once, not those among half-made pseudo-rows.
    Distances are Euclidean, channels scaled to [0, 1] as there; a channel that never changes does not count.

    References
    ----------
    .. [1] Bucila, Caruana, Niculescu-Mizil (2006). Model Compression. KDD.

    Examples
    --------
    With probability 1 and hardly any variance, both rows trade places twice: once as the first, once as the second.

    >>> windows = np.array([[[0.0, 5.0], [1.0, 6.0]], [[2.0, 5.0], [3.0, 7.0]]])
    >>> pseudo = munge(windows, n_copies=3, probability=1.0, local_variance=1e9, random_state=0)
    >>> pseudo.shape, np.allclose(pseudo[:2], windows)
    ((6, 2, 2), True)
    """
    n_copies = check_integer("n_copies", n_copies, minimum=1, step="Use 1 for as many pseudo-rows as rows.")
    check_fraction("probability", probability, "Use e.g. 0.5.")
    check_positive("local_variance", local_variance, "Use e.g. 1.0; larger stays closer to the neighbours.")
    rows = _read(X)
    generator = stage_generator(random_state, "munge")
    neighbours = _nearest(rows)
    copies = [_munged(rows, neighbours, probability, local_variance, generator) for _ in range(n_copies)]
    return np.concatenate(copies).reshape(n_copies * len(rows), *np.shape(X)[1:])


def _read(X: Any) -> np.ndarray:
    """Return rows as (n_rows, window, n_channels)."""
    array = check_floats("X", X)
    if array.ndim not in (2, 3) or len(array) < 2:
        expected = "of shape (n_rows, n_channels) or (n_windows, window, n_channels) with at least two rows"
        raise wrong("X", expected, f"shape {array.shape}", "A row needs another to exchange channels with.")
    windows = array[:, None, :] if array.ndim == 2 else array
    flat = windows.reshape(len(windows), -1)
    check_complete("X", flat, allow_nan=False, step="Impute it, or drop the rows that miss values.")
    return windows


def _nearest(rows: np.ndarray) -> np.ndarray:
    """Return the position of each row's nearest other row."""
    low, high = rows.min(axis=(0, 1)), rows.max(axis=(0, 1))
    spread = np.where(high > low, high - low, 1.0)
    scaled = ((rows - low) / spread).reshape(len(rows), -1)
    return NearestNeighbors(n_neighbors=1).fit(scaled).kneighbors(return_distance=False)[:, 0]


def _munged(
    rows: np.ndarray, neighbours: np.ndarray, probability: float, local_variance: float, generator: np.random.Generator
) -> np.ndarray:
    """Return one copy of all rows after each, in turn, has exchanged channels with its neighbour."""
    munged = rows.copy()
    n_rows, _, n_channels = rows.shape
    exchanged = generator.random((n_rows, n_channels)) < probability
    moves = generator.standard_normal((2, n_rows, n_channels)) / local_variance
    for row, other in enumerate(neighbours):
        channels = exchanged[row]
        here, there = munged[row][:, channels], munged[other][:, channels]
        apart = here - there
        munged[row][:, channels] = there + moves[0, row, channels] * apart
        munged[other][:, channels] = here - moves[1, row, channels] * apart
    return munged
