"""Files of a user: what is read, and the one clear error for everything that is not."""

import sys

import numpy as np
import pandas as pd
import pytest

from pitskd._files import TableFile, delimiter, fields, has_offset, is_date, number, replacing, why_no_number

NAN = np.nan


def read(tmp_path, text, name="log.csv", **settings):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return TableFile.read("--train", path, **settings)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_found_and_the_numbers_are_those_of_python(tmp_path, separator):
    text = "time,a,b\n1,0.1,2e-3\n2,,-7\n4,nan,NULL\n".replace(",", separator)
    table = read(tmp_path, text)
    assert table.time == "time"
    assert table.index.tolist() == [1, 2, 4]
    expected = [[0.1, 2e-3], [NAN, -7.0], [NAN, NAN]]
    assert np.array_equal(table.numbers(["a", "b"]).to_numpy(), expected, equal_nan=True)


def test_digits_are_read_exactly(tmp_path):
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    table = read(tmp_path, "a\n" + "\n".join(map(repr, values.tolist())))
    assert np.array_equal(table.numbers(["a"])["a"].to_numpy(), values)


def test_a_quoted_name_may_hold_the_separator(tmp_path):
    table = read(tmp_path, b'\xef\xbb\xbf"a;b","c, d"\r\n1,2\r\n')
    assert table.names == ("a;b", "c, d")
    assert table.numbers(["c, d"]).to_numpy().tolist() == [[2.0]]


def test_columns_are_taken_in_the_order_asked_for_and_text_elsewhere_does_no_harm(tmp_path):
    table = read(tmp_path, "a,site,b\n1,north,2\n3,south,4\n")
    assert table.numbers(["b", "a"]).to_numpy().tolist() == [[2.0, 1.0], [4.0, 3.0]]
    with pytest.raises(ValueError, match=r"numbers in column 'site', got 'north' where a number belongs \(row 1\)"):
        table.numbers(["site"])


def test_spaces_around_numbers_do_not_make_them_text(tmp_path):
    table = read(tmp_path, "a , b\n1 , 2 \n 3,nan \n")
    assert np.array_equal(table.numbers(["a", "b"]).to_numpy(), [[1.0, 2.0], [3.0, NAN]], equal_nan=True)


def test_times_with_offsets_become_one_clock(tmp_path):
    table = read(tmp_path, "time,a\n2024-10-27T02:59:59+02:00,1\n2024-10-27T02:00:00+01:00,2\n")
    assert table.index.tolist() == list(pd.to_datetime(["2024-10-27T00:59:59Z", "2024-10-27T01:00:00Z"]))
    assert list(table.stamps) == ["2024-10-27T02:59:59+02:00", "2024-10-27T02:00:00+01:00"]


def test_stamps_are_the_times_as_written_without_the_blanks_around_them(tmp_path):
    table = read(tmp_path, "time,a\n2024-05-01 ,1\n2024-05-02T12:00\t,2\n")
    assert list(table.stamps) == ["2024-05-01", "2024-05-02T12:00"]
    assert table.index.tolist() == [pd.Timestamp("2024-05-01"), pd.Timestamp("2024-05-02T12:00")]


def test_stamps_of_days_without_dashes_are_text(tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    pd.DataFrame({"date": [20240131, 20240201], "a": [1.0, 2.0]}).to_parquet(tmp_path / "log.parquet")
    table = TableFile.read("--train", tmp_path / "log.parquet")
    assert table.index.tolist() == [pd.Timestamp("2024-01-31"), pd.Timestamp("2024-02-01")]
    assert list(table.stamps) == ["20240131", "20240201"]


def test_the_time_column_is_the_named_one_the_usual_one_or_the_one_with_a_usual_name(tmp_path):
    text = "Date,t,a\n1,5,0\n2,6,0\n"
    assert read(tmp_path, text).time == "Date"
    assert read(tmp_path, text, usual="t").time == "t"
    assert read(tmp_path, text, usual="gone").time == "Date"
    assert read(tmp_path, text, time="a", usual="t").time == "a"
    assert read(tmp_path, "b,a\n1,5\n").index.tolist() == [0]


BAD = [
    ("", r"--train must be a file with rows, got .*log.csv, which is empty\. Record some rows\."),
    ("\n\n", "which is empty"),
    ("a,b\n", "rows below its header"),
    ("1.5,2\n3,4\n", "first line names its columns, got 1.5, 2"),
    ("a,a\n1,2\n", "names each column once, got 'a' twice"),
    ("a,b\n1,2\n1,2,3\n", "2 fields in every line, got 3 in line 3"),
    ("a,b\n1,2\n1\n", "2 fields in every line, got 1 in line 3"),
    ("time,date,a\n1,1,1\n", r"one time column, got time and date\. Name it with --time"),
    ("time,a\n2,1\n1,1\n", r"in order of 'time', got 1 behind 2 \(row 2\)"),
    ("time,a\n2024-05-01T00:00:01,1\n2024-05-01,1\n", "in order of 'time', got 2024-05-01 behind"),
    ("time,a\n1,1\n,1\n", "a time in every row of 'time', got none in row 2"),
    ("time,a\n01.05.2024,1\n", r"ISO 8601 times in 'time', got '01.05.2024' \(row 1\)"),
    ("time,a\n2024-05-01T00:00:00,1\n2024-05-01T00:00:01Z,1\n", "all have a UTC offset or none"),
    (b"a,b\xe4\n1,2\n", "CSV file in UTF-8"),
    ('a,"b\nc"\n1,2\n', "names of its columns on one line, got an open quote in line 1 of"),
    ("a,b\r1,2\r3,4\r", r"whose lines end with a line feed"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_a_file_that_cannot_be_used_is_one_clear_error(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ('"1,5"', "1,5 with a decimal comma; write 1.5"),
        ("warm", "'warm' where a number belongs"),
        ("inf", "inf, which is not finite"),
        ("True", "'True' where a number belongs"),
    ],
)
def test_a_cell_that_is_no_number_is_named_with_its_column_and_row(tmp_path, cell, reason):
    table = read(tmp_path, f"a;b\n1;2\n3;{cell}\n")
    with pytest.raises(ValueError, match=rf"column 'b', got {reason} \(row 2\)"):
        table.numbers(["a", "b"])


def test_a_column_of_truths_is_not_taken_for_numbers(tmp_path):
    with pytest.raises(ValueError, match=r"'True' where a number belongs \(row 1\)"):
        read(tmp_path, "a,b\n1,True\n2,False\n").numbers(["b"])


def test_no_file_no_column_and_no_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"can be read, got .*none.csv \(No such file or directory\)"):
        TableFile.read("--train", tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"--time must be a column of the file, got 't'\. It has: a, b\."):
        read(tmp_path, "a,b\n1,2\n", time="t")
    with pytest.raises(ValueError, match=r"--columns must be columns of .*, got 'time', which is the time"):
        read(tmp_path, "time,b\n1,2\n").check_columns("--columns", ["b", "time"])


@pytest.mark.parametrize("as_index", [True, False])
def test_parquet_is_read_like_csv(tmp_path, as_index):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    times = pd.date_range("2024-05-01", periods=3, freq="s", tz="Europe/Berlin", name="when")
    frame = pd.DataFrame({"when": times, "a": [1.0, NAN, 3.0], "b": [1, 2, 3]})
    (frame.set_index("when") if as_index else frame).to_parquet(tmp_path / "log.parquet")
    table = TableFile.read("--train", tmp_path / "log.parquet", time="when")
    assert table.index.tolist() == times.tz_convert("UTC").tolist()
    assert np.array_equal(table.numbers(["b", "a"]).to_numpy(), frame[["b", "a"]], equal_nan=True)


def test_nested_and_broken_parquet_is_refused(tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    pd.DataFrame({"a": [[1, 2], [3]]}).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(ValueError, match="numbers in column 'a'"):
        TableFile.read("--train", tmp_path / "log.parquet").numbers(["a"])
    with pytest.raises(ValueError, match="must be a Parquet file"):
        read(tmp_path, "a,b\n", name="broken.parquet")


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match="pip install pyarrow"):
        read(tmp_path, "x", name="log.parquet")


def test_numbers_of_lines_and_of_files_are_the_same():
    assert [number(text) for text in ("1", " 2.5 ", "-1e3", "1_000", "inf", "x")] == [1.0, 2.5, -1e3, None, None, None]
    assert all(np.isnan(number(text)) for text in ("", " ", "NaN", "null", "NULL", "None", "N/A"))
    assert why_no_number("1,5") == "1,5 with a decimal comma; write 1.5"
    assert why_no_number("-inf") == "-inf, which is not finite"
    assert (delimiter("a,b;c"), delimiter("a,b\tc;d"), delimiter('"a;b",c')) == (";", "\t", ",")
    assert fields('"a,b",c') == ["a,b", "c"]


def test_what_is_a_time():
    assert all(map(is_date, ("2024-05-01", "2024-05-01 10:00:00.5", "2024-05-01T10:00:00Z", "20240501")))
    assert not any(map(is_date, ("now", "today", "20240532", "18991231", "1714564800", "01.05.2024", "")))
    assert all(map(has_offset, ("2024-05-01T10:00:00Z", "2024-05-01 10:00+02:00", "2024-05-01 10:00-0200")))
    assert not any(map(has_offset, ("2024-05-01", "2024-05-01 10:00:00")))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(TypeError, match="bytes"), replacing(path) as file:
        file.writelines([b"half", "no bytes"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert path.read_text() == "old"
    with replacing(path) as file:
        file.write(b"new")
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["new"]
