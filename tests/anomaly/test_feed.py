"""Laws of lines: what each means, what is refused and named, and that nothing waits for more than the line at hand."""

import io
import json
import os
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pitskd import Alarm, PrivilegedAnomalyDetector
from pitskd.anomaly.feed import _LONGEST, Feed, Malformed, Stop, answer, follow, follow_lines

NAN = np.nan
SENSORS = ["flow", "level"]


def values(feed, *lines):
    """Return stamp and values of the last line."""
    for line in lines:
        row = feed.row(line.encode())
    return row and (row.stamp, row.values.tolist())


# ---------------------------------------------------------------- one line


@pytest.mark.parametrize("line", ["1.5,-2", "1.5;-2", "1.5\t-2", " 1.5 , -2 ", '"1.5","-2"', "1.5,-2\r\n"])
def test_a_row_without_header_holds_the_sensors_in_the_order_of_fit(line):
    assert values(Feed(SENSORS, "rows"), line) == (None, [1.5, -2.0])


def test_a_clock_may_stand_in_front():
    assert values(Feed(SENSORS, "numbers"), "7,1,2") == (7, [1.0, 2.0])
    assert values(Feed(SENSORS, "numbers"), "1,2") == (None, [1.0, 2.0])
    with pytest.raises(Malformed, match="3 fields instead of 2"):
        values(Feed(SENSORS, "rows"), "7,1,2")


def test_a_row_may_look_like_those_of_the_training_file():
    feed = Feed(SENSORS, "times", time="when", columns=["lab", "level", "when", "site", "flow"])
    assert values(feed, "0,2,2024-05-01 10:00:00,north,1") == ("2024-05-01 10:00:00", [1.0, 2.0])
    assert values(feed, "1,2") == (None, [1.0, 2.0])


@pytest.mark.parametrize("header", ["level,flow", "level,time,flow", " level ; lab ; flow ", '"level","flow"'])
def test_a_header_permutes_and_leaves_other_columns_alone(header):
    feed = Feed(SENSORS, "numbers")
    assert values(feed, header) is None
    names = [name.strip(' "') for name in header.replace(";", ",").split(",")]
    row = ",".join({"level": "2", "flow": "1", "time": "7", "lab": "x"}[name] for name in names)
    assert values(feed, row) == (7 if "time" in names else None, [1.0, 2.0])
    assert feed.unused == [name for name in names if name == "lab"]


def test_a_second_header_takes_the_place_of_the_first():
    assert values(Feed(SENSORS, "rows"), "level,flow", "2,1", "flow,level", "1,2") == (None, [1.0, 2.0])


def test_names_that_read_as_numbers_make_a_header_on_the_first_line_only():
    assert values(Feed(["1", "2"], "rows"), "2,1", "20,10") == (None, [10.0, 20.0])
    assert values(Feed(["1", "2"], "rows"), "5,6", "2,1") == (None, [2.0, 1.0])


def test_a_byte_order_mark_does_not_hide_the_header():
    feed = Feed(SENSORS, "rows")
    assert feed.row(b"\xef\xbb\xbflevel,flow") is None
    assert values(feed, "2,1") == (None, [1.0, 2.0])


@pytest.mark.parametrize("mark", ["", " ", "NaN", "nan", "null", "None", "N/A"])
def test_missing_values_of_csv(mark):
    stamp, found = values(Feed(SENSORS, "rows"), f"1,{mark}")
    assert stamp is None
    assert np.array_equal(found, [1.0, NAN], equal_nan=True)


@pytest.mark.parametrize("mark", ["null", "NaN", '""', '"NaN"', '"null"'])
def test_missing_values_of_json(mark):
    _, found = values(Feed(SENSORS, "rows"), f'{{"level": {mark}, "flow": 1}}')
    assert np.array_equal(found, [1.0, NAN], equal_nan=True)


def test_csv_and_json_may_take_turns():
    feed = Feed(SENSORS, "numbers", columns=["time", "flow", "level", "lab"])
    assert values(feed, '{"level": 2, "flow": 1, "time": 5}') == (5, [1.0, 2.0])
    assert values(feed, "6,1,2") == (6, [1.0, 2.0])
    assert values(feed, '  {"time": 7.5, "level": 2, "flow": 1, "lab": "privileged, left alone"}') == (7.5, [1.0, 2.0])


@pytest.mark.parametrize("line", ["", " ", "\r\n"])
def test_empty_lines_are_passed_over(line):
    assert values(Feed(SENSORS, "rows"), line) is None


BAD_LINES = [
    ("1", "1 fields instead of 2 or 3"),
    ("1,2,3,4", "4 fields instead of 2 or 3"),
    ("1,warm", "level is 'warm' where a number belongs"),
    ("1;2,5", "level is 2,5 with a decimal comma; write 2.5"),
    ("inf,1", "flow is inf, which is not finite"),
    ("1,1e999", "level is 1e999, which is not finite"),
    ("1,1_000", "level is '1_000' where a number belongs"),
    ("flow,weight", "flow is 'flow' where a number belongs"),
    ("flow,level,flow", "a header with flow twice"),
    ("noon,1,2", "time is 'noon', not a number"),
    (",1,2", "time is '', not a number"),
    ("nan,1,2", "time is 'nan', not a number"),
    ('{"flow": 1', "broken JSON: Expecting"),
    ('{"flow": 1}', "no sensor level"),
    ('{"flow": 1, "level": 2, "weight": 3}', "unknown sensor weight"),
    ('{"flow": 1, "level": "2.5"}', "level is '2.5' where a number belongs"),
    ('{"flow": 1, "level": true}', "level is 'true' where a number belongs"),
    ('{"flow": 1, "level": [2]}', r"level is '\[2\]' where a number belongs"),
    ('{"flow": 1, "level": Infinity}', "level is Infinity, which is not finite"),
    ('{"flow": 1, "level": 1' + "0" * 400 + "}", "which is not finite"),
    ('{"flow": 1, "level": ' + "[" * 100_000, "broken JSON"),
    ('{"flow": 1, "level": 2, "time": "noon"}', "time is 'noon', not a number"),
    ('{"flow": 1, "level": 2, "time": true}', "time is True, not a number"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason[:40] for _, reason in BAD_LINES])
def test_a_malformed_line_is_refused_with_its_reason_and_the_next_is_read(line, reason):
    feed = Feed(SENSORS, "numbers")
    with pytest.raises(Malformed, match=reason):
        feed.row(line.encode())
    assert values(feed, "1,2") == (None, [1.0, 2.0])


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(Malformed, match="not UTF-8"):
        Feed(SENSORS, "rows").row(b"\xff\xfe1,2")


@pytest.mark.parametrize("stamp", ["now", "17", "01.05.2024", ""])
def test_where_the_log_had_dates_other_times_are_refused(stamp):
    with pytest.raises(Malformed, match="not a date and time such as 2024-05-01T12:00:00"):
        values(Feed(SENSORS, "times"), f"{stamp},1,2")


def test_times_have_an_offset_as_in_the_log_or_as_the_first_line():
    with pytest.raises(Malformed, match="without a UTC offset, where the log has one"):
        values(Feed(SENSORS, "times", aware=True), "2024-05-01 10:00:00,1,2")
    feed = Feed(SENSORS, "times")
    assert values(feed, "2024-05-01 10:00:00,1,2")[0] == "2024-05-01 10:00:00"
    with pytest.raises(Malformed, match="with a UTC offset, where the log has none"):
        values(feed, "2024-05-01 10:00:01Z,1,2")


def test_whole_numbers_of_a_clock_keep_their_digits():
    stamp = 1714564800123456789
    assert Feed(SENSORS, "numbers").row(f"{stamp},1,2".encode()).time == stamp


# ---------------------------------------------------------------- answers


def test_an_answer_holds_no_number_that_json_does_not_know():
    alarm = Alarm(np.inf, 0.0, True, np.array([np.inf, 1.0]), 2, 0)
    said = json.loads(answer("now", alarm, SENSORS), parse_constant=lambda token: pytest.fail(token))
    assert said["score"] == said["contributions"]["flow"] == float(np.finfo(float).max)
    unknown = answer(None, alarm._replace(score=NAN), SENSORS)
    assert json.loads(unknown, parse_constant=lambda token: pytest.fail(token))["score"] is None


def test_an_answer_keeps_every_digit():
    alarm = Alarm(0.1 + 0.2, 1e-300, np.bool_(True), np.array([0.1, 0.2]), np.int64(3), np.int64(1))
    assert json.loads(answer(7, alarm, SENSORS)) == {
        "time": 7, "score": 0.1 + 0.2, "p_value": 1e-300, "is_anomaly": True, "event": 3, "n_missing": 1,
        "contributions": {"flow": 0.1, "level": 0.2},
    }  # fmt: skip


# ---------------------------------------------------------------- following


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 2))
    rows[1200:1230, 1] += 8.0
    index = pd.date_range("2024-05-01", periods=1500, freq="s")
    frame = pd.DataFrame(rows, columns=SENSORS, index=index)
    frame.iloc[1300:1310, 0] = NAN
    return frame.drop(frame.index[[1010, *range(1400, 1430)]])  # a late row, and a gap


@pytest.fixture(scope="module")
def model(log):
    return PrivilegedAnomalyDetector(horizons=(1, 3), smoothing=5).fit(log.iloc[:1000])


def run(model, lines, clock="times", **settings):
    """Follow lines from the start; return the answers, the complaints and the tally."""
    model.reset()
    answers, complaints = [], []
    feed = Feed(SENSORS, clock)
    tally = follow(model, feed, (line.encode() for line in lines), answers.append, complaints.append, **settings)
    return [json.loads(answer) for answer in answers], complaints, tally


def as_lines(frame, kind="csv"):
    for stamp, row in zip(frame.index, frame.to_numpy().tolist(), strict=True):
        if kind == "csv":
            yield f"{stamp}," + ",".join("" if value != value else repr(value) for value in row)
        else:
            yield json.dumps({"level": row[1], "time": stamp.isoformat(), "flow": row[0]})


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_answers_equal_the_array_path(model, log, kind):
    new = log.iloc[1000:]
    new = pd.concat([new.iloc[:20], new.iloc[[19, 19]], new.iloc[20:]])  # repeated times
    answers, complaints, tally = run(model, as_lines(new, kind))
    expected, parts = model.detect(new), model.contributions(new)
    assert complaints == []
    assert tally.n_rows == len(new) == len(answers)
    for name in ("score", "p_value"):
        assert np.allclose([said[name] for said in answers], expected[name], rtol=1e-10, atol=1e-10)
    for name in ("is_anomaly", "event", "n_missing"):
        assert [said[name] for said in answers] == expected[name].tolist()
    found = [[said["contributions"][sensor] for sensor in SENSORS] for said in answers]
    assert np.allclose(found, parts, rtol=1e-10, atol=1e-10)
    assert tally.n_alarmed == expected["is_anomaly"].sum() > 20
    assert tally.n_events == expected["event"].max() > 0


def test_malformed_lines_are_counted_named_and_change_nothing(model, log):
    lines = list(as_lines(log.iloc[1000:1100]))
    clean, _, _ = run(model, lines)
    dirty = lines.copy()
    for place, line in [(90, "1,2,3,4,5"), (50, lines[10]), (50, "2024-05-01 00:16:50,inf,1"), (0, "{"), (0, "")]:
        dirty.insert(place, line)
    answers, complaints, tally = run(model, dirty)
    assert answers == clean
    assert tally.n_malformed == len(complaints) == 4
    assert complaints[0].startswith("line 2: broken JSON")
    assert complaints[1] == "line 53: flow is inf, which is not finite"
    assert complaints[2].startswith("line 54: time must be not before that of the row before")
    assert complaints[3] == "line 95: 5 fields instead of 2 or 3"


def test_a_header_with_other_columns_is_said_once(model):
    lines = ["level,flow,lab", "1,2,x", "1,2,y"]
    answers, complaints, tally = run(model, lines)
    assert complaints == ["line 1: columns that are no sensors are left alone: lab"]
    assert (len(answers), tally.n_malformed) == (2, 0)


def test_missing_values_can_be_malformed(log):
    model = PrivilegedAnomalyDetector(missing="raise").fit(log.iloc[:1000])
    answers, complaints, _ = run(model, ["1,2", ",2", "1,2"])
    assert len(answers) == 2
    assert complaints[0].startswith("line 2: x must be without NaN")


def test_learning_is_off_unless_asked_for(model, log):
    lines = list(as_lines(log.iloc[1000:1100]))
    plain = run(model, lines)[0]
    assert run(model, lines, learn=False)[0] == plain
    assert run(model, lines, learn=True)[0] != plain


def test_a_reader_who_goes_ends_the_stream_behind_the_row_in_hand(model, log):
    lines = iter(as_lines(log.iloc[1000:1100]))
    answers = []

    def write(text):
        if len(answers) == 3:
            raise BrokenPipeError
        answers.append(text)

    model.reset()
    tally = follow(model, Feed(SENSORS, "times"), (line.encode() for line in lines), write, pytest.fail)
    assert (tally.cut_off, tally.n_rows, len(answers)) == (True, 4, 3)
    assert next(lines).startswith("2024-05-01 00:16:44")


def test_an_event_that_lasts_from_before_is_not_counted_again(model, log):
    lines = list(as_lines(log.iloc[1000:1300]))
    whole = run(model, lines)[2]
    model.reset()
    parts = []
    for part in (lines[:210], lines[210:]):
        feed = Feed(SENSORS, "times")
        parts.append(follow(model, feed, (line.encode() for line in part), lambda _: None, pytest.fail))
    assert sum(part.n_events for part in parts) == whole.n_events
    assert sum(part.n_alarmed for part in parts) == whole.n_alarmed


# ---------------------------------------------------------------- lines as they come


@pytest.fixture
def pipe():
    read, write = os.pipe()
    with open(read, "rb") as source, open(write, "wb", buffering=0) as sink:
        yield source, sink


def test_a_line_is_there_before_the_next_is_sent_and_its_end_may_come_late(pipe):
    source, sink = pipe
    with Stop() as stop:
        lines = follow_lines(source, stop)
        for _ in range(3):
            sink.write(b"1,2\n")
            assert next(lines) == b"1,2"
        sink.write(b"3,")
        threading.Timer(0.05, sink.write, [b"4\n5"]).start()
        assert next(lines) == b"3,4"
        sink.close()
        assert list(lines) == [b"5"]


def test_several_lines_at_once_and_empty_ones_are_kept_apart(pipe):
    source, sink = pipe
    sink.write(b"1\n\n2\r\n3\n")
    sink.close()
    with Stop() as stop:
        assert list(follow_lines(source, stop)) == [b"1", b"", b"2\r", b"3"]


def test_what_is_no_file_of_the_system_is_followed_too():
    with Stop() as stop:
        lines = list(follow_lines(io.BytesIO(b"1,2\n3,4"), stop))
    assert lines == [b"1,2", b"3,4"]


def test_a_line_that_never_ends_takes_no_memory_and_the_next_is_read(tmp_path):
    (tmp_path / "lines").write_bytes(b"1\n" + b"x" * 5 * _LONGEST + b"\n2\n")
    with (tmp_path / "lines").open("rb") as file, Stop() as stop:
        assert list(follow_lines(file, stop)) == [b"1", None, b"2"]
    answers, complaints = [], []
    model = SimpleNamespace(stream_=None)
    tally = follow(model, Feed(SENSORS, "rows"), [None], answers.append, complaints.append)
    assert complaints == [f"line 1: longer than {_LONGEST} bytes"]
    assert tally.n_malformed == 1


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_ends_the_wait_and_keeps_lines_that_were_read(pipe, kind):
    source, sink = pipe
    before = signal.getsignal(kind)
    with Stop() as stop:
        lines = follow_lines(source, stop)
        sink.write(b"1\n2\n3")
        assert next(lines) == b"1"
        os.kill(os.getpid(), kind)
        begin = time.monotonic()
        assert list(lines) == [b"2"]
        assert time.monotonic() - begin < 5
        assert stop.requested
        assert stop.unfinished
        assert signal.getsignal(kind) is signal.SIG_DFL  # a second one ends the process
    assert signal.getsignal(kind) is before


def test_outside_the_main_thread_there_are_no_signals_and_lines_come_all_the_same():
    found = []

    def work():
        with Stop() as stop:
            found.extend(follow_lines(io.BytesIO(b"1\n"), stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [b"1\n"] or found == [b"1"]
