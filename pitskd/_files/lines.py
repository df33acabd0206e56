"""CSV files: the names in their first line, and how many fields every other line has."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pitskd._files.cells import SPELT, number
from pitskd._validation import shorten, wrong

__all__: list[str] = []

_BLOCK = 2**22  # bytes of a file looked at together


def delimiter(line: str) -> str:
    """Return what separates the fields of a line: a tab or else a semicolon where there is one, else a comma."""
    unquoted = re.sub(r'"[^"]*"', "", line) if '"' in line else line
    return "\t" if "\t" in unquoted else ";" if ";" in unquoted else ","


def fields(line: str) -> list[str]:
    """Return the fields of one line."""
    separator = delimiter(line)
    return next(csv.reader([line], delimiter=separator)) if '"' in line else line.split(separator)


class CsvHeader(NamedTuple):
    """The first line of a CSV file that is not empty."""

    names: list[str]
    separator: str
    n_lines: int  # the header and the empty lines above it

    @classmethod
    def read(cls, name: str, path: Path) -> CsvHeader:
        """Read the names of the columns and what separates them."""
        with path.open("rb") as lines:
            for line_number, line in enumerate(lines, start=1):
                header = _text(name, path, line)
                if header.strip():
                    _check_one_line(name, path, header, line_number)
                    names = [field.strip() for field in fields(header)]
                    _check_names(name, path, names)
                    return cls(names, delimiter(header), line_number)
        raise wrong(name, "a file with rows", f"{path}, which is empty", "Record some rows.")

    def open(self, path: Path, texts: Sequence[str], **settings: Any) -> Any:
        """Read the file with pandas; `texts` are not to be taken for numbers."""
        import pandas as pd

        old = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)  # since then digits are read exactly by default
        if old:
            settings["float_precision"] = "round_trip"
        return pd.read_csv(
            path, sep=self.separator, header=None, names=self.names, skiprows=self.n_lines, index_col=False,
            encoding="utf-8-sig", dtype=dict.fromkeys(texts, str), na_values=SPELT, keep_default_na=False,
            skipinitialspace=True, low_memory=False, **settings,
        )  # fmt: skip


def count_rows(name: str, path: Path, header: CsvHeader) -> int:
    """Return the number of rows after a look at how many fields every line has.

    Looking at millions of lines one by one takes long. So all that is neither a separator nor the end of a line is
    taken out of a block, and the rest compared with what as many faultless lines would leave; only a block that differs
    is searched line by line.
    """
    mark, n_fields = header.separator.encode(), len(header.names)
    other = bytes(set(range(256)) - set(mark + b"\n"))
    faultless = mark * (n_fields - 1) + b"\n"
    n_rows, n_lines = 0, header.n_lines
    for block, n_block_lines in _blocks(name, path, header):
        left = block.translate(None, other)
        n_found = len(left) // n_fields
        if n_fields > 1 and left == faultless * n_found:
            n_rows += n_found
        else:
            n_rows += _count_lines(name, path, header, block, n_lines)
        n_lines += n_block_lines
    return n_rows


def _blocks(name: str, path: Path, header: CsvHeader) -> Iterator[tuple[bytes, int]]:
    """Yield whole lines below the header, many at a time, without their quoted fields, and the number of lines."""
    mark = header.separator.encode()
    with path.open("rb") as file:
        n_lines = sum(1 for _ in zip(range(header.n_lines), file, strict=False))
        rest, more = b"", True
        while more:
            read = file.read(_BLOCK)
            more = bool(read)
            whole = rest + read if more or not rest else rest + b"\n"
            block = whole[: whole.rfind(b"\n") + 1]
            bare, opened = _unquoted(block, mark) if b'"' in block else (block, None)
            if opened is not None and more and len(whole) < 16 * _BLOCK:
                rest = whole
                continue
            if opened is not None:
                line_number = n_lines + bare.count(b"\n", 0, opened) + 1
                found = f"an open one in line {line_number} of {path}"
                raise wrong(name, "a file whose quotes are closed", found, "Mend or remove the line.")
            yield bare, block.count(b"\n")
            n_lines += block.count(b"\n")
            rest = whole[len(block) :]


def _unquoted(block: bytes, mark: bytes) -> tuple[bytes, int | None]:
    """Return lines without their quoted fields, and where one begins that does not end."""
    bare = b'"'.join(block.split(b'"')[::2])
    n_quoted = bare.count(b'"')
    begun = bare.count(mark + b'"') + bare.count(b'\n"') + bare.startswith(b'"')
    ended = bare.count(b'"' + mark) + bare.count(b'"\n') + bare.count(b'"\r')
    if block.count(b'"') == 2 * n_quoted and begun == ended == n_quoted:
        return bare, None
    # Slowly: quotes in quotes, spaces before them, or in the middle of a field, where a quote is a plain sign.
    begin = rb'(?<![^%b\n]) *"' % re.escape(mark)
    bare = re.sub(begin + rb'[^"]*(?:""[^"]*)*"', b"_", block)
    opened = re.search(begin, bare)
    return bare, None if opened is None else opened.start()


def _count_lines(name: str, path: Path, header: CsvHeader, block: bytes, n_before: int) -> int:
    """Return how many lines of a block are not empty, or name the first of another length."""
    mark, n_fields, n_rows = header.separator.encode(), len(header.names), 0
    blank = b" \r" if mark == b"\t" else b" \t\r"
    for line_number, line in enumerate(block.split(b"\n"), start=n_before + 1):
        if line.strip(blank):
            n_rows += 1
            if line.count(mark) != n_fields - 1:
                found = f"{line.count(mark) + 1} in line {line_number} of {path}"
                raise wrong(name, f"a file with {n_fields} fields in every line", found, "Mend or remove the line.")
    return n_rows


@contextmanager
def utf8(name: str, path: Path) -> Iterator[None]:
    """Say what is wrong with a file in another encoding."""
    try:
        yield
    except UnicodeDecodeError:
        raise wrong(name, "a CSV file in UTF-8", f"{path}", "Parquet is known by its ending .parquet.") from None


def _text(name: str, path: Path, line: bytes) -> str:
    with utf8(name, path):
        return line.decode("utf-8-sig").strip("\r\n")


def _check_one_line(name: str, path: Path, header: str, line_number: int) -> None:
    """Refuse lines that end in another way than ours, and a name that goes on in the next line."""
    if "\r" in header:
        found = f"carriage returns (CR) alone in {path}"
        raise wrong(
            name, "a file whose lines end with a line feed (LF or CR LF)", found, "Save it with such line ends."
        )
    if '"' in header and _unquoted(f"{header}\n".encode(), delimiter(header).encode())[1] is not None:
        found = f"an open quote in line {line_number} of {path}"
        raise wrong(name, "a file with the names of its columns on one line", found, "Mend or shorten the names.")


def _check_names(name: str, path: Path, names: Sequence[str]) -> None:
    if all(number(column) is not None for column in names):
        found = shorten(", ".join(names))
        raise wrong(name, "a file whose first line names its columns", f"{found} in {path}", "Add a header line.")
    check_unique_names(name, path, names)


def check_unique_names(name: str, path: Path, names: Sequence[str]) -> None:
    """Refuse a file that has two columns of one name."""
    twice = [column for column in names if names.count(column) > 1]
    if twice:
        raise wrong(name, "a file that names each column once", f"{twice[0]!r} twice in {path}", "Rename one of them.")
