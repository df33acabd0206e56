import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import LocalOutlierFactor
from statsmodels.tsa.api import VAR

from pitskd import NeuralDistillationRegressor
from pitskd.anomaly.students import Log
from pitskd.experiments import detectors
from pitskd.experiments.detectors import (
    Autoregression,
    Forest,
    LocalOutliers,
    Mahalanobis,
    OneClass,
    PrincipalComponents,
    Reconstruction,
    all_references,
    seen_rows,
    short_references,
)
from pitskd.models import Autoencoder


@pytest.fixture(scope="module")
def log():
    """150 rows of three sensors, each following its own past and the others'."""
    noise = np.random.default_rng(0).normal(size=(150, 3))
    rows = np.zeros((150, 3))
    for t in range(1, 150):
        rows[t] = rows[t - 1] @ [[0.6, 0.2, 0.0], [0.0, 0.5, 0.2], [0.1, 0.0, 0.4]] + noise[t]
    return 5.0 + rows * [1.0, 10.0, 0.1]


def test_t2_and_q_are_those_worked_by_hand():
    """Columns 2 a and a + small b: one component along (1, 1) / sqrt(2) once standardised."""
    a, b = np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0])
    X = np.column_stack([2 * a, 2 * a + b])  # deviations 2 and sqrt(5), correlation 2 / sqrt(5)
    rho = 2 / np.sqrt(5)
    z = np.array([4.0 / 2, 0.0])  # the row (4, 0)
    along, across = z @ [1, 1] / np.sqrt(2), z @ [1, -1] / np.sqrt(2)
    explained = (1 + rho) * 4 / 3  # scikit-learn divides by n - 1
    t2 = PrincipalComponents("T2", 0.9).fit(X).score(np.array([[4.0, 0.0]]))
    q = PrincipalComponents("Q", 0.9).fit(X).score(np.array([[4.0, 0.0]]))
    assert t2 == pytest.approx([along**2 / explained])
    assert q == pytest.approx([across**2])


def test_seen_rows_stand_newest_first_and_before_the_first_row_stands_the_first():
    rows = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    assert seen_rows(rows, 2).tolist() == [[1, 10, 1, 10], [2, 20, 1, 10], [3, 30, 2, 20]]


def test_mahalanobis_is_the_distance_under_the_ledoit_wolf_covariance(log):
    z = (log - log.mean(axis=0)) / log.std(axis=0)
    found = LedoitWolf().fit(z)
    expected = [(row - found.location_) @ found.precision_ @ (row - found.location_) for row in z]
    assert np.allclose(Mahalanobis().fit(log).score(log), expected)


@pytest.mark.parametrize("order", [1, 3])
def test_residual_distances_are_those_of_statsmodels(log, order):
    z = (log - log.mean(axis=0)) / log.std(axis=0)
    found = VAR(z).fit(order, trend="c")
    expected = np.einsum("ij,jk,ik->i", found.resid, np.linalg.inv(found.sigma_u), found.resid)
    model = Autoregression(order).fit(log)
    assert np.allclose(model.score(log)[order:], expected)
    # The equations for logs with holes give the same on a log without, whatever the units.
    seen = seen_rows(log, order + 1)[order:]
    assert np.allclose(model.learn(seen)(seen), expected)


def test_the_order_by_aic_is_that_of_statsmodels(log):
    model = Autoregression().fit(log)
    chosen = VAR(log).select_order(maxlags=5, trend="c").aic
    assert model.n_lags == max(chosen, 1) + 1


def test_local_outliers_are_those_of_scikit_learn(log):
    z = (log - log.mean(axis=0)) / log.std(axis=0)
    expected = -LocalOutlierFactor(n_neighbors=20, novelty=True).fit(z).score_samples(z)
    assert np.allclose(LocalOutliers(20).fit(log).score(log), expected)


@pytest.mark.parametrize("reference", all_references(), ids=lambda reference: reference.name)
def test_every_reference_scores_all_rows_and_outliers_higher_without_touching_global_generators(reference, log):
    far = log.copy()
    far[100:] += 40 * log.std(axis=0)
    scores = reference.fit(log).score(far)
    assert scores.shape == (150,)
    assert np.isfinite(scores).all()
    assert scores.min() >= 0
    assert np.median(scores[100:]) > np.quantile(scores[:100], 0.9)
    assert np.array_equal(scores, reference.fit(log).score(far))


def test_one_class_scores_keep_the_order_of_the_decision(log):
    from sklearn.svm import OneClassSVM

    z = (log - log.mean(axis=0)) / log.std(axis=0)
    state = np.random.get_state(legacy=True)
    expected = OneClassSVM(gamma=0.02, nu=0.05).fit(z).decision_function(z)
    np.random.set_state(state)
    assert np.array_equal(np.argsort(OneClass(0.02).fit(log).score(log)), np.argsort(-expected))


@pytest.fixture
def short_training(monkeypatch):
    monkeypatch.setattr(detectors, "EPOCHS", 3)


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_an_autoencoder_scores_what_it_cannot_write_out_again(log, kind, short_training):
    """By hand: windows in order of time, in deviations of each entry, and the mean square of what is left."""
    found = Reconstruction(kind, n_lags=4).fit(log).score(log)
    X = np.stack([log[last - 3 : last + 1] for last in range(3, len(log))])
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    model = NeuralDistillationRegressor(
        student=partial(Autoencoder, kind=kind, hidden=64), imitation=0.0, max_epochs=3, batch_size=64,
        learning_rate=0.01, schedule="cosine", validation=None, random_state=0,
    ).fit(X, X.reshape(len(X), -1))  # fmt: skip
    left = X.reshape(len(X), -1) - model.predict(X)
    assert np.allclose(found[3:], np.mean(left**2, axis=1), rtol=1e-4)


def test_an_autoencoder_learns_that_sensors_follow_each_other():
    """Two sensors that are one behind the bottleneck of another: what parts them is an anomaly, far ones are not."""
    one = np.random.default_rng(0).normal(size=(300, 1))
    rows = np.hstack([one, one])
    model = Reconstruction("dense", n_lags=2).fit(rows)
    together, apart = model.score(np.full((3, 2), 1.5)), model.score(np.tile([1.5, -1.5], (3, 1)))
    assert apart[-1] > 10 * together[-1]


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_autoencoders_do_not_depend_on_units_and_origins(log, kind):
    unit, origin = np.array([1e-3, 1.0, 1e4]), np.array([0.0, -7.0, 1e5])
    plain, other = (Reconstruction(kind).fit(rows).score(rows) for rows in (log, unit * log + origin))
    assert np.allclose(plain, other, rtol=1e-3)


def test_references_do_not_load_torch_before_a_network_learns():
    code = "import sys\nfrom pitskd.experiments.detectors import all_references\nall_references()\n"
    subprocess.run([sys.executable, "-c", f"{code}assert 'torch' not in sys.modules"], check=True)


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize(
    "reference", [Mahalanobis(4), Autoregression(3), Reconstruction("dense")], ids=lambda reference: reference.name
)
def test_held_out_scores_come_from_detectors_that_saw_nothing_of_the_block(reference, log):
    reference.fit(log)
    held_out = reference.held_out(log)
    first = reference.n_lags - 1
    assert len(held_out) == len(log) - first
    block = Log(log, np.zeros(len(log), dtype=int), np.ones(len(log), dtype=bool)).blocks(10)
    changed = log.copy()
    changed[block == 4] += np.random.default_rng(1).normal(size=(15, 3))
    # The scores of a block change with its own rows; what judges it does not.
    rows = np.flatnonzero(block == 4)
    outside = np.r_[first : rows[0], rows[-1] + reference.n_lags : len(log)]
    judge = reference.learn(seen_rows(changed, reference.n_lags)[outside])
    assert np.allclose(held_out[rows - first], judge(seen_rows(log, reference.n_lags)[rows]))


def test_held_out_scores_are_higher_than_those_of_learnt_rows(log):
    model = Autoregression(5).fit(log)
    assert model.held_out(log).mean() > model.score(log)[5:].mean()


def test_a_constant_sensor_breaks_no_reference(log):
    still = np.column_stack([log, np.full(len(log), 7.0)])
    for reference in (Mahalanobis(), PrincipalComponents("Q", 0.9), LocalOutliers(20), Forest(n_trees=10),
                      Reconstruction("dense")):  # fmt: skip
        assert np.isfinite(reference.fit(still).score(still)).all()


def test_without_river_half_space_trees_are_left_out(monkeypatch):
    n_all = len(all_references())
    monkeypatch.setattr(detectors.importlib.util, "find_spec", lambda name: None)
    names = [reference.name for reference in all_references()]
    assert not any("river" in name for name in names)
    assert len(names) >= n_all - 1


def test_names_tell_references_apart():
    names = [reference.name for reference in all_references()]
    assert len(set(names)) == len(names)
    assert {reference.name for reference in short_references()} <= set(names)
