"""Laws of the students: what they forecast, and that held-out innovations are held out."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pitskd.anomaly.students import (
    PENALTIES,
    EstimatorStudent,
    LinearStudent,
    Log,
    lag_windows,
    learn_estimator,
    learn_ridge,
)


def log_of(rows, run=None, usable=None, privileged=None):
    n = len(rows)
    return Log(
        rows,
        np.zeros(n, dtype=int) if run is None else run,
        np.ones(n, dtype=bool) if usable is None else usable,
        privileged,
    )


def simulate_var2(n_rows, seed):
    rng = np.random.default_rng(seed)
    first, second = np.array([[0.4, 0.2], [0.0, 0.3]]), np.array([[-0.5, 0.0], [0.2, -0.5]])
    rows = np.zeros((n_rows + 50, 2))
    for t in range(2, len(rows)):
        rows[t] = first @ rows[t - 1] + second @ rows[t - 2] + rng.normal(size=2)
    return rows[50:]


def design(rows, n_lags, horizon):
    """Return numbers of forecast rows, what is seen of them, and they, of one run by a plain loop."""
    ends = range(n_lags - 1 + horizon, len(rows))
    return np.array(ends), np.array([rows[t - horizon - n_lags + 1 : t - horizon + 1].ravel() for t in ends])


def ridge(penalty):
    return make_pipeline(StandardScaler(), Ridge(alpha=penalty))


def held_out(rows, block, n_lags, horizon, model):
    """Return innovations of each block by a model of all samples that touch no row of it."""
    ends, X = design(rows, n_lags, horizon)
    innovations = np.full(rows.shape, np.nan)
    for number in np.unique(block[ends]):
        inside = set(np.flatnonzero(block == number))
        train = [i for i, t in enumerate(ends) if not inside & set(range(t - horizon - n_lags + 1, t + 1))]
        test = np.flatnonzero(block[ends] == number)
        model.fit(X[train], rows[ends[train]])
        innovations[ends[test]] = rows[ends[test]] - model.predict(X[test])
    return innovations


def log_likelihood(innovations, block):
    """Return the Gaussian log-likelihood per row, each block under the shrunk covariance of the others."""
    known = ~np.isnan(innovations).any(axis=1)
    e, block = innovations[known], block[known]
    scale, total = e.std(axis=0), 0.0
    for number in np.unique(block):
        inside = block == number
        covariance = ledoit_wolf(e[~inside] / scale, assume_centered=True)[0] * np.outer(scale, scale)
        total += multivariate_normal(np.zeros(e.shape[1]), covariance).logpdf(e[inside]).sum()
    return total / len(e)


@pytest.mark.parametrize("horizons", [(1,), (1, 4), (3,)])
@pytest.mark.parametrize("n_lags", [1, 3])
def test_the_linear_student_is_ridge_at_the_penalty_chosen(simulate, horizons, n_lags):
    rows = simulate(200)
    lesson = learn_ridge(log_of(rows), horizons, n_lags)
    assert isinstance(lesson.student, LinearStudent)
    assert (lesson.student.n_lags, lesson.student.horizons) == (n_lags, horizons)
    windows = lag_windows(rows, n_lags)
    for number, horizon in enumerate(horizons):
        ends, X = design(rows, n_lags, horizon)
        model = ridge(lesson.penalties[number]).fit(X, rows[ends])
        expected = model.predict(windows.reshape(len(windows), -1))
        np.testing.assert_allclose(lesson.student.forecast(windows)[:, number], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("n_lags", "horizon"), [(1, 1), (2, 1), (2, 4)])
def test_innovations_are_those_of_blocks_that_share_no_row_with_training(simulate, n_lags, horizon):
    rows = simulate(150)
    lesson = learn_ridge(log_of(rows), (horizon,), n_lags)
    assert len(np.unique(lesson.block)) > 2
    assert (np.diff(lesson.block) >= 0).all()
    expected = held_out(rows, lesson.block, n_lags, horizon, ridge(lesson.penalties[0]))
    np.testing.assert_allclose(lesson.innovations[:, 0], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n_lags", [1, 2])
def test_the_penalty_is_the_likeliest_of_held_out_blocks(simulate, n_lags):
    rows = simulate(60, seed=3)
    lesson = learn_ridge(log_of(rows), (1,), n_lags)
    likelihoods = [
        log_likelihood(held_out(rows, lesson.block, n_lags, 1, ridge(penalty)), lesson.block) for penalty in PENALTIES
    ]
    assert lesson.penalties[0] == PENALTIES[int(np.argmax(likelihoods))]


def test_rows_of_a_block_do_not_reach_the_forecasts_of_that_block(simulate):
    rows = simulate(150)
    before = learn_ridge(log_of(rows), (3,), 2)
    inside = np.flatnonzero(before.block == 2)
    changed = rows.copy()
    changed[inside] += 0.01 * np.random.default_rng(0).normal(size=(len(inside), 3))
    after = learn_ridge(log_of(changed), (3,), 2)
    assert after.penalties == before.penalties  # else other coefficients would be right
    early, late = inside[:3], inside[-1] + 40  # forecast from rows before the block, or by another block's students
    forecasts = rows - before.innovations[:, 0], changed - after.innovations[:, 0]
    np.testing.assert_allclose(forecasts[1][early], forecasts[0][early], rtol=1e-9)
    assert np.abs(forecasts[1][late] - forecasts[0][late]).max() > 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_the_order_is_found(seed):
    lesson = learn_ridge(log_of(simulate_var2(1500, seed)), (1,), None)
    assert lesson.student.n_lags == 2
    assert lesson.log_likelihoods[2] == max(lesson.log_likelihoods.values())
    assert lesson.log_likelihoods[2] > lesson.log_likelihoods[1] + 0.05


def test_orders_are_judged_on_the_same_rows_up_to_a_constant():
    rows = simulate_var2(300, 0)
    lesson = learn_ridge(log_of(rows), (1, 2), None)
    longest = max(lesson.log_likelihoods)
    expected = {}
    for order in lesson.log_likelihoods:
        innovations = learn_ridge(log_of(rows), (1, 2), order).innovations[:, 0].copy()
        innovations[:longest] = np.nan
        expected[order] = log_likelihood(innovations, lesson.block)
    differences = {order: value - expected[order] for order, value in lesson.log_likelihoods.items()}
    np.testing.assert_allclose(list(differences.values()), differences[1], rtol=1e-9)


def test_a_short_log_gets_a_short_order(simulate):
    assert learn_ridge(log_of(simulate(12)), (1,), None).student.n_lags <= 3


def test_samples_span_no_hole_and_no_border_of_runs():
    run = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
    usable = np.ones(12, dtype=bool)
    usable[8] = False
    log = log_of(np.arange(12.0)[:, None], run, usable)
    assert log.samples(1, 1).tolist() == [1, 2, 3, 4, 6, 7, 10, 11]
    assert log.samples(2, 1).tolist() == [2, 3, 4, 7, 11]
    assert log.samples(1, 3).tolist() == [3, 4]
    assert log.samples(9, 1).tolist() == []
    assert log.samples(20, 1).tolist() == []
    assert log.lags(np.array([4, 7]), 2, 1)[:, :, 0].tolist() == [[2, 3], [5, 6]]
    assert log.lags(np.array([4]), 1, 3)[:, :, 0].tolist() == [[1]]


def test_a_teacher_sees_rows_between_and_never_the_row_to_forecast():
    rows, privileged = np.arange(10.0)[:, None], 100 + np.arange(10.0)[:, None]
    middle = log_of(rows, privileged=privileged).middle(np.array([6]), 2, 3)
    assert middle[0].tolist() == [[2, 102], [3, 103], [4, 104], [5, 105]]


def test_what_touches_an_unusable_row_is_neither_fitted_nor_forecast(simulate):
    rows = simulate(200)
    usable = np.ones(200, dtype=bool)
    usable[[50, 120]] = False
    rows[50], rows[120] = np.nan, 1e9
    lesson = learn_ridge(log_of(rows, usable=usable), (1, 3), 2)
    assert np.isnan(lesson.innovations[[50, 51, 52, 120, 121, 122], 0]).all()
    assert not np.isnan(lesson.innovations[[53, 123], 0]).any()
    assert np.abs(lesson.student.forecast(lag_windows(simulate(20), 2))).max() < 100


@pytest.mark.parametrize("horizons", [(1,), (1, 4)])
def test_an_estimator_forecasts_each_horizon_and_its_innovations_are_held_out(simulate, horizons):
    rows = simulate(150)
    lesson = learn_estimator(log_of(rows), horizons, 2, LinearRegression())
    assert isinstance(lesson.student, EstimatorStudent)
    windows = lag_windows(rows, 2)
    for number, horizon in enumerate(horizons):
        ends, X = design(rows, 2, horizon)
        expected = LinearRegression().fit(X, rows[ends]).predict(windows.reshape(len(windows), -1))
        np.testing.assert_allclose(lesson.student.forecast(windows)[:, number], expected, rtol=1e-9)
        by_hand = held_out(rows, lesson.block, 2, horizon, LinearRegression())
        np.testing.assert_allclose(lesson.innovations[:, number], by_hand, rtol=1e-9)


def test_an_estimator_with_a_penalty_is_blind_to_units(simulate):
    rows, units = simulate(150), np.array([1e3, 1e-3, 1.0])
    plain, other = (learn_estimator(log_of(X), (1,), 2, Ridge(alpha=3.0)) for X in (rows, rows * units - units))
    np.testing.assert_allclose(other.innovations / units, plain.innovations, rtol=1e-8, atol=1e-11)


def test_windows_of_lags_are_oldest_first():
    assert lag_windows(np.arange(8.0).reshape(4, 2), 2).tolist() == [
        [[0, 1], [2, 3]],
        [[2, 3], [4, 5]],
        [[4, 5], [6, 7]],
    ]
