import pickle
import re

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pitskd import (
    AnchoredDistillationClassifier,
    AnchoredDistillationRegressor,
    ChainDistillationClassifier,
    ChainDistillationRegressor,
    GeneralizedDistillationRegressor,
    TunedLogisticRegression,
    TunedRidge,
)
from pitskd.linear._calibration import calibrate
from pitskd.linear.dynamics import pooled_dynamics

KINDS = [AnchoredDistillationRegressor, AnchoredDistillationClassifier]
every = pytest.mark.parametrize("kind", KINDS)
both_priors = pytest.mark.parametrize("towards", ["chain", "dynamics"])


def sample(n=60, kind=AnchoredDistillationRegressor, window=3, steps=2, channels=2, seed=0, n_classes=2):
    """Return windows X (n, window, channels), their middle (n, steps, channels) and a target after it."""
    rng = np.random.default_rng(seed)
    path = rng.normal(size=(n, window + steps, channels)).cumsum(axis=1) + 3
    y = path[:, -1].sum(axis=1) + 0.5 * rng.normal(size=n)
    if issubclass(kind, ClassifierMixin):
        y = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    return path[:, :window], path[:, window:], y


def flat(X):
    return X.reshape(len(X), -1)


# The objective


def gradient(model, X, y, weight, anchor):
    """Derivatives of the documented loss, written out at the fitted student."""
    X = flat(X)
    share = weight / weight.sum()
    variance = share @ np.square(X - share @ X)
    if isinstance(model, ClassifierMixin):
        logits, hard = X @ model.coef_.T + model.intercept_, np.eye(len(model.classes_))[y]
        p = 1 / (1 + np.exp(-logits)) if logits.shape[1] == 1 else softmax(logits, axis=1)
        residual = weight[:, None] * (p - (hard[:, 1:] if logits.shape[1] == 1 else hard))
    else:
        residual = weight[:, None] * (X @ model.coef_.T + model.intercept_ - y.reshape(len(y), -1))
    departure = anchor * variance * (model.coef_ - model.prior_coef_)
    return np.concatenate([(residual.T @ X + departure).ravel(), residual.sum(axis=0)])


@every
@both_priors
@pytest.mark.parametrize("anchor", [0.1, 30.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_of_the_anchored_loss_vanishes_at_the_student(kind, towards, anchor, weighted):
    X, Z, y = sample(kind=kind)
    weight = np.random.default_rng(1).uniform(0.5, 2, 60) if weighted else None
    model = kind(anchor, towards).fit(X, y, X_privileged=Z, sample_weight=weight)
    slope = gradient(model, X, y, np.ones(60) if weight is None else weight, anchor)
    np.testing.assert_allclose(slope, 0, atol=1e-5)  # the Newton solver settles coefficients to 1e-8
    assert np.abs(model.coef_ - model.prior_coef_).max() > 1e-4


@both_priors
def test_the_gradient_vanishes_for_several_classes(towards):
    X, Z, y = sample(90, AnchoredDistillationClassifier, n_classes=3)
    model = AnchoredDistillationClassifier(5.0, towards).fit(X, y, X_privileged=Z)
    assert model.coef_.shape == (3, 6)
    np.testing.assert_allclose(gradient(model, X, y, np.ones(90), 5.0), 0, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(X), softmax(model.decision_function(X), axis=1))
    assert model.score(X, y) > 0.6


@pytest.mark.parametrize("two_targets", [False, True])
@both_priors
def test_the_student_is_the_ridge_regression_of_what_the_prior_leaves(towards, two_targets):
    X, Z, y = sample()
    y = np.column_stack([y, y**2]) if two_targets else y
    model = AnchoredDistillationRegressor(7.0, towards).fit(X, y, X_privileged=Z)
    prior = (flat(X) @ model.prior_coef_.T).reshape(y.shape)
    rest = make_pipeline(StandardScaler(), Ridge(7.0)).fit(flat(X), y - prior)
    np.testing.assert_allclose(model.predict(X), prior + rest.predict(flat(X)), atol=1e-9)


# The ends


@both_priors
def test_an_infinite_anchor_leaves_the_prior_with_its_intercept_learnt_anew(towards):
    X, Z, y = sample()
    model = AnchoredDistillationRegressor(1e14, towards).fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(model.coef_, model.prior_coef_, atol=1e-10)
    prior = flat(X) @ model.prior_coef_[0]
    np.testing.assert_allclose(model.predict(X), prior + (y - prior).mean(), atol=1e-9)
    X, Z, y = sample(kind=AnchoredDistillationClassifier)
    model = AnchoredDistillationClassifier(1e10, towards).fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(model.coef_, model.prior_coef_, atol=1e-7)
    assert (model.predict_proba(X)[:, 1] - y).sum() == pytest.approx(0, abs=1e-5)


@both_priors
def test_without_an_anchor_the_student_is_least_squares(towards):
    X, Z, y = sample()
    model = AnchoredDistillationRegressor(0.0, towards).fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(model.predict(X), LinearRegression().fit(flat(X), y).predict(flat(X)), atol=1e-9)


@both_priors
def test_without_an_anchor_and_with_fewer_rows_than_columns_it_is_the_solution_nearest_to_the_prior(towards):
    X, Z, y = sample(5, window=4)
    model = AnchoredDistillationRegressor(0.0, towards).fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(model.predict(X), y, atol=1e-9)
    unit = StandardScaler().fit_transform(flat(X))
    departure = (model.coef_ - model.prior_coef_)[0] * flat(X).std(axis=0)
    # Nearest: the departure has no part that the rows do not see.
    np.testing.assert_allclose(np.linalg.pinv(unit) @ unit @ departure, departure, atol=1e-9)


def test_a_weak_anchor_is_weak_logistic_regression():
    X, Z, y = sample(kind=AnchoredDistillationClassifier)
    y[::5] = 1 - y[::5]  # not separable: the optimum without penalty exists
    weak = AnchoredDistillationClassifier(1e-6).fit(X, y, X_privileged=Z)
    plain = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(flat(X), y)
    np.testing.assert_allclose(weak.predict_proba(X), plain.predict_proba(flat(X)), atol=1e-4)


# The priors


@every
@pytest.mark.parametrize("settings", [{}, {"states": "windows"}, {"static": [0]}], ids=repr)
def test_the_chain_prior_is_the_rule_of_the_chain_student(kind, settings):
    X, Z, y = sample(kind=kind)
    model = kind(imitation=0.6, penalty=2.0, **settings).fit(X, y, X_privileged=Z)
    chains = {AnchoredDistillationRegressor: ChainDistillationRegressor}.get(kind, ChainDistillationClassifier)
    chain = chains(0.6, penalty=2.0, **settings).fit(X, y, X_privileged=Z)
    if kind is AnchoredDistillationRegressor:
        np.testing.assert_allclose(model.prior_coef_, chain.coef_, atol=1e-12)
    else:  # one slope and one intercept
        slope = model.prior_coef_ / chain.coef_
        np.testing.assert_allclose(slope, slope[0, 0], rtol=1e-9)
        logits = flat(X) @ model.prior_coef_[0] + model.prior_intercept_[0]
        again = LogisticRegression(C=1e4, solver="newton-cholesky", tol=1e-10).fit(logits[:, None], y)
        np.testing.assert_allclose([again.coef_.item(), again.intercept_.item()], [1, 0], atol=1e-3)


def explicit_roll(X, Z, y, order, penalty):
    """Fit, roll row by row, and read off: the slow way."""
    path = np.concatenate([X, Z], axis=1)
    mean, scale = path.mean(axis=(0, 1)), path.std(axis=(0, 1))
    scaled = (path - mean) / scale
    n, rows, c = path.shape
    past = np.concatenate([flat(scaled[:, t : t + order]) for t in range(rows - order)])
    following = np.concatenate([scaled[:, t + order] for t in range(rows - order)])
    var = Ridge(penalty, solver="svd").fit(past, following)
    state = scaled[:, X.shape[1] - order : X.shape[1]]
    for _ in range(Z.shape[1]):
        state = np.concatenate([state[:, 1:], var.predict(flat(state)).reshape(n, 1, c)], axis=1)
    return flat(path[:, -order:]), flat(state * scale + mean)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("penalty", [0.0, 5.0])
def test_the_dynamics_prior_is_the_link_at_the_state_that_a_var_rolls_to(order, penalty):
    X, Z, y = sample()
    settings = {"towards": "dynamics", "order": order, "penalty": penalty}
    model = AnchoredDistillationRegressor(1e14, **settings).fit(X, y, X_privileged=Z)
    observed, rolled = explicit_roll(X, Z, y, order, penalty)
    link = make_pipeline(StandardScaler(), Ridge(penalty, solver="svd")).fit(observed, y)
    expected = link.predict(rolled)
    np.testing.assert_allclose(flat(X) @ model.prior_coef_[0] + model.prior_intercept_[0], expected, atol=1e-9)
    assert not model.prior_coef_.reshape(3, 2)[: 3 - order].any()


def test_the_dynamics_prior_of_a_classifier_is_a_calibrated_logistic_link():
    X, Z, y = sample(kind=AnchoredDistillationClassifier)
    model = AnchoredDistillationClassifier(towards="dynamics", order=2, penalty=2.0).fit(X, y, X_privileged=Z)
    observed, rolled = explicit_roll(X, Z, y, 2, 2.0)
    score = TunedLogisticRegression([2.0]).fit(observed, y).decision_function(rolled)
    slope, intercept = calibrate(score[None, :, None], np.eye(2)[y], np.ones((1, 60)))
    prior = flat(X) @ model.prior_coef_[0] + model.prior_intercept_[0]
    np.testing.assert_allclose(prior, slope * score + intercept[0], atol=1e-6)


def test_the_dynamics_prior_of_a_noise_free_linear_series_is_exact():
    A, rng = np.array([[0.9, 0.2], [-0.1, 0.8]]), np.random.default_rng(3)
    path = [rng.normal(size=(20, 2))]
    for _ in range(6):
        path.append(path[-1] @ A.T + [0.3, 0.1])
    path = np.stack(path, axis=1)
    y = path[:, -1, 0]
    model = AnchoredDistillationRegressor(1e14, "dynamics", penalty=0.0).fit(path[:, :3], y, X_privileged=path[:, 3:6])
    expected = np.zeros((3, 2))
    expected[-1] = np.linalg.matrix_power(A, 4)[0]
    np.testing.assert_allclose(model.prior_coef_.reshape(3, 2), expected, atol=1e-8)
    np.testing.assert_allclose(model.predict(path[:, :3]), y, atol=1e-8)


def test_rows_without_middle_or_label_teach_the_dynamics_what_they_can():
    X, Z, y = sample()
    Z[::3], y[1::3] = np.nan, np.nan
    model = AnchoredDistillationRegressor(1e14, "dynamics").fit(X, y, X_privileged=Z)
    path = np.concatenate([X, Z], axis=1)
    seen = path[~np.isnan(path).any(axis=2)]
    mean, scale = seen.mean(axis=0), seen.std(axis=0)
    past, following = flat(path[:, :-1]).reshape(-1, 2), flat(path[:, 1:]).reshape(-1, 2)
    kept = ~np.isnan(following).any(axis=1)
    var = Ridge(3.0).fit((past[kept] - mean) / scale, (following[kept] - mean) / scale)
    state = (X[:, -1] - mean) / scale
    for _ in range(2):
        state = var.predict(state)
    taught = ~np.isnan(y) & ~np.isnan(Z[:, 0, 0])
    link = TunedRidge([3.0]).fit(Z[taught, -1], y[taught])
    expected = link.predict(state * scale + mean)
    np.testing.assert_allclose(flat(X) @ model.prior_coef_[0] + model.prior_intercept_[0], expected, atol=1e-9)


def test_pooled_dynamics_keep_still_channels_and_ignore_paths_of_weight_zero():
    path = np.random.default_rng(4).normal(size=(30, 5, 3))
    weight = np.repeat([1.0, 0.0], 15)
    part = pooled_dynamics(path[:15], np.ones(15), order=2, moving=np.array([0, 2]))
    held_out = path.copy()
    held_out[15:] = 1e6
    whole = pooled_dynamics(held_out, weight, order=2, moving=np.array([0, 2]))
    for got, expected in zip(whole, part, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-10)
    state = np.arange(6.0)[None]
    following = part(state)[0]
    np.testing.assert_array_equal(following[:3], [3, 4, 5])
    assert following[4] == pytest.approx(4)
    np.testing.assert_allclose(part.rolled(3)(state), part(part(part(state))), atol=1e-10)


# Soft targets


def test_target_imitation_anchors_a_generalized_student():
    X, Z, y = sample()
    model = AnchoredDistillationRegressor(0.0, target_imitation=0.4).fit(X, y, X_privileged=Z)
    plain = GeneralizedDistillationRegressor(student=LinearRegression(), imitation=0.4).fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(model.predict(X), plain.predict(X), atol=1e-9)
    assert model.teacher_ is not None
    assert AnchoredDistillationRegressor().fit(X, y, X_privileged=Z).teacher_ is None


def test_target_imitation_of_a_classifier_mixes_labels_and_tempered_probabilities():
    X, Z, y = sample(kind=AnchoredDistillationClassifier)
    teacher = FrozenEstimator(TunedLogisticRegression([1.0]).fit(flat(Z), y))
    settings = {"target_imitation": 0.7, "teacher": teacher, "temperature": 2.0}
    model = AnchoredDistillationClassifier(5.0, **settings).fit(X, y, X_privileged=Z)
    soft = 1 / (1 + np.exp(-teacher.decision_function(flat(Z)) / 2))
    residual = model.predict_proba(X)[:, 1] - (0.3 * y + 0.7 * soft)
    departure = 5.0 * flat(X).var(axis=0) * (model.coef_ - model.prior_coef_)[0]
    np.testing.assert_allclose(residual @ flat(X) + departure, 0, atol=1e-5)


@every
def test_rows_without_label_reach_the_student_through_soft_targets_only(kind):
    X, Z, y = sample(kind=kind)
    y = y.astype(float)
    y[::4] = np.nan
    known = ~np.isnan(y)
    hard = kind(5.0).fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(gradient(hard, X[known], y[known].astype(int if hasattr(hard, "classes_") else float),
                                        np.ones(45), 5.0), 0, atol=1e-5)  # fmt: skip
    soft = kind(5.0, target_imitation=0.5).fit(X, y, X_privileged=Z)
    assert np.abs(soft.coef_ - hard.coef_).max() > 1e-4


# Invariances


@every
@both_priors
def test_units_of_a_channel_do_not_matter(kind, towards):
    X, Z, y = sample(kind=kind)
    units = np.array([1e4, 1e-3])
    expected = kind(towards=towards).fit(X, y, X_privileged=Z)
    scaled = kind(towards=towards).fit(X * units + 7, y, X_privileged=Z * units + 7)
    np.testing.assert_allclose(scaled.coef_ * np.tile(units, 3), expected.coef_, rtol=1e-5, atol=1e-7)


@every
@both_priors
def test_weight_two_is_the_row_twice_and_weight_zero_is_no_row(kind, towards):
    X, Z, y = sample(kind=kind)
    weight = np.tile([1.0, 2.0, 0.0], 20)
    weighted = kind(towards=towards).fit(X, y, X_privileged=Z, sample_weight=weight)
    rows = np.repeat(np.arange(60), weight.astype(int))
    repeated = kind(towards=towards).fit(X[rows], y[rows], X_privileged=Z[rows])
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)


@every
def test_frames_correspond_by_name(kind):
    X, Z, y = sample(kind=kind, window=1, steps=1, channels=4)
    X, Z = pd.DataFrame(X[:, 0], columns=list("abcd")), pd.DataFrame(Z[:, 0], columns=list("abcd"))
    model = kind(towards="dynamics").fit(X, y, X_privileged=Z)
    swapped = kind(towards="dynamics").fit(X, y, X_privileged=Z[list("dacb")])
    np.testing.assert_allclose(swapped.coef_, model.coef_, atol=1e-9)
    assert list(swapped.privileged_feature_names_in_) == list("dacb")


# Bad input


@every
@both_priors
@pytest.mark.parametrize(
    "nothing", [None, np.empty((60, 0, 2)), np.full((60, 2, 2), np.nan)], ids=["None", "S=0", "NaN"]
)
def test_no_privileged_rows_warns_and_anchors_to_the_plain_model(kind, towards, nothing):
    X, _, y = sample(kind=kind)
    with pytest.warns(UserWarning, match="X_privileged is None or empty"):
        model = kind(towards=towards, target_imitation=0.5).fit(X, y, X_privileged=nothing)
    plain = kind(imitation=0.0).fit(X, y)  # says itself that it needs none
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    assert model.teacher_ is None


@every
@both_priors
def test_constant_and_collinear_channels_and_fewer_rows_than_columns_are_finite(kind, towards):
    X, Z, y = sample(kind=kind, channels=3)
    for part in (X, Z):
        part[..., 1] = 7.0
        part[..., 2] = 2 * part[..., 0]
    few = np.r_[np.flatnonzero(y > np.median(y))[:3], np.flatnonzero(y <= np.median(y))[:2]]
    for rows in (slice(None), few):
        model = kind(towards=towards).fit(X[rows], y[rows], X_privileged=Z[rows])
        assert np.isfinite(model.coef_).all()
        np.testing.assert_allclose(model.coef_[0, 1::3], 0, atol=1e-12)
        assert np.isfinite(model.predict(X).astype(float)).all()


BAD = [
    ({"anchor": -1.0}, "anchor must be a finite number"),
    ({"anchor": np.inf}, "anchor must be a finite number"),
    ({"towards": "zero"}, "towards must be 'chain' or 'dynamics', got zero"),
    ({"imitation": 2}, "imitation must be a number between 0 and 1"),
    ({"target_imitation": -1}, "target_imitation must be a number between 0 and 1"),
    ({"penalty": None}, "penalty must be a finite number"),
    ({"order": 0}, "order must be an integer of at least 1"),
    ({"towards": "dynamics", "order": 4}, "order must be at most 3, the rows of an input window, got 4"),
    ({"states": "steps-ahead"}, "states must be 'steps' or 'windows'"),
    ({"static": [6]}, "static must be distinct columns of X, positions 0 .. 5"),
    ({"static": [6], "towards": "dynamics"}, "static must be distinct columns of X, positions 0 .. 5"),
]


@every
@pytest.mark.parametrize(("settings", "words"), BAD, ids=lambda value: repr(value)[:40])
def test_wrong_arguments_are_named(kind, settings, words):
    X, Z, y = sample(kind=kind)
    with pytest.raises(ValueError, match=words):
        kind(**settings).fit(X, y, X_privileged=Z)


@every
def test_channels_that_do_not_correspond_are_named(kind):
    X, Z, y = sample(kind=kind)
    words = re.escape(
        'X_privileged must be of the 2 channels of X at every step after the window, for towards="dynamics"'
    )
    with pytest.raises(ValueError, match=words):
        kind(towards="dynamics").fit(X, y, X_privileged=Z[..., :1])
    with pytest.raises(ValueError, match="got 1 steps of 4 beside X with 3 of 2"):
        kind(states="windows").fit(X, y, X_privileged=flat(Z))
    Z[5, 0, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"complete, or all NaN in a row, got NaN in part of row 5. Impute it, or blank"
    ):
        kind().fit(X, y, X_privileged=Z)
    Z[5], X[2, 0, 0] = 0.0, np.nan
    with pytest.raises(ValueError, match=r"X must be finite, got NaN in row 2. Impute it\.$"):
        kind().fit(X, y, X_privileged=Z)


def test_a_teacher_that_can_not_teach_is_named():
    X, Z, y = sample()
    with pytest.raises(TypeError, match="teacher must be a regressor, got LogisticRegression"):
        AnchoredDistillationRegressor(teacher=LogisticRegression()).fit(X, y, X_privileged=Z)
    other = FrozenEstimator(Ridge().fit(Z[:, 0], y))
    with pytest.raises(ValueError, match="X_privileged must be what the fitted teacher knows, 2 columns in all, got 4"):
        AnchoredDistillationRegressor(target_imitation=0.5, teacher=other).fit(X, y, X_privileged=Z)
    X, Z, y = sample(kind=AnchoredDistillationClassifier)
    with pytest.raises(ValueError, match="anchor must be a finite number above 0, got 0"):
        AnchoredDistillationClassifier(0.0).fit(X, y, X_privileged=Z)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        AnchoredDistillationClassifier(temperature=0.0).fit(X, y, X_privileged=Z)


@every
def test_read_only_and_float32_arrays_and_a_pickle(kind):
    X, Z, y = sample(kind=kind)
    model = kind().fit(X, y, X_privileged=Z)
    expected = model.predict(X)
    for part in (X, Z, y):
        part.setflags(write=False)
    np.testing.assert_array_equal(kind().fit(X, y, X_privileged=Z).predict(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), expected)
    small = kind().fit(X.astype(np.float32), y, X_privileged=Z.astype(np.float32))
    np.testing.assert_allclose(small.predict(X.astype(np.float32)), expected, atol=1e-3)
