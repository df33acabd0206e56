"""Laws of what networks are told: which rows they learn from, and which judge them."""

from functools import partial

import numpy as np
import pytest

from pitskd import NeuralDistillationClassifier, NeuralDistillationRegressor
from pitskd.models import MLP
from pitskd.neural._material import gap_of, split_in_time

SHORT = {"student": partial(MLP, hidden=4), "max_epochs": 2, "batch_size": 8, "random_state": 0}


def series(n=100):
    """Return windows of 5 steps, the 3 steps that follow them, and the step after these."""
    path = np.random.default_rng(0).normal(size=n + 8).cumsum()
    cut = np.lib.stride_tricks.sliding_window_view(path, 9)[:n]
    return cut[:, :5, None], cut[:, 5:8, None], cut[:, 8].copy()


def read(model, *rows):
    task = model._task()
    return task, model._lesson(task, *rows, None)


@pytest.mark.parametrize("kind", [NeuralDistillationRegressor, NeuralDistillationClassifier])
def test_at_imitation_zero_privileged_windows_that_overlap_change_no_bit(kind):
    X, Z, y = series()
    y = y if kind is NeuralDistillationRegressor else y > np.median(y)
    model = kind(imitation=0.0, **SHORT)
    with_them, without = (read(model, X, y, privileged) for privileged in (Z, None))
    for one, other in zip(split_in_time(*with_them, 0.2), split_in_time(*without, 0.2), strict=True):
        assert np.array_equal(one, other)
    one, other = kind(imitation=0.0, **SHORT).fit(X, y, X_privileged=Z), model.fit(X, y)
    for part, same in zip(one.student_.network.parameters(), other.student_.network.parameters(), strict=True):
        assert part.equal(same)


def test_rows_without_target_behind_the_held_out_ones_are_learnt_from_unless_they_overlap():
    X, Z, y = series()
    y[60:] = np.nan
    task, lesson = read(NeuralDistillationRegressor(), X, y, Z)
    train, held_out = split_in_time(task, lesson, 0.2)
    gap = gap_of(task, lesson, lesson.X, lesson.window)
    assert gap == 8  # the target of a row is the newest step of the window 4 rows on, and the oldest 8 rows on
    assert held_out.tolist() == list(range(48, 60))
    assert train.tolist() == [*range(48 - gap), *range(60 + gap, 100)]


def test_the_gap_is_an_eighth_of_the_rows_at_most():
    X, Z, y = series(40)
    task, lesson = read(NeuralDistillationRegressor(), X, y, Z)
    train, held_out = split_in_time(task, lesson, 0.2)
    assert train.max() + 5 + 1 == held_out.min()


def test_a_share_that_leaves_nothing_to_learn_from_is_told_of():
    X, _, y = series(20)
    with pytest.warns(UserWarning, match=r"validation=0.99 leaves too little to learn from: no row is held out"):
        model = NeuralDistillationRegressor(imitation=0.0, validation=0.99, **SHORT).fit(X[:, :, 0], y)
    assert model.history_["validation_loss"].isna().all()
