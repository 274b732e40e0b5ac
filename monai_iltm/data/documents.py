"""JSON and CSV files, written in one step: whole, or not there."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from monai.config import PathLike

from monai_iltm.data.errors import InputError
from monai_iltm.data.one_step import in_one_step


def read_json(path: PathLike) -> Any:
    """The content of a JSON file. Raises InputError where it is damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({error})") from error


def write_json(path: PathLike, content: Any) -> None:
    """Write JSON in one step; folders are made. Raises InputError where the folder cannot be written."""
    write_in_one_step(path, lambda stream: stream.write(json.dumps(content, indent=4) + "\n"))


def read_csv(path: PathLike) -> list[dict[str, str]]:
    """The rows of a CSV file, values as text. Raises InputError where it is damaged."""
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file ({error})") from error


def write_csv(path: PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows in one step, the columns of the first row first, then what later rows add."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def write(stream: TextIO) -> None:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

    write_in_one_step(path, write)


def write_in_one_step(path: PathLike, write: Callable[[TextIO], Any]) -> None:
    """Give `write` a text stream beside `path` and put the file in its place when it is whole.

    Raises InputError where it cannot be written.
    """
    with in_one_step(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        write(stream)
