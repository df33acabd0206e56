"""Files read in parts: the same table whatever the size of a part, and one clear error for what cannot be read."""

import tracemalloc

import numpy as np
import pandas as pd
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
