"""Laws of curation: which rows of a log with faults in it are taken for normal, and by whom."""

import numpy as np
import pytest

from pitskd.anomaly import PrivilegedAnomalyDetector
from pitskd.anomaly.curation import normal_rows


def log_with_a_fault(n=600, fault=(200, 320), shift=4.0, n_channels=4, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, n_channels)) @ (np.eye(n_channels) + 0.3)
    rows[slice(*fault)] += shift
    faulty = np.zeros(n, dtype=bool)
    faulty[slice(*fault)] = True
    return rows, faulty


ONE_RUN = np.zeros(600, dtype=int)


@pytest.mark.parametrize("contamination", [None, 0.2])
def test_a_fault_that_shows_is_left_out_with_its_edges_and_little_else(contamination):
    rows, faulty = log_with_a_fault()
    kept = normal_rows(rows, ONE_RUN, contamination)
    assert not kept[199:321].any()
    assert kept[~faulty].mean() > 0.9


def test_a_clean_log_is_kept():
    rows, _ = log_with_a_fault(shift=0.0)
    assert normal_rows(rows, ONE_RUN, None).mean() > 0.95


@pytest.mark.parametrize("contamination", [None, 0.2])
def test_units_and_order_of_sensors_do_not_matter(contamination):
    rows, _ = log_with_a_fault(shift=2.0)
    kept = normal_rows(rows, ONE_RUN, contamination)
    other = (rows * [1e-3, 1.0, 40.0, 1e4] + [5.0, -1.0, 0.0, 1e5])[:, [2, 0, 3, 1]]
    np.testing.assert_array_equal(normal_rows(other, ONE_RUN, contamination), kept)


def test_rows_of_other_runs_are_no_neighbours():
    rows, faulty = log_with_a_fault()
    run = np.where(np.arange(600) < 200, 0, np.where(np.arange(600) < 320, 1, 2))
    kept = normal_rows(rows, run, None)
    assert not kept[faulty].any()
    assert kept[[198, 199, 320, 321]].all()  # the edges are of other runs


def test_missing_values_and_sensors_that_stand_still_do_not_judge():
    rows, faulty = log_with_a_fault()
    kept = normal_rows(rows, ONE_RUN, None)
    beside = np.hstack([rows, np.full((600, 1), 7.0)])
    np.testing.assert_array_equal(normal_rows(beside, ONE_RUN, None), kept)
    rows[::7, 1] = np.nan
    holes = normal_rows(rows, ONE_RUN, None)
    assert not holes[faulty].any()
    assert holes[~faulty].mean() > 0.9
    assert normal_rows(np.ones((20, 2)), np.zeros(20, dtype=int), None).all()


def test_sensors_that_will_not_be_there_choose_rows_that_those_that_stay_cannot():
    rng = np.random.default_rng(3)
    rows, faulty = log_with_a_fault(shift=1.0, seed=3)
    flow = rng.normal(size=600) - 8.0 * faulty
    taught = PrivilegedAnomalyDetector(curate="privileged").fit(rows, X_privileged=flow)
    alone = PrivilegedAnomalyDetector(curate="self").fit(rows)
    assert not taught.normal_rows_[faulty].any()
    assert alone.normal_rows_[faulty].mean() > 0.5
    assert taught.contamination_ == pytest.approx(1 - taught.normal_rows_.mean())
    assert taught.threshold_ < alone.threshold_


def test_rows_known_not_to_be_normal_are_not_learnt_from():
    rows, faulty = log_with_a_fault(shift=30.0)
    detector = PrivilegedAnomalyDetector(n_lags=1).fit(rows, normal=~faulty)
    np.testing.assert_array_equal(detector.normal_rows_, ~faulty)
    changed = np.where(faulty[:, None], -rows, rows)
    other = PrivilegedAnomalyDetector(n_lags=1).fit(changed, normal=~faulty)
    assert other.threshold_ == detector.threshold_
    np.testing.assert_array_equal(other.score_samples(rows), detector.score_samples(rows))


@pytest.mark.parametrize(
    ("settings", "fit", "message"),
    [
        ({"curate": "teacher"}, {}, "curate must be None or 'privileged' or 'self', got teacher"),
        ({"curate": "privileged"}, {}, 'X_privileged must be given with curate="privileged", got None'),
        ({"contamination": 0.1}, {}, "contamination must be None without curate, got 0.1"),
        ({"curate": "self", "contamination": 0.7}, {}, "contamination must be above 0 and at most 0.5, got 0.7"),
        ({}, {"normal": np.full(5, 2.0)}, "normal must be one boolean per row of X"),
        ({}, {"normal": np.ones(5, dtype=bool)}, "normal has 5 rows but X has 600"),
        ({}, {"normal": np.zeros(600, dtype=bool)}, "normal must be True in some rows, got none"),
    ],
)
def test_a_wrong_choice_is_refused_before_any_work(settings, fit, message):
    rows, _ = log_with_a_fault()
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        PrivilegedAnomalyDetector(**settings).fit(rows, **fit)
