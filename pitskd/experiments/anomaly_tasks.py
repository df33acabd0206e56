"""The tasks of protocol A on whatever files can be had, and what is left out with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from pitskd.datasets import DatasetError, fetch_skab, fetch_tep, skab_runs
from pitskd.experiments.anomalies import HISTORY, SIGNALS, AnomalyTask, NormalTask, SkabTask, TepTask
from pitskd.experiments.privileged_anomalies import SHARES, SPECIFICATIONS, ContaminatedTask, KpiTask, Plant

__all__ = ["anomaly_tasks"]

_FEWEST_FAULTS = 3  # three to learn from, and one that is new


def anomaly_tasks(
    data_home: str | os.PathLike[str] | None = None, *, n_logs: int = 10, n_draws: int = 4, quick: bool = False
) -> tuple[list[AnomalyTask], dict[str, str]]:
    """Return the tasks of protocol A on the files that can be had.

    Parameters
    ----------
    data_home : str or path, default=None
        As for `fetch_skab` and `fetch_tep`.
    n_logs : int, default=10
        Contaminated logs per share of faults.
    n_draws : int, default=4
        Draws of the faults that the student of a target sees.
    quick : bool, default=False
        Whether only quick references run on SKAB, and only limits of the product on TEP.

    Returns
    -------
    tasks : list of AnomalyTask
    left_out : dict of str to str
        What cannot be had, with the reason.

    Raises
    ------
    DatasetError
        If no file at all can be had.

    Examples
    --------
    >>> tasks, left_out = anomaly_tasks()  # doctest: +SKIP
    """
    left_out: dict[str, str] = {}
    tasks = [*_skab_tasks(data_home, quick, left_out), *_tep_tasks(data_home, n_logs, n_draws, quick, left_out)]
    if not tasks:
        raise DatasetError(" ".join(left_out.values()))
    return tasks, left_out


def _skab_tasks(data_home: Any, quick: bool, left_out: dict[str, str]) -> Iterator[AnomalyTask]:
    runs = [run for run in skab_runs() if "/" in run]
    for family in dict.fromkeys(run.partition("/")[0] for run in runs):
        wanted = {run: run for run in runs if run.startswith(f"{family}/")}
        for run, log in _at_hand(f"SKAB {family}", wanted, lambda run: fetch_skab(run, data_home=data_home), left_out):
            yield SkabTask(run, log.X.to_numpy(), log.anomaly.to_numpy(), log.period, quick=quick)
    try:
        rows = fetch_skab("anomaly-free", data_home=data_home).X.to_numpy()
    except DatasetError as error:
        left_out["SKAB without anomalies"] = str(error)
    else:
        for n in (1000, 2000, 3000, 4700):
            yield NormalTask(f"SKAB, {n} rows", rows[:n], rows, n, 200)


def _tep_tasks(
    data_home: Any, n_logs: int, n_draws: int, quick: bool, left_out: dict[str, str]
) -> Iterator[AnomalyTask]:
    def fetch(fault: int, test: bool) -> pd.DataFrame:
        return fetch_tep(fault, test=test, keep="all", privileged=None, data_home=data_home).X

    try:
        normal, unseen = fetch(0, test=False), fetch(0, test=True)
    except DatasetError as error:
        left_out["TEP"] = str(error)
        return
    wanted = {str(fault): fault for fault in range(1, 22)}
    tests = dict(_at_hand("TEP, test runs of faults", wanted, lambda fault: fetch(fault, test=True), left_out))
    wanted = {str(fault): fault for fault in tests}
    logs = dict(_at_hand("TEP, runs of faults", wanted, lambda fault: fetch(fault, test=False), left_out))
    kept = {n: fetch_tep(0, keep=signals, privileged=None, data_home=data_home).X for n, signals in SIGNALS.items()}
    names = {n_signals: tuple(X) for n_signals, X in kept.items()}
    for columns in names.values():
        yield from _of_normal_run([normal, unseen], tests, list(columns))
    if len(logs) > _FEWEST_FAULTS:
        plant = Plant({0: normal, **logs}, {0: unseen, **tests})
        specifications = list(SPECIFICATIONS)[: 1 if quick else None]
        yield from _of_faulty_runs(plant, names, n_logs, n_draws, specifications)


def _of_normal_run(
    normal: Sequence[pd.DataFrame], tests: Mapping[int, pd.DataFrame], columns: list[str]
) -> Iterator[AnomalyTask]:
    log, rest = (X[columns].to_numpy() for X in normal)
    if tests:
        yield TepTask(len(columns), log, {fault: X[columns].to_numpy() for fault, X in tests.items()})
    yield NormalTask(f"TEP, {len(columns)} signals", log, rest, HISTORY, 50)
    yield NormalTask(f"TEP, {len(columns)} signals, horizons 1, 5, 20", log, rest, HISTORY, 50, (1, 5, 20))


def _of_faulty_runs(
    plant: Plant,
    names: Mapping[int, tuple[str, ...]],
    n_logs: int,
    n_draws: int,
    specifications: Sequence[str],
) -> Iterator[AnomalyTask]:
    analysers = tuple(name for name in names[52] if name not in names[33])
    for n_signals in (11, 33):
        for share in SHARES:
            for number in range(n_logs):
                yield ContaminatedTask(plant, names[n_signals], analysers, share, number)
        for specification in specifications:
            for number in range(n_draws):
                yield KpiTask(plant, names[n_signals], specification, number)


def _at_hand(what: str, wanted: Mapping[str, Any], fetch: Any, left_out: dict[str, str]) -> Iterator[tuple[Any, Any]]:
    """Yield what can be had; three misses in a row end the search, so that a dead network is not asked forever."""
    missed: list[str] = []
    reason = ""
    for number, (name, key) in enumerate(wanted.items()):
        try:
            found = fetch(key)
        except DatasetError as error:
            reason = reason or str(error)
            missed.append(name)
            if number >= 2 and missed[-3:] == list(wanted)[number - 2 : number + 1]:
                missed += list(wanted)[number + 1 :]
                break
        else:
            yield key, found
    if missed:
        left_out[f"{what}: {', '.join(missed)}"] = reason
