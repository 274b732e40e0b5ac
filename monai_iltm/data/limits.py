"""What a single image is held to: the other images' kind, and the limits of the set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np

from monai_iltm.data.claims import MOST_BYTES
from monai_iltm.data.files import FileReport, Finding
from monai_iltm.data.intensities import TOLERANCE, not_filled, out_of_range


@dataclass(frozen=True)
class Limits:
    """What a sound set is held to.

    min_size: smallest allowed extent of every axis, one number or one an axis, which also fixes the number of axes.
    max_size: largest extent, one an axis, after resampling to `spacing` mm (None: as the file has it).
    value_range: lowest and highest intensity; `tolerance` of its width may be overstepped (0.01 = 1 %).
    channels: of every image; None takes what most have.
    intensity_range: what becomes 0 and 1, of which an image must fill some part.
    orientation: to which volumes are turned before they are measured, None: as the file has them.
    fewest: training cases needed (of a list without "training": cases altogether).
    outside: files may lie outside the data folder.
    most_bytes: memory that reading one file may take.
    """

    min_size: int | Sequence[int] | None = None
    max_size: Sequence[int] | None = None
    spacing: Sequence[float] | None = None
    value_range: tuple[float, float] | None = None
    tolerance: float = TOLERANCE
    channels: int | None = None
    intensity_range: Any = None
    orientation: str | None = None
    fewest: int = 2
    outside: bool = False
    most_bytes: int = MOST_BYTES


def image_findings(image: FileReport, usual: tuple[int, int], limits: Limits) -> Iterator[Finding]:
    """What depends on the other images, most of which have `usual` (axes, channels), and on the limits."""
    if image.shape is None or len(image.shape) > 3:
        return
    axes, channels = usual
    if len(image.shape) != axes:
        yield "mixed dimensions", f"{len(image.shape)}D, most images are {axes}D"
    if limits.channels is not None and image.channels != limits.channels:
        yield "wrong number of channels", f"{image.channels}, expected {limits.channels} (setting image_channels)"
    elif image.channels != channels:
        yield "mixed channels", f"{image.channels}, most images have {channels}"
    yield from _size_findings(image.shape, limits.min_size)
    yield from _excess_findings(image, limits)
    if found := out_of_range(image.low, image.high, limits.value_range, limits.tolerance):
        yield "intensities out of range", found
    elif found := not_filled(image.low, image.high, limits.intensity_range):
        yield "intensities that fill no range", found


def _size_findings(shape: tuple[int, ...], min_size: int | Sequence[int] | None) -> Iterator[Finding]:
    if min_size is None:
        return
    smallest = (min_size,) * len(shape) if isinstance(min_size, int) else tuple(min_size)
    if len(smallest) != len(shape):
        yield "wrong number of dimensions", f"{len(shape)}D, expected {len(smallest)}D"
    elif any(size < least for size, least in zip(shape, smallest, strict=True)):
        yield "image too small", f"{shape}, smallest grid {smallest}"


def _excess_findings(image: FileReport, limits: Limits) -> Iterator[Finding]:
    if limits.max_size is None or image.shape is None or len(limits.max_size) != len(image.shape):
        return
    size = list(image.shape)
    if image.affine is not None and np.isfinite(image.affine).all():
        order = _axes(image.affine, limits.orientation) if len(size) == 3 else range(len(size))
        size = [size[axis] for axis in order]
    if limits.spacing is not None and image.affine is not None and np.isfinite(image.affine).all():
        lengths = np.linalg.norm(image.affine[:3, :3], axis=0)[list(order)]
        # as Spacingd counts: the first voxel stays in its place, the last one falls where it falls
        size = [round((n - 1) * length / mm + 1) for n, length, mm in zip(size, lengths, limits.spacing, strict=True)]
    if any(n > most for n, most in zip(size, limits.max_size, strict=True)):
        yield "image too large", f"{tuple(size)} on the model's grid, which holds {tuple(limits.max_size)}"


def _axes(affine: np.ndarray, orientation: str | None) -> list[int]:
    """The axes of a volume in the order that they have once it is turned."""
    if orientation is None or not np.linalg.det(affine[:3, :3]):  # a singular one is told with its file
        return [0, 1, 2]
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(orientation))
    )
    return [int(axis) for axis in np.argsort(turn[:, 0])]
