import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pitskd.experiments import protocols
from pitskd.experiments.competitors import BASELINE, MARGIN, NO_MIDDLE, PATH, SAME_LOSS, STUDENT, TEACHER
from pitskd.experiments.protocols import EventTask, mackey_glass_task, pm25_tasks, simulation_tasks


def predictions(task, resample, seed=0):
    return {p.method: p.labels for p in task.compete(resample, seed)}


@pytest.fixture(scope="module")
def frame():
    """Two years of hours with a daily rhythm, no gap."""
    hours = pd.date_range("2010-01-01", periods=24 * 730, freq="h", name="time")
    rng = np.random.default_rng(0)
    pm = 80 + 40 * np.sin(np.arange(len(hours)) / 30) + rng.normal(scale=20, size=len(hours))
    weather = {"DEWP": 1.0, "TEMP": 2.0, "PRES": 1000.0, "Iws": 3.0, "Is": 0.0, "Ir": 0.0}
    frame = pd.DataFrame({"pm2.5": pm, **weather}, index=hours)
    return frame.assign(cbwd=rng.choice(["NE", "NW", "SE", "cv"], size=len(hours)))


def test_training_validation_and_test_rows_are_disjoint_and_repeat_with_the_seed(small_task):
    first, again, other = small_task.draw(3), small_task.draw(3), small_task.draw(4)
    assert np.array_equal(first.X, again.X)
    assert not np.array_equal(first.X, other.X)
    rows = {row.tobytes() for row in first.X}
    assert len(rows) == 80
    assert not rows & {row.tobytes() for row in first.X_test}


def test_no_method_reads_the_privileged_part_of_test_windows_but_the_teacher(small_task):
    resample = small_task.draw(0)
    noise = np.random.default_rng(0).normal(size=resample.X_privileged_test.shape)
    before = predictions(small_task, resample)
    after = predictions(small_task, replace(resample, X_privileged_test=noise))
    changed = [method for method in before if not np.array_equal(before[method], after[method])]
    assert changed == [TEACHER]


def test_controls_read_no_privileged_part_at_all(small_task):
    resample = small_task.draw(0)
    noise = np.random.default_rng(0).normal(size=resample.X_privileged.shape)
    before = predictions(small_task, resample)
    after = predictions(small_task, replace(resample, X_privileged=noise))
    for method in (BASELINE, MARGIN, NO_MIDDLE, SAME_LOSS, f"{PATH} 0"):
        assert np.array_equal(before[method], after[method])
    assert not np.array_equal(before[f"{PATH} 1"], after[f"{PATH} 1"])


def test_no_method_reads_test_labels(small_task):
    resample = small_task.draw(0)
    before = predictions(small_task, resample)
    after = predictions(small_task, replace(resample, y_test=1 - resample.y_test))
    assert all(np.array_equal(before[method], after[method]) for method in before)


def test_the_same_loss_control_equals_the_tuned_baseline_and_imitation_0(small_task):
    # Two solvers of one problem: scikit-learn's and ours choose the same penalty and the same labels.
    found = predictions(small_task, small_task.draw(1))
    assert np.array_equal(found[SAME_LOSS], found[BASELINE])
    assert np.array_equal(found[SAME_LOSS], found[f"{PATH} 0"])


def test_cells_count_the_correct_labels_of_each_block(small_task):
    cells, resample = small_task.cells(2), small_task.draw(2)
    student = cells[cells["method"] == STUDENT]
    correct = predictions(small_task, resample, 2)[STUDENT] == resample.y_test
    assert student["n_test"].sum() == len(resample.y_test)
    assert student["sum"].sum() == correct.sum()
    block = student["block"].iloc[1]
    assert student["sum"].iloc[1] == correct[resample.block == block].sum()
    assert student["imitation"].between(0, 1).all()


def test_too_few_windows_are_refused_before_any_training(small_task):
    greedy = EventTask(
        "greedy", small_task.windows, 0.9, small_task.choose, small_task.block, {}, n_train=60, n_validation=40
    )
    with pytest.raises(ValueError, match=r"windows must be enough for 60 \+ 40, got 80"):
        greedy.draw(0)


def test_one_window_a_day_never_overlaps_and_starts_at_every_hour(frame):
    days = protocols._OneADay.of(pm25_tasks(frame)[0].windows, frame, 210)
    starts = days.first[days.draw(np.random.default_rng(0))]
    assert (np.diff(starts) >= days.length).all()
    assert set(starts % 24) == set(range(24))
    assert len(np.unique(starts // 24)) == len(starts)


def test_late_windows_lie_in_the_last_two_fifths_and_share_no_hour_with_training(frame):
    late = pm25_tasks(frame)[1]
    learning, test = late.choose(np.random.default_rng(0))
    origin, border = late.windows.origin, frame.index[int(0.6 * len(frame))].to_datetime64()
    hours = np.timedelta64(1, "h")
    assert (origin[learning] + late.windows.horizon * hours < border).all()
    assert (origin[test] - (late.windows.window - 1) * hours >= border).all()
    assert (np.diff(test) > 0).all()


def test_pm25_tasks_see_eleven_features_and_teach_with_two_hours(frame):
    tasks = pm25_tasks(frame)
    assert [task.name for task in tasks] == ["PM2.5-a", "PM2.5-a late", "PM2.5-b", "PM2.5-b late"]
    a, b = tasks[0].draw(0), tasks[2].draw(0)
    assert (a.X.shape[1:], b.X.shape[1:]) == ((3, 11), (7, 11))
    assert a.X_privileged.shape[1:] == b.X_privileged.shape[1:] == (2, 11)
    assert (len(a.X), a.n_train) == (210, 110)


def test_mackey_glass_windows_do_not_overlap():
    windows = mackey_glass_task(2000).windows
    assert (np.diff(windows.origin) == windows.window + windows.horizon).all()


def test_a_task_of_other_size_or_data_has_another_fingerprint(small_task):
    larger = replace(small_task, n_train=41)
    other = replace(small_task, windows=small_task.windows.take(slice(1, None)))
    assert len({small_task.fingerprint(), larger.fingerprint(), other.fingerprint()}) == 3
    assert small_task.fingerprint() == replace(small_task).fingerprint()


@pytest.mark.parametrize("task", simulation_tasks(), ids=lambda task: task.name)
def test_the_published_accuracies_are_reproduced_on_a_few_repetitions(task):
    # The bar of .02 at 100 repetitions, plus 2.5 standard errors at 12.
    cells = pd.concat([task.cells(seed) for seed in range(12)])
    accuracy = cells.assign(a=cells["sum"] / cells["n_test"]).groupby("method")["a"]
    for method, published in task.published.items():
        assert abs(accuracy.mean()[method] - published) < 0.02 + 2.5 * accuracy.sem()[method]


@pytest.mark.parametrize("number", [1, 3])
def test_simulations_2_and_4_show_no_material_gain(number):
    task = simulation_tasks()[number]
    cells = pd.concat([task.cells(seed) for seed in range(12)])
    accuracy = cells.assign(a=cells["sum"] / cells["n_test"]).pivot(index="seed", columns="method", values="a")
    assert (accuracy[STUDENT] - accuracy[SAME_LOSS]).mean() < task.material


def test_competing_warns_of_nothing(small_task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_task.cells(5)
