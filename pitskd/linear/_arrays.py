"""Numpy or torch, so that one solver runs on both: what is spelt differently, and batches that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack

__all__: list[str] = []

_BATCH_BYTES = 256 * 2**20  # what the largest array of a batch may take


@dataclass(frozen=True)
class Space:
    """Where arrays live: numpy, or torch on a device. Spelt the same in both: all that is taken from `xp`."""

    device: str | None

    @property
    def xp(self) -> Any:
        if self.device is None:
            return np
        import torch

        return torch

    def array(self, values: Any) -> Any:
        values = np.asarray(values, dtype=np.float64)
        return values if self.device is None else self.xp.tensor(values, device=self.device)

    def numpy(self, values: Any) -> np.ndarray:
        return values if self.device is None else values.cpu().numpy()

    def inverse_roots(self, matrices: Any) -> Any:
        """Return R with ``R R'`` the inverse of each positive definite matrix; numpy's matrices are overwritten."""
        if self.device is not None:
            linalg = self.xp.linalg
            unit = self.xp.eye(matrices.shape[-1], dtype=matrices.dtype, device=self.device)
            return linalg.solve_triangular(linalg.cholesky_ex(matrices).L, unit, upper=False).mT
        # LAPACK takes columns first: a symmetric matrix transposed is itself and needs no copy.
        factors = (lapack.dpotrf(matrix.T, lower=1, clean=1, overwrite_a=1)[0] for matrix in matrices)
        return np.stack([lapack.dtrtri(factor, lower=1, overwrite_c=1)[0].T for factor in factors])


def batches(count: int, bytes_each: int) -> Iterator[slice]:
    """Yield slices of `count` problems, each batch within the memory bound."""
    size = max(1, _BATCH_BYTES // max(1, bytes_each))
    return (slice(start, start + size) for start in range(0, count, size))
