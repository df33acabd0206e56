"""Laws of the privileged report for networks: what is no merit of privileged rows must not count as theirs."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor
from sklearn.frozen import FrozenEstimator

from pitskd import (
    GeneralizedDistillationRegressor,
    NeuralDistillationClassifier,
    NeuralDistillationClassifierCV,
    NeuralDistillationRegressor,
    NeuralDistillationRegressorCV,
    PrivilegedClassifier,
    PrivilegedRegressor,
    privileged_report,
)
from pitskd.experiments import _same_loss
from pitskd.experiments._same_loss import untaught_candidates, without_privilege
from pitskd.losses import FitNetHint, SelfAttention, VirtualTeacher
from pitskd.models import MLP, TCN
from pitskd.neural.refinery import LabelRefineryClassifier

SMALL: dict[str, Any] = {"student": partial(MLP, hidden=8), "max_epochs": 3, "learning_rate": 0.02}

# How many splits warned of a teacher or of few rows is not what these tests ask.
pytestmark = pytest.mark.filterwarnings("ignore:In .* splits")


def bent(n=72, seed=0):
    """A target that no linear model knows anything of, and privileged rows of noise."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.0, 1.0, size=(n, 2))
    return X, np.abs(X[:, 0]) + 0.05 * rng.normal(size=n), rng.normal(size=(n, 1, 3))


def score(report, method):
    return float(report.table.set_index("method").loc[method, "score"])


def by_split(report, method):
    cells = report.cells[report.cells["method"] == method]
    sums = cells.groupby("seed")[["sum", "n_test"]].sum()
    return (sums["sum"] / sums["n_test"]).to_numpy()


def test_the_same_loss_control_of_a_network_is_the_network_at_imitation_0_from_the_same_seed():
    X, y, Z = bent()
    report = privileged_report(
        NeuralDistillationRegressor(imitation=0.0, random_state=0, **SMALL), X, y, X_privileged=Z, cv=2
    )
    assert np.array_equal(by_split(report, "student"), by_split(report, "same-loss control"))
    assert np.array_equal(by_split(report, "student"), by_split(report, "permuted-x* control"))


def test_a_network_without_a_seed_starts_as_its_controls_do():
    X, y, Z = bent()
    network = NeuralDistillationRegressor(imitation=0.0, **SMALL)
    one, other = (privileged_report(network, X, y, X_privileged=Z, cv=2, random_state=seed) for seed in (0, 1))
    assert network.random_state is None
    assert np.array_equal(by_split(one, "student"), by_split(one, "same-loss control"))
    assert not np.array_equal(by_split(one, "student"), by_split(other, "student"))


def test_a_network_that_bends_is_no_merit_of_privileged_rows():
    X, y, Z = bent(160)
    network = NeuralDistillationRegressor(imitation=0.2, random_state=0, **SMALL | {"max_epochs": 30})
    report = privileged_report(network, X, y, X_privileged=Z, cv=4)
    assert score(report, "student") > score(report, "tuned baseline") + 0.3
    assert score(report, "same-loss control") > score(report, "tuned baseline") + 0.3
    assert report.verdict != "helps"


def test_a_stack_with_a_network_is_judged_against_the_same_stack_untaught():
    X, y, Z = bent(160)
    network = NeuralDistillationRegressor(imitation=0.2, random_state=0, **SMALL | {"max_epochs": 30})
    front = PrivilegedRegressor(["baseline", "chain", network], combine="stack", cv=2)
    report = privileged_report(front, X, y, X_privileged=Z, cv=2)
    assert score(report, "student") > score(report, "tuned baseline") + 0.3
    assert score(report, "same-loss control") > score(report, "tuned baseline") + 0.3
    assert report.verdict != "helps"
    assert "is its candidates without privileged rows" in report.left_out["PrivilegedRegressor at imitation 0"]


def test_an_untaught_stack_sees_no_privileged_row(monkeypatch):
    X, y, Z = bent()
    seen = []

    class Watched(NeuralDistillationRegressor):
        def fit(self, X, y, *, X_privileged=None, sample_weight=None):
            seen.append((self.imitation, X_privileged is None))
            return super().fit(X, y, X_privileged=X_privileged, sample_weight=sample_weight)

    front = PrivilegedRegressor([Watched(imitation=0.5, random_state=0, **SMALL)], combine="select", cv=2)
    privileged_report(front, X, y, X_privileged=Z, cv=2)
    assert set(seen) == {(0.5, False), (0.0, True)}


def test_classifiers_are_judged_in_the_same_way():
    X, y, Z = bent()
    network = NeuralDistillationClassifier(random_state=0, **SMALL)
    labels = np.where(y > 0.5, "far", "near")
    for estimator in (network, PrivilegedClassifier(["baseline", network], combine="stack", cv=2)):
        report = privileged_report(estimator, X, labels, X_privileged=Z, cv=2, metric="log_loss")
        assert np.isfinite(report.table.set_index("method").loc[["same-loss control", "student"], "score"]).all()


# ---------------------------------------------------------------- what is left of an estimator


def test_hints_of_a_teacher_go_and_those_of_the_student_itself_stay():
    own, taught = (SelfAttention(["blocks.0", "blocks.1"]), 0.1), (FitNetHint("blocks.0", "hidden"), 0.1)
    model = NeuralDistillationRegressor(student=partial(TCN, n_blocks=2), hints=[own, taught], random_state=3)
    plain = without_privilege(model)
    assert plain.hints == [own]
    assert plain.imitation == 0.0
    assert plain.random_state == 3
    assert model.hints == [own, taught]


def test_a_soft_loss_that_asks_no_teacher_is_no_privilege():
    plain = without_privilege(NeuralDistillationClassifier(imitation=0.3, soft_loss=VirtualTeacher()))
    assert plain.imitation == 0.3
    assert without_privilege(NeuralDistillationClassifier(imitation=0.3)).imitation == 0.0


def test_a_search_is_left_with_imitation_0():
    assert without_privilege(NeuralDistillationRegressorCV()).imitations == [0.0]


class Takes(RegressorMixin, BaseEstimator):
    """Takes privileged rows and cannot do without."""

    def fit(self, X, y, *, X_privileged):
        return self


def test_candidates_of_a_front_door_lose_their_privilege_one_by_one():
    forest, taught = RandomForestRegressor(), GeneralizedDistillationRegressor(imitation=0.7)
    found = untaught_candidates(PrivilegedRegressor(["baseline", "chain", "generalized", taught, forest, Takes()]))
    names = ["baseline", "plain", "GeneralizedDistillationRegressor", "RandomForestRegressor"]
    assert [one.name for one in found] == names
    assert found[2].estimator.imitation == 0.0
    assert isinstance(found[1], _same_loss.Plain)
    assert taught.imitation == 0.7


@pytest.mark.parametrize("model", [PrivilegedRegressor(), PrivilegedRegressor(["baseline", Takes()]), Takes()])
def test_without_estimators_of_the_users_own_the_control_is_linear_as_before(model):
    assert untaught_candidates(clone(model)) == []


TAUGHT, OWN = (FitNetHint("blocks.0", "hidden"), 0.1), (SelfAttention(["blocks.0", "blocks.1"]), 0.1)


def test_stages_of_hints_go_with_the_last_hint():
    assert without_privilege(NeuralDistillationRegressor(hints=[TAUGHT], hint_epochs=2)).hint_epochs == 0
    assert without_privilege(NeuralDistillationRegressor(hints=[TAUGHT, OWN], hint_epochs=2)).hint_epochs == 2
    X, y, _ = bent()
    model = NeuralDistillationRegressor(hints=[(FitNetHint("hidden", "hidden"), 0.1)], hint_epochs=2, **SMALL)
    assert np.isfinite(without_privilege(model).fit(X, y).predict(X)).all()


def test_a_search_loses_the_hints_of_what_it_searches():
    inner = NeuralDistillationRegressor(imitation=0.4, hints=[TAUGHT, OWN], hint_epochs=1)
    plain = without_privilege(NeuralDistillationRegressorCV(inner, imitations=(0.0, 0.5)))
    assert plain.imitations == [0.0]
    assert plain.estimator.hints == [OWN]
    assert inner.hints == [TAUGHT, OWN]


def test_a_search_of_a_loss_that_asks_no_teacher_goes_on():
    inner = NeuralDistillationClassifier(soft_loss=VirtualTeacher())
    plain = without_privilege(NeuralDistillationClassifierCV(inner, imitations=(0.0, 0.5)))
    assert tuple(plain.imitations) == (0.0, 0.5)


@pytest.mark.parametrize("inner", [None, NeuralDistillationClassifier(imitation=0.7, hints=[TAUGHT], hint_epochs=1)])
def test_a_refinery_begins_without_privilege(inner):
    plain = without_privilege(LabelRefineryClassifier(inner, max_stages=1))
    assert plain.estimator.imitation == 0.0
    assert list(plain.estimator.hints) == []
    assert plain.estimator.hint_epochs == 0
    assert plain.max_stages == 1


def test_a_frozen_estimator_and_others_of_the_users_own_stay_as_they_are():
    frozen = FrozenEstimator(NeuralDistillationRegressor())
    assert without_privilege(frozen) is None
    assert frozen.estimator.imitation == 0.5
    assert without_privilege(BaggingRegressor(GeneralizedDistillationRegressor())) is None
