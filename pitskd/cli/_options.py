"""What the commands read from a shell in the same way, and how they speak."""

from __future__ import annotations

import csv
import math
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

__all__: list[str] = []


def names(listed: str | None) -> list[str]:
    """Return what stands between commas; quotes hold a name that has one together."""
    rows = csv.reader([listed or ""], skipinitialspace=True)
    return [name.strip() for row in rows for name in row if name.strip()]


def number_or_none(text: str) -> float | int | None:
    """Return a number, or None for the word none."""
    if text.lower() == "none":
        return None
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text} must be a number or none.") from None


def option(panel: str, text: str, *typed: str, **settings: Any) -> Any:
    """Return an option of a panel of the help; `typed` where it is not named as its parameter."""
    return typer.Option(*typed, help=text, rich_help_panel=panel, **settings)


def say(line: str) -> None:
    """Tell a person a line, on standard error."""
    with suppress(OSError):  # nobody listens
        typer.echo(line, err=True)


def finished(job: Callable[[], None]) -> None:
    """Run a job; what is wrong in what was asked for is a usage error, and a stop leaves nothing half done."""
    try:
        job()
    except (ValueError, TypeError, MemoryError) as error:
        if not _is_told(error):
            raise  # a mistake of ours, not of who asked
        raise typer.BadParameter(str(error)) from None
    except KeyboardInterrupt:
        say("stopped: nothing was written")
        raise typer.Exit(130) from None
    except BrokenPipeError:  # whoever reads has had enough
        _forget_output()
    except OSError as error:  # a full disk, say
        say(f"cannot go on: {error}")
        raise typer.Exit(1) from None


def _is_told(error: Exception) -> bool:
    """Tell whether an error was worded for whoever asked, by this package or by scikit-learn."""
    if isinstance(error, MemoryError) or re.search(r"\bmust (be|have) .+, got ", str(error), re.DOTALL):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("sklearn.")


def _forget_output() -> None:
    """Let the interpreter flush what nobody reads into nothing at its end, without a complaint."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ---------------------------------------------------------------- a file and the windows of it

_FILE, _WINDOWS = "File", "Windows"


def window_options(**given: Any) -> Any:
    """Return what is asked of a file as the windows take it; the names are those of the options."""
    from pitskd.forecasting.own_file import WindowOptions

    given |= {name: names(given[name]) for name in ("columns", "privileged_columns")}
    given |= {"privileged": _read_privileged(given["privileged"]), "units": _read_units(given.pop("unit") or [])}
    return WindowOptions(**given)


def _read_privileged(text: str) -> Any:
    """Return which middle rows the teacher sees: between, none, a number of them, or steps by commas."""
    plain = text.strip().lower()
    if plain in ("between", "none"):
        return None if plain == "none" else plain
    steps = names(plain)
    if not steps or not all(step.isdecimal() for step in steps):
        raise typer.BadParameter(
            f"--privileged must be between, none, a number of rows or steps separated by commas, got {text}. "
            "Use e.g. 2 for the last two rows before the target, or 6,12."
        )
    return list(map(int, steps)) if "," in plain else int(plain)


def _read_units(listed: list[str]) -> dict[str, str]:
    """Return what NAME=UNIT says."""
    units = {}
    for text in listed:
        name, mark, unit = text.rpartition("=")
        if not (mark and name.strip() and unit.strip()):
            raise typer.BadParameter(f"--unit must be NAME=UNIT, got {text}. Use e.g. --unit pm2.5=ug/m3.")
        units[name.strip()] = unit.strip()
    return units


def _check_threshold(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"--threshold must be a finite number, got {value}. Events are targets above it.")
    return value


OwnFile = Annotated[Path, typer.Argument(metavar="FILE", help="A series: CSV or Parquet, in order of time.")]
Target = Annotated[str, option(_WINDOWS, "Column to forecast.", metavar="NAME")]
Window = Annotated[int, option(_WINDOWS, "Rows that a forecast sees.", metavar="N")]
Horizon = Annotated[int, option(_WINDOWS, "Rows from the last one seen to the target.", metavar="N")]
Privileged = Annotated[
    str,
    option(
        _WINDOWS,
        "Rows between input and target that only the teacher sees: between (all), none, the last K of them, or steps "
        "ahead by commas.",
        metavar="between|none|K|1,2,3",
    ),
]
PrivilegedColumns = Annotated[
    str | None,
    option(
        _WINDOWS,
        "Columns that will not be there later, by commas: for the teacher. Quote a name that holds a comma.",
        metavar="A,B",
    ),
]
Columns = Annotated[
    str | None,
    option(
        _WINDOWS,
        "Inputs, by commas (quote a name that holds one); default: all columns of numbers, the target too.",
        metavar="A,B",
    ),
]
Threshold = Annotated[
    float | None, option(_WINDOWS, "Forecast the event that the target is above it.", callback=_check_threshold)
]
Time = Annotated[
    str | None,
    option(_FILE, "Time column; default: the one named time, timestamp, datetime or date.", metavar="NAME"),
]
Group = Annotated[
    str | None, option(_FILE, "Column that tells series apart (city, run): no window spans two.", metavar="NAME")
]
MaxGap = Annotated[
    str | None,
    option(_WINDOWS, "Longest step of the clock in a window, e.g. 3h; default: the usual one.", metavar="GAP"),
]
Stride = Annotated[int | None, option(_WINDOWS, "Rows from one window to the next.", metavar="N")]
MaxWindows = Annotated[
    int | None,
    option(
        _WINDOWS,
        "Without --stride: at most so many windows, evenly spaced; default: 2000, or fewer, 500 at least, where many "
        "inputs would take long.",
        metavar="N",
    ),
]
Unit = Annotated[
    list[str] | None, option(_FILE, "Unit of a column, shown beside it; may be repeated.", metavar="NAME=UNIT")
]
