"""Run tasks over seeds, in parallel and resumably: what is finished is on disk, a rerun does the rest."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
import sklearn
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import pitskd
from pitskd.experiments.protocols import Task

__all__ = ["code_version", "run_tasks"]


def run_tasks(
    tasks: Sequence[Task[Any]],
    seeds: Iterable[int],
    folder: str | os.PathLike[str],
    *,
    n_jobs: int = 1,
    progress: bool = True,
) -> pd.DataFrame:
    """Score every method of every task on every seed.

    Parameters
    ----------
    tasks : sequence of Task
        Such as `simulation_tasks()`.
    seeds : iterable of int
        One resample each.
    folder : path
        Where finished resamples are kept, one small file each. They are used again by the same version of the code
        only; an interrupted run loses the resamples in flight and nothing else.
    n_jobs : int, default=1
        Processes, -1 for all cores. Each uses one thread, so that results do not depend on their number.
    progress : bool, default=True
        Whether to show a bar.

    Returns
    -------
    DataFrame
        One row per task, seed, method and block: task, seed, method, block, n_test, sum (of correct labels, or of
        whatever the task's metric averages), and the choices of a method: imitation, temperature, penalty.
    """
    seeds = list(seeds)
    kept = Path(folder) / code_version()
    kept.mkdir(parents=True, exist_ok=True)
    stems = [_stem(task) for task in tasks]
    files = {(number, seed): kept / f"{stem}-{seed}.csv" for number, stem in enumerate(stems) for seed in seeds}
    open_jobs = [
        delayed(_score)(tasks[number], seed, file) for (number, seed), file in files.items() if not _finished(file)
    ]
    # Tasks are a few MB: sent by value, they leave no shared files behind when a run is stopped.
    pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered", max_nbytes=None)
    with tqdm(total=len(files), initial=len(files) - len(open_jobs), disable=not progress, unit="resample") as bar:
        for _ in pool(open_jobs):
            bar.update()
    return pd.concat([pd.read_csv(file) for file in files.values()], ignore_index=True)


def _score(task: Task[Any], seed: int, file: Path) -> None:
    with threadpool_limits(1):
        cells = task.cells(seed)
    unfinished = file.with_suffix(f".{os.getpid()}")
    cells.to_csv(unfinished, index=False)
    unfinished.replace(file)  # atomic: a file that exists is whole


def _finished(file: Path) -> bool:
    """Tell whether a resample is there and readable; a damaged one is computed again."""
    if not file.exists():
        return False
    try:
        cells = pd.read_csv(file)
    except ValueError:  # empty or torn
        return False
    return {"task", "seed", "method", "block", "n_test", "sum"} <= set(cells) and len(cells) > 0


def _stem(task: Task[Any]) -> str:
    name = re.sub(r"[^\w.]+", "-", task.name)
    return f"{name}-{task.fingerprint()}"


@cache
def code_version() -> str:
    """Return a digest of the package's own source: results of other code must not be mixed in.

    Returns
    -------
    str
        12 hexadecimal digits; the versions of numpy, scipy and scikit-learn enter, too.
    """
    package = Path(pitskd.__file__).parent
    digest = hashlib.sha256(repr([module.__version__ for module in (np, scipy, sklearn)]).encode())
    for source in sorted(package.rglob("*.py")):
        digest.update(source.relative_to(package).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()[:12]
