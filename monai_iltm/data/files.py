"""One file, looked at once: everything that is wrong with it, and what its place among the others depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header

from monai_iltm.data.claims import MOST_BYTES
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.grids import Grid, grids_apart, voxel_size
from monai_iltm.data.headers import geometry_notes, spacing_findings
from monai_iltm.data.images import is_volume, read_image
from monai_iltm.data.orientations import UPRIGHT
from monai_iltm.data.truth import read_mask
from monai_iltm.data.volumes import read_header

Finding = tuple[str, str]  # (what is wrong, what was found)
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class FileReport:
    """findings: what is wrong with the file by itself. shape: its grid [*S], None where it cannot be read.

    channels: 1 for grey and volumes. affine: [4, 4] in mm or None for pictures. low, high, mean: of its finite
    intensities. notes: what a person should hear though the file can be used. axcodes: where a volume's axes lead, such
    as "RAS"; None for pictures, slices and affines that cannot say.
    """

    findings: list[Finding] = field(default_factory=list)
    shape: tuple[int, ...] | None = None
    channels: int = 1
    affine: np.ndarray | None = None
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    notes: list[str] = field(default_factory=list)
    axcodes: str | None = None


def inspect_file(path: Path, most_bytes: int = MOST_BYTES) -> FileReport:
    """Read an image whole and report on it; never raises for what a file may hold."""
    if absent := _absent(path):
        return absent
    spacing = _spacing_findings(path)
    try:
        image = read_image(path, most_bytes)
    except InputError as error:
        return FileReport([_unreadable(path, error)])
    shape, affine = image.grid
    channels = image.array.shape[-1] if image.array.ndim > len(shape) else 1
    if image.array.size == 0:
        return FileReport([("image without voxels", f"shape {shape}")])
    findings = [*spacing, *_affine_findings(affine), *_grid_findings(shape)]
    told, low, high, mean = _intensities(image.array)
    notes = _notes(image.header, image.orientation)
    return FileReport([*findings, *told], shape, channels, affine, low, high, mean, notes, _axcodes(image.grid))


def inspect_mask(
    path: Path, threshold: float | None = None, ignore: float | None = None, most_bytes: int = MOST_BYTES
) -> FileReport:
    """Read a mask whole, as ``read_mask`` does, and report on it; low and high are 0 or 1, mean the share marked."""
    if absent := _absent(path):
        return absent
    spacing = _spacing_findings(path)
    try:
        mask = read_mask(path, threshold, ignore, most_bytes)
    except InputError as error:
        return FileReport([_unreadable(path, error)])
    shape, affine = mask.grid
    if mask.array.size == 0:
        return FileReport([("image without voxels", f"shape {shape}")])
    findings = [*spacing, *_affine_findings(affine), *_grid_findings(shape)]
    low, high, mean = float(mask.array.min()), float(mask.array.max()), float(mask.array.mean())
    return FileReport(findings, shape, 1, affine, low, high, mean, _notes(mask.header, mask.orientation))


def grid_difference(image: FileReport, other: FileReport) -> str | None:
    """How the grid of `other` differs from the image's, or None; both must have a shape."""
    return grids_apart(_grid(image), _grid(other))


def _grid(report: FileReport) -> Grid:
    return report.shape or (), report.affine


def _absent(path: Path) -> FileReport | None:
    if not path.is_file():
        return FileReport([("missing file", "no such file")])
    return FileReport([("empty file", "0 bytes")]) if path.stat().st_size == 0 else None


def _unreadable(path: Path, error: InputError) -> Finding:
    told = str(error).removeprefix(f"{shown(path)}: ").replace(shown(path), shown(path.name))
    return "truncated or unreadable file", shown(told)


def _notes(header: Nifti1Header | None, orientation: int) -> list[str]:
    if header is not None:
        return geometry_notes(header)
    return [f"turned by its EXIF orientation {orientation}"] if orientation != UPRIGHT else []


def _axcodes(grid: Grid) -> str | None:
    shape, affine = grid
    if affine is None or len(shape) != 3 or not np.isfinite(affine).all():
        return None
    codes = nib.aff2axcodes(affine)
    return None if None in codes else "".join(codes)


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
    size = voxel_size(affine)
    if not size.all() or abs(np.linalg.det(affine[:3, :3] / size)) < 1e-6:
        return [("singular affine", f"determinant {np.linalg.det(affine[:3, :3]):.3g}")]
    return []


def _intensities(array: np.ndarray) -> tuple[list[Finding], float, float, float]:
    """(findings, lowest, highest and mean finite value); all 0 for an array without a finite value."""
    findings: list[Finding] = []
    values = array
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # one NaN makes both NaN, so that sound images need no other look
        values = array[np.isfinite(array)]
        findings.append(("NaN or infinite intensities", f"{array.size - values.size} of {array.size} values"))
        if values.size == 0:
            return findings, 0.0, 0.0, 0.0
        low, high = float(values.min()), float(values.max())
    if low == high:
        findings.append(("constant image", f"every value {low:g}"))
    if max(-low, high) > FLOAT32_MAX:
        findings.append(("intensities beyond float32", f"{low:g} to {high:g}"))
        return findings, low, high, 0.0
    return findings, low, high, float(values.mean(dtype=np.float64))


def _spacing_findings(path: Path) -> list[Finding]:
    if not is_volume(path):
        return []
    try:
        return spacing_findings(read_header(path, check=False))
    except Exception:  # not a NIfTI header: reading the image will say so
        return []
