"""`pitskd detect` trains, saves, scores, follows a real pipe; a mistake is one sentence and leaves nothing behind."""

import inspect
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pitskd import PrivilegedAnomalyDetector, cli
from pitskd.persistence import load, save

SENSORS = ["flow", "level", "temp"]
SETTINGS = {"horizons": (1, 3), "smoothing": 5, "memory": None}
OPTIONS = ["--horizons", "1,3", "--smoothing", "5", "--memory", "none"]


def simulate(n_rows, seed):
    noise = np.random.default_rng(seed).normal(size=(n_rows, 4))
    rows = np.zeros((n_rows, 4))
    for row in range(1, n_rows):
        rows[row] = 0.8 * rows[row - 1] + noise[row]
    frame = pd.DataFrame(rows, columns=[*SENSORS[:2], "lab", "temp"])
    return frame.set_index(pd.date_range("2024-05-01", periods=n_rows, freq="s", name="when"))


@pytest.fixture(scope="module")
def train():
    return simulate(1500, 0)


@pytest.fixture(scope="module")
def new():
    frame = simulate(400, 1)
    frame.iloc[200:230, 1] += 8.0
    frame.iloc[300:310, 0] = np.nan
    return frame.drop(frame.index[350:380])


@pytest.fixture(scope="module")
def files(train, new, tmp_path_factory):
    """Return a folder with both logs and a saved model."""
    folder = tmp_path_factory.mktemp("detect")
    train.to_csv(folder / "log.csv")
    new.to_csv(folder / "new.csv")
    done = detect(*train_options(folder), "--model", folder / "model")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def expected(train, new):
    """Return what Python says of the new log."""
    model = PrivilegedAnomalyDetector(**SETTINGS).fit(train[SENSORS], X_privileged=train[["lab"]])
    said = model.detect(new[SENSORS])
    parts = pd.DataFrame(model.contributions(new[SENSORS]), columns=SENSORS, index=new.index)
    return pd.concat([said, parts.add_prefix("contribution_")], axis=1)


def train_options(folder):
    return ["--train", folder / "log.csv", "--time", "when", "--privileged-columns", "lab", *OPTIONS]


def detect(*arguments, **settings):
    return CliRunner().invoke(cli.app, ["detect", *map(str, arguments)], **settings)


def check(found, expected):
    """Compare a table of answers with the array path."""
    for name in expected.columns:
        assert np.allclose(found[name].astype(float), expected[name].astype(float), rtol=1e-10, atol=1e-10), name


def as_table(output):
    rows = [json.loads(line, parse_constant=lambda token: pytest.fail(token)) for line in output.splitlines()]
    table = pd.DataFrame(rows)
    parts = pd.DataFrame(list(table.pop("contributions"))).add_prefix("contribution_")
    return pd.concat([table, parts], axis=1)


def lines_of(frame):
    return frame.to_csv().splitlines(keepends=True)


# ---------------------------------------------------------------- train, save, score


def test_training_says_what_came_of_it_and_saves_the_detector_of_python(files, train, tmp_path):
    done = detect(*train_options(files), "--model", tmp_path / "model")
    assert done.exit_code == 0
    assert done.stdout == ""
    for said in (
        "sensors kept: flow, level, temp; privileged: lab",
        "rows: 1500; gaps: 0; repeated times: 0; with a missing value: 0",
        "clock 'when', usual step 1 s",
        "forecasts 1, 3 row(s) ahead from the last ",
        "threshold: ",
        "false alarms asked: 0.01 of rows; achieved on ",
        "model saved: ",
    ):
        assert said in done.stderr
    model = PrivilegedAnomalyDetector(**SETTINGS).fit(train[SENSORS], X_privileged=train[["lab"]])
    again = load(tmp_path / "model")
    assert again.threshold_ == model.threshold_
    assert list(again.feature_names_in_) == SENSORS
    assert list(again.privileged_feature_names_in_) == ["lab"]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_scored_file_has_one_row_per_row(files, new, expected, tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    out = tmp_path / f"scored{ending}"
    done = detect("--model", files / "model", "--score", files / "new.csv", "--out", out)
    assert done.exit_code == 0, done.output
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": lambda path: as_table(path.read_text())}
    found = readers[ending](out)
    assert list(found["time"]) == list(map(str, new.index))
    assert list(found.columns) == ["time", *expected.columns]
    check(found, expected)
    assert f"scored {len(new)} rows, {expected['is_anomaly'].sum()} alarmed" in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == [out.name]


def test_training_and_scoring_at_once_is_the_same(files, expected, tmp_path):
    out = tmp_path / "scored.csv"
    done = detect(*train_options(files), "--score", files / "new.csv", "--out", out)
    assert done.exit_code == 0, done.output
    check(pd.read_csv(out), expected)


def test_parquet_semicolons_and_other_columns_are_read(files, train, new, expected, tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    train.to_parquet(tmp_path / "log.parquet")
    new.assign(label="calm").iloc[:, ::-1].to_csv(tmp_path / "new.csv", sep=";")
    out = tmp_path / "scored.csv"
    sources = ["--train", tmp_path / "log.parquet", "--privileged-columns", "lab", "--time", "when", *OPTIONS]
    done = detect(*sources, "--score", tmp_path / "new.csv", "--out", out)
    assert done.exit_code == 0, done.output
    check(pd.read_csv(out), expected)


def test_chosen_columns_keep_the_order_of_the_file(files, tmp_path):
    done = detect("--train", files / "log.csv", "--time", "when", "--columns", "temp,flow", "--model", tmp_path / "m")
    assert done.exit_code == 0, done.output
    assert list(load(tmp_path / "m").feature_names_in_) == ["flow", "temp"]


def test_a_model_of_python_can_be_followed(train, tmp_path):
    save(PrivilegedAnomalyDetector().fit(train[SENSORS].to_numpy()), tmp_path / "m")
    done = detect("--model", tmp_path / "m", "--stream", "-", input='1,2,3\n{"x0": 1, "x2": 3, "x1": 2}\n')
    assert done.exit_code == 0, done.output
    assert [list(json.loads(line)["contributions"]) for line in done.stdout.splitlines()] == [["x0", "x1", "x2"]] * 2


def test_a_scored_file_is_drawn(files, tmp_path):
    pytest.importorskip("matplotlib", reason="figures need the extra plot")
    train = ["--train", files / "log.csv", "--time", "when", "--privileged-columns", "lab"]
    asked = [*train, "--score", files / "log.csv", "--out", tmp_path / "s.csv"]
    done = detect(*asked, "--plot", tmp_path / "timeline.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert f"timeline: {tmp_path / 'timeline.png'}" in done.stderr
    for wrong in (["--plot", tmp_path / "t.txt"], [*train, "--plot", tmp_path / "t.png"]):
        refused = detect(*(asked if wrong[0] == "--plot" else []), *wrong)
        assert refused.exit_code == 2
        assert "--plot must be" in " ".join(refused.stderr.split())
    assert not (tmp_path / "t.txt").exists()


def test_every_setting_of_the_detector_is_an_option_of_the_same_name():
    settings = set(inspect.signature(PrivilegedAnomalyDetector).parameters)
    options = set(inspect.signature(cli.detection.detect).parameters)
    in_python_only = {"student"}
    assert set(cli.detection._PARAMETERS) <= settings
    assert settings & options == set(cli.detection._PARAMETERS) == settings - in_python_only


def test_settings_reach_the_detector(files, tmp_path):
    given = {
        "n_lags": 2, "smoothing": 4, "false_alarms_per_day": 40.0, "calibration": "conformal", "calibration_size": 0.4,
        "alarm_after": 2, "clear_after": 3, "missing": "flag", "max_gap": "3s", "period": "1s", "adaptation": 0.01,
        "random_state": 3,
    }  # fmt: skip
    options = [part for name, value in given.items() for part in ("--" + name.replace("_", "-"), value)]
    options += ["--false-alarms-per-day", 500]
    done = detect("--train", files / "log.csv", "--time", "when", *options, "--model", tmp_path / "m")
    assert done.exit_code == 0, done.output
    found = load(tmp_path / "m").get_params()
    assert {name: found[name] for name in given} == given | {"false_alarms_per_day": 500.0}


def test_curation_and_target_are_options_too(files, tmp_path):
    sources = ["--train", files / "log.csv", "--time", "when", "--privileged-columns", "lab", "--model", tmp_path / "m"]
    done = detect(
        *sources, "--curate", "privileged", "--contamination", 0.1, "--isolation-forest", "--patience", "none"
    )
    assert done.exit_code == 0, done.output
    assert "rows left out by curation: " in done.stderr
    found = load(tmp_path / "m").get_params()
    assert (found["curate"], found["contamination"], found["isolation_forest"]) == ("privileged", 0.1, True)
    assert found["patience"] is None
    done = detect(*sources, "--target", "lab::2.5")
    assert done.exit_code == 0, done.output
    assert load(tmp_path / "m").target == {"lab": (None, 2.5)}


# ---------------------------------------------------------------- mistakes


MISTAKES = [
    ([], "--train must be given where no --model is"),
    (["--train", "none.csv"], r"can be read, got none.csv (No such file or directory)"),
    (["--train", "empty.csv"], "empty.csv, which is empty"),
    (["--train", "log.csv", "--time", "clock"], "a column of the file, got 'clock'. It has: when, flow"),
    (["--train", "log.csv", "--columns", "flow,weight"], "--columns must be columns of log.csv, got 'weight'"),
    (["--train", "log.csv", "--time", "when", "--privileged-columns", "labs"], "columns of log.csv, got 'labs'"),
    (["--train", "log.csv", "--time", "when", "--columns", "flow", "--privileged-columns", "flow"], "stays or does"),
    (["--train", "log.csv", "--time", "when", "--privileged-columns", "flow,level,temp,lab"], "a sensor that stays"),
    (["--train", "log.csv"], "a file of numbers in column 'when'"),
    (["--train", "unsorted.csv"], "in order of 'time', got 1 behind 2 (row 3)"),
    (["--train", "silent.csv"], "a log with values of every sensor, got none of 'level'"),
    (["--train", "comma.csv"], "2,5 with a decimal comma; write 2.5"),
    (["--train", "short.csv"], "must be"),
    (["--train", "log.csv", "--time", "when", "--smoothing", "0"], "smoothing must be an integer of at least 1, got 0"),
    (["--train", "log.csv", "--time", "when", "--horizons", "1,x"], "must be integers separated by commas"),
    (["--train", "log.csv", "--time", "when", "--calibration", "best"], "calibration must be 'pot' or"),
    (["--train", "log.csv", "--time", "when", "--max-gap", "soon"], "max_gap must be"),
    (["--train", "log.csv", "--time", "when", "--score", "new.csv"], "--score and --out must be given together"),
    (["--train", "log.csv", "--time", "when", "--score", "new.csv", "--out", "s.txt"], "ends in .csv or .jsonl"),
    (["--train", "log.csv", "--time", "when", "--score", "new.csv", "--out", "no/s.csv"], "there is no folder no"),
    (["--model", "model", "--score", "short.csv", "--out", "s.csv"], "the sensors of the model, got none of 'flow'"),
    (["--train", "log.csv", "--time", "when", "--model", "."], "it is a folder"),
    (["--train", "log.csv", "--state", "s.npz"], "--state must be given beside --stream"),
    (["--train", "log.csv", "--learn"], "--learn must be given beside --stream"),
    (["--train", "log.csv", "--time", "when", "--stream", "none"], "--stream must be - for standard input, or a file"),
    (["--model", "log.csv", "--stream", "-"], "--model must be a model file, got log.csv"),
    (["--model", "model"], "--model must be given beside --train, --score or --stream"),
    (["--model", "model", "--stream", "-", "--smoothing", "3"], "--smoothing must be given beside --train"),
    (["--model", "model", "--stream", "-", "--columns", "flow"], "--columns must be given beside --train"),
    (["--model", "model", "--stream", "-", "--state", "log.csv"], "--state must be a saved state, got log.csv"),
    (["--model", "model", "--score", "numbers.csv", "--out", "s.csv"], "a file dated by times, as the training"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES])
def test_a_mistake_ends_with_code_2_one_sentence_and_nothing_written(files, tmp_path, monkeypatch, options, message):
    for name in ("log.csv", "new.csv", "model"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    (tmp_path / "empty.csv").touch()
    (tmp_path / "unsorted.csv").write_text("time,a\n1,1\n2,1\n1,1\n")
    (tmp_path / "silent.csv").write_text("flow,level\n1,\n2,\n3,\n")
    (tmp_path / "comma.csv").write_text("a;b\n1;2,5\n")
    (tmp_path / "short.csv").write_text("a,b\n1,2\n2,1\n")
    (tmp_path / "numbers.csv").write_text("when,flow,level,temp\n1,1,1,1\n2,1,1,1\n")
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")  # one line, so that the sentence can be found
    writes = ["--model", "made"] if "--train" in options and "--model" not in options else []
    done = detect(*options, *writes, input="1,2,3\n")
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stdout == ""
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_a_state_of_another_detector_is_refused_and_left_as_it_is(files, train, tmp_path):
    other = PrivilegedAnomalyDetector().fit(train[SENSORS] + 1.0)
    other.update(train[SENSORS].to_numpy()[0])
    other.save_state(tmp_path / "state")
    before = (tmp_path / "state").read_bytes()
    done = detect("--model", files / "model", "--stream", "-", "--state", tmp_path / "state", input="1,2,3\n")
    assert done.exit_code == 2
    assert "--state must be a state of this detector" in " ".join(done.stderr.replace("│", " ").split())
    assert (tmp_path / "state").read_bytes() == before
    assert done.stdout == ""


# ---------------------------------------------------------------- streams


def test_a_stream_says_what_the_array_path_says(files, new, expected, tmp_path):
    done = detect("--model", files / "model", "--stream", files / "new.csv")
    assert done.exit_code == 0, done.output
    found = as_table(done.stdout)
    check(found, expected)
    assert list(found["time"]) == list(map(str, new.index))
    events = expected["event"].max()
    assert (
        f"rows: {len(new)}; alarmed: {expected['is_anomaly'].sum()}; events: {events}; malformed lines: 0"
        in done.stderr
    )
    assert "lab" in done.stderr  # of the header, and no sensor


def test_a_permuted_header_changes_nothing(files, new, expected):
    lines = lines_of(new[["temp", "flow", "level"]])
    done = detect("--model", files / "model", "--stream", "-", input="".join(lines))
    assert done.exit_code == 0
    check(as_table(done.stdout), expected)


def test_malformed_lines_are_named_and_the_exit_code_tells(files, new, expected):
    lines = lines_of(new)
    lines[100:100] = ["1,2\n", "{\n", lines[5]]
    done = detect("--model", files / "model", "--stream", "-", input="".join(lines))
    assert done.exit_code == 3
    check(as_table(done.stdout), expected)
    assert "line 101: 2 fields instead of 5" in done.stderr
    assert "line 102: broken JSON" in done.stderr
    assert "line 103: time must be not before that of the row before" in done.stderr
    assert "malformed lines: 3" in done.stderr


def test_a_stream_without_a_row_writes_no_state(files, tmp_path):
    done = detect("--model", files / "model", "--stream", "-", "--state", tmp_path / "state", input="")
    assert done.exit_code == 0
    assert not (tmp_path / "state").exists()


def test_a_disk_that_is_full_is_said_and_the_old_state_stays(files, tmp_path, monkeypatch):
    options = ["--model", files / "model", "--stream", "-", "--state", tmp_path / "state"]
    assert detect(*options, input="1,2,3\n").exit_code == 0
    before = (tmp_path / "state").read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    done = detect(*options, input="1,2,3\n")
    assert done.exit_code == 1
    assert "cannot go on: [Errno 28] No space left on device" in done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"state": before}


class Running:
    """`pitskd detect` behind real pipes."""

    def __init__(self, *arguments):
        command = [sys.executable, "-c", "from pitskd.cli import app; app()", "detect", *map(str, arguments)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def send(self, line):
        self.process.stdin.write(line.encode())

    def answer(self):
        return self.process.stdout.readline().decode()

    def end(self):
        """Return the exit code and what was left in the pipes."""
        rest, complaints = self.process.communicate(timeout=60)
        return self.process.returncode, rest.decode(), complaints.decode()


def test_a_stopped_stream_goes_on_in_another_process_without_a_jump(files, new, expected, tmp_path):
    options = ["--model", files / "model", "--stream", "-", "--state", tmp_path / "state"]
    header, *lines = lines_of(new)
    answers = []
    with Running(*options) as first:
        first.send(header)
        for line in lines[:210]:  # in the middle of an event
            first.send(line)
            answers.append(first.answer())  # is there before the next line is sent
        first.send("2024-05-01 00:03:")  # half a line
        first.process.send_signal(signal.SIGTERM)
        code, rest, complaints = first.end()
    assert (code, rest) == (0, "")
    assert "a line without its end was left unread" in complaints
    assert (tmp_path / "state").exists()
    with Running(*options) as second:
        second.send(header + "not, a, row\n" + "".join(lines[210:]))
        answers += [second.answer() for _ in lines[210:]]
        second.process.send_signal(signal.SIGINT)
        code, rest, complaints = second.end()
    assert (code, rest) == (3, "")
    assert "line 2: 3 fields instead of 5" in complaints
    check(as_table("".join(answers)), expected)
    whole = detect(*options[:3], "-", input="".join([header, *lines]))
    assert "".join(answers) == whole.stdout  # to the last digit
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_reader_who_goes_ends_the_stream_quietly_with_its_state_saved(files, new, tmp_path):
    header, *lines = lines_of(new)
    with Running("--model", files / "model", "--stream", "-", "--state", tmp_path / "state") as running:
        running.send(header + lines[0])
        running.answer()
        running.process.stdout.close()
        running.send(lines[1])
        code = running.process.wait(timeout=60)
        complaints = running.process.stderr.read().decode()
    assert code == 0
    assert "Traceback" not in complaints
    assert "Exception ignored" not in complaints
    assert "rows: 2; " in complaints
    assert (
        load(files / "model").load_state(tmp_path / "state").stream_.time
        == pd.Timestamp("2024-05-01 00:00:01").as_unit("ns").value
    )


def test_the_command_shows_its_options_without_loading_anything():
    code = "import sys; from pitskd import cli; assert not {'sklearn', 'pandas', 'torch', 'skops'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
    shown = CliRunner().invoke(cli.app, ["detect", "--help"], env={"COLUMNS": "200"}).output
    assert all(
        name in shown for name in ("--train", "--privileged-columns", "--stream", "--state", "--false-alarm-rate")
    )
