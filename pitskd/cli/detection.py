"""The command `pitskd detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pitskd.cli._options import names, number_or_none, option, say

__all__: list[str] = []

_FILES, _STREAMS, _DETECTOR = "Files", "Stream", "Detector (defaults as in PrivilegedAnomalyDetector)"


def _limits(listed: list[str]) -> dict[str, tuple[float | int | None, float | int | None]]:
    """Return what NAME:LOW:HIGH says, as the detector takes it."""
    limits = {}
    for text in listed:
        name, *pair = text.rsplit(":", 2)
        if len(pair) != 2:
            raise typer.BadParameter(f"{text} must be NAME:LOW:HIGH. Leave LOW or HIGH empty where there is no limit.")
        limits[name] = tuple(number_or_none(limit or "none") for limit in pair)
    return limits


def _read_horizons(listed: str | None) -> str | None:
    if listed is not None and not (names(listed) and all(part.isdecimal() for part in names(listed))):
        raise typer.BadParameter(f"{listed} must be integers separated by commas. Use e.g. 1,5,20.")
    return listed


def _draw_timeline(detector: Any, rows: Any, path: Path) -> None:
    from matplotlib.figure import Figure  # without pyplot no window system is asked for

    from pitskd.experiments import AnomalyTimelineDisplay

    figure = Figure(figsize=(10, 7), layout="constrained")
    AnomalyTimelineDisplay.from_estimator(detector, rows, ax=figure.subplots())
    figure.savefig(path, dpi=130)


def detect(
    train: Annotated[Path | None, option(_FILES, "Log of normal operation with all sensors: CSV or Parquet.")] = None,
    time: Annotated[
        str | None, option(_FILES, "Time column; default: the one named time, timestamp, datetime or date.")
    ] = None,
    columns: Annotated[str | None, option(_FILES, "Sensors that stay, by commas; default: all others.")] = None,
    privileged_columns: Annotated[
        str | None, option(_FILES, "Sensors that will not be there, separated by commas.")
    ] = None,
    model: Annotated[Path | None, option(_FILES, "Model file: written with --train, else read.")] = None,
    score: Annotated[Path | None, option(_FILES, "File to score: CSV or Parquet.")] = None,
    out: Annotated[Path | None, option(_FILES, "Where the scores go: .csv, .jsonl or .parquet.")] = None,
    plot: Annotated[Path | None, option(_FILES, "Timeline of the scored file: .png, .svg or .pdf.")] = None,
    stream: Annotated[str | None, option(_STREAMS, "- for standard input, or a file: CSV or JSON lines.")] = None,
    state: Annotated[
        Path | None, option(_STREAMS, "State of the stream: gone on from if it exists, written at the end.")
    ] = None,
    learn: Annotated[bool, option(_STREAMS, "Adapt slowly while no alarm lasts.")] = False,
    horizons: Annotated[
        str | None, option(_DETECTOR, "Rows ahead, separated by commas, e.g. 1,5,20.", callback=_read_horizons)
    ] = None,
    n_lags: Annotated[int | None, option(_DETECTOR, "Rows seen; default: by held-out likelihood.")] = None,
    memory: Annotated[str | None, option(_DETECTOR, "Weight of the newest row in a moving average, or none.")] = None,
    isolation_forest: Annotated[bool | None, option(_DETECTOR, "Ask an isolation forest too.")] = None,
    curate: Annotated[str | None, option(_DETECTOR, "Leave out rows that were not normal: privileged or self.")] = None,
    contamination: Annotated[float | None, option(_DETECTOR, "About the share of such rows, if it is known.")] = None,
    target: Annotated[
        list[str] | None, option(_DETECTOR, "Alarm when a privileged column would be outside: NAME:LOW:HIGH.")
    ] = None,
    smoothing: Annotated[int | None, option(_DETECTOR, "Rows of the trailing mean.")] = None,
    false_alarm_rate: Annotated[float | None, option(_DETECTOR, "Share of normal rows alarmed.")] = None,
    false_alarms_per_day: Annotated[float | None, option(_DETECTOR, "Instead: false alarms per day.")] = None,
    calibration: Annotated[str | None, option(_DETECTOR, "pot or conformal.")] = None,
    calibration_size: Annotated[float | None, option(_DETECTOR, "Share of the log held out.")] = None,
    drift: Annotated[int | None, option(_DETECTOR, "Rows of the drifting median.")] = None,
    patience: Annotated[str | None, option(_DETECTOR, "Rows of an alarm before drift goes on, or none.")] = None,
    alarm_after: Annotated[int | None, option(_DETECTOR, "Rows above the threshold before an alarm.")] = None,
    clear_after: Annotated[int | None, option(_DETECTOR, "Rows below the threshold that end it.")] = None,
    missing: Annotated[str | None, option(_DETECTOR, "marginal, flag or raise.")] = None,
    max_gap: Annotated[str | None, option(_DETECTOR, "Longest step inside a run, e.g. 30s.")] = None,
    period: Annotated[str | None, option(_DETECTOR, "Time between rows where no clock tells, e.g. 1s.")] = None,
    adaptation: Annotated[float | None, option(_DETECTOR, "Share per row by which --learn moves.")] = None,
    random_state: Annotated[int | None, option(_DETECTOR, "Seed.")] = None,
) -> None:
    """Find anomalies: train on a log, score a file, or follow a stream line by line.

    A stream is answered with one JSON object per row. Exit code 0; 2 where what was asked for is wrong, and then
    nothing was written; 3 where a stream had malformed lines, each named on standard error and left out; 1 where a
    file could not be written.
    """
    from pitskd.anomaly.command import Plan, prepare

    settings = {name: value for name, value in locals().items() if name in _PARAMETERS and value is not None}
    if horizons is not None:
        settings["horizons"] = tuple(map(int, names(horizons)))
    settings |= {name: number_or_none(settings[name]) for name in ("memory", "patience") if name in settings}
    if target:
        settings["target"] = _limits(target)
    files = {"train": train, "time": time, "model": model, "score": score, "out": out, "plot": plot}
    plan = Plan(
        **files, columns=names(columns), privileged_columns=names(privileged_columns),
        stream=stream, state=state, learn=learn,
    )  # fmt: skip
    try:
        job = prepare(plan, settings, say, _draw_timeline)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error)) from None
    try:
        code = job()
    except OSError as error:  # a full disk, say
        say(f"cannot go on: {error}")
        code = 1
    raise typer.Exit(code)


# Options that are parameters of the detector, by the same names.
_PARAMETERS = (
    *("horizons", "n_lags", "memory", "isolation_forest", "curate", "contamination", "patience", "smoothing"),
    *("target", "false_alarm_rate", "false_alarms_per_day", "calibration"),
    *("calibration_size", "drift", "alarm_after", "clear_after", "missing", "max_gap", "period", "adaptation"),
    "random_state",
)
