"""Image files, read and written: NIfTI by nibabel, pictures by Pillow and tifffile, always in the file's own grid."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import tifffile
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, ensure_tuple
from PIL import Image

from monai_iltm.data.errors import InputError
from monai_iltm.data.pictures import read_picture, read_tiff

VOLUME_SUFFIXES = (".nii.gz", ".nii")
TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF_SUFFIXES)
INT32_MAX = 2**31 - 1
IMAGE_SUFFIXES = (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES)


@dataclass(frozen=True)
class ImageFile:
    """One image as its file holds it.

    array: [*S] or [*S, C] of the file's own dtype (scaled NIfTI: float); pictures [row, col], NIfTI [x, y, z].
    affine: f64 [4, 4], voxel to world in mm, for NIfTI; None for pictures.
    """

    array: np.ndarray
    affine: np.ndarray | None


def suffix(path: PathLike) -> str:
    """The image suffix in lower case, ".nii.gz" counted as one; "" where the name has none.

    >>> suffix("a/b.c.NII.GZ"), suffix("x.v2.png")
    ('.nii.gz', '.png')
    """
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def stem(path: PathLike) -> str:
    """The file name without folder and image suffix."""
    name = Path(path).name
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


def read_image(path: PathLike) -> ImageFile:
    """Read a NIfTI volume (.nii, .nii.gz) or a picture (PNG, JPEG, TIFF; 8, 16 bit or float, grey or colour).

    Palettes become colours and alpha is dropped. Raises InputError for a file that is missing, empty, cut short,
    unreadable, or of another format.
    """
    path = Path(path)
    if suffix(path) not in IMAGE_SUFFIXES:
        raise InputError(f"{path}: format {suffix(path) or 'without suffix'} is not one of {', '.join(IMAGE_SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: empty file, 0 bytes")
    try:
        if is_volume(path):
            return _read_volume(path)
        return ImageFile(read_tiff(path) if suffix(path) in TIFF_SUFFIXES else read_picture(path), None)
    except InputError:
        raise
    except Exception as error:  # Pillow, tifffile and nibabel raise whatever their parsers met
        raise InputError(f"{path}: cannot be read, truncated or damaged ({_first_line(error)})") from error


def write_image(path: PathLike, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Write a mask, map or image in one atomic step: the file is whole or not there.

    array: [*S] (pictures also [row, col, C]). bool becomes PNG 0/255 or NIfTI uint8 0/1; other integers keep their
    values; floats become float32, as TIFF or NIfTI. affine: [4, 4], identity where None; pictures ignore it.
    Raises InputError for a suffix that cannot hold the array and for a folder that cannot be written.
    """
    path, array = Path(path), np.asarray(array)
    writer = _writer(path, array)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".part-", suffix=suffix(path), dir=path.parent)
    except OSError as error:
        raise InputError(f"{path}: folder cannot be written ({_first_line(error)})") from error
    os.close(handle)
    try:
        writer(temporary, array, affine)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's 0600 would hide results from colleagues
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class PictureReader(ImageReader):
    """PNG, JPEG and TIFF for monai.transforms.LoadImaged(reader=...): axes [row, col], affine identity.

    Several names become the channels of one image, as with MONAI's readers. Raises InputError as `read_image` does.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True where every name is a picture's."""
        return all(suffix(name) in PICTURE_SUFFIXES for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[np.ndarray]:
        """One array [row, col] or [row, col, C] a file."""
        names = ensure_tuple(data)
        if not self.verify_suffix(names):
            raise InputError(f"{', '.join(map(str, names))}: not a picture ({', '.join(PICTURE_SUFFIXES)})")
        return [read_image(name).array for name in names]

    def get_data(self, img: np.ndarray | list[np.ndarray]) -> tuple[np.ndarray, dict]:
        """The array and MONAI's meta data (affine, spatial_shape, original_channel_dim)."""
        arrays = [img] if isinstance(img, np.ndarray) else list(img)
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            raise InputError(f"pictures to be stacked differ in shape: {sorted(shapes)}")
        array = arrays[0] if len(arrays) == 1 else np.stack([_as_grey(array) for array in arrays], axis=-1)
        meta = {
            MetaKeys.AFFINE: np.eye(4),
            MetaKeys.ORIGINAL_AFFINE: np.eye(4),
            MetaKeys.SPATIAL_SHAPE: np.asarray(array.shape[:2]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if array.ndim == 3 else float("nan"),
        }
        return array, meta


def _read_volume(path: Path) -> ImageFile:
    image = nib.load(path)
    if not isinstance(image, nib.nifti1.Nifti1Image):
        raise InputError(f"{path}: not a NIfTI file ({type(image).__name__})")
    array = np.asanyarray(image.dataobj)
    if array.dtype.kind not in "buif":
        raise InputError(f"{path}: values of type {array.dtype}, expected plain numbers")
    affine = image.affine
    return ImageFile(array, np.eye(4) if affine is None else np.asarray(affine, np.float64))


def _as_grey(array: np.ndarray) -> np.ndarray:
    if array.ndim != 2:
        raise InputError(f"only grey pictures can be stacked as channels, found shape {array.shape}")
    return array


def _writer(path: Path, array: np.ndarray) -> Callable[[str, np.ndarray, np.ndarray | None], object]:
    """The function that writes this suffix; refuses what the format cannot hold."""
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size and np.abs(array).max() > INT32_MAX:
        raise InputError(f"{path}: values up to {np.abs(array).max()} do not fit into 32 bits")
    if is_volume(path):
        return _write_volume
    if suffix(path) in TIFF_SUFFIXES:
        colour = array.ndim == 3 and array.shape[-1] == 3
        kind = tifffile.PHOTOMETRIC.RGB if colour else tifffile.PHOTOMETRIC.MINISBLACK
        return lambda name, data, _: tifffile.imwrite(name, _storable(data, 255), photometric=kind)
    if suffix(path) == ".png" and (array.dtype in (bool, np.uint8) or (array.dtype == np.uint16 and array.ndim == 2)):
        return lambda name, data, _: Image.fromarray(_storable(data, 255)).save(name)
    raise InputError(f"{path}: {array.dtype} values of shape {array.shape} cannot be written as {suffix(path)}")


def _write_volume(path: str, array: np.ndarray, affine: np.ndarray | None) -> None:
    image = nib.nifti1.Nifti1Image(_storable(array, 1), np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _storable(array: np.ndarray, true_value: int) -> np.ndarray:
    """bool -> uint8 0/true_value; float -> float32; 64 bit integers -> int32; the rest as it is."""
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(true_value)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(np.int32) if array.dtype in (np.int64, np.uint64) else array


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
