"""NIfTI headers: what they say of an image's place, in millimetres, and how a result is given the same."""

from __future__ import annotations

import logging

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image

from monai_iltm.data.grids import TOLERANCE, corners_apart, voxel_size

MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "micron": 1e-3, "meter": 1e3}
GEOMETRY = (
    *("dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
HEADER_KINDS = (Nifti2Header, Nifti1Header)
IMAGE_KINDS = {Nifti1Header: Nifti1Image, Nifti2Header: Nifti2Image}
SCANNER = 1  # the code of a form that leads to the scanner's own axes
LONGEST_HEADER = 540  # bytes, NIfTI-2's
QUIET = logging.Logger("headers")  # takes what nibabel says of a header that it repairs; says nothing
QUIET.addHandler(logging.NullHandler())


def parse_header(block: bytes, check: bool = True) -> Nifti1Header:
    """The header at the beginning of a NIfTI file of either kind and byte order, from its first 540 bytes.

    check: let nibabel repair what it can, such as a qfac of 0. Raises ValueError for what is no NIfTI file.
    """
    for kind in HEADER_KINDS:
        if kind.may_contain_header(block):
            header = kind(block[: kind.template_dtype.itemsize], check=False)
            if header["magic"].item().startswith(b"ni"):
                raise ValueError("the header of a pair .hdr and .img, not a volume")
            if check:
                header.check_fix(logger=QUIET)
            return header
    raise ValueError("not a NIfTI file")


def image_shape(header: Nifti1Header) -> tuple[int, ...]:
    """The file's shape without trailing axes of one: (x, y, z, 1) is a volume, (x, y, 1) a slice."""
    shape = tuple(int(size) for size in header.get_data_shape())
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def mm_affine(header: Nifti1Header) -> np.ndarray:
    """Voxel to world in mm, f64 [4, 4]: the sform where it is coded, else the qform, else the voxel size alone.

    Where an sform of another space (a template, say) leads the axes elsewhere than the scanner's qform, the scanner
    knows how the patient lay: its qform.
    """
    return _in_mm(header, header.get_qform() if _axes_differ(header) else header.get_best_affine())


def placed_like(array: np.ndarray, header: Nifti1Header) -> Nifti1Image:
    """A NIfTI image with all that another's header says of its place: both forms, both codes, units, axes of one."""
    kind = next(kind for kind in HEADER_KINDS if isinstance(header, kind))
    image = IMAGE_KINDS[kind](array.reshape(header.get_data_shape()), None)
    for name in GEOMETRY:
        image.header[name] = header[name]
    return image


def geometry_notes(header: Nifti1Header) -> list[str]:
    """What a person should hear of an image's place, though it can be used."""
    notes = []
    unit = header.get_xyzt_units()[0]
    if MILLIMETRES[unit] != 1:
        notes.append(f"its unit is the {unit}: read as millimetres")
    codes = int(header["qform_code"]), int(header["sform_code"])
    if _axes_differ(header):
        return [*notes, "qform and sform lead its axes elsewhere: the scanner's qform counts"]
    if codes == (0, 0):
        return [*notes, "neither qform nor sform: placed by its voxel size alone, left and right as nibabel takes them"]
    if all(codes) and (gap := _forms_apart(header)):
        notes.append(gap)
    stated, affine = np.abs(np.asarray(header["pixdim"][1:4], np.float64)), header.get_best_affine()
    size = voxel_size(affine)
    if codes[1] and np.isfinite(affine).all() and (np.abs(size - stated) > 0.01 * size).any():
        notes.append(f"the sform's voxel size {_sizes(size)} is not pixdim's {_sizes(stated)}: the sform counts")
    return notes


def spacing_findings(header: Nifti1Header) -> list[tuple[str, str]]:
    """From a header as it lies in the file: nibabel repairs zero and negative spacings when it checks one."""
    axes = min(max(int(header["dim"][0]), 1), 3)
    spacing = np.asarray(header["pixdim"][1 : axes + 1], np.float64)
    sound = np.isfinite(spacing) & (spacing > 0)
    return [] if sound.all() else [("spacing not positive", _sizes(spacing))]


def _axes_differ(header: Nifti1Header) -> bool:
    """Whether a scanner's qform and an sform of another space name the axes differently."""
    if header["qform_code"] != SCANNER or header["sform_code"] in (0, SCANNER):
        return False
    forms = _qform(header), header.get_sform()
    if any(form is None or not np.isfinite(form).all() or not np.linalg.det(form[:3, :3]) for form in forms):
        return False
    return nib.aff2axcodes(forms[0]) != nib.aff2axcodes(forms[1])


def _qform(header: Nifti1Header) -> np.ndarray | None:
    """The qform, None where its quaternion is none."""
    try:
        return header.get_qform()
    except (ValueError, nib.spatialimages.HeaderDataError):
        return None


def _forms_apart(header: Nifti1Header) -> str | None:
    sform, qform = _in_mm(header, header.get_sform()), _qform(header)
    if qform is None:
        return "its qform cannot be used: the sform counts"
    apart = corners_apart(header.get_data_shape()[:3], sform, _in_mm(header, qform))
    if not apart > TOLERANCE * voxel_size(sform).min():
        return None
    return f"qform and sform differ by up to {apart:.3g} mm: the sform counts"


def _in_mm(header: Nifti1Header, affine: np.ndarray) -> np.ndarray:
    scaled = np.array(affine, np.float64)
    scaled[:3] *= MILLIMETRES[header.get_xyzt_units()[0]]
    return scaled


def _sizes(values: np.ndarray) -> str:
    return " x ".join(f"{value:g}" for value in values)
