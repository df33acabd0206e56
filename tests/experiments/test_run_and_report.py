import os
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pitskd import DatasetError, cli, make_windows
from pitskd.experiments import displays, report, run
from pitskd.experiments.competitors import BASELINE, PATH, STUDENT, TEACHER
from pitskd.experiments.protocols import simulation_tasks
from pitskd.experiments.report import Part
from pitskd.experiments.run import run_tasks

matplotlib.use("agg")


@pytest.fixture(scope="module")
def results(small_task, tmp_path_factory):
    return run_tasks([small_task], range(4), tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def small_simulation():
    task = simulation_tasks()[0]
    return type(task)(task.name, task.simulate, task.published, n_train=60, n_test=500)


def test_a_run_holds_the_cells_of_every_seed(small_task, results):
    assert sorted(results["seed"].unique()) == [0, 1, 2, 3]
    pd.testing.assert_frame_equal(
        results[results["seed"] == 2].reset_index(drop=True), small_task.cells(2), check_dtype=False
    )


def test_results_do_not_depend_on_the_number_of_processes(small_simulation, tmp_path):
    one = run_tasks([small_simulation], range(3), tmp_path / "one", n_jobs=1, progress=False)
    two = run_tasks([small_simulation], range(3), tmp_path / "two", n_jobs=2, progress=False)
    pd.testing.assert_frame_equal(one, two)


def test_a_rerun_computes_only_what_is_missing(small_simulation, tmp_path, monkeypatch):
    first = run_tasks([small_simulation], range(2), tmp_path, progress=False)
    computed = []
    score = run._score
    monkeypatch.setattr(run, "_score", lambda task, seed, file: (computed.append(seed), score(task, seed, file)))
    longer = run_tasks([small_simulation], range(4), tmp_path, progress=False)
    assert computed == [2, 3]
    pd.testing.assert_frame_equal(longer[longer["seed"] < 2], first)


def test_every_resample_is_in_one_portion_of_its_task_and_the_last_portions_are_small():
    missing = {(number, seed): f"{number}-{seed}" for number in range(3) for seed in range(50)}
    portions = list(run._portions(missing, 2))
    assert {(number, seed): file for number, part in portions for seed, file in part} == missing
    sizes = [len(part) for _, part in portions]
    assert sum(sizes) == 150
    assert max(sizes) == run._LARGEST_PORTION
    assert sizes[-1] == 1


def test_an_interrupted_run_keeps_what_is_finished_and_no_half_file(small_simulation, tmp_path, monkeypatch):
    score = run._score

    def interrupt(task, seed, file):
        if seed == 2:
            raise KeyboardInterrupt
        score(task, seed, file)

    with monkeypatch.context() as patch:
        patch.setattr(run, "_score", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_tasks([small_simulation], range(4), tmp_path, progress=False)
    assert len(list(tmp_path.rglob("*.csv"))) == 2
    assert len(run_tasks([small_simulation], range(4), tmp_path, progress=False)["seed"].unique()) == 4


def test_a_file_that_is_being_written_does_not_count_as_finished(small_simulation, tmp_path, monkeypatch):
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run_tasks([small_simulation], [0], tmp_path, progress=False)
    assert not list(tmp_path.rglob("*.csv"))


def test_results_of_other_code_or_settings_are_not_reused(small_simulation, tmp_path, monkeypatch):
    run_tasks([small_simulation], [0], tmp_path, progress=False)
    monkeypatch.setattr(run, "code_version", lambda: "other")
    run_tasks([small_simulation], [0], tmp_path, progress=False)
    assert len(list(tmp_path.rglob("*.csv"))) == 2


def test_the_table_has_one_row_per_task_with_every_column_of_the_protocol(results, small_task):
    table = report.summarise(results, [small_task])
    assert len(table) == 1
    row = table.iloc[0]
    sums = results[results["method"] == STUDENT].groupby("seed")[["sum", "n_test"]].sum()
    assert row[STUDENT] == pytest.approx((sums["sum"] / sums["n_test"]).mean())
    assert row["difference"] == pytest.approx(row[STUDENT] - row[BASELINE])
    assert row["published"] == "student 0.9"
    assert row["n_splits"] == 4


def judged(verdict, difference, upper=1.0):
    bounds = {"upper": upper, "bootstrap_upper": float("nan")}
    return pd.Series({"verdict": verdict, "difference": difference, "hardest": "permuted-x* control", **bounds})


def test_the_word_gain_needs_a_material_difference_to_every_opponent():
    assert report._words(judged("gain", 0.04), 0.035, 0.03) == "gain: +0.0400 against permuted-x* control"
    assert report._words(judged("gain", 0.04), 0.01, 0.03).startswith("no material gain (below 0.03): +0.0400")
    assert report._words(judged("no evidence", 0.5), 0.5, 0.0).startswith("no evidence")


def test_a_student_that_is_beaten_by_a_control_is_said_to_be():
    words = report._words(judged("no evidence", -0.02, upper=-0.01), -0.02, 0.0)
    assert words == "no gain, a control is better: -0.0200 against permuted-x* control"


def test_a_damaged_resample_is_computed_again(small_simulation, tmp_path):
    first = run_tasks([small_simulation], range(2), tmp_path, progress=False)
    for file, content in zip(sorted(tmp_path.rglob("*.csv")), ["", "task,seed\n"], strict=True):
        file.write_text(content)
    pd.testing.assert_frame_equal(run_tasks([small_simulation], range(2), tmp_path, progress=False), first)


def test_options_before_the_part_are_refused_and_not_dropped(tmp_path):
    done = CliRunner().invoke(cli.app, ["reproduce", "--out", str(tmp_path / "new"), "simulations"])
    assert done.exit_code == 2
    assert not (tmp_path / "new").exists()


def test_the_report_names_what_was_left_out_and_shows_existing_figures(results, small_task, tmp_path):
    parts = {"small": Part([small_task], results)}
    report.write_report(parts, tmp_path, {"pm25": "Put the file there."})
    text = (tmp_path / "report.md").read_text()
    assert "**Left out: pm25.** Put the file there." in text
    assert "seeds 0 to 3, 1 tasks." in text
    for figure in ("small-differences.png", "small-imitation.png"):
        assert f"({figure})" in text
        assert (tmp_path / figure).stat().st_size > 5000
    again = pd.read_csv(tmp_path / "results-small.csv")
    assert len(again) == len(results)
    assert len(pd.read_csv(tmp_path / "table-small.csv")) == 1


def test_a_later_report_keeps_the_other_parts_of_the_same_code(results, small_task, tmp_path, monkeypatch):
    part = Part([small_task], results)
    report.write_report({"small": part}, tmp_path, {})
    report.write_report({"other": part}, tmp_path, {"small": "It is there already.", "third": "Get it."})
    text = (tmp_path / "report.md").read_text()
    assert "## small" in text
    assert "## other" in text
    assert "Left out: third." in text
    assert "Left out: small." not in text
    assert len(pd.read_csv(tmp_path / "results-small.csv")) == len(results)
    monkeypatch.setattr(report, "code_version", lambda: "newer")
    report.write_report({"other": part}, tmp_path, {})
    text = (tmp_path / "report.md").read_text()
    assert "## small" not in text
    assert "Results of other code in this folder are not shown: small." in text


def test_without_matplotlib_the_report_has_tables_only(results, small_task, tmp_path, monkeypatch):
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None)
    report.write_report({"small": Part([small_task], results)}, tmp_path, {})
    assert not list(tmp_path.glob("*.png"))
    assert "png" not in (tmp_path / "report.md").read_text()


def test_the_imitation_figure_draws_the_means_of_the_cells(results):
    line = displays.plot_imitation(results).lines[0]
    half = results[results["method"] == f"{PATH} 0.5"].groupby("seed")[["sum", "n_test"]].sum()
    assert np.allclose(line.get_xdata(), [0, 0.25, 0.5, 0.75, 1])
    assert line.get_ydata()[2] == pytest.approx((half["sum"] / half["n_test"]).mean())


def test_the_learning_curve_draws_baseline_student_and_teacher(results):
    sizes = pd.concat([results.assign(n_train=n) for n in (40, 80)])
    labels = displays.plot_learning_curve(sizes).get_legend_handles_labels()[1]
    assert labels == [TEACHER, STUDENT, BASELINE]


def test_the_window_figure_draws_input_privileged_part_and_target():
    windows = make_windows(np.arange(20.0), 0, window=3, horizon=4)
    drawn = [line.get_xydata().tolist() for line in displays.plot_window(windows, 2).lines[:3]]
    assert drawn == [[[-2, 2], [-1, 3], [0, 4]], [[1, 5], [2, 6], [3, 7]], [[4, 8]]]


def test_a_label_is_not_drawn_as_a_value_of_the_channel():
    windows = make_windows(np.arange(20.0), 0, window=3, horizon=4, threshold=5)
    labels = displays.plot_window(windows, 3).get_legend_handles_labels()[1]
    assert "target: label 1" in labels


def test_figures_refuse_tables_without_their_cells(results):
    plain = results[~results["method"].str.startswith(PATH)]
    with pytest.raises(ValueError, match="results must be cells of students at fixed imitations"):
        displays.plot_imitation(plain)
    with pytest.raises(ValueError, match="table must be a comparison of more than baseline and teacher"):
        displays.plot_differences(pd.DataFrame({"method": [BASELINE, TEACHER], "task": "a"}))


@pytest.fixture
def quick_parts(small_simulation, monkeypatch):
    def missing(data_home):
        raise DatasetError("pm25 is not here. Put it there.")

    parts = {"simulations": (lambda data_home: ([small_simulation], {}), ""), "pm25": (missing, "")}
    monkeypatch.setattr(cli.reproduction, "_PARTS", parts)


def test_the_command_runs_what_it_can_and_says_what_was_left_out(quick_parts, tmp_path):
    done = CliRunner().invoke(cli.app, ["reproduce", "--repeats", "2", "--jobs", "1", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "left out: pm25. pm25 is not here. Put it there." in done.output
    assert "simulation 1 clean labels" in done.output
    assert (tmp_path / "report.md").exists()


def test_a_part_asked_for_by_name_that_cannot_run_is_an_error(quick_parts, tmp_path):
    done = CliRunner().invoke(cli.app, ["reproduce", "pm25", "--repeats", "2", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert not (tmp_path / "report.md").exists()


def test_exactly_the_stated_seeds_are_used(quick_parts, tmp_path):
    options = ["--repeats", "3", "--seed", "5", "--jobs", "1", "--out", str(tmp_path)]
    assert CliRunner().invoke(cli.app, ["reproduce", "simulations", *options]).exit_code == 0
    assert sorted(pd.read_csv(tmp_path / "results-simulations.csv")["seed"].unique()) == [5, 6, 7]


@pytest.mark.parametrize("options", [["--repeats", "1"], ["--repeats", "x"], ["--seed", "-1"], ["--jobs", "0"]])
def test_bad_options_end_with_code_2_before_any_work(options, tmp_path):
    done = CliRunner().invoke(cli.app, ["reproduce", *options, "--out", str(tmp_path / "new")])
    assert done.exit_code == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_report_folder_that_cannot_be_made_is_one_clear_error(out, tmp_path):
    (tmp_path / "file").write_text("kept")
    done = CliRunner().invoke(cli.app, ["reproduce", "simulations", "--out", str(tmp_path / out)])
    assert done.exit_code == 2
    assert "--out" in done.output
    assert (tmp_path / "file").read_text() == "kept"


def test_the_installed_command_shows_its_parts_without_loading_them():
    code = "import sys; from pitskd import cli; assert not {'sklearn', 'pandas', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
    shown = CliRunner().invoke(cli.app, ["reproduce", "--help"]).output
    parts = ("simulations", "mackey-glass", "pm25", "events", "five-cities")
    assert all(name in shown for name in (*parts, "--repeats", "--jobs", "--seed", "--out"))
