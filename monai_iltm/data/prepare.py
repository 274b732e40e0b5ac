"""A folder at the door: its datalist, and all that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from monai.config import PathLike

from monai_iltm.data.cases import read_datalist
from monai_iltm.data.checks import Problem, check_cases
from monai_iltm.data.errors import InputError
from monai_iltm.data.tree import image_files, masks_without_image, require_folder

STATED_PAIRS = ("manifest.csv", "datalist.json")


def prepare(
    folder: PathLike,
    layout: Callable[[PathLike], dict] | None = None,
    **limits: Any,
) -> tuple[dict, list[Problem]]:
    """The datalist of a folder and all its problems (`check_cases`), with masks that have no image.

    layout: folder -> datalist, one of `monai_iltm.data.layouts`; None takes the folder's own, as
    `read_datalist` does. limits: the fields of `Limits`. Nothing is written.
    Raises InputError where the folder itself, its manifest or its datalist cannot be read.
    """
    root = require_folder(folder)
    datalist = (layout or read_datalist)(root)
    problems = check_cases(datalist, root, **limits)
    return datalist, [*problems, *_stray_masks(root, datalist)]


def image_limits(
    image_size: Sequence[int],
    factor: int,
    channels: int | None = None,
    expected_range: tuple[float, float] | None = None,
    spacing: Sequence[float] | None = None,
    resize: bool = False,
) -> dict[str, Any]:
    """The fields of `Limits` that a model's grid sets: at least one token an axis, and not more than it holds.

    factor: voxels a token and axis. channels: of an image, expected_range: of its intensities; None: any. Images that
    are resized may be of any size, and of any spacing.
    """
    smallest = tuple(factor for _ in image_size)
    room = None if resize else tuple(image_size)
    held = {"min_size": smallest, "max_size": room, "spacing": spacing}
    return held | {"channels": channels, "value_range": expected_range}


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
