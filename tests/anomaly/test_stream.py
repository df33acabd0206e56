"""A stream says what the array says, in constant memory, and loses nothing on the way."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pitskd.anomaly import Alarm, PrivilegedAnomalyDetector

NAMES = ("flow", "heat", "load")
COLUMNS = ["score", "p_value", "is_anomaly", "event", "n_missing"]
SETTINGS = [
    {},
    {"memory": None, "smoothing": 1},
    {"horizons": (1, 5), "smoothing": 4},
    {"horizons": (2, 7), "n_lags": 2},
    {"horizons": (1, 5), "memory": None, "missing": "flag"},
    {"alarm_after": 2, "clear_after": 3, "smoothing": 3},
    {"missing": "flag", "alarm_after": 3, "clear_after": 4, "smoothing": 2},
    {"calibration": "conformal", "drift": 40, "smoothing": 3},
    {"drift": 30, "patience": 8, "missing": "flag", "clear_after": 2},
]


def log_with_everything(simulate, framed, seed=11, n_rows=160):
    """Return a log with spikes, holes in sensors, gaps in time and repeated timestamps."""
    rng = np.random.default_rng(seed)
    rows = simulate(n_rows, seed)
    rows[60:66, 1] += 25.0
    rows[120] -= 30.0
    rows[rng.random(rows.shape) < 0.04] = np.nan
    rows[0, 2], rows[90] = np.nan, np.nan
    steps = rng.choice([0.0, 1.0, 1.0, 1.0, 2.0], size=n_rows)
    steps[[40, 41, 100]] = 3600.0
    frame = framed(rows)
    frame.index = pd.Timestamp("2024-06-01") + pd.to_timedelta(np.cumsum(steps), unit="s")
    return frame


def feed(detector, frame, **settings):
    """Return what `update` says of each row, as a frame."""
    return [detector.update(row, time, **settings) for row, time in zip(frame.to_numpy(), frame.index, strict=True)]


def table(said):
    return np.array([[getattr(alarm, name) for name in COLUMNS] for alarm in said], dtype=float)


@pytest.mark.parametrize("parameters", SETTINGS, ids=str)
def test_a_stream_says_what_the_array_says(fitted, simulate, framed, parameters):
    detector, frame = fitted(**parameters), log_with_everything(simulate, framed)
    said = feed(detector, frame)
    # Sums in another order: digits of 1e-16 grow by the condition of the covariance and the length of the mean.
    np.testing.assert_allclose(table(said), detector.detect(frame)[COLUMNS].to_numpy(float), rtol=1e-10, atol=1e-12)
    together = np.array([alarm.contributions for alarm in said])
    np.testing.assert_allclose(together, detector.contributions(frame), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(together.sum(axis=1), table(said)[:, 0], rtol=1e-12)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flags_events_and_debouncing_agree_on_any_pattern(fitted, simulate, data):
    detector = fitted(missing="flag", alarm_after=2, clear_after=3, smoothing=1, n_lags=1, memory=None)
    kinds = data.draw(st.lists(st.sampled_from("nnsm"), min_size=1, max_size=30))
    rows = simulate(len(kinds), seed=len(kinds)) / 10
    for row, kind in zip(rows, kinds, strict=True):
        if kind == "s":
            row += 100.0 * np.random.default_rng(0).choice([-1, 1], size=3)
        if kind == "m":
            row[1] = np.nan
    said = [detector.update(row) for row in rows]
    expected = detector.detect(pd.DataFrame(rows, columns=list(NAMES)))
    np.testing.assert_allclose(table(said), expected[COLUMNS].to_numpy(float), rtol=1e-10)


@pytest.mark.parametrize("parameters", SETTINGS, ids=str)
def test_many_streams_are_each_alone(fitted, simulate, parameters):
    detector = fitted(**parameters)
    rows = np.stack([simulate(120, seed) for seed in range(5)], axis=1)
    rows[50:53, 1] += 20.0
    rows[np.random.default_rng(0).random(rows.shape) < 0.02] = np.nan
    times = pd.Timestamp("2024-06-01") + pd.to_timedelta(np.r_[0:60, 5000:5060], unit="s")
    together = [detector.update(tick, time) for tick, time in zip(rows, times, strict=True)]
    for stream in range(5):
        detector.reset()
        alone = [detector.update(tick[stream], time) for tick, time in zip(rows, times, strict=True)]
        for field in Alarm._fields:
            np.testing.assert_allclose(
                np.array([getattr(alarm, field)[stream] for alarm in together], dtype=float),
                np.array([getattr(alarm, field) for alarm in alone], dtype=float),
                rtol=1e-10,
                atol=1e-12,
                err_msg=field,
            )


def test_one_stream_in_a_stack_is_one_stream(fitted, simulate):
    detector = fitted()
    rows = simulate(40, seed=2)
    plain = [detector.update(row) for row in rows]
    detector.reset()
    stacked = [detector.update(row[None]) for row in rows]
    assert stacked[-1].score.shape == (1,)
    assert stacked[-1].contributions.shape == (1, 3)
    np.testing.assert_allclose([a.score[0] for a in stacked], [a.score for a in plain], rtol=1e-12)


def test_an_alarm_of_one_stream_holds_plain_numbers(fitted, simulate):
    detector = fitted()
    for row in simulate(20, seed=2):
        alarm = detector.update(row)
    assert isinstance(alarm.score, float)
    assert isinstance(alarm.p_value, float)
    assert isinstance(alarm.is_anomaly, bool)
    assert isinstance(alarm.event, int)
    assert isinstance(alarm.n_missing, int)
    assert alarm.contributions.shape == (3,)
    json.dumps(alarm._replace(contributions=alarm.contributions.tolist()))


def test_alarms_already_given_do_not_change(fitted, simulate):
    for smoothing in (1, 5):
        detector = fitted(smoothing=smoothing)
        said = [detector.update(row) for row in simulate(30, seed=2)]
        kept = [(alarm.score, alarm.contributions.copy()) for alarm in said]
        for row in simulate(30, seed=3):
            detector.update(row)
        for alarm, (score, contributions) in zip(said, kept, strict=True):
            assert alarm.score == score
            assert np.array_equal(alarm.contributions, contributions)


def test_the_row_given_is_not_changed_and_may_be_reused(fitted, simulate):
    detector, frame = fitted(), simulate(40, seed=4)
    frame[[10, 20], 1] = np.nan
    expected = [detector.update(row.copy()).score for row in frame]
    detector.reset()
    buffer, said = np.empty(3), []
    for row in frame:
        buffer[:] = row
        said.append(detector.update(buffer).score)
        assert np.array_equal(buffer, row, equal_nan=True)
    assert said == expected


# --- reading a row


@pytest.mark.parametrize(
    "form",
    [
        lambda row: row.tolist(),
        lambda row: tuple(row.tolist()),
        lambda row: dict(zip(NAMES, row.tolist(), strict=True)),
        lambda row: dict(reversed(list(zip(NAMES, row, strict=True)))),
        lambda row: pd.Series(row, index=list(NAMES)),
        lambda row: row.astype(object),
        lambda row: [None if value != value else value for value in row.tolist()],
        lambda row: {name: None if value != value else value for name, value in zip(NAMES, row, strict=True)},
        lambda row: np.asfortranarray(np.repeat(row, 2))[::2],
        lambda row: np.ma.getdata(row).view(),
    ],
)
def test_a_row_is_the_same_in_any_form(fitted, simulate, form):
    rows = simulate(30, seed=5)
    rows[12, 1] = np.nan
    plain, other = fitted(), fitted()
    for row in rows:
        row.flags.writeable = False
        assert plain.update(row).score == other.update(form(row)).score


def test_integers_and_short_floats_are_read(fitted):
    plain = fitted()
    plain.update([1.0, 2.0, 3.0])
    expected = [plain.update([4.0, 5.0, 6.0]).score for _ in range(8)]
    for dtype in (np.int64, np.float32, np.uint8, np.float16):
        other = fitted()
        other.update(np.array([1, 2, 3], dtype=dtype))
        assert [other.update(np.array([4, 5, 6], dtype=dtype)).score for _ in range(8)] == expected


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1.0, 2.0], r"x must be of shape \(3,\), one value per sensor, got shape \(2,\)"),
        (np.zeros(4), r"x must be of shape \(3,\)"),
        (np.zeros((1, 3)), "Call reset before streams of another number"),
        (5.0, r"x must be of shape \(3,\)"),
        ([1.0, np.inf, 2.0], "x must be finite or NaN.*not taken"),
        ([1.0, -np.inf, np.nan], "x must be finite or NaN"),
        (["1", "2", "3"], "x must be numbers"),
        ([1.0, "warm", 2.0], "x must be numbers"),
        ({"flow": 1.0, "heat": 2.0}, r"a row with the sensors of fit, got no \['load'\]"),
        ({"flow": 1.0, "heat": 2.0, "load": 3.0, "wind": 4.0}, r"unknown \['wind'\]"),
        ({"flow": 1.0, "heat": 2.0, "Load": 3.0}, r"no \['load'\] and unknown \['Load'\]"),
        ({"flow": 1.0, "heat": "warm", "load": 3.0}, r"x\['heat'\] must be"),
        ({"flow": 1.0, "heat": [1.0], "load": 3.0}, r"x\['heat'\] must be a number"),
        (pd.Series([1.0, 2.0, 3.0], index=["heat", "flow", "load"]), "x must be in the order of fit"),
        (pd.Series([1.0, 2.0], index=["flow", "heat"]), r"no \['load'\]"),
        (pd.Series([1.0, 2.0, 3.0]), r"no \['flow', 'heat', 'load'\] and unknown \[0, 1, 2\]"),
        (None, "x must be"),
        (1j * np.ones(3), "x must be"),
    ],
    ids=repr,
)
def test_a_row_that_cannot_be_is_refused_and_not_taken(fitted, simulate, numbers, bad, message):
    detector = fitted(horizons=(1, 5))
    time = pd.Timestamp("2024-06-01")
    for second, row in enumerate(simulate(30, seed=6)):
        detector.update(row, time + pd.Timedelta(second, unit="s"))
    before = numbers(detector)
    with pytest.raises((ValueError, TypeError), match=message):
        detector.update(bad, time + pd.Timedelta(100, unit="s"))
    assert numbers(detector) == before


def test_a_missing_value_is_refused_where_asked(fitted, simulate, numbers):
    detector = fitted(missing="raise")
    detector.update([1.0, 2.0, 3.0])
    before = numbers(detector)
    with pytest.raises(ValueError, match=r'x must be without NaN.*missing="marginal"'):
        detector.update([1.0, np.nan, 3.0])
    assert numbers(detector) == before


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 3)), r"of shape \(5, 3\)"),
        (np.zeros(3), r"of shape \(5, 3\)"),
        (np.where(np.arange(15).reshape(5, 3) == 7, np.inf, 0.0), "x must be finite or NaN"),
    ],
)
def test_streams_refuse_ticks_that_cannot_be(fitted, numbers, bad, message):
    detector = fitted()
    for _ in range(8):
        detector.update(np.ones((5, 3)))
    before = numbers(detector)
    with pytest.raises(ValueError, match=message):
        detector.update(bad)
    assert numbers(detector) == before


def test_a_refused_first_row_leaves_no_stream_of_another_shape(fitted):
    detector = fitted()
    with pytest.raises(ValueError, match="x must be of shape"):
        detector.update(np.zeros((3, 5)))
    detector.update([1.0, 2.0, 3.0])  # the stream may still begin


def test_huge_values_are_no_missing_ones_and_leave_with_the_window(fitted, simulate):
    detector, rows = fitted(memory=None), simulate(60, seed=6)
    expected = [detector.update(row).score for row in rows]
    detector.reset()
    rows[20] = [1.5e308, 1.5e308, 0.0]  # their sum is infinite
    rows[21] = [1e200, 0.0, 0.0]  # so is its square
    with np.errstate(over="ignore", invalid="ignore"):
        said = [detector.update(row) for row in rows]
    assert not any(alarm.n_missing for alarm in said)
    assert all(alarm.is_anomaly for alarm in said[20:30])
    np.testing.assert_allclose([alarm.score for alarm in said[40:]], expected[40:], rtol=1e-10)


# --- the clock


def test_a_clock_that_goes_backwards_is_refused_and_the_row_not_taken(fitted, simulate, framed, numbers):
    detector, frame = fitted(), framed(simulate(30, seed=7))
    feed(detector, frame)
    before = numbers(detector)
    with pytest.raises(ValueError, match=r"time must be not before that of the row before.*not taken"):
        detector.update([1.0, 2.0, 3.0], frame.index[-2])
    with pytest.raises((TypeError, ValueError), match="time must be a date and time"):
        detector.update([1.0, 2.0, 3.0], 17.0)
    assert numbers(detector) == before


def test_a_repeated_time_changes_nothing_and_is_answered_as_before(fitted, simulate, framed, numbers):
    detector, frame = fitted(), framed(simulate(30, seed=7))
    last = feed(detector, frame)[-1]
    before = numbers(detector)
    assert detector.update([50.0, 50.0, 50.0], frame.index[-1]) is last
    assert numbers(detector) == before


def test_behind_a_gap_the_stream_starts_afresh_and_events_go_on_counting(fitted, simulate, framed):
    detector, frame = fitted(smoothing=1, memory=None), framed(simulate(60, seed=7))
    frame.iloc[20:22] += 50.0
    frame.index = frame.index + pd.to_timedelta(np.where(np.arange(60) < 40, 0, 100), unit="s")
    said = feed(detector, frame)
    assert said[20].event == 1
    assert said[40].score == 1.0  # no forecast yet
    detector.reset()
    afresh = feed(detector, frame.iloc[40:])
    np.testing.assert_allclose([a.score for a in said[40:]], [a.score for a in afresh], rtol=1e-12)


def test_rows_without_a_time_follow_each_other(fitted, simulate, framed):
    detector, frame = fitted(), framed(simulate(30, seed=7))
    timed = [alarm.score for alarm in feed(detector, frame)]
    detector.reset()
    assert [detector.update(row).score for row in frame.to_numpy()] == timed


# --- state


@pytest.mark.parametrize("parameters", SETTINGS, ids=str)
@pytest.mark.parametrize("n_streams", [None, 4])
def test_a_saved_stream_goes_on_without_a_jump(fitted, simulate, framed, tmp_path, parameters, n_streams):
    detector, frame = fitted(**parameters), log_with_everything(simulate, framed)
    ticks = frame.to_numpy() if n_streams is None else np.repeat(frame.to_numpy()[:, None], n_streams, axis=1)
    rows = list(zip(ticks, frame.index, strict=True))
    expected = [detector.update(row, time, learn=True) for row, time in rows]
    for cut in (1, 63, 101):
        detector.reset()
        for row, time in rows[:cut]:
            detector.update(row, time, learn=True)
        detector.save_state(tmp_path / "state.npz")
        other = fitted(**parameters)
        assert other.load_state(tmp_path / "state.npz") is other
        for (row, time), alarm in zip(rows[cut:], expected[cut:], strict=True):
            said = other.update(row, time, learn=True)
            for field in Alarm._fields:
                assert np.array_equal(getattr(said, field), getattr(alarm, field)), field
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_a_restored_stream_answers_a_repetition_as_the_row_before(fitted, simulate, framed, tmp_path):
    detector, frame = fitted(), framed(simulate(30, seed=7))
    last = feed(detector, frame)[-1]
    detector.save_state(tmp_path / "state.npz")
    said = fitted().load_state(tmp_path / "state.npz").update([9.0, 9.0, 9.0], frame.index[-1])
    assert said[:3] == last[:3]
    assert type(said.score) is type(last.score)
    assert type(said.is_anomaly) is type(last.is_anomaly)
    assert np.array_equal(said.contributions, last.contributions)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))], ids=["copy", "pickle"])
def test_a_copy_of_a_detector_keeps_the_stream_and_is_a_stream_of_its_own(fitted, simulate, copied):
    detector, rows = fitted(horizons=(1, 5)), simulate(60, seed=8)
    for row in rows[:30]:
        detector.update(row)
    other = copied(detector)
    first = [detector.update(row).score for row in rows[30:]]
    second = [other.update(row).score for row in rows[30:]]
    assert first == second


def test_a_state_of_another_detector_is_refused_and_the_stream_stays(fitted, simulate, tmp_path, numbers):
    detector, other = fitted(), fitted(smoothing=3)
    for row in simulate(20, seed=8):
        detector.update(row)
        other.update(row)
    other.save_state(tmp_path / "other.npz")
    before = numbers(detector)
    with pytest.raises(ValueError, match="path must be a state of this detector, got one of another"):
        detector.load_state(tmp_path / "other.npz")
    assert numbers(detector) == before


@pytest.mark.parametrize(
    "pair",
    [
        ({}, {"memory": None}),
        ({}, {"horizons": (1, 5)}),
        ({"drift": 30}, {"drift": 40}),
        ({}, {"drift": 40}),
        ({}, {"clear_after": 2}),
        ({"n_lags": 1}, {"n_lags": 2}),
        ({"n_lags": 2, "memory": 0.3}, {"n_lags": 2, "memory": 0.31}),
        ({"drift": 30, "patience": 8}, {"drift": 30, "patience": 9}),
    ],
    ids=str,
)
def test_whatever_changes_the_next_score_makes_another_detector(fitted, simulate, tmp_path, pair):
    saved, other = (fitted(**settings) for settings in pair)
    for row in simulate(10, seed=8):
        saved.update(row)
    saved.save_state(tmp_path / "state.npz")
    with pytest.raises(ValueError, match="a state of this detector"):
        other.load_state(tmp_path / "state.npz")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04broken"])
def test_a_file_that_is_no_state_is_refused(fitted, tmp_path, content):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="path must be a saved state"):
        fitted().load_state(path)


def test_an_archive_of_other_arrays_is_refused(fitted, tmp_path):
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    with pytest.raises(ValueError, match="path must be a saved state"):
        fitted().load_state(tmp_path / "other.npz")


def test_a_state_cut_short_is_refused(fitted, simulate, tmp_path):
    detector, path = fitted(), tmp_path / "state.npz"
    for row in simulate(20, seed=8):
        detector.update(row)
    detector.save_state(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="path must be a saved state"):
        detector.load_state(path)


def test_a_state_from_another_version_is_refused_by_its_name(fitted, simulate, tmp_path):
    detector, path = fitted(), tmp_path / "state.npz"
    detector.update([1.0, 2.0, 3.0])
    detector.save_state(path)
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(str(arrays.pop("header"))) | {"format": 99, "pitskd": "9.9"}
    np.savez(path, header=np.array(json.dumps(header)), **arrays)
    with pytest.raises(ValueError, match=r"one written by pitskd 9\.9"):
        detector.load_state(path)


def test_no_file_is_an_error_of_the_system(fitted, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        fitted().load_state(tmp_path / "absent.npz")


def test_a_failed_save_leaves_the_old_file(fitted, simulate, tmp_path, monkeypatch):
    detector, path = fitted(), tmp_path / "state.npz"
    detector.update([1.0, 2.0, 3.0])
    detector.save_state(path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space left"):
        detector.save_state(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.npz"]


def test_there_is_nothing_to_save_before_the_first_row(fitted, tmp_path):
    with pytest.raises(ValueError, match="Call update first"):
        fitted().save_state(tmp_path / "state.npz")


# --- memory


def size(detector):
    """Return the bytes of all that a running stream holds, but for digits of its counters."""
    return len(pickle.dumps(detector.stream_))


@pytest.mark.parametrize("n_streams", [None, 3])
def test_memory_is_constant(fitted, simulate, n_streams):
    detector, rows = fitted(horizons=(1, 5), drift=30), simulate(10_000 if n_streams is None else 2000, seed=9)
    for number, row in enumerate(rows):
        detector.update(row if n_streams is None else np.tile(row, (n_streams, 1)), learn=True)
        if number == 100:
            early = size(detector)
    assert size(detector) <= early + 64


def test_the_mean_of_a_stream_keeps_its_digits_behind_a_huge_value(fitted, simulate):
    detector, rows = fitted(memory=None, n_lags=1), simulate(100, seed=9)
    expected = [detector.update(row).score for row in rows]
    detector.reset()
    rows[30] = 1e7
    said = [detector.update(row).score for row in rows]
    # Ten rows of smoothing and one of history behind the spike.
    np.testing.assert_allclose(said[42:], expected[42:], rtol=1e-12)


# --- learning


def test_learning_follows_a_slow_drift(simulate):
    rows = simulate(6000, seed=12)
    drift = np.linspace(0, 40, 5000)[:, None] * [1.0, 0.0, 0.0]
    # One lag: a drift of the level then stands in every forecast as an offset.
    detector = PrivilegedAnomalyDetector(n_lags=1, memory=None, adaptation=0.02).fit(rows[:1000])
    alarms = {}
    for learn in (False, True):
        detector.reset()
        said = [detector.update(row, learn=learn) for row in rows[1000:] + drift]
        alarms[learn] = np.mean([alarm.is_anomaly for alarm in said])
    assert alarms[False] > 0.5
    assert alarms[True] < 0.05


@pytest.mark.parametrize("n_streams", [None, 2])
def test_learning_freezes_during_an_alarm(fitted, simulate, n_streams):
    rows, told = np.concatenate([simulate(40, seed=13), simulate(6, seed=14) + 60.0, simulate(30, seed=15)]), []
    for learn_in_alarm in (False, True):
        detector = fitted(smoothing=1, memory=None, clear_after=5)
        for number, row in enumerate(rows):
            tick = row if n_streams is None else np.stack([row, rows[0] / 10])
            said = detector.update(tick, learn=number < 40 or (number < 46 and learn_in_alarm))
            if number in range(40, 46):
                assert np.all(np.atleast_1d(said.is_anomaly)[0])
        told.append(np.atleast_1d(said.score))
    assert told[0][0] == told[1][0]
    if n_streams is not None:  # the other stream was calm, and learnt
        assert told[0][1] != told[1][1]


def test_learning_moves_forecasts_by_the_share_asked_for(simulate):
    detector = PrivilegedAnomalyDetector(n_lags=1, memory=None, smoothing=1, adaptation=0.25)
    detector.fit(simulate(500, n_channels=1))
    # A sensor that stays where it is, not too far to alarm: each row is missed by three quarters of the miss before.
    scores = [detector.update(np.array([1.0]), learn=True).score for _ in range(12)]
    misses = np.sqrt(scores[1:])
    np.testing.assert_allclose(misses[1:] / misses[:-1], 0.75, rtol=1e-9)


def test_what_was_learnt_outlives_a_gap_and_not_a_reset(fitted, simulate, framed):
    frame = framed(simulate(60, seed=16) + 1.0)
    later = framed(simulate(30, seed=17), start="2024-05-02")
    learnt, fresh = fitted(), fitted()
    feed(learnt, frame, learn=True)
    feed(fresh, frame)
    gap = [[alarm.score for alarm in feed(detector, later)] for detector in (learnt, fresh)]
    assert gap[0] != gap[1]
    learnt.reset()
    fresh.reset()
    assert table(feed(learnt, later)).tolist() == table(feed(fresh, later)).tolist()


def test_readings_far_from_zero_lose_no_digits_row_by_row(simulate):
    rows = 1e6 + simulate(900)  # noise of one beside a million
    detector = PrivilegedAnomalyDetector(smoothing=3).fit(rows[:600])
    said = [detector.update(row).score for row in rows[600:]]
    np.testing.assert_allclose(said, detector.detect(rows[600:])["score"], rtol=1e-10)
