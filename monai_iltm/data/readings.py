"""The files of a datalist, each read once: images as images, truth as truth."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import nibabel as nib

from monai_iltm.data.files import FileReport, inspect_file

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


def inspect_all(wanted: Iterable[Reading], folder: Path) -> dict[Reading, FileReport]:
    """Threads, because most of the time goes into decompression; quiet, because nibabel prints what it repairs."""
    ordered = sorted(wanted, key=lambda reading: reading.path)
    with nib.imageglobals.LoggingOutputSuppressor(), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return dict(zip(ordered, pool.map(lambda reading: _inspect(reading, folder), ordered), strict=True))


def grouped_notes(reports: dict[Reading, FileReport], folder: Path) -> list[str]:
    """What is worth knowing of files, a line a kind: how many, what, and the first."""
    return []


def _inspect(reading: Reading, folder: Path) -> FileReport:
    try:
        return inspect_file(folder / reading.path)
    except OSError as error:  # of paths that no system can have, such as one of 300 characters
        return FileReport([("missing file", error.strerror or "cannot be opened")])
