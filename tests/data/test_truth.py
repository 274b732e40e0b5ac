from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.data.truth import read_mask

MARKED = np.zeros((12, 10), bool)
MARKED[3:7, 2:9] = True
GREY = MARKED.astype(np.uint8) * 255
RED = GREY[..., None] * np.array([1, 0, 0], np.uint8)


def palette(*colours: int) -> Image.Image:
    picture = Image.fromarray(MARKED.astype(np.uint8)).convert("P")
    picture.putpalette([*colours, *[0] * (768 - len(colours))])
    return picture


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("grey.png", Image.fromarray(GREY)),
        ("one.png", Image.fromarray(MARKED.astype(np.uint8))),
        ("bits.png", Image.fromarray(GREY).convert("1")),
        ("wide.png", Image.fromarray(MARKED.astype(np.uint16) * 65535)),
        ("palette.png", palette(0, 0, 0, 128, 0, 0)),
        ("palette.tif", palette(0, 0, 0, 128, 0, 0)),
        ("black.png", palette(0, 0, 0, 0, 0, 0)),
        ("rgb.png", Image.fromarray(RED)),
        ("rgb.tif", Image.fromarray(RED)),
        ("rgba.png", Image.fromarray(RED).convert("RGBA")),
        ("layer.png", Image.fromarray(np.dstack([np.full_like(RED, 200), GREY]))),
        ("ink.png", Image.fromarray(np.dstack([np.zeros_like(GREY), GREY]), "LA")),
    ],
)
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_pictures_mark_by_value_index_or_any_colour(tmp_path, name, picture):
    picture.save(tmp_path / name)
    mask = read_mask(tmp_path / name)
    assert mask.array.dtype == bool
    np.testing.assert_array_equal(mask.array, MARKED)
    assert mask.ignored is None
    assert mask.affine is None


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0.0, 1.0), (0.0, 0.25)])
def test_volumes_mark_by_value(tmp_path, values):
    volume = np.where(MARKED[..., None] & np.ones(5, bool), values[1], values[0])
    write_image(tmp_path / "m.nii.gz", volume, np.diag([2.0, 2, 3, 1]))
    mask = read_mask(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(mask.array, volume > 0)
    np.testing.assert_array_equal(mask.affine, np.diag([2.0, 2, 3, 1]))


@pytest.mark.parametrize(("value", "marked"), [(0, False), (1, True), (255, True)])
def test_one_value_is_empty_or_whole(tmp_path, value, marked):
    Image.fromarray(np.full((4, 5), value, np.uint8)).save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png").array == marked).all()


def test_compression_noise_labels_and_soft_edges_are_refused_with_their_values(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "noise.jpg", quality=75)
    write_image(tmp_path / "labels.nii.gz", np.arange(3)[:, None, None] * np.ones((3, 4, 5), np.int16))
    write_image(tmp_path / "soft.tif", np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5))
    write_image(tmp_path / "border.png", np.where(np.eye(8) > 0, 255, MARKED[:8, :8]).astype(np.uint8))
    write_image(tmp_path / "black.png", np.where(MARKED, 250, 3).astype(np.uint8))
    write_image(tmp_path / "minus.nii", np.where(MARKED, -1, 0))
    for name, found in [
        ("noise.jpg", r"\d+ values"),
        ("labels.nii.gz", "0, 1, 2"),
        ("soft.tif", "20 values"),
        ("border.png", "0, 1, 255"),
        ("black.png", "3, 250"),
        ("minus.nii", "-1, 0"),
    ]:
        with pytest.raises(InputError, match=f"{name}: .*found .*{found}.*label_threshold .*label_ignore"):
            read_mask(tmp_path / name)


def test_a_threshold_says_what_is_marked(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "noise.jpg", quality=75)
    np.testing.assert_array_equal(read_mask(tmp_path / "noise.jpg", threshold=127).array, MARKED)
    write_image(tmp_path / "cubic.nii", np.where(MARKED, 0.9, -0.05))
    np.testing.assert_array_equal(read_mask(tmp_path / "cubic.nii", threshold=0.5).array, MARKED)


def test_an_ignored_value_is_neither_marked_nor_held_against_the_mask(tmp_path):
    border = np.where(np.arange(10) < 2, 255, MARKED).astype(np.uint8)
    write_image(tmp_path / "m.png", border)
    mask = read_mask(tmp_path / "m.png", ignore=255)
    np.testing.assert_array_equal(mask.ignored, border == 255)
    np.testing.assert_array_equal(mask.array, MARKED & (border != 255))
    write_image(tmp_path / "m.nii", np.where(border == 255, -1, border.astype(np.int16)))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii", ignore=-1).array, mask.array)
    write_image(tmp_path / "all.png", np.full((4, 5), 255, np.uint8))
    assert not read_mask(tmp_path / "all.png", ignore=255).array.any()


def test_a_mask_stored_turned_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(GREY).copy()).save(tmp_path / "m.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png").array, MARKED)


def test_what_cannot_be_told_is_refused(tmp_path):
    white = np.full((12, 10, 3), 255, np.uint8)
    white[MARKED] = [255, 0, 0]
    Image.fromarray(white).save(tmp_path / "white.png")
    palette(255, 255, 255, 0, 0, 0).save(tmp_path / "inverse.png")
    Image.fromarray(np.dstack([RED, 255 - GREY])).save(tmp_path / "hidden.png")
    tifffile.imwrite(tmp_path / "turned.tif", MARKED, photometric="miniswhite")
    nib.save(nib.Nifti1Image(np.where(MARKED, np.nan, 0)[..., None], np.eye(4)), tmp_path / "nan.nii")
    for name, told in [
        ("white.png", "without black"),
        ("inverse.png", "palette shows 0 in a colour"),
        ("hidden.png", "marked and transparent"),
        ("turned.tif", "white is zero"),
        ("nan.nii", "not finite"),
    ]:
        with pytest.raises(InputError, match=f"{name}: .*{told}"):
            read_mask(tmp_path / name)
