"""Files read in parts: the same table whatever the size of a part, and one clear error for what cannot be read."""

import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

from pitskd import make_windows, read_parts, windows_from_parts
from pitskd._files import TableFile, lines

NAN = np.nan


def write(tmp_path, text, name="log.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def whole(parts):
    return pd.concat(list(parts))


SIZES = pytest.mark.parametrize("rows", [1, 2, 3, 100])
TABLES = {
    "comma": "time,a,b\n1,0.1,2e-3\n2,,-7\n4,nan,NULL\n5,1,12345678901234567890\n",
    "semicolon": "time;a;b\n1;0.1;2\n2;N/A;-7\n4;None;3\n",
    "tab": "time\ta\tb\n1\t0.1\t2\n2\t\t\n4\t5\t6\n",
    "quoted, with a byte order mark": b'\xef\xbb\xbf"time","a;b","c, ""d"""\r\n"1","2",3\r\n2,"3","4"\r\n',
    "empty lines and spaces": "\n\na , b\n1 , 2 \n\n 3,nan \n  \n5,6",
    "times": "Date,a\n2024-05-01,1\n2024-05-01T00:00:01.5,2\n2024-05-02 03:04,3\n",
    "times over the end of summer time": "time,a\n2024-10-27T02:59:59+02:00,1\n2024-10-27T02:00:00+01:00,2\n"
    "2024-10-27T02:00:00Z,3\n",
    "numbers of rows": "a,b\n1,2\n3,4\n5,6\n",
    "times before blanks": "time ,a\n2024-05-01 ,1\n2024-05-02T00:00\t ,2\n 2024-05-03\t,3\n",
    "times with offsets before blanks": "time,a\n2024-05-01T00:00Z ,1\n2024-05-02T00:00+01:00,2\n",
    "days without dashes": "Date,a\n20240131,1\n20240201 ,2\n20240301,3\n",
    "decimal clock": "time,a\n0.5,1\n1,2\n2,3\n2.5,4\n",
}


@SIZES
@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_parts_of_a_csv_file_together_are_the_table_read_whole(tmp_path, text, rows):
    path = write(tmp_path, text)
    table, parts = TableFile.read("path", path), read_parts(path, rows=rows)
    expected = table.numbers(parts.columns)
    pd.testing.assert_frame_equal(whole(parts), expected, check_exact=True, check_freq=False, check_index_type=False)
    assert (parts.names, parts.time, parts.n_rows) == (table.names, table.time, len(expected))
    assert all(len(part) <= rows for part in parts)


@SIZES
@pytest.mark.parametrize("as_index", [True, False])
@pytest.mark.parametrize("tz", [None, "Europe/Berlin"])
def test_parts_of_a_parquet_file_together_are_the_table_read_whole(tmp_path, rows, as_index, tz):
    times = pd.date_range("2024-05-01", periods=5, freq="s", tz=tz, name="time")
    columns = {"a": [1.0, NAN, 3.0, 4.0, 5.0], "b": [1, 2, 3, 4, 5], "c": pd.array([1, None, 3, 4, 5], dtype="Int8")}
    frame = pd.DataFrame({"time": times, **columns})
    (frame.set_index("time") if as_index else frame).to_parquet(tmp_path / "log.parquet", row_group_size=2)
    table, parts = TableFile.read("path", tmp_path / "log.parquet"), read_parts(tmp_path / "log.parquet", rows=rows)
    expected = table.numbers(["a", "b", "c"])
    pd.testing.assert_frame_equal(whole(parts), expected, check_exact=True, check_freq=False)
    assert (parts.names, parts.columns, parts.time, parts.n_rows) == (table.names, ("a", "b", "c"), "time", 5)


def test_an_index_without_a_name_is_the_time(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.date_range("2024-05-01", periods=2, freq="h"))
    frame.to_parquet(tmp_path / "log.parquet")
    parts = read_parts(tmp_path / "log.parquet")
    assert (parts.names, parts.time) == (("time", "a"), "time")
    assert whole(parts).index.tolist() == frame.index.tolist()


DAYS = pd.to_datetime(["2024-05-01", "2024-05-02", "2024-05-04", "2024-05-05"])
INDEXES = {
    "numbers without a name": (pd.Index([0, 1, 3, 4]), None, None, [0, 1, 2, 3]),
    "text without a name": (pd.Index(list("wxyz")), None, None, [0, 1, 2, 3]),
    "a range without a name": (pd.RangeIndex(100, 104), None, None, [0, 1, 2, 3]),
    "a range that is the time": (pd.RangeIndex(100, 108, 2, name="time"), "time", None, [100, 102, 104, 106]),
    "a range of another name": (pd.RangeIndex(100, 104, name="t"), "t", "t", [100, 101, 102, 103]),
    "times without a name": (DAYS, "time", None, None),
    "dates without a name": (pd.Index(DAYS.date), "time", None, None),
}


@pytest.mark.parametrize("rows", [3, 100])
@pytest.mark.parametrize(("index", "clock", "named", "expected"), INDEXES.values(), ids=INDEXES)
def test_an_index_of_parquet_is_the_time_where_it_has_a_name_or_holds_times(
    tmp_path, index, clock, named, expected, rows
):
    frame = pd.DataFrame({"a": [0.0, 1.0, 3.0, 4.0], "b": [1.0, 2.0, 3.0, 4.0]}, index=index)
    frame.to_parquet(tmp_path / "log.parquet")
    table = TableFile.read("path", tmp_path / "log.parquet", time=named)
    parts = read_parts(tmp_path / "log.parquet", time=named, rows=rows)
    assert parts.names == table.names == ((clock, "a", "b") if clock else ("a", "b"))
    assert parts.time == table.time == clock
    assert whole(parts).index.tolist() == table.index.tolist() == (expected or pd.to_datetime(index).tolist())
    assert_array_equal(whole(parts), frame)


@pytest.mark.parametrize("clock", ["time", "date"])
def test_a_filtered_frame_keeps_its_time_column(tmp_path, clock):
    frame = pd.DataFrame({clock: pd.date_range("2024", periods=6, freq="h"), "pm": np.arange(6.0)})
    frame[frame.pm != 2].to_parquet(tmp_path / "log.parquet")
    parts = read_parts(tmp_path / "log.parquet")
    assert (parts.names, parts.time, parts.columns) == ((clock, "pm"), clock, ("pm",))
    assert whole(parts)["pm"].tolist() == [0, 1, 3, 4, 5]
    assert TableFile.read("path", tmp_path / "log.parquet").index.tolist() == whole(parts).index.tolist()


def test_a_range_counts_on_over_the_parts_and_can_be_read_alone(tmp_path):
    pd.DataFrame({"a": np.arange(5.0)}, index=pd.RangeIndex(10, 0, -2, name="left")).to_parquet(tmp_path / "a.parquet")
    assert whole(read_parts(tmp_path / "a.parquet", rows=2)).to_numpy().tolist() == [
        [10.0, 0.0], [8.0, 1.0], [6.0, 2.0], [4.0, 3.0], [2.0, 4.0],
    ]  # fmt: skip
    alone = read_parts(tmp_path / "a.parquet", rows=2, columns=["left"])
    assert whole(alone)["left"].tolist() == [10, 8, 6, 4, 2]


def test_levels_of_an_index_are_columns(tmp_path):
    levels = pd.MultiIndex.from_product([["n", "s"], pd.date_range("2024", periods=2)], names=["city", "time"])
    pd.DataFrame({"a": np.arange(4.0)}, index=levels).to_parquet(tmp_path / "log.parquet")
    parts = read_parts(tmp_path / "log.parquet", group="city", rows=3)
    assert (parts.names, parts.time, whole(parts)["city"].tolist()) == (("city", "time", "a"), "time", list("nnss"))


def test_days_without_dashes_are_times_in_the_clock_only(tmp_path):
    days = pd.to_datetime(["2024-01-31", "2024-02-01"])
    parts = read_parts(write(tmp_path, "date,a,b\n20240131,20240131,1\n20240201,20240201,2\n"), rows=1)
    assert whole(parts).index.tolist() == days.tolist()
    assert whole(parts)["a"].tolist() == [20240131, 20240201]
    pd.DataFrame({"date": [20240131, 20240201], "a": [1.0, 2.0]}).to_parquet(tmp_path / "log.parquet")
    assert whole(read_parts(tmp_path / "log.parquet")).index.tolist() == days.tolist()


@pytest.mark.parametrize("last", ["20240132", "18991231", "21010101", "20240101.5", "202402010"])
def test_numbers_that_are_not_all_days_stay_numbers(tmp_path, last):
    values = sorted(["20240101", last], key=float)
    parts = read_parts(write(tmp_path, f"time,a\n{values[0]},1\n{values[1]},2\n"))
    assert whole(parts).index.tolist() == [float(value) for value in values]


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("last", ["20240230", "21010101", "2024-03-01", "x"])
def test_a_clock_that_begins_with_days_keeps_to_them(tmp_path, last, rows):
    parts = read_parts(write(tmp_path, f"date,a\n20240131,1\n20240201,1\n{last},1\n"), rows=rows)
    with pytest.raises(ValueError, match=rf"days such as 20240131 in 'date', got 20240131 and {last} \(row 3\)"):
        list(parts)


def test_every_iteration_is_a_fresh_pass(tmp_path):
    parts = read_parts(write(tmp_path, "time,a\n1,1\n2,2\n3,3\n"), rows=2)
    first, second = iter(parts), iter(parts)
    assert next(first).equals(next(second))
    assert next(first).equals(next(second))
    assert [len(part) for part in parts] == [2, 1]


@pytest.mark.parametrize("block", [7, 30, 2**22])
def test_rows_are_counted_with_quotes_and_line_ends_inside_quotes(tmp_path, monkeypatch, block):
    monkeypatch.setattr(lines, "_BLOCK", block)
    texts = ["x", "a,b", "l\nm", 'q"q', "", '"', " sp", "5' 3\" wide"]
    frame = pd.DataFrame({"note": texts * 9, "a": np.arange(72.0)})
    frame.to_csv(tmp_path / "log.csv", index=False)
    parts = read_parts(tmp_path / "log.csv", rows=10)
    assert (parts.n_rows, parts.columns) == (72, ("a",))
    assert_array_equal(whole(parts)["a"], np.arange(72.0))
    plain = read_parts(write(tmp_path, 'a,b\n5" pipe,1\n6",2\n', "plain.csv"))
    assert (plain.n_rows, plain.left_out) == (2, {"a": "holds text: '5\" pipe'"})


def test_columns_without_numbers_are_left_out_and_named(tmp_path):
    text = "date,a,wind,seen,open,empty\n2024-05-01,1,NW,2024-05-01T10:00,True,\n2024-05-02,2,,2024-05-01,,\n"
    parts = read_parts(write(tmp_path, text), rows=1)
    assert parts.columns == ("a", "open", "empty")
    assert parts.left_out == {"wind": "holds text: 'NW'", "seen": "holds times: 2024-05-01T10:00"}
    assert np.array_equal(whole(parts), [[1.0, 1.0, NAN], [2.0, NAN, NAN]], equal_nan=True)


def test_truths_and_times_of_parquet_are_numbers_and_left_out(tmp_path):
    times = pd.date_range("2024-05-01", periods=2)
    frame = pd.DataFrame({"on": [True, False], "seen": times, "site": ["n", "s"], "kind": pd.Categorical(["x", "y"])})
    frame["some"] = [True, None]
    frame.to_parquet(tmp_path / "log.parquet")
    parts = read_parts(tmp_path / "log.parquet")
    assert parts.columns == ("on", "some")
    assert np.array_equal(whole(parts), [[1.0, 1.0], [0.0, NAN]], equal_nan=True)
    assert parts.left_out == {
        "seen": "holds times: 2024-05-01 00:00:00", "site": "holds text: 'n'", "kind": "holds text: 'x'",
    }  # fmt: skip


ENDS = {
    "truths": (pa.array([None] * 4 + [True, False]), [1.0, 0.0], None),
    "numbers": (pa.array([None] * 4 + [1, 2]), [1.0, 2.0], None),
    "text": (pa.array([None] * 4 + ["x", "y"]), None, "holds text, by its type string"),
    "text in a dictionary": (pa.array([None] * 4 + ["x", "y"]).dictionary_encode(), None, "holds text, by its type"),
    "marks of missing text": (pa.array(["", "NA", "nan", None, "x", "y"]), None, "holds text, by its type string"),
    "times": (pa.array([None] * 4 + [0, 1], pa.timestamp("s")), None, "holds times, by its type timestamp"),
}


@pytest.mark.parametrize(("values", "read", "reason"), ENDS.values(), ids=ENDS)
def test_a_column_of_parquet_that_begins_empty_is_known_by_its_type(tmp_path, values, read, reason):
    pq.write_table(pa.table({"a": np.arange(6.0), "door": values}), tmp_path / "log.parquet")
    parts = read_parts(tmp_path / "log.parquet", rows=3)
    assert parts.columns == (("a",) if reason else ("a", "door"))
    assert parts.left_out.get("door", "").startswith(reason or "")
    frame = whole(parts)
    assert reason or np.array_equal(frame["door"], [NAN] * 4 + read, equal_nan=True)
    asked = read_parts(tmp_path / "log.parquet", rows=3, columns=["a"] if reason else ["door", "a"])
    assert whole(asked).equals(frame)


@pytest.mark.parametrize("value", ["NW", "True", "2024-05-01"])
@pytest.mark.parametrize(("name", "option"), [("path", "columns"), ("FILE", "--columns")])
def test_a_column_of_csv_that_begins_empty_can_be_left_out(tmp_path, value, name, option):
    path = write(tmp_path, f"a,door\n1,\n2,NA\n3,{value}\n4,1\n")
    message = (
        rf"^{name} must be a file of numbers in column 'door', got '{value}' where a number belongs \(row 3\), and "
        rf"nothing in the first part of 2 rows\. Mend the file, or leave that column out with {option}\."
    )
    with pytest.raises(ValueError, match=message):
        list(read_parts(path, rows=2, name=name))
    assert whole(read_parts(path, rows=2, columns=["a"]))["a"].tolist() == [1, 2, 3, 4]


def test_a_column_of_csv_that_begins_empty_may_hold_numbers(tmp_path):
    parts = read_parts(write(tmp_path, "a,b\n1,\n2,\n3,4\n"), rows=2)
    assert np.array_equal(whole(parts)["b"], [NAN, NAN, 4.0], equal_nan=True)


def test_chosen_columns_come_in_the_order_of_the_file_and_text_elsewhere_does_no_harm(tmp_path):
    path = write(tmp_path, "a,site,b\n1,north,2\n3,south,4\n")
    parts = read_parts(path, columns=["b", "a"])
    assert (parts.columns, parts.left_out) == (("a", "b"), {})
    with pytest.raises(ValueError, match=r"path must be .* numbers in column 'site', got 'north' .* \(row 1\)"):
        read_parts(path, columns=["site"])


@SIZES
@pytest.mark.parametrize("labels", [["x", "x", "x", "y", "y"], ["x", "y", "x", "y", "x"]])
def test_series_of_a_file_have_clocks_of_their_own_and_keep_their_labels(tmp_path, rows, labels):
    times = {"x": iter([1, 2, 3]), "y": iter([1, 2])}
    text = "time,city,a\n" + "".join(f"{next(times[city])},0{city},{row}\n" for row, city in enumerate(labels))
    parts = read_parts(write(tmp_path, text), group="city", rows=rows)
    assert (parts.columns, parts.group, parts.left_out) == (("a",), "city", {})
    assert whole(parts)["city"].tolist() == [f"0{city}" for city in labels]


def test_labels_that_look_like_numbers_are_alike_in_all_parts(tmp_path):
    parts = read_parts(write(tmp_path, "city,a\n007,1\n7,2\nx,3\n"), group="city", rows=1)
    assert whole(parts)["city"].tolist() == ["007", "7", "x"]


def test_units_are_known_from_names_and_from_what_pandas_stored(tmp_path):
    path = write(tmp_path, "pm2.5 [ug/m3],TEMP (degC),Iws,site (m)\n1,2,3,x\n")
    assert read_parts(path).units == {"pm2.5 [ug/m3]": "ug/m3", "TEMP (degC)": "degC"}
    frame = pd.DataFrame({"a": [1.0], "b [K]": [2.0], "c [s]": [2.0]})
    frame.attrs["units"] = {"a": "hPa", "c [s]": "ms"}
    frame.to_parquet(tmp_path / "log.parquet")
    assert read_parts(tmp_path / "log.parquet").units == {"a": "hPa", "b [K]": "K", "c [s]": "ms"}


def test_windows_of_a_file_are_those_of_the_table_read_whole(tmp_path):
    rng = np.random.default_rng(0)
    times = pd.date_range("2024-05-01", periods=60, freq="h").delete([20, 41])
    frame = pd.DataFrame(rng.normal(size=(116, 2)), index=times.append(times), columns=["a", "b"])
    frame["city"] = ["north"] * 58 + ["south"] * 58
    frame.iloc[[3, 70], 0] = NAN
    frame.rename_axis("time").to_csv(tmp_path / "log.csv")
    parts = read_parts(tmp_path / "log.csv", group="city", rows=7)
    settings = {"window": 4, "horizon": 3, "stride": 2}
    expected = make_windows(frame, "a", groups="city", **settings)
    found = list(windows_from_parts(parts, "a", **settings))
    assert_array_equal(np.concatenate([w.X for w in found]), expected.X)
    assert_array_equal(np.concatenate([w.origin for w in found]), expected.origin)


HEADER = [
    ("", r"--train must be a file with rows, got .*log.csv, which is empty\. Record some rows\."),
    ("\n\n", "which is empty"),
    ("a,b\n", "rows below its header"),
    ("1.5,2\n3,4\n", "first line names its columns, got 1.5, 2"),
    ("a,a\n1,2\n", "names each column once, got 'a' twice"),
    ("time,date,a\n1,1,1\n", r"one time column, got time and date\. Name it with --time"),
    (b"a,b\xe4\n1,2\n", "CSV file in UTF-8"),
    ("a,b\n1,2\n1,2,3\n", "2 fields in every line, got 3 in line 3"),
    ("a,b\n1,2\n\n1\n", "2 fields in every line, got 1 in line 4"),
    ('a,b\n1,2\n"x,y",1,2\n', "2 fields in every line, got 3 in line 3"),
    ('a,b\n1,2\n"x,1\n3,4\n', r"whose quotes are closed, got an open one in line 3"),
    ('a;b\n1;"2,5"\n', r"numbers in column 'b', got 2,5 with a decimal comma; write 2\.5 \(row 1\)"),
    ("a;b\n1;2\n1,5;3\n", r"numbers in column 'a', got 1,5 with a decimal comma; write 1\.5 \(row 2\)"),
    ("a,b\n1,inf\n", r"numbers in column 'b', got inf, which is not finite \(row 1\)"),
    ('a,"b\nc"\n1,2\n', "names of its columns on one line, got an open quote in line 1 of"),
    ('\n"a,b\n1,2\n', "names of its columns on one line, got an open quote in line 2 of"),
    (
        "a,b\r1,2\r3,4\r",
        r"whose lines end with a line feed \(LF or CR LF\), got carriage returns \(CR\) alone in .*log.csv",
    ),
    ("time,a\n1,x\n2,y\n", "a file with a column of numbers, got 'a' holds text: 'x'"),
]


@pytest.mark.parametrize(("text", "message"), HEADER, ids=[message[:30] for _, message in HEADER])
def test_a_file_that_cannot_be_used_is_one_clear_error_when_it_is_opened(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_parts(write(tmp_path, text), name="--train")


CLOCKS = [
    ("time,a\n1,1\n3,1\n2,1\n", r"in order of 'time', got 2 behind 3 \(row 3\)\. Sort .*csv by that column, or name"),
    ("time,a\n1,1\n2,1\n2,1\n", r"every time of 'time' once, got 2 twice \(row 3\)\. Drop or average the repeats, or"),
    ("time,a\n2024-05-02,1\n2024-05-03,1\n2024-05-01,1\n", "in order of 'time', got 2024-05-01 behind 2024-05-03"),
    ("time,a\n1,1\n2,1\n,1\n", "a time in every row of 'time', got none in row 3"),
    ("time,a\n1,1\n2,1\nx,1\n", r"numbers in 'time', got 1 and x \(row 3\)"),
    ("time,a\n2024-05-01,1\n2024-05-02,1\n01.05.2024,1\n", r"ISO 8601 times in 'time', got '01.05.2024' \(row 3\)"),
    ("time,a\n2024-05-01T00,1\n2024-05-01T01,1\n2024-05-01T02:00Z,1\n", r"a UTC offset or none in .*Z \(row 3\)"),
    ("time,a\n2024-05-01T00:00Z,1\n2024-05-01T01:00Z,1\n2024-05-01T02:00,1\n", r"a UTC offset or none .*02:00 \(row 3"),
    ("date,a\n20240131,1\n20240131,1\n20240201,1\n", "every time of 'date' once, got 20240131 twice"),
    ("date,a\n2024-05-01,1\n2024-05-02 ,1\nsoon ,1\n", r"ISO 8601 times in 'date', got 'soon' \(row 3\)"),
    ("time,a\n1,1\n2,1\n3,warm\n", r"numbers in column 'a', got 'warm' where a number belongs \(row 3\)"),
    ("time,a\n1,1\n2,1\n3,True\n", r"numbers in column 'a', got 'True' where a number belongs \(row 3\)"),
    ("time,a\n1,1\n2,1\n3,inf\n", r"numbers in column 'a', got inf, which is not finite \(row 3\)"),
]


@SIZES
@pytest.mark.parametrize(("text", "message"), CLOCKS, ids=[message[:30] for _, message in CLOCKS])
def test_what_is_wrong_further_down_is_named_by_its_row_in_the_file(tmp_path, text, message, rows):
    with pytest.raises(ValueError, match=message):
        list(read_parts(write(tmp_path, text), columns=["a"], rows=rows))


def test_a_column_that_begins_with_truths_keeps_to_them(tmp_path):
    parts = read_parts(write(tmp_path, "a\nTrue\nfalse\n0\n"), rows=2)
    with pytest.raises(ValueError, match=r"true and false in column 'a', got '0' \(row 3\)"):
        list(parts)


@SIZES
def test_a_series_whose_clock_goes_back_is_named_by_its_row(tmp_path, rows):
    text = "time,city,a\n1,x,0\n1,y,0\n2,x,0\n3,y,0\n{},{},0\n3,x,0\n"
    back, twice = write(tmp_path, text.format(2, "y")), write(tmp_path, text.format(2, "x"), "twice.csv")
    with pytest.raises(ValueError, match=r"in order of 'time', got 2 behind 3 \(row 5\)"):
        list(read_parts(back, group="city", rows=rows))
    with pytest.raises(ValueError, match=r"every time of 'time' once, got 2 twice \(row 5\)"):
        list(read_parts(twice, group="city", rows=rows))


def test_bytes_that_are_no_utf8_are_told(tmp_path):
    path = write(tmp_path, b"a,site\n1,x\n2,\xe4\n")
    with pytest.raises(ValueError, match="CSV file in UTF-8"):
        list(read_parts(path, group="site", rows=1))


def test_columns_that_the_file_does_not_have_are_named(tmp_path):
    path = write(tmp_path, "time,city,a\n1,x,2\n")
    with pytest.raises(ValueError, match=r"path must be a file that can be read, got .*none.csv \(No such file"):
        read_parts(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"^columns must be columns of .*log.csv, got 'b'\. It has: time, city, a\."):
        read_parts(path, columns=["a", "b"])
    with pytest.raises(ValueError, match=r"--columns must be columns of .*, got 'time', which is the time"):
        read_parts(path, columns=["time"], name="FILE")
    with pytest.raises(ValueError, match=r"^time must be a column of the file, got 't'\. It has: time, city, a\."):
        read_parts(path, time="t")
    with pytest.raises(ValueError, match=r"--group must be a column of the file, got 'town'"):
        read_parts(path, group="town", name="FILE")
    with pytest.raises(ValueError, match="group must be a column of the file, got 'time', which is the time"):
        read_parts(path, group="time")
    with pytest.raises(ValueError, match="columns must be a list of columns of"):
        read_parts(path, columns="a")
    with pytest.raises(ValueError, match=r"--columns must be columns, none twice, got 'a'\. Name it once\."):
        read_parts(path, columns=["a", "a"], name="FILE")
    with pytest.raises(ValueError, match=r"label in every row of 'city', got none in row 2"):
        list(read_parts(write(tmp_path, "city,a\nx,1\n,2\n"), group="city", rows=1))
    with pytest.raises(ValueError, match="rows must be an integer of at least 1, got 0"):
        read_parts(path, rows=0)


def test_nested_columns_of_parquet_are_named_unless_others_are_chosen(tmp_path):
    path = tmp_path / "log.parquet"
    pd.DataFrame({"a": [[1, 2], [3]], "b": [1.0, 2.0], "c": [{"d": 1}, {"d": 2}]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"one value in every cell, got nested column 'a' \(list.*int64.*\)\. Flatten"):
        read_parts(path)
    with pytest.raises(ValueError, match=r"got nested column 'c' \(struct<d: int64>\)"):
        read_parts(path, columns=["b", "c"])
    assert whole(read_parts(path, columns=["b"]))["b"].tolist() == [1.0, 2.0]


def test_broken_and_empty_parquet_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a Parquet file"):
        read_parts(write(tmp_path, "a,b\n", "broken.parquet"))
    pd.DataFrame({"a": [1.0]}).iloc[:0].to_parquet(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="rows below its header"):
        read_parts(tmp_path / "none.parquet")


def test_a_file_that_grows_meanwhile_is_told(tmp_path):
    path = write(tmp_path, "a\n1\n2\n")
    parts = read_parts(path)
    path.write_text("a\n1\n2\n3\n")
    with pytest.raises(ValueError, match="nobody changes, got 3 rows, and 2 when it was opened"):
        list(parts)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_length_of_the_file(tmp_path, ending):
    def peak(n_rows):
        path = tmp_path / f"{n_rows}.{ending}"
        frame = pd.DataFrame(np.random.default_rng(0).normal(size=(n_rows, 4)).round(3), columns=list("abcd"))
        frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
        tracemalloc.start()
        for _ in windows_from_parts(read_parts(path, rows=1000), "a", window=5, horizon=3):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2000)
    assert peak(64_000) < 1.5 * peak(8000)
