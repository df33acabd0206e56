"""Rows a second and memory of `partial_fit` over many more rows than are held, beside scikit-learn's `Ridge`.

Twenty million rows of 15 columns with one privileged step of 15 columns pass by in parts, each made anew. `Ridge` fits
the 15 columns of the rows that are in memory, with no middle. All run alternately in this process, on all threads of
BLAS unless limited; making the rows is not counted.
Usage: ``python benchmarks/bench_partial_fit.py [--rows 20000000] [--part 1000000] [--threads 1]``.
"""

import argparse
import resource
import time

import numpy as np
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from pitskd import AnchoredDistillationRegressor, ChainDistillationRegressor, TunedRidge

D = 15


def rows(generator, n):
    X = generator.standard_normal((n, D))
    Z = 0.8 * X + generator.standard_normal((n, D))
    return X, Z, Z @ np.linspace(-1.0, 1.0, D) + generator.standard_normal(n)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--part", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    models = {
        "ChainDistillationRegressor": ChainDistillationRegressor(),
        "AnchoredDistillationRegressor": AnchoredDistillationRegressor(),
        "TunedRidge, one penalty (no middle)": TunedRidge(penalties=[1.0]),
    }
    spent, memory = dict.fromkeys([*models, "Ridge"], 0.0), []
    with threadpool_limits(given.threads):
        for part in range(given.rows // given.part):
            X, Z, y = rows(generator, given.part)
            names = [*spent]
            for name in names[part % len(names) :] + names[: part % len(names)]:  # each is first as often as last
                middle = {} if "Ridge" in name else {"X_privileged": Z}
                learn = models[name].partial_fit if name in models else Ridge().fit
                spent[name] += seconds(lambda: learn(X, y, **middle))  # noqa: B023  called at once
            memory.append(resident())
    n = given.rows // given.part * given.part
    print(f"{n} rows in parts of {given.part}, threads: {given.threads or 'all'}")
    for name, total in spent.items():
        print(f"{name:38} {n / total / 1e6:6.2f} million rows/s, {spent['Ridge'] / total:5.2f} x the rows/s of Ridge")
    shown = ", ".join(f"{value:.0f}" for value in memory[:: max(1, len(memory) // 8)])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"resident MiB after parts, the part in memory included: {shown}; peak, copies of Ridge included: {peak:.0f}")


if __name__ == "__main__":
    main()
