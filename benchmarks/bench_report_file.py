"""`pitskd report` on a file of five million rows and twelve columns: seconds, and peak memory beside the file's size.

The file is a rotating autoregressive process with a clock, one row a minute. Its size, the peak resident memory of the
command and of ``pandas.read_csv`` on the same file are printed. Usage:
``python benchmarks/bench_report_file.py [--rows 5000000] [--window 12] [--horizon 12] [--file kept.csv]``.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import lfilter

PANDAS = "import sys, pandas; pandas.read_csv(sys.argv[1])"
COMMAND = "from pitskd.cli import app; app()"
AT_ONCE = 500_000


def write(path, n_rows):
    """Write a clock and eleven sensors, each an AR(1) process that feeds the next."""
    generator = np.random.default_rng(0)
    state, start = np.zeros((11, 1)), pd.Timestamp("2015-01-01")
    for first in range(0, n_rows, AT_ONCE):
        n = min(AT_ONCE, n_rows - first)
        noise = generator.standard_normal((11, n))
        values = np.zeros((11, n))
        for channel in range(11):
            fed = noise[channel] + (0.05 * np.roll(values[channel - 1], 1) if channel else 0.0)
            values[channel], state[channel] = lfilter([1.0], [1.0, -0.95], fed, zi=state[channel])
        frame = pd.DataFrame(values.T.round(4), columns=[f"sensor{channel} [bar]" for channel in range(11)])
        frame.insert(0, "time", pd.date_range(start + pd.Timedelta(minutes=first), periods=n, freq="min"))
        frame.to_csv(path, mode="a", header=first == 0, index=False)


def measured(arguments):
    """Return seconds and the peak resident MiB of a command of its own, started by a small process."""
    code = (
        "import resource, subprocess, sys, time; s = time.perf_counter(); "
        "done = subprocess.run(sys.argv[1:]); "
        "print(time.perf_counter() - s, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    seconds, peak, returned = done.stdout.strip().splitlines()[-1].split()
    if returned != "0":
        raise SystemExit(done.stderr)
    return float(seconds), float(peak) / 1024, done.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--window", default="12")
    parser.add_argument("--horizon", default="12")
    parser.add_argument("--file", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.file or Path(folder) / "sensors.csv"
        if not path.exists():
            write(path, given.rows)
        size = path.stat().st_size / 2**20
        asked = ["--target", "sensor10 [bar]", "--window", given.window, "--horizon", given.horizon]
        seconds, peak, said = measured([sys.executable, "-c", COMMAND, "report", str(path), *asked])
        _, whole, _ = measured([sys.executable, "-c", PANDAS, str(path)])
    print(said)
    print(f"file {size:.0f} MiB; report {seconds:.0f} s, peak {peak:.0f} MiB = {peak / size:.2f} x the file")
    print(f"pandas.read_csv alone: peak {whole:.0f} MiB = {whole / size:.2f} x the file")


if __name__ == "__main__":
    main()
