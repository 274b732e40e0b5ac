"""Before the first stage: the data at the door, the run folder opened or refused."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from monai.config import PathLike

from monai_iltm import __version__
from monai_iltm.data.cases import read_datalist, with_truth_rule
from monai_iltm.data.checks import require_sound
from monai_iltm.data.contamination import sha256
from monai_iltm.data.documents import write_csv, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.leftovers import door_notes
from monai_iltm.data.records import read_cases, read_record, require_same
from monai_iltm.data.truth import TRUTH_RULE
from monai_iltm.distributed import barrier, is_main
from monai_iltm.engines.door import require_writable
from monai_iltm.engines.ids import parts
from monai_iltm.store import RunFolder

SPLITS = ("training", "testing", "testing_apart")  # what the results rest on
PACKAGES = ("monai", "torch", "pytorch-ignite", "numpy", "nibabel")
# By the last part of their id. These may differ when a run is taken up again: none of them changes what a finished
# round holds.
FREE = (
    "dataset_dir",
    *("max_read_gib", "expected_range", "skip_bad", "allow_outside", "cache_rate", "keep_gib"),
    *("tolerance", "settled_overlap"),
    "side_by_side",
)


def begin_run(
    output_dir: PathLike,
    dataset_dir: PathLike,
    settings: Mapping[str, Any],
    layout: Callable[[PathLike], dict] = read_datalist,
    skip_bad: bool = False,
    limits: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Check all data, then begin the run or go on with it.

    Args:
        settings: what decides the result (``FREE`` ones aside), for ``run.json``.
        layout: folder -> datalist, one of ``data.layouts``.
        skip_bad: leave cases with problems out, and list them in skipped.csv; else all problems are one error.
        limits: what every image is held to, see ``image_limits``.

    Raises:
        InputError: bad data; a folder that cannot be written; a run there with other settings or data.
    """
    run = RunFolder(Path(output_dir))
    if is_main():
        require_writable(output_dir)
        datalist = with_truth_rule(layout(dataset_dir), _truth_rule(settings))
        _require_no_masks(datalist)
        sound, problems, notes = require_sound(datalist, dataset_dir, skip_bad, **(limits or {}))
        if problems:
            rows = [{"case": p.case, "file": p.file, "problem": p.what, "found": p.found} for p in problems]
            write_csv(run.path / "skipped.csv", rows)
            print(f"{len({p.case for p in problems})} cases are skipped, see skipped.csv")
        for note in [*notes, *door_notes(Path(dataset_dir), datalist)]:
            print(note)
        kept = {name: value for name, value in settings.items() if parts(name)[-1] not in FREE}
        inputs = _hashes(sound, Path(dataset_dir))
        open_run(run.path, kept, inputs, str(Path(dataset_dir).resolve()), **_about(settings))
        _require_same_lists(run, sound)
        write_json(run.datalist, sound)  # anew each time: labels and locked regions may have come since
    barrier()
    return run


def open_run(
    folder: PathLike, settings: Mapping[str, Any], inputs: Mapping[str, str], dataset_dir: str, **about: Any
) -> RunFolder:
    """Begin a run, or go on with one whose settings and inputs are the same.

    settings: all that decides the result. inputs: {case id: sha256 of its image}.
    dataset_dir: where they lie now; it may differ when a run is taken up again. about: what is
    noted beside them at the beginning (seed, versions, start). Raises InputError that names every difference.
    """
    run = RunFolder(Path(folder))
    wanted = {"settings": settings, "cases": inputs, "dataset_dir": dataset_dir}
    wanted = json.loads(json.dumps(wanted, default=str))  # a setting may be a module: its description stands for it
    there = {**wanted, **about}
    if run.record.is_file():
        there = read_record(run.record, {"settings": dict, "cases": dict}, "take another output folder")
    require_same(run.path, there, wanted)
    write_json(run.record, {**there, "dataset_dir": wanted["dataset_dir"]})
    return run


def _require_no_masks(datalist: dict[str, Any]) -> None:
    """Masks are the rounds' own; what is known before goes by another name, and holds in all rounds."""
    for entry in datalist.get("training") or []:
        if entry.get("mask"):
            raise InputError(
                f"{entry['case']} has a mask in the datalist, {entry['mask']}: the rounds make their own; a region "
                "that is known to be anomalous, or normal, goes by the key lock_anomalous, or lock_normal"
            )


def _require_same_lists(run: RunFolder, datalist: dict[str, Any]) -> None:
    """A case must not change sides within a run: what a round was trained on is no test for it."""
    before = read_cases(run.datalist, SPLITS, "remove it") if run.datalist.is_file() else datalist
    for part in SPLITS:
        there, here = ({entry["case"] for entry in lists.get(part) or []} for lists in (before, datalist))
        if there != here:
            raise InputError(
                f"{run.path} holds a run with another {part} list, {min(there ^ here)} among others: choose another "
                "output folder"
            )


def _hashes(datalist: dict[str, Any], root: Path) -> dict[str, str]:
    """sha256 of every training and test image, by case id."""
    entries = [entry for part in SPLITS for entry in datalist.get(part) or []]
    return {entry["case"]: sha256(root / entry["image"]) for entry in entries}


def _truth_rule(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: settings.get(f"cases::{name}", settings.get(name)) for name in TRUTH_RULE}


def _about(settings: Mapping[str, Any]) -> dict[str, Any]:
    own = {"monai_iltm": __version__, "python": platform.python_version()}  # a checkout need not be installed
    versions = own | {name: version(name) for name in PACKAGES}
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"seed": settings.get("seed"), "versions": versions, "started": started}
