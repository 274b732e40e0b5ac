"""NIfTI volumes, read to the end of their file and written in the geometry of the image that they belong to."""

from __future__ import annotations

import gzip
import math
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1Image

from monai_iltm.data.claims import require_room
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.headers import LONGEST_HEADER, image_shape, parse_header, placed_like

SLAB = 1 << 20  # values scaled, bytes passed over at a time
FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_volume(path: Path, most_bytes: int) -> tuple[np.ndarray, Nifti1Header]:
    """Array [*S] in Fortran order and native bytes, without trailing axes of one, and the file's header.

    Values that the header scales become float: float32 from 8 and 16 bit, float64 else. A compressed file is read to
    its end, where checksum and length stand. Raises InputError for values that are no plain numbers, for a file cut
    short and for more than `most_bytes`; OSError, EOFError, ValueError and zlib.error for other damage.
    """
    with opened(path) as stream:
        block = stream.read(LONGEST_HEADER)
        header = parse_header(block)
        dtype = header.get_data_dtype()
        shape = header.get_data_shape()
        if dtype.kind not in "buif":
            raise InputError(f"{shown(path)}: values of type {dtype}, expected plain numbers")
        if any(size < 0 for size in shape):
            raise InputError(f"{shown(path)}: its header claims the shape {shape}")
        scaling = scaling_of(header)
        count = math.prod(map(int, shape))
        kind = scaled_kind(dtype, scaling)
        require_room(path, shape, count * (dtype.itemsize + (kind.itemsize if scaling else 0)), most_bytes)
        raw = np.empty(count * dtype.itemsize, np.uint8)
        filled = _fill(raw, stream, block, int(header.get_data_offset()))
    if filled < len(raw):
        raise InputError(f"{shown(path)}: cut short, {filled} of {len(raw)} bytes of voxels")
    values = _native(raw, dtype)
    if scaling:
        values = _scaled(values, *scaling, kind)
    return values.reshape(image_shape(header), order="F"), header


def read_header(path: Path, check: bool = True) -> Nifti1Header:
    """The header alone. Raises as ``parse_header``, and OSError, EOFError or zlib.error for a damaged file."""
    with opened(path) as stream:
        return parse_header(stream.read(LONGEST_HEADER), check)


def write_volume(path: str, array: np.ndarray, affine: np.ndarray | None, header: Nifti1Header | None) -> None:
    """Write numbers in the geometry of a header, or under an affine f64 [4, 4] in mm (identity where None)."""
    if header is not None:
        image = placed_like(array, header)
    else:
        image = Nifti1Image(array, np.eye(4) if affine is None else affine)
        image.header.set_xyzt_units("mm")
    image.to_filename(path)


def opened(path: Path) -> BufferedIOBase:
    """The file's bytes, unpacked where its name says so."""
    return cast(BufferedIOBase, gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def scaling_of(header: Nifti1Header) -> tuple[float, float] | None:
    """Slope and intercept of the stored values, None where they stand as they are."""
    slope, intercept = header.get_slope_inter()
    return None if slope is None or (slope, intercept) == (1, 0) else (slope, intercept)


def scaled_kind(dtype: np.dtype, scaling: tuple[float, float] | None) -> np.dtype:
    """The type of scaled values: float32 holds what 8 and 16 bits can say, within its range."""
    if scaling is None:
        return dtype
    largest = 65536 * abs(scaling[0]) + abs(scaling[1])
    small = dtype.kind in "bui" and dtype.itemsize <= 2 and largest < FLOAT32_MAX
    return np.dtype(np.float32 if small else np.float64)


def _fill(raw: np.ndarray, stream: BufferedIOBase, block: bytes, offset: int) -> int:
    """Voxels into `raw`, then on to the end of the stream; how many bytes there were for it."""
    begun = np.frombuffer(block[offset : offset + len(raw)], np.uint8)
    raw[: len(begun)] = begun
    _pass_over(stream, offset - len(block))
    filled = len(begun)
    while filled < len(raw):
        read = stream.readinto(raw[filled:].data)
        if not read:
            return filled
        filled += read
    while stream.read(SLAB):  # gzip's checksum and length stand at the end
        pass
    return filled


def _pass_over(stream: BufferedIOBase, count: int) -> None:
    while count > 0 and (passed := stream.read(min(count, SLAB))):
        count -= len(passed)


def _native(raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
    values = raw.view(dtype)
    return values if dtype.isnative else values.byteswap(inplace=True).view(dtype.newbyteorder("="))


def _scaled(values: np.ndarray, slope: float, intercept: float, kind: np.dtype) -> np.ndarray:
    """As nibabel scales, in float64, but a slab at a time."""
    scaled = np.empty(len(values), kind)
    for start in range(0, len(values), SLAB):
        part = slice(start, start + SLAB)
        scaled[part] = values[part] * np.float64(slope) + np.float64(intercept)
    return scaled
