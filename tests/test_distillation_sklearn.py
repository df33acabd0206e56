import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit, cross_validate
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from pitskd import (
    GeneralizedDistillationClassifier,
    GeneralizedDistillationClassifierCV,
    GeneralizedDistillationRegressor,
    GeneralizedDistillationRegressorCV,
)

SINGLE = [GeneralizedDistillationClassifier, GeneralizedDistillationRegressor]
SEARCH = [GeneralizedDistillationClassifierCV, GeneralizedDistillationRegressorCV]
every = pytest.mark.parametrize("kind", SINGLE + SEARCH)
single = pytest.mark.parametrize("kind", SINGLE)
pytestmark = pytest.mark.filterwarnings("ignore:The teacher's held-out loss")


def sample(n=60, seed=0):
    """Return X (n, 4), privileged Z (n, 2) and labels of 0 and 1, which serve as targets, too."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 2))
    X = np.hstack([Z, Z]) + 0.7 * rng.normal(size=(n, 4))
    return X, Z, (Z[:, 0] > Z[:, 1]).astype(int)


def frames(index=None):
    X, Z, y = sample()
    X = pd.DataFrame(X, columns=list("abcd"), index=index)
    return X, pd.DataFrame(Z, columns=["lab", "meter"], index=index), pd.Series(y, index=index)


class Teacher(BaseEstimator):
    """A least-squares teacher that counts its fits, in both tasks."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        type(self).fits += 1
        self.model_ = Ridge().fit(X, y if self.labels is None else y == self.labels(y)[1], sample_weight)
        self.classes_ = np.unique(y)
        return self


class CountingRegressor(RegressorMixin, Teacher):
    labels = None

    def predict(self, X):
        return self.model_.predict(X)


class CountingClassifier(ClassifierMixin, Teacher):
    labels = staticmethod(np.unique)

    def decision_function(self, X):
        return self.model_.predict(X)

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


def teacher_of(kind):
    Teacher.fits = CountingClassifier.fits = CountingRegressor.fits = 0
    return CountingClassifier() if issubclass(kind, ClassifierMixin) else CountingRegressor()


# The tools of scikit-learn


def test_grid_search_slices_the_privileged_rows_with_the_others():
    X, Z, y = sample()
    grid = {"imitation": [0.0, 0.5, 1.0], "student__C": [0.1, 1.0]}
    model = GeneralizedDistillationClassifier(student=LogisticRegression())
    search = GridSearchCV(model, grid, cv=KFold(3), scoring="neg_log_loss").fit(X, y, X_privileged=Z)
    by_hand = []
    for train, test in KFold(3).split(X):
        model = clone(search.best_estimator_).fit(X[train], y[train], X_privileged=Z[train])
        by_hand.append(np.log(model.predict_proba(X[test])[np.arange(20), y[test]]).mean())
    assert search.best_score_ == pytest.approx(np.mean(by_hand))


@every
@pytest.mark.parametrize("routing", [False, True])
def test_cross_validate_passes_privilege_as_a_parameter(kind, routing):
    X, Z, y = sample()
    with sklearn.config_context(enable_metadata_routing=routing):
        scores = cross_validate(kind(), X, y, params={"X_privileged": Z}, cv=KFold(3), error_score="raise")
    assert np.isfinite(scores["test_score"]).all()


@every
def test_a_pipeline_takes_privilege_by_step_without_routing_and_by_name_with_it(kind):
    X, Z, y = sample()
    expected = kind().fit(StandardScaler().fit_transform(X), y, X_privileged=Z)
    pipeline = make_pipeline(StandardScaler(), kind())
    step = pipeline.steps[-1][0]
    pipeline.fit(X, y, **{f"{step}__X_privileged": Z})
    np.testing.assert_array_equal(pipeline.predict(X), expected.predict(StandardScaler().fit_transform(X)))
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline.fit(X, y, X_privileged=Z)
    np.testing.assert_array_equal(pipeline.predict(X), expected.predict(StandardScaler().fit_transform(X)))


@single
def test_weights_are_routed_when_requested_and_reach_teacher_and_student(kind):
    X, Z, y = sample()
    weight = np.random.default_rng(1).uniform(0.5, 2, 60)
    expected = kind().fit(X, y, X_privileged=Z, sample_weight=weight).predict(X)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(kind().set_fit_request(sample_weight=True))
        pipeline.fit(X, y, X_privileged=Z, sample_weight=weight)
    np.testing.assert_array_equal(pipeline.predict(X), expected)


@every
def test_a_clone_is_unfitted_and_a_pickle_predicts_the_same(kind):
    X, Z, y = sample()
    model = kind(teacher_sees="both").fit(X, y, X_privileged=Z)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError, match="not fitted"):
        clone(model).predict(X)


@every
def test_fit_leaves_every_parameter_as_it_was_given(kind):
    X, Z, y = sample()
    teacher, scaler = teacher_of(kind), StandardScaler()
    model = kind(teacher=teacher, privileged_transformer=scaler)
    model.fit(X, y, X_privileged=Z)
    assert model.teacher is teacher
    assert not [name for part in (teacher, scaler) for name in vars(part) if name.endswith("_")]


def test_methods_of_a_classifier_are_those_of_its_student():
    X, Z, y = sample()
    model = GeneralizedDistillationClassifier(LogisticRegression(), SVC(random_state=0))
    assert not hasattr(model, "predict_proba")
    assert hasattr(model.fit(X, y, X_privileged=Z), "decision_function")
    assert not hasattr(GeneralizedDistillationClassifier(student=KNeighborsClassifier()), "decision_function")


# Shapes and containers


@every
def test_read_only_and_float32_arrays_are_welcome(kind):
    X, Z, y = sample()
    expected = kind().fit(X, y, X_privileged=Z).predict(X)
    for part in (X, Z, y):
        part.setflags(write=False)
    np.testing.assert_array_equal(kind().fit(X, y, X_privileged=Z).predict(X), expected)
    small = kind().fit(X.astype(np.float32), y, X_privileged=Z.astype(np.float32))
    np.testing.assert_allclose(small.predict(X.astype(np.float32)), expected, atol=1e-4)


@every
def test_frames_of_pandas_and_polars_and_lists_equal_arrays(kind):
    X, Z, y = frames()
    expected = kind().fit(X.to_numpy(), y.to_numpy(), X_privileged=Z.to_numpy()).predict(X.to_numpy())
    wide = pl.from_pandas(X), pl.from_pandas(y), pl.from_pandas(Z)
    for rows, targets, middle in [(X, y, Z), wide]:
        model = kind().fit(rows, targets, X_privileged=middle)
        np.testing.assert_allclose(model.predict(rows), expected)
        assert list(model.feature_names_in_) == list("abcd")
        assert list(model.privileged_feature_names_in_) == ["lab", "meter"]
    lists = kind().fit(X.to_numpy().tolist(), y.tolist(), X_privileged=Z.to_numpy().tolist())
    np.testing.assert_allclose(lists.predict(X.to_numpy()), expected)
    assert not hasattr(lists, "privileged_feature_names_in_")
    assert not hasattr(model.fit(X, y, X_privileged=Z.to_numpy()), "privileged_feature_names_in_")


@every
def test_nullable_frames_mark_rows_without_privilege(kind):
    X, Z, y = frames()
    Z.iloc[:9] = np.nan
    expected = kind().fit(X, y, X_privileged=Z).predict(X)
    np.testing.assert_array_equal(kind().fit(X, y, X_privileged=Z.astype("Float64")).predict(X), expected)
    np.testing.assert_array_equal(
        kind().fit(X, y, X_privileged=Z.astype(object).where(Z.notna(), None)).predict(X), expected
    )


@every
def test_one_privileged_column_may_be_one_dimensional(kind):
    X, Z, y = frames()
    expected = kind().fit(X, y, X_privileged=Z[["lab"]]).predict(X)
    np.testing.assert_array_equal(kind().fit(X, y, X_privileged=Z["lab"]).predict(X), expected)


@every
def test_windows_are_flattened_and_their_shape_is_checked_at_predict(kind):
    X, Z, y = sample()
    model = kind().fit(X.reshape(60, 2, 2), y, X_privileged=Z.reshape(60, 1, 2))
    assert model.n_features_in_ == 4
    np.testing.assert_array_equal(model.predict(X.reshape(60, 2, 2)), kind().fit(X, y, X_privileged=Z).predict(X))
    for shape in [(60, 4), (60, 1, 4), (60, 4, 1)]:
        with pytest.raises(ValueError, match=re.escape(f"X must be of shape (n, 2, 2) as in fit, got shape {shape}")):
            model.predict(X.reshape(shape))
    with pytest.raises(ValueError, match=r"X must be of shape \(n, 4\) as in fit, got shape \(60, 2, 2\)"):
        kind().fit(X, y, X_privileged=Z).predict(X.reshape(60, 2, 2))


@every
def test_constant_columns_are_finite_without_a_warning(kind):
    X, Z, y = sample()
    X[:, 1], Z[:, 0] = 3.0, 0.1
    assert np.isfinite(kind().fit(X, y, X_privileged=Z).predict(X)).all()
    everything = kind(imitations=(0.0, 1.0)) if kind in SEARCH else kind()
    assert np.isfinite(everything.fit(0 * X, y, X_privileged=0 * Z + 7).predict(X)).all()


@every
def test_no_privilege_is_said_and_leaves_the_student_alone(kind):
    X, _, y = sample()
    for nothing in (None, np.empty((60, 0, 3)), np.full((60, 2), np.nan)):
        with pytest.warns(UserWarning, match="X_privileged is None or empty.* learns from hard targets only"):
            model = kind().fit(X, y, X_privileged=nothing)
        assert model.teacher_ is None


# Wrong arguments


def refuse(model, words, X, y, Z, kind=ValueError, **more):
    """Expect one error before the teacher is ever fitted."""
    with pytest.raises(kind, match=words):
        model.fit(X, y, X_privileged=Z, **more)
    assert CountingClassifier.fits == CountingRegressor.fits == 0


def with_value(array, place, value):
    array = np.asarray(array).astype(object if isinstance(value, str) else float)
    array[place] = value
    return array


CONTENT = {
    "too few privileged rows": (lambda X, Z, y: (X, Z[:40], y), "X_privileged has 40 rows but X has 60"),
    "too few targets": (lambda X, Z, y: (X, Z, y[:40]), "y has 40 rows but X has 60"),
    "no privileged axis": (lambda X, Z, y: (X, 3.0, y), "X_privileged must be of shape"),
    "sparse privilege": (lambda X, Z, y: (X, sparse.csr_matrix(Z), y), "X_privileged must be an array of numbers"),
    "ragged privilege": (lambda X, Z, y: (X, [[1], [2, 3]] * 30, y), "X_privileged must be an array of numbers"),
    "text in privilege": (lambda X, Z, y: (X, with_value(Z, (3, 0), "hi"), y), "X_privileged must be an array of num"),
    "dates in privilege": (
        lambda X, Z, y: (X, np.full((60, 1), np.datetime64("2020-01-01")), y), "X_privileged must be an array of num",
    ),
    "part of a privileged row": (
        lambda X, Z, y: (X, with_value(Z, (3, 0), np.nan), y), "X_privileged must be complete .*NaN in part of row 3",
    ),
    "infinite privilege": (lambda X, Z, y: (X, with_value(Z, (3, 0), np.inf), y), "X_privileged must be finite"),
    "privilege of four axes": (lambda X, Z, y: (X, Z.reshape(60, 1, 1, 2), y), "X_privileged must be of shape"),
    "NaN in X": (lambda X, Z, y: (with_value(X, (3, 0), np.nan), Z, y), "X must be finite, got NaN in row 3. Impute"),
    "infinity in X": (
        lambda X, Z, y: (with_value(X, (3, 0), np.inf), Z, y), "X must be finite, got infinity in row 3. Impute",
    ),
    "text in X": (lambda X, Z, y: (with_value(X, (3, 0), "cold"), Z, y), "X must be numbers, got 'cold'. Encode"),
    "an array of text": (lambda X, Z, y: (np.full(X.shape, "a"), Z, y), "X must be numbers, got <U1. Encode"),
    "a frame with text": (
        lambda X, Z, y: (pd.DataFrame(X).assign(wind="NE"), Z, y), "X must be numbers, got 'NE'. Encode",
    ),
    "X of four axes": (lambda X, Z, y: (X.reshape(60, 1, 2, 2), Z, y), "X must be of shape"),
    "no rows": (lambda X, Z, y: (X[:0], Z[:0], y[:0]), "0 sample"),
    "one row": (lambda X, Z, y: (X[:1], Z[:1], y[:1]), "1 sample"),
    "no target": (lambda X, Z, y: (X, Z, None), "y must be one target per row of X, got None"),
    "no target known": (lambda X, Z, y: (X, Z, np.full(60, np.nan)), "y must be (labels|present) in some rows"),
    "privilege never beside a label": (
        lambda X, Z, y: (X, with_value(Z, slice(0, 30), np.nan), with_value(y, slice(30, 60), np.nan)),
        "X_privileged must be present in labelled rows.*got 0 rows",
    ),
}  # fmt: skip


@every
@pytest.mark.parametrize("case", CONTENT)
def test_wrong_content_is_named_before_any_training(kind, case):
    spoil, words = CONTENT[case]
    X, Z, y = spoil(*sample())
    refuse(kind(teacher=teacher_of(kind)), words, X, y, Z)


@every
@pytest.mark.parametrize(
    "index", [pd.RangeIndex(60), pd.date_range("2020", periods=60, freq="h")], ids=["range", "time"]
)
def test_privilege_in_another_order_is_refused(kind, index):
    X, Z, y = frames(index)
    model = kind(teacher=teacher_of(kind))
    refuse(model, r"X_privileged must be indexed like X, got .* where X has .* in row", X, y, Z.iloc[::-1])
    refuse(model, r"X_privileged must be indexed like X", X, y, Z.set_axis(range(7, 67)))
    refuse(model, r"X_privileged must be indexed like X", X, y, Z["lab"].iloc[::-1])


INDEXES = {
    "nullable": pd.Index(range(60), dtype="Int64"),
    "text": pd.Index([f"row {i}" for i in range(60)]),
    "pairs": pd.MultiIndex.from_product([list("ab"), range(30)]),
    "categories": pd.CategoricalIndex([f"row {i}" for i in range(60)]),
    "time": pd.date_range("2020", periods=60),
    "zoned time": pd.date_range("2020", periods=60, tz="UTC"),
    "periods": pd.period_range("2020", periods=60),
}


@pytest.mark.parametrize("given", INDEXES)
@pytest.mark.parametrize("expected", INDEXES)
def test_indexes_of_any_two_kinds_are_compared(given, expected):
    X, Z, y = frames(INDEXES[expected])
    model = GeneralizedDistillationRegressor(Ridge(), Ridge())
    if given == expected or {given, expected} == {"text", "categories"}:
        model.fit(X, y, X_privileged=Z.set_axis(INDEXES[given]))
    else:
        with pytest.raises(ValueError, match=r"X_privileged must be indexed like X, got .* in row 0"):
            model.fit(X, y, X_privileged=Z.set_axis(INDEXES[given]))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_targets_are_named(value):
    X, Z, y = sample()
    for kind in (GeneralizedDistillationRegressor, GeneralizedDistillationRegressorCV):
        refuse(kind(teacher=teacher_of(kind)), "y must be finite", X, with_value(y, 3, value), Z)
    for values in (with_value(y, 3, "high"), [[1], [2, 3]] * 30):
        refuse(GeneralizedDistillationRegressor(CountingRegressor()), "y must be an array of numbers", X, values, Z)


@pytest.mark.parametrize("kind", [GeneralizedDistillationClassifier, GeneralizedDistillationClassifierCV])
def test_labels_that_are_none_are_named(kind):
    X, Z, y = sample()
    model = kind(teacher=teacher_of(kind))
    refuse(model, "y must be labels of at least two classes, got one class 1", X, np.ones(60, dtype=int), Z)
    refuse(model, "y must be labels of at least two classes", X, ["a"] * 50 + [None] * 10, Z)
    refuse(model, "Unknown label type: continuous", X, X[:, 0], Z)
    refuse(model, "y should be a 1d array", X, np.column_stack([y, y]), Z)
    refuse(model, "y must be labels of one kind, got text and numbers", X, ["a", 1, None] * 20, Z)


WEIGHTS = [
    (np.ones(5), "sample_weight"),
    (np.full(60, np.nan), "sample_weight contains NaN"),
    (np.r_[-1.0, np.ones(59)], "sample_weight must be at least 0"),
    (np.zeros(60), "(?i)sample.weight"),
]


@every
@pytest.mark.parametrize(("weight", "words"), WEIGHTS)
def test_wrong_weights_are_named(kind, weight, words):
    X, Z, y = sample()
    refuse(kind(teacher=teacher_of(kind)), words, X, y, Z, sample_weight=weight)


NOT_FRACTIONS = [-0.1, 1.5, np.nan, True, "0.5", None, np.array([0.5, 0.5])]
NOT_POSITIVE = [0.0, -1.0, np.nan, np.inf, True, "1", None]


@single
@pytest.mark.parametrize("imitation", NOT_FRACTIONS, ids=repr)
def test_an_imitation_outside_zero_and_one_is_named(kind, imitation):
    X, Z, y = sample()
    words = "imitation must be a number between 0 and 1, got .* Use 1.0 to learn from soft targets only"
    refuse(kind(teacher=teacher_of(kind), imitation=imitation), words, X, y, Z)


@pytest.mark.parametrize("temperature", NOT_POSITIVE, ids=repr)
def test_a_temperature_not_above_zero_is_named(temperature):
    X, Z, y = sample()
    model = GeneralizedDistillationClassifier(teacher_of(GeneralizedDistillationClassifier), temperature=temperature)
    refuse(model, "temperature must be a finite number above 0", X, y, Z)
    model = GeneralizedDistillationClassifierCV(model.teacher, temperatures=(1.0, temperature))
    refuse(model, "temperatures must be a finite number above 0", X, y, Z)


SETTINGS = [
    ({"teacher_sees": "all"}, "teacher_sees must be 'privileged' or 'both', got all"),
    ({"teacher_sees": None}, "teacher_sees must be 'privileged' or 'both', got None"),
    ({"privileged_transformer": "scale"}, "privileged_transformer must be a transformer"),
    ({"privileged_transformer": StandardScaler}, "privileged_transformer must be a transformer"),
    ({"cross_fit": 1}, "cross_fit must be an integer of at least 2"),
    ({"cross_fit": True}, "cross_fit must be an integer of at least 2"),
    ({"cross_fit": "five"}, "cross_fit must be an integer of at least 2 or a splitter, got five"),
    ({"cross_fit": 61}, "cross_fit must be at most"),
]
SEARCHES = [
    ({"imitations": (0.5, 2.0)}, "imitations must be a number between 0 and 1, got 2.0"),
    ({"imitations": (np.nan,)}, "imitations must be a number between 0 and 1, got nan"),
    ({"imitations": ()}, "imitations must be at least one number"),
    ({"penalties": (1.0, -1.0)}, "penalties must be finite numbers"),
    ({"cv": 1}, "cv must be an integer of at least 2"),
    ({"cv": "five"}, "cv must be an integer of at least 2 or a splitter, got five"),
    ({"cv": 61}, "cv must be at most"),
]


@every
@pytest.mark.parametrize(("settings", "words"), SETTINGS, ids=repr)
def test_wrong_settings_are_named(kind, settings, words):
    X, Z, y = sample()
    refuse(kind(**{"teacher": teacher_of(kind)} | settings), words, X, y, Z)


@pytest.mark.parametrize("kind", SEARCH)
@pytest.mark.parametrize(("settings", "words"), SEARCHES, ids=repr)
def test_wrong_settings_of_a_search_are_named(kind, settings, words):
    X, Z, y = sample()
    refuse(kind(**{"teacher": teacher_of(kind)} | settings), words, X, y, Z)


def test_a_search_names_what_it_can_not_search():
    X, Z, y = sample()
    kind = GeneralizedDistillationRegressorCV
    model = kind(teacher_of(kind), KNeighborsRegressor(), penalties=(1.0,))
    refuse(model, "penalties must be None for a student without alpha or C", X, y, Z)
    model = GeneralizedDistillationClassifierCV(teacher_of(kind), temperatures=())
    refuse(model, "temperatures must be at least one number above 0", X, y, Z)
    model = GeneralizedDistillationClassifierCV(CountingClassifier(), penalties=(0.0,))
    refuse(model, "penalties must be finite numbers above 0", X, y, Z)
    model = GeneralizedDistillationClassifierCV(CountingClassifier(), LinearSVC())
    words = "student must be a classifier with predict_proba, to be chosen by log-loss"
    refuse(model, words, X, y, Z, TypeError)
    refuse(model.set_params(imitations=(0.0,)), words, X, y, Z, TypeError)


def test_folds_that_can_not_teach_are_refused_before_any_training():
    X, Z, _ = sample()
    y = np.repeat([0, 1], 30)
    kind = GeneralizedDistillationClassifierCV
    refuse(kind(teacher_of(kind), cv=TimeSeriesSplit(5)), "cv must be a splitter whose training parts hold", X, y, Z)
    kind = GeneralizedDistillationClassifier
    model = kind(teacher_of(kind), cross_fit=TimeSeriesSplit(5))
    refuse(model, "cross_fit must be a splitter whose training parts hold", X, y, Z)
    known = np.where(np.arange(60) < 30, [0.0, 1.0] * 30, np.nan)
    model = GeneralizedDistillationClassifierCV(teacher_of(kind), cv=[(np.arange(30), np.arange(30, 60))])
    refuse(model, "cv must be a splitter that holds out labelled rows", X, known, Z)
    model = GeneralizedDistillationClassifierCV(teacher_of(kind), cv=[(np.arange(30), np.arange(30, 61))])
    refuse(model, "cv must be between -60 and 59, got 60", X, y, Z, IndexError)
    model = GeneralizedDistillationClassifierCV(teacher_of(kind), cv=TimeSeriesSplit(3))
    late, mixed = np.repeat([0.0, 1.0], 30), np.tile([0, 1], 30)
    refuse(model, "cv must be a splitter whose training parts hold", X, mixed, Z, sample_weight=late)


@every
@pytest.mark.parametrize("given", ["prefit", "frozen", "none"])
def test_an_unfitted_teacher_said_to_be_fitted_is_refused(kind, given):
    X, Z, y = sample()
    plain = teacher_of(kind)
    teacher = {"prefit": plain, "frozen": FrozenEstimator(plain), "none": None}[given]
    cross_fit = None if given == "frozen" else "prefit"
    words = r"teacher must be fitted, because it is used as it is, got (None|an unfitted Counting\w+). Fit it first"
    refuse(kind(teacher=teacher, cross_fit=cross_fit), words, X, y, Z, NotFittedError)


@every
def test_missing_inputs_that_only_the_student_accepts_are_refused(kind):
    X, Z, y = sample()
    imputing = make_pipeline(SimpleImputer(), LogisticRegression() if issubclass(kind, ClassifierMixin) else Ridge())
    model = kind(teacher=teacher_of(kind), student=imputing, teacher_sees="both")
    refuse(model, "X must be complete where the teacher sees it, .* got NaN", with_value(X, (3, 0), np.nan), y, Z)


@every
def test_a_fitted_teacher_of_other_columns_is_refused(kind):
    X, Z, y = sample()
    teacher = FrozenEstimator((LogisticRegression() if issubclass(kind, ClassifierMixin) else Ridge()).fit(Z, y))
    refuse(kind(teacher=teacher, teacher_sees="both"), "X_privileged must be what the fitted teacher knows", X, y, Z)


@every
@pytest.mark.parametrize("name", ["teacher", "student"])
@pytest.mark.parametrize("value", [Ridge, "ridge", 3])
def test_what_is_no_estimator_is_refused(kind, name, value):
    X, Z, y = sample()
    with pytest.raises(
        TypeError, match=rf"{name} must be a (classifier|regressor|student), an estimator with fit, got"
    ):
        kind(**{name: value}).fit(X, y, X_privileged=Z)


def test_models_of_the_other_task_are_refused():
    X, Z, y = sample()
    kind = GeneralizedDistillationRegressor
    refuse(kind(LogisticRegression()), "teacher must be a regressor, got LogisticRegression", X, y, Z, TypeError)
    refuse(kind(teacher_of(kind), SVC()), "student must be a regressor, got SVC", X, y, Z, TypeError)
    kind = GeneralizedDistillationClassifier
    refuse(kind(Ridge()), "teacher must be a classifier with predict_proba or a decision", X, y, Z, TypeError)
    refuse(kind(teacher_of(kind), Lasso()), "student must be a classifier, got Lasso", X, y, Z, TypeError)


@pytest.mark.parametrize("student", [KNeighborsClassifier(), make_pipeline(StandardScaler(), KNeighborsClassifier())])
def test_a_classification_student_that_takes_neither_weights_nor_soft_targets_is_refused(student):
    X, Z, y = sample()
    for kind in (GeneralizedDistillationClassifier, GeneralizedDistillationClassifierCV):
        words = "student must be an estimator whose fit takes sample_weight or soft_targets"
        refuse(kind(teacher_of(kind), student), words, X, y, Z, TypeError)


def test_weights_that_teacher_or_student_can_not_take_are_refused():
    X, Z, y = sample()
    kind, weight = GeneralizedDistillationRegressor, np.ones(60)
    neighbours = KNeighborsRegressor()
    words = "must be an estimator whose fit takes sample_weight"
    refuse(kind(teacher_of(kind), neighbours), f"student {words}", X, y, Z, TypeError, sample_weight=weight)
    refuse(kind(neighbours), f"teacher {words}", X, y, Z, TypeError, sample_weight=weight)
    unlabelled = with_value(y, slice(0, 9), np.nan)
    refuse(kind(teacher_of(kind), neighbours), f"student {words}", X, unlabelled, Z, TypeError)
    only_soft = kind(teacher_of(kind), neighbours, imitation=1.0).fit(X, unlabelled, X_privileged=Z)
    assert np.isfinite(only_soft.predict(X)).all()
