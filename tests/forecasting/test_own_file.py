"""Laws of a user's own file: its windows are those of `make_windows`, whole, counted, and of bounded number."""

import numpy as np
import pandas as pd
import pytest

from pitskd import make_windows
from pitskd.forecasting import own_file as rooms
from pitskd.forecasting.clock import Clock, step_in_words
from pitskd.forecasting.own_file import WindowOptions, gather, open_file
from pitskd.parts import join_windows, read_parts

ASKED = {"window": 4, "horizon": 3}


def series(n_rows=300, seed=0):
    noise = np.random.default_rng(seed).normal(size=(n_rows, 3))
    rows = np.zeros((n_rows, 3))
    for row in range(1, n_rows):
        rows[row] = 0.7 * rows[row - 1] + 0.2 * rows[row - 1, ::-1] + noise[row]
    index = pd.date_range("2024-01-01", periods=n_rows, freq="h", name="when")
    return pd.DataFrame(rows, columns=["pm", "wind", "lab"], index=index)


@pytest.fixture
def frame():
    return series()


@pytest.fixture
def opened(tmp_path):
    def write(frame, target="pm", *, rows=None, **settings):
        frame.to_csv(tmp_path / "air.csv")
        options = WindowOptions(target, **{"time": frame.index.name, **ASKED, **settings})
        own = open_file("FILE", tmp_path / "air.csv", options)
        if rows is not None:
            parts = own.parts
            own.parts = read_parts(parts.path, columns=parts.columns, time=parts.time, group=parts.group, rows=rows)
        return own

    return write


def same(record, expected):
    assert np.array_equal(record.X, expected.X)
    assert np.array_equal(record.y, expected.y)
    if expected.X_privileged is None:
        assert record.X_privileged is None
    else:
        assert np.array_equal(record.X_privileged, expected.X_privileged, equal_nan=True)
    assert np.array_equal(record.origin, expected.origin)
    for name in ("feature_names", "privileged_feature_names", "target_names"):
        assert getattr(record, name) == getattr(expected, name)


# ---------------------------------------------------------------- the windows of a file


@pytest.mark.parametrize("rows", [None, 7, 100])
@pytest.mark.parametrize(
    "settings",
    [{}, {"privileged_columns": ["lab"]}, {"privileged_columns": ["lab"], "privileged": None}, {"privileged": 1},
     {"threshold": 0.0}, {"stride": 5}],
)  # fmt: skip
def test_windows_of_a_file_are_those_of_its_frame(opened, frame, settings, rows):
    own = opened(frame, rows=rows, **settings)
    given = {name: list(value) if name == "privileged_columns" else value for name, value in settings.items()}
    expected = make_windows(frame, "pm", **ASKED, **given)
    same(gather(own).windows, expected)
    assert own.privileged_steps == tuple(expected.privileged_steps)
    assert own.feature_names == expected.feature_names
    assert own.privileged_feature_names == expected.privileged_feature_names
    assert own.target_name == expected.target_names[0]


def test_pieces_of_any_size_hold_the_same_windows(opened, frame, monkeypatch):
    whole = join_windows(list(opened(frame).windows()))
    monkeypatch.setattr(rooms, "_ELEMENTS", 100)
    pieces = list(opened(frame).windows())
    assert max(piece.X.size + piece.X_privileged.size for piece in pieces) <= 100
    same(join_windows(pieces), whole)
    assert rooms.total(piece.dropped for piece in pieces) == whole.dropped


def test_a_missing_input_drops_the_windows_that_see_it_and_a_missing_target_that_of_its_own(opened, frame):
    frame.iloc[100, 1] = np.nan  # seen by 4 windows
    frame.iloc[200, 0] = np.nan  # seen by 4 windows, target of one
    gathered = gather(opened(frame))
    assert gathered.dropped == {"hole in the index": 0, "missing target": 1, "missing input": 8}
    assert gathered.n_possible == gathered.n_looked_at == 300 - 7 + 1
    assert gathered.windows.n_windows == gathered.n_possible - 9
    assert np.isfinite(gathered.windows.X).all()


def test_a_missing_privileged_value_blanks_its_row_and_keeps_its_target(opened, frame):
    frame.iloc[100, 2] = np.nan
    own = opened(frame, privileged_columns=["lab"], privileged=None)
    gathered = gather(own)
    blank = np.isnan(gathered.windows.X_privileged)
    assert gathered.windows.n_windows == gathered.n_possible
    assert gathered.n_untaught == 4 == np.count_nonzero(blank.any(axis=(1, 2)))
    assert np.array_equal(blank.any(axis=(1, 2)), blank.all(axis=(1, 2)))
    assert any("a privileged value is missing in 4 windows" in line for line in gathered.lines)


def test_windows_are_evenly_spaced_and_no_more_than_asked_for(opened, frame):
    gathered = gather(opened(frame, max_windows=50))
    assert gathered.stride == 6
    same(gathered.windows, make_windows(frame, "pm", **ASKED, stride=6))
    assert gathered.windows.n_windows == 49 <= 50
    assert any("49 of 49 at every 6 rows (294 at every row)" in line for line in gathered.lines)
    assert gather(opened(frame, max_windows=294)).stride == 1


def test_groups_are_kept_apart_and_give_no_more_windows_than_asked_for(opened, frame):
    frame["city"] = np.repeat(["A", "B", "C"], 100)
    frame.index = pd.DatetimeIndex(np.tile(frame.index[:100], 3), name="when")
    order = np.argsort(frame.index, kind="stable")  # cities take turns
    own = opened(frame.iloc[order], group="city", max_windows=281)
    gathered = gather(own)
    assert gathered.n_possible == 3 * 94
    assert gathered.windows.n_windows == 3 * 47 <= 281
    assert set(gathered.windows.groups) == {"A", "B", "C"}
    assert gathered.step == "1 h"
    assert gather(opened(frame.iloc[order], group="city", max_windows=2)).windows.n_windows == 2


def test_a_target_that_is_neither_input_nor_privileged_is_seen_by_nobody(opened, frame):
    gathered = gather(opened(frame, columns=["wind"], privileged_columns=["lab"]))
    assert gathered.windows.feature_names == ("wind",)
    assert gathered.windows.privileged_feature_names == ("wind", "lab")
    expected = make_windows(frame, "pm", **ASKED)
    assert np.array_equal(gathered.windows.X, expected.X[:, :, [1]])
    assert np.array_equal(gathered.windows.y, expected.y)


def test_text_is_left_out_and_named(opened, frame):
    own = opened(frame.assign(side="NW"))
    assert own.feature_names == ("pm", "wind", "lab")
    assert "NW" in own.parts.left_out["side"]


def test_units_come_from_names_and_options(opened, frame):
    own = opened(frame.rename(columns={"pm": "pm [ug/m3]"}), "pm [ug/m3]", units={"wind": "m/s"})
    assert own.units == {"pm [ug/m3]": "ug/m3", "wind": "m/s"}


def test_ranges_and_rows_are_those_of_the_file(opened, frame):
    frame.iloc[5, 1] = np.nan
    tally = gather(opened(frame, rows=13)).tally
    assert tally.ranges(["wind"]) == {"wind": (frame["wind"].min(), frame["wind"].max())}
    assert tally.present.to_dict() == {"pm": 300, "wind": 299, "lab": 300}


# ---------------------------------------------------------------- the clock


@pytest.mark.parametrize(
    ("kind", "period", "said"),
    [("rows", None, "1 row"), ("numbers", 0.5, "0.5"), ("times", 86400.0, "1 d"), ("times", 5400.0, "90 min"),
     ("times", 0.25, "250 ms")],
)  # fmt: skip
def test_steps_in_words(kind, period, said):
    assert step_in_words(kind, period) == said


def test_the_usual_step_is_the_median_inside_groups_whatever_the_parts():
    index = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-01", "2024-01-03", "2024-01-02", "2024-01-13"])
    clock = Clock()
    clock.add(index, ["a", "b", "c", "b", "c", "a"])  # steps: 12 days, 1 day, 1 day
    assert clock.period == 86400.0
    assert clock.step == "1 d"
    hours = pd.date_range("2024-01-01", periods=100, freq="h", tz="UTC")
    whole, parts = Clock(), Clock()
    whole.add(hours)
    for start in range(0, 100, 7):
        parts.add(hours[start : start + 7])
    assert whole.period == parts.period == 3600.0
    assert whole.aware


# ---------------------------------------------------------------- mistakes

MISTAKES = [
    ({"target": "pm25"}, r"--target must be a column of .*air.csv, got 'pm25'\. It has: when, pm, wind, lab, side\."),
    ({"target": "when"}, r"--target must be a column of numbers of .*, got 'when', which is the time"),
    ({"target": "side"}, r"--target must be a column of numbers of .*, got 'side', which holds text"),
    ({"columns": ["pm", "humidity"]}, "--columns must be columns of .*, got 'humidity'"),
    ({"columns": ["pm", "side"]}, "side"),
    ({"columns": ["pm", "pm"]}, "--columns must be columns, none twice, got 'pm'"),
    ({"columns": ["pm"], "privileged_columns": ["pm"]}, "--privileged-columns must be other columns than --columns"),
    ({"privileged_columns": ["labs"]}, "--privileged-columns must be columns of .*, got 'labs'"),
    ({"privileged_columns": ["pm", "wind", "lab"]}, "--privileged-columns must be fewer than all columns of numbers"),
    ({"window": 0}, "--window must be an integer of at least 1, got 0"),
    ({"horizon": 2.5}, "--horizon must be an integer of at least 1, got 2.5"),
    ({"horizon": 300}, r"--horizon must be .*, which has 300 rows, got 300 with --window 4, together 304"),
    ({"window": 298}, r"--horizon must be .*, got 3 with --window 298"),
    ({"window": 400}, r"--window must be .*, which has 300 rows, got 400 with --horizon 3"),
    ({"privileged": 3}, "--privileged must be between, none, a number of rows up to 2, .*, got 3"),
    ({"privileged": [1, 5]}, r"--privileged must be .* steps by commas, from 1 to 2, got \[1, 5\]"),
    ({"stride": 0}, "--stride must be an integer of at least 1, got 0"),
    ({"max_windows": 0}, "--max-windows must be an integer of at least 1, got 0"),
    ({"stride": 2, "max_windows": 9}, "--stride must be given without --max-windows"),
    ({"threshold": np.nan}, "--threshold must be a finite number, got nan"),
    ({"time": "clock"}, "--time must be a column of .*, got 'clock'"),
    ({"group": "city"}, "--group must be a column of .*, got 'city'"),
    ({"max_gap": "soon"}, "--max-gap must be a step above 0 in units of the index, got soon"),
    ({"units": {"humidity": "%"}}, "--unit must be a column of .*, got 'humidity'"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_said_before_the_windows_are_read(opened, frame, settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        opened(frame.assign(side="NW"), **settings)


def test_a_gap_needs_a_clock(tmp_path, frame):
    frame.to_csv(tmp_path / "air.csv", index=False)
    with pytest.raises(ValueError, match="--max-gap must be given for a file with a time column, got 3h"):
        open_file("FILE", tmp_path / "air.csv", WindowOptions("pm", **ASKED, max_gap="3h"))


def test_a_file_without_any_whole_window_says_what_it_lacks(opened, frame):
    with pytest.raises(ValueError, match="--target must be a column with values, got 'pm', all 300 missing"):
        gather(opened(frame.assign(pm=np.nan), columns=["wind"]))
    with pytest.raises(ValueError, match="--columns must be columns with values, got 'wind', all 300 missing"):
        gather(opened(frame.assign(wind=np.nan)))
    frame.iloc[::5, 1] = np.nan
    lacking = r"none \(missing input: 293; 'wind', which has no value in 60 of 300 rows, 20%\)\. Leave 'wind' out"
    with pytest.raises(ValueError, match=rf"FILE must be a file with a whole window, got {lacking}"):
        gather(opened(frame, window=5))
    with pytest.raises(ValueError, match=r"--threshold must be such that .* 'pm' lies between .* got 1000"):
        gather(opened(frame, columns=["pm"], threshold=1000.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"privileged_columns": ["lab"]}, "--privileged-columns must be .*, got 'lab', which has no value in 275 of 300 "),
     ({"columns": ["wind"], "privileged_columns": ["pm", "lab"]}, "--privileged-columns must be .*, got 'lab'")],
)  # fmt: skip
def test_a_file_whose_privileged_part_is_never_whole_is_refused(opened, frame, settings, message):
    frame.iloc[np.arange(300) % 12 > 0, 2] = np.nan
    own = opened(frame, **settings)
    gathered = gather(own)
    assert gathered.n_untaught == gathered.windows.n_windows
    with pytest.raises(ValueError, match=message):
        rooms.check_taught(own, gathered.tally, gathered.windows.n_windows, gathered.n_untaught)
    rooms.check_taught(own, gathered.tally, gathered.windows.n_windows, gathered.n_untaught - 1)


def test_a_calendar_is_found_whatever_the_parts():
    months = pd.date_range("2000-01-31", periods=100, freq="ME")
    for size in (3, 100):
        clock = Clock()
        for start in range(0, 100, size):
            clock.add(months[start : start + size])
        assert (clock.calendar, clock.calendar_step, clock.even) == ("month ends", 1, True)


def test_a_time_out_of_order_is_named(opened, frame):
    order = np.r_[1, 0, 2:300]
    with pytest.raises(ValueError, match="in order of 'when'"):
        list(opened(frame.iloc[order]).windows())
    with pytest.raises(ValueError, match=r"twice|repeat"):
        list(opened(frame.iloc[np.r_[0, 0:300]]).windows())


@pytest.mark.parametrize(
    ("freq", "step"), [("h", "1 h"), ("MS", "1 month"), ("ME", "1 month"), ("QS", "3 months"), ("B", "1 weekday")]
)
def test_the_usual_step_is_told_as_the_calendar_has_it(freq, step):
    clock = Clock()
    index = pd.date_range("2020-01-01", periods=60, freq=freq)
    clock.add(pd.DatetimeIndex(index.to_numpy()))
    assert clock.step == step
