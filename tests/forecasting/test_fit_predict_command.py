"""`pitskd fit` saves the student of Python, `pitskd predict` says what it says; a mistake leaves nothing behind."""

import json
import pickle
import subprocess
import sys
import zipfile
from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from typer.testing import CliRunner

import pitskd
from pitskd import (
    AnchoredDistillationClassifierCV,
    AnchoredDistillationRegressor,
    ChainDistillationClassifierCV,
    ChainDistillationRegressor,
    PrivilegedAnomalyDetector,
    PrivilegedClassifier,
    PrivilegedRegressor,
    TunedLogisticRegression,
    TunedRidge,
    cli,
    make_windows,
)
from pitskd.forecasting import command, learning, predicting
from pitskd.parts import read_parts
from pitskd.persistence import _digest, load, model_facts, save

WINDOW, HORIZON = 4, 3
SHAPE = {"window": WINDOW, "horizon": HORIZON}
ASKED = ["--target", "pm", "--window", WINDOW, "--horizon", HORIZON, "--time", "when"]
LAB = ["--privileged-columns", "lab"]


def simulate(n_rows, seed=0, start="2024-01-01"):
    noise = np.random.default_rng(seed).normal(size=(n_rows, 3))
    rows = np.zeros((n_rows, 3))
    for row in range(1, n_rows):
        rows[row] = 0.7 * rows[row - 1] + 0.2 * rows[row - 1, ::-1] + noise[row]
    index = pd.date_range(start, periods=n_rows, freq="h", name="when")
    return pd.DataFrame(rows, columns=["pm", "wind", "lab"], index=index)


@pytest.fixture(scope="module")
def train():
    return simulate(400)


@pytest.fixture(scope="module")
def new():
    return simulate(60, 1, "2024-03-01").drop(columns="lab")


@pytest.fixture(scope="module")
def windows(train):
    return make_windows(train, "pm", **SHAPE, privileged_columns="lab")


@pytest.fixture(scope="module")
def hand(windows):
    """Return the front door fitted in Python."""
    return PrivilegedRegressor().fit(windows.X, windows.y, X_privileged=windows.X_privileged)


@pytest.fixture(scope="module")
def files(train, new, tmp_path_factory):
    """Return a folder with a training file, a new one and a saved student."""
    folder = tmp_path_factory.mktemp("forecasts")
    train.to_csv(folder / "air.csv")
    new.to_csv(folder / "new.csv")
    done = fit(folder / "air.csv", *ASKED, *LAB, "--model", folder / "model", "--unit", "pm=ug/m3")
    assert done.exit_code == 0, done.output
    return folder


def run(name, *arguments):
    return CliRunner().invoke(cli.app, [name, *map(str, arguments)])


def fit(*arguments):
    return run("fit", *arguments)


def predict(*arguments):
    return run("predict", *arguments)


def flat(text):
    """Return what the frame of an error message holds, in one line."""
    return " ".join(text.replace("│", " ").split())


def forecast(folder, frame, *arguments, model="model", name="asked.csv"):
    """Write a frame to a file, and return what the student of a model file says of it."""
    frame.to_csv(folder / name, index=frame.index.name is not None)
    out = folder / "said.csv"
    done = predict(folder / model, folder / name, "--out", out, *arguments)
    assert done.exit_code == 0, done.output
    return pd.read_csv(out), done.stderr


# ---------------------------------------------------------------- fit


def test_the_saved_student_is_the_front_door_of_python(files, windows, hand):
    model = load(files / "model")
    assert type(model) is PrivilegedRegressor
    assert np.array_equal(model.predict(windows.X), hand.predict(windows.X))
    assert model.loss_ == hand.loss_
    pd.testing.assert_frame_equal(model.candidates_, hand.candidates_, check_exact=True)


def test_the_recipe_travels_with_the_student(files, train):
    facts = model_facts(files / "model")["notes"]["forecast"]
    expected = {
        "target": "pm", "window": 4, "horizon": 3, "threshold": None, "columns": ["pm", "wind"],
        "privileged_columns": ["lab"], "privileged_steps": [-3, -2, -1, 0, 1, 2], "time": "when", "group": None,
        "max_gap": None, "clock": "times", "aware": False, "period": 3600.0, "calendar": None, "calendar_step": 1,
        "even": True, "shifts": False, "units": {"pm": "ug/m3"},
        "student": "front-door", "rows": 400, "windows": 394, "stride": 1, "file": "air.csv",
        "dropped": {"hole in the index": 0, "missing target": 0, "missing input": 0},
        "ranges": {name: [train[name].min(), train[name].max()] for name in ("pm", "wind")},
    }  # fmt: skip
    assert facts == expected


def test_training_says_what_it_did(files, train, tmp_path):
    frame = train.assign(side="NW")
    frame.iloc[100, 1] = np.nan
    frame.iloc[200, 2] = np.nan
    frame.drop(frame.index[300]).to_csv(tmp_path / "air.csv")
    done = fit(tmp_path / "air.csv", *ASKED, *LAB, "--model", tmp_path / "m", "--unit", "pm=ug/m3")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    for said in (
        "column 'side' left out: ",
        "rows: 399, step 1 h",
        "windows: 383 of 393; left out for a hole in the index: 6; missing input: 4",
        "a privileged value is missing in 8 windows: they teach by their target alone",
        "inputs: pm [ug/m3], wind, the last 4 rows; target: pm [ug/m3], 3 rows ahead; ",
        "privileged: lab; rows ahead: 1, 2",
        "student: the front door",
        "held-out mean squared error inside the training: ",
        "model saved: ",
        "pitskd report",
    ):
        assert said in done.stderr


def test_auto_takes_the_front_door_for_few_windows_and_every_window_where_there_are_many(
    files, windows, tmp_path, monkeypatch
):
    monkeypatch.setattr(learning, "MAX_WINDOWS", 394)
    assert fit(files / "air.csv", *ASKED, *LAB, "--model", tmp_path / "m").exit_code == 0
    assert type(load(tmp_path / "m")) is PrivilegedRegressor
    monkeypatch.setattr(learning, "MAX_WINDOWS", 393)
    done = fit(files / "air.csv", *ASKED, *LAB, "--model", tmp_path / "m")
    assert done.exit_code == 0, done.output
    model = load(tmp_path / "m")
    expected = AnchoredDistillationRegressor().fit(windows.X, windows.y, X_privileged=windows.X_privileged)
    assert type(model) is AnchoredDistillationRegressor
    assert np.allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-8)
    assert "by sums over every window" in done.stderr
    done = fit(files / "air.csv", *ASKED, "--privileged", "none", "--model", tmp_path / "m")
    assert done.exit_code == 0, done.output
    assert type(load(tmp_path / "m")) is TunedRidge


def test_windows_asked_for_are_evenly_spaced(files, train, tmp_path):
    done = fit(files / "air.csv", *ASKED, *LAB, "--model", tmp_path / "m", "--max-windows", 100)
    assert done.exit_code == 0, done.output
    w = make_windows(train, "pm", **SHAPE, privileged_columns="lab", stride=4)
    expected = PrivilegedRegressor().fit(w.X, w.y, X_privileged=w.X_privileged)
    assert np.allclose(load(tmp_path / "m").predict(w.X), expected.predict(w.X), rtol=1e-9, atol=1e-9)
    assert "windows: 99 of 99 at every 4 rows (394 at every row)" in done.stderr


@pytest.mark.parametrize(("student", "strength"), [("chain", "penalty"), ("anchored", "anchor"), ("ridge", "penalty_")])
def test_a_student_of_sums_is_that_of_fit_at_a_strength_chosen_by_held_out_error(
    files, windows, tmp_path, student, strength
):
    done = fit(files / "air.csv", *ASKED, *LAB, "--model", tmp_path / "m", "--student", student)
    assert done.exit_code == 0, done.output
    saved = load(tmp_path / "m")
    assert f"{strength.rstrip('_')} {getattr(saved, strength):g}, chosen by held-out error" in done.stderr
    taught = {} if student == "ridge" else {"X_privileged": windows.X_privileged}
    X = windows.X.reshape(394, -1) if student == "ridge" else windows.X
    expected = clone(saved).fit(X, windows.y, **taught).predict(X)
    assert np.allclose(saved.predict(X), expected, rtol=1e-8, atol=1e-8)


def test_strengths_are_chosen_so_that_later_rows_are_forecast_better(tmp_path):
    noise = np.random.default_rng(0)
    rows = np.zeros((1200, 10))
    for t in range(1, 1200):
        rows[t] = 0.8 * rows[t - 1] + noise.normal(size=10)
    frame = pd.DataFrame(rows, columns=[f"s{i}" for i in range(10)])
    frame[:600].to_csv(tmp_path / "train.csv", index=False)
    later = make_windows(frame[600:], "s0", window=20, horizon=5)
    untuned = {"anchored": AnchoredDistillationRegressor(), "chain": ChainDistillationRegressor()}
    first = make_windows(frame[:600], "s0", window=20, horizon=5)
    for student, model in untuned.items():
        asked = ["--target", "s0", "--window", 20, "--horizon", 5, "--student", student]
        assert fit(tmp_path / "train.csv", *asked, "--model", tmp_path / student).exit_code == 0
        model.fit(first.X, first.y, X_privileged=first.X_privileged)
        gain = load(tmp_path / student).score(later.X, later.y) - model.score(later.X, later.y)
        assert gain > {"anchored": 0.1, "chain": 0.0}[student]


@pytest.mark.parametrize(
    ("student", "model"),
    [("auto", PrivilegedClassifier()), ("chain", ChainDistillationClassifierCV()),
     ("anchored", AnchoredDistillationClassifierCV()), ("ridge", TunedLogisticRegression())],
)  # fmt: skip
def test_events_are_forecast_by_classifiers_with_their_probability(files, train, new, tmp_path, student, model):
    done = fit(
        files / "air.csv", *ASKED, *LAB, "--threshold", 1, "--model", tmp_path / "m", "--student", student,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    w = make_windows(train, "pm", **SHAPE, privileged_columns="lab", threshold=1.0)
    live = make_windows(new, "pm", **SHAPE, require_target=False).X[-HORIZON:]
    if student == "ridge":
        live = live.reshape(HORIZON, -1)
        model.fit(w.X.reshape(394, -1), w.y)
    else:
        model.fit(w.X, w.y, X_privileged=w.X_privileged)
    said, _ = forecast(tmp_path, new, model="m")
    assert list(said.columns) == ["origin", "target_time", "pm+3>1", "probability"]
    assert said["pm+3>1"].tolist() == model.predict(live).tolist()
    assert np.allclose(said["probability"], model.predict_proba(live)[:, 1], rtol=1e-9)


def test_without_anything_privileged_the_student_is_the_tuned_baseline(files, train, tmp_path):
    for middle in (["--privileged", "none"], ["--horizon", "1"]):
        done = fit(files / "air.csv", *ASKED, *middle, "--model", tmp_path / "m")
        assert done.exit_code == 0, done.output
        assert "privileged: nothing" in done.stderr
        w = make_windows(train, "pm", window=WINDOW, horizon=HORIZON if "none" in middle else 1)
        expected = PrivilegedRegressor(candidates="baseline").fit(w.X, w.y, X_privileged=np.empty((len(w.y), 0)))
        assert np.array_equal(load(tmp_path / "m").predict(w.X), expected.predict(w.X))


def test_python_and_the_shell_read_the_same_model_file(files, new):
    live = make_windows(new, "pm", **SHAPE, require_target=False).X[-HORIZON:]
    said, _ = forecast(files, new)
    assert np.allclose(said["pm+3"], pitskd.persistence.load(files / "model").predict(live), rtol=1e-12)


# ---------------------------------------------------------------- predict


def test_live_forecasts_are_those_of_windows_without_a_target(files, new, hand):
    said, told = forecast(files, new)
    w = make_windows(new, "pm", **SHAPE, require_target=False)
    live = np.isnan(w.y)
    assert live.sum() == HORIZON
    assert said["origin"].tolist() == list(map(str, pd.DatetimeIndex(w.origin[live])))
    assert said["target_time"].tolist() == list(map(str, new.index[-HORIZON:] + pd.Timedelta(hours=HORIZON)))
    assert np.allclose(said["pm+3"], hand.predict(w.X[live]), rtol=1e-12)
    assert list(said.columns) == ["origin", "target_time", "pm+3"]
    assert "forecasts of pm+3 in ug/m3: 3 of 3 origins whose target is not in the file" in told


def test_all_forecasts_are_those_of_every_window(files, new, hand):
    said, told = forecast(files, new, "--all")
    w = make_windows(new, "pm", **SHAPE, require_target=False)
    assert said["origin"].tolist() == list(map(str, pd.DatetimeIndex(w.origin)))
    assert np.allclose(said["pm+3"], hand.predict(w.X), rtol=1e-12)
    assert "57 of 60 origins" in told
    assert "left out, less than 4 rows, or a hole in the clock, before them: 3" in told


def test_a_target_missing_in_the_file_is_not_one_to_come(files, new):
    short, _ = forecast(files, new)
    frame = new.copy()
    frame.iloc[20:30, 0] = np.nan
    again, _ = forecast(files, frame)
    pd.testing.assert_frame_equal(again, short)


def test_the_target_need_not_be_in_the_new_file_where_the_student_does_not_see_it(files, train, tmp_path):
    options = ["--target", "lab", "--window", 2, "--horizon", 1, "--privileged", "none", *LAB, "--time", "when"]
    assert fit(files / "air.csv", *options, "--model", tmp_path / "m").exit_code == 0
    w = make_windows(train, "lab", window=2, horizon=1, privileged=None, privileged_columns="lab")
    expected = PrivilegedRegressor().fit(w.X, w.y, X_privileged=w.X_privileged).predict(w.X)
    said, _ = forecast(tmp_path, train.drop(columns="lab"), "--all", model="m")
    assert np.allclose(said["lab+1"][:-1], expected, rtol=1e-10)


def test_order_of_columns_and_further_columns_do_not_matter(files, new):
    expected, _ = forecast(files, new)
    said, told = forecast(files, new.assign(side="NW", lab=0.0).iloc[:, ::-1])
    pd.testing.assert_frame_equal(said, expected)
    assert "columns that the student does not read: lab, side" in told


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", "-"])
def test_every_kind_of_file_holds_the_same(files, new, tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    frame = new.copy()
    frame.iloc[30, 1] = np.nan
    expected, _ = forecast(files, frame, "--all")
    out = "-" if ending == "-" else tmp_path / f"said{ending}"
    done = predict(files / "model", files / "asked.csv", "--out", out, "--all")
    assert done.exit_code == 0, done.output
    if ending == "-":
        assert done.stdout == (files / "said.csv").read_text()
    elif ending == ".csv":
        assert out.read_text() == (files / "said.csv").read_text()
    elif ending == ".parquet":
        found = pd.read_parquet(out)
        assert found.attrs == {"units": {"pm+3": "ug/m3"}}
        assert found["origin"].tolist() == pd.to_datetime(expected["origin"]).tolist()
        assert np.array_equal(found["pm+3"], expected["pm+3"], equal_nan=True)
    else:
        rows = [json.loads(line, parse_constant=pytest.fail) for line in out.read_text().splitlines()]
        assert [row["origin"] for row in rows] == expected["origin"].tolist()
        assert [row["pm+3"] for row in rows] == expected["pm+3"].astype(object).where(
            expected["pm+3"].notna(), None
        ).tolist()


def test_a_missing_input_leaves_its_forecasts_empty_and_they_are_counted(files, new):
    expected, _ = forecast(files, new)
    frame = new.copy()
    frame.iloc[-6, 1] = np.nan  # seen by the first of the live origins
    said, told = forecast(files, frame)
    assert said["origin"].tolist() == expected["origin"].tolist()
    assert said["pm+3"].isna().tolist() == [True, False, False]
    assert said["pm+3"][1:].tolist() == pytest.approx(expected["pm+3"][1:].tolist(), rel=1e-12)
    assert "forecasts of pm+3 in ug/m3: 2 of 3" in told
    assert "left empty, an input is missing: 1" in told


def test_origins_before_a_hole_in_the_past_are_not_live_and_those_behind_one_are_counted(files, new):
    frame = new.drop(new.index[[20, 21, 55]])  # three whole rows, then four: only the last origin sees four
    said, told = forecast(files, frame)
    assert said["origin"].tolist() == [str(new.index[-1])]
    assert "1 of 3 origins whose target is not in the file" in told
    assert "a hole in the clock, before them: 2" in told
    every, _ = forecast(files, frame, "--all")
    w = make_windows(frame, "pm", **SHAPE, require_target=False)
    assert every["origin"].tolist() == list(map(str, pd.DatetimeIndex(w.origin)))


@pytest.mark.parametrize("order", ["stacked", "interleaved"])
def test_every_group_has_live_origins_of_its_own(tmp_path, order):
    cities = [simulate(n_rows, seed).assign(city=name) for n_rows, seed, name in ((300, 0, "A"), (250, 1, "B"))]
    both = pd.concat(cities)
    both = both.sort_index(kind="stable") if order == "interleaved" else both
    both.to_csv(tmp_path / "air.csv")
    done = fit(tmp_path / "air.csv", *ASKED, "--group", "city", "--model", tmp_path / "m")
    assert done.exit_code == 0, done.output
    assert "rows: 550, step 1 h, groups: 2" in done.stderr
    w = make_windows(both, "pm", **SHAPE, groups="city")
    expected = PrivilegedRegressor().fit(w.X, w.y, X_privileged=w.X_privileged)
    said, told = forecast(tmp_path, both, model="m")
    assert sorted(said["city"]) == ["A"] * HORIZON + ["B"] * HORIZON
    assert "6 of 6 origins" in told
    for city in cities:
        live = make_windows(city.drop(columns="city"), "pm", **SHAPE, require_target=False)
        found = said[said["city"] == city["city"].iloc[0]]
        assert found["origin"].tolist() == list(map(str, city.index[-HORIZON:]))
        assert np.allclose(found["pm+3"], expected.predict(live.X[-HORIZON:]), rtol=1e-9)
    alone, _ = forecast(tmp_path, cities[1], model="m")
    assert np.allclose(alone["pm+3"], said["pm+3"][said["city"] == "B"], rtol=1e-12)


@pytest.mark.parametrize("every", [[], ["--all"]])
def test_parts_of_any_size_give_the_same_forecasts(files, new, monkeypatch, every):
    frame = new.drop(new.index[[20, 21, 55]])
    frame.iloc[30, 1] = np.nan
    expected, told = forecast(files, frame, *every)
    for rows in (1, 7):
        monkeypatch.setattr(predicting, "read_parts", partial(read_parts, rows=rows))
        said, again = forecast(files, frame, *every)
        pd.testing.assert_frame_equal(said, expected, rtol=1e-12)
        assert again == told


def test_a_clock_of_numbers_and_a_longest_step(train, tmp_path):
    seconds = train.set_axis(np.arange(400) * 0.5, axis=0).rename_axis("second")
    seconds = seconds.drop(seconds.index[[100, 200]])
    seconds.to_csv(tmp_path / "log.csv")
    asked = ["--target", "pm", "--window", WINDOW, "--horizon", HORIZON, "--time", "second", "--max-gap", "1.0"]
    done = fit(tmp_path / "log.csv", *asked, "--model", tmp_path / "m")
    assert done.exit_code == 0, done.output
    assert "rows: 398, step 0.5" in done.stderr
    assert "windows: 392 of 392" in done.stderr
    said, _ = forecast(tmp_path, seconds, model="m")
    assert said["origin"].tolist() == [198.5, 199.0, 199.5]
    assert said["target_time"].tolist() == [200.0, 200.5, 201.0]
    every, _ = forecast(tmp_path, seconds, "--all", model="m")
    assert len(every) == 398 - WINDOW + 1


def test_months_are_one_step_though_their_lengths_differ(train, tmp_path):
    months = train.iloc[:240].set_axis(pd.date_range("2000-01-01", periods=240, freq="MS", name="when"))
    months.to_csv(tmp_path / "air.csv")
    assert fit(tmp_path / "air.csv", *ASKED, "--model", tmp_path / "m").exit_code == 0
    said, _ = forecast(tmp_path, months.iloc[13:20], model="m")  # February and shorter months among few
    assert said["origin"].tolist() == [str(time) for time in months.index[17:20]]
    assert said["target_time"].tolist() == [str(time) for time in months.index[20:23]]


REGULAR = [  # frequency, options of the training, rows of the new file
    ("h", [], 1), ("MS", [], 1), ("MS", [], 2), ("MS", [], 30), ("ME", [], 1), ("QE", [], 3), ("YS", [], 1),
    ("B", ["--max-gap", "4d"], 1), ("B", ["--max-gap", "4d"], 9), ("MS", ["--max-gap", "32d"], 5),
]  # fmt: skip


@pytest.mark.parametrize("every", [[], ["--all"]])
@pytest.mark.parametrize(("freq", "options", "n_rows"), REGULAR)
def test_a_target_is_due_when_its_row_would_come(train, tmp_path, freq, options, n_rows, every):
    index = pd.date_range("1900-01-01", periods=150, freq=freq, unit="s", name="when")
    frame = train.iloc[:150].set_axis(index)
    frame.to_csv(tmp_path / "air.csv")
    asked = ["--target", "pm", "--window", 1, "--horizon", HORIZON, "--time", "when", "--student", "ridge"]
    done = fit(tmp_path / "air.csv", *asked, *options, "--model", tmp_path / "m")
    assert done.exit_code == 0, done.output
    said, told = forecast(tmp_path, frame.iloc[100 : 100 + n_rows], *every, model="m")
    n_said = n_rows if every else min(n_rows, HORIZON)
    assert said["origin"].tolist() == list(map(str, index[100 + n_rows - n_said : 100 + n_rows]))
    due = index[100 + n_rows - n_said + HORIZON : 100 + n_rows + HORIZON]
    assert said["target_time"].tolist() == list(map(str, due))
    assert f"{n_said} of {n_said} origins" in told
    assert "nominal" not in told


def test_one_row_for_every_group_is_enough_where_the_window_is_one(train, tmp_path):
    both = pd.concat([train.assign(city="A"), train.assign(city="B")])
    both.to_csv(tmp_path / "air.csv")
    asked = ["--target", "pm", "--window", 1, "--horizon", HORIZON, "--time", "when", "--group", "city"]
    assert fit(tmp_path / "air.csv", *asked, "--student", "ridge", "--model", tmp_path / "m").exit_code == 0
    said, _ = forecast(tmp_path, both.iloc[[50, 452]], model="m")
    assert said["target_time"].tolist() == [str(train.index[50 + HORIZON]), str(train.index[52 + HORIZON])]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_of_an_uneven_clock_are_said_to_be_nominal(train, tmp_path, zone):
    steps = np.random.default_rng(0).integers(3000, 4200, size=400)
    frame = train.set_axis((train.index + pd.to_timedelta(np.cumsum(steps - 3600), unit="s")).tz_localize(zone))
    frame.rename_axis("when").to_csv(tmp_path / "air.csv")
    asked = ["--max-gap", "3h", "--student", "ridge", "--model", tmp_path / "m"]
    assert fit(tmp_path / "air.csv", *ASKED, *asked).exit_code == 0
    said, told = forecast(tmp_path, frame.rename_axis("when").iloc[:50], model="m")
    usual = pd.Series(frame.index[:50]).diff().quantile(0.5, interpolation="lower")
    due = [frame.index[49] + ahead * usual for ahead in (1, 2, 3)]
    assert said["target_time"].tolist() == list(map(str, due))
    assert "3 of 3 origins" in told
    assert "target_time is nominal where the target is not in the file: so many usual steps behind" in told


def test_days_of_a_place_that_changes_its_clocks_are_nominal(train, tmp_path):
    index = pd.date_range("2023-01-10", periods=400, freq="D", tz="Europe/Berlin", name="when")
    train.set_axis(index).to_csv(tmp_path / "air.csv")
    assert fit(tmp_path / "air.csv", *ASKED, "--student", "ridge", "--model", tmp_path / "m").exit_code == 0
    _, told = forecast(tmp_path, train.set_axis(index).iloc[:9], model="m")
    assert "nominal where the target is not in the file: days of 24 h, though clocks may be changed" in told


def test_groups_without_a_clock_have_no_row_of_a_target(train, tmp_path):
    both = pd.concat([train.assign(city="A"), train.assign(city="B")]).sort_index(kind="stable").reset_index(drop=True)
    both.to_csv(tmp_path / "air.csv", index=False)
    asked = [*ASKED[:-2], "--group", "city", "--student", "ridge", "--model", tmp_path / "m"]
    assert fit(tmp_path / "air.csv", *asked).exit_code == 0
    said, told = forecast(tmp_path, both, model="m")
    assert list(said.columns) == ["origin", "city", "pm+3"]
    assert sorted(said["origin"]) == list(range(794, 800))
    assert "6 of 6 origins" in told


@pytest.mark.parametrize("name", ["origin", "target_time", "pm+3"])
def test_a_group_is_no_column_of_the_forecasts(train, tmp_path, name):
    both = pd.concat([train.assign(**{name: "A"}), train.assign(**{name: "B"})])
    both.to_csv(tmp_path / "air.csv")
    asked = [*ASKED, "--group", name, "--student", "ridge", "--model", tmp_path / "m"]
    assert fit(tmp_path / "air.csv", *asked).exit_code == 0
    said, told = forecast(tmp_path, both, model="m")
    assert list(said.columns) == ["origin", "target_time", f"group {name}", "pm+3"]
    assert said[f"group {name}"].tolist() == ["A"] * 3 + ["B"] * 3
    assert f"the group column {name!r} is written as 'group {name}'" in told


def test_a_file_without_the_groups_of_the_training_is_refused(train, tmp_path):
    both = pd.concat([train.assign(city="A"), train.assign(city="B")])
    both.to_csv(tmp_path / "air.csv")
    asked = [*ASKED, "--group", "city", "--student", "ridge", "--model", tmp_path / "m"]
    assert fit(tmp_path / "air.csv", *asked).exit_code == 0
    both.rename(columns={"city": "town"}).to_csv(tmp_path / "new.csv")
    done = predict(tmp_path / "m", tmp_path / "new.csv", "--out", "-")
    assert done.exit_code == 2
    assert "that tells series apart, as 'city' did in training, got none. It has: when, pm" in flat(done.stderr)
    done = predict(tmp_path / "m", tmp_path / "new.csv", "--out", "-", "--group", "town")
    assert done.exit_code == 0, done.output


def test_a_reader_who_has_had_enough_is_no_error(files, new):
    pd.concat([new] * 60).set_axis(pd.date_range("2024-03-01", periods=3600, freq="h", name="when")).to_csv(
        files / "long.csv"
    )
    code = "from pitskd.cli import app; app()"
    asked = ["predict", str(files / "model"), str(files / "long.csv"), "--out", "-", "--all"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout.readline() == "origin,target_time,pm+3\n"
        done.stdout.close()
        assert done.stderr.read() == ""
    assert done.returncode == 0


def test_rows_without_a_clock_are_numbered(train, new, tmp_path):
    train.to_csv(tmp_path / "air.csv", index=False)
    done = fit(tmp_path / "air.csv", *ASKED[:-2], "--model", tmp_path / "m")
    assert done.exit_code == 0, done.output
    said, _ = forecast(tmp_path, new.reset_index(drop=True).assign(lab=0.0), model="m")
    assert said["origin"].tolist() == [57, 58, 59]
    assert said["target_row"].tolist() == [60, 61, 62]


def test_times_with_an_offset_come_out_in_utc(train, tmp_path):
    local = train.tz_localize("Europe/Berlin", ambiguous="raise")
    local.to_csv(tmp_path / "air.csv")
    done = fit(tmp_path / "air.csv", *ASKED, "--model", tmp_path / "m")
    assert done.exit_code == 0, done.output
    for every in ([], ["--all"]):
        said, _ = forecast(tmp_path, local, *every, model="m")
        assert said["origin"].iloc[-1] == str(local.index[-1].tz_convert("UTC"))
        assert said["target_time"].iloc[-1] == str(local.index[-1].tz_convert("UTC") + pd.Timedelta(hours=HORIZON))


def test_a_value_outside_the_range_of_the_training_is_warned_of(files, new, train):
    frame = new.copy()
    frame.iloc[-4, 1] = 99.0
    _, told = forecast(files, frame)
    low, high = train["wind"].min(), train["wind"].max()
    assert f"warning: 'wind' leaves the range of the training, {low:g} to {high:g}, in 3 of 3 forecasts; " in told
    assert "the farthest value is 99" in told
    _, told = forecast(files, new)
    assert "warning" not in told


def test_a_fresh_process_says_the_same(files, new):
    _, _ = forecast(files, new, "--all")
    code = "from pitskd.cli import app; app()"
    asked = ["predict", str(files / "model"), str(files / "asked.csv"), "--out", "-", "--all"]
    done = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, check=True)
    assert done.stdout == (files / "said.csv").read_text()


# ---------------------------------------------------------------- mistakes

FIT = ["air.csv", *ASKED]
WRONG_FITS = [
    (["none.csv", *ASKED], "FILE must be a file that can be read, got none.csv (No such file or directory)"),
    (["empty.csv", *ASKED], "FILE must be a file with rows, got empty.csv, which is empty"),
    (["comma.csv", *ASKED], "decimal comma"),
    (["unsorted.csv", *ASKED], "in order of 'when', got "),
    (["twice.csv", *ASKED], "twice"),
    (["zones.csv", *ASKED], "UTC offset or none"),
    (["void.csv", *ASKED], "--target must be a column with values, got 'pm', all 400 missing"),
    (["brief.csv", *ASKED], "FILE must be a file with two whole windows or more, got one"),
    ([*FIT, "--target", "pm25"], "--target must be a column of air.csv, got 'pm25'. It has: when, pm, wind, lab."),
    ([*FIT, "--horizon", 400], "--horizon must be such that --window and --horizon fit the file, which has 400 rows"),
    ([*FIT, "--window", 0], "--window must be an integer of at least 1, got 0"),
    ([*FIT, "--privileged", "all"], "--privileged must be between, none, a number of rows or steps"),
    ([*FIT, "--privileged", "3"], "--privileged must be between, none, a number of rows up to 2, or steps by commas"),
    ([*FIT, "--privileged", "9", "--horizon", 1], "--privileged must be between or none where the horizon is 1"),
    ([*FIT, "--max-gap", "foo"], "got foo. Use e.g. 3h for times, 3 for numbers, inf for any."),
    (["uneven.csv", *ASKED], "of the steps differ. Resample it, or allow longer steps with --max-gap."),
    ([*FIT, "--privileged-columns", "labs"], "--privileged-columns must be columns of air.csv, got 'labs'"),
    ([*FIT, "--columns", "pm,labs"], "--columns must be columns of air.csv, got 'labs'"),
    ([*FIT, "--time", "clock"], "--time must be a column of air.csv, got 'clock'"),
    ([*FIT, "--threshold", "nan"], "--threshold must be a finite number"),
    ([*FIT, "--threshold", "1e6"], "--threshold must be such that the windows hold both classes"),
    ([*FIT, "--unit", "pm"], "--unit must be NAME=UNIT, got pm"),
    ([*FIT, "--unit", "rain=mm"], "--unit must be a column of air.csv, got 'rain'"),
    ([*FIT, "--student", "teacher"], "--student must be 'auto' or 'front-door'"),
    ([*FIT, "--student", "chain", "--privileged", "none"], "--student must be front-door or ridge where nothing is"),
    ([*FIT, "--model", "air.csv"], "--model must be another file than FILE, got air.csv"),
    ([*FIT, "--model", "."], "it is a folder"),
    ([*FIT, "--model", "no/m"], "there is no folder no"),
]  # fmt: skip


@pytest.fixture
def place(files, train, tmp_path, monkeypatch):
    """Return a folder of good and bad files, and go there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "air.csv").write_text((files / "air.csv").read_text())
    (tmp_path / "new.csv").write_text((files / "new.csv").read_text())
    (tmp_path / "model").write_bytes((files / "model").read_bytes())
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "comma.csv").write_text("when;pm\n1;2,5\n2;3,5\n")
    train.iloc[np.r_[1, 0, 2:400]].to_csv(tmp_path / "unsorted.csv")
    train.iloc[np.r_[0, 0:399]].to_csv(tmp_path / "twice.csv")
    zones = train.set_axis([f"{time:%FT%T}{'' if row else 'Z'}" for row, time in enumerate(train.index)])
    zones.rename_axis("when").to_csv(tmp_path / "zones.csv")
    train.assign(pm=np.nan).to_csv(tmp_path / "void.csv")
    train.iloc[:7].to_csv(tmp_path / "brief.csv")
    train.set_axis(train.index + pd.to_timedelta(np.arange(400) ** 2, unit="s")).rename_axis("when").to_csv(
        "uneven.csv"
    )
    return tmp_path


def refused(done, message, place, before):
    assert done.exit_code == 2, done.output
    assert message in flat(done.stderr)
    assert flat(done.stderr).count(" must be ") == 1
    assert done.stdout == ""
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize(("arguments", "message"), WRONG_FITS, ids=lambda value: str(value)[-40:])
def test_a_mistake_in_fit_is_one_sentence_and_leaves_nothing_behind(place, arguments, message):
    before = sorted(place.iterdir())
    model = [] if "--model" in arguments else ["--model", "m"]
    refused(fit(*arguments, *model), message, place, before)


def test_a_horizon_that_is_no_number_is_refused_by_name(place):
    done = fit(*FIT, "--horizon", "soon", "--model", "m")
    assert done.exit_code == 2
    assert "--horizon" in done.stderr


def test_parquet_with_nested_columns_is_refused_or_left_out(place, train):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    nested = train.reset_index().assign(pair=[[1.0, 2.0]] * len(train))
    nested.to_parquet("nested.parquet")
    before = sorted(place.iterdir())
    refused(fit("nested.parquet", *ASKED, "--target", "pair", "--model", "m"), "'pair'", place, before)


def written_by(path, **versions):
    """Change the versions that a model file names."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    facts = json.loads(entries["pitskd.json"])
    facts["versions"].update(versions)
    _rewrite(path, entries, facts)


def noted_by(path, **notes):
    """Change the recipe that a model file holds."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    facts = json.loads(entries["pitskd.json"])
    facts["notes"]["forecast"].update(notes)
    _rewrite(path, entries, facts)


def _rewrite(path, entries, facts):
    del entries["pitskd.json"], facts["digest"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        facts["digest"] = _digest(archive, facts)
        archive.writestr("pitskd.json", json.dumps(facts))


@pytest.mark.parametrize(
    "notes",
    [{"horizon": "9"}, {"window": 4.0}, {"columns": "pm"}, {"columns": ["pm", "pm"]}, {"ranges": {"pm": [0, 1]}},
     {"ranges": {"pm": [1, 0], "wind": [0, 1]}}, {"period": "1 h"}, {"clock": "sun"}, {"units": ["m"]},
     {"threshold": True}, {"calendar": "moons"}, {"dropped": {"hole": None}}],
)  # fmt: skip
def test_notes_of_another_kind_are_refused_by_name(place, notes):
    noted_by(place / "model", **notes)
    done = predict("model", "new.csv", "--out", "-")
    assert done.exit_code == 2
    told = f"MODEL must be a model of pitskd fit, got {type(PrivilegedRegressor()).__module__}"
    assert told in flat(done.stderr)
    assert f"with other notes (see {next(iter(notes))})" in flat(done.stderr)


def test_notes_of_before_there_were_calendars_still_say_enough(place):
    expected = predict("model", "new.csv", "--out", "-").stdout
    with zipfile.ZipFile(place / "model") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    facts = json.loads(entries["pitskd.json"])
    for name in ("calendar", "calendar_step", "even", "shifts"):
        del facts["notes"]["forecast"][name]
    _rewrite(place / "model", entries, facts)
    assert predict("model", "new.csv", "--out", "-").stdout == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--student", "ridge", *LAB], ["privileged: nothing, as", "ridge regression without privileged data"]),
     (["--student", "ridge", "--threshold", 0], ["logistic regression without privileged data"]),
     (["--horizon", 1], ["student: the tuned baseline of the front door, as nothing", "pm, 1 row ahead"]),
     (["--privileged", "none", "--window", 1], ["the tuned baseline of the front door", "the last row; "])],
)  # fmt: skip
def test_what_is_said_of_the_training_is_what_happened(place, train, options, said):
    train.assign(lab=train["lab"].where(np.arange(400) % 50 > 0)).to_csv("rare.csv")
    done = fit("rare.csv", *ASKED, *options, "--model", "m")
    assert done.exit_code == 0, done.output
    for words in said:
        assert words in done.stderr
    assert "they teach" not in done.stderr


def test_a_name_with_a_comma_is_quoted(place, train):
    train.rename(columns={"wind": "wind, 10 m", "lab": "lab, dry"}).to_csv("comma.csv")
    listed = ["--columns", 'pm, "wind, 10 m"', "--privileged-columns", '"lab, dry"']
    done = fit("comma.csv", *ASKED, *listed, "--student", "ridge", "--model", "m")
    assert done.exit_code == 0, done.output
    recipe = model_facts("m")["notes"]["forecast"]
    assert recipe["columns"] == ["pm", "wind, 10 m"]
    assert recipe["privileged_columns"] == ["lab, dry"]


@pytest.mark.parametrize("error", [TypeError("'>' not supported"), ValueError("shapes (2,) and (3,) differ")])
def test_a_mistake_of_ours_is_not_shown_as_one_of_the_user(place, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(command, "learn", fail)
    done = fit(*FIT, "--model", "m")
    assert done.exit_code == 1
    assert done.exception is error


WRONG_PREDICTIONS = [
    (["model", "none.csv"], "FILE must be a file that can be read, got none.csv"),
    (["model", "bare.csv"], "FILE must be a file with the columns of the model, got none named 'wind'. It has: when"),
    (["model", "untimed.csv"], "got none named 'when'. It has: pm, wind. Rename one of them, or name the time"),
    (["model", "short.csv"], "FILE must be a file that ends with 4 rows in a row, got 3 rows"),
    (["model", "daily.csv"], "FILE must be a file with a row every 1 h, as the training file was, got one every 1 d"),
    (["model", "counted.csv"], "FILE must be a file dated by times, as the training file was, got numbers"),
    (["model", "aware.csv"], "FILE must be a file without UTC offsets, as the training file was"),
    (["model", "text.csv"], "'wind'"),
    (["model", "new.csv", "--time", "clock"], "--time must be"),
    (["model", "new.csv", "--group", "city"], "--group must be a column of new.csv, got 'city'"),
    (["model", "new.csv", "--out", "said.txt"], "--out must be - or a file that ends in .csv or .jsonl or .parquet"),
    (["model", "new.csv", "--out", "new.csv"], "--out must be another file than FILE"),
    (["model", "new.csv", "--out", "no/said.csv"], "there is no folder no"),
    (["none", "new.csv"], "MODEL must be a file that can be read, got none (No such file or directory)"),
    (["new.csv", "new.csv"], "MODEL must be a model file, got new.csv"),
    (["pickled", "new.csv"], "MODEL must be a model file, got pickled"),
    (["damaged", "new.csv"], "MODEL must be a model file, got damaged"),
    (["tampered", "new.csv"], "MODEL must be a model file as it was written, got tampered, which was changed"),
    (["newer", "new.csv"], "MODEL must be a model file of pitskd"),
    (["detector", "new.csv"], "MODEL must be a model of pitskd fit, got pitskd.anomaly.detector"),
    (["noted", "new.csv"], "MODEL must be a model of pitskd fit, got sklearn.linear_model._ridge.Ridge with other"),
]  # fmt: skip


@pytest.fixture
def models(place, new):
    """Return the folder with bad model files and bad new files too."""
    new[["pm"]].to_csv("bare.csv")
    new.to_csv("untimed.csv", index=False)
    new.iloc[:3].to_csv("short.csv")
    new.set_axis(pd.date_range("2024-01-01", periods=60, freq="D", name="when")).to_csv("daily.csv")
    new.set_axis(pd.RangeIndex(60, name="when")).to_csv("counted.csv")
    new.tz_localize("UTC").to_csv("aware.csv")
    new.assign(wind="calm").to_csv("text.csv")
    (place / "pickled").write_bytes(pickle.dumps(Ridge()))
    whole = (place / "model").read_bytes()
    (place / "damaged").write_bytes(whole[:-40])
    (place / "tampered").write_bytes(whole)
    with zipfile.ZipFile(place / "tampered", "a") as archive:
        archive.writestr("more", "")
    (place / "newer").write_bytes(whole)
    written_by(place / "newer", pitskd="99.0")
    save(PrivilegedAnomalyDetector().fit(simulate(1500)), place / "detector")
    save(Ridge().fit([[0.0]], [1.0]), place / "noted", notes={"forecast": {"target": "pm"}})
    return place


@pytest.mark.parametrize(("arguments", "message"), WRONG_PREDICTIONS, ids=lambda value: str(value)[:40])
def test_a_mistake_in_predict_is_one_sentence_and_leaves_nothing_behind(models, arguments, message):
    before = sorted(models.iterdir())
    for every in ([], ["--all"]):
        out = [] if "--out" in arguments else ["--out", "said.csv"]
        refused(predict(*arguments, *out, *every), message, models, before)


def test_a_pickle_is_never_opened(place):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    (place / "trap").write_bytes(pickle.dumps(Trap()))
    done = predict("trap", "new.csv", "--out", "said.csv")
    assert done.exit_code == 2
    assert "MODEL must be a model file, got trap" in flat(done.stderr)


def test_older_and_other_versions_are_warned_of(place):
    written_by(place / "model", pitskd="0.0.1")
    done = predict("model", "new.csv", "--out", "-")
    assert done.exit_code == 0
    assert "warning: model was written with pitskd 0.0.1. Compare predictions." in done.stderr
    written_by(place / "model", pitskd=pitskd.__version__, **{"scikit-learn": "0.9"})
    assert "was written with scikit-learn 0.9" in predict("model", "new.csv", "--out", "-").stderr


def test_an_old_file_stays_where_the_new_one_cannot_be_made(place):
    (place / "said.csv").write_text("old")
    done = predict("model", "comma.csv", "--out", "said.csv")
    assert done.exit_code == 2
    assert (place / "said.csv").read_text() == "old"


@pytest.mark.parametrize("name", ["fit", "predict"])
def test_a_stop_leaves_nothing_half_written(place, monkeypatch, name):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "learn", stop)
    monkeypatch.setattr("pitskd.forecasting.recipe.Forecaster.predict", stop)
    before = sorted(place.iterdir())
    asked = [*FIT, "--model", "m"] if name == "fit" else ["model", "new.csv", "--out", "said.csv", "--all"]
    done = run(name, *asked)
    assert done.exit_code == 130
    assert "stopped: nothing was written" in done.stderr
    assert sorted(place.iterdir()) == before


def test_the_command_loads_nothing_heavy_before_it_is_run():
    code = "import sys, pitskd.cli; print([name for name in ('pandas', 'sklearn', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
