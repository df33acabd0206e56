import os
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, RepeatedKFold
from sklearn.preprocessing import RobustScaler
from typer.testing import CliRunner

from pitskd import DatasetError, cli, fetch_five_cities_pm25, five_cities_windows
from pitskd._random import stage_generator
from pitskd.experiments import five_cities, report, run
from pitskd.experiments.competitors import BASELINE, PERMUTED, RULES, SAME_LOSS, STUDENT, TEACHER
from pitskd.experiments.five_cities import (
    DISTILL_SEQ,
    EVIDENCE,
    INDICATORS,
    LEAST_SQUARES,
    LUPTS,
    LUPTS_RIDGE,
    STANDARDISED,
    STATIONARY,
    Chain,
    distill_seq,
    evidence_ridge,
    five_cities_tasks,
    ridge_methods,
)
from pitskd.experiments.run import run_tasks
from pitskd.privileged import PrivilegedRegressor

PLAIN = [BASELINE, SAME_LOSS, STANDARDISED, EVIDENCE, LEAST_SQUARES]
BASELINES = [*PLAIN, LUPTS, STATIONARY, LUPTS_RIDGE, DISTILL_SEQ]
STUDY = ["generalized alone", "chain alone", "dynamics alone", *RULES.values()]


@pytest.fixture
def no_ours(monkeypatch):
    monkeypatch.setattr(five_cities, "our_methods", lambda draw, seed: iter(()))


def predictions(task, resample, seed=0):
    return {p.method: p.labels for p in task.compete(resample, seed)}


def one_hot_hours(rng, n_hours=4, n=40):
    """Hours with a one-hot block, which is collinear with the intercept, and a constant column."""
    hours = rng.normal(size=(n_hours, n, 7))
    hours[..., :3] = np.eye(3)[rng.integers(0, 3, size=(n_hours, n))]
    hours[..., 3] = 2.0
    return hours


# ---------------------------------------------------------------- published methods from their equations


def test_lupts_is_the_product_of_least_squares_links():
    rng = np.random.default_rng(0)
    hours, X_test = one_hot_hours(rng), one_hot_hours(rng, 1, 9)[0]
    y = hours[-1] @ rng.normal(size=7) + rng.normal(size=40)
    coef, intercept = Chain(hours).rules(y)
    state = X_test
    for before, after in zip(hours, [*hours[1:], y[:, None]], strict=False):
        mean, target = before.mean(axis=0), after.mean(axis=0)
        state = (state - mean) @ np.linalg.lstsq(before - mean, after - target, rcond=None)[0] + target
    np.testing.assert_allclose(X_test @ coef[0] + intercept[0], state[:, 0], rtol=1e-10, atol=1e-10)


def test_lupts_with_ridge_1_is_a_loop_over_scikit_learn():
    rng = np.random.default_rng(1)
    hours = one_hot_hours(rng)
    y = rng.normal(size=40)
    coef, intercept = Chain(hours).rules(y, penalty=1.0)
    state = hours[0]
    for before, after in zip(hours, [*hours[1:], y], strict=True):
        state = Ridge(alpha=1.0).fit(before, after).predict(state)
    np.testing.assert_allclose(hours[0] @ coef[0] + intercept[0], state, rtol=1e-10, atol=1e-10)


def test_the_rule_from_a_later_hour_is_the_chain_that_begins_there():
    rng = np.random.default_rng(2)
    hours, y = one_hot_hours(rng), rng.normal(size=40)
    np.testing.assert_allclose(Chain(hours).rules(y)[0][1:], Chain(hours[1:]).rules(y)[0], atol=1e-12)


def test_least_squares_is_that_of_scikit_learn():
    rng = np.random.default_rng(3)
    hours, y = one_hot_hours(rng), rng.normal(size=40)
    coef, intercept = Chain(hours).regress(0, y)
    expected = LinearRegression().fit(hours[0], y).predict(hours[0])
    np.testing.assert_allclose(hours[0] @ coef + intercept, expected, atol=1e-12)


def test_stationary_lupts_is_exact_on_a_stationary_chain_without_noise():
    # 5 rows are too few for links of 6 features, but not all transitions of 8 hours together.
    rng = np.random.default_rng(4)
    link, shift = 0.9 * np.linalg.qr(rng.normal(size=(6, 6)))[0], rng.normal(size=6)
    hours = [rng.normal(size=(30, 6))]
    for _ in range(7):
        hours.append(hours[-1] @ link + shift)
    hours = np.array(hours)
    y = hours[-1, :, 0] + 3.0
    # The last link has to be known from 5 rows as well: the target is one of the features.
    learn = Chain(np.concatenate([hours[:, :7]]))
    coef, intercept = learn.stationary_rule(y[:7])
    np.testing.assert_allclose(hours[0] @ coef + intercept, y, atol=1e-8)


def test_distill_seq_without_imitation_heads_for_least_squares_and_reads_no_privileged_hour():
    rng = np.random.default_rng(5)
    hours = rng.normal(size=(3, 60, 4))
    y = 50 + 20 * (hours[0] @ [1.0, -1.0, 0.5, 0.0] + rng.normal(size=60))
    coef, intercept = Chain(hours).regress(0, y)
    said = distill_seq(Chain(hours), y, hours[0], imitations=[0.0], learning_rate=0.05)[0]
    np.testing.assert_allclose(said, hours[0] @ coef + intercept, atol=0.1)  # y has a spread of 35
    other = np.concatenate([hours[:1], rng.normal(size=(2, 60, 4))])
    np.testing.assert_array_equal(said, distill_seq(Chain(other), y, hours[0], imitations=[0.0], learning_rate=0.05)[0])


def test_distill_seq_imitates_lupts_on_the_privileged_hours():
    rng = np.random.default_rng(6)
    hours, y = rng.normal(size=(3, 60, 4)), rng.normal(size=60)
    coef, intercept = Chain(hours[1:]).rules(y)
    soft = hours[1] @ coef[0] + intercept[0]
    w, b = Chain(hours).regress(0, soft)
    said = distill_seq(Chain(hours), y, hours[0], imitations=[1.0], learning_rate=0.05)[0]
    np.testing.assert_allclose(said, hours[0] @ w + b, atol=0.01)


def test_distill_seq_chooses_an_imitation_by_its_hold_out():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(100, 3))
    z = X + 0.1 * rng.normal(size=X.shape)
    y = z[:, 0] + 3.0 * rng.normal(size=100)
    hours = np.array([X, z])
    values, choices = distill_seq(Chain(hours), y, X)
    assert 0.0 <= choices["imitation"] <= 1.0
    np.testing.assert_allclose(values, distill_seq(Chain(hours), y, X, imitations=[choices["imitation"]])[0])


def test_the_penalty_by_evidence_has_the_largest_marginal_likelihood():
    rng = np.random.default_rng(8)
    X = rng.normal(size=(30, 4)) * [1.0, 2.0, 0.5, 1.0]
    y = X @ [0.3, 0.2, 1.0, 0.0] + rng.normal(size=30)
    chosen = evidence_ridge(X, y, X)[1]["penalty"]
    # An orthonormal basis of the contrasts takes the free intercept out.
    contrasts = np.linalg.svd(np.eye(30) - 1 / 30)[0][:, :29]

    def evidence(penalty):
        K = contrasts.T @ (np.eye(30) + X @ X.T / penalty) @ contrasts
        v = contrasts.T @ y
        scale = v @ np.linalg.solve(K, v) / 29
        return multivariate_normal(np.zeros(29), scale * K).logpdf(v)

    grid = five_cities.EVIDENCE_PENALTIES
    assert chosen == grid[np.argmax([evidence(penalty) for penalty in grid])]
    assert grid[0] < chosen < grid[-1]


def test_ridge_by_evidence_is_scikit_learns_ridge_of_its_penalty():
    rng = np.random.default_rng(9)
    X, X_test = rng.normal(size=(30, 50)), rng.normal(size=(5, 50))  # more features than rows, as the teacher has
    y = X[:, 0] + rng.normal(size=30)
    values, choices = evidence_ridge(X, y, X_test)
    np.testing.assert_allclose(values, Ridge(alpha=choices["penalty"]).fit(X, y).predict(X_test), atol=1e-10)


def test_the_bar_is_scikit_learns_grid_search_over_ridge():
    rng = np.random.default_rng(10)
    X, y = rng.normal(size=(30, 5)), rng.normal(size=30)
    bar = next(ridge_methods(X, y, X, 0))
    seed = int(stage_generator(0, "folds").integers(2**31))
    folds = RepeatedKFold(n_splits=5, n_repeats=2, random_state=seed)
    grid = {"alpha": five_cities.PENALTIES}
    search = GridSearchCV(Ridge(), grid, scoring="neg_mean_squared_error", cv=folds).fit(X, y)
    assert bar.choices["penalty"] == search.best_params_["alpha"]
    np.testing.assert_allclose(bar.labels, search.predict(X), atol=1e-12)


def test_averaging_strengths_that_are_alike_changes_nothing(monkeypatch):
    monkeypatch.setattr(five_cities, "PENALTIES", np.array([3.0, 3.0 + 1e-9]))
    rng = np.random.default_rng(10)
    X, y = rng.normal(size=(30, 3)), rng.normal(size=30)
    bar, averaged, _ = ridge_methods(X, y, X, 0)
    np.testing.assert_allclose(bar.labels, averaged.labels, rtol=1e-8)


# ---------------------------------------------------------------- draws


def test_a_draw_holds_no_test_sequence_and_leaves_one_out_between(city_tasks, city):
    task = city_tasks[3]
    windows = five_cities_windows(city, horizon=5)
    assert task.learn.n_windows == int(0.8 * windows.n_windows)
    assert task.test.n_windows == windows.n_windows - task.learn.n_windows - 1
    assert task.learn.origin.max() + pd.Timedelta("5h") < task.test.origin.min()
    first, again, other = task.draw(1), task.draw(1), task.draw(2)
    assert np.array_equal(first.X, again.X)
    assert not np.array_equal(first.y, other.y)
    assert first.hours.shape == (5, 60, 15)
    assert len(np.unique(first.y)) == 60  # without replacement: targets are continuous


def test_a_smaller_draw_is_part_of_a_larger_one(city_tasks):
    small, large = city_tasks[2].draw(3), city_tasks[3].draw(3)
    assert np.array_equal(small.y, large.y[:20])


def test_training_arrays_do_not_depend_on_test_sequences(city_tasks):
    task = city_tasks[1]
    noise = np.random.default_rng(0).normal(size=task.test.X.shape)
    changed = replace(task.test, X=noise, X_privileged=task.test.X_privileged + 5, y=task.test.y[::-1])
    before, after = task.draw(0), replace(task, test=changed).draw(0)
    for name in ("X", "X_privileged", "y"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
    assert not np.array_equal(before.X_test, after.X_test)


def test_scaling_is_robust_scaling_by_the_first_hour_and_leaves_one_hots(city_tasks):
    task = city_tasks[1]
    order = [int(np.flatnonzero(task.learn.y == y)[0]) for y in task.draw(0).y]
    raw, raw_test = task.learn.take(order), task.test
    scaler = RobustScaler().fit(raw.X[:, 0, 9:])
    drawn = task.draw(0)
    for steps, values in ((raw.X, drawn.X), (raw.X_privileged, drawn.X_privileged)):
        for step in range(steps.shape[1]):
            expected = scaler.transform(steps[:, step, 9:])
            observed = ~np.isnan(expected)
            np.testing.assert_allclose(values[:, step, 9:][observed], expected[observed], atol=1e-12)
            np.testing.assert_allclose(values[:, step, 9:], np.where(observed, expected, np.nanmean(expected, axis=0)))
    known = ~np.isnan(raw_test.X[:, 0, :9])
    np.testing.assert_array_equal(drawn.X_test[:, 0, :9][known], raw_test.X[:, 0, :9][known])


def test_missing_values_of_test_sequences_get_the_means_of_the_draw(city_tasks):
    task = city_tasks[1]
    missing = np.isnan(task.test.X[:, 0])
    assert missing[:, :9].any()
    assert missing[:, 9:].any()
    drawn = task.draw(0)
    for column in np.flatnonzero(missing.any(axis=0)):
        # Imputing its own mean leaves the mean of what was observed as it was.
        filled = drawn.X_test[missing[:, column], 0, column]
        np.testing.assert_allclose(filled, drawn.X[:, 0, column].mean(), atol=1e-12)


def test_a_column_that_was_never_observed_is_0_and_a_constant_one_keeps_its_unit(city):
    frame = city.assign(HUMI=np.nan, PRES=1000.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = five_cities_tasks(frame, "utopia", horizons=(3,), sizes=(20,))[0].draw(0)
    assert not drawn.hours[..., 10].any()
    assert not drawn.hours[..., 11].any()


def test_another_target_is_scanned_predicted_and_stands_last(city):
    holes = city.assign(TEMP=city["TEMP"].where(np.arange(len(city)) % 97 != 5))
    task = five_cities_tasks(holes, "utopia", target="TEMP", horizons=(4,), sizes=(20,))[0]
    assert task.name == "utopia TEMP T=4 n=20"
    temperature = holes["TEMP"]
    for part in (task.learn, task.test):
        assert np.array_equal(part.y, temperature[part.origin + pd.Timedelta("4h")])
        assert np.array_equal(part.X[:, 0, -1], temperature[part.origin])
        pm = holes.loc[part.origin, "PM_US Post"].to_numpy()
        assert any(np.array_equal(part.X[:, 0, column], pm, equal_nan=True) for column in range(9, 14))
    missing = np.isnan(holes.loc[task.learn.origin, "PM_US Post"])
    assert missing.any()  # a gap in PM costs no sequence of temperatures
    assert np.isfinite(task.draw(0).hours).all()


# ---------------------------------------------------------------- competition


def test_every_method_is_there_and_none_reads_test_targets_or_privileged_test_hours(city_tasks):
    task = city_tasks[0]
    resample = task.draw(0)
    before = predictions(task, resample)
    assert list(before) == [*BASELINES, STUDENT, INDICATORS, *STUDY, PERMUTED, TEACHER]
    noise = np.random.default_rng(0).normal(size=resample.X_privileged_test.shape)
    after = predictions(task, replace(resample, X_privileged_test=noise, y_test=-resample.y_test))
    assert [method for method in before if not np.array_equal(before[method], after[method])] == [TEACHER]


def test_controls_read_no_privileged_hour(city_tasks):
    task = city_tasks[0]
    resample = task.draw(0)
    noise = np.random.default_rng(0).normal(size=resample.X_privileged.shape)
    before, after = predictions(task, resample), predictions(task, replace(resample, X_privileged=noise))
    same = [method for method in before if np.array_equal(before[method], after[method])]
    assert same == [*PLAIN, INDICATORS]


def test_cells_add_up_to_r2(city_tasks, no_ours):
    task = city_tasks[1]
    cells, resample = task.cells(2), task.draw(2)
    assert set(cells["block"]) == set(resample.block)
    found = predictions(task, resample, 2)
    sums = cells.groupby("method")[["sum", "n_test"]].sum()
    for method, values in found.items():
        expected = r2_score(resample.y_test, values)
        assert sums.loc[method, "sum"] / sums.loc[method, "n_test"] == pytest.approx(expected, abs=1e-12)
    assert (sums["n_test"] == len(resample.y_test)).all()


@pytest.fixture
def fits(monkeypatch):
    """Every front door that was fitted, with the privileged hours it was given."""
    seen = []

    class Recorder(PrivilegedRegressor):
        def fit(self, X, y, *, X_privileged):
            seen.append((self, X_privileged))
            return super().fit(X, y, X_privileged=X_privileged)

    monkeypatch.setattr(five_cities, "PrivilegedRegressor", Recorder)
    return seen


def test_the_front_door_is_fitted_once_and_once_more_with_its_privileged_rows_permuted(city_tasks, fits):
    task = city_tasks[0]
    resample = task.draw(0)
    predictions(task, resample)
    (_, straight), (_, permuted) = fits
    assert straight.shape == (20, 2, 15)
    assert np.array_equal(straight, resample.X_privileged)
    assert not np.array_equal(permuted, straight)
    assert sorted(row.tobytes() for row in permuted) == sorted(row.tobytes() for row in straight)


def test_permuting_refits_the_whole_front_door_as_far_as_it_counts(city_tasks, fits):
    resample = city_tasks[3].draw(0)
    permuted = {p.method: p.labels for p in five_cities.our_methods(resample, 5)}[PERMUTED]
    whole = PrivilegedRegressor()
    whole._joined = True  # permuted rows do not tell that the middle follows at once; the control keeps the parts
    whole.fit(resample.X, resample.y, X_privileged=fits[1][1])
    np.testing.assert_allclose(permuted, whole.predict(resample.X_test), rtol=1e-12)


@pytest.mark.parametrize(("rule", "named"), RULES.items())
def test_another_rule_of_combination_is_the_front_door_of_that_rule(city_tasks, rule, named):
    resample = city_tasks[3].draw(1)
    found = {p.method: p.labels for p in five_cities.our_methods(resample, 0)}
    model = PrivilegedRegressor(combine=rule).fit(resample.X, resample.y, X_privileged=resample.X_privileged)
    np.testing.assert_allclose(found[named], model.predict(resample.X_test), rtol=1e-9)


def test_a_candidate_alone_is_the_front_door_with_that_candidate(city_tasks):
    resample = city_tasks[3].draw(1)
    found = {p.method: p.labels for p in five_cities.our_methods(resample, 0)}
    for candidate in ("chain", "dynamics", "generalized", "baseline"):
        model = PrivilegedRegressor(candidates=candidate)
        model.fit(resample.X, resample.y, X_privileged=resample.X_privileged)
        named = INDICATORS if candidate == "baseline" else f"{candidate} alone"
        np.testing.assert_allclose(found[named], model.predict(resample.X_test), rtol=1e-9)


def test_tasks_of_other_size_horizon_or_data_have_other_fingerprints(city, city_tasks):
    other = five_cities_tasks(city.assign(TEMP=city["TEMP"] + 1.0), "utopia", horizons=(3, 5), sizes=(20, 60))
    assert len({task.fingerprint() for task in (*city_tasks, *other)}) == 8
    again = five_cities_tasks(city, "utopia", horizons=(3,), sizes=(20,))[0]
    assert again.fingerprint() == city_tasks[0].fingerprint()


def test_arguments_are_checked_before_any_work(city):
    with pytest.raises(ValueError, match=r"target must be 'PM_US Post' or 'TEMP' or .* got precipitation"):
        five_cities_tasks(city, "utopia", target="precipitation")
    with pytest.raises(ValueError, match="horizons must be an integer of at least 2, got 1"):
        five_cities_tasks(city, "utopia", horizons=(1,))
    with pytest.raises(ValueError, match=r"sizes must be at most [0-9]+, the training sequences of utopia at T = 5"):
        five_cities_tasks(city, "utopia", horizons=(5,), sizes=(400,))
    with pytest.raises(ValueError, match="sizes must be an integer of at least 10, got 3"):
        five_cities_tasks(city, "utopia", horizons=(5,), sizes=(3,))
    with pytest.raises(ValueError, match="target must be a column that varies in the test part, got TEMP"):
        five_cities_tasks(city.assign(TEMP=1.0), "utopia", target="TEMP", horizons=(5,), sizes=(20,))


# ---------------------------------------------------------------- runs, report, command


def test_a_rerun_computes_nothing_and_gives_the_same(city_tasks, no_ours, tmp_path, monkeypatch):
    first = run_tasks(city_tasks, range(2), tmp_path, progress=False)
    monkeypatch.setattr(run, "_score", lambda *_: pytest.fail("computed again"))
    pd.testing.assert_frame_equal(run_tasks(city_tasks, range(2), tmp_path, progress=False), first)


@pytest.fixture
def student_results(city_tasks, no_ours):
    """Cells with a student that is .1 above the bar, but .1 below it in the last task, in sums per window."""
    results = pd.concat([task.cells(seed) for task in city_tasks for seed in range(3)])
    bar = results[results["method"] == BASELINE]
    sign = np.where(bar["task"] == city_tasks[-1].name, -1, 1) * (1 + 0.01 * bar["seed"])
    student = bar.assign(method=STUDENT, sum=bar["sum"] + 0.1 * sign * bar["n_test"])
    permuted = bar.assign(method=PERMUTED, sum=bar["sum"] - 0.3 * bar["n_test"])
    average = bar.assign(method="average of all three", sum=bar["sum"] + 0.02 * bar["n_test"])
    return pd.concat([results, student, permuted, average], ignore_index=True)


def test_the_report_shows_every_cell_and_lists_the_negative_ones(student_results, city_tasks, tmp_path):
    part = report.Part(city_tasks, student_results, {"atlantis": "It sank."})
    table = report.write_report({"five-cities": part}, tmp_path, {})
    assert table["difference"].round(3).tolist() == [0.101, 0.101, 0.101, -0.101]
    text = (tmp_path / "report.md").read_text()
    assert "The student is below tuned ridge in 1 of 4 cells." in text
    assert "* utopia T=5 n=60: -0.1010 [" in text
    assert "| **utopia T=5 n=60** |" in text
    assert "| utopia T=5 n=20 |" in text
    assert "| student | 3 / 4 (75%) | +0.0505 | +0.0505 | -0.1010 | utopia T=5 n=60 |" in text
    assert "student against | cells above | mean | mean at T = 3, n = 20 | mean at T = 3, n = 60 |" in text
    assert "**Left out: atlantis.** It sank." in text
    assert (tmp_path / "five-cities-differences.png").stat().st_size > 5000
    study = text[text.index("### The study behind the default") : text.index("### Every cell")]
    assert "| **mean of chain and dynamics (the default, the student)** | 3 / 4 (75%) | +0.0505 |" in study
    assert "| average of all three | 4 / 4 (100%) | +0.0200 |" in study
    assert "average of all three" not in text.replace(study, "")
    assert "average of all three" in table
    means = table.groupby(["T", "n"])[LUPTS].mean()
    assert f"| 3 | 20 | {table[LEAST_SQUARES][0]:.3f} |" in text
    assert f"{means[5, 60]:.3f}" in text


def test_the_summary_agrees_with_the_cells(student_results, city_tasks):
    table = report.summarise(student_results, city_tasks)
    assert table["T"].tolist() == [3, 3, 5, 5]
    lupts = student_results[student_results["method"] == LUPTS].groupby("task", sort=False)[["sum", "n_test"]].sum()
    np.testing.assert_allclose(table[LUPTS], lupts["sum"] / lupts["n_test"])
    np.testing.assert_allclose(table["difference"], table[STUDENT] - table[BASELINE])
    assert table["verdict"].iloc[3].startswith("loss")


def test_without_a_student_the_report_has_the_published_methods(city_tasks, no_ours, tmp_path):
    results = pd.concat([task.cells(seed) for task in city_tasks[:2] for seed in range(2)], ignore_index=True)
    table = report.write_report({"five-cities": report.Part(city_tasks[:2], results)}, tmp_path, {})
    assert table[STUDENT].isna().all()
    text = (tmp_path / "report.md").read_text()
    assert "No student is registered." in text
    assert f"| {LUPTS} |" in text
    assert "nan" not in text


@pytest.fixture
def two_cities(city, no_ours, monkeypatch):
    """Two cities are at hand, the others can not be had; two small tasks each."""

    def fetch(name, *, data_home=None):
        if name not in ("beijing", "shanghai"):
            raise DatasetError(f"{name}.csv is not here. Put it there.")
        return city

    monkeypatch.setattr("pitskd.datasets.fetch_five_cities_pm25", fetch)
    small = partial(five_cities_tasks, horizons=(3,), sizes=(20, 60))
    monkeypatch.setattr(five_cities, "five_cities_tasks", small)


def reproduce(*arguments):
    return CliRunner().invoke(cli.app, ["reproduce", *map(str, arguments)])


def test_the_command_runs_the_cities_at_hand_and_reports_the_others(two_cities, tmp_path):
    done = reproduce("five-cities", "--draws", 2, "--jobs", 1, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "five-cities: 4 tasks x 2 resamples" in done.output
    assert "left out: five-cities, chengdu. chengdu.csv is not here. Put it there." in done.output
    text = (tmp_path / "report.md").read_text()
    assert "**Left out: guangzhou.**" in text
    assert "| shanghai T=3 n=60 |" in text


def test_cities_seeds_and_target_are_those_asked_for(two_cities, tmp_path):
    options = ["--draws", 2, "--seed", 7, "--jobs", 1, "--out", tmp_path]
    done = reproduce("five-cities", "--cities", "Shanghai, shanghai", "--target", "TEMP", *options)
    assert done.exit_code == 0, done.output
    results = pd.read_csv(tmp_path / "results-five-cities-TEMP.csv")
    assert set(results["task"]) == {"shanghai TEMP T=3 n=20", "shanghai TEMP T=3 n=60"}
    assert set(results["seed"]) == {7, 8}
    assert "left out" not in done.output


def test_cities_that_can_not_be_had_are_an_error_where_none_is_left(two_cities, tmp_path):
    done = reproduce("five-cities", "--cities", "chengdu", "--draws", 2, "--out", tmp_path)
    assert done.exit_code == 1
    assert "left out: five-cities. chengdu.csv is not here. Put it there." in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cities", "beijing,london"], "london is not among the cities"),
        (["--cities", " , "], "no city is named"),
        (["--target", "cbwd"], "cbwd is no column to forecast"),
        (["--draws", "1"], "--draws"),
        (["--jobs", "0"], "0 is neither -1"),
        (["--repeats", "5"], "No such option"),
    ],
)
def test_bad_options_end_with_code_2_before_any_work(options, message, tmp_path):
    done = reproduce("five-cities", *options, "--out", tmp_path / "new")
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())
    assert not (tmp_path / "new").exists()


def test_options_before_the_part_are_refused(tmp_path):
    done = reproduce("--out", tmp_path / "new", "five-cities")
    assert done.exit_code == 2
    assert not (tmp_path / "new").exists()


def test_beside_the_other_parts_fewer_draws_are_taken(two_cities, tmp_path, monkeypatch):
    monkeypatch.setattr(cli.reproduction, "_DRAWS_BESIDE_OTHERS", 2)
    city = cli.reproduction._five_cities, ""
    monkeypatch.setattr(cli.reproduction, "_PARTS", {"five-cities": city, "again": city})
    done = reproduce("--repeats", 3, "--jobs", 1, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "five-cities: 4 tasks x 2 resamples" in done.output
    assert "again: 4 tasks x 3 resamples" in done.output
    shown = " ".join(reproduce("--help").output.replace("│", " ").split())
    assert "five-cities and events take at most 20 resamples per task" in shown


# ---------------------------------------------------------------- real data


@pytest.mark.parametrize(("city_name", "low", "high"), [("beijing", 0.55, 0.66), ("shanghai", 0.40, 0.70)])
def test_published_methods_are_in_their_published_neighbourhood_on_real_data(city_name, low, high, no_ours):
    home = os.environ.get("PITSKD_DATA_HOME")
    if not home or not (Path(home) / f"pm25/{city_name}.csv").is_file():
        pytest.skip(f"set PITSKD_DATA_HOME to a folder that holds pm25/{city_name}.csv")
    frame = fetch_five_cities_pm25(city_name, data_home=home)
    task = five_cities_tasks(frame, city_name, horizons=(5,), sizes=(100,))[0]
    cells = pd.concat([task.cells(seed) for seed in range(10)])
    sums = cells.groupby("method")[["sum", "n_test"]].sum()
    r2 = sums["sum"] / sums["n_test"]
    assert r2[[BASELINE, LUPTS, LUPTS_RIDGE, DISTILL_SEQ]].between(low, high).all()
    assert r2[LEAST_SQUARES] < r2[BASELINE] < r2[LUPTS_RIDGE] < r2[TEACHER]
