"""Files that nothing here reads: their kinds, and what a person can do about them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from monai_iltm.data.images import suffix

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
MAGIC, MAGIC_AT = b"DICM", 128  # DICOM PS3.10, 7.1: a preamble of 128 bytes, then the prefix
LOOKS = 64  # files of a kind that are opened in search of the prefix
CONVERTERS = {"DICOM": "convert them to NIfTI first, for instance with dcm2niix"}
CONVERT = "convert them to NIfTI, PNG or TIFF first"


def unread_kinds(root: Path, paths: Iterable[str]) -> dict[str, int]:
    """How many of these files are of which kind, sorted: "DICOM", or the suffix, or "no suffix".

    Names of numbers with dots, as DICOM's own, have no suffix. DICOM is known by its suffix or, where that is missing
    or says nothing, by its prefix.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        end = suffix(path)
        groups["no suffix" if re.fullmatch(r"(\.\d+)?", end) else end].append(path)
    counts: dict[str, int] = defaultdict(int)
    for end, members in groups.items():
        counts["DICOM" if end in DICOM_SUFFIXES or _any_dicom(root, members) else end] += len(members)
    return dict(sorted(counts.items()))


def unread_words(kinds: dict[str, int]) -> str:
    """The kinds and what can be done: "3 DICOM, 1 .mha: convert them ..."."""
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{counts}: {next((CONVERTERS[kind] for kind in kinds if kind in CONVERTERS), CONVERT)}"


def _any_dicom(root: Path, paths: list[str]) -> bool:
    files = (root / path for path in paths[:LOOKS])
    return any(_is_dicom(path) for path in files if path.is_file())  # a pipe would wait for ever


def _is_dicom(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC
    except OSError:
        return False
