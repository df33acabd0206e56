"""Laws of the detector report: whom a detector is judged against, that no test label teaches, what a verdict needs."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

import pitskd
from pitskd import (
    ChainDistillationRegressor,
    PrivilegedAnomalyDetector,
    PrivilegedRegressor,
    TunedRidge,
    detector_report,
)
from pitskd.experiments import DetectorReport, paired_interval
from pitskd.experiments import _detector_verdict as words
from pitskd.experiments._detector_controls import (
    ALL_SENSORS,
    ALWAYS,
    DETECTOR,
    FOREST,
    NO_LIMITS,
    NO_TARGET,
    NO_TARGET_TRIMMED,
    NOT_CURATED,
    PERMUTED,
    RIDGE,
    SAME_STUDENT,
    SELF_TRIMMED,
    Rival,
    Said,
    Study,
    rivals,
)

FAST = {"n_lags": 1, "calibration": "conformal", "false_alarm_rate": 0.02}
CURATING = PrivilegedAnomalyDetector(curate="privileged", **FAST)


def rig(n_rows, seed, faulty=0.3, length=60, privileged=8.0):
    """Three sensors that stay and one that will go; in faults, a shift that only the last shows plainly."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_rows, 4))
    rows[1:] += 0.5 * rows[:-1]
    anomalous = np.arange(n_rows) % round(length / faulty) >= round(length / faulty) - length
    rows[anomalous] += [1.5, 1.5, -1.5, privileged]
    return rows[:, :3], rows[:, 3:], anomalous


def several(n_runs, **options):
    """Return lists of rows, privileged rows and labels."""
    return map(list, zip(*(rig(400, 100 + run, **options) for run in range(n_runs)), strict=True))


@pytest.fixture(scope="module")
def report():
    X, Z, _ = rig(800, 0)
    X_test, Z_test, y_test = several(6)
    return detector_report(CURATING, X, Z, X_test=X_test, y_test=y_test, X_privileged_test=Z_test)


def test_a_log_that_only_the_privileged_sensor_can_clean_helps(report):
    assert isinstance(report, DetectorReport)
    assert report.verdict == "helps"
    assert "gain in balanced accuracy" in report.summary
    assert report.left_out == {}


@pytest.mark.parametrize("seed", range(3))
def test_noise_never_helps(seed):
    X, Z, _ = rig(500, seed)
    X_test, _, y_test = several(4)
    noise = np.random.default_rng(seed).normal(size=Z.shape)
    assert detector_report(CURATING, X, noise, X_test=X_test, y_test=y_test).verdict != "helps"


def test_every_row_of_the_table_is_what_the_detector_itself_says(report):
    X, Z, _ = rig(800, 0)
    X_test, Z_test, y_test = several(6)
    table = report.table.set_index("method")
    every = {
        DETECTOR: CURATING.fit(X, X_privileged=Z),
        SELF_TRIMMED: PrivilegedAnomalyDetector(curate="self", **FAST).fit(X),
        NOT_CURATED: PrivilegedAnomalyDetector(**FAST).fit(X),
    }
    for name, detector in every.items():
        rocs = [roc_auc_score(y, -detector.score_samples(rows)) for rows, y in zip(X_test, y_test, strict=True)]
        assert table.loc[name, "roc"] == pytest.approx(np.mean(rocs), abs=1e-12)
        false = np.concatenate([detector.predict(r)[~y] == -1 for r, y in zip(X_test, y_test, strict=True)])
        assert table.loc[name, "false_alarm_rate"] == pytest.approx(false.mean(), abs=1e-12)
    bound = PrivilegedAnomalyDetector(curate="self", **FAST).fit(np.hstack([X, Z]))
    said = [-bound.score_samples(np.hstack(pair)) for pair in zip(X_test, Z_test, strict=True)]
    assert table.loc[ALL_SENSORS, "roc"] == pytest.approx(
        np.mean([roc_auc_score(y, score) for y, score in zip(y_test, said, strict=True)]), abs=1e-12
    )


def test_an_alarm_in_every_row_has_the_metrics_of_one(report):
    always = report.table.set_index("method").loc[ALWAYS]
    assert always["roc"] == always["balanced_accuracy"] == 0.5
    assert always["false_alarm_rate"] == always["event_recall"] == 1.0
    assert always["delay"] == 0.0


def test_differences_are_paired_over_runs_and_count_improvements_as_positive(report):
    by_run = report.runs.pivot(index="run", columns="method", values=["roc", "false_alarm_rate"])
    leads = report.differences.set_index(["metric", "opponent"])
    for metric, sign in (("roc", 1.0), ("false_alarm_rate", -1.0)):
        expected = paired_interval(sign * (by_run[metric, DETECTOR] - by_run[metric, FOREST]))
        found = leads.loc[(metric, FOREST)]
        assert found[["lead", "lower", "upper"]].tolist() == pytest.approx(expected[:3])
    assert (leads.loc[("false_alarm_rate", ALWAYS)]["lead"] > 0).all()


def test_labels_of_test_rows_teach_nothing():
    X, Z, _ = rig(500, 0)
    X_test, Z_test, y_test = several(2)
    options = {"X_test": X_test, "X_privileged_test": Z_test}
    true = detector_report(CURATING, X, Z, y_test=y_test, **options).runs
    opposite = detector_report(CURATING, X, Z, y_test=[~y for y in y_test], **options).runs
    np.testing.assert_allclose(true["roc"], 1.0 - opposite["roc"], atol=1e-12)
    np.testing.assert_allclose(true["false_alarm_rate"], opposite["detection_rate"], atol=1e-12)


def test_the_detector_is_left_as_it_was():
    X, Z, _ = rig(300, 0)
    X_test, _, y_test = several(2)
    detector = clone(CURATING)
    detector_report(detector, X, Z, X_test=X_test, y_test=y_test)
    assert not hasattr(detector, "threshold_")
    assert repr(detector) == repr(CURATING)


def roles(detector):
    return {rival.name: rival.role for rival in rivals(detector)}


def test_each_use_of_privilege_meets_itself_without_it():
    student = ChainDistillationRegressor()
    first = {DETECTOR: "student"}
    last = {PERMUTED: "control", ALL_SENSORS: "bound"}
    assert roles(CURATING) == first | {SELF_TRIMMED: "baseline", NOT_CURATED: "control"} | last
    distils = PrivilegedAnomalyDetector(student)
    assert roles(distils) == first | {SAME_STUDENT: "baseline", RIDGE: "control"} | last
    target = PrivilegedAnomalyDetector(target={0: (None, 3.0)})
    assert roles(target) == first | {NO_TARGET: "baseline", NO_TARGET_TRIMMED: "control", NO_LIMITS: "control"} | last
    both = PrivilegedAnomalyDetector(student, curate="privileged")
    assert roles(both) == first | {SELF_TRIMMED: "baseline", NOT_CURATED: "control", RIDGE: "control"} | last


def test_controls_keep_everything_but_the_privileged_side():
    student = ChainDistillationRegressor(imitation=0.8)
    detector = PrivilegedAnomalyDetector(
        student, curate="privileged", contamination=0.2, smoothing=7, false_alarm_rate=0.02
    )
    by_name = {rival.name: rival for rival in rivals(detector)}
    for rival in by_name.values():
        assert (rival.detector.smoothing, rival.detector.false_alarm_rate) == (7, 0.02)
    assert by_name[SELF_TRIMMED].detector.contamination == 0.2
    assert by_name[SELF_TRIMMED].detector.student.imitation == 0.0
    assert by_name[NOT_CURATED].detector.contamination is None
    assert by_name[RIDGE].detector.student is None
    assert {name for name, rival in by_name.items() if rival.privileged == "given"} == {DETECTOR}


@pytest.mark.parametrize("n_rows", [45, 100, 1003])
def test_permuted_privilege_keeps_every_row_and_no_place(n_rows):
    Z = pd.DataFrame({"flow": np.arange(n_rows)}, index=np.arange(n_rows) * 2.5)
    study = Study(CURATING, None, Z, None, [], None, seed=3)
    permuted = study._privileged(Rival(PERMUTED, "control", CURATING, "permuted"))
    assert permuted.index.equals(Z.index)
    assert sorted(permuted["flow"]) == Z["flow"].tolist()
    assert (permuted["flow"] == Z["flow"]).mean() < 0.01
    assert (permuted["flow"].diff() == 1).mean() > 0.75  # in blocks


def test_a_target_needs_no_labels_and_unmeasured_rows_are_not_judged():
    X, Z, _ = rig(500, 0)
    X_test, Z_test, _ = several(2)
    Z_test[0][:100] = np.nan
    detector = PrivilegedAnomalyDetector(target={0: (None, 4.0)})
    report = detector_report(detector, X, Z, X_test=X_test, X_privileged_test=Z_test)
    own = report.runs[report.runs["method"] == DETECTOR].set_index("run")
    assert own["n_rows"].tolist() == [300, 400]
    assert report.metrics == ("roc",)
    assert report.left_out == {ALL_SENSORS: "privileged sensors have missing values"}
    table = report.table.set_index("method")
    plain = PrivilegedAnomalyDetector().fit(X)
    truth = Z_test[1][:, 0] > 4.0
    expected = roc_auc_score(truth, -plain.score_samples(X_test[1]))
    rows = report.runs.set_index(["method", "run"])
    assert rows.loc[(NO_TARGET, 1), "roc"] == pytest.approx(expected)
    assert table.loc[DETECTOR, "roc"] > table.loc[NO_LIMITS, "roc"]


def test_one_array_with_groups_is_the_list_of_its_runs():
    X, Z, _ = rig(400, 0)
    X_test, Z_test, y_test = several(3)
    listed = detector_report(CURATING, X, Z, X_test=X_test, y_test=y_test, X_privileged_test=Z_test)
    grouped = detector_report(
        CURATING, X, Z, X_test=np.vstack(X_test), y_test=np.concatenate(y_test), X_privileged_test=np.vstack(Z_test),
        groups=np.repeat(["b", "a", "c"], 400),
    )  # fmt: skip
    pd.testing.assert_frame_equal(listed.table, grouped.table)
    pd.testing.assert_frame_equal(listed.differences, grouped.differences)


def test_frames_with_times_go_through_and_runs_behind_gaps_start_afresh():
    X, Z, _ = rig(400, 0)
    times = pd.date_range("2026-01-01", periods=400, freq="s")
    X, Z = pd.DataFrame(X, times, ["a", "b", "c"]), pd.DataFrame(Z, times, ["flow"])
    X_test, Z_test, y_test = (one[0] for one in several(1))
    later = times + pd.Timedelta("1h") * (np.arange(400) >= 200).astype(int)
    X_test, Z_test = pd.DataFrame(X_test, later, X.columns), pd.DataFrame(Z_test, later, Z.columns)
    y_test = pd.Series(y_test, later)
    report = detector_report(CURATING, X, Z, X_test=X_test, y_test=y_test, X_privileged_test=Z_test)
    assert report.table["role"].tolist()[-1] == "bound"


# ---------------------------------------------------------------- metrics and intervals


def test_delay_counts_a_missed_event_with_its_length():
    truth = np.array([0, 1, 1, 1, 0, 1, 1, 0, 0.0])
    alarm = np.array([0, 0, 1, 0, 0, 0, 0, 1, 0], dtype=bool)
    found = words.measured(truth, Said(alarm.astype(float), alarm))
    assert found["delay"] == (1 + 2) / 2
    assert found["event_recall"] == 0.5
    assert found["false_alarm_rate"] == 1 / 4
    assert found["detection_rate"] == 1 / 5
    assert found["balanced_accuracy"] == pytest.approx((1 / 5 + 3 / 4) / 2)


def test_rows_that_nobody_knows_do_not_count():
    truth = np.array([np.nan, 0, 1, np.nan])
    alarm = np.array([True, False, True, True])
    found = words.measured(truth, Said(alarm.astype(float), alarm))
    assert (found["roc"], found["false_alarm_rate"]) == (1.0, 0.0)


def test_a_weighted_roc_is_that_of_rows_repeated():
    rng = np.random.default_rng(0)
    y, score = rng.random(80) < 0.3, rng.integers(0, 9, size=80).astype(float)  # with ties
    weight = rng.integers(0, 4, size=(5, 80)).astype(float)
    found = words._weighted_roc(y, score, weight)
    expected = [roc_auc_score(np.repeat(y, w.astype(int)), np.repeat(score, w.astype(int))) for w in weight]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_resamples_are_of_whole_blocks_and_repeat():
    weights = np.vstack(list(words._weights(103, 10, seed=1)))
    assert weights.shape == (1000, 103)
    assert (weights.sum(axis=1) == 110).all()
    np.testing.assert_array_equal(weights, np.vstack(list(words._weights(103, 10, seed=1))))
    alone = np.abs(np.diff(weights, axis=1)) > 0
    assert alone.mean() < 0.25  # weights change at the ends of blocks only


def test_one_run_has_intervals_by_blocks_of_time_for_metrics_of_rows_only():
    X, Z, _ = rig(500, 0)
    X_test, _, y_test = rig(1200, 9, length=30)
    report = detector_report(CURATING, X, Z, X_test=X_test, y_test=y_test)
    leads = report.differences.set_index("metric")
    assert leads.loc[list(words.BY_ROW), "lower"].notna().all()
    assert leads.loc[["vus_pr", "event_recall", "delay"], "lower"].isna().all()
    known = leads.dropna(subset="lower")
    assert (known["lower"] <= known["lead"] + 1e-9).all()
    assert (known["lead"] <= known["upper"] + 1e-9).all()
    assert "a bootstrap of blocks of" in report.about


def test_two_events_of_one_run_prove_nothing():
    X, Z, _ = rig(800, 0)
    X_test, _, y_test = rig(400, 5)
    report = detector_report(CURATING, X, Z, X_test=X_test, y_test=y_test)
    assert report.verdict == "no evidence"
    assert "One run with 2 event(s)" in report.summary
    assert report.differences.query("metric == 'balanced_accuracy' and opponent == @NOT_CURATED")["lower"].item() > 0


def decided(leads, metrics=("roc",), n_runs=5, n_events=9):
    """Return the verdict of rows (metric, role, lower, upper, p_value)."""
    frame = pd.DataFrame(leads, columns=["metric", "role", "lower", "upper", "p_value"])
    frame["opponent"] = frame["role"]
    frame["lead"] = (frame["lower"] + frame["upper"]) / 2
    table = pd.DataFrame({"method": [DETECTOR, "baseline", "control", "bound"], "n_runs": n_runs})
    return words.judge(frame, table.assign(**dict.fromkeys(metrics, 0.9)), metrics, n_events, 0.95)[0]


def test_a_gain_is_one_over_every_control_and_not_over_the_bound():
    baseline, bound = ("roc", "baseline", 0.01, 0.05, 0.01), ("roc", "bound", -0.2, -0.1, 0.001)
    assert decided([baseline, ("roc", "control", 0.01, 0.02, 0.02), bound]) == "helps"
    assert decided([baseline, ("roc", "control", -0.01, 0.02, 0.3), bound]) == "no evidence"
    assert decided([("roc", "baseline", -0.05, -0.01, 0.01), ("roc", "control", 0.01, 0.02, 0.02)]) == "hurts"
    assert decided([("roc", "baseline", -0.05, 0.01, 0.2), ("roc", "control", -0.3, -0.2, 0.02)]) == "no evidence"


def test_several_metrics_are_adjusted_by_holm():
    def rows(metric, p):
        return [(metric, role, 0.01, 0.05, p) for role in ("baseline", "control")]

    p = (0.03, 0.2)
    assert multipletests(p, method="holm")[1][0] > 0.05
    two = [*rows("roc", p[0]), ("vus_pr", "baseline", -0.01, 0.05, p[1]), ("vus_pr", "control", -0.01, 0.05, p[1])]
    assert decided(two, ("roc", "vus_pr")) == "no evidence"
    assert decided(rows("roc", p[0])) == "helps"


def test_a_gain_that_is_paid_for_elsewhere_is_no_evidence():
    ends = {"roc": (0.1, 0.2), "vus_pr": (-0.2, -0.1)}
    both = [(metric, role, *ends[metric], 0.001) for metric in ends for role in ("baseline", "control")]
    assert decided(both, ("roc", "vus_pr")) == "no evidence"


def test_missing_intervals_are_never_evidence():
    assert decided([("roc", role, np.nan, np.nan, np.nan) for role in ("baseline", "control")]) == "no evidence"


# ---------------------------------------------------------------- form and errors


def test_a_report_is_text_a_table_and_escaped_html(report):
    text = str(report)
    assert text.startswith("HELPS: balanced accuracy of the detector is")
    assert "false alarms [95 %]" in text
    assert all(len(line) <= 130 for line in text.splitlines())
    frame = report.to_frame()
    frame.loc[0, "roc"] = 7.0
    assert report.table.loc[0, "roc"] < 1.0
    assert "<table" in report._repr_html_()
    assert pitskd.detector_report is detector_report


def test_the_same_seed_gives_the_same_report(report):
    X, Z, _ = rig(800, 0)
    X_test, Z_test, y_test = several(6)
    again = detector_report(CURATING, X, Z, X_test=X_test, y_test=y_test, X_privileged_test=Z_test)
    pd.testing.assert_frame_equal(report.differences, again.differences)


@pytest.mark.filterwarnings("ignore:X is short")
def test_a_front_door_student_is_judged_without_a_warning_for_its_control():
    X, Z, _ = rig(150, 0, faulty=0.01, length=1)
    X_test, _, y_test = several(2)
    detector = PrivilegedAnomalyDetector(PrivilegedRegressor(candidates="baseline"), horizons=2, n_lags=1)
    report = detector_report(detector, X, Z, X_test=X_test, y_test=y_test, normal=np.arange(150) < 120)
    assert report.verdict == "no evidence"


X, Z, Y = rig(200, 0)


@pytest.mark.parametrize(
    ("changed", "kind", "match"),
    [
        ({"detector": PrivilegedAnomalyDetector()}, ValueError, "detector must be one that learns from X_privileged"),
        ({"detector": PrivilegedAnomalyDetector(TunedRidge())}, ValueError, "a student that distils"),
        ({"detector": TunedRidge()}, TypeError, "detector must be a PrivilegedAnomalyDetector, got TunedRidge"),
        ({"X_privileged": None}, ValueError, "X_privileged must be the sensors that will not be there, got None"),
        ({"X_privileged": Z[:9]}, ValueError, "X_privileged has 9 rows but X has 200"),
        ({"y_test": None}, ValueError, r"y_test must be labels .* inject_anomalies"),
        ({"y_test": np.zeros(200)}, ValueError, "y_test must be such that some test rows are normal"),
        ({"y_test": Y[:9]}, ValueError, "y_test has 9 rows but X_test has 200"),
        ({"y_test": np.where(Y, 2, 0)}, ValueError, "y_test must be 0 or 1"),
        ({"X_privileged_test": Z[:9]}, ValueError, "X_privileged_test has 9 rows but X_test has 200"),
        ({"X_test": [X, X]}, ValueError, "y_test must be a list of 2, one for each run"),
        ({"X_test": [X], "y_test": [Y], "groups": Y}, ValueError, "groups must be None where X_test is a list"),
        ({"groups": Y[:9]}, ValueError, "groups has 9 rows but X_test has 200"),
        ({"metric": "f1"}, ValueError, "metric must be 'roc'"),
        ({"metric": []}, ValueError, "metric must be one metric or several"),
        ({"metric": "vus_pr"}, ValueError, r"metric must be 'roc' .* \(of one run\)"),
        ({"confidence": 1.0}, ValueError, "confidence must be above 0 and below 1"),
        (
            {"detector": PrivilegedAnomalyDetector(target={0: (None, 3.0)}), "y_test": None},
            ValueError, "Or X_privileged_test, whose limited columns tell",
        ),
        (
            {"detector": PrivilegedAnomalyDetector(target={0: (None, 99.0)}), "y_test": None, "X_privileged_test": Z},
            ValueError, "X_privileged_test must be such that",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused(changed, kind, match):
    arguments = {"detector": CURATING, "X": X, "X_privileged": Z, "X_test": X, "y_test": Y} | changed
    with pytest.raises(kind, match=match):
        detector_report(**arguments)
