"""One case as arrays on one grid, and the planes in which a person looks at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import orientations

from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image
from monai_iltm.data.truth import read_mask
from monai_iltm.report.story import Story
from monai_iltm.store import ResultFolder, RoundFolder

Plane = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class CaseArrays:
    """Arrays of one case: `image` [*S] or [*S, 3], all others [*S] (healed as image); None where a file is missing.

    Volumes are turned to RAS+ axes. `healed` is in the image's own units. `spacing` has one entry an axis of S.
    """

    case: str
    image: np.ndarray
    healed: np.ndarray | None
    surprise: np.ndarray | None
    mask: np.ndarray | None
    truth: np.ndarray | None
    spacing: tuple[float, ...]
    medical: bool


@dataclass(frozen=True)
class View:
    """A plane through a case: `take` makes it [H, W] or [H, W, 3]; `aspect` is height / width as it is shown.

    `cross` is where the maximum lies, as shares (x, y) of width and height; None for projections and pictures.
    """

    name: str
    take: Plane
    aspect: float
    cross: tuple[float, float] | None = None
    projected: bool = False


def load_case(story: Story, entry: dict[str, Any], folder: RoundFolder, training: bool = False) -> CaseArrays | None:
    """A case with what a round says of it; None where its image cannot be read."""
    case, results = entry["case"], ResultFolder(folder.maps if training else folder.test)
    image, affine = read_array(story.locate(entry["image"]))
    if image is None:
        return None
    space = image.ndim - (1 if affine is None and image.ndim == 3 else 0)
    files = {
        "surprise": results.find(case, "surprise"),
        "mask": folder.mask(case) if training else results.find(case, "mask"),
        "healed": results.find(case, "healed"),
    }
    parts = {name: read_array(path)[0] if path else None for name, path in files.items()}
    parts["truth"] = _truth(story, entry, image.shape[:space])
    parts = {name: a if a is not None and a.shape[:space] == image.shape[:space] else None for name, a in parts.items()}
    parts["mask"] = _binary(parts["mask"], space)
    if parts["healed"] is not None:
        parts["healed"] = match_units(image, parts["healed"])
    if space == 3 and affine is not None:
        turn = orientations.io_orientation(affine)
        image = orientations.apply_orientation(image, turn)
        parts = {name: None if a is None else orientations.apply_orientation(a, turn) for name, a in parts.items()}
    return CaseArrays(case=case, image=image, spacing=_spacing(affine, space), medical=affine is not None, **parts)


def match_units(image: np.ndarray, healed: np.ndarray) -> np.ndarray:
    """The healed mean in the image's units: the line that fits best where the two agree.

    Healed means are in [0, 1] after a scaling that the report does not know. Two fits: all pixels, then those that
    the first explained best, so that anomalies do not bend the line.
    """
    if image.shape != healed.shape:
        healed = np.broadcast_to(healed[..., None] if healed.ndim < image.ndim else healed[..., :1], image.shape)
    x, y = healed.ravel().astype(np.float64), image.ravel().astype(np.float64)
    keep = np.isfinite(x) & np.isfinite(y)
    slope, offset = 0.0, 0.0
    for _ in range(2):
        if keep.sum() < 2 or x[keep].std() < 1e-6:
            return healed.astype(np.float32) * float(np.nanmax(image) or 1)
        slope, offset = np.polyfit(x[keep], y[keep], 1)
        error = np.abs(y - (slope * x + offset))
        keep &= error <= np.quantile(error[keep], 0.9)
    if slope <= 0:
        return healed.astype(np.float32) * float(np.nanmax(image) or 1)
    return (healed * slope + offset).astype(np.float32)


def views(arrays: CaseArrays) -> list[View]:
    """Pictures: the picture. Volumes: three orthogonal planes through the highest surprise, and a projection."""
    size = arrays.image.shape[: len(arrays.spacing)]
    if len(size) == 2:
        if not arrays.medical:
            return [View("", lambda plane: plane, size[0] / size[1])]
        extent = [n * s for n, s in zip(size, arrays.spacing, strict=True)]
        return [View("", _upright, extent[1] / extent[0])]
    return [*_orthogonal(arrays, _peak(arrays, size)), projection(arrays)]


def projection(arrays: CaseArrays) -> View:
    """Maximum along the front-back axis, seen from the front."""
    width, _, height = (n * s for n, s in zip(arrays.image.shape, arrays.spacing, strict=True))
    return View("Maximum projection", lambda volume: _upright(volume.max(axis=1)[::-1]), height / width, projected=True)


def _orthogonal(arrays: CaseArrays, peak: tuple[int, ...]) -> list[View]:
    """Patient's right on the left, front on top (axial) or on the left (sagittal)."""
    (i, j, k), size = peak, arrays.image.shape
    x, y, z = (n * s for n, s in zip(size, arrays.spacing, strict=True))
    at = [(index + 0.5) / n for index, n in zip(peak, size, strict=True)]
    return [
        View("Axial", lambda v: _upright(v[::-1, :, k]), y / x, (1 - at[0], 1 - at[1])),
        View("Coronal", lambda v: _upright(v[::-1, j, :]), z / x, (1 - at[0], 1 - at[2])),
        View("Sagittal", lambda v: _upright(v[i, ::-1, :]), z / y, (1 - at[1], 1 - at[2])),
    ]


def _peak(arrays: CaseArrays, size: tuple[int, ...]) -> tuple[int, ...]:
    if arrays.surprise is None:
        return tuple(n // 2 for n in size)
    return tuple(int(i) for i in np.unravel_index(np.nanargmax(arrays.surprise), size))


def _upright(plane: np.ndarray) -> np.ndarray:
    """[x, y, ...] with y upwards -> [row, column, ...] with rows downwards."""
    return np.swapaxes(plane, 0, 1)[::-1]


def _spacing(affine: np.ndarray | None, space: int) -> tuple[float, ...]:
    if affine is None:
        return (1.0,) * space
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if space == 3:
        lengths = lengths[np.argsort(orientations.io_orientation(affine)[:, 0])]
    return tuple(float(length) if length > 0 else 1.0 for length in lengths[:space])


def _truth(story: Story, entry: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray | None:
    """Where the label marks, by the entry's own rule; nowhere in a normal image; None where nothing is known."""
    if not entry.get("label"):
        return np.zeros(shape, dtype=bool) if entry.get("normal") else None
    try:
        return read_mask(story.locate(entry["label"]), entry.get("label_threshold"), entry.get("label_ignore")).array
    except (OSError, InputError):
        return None


def _binary(array: np.ndarray | None, space: int) -> np.ndarray | None:
    if array is None:
        return None
    return (array.max(axis=tuple(range(space, array.ndim))) if array.ndim > space else array) > 0


def read_array(path: Path | str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Array (float32, NaN as 0, trailing axes of NIfTI of length 1 dropped) and affine; (None, None) if unreadable."""
    try:
        file = read_image(path)
    except (OSError, InputError):
        return None, None
    array = np.nan_to_num(np.asarray(file.array, dtype=np.float32))
    while file.affine is not None and array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    return (None, None) if array.size == 0 else (array, file.affine)
