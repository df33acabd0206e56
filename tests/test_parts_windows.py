"""Windows of parts: together they are those of the whole series, wherever it is cut."""

import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pitskd import join_windows, make_windows, windows_from_parts

NAN = np.nan
few = settings(deadline=None, max_examples=150, derandomize=True)
ARRAYS = ("X", "X_privileged", "y", "origin", "spans", "groups")


@st.composite
def series(draw):
    """Draw an array or frame with missing values, of any index, with holes where it is a clock, and its groups."""
    n_rows = draw(st.integers(1, 40))
    values = np.arange(n_rows, dtype=float)[:, None] + [0.0, 1000.0, 2000.0]
    for row, column in draw(st.lists(st.tuples(st.integers(0, n_rows - 1), st.integers(0, 2)), max_size=6)):
        values[row, column] = NAN
    groups = None
    if draw(st.booleans()):
        groups = np.array(draw(st.lists(st.sampled_from("uvw"), min_size=n_rows, max_size=n_rows)))
        groups = np.sort(groups) if draw(st.booleans()) else groups
    kind = draw(st.sampled_from(["array", "counted", "number", "decimal", "time"]))
    if kind == "array":
        return values, groups
    if kind == "counted":
        begin, step = draw(st.sampled_from([(0, 1), (5, 1), (4, 3)]))
        return pd.DataFrame(values, pd.RangeIndex(begin, begin + step * n_rows, step), columns=list("abc")), groups
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 1, 2, 5]), min_size=n_rows, max_size=n_rows))
    clock = np.zeros(n_rows, dtype=int)
    for group in [None] if groups is None else np.unique(groups):  # each with a clock of its own
        inside = slice(None) if group is None else groups == group
        clock[inside] = draw(st.integers(0, 5)) + np.cumsum(np.asarray(steps)[inside])
    index = {
        "number": pd.Index(clock),
        "decimal": pd.Index(clock / 10),
        "time": pd.Timestamp("2024-02-27") + pd.to_timedelta(clock, "h"),
    }[kind]
    return pd.DataFrame(values, index, columns=list("abc")), groups


@st.composite
def problems(draw):
    """Draw a series, where it is cut, and how it is windowed."""
    whole, groups = draw(series())
    names = [0, 1, 2] if isinstance(whole, np.ndarray) else list("abc")
    timed = not isinstance(whole, np.ndarray)
    gap = pd.Timedelta("1h") if timed and isinstance(whole.index, pd.DatetimeIndex) else 3
    options = {
        "target": draw(st.sampled_from([names[0], names[1], [names[1]], [names[2], names[0]]])),
        "window": draw(st.integers(1, 5)),
        "horizon": draw(st.one_of(st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True))),
        "stride": draw(st.sampled_from([1, 1, 2, 3, 7])),
        "privileged": draw(st.sampled_from(["between", None])),
        "privileged_columns": draw(st.sampled_from([None, names[0], [names[2], names[0]]])),
        "threshold": draw(st.sampled_from([None, 1010.0])),
        "require_target": draw(st.booleans()),
        "max_gap": draw(st.sampled_from([None, gap, np.inf])) if timed else None,
    }
    borders = draw(st.lists(st.integers(0, len(whole)), max_size=8))
    if draw(st.booleans()):
        borders = list(range(len(whole)))
    return whole, groups, sorted(borders), options


def cut_at(whole, borders):
    edges = [0, *borders, len(whole)]
    rows = whole if isinstance(whole, np.ndarray) else whole.iloc
    return [rows[begin:end] for begin, end in pairwise(edges)]


def ordered(w, n_groups):
    """Return the arrays of a record ordered by group, each group as it is."""
    order = slice(None) if w.groups is None or n_groups == 1 else np.argsort(w.groups, kind="stable")
    return {name: None if getattr(w, name) is None else np.asarray(getattr(w, name))[order] for name in ARRAYS}


def outcome(work):
    """Return a record, or what the error says."""
    try:
        record = work()
        _ = record.n_windows  # looks for missing targets
        return record
    except ValueError as error:
        return str(error)


def assert_same(whole, parts):
    n_groups = 1 if whole.groups is None else len(np.unique(whole.groups))
    expected, found = ordered(whole, n_groups), ordered(parts, n_groups)
    for name in ARRAYS:
        assert_array_equal(found[name], expected[name], err_msg=name)
    assert dict(parts.dropped) == dict(whole.dropped)
    for name in ("feature_names", "privileged_feature_names", "target_names", "window", "horizon"):
        assert getattr(parts, name) == getattr(whole, name)
    assert_array_equal(parts.privileged_steps, whole.privileged_steps)


@few
@given(problems())
def test_windows_of_parts_are_those_of_the_whole_wherever_it_is_cut(problem):
    whole, groups, borders, options = problem
    target = options.pop("target")
    expected = outcome(lambda: make_windows(whole, target, groups=groups, **options))
    found = outcome(lambda: join_windows(windows_from_parts(cut_at(whole, borders), target, groups=groups, **options)))
    if isinstance(expected, str):
        assert found == expected
    else:
        assert_same(expected, found)


def frame_of(n_rows, freq="h", **settings):
    index = pd.date_range("2024-01-01", periods=n_rows, freq=freq, **settings)
    return pd.DataFrame({"a": np.arange(n_rows, dtype=float), "b": np.arange(n_rows, dtype=float) + 0.5}, index=index)


def positions(frame, rows, **options):
    """Return the origins of windows cut from parts of so many rows, and of windows cut from the whole."""
    options = {"window": 3, "horizon": 2, **options}
    parts = cut_at(frame, range(rows, len(frame), rows))
    expected = make_windows(frame, "a", **options)
    found = join_windows(windows_from_parts(parts, "a", **options))
    assert_same(expected, found)
    return found


@pytest.mark.parametrize("rows", [1, 7, 1500])
@pytest.mark.parametrize("freq", ["h", "D", "B", "MS", "ME", "15min"])
def test_clocks_of_every_calendar_go_on_across_borders(freq, rows):
    n_rows = 40 if rows == 1 else 1100 if rows == 7 else 3000
    assert positions(frame_of(n_rows, freq), rows).n_windows == n_rows - 4


@pytest.mark.parametrize("rows", [7, 100, 1200])
@pytest.mark.parametrize("freq", ["D", "h", "MS", "ME"])
def test_summer_time_and_months_of_any_length_are_no_holes(freq, rows):
    frame = frame_of(1400, freq, tz="Europe/Berlin")
    frame.index.freq = None
    assert positions(frame, rows).n_windows == 1396


def test_a_hole_exactly_at_a_border_is_spanned_by_no_window():
    frame = frame_of(30).drop(pd.Timestamp("2024-01-01 10:00"))
    w = positions(frame, 10)
    assert w.dropped == {"hole in the index": 4, "missing target": 0}


def test_the_usual_step_is_that_of_the_beginning_and_a_clock_that_leaves_it_is_refused():
    begin = frame_of(1200)
    rest = frame_of(2000, "min")
    rest.index += pd.Timedelta(days=100)
    few_of_them = [begin, rest[:600]]
    assert sum(w.n_windows for w in windows_from_parts(few_of_them, "a", window=3, horizon=2)) == 1196
    with pytest.raises(ValueError, match=r"indexed at a usual step, got an index where 6\d% of the steps differ"):
        list(windows_from_parts([begin, rest], "a", window=3, horizon=2))
    every = list(windows_from_parts([begin, rest], "a", window=3, horizon=2, max_gap="1h"))
    assert sum(w.n_windows for w in every) == 1196 + 1996


def test_the_beginning_is_not_judged_by_a_short_first_part():
    """The first two steps are holes; what is usual shows later."""
    frame = frame_of(50).drop(pd.date_range("2024-01-01 01:00", periods=4, freq="h"))
    frame = frame.drop(pd.date_range("2024-01-01 06:00", periods=4, freq="h"))
    positions(frame, 3)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_columns_are_found_by_name_in_every_part(order):
    frame = frame_of(20).assign(c=1.0)
    parts = [frame[:10], frame[10:].iloc[:, list(order)]]
    found = join_windows(windows_from_parts(parts, "a", window=3, horizon=2))
    assert_same(make_windows(frame, "a", window=3, horizon=2), found)


def test_rows_may_be_counted_anew_in_every_part_or_on():
    values = np.arange(20.0)[:, None]
    anew = [pd.DataFrame(values[:10], columns=["a"]), pd.DataFrame(values[10:], columns=["a"])]
    whole = pd.concat(anew, ignore_index=True)
    for parts in (anew, [whole[:10], whole[10:]]):
        found = join_windows(windows_from_parts(parts, "a", window=3, horizon=2))
        assert_same(make_windows(whole, "a", window=3, horizon=2), found)
    with pytest.raises(ValueError, match=r"index that goes on as in part 0, .*, got rows counted from 15 in part 1\."):
        list(windows_from_parts([whole[:10], whole[15:]], "a", window=3, horizon=2))


def test_labels_of_whole_and_broken_numbers_and_of_other_units_are_one_clock():
    first, second = pd.DataFrame({"a": range(5)}, index=np.arange(5.0)), pd.DataFrame({"a": range(5)}, np.arange(5, 10))
    found = join_windows(windows_from_parts([first, second], "a", window=3, horizon=2))
    assert_same(make_windows(pd.concat([first, second]), "a", window=3, horizon=2), found)
    frame = frame_of(20)
    mixed = [frame[:10], frame[10:].set_axis(frame.index[10:].as_unit("s"))]
    assert_same(
        make_windows(frame, "a", window=3, horizon=2), join_windows(windows_from_parts(mixed, "a", window=3, horizon=2))
    )


def test_columns_become_decimal_where_a_part_has_missing_values():
    whole = pd.DataFrame({"a": [1, 2, 3, 4, 5, 6, 7, 8]})
    parts = [whole[:4], whole[4:].astype(float).mask(whole == 6)]
    found = join_windows(windows_from_parts(parts, "a", window=2, horizon=1))
    assert_same(make_windows(whole.astype(float).mask(whole == 6), "a", window=2, horizon=1), found)


def test_windows_of_a_part_are_given_out_before_the_last_part_is_read():
    read = []

    def parts():
        for begin in range(0, 50, 10):
            read.append(begin)
            yield np.arange(begin, begin + 10.0)

    windows = windows_from_parts(parts(), 0, window=3, horizon=2)
    assert read == []
    assert next(windows).origin.tolist() == [2, 3, 4, 5, 6, 7]
    assert read == [0, 10]


def test_live_origins_of_interleaved_series_stand_at_the_true_ends():
    frame = pd.DataFrame({"a": np.arange(12.0), "city": list("xy") * 6})
    parts = cut_at(frame, [3, 5, 6])
    live = join_windows(windows_from_parts(parts, "a", window=2, horizon=2, groups="city", require_target=False))
    assert_same(make_windows(frame, "a", window=2, horizon=2, groups="city", require_target=False), live)
    assert np.isnan(live.y).sum() == 4


def test_what_the_last_parts_drop_is_told():
    values = np.arange(20.0)
    values[10:] = NAN
    records = list(windows_from_parts([values[:8], values[8:14], values[14:]], 0, window=2, horizon=1))
    assert [record.n_windows for record in records] == [6, 2]
    assert join_windows(records).dropped == {"hole in the index": 0, "missing target": 10}


def test_part_records_can_be_taken_from_and_pickled():
    records = list(windows_from_parts([np.arange(8.0), np.arange(8.0, 20.0)], 0, window=3, horizon=2))
    again = [pickle.loads(pickle.dumps(record)) for record in records]
    assert_same(join_windows(records), join_windows(again))
    assert records[1].take([0, 2]).origin.tolist() == [6, 8]


ONE = frame_of(10)


@pytest.mark.parametrize("parts", [ONE, ONE.to_numpy(), 5, "log.csv"], ids=["frame", "array", "number", "path"])
def test_one_series_is_not_taken_for_parts(parts):
    with pytest.raises(TypeError, match=r"parts must be an iterable of arrays or frames, got .* Use make_windows"):
        windows_from_parts(parts, "a", window=3, horizon=2)


LATER = frame_of(20)[10:]
BAD = {
    "no such target": ([ONE], {"target": "c"}, "target must be a column of the frame, got c"),
    "a column less": ([ONE, LATER[["a"]]], {}, "columns of part 0, got part 1 without 'b'"),
    "a column more": ([ONE, LATER, LATER.assign(c=1.0)], {}, "got part 2 with 'c' beside them"),
    "array and frame": ([ONE, LATER.to_numpy()], {}, "columns of part 0, got part 1 without 'a'"),
    "times and numbers": ([ONE, LATER.reset_index(drop=True)], {}, "an index of datetime64.*, got rows counted from 0"),
    "zones": (
        [ONE, LATER.tz_localize("UTC")],
        {},
        r"goes on as in part 0, .* an index of datetime64\[.*UTC\] in part 1",
    ),
    "backwards": ([LATER, ONE], {}, "sorted by its index, got 2024-01-01 19:00:00 before 2024-01-01 00:00:00"),
    "repeated": ([ONE, ONE[-1:]], {}, "indexed by unique labels, got 2024-01-01 09:00:00 twice"),
    "no rows": ([ONE[:0], ONE[:0]], {}, "parts must be arrays or frames with rows, got none"),
    "too short": ([ONE[:2], ONE[2:4]], {}, "short enough for a series of 4 rows, got 3 with horizon 2, together 5"),
    "no target left": (
        [ONE * NAN],
        {},
        "complete enough for one window, got none left of {'hole in the index': 0, 'mis",
    ),
    "few labels": ([ONE, LATER], {"groups": [0] * 15}, "groups has 15 rows but parts 0 to 1 has 20"),
    "many labels": ([ONE, LATER], {"groups": [0] * 25}, "groups has 25 rows but all parts has 20"),
    "no such group": ([ONE, LATER], {"groups": "city"}, "column of the frames, got 'city', which part 0 does not have"),
    "window": ([ONE], {"window": 0}, "window must be an integer of at least 1"),
}


@pytest.mark.parametrize(("parts", "options", "message"), BAD.values(), ids=BAD)
def test_parts_that_cannot_be_cut_are_one_clear_error(parts, options, message):
    options = {"target": "a", "window": 3, "horizon": 2, **options}
    with pytest.raises(ValueError, match=message):
        list(windows_from_parts(parts, options.pop("target"), **options))


def test_an_unknown_argument_is_told_before_any_part_is_read():
    def parts():
        raise AssertionError("read")
        yield

    with pytest.raises(ValueError, match="privileged must be 'between', None"):
        windows_from_parts(parts(), "a", window=3, horizon=2, privileged="all")
    with pytest.raises(ValueError, match="max_gap must be None for an array"):
        list(windows_from_parts([np.arange(9.0)], 0, window=3, horizon=2, max_gap=1))


def test_records_that_do_not_belong_together_are_not_joined():
    with pytest.raises(ValueError, match="records must be at least one record of windows"):
        join_windows([])
    first, second = make_windows(ONE, "a", window=3, horizon=2), make_windows(ONE, "b", window=3, horizon=2)
    with pytest.raises(ValueError, match=r"cut alike, got target_names \('b\+2',\) in record 1 and \('a\+2',\) in rec"):
        join_windows([first, second])
