"""The front door: what it combines, what it never does, and what it says to bad input."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneOut,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pitskd import (
    ChainDistillationClassifier,
    ChainDistillationRegressor,
    PrivilegedClassifier,
    PrivilegedRegressor,
    TunedLogisticRegression,
    TunedRidge,
    mackey_glass_windows,
    make_windows,
    simulate_linear_chain,
)
from pitskd._candidates import BUILT_IN, Trial

KINDS = (PrivilegedRegressor, PrivilegedClassifier)
BOTH = pytest.mark.parametrize("kind", KINDS)
RULES = ("anchored", "average", "weights", "stack", "select")
FOREST = RandomForestRegressor(8, random_state=0), RandomForestClassifier(8, random_state=0)
ROUNDING = 1e-9


def sample(kind=PrivilegedRegressor, n=60, window=3, steps=3, channels=3, seed=0):
    """Return random walks cut into windows and middle, and what they lead to."""
    rng = np.random.default_rng(seed)
    path = rng.normal(size=(n, window + steps, channels)).cumsum(axis=1)
    y = path[:, -1, 0] + 0.5 * rng.normal(size=n)
    return path[:, :window], path[:, window:], y if kind is PrivilegedRegressor else (y > 0).astype(float)


def fitted(kind=PrivilegedRegressor, data=None, sample_weight=None, **settings):
    X, Z, y = sample(kind) if data is None else data
    return kind(**settings).fit(X, y, X_privileged=Z, sample_weight=sample_weight)


def values(model, X):
    """Return what a model says in numbers."""
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def trial_of(kind, data):
    model = kind()
    task = model._task()
    lesson = model._read(task, data[0], data[2], data[1], None, {1.0})
    return Trial.of(task, lesson, model._folds(task, lesson, True))


def squared_error(model, X, y):
    return np.mean(np.square(model.predict(X) - y))


# What it combines


@BOTH
@pytest.mark.parametrize("missing", [None, np.full((60, 3, 3), np.nan), np.empty((60, 0, 3))], ids=["none", "nan", "0"])
def test_without_privileged_rows_it_warns_and_is_the_tuned_baseline(kind, missing):
    X, _, y = sample(kind)
    with pytest.warns(UserWarning, match="X_privileged is None or empty.*candidates="):
        model = kind().fit(X, y, X_privileged=missing)
    assert model.weights_ == {"baseline": 1.0, "generalized": 0.0, "chain": 0.0, "dynamics": 0.0}
    assert (model.candidates_["left_out"].iloc[1:] == "no row has a privileged part").all()
    assert_array_equal(values(model, X), values(kind("baseline").fit(X, y), X))


@BOTH
@pytest.mark.parametrize("candidates", ["chain", ["chain", "dynamics"]])
def test_the_baseline_stands_in_for_candidates_that_have_nothing_to_learn_from(kind, candidates):
    X, _, y = sample(kind)
    with pytest.warns(UserWarning, match="learns from hard targets only"):
        model = kind(candidates).fit(X, y)
    assert model.weights_["baseline"] == 1.0
    assert_array_equal(values(model, X), values(kind("baseline").fit(X, y), X))


@BOTH
def test_nobody_is_warned_who_asked_for_no_privilege(kind):
    X, _, y = sample(kind)
    kind("baseline").fit(X, y)


@BOTH
def test_the_baseline_ignores_privileged_rows(kind):
    X, Z, y = sample(kind)
    assert_array_equal(fitted(kind, (X, Z, y), candidates="baseline").coef_, kind("baseline").fit(X, y).coef_)


@BOTH
@pytest.mark.parametrize("combine", RULES)
def test_the_student_is_the_combination_that_the_weights_tell(kind, combine):
    X, Z, y = sample(kind)
    model = fitted(kind, (X, Z, y), combine=combine)
    weights = model.weights_
    assert sum(weights.values()) == pytest.approx(1.0)
    assert min(weights.values()) >= 0.0
    assert weights == model.rules_.loc[combine].to_dict() == model.candidates_["weight"].to_dict()
    flat = X.reshape(len(X), -1)
    ask = "predict" if kind is PrivilegedRegressor else "decision_function"  # logits are what is averaged
    alone = {name: getattr(one, ask)(flat) for name, one in model.candidate_students_.items()}
    expected = sum(weights[name] * said for name, said in alone.items())
    assert_allclose(getattr(model, ask)(X), expected, rtol=ROUNDING, atol=ROUNDING)
    assert_allclose(flat @ model.coef_[0] + model.intercept_[0], expected, rtol=ROUNDING, atol=ROUNDING)


@BOTH
def test_rules_of_combination_do_what_they_say(kind):
    model = fitted(kind)
    loss, rules = model.candidates_["held_out_loss"], model.rules_
    assert rules.loc["anchored"].to_dict() == {"baseline": 0, "generalized": 0, "chain": 0.5, "dynamics": 0.5}
    assert_allclose(rules.loc["average"], [0, 1 / 3, 1 / 3, 1 / 3])
    assert rules.loc["select"].idxmax() == loss.idxmin()
    assert rules.loc["select"].max() == 1.0
    power = 60 / (2 * loss.min()) if kind is PrivilegedRegressor else 60
    assert_allclose(rules.loc["weights"], softmax(-power * (loss - loss.min())), rtol=1e-6)
    stacked = fitted(kind, combine="stack").loss_
    # SLSQP stops at 1e-6 of the loss; no other mixture may be better by more.
    assert all(stacked <= (1 + 1e-5) * fitted(kind, combine=rule).loss_ for rule in RULES)


@BOTH
def test_one_candidate_alone_is_the_student_whatever_the_rule(kind):
    X, Z, y = sample(kind)
    of_four = fitted(kind, (X, Z, y)).candidate_students_
    for name in BUILT_IN:
        for combine in RULES:
            model = fitted(kind, (X, Z, y), candidates=[name], combine=combine)
            assert_allclose(model.coef_, of_four[name].coef_, rtol=1e-12)
            assert model.loss_ == pytest.approx(model.candidates_["held_out_loss"].item())


def test_candidates_that_the_rows_do_not_allow_are_left_out_with_the_reason():
    X, Z, y = sample()
    model = fitted(data=(X, Z[..., :2], y))
    assert model.candidates_.loc["dynamics", "left_out"] == "X_privileged has other channels than X"
    assert model.weights_ == {"baseline": 0.0, "generalized": 0.0, "chain": 1.0, "dynamics": 0.0}
    assert list(model.candidate_students_) == ["baseline", "generalized", "chain"]


@BOTH
def test_with_too_few_rows_to_hold_any_out_it_warns_and_takes_the_defaults(kind):
    X, Z, y = sample(kind)
    rows = [0, int(np.flatnonzero(y != y[0])[0])]
    with pytest.warns(UserWarning, match="2 rows are too few"):
        model = kind().fit(X[rows], y[rows], X_privileged=Z[rows])
    assert model.n_folds_ == 0
    assert np.isnan(model.loss_)
    assert np.isfinite(values(model, X)).all()


# No privilege, and no target, of a held-out row is looked at


@BOTH
@pytest.mark.parametrize("name", list(BUILT_IN))
@pytest.mark.parametrize("what", ["middle", "target"])
def test_what_is_fitted_for_a_fold_never_saw_its_held_out_rows(kind, name, what):
    X, Z, y = sample(kind)
    trial = trial_of(kind, (X, Z, y))
    rules = BUILT_IN[name]().rules(trial)[0]
    for f, (_, test) in enumerate(trial.folds[:3]):
        changed = {"Z": trial.lesson.Z.copy(), "hard": trial.lesson.hard.copy()}
        part = changed["Z" if what == "middle" else "hard"]
        flip = 1.0 if kind is PrivilegedClassifier else 5.0
        part[test] = 5.0 - part[test][::-1] if what == "middle" else flip - part[test]
        again = BUILT_IN[name]().rules(replace(trial, lesson=replace(trial.lesson, **changed)))[0]
        # Batches of problems are solved together, which moves the last digits of a Newton step.
        assert_allclose(again.coef[f], rules.coef[f], rtol=1e-7, atol=1e-9)
        assert_allclose(again.intercept[f], rules.intercept[f], rtol=1e-7, atol=1e-8)
        other = (f + 1) % len(trial.folds)
        if name != "baseline" or what == "target":
            assert not np.allclose(again.coef[other], rules.coef[other], rtol=1e-3)


# Invariances


@BOTH
def test_units_and_origins_of_channels_do_not_matter(kind):
    X, Z, y = sample(kind)
    unit, origin = np.array([1e5, 1e-4, 7.0]), np.array([20.0, -3.0, 1000.0])
    plain = values(fitted(kind, (X, Z, y)), X)
    moved = values(fitted(kind, ((X + origin) * unit, (Z + origin) * unit, y)), (X + origin) * unit)
    assert_allclose(moved, plain, rtol=1e-6, atol=1e-6)


def test_the_unit_and_origin_of_the_target_do_not_matter():
    X, Z, y = sample()
    plain = fitted(data=(X, Z, y)).predict(X)
    assert_allclose(fitted(data=(X, Z, 1e4 * y + 30.0)).predict(X), 1e4 * plain + 30.0, rtol=1e-6)


def test_names_of_classes_do_not_matter():
    X, Z, y = sample(PrivilegedClassifier)
    words = np.where(y > 0, "wet", "dry")
    model = fitted(PrivilegedClassifier, (X, Z, words))
    assert_array_equal(model.classes_, ["dry", "wet"])
    assert_array_equal(model.predict_proba(X), fitted(PrivilegedClassifier, (X, Z, y)).predict_proba(X))


@BOTH
def test_the_order_of_channels_does_not_matter(kind):
    X, Z, y = sample(kind)
    order = [2, 0, 1]
    assert_allclose(
        values(fitted(kind, (X[..., order], Z[..., order], y)), X[..., order]),
        values(fitted(kind, (X, Z, y)), X), rtol=1e-7, atol=1e-7,
    )  # fmt: skip


@BOTH
def test_columns_of_frames_correspond_by_name(kind):
    X, Z, y = sample(kind)
    first, then = (pd.DataFrame(part, columns=list("abc")) for part in (X[:, -1], Z[:, 0]))
    plain = kind().fit(first, y, X_privileged=then)
    turned = kind().fit(first, y, X_privileged=then[["c", "a", "b"]])
    assert list(turned.privileged_feature_names_in_) == ["c", "a", "b"]
    # The teacher sees its columns in another order, which moves the last digits.
    assert_allclose(values(turned, first), values(plain, first), rtol=1e-7, atol=1e-9)


@BOTH
@pytest.mark.parametrize("kind_of_array", ["float32", "read-only", "fortran", "list"])
def test_kinds_of_arrays_do_not_matter(kind, kind_of_array):
    X, Z, y = (part.astype(np.float32).astype(np.float64) for part in sample(kind))
    plain = values(fitted(kind, (X, Z, y)), X)
    if kind_of_array == "read-only":
        for part in (X, Z, y):
            part.setflags(write=False)
    convert = {"float32": np.float32, "fortran": np.asfortranarray, "list": lambda part: part.tolist()}
    given = [convert.get(kind_of_array, np.asarray)(part) for part in (X, Z, y)]
    assert_allclose(values(fitted(kind, given), given[0]), plain, rtol=1e-6, atol=1e-6)


@BOTH
def test_nothing_that_was_given_is_changed(kind):
    data = sample(kind)
    copies = [part.copy() for part in data]
    model = kind(candidates=["chain", "baseline"], combine="stack", cv=3)
    before = str(model.get_params())
    model.fit(data[0], data[2], X_privileged=data[1])
    assert str(model.get_params()) == before
    for part, copy in zip(data, copies, strict=True):
        assert_array_equal(part, copy)


@BOTH
@pytest.mark.parametrize("cv", [None, 3])
def test_rows_of_weight_zero_are_as_good_as_dropped(kind, cv):
    X, Z, y = sample(kind, n=70)
    weight = np.where(np.arange(70) % 7 == 3, 0.0, 1.5)
    kept = weight > 0
    X[..., 1] = X[..., 1] > 0  # an indicator, but for the rows that do not count
    Z[..., 1] = Z[..., 1] > 0
    X[~kept], Z[~kept] = 1e3 * X[~kept] + 5.0, -7.0
    y[~kept] = 1.0 - y[~kept]
    whole = fitted(kind, (X, Z, y), weight, cv=cv)
    part = fitted(kind, (X[kept], Z[kept], y[kept]), weight[kept], cv=cv)
    assert_allclose(whole.coef_, part.coef_, rtol=ROUNDING)
    assert whole.loss_ == pytest.approx(part.loss_)


@BOTH
def test_equal_weights_of_one_are_no_weights(kind):
    assert_allclose(fitted(kind, sample_weight=np.ones(60)).coef_, fitted(kind).coef_, rtol=1e-12)


def test_two_equal_targets_are_forecast_as_one():
    X, Z, y = sample()
    one, two = fitted(data=(X, Z, y)), fitted(data=(X, Z, np.stack([y, y], axis=1)))
    assert_allclose(two.predict(X), np.stack([one.predict(X)] * 2, axis=1), rtol=1e-7)
    assert fitted(data=(X, Z, y[:, None])).predict(X).shape == (60, 1)


def test_two_of_three_classes_merge_to_sensible_probabilities():
    X, Z, y = sample()
    model = fitted(PrivilegedClassifier, (X, Z, np.digitize(y, [-1.0, 1.0])))
    said = model.predict_proba(X)
    assert said.shape == model.decision_function(X).shape == (60, 3)
    assert_allclose(said.sum(axis=1), 1.0)
    assert_array_equal(model.predict(X), said.argmax(axis=1))
    assert model.score(X, np.digitize(y, [-1.0, 1.0])) > 0.6
    assert model.coef_.shape == (3, 9)


# Rows that lack a part


@BOTH
def test_rows_without_privilege_or_label_are_learnt_from_as_far_as_they_go(kind):
    X, Z, y = sample(kind, n=80)
    y[:15], Z[60:] = np.nan, np.nan
    model = fitted(kind, (X, Z, y))
    assert np.isfinite(model.coef_).all()
    assert not model.candidates_["left_out"].any()
    complete = fitted(kind, (X[15:60], Z[15:60], y[15:60]))
    assert not np.allclose(model.coef_, complete.coef_, rtol=1e-3)


@BOTH
@pytest.mark.parametrize("n_taught", [1, 2])
def test_too_few_privileged_rows_are_none(kind, n_taught):
    X, Z, y = sample(kind)
    same = np.flatnonzero(y == 1.0)[:n_taught] if kind is PrivilegedClassifier else np.arange(1)
    few = np.full_like(Z, np.nan)
    few[same] = Z[same]
    with pytest.warns(UserWarning, match="X_privileged is all NaN but in too few labelled rows"):
        model = kind().fit(X, y, X_privileged=few)
    assert model.weights_["baseline"] == 1.0
    assert model.n_folds_ == 10


def test_labels_may_be_missing_as_none():
    X, Z, y = sample(PrivilegedClassifier)
    words = np.where(y > 0, "wet", "dry").astype(object)
    words[:5] = None
    assert set(fitted(PrivilegedClassifier, (X, Z, words)).predict(X)) == {"dry", "wet"}


# Hard cases


HARD = {
    "constant column": lambda a: np.concatenate([a, np.full_like(a[..., :1], 1e12 / 3)], axis=-1),
    "nothing varies": lambda a: np.full_like(a, 3.0),
    "collinear": lambda a: np.concatenate([a, a[..., :1] * 2 + 1, a.sum(axis=-1, keepdims=True)], axis=-1),
    "doubled": lambda a: np.concatenate([a, a], axis=-1),
    "huge": lambda a: a * 1e12,
    "tiny": lambda a: a * 1e-12,
    "mixed": lambda a: a * np.array([1e12, 1.0, 1e-12]),
    "more columns than rows": lambda a: np.concatenate([a**p for p in range(1, 9)], axis=-1),
}


@BOTH
@pytest.mark.parametrize("case", HARD)
def test_hard_columns_are_forecast_from(kind, case):
    X, Z, y = sample(kind, n=40)
    X, Z = HARD[case](X), HARD[case](Z)
    model = fitted(kind, (X, Z, y))
    assert np.isfinite(values(model, X)).all()
    if case != "nothing varies":
        assert model.score(X, y) > 0.5


@BOTH
@pytest.mark.parametrize("n", [3, 4, 5, 6, 8])
def test_a_handful_of_rows_is_enough(kind, n):
    X, Z, y = sample(kind, n=n)
    y[:2] = 0.0, 1.0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*rows are too few")
        assert np.isfinite(values(fitted(kind, (X, Z, y)), X)).all()


@pytest.mark.parametrize("n_events", [1, 2, 3])
def test_a_rare_event_keeps_its_base_rate(n_events):
    X, Z, _ = sample(n=100)
    y = np.zeros(100)
    y[np.linspace(5, 95, n_events).astype(int)] = 1.0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*rows are too few")
        said = fitted(PrivilegedClassifier, (X, Z, y)).predict_proba(X)[:, 1]
    # Tempering shrinks logits, which moves their mean; the rate stays that of a rare event.
    assert 0.2 * n_events / 100 < said.mean() < 5 * n_events / 100


def test_a_constant_target_is_forecast_as_such():
    X, Z, _ = sample()
    assert_allclose(fitted(data=(X, Z, np.full(60, 3.0))).predict(X), 3.0)


SHAPES = {"3 and 2": (slice(None), 0), "2 and 3": (-1, slice(None)), "2 and 2": (-1, 0)}


@BOTH
@pytest.mark.parametrize("case", SHAPES)
def test_single_steps_may_come_without_an_axis_of_time(kind, case):
    X, Z, y = sample(kind)
    first, then = SHAPES[case]
    model = fitted(kind, (X[:, first], Z[:, then], y))
    assert not model.candidates_["left_out"].any()
    assert values(model, X[:, first]).shape == y.shape + (() if kind is PrivilegedRegressor else (2,))


def test_frames_of_polars_are_read_like_those_of_pandas():
    polars = pytest.importorskip("polars", reason="frames of polars need polars")
    X, Z, y = sample()
    names = list("abc")
    first, then = pd.DataFrame(X[:, -1], columns=names), pd.DataFrame(Z[:, 0], columns=names)
    plain = PrivilegedRegressor().fit(first, y, X_privileged=then)
    given = [polars.DataFrame(part.to_numpy(), schema=names) for part in (first, then)]
    other = PrivilegedRegressor().fit(given[0], y, X_privileged=given[1])
    assert_array_equal(other.predict(given[0]), plain.predict(first))
    assert_array_equal(other.feature_names_in_, plain.feature_names_in_)


# How well it does


def test_the_middle_helps_where_it_should():
    gains = []
    for seed in range(8):
        X, Z, y = simulate_linear_chain(1050, random_state=seed)
        model = PrivilegedRegressor().fit(X[:50], y[:50], X_privileged=Z[:50])
        bar = TunedRidge().fit(X[:50], y[:50])
        gains.append(1 - squared_error(model, X[50:], y[50:]) / squared_error(bar, X[50:], y[50:]))
    # Twelve seeds gave .036 on average, .008 at worst.
    assert np.mean(gains) > 0.02
    assert min(gains) > 0.0


@pytest.mark.parametrize("content", ["permuted", "noise"])
def test_a_middle_that_says_nothing_costs_little(content):
    costs = []
    for seed in range(8):
        X, Z, y = simulate_linear_chain(1050, random_state=seed)
        rng = np.random.default_rng(seed)
        wrong = Z[:50][rng.permutation(50)] if content == "permuted" else rng.normal(size=Z[:50].shape)
        model = PrivilegedRegressor().fit(X[:50], y[:50], X_privileged=wrong)
        bar = TunedRidge().fit(X[:50], y[:50])
        costs.append(squared_error(model, X[50:], y[50:]) / squared_error(bar, X[50:], y[50:]) - 1)
    # Twelve seeds gave .004 on average and .10 at worst: the choice of a penalty from 50 rows is as uncertain.
    assert np.mean(costs) < 0.02
    assert max(costs) < 0.15


@pytest.mark.parametrize("stride", [1, 8])
def test_a_series_without_noise_costs_nothing(stride):
    w = mackey_glass_windows(2400, stride=stride, threshold=None)
    lost = []
    for start in range(0, w.n_windows - 240, max(1, (w.n_windows - 240) // 4)):
        train, test = w.take(np.arange(start, start + 60)), w.take(np.arange(start + 70, start + 240))
        model = PrivilegedRegressor().fit(train.X, train.y, X_privileged=train.X_privileged)
        bar = TunedRidge().fit(train.X[..., 0], train.y)
        lost.append(bar.score(test.X[..., 0], test.y) - model.score(test.X, test.y))
    assert np.mean(lost) < 0.001  # R2 is .99; over six starts of a longer series it was .0001 better


def test_probabilities_are_honest():
    ours, bars = [], []
    for seed in range(6):
        X, Z, y = simulate_linear_chain(1060, random_state=seed)
        event = y > 0
        model = PrivilegedClassifier().fit(X[:60], event[:60], X_privileged=Z[:60])
        bar = TunedLogisticRegression().fit(X[:60], event[:60])
        ours.append(log_loss(event[60:], model.predict_proba(X[60:])))
        bars.append(log_loss(event[60:], bar.predict_proba(X[60:])))
        assert model.loss_ < model.candidates_.loc["baseline", "held_out_loss"] + 0.02
    # Ten seeds gave .565 against .585 nats, never more than .001 above.
    assert np.mean(ours) < np.mean(bars)
    assert np.max(np.subtract(ours, bars)) < 0.01


# Estimators of the user's own, scikit-learn's machinery


@BOTH
@pytest.mark.parametrize("combine", RULES)
def test_own_estimators_are_candidates_like_any_other(kind, combine):
    X, Z, y = sample(kind)
    forest = FOREST[kind is PrivilegedClassifier]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fitted(kind, (X, Z, y), candidates=["chain", forest, clone(forest)], combine=combine)
    idle = combine in ("anchored", "average")  # their definition leaves out what learns from no middle
    assert idle == any("gives no weight to RandomForest" in str(one.message) for one in caught)
    names = ["chain", type(forest).__name__, f"{type(forest).__name__} 2"]
    assert list(model.weights_) == names
    assert model.candidates_["held_out_loss"].iloc[1] == model.candidates_["held_out_loss"].iloc[2]
    assert not hasattr(forest, "estimators_")
    assert np.isfinite(values(model, X)).all()
    if combine == "anchored":
        assert model.weights_["chain"] == 1.0
    if kind is PrivilegedRegressor:
        alone = [one.predict(X.reshape(60, -1)) for one in model.candidate_students_.values()]
        assert_allclose(model.predict(X), np.array(list(model.weights_.values())) @ alone, rtol=ROUNDING)
        assert_array_equal(alone[1], clone(forest).fit(X.reshape(60, -1), y).predict(X.reshape(60, -1)))


@BOTH
def test_an_own_estimator_of_privileged_rows_gets_them(kind):
    X, Z, y = sample(kind)
    chain = (ChainDistillationRegressor if kind is PrivilegedRegressor else ChainDistillationClassifier)(0.8)
    model = fitted(kind, (X, Z, y), candidates=["baseline", chain])
    assert list(model.weights_.values()) == [0.0, 1.0]  # the only one that distils
    told, alone = values(model, X), values(clone(chain).fit(X, y, X_privileged=Z), X)
    assert_allclose(told, alone, rtol=1e-6)
    with pytest.warns(UserWarning, match="learns from hard targets only"):
        model = kind(["baseline", chain]).fit(X, y)
    assert model.candidates_["left_out"].tolist() == ["", "no row has a privileged part"]


def test_an_own_classifier_may_miss_a_class_of_a_fold():
    X, Z, y = sample(n=80)
    y = np.digitize(y, [-1.0, 1.0])
    y[:2] = 3  # a class of two rows
    boosting = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5, random_state=0)
    model = fitted(PrivilegedClassifier, (X, Z, y), candidates=["chain", boosting], combine="stack")
    said = model.predict_proba(X)
    assert said.shape == (80, 4)
    assert np.isfinite(said).all()


def test_weights_reach_own_estimators():
    X, Z, y = sample()
    weight = np.random.default_rng(0).random(60) + 0.1
    weight[:5] = 0.0
    model = fitted(data=(X, Z, y), sample_weight=weight, candidates=Ridge())
    flat = X.reshape(60, -1)
    assert_allclose(model.predict(X), Ridge().fit(flat[5:], y[5:], weight[5:]).predict(flat), rtol=ROUNDING)


@BOTH
def test_a_model_is_cloned_and_pickled(kind):
    X, Z, y = sample(kind)
    for candidates in (None, ["chain", FOREST[kind is PrivilegedClassifier]]):
        model = fitted(kind, (X, Z, y), candidates=candidates, combine="stack")
        assert_array_equal(values(pickle.loads(pickle.dumps(model)), X), values(model, X))
        again = clone(model)
        assert not hasattr(again, "student_")
        assert_array_equal(values(fitted(kind, (X, Z, y), **again.get_params(deep=False)), X), values(model, X))


@BOTH
def test_a_second_fit_knows_nothing_of_the_first(kind):
    X, Z, y = sample(kind)
    model = fitted(kind, sample(kind, n=30, channels=2, seed=1))
    assert_array_equal(values(model.fit(X, y, X_privileged=Z), X), values(fitted(kind, (X, Z, y)), X))


@BOTH
@pytest.mark.parametrize("routing", [False, True])
def test_privilege_passes_through_a_pipeline(kind, routing):
    X, Z, y = sample(kind)
    X = X[:, -1]
    with sklearn.config_context(enable_metadata_routing=routing):
        pipeline = make_pipeline(StandardScaler(), kind())
        name = "X_privileged" if routing else f"{kind.__name__.lower()}__X_privileged"
        pipeline.fit(X, y, **{name: Z})
    assert pipeline[-1].weights_["dynamics"] > 0
    assert np.isfinite(pipeline.predict(X)).all()


@BOTH
@pytest.mark.parametrize("routing", [False, True])
def test_the_rule_of_combination_may_be_searched(kind, routing):
    X, Z, y = sample(kind)
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(kind(), {"combine": ["anchored", "select"]}, cv=2).fit(X[:, -1], y, X_privileged=Z)
    assert search.best_estimator_.weights_["baseline"] in (0.0, 1.0)
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()


SPLITTERS = [
    2, 5, KFold(4), KFold(3, shuffle=True, random_state=0), TimeSeriesSplit(3, gap=2), LeaveOneOut(),
    ShuffleSplit(3, random_state=0), PredefinedSplit(np.arange(60) % 3 - 1), [(np.arange(30), np.arange(30, 60))],
    [(np.arange(60) > 20, np.arange(60) <= 20)], [(slice(30), slice(30, 60))],
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("cv", SPLITTERS, ids=lambda cv: type(cv).__name__)
def test_every_kind_of_splitter_is_taken(kind, cv):
    model = fitted(kind, cv=cv)
    assert 1 <= model.n_folds_ <= 60
    assert model.loss_ > 0


def test_classes_may_be_split_by_strata():
    assert fitted(PrivilegedClassifier, cv=StratifiedKFold(4)).n_folds_ == 4


# Bad input: one error, before any work


def holed(part, where, value):
    part = np.array(part, dtype=float)
    part[where] = value
    return part


BAD = {
    "NaN in X": (lambda X, Z, y: (holed(X, (3, 0, 0), np.nan), Z, y), "X must be finite, got NaN in row 3. Impute it"),
    "infinity in X": (lambda X, Z, y: (holed(X, (3, 0, 0), np.inf), Z, y), "X must be finite, got infinity in row 3"),
    "hole in a row": (
        lambda X, Z, y: (X, holed(Z, (4, 1, 1), np.nan), y),
        "X_privileged must be complete, .* of row 4",
    ),
    "infinite middle": (lambda X, Z, y: (X, holed(Z, (5, 0, 0), np.inf), y), "X_privileged must be .* row 5. Replace"),
    "no label": (lambda X, Z, y: (X, Z, y * np.nan), "y must be (labels in some rows|present in two rows.*got 0 such)"),
    "fewer targets": (lambda X, Z, y: (X, Z, y[:-1]), "y has 59 rows but X has 60. Pass one target per row"),
    "fewer middles": (lambda X, Z, y: (X, Z[:-1], y), "X_privileged has 59 rows but X has 60. Pass the rows"),
    "four axes": (lambda X, Z, y: (X[:, None], Z, y), r"X must be of shape .*got shape \(60, 1, 3, 3\). Flatten"),
    "middle of four axes": (lambda X, Z, y: (X, Z[:, None], y), "X_privileged must be of shape .* Flatten"),
    "text": (lambda X, Z, y: (X.astype(str), Z, y), "X must be numbers, got .* Encode it"),
    "text in the middle": (lambda X, Z, y: (X, Z.astype(str), y), "X_privileged must be an array of numbers, got "),
    "no rows": (lambda X, Z, y: (X[:0], Z[:0], y[:0]), r"Found array with 0 sample\(s\)"),
    "one row": (lambda X, Z, y: (X[:1], Z[:1], y[:1]), r"Found array with 1 sample\(s\)|y must be labels of at least"),
}


@pytest.fixture
def no_work(monkeypatch):
    """Fail where a candidate is fitted."""
    for candidate in BUILT_IN.values():
        monkeypatch.setattr(candidate, "fit", lambda *_: pytest.fail("a candidate was fitted before the check"))


@BOTH
@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_refused_before_any_work(kind, case, no_work):
    spoil, message = BAD[case]
    X, Z, y = spoil(*sample(kind))
    with pytest.raises(ValueError, match=message):
        kind().fit(X, y, X_privileged=Z)


def test_infinite_targets_are_refused(no_work):
    X, Z, y = sample()
    with pytest.raises(ValueError, match="y must be finite or missing, got infinity in row 2"):
        PrivilegedRegressor().fit(X, holed(y, 2, np.inf), X_privileged=Z)


def test_one_labelled_row_is_refused(no_work):
    X, Z, y = sample()
    with pytest.raises(ValueError, match="y must be present in two rows of weight above 0, got 1 such rows"):
        PrivilegedRegressor().fit(X, holed(y, slice(1, None), np.nan), X_privileged=Z)


def test_one_class_is_refused(no_work):
    X, Z, y = sample(PrivilegedClassifier)
    with pytest.raises(ValueError, match="y must be labels of at least two classes, got one class"):
        PrivilegedClassifier().fit(X, np.ones(60), X_privileged=Z)
    with pytest.raises(ValueError, match="y must be present in two rows of weight above 0 and of two classes"):
        PrivilegedClassifier().fit(X, y, X_privileged=Z, sample_weight=y)


@BOTH
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"combine": "mean"}, "combine must be 'anchored' or .*, got mean"),
        ({"combine": None}, "combine must be .*, got None"),
        ({"candidates": "ridge"}, "candidates must be a list of 'baseline', .* or an estimator, got ridge"),
        ({"candidates": 5}, "candidates must be a list of .*, got 5"),
        ({"candidates": [None]}, "candidates must be a list of .*, got None"),
        ({"candidates": [PrivilegedRegressor]}, "candidates must be a list of .*PrivilegedRegressor"),
        ({"candidates": []}, "candidates must be distinct, at least one of .* Name each once"),
        ({"candidates": ["chain", "chain"]}, "candidates must be distinct, .* Name each once"),
        ({"cv": 1}, "cv must be an integer of at least 2 or a splitter, got 1"),
        ({"cv": 2.5}, "cv must be an integer of at least 2 or a splitter, got 2.5"),
        ({"cv": "5"}, "cv must be an integer of at least 2 or a splitter, got 5"),
        ({"cv": True}, "cv must be an integer of at least 2 or a splitter, got True"),
        ({"cv": 61}, "cv must be at most .*, got 61. Use fewer folds"),
        ({"cv": []}, "cv must be a splitter that holds out labelled rows"),
        ({"cv": [([0], [1])]}, "cv must be a splitter whose training parts hold two labelled rows"),
        ({"cv": [(range(30), [])]}, "cv must be a splitter that holds out labelled rows"),
    ],
)
def test_bad_settings_are_refused_before_any_work(kind, settings, message, no_work):
    with pytest.raises(ValueError, match=message):
        fitted(kind, **settings)


@BOTH
def test_a_training_part_without_privilege_is_refused_before_any_work(kind, no_work):
    X, Z, y = sample(kind)
    cv = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    with pytest.raises(ValueError, match=r"cv must be a splitter whose training parts hold .* with X_privileged"):
        kind(cv=cv).fit(X, y, X_privileged=holed(Z, slice(30), np.nan))


def test_candidates_of_which_none_can_be_built_are_refused(no_work):
    X, Z, y = sample()
    with pytest.raises(
        ValueError, match=r'got dynamics: X_privileged has other channels than X. Add e.g. "generalized"'
    ):
        PrivilegedRegressor("dynamics").fit(X, y, X_privileged=Z[..., :2])


@BOTH
def test_candidates_of_the_other_task_are_refused(kind, no_work):
    with pytest.raises((TypeError, ValueError), match="candidates must be a"):
        fitted(kind, candidates=[FOREST[kind is PrivilegedRegressor]])


@BOTH
@pytest.mark.parametrize("weight", [np.zeros(60), -np.ones(60), np.full(60, np.nan), np.ones(59)])
def test_bad_weights_are_refused(kind, weight, no_work):
    with pytest.raises(ValueError, match=r"(?i)sample_weight|sample weights"):
        fitted(kind, sample_weight=weight)


def test_a_shuffled_index_is_refused(no_work):
    X, Z, y = sample()
    index = pd.date_range("2020", periods=60)
    first, then = pd.DataFrame(X[:, -1], index=index), pd.DataFrame(Z[:, 0], index=index)
    with pytest.raises(ValueError, match=r"X_privileged must be indexed like X, .* Use X_privileged.loc"):
        PrivilegedRegressor().fit(first, y, X_privileged=then.iloc[::-1])


def test_an_unsorted_or_repeated_index_is_no_harm():
    X, Z, y = sample()
    index = np.zeros(60)
    first, then = (pd.DataFrame(part, index=index).set_axis(list("abc"), axis=1) for part in (X[:, -1], Z[:, 0]))
    assert PrivilegedRegressor().fit(first, y, X_privileged=then).n_folds_ == 10


@BOTH
def test_other_windows_are_refused_when_predicting(kind):
    X, Z, y = sample(kind)
    model = fitted(kind, (X, Z, y))
    with pytest.raises(ValueError, match=r"X must be of shape \(n, 3, 3\) as in fit"):
        model.predict(X[:, :2])
    with pytest.raises(ValueError, match="X must be finite, got NaN in row 0"):
        model.predict(X * np.nan)


def test_windows_of_a_series_are_taken_as_they_come():
    walk = np.random.default_rng(0).normal(size=(300, 2)).cumsum(axis=0)
    w = make_windows(walk, 0, window=4, horizon=5)
    train, test = w.split(0.6)
    model = PrivilegedRegressor().fit(train.X, train.y, X_privileged=train.X_privileged)
    assert model.score(test.X, test.y) > 0.0


# What the middle must not be taken for


def drifting_windows(privileged):
    walk = np.random.default_rng(0).normal(size=(1500, 3)).cumsum(axis=0)
    return make_windows(walk, target=0, window=4, horizon=8, stride=12, privileged=privileged)


def test_a_middle_that_does_not_follow_at_once_leaves_dynamics_out():
    whole, late = drifting_windows("between"), drifting_windows(2)
    assert (
        not PrivilegedRegressor().fit(whole.X, whole.y, X_privileged=whole.X_privileged).candidates_["left_out"].any()
    )
    left_out = PrivilegedRegressor().fit(late.X, late.y, X_privileged=late.X_privileged).candidates_["left_out"]
    assert left_out["dynamics"] == "X_privileged does not follow X at once"
    assert left_out["chain"] == ""


@BOTH
def test_a_column_that_stands_still_in_the_inputs_has_no_coefficient_though_it_moves_in_the_middle(kind):
    X, Z, y = sample(kind)
    X[..., 1] = 0.0
    model = kind().fit(X, y, X_privileged=Z)
    assert_allclose(model.coef_.reshape(-1, *X.shape[1:])[..., 1], 0.0, atol=1e-12)
