"""What holds for any series: windows equal a slow reading of the contract, nothing leaks, nothing is copied."""

import tracemalloc
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pitskd import make_windows

few = settings(deadline=None, max_examples=60, derandomize=True)


@st.composite
def problems(draw, live=None):
    """Draw a frame with groups, holes and missing values, and how to window it."""
    n_rows = draw(st.integers(8, 40))
    n_groups = draw(st.integers(1, 3))
    groups = np.array(draw(st.lists(st.integers(0, n_groups - 1), min_size=n_rows, max_size=n_rows)))
    if draw(st.booleans()):
        groups.sort()
    # Every group has its own clock on a common calendar: unit steps, some longer.
    times = np.zeros(n_rows, dtype=int)
    for group in np.unique(groups):
        inside = groups == group
        size = int(inside.sum())
        steps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 5]), min_size=size, max_size=size))
        times[inside] = draw(st.integers(0, 5)) + np.cumsum(steps)
    values = np.arange(n_rows, dtype=float)[:, None] + [0.0, 1000.0, 2000.0]
    for row, column in draw(st.lists(st.tuples(st.integers(0, n_rows - 1), st.integers(0, 2)), max_size=4)):
        values[row, column] = np.nan
    frame = pd.DataFrame(values, columns=list("abc"), index=times)
    horizon = draw(st.one_of(st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True)))
    options = {
        "target": draw(st.sampled_from(["a", "b", ["b"], ["c", "a"]])),
        "window": draw(st.integers(1, 4)),
        "horizon": horizon,
        "stride": draw(st.integers(1, 3)),
        "groups": groups,
        "privileged": draw(st.sampled_from(["between", None])),
        "privileged_columns": draw(st.sampled_from([None, "a", "b", ["c", "a"]])),
        "require_target": not (draw(st.booleans()) if live is None else live),
        "max_gap": 1,
    }
    return frame, options


def as_list(given):
    return given if isinstance(given, list) else [given]


def read_slowly(
    frame, *, target, window, horizon, stride, groups, privileged, privileged_columns, require_target, max_gap
):
    """Read the contract row by row: lists of X, X_privileged, y and the rows of all they hold."""
    values, times, names = frame.to_numpy(), frame.index.to_numpy(), list(frame.columns)
    targets, horizons = as_list(target), as_list(horizon)
    taken = [] if privileged_columns is None else as_list(privileged_columns)
    shared = [names.index(c) for c in names if c not in taken]
    teacher = [names.index(c) for c in (taken if privileged is None else names)]
    steps = [*(range(1 - window, 1) if taken else ()), *(range(1, max(horizons)) if privileged else ())]
    read = []
    for group in pd.unique(groups):
        rows = np.flatnonzero(groups == group)
        for start in range(0, len(rows) - window - (max(horizons) if require_target else 0) + 1, stride):
            origin = start + window - 1
            reached = origin
            while reached + 1 < len(rows) and times[rows[reached + 1]] - times[rows[reached]] <= max_gap:
                reached += 1
            hole = np.any(np.diff(times[rows[start : origin + 1]]) > max_gap)

            def value(step, column, rows=rows, origin=origin, reached=reached):
                return values[rows[origin + step], column] if origin + step <= reached else np.nan

            y = [value(step, names.index(c)) for step in horizons for c in targets]
            late = origin + max(horizons) > reached
            if hole or (require_target and (late or np.isnan(y).any())):
                continue
            used = rows[start : min(origin + max(horizons), reached) + 1]
            X = values[rows[start : origin + 1]][:, shared]
            Z = np.array([[value(step, c) for c in teacher] for step in steps]).reshape(len(steps), len(teacher))
            read.append((X, Z, y, times[rows[origin]], group, used))
    return read


def cut(frame, options):
    options = dict(options)
    return make_windows(frame, options.pop("target"), **options)


@few
@given(problems())
def test_windows_are_what_a_slow_reading_of_the_contract_gives(problem):
    frame, options = problem
    expected = read_slowly(frame, **options)
    if not expected:
        with pytest.raises(ValueError, match=r"complete enough|short enough"):
            _ = cut(frame, options).X
        return
    w = cut(frame, options)
    assert w.n_windows == len(expected)
    X, Z, y, origin, group, _ = zip(*expected, strict=True)
    assert_array_equal(w.X, X)
    if options["privileged"] or options["privileged_columns"]:
        assert_array_equal(w.X_privileged, Z)
    else:
        assert w.X_privileged is None
    one = not isinstance(options["target"], list) and not isinstance(options["horizon"], list)
    assert_array_equal(w.y, np.ravel(y) if one else y)
    assert_array_equal(w.origin, origin)
    assert_array_equal(w.groups, group)


@few
@given(problems(live=True), st.integers(0, 10**6))
def test_nothing_after_the_origin_changes_the_input(problem, place):
    """The law that makes privilege safe: what the student sees was known at the origin."""
    frame, options = problem
    options["groups"] = None
    frame = frame.reset_index(drop=True)
    options["max_gap"] = None
    if options["window"] > len(frame):
        return
    cutoff = place % len(frame)
    corrupted = frame.copy()
    corrupted.iloc[cutoff + 1 :] = -777.0
    known = cut(frame, options).origin <= cutoff
    before, after = cut(frame, options), cut(corrupted, options)
    assert_array_equal(before.origin, after.origin)
    assert_array_equal(before.X[known], after.X[known])


@few
@given(problems(), st.integers(0, 10**6))
def test_windows_of_a_prefix_are_a_prefix_of_the_windows(problem, place):
    frame, options = problem
    options["groups"], options["max_gap"] = None, None
    frame = frame.reset_index(drop=True)
    horizon = np.max(options["horizon"])
    shortest = options["window"] + horizon
    if shortest >= len(frame):
        return
    n_rows = shortest + place % (len(frame) - shortest)
    try:
        whole, prefix = cut(frame, options), cut(frame.iloc[:n_rows], options)
        n_common = prefix.n_windows
    except ValueError:  # no target is left
        return
    assert_array_equal(prefix.origin, whole.origin[:n_common])
    assert_array_equal(prefix.X, whole.X[:n_common])
    complete = prefix.origin + horizon < n_rows
    assert_array_equal(prefix.y[complete], whole.y[:n_common][complete])
    if prefix.X_privileged is not None:
        assert_array_equal(prefix.X_privileged[complete], whole.X_privileged[:n_common][complete])


def names_of(windows):
    """Origins are unique within a group."""
    return list(zip(windows.groups.tolist(), windows.origin.tolist(), strict=True))


@few
@given(problems(), st.lists(st.floats(0.1, 0.6), min_size=1, max_size=2), st.booleans())
def test_no_row_and_no_time_is_shared_across_a_cut(problem, sizes, shuffled):
    frame, options = problem
    read = read_slowly(frame, **options)
    if not read:
        return
    rows_of = {(group, time): rows for _, _, _, time, group, rows in read}
    order = np.random.default_rng(0).permutation(len(read)) if shuffled else np.arange(len(read))
    try:
        parts = cut(frame, options).take(order).split(*sizes)
    except ValueError:  # too few windows for these sizes
        return
    times = frame.index.to_numpy()
    held = [np.concatenate([rows_of[name] for name in names_of(part)]) for part in parts]
    for earlier, later in combinations(held, 2):
        assert not set(earlier) & set(later)
        assert times[earlier].max() < times[later].min()


@few
@given(problems(live=False), st.integers(1, 20), st.booleans())
def test_the_automatic_gap_drops_what_it_must_and_nothing_else(problem, n_first, shuffled):
    frame, options = problem
    read = read_slowly(frame, **options)
    if len(read) <= n_first:
        return
    times = frame.index.to_numpy()
    held = [times[rows] for *_, rows in read]
    order = np.argsort([t[0] for t in held], kind="stable")
    begin = held[order[n_first]][0]
    kept = [row for row in order[:n_first] if held[row][-1] < begin]
    windows = cut(frame, options)
    if not kept:
        with pytest.raises(ValueError, match="large enough to leave windows in part 0"):
            windows.split(n_first)
        return
    first, rest = windows.split(n_first)
    names = names_of(windows)
    assert names_of(first) == [names[row] for row in kept]
    assert names_of(rest) == [names[row] for row in order[n_first:]]


@few
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(20, 60), st.floats(0.2, 0.8))
def test_the_automatic_gap_of_a_whole_series_is_window_plus_horizon_minus_one_rows(
    window, horizon, stride, n_rows, size
):
    w = make_windows(np.arange(n_rows), 0, window=window, horizon=horizon, stride=stride)
    n_first = int(size * w.n_windows + 1e-9)
    n_gap = -(-(window + horizon) // stride) - 1  # whole strides in the rows that would be shared
    if n_first <= n_gap or n_first >= w.n_windows:
        return
    first, rest = w.split(size)
    assert (first.n_windows, rest.n_windows) == (n_first - n_gap, w.n_windows - n_first)
    assert first.y[-1] < rest.X[0, 0, 0]
    assert first.y[-1] + stride >= rest.X[0, 0, 0]


# ----------------------------------------------------------------------------------------------------------- split


def test_split_by_hand():
    train, middle, test = make_windows(np.arange(40.0), 0, window=3, horizon=2).split(0.5, 10)
    assert_array_equal(train.origin, np.arange(2, 2 + 18 - 4))
    assert_array_equal(middle.origin, np.arange(20, 26))
    assert_array_equal(test.origin, np.arange(30, 38))


def test_split_keeps_views():
    series = np.arange(40.0)
    for part in make_windows(series, 0, window=3, horizon=2).split(0.5):
        assert np.shares_memory(part.X, series)


@pytest.mark.parametrize(("gap", "n_windows"), [(0, (6, 4)), (1, (5, 4)), (np.int64(5), (1, 4))])
def test_integer_gap_counts_windows(gap, n_windows):
    parts = make_windows(np.arange(12.0), 0, window=2, horizon=1).split(6, gap=gap)
    assert tuple(part.n_windows for part in parts) == n_windows


@pytest.mark.parametrize(
    ("sizes", "counts"), [((0.3,), (3, 7)), ((0.1, 0.7), (1, 7, 2)), ((2, 0.5), (2, 5, 3)), ((9,), (9, 1))]
)
def test_fractions_are_of_all_windows(sizes, counts):
    parts = make_windows(np.arange(12.0), 0, window=2, horizon=1).split(*sizes, gap=0)
    assert tuple(part.n_windows for part in parts) == counts


def test_fraction_that_rounds_down_in_binary_counts_as_typed():
    assert 0.29 * 100 < 29
    assert make_windows(np.arange(102.0), 0, window=2, horizon=1).split(0.29, gap=0)[0].n_windows == 29


@pytest.mark.parametrize("sizes", [(), (1.0,), (0.0,), (0,), (-1,), (0.5, 0.5), (10,), (11,), (4, 0.6)])
@pytest.mark.parametrize("gap", ["auto", 0])
def test_sizes_that_leave_no_rest_are_refused(sizes, gap):
    with pytest.raises(ValueError, match=r"sizes must be (one or more, below 10 windows|fractions between 0 and 1)"):
        make_windows(np.arange(12.0), 0, window=2, horizon=1).split(*sizes, gap=gap)


@pytest.mark.parametrize("size", ["a", None, True, np.nan, 1.5, np.inf, [3]])
def test_size_of_a_wrong_kind_is_refused(size):
    with pytest.raises(ValueError, match="sizes must be fractions between 0 and 1 or numbers of windows"):
        make_windows(np.arange(12.0), 0, window=2, horizon=1).split(size)


@pytest.mark.parametrize(("size", "gap"), [(0.01, 0), (0.3, "auto"), (5, 5), (5, 100)])
def test_part_emptied_by_the_gap_is_refused(size, gap):
    with pytest.raises(ValueError, match="sizes must be large enough to leave windows in part 0 after the gap"):
        make_windows(np.arange(12.0), 0, window=2, horizon=2).split(size, gap=gap)


@pytest.mark.parametrize(
    ("gap", "kind"), [("x", TypeError), (None, TypeError), (1.5, TypeError), (True, TypeError), (-1, ValueError)]
)
def test_wrong_gap_is_refused(gap, kind):
    with pytest.raises(kind, match=r'gap must be an integer of at least 0.*gap="auto"'):
        make_windows(np.arange(12.0), 0, window=2, horizon=1).split(0.5, gap=gap)


@pytest.mark.parametrize("interleaved", [True, False])
def test_groups_on_one_calendar_are_cut_by_time(interleaved):
    hours = pd.date_range("2024-01-01", periods=30, freq="h")
    frame = pd.concat([pd.DataFrame({"a": np.arange(30.0), "city": city}, index=hours) for city in "xyz"])
    if interleaved:
        frame = frame.sort_index(kind="stable")
    train, test = make_windows(frame, "a", window=2, horizon=2, groups="city").split(0.5)
    assert set(train.groups) == set(test.groups) == set("xyz")
    assert train.y.max() < test.X.min()
    assert train.y.max() == test.X.min() - 1


def test_interleaved_groups_of_an_array_are_cut_by_row():
    train, test = make_windows(np.arange(60), 0, window=2, horizon=2, groups=[0, 1, 2] * 20).split(0.5)
    assert train.y.max() < test.X.min()


def test_shuffled_windows_are_split_by_time():
    w = make_windows(np.arange(60), 0, window=2, horizon=2)
    shuffled = w.take(np.random.default_rng(3).permutation(w.n_windows))
    for part, ordered in zip(shuffled.split(0.5), w.split(0.5), strict=True):
        assert_array_equal(part.X, ordered.X)


def test_repeated_windows_stay_on_one_side():
    w = make_windows(np.arange(60), 0, window=2, horizon=2).take([5, 30, 5, 30, 5, 30])
    train, test = w.split(0.5)
    assert_array_equal(train.origin, [6, 6, 6])
    assert_array_equal(test.origin, [31, 31, 31])


def test_parts_of_a_part_are_split_again():
    train, _ = make_windows(np.arange(60), 0, window=2, horizon=1).split(0.5)
    first, second = train.split(0.5)
    assert first.y.max() < second.X.min()
    assert second.y.max() == train.y.max()


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2024-01-01", periods=400, freq="ms").as_unit("ns"),
        pd.date_range("2024-01-01", periods=400, freq="ns").as_unit("ns"),
        pd.Index(2**60 + np.arange(400)),
        pd.Index(1.7e9 + np.arange(400) * 0.1),
    ],
    ids=["milliseconds", "nanoseconds", "large integers", "seconds since 1970"],
)
def test_long_time_stamps_are_compared_exactly(index):
    w = make_windows(pd.DataFrame({"a": np.arange(400)}, index=index), "a", window=2, horizon=3)
    for size in range(10, 390, 7):
        train, test = w.split(size)
        assert train.y.max() + 1 == test.X.min()


def test_live_windows_split_with_the_time_their_target_is_due():
    index = pd.date_range("2024-01-01", periods=20, freq="h")
    w = make_windows(pd.DataFrame({"a": np.arange(20.0)}, index=index), "a", window=2, horizon=3, require_target=False)
    assert_array_equal(
        w.spans[:, 1] - w.spans[:, 0], np.full(w.n_windows, pd.Timedelta("4h") / pd.Timedelta(1, index.unit))
    )
    train, test = w.split(0.5)
    assert train.y.max() < test.X.min()


def test_holes_shorten_the_gap_to_what_is_shared():
    index = np.delete(np.arange(42), [20, 21])
    w = make_windows(pd.DataFrame({"a": index * 1.0}, index=index), "a", window=3, horizon=1)
    train, test = w.split(17)  # the cut lies in the hole: rows 0..19 and 22..41
    assert (train.n_windows, test.n_windows) == (17, 17)
    assert train.y.max() == 19
    assert test.X.min() == 22


# ----------------------------------------------------------------------------------------------------------- views


@pytest.mark.parametrize(
    "options", [{}, {"stride": 3}, {"privileged": 2}, {"privileged": None, "privileged_columns": 2}]
)
@pytest.mark.parametrize("horizon", [5, (1, 3, 5)])
def test_arrays_are_read_only_views_of_the_series(options, horizon):
    series = np.random.default_rng(0).normal(size=(50, 3))
    w = make_windows(series, 0, window=4, horizon=horizon, **options)
    for array in (w.X, w.X_privileged, w.y):
        assert np.shares_memory(array, series)
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    assert series.flags.writeable


def test_read_only_series_are_viewed():
    series = np.arange(30.0)
    series.flags.writeable = False
    assert np.shares_memory(make_windows(series, 0, window=4, horizon=2).X, series)


def test_frame_of_one_block_is_viewed():
    frame = pd.DataFrame(np.arange(60.0).reshape(20, 3), columns=list("abc"))
    w = make_windows(frame, "a", window=4, horizon=2)
    assert np.shares_memory(w.X, frame.to_numpy())
    assert np.shares_memory(w.y, frame.to_numpy())


def test_columns_unequally_spaced_are_copied_once():
    series = np.zeros((1000, 4))
    w = make_windows(series, 0, window=50, horizon=2, privileged=None, privileged_columns=2)
    assert w.X.base is not None  # windows of one copy of the series
    assert not np.shares_memory(w.X, series)
    assert not w.X.flags.writeable
    assert np.shares_memory(w.X_privileged, series)


def test_live_inputs_are_views():
    series = np.arange(30.0)
    assert np.shares_memory(make_windows(series, 0, window=4, horizon=2, require_target=False).X, series)


def test_adjacent_groups_with_equally_spaced_starts_are_viewed():
    series = np.arange(20.0)
    assert np.shares_memory(make_windows(series, 0, window=3, horizon=2, groups=np.repeat([0, 1, 2, 3], 5)).X, series)


def test_ten_million_rows_are_not_copied():
    row = np.zeros((1, 8))
    series = np.broadcast_to(row, (10_000_000, 8))
    frame_like = np.lib.stride_tricks.as_strided(row, (10_000_000, 8), (0, 8))
    tracemalloc.start()
    try:
        for values in (series, frame_like):
            w = make_windows(values, 0, window=100, horizon=10, stride=1)
            assert w.X.shape == (9_999_891, 100, 8)
            assert w.X_privileged.shape == (9_999_891, 9, 8)
            assert w.y.shape == (9_999_891,)
            assert np.shares_memory(w.X, row)
            part = w.take(slice(10, None, 2))
            assert np.shares_memory(part.X, row)
        # What is looked at is one flag per window (is its target there?), never a copy of 640 MB.
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_ten_million_numbered_rows_of_a_frame_are_not_copied():
    frame = pd.DataFrame(np.broadcast_to(np.zeros((1, 8), dtype=np.float32), (10_000_000, 8)), copy=False)
    tracemalloc.start()
    try:
        w = make_windows(frame, 0, window=100, horizon=10)
        assert np.shares_memory(w.X, frame.to_numpy())
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_nothing_is_scanned_until_an_array_is_read():
    series = np.zeros((10_000_000, 1))  # untouched pages
    tracemalloc.start()
    try:
        make_windows(series, 0, window=100, horizon=10)
        assert tracemalloc.get_traced_memory()[1] < 1e5
    finally:
        tracemalloc.stop()
