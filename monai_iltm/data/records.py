"""Small records of a run, held to what they must tell before anybody rests on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_iltm.data.documents import read_csv, read_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.one_step import PathLike

Kind = type | tuple[type, ...]


def read_record(path: PathLike, kinds: Mapping[str, Kind], remedy: str) -> dict[str, Any]:
    """The object in a JSON file, with these keys, each of its kind; others are as they are.

    Raises InputError, in one line that ends with the remedy, for a file that is missing, damaged or another.
    """
    _require_file(path, remedy)
    try:
        content = read_json(path)
    except (InputError, OSError):
        raise InputError(f"{path}: damaged, not a JSON file; {remedy}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged, no object but {type(content).__name__}; {remedy}")
    for key, kind in kinds.items():
        if key not in content or not isinstance(content[key], kind) or isinstance(content[key], bool):
            raise InputError(f"{path}: damaged, {key} is {content.get(key, 'missing')!r}; {remedy}")
    return content


def read_cases(path: PathLike, splits: Sequence[str], remedy: str) -> dict[str, Any]:
    """A datalist that a run has written: in each of these splits that is there, a list of entries with a case.

    Raises InputError, in one line that ends with the remedy, for a file that is missing, damaged or another.
    """
    content = read_record(path, {}, remedy)
    for split in splits:
        entries = content.get(split) or []
        if not isinstance(entries, list) or not all(
            isinstance(e, dict) and isinstance(e.get("case"), str) for e in entries
        ):
            raise InputError(f"{path}: damaged, {split} is no list of cases; {remedy}")
    return content


def read_rows(path: PathLike, numbers: Mapping[str, type], remedy: str) -> list[dict[str, str]]:
    """The rows of a CSV file, as text; these columns hold numbers of a type, in every row.

    Raises InputError, in one line that ends with the remedy, for a file that is missing, damaged or another.
    """
    _require_file(path, remedy)
    try:
        rows = read_csv(path)
    except (InputError, OSError):
        raise InputError(f"{path}: damaged, not a CSV file; {remedy}") from None
    for line, row in enumerate(rows, 2):
        for column, kind in numbers.items():
            try:
                kind(row[column])
            except (KeyError, TypeError, ValueError):
                raise InputError(f"{path}: damaged, line {line} has no {column}; {remedy}") from None
    return rows


def require_same(folder: PathLike, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise InputError that names every difference of two run records in their settings and cases."""
    told = _differences(there["settings"], wanted["settings"], "setting")
    told += _differences(there["cases"], wanted["cases"], "case", show=False)
    if told:
        raise InputError(
            f"{folder} holds a run with other settings or data: {'; '.join(told)}. "
            "Choose another output folder, or the same settings."
        )


def _differences(there: Mapping, wanted: Mapping, noun: str, show: bool = True, most: int = 8) -> list[str]:
    keys = [key for key in sorted({*there, *wanted}) if there.get(key) != wanted.get(key)]
    if show:
        told = [f"{noun} {key} was {there.get(key)!r}, now {wanted.get(key)!r}" for key in keys]
    else:
        what = {(True, True): "has changed", (True, False): "is gone", (False, True): "is new"}
        told = [f"{noun} {key} {what[key in there, key in wanted]}" for key in keys]
    return told if len(told) <= most else [*told[:most], f"and {len(told) - most} more"]


def _require_file(path: PathLike, remedy: str) -> None:
    if not Path(path).is_file():
        raise InputError(f"{path}: file not found; {remedy}")
