"""The laws that must hold on every device: a student is the same student on a GPU."""

from functools import partial

import numpy as np
import pytest
import torch

from pitskd import NeuralDistillationClassifier, NeuralDistillationRegressor
from pitskd.losses import AttentionTransfer, FitNetHint
from pitskd.models import GRU, MLP, TCN, Autoencoder

# Three epochs make no good teacher, and no test here is about that.
pytestmark = pytest.mark.filterwarnings("ignore:The teacher's held-out loss")

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU in this machine")),
]
BUILDERS = [
    partial(MLP, hidden=8),
    partial(MLP, hidden=8, dropout=0.25),
    partial(GRU, hidden=6),
    partial(TCN, hidden=6),
    partial(Autoencoder, bottleneck=4),
]


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(0)
    X, Z = draw.normal(size=(70, 8, 2)), draw.normal(size=(70, 3, 2))
    return X, Z, X[:, -3:, 0].sum(axis=1) + Z[:, 0, 0]


def student(builder, device, **settings):
    settings = {"max_epochs": 3, "precision": "float64", "random_state": 0, **settings}
    return NeuralDistillationRegressor(builder, builder, device=device, **settings)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("builder", BUILDERS, ids=repr)
def test_the_device_does_not_change_the_student(builder, device, rows):
    X, Z, y = rows
    here = student(builder, "cpu").fit(X, y, X_privileged=Z)
    there = student(builder, device).fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(there.predict(X), here.predict(X), atol=1e-8)  # order of sums, over 3 epochs
    assert next(there.student_.network.parameters()).device.type == device


@pytest.mark.parametrize("device", DEVICES)
def test_a_stack_equals_students_alone(device, rows):
    X, Z, y = rows
    grid = {"imitation": [0.0, 0.5], "random_state": [0, 1], "learning_rate": [1e-3, 1e-2]}
    hints = [(FitNetHint("hidden", "hidden"), 0.5), (AttentionTransfer("hidden", "hidden"), 1.0)]
    model = student(partial(GRU, hidden=6), device, hints=hints)
    for one in model.fit_grid(X, y, grid, X_privileged=Z):
        alone = student(one.student, device, hints=hints, imitation=one.imitation, random_state=one.random_state)
        alone.set_params(learning_rate=one.learning_rate).fit(X, y, X_privileged=Z)
        np.testing.assert_allclose(one.predict(X), alone.predict(X), atol=1e-8)


@pytest.mark.parametrize("device", DEVICES)
def test_classes_are_told_on_every_device(device, rows):
    X, Z, y = rows
    model = NeuralDistillationClassifier(max_epochs=40, temperature=2.0, device=device, random_state=0)
    model.fit(X, y > 0, X_privileged=Z)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)
    assert model.score(X, y > 0) > 0.7
