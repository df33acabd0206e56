"""Laws of the readers of SKAB and the Tennessee Eastman process."""

import hashlib
import os
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import pytest

from pitskd._series import Table
from pitskd.datasets import _remote
from pitskd.datasets._remote import DatasetError
from pitskd.datasets.sensors import SensorLog, fetch_skab, fetch_tep, skab_runs

SENSORS = [
    "Accelerometer1RMS", "Accelerometer2RMS", "Current", "Pressure", "Temperature", "Thermocouple", "Voltage",
    "Volume Flow RateRMS",
]  # fmt: skip
XMEAS = [f"XMEAS {k}" for k in range(1, 42)]
XMV = [f"XMV {k}" for k in range(1, 12)]


# ---------------------------------------------------------------- files: real ones, and small ones of the same shape


@pytest.fixture
def real():
    """Return the folder of real data, or skip; nothing is ever downloaded by a test."""

    def folder(name):
        home = os.environ.get("PITSKD_DATA_HOME")
        if not home or not (Path(home) / name).is_file():
            pytest.skip(f"set PITSKD_DATA_HOME to a folder that holds {name}")
        return home

    return folder


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Hide the real data and the network."""

    def no_download(*args, **kwargs):
        raise ConnectionError("no network here")

    monkeypatch.delenv("PITSKD_DATA_HOME", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setattr(pooch, "retrieve", no_download)


@pytest.fixture
def publish(tmp_path, monkeypatch, alone):
    """Write a file and register its hash, so that it passes for the published one."""

    def written(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        files = dict(_remote.registry())
        files[name] = replace(files[name], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        monkeypatch.setattr(_remote, "registry", lambda: files)
        return tmp_path

    return written


def skab_table(n_rows=6, labelled=True):
    """Return a made-up run: column k holds 10 k + row, one second is skipped, rows 2 and 3 are anomalous."""
    seconds = pd.to_datetime("2020-03-09 10:14:33") + pd.to_timedelta([0, 1, 2, 4, 5, 6][:n_rows], unit="s")
    table = pd.DataFrame({"datetime": seconds.strftime("%Y-%m-%d %H:%M:%S")})
    for k, sensor in enumerate(SENSORS):
        table[sensor] = 10.0 * k + np.arange(n_rows)
    if labelled:
        row = np.arange(n_rows)
        table["anomaly"], table["changepoint"] = 1.0 * ((row == 2) | (row == 3)), 1.0 * ((row == 2) | (row == 4))
    return table


def skab_text(table):
    return table.to_csv(sep=";", index=False)


def tep_text(values):
    return "\n".join("  ".join(f"{value:.7e}" for value in row) for row in values) + "\n"


def tep_values(n_rows):
    """Signal k, counted from 1, holds k + row / 1000."""
    return np.arange(1, 53) + np.arange(n_rows)[:, None] / 1000


# ---------------------------------------------------------------- SKAB on made-up files


def test_a_run_of_the_bench_becomes_sensors_and_labels(publish):
    log = fetch_skab("valve1/0", data_home=publish("skab/valve1/0.csv", skab_text(skab_table())))
    assert isinstance(log, SensorLog)
    assert (log.name, log.period, log.X_privileged) == ("valve1/0", 1.0, None)
    assert list(log.X.columns) == SENSORS
    assert log.X.iloc[4].tolist() == [10 * k + 4 for k in range(8)]
    assert (log.X.dtypes == np.float64).all()
    assert log.X.index.name == "time"
    assert (log.X.index - log.X.index[0]).total_seconds().tolist() == [0, 1, 2, 4, 5, 6]  # the hole stays
    assert np.flatnonzero(log.anomaly).tolist() == [2, 3]
    assert np.flatnonzero(log.changepoint).tolist() == [2, 4]
    assert log.anomaly.dtype == log.changepoint.dtype == bool
    assert log.anomaly.index.equals(log.X.index)


def test_the_anomaly_free_run_is_normal_throughout(publish):
    home = publish("skab/anomaly-free/anomaly-free.csv", skab_text(skab_table(labelled=False)))
    log = fetch_skab("anomaly-free", data_home=home)
    assert log.changepoint is None
    assert log.anomaly.tolist() == [False] * 6
    assert list(log.X.columns) == SENSORS


def test_privileged_sensors_leave_the_student(publish):
    home = publish("skab/valve1/0.csv", skab_text(skab_table()))
    log = fetch_skab("valve1/0", privileged=["Volume Flow RateRMS", "Current"], data_home=home)
    assert list(log.X_privileged.columns) == ["Volume Flow RateRMS", "Current"]
    assert list(log.X.columns) == [s for s in SENSORS if s not in ("Volume Flow RateRMS", "Current")]
    assert log.X_privileged.iloc[1].tolist() == [71.0, 21.0]
    assert log.X_privileged.index.equals(log.X.index)
    assert log.X_privileged.attrs["units"] == {"Volume Flow RateRMS": "L/min", "Current": "A"}
    assert "Current" not in log.X.attrs["units"]


def test_runs_are_named_in_their_natural_order():
    runs = skab_runs()
    assert len(runs) == len(set(runs)) == 35
    assert runs[:2] == ("anomaly-free", "other/1")
    assert runs[runs.index("valve1/9") + 1] == "valve1/10"


SPOILED = {
    "Usecols do not match.*Voltage": lambda t: t.drop(columns="Voltage"),
    "Usecols do not match.*changepoint": lambda t: t.drop(columns="changepoint"),
    "could not convert string to float": lambda t: t.assign(Pressure="high"),
    "time data .* match": lambda t: t.assign(datetime="yesterday"),
    "a label is neither 0 nor 1": lambda t: t.assign(anomaly=2.0),
}


@pytest.mark.parametrize("problem", SPOILED)
def test_a_file_that_is_no_run_of_the_bench_is_refused(problem, publish):
    home = publish("skab/valve1/0.csv", skab_text(SPOILED[problem](skab_table())))
    with pytest.raises(DatasetError, match=rf"0\.csv does not hold SKAB .*{problem}.* Delete it"):
        fetch_skab("valve1/0", data_home=home)


def test_a_file_with_another_hash_is_refused(tmp_path, alone):
    (tmp_path / "skab/valve1").mkdir(parents=True)
    (tmp_path / "skab/valve1/0.csv").write_text(skab_text(skab_table()))
    with pytest.raises(DatasetError, match=r"0\.csv is damaged .*sha256"):
        fetch_skab("valve1/0", data_home=tmp_path)


def test_without_file_and_network_the_error_says_what_to_put_where(tmp_path, alone):
    with pytest.raises(DatasetError, match=r"skab/valve2/3\.csv is in no data folder .*no network here.*Get https"):
        fetch_skab("valve2/3", data_home=tmp_path)
    with pytest.raises(DatasetError, match=r"tep/d21_te\.dat is in no data folder .*no network here.*Get https"):
        fetch_tep(21, test=True, data_home=tmp_path)


def test_arguments_of_the_bench_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"run must be a run of SKAB, got all\. Names are like valve1/0"):
        fetch_skab("all", data_home=tmp_path)
    with pytest.raises(ValueError, match=r"privileged must be names of signals, got flow\. They are: Acceler"):
        fetch_skab("valve1/0", privileged=["flow"], data_home=tmp_path)
    with pytest.raises(ValueError, match="privileged must be names of different signals, got Current twice"):
        fetch_skab("valve1/0", privileged=["Current", "Current"], data_home=tmp_path)
    with pytest.raises(ValueError, match="privileged must be such that a signal stays in X, got none"):
        fetch_skab("valve1/0", privileged=SENSORS, data_home=tmp_path)


# ---------------------------------------------------------------- TEP on made-up files


def test_the_transposed_normal_run_is_turned(publish):
    log = fetch_tep(0, data_home=publish("tep/d00.dat", tep_text(tep_values(500).T)))
    assert list(log.X.columns) == [*XMEAS[:22], *XMV]
    assert list(log.X_privileged.columns) == XMEAS[22:]
    np.testing.assert_allclose(log.X["XMEAS 22"], 22 + np.arange(500) / 1000, rtol=1e-7)  # eight digits in the file
    np.testing.assert_allclose(log.X["XMV 1"], 42 + np.arange(500) / 1000, rtol=1e-7)
    np.testing.assert_allclose(log.X_privileged["XMEAS 41"], 41 + np.arange(500) / 1000, rtol=1e-7)
    assert not log.anomaly.any()
    assert (log.name, log.period, log.changepoint) == ("d00", 180.0, None)


def test_a_normal_run_of_52_rows_that_lies_as_it_should_is_not_turned(publish):
    log = fetch_tep(0, test=True, data_home=publish("tep/d00_te.dat", tep_text(tep_values(52))))
    assert log.X.iloc[51, 0] == pytest.approx(1.051, rel=1e-7)


@pytest.mark.parametrize(
    ("fault", "test", "n_rows", "first"), [(0, True, 960, 960), (5, False, 480, 0), (5, True, 960, 160)]
)
def test_faults_start_at_once_in_training_runs_and_at_row_160_in_test_runs(fault, test, n_rows, first, publish):
    name = f"d{fault:02d}{'_te' if test else ''}"
    log = fetch_tep(fault, test=test, data_home=publish(f"tep/{name}.dat", tep_text(tep_values(n_rows))))
    assert log.name == name
    assert log.anomaly.tolist() == [False] * first + [True] * (n_rows - first)
    assert log.X.attrs["fault"] == ("none" if fault == 0 else "condenser cooling water inlet temperature; step")


@pytest.fixture
def tep_home(publish):
    return publish("tep/d01.dat", tep_text(tep_values(10)))


@pytest.mark.parametrize(
    ("keep", "privileged", "kept", "hidden"),
    [
        ("process", "analysers", [*XMEAS[:22], *XMV], XMEAS[22:]),
        ("manipulated", "analysers", XMV, XMEAS[22:]),
        ("all", "analysers", [*XMEAS[:22], *XMV], XMEAS[22:]),
        ("all", None, [*XMEAS, *XMV], None),
        ("process", [], [*XMEAS[:22], *XMV], None),
        ("manipulated", ["XMEAS 7", "XMV 2"], [v for v in XMV if v != "XMV 2"], ["XMEAS 7", "XMV 2"]),
        (["XMV 3", "XMEAS 1"], ("XMEAS 40",), ["XMV 3", "XMEAS 1"], ["XMEAS 40"]),
        ("XMEAS 9", "XMEAS 40", ["XMEAS 9"], ["XMEAS 40"]),
    ],
)
def test_signals_stay_or_are_privileged_but_never_both(keep, privileged, kept, hidden, tep_home):
    log = fetch_tep(1, keep=keep, privileged=privileged, data_home=tep_home)
    assert list(log.X.columns) == kept
    assert log.X_privileged is None if hidden is None else list(log.X_privileged.columns) == hidden


def test_every_signal_has_a_unit_and_a_description(tep_home):
    attrs = fetch_tep(1, keep="all", privileged=None, data_home=tep_home).X.attrs
    assert list(attrs["units"]) == list(attrs["descriptions"]) == [*XMEAS, *XMV]
    assert (attrs["descriptions"]["XMEAS 22"], attrs["units"]["XMEAS 22"]) == (
        "separator cooling water outlet temperature", "deg C",
    )  # fmt: skip
    assert (attrs["descriptions"]["XMEAS 23"], attrs["units"]["XMEAS 23"]) == ("A in reactor feed (stream 6)", "mol %")
    assert attrs["descriptions"]["XMEAS 36"] == "H in purge gas (stream 9)"
    assert attrs["descriptions"]["XMEAS 41"] == "H in product (stream 11)"
    assert (attrs["descriptions"]["XMV 11"], attrs["units"]["XMV 11"]) == ("condenser cooling water flow", "% of range")


def test_the_index_is_a_clock_that_the_package_reads(tep_home):
    log = fetch_tep(1, data_home=tep_home)
    table = Table.read(log.X, None, None)
    assert table.clock[1] - table.clock[0] == table.pace.period
    assert log.X.index[-1] == pd.Timedelta("27min")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (tep_text(tep_values(10)[:, :51]), "it has 51 columns where 52 signals are expected"),
        ("a b c\n", "could not convert"),
        ("1 2 3\n1 2\n", "number of columns changed"),
    ],
)
def test_a_file_that_is_no_run_of_the_plant_is_refused(text, problem, publish):
    home = publish("tep/d01.dat", text)
    with pytest.raises(DatasetError, match=rf"d01\.dat does not hold Tennessee Eastman process .*{problem}"):
        fetch_tep(1, data_home=home)


def test_arguments_of_the_plant_are_checked(tmp_path):
    with pytest.raises(ValueError, match="fault must be at most 21, got 22"):
        fetch_tep(22)
    with pytest.raises(TypeError, match="fault must be an integer of at least 0, got 1"):
        fetch_tep("1")
    with pytest.raises(ValueError, match="test must be True or False, got yes"):
        fetch_tep(1, test="yes")
    with pytest.raises(ValueError, match=r"keep must be names of signals, got valves\. They are: XMEAS 1 to 41, XMV"):
        fetch_tep(1, keep="valves")
    with pytest.raises(ValueError, match="privileged must be names of signals, got 23"):
        fetch_tep(1, privileged=[23])
    with pytest.raises(ValueError, match="keep must be such that a signal stays in X, got none"):
        fetch_tep(1, keep=["XMEAS 30"])


def test_logs_do_not_change(tep_home):
    log = fetch_tep(1, data_home=tep_home)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'name'"):
        log.name = "other"


# ---------------------------------------------------------------- the real files


@pytest.mark.parametrize("run", ["anomaly-free", *(f"valve1/{k}" for k in range(16))])
def test_the_runs_of_the_bench_are_as_their_notes_say(run, real):
    name = f"skab/{run}/{run}.csv" if run == "anomaly-free" else f"skab/{run}.csv"
    home = real(name)
    log = fetch_skab(run, data_home=home)
    raw = pd.read_csv(Path(home) / name, sep=";")
    np.testing.assert_array_equal(log.X, raw[SENSORS])
    assert log.X.notna().all(axis=None)
    steps = np.diff(log.X.index).astype("timedelta64[s]").astype(int)
    holes = {"valve1/2": [76], "valve1/4": [54], "valve1/7": [65]}
    assert steps[steps > 2].tolist() == holes.get(run, [])
    if run == "anomaly-free":
        assert (len(log.X), (steps == 2).sum(), log.anomaly.sum()) == (9405, 556, 0)
        return
    assert 43 <= (steps == 2).sum() <= 61
    changes = np.flatnonzero(np.diff(log.anomaly.to_numpy().astype(int)))
    assert len(changes) == 2  # one stretch
    assert changes[0] > 400
    assert log.changepoint.sum() == (3 if run == "valve1/2" else 4)
    assert log.changepoint.to_numpy()[changes + 1].all()


def test_the_normal_runs_of_the_plant_lie_at_one_working_point(real):
    training = fetch_tep(0, keep="all", privileged=None, data_home=real("tep/d00.dat")).X
    test = fetch_tep(0, keep="all", privileged=None, test=True, data_home=real("tep/d00_te.dat")).X
    assert (training.shape, test.shape) == ((500, 52), (960, 52))
    z = (test.mean() - training.mean()) / training.std()
    assert z.abs().max() < 2  # a transposed or shifted table would be far off
    assert training["XMEAS 9"].mean() == pytest.approx(120.4, abs=0.05)  # deg C, the set point of the reactor


def test_analyses_are_held_between_samples(real):
    log = fetch_tep(1, data_home=real("tep/d01.dat"))
    changes = (log.X_privileged.diff().iloc[1:] != 0).mean()
    np.testing.assert_allclose(changes[:14], 0.5, atol=0.05)  # every 6 minutes, now and then the same value
    np.testing.assert_allclose(changes[14:], 0.2, atol=0.05)  # every 15 minutes
    assert (log.X.diff().iloc[1:] != 0).mean().min() > 0.8  # the reactor temperature is written in hundredths


@pytest.mark.parametrize("fault", [1, 6, 14])
def test_faults_show_from_row_160_on(fault, real):
    log = fetch_tep(fault, test=True, data_home=real(f"tep/d{fault:02d}_te.dat"))
    z = ((log.X - log.X[:160].mean()) / log.X[:160].std()).abs().max(axis=1)
    assert z[:160].max() < 6
    assert z[180:].mean() > 6 if fault != 14 else z[180:].mean() > 2 * z[:160].mean()
