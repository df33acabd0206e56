"""Weighted means and products of rows, which add up: what a linear rule needs to know of rows that are gone.

Rows are centred near their mean before their products are taken, and blocks are joined by the formula of Chan, Golub
and LeVeque (1983), so that no digits are lost to a mean that is large.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from pitskd._validation import shorten, wrong

__all__: list[str] = []

_EPS = float(np.finfo(np.float64).eps)
_BLOCK_BYTES = 2**20  # a block of rows and its products stay in the cache
_SMALL = 10**6  # multiplications of a product that OpenBLAS takes for small: a third faster for 32 columns
_WORTH = 256  # rows of such a product, below which calling BLAS costs more
_BLOCKS = 8  # that a thread takes at a time
_MANY = 10**6  # values, above which threads are worth their start
_STEP = "Pass parts of the same series, cut alike."
_LOST = 1e-8  # relative error of coefficients beyond which the user is told


class Affine(NamedTuple):
    """The map ``rows @ matrix.T + shift``."""

    matrix: np.ndarray  # (m, n_columns)
    shift: np.ndarray  # (m,)


@dataclass(frozen=True, eq=False)
class Moments:
    """Total weight, mean and scatter of rows.

    Parameters
    ----------
    count : int
        Rows, those of weight 0 included.
    weight : float
        Sum of weights.
    mean : ndarray of shape (n_columns,)
    scatter : ndarray of shape (n_columns, n_columns)
        Sum of weighted products of departures from the mean.
    """

    count: int
    weight: float
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def empty(cls, n_columns: int) -> Moments:
        return cls(0, 0.0, np.zeros(n_columns), np.zeros((n_columns, n_columns)))

    @classmethod
    def of(cls, columns: Sequence[np.ndarray], sample_weight: np.ndarray | None = None) -> Moments:
        """Return the moments of rows whose columns stand in arrays (n, d_1), (n, d_2), ... side by side."""
        n_given, widths = len(columns[0]), [part.shape[1] for part in columns]
        if sample_weight is not None and not sample_weight.all():  # whatever stands in rows that do not count
            columns, sample_weight = [part[sample_weight > 0] for part in columns], sample_weight[sample_weight > 0]
        n = len(columns[0])
        # Products of wide rows cost more than passing over the block: it may leave the cache for them.
        size = max(_BLOCK_BYTES // (8 * sum(widths) or 1), 4 * sum(widths))
        near = [part[:size].mean(axis=0, dtype=np.float64) if n else np.zeros(part.shape[1]) for part in columns]
        starts = range(0, n, size)

        def of_stretch(first: int) -> Moments:
            spans = (slice(start, start + size) for start in starts[first : first + _BLOCKS])
            return cls._of_spans(columns, sample_weight, near, spans, size)

        with _threads(n * sum(widths)) as mapped:  # stretches and their order do not depend on the threads
            total = merged(mapped(of_stretch, range(0, len(starts), _BLOCKS)), sum(widths))
        return replace(total, count=n_given, mean=total.mean + np.concatenate(near))

    @classmethod
    def _of_spans(
        cls, columns: Sequence[np.ndarray], sample_weight: np.ndarray | None, near: Sequence[np.ndarray],
        spans: Iterable[slice], size: int,
    ) -> Moments:  # fmt: skip
        """Return the moments of the departures of some blocks from a point near their mean.

        Blocks are copied to one place that stays in the cache.
        """
        point = np.concatenate(near)
        borders = np.cumsum([0, *map(len, near)])
        longest, d = min(size, len(columns[0])), len(point)
        buffer, repeated = np.empty((longest, d + 1)), np.tile(np.append(point, 0.0), longest)
        total = cls.empty(d)
        for span in spans:
            block = buffer[: len(columns[0][span])]
            for part, left, right in zip(columns, borders[:-1], borders[1:], strict=True):
                block[:, left:right] = part[span]
            block[:, d] = 1.0
            flat = block.reshape(-1)  # one long loop rather than many over a few columns
            flat -= repeated[: len(flat)]
            total = total.merged(cls._of_block(block, None if sample_weight is None else sample_weight[span]))
        return total

    @classmethod
    def _of_block(cls, block: np.ndarray, sample_weight: np.ndarray | None) -> Moments:
        """Return the moments of one block, whose mean is near zero and whose last column is 1; it is overwritten."""
        total = float(len(block))
        if sample_weight is not None:
            total = float(sample_weight.sum())
            block *= np.sqrt(sample_weight)[:, None]
        products = _products(block)
        apart = products[-1] / (total or 1.0)
        return cls(len(block), total, apart, products[:-1] - total * np.outer(apart, apart))

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both sets of rows."""
        total = self.weight + other.weight
        if not (self.weight and other.weight):
            known = self if self.weight else other
            return Moments(self.count + other.count, total, known.mean, known.scatter)
        apart, share = other.mean - self.mean, other.weight / total
        between = self.weight * share * np.outer(apart, apart)
        return Moments(
            self.count + other.count, total, self.mean + share * apart, self.scatter + other.scatter + between
        )

    def scaled(self, factor: float) -> Moments:
        """Return the moments of the same rows with all weights times a factor."""
        return Moments(self.count, factor * self.weight, self.mean, factor * self.scatter)

    def mapped(self, affine: Affine) -> Moments:
        """Return the moments of the rows that a map makes of these."""
        matrix, shift = affine
        return Moments(self.count, self.weight, matrix @ self.mean + shift, matrix @ self.scatter @ matrix.T)

    def of_columns(self, columns: np.ndarray) -> Moments:
        """Return the moments of some columns, in that order."""
        return Moments(self.count, self.weight, self.mean[columns], self.scatter[np.ix_(columns, columns)])

    def scale(self) -> np.ndarray:
        """Return standard deviations; 1 for columns constant up to rounding, as `location_and_scale` has it."""
        return np.where(self.varies(), self._deviation, 1.0)

    def varies(self) -> np.ndarray:
        """Tell which columns are not constant up to rounding."""
        return self._deviation > self.count * _EPS * np.abs(self.mean)

    @property
    def _deviation(self) -> np.ndarray:
        return np.sqrt(np.diag(self.scatter).clip(min=0.0) / (self.weight or 1.0))

    def mean_square(self) -> np.ndarray:
        """Return the weighted mean of the square of every column."""
        return np.diag(self.scatter) / self.weight + np.square(self.mean)


def _products(block: np.ndarray) -> np.ndarray:
    """Return the products of all columns with all but the last, (d + 1, d).

    Of few columns they are taken of so few rows at a time that BLAS does not repack them first.
    """
    d = block.shape[1] - 1
    inner, at_once = block[:, :d], _SMALL // max(1, d * (d + 1))
    if at_once < _WORTH:
        return np.vstack([inner.T @ inner, block[:, d] @ inner])
    total = np.zeros((d + 1, d))
    for start in range(0, len(block), at_once):
        rows = slice(start, start + at_once)
        total += block[rows].T @ inner[rows]
    return total


@dataclass(frozen=True, eq=False)
class Segments:
    """Moments of features and targets over stretches of rows in their order, between which folds can be cut.

    Parameters
    ----------
    parts : tuple of Moments
    n_features : int
    one_target : bool
        Whether targets have one axis.
    features : tuple of str or None
        Names of the features, if they came in frames.
    most : int
        Number of stretches kept; beyond it the two neighbours of fewest rows become one.
    """

    parts: tuple[Moments, ...]
    n_features: int
    one_target: bool
    features: tuple[str, ...] | None
    most: int

    @property
    def n_rows(self) -> int:
        return sum(part.count for part in self.parts)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Trailing shape of y."""
        return () if self.one_target else (len(self.parts[0].mean) - self.n_features,)

    @property
    def total(self) -> Moments:
        return merged(self.parts, len(self.parts[0].mean))

    def merged(self, other: Segments) -> Segments:
        """Return these stretches followed by others; refuse those of another shape."""
        check_alike("X", (self.n_features,), (other.n_features,))
        check_alike("y", self.target_shape, other.target_shape)
        check_same_names("X", self.features, other.features)
        return replace(self, parts=(*self.parts, *other.parts), most=other.most).shortened()

    def shortened(self) -> Segments:
        """Return no more stretches than are to be kept."""
        parts = list(self.parts)
        while len(parts) > self.most:
            first = int(np.argmin([a.count + b.count for a, b in pairwise(parts)]))
            parts[first : first + 2] = [parts[first].merged(parts[first + 1])]
        return replace(self, parts=tuple(parts))

    def folds(self, n_folds: int) -> list[Moments]:
        """Return about equal folds of adjacent stretches, cut as near to those of `KFold` as borders allow."""
        borders = np.cumsum([0, *(part.count for part in self.parts)])
        n, (least, more) = borders[-1], divmod(int(borders[-1]), n_folds)
        asked = [fold * least + min(fold, more) for fold in range(1, n_folds)]
        cuts = sorted({0, len(self.parts), *(int(np.argmin(np.abs(borders - row))) for row in asked)})
        folds = [merged(self.parts[a:b], len(self.parts[0].mean)) for a, b in pairwise(cuts)]
        return folds if n and len(folds) > 1 else []


@contextmanager
def _threads(n_values: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yield `map`, over as many threads as BLAS may use if there is work for them."""
    # In other threads than the first others may set the limit at the same time, and the last would not lift it.
    alone = threading.current_thread() is threading.main_thread()
    libraries = threadpool_info() if alone and n_values > _MANY else []
    n_threads = max((one["num_threads"] for one in libraries if one["user_api"] == "blas"), default=1)
    if n_threads == 1:
        yield map
        return
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as pool:
        yield pool.map


def warn_if_forgetting(model: Any, fitted: str, caller: int) -> None:
    """Tell whoever adds rows to a fit that has kept no sums, known by an attribute that both kinds of fit set."""
    if hasattr(model, fitted) and not hasattr(model, "statistics_"):
        warnings.warn(
            "partial_fit starts anew: fit keeps no sums of its rows, and they are forgotten. Call partial_fit from the "
            "first row on, or fit with all of them.",
            UserWarning,
            stacklevel=caller,
        )


def check_alike(name: str, known: tuple[int, ...], given: tuple[int, ...]) -> None:
    """Refuse parts of another trailing shape."""
    if known != given:
        before, now = (f"(n{''.join(f', {length}' for length in shape) or ','})" for shape in (known, given))
        raise wrong(name, f"of shape {before} as in the parts before", f"shape {now}", _STEP)


def check_same_names(name: str, known: tuple[str, ...] | None, given: tuple[str, ...] | None) -> None:
    """Refuse parts of other columns."""
    if known != given:
        before, now = ("an array" if names is None else ", ".join(map(str, names)) for names in (known, given))
        raise wrong(name, f"of the columns of the parts before, {shorten(before)}", shorten(now), _STEP)


def merged(parts: Iterable[Moments], n_columns: int) -> Moments:
    """Return the moments of all rows together."""
    total = Moments.empty(n_columns)
    for part in parts:
        total = total.merged(part)
    return total


def ridge_rules(
    moments: Moments, n_features: int, penalties: Any, scale: np.ndarray | None = None, *, tell: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Fit ridge regressions of the last columns on the first ones at every penalty.

    Parameters
    ----------
    moments : Moments
        Of features and targets side by side.
    n_features : int
    penalties : array of shape (n_penalties,)
        L2 on half the summed squares over standardised features, at least 0; at 0 of minimum norm.
    scale : ndarray of shape (n_features,), default=None
        What features are divided by; None: their standard deviations.
    tell : bool, default=True
        Whether to warn of lost digits.

    Returns
    -------
    coef : ndarray of shape (n_penalties, n_targets, n_features)
        For features as given.
    intercept : ndarray of shape (n_penalties, n_targets)

    Notes
    -----
    Products square the condition number: with lambda the eigenvalues of the standardised scatter, coefficients are off
    by about ``eps * max(lambda) / (min(lambda) + penalty)``. Where that exceeds 1e-8, directions that may hold nothing
    but rounding are left out, as if columns that depend on each other did so exactly, and a warning tells of it.
    """
    d, features = n_features, moments.of_columns(np.arange(n_features))
    scale = features.scale() if scale is None else scale
    varies = features.varies()
    unit = features.scatter / np.outer(scale, scale) * np.outer(varies, varies)
    values, axes = np.linalg.eigh(unit)
    strengths, top = np.asarray(penalties, dtype=np.float64)[:, None], values.max(initial=0.0)
    apart = values > 4.0 * d * _EPS * top
    kept = apart | (strengths * _LOST > _EPS * top)  # a strong penalty hides what is not known
    if tell:
        rank = min(int(varies.sum()), moments.count - 1)
        _tell_lost_digits(values[apart], float(strengths.min()), left_out=bool(kept.all(axis=0).sum() < rank))
    inverse = kept & (values + strengths > 0)
    shrink = np.divide(1.0, values.clip(min=0.0) + strengths, out=np.zeros(inverse.shape), where=inverse)
    told = axes.T @ (moments.scatter[:d, d:] * (varies / scale)[:, None])  # (d, k)
    coef = np.einsum("ij,pj,jk->pki", axes, shrink, told, optimize=True) / scale
    return coef, moments.mean[d:] - coef @ moments.mean[:d]


def _tell_lost_digits(values: np.ndarray, penalty: float, *, left_out: bool) -> None:
    error = _EPS * values.max() / (values.min() + penalty) if len(values) else 0.0
    if error > _LOST or left_out:
        known = "they are taken for exactly so" if left_out else f"coefficients are known to about {error:.0e} only"
        warnings.warn(
            f"Some columns are, or nearly are, a linear combination of others; from sums of products {known}. Drop a "
            "column or use a larger penalty, or fit to all rows in memory.",
            UserWarning,
            stacklevel=3,
        )
