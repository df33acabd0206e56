"""Laws of a report on a file: what helps is said to help, what does not is not, and everything dropped is counted."""

import json
import shlex
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.ar_model import AutoReg

import pitskd
from pitskd import PrivilegedRegressor, file_report, make_windows, privileged_report
from pitskd._series import Table
from pitskd.experiments import Persistence, seasonal_naive
from pitskd.experiments._file_references import training_part
from pitskd.experiments._file_words import command, next_steps
from pitskd.experiments._time_splits import time_splits
from pitskd.experiments.whole_file import compare_on_all
from pitskd.forecasting.own_file import WindowOptions, open_file


def rotating(n=600, channels=10, seed=0):
    """A noisy rotation: every row is the state, and the rows between tell how it moves."""
    noise = np.random.default_rng(seed)
    step = 0.97 * np.linalg.qr(noise.normal(size=(channels, channels)))[0]
    rows = np.zeros((n, channels))
    for t in range(1, n):
        rows[t] = step @ rows[t - 1] + noise.normal(size=channels)
    return pd.DataFrame(rows, columns=[f"x{channel}" for channel in range(channels)])


def hourly(n=400, seed=0, name="pm [ug/m3]"):
    """A daily wave, a random part and a sensor that sees what comes; text, a hole in the clock and missing values."""
    noise = np.random.default_rng(seed).normal(size=(n, 2))
    slow = np.convolve(noise[:, 0], np.ones(5), "same")
    wave = 10 * np.sin(2 * np.pi * np.arange(n) / 24)
    index = pd.date_range("2024-01-01", periods=n, freq="h", name="time")
    frame = pd.DataFrame({name: wave + slow, "lab": slow + 0.1 * noise[:, 1], "wind": "NW"}, index=index)
    frame.iloc[[50, 200], 0] = np.nan
    frame.iloc[300, 1] = np.nan
    return frame.drop(frame.index[120:123])


@pytest.fixture(autouse=True)
def few_splits(monkeypatch):
    """Make the reports of single tests quick; those that several share are drawn before, in full."""
    monkeypatch.setattr(sys.modules["pitskd.experiments.file_report"], "_SPLITS", (4,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def helped(folder):
    rotating().to_csv(folder / "rotating.csv", index=False)
    return file_report(folder / "rotating.csv", target="x0", window=1, horizon=6, stride=7, all_windows=False)


@pytest.fixture(scope="module")
def air(folder):
    hourly().to_csv(folder / "air.csv")
    return file_report(
        folder / "air.csv", target="pm [ug/m3]", window=3, horizon=4, privileged_columns="lab", max_windows=60,
        units={"lab": "V"},
    )  # fmt: skip


def test_the_middle_of_a_rotating_state_helps(helped):
    assert helped.verdict == "helps"
    assert str(helped).startswith("HELPS: teaching with the 5 rows between input and target helps to forecast x0")
    assert "Save the student:\n    pitskd fit" in str(helped)
    assert "--window 1 --horizon 6 --stride 7 --student front-door --model student.pitskd" in str(helped)


@pytest.fixture(scope="module")
def asked_all(helped, folder):
    return file_report(folder / "rotating.csv", target="x0", window=1, horizon=6, stride=7)


def test_all_windows_may_say_otherwise_than_some_and_are_then_what_to_learn_from(helped, asked_all):
    found = asked_all
    w = make_windows(rotating(), "x0", window=1, horizon=6)
    np.testing.assert_allclose(found.whole.blocks, compare_on_all([w], w.n_windows).blocks, rtol=1e-9)
    assert (found.verdict, found.whole.verdict) == ("helps", "no evidence")
    assert any(remark.startswith(f"All windows: {found.whole.n_windows} windows in ") for remark in found.remarks)
    assert found.to_json()["all_windows"]["verdict"] == "no evidence"
    assert "; where all windows teach, there is no evidence that it helps." in " ".join(str(found).split())
    assert "where all" not in str(helped)
    assert helped.whole is helped.to_json()["all_windows"] is None


def test_all_windows_are_advised_only_where_they_are_better_beyond_the_noise_and_then_ridge(asked_all):
    own = open_file("FILE", asked_all.facts["path"], WindowOptions("x0", 1, 6, stride=7))
    rows = asked_all.table.set_index("method")
    ends = rows.loc[
        "tuned baseline", [f"lead_{end}" for end in ("lower", "upper", "bootstrap_lower", "bootstrap_upper")]
    ]
    upper = rows.loc["student", "r2"] + np.ptp(ends) / 2
    for apart, advised in ((-0.01, False), (0.01, True)):
        whole = replace(asked_all.whole, blocks=asked_all.whole.blocks * 0.0 + upper + apart)
        step = next_steps(asked_all.verdict, asked_all.table, own, whole)[0]
        assert step.startswith("Learn from all windows: tuned ridge has R2") is advised
        assert ("on other held-out rows" in step) is advised
        assert step.endswith("--student ridge --model student.pitskd") is advised
        assert ("--stride" in step) is not advised


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"threshold": 0.0}, "sums tell squared errors, not those of events"),
        ({"group": "half"}, "groups share time"),
        ({}, "31 columns of windows and middle are too many for sums of products, 30 at most"),
    ],
)
def test_all_windows_are_left_out_where_sums_cannot_tell(options, why, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["pitskd.experiments.file_report"], "MOST_COLUMNS", 30)
    rotating(400).assign(half=np.repeat(["a", "b"], 200)).to_csv(tmp_path / "rows.csv", index=False)
    asked = {"target": "x0", "window": 1, "horizon": 3, "stride": 9, "columns": [f"x{i}" for i in range(10)]} | options
    assert why in file_report(tmp_path / "rows.csv", **asked).report.left_out["all windows"]


def test_a_report_on_a_file_is_that_of_its_windows(helped):
    w = make_windows(rotating(), "x0", window=1, horizon=6, stride=7)
    options = {"X_privileged": w.X_privileged, "references": {"last": Persistence(0)}}
    direct = privileged_report(PrivilegedRegressor(), w.X, w.y, **options)
    found = helped.table.set_index("method")
    assert helped.facts["windows"] == w.n_windows
    expected = direct.table.set_index("method")
    assert found.loc["student", "r2"] == pytest.approx(expected.loc["student", "r2"], abs=0.05)  # other splits
    assert found.loc["persistence", "mae"] == pytest.approx(np.abs(w.X[:, -1, 0] - w.y).mean(), rel=0.1)
    np.testing.assert_allclose(found["rmse"], np.sqrt(found["mse"]))


def test_noise_gives_no_evidence(folder):
    noise = pd.DataFrame(np.random.default_rng(1).normal(size=(300, 3)), columns=list("abc"))
    noise.to_csv(folder / "noise.csv", index=False)
    report = file_report(folder / "noise.csv", target="a", window=3, horizon=3, max_windows=80)
    assert report.verdict == "no evidence"
    assert str(report).startswith("NO EVIDENCE that teaching with the 2 rows between")


def test_a_random_walk_is_forecast_by_its_last_value(folder):
    walk = pd.DataFrame({"a": np.random.default_rng(3).normal(size=1200).cumsum()})
    walk.to_csv(folder / "walk.csv", index=False)
    report = file_report(folder / "walk.csv", target="a", window=2, horizon=4, max_windows=80)
    row = report.table.set_index("method").loc["persistence"]
    assert min(row["lead_lower"], row["lead_bootstrap_lower"]) < 0
    told = " ".join(str(report).split())
    assert "the student is not worth deploying" in told
    assert "The student is not better than " in told or "the student is not better." in told
    assert not any(step.startswith("Save the student:") for step in report.next_steps)


def test_units_columns_and_what_was_dropped_survive(air):
    facts = air.facts
    assert facts["columns"] == {"pm [ug/m3]": "ug/m3"}
    assert facts["privileged_columns"] == {"lab": "V"}
    assert list(facts["columns_left_out"]) == ["wind"]
    assert (facts["rows"], facts["step"], facts["ahead"]) == (397, "1 h", "4 h")
    assert (facts["first"], facts["last"]) == ("2024-01-01 00:00:00", "2024-01-17 15:00:00")
    lost = sum(facts["dropped"].values()) + facts["missing_privilege"]["set aside"]
    assert facts["windows"] + lost == facts["windows_looked_at"]
    assert set(facts["dropped"]) <= {"hole in the index", "missing target", "missing input"}
    text = str(air)
    assert "MAE [ug/m3]" in text
    assert "lab in V" in text
    assert "for a hole in the index" in text
    assert "Columns left out: wind" in text
    assert "Season: 1 d, as the clock suggests" in text


def test_the_letter_begins_with_the_verdict_fits_a_screen_and_ends_with_what_to_do(helped, air):
    for report in (helped, air):
        text = str(report)
        lines = [line for line in text.splitlines() if not line.startswith("    pitskd ")]  # to be copied
        assert max(map(len, lines)) <= 100
        assert text.startswith(report.verdict.upper())
        assert "Next:" in text.split("\n\n")[-1]
        for method in report.table.loc[report.table["role"] != "candidate", "method"]:
            assert method in text


def test_json_is_plain_and_complete(helped, air):
    for report in (helped, air):
        found = json.loads(json.dumps(report.to_json(), allow_nan=False))
        assert found["verdict"] == report.verdict
        assert [row["method"] for row in found["table"]] == report.table["method"].tolist()
        assert found["facts"]["windows"] == report.facts["windows"]
        assert found["table"][0]["lead"] is not None


def test_to_frame_is_a_copy(helped):
    frame = helped.to_frame()
    frame["score"] = 0.0
    assert helped.table["score"].any()


def test_the_seasonal_forecast_is_the_value_a_season_before_the_target(folder):
    frame = hourly(name="pm").drop(columns=["lab", "wind"]).interpolate()
    frame = frame.asfreq("h").interpolate()
    frame.to_csv(folder / "daily.csv")
    report = file_report(folder / "daily.csv", target="pm", window=2, horizon=3, stride=6)
    asked = file_report(folder / "daily.csv", target="pm", window=2, horizon=3, stride=6, season=24)
    pd.testing.assert_frame_equal(report.table, asked.table)  # 24 rows are a day
    w = make_windows(frame, "pm", window=2, horizon=3, stride=6)
    rows = np.arange(1, 397, 6)[: w.n_windows]
    said = seasonal_naive(np.arange(400), frame["pm"], rows, horizon=3, season=24)
    known = ~np.isnan(said)
    assert known.sum() == w.n_windows - (rows + 3 < 24).sum()
    expected = np.abs(np.where(known, said, w.X[:, -1, 0]) - w.y)
    cells = report.report.cells.query("method == 'seasonal naive'")
    weight = cells["n_test"].sum() / w.n_windows  # how often a window was held out, about
    assert cells["mae"].sum() / weight == pytest.approx(expected.sum(), rel=0.05)
    assert f"stands in for that of a season ago in {(~known).sum()} of {w.n_windows} windows" in " ".join(
        str(report).split()
    )


def test_what_cannot_be_run_is_left_out_with_the_reason(folder, helped):
    left_out = helped.report.left_out
    assert "autoregression" in set(helped.table["method"])  # one row is enough for an order of one
    assert left_out["seasonal naive"].startswith("the rows carry no times")
    hourly(name="pm").to_csv(folder / "lab.csv")
    report = file_report(
        folder / "lab.csv", target="lab", window=1, horizon=1, privileged=None, privileged_columns="lab", stride=9
    )
    for name in ("persistence", "seasonal naive", "autoregression"):
        assert "'lab' is privileged: its past is not known" in report.report.left_out[name]
    whole = file_report(folder / "lab.csv", target="lab", window=1, horizon=24, privileged=2, stride=8)
    assert "a whole number of seasons (1 d): it is persistence" in whole.report.left_out["seasonal naive"]


def test_events_are_judged_beside_a_regression_of_their_number(folder):
    hourly(name="pm").to_csv(folder / "events.csv")
    report = file_report(folder / "events.csv", target="pm", window=2, horizon=3, threshold=4, stride=8)
    roles = report.table.set_index("method")["role"]
    assert set(roles.index[roles == "reference"]) == {
        "persistence", "autoregression", "seasonal naive", "ridge on the number", "base rate",
    }  # fmt: skip
    scores = report.table.set_index("method")
    assert scores.loc["base rate", ["accuracy", "log_loss"]].notna().all()
    assert scores.loc["autoregression", "accuracy"] > scores.loc["base rate", "accuracy"]
    assert "ridge on the margin" not in report.report.left_out
    w = make_windows(hourly(name="pm")[["pm"]], "pm", window=2, horizon=3, threshold=4, stride=8)
    assert report.facts["share_of_events"] == pytest.approx(w.y.mean(), abs=0.05)
    assert f"in {100 * report.facts['share_of_events']:.1f} % of the windows" in str(report)


def test_rare_events_are_counted_and_have_their_log_loss(folder):
    frame = rotating(500, 2, seed=2)
    frame["x0"] *= 0.01
    for first in range(40, 500, 80):
        frame.loc[first : first + 6, "x0"] = 9.0
    frame.to_csv(folder / "rare.csv", index=False)
    report = file_report(folder / "rare.csv", target="x0", window=2, horizon=3, threshold=5, stride=2)
    told = " ".join(str(report).split())
    assert report.facts["separate_events"] == 6
    assert "6 separate events." in told
    assert report.summary.endswith("Caution: there are 6 separate events in these windows, too few to tell.")
    scores = report.table.set_index("method")
    assert f"The student's log-loss is {scores.loc['student', 'log_loss']:.3f}, below that of the tuned base" in told
    gain = scores.loc["base rate", "log_loss"] - scores.loc["student", "log_loss"]
    assert float(told.partition(", of the base rate by ")[2].split()[0]) == pytest.approx(gain, abs=0.01)


def test_an_autoregression_learns_a_season_from_the_series_around_what_is_held_out(folder):
    noise = np.random.default_rng(3).normal(size=900)
    values = np.zeros(900)
    for t in range(24, 900):
        values[t] = 0.98 * values[t - 24] + noise[t]
    pd.DataFrame({"y": values}).to_csv(folder / "season.csv", index=False)
    report = file_report(folder / "season.csv", target="y", window=24, horizon=2, max_windows=60, all_windows=False)
    rows = report.table.set_index("method")
    model = AutoReg(values[:600], 24).fit()
    said = [model.append(values[600 : t + 1]).forecast(2)[-1] for t in range(630, 890, 10)]
    r2 = 1 - np.square(values[632:892:10] - said).mean() / values[600:].var()
    assert rows.loc["autoregression", "r2"] > r2 - 0.1


def test_the_training_part_of_a_series_holds_no_row_of_what_is_held_out():
    index = pd.Index(np.delete(np.arange(120), 30), name="time")  # a hole
    frame = pd.DataFrame({"y": np.arange(119.0), "g": "a"}, index=index)
    both = pd.concat([frame, frame.assign(y=frame["y"] + 1000, g="b")]).sort_index(kind="stable")
    w = make_windows(both, "y", window=3, horizon=2, groups="g", stride=3)
    w = w.take(np.argsort(w.spans[:, 0], kind="stable"))
    test = np.r_[10:16, 40:44]
    known = training_part(Table.read(both[["y"]], both["g"], None), w.spans, test)
    touched = np.concatenate(
        [np.arange(w.spans[rows, 0].min(), w.spans[rows, 1].max() + 1) for rows in (test[:6], test[6:])]
    )
    clear = np.flatnonzero(~np.isin(index, touched))
    np.testing.assert_array_equal(known[~np.isnan(known)], np.r_[clear, 1000 + clear])
    steps = np.diff(known)
    assert set(steps[~np.isnan(steps)]) == {1.0}
    assert np.isnan(known[np.flatnonzero(known == 29)[0] + 1])  # the hole
    assert np.isnan(known[np.flatnonzero(known == 118)[0] + 1])  # the other group


def test_times_with_an_offset_give_the_report_of_times_without(folder):
    frame = hourly(310, name="pm")[["pm"]]
    frame.to_csv(folder / "plain.csv")
    frame.tz_localize("UTC").tz_convert("Europe/Berlin").to_csv(folder / "offset.csv")
    options = {"target": "pm", "window": 3, "horizon": 4, "max_windows": 60}
    plain, offset = (file_report(folder / name, **options) for name in ("plain.csv", "offset.csv"))
    pd.testing.assert_frame_equal(plain.table, offset.table)
    assert "seasonal naive" in set(plain.table["method"])


@pytest.mark.parametrize("timed", [True, False])
def test_a_season_in_rows_counts_the_rows_of_a_group(folder, timed):
    time = pd.date_range("2024-01-01", periods=300, freq="h")
    wave = 3 * np.sin(np.arange(300) * 2 * np.pi / 24) + 0.1 * np.random.default_rng(0).normal(size=300)
    groups = [pd.DataFrame({"time": time + k * pd.Timedelta("30min"), "g": k, "y": np.roll(wave, k)}) for k in (0, 1)]
    frame = pd.concat(groups).sort_values("time")
    frame.drop(columns=[] if timed else "time").to_csv(folder / "shift.csv", index=False)
    options = {"target": "y", "window": 2, "horizon": 3, "group": "g", "max_windows": 60, "columns": ["y"]}
    rows = file_report(folder / "shift.csv", season=24, **options).table.set_index("method")
    assert rows.loc["seasonal naive", "r2"] > 0.9  # the last value stands in on the first day
    if timed:
        of_day = file_report(folder / "shift.csv", **options).table.set_index("method")
        pd.testing.assert_frame_equal(of_day, rows)


def test_the_default_season_is_that_of_the_steps_of_a_group(folder):
    days = pd.date_range("2024-01-01", periods=200, freq="D")
    wave = np.tile(np.arange(7.0), 29)[:200] + 0.1 * np.random.default_rng(0).normal(size=200)
    frame = pd.concat([pd.DataFrame({"time": days + k * pd.Timedelta("6h"), "g": k, "y": wave}) for k in (0, 1)])
    frame.sort_values("time").to_csv(folder / "days.csv", index=False)
    options = {"target": "y", "window": 2, "horizon": 3, "group": "g", "max_windows": 60, "columns": ["y"]}
    assert "Season: 7 d, as the clock suggests." in file_report(folder / "days.csv", **options).remarks


def test_a_sparse_privileged_sensor_is_named_before_any_training_or_cautioned_about(folder):
    frame = rotating(300, 2).assign(lab=lambda rows: np.where(np.arange(len(rows)) % 24 == 0, rows["x1"], np.nan))
    frame.to_csv(folder / "sparse.csv", index=False)
    options = {"target": "x0", "window": 2, "horizon": 3}
    with pytest.raises(ValueError, match=r"privileged_columns must be .*'lab', which has no value in 287 of 300"):
        file_report(folder / "sparse.csv", privileged_columns="lab", **options)
    frame["lab"] = np.where(np.arange(300) % 40 < 12, frame["x1"], np.nan)
    frame.to_csv(folder / "sparse.csv", index=False)
    report = file_report(folder / "sparse.csv", privileged_columns="lab", max_windows=120, **options)
    untaught = report.facts["missing_privilege"]["taught by the target alone"]
    n = report.facts["windows"]
    assert n / 2 <= untaught < n
    assert f"Caution: only {n - untaught} of {n} windows have a whole privileged part." in report.summary


def test_the_command_fits_what_was_judged(folder):
    rotating().to_csv(folder / "rotating.csv", index=False)
    own = open_file("FILE", folder / "rotating.csv", WindowOptions("x0", 2, 3, max_windows=90, units={"x0": "m s"}))
    asked = shlex.split(command(own, "front-door"))
    assert asked[-8:] == [
        "--max-windows",
        "90",
        "--unit",
        "x0=m s",
        "--student",
        "front-door",
        "--model",
        "student.pitskd",
    ]
    kept = file_report(folder / "rotating.csv", target="x0", window=1, horizon=6, all_windows=False)
    ridge = [step for step in kept.next_steps if "--student ridge" in step]
    assert ridge  # which learns from all windows as well
    assert "--max-windows" not in ridge[0]


def test_a_handful_of_windows_with_a_privileged_part_is_too_few(folder):
    frame = rotating(300, 2)
    frame["lab"] = np.where(np.arange(300) < 9, frame["x1"], np.nan)
    frame.to_csv(folder / "few.csv", index=False)
    with pytest.raises(ValueError, match="windows with a whole privileged part, got 6 of 296"):
        file_report(folder / "few.csv", target="x0", window=2, horizon=3, privileged_columns="lab")


def test_advice_about_a_base_rate_is_about_probabilities():
    ends = dict.fromkeys(["lead_lower", "lead_bootstrap_lower"], -0.01) | {"lead_upper": 0.0}
    row = {"method": "base rate", "role": "reference", "score": 0.99, "lead": -0.005} | ends
    student = {"method": "student", "role": "student", "score": 0.985}
    own = open_file("FILE", "data/sensors.csv", WindowOptions("level [m]", 1, 6))
    step = next_steps("no evidence", pd.DataFrame([row, student]), own)[0]
    assert step.startswith("By accuracy the student is not better than the base rate: use its probabilities")


def test_groups_share_blocks_of_time(folder):
    cities = pd.concat([rotating(240, 3, seed).assign(city=city) for seed, city in enumerate(["a", "b"])])
    cities["time"] = np.tile(pd.date_range("2024-01-01", periods=240, freq="h"), 2)
    stacked, mixed = folder / "stacked.csv", folder / "mixed.csv"
    cities.to_csv(stacked, index=False)
    cities.sort_values(["time", "city"], kind="stable").to_csv(mixed, index=False)
    options = {"target": "x0", "window": 2, "horizon": 3, "group": "city", "stride": 6}
    one, two = (file_report(path, **options) for path in (stacked, mixed))
    assert one.facts["n_groups"] == 2
    pd.testing.assert_frame_equal(one.table, two.table)  # where rows of a city stand is irrelevant


def test_windows_that_share_a_moment_with_held_out_ones_teach_nobody():
    starts = np.sort(np.r_[np.arange(0, 200, 2), np.arange(0, 200, 3)])  # two groups, interleaved
    spans = np.stack([starts, starts + 5], axis=1)
    y, taught = np.arange(len(spans)) % 2, np.ones(len(spans), dtype=bool)
    splits = time_splits(spans, y, taught, classify=True, n_splits=20, random_state=0)
    assert len(splits) == 20
    for train, test in splits:
        apart = (spans[train, None, 1] < spans[test, 0]) | (spans[train, None, 0] > spans[test, 1])
        assert apart.all()
        assert len(train) > len(spans) / 2
    held_out = np.bincount(np.concatenate([test for _, test in splits]))
    assert set(held_out) == {5}


def test_a_learning_curve_and_a_seed_are_passed_on(folder):
    frame = rotating(200, 3)
    frame.to_csv(folder / "small.csv", index=False)
    options = {"target": "x0", "window": 1, "horizon": 3, "stride": 4}
    curve = file_report(folder / "small.csv", learning_curve=[0.5, 1.0], **options)
    assert curve.report.learning_curve["size"].tolist() == [0.5, 1.0]
    assert "training rows" in str(curve)
    assert not curve.table.equals(file_report(folder / "small.csv", random_state=1, **options).table)
    assert json.dumps(curve.to_json(), allow_nan=False)


def test_the_last_stretch_is_forecast_by_a_student_of_what_lies_before(helped):
    stretch, frame = helped.stretch, rotating()
    assert len(stretch) == helped.facts["windows"] // 4
    np.testing.assert_allclose(stretch["persistence"], frame["x0"][stretch["origin"]])
    np.testing.assert_allclose(stretch["target"], frame["x0"][stretch["origin"] + 6])
    w = make_windows(frame, "x0", window=1, horizon=6, stride=7)
    before = w.take(w.origin + 6 < stretch["origin"][0])
    student = PrivilegedRegressor().fit(before.X, before.y, X_privileged=before.X_privileged)
    np.testing.assert_allclose(student.predict(w.X[-len(stretch) :]), stretch["student"])


def test_the_display_draws_leads_and_forecasts(helped):
    pytest.importorskip("matplotlib", reason="figures need the extra plot")
    from matplotlib.figure import Figure

    from pitskd.experiments import FileReportDisplay

    display = FileReportDisplay.from_report(helped, axes=Figure().subplots(2))
    above, below = display.axes_
    rows = helped.table[helped.table["lead"].notna()]
    assert [label.get_text() for label in above.get_yticklabels()] == rows["method"].tolist()
    assert "persistence" in rows["method"].tolist()
    lines = {line.get_label(): line for line in below.lines}
    np.testing.assert_allclose(lines["student"].get_ydata(), helped.stretch["student"])


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"target": "pm2"}, ValueError, "target must be a column of .*, got 'pm2'"),
        ({"horizon": 1}, ValueError, "horizon must be at least 2 for privileged between: else no row lies between"),
        ({"privileged": None}, ValueError, "privileged must be given, or privileged_columns: else there is nothing"),
        ({"season": "soon"}, ValueError, "season must be a number of rows or a time, got soon"),
        ({"season": 0}, ValueError, "season must be at least one row"),
        ({"season": "24h"}, ValueError, "season must be a number of rows for a file without times"),
        ({"window": 900}, ValueError, "must be such that window and horizon fit the file, which has 90 rows"),
        ({"window": 80, "horizon": 5}, ValueError, "path must be long enough"),
        ({"max_windows": 6}, ValueError, "for 8 windows, got 6 of them.* or a larger max_windows"),
        ({"stride": 20}, ValueError, "for 8 windows, got 5 of them.* or a smaller stride"),
        ({"threshold": "a"}, TypeError, "threshold must be a number, got a"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be None or a whole number other than 0, got 0"),
        ({"threshold": 99.0}, ValueError, "threshold must be such that the windows hold both classes"),
        ({"columns": ["x1"], "privileged_columns": ["x1"]}, ValueError, "privileged_columns must be other columns"),
        ({"window": "3"}, TypeError, "window must be an integer of at least 1, got 3"),
    ],
)
def test_errors_name_the_parameter(folder, options, kind, message):
    path = folder / "ninety.csv"
    rotating(90, 2).to_csv(path, index=False)
    with pytest.raises(kind, match=message):
        file_report(path, **{"target": "x0", "window": 2, "horizon": 3} | options)


def test_a_constant_target_is_refused(folder):
    rotating(90, 2).assign(x0=1.0).to_csv(folder / "constant.csv", index=False)
    with pytest.raises(ValueError, match="target must be a column that varies, got 'x0', which is 1 in all"):
        file_report(folder / "constant.csv", target="x0", window=2, horizon=3)


def test_the_names_are_public():
    assert pitskd.file_report is file_report
    assert {"FileReport", "file_report"} <= set(dir(pitskd))
