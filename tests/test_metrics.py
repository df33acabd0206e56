"""Laws of the volumes under range-based curves, of the scorers, and of event-wise scores."""

import subprocess
import sys
import time
from itertools import pairwise
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pitskd.metrics import (
    event_scores,
    events_of,
    false_alarm_rate,
    false_alarms_per_day,
    fault_detection_rate,
    vus_pr,
    vus_pr_scorer,
    vus_roc,
    vus_roc_scorer,
)
from pitskd.metrics.volumes import _default_buffer, _Surface

NAN = np.nan
VOLUMES = [vus_pr, vus_roc]


# ---------------------------------------------------------------- the definition, row by row


def runs(mask):
    """First and last row of each run, by walking."""
    found, start = [], None
    for i, inside in enumerate([*mask, False]):
        if inside and start is None:
            start = i
        if not inside and start is not None:
            found.append((start, i - 1))
            start = None
    return found


def buffered(y, length):
    labels = []
    for i in range(len(y)):
        label = 0.0
        for s, e in runs(y):
            if s <= i <= e:
                label += 1.0
            elif s - length / 2 <= i < s:
                label += sqrt(1 - (s - i) / length)
            elif e < i < e + length / 2:
                label += sqrt(1 - (i - e) / length)
        labels.append(min(label, 1.0))
    return labels


def brute_force(y, score):
    """Return the areas under the precision-recall and ROC curves for one buffer length after the other."""
    length = 0
    while True:
        c = buffered(y, length)
        positives = (sum(y) + sum(c)) / 2
        points = [(0.0, 1.0, 0.0)]
        for threshold in sorted(set(score), reverse=True):
            p = [s >= threshold for s in score]
            true = sum(label for label, predicted in zip(c, p, strict=True) if predicted)
            false = sum(1 - label for label, predicted in zip(c, p, strict=True) if predicted)
            ranges = runs([label > 0 for label in c])
            existence = sum(any(p[s : e + 1]) for s, e in ranges) / len(ranges)
            recall = min(true / positives, 1) * existence
            points.append((recall, true / (true + false), false / (len(y) - positives)))
        pr = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
        points.append((1.0, 0.0, 1.0))
        roc = sum((b[2] - a[2]) * (a[0] + b[0]) / 2 for a, b in pairwise(points))
        yield pr, roc
        length += 1


@st.composite
def labelled_scores(draw):
    n_rows = draw(st.integers(2, 24))
    y = draw(st.lists(st.integers(0, 1), min_size=n_rows, max_size=n_rows).filter(lambda y: 0 < sum(y) < len(y)))
    score = draw(st.lists(st.integers(0, draw(st.sampled_from([1, 4, 100]))), min_size=n_rows, max_size=n_rows))
    return y, score


@given(labelled_scores(), st.integers(0, 30))
@settings(max_examples=150, deadline=None)
def test_volumes_are_means_of_the_areas_of_the_definition(case, longest):
    y, score = case
    areas = [area for area, _ in zip(brute_force(y, score), range(longest + 1), strict=False)]
    expected_pr, expected_roc = np.mean(areas, axis=0)
    # two ways to sum up to 24 numbers differ by rounding only
    assert vus_pr(y, score, max_buffer=longest) == pytest.approx(expected_pr, abs=1e-12)
    assert vus_roc(y, score, max_buffer=longest) == pytest.approx(expected_roc, abs=1e-12)


@given(labelled_scores(), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_buffered_labels_are_those_of_the_definition(case, length):
    y, score = case
    surface = _Surface(np.array(y) == 1, np.array(score, dtype=float), 40)
    np.testing.assert_allclose(surface.labels(length), buffered(y, length), rtol=0, atol=1e-15)


def test_buffered_labels_worked_by_hand():
    y = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 0]) == 1
    surface = _Surface(y, np.zeros(10), 4)
    before, behind = [sqrt(1 / 2), sqrt(3 / 4)], [sqrt(3 / 4)]  # d = 2 and 1 before; d < 2 behind
    np.testing.assert_allclose(surface.labels(4), [0, 0, *before, 1, 1, *behind, 0, 0, 0], rtol=1e-15)
    np.testing.assert_array_equal(surface.labels(0), y)
    np.testing.assert_array_equal(surface.labels(1), y)


def test_curve_of_a_buffer_worked_by_hand():
    # Buffer 2 covers row 1 with sqrt(1 - 1 / 2) and nothing behind: P = (1 + 1 + r) / 2, N = 4 - P.
    r = sqrt(1 / 2)
    recall, precision, false = _Surface(np.array([False, False, True, False]), np.array([0, 3, 2, 1.0]), 2).curve(2)
    positives = (2 + r) / 2
    np.testing.assert_allclose(recall, [r / positives, 1, 1, 1], rtol=1e-15)
    np.testing.assert_allclose(precision, [r, (1 + r) / 2, (1 + r) / 3, (1 + r) / 4], rtol=1e-15)
    np.testing.assert_allclose(false, np.array([1 - r, 1 - r, 2 - r, 3 - r]) / (4 - positives), rtol=1e-15)


# ---------------------------------------------------------------- relation to scikit-learn, and laws


def noisy_event(n_rows=400, seed=0, events=((150, 210),)):
    rng = np.random.default_rng(seed)
    y = np.zeros(n_rows, dtype=int)
    for start, stop in events:
        y[start:stop] = 1
    return y, rng.normal(size=n_rows) + 1.5 * y


def test_without_buffer_a_single_event_gives_the_areas_of_scikit_learn():
    y, score = noisy_event()
    precision, recall, _ = precision_recall_curve(y, score)
    assert vus_roc(y, score, max_buffer=0) == pytest.approx(roc_auc_score(y, score), abs=1e-12)
    assert vus_pr(y, score, max_buffer=0) == pytest.approx(auc(recall, precision), abs=1e-12)
    assert vus_pr(y, score, max_buffer=0) != pytest.approx(average_precision_score(y, score), abs=1e-4)


def test_the_existence_reward_stays_without_buffer():
    # At .9 and .5 one event of two is found: recall is 1/2 * 1/2; at 0 it is 1. Precision is 1, 1/3, 1/2.
    y, score = [1, 0, 1, 0], [0.9, 0.5, 0.0, 0.5]
    assert vus_pr(y, score, max_buffer=0) == pytest.approx(1 / 4 + 3 / 4 * (1 / 3 + 1 / 2) / 2, abs=1e-15)
    assert vus_roc(y, score, max_buffer=0) == pytest.approx(1 / 4, abs=1e-15)
    assert roc_auc_score(y, score) == 1 / 2


@pytest.mark.parametrize("volume", VOLUMES)
def test_only_the_order_of_the_scores_counts(volume):
    y, score = noisy_event()
    assert volume(y, score) == volume(y, np.exp(3 * score) + 7)
    assert volume(y, score.astype(np.float32)) == pytest.approx(volume(y, score), abs=1e-12)
    capped = np.where(score > 2, np.inf, score)
    assert volume(y, capped) == volume(y, np.where(score > 2, 1e9, score))


@pytest.mark.parametrize("volume", VOLUMES)
def test_a_score_that_is_early_is_forgiven_by_buffers(volume):
    y = np.repeat([0, 1, 0], [60, 40, 100])
    early, random = np.roll(y, -8).astype(float), np.random.default_rng(0).permutation(y).astype(float)
    assert volume(y, early, max_buffer=40) > volume(y, early, max_buffer=0)
    assert volume(y, early, max_buffer=40) > volume(y, random, max_buffer=40) + 0.2


@pytest.mark.parametrize("volume", VOLUMES)
def test_frames_series_lists_and_booleans_are_read_alike(volume):
    y, score = noisy_event()
    expected = volume(y, score, max_buffer=5)
    assert volume(y == 1, pd.Series(score), max_buffer=5) == expected
    assert volume(pd.Series(y == 1), pd.DataFrame({"score": score}), max_buffer=5) == expected
    assert volume(y.tolist(), score.tolist(), max_buffer=5) == expected


@pytest.mark.parametrize(
    ("lengths", "buffer"),
    [
        ([200, 30, 200], 30),  # the median event
        ([160, 800], 80),  # half the normal rows: a buffer of 80 covers 40 of 160
        ([100, 10, 100, 20, 100, 60, 100], 20),
        ([3, 1, 3], 1),
    ],
)
def test_the_default_buffer_is_an_event_but_leaves_normal_rows(lengths, buffer):
    y = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    assert _default_buffer(y) == buffer
    score = np.random.default_rng(0).normal(size=len(y))
    assert vus_pr(y, score) == vus_pr(y, score, max_buffer=buffer)


def test_ten_thousand_rows_and_a_hundred_buffers_take_less_than_a_second():
    y, score = noisy_event(10_000, events=tuple((s, s + 100) for s in range(500, 10_000, 1000)))
    start = time.perf_counter()
    assert 0 < vus_pr(y, score, max_buffer=100) < 1
    assert time.perf_counter() - start < 1.0  # 0.05 s measured


@pytest.mark.parametrize("volume", VOLUMES)
@pytest.mark.parametrize(
    ("y", "score", "match"),
    [
        ([0, 1, 0], [0.1, NAN, 0.2], "score must be without NaN, got NaN in row 1"),
        ([0, NAN, 1], [0.1, 0.3, 0.2], "y_true must be without NaN, got NaN in row 1"),
        ([0, -1, 1], [0.1, 0.3, 0.2], "y_true must be 0 or 1 in every row, got -1 in row 1"),
        ([0, 0, 0], [0.1, 0.3, 0.2], "y_true must be 0 in some rows and 1 in others, got only 0"),
        ([1, 1, 1], [0.1, 0.3, 0.2], "y_true must be 0 in some rows and 1 in others, got only 1"),
        ([], [], "y_true must be 0 in some rows and 1 in others, got no rows"),
        ([0, 1], [0.1, 0.3, 0.2], "score has 3 rows but y_true has 2"),
        ([0, 1], [[0.1, 0.3], [0.2, 0.1]], r"score must be of shape \(n_rows,\), got shape \(2, 2\)"),
        ([0, 1], ["a", "b"], "score must be numbers, got"),
    ],
)
def test_bad_labels_and_scores_are_named(volume, y, score, match):
    with pytest.raises(ValueError, match=match):
        volume(y, score)


@pytest.mark.parametrize("volume", VOLUMES)
def test_the_buffer_is_checked(volume):
    with pytest.raises(ValueError, match="max_buffer must be an integer of at least 0, got -1"):
        volume([0, 1], [0, 1], max_buffer=-1)
    with pytest.raises(TypeError, match=r"max_buffer must be an integer of at least 0, got 2\.5"):
        volume([0, 1], [0, 1], max_buffer=2.5)


# ---------------------------------------------------------------- scorers


@pytest.fixture
def log():
    """Three runs of 60 rows, each with an event far away from the normal rows."""
    rng = np.random.default_rng(0)
    y = np.tile(np.repeat([0, 1, 0], [30, 10, 20]), 3)
    return rng.normal(size=(180, 2)) + 6 * y[:, None], y


@pytest.mark.parametrize(
    "detector",
    [
        IsolationForest(n_estimators=20, random_state=0),
        LocalOutlierFactor(novelty=True),
        EllipticEnvelope(random_state=0),
        make_pipeline(StandardScaler(), LocalOutlierFactor(novelty=True)),
    ],
    ids=lambda detector: type(detector).__name__,
)
@pytest.mark.parametrize(("scorer", "volume"), [(vus_pr_scorer, vus_pr), (vus_roc_scorer, vus_roc)])
def test_scorers_work_in_cross_validation_and_turn_the_sign(detector, scorer, volume, log):
    X, y = log
    folds = [(np.flatnonzero(y[: 60 * k] == 0), np.arange(60 * k, 60 * k + 60)) for k in (1, 2)]
    scores = cross_val_score(detector, X, y, cv=folds, scoring=scorer)
    expected = [
        volume(y[test], -detector.fit(X[train]).decision_function(X[test])) for train, test in folds
    ]  # by its own sign: larger is more normal
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    assert (scores > 0.85).all()


def test_score_samples_alone_is_enough_and_neither_is_refused(log):
    X, y = log

    class Density:
        def score_samples(self, X):
            return -np.abs(X).sum(axis=1)

    assert vus_pr_scorer(Density(), X, y) > 0.85
    with pytest.raises(TypeError, match=r"estimator must be a detector with score_samples or .* got a StandardScaler"):
        vus_pr_scorer(StandardScaler().fit(X), X, y)
    with pytest.raises(TypeError, match="got the classifier LogisticRegression"):
        vus_roc_scorer(LogisticRegression().fit(X, y), X, y)


def test_importing_the_metrics_loads_nothing_heavy():
    code = "import sys, pitskd.metrics; print(*{'sklearn', 'scipy', 'pandas', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


# ---------------------------------------------------------------- events


@pytest.mark.parametrize(
    ("mask", "events"),
    [
        ([], []),
        ([0, 0], []),
        ([1, 1], [[0, 2]]),
        ([1, 0, 1, 1, 0, 1], [[0, 1], [2, 4], [5, 6]]),
        ([False, True, False], [[1, 2]]),
    ],
)
def test_events_are_first_and_one_past_last_rows(mask, events):
    found = events_of(mask)
    assert found.shape == (len(events), 2)
    assert found.tolist() == events


@given(st.lists(st.booleans(), max_size=40))
def test_events_give_the_mask_back(mask):
    again = np.zeros(len(mask), dtype=bool)
    for start, stop in events_of(mask):
        assert start < stop
        again[start:stop] = True
    assert again.tolist() == mask


Y = [0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1]


def test_event_scores_worked_by_hand():
    #      0  1  2  3  4  5  6  7  8  9 10 11
    # y    .  .  #  #  #  .  .  .  #  #  .  #
    alarms = [1, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0]
    scores = event_scores(Y, alarms)
    assert (scores.n_events, scores.n_detected) == (3, 2)
    assert (scores.n_alarms, scores.n_false_alarms) == (4, 2)  # rows 0 and 5 touch no event
    assert (scores.recall, scores.precision) == (2 / 3, 1 / 2)
    assert scores.f1 == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2), abs=1e-15)
    assert scores.delays.tolist() == [1, 0]  # the second alarm began a row before its event
    assert scores.mean_delay == 0.5
    assert scores.missed.tolist() == [[11, 12]]


def test_tolerance_widens_events_on_both_sides():
    alarms = [1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]
    strict, wide = event_scores(Y, alarms), event_scores(Y, alarms, tolerance=1)
    assert (strict.n_detected, strict.n_false_alarms, strict.precision) == (0, 3, 0.0)
    assert (wide.n_detected, wide.n_false_alarms) == (2, 1)
    assert wide.delays.tolist() == [3, 0]  # a row behind the first event, a row before the second
    assert event_scores(Y, alarms, tolerance=100).n_detected == 3


def test_an_alarm_over_everything_detects_all_and_is_one_true_alarm():
    scores = event_scores(Y, np.ones(12, dtype=bool))
    assert (scores.recall, scores.precision, scores.n_alarms, scores.mean_delay) == (1.0, 1.0, 1, 0.0)


def test_without_alarms_or_events_the_shares_are_nan():
    silent = event_scores(Y, np.zeros(12))
    assert (silent.recall, silent.f1, silent.n_alarms) == (0.0, 0.0, 0)
    assert np.isnan(silent.precision)
    assert np.isnan(silent.mean_delay)
    normal = event_scores(np.zeros(3), [0, 1, 0])
    assert (normal.precision, normal.n_false_alarms) == (0.0, 1)
    assert np.isnan(normal.recall)
    assert np.isnan(normal.f1)


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        (10.0 * np.arange(12), 10.0),
        (pd.date_range("2024-01-01", periods=12, freq="3min"), 180.0),
        (pd.date_range("2024-01-01", periods=12, freq="3min", tz="Europe/Berlin"), 180.0),
        (pd.timedelta_range(0, periods=12, freq="500ms"), 0.5),
        (np.datetime64("2024-01-01T00:00:00") + np.arange(12), 1.0),
    ],
    ids=["numbers", "dates", "zone", "deltas", "numpy"],
)
def test_delays_follow_the_clock(times, unit):
    assert event_scores(Y, [0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0], time=times).delays.tolist() == [2 * unit, unit]


def test_a_hole_in_the_clock_counts():
    assert event_scores([0, 1, 1], [0, 0, 1], time=[0, 1, 70]).delays.tolist() == [69]


def test_arguments_of_event_scores_are_checked():
    with pytest.raises(ValueError, match="alarms has 2 rows but y_true has 12"):
        event_scores(Y, [0, 1])
    with pytest.raises(ValueError, match="alarms must be without NaN, got NaN in row 0"):
        event_scores([0, 1], [NAN, 1])
    with pytest.raises(ValueError, match="alarms must be 0 or 1 in every row, got 2 in row 1"):
        event_scores([0, 1], [0, 2])
    with pytest.raises(ValueError, match="tolerance must be an integer of at least 0, got -1"):
        event_scores(Y, Y, tolerance=-1)
    with pytest.raises(ValueError, match="time has 3 rows but y_true has 12"):
        event_scores(Y, Y, time=[1, 2, 3])
    with pytest.raises(ValueError, match="time must be ascending, got an earlier time in row 2"):
        event_scores([0, 1, 1], [0, 0, 1], time=[0, 5, 4])
    with pytest.raises(ValueError, match="time must be without NaN, got NaN in row 1"):
        event_scores([0, 1, 1], [0, 0, 1], time=pd.to_datetime(["2024-01-01", None, "2024-01-02"]))


# ---------------------------------------------------------------- rates


def test_false_alarms_per_day_counts_runs_in_normal_time():
    y = np.zeros(2000)
    y[1440:] = 1  # 1440 normal rows of one minute are a day
    alarms = np.zeros(2000)
    alarms[[10, 11, 12, 500, 1439, 1440, 1700]] = 1  # the third run lasts into the event
    assert false_alarms_per_day(y, alarms, period=60) == 2.0
    assert false_alarms_per_day(y, alarms, period="1min") == 2.0
    assert false_alarms_per_day(y, alarms, period=pd.Timedelta("30s")) == 4.0
    assert false_alarms_per_day(y, alarms, period=np.timedelta64(2, "m")) == 1.0
    assert false_alarms_per_day(y, 0 * alarms, period=60) == 0.0


@pytest.mark.parametrize("period", [0, -1, NAN, "soon", "-3min", None, True])
def test_a_period_is_a_time_above_zero(period):
    with pytest.raises(ValueError, match=r"period must be a .* above 0, got"):
        false_alarms_per_day([0, 0], [0, 1], period=period)


def test_rates_of_rows_are_shares_of_their_class():
    alarms = [1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert false_alarm_rate(Y, alarms) == 2 / 6
    assert fault_detection_rate(Y, alarms) == 3 / 6


def test_rates_need_rows_of_their_class():
    with pytest.raises(ValueError, match="y_true must be normal in some row, got none"):
        false_alarm_rate([1, 1], [0, 1])
    with pytest.raises(ValueError, match="y_true must be normal in some row, got none"):
        false_alarms_per_day([1, 1], [0, 1], period=1)
    with pytest.raises(ValueError, match="y_true must be anomalous in some row, got none"):
        fault_detection_rate([0, 0], [0, 1])
