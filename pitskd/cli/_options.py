"""What the commands read from a shell in the same way, and how they speak."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import typer

__all__: list[str] = []


def names(listed: str | None) -> list[str]:
    """Return what stands between commas."""
    return [name.strip() for name in (listed or "").split(",") if name.strip()]


def number_or_none(text: str) -> float | int | None:
    """Return a number, or None for the word none."""
    if text.lower() == "none":
        return None
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text} must be a number or none.") from None


def option(panel: str, text: str, **settings: Any) -> Any:
    """Return an option of a panel of the help."""
    return typer.Option(help=text, rich_help_panel=panel, **settings)


def say(line: str) -> None:
    """Tell a person a line, on standard error."""
    with suppress(OSError):  # nobody listens
        typer.echo(line, err=True)
