"""Laws of losses on features inside an estimator: what they reach, what is trained beside, and what is left of it."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from torch import nn

from pitskd import NeuralDistillationClassifier, NeuralDistillationRegressor
from pitskd.losses import (
    ActivationBoundary,
    AttentionTransfer,
    BlockImitation,
    FactorTransfer,
    FitNetHint,
    FlowOfSolution,
    GradientAttention,
    InheritanceExploration,
    NeuronSelectivity,
    RelationalAngle,
    RelationalDistance,
    SelfAttention,
    SingularVectors,
    WeightMatching,
)
from pitskd.models import GRU, MLP, TCN
from pitskd.neural._hints import rehearse
from pitskd.neural._student import NetworkStudent

# A few epochs on a few rows make no good teacher; the warning itself has a test.
pytestmark = pytest.mark.filterwarnings("ignore:The teacher's held-out loss")

SMALL, WIDE = partial(MLP, hidden=5), partial(MLP, hidden=7)
CONVOLUTIONS = partial(TCN, hidden=4, n_blocks=2)


def sample(n=36):
    """Return windows (n, 4, 2), privileged steps (n, 4, 2) and what the last of them says."""
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(n, 4, 2)), rng.normal(size=(n, 4, 2))
    y = Z[:, -1, 0] + X[:, -1, 1] + 0.3 * rng.normal(size=n)
    return X, Z, y


X, Z, Y = sample()
LABELS = np.digitize(Y, [-0.5, 0.5])


def fitted(hints, kind=NeuralDistillationRegressor, y=None, privileged=Z, **changes):
    settings = {"teacher": WIDE, "student": SMALL, "max_epochs": 2, "batch_size": 8, "random_state": 0, "hints": hints}
    y = (Y if kind is NeuralDistillationRegressor else LABELS) if y is None else y
    return kind(**{**settings, **changes}).fit(X, y, X_privileged=privileged)


def parts(model):
    return {name: value.detach().numpy().copy() for name, value in model.student_.network.named_parameters()}


def same(one, other):
    return all(np.array_equal(value, parts(other)[name]) for name, value in parts(one).items())


LOSSES = {
    "hint": (FitNetHint("hidden", "hidden"), WIDE, SMALL),
    "decayed hint": (FitNetHint("hidden", "hidden", weight_decay=0.1), WIDE, SMALL),
    "attention": (AttentionTransfer("blocks.0", "blocks.1"), CONVOLUTIONS, CONVOLUTIONS),
    "gradients": (GradientAttention(), SMALL, SMALL),
    "selectivity": (NeuronSelectivity("blocks.0", "blocks.0"), CONVOLUTIONS, CONVOLUTIONS),
    "factors": (FactorTransfer("hidden", "hidden"), WIDE, SMALL),
    "boundary": (ActivationBoundary("hidden", "hidden"), WIDE, SMALL),
    "flow": (FlowOfSolution(("blocks.0", "blocks.1"), ("blocks.0", "blocks.1")), CONVOLUTIONS, CONVOLUTIONS),
    "distances": (RelationalDistance("hidden", "hidden"), WIDE, SMALL),
    "angles": (RelationalAngle("hidden", "hidden"), WIDE, SMALL),
    "drawn angles": (RelationalAngle("hidden", "hidden", max_triples=50), WIDE, SMALL),
    "inheritance": (InheritanceExploration("blocks.0", "blocks.0"), CONVOLUTIONS, CONVOLUTIONS),
    "self attention": (SelfAttention(("blocks.0", "blocks.1")), CONVOLUTIONS, CONVOLUTIONS),
    "block": (BlockImitation("head", "head", "hidden"), SMALL, SMALL),
    "weights": (WeightMatching(("head.weight",), ("head.weight",)), SMALL, SMALL),
    "singular vectors": (
        SingularVectors("blocks.0", "blocks.0"), CONVOLUTIONS, CONVOLUTIONS,
    ),
}  # fmt: skip
every_loss = pytest.mark.parametrize(("loss", "teacher", "student"), LOSSES.values(), ids=LOSSES)


@every_loss
@pytest.mark.parametrize("holes", [False, True])
def test_every_loss_teaches_a_student_by_its_weight_and_leaves_nothing_behind(loss, teacher, student, holes):
    privileged = Z.copy()
    if holes:
        privileged[[1, 5, 20]] = np.nan
    settings = {"teacher": teacher, "student": student, "privileged": privileged}
    model = fitted([(loss, 0.5)], **settings)
    plain = fitted((), **settings)
    assert not same(model, plain)
    assert not same(model, fitted([(loss, 5.0)], **settings))
    assert same(model, fitted([(loss, 0.5)], **settings))
    assert (model.history_["hint_0"] != 0).all()
    # Nothing but what the builder makes.
    with torch.random.fork_rng():
        built = student(n_channels=2, length=4, n_outputs=1)
    assert list(parts(model)) == [name for name, _ in built.named_parameters()]
    network = model.student_.network
    assert [type(module) for module in network.modules()] == [type(module) for module in built.modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not network.training
    assert all(part.grad is None for part in network.parameters())
    assert b"adapters" not in pickle.dumps(model)
    assert np.array_equal(copy.deepcopy(model).predict(X), model.predict(X))


@every_loss
def test_a_teacher_network_learns_nothing_from_its_student(loss, teacher, student):
    one = fitted([(loss, 3.0)], teacher=teacher, student=student).teacher_.network
    other = fitted((), teacher=teacher, student=student).teacher_.network
    for name, value in one.named_parameters():
        assert torch.equal(value, dict(other.named_parameters())[name])
        assert value.grad is None


@every_loss
def test_every_loss_works_in_float64_and_for_classes(loss, teacher, student):
    model = fitted(
        [(loss, 0.5)], NeuralDistillationClassifier, teacher=teacher, student=student, precision="float64"
    )  # fmt: skip
    assert {value.dtype for value in parts(model).values()} == {np.dtype(np.float64)}
    assert np.isfinite(model.history_["hint_0"]).all()


@pytest.mark.parametrize(
    "optimizer", [None, torch.optim.SGD, partial(torch.optim.SGD, momentum=0.9)], ids=["adam", "sgd", "momentum"]
)
def test_stage_one_leaves_layers_above_the_guided_one_bit_identical(optimizer):
    student = partial(MLP, hidden=(6, 5))
    hints = [(FitNetHint("hidden.1", "hidden"), 1.0)]
    settings = {"student": student, "optimizer": optimizer, "validation": None, "max_epochs": 1}
    # An interruption after stage one and one epoch at no rate shows what stage one has left.
    still = {"schedule": lambda epoch: 0.0, "hint_epochs": 3, **settings}
    start = parts(fitted(hints, **still))
    moving = parts(fitted(hints, **{**still, "schedule": Stage(stage=1.0, rest=0.0)}))
    for name in ("hidden.3.weight", "hidden.3.bias", "head.weight", "head.bias"):
        assert np.array_equal(start[name], moving[name]), name
    assert not np.array_equal(start["hidden.1.weight"], moving["hidden.1.weight"])


class Stage:
    """Full rate for as many epochs as asked for, then another."""

    def __init__(self, stage, rest, n_epochs=3):
        self.stage, self.rest, self.n_epochs, self.asked = stage, rest, n_epochs, 0

    def __call__(self, epoch):
        self.asked += 1
        n_teacher = 1  # the teacher has one epoch, at whatever rate
        return self.stage if self.asked <= n_teacher + self.n_epochs else self.rest


def test_stage_one_has_rows_of_its_own_in_the_history():
    model = fitted([(FitNetHint("hidden", "hidden"), 1.0)], hint_epochs=3, max_epochs=2)
    assert model.history_.index.tolist() == [1, 2, 3, 4, 5]
    assert model.history_["hard"].isna().tolist() == [True] * 3 + [False] * 2
    assert model.history_["validation_loss"].isna().tolist() == [True] * 3 + [False] * 2
    assert (np.diff(model.history_["hint_0"][:3]) < 0).all()
    assert model.best_epoch_ > 3


def test_the_second_stage_begins_with_fresh_moments():
    """A first step of Adam moves every weight by the learning rate, however long stage one was."""
    settings = {"batch_size": 64, "validation": None, "max_epochs": 1, "learning_rate": 0.001, "precision": "float64"}
    hints = [(FitNetHint("hidden", "hidden"), 1.0)]
    moved = parts(fitted(hints, hint_epochs=40, **settings))["head.weight"]
    start = parts(fitted(hints, hint_epochs=40, **{**settings, "learning_rate": 1e-300}))["head.weight"]
    assert np.allclose(np.abs(moved - start), 0.001, rtol=1e-3)


def test_at_imitation_zero_hints_still_need_a_teacher():
    model = fitted([(FitNetHint("hidden", "hidden"), 1.0)], imitation=0.0)
    assert model.teacher_ is not None
    assert "soft" not in model.history_
    assert not same(model, fitted((), imitation=0.0))


def test_without_privileged_rows_hints_that_need_a_teacher_fall_silent():
    for privileged in (None, Z * np.nan):
        with pytest.warns(UserWarning, match="X_privileged is None or empty"):
            model = fitted([(FitNetHint("hidden", "hidden"), 1.0)], privileged=privileged)
        assert same(model, fitted((), imitation=0.0, privileged=None))
        assert "hint_0" not in model.history_


def test_a_loss_without_a_teacher_needs_no_privilege():
    hints = [(SelfAttention(("blocks.0", "blocks.1")), 1.0)]
    model = fitted(hints, privileged=None, imitation=0.0, student=CONVOLUTIONS)
    assert model.teacher_ is None
    assert not same(model, fitted((), privileged=None, imitation=0.0, student=CONVOLUTIONS))
    # A row without privilege is heard too.
    assert "hint_0" in model.history_


def test_rows_without_privilege_give_no_hint():
    privileged = Z.copy()
    privileged[3] = np.nan
    settings = {"hint_epochs": 2, "max_epochs": 1, "imitation": 0.0, "validation": None, "precision": "float64"}
    elsewhere = Z.copy()
    elsewhere[3] = 99.0
    line = FrozenEstimator(NeuralDistillationRegressor(student=WIDE, imitation=0.0, max_epochs=1).fit(Z, Y))
    hints = [(FitNetHint("hidden", "hidden"), 1.0)]
    one = fitted(hints, teacher=line, privileged=privileged, **settings)
    assert not same(one, fitted(hints, teacher=line, privileged=elsewhere, **settings))
    y = Y.copy()
    y[3] += 10.0
    stage = {"schedule": lambda epoch: 1.0}
    first, second = (fitted(hints, teacher=line, privileged=privileged, y=kept, **settings, **stage) for kept in (Y, y))
    assert first.history_["hint_0"][:2].equals(second.history_["hint_0"][:2])


def test_several_hints_add_up_and_have_a_column_each():
    hints = [(FitNetHint("hidden", "hidden"), 0.5), (RelationalDistance("hidden", "hidden"), 2.0)]
    model = fitted(hints)
    assert {"hint_0", "hint_1"} <= set(model.history_)
    assert not same(model, fitted(hints[:1]))


def test_features_of_different_lengths_are_matched():
    rows = np.random.default_rng(1).normal(size=(36, 9, 3))
    model = fitted(
        [(FitNetHint("blocks.0", "hidden"), 1.0)], student=CONVOLUTIONS, teacher=partial(GRU, hidden=3), privileged=rows
    )
    assert np.isfinite(model.history_["hint_0"]).all()


def test_the_first_teacher_with_features_is_listened_to():
    hints = [(FitNetHint("hidden", "hidden"), 1.0)]
    model = fitted(hints, teacher=[Ridge(), WIDE])
    assert np.isfinite(model.history_["hint_0"]).all()


HEADS = WeightMatching(("head.weight",), ("head.weight",))
REFUSED = {
    "no features": (FitNetHint("hidden", "hidden"), Ridge(), r"teacher must be a network, which FitNetHint\("),
    "student has no such layer": (
        FitNetHint("encoder", "hidden"),
        WIDE,
        r"student_layer.*no layer 'encoder'.*'head', 'hidden'",
    ),
    "teacher has no such layer": (
        FitNetHint("hidden", "blocks"),
        WIDE,
        r"teacher_layer.*no layer 'blocks'.*'head', 'hidden'",
    ),
    "shapes that cannot be matched": (HEADS, WIDE, r"student_weights must be of shape \(1, 7\)"),
    "weights that are not there": (WeightMatching(("tail.weight",), ("head.weight",)), WIDE, r"tail\.weight"),
    "a block of other shapes": (BlockImitation("head", "head", "hidden"), WIDE, r"student_block"),
}


@pytest.mark.parametrize(("loss", "teacher", "match"), REFUSED.values(), ids=REFUSED)
def test_a_hint_that_cannot_be_given_is_refused(loss, teacher, match):
    with pytest.raises(ValueError, match=match):
        fitted([(loss, 1.0)], teacher=teacher)


def test_a_missing_layer_costs_no_training():
    def schedule(epoch):
        raise AssertionError("nothing shall be trained")

    for loss in (FitNetHint("encoder", "hidden"), FitNetHint("hidden", "encoder")):
        with pytest.raises(ValueError, match="no layer 'encoder'"):
            fitted([(loss, 1.0)], schedule=schedule)


class Branched(nn.Module):
    """A module of the user's with a layer that gives a tuple."""

    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        self.cells = nn.LSTM(n_channels, 5, batch_first=True)
        self.head = nn.Linear(5, n_outputs)

    def forward(self, windows):
        states, _ = self.cells(windows.transpose(1, 2))
        return self.head(states[:, -1])


def test_layers_of_the_users_networks_can_be_named():
    model = fitted([(RelationalDistance("cells", "hidden"), 1.0)], student=Branched)
    assert np.isfinite(model.history_["hint_0"]).all()


@pytest.mark.parametrize("classes", [False, True])
@every_loss
def test_a_rehearsal_lets_through_what_can_be_compared_and_leaves_networks_alone(loss, teacher, student, classes):
    sizes = {"n_channels": 2, "length": 4, "n_outputs": 3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other = student(**sizes), teacher(**sizes)
    before = copy.deepcopy((one.state_dict(), other.state_dict()))
    targets = torch.zeros(4, dtype=torch.int64) if classes else torch.zeros(4, 3)
    rehearse([(loss, 1.0)], one, other, sizes, sizes, targets)
    for network, values in zip((one, other), before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in network.state_dict().items())
        assert network.training
        assert all(part.grad is None for part in network.parameters())


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (HEADS, r"student_weights must be of shape \(1, 7\)"),
        (BlockImitation("head", "head", "hidden"), "student_block"),
    ],
)
def test_a_rehearsal_refuses_shapes_that_cannot_be_matched(loss, match):
    sizes = {"n_channels": 2, "length": 4, "n_outputs": 1}
    with torch.random.fork_rng():
        student, teacher = SMALL(**sizes), WIDE(**sizes)
    with pytest.raises(ValueError, match=match):
        rehearse([(loss, 1.0)], student, teacher, sizes, sizes, torch.zeros(4, 1))


@pytest.mark.parametrize("seeds", [[0, 1], [0]])
def test_every_teacher_is_looked_at_once_by_students_that_train_one_by_one(monkeypatch, seeds):
    looks, real = [], NetworkStudent.look

    def spy(self, rows, layers):
        if layers:
            looks.append(id(self))
        return real(self, rows, layers)

    monkeypatch.setattr(NetworkStudent, "look", spy)
    model = NeuralDistillationRegressor(
        WIDE, SMALL, hints=[(FactorTransfer("hidden", "hidden"), 1.0)], max_epochs=1, validation=None
    )
    grid = {"imitation": [0.2, 0.4, 0.6], "random_state": seeds}
    students = model.fit_grid(X, Y, grid, X_privileged=Z)
    assert sorted(looks) == sorted({id(student.teacher_) for student in students})
    alone = fitted(model.hints, imitation=0.6, batch_size=32, max_epochs=1, validation=None)
    assert same(students[-len(seeds)], alone)
