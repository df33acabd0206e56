import dataclasses

import matplotlib
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from pitskd import DatasetError, PrivilegedAnomalyDetector, cli
from pitskd.datasets import SensorLog
from pitskd.experiments import anomalies, anomaly_section, anomaly_tasks, report
from pitskd.experiments.anomalies import (
    ALWAYS,
    DRIFT,
    MODES,
    NEURAL,
    NORMAL,
    OURS,
    SKAB_RANKING,
    SKAB_THRESHOLD,
    Learnt,
    NormalTask,
    SkabTask,
    TepTask,
)
from pitskd.experiments.anomaly_section import Counts, alarm_table, bars, f1_difference, f1_of
from pitskd.experiments.detectors import Mahalanobis
from pitskd.experiments.privileged_anomalies import (
    CLEAN,
    CURATED,
    NOT_CURATED,
    TARGET,
    ContaminatedTask,
    KpiTask,
    Plant,
    contaminated_log,
    limits_of,
    log_of_runs,
)
from pitskd.experiments.run import run_tasks

matplotlib.use("agg")


def rows_of(n, seed, c=3):
    noise = np.random.default_rng(seed).normal(size=(n, c))
    rows = np.zeros((n, c))
    for t in range(1, n):
        rows[t] = 0.6 * rows[t - 1] + 0.2 * np.roll(rows[t - 1], 1) + noise[t]
    return rows


def skab_task(seed, **settings):
    rows, anomaly = rows_of(320, seed), np.zeros(320, dtype=bool)
    anomaly[230:280] = True
    rows[anomaly] += 4.0
    return SkabTask(f"valve/{seed}", rows, anomaly, n_learn=160, quick=True, **settings)


@pytest.fixture(scope="module", autouse=True)
def few_references():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anomalies, "short_references", lambda n_trees=200: [Mahalanobis(), Mahalanobis(4)])
        patch.setattr(anomalies, "all_references", lambda: [Mahalanobis()])
        yield


@pytest.fixture(scope="module")
def tasks():
    return [skab_task(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def results(tasks, tmp_path_factory):
    return run_tasks(tasks, [0], tmp_path_factory.mktemp("anomalies"), progress=False)


@pytest.fixture(scope="module")
def plant():
    """A plant of five sensors and two analysers, which follow two of the sensors; faults 1 to 4 shift them."""

    def run(seed, fault, n, onset):
        rows = rows_of(n, seed, 5)
        rows[onset:, fault % 5] += 4.0 if fault else 0.0
        hidden = rows[:, :2] + 0.3 * np.random.default_rng(seed + 50).normal(size=(n, 2))
        names = [f"x{k}" for k in range(5)]
        return pd.DataFrame(np.hstack([rows, hidden]), columns=[*names, "XMEAS 37", "XMEAS 38"])

    learn = {fault: run(fault, fault, 160, 0) for fault in range(5)}
    return Plant(learn, {fault: run(20 + fault, fault, 220, 120) for fault in range(5)}, onset=120)


KEPT = tuple(f"x{k}" for k in range(5))


# ---------------------------------------------------------------- one treatment for all


@pytest.mark.filterwarnings("ignore:X is short")
@pytest.mark.parametrize("mode", MODES)
def test_one_fit_gives_the_alarms_of_the_detector_that_a_user_would_deploy(mode):
    task = skab_task(0)
    judged = Learnt.ours(task.rows[:160]).judge(task.rows, 10)
    deployed = PrivilegedAnomalyDetector(smoothing=10, **MODES[mode]).fit(task.rows[:160])
    assert judged.calibrations[mode].threshold == deployed.threshold_
    assert np.array_equal(judged.alarms(mode), deployed.detect(task.rows)["is_anomaly"])


def test_a_reference_is_smoothed_and_calibrated_as_ours_are():
    task = skab_task(0)
    learnt = Learnt.reference(Mahalanobis(), task.rows[:160])
    judged = learnt.judge(task.rows, 10)
    raw = Mahalanobis().fit(task.rows[:160]).score(task.rows)
    assert judged.scores[50] == pytest.approx(raw[41:51].mean())
    n_over = (
        pd.Series(learnt.held_out).rolling(10).mean().dropna() > judged.calibrations["no drift mode"].threshold
    ).sum()
    assert n_over <= 0.03 * 151


def test_no_label_enters_fit_or_calibration():
    """Labels permuted give the same alarms: the same number of alarmed rows in all."""
    task = skab_task(1)
    permuted = dataclasses.replace(task, anomaly=np.random.default_rng(0).permutation(task.anomaly))
    cells, shuffled = task.cells(0), permuted.cells(0)
    alarmed = [
        frame[frame["metric"].isin(["detected", "alarmed"])].groupby(["task", "method"])["sum"].sum()
        for frame in (cells, shuffled.replace(permuted.run, task.run))
    ]
    # Labels of the rows learnt from may have changed places with those behind; alarms have not.
    pd.testing.assert_series_equal(*alarmed)
    assert not cells[cells["metric"] == "ROC"]["sum"].equals(shuffled[shuffled["metric"] == "ROC"]["sum"])


def test_labels_of_the_rows_learnt_from_are_not_looked_at():
    task = skab_task(1)
    other = task.anomaly.copy()
    other[:160] = True
    pd.testing.assert_frame_equal(task.cells(0), dataclasses.replace(task, anomaly=other).cells(0))


# ---------------------------------------------------------------- counting


def test_f1_of_always_alarm_is_twice_the_share_over_one_plus_the_share(results, tasks):
    table = alarm_table(Counts(results), f"{SKAB_THRESHOLD}, {DRIFT}")
    share = 50 / 160
    assert table.loc[ALWAYS, "F1"] == pytest.approx(2 * share / (1 + share))
    assert table.loc[ALWAYS, "FAR"] == 1.0
    assert table.loc[ALWAYS, "event recall"] == 1.0


def test_f1_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, alarms = rng.random((2, 60)) < 0.4
    counts = (alarms & truth).sum(), (alarms & ~truth).sum(), truth.sum()
    assert f1_of(*counts) == pytest.approx(f1_score(truth, alarms))


def test_pooled_f1_weighs_files_by_their_rows(results):
    counts = Counts(results)
    task = f"{SKAB_THRESHOLD}, {DRIFT}"
    found = f1_difference(counts, task, "Mahalanobis")
    table = alarm_table(counts, task)
    assert found.mean == pytest.approx(table.loc[OURS, "F1"] - table.loc["Mahalanobis", "F1"])
    assert found.lower <= found.mean <= found.upper
    assert found.n_splits == 3


def test_cells_count_rows_events_and_delays():
    anomaly = np.array([0, 0, 1, 1, 1, 0, 0, 0, 1, 1], dtype=bool)
    alarms = np.array([1, 0, 0, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
    cells = {cell.metric: cell for cell in anomalies.counted("t", "m", "b", anomaly, alarms, 180.0)}
    assert cells["detected"][4:] == (2.0, 5.0)
    assert cells["alarmed"][4:] == (2.0, 5.0)
    assert cells["events found"][4:] == (1, 2)
    assert cells["delay"][4:] == (180.0, 1)
    assert cells["false events per day"][4:] == (1, pytest.approx(5 * 180 / 86400))


# ---------------------------------------------------------------- tasks


def test_a_file_is_ranked_and_alarmed_by_every_detector_in_both_modes(results):
    ranked = results[results["task"] == SKAB_RANKING]
    assert set(ranked["method"]) == {OURS, "Mahalanobis", "Mahalanobis, 4 lags"}
    assert set(ranked["metric"]) == {"ROC", "VUS-ROC", "VUS-PR"}
    for mode in MODES:
        counted = results[results["task"] == f"{SKAB_THRESHOLD}, {mode}"]
        assert set(counted["method"]) == {*ranked["method"], ALWAYS}
        assert set(counted["block"]) == {"valve/0", "valve/1", "valve/2"}


@pytest.fixture(scope="module")
def full():
    return dataclasses.replace(skab_task(0), quick=False).cells(0)


def test_a_network_in_the_same_head_stands_in_the_full_table_alone(full, results):
    ranked = full[full["task"] == SKAB_RANKING]
    assert set(ranked["method"]) == {OURS, NEURAL, "Mahalanobis"}
    assert ranked[(ranked["method"] == NEURAL) & (ranked["metric"] == "ROC")]["sum"].item() > 0.8
    assert NEURAL not in set(results["method"])


def test_ours_with_a_network_is_no_bar(full):
    """Were it the best of all others, the best reference would still be what ours is compared with."""
    praised = full.copy()
    praised.loc[(praised["method"] == NEURAL) & praised["metric"].isin(["ROC", "VUS-PR", "detected"]), "sum"] = 1e6
    several = pd.concat([praised.assign(block=f"valve/{number}") for number in range(3)])
    verdicts = bars(Counts(several)).set_index("task")
    assert verdicts.loc["SKAB, ROC", "verdict"].endswith("Mahalanobis")
    assert verdicts["tuned baseline"].max() <= 1.0


def test_a_rerun_reads_what_is_there(tasks, results, tmp_path, monkeypatch):
    first = run_tasks(tasks[:1], [0], tmp_path, progress=False)
    monkeypatch.setattr(SkabTask, "count", lambda self, seed: pytest.fail("computed again"))
    pd.testing.assert_frame_equal(run_tasks(tasks[:1], [0], tmp_path, progress=False), first)


def test_quick_and_full_tasks_do_not_share_files(tasks):
    assert dataclasses.replace(tasks[0], quick=False).fingerprint() != tasks[0].fingerprint()


def test_the_plant_ranks_every_fault_with_one_and_several_horizons(plant):
    runs = {fault: run[list(KEPT)].to_numpy() for fault, run in plant.test.items() if fault}
    cells = TepTask(11, plant.learn[0][list(KEPT)].to_numpy(), runs, onset=120).cells(0)
    values = Counts(cells).values("TEP, ranking, 11 signals", "ROC, mean over 10")
    assert list(values.index) == ["1", "2", "3", "4"]
    assert sum(method.startswith(OURS) for method in values.columns) == 4
    assert (values[f"{OURS}, one horizon, memory .3"] > 0.9).all()


def test_normal_runs_count_false_alarms_with_an_interval():
    rows = rows_of(600, 3)
    cells = NormalTask("mine", rows[:300], rows, 300, 20).cells(0)
    counts = Counts(cells)
    rate, lower, upper = (counts.values(NORMAL, metric).loc["mine"] for metric in ("rate", "lower", "upper"))
    assert (lower <= rate).all()
    assert (rate <= upper).all()
    assert (cells[cells["metric"] == "rate"]["n_test"] == 300).all()


def test_a_contaminated_log_has_the_share_asked_for_and_all_normal_rows(plant):
    log, faulty = contaminated_log(plant, 0.4, 0)
    assert faulty.mean() == pytest.approx(0.4, abs=0.01)
    assert log[~faulty].reset_index(drop=True).equals(plant.learn[0])
    pd.testing.assert_frame_equal(log, contaminated_log(plant, 0.4, 0)[0])
    assert not log.equals(contaminated_log(plant, 0.4, 1)[0])


def test_curation_is_compared_with_the_clean_log(plant):
    cells = ContaminatedTask(plant, KEPT, ("XMEAS 37", "XMEAS 38"), 0.25, 0).cells(5)
    assert set(cells["block"]) == {"5"}
    values = Counts(cells).values("TEP, contaminated log, 5 signals, 25%", "alarmed")
    assert {CLEAN, CURATED, NOT_CURATED} <= set(values.columns)
    assert values[NOT_CURATED]["5"] <= values[CLEAN]["5"]


@pytest.fixture
def two_analysers(monkeypatch):
    specifications = {"product": (("XMEAS 37", "XMEAS 38"), 2.0)}
    monkeypatch.setattr("pitskd.experiments.privileged_anomalies.SPECIFICATIONS", specifications)


def test_off_spec_alarms_are_ranked_on_faults_that_were_not_learnt_from(plant, two_analysers):
    cells = KpiTask(plant, KEPT, "product", 0).cells(0)
    drawn = np.unique([block.partition(" ")[0] for block in cells["block"]])
    assert len(drawn) == 1  # three of four faults were learnt from
    values = Counts(cells).values("TEP, off-spec, product, 5 signals", "ROC")
    assert values[TARGET].iloc[0] > 0.55
    assert values[ALWAYS].iloc[0] == 0.5


def test_limits_and_runs_of_a_log(plant):
    low, high = limits_of(plant.learn[0], ("x1",), 3.0)["x1"]
    assert (low + high) / 2 == pytest.approx(plant.learn[0]["x1"].mean())
    assert high - low == pytest.approx(6 * np.std(plant.learn[0]["x1"].to_numpy()))
    log = log_of_runs([plant.learn[0], plant.learn[1]])
    assert np.flatnonzero(np.diff(log.index) > 1.5).tolist() == [159]


# ---------------------------------------------------------------- report


def test_the_section_has_bars_tables_and_figures(tasks, results, tmp_path):
    table = report.write_report({"anomalies": report.Part(tasks, results, {"valve2": "Get it."})}, tmp_path, {})
    text = (tmp_path / "report.md").read_text()
    assert "| **PrivilegedAnomalyDetector** |" in text
    assert "**Left out: valve2.** Get it." in text
    assert "(anomalies-skab.png)" in text
    assert (tmp_path / "anomalies-skab.png").stat().st_size > 5000
    assert len(pd.read_csv(tmp_path / "results-anomalies.csv")) == len(results)
    assert table["task"].tolist() == ["SKAB, ROC", "SKAB, VUS-PR", "SKAB, F1, drift mode", "SKAB, F1, no drift mode"]
    row = table.set_index("task").loc["SKAB, ROC"]
    assert row["difference"] == pytest.approx(row["student"] - row["tuned baseline"])


def test_bars_of_a_part_without_data_are_left_out(results):
    nothing = results[results["task"] == "none of these"]
    assert len(bars(Counts(nothing))) == 0
    lines = anomaly_section.section(report.Part([], nothing), bars(Counts(nothing)), nothing)
    assert lines[2].startswith("Protocol A")
    assert not any(line.startswith("### SKAB") for line in lines)


def made_up(run, *, data_home=None):
    if run != "valve1/3":
        raise DatasetError(f"{run} is not here.")
    task = skab_task(3)
    return SensorLog(pd.DataFrame(task.rows), None, pd.Series(task.anomaly), None, run, 1.0)


def no_plant(fault, **settings):
    raise DatasetError("tep is not here.")


def test_the_command_runs_on_what_can_be_had_and_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(anomaly_tasks, "fetch_skab", made_up)
    monkeypatch.setattr(anomaly_tasks, "fetch_tep", no_plant)
    monkeypatch.setattr(anomaly_tasks, "skab_runs", lambda: ("anomaly-free", "valve1/1", "valve1/3"))
    monkeypatch.setattr(anomalies, "N_LEARN", 160)
    monkeypatch.setattr(SkabTask, "__init__", _with_fewer_rows(SkabTask.__init__))
    done = CliRunner().invoke(cli.app, ["reproduce", "anomalies", "--jobs", "1", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for what in ("SKAB valve1: valve1/1. valve1/1 is not here", "SKAB without anomalies", "TEP. tep is not here"):
        assert f"left out: anomalies, {what}" in done.output
    assert (tmp_path / "sections" / "anomalies.md").exists()


def _with_fewer_rows(init):
    return lambda self, *arguments, **settings: init(self, *arguments, **{"n_learn": 160, **settings})


def test_without_any_file_the_part_is_an_error_with_the_reason(monkeypatch):
    def missing(run, *, data_home=None):
        raise DatasetError(f"{run} is not here.")

    monkeypatch.setattr(anomaly_tasks, "fetch_skab", missing)
    monkeypatch.setattr(anomaly_tasks, "fetch_tep", no_plant)
    with pytest.raises(DatasetError, match=r"valve1/0 is not here.*tep is not here"):
        anomaly_tasks.anomaly_tasks()


def test_three_misses_in_a_row_end_the_search():
    asked, left_out = [], {}

    def fetch(key):
        asked.append(key)
        if key != 1:
            raise DatasetError(f"{key} is not here.")
        return "found"

    wanted = {f"run {key}": key for key in range(8)}
    assert list(anomaly_tasks._at_hand("runs", wanted, fetch, left_out)) == [(1, "found")]
    assert asked == [0, 1, 2, 3, 4]
    assert left_out == {"runs: run 0, run 2, run 3, run 4, run 5, run 6, run 7": "0 is not here."}
