"""Laws of a target: the score of a soft sensor that says when a privileged quantity would be off-spec."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pitskd.anomaly import PrivilegedAnomalyDetector
from pitskd.anomaly.target import TargetScorer, _apart, _blocks, within


def plant(n=900, seed=0):
    """Return two sensors that stay, and a purity that follows the mean of one of them over the last 20 rows."""
    rng = np.random.default_rng(seed)
    load = np.convolve(rng.normal(size=n + 80), np.ones(30) / np.sqrt(30), "same")[80:]
    rows = np.column_stack([load, rng.normal(size=n)]) + 0.2 * rng.normal(size=(n, 2))
    slow = pd.Series(load).rolling(20, min_periods=1).mean().to_numpy()
    return rows, (slow + 0.1 * rng.normal(size=n))[:, None]


LIMITS = np.array([-np.inf]), np.array([1.0])


def scorer_of(rows, Z, low=LIMITS[0], high=LIMITS[1]):
    return TargetScorer(rows, np.zeros(len(rows), dtype=int), Z, within(Z, low, high), low, high, 0)


@pytest.fixture(scope="module")
def scorer():
    return scorer_of(*plant())


def test_rows_whose_quantity_is_off_spec_score_higher(scorer):
    rows, Z = plant(seed=1)
    assert roc_auc_score(Z[:, 0] > 1.0, scorer.raw_scores(rows)) > 0.95


def test_held_out_rows_inside_the_limits_score_one_on_average(scorer):
    _, Z = plant()
    # Half of minus the log of two uniform p-values has mean 1; the tails are fitted, so a tenth is allowed.
    assert scorer.held_out_scores[Z[:, 0] <= 1.0].mean() == pytest.approx(1.0, abs=0.1)


def test_the_probability_is_that_of_a_gaussian_outside_its_limits(scorer):
    forecasts = np.array([[-3.0], [0.0], [0.5]])
    outside = norm.sf((scorer.high - forecasts) / scorer.residual_scale)[:, 0]
    np.testing.assert_allclose(np.exp(scorer._log_probability(forecasts)), outside, rtol=1e-3, atol=1e-12)


def test_two_columns_are_outside_as_often_as_one_of_two_that_do_not_depend_on_each_other():
    rows, Z = plant()
    both = np.hstack([Z, -Z])
    scorer = scorer_of(rows, both, np.array([-1.5, -1.0]), np.array([1.0, 1.5]))
    forecasts = np.array([[0.2, -0.2], [1.0, 0.3]])
    above = norm.sf((scorer.high - forecasts) / scorer.residual_scale)
    below = norm.cdf((scorer.low - forecasts) / scorer.residual_scale)
    either = 1.0 - np.prod(1.0 - above - below, axis=1)
    np.testing.assert_allclose(np.exp(scorer._log_probability(forecasts)), either, rtol=1e-2, atol=1e-15)


def test_units_of_the_quantity_and_of_the_sensors_do_not_matter(scorer):
    rows, Z = plant()
    other = scorer_of(rows * [10.0, 1e-3] + [3.0, 0.0], 100.0 * Z - 5.0, LIMITS[0], 100.0 * LIMITS[1] - 5.0)
    fresh = plant(seed=2)[0][:200]
    np.testing.assert_allclose(other.raw_scores(fresh * [10.0, 1e-3] + [3.0, 0.0]), scorer.raw_scores(fresh), rtol=1e-6)


def test_contributions_are_not_negative_sum_to_the_score_and_name_the_sensor_that_tells(scorer):
    rows, Z = plant(seed=1)
    parts = scorer.contributions(rows)
    assert (parts >= 0).all()
    np.testing.assert_allclose(parts.sum(axis=1), scorer.raw_scores(rows), rtol=1e-12)
    assert (parts[Z[:, 0] > 1.2].argmax(axis=1) == 0).mean() > 0.9


@pytest.mark.parametrize(
    "settings", [{}, {"smoothing": 1, "drift": 40}, {"missing": "flag", "alarm_after": 2}], ids=str
)
def test_a_stream_says_what_the_array_says_also_across_gaps_holes_and_a_restart(settings, tmp_path):
    rows, Z = plant(400)
    log = pd.DataFrame(rows, columns=["load", "noise"], index=pd.date_range("2024", periods=400, freq="1s"))
    detector = PrivilegedAnomalyDetector(target={"purity": (None, 1.0)}, **settings)
    detector.fit(log, X_privileged=pd.DataFrame(Z, columns=["purity"], index=log.index))
    live = pd.DataFrame(plant(160, seed=4)[0], columns=log.columns, index=log.index[:160].to_numpy().copy())
    live.index = live.index.where(np.arange(160) < 90, live.index + pd.Timedelta("1h"))
    live.iloc[[0, 30, 31, 90, 120], [0, 0, 1, 1, 0]] = np.nan
    said, parts = detector.detect(live), detector.contributions(live)
    alarms = []
    for number, (time, row) in enumerate(live.iterrows()):
        alarms.append(detector.update(row.to_numpy(), time))
        if number == 70:
            detector.save_state(tmp_path / "state.npz")
            detector.reset()
            detector.load_state(tmp_path / "state.npz")
    np.testing.assert_allclose([alarm.score for alarm in alarms], said["score"], rtol=1e-10)
    np.testing.assert_allclose([alarm.contributions for alarm in alarms], parts, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal([alarm.is_anomaly for alarm in alarms], said["is_anomaly"])


def test_rows_that_nobody_measured_do_not_lower_the_threshold():
    rows, Z = plant(4000)
    every = PrivilegedAnomalyDetector(target={0: (None, 1.0)}).fit(rows, X_privileged=Z)
    seldom = np.where(np.arange(4000)[:, None] % 10 == 0, Z, np.nan)
    some = PrivilegedAnomalyDetector(target={0: (None, 1.0)}).fit(rows, X_privileged=seldom)
    assert some.normal_rows_.sum() < 400
    fresh, Z_fresh = plant(6000, seed=9)
    inside = Z_fresh[:, 0] <= 1.0
    rates = [(detector.predict(fresh)[inside] < 0).mean() for detector in (every, some)]
    assert max(rates) < 0.03  # calibrated on measured rows side by side it would be a tenth


def test_normal_rows_are_those_inside_the_limits():
    rows, Z = plant()
    detector = PrivilegedAnomalyDetector(target={0: (None, 1.0)}).fit(rows, X_privileged=Z)
    np.testing.assert_array_equal(detector.normal_rows_, Z[:, 0] <= 1.0)
    assert detector.student_ is None
    known = np.arange(900) < 700
    some = PrivilegedAnomalyDetector(target={0: (None, 1.0)}).fit(rows, X_privileged=Z, normal=known)
    np.testing.assert_array_equal(some.normal_rows_, known & (Z[:, 0] <= 1.0))


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ({"purity": (None, None)}, {}, r"target\['purity'\] must be a lower limit below an upper one"),
        ({"purity": (2.0, 1.0)}, {}, r"target\['purity'\] must be a lower limit below an upper one"),
        ({"purity": 3.0}, {}, r"target\['purity'\] must be a pair of limits, got 3.0"),
        ({"purity": (np.nan, 1.0)}, {}, r"target\['purity'\] must be a pair of limits"),
        ({"colour": (0, 1)}, {}, "target must be columns of X_privileged, got 'colour'. It has: 'purity'"),
        ({"purity": (50.0, None)}, {}, "target must be limits that some rows keep, got 0 normal rows inside"),
        ({"purity": (None, 1.0)}, {"curate": "self"}, "curate must be None with a target, got self"),
        ({"purity": (None, 1.0)}, {"calibration_size": 0.3}, "calibration_size must be None with a target, got 0.3"),
    ],
)
def test_a_wrong_target_is_refused_before_any_work(target, settings, message):
    rows, Z = plant(100)
    with pytest.raises(ValueError, match=message):
        PrivilegedAnomalyDetector(target=target, **settings).fit(rows, X_privileged=pd.DataFrame(Z, columns=["purity"]))


def test_a_target_is_a_mapping_and_needs_the_columns_it_limits():
    rows, Z = plant(100)
    with pytest.raises(TypeError, match="target must be a mapping of privileged columns to limits, got 3"):
        PrivilegedAnomalyDetector(target=3).fit(rows, X_privileged=Z)
    with pytest.raises(ValueError, match="X_privileged must be given with a target, got None"):
        PrivilegedAnomalyDetector(target={0: (None, 1.0)}).fit(rows)


def test_whole_runs_are_held_out_and_rows_near_a_block_are_in_no_training_part():
    run = np.repeat([0, 1, 2], [800, 200, 200])
    block = _blocks(run)
    assert [len(np.unique(block[run == number])) for number in (0, 1, 2)] == [3, 1, 1]
    assert np.bincount(_blocks(np.zeros(100, dtype=int))).tolist() == [20] * 5
    apart = _apart(block, block[0], run)
    last = np.flatnonzero(block == block[0])[-1]
    assert not apart[: last + 80].any()
    assert apart[last + 80 :].all()
