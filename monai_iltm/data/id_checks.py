"""Ids name files, so they must be file names; one id, one image (which may stand in two lists)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from monai_iltm.data.errors import shown
from monai_iltm.data.names import id_finding, same_file
from monai_iltm.data.problems import Problem, shown_path

Place = tuple[str, int]  # (list, index in it)


def id_problems(entries: Mapping[Place, dict], folder: Path) -> Iterator[tuple[Place, Problem]]:
    """Ids that cannot name files, that two images share, and that differ in capitals alone."""
    owners: dict[str, tuple[str, str, str]] = {}  # list, id and image of the first to have it
    for (name, index), entry in entries.items():
        case, image = entry.get("case", ""), str(entry.get("image", ""))
        file = shown_path(image, folder)
        if finding := id_finding(case):
            found = finding if case != "" else (finding[0], f"{name}[{index}]")
            yield (name, index), Problem(str(case), file, *found)
            continue
        key = same_file(case)
        if key not in owners:
            owners[key] = (name, case, image)
            continue
        split, other, first = owners[key]
        if other != case:
            yield (name, index), Problem(case, file, "ids that differ in capitals alone", f"also {shown(other)}")
        elif split == name or first != image:
            yield (name, index), Problem(case, file, "duplicate id", f"also {shown_path(first, folder)}")
