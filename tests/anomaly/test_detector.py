"""Laws of the detector as a whole: rates, names, times, kinds of input, and what it refuses."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from pitskd.anomaly import Alarm, PrivilegedAnomalyDetector

NAMES = ["flow", "heat", "load"]


def far(detector, rows):
    return float((detector.predict(rows) == -1).mean())


# --- what is said of rows


def test_the_methods_say_the_same(fitted, simulate, framed):
    detector, frame = fitted(clear_after=2), framed(simulate(200, seed=1))
    frame.iloc[50:53] += 20.0
    frame.iloc[[80, 81], 1] = np.nan
    said = detector.detect(frame)
    assert list(said.columns) == ["score", "p_value", "is_anomaly", "event", "n_missing"]
    assert said.index.equals(frame.index)
    assert np.array_equal(detector.score_samples(frame), -said["score"])
    assert np.array_equal(detector.decision_function(frame), detector.threshold_ - said["score"])
    assert np.array_equal(detector.predict(frame), np.where(said["is_anomaly"], -1, 1))
    assert detector.offset_ == -detector.threshold_
    assert said["n_missing"].to_numpy().nonzero()[0].tolist() == [80, 81]
    assert said["is_anomaly"].iloc[50:60].any()
    parts = detector.contributions(frame)
    assert (parts >= 0).all()
    np.testing.assert_allclose(parts.sum(axis=1), said["score"], rtol=1e-10)


def test_events_are_numbered_runs_of_alarmed_rows(fitted, simulate, framed):
    frame = framed(simulate(300, seed=1))
    for row in (50, 120, 200):
        frame.iloc[row] += 30.0
    said = fitted(smoothing=1, memory=None).detect(frame)
    assert ((said["event"] > 0) == said["is_anomaly"]).all()
    starts = said["is_anomaly"] & ~said["is_anomaly"].shift(fill_value=False)
    assert said.loc[starts, "event"].tolist() == list(range(1, starts.sum() + 1))
    assert starts.sum() >= 3


def test_alarms_are_scores_above_the_threshold_where_nothing_is_debounced(simulate):
    detector, rows = PrivilegedAnomalyDetector(smoothing=3).fit(simulate(900)), simulate(2000, seed=2)
    assert np.array_equal(detector.decision_function(rows) < 0, detector.predict(rows) == -1)


def test_scores_of_the_past_do_not_know_the_future(fitted, simulate, framed):
    detector, frame = fitted(horizons=(1, 5)), framed(simulate(120, seed=3))
    changed = frame.copy()
    changed.iloc[80:] = 1e3
    assert np.array_equal(detector.score_samples(frame)[:80], detector.score_samples(changed)[:80])


def test_each_call_is_a_stream_of_its_own_and_leaves_the_running_one(fitted, simulate, framed, numbers):
    detector, frame = fitted(), framed(simulate(60, seed=3))
    for row in frame.to_numpy()[:30]:
        detector.update(row)
    before = numbers(detector)
    first = detector.detect(frame)
    assert detector.detect(frame).equals(first)
    assert numbers(detector) == before


def test_a_missing_sensor_is_flagged_where_asked_and_scored_where_not(fitted, simulate, framed):
    frame = framed(simulate(100, seed=3) / 3)
    frame.iloc[60, 2] = np.nan
    flagged, scored = fitted(missing="flag").detect(frame), fitted().detect(frame)
    assert flagged["is_anomaly"].iloc[60]
    assert not scored["is_anomaly"].iloc[60]
    np.testing.assert_allclose(flagged["score"], scored["score"], rtol=1e-12)
    with pytest.raises(ValueError, match="NaN in row 60"):
        fitted(missing="raise").detect(frame)


def test_gaps_start_afresh_and_repetitions_answer_as_the_row_before(fitted, simulate, framed):
    detector, frame = fitted(), framed(simulate(90, seed=4))
    said = detector.detect(frame)
    gap = pd.concat([frame.iloc[:50], frame.iloc[50:].shift(freq="1h")])
    afresh = detector.detect(frame.iloc[50:])
    np.testing.assert_allclose(detector.detect(gap)["score"].iloc[50:], afresh["score"], rtol=1e-12)
    other = frame.iloc[[30]] + 100.0
    repeated = pd.concat([frame.iloc[:31], other, frame.iloc[31:]])
    repeats = detector.detect(repeated)
    assert repeats.iloc[31].equals(repeats.iloc[30])
    np.testing.assert_allclose(repeats["score"].drop(frame.index[30]), said["score"].drop(frame.index[30]), rtol=1e-12)


def test_rows_out_of_order_are_refused(fitted, simulate, framed):
    frame = framed(simulate(50))
    with pytest.raises(ValueError, match=r"X must be in order of time.*Use X\.sort_index\(\)"):
        fitted().detect(frame.iloc[::-1])
    with pytest.raises(ValueError, match="X must be in order of time"):
        PrivilegedAnomalyDetector().fit(frame.sample(frac=1.0, random_state=0))


# --- the rate asked for


@pytest.mark.parametrize("calibration", ["conformal", "pot"])
@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_the_rate_asked_for_is_kept_on_normal_rows_to_come(simulate, calibration, rate):
    rates = []
    for seed in range(4):
        rows = simulate(4000, seed=seed)
        detector = PrivilegedAnomalyDetector(n_lags=2, smoothing=5, false_alarm_rate=rate, calibration=calibration).fit(
            rows[:2000]
        )
        rates.append(far(detector, rows[2000:]))
    # Smoothed rows are worth a tenth as many: about three standard deviations.
    assert rate / 2 < np.mean(rates) < 1.8 * rate


@pytest.mark.parametrize("student", [None, LinearRegression(), DecisionTreeRegressor(random_state=0)], ids=str)
@pytest.mark.parametrize("calibration_size", [None, 0.4])
def test_a_student_that_remembers_its_log_does_not_fool_the_threshold(simulate, student, calibration_size):
    rates = []
    for seed in range(4):
        rows = simulate(1200, seed=seed, n_channels=6)
        detector = PrivilegedAnomalyDetector(
            student, n_lags=5, smoothing=1, false_alarm_rate=0.1, calibration_size=calibration_size
        ).fit(rows[:250])
        rates.append(far(detector, rows[250:]))
    # Fitted rows of the tree have no innovations at all: a threshold on them would alarm at every row.
    assert 0.04 < np.mean(rates) < 0.22


def test_false_alarms_per_day_on_a_clock(simulate, framed):
    rows = simulate(6000, seed=5)
    frame = framed(rows, seconds=60.0)  # a row a minute: four days
    detector = PrivilegedAnomalyDetector(false_alarms_per_day=6.0, smoothing=3, memory=None).fit(frame.iloc[:3000])
    said = detector.detect(frame.iloc[3000:])
    per_day = said["event"].max() / (3000 / 1440)
    assert 2.0 < per_day < 15.0  # about a dozen events: three standard deviations
    assert detector.achieved_rate_.unit == "per day"
    assert detector.achieved_rate_.lower <= 6.0 <= detector.achieved_rate_.upper


def test_the_period_stands_for_a_clock_and_overrules_it(simulate, framed):
    rows = simulate(1500, seed=5)
    by_clock = PrivilegedAnomalyDetector(false_alarms_per_day=6.0, n_lags=1).fit(framed(rows, seconds=60.0))
    for period in ("60s", 60, 60.0, "1min", pd.Timedelta("1min")):
        by_period = PrivilegedAnomalyDetector(false_alarms_per_day=6.0, n_lags=1, period=period).fit(rows)
        assert by_period.threshold_ == by_clock.threshold_
    overruled = PrivilegedAnomalyDetector(false_alarms_per_day=6.0, n_lags=1, period="60s").fit(
        framed(rows, seconds=5.0)
    )
    assert overruled.threshold_ == by_clock.threshold_


def test_false_alarms_per_day_need_a_clock(simulate):
    for X in (simulate(500), pd.DataFrame(simulate(500), index=np.arange(500) * 2.0, columns=NAMES)):
        with pytest.raises(ValueError, match=r'false_alarms_per_day must be None where .* or period="1s"'):
            PrivilegedAnomalyDetector(false_alarms_per_day=1.0).fit(X)


def test_more_false_alarms_a_day_than_there_can_be_are_refused(simulate):
    with pytest.raises(ValueError, match=r"false_alarms_per_day must be at most .* got 40000"):
        PrivilegedAnomalyDetector(false_alarms_per_day=40_000.0, period="1s").fit(simulate(1000, seed=6))


@pytest.mark.parametrize("debounce", [{"clear_after": 20}, {"alarm_after": 3}, {"alarm_after": 2, "clear_after": 5}])
def test_the_rate_asked_for_is_that_of_debounced_alarms(simulate, debounce):
    rows = simulate(16000, seed=8)
    detector = PrivilegedAnomalyDetector(false_alarm_rate=0.02, smoothing=1, **debounce).fit(rows[:6000])
    # Of 10,000 rows some hundred alarmed ones come in events: a standard error of about .004.
    assert far(detector, rows[6000:]) == pytest.approx(0.02, abs=0.012)


@pytest.mark.parametrize(("n_rows", "settings"), [(60, {}), (300, {"smoothing": 30, "false_alarm_rate": 0.001})])
def test_a_log_too_short_for_its_rate_is_told(simulate, n_rows, settings):
    with pytest.warns(UserWarning, match="X is short for its threshold: .* rows held out"):
        PrivilegedAnomalyDetector(n_lags=1, **settings).fit(simulate(n_rows))


def test_the_rate_achieved_is_told_with_an_interval(simulate):
    detector = PrivilegedAnomalyDetector(false_alarm_rate=0.05, n_lags=1).fit(simulate(1500))
    found = detector.achieved_rate_
    assert found.lower <= 0.05 <= found.upper
    assert found.unit == "share of rows"
    assert 1000 < found.n_rows <= 1500


@pytest.mark.filterwarnings("ignore:X is short")
def test_a_log_shorter_than_the_calibration_needs_says_how_much_is_needed(simulate):
    detector = PrivilegedAnomalyDetector(calibration="conformal", false_alarm_rate=0.001, n_lags=1)
    with pytest.raises(ValueError, match=r"hold out 999 normal rows for a rate of 0\.001"):
        detector.fit(simulate(300))
    assert PrivilegedAnomalyDetector(false_alarm_rate=0.001, n_lags=1).fit(simulate(300)).threshold_ > 0


@pytest.mark.parametrize("n_rows", [2, 3, 4])
def test_a_log_too_short_to_learn_from_says_so(simulate, n_rows):
    with pytest.raises(ValueError, match="X must be long enough"):
        PrivilegedAnomalyDetector(n_lags=3, horizons=(1, 5)).fit(simulate(n_rows))


# --- the same in, the same out


def test_fitting_twice_gives_the_same_and_leaves_the_parameters(simulate):
    detector = PrivilegedAnomalyDetector(horizons=(1, 5))
    before = copy.deepcopy(detector.get_params())
    first = detector.fit(simulate(500)).threshold_, detector.achieved_rate_
    assert detector.get_params() == before
    assert (detector.fit(simulate(500)).threshold_, detector.achieved_rate_) == first
    assert clone(detector).fit(simulate(500)).threshold_ == first[0]


def test_fitting_ends_the_running_stream(fitted, simulate, framed):
    detector = copy.deepcopy(fitted())
    detector.update([1.0, 2.0, 3.0])
    detector.fit(framed(simulate(400)))
    assert detector.update([1.0, 2.0, 3.0]).score == 1.0


@pytest.mark.parametrize("horizons", [(5, 1), [1, 5], np.array([1, 5]), (1, 5, 5), range(1, 6, 4)], ids=repr)
def test_horizons_are_a_set(simulate, horizons):
    given = PrivilegedAnomalyDetector(horizons=horizons, n_lags=1).fit(simulate(300))
    plain = PrivilegedAnomalyDetector(horizons=(1, 5), n_lags=1).fit(simulate(300))
    assert given.threshold_ == plain.threshold_


def test_one_horizon_may_be_a_number(simulate):
    rows = simulate(300)
    assert (
        PrivilegedAnomalyDetector(horizons=5).fit(rows).threshold_
        == PrivilegedAnomalyDetector(horizons=(5,)).fit(rows).threshold_
    )


# --- kinds of input


def kinds(rows):
    frame = pd.DataFrame(rows, columns=NAMES)
    return {
        "list": rows.tolist(),
        "frame": frame,
        "object": rows.astype(object),
        "read-only": np.frombuffer(rows.tobytes()).reshape(rows.shape),
        "fortran": np.asfortranarray(rows),
        "strided": np.repeat(rows, 2, axis=1)[:, ::2],
        "nullable": frame.astype("Float64"),
        "frame of objects": frame.astype(object),
    }


@pytest.mark.parametrize("kind", kinds(np.zeros((1, 3))))
def test_any_kind_of_table_gives_the_same_numbers(simulate, kind):
    log, rows = simulate(300), simulate(40, seed=1)
    rows[20, 1] = np.nan
    plain = PrivilegedAnomalyDetector(n_lags=2).fit(log)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = PrivilegedAnomalyDetector(n_lags=2).fit(kinds(log)[kind])
        np.testing.assert_allclose(other.score_samples(kinds(rows)[kind]), plain.score_samples(rows), rtol=1e-12)


def test_missing_marks_of_objects_are_nan(simulate):
    log = simulate(300)
    log[[5, 100], [0, 2]] = np.nan
    objects = log.astype(object)
    objects[5, 0], objects[100, 2] = None, None
    plain, other = (PrivilegedAnomalyDetector(n_lags=2).fit(X) for X in (log, objects))
    assert plain.threshold_ == other.threshold_


def test_integers_and_short_floats_are_read(simulate):
    log = (simulate(300) * 10).round()
    plain = PrivilegedAnomalyDetector(n_lags=2).fit(log)
    for dtype in (np.int64, np.int16, np.float32):
        assert PrivilegedAnomalyDetector(n_lags=2).fit(log.astype(dtype)).threshold_ == plain.threshold_


def test_polars_frames_are_read_with_their_times(simulate, framed):
    pl = pytest.importorskip("polars", reason="frames of polars need polars")
    frame = framed(simulate(400))
    other = pl.from_pandas(frame.rename_axis("time").reset_index())
    plain, detector = PrivilegedAnomalyDetector().fit(frame), PrivilegedAnomalyDetector().fit(other)
    assert detector.threshold_ == plain.threshold_
    assert list(detector.feature_names_in_) == NAMES
    assert detector.clock_ == plain.clock_
    assert detector.detect(other).equals(plain.detect(frame))


def test_one_row_is_scored_as_the_start_of_a_stream(fitted, simulate, framed):
    detector = fitted()
    said = detector.detect(framed(simulate(1)))
    assert said["score"].tolist() == [1.0]
    assert said["event"].tolist() == [0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 3)), "0 sample"),
        (np.zeros((1, 3)), "1 sample"),
        (np.zeros((30, 0)), "0 feature"),
        (np.zeros(30), "Reshape your data|1D array"),
        (np.zeros((30, 3, 2)), "dim 3"),
        (np.full((30, 3), np.nan), "X must be rows with a value of every sensor"),
        (np.full((30, 3), "a"), "X must be numbers"),
        (np.where(np.arange(90).reshape(30, 3) == 40, np.inf, 0.0), "X must be finite or NaN, got infinity in row 13"),
        ([[1.0, "warm", 2.0]] * 30, "X must be numbers"),
        (np.zeros((30, 3), dtype="datetime64[s]"), "X must be numbers"),
        (np.ones((30, 3)) * 1j, "[Cc]omplex"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(np.shape(value)),
)
def test_a_log_that_cannot_be_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        PrivilegedAnomalyDetector().fit(bad)


def test_a_frame_with_a_column_of_times_or_text_is_refused(simulate, framed):
    for column in (pd.Timestamp("2024-05-01"), "warm"):
        with pytest.raises((ValueError, TypeError), match="X must be"):
            PrivilegedAnomalyDetector().fit(framed(simulate(50)).assign(other=column))


def test_a_sensor_stuck_from_the_start_is_named_and_silent(simulate, framed):
    frame = framed(simulate(600))
    stuck = frame.assign(heat=4.1)
    with pytest.warns(UserWarning, match=r"never move.*: heat\. .*Mend them, or leave them out"):
        detector = PrivilegedAnomalyDetector().fit(stuck)
    without = PrivilegedAnomalyDetector().fit(frame.drop(columns="heat"))
    rows = framed(simulate(200, seed=1)).assign(heat=4.1)
    rows.iloc[100:105, 0] += 20.0
    assert np.isfinite(detector.score_samples(rows)).all()
    said, expected = detector.detect(rows), without.detect(rows.drop(columns="heat"))
    assert np.array_equal(said["is_anomaly"], expected["is_anomaly"])
    assert said["is_anomaly"].iloc[100:105].any()
    assert (detector.contributions(rows)[20:, 1] == 0).all()


def test_a_log_where_nothing_moves_gives_finite_scores():
    with pytest.warns(UserWarning, match="never move"):
        detector = PrivilegedAnomalyDetector().fit(np.full((300, 2), 4.1))
    said = detector.detect(np.full((50, 2), 4.1))
    assert np.isfinite(said[["score", "p_value"]]).all().all()
    assert not said["is_anomaly"].iloc[20:].any()  # before, the mean still holds the ones of a start


def test_two_sensors_that_are_one_are_no_trouble(simulate):
    rows, fresh = simulate(600), simulate(200, seed=1)
    twice = np.hstack([rows, rows[:, :1]])
    detector = PrivilegedAnomalyDetector().fit(twice)
    scores = detector.score_samples(np.hstack([fresh, fresh[:, :1]]))
    assert np.isfinite(scores).all()
    apart = np.hstack([fresh, fresh[:, :1] + 0.5])
    assert detector.predict(apart)[20:].mean() == -1  # a broken copy speaks


# --- names


def test_names_are_kept_and_must_match(fitted, simulate, framed):
    detector, frame = fitted(), framed(simulate(40, seed=1))
    assert detector.feature_names_in_.tolist() == NAMES
    assert detector.n_features_in_ == 3
    for method in (detector.detect, detector.predict, detector.score_samples, detector.contributions):
        with pytest.raises(ValueError, match="feature names should match"):
            method(frame.drop(columns="heat"))
        with pytest.raises(ValueError, match="feature names should match"):
            method(frame.assign(wind=1.0))
        with pytest.raises(ValueError, match="same order"):
            method(frame[["heat", "flow", "load"]])
    with (
        pytest.raises(ValueError, match="expecting 3 features"),
        pytest.warns(UserWarning, match="valid feature names"),
    ):
        detector.detect(frame.to_numpy()[:, :2])


def test_a_detector_of_arrays_takes_rows_without_names_only(simulate):
    detector = PrivilegedAnomalyDetector(n_lags=1).fit(simulate(300))
    with pytest.raises(ValueError, match=r"x must be an array of values.*has no names"):
        detector.update({"flow": 1.0, "heat": 2.0, "load": 3.0})
    assert isinstance(detector.update([1.0, 2.0, 3.0]), Alarm)


# --- before fit, wrong parameters


@pytest.mark.parametrize(
    "method", ["predict", "score_samples", "decision_function", "detect", "contributions", "update"]
)
def test_nothing_is_said_before_fit(simulate, method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(PrivilegedAnomalyDetector(), method)(simulate(10))


def test_nothing_is_saved_or_loaded_before_fit(tmp_path):
    for method in ("save_state", "load_state"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(PrivilegedAnomalyDetector(), method)(tmp_path / "state.npz")


def test_reset_before_fit_fits_nothing(simulate):
    detector = PrivilegedAnomalyDetector()
    try:
        detector.reset()
    except NotFittedError:
        return
    with pytest.raises(NotFittedError, match="not fitted yet"):
        detector.update([1.0, 2.0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizons": ()}, "horizons must be one or several integers"),
        ({"horizons": (0,)}, "horizons must be an integer of at least 1"),
        ({"horizons": (1.5,)}, "horizons must be an integer"),
        ({"horizons": "5"}, "horizons must be an integer"),
        ({"n_lags": 0}, "n_lags must be an integer of at least 1"),
        ({"n_lags": True}, "n_lags must be an integer"),
        ({"memory": 0.0}, "memory must be"),
        ({"memory": 1.5}, "memory must be"),
        ({"smoothing": 0}, "smoothing must be an integer of at least 1"),
        ({"false_alarm_rate": 0.0}, "false_alarm_rate must be above 0 and below 1"),
        ({"false_alarm_rate": 1.0}, "false_alarm_rate must be above 0 and below 1"),
        ({"false_alarm_rate": np.nan}, "false_alarm_rate must be a number"),
        ({"false_alarms_per_day": 0}, "false_alarms_per_day must be a finite number above 0"),
        ({"false_alarms_per_day": -1.0}, "false_alarms_per_day must be a finite number above 0"),
        ({"calibration": "in-sample"}, "calibration must be 'pot' or 'conformal'"),
        ({"calibration_size": 0.0}, "calibration_size must be above 0 and below 1"),
        ({"calibration_size": 1.0}, "calibration_size must be above 0 and below 1"),
        ({"drift": 0}, "drift must be"),
        ({"patience": 0}, "patience must be"),
        ({"alarm_after": 0}, "alarm_after must be an integer of at least 1"),
        ({"clear_after": 1.0}, "clear_after must be an integer"),
        ({"missing": "drop"}, "missing must be 'marginal' or 'flag' or 'raise'"),
        ({"adaptation": 1.5}, "adaptation must be a number between 0 and 1"),
        ({"adaptation": np.nan}, "adaptation must be a number between 0 and 1"),
        ({"max_gap": "5s"}, "max_gap must be None where rows have no clock"),
        ({"period": "soon", "false_alarms_per_day": 1.0}, "period must be"),
        ({"period": -1, "false_alarms_per_day": 1.0}, "period must be"),
        ({"period": 0, "false_alarms_per_day": 1.0}, "period must be"),
        ({"student": LinearRegression}, "student must be a regressor"),
        ({"student": "ridge"}, "student must be a regressor"),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_in_fit(simulate, settings, message):
    detector = PrivilegedAnomalyDetector(**settings)
    with pytest.raises((ValueError, TypeError), match=message):
        detector.fit(simulate(200))


# --- privileged sensors


def test_a_default_student_ignores_what_privileged_sensors_hold(simulate, framed):
    frame = framed(simulate(400))
    Z = pd.DataFrame({"lab": np.random.default_rng(0).normal(size=400)}, index=frame.index)
    plain, given = PrivilegedAnomalyDetector().fit(frame), PrivilegedAnomalyDetector().fit(frame, X_privileged=Z)
    assert given.threshold_ == plain.threshold_
    assert given.privileged_feature_names_in_.tolist() == ["lab"]
    assert not hasattr(given.fit(frame), "privileged_feature_names_in_")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda Z: Z.iloc[::-1], "X_privileged must be indexed like X"),
        (lambda Z: Z.shift(freq="1s"), "X_privileged must be indexed like X"),
        (lambda Z: Z.iloc[:-1], "X_privileged has 399 rows but X has 400"),
        (lambda Z: Z.to_numpy()[:-1], "X_privileged has 399 rows but X has 400"),
        (lambda Z: Z.assign(lab="high"), "X_privileged must be numbers"),
        (lambda Z: Z.replace(Z.iloc[7, 0], np.inf), "X_privileged must be finite or NaN, got infinity in row 7"),
    ],
)
def test_privileged_sensors_must_be_of_the_same_rows(simulate, framed, change, message):
    frame = framed(simulate(400))
    Z = pd.DataFrame({"lab": np.random.default_rng(0).normal(size=400)}, index=frame.index)
    with pytest.raises(ValueError, match=message):
        PrivilegedAnomalyDetector().fit(frame, X_privileged=change(Z))


def test_no_method_takes_privileged_sensors_after_fit(fitted, simulate, framed):
    for method in ("predict", "detect", "score_samples", "update"):
        with pytest.raises(TypeError, match="X_privileged"):
            getattr(fitted(), method)(framed(simulate(10)), X_privileged=np.zeros(10))


# --- a level that drifts


def test_with_drift_a_slow_change_of_the_score_is_followed(simulate):
    rows = simulate(4000, seed=7)
    louder = rows[1000:] * np.linspace(1.0, 3.0, 3000)[:, None]
    settings = {"n_lags": 1, "memory": None, "false_alarm_rate": 0.02}
    plain = PrivilegedAnomalyDetector(**settings).fit(rows[:1000])
    following = PrivilegedAnomalyDetector(**settings, drift=200).fit(rows[:1000])
    assert far(plain, louder) > 0.5
    assert far(following, louder) < 0.1


def test_a_sensor_that_moves_by_rounding_only_never_moved(simulate):
    rows = simulate(400)
    rows[:, 1] = 4.1 + np.spacing(4.1) * (np.arange(400) % 3)
    with pytest.warns(UserWarning, match="never move in the rows to learn from: x1"):
        detector = PrivilegedAnomalyDetector(n_lags=1).fit(rows)
    assert (detector.contributions(rows)[20:, 1] == 0.0).all()
