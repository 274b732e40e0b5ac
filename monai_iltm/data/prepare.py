"""A folder at the door: its datalist, and all that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai.config import PathLike

from monai_iltm.data.cases import read_datalist, with_truth_rule
from monai_iltm.data.checks import examine
from monai_iltm.data.claims import GIB, MOST_BYTES
from monai_iltm.data.leftovers import leftovers
from monai_iltm.data.problems import Problem
from monai_iltm.data.tree import require_folder


@dataclass(frozen=True)
class Prepared:
    """A folder's datalist, all that is wrong with it, and what else is worth knowing, a line each."""

    datalist: dict
    problems: list[Problem]
    notes: list[str]


def prepare(
    folder: PathLike,
    layout: Callable[[PathLike], dict] | None = None,
    truth: Mapping[str, Any] | None = None,
    **limits: Any,
) -> Prepared:
    """The datalist of a folder with all its problems (`check_cases`, masks without an image) and notes (`leftovers`).

    layout: folder -> datalist, one of `monai_iltm.data.layouts`; None takes the folder's own, as
    `read_datalist` does. truth: how labels are read, see `with_truth_rule`. limits: the fields of `Limits`. Nothing is
    written.
    Raises InputError where the folder itself, its manifest or its datalist cannot be read.
    """
    root = require_folder(folder)
    datalist = with_truth_rule((layout or read_datalist)(root), truth or {})
    examined = examine(datalist, root, **limits)
    left = leftovers(root, datalist)
    return Prepared(datalist, [*examined.table(), *left.problems], [*examined.notes, *left.notes])


def image_limits(
    image_size: Sequence[int],
    factor: int,
    channels: int | None = None,
    expected_range: Sequence[float] | None = None,
    spacing: Sequence[float] | None = None,
    resize: bool = False,
    intensity_range: Any = None,
    orientation: str | None = None,
    max_read_gib: float = MOST_BYTES / GIB,
    allow_outside: bool = False,
) -> dict[str, Any]:
    """The fields of `Limits` that a model's grid sets: at least one token an axis, and not more than it holds.

    factor: voxels a token and axis. channels: of an image, expected_range: of its intensities; None: any. Images that
    are resized may be of any size, and of any spacing. intensity_range: what the model takes for black and white.
    orientation: to which volumes are turned before they are measured. max_read_gib: memory that reading one file may
    take. allow_outside: files may lie outside the data folder.
    """
    return {
        "min_size": tuple(factor for _ in image_size),
        "max_size": None if resize else tuple(image_size),
        "spacing": spacing,
        "orientation": orientation,
        "channels": channels,
        "value_range": expected_range,
        "intensity_range": intensity_range,
        "outside": allow_outside,
        "most_bytes": int(max_read_gib * GIB),
    }
