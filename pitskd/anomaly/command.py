"""What `pitskd detect` does: train or load, say what came of it, score a file, follow a stream.

`prepare` reads and computes everything that can be wrong in what was asked; only the job it returns writes. So a usage
error leaves nothing behind.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pitskd._files import TableFile, check_readable, check_writable, number, replacing
from pitskd._validation import is_list, wrong
from pitskd.anomaly.detector import PrivilegedAnomalyDetector
from pitskd.anomaly.feed import Feed, Stop, Tally, answer, follow, follow_lines
from pitskd.anomaly.stream import Alarm
from pitskd.persistence import load, model_facts, save

__all__: list[str] = []

MALFORMED = 3  # exit code of a stream with lines that held no row
_ENDINGS = (".csv", ".jsonl", ".parquet")
_FIGURES = (".png", ".svg", ".pdf")
_OFFSETS = {True: "with UTC offsets", False: "without UTC offsets"}
_CHOOSE = "See pitskd detect --help."


@dataclass(frozen=True)
class Plan:
    """What is asked for; the options of the command but for those of the detector."""

    train: Path | None = None
    time: str | None = None
    columns: Sequence[str] = ()
    privileged_columns: Sequence[str] = ()
    model: Path | None = None
    score: Path | None = None
    out: Path | None = None
    plot: Path | None = None
    stream: str | None = None
    state: Path | None = None
    learn: bool = False


@dataclass(frozen=True, eq=False)
class Fitted:
    """A detector and what the lines and files of its sensors look like."""

    model: PrivilegedAnomalyDetector
    sensors: list[str]
    time: str | None = None
    columns: tuple[str, ...] = ()
    aware: bool | None = None

    @property
    def notes(self) -> dict[str, Any]:
        """What travels with the model."""
        return {"time": self.time, "columns": list(self.columns), "aware": self.aware}


def prepare(
    plan: Plan, settings: Mapping[str, Any], say: Callable[[str], None], draw: Callable[..., None] | None = None
) -> Callable[[], int]:
    """Return what is left to do when nothing asked for is wrong; it returns the exit code.

    Parameters
    ----------
    plan : Plan
    settings : mapping
        Parameters of the detector.
    say : callable
        Takes a line for the user.
    draw : callable, default=None
        Takes the detector, the rows scored and the path of a figure to write.

    Raises
    ------
    ValueError, TypeError
        If anything asked for is wrong; nothing has been written then.
    """
    _check(plan, settings)
    fitted = _load(plan) if plan.train is None else _train(plan, settings, say)
    scored = None if plan.score is None else _score(fitted, plan)
    if plan.state is not None and plan.state.exists():
        _renamed("path", "--state", lambda: fitted.model.load_state(plan.state))

    def job() -> int:
        if plan.train is not None and plan.model is not None:
            save(fitted.model, plan.model, notes=fitted.notes)
            say(f"model saved: {plan.model}")
        if scored is not None and plan.out is not None:
            _write(scored, fitted.sensors, plan.out)
            said = scored.said
            say(f"scored {len(said)} rows, {int(said['is_anomaly'].sum())} alarmed: {plan.out}")
            if plan.plot is not None and draw is not None:
                draw(fitted.model, scored.rows, plan.plot)
                say(f"timeline: {plan.plot}")
        return 0 if plan.stream is None else _stream(fitted, plan, say)

    return job


def _check(plan: Plan, settings: Mapping[str, Any]) -> None:
    """Refuse what does not go together, and files that are not there, before any work."""
    if plan.train is None and plan.model is None:
        raise wrong("--train", "given where no --model is", "neither", _CHOOSE)
    if plan.train is None:
        alone = ["--" + name.replace("_", "-") for name in settings]
        alone += ["--columns"] * bool(plan.columns) + ["--privileged-columns"] * bool(plan.privileged_columns)
        if alone:
            raise wrong(alone[0], "given beside --train", "a model that is trained already", "Drop it, or train.")
        if plan.score is None and plan.stream is None:
            raise wrong("--model", "given beside --train, --score or --stream", "it alone", _CHOOSE)
    if (plan.score is None) is not (plan.out is None):
        raise wrong("--score and --out", "given together", "one of them", _CHOOSE)
    if plan.plot is not None:
        _check_plot(plan)
    if plan.stream is None and (plan.state is not None or plan.learn):
        raise wrong("--state" if plan.state else "--learn", "given beside --stream", "it alone", _CHOOSE)
    sources = {"--train": plan.train, "--score": plan.score, "--model": None if plan.train else plan.model}
    for name, path in sources.items():
        if path is not None:
            check_readable(name, path)
    if plan.stream not in (None, "-"):
        _check_stream(Path(str(plan.stream)))
    for name, path in {
        "--model": plan.model if plan.train else None,
        "--out": plan.out,
        "--plot": plan.plot,
        "--state": plan.state,
    }.items():
        if path is not None:
            check_writable(name, path)
    if plan.out is not None:
        _check_ending(plan.out)


def _check_plot(plan: Plan) -> None:
    path = Path(str(plan.plot))
    if plan.score is None:
        raise wrong("--plot", "given beside --score", "it alone", _CHOOSE)
    if path.suffix.lower() not in _FIGURES:
        raise wrong("--plot", f"a file that ends in {' or '.join(_FIGURES)}", str(path), "The ending tells the kind.")
    if importlib.util.find_spec("matplotlib") is None:
        raise wrong("--plot", "given where matplotlib is installed", str(path), 'Run pip install "pitskd[plot]".')


def _check_stream(path: Path) -> None:
    """Refuse a file to follow that cannot be read; it may be empty, or a named pipe, which must not be opened twice."""
    if not os.access(path, os.R_OK) or path.is_dir():
        raise wrong("--stream", "- for standard input, or a file that can be read", str(path), "Check the path.")


def _check_ending(path: Path) -> None:
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        raise wrong("--out", f"a file that ends in {' or '.join(_ENDINGS)}", str(path), "The ending tells the kind.")
    if ending == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise wrong("--out", "a .csv or .jsonl file", str(path), "To write Parquet: pip install pyarrow.")


def _renamed(parameter: str, option: str, call: Callable[[], Any]) -> Any:
    """Call, and let an error name the option that was typed."""
    try:
        return call()
    except ValueError as error:
        text = str(error)
        raise type(error)(option + text.removeprefix(parameter) if text.startswith(parameter) else text) from None


# ---------------------------------------------------------------- the detector


def _load(plan: Plan) -> Fitted:
    model = _renamed("path", "--model", lambda: load(plan.model))
    facts = model_facts(plan.model)
    if not isinstance(model, PrivilegedAnomalyDetector) or not hasattr(model, "calibration_"):
        raise wrong("--model", "a fitted PrivilegedAnomalyDetector", facts["model"], "Train one with --train.")
    model.reset()
    sensors = facts["columns"] or [f"x{number}" for number in range(model.n_features_in_)]
    notes = facts["notes"]
    columns = notes.get("columns") or [*sensors, *(facts["privileged_columns"] or ())]
    return Fitted(model, sensors, plan.time or notes.get("time"), tuple(columns), notes.get("aware"))


def _train(plan: Plan, settings: Mapping[str, Any], say: Callable[[str], None]) -> Fitted:
    table = TableFile.read("--train", plan.train, time=plan.time)
    privileged = list(plan.privileged_columns)
    table.check_columns("--columns", plan.columns)
    table.check_columns("--privileged-columns", privileged)
    both = [name for name in privileged if name in plan.columns]
    if both:
        raise wrong("--privileged-columns", "other columns than --columns", both[0], "A sensor stays or does not.")
    chosen = plan.columns or [name for name in table.columns if name not in privileged]
    sensors = [name for name in table.columns if name in chosen]  # in the order of the file
    if not sensors:
        raise wrong("--privileged-columns", "some of the columns", "all", "A detector needs a sensor that stays.")
    X, Z = table.numbers(sensors), table.numbers(privileged) if privileged else None
    silent = [name for name in sensors if X[name].isna().all()]
    if silent:
        raise wrong(
            "--train", "a log with values of every sensor", f"none of {silent[0]!r}", "Leave it out: --columns."
        )
    model = PrivilegedAnomalyDetector(**_read_settings(settings, table)).fit(X, X_privileged=Z)
    for line in _summary(model, table, X, privileged):
        say(line)
    aware = table.index.tz is not None if isinstance(table.index, pd.DatetimeIndex) else None
    return Fitted(model, sensors, table.time, table.names, aware)


def _read_settings(settings: Mapping[str, Any], table: TableFile) -> dict[str, Any]:
    """Return the parameters of the detector: a gap is a number where the clock counts, a time otherwise."""
    read = dict(settings)
    counted = ["period"] if isinstance(table.index, pd.DatetimeIndex) else ["period", "max_gap"]
    for name in counted:
        value = number(str(read.get(name, "")))
        if value is not None and not np.isnan(value):
            read[name] = value
    return read


def _summary(model: PrivilegedAnomalyDetector, table: TableFile, X: pd.DataFrame, privileged: list[str]) -> list[str]:
    """Return what the training came to, for people."""
    run, repeated = model.clock_.runs(model.clock_.read(X.index), len(X))
    holes = int(X.isna().any(axis=1).sum())
    clock = (
        "no clock: rows follow each other" if table.time is None else f"clock {table.time!r}, usual step {_step(model)}"
    )
    achieved = model.achieved_rate_
    per_day = model.false_alarms_per_day
    asked = f"{model.false_alarm_rate:.4g} of rows" if per_day is None else f"{per_day:.4g} a day"
    listed = model.horizons if is_list(model.horizons) else [model.horizons]
    ahead = ", ".join(map(str, sorted(set(listed))))
    left_out = int((~model.normal_rows_).sum())
    return [
        f"sensors kept: {', '.join(map(str, X.columns))}; privileged: {', '.join(privileged) or 'none'}",
        f"rows: {len(X)}; gaps: {int(run[-1])}; repeated times: {int(repeated.sum())}; with a missing value: {holes}",
        clock,
        *([f"rows left out by curation: {left_out}"] if model.curate is not None else []),
        *([f"forecasts {ahead} row(s) ahead from the last {model.n_lags_}"] if model.n_lags_ is not None else []),
        f"threshold: {model.threshold_:.4g}",
        f"false alarms asked: {asked}; achieved on {achieved.n_rows} held-out rows: {achieved.rate:.4g} "
        f"({achieved.lower:.4g} to {achieved.upper:.4g}), {achieved.unit}",
    ]


def _step(model: PrivilegedAnomalyDetector) -> str:
    seconds = model.clock_.seconds
    return f"{model.clock_.period:g}" if seconds is None else f"{seconds:g} s"


# ---------------------------------------------------------------- a file


@dataclass(frozen=True, eq=False)
class _Scored:
    stamps: list[Any]  # as the stream writes them
    rows: Any
    said: pd.DataFrame
    contributions: np.ndarray


def _score(fitted: Fitted, plan: Plan) -> _Scored:
    table = TableFile.read("--score", plan.score, time=plan.time, usual=fitted.time)
    absent = [name for name in fitted.sensors if name not in table.columns.columns]
    if absent:
        raise wrong("--score", "a file with the sensors of the model", f"none of {absent[0]!r}",
                    f"It has: {', '.join(table.names)}.")  # fmt: skip
    _check_clock(fitted, table)
    X = table.numbers(fitted.sensors)
    given = X if hasattr(fitted.model, "feature_names_in_") else X.to_numpy()
    return _Scored(_stamps(table), given, fitted.model.detect(given), fitted.model.contributions(given))


def _check_clock(fitted: Fitted, table: TableFile) -> None:
    """Refuse a clock of another kind, which would be no clock at all."""
    kind = fitted.model.clock_.kind
    if table.time is None or kind == "rows":
        return
    dated = isinstance(table.index, pd.DatetimeIndex)
    if dated is not (kind == "times"):
        found = f"{table.stamps[0]} in {table.time!r}"
        step = "Convert it, or name another column with --time."
        raise wrong("--score", f"a file dated by {kind}, as the training log was", found, step)
    aware = table.index.tz is not None if isinstance(table.index, pd.DatetimeIndex) else None
    if fitted.aware is not None and aware is not fitted.aware:
        found = f"{table.stamps[0]} in {table.time!r}"
        raise wrong("--score", f"a file {_OFFSETS[fitted.aware]}, as the training log was", found, "Convert its times.")


def _stamps(table: TableFile) -> list[Any]:
    if table.stamps is None or not isinstance(table.index, pd.DatetimeIndex):
        return table.index.tolist()
    return [stamp if isinstance(stamp, str) else pd.Timestamp(stamp).isoformat() for stamp in table.stamps]


def _write(scored: _Scored, sensors: list[str], out: Path) -> None:
    """Write one row per row, whole or not at all."""
    if out.suffix.lower() == ".jsonl":
        rows = zip(scored.stamps, scored.said.itertuples(index=False), scored.contributions, strict=True)
        with replacing(out) as file:
            for stamp, said, parts in rows:
                alarm = Alarm(said.score, said.p_value, said.is_anomaly, parts, said.event, said.n_missing)
                file.write((answer(stamp, alarm, sensors) + "\n").encode())
        return
    labels = [f"contribution_{name}" for name in sensors]
    parts = pd.DataFrame(scored.contributions, columns=labels)
    table = pd.concat([scored.said.reset_index(drop=True), parts], axis=1)
    table.insert(0, "time", scored.stamps)
    with replacing(out) as file:
        if out.suffix.lower() == ".parquet":
            table.to_parquet(file, index=False)
        else:
            table.to_csv(file, index=False, encoding="utf-8")


# ---------------------------------------------------------------- a stream


def _stream(fitted: Fitted, plan: Plan, say: Callable[[str], None]) -> int:
    feed = Feed(
        fitted.sensors, fitted.model.clock_.kind,
        time=fitted.time or "time", columns=fitted.columns, aware=fitted.aware,
    )  # fmt: skip
    answers = sys.stdout.buffer

    def write(text: str) -> None:
        answers.write(text.encode() + b"\n")
        answers.flush()

    with _opened(str(plan.stream)) as source, Stop() as stop:
        try:
            tally = follow(fitted.model, feed, follow_lines(source, stop), write, say, learn=plan.learn)
        finally:  # also where the answers could not be written
            if plan.state is not None and getattr(fitted.model, "stream_", None) is not None:
                fitted.model.save_state(plan.state)
                say(f"state saved: {plan.state}")
        if stop.unfinished:
            say("a line without its end was left unread")
    if tally.cut_off:
        _forget_output()
    say(_told(tally))
    return MALFORMED if tally.n_malformed else 0


@contextmanager
def _opened(source: str) -> Iterator[Any]:
    if source == "-":
        yield sys.stdin.buffer
    else:
        with Path(source).open("rb") as file:
            yield file


def _told(tally: Tally) -> str:
    ending = "; the reader of the answers has gone" if tally.cut_off else ""
    return (
        f"rows: {tally.n_rows}; alarmed: {tally.n_alarmed}; events: {tally.n_events}; "
        f"malformed lines: {tally.n_malformed}{ending}"
    )


def _forget_output() -> None:
    """Let the interpreter flush what nobody reads into nothing at its end, without a complaint."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
