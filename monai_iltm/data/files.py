"""One image file, looked at once: everything that is wrong with it, and what its place among the others depends on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_iltm.data.errors import InputError
from monai_iltm.data.images import is_volume, read_image

Finding = tuple[str, str]  # (what is wrong, what was found)


@dataclass(frozen=True)
class FileReport:
    """findings: what is wrong with the file by itself. shape: its grid [*S], None where it cannot be read.

    channels: 1 for grey and volumes. affine: [4, 4] or None for pictures. low, high: range of its finite intensities.
    """

    findings: list[Finding] = field(default_factory=list)
    shape: tuple[int, ...] | None = None
    channels: int = 1
    affine: np.ndarray | None = None
    low: float = 0.0
    high: float = 0.0


def inspect_file(path: Path) -> FileReport:
    """Read a file whole and report on it; never raises for what a file may hold."""
    if not path.is_file():
        return FileReport([("missing file", "no such file")])
    if path.stat().st_size == 0:
        return FileReport([("empty file", "0 bytes")])
    spacing = _spacing_findings(path) if is_volume(path) else []
    try:
        image = read_image(path)
    except InputError as error:
        told = str(error).removeprefix(f"{path}: ").replace(str(path), path.name)
        return FileReport([("truncated or unreadable file", told)])
    colour = image.affine is None and image.array.ndim == 3
    shape = image.array.shape[:2] if colour else image.array.shape
    channels = image.array.shape[2] if colour else 1
    if image.array.size == 0:
        return FileReport([("image without voxels", f"shape {shape}")])
    findings = [*spacing, *_affine_findings(image.affine), *_grid_findings(shape)]
    intensity_findings, low, high = _intensities(image.array)
    return FileReport([*findings, *intensity_findings], shape, channels, image.affine, low, high)


def grid_difference(image: FileReport, other: FileReport) -> str | None:
    """How the grid of `other` differs from the image's, or None; both must have a shape.

    Affines agree where the corners of the grid come within a tenth of a voxel: headers hold rounded numbers.
    """
    if image.shape != other.shape:
        return f"{other.shape}, image {image.shape}"
    if image.affine is None or other.affine is None or image.shape is None:
        return None if (image.affine is None) == (other.affine is None) else "a picture beside a volume"
    if not (np.isfinite(image.affine).all() and np.isfinite(other.affine).all()):
        return None  # reported with the file itself
    sides = [(0, size - 1) for size in (*image.shape, 1, 1)[:3]]
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*sides)])
    apart = np.abs(corners @ (image.affine - other.affine).T).max()
    voxel = np.linalg.norm(image.affine[:3, :3], axis=0).min()
    return f"affine off by up to {apart:.4g} mm" if apart > 0.1 * voxel else None


def _grid_findings(shape: tuple[int, ...]) -> list[Finding]:
    if len(shape) > 3:
        return [("4D volume" if len(shape) == 4 else f"{len(shape)}D volume", f"shape {shape}")]
    return [] if len(shape) >= 2 else [("1D image", f"shape {shape}")]


def _affine_findings(affine: np.ndarray | None) -> list[Finding]:
    if affine is None:
        return []
    if not np.isfinite(affine).all():
        return [("non-finite affine", f"{np.count_nonzero(~np.isfinite(affine))} of 16 entries NaN or infinite")]
    # relative to the spacing: 1e-3 mm voxels have a determinant of 1e-9 and are sound
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if not size.all() or abs(np.linalg.det(affine[:3, :3] / size)) < 1e-6:
        return [("singular affine", f"determinant {np.linalg.det(affine[:3, :3]):.3g}")]
    return []


def _intensities(array: np.ndarray) -> tuple[list[Finding], float, float]:
    """(findings, lowest, highest finite value); an array without a finite value has the range 0 to 0."""
    finite = np.isfinite(array)
    count = array.size - int(np.count_nonzero(finite))
    findings = [("NaN or infinite intensities", f"{count} of {array.size} values")] if count else []
    if count == array.size:
        return findings, 0.0, 0.0
    values = array[finite] if count else array
    low, high = float(values.min()), float(values.max())
    if low == high:
        findings.append(("constant image", f"every value {low:g}"))
    return findings, low, high


def _spacing_findings(path: Path) -> list[Finding]:
    """From the header as it lies in the file: nibabel repairs zero and negative spacings when it opens the image."""
    try:
        with nib.openers.Opener(str(path)) as stream:
            block = stream.read(540)
        kind = nib.nifti2.Nifti2Header if nib.nifti2.Nifti2Header.may_contain_header(block) else nib.nifti1.Nifti1Header
        header = kind(block[: kind.template_dtype.itemsize], check=False)
        axes = min(max(int(header["dim"][0]), 1), 3)
        spacing = np.asarray(header["pixdim"][1 : axes + 1], np.float64)
    except Exception:  # not a NIfTI header: reading the image will say so
        return []
    sound = np.isfinite(spacing) & (spacing > 0)
    return [] if sound.all() else [("spacing not positive", " x ".join(f"{value:g}" for value in spacing))]
