"""Label refinery: what later stages learn from, on which windows, and when it ends."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

from pitskd import simulate_frequencies
from pitskd.losses import VirtualTeacher
from pitskd.models import MLP
from pitskd.neural import NeuralDistillationClassifier, NeuralDistillationRegressor
from pitskd.neural import refinery as refinery_module
from pitskd.neural.augmentation import Composed, Crop, Jitter
from pitskd.neural.refinery import LabelRefineryClassifier

X, A, Y = simulate_frequencies(90, n_classes=3, length=12, random_state=0)
CHANGE = Composed((Crop(9), Jitter(0.2)))


def example(**settings):
    given = {
        "student": partial(MLP, hidden=6), "imitation": 0.0, "augmentation": CHANGE, "max_epochs": 3,
        "learning_rate": 0.01, "random_state": 0,
    }  # fmt: skip
    return NeuralDistillationClassifier(**{**given, **settings})


def same(one, other):
    parts = zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in parts)


def sequence(monkeypatch, losses):
    """Let the stages have these validation losses."""
    told = iter(losses)
    monkeypatch.setattr(refinery_module, "_validation_loss", lambda student: next(told))


def test_without_stages_it_is_a_plain_fit_bit_for_bit():
    refined, plain = LabelRefineryClassifier(example(), max_stages=0).fit(X, Y), example().fit(X, Y)
    assert len(refined.stages_) == 1
    assert same(refined.student_, plain.student_)
    np.testing.assert_array_equal(refined.predict_proba(X), plain.predict_proba(X))


def test_the_first_stage_is_taught_by_whoever_sees_the_privileged_part():
    refined = LabelRefineryClassifier(example(imitation=0.7), max_stages=0).fit(X, Y, X_privileged=A)
    taught, untaught = example(imitation=0.7).fit(X, Y, X_privileged=A), example().fit(X, Y)
    assert same(refined.student_, taught.student_)
    assert not same(refined.student_, untaught.student_)


def test_later_stages_do_not_depend_on_the_labels():
    settings = example(validation=None)
    fitted = LabelRefineryClassifier(settings, max_stages=1).fit(X, Y)
    task = fitted._task()
    stages = []
    for labels in (Y, np.roll(Y, 1)):
        lesson = fitted._read(task, X, labels, None, None, {0.0})
        model = clone(settings)
        model._look_like(fitted)
        first = model._pupil(task, lesson, (np.arange(90), np.empty(0, dtype=int)))
        stages.append(refinery_module._stage(first, fitted.stages_[0], 1))
    assert same(*stages)
    assert same(stages[0], fitted.stages_[1])


def test_no_later_stage_has_a_hard_term_and_each_starts_anew():
    fitted = LabelRefineryClassifier(example(validation=None), max_stages=2).fit(X, Y)
    assert (fitted.history_.loc[0, "hard"] > 0).all()
    for stage in (1, 2):
        assert (fitted.history_.loc[stage, "hard"] == 0).all()
        assert (fitted.history_.loc[stage, "soft"] > 0).all()
    assert not same(fitted.stages_[1], fitted.stages_[2])


class Spy(MLP):
    """A network that keeps what it was shown while its student trained, and itself."""

    def forward(self, windows):
        if not hasattr(self, "trained"):
            self.trained, self.asked = [], []
        (self.trained if self.training else self.asked).append(windows.detach().clone())
        return super().forward(windows)


def test_the_stage_before_is_asked_about_the_very_windows_that_the_student_sees():
    fitted = LabelRefineryClassifier(example(student=partial(Spy, hidden=6), validation=None), max_stages=1).fit(X, Y)
    teacher, student = (stage.network for stage in fitted.stages_)
    assert len(student.trained) == 9  # three epochs of three batches
    asked = teacher.asked[-9:]
    assert all(torch.equal(one, other) for one, other in zip(asked, student.trained, strict=True))
    clean = fitted.student_.tensor(X.reshape(90, -1))
    assert not torch.isin(asked[0], clean).any()


def test_a_student_of_a_sure_teacher_learns_what_it_says_of_the_crop():
    batch_loss = []

    class Asked(MLP):
        def forward(self, windows):
            said = super().forward(windows)
            if self.training:
                batch_loss.append((windows.detach().clone(), said.detach().clone()))
            return said

    settings = example(student=partial(Asked, hidden=6), validation=None, max_epochs=1, batch_size=90)
    fitted = LabelRefineryClassifier(settings, max_stages=1).fit(X, Y)
    windows, said = batch_loss[-1]
    with torch.no_grad():
        wanted = fitted.stages_[0].network(windows).log_softmax(dim=1)
    by_hand = (wanted.exp() * (wanted - said.log_softmax(dim=1))).sum(dim=1).mean()
    assert fitted.history_.loc[(1, 1), "loss"] == pytest.approx(by_hand.item(), rel=1e-5)  # float32


def test_it_ends_with_the_first_stage_that_is_no_better_and_keeps_the_one_before(monkeypatch):
    sequence(monkeypatch, [1.0, 0.8, 0.8, 0.1])
    fitted = LabelRefineryClassifier(example(max_epochs=1), max_stages=5).fit(X, Y)
    np.testing.assert_array_equal(fitted.validation_losses_, [1.0, 0.8, 0.8])
    assert fitted.best_stage_ == 1
    assert fitted.student_ is fitted.stages_[1]


def test_it_ends_with_the_last_stage_asked_for_while_each_is_better(monkeypatch):
    sequence(monkeypatch, [1.0, 0.9, 0.8, 0.7])
    fitted = LabelRefineryClassifier(example(max_epochs=1), max_stages=2).fit(X, Y)
    assert fitted.best_stage_ == 2
    assert len(fitted.stages_) == 3


def test_the_validation_loss_is_the_log_loss_of_held_out_rows():
    fitted = LabelRefineryClassifier(example(), max_stages=1).fit(X, Y)
    rows = np.concatenate([np.flatnonzero(k == Y)[-round(0.2 * (k == Y).sum()) :] for k in range(3)])
    for stage, loss in zip(fitted.stages_, fitted.validation_losses_, strict=True):
        p = stage.predict_proba(X.reshape(90, -1)[rows])
        assert loss == pytest.approx(-np.log(p[np.arange(len(rows)), Y[rows]]).mean(), rel=1e-5)


def test_without_held_out_rows_all_stages_are_trained_and_the_last_is_kept():
    fitted = LabelRefineryClassifier(example(validation=None, max_epochs=1), max_stages=3).fit(X, Y)
    assert np.isnan(fitted.validation_losses_).all()
    assert fitted.best_stage_ == 3
    assert fitted.student_ is fitted.stages_[3]


def test_a_stage_that_diverges_is_not_kept():
    class Bursting(MLP):
        made = 0

        def __init__(self, **sizes):
            super().__init__(hidden=4, **sizes)
            type(self).made += 1
            self.bursts = type(self).made == 2

        def forward(self, windows):
            said = super().forward(windows)
            return said * torch.inf if self.bursts and self.training else said

    settings = example(student=Bursting, validation=None, max_epochs=1)
    fitted = LabelRefineryClassifier(settings, max_stages=3).fit(X, Y)
    assert [stage.ended for stage in fitted.stages_] == ["epochs", "diverged"]
    assert fitted.best_stage_ == 0


def test_rows_without_label_take_part_from_the_second_stage_on():
    some = np.where(np.arange(90) < 60, Y, np.nan)
    settings = example(validation=None, augmentation=None)
    far = X.copy()
    far[60:] *= -1.5
    one, other = (LabelRefineryClassifier(settings, max_stages=1).fit(inputs, some) for inputs in (X, far))
    assert not same(one.stages_[1], other.stages_[1])
    every = one.stages_[1].tensor(X.reshape(90, -1))
    assert len(every) == 90
    assert one.history_.loc[(1, 1), "soft"] > 0


def test_a_row_of_weight_zero_is_left_out():
    weight = np.r_[np.zeros(20), np.ones(70)]
    left, cut = (
        LabelRefineryClassifier(example(max_epochs=1), max_stages=1).fit(X, Y, sample_weight=weight),
        LabelRefineryClassifier(example(max_epochs=1), max_stages=1).fit(X[20:], Y[20:], sample_weight=np.ones(70)),
    )
    assert same(left.student_, cut.student_)


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (LabelRefineryClassifier(max_stages=-1), ValueError, "max_stages must be an integer of at least 0, got -1"),
        (
            LabelRefineryClassifier(NeuralDistillationRegressor()), TypeError,
            "estimator must be a NeuralDistillationClassifier or None, got NeuralDistillationRegressor",
        ),
        (
            LabelRefineryClassifier(example(soft_loss=VirtualTeacher())), ValueError,
            "estimator must be one whose soft_loss listens to a teacher, got VirtualTeacher",
        ),
        (LabelRefineryClassifier(example(max_epochs=0)), ValueError, "max_epochs must be an integer of at least 1"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused_before_any_work(model, kind, message):
    with pytest.raises(kind, match=message):
        model.fit(X, Y)


SMALL = LabelRefineryClassifier(
    NeuralDistillationClassifier(student=partial(MLP, hidden=8), max_epochs=10, learning_rate=0.03, random_state=0),
    max_stages=1,
)


# Held-out rows are the last, and batches are drawn by position: a repeated row is a row of its own.
CHECKS = [check for _, check in estimator_checks_generator(SMALL)]
CHECKS = [check for check in CHECKS if check.func.__name__ != "check_sample_weight_equivalence_on_dense_data"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.func.__name__)
def test_scikit_learn_accepts_it(check):
    state = np.random.get_state(legacy=True)  # some checks of scikit-learn draw from the global generator
    check(clone(SMALL))
    np.random.set_state(state)
