from __future__ import annotations

import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from monai.transforms import LoadImaged
from PIL import Image

from monai_iltm.data.errors import InputError
from monai_iltm.data.images import map_suffix, mask_suffix, read_image, stem, suffix, write_image
from monai_iltm.data.readers import ImageFileReader

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3, 0.5, -20], [0, -0.5, 4, 30], [0, 0, 0, 1]])


def wide_png(path: Path, array: np.ndarray) -> None:
    """A 16 bit PNG [row, col, 2, 3 or 4] written by hand, since Pillow writes no such file."""
    colour_type = {2: 4, 3: 2, 4: 6}[array.shape[2]]
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


@pytest.mark.parametrize(
    ("name", "array", "dtype"),
    [
        ("grey8.png", COLOUR[..., 0], np.uint8),
        ("grey16.png", COLOUR[..., 0].astype(np.uint16) * 257, np.uint16),
        ("colour.png", COLOUR, np.uint8),
        ("grey16.tif", COLOUR[..., 0].astype(np.uint16) * 257, np.uint16),
        ("colour16.tiff", COLOUR.astype(np.uint16) * 257, np.uint16),
        ("map.tif", RNG.normal(size=(5, 7)).astype(np.float32), np.float32),
        ("volume.nii.gz", RNG.normal(size=(4, 5, 6)).astype(np.float32), np.float32),
        ("volume.nii", RNG.integers(-900, 900, (4, 5, 6)), np.int32),
        ("slice.nii.gz", COLOUR[..., 0], np.uint8),
    ],
)
def test_what_is_written_is_read(tmp_path, name, array, dtype):
    write_image(tmp_path / "new" / name, array, AFFINE)
    image = read_image(tmp_path / "new" / name)
    assert image.array.dtype == dtype
    np.testing.assert_array_equal(image.array, array)
    if image.affine is not None:
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    assert (image.affine is not None) == (".nii" in name)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]  # no temporary left


@pytest.mark.parametrize(("name", "true"), [("mask.png", 255), ("mask.nii.gz", 1), ("mask.tif", 255)])
def test_masks(tmp_path, name, true):
    mask = RNG.random((5, 7)) < 0.5
    write_image(tmp_path / name, mask)
    assert read_image(tmp_path / name).array.dtype == np.uint8
    np.testing.assert_array_equal(read_image(tmp_path / name).array, mask * true)


def test_pictures_become_plain_grey_or_colour(tmp_path):
    picture = Image.fromarray(COLOUR)
    for mode, expected in [("RGBA", COLOUR), ("L", None), ("LA", None), ("1", None), ("P", None)]:
        for ending in ("png", "tif"):
            path = tmp_path / f"{mode}.{ending}"
            picture.convert(mode).save(path)
            if expected is None:
                reference = picture.convert(mode).convert("RGB" if mode == "P" else "L")
            np.testing.assert_array_equal(read_image(path).array, COLOUR if expected is not None else reference)
    picture.save(tmp_path / "colour.JPG", format="JPEG", quality=95)
    assert read_image(tmp_path / "colour.JPG").array.shape == (5, 7, 3)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png_keeps_all_bits(tmp_path, channels):
    array = RNG.integers(0, 65536, (6, 5, channels), dtype=np.uint16)
    wide_png(tmp_path / "wide.png", array)
    np.testing.assert_array_equal(read_image(tmp_path / "wide.png").array, array[..., :3])


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_tiffs(tmp_path, compression):
    for array in (COLOUR, COLOUR[..., 0], COLOUR[..., 0].astype(np.float32) / 7):
        Image.fromarray(array).save(tmp_path / "c.tif", compression=compression)
        np.testing.assert_array_equal(read_image(tmp_path / "c.tif").array, array)


def test_planar_and_white_is_zero_tiffs(tmp_path):
    tifffile.imwrite(tmp_path / "p.tif", np.moveaxis(COLOUR, -1, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "p.tif").array, COLOUR)
    tifffile.imwrite(tmp_path / "w.tif", COLOUR[..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "w.tif").array, 255 - COLOUR[..., 0])


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.nii", "a.nii.gz"])
def test_every_cut_is_refused(tmp_path, name):
    if name == "a.jpg":
        Image.fromarray(COLOUR).save(tmp_path / name)
    else:
        write_image(tmp_path / name, COLOUR[..., 0])
    whole = (tmp_path / name).read_bytes()
    for length in np.linspace(0, len(whole) - 5, 12).astype(int):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(InputError, match=f"{name}: (empty file|cannot be read|cut short|damaged)"):
            read_image(tmp_path / name)


def test_refuses_in_plain_words(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 40, 50), np.uint8), photometric="minisblack")
    wide_png(tmp_path / "la.png", RNG.integers(0, 65536, (3, 4, 2), dtype=np.uint16))
    colours = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "rgb.nii")
    for name, told in [
        ("missing.png", "file not found"),
        ("a.txt", "format .txt is not one of"),
        ("a.png", "cannot be read"),
        ("stack.tif", "3 pages"),
        ("la.png", "16 bit grey with alpha"),
        ("rgb.nii", "expected plain numbers"),
    ]:
        with pytest.raises(InputError, match=f"{name}: .*{told}"):
            read_image(tmp_path / name)


def test_write_refuses_what_a_format_cannot_hold(tmp_path):
    arrays: list[tuple[str, np.ndarray]] = [
        ("m.png", np.zeros((3, 4))),
        ("m.png", np.zeros((3, 4, 3), np.uint16)),
        ("m.jpg", np.zeros((3, 4), np.uint8)),
        ("m.nii", np.full((3, 4), 2**40)),
    ]
    for name, array in arrays:
        with pytest.raises(InputError, match=f"{name}: .*(cannot be written|do not fit)"):
            write_image(tmp_path / name, array)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    write_image(tmp_path / "m.tif", np.ones((3, 4)))

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tifffile, "imwrite", fail)
    with pytest.raises(InputError, match=r"m\.tif: cannot be written .no space"):
        write_image(tmp_path / "m.tif", np.zeros((3, 4)))
    assert [path.name for path in tmp_path.iterdir()] == ["m.tif"]
    assert read_image(tmp_path / "m.tif").array.all()
    with pytest.raises(InputError, match=r"m\.tif: folder cannot be written"):
        write_image(tmp_path / "m.tif" / "below.tif", np.zeros((3, 4)))


def test_suffixes():
    assert [suffix(p) for p in ("a.b/c.NII.gz", "x.y.png", "plain")] == [".nii.gz", ".png", ""]
    assert [stem(p) for p in ("a.b/c.NII.gz", "x.y.png", "plain")] == ["c", "x.y", "plain"]
    assert [map_suffix(p) for p in ("a.nii", "a.jpg")] == [".nii.gz", ".tif"]
    assert [mask_suffix(p) for p in ("a.nii", "a.jpg")] == [".nii.gz", ".png"]


def test_picture_reader_in_load_imaged(tmp_path):
    write_image(tmp_path / "colour.png", COLOUR)
    write_image(tmp_path / "grey.tif", COLOUR[..., 0].astype(np.float32))
    load = LoadImaged("image", reader=ImageFileReader, ensure_channel_first=True)
    colour = load({"image": tmp_path / "colour.png"})["image"]
    np.testing.assert_array_equal(colour, np.moveaxis(COLOUR, -1, 0))
    np.testing.assert_array_equal(colour.affine, np.eye(4))
    assert list(colour.meta["spatial_shape"]) == [5, 7]
    np.testing.assert_array_equal(load({"image": tmp_path / "grey.tif"})["image"], COLOUR[None, ..., 0])
    both = load({"image": [tmp_path / "grey.tif", tmp_path / "grey.tif"]})["image"]
    assert both.shape == (2, 5, 7)


def test_load_imaged_takes_nifti_past_the_picture_reader(tmp_path):
    write_image(tmp_path / "v.nii.gz", RNG.normal(size=(4, 5, 6)), AFFINE)
    volume = LoadImaged("image", reader=ImageFileReader, ensure_channel_first=True)({"image": tmp_path / "v.nii.gz"})
    assert volume["image"].shape == (1, 4, 5, 6)
    np.testing.assert_allclose(volume["image"].affine, AFFINE, atol=1e-6)


def test_the_reader_refuses_mixed_sizes_and_other_formats(tmp_path):
    write_image(tmp_path / "a.png", COLOUR[..., 0])
    write_image(tmp_path / "b.png", COLOUR[:3, :, 0])
    reader = ImageFileReader()
    assert reader.verify_suffix(["a.png", "a.nii.gz"])
    assert not reader.verify_suffix(["a.png", "a.dcm"])
    with pytest.raises(InputError, match=r"b\.png: channels of one image differ"):
        reader.read([tmp_path / "a.png", tmp_path / "b.png"])
    write_image(tmp_path / "c.png", COLOUR)
    with pytest.raises(InputError, match=r"c\.png: only grey"):
        reader.read([tmp_path / "a.png", tmp_path / "c.png"])
