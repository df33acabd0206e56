"""The command `pitskd`."""

from __future__ import annotations

import typer

from pitskd.cli.detection import detect
from pitskd.cli.forecasts import fit, predict
from pitskd.cli.reporting import report
from pitskd.cli.reproduction import reproduce

__all__: list[str] = []

app = typer.Typer(
    help="Privileged-information distillation of time series.", no_args_is_help=True, add_completion=False
)
app.add_typer(reproduce, name="reproduce")
app.command()(detect)
app.command()(fit)
app.command()(predict)
app.command()(report)
