"""Learning from parts: whatever the parts, wherever they were summed, the student is that of all rows."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import TimeSeriesSplit

from pitskd import (
    AnchoredDistillationRegressor,
    ChainDistillationRegressor,
    TunedRidge,
    load,
    make_windows,
    save,
    simulate_linear_chain,
)

STUDENTS = [
    *(
        ChainDistillationRegressor(imitation, penalty, states=states)
        for imitation in (0.0, 0.7, 1.0)
        for penalty in (0.0, 2.0)
        for states in ("steps", "windows")
    ),
    *(ChainDistillationRegressor(0.7, penalty, stationary=True, states="windows") for penalty in (0.0, 2.0)),
    *(AnchoredDistillationRegressor(anchor) for anchor in (0.0, 10.0)),
    AnchoredDistillationRegressor(states="windows", imitation=1.0),
    *(AnchoredDistillationRegressor(towards="dynamics", order=order) for order in (1, 3)),
]
every_student = pytest.mark.parametrize("student", STUDENTS, ids=repr)


def windows(n_rows=260):
    generator = np.random.default_rng(0)
    turn = 0.95 * np.linalg.qr(generator.normal(size=(3, 3)))[0]
    series = np.zeros((n_rows, 3))
    for t in range(1, n_rows):
        series[t] = turn @ series[t - 1] + generator.normal(size=3)
    w = make_windows(series + np.array([0.0, 5.0, -40.0]), 0, window=4, horizon=5)
    return w.X.copy(), np.column_stack([w.y, np.square(w.y)]), w.X_privileged.copy()


@pytest.fixture(scope="module")
def rows():
    """Rows of all kinds: without target, without privileged part, of weight 0."""
    X, y, Z = windows()
    y[:20], Z[30:60] = np.nan, np.nan
    weight = np.random.default_rng(1).random(len(X))
    weight[100:110] = 0.0
    return X, y, Z, weight


def parts_of(n_rows, cuts):
    return np.split(np.arange(n_rows), sorted(cuts))


def learnt(student, rows, parts, weighted=True):
    X, y, Z, weight = rows
    model = clone(student)
    for part in parts:
        model.partial_fit(X[part], y[part], X_privileged=Z[part], sample_weight=weight[part] if weighted else None)
    return model


def same(one, other, tolerance=1e-8):
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one.intercept_, other.intercept_, rtol=tolerance, atol=tolerance)


@every_student
@pytest.mark.parametrize("weighted", [False, True])
def test_parts_teach_what_all_rows_teach(student, weighted, rows):
    X, y, Z, weight = rows
    whole = clone(student).fit(X, y, X_privileged=Z, sample_weight=weight if weighted else None)
    found = learnt(student, rows, parts_of(len(X), [1, 2, 40, 41, 200]), weighted)
    same(found, whole)
    np.testing.assert_allclose(found.predict(X), whole.predict(X), rtol=1e-8)
    assert (found.n_features_in_, found.teacher_ is None) == (
        12,
        isinstance(student, AnchoredDistillationRegressor),
    ) or (found.imitation == 0.0 or found.teacher_ is found.links_[1])


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 250), max_size=8, unique=True), order=st.randoms(use_true_random=False))
def test_size_and_order_of_parts_do_not_matter(cuts, order):
    X, y, Z = windows()
    weight = np.ones(len(X))
    parts = parts_of(len(X), cuts)
    order.shuffle(parts)
    student = AnchoredDistillationRegressor(towards="dynamics")
    same(learnt(student, (X, y, Z, weight), parts), clone(student).fit(X, y, X_privileged=Z))


def test_rows_one_by_one_teach_the_same_and_so_do_parts_without_weight(rows):
    X, y, Z, weight = (part[40:120] for part in rows)
    assert (weight == 0).any()
    student = ChainDistillationRegressor(states="windows")
    found = learnt(student, (X, y, Z, weight), parts_of(80, range(1, 80)))
    same(found, clone(student).fit(X, y, X_privileged=Z, sample_weight=weight))


@every_student
def test_models_that_saw_parts_elsewhere_merge_into_one(student, rows):
    X, y, Z, weight = rows
    parts = parts_of(len(X), [70, 71, 150])
    mapped = [pickle.loads(pickle.dumps(learnt(student, rows, [part]))) for part in parts]
    before = pickle.dumps(mapped[1].statistics_)
    total = clone(student)
    for one in mapped:
        total.merge(one)
    same(total, clone(student).fit(X, y, X_privileged=Z, sample_weight=weight))
    assert pickle.dumps(mapped[1].statistics_) == before


def test_memory_does_not_grow_with_the_rows(rows):
    every = np.arange(len(rows[0]))
    once, often = (learnt(ChainDistillationRegressor(), rows, [every] * times) for times in (1, 20))
    assert often.statistics_.n_rows == 20 * once.statistics_.n_rows
    assert abs(len(pickle.dumps(often)) - len(pickle.dumps(once))) < 100


def test_parameters_changed_on_the_way_act_on_all_rows(rows):
    X, y, Z, weight = rows
    model = learnt(ChainDistillationRegressor(0.2, 9.0), rows, [np.arange(100)])
    model.set_params(imitation=0.7, penalty=2.0, states="windows")
    part = np.arange(100, len(X))
    model.partial_fit(X[part], y[part], X_privileged=Z[part], sample_weight=weight[part])
    fitted = ChainDistillationRegressor(0.7, 2.0, states="windows")
    same(model, fitted.fit(X, y, X_privileged=Z, sample_weight=weight))


def test_rows_without_weight_are_no_evidence_whatever_they_hold(rows):
    X, y, Z, weight = (part.copy() for part in rows)
    X[weight == 0] = 1e100
    student = AnchoredDistillationRegressor()
    same(learnt(student, (X, y, Z, weight), [np.arange(len(X))]), learnt(student, rows, [np.arange(len(X))]))
    one = np.zeros(len(X))
    one[0] = 1.0
    with pytest.raises(NotFittedError):
        clone(student).partial_fit(X, y, X_privileged=Z, sample_weight=one).predict(X)
    ridge = TunedRidge().partial_fit(X[:, 0], np.zeros(len(X)), np.zeros(len(X)))
    with pytest.raises(NotFittedError):
        ridge.predict(X[:, 0])


def test_a_model_that_cannot_be_fitted_to_all_its_rows_is_not_fitted():
    X, y, Z = windows()
    model = ChainDistillationRegressor().partial_fit(X[:50], y[:50])
    assert model.predict(X).shape == y.shape
    model.partial_fit(
        X[50:60], np.full((10, 2), np.nan), X_privileged=Z[50:60]
    )  # now there is a middle, without targets
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_rows_without_privileged_part_may_come_first():
    X, y, Z = windows()
    student = AnchoredDistillationRegressor(towards="dynamics")
    found = clone(student).partial_fit(X[:50], y[:50]).partial_fit(X[50:], y[50:], X_privileged=Z[50:])
    hidden = np.concatenate([np.full_like(Z[:50], np.nan), Z[50:]])
    same(found, clone(student).fit(X, y, X_privileged=hidden))


def test_without_any_privileged_part_the_student_is_the_plain_one():
    X, y, _ = windows()
    plain = ChainDistillationRegressor(imitation=0.0).fit(X, y)
    same(ChainDistillationRegressor().partial_fit(X[:50], y[:50]).partial_fit(X[50:], y[50:]), plain)


def test_static_columns_and_names_of_frames_are_kept():
    X, Z, y = simulate_linear_chain(120, random_state=0)
    X, Z = pd.DataFrame(X, columns=list("abcde")), pd.DataFrame(Z[:, 0], columns=list("ABCDE"))
    X["city"] = np.arange(120) % 3
    student = ChainDistillationRegressor(static=["city"])
    found = clone(student)
    for part in (slice(0, 50), slice(50, 120)):
        found.partial_fit(X[part], y[part], X_privileged=Z[part])
    same(found, clone(student).fit(X, y, X_privileged=Z))
    assert list(found.feature_names_in_) == [*"abcde", "city"]
    assert list(found.privileged_feature_names_in_) == list("ABCDE")
    with pytest.raises(ValueError, match=r"X_privileged must be of the columns of the parts before, A, B, C, D, E"):
        found.partial_fit(X, y, X_privileged=Z.rename(columns={"A": "F"}))


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_numbers_of_any_kind_are_summed_in_double_precision(kind):
    X, y, Z = windows()
    X, Z = (10 * X).astype(kind), (10 * Z).astype(kind)
    X.setflags(write=False)
    found = ChainDistillationRegressor().partial_fit(X, y, X_privileged=Z)
    same(found, ChainDistillationRegressor().fit(X.astype(float), y, X_privileged=Z.astype(float)))


def test_a_model_goes_on_learning_after_save_and_load(tmp_path, rows):
    X, y, Z, weight = rows
    model = learnt(ChainDistillationRegressor(), rows, [np.arange(100)])
    save(model, tmp_path / "model")
    again, part = load(tmp_path / "model"), np.arange(100, len(X))
    for one in (model, again):
        one.partial_fit(X[part], y[part], X_privileged=Z[part], sample_weight=weight[part])
    np.testing.assert_array_equal(again.coef_, model.coef_)


# ------------------------------------------------ what is refused


def test_too_few_rows_leave_the_model_unfitted_until_more_come():
    X, y, Z = windows()
    model = ChainDistillationRegressor().partial_fit(X[:1], y[:1], X_privileged=Z[:1])
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.partial_fit(X[1:3], np.full((2, 2), np.nan), X_privileged=Z[1:3])
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert model.partial_fit(X[3:9], y[3:9], X_privileged=Z[3:9]).predict(X).shape == y.shape


WRONG = {
    "NaN in X": (lambda X, y, Z: (np.where(np.arange(4)[:, None] == 2, np.nan, X), y, Z), r"X must be finite, got NaN"),
    "part of a privileged row": (
        lambda X, y, Z: (X, y, np.where(np.arange(3) == 2, np.nan, Z)),
        "X_privileged must be complete",
    ),
    "a longer window": (lambda X, y, Z: (np.concatenate([X, X], axis=1), y, Z), r"X must be of shape \(n, 4, 3\)"),
    "another middle": (lambda X, y, Z: (X, y, Z[:, 1:]), r"X_privileged must be of shape \(n, 4, 3\) as in the parts"),
    "fewer targets": (
        lambda X, y, Z: (X, y[:, 0], Z),
        r"y must be of shape \(n, 2\) as in the parts",
    ),
    "fewer rows": (lambda X, y, Z: (X, y, Z[1:]), "X_privileged has"),
    "no rows": (lambda X, y, Z: (X[:0], y[:0], Z[:0]), r"0 sample\(s\)"),
    "text": (lambda X, y, Z: (X.astype(str), y, Z), "X must be numbers"),
    "infinite target": (lambda X, y, Z: (X, np.full_like(y, np.inf), Z), "y must be finite"),
}


@pytest.mark.parametrize(("spoil", "message"), WRONG.values(), ids=WRONG)
def test_a_part_that_is_refused_changes_nothing(spoil, message):
    X, y, Z = windows()
    model = ChainDistillationRegressor().partial_fit(X, y, X_privileged=Z)
    before, (X, y, Z) = pickle.dumps(model), spoil(X, y, Z)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, y, X_privileged=Z)
    assert pickle.dumps(model) == before


def test_a_fit_that_kept_no_sums_is_said_to_be_forgotten():
    X, y, Z = windows()
    model = ChainDistillationRegressor().fit(X, y, X_privileged=Z)
    with pytest.warns(UserWarning, match=r"partial_fit starts anew: fit keeps no sums of its rows") as told:
        model.partial_fit(X[:99], y[:99], X_privileged=Z[:99])
    assert told[0].filename == __file__
    same(model, ChainDistillationRegressor().fit(X[:99], y[:99], X_privileged=Z[:99]))
    ridge = TunedRidge().fit(X[:, 0], y)
    with pytest.warns(UserWarning, match="partial_fit starts anew") as told:
        ridge.partial_fit(X[:99, 0], y[:99])
    assert told[0].filename == __file__
    same(ridge, TunedRidge().fit(X[:99, 0], y[:99]))


@pytest.mark.parametrize("student", [ChainDistillationRegressor(), AnchoredDistillationRegressor()], ids=repr)
def test_parts_are_routed_their_privileged_rows_as_fits_are(student):
    with config_context(enable_metadata_routing=True):
        requests = student.get_metadata_routing()
    assert requests.partial_fit.requests["X_privileged"] is True
    assert requests.fit.requests["X_privileged"] is True


@pytest.mark.parametrize("model", [ChainDistillationRegressor(), TunedRidge()], ids=repr)
def test_a_fit_that_fails_costs_no_parts(model):
    X, y, _ = windows()
    X, y = X[:, 0], y[:, 0]
    model = clone(model).partial_fit(X, y)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=r"rows|samples"):
        model.fit(X[:, :2], y[:-1])
    assert pickle.dumps(model) == before


SETTINGS = [
    ChainDistillationRegressor(link=TunedRidge()),
    ChainDistillationRegressor(imitation=2.0),
    ChainDistillationRegressor(penalty=-5.0),
    ChainDistillationRegressor(states="rows"),
    AnchoredDistillationRegressor(target_imitation=0.5),
    AnchoredDistillationRegressor(towards="past"),
]


@pytest.mark.parametrize("model", SETTINGS, ids=repr)
def test_merging_is_as_strict_as_learning(model):
    X, y, Z = windows()
    other = type(model)().partial_fit(X, y, X_privileged=Z)
    with pytest.raises(ValueError, match="must be"):
        model.merge(other)
    assert not hasattr(model, "statistics_")


@pytest.mark.parametrize("model", [ChainDistillationRegressor(), TunedRidge([1.0])], ids=repr)
def test_names_come_with_what_is_merged(model):
    X, y, _ = windows()
    frame = pd.DataFrame(X[:, 0], columns=["a", "b", "c"])
    merged = clone(model).merge(clone(model).partial_fit(frame, y))
    assert merged.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        merged.predict(frame[["c", "b", "a"]])


def test_merging_into_a_fit_says_that_it_is_forgotten():
    X, y, Z = windows()
    other = ChainDistillationRegressor().partial_fit(X[:99], y[:99], X_privileged=Z[:99])
    with pytest.warns(UserWarning, match="partial_fit starts anew") as told:
        merged = ChainDistillationRegressor().fit(X, y, X_privileged=Z).merge(other)
    assert told[0].filename == __file__
    np.testing.assert_array_equal(merged.coef_, other.coef_)


def test_a_refused_part_leaves_the_ridge_as_it_was():
    X, y, _ = windows()
    model = TunedRidge().partial_fit(X[:, 0], y[:, :1])
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=r"y must be of shape \(n, 1\) as in the parts before, got shape \(n,\)"):
        model.partial_fit(X[:, 0], y[:, 0])
    assert pickle.dumps(model) == before
    with pytest.raises(NotFittedError):
        TunedRidge().partial_fit(X[:1, 0], y[:1]).predict(X[:, 0])


def test_fit_forgets_the_parts(rows):
    X, y, Z = windows()
    model = learnt(ChainDistillationRegressor(), rows, [np.arange(100)]).fit(X, y, X_privileged=Z)
    assert not hasattr(model, "statistics_")
    np.testing.assert_array_equal(model.coef_, ChainDistillationRegressor().fit(X, y, X_privileged=Z).coef_)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ChainDistillationRegressor(link=TunedRidge()), "link must be None where rows are added up"),
        (ChainDistillationRegressor(imitation=2.0), "imitation must be a number between 0 and 1, got 2.0"),
        (ChainDistillationRegressor(penalty=-1.0), "penalty must be"),
        (AnchoredDistillationRegressor(target_imitation=0.5), r"target_imitation must be 0\.0 where rows are added up"),
        (AnchoredDistillationRegressor(towards="dynamics", order=9), "order must be at most 4"),
        (ChainDistillationRegressor(states="rows"), "states must be"),
    ],
)
def test_settings_that_need_the_rows_are_refused(model, message):
    X, y, Z = windows()
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, y, X_privileged=Z)
    assert not hasattr(model, "statistics_")


def test_only_sums_of_the_same_kind_merge():
    X, y, Z = windows()
    model = ChainDistillationRegressor().partial_fit(X, y, X_privileged=Z)
    with pytest.raises(TypeError, match="other must be a ChainDistillationRegressor, got Anchored"):
        model.merge(AnchoredDistillationRegressor().partial_fit(X, y, X_privileged=Z))
    with pytest.raises(ValueError, match="other must be a model with rows from partial_fit, got one without"):
        model.merge(ChainDistillationRegressor().fit(X, y, X_privileged=Z))
    with pytest.raises(ValueError, match=r"X must be of shape \(n, 4, 3\) as in the parts before, got"):
        model.merge(ChainDistillationRegressor().partial_fit(X[:, :2], y))


# ------------------------------------------------ the tuned ridge


@pytest.mark.parametrize("ridge", [TunedRidge(), TunedRidge([2.0]), TunedRidge([0.0]), TunedRidge(cv=3)], ids=repr)
@pytest.mark.parametrize("weighted", [False, True])
def test_all_rows_at_once_choose_as_fit_does(ridge, weighted):
    X, y, _ = windows()
    X, weight = X.reshape(len(X), -1), np.random.default_rng(0).random(len(X)) if weighted else None
    whole, found = clone(ridge).fit(X, y, weight), clone(ridge).partial_fit(X, y, weight)
    assert found.penalty_ == whole.penalty_
    np.testing.assert_allclose(found.held_out_losses_, whole.held_out_losses_, rtol=1e-9)
    same(found, whole)


@pytest.mark.parametrize("n_parts", [2, 10, 100])
def test_folds_are_cut_between_parts_and_few_stretches_are_kept(n_parts):
    X, y, _ = windows()
    X, found = X.reshape(len(X), -1), TunedRidge()
    for part in np.array_split(np.arange(len(X)), n_parts):
        found.partial_fit(X[part], y[part])
    whole = TunedRidge().fit(X, y)
    assert len(found.statistics_.parts) <= 40
    np.testing.assert_allclose(found.held_out_losses_, whole.held_out_losses_, rtol=0.05)  # folds differ by some rows
    same(found, TunedRidge([found.penalty_]).fit(X, y))


def test_borders_of_parts_that_are_those_of_folds_give_the_losses_of_fit():
    X, y, _ = windows(259)
    X, found = X.reshape(len(X), -1)[:250], TunedRidge()
    y = y[:250]
    for part in np.split(np.arange(250), 10):
        found.partial_fit(X[part], y[part])
    np.testing.assert_allclose(found.held_out_losses_, TunedRidge().fit(X, y).held_out_losses_, rtol=1e-9)


def test_ridges_merge_in_order_and_keep_one_target_as_one_axis():
    X, y, _ = windows()
    X, y = X.reshape(len(X), -1), y[:, 0]
    first, second = TunedRidge([1.0]).partial_fit(X[:99], y[:99]), TunedRidge([1.0]).partial_fit(X[99:], y[99:])
    whole = TunedRidge([1.0]).fit(X, y)
    same(first.merge(second), whole)
    assert first.predict(X).shape == whole.predict(X).shape == (len(X),)


def test_a_splitter_needs_all_rows_and_the_ridge_says_so():
    X, y, _ = windows()
    with pytest.raises(ValueError, match="cv must be an integer or None where rows are added up"):
        TunedRidge(cv=TimeSeriesSplit()).partial_fit(X[:, 0], y)
    assert TunedRidge([1.0], cv=TimeSeriesSplit()).partial_fit(X[:, 0], y).penalty_ == 1.0
