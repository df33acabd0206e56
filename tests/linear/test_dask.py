"""Training on dask arrays: the student of all rows, on any scheduler, with a worker that dies too."""

import importlib
import logging
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from pitskd import AnchoredDistillationRegressor, ChainDistillationRegressor, TunedRidge, simulate_linear_chain

da = pytest.importorskip("dask.array", reason="needs the extra dask")
STUDENTS = [ChainDistillationRegressor(), AnchoredDistillationRegressor(), ChainDistillationRegressor(0.0)]


@pytest.fixture(scope="module")
def rows():
    X, Z, y = simulate_linear_chain(500, random_state=0)
    Z[:40], y[40:60] = np.nan, np.nan
    return X, Z, y, np.random.default_rng(0).random(500)


def same(one, other):
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(one.intercept_, other.intercept_, rtol=1e-8, atol=1e-8)


CASES = [*((student, "threads") for student in STUDENTS), (STUDENTS[0], "processes"), (STUDENTS[0], "synchronous")]


@pytest.mark.parametrize(("student", "scheduler"), CASES, ids=str)
def test_blocks_teach_what_all_rows_teach(student, scheduler, rows):
    X, Z, y, weight = rows
    blocks = {
        "X": da.from_array(X, chunks=(70, 2)),
        "y": da.from_array(y, chunks=((0, 33, 467),)),
        "X_privileged": da.from_array(Z, chunks=(90, 1, 3)),
        "sample_weight": da.from_array(weight, chunks=500),
    }
    with importlib.import_module("dask").config.set(scheduler=scheduler):
        found = clone(student).fit(**blocks)
    same(found, clone(student).fit(X, y, X_privileged=Z, sample_weight=weight))
    assert found.predict(X[:2]).shape == (2,)


def test_the_schedulers_and_their_workers_do_not_change_a_bit(rows):
    X, Z, y, _ = rows
    arrays = [da.from_array(part, chunks=(20, *part.shape[1:])) for part in (X, y, Z)]
    found = []
    for scheduler in ("synchronous", "threads"):
        with importlib.import_module("dask").config.set(scheduler=scheduler):
            found.append(ChainDistillationRegressor().fit(arrays[0], arrays[1], X_privileged=arrays[2]).coef_)
    np.testing.assert_array_equal(*found)


def test_windows_in_blocks_and_further_parts_in_memory(rows):
    X, Z, y, _ = rows
    path = np.concatenate([X[60:, None], Z[60:]], axis=1)
    student = AnchoredDistillationRegressor(towards="dynamics")
    dask_path, dask_y = da.from_array(path[:300], chunks=(64, 2, 2)), da.from_array(y[60:360], chunks=64)
    found = clone(student).fit(dask_path[:, :2], dask_y, X_privileged=dask_path[:, 2:])
    found.partial_fit(path[300:, :2], y[360:], X_privileged=path[300:, 2:])
    same(found, clone(student).fit(path[:, :2], y[60:], X_privileged=path[:, 2:]))


def test_the_tuned_ridge_learns_from_blocks(rows):
    X, _, y, weight = (part[60:] for part in rows)
    blocks = [da.from_array(part, chunks=(44, *part.shape[1:])) for part in (X, y, weight)]
    same(TunedRidge([3.0]).fit(*blocks), TunedRidge([3.0]).fit(X, y, weight))
    chosen = TunedRidge().fit(*blocks[:2])
    same(chosen, TunedRidge([chosen.penalty_]).fit(X, y))


def test_what_arrays_share_is_made_once_for_each_block(rows, tmp_path):
    X, Z, y, _ = rows

    def read(start):
        with (tmp_path / str(start)).open("a") as file:
            file.write("read ")
        part = slice(start, start + 100)
        return np.column_stack([X[part], Z[part].reshape(100, -1), y[part]])

    delayed = importlib.import_module("dask").delayed
    table = da.concatenate([da.from_delayed(delayed(read)(s), (100, 21), dtype=float) for s in range(0, 500, 100)])
    found = ChainDistillationRegressor().fit(
        table[:, :5], table[:, 20], X_privileged=table[:, 5:20].reshape((500, 3, 5), merge_chunks=False)
    )
    assert {file.read_text() for file in tmp_path.iterdir()} == {"read "}
    same(found, ChainDistillationRegressor().fit(X, y, X_privileged=Z))


def test_names_of_frames_before_are_forgotten(rows):
    X, _, y, _ = (part[60:] for part in rows)
    model = TunedRidge().fit(pd.DataFrame(X, columns=list("abcde")), y)
    model.fit(da.from_array(X, chunks=50), da.from_array(y, chunks=50))
    assert not hasattr(model, "feature_names_in_")
    model.predict(X)


def test_blocks_without_privileged_part_are_told_of(rows):
    X, _, y, _ = rows
    with pytest.warns(UserWarning, match="X_privileged is None or empty"):
        ChainDistillationRegressor().fit(da.from_array(X, chunks=50), da.from_array(y, chunks=50))


WRONG = {
    "an array in memory beside them": (lambda X, y, Z: (X, np.asarray(y), Z), TypeError, "y must be a dask array, as"),
    "fewer rows": (lambda X, y, Z: (X, y[:-1], Z), ValueError, "y must be of 500 rows, as many as X, got 499"),
    "unknown lengths": (lambda X, y, Z: (X[X[:, 0] > 0], y, Z), ValueError, r"Call X\.compute_chunk_sizes\(\) first"),
    "no X": (lambda X, y, Z: (None, y, Z), ValueError, "X must be a dask array, as the others are, got None"),
    "something delayed": (
        lambda X, y, Z: (X, importlib.import_module("dask").delayed(np.zeros)(500), Z),
        TypeError,
        r"y must be a dask array, got dask Delayed.*from_delayed",
    ),
    "no rows": (lambda X, y, Z: (X[:0], y[:0], Z[:0]), ValueError, "X must be of at least one row"),
    "no targets": (lambda X, y, Z: (X, y * np.nan, Z), ValueError, "y must be present in at least two rows"),
    "NaN in the fourth block": (
        lambda X, y, Z: (da.where(da.arange(500, chunks=70)[:, None] == 230, np.nan, X), y, Z),
        ValueError,
        r"X must be finite, got NaN in row 20.*\(In the block that starts at row 210\.\)",
    ),
}


@pytest.mark.parametrize(("spoil", "kind", "message"), WRONG.values(), ids=WRONG)
def test_blocks_that_are_wrong_are_told(spoil, kind, message, rows):
    X, Z, y, _ = rows
    arrays = spoil(*(da.from_array(part, chunks=(70, *part.shape[1:])) for part in (X, y, Z)))
    model = ChainDistillationRegressor()
    with pytest.raises(kind, match=message):
        model.fit(arrays[0], arrays[1], X_privileged=arrays[2])
    assert not hasattr(model, "student_")


def test_a_frame_of_dask_is_told_how_to_become_an_array(rows):
    frame = importlib.import_module("dask.dataframe").from_array(rows[0], chunksize=100)
    with pytest.raises(TypeError, match=r"X must be a dask array, got .*Use X\.to_dask_array\(lengths=True\)"):
        ChainDistillationRegressor().fit(frame, da.from_array(rows[2], chunks=100))


def slowly(block, folder):
    """Return the block after a while, and leave a sign that work has begun."""
    with (Path(folder) / f"{os.getpid()}").open("a") as sign:
        sign.write("x")
    time.sleep(0.1)
    return block


def kill_the_first_to_work(folder, killed):
    """Kill a worker as soon as both have begun, and say what was there then."""
    end = time.monotonic() + 30
    while len(begun := list(Path(folder).iterdir())) < 2:
        if time.monotonic() > end:
            return
        time.sleep(0.01)
    killed.append(int(begun[0].name))
    os.kill(killed[0], signal.SIGKILL)


@pytest.fixture
def pythons_generator_restored():
    """The cluster's own code draws from it."""
    state = random.getstate()
    yield
    random.setstate(state)


@pytest.mark.usefixtures("pythons_generator_restored")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed otherwise here")
def test_two_worker_processes_of_which_one_is_killed_learn_the_same(tmp_path, rows):
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    X, Z, y, _ = rows
    killed = []
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.CRITICAL}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster):
        slow = da.from_array(X, chunks=(25, 5)).map_blocks(slowly, folder=str(tmp_path), dtype=float, meta=X[:0])
        killer = threading.Thread(target=kill_the_first_to_work, args=(tmp_path, killed))
        killer.start()
        found = ChainDistillationRegressor().fit(
            slow, da.from_array(y, chunks=25), X_privileged=da.from_array(Z, chunks=(25, 3, 5))
        )
        killer.join()
    assert killed
    done_by_others = sum(len(sign.read_text()) for sign in tmp_path.iterdir() if int(sign.name) != killed[0])
    assert done_by_others > 10  # of 20 blocks: it was killed on the way, not at the end
    same(found, ChainDistillationRegressor().fit(X, y, X_privileged=Z))
