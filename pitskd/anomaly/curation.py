"""Which rows of a log were normal, told by all sensors at once: a robust centre and the rows near it.

Concentration steps in the manner of Rousseeuw and Van Driessen (1999): fit mean and covariance to some rows, keep those
nearest to them, repeat. Faults last, so distances are averaged over neighbouring rows, and covariances are shrunk; the
theorem of convergence covers neither, and the steps are bounded in number.
"""

from __future__ import annotations

import numpy as np
from sklearn.covariance import ledoit_wolf

__all__: list[str] = []

_NEIGHBOURS = 5  # rows that a distance is averaged over
_WIDTH = 5.0  # standard deviations of such a mean of distances that normal rows stay within
_C_STEPS, _REWEIGHTINGS = 30, 50


def normal_rows(rows: np.ndarray, run: np.ndarray, contamination: float | None) -> np.ndarray:
    """Choose the rows that belong together, (n,) bool.

    Parameters
    ----------
    rows : ndarray of shape (n, k)
        All sensors that may judge; NaN where missing.
    run : ndarray of shape (n,)
        Rows of different runs are no neighbours.
    contamination : float or None
        Share of rows that were not normal; None: less than half. The search starts from as many rows as are left, and
        then keeps those that stay within five standard deviations of the kept ones, until that changes nothing.
    """
    centre = np.nanmedian(rows, axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(rows - centre), axis=0)
    spread = np.where(spread > 0, spread, np.nanstd(rows, axis=0))
    z = np.nan_to_num((rows - centre)[:, spread > 0] / spread[spread > 0])
    n, k = z.shape
    if not k:
        return np.ones(n, dtype=bool)
    n_kept = max(round((0.5 if contamination is None else 1.0 - contamination) * n), 2)
    kept = _nearest(_neighbourhood(np.mean(z * z, axis=1), run), n_kept)
    for _ in range(_C_STEPS):
        before, kept = kept, _nearest(_distances(z, kept, run), n_kept)
        if np.array_equal(before, kept):
            break
    for _ in range(_REWEIGHTINGS):
        distances = _distances(z, kept, run)
        middle = np.median(distances[kept])
        # As wide as means over neighbours vary: the more, the more neighbours depend on each other.
        width = max(
            1.4826 * float(np.median(np.abs(distances[kept] - middle))), np.sqrt(2.0 / (_NEIGHBOURS * k)) * middle
        )
        before, kept = kept, distances <= middle + _WIDTH * width
        if np.array_equal(before, kept):
            break
    # A fault's first and last rows hide in means over their normal neighbours.
    left_out = _neighbourhood((~kept).astype(np.float64), run) > 0
    return ~left_out if not left_out.all() else kept


def _distances(z: np.ndarray, kept: np.ndarray, run: np.ndarray) -> np.ndarray:
    """Return squared Mahalanobis distances to the kept rows, averaged over neighbours."""
    away = z - z[kept].mean(axis=0)
    precision = np.linalg.pinv(ledoit_wolf(z[kept])[0], hermitian=True)
    return _neighbourhood(np.einsum("ij,ij->i", away @ precision, away), run)


def _neighbourhood(values: np.ndarray, run: np.ndarray) -> np.ndarray:
    """Return centred means over `_NEIGHBOURS` rows, over fewer at the ends of runs."""
    sums, counts = np.zeros(len(values)), np.zeros(len(values))
    for shift in range(-(_NEIGHBOURS // 2), _NEIGHBOURS // 2 + 1):
        here = slice(max(-shift, 0), len(values) - max(shift, 0))
        there = slice(max(shift, 0), len(values) - max(-shift, 0))
        same = run[here] == run[there]
        sums[here] += np.where(same, values[there], 0.0)
        counts[here] += same
    return sums / counts


def _nearest(distances: np.ndarray, n_kept: int) -> np.ndarray:
    kept = np.zeros(len(distances), dtype=bool)
    kept[np.argsort(distances, kind="stable")[:n_kept]] = True
    return kept
