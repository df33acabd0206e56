"""Windows of a long series: time and extra memory of `make_windows` beside numpy's bare sliding view and a plain copy.

Ratios are taken within one run. ``make`` returns without looking at the values; ``read X`` looks once at the target
column (which windows have one?) and then hands out a view.
"""

import argparse
import time
import tracemalloc

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from pitskd import make_windows

N_CHANNELS, WINDOW, HORIZON = 8, 48, 12
LARGEST_COPY = 100_000  # rows; the plain copy holds every row 48 times


def seconds(work, n_repeats=5):
    """Return the shortest time of several runs."""
    times = []
    for _ in range(n_repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def peak_mebibytes(work):
    """Return the most memory that one run holds beyond the series."""
    tracemalloc.start()
    try:
        kept = work()
        peak = tracemalloc.get_traced_memory()[1]
        del kept
    finally:
        tracemalloc.stop()
    return peak / 2**20


def windowed(series):
    """Return the record."""
    return make_windows(series, 0, window=WINDOW, horizon=HORIZON)


def bare_view(series):
    """Return what numpy alone gives: views without a check for missing targets."""
    n_windows = len(series) - WINDOW - HORIZON + 1
    return sliding_window_view(series, WINDOW, axis=0)[:n_windows].swapaxes(1, 2), series[WINDOW + HORIZON - 1 :, 0]


def plain_copy(series):
    """Return what a loop over windows gives."""
    n_windows = len(series) - WINDOW - HORIZON + 1
    return np.stack([series[i : i + WINDOW] for i in range(n_windows)]), series[WINDOW + HORIZON - 1 :, 0]


def measure(n_rows):
    """Measure one length of series."""
    series = np.random.default_rng(0).standard_normal((n_rows, N_CHANNELS))
    make, read = seconds(lambda: windowed(series)), seconds(lambda: windowed(series).X)
    view, scan = seconds(lambda: bare_view(series)), seconds(lambda: np.isnan(series[:, 0]).any())
    memory = peak_mebibytes(lambda: windowed(series).X)
    row = {
        "rows": f"{n_rows:,}",
        "make ms": 1e3 * make,
        "read X ms": 1e3 * read,
        "extra MiB": memory,
        "view": np.shares_memory(windowed(series).X, series),
        "read / numpy view": read / view,
        "read / (view + isnan)": read / (view + scan),
    }
    if n_rows <= LARGEST_COPY:
        row["copy / read"] = seconds(lambda: plain_copy(series), 2) / read
        row["copy MiB / extra"] = peak_mebibytes(lambda: plain_copy(series)) / memory
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=float, default=1e7, help="rows of the longest series (8 float64 channels)")
    largest = parser.parse_args().largest
    table = pd.DataFrame([measure(10**power) for power in range(4, 8) if 10**power <= largest])
    print(f"make_windows: {N_CHANNELS} channels of float64, window {WINDOW}, horizon {HORIZON}")
    print(table.to_string(index=False, na_rep="-", float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
