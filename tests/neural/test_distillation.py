"""Laws of one neural student: what it learns from, what it may not see, and what is kept of it."""

import copy
import pickle
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from pitskd import NeuralDistillationClassifier, NeuralDistillationRegressor
from pitskd.losses import FitNetHint, LabelSmoothing, TrustedRows, VirtualTeacher
from pitskd.models import GRU, MLP, TCN, Autoencoder

# A few epochs on a few rows make no good teacher; the warning itself has a test.
pytestmark = pytest.mark.filterwarnings("ignore:The teacher's held-out loss")

SMALL = partial(MLP, hidden=5)
REGRESSOR = NeuralDistillationRegressor
CLASSIFIER = NeuralDistillationClassifier
both_tasks = pytest.mark.parametrize("kind", [REGRESSOR, CLASSIFIER])


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


def targets(kind):
    return Y if kind is REGRESSOR else LABELS


def make(kind, **changes):
    settings = {"teacher": SMALL, "student": SMALL, "max_epochs": 3, "batch_size": 8, "random_state": 0}
    return kind(**{**settings, **changes})


def fitted(kind, y=None, privileged=Z, rows=X, sample_weight=None, **changes):
    y = targets(kind) if y is None else y
    return make(kind, **changes).fit(rows, y, X_privileged=privileged, sample_weight=sample_weight)


def weights(model):
    parts = model.student_.network.parameters() if hasattr(model, "student_") else model.parameters()
    return np.concatenate([part.detach().numpy().ravel() for part in parts])


def same(one, other):
    return np.array_equal(weights(one), weights(other))


@both_tasks
@pytest.mark.parametrize("student", [SMALL, partial(MLP, hidden=5, dropout=0.4), partial(GRU, hidden=3)])
def test_imitation_zero_is_a_student_without_a_teacher_bit_for_bit(kind, student):
    plain = fitted(kind, privileged=None, student=student, imitation=0.0)
    assert same(plain, fitted(kind, student=student, imitation=0.0))
    assert same(plain, fitted(kind, student=student, imitation=0.0, privileged=Z * np.nan))
    assert same(plain, fitted(kind, student=student, imitation=0.0, privileged=Z[::-1]))
    assert not same(plain, fitted(kind, student=student, imitation=0.1))


@both_tasks
def test_without_a_privileged_row_any_imitation_is_none_and_is_said(kind):
    with pytest.warns(UserWarning, match="X_privileged is None or empty"):
        alone = fitted(kind, privileged=None, imitation=0.7)
    assert alone.teacher_ is None
    assert same(alone, fitted(kind, imitation=0.0))


@both_tasks
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(kind):
    one = fitted(kind)
    assert same(one, fitted(kind))
    assert not same(one, fitted(kind, random_state=1))
    assert same(one, one.fit(X, targets(kind), X_privileged=Z))


@both_tasks
def test_a_generator_is_advanced_and_none_draws_fresh_bits(kind):
    rng = np.random.default_rng(0)
    first, second = fitted(kind, random_state=rng), fitted(kind, random_state=rng)
    assert not same(first, second)
    assert same(first, fitted(kind, random_state=np.random.default_rng(0)))
    assert not same(fitted(kind, random_state=None), fitted(kind, random_state=None))


def test_the_global_generators_of_torch_and_numpy_are_left_alone():
    class Drawing(nn.Module):
        def __init__(self, n_channels, length, n_outputs):
            super().__init__()
            self.layer = nn.Linear(n_channels * length, n_outputs)

        def forward(self, windows):
            return nn.functional.dropout(self.layer(windows.flatten(1)), 0.3, self.training)

    before, legacy = torch.get_rng_state(), np.random.get_state(legacy=True)
    model = fitted(REGRESSOR, student=Drawing, teacher=Drawing)
    copy.deepcopy(model).predict(X)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state(legacy=True)[1], legacy[1])
    assert same(model, fitted(REGRESSOR, student=Drawing, teacher=Drawing))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_precision_is_that_of_the_weights(precision):
    model = fitted(REGRESSOR, precision=precision)
    assert {part.dtype for part in model.student_.network.parameters()} == {getattr(torch, precision)}
    assert model.predict(X).dtype == np.float64


def test_float64_repeats_float32_to_its_precision():
    one, other = (fitted(REGRESSOR, precision=precision).predict(X) for precision in ("float32", "float64"))
    # Weights are drawn in float32 in both.
    assert np.allclose(one, other, atol=1e-3)
    assert not np.array_equal(one, other)


@both_tasks
def test_rows_without_target_and_rows_without_privilege_both_teach(kind):
    y = targets(kind).astype(float)
    unlabelled, unprivileged = y.copy(), Z.copy()
    unlabelled[3], unprivileged[7] = np.nan, np.nan
    both = fitted(kind, y=unlabelled, privileged=unprivileged, validation=None)
    without_soft = np.arange(len(X)) != 3
    without_hard = np.arange(len(X)) != 7
    for kept in (without_soft, without_hard):
        dropped = fitted(
            kind, y=unlabelled[kept], privileged=unprivileged[kept], rows=X[kept], validation=None
        )  # fmt: skip
        assert not same(both, dropped)
    elsewhere = X.copy()
    elsewhere[3] += 1.0
    assert not same(both, fitted(kind, y=unlabelled, privileged=unprivileged, rows=elsewhere, validation=None))


@both_tasks
def test_a_row_without_privilege_learns_from_its_target_and_without_target_from_the_teacher(kind):
    y, privileged = targets(kind).astype(float), Z.copy()
    y[3], privileged[7] = np.nan, np.nan
    changed_target, changed_privilege = y.copy(), privileged.copy()
    changed_target[7] = (changed_target[7] + 1.0) % 3.0
    changed_privilege[3] += 3.0
    teacher = Ridge() if kind is REGRESSOR else SMALL
    settings = {"privileged": privileged, "teacher": teacher, "privileged_transformer": "passthrough"}
    one = fitted(kind, y=y, **settings)
    other = fitted(kind, y=changed_target, **settings)
    assert not same(one, other)
    if kind is REGRESSOR:
        assert np.array_equal(one.teacher_.coef_, other.teacher_.coef_)
    assert not same(one, fitted(kind, y=y, **{**settings, "privileged": changed_privilege}))


def test_the_objective_of_a_row_is_the_mixture_of_both_losses():
    """One full batch of gradient descent on a linear network, worked by hand."""
    line = partial(MLP, hidden=())
    inputs, privileged, y = X[:6], Z[:6].copy(), Y[:6].copy()
    y[0], privileged[1] = np.nan, np.nan
    teacher = Ridge(alpha=1e-3)
    sgd = partial(torch.optim.SGD)
    settings = {
        "teacher": teacher, "student": line, "optimizer": sgd, "learning_rate": 0.1, "batch_size": 6, "max_epochs": 1,
        "precision": "float64", "imitation": 0.3,
    }  # fmt: skip
    weight = np.array([1.0, 2.0, 1.0, 1.0, 3.0, 1.0])
    model = fitted(REGRESSOR, y=y, privileged=privileged, rows=inputs, sample_weight=weight, **settings)
    known = np.arange(6) != 0
    mean, deviation = y[known].mean(), y[known].std()
    soft = np.full(6, np.nan)
    seen = np.arange(6) != 1
    soft[seen] = model.teacher_.predict(privileged[seen])
    scaled = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    start = make(REGRESSOR, **{**settings, "learning_rate": 1e-300}).fit(
        inputs, y, X_privileged=privileged, sample_weight=weight
    )  # fmt: skip
    W, b = (part.detach().numpy() for part in start.student_.network.parameters())
    said = scaled @ W[0] + b[0]
    hard = np.where(known, weight, 0.0) / weight[known].mean() * np.where(seen, 0.7, 1.0)
    taught = np.where(seen, weight, 0.0) / weight[known].mean() * 0.3
    error = hard * np.nan_to_num(said - (y - mean) / deviation) + taught * np.nan_to_num(
        said - (soft - mean) / deviation
    )
    gradient = 2.0 * error @ scaled / 6.0
    assert np.allclose(weights(model)[:3], W[0] - 0.1 * gradient, rtol=1e-10)
    assert weights(model)[3] == pytest.approx(b[0] - 0.1 * 2.0 * error.mean(), rel=1e-10)


@both_tasks
@pytest.mark.parametrize("start", [1, 2])
def test_before_distillation_starts_training_is_plain(kind, start):
    late = fitted(kind, distil_from=start, validation=None, max_epochs=4)
    plain = fitted(kind, imitation=0.0, validation=None, max_epochs=4)
    columns = ["hard", "loss"]
    assert late.history_[columns][:start].equals(plain.history_[columns][:start])
    assert not late.history_["hard"][start + 1 :].equals(plain.history_["hard"][start + 1 :])
    assert late.history_["soft"].isna().tolist() == [True] * start + [False] * (4 - start)
    still = {"schedule": lambda epoch: float(epoch < start)}  # from then on no weight moves
    short = fitted(kind, distil_from=start, validation=None, max_epochs=start + 1, **still)
    assert same(short, fitted(kind, imitation=0.0, validation=None, max_epochs=start))


def test_before_distillation_starts_hints_are_silent_too():
    hints = [(FitNetHint("hidden", "hidden"), 1.0)]
    settings = {"hints": hints, "validation": None, "max_epochs": 3}
    one = fitted(REGRESSOR, **settings, distil_from=2, schedule=lambda epoch: float(epoch < 2))  # then none moves
    assert same(one, fitted(REGRESSOR, imitation=0.0, validation=None, max_epochs=2))
    assert not same(one, fitted(REGRESSOR, **settings, distil_from=1, schedule=lambda epoch: float(epoch < 2)))


@both_tasks
def test_the_best_weights_are_restored(kind):
    settings = {"max_epochs": 12, "learning_rate": 0.5, "clip": 1.0, "teacher": None}
    model = fitted(kind, **settings)
    scores = model.history_["validation_loss"]
    assert model.best_epoch_ == scores.idxmin() < 12
    held_out = np.arange(32, 40)
    if kind is CLASSIFIER:
        held_out = np.concatenate(
            [members[-round(0.2 * len(members)) :] for members in map(np.flatnonzero, np.eye(3)[LABELS].T)]
        )
        probabilities = model.predict_proba(X[held_out])
        found = -np.log(probabilities[np.arange(len(held_out)), LABELS[held_out]]).mean()
    else:
        found = np.mean((model.predict(X[held_out]) - Y[held_out]) ** 2) / Y[:32].var()
    assert found == pytest.approx(scores.min(), rel=1e-4)
    assert model.student_loss_ == pytest.approx(found * (Y[:32].var() if kind is REGRESSOR else 1.0), rel=1e-4)


def test_fitting_on_leaves_the_network_of_before_alone():
    model = fitted(REGRESSOR)
    network, before = model.student_.network, weights(model)
    model.set_params(warm_start=True).fit(X, Y, X_privileged=Z)
    assert network is not model.student_.network
    assert np.array_equal(weights(network), before)


def test_targets_of_the_last_rows_choose_the_epoch_and_never_a_gradient():
    other = Y.copy()
    other[32:] = -10.0 * other[32:]
    settings = {"max_epochs": 10, "learning_rate": 0.05, "imitation": 0.4, "teacher": Ridge()}
    one, another = fitted(REGRESSOR, **settings), fitted(REGRESSOR, y=other, **settings)
    assert one.history_["loss"].equals(another.history_["loss"])
    assert not one.history_["validation_loss"].equals(another.history_["validation_loss"])
    assert one.best_epoch_ != another.best_epoch_
    first, second = (fitted(REGRESSOR, y=y, **{**settings, "max_epochs": 1}) for y in (Y, other))
    assert same(first, second)


@pytest.mark.parametrize("which", [0, 1])
def test_inputs_of_held_out_rows_change_no_weight(which):
    changed = [X.copy(), Z.copy()]
    changed[which][32:] += 5.0
    one = fitted(REGRESSOR, max_epochs=1)
    assert same(one, fitted(REGRESSOR, rows=changed[0], privileged=changed[1], max_epochs=1))


def test_windows_that_overlap_the_held_out_rows_are_left_out():
    series = np.random.default_rng(0).normal(size=80).cumsum()
    windows = np.lib.stride_tricks.sliding_window_view(series, 5)[:60, :, None]
    y = series[8:68]
    model = make(REGRESSOR, imitation=0.0, max_epochs=1).fit(windows, y)
    # Held out are rows 48 and on, their windows begin at step 48; row 39 has its target at step 47.
    changed = y.copy()
    changed[47] += 100.0
    assert same(model, make(REGRESSOR, imitation=0.0, max_epochs=1).fit(windows, changed))
    changed = y.copy()
    changed[30] += 100.0
    assert not same(model, make(REGRESSOR, imitation=0.0, max_epochs=1).fit(windows, changed))


@both_tasks
def test_doubling_all_weights_changes_nothing_and_one_is_the_default(kind):
    one = fitted(kind, sample_weight=np.ones(len(X)))
    assert same(one, fitted(kind))
    assert same(one, fitted(kind, sample_weight=np.full(len(X), 2.0)))
    assert not same(one, fitted(kind, sample_weight=np.arange(1.0, 41.0)))


@both_tasks
@pytest.mark.parametrize("cross_fit", [None, 3])
def test_a_row_of_weight_zero_is_left_out(kind, cross_fit):
    weight = np.where(np.arange(len(X)) % 5 == 2, 0.0, 1.0 + np.arange(len(X)) % 3)
    kept = weight > 0
    settings = {"cross_fit": cross_fit}
    one = fitted(kind, sample_weight=weight, **settings)
    other = fitted(
        kind, y=targets(kind)[kept], rows=X[kept], privileged=Z[kept], sample_weight=weight[kept], **settings
    )  # fmt: skip
    assert same(one, other)
    assert one.student_loss_ == other.student_loss_


def test_balanced_classes_are_weights_by_hand():
    weight = compute_sample_weight("balanced", LABELS)
    settings = {"imitation": 0.0, "validation": None, "precision": "float64"}
    balanced = fitted(CLASSIFIER, class_weight="balanced", **settings)
    assert np.allclose(weights(balanced), weights(fitted(CLASSIFIER, sample_weight=weight, **settings)), rtol=1e-9)
    given = dict(zip(*np.unique(LABELS, return_index=False, return_counts=True), strict=True))
    given = {label: len(LABELS) / (3 * count) for label, count in given.items()}
    assert np.allclose(weights(balanced), weights(fitted(CLASSIFIER, class_weight=given, **settings)), rtol=1e-9)
    assert not np.allclose(weights(balanced), weights(fitted(CLASSIFIER, **settings)))


def test_a_class_of_great_weight_is_what_is_said_also_where_epochs_are_judged():
    settings = {"imitation": 0.0, "max_epochs": 60, "learning_rate": 0.02, "patience": 60}
    heavy = fitted(CLASSIFIER, class_weight={0: 1000.0, 1: 1e-3, 2: 1e-3}, **settings)
    assert (heavy.predict(X) == 0).mean() > 0.9


def test_class_weights_leave_the_soft_loss_alone():
    plain, weighted = (
        fitted(CLASSIFIER, imitation=1.0, validation=None, class_weight=value) for value in (None, {0: 9.0, 1: 1, 2: 1})
    )
    assert same(plain, weighted)


def test_quantiles_are_sorted_and_hold_their_share():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(600, 1))
    y = inputs[:, 0] + (0.2 + np.abs(inputs[:, 0])) * rng.normal(size=600)
    levels = (0.1, 0.5, 0.9)
    model = make(
        REGRESSOR, quantiles=levels, imitation=0.0, max_epochs=60, batch_size=64, learning_rate=0.02, validation=None
    )  # fmt: skip
    said = model.fit(inputs, y).predict_quantiles(inputs)
    assert said.shape == (600, 3)
    assert (np.diff(said, axis=1) >= 0).all()
    # 600 rows: three standard errors of a share of one half are .06
    assert np.allclose((y[:, None] <= said).mean(axis=0), levels, atol=0.06)
    assert np.array_equal(model.predict(inputs), said[:, 1])
    wide = np.abs(inputs[:, 0]) > 1.5
    spread = said[:, 2] - said[:, 0]
    assert spread[wide].mean() > 1.5 * spread[~wide].mean()


def test_quantiles_come_in_the_order_asked_for():
    one = fitted(REGRESSOR, quantiles=(0.1, 0.9)).predict_quantiles(X)
    other = fitted(REGRESSOR, quantiles=(0.9, 0.1)).predict_quantiles(X)
    assert (one[:, 0] <= one[:, 1]).all()
    assert (other[:, 0] >= other[:, 1]).all()
    assert not hasattr(make(REGRESSOR), "predict_quantiles")


def test_quantiles_of_several_targets_belong_to_their_target():
    both = np.column_stack([Y, 100.0 + Y])
    model = fitted(REGRESSOR, y=both, quantiles=(0.2, 0.5, 0.8), max_epochs=20, learning_rate=0.01)
    said = model.predict_quantiles(X)
    assert said.shape == (40, 2, 3)
    assert (np.abs(said[:, 0]) < 20).all()
    assert (np.abs(said[:, 1] - 100.0) < 20).all()
    assert np.array_equal(model.predict(X), said[..., 1])


@pytest.mark.parametrize("n_targets", [1, 3])
def test_several_targets_or_horizons_have_a_column_each(n_targets):
    many = np.column_stack([(k + 1) * Y + 10.0**k for k in range(n_targets)])
    model = fitted(REGRESSOR, y=many, max_epochs=60, learning_rate=0.02, teacher=Ridge(), patience=60)
    assert model.predict(X).shape == (40, n_targets)
    assert model.score(X, many) > 0.3
    assert np.allclose(model.predict(X).mean(axis=0), many.mean(axis=0), rtol=0.2, atol=0.5)


def test_a_column_of_targets_and_a_vector_are_the_same_problem():
    one, other = fitted(REGRESSOR), fitted(REGRESSOR, y=Y[:, None])
    assert same(one, other)
    assert np.array_equal(one.predict(X), other.predict(X)[:, 0])


def test_units_of_inputs_and_targets_do_not_matter():
    one = fitted(REGRESSOR, precision="float64", max_epochs=5)
    other = fitted(
        REGRESSOR, y=1e6 * Y - 4e5, rows=1e-3 * X + 7.0, privileged=-1e4 * Z, precision="float64", max_epochs=5
    )
    assert other.history_["validation_loss"].iloc[0] == pytest.approx(one.history_["validation_loss"].iloc[0], rel=0.2)
    scaled = fitted(REGRESSOR, y=1e6 * Y - 4e5, rows=1e-3 * X + 7.0, precision="float64", max_epochs=5)
    assert np.allclose(scaled.predict(1e-3 * X + 7.0), 1e6 * one.predict(X) - 4e5, rtol=1e-6, atol=1.0)


class Probe(nn.Module):
    """Gives the newest step of the second channel, whatever it learns."""

    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        assert (n_channels, length) == (2, 5)
        self.gain = nn.Parameter(torch.ones(n_outputs))

    def forward(self, windows):
        assert windows.shape[1:] == (2, 5)
        return windows[:, 1, -1:] * self.gain


@pytest.mark.parametrize("flat", [False, True])
def test_networks_get_channels_first_and_the_newest_step_last(flat):
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(30, 5, 2))
    student = Probe if not flat else SMALL
    model = make(REGRESSOR, student=student, imitation=0.0, optimizer=torch.optim.SGD, learning_rate=1e-300)
    rows = windows.reshape(30, -1) if flat else windows
    model.fit(rows, windows[:, -1, 1])
    if flat:
        assert model.student_.sizes == {"n_channels": 10, "length": 1, "n_outputs": 1}
        return
    y, last = windows[:24, -1, 1], windows[:, -1, 1]
    channel = windows[:24, :, 1]
    expected = (last - channel.mean()) / channel.std() * y.std() + y.mean()
    assert np.allclose(model.predict(windows), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("student", [MLP, GRU, TCN, Autoencoder])
def test_every_network_learns_from_windows(student):
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(80, 4, 2))
    y = windows[:, -1, 0] - windows[:, 1, 1]
    model = make(REGRESSOR, student=student, imitation=0.0, max_epochs=40, learning_rate=0.01).fit(windows, y)
    assert model.score(windows, y) > 0.5
    assert model.n_features_in_ == 8


def test_an_autoencoder_takes_windows_as_targets():
    windows = np.random.default_rng(0).normal(size=(30, 4, 2)) * [1.0, 100.0]
    model = make(REGRESSOR, student=Autoencoder, imitation=0.0, max_epochs=80, learning_rate=0.01)
    said = model.fit(windows, windows.reshape(30, -1)).predict(windows)
    assert said.shape == (30, 8)
    assert np.corrcoef(said[:, ::2].ravel(), windows[..., 0].ravel())[0, 1] > 0.5
    assert np.abs(said[:, 1::2]).mean() > 10 * np.abs(said[:, ::2]).mean()


@both_tasks
def test_warm_start_goes_on_from_where_it_was(kind):
    settings = {"validation": None, "optimizer": torch.optim.SGD, "learning_rate": 1e-300, "max_epochs": 2}
    model = fitted(kind, **{**settings, "learning_rate": 0.01, "warm_start": True})
    before = weights(model)
    model.set_params(**settings).fit(X, targets(kind), X_privileged=Z)
    assert np.array_equal(weights(model), before)
    assert model.history_.index.tolist() == [1, 2, 3, 4]
    assert model.best_epoch_ == 4
    model.set_params(warm_start=False).fit(X, targets(kind), X_privileged=Z)
    assert model.history_.index.tolist() == [1, 2]
    assert not np.array_equal(weights(model), before)


def test_warm_start_keeps_the_scales():
    model = fitted(REGRESSOR, warm_start=True, optimizer=torch.optim.SGD, learning_rate=1e-300)
    said = model.predict(X)
    model.fit(10.0 * X, 5.0 * Y, X_privileged=Z)
    assert np.array_equal(model.predict(X), said)


WARM = {
    "another shape": lambda model: model.fit(X[:, :2], Y),
    "windows for columns": lambda model: model.fit(X[:, None, :], Y),
    "other targets": lambda model: model.fit(X, np.column_stack([Y, Y])),
    "quantiles": lambda model: model.set_params(quantiles=(0.1, 0.9)).fit(X, Y),
}


@pytest.mark.parametrize("again", WARM.values(), ids=WARM)
def test_warm_start_refuses_what_the_student_was_not_made_for(again):
    model = fitted(REGRESSOR, warm_start=True, imitation=0.0)
    with pytest.raises(ValueError, match=r"warm_start goes on from.*warm_start=False"):
        again(model)


def test_warm_start_refuses_other_classes():
    model = fitted(CLASSIFIER, warm_start=True, imitation=0.0)
    with pytest.raises(ValueError, match=r"y must be of the classes \[0, 1, 2\]"):
        model.fit(X, LABELS + 1)


@pytest.mark.parametrize("value", ["sample_weight", "X_privileged"])
def test_privilege_and_weights_are_routed_through_a_pipeline(value):
    model = make(REGRESSOR)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False), clone(model).set_fit_request(sample_weight=True)
        )
        weight = np.arange(1.0, 41.0)
        routed.fit(X, Y, X_privileged=Z, sample_weight=weight)
        plain = clone(model).fit(StandardScaler().fit_transform(X), Y, X_privileged=Z, sample_weight=weight)
    assert same(routed[-1], plain)
    changes = {"X_privileged": Z, "sample_weight": weight, value: None}
    if value == "X_privileged":
        changes["X_privileged"] = np.ones_like(Z)
    assert not same(plain, clone(model).fit(StandardScaler().fit_transform(X), Y, **changes))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_are_their_numbers_and_give_names(frame):
    names, others = ["a", "b", "c"], ["later", "last"]
    columns = frame(dict(zip(names, X.T, strict=True)))
    privileged = frame(dict(zip(others, Z.T, strict=True)))
    model = fitted(REGRESSOR, rows=columns, privileged=privileged)
    assert same(model, fitted(REGRESSOR))
    assert model.feature_names_in_.tolist() == names
    assert model.privileged_feature_names_in_.tolist() == others
    assert np.array_equal(model.predict(columns), fitted(REGRESSOR).predict(X))


def test_a_shuffled_index_of_the_privileged_part_is_refused():
    frame, privileged = pd.DataFrame(X, columns=list("abc")), pd.DataFrame(Z, columns=list("de"))
    with pytest.raises(ValueError, match=r"X_privileged must be indexed like X, got 39 where X has 0"):
        make(REGRESSOR).fit(frame, Y, X_privileged=privileged[::-1])


def not_writeable(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "read only": not_writeable,
    "columns first": np.asfortranarray,
    "strided": lambda array: np.repeat(array, 2, axis=0)[::2],
    "backwards": lambda array: array[::-1].copy()[::-1],
}


@pytest.mark.parametrize("laid", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layout_of_arrays_does_not_matter_and_they_are_left_as_they_were(laid):
    rows, privileged, y, weight = laid(X), laid(Z), laid(Y), laid(np.arange(1.0, 41.0))
    model = fitted(REGRESSOR, y=y, rows=rows, privileged=privileged, sample_weight=weight)
    assert same(model, fitted(REGRESSOR, sample_weight=np.arange(1.0, 41.0)))
    assert np.array_equal(model.predict(laid(X)), model.predict(X))
    assert np.array_equal(rows, X)
    assert np.array_equal(privileged, Z)
    assert np.array_equal(y, Y)


def test_small_floats_are_read_as_they_are():
    rows, privileged, y = (part.astype(np.float32) for part in (X, Z, Y))
    model = fitted(REGRESSOR, rows=rows, privileged=privileged, y=y)
    wide = fitted(REGRESSOR, rows=rows.astype(float), privileged=privileged.astype(float), y=y.astype(float))
    assert np.allclose(weights(model), weights(wide), atol=1e-5)


@both_tasks
def test_a_copy_predicts_what_the_original_does(kind):
    model = fitted(kind)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert np.array_equal(other.predict(X), model.predict(X))
        assert same(other, model)
        assert {name for name, _ in other.student_.network.named_modules()} == {
            name for name, _ in model.student_.network.named_modules()
        }
    assert not hasattr(clone(model), "student_")


class Indexed(nn.Module):
    """Holds whole numbers before any weight."""

    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        self.register_buffer("order", torch.arange(n_channels).flip(0))
        self.layer = nn.Linear(n_channels * length, n_outputs)

    def forward(self, windows):
        return self.layer(windows[:, self.order].flatten(1))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_copy_keeps_the_precision_whatever_else_a_network_holds(precision):
    model = fitted(REGRESSOR, student=Indexed, precision=precision)
    other = copy.deepcopy(model)
    assert other.student_.network.layer.weight.dtype == getattr(torch, precision)
    assert np.array_equal(other.predict(X), model.predict(X))


def test_a_lambda_builds_a_student_too():
    model = fitted(REGRESSOR, student=lambda **sizes: MLP(hidden=(4, 4), activation="tanh", **sizes))
    assert [part.shape[0] for part in model.student_.network.parameters()] == [4, 4, 4, 4, 1, 1]
    assert not model.student_.network.training
    assert np.array_equal(copy.deepcopy(model).predict(X), model.predict(X))


def test_a_copied_student_is_another_one():
    model = fitted(REGRESSOR)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.student_.network.head.weight.zero_()
    assert not np.array_equal(other.predict(X), model.predict(X))


def test_predicting_many_rows_is_predicting_few():
    model = fitted(REGRESSOR, precision="float64")
    many = np.random.default_rng(0).normal(size=(9000, 3))
    assert np.allclose(
        model.predict(many)[[0, 4095, 4096, 8999]], model.predict(many[[0, 4095, 4096, 8999]]), atol=1e-12
    )


def test_probabilities_are_those_of_the_logits():
    model = fitted(CLASSIFIER)
    probabilities, logits = model.predict_proba(X), model.decision_function(X)
    assert np.allclose(probabilities.sum(axis=1), 1.0)
    assert np.allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert np.array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X))


def test_of_two_classes_the_decision_is_the_log_odds():
    model = fitted(CLASSIFIER, y=np.where(Y > 0, "up", "down"))
    probabilities, decision = model.predict_proba(X), model.decision_function(X)
    assert decision.shape == (40,)
    assert np.allclose(np.log(probabilities[:, 1] / probabilities[:, 0]), decision, atol=1e-6)
    assert np.array_equal(model.predict(X), np.where(decision > 0, "up", "down"))


@pytest.mark.parametrize("loss", [VirtualTeacher(), LabelSmoothing()])
def test_a_soft_loss_without_a_teacher_trains_none(loss):
    model = fitted(CLASSIFIER, soft_loss=loss, privileged=None)
    assert model.teacher_ is None
    assert same(model, fitted(CLASSIFIER, soft_loss=loss))
    assert not same(model, fitted(CLASSIFIER, imitation=0.0))
    assert same(fitted(CLASSIFIER, soft_loss=loss, imitation=0.0), fitted(CLASSIFIER, imitation=0.0))


def test_the_temperature_counts_for_soft_targets_alone():
    assert not same(fitted(CLASSIFIER, temperature=1.0), fitted(CLASSIFIER, temperature=5.0))
    assert same(
        fitted(CLASSIFIER, temperature=1.0, imitation=0.0), fitted(CLASSIFIER, temperature=5.0, imitation=0.0)
    )  # fmt: skip


def test_rows_that_cannot_be_trusted_can_be_left_to_their_labels():
    assert not same(fitted(CLASSIFIER, soft_loss=TrustedRows()), fitted(CLASSIFIER))


def test_an_augmentation_changes_what_the_student_sees_in_training_alone():
    shapes = set()

    def noisy(windows, generator):
        shapes.add(tuple(windows.shape[1:]))
        return windows + torch.randn(windows.shape, generator=generator)

    model = fitted(REGRESSOR, augmentation=noisy, teacher=partial(MLP, hidden=4))
    assert shapes == {(3, 1)}
    assert same(model, fitted(REGRESSOR, augmentation=noisy, teacher=partial(MLP, hidden=4)))
    clean = fitted(REGRESSOR, teacher=partial(MLP, hidden=4))
    assert not same(model, clean)
    assert same(model.teacher_.network, clean.teacher_.network)
    assert same(
        clean, fitted(REGRESSOR, augmentation=lambda windows, generator: windows, teacher=partial(MLP, hidden=4))
    )


def test_the_history_has_a_row_per_epoch():
    model = fitted(REGRESSOR, hints=[(FitNetHint("hidden", "hidden"), 0.5)], max_epochs=4)
    assert model.history_.index.tolist() == [1, 2, 3, 4]
    assert set(model.history_) == {"loss", "hard", "soft", "hint_0", "validation_loss", "learning_rate"}
    total = model.history_[["hard", "soft", "hint_0"]].sum(axis=1)
    assert np.allclose(model.history_["loss"], total)
    assert model.ended_ == "epochs"


def test_the_optimizer_is_the_one_that_was_given():
    decayed = partial(torch.optim.AdamW, weight_decay=50.0)
    strong = fitted(REGRESSOR, optimizer=decayed, learning_rate=0.01, max_epochs=20, imitation=0.0, validation=None)
    assert np.abs(weights(strong)).max() < 0.1
    momentum = partial(torch.optim.SGD, momentum=0.9)
    assert not same(fitted(REGRESSOR, optimizer=momentum), fitted(REGRESSOR, optimizer=torch.optim.SGD))


@pytest.mark.parametrize("schedule", ["cosine", lambda epoch: 0.5**epoch])
def test_a_schedule_is_seen_in_the_history(schedule):
    model = fitted(REGRESSOR, schedule=schedule, learning_rate=0.1, imitation=0.0)
    expected = [0.1, 0.075, 0.025] if schedule == "cosine" else [0.1, 0.05, 0.025]
    assert np.allclose(model.history_["learning_rate"], expected)


def test_patience_ends_training_and_the_bits_up_to_there_are_those_of_longer_training():
    settings = {"learning_rate": 0.3, "max_epochs": 40, "teacher": Ridge()}
    short, long = fitted(REGRESSOR, patience=2, **settings), fitted(REGRESSOR, patience=40, **settings)
    assert (short.ended_, long.ended_) == ("patience", "epochs")
    assert len(short.history_) == short.best_epoch_ + 2
    assert short.history_.equals(long.history_[: len(short.history_)])
