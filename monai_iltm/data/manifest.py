"""manifest.csv, as a program, a person or Excel wrote it: every row a case."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from monai_iltm.data.documents import read_text
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.names import case_id

COLUMNS = ("path", "label", "mask_path", "split", "kind")
SPLITS = {"train-pool": "training", "test": "testing", "train-clean": "clean"}
SEPARATORS = (",", ";", "\t")  # Excel writes the one that the country is used to


def manifest_entries(path: Path) -> list[tuple[str, dict]]:
    """(split, entry of a datalist) of every row; commas, semicolons or tabs between, whatever the header has most of.

    Raises InputError, with the line, for a missing file, another encoding, missing columns, and rows of other values.
    """
    if not path.is_file():
        raise InputError(f"{shown(path)}: file not found")
    return [_entry(row, place) for place, row in _rows(path)]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(file and line, {column: value}) of every row that is not empty."""
    text = read_text(path)
    separator, skipped = _separator(text)
    stream = io.StringIO(text, newline="")
    for _ in range(skipped):
        stream.readline()
    reader = csv.reader(stream, delimiter=separator, strict=True)
    columns: list[str] | None = None
    try:
        for fields in reader:
            place = f"{shown(path)} line {reader.line_num + skipped}"
            if not any(field.strip() for field in fields):
                continue
            if columns is None:
                columns = _header(fields, separator, shown(path))
            else:
                yield place, _row(columns, fields, place)
    except csv.Error as error:
        raise InputError(f"{shown(path)} line {reader.line_num + skipped}: not a table ({error})") from error
    if columns is None:
        raise InputError(f"{shown(path)}: empty, expected the columns {', '.join(COLUMNS)}")


def _separator(text: str) -> tuple[str, int]:
    """The separator, and how many lines stand before the header: Excel may say `sep=;` in one."""
    first = text.partition("\n")[0]
    if first.lower().startswith("sep=") and len(first.rstrip("\r")) == 5:
        return first[4], 1
    return max(SEPARATORS, key=first.count), 0


def _header(fields: list[str], separator: str, place: str) -> list[str]:
    columns = [field.strip() for field in fields]
    if missing := sorted(set(COLUMNS) - set(columns)):
        found = ", ".join(map(shown, columns))[:200]
        raise InputError(
            f"{place}: without the columns {', '.join(missing)}; found {found}, separated by {separator!r}"
        )
    if doubled := [name for name in COLUMNS if columns.count(name) > 1]:
        raise InputError(f"{place}: two columns are called {doubled[0]}")
    return columns


def _row(columns: list[str], fields: list[str], place: str) -> dict[str, str]:
    if len(fields) > len(columns) and not any(fields[len(columns) :]):
        fields = fields[: len(columns)]  # empty cells at the end, as Excel leaves them
    if len(fields) != len(columns):
        raise InputError(
            f"{place}: {len(fields)} fields, expected {len(columns)} (one that holds a separator needs quotes)"
        )
    return dict(zip(columns, fields, strict=True))


def _entry(row: dict[str, str], place: str) -> tuple[str, dict]:
    if not row["path"].strip():
        raise InputError(f"{place}: path is empty, expected the file of an image")
    if row["split"] not in SPLITS:
        raise InputError(f"{place}: split {shown(row['split'])!r} is not one of {', '.join(SPLITS)}")
    if row["label"] not in ("anomaly", "normal"):
        raise InputError(f"{place}: label {shown(row['label'])!r} is neither anomaly nor normal")
    entry: dict = {"case": case_id(row["path"]), "image": row["path"]}
    if row["label"] == "normal":
        entry["normal"] = True
    elif row["mask_path"]:
        entry["label"] = row["mask_path"]
    return SPLITS[row["split"]], entry | ({"kind": row["kind"]} if row["kind"] else {})
