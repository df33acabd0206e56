"""Laws of who teaches a neural student: networks, estimators, fitted ones, and several of them."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor
from torch import nn

from pitskd import NeuralDistillationClassifier, NeuralDistillationRegressor
from pitskd.losses import BlockImitation, FactorTransfer, FitNetHint, GradientAttention, WeightMatching
from pitskd.models import GRU, MLP
from pitskd.neural._teachers import Classroom

# A few epochs on a few rows make no good teacher; the warning itself has a test.
pytestmark = pytest.mark.filterwarnings("ignore:The teacher's held-out loss")

SMALL = partial(MLP, hidden=5)
REGRESSOR = NeuralDistillationRegressor
CLASSIFIER = NeuralDistillationClassifier


def sample(n=40, seed=0):
    """Return X (n, 3), privileged Z (n, 2), a target and three labels that depend on Z."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 2))
    X = np.column_stack([Z, rng.normal(size=n)]) + 0.7 * rng.normal(size=(n, 3))
    y = Z @ [1.0, -2.0] + 0.3 * rng.normal(size=n)
    return X, Z, y, np.digitize(y, [-1.0, 1.0])


X, Z, Y, LABELS = sample()
for part in (X, Z, Y, LABELS):
    part.flags.writeable = False


def fitted(kind=REGRESSOR, y=None, privileged=Z, rows=X, **changes):
    settings = {"teacher": SMALL, "student": SMALL, "max_epochs": 3, "batch_size": 8, "random_state": 0}
    y = (Y if kind is REGRESSOR else LABELS) if y is None else y
    return kind(**{**settings, **changes}).fit(rows, y, X_privileged=privileged)


def weights(model):
    network = model.student_.network if hasattr(model, "student_") else model
    return np.concatenate([part.detach().numpy().ravel() for part in network.parameters()])


def close(one, other, atol=1e-5):
    return np.allclose(weights(one), weights(other), atol=atol)


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def normalised():
    """Return a network with running statistics, half of it in training mode."""
    network = seeded(
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 1)
        )
    )
    network.train()
    network[4].eval()
    return network


def snapshot(network):
    values = {name: value.clone() for name, value in network.state_dict().items()}
    return values, [module.training for module in network.modules()]


def is_unchanged(network, before):
    values, modes = before
    same = all(torch.equal(value, values[name]) for name, value in network.state_dict().items())
    untouched = all(part.grad is None and part.requires_grad for part in network.parameters())
    hooks = any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    return same and untouched and not hooks and [module.training for module in network.modules()] == modes


HINTS = {
    "none": ((), SMALL),
    "features": ([(FitNetHint("hidden", "1"), 1.0)], SMALL),
    "gradients": ([(GradientAttention(), 1.0)], SMALL),
    "a paraphraser": ([(FactorTransfer("hidden", "1"), 1.0)], SMALL),
}


@pytest.mark.parametrize(("hints", "student"), HINTS.values(), ids=HINTS)
def test_a_module_that_teaches_is_left_bit_for_bit_and_in_its_mode(hints, student):
    network = normalised()
    before = snapshot(network)
    rows = Z if hints and hints[0][0].needs_inputs else X
    model = fitted(teacher=network, hints=hints, student=student, rows=rows, max_epochs=2)
    assert is_unchanged(network, before)
    assert not np.array_equal(weights(model), weights(fitted(imitation=0.0, rows=rows, max_epochs=2)))


def test_a_module_that_fails_is_left_in_its_mode_too():
    network = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(7, 1))).train()
    with pytest.raises(ValueError, match=r"teacher must be a network of windows \(batch, 2, 1\)"):
        fitted(teacher=network)
    assert network.training


def test_a_module_teaches_what_it_says_in_evaluation_mode_on_unscaled_windows():
    network = normalised()
    inside = copy.deepcopy(network).eval()

    class Answers(LinearRegression):
        def predict(self, rows):
            with torch.no_grad():
                return inside(torch.tensor(rows, dtype=torch.float32)[..., None])[:, 0].double().numpy()

    expected = fitted(teacher=FrozenEstimator(Answers().fit(Z, Y)))
    assert close(fitted(teacher=network), expected)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("kind", [REGRESSOR, CLASSIFIER])
def test_a_fitted_neural_teacher_is_used_as_it_is_and_left_bit_for_bit(kind, frozen):
    y = Y if kind is REGRESSOR else LABELS
    inner = kind(student=SMALL, imitation=0.0, max_epochs=4, random_state=3).fit(Z, y)
    before, said = snapshot(inner.student_.network), inner.predict(Z)
    teacher = FrozenEstimator(inner) if frozen else inner
    model = fitted(
        kind, teacher=teacher, cross_fit=None if frozen else "prefit", hints=[(FitNetHint("hidden", "hidden"), 0.1)]
    )
    assert is_unchanged(inner.student_.network, before)
    assert np.array_equal(inner.predict(Z), said)
    assert model.teacher_ is inner.student_
    other = kind(student=SMALL, imitation=0.0, max_epochs=1, random_state=4).fit(Z, y)
    assert not np.array_equal(weights(model), weights(fitted(kind, teacher=FrozenEstimator(other), hints=model.hints)))


def test_a_network_that_was_trained_as_a_teacher_teaches_the_same_when_given_fitted():
    first = fitted(teacher=SMALL)
    teacher = REGRESSOR(imitation=0.0)
    again = fitted(teacher=SMALL)
    assert np.array_equal(weights(first.teacher_.network), weights(again.teacher_.network))
    assert not hasattr(teacher, "student_")


def test_a_fitted_estimator_is_not_fitted_again():
    ridge = Ridge().fit(Z, Y)
    before = ridge.coef_.copy()
    for teacher, cross_fit in ((FrozenEstimator(ridge), None), (ridge, "prefit")):
        model = fitted(teacher=teacher, cross_fit=cross_fit, y=-Y)
        assert np.array_equal(ridge.coef_, before)
        assert model.teacher_ is teacher


def test_an_unfitted_teacher_that_shall_be_used_as_it_is_is_refused():
    for teacher, cross_fit in (
        (FrozenEstimator(Ridge()), None),
        (Ridge(), "prefit"),
        (SMALL, "prefit"),
        (None, "prefit"),
    ):
        with pytest.raises(NotFittedError, match="teacher must be fitted, because it is used as it is"):
            fitted(teacher=teacher, cross_fit=cross_fit)


def test_the_order_of_privileged_columns_does_not_matter_to_a_linear_teacher():
    one, other = fitted(teacher=Ridge()), fitted(teacher=Ridge(), privileged=Z[:, ::-1])
    assert close(one, other, atol=1e-6)


def test_units_of_privileged_columns_do_not_matter():
    moved = Z * [1e3, 1e-4] - [5.0, 7.0]
    assert close(fitted(teacher=Ridge()), fitted(teacher=Ridge(), privileged=moved), atol=1e-6)
    assert close(fitted(), fitted(privileged=moved), atol=1e-4)
    assert not close(
        fitted(teacher=Ridge(), privileged_transformer="passthrough"),
        fitted(teacher=Ridge(), privileged=moved, privileged_transformer="passthrough"),
    )


def test_a_teacher_that_sees_both_is_fitted_to_both():
    both = np.hstack([X, Z])
    assert close(fitted(teacher=Ridge(), teacher_sees="both"), fitted(teacher=Ridge(), privileged=both))
    assert close(fitted(teacher_sees="both"), fitted(privileged=both))


class Shape(nn.Module):
    """Remembers what it was built for, and gives the newest step of its first channel."""

    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        self.layer = nn.Linear(1, n_outputs)
        self.seen = n_channels, length

    def forward(self, windows):
        return self.layer(windows[:, 0, -1:])


SHAPES = {
    "steps go on": ((5, 2), (3, 2), "both", (2, 8)),
    "sensors beside": ((5, 2), (5, 3), "both", (5, 5)),
    "anything else": ((5, 2), (4, 3), "both", (22, 1)),
    "columns": ((5, 2), (3,), "both", (13, 1)),
    "privileged windows alone": ((5, 2), (3, 4), "privileged", (4, 3)),
    "rows without a time": ((3,), (4, 2), "both", (11, 1)),
}


@pytest.mark.parametrize(("window", "middle", "sees", "expected"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("validation", [None, 0.2])
def test_what_a_teacher_sees_keeps_its_time(window, middle, sees, expected, validation):
    rng = np.random.default_rng(0)
    rows, privileged = rng.normal(size=(30, *window)), rng.normal(size=(30, *middle))
    model = fitted(
        rows=rows, privileged=privileged, y=rng.normal(size=30), teacher=Shape, teacher_sees=sees, validation=validation
    )  # fmt: skip
    assert model.teacher_.network.seen == expected
    assert model.predict(rows).shape == (30,)


def test_sensors_beside_a_window_are_the_channels_behind_its_own():
    rng = np.random.default_rng(0)
    rows, privileged, y = rng.normal(size=(30, 4, 2)), rng.normal(size=(30, 4, 3)), rng.normal(size=30)
    together = np.concatenate([rows, privileged], axis=2)
    network = partial(GRU, hidden=3)
    beside = fitted(rows=rows, privileged=privileged, y=y, teacher=network, teacher_sees="both", student=network)
    alone = fitted(rows=rows, privileged=together, y=y, teacher=network, student=network)
    assert np.array_equal(weights(beside), weights(alone))


def test_steps_behind_a_window_come_after_it():
    rng = np.random.default_rng(0)
    rows, privileged, y = rng.normal(size=(30, 4, 2)), rng.normal(size=(30, 3, 2)), rng.normal(size=30)
    together = np.concatenate([rows, privileged], axis=1)
    behind = fitted(rows=rows, privileged=privileged, y=y, teacher=partial(GRU, hidden=3), teacher_sees="both")
    alone = fitted(rows=rows, privileged=together, y=y, teacher=partial(GRU, hidden=3))
    assert np.array_equal(weights(behind), weights(alone))


@pytest.mark.parametrize("kind", [REGRESSOR, CLASSIFIER])
def test_a_teacher_that_speaks_twice_says_what_it_says_once(kind):
    y = Y if kind is REGRESSOR else LABELS
    model = (Ridge() if kind is REGRESSOR else LogisticRegression()).fit(Z, y)
    network = kind(student=SMALL, imitation=0.0, max_epochs=3, random_state=3).fit(Z, y)
    for teacher in (FrozenEstimator(model), FrozenEstimator(network)):
        once = fitted(kind, teacher=teacher, precision="float64")
        twice = fitted(kind, teacher=[teacher, teacher], precision="float64")
        assert close(once, twice, atol=1e-9)
        assert isinstance(twice.teacher_, list)
        assert len(twice.teacher_) == 2


@pytest.mark.parametrize("kind", [REGRESSOR, CLASSIFIER])
def test_shares_of_one_and_zero_leave_the_first_teacher_alone(kind):
    y = Y if kind is REGRESSOR else LABELS
    model = (Ridge if kind is REGRESSOR else LogisticRegression)()
    bad = FrozenEstimator(type(model)().fit(Z, np.roll(y, 1)))
    first = fitted(kind, teacher=model, precision="float64")
    weighed = fitted(kind, teacher=[model, bad], teacher_weights=(1.0, 0.0), precision="float64")
    assert close(first, weighed, atol=1e-9)
    assert not close(first, fitted(kind, teacher=[model, bad], precision="float64"), atol=1e-6)
    even = fitted(kind, teacher=[model, bad], teacher_weights=(3.0, 3.0), precision="float64")
    assert close(even, fitted(kind, teacher=[model, bad], precision="float64"), atol=1e-9)


def test_several_teachers_of_numbers_are_their_mean():
    one, other = Ridge().fit(Z, Y), Ridge().fit(Z, Y**2)
    middle = Ridge().fit(Z, 0.25 * Y + 0.75 * Y**2)  # a linear smoother of a mean is the mean of smoothers
    teachers = [FrozenEstimator(one), FrozenEstimator(other)]
    several = fitted(teacher=teachers, teacher_weights=[1.0, 3.0], precision="float64")
    assert close(several, fitted(teacher=FrozenEstimator(middle), precision="float64"), atol=1e-9)


def test_builders_in_a_list_are_networks_of_their_own():
    model = fitted(teacher=[SMALL, SMALL, Ridge()])
    first, second, _ = model.teacher_
    assert not np.array_equal(weights(first.network), weights(second.network))


class Recorder(KNeighborsRegressor):
    """One neighbour: it says the very target of a row that it has seen."""

    def __init__(self):
        super().__init__(n_neighbors=1)


@pytest.mark.parametrize("teacher", [Recorder(), SMALL, [SMALL, Recorder()]], ids=["estimator", "network", "both"])
def test_with_folds_soft_targets_of_a_row_do_not_depend_on_its_own_target(teacher):
    """Targets are exchanged within one fold: its own soft targets, and so their gradient, stay; in-sample they move."""
    half = np.arange(40) < 20
    folds = [(np.flatnonzero(half), np.flatnonzero(~half))]  # the second half is taught, by a teacher of the first

    def told(y, cross_fit):
        settings = {
            "student": partial(MLP, hidden=()), "optimizer": torch.optim.SGD, "max_epochs": 1, "batch_size": 40,
            "imitation": 1.0, "validation": None, "precision": "float64", "cross_fit": cross_fit, "learning_rate": 0.1,
        }  # fmt: skip
        return weights(fitted(y=y, teacher=teacher, soft_loss=None, **settings))

    changed = Y.copy()
    changed[[25, 33]] = Y[[33, 25]]  # the mean and deviation of targets stay
    # Rows of the first half have no soft target, hence their hard one; it is the same in both.
    assert np.allclose(told(Y, folds), told(changed, folds), rtol=0, atol=1e-12)
    assert not np.allclose(told(Y, None), told(changed, None), rtol=0, atol=1e-6)
    seen = Y.copy()
    seen[[5, 13]] = Y[[13, 5]]
    assert not np.allclose(told(Y, folds), told(seen, folds), rtol=0, atol=1e-6)


def test_rows_without_target_are_taught_by_the_teacher_of_all_rows_with_folds_too():
    y = Y.copy()
    y[[3, 17]] = np.nan
    elsewhere = Z.copy()
    elsewhere[3] += 1.0
    for teacher in (SMALL, Ridge()):
        one = fitted(y=y, teacher=teacher, cross_fit=4, validation=None)
        assert not np.array_equal(
            weights(one), weights(fitted(y=y, teacher=teacher, cross_fit=4, validation=None, privileged=elsewhere))
        )


@pytest.mark.parametrize("teacher", [None, SMALL, FrozenEstimator(LinearRegression().fit(Z, Y)), Ridge()])
def test_the_teacher_is_told_apart_from_the_student(teacher):
    model = fitted(teacher=teacher, max_epochs=30, learning_rate=0.01)
    assert model.teacher_loss_ < model.student_loss_


def test_a_weak_teacher_is_told_of():
    noise = np.random.default_rng(9).normal(size=(40, 2))
    with pytest.warns(UserWarning, match=r"The teacher's held-out loss [\d.e+]+ is not below the student's"):
        fitted(teacher=Ridge(), privileged=noise, rows=np.column_stack([X, Y]), max_epochs=60, learning_rate=0.05)


def test_a_teacher_of_quantiles_teaches_quantiles_and_others_points():
    levels = (0.1, 0.5, 0.9)
    settings = {"quantiles": levels, "imitation": 1.0, "max_epochs": 30, "learning_rate": 0.02}
    network = fitted(**settings)
    assert network.teacher_.quantiles == levels
    assert (network.predict_quantiles(X)[:, 2] > network.predict_quantiles(X)[:, 0]).any()
    points = fitted(teacher=Ridge(), **settings)
    assert points.predict_quantiles(X).shape == (40, 3)
    mixed = fitted(teacher=[SMALL, Ridge()], **settings)
    assert mixed.predict_quantiles(X).shape == (40, 3)


def test_a_fitted_teacher_of_other_quantiles_teaches_its_middle_one():
    inner = REGRESSOR(student=SMALL, imitation=0.0, quantiles=(0.3, 0.9), max_epochs=3, random_state=1).fit(Z, Y)

    class Middle(LinearRegression):
        def predict(self, rows):
            return inner.predict(rows)

    expected = fitted(teacher=FrozenEstimator(Middle().fit(Z, Y)), precision="float64")
    assert close(fitted(teacher=FrozenEstimator(inner), precision="float64"), expected, atol=1e-7)


def test_a_classifier_may_know_fewer_classes_than_its_student():
    two = LABELS != 2
    for inner in (
        LogisticRegression().fit(Z[two], LABELS[two]),
        CLASSIFIER(student=SMALL, imitation=0.0, max_epochs=3, random_state=0).fit(Z[two], LABELS[two]),
    ):
        model = fitted(
            CLASSIFIER,
            teacher=FrozenEstimator(inner),
            imitation=1.0,
            max_epochs=80,
            learning_rate=0.05,
            validation=None,
        )
        assert np.isfinite(weights(model)).all()
        assert model.predict_proba(X)[:, 2].max() < 0.2


REFUSED = {
    "text": ("ridge", TypeError, r"teacher must be a regressor, an estimator with fit"),
    "a number": (3, TypeError, r"teacher must be a regressor"),
    "a class": (Ridge, TypeError, r"teacher must be"),
    "a classifier": (LogisticRegression(), TypeError, r"teacher must be a regressor, got LogisticRegression"),
    "nobody": ([], ValueError, r"teacher must be at least one teacher, or None for an MLP"),
    "a list of lists": ([[SMALL]], TypeError, r"teacher must be a regressor"),
    "wrong outputs": (MLP((2, 3, 2)), ValueError, r"teacher must be a network with 1 outputs per window"),
    "wrong inputs": (MLP((5, 3, 1)), ValueError, r"teacher must be a network of windows \(batch, 2, 1\)"),
    "a builder of nothing": (lambda **sizes: None, TypeError, r"teacher must be a builder of torch modules"),
    "fitted to other columns": (
        FrozenEstimator(REGRESSOR(imitation=0.0, max_epochs=1).fit(X, Y)), ValueError,
        r"X_privileged must be what the fitted teacher knows, 3 columns in all, got 2",
    ),
    "fitted to other targets": (
        FrozenEstimator(REGRESSOR(imitation=0.0, max_epochs=1).fit(Z, np.column_stack([Y, Y]))), ValueError,
        r"teacher must be trained on 1 targets, as y has, got one of 2",
    ),
    "fitted to labels": (
        FrozenEstimator(CLASSIFIER(imitation=0.0, max_epochs=1).fit(Z, LABELS)), TypeError,
        r"teacher must be a regressor",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("teacher", "kind", "match"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_teacher_is_refused(teacher, kind, match):
    with pytest.raises(kind, match=match):
        fitted(teacher=teacher)


def test_a_class_that_no_row_has_is_refused():
    inner = CLASSIFIER(imitation=0.0, max_epochs=1).fit(Z, LABELS)
    with pytest.raises(ValueError, match=r"teacher must be trained on the classes of y"):
        fitted(CLASSIFIER, teacher=FrozenEstimator(inner), y=np.minimum(LABELS, 1))


@pytest.mark.parametrize("shares", [(1.0,), (1.0, 2.0, 3.0), (0.0, 0.0), (-1.0, 2.0), (np.nan, 1.0), "even", 1.0])
def test_wrong_shares_of_teachers_are_refused(shares):
    with pytest.raises(ValueError, match=r"teacher_weights must be"):
        fitted(teacher=[SMALL, Ridge()], teacher_weights=shares)


def test_blocks_of_a_teacher_can_be_imitated():
    network = partial(MLP, hidden=(5, 5))
    model = fitted(
        teacher=network, student=network, hints=[(BlockImitation("head", "head", "hidden"), 0.5)]
    )  # fmt: skip
    assert "hint_0" in model.history_


def test_folds_of_a_network_teach_quantiles():
    levels = (0.1, 0.5, 0.9)
    for teacher in (SMALL, [SMALL, Ridge()]):
        model = fitted(teacher=teacher, quantiles=levels, cross_fit=3, imitation=1.0)
        assert model.predict_quantiles(X).shape == (40, 3)
        assert (model.history_["soft"] > 0).all()


def trained_on(monkeypatch):
    """Return a list that gets the targets that every teacher network is trained on."""
    seen, real = [], Classroom._trained

    def spy(self, builder, own, distinct):
        seen.append(own.y)
        return real(self, builder, own, distinct)

    monkeypatch.setattr(Classroom, "_trained", spy)
    return seen


@pytest.mark.parametrize("sees", ["privileged", "both"])
def test_folds_of_windows_that_overlap_are_kept_apart(monkeypatch, sees):
    path = np.random.default_rng(0).normal(size=108).cumsum()
    cut = np.lib.stride_tricks.sliding_window_view(path, 9)[:100]
    first, middle, y = cut[:, :5, None], cut[:, 5:8, None], cut[:, 8]
    gap = {"privileged": 3, "both": 8}[sees]  # rows from which on the target is no step of what the teacher sees
    seen = trained_on(monkeypatch)
    settings = {"rows": first, "y": y, "privileged": middle, "teacher_sees": sees, "validation": None}
    fitted(cross_fit=4, **settings, max_epochs=1)
    everyone, *parts = seen
    assert np.array_equal(everyone, y)
    for number, part in enumerate(parts):
        rows = np.flatnonzero(np.isin(y, part))
        begin, end = 25 * number, 25 * (number + 1)
        assert rows.tolist() == [*range(begin - gap), *range(end + gap, 100)]
    seen.clear()
    fitted(cross_fit=KFold(4), **settings, max_epochs=1)
    assert [len(part) for part in seen] == [100, 75, 75, 75, 75]  # the user's own folds are followed


def test_folds_of_rows_that_share_nothing_are_whole(monkeypatch):
    seen = trained_on(monkeypatch)
    fitted(cross_fit=4, validation=None, max_epochs=1)
    assert [len(part) for part in seen] == [40, 30, 30, 30, 30]


SORTED = np.repeat([0, 1], 20)
FOLDS = {
    "too many folds": (REGRESSOR, Y, 50, r"cross_fit must be at most 32, the rows to be split, got 50"),
    "one row to learn from": (REGRESSOR, Y, [([0], [1, 2])], r"cross_fit must be folds whose training parts hold two"),
    "one class to learn from": (CLASSIFIER, SORTED, [([0, 1, 2], [3, 4])], r"cross_fit must be folds whose training"),
}


@pytest.mark.parametrize("teacher", [SMALL, [SMALL, None], [SMALL, "estimator"]], ids=["one", "two", "with estimator"])
@pytest.mark.parametrize(("kind", "y", "cross_fit", "match"), FOLDS.values(), ids=FOLDS)
def test_folds_that_cannot_teach_are_refused_before_anything_is_trained(kind, y, cross_fit, match, teacher):
    def schedule(epoch):
        raise AssertionError("nothing shall be trained")

    if teacher == [SMALL, "estimator"]:
        teacher = [SMALL, Ridge() if kind is REGRESSOR else LogisticRegression()]
    with pytest.raises(ValueError, match=match):
        fitted(kind, y=y, cross_fit=cross_fit, teacher=teacher, schedule=schedule)


def test_an_estimator_that_cannot_be_asked_is_refused_before_a_network_beside_it_is_trained():
    def schedule(epoch):
        raise AssertionError("nothing shall be trained")

    elsewhere = FrozenEstimator(Ridge().fit(X, Y))
    with pytest.raises(ValueError, match=r"X_privileged must be what the fitted teacher knows, 3 columns in all"):
        fitted(teacher=[SMALL, elsewhere], schedule=schedule)


def test_a_fitted_teacher_of_another_precision_gives_hints():
    inner = REGRESSOR(student=SMALL, imitation=0.0, max_epochs=2, random_state=3).fit(X, Y)
    before = snapshot(inner.student_.network)
    for loss in (GradientAttention(), WeightMatching(("head.weight",), ("head.weight",))):
        model = fitted(
            teacher=FrozenEstimator(inner), rows=X, privileged=X, hints=[(loss, 0.5)], precision="float64", max_epochs=2
        )
        assert np.isfinite(model.history_["hint_0"]).all()
        assert (model.history_["hint_0"] > 0).all()
    assert is_unchanged(inner.student_.network, before)
    assert {part.dtype for part in inner.student_.network.parameters()} == {torch.float32}
