"""Laws of the raw score: what it is made of, what it is blind to, and what a missing sensor adds."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from pitskd.anomaly import PrivilegedAnomalyDetector
from pitskd.anomaly.head import Head, runs_of
from pitskd.anomaly.students import LinearStudent

HORIZONS = [(1,), (3,), (1, 5), (2, 7)]


def head_of(student, innovations):
    """Return a head whose sensors all move, with zeros as their means."""
    n_channels = innovations.shape[2]
    return Head(student, innovations, np.zeros(n_channels), np.zeros(n_channels, dtype=bool))


def linear_head(horizons=(1,), n_lags=2, n_channels=3, seed=0, n_innovations=400):
    """Return a head around random coefficients, and the covariance that it whitens by.

    That is the shrunk one, scaled so that the innovations it comes from score 1 on average.
    """
    rng = np.random.default_rng(seed)
    coef = [0.3 * rng.normal(size=(n_channels, n_lags * n_channels)) for _ in horizons]
    intercept = [rng.normal(size=n_channels) for _ in horizons]
    innovations = rng.normal(size=(n_innovations, len(horizons), n_channels)) @ rng.normal(size=(n_channels,) * 2)
    flat = innovations.reshape(n_innovations, -1)
    scale = np.sqrt((flat**2).mean(axis=0))
    covariance = ledoit_wolf(flat / scale, assume_centered=True)[0] * np.outer(scale, scale)
    covariance *= np.einsum("ij,ij->i", flat, np.linalg.solve(covariance, flat.T).T).mean() / flat.shape[1]
    return head_of(LinearStudent(coef, intercept, horizons), innovations), covariance


def innovations_by_hand(head, rows, age):
    """Return the innovations of one row, (n_horizons, c)."""
    student = head.student
    return np.array(
        [
            rows[age] - student.forecast(rows[None, age - horizon - student.n_lags + 1 : age - horizon + 1])[0, number]
            for number, horizon in enumerate(student.horizons)
        ]
    )


@pytest.mark.parametrize("horizons", HORIZONS)
def test_the_score_is_the_mahalanobis_square_of_all_innovations_over_their_number(horizons):
    head, covariance = linear_head(horizons)
    rows = np.random.default_rng(1).normal(size=(30, 3))
    scores = head.raw_scores(rows)
    for age in range(head.n_history, 30):
        e = innovations_by_hand(head, rows, age).ravel()
        assert scores[age] == pytest.approx(e @ np.linalg.solve(covariance, e) / len(e), rel=1e-10)


def test_the_root_whitens():
    head, covariance = linear_head((1, 5))
    root = head.roots[-1] * np.sqrt(head.n_innovations)
    np.testing.assert_allclose(root @ root.T, np.linalg.inv(covariance), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(root.T @ covariance @ root, np.eye(6), atol=1e-10)


def test_the_root_is_symmetric_in_units_of_root_mean_squares():
    rng = np.random.default_rng(2)
    innovations = rng.normal(size=(500, 1, 3)) @ (np.eye(3) + 0.4) * [1.0, 100.0, 0.01]
    head = head_of(linear_head()[0].student, innovations)
    in_units = head.roots[0] * np.sqrt((innovations**2).mean(axis=0)).T
    np.testing.assert_allclose(in_units, in_units.T, atol=1e-12)


@pytest.mark.parametrize("horizons", HORIZONS)
def test_contributions_are_not_negative_and_sum_to_the_score(horizons):
    head, _ = linear_head(horizons)
    rows = np.random.default_rng(3).normal(size=(60, 3)) * 3
    rows[[4, 20, 21, 40], [0, 1, 2, 1]] = np.nan
    rows[30] = np.nan
    parts = head.contributions(rows)
    assert (parts >= 0).all()
    np.testing.assert_allclose(parts.sum(axis=1), head.raw_scores(rows), rtol=1e-12)


def test_a_sensor_that_jumps_alone_speaks_loudest():
    head, _ = linear_head(seed=5)
    rows = np.random.default_rng(3).normal(size=(60, 3))
    for sensor in range(3):
        jumped = rows.copy()
        jumped[50, sensor] += 200.0
        assert head.contributions(jumped)[50].argmax() == sensor


@pytest.mark.parametrize("horizons", HORIZONS)
def test_rows_without_a_forecast_score_exactly_one(horizons):
    head, _ = linear_head(horizons, n_lags=3)
    rows = 1e3 * np.random.default_rng(4).normal(size=(20, 3))
    first = 2 + min(horizons)
    assert (head.raw_scores(rows)[:first] == 1.0).all()
    np.testing.assert_allclose(head.contributions(rows)[:first], 1 / 3, rtol=1e-15)
    assert head.n_history == 2 + max(horizons)


def test_before_the_long_horizon_the_short_one_is_whitened_alone_and_the_rest_counts_one():
    head, covariance = linear_head((1, 4))
    rows = np.random.default_rng(5).normal(size=(10, 3))
    for age in (2, 3, 4):
        e = rows[age] - head.student.forecast(rows[None, age - 2 : age])[0, 0]
        # The shrinkage of three innovations differs from that of six: compare through the root itself.
        z = e @ head.roots[0]
        assert head.raw_scores(rows)[age] == pytest.approx(z @ z + 0.5, rel=1e-12)
    inverse = head.n_innovations * head.roots[0] @ head.roots[0].T
    np.testing.assert_allclose(np.linalg.inv(inverse), covariance[:3, :3], rtol=0.1, atol=0.05)


@pytest.mark.parametrize("missing", [[0], [2], [0, 1], [1, 2]])
def test_missing_sensors_leave_the_gaussian_marginal_and_one_square_each(missing):
    head, covariance = linear_head()
    rows = np.random.default_rng(6).normal(size=(12, 3))
    e = innovations_by_hand(head, rows, 11).ravel()
    rows[11, missing] = np.nan
    seen = [c for c in range(3) if c not in missing]
    marginal = e[seen] @ np.linalg.solve(covariance[np.ix_(seen, seen)], e[seen])
    assert head.raw_scores(rows)[11] == pytest.approx((marginal + len(missing)) / 3, rel=1e-9)


def test_a_sensor_that_never_moved_adds_nothing_when_it_is_missing():
    innovations = np.random.default_rng(11).normal(size=(400, 1, 3))
    constant = np.array([False, True, False])
    head = Head(linear_head()[0].student, innovations, np.zeros(3), constant)
    rows = np.where(constant, 0.0, np.random.default_rng(6).normal(size=(12, 3)))
    without = rows.copy()
    without[11, 1] = np.nan
    assert head.raw_scores(without)[11] == pytest.approx(head.raw_scores(rows)[11], rel=1e-12)
    assert head.contributions(without)[11, 1] == 0.0


def test_a_row_without_any_sensor_scores_one_and_its_forecast_stands_for_it():
    head, _ = linear_head()
    rows = np.random.default_rng(7).normal(size=(12, 3))
    rows[8] = np.nan
    assert head.raw_scores(rows)[8] == pytest.approx(1.0, abs=1e-12)
    filled, absent = head.fill(rows)
    np.testing.assert_allclose(filled[8], head.student.forecast(rows[None, 6:8])[0, 0], rtol=1e-9, atol=1e-12)
    assert absent is not None
    assert absent.sum() == 3


@pytest.mark.parametrize("horizons", HORIZONS)
def test_what_fills_a_hole_scores_least(horizons):
    head, _ = linear_head(horizons)
    rows = np.random.default_rng(8).normal(size=(30, 3))
    rows[25, 1] = np.nan
    filled, _ = head.fill(rows)
    least = head.raw_scores(filled)[25]
    assert head.raw_scores(rows)[25] == pytest.approx(least + 1 / head.n_innovations, rel=1e-9)
    for step in (-0.01, 0.01):
        other = filled.copy()
        other[25, 1] += step
        assert head.raw_scores(other)[25] > least


@pytest.mark.parametrize("horizons", HORIZONS)
def test_long_logs_are_scored_as_their_rows_are(horizons):
    head, _ = linear_head(horizons)
    rows = np.random.default_rng(9).normal(size=(5000, 3))
    whole = head.raw_scores(rows)
    for first in (0, 2040, 4990):
        part = head.raw_scores(rows[first : first + 30])
        behind = head.n_history
        np.testing.assert_allclose(part[behind:], whole[first : first + 30][behind:], rtol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"horizons": (1, 5)}, {"n_lags": 2, "smoothing": 4}], ids=str)
def test_units_do_not_matter(simulate, settings):
    log, rows = simulate(700), simulate(120, seed=1)
    rows[[30, 31, 90], [0, 0, 2]] = np.nan
    units, zeros = np.array([1e3, 1e-4, 5.0]), np.array([-40.0, 0.2, 1e3])
    plain = PrivilegedAnomalyDetector(**settings).fit(log)
    other = PrivilegedAnomalyDetector(**settings).fit(log * units + zeros)
    # The penalty acts on units of standard deviations or on a grid: the law holds to its rounding, or not at all.
    np.testing.assert_allclose(other.score_samples(rows * units + zeros), plain.score_samples(rows), rtol=1e-6)
    assert other.threshold_ == pytest.approx(plain.threshold_, rel=1e-6)


@pytest.mark.parametrize("settings", [{}, {"horizons": (1, 5)}], ids=str)
def test_the_order_of_the_sensors_does_not_matter(simulate, settings):
    log, rows, order = simulate(700), simulate(120, seed=1), [2, 0, 1]
    rows[[30, 31, 90], [0, 0, 2]] = np.nan
    plain = PrivilegedAnomalyDetector(**settings).fit(log)
    other = PrivilegedAnomalyDetector(**settings).fit(log[:, order])
    np.testing.assert_allclose(other.score_samples(rows[:, order]), plain.score_samples(rows), rtol=1e-8)
    np.testing.assert_allclose(other.contributions(rows[:, order]), plain.contributions(rows)[:, order], rtol=1e-6)


@pytest.mark.parametrize("horizons", HORIZONS)
@pytest.mark.parametrize("memory", [None, 0.1, 0.5])
def test_the_innovations_that_a_head_is_made_of_score_one_on_average(horizons, memory):
    rng = np.random.default_rng(10)
    steps = rng.normal(size=(600, len(horizons), 3))
    innovations = steps[1:] + steps[:-1]  # as of overlapping forecasts: an average of them varies more
    zeros = np.zeros(3)
    head = Head(linear_head(horizons)[0].student, innovations, zeros, zeros.astype(bool), memory)
    one_block = np.zeros(len(innovations), dtype=int)
    assert head.held_out_scores(innovations, one_block).mean() == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(
    "settings", [{}, {"memory": None}, {"memory": None, "horizons": (1, 5)}, {"horizons": (1, 5, 20)}], ids=str
)
def test_normal_rows_score_one_on_average(simulate, settings):
    rows = simulate(6000, seed=2)
    detector = PrivilegedAnomalyDetector(smoothing=1, **settings).fit(rows[:3000])
    # The mean of 3,000 rows of chi-square / k has a standard deviation of about .02.
    assert -detector.score_samples(rows[3000:]).mean() == pytest.approx(1.0, abs=0.08)


def test_runs_are_their_rows():
    assert runs_of(np.array([0, 0, 1, 3, 3, 3])) == [slice(0, 2), slice(2, 3), slice(3, 6)]
    assert runs_of(np.zeros(0, dtype=int)) == []
