"""Laws of the front door with networks among its candidates."""

import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from pitskd import (
    NeuralDistillationClassifier,
    NeuralDistillationRegressor,
    PrivilegedClassifier,
    PrivilegedRegressor,
)
from pitskd.models import GRU, MLP

TINY: dict[str, Any] = {"max_epochs": 3, "learning_rate": 0.01, "random_state": 0}
NEURAL: dict[Any, Any] = {
    PrivilegedRegressor: NeuralDistillationRegressor,
    PrivilegedClassifier: NeuralDistillationClassifier,
}

# A few epochs on a few rows make no good teacher; the warning itself has a test.
pytestmark = pytest.mark.filterwarnings("ignore:The teacher's held-out loss")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(72, 3, 2))
    Z = X[:, -1:] + 0.3 * rng.normal(size=(72, 2, 2))
    return X, Z, np.sin(2 * X[:, -1, 0]) + Z[:, -1, 1]


def targets(kind, y):
    return y if kind is PrivilegedRegressor else (y > 0).astype(int)


def neural(kind, student: Any = None, **settings):
    return NEURAL[kind](student=student or partial(MLP, hidden=4), **TINY | settings)


@pytest.fixture(scope="module", params=NEURAL, ids=lambda kind: kind.__name__)
def fitted(request, rows):
    X, Z, y = rows
    kind = request.param
    candidates = ["baseline", "chain", neural(kind), neural(kind, partial(GRU, hidden=3), imitation=1.0)]
    return kind(candidates, combine="stack", cv=3).fit(X, targets(kind, y), X_privileged=Z)


def test_networks_are_weighed_beside_linear_candidates(fitted):
    name = NEURAL[type(fitted)].__name__
    assert list(fitted.candidates_.index) == ["baseline", "chain", name, f"{name} 2"]
    assert fitted.candidates_["held_out_loss"].notna().all()
    assert (fitted.candidates_["left_out"] == "").all()
    assert sum(fitted.weights_.values()) == pytest.approx(1.0)
    assert fitted.loss_ <= fitted.candidates_["held_out_loss"].min() + 1e-9  # no stack is worse than its best part


@pytest.mark.parametrize("kind", NEURAL)
def test_a_network_alone_is_the_network_fitted_to_all_rows_with_the_middle(kind, rows):
    """Windows keep their time, and the teacher gets its rows: the same bits as without the front door."""
    X, Z, y = rows
    candidate = neural(kind, partial(GRU, hidden=3))
    alone = clone(candidate).fit(X, targets(kind, y), X_privileged=Z)
    front = kind([candidate], combine="select", cv=3).fit(X, targets(kind, y), X_privileged=Z)
    assert np.array_equal(front.predict(X), alone.predict(X))
    assert not hasattr(candidate, "student_")
    network = front.candidate_students_[type(candidate).__name__].others[0][0].model
    assert network.student_.sizes == {"n_channels": 2, "length": 3, "n_outputs": 1 if y is targets(kind, y) else 2}
    assert network.teacher_.n_features_in_ == 2 * 2


def test_the_student_is_the_combination_that_the_weights_tell(rows):
    X, Z, y = rows
    model = PrivilegedRegressor(["baseline", neural(PrivilegedRegressor)], combine="weights", cv=3)
    model.fit(X, y, X_privileged=Z)
    flat = X.reshape(len(X), -1)
    said = sum(weight * model.candidate_students_[name].predict(flat) for name, weight in model.weights_.items())
    assert np.allclose(model.predict(X), said)


def test_where_the_target_is_no_line_a_stack_leans_on_the_network():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, size=(200, 2))
    Z, y = rng.normal(size=(200, 1, 2)), np.abs(X[:, 0])
    network = neural(PrivilegedRegressor, imitation=0.0, max_epochs=40, learning_rate=0.03)
    model = PrivilegedRegressor(["baseline", network], combine="stack", cv=3).fit(
        X[:150], y[:150], X_privileged=Z[:150]
    )
    assert model.weights_["NeuralDistillationRegressor"] > 0.9
    assert model.score(X[150:], y[150:]) > 0.7 > model.candidate_students_["baseline"].predict(X).std()


def test_without_privileged_rows_a_network_that_asks_for_them_is_left_out(rows):
    X, _, y = rows
    with pytest.warns(UserWarning, match="X_privileged is None or empty"):
        model = PrivilegedRegressor(["baseline", neural(PrivilegedRegressor)], combine="stack", cv=3).fit(X, y)
    assert model.candidates_["left_out"].tolist() == ["", "no row has a privileged part"]


def test_a_network_that_the_default_rule_leaves_out_is_named(rows):
    X, Z, y = rows
    model = PrivilegedRegressor(["chain", neural(PrivilegedRegressor)], cv=2)
    with pytest.warns(UserWarning, match='"anchored" gives no weight to NeuralDistillationRegressor'):
        model.fit(X, y, X_privileged=Z)


@pytest.mark.parametrize("kind", NEURAL)
def test_a_network_of_the_other_task_is_refused_before_any_work(kind, rows):
    X, Z, y = rows
    (other,) = set(NEURAL) - {kind}
    with pytest.raises(TypeError, match="candidates must be"):
        kind([neural(other)]).fit(X, targets(kind, y), X_privileged=Z)


def test_rows_of_weight_zero_are_as_good_as_dropped(rows):
    X, Z, y = rows
    weight = np.ones(len(X))
    weight[5::7] = 0.0
    kept = weight > 0
    cv = [(np.arange(40), np.arange(40, 72))]
    places = np.cumsum(kept) - 1
    fewer = [tuple(places[part[kept[part]]] for part in cv[0])]
    candidates = [neural(PrivilegedRegressor)]
    one = PrivilegedRegressor(candidates, "select", cv).fit(X, y, X_privileged=Z, sample_weight=weight)
    other = PrivilegedRegressor(candidates, "select", fewer).fit(X[kept], y[kept], X_privileged=Z[kept])
    assert np.allclose(one.predict(X), other.predict(X))


def test_a_model_with_networks_is_pickled_and_cloned(fitted, rows):
    X, Z, y = rows
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))
    again = clone(fitted).fit(X, targets(type(fitted), y), X_privileged=Z)
    assert np.array_equal(again.predict(X), fitted.predict(X))
