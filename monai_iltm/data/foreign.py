"""What may lie in a data folder without belonging to the data: folders of systems, of this package's own results."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from monai_iltm.data.images import stem

# Thumbnails, bins and snapshots of network storage and of operating systems; hidden folders are left out anyway.
SYSTEM_FOLDERS = {
    "@eadir",
    "@recycle",
    "@recently-snapshot",
    "@sharebin",
    "@tmp",
    "#recycle",
    "#snapshot",
    "~snapshot",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "found.000",
    "lost+found",
    "__macosx",
    "appledouble",
    "network trash folder",
    "temporary items",
    "thumbs",
    "thumbnails",
}
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
TRACKING_FOLDERS = {"mlruns", "mlartifacts"}
RUN_PARTS = re.compile(r"vqvae|bracket|bundle|round_\d+")
RESULT_ENDING = re.compile(r"_(surprise|healed|mask|reconstruction)$")


def is_system_folder(name: str) -> bool:
    """True for a folder that a system makes by itself, by its name."""
    return name.lower() in SYSTEM_FOLDERS


def is_system_file(name: str) -> bool:
    """True for a file that a system makes by itself, by its name."""
    return name.lower() in SYSTEM_FILES


def own_work(place: Path, folders: Collection[str], files: Collection[str]) -> str | None:
    """What this package, or a tool beside it, made of the folder `place`, by what lies in it; None for data."""
    if place.name.lower() in TRACKING_FOLDERS:
        return "records of MLflow"
    if is_run(folders, files):
        return "a run"
    if is_result(folders, files):
        return "results"
    if "configs" in folders and (place / "configs" / "metadata.json").is_file():
        return "a bundle"
    return "a Python environment" if "pyvenv.cfg" in files else None


def is_run(folders: Collection[str], files: Collection[str]) -> bool:
    """True where these lie in a run folder."""
    return "run.json" in files and ("datalist.json" in files or any(map(RUN_PARTS.fullmatch, folders)))


def is_result(folders: Collection[str], files: Collection[str]) -> bool:
    """True where these lie in a folder of scored cases."""
    return "source.json" in files and ("scores.csv" in files or not {"cases", "claims"}.isdisjoint(folders))


def own_parts(folders: Collection[str], files: Collection[str]) -> dict[str, str]:
    """{name: what it is} of a run's folders and of results that lie among the data themselves."""
    parts: dict[str, str] = {}
    if is_run(folders, files):
        parts |= {name: "parts of a run" for name in folders if RUN_PARTS.fullmatch(name)}
    if is_result(folders, files):
        cases = {name: RESULT_ENDING.sub("", stem(name)) for name in files}
        scored = {case for name, case in cases.items() if stem(name) in (f"{case}_surprise", f"{case}_reconstruction")}
        parts |= {name: "results" for name, case in cases.items() if case != stem(name) and case in scored}
    return parts
