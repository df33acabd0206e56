"""Noisy Mackey-Glass, 400 windows: a neural student beside the linear front door, and what privilege has to do with it.

Series of different histories are observed with noise; windows of 8 values at stride 1 forecast the value 8 steps on;
the 7 values between are privileged. The first 400 windows train, 15 are left out (window + horizon - 1), the 2,000
after them test. A neural student is the mean of four networks, all of one series trained as one; its imitation is
chosen by five contiguous folds of the training windows, with the same gap. Differences in R2 are paired over series.

Declared before the series of the main run (seeds 0 and up) were simulated: the student is `STUDENT`, the comparison is
with the linear front door. What privilege has to do with it is told by three controls: the same networks at imitation
0, the same search on permuted privileged rows, and tuned ridge. ``--develop`` prints the variants that were tried,
on the series where the student was chosen (seeds 1000 and up), at fixed imitations. Two more had the middle as further
targets and were worse by .01. Settings were chosen for the untaught network, among eleven: within .0005 of its best.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pitskd import NeuralDistillationRegressor, PrivilegedRegressor, PrivilegedWindows, TunedRidge, mackey_glass_windows
from pitskd.experiments.compare import compare_methods, is_gain
from pitskd.losses import FitNetHint, RelationalDistance
from pitskd.models import MLP

WINDOW, HORIZON, N_TRAIN, N_TEST, N_FOLDS, N_NETWORKS = 8, 8, 400, 2000, 5, 4
GAP = WINDOW + HORIZON - 1
IMITATIONS = (0.0, 0.5, 1.0)
RIDGE, FRONT_DOOR, PROCESS = "tuned ridge", "linear front door", "Gaussian process, no privilege"
UNTAUGHT, TAUGHT, PERMUTED = "same networks, imitation 0", "neural student", "neural student, permuted x*"


def decay(strength: float) -> Any:
    return partial(torch.optim.AdamW, weight_decay=strength, fused=True)


SMALL, LARGE = partial(MLP, hidden=(64, 32)), partial(MLP, hidden=(128, 64))
TANH = partial(MLP, hidden=(64, 32), activation="tanh")
SETTINGS: dict[str, Any] = {
    "student": SMALL, "teacher": SMALL, "teacher_sees": "both", "optimizer": decay(1.0), "learning_rate": 3e-3,
    "schedule": "cosine", "max_epochs": 150, "batch_size": 40, "validation": None,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "MLP, teacher sees both": {},
    "MLP, teacher sees privileged": {"teacher_sees": "privileged"},
    "MLP, both, cross-fitted": {"cross_fit": 5},
    "MLP, privileged, cross-fitted": {"teacher_sees": "privileged", "cross_fit": 5},
    "MLP, ridge teaches, cross-fitted": {"teacher": TunedRidge(), "cross_fit": 5},
    "MLP, both, decay 0.3": {"optimizer": decay(0.3)},
    "larger MLP, both": {"student": LARGE, "teacher": LARGE},
    "MLP, larger teacher, both": {"teacher": LARGE},
    "MLP, both, FitNet hint": {"hints": [(FitNetHint("hidden", "hidden"), 0.3)]},
    "MLP, both, distances": {"hints": [(RelationalDistance("hidden", "hidden"), 0.3)]},
    "tanh MLP, both, decay 0.1": {"student": TANH, "optimizer": decay(0.1)},
}
STUDENT = "larger MLP, both"


def draw(seed: int, noise: float) -> tuple[PrivilegedWindows, PrivilegedWindows]:
    """Return training and test windows of one series."""
    history = np.random.default_rng(seed).uniform(0.6, 1.8)
    windows = mackey_glass_windows(
        N_TRAIN + N_TEST + 2 * GAP, window=WINDOW, horizon=HORIZON, threshold=None, noise=noise, history=history,
        random_state=seed,
    )  # fmt: skip
    return windows.take(slice(0, N_TRAIN)), windows.take(slice(N_TRAIN + GAP, N_TRAIN + GAP + N_TEST))


def permuted(windows: PrivilegedWindows, seed: int) -> PrivilegedWindows:
    """Part the privileged rows from their windows."""
    assert windows.X_privileged is not None
    return replace(windows, X_privileged=windows.X_privileged[np.random.default_rng(seed).permutation(N_TRAIN)])


def folds() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield contiguous folds of the training windows, without those within the gap of what is held out."""
    rows = np.arange(N_TRAIN)
    for test in np.array_split(rows, N_FOLDS):
        yield rows[(rows < test[0] - GAP) | (rows > test[-1] + GAP)], test


def students(variant: Mapping[str, Any], train: PrivilegedWindows, X: np.ndarray) -> np.ndarray:
    """Return predictions (n_imitations, n), each the mean of networks of four seeds."""
    grid = {"imitation": list(IMITATIONS), "random_state": list(range(N_NETWORKS))}
    model = NeuralDistillationRegressor(**{**SETTINGS, **variant})
    fitted = model.fit_grid(train.X, train.y, grid, X_privileged=train.X_privileged)
    return np.stack([one.predict(X) for one in fitted]).reshape(len(IMITATIONS), N_NETWORKS, -1).mean(axis=1)


def chosen(variant: Mapping[str, Any], train: PrivilegedWindows) -> int:
    """Return the position of the imitation of least squared error on held-out folds."""
    lost = np.zeros(len(IMITATIONS))
    for rows, test in folds():
        held_out = train.take(test)
        lost += ((students(variant, train.take(rows), held_out.X) - held_out.y) ** 2).sum(axis=1)
    return int(lost.argmin())


def rivals(train: PrivilegedWindows) -> dict[str, Any]:
    """Return fitted methods that are no neural students."""
    kernel = ConstantKernel() * RBF(3.0) + WhiteKernel(0.05)
    process = make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True, random_state=0))
    flat = train.X[:, :, 0]
    return {
        RIDGE: TunedRidge().fit(flat, train.y),
        FRONT_DOOR: PrivilegedRegressor().fit(flat, train.y, X_privileged=train.X_privileged),
        PROCESS: process.fit(flat, train.y),
    }


def cells(seed: int, noise: float, predictions: Mapping[str, np.ndarray], y: np.ndarray) -> pd.DataFrame:
    """Return one row per method; scores add up to R2 times the number of test windows."""
    total = {method: float((1.0 - (said - y) ** 2 / y.var()).sum()) for method, said in predictions.items()}
    rows = [(f"noise {noise:g}", seed, method, 0, len(y), score) for method, score in total.items()]
    return pd.DataFrame(rows, columns=["task", "seed", "method", "block", "n_test", "sum"])


def quietly(work: Any) -> Any:
    """Run work in a process on one thread, without advice on teachers or bounds of a kernel."""

    def run(*given: Any) -> Any:
        torch.set_num_threads(1)
        with threadpool_limits(1), warnings.catch_warnings():
            # Expected of permuted rows; what teachers are worth is in the table.
            warnings.filterwarnings("ignore", message="The teacher's held-out loss")
            warnings.simplefilter("ignore", ConvergenceWarning)
            return work(*given)

    return run


def confirm(seed: int, noise: float) -> pd.DataFrame:
    """Run the declared comparison on one series."""
    train, test = draw(seed, noise)
    predictions = {name: model.predict(test.X[:, :, 0]) for name, model in rivals(train).items()}
    variant = VARIANTS[STUDENT]
    path = students(variant, train, test.X)
    own = chosen(variant, train)
    predictions |= {UNTAUGHT: path[0], TAUGHT: path[own]}
    astray = permuted(train, seed)
    predictions[PERMUTED] = students(variant, astray, test.X)[chosen(variant, astray)]
    predictions |= {f"imitation {i:g}": said for i, said in zip(IMITATIONS[1:], path[1:], strict=True)}
    return cells(seed, noise, predictions, test.y).assign(chosen=IMITATIONS[own])


def develop(seed: int, noise: float) -> pd.DataFrame:
    """Run every variant at every imitation on one series."""
    train, test = draw(1000 + seed, noise)
    predictions = {}
    for name, variant in VARIANTS.items():
        for imitation, said in zip(IMITATIONS, students(variant, train, test.X), strict=True):
            predictions[f"{name}, imitation {imitation:g}"] = said
    return cells(seed, noise, predictions, test.y)


def show(results: pd.DataFrame, baseline: str) -> None:
    table = compare_methods(results, baseline=baseline, metric="R2")
    columns = ["task", "method", "R2", "difference", "lower", "upper", "n_splits"]
    print(f"\ndifferences to: {baseline}")
    print(table[columns].to_string(index=False, float_format="{:.4f}".format))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="series")
    parser.add_argument("--noise", type=float, default=0.05, help="its deviation; that of the series is about 0.23")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--develop", action="store_true", help="all variants, on series of their own")
    given = parser.parse_args()
    begin = time.perf_counter()
    work = develop if given.develop else confirm
    parts = Parallel(n_jobs=given.jobs)(delayed(quietly(work))(seed, given.noise) for seed in range(given.repeats))
    results = pd.concat([part for part in parts if part is not None], ignore_index=True)
    sizes = f"{N_TRAIN} training and {N_TEST:,} test windows each"
    print(f"{given.repeats} series, {sizes}, {len(VARIANTS)} variants tried")
    if given.develop:
        for name in VARIANTS:
            show(results[results["method"].str.startswith(f"{name}, imitation")], f"{name}, imitation 0")
    else:
        for baseline in (FRONT_DOOR, UNTAUGHT, PERMUTED):
            show(results, baseline)
        print("\nimitation chosen:", results.drop_duplicates("seed")["chosen"].value_counts().sort_index().to_dict())
        for opponent, controls in ((FRONT_DOOR, ()), (RIDGE, (UNTAUGHT, PERMUTED))):
            verdict = is_gain(results, student=TAUGHT, baseline=opponent, controls=controls)
            print(f"{TAUGHT} against {', '.join((opponent, *controls))}: {verdict['verdict'].item()}")
    print(f"{time.perf_counter() - begin:.0f} s with {given.jobs} processes")


if __name__ == "__main__":
    main()
