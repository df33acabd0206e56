import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pitskd import TunedLogisticRegression, TunedRidge

PENALTIES = [0.01, 1.0, 30.0, 300.0]


def sample(n=60, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5)) * [1, 10, 0.1, 1, 1] + 3
    scores = (X - 3) / [1, 10, 0.1, 1, 1] @ rng.normal(size=(5, n_classes)) + 2 * rng.gumbel(size=(n, n_classes))
    return X, scores[:, 0] - scores[:, 1], scores.argmax(axis=1)


def logistic(penalty=1.0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-12))


@pytest.mark.parametrize(("cv", "splitter"), [(5, KFold(5)), (TimeSeriesSplit(3, gap=2),) * 2], ids=["int", "time"])
def test_tuned_ridge_chooses_and_predicts_as_grid_search_does(cv, splitter):
    X, y, _ = sample()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": PENALTIES}, cv=splitter,
        scoring=lambda model, X, y: -np.square(model.predict(X) - y).sum(),
    ).fit(X, y)  # fmt: skip
    tuned = TunedRidge(PENALTIES, cv=cv).fit(X, y)
    n_scored = sum(len(test) for _, test in splitter.split(X))
    assert tuned.penalty_ == search.best_params_["ridge__alpha"]
    summed = -search.cv_results_["mean_test_score"] * splitter.get_n_splits()
    np.testing.assert_allclose(tuned.held_out_losses_, summed / n_scored, rtol=1e-9)
    np.testing.assert_allclose(tuned.predict(X), search.predict(X), rtol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_tuned_logistic_regression_chooses_and_predicts_as_grid_search_does(n_classes):
    X, _, y = sample(90, n_classes)
    search = GridSearchCV(
        logistic(), {"logisticregression__C": [1 / p for p in PENALTIES]}, cv=StratifiedKFold(5),
        scoring=lambda model, X, y: -log_loss(y, model.predict_proba(X), normalize=False, labels=range(n_classes)),
    ).fit(X, y)  # fmt: skip
    tuned = TunedLogisticRegression(PENALTIES).fit(X, y)
    assert 1 / tuned.penalty_ == search.best_params_["logisticregression__C"]
    np.testing.assert_allclose(tuned.held_out_losses_, -search.cv_results_["mean_test_score"] * 5 / 90, rtol=1e-6)
    np.testing.assert_allclose(tuned.predict_proba(X), search.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(tuned.predict(X), search.predict(X))


def test_coefficients_are_for_features_as_given():
    X, y, labels = sample()
    ridge, logit = TunedRidge([1.0]).fit(X, y), TunedLogisticRegression([1.0]).fit(X, labels)
    np.testing.assert_allclose(X @ ridge.coef_[0] + ridge.intercept_[0], ridge.predict(X))
    np.testing.assert_allclose(X @ logit.coef_[0] + logit.intercept_[0], logit.decision_function(X))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_soft_targets_equal_weighted_duplicates(n_classes):
    X, _, y = sample(n_classes=n_classes)
    rng = np.random.default_rng(1)
    soft, weight = rng.dirichlet(np.ones(n_classes), len(X)), rng.uniform(0.5, 2, len(X))
    tuned = TunedLogisticRegression([0.3]).fit(X, y, soft_targets=soft, sample_weight=weight)
    shares = (soft * weight[:, None]).T.ravel()
    plain = logistic(0.3).fit(
        np.tile(X, (n_classes, 1)), np.repeat(np.arange(n_classes), len(X)),
        standardscaler__sample_weight=shares, logisticregression__sample_weight=shares,
    )  # fmt: skip
    np.testing.assert_allclose(tuned.predict_proba(X), plain.predict_proba(X), atol=1e-7)


def test_one_hot_soft_targets_are_the_labels():
    X, _, y = sample()
    hard, soft = TunedLogisticRegression().fit(X, y), TunedLogisticRegression().fit(X, y, soft_targets=np.eye(2)[y])
    np.testing.assert_array_equal(hard.coef_, soft.coef_)


@pytest.mark.parametrize("model", [TunedRidge([2.0]), TunedLogisticRegression([2.0])], ids=repr)
def test_weight_two_is_the_row_twice_and_weight_zero_is_no_row(model):
    X, _, y = sample()
    weight = np.tile([1.0, 2.0, 0.0], 20)
    weighted = model.fit(X, y, sample_weight=weight).coef_
    repeated = model.fit(*(np.repeat(part, weight.astype(int), axis=0) for part in (X, y))).coef_
    np.testing.assert_allclose(weighted, repeated, rtol=1e-7)


@pytest.mark.parametrize("model", [TunedRidge(), TunedLogisticRegression()], ids=repr)
def test_constant_and_offset_columns_are_finite_and_change_nothing(model):
    X, _, y = sample()
    plain = model.fit(X, y).predict(X)
    constant = model.fit(np.column_stack([X, np.zeros(60), np.full(60, 0.1), np.full(60, 1e9)]), y)
    assert np.isfinite(constant.coef_).all()
    np.testing.assert_allclose(constant.coef_[:, 5:], 0, atol=1e-6)
    np.testing.assert_allclose(
        constant.predict(np.column_stack([X, np.zeros(60), np.full(60, 0.1), np.full(60, 1e9)])), plain
    )


def test_a_small_wave_on_a_large_offset_is_still_a_feature():
    wave = np.random.default_rng(0).normal(size=100)
    model = TunedRidge([1e-6]).fit((1e8 + 1e-3 * wave)[:, None], wave)
    np.testing.assert_allclose(model.predict((1e8 + 1e-3 * wave)[:, None]), wave, atol=1e-3)


def test_ties_go_to_the_strongest_penalty():
    X = np.zeros((20, 2))
    assert TunedRidge(PENALTIES).fit(X, np.arange(20.0)).penalty_ == 300.0
    assert TunedLogisticRegression(PENALTIES).fit(X, np.arange(20) % 2).penalty_ == 300.0


def test_targets_side_by_side_equal_targets_one_by_one_at_one_penalty():
    X, y, _ = sample()
    both = TunedRidge([1.0]).fit(X, np.column_stack([y, y**2])).predict(X)
    np.testing.assert_allclose(both[:, 1], TunedRidge([1.0]).fit(X, y**2).predict(X))


def test_a_grid_scales_each_target_by_its_own_weights():
    X, y, _ = sample()
    weights = np.stack([np.r_[np.zeros(30), np.ones(30)], np.ones(60), np.r_[np.zeros(30), np.ones(30)]])
    targets = np.stack([y, 2 * y, y + 1])[..., None]
    coef, intercept = TunedRidge(PENALTIES).solve_grid(X, targets, weights)
    assert coef.shape == (3, 4, 1, X.shape[1])
    for t in range(3):
        for p, penalty in enumerate(PENALTIES):
            kept = weights[t] > 0
            expected = TunedRidge([penalty]).fit(X[kept], targets[t, kept, 0]).predict(X[:7])
            np.testing.assert_allclose(X[:7] @ coef[t, p, 0] + intercept[t, p, 0], expected, rtol=1e-9)


def test_a_row_that_a_splitter_draws_twice_counts_twice():
    X, y, _ = sample()
    train, test = np.r_[0:40, 0:10], np.arange(40, 60)
    drawn = TunedRidge(PENALTIES, cv=[(train, test)]).fit(X, y).held_out_losses_
    expected = [np.mean((TunedRidge([p]).fit(X[train], y[train]).predict(X[test]) - y[test]) ** 2) for p in PENALTIES]
    np.testing.assert_allclose(drawn, expected, rtol=1e-9)


BAD = [
    ({"penalties": [-1.0]}, {}, "penalties must be finite numbers"),
    ({"penalties": [np.nan]}, {}, "penalties must be finite numbers"),
    ({"penalties": []}, {}, "penalties must be finite numbers"),
    ({"penalties": ["a"]}, {}, "penalties must be finite numbers"),
    ({"cv": 1}, {}, "cv must be an integer of at least 2"),
    ({"cv": "five"}, {}, "cv must be an integer of at least 2 or a splitter, got five"),
    ({"cv": 61}, {}, "cv must be at most the number of rows, 60, got 61"),
    ({"cv": TimeSeriesSplit(3)}, {"sample_weight": np.repeat([0.0, 1.0], 30)}, "cv must be a splitter whose training"),
    ({}, {"sample_weight": np.zeros(60)}, "(?i)sample.weight"),
    ({}, {"sample_weight": np.r_[-1.0, np.ones(59)]}, "sample_weight must be at least 0"),
    ({}, {"sample_weight": np.ones(5)}, "sample_weight"),
]


@pytest.mark.parametrize("kind", [TunedRidge, TunedLogisticRegression])
@pytest.mark.parametrize(("settings", "arguments", "words"), BAD)
def test_wrong_arguments_are_named(kind, settings, arguments, words):
    X, _, y = sample()
    with pytest.raises(ValueError, match=words):
        kind(**settings).fit(X, y, **arguments)


def test_a_logistic_regression_needs_a_penalty_above_zero_two_classes_and_enough_of_them():
    X, _, y = sample()
    with pytest.raises(ValueError, match="penalties must be finite numbers above 0"):
        TunedLogisticRegression([0.0, 1.0]).fit(X, y)
    with pytest.raises(ValueError, match="y must be labels of at least two classes, got one class"):
        TunedLogisticRegression().fit(X, np.ones(60))
    with pytest.raises(ValueError, match="cv must be at most 3, the rows of the largest class, got 5"):
        TunedLogisticRegression(cv=5).fit(X[:6], [0, 1] * 3)


@pytest.mark.parametrize(
    ("soft", "words"),
    [
        (np.full((60, 3), 1 / 3), r"soft_targets must be of shape \(60, 2\)"),
        (np.full((60, 2), 0.4), "soft_targets must be probabilities whose rows sum to 1"),
        (np.full((60, 2), np.nan), "soft_targets must be probabilities whose rows sum to 1"),
        (np.tile([1.5, -0.5], (60, 1)), "soft_targets must be probabilities whose rows sum to 1"),
    ],
)
def test_soft_targets_that_are_no_probabilities_are_refused(soft, words):
    X, _, y = sample()
    with pytest.raises(ValueError, match=words):
        TunedLogisticRegression().fit(X, y, soft_targets=soft)


@pytest.mark.parametrize("n_events", [3, 7])
def test_by_default_there_are_no_more_folds_than_the_scarcest_class_has_rows(n_events):
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = np.isin(np.arange(40), np.linspace(0, 39, n_events).astype(int))
    rare = TunedLogisticRegression().fit(X, y)
    same = TunedLogisticRegression(cv=min(5, n_events)).fit(X, y)
    np.testing.assert_array_equal(rare.held_out_losses_, same.held_out_losses_)


def test_a_single_event_leaves_no_choice_of_penalty():
    X = np.random.default_rng(0).normal(size=(20, 3))
    model = TunedLogisticRegression().fit(X, np.arange(20) == 7)
    assert model.penalty_ == 1.0
    assert np.isnan(model.held_out_losses_).all()
