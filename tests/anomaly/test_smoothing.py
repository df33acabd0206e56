"""Trailing means: the plain definition, from arrays and row by row, with all their digits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pitskd.anomaly.smoothing import Smoother, trailing_mean

SIZES = given(st.integers(1, 70), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([(1,), (2,), (3, 2)]))


def plain_mean(values, length, before):
    """Return the means by their definition."""
    padded = np.concatenate([np.broadcast_to(before, (length, *values.shape[1:])), values])
    return np.array([padded[i + 1 : i + 1 + length].mean(axis=0) for i in range(len(values))])


@settings(deadline=None, max_examples=80)
@SIZES
def test_the_trailing_mean_is_that_of_the_last_rows(n_rows, length, seed, shape):
    values = np.random.default_rng(seed).normal(size=(n_rows, *shape))
    np.testing.assert_allclose(
        trailing_mean(values, length, 0.5), plain_mean(values, length, 0.5), rtol=1e-12, atol=1e-14
    )


@settings(deadline=None, max_examples=80)
@SIZES
def test_row_by_row_it_is_the_same_also_behind_a_restart(n_rows, length, seed, shape):
    values = np.random.default_rng(seed).normal(size=(n_rows, *shape))
    smoother = Smoother(length, shape, 0.5)
    expected = trailing_mean(values, length, 0.5)
    for _ in range(2):
        said = np.array([np.array(smoother.step(row)) for row in values])
        np.testing.assert_allclose(said, expected, rtol=1e-12, atol=1e-14)
        smoother.restart()


def test_each_channel_may_have_its_own_value_before():
    means = trailing_mean(np.array([[3.0, 3.0]]), 3, np.array([0.0, 3.0]))
    assert means.tolist() == [[1.0, 3.0]]


@pytest.mark.parametrize("spike", [1e12, 1e300])
def test_it_keeps_its_digits_behind_a_huge_value(spike):
    values = np.random.default_rng(0).normal(size=200) ** 2
    values[57] = spike
    means, clean = trailing_mean(values, 10, 1.0), np.r_[0:57, 67:200]
    np.testing.assert_allclose(means[clean], plain_mean(values, 10, 1.0)[clean], rtol=1e-13)
    smoother = Smoother(10, (1,), 1.0)
    said = np.array([float(smoother.step(np.array([value]))[0]) for value in values])
    np.testing.assert_allclose(said[clean], means[clean], rtol=1e-13)


def test_it_is_a_copy_and_takes_nothing():
    values = np.arange(4.0)
    assert not np.shares_memory(trailing_mean(values, 1, 0.0), values)
    assert trailing_mean(np.zeros(0), 5, 0.0).shape == (0,)
    assert trailing_mean(np.zeros((0, 3)), 5, 0.0).shape == (0, 3)
