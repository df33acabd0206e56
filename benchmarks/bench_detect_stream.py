"""A day at one row per second through `pitskd detect --stream -` behind real pipes: rows/s, memory, the same alarms.

The log to train on and the day are simulated: eight channels of a stable VAR(1), with a shift of one sensor in every
hour of the day. Memory is the resident set of the process, read early and at the end of the stream.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

from pitskd.persistence import load

N_CHANNELS, DAY = 8, 86_400
SETTINGS = ["--horizons", "1", "--n-lags", "3"]
COMMAND = [sys.executable, "-c", "from pitskd.cli import app; app()", "detect"]


def simulate(n_rows, seed):
    """Return a log of rows that follow each other by a second."""
    mixing = np.eye(N_CHANNELS) + 0.3 * np.random.default_rng(7).normal(size=(N_CHANNELS, N_CHANNELS))
    noise = np.random.default_rng(seed).normal(size=(n_rows, N_CHANNELS)) @ mixing
    rows = np.zeros((n_rows, N_CHANNELS))
    for row in range(1, n_rows):
        rows[row] = 0.8 * rows[row - 1] + noise[row]
    index = pd.date_range("2024-05-01", periods=n_rows, freq="s", name="time")
    return pd.DataFrame(rows, columns=[f"s{channel}" for channel in range(N_CHANNELS)], index=index)


def make_day(n_rows):
    """Return a day with one shift of two minutes in every hour."""
    day = simulate(n_rows, 1)
    for start in range(1800, n_rows, 3600):
        day.iloc[start : start + 120, (start // 3600) % N_CHANNELS] += 6.0
    return day


def resident(process):
    """Return the resident set in MiB."""
    with open(f"/proc/{process.pid}/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def send(lines, sink):
    """Write all lines, and leave the pipe open."""
    for line in lines:
        sink.write(line)
    sink.flush()


def follow(options, lines):
    """Return the answers, the resident set at twentieths of the rows, and seconds from the first to the last."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([*COMMAND, *options, "--stream", "-"], stdin=pipe, stdout=pipe)
    sender = threading.Thread(target=send, args=(lines, process.stdin), daemon=True)
    sender.start()
    answers, sizes = [], []
    n_rows = len(lines) - 1
    looks = set(np.linspace(0, n_rows, 21).astype(int)[1:])
    for number in range(1, n_rows + 1):
        answers.append(process.stdout.readline())
        if number == 1:
            begin = time.perf_counter()
        if number in looks:
            sizes.append(resident(process))
    seconds = time.perf_counter() - begin
    sender.join()
    process.stdin.close()
    assert process.wait() == 0
    return [json.loads(answer) for answer in answers], sizes, seconds


def compare(answers, model, day):
    """Print how far the answers are from the array path."""
    expected = model.detect(day)
    alarms = np.array([said["is_anomaly"] for said in answers])
    events = np.array([said["event"] for said in answers])
    scores = np.array([said["score"] for said in answers])
    same = np.array_equal(alarms, expected["is_anomaly"]) and np.array_equal(events, expected["event"])
    print(f"alarms and events equal to the array path: {same} ({alarms.sum():,} rows, {events.max()} events)")
    print(f"largest difference of scores: {np.abs(scores - expected['score']).max():.1e}")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=DAY)
    n_rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        log, model = Path(folder) / "log.csv", Path(folder) / "model.pitskd"
        simulate(20_000, 0).to_csv(log)
        subprocess.run([*COMMAND, "--train", str(log), *SETTINGS, "--model", str(model)], check=True)
        day = make_day(n_rows)
        lines = [line.encode() for line in day.to_csv().splitlines(keepends=True)]
        answers, sizes, seconds = follow(["--model", str(model)], lines)
        print(f"{n_rows:,} rows of {N_CHANNELS} channels in {seconds:.1f} s: {n_rows / seconds:,.0f} rows/s")
        print(f"resident set: {sizes[0]:.1f} MiB at 5 % of the rows, {sizes[-1]:.1f} MiB behind the last")
        print("in between: " + " ".join(f"{size:.1f}" for size in sizes))
        return 0 if compare(answers, load(model), day) else 1


if __name__ == "__main__":
    sys.exit(main())
