"""Forecasts of one column of a user's own file: windows of it, a student learnt from them, predictions of new rows."""

from __future__ import annotations

__all__: list[str] = []
