"""What a row costs: one stream, a thousand streams, and arrays, beside bare numpy and the usual streaming detectors.

Eight channels, VAR(3), trailing mean over 30 rows. The bare recursions multiply, whiten and smooth and do nothing else:
no check of the row, no clock, no p-value, no alarm. The leanest gives scores only, from a running sum; one also each
sensor's part, as `update` does; one is written as one would first write it. Times are medians of interleaved runs on
one thread. River and PyOD (group ``peers-stream``) are left out where they are not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pitskd.anomaly import PrivilegedAnomalyDetector
from pitskd.anomaly.river import RiverAdapter

N_CHANNELS, N_LAGS, SMOOTHING = 8, 3, 30
N_LOG, N_ROWS, N_SLOW_ROWS = 3000, 5000, 60
N_STREAMS, N_TICKS = 1000, 120
N_ARRAY = 100_000


class Route(NamedTuple):
    """One way to the scores of some rows."""

    run: Callable[[], object]
    n_rows: int


class Model(NamedTuple):
    """A vector autoregression by least squares, and the root of its inverse noise covariance over the root of c."""

    weight: np.ndarray  # (n_lags * c, c), oldest row first
    intercept: np.ndarray
    root: np.ndarray


def simulate(n_rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = np.zeros((n_rows + 50, N_CHANNELS))
    for t in range(1, len(rows)):
        rows[t] = 0.6 * rows[t - 1] + 0.2 * np.roll(rows[t - 1], 1) + rng.normal(size=N_CHANNELS)
    return rows[50:]


def learn(log: np.ndarray) -> Model:
    lags = np.hstack([log[lag : lag - N_LAGS] for lag in range(N_LAGS)] + [np.ones((len(log) - N_LAGS, 1))])
    weight = np.linalg.lstsq(lags, log[N_LAGS:], rcond=None)[0]
    values, vectors = np.linalg.eigh(np.cov((log[N_LAGS:] - lags @ weight).T))
    root = (vectors / np.sqrt(values * N_CHANNELS)) @ vectors.T
    return Model(np.ascontiguousarray(weight[:-1]), weight[-1].copy(), root)


def bare_stream(model: Model, rows: np.ndarray) -> list[float]:
    """Score row by row: three rows side by side in a page, the mean by a ring and a running sum.

    Of few numbers ``.dot`` takes half as long as ``@``.
    """
    weight, intercept, root = model
    width, page = N_LAGS * N_CHANNELS, np.zeros(64 * N_CHANNELS)
    first, total, place, ring = 0, 0.0, 0, [0.0] * SMOOTHING
    forecast, scores = intercept, []
    for row in rows:
        z = (row - forecast).dot(root)
        square = float(z.dot(z))
        total += square - ring[place]
        ring[place] = square
        place = place + 1 if place + 1 < SMOOTHING else 0
        scores.append(total / SMOOTHING)
        if first + width + N_CHANNELS > len(page):
            page[: width - N_CHANNELS] = page[first + N_CHANNELS : first + width]
            first = -N_CHANNELS
        first += N_CHANNELS
        page[first + width - N_CHANNELS : first + width] = row
        forecast = page[first : first + width].dot(weight)
        forecast += intercept
    return scores


def bare_stream_as_one_writes_it(model: Model, rows: np.ndarray) -> list[float]:
    """Score row by row with ``@``, the mean over a ring: slower, without the rounding that a running sum gathers."""
    weight, intercept, root = model
    past, ring, scores = np.zeros((N_LAGS, N_CHANNELS)), np.zeros(SMOOTHING), []
    for place, row in enumerate(rows):
        z = (row - (past.reshape(-1) @ weight + intercept)) @ root
        ring[place % SMOOTHING] = z @ z
        scores.append(ring.mean())
        past[:-1] = past[1:]
        past[-1] = row
    return scores


def bare_stream_with_parts(model: Model, rows: np.ndarray) -> list[float]:
    """Score row by row, and keep the part of each sensor."""
    weight, intercept, root = model
    width, page, ones = N_LAGS * N_CHANNELS, np.zeros(64 * N_CHANNELS), np.ones(N_CHANNELS)
    first, total, place, ring = 0, np.zeros(N_CHANNELS), 0, np.zeros((SMOOTHING, N_CHANNELS))
    forecast, scores = intercept, []
    for row in rows:
        z = (row - forecast).dot(root)
        z *= z
        total += z
        total -= ring[place]
        ring[place] = z
        place = place + 1 if place + 1 < SMOOTHING else 0
        parts = total / SMOOTHING
        scores.append(float(parts.dot(ones)))
        if first + width + N_CHANNELS > len(page):
            page[: width - N_CHANNELS] = page[first + N_CHANNELS : first + width]
            first = -N_CHANNELS
        first += N_CHANNELS
        page[first + width - N_CHANNELS : first + width] = row
        forecast = page[first : first + width].dot(weight)
        forecast += intercept
    return scores


def bare_streams(model: Model, ticks: np.ndarray) -> np.ndarray:
    """Score one row of every stream per tick."""
    weight, intercept, root = model
    n_streams = ticks.shape[1]
    past = np.zeros((n_streams, N_LAGS * N_CHANNELS))
    total, ring, place = np.zeros(n_streams), np.zeros((SMOOTHING, n_streams)), 0
    forecast, scores = np.broadcast_to(intercept, ticks.shape[1:]), np.empty(ticks.shape[:2])
    for tick, rows in enumerate(ticks):
        z = (rows - forecast) @ root
        z *= z
        squares = z.sum(axis=1)
        total += squares
        total -= ring[place]
        ring[place] = squares
        place = (place + 1) % SMOOTHING
        np.divide(total, SMOOTHING, out=scores[tick])
        past[:, :-N_CHANNELS] = past[:, N_CHANNELS:]
        past[:, -N_CHANNELS:] = rows
        forecast = past @ weight
        forecast += intercept
    return scores


def bare_array(model: Model, rows: np.ndarray) -> np.ndarray:
    """Score all rows at once: a product per lag, the mean by differences of running sums."""
    weight, intercept, root = model
    n = len(rows) - N_LAGS
    z = rows[N_LAGS:] - intercept
    for lag in range(N_LAGS):
        z -= rows[lag : lag + n] @ weight[lag * N_CHANNELS : (lag + 1) * N_CHANNELS]
    z = z @ root
    z *= z
    sums = np.cumsum(np.concatenate([np.zeros(SMOOTHING), z.sum(axis=1)]))
    return (sums[SMOOTHING:] - sums[:-SMOOTHING]) / SMOOTHING


def stream(detector: PrivilegedAnomalyDetector, rows: object, **settings: bool) -> list[float]:
    detector.reset()
    return [detector.update(row, **settings).score for row in rows]


def one_by_one(model: object, rows: list) -> list[float]:
    """Follow the protocol of river."""
    scores = []
    for row in rows:
        scores.append(model.score_one(row))
        model.learn_one(row)
    return scores


def race(title: str, routes: dict[str, Route], n_runs: int) -> dict[str, float]:
    """Time routes in turn; return microseconds per row. The first is the reference of the ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    for route in routes.values():
        route.run()
    for _ in range(n_runs):
        for name, route in routes.items():
            begin = time.perf_counter()
            route.run()
            seconds[name].append((time.perf_counter() - begin) / route.n_rows)
    middles = {name: 1e6 * statistics.median(times) for name, times in seconds.items()}
    print(f"\n{title}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    base = next(iter(middles.values()))
    for name, middle in middles.items():
        print(f"  {name:>44} {middle:10.3f} us a row   x {middle / base:8.2f}")
    return middles


def verdict(what: str, ratio: float, bar: float, *, at_least: bool = False) -> None:
    kept = ratio >= bar if at_least else ratio <= bar
    print(f"  {what}: {ratio:.2f}, bar {'>=' if at_least else '<='} {bar:g}: {'kept' if kept else 'MISSED'}")


def peers(log: np.ndarray, rows: np.ndarray, dicts: list[dict[str, float]]) -> dict[str, Route]:
    """Return the routes of what is installed; PyOD one row at a time, on few rows."""
    routes = {}
    if importlib.util.find_spec("river"):
        from river.anomaly import HalfSpaceTrees

        low, high = log.min(axis=0), log.max(axis=0)  # trees of river expect values between 0 and 1
        scaled = [dict(zip(dicts[0], row.tolist(), strict=True)) for row in (rows - low) / (high - low)]
        name = "river HalfSpaceTrees(10), score + learn"
        routes[name] = Route(lambda: one_by_one(HalfSpaceTrees(n_trees=10, seed=0), scaled), len(rows))
    few = [row[None] for row in rows[:N_SLOW_ROWS]]
    if importlib.util.find_spec("pyod"):
        from pyod.models.iforest import IForest

        name, forest = "PyOD IForest, row by row", IForest(random_state=0).fit(log).decision_function
    else:
        from sklearn.ensemble import IsolationForest

        name, forest = "IsolationForest, row by row", IsolationForest(random_state=0).fit(log).score_samples
    routes[name] = Route(lambda: [forest(row) for row in few], len(few))
    return routes


def race_of_one_stream(detector: PrivilegedAnomalyDetector, model: Model, log: np.ndarray, n_runs: int) -> None:
    rows = simulate(N_ROWS, 1)
    dicts = [dict(zip(detector.feature_names_in_, row.tolist(), strict=True)) for row in rows]
    with_memory = PrivilegedAnomalyDetector(n_lags=N_LAGS, smoothing=SMOOTHING).fit(named(log))
    routes = {
        "bare numpy recursion": Route(lambda: bare_stream(model, rows), len(rows)),
        "bare numpy recursion with parts": Route(lambda: bare_stream_with_parts(model, rows), len(rows)),
        "bare numpy as one writes it": Route(lambda: bare_stream_as_one_writes_it(model, rows), len(rows)),
        "update(array)": Route(lambda: stream(detector, rows), len(rows)),
        "update(array), default memory": Route(lambda: stream(with_memory, rows), len(rows)),
        "update(array, learn=True)": Route(lambda: stream(detector, rows, learn=True), len(rows)),
        "update(dict)": Route(lambda: stream(detector, dicts), len(rows)),
        "RiverAdapter, score + learn": Route(lambda: one_by_one(RiverAdapter(detector, learn=False), dicts), len(rows)),
    } | peers(log, rows, dicts)
    took = race("one stream, row by row", routes, n_runs)
    ours = took["update(array)"]
    for name in ("bare numpy recursion", "bare numpy recursion with parts", "bare numpy as one writes it"):
        verdict(f"update(array) over the {name}", ours / took[name], 2.5)
    for name, middle in took.items():
        if name.startswith("river"):
            verdict(f"{name} over update(array)", middle / ours, 1.0, at_least=True)
            verdict(f"{name} over update(dict)", middle / took["update(dict)"], 1.0, at_least=True)
        if "row by row" in name:
            verdict(f"{name} over update(array)", middle / ours, 200.0, at_least=True)


def race_of_many_streams(detector: PrivilegedAnomalyDetector, model: Model, n_runs: int) -> None:
    ticks = np.random.default_rng(2).normal(size=(N_TICKS, N_STREAMS, N_CHANNELS))
    scores = stream(detector, ticks)
    p_values = detector.calibration_.p_values
    n_rows = N_TICKS * N_STREAMS
    routes = {
        "bare numpy, per row of a stream": Route(lambda: bare_streams(model, ticks), n_rows),
        "update(ticks), all": Route(lambda: stream(detector, ticks), n_rows),
        "its p-values alone": Route(lambda: [p_values(row) for row in scores], n_rows),
    }
    bare, all_of_it, p = race(f"{N_STREAMS} streams per tick", routes, n_runs).values()
    verdict("without p-values (all less these)", (all_of_it - p) / bare, 1.5)
    verdict("with p-values", all_of_it / bare, 2.5)


def race_of_arrays(detector: PrivilegedAnomalyDetector, model: Model, n_runs: int) -> None:
    rows = simulate(N_ARRAY, 4)
    frame = named(rows)
    routes = {
        "bare numpy": Route(lambda: bare_array(model, rows), len(rows)),
        "score_samples": Route(lambda: detector.score_samples(frame), len(rows)),
        "detect, with p-values, alarms and events": Route(lambda: detector.detect(frame), len(rows)),
        "contributions": Route(lambda: detector.contributions(frame), len(rows)),
    }
    took = race(f"{N_ARRAY} rows at once", routes, n_runs)
    verdict("score_samples", took["score_samples"] / took["bare numpy"], 1.5)
    verdict("with p-values", took["detect, with p-values, alarms and events"] / took["bare numpy"], 2.5)


def named(rows: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f"sensor {number}" for number in range(N_CHANNELS)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="runs of each route")
    n_runs = parser.parse_args().runs
    log = simulate(N_LOG, 0)
    with threadpool_limits(1):
        model = learn(log)
        detector = PrivilegedAnomalyDetector(n_lags=N_LAGS, smoothing=SMOOTHING, memory=None).fit(named(log))
        rows = simulate(2000, 5)
        difference = np.abs(np.array(bare_stream(model, rows)) - np.array(stream(detector, rows)))[SMOOTHING + N_LAGS :]
        print(f"scores of the bare recursion and of the detector differ by {difference.max():.3f} at most")
        race_of_one_stream(detector, model, log, n_runs)
        race_of_many_streams(detector, model, n_runs)
        race_of_arrays(detector, model, n_runs)


if __name__ == "__main__":
    main()
