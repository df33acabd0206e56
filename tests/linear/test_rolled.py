"""Chains through pooled dynamics, solved from moments, against the loop over scikit-learn that they stand for."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from pitskd.linear import _rolled
from pitskd.linear._rolled import rolled_chain_grid

WINDOW, MIDDLE, CHANNELS, N = 3, 3, 3, 60
MIXES, PENALTIES = np.array([0.0, 0.7, 1.0]), np.array([0.0, 0.5, 30.0])
EXACT = {"rtol": 1e-8, "atol": 1e-9}  # a Gram matrix of condition 1e4 at most loses half of the digits, not more


@pytest.fixture
def paths():
    """Noisy paths in unlike units, an indicator among them, with two targets."""
    rng = np.random.default_rng(0)
    path = rng.normal(size=(N, WINDOW + MIDDLE, CHANNELS)).cumsum(axis=1) * [1.0, 50.0, 1.0] + [0.0, 300.0, 0.0]
    path[..., 2] = path[..., 2] > 0
    y = path[:, -1, :2] / [1.0, 50.0] + rng.normal(size=(N, 2))
    return path, y


def ridge(X, y, penalty, weight):
    """Return coefficients (k, d); at penalty 0 the least-squares solution of minimum norm."""
    if penalty > 0:
        return Ridge(alpha=penalty).fit(X, y, sample_weight=weight).coef_.reshape(y.shape[1], -1)
    share = (weight / weight.sum())[:, None]
    root = np.sqrt(weight)[:, None]
    return np.linalg.lstsq(root * (X - (share * X).sum(axis=0)), root * (y - (share * y).sum(axis=0)))[0].T


def by_loop(path, y, imitation, penalty, weight, order=1, labelled=None, indicators=False):
    """Return coefficient and intercept of one chain, link after link, on the rows of positive weight."""
    kept = weight > 0
    labelled = np.ones(len(y), dtype=bool)[kept] if labelled is None else labelled[kept]
    path, y, weight = path[kept], y[kept], weight[kept]
    n, n_rows, c = path.shape
    rows, repeated = path.reshape(-1, c), np.repeat(weight, n_rows)
    seen = ~np.isnan(rows).any(axis=1)
    share = repeated[seen] / repeated[seen].sum()
    scale = np.sqrt(share @ np.square(rows[seen] - share @ rows[seen]))
    for channel in range(c if indicators else 0):
        values = np.unique(rows[seen, channel])
        scale[channel] = np.ptp(values) if len(values) == 2 else scale[channel]
    states = [(path[:, t - order : t] / scale).reshape(n, -1) for t in range(order, n_rows + 1)]
    whole = [~np.isnan(state).any(axis=1) for state in states]
    past, following, of = [], [], []
    for state, after, a, b in zip(states[:-1], states[1:], whole[:-1], whole[1:], strict=True):
        past.append(state[a & b])
        following.append(after[a & b][:, -c:])
        of.append(weight[a & b])
    n_steps = n_rows - order
    newest = ridge(np.concatenate(past), np.concatenate(following), penalty * n_steps, np.concatenate(of))
    move = np.vstack([np.eye(order * c, k=c)[: (order - 1) * c], newest])
    rule = None
    for t in range(n_rows, WINDOW - 1, -1):
        used = whole[t - order] & labelled
        direct = ridge(states[t - order][used], y[used], penalty, weight[used])
        rule = direct if rule is None else (1 - imitation) * direct + imitation * rule @ move
    coef = np.zeros((y.shape[1], WINDOW * c))
    coef[:, -order * c :] = rule / np.tile(scale, order)
    share = weight * labelled / (weight * labelled).sum()
    return coef, share @ y - coef @ (share @ np.nan_to_num(path[:, :WINDOW].reshape(n, -1)))


def assert_equals_loop(path, y, sets, **settings):
    shared = {name: value for name, value in settings.items() if name != "order"}
    order = settings.get("order", 1)
    coef, intercept = rolled_chain_grid(path, y, MIXES, PENALTIES, sets, window=WINDOW, order=order, **shared)
    assert coef.shape == (len(sets), 3, 3, y.shape[1], WINDOW * CHANNELS)
    for s, weight in enumerate(sets):
        for i, imitation in enumerate(MIXES):
            for p, penalty in enumerate(PENALTIES):
                expected = by_loop(path, y, imitation, penalty, weight, order=order, **shared)
                assert_allclose(coef[s, i, p], expected[0], **EXACT)
                assert_allclose(intercept[s, i, p], expected[1], rtol=1e-8, atol=1e-6)  # a channel lies at 300


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("indicators", [False, True])
def test_the_grid_equals_a_loop_over_scikit_learn(paths, order, indicators):
    path, y = paths
    assert_equals_loop(path, y, np.ones((1, N)), order=order, indicators=indicators)


@pytest.mark.parametrize("order", [1, 2])
def test_rows_without_weight_are_as_good_as_dropped(paths, order):
    path, y = paths
    rng = np.random.default_rng(1)
    sets = np.stack([rng.random(N) < 0.7, rng.random(N) < 0.5]).astype(float)
    assert_equals_loop(path, y, sets, order=order)


def test_weights_enter_scale_dynamics_and_links(paths):
    path, y = paths
    assert_equals_loop(path, y, np.random.default_rng(2).random((2, N)) + 0.1, order=2)


@pytest.mark.parametrize("order", [1, 2])
def test_missing_middle_rows_and_labels_leave_the_other_steps_to_learn_from(paths, order):
    path, y = paths
    path, labelled = path.copy(), np.arange(N) % 4 > 0
    path[:15, WINDOW:] = np.nan  # no middle at all
    path[20:30, WINDOW + 1] = np.nan  # a hole in it
    y = np.where(labelled[:, None], y, 1e9)  # what stands in for a missing label must not matter
    assert_equals_loop(path, y, np.ones((1, N)), order=order, labelled=labelled)


def test_a_weight_of_two_is_a_row_given_twice(paths):
    path, y = paths
    twice = np.arange(N) % 2 > 0
    weighted = rolled_chain_grid(path, y, MIXES, PENALTIES, 1.0 + twice[None], window=WINDOW)
    again = np.concatenate([np.arange(N), np.flatnonzero(twice)])
    repeated = rolled_chain_grid(path[again], y[again], MIXES, PENALTIES, np.ones((1, len(again))), window=WINDOW)
    for one, other in zip(weighted, repeated, strict=True):
        assert_allclose(one, other, rtol=1e-8, atol=1e-6)


def test_chunks_change_nothing(paths, monkeypatch):
    path, y = paths
    sets = np.stack([np.ones(N), np.arange(N) % 3 > 0]).astype(float)
    whole = rolled_chain_grid(path, y, MIXES, PENALTIES, sets, window=WINDOW, order=2)
    monkeypatch.setattr(_rolled, "_CHUNK", 200)  # a few rows at a time
    assert len(_rolled._chunks(N, 6 * CHANNELS)) > 5
    for one, other in zip(
        rolled_chain_grid(path, y, MIXES, PENALTIES, sets, window=WINDOW, order=2), whole, strict=True
    ):
        assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2])
def test_a_noise_free_linear_series_is_continued_exactly_at_imitation_one(order):
    rng = np.random.default_rng(3)
    lags = [0.4 * np.linalg.qr(rng.normal(size=(CHANNELS, CHANNELS)))[0] for _ in range(order)]
    path = list(rng.normal(size=(order, N, CHANNELS)))
    while len(path) < WINDOW + MIDDLE + 1:
        path.append(sum(path[-1 - lag] @ lags[lag].T for lag in range(order)))
    path = np.stack(path, axis=1) * [1.0, 1e3, 1e-3] + [5.0, 0.0, 0.0]
    y = path[:, -1, :1]
    coef, intercept = rolled_chain_grid(
        path[:, :-1], y, np.ones(1), np.zeros(1), np.ones((1, N)), window=WINDOW, order=order
    )
    told = path[:, :WINDOW].reshape(N, -1) @ coef[0, 0, 0].T + intercept[0, 0, 0]
    assert_allclose(told, y, rtol=1e-8, atol=1e-9)


def test_units_and_origins_of_channels_do_not_matter(paths):
    path, y = paths
    unit, origin = np.array([1e6, 1e-6, 3.0]), np.array([1e3, -7.0, 0.0])
    arguments = (y, MIXES, PENALTIES, np.ones((1, N)))
    plain = rolled_chain_grid(path, *arguments, window=WINDOW)
    moved = rolled_chain_grid((path + origin) * unit, *arguments, window=WINDOW)
    X, X_moved = (rows[:, :WINDOW].reshape(N, -1) for rows in (path, (path + origin) * unit))
    said, said_moved = (
        rows @ np.swapaxes(rule, -1, -2) + constant[..., None, :]
        for rows, (rule, constant) in ((X, plain), (X_moved, moved))
    )
    assert_allclose(said_moved, said, rtol=1e-7, atol=1e-7)


def test_constant_and_collinear_channels_leave_the_predictions_finite_and_as_they_were(paths):
    path, y = paths
    arguments = (y, MIXES, PENALTIES[1:], np.ones((1, N)))
    plain, constant = rolled_chain_grid(path, *arguments, window=WINDOW)
    still = np.concatenate([path, np.full((N, WINDOW + MIDDLE, 1), 7.0)], axis=2)
    coef, intercept = rolled_chain_grid(still, *arguments, window=WINDOW)
    shaped = coef.reshape(*coef.shape[:-1], WINDOW, CHANNELS + 1)
    assert_allclose(shaped[..., :-1].reshape(plain.shape), plain, **EXACT)
    assert_allclose(intercept, constant, rtol=1e-8, atol=1e-6)
    doubled = rolled_chain_grid(
        np.concatenate([path, path], axis=2), y, MIXES, np.zeros(1), np.ones((1, N)), window=WINDOW
    )
    single = rolled_chain_grid(path, y, MIXES, np.zeros(1), np.ones((1, N)), window=WINDOW)
    X, twice = (rows[:, :WINDOW].reshape(N, -1) for rows in (path, np.concatenate([path, path], axis=2)))
    assert_allclose(
        twice @ np.swapaxes(doubled[0], -1, -2) + doubled[1][..., None, :],
        X @ np.swapaxes(single[0], -1, -2) + single[1][..., None, :],
        rtol=1e-7, atol=1e-7,
    )  # fmt: skip
