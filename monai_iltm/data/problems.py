"""What is wrong with a data set, and how a person is told: one table, a line a problem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from monai_iltm.data.errors import shown


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file of a case, and the value found; case and file are "" where the whole set is meant."""

    case: str
    file: str
    what: str
    found: str


def format_problems(problems: Iterable[Problem]) -> str:
    """A plain text table, one line a problem: case, file, what is wrong, what was found; safe for any terminal."""
    rows = [("case", "file", "problem", "found"), *(astuple(problem) for problem in problems)]
    rows = [tuple(shown(cell) or "-" for cell in row) for row in rows]
    widths = [*(max(len(row[column]) for row in rows) for column in range(3)), 0]  # the last needs no filling
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def shown_path(path: str, folder: Path) -> str:
    """A path as messages show it: relative to the data folder where it lies inside."""
    return Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else path
