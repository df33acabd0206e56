import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from pitskd import (
    DatasetError,
    PrivilegedClassifier,
    cli,
    fetch_beijing_pm25,
    make_windows,
    simulate_mackey_glass,
)
from pitskd.experiments import events, report, run
from pitskd.experiments.competitors import (
    BASELINE,
    MARGIN,
    NO_MIDDLE,
    PERMUTED,
    RULES,
    SAME_LOSS,
    STUDENT,
    TEACHER,
    own_dynamics,
    ridge_on_margin,
)
from pitskd.experiments.events import (
    EVENT_CONTROLS,
    GENERALIZED,
    GENERALIZED_VALIDATED,
    INDICATORS,
    LOG_LOSS,
    VALIDATED,
    FrontDoorTask,
    daily_task,
    daily_windows,
    event_tasks,
)
from pitskd.experiments.run import run_tasks
from pitskd.linear.dynamics import rolled_forecast

TAUGHT = [GENERALIZED, "generalized alone", "chain alone", "dynamics alone", *RULES.values(), STUDENT]


@pytest.fixture(scope="module")
def event(small_task):
    """The small task with all steps of the middle."""
    series = simulate_mackey_glass(1600, noise=0.05, random_state=1)
    return replace(small_task, windows=make_windows(series, 0, window=4, horizon=4, stride=8))


@pytest.fixture(scope="module")
def task(event):
    return FrontDoorTask(event)


@pytest.fixture(scope="module")
def folded(event):
    """The same event without validation rows: all choices by folds."""
    return FrontDoorTask(replace(event, name="folded", n_validation=0))


@pytest.fixture(scope="module")
def hours():
    """Three years of made-up hours: PM2.5 that wanders from day to day, with weather, and gaps in PM2.5."""
    rng = np.random.default_rng(0)
    index = pd.date_range("2010-01-01", periods=24 * 1000, freq="h", name="time")
    slow = np.repeat(rng.normal(size=(1000, 2)).cumsum(axis=0) * 0.3 % 4, 24, axis=0)
    frame = pd.DataFrame({"pm2.5": 60 + 20 * slow[:, 0] + rng.normal(size=len(index))}, index=index)
    weather = {"DEWP": slow[:, 1], "TEMP": slow[:, 1] + 1, "PRES": 1000.0, "Iws": 3.0, "Is": 0.0, "Ir": 0.0}
    frame = frame.assign(**weather, cbwd=rng.choice(["NE", "NW", "SE", "cv"], size=len(index)))
    frame.loc[frame.index[24 * 30 : 24 * 30 + 13], "pm2.5"] = np.nan  # 11 hours are left
    frame.loc[frame.index[24 * 40 : 24 * 40 + 12], "pm2.5"] = np.nan  # 12 hours are left
    return frame


@pytest.fixture(scope="module")
def daily(hours):
    return FrontDoorTask(daily_task(hours, n_train=60))


def predictions(task, resample, seed=0):
    return {p.method: p.logits for p in task.compete(resample, seed)}


# ---------------------------------------------------------------- daily up/down


def days(pm, **changed):
    index = pd.date_range("2014-01-01", periods=24 * len(pm), freq="h", name="time")
    weather = {"DEWP": 1.0, "TEMP": 2.0, "PRES": 3.0, "Iws": 4.0, "Is": 5.0, "Ir": 6.0, "cbwd": "NW"}
    return pd.DataFrame({"pm2.5": np.repeat(np.asarray(pm, dtype=float), 24), **weather} | changed, index)


def test_the_daily_target_is_the_rise_from_the_last_input_day_to_the_target_day():
    windows = daily_windows(days([5, 9, 4, 2, 1, 7, 8]))
    assert windows.y.tolist() == [7 - 4, 8 - 2]
    assert windows.X[:, :, 0].tolist() == [[5, 9, 4], [9, 4, 2]]
    assert windows.X_privileged[:, :, 0].tolist() == [[2, 1], [1, 7]]
    assert windows.feature_names[0] == "pm2.5"


def test_a_day_is_the_mean_of_its_observed_hours_and_wind_is_the_share_of_hours():
    frame = days(range(6))
    frame.loc[frame.index[:6], "pm2.5"] = np.nan
    frame.loc[frame.index[6:12], "pm2.5"] = 9.0
    frame.loc[frame.index[:12], "cbwd"] = None
    frame.loc[frame.index[12:15], "cbwd"] = "SE"
    first = dict(zip(*(daily_windows(frame).feature_names, daily_windows(frame).X[0, 0]), strict=True))
    assert first["pm2.5"] == pytest.approx(9.0 * 6 / 18)
    assert (first["cbwd_SE"], first["cbwd_NW"], first["cbwd_NE"]) == (0.25, 0.75, 0.0)


def test_windows_that_touch_a_day_of_fewer_than_12_observed_hours_are_dropped():
    frame = days(range(20))
    frame.loc[frame.index[24 * 10 : 24 * 10 + 12], "pm2.5"] = np.nan
    assert daily_windows(frame).n_windows == 15
    frame.loc[frame.index[24 * 10 + 12], "pm2.5"] = np.nan
    windows = daily_windows(frame)
    touched = [f"2014-01-{day:02}" for day in range(8, 14)]  # last input days of windows that hold 11 January
    assert windows.n_windows == 15 - 6
    assert not set(touched) & {str(day)[:10] for day in windows.origin}


def test_the_label_says_whether_the_target_day_is_above_the_last_input_day(daily):
    resample, windows = daily.draw(3), daily.event.windows
    assert np.array_equal(resample.y, resample.margin > 0)
    assert np.array_equal(resample.y == 1, resample.margin > resample.threshold)
    rows = daily.event.choose(np.random.default_rng(0))[1]
    # The target day of a window is the last input day of the one three days on, where both are there.
    later = {origin: row for row, origin in enumerate(windows.origin)}
    pairs = [(row, later.get(windows.origin[row] + np.timedelta64(3, "D"))) for row in rows]
    pairs = [(row, after) for row, after in pairs if after is not None]
    assert len(pairs) > 50
    before, after = (windows.X[list(part), -1, 0] for part in zip(*pairs, strict=True))
    np.testing.assert_allclose(windows.y[[row for row, _ in pairs]], after - before)


def test_daily_training_windows_share_no_day_and_end_before_the_border(daily, hours):
    event, offsets = daily.event, set()
    border = hours.index[0] + pd.Timedelta(days=600)
    for seed in range(12):
        learning, test = event.choose(np.random.default_rng(seed))
        first = pd.DatetimeIndex(event.windows.origin) - pd.Timedelta("2D")
        begins = np.sort(first[learning])
        assert (np.diff(begins) >= np.timedelta64(6, "D")).all()
        assert begins[-1] + np.timedelta64(5, "D") < border
        assert (first[test] >= border).all()
        assert np.array_equal(test, np.flatnonzero(first >= border))
        assert not set(learning) & set(test)
        offsets.add(int((begins[0] - hours.index[0].to_datetime64()) / np.timedelta64(1, "D")))
    assert len(offsets) > 3  # each resample begins at its own offset


def test_choices_of_a_task_without_validation_rows_are_made_on_folds_of_its_training_rows(folded):
    resample = folded.draw(0)
    assert len(resample.X) == resample.n_train == 40
    held_out = np.concatenate([rest for _, rest in resample.folds])
    assert sorted(held_out) == list(range(40))
    assert all(not set(train) & set(rest) for train, rest in resample.folds)


# ---------------------------------------------------------------- methods


def test_no_training_row_is_tested_and_a_seed_repeats(task, daily):
    for one in (task, daily):
        first, again = one.draw(1), one.draw(1)
        assert np.array_equal(first.X, again.X)
        assert not {row.tobytes() for row in first.X} & {row.tobytes() for row in first.X_test}


def test_every_method_competes_and_none_but_the_teacher_reads_the_middle_of_test_windows_or_test_labels(task):
    resample = task.draw(0)
    before = predictions(task, resample)
    assert set(before) == {BASELINE, *EVENT_CONTROLS, GENERALIZED_VALIDATED, *TAUGHT, TEACHER}
    noise = np.random.default_rng(0).normal(size=resample.X_privileged_test.shape)
    after = predictions(task, replace(resample, X_privileged_test=noise, y_test=1 - resample.y_test))
    assert [method for method in before if not np.array_equal(before[method], after[method])] == [TEACHER]


def test_baseline_and_controls_read_no_middle_at_all(task):
    resample = task.draw(0)
    noise = np.random.default_rng(0).normal(size=resample.X_privileged.shape)
    before, after = predictions(task, resample), predictions(task, replace(resample, X_privileged=noise))
    same = {method for method in before if np.array_equal(before[method], after[method])}
    assert {BASELINE, VALIDATED, INDICATORS, SAME_LOSS, MARGIN, NO_MIDDLE} <= same
    assert not {STUDENT, PERMUTED, "chain alone", "dynamics alone", "generalized alone"} & same


def test_the_student_and_its_bar_learn_from_the_training_rows_alone(task):
    resample = task.draw(0)
    rest = slice(resample.n_train, None)
    X, y, margin = resample.X.copy(), resample.y.copy(), resample.margin.copy()
    X[rest], y[rest], margin[rest] = 7.0, 1 - y[rest], -margin[rest]
    before, after = predictions(task, resample), predictions(task, replace(resample, X=X, y=y, margin=margin))
    changed = {method for method in before if not np.array_equal(before[method], after[method])}
    assert changed == {VALIDATED, GENERALIZED_VALIDATED, MARGIN, NO_MIDDLE}  # and so see more than the student


def test_where_no_row_validates_nothing_is_chosen_by_validation(folded):
    found = predictions(folded, folded.draw(0))
    assert set(found) == {BASELINE, *EVENT_CONTROLS, *TAUGHT, TEACHER} - {VALIDATED}


def test_the_student_is_the_front_door_and_permuting_refits_it(task):
    resample = task.draw(2)
    found = predictions(task, resample, 5)
    rows = resample.train
    X, Z, y = resample.X[rows], resample.X_privileged[rows], resample.y[rows]
    student = PrivilegedClassifier().fit(X, y, X_privileged=Z)
    np.testing.assert_allclose(found[STUDENT], student.decision_function(resample.X_test), rtol=1e-12)
    order = events.permutation(len(y), 5)
    permuted = PrivilegedClassifier()
    permuted._joined = True  # permuted rows do not tell that the middle follows at once; the control keeps the parts
    permuted.fit(X, y, X_privileged=Z[order])
    np.testing.assert_allclose(found[PERMUTED], permuted.decision_function(resample.X_test), rtol=1e-9)


@pytest.mark.parametrize(("rule", "named"), RULES.items())
def test_another_rule_of_combination_is_the_front_door_of_that_rule(task, rule, named):
    resample = task.draw(2)
    rows = resample.train
    model = PrivilegedClassifier(combine=rule)
    model.fit(resample.X[rows], resample.y[rows], X_privileged=resample.X_privileged[rows])
    found = {p.method: p.logits for p in events.front_door(resample, 0)}
    np.testing.assert_allclose(found[named], model.decision_function(resample.X_test), rtol=1e-9)


def test_the_same_loss_control_is_logistic_regression_where_all_strengths_are_alike(task, monkeypatch):
    resample = task.draw(0)
    monkeypatch.setattr("pitskd._candidates.np.logspace", lambda *_: np.array([2.0, 2.0]))
    monkeypatch.setattr("pitskd._candidates.Trial.temper", lambda *_: 1.0)
    said = events.averaged_logistic(resample)
    X = resample.X[resample.train].reshape(resample.n_train, -1)
    model = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000)
    mean, scale = X.mean(axis=0), X.std(axis=0)
    model.fit((X - mean) / scale, resample.y[resample.train])
    expected = model.decision_function((resample.X_test.reshape(len(said), -1) - mean) / scale)
    np.testing.assert_allclose(said, expected, atol=1e-5)


def test_own_dynamics_of_a_rise_are_counted_from_the_last_input(daily):
    resample = daily.draw(0)
    rolled, _ = next(events.own_dynamics.__globals__["_rolled_margins"](resample, np.arange(60), 3))
    level = rolled_forecast(resample.X, resample.X, horizon=3, order=1, penalty=1e-4)[:, 0]
    np.testing.assert_allclose(rolled, level - resample.X[:, -1, 0])


def test_controls_by_folds_ignore_the_order_of_test_rows_and_the_unit_of_the_margin(folded):
    resample = folded.draw(0)
    backwards = replace(resample, X_test=resample.X_test[::-1])
    np.testing.assert_allclose(own_dynamics(backwards, 4), own_dynamics(resample, 4)[::-1], atol=1e-10)
    scaled = replace(resample, margin=1000 * resample.margin)
    np.testing.assert_allclose(ridge_on_margin(scaled), ridge_on_margin(resample), atol=1e-6)


def test_competing_warns_of_nothing(task, daily):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task.cells(1)
        daily.cells(1)


# ---------------------------------------------------------------- cells, runs, report


@pytest.fixture(scope="module")
def results(task, folded, tmp_path_factory):
    return run_tasks([task, folded], range(2), tmp_path_factory.mktemp("runs"), progress=False)


def test_cells_hold_accuracy_and_log_loss_of_the_logits(task):
    cells, resample = task.cells(2), task.draw(2)
    sums = cells.groupby("method")[["sum", LOG_LOSS]].sum()
    for method, logits in predictions(task, resample, 2).items():
        assert sums.loc[method, "sum"] == ((logits > 0) == resample.y_test).sum()
        chance = 1 / (1 + np.exp(-np.where(resample.y_test == 1, logits, -logits)))
        assert sums.loc[method, LOG_LOSS] == pytest.approx(-np.log(chance).sum())


def test_a_rerun_computes_nothing_and_gives_the_same(task, tmp_path, monkeypatch):
    first = run_tasks([task], range(2), tmp_path, progress=False)
    monkeypatch.setattr(run, "_score", lambda *_: pytest.fail("computed again"))
    pd.testing.assert_frame_equal(run_tasks([task], range(2), tmp_path, progress=False), first)


def test_an_event_of_the_published_protocol_is_another_task(task, event, folded):
    assert len({task.fingerprint(), event.fingerprint(), folded.fingerprint()}) == 3


def test_the_report_judges_accuracy_and_log_loss_and_marks_every_negative_difference(results, task, folded, tmp_path):
    table = report.write_report({"events": report.Part([task, folded], results)}, tmp_path, {})
    surprise = pd.read_csv(tmp_path / "table-events-log-loss.csv")
    text = (tmp_path / "report.md").read_text()
    means = results.groupby(["task", "method"])[["sum", LOG_LOSS, "n_test"]].sum()
    for row in (0, 1):
        sums = means.loc[table["task"][row], STUDENT]
        assert table[STUDENT][row] == pytest.approx(sums["sum"] / sums["n_test"])
        assert surprise[STUDENT][row] == pytest.approx(-sums[LOG_LOSS] / sums["n_test"])  # larger is better
    against = text[text.index("### Accuracy: student minus each opponent") : text.index("### Accuracy: every method")]
    for method in (BASELINE, *EVENT_CONTROLS, GENERALIZED):
        line = next(line for line in against.splitlines() if line.startswith(f"| {method} |"))
        for difference, cell in zip(100 * (table[STUDENT] - table[method]), line.split("|")[2:4], strict=True):
            assert (cell.strip() == "-") == np.isnan(difference)
            if not np.isnan(difference):
                assert float(cell.replace("*", "").split()[0]) == pytest.approx(difference, abs=0.051)
                assert cell.strip().startswith("**") == (difference < 0)
    assert "nan" not in text
    assert (tmp_path / "events-differences.png").stat().st_size > 5000


def test_a_candidate_that_some_resamples_leave_out_has_no_figure_and_stops_no_report(results, task, folded, tmp_path):
    gone = (results["method"] == "dynamics alone") & (results["seed"] == 1) & (results["task"] == "folded")
    table = report.write_report({"events": report.Part([task, folded], results[~gone])}, tmp_path, {})
    assert table["dynamics alone"].isna().tolist() == [False, True]
    line = next(line for line in (tmp_path / "report.md").read_text().splitlines() if "| dynamics alone |" in line)
    assert line.endswith("| - |")


@pytest.fixture
def no_beijing(task, monkeypatch):
    def missing(*, data_home=None):
        raise DatasetError("beijing_us_embassy.csv is not here. Put it there.")

    monkeypatch.setattr("pitskd.datasets.fetch_beijing_pm25", missing)
    monkeypatch.setattr(events, "event_tasks", lambda frame=None: [task])


def test_the_command_runs_what_it_can_and_says_what_was_left_out(no_beijing, tmp_path):
    options = ["--repeats", "2", "--seed", "4", "--jobs", "1", "--out", str(tmp_path)]
    done = CliRunner().invoke(cli.app, ["reproduce", "events", *options])
    assert done.exit_code == 0, done.output
    assert "events: 1 tasks x 2 resamples" in done.output
    assert "left out: events, PM2.5 and daily up/down. beijing_us_embassy.csv is not here" in done.output
    assert set(pd.read_csv(tmp_path / "results-events.csv")["seed"]) == {4, 5}
    assert "**Left out: PM2.5 and daily up/down.**" in (tmp_path / "report.md").read_text()


def test_the_events_are_those_of_protocol_c_with_all_hours_of_the_middle(hours):
    tasks = {task.name: task.event.windows for task in event_tasks(hours)}
    assert list(tasks) == [
        *("PM2.5-a", "PM2.5-a late", "PM2.5-b", "PM2.5-b late", "daily up/down"),
        *("Mackey-Glass", "Mackey-Glass, L2 from 1e-8"),
    ]
    steps = {name: windows.privileged_steps.tolist() for name, windows in tasks.items()}
    assert steps["PM2.5-a"] == list(range(1, 12))
    assert steps["PM2.5-b late"] == list(range(1, 8))
    assert steps["daily up/down"] == [1, 2]
    assert steps["Mackey-Glass"] == [1, 2, 3]


def test_real_days_suffice_for_110_training_windows():
    home = os.environ.get("PITSKD_DATA_HOME")
    if not home or not (Path(home) / "pm25/beijing_us_embassy.csv").is_file():
        pytest.skip("set PITSKD_DATA_HOME to a folder that holds pm25/beijing_us_embassy.csv")
    task = daily_task(fetch_beijing_pm25(data_home=home))
    resample = task.draw(0)
    assert resample.X.shape == (110, 3, 11)
    assert len(resample.X_test) > 600
    assert 0.4 < resample.y_test.mean() < 0.6
