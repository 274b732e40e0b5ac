from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image, write_image

RNG = np.random.default_rng(0)
SMOOTH = np.add.outer(np.arange(40), np.arange(36)).astype(np.uint8)
COLOUR = np.stack([SMOOTH, 255 - SMOOTH, SMOOTH // 2], -1)
WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, OFFSETS, ROWS, COUNTS, PLANAR = 256, 257, 259, 262, 273, 278, 279, 284
SUBSAMPLING = 530


def set_tag(path: Path, tag: int, value: int, kind: int = 4, count: int = 1) -> None:
    """Overwrite the value of a tag (of a small little-endian file) in place; kind 3 is short, 4 long."""
    whole = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", whole, 4)[0]
    for index in range(struct.unpack_from("<H", whole, start)[0]):
        place = start + 2 + 12 * index
        if struct.unpack_from("<H", whole, place)[0] == tag:
            struct.pack_into("<HII", whole, place + 2, kind, count, value)
    path.write_bytes(bytes(whole))


def lab(colour: np.ndarray) -> Image.Image:
    kinds = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.applyTransform(Image.fromarray(colour), ImageCms.buildTransform(*kinds, "RGB", "LAB"))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_foreign_colour_spaces_become_rgb(tmp_path, mode, compression):
    picture = lab(COLOUR) if mode == "LAB" else Image.fromarray(COLOUR).convert(mode)
    picture.save(tmp_path / "a.tif", compression=compression)
    array = read_image(tmp_path / "a.tif").array
    assert array.shape == COLOUR.shape
    assert np.abs(array.astype(int) - COLOUR).max() < 32  # 8 bit Lab is coarse


def test_plain_ycbcr_of_fewer_colours_than_pixels_is_refused_by_its_name(tmp_path):
    Image.fromarray(COLOUR).convert("YCbCr").save(tmp_path / "a.tif")
    set_tag(tmp_path / "a.tif", SUBSAMPLING, 2 | 2 << 16, kind=3, count=2)
    with pytest.raises(InputError, match="uncompressed YCbCr with fewer colours than pixels"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("bands", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["minisblack", "rgb"])
def test_samples_that_are_not_alpha_are_bands(tmp_path, bands, planar, kind, compression):
    if kind == "rgb" and bands < 3:
        return
    values = RNG.integers(0, 60000, (6, 8, bands), dtype=np.uint16)
    extra = bands - (3 if kind == "rgb" else 1)
    options = {"photometric": kind, "planarconfig": planar, "compression": compression}
    planes = values if planar == "contig" else np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, extrasamples=["unspecified"] * extra, **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, values)


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha"])
def test_samples_called_alpha_are_dropped_wherever_they_stand(tmp_path, kind):
    values = RNG.integers(0, 256, (6, 8, 5), dtype=np.uint8)
    for extra, kept in [
        ([kind], [0, 1, 2]),
        (["unspecified", kind], [0, 1, 2, 3]),
        ([kind, "unspecified"], [0, 1, 2, 4]),
    ]:
        tifffile.imwrite(tmp_path / "a.tif", values[..., : 3 + len(extra)], photometric="rgb", extrasamples=extra)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, values[..., kept])
    tifffile.imwrite(
        tmp_path / "g.tif", values[..., :2], photometric="minisblack", extrasamples=[kind], planarconfig="contig"
    )
    np.testing.assert_array_equal(read_image(tmp_path / "g.tif").array, values[..., 0])


@pytest.mark.parametrize("channels", [2, 3, 4, 5])
def test_bands_are_written_and_read(tmp_path, channels):
    values = RNG.random((6, 8, channels)).astype(np.float32)
    write_image(tmp_path / "a.tif", values)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, values)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"tile": (16, 16), "compression": "zlib"}, {"byteorder": ">"}],
    ids=str,
)
def test_every_type_and_layout(tmp_path, dtype, options):
    values = (RNG.random((23, 37)) * 100).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    array = read_image(tmp_path / "a.tif").array
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, values)


def test_differenced_and_few_bits(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COLOUR, photometric="rgb", compression="zlib", predictor=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, COLOUR)
    tifffile.imwrite(tmp_path / "b.tif", SMOOTH > 30, photometric="minisblack", compression="zlib")
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").array, (SMOOTH > 30) * 255)


@pytest.mark.parametrize(
    "options", [{"tile": (16, 16)}, {"tile": (16, 16), "compression": "zlib"}, {"rowsperstrip": 8}]
)
def test_missing_data_are_refused(tmp_path, options, capsys):
    tifffile.imwrite(tmp_path / "a.tif", RNG.random((48, 48)).astype(np.float32), **options)
    set_tag(tmp_path / "a.tif", HEIGHT, 96)
    with pytest.raises(InputError, match=r"a\.tif: damaged, \d+ (tiles|strips), expected \d+"):
        read_image(tmp_path / "a.tif")
    assert capsys.readouterr().err == ""


def test_a_tile_without_bytes_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", SMOOTH)
    for tag, value in [(COUNTS, 0), (OFFSETS, 0), (OFFSETS, 10**8), (COUNTS, 10**8), (COUNTS, 100)]:
        tifffile.imwrite(tmp_path / "a.tif", SMOOTH)
        set_tag(tmp_path / "a.tif", tag, value)
        with pytest.raises(InputError, match=r"a\.tif: "):
            read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("value", [0, 2, 127])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_another_planar_configuration_is_refused(tmp_path, value, compression):
    tifffile.imwrite(tmp_path / "a.tif", COLOUR, photometric="rgb", compression=compression)
    set_tag(tmp_path / "a.tif", PLANAR, value)
    with pytest.raises(InputError, match=r"a\.tif: "):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("value", [4, 9, 32803, 34892, 777])
def test_other_photometric_interpretations_are_refused_by_name(tmp_path, value):
    tifffile.imwrite(tmp_path / "a.tif", SMOOTH)
    set_tag(tmp_path / "a.tif", PHOTOMETRIC, value)
    with pytest.raises(InputError, match=r"a\.tif: its colours are \w+, expected grey or RGB"):
        read_image(tmp_path / "a.tif")


def test_what_does_not_fit_its_colours_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", SMOOTH)
    set_tag(tmp_path / "a.tif", PHOTOMETRIC, 2)
    tifffile.imwrite(tmp_path / "b.tif", SMOOTH.astype(np.float32), photometric="miniswhite")
    tifffile.imwrite(tmp_path / "c.tif", SMOOTH.astype(np.complex64))
    tifffile.imwrite(tmp_path / "d.tif", np.dstack([COLOUR, SMOOTH]).astype(np.uint16), photometric="separated")
    for name, told in [
        ("a.tif", "1 samples a pixel do not fit RGB"),
        ("b.tif", "white is zero in float32"),
        ("c.tif", "complex64"),
        ("d.tif", "16 bit CMYK"),
    ]:
        with pytest.raises(InputError, match=f"{name}: .*{told}"):
            read_image(tmp_path / name)


def test_a_tiff_is_refused_by_the_size_that_it_claims(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", SMOOTH, compression="zlib")
    for tag in (WIDTH, HEIGHT, ROWS):
        set_tag(tmp_path / "a.tif", tag, 60000)
    with pytest.raises(InputError, match=r"claims 60000 x 60000 values, .* 2 GiB .*max_read_gib"):
        read_image(tmp_path / "a.tif")


def test_a_strip_unpacks_to_no_more_than_its_place(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", SMOOTH, compression="zlib")
    whole = (tmp_path / "a.tif").read_bytes()
    packed = zlib.compress(bytes(10**6))
    (tmp_path / "a.tif").write_bytes(whole + packed)
    set_tag(tmp_path / "a.tif", OFFSETS, len(whole))
    set_tag(tmp_path / "a.tif", COUNTS, len(packed))
    with pytest.raises(InputError, match="unpacks to other than"):
        read_image(tmp_path / "a.tif")
