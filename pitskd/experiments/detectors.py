"""Reference detectors of protocol A: what everyone has at hand, tuned as well as we could, calibrated exactly as ours.

Each is learnt from normal rows in order of time, of which it sees the newest and some before it, standardised. Its raw
score of a row is larger where the row is more anomalous and never negative. Scores of held-out rows come from ten
contiguous blocks, each judged by a detector that was learnt from rows that share nothing with it.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

__all__: list[str] = []

Judge = Callable[[np.ndarray], np.ndarray]  # what is seen of rows (n, d) -> raw scores (n,)

_N_BLOCKS = 10
_ALL_BUT_CERTAIN = 1e-300  # a similarity of 0 has no logarithm
# Of autoencoders. Later normal rows of SKAB are reconstructed best after few epochs, and noise does not help.
HIDDEN, BOTTLENECK, EPOCHS = 64, 8, 15


class Reference(ABC):
    """Learn what is normal from rows in order of time, and score rows; larger is more anomalous."""

    n_lags: int

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the name in tables."""

    @abstractmethod
    def learn(self, seen: np.ndarray) -> Judge:
        """Learn from what is seen of normal rows (n, n_lags * c), newest row first."""

    def fit(self, X: np.ndarray) -> Reference:
        """Learn from normal rows (n, c)."""
        self.judge_ = self.learn(seen_rows(X, self.n_lags)[self.n_lags - 1 :])
        return self

    def score(self, X: np.ndarray) -> np.ndarray:
        """Return the raw score of each row (n, c); before the first row all rows were as the first."""
        return self.judge_(seen_rows(X, self.n_lags))

    def held_out(self, X: np.ndarray) -> np.ndarray:
        """Return the raw scores of rows n_lags - 1 .. n - 1 of a log (n, c), of detectors that had not seen them."""
        seen, last = seen_rows(X, self.n_lags)[self.n_lags - 1 :], np.arange(self.n_lags - 1, len(X))
        block = last * _N_BLOCKS // len(X)
        scores = np.empty(len(last))
        for number in range(_N_BLOCKS):
            inside = np.flatnonzero(block == number)
            outside = (last < last[inside[0]]) | (last - self.n_lags + 1 > last[inside[-1]])
            scores[inside] = self.learn(seen[outside])(seen[inside])
        return scores


def seen_rows(X: np.ndarray, n_lags: int) -> np.ndarray:
    """Return each row with those before it, newest first: (n, n_lags * c). Before the first row stands the first."""
    rows = np.arange(len(X))
    return np.hstack([X[np.maximum(rows - lag, 0)] for lag in range(n_lags)])


def _standard(seen: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what brings columns to mean 0 and deviation 1 on these rows; a constant column keeps its unit."""
    mean, scale = seen.mean(axis=0), seen.std(axis=0)
    scale = np.where(scale > 1e-12 * np.abs(seen).max(axis=0), scale, 1.0)
    return lambda rows: (rows - mean) / scale


@dataclass(eq=False)
class PrincipalComponents(Reference):
    """T2 inside the space of the first principal components, or Q, the squared distance from it.

    Parameters
    ----------
    statistic : "T2" or "Q"
    variance : float
        Share of it that the components explain, in (0, 1).
    n_lags : int
        Rows seen, 1 for the newest alone.
    """

    statistic: str
    variance: float
    n_lags: int = 1

    @property
    def name(self) -> str:
        """Return statistic, lags and share."""
        return f"PCA {self.statistic}{_lags(self.n_lags)} ({self.variance:.0%})"

    def learn(self, seen: np.ndarray) -> Judge:
        """Learn components."""
        standard = _standard(seen)
        components = PCA(self.variance, svd_solver="full").fit(standard(seen))

        def judge(rows: np.ndarray) -> np.ndarray:
            z = standard(rows)
            t = components.transform(z)
            if self.statistic == "T2":
                return (t**2 / components.explained_variance_).sum(axis=1)
            return np.square(z - components.inverse_transform(t)).sum(axis=1)

        return judge


@dataclass(eq=False)
class Mahalanobis(Reference):
    """Squared distance from the mean under the Ledoit-Wolf covariance."""

    n_lags: int = 1

    @property
    def name(self) -> str:
        """Return the name with lags."""
        return f"Mahalanobis{_lags(self.n_lags)}"

    def learn(self, seen: np.ndarray) -> Judge:
        """Learn mean and covariance."""
        standard = _standard(seen)
        covariance = LedoitWolf().fit(standard(seen))
        return lambda rows: covariance.mahalanobis(standard(rows))


@dataclass(eq=False)
class Forest(Reference):
    """Isolation forest; the score is 2^(-depth / expected depth)."""

    n_lags: int = 1
    n_trees: int = 200

    @property
    def name(self) -> str:
        """Return the name with lags."""
        return f"IsolationForest{_lags(self.n_lags)}"

    def learn(self, seen: np.ndarray) -> Judge:
        """Grow the trees."""
        forest = IsolationForest(n_estimators=self.n_trees, random_state=0).fit(seen)
        return lambda rows: -forest.score_samples(rows)


@dataclass(eq=False)
class LocalOutliers(Reference):
    """Local outlier factor of new rows among the learnt ones."""

    n_neighbors: int = 50
    n_lags: int = 1

    @property
    def name(self) -> str:
        """Return the name with lags."""
        return f"LOF{_lags(self.n_lags)}"

    def learn(self, seen: np.ndarray) -> Judge:
        """Learn the densities."""
        standard = _standard(seen)
        factor = LocalOutlierFactor(n_neighbors=self.n_neighbors, novelty=True).fit(standard(seen))
        return lambda rows: -factor.score_samples(standard(rows))


@dataclass(eq=False)
class OneClass(Reference):
    """One-class support vector machine; the score is minus the logarithm of the weighted similarity to the log."""

    gamma: Any = 0.02
    n_lags: int = 1

    @property
    def name(self) -> str:
        """Return the name with lags."""
        return f"OneClassSVM{_lags(self.n_lags)}"

    def learn(self, seen: np.ndarray) -> Judge:
        """Learn the support."""
        standard = _standard(seen)
        machine = OneClassSVM(gamma=self.gamma, nu=0.05)
        machine.random_state = 0  # no parameter of it, but without it numpy's global generator is advanced
        machine.fit(standard(seen))
        most = machine.dual_coef_.sum()  # the similarity of a row that equals every vector of the support

        def judge(rows: np.ndarray) -> np.ndarray:
            similarity = machine.score_samples(standard(rows)) / most
            return -np.log(np.clip(similarity, _ALL_BUT_CERTAIN, 1.0))

        return judge


@dataclass(eq=False)
class Autoregression(Reference):
    """Residuals of statsmodels' least-squares VAR with a constant, their squared distance under their covariance.

    Parameters
    ----------
    order : int or None
        Rows that forecast the next; None for the best AIC up to 5.
    """

    order: int | None = None

    def __post_init__(self) -> None:
        self.n_lags = (self.order or 1) + 1

    @property
    def name(self) -> str:
        """Return the name with the order."""
        return "VAR (AIC)" if self.order is None else f"VAR({self.order})"

    def fit(self, X: np.ndarray) -> Autoregression:
        """Choose the order where it is not given, and fit."""
        from statsmodels.tsa.api import VAR

        standard = _standard(X)
        model = VAR(standard(X))
        order = self.order or max(1, int(model.select_order(maxlags=_largest_order(X), trend="c").aic))
        self.n_lags = order + 1
        found = model.fit(order, trend="c")
        judge = _residual_distance(np.asarray(found.params), np.asarray(found.sigma_u))
        self.judge_ = lambda seen: judge(_each(standard, seen, X.shape[1]))
        return self

    def learn(self, seen: np.ndarray) -> Judge:
        """Fit the same equations to rows with holes between them, which statsmodels does not take."""
        n_channels = seen.shape[1] // self.n_lags
        standard = _standard(seen)
        y, before = np.split(standard(seen), [n_channels], axis=1)
        given = np.column_stack([np.ones(len(before)), before])
        params = np.linalg.lstsq(given, y, rcond=None)[0]
        left = y - given @ params
        judge = _residual_distance(params, left.T @ left / (len(given) - given.shape[1]))
        return lambda rows: judge(standard(rows))


def _largest_order(X: np.ndarray) -> int:
    """Return the order up to 5 that leaves statsmodels residuals enough for their covariance."""
    n, c = X.shape
    return max(1, min(5, (n - c - 2) // (c + 1)))


def _residual_distance(params: np.ndarray, covariance: np.ndarray) -> Judge:
    precision = np.linalg.inv(covariance)

    def judge(seen: np.ndarray) -> np.ndarray:
        y, before = np.split(seen, [len(covariance)], axis=1)
        left = y - before @ params[1:] - params[0]
        return np.einsum("ij,jk,ik->i", left, precision, left)

    return judge


def _each(standard: Callable[[np.ndarray], np.ndarray], seen: np.ndarray, n_channels: int) -> np.ndarray:
    """Bring every row of what is seen to the unit of one row."""
    return standard(seen.reshape(-1, n_channels)).reshape(seen.shape)


@dataclass(eq=False)
class HalfSpaces(Reference):
    """river's half-space trees: 10 trees of height 8, windows of 100 rows, limits from the log.

    They learn from the log in order of time and only score afterwards, as all detectors here.
    """

    n_lags: int = 1

    @property
    def name(self) -> str:
        """Return the name with lags."""
        return f"HalfSpaceTrees (river){_lags(self.n_lags)}"

    def learn(self, seen: np.ndarray) -> Judge:
        """Learn row by row."""
        forests: Any = importlib.import_module("river.anomaly")  # an optional peer, unknown to type checkers
        standard = _standard(seen)  # a tree is likelier to split a sensor whose limits lie farther apart
        rows = standard(seen)
        low, high = rows.min(axis=0), np.maximum(rows.max(axis=0), rows.min(axis=0) + 1e-9)
        limits: dict[Any, Any] = dict(enumerate(zip(low.tolist(), high.tolist(), strict=True)))
        trees = forests.HalfSpaceTrees(n_trees=10, height=8, window_size=min(100, len(rows)), limits=limits, seed=0)
        for row in rows.tolist():
            trees.learn_one(dict(enumerate(row)))

        def judge(rows: np.ndarray) -> np.ndarray:
            inside = np.clip(standard(rows), low, high)  # beyond its limits a tree knows nothing
            return np.array([trees.score_one(dict(enumerate(row))) for row in inside.tolist()])

        return judge


@dataclass(eq=False)
class Reconstruction(Reference):
    """Mean squared error of an autoencoder that writes the window of a row out again, in deviations of each entry.

    A neural student without a teacher, of X as its own target. Layers, epochs and rates were chosen by the error on
    later normal rows of SKAB, never by labels.

    Parameters
    ----------
    kind : "dense" or "convolutional"
    n_lags : int
        Rows of a window.
    """

    kind: str
    n_lags: int = 8

    @property
    def name(self) -> str:
        """Return the kind and the lags."""
        return f"{self.kind} autoencoder{_lags(self.n_lags)}"

    def learn(self, seen: np.ndarray) -> Judge:
        """Train the network."""
        from pitskd.models import Autoencoder  # loads torch
        from pitskd.neural import NeuralDistillationRegressor

        standard = _standard(seen)
        network = partial(Autoencoder, kind=self.kind, hidden=HIDDEN, bottleneck=BOTTLENECK)
        model = NeuralDistillationRegressor(
            student=network, imitation=0.0, max_epochs=EPOCHS, batch_size=64, learning_rate=0.01, schedule="cosine",
            validation=None, random_state=0,
        )  # fmt: skip
        windows = self._windows(standard(seen))
        model.fit(windows, windows.reshape(len(windows), -1))

        def judge(rows: np.ndarray) -> np.ndarray:
            windows = self._windows(standard(rows))
            return np.square(model.predict(windows) - windows.reshape(len(windows), -1)).mean(axis=1)

        return judge

    def _windows(self, seen: np.ndarray) -> np.ndarray:
        """Return what is seen as windows (n, n_lags, c), oldest row first."""
        return seen.reshape(len(seen), self.n_lags, -1)[:, ::-1]


def _lags(n_lags: int) -> str:
    return "" if n_lags == 1 else f", {n_lags} lags"


def all_references() -> list[Reference]:
    """Return fresh references with settings that did well on SKAB and TEP, and those that textbooks give.

    Returns
    -------
    list of Reference
        Half-space trees only if river is installed.
    """
    found: list[Reference] = [
        *short_references(),
        PrincipalComponents("T2", 0.95, n_lags=4),
        LocalOutliers(50),
        LocalOutliers(20, n_lags=4),
        OneClass(0.02),
        OneClass("scale", n_lags=4),
        Autoregression(),
    ]
    return [*found, HalfSpaces()] if river_is_there() else found


def short_references(n_trees: int = 200) -> list[Reference]:
    """Return the references that are quick, the isolation forest and autoencoders."""
    return [
        PrincipalComponents("T2", 0.9),
        PrincipalComponents("Q", 0.9),
        PrincipalComponents("Q", 0.8, n_lags=4),
        Mahalanobis(),
        Mahalanobis(4),
        Forest(n_trees=n_trees),
        Autoregression(3),
        Reconstruction("dense"),
        Reconstruction("convolutional"),
    ]


def river_is_there() -> bool:
    """Tell whether half-space trees can be had."""
    return importlib.util.find_spec("river") is not None
