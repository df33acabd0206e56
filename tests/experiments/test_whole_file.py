"""All windows of a series compared from sums: the same figures as from the rows, and no row on both sides."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from pitskd import make_windows
from pitskd.experiments import whole_file
from pitskd.experiments.whole_file import PERMUTED, RIDGE, STUDENT, compare_on_all


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
    np.testing.assert_allclose(once.blocks, often.blocks, rtol=1e-9)


def test_no_row_is_learnt_from_and_scored(monkeypatch):
    w, spans, adds_up = windows(), [], whole_file._evidence

    def watched(reader, part):
        spans.append(part.spans)
        return adds_up(reader, part)

    monkeypatch.setattr(whole_file, "_evidence", watched)
    found = compare_on_all([w], w.n_windows)
    assert len(spans) == found.n_blocks == 10
    assert all(one.max() < following.min() for one, following in pairwise(spans))
    assert found.n_windows == w.n_windows - 9 * 7  # windows of 2 + 6 rows reach 7 rows further than they start


def test_the_ridge_is_scikit_learns_on_the_rows():
    w = windows()
    found = compare_on_all([w], w.n_windows)
    number = np.arange(w.n_windows) * 10 // w.n_windows
    inner = number == np.minimum((np.arange(w.n_windows) + 7) * 10 // w.n_windows, 9)
    X, y = w.X.reshape(w.n_windows, -1), w.y

    def errors(train, test):
        scaler = StandardScaler().fit(X[train])
        models = [Ridge(strength).fit(scaler.transform(X[train]), y[train]) for strength in whole_file._STRENGTHS]
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


def test_the_middle_of_few_windows_helps_and_that_of_very_many_does_not():
    gains = []
    for seed in range(6):
        few = make_windows(rotating(600, seed=seed), 0, window=1, horizon=8, stride=9)
        gains.append(compare_on_all([few], few.n_windows, n_blocks=5).differences.loc[RIDGE, "mean"])
    assert np.mean(gains) > 0.005
    many = make_windows(rotating(20_000), 0, window=1, horizon=8)
    assert abs(compare_on_all([many], many.n_windows).differences.loc[RIDGE, "mean"]) < 0.0005


def test_a_middle_that_tells_nothing_is_never_said_to_help():
    generator = np.random.default_rng(0)
    for seed in range(3):
        w = make_windows(generator.normal(size=(400, 2)), 0, window=2, horizon=4)
        assert compare_on_all([w], w.n_windows).verdict != "helps", seed


def test_windows_without_middle_or_target_are_used_for_what_they_have():
    w = windows()
    part, Z, y = w.take(slice(None)), np.array(w.X_privileged), np.array(w.y)
    Z[5:40] = np.nan
    y[100:120] = np.nan
    holes = replace(part, X=np.array(w.X), X_privileged=Z, y=y, origin=w.origin, spans=w.spans)
    found = compare_on_all([holes], w.n_windows)
    assert set(found.blocks) == {"n_windows", RIDGE, STUDENT, PERMUTED}
    assert np.isfinite(found.blocks).all().all()


def test_the_sentence_has_the_figures():
    w = windows()
    found = compare_on_all([w], w.n_windows)
    mean = found.differences.loc[RIDGE, "mean"]
    assert f"{found.n_windows} windows in 10 blocks of time" in str(found)
    assert f"to the tuned ridge {mean:+.4f} [" in str(found)


def test_too_few_windows_and_too_many_columns_are_refused(monkeypatch):
    w = windows(30)
    with pytest.raises(ValueError, match="records must be windows enough for three blocks of time, got 1"):
        compare_on_all([w], w.n_windows)
    monkeypatch.setattr(whole_file, "MOST_COLUMNS", 20)
    with pytest.raises(ValueError, match="records must be of at most 20 columns, windows, middle and target together"):
        compare_on_all([windows()], 500)
