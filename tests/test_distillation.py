import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, TimeSeriesSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, RobustScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pitskd import (
    GeneralizedDistillationClassifier,
    GeneralizedDistillationClassifierCV,
    GeneralizedDistillationRegressor,
    GeneralizedDistillationRegressorCV,
    TunedLogisticRegression,
    TunedRidge,
)


def sample(n=60, n_classes=2, seed=0):
    """Return X (n, 3), privileged Z (n, 2), a continuous target and labels that depend on Z."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 2))
    X = np.column_stack([Z, rng.normal(size=n)]) + 0.7 * rng.normal(size=(n, 3))
    y = Z @ [1.0, -2.0] + 0.3 * rng.normal(size=n)
    labels = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    return X, Z, y, labels


def logistic(C=1.0):
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-8, max_iter=200)


def duplicates(X, targets, weight=None):
    """Return X, labels and weights of rows listed once per class."""
    n, k = targets.shape
    shares = targets if weight is None else targets * np.asarray(weight)[:, None]
    return np.tile(X, (k, 1)), np.repeat(np.arange(k), n), shares.T.ravel()


class Logits(ClassifierMixin, BaseEstimator):
    """A fixed linear teacher of three classes; `shift` adds to each row of its decision values."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        values = X @ np.arange(1.0, 1 + 3 * X.shape[1]).reshape(X.shape[1], 3) ** 0.5
        return values + self.shift * np.linspace(-1, 1, len(X))[:, None]


class Recorder(ClassifierMixin, BaseEstimator):
    """A student that keeps what it is told."""

    def fit(self, X, y, soft_targets=None, sample_weight=None):
        self.classes_, self.told_, self.weight_, self.n_rows_ = np.unique(y), soft_targets, sample_weight, len(X)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def soft_targets(teacher, Z, labels, **settings):
    """Return what the student of imitation 1 is told."""
    settings = {"teacher": teacher, "privileged_transformer": "passthrough", "imitation": 1.0} | settings
    model = GeneralizedDistillationClassifier(student=Recorder(), **settings)
    return model.fit(Z, labels, X_privileged=Z).student_.told_


# One loss


@pytest.mark.parametrize("imitation", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_mixing_targets_equals_mixing_cross_entropies(imitation, n_classes, weighted):
    X, Z, _, y = sample(n_classes=n_classes)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    teacher = FrozenEstimator(logistic().fit(Z, y))
    model = GeneralizedDistillationClassifier(teacher, logistic(0.5), imitation)
    model.fit(X, y, X_privileged=Z, sample_weight=weight)
    s, hard = teacher.predict_proba(Z), np.ones(len(X)) if weight is None else weight
    soft = duplicates(X, s, imitation * hard)
    two_losses = logistic(0.5).fit(
        np.vstack([X, soft[0]]), np.r_[y, soft[1]], sample_weight=np.r_[(1 - imitation) * hard, soft[2]]
    )
    np.testing.assert_allclose(model.student_.coef_, two_losses.coef_, atol=1e-8)
    np.testing.assert_allclose(model.student_.intercept_, two_losses.intercept_, atol=1e-8)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_default_student_equals_sklearn_on_weighted_duplicates(n_classes, weighted):
    X, Z, _, y = sample(n_classes=n_classes)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    student = TunedLogisticRegression([0.7])
    model = GeneralizedDistillationClassifier(logistic(), student).fit(X, y, X_privileged=Z, sample_weight=weight)
    s = model.teacher_.predict_proba(Z)
    rows, labels, shares = duplicates(X, 0.5 * np.eye(n_classes)[y] + 0.5 * s, weight)
    plain = make_pipeline(StandardScaler(), logistic(1 / 0.7)).fit(
        rows, labels, standardscaler__sample_weight=shares, logisticregression__sample_weight=shares
    )
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize(
    "student",
    [
        logistic(),
        make_pipeline(StandardScaler(), logistic()),
        make_pipeline(RobustScaler(), PolynomialFeatures(2), logistic()),
        DecisionTreeClassifier(max_depth=3, random_state=0),
    ],
    ids=lambda student: type(student[-1] if hasattr(student, "steps") else student).__name__,
)
def test_students_of_weights_get_each_row_once_per_class(student):
    X, Z, _, y = sample()
    model = GeneralizedDistillationClassifier(logistic(), student, 0.5).fit(X, y, X_privileged=Z)
    rows, labels, shares = duplicates(X, 0.5 * np.eye(2)[y] + 0.5 * model.teacher_.predict_proba(Z))
    steps = [f"{name}__" for name, _ in getattr(student, "steps", ())] or [""]
    takers = [step for step in steps if step in ("", "standardscaler__", "logisticregression__")]
    by_hand = clone(student).fit(rows, labels, **{f"{step}sample_weight": shares for step in takers})
    np.testing.assert_allclose(model.predict_proba(X), by_hand.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("two_targets", [False, True])
def test_a_regression_student_learns_the_mixed_target(two_targets):
    X, Z, y, _ = sample()
    y = np.column_stack([y, y**2]) if two_targets else y
    model = GeneralizedDistillationRegressor(Ridge(2.0), Ridge(0.5), 0.3).fit(X, y, X_privileged=Z)
    s = Ridge(2.0).fit(StandardScaler().fit_transform(Z), y).predict(StandardScaler().fit_transform(Z))
    expected = Ridge(0.5).fit(X, 0.7 * y + 0.3 * s).predict(X)
    assert model.predict(X).shape == y.shape
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-12)


# Imitation 0

CLASSIFIERS = [
    None,
    logistic(),
    KNeighborsClassifier(3),
    SVC(random_state=0),
    make_pipeline(RobustScaler(), logistic()),
    DecisionTreeClassifier(random_state=0),
]
REGRESSORS = [None, Ridge(), KNeighborsRegressor(), DecisionTreeRegressor(random_state=0)]
PLAIN = [
    *((GeneralizedDistillationClassifier, student, TunedLogisticRegression()) for student in CLASSIFIERS),
    *((GeneralizedDistillationRegressor, student, TunedRidge()) for student in REGRESSORS),
]
plain_students = pytest.mark.parametrize(("kind", "student", "default"), PLAIN, ids=lambda value: repr(value)[:40])


def bits(model):
    return pickle.dumps(model.student_)


@plain_students
def test_imitation_zero_is_the_student_alone_bit_for_bit(kind, student, default):
    X, Z, y, labels = sample()
    y = labels if kind is GeneralizedDistillationClassifier else y
    windows = X.reshape(30, 2, 3)
    for rows, targets, middle in [(X, y, Z), (X.astype(np.float32), y, Z), (windows, y[::2], Z[::2])]:
        model = kind(student=student, imitation=0.0).fit(rows, targets, X_privileged=middle)
        alone = clone(default if student is None else student).fit(rows.reshape(len(rows), -1), targets)
        assert bits(model) == pickle.dumps(alone)
        assert model.teacher_ is None


@plain_students
def test_imitation_zero_passes_weights_and_drops_rows_without_label_bit_for_bit(kind, student, default):
    X, Z, y, labels = sample()
    y = labels.astype(float) if kind is GeneralizedDistillationClassifier else y
    alone = clone(default if student is None else student)
    y[5:9] = np.nan
    known = ~np.isnan(y)
    model = kind(student=student, imitation=0.0).fit(X, y, X_privileged=Z)
    assert bits(model) == pickle.dumps(clone(alone).fit(X[known], y[known]))
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    if "KNeighbors" in repr(student) or hasattr(student, "steps"):
        return
    model = kind(student=student, imitation=0.0).fit(X, y, X_privileged=Z, sample_weight=weight)
    assert bits(model) == pickle.dumps(clone(alone).fit(X[known], y[known], sample_weight=weight[known]))


@plain_students
def test_imitation_zero_ignores_privileged_content(kind, student, default):
    X, Z, y, labels = sample()
    y = labels if kind is GeneralizedDistillationClassifier else y
    contents = [Z, -1e6 * Z, np.zeros((60, 7)), np.full((60, 2), np.nan), np.zeros((60, 0)), Z.reshape(60, 2, 1), None]
    assert (
        len({bits(kind(student=student, imitation=0.0).fit(X, y, X_privileged=content)) for content in contents}) == 1
    )


@pytest.mark.parametrize("kind", [GeneralizedDistillationClassifier, GeneralizedDistillationRegressor])
def test_the_fit_is_continuous_in_imitation_at_both_ends(kind):
    X, Z, y, labels = sample()
    y = labels.astype(float) if kind is GeneralizedDistillationClassifier else y
    y[::7] = np.nan  # such rows must fade away, too
    Z[3::7] = np.nan
    student = logistic() if kind is GeneralizedDistillationClassifier else Ridge()

    def coef(imitation):
        return kind(student=student, imitation=imitation).fit(X, y, X_privileged=Z).student_.coef_

    np.testing.assert_allclose(coef(1e-9), coef(0.0), atol=1e-7)
    np.testing.assert_allclose(coef(1 - 1e-9), coef(1.0), atol=1e-7)
    assert np.abs(coef(1.0) - coef(0.0)).max() > 1e-3


# Temperature and scores


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_targets_of_a_decision_function_are_its_sigmoid_over_temperature(temperature):
    _, Z, _, y = sample()
    teacher = SVC(random_state=0).fit(Z, y)
    told = soft_targets(FrozenEstimator(teacher), Z, y, temperature=temperature)
    np.testing.assert_allclose(told[:, 1], expit(teacher.decision_function(Z) / temperature), rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_targets_of_several_decision_values_are_their_softmax_over_temperature(temperature):
    _, Z, _, y = sample(n_classes=3)
    told = soft_targets(Logits(), Z, y, temperature=temperature)
    np.testing.assert_allclose(told, softmax(Logits().decision_function(Z) / temperature, axis=1), rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("teacher", [GaussianNB(), KNeighborsClassifier(5)], ids=repr)
def test_soft_targets_of_probabilities_are_their_normalised_power(temperature, teacher):
    _, Z, _, y = sample(n_classes=3)
    teacher = teacher.fit(Z, y)
    p = teacher.predict_proba(Z)
    told = soft_targets(FrozenEstimator(teacher), Z, y, temperature=temperature)
    assert isinstance(teacher, GaussianNB) or (p == 0).any()
    powers = p ** (1 / temperature)
    np.testing.assert_allclose(told, powers / powers.sum(axis=1, keepdims=True), rtol=1e-9)


def test_probabilities_of_zero_and_one_stay_so_at_every_temperature():
    _, Z, _, y = sample()
    tree = DecisionTreeClassifier(random_state=0)
    for temperature in (0.1, 1.0, 100.0):
        np.testing.assert_array_equal(soft_targets(tree, Z, y, temperature=temperature), np.eye(2)[y])


def test_a_large_temperature_makes_uniform_targets():
    _, Z, _, y = sample(n_classes=3)
    np.testing.assert_allclose(soft_targets(Logits(), Z, y, temperature=1e9), 1 / 3, atol=1e-6)


def test_a_constant_per_row_of_a_softmax_teacher_changes_nothing():
    _, Z, _, y = sample(n_classes=3)
    np.testing.assert_allclose(soft_targets(Logits(100.0), Z, y), soft_targets(Logits(), Z, y), rtol=1e-10)


def test_columns_of_soft_targets_follow_the_sorted_classes_even_if_the_teacher_knows_fewer():
    _, Z, _, y = sample(n_classes=3)
    names = np.array(["low", "mid", "high"])[y]
    teacher = LogisticRegression().fit(Z[y != 1], names[y != 1])
    model = GeneralizedDistillationClassifier(FrozenEstimator(teacher), Recorder(), 1.0).fit(Z, names, X_privileged=Z)
    assert list(model.classes_) == ["high", "low", "mid"]
    np.testing.assert_allclose(model.student_.told_[:, :2], teacher.predict_proba(Z))
    np.testing.assert_array_equal(model.student_.told_[:, 2], 0)


# Rows without label, rows without privilege, weights


def partial(kind):
    X, Z, y, labels = sample(90)
    y = labels.astype(float) if kind is GeneralizedDistillationClassifier else y
    y[:20] = np.nan
    Z[20:40] = np.nan
    return X, Z, y


@pytest.mark.parametrize("imitation", [0.3, 1.0])
def test_rows_of_each_kind_weigh_as_documented_in_regression(imitation):
    X, Z, y = partial(GeneralizedDistillationRegressor)
    model = GeneralizedDistillationRegressor(Ridge(), Ridge(), imitation).fit(X, y, X_privileged=Z)
    s = np.full(90, np.nan)
    taught = ~np.isnan(Z[:, 0])
    s[taught] = model.teacher_.predict(Z[taught])
    targets = np.r_[s[:20], y[20:40], (1 - imitation) * y[40:] + imitation * s[40:]]
    expected = Ridge().fit(X, targets, sample_weight=np.r_[np.full(20, imitation), np.ones(70)])
    np.testing.assert_allclose(model.student_.coef_, expected.coef_, rtol=1e-10)
    by_hand = Ridge().fit(StandardScaler().fit_transform(Z[40:]), y[40:])
    np.testing.assert_allclose(model.teacher_[-1].coef_, by_hand.coef_, rtol=1e-12)


def test_rows_of_each_kind_weigh_as_documented_in_classification():
    X, Z, y = partial(GeneralizedDistillationClassifier)
    model = GeneralizedDistillationClassifier(logistic(), Recorder(), 0.3).fit(X, y, X_privileged=Z)
    s = model.teacher_.predict_proba(np.nan_to_num(Z))
    hard = np.eye(2)[np.nan_to_num(y).astype(int)]
    np.testing.assert_allclose(model.student_.told_, np.vstack([s[:20], hard[20:40], 0.7 * hard[40:] + 0.3 * s[40:]]))
    np.testing.assert_allclose(model.student_.weight_, np.r_[np.full(20, 0.3), np.ones(70)])


@pytest.mark.parametrize("kind", [GeneralizedDistillationClassifier, GeneralizedDistillationRegressor])
def test_rows_without_label_and_rows_without_privilege_both_change_the_fit(kind):
    X, Z, y = partial(kind)
    kept = {"all": slice(None), "labelled": slice(20, None), "privileged": np.r_[:20, 40:90]}
    fits = [kind().fit(X[rows], y[rows], X_privileged=Z[rows]).predict(X) for rows in kept.values()]
    soft = [kind(imitation=1.0).fit(X[rows], y[rows], X_privileged=Z[rows]) for rows in kept.values()]
    coefs = [model.student_.coef_ for model in soft]
    assert all(np.isfinite(fit).all() for fit in fits)
    assert np.abs(coefs[0] - coefs[1]).max() > 1e-4
    assert np.abs(coefs[0] - coefs[2]).max() > 1e-4


@pytest.mark.parametrize("cross_fit", [None, 3])
def test_a_row_with_neither_label_nor_privilege_changes_nothing(cross_fit):
    X, Z, y = partial(GeneralizedDistillationRegressor)
    more = np.vstack([X, 100 * X[:5]]), np.r_[y, np.full(5, np.nan)], np.vstack([Z, np.full((5, 2), np.nan)])
    model = GeneralizedDistillationRegressor(Ridge(), Ridge(), cross_fit=cross_fit)
    few = model.fit(X, y, X_privileged=Z).student_.coef_
    np.testing.assert_array_equal(model.fit(more[0], more[1], X_privileged=more[2]).student_.coef_, few)


@pytest.mark.parametrize("kind", [GeneralizedDistillationClassifier, GeneralizedDistillationRegressor])
@pytest.mark.parametrize("sees", ["privileged", "both"])
def test_weight_two_is_the_row_twice_and_weight_zero_is_no_row(kind, sees):
    X, Z, y, labels = sample()
    y = labels if kind is GeneralizedDistillationClassifier else y
    model = logistic() if kind is GeneralizedDistillationClassifier else Ridge()
    model = kind(clone(model), clone(model), teacher_sees=sees)
    weight = np.tile([1, 2, 0], 20)
    weighted = model.fit(X, y, X_privileged=Z, sample_weight=weight).student_.coef_
    X, Z, y = (np.repeat(part, weight, axis=0) for part in (X, Z, y))
    np.testing.assert_allclose(weighted, model.fit(X, y, X_privileged=Z).student_.coef_, rtol=1e-7)


LABELS = {
    "text": np.array(["no", "yes"]),
    "bool": np.array([False, True]),
    "int": np.array([-1, 7]),
    "object": np.array(["no", "yes"], dtype=object),
}


@pytest.mark.parametrize("names", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("imitation", [0.0, 0.5])
def test_labels_of_any_kind_come_back_as_given(names, imitation):
    X, Z, _, y = sample()
    model = GeneralizedDistillationClassifier(imitation=imitation).fit(X, names[y], X_privileged=Z)
    numbered = GeneralizedDistillationClassifier(imitation=imitation).fit(X, y, X_privileged=Z)
    np.testing.assert_array_equal(model.classes_, names)
    np.testing.assert_array_equal(model.predict(X), names[numbered.predict(X)])


def missing_labels(y):
    text = np.array(["no", "yes"])[y]
    hidden = np.arange(len(y)) < 10
    return {
        "object with None": np.where(hidden, None, text.astype(object)),
        "bool with None": np.where(hidden, None, (y == 1).astype(object)),
        "list with None": [None if hide else str(label) for hide, label in zip(hidden, text, strict=True)],
        "float with NaN": np.where(hidden, np.nan, y),
        "nullable integer": pd.Series(y, dtype="Int64").mask(hidden),
        "nullable bool": pd.Series(y == 1, dtype="boolean").mask(hidden),
        "nullable text": pd.Series(text, dtype="string").mask(hidden),
        "categories": pd.Series(pd.Categorical(text)).mask(hidden),
    }


@pytest.mark.parametrize("way", missing_labels(np.zeros(11, dtype=int)))
def test_missing_labels_may_be_marked_in_any_usual_way(way):
    X, Z, _, y = sample()
    model = GeneralizedDistillationClassifier(logistic(), logistic())
    expected = model.fit(X, missing_labels(y)["float with NaN"], X_privileged=Z)
    weights = expected.student_.coef_
    np.testing.assert_allclose(model.fit(X, missing_labels(y)[way], X_privileged=Z).student_.coef_, weights)
    assert len(model.classes_) == 2
    assert not pd.isna(model.predict(X)).any()


@pytest.mark.parametrize("dtype", [object, "Float64", "float32"])
def test_missing_targets_of_a_regression_may_be_marked_in_any_usual_way(dtype):
    X, Z, y, _ = sample()
    y[:10] = np.nan
    marked = pd.Series(y).astype(dtype).mask(np.isnan(y), None if dtype is object else pd.NA)
    model = GeneralizedDistillationRegressor(Ridge(), Ridge())
    expected = model.fit(X, y, X_privileged=Z).student_.coef_
    np.testing.assert_allclose(model.fit(X, marked, X_privileged=Z).student_.coef_, expected, rtol=1e-5)


def test_a_class_that_the_teacher_prefers_nowhere_is_still_known_to_the_student():
    X, Z, _, y = sample(n_classes=3)
    y = np.where(np.arange(60) == 0, 2, np.minimum(y, 1))  # one row of class 2, and it comes first
    model = GeneralizedDistillationClassifier(logistic(), TunedLogisticRegression([1.0]), 1.0)
    assert model.fit(X, y, X_privileged=Z).predict_proba(X).shape == (60, 3)


# Cross-fitting and fitted teachers


def test_cross_fitted_targets_come_from_teachers_that_have_not_seen_the_row():
    X, Z, y, _ = sample()
    model = GeneralizedDistillationRegressor(KNeighborsRegressor(1), Ridge(), 1.0, cross_fit=4)
    model.fit(X, y, X_privileged=Z)
    s = np.empty(60)
    for train, test in KFold(4).split(Z):
        teacher = make_pipeline(StandardScaler(), KNeighborsRegressor(1)).fit(Z[train], y[train])
        s[test] = teacher.predict(Z[test])
    np.testing.assert_allclose(model.student_.coef_, Ridge().fit(X, s).coef_, rtol=1e-12)


def test_a_teacher_that_memorises_teaches_nothing_in_sample_and_something_cross_fitted():
    X, Z, _, y = sample()
    settings = {"teacher": KNeighborsClassifier(1), "student": logistic()}
    plain = GeneralizedDistillationClassifier(**settings, imitation=0.0).fit(X, y)
    in_sample = GeneralizedDistillationClassifier(**settings).fit(X, y, X_privileged=Z)
    crossed = GeneralizedDistillationClassifier(**settings, cross_fit=5).fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(in_sample.student_.coef_, plain.student_.coef_, atol=1e-8)
    assert np.abs(crossed.student_.coef_ - plain.student_.coef_).max() > 0.05


def test_rows_in_no_test_fold_keep_their_hard_targets():
    X, Z, _, y = sample()
    splitter = TimeSeriesSplit(3, gap=2)
    model = GeneralizedDistillationClassifier(logistic(), Recorder(), 1.0, cross_fit=splitter)
    told = model.fit(X, y, X_privileged=Z).student_.told_
    first = min(test.min() for _, test in splitter.split(Z))
    np.testing.assert_array_equal(told[:first], np.eye(2)[y[:first]])
    train, test = next(splitter.split(Z))
    teacher = make_pipeline(StandardScaler(), logistic()).fit(Z[train], y[train])
    np.testing.assert_allclose(told[test], teacher.predict_proba(Z[test]))


def test_cross_fitting_asks_the_full_teacher_about_rows_without_label():
    X, Z, y = partial(GeneralizedDistillationClassifier)
    model = GeneralizedDistillationClassifier(logistic(), Recorder(), 1.0, cross_fit=3).fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(model.student_.told_[:20], model.teacher_.predict_proba(Z[:20]))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("sees", ["privileged", "both"])
def test_a_fitted_teacher_is_used_as_it_is_and_left_unchanged_bit_for_bit(frozen, sees):
    X, Z, _, y = sample()
    seen = np.hstack([X, Z]) if sees == "both" else Z
    teacher = GridSearchCV(logistic(), {"C": [0.1, 1.0]}).fit(seen[:30], y[:30])
    before = pickle.dumps(teacher)
    given = {"teacher": FrozenEstimator(teacher)} if frozen else {"teacher": teacher, "cross_fit": "prefit"}
    model = GeneralizedDistillationClassifier(**given, student=Recorder(), imitation=1.0, teacher_sees=sees)
    told = model.fit(X, y, X_privileged=Z).student_.told_
    assert pickle.dumps(teacher) == before
    assert model.teacher_ is given["teacher"]
    np.testing.assert_allclose(told, teacher.predict_proba(seen), rtol=1e-12)


def test_a_teacher_fitted_to_a_frame_is_asked_by_name():
    X, Z, y, _ = sample()
    X, Z = pd.DataFrame(X, columns=["a", "b", "c"]), pd.DataFrame(Z, columns=["d", "e"])
    for sees, seen in [("privileged", Z), ("both", pd.concat([X, Z], axis=1))]:
        teacher = FrozenEstimator(Ridge().fit(seen, y))
        model = GeneralizedDistillationRegressor(teacher, Ridge(), 1.0, sees).fit(X, y, X_privileged=Z)
        np.testing.assert_allclose(model.student_.coef_, Ridge().fit(X, teacher.predict(seen)).coef_)
        with pytest.raises(ValueError, match="feature names"):
            model.fit(X, y, X_privileged=Z[["e", "d"]])


def test_a_teacher_that_sees_both_gets_inputs_then_privileged():
    X, Z, y, _ = sample()
    model = GeneralizedDistillationRegressor(Ridge(), Ridge(), teacher_sees="both").fit(X, y, X_privileged=Z)
    scaled = StandardScaler().fit_transform(np.hstack([X, Z]))
    np.testing.assert_allclose(model.teacher_[-1].coef_, Ridge().fit(scaled, y).coef_)


def test_a_teacher_of_other_classes_is_refused():
    X, Z, _, y = sample()
    for names in (["a", "b"], [3, 4]):
        teacher = FrozenEstimator(logistic().fit(Z, np.array(names)[y]))
        with pytest.raises(ValueError, match="teacher must be trained on the classes of y, got class"):
            GeneralizedDistillationClassifier(teacher).fit(X, y, X_privileged=Z)


# The one idle combination


@pytest.mark.parametrize(
    "student", [Ridge(3.0), LinearRegression(), make_pipeline(StandardScaler(), Ridge())], ids=repr
)
@pytest.mark.parametrize(
    "teacher", [LinearRegression(), Ridge(0.0), make_pipeline(RobustScaler(), LinearRegression())], ids=repr
)
@pytest.mark.parametrize("weighted", [False, True])
def test_an_in_sample_least_squares_teacher_on_both_is_a_no_op_and_warns(student, teacher, weighted):
    X, Z, y, _ = sample()
    weight = np.random.default_rng(0).uniform(0.5, 2, 60) if weighted else None
    plain = GeneralizedDistillationRegressor(student=student, imitation=0.0).fit(X, y, sample_weight=weight)
    model = GeneralizedDistillationRegressor(teacher, student, 0.8, "both")
    with pytest.warns(UserWarning, match="unpenalised least squares on .* exactly unchanged"):
        model.fit(X, y, X_privileged=Z, sample_weight=weight)
    np.testing.assert_allclose(model.predict(X), plain.predict(X), atol=1e-10)


ACTIVE = {
    "ridge": {"teacher": Ridge(5.0), "teacher_sees": "both"},
    "privileged alone": {"teacher": LinearRegression(), "teacher_sees": "privileged"},
    "cross-fitted": {"teacher": LinearRegression(), "teacher_sees": "both", "cross_fit": 5},
    "behind a projection": {"teacher": make_pipeline(PCA(2), LinearRegression()), "teacher_sees": "both"},
    "projected by the transformer": {
        "teacher": LinearRegression(), "teacher_sees": "both", "privileged_transformer": PCA(2),
    },
    "no intercept": {"teacher": LinearRegression(fit_intercept=False), "teacher_sees": "both"},
    "curved student": {
        "teacher": LinearRegression(), "teacher_sees": "both",
        "student": make_pipeline(PolynomialFeatures(2), Ridge()),
    },
}  # fmt: skip


@pytest.mark.parametrize("settings", ACTIVE.values(), ids=ACTIVE)
def test_other_teachers_change_the_student_and_do_not_warn(settings):
    X, Z, y, _ = sample()
    settings = {"student": Ridge(3.0)} | settings
    y = y + 1.0
    plain = GeneralizedDistillationRegressor(student=settings["student"], imitation=0.0).fit(X, y)
    model = GeneralizedDistillationRegressor(imitation=0.8, **settings).fit(X, y, X_privileged=Z)
    assert np.abs(model.predict(X) - plain.predict(X)).max() > 1e-4


# Scaling of the privileged side


@pytest.mark.parametrize("kind", [GeneralizedDistillationClassifier, GeneralizedDistillationRegressor])
@pytest.mark.parametrize("sees", ["privileged", "both"])
@pytest.mark.parametrize("cross_fit", [None, 4])
def test_units_of_a_privileged_column_do_not_matter(kind, sees, cross_fit):
    X, Z, y, labels = sample()
    y = labels if kind is GeneralizedDistillationClassifier else y
    model = kind(teacher_sees=sees, cross_fit=cross_fit)
    expected = model.fit(X, y, X_privileged=Z).predict(X)
    coef = model.student_.coef_
    np.testing.assert_allclose(model.fit(X, y, X_privileged=Z * [1e6, 1e-3] + [0, 5]).student_.coef_, coef, rtol=1e-5)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-5)


def test_the_privileged_transformer_is_cloned_and_fitted_inside_fit():
    X, Z, y, _ = sample()
    scaler = RobustScaler()
    model = GeneralizedDistillationRegressor(Ridge(), privileged_transformer=scaler).fit(X, y, X_privileged=Z)
    assert not hasattr(scaler, "center_")
    np.testing.assert_allclose(model.teacher_[0].center_, np.median(Z, axis=0))


def test_passthrough_leaves_the_teacher_bare():
    X, Z, y, _ = sample()
    model = GeneralizedDistillationRegressor(Ridge(7.0), privileged_transformer="passthrough")
    np.testing.assert_array_equal(model.fit(X, y, X_privileged=Z).teacher_.coef_, Ridge(7.0).fit(Z, y).coef_)


@pytest.mark.parametrize(
    "settings",
    [
        {"teacher": HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=5, random_state=0)},
        {"teacher": make_pipeline(SimpleImputer(), Ridge())},
        {"privileged_transformer": make_pipeline(SimpleImputer(), StandardScaler())},
        {"teacher": GridSearchCV(make_pipeline(SimpleImputer(), Ridge()), {"ridge__alpha": [1.0]})},
    ],
    ids=["boosting", "imputing teacher", "imputing transformer", "tuned imputing teacher"],
)
def test_partly_missing_privilege_reaches_teachers_that_accept_it(settings):
    X, Z, y, _ = sample()
    Z[::3, 0] = np.nan
    model = GeneralizedDistillationRegressor(**settings).fit(X, y, X_privileged=Z)
    assert np.isfinite(model.predict(X)).all()


def test_missing_inputs_reach_students_that_impute_them():
    X, Z, y, _ = sample()
    X[::4, 1] = np.nan
    student = make_pipeline(SimpleImputer(), Ridge())
    model = GeneralizedDistillationRegressor(Ridge(), student, 0.5).fit(X, y, X_privileged=Z)
    s = model.teacher_.predict(Z)
    np.testing.assert_allclose(model.predict(X), clone(student).fit(X, 0.5 * y + 0.5 * s).predict(X))


# Searches

CLASSIFIER_GRID = {"imitations": (0.0, 0.5, 1.0), "temperatures": (1.0, 3.0)}


def brute_force(kind, splits, X, y, Z, weight, *, student, candidates, penalties, **settings):
    """Return the held-out loss of each candidate, every fit made one by one."""
    classify = kind is GeneralizedDistillationClassifier
    losses = []
    for imitation, temperature in candidates:
        for penalty in penalties:
            total, scored = 0.0, 0.0
            for train, test in splits:
                named = {"temperature": temperature} if classify else {}
                model = kind(student=student(penalty), imitation=imitation, **named, **settings)
                part = None if weight is None else weight[train]
                model.fit(X[train], y[train], X_privileged=Z[train], sample_weight=part)
                share = np.ones(len(test)) if weight is None else weight[test]
                if classify:
                    p = model.predict_proba(X[test])
                    total += log_loss(y[test], p, sample_weight=share, normalize=False, labels=model.classes_)
                else:
                    total += share @ np.square(model.predict(X[test]) - y[test])
                scored += share.sum()
            losses.append(total / scored)
    return np.array(losses)


STUDENTS = {
    "default classifier": (
        GeneralizedDistillationClassifierCV, None, lambda p: TunedLogisticRegression([p]), (10.0, 0.1),
    ),
    "logistic": (GeneralizedDistillationClassifierCV, logistic(), lambda p: logistic(1 / p), (10.0, 0.1)),
    "pipeline": (
        GeneralizedDistillationClassifierCV, make_pipeline(StandardScaler(), logistic()),
        lambda p: make_pipeline(StandardScaler(), logistic(1 / p)), (10.0, 0.1),
    ),
    "tree": (
        GeneralizedDistillationClassifierCV, DecisionTreeClassifier(min_samples_leaf=8, random_state=0),
        lambda p: DecisionTreeClassifier(min_samples_leaf=8, random_state=0), None,
    ),
    "pipeline that tunes itself": (
        GeneralizedDistillationRegressorCV, make_pipeline(PolynomialFeatures(2), TunedRidge()),
        lambda p: make_pipeline(PolynomialFeatures(2), TunedRidge()), None,
    ),
    "default regressor": (GeneralizedDistillationRegressorCV, None, lambda p: TunedRidge([p]), (10.0, 0.1)),
    "ridge pipeline": (
        GeneralizedDistillationRegressorCV, make_pipeline(StandardScaler(), Ridge()),
        lambda p: make_pipeline(StandardScaler(), Ridge(p)), (10.0, 0.1),
    ),
    "neighbours": (
        GeneralizedDistillationRegressorCV, KNeighborsRegressor(), lambda p: KNeighborsRegressor(), None,
    ),
}  # fmt: skip


WITHOUT_WEIGHTS = ("neighbours",)
SEARCHES = [
    (student, rows)
    for student in STUDENTS
    for rows in ("plain", "weighted", "partial", "time")
    if student not in WITHOUT_WEIGHTS or rows in ("plain", "time")
]


@pytest.mark.parametrize(("student", "rows"), SEARCHES)
@pytest.mark.filterwarnings("ignore:The teacher's held-out loss")
def test_a_search_finds_what_brute_force_finds(student, rows):
    kind, template, make, penalties = STUDENTS[student]
    X, Z, y, labels = sample(72)
    classify = kind is GeneralizedDistillationClassifierCV
    y = labels.astype(float) if classify else y
    weight = np.random.default_rng(1).uniform(0.5, 2, 72) if rows == "weighted" else None
    if rows == "partial":
        y[50:66] = np.nan
        Z[5:20] = np.nan
    known = np.flatnonzero(~np.isnan(y))
    cv = TimeSeriesSplit(3, gap=3) if rows == "time" else 3
    fixed = StratifiedKFold(3) if classify else KFold(3)
    if rows == "time":
        splits = list(cv.split(X))
    else:
        splits = [(np.setdiff1d(np.arange(72), known[t]), known[t]) for _, t in fixed.split(X[known], y[known])]
    settings = {"teacher": logistic() if classify else Ridge()}
    grid = CLASSIFIER_GRID if classify else {"imitations": (0.0, 0.5, 1.0)}
    search = kind(student=template, penalties=penalties, cv=cv, **grid, **settings)
    search.fit(X, y, X_privileged=Z, sample_weight=weight)
    candidates = [(0.0, 1.0), *((i, t) for i in (0.5, 1.0) for t in grid.get("temperatures", (1.0,)))]
    single = GeneralizedDistillationClassifier if classify else GeneralizedDistillationRegressor
    expected = brute_force(
        single,
        splits,
        X,
        y,
        Z,
        weight,
        student=make,
        candidates=candidates,
        penalties=penalties or (np.nan,),
        **settings,
    )
    np.testing.assert_allclose(search.cv_results_["mean_test_loss"], expected, rtol=1e-6)
    best = np.argmin(expected)
    n_penalties = len(penalties or (0,))
    assert (search.best_params_["imitation"], search.best_params_["temperature"]) == candidates[best // n_penalties]
    assert penalties is None or search.best_params_["penalty"] == penalties[best % n_penalties]
    assert search.best_loss_ == pytest.approx(expected[best], rel=1e-6)


@pytest.mark.filterwarnings("ignore:The teacher's held-out loss")
def test_imitation_zero_is_always_a_candidate_and_counted_once():
    X, Z, _, y = sample()
    search = GeneralizedDistillationClassifierCV(
        imitations=(0.5, 0.5), temperatures=(1.0, 2.0, 2.0), penalties=(1.0, 1.0)
    )
    results = pd.DataFrame(search.fit(X, y, X_privileged=Z).cv_results_)
    assert list(results["imitation"]) == [0.0, 0.5, 0.5]
    assert list(results["temperature"]) == [1.0, 1.0, 2.0]
    assert {"penalty", "mean_test_loss", *(f"split{k}_test_loss" for k in range(5))} < set(results.columns)
    assert np.isfinite(results.to_numpy()).all()


@pytest.mark.filterwarnings("ignore:The teacher's held-out loss")
def test_a_tie_goes_to_the_smaller_imitation_and_the_stronger_penalty():
    X, Z, y, _ = sample()
    search = GeneralizedDistillationRegressorCV(teacher=Ridge(), penalties=(1.0, 5.0)).fit(0 * X, 0 * y, X_privileged=Z)
    assert search.best_params_ == {"imitation": 0.0, "temperature": 1.0, "penalty": 5.0}


def test_the_best_student_is_the_single_one_at_the_chosen_settings():
    X, Z, _, y = sample()
    search = GeneralizedDistillationClassifierCV(**CLASSIFIER_GRID).fit(X, y, X_privileged=Z)
    best = dict(search.best_params_)
    single = GeneralizedDistillationClassifier(student=TunedLogisticRegression([best.pop("penalty")]), **best)
    np.testing.assert_array_equal(search.predict_proba(X), single.fit(X, y, X_privileged=Z).predict_proba(X))
    assert search.student_ is search.best_estimator_.student_
    assert search.teacher_ is search.best_estimator_.teacher_


def test_the_loss_of_the_teacher_is_its_own_held_out_loss_on_rows_with_privilege():
    X, Z, y, _ = sample()
    Z[::4] = np.nan
    known = ~np.isnan(Z[:, 0])
    search = GeneralizedDistillationRegressorCV(Ridge(), cv=KFold(4)).fit(X, y, X_privileged=Z)
    errors = []
    for train, test in KFold(4).split(X):
        train, test = train[known[train]], test[known[test]]
        teacher = make_pipeline(StandardScaler(), Ridge()).fit(Z[train], y[train])
        errors.extend(np.square(teacher.predict(Z[test]) - y[test]))
    assert search.teacher_loss_ == pytest.approx(np.mean(errors))


@pytest.mark.parametrize("kind", [GeneralizedDistillationClassifierCV, GeneralizedDistillationRegressorCV])
def test_a_teacher_that_knows_less_than_the_student_warns(kind):
    X, Z, y, labels = sample()
    y = labels if kind is GeneralizedDistillationClassifierCV else y
    noise = np.random.default_rng(5).normal(size=Z.shape)
    with pytest.warns(UserWarning, match="The teacher's held-out loss .* is not below .* Give it better"):
        kind().fit(X, y, X_privileged=noise)


def test_a_weak_teacher_is_not_hidden_by_rows_without_privilege():
    X, Z, y, _ = sample()
    noise = np.random.default_rng(5).normal(size=Z.shape)
    noise[::2] = np.nan
    with pytest.warns(UserWarning, match="The teacher's held-out loss"):
        GeneralizedDistillationRegressorCV().fit(X, y, X_privileged=noise)


@pytest.mark.parametrize("kind", [GeneralizedDistillationClassifierCV, GeneralizedDistillationRegressorCV])
def test_a_search_without_teacher_has_one_candidate_per_penalty_and_no_teacher_loss(kind):
    X, Z, y, labels = sample()
    y = labels if kind is GeneralizedDistillationClassifierCV else y
    search = kind(imitations=(0.0,), penalties=(0.1, 1.0)).fit(X, y, X_privileged=Z)
    assert len(search.cv_results_["penalty"]) == 2
    assert np.isnan(search.teacher_loss_)
    assert search.teacher_ is None


@pytest.mark.parametrize("kind", [GeneralizedDistillationClassifierCV, GeneralizedDistillationRegressorCV])
@pytest.mark.filterwarnings("ignore:The teacher's held-out loss")
def test_a_block_of_rows_without_label_leaves_no_fold_without_labels(kind):
    X, Z, y, labels = sample(120)
    y = labels.astype(float) if kind is GeneralizedDistillationClassifierCV else y
    y[24:] = np.nan
    search = kind(cv=4).fit(X, y, X_privileged=Z)
    assert all(np.isfinite(search.cv_results_[f"split{k}_test_loss"]).all() for k in range(4))


@pytest.mark.filterwarnings("ignore:The teacher's held-out loss")
def test_a_fitted_teacher_and_a_cross_fitted_one_serve_a_search():
    X, Z, y, _ = sample()
    fitted = FrozenEstimator(Ridge().fit(Z, y))
    search = GeneralizedDistillationRegressorCV(fitted).fit(X, y, X_privileged=Z)
    assert search.teacher_ in (fitted, None)
    crossed = GeneralizedDistillationRegressorCV(cross_fit=3, cv=TimeSeriesSplit(2, gap=1)).fit(X, y, X_privileged=Z)
    assert np.isfinite(crossed.teacher_loss_)
