"""The command `pitskd report`: what it prints and writes, and one sentence and nothing written for what is wrong."""

import inspect
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pitskd import cli, file_report

OPTIONS = ("--target", "x0", "--window", "1", "--horizon", "3", "--stride", "5")


def rows(n=200, channels=3, seed=0):
    noise = np.random.default_rng(seed)
    step = 0.97 * np.linalg.qr(noise.normal(size=(channels, channels)))[0]
    values = np.zeros((n, channels))
    for t in range(1, n):
        values[t] = step @ values[t - 1] + noise.normal(size=channels)
    return pd.DataFrame(values, columns=[f"x{channel}" for channel in range(channels)])


def report(*arguments, **options):
    return CliRunner().invoke(cli.app, ["report", *map(str, arguments)], **options)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "log.csv"
    rows().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def expected(path):
    return file_report(path, target="x0", window=1, horizon=3, stride=5)


def test_the_text_is_that_of_python_and_alone_on_standard_output(path, expected):
    done = report(path, *OPTIONS)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{expected}\n"


def test_json_and_figure_are_written_beside_the_text(path, expected, tmp_path):
    pytest.importorskip("matplotlib", reason="figures need the extra plot")
    done = report(path, *OPTIONS, "--json", tmp_path / "r.json", "--plot", tmp_path / "r.png")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(json.dumps(expected.to_json()))
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert done.stdout == f"{expected}\n"
    assert f"figure: {tmp_path / 'r.png'}" in done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["r.json", "r.png"]


def test_json_on_standard_output_is_all_there_is(path, expected):
    done = report(path, *OPTIONS, "--json", "-", "--unit", "x0=m")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["facts"]["unit"] == "m"
    assert found["table"] == json.loads(json.dumps(expected.to_json()))["table"]


def test_parquet_gives_the_report_of_csv(path, expected, tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    rows().to_parquet(tmp_path / "log.parquet")
    done = report(tmp_path / "log.parquet", *OPTIONS, "--json", "-")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["table"] == json.loads(json.dumps(expected.to_json()))["table"]


def test_every_parameter_of_python_is_an_option_of_the_same_name():
    parameters = set(inspect.signature(file_report).parameters)
    options = set(inspect.signature(cli.reporting.report).parameters)
    other_names = {"path": "file", "units": "unit", "n_jobs": "jobs", "random_state": "seed"}
    assert {other_names.get(name, name) for name in parameters} == options - {"as_json", "plot"}


def test_warnings_are_notes_in_the_words_of_the_shell(path, monkeypatch):
    import warnings

    from pitskd import PrivilegedRegressor

    fit = PrivilegedRegressor.fit

    def warned(self, X, y, *, X_privileged=None, sample_weight=None):
        warnings.warn(f"{len(X)} rows are few. Pass more windows or a larger stride, or your own cv.", stacklevel=2)
        return fit(self, X, y, X_privileged=X_privileged)

    monkeypatch.setattr(PrivilegedRegressor, "fit", warned)
    done = report(path, *OPTIONS)
    assert done.exit_code == 0, done.output
    notes = [line for line in done.stderr.splitlines() if "rows are few" in line]
    assert len(notes) == 1
    assert notes[0].startswith("note: In 20 of 20 splits")
    assert notes[0].endswith("Use a longer file, or a larger --stride.")


HOURS = pd.date_range("2024-01-01", periods=60, freq="h")


def write_files(folder):
    """Write one file for each way in which a user's file can be wrong."""
    good = rows(60, 2)
    clock = pd.Series(HOURS.strftime("%Y-%m-%dT%H:%M:%S"))
    good.to_csv(folder / "good.csv", index=False)
    good.assign(time=clock).to_csv(folder / "timed.csv", index=False)
    good.assign(time=np.arange(60) * 3600).to_csv(folder / "epoch.csv", index=False)
    swapped = clock.copy()
    swapped[[20, 21]] = clock[[21, 20]].to_numpy()
    good.assign(time=swapped).to_csv(folder / "unsorted.csv", index=False)
    repeated = clock.copy()
    repeated[21] = clock[20]
    good.assign(time=repeated).to_csv(folder / "repeated.csv", index=False)
    zones = clock + np.where(np.arange(60) < 30, "+01:00", "")
    good.assign(time=zones).to_csv(folder / "zones.csv", index=False)
    good.to_csv(folder / "decimal.csv", sep=";", decimal=",", index=False)
    (folder / "empty.csv").touch()
    (folder / "header.csv").write_text("x0,x1\n")
    good.assign(x0=np.nan).to_csv(folder / "silent.csv", index=False)
    good.assign(x0=2.0).to_csv(folder / "constant.csv", index=False)
    good.assign(wind="NW").to_csv(folder / "text.csv", index=False)
    good.iloc[:12].to_csv(folder / "short.csv", index=False)
    if find_spec("pyarrow"):
        good.assign(nest=[{"a": 1}] * 60).to_parquet(folder / "nested.parquet")
        (folder / "broken.parquet").write_bytes(b"PAR1 no")


BASIC = ["--target", "x0", "--window", "2", "--horizon", "3"]
MISTAKES = [
    (["none.csv", *BASIC], "can be read, got none.csv"),
    (["good.csv", "--target", "pm", "--window", "2", "--horizon", "3"], "--target must be"),
    (["good.csv", *BASIC, "--columns", "x0,pm"], "--columns must be columns"),
    (["good.csv", *BASIC, "--privileged-columns", "lab"], "--privileged-columns must be columns"),
    (["good.csv", *BASIC, "--time", "clock"], "got 'clock'"),
    (["good.csv", *BASIC, "--group", "city"], "city"),
    (["text.csv", *BASIC, "--columns", "x0,wind"], "wind"),
    (["unsorted.csv", *BASIC], "2024-01-01T20:00:00 behind 2024-01-01T21:00:00"),
    (["repeated.csv", *BASIC], "2024-01-01"),
    (["zones.csv", *BASIC], "UTC offset"),
    (["decimal.csv", *BASIC], "decimal comma"),
    (["empty.csv", *BASIC], "empty.csv, which is empty"),
    (["header.csv", *BASIC], "header.csv"),
    (["nested.parquet", *BASIC], "nest"),
    (["broken.parquet", *BASIC], "broken.parquet"),
    (["good.csv", "--target", "x0", "--window", "2", "--horizon", "60"], "--horizon must be"),
    (["good.csv", "--target", "x0", "--window", "70", "--horizon", "3"], "which has 60 rows"),
    (["silent.csv", *BASIC], "--target must be a column with values, got 'x0', all 60 missing"),
    (["constant.csv", *BASIC], "--target must be a column that varies, got 'x0', which is 2"),
    (["good.csv", *BASIC, "--threshold", "99"], "--threshold must be such that the windows hold both classes"),
    (["good.csv", *BASIC, "--threshold", "nan"], "--threshold must be a finite number, got nan"),
    (["short.csv", "--target", "x0", "--window", "2", "--horizon", "4"], "FILE must be long enough"),
    (["good.csv", "--target", "x0", "--window", "40", "--horizon", "9"], "FILE must be long enough"),
    (["good.csv", *BASIC, "--privileged", "none"], "--privileged must be given, or --privileged-columns"),
    (["good.csv", "--target", "x0", "--window", "2", "--horizon", "1"], "--horizon must be at least 2 for"),
    (["good.csv", *BASIC, "--privileged", "3"], "--privileged must be"),
    (["good.csv", *BASIC, "--privileged", "some"], "--privileged must be between, none, a number of rows"),
    (["good.csv", *BASIC, "--privileged-columns", "x0,x1"], "--privileged-columns must be"),
    (["good.csv", *BASIC, "--season", "soon"], "--season must be a number of rows or a time, got soon"),
    (["good.csv", *BASIC, "--season", "24h"], "--season must be a number of rows for a file without times"),
    (["timed.csv", *BASIC, "--season", "5min"], "--season must be at least one step of the clock"),
    (["timed.csv", *BASIC, "--max-gap", "soon"], "--max-gap must be"),
    (["good.csv", *BASIC, "--stride", "0"], "--stride must be"),
    (["good.csv", *BASIC, "--max-windows", "0"], "--max-windows must be"),
    (["good.csv", *BASIC, "--unit", "x0"], "--unit must be NAME=UNIT"),
    (["good.csv", *BASIC, "--jobs", "0"], "--jobs must be -1"),
    (["good.csv", *BASIC, "--plot", "figure.txt"], "--plot must be a file that ends in .png"),
    (["good.csv", *BASIC, "--json", "good.csv"], "--json must be another file than FILE, got good.csv"),
    (["good.csv", *BASIC, "--plot", "./figure.png", "--json", "figure.png"], "--plot must be another file than --json"),
    (["good.csv", *BASIC, "--max-windows", "5"], "or a larger --max-windows"),
    (["epoch.csv", *BASIC, "--season", "24h"], "--season must be a number of rows for a file whose clock is numbers"),
    (["good.csv", *BASIC, "--json", "no/r.json"], "--json must be a file that can be written"),
]


@pytest.mark.parametrize(
    ("options", "message"), MISTAKES, ids=[f"{number} {m[:40]}" for number, (_, m) in enumerate(MISTAKES)]
)
def test_a_mistake_ends_with_code_2_one_sentence_and_nothing_written(tmp_path, monkeypatch, options, message):
    if options[0].endswith("parquet"):
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    write_files(tmp_path)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")  # one line, so that the sentence can be found
    places = [] if {"--json", "--plot"} & set(options) else ["--json", "made.json"]
    done = report(*options, *places)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stdout == ""
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_the_command_shows_its_options_without_loading_anything():
    heavy = "{'sklearn', 'pandas', 'torch', 'statsmodels'}"
    code = f"import sys; from pitskd import cli; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
    shown = CliRunner().invoke(cli.app, ["report", "--help"], env={"COLUMNS": "200"}).output
    names = ("--target", "--privileged-columns", "--season", "--json", "--plot", "--learning-curve", "--jobs", "--seed")
    assert all(name in shown for name in names)
