"""Run tasks over seeds, in parallel and resumably: what is finished is on disk, a rerun does the rest."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
import sklearn
from joblib import Parallel, delayed, effective_n_jobs
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import pitskd
from pitskd.experiments.protocols import Task

__all__ = ["code_version", "run_tasks"]

_LARGEST_PORTION = 10  # resamples that a process takes at once


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
    missing = {place: file for place, file in files.items() if not _finished(file)}
    jobs = [delayed(_score_all)(tasks[number], part) for number, part in _portions(missing, effective_n_jobs(n_jobs))]
    # Tasks are a few MB: sent by value, they leave no shared files behind when a run is stopped.
    pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered", max_nbytes=None)
    with tqdm(total=len(files), initial=len(files) - len(missing), disable=not progress, unit="resample") as bar:
        for n_finished in pool(jobs):
            bar.update(n_finished)
    return _read(files.values())


def _portions(missing: Mapping[tuple[int, int], Path], n_jobs: int) -> Iterator[tuple[int, list[tuple[int, Path]]]]:
    """Yield tasks by number with some (seed, file) of each: a task is sent once for all of them.

    Portions get smaller towards the end, so that no process is left with much to do when the others have finished.
    """
    left = len(missing)
    for number, places in groupby(missing, key=lambda place: place[0]):
        seeds = [(seed, missing[number, seed]) for _, seed in places]
        while seeds:
            size = min(_LARGEST_PORTION, max(1, left // (4 * n_jobs)))
            part, seeds = seeds[:size], seeds[size:]
            left -= len(part)
            yield number, part


def _score_all(task: Task[Any], portion: Sequence[tuple[int, Path]]) -> int:
    with threadpool_limits(1):
        for seed, file in portion:
            _score(task, seed, file)
    return len(portion)


def _score(task: Task[Any], seed: int, file: Path) -> None:
    unfinished = file.with_suffix(f".{os.getpid()}")
    task.cells(seed).to_csv(unfinished, index=False)
    unfinished.replace(file)  # atomic: a file that exists is whole


def _read(files: Iterable[Path]) -> pd.DataFrame:
    """Return the rows of all files; those of equal columns are parsed as one."""
    bodies: dict[str, list[str]] = {}
    for file in files:
        head, _, body = file.read_text(encoding="utf-8").partition("\n")
        bodies.setdefault(head, []).append(body)
    return pd.concat(
        [pd.read_csv(StringIO("\n".join([head, *rows]))) for head, rows in bodies.items()], ignore_index=True
    )


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
