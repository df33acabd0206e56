"""Series of several frequencies: the class is the strongest, nothing else is told, and the teacher sees them all."""

import numpy as np
import pytest

from pitskd import simulate_frequencies


def spectrum(X):
    """Return the amplitude of each whole number of cycles, (n, length // 2 + 1)."""
    length = X.shape[1]
    return np.abs(np.fft.rfft(X[:, :, 0], axis=1)) * 2 / length


def test_the_spectrum_holds_the_amplitudes_that_the_teacher_sees_and_no_other():
    X, amplitudes, _ = simulate_frequencies(200, n_classes=5, length=16, noise=0.0, random_state=0)
    found = spectrum(X)
    np.testing.assert_allclose(found[:, 1:6], amplitudes, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[:, [0, 6, 7, 8]], 0.0, rtol=0, atol=1e-12)


def test_the_class_is_the_strongest_frequency_and_rivals_stay_below_their_bound():
    X, amplitudes, y = simulate_frequencies(4000, rival=0.6, random_state=0)
    assert X.shape == (4000, 24, 1)
    np.testing.assert_array_equal(amplitudes.argmax(axis=1), y)
    np.testing.assert_array_equal(amplitudes.max(axis=1), 1.0)
    rivals = np.sort(amplitudes, axis=1)[:, :-1]
    assert 0.59 < rivals.max() < 0.6
    assert abs(rivals.mean() - 0.3) < 4 * 0.6 / np.sqrt(12 * 12_000)  # standard error of a uniform mean
    assert np.abs(np.bincount(y, minlength=4) / 4000 - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 4000)


def test_noise_is_white_and_of_its_deviation():
    clean, noisy = (simulate_frequencies(2000, noise=noise, random_state=1).X[:, :, 0] for noise in (0.0, 0.3))
    noise = noisy - clean
    assert abs(noise.std() - 0.3) < 4 * 0.3 / np.sqrt(2 * noise.size)
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 4 * 0.09 / np.sqrt(noise.size)


def test_phases_are_uniform_so_that_no_single_step_tells_the_class():
    X, _, y = simulate_frequencies(8000, random_state=2)
    for k in range(4):
        own = X[y == k, :, 0]
        assert np.abs(own.mean(axis=0)).max() < 5 * own.std() / np.sqrt(len(own))


def test_the_same_seed_repeats_and_a_larger_sample_begins_with_the_smaller_one():
    small, large, other = (simulate_frequencies(n, random_state=seed) for n, seed in ((40, 5), (400, 5), (40, 6)))
    for part, whole, unlike in zip(small, large, other, strict=True):
        np.testing.assert_allclose(whole[:40], part, rtol=0, atol=1e-12)
        assert not np.array_equal(part, unlike)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"n_samples": 0}, ValueError, "n_samples must be an integer of at least 1, got 0"),
        ({"n_classes": 1}, ValueError, "n_classes must be an integer of at least 2, got 1"),
        ({"length": 8}, ValueError, "length must be an integer of at least 9, got 8"),
        ({"rival": 1.1}, ValueError, r"rival must be a number between 0 and 1, got 1\.1"),
        ({"noise": -0.1}, ValueError, "noise must be a finite number of at least 0"),
        ({"length": 24.0}, TypeError, r"length must be an integer of at least 9, got 24\.0"),
    ],
)
def test_wrong_settings_are_refused(settings, kind, message):
    with pytest.raises(kind, match=message):
        simulate_frequencies(**{"n_samples": 5, **settings})
