"""Which rows follow each other: gaps, repetitions, and clocks that cannot be."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from pitskd.anomaly._clock import Clock

SECOND = 1_000_000_000
START = pd.Timestamp("2024-05-01")


def seconds(*values):
    return START + pd.to_timedelta(list(values), unit="s")


def test_rows_without_an_index_have_no_clock():
    clock = Clock.learn(None, None)
    assert clock.kind == "rows"
    assert clock.read(None) is None
    assert clock.seconds is None
    assert clock.stamp("anything") is None
    run, repeated = clock.runs(None, 3)
    assert run.tolist() == [0, 0, 0]
    assert not repeated.any()
    assert Clock.learn(pd.RangeIndex(5), None).kind == "rows"
    with pytest.raises(ValueError, match="max_gap must be None where rows have no clock"):
        Clock.learn(None, "10s")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_nanoseconds_whatever_their_unit(unit):
    clock = Clock.learn(seconds(0, 1, 2, 3, 60).as_unit(unit), None)
    assert (clock.kind, clock.period, clock.seconds) == ("times", SECOND, 1.0)
    assert clock.stamp(START) == clock.read(seconds(0, 1))[0]


@pytest.mark.parametrize(
    "index",
    [pd.timedelta_range("0s", periods=5, freq="2s"), pd.period_range("2024", periods=5, freq="2s")],
    ids=["timedelta", "period"],
)
def test_other_indexes_of_times_are_read(index):
    clock = Clock.learn(index, None)
    assert (clock.kind, clock.seconds) == ("times", 2.0)
    assert np.diff(clock.read(index)).tolist() == [2 * SECOND] * 4


def test_numbers_are_their_own_unit():
    clock = Clock.learn(pd.Index([0.0, 0.5, 1.0, 1.5]), None)
    assert (clock.kind, clock.period, clock.longest, clock.seconds) == ("numbers", 0.5, 5.0, None)
    assert Clock.learn(pd.Index([3, 7, 9, 11]), 4).longest == 4.0


def test_the_usual_step_is_that_of_the_middle_and_ignores_repetitions():
    assert Clock.learn(seconds(0, 0, 0, 0, 5, 10, 500), None).seconds == 5.0


def test_a_step_longer_than_the_longest_starts_a_run_and_no_step_repeats():
    clock = Clock.learn(seconds(*range(20)), "3s")
    run, repeated = clock.runs(clock.read(seconds(0, 1, 1, 4, 8, 8, 9)), 7)
    assert run.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert repeated.tolist() == [False, False, True, False, False, True, False]


def test_ten_usual_steps_are_no_gap():
    clock = Clock.learn(seconds(*range(20)), None)
    run, _ = clock.runs(clock.read(seconds(0, 10, 20.001)), 3)
    assert run.tolist() == [0, 0, 1]


def test_a_clock_that_goes_backwards_is_refused_with_the_row():
    clock = Clock.learn(seconds(0, 1, 2), None)
    with pytest.raises(ValueError, match=r"X must be in order of time, got .*00:00:05 before .*00:00:04 \(row 2\)"):
        clock.read(seconds(0, 5, 4))


@pytest.mark.parametrize("gap", [0, -1, "no time", "-3s", 5, None.__class__], ids=str)
def test_a_gap_that_is_no_time_is_refused(gap):
    with pytest.raises(ValueError, match='max_gap must be a time above 0 such as "30s"'):
        Clock.learn(seconds(0, 1, 2), gap)


@pytest.mark.parametrize("gap", [0, -1.0, np.nan, np.inf, "3s"], ids=str)
def test_a_gap_that_is_no_number_is_refused_for_numbers(gap):
    with pytest.raises(ValueError, match="max_gap must be a finite number above 0"):
        Clock.learn(pd.Index([1.0, 2.0]), gap)


@pytest.mark.parametrize("gap", [pd.Timedelta("3s"), timedelta(seconds=3), np.timedelta64(3, "s"), "3s", "00:00:03"])
def test_gaps_are_times_in_any_form(gap):
    assert Clock.learn(seconds(0, 1, 2), gap).longest == 3 * SECOND


PLAIN = [START, START.to_pydatetime(), START.to_datetime64(), np.datetime64("2024-05-01", "D"), "2024-05-01"]
ZONED = [
    START.tz_localize("UTC"),
    START.tz_localize("UTC").tz_convert("Asia/Tokyo"),
    datetime(2024, 5, 1, tzinfo=UTC),
    "2024-05-01T00:00:00Z",
    "2024-05-01T02:00:00+02:00",
]


@pytest.mark.parametrize("time", PLAIN + ZONED, ids=repr)
def test_a_moment_is_the_same_in_any_form_and_never_taken_for_one_of_another_zone(time):
    plain, zoned = (Clock.learn(index, None) for index in (seconds(0, 1), seconds(0, 1).tz_localize("UTC")))
    right, wrong = (plain, zoned) if any(time is moment for moment in PLAIN) else (zoned, plain)
    assert right.stamp(time) == START.value
    with pytest.raises(ValueError, match=r"time must be one of times with.* a time zone, as in fit"):
        wrong.stamp(time)


@pytest.mark.parametrize("time", [12.5, 3, pd.NaT, True, object()], ids=str)
def test_what_is_no_moment_is_refused(time):
    with pytest.raises(TypeError, match="time must be a date and time"):
        Clock.learn(seconds(0, 1), None).stamp(time)


@pytest.mark.parametrize("time", ["soon", "NaT", "", " "])
def test_text_that_is_no_moment_is_refused(time):
    with pytest.raises(ValueError, match=f"time must be a date and time, got {time}"):
        Clock.learn(seconds(0, 1), None).stamp(time)


@pytest.mark.parametrize("time", ["12", np.nan, np.inf, -np.inf, True, START], ids=str)
def test_what_is_no_number_is_refused_for_numbers(time):
    with pytest.raises(ValueError, match="time must be a number"):
        Clock.learn(pd.Index([1.0, 2.0]), None).stamp(time)


def test_numbers_stand_for_themselves():
    clock = Clock.learn(pd.Index([1.0, 2.0]), None)
    assert [clock.stamp(time) for time in (3, 3.5, np.float32(2.5), np.int64(4), None)] == [3, 3.5, 2.5, 4, None]


def test_an_index_of_another_kind_is_refused_and_none_means_rows_that_follow_each_other():
    clock = Clock.learn(seconds(0, 1, 2), None)
    for index in (pd.Index([1.5, 2.5]), seconds(0, 1).tz_localize("UTC")):
        with pytest.raises(ValueError, match="X must be indexed by times without a time zone, as in fit"):
            clock.read(index)
    assert clock.read(None) is None  # plain rows: each follows the one before
    assert clock.read(pd.RangeIndex(3)) is None
