"""Before the first stage: the data at the door, the run folder opened or refused."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from monai.config import PathLike

from monai_iltm.data.cases import read_datalist
from monai_iltm.data.checks import require_sound
from monai_iltm.data.contamination import sha256
from monai_iltm.data.documents import write_csv, write_json
from monai_iltm.engines.distributed import barrier, is_main
from monai_iltm.engines.door import require_writable
from monai_iltm.store import RunFolder, open_run

PACKAGES = ("monai_iltm", "monai", "torch", "pytorch-ignite", "numpy", "nibabel")
# These may differ when a run is taken up again: none of them changes what a finished round holds.
FREE = ("dataset_dir", "max_rounds", "tolerance", "skip_bad", "bracket", "tracking", "cache_rate", "false_alarm")


def begin_run(
    output_dir: PathLike,
    dataset_dir: PathLike,
    settings: Mapping[str, Any],
    layout: Callable[[PathLike], dict] = read_datalist,
    skip_bad: bool = False,
    value_range: Sequence[float] | None = None,
    tolerance: float = 0.01,
) -> RunFolder:
    """Check all data, then begin the run or go on with it.

    Args:
        settings: what decides the result (``FREE`` ones aside), for ``run.json``.
        layout: folder -> datalist, one of ``data.layouts``.
        skip_bad: leave cases with problems out, and list them in skipped.csv; else all problems are one error.
        value_range: intensities expected, with ``tolerance`` of slack; None: any.

    Raises:
        InputError: bad data; a folder that cannot be written; a run there with other settings or data.
    """
    run = RunFolder(Path(output_dir))
    if is_main():
        require_writable(output_dir)
        datalist = layout(dataset_dir)
        limits = {"value_range": value_range, "tolerance": tolerance}
        sound, problems = require_sound(datalist, dataset_dir, skip_bad, **limits)
        if problems:
            rows = [{"case": p.case, "file": p.file, "problem": p.what, "found": p.found} for p in problems]
            write_csv(run.path / "skipped.csv", rows)
            print(f"{len({p.case for p in problems})} cases are skipped, see skipped.csv")
        kept = {name: value for name, value in settings.items() if name not in FREE}
        inputs = _hashes(sound, Path(dataset_dir))
        open_run(run.path, kept, inputs, str(Path(dataset_dir).resolve()), **_about(settings))
        if not run.datalist.is_file():
            write_json(run.datalist, sound)
    barrier()
    return run


def _hashes(datalist: dict[str, Any], root: Path) -> dict[str, str]:
    """sha256 of every training and test image, by case id."""
    entries = [entry for part in ("training", "testing") for entry in datalist.get(part) or []]
    return {entry["case"]: sha256(root / entry["image"]) for entry in entries}


def _about(settings: Mapping[str, Any]) -> dict[str, Any]:
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"seed": settings.get("seed"), "versions": versions, "started": started}
