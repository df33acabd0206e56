"""Sums over rows: they add up, keep their digits, and give the rules that the rows give."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from pitskd.linear import _moments
from pitskd.linear._moments import Affine, Moments, merged, ridge_rules
from pitskd.linear._paths import ridge_path
from pitskd.linear.tuned import location_and_scale


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    return generator.normal(size=(500, 4)) * [1.0, 10.0, 0.1, 3.0] + [0.0, 5.0, -2.0, 100.0], generator.random(500)


def close(one, other, tolerance=1e-12):
    assert one.count == other.count
    np.testing.assert_allclose(one.weight, other.weight, rtol=tolerance)
    np.testing.assert_allclose(one.mean, other.mean, rtol=tolerance)
    np.testing.assert_allclose(one.scatter, other.scatter, rtol=tolerance, atol=tolerance * np.abs(other.scatter).max())


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_are_those_of_numpy(rows, weighted):
    values, weight = rows
    found = Moments.of((values[:, :1], values[:, 1:]), weight if weighted else None)
    weight = weight if weighted else np.ones(len(values))
    np.testing.assert_allclose(found.mean, np.average(values, axis=0, weights=weight), rtol=1e-13)
    np.testing.assert_allclose(found.scatter / found.weight, np.cov(values.T, aweights=weight, ddof=0), rtol=1e-11)


@pytest.mark.parametrize("n_parts", [1, 2, 7, 500])
def test_moments_of_parts_add_up_to_those_of_the_whole(rows, n_parts):
    values, weight = rows
    parts = [Moments.of((values[own],), weight[own]) for own in np.array_split(np.arange(len(values)), n_parts)]
    close(merged(parts, 4), Moments.of((values,), weight))
    close(merged(parts[::-1], 4), Moments.of((values,), weight))


def test_nothing_and_rows_without_weight_add_nothing_but_their_count(rows):
    values, weight = rows
    whole = Moments.of((values,), weight)
    close(whole.merged(Moments.empty(4)), whole)
    close(Moments.empty(4).merged(whole), whole)
    idle = whole.merged(Moments.of((values[:3],), np.zeros(3)))
    assert idle.count == 503
    assert idle.weight == whole.weight
    np.testing.assert_array_equal(idle.scatter, whole.scatter)


def test_moments_of_a_map_are_those_of_the_mapped_rows(rows):
    values, weight = rows
    generator = np.random.default_rng(1)
    matrix, shift = generator.normal(size=(3, 4)), generator.normal(size=3)
    mapped = Moments.of((values,), weight).mapped(Affine(matrix, shift))
    close(mapped, Moments.of((values @ matrix.T + shift,), weight), 1e-10)


def test_a_factor_is_that_of_every_weight(rows):
    values, weight = rows
    close(Moments.of((values,), weight).scaled(0.3), Moments.of((values,), 0.3 * weight))


def test_a_large_mean_costs_no_digits_of_the_scatter():
    values = np.random.default_rng(0).integers(-8, 9, size=(100_000, 3)).astype(float)
    exact = Moments.of((values,))
    moved = Moments.of((values + 2.0**30,))  # which is exact in float64
    np.testing.assert_allclose(moved.scatter, exact.scatter, rtol=1e-12, atol=1e-6)


def test_a_mean_that_drifts_far_costs_digits_of_the_trend_alone():
    values = np.random.default_rng(0).normal(size=(200_000, 2)) + np.linspace(0.0, 1e5, 200_000)[:, None]
    exact = np.cov(values.astype(np.longdouble).T, ddof=0) * len(values)
    np.testing.assert_allclose(Moments.of((values,)).scatter, exact.astype(float), rtol=1e-12)


def test_threads_and_their_number_do_not_change_a_bit(monkeypatch):
    monkeypatch.setattr(_moments, "_MANY", 0)
    values = np.random.default_rng(0).normal(size=(200_000, 3))
    found = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads, "blas"):
            found.append(Moments.of((values,)).scatter)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("penalty", [0.0, 1e-3, 10.0])
def test_rules_are_those_of_ridge_regression_on_the_rows(rows, penalty):
    values, weight = rows
    X, y = values[:, :3], values[:, 3:]
    mean, scale = location_and_scale(X, weight)
    coef, intercept = ridge_path((X - mean) / scale, y, np.array([penalty]), weight)
    found = ridge_rules(Moments.of((X, y), weight), 3, [penalty])
    np.testing.assert_allclose(found[0], coef / scale, rtol=1e-10)
    np.testing.assert_allclose(found[1], intercept - (coef / scale) @ mean, rtol=1e-10)


def test_a_constant_column_has_no_coefficient_and_twins_share_theirs():
    X = np.random.default_rng(0).normal(size=(300, 2))
    X = np.column_stack([X, X[:, 0], np.full(300, 0.1)])
    moments = Moments.of((X, 3.0 * X[:, :1]))
    with pytest.warns(UserWarning, match="they are taken for exactly so"):
        exact, _ = ridge_rules(moments, 4, [0.0])
    np.testing.assert_allclose(exact[0, 0], [1.5, 0.0, 1.5, 0.0], atol=1e-9)
    shrunk, _ = ridge_rules(moments, 4, [1.0])  # the penalty hides what is not known: no warning
    np.testing.assert_allclose(shrunk[0, 0, 0], shrunk[0, 0, 2], rtol=1e-9)
    assert exact[0, 0, 3] == shrunk[0, 0, 3] == 0.0


@pytest.mark.parametrize(
    ("apart", "message"),
    [(1e-5, r"about \de-\d\d only\. Drop a column"), (1e-7, "taken for exactly so"), (1e-8, "taken for exactly so")],
)
def test_columns_that_are_nearly_dependent_are_told_of(apart, message):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(300, 2))
    X = np.column_stack([X, X[:, 0] + apart * generator.normal(size=300)])
    moments = Moments.of((X, X[:, :1]))
    with pytest.warns(UserWarning, match=message):
        ridge_rules(moments, 3, [0.0])
    mean, scale = location_and_scale(X, np.ones(300))
    expected = ridge_path((X - mean) / scale, X[:, :1], np.array([1.0]), np.ones(300))[0] / scale
    np.testing.assert_allclose(ridge_rules(moments, 3, [1.0])[0], expected, rtol=1e-8)  # and no warning


def test_fewer_rows_than_columns_are_no_dependence_of_columns():
    X = np.random.default_rng(0).normal(size=(5, 9))
    y = X[:, :1]
    mean, scale = location_and_scale(X, np.ones(5))
    expected = ridge_path((X - mean) / scale, y, np.array([0.0]), np.ones(5))[0] / scale
    np.testing.assert_allclose(ridge_rules(Moments.of((X, y)), 9, [0.0])[0], expected, rtol=1e-7, atol=1e-9)


def test_rows_without_weight_may_hold_anything():
    values = np.random.default_rng(0).normal(size=(400, 3))
    spoilt, weight = values.copy(), np.ones(400)
    spoilt[:7], weight[:7] = 1e200, 0.0
    found, expected = Moments.of((spoilt,), weight), Moments.of((values[7:],))
    assert found.count == 400
    np.testing.assert_array_equal(found.scatter, expected.scatter)


def test_threads_that_add_up_at_the_same_time_leave_blas_as_it_was(monkeypatch):
    monkeypatch.setattr(_moments, "_MANY", 0)
    values = np.random.default_rng(0).normal(size=(20_000, 3))

    def limits():
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    with threadpool_limits(2, "blas"):
        before = limits()
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: Moments.of((values,)), range(24)))
        assert limits() == before
