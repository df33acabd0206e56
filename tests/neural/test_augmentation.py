"""Changes of windows: what stays on average, what is drawn and from where, and that the teacher sees none of it."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

from pitskd import simulate_frequencies
from pitskd.models import MLP
from pitskd.neural import NeuralDistillationClassifier
from pitskd.neural.augmentation import Composed, Crop, Jitter, Scaling

CHANGES = [Jitter(0.3), Scaling(0.3), Crop(9), Crop(9, "pad"), Composed((Crop(9), Scaling(0.3), Jitter(0.3)))]
every_change = pytest.mark.parametrize("change", CHANGES, ids=repr)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ramp(batch, n_channels=2, length=12):
    """Return windows that tell their step and channel: value = step + 100 * channel, from 1."""
    window = torch.arange(1.0, length + 1) + 100.0 * torch.arange(n_channels)[:, None]
    return window.expand(batch, -1, -1).clone()


@every_change
def test_windows_keep_shape_and_precision_and_are_left_as_they_were(change):
    windows = ramp(5).double()
    before = windows.clone()
    changed = change(windows, generator())
    assert changed.shape == windows.shape
    assert changed.dtype == torch.float64
    assert torch.equal(windows, before)
    assert not torch.equal(changed, windows)


@every_change
def test_draws_come_from_the_generator_alone(change):
    state = torch.get_rng_state()
    first, again, other = (change(ramp(5), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@every_change
def test_a_copy_from_a_pickle_does_the_same_and_its_repr_can_be_typed(change):
    again = pickle.loads(pickle.dumps(change))
    assert again == change == eval(repr(change))
    assert torch.equal(again(ramp(3), generator()), change(ramp(3), generator()))


@pytest.mark.parametrize("change", [Jitter(0.3), Scaling(0.3)], ids=repr)
def test_the_mean_over_draws_is_the_window(change):
    window = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).expand(40_000, 1, 12)
    changed = change(window, generator())
    # 5 standard errors of a deviation of at most 0.3
    assert (changed.mean(dim=0) - window[0]).abs().max() < 5 * 0.3 / 200


def test_jitter_is_white_noise_of_its_scale():
    noise = Jitter(0.3)(torch.zeros(20_000, 2, 3, dtype=torch.float64), generator()).flatten(1)
    covariance = torch.cov(noise.T)
    assert (covariance - 0.09 * torch.eye(6)).abs().max() < 5 * 0.09 * np.sqrt(2 / 20_000)


def test_scaling_multiplies_each_channel_of_each_row_by_one_number():
    factor = Scaling(0.3)(ramp(4000), generator()) / ramp(4000)
    assert torch.allclose(factor, factor[:, :, :1].expand_as(factor), atol=1e-6)
    first, second = factor[:, 0, 0], factor[:, 1, 0]
    assert abs(first.std() - 0.3) < 0.02
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.08  # 5 standard errors


def test_a_padded_crop_keeps_steps_in_place_alike_in_all_channels_and_from_everywhere():
    windows = ramp(2000)
    kept = Crop(9, "pad")(windows, generator())
    there = kept != 0
    assert torch.equal(kept[there], windows[there])
    assert torch.equal(there[:, 0], there[:, 1])
    assert (there.sum(dim=2) == 9).all()
    first = there[:, 0].int().argmax(dim=1)
    assert (there[:, 0].int().diff(dim=1).abs().sum(dim=1) <= 2).all()  # in one piece
    counts = torch.bincount(first, minlength=4)
    assert len(counts) == 4
    assert (counts - 500).abs().max() < 5 * np.sqrt(2000 * 0.25 * 0.75)


def test_a_stretched_crop_runs_evenly_from_its_first_to_its_last_value():
    # Between the ends of a ramp linear interpolation is even: 12 values over 8 steps of the ramp.
    changed = Crop(9)(ramp(50), generator())
    assert torch.allclose(changed.diff(dim=2), torch.full((50, 2, 11), 8 / 11), atol=1e-4)
    starts = changed[:, :, 0] - 100.0 * torch.arange(2)
    assert set(starts.round().flatten().tolist()) == {1.0, 2.0, 3.0, 4.0}
    assert torch.equal(starts[:, 0], starts[:, 1])


def test_a_crop_of_all_steps_changes_nothing():
    for restore in ("resize", "pad"):
        assert torch.allclose(Crop(12, restore)(ramp(3), generator()), ramp(3))


def test_changes_are_made_in_the_order_given():
    one = generator(3)
    by_hand = Jitter(0.1)(Crop(5, "pad")(ramp(4), one), one)
    assert torch.equal(Composed((Crop(5, "pad"), Jitter(0.1)))(ramp(4), generator(3)), by_hand)
    assert not torch.equal(Composed((Jitter(0.1), Crop(5, "pad")))(ramp(4), generator(3)), by_hand)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Jitter(0.0), r"scale must be a finite number above 0, got 0\.0\. Use e\.g\. 0\.1\."),
        (lambda: Scaling(float("nan")), "scale must be a finite number above 0, got nan"),
        (lambda: Crop(1), "length must be an integer of at least 2, got 1"),
        (lambda: Crop(4, "wrap"), "restore must be 'resize' or 'pad', got wrap"),
        (lambda: Crop(13)(ramp(2), generator()), "length must be at most 12, the steps of a window, got 13"),
    ],
)
def test_wrong_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_no_tuple_of_callables_is_refused():
    with pytest.raises(TypeError, match=r"changes must be a tuple of callables, got \(0\.1,\)"):
        Composed((0.1,))


class Spy(nn.Module):
    """A linear network that keeps every window it was shown while another one trains."""

    def __init__(self, *, n_channels, length, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_channels * length, n_outputs)
        self.seen = []

    def forward(self, windows):
        self.seen.append((self.training, windows.detach().clone()))
        return self.linear(windows.flatten(1))


def test_a_noisy_student_trains_on_changed_windows_its_teacher_saw_them_clean():
    X, _, y = simulate_frequencies(60, random_state=0)
    settings = {"max_epochs": 2, "validation": None, "random_state": 0, "student": Spy}
    teacher = NeuralDistillationClassifier(imitation=0.0, **settings).fit(X, y)
    spy = teacher.student_.network
    spy.seen.clear()
    change = Jitter(0.5)
    student = NeuralDistillationClassifier(FrozenEstimator(teacher), imitation=1.0, augmentation=change, **settings)
    student.fit(X, y, X_privileged=X)
    clean = teacher.student_.tensor(X.reshape(60, -1))
    assert spy.seen
    assert all(torch.isin(windows, clean).all() for _, windows in spy.seen)
    noisy = [windows for training, windows in student.student_.network.seen if training]
    assert len(noisy) == 4  # two epochs of two batches
    assert not any(torch.isin(windows, clean).any() for windows in noisy)


def test_without_change_of_the_inputs_the_student_would_be_another():
    X, _, y = simulate_frequencies(60, random_state=0)
    plain = NeuralDistillationClassifier(
        imitation=0.0, student=partial(MLP, hidden=4), max_epochs=2, validation=None, random_state=0
    )
    noisy = plain.fit_grid(X, y, [{"augmentation": None}, {"augmentation": Jitter(0.5)}])
    assert not np.array_equal(*(model.predict_proba(X) for model in noisy))
