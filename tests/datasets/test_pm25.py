"""Laws of the PM2.5 readers and of the windows of protocols C and R."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import pytest

from pitskd.datasets import _remote
from pitskd.datasets._remote import DatasetError
from pitskd.datasets.pm25 import (
    _scan,
    fetch_beijing_pm25,
    fetch_five_cities_pm25,
    five_cities_windows,
    pm25_windows,
)

EMBASSY = "pm25/beijing_us_embassy.csv"
EMBASSY_ORIGINAL = "PRSA_data_2010.1.1-2014.12.31.csv"
NAN = np.nan


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


def clock(first, last):
    hours = pd.date_range(first, last, freq="h")
    parts = {"year": hours.year, "month": hours.month, "day": hours.day, "hour": hours.hour}
    return pd.DataFrame({"No": np.arange(1, len(hours) + 1), **parts})


def write(table, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, na_rep="NA", **options)
    return path


@pytest.fixture(scope="module")
def embassy_table():
    """Return a made-up file in UCI's layout: the first 24 PM values are missing, PM is the row number modulo 100."""
    table = clock("2010-01-01", "2014-12-31 23:00")
    row = np.arange(len(table))
    weather = {"DEWP": -21, "TEMP": -11.0, "PRES": 1021.0, "cbwd": np.array(["NW", "SE", "cv", "NE"])[row % 4]}
    pm = np.where(row < 24, NAN, row % 100)
    return table.assign(**{"pm2.5": pm}, **weather, Iws=1.79, Is=0, Ir=0)


@pytest.fixture(scope="module")
def city_table():
    """Return a made-up file of a city with one station more; the sentinels stand in rows 3, 4 and 5."""
    table = clock("2010-01-01", "2015-12-31 23:00")
    row = np.arange(len(table))
    pm = {"PM_Station": NAN, "PM_US Post": np.where(row < 2, NAN, row % 100)}
    weather = {
        "DEWP": np.where(row == 3, -9999, -21),
        "HUMI": np.where(row == 4, -9999, 43),
        "PRES": 1021.0,
        "TEMP": -11,
    }
    wind = {"cbwd": np.where(row == 7, None, np.array(["SW", "cv"])[row % 2]), "Iws": 1.79}
    rain = {"precipitation": np.where(row == 5, 999990, 0.3), "Iprec": np.where(row == 5, 999990, 0.3)}
    return table.assign(season=(table["month"] // 3 - 1) % 4 + 1, **pm, **weather, **wind, **rain)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Hide the real data and the network."""

    def no_download(*args, **kwargs):
        raise ConnectionError("no network here")

    monkeypatch.delenv("PITSKD_DATA_HOME", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setattr(pooch, "retrieve", no_download)


# ---------------------------------------------------------------- readers on made-up files


def test_embassy_file_becomes_an_hourly_frame_with_units(embassy_table, tmp_path):
    frame = fetch_beijing_pm25(path=write(embassy_table, tmp_path / "any_name.csv"))
    assert frame.shape == (43824, 8)
    assert list(frame.columns) == ["pm2.5", "DEWP", "TEMP", "PRES", "cbwd", "Iws", "Is", "Ir"]
    assert frame.index.equals(pd.date_range("2010-01-01", "2014-12-31 23:00", freq="h"))
    assert (frame.index.name, frame.index.tz, frame.index.freqstr) == ("time", None, "h")
    assert frame.iloc[25].tolist() == [25.0, -21.0, -11.0, 1021.0, "SE", 1.79, 0.0, 0.0]
    assert frame["pm2.5"].isna().sum() == frame.isna().sum().sum() == 24
    assert frame["cbwd"].cat.categories.tolist() == ["NE", "NW", "SE", "cv"]
    assert all(frame[c].dtype == np.float64 for c in frame.columns.drop("cbwd"))


def test_attrs_give_source_licence_period_and_a_unit_for_every_column(embassy_table, city_table, tmp_path):
    embassy = fetch_beijing_pm25(path=write(embassy_table, tmp_path / "e.csv"))
    city = fetch_five_cities_pm25("shenyang", path=write(city_table, tmp_path / "c.csv"))
    for frame in (embassy, city):
        assert list(frame.attrs["units"]) == list(frame.columns)
        assert all(frame.attrs["units"].values())
        assert frame.attrs["licence"] == "CC BY 4.0"
        assert frame.attrs["sampling_period"] == "1 h"
        assert "archive.ics.uci.edu" in frame.attrs["source"]
    assert city.attrs["units"]["PM_Station"] == "ug/m3"
    assert city.attrs["city"] == "shenyang"


def test_sentinels_become_nan_and_are_counted_and_nothing_else_is_changed(city_table, tmp_path):
    frame = fetch_five_cities_pm25("beijing", path=write(city_table, tmp_path / "c.csv"))
    assert frame.attrs["n_sentinels"] == {"DEWP": 1, "HUMI": 1, "precipitation": 1, "Iprec": 1}
    assert np.flatnonzero(frame["DEWP"].isna()).tolist() == [3]
    assert np.flatnonzero(frame["HUMI"].isna()).tolist() == [4]
    assert np.flatnonzero(frame["Iprec"].isna()).tolist() == [5]
    assert np.flatnonzero(frame["cbwd"].isna()).tolist() == [7]
    assert frame["PM_Station"].isna().all()
    for column in ("DEWP", "HUMI", "precipitation", "Iprec"):
        kept = frame[column].notna().to_numpy()
        np.testing.assert_array_equal(frame[column][kept], city_table[column].to_numpy()[kept])


@pytest.mark.parametrize("place", [EMBASSY_ORIGINAL, f"pm25/{EMBASSY_ORIGINAL}"])
def test_the_original_file_of_the_embassy_is_accepted_in_data_home(place, embassy_table, tmp_path, alone):
    write(embassy_table, tmp_path / place)
    assert len(fetch_beijing_pm25(data_home=tmp_path)) == 43824


@pytest.mark.parametrize("city", ["Guangzhou", "guangzhou", "GUANGZHOU"])
def test_the_original_file_of_a_city_is_accepted_in_the_environment(city, city_table, tmp_path, alone, monkeypatch):
    write(city_table, tmp_path / "GuangzhouPM20100101_20151231.csv")
    monkeypatch.setenv("PITSKD_DATA_HOME", str(tmp_path))
    assert fetch_five_cities_pm25(city).attrs["city"] == "guangzhou"


def test_line_ends_of_windows_are_read_alike(embassy_table, tmp_path):
    unix = fetch_beijing_pm25(path=write(embassy_table, tmp_path / "unix.csv"))
    windows = fetch_beijing_pm25(path=write(embassy_table, tmp_path / "windows.csv", lineterminator="\r\n"))
    pd.testing.assert_frame_equal(unix, windows)


def test_a_registered_file_with_another_hash_is_refused(embassy_table, tmp_path, alone):
    write(embassy_table, tmp_path / EMBASSY)
    with pytest.raises(DatasetError, match=r"beijing_us_embassy.csv is damaged .*sha256"):
        fetch_beijing_pm25(data_home=tmp_path)


def test_without_file_and_network_the_error_says_what_to_put_where(tmp_path, alone):
    entry = _remote.registry()["pm25/chengdu.csv"]
    with pytest.raises(DatasetError, match="no network here") as caught:
        fetch_five_cities_pm25("chengdu", data_home=tmp_path)
    target = str(tmp_path / "pm25" / "chengdu.csv")
    for told in (entry.address, entry.sha256, target, "ChengduPM20100101_20151231.csv"):
        assert told in str(caught.value)


SPOILED_EMBASSY = {
    "has no column 'Is', 'Ir'": lambda t: t.drop(columns=["Is", "Ir"]),
    "has no column 'year'": lambda t: t.drop(columns="year"),
    "row 7 is of 2010-01-01 08:00:00 where 2010-01-01 07:00:00 is expected": lambda t: t.drop(index=7),
    "row 6 is of 2010-01-01 05:00:00 where 2010-01-01 06:00:00": lambda t: t.iloc[
        [*range(6), 5, *range(6, len(t) - 1)]
    ],
    "has 43823 rows where 43824 hours": lambda t: t.iloc[:-1],
    "has 43825 rows where 43824 hours": lambda t: t.iloc[[*range(len(t)), 0]],
    "year, month, day and hour are no times": lambda t: t.assign(month=13),
    "TEMP is 284 at 2010-01-01 00:00:00, outside -60 .. 60 deg C": lambda t: t.assign(TEMP=284.0),
    "pm2.5 is -1 at .*, outside 0 .. 5000 ug/m3": lambda t: t.assign(**{"pm2.5": -1}),
    r"wind directions include \['west'\]": lambda t: t.assign(cbwd="west"),
    "a column is no column of numbers": lambda t: t.assign(PRES="high"),
}


@pytest.mark.parametrize("problem", SPOILED_EMBASSY)
def test_a_file_that_is_not_the_data_set_is_refused_with_the_first_problem(problem, embassy_table, tmp_path):
    path = write(SPOILED_EMBASSY[problem](embassy_table), tmp_path / "spoiled.csv")
    with pytest.raises(DatasetError, match=rf"spoiled.csv does not hold UCI data set 381.*{problem}.*Use the file"):
        fetch_beijing_pm25(path=path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01,\xff", b"a,b\n1,2,3\n1\n1,2,3,4,5\n"])
def test_a_file_that_is_no_table_is_refused(content, tmp_path):
    (tmp_path / "noise.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=r"noise.csv does not hold UCI data set 394.*"):
        fetch_five_cities_pm25("beijing", path=tmp_path / "noise.csv")


def test_arguments_of_the_readers_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"city must be 'beijing' or .* or 'shenyang', got london"):
        fetch_five_cities_pm25("London")
    with pytest.raises(ValueError, match=r"city must be 'beijing' or .*, got 3"):
        fetch_five_cities_pm25(3)
    with pytest.raises(ValueError, match=r"path must be an existing file, got .*none.csv"):
        fetch_beijing_pm25(path=tmp_path / "none.csv")
    with pytest.raises(TypeError, match="path must be the path of a file, got 3"):
        fetch_beijing_pm25(path=3)


# ---------------------------------------------------------------- readers on the real files


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        (EMBASSY, fetch_beijing_pm25),
        ("pm25/beijing.csv", lambda **k: fetch_five_cities_pm25("beijing", **k)),
        ("pm25/shanghai.csv", lambda **k: fetch_five_cities_pm25("shanghai", **k)),
    ],
)
def test_nothing_is_filled_in_the_real_files(name, reader, real):
    home = real(name)
    raw = pd.read_csv(Path(home) / name, dtype=str, keep_default_na=False)
    frame = reader(data_home=home)
    for column in frame.columns:
        not_measured = raw[column].isin(["NA", "-9999", "999990"]).to_numpy()
        np.testing.assert_array_equal(frame[column].isna(), not_measured)
        if column != "cbwd":
            np.testing.assert_array_equal(frame[column][~not_measured], raw[column][~not_measured].astype(float))
    np.testing.assert_array_equal(frame["cbwd"].dropna(), raw["cbwd"][(raw["cbwd"] != "NA").to_numpy()])


def test_known_rows_of_the_embassy(real):
    frame = fetch_beijing_pm25(data_home=real(EMBASSY))
    assert frame.shape == (43824, 8)
    assert frame["pm2.5"].isna().sum() == frame.isna().sum().sum() == 2067
    assert frame["pm2.5"].first_valid_index() == pd.Timestamp("2010-01-02 00:00")
    assert frame.loc["2010-01-02 00:00"].tolist() == [129.0, -16.0, -4.0, 1020.0, "SE", 1.79, 0.0, 0.0]


@pytest.mark.parametrize(
    ("city", "stations", "n_missing", "sentinels"),
    [
        ("beijing", ["PM_Dongsi", "PM_Dongsihuan", "PM_Nongzhanguan"], 2197, {"precipitation": 1, "Iprec": 1}),
        ("shanghai", ["PM_Jingan", "PM_Xuhui"], 18545, {}),
    ],
)
def test_known_counts_of_the_cities(city, stations, n_missing, sentinels, real):
    frame = fetch_five_cities_pm25(city, data_home=real(f"pm25/{city}.csv"))
    assert frame.shape == (52584, 10 + len(stations))
    assert sorted(c for c in frame.columns if c.startswith("PM_")) == sorted([*stations, "PM_US Post"])
    assert frame["PM_US Post"].isna().sum() == n_missing
    assert frame.attrs["n_sentinels"] == sentinels
    np.testing.assert_array_equal(frame["season"], (frame.index.month // 3 - 1) % 4 + 1)


# ---------------------------------------------------------------- protocol C


def hours(n):
    return pd.date_range("2014-01-01", periods=n, freq="h", name="time")


def embassy_frame(pm, cbwd="NW"):
    frame = pd.DataFrame({"pm2.5": np.asarray(pm, dtype=float)}, index=hours(len(pm)))
    return frame.assign(DEWP=-20.0, TEMP=-5.0, PRES=1020.0, cbwd=cbwd, Iws=4.0, Is=0.0, Ir=0.0)


def test_eleven_features_of_protocol_c():
    w = pm25_windows(embassy_frame(range(20), cbwd=["NE", "NW", "SE", "cv"] * 5), window=4, horizon=2)
    assert w.feature_names == w.privileged_feature_names
    assert w.feature_names == (
        "pm2.5", "DEWP", "TEMP", "PRES", "cbwd_NE", "cbwd_NW", "cbwd_SE", "cbwd_cv", "Iws", "Is", "Ir",
    )  # fmt: skip
    np.testing.assert_array_equal(w.X[0, :, 4:8], np.eye(4))
    np.testing.assert_array_equal(w.X[0, 2], [2, -20, -5, 1020, 0, 0, 1, 0, 4, 0, 0])
    assert w.target_names == ("pm2.5+2",)


def test_a_window_with_a_missing_pm_value_anywhere_is_dropped():
    pm = np.arange(12.0)
    pm[6] = NAN
    frame = embassy_frame(pm)
    # Windows of two input hours, two middle hours and the target: those from rows 0, 1 and 7 do not meet row 6.
    for privileged in ("between", 1, [1], None):
        w = pm25_windows(frame, window=2, horizon=3, privileged=privileged)
        assert w.y.tolist() == [4, 5, 11]
        assert not np.isnan(w.X).any()
    every = pm25_windows(frame, window=2, horizon=3, require_observed=False)
    assert every.y.tolist() == [4, 5, 7, 8, 9, 10, 11]
    assert np.isnan(every.X[..., 0]).sum() + np.isnan(every.X_privileged[..., 0]).sum() == 4


def test_several_horizons_look_to_the_farthest():
    pm = np.arange(12.0)
    pm[6] = NAN
    assert pm25_windows(embassy_frame(pm), window=2, horizon=[1, 3]).y.tolist() == [[2, 4], [3, 5], [9, 11]]


def test_labels_are_strictly_above_the_threshold():
    w = pm25_windows(embassy_frame([0, 75, 76, 74, 200]), window=1, horizon=1, threshold=75)
    assert w.y.tolist() == [0, 1, 0, 1]


def test_windows_of_a_complete_series_are_views_of_one_block():
    w = pm25_windows(embassy_frame(range(50)), window=7, horizon=8)
    assert np.shares_memory(w.X, w.X_privileged)
    assert np.shares_memory(w.X, w.y)


def test_stride_and_privileged_columns_are_passed_on():
    w = pm25_windows(
        embassy_frame(range(30)), window=3, horizon=2, stride=5, privileged=None, privileged_columns=["DEWP", "TEMP"]
    )
    assert w.y.tolist() == [4, 9, 14, 19, 24, 29]
    assert w.privileged_feature_names == ("DEWP", "TEMP")
    assert "DEWP" not in w.feature_names


def test_an_unknown_direction_is_nan_in_all_its_columns():
    w = pm25_windows(embassy_frame(range(4), cbwd=["NE", None, "cv", "SE"]), window=3, horizon=1)
    np.testing.assert_array_equal(w.X[0, :, 4:8], [[1, 0, 0, 0], [NAN] * 4, [0, 0, 0, 1]])


def test_a_plain_file_read_by_the_user_gives_the_same_windows(embassy_table, tmp_path):
    path = write(embassy_table, tmp_path / "e.csv")
    ours, plain = pm25_windows(fetch_beijing_pm25(path=path)), pm25_windows(pd.read_csv(path))
    np.testing.assert_array_equal(ours.X, plain.X)
    np.testing.assert_array_equal(ours.y, plain.y)


@pytest.mark.parametrize("make", [pm25_windows, five_cities_windows])
def test_frames_are_not_changed(make):
    frame = (embassy_frame if make is pm25_windows else city_frame)(range(30))
    before = frame.copy(deep=True)
    w = make(frame, horizon=2)
    assert w.X.size + w.X_privileged.size + w.y.size
    pd.testing.assert_frame_equal(frame, before)


def test_the_example_of_the_design(real):
    frame = fetch_beijing_pm25(data_home=real(EMBASSY))
    w = pm25_windows(frame, window=7, horizon=8, privileged=2, threshold=75)
    train, test = w.split(0.6, gap="auto")
    pm = frame["pm2.5"].to_numpy()
    runs = np.lib.stride_tricks.sliding_window_view(pm, 15)
    kept = np.flatnonzero(~np.isnan(runs).any(axis=1))
    assert w.n_windows == len(kept) == 39188
    np.testing.assert_array_equal(w.X[..., 0], runs[kept, :7])
    np.testing.assert_array_equal(w.X_privileged[..., 0], runs[kept, 12:14])
    np.testing.assert_array_equal(w.y, runs[kept, 14] > 75)
    assert train.origin[-1] + pd.Timedelta("8h") < test.origin[0] - pd.Timedelta("6h")


# ---------------------------------------------------------------- protocol R


def city_frame(pm, season=4, cbwd="SW"):
    frame = pd.DataFrame({"PM_US Post": np.asarray(pm, dtype=float)}, index=hours(len(pm)))
    return frame.assign(season=season, DEWP=-20.0, HUMI=40.0, PRES=1020.0, TEMP=-5.0, cbwd=cbwd, Iws=4.0)


def test_scan_worked_by_hand():
    observed = np.ones(30, dtype=bool)
    # 0-2 is a sequence, 3-5 are passed over; 6-8 meets 8 missing, 8-10 are passed over; 11-13 is a sequence, 14-16 are
    # passed over; 17 is missing itself, 17-19 are passed over; 20-22, then 26-28 are sequences; 29 is left over.
    observed[[8, 17]] = False
    assert _scan(observed, length=3, skip=3).tolist() == [0, 11, 20, 26]
    observed[4] = False  # in a passage: not seen
    assert _scan(observed, length=3, skip=3).tolist() == [0, 11, 20, 26]
    observed[28] = False
    assert _scan(observed, length=3, skip=3).tolist() == [0, 11, 20]


def test_scan_takes_a_sequence_that_ends_with_the_series():
    assert _scan(np.ones(9, dtype=bool), length=3, skip=3).tolist() == [0, 6]
    assert _scan(np.ones(2, dtype=bool), length=3, skip=3).tolist() == []


def test_scan_finds_only_observed_sequences_at_least_skip_apart():
    rng = np.random.default_rng(0)
    for _ in range(20):
        observed = rng.random(300) > 0.05
        starts = _scan(observed, length=6, skip=6)
        assert all(observed[start : start + 6].all() for start in starts)
        assert (np.diff(starts) >= 12).all()


def test_sequences_are_first_hour_middle_hours_and_last_hour():
    pm = np.arange(30.0)
    pm[[8, 17]] = NAN
    w = five_cities_windows(city_frame(pm), horizon=2, skip=3)
    assert w.window == 1
    assert w.X[:, 0, -1].tolist() == [0, 11, 20, 26]
    assert w.X_privileged[:, 0, -1].tolist() == [1, 12, 21, 27]
    assert w.y.tolist() == [2, 13, 22, 28]
    assert w.privileged_steps.tolist() == [1]
    assert w.origin.tolist() == hours(30)[[0, 11, 20, 26]].to_numpy().tolist()


def test_fifteen_features_of_protocol_r():
    w = five_cities_windows(city_frame(range(6), season=[1, 2, 3, 4, 1, 2]), horizon=5)
    assert w.feature_names == (
        "season_1", "season_2", "season_3", "season_4", "cbwd_NE", "cbwd_NW", "cbwd_SE", "cbwd_SW", "cbwd_cv",
        "DEWP", "HUMI", "PRES", "TEMP", "Iws", "PM_US Post",
    )  # fmt: skip
    assert w.X_privileged.shape == (1, 4, 15)
    np.testing.assert_array_equal(w.X[0, 0], [1, 0, 0, 0, 0, 0, 0, 1, 0, -20, 40, 1020, -5, 4, 0])
    np.testing.assert_array_equal(w.X_privileged[0, :, :4], np.eye(4)[[1, 2, 3, 0]])


def test_missing_weather_stays_nan_and_costs_no_sequence():
    frame = city_frame(range(6)).assign(HUMI=NAN)
    w = five_cities_windows(frame, horizon=5)
    assert np.isnan(w.X[0, 0]).nonzero()[0].tolist() == [w.feature_names.index("HUMI")]


def test_sequences_of_beijing_are_those_of_protocol_r(real):
    frame = fetch_five_cities_pm25("beijing", data_home=real("pm25/beijing.csv"))
    w = five_cities_windows(frame, horizon=5)
    train, dropped, test = w.split(0.8, 1)
    assert (train.n_windows, dropped.n_windows, test.n_windows) == (3315, 1, 828)
    assert not np.isnan(w.X[..., -1]).any()
    assert not np.isnan(w.X_privileged[..., -1]).any()
    published = five_cities_windows(frame, horizon=5, skip=7)
    assert [part.n_windows for part in published.split(0.8, 1)] == [3056, 1, 763]


@pytest.mark.parametrize(("horizon", "n_sequences"), [(5, 2776), (11, 1795), (23, 1030)])
def test_sequences_of_shanghai(horizon, n_sequences, real):
    frame = fetch_five_cities_pm25("shanghai", data_home=real("pm25/shanghai.csv"))
    assert five_cities_windows(frame, horizon=horizon).n_windows == n_sequences


# ---------------------------------------------------------------- arguments of both


@pytest.mark.parametrize(
    ("make", "frame", "column"),
    [(pm25_windows, embassy_frame(range(30)), "pm2.5"), (five_cities_windows, city_frame(range(30)), "PM_US Post")],
)
def test_frames_without_the_columns_are_refused(make, frame, column):
    for name in (column, "DEWP", "cbwd"):
        with pytest.raises(
            ValueError, match=rf"frame must be a DataFrame with the columns .* got one without \['{name}'"
        ):
            make(frame.drop(columns=name))
    with pytest.raises(TypeError, match="frame must be a pandas DataFrame, got"):
        make(frame.to_numpy())
    with pytest.raises(TypeError, match="frame must be numeric in column 'DEWP', got dtype"):
        make(frame.assign(DEWP="cold"))
    with pytest.raises(ValueError, match=r"frame must be one of NE, NW, .* in column 'cbwd', got west"):
        make(frame.assign(cbwd="west"))
    with pytest.raises(ValueError, match="frame must be a DataFrame with unique column names, got 'DEWP' twice"):
        make(pd.concat([frame, frame[["DEWP"]]], axis=1))


def test_an_unknown_season_is_refused():
    with pytest.raises(ValueError, match="frame must be one of 1, 2, 3, 4 or missing in column 'season', got 5"):
        five_cities_windows(city_frame(range(30), season=5))


def test_series_without_one_whole_window_are_refused():
    pm = np.where(np.arange(30) % 4 == 0, NAN, 1.0)
    with pytest.raises(ValueError, match="frame must be observed over at least one window, got none"):
        pm25_windows(embassy_frame(pm), window=2, horizon=3)
    with pytest.raises(ValueError, match="frame must be observed over 6 hours in a row, got no such sequence"):
        five_cities_windows(city_frame(pm))


def test_missing_hours_are_refused_by_the_scan_and_asfreq_helps():
    frame = city_frame(range(30))
    holed = frame.drop(index=frame.index[8])
    with pytest.raises(ValueError, match=r"frame must be without missing hours, got a hole .* Use frame.asfreq"):
        five_cities_windows(holed, horizon=2, skip=3)
    assert five_cities_windows(holed.asfreq("h"), horizon=2, skip=3).y.tolist() == [2, 13, 19, 25]


def test_numbers_are_checked():
    with pytest.raises(ValueError, match="horizon must be an integer of at least 1, got 0"):
        five_cities_windows(city_frame(range(30)), horizon=0)
    with pytest.raises(ValueError, match="skip must be an integer of at least 1, got 0"):
        five_cities_windows(city_frame(range(30)), skip=0)
    with pytest.raises(ValueError, match="require_observed must be True or False, got 1"):
        pm25_windows(embassy_frame(range(30)), require_observed=1)
