"""Folds of the front door: windows that share a time step are never on both sides, and nothing is lost without need."""

import numpy as np
import pytest

from pitskd import PrivilegedClassifier, PrivilegedRegressor, make_windows
from pitskd._folds import default_folds, overlap

WINDOW, HORIZON = 3, 6


def series(n=500, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, channels)).cumsum(axis=0)


def cut(values=None, window=WINDOW, stride=1, privileged="between"):
    values = series() if values is None else values
    return make_windows(values, 0, window=window, horizon=HORIZON, stride=stride, privileged=privileged)


def read(X, y, Z=None, kind=PrivilegedRegressor):
    """Return task and lesson as the estimator reads them."""
    model = kind()
    task = model._task()
    return task, model._read(task, X, y, Z, None, {1.0})


def folds_of(w, kind=PrivilegedRegressor):
    y = w.y if kind is PrivilegedRegressor else w.y > np.median(w.y)
    return default_folds(*read(w.X, y, w.X_privileged, kind))


def steps(w, rows):
    """Return every time step that some windows hold, their targets included."""
    start, stop = w.origin[rows] - w.window + 1, w.origin[rows] + int(np.max(w.horizon))
    return {step for first, last in zip(start, stop, strict=True) for step in range(first, last + 1)}


@pytest.mark.parametrize("privileged", ["between", 2, [1, 3], None])
@pytest.mark.parametrize(("window", "stride"), [(1, 1), (WINDOW, 1), (WINDOW, 2), (8, 3)])
def test_no_time_step_is_on_both_sides_of_a_fold_of_a_regression(window, stride, privileged):
    w = cut(window=window, stride=stride, privileged=privileged)
    folds = folds_of(w)
    assert len(folds) == 10
    for train, test in folds:
        assert not steps(w, train) & steps(w, test)


@pytest.mark.parametrize("privileged", ["between", 2])
@pytest.mark.parametrize(("window", "stride"), [(1, 1), (WINDOW, 1), (WINDOW, 2)])
def test_no_time_step_is_on_both_sides_where_the_middle_leads_up_to_the_class(window, stride, privileged):
    w = cut(window=window, stride=stride, privileged=privileged)
    for train, test in folds_of(w, PrivilegedClassifier):
        assert not steps(w, train) & steps(w, test)


def test_inputs_are_kept_apart_where_only_they_can_be_seen():
    w = cut(window=8, privileged=None)
    for train, test in folds_of(w, PrivilegedClassifier):
        assert np.abs(train[:, None] - test).min() >= 8  # the horizon of a class shows nowhere in the arrays


@pytest.mark.parametrize(("stride", "expected"), [(1, 8), (2, 4), (3, 2), (4, 2), (8, 1)])
def test_the_reach_of_a_window_is_exact_with_the_whole_middle(stride, expected):
    w = cut(stride=stride)
    assert overlap(read(w.X, w.y, w.X_privileged)[1]) == expected == (WINDOW - 1 + HORIZON) // stride


@pytest.mark.parametrize("kind", [PrivilegedRegressor, PrivilegedClassifier])
@pytest.mark.parametrize("privileged", ["between", 2, None])
def test_windows_that_share_nothing_lose_nothing(kind, privileged):
    w = cut(stride=WINDOW + HORIZON, privileged=privileged)
    for train, test in folds_of(w, kind):
        assert sorted([*train, *test]) == list(range(w.n_windows))


def test_random_rows_are_not_taken_for_a_series():
    rng = np.random.default_rng(0)
    X, Z, y = rng.normal(size=(80, 4)), rng.normal(size=(80, 3, 4)), rng.normal(size=80)
    assert overlap(read(X, y, Z)[1]) == 0


@pytest.mark.parametrize("kind", [PrivilegedRegressor, PrivilegedClassifier])
def test_columns_of_few_values_are_not_taken_for_overlap(kind):
    rng = np.random.default_rng(0)
    X, Z = rng.integers(0, 2, (200, 5)).astype(float), rng.integers(0, 2, (200, 2, 5)).astype(float)
    y = np.where(rng.random(200) < 0.8, 0.0, 1.0)  # like most targets of rain
    assert overlap(read(X, y, Z, kind)[1], numbers=kind is PrivilegedRegressor) == 0


@pytest.mark.parametrize("stride", [1, WINDOW + HORIZON])
def test_constant_channels_neither_make_nor_hide_overlap(stride):
    values = series(700)
    still = np.concatenate([values, np.full((700, 2), 4.0)], axis=1)
    plain, more = (cut(part, stride=stride) for part in (values, still))
    found = [overlap(read(w.X, w.y, w.X_privileged)[1]) for w in (plain, more)]
    assert found[0] == found[1] == (8 if stride == 1 else 0)


@pytest.mark.parametrize("window", [1, WINDOW])
@pytest.mark.parametrize(("stride", "expected"), [(1, HORIZON - 1), (WINDOW + HORIZON, 0)])
def test_missing_privileged_rows_neither_make_nor_hide_overlap(window, stride, expected):
    w = cut(series(800), window=window, stride=stride)
    Z = np.array(w.X_privileged)
    Z[np.random.default_rng(0).random(len(Z)) < 0.7] = np.nan
    gap = overlap(read(w.X, w.y, Z)[1])
    assert gap == expected + (window if stride == 1 else 0)


def test_holes_in_the_series_do_not_hide_overlap():
    values = series(900)
    values[[200, 430, 431, 700]] = np.nan  # windows around them are dropped
    w = cut(values)
    kept = ~np.isnan(w.X).any(axis=(1, 2)) & ~np.isnan(w.X_privileged).any(axis=(1, 2))
    w = w.take(np.flatnonzero(kept))
    for train, test in folds_of(w):
        assert not steps(w, train) & steps(w, test)


def test_lags_side_by_side_are_windows_too():
    w = cut(series(channels=1), window=6, privileged=None)
    flat = w.X.reshape(w.n_windows, -1)
    assert overlap(read(flat, w.y > 0, None, PrivilegedClassifier)[1], numbers=False) == 6


def test_privileged_sensors_over_the_input_window_are_seen_to_overlap():
    values = series()
    w = make_windows(values, 0, window=4, horizon=2, privileged=None, privileged_columns=[2])
    for train, test in folds_of(w):
        assert not steps(w, train) & steps(w, test)


@pytest.mark.parametrize("kind", [PrivilegedRegressor, PrivilegedClassifier])
def test_every_labelled_row_is_held_out_twice_and_no_other(kind):
    w = cut(stride=9)
    y = (w.y if kind is PrivilegedRegressor else w.y > np.median(w.y)).astype(float)
    y[::7] = np.nan
    folds = default_folds(*read(w.X, y, w.X_privileged, kind))
    times = np.bincount(np.concatenate([test for _, test in folds]), minlength=len(y))
    assert (times == np.where(np.isnan(y), 0, 2)).all()
    assert all(np.isin(np.flatnonzero(np.isnan(y)), train).all() for train, _ in folds)


def test_the_second_round_cuts_elsewhere():
    folds = folds_of(cut(stride=9))
    assert not {tuple(test) for _, test in folds[:5]} & {tuple(test) for _, test in folds[5:]}


def test_classes_are_stratified():
    w = cut(series(1200), stride=9)
    y = np.arange(w.n_windows) < 20  # in order of time all of one class come first
    for train, test in default_folds(*read(w.X, y, w.X_privileged, PrivilegedClassifier)):
        assert 3 <= y[test].sum() <= 5
        assert 0 < y[train].sum() < len(train)


def test_at_most_an_eighth_of_the_rows_is_left_out_on_each_side():
    w = cut(series(60))
    for train, test in folds_of(w):
        assert w.n_windows - len(train) - len(test) <= 2 * (w.n_windows // 8)


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_no_fold_trains_on_fewer_rows_than_can_be_learnt_from(n):
    w = cut(stride=9).take(np.arange(n))
    for train, test in folds_of(w):
        assert len(train) > 1
        assert len(test)


def test_no_fold_is_left_without_privileged_rows_where_there_are_some():
    w = cut(series(900), stride=9)
    Z = np.array(w.X_privileged)
    Z[5:] = np.nan
    for train, _ in default_folds(*read(w.X, w.y, Z)):
        assert np.count_nonzero(train < 5) > 1
