import pickle
from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

import pitskd._validation
from pitskd import PrivilegedWindows, make_windows

NAN = np.nan


def two_channels(n_rows=8):
    """Row t holds t and 100 + t."""
    return np.arange(n_rows, dtype=float)[:, None] + [0.0, 100.0]


def clocked(index, n_rows=None):
    """A frame whose only column counts its rows."""
    return pd.DataFrame({"a": np.arange(len(index), dtype=float)}, index=index)


def hours(n_rows=12):
    return pd.date_range("2024-01-01", periods=n_rows, freq="h")


def n_kept_and_holes(frame, **options):
    w = make_windows(frame, "a", window=2, horizon=1, **options)
    return w.n_windows, w.dropped["hole in the index"]


# ---------------------------------------------------------------------------------------------- shapes and counts


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("horizon", [1, 4, (1, 3), (2,)])
@pytest.mark.parametrize("stride", [1, 2, 7, 50])
def test_number_of_windows_follows_the_formula(window, horizon, stride):
    n_rows = 23
    w = make_windows(two_channels(n_rows), 0, window=window, horizon=horizon, stride=stride)
    assert w.n_windows == 1 + (n_rows - window - np.max(horizon)) // stride
    assert w.n_windows == len(w.X) == len(w.X_privileged) == len(w.y) == len(w.origin)
    assert_array_equal(w.X[:, 0, 0], np.arange(w.n_windows) * stride)  # window i starts at row i * stride
    assert_array_equal(w.origin, np.arange(w.n_windows) * stride + window - 1)
    assert w.origin.dtype == np.int64
    assert_array_equal(w.origin, w.X[:, -1, 0])


def test_series_as_long_as_one_window_gives_one():
    assert make_windows(np.arange(5.0), 0, window=3, horizon=2).n_windows == 1


def test_one_dimensional_series_has_one_channel():
    w = make_windows([3, 1, 2], 0, window=1, horizon=1)
    assert_array_equal(w.X, [[[3]], [[1]]])
    assert_array_equal(w.y, [1, 2])
    assert w.X.dtype == np.array([3]).dtype
    assert w.feature_names == ("x0",)


def test_between_gives_the_teacher_every_row_between_origin_and_target():
    w = make_windows(two_channels(), 1, window=2, horizon=4)
    assert_array_equal(w.X[1], [[1, 101], [2, 102]])  # the target's column too
    assert_array_equal(w.X_privileged[1], [[3, 103], [4, 104], [5, 105]])
    assert_array_equal(w.y, [105, 106, 107])
    assert_array_equal(w.privileged_steps, [1, 2, 3])
    assert w.privileged_feature_names == w.feature_names == ("x0", "x1")


def test_integer_gives_the_teacher_the_last_rows_before_the_target():
    w = make_windows(two_channels(), 0, window=2, horizon=4, privileged=2)
    assert_array_equal(w.X_privileged[0], [[3, 103], [4, 104]])
    assert_array_equal(w.privileged_steps, [2, 3])


@pytest.mark.parametrize("steps", [[3, 1], (1, 3), np.array([1, 3], dtype=np.uint8), range(1, 4, 2)])
def test_list_gives_the_teacher_those_steps_in_order_of_time(steps):
    w = make_windows(two_channels(), 0, window=2, horizon=4, privileged=steps)
    assert_array_equal(w.X_privileged[0], [[2, 102], [4, 104]])
    assert_array_equal(w.privileged_steps, [1, 3])


def test_none_leaves_no_privileged_part():
    w = make_windows(two_channels(), 0, window=2, horizon=4, privileged=None)
    assert w.X_privileged is None
    assert len(w.privileged_steps) == 0
    assert w.privileged_feature_names == ()


@pytest.mark.parametrize("require_target", [True, False])
def test_horizon_one_leaves_no_middle_rows(require_target):
    w = make_windows(two_channels(5), 0, window=2, horizon=1, require_target=require_target)
    assert w.X_privileged.shape == (w.n_windows, 0, 2)
    assert w.take([1, 0]).X_privileged.shape == (2, 0, 2)


def test_privileged_columns_alone_are_seen_over_the_input_rows_by_the_teacher_only():
    w = make_windows(two_channels(), 0, window=3, horizon=2, privileged=None, privileged_columns=1)
    assert_array_equal(w.X[1], [[1], [2], [3]])
    assert_array_equal(w.X_privileged[1], [[101], [102], [103]])
    assert_array_equal(w.privileged_steps, [-2, -1, 0])
    assert (w.feature_names, w.privileged_feature_names) == (("x0",), ("x1",))


def test_privileged_columns_and_middle_give_the_teacher_all_columns_over_inputs_and_middle():
    w = make_windows(two_channels(), 0, window=2, horizon=3, privileged_columns=[1])
    assert_array_equal(w.X[0], [[0], [1]])
    assert_array_equal(w.X_privileged[0], [[0, 100], [1, 101], [2, 102], [3, 103]])
    assert_array_equal(w.privileged_steps, [-1, 0, 1, 2])
    assert w.privileged_feature_names == ("x0", "x1")


@pytest.mark.parametrize(("privileged", "steps"), [(1, [-1, 0, 3]), ([1, 3], [-1, 0, 1, 3])])
def test_chosen_middle_rows_follow_the_input_rows(privileged, steps):
    w = make_windows(two_channels(), 0, window=2, horizon=4, privileged=privileged, privileged_columns=1)
    assert_array_equal(w.privileged_steps, steps)
    assert_array_equal(w.X_privileged[2, :, 0], 3 + np.array(steps))


def test_privileged_target_column_leaves_the_input_and_stays_the_target():
    w = make_windows(two_channels(), 1, window=2, horizon=2, privileged=None, privileged_columns=1)
    assert_array_equal(w.X[0], [[0], [1]])
    assert_array_equal(w.y, [103, 104, 105, 106, 107])


def test_privileged_columns_keep_the_order_asked_for():
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"))
    w = make_windows(frame, "b", window=1, horizon=1, privileged=None, privileged_columns=["c", "a"])
    assert w.privileged_feature_names == ("c", "a")
    assert_array_equal(w.X_privileged[0], [[2, 0]])


def test_several_horizons_give_one_column_each():
    w = make_windows(two_channels(), 0, window=2, horizon=(1, 3))
    assert_array_equal(w.y, [[2, 4], [3, 5], [4, 6], [5, 7]])
    assert_array_equal(w.privileged_steps, [1, 2])  # ends before the largest
    assert w.horizon == (1, 3)
    assert w.target_names == ("x0+1", "x0+3")


def test_horizons_keep_the_order_asked_for():
    assert_array_equal(make_windows(two_channels(), 0, window=2, horizon=[3, 1]).y[0], [4, 2])


def test_list_of_one_horizon_or_one_target_keeps_its_axis():
    assert make_windows(two_channels(), 0, window=2, horizon=[2]).y.shape == (5, 1)
    assert make_windows(two_channels(), [0], window=2, horizon=2).y.shape == (5, 1)
    assert make_windows(two_channels(), 0, window=2, horizon=2).y.shape == (5,)


def test_several_targets_and_horizons_are_ordered_by_horizon_first():
    w = make_windows(two_channels(), [1, 0], window=2, horizon=(1, 2))
    assert_array_equal(w.y[0], [102, 2, 103, 3])
    assert w.target_names == ("x1+1", "x0+1", "x1+2", "x0+2")


def test_negative_column_position_counts_from_the_end():
    assert_array_equal(make_windows(two_channels(4), -1, window=1, horizon=1).y, [101, 102, 103])


def test_index_of_columns_names_several_columns():
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"))
    w = make_windows(frame, frame.columns[:2], window=1, horizon=1, privileged_columns=frame.columns[1:])
    assert w.target_names == ("a+1", "b+1")
    assert w.feature_names == ("a",)


def test_repr_names_the_sizes():
    assert repr(make_windows(two_channels(), 0, window=2, horizon=3)) == (
        "PrivilegedWindows(n_windows=4, window=2, horizon=3, n_channels=2, privileged_steps=[1, 2])"
    )


# ------------------------------------------------------------------------------------------------------ thresholds


def test_threshold_is_strict_and_labels_are_integers():
    w = make_windows(np.array([0.0, 1.0, 2.0, 3.0]), 0, window=1, horizon=1, threshold=2)
    assert_array_equal(w.y, [0, 0, 1])
    assert w.y.dtype == np.int64


def test_threshold_compares_float32_values_exactly():
    series = np.full(3, 0.1, dtype=np.float32)  # a little above 0.1
    assert_array_equal(make_windows(series, 0, window=1, horizon=1, threshold=0.1).y, [1, 1])


def test_threshold_keeps_missing_targets_as_nan_when_none_is_required():
    series = np.array([0.0, 1.0, NAN, 3.0])
    w = make_windows(series, 0, window=1, horizon=1, threshold=2.0, require_target=False)
    assert_array_equal(w.y, [0.0, NAN, 1.0, NAN])
    assert w.y.dtype == np.float64
    assert_array_equal(make_windows(series, 0, window=1, horizon=1, threshold=2.0).y, [0, 1])


def test_each_target_has_its_threshold_at_every_horizon():
    w = make_windows(two_channels(), [0, 1], window=1, horizon=(1, 2), threshold=[2, 102])
    assert_array_equal(w.y[:3], [[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])


def test_infinite_values_are_kept():
    series = np.array([np.inf, 1.0, -np.inf, np.inf])
    w = make_windows(series, 0, window=1, horizon=1, threshold=0.0)
    assert_array_equal(w.y, [1, 0, 1])
    assert_array_equal(w.X[:, 0, 0], series[:3])


# --------------------------------------------------------------------------------------------- missing and live rows


def test_windows_with_a_missing_target_are_dropped_and_counted():
    series = two_channels()
    series[[4, 5], [0, 1]] = NAN
    w = make_windows(series, 0, window=2, horizon=2)
    assert_array_equal(w.origin, [1, 3, 4, 5])
    assert w.dropped == {"hole in the index": 0, "missing target": 1}
    assert np.isnan(w.X).any()  # missing inputs stay
    assert w.take([0]).dropped == w.dropped


def test_one_missing_horizon_drops_the_window():
    series = np.arange(8.0)
    series[3] = NAN
    assert_array_equal(make_windows(series, 0, window=1, horizon=(1, 2)).origin, [0, 3, 4, 5])


def test_windows_at_equal_distances_after_dropping_are_views():
    series = np.arange(20.0)
    series[1::2] = NAN
    w = make_windows(series, 0, window=3, horizon=2)
    assert_array_equal(w.y, series[4::2])
    assert np.shares_memory(w.X, series)


@pytest.mark.parametrize("all_missing", [np.full(9, NAN), pd.Series([NAN] * 9)])
def test_series_without_any_target_is_refused_when_first_read(all_missing):
    w = make_windows(all_missing, 0, window=2, horizon=1)
    with pytest.raises(ValueError, match=r"series must be complete enough.*'missing target': 7.*Check its gaps"):
        _ = w.X
    with pytest.raises(ValueError, match="complete enough"):
        _ = w.n_windows
    assert make_windows(all_missing, 0, window=2, horizon=1, require_target=False).n_windows == 8


def test_last_origins_have_no_target_yet():
    w = make_windows(two_channels(6), 0, window=2, horizon=3, require_target=False)
    assert_array_equal(w.origin, [1, 2, 3, 4, 5])
    assert_array_equal(w.y, [4, 5, NAN, NAN, NAN])
    assert_array_equal(w.X[-1], [[4, 104], [5, 105]])
    assert_array_equal(w.X_privileged[:, :, 0], [[2, 3], [3, 4], [4, 5], [5, NAN], [NAN, NAN]])


def test_live_origins_exist_where_the_series_is_shorter_than_the_horizon():
    w = make_windows(np.arange(3), 0, window=3, horizon=50, require_target=False)
    assert w.n_windows == 1
    assert_array_equal(w.y, [NAN])


def test_live_targets_of_integers_become_floats_and_inputs_stay():
    w = make_windows(np.arange(4, dtype=np.int16), 0, window=1, horizon=1, require_target=False)
    assert_array_equal(w.y, [1, 2, 3, NAN])
    assert w.X.dtype == np.int16


def test_live_origins_respect_strides():
    assert_array_equal(
        make_windows(np.arange(9.0), 0, window=2, horizon=1, stride=3, require_target=False).origin, [1, 4, 7]
    )


def test_live_origins_before_a_hole_have_no_target():
    frame = clocked(hours(8).delete(4))  # rows 0..3, 4..6
    w = make_windows(frame, "a", window=2, horizon=2, require_target=False)
    assert_array_equal(w.y, [3, NAN, NAN, NAN, NAN])
    assert_array_equal(w.X[:, -1, 0], [1, 2, 3, 5, 6])
    assert_array_equal(w.X_privileged[:, 0, 0], [2, 3, NAN, 6, NAN])
    assert w.dropped["hole in the index"] == 1


def test_live_origins_exist_in_every_group():
    w = make_windows(np.arange(7.0), 0, window=2, horizon=1, groups=list("aaabbbb"), require_target=False)
    assert_array_equal(w.origin, [1, 2, 4, 5, 6])
    assert_array_equal(w.y, [2, NAN, 5, 6, NAN])
    assert_array_equal(w.groups, list("aabbb"))


# ---------------------------------------------------------------------------------------------------------- groups


def test_no_window_spans_two_groups():
    w = make_windows(np.arange(10.0), 0, window=2, horizon=1, groups=[1] * 4 + [2] * 2 + [3] * 4)
    assert_array_equal(w.origin, [1, 2, 7, 8])  # the group of two rows has no room
    assert_array_equal(w.groups, [1, 1, 3, 3])
    assert w.dropped == {"hole in the index": 0, "missing target": 0}


def test_rows_of_a_group_need_not_be_adjacent():
    w = make_windows(np.arange(9), 0, window=2, horizon=1, groups=list("abaabbaba"))
    assert_array_equal(w.X[:, :, 0], [[0, 2], [2, 3], [3, 6], [1, 4], [4, 5]])
    assert_array_equal(w.y, [3, 6, 8, 5, 7])
    assert_array_equal(w.origin, [2, 3, 6, 4, 5])  # positions in the series as given
    assert_array_equal(w.groups, list("aaabb"))


def test_stride_starts_anew_in_every_group():
    w = make_windows(np.arange(11.0), 0, window=1, horizon=1, stride=3, groups=[0] * 5 + [1] * 6)
    assert_array_equal(w.origin, [0, 3, 5, 8])


def test_named_group_column_leaves_the_channels():
    frame = clocked(hours(6)).assign(city=["x"] * 3 + ["y"] * 3)
    w = make_windows(frame, "a", window=2, horizon=1, groups="city")
    assert w.feature_names == ("a",)
    assert_array_equal(w.groups, ["x", "y"])
    assert_array_equal(w.origin, frame.index[[1, 4]])
    if int(pd.__version__.split(".")[0]) >= 3:  # before, taking a column out copies the rest
        assert np.shares_memory(w.X, frame["a"].to_numpy())


def test_groups_may_share_one_calendar():
    frame = pd.concat([clocked(hours(5)), clocked(hours(4))])
    w = make_windows(frame, "a", window=2, horizon=1, groups=["x"] * 5 + ["y"] * 4)
    assert_array_equal(w.y, [2, 3, 4, 2, 3])


def test_row_numbers_have_no_holes_however_groups_interleave():
    frame = pd.DataFrame({"a": np.arange(9.0), "g": list("abaabbaba")})
    assert_array_equal(make_windows(frame, "a", window=2, horizon=1, groups="g").y, [3, 6, 8, 5, 7])


def test_changing_group_labels_of_a_record_leaves_the_callers():
    labels = np.array([1] * 6)
    make_windows(np.arange(6.0), 0, window=2, horizon=1, groups=labels).groups[:] = 7
    assert_array_equal(labels, 1)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a"] * 3, "groups has 3 rows but series has 6"),
        (["a"] * 5 + [None], "groups must be a label in every row, got none in row 5"),
        ([1.0, NAN, 1, 1, 1, 1], "groups must be a label in every row, got none in row 1"),
        ("city", "groups must be one label per row, or a column of the frame, got city"),
        (3, "groups must be one label per row"),
        ([["a"] * 6], "groups must be one label per row"),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, pd.Series])
def test_wrong_groups_are_refused(groups, message, kind):
    with pytest.raises(ValueError, match=message):
        make_windows(kind(np.arange(6.0)), 0, window=2, horizon=1, groups=groups)


def test_groups_without_room_for_a_window_are_refused_when_first_read():
    w = make_windows(np.arange(6.0), 0, window=2, horizon=1, groups=list("aabbcc"))
    with pytest.raises(ValueError, match="complete enough for one window"):
        _ = w.y


# ---------------------------------------------------------------------------------------------------- kinds of series


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64, ">f8"])
def test_dtype_of_the_series_is_kept(dtype):
    series = np.arange(12, dtype=dtype).reshape(6, 2)
    w = make_windows(series, 0, window=2, horizon=2)
    assert w.X.dtype == w.X_privileged.dtype == w.y.dtype == series.dtype
    assert_array_equal(w.y, series[3:, 0])
    assert np.shares_memory(w.X, series)


def test_booleans_become_numbers():
    w = make_windows(np.array([True, False, True]), 0, window=1, horizon=1)
    assert_array_equal(w.y, [0.0, 1.0])
    assert w.y.dtype == np.float64


@pytest.mark.parametrize(
    "series",
    [
        np.asfortranarray(two_channels()),
        np.repeat(two_channels(), 3, axis=1)[:, ::3],
        two_channels(16)[::2],
        two_channels()[::-1],
        np.broadcast_to([[1.0, 2.0]], (8, 2)),
    ],
    ids=["fortran", "every third column", "every second row", "backwards", "broadcast"],
)
def test_any_memory_layout_gives_views_of_the_same_values(series):
    w = make_windows(series, 0, window=3, horizon=2)
    assert_array_equal(w.X, [series[i : i + 3] for i in range(4)])
    assert_array_equal(w.y, series[4:, 0])
    assert np.shares_memory(w.X, series)
    assert np.shares_memory(w.y, series)


def test_the_callers_array_stays_writeable():
    series = two_channels()
    w = make_windows(series, 0, window=3, horizon=2)
    _ = w.X, w.X_privileged, w.y
    series[0] = -1.0
    assert_array_equal(w.X[0, 0], [-1, -1])  # a view, as documented


@pytest.mark.parametrize(
    ("series", "kind", "message"),
    [
        (np.zeros((2, 2, 2)), ValueError, r"series must be of shape .* got shape \(2, 2, 2\)"),
        (np.zeros(0), ValueError, "not empty"),
        (np.zeros((5, 0)), ValueError, "not empty"),
        ([], ValueError, "not empty"),
        (pd.DataFrame(), ValueError, "not empty"),
        (pd.DataFrame({"a": []}), ValueError, "not empty"),
        (5.0, ValueError, r"got shape \(\)"),
        ([[1.0], [2.0, 3.0]], ValueError, "series must be rows of equal length"),
        (None, TypeError, "series must be an array of numbers, got dtype object"),
        (np.arange(5) * 1j, TypeError, "got dtype complex128"),
        (np.array(list("abc")), TypeError, "series must be an array of numbers, got dtype <U1"),
        (np.arange(5).astype("M8[s]"), TypeError, "got dtype datetime64"),
        (np.arange(5).astype(object), TypeError, "got dtype object"),
        (np.ma.masked_equal(np.arange(5.0), 2), TypeError, r"got a masked array.*filled"),
    ],
)
def test_series_of_a_wrong_kind_are_refused(series, kind, message):
    with pytest.raises(kind, match=message):
        make_windows(series, 0, window=1, horizon=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (list("abc"), "in column 'b'. Encode it"),
        (pd.Categorical([1, 2, 1]), "got dtype category in column 'b'. Encode it"),
        (hours(3), r"got dtype datetime64.* in column 'b'. Set it as the index"),
        (np.arange(3).astype(object), "got dtype object in column 'b'"),
        (np.arange(3) * 1j, "got dtype complex128 in column 'b'"),
        (pd.to_timedelta([1, 2, 3]), "got dtype timedelta64"),
    ],
)
def test_columns_that_hold_no_numbers_are_named(values, message):
    with pytest.raises(TypeError, match=f"series must be a frame of numbers.*{message}"):
        make_windows(pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": values}), "a", window=1, horizon=1)


@pytest.mark.parametrize("groups", [None, "g"])
def test_repeated_column_names_are_refused(groups):
    frame = pd.DataFrame(np.zeros((4, 3)), columns=["a", "g", "g"])
    with pytest.raises(ValueError, match="frame with unique column names, got 'g' twice"):
        make_windows(frame, "a", window=1, horizon=1, groups=groups)


@pytest.mark.parametrize(
    ("columns", "dtype"),
    [
        ({"a": [1.0, NAN, 3.0], "b": [True, False, True]}, np.float64),
        ({"a": np.float32([1, NAN, 3]), "b": [True, False, True]}, np.float32),
        ({"a": pd.array([1, None, 3], dtype="Int64"), "b": [1.0, 2.0, 3.0]}, np.float64),
        ({"a": pd.array([1.0, None, 3.0], dtype="Float32")}, np.float64),
        ({"a": pd.array([1, None, 3], dtype="int64[pyarrow]"), "b": [True] * 3}, np.float64),
        ({"a": pd.arrays.SparseArray([1.0, NAN, 3.0])}, np.float64),
    ],
)
def test_columns_of_several_kinds_become_one_array_with_nan_where_missing(columns, dtype):
    w = make_windows(pd.DataFrame(columns), "a", window=1, horizon=1)
    assert_array_equal(w.origin, [1])  # the target in row 1 is missing
    assert_array_equal(w.y, [3])
    assert w.X.dtype == w.y.dtype == dtype


def test_nullable_booleans_keep_what_is_missing():
    frame = pd.DataFrame({"a": pd.array([True, None, False, True], dtype="boolean")})
    assert_array_equal(make_windows(frame, "a", window=1, horizon=1).y, [0.0, 1.0])


def test_series_of_pandas_is_one_named_channel():
    w = make_windows(pd.Series([1.0, 2.0, 3.0], name="pm"), "pm", window=1, horizon=1)
    assert w.feature_names == ("pm",)
    assert_array_equal(w.y, [2, 3])


def test_columns_may_be_numbered():
    w = make_windows(pd.DataFrame(two_channels()), 1, window=1, horizon=1)
    assert w.feature_names == ("0", "1")
    assert_array_equal(w.y, np.arange(101, 108))


def test_polars_frame_takes_its_only_timestamps_as_index():
    frame = pl.DataFrame({"when": hours(8).delete(4).to_numpy(), "a": np.arange(7.0), "g": ["x"] * 7})
    w = make_windows(frame, "a", window=2, horizon=1, groups="g")
    assert_array_equal(w.y, [2, 3, 6])
    assert w.feature_names == ("a",)
    assert_array_equal(w.origin, hours(8)[[1, 2, 6]])


def test_polars_frame_without_timestamps_and_polars_series_are_numbered_by_row():
    assert_array_equal(make_windows(pl.DataFrame({"a": [1, 2, 3]}), "a", window=1, horizon=1).origin, [0, 1])
    assert_array_equal(make_windows(pl.Series("a", [1, 2, 3]), "a", window=1, horizon=1).y, [2, 3])


def test_polars_columns_of_text_are_named():
    with pytest.raises(TypeError, match="in column 'b'"):
        make_windows(pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "a", window=1, horizon=1)


# ---------------------------------------------------------------------------------------------------------- indices

MONTHS = pd.date_range("2019-11-01", periods=40, freq="MS")
REGULAR = {
    "hours": hours(40),
    "hours across a clock change": pd.date_range("2024-03-30", periods=40, freq="h", tz="Europe/Berlin"),
    "local days across a clock change": pd.date_range("2024-03-10", periods=40, freq="D", tz="Europe/Berlin"),
    "month starts": MONTHS,
    "month ends": pd.date_range("2019-11-30", periods=40, freq="ME"),
    "fifteenths": MONTHS + pd.Timedelta("14D"),
    "quarters": pd.date_range("2019-11-30", periods=40, freq="QE"),
    "years": pd.date_range("2000-01-01", periods=40, freq="YS"),
    "periods": pd.period_range("2019-11", periods=40, freq="M"),
    "timedeltas": pd.timedelta_range(0, periods=40, freq="3s"),
    "tenths": pd.Index(np.arange(40) * 0.1),
    "tenths since 1970": pd.Index(1.7e9 + np.arange(40) * 0.1),
    "tenths in float32": pd.Index(100 + np.arange(40, dtype=np.float32) * np.float32(0.1)),
    "integers": pd.Index(range(7, 7 + 40)),
    "small integers": pd.Index(np.arange(-100, 100, 5), dtype=np.int8),
    "nullable integers": pd.Index(range(40), dtype="Int64"),
}


@pytest.mark.parametrize("name", REGULAR)
def test_regular_index_has_no_hole(name):
    labels = REGULAR[name]
    unlabelled = pd.Index(labels.array[np.arange(40)])  # forgets the frequency
    for index in (labels, unlabelled):
        w = make_windows(clocked(index), "a", window=2, horizon=1)
        assert w.n_windows == 38
        assert_array_equal(w.origin, index[1:-1].to_numpy())


@pytest.mark.parametrize("name", REGULAR)
def test_row_taken_out_of_a_regular_index_is_a_hole(name):
    # Rows 0..9 and 10..38: the windows that start in rows 8 and 9 would span the hole.
    assert n_kept_and_holes(clocked(REGULAR[name].delete(10))) == (35, 2)


def test_months_of_two_groups_are_regular():
    frame = pd.concat([clocked(MONTHS), clocked(MONTHS[5:])])
    w = make_windows(frame, "a", window=2, horizon=1, groups=["x"] * 40 + ["y"] * 35)
    assert w.n_windows == 38 + 33


def test_index_with_a_frequency_has_no_hole():
    assert n_kept_and_holes(clocked(pd.bdate_range("2024-01-01", periods=20))) == (18, 0)


def test_rows_dropped_from_numbered_rows_are_holes():
    frame = pd.DataFrame({"a": [0, 1, NAN, 3, 4, 5.0]}).dropna()
    assert_array_equal(make_windows(frame, "a", window=2, horizon=1).y, [5.0])


def test_window_next_to_a_hole_is_kept():
    w = make_windows(clocked(hours(9).delete(4)), "a", window=3, horizon=1)
    assert_array_equal(w.y, [3, 7])  # one window ends right before the hole, one begins right behind it
    assert w.dropped == {"hole in the index": 3, "missing target": 0}


def test_hole_between_middle_rows_drops_the_window():
    w = make_windows(clocked(hours(12).delete(6)), "a", window=1, horizon=4)
    assert_array_equal(w.X[:, 0, 0], [0, 1, 6])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize(
    "longest",
    ["3h", pd.Timedelta("3h"), pd.Timedelta("3h").to_pytimedelta(), np.timedelta64(3, "h"), pd.offsets.Hour(3)],
)
def test_max_gap_is_the_longest_step_allowed(unit, longest):
    # Steps of 1 h, one of 3 h and one of 4 h.
    frame = clocked(hours(30).delete([5, 6, 15, 16, 17]).as_unit(unit))
    assert n_kept_and_holes(frame, max_gap=longest) == (21, 2)
    assert n_kept_and_holes(frame, max_gap="1h") == n_kept_and_holes(frame) == (19, 4)
    assert n_kept_and_holes(frame, max_gap=np.inf) == (23, 0)


@pytest.mark.parametrize("longest", [3, 3.0, np.int64(3), np.float32(3)])
def test_max_gap_of_numbers_is_in_units_of_the_index(longest):
    frame = clocked(np.delete(np.arange(30), [5, 6, 15, 16, 17]))
    assert n_kept_and_holes(frame, max_gap=longest) == (21, 2)


def test_max_gap_forgives_rounding():
    assert n_kept_and_holes(clocked(np.arange(30) * 0.1), max_gap=0.1) == (28, 0)


def test_max_gap_allows_an_irregular_index():
    frame = clocked(np.cumsum(np.arange(1, 12)))
    with pytest.raises(ValueError, match=r"series must be indexed at a usual step.*90% of the steps.*max_gap"):
        make_windows(frame, "a", window=2, horizon=1)
    assert n_kept_and_holes(frame, max_gap=np.inf) == (9, 0)
    assert n_kept_and_holes(frame, max_gap=6) == (4, 5)


@pytest.mark.parametrize("max_gap", [0, -1, NAN, True, np.True_, "x", "-3h", pd.NaT, [3]])
@pytest.mark.parametrize("index", [hours(9), pd.Index(np.delete(np.arange(10), 4))], ids=["times", "numbers"])
def test_wrong_max_gap_is_refused(max_gap, index):
    with pytest.raises(ValueError, match="max_gap must be a step above 0 in units of the index"):
        make_windows(clocked(index), "a", window=2, horizon=1, max_gap=max_gap)


def test_max_gap_without_unit_is_refused_for_times():
    with pytest.raises(ValueError, match=r'max_gap .* got 3\. Use e.g. "3h"'):
        make_windows(clocked(hours()), "a", window=2, horizon=1, max_gap=3)


def test_max_gap_is_refused_for_arrays():
    with pytest.raises(ValueError, match=r"max_gap must be None for an array.*Pass a DataFrame"):
        make_windows(np.arange(9.0), 0, window=2, horizon=1, max_gap=3)


@pytest.mark.parametrize(
    ("index", "kind", "message"),
    [
        (hours(9)[::-1], ValueError, r"sorted by its index, got 2024-01-01 08:00.* before .*sort_index"),
        (pd.RangeIndex(9, 0, -1), ValueError, "sorted by its index, got 9 before 8"),
        (pd.Index(np.arange(9, 0, -1), dtype=np.uint8), ValueError, "sorted by its index"),
        (hours(9).append(hours(9)).sort_values(), ValueError, r"unique labels, got 2024-01-01 00:00:00 twice \(9 such"),
        (hours(3).append(pd.DatetimeIndex([pd.NaT])), ValueError, "without missing labels, got none in row 3"),
        (pd.Index([0.0, NAN, 2.0]), ValueError, "without missing labels, got none in row 1"),
        (pd.Index([0.0, 1.0, np.inf]), ValueError, "without missing labels, got none in row 2"),
        (pd.Index([0, None, 2], dtype="Int64"), ValueError, "without missing labels"),
        (pd.Index(list("abc")), TypeError, r"indexed by times or numbers.*pandas.to_datetime"),
        (pd.Index(["2024-01-01", "2024-01-02", "2024-01-03"]), TypeError, "indexed by times or numbers"),
        (pd.MultiIndex.from_product([[0], range(5)]), TypeError, "indexed by times or numbers"),
        (pd.CategoricalIndex([1, 2, 3]), TypeError, "got an index of dtype category"),
        (pd.Index([False, True, True]), TypeError, "got an index of dtype bool"),
        (pd.Index(np.arange(3) * 1j), TypeError, "got an index of dtype complex128"),
    ],
)
def test_index_that_is_no_clock_is_refused(index, kind, message):
    with pytest.raises(kind, match=message):
        make_windows(clocked(index), "a", window=2, horizon=1)


def test_rows_unsorted_within_a_group_are_refused():
    frame = clocked(hours(4)[[0, 1, 3, 2]])
    with pytest.raises(ValueError, match="sorted by its index"):
        make_windows(frame, "a", window=1, horizon=1, groups=list("aabb"))
    assert make_windows(frame, "a", window=1, horizon=1, groups=list("aaab")).n_windows == 1


# ------------------------------------------------------------------------------------------------- wrong arguments

NUMBER_OF_ROWS = [
    (0, ValueError),
    (-1, ValueError),
    (2.0, TypeError),
    (True, TypeError),
    ("2", TypeError),
    (NAN, TypeError),
    (None, TypeError),
]


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        *((name, *case) for name in ("window", "horizon", "stride") for case in NUMBER_OF_ROWS),
        *(("privileged", *case) for case in NUMBER_OF_ROWS[:-1] if case[0] != "2"),  # None and words have a meaning
    ],
)
def test_numbers_of_rows_are_integers_of_at_least_one(name, value, kind):
    options = {"window": 2, "horizon": 4, name: value}
    with pytest.raises(kind, match=f"^{name} must be an integer of at least 1, got"):
        make_windows(np.arange(9.0), 0, **options)


@pytest.mark.parametrize("integer", [np.int64(2), np.uint8(2), np.array(2)])
def test_integers_of_numpy_are_integers(integer):
    w = make_windows(np.arange(9.0), 0, window=2, horizon=integer, privileged=1)
    assert_array_equal(w.y, np.arange(3.0, 9.0))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"horizon": []}, ValueError, "horizon must be at least one number of rows, none twice"),
        ({"horizon": (1, 1)}, ValueError, "horizon must be .* none twice"),
        ({"horizon": (1, 0)}, ValueError, "horizon must be an integer of at least 1, got 0"),
        ({"horizon": (1, 2.0)}, TypeError, "horizon must be an integer of at least 1, got 2.0"),
        (
            {"window": 7},
            ValueError,
            "window must be short enough for a series of 9 rows, got 7 with horizon 3, together 10",
        ),
        ({"horizon": (1, 8)}, ValueError, r"window must be short enough .* got 2 with horizon \(1, 8\), together 10"),
        ({"window": 10, "require_target": False}, ValueError, "window must be short enough"),
        ({"privileged": "middle"}, ValueError, "privileged must be 'between', None, .* got middle"),
        ({"privileged": 3}, ValueError, "privileged must be .* a number of rows up to 2, .* got 3"),
        ({"privileged": [3]}, ValueError, r"privileged must be .* a list of steps from 1 to 2, got \[3\]"),
        ({"privileged": [1, 1]}, ValueError, r"privileged must be .* got \[1, 1\]"),
        ({"privileged": []}, ValueError, r"privileged must be .* got \[\]"),
        ({"privileged": [0]}, ValueError, "privileged must be an integer of at least 1, got 0"),
        ({"privileged": [1.5]}, TypeError, "privileged must be an integer .* got 1.5"),
        ({"privileged": [True]}, TypeError, "privileged must be an integer .* got True"),
        ({"privileged": 1, "horizon": 1}, ValueError, "privileged must be"),
        ({"require_target": "no"}, ValueError, "require_target must be True or False, got no"),
        ({"require_target": None}, ValueError, "require_target must be True or False, got None"),
        ({"require_target": 0}, ValueError, "require_target must be True or False, got 0"),
        ({"privileged_columns": [0, 1]}, ValueError, "privileged_columns must be fewer than all columns"),
        ({"privileged_columns": 2}, ValueError, "privileged_columns must be a column position between 0 and 1, got 2"),
        ({"privileged_columns": []}, ValueError, "privileged_columns must be at least one column"),
        ({"privileged_columns": [1, -1]}, ValueError, "privileged_columns must be .* none twice"),
    ],
)
def test_values_that_do_not_fit_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        make_windows(two_channels(9), 0, **{"window": 2, "horizon": 3, **options})


@pytest.mark.parametrize("threshold", ["1", NAN, True, np.True_, 1j, [1, 2], [[1]], [], [NAN], object()])
def test_threshold_that_is_no_number_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be a number, or one per target"):
        make_windows(np.arange(9.0), 0, window=2, horizon=1, threshold=threshold)


@pytest.mark.parametrize("target", [2, -3, "x0", True, 1.0, None, [], [0, 0], [0, -2], np.False_])
def test_unknown_column_of_an_array_is_refused(target):
    with pytest.raises(ValueError, match=r"target must be (a column position between 0 and 1|at least one column)"):
        make_windows(two_channels(), target, window=2, horizon=1)


@pytest.mark.parametrize("target", ["pm25", 0, None, ["pm", "x"], {"pm"}, True])
def test_unknown_column_of_a_frame_is_refused_with_those_there_are(target):
    frame = pd.DataFrame(two_channels(), columns=["pm", "lab"])
    with pytest.raises(ValueError, match=r"target must be a column of the frame.*It has: 'pm', 'lab'"):
        make_windows(frame, target, window=2, horizon=1)


def test_true_is_not_the_column_one():
    with pytest.raises(ValueError, match="target must be a column of the frame, got True"):
        make_windows(pd.DataFrame(two_channels()), True, window=2, horizon=1)


# --------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("require_target", [True, False])
def test_copy_that_does_not_fit_is_refused_before_it_is_made(monkeypatch, require_target):
    series = np.zeros((4000, 8))
    series[1000, 0] = NAN  # the kept starts are not equally spaced
    w = make_windows(series, 0, window=50, horizon=9, require_target=require_target)
    assert w.n_windows > 3900
    monkeypatch.setattr(pitskd._validation, "_available_memory", lambda: 1e6)
    name = "X" if require_target else "X_privileged"
    with pytest.raises(MemoryError, match=rf"{name} of shape \(\d+, \d+, 8\) needs a copy of 0.0 GiB.*stride"):
        getattr(w, name)


def test_view_needs_no_memory(monkeypatch):
    monkeypatch.setattr(pitskd._validation, "_available_memory", lambda: 0.0)
    w = make_windows(np.zeros((4000, 8)), 0, window=50, horizon=9)
    assert w.X.shape == (3942, 50, 8)
    assert w.X_privileged.shape == (3942, 8, 8)


def test_reordered_or_mixed_series_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(pitskd._validation, "_available_memory", lambda: 10.0)
    with pytest.raises(MemoryError, match=r"series of shape \(8, 2\)"):
        make_windows(two_channels(), 0, window=1, horizon=1, groups=[0, 1] * 4)
    with pytest.raises(MemoryError, match=r"series of shape \(3, 2\)"):
        make_windows(pd.DataFrame({"a": [1, 2, 3], "b": [1.0, 2.0, 3.0]}), "a", window=1, horizon=1)
    w = make_windows(np.zeros((4, 4)), 0, window=1, horizon=1, privileged_columns=2)
    with pytest.raises(MemoryError, match=r"series of shape \(4, 3\)"):
        _ = w.X


# ------------------------------------------------------------------------------------------------------ the record


def test_record_is_no_list():
    w = make_windows(np.arange(9.0), 0, window=2, horizon=1)
    assert not hasattr(w, "__len__")
    assert not hasattr(w, "__getitem__")
    assert not hasattr(w, "__iter__")
    with pytest.raises(TypeError, match="len"):
        len(w)
    with pytest.raises(AttributeError, match="no attribute 'x'"):
        _ = w.x
    with pytest.raises(AttributeError, match="cannot assign"):
        w.X = None


def test_record_computes_each_array_once():
    w = make_windows(np.arange(9.0), 0, window=2, horizon=1)
    assert w.X is w.X
    assert w.spans is w.spans


@pytest.mark.parametrize("rows", [[3, 0, -1], np.array([3, 0, 5]), (3, 0, 5)])
def test_take_gives_the_rows_in_the_order_asked_for(rows):
    w = make_windows(two_channels(9), 0, window=2, horizon=2)
    part = w.take(rows)
    assert isinstance(part, PrivilegedWindows)
    for name in ("X", "X_privileged", "y", "origin", "spans"):
        assert_array_equal(getattr(part, name), getattr(w, name)[[3, 0, 5]])
    assert not np.shares_memory(part.X, w.X)
    assert (part.window, part.horizon, part.feature_names) == (w.window, w.horizon, w.feature_names)


def test_take_accepts_booleans_and_repeats():
    w = make_windows(np.arange(9.0), 0, window=2, horizon=2)
    assert_array_equal(w.take(w.y > 5).y, [6, 7, 8])
    assert_array_equal(w.take(pd.Series(w.y > 5)).y, [6, 7, 8])
    assert_array_equal(w.take([1, 1, 1]).y, [4, 4, 4])


@pytest.mark.parametrize("rows", [slice(2, 5), slice(None, None, 2), slice(-3, None), slice(1, 2)])
def test_take_of_a_slice_keeps_views(rows):
    series = two_channels(9)
    w = make_windows(series, 0, window=2, horizon=2)
    part = w.take(rows)
    for name in ("X", "X_privileged", "y"):
        assert np.shares_memory(getattr(part, name), series)
        assert_array_equal(getattr(part, name), getattr(w, name)[rows])


def test_take_of_nothing_keeps_the_shapes():
    w = make_windows(two_channels(9), 0, window=2, horizon=3)
    for rows in ([], slice(0, 0), np.zeros(w.n_windows, dtype=bool)):
        part = w.take(rows)
        assert (part.n_windows, part.X.shape, part.X_privileged.shape, part.y.shape) == (0, (0, 2, 2), (0, 2, 2), (0,))


def test_take_of_a_backward_slice_reverses():
    w = make_windows(two_channels(9), 0, window=2, horizon=3)
    assert_array_equal(w.take(slice(None, None, -1)).X, w.X[::-1])


def test_take_of_a_take_counts_from_the_first():
    w = make_windows(np.arange(20.0), 0, window=2, horizon=1)
    assert_array_equal(w.take([9, 5, 1]).take([2, 0]).y, w.y[[1, 9]])


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([6], IndexError, "rows must be between -6 and 5, got .*6"),
        ([-7], IndexError, "rows must be between -6 and 5"),
        ([0.0], TypeError, "rows must be a slice, or a list of positions or booleans"),
        (["a"], TypeError, "rows must be"),
        (3, TypeError, "rows must be"),
        ([[1, 2]], TypeError, "rows must be"),
        ([True, False], ValueError, "rows has 2 rows but the record has 6"),
    ],
)
def test_rows_that_are_no_windows_are_refused(rows, kind, message):
    w = make_windows(np.arange(9.0), 0, window=2, horizon=2)
    with pytest.raises(kind, match=message):
        w.take(rows)


def test_pickle_holds_the_series_not_every_window():
    series = np.arange(20_000.0)
    w = make_windows(series, 0, window=50, horizon=9)
    _ = w.X, w.X_privileged, w.y, w.spans, w.origin  # 50 times the series
    pickled = pickle.dumps(w)
    assert len(pickled) < 1.1 * series.nbytes
    back = pickle.loads(pickled)
    assert (repr(back), back.dropped) == (repr(w), w.dropped)
    for name in ("X", "X_privileged", "y", "origin", "spans"):
        assert_array_equal(getattr(back, name), getattr(w, name))


def test_pickle_keeps_the_rows_taken():
    frame = clocked(hours(30).delete(4))
    part = make_windows(frame, "a", window=2, horizon=2, groups=[1] * 10 + [2] * 19).take([7, 3])
    back = pickle.loads(pickle.dumps(part))
    for name in ("X", "y", "origin", "groups", "spans"):
        assert_array_equal(getattr(back, name), getattr(part, name))


def test_record_made_by_hand_takes_and_splits():
    source = make_windows(two_channels(30), 0, window=3, horizon=2)
    names = ("X", "X_privileged", "y", "origin", "privileged_steps", "window", "horizon", "feature_names")
    w = PrivilegedWindows(*(getattr(source, name) for name in names), source.privileged_feature_names)
    assert w.n_windows == source.n_windows
    assert_array_equal(w.take([4, 2]).X, source.X[[4, 2]])
    for mine, theirs in zip(w.split(0.5), source.split(0.5), strict=True):
        assert_array_equal(mine.origin, theirs.origin)
    assert_array_equal(pickle.loads(pickle.dumps(w)).X, w.X)


def test_record_made_by_hand_with_labels_needs_spans_to_split():
    w = PrivilegedWindows(np.zeros((9, 1, 1)), None, np.zeros(9), hours(9).to_numpy(), np.arange(0), 1, 1, ("a",), ())
    with pytest.raises(ValueError, match="spans must be given for windows whose origin is not a row position"):
        w.split(0.5)


def test_take_accepts_positions_of_any_integer_type():
    windows = make_windows(np.arange(400.0), 0, window=2, horizon=1)
    assert windows.take(np.array([1, 255], dtype=np.uint8)).origin.tolist() == [2, 256]


def test_a_time_delta_is_no_number_of_rows():
    with pytest.raises(TypeError, match="window must be an integer of at least 1"):
        make_windows(np.arange(40.0), 0, window=np.timedelta64(3, "h"), horizon=1)


# Business days only where set: a weekend is a hole unless somebody vouches for it.
BY_CALENDAR = ["D", "MS", "ME", "QE", "YE"]


@pytest.mark.parametrize(("freq", "set_frequency"), [*product(BY_CALENDAR, [True, False]), ("B", True)])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_a_target_that_is_not_there_yet_is_due_by_the_calendar(freq, set_frequency, zone):
    index = pd.date_range("2020-01-31", periods=300, freq=freq, tz=zone)
    known = index[:290] if set_frequency else pd.DatetimeIndex(index[:290].to_numpy(), tz="UTC" if zone else None)
    known = known if set_frequency or zone is None else known.tz_convert(zone)
    frame = pd.DataFrame({"a": np.arange(290.0)}, index=known)
    w = make_windows(frame, "a", window=2, horizon=4, require_target=False)
    assert np.array_equal(w.spans[:, 1], index[5:294].asi8)
