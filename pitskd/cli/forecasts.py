"""The commands `pitskd fit` and `pitskd predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pitskd.cli._options import (
    Columns,
    Group,
    Horizon,
    MaxGap,
    OwnFile,
    Privileged,
    PrivilegedColumns,
    Stride,
    Target,
    Threshold,
    Time,
    Unit,
    Window,
    finished,
    option,
    say,
    window_options,
)

__all__: list[str] = []

_MODEL = "Model"


def fit(
    file: OwnFile,
    target: Target,
    window: Window,
    horizon: Horizon,
    model: Annotated[Path, option(_MODEL, "Where the model file goes.")],
    privileged: Privileged = "between",
    privileged_columns: PrivilegedColumns = None,
    columns: Columns = None,
    threshold: Threshold = None,
    time: Time = None,
    group: Group = None,
    max_gap: MaxGap = None,
    stride: Stride = None,
    max_windows: Annotated[
        int | None,
        option(
            "Windows",
            "Without --stride: at most so many windows, evenly spaced, and then auto is the front door; default: 2000 "
            "for the front door and for events, else all.",
            metavar="N",
        ),
    ] = None,
    unit: Unit = None,
    student: Annotated[
        str,
        option(
            _MODEL,
            "front-door, anchored, chain, ridge, or auto: the front door where there are no more windows than it "
            "takes, else anchored from all of them (events: the front door on evenly spaced ones).",
        ),
    ] = "auto",
) -> None:
    """Learn a forecasting student from your own file and save it.

    The teacher sees the rows between input and target and the privileged columns; the student does without. Exit
    code 0; 2 where what was asked for is wrong, and then nothing was written; 130 where it was stopped.
    """
    options = window_options(
        target=target, window=window, horizon=horizon, privileged=privileged, privileged_columns=privileged_columns,
        columns=columns, threshold=threshold, time=time, group=group, max_gap=max_gap, stride=stride,
        max_windows=max_windows, unit=unit,
    )  # fmt: skip

    def job() -> None:
        from pitskd.forecasting import command

        command.fit(command.FitPlan(file, options, model, student), say)

    finished(job)


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file of pitskd fit.")],
    file: OwnFile,
    out: Annotated[
        str, option("Forecasts", "Where they go: .csv, .jsonl or .parquet, or - for CSV on standard output.")
    ],
    every: Annotated[
        bool, option("Forecasts", "From every row with a whole input, also where the target is in the file.", "--all")
    ] = False,
    time: Annotated[str | None, option("File", "Time column; default: that of the training file.")] = None,
    group: Annotated[str | None, option("File", "Column that tells series apart; default: as in training.")] = None,
) -> None:
    """Forecast with a saved student: from the rows at the end of a new file whose target is not in it yet.

    One row per origin: its time, the time of the target, the forecast under the name of the target and how far ahead
    it is (for events the label, and their probability); empty where an input is missing. Times with an offset come
    out in UTC. Exit code 0; 2 where what was asked for is wrong, and then nothing was written.
    """

    def job() -> None:
        from pitskd.forecasting import command

        command.predict(command.PredictPlan(model, file, out, every, time, group), say)

    finished(job)
