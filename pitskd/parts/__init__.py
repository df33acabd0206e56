"""Series longer than memory: a file read in parts, and the windows of consecutive parts as if they were one."""

from __future__ import annotations

from pitskd.parts.files import TableParts, read_parts
from pitskd.parts.windows import join_windows, windows_from_parts

__all__ = ["TableParts", "read_parts", "windows_from_parts", "join_windows"]
