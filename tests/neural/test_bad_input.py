"""What a neural student refuses, warns of, and keeps when training goes wrong."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge
from torch import nn

from pitskd import NeuralDistillationClassifier, NeuralDistillationRegressor
from pitskd.losses import FitNetHint, SoftTargets
from pitskd.models import MLP
from pitskd.neural._settings import check_augmentation, check_outputs

# A few epochs on a few rows make no good teacher; the warning itself has a test.
pytestmark = pytest.mark.filterwarnings("ignore:The teacher's held-out loss")

SMALL = partial(MLP, hidden=5)
REGRESSOR = NeuralDistillationRegressor
CLASSIFIER = NeuralDistillationClassifier


def sample(n=40):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n, 2))
    X = np.column_stack([Z, rng.normal(size=n)]) + 0.7 * rng.normal(size=(n, 3))
    y = Z @ [1.0, -2.0] + 0.3 * rng.normal(size=n)
    return X, Z, y, np.digitize(y, [-1.0, 1.0])


X, Z, Y, LABELS = sample()
HINTS = [(FitNetHint("hidden", "hidden"), 1.0)]


def untrained(**sizes):
    raise AssertionError("nothing shall be built before arguments are checked")


def make(kind=REGRESSOR, **changes):
    settings = {"teacher": SMALL, "student": SMALL, "max_epochs": 3, "batch_size": 8, "random_state": 0}
    return kind(**{**settings, **changes})


def weights(model):
    return np.concatenate([part.detach().numpy().ravel() for part in model.student_.network.parameters()])


NUMBER, INTEGER = "a finite number above 0", "an integer of at least"
WRONG = [
    *(("imitation", value, "a number between 0 and 1") for value in (-0.1, 1.1, np.nan, np.inf, "half", True, [0.5])),
    *(("learning_rate", value, NUMBER) for value in (0.0, -1.0, np.nan, np.inf, "fast", None, True)),
    *(("max_epochs", value, INTEGER) for value in (0, -1, 1.5, np.nan, "many", None, True)),
    *(("batch_size", value, INTEGER) for value in (0, -1, 32.0, np.nan, "all", None)),
    *(("patience", value, INTEGER) for value in (0, -1, 2.5, np.nan, "some", None)),
    *(("distil_from", value, INTEGER) for value in (-1, 0.5, np.nan, "late", None)),
    *(("hint_epochs", value, INTEGER) for value in (-1, 0.5, np.nan, "few", None)),
    *(("clip", value, NUMBER) for value in (0.0, -1.0, np.nan, np.inf, "short", True)),
    *(("validation", value, "") for value in (0.0, 1.0, -0.2, np.nan, 3, "last", True)),
    *(("schedule", value, "") for value in ("linear", 0.5, np.nan, ["cosine"])),
    *(("optimizer", value, "") for value in ("adam", 3, np.nan, Ridge)),
    *(("optimizer", value, "") for value in (torch.optim.LBFGS, lambda parameters: None, lambda parameters, lr: None)),
    *(("augmentation", value, "a callable or None") for value in ("noise", 0.1, np.nan)),
    *(("precision", value, "'float32' or 'float64'") for value in ("float16", 32, torch.float32, None, np.nan)),
    *(("device", value, "a device of torch that is there") for value in ("gpu", "cuda:99", "meta", 3.5, None, np.nan)),
    *(("teacher_sees", value, "'privileged' or 'both'") for value in ("all", None, 1, np.nan)),
    *(("cross_fit", value, "an integer of at least 2") for value in (1, 0, -3, "fit", 2.5, np.nan, {})),
    *(("privileged_transformer", value, "a transformer") for value in ("scale", 3, Ridge(), np.nan)),
    *(("student", value, "a builder of networks or None") for value in ("MLP", 3, Ridge(), [SMALL], np.nan)),
    *(("hints", value, "a list of pairs") for value in (None, HINTS[0][0], "hidden", [HINTS[0][0]], [("hidden", 1.0)])),
    *(("hints", [(HINTS[0][0], value)], NUMBER) for value in (0.0, -1.0, np.nan, np.inf, "much", None)),
    *(("soft_loss", value, "a response loss") for value in ("kd", SoftTargets, HINTS[0][0], 3)),
    *(("random_state", value, "a non-negative integer") for value in (-1, 1.5, "seed", np.nan, True)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), WRONG, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("kind", [REGRESSOR, CLASSIFIER])
def test_a_wrong_parameter_is_refused_before_anything_is_built(kind, name, value, expected):
    model = make(kind, **{"student": untrained, "teacher": untrained, name: value})
    with pytest.raises((ValueError, TypeError), match=rf"^{name} must be .*{expected}"):
        model.fit(X, Y if kind is REGRESSOR else LABELS, X_privileged=Z)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, "hot", None, True])
def test_a_wrong_temperature_is_refused(value):
    with pytest.raises(ValueError, match=r"temperature must be a finite number above 0"):
        make(CLASSIFIER, temperature=value, student=untrained).fit(X, LABELS, X_privileged=Z)


@pytest.mark.parametrize("value", ["even", 3, np.nan, [1.0, 2.0, 3.0]])
def test_wrong_class_weights_are_refused(value):
    with pytest.raises(ValueError, match=r"class_weight must be 'balanced' or None"):
        make(CLASSIFIER, class_weight=value, student=untrained).fit(X, LABELS, X_privileged=Z)


@pytest.mark.parametrize("value", [{0: np.nan, 1: 1.0, 2: 1.0}, {0: -1.0, 1: 1.0, 2: 1.0}, {0: "much", 1: 1, 2: 1}])
def test_class_weights_that_are_no_weights_are_refused(value):
    with pytest.raises((ValueError, TypeError), match=r"class_weight must be"):
        make(CLASSIFIER, class_weight=value, student=untrained, teacher=untrained).fit(X, LABELS, X_privileged=Z)


@pytest.mark.parametrize("value", [(), (0.0, 0.5), (0.5, 1.0), (np.nan,), "median", 0.5])
def test_wrong_quantiles_are_refused(value):
    with pytest.raises((ValueError, TypeError), match=r"quantiles must be"):
        make(quantiles=value, student=untrained).fit(X, Y, X_privileged=Z)


def test_stages_without_hints_are_refused():
    with pytest.raises(ValueError, match=r"hint_epochs must be 0 without hints, got 3"):
        make(hint_epochs=3, student=untrained).fit(X, Y, X_privileged=Z)


class Tuple(nn.Module):
    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        self.cells = nn.GRU(n_channels, n_outputs)

    def forward(self, windows):
        return self.cells(windows.transpose(1, 2))


class Broken(nn.Module):
    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_channels, n_outputs)

    def forward(self, windows):
        return self.layer(windows[:, :, 0])[:, [7]]


class Empty(nn.Module):
    def __init__(self, n_channels, length, n_outputs):
        super().__init__()

    def forward(self, windows):
        return windows[:, :1, 0]


class Sequence(nn.Module):
    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        self.layer = nn.Conv1d(n_channels, n_outputs, 1)

    def forward(self, windows):
        return self.layer(windows)


BUILDERS = {
    "too many outputs": (
        lambda **sizes: MLP(**{**sizes, "n_outputs": 3}),
        r"a network with 1 outputs per window, got <lambda>",
    ),
    "an axis too many": (Sequence, r"a network with 1 outputs per window, got Sequence with outputs.*\(2, 1, 1\)"),
    "a tuple": (Tuple, r"a network with 1 outputs per window, got Tuple with outputs"),
    "fails": (Broken, r"a network of windows \(batch, 3, 1\), got Broken, which fails: IndexError"),
    "nothing to train": (Empty, r"weights to train, got Empty"),
    "other keywords": (nn.Linear, r"a builder that takes n_channels, length and n_outputs, got Linear"),
    "no keywords": (lambda: None, r"a builder that takes n_channels, length and n_outputs, got <lambda>"),
    "no module": (lambda **sizes: 3, r"a builder of torch modules, got one of int"),
    "a function": (lambda **sizes: lambda windows: windows, r"a builder of torch modules, got one of function"),
    "other inputs": (lambda **sizes: nn.Linear(7, 1), r"a network of windows \(batch, 3, 1\)"),
}


@pytest.mark.parametrize(("builder", "match"), BUILDERS.values(), ids=BUILDERS)
def test_a_builder_of_something_else_is_refused(builder, match):
    with torch.random.fork_rng(), pytest.raises((ValueError, TypeError), match=match):
        make(student=builder, imitation=0.0).fit(X, Y)


ROWS = {
    "no row": (X[:0], Y[:0], r"0 sample|minimum of 2"),
    "one row": (X[:1], Y[:1], r"1 sample|minimum of 2"),
    "NaN": (np.where(np.arange(40)[:, None] == 3, np.nan, X), Y, r"X must be finite, got NaN in row 3"),
    "infinity": (np.where(np.arange(40)[:, None] == 3, np.inf, X), Y, r"X must be finite, got infinity in row 3"),
    "text": (X.astype(str), Y, r"X must be numbers"),
    "four axes": (X[:, None, None], Y, r"X must be of shape"),
    "infinite target": (
        X,
        np.where(np.arange(40) == 3, np.inf, Y),
        r"y must be finite or missing, got infinity in row 3",
    ),
    "no target": (X, Y * np.nan, r"y must be present in two rows"),
    "one target": (X, np.where(np.arange(40) == 3, 1.0, np.nan), r"y must be present in two rows"),
    "fewer targets": (X, Y[:39], r"y has 39 rows but X has 40"),
    "three axes of targets": (X, Y[:, None, None], r"y must be of shape"),
    "None": (X, None, r"y must be one target per row of X"),
    "text for numbers": (X, np.full(40, "high"), r"y must be an array of numbers"),
}


@pytest.mark.parametrize(("rows", "y", "match"), ROWS.values(), ids=ROWS)
def test_wrong_rows_are_refused(rows, y, match):
    with pytest.raises(ValueError, match=match):
        make(student=untrained, teacher=untrained, imitation=0.0).fit(rows, y)


PRIVILEGE = {
    "fewer rows": (Z[:39], r"X_privileged has 39 rows but X has 40"),
    "a hole": (np.where(np.arange(80).reshape(40, 2) == 6, np.nan, Z), r"X_privileged must be complete.*part of row 3"),
    "infinity": (np.where(np.arange(40)[:, None] == 3, np.inf, Z), r"X_privileged must be finite or missing"),
    "text": (Z.astype(str), r"X_privileged must be an array of numbers"),
    "too few rows": (np.where(np.arange(40)[:, None] > 0, np.nan, Z), r"X_privileged must be present in labelled rows"),
}


@pytest.mark.parametrize(("privileged", "match"), PRIVILEGE.values(), ids=PRIVILEGE)
def test_wrong_privilege_is_refused(privileged, match):
    with pytest.raises(ValueError, match=match):
        make().fit(X, Y, X_privileged=privileged)


@pytest.mark.parametrize("weight", [np.zeros(40), -np.ones(40), np.full(40, np.nan), np.ones(39), np.full(40, np.inf)])
def test_wrong_weights_are_refused(weight):
    with pytest.raises(ValueError, match=r"(?i)weight"):
        make(student=untrained, teacher=untrained).fit(X, Y, X_privileged=Z, sample_weight=weight)


LABELLED = {
    "one class": (np.zeros(40), r"labels of at least two classes"),
    "one class that counts": (np.where(np.arange(40) == 0, 1.0, 0.0), r"y must be present in two rows.*two classes"),
    "no label": (np.full(40, np.nan), r"y must be labels in some rows"),
    "numbers": (Y, r"continuous"),
    "mixed": (np.array([0, "a"] * 20, dtype=object), r"y must be labels of one kind"),
}


@pytest.mark.parametrize(("y", "match"), LABELLED.values(), ids=LABELLED)
def test_wrong_labels_are_refused(y, match):
    weight = np.where(np.arange(40) == 0, 0.0, 1.0)
    with pytest.raises(ValueError, match=match):
        make(CLASSIFIER, student=untrained, teacher=untrained).fit(X, y, X_privileged=Z, sample_weight=weight)


@pytest.mark.parametrize("kind", [REGRESSOR, CLASSIFIER])
def test_predicting_refuses_what_fit_has_not_seen(kind):
    with pytest.raises(NotFittedError):
        make(kind).predict(X)
    model = make(kind).fit(X, Y if kind is REGRESSOR else LABELS, X_privileged=Z)
    for rows, match in (
        (X[:, :2], r"2 features"),
        (np.where(X > 1, np.nan, X), r"X must be finite, got NaN"),
        (X[:0], r"0 sample"),
        (X[:, None, :], r"X must be of shape \(n, 3\)"),
    ):
        with pytest.raises(ValueError, match=match):
            model.predict(rows)
    with pytest.raises(TypeError, match=r"X_privileged"):
        model.predict(X, X_privileged=Z)


@pytest.mark.parametrize("n", [2, 3, 9, 10, 11])
@pytest.mark.parametrize("kind", [REGRESSOR, CLASSIFIER])
def test_few_rows_are_learnt_from(kind, n):
    y = Y[:n] if kind is REGRESSOR else np.arange(n) % 2
    model = make(kind).fit(X[:n], y, X_privileged=Z[:n])
    assert np.isfinite(weights(model)).all()
    assert model.history_["validation_loss"].isna().all() == (n < 10)
    assert model.predict(X).shape == (40,)


@pytest.mark.parametrize("value", [0.0, 3.0, 1e8, -1e-8])
def test_what_stands_still_does_no_harm(value):
    rows, privileged = X.copy(), Z.copy()
    rows[:, 1], privileged[:, 0] = value, value
    model = make().fit(rows, Y, X_privileged=privileged)
    assert np.isfinite(model.predict(rows)).all()
    still = make(max_epochs=2, imitation=0.0).fit(rows, np.full(40, value))
    assert np.allclose(still.predict(rows), value, atol=2.0, rtol=1e-6)
    alone = make(imitation=0.0).fit(np.full((40, 1), value), Y)
    assert np.isfinite(alone.predict(np.full((40, 1), value))).all()


@pytest.mark.parametrize("scale", [1e-100, 1e-30, 1e30, 1e150])
def test_numbers_of_any_size_are_learnt_from(scale):
    one = make(imitation=0.0, precision="float64").fit(X, Y)
    other = make(imitation=0.0, precision="float64").fit(scale * X, scale * Y)
    assert np.allclose(other.predict(scale * X) / scale, one.predict(X), rtol=1e-6)


def test_an_offset_much_larger_than_the_spread_costs_no_precision():
    one = make(imitation=0.0).fit(X, Y)
    other = make(imitation=0.0).fit(X + 1e6, Y - 1e7)
    assert np.allclose(other.predict(X + 1e6) + 1e7, one.predict(X), atol=1e-3)


def test_a_loss_that_becomes_nan_says_when_and_what_to_try_and_keeps_the_best_weights():
    settings = {
        "imitation": 0.0,
        "optimizer": torch.optim.SGD,
        "learning_rate": 0.01,
        "max_epochs": 9,
        "validation": None,
    }

    def schedule(epoch):
        return 1.0 if epoch < 3 else 1e30

    with pytest.warns(
        ConvergenceWarning, match=r"became NaN or infinite in epoch [45]; the weights of epoch 3 are kept"
    ) as told:
        model = make(schedule=schedule, **settings).fit(X, Y)
    assert "Use clip=1.0, a learning_rate below 0.01, or look for outliers" in str(told[0].message)
    assert told[0].filename == __file__
    assert model.ended_ == "diverged"
    assert model.best_epoch_ == 3
    assert np.array_equal(weights(model), weights(make(**{**settings, "max_epochs": 3}).fit(X, Y)))
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("validation", [None, 0.2])
@pytest.mark.parametrize("optimizer", [None, torch.optim.SGD])
@pytest.mark.parametrize("rate", [1e4, 1e12, 1e30, 1e38])
@pytest.mark.parametrize("batch_size", [8, 64])
@pytest.mark.filterwarnings("ignore:The loss became NaN")  # it is what these rates are for
def test_however_training_ends_predictions_are_finite(validation, optimizer, rate, batch_size):
    model = make(
        imitation=0.0, validation=validation, optimizer=optimizer, learning_rate=rate, batch_size=batch_size,
    )  # fmt: skip
    assert np.isfinite(model.fit(X, Y).predict(X)).all()


def interrupting(at):
    asked = []

    def schedule(epoch):
        asked.append(epoch)
        if len(asked) > at:
            raise KeyboardInterrupt
        return 1.0

    return schedule


@pytest.mark.parametrize("kind", [REGRESSOR, CLASSIFIER])
def test_an_interrupted_student_keeps_its_best_weights_and_says_so(kind):
    y = Y if kind is REGRESSOR else LABELS
    settings = {"imitation": 0.0, "validation": None}
    with pytest.warns(
        ConvergenceWarning, match=r"interrupted in epoch 3; the weights of epoch 2 are kept\..*warm_start=True"
    ):
        model = make(kind, max_epochs=50, schedule=interrupting(2), **settings).fit(X, y)
    assert (model.ended_, model.best_epoch_, len(model.history_)) == ("interrupted", 2, 2)
    assert np.array_equal(weights(model), weights(make(kind, max_epochs=2, **settings).fit(X, y)))
    model.set_params(warm_start=True, schedule=None, max_epochs=2).fit(X, y)
    assert model.history_.index.tolist() == [1, 2, 3, 4]
    assert model.ended_ == "epochs"


def test_an_interruption_within_an_epoch_keeps_the_epochs_before():
    calls = []

    def augmentation(windows, generator):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return windows

    with pytest.warns(ConvergenceWarning, match=r"interrupted in epoch 2; the weights of epoch 1 are kept"):
        model = make(augmentation=augmentation, imitation=0.0, validation=None).fit(X, Y)
    assert np.isfinite(model.predict(X)).all()


def test_an_interruption_before_the_first_epoch_ends_goes_through_and_leaves_the_model_as_it_was():
    model = make(imitation=0.0).fit(X, Y)
    before = weights(model)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(schedule=interrupting(0)).fit(X, Y)
    assert np.array_equal(weights(model), before)


@pytest.mark.parametrize("cross_fit", [None, 3])
def test_an_interruption_of_the_teacher_ends_everything(cross_fit):
    with pytest.raises(KeyboardInterrupt):
        make(schedule=interrupting(2), cross_fit=cross_fit).fit(X, Y, X_privileged=Z)


@pytest.mark.parametrize(
    "grid",
    [
        {"batch_size": [8, 16, 32]},
        {"random_state": [0, 1], "optimizer": [torch.optim.Adagrad], "learning_rate": [0.1, 0.2]},
    ],
)
def test_an_interrupted_grid_keeps_the_students_it_has_and_leaves_the_rest(grid):
    model = make(imitation=0.0, schedule=interrupting(2))
    with (
        pytest.warns(ConvergenceWarning, match="interrupted in epoch 3; the weights of epoch 2 are kept"),
        pytest.warns(ConvergenceWarning, match="students of the grid are left unfitted"),
    ):
        first, *others = model.fit_grid(X, Y, grid)
    assert first.ended_ == "interrupted"
    assert np.isfinite(first.predict(X)).all()
    for student in others:
        with pytest.raises(NotFittedError, match="not fitted yet"):
            student.predict(X)


def test_an_interrupted_stack_keeps_the_best_weights_of_all():
    model = make(imitation=0.0, schedule=interrupting(6), validation=None)
    with pytest.warns(ConvergenceWarning, match=r"interrupted in epoch 3"):
        students = model.fit_grid(X, Y, {"random_state": [0, 1, 2]})
    for student in students:
        assert (student.ended_, student.best_epoch_) == ("interrupted", 2)
        own = clone(student).set_params(schedule=None, max_epochs=2).fit(X, Y)
        assert np.allclose(weights(student), weights(own), atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf, "half", None])
def test_a_schedule_that_gives_no_factor_is_refused(value):
    with pytest.raises(ValueError, match=r"schedule must be a finite number of at least 0"):
        make(schedule=lambda epoch: value, imitation=0.0).fit(X, Y)


@pytest.mark.parametrize("change", [lambda w: w[:3], lambda w: w.flatten(1), lambda w: w.numpy(), lambda w: None])
def test_an_augmentation_that_gives_other_windows_is_refused(change):
    model = make(augmentation=lambda windows, generator: change(windows), imitation=0.0)
    with pytest.raises(
        ValueError, match=r"augmentation must be a callable that returns windows of the shape it gets, \(8, 3, 1\)"
    ):
        model.fit(X, Y)


def test_a_last_batch_of_one_row_is_no_trouble_for_batch_statistics():
    class Normalised(nn.Sequential):
        def __init__(self, n_channels, length, n_outputs):
            super().__init__(nn.Flatten(), nn.Linear(n_channels, 4), nn.BatchNorm1d(4), nn.Linear(4, n_outputs))

    model = make(student=Normalised, imitation=0.0, validation=None).fit(X[:33], Y[:33])
    assert np.isfinite(model.predict(X)).all()


def test_a_failed_fit_leaves_the_student_of_before():
    model = make(imitation=0.0).fit(X, Y)
    said = model.predict(X)
    with pytest.raises(ValueError, match="imitation"):
        model.set_params(imitation=2.0).fit(X, Y)
    assert np.array_equal(model.predict(X), said)


def test_a_frame_with_other_columns_is_refused():
    frame = pd.DataFrame(X, columns=list("abc"))
    model = make(imitation=0.0).fit(frame, Y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "z"}))


def test_a_teacher_that_would_never_be_listened_to_is_refused():
    for start in (3, 7):
        with pytest.raises(ValueError, match=rf"distil_from must be below max_epochs, 3, got {start}"):
            make(distil_from=start, student=untrained, teacher=untrained).fit(X, Y, X_privileged=Z)


def test_weights_of_classes_that_are_not_there_are_refused():
    for value in ({0: 1.0, 7: 2.0}, {0: 1, 1: 1, 2: 1, "3": 1}):
        with pytest.raises(ValueError, match=r"class_weight must be weights of classes of y, got one of .*0, 1, 2"):
            make(CLASSIFIER, class_weight=value).fit(X, LABELS, X_privileged=Z)


def test_a_class_without_weight_weighs_1():
    one, other = (
        make(CLASSIFIER, class_weight=value, imitation=0.0).fit(X, LABELS) for value in ({2: 3.0}, {0: 1, 1: 1, 2: 3.0})
    )
    assert np.array_equal(weights(one), weights(other))


def test_a_class_with_weight_may_have_no_row_to_learn_from():
    few = np.where(np.arange(40) < 30, np.arange(40) % 2, 2)
    model = make(CLASSIFIER, class_weight={1: 2.0, 2: 3.0}, imitation=0.0, validation=None)
    late = few.astype(float)
    late[few == 2] = np.nan
    late[39] = 2
    assert np.isfinite(weights(model.fit(X, late, sample_weight=np.arange(40) + 1.0))).all()


@pytest.mark.parametrize("change", [lambda w: w[:1], lambda w: w.flatten(1), lambda w: w.numpy(), lambda w: None])
def test_an_augmentation_is_tried_before_training(change):
    windows = torch.zeros(2, 3, 1)
    with pytest.raises(ValueError, match=r"augmentation must be a callable that returns windows.*\(2, 3, 1\), got one"):
        check_augmentation(lambda w, generator: change(w), windows)
    check_augmentation(lambda w, generator: w.add_(torch.randn(w.shape, generator=generator)), windows)
    check_augmentation(None, windows)
    assert not windows.any()


def test_a_network_is_checked_where_it_is():
    sizes = {"n_channels": 3, "length": 1, "n_outputs": 1}
    elsewhere = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, device="meta", dtype=torch.float64))
    check_outputs("student", elsewhere, SMALL, sizes)
    with pytest.raises(ValueError, match="student must be a network with 2 outputs per window"):
        check_outputs("student", elsewhere, SMALL, {**sizes, "n_outputs": 2})
