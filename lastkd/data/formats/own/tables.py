"""Tables of numbers in text, as spreadsheets, pandas and numpy write them."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Sequence

from lastkd.data.formats.clip_files import BadClipError

UNSEEN = ("", "-", "na", "n/a", "none", "null")
"""Cells of a joint that wasn't seen, beside `nan`, which Python reads by itself."""


def lines_of(content: bytes) -> list[str]:
    """The lines of a table, without empty ones and remarks."""
    lines = content.decode("utf-8-sig", "replace").splitlines()
    return [line for line in lines if line.strip() and line.lstrip()[0] not in "#%"]


def delimiter_of(line: str) -> str | None:
    """That of a table, None for any white space; commas beside another one are decimal commas."""
    return next((one for one in ";\t," if one in line), None)


def cells_of(line: str, delimiter: str | None) -> list[str]:
    """The cells of a line; a delimiter within quotes is none."""
    if '"' in line:
        with contextlib.suppress(csv.Error):  # a cell beyond all measure
            return next(csv.reader([line], delimiter=delimiter or " ", skipinitialspace=True))
    return line.split(delimiter)


def numbers_of(cells: Sequence[str]) -> list[float] | None:
    """The numbers of a line, NaN for what wasn't seen; None where it holds something else."""
    try:
        return [
            float("nan") if cell.strip().lower() in UNSEEN else float(cell.replace(",", "."))
            for cell in cells
        ]
    except ValueError:
        return None


def split_lines(lines: Sequence[str]) -> list[list[str]]:
    """The cells of each line, without the empty ones that a delimiter at every end makes.

    Raises:
        BadClipError: there is no line.
    """
    if not lines:
        raise BadClipError("is empty")
    delimiter = delimiter_of(lines[-1])
    rows = [cells_of(line, delimiter) for line in lines]
    if len(rows) > 1 and not any(row[-1].strip() for row in rows[1:]):
        width = len(rows[-1]) - 1
        rows = [row[:width] for row in rows]
    return rows
