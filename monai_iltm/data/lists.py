"""datalist.json, as this package or a person wrote it: every list and entry looked at before anything rests on it."""

from __future__ import annotations

import json
import math
from pathlib import PurePosixPath
from typing import Any

from monai.config import PathLike

from monai_iltm.data.documents import read_json
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.images import IMAGE_SUFFIXES, suffix
from monai_iltm.data.names import case_id

SPLITS = ("training", "testing", "testing_apart", "clean")
ALIASES = {"train": "training", "test": "testing"}  # as the Decathlon's lists are called
FILE_KEYS = ("image", "label", "mask", "lock_normal", "lock_anomalous")
VALUE_KEYS = ("label_threshold", "label_ignore")
OPTIONAL = (*FILE_KEYS[1:], *VALUE_KEYS, "kind", "normal")  # null and "" stand for nothing there
EXAMPLE = '{"case": "p01", "image": "p01.png"}'
MAX_PATH = 4096  # Linux's longest path, in characters


def read_lists(path: PathLike) -> dict[str, Any]:
    """The content of a datalist, its lists as lists of entries {"case", "image", ...}.

    An entry without "case", or a bare path, is named by its file; a number as id is taken as its text. Lists called
    train and test are training and testing. What is no list of entries is left as it is.
    Raises InputError, with file, list and index, for all else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f'{shown(path)}: expected an object with lists such as "training", found {_kind(content)}')
    content = {_split(name, content): part for name, part in content.items()}
    for name in SPLITS:
        if name in content and not isinstance(content[name], list):
            raise InputError(f'{shown(path)}: "{name}" must be a list of entries, found {_kind(content[name])}')
    if not any(isinstance(part, list) for part in content.values()):
        raise InputError(f'{shown(path)}: expected an object with lists such as "training" and "testing"')
    return {name: _entries(part, f"{shown(path)} {shown(name)}") for name, part in content.items()}


def _split(name: str, content: dict[str, Any]) -> str:
    """The name of a list; an alias stands for it where nothing bears the name itself."""
    alias = ALIASES.get(name, name)
    return name if alias in content else alias


def _entries(part: Any, place: str) -> Any:
    if not isinstance(part, list):
        return part
    return [_entry(item, f"{place}[{index}]") for index, item in enumerate(part)]


def _entry(item: Any, place: str) -> dict[str, Any]:
    if isinstance(item, str) and suffix(item) in IMAGE_SUFFIXES:
        item = {"image": item}
    if not isinstance(item, dict):
        raise InputError(f"{place}: expected an object such as {EXAMPLE}, or the path of an image, found {_kind(item)}")
    entry = {key: value for key, value in item.items() if not (key in OPTIONAL and value in (None, ""))}
    _require_kinds(entry, place)
    for key in ("case", "kind"):
        if key in entry:
            entry[key] = _text(entry[key], f'{place}: "{key}"')
    unnamed = "image" in entry and "case" not in entry
    return {"case": case_id(PurePosixPath(entry["image"]).as_posix()), **entry} if unnamed else entry


def _require_kinds(entry: dict[str, Any], place: str) -> None:
    for key in FILE_KEYS:
        if key in entry:
            _require_path(entry[key], f'{place}: "{key}"')
    if not isinstance(entry.get("normal", True), bool):
        raise InputError(f'{place}: "normal" must be true or false, found {_kind(entry["normal"])}')
    for key in VALUE_KEYS:
        if isinstance(entry.get(key, 0), bool) or not isinstance(entry.get(key, 0), (int, float)):
            raise InputError(f'{place}: "{key}" must be a number, found {_kind(entry[key])}')


def _require_path(value: Any, place: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{place} must be the path of one file, found {_kind(value)}")
    if not value.strip():
        raise InputError(f"{place} is empty, expected the path of a file")
    if len(value) > MAX_PATH:
        raise InputError(f"{place} has {len(value)} characters, no path is longer than {MAX_PATH}")


def _text(value: Any, place: str) -> str:
    """A name as text; a number is what a person may well write for one."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{place} must be a name, found {_kind(value)}")
    return str(value)


def _kind(value: Any) -> str:
    """A value of JSON in words, short."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return json.dumps(value)[:60]
