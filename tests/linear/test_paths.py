import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge

from pitskd.linear._paths import logistic_path, ridge_path

PENALTIES = np.array([0.01, 10.0, 1.0])


def problem(n=60, d=4, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    codes = (X @ rng.normal(size=(d, n_classes)) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    codes[:n_classes] = np.arange(n_classes)
    return X, codes, rng.uniform(0.2, 2.0, n)


def reference(X, codes, penalty, weight):
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-12, max_iter=500)
    return model.fit(X, codes, sample_weight=weight)


def gradient(X, targets, weight, penalty, coef, intercept, offset=0.0):
    """Derivatives of the documented loss, written out for one target at one penalty."""
    logits = X @ coef.T + intercept + np.reshape(offset, (-1, 1))
    if targets.shape[1] == 2:
        residual = weight[:, None] * (1 / (1 + np.exp(-logits)) - targets[:, 1:])
    else:
        residual = weight[:, None] * (softmax(logits, axis=1) - targets)
    return np.concatenate([(residual.T @ X + penalty * coef).ravel(), residual.sum(axis=0)])


@pytest.mark.parametrize(("n", "d"), [(60, 4), (20, 30)], ids=["tall", "wide"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_logistic_path_equals_sklearn_newton_at_every_penalty(n, d, n_classes, weighted):
    X, codes, weight = problem(n, d, n_classes)
    weight = weight if weighted else np.ones(n)
    coef, intercept = logistic_path(X, np.eye(n_classes)[codes][None], PENALTIES, weight[None])
    for p, penalty in enumerate(PENALTIES):
        expected = reference(X, codes, penalty, weight)
        np.testing.assert_allclose(coef[0, p], expected.coef_, rtol=1e-6, atol=1e-7)
        centred = expected.intercept_ - (expected.intercept_.mean() if n_classes > 2 else 0)
        np.testing.assert_allclose(intercept[0, p], centred, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_logistic_path_solves_each_of_several_soft_targets_as_if_alone(n_classes):
    X, _, weight = problem()
    soft = np.random.default_rng(1).dirichlet(np.ones(n_classes), size=(3, len(X)))
    weights = np.stack([weight, np.ones(len(X)), weight[::-1]])
    together = logistic_path(X, soft, PENALTIES, weights)
    for k in range(3):
        alone = logistic_path(X, soft[k : k + 1], PENALTIES, weights[k : k + 1])
        for part, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(part[k], expected[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gradient_vanishes_at_the_logistic_optimum(n_classes):
    X, _, weight = problem()
    soft = np.random.default_rng(2).dirichlet(np.ones(n_classes), size=(1, len(X)))
    coef, intercept = logistic_path(X, soft, PENALTIES, weight[None])
    for p, penalty in enumerate(PENALTIES):
        slope = gradient(X, soft[0], weight, penalty, coef[0, p], intercept[0, p])
        # tol is 1e-9 of the total weight, about 60.
        np.testing.assert_allclose(slope, 0, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_gradient_vanishes_with_an_offset_which_the_coefficients_are_shrunk_towards(scale):
    X, codes, weight = problem()
    direction = np.array([1.0, -2.0, 0.5, 0.0])
    offset, targets = scale * X @ direction, np.eye(2)[codes]
    coef, intercept = logistic_path(X, targets[None], np.array([1e8, 1.0]), weight[None], offset=offset)
    np.testing.assert_allclose(coef[0, 0], 0, atol=1e-4)
    slope = gradient(X, targets, weight, 1.0, coef[0, 1], intercept[0, 1], offset)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_separable_classes_with_a_small_penalty_reach_the_optimum():
    X = np.random.default_rng(3).normal(size=(40, 2))
    targets = np.eye(2)[(X[:, 0] > 0).astype(int)]
    coef, intercept = logistic_path(X, targets[None], np.array([1e-6]), np.ones((1, 40)))
    assert np.isfinite(coef).all()
    assert abs(coef[0, 0, 0, 0]) > 20
    slope = gradient(X, targets, np.ones(40), 1e-6, coef[0, 0], intercept[0, 0])
    np.testing.assert_allclose(slope, 0, atol=1e-7)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_features_that_make_huge_logits_do_not_overflow(n_classes):
    X, codes, weight = problem(n_classes=n_classes)
    targets, X = np.eye(n_classes)[codes], 1e4 * X
    coef, intercept = logistic_path(X, targets[None], np.array([1e-4]), weight[None])
    probabilities = (X @ coef[0, 0].T + intercept[0, 0]).argmax(axis=1)
    assert np.isfinite(coef).all()
    assert np.isfinite(probabilities).all()


def test_a_class_that_no_row_supports_gets_no_probability_and_no_failure():
    X, codes, weight = problem()
    targets = np.zeros((1, len(X), 3))
    targets[0, np.arange(len(X)), codes] = 1
    coef, intercept = logistic_path(X, targets, np.array([1.0]), weight[None])
    assert softmax(X @ coef[0, 0].T + intercept[0, 0], axis=1)[:, 2].max() < 1e-6


def test_several_intercepts_sum_to_zero():
    X, codes, weight = problem(n_classes=3)
    _, intercept = logistic_path(X, np.eye(3)[codes][None], PENALTIES, weight[None])
    np.testing.assert_allclose(intercept.sum(axis=-1), 0, atol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(60, 4), (10, 30)], ids=["tall", "wide"])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_path_equals_sklearn_ridge_for_every_target_and_penalty(n, d, weighted):
    rng = np.random.default_rng(4)
    X, y, weight = rng.normal(size=(n, d)) + 5, rng.normal(size=(n, 2)), rng.uniform(0.2, 2, n)
    weight = weight if weighted else np.ones(n)
    coef, intercept = ridge_path(X, y, PENALTIES, weight)
    for p, penalty in enumerate(PENALTIES):
        expected = Ridge(alpha=penalty, solver="svd").fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(coef[p], expected.coef_, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(intercept[p], expected.intercept_, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("rank", [2, 4])
def test_ridge_without_penalty_is_minimum_norm_least_squares(rank):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(20, rank)) @ rng.normal(size=(rank, 6)), rng.normal(size=(20, 1))
    coef, intercept = ridge_path(X, y, np.array([0.0]), np.ones(20))
    expected = np.linalg.lstsq(X - X.mean(axis=0), y - y.mean(axis=0), rcond=None)[0]
    np.testing.assert_allclose(coef[0], expected.T, atol=1e-10)
    np.testing.assert_allclose(intercept[0], y.mean(axis=0) - X.mean(axis=0) @ expected, atol=1e-10)


def test_gradient_vanishes_at_the_ridge_optimum():
    rng = np.random.default_rng(6)
    X, y, weight = rng.normal(size=(30, 3)), rng.normal(size=(30, 1)), rng.uniform(0.2, 2, 30)
    coef, intercept = ridge_path(X, y, np.array([0.7]), weight)
    residual = weight * (y[:, 0] - X @ coef[0, 0] - intercept[0, 0])
    np.testing.assert_allclose([*(X.T @ residual - 0.7 * coef[0, 0]), residual.sum()], 0, atol=1e-12)


def test_ridge_of_constant_features_is_the_mean():
    coef, intercept = ridge_path(np.ones((5, 2)), np.arange(5.0)[:, None], np.array([0.0, 1.0]), np.ones(5))
    np.testing.assert_array_equal(coef, 0)
    np.testing.assert_allclose(intercept, 2)
