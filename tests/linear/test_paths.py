import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from pitskd.linear import _arrays, _logistic
from pitskd.linear._paths import logistic_path, ridge_anchor_grid, ridge_chain_grid, ridge_grid, ridge_path

PENALTIES = np.array([0.01, 10.0, 1.0])
IMITATIONS = np.array([0.0, 0.6, 1.0])


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


def folds(n, n_folds=3):
    """Return training weights of a cross-validation, with unequal weights on the rows kept."""
    weight = np.random.default_rng(8).uniform(0.2, 2.0, (n_folds, n))
    return np.where(np.arange(n) % n_folds == np.arange(n_folds)[:, None], 0.0, weight)


def soft_targets(n, n_problems=3, n_classes=2):
    return np.random.default_rng(7).dirichlet(np.ones(n_classes), size=(n_problems, n))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_soft_targets_are_weighted_duplicates(n_classes):
    X, _, weight = problem()
    soft = soft_targets(len(X), 1, n_classes)[0]
    coef, _ = logistic_path(X, soft[None], PENALTIES, weight[None])
    for p, penalty in enumerate(PENALTIES):
        codes = np.repeat(np.arange(n_classes), len(X))
        expected = reference(np.tile(X, (n_classes, 1)), codes, penalty, (weight[:, None] * soft).T.ravel())
        np.testing.assert_allclose(coef[0, p], expected.coef_, rtol=0, atol=1e-6 * np.abs(expected.coef_).max())


@pytest.mark.parametrize(("n", "d"), [(60, 4), (20, 30)], ids=["tall", "wide"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_of_weight_zero_are_rows_dropped(n, d, n_classes):
    X, codes, _ = problem(n, d, n_classes)
    weights, targets = folds(n), np.eye(n_classes)[codes]
    coef, intercept = logistic_path(X, np.stack([targets] * 3), PENALTIES, weights)
    for f, weight in enumerate(weights):
        kept = weight > 0
        alone = logistic_path(X[kept], targets[None, kept], PENALTIES, weight[None, kept])
        # Two runs, each right to about tol.
        np.testing.assert_allclose(coef[f], alone[0][0], rtol=0, atol=1e-7 * np.abs(alone[0]).max())
        np.testing.assert_allclose(intercept[f], alone[1][0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(60, 4), (20, 30)], ids=["tall", "wide"])
def test_a_scale_per_fold_is_a_standard_scaler_per_fold(n, d):
    X, codes, _ = problem(n, d)
    X = X * np.geomspace(1e-2, 1e3, d) + 5
    X[np.arange(n) % 3 != 0, 1] = 7.0  # constant in the first fold
    weights = folds(n)
    scalers = [StandardScaler().fit(X[w > 0], sample_weight=w[w > 0]) for w in weights]
    scale = np.stack([np.sqrt(scaler.var_) for scaler in scalers])
    assert scale[0, 1] == 0
    coef, intercept = logistic_path(X, np.stack([np.eye(2)[codes]] * 3), PENALTIES, weights, scale=scale)
    for f, (weight, scaler) in enumerate(zip(weights, scalers, strict=True)):
        kept = weight > 0
        for p, penalty in enumerate(PENALTIES):
            expected = reference(scaler.transform(X[kept]), codes[kept], penalty, weight[kept])
            atol = 1e-6 * np.abs(expected.coef_).max()
            np.testing.assert_allclose(coef[f, p] * scaler.scale_, expected.coef_, rtol=0, atol=atol)
            logits = X[kept] @ coef[f, p, 0] + intercept[f, p, 0]
            np.testing.assert_allclose(logits, expected.decision_function(scaler.transform(X[kept])), atol=1e-5)


def test_one_scale_for_all_is_that_scale_for_each():
    X, codes, weight = problem()
    targets, scale = np.stack([np.eye(2)[codes]] * 2), np.array([1.0, 2.0, 0.5, 3.0])
    for one, each in zip(
        logistic_path(X, targets, PENALTIES, np.stack([weight] * 2), scale=scale),
        logistic_path(X, targets, PENALTIES, np.stack([weight] * 2), scale=np.stack([scale] * 2)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, each)


def test_an_offset_per_problem_is_each_offset_alone():
    X, codes, weight = problem()
    offsets, targets = np.stack([2 * X[:, 0], np.zeros(len(X)), X[:, 1] - 1]), np.stack([np.eye(2)[codes]] * 3)
    together = logistic_path(X, targets, PENALTIES, np.stack([weight] * 3), offset=offsets)
    for k, offset in enumerate(offsets):
        alone = logistic_path(X, targets[:1], PENALTIES, weight[None], offset=offset)
        for part, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(part[k], expected[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_separable_classes_with_hardly_a_penalty_converge_from_a_cold_start(n_classes):
    X = np.random.default_rng(3).normal(size=(60, 3))
    targets = np.eye(n_classes)[X[:, :n_classes].argmax(axis=1)]
    cold, _ = logistic_path(X, targets[None], np.array([1e-8]), np.ones((1, 60)))
    warm, _ = logistic_path(X, targets[None], np.logspace(-8, 3, 12), np.ones((1, 60)))
    assert np.isfinite(cold).all()
    np.testing.assert_allclose(cold[0, 0], warm[0, 0], rtol=0, atol=1e-6 * np.abs(warm[0, 0]).max())


def test_labels_all_of_one_class_need_few_factorisations(monkeypatch):
    X, _, weight = problem()
    rounds = []
    descended = _logistic._descended
    monkeypatch.setattr(_logistic, "_descended", lambda *a: rounds.append(1) or descended(*a))
    coef, intercept = logistic_path(X, np.eye(2)[np.zeros((1, 60), dtype=int)], PENALTIES, weight[None])
    np.testing.assert_allclose(coef, 0, atol=1e-9)
    assert (intercept < -15).all()
    assert len(rounds) < 50  # the best intercept is at minus infinity: it must not be chased for ever


@pytest.mark.parametrize("n_classes", [2, 3])
def test_small_memory_changes_no_optimum(n_classes, monkeypatch):
    X, _, _ = problem()
    soft, weights = soft_targets(len(X), 9, n_classes), folds(len(X), 9)
    roomy, _ = logistic_path(X, soft, PENALTIES, weights)
    monkeypatch.setattr(_logistic, "_PRODUCT_BYTES", 0)
    monkeypatch.setattr(_arrays, "_BATCH_BYTES", 1)
    tight, _ = logistic_path(X, soft, PENALTIES, weights)
    np.testing.assert_allclose(tight, roomy, rtol=0, atol=1e-7 * np.abs(roomy).max())


@pytest.mark.parametrize("n_classes", [2, 3])
def test_moved_features_move_the_intercept_alone(n_classes):
    X, _, weight = problem()
    soft = soft_targets(len(X), 1, n_classes)
    coef, intercept = logistic_path(X, soft, PENALTIES, weight[None])
    moved, other = logistic_path(X + 1e4, soft, PENALTIES, weight[None])
    np.testing.assert_allclose(moved, coef, rtol=0, atol=1e-7)
    np.testing.assert_allclose(other + 1e4 * moved.sum(axis=-1), intercept, rtol=0, atol=1e-6)


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


def chain_data(n=50, widths=(3, 4, 2), k=1, seed=9):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 4))
    states = []
    for number, d in enumerate(widths):
        noisy = latent @ rng.normal(size=(4, d)) + 0.5 * rng.normal(size=(n, d))
        states.append(noisy * rng.uniform(0.1, 10, d) + number)
    return states, latent @ rng.normal(size=(4, k)) + 3.0


def direct_chain(states, y, imitation, penalty, weight):
    """Fit link after link on the rows that have weight."""
    kept = weight > 0
    y, weight = y[kept], weight[kept]
    following = y
    for number, state in reversed(list(enumerate(states))):
        scaler = StandardScaler().fit(state[kept], sample_weight=weight)
        Z = scaler.transform(state[kept])
        target = y if number == len(states) - 1 else (1 - imitation) * y + imitation * following
        rule, mean = direct_link(Z, target, penalty, weight)
        following = Z @ rule + mean
    coef = rule.T / scaler.scale_
    return coef, mean - coef @ scaler.mean_


def direct_link(Z, target, penalty, weight):
    """Return (d, k) coefficients of centred features, and the mean; of minimum norm without penalty."""
    if penalty > 0:
        link = Ridge(alpha=penalty, solver="svd").fit(Z, target, sample_weight=weight)
        return link.coef_.reshape(target.shape[1], -1).T, np.reshape(link.intercept_, -1)
    mean, root = np.average(target, axis=0, weights=weight), np.sqrt(weight)[:, None]
    # Centred by its own mean, Z has one singular value of rounding size where it is wide.
    return np.linalg.lstsq(root * Z, root * (target - mean), rcond=1e-8)[0], mean


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("widths", [(3,), (3, 5), (3, 4, 2, 6)], ids=["none", "single", "several"])
def test_chain_grid_equals_a_direct_loop(widths, k):
    states, y = chain_data(widths=widths, k=k)
    weights, penalties = folds(50), np.array([0.0, 0.3, 20.0])
    coef, intercept = ridge_chain_grid(states, y, IMITATIONS, penalties, weights)
    assert coef.shape == (3, 3, 3, k, widths[0])
    for f, weight in enumerate(weights):
        for i, imitation in enumerate(IMITATIONS):
            for p, penalty in enumerate(penalties):
                expected = direct_chain(states, y, imitation, penalty, weight)
                np.testing.assert_allclose(coef[f, i, p], expected[0], rtol=1e-10, atol=1e-12)
                np.testing.assert_allclose(intercept[f, i, p], expected[1], rtol=1e-10, atol=1e-11)


def test_chain_of_pure_imitation_without_penalty_is_a_product_of_least_squares_links():
    states, y = chain_data()
    rules = []
    for state, following in zip(states, [*states[1:], y], strict=True):
        rules.append(np.linalg.lstsq(state - state.mean(axis=0), following - following.mean(axis=0), rcond=None)[0])
    coef, _ = ridge_chain_grid(states, y, np.ones(1), np.zeros(1), np.ones((1, 50)))
    np.testing.assert_allclose(coef[0, 0, 0].T, np.linalg.multi_dot(rules), rtol=1e-10, atol=1e-12)


def test_chain_without_imitation_is_ridge_and_ignores_what_is_privileged():
    states, y = chain_data()
    weights = folds(50)
    alone, _ = ridge_grid(states[0], y, PENALTIES, weights)
    coef, _ = ridge_chain_grid(states, y, np.zeros(1), PENALTIES, weights)
    np.testing.assert_allclose(coef[:, 0], alone, rtol=1e-12)
    coef, _ = ridge_chain_grid([states[0], states[1][::-1]], y, np.zeros(1), PENALTIES, weights)
    np.testing.assert_allclose(coef[:, 0], alone, rtol=1e-12)


@pytest.mark.parametrize("widths", [(30, 40, 3), (3, 40, 30)], ids=["student", "privileged"])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_chain_grid_with_more_features_than_rows_equals_a_direct_loop(widths, penalty):
    states, y = chain_data(n=20, widths=widths)
    weights = folds(20)
    coef, _ = ridge_chain_grid(states, y, IMITATIONS, np.array([penalty]), weights)
    for f, weight in enumerate(weights):
        for i, imitation in enumerate(IMITATIONS):
            expected, _ = direct_chain(states, y, imitation, penalty, weight)
            np.testing.assert_allclose(coef[f, i, 0], expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_collinear_states_without_penalty_use_minimum_norm_links():
    rng = np.random.default_rng(10)
    X, Z = (rng.normal(size=(40, 2)) @ rng.normal(size=(2, 5)) for _ in range(2))
    y = rng.normal(size=(40, 1))
    X, Z = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (X, Z))
    link = np.linalg.lstsq(Z, y - y.mean())[0]
    expected = np.linalg.lstsq(X, Z @ link)[0]
    coef, _ = ridge_chain_grid([X, Z], y, np.ones(1), np.zeros(1), np.ones((1, 40)))
    np.testing.assert_allclose(coef[0, 0, 0], expected.T, rtol=0, atol=1e-10)


@pytest.mark.parametrize("penalty", [0.0, 1e-8])
def test_nearly_collinear_windows_of_a_noise_free_series_keep_their_digits(penalty):
    t = np.arange(120.0)
    series = np.sin(0.1 * t) + np.sin(0.31 * t) + 0.3 * np.sin(0.77 * t)
    windows = np.lib.stride_tricks.sliding_window_view(series, 9)
    states, y = [windows[:, :6], windows[:, 2:8]], windows[:, 8:]
    coef, intercept = ridge_chain_grid(states, y, np.ones(1), np.array([penalty]), np.ones((1, len(y))))
    rule, mean = direct_chain(states, y, 1.0, penalty, np.ones(len(y)))
    # Normal equations square the condition number of a state, about 1e4, and keep some 1e-8 only.
    np.testing.assert_allclose(windows[:, :6] @ (coef[0, 0, 0] - rule).T + intercept[0, 0, 0] - mean, 0, atol=1e-10)


def test_constant_columns_get_no_coefficient_and_change_no_other():
    states, y = chain_data()
    weights = folds(50)
    varying_elsewhere = np.where(weights[0] > 0, 1e5 / 3, np.arange(50.0))
    padded = [np.column_stack([state, np.full(50, 0.1), varying_elsewhere]) for state in states]
    coef, intercept = ridge_chain_grid(padded, y, IMITATIONS, np.array([0.0, 1.0]), weights[:1])
    expected = ridge_chain_grid(states, y, IMITATIONS, np.array([0.0, 1.0]), weights[:1])
    np.testing.assert_array_equal(coef[..., 3:], 0)
    np.testing.assert_allclose(coef[..., :3], expected[0], rtol=1e-10)
    np.testing.assert_allclose(intercept, expected[1], rtol=1e-10)


def test_order_of_rows_and_of_columns_changes_no_prediction():
    states, y = chain_data()
    weights, rng = folds(50), np.random.default_rng(11)
    coef, intercept = ridge_chain_grid(states, y, IMITATIONS, PENALTIES, weights)
    rows, columns = rng.permutation(50), [rng.permutation(state.shape[1]) for state in states]
    mixed = [state[rows][:, order] for state, order in zip(states, columns, strict=True)]
    other, shift = ridge_chain_grid(mixed, y[rows], IMITATIONS, PENALTIES, weights[:, rows])
    np.testing.assert_allclose(other, coef[..., columns[0]], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(shift, intercept, rtol=1e-9)


def test_units_of_columns_change_no_prediction():
    states, y = chain_data()
    weights = folds(50)
    coef, intercept = ridge_chain_grid(states, y, IMITATIONS, PENALTIES, weights)
    rescaled = [state * np.geomspace(1e-4, 1e5, state.shape[1]) + 2 for state in states]
    other, shift = ridge_chain_grid(rescaled, y, IMITATIONS, PENALTIES, weights)
    before, after = coef @ states[0].T + intercept[..., None], other @ rescaled[0].T + shift[..., None]
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-9)


def test_targets_per_training_set_are_each_set_alone():
    states, y = chain_data(k=2)
    weights = folds(50)
    each = np.stack([y, y**2, -y])
    coef, intercept = ridge_chain_grid(states, each, IMITATIONS, PENALTIES, weights)
    for f in range(3):
        alone = ridge_chain_grid(states, each[f], IMITATIONS, PENALTIES, weights[f : f + 1])
        np.testing.assert_allclose(coef[f], alone[0][0], rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(intercept[f], alone[1][0], rtol=1e-10)


def test_chain_grid_in_small_batches_is_the_same(monkeypatch):
    states, y = chain_data()
    whole = ridge_chain_grid(states, y, IMITATIONS, PENALTIES, folds(50))
    monkeypatch.setattr(_arrays, "_BATCH_BYTES", 1)
    for part, expected in zip(ridge_chain_grid(states, y, IMITATIONS, PENALTIES, folds(50)), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-11)


@pytest.mark.parametrize(("n", "d"), [(50, 3), (20, 30)], ids=["tall", "wide"])
def test_ridge_grid_equals_ridge_path_on_each_fold_standardised(n, d):
    states, y = chain_data(n, (d,), k=2)
    weights = folds(n)
    coef, _ = ridge_grid(states[0], y, PENALTIES, weights)
    for f, weight in enumerate(weights):
        scaler = StandardScaler().fit(states[0], sample_weight=weight)
        expected, _ = ridge_path(scaler.transform(states[0]), y, PENALTIES, weight)
        np.testing.assert_allclose(coef[f] * scaler.scale_, expected, rtol=1e-9, atol=1e-11)


def anchor_loss_slope(X, y, prior, anchor, weight, coef, intercept):
    """Derivatives of the documented loss for one rule (k, d)."""
    residual = weight[:, None] * (X @ coef.T + intercept - y)
    scale = StandardScaler().fit(X, sample_weight=weight).scale_
    return (residual.T @ X + anchor * scale**2 * (coef - prior)) / scale, residual.sum(axis=0)


@pytest.mark.parametrize(("n", "d"), [(50, 3), (20, 30)], ids=["tall", "wide"])
@pytest.mark.parametrize("k", [1, 2])
def test_gradient_vanishes_at_the_anchored_optimum(n, d, k):
    states, y = chain_data(n, (d,), k)
    X, weights = states[0], folds(n)
    priors, anchors = np.random.default_rng(12).normal(size=(3, 2, k, d)), np.array([0.1, 30.0])
    coef, intercept = ridge_anchor_grid(X, y, priors, anchors, weights)
    assert coef.shape == (3, 2, 2, k, d)
    for f, m, a in np.ndindex(3, 2, 2):
        rule = coef[f, m, a], intercept[f, m, a]
        for slope in anchor_loss_slope(X, y, priors[f, m], anchors[a], weights[f], *rule):
            np.testing.assert_allclose(slope, 0, atol=1e-8)  # sums of terms of order 1e3


def test_an_endless_anchor_leaves_the_prior_with_a_new_intercept():
    states, y = chain_data()
    weights, priors = folds(50), np.random.default_rng(12).normal(size=(3, 1, 1, 3))
    coef, intercept = ridge_anchor_grid(states[0], y, priors, np.array([np.inf]), weights)
    np.testing.assert_array_equal(coef[:, :, 0], priors)
    for f, weight in enumerate(weights):
        left = np.average(y[:, 0] - states[0] @ priors[f, 0, 0], weights=weight)
        np.testing.assert_allclose(intercept[f, 0, 0, 0], left, rtol=1e-10)


def test_no_anchor_is_least_squares_wherever_the_prior():
    states, y = chain_data()
    priors = np.random.default_rng(12).normal(size=(3, 2, 1, 3))
    coef, _ = ridge_anchor_grid(states[0], y, priors, np.zeros(1), folds(50))
    expected, _ = ridge_grid(states[0], y, np.zeros(1), folds(50))
    np.testing.assert_allclose(coef[:, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(coef[:, 1], expected, rtol=1e-9)


def test_no_prior_makes_an_anchor_a_penalty():
    states, y = chain_data(k=2)
    coef, intercept = ridge_anchor_grid(states[0], y, np.zeros((3, 1, 2, 3)), PENALTIES, folds(50))
    expected = ridge_grid(states[0], y, PENALTIES, folds(50))
    np.testing.assert_allclose(coef[:, 0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(intercept[:, 0], expected[1], rtol=1e-12)


def test_constant_columns_keep_the_prior():
    states, y = chain_data()
    X, priors = np.column_stack([states[0], np.ones(50)]), np.random.default_rng(12).normal(size=(3, 1, 1, 4))
    coef, intercept = ridge_anchor_grid(X, y, priors, PENALTIES, folds(50))
    expected, _ = ridge_anchor_grid(states[0], y, priors[..., :3], PENALTIES, folds(50))
    np.testing.assert_array_equal(coef[..., 3], np.broadcast_to(priors[:, :, None, :, 3], coef.shape[:-1]))
    np.testing.assert_allclose(coef[..., :3], expected, rtol=1e-10)
    assert np.isfinite(intercept).all()


@pytest.mark.parametrize(("n", "widths"), [(50, (3, 5)), (20, (30, 25))], ids=["tall", "wide"])
def test_torch_gives_the_numbers_of_numpy(n, widths):
    pytest.importorskip("torch", reason="solvers run on torch where a device is asked for")
    states, y = chain_data(n, widths, k=2)
    weights, soft = folds(n), soft_targets(n)
    scale = np.stack([np.sqrt(StandardScaler().fit(states[0], sample_weight=w).var_) for w in weights])
    priors = np.random.default_rng(12).normal(size=(3, 2, 2, widths[0]))
    solvers = [
        lambda device: ridge_chain_grid(states, y, IMITATIONS, PENALTIES, weights, device=device),
        lambda device: ridge_grid(states[0], np.stack([y] * 3), PENALTIES, weights, device=device),
        lambda device: ridge_anchor_grid(states[0], y, priors, PENALTIES, weights, device=device),
        lambda device: logistic_path(states[0], soft, PENALTIES, weights, scale=scale, device=device),
        lambda device: logistic_path(states[0], soft_targets(n, 3, 3), PENALTIES, weights, scale=scale, device=device),
        lambda device: logistic_path(
            states[0],
            np.tile(soft, (4, 1, 1)),
            PENALTIES,
            np.tile(weights, (4, 1)),
            scale=np.tile(scale, (4, 1)),
            device=device,
        ),
    ]
    for solve in solvers:
        for tensor, array in zip(solve("cpu"), solve(None), strict=True):
            assert isinstance(tensor, np.ndarray)
            np.testing.assert_allclose(tensor, array, rtol=1e-9, atol=1e-9 * np.abs(array).max())
