"""The same training in one process, on two worker processes, and with one of them killed on the way.

Blocks of rows are drawn inside the tasks, so that nothing but sums travels. Prints seconds and how far coefficients lie
from those of `fit` in memory. Needs the extra ``dask``. Usage: ``python benchmarks/bench_dask.py [--rows 4000000]``.
"""

import argparse
import logging
import os
import signal
import threading
import time

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from pitskd import ChainDistillationRegressor

D, BLOCK = 15, 100_000


def drawn(block_id):
    """Return X, X_privileged and y of a block side by side."""
    generator = np.random.default_rng(block_id)
    X = generator.standard_normal((BLOCK, D)) + 5.0
    Z = 0.8 * X + generator.standard_normal((BLOCK, D))
    y = Z @ np.linspace(-1.0, 1.0, D) + generator.standard_normal(BLOCK)
    return np.column_stack([X, Z, y])


def parted(table):
    return table[:, :D], table[:, 2 * D], table[:, D : 2 * D]


def trained(n_blocks):
    draw = dask.delayed(drawn, pure=True)
    blocks = [da.from_delayed(draw(b), (BLOCK, 2 * D + 1), dtype=float) for b in range(n_blocks)]
    X, y, Z = parted(da.concatenate(blocks))
    start = time.perf_counter()
    model = ChainDistillationRegressor().fit(X, y, X_privileged=Z)
    return model, time.perf_counter() - start


def kill_one(client, after, killed):
    time.sleep(after)
    process = next(iter(client.run(os.getpid).values()))
    os.kill(process, signal.SIGKILL)
    killed.append(time.perf_counter())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=4_000_000)
    n_blocks = parser.parse_args().rows // BLOCK
    X, y, Z = parted(np.concatenate([drawn(b) for b in range(n_blocks)]))
    reference = ChainDistillationRegressor().fit(X, y, X_privileged=Z)
    with dask.config.set(scheduler="synchronous"):
        found = {"one process": trained(n_blocks)}
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.CRITICAL}
    with LocalCluster(**settings) as cluster, Client(cluster) as client:
        found["two workers"] = trained(n_blocks)
        killed = []
        killer = threading.Thread(target=kill_one, args=(client, found["two workers"][1] / 2, killed))
        client.restart()
        killer.start()
        found["two workers, one killed"] = trained(n_blocks)
        in_time = bool(killed) and killed[0] < time.perf_counter()
        killer.join()
    print(
        f"{n_blocks * BLOCK} rows of {D} columns and one privileged step, drawn in the tasks; killed in time: {in_time}"
    )
    for name, (model, seconds) in found.items():
        apart = np.abs(model.coef_ - reference.coef_).max()
        print(f"{name:25} {seconds:6.1f} s, coefficients within {apart:.1e} of fit on all rows in memory")


if __name__ == "__main__":
    main()
