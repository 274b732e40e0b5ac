"""The files of a datalist, each read once: images as images, truth as truth."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import nibabel as nib

from monai_iltm.data.errors import shown
from monai_iltm.data.files import FileReport, inspect_file, inspect_mask
from monai_iltm.data.problems import shown_path

TRUTH_KEYS = ("label", "mask", "lock_normal", "lock_anomalous")


class Reading(NamedTuple):
    """A file and how it is read; threshold and ignore: values of a label that is not binary, else None."""

    path: str
    is_truth: bool = False
    threshold: float | None = None
    ignore: float | None = None


def readings(entry: dict) -> dict[str, Reading]:
    """{key: reading} of an entry's image and truth."""
    found = {"image": Reading(str(entry["image"]))} if entry.get("image") else {}
    truths = {key: Reading(str(entry[key]), is_truth=True) for key in TRUTH_KEYS if entry.get(key)}
    if label := entry.get("label"):
        truths["label"] = Reading(str(label), True, entry.get("label_threshold"), entry.get("label_ignore"))
    return found | truths


def inspect_all(wanted: Iterable[Reading], folder: Path, most_bytes: int) -> dict[Reading, FileReport]:
    """Threads, because most of the time goes into decompression; quiet, because nibabel prints what it repairs."""
    ordered = sorted(wanted, key=lambda reading: reading.path)
    with nib.imageglobals.LoggingOutputSuppressor(), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        reports = pool.map(lambda reading: _inspect(reading, folder, most_bytes), ordered)
        return dict(zip(ordered, reports, strict=True))


def grouped_notes(reports: Mapping[Reading, FileReport], folder: Path) -> list[str]:
    """What a person should hear of files that can be used, a line a kind: how many, what, and the first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for reading, report in reports.items():
        for note in report.notes:
            groups[note].append(shown(shown_path(reading.path, folder)))
    return [
        f"{len(files)} file{'s' if len(files) > 1 else ''}: {note}{', the first' if len(files) > 1 else ','} {files[0]}"
        for note, files in groups.items()
    ]


def _inspect(reading: Reading, folder: Path, most_bytes: int) -> FileReport:
    path = folder / reading.path
    try:
        if reading.is_truth:
            return inspect_mask(path, reading.threshold, reading.ignore, most_bytes)
        return inspect_file(path, most_bytes)
    except OSError as error:  # of paths that no system can have, such as one of 300 characters
        return FileReport([("missing file", error.strerror or "cannot be opened")])
