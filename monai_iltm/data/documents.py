"""JSON and CSV files, written in one step: whole, or not there."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.one_step import PathLike, in_one_step

# The longer marks first: UTF-32's little-endian mark begins with UTF-16's.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: PathLike) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 or UTF-32 with one.

    Raises InputError where it cannot be read, and for any other encoding, whose letters could only be guessed.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read ({error.strerror})") from error
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{shown(path)} line {line}: byte 0x{raw[error.start]:02x} is no {encoding.upper()}, it may be Latin-1 or "
            "another encoding: save it as UTF-8 (in Excel: CSV UTF-8)"
        ) from error
    if "\0" in text:
        raise InputError(
            f"{shown(path)}: holds NUL characters, as UTF-16 without a byte order mark does: save it as UTF-8"
        )
    return text


def read_json(path: PathLike) -> Any:
    """The content of a JSON file. Raises InputError where it is damaged, nested too deep, or in another encoding."""
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InputError(f"{shown(path)}: not a JSON file (nested too deep)") from error
    except ValueError as error:
        raise InputError(f"{shown(path)}: not a JSON file ({error})") from error


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
