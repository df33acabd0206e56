"""The search over students is each of them fitted to each fold, one by one."""

from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold

from pitskd import (
    NeuralDistillationClassifier,
    NeuralDistillationClassifierCV,
    NeuralDistillationRegressor,
    NeuralDistillationRegressorCV,
)
from pitskd.losses import FitNetHint, SelfAttention
from pitskd.models import MLP, TCN

# A few epochs on a few rows make no good teacher; the warning itself has a test.
pytestmark = pytest.mark.filterwarnings("ignore:The teacher's held-out loss")

SMALL = partial(MLP, hidden=5)


def sample(n=45, seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 2))
    X = np.column_stack([Z, rng.normal(size=n)]) + 0.7 * rng.normal(size=(n, 3))
    y = Z @ [1.0, -2.0] + 0.3 * rng.normal(size=n)
    return X, Z, y, np.digitize(y, [-1.0, 1.0])


X, Z, Y, LABELS = sample()


def make(kind=NeuralDistillationRegressor, **changes):
    settings = {
        "teacher": SMALL, "student": SMALL, "max_epochs": 3, "batch_size": 8, "random_state": 0, "precision": "float64",
    }  # fmt: skip
    return kind(**{**settings, **changes})


def weights(model):
    return np.concatenate([part.detach().numpy().ravel() for part in model.student_.network.parameters()])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("hints", [(), [(FitNetHint("hidden", "hidden"), 0.5)]], ids=["plain", "hints"])
def test_the_search_of_a_regressor_is_its_one_by_one_computation(weighted, hints):
    weight = 1.0 + np.arange(45) % 4 if weighted else None
    model = make(hints=hints)
    search = NeuralDistillationRegressorCV(model, imitations=(0.5, 0.0, 1.0), learning_rates=(0.03, 0.003), cv=KFold(3))
    search.fit(X, Y, X_privileged=Z, sample_weight=weight)
    results = search.cv_results_
    assert results["imitation"].tolist() == [0.0, 0.5, 1.0] * 2
    assert results["learning_rate"].tolist() == [0.03] * 3 + [0.003] * 3
    own = np.ones(45) if weight is None else weight
    for k, (imitation, rate) in enumerate(zip(results["imitation"], results["learning_rate"], strict=True)):
        total = 0.0
        for number, (train, test) in enumerate(KFold(3).split(X)):
            student = clone(model).set_params(imitation=imitation, learning_rate=rate)
            student.fit(X[train], Y[train], X_privileged=Z[train], sample_weight=None if weight is None else own[train])
            loss = own[test] @ (student.predict(X[test]) - Y[test]) ** 2
            assert results[f"split{number}_test_loss"][k] == pytest.approx(loss / own[test].sum(), rel=1e-6)
            total += loss
        assert results["mean_test_loss"][k] == pytest.approx(total / own.sum(), rel=1e-6)
    best = np.argmin(results["mean_test_loss"])
    assert search.best_loss_ == results["mean_test_loss"][best]
    chosen = {"imitation": results["imitation"][best], "learning_rate": results["learning_rate"][best]}
    assert search.best_params_ == chosen
    refitted = clone(model).set_params(**chosen).fit(X, Y, X_privileged=Z, sample_weight=weight)
    assert np.array_equal(weights(search), weights(refitted))
    assert np.array_equal(search.predict(X), refitted.predict(X))
    assert search.best_estimator_.student_ is search.student_


def test_the_search_of_a_classifier_is_its_one_by_one_computation():
    y, privileged = LABELS.astype(float), Z.copy()
    y[[4, 11]], privileged[[6, 20]] = np.nan, np.nan
    known = ~np.isnan(y)
    folds = [(np.setdiff1d(np.arange(45), rows), rows) for rows in (np.arange(0, 45, 3), np.arange(1, 45, 3))]
    model = make(NeuralDistillationClassifier, class_weight="balanced")
    search = NeuralDistillationClassifierCV(model, imitations=(0.0, 0.6), temperatures=(1.0, 3.0), cv=folds)
    search.fit(X, y, X_privileged=privileged)
    results = search.cv_results_
    assert results["imitation"].tolist() == [0.0, 0.6, 0.6]
    assert results["temperature"].tolist() == [1.0, 1.0, 3.0]
    for k in range(3):
        settings = {name: results[name][k] for name in ("imitation", "temperature", "learning_rate")}
        for number, (train, test) in enumerate(folds):
            student = clone(model).set_params(**settings).fit(X[train], y[train], X_privileged=privileged[train])
            judged = test[known[test]]
            expected = log_loss(y[judged], student.predict_proba(X[judged]), labels=[0, 1, 2])
            assert results[f"split{number}_test_loss"][k] == pytest.approx(expected, rel=1e-6)
    assert search.classes_.tolist() == [0.0, 1.0, 2.0]
    assert search.predict_proba(X).shape == (45, 3)


def test_folds_given_as_a_number_are_stratified_and_repeatable():
    search = NeuralDistillationClassifierCV(make(NeuralDistillationClassifier), (0.0, 1.0), (2.0,), cv=3)
    one = search.fit(X, LABELS, X_privileged=Z).cv_results_
    other = clone(search).set_params(cv=StratifiedKFold(3)).fit(X, LABELS, X_privileged=Z).cv_results_
    assert np.array_equal(one["mean_test_loss"], other["mean_test_loss"])


def test_folds_by_default_are_twice_five():
    search = NeuralDistillationRegressorCV(make(max_epochs=1), (0.0, 1.0)).fit(X, Y, X_privileged=Z)
    assert sum(name.startswith("split") for name in search.cv_results_) == 10
    assert search.cv_results_["mean_test_loss"].shape == (2,)


@pytest.mark.parametrize("cv", [None, 2])
def test_windows_beside_privileged_windows_can_be_searched(cv):
    rng = np.random.default_rng(0)
    rows, privileged = rng.normal(size=(45, 4, 2)), rng.normal(size=(45, 3, 2))
    search = NeuralDistillationRegressorCV(make(teacher_sees="both", max_epochs=1), (1.0,), cv=cv)
    search.fit(rows, Y, X_privileged=privileged)
    assert search.teacher_.shape == (7, 2)
    assert search.predict(rows).shape == (45,)


def test_the_searched_estimator_is_left_as_it_was():
    model = make()
    before = model.get_params()
    NeuralDistillationRegressorCV(model, (0.0, 1.0), cv=2).fit(X, Y, X_privileged=Z)
    assert model.get_params() == before
    assert not hasattr(model, "student_")


def test_several_targets_are_scored_by_their_mean():
    many = np.column_stack([Y, 3.0 * Y])
    model = make(teacher=Ridge())
    search = NeuralDistillationRegressorCV(model, (0.0, 1.0), cv=KFold(2)).fit(X, many, X_privileged=Z)
    train, test = next(iter(KFold(2).split(X)))
    student = clone(model).set_params(imitation=1.0).fit(X[train], many[train], X_privileged=Z[train])
    expected = np.mean((student.predict(X[test]) - many[test]) ** 2)
    assert search.cv_results_["split0_test_loss"][1] == pytest.approx(expected, rel=1e-6)


def test_without_privileged_rows_only_rates_are_searched():
    search = NeuralDistillationRegressorCV(make(), (0.5, 1.0), (0.01, 0.1), cv=2)
    with pytest.warns(UserWarning, match="X_privileged is None or empty"):
        search.fit(X, Y)
    assert set(search.cv_results_["imitation"]) == {0.0}
    assert search.best_params_["imitation"] == 0.0
    assert search.cv_results_["learning_rate"].tolist() == [0.01, 0.1]


def test_a_hint_without_a_teacher_is_searched_without_privilege():
    network = partial(TCN, hidden=3, n_blocks=2)
    model = make(student=network, hints=[(SelfAttention(("blocks.0", "blocks.1")), 1.0)], max_epochs=1)
    search = NeuralDistillationRegressorCV(model, (0.0,), cv=2).fit(np.repeat(X[:, None], 3, axis=1), Y)
    assert search.best_params_["imitation"] == 0.0


def test_a_diverging_candidate_is_never_the_best():
    model = make(imitation=0.0, validation=None, max_epochs=2)
    search = NeuralDistillationRegressorCV(model, (0.0,), (1e300, 0.01), cv=2).fit(X, Y)
    assert search.best_params_["learning_rate"] == 0.01


def test_an_interrupted_search_is_given_up():
    asked = []

    def schedule(epoch):
        asked.append(epoch)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        NeuralDistillationRegressorCV(make(schedule=schedule, imitation=0.0), (0.0,), cv=2).fit(X, Y)
    assert len(asked) == 3


REFUSED = {
    "imitations": ({"imitations": (0.5, 1.5)}, ValueError, r"imitations must be a number between 0 and 1, got 1.5"),
    "NaN": ({"imitations": (np.nan,)}, ValueError, r"imitations must be a number between 0 and 1, got nan"),
    "no imitation": ({"imitations": ()}, ValueError, r"imitations must be at least one number"),
    "text": ({"imitations": "all"}, ValueError, r"imitations must be a number between 0 and 1, got all"),
    "rates": ({"learning_rates": (0.1, 0.0)}, ValueError, r"learning_rates must be a finite number above 0, got 0.0"),
    "no rate": ({"learning_rates": []}, ValueError, r"learning_rates must be at least one number"),
    "one fold": ({"cv": 1}, ValueError, r"cv must be an integer of at least 2 or a splitter, got 1"),
    "text for folds": ({"cv": "five"}, ValueError, r"cv must be an integer of at least 2 or a splitter, got five"),
    "too many folds": ({"cv": 99}, ValueError, r"cv must be at most 45"),
    "another estimator": ({"estimator": Ridge()}, TypeError, r"estimator must be a NeuralDistillationRegressor"),
    "another task": (
        {"estimator": NeuralDistillationClassifier()}, TypeError,
        r"estimator must be a NeuralDistillationRegressor or None, got NeuralDistillationClassifier",
    ),
    "what the estimator refuses": ({"estimator": make(batch_size=0)}, ValueError, r"batch_size must be an integer"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "kind", "match"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_search_is_refused(changes, kind, match):
    search = NeuralDistillationRegressorCV(**{"estimator": make(), "imitations": (0.0, 1.0), "cv": 2, **changes})
    with pytest.raises(kind, match=match):
        search.fit(X, Y, X_privileged=Z)


@pytest.mark.parametrize("temperatures", [(0.0,), (), (np.inf,), "warm"])
def test_wrong_temperatures_are_refused(temperatures):
    search = NeuralDistillationClassifierCV(make(NeuralDistillationClassifier), temperatures=temperatures, cv=2)
    with pytest.raises(ValueError, match=r"temperatures must be"):
        search.fit(X, LABELS, X_privileged=Z)
