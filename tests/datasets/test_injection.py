"""Laws of the injector: what it changes, what it leaves alone, where events lie."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pitskd.datasets.injection import inject_anomalies
from pitskd.metrics import events_of

KINDS = ("spike", "level_shift", "drift", "stuck", "variance", "correlation")
NAN = np.nan


def log(n_rows=1000, seed=0):
    """Three channels with a common part, of standard deviation about 1, 2 and 4."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n_rows, 1))
    return (common + 0.2 * rng.normal(size=(n_rows, 3))) * [1.0, 2.0, 4.0]


def one(kind, X=None, **options):
    """Inject one event; return old and new rows of it, its line of the table, and the channel's spread."""
    X = log() if X is None else X
    out, _, events = inject_anomalies(X, kinds=kind, length=options.pop("length", 40), random_state=3, **options)
    event = events.iloc[0]
    rows = slice(event.start, event.stop)
    return X[rows, event.channel], out[rows, event.channel], event, np.nanstd(X[:, event.channel])


# ---------------------------------------------------------------- what is left alone


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 20), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_rows_outside_events_are_kept_and_events_keep_their_distance(seed, n_events, length, margin):
    X = log(700)
    X[::17, 1] = NAN
    before = X.copy()
    out, anomaly, events = inject_anomalies(X, n_events=n_events, length=(2, length), margin=margin, random_state=seed)
    assert X.tobytes() == before.tobytes()
    assert out[~anomaly].tobytes() == X[~anomaly].tobytes()
    np.testing.assert_array_equal(events_of(anomaly), events[["start", "stop"]])
    borders = np.concatenate([[0], events[["start", "stop"]].to_numpy().ravel(), [len(X)]])
    assert (borders[1::2] - borders[0::2] >= margin).all()
    for event in events.itertuples():
        others = [c for c in range(3) if c != event.channel]
        rows = slice(event.start, event.stop)
        assert out[rows, others].tobytes() == X[rows, others].tobytes()
        n_rows = event.stop - event.start
        assert n_rows == 1 if event.kind == "spike" else 2 <= n_rows <= length
    np.testing.assert_array_equal(np.isnan(out), np.isnan(X))


def test_the_events_fill_a_log_that_is_just_long_enough():
    options = {"kinds": "level_shift", "n_events": 4, "length": 5, "margin": 6}
    events = inject_anomalies(log(50), **options)[2]
    assert events["start"].tolist() == [6, 17, 28, 39]
    with pytest.raises(ValueError, match="X must be of at least 50 rows for 4 events, got 49 rows"):
        inject_anomalies(log(49), **options)


def test_places_are_spread_over_the_log():
    starts = np.concatenate(
        [inject_anomalies(log(200), n_events=2, length=5, random_state=seed)[2]["start"] for seed in range(300)]
    )
    counts = np.histogram(starts, bins=4, range=(5, 195))[0]
    assert counts.min() > 0.8 * counts.mean()  # 600 draws: three standard deviations are 0.2 of a mean of 150


def test_an_integer_gives_the_same_events_and_another_one_others():
    first, again, other = (inject_anomalies(log(), random_state=seed) for seed in (1, 1, 2))
    assert first[0].tobytes() == again[0].tobytes()
    pd.testing.assert_frame_equal(first[2], again[2])
    assert not first[2].equals(other[2])


def test_each_kind_comes_once_or_takes_turns():
    assert sorted(inject_anomalies(log(), random_state=0)[2]["kind"]) == sorted(KINDS)
    counts = inject_anomalies(log(2000), n_events=15, random_state=0)[2]["kind"].value_counts()
    assert sorted(counts) == [2, 2, 2, 3, 3, 3]
    few = inject_anomalies(log(), kinds=["drift", "stuck"], n_events=4, random_state=0)[2]["kind"]
    assert sorted(few) == ["drift", "drift", "stuck", "stuck"]


# ---------------------------------------------------------------- what each kind does


def test_a_spike_is_one_row():
    old, new, event, spread = one("spike", size=5.0)
    assert event.stop - event.start == 1
    assert abs(event["size"]) == 5.0
    np.testing.assert_allclose(new - old, event["size"] * spread, rtol=1e-12)


def test_a_level_shift_is_a_constant():
    old, new, event, spread = one("level_shift")
    np.testing.assert_allclose(new - old, np.full(40, event["size"] * spread), rtol=1e-12)


def test_a_drift_grows_to_its_size():
    old, new, event, spread = one("drift")
    np.testing.assert_allclose(new - old, event["size"] * spread * np.arange(1, 41) / 40, rtol=1e-11)


def test_a_stuck_sensor_holds_the_last_value_observed():
    X = log()
    _, new, event, _ = one("stuck", X)
    assert (new == X[event.start - 1, event.channel]).all()
    assert np.isnan(event["size"])
    X[event.start - 1, event.channel] = NAN
    X[event.start + 4, event.channel] = NAN
    _, new, _, _ = one("stuck", X)
    assert np.isnan(new).nonzero()[0].tolist() == [4]
    assert (np.delete(new, 4) == X[event.start - 2, event.channel]).all()


def test_a_variance_change_scales_deviations_and_keeps_the_mean():
    old, new, event, _ = one("variance", size=4.0)
    assert new.mean() == pytest.approx(old.mean(), abs=1e-12)
    assert new.std() == pytest.approx(4 * old.std(), rel=1e-12)
    assert event["size"] == 4.0


def test_a_broken_correlation_keeps_the_values_but_not_the_relation():
    X = log()
    old, new, event, _ = one("correlation", X, length=100)
    np.testing.assert_array_equal(np.sort(new), np.sort(old))
    other = X[event.start : event.stop, (event.channel + 1) % 3]
    assert np.corrcoef(old, other)[0, 1] > 0.9
    assert abs(np.corrcoef(new, other)[0, 1]) < 0.4
    assert np.isnan(event["size"])


def test_signs_are_of_both_kinds():
    sizes = inject_anomalies(log(3000), kinds="level_shift", n_events=30, random_state=0)[2]["size"]
    assert set(sizes) == {-3.0, 3.0}


def test_channels_that_never_vary_are_left_alone():
    X = np.column_stack([np.full(1000, 7.0), log()[:, 0], np.full(1000, NAN)])
    events = inject_anomalies(X, n_events=12, random_state=0)[2]
    assert set(events["channel"]) == {1}


# ---------------------------------------------------------------- forms and arguments


def test_a_frame_gives_a_frame_with_its_index_and_names():
    index = pd.date_range("2024-01-01", periods=1000, freq="s", name="time")
    frame = pd.DataFrame(log(), index=index, columns=["a", "b", "c"]).assign(n=np.arange(1000) % 7)
    frame.attrs["units"] = "V"
    before = frame.copy(deep=True)
    out, anomaly, events = inject_anomalies(frame, random_state=0)
    pd.testing.assert_frame_equal(frame, before)
    assert (out.attrs, list(out.columns)) == ({"units": "V"}, ["a", "b", "c", "n"])
    assert out.index.equals(index)
    assert anomaly.index.equals(index)
    assert anomaly.dtype == bool
    assert set(events["channel"]) <= {"a", "b", "c", "n"}
    pd.testing.assert_frame_equal(out[~anomaly], frame.astype(float)[~anomaly])
    by_position = inject_anomalies(frame.to_numpy(), random_state=0)
    np.testing.assert_array_equal(by_position[0], out)
    assert list(events.columns) == ["kind", "channel", "start", "stop", "size"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"kinds": "jump"},
            r"kinds must be among the known kinds, got \['jump'\]\. They are: spike, level_shift",
        ),
        ({"kinds": []}, "kinds must be among the known kinds, got none"),
        ({"n_events": 0}, "n_events must be an integer of at least 1, got 0"),
        ({"length": 1}, "length must be an integer of at least 2, got 1"),
        ({"length": (9, 3)}, r"length must be a number of rows or a pair in ascending order, got \(9, 3\)"),
        ({"length": (3, 4, 5)}, "length must be a number of rows or a pair"),
        ({"size": 0.0}, "size must be a finite number above 0, got 0"),
        ({"size": NAN}, "size must be a finite number above 0, got nan"),
        ({"margin": 0}, "margin must be an integer of at least 1, got 0"),
        ({"length": 200}, r"X must be of at least 2\d\d\d rows for 6 events, got 1000 rows"),
        ({"random_state": -1}, "random_state must be a non-negative integer"),
    ],
)
def test_arguments_are_checked(options, match):
    with pytest.raises(ValueError, match=match):
        inject_anomalies(log(), **options)


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (np.zeros(100), r"X must be of shape \(n_rows, n_channels\), not empty, got shape \(100,\)"),
        (np.zeros((500, 2)), "X must be such that a channel varies, got constant channels"),
        (np.where(np.arange(1000)[:, None] == 3, np.inf, log()), "X must be finite or NaN, got infinity in row 3"),
        (log()[:, :1], "kinds must be without 'correlation' for a single channel"),
        (pd.DataFrame({"a": ["x", "y"]}), "X must be numbers, got"),
    ],
)
def test_logs_are_checked(X, match):
    with pytest.raises(ValueError, match=match):
        inject_anomalies(X)
