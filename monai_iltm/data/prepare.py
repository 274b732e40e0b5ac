"""A folder at the door: its datalist, and all that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from monai.config import PathLike

from monai_iltm.data.checks import Problem, check_cases
from monai_iltm.data.errors import InputError
from monai_iltm.data.layouts import folder_cases, manifest_cases
from monai_iltm.data.tree import image_files, masks_without_image, require_folder

STATED_PAIRS = ("manifest.csv", "datalist.json")


def prepare(
    folder: PathLike,
    layout: Callable[[PathLike], dict] | None = None,
    min_size: int | Sequence[int] | None = None,
    value_range: tuple[float, float] | None = None,
    tolerance: float = 0.01,
    fewest: int = 2,
) -> tuple[dict, list[Problem]]:
    """The datalist of a folder and all its problems (`check_cases`), with masks that have no image.

    layout: folder -> datalist, one of `monai_iltm.data.layouts`; None takes `manifest_cases` where a manifest.csv lies
    in the folder, else `folder_cases`. The other arguments are the fields of `Limits`. Nothing is written.
    Raises InputError where the folder itself, its manifest or its datalist cannot be read.
    """
    root = require_folder(folder)
    if layout is None:
        layout = manifest_cases if (root / "manifest.csv").is_file() else folder_cases
    datalist = layout(root)
    problems = check_cases(
        datalist, root, min_size=min_size, value_range=value_range, tolerance=tolerance, fewest=fewest
    )
    return datalist, [*problems, *_stray_masks(root, datalist)]


def _stray_masks(root: Path, datalist: dict) -> list[Problem]:
    """Masks whose image is missing; where a manifest or datalist states the pairs, names mean nothing."""
    if any((root / name).is_file() for name in STATED_PAIRS):
        return []
    used = {entry.get("label") for part in datalist.values() if isinstance(part, list) for entry in part}
    try:
        stray = [path for path in masks_without_image(image_files(root)) if path not in used]
    except InputError as error:
        return [Problem("", "", "ambiguous masks", str(error))]
    return [Problem("", path, "mask without its image", "no image of this name") for path in stray]
