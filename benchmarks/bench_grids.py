"""Whole grids at once: batched solvers beside one fit at a time, and the largest difference of coefficients.

Logistic: 510 students (imitation x temperature x penalty) beside scikit-learn's on weighted duplicates. Chains: 6
imitations x 7 penalties x 10 folds x 11 links beside scikit-learn's ridge and a loop of ``np.linalg.solve``. Times are
medians of interleaved runs on one thread. ``--device cuda`` adds the torch path, where one thread means one host.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pitskd import simulate_linear_chain
from pitskd.linear._paths import logistic_path, ridge_chain_grid

N_RUNS = 5


def logistic_grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a design, mixtures of hard labels and tempered soft ones, and penalties; imitation 0 counts once."""
    sample = simulate_linear_chain(110, n_features=77, random_state=0)
    X, Z = (StandardScaler().fit_transform(a.reshape(110, -1)) for a in (sample.X, sample.X_privileged))
    hard = (sample.y > 0).astype(float)
    logit = LogisticRegression().fit(Z, hard).decision_function(Z)
    mixes = [(0.0, 1.0)] + [(i, t) for i in np.linspace(0.1, 1, 10) for t in (0.5, 1.0, 2.0, 5.0, 10.0)]
    positive = np.array([(1 - i) * hard + i / (1 + np.exp(-logit / t)) for i, t in mixes])
    return X, np.stack([1 - positive, positive], axis=-1), np.logspace(-2, 3, 10)


def logistic_loop(X: np.ndarray, targets: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    twice, labels = np.vstack([X, X]), np.repeat([0, 1], len(X))
    return np.array(
        [
            [
                LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-10, max_iter=1000)
                .fit(twice, labels, sample_weight=target.T.ravel())
                .coef_
                for penalty in penalties
            ]
            for target in targets
        ]
    )


def chain_grid() -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(200, 15))]
    for _ in range(10):
        states.append(0.9 * states[-1] + 0.3 * rng.normal(size=(200, 15)))
    y = states[-1][:, :1] + 0.1 * rng.normal(size=(200, 1))
    folds = (np.arange(200) % 10 != np.arange(10)[:, None]).astype(float)
    return states, y, np.linspace(0, 1, 6), np.logspace(-3, 3, 7), folds


def chain_loop(
    link: Callable, states: list, y: np.ndarray, imitations: np.ndarray, penalties: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Fit link by link; standardisation is counted once per fold, which favours the loops."""
    coef = np.empty((len(folds), len(imitations), len(penalties), states[0].shape[1]))
    for f, fold in enumerate(folds):
        rows = fold > 0
        target, scales = y[rows, 0], [state[rows].std(axis=0) for state in states]
        scaled = [(state[rows] - state[rows].mean(axis=0)) / s for state, s in zip(states, scales, strict=True)]
        for i, imitation in enumerate(imitations):
            for p, penalty in enumerate(penalties):
                values = target
                for Z in scaled[::-1]:
                    w, b = link(Z, (1 - imitation) * target + imitation * values, penalty)
                    values = Z @ w + b
                coef[f, i, p] = w / scales[0]
    return coef


def sklearn_link(Z: np.ndarray, target: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    model = Ridge(alpha=penalty).fit(Z, target)
    return model.coef_, model.intercept_


def numpy_link(Z: np.ndarray, target: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    mean = target.mean()
    return np.linalg.solve(Z.T @ Z + penalty * np.eye(Z.shape[1]), Z.T @ (target - mean)), mean


def race(title: str, routes: dict[str, Callable[[], np.ndarray]]) -> None:
    """Time routes in turn; the first is ours and the reference of the others."""
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    found = {name: route() for name, route in routes.items()}  # also warms up
    for _ in range(N_RUNS):
        for name, route in routes.items():
            begin = time.perf_counter()
            route()
            seconds[name].append(time.perf_counter() - begin)
    ours = next(iter(routes))
    reference, base = found[ours], statistics.median(seconds[ours])
    print(title)
    for name, times in seconds.items():
        rule = np.abs(reference).max(axis=-1)
        difference = (np.abs(found[name].reshape(reference.shape) - reference).max(axis=-1) / rule).max()
        middle = statistics.median(times)
        print(f"  {name:>24} {1e3 * middle:9.1f} ms   x {middle / base:6.1f}   coefficients differ by {difference:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="also run the torch path on this device, e.g. cpu or cuda")
    device = parser.parse_args().device
    X, targets, strengths = logistic_grid()
    even = np.ones(targets.shape[:2])
    chain = chain_grid()
    with threadpool_limits(1):
        logistic = {
            "numpy": lambda: logistic_path(X, targets, strengths, even)[0],
            "scikit-learn, one by one": lambda: logistic_loop(X, targets, strengths),
        }
        chains = {
            "numpy": lambda: ridge_chain_grid(*chain)[0],
            "numpy, one by one": lambda: chain_loop(numpy_link, *chain),
            "scikit-learn, one by one": lambda: chain_loop(sklearn_link, *chain),
        }
        if device:
            import torch

            torch.set_num_threads(1)
            logistic[f"torch on {device}"] = lambda: logistic_path(X, targets, strengths, even, device=device)[0]
            chains[f"torch on {device}"] = lambda: ridge_chain_grid(*chain, device=device)[0]
        race("510 logistic students, 110 rows, 77 features", logistic)
        race("420 ridge chains of 11 links (4620 fits), 200 rows, 15 features", chains)


if __name__ == "__main__":
    main()
