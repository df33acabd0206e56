"""A grid of students that train as one network is each of them trained alone."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from torch import nn

from pitskd import NeuralDistillationClassifier, NeuralDistillationRegressor
from pitskd.losses import AttentionTransfer, FactorTransfer, FitNetHint, RelationalAngle, RelationalDistance
from pitskd.models import GRU, MLP, TCN, Autoencoder

# A few epochs on a few rows make no good teacher; the warning itself has a test.
pytestmark = pytest.mark.filterwarnings("ignore:The teacher's held-out loss")

SMALL = partial(MLP, hidden=5)


def sample(n=36):
    """Return windows (n, 4, 2), three privileged steps and what the last of them says."""
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(n, 4, 2)), rng.normal(size=(n, 3, 2))
    y = Z[:, -1, 0] + X[:, -1, 1] + 0.3 * rng.normal(size=n)
    return X, Z, y, np.digitize(y, [-0.5, 0.5])


X, Z, Y, LABELS = sample()


def make(kind=NeuralDistillationRegressor, **changes):
    settings = {
        "teacher": SMALL, "student": SMALL, "max_epochs": 3, "batch_size": 8, "random_state": 0,
        "precision": "float64",
    }  # fmt: skip
    return kind(**{**settings, **changes})


def weights(model):
    return np.concatenate([part.detach().numpy().ravel() for part in model.student_.network.parameters()])


def check(model, grid, y, privileged=Z, rows=X, sample_weight=None):
    """Compare every student of a grid with a fit of its own; return them."""
    given = {"X_privileged": privileged, "sample_weight": sample_weight}
    students = model.fit_grid(rows, y, grid, **given)
    for student in students:
        settings = student.get_params(deep=False)
        own = clone(model).set_params(**settings).fit(rows, getattr(student, "targets", y), **given)
        compare(student, own)
    return students


def compare(student, own):
    assert type(student) is type(own)
    assert np.allclose(weights(student), weights(own), rtol=1e-7, atol=1e-9)
    assert (student.best_epoch_, student.ended_) == (own.best_epoch_, own.ended_)
    assert student.history_.shape == own.history_.shape
    assert np.allclose(student.history_, own.history_[student.history_.columns], rtol=1e-6, atol=1e-9, equal_nan=True)
    losses = [[one.student_loss_, one.teacher_loss_] for one in (student, own)]
    assert np.allclose(*losses, rtol=1e-6, equal_nan=True)
    assert np.allclose(student.predict(X[:5]), own.predict(X[:5]))


NETWORKS = {
    "MLP": SMALL,
    "MLP with dropout": partial(MLP, hidden=(6, 4), dropout=0.3),
    "GRU": partial(GRU, hidden=3, n_layers=2, dropout=0.2),
    "TCN": partial(TCN, hidden=3, dropout=0.2),
    "dense autoencoder": partial(Autoencoder, hidden=(5,), bottleneck=2),
    "convolutional autoencoder": partial(Autoencoder, kind="convolutional", hidden=(3,), bottleneck=2),
}


@pytest.mark.parametrize("student", NETWORKS.values(), ids=NETWORKS)
def test_students_of_any_imitation_rate_and_seed_are_those_of_one_by_one_fits(student):
    points = [
        {"imitation": 0.0, "learning_rate": 0.01, "random_state": 1},
        {"imitation": 1.0, "learning_rate": 0.001, "random_state": 1},
        {"imitation": 0.4, "learning_rate": 0.05, "random_state": 2},
    ]
    check(make(student=student), points, Y)


@pytest.mark.parametrize("student", [SMALL, partial(GRU, hidden=3, dropout=0.3)])
def test_classifiers_of_any_temperature_are_those_of_one_by_one_fits(student):
    points = [
        {"imitation": 0.0, "temperature": 3.0},
        {"imitation": 0.5, "temperature": 1.0},
        {"imitation": 0.5, "temperature": 4.0, "learning_rate": 0.02},
        {"imitation": 1.0, "temperature": 2.0, "random_state": 5},
    ]
    model = make(NeuralDistillationClassifier, student=student, class_weight="balanced")
    students = check(model, points, LABELS)
    assert len({weights(one).tobytes() for one in students}) == 4


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("teacher_dropout", [0.0, 0.3])
def test_hints_with_adapters_in_a_stack_are_those_of_one_by_one_fits(dropout, teacher_dropout):
    hints = [(FitNetHint("hidden", "hidden"), 0.7), (RelationalDistance("hidden", "hidden"), 0.2)]
    model = make(
        student=partial(MLP, hidden=5, dropout=dropout), hints=hints,
        teacher=partial(MLP, hidden=7, dropout=teacher_dropout),
    )  # fmt: skip
    check(model, {"imitation": [0.0, 0.6], "random_state": [0, 3], "learning_rate": [0.01]}, Y)


ALONE = {
    "a paraphraser": FactorTransfer("hidden", "hidden"),
    "a draw of triples": RelationalAngle("hidden", "hidden", max_triples=40),
    "weight decay of the adapter": FitNetHint("hidden", "hidden", weight_decay=0.1),
}


@pytest.mark.parametrize("loss", ALONE.values(), ids=ALONE)
def test_hints_that_cannot_be_stacked_are_learnt_one_by_one(loss):
    model = make(teacher=partial(MLP, hidden=7), hints=[(loss, 0.5)])
    check(model, {"imitation": [0.0, 0.5], "random_state": [0, 1]}, Y)


def test_what_is_trained_before_a_student_has_its_seed():
    rng = np.random.default_rng(0)
    rows, privileged, y = rng.normal(size=(120, 4, 2)), rng.normal(size=(120, 3, 2)), rng.normal(size=120)
    model = make(hints=[(FactorTransfer("hidden", "hidden"), 1.0)], max_epochs=1)
    check(model, {"random_state": [0, 1]}, y, privileged=privileged, rows=rows)


def test_attention_of_convolutions_is_stacked_too():
    network = partial(TCN, hidden=3, n_blocks=2)
    model = make(student=network, teacher=network, hints=[(AttentionTransfer("blocks.0", "blocks.0"), 1.0)])
    check(model, {"imitation": [0.2, 0.8]}, Y)


def test_two_stages_and_a_late_start_are_stacked_too():
    hints = [(FitNetHint("hidden", "hidden"), 1.0)]
    check(make(hints=hints, hint_epochs=2), {"imitation": [0.0, 1.0], "learning_rate": [0.01, 0.1]}, Y)
    check(make(hints=hints, distil_from=2), {"imitation": [0.0, 1.0], "random_state": [0, 1]}, Y)


@pytest.mark.parametrize("optimizer", [None, torch.optim.SGD, partial(torch.optim.AdamW, weight_decay=0.3)])
@pytest.mark.parametrize("schedule", [None, "cosine", "plateau"])
def test_students_may_end_at_different_epochs(optimizer, schedule):
    model = make(max_epochs=15, patience=2, optimizer=optimizer, schedule=schedule, clip=1.0, teacher=Ridge())
    grid = {"learning_rate": [0.001, 0.2, 0.9], "imitation": [0.0, 0.5]}
    students = check(model, grid, Y, privileged=Z[:, -1])
    assert len({len(student.history_) for student in students}) > 1


def test_an_optimizer_whose_steps_are_not_proportional_to_the_rate_trains_one_by_one():
    check(make(optimizer=torch.optim.Adagrad), {"learning_rate": [0.01, 0.1], "imitation": [0.0, 0.5]}, Y)


def test_rows_that_lack_target_or_privilege_are_stacked_too():
    y, privileged = Y.copy(), Z.copy()
    y[[2, 9]], privileged[[4, 5, 30]] = np.nan, np.nan
    weight = np.where(np.arange(36) == 7, 0.0, 1.0 + np.arange(36) % 3)
    hints = [(FitNetHint("hidden", "hidden"), 0.3)]
    for kept in ([], hints):
        check(make(hints=kept), {"imitation": [0.0, 0.5, 1.0]}, y, privileged=privileged, sample_weight=weight)


def test_students_of_different_targets_share_a_stack():
    other = np.random.default_rng(1).normal(size=36)
    points = [{"y": Y}, {"y": other}, {"y": 1e4 * Y + 5.0, "imitation": 0.0}, {"y": other, "random_state": 4}]
    model = make()
    students = model.fit_grid(X, None, points, X_privileged=Z)
    for student, point in zip(students, points, strict=True):
        settings = {name: value for name, value in point.items() if name != "y"}
        compare(student, clone(model).set_params(**settings).fit(X, point["y"], X_privileged=Z))


def test_classifiers_of_different_labels_are_fitted_each_to_its_own():
    points = [{"y": LABELS}, {"y": np.where(LABELS > 0, "b", "a")}]
    model = make(NeuralDistillationClassifier)
    for student, point in zip(model.fit_grid(X, LABELS, points, X_privileged=Z), points, strict=True):
        own = clone(model).fit(X, point["y"], X_privileged=Z)
        assert np.array_equal(student.classes_, own.classes_)
        assert np.allclose(weights(student), weights(own), rtol=1e-7, atol=1e-9)
        assert np.array_equal(student.predict(X), own.predict(X))


OTHERS = {
    "what the teacher sees": {"teacher_sees": ["privileged", "both"]},
    "student": {"student": [SMALL, partial(MLP, hidden=4)]},
    "teacher": {"teacher": [SMALL, partial(MLP, hidden=4)]},
    "folds": {"cross_fit": [None, 3]},
    "batch": {"batch_size": [4, 8]},
    "share of validation": {"validation": [None, 0.2, 0.4]},
    "quantiles": {"quantiles": [None, (0.1, 0.5, 0.9)]},
    "hints": {"hints": [(), [(FitNetHint("hidden", "hidden"), 1.0)]]},
    "precision": {"precision": ["float64"], "clip": [None, 0.1], "imitation": [0.0, 0.5]},
}


@pytest.mark.parametrize("grid", OTHERS.values(), ids=OTHERS)
def test_any_other_parameter_makes_groups_of_its_own(grid):
    check(make(), grid, Y)


class Normalised(nn.Sequential):
    def __init__(self, n_channels, length, n_outputs):
        layers = nn.Flatten(), nn.Linear(n_channels * length, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, n_outputs)
        super().__init__(*layers)


class Own(nn.Module):
    """A network of the user's that only torch.vmap can stack."""

    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(n_channels * length))
        self.layer = nn.Linear(n_channels * length, n_outputs)

    def forward(self, windows):
        return self.layer(torch.sin(windows.flatten(1) * self.gain))


class Drawn(Own):
    """A network of the user's that draws from torch's global generator."""

    def forward(self, windows):
        return nn.functional.dropout(super().forward(windows), 0.2, self.training)


class Reservoir(nn.Module):
    """Weights that stay as they were drawn, under some that learn."""

    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        self.drawn, self.learnt = nn.Linear(n_channels * length, 9), nn.Linear(9, n_outputs)
        self.drawn.requires_grad_(False)

    def forward(self, windows):
        return self.learnt(torch.tanh(self.drawn(windows.flatten(1))))


class Tied(nn.Module):
    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        self.first, self.head = nn.Linear(n_channels * length, 8), nn.Linear(8, n_outputs)
        self.again = nn.Linear(8, 8)
        self.again.weight = self.first.weight

    def forward(self, windows):
        return self.head(torch.tanh(self.again(torch.tanh(self.first(windows.flatten(1))))))


class Listening(MLP):
    def __init__(self, **sizes):
        super().__init__(hidden=5, **sizes)
        self.hidden[1].register_forward_hook(lambda module, given, said: 0.5 * said)


@pytest.mark.parametrize("student", [Normalised, Own, Drawn, Reservoir, Tied, Listening])
def test_a_network_of_the_users_is_its_one_by_one_fit_however_it_is_trained(student):
    check(make(student=student), {"imitation": [0.0, 0.5], "random_state": [0, 1], "learning_rate": [0.01, 0.03]}, Y)


def test_students_with_an_augmentation_are_those_of_one_by_one_fits():
    def noisy(windows, generator):
        return windows + 0.1 * torch.randn(windows.shape, generator=generator, dtype=windows.dtype)

    check(make(augmentation=noisy), {"imitation": [0.0, 0.5], "random_state": [0, 1]}, Y)


def test_one_student_that_diverges_hurts_no_other():
    model = make(imitation=0.0, optimizer=torch.optim.SGD, max_epochs=4)
    with pytest.warns(match=r"became NaN or infinite in epoch 1; it has learnt nothing.*learning_rate below 1e\+200"):
        students = model.fit_grid(X, Y, {"learning_rate": [0.01, 1e200, 0.02]})
    assert [student.ended_ for student in students] == ["epochs", "diverged", "epochs"]
    for student in (students[0], students[2]):
        compare(student, clone(student).fit(X, Y))
    assert np.isfinite(students[1].predict(X)).all()


def test_a_grid_leaves_the_estimator_as_it_was():
    model = make()
    before = model.get_params(deep=False)
    students = model.fit_grid(X, Y, {"imitation": [0.0, 1.0]}, X_privileged=Z)
    assert model.get_params(deep=False) == before
    assert not hasattr(model, "student_")
    assert [student.imitation for student in students] == [0.0, 1.0]
    assert students[0].student_.network is not students[1].student_.network
    owned = [{part.untyped_storage().data_ptr() for part in one.student_.network.parameters()} for one in students]
    assert not owned[0] & owned[1]


def test_points_come_in_the_order_of_a_parameter_grid():
    students = make(max_epochs=1).fit_grid(X, Y, {"random_state": [1, 2], "imitation": [0.0, 0.5]}, X_privileged=Z)
    assert [(one.imitation, one.random_state) for one in students] == [(0.0, 1), (0.0, 2), (0.5, 1), (0.5, 2)]


def test_windows_and_names_are_known_to_every_student():
    students = make(max_epochs=1).fit_grid(X, Y, {"imitation": [0.0, 0.5]}, X_privileged=Z)
    for student in students:
        assert student.n_features_in_ == 8
        with pytest.raises(ValueError, match=r"X must be of shape \(n, 4, 2\) as in fit"):
            student.predict(X.reshape(36, 2, 4))


BAD_GRIDS = {
    "nothing": ([], r"grid must be at least one point"),
    "unknown name": ({"imitations": [0.5]}, r"grid must be of parameters of this student, or y, got imitations"),
    "no sequence": ({"imitation": 0.5}, r"imitation"),
    "bad value": ({"imitation": [0.5, 1.5]}, r"imitation must be a number between 0 and 1, got 1.5"),
    "bad rate": ([{"learning_rate": 0.01}, {"learning_rate": -1.0}], r"learning_rate must be a finite number above 0"),
    "a number": (3, r"grid must be"),
    "a list of names": (["imitation"], r"grid must be"),
}


@pytest.mark.parametrize(("grid", "match"), BAD_GRIDS.values(), ids=BAD_GRIDS)
def test_a_wrong_grid_is_refused_before_any_training(grid, match):
    def build(**sizes):
        raise AssertionError("nothing shall be built")

    with pytest.raises((ValueError, TypeError), match=match):
        make(student=build, teacher=build).fit_grid(X, Y, grid, X_privileged=Z)
