"""All windows of a series compared from sums: the same figures as from the rows, and no row on both sides."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from pitskd import ChainDistillationRegressor, make_windows
from pitskd.experiments import whole_file
from pitskd.experiments.whole_file import PERMUTED, RIDGE, STUDENT, compare_on_all
from pitskd.linear._accumulation import learn_from
from pitskd.linear._blocks import STRENGTHS, TimeBlocks, reading
from pitskd.linear._evidence import BOTH, Evidence


def rotating(n_rows, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    turn = 0.97 * np.linalg.qr(generator.normal(size=(4, 4)))[0]
    series = np.zeros((n_rows, 4))
    for t in range(1, n_rows):
        series[t] = turn @ series[t - 1] + noise * generator.normal(size=4)
    return series


def windows(n_rows=600, horizon=6):
    return make_windows(rotating(n_rows), 0, window=2, horizon=horizon)


def in_parts(w, size):
    return [w.take(slice(start, start + size)) for start in range(0, w.n_windows, size)]


def test_the_parts_that_windows_come_in_do_not_matter():
    w = windows()
    once, often = compare_on_all([w], w.n_windows), compare_on_all(in_parts(w, 37), w.n_windows)
    assert once.n_windows == often.n_windows
    own = [RIDGE, STUDENT, "n_windows"]  # the control draws inside the parts
    np.testing.assert_allclose(once.blocks[own], often.blocks[own], rtol=1e-9)


def test_no_row_is_learnt_from_and_scored(monkeypatch):
    w, spans, adds_up = windows(), [], Evidence.of

    def watched(lesson, one_target):
        spans.append(lesson)
        return adds_up(lesson, one_target)

    monkeypatch.setattr(Evidence, "of", watched)
    blocks = TimeBlocks(reading(ChainDistillationRegressor()), w.n_windows, 10)
    for part in in_parts(w, 50):
        blocks.add(part)
    monkeypatch.undo()
    first = np.arange(w.n_windows)
    stretch, reached = (np.minimum(place * 20 // w.n_windows, 19) for place in (first, first + 7))
    expected = [first[(stretch == reached) & (stretch // 2 == number)] for number in range(10)]
    assert [block.n_rows for block in blocks.blocks] == [len(rows) for rows in expected]
    assert all(w.spans[one].max() < w.spans[following].min() for one, following in pairwise(expected))
    for block, rows in zip(blocks.blocks, expected, strict=True):
        np.testing.assert_allclose(block.moments[BOTH].mean[:8], w.X[rows].reshape(len(rows), -1).mean(axis=0))
    assert blocks.total.n_rows == w.n_windows


def test_blocks_stay_even_where_most_windows_never_come():
    w = windows(2000)
    for most in (w.n_windows, 2 * w.n_windows, 3990, 5 * w.n_windows):
        blocks = TimeBlocks(reading(ChainDistillationRegressor()), most, 10)
        for part in in_parts(w, 300):
            blocks.add(part)
        counts = [block.n_rows for block in blocks.blocks]
        assert len(counts) >= (10 if most == w.n_windows else 2)
        assert min(counts) > 0.4 * max(counts), counts


def test_the_ridge_is_scikit_learns_on_the_rows():
    w = windows()
    found = compare_on_all([w], w.n_windows)
    stretch, reached = (np.minimum((np.arange(w.n_windows) + more) * 20 // w.n_windows, 19) for more in (0, 7))
    number, inner = stretch // 2, stretch == reached
    X, y = w.X.reshape(w.n_windows, -1), w.y

    def errors(train, test):
        scaler = StandardScaler().fit(X[train])
        models = [Ridge(strength).fit(scaler.transform(X[train]), y[train]) for strength in STRENGTHS]
        return np.array([np.square(y[test] - model.predict(scaler.transform(X[test]))).mean() for model in models])

    for block in (0, 4):
        others = [other for other in range(10) if other != block]
        inside = sum(
            np.count_nonzero(inner & (number == other))
            * errors(inner & ~np.isin(number, [block, other]), inner & (number == other))
            for other in others
        )
        best = len(inside) - 1 - int(np.argmin(inside[::-1]))
        error = errors(inner & (number != block), inner & (number == block))[best]
        assert found.blocks[RIDGE][block] == pytest.approx(1 - error / y[inner].var(), rel=1e-9)


def test_very_many_windows_know_what_the_middle_tells():
    many = make_windows(rotating(20_000), 0, window=1, horizon=8)
    assert abs(compare_on_all([many], many.n_windows).differences.loc[RIDGE, "mean"]) < 0.0005


def test_a_middle_that_tells_nothing_is_never_said_to_help():
    generator = np.random.default_rng(0)
    for seed in range(3):
        w = make_windows(generator.normal(size=(400, 2)), 0, window=2, horizon=4)
        assert compare_on_all([w], w.n_windows).verdict != "helps", seed


def test_windows_without_middle_or_target_are_used_for_what_they_have():
    w = windows()
    Z, y = np.array(w.X_privileged), np.array(w.y)
    Z[5:40], y[100:120] = np.nan, np.nan
    holes = replace(w.take(slice(None)), X=np.array(w.X), X_privileged=Z, y=y, origin=w.origin, spans=w.spans)
    blocks = TimeBlocks(reading(ChainDistillationRegressor()), w.n_windows, 10)
    blocks.add(holes)
    learnt = learn_from(ChainDistillationRegressor(), blocks.total)
    np.testing.assert_allclose(learnt.coef_, ChainDistillationRegressor().fit(w.X, y, X_privileged=Z).coef_, rtol=1e-8)
    assert np.isfinite(compare_on_all([holes], w.n_windows).blocks).all().all()


def test_the_control_learns_from_middles_of_other_windows():
    w = windows(300)
    seeds = [compare_on_all([w], w.n_windows, random_state=seed).blocks for seed in (0, 0, 1)]
    np.testing.assert_array_equal(seeds[0], seeds[1])
    assert (seeds[0][PERMUTED] != seeds[2][PERMUTED]).all()
    np.testing.assert_array_equal(seeds[0][[RIDGE, STUDENT]], seeds[2][[RIDGE, STUDENT]])
    apart = seeds[0][STUDENT] - seeds[0][PERMUTED]
    assert apart.abs().max() > 1e-4


def test_the_interval_is_widened_for_training_parts_that_overlap():
    values = pd.Series([1.0, 2.0, 4.0])
    mean, lower, upper = whole_file._interval(values, 0.95)
    half = stats.t.ppf(0.975, 2) * values.std() * np.sqrt(1 / 3 + 1 / 2)
    assert (mean, lower, upper) == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half))


def test_the_sentence_has_the_figures():
    w = windows()
    found = compare_on_all([w], w.n_windows)
    mean = found.differences.loc[RIDGE, "mean"]
    assert f"{found.n_windows} windows in 10 blocks of time" in str(found)
    assert f"to the tuned ridge {mean:+.4f} [" in str(found)


def test_windows_that_cannot_be_compared_are_refused(monkeypatch):
    w = windows(30)
    with pytest.raises(ValueError, match=r"records must be windows enough for three blocks of time, got \d"):
        compare_on_all([w], w.n_windows)
    flat = replace(windows().take(slice(None)), X=np.array(windows().X), y=np.ones(windows().n_windows))
    with pytest.raises(ValueError, match="records must be windows with targets that vary, got a constant"):
        compare_on_all([flat], flat.n_windows)
    grouped = make_windows(rotating(100), 0, window=2, horizon=3, groups=np.repeat([0, 1], 50))
    with pytest.raises(ValueError, match="records must be windows of one series, without groups"):
        compare_on_all([grouped], grouped.n_windows)
    monkeypatch.setattr(whole_file, "MOST_COLUMNS", 20)
    with pytest.raises(ValueError, match="records must be of at most 20 columns, windows and middle together"):
        compare_on_all([windows()], 500)
