import numpy as np
import pandas as pd
import pytest
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, TimeSeriesSplit

from pitskd import (
    AnchoredDistillationClassifier,
    AnchoredDistillationClassifierCV,
    AnchoredDistillationRegressor,
    AnchoredDistillationRegressorCV,
    ChainDistillationClassifier,
    ChainDistillationClassifierCV,
    ChainDistillationRegressor,
    ChainDistillationRegressorCV,
)
from pitskd.linear._calibration import calibrate
from pitskd.linear._families import anchored_rules, chain_rules, dynamics_rules
from pitskd.linear._paths import logistic_path
from pitskd.linear._states import channels_agree

PAIRS = [
    (ChainDistillationRegressorCV, ChainDistillationRegressor),
    (ChainDistillationClassifierCV, ChainDistillationClassifier),
    (AnchoredDistillationRegressorCV, AnchoredDistillationRegressor),
    (AnchoredDistillationClassifierCV, AnchoredDistillationClassifier),
]
SEARCHES, SINGLES = zip(*PAIRS, strict=True)
every = pytest.mark.parametrize("kind", SEARCHES)
CHAINS, ANCHORED = SINGLES[:2], SINGLES[2:]
IMITATIONS, PENALTIES, ANCHORS = (0.0, 0.5, 1.0), (10.0, 0.5), (100.0, 3.0)


def sample(n=60, kind=ChainDistillationRegressor, seed=0, window=3, steps=2, channels=2):
    """Return windows, their middle and a target after it."""
    rng = np.random.default_rng(seed)
    path = rng.normal(size=(n, window + steps, channels)).cumsum(axis=1) + 3
    y = path[:, -1].sum(axis=1) + 0.5 * rng.normal(size=n)
    return path[:, :window], path[:, window:], (y > 6).astype(int) if issubclass(kind, ClassifierMixin) else y


def with_holes(X, Z, y):
    """Return the sample with rows without middle and rows without label."""
    Z, y = Z.copy(), y.astype(float)
    Z[::5], y[2::5] = np.nan, np.nan
    return X, Z, y


def training_sets(n, folds=3, seed=1):
    """Return weights of folds and of all rows, some weights not 1."""
    weight = np.random.default_rng(seed).uniform(0.5, 2.0, n)
    sets = [np.where(np.arange(n) % folds == f, 0.0, weight) for f in range(folds)]
    return np.stack([*sets, np.ones(n)])


def read(kind, X, Z, y):
    """Return task and lesson as the estimator reads them."""
    model = kind()
    task = model._task()
    return task, model._read(task, X, y, Z, None, {0.5})


def fitted(kind, X, Z, y, weight, **settings):
    """Fit a single estimator to the rows of positive weight."""
    rows = np.flatnonzero(weight)
    return kind(**settings).fit(X[rows], y[rows], X_privileged=Z[rows], sample_weight=weight[rows])


# The whole family equals one estimator after the other, fitted to the rows that are left


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("walk", [{}, {"states": "windows"}, {"static": [0, 3]}], ids=repr)
def test_chain_rules_equal_chains_fitted_one_by_one(kind, holes, walk):
    X, Z, y = with_holes(*sample(kind=kind)) if holes else sample(kind=kind)
    sets = training_sets(60)
    rules = chain_rules(*read(kind, X, Z, y), IMITATIONS, PENALTIES, sets, **walk)
    assert rules.settings.to_dict("list") == {"imitation": [0.0, 0.0, 0.5, 0.5, 1.0, 1.0], "penalty": [10.0, 0.5] * 3}
    for f, weight in enumerate(sets):
        for m, settings in enumerate(rules.settings.to_dict("records")):
            alone = fitted(kind, X, Z, y, weight, **settings, **walk)
            np.testing.assert_allclose(rules.coef[f, m], alone.coef_, atol=1e-7)
            np.testing.assert_allclose(rules.intercept[f, m], alone.intercept_, atol=1e-6)


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("holes", [False, True])
def test_indicators_are_penalised_on_their_range(kind, holes):
    X, Z, y = sample(kind=kind)
    X[..., 0], Z[..., 0] = 4.0 * (X[..., 0] > 5), 4.0 * (Z[..., 0] > 5)
    X, Z, y = with_holes(X, Z, y) if holes else (X, Z, y)
    sets, units = training_sets(60)[-1:], np.array([4.0, 1.0] * 3)
    rules = chain_rules(*read(kind, X, Z, y), (1.0,), (2.0,), sets, indicators=True)
    plain = chain_rules(*read(kind, X, Z, y), (1.0,), (2.0,), sets)
    assert np.abs(rules.coef - plain.coef).max() > 1e-3
    # What the range divides it makes independent of the unit.
    other = chain_rules(*read(kind, X / np.array([4.0, 1.0]), Z / np.array([4.0, 1.0]), y), (1.0,), (2.0,), sets,
                        indicators=True)  # fmt: skip
    np.testing.assert_allclose(other.coef, rules.coef * units, atol=1e-6)


@pytest.mark.parametrize("frames", [False, True])
def test_channels_agree_by_name_or_by_number(frames):
    X, Z, y = sample(window=1, steps=1, channels=3)
    X, Z = X[:, 0], Z[:, 0]
    wrap = (lambda a, names: pd.DataFrame(a, columns=list(names))) if frames else (lambda a, names: a)
    expected = {"abc": True, "cab": True, "uvw": True, "abz": not frames}
    for names, agree in expected.items():
        lesson = read(ChainDistillationRegressor, wrap(X, "abc"), wrap(Z, names), y)[1]
        assert channels_agree(lesson) == agree
    assert not channels_agree(read(ChainDistillationRegressor, X, Z[:, :2], y)[1])
    assert not channels_agree(read(ChainDistillationRegressor, X, None, y)[1])


@pytest.mark.parametrize("kind", ANCHORED)
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(
    "more", [{}, {"states": "windows"}, {"towards": "dynamics", "order": 2}, {"target_imitation": 0.6}], ids=repr
)
def test_anchored_rules_equal_students_fitted_one_by_one(kind, holes, more):
    X, Z, y = with_holes(*sample(kind=kind)) if holes else sample(kind=kind)
    sets = training_sets(60)
    rules = anchored_rules(*read(kind, X, Z, y), ANCHORS, sets, imitations=(0.5, 1.0), penalties=PENALTIES, **more)
    assert list(rules.settings) == ["imitation", "penalty", "anchor"]
    assert len(rules.settings) == (4 if "towards" in more else 8)
    for f, weight in enumerate(sets):
        for m, settings in enumerate(rules.settings.fillna(0.0).to_dict("records")):
            alone = fitted(kind, X, Z, y, weight, **settings, **more)
            np.testing.assert_allclose(rules.coef[f, m], alone.coef_, atol=1e-6)
            np.testing.assert_allclose(rules.intercept[f, m], alone.intercept_, atol=1e-5)


def test_rules_of_several_targets_and_of_several_classes_equal_single_fits():
    X, Z, y = sample(90)
    sets = training_sets(90)[1:]
    targets, classes = np.column_stack([y, y**2, -y]), np.digitize(y, np.quantile(y, [1 / 3, 2 / 3]))
    chains = [(ChainDistillationRegressor, targets), (ChainDistillationClassifier, classes)]
    anchored = [(AnchoredDistillationRegressor, targets), (AnchoredDistillationClassifier, classes)]
    cases = [
        *((kind, y, chain_rules(*read(kind, X, Z, y), (0.7,), (2.0,), sets)) for kind, y in chains),
        *((kind, y, anchored_rules(*read(kind, X, Z, y), (5.0,), sets)) for kind, y in anchored),
        *((kind, y, anchored_rules(*read(kind, X, Z, y), (5.0,), sets, towards="dynamics")) for kind, y in anchored),
    ]
    for kind, told, rules in cases:
        assert rules.coef.shape == (3, 1, 3, 6)
        towards = {"towards": "dynamics"} if rules.settings["imitation"].isna().all() else {}
        for f, weight in enumerate(sets):
            settings = rules.settings.fillna(0.0).to_dict("records")[0]
            alone = fitted(kind, X, Z, told, weight, **settings, **towards)
            np.testing.assert_allclose(rules.coef[f, 0], alone.coef_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", SINGLES)
def test_rules_of_a_set_know_nothing_of_the_rows_held_out(kind):
    X, Z, y = sample(kind=kind)
    sets = training_sets(60)[:1]
    out = sets[0] == 0
    other_X, other_Z, other_y = X.copy(), Z.copy(), y.copy()
    other_X[out], other_Z[out] = 1e3 * X[out] - 5, -1e3 * Z[out] + 7
    other_y[out] = 1 - y[out]

    def rules(X, Z, y):
        task, lesson = read(kind, X, Z, y)
        if kind in CHAINS:
            return [chain_rules(task, lesson, (0.5, 1.0), PENALTIES, sets)]
        more = {"target_imitation": 0.5, "penalties": PENALTIES}
        return [anchored_rules(task, lesson, ANCHORS, sets, towards=prior, **more) for prior in ("chain", "dynamics")]

    for before, after in zip(rules(X, Z, y), rules(other_X, other_Z, other_y), strict=True):
        np.testing.assert_allclose(after.coef, before.coef, rtol=1e-5, atol=1e-7)
    for before, after in zip(rules(X, Z, y), rules(X, other_Z, y), strict=True):
        np.testing.assert_allclose(after.coef, before.coef, atol=1e-8)  # the solvers centre all rows together


@pytest.mark.parametrize("kind", SINGLES)
def test_without_a_middle_every_setting_is_the_plain_model_of_its_penalty(kind):
    X, Z, y = sample(kind=kind)
    task, lesson = read(kind, X, np.full(Z.shape, np.nan), y)
    sets = training_sets(60)[-1:]
    if kind in CHAINS:
        rules = chain_rules(task, lesson, IMITATIONS, PENALTIES, sets)
    else:
        rules = anchored_rules(
            task, lesson, (10.0,), sets, towards="dynamics", imitations=IMITATIONS, penalties=PENALTIES
        )
    for m, penalty in enumerate(rules.settings["penalty"]):
        plain = kind(imitation=0.0, penalty=penalty).fit(X, y)
        np.testing.assert_allclose(rules.coef[0, m], plain.coef_, atol=1e-7)


def test_a_training_set_without_labelled_privileged_rows_is_refused():
    X, Z, y = sample()
    Z[20:] = np.nan
    task, lesson = read(ChainDistillationRegressor, X, Z, y)
    sets = np.stack([np.ones(60), np.repeat([0.0, 1.0], [20, 40])])
    with pytest.raises(ValueError, match="X_privileged must be present in labelled rows"):
        chain_rules(task, lesson, (0.5,), PENALTIES, sets)
    with pytest.raises(ValueError, match="X_privileged must be present in labelled rows"):
        dynamics_rules(task, lesson, PENALTIES, sets)


def test_values_of_rules_are_linear_in_the_rows():
    X, Z, y = sample()
    rules = chain_rules(*read(ChainDistillationRegressor, X, Z, y), IMITATIONS, PENALTIES, training_sets(60))
    rows = X.reshape(60, 6)[:7]
    values = rules.values(rows)
    assert values.shape == (4, 6, 7, 1)
    np.testing.assert_allclose(values[2, 3, :, 0], rows @ rules.coef[2, 3, 0] + rules.intercept[2, 3, 0])


# Calibration


@pytest.mark.parametrize("spread", [1e-3, 5.0])
def test_calibration_is_a_logistic_regression_on_the_score(spread):
    rng = np.random.default_rng(0)
    score = spread * rng.normal(size=(2, 80)) + 3
    y = (score[0] + spread * rng.normal(size=80) > 3).astype(int)
    weight = np.stack([np.ones(80), np.repeat([0.0, 2.0], 40)])
    slope, intercept = calibrate(score[..., None], np.eye(2)[y], weight)
    for f in range(2):
        share = weight[f] / weight[f].sum()
        mean = share @ score[f]
        unit = np.sqrt(share @ np.square(score[f] - mean))
        coef, constant = logistic_path(
            ((score[f] - mean) / unit)[:, None], np.eye(2)[y][None], np.array([1e-4]), weight[f : f + 1]
        )
        assert slope[f] == pytest.approx(coef.item() / unit, rel=1e-6)
        assert intercept[f, 0] == pytest.approx(constant.item() - coef.item() * mean / unit, rel=1e-6, abs=1e-7)


def test_calibration_of_separable_and_of_constant_scores_is_finite():
    y = np.repeat([0, 1], 20)
    score = np.stack([y - 0.5, np.full(40, 0.1)])[..., None]
    slope, intercept = calibrate(score, np.eye(2)[y], np.ones((2, 40)))
    assert 1 < slope[0] < 100
    np.testing.assert_allclose([slope[1], intercept[1, 0]], 0, atol=1e-9)


def test_calibration_of_several_classes_finds_the_slope_that_was_taken_away():
    rng = np.random.default_rng(1)
    logits = 2 * rng.normal(size=(4000, 3)) + [0.5, 0.0, -0.5]
    y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    slope, intercept = calibrate((logits / 4 + 1)[None], np.eye(3)[y], np.ones((1, 4000)))
    assert slope[0] == pytest.approx(4, rel=0.1)
    centred = intercept[0] - intercept[0].mean()
    np.testing.assert_allclose(centred, 0, atol=0.2)


# The searches


def search(kind, **more):
    grid = {"imitations": IMITATIONS, "penalties": PENALTIES, "cv": 3}
    return kind(**grid, **({"anchors": ANCHORS} if "Anchored" in kind.__name__ else {}), **more)


@pytest.mark.parametrize(("kind", "single"), PAIRS)
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("cv", [3, TimeSeriesSplit(3, gap=2)], ids=["int", "time"])
def test_a_search_scores_what_single_fits_score_on_the_rows_held_out(kind, single, holes, cv):
    X, Z, y = sample(kind=kind)
    weight = np.random.default_rng(2).uniform(0.5, 2, 60)
    if holes:
        X, Z, y = with_holes(X, Z, y)
    known = np.flatnonzero(~np.isnan(y.astype(float)))
    model = search(kind).set_params(cv=cv).fit(X, y, X_privileged=Z, sample_weight=weight)
    if cv == 3:
        splitter = StratifiedKFold(3) if issubclass(kind, ClassifierMixin) else KFold(3)
        splits = [
            (np.setdiff1d(np.arange(60), known[test]), known[test]) for _, test in splitter.split(known, y[known])
        ]
    else:
        splits = [(train, np.intersect1d(test, known)) for train, test in cv.split(X)]
    names = [name for name in model.cv_results_ if "loss" not in name]
    for m in (0, 3, len(model.cv_results_["penalty"]) - 1):
        settings = {name: model.cv_results_[name][m] for name in names}
        for f, (train, test) in enumerate(splits):
            kept = weight.copy()
            kept[np.setdiff1d(np.arange(60), train)] = 0
            alone = fitted(single, X, Z, y, kept, **settings)
            if issubclass(kind, ClassifierMixin):
                logits = np.where(y[test] == 1, 1, -1) * alone.decision_function(X[test])
                expected = np.average(np.logaddexp(0, -logits), weights=weight[test])
            else:
                expected = np.average(np.square(alone.predict(X[test]) - y[test]), weights=weight[test])
            assert model.cv_results_[f"split{f}_test_loss"][m] == pytest.approx(expected, rel=1e-5)
    sums = [weight[test].sum() for _, test in splits]
    mean = np.average([model.cv_results_[f"split{f}_test_loss"] for f in range(3)], axis=0, weights=sums)
    np.testing.assert_allclose(model.cv_results_["mean_test_loss"], mean, rtol=1e-12)


@pytest.mark.parametrize(("kind", "single"), PAIRS)
def test_a_search_returns_the_best_of_its_table_fitted_to_all_rows(kind, single):
    X, Z, y = sample(kind=kind)
    model = search(kind).fit(X, y, X_privileged=Z)
    best = int(np.argmin(model.cv_results_["mean_test_loss"]))
    assert model.best_loss_ == model.cv_results_["mean_test_loss"][best]
    assert model.best_params_ == {name: model.cv_results_[name][best] for name in model.best_params_}
    refit = single(**model.best_params_).fit(X, y, X_privileged=Z)
    np.testing.assert_array_equal(model.predict(X), refit.predict(X))
    np.testing.assert_array_equal(model.coef_, refit.coef_)
    assert type(model.best_estimator_) is single


@pytest.mark.parametrize("kind", SEARCHES[:2])
def test_imitation_zero_is_always_a_candidate_and_counted_once_per_penalty(kind):
    X, Z, y = sample(kind=kind)
    model = kind(imitations=[1.0, 0.0, 0.5, 0.5], penalties=[1.0, 10.0, 1.0], cv=3).fit(X, y, X_privileged=Z)
    results = pd.DataFrame(model.cv_results_)
    assert results["imitation"].tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert results["penalty"].tolist() == [10.0, 1.0] * 3
    assert 0.0 in set(kind(imitations=0.5, cv=3).fit(X, y, X_privileged=Z).cv_results_["imitation"])


@pytest.mark.parametrize(
    "settings", [{"link": RandomForestRegressor(3, random_state=0)}, {"stationary": True}], ids=repr
)
def test_links_that_no_grid_solves_are_searched_one_by_one(settings):
    X, Z, y = sample(window=1)
    penalties = None if "link" in settings else [1.0, 10.0]
    model = ChainDistillationRegressorCV((0.0, 1.0), penalties, cv=KFold(3), **settings).fit(X, y, X_privileged=Z)
    for m, imitation in enumerate(model.cv_results_["imitation"]):
        penalty = model.cv_results_["penalty"][m]
        single = ChainDistillationRegressor(imitation, 1.0 if np.isnan(penalty) else penalty, **settings)
        losses = [
            np.square(clone(single).fit(X[a], y[a], X_privileged=Z[a]).predict(X[b]) - y[b]).mean()
            for a, b in KFold(3).split(X)
        ]
        assert model.cv_results_["mean_test_loss"][m] == pytest.approx(np.mean(losses))
    assert np.isnan(model.best_params_["penalty"]) == ("link" in settings)


@pytest.mark.parametrize("kind", SEARCHES[2:])
def test_towards_dynamics_there_is_no_imitation_to_choose(kind):
    X, Z, y = sample(kind=kind)
    model = search(kind, towards="dynamics", order=2).fit(X, y, X_privileged=Z)
    assert len(model.cv_results_["anchor"]) == 4
    assert np.isnan(model.best_params_["imitation"])
    np.testing.assert_array_equal(model.prior_coef_, model.best_estimator_.prior_coef_)


@every
def test_no_privileged_rows_warns_once_and_searches_plain_models(kind):
    X, Z, y = sample(kind=kind)
    more = {"towards": "dynamics", "target_imitation": 0.5} if "Anchored" in kind.__name__ else {}
    with pytest.warns(UserWarning, match="X_privileged is None or empty") as said:
        model = search(kind, **more).fit(X, y, X_privileged=np.full(Z.shape, np.nan))
    assert len(said) == 1
    assert set(model.cv_results_["imitation"]) == {0.0}
    assert model.teacher_ is None


@every
def test_fewer_rows_than_folds_and_one_class_in_a_fold_are_named(kind):
    X, Z, y = sample(kind=kind)
    n_rows = 40 if issubclass(kind, ClassifierMixin) else 4
    if issubclass(kind, ClassifierMixin):
        few = np.r_[np.flatnonzero(y == 0)[:3], np.flatnonzero(y == 1)[:3]]
        with pytest.raises(ValueError, match="cv must be at most 3, the rows of the largest class, got 5"):
            kind(cv=5).fit(X[few], y[few], X_privileged=Z[few])
        order = np.argsort(y, kind="stable")
        with pytest.raises(
            ValueError, match="cv must be a splitter whose training parts hold two labelled rows, of two"
        ):
            kind(cv=TimeSeriesSplit(3)).fit(X[order], y[order], X_privileged=Z[order])
    else:
        with pytest.raises(ValueError, match="cv must be at most 4, the rows to be split, got 5"):
            kind(cv=5).fit(X[:n_rows], y[:n_rows], X_privileged=Z[:n_rows])


@every
def test_a_fold_whose_training_part_has_no_middle_is_named(kind):
    X, Z, y = sample(kind=kind)
    Z[20:] = np.nan
    with pytest.raises(
        ValueError, match=r"X_privileged must be present in labelled rows.*Use fewer folds or more rows"
    ):
        kind(cv=[(np.arange(20, 60), np.arange(20))]).fit(X, y, X_privileged=Z)


BAD = [
    ({"imitations": []}, "imitations must be at least one number"),
    ({"imitations": [2.0]}, "imitations must be a number between 0 and 1"),
    ({"penalties": [-1.0]}, "penalties must be finite numbers"),
    ({"cv": 1}, "cv must be an integer of at least 2"),
    ({"states": "rows"}, "states must be 'steps' or 'windows'"),
]


@every
@pytest.mark.parametrize(("settings", "words"), BAD, ids=lambda value: repr(value)[:30])
def test_wrong_arguments_of_a_search_are_named(kind, settings, words):
    X, Z, y = sample(kind=kind)
    with pytest.raises(ValueError, match=words):
        kind(**settings).fit(X, y, X_privileged=Z)


def test_wrong_arguments_of_one_search_are_named():
    X, Z, y = sample()
    with pytest.raises(ValueError, match="penalties must be None for links that are given"):
        ChainDistillationRegressorCV(link=Ridge(), penalties=[1.0]).fit(X, y, X_privileged=Z)
    with pytest.raises(ValueError, match="anchors must be finite numbers of at least 0"):
        AnchoredDistillationRegressorCV(anchors=[-1.0]).fit(X, y, X_privileged=Z)
    with pytest.raises(ValueError, match="anchors must be finite numbers above 0"):
        AnchoredDistillationClassifierCV(anchors=[0.0]).fit(X, y > 6, X_privileged=Z)
    with pytest.raises(ValueError, match="penalties must be finite numbers above 0"):
        ChainDistillationClassifierCV(penalties=[0.0]).fit(X, y > 6, X_privileged=Z)
    with pytest.raises(TypeError, match="link must be a classifier with predict_proba, to be chosen by log-loss"):
        ChainDistillationClassifierCV(link=_NoProbabilities()).fit(X, y > 6, X_privileged=Z)


class _NoProbabilities(LogisticRegression):
    predict_proba = property()  # hasattr says no
