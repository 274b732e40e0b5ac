"""How a picture file becomes numbers: what Pillow and tifffile do silently is done openly or refused here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from monai_iltm.data.errors import InputError

COLOUR_MODES = ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV")


def read_picture(path: Path) -> np.ndarray:
    """PNG or JPEG as [row, col] or [row, col, 3], uint8 or uint16: palettes in colour, two levels as 0/255, no alpha.

    Raises InputError for 16 bit grey with alpha, and whatever Pillow raises for damaged files.
    """
    with Image.open(path) as picture:
        if picture.format == "PNG":
            picture.verify()  # every chunk and its checksum: a file cut within its last bytes would decode in silence
    with Image.open(path) as picture:
        if picture.format == "PNG" and picture.tile and picture.tile[0].args in ("RGB;16B", "RGBA;16B", "LA;16B"):
            return _wide_colour(path, str(picture.tile[0].args))
        picture.load()
        if picture.mode in COLOUR_MODES:
            return np.array(picture.convert("RGB"))
        if picture.mode == "1":
            return np.array(picture.convert("L"))
        array = np.array(picture)
    return without_alpha(array.astype(np.uint16) if array.dtype == np.int32 else array)


def _wide_colour(path: Path, raw_mode: str) -> np.ndarray:
    """16 bit colour, of which Pillow keeps the upper byte: read once for the upper and once for the lower bytes."""
    if raw_mode == "LA;16B":
        raise InputError(f"{path}: 16 bit grey with alpha cannot be read, save it without alpha")
    halves = []
    for byte_order in ("B", "L"):  # read as little-endian, the lower byte of these big-endian values is the one kept
        with Image.open(path) as picture:
            picture.tile = [tile._replace(args=raw_mode[:-1] + byte_order) for tile in picture.tile]
            halves.append(np.array(picture).astype(np.uint16))
    return without_alpha(halves[0] * np.uint16(256) + halves[1])


def read_tiff(path: Path) -> np.ndarray:
    """TIFF of one page as [row, col] or [row, col, C] of its own dtype, palettes in colour, dark always low, no alpha.

    Raises InputError for several pages, for more than two axes beside the channels and for compressed 16 bit colour
    that neither library can unpack.
    """
    with tifffile.TiffFile(path) as tiff:
        if len(tiff.pages) != 1:
            raise InputError(f"{path}: {len(tiff.pages)} pages, expected one image")
        page = tiff.pages.first
        try:
            array = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            return _unpacked_by_pillow(path, page)
        array = _dark_is_low(page, array)
        if array.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            array = np.moveaxis(array, 0, -1)
    if array.ndim not in (2, 3):
        raise InputError(f"{path}: shape {array.shape}, expected [row, col] or [row, col, channel]")
    return without_alpha(array.astype(np.uint8) * 255 if array.dtype == bool else array)


def _dark_is_low(page: tifffile.TiffPage, array: np.ndarray) -> np.ndarray:
    """Palette indices become colours [row, col, 3]; white-is-zero values are turned round."""
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        colours = np.asarray(page.colormap)  # [3, 2^bits], 16 bit
        return (np.moveaxis(colours[:, array], 0, -1) >> 8).astype(np.uint8)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        return ~array if array.dtype == bool else np.iinfo(array.dtype).max - array
    return array


def _unpacked_by_pillow(path: Path, page: tifffile.TiffPage) -> np.ndarray:
    """LZW, JPEG and the like, which tifffile alone does not unpack."""
    if page.samplesperpixel > 1 and page.bitspersample != 8:
        kind = f"{page.bitspersample} bit colour with {tifffile.COMPRESSION(page.compression).name} compression"
        raise InputError(f"{path}: {kind} needs the package imagecodecs, or save it uncompressed")
    return read_picture(path)


def without_alpha(array: np.ndarray) -> np.ndarray:
    """[row, col, 2 or 4] -> the colours alone; one channel -> [row, col]."""
    if array.ndim == 3 and array.shape[-1] in (2, 4):
        array = array[..., :-1]
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
