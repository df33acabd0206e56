"""Pseudo-rows: which values they hold, where they come from, and what is kept of time."""

import numpy as np
import pytest

from pitskd.neural.munge import munge

PAIRS = np.array([[0.0, 0.0], [1.0, 2.0], [500.0, 400.0], [502.0, 403.0]])  # two rows here, two far away


def windows(n_windows=12, window=5, n_channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n_windows, window, n_channels))


def test_shape_and_order_are_copy_after_copy():
    X = windows()
    assert munge(X, n_copies=3, random_state=0).shape == (36, 5, 3)
    assert munge(X[:, 0], n_copies=2, random_state=0).shape == (24, 3)
    assert np.array_equal(munge(X, n_copies=2, probability=0.0, random_state=0), np.concatenate([X, X]))


def test_nothing_of_the_rows_is_changed():
    X = windows()
    before = X.copy()
    munge(X, random_state=0)
    assert np.array_equal(X, before)


def test_without_variance_each_channel_path_is_whole_and_of_some_row():
    X = windows()
    pseudo = munge(X, n_copies=4, probability=0.5, local_variance=1e12, random_state=0)
    originals = {tuple(path.round(6)) for path in X.transpose(0, 2, 1).reshape(-1, 5)}
    assert all(tuple(path.round(6)) in originals for path in pseudo.transpose(0, 2, 1).reshape(-1, 5))
    assert not np.allclose(pseudo[:12], X)


def test_without_variance_a_copy_holds_the_same_paths_as_the_rows():
    # Exchanges permute: every path of a channel is still there once.
    X = windows()
    pseudo = munge(X, probability=0.7, local_variance=1e12, random_state=1)
    for channel in range(3):
        assert np.allclose(np.sort(pseudo[:, 0, channel]), np.sort(X[:, 0, channel]))


def test_rows_exchange_with_their_nearest_neighbour_only():
    pseudo = munge(PAIRS, n_copies=200, probability=0.5, random_state=0).reshape(200, 4, 2)
    spread = np.abs(PAIRS[[1, 0, 3, 2]] - PAIRS)
    assert (np.abs(pseudo - PAIRS) < 20 * spread).all()
    assert (pseudo[:, :2] < 200).all()
    assert (pseudo[:, 2:] > 200).all()


def test_distances_do_not_depend_on_the_units_of_channels():
    X = windows(seed=3)
    units = np.array([1e-6, 1.0, 1e6])
    scaled = munge(X * units + 5.0, n_copies=2, random_state=0)
    assert np.allclose(scaled, munge(X, n_copies=2, random_state=0) * units + 5.0, rtol=1e-6)


def test_an_exchanged_value_is_normal_around_the_neighbours_with_the_distance_over_local_variance():
    # Row 0 is 0, its neighbour 6. Row 0 goes first to 6 + z 6/s, and row 1 to 0 - z' 6/s; then row 1's turn is without
    # effect if row 1 has another neighbour, here row 2 at 11.
    X, local_variance = np.array([[0.0], [6.0], [11.0], [11.0]]), 3.0
    first = munge(X, n_copies=4000, probability=1.0, local_variance=local_variance, random_state=0).reshape(4000, 4)
    assert first[:, 0].mean() == pytest.approx(6.0, abs=0.1)  # standard error 2 / sqrt(4000) = 0.03
    assert first[:, 0].std() == pytest.approx(6.0 / local_variance, rel=0.05)
    skewness = ((first[:, 0] - 6.0) ** 3).mean() / 8.0
    assert abs(skewness) < 0.2


def test_one_number_moves_a_whole_path_so_that_serial_order_stays():
    # Paths a and b at every step: a pseudo-path is a + k (b - a) with one k for all steps.
    a, b = np.sin(np.linspace(0, 3, 20)), np.linspace(0, 2, 20) ** 2
    X = np.stack([a, b])[:, :, None]
    pseudo = munge(X, n_copies=5, probability=1.0, random_state=0)[:, :, 0]
    for path in pseudo:
        k = (path - a) @ (b - a) / ((b - a) @ (b - a))
        assert np.allclose(path, a + k * (b - a))


def test_probability_is_the_share_of_exchanged_channels():
    X = windows(200, 1, 4)
    once = munge(X, probability=0.02, random_state=0)  # so rare that a channel hardly ever takes part twice
    share = (once != X).any(axis=1).mean()
    assert share == pytest.approx(0.04, abs=0.02)  # each exchange changes two rows


def test_duplicates_stay_what_they_are():
    assert np.array_equal(munge(np.ones((5, 3)), random_state=0), np.ones((5, 3)))


def test_a_channel_that_never_changes_stays_constant():
    X = windows()
    X[:, :, 1] = 7.0
    assert (munge(X, n_copies=3, random_state=0)[:, :, 1] == 7.0).all()


def test_the_same_seed_gives_the_same_rows_and_another_does_not():
    X = windows()
    assert np.array_equal(munge(X, random_state=0), munge(X, random_state=0))
    assert not np.array_equal(munge(X, random_state=0), munge(X, random_state=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.ones((1, 3))}, r"X must be of shape .* with at least two rows, got shape \(1, 3\)\. A row needs"),
        ({"X": np.ones(5)}, r"X must be of shape .*, got shape \(5,\)"),
        ({"X": np.array([[1.0], [np.nan]])}, r"X must be finite, got NaN in row 1\. Impute"),
        ({"n_copies": 0}, r"n_copies must be an integer of at least 1, got 0"),
        ({"probability": 1.5}, r"probability must be a number between 0 and 1, got 1\.5"),
        ({"local_variance": 0.0}, r"local_variance must be a finite number above 0, got 0\.0"),
        ({"random_state": -1}, r"random_state must be a non-negative integer"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        munge(**{"X": np.ones((3, 2)), **change})
