from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from monai_iltm.data.errors import InputError
from monai_iltm.data.images import image_grid, read_image, write_image
from monai_iltm.data.orientations import stored, upright

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
KINDS = [
    ("a.png", {}),
    ("a.jpg", {"quality": 100, "subsampling": 0}),
    ("raw.tif", {}),
    ("lzw.tif", {"compression": "tiff_lzw"}),
    ("deflate.tif", {"compression": "tiff_adobe_deflate"}),
]


def tagged(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(path: Path, rows: int, columns: int, colour_type: int, packed: bytes, depth: int = 8) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, colour_type, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("name", "options"), KINDS)
def test_pictures_are_turned_as_viewers_turn_them(tmp_path, orientation, name, options):
    Image.fromarray(COLOUR).save(tmp_path / name, exif=tagged(orientation), **options)
    with Image.open(tmp_path / name) as picture:
        expected = np.array(ImageOps.exif_transpose(picture))
    file = read_image(tmp_path / name)
    np.testing.assert_array_equal(file.array, expected)
    assert file.orientation == orientation
    assert image_grid(tmp_path / name) == (expected.shape[:2], None)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("by_path", [True, False])
def test_results_are_stored_as_their_image_is_and_say_so(tmp_path, orientation, by_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=tagged(orientation))
    like = tmp_path / "a.png" if by_path else read_image(tmp_path / "a.png")
    shown = upright(COLOUR, orientation)
    for name, values in [("mask.png", shown[..., 0] > 99), ("map.tif", shown[..., 0] / 7), ("healed.tif", shown / 255)]:
        write_image(tmp_path / name, values, like=like)
        file = read_image(tmp_path / name)
        np.testing.assert_array_equal(file.array > 0, values > 0)
        assert file.orientation == orientation
    with Image.open(tmp_path / "mask.png") as mask:
        np.testing.assert_array_equal(np.array(mask) > 0, COLOUR[..., 0] > 99)  # who ignores the tag in both
        np.testing.assert_array_equal(np.array(ImageOps.exif_transpose(mask)) > 0, shown[..., 0] > 99)
    with tifffile.TiffFile(tmp_path / "map.tif") as tiff:
        np.testing.assert_array_equal(tiff.pages.first.asarray(), (COLOUR[..., 0] / 7).astype(np.float32))
    np.testing.assert_array_equal(stored(shown, orientation), COLOUR)


def test_a_tag_behind_the_pixels_counts_and_an_unknown_one_does_not(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    exif = tagged(3).tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "a.png").write_bytes(whole[:-12] + chunk(b"eXIf", exif) + whole[-12:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, COLOUR[::-1, ::-1])
    Image.fromarray(COLOUR).save(tmp_path / "b.png", exif=tagged(9))
    assert read_image(tmp_path / "b.png").orientation == 1


def test_nothing_but_the_stated_formats_is_opened(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for kind, told in [("eps", "PostScript"), ("gif", "GIF"), ("bmp", "BMP"), ("tiff", "TIFF"), ("pdf", "PDF")]:
        for name in ("x.png", "x.jpg"):
            Image.fromarray(COLOUR[..., 0]).save(tmp_path / name, format=kind)
            with pytest.raises(InputError, match=f"{name}: cannot be read, holds {told}, expected PNG or JPEG"):
                read_image(tmp_path / name)
    Image.fromarray(COLOUR).save(tmp_path / "x.tif", format="eps")
    with pytest.raises(InputError, match=r"x\.tif: cannot be read"):
        read_image(tmp_path / "x.tif")
    assert not (tmp_path / "started").exists()


def test_png_and_jpeg_pass_under_each_others_names(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").array, COLOUR)


def test_animations_are_refused(tmp_path):
    frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="2 frames"):
        read_image(tmp_path / "a.png")


def test_a_damaged_chunk_and_missing_rows_are_refused(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    whole = bytearray((tmp_path / "a.png").read_bytes())
    whole[60] ^= 1
    (tmp_path / "a.png").write_bytes(bytes(whole))
    png(tmp_path / "b.png", 500, 7, 0, zlib.compress(RNG.bytes(8 * 500))[:300])
    for name in ("a.png", "b.png"):
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("side", "colour_type", "depth"), [(13000, 6, 16), (60000, 0, 8), (40000, 2, 8), (70000, 0, 1)]
)
def test_a_png_is_refused_by_the_size_that_it_claims(tmp_path, side, colour_type, depth):
    png(tmp_path / "bomb.png", side, side, colour_type, zlib.compress(b"\0"), depth)
    with pytest.raises(InputError, match=f"claims {side} x {side} values, .* 2 GiB .*max_read_gib"):
        read_image(tmp_path / "bomb.png")


def test_large_pictures_within_the_limit_need_no_leave_of_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for name, options in KINDS:
        Image.fromarray(COLOUR).save(tmp_path / name, **options)
        assert read_image(tmp_path / name).array.shape == COLOUR.shape
        with pytest.raises(InputError, match="max_read_gib"):
            read_image(tmp_path / name, most_bytes=COLOUR.nbytes)


def test_names_are_shown_on_one_line(tmp_path):
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / "a\n\x1b[2J.png")
    assert str(caught.value).endswith("a\\n\\x1b[2J.png: file not found")
