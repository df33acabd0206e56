"""The command `pitskd report`."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from pitskd.cli._options import (
    Columns,
    Group,
    Horizon,
    MaxGap,
    MaxWindows,
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

_REPORT = "Report"
_FIGURES = (".png", ".svg", ".pdf")


def report(
    file: OwnFile,
    target: Target,
    window: Window,
    horizon: Horizon,
    privileged: Privileged = "between",
    privileged_columns: PrivilegedColumns = None,
    columns: Columns = None,
    threshold: Threshold = None,
    time: Time = None,
    group: Group = None,
    max_gap: MaxGap = None,
    stride: Stride = None,
    max_windows: MaxWindows = None,
    unit: Unit = None,
    season: Annotated[
        str | None,
        option(
            _REPORT,
            "Of the seasonal naive forecast: rows, or e.g. 24h; default: a day, a week or a year, by the clock.",
        ),
    ] = None,
    learning_curve: Annotated[bool, option(_REPORT, "Also: student and baseline with fewer training windows.")] = False,
    all_windows: Annotated[
        bool | None,
        option(_REPORT, "Where some windows are judged, also ask all; default: where that takes a minute at most."),
    ] = None,
    as_json: Annotated[
        str | None,
        option(
            _REPORT, "Write everything as JSON; - for standard output, in place of the text.", "--json", metavar="PATH"
        ),
    ] = None,
    plot: Annotated[Path | None, option(_REPORT, "Figure: .png, .svg or .pdf.")] = None,
    jobs: Annotated[int, option(_REPORT, "Processes; -1 for all cores.")] = 1,
    seed: Annotated[int, option(_REPORT, "Of splits, permutations and bootstrap.", min=0)] = 0,
) -> None:  # fmt: skip
    """Say whether the rows in between, or extra columns, help to forecast a column of your own file.

    A student taught with them is judged on held-out blocks of time, beside a tuned model without them, controls, and
    persistence, seasonal naive and autoregressive forecasts. Exit code 0, whatever the verdict; 2 where what was asked
    for is wrong, and then nothing was written; 130 where it was stopped.
    """
    asked = {"target": target, "window": window, "horizon": horizon, "privileged": privileged,
             "privileged_columns": privileged_columns, "columns": columns, "threshold": threshold, "time": time,
             "group": group, "max_gap": max_gap, "stride": stride, "max_windows": max_windows,
             "unit": unit}  # fmt: skip
    options = window_options(**asked)

    def job() -> None:
        _check_places(file, as_json, plot, jobs)
        from pitskd.experiments.file_report import report_on

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = report_on(
                file, options, season=season, all_windows=all_windows, learning_curve=learning_curve, n_jobs=jobs,
                random_state=seed,
            )  # fmt: skip
        for message in dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, UserWarning)):
            say(f"note: {_as_typed(message)}")
        if plot is not None:
            _draw(found, plot)
            say(f"figure: {plot}")
        if as_json is not None:
            _write_json(found.to_json(), as_json)
        if as_json != "-":
            typer.echo(str(found))

    finished(job)


def _as_typed(message: str) -> str:
    """Return a warning for a shell, which has other words for what is to be done."""
    known = {"Pass more windows or a larger stride, or your own cv.": "Use a longer file, or a larger --stride."}
    for meant, typed in known.items():
        message = message.replace(meant, typed)
    return message


def _check_places(file: Path, as_json: str | None, plot: Path | None, jobs: int) -> None:
    """Refuse places where nothing can be put, before minutes of work."""
    from pitskd._files import check_writable
    from pitskd._validation import wrong
    from pitskd.forecasting.command import check_apart

    if jobs == 0 or jobs < -1:
        raise wrong("--jobs", "-1 (all cores) or at least 1", jobs, "Use --jobs -1.")
    read = {"FILE": file}
    if as_json not in (None, "-"):
        place = Path(as_json)
        check_writable("--json", place)
        check_apart("--json", place, read)
        read["--json"] = place
    if plot is None:
        return
    if plot.suffix.lower() not in _FIGURES:
        raise wrong("--plot", f"a file that ends in {', '.join(_FIGURES)}", str(plot), "Rename it.")
    check_writable("--plot", plot)
    check_apart("--plot", plot, read)
    if importlib.util.find_spec("matplotlib") is None:
        raise wrong("--plot", "left out without matplotlib", str(plot), "Install pitskd[plot].")


def _write_json(found: dict[str, Any], place: str) -> None:
    from pitskd._files import replacing

    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    if place == "-":
        typer.echo(text, nl=False)
        return
    with replacing(Path(place)) as file:
        file.write(text.encode())
    say(f"JSON: {place}")


def _draw(found: Any, path: Path) -> None:
    from matplotlib.figure import Figure  # without pyplot no window system is asked for

    from pitskd._files import replacing
    from pitskd.experiments.gain_displays import FileReportDisplay

    figure = Figure(figsize=(9, 7), layout="constrained")
    FileReportDisplay.from_report(found, axes=figure.subplots(2))
    with replacing(path) as file:
        figure.savefig(file, dpi=130, format=path.suffix[1:].lower())
