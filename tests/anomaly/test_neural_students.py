"""Laws of networks in the anomaly head: they forecast as any regressor does, in arrays, in streams and in files."""

import pickle
import subprocess
import sys
import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from pitskd import NeuralDistillationRegressor, PrivilegedAnomalyDetector
from pitskd.anomaly.students import Log, learn_estimator
from pitskd.models import GRU, MLP, TCN, Autoencoder

NETWORKS = {
    "MLP": partial(MLP, hidden=6),
    "GRU": partial(GRU, hidden=4),
    "TCN": partial(TCN, hidden=4),
    "dense autoencoder": partial(Autoencoder, hidden=6, bottleneck=2),
    "convolutional autoencoder": partial(Autoencoder, kind="convolutional", hidden=4, bottleneck=2),
}


def neural(student, **settings):
    given: dict[str, Any] = {
        "imitation": 0.0,
        "max_epochs": 2,
        "batch_size": 64,
        "learning_rate": 0.01,
        "random_state": 0,
    }
    return NeuralDistillationRegressor(student=student, **given | settings)


@pytest.fixture(scope="module")
def rows():
    """Two sensors far from zero that follow each other, and a lab value behind them."""
    rng = np.random.default_rng(0)
    state, values = np.zeros(2), []
    for noise in rng.normal(size=(150, 2)):
        state = state @ [[0.8, 0.3], [-0.3, 0.8]] + noise
        values.append(state)
    sensors = np.array(values) * [0.5, 40.0] + [300.0, -5e3]
    return sensors, sensors.sum(axis=1, keepdims=True) + rng.normal(size=(150, 1))


def fitted(rows, *, horizons=(1, 3), taught=False, **settings):
    detector = PrivilegedAnomalyDetector(neural(**settings), horizons=horizons, n_lags=4, smoothing=3)
    with warnings.catch_warnings():
        # Logs and epochs are kept short here on purpose.
        warnings.filterwarnings("ignore", message="X (is short|drifts)|The teacher's held-out loss")
        return detector.fit(rows[0], X_privileged=rows[1] if taught else None)


@pytest.fixture(scope="module", params=NETWORKS)
def detector(request, rows):
    return fitted(rows, student=NETWORKS[request.param], imitation=0.5, taught=True)


def live(rows):
    """Rows with a shift, a hole, and a missing first row."""
    given = rows[0][:90].copy()
    given[50:60, 0] += 5.0
    given[30, 1] = given[0, 0] = np.nan
    return given


def test_rows_one_by_one_are_scored_as_arrays_are(detector, rows):
    """To what is left of single precision, which sums many rows in another order than one."""
    detector.reset()
    alarms = [detector.update(row) for row in live(rows)]
    found = detector.detect(live(rows))
    assert np.allclose([alarm.score for alarm in alarms], found["score"], rtol=1e-5)
    assert [alarm.is_anomaly for alarm in alarms] == found["is_anomaly"].tolist()
    parts = [alarm.contributions for alarm in alarms]
    assert np.allclose(parts, detector.contributions(live(rows)), rtol=1e-4, atol=1e-5)


def test_a_pickled_detector_and_a_clone_fitted_again_say_the_same(detector, rows):
    given, expected = live(rows), detector.score_samples(live(rows))
    assert np.array_equal(pickle.loads(pickle.dumps(detector)).score_samples(given), expected)
    assert clone(detector).student.student is not None
    assert "student_" not in vars(clone(detector).student)


def test_the_same_seed_gives_the_same_detector(rows):
    one, other = (fitted(rows, student=NETWORKS["GRU"], horizons=1).score_samples(live(rows)) for _ in range(2))
    assert np.array_equal(one, other)


def test_streams_side_by_side_are_scored_as_each_alone(rows):
    detector = fitted(rows, student=NETWORKS["TCN"])
    both = np.stack([rows[0][:30], rows[0][40:70]], axis=1)
    together = np.array([detector.update(pair).score for pair in both])
    for number in range(2):
        assert np.allclose(together[:, number], detector.detect(both[:, number])["score"], rtol=1e-5)


def test_double_precision_leaves_nothing_between_streams_and_arrays(rows):
    detector = fitted(rows, student=NETWORKS["MLP"], precision="float64")
    scores = [detector.update(row).score for row in live(rows)]
    assert np.allclose(scores, detector.detect(live(rows))["score"], rtol=1e-11)


def test_a_network_sees_windows_with_time_last():
    """One that is told the length and the channels of a window: 4 rows of 2 sensors."""
    sizes = []

    def builder(n_channels, length, n_outputs):
        sizes.append((n_channels, length, n_outputs))
        return GRU(hidden=2, n_channels=n_channels, length=length, n_outputs=n_outputs)

    log = Log(np.random.default_rng(0).normal(size=(60, 2)), np.zeros(60), np.ones(60, dtype=bool))
    lesson = learn_estimator(log, (2,), 4, neural(builder, max_epochs=1))
    assert set(sizes) == {(2, 4, 2)}
    assert lesson.student.forecast(np.zeros((5, 4, 2))).shape == (5, 1, 2)


def test_a_forecast_depends_on_the_order_of_rows_and_on_nothing_but_its_window():
    rng = np.random.default_rng(0)
    log = Log(rng.normal(size=(80, 2)), np.zeros(80), np.ones(80, dtype=bool))
    student = learn_estimator(log, (1,), 4, neural(NETWORKS["GRU"], precision="float64")).student
    windows = rng.normal(size=(6, 4, 2))
    said = student.forecast(windows)
    assert np.allclose(student.forecast(windows[::-1])[::-1], said, rtol=1e-12)
    assert not np.allclose(student.forecast(windows[:, ::-1]), said, rtol=1e-2)


def test_innovations_come_from_networks_that_had_not_seen_the_block():
    """What is added to the rows of a block changes forecasts of it only through what is seen of them."""
    rng = np.random.default_rng(0)
    rows, run, usable = rng.normal(size=(100, 2)), np.zeros(100), np.ones(100, dtype=bool)
    student = neural(NETWORKS["MLP"], validation=None)  # else the newest rows do but choose the epoch
    plain = learn_estimator(Log(rows, run, usable), (1,), 2, student)
    last = plain.block == plain.block.max()
    changed = rows.copy()
    changed[np.flatnonzero(last)[-1]] += 50.0  # seen by no forecast but that of a row behind the log
    other = learn_estimator(Log(changed, run, usable), (1,), 2, student)
    kept = np.flatnonzero(last)[:-1]
    assert np.array_equal(other.innovations[kept], plain.innovations[kept])
    seen_again = plain.student.forecast(np.stack([rows[:2], rows[5:7]]))
    assert not np.allclose(other.student.forecast(np.stack([rows[:2], rows[5:7]])), seen_again)


def test_a_teacher_of_the_rows_between_and_the_lab_changes_the_student(rows):
    alone = fitted(rows, student=NETWORKS["MLP"], horizons=3)
    taught = fitted(rows, student=NETWORKS["MLP"], horizons=3, imitation=1.0, taught=True)
    network = taught.student_.forecasters[0].model
    assert network.teacher_.n_features_in_ == 6 * 3  # 4 lags and 2 rows between, of 2 sensors and the lab
    assert alone.student_.forecasters[0].model.teacher_ is None
    assert not np.allclose(taught.score_samples(live(rows)), alone.score_samples(live(rows)), rtol=1e-3)


def test_a_network_learns_dynamics_that_no_linear_student_can():
    """A logistic map: the next row is a parabola of this one, and without any linear correlation."""
    rng = np.random.default_rng(0)
    x, values = 0.4, []
    for noise in rng.normal(size=400) * 0.01:
        x = np.clip(4 * x * (1 - x) + noise, 0.0, 1.0)
        values.append(x)
    log = np.array(values)[:, None]
    live = log[:200].copy()
    live[150] = 1.0 - live[150]  # 4 x (1 - x) is the same: what follows is foreseen, the row itself is not
    network = neural(partial(MLP, hidden=16), max_epochs=25, batch_size=32, learning_rate=0.03)
    settings = {"n_lags": 1, "smoothing": 1, "memory": None}
    scores = [
        -PrivilegedAnomalyDetector(student, **settings).fit(log).score_samples(live) for student in (network, None)
    ]
    neural_score, linear_score = (score[150] / np.quantile(score[1:150], 0.99) for score in scores)
    assert neural_score > 5.0 > linear_score


def test_the_anomaly_package_does_not_load_torch():
    code = "import sys, pitskd.anomaly.detector, pitskd.anomaly.head\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
