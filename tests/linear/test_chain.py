import pickle
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from pitskd import (
    ChainDistillationClassifier,
    ChainDistillationRegressor,
    TunedLogisticRegression,
    TunedRidge,
    linear_chain_coef,
    simulate_linear_chain,
)

KINDS = [ChainDistillationRegressor, ChainDistillationClassifier]
every = pytest.mark.parametrize("kind", KINDS)


def sample(n=60, steps=3, width=3, seed=0, kind=ChainDistillationRegressor, n_classes=2):
    """Return X (n, 4), middle (n, steps, width) and a target that depends on the last step."""
    y: Any
    rng = np.random.default_rng(seed)
    X = rng.normal(3, 2, size=(n, 4))
    Z = np.stack([X[:, :width] + t + rng.normal(size=(n, width)) for t in range(steps)], axis=1)
    y = (Z[:, -1] if steps else X[:, :width]) @ np.arange(1.0, width + 1) + rng.normal(size=n)
    if issubclass(kind, ClassifierMixin):
        y = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    return X, Z, y


def least_squares(A, B):
    """Return coefficients and intercept stacked: predict with ``ones(A) @ W``."""
    return np.linalg.lstsq(ones(A), B, rcond=None)[0]


def ones(A):
    return np.column_stack([A, np.ones(len(A))])


def logistic(C=1.0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10))


def duplicates(X, targets, C=1.0):
    n, k = targets.shape
    shares = targets.T.ravel()
    return logistic(C).fit(
        np.tile(X, (k, 1)), np.repeat(np.arange(k), n),
        standardscaler__sample_weight=shares, logisticregression__sample_weight=shares,
    )  # fmt: skip


# Both ends


@pytest.mark.parametrize("two_targets", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_full_imitation_without_penalty_is_the_product_of_least_squares_links(steps, two_targets):
    X, Z, y = sample(steps=steps)
    y = np.column_stack([y, y**2]) if two_targets else y
    chain = ChainDistillationRegressor(imitation=1.0, penalty=0.0).fit(X, y, X_privileged=Z)
    states = [X, *np.moveaxis(Z, 1, 0)]
    forecast = X
    for state, following in zip(states, [*states[1:], y], strict=True):
        forecast = ones(forecast) @ least_squares(state, following)
    np.testing.assert_allclose(chain.predict(X), forecast, atol=1e-10)
    rule = (X @ chain.coef_.T + chain.intercept_).reshape(y.shape)
    np.testing.assert_allclose(rule, forecast, atol=1e-10)


def test_the_product_of_links_is_hand_worked_for_one_column_and_two_steps():
    x0, x2 = np.array([-1.0, 1.0, -1.0, 1.0]), np.array([-1.0, 3.0, -3.0, 1.0])
    X, Z = x0[:, None], np.stack([2 * x0, x2], axis=1)[..., None]
    y = np.array([0.0, 10.0, -10.0, 0.0])  # 3 x2 and a noise that is orthogonal to x2

    def rules(imitation):
        chain = ChainDistillationRegressor(imitation, penalty=0.0).fit(X, y, X_privileged=Z)
        return [link.coef_.item() for link in chain.links_]

    # x2 -> y: 60 / 20. x1 -> x2: 16 / 16. x0 -> x1: 2.
    assert rules(1.0) == pytest.approx([6.0, 3.0, 3.0])
    # x1 learns (y + 3 x2) / 2: (40 + 48) / 2 / 16. x0 learns (y + 2.75 x1) / 2: (20 + 22) / 2 / 4.
    assert rules(0.5) == pytest.approx([5.25, 2.75, 3.0])
    assert rules(0.0) == pytest.approx([20 / 4])


LINKS = {
    ChainDistillationRegressor: [None, Ridge(), KNeighborsRegressor(), RandomForestRegressor(5, random_state=0)],
    ChainDistillationClassifier: [None, logistic(), SVC(random_state=0), RandomForestClassifier(5, random_state=0)],
}


@pytest.mark.parametrize(("kind", "link"), [(kind, link) for kind in KINDS for link in LINKS[kind]], ids=repr)
def test_imitation_zero_is_the_plain_link_bit_for_bit_whatever_is_privileged(kind, link):
    X, Z, y = sample(kind=kind)
    plain = (TunedRidge if kind is ChainDistillationRegressor else TunedLogisticRegression)(penalties=[2.0])
    alone = clone(plain if link is None else link).fit(X, y)
    for middle in (Z, -1e6 * Z, np.full(Z.shape, np.nan), np.ones((60, 7)), None):
        states = "steps" if middle is None else "windows"
        model = kind(imitation=0.0, penalty=2.0, link=link, states=states).fit(X, y, X_privileged=middle)
        assert pickle.dumps(model.student_) == pickle.dumps(alone)
        assert model.teacher_ is None
        assert len(model.links_) == 1


@every
def test_the_fit_is_continuous_in_imitation_at_both_ends(kind):
    X, Z, y = sample(kind=kind)
    y = y.astype(float)
    y[::7] = np.nan  # such rows must fade away, too
    Z[3::7] = np.nan

    def coef(imitation):
        return kind(imitation).fit(X, y, X_privileged=Z).coef_

    np.testing.assert_allclose(coef(1e-9), coef(0.0), atol=1e-6)
    np.testing.assert_allclose(coef(1 - 1e-9), coef(1.0), atol=1e-6)
    assert np.abs(coef(1.0) - coef(0.0)).max() > 1e-3


# The recursion


@pytest.mark.parametrize("imitation", [0.3, 1.0])
def test_ridge_links_learn_the_mix_of_target_and_next_link(imitation):
    X, Z, y = sample()
    chain = ChainDistillationRegressor(imitation, penalty=2.0).fit(X, y, X_privileged=Z)
    link = make_pipeline(StandardScaler(), Ridge(2.0))
    told = y
    for state, following in [(Z[:, 2], None), (Z[:, 1], Z[:, 2]), (Z[:, 0], Z[:, 1]), (X, Z[:, 0])]:
        told = y if following is None else (1 - imitation) * y + imitation * link.predict(following)
        link = clone(link).fit(state, told)
    np.testing.assert_allclose(chain.predict(X), link.predict(X), atol=1e-10)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_links_learn_the_mix_of_label_and_next_probabilities(n_classes):
    X, Z, y = sample(kind=ChainDistillationClassifier, n_classes=n_classes)
    chain = ChainDistillationClassifier(0.7, penalty=2.0).fit(X, y, X_privileged=Z)
    hard, link = np.eye(n_classes)[y], None
    for state, following in [(Z[:, 2], None), (Z[:, 1], Z[:, 2]), (Z[:, 0], Z[:, 1]), (X, Z[:, 0])]:
        told = hard if link is None else 0.3 * hard + 0.7 * link.predict_proba(following)
        link = duplicates(state, told, C=0.5)
    np.testing.assert_allclose(chain.predict_proba(X), link.predict_proba(X), atol=1e-6)


@every
def test_one_privileged_step_is_generalized_distillation_of_that_step(kind):
    X, Z, y = sample(steps=1, kind=kind)
    chain = kind(imitation=0.6).fit(X, y, X_privileged=Z)
    flat = kind(imitation=0.6).fit(X, y, X_privileged=Z[:, 0])
    np.testing.assert_array_equal(chain.coef_, flat.coef_)
    assert chain.teacher_ is chain.links_[1]
    assert len(chain.links_) == 2


ANY = [
    (ChainDistillationRegressor, RandomForestRegressor(5, random_state=0)),
    (ChainDistillationRegressor, GradientBoostingRegressor(n_estimators=30, random_state=0)),
    (ChainDistillationRegressor, KNeighborsRegressor()),
    (ChainDistillationRegressor, make_pipeline(StandardScaler(), Ridge())),
    (ChainDistillationClassifier, RandomForestClassifier(5, random_state=0)),
    (ChainDistillationClassifier, GradientBoostingClassifier(n_estimators=30, random_state=0)),
    (ChainDistillationClassifier, SVC(random_state=0)),
    (ChainDistillationClassifier, LinearSVC(random_state=0)),
]


@pytest.mark.parametrize(("kind", "link"), ANY, ids=repr)
@pytest.mark.parametrize("stationary", [False, True])
def test_any_estimator_can_be_a_link(kind, link, stationary):
    X, Z, y = sample(width=4, kind=kind)
    model = kind(link=link, stationary=stationary).fit(X, y, X_privileged=Z)
    assert len(model.links_) == 4
    assert model.score(X, y) > 0.5
    assert not hasattr(link, "n_features_in_")
    assert hasattr(model, "coef_") == hasattr(model.student_, "coef_")


def test_methods_of_a_classifier_are_those_of_its_link():
    X, Z, y = sample(kind=ChainDistillationClassifier)
    model = ChainDistillationClassifier(link=SVC(random_state=0)).fit(X, y, X_privileged=Z)
    assert not hasattr(model, "predict_proba")
    assert model.decision_function(X).shape == (60,)
    assert not hasattr(ChainDistillationClassifier(link=KNeighborsClassifier()), "decision_function")


# States


@every
def test_windows_shift_through_the_middle_one_row_at_a_time(kind):
    rng = np.random.default_rng(1)
    path = rng.normal(size=(80, 6, 2)).cumsum(axis=1)
    y = path[:, -1].sum(axis=1) + 0.3 * rng.normal(size=80)
    y = y if kind is ChainDistillationRegressor else (y > 0).astype(int)
    shifted = kind(states="windows").fit(path[:, :4], y, X_privileged=path[:, 4:])
    windows = np.stack([path[:, t : t + 4].reshape(80, 8) for t in range(3)], axis=1)
    by_hand = kind().fit(windows[:, 0], y, X_privileged=windows[:, 1:])
    np.testing.assert_allclose(shifted.coef_, by_hand.coef_, atol=1e-12)
    assert [link.n_features_in_ for link in shifted.links_] == [8, 8, 8]


@every
def test_windows_of_frames_correspond_by_name(kind):
    X, Z, y = sample(steps=1, width=4, kind=kind)
    X, Z = pd.DataFrame(X, columns=list("abcd")), pd.DataFrame(Z[:, 0], columns=list("abcd"))
    for settings in ({"states": "windows"}, {"stationary": True}):
        expected = kind(**settings).fit(X, y, X_privileged=Z)
        swapped = kind(**settings).fit(X, y, X_privileged=Z[list("dbca")])
        np.testing.assert_allclose(swapped.coef_, expected.coef_, atol=1e-12)
        renamed = kind(**settings).fit(X, y, X_privileged=Z.set_axis(list("efgh"), axis=1))
        np.testing.assert_allclose(renamed.coef_, expected.coef_, atol=1e-12)
        with pytest.raises(
            ValueError, match="X_privileged must be of the columns of X, or of names that X has none of"
        ):
            kind(**settings).fit(X, y, X_privileged=Z.rename(columns={"a": "z"}))


@every
def test_static_columns_are_appended_to_every_privileged_state(kind):
    X, Z, y = sample(kind=kind)
    model = kind(static=[3, 0]).fit(X, y, X_privileged=Z)
    appended = np.concatenate([Z, np.repeat(X[:, None, [3, 0]], 3, axis=1)], axis=2)
    np.testing.assert_array_equal(model.coef_, kind().fit(X, y, X_privileged=appended).coef_)
    X = pd.DataFrame(X, columns=list("abcd"))
    np.testing.assert_array_equal(kind(static=["d", "a"]).fit(X, y, X_privileged=Z).coef_, model.coef_)
    np.testing.assert_array_equal(
        kind(static="d").fit(X, y, X_privileged=Z).coef_, kind(static=3).fit(X, y, X_privileged=Z).coef_
    )


# Pooled dynamics


@pytest.mark.parametrize("steps", [1, 4])
def test_stationary_full_imitation_without_penalty_is_a_power_of_the_pooled_map(steps):
    X, Z, y = sample(steps=steps, width=4)
    model = ChainDistillationRegressor(1.0, 0.0, stationary=True).fit(X, y, X_privileged=Z)
    path = np.concatenate([X[:, None], Z], axis=1)
    A = least_squares(path[:, :-1].reshape(-1, 4), path[:, 1:].reshape(-1, 4))
    beta, forecast = least_squares(Z[:, -1], y), X
    for _ in range(steps):
        forecast = ones(forecast) @ A
    np.testing.assert_allclose(model.predict(X), ones(forecast) @ beta, atol=1e-10)
    np.testing.assert_allclose(
        model.coef_[0], np.linalg.multi_dot([*[A[:-1]] * steps, beta[:-1]]) if steps > 1 else A[:-1] @ beta[:-1],
        atol=1e-10,
    )  # fmt: skip


def test_a_noise_free_chain_is_recovered_by_pooled_and_by_stepwise_links():
    X, Z, y = simulate_linear_chain(40, noise=0.0, random_state=0)
    best = linear_chain_coef(noise=0.0, random_state=0)
    for stationary in (False, True):
        model = ChainDistillationRegressor(1.0, 0.0, stationary=stationary).fit(X, y, X_privileged=Z)
        np.testing.assert_allclose(model.coef_[0], best, atol=1e-10)


def test_pooled_dynamics_come_nearer_to_a_stationary_chain_than_links_of_each_step():
    best, errors = linear_chain_coef(random_state=0), []
    X, Z, y = simulate_linear_chain(3000, random_state=0)
    for part in np.arange(3000).reshape(100, 30):
        fits = [
            ChainDistillationRegressor(1.0, 0.0, stationary).fit(X[part], y[part], X_privileged=Z[part])
            for stationary in (False, True)
        ]
        plain = TunedRidge(penalties=[0.0]).fit(X[part], y[part])
        errors.append([np.square(model.coef_[0] - best).sum() for model in (plain, *fits)])
    plain, stepwise, pooled = np.mean(errors, axis=0)
    assert pooled < stepwise < plain  # Karlsson et al.: each uses more of what is known


def test_static_columns_stay_as_they_are_in_pooled_dynamics():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(50, 3))
    moving = X[:, [0, 2]]
    Z = np.empty((50, 2, 2))
    for t in range(2):
        moving = moving @ [[0.8, 0.1], [-0.2, 0.9]] + X[:, [1]]
        Z[:, t] = moving
    y = moving @ [1.0, 2.0] - X[:, 1]
    model = ChainDistillationRegressor(1.0, 0.0, stationary=True, static=[1]).fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(model.predict(X), y, atol=1e-10)


# Rows of all kinds


@every
def test_a_row_without_middle_keeps_its_hard_target_and_teaches_only_the_student(kind):
    X, Z, y = sample(kind=kind)
    Z[::3] = np.nan
    model, known = kind(0.6).fit(X, y, X_privileged=Z), np.arange(60) % 3 > 0
    part = kind(0.6).fit(X[known], y[known], X_privileged=Z[known])
    for link, other in zip(model.links_[1:], part.links_[1:], strict=True):
        np.testing.assert_allclose(link.coef_, other.coef_, atol=1e-10)
    told = np.asarray(y, dtype=float)
    if kind is ChainDistillationRegressor:
        told[known] = 0.4 * told[known] + 0.6 * model.teacher_.predict(Z[known, 0])
        np.testing.assert_allclose(model.coef_, TunedRidge([1.0]).fit(X, told).coef_, atol=1e-10)
    else:
        told = np.eye(2)[y]
        told[known] = 0.4 * told[known] + 0.6 * model.teacher_.predict_proba(Z[known, 0])
        expected = TunedLogisticRegression([1.0]).fit(X, y, soft_targets=told)
        np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-7)


@every
def test_a_row_without_label_teaches_every_link_but_the_last_with_weight_imitation(kind):
    X, Z, y = sample(kind=kind)
    y = y.astype(float)
    y[::4] = np.nan
    known = ~np.isnan(y)
    model = kind(0.6).fit(X, y, X_privileged=Z)
    default = TunedRidge if kind is ChainDistillationRegressor else TunedLogisticRegression
    last = default([1.0]).fit(Z[known, -1], y[known])
    np.testing.assert_allclose(model.links_[-1].coef_, last.coef_, atol=1e-10)
    weight = np.where(known, 1.0, 0.6)
    share = np.where(known, 0.6, 1.0)
    filled = np.nan_to_num(y)
    if kind is ChainDistillationRegressor:
        told = (1 - share) * filled + share * last.predict(Z[:, -1])
        expected = default([1.0]).fit(Z[:, 1], told, sample_weight=weight)
    else:
        told = (1 - share)[:, None] * np.eye(2)[filled.astype(int)] + share[:, None] * last.predict_proba(Z[:, -1])
        student = TunedLogisticRegression([1.0])
        expected = student.fit(Z[:, 1], told.argmax(axis=1), soft_targets=told, sample_weight=weight)
    np.testing.assert_allclose(model.links_[2].coef_, expected.coef_, atol=1e-7)


@every
@pytest.mark.parametrize("stationary", [False, True])
def test_weight_two_is_the_row_twice_and_weight_zero_is_no_row(kind, stationary):
    X, Z, y = sample(width=4, kind=kind)
    weight = np.tile([1.0, 2.0, 0.0], 20)
    weighted = kind(stationary=stationary).fit(X, y, X_privileged=Z, sample_weight=weight)
    rows = np.repeat(np.arange(60), weight.astype(int))
    repeated = kind(stationary=stationary).fit(X[rows], y[rows], X_privileged=Z[rows])
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-7)


@every
def test_units_of_a_channel_do_not_matter(kind):
    X, Z, y = sample(width=4, kind=kind)
    units = np.array([1e4, 1.0, 1e-3, 1.0])
    for settings in ({}, {"stationary": True}, {"states": "windows"}):
        expected = kind(**settings).fit(X, y, X_privileged=Z)
        scaled = kind(**settings).fit(X * units + 5, y, X_privileged=Z * units + 5)
        np.testing.assert_allclose(scaled.coef_ * units, expected.coef_, rtol=1e-5, atol=1e-7)


# Bad input


@every
@pytest.mark.parametrize(
    "nothing", [None, np.empty((60, 0, 3)), np.full((60, 2, 3), np.nan)], ids=["None", "S=0", "NaN"]
)
def test_no_privileged_rows_warns_and_fits_the_plain_link(kind, nothing):
    X, _, y = sample(kind=kind)
    with pytest.warns(UserWarning, match=f"X_privileged is None or empty: {kind.__name__} learns from hard"):
        model = kind().fit(X, y, X_privileged=nothing)
    np.testing.assert_array_equal(model.coef_, kind(imitation=0.0).fit(X, y).coef_)
    assert model.teacher_ is None


def test_a_link_that_reproduces_its_targets_is_named():
    rng = np.random.default_rng(0)
    X, Z, y = rng.normal(size=(12, 4)), rng.normal(size=(12, 2, 11)), np.arange(12.0)
    with pytest.warns(UserWarning, match="penalty=0 lets a link of 11 columns reproduce the targets of 12 rows"):
        idle = ChainDistillationRegressor(1.0, penalty=0.0).fit(X, y, X_privileged=Z)
    plain = LinearRegression().fit(X, y)
    np.testing.assert_allclose(idle.predict(X), plain.predict(X), atol=1e-8)
    taught = ChainDistillationRegressor(1.0, penalty=1.0).fit(X, y, X_privileged=Z)
    assert np.abs(taught.predict(X) - TunedRidge([1.0]).fit(X, y).predict(X)).max() > 1e-3


@every
def test_constant_and_collinear_columns_and_fewer_rows_than_columns_are_finite(kind):
    X, Z, y = sample(kind=kind)
    constant, collinear = X.copy(), np.column_stack([X, X[:, 0] + X[:, 1]])
    constant[:, 1], Z[:, :, 0] = 7.0, 0.1
    Z[:, :, 2] = 2 * Z[:, :, 1]
    rows = (
        np.r_[:3, np.flatnonzero(y > np.median(y))[:3]]
        if kind is ChainDistillationRegressor
        else np.r_[np.flatnonzero(y == 0)[:3], np.flatnonzero(y == 1)[:2]]
    )
    for inputs, part in [(constant, slice(None)), (collinear, slice(None)), (collinear, rows)]:
        model = kind().fit(inputs[part], y[part], X_privileged=Z[part])
        assert np.isfinite(model.predict(inputs).astype(float)).all()
        assert np.isfinite(model.coef_).all()


def test_least_squares_chains_through_collinear_steps_predict_as_through_independent_ones():
    X, Z, y = sample()
    doubled = np.concatenate([Z, Z[:, :, :1] - 3 * Z[:, :, 1:2]], axis=2)
    expected = ChainDistillationRegressor(1.0, 0.0).fit(X, y, X_privileged=Z).predict(X)
    np.testing.assert_allclose(
        ChainDistillationRegressor(1.0, 0.0).fit(X, y, X_privileged=doubled).predict(X), expected
    )


def test_a_part_of_a_privileged_row_needs_a_link_that_accepts_nan():
    X, Z, y = sample()
    Z[4, 1, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"complete where the link sees it.*NaN in part of row 4.*a link that accepts NaN"
    ):
        ChainDistillationRegressor().fit(X, y, X_privileged=Z)
    forest = HistGradientBoostingRegressor(max_iter=3, random_state=0)
    assert np.isfinite(ChainDistillationRegressor(link=forest).fit(X, y, X_privileged=Z).predict(X)).all()
    with pytest.raises(ValueError, match="NaN in part of row 4"):
        ChainDistillationRegressor(link=forest, stationary=True).fit(X, y, X_privileged=Z)
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"X must be finite, got NaN in row 0. Impute it, or use a link that accepts"):
        ChainDistillationRegressor().fit(X, y, X_privileged=Z)


BAD = [
    ({"imitation": 1.5}, "imitation must be a number between 0 and 1"),
    ({"penalty": -1.0}, "penalty must be a finite number"),
    ({"penalty": np.nan}, "penalty must be a finite number"),
    ({"stationary": "yes"}, "stationary must be True or False"),
    ({"states": "rows"}, "states must be 'steps' or 'windows', got rows"),
    (
        {"states": "windows"},
        re.escape("X_privileged must be of the 4 channels of X at every step after the window, for"),
    ),
    ({"stationary": True}, "X_privileged must be of 4 columns per step, those of X that are not static"),
    ({"stationary": True, "static": [0, 1]}, "X_privileged must be of 2 columns per step"),
    ({"states": "windows", "static": [0]}, 'static must be None with states="windows"'),
    ({"static": [4]}, r"static must be distinct columns of X, positions 0 .. 3, got \[4\]"),
    ({"static": ["a"]}, "static must be distinct columns of X"),
    ({"static": [1, 1]}, "static must be distinct columns of X"),
    ({"static": [True]}, "static must be distinct columns of X"),
]


@every
@pytest.mark.parametrize(("settings", "words"), BAD, ids=lambda value: repr(value)[:40])
def test_wrong_arguments_are_named(kind, settings, words):
    X, Z, y = sample(kind=kind)
    with pytest.raises(ValueError, match=words):
        kind(**settings).fit(X, y, X_privileged=Z)


def test_wrong_links_are_named_before_any_training():
    X, Z, y = sample(kind=ChainDistillationClassifier)
    with pytest.raises(TypeError, match="link must be a regressor, an estimator with fit"):
        ChainDistillationRegressor(link=Ridge).fit(X, y, X_privileged=Z)
    with pytest.raises(TypeError, match="link must be a regressor, got SVC"):
        ChainDistillationRegressor(link=SVC()).fit(X, y, X_privileged=Z)
    with pytest.raises(TypeError, match="link must be a classifier, got"):
        ChainDistillationClassifier(link=Ridge()).fit(X, y, X_privileged=Z)
    with pytest.raises(TypeError, match="link must be an estimator whose fit takes sample_weight"):
        ChainDistillationClassifier(link=KNeighborsClassifier()).fit(X, y, X_privileged=Z)
    with pytest.raises(ValueError, match="penalty must be a finite number above 0, got 0"):
        ChainDistillationClassifier(penalty=0).fit(X, y, X_privileged=Z)


@every
def test_a_middle_that_meets_no_label_or_one_class_is_refused(kind):
    X, Z, y = sample(kind=kind)
    y = y.astype(float)
    Z[:30], y[30:] = np.nan, np.nan
    with pytest.raises(ValueError, match=r"X_privileged must be present in labelled rows.*got 0 rows"):
        kind().fit(X, y, X_privileged=Z)
    if kind is ChainDistillationClassifier:
        X, Z, y = sample(kind=kind)
        Z[y == 1] = np.nan
        with pytest.raises(ValueError, match=r"X_privileged must be present in labelled rows, .* of two classes"):
            kind().fit(X, y, X_privileged=Z)


@every
def test_a_class_that_no_privileged_row_has_is_still_learnt(kind):
    if kind is ChainDistillationRegressor:
        return
    X, Z, y = sample(90, kind=kind, n_classes=3)
    Z[y == 2] = np.nan
    model = kind(0.5).fit(X, y, X_privileged=Z)
    assert list(model.classes_) == [0, 1, 2]
    assert (model.predict(X[y == 2]) == 2).mean() > 0.5


# Containers


@every
def test_read_only_and_float32_arrays_and_lists_are_welcome(kind):
    X, Z, y = sample(kind=kind)
    expected = kind().fit(X, y, X_privileged=Z).predict(X)
    small = kind().fit(X.astype(np.float32), y, X_privileged=Z.astype(np.float32))
    np.testing.assert_allclose(small.predict(X.astype(np.float32)), expected, atol=1e-3)
    lists = kind().fit(X.tolist(), y.tolist(), X_privileged=Z.tolist())
    np.testing.assert_array_equal(lists.predict(X), expected)
    for part in (X, Z, y):
        part.setflags(write=False)
    np.testing.assert_array_equal(kind().fit(X, y, X_privileged=Z).predict(X), expected)


@every
def test_frames_are_remembered_by_name_and_their_index_is_compared(kind):
    X, Z, y = sample(steps=1, kind=kind)
    X, Z = pd.DataFrame(X, columns=list("abcd")), pd.DataFrame(Z[:, 0], columns=["u", "v", "w"])
    model = kind().fit(X, y, X_privileged=Z)
    assert list(model.feature_names_in_) == list("abcd")
    assert list(model.privileged_feature_names_in_) == ["u", "v", "w"]
    with pytest.raises(ValueError, match="X_privileged must be indexed like X"):
        kind().fit(X, y, X_privileged=Z.iloc[::-1])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"a": "z"}))


@every
def test_a_pickle_predicts_the_same_and_a_refit_forgets_the_first(kind):
    X, Z, y = sample(kind=kind)
    model = kind().fit(X, y, X_privileged=Z)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    model.set_params(imitation=0.0).fit(X[:, :2], y)
    assert model.coef_.shape == (1, 2)
    assert model.teacher_ is None
