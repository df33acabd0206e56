"""What README shows of a user's own file is what comes out, from the data that data/README.md makes."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pitskd import cli, load

ROOT = Path(__file__).parents[1]
README, DATA = ((ROOT / name).read_text() for name in ("README.md", "data/README.md"))


@pytest.fixture
def shell(monkeypatch):
    """Run commands as they stand in README, from the project's folder."""
    monkeypatch.chdir(ROOT)
    return lambda *arguments: CliRunner().invoke(cli.app, list(arguments))


def test_the_sample_is_what_its_lines_make(tmp_path, monkeypatch):
    lines = re.search(r"```python\n(.*?)```", DATA, re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "data/README.md", "exec"), {})
    made, kept = (pd.read_csv(folder / "sensors.csv") for folder in (tmp_path, ROOT / "data"))
    pd.testing.assert_frame_equal(made, kept, rtol=0, atol=2e-3)  # other linear algebra may round the last digit apart


def shown(command):
    """Return the lines that README shows below a command, in pieces between its dots."""
    block = re.search(rf"\$ {re.escape(command)}\n(.*?)```", README, re.DOTALL).group(1)
    return [piece.strip("\n") for piece in block.split("\n...\n")]


def test_the_report_of_readme_is_what_the_command_prints(shell):
    command = 'pitskd report data/sensors.csv --target "level [m]" --window 1 --horizon 6 --stride 7'
    options = ["--target", "level [m]", "--window", "1", "--horizon", "6", "--stride", "7"]
    done = shell("report", "data/sensors.csv", *options)
    assert done.exit_code == 0
    for piece in shown(command):
        assert piece in done.stdout


def test_the_student_of_readme_forecasts_the_next_hour(shell, tmp_path):
    model, forecast = str(tmp_path / "student.pitskd"), tmp_path / "forecast.csv"
    options = ["--target", "level [m]", "--window", "1", "--horizon", "6"]
    assert shell("fit", "data/sensors.csv", *options, "--model", model).exit_code == 0
    assert shell("predict", model, "data/sensors.csv", "--out", str(forecast)).exit_code == 0
    found, rows = pd.read_csv(forecast), pd.read_csv(ROOT / "data/sensors.csv", index_col="time")
    assert found["target_time"].tolist() == [f"2026-03-05 04:{minute}0:00" for minute in range(6)]
    np.testing.assert_allclose(found["level [m]+6"], load(model).predict(rows.to_numpy()[-6:, None]), rtol=1e-12)
