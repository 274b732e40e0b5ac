"""How a PNG or JPEG becomes numbers: what Pillow does silently is done openly or refused here."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile as PillowFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from monai_iltm.data.claims import require_room
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.orientations import TAG, orientation_of, upright, upright_shape

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
OTHER_KINDS = {
    **{b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"\0\0\1\0": "an icon"},
    **{b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript", b"%PDF": "PDF", b"<": "text such as SVG or HTML"},
}
WIDE = {"RGB;16B": 3, "RGBA;16B": 4}  # raw modes of which Pillow keeps the upper bytes alone, and their channels
PLAIN_MODES = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I;16": 1, "I": 1}  # channels


@dataclass(frozen=True)
class Picture:
    """A picture as a viewer turns it.

    array: [row, col] or [row, col, C], without alpha, dark always low. alpha: [row, col], low where transparent, or
    None. palette: u8 [n, 3] of which `array` holds indices, or None. orientation: that of the file, 1 to 8.
    was_white_is_zero: the file counts from white, `array` does not.
    """

    array: np.ndarray
    alpha: np.ndarray | None = None
    palette: np.ndarray | None = None
    orientation: int = 1
    was_white_is_zero: bool = False

    def colours(self) -> np.ndarray:
        """The picture itself, a palette's indices made colours."""
        return self.array if self.palette is None else self.palette[self.array]


def read_picture(path: Path, most_bytes: int) -> Picture:
    """PNG or JPEG, uint8 or uint16, whichever of both the name says; two levels become 0 and 255.

    Raises InputError for other formats, more than one picture, 16 bit grey with alpha and more than `most_bytes`; and
    whatever Pillow raises for damaged files.
    """
    data = path.read_bytes()
    with _opened(path, data) as picture:
        raw_mode = picture.tile[0].args if picture.tile else ""
        require_room(path, picture.size[::-1], needed_bytes(picture, str(raw_mode)), most_bytes)
        if raw_mode == "LA;16B":
            raise InputError(f"{shown(path)}: 16 bit grey with alpha cannot be read, save it without alpha")
        if getattr(picture, "n_frames", 1) != 1:
            raise InputError(f"{shown(path)}: animated, {getattr(picture, 'n_frames', 1)} frames, expected one image")
        orientation = _orientation(picture, data)
        if raw_mode in WIDE:
            return from_array(_wide_colour(data, str(raw_mode)), orientation)
        picture.load()
        return from_pillow(picture, orientation)


def picture_grid(path: Path) -> tuple[tuple[int, int], int]:
    """(upright shape, orientation) of a PNG or JPEG, whose pixels are not unpacked."""
    data = path.read_bytes()
    with _opened(path, data) as picture:
        orientation = _orientation(picture, data)
        return upright_shape(picture.size[1], picture.size[0], orientation), orientation


def from_pillow(picture: PillowFile | Image.Image, orientation: int) -> Picture:
    """What Pillow has loaded: palettes as indices, foreign colour spaces as RGB, two levels as 0 and 255."""
    if picture.mode == "P":
        colours = np.frombuffer(bytes(picture.getpalette("RGB") or ()), np.uint8).reshape(-1, 3)
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(colours)] = colours
        return Picture(upright(np.array(picture), orientation), None, palette, orientation)
    if picture.mode == "1":
        return from_array(np.array(picture.convert("L")), orientation)
    if picture.mode not in PLAIN_MODES and picture.mode != "F":
        return from_array(np.array(picture.convert("RGB")), orientation)
    array = np.array(picture)
    return from_array(array.astype(np.uint16) if array.dtype == np.int32 else array, orientation)


def from_array(array: np.ndarray, orientation: int) -> Picture:
    """A stored array [row, col] or [row, col, C], whose last of two or four channels is alpha."""
    array = upright(array, orientation)
    if array.ndim == 2 or array.shape[-1] == 3:
        return Picture(array, orientation=orientation)
    colours = array[..., :-1]
    return Picture(colours[..., 0] if colours.shape[-1] == 1 else colours, array[..., -1], None, orientation)


def needed_bytes(picture: PillowFile, raw_mode: str) -> int:
    """Memory that unpacking takes: Pillow's own copy, the one that it hands out and ours."""
    pixels = picture.size[0] * picture.size[1]
    if raw_mode in WIDE:
        return pixels * (4 + 4 * WIDE[raw_mode])
    channels = PLAIN_MODES.get(picture.mode, 4)
    depth = 2 if picture.mode.startswith("I") else 1
    kept = depth if channels == 1 else 4
    coefficients = 2 * channels if picture.info.get("progressive") else 0  # of the whole picture at once
    converted = {"P": 3, "1": 1}.get(picture.mode, 0 if picture.mode in PLAIN_MODES else 4)
    return pixels * (kept + 2 * depth * channels + coefficients + converted)


def _opened(path: Path, data: bytes) -> PillowFile:
    """By the one of both formats that the file begins as, so that no other program or parser is ever asked."""
    if data.startswith(PNG):
        for _ in _png_chunks(data):  # a file cut within its last bytes would decode in silence
            pass
        return PngImageFile(BytesIO(data))
    if data.startswith(JPEG):
        return JpegImageFile(BytesIO(data))
    found = next((kind for begin, kind in OTHER_KINDS.items() if data.startswith(begin)), repr(data[:8]))
    raise InputError(f"{shown(path)}: cannot be read, holds {found}, expected PNG or JPEG")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(name, content) of every chunk, each with its checksum compared. Raises ValueError where one is damaged."""
    view, start = memoryview(data), len(PNG)
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(view[start : start + 4], "big")
        name = bytes(view[start + 4 : start + 8])
        if zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ValueError(f"the checksum of chunk {name!r} is wrong")
        yield name, view[start + 8 : end]
        if name == b"IEND":
            return
        start = end + 4
    raise ValueError("the end is missing")


def _orientation(picture: PillowFile, data: bytes) -> int:
    """From the EXIF block; a PNG may hold it behind its pixels, where Pillow would have to unpack them first."""
    if isinstance(picture, PngImageFile):
        for name, content in _png_chunks(data):
            if name == b"eXIf":
                picture.info["exif"] = b"Exif\0\0" + bytes(content)
        picture.info.setdefault("exif", b"")
    return orientation_of(picture.getexif().get(TAG))


def _wide_colour(data: bytes, raw_mode: str) -> np.ndarray:
    """16 bit colour, of which Pillow keeps the upper byte: read once for the upper and once for the lower bytes."""
    array = _one_byte(data, raw_mode).astype(np.uint16)
    array <<= 8
    # read as little-endian, the lower byte of these big-endian values is the one kept
    array |= _one_byte(data, raw_mode[:-1] + "L")
    return array


def _one_byte(data: bytes, raw_mode: str) -> np.ndarray:
    with PngImageFile(BytesIO(data)) as picture:
        picture.tile = [tile._replace(args=raw_mode) for tile in picture.tile]
        return np.asarray(picture)
