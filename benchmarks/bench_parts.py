"""A file read in parts beside pandas reading it whole, and windows of parts beside windows of the whole.

Each measurement runs in a process of its own, so that its peak of resident memory is its own; ratios are taken within
one run. pandas gets the same work: the times parsed into an index, the columns as float64. Windows are those of an
array in memory, cut into parts, so that only the cutting differs; their sums are compared.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from pitskd import make_windows, read_parts, windows_from_parts

N_COLUMNS, ROWS = 11, 100_000  # beside the time; rows of a part
WINDOWS = {"window": 24, "horizon": 8}


def write(folder, n_rows):
    """Write a CSV and a Parquet file of one-minute values.

    In a process of its own: a child would begin with the peak memory of the process that starts it.
    """
    rng = np.random.default_rng(0)
    times = pd.date_range("2015-01-01", periods=n_rows, freq="min")
    for begin in range(0, n_rows, 500_000):
        rows = slice(begin, min(begin + 500_000, n_rows))
        values = rng.normal(size=(rows.stop - begin, N_COLUMNS)).round(3) * 10
        frame = pd.DataFrame(values, index=times[rows], columns=[f"c{i}" for i in range(N_COLUMNS)]).rename_axis("time")
        frame.to_csv(
            folder / "log.csv", mode="a", header=begin == 0, date_format="%Y-%m-%dT%H:%M:%S", float_format="%.6g"
        )
    frame = pd.read_csv(folder / "log.csv", dtype={"time": str})
    frame["time"] = times
    frame.to_parquet(folder / "log.parquet", row_group_size=ROWS * 5)


def pandas_whole(path):
    """Read a file whole."""
    if path.suffix == ".parquet":
        return len(pd.read_parquet(path))
    frame = pd.read_csv(path, dtype={"time": str}, low_memory=False)
    frame.index = pd.Index(pd.to_datetime(frame.pop("time"), format="ISO8601"))
    return len(frame)


def in_parts(path):
    """Open a file, check it, and read it in parts."""
    return sum(len(frame) for frame in read_parts(path, rows=ROWS))


def opened(path):
    """Open a file and check it."""
    return read_parts(path, rows=ROWS).n_rows


def windows_in_parts(path):
    """Read a file in parts and cut it into windows."""
    parts = read_parts(path, rows=ROWS)
    return sum(w.n_windows for w in windows_from_parts(parts, "c0", **WINDOWS))


def windows_of_whole(path):
    """Read a file whole and cut it into windows."""
    frame = pd.read_csv(path, dtype={"time": str}, low_memory=False)
    frame.index = pd.Index(pd.to_datetime(frame.pop("time"), format="ISO8601"))
    return make_windows(frame, "c0", **WINDOWS).n_windows


WORK = {work.__name__: work for work in (pandas_whole, in_parts, opened, windows_of_whole, windows_in_parts)}


def measure(name, path, n_repeats):
    """Return the shortest time and the memory beyond the imports of a process that does one thing."""
    runs = []
    for _ in range(n_repeats):
        command = [sys.executable, __file__, "--work", name, "--file", str(path)]
        runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return {
        "s": min(run["s"] for run in runs), "MiB": max(run["MiB"] for run in runs), "result": runs[0]["result"],
    }  # fmt: skip


def alone(name, path):
    """Do one thing and print what it took."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin = time.perf_counter()
    result = WORK[name](path)
    taken = time.perf_counter() - begin
    print(
        json.dumps(
            {"s": taken, "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - resident, "result": result}
        )
    )


def cutting(n_rows, n_repeats):
    """Compare the cutting alone: an array in memory, whole and in parts by turns, all targets and inputs read."""
    series = np.random.default_rng(0).random(size=(n_rows, N_COLUMNS))  # all above zero, so that sums are comparable
    pieces = [series[begin : begin + ROWS] for begin in range(0, n_rows, ROWS)]

    def read(records):
        return sum(float(w.y.sum() + w.X.sum()) for w in records)

    def seconds(work):
        begin = time.perf_counter()
        total = work()
        return time.perf_counter() - begin, total

    whole, parts = [], []
    for _ in range(n_repeats):
        whole.append(seconds(lambda: read([make_windows(series, 0, **WINDOWS)])))
        parts.append(seconds(lambda: read(windows_from_parts(pieces, 0, **WINDOWS))))
    assert np.isclose(whole[0][1], parts[0][1], rtol=1e-9)
    return min(whole)[0], min(parts)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", choices=[*WORK, "write"])
    parser.add_argument("--file", type=Path)
    given = parser.parse_args()
    if given.work == "write":
        write(given.file, given.rows)
        return
    if given.work:
        alone(given.work, given.file)
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--work", "write", "--file", folder, "--rows", str(given.rows)]
        subprocess.run(command, check=True)
        for ending in ("csv", "parquet"):
            path = Path(folder) / f"log.{ending}"
            print(f"\n{ending}: {given.rows:,} rows, {1 + N_COLUMNS} columns, {path.stat().st_size / 2**20:.0f} MiB")
            whole = measure("pandas_whole", path, given.repeats)
            for name in WORK if ending == "csv" else ("pandas_whole", "opened", "in_parts"):
                found = whole if name == "pandas_whole" else measure(name, path, given.repeats)
                ratios = f"time {found['s'] / whole['s']:.2f}  memory {found['MiB'] / whole['MiB']:.2f} of pandas"
                print(f"  {name:17} {found['s']:7.2f} s {found['MiB']:7.0f} MiB   {ratios}")
    whole, parts = cutting(given.rows, given.repeats)
    print(f"\ncutting alone, {given.rows:,} rows: whole {whole:.2f} s, parts {parts:.2f} s, ratio {parts / whole:.2f}")


if __name__ == "__main__":
    main()
