"""Image files, read and written in the file's own grid: the door to volumes, pictures and TIFFs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from PIL import Image

from monai_iltm.data.claims import MOST_BYTES
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.grids import Grid
from monai_iltm.data.headers import image_shape, mm_affine
from monai_iltm.data.one_step import PathLike, in_one_step
from monai_iltm.data.orientations import TAG, UPRIGHT, stored
from monai_iltm.data.pictures import Picture, picture_grid, read_picture
from monai_iltm.data.tiffs import read_tiff, tiff_grid, write_tiff
from monai_iltm.data.volumes import read_header, read_volume, write_volume

VOLUME_SUFFIXES = (".nii.gz", ".nii")
TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF_SUFFIXES)
INT32_MAX = 2**31 - 1
IMAGE_SUFFIXES = (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES)


@dataclass(frozen=True)
class ImageFile:
    """One image as a viewer shows it.

    array: [*S] or [*S, C] of the file's own dtype (scaled NIfTI: float); pictures [row, col], upright; NIfTI [x, y, z]
    without trailing axes of one.
    affine: f64 [4, 4], voxel to world in mm, for NIfTI; None for pictures.
    header: the NIfTI header of the file, for writing what belongs to it. orientation: how a picture is stored, by
    EXIF's count, 1 where it is upright.
    """

    array: np.ndarray
    affine: np.ndarray | None
    header: Nifti1Header | None = None
    orientation: int = UPRIGHT

    @property
    def grid(self) -> Grid:
        """(shape [*S] without channels, affine)."""
        return (self.array.shape if self.affine is not None else self.array.shape[:2]), self.affine


@dataclass(frozen=True)
class ImageHead:
    """What a file says of its image before it is decoded: shape [*S] without channels, else as ``ImageFile``."""

    shape: tuple[int, ...]
    affine: np.ndarray | None
    header: Nifti1Header | None = None
    orientation: int = UPRIGHT


def suffix(path: PathLike) -> str:
    """The image suffix in lower case, ".nii.gz" counted as one; "" where the name has none.

    >>> suffix("a/b.c.NII.GZ"), suffix("x.v2.png")
    ('.nii.gz', '.png')
    """
    name = os.path.basename(path).lower()
    return ".nii.gz" if name.endswith(".nii.gz") else os.path.splitext(name)[1]


def stem(path: PathLike) -> str:
    """The file name without folder and image suffix."""
    name = os.path.basename(path)
    return name[: len(name) - len(suffix(path))]


def is_volume(path: PathLike) -> bool:
    """True for NIfTI names."""
    return suffix(path) in VOLUME_SUFFIXES


def map_suffix(image_path: PathLike) -> str:
    """The suffix of a float map of this image: ".nii.gz" or ".tif"."""
    return ".nii.gz" if is_volume(image_path) else ".tif"


def mask_suffix(image_path: PathLike) -> str:
    """The suffix of a boolean mask of this image: ".nii.gz" or ".png"."""
    return ".nii.gz" if is_volume(image_path) else ".png"


def read_image(path: PathLike, most_bytes: int = MOST_BYTES) -> ImageFile:
    """Read a NIfTI volume (.nii, .nii.gz) or a picture (PNG, JPEG, TIFF; 8, 16 bit or float, grey, colour or bands).

    Palettes become colours, alpha is dropped, pictures are turned upright by their orientation tag. most_bytes: memory
    that reading may take, held against what the header claims before anything is decoded. Raises InputError for a file
    that is missing, empty, cut short, damaged, too large, or of another format.
    """
    if is_volume(path):
        array, header = _guarded(path, lambda file: read_volume(file, most_bytes))
        return ImageFile(array, mm_affine(header), header)
    picture = decode_picture(path, most_bytes)
    return ImageFile(picture.colours(), None, None, picture.orientation)


def decode_picture(path: PathLike, most_bytes: int = MOST_BYTES) -> Picture:
    """A PNG, JPEG or TIFF with its palette and alpha apart. Raises InputError as ``read_image``."""
    reader = read_tiff if suffix(path) in TIFF_SUFFIXES else read_picture
    return _guarded(path, lambda file: reader(file, most_bytes))


def image_head(path: PathLike) -> ImageHead:
    """What the file says of its image, which is not decoded. Raises InputError as ``read_image``."""
    if is_volume(path):
        header = _guarded(path, read_header)
        return ImageHead(image_shape(header), mm_affine(header), header)
    shape, orientation = _guarded(path, tiff_grid if suffix(path) in TIFF_SUFFIXES else picture_grid)
    return ImageHead(shape, None, None, orientation)


def image_grid(path: PathLike) -> Grid:
    """(shape [*S] of the upright image without channels, affine f64 [4, 4] in mm or None), without decoding it."""
    head = image_head(path)
    return head.shape, head.affine


def write_image(
    path: PathLike, array: np.ndarray, affine: np.ndarray | None = None, like: PathLike | ImageFile | None = None
) -> None:
    """Write a mask, map or image in one atomic step: the file is whole or not there.

    array: [*S] (pictures also [row, col, C]). bool becomes PNG 0/255 or NIfTI uint8 0/1; other integers keep their
    values; floats become float32, as TIFF or NIfTI.
    like: the image that the array belongs to. A volume takes its whole geometry (both forms, both codes, units, axes
    of one), a picture is stored turned as the image is. affine: [4, 4] in mm for a volume without such an image,
    identity where None; pictures ignore it.
    Raises InputError for a suffix that cannot hold the array, for an array on another grid than the image's and where
    the file cannot be written, such as on a full disk.
    """
    path, array = Path(path), np.asarray(array)
    head = _head_of(like)
    if head is not None and not _fits(array, head):
        raise InputError(f"{shown(path)}: shape {array.shape} is not on the grid of its image, {head.shape}")
    writer = _writer(path, array, affine, head)
    with in_one_step(path, suffix(path)) as temporary:
        writer(temporary)


def _guarded(path: PathLike, read: Callable) -> Any:
    """What reading gives; all that a file may be or hold instead becomes one InputError."""
    path = Path(path)
    if suffix(path) not in IMAGE_SUFFIXES:
        kind = shown(suffix(path)) or "without suffix"
        raise InputError(f"{shown(path)}: format {kind} is not one of {', '.join(IMAGE_SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{shown(path)}: file not found")
    if path.stat().st_size == 0:
        raise InputError(f"{shown(path)}: empty file, 0 bytes")
    try:
        return read(path)
    except InputError:
        raise
    except Exception as error:  # Pillow, tifffile and nibabel raise whatever their parsers met
        raise InputError(f"{shown(path)}: cannot be read, truncated or damaged ({_first_line(error)})") from error


def _head_of(like: PathLike | ImageFile | None) -> ImageHead | None:
    if like is None:
        return None
    if isinstance(like, ImageFile):
        return ImageHead(like.grid[0], like.affine, like.header, like.orientation)
    return image_head(like)


def _fits(array: np.ndarray, head: ImageHead) -> bool:
    """A volume has the image's shape, a picture may have channels besides."""
    return array.shape == head.shape or (head.affine is None and array.shape[:-1] == head.shape)


def _writer(
    path: Path, array: np.ndarray, affine: np.ndarray | None, head: ImageHead | None
) -> Callable[[str], object]:
    """The function that writes this suffix; refuses what the format cannot hold."""
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size and np.abs(array).max() > INT32_MAX:
        raise InputError(f"{shown(path)}: values up to {np.abs(array).max()} do not fit into 32 bits")
    if is_volume(path):
        header = None if head is None else head.header
        return lambda name: write_volume(name, _storable(array, 1), affine, header)
    orientation = UPRIGHT if head is None else head.orientation
    if suffix(path) in TIFF_SUFFIXES:
        return lambda name: write_tiff(name, stored(_storable(array, 255), orientation), orientation)
    if suffix(path) == ".png" and _fits_png(array):
        return lambda name: _write_png(name, stored(_storable(array, 255), orientation), orientation)
    raise InputError(f"{shown(path)}: {array.dtype} values of shape {array.shape} cannot be written as {suffix(path)}")


def _fits_png(array: np.ndarray) -> bool:
    if array.dtype in (bool, np.uint8):
        return array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3)
    return array.dtype == np.uint16 and array.ndim == 2


def _write_png(path: str, array: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    if orientation != UPRIGHT:
        exif[TAG] = orientation
    Image.fromarray(array).save(path, exif=exif)


def _storable(array: np.ndarray, true_value: int) -> np.ndarray:
    """bool -> uint8 0/true_value; float -> float32; 64 bit integers -> int32; the rest as it is."""
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(true_value)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(np.int32) if array.dtype in (np.int64, np.uint64) else array


def _first_line(error: BaseException) -> str:
    return shown((str(error).strip() or type(error).__name__).splitlines()[0][:160])
