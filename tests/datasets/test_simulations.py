from functools import partial
from itertools import pairwise
from math import erf, sqrt

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pitskd.datasets.simulations import (
    linear_chain_coef,
    simulate_clean_features,
    simulate_clean_labels,
    simulate_linear_chain,
    simulate_relevant_features,
    simulate_sample_dependent_features,
)

PUBLISHED = {  # accuracy of teacher, student without teacher, distilled student
    simulate_clean_labels: (0.96, 0.88, 0.95),
    simulate_clean_features: (0.90, 0.68, 0.70),
    simulate_relevant_features: (0.98, 0.89, 0.97),
    simulate_sample_dependent_features: (0.96, 0.55, 0.56),
}
PRIVILEGED_WIDTH = dict(zip(PUBLISHED, (1, 50, 3, 3), strict=True))
ALL = [*PUBLISHED, simulate_linear_chain]
simulations = pytest.mark.parametrize("simulate", PUBLISHED)
all_simulators = pytest.mark.parametrize("simulate", ALL)


def least_squares(X, y):
    return np.linalg.lstsq(X, y, rcond=None)[0]


@simulations
def test_simulation_has_two_dimensional_sides_and_balanced_integer_labels(simulate):
    X, X_privileged, y = simulate(4000, random_state=0)
    assert X.shape == (4000, 50)
    assert X_privileged.shape == (4000, PRIVILEGED_WIDTH[simulate])
    assert np.issubdtype(y.dtype, np.integer)
    assert set(np.unique(y)) == {0, 1}
    # 4 standard errors of a fair coin
    assert abs(y.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)


@all_simulators
def test_same_seed_repeats_the_sample_and_another_changes_it(simulate):
    first, again, other = simulate(30, random_state=3), simulate(30, random_state=3), simulate(30, random_state=4)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


@all_simulators
def test_larger_sample_begins_with_the_smaller_one(simulate):
    small, large = simulate(40, random_state=5), simulate(400, random_state=5)
    np.testing.assert_array_equal(large.X[:40], small.X)
    np.testing.assert_allclose(large.X_privileged[:40], small.X_privileged, rtol=0, atol=1e-12)  # BLAS sums by shape
    if simulate is not simulate_sample_dependent_features:  # its threshold is the median of the sample
        np.testing.assert_allclose(large.y[:40], small.y, rtol=0, atol=1e-12)


@all_simulators
def test_repetitions_from_one_generator_are_independent(simulate):
    generator = np.random.default_rng(0)
    first, second = (simulate(2000, random_state=generator).X.ravel() for _ in range(2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(len(first))


@all_simulators
def test_fresh_entropy_is_drawn_without_a_seed(simulate):
    assert not np.array_equal(simulate(10).X, simulate(10).X)


def test_clean_label_is_an_exact_linear_function_of_x_and_y_its_noisy_sign():
    X, X_privileged, y = simulate_clean_labels(20_000, random_state=1)
    score = X_privileged[:, 0]
    a = least_squares(X, score)
    np.testing.assert_allclose(X @ a, score, rtol=0, atol=1e-10)
    # P(y = 1 | x*) = Phi(x*): label noise of variance 1, whatever the direction; 4 standard errors of 500 rows or more
    for lower in (-1.5, -0.5, 0.5):
        near = np.abs(score - lower) < 0.25
        expected = np.mean(np.vectorize(_normal_cdf)(score[near]))
        assert abs(y[near].mean() - expected) < 4 * 0.5 / np.sqrt(near.sum())


def _normal_cdf(z):
    return (1 + erf(z / sqrt(2))) / 2


def test_clean_features_separate_the_labels_and_inputs_add_unit_noise():
    X, X_privileged, y = simulate_clean_features(5000, random_state=1)
    noise = X - X_privileged
    # moments of 250,000 values: 4 standard errors are .008 for a mean and .011 for a variance
    assert abs(noise.mean()) < 0.01
    assert abs(noise.var() - 1) < 0.012
    assert abs(X_privileged.var() - 1) < 0.012
    assert abs(np.mean(noise * X_privileged)) < 0.01
    assert LogisticRegression(C=1e4, max_iter=2000).fit(X_privileged, y).score(X_privileged, y) > 0.999


def test_relevant_features_are_three_fixed_columns_that_alone_decide_the_label():
    X, X_privileged, y = simulate_relevant_features(3000, random_state=1)
    found = [np.flatnonzero((column[:, None] == X).all(axis=0)) for column in X_privileged.T]
    assert [len(f) for f in found] == [1, 1, 1]
    assert np.unique(np.concatenate(found)).tolist() == np.concatenate(found).tolist()
    assert LogisticRegression(C=1e6, max_iter=2000).fit(X_privileged, y).score(X_privileged, y) > 0.998


def test_relevant_columns_change_from_one_repetition_to_the_next():
    columns = {
        tuple(int(np.flatnonzero(s.X[0] == v)[0]) for v in s.X_privileged[0])
        for s in (simulate_relevant_features(2, random_state=seed) for seed in range(10))
    }
    assert len(columns) > 5


def test_sample_dependent_features_are_the_largest_values_descending():
    X, X_privileged, y = simulate_sample_dependent_features(1001, random_state=2)
    np.testing.assert_array_equal(X_privileged, -np.sort(-X, axis=1)[:, :3])
    assert y.sum() == 500  # the median row itself is not above the median
    fitted = LogisticRegression(C=1e8, max_iter=5000).fit(X_privileged, y)
    assert fitted.score(X_privileged, y) > 0.995


def test_three_features_are_all_the_columns_there_are():
    X, X_privileged, _ = simulate_relevant_features(5, n_features=3, random_state=0)
    np.testing.assert_array_equal(X, X_privileged)


# C = 1: at C = 5 (half squares times 1e-3 per row) the standardised teacher of the fourth is .98, above the bar
def _three_accuracies(simulate, seed, n=200, C=1.0):
    X, X_privileged, y = simulate(n + 4000, random_state=seed)
    X, X_privileged = ((side - side[:n].mean(axis=0)) / side[:n].std(axis=0) for side in (X, X_privileged))
    model = partial(LogisticRegression, C=C, max_iter=1000)
    teacher, plain = model().fit(X_privileged[:n], y[:n]), model().fit(X[:n], y[:n])
    soft = teacher.predict_proba(X_privileged[:n])[:, 1]
    twice, labels = np.concatenate([X[:n], X[:n]]), np.repeat([1, 0], n)
    student = model().fit(twice, labels, sample_weight=np.concatenate([soft, 1 - soft]))
    return [m.score(side[n:], y[n:]) for m, side in ((teacher, X_privileged), (plain, X), (student, X))]


@simulations
def test_published_accuracies_of_teacher_student_and_distilled_student_are_reproduced(simulate):
    accuracies = np.array([_three_accuracies(simulate, seed) for seed in range(20)])
    # .02 is the bar of the protocol at 100 repetitions; twice the standard error of our 20 comes on top
    tolerance = 0.02 + 2 * accuracies.std(axis=0, ddof=1) / np.sqrt(20)
    assert (np.abs(accuracies.mean(axis=0) - PUBLISHED[simulate]) < tolerance).all()
    gain = accuracies[:, 2] - accuracies[:, 1]
    if simulate in (simulate_clean_labels, simulate_relevant_features):
        assert gain.mean() > 0.05
    else:
        assert abs(gain.mean()) < 0.02


def test_chain_has_states_on_a_time_axis_and_a_real_target():
    X, X_privileged, y = simulate_linear_chain(7, n_features=4, n_steps=2, random_state=0)
    assert (X.shape, X_privileged.shape, y.shape) == ((7, 4), (7, 2, 4), (7,))


@pytest.mark.parametrize("stationary", [True, False])
def test_every_state_of_a_markov_chain_is_standard_normal_and_the_target_has_variance_one(stationary):
    X, X_privileged, y = simulate_linear_chain(40_000, stationary=stationary, random_state=0)
    for state in (X, *np.swapaxes(X_privileged, 0, 1)):
        # 5 standard errors of a covariance entry, sqrt(2 / n) on the diagonal
        np.testing.assert_allclose(np.cov(state.T), np.eye(5), atol=5 * np.sqrt(2 / 40_000))
    assert abs(y.var() - 1) < 5 * np.sqrt(2 / 40_000)


@pytest.mark.parametrize("stationary", [True, False])
def test_transitions_are_equal_in_all_steps_only_if_stationary(stationary):
    X, X_privileged, _ = simulate_linear_chain(40_000, stationary=stationary, noise=0.2, random_state=1)
    states = [X, *np.swapaxes(X_privileged, 0, 1)]
    transitions = [least_squares(now, then) for now, then in pairwise(states)]
    tolerance = 6 * np.sqrt(0.2 / 40_000)  # 6 standard errors of a coefficient, 25 entries times 2 steps
    for transition in transitions:
        np.testing.assert_allclose(transition @ transition.T, 0.8 * np.eye(5), atol=3 * tolerance)
    apart = max(np.abs(transitions[0] - t).max() for t in transitions[1:])
    assert (apart < 2 * tolerance) == stationary


@pytest.mark.parametrize(("markov_violation", "n_steps"), [(0.0, 1), (0.0, 3), (1.0, 1), (1.0, 3)])
def test_target_is_independent_of_x_given_the_last_state_only_without_violation(markov_violation, n_steps):
    n = 20_000
    X, X_privileged, y = simulate_linear_chain(
        n, n_steps=n_steps, markov_violation=markov_violation, noise=0.3, random_state=2
    )
    coef_of_x = least_squares(np.hstack([X_privileged[:, -1], X]), y)[5:]
    # standard error of a coefficient: at most sqrt(var(y) / (n (1 - R2))) with R2 <= .7 between x_0 and the last state
    tolerance = 4.5 * np.sqrt(1 / (n * 0.3))
    assert (np.abs(coef_of_x).max() < tolerance) == (markov_violation == 0)


@pytest.mark.parametrize("stationary", [True, False])
@pytest.mark.parametrize("markov_violation", [0.0, 0.4, 1.0])
def test_best_linear_rule_is_the_limit_of_least_squares(stationary, markov_violation):
    design = {"stationary": stationary, "markov_violation": markov_violation, "n_steps": 4, "random_state": 3}
    X, _, y = simulate_linear_chain(40_000, **design)
    # 5 standard errors: var(y | x) <= 1
    np.testing.assert_allclose(least_squares(X, y), linear_chain_coef(**design), atol=5 / np.sqrt(40_000))


def test_best_linear_rule_of_a_markov_chain_is_the_product_of_its_transitions():
    X, X_privileged, y = simulate_linear_chain(200, n_steps=2, stationary=False, noise=0.0, random_state=4)
    first, second = least_squares(X, X_privileged[:, 0]), least_squares(X_privileged[:, 0], X_privileged[:, 1])
    last = least_squares(X_privileged[:, 1], y)
    expected = linear_chain_coef(n_steps=2, stationary=False, noise=0.0, random_state=4)
    np.testing.assert_allclose(first @ second @ last, expected, atol=1e-10)


def test_norm_of_the_markov_rule_is_the_share_of_signal_left():
    for noise in (0.0, 0.2, 0.5, 1.0):
        coef = linear_chain_coef(n_steps=3, noise=noise, random_state=0)
        np.testing.assert_allclose(coef @ coef, (1 - noise) ** 4, atol=1e-12)


def test_without_noise_the_target_is_the_rule_exactly():
    X, _, y = simulate_linear_chain(20, noise=0.0, markov_violation=0.3, random_state=6)
    np.testing.assert_allclose(
        y, X @ linear_chain_coef(noise=0.0, markov_violation=0.3, random_state=6), rtol=0, atol=1e-12
    )


def _chain_regression(X, X_privileged, y):
    states = [X, *np.swapaxes(X_privileged, 0, 1)]
    for state in states[:0:-1]:
        y = state @ least_squares(state, y)
    return least_squares(X, y)


@pytest.mark.parametrize(("markov_violation", "chain_wins"), [(0.0, True), (1.0, False)])
def test_chain_regression_is_the_better_estimator_exactly_where_the_chain_is_markov(markov_violation, chain_wins):
    true = linear_chain_coef(markov_violation=markov_violation, random_state=0)
    X, X_privileged, y = simulate_linear_chain(20_000, markov_violation=markov_violation, random_state=0)
    errors = np.array(
        [
            [
                np.sum((fit - true) ** 2)
                for fit in (_chain_regression(X[r], X_privileged[r], y[r]), least_squares(X[r], y[r]))
            ]
            for r in np.arange(20_000).reshape(100, 200)
        ]
    )
    assert (errors[:, 0].mean() < errors[:, 1].mean()) == chain_wins


@all_simulators
def test_sizes_are_checked_before_anything_is_drawn(simulate):
    with pytest.raises(ValueError, match="n_samples must be an integer of at least 1, got 0"):
        simulate(0)
    with pytest.raises(TypeError, match=r"n_samples must be an integer of at least 1, got 2\.5"):
        simulate(2.5)
    with pytest.raises(TypeError, match="n_features must be an integer"):
        simulate(5, n_features=True)
    with pytest.raises(ValueError, match="random_state must be"):
        simulate(5, random_state=-1)


@pytest.mark.parametrize("simulate", [simulate_relevant_features, simulate_sample_dependent_features])
def test_three_relevant_features_need_three_columns(simulate):
    with pytest.raises(ValueError, match="n_features must be an integer of at least 3, got 2"):
        simulate(5, n_features=2)


@pytest.mark.parametrize("chain", [partial(simulate_linear_chain, 5), linear_chain_coef])
@pytest.mark.parametrize(
    ("argument", "kind", "match"),
    [
        ({"n_steps": 0}, ValueError, "n_steps must be an integer of at least 1, got 0"),
        ({"n_features": 0}, ValueError, "n_features must be an integer of at least 1, got 0"),
        ({"noise": 1.5}, ValueError, "noise must be a number between 0 and 1, got 1.5"),
        ({"noise": np.nan}, ValueError, "noise must be a number between 0 and 1, got nan"),
        ({"markov_violation": -0.1}, ValueError, "markov_violation must be a number between 0 and 1, got -0.1"),
        ({"stationary": "no"}, ValueError, "stationary must be True or False, got no"),
    ],
)
def test_design_of_a_chain_is_checked(chain, argument, kind, match):
    with pytest.raises(kind, match=match):
        chain(**argument)


def test_rule_of_a_chain_needs_the_integer_it_was_drawn_with():
    with pytest.raises(TypeError, match="random_state must be an integer"):
        linear_chain_coef(random_state=None)  # pyright: ignore[reportArgumentType]
