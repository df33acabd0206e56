"""Neural students: a stack of 16 and a single one, beside skorch's fits of the same network.

MLP 77-64-32-1, 2,000 rows, batches of 32, 20 epochs of Adam at 1e-3, shuffled, no validation part: whole fits as a user
calls them. Ours include checks of the rows and scaling; skorch gets scaled rows. The bars are on skorch with torch's
Adam as it comes; a single fit is also compared with the fused Adam that ours uses. Routes take turns on one thread, and
every ratio is of one round: of seconds, and of CPU seconds, which are the steadier ones where others use the machine.
``--device cuda`` adds stacked against single there.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch import NeuralNetRegressor
from threadpoolctl import threadpool_limits

from pitskd import NeuralDistillationRegressor, simulate_linear_chain
from pitskd.models import MLP

N_STUDENTS, N_ROWS, N_FEATURES, HIDDEN = 16, 2000, 77, (64, 32)
N_EPOCHS, BATCH, RATE = 20, 32, 1e-3


class Took(NamedTuple):
    """Seconds of one run."""

    wall: float
    cpu: float


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scaled inputs and a scaled target that is not linear in them."""
    X = simulate_linear_chain(N_ROWS, n_features=N_FEATURES, random_state=seed).X.reshape(N_ROWS, -1)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * np.random.default_rng(seed).normal(size=N_ROWS)
    return X, (y - y.mean()) / y.std()


def student(random_state: int = 0, **settings: Any) -> NeuralDistillationRegressor:
    return NeuralDistillationRegressor(
        student=partial(MLP, hidden=HIDDEN), imitation=0.0, validation=None, max_epochs=N_EPOCHS, batch_size=BATCH,
        learning_rate=RATE, random_state=random_state, **settings,
    )  # fmt: skip


def stacked(X: np.ndarray, y: np.ndarray, **settings: Any) -> list[Any]:
    return student(**settings).fit_grid(X, y, {"random_state": list(range(N_STUDENTS))})


def one_by_one(X: np.ndarray, y: np.ndarray, **settings: Any) -> list[Any]:
    return [student(seed, **settings).fit(X, y) for seed in range(N_STUDENTS)]


def skorch(X: np.ndarray, y: np.ndarray, fused: bool = False) -> NeuralNetRegressor:
    net = NeuralNetRegressor(
        MLP, module__sizes=(N_FEATURES, *HIDDEN, 1), max_epochs=N_EPOCHS, batch_size=BATCH, optimizer=torch.optim.Adam,
        optimizer__fused=fused or None, lr=RATE, train_split=None, iterator_train__shuffle=True, verbose=0,
    )  # fmt: skip
    return net.fit(X.astype(np.float32), y.astype(np.float32)[:, None])


def race(routes: dict[str, Callable[[], Any]], n_rounds: int, device: str = "cpu") -> dict[str, list[Took]]:
    """Return what every route took in every round, by turns; each is warmed up before."""
    taken: dict[str, list[Took]] = {name: [] for name in routes}
    for number in range(n_rounds + 1):
        for name, route in routes.items():
            wall, cpu = time.perf_counter(), time.process_time()
            route()
            if device != "cpu":
                torch.cuda.synchronize()
            if number:
                taken[name].append(Took(time.perf_counter() - wall, time.process_time() - cpu))
    return taken


def show(title: str, taken: dict[str, list[Took]], bar: float | None = None) -> None:
    """Print medians, and the ratios of all others to the first, round by round."""
    (ours, own), *others = taken.items()
    print(title if bar is None else f"{title}; bar: x {bar:g}")
    print(f"  {ours:<22} {statistics.median(run.wall for run in own):8.3f} s")
    for name, theirs in others:
        print(f"  {name:<22} {statistics.median(run.wall for run in theirs):8.3f} s", end="")
        for kind in Took._fields:
            ratios = [getattr(a, kind) / getattr(b, kind) for a, b in zip(theirs, own, strict=True)]
            listed = " ".join(f"{ratio:.1f}" for ratio in ratios)
            print(f"   {kind} x {statistics.median(ratios):.1f} ({listed})", end="")
        print()


def show_difference(X: np.ndarray, y: np.ndarray, **settings: Any) -> None:
    """Print by how much stacked and single students differ, in deviations of the target."""
    pairs = zip(stacked(X, y, **settings), one_by_one(X, y, **settings), strict=True)
    largest = max(float(np.abs(a.predict(X) - b.predict(X)).max()) for a, b in pairs)
    said = ", ".join(map(str, settings.values()))
    print(f"  predictions, stacked and one by one, differ by at most {largest:.0e} ({said})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="also compare stacked with single here, e.g. cuda")
    given = parser.parse_args()
    X, y = rows()
    sizes = "-".join(map(str, (N_FEATURES, *HIDDEN, 1)))
    print(f"MLP {sizes}, {N_ROWS:,} rows, batches of {BATCH}, {N_EPOCHS} epochs of Adam; torch {torch.__version__}")
    with threadpool_limits(1):
        torch.set_num_threads(1)
        single = {
            "pitskd": lambda: student().fit(X, y),
            "skorch": lambda: skorch(X, y),
            "skorch, fused Adam": lambda: skorch(X, y, fused=True),
        }
        show("one student", race(single, given.rounds), bar=2.5)
        many = {
            "pitskd, stacked": lambda: stacked(X, y),
            "pitskd, one by one": lambda: one_by_one(X, y),
            "skorch, one by one": lambda: [skorch(X, y) for _ in range(N_STUDENTS)],
        }
        show(f"{N_STUDENTS} students", race(many, max(1, given.rounds // 2)), bar=20)
        for precision in ("float32", "float64"):
            show_difference(X, y, precision=precision)
        if given.device != "cpu":
            there = {
                "stacked": lambda: stacked(X, y, device=given.device),
                "one by one": lambda: one_by_one(X, y, device=given.device),
            }
            show(f"{N_STUDENTS} students on {given.device}", race(there, given.rounds, given.device))
            for precision in ("float32", "float64"):
                show_difference(X, y, precision=precision, device=given.device)


if __name__ == "__main__":
    main()
