"""How a TIFF becomes numbers: by its photometric interpretation, and only where all of its data are there."""

from __future__ import annotations

import importlib.util
import logging
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TiffFile

from monai_iltm.data.claims import require_room
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.orientations import TAG, orientation_of, upright, upright_shape
from monai_iltm.data.pictures import Picture, from_pillow

BASE_SAMPLES = {PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.RGB: 3, PHOTOMETRIC.PALETTE: 1}
CONVERTED = {PHOTOMETRIC.SEPARATED: "CMYK", PHOTOMETRIC.YCBCR: "YCbCr", PHOTOMETRIC.CIELAB: "CIELab"}  # to RGB
ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
DEFLATE = (COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
ALL_CODECS = importlib.util.find_spec("imagecodecs") is not None  # tifffile's own are few

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it says of a damaged file, the error says


class _UnlimitedTiff(TiffImageFile):
    """Pillow's TIFF without its own limit on pixels: what the header claims has been held to ours."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)  # `size` is the upright one
        super().load_prepare()


def read_tiff(path: Path, most_bytes: int) -> Picture:
    """TIFF of one page in its own type: grey, colour, palette or bands; dark always low; CMYK, YCbCr, Lab as RGB.

    What ExtraSamples calls alpha is alpha, other samples are channels. Raises InputError for several pages, missing
    data, what cannot be told and more than `most_bytes`; and whatever tifffile and Pillow raise for damaged files.
    """
    with TiffFile(path) as tiff:
        page = _single_page(path, tiff)
        photometric = _photometric(path, page)
        _require_all_data(path, page)
        require_room(path, page.shape, _needed_bytes(page), most_bytes)
        orientation = _orientation(page)
        if photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.NONE and page.samplesperpixel == 3:
            return _plain_ycbcr(page, orientation)
        if photometric in CONVERTED or not _by_tifffile(page):
            return _by_pillow(path, page, orientation)
        palette = None if page.colormap is None else (np.asarray(page.colormap) >> 8).astype(np.uint8).T  # [2^bits, 3]
        bits = page.bitspersample
        array = _inflated(tiff, page) if page.compression in DEFLATE else page.asarray()
    array, alpha = _samples(upright(_channels_last(page, array), orientation), page)
    if photometric == PHOTOMETRIC.PALETTE:
        return Picture(array, alpha, palette, orientation)
    if photometric == PHOTOMETRIC.MINISWHITE:
        return Picture(_dark_is_low(path, array, bits), alpha, None, orientation, was_white_is_zero=True)
    return Picture(array.view(np.uint8) * 255 if array.dtype == bool else array, alpha, None, orientation)


def tiff_grid(path: Path) -> tuple[tuple[int, int], int]:
    """(upright shape, orientation) of a TIFF of one page, whose pixels are not unpacked."""
    with TiffFile(path) as tiff:
        page = _single_page(path, tiff)
        orientation = _orientation(page)
        return upright_shape(page.imagelength, page.imagewidth, orientation), orientation


def write_tiff(path: str, array: np.ndarray, orientation: int) -> None:
    """Write [row, col] or [row, col, C] as it is to be stored, with its orientation where that is not upright."""
    options: dict = {"photometric": PHOTOMETRIC.MINISBLACK}
    if array.ndim == 3:
        extra = array.shape[-1] - 3 if array.shape[-1] == 3 else array.shape[-1] - 1
        photometric = PHOTOMETRIC.MINISBLACK if extra else PHOTOMETRIC.RGB
        options = {"photometric": photometric, "planarconfig": "contig", "extrasamples": ["unspecified"] * extra}
    tag = [(TAG, 3, 1, orientation, False)] if orientation != 1 else []
    tifffile.imwrite(path, array, extratags=tag, **options)


def _single_page(path: Path, tiff: TiffFile) -> Any:
    if len(tiff.pages) != 1:
        raise InputError(f"{shown(path)}: {len(tiff.pages)} pages, expected one image")
    page = tiff.pages.first
    if page.imagedepth != 1:
        raise InputError(f"{shown(path)}: {page.imagedepth} planes, expected one image")
    return page


def _photometric(path: Path, page: Any) -> int:
    """The photometric interpretation, if it is one that can be read."""
    value = page.photometric
    if value not in BASE_SAMPLES and value not in CONVERTED:
        name = PHOTOMETRIC(value).name if value in set(PHOTOMETRIC) else value
        raise InputError(f"{shown(path)}: its colours are {name}, expected grey or RGB")
    if value in CONVERTED and page.bitspersample != 8:
        raise InputError(f"{shown(path)}: {page.bitspersample} bit {CONVERTED[value]}, save it as RGB")
    if value == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.NONE and page.subsampling not in (None, (1, 1)):
        raise InputError(f"{shown(path)}: uncompressed YCbCr with fewer colours than pixels, save it as RGB")
    if page.samplesperpixel < BASE_SAMPLES.get(value, 3):
        raise InputError(f"{shown(path)}: {page.samplesperpixel} samples a pixel do not fit {PHOTOMETRIC(value).name}")
    if page.dtype is None or page.dtype.kind not in "buif":
        raise InputError(f"{shown(path)}: values of type {page.dtype}, expected plain numbers")
    return value


def _require_all_data(path: Path, page: Any) -> None:
    """Every strip or tile is there, lies in the file and, where it is not packed, holds all of its values."""
    noun = "tiles" if page.is_tiled else "strips"
    if page.planarconfig not in (1, 2):
        raise InputError(f"{shown(path)}: damaged, its planar configuration is {int(page.planarconfig)}")
    offsets, counts = page.dataoffsets, page.databytecounts
    expected = math.prod(page.chunked)
    if len(offsets) != expected or len(counts) != expected:
        raise InputError(f"{shown(path)}: damaged, {min(len(offsets), len(counts))} {noun}, expected {expected}")
    size = path.stat().st_size
    missing = sum(not (start and count and start + count <= size) for start, count in zip(offsets, counts, strict=True))
    if missing:
        raise InputError(f"{shown(path)}: damaged, {missing} of {expected} {noun} missing")
    if page.compression == COMPRESSION.NONE and sum(counts) * 8 < page.size * _bits(page):
        raise InputError(f"{shown(path)}: damaged, {sum(counts)} bytes of data, too few for {page.shape}")


def _needed_bytes(page: Any) -> int:
    """The array, its copy in other byte order or unpacked, and two strips or tiles, which may be larger than it."""
    segments = 0 if page.compression == COMPRESSION.NONE else 2 * math.prod(page.chunks) * page.dtype.itemsize
    plain = page.photometric in BASE_SAMPLES and _by_tifffile(page)
    a_pixel = (3 if page.photometric == PHOTOMETRIC.PALETTE else 0) + (0 if plain else 14)  # Pillow's copies of it
    return 2 * page.size * page.dtype.itemsize + a_pixel * page.imagelength * page.imagewidth + segments


def _by_tifffile(page: Any) -> bool:
    """Whether tifffile unpacks it without the package imagecodecs."""
    if ALL_CODECS:
        return True
    simple = page.compression == COMPRESSION.NONE or page.compression in DEFLATE
    return simple and page.predictor in (1, 2) and page.fillorder == 1 and page.bitspersample in (1, 8, 16, 32, 64)


def _by_pillow(path: Path, page: Any, orientation: int) -> Picture:
    """LZW, JPEG and the like, and foreign colour spaces; Pillow turns a TIFF upright by itself."""
    if page.samplesperpixel > 1 and page.bitspersample != 8:
        kind = f"{page.bitspersample} bit colour with {COMPRESSION(page.compression).name} compression"
        raise InputError(f"{shown(path)}: {kind} needs the package imagecodecs, or save it uncompressed")
    extra = page.samplesperpixel - BASE_SAMPLES.get(page.photometric, page.samplesperpixel)
    if extra and tuple(page.extrasamples) not in {(kind,) for kind in ALPHA}:
        raise InputError(
            f"{shown(path)}: {page.samplesperpixel} bands with {COMPRESSION(page.compression).name} compression need "
            "the package imagecodecs, or save it uncompressed"
        )
    with path.open("rb") as stream, _UnlimitedTiff(stream) as picture:
        picture.load()
        turned = from_pillow(picture, 1)
    if turned.array.shape[:2] != upright_shape(page.imagelength, page.imagewidth, orientation):
        raise InputError(f"{shown(path)}: damaged, {turned.array.shape[:2]} pixels, expected {page.shape[:2]}")
    return Picture(turned.array, turned.alpha, turned.palette, orientation)


def _plain_ycbcr(page: Any, orientation: int) -> Picture:
    """YCbCr that is not packed, which Pillow before 13 calls truncated."""
    array = upright(_channels_last(page, page.asarray()), orientation)
    colours = Image.frombytes("YCbCr", array.shape[1::-1], np.ascontiguousarray(array)).convert("RGB")
    return Picture(np.asarray(colours), None, None, orientation)


def _inflated(tiff: TiffFile, page: Any) -> np.ndarray:
    """Deflated strips or tiles, none of which may unpack to more than its place holds."""
    array = np.empty(page.shaped, page.dtype)  # [separate sample, 1, row, col, sample]
    most = math.prod(page.chunks) * page.dtype.itemsize
    page.compression = COMPRESSION.NONE  # decode() then unpacks and places what was inflated here
    for index, (start, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        tiff.filehandle.seek(start)
        data = _inflated_segment(tiff.filehandle.read(count), most)
        values, (sample, _, row, column, _), _ = page.decode(data, index)
        rows, columns = array[sample, 0, row : row + values.shape[1], column : column + values.shape[2]].shape[:2]
        array[sample, 0, row : row + rows, column : column + columns] = values[0, :rows, :columns]
    return array


def _inflated_segment(packed: bytes, most: int) -> bytes:
    """Raises ValueError for a strip or tile that is cut short or holds more than `most` bytes."""
    engine = zlib.decompressobj()
    data = engine.decompress(packed, most + 1)  # room for one more: what has come to its end, has compared its checksum
    if not engine.eof or len(data) > most:
        raise ValueError(f"a strip or tile unpacks to other than {most} bytes")
    return data


def _channels_last(page: Any, array: np.ndarray) -> np.ndarray:
    """[row, col] or [row, col, C], whichever way the samples were stored."""
    separate, _, rows, columns, together = page.shaped
    array = array.reshape(separate, rows, columns, together)
    array = np.moveaxis(array, 0, -1)[:, :, 0] if together == 1 else array[0]  # [row, col, C]
    return array[..., 0] if array.shape[-1] == 1 else array


def _samples(array: np.ndarray, page: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(values, alpha): what ExtraSamples calls alpha is taken out, samples that it does not explain are bands."""
    if array.ndim == 2:
        return array, None
    kinds = [None] * (array.shape[-1] - len(page.extrasamples)) + list(page.extrasamples)
    kept = [index for index, kind in enumerate(kinds) if kind not in ALPHA]
    if len(kept) == len(kinds):
        return array, None
    alpha = array[..., next(index for index, kind in enumerate(kinds) if kind in ALPHA)]
    values = array[..., : len(kept)] if kept == list(range(len(kept))) else array[..., kept]
    return (values[..., 0] if values.shape[-1] == 1 else values), alpha


def _dark_is_low(path: Path, array: np.ndarray, bits: int) -> np.ndarray:
    """White-is-zero values turned round."""
    if array.dtype == bool:
        return (~array).view(np.uint8) * 255
    if array.dtype.kind != "u":
        raise InputError(f"{shown(path)}: white is zero in {array.dtype} values, save it with dark low")
    return array.dtype.type(2**bits - 1) - array


def _bits(page: Any) -> int:
    return 1 if page.dtype == bool else page.dtype.itemsize * 8


def _orientation(page: Any) -> int:
    tag = page.tags.get(TAG)
    return orientation_of(None if tag is None else tag.value)
