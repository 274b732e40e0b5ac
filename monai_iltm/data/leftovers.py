"""What of a folder is in no list, and why: truth without its image, files that nothing reads, what was left out."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from pathlib import Path

from monai_iltm.data.errors import InputError, some_names
from monai_iltm.data.layouts import named_cases
from monai_iltm.data.names import is_shortened
from monai_iltm.data.pairs import Unpaired, is_truth, truth_folder, unpaired
from monai_iltm.data.problems import Problem
from monai_iltm.data.tree import Survey, survey
from monai_iltm.data.unread import unread_kinds, unread_words

STATED = ("manifest.csv", "datalist.json")  # files that state the pairs: names mean nothing beside them
FILE_KEYS = ("image", "label", "lock_normal", "lock_anomalous")


@dataclass(frozen=True)
class Leftovers:
    """problems: truth that belongs to no image, or to several. notes: all else, a line each."""

    problems: list[Problem]
    notes: list[str]


def leftovers(root: Path, datalist: dict) -> Leftovers:
    """What a datalist leaves out of its folder, by the names of files alone."""
    files = survey(root)
    by_names = _by_names(root, files)
    problems, organs = _strays(root, files, datalist, by_names)
    notes = [f"left out, {what}: {some_names(names)}" for what, names in _by_value(files.left_out).items()]
    if files.others:
        notes.append(f"{_many(files.others, 'file')} not read, {unread_words(unread_kinds(root, files.others))}")
    if organs:
        notes.append(
            f"{_many(organs, 'mask')} of other names than the images, taken for no truth: {some_names(organs)}"
        )
    return Leftovers(problems, [*notes, *_unlisted(root, files, datalist, by_names), *_told_of_cases(datalist)])


def door_notes(root: Path, datalist: dict) -> list[str]:
    """The same for a run, which masks without an image do not stop: as a line."""
    left = leftovers(root, datalist)
    strays = [problem.file for problem in left.problems if problem.file]
    told = [f"{_many(strays, 'mask')} without an image: {some_names(strays)}"] if strays else []
    return [*left.notes, *told, *(problem.found for problem in left.problems if not problem.file)]


def _by_names(root: Path, files: Survey) -> dict | None:
    """What names alone make of a folder; None where they cannot, as where a list was given instead."""
    try:
        return named_cases(root, files)
    except InputError:
        return None


def _strays(root: Path, files: Survey, datalist: dict, by_names: dict | None) -> tuple[list[Problem], list[str]]:
    """Truth that no image claims; where another layout than names made the list, in folders of truth alone."""
    if _stated(root):
        return [], []
    used, is_by_names = _files(root, datalist), datalist == by_names
    try:
        left = unpaired(files.images)
    except InputError as error:
        if not is_by_names:
            return [Problem("", "", "ambiguous masks", str(error))], []
        left = Unpaired([path for path in files.images if is_truth(path)], [])  # such as the Decathlon's two parts
    masks = [path for path in left.masks if path not in used and (is_by_names or truth_folder(path))]
    problems = [Problem("", path, "mask without its image", "no image of this name") for path in masks]
    return problems, [path for path in left.organs if path not in used]


def _unlisted(root: Path, files: Survey, datalist: dict, by_names: dict | None) -> list[str]:
    """A line on the files that a list, or the names of folders, leave out."""
    stated, used = _stated(root), _files(root, datalist)
    if stated and by_names and "protocol" not in datalist and (new := sorted(_files(root, by_names) - used)):
        mend = ": delete it, or --renew True makes it anew" if stated == "datalist.json" else ""
        return [f"{_many(new, 'file')} of the folder not in {stated}, {some_names(new)}{mend}"]
    if not stated and datalist == by_names:
        beside = [path for path in files.images if path not in used and not is_truth(path)]
        if beside:
            return [f"{_many(beside, 'image')} left out, neither in train* nor in test*: {some_names(beside)}"]
    return []


def _stated(root: Path) -> str | None:
    return next((name for name in STATED if (root / name).is_file()), None)


def _told_of_cases(datalist: dict) -> Iterator[str]:
    cases = [(str(entry.get("case", "")), str(entry.get("image", ""))) for entry in _entries(datalist)]
    short = [case for case, image in cases if is_shortened(case, image)]
    if short:
        yield f"{_many(short, 'id')} shortened, of paths too long for names of files: {some_names(short)}"
    tests = [entry for entry in datalist.get("testing") or [] if not entry.get("normal")]
    if tests and not any(entry.get("label") for entry in tests):
        images = some_names(str(entry.get("image")) for entry in tests)
        yield f"no test image has a mask of its truth ({images}): figures need one"


def _entries(datalist: dict) -> list[dict]:
    return [entry for part in datalist.values() if isinstance(part, list) for entry in part]


def _files(root: Path, datalist: dict) -> set[str]:
    """Every file that a datalist names, relative to the folder."""
    paths = (str(entry[key]) for entry in _entries(datalist) for key in FILE_KEYS if entry.get(key))
    return {_relative(root, path) for path in paths}


def _relative(root: Path, path: str) -> str:
    is_plain = not (path.startswith(("/", ".")) or "/." in path or "\\" in path or "//" in path)
    return path if is_plain else os.path.relpath(root / path, root).replace(os.sep, "/")


def _by_value(names: dict[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name, what in names.items():
        groups[what].append(name)
    return groups


def _many(members: Sized, noun: str) -> str:
    return f"{len(members)} {noun}{'s' if len(members) != 1 else ''}"
