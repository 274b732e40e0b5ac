from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_iltm.data.cases import load_cases
from monai_iltm.data.documents import read_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image, write_image
from monai_iltm.engines import masks
from monai_iltm.engines.masks import (
    against_truth,
    agreement,
    lock_masks,
    make_masks,
    require_own_grid,
    surprise_limit,
    surprise_maps,
    surprise_sample,
    suspect_tokens,
    truth_as_mask,
)
from monai_iltm.store import RoundFolder
from monai_iltm.transforms import preprocessing

NOTHING = np.zeros(0)
AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])


def bits(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool)


# ---- where the limit lies ----


def write_maps(folder: Path, *arrays: np.ndarray) -> list[Path]:
    paths = [folder / f"{index}.tif" for index in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        write_image(path, array.astype(np.float32))
    return paths


def test_a_density_is_a_surprise():
    assert surprise_limit(NOTHING, density=0.005) == pytest.approx(5.298317)
    assert surprise_limit(NOTHING, density=1.0) == 0
    assert surprise_limit(NOTHING, density=math.e) == pytest.approx(-1)


def test_a_share_is_counted_over_all_maps_together(tmp_path):
    """Map 1 holds 0..99, map 2 holds 100..299: the top tenth of 300 is 30 values, all in map 2."""
    maps = write_maps(tmp_path, np.arange(100).reshape(10, 10), np.arange(100, 300).reshape(10, 20))
    limit = surprise_limit(surprise_sample(maps), share=0.1)
    assert sum((read_image(path).array > limit).sum() for path in maps) == 30
    assert np.quantile(surprise_sample(maps), 0.5) == pytest.approx(149.5)


def test_of_many_values_a_sample_is_enough(tmp_path, monkeypatch):
    """Every voxel counts alike: those of a large map, and those of a column that any fixed stride might hit or miss."""
    monkeypatch.setattr(masks, "SAMPLE", 4000)
    large, small = np.zeros((200, 100)), np.ones((50, 100))
    large[:, 0] = small[:, 0] = 2.0
    maps = write_maps(tmp_path, large, small)
    assert np.quantile(surprise_sample(maps), 0.77) == 0  # 20 000 x 0.99 of 25 000 are 0
    assert np.quantile(surprise_sample(maps), 0.82) == np.quantile(surprise_sample(maps), 0.97) == 1
    assert np.quantile(surprise_sample(maps), 0.995) == 2  # the columns: 1 %


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({}, "exactly one of mask_density and mask_share"),
        ({"density": 0.005, "share": 0.04}, "exactly one"),
        ({"density": 0.0}, "mask_density is positive, found 0"),
        ({"density": -1.0}, "mask_density is positive"),
        ({"share": 0.0}, "mask_share lies in"),
        ({"share": 1.0}, "mask_share lies in"),
    ],
)
def test_exactly_one_rule_in_its_range(rule, words):
    with pytest.raises(InputError, match=words):
        surprise_limit(NOTHING, **rule)


# ---- masks on disk ----


def scored(tmp_path: Path, end: str) -> tuple[RoundFolder, list[dict]]:
    """Two cases with maps: a is surprising in its first row, b nowhere."""
    folder, cases = RoundFolder(tmp_path / "run" / "round_00"), []
    size = (3, 4) if end == ".png" else (3, 4, 2)
    for case in "ab":
        surprise = np.zeros(size, np.float32)
        surprise[0] = 7.0 if case == "a" else 0.0
        suffix = ".tif" if end == ".png" else ".nii.gz"
        write_image(folder.maps / f"{case}_surprise{suffix}", surprise, AFFINE)
        image = tmp_path / "data" / f"{case}{end}"
        write_image(image, np.arange(np.prod(size)).reshape(size).astype(np.uint8), AFFINE)
        cases.append({"case": case, "image": str(image.resolve())})
    return folder, cases


@pytest.mark.parametrize("end", [".png", ".nii.gz"])
def test_masks_are_what_exceeds_the_limit_in_the_images_grid(tmp_path, end):
    folder, cases = scored(tmp_path, end)
    make_masks(folder, cases, 5.0, tmp_path / "data")
    expected = read_image(folder.map("a")).array > 5
    mask = read_image(folder.masks / f"a{end}")
    assert np.array_equal(mask.array > 0, expected)
    assert mask.array.max() == (255 if end == ".png" else 1)
    assert not read_image(folder.masks / f"b{end}").array.any()
    if end == ".nii.gz":
        np.testing.assert_array_equal(mask.affine, AFFINE)


def test_the_limit_itself_is_not_masked(tmp_path):
    folder, cases = scored(tmp_path, ".png")
    make_masks(folder, cases, 7.0, tmp_path / "data")
    assert not read_image(folder.masks / "a.png").array.any()


def test_the_next_rounds_datalist_names_masks_by_case(tmp_path):
    folder, cases = scored(tmp_path, ".png")
    make_masks(folder, cases, 5.0, tmp_path / "data")
    assert read_json(folder.datalist) == {
        "training": [
            {"case": "a", "image": "a.png", "mask": "masks/a.png"},
            {"case": "b", "image": "b.png", "mask": "masks/b.png"},
        ]
    }


def test_data_may_move_between_rounds(tmp_path):
    folder, cases = scored(tmp_path, ".png")
    make_masks(folder, cases, 5.0, tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / "moved")
    loaded = load_cases(tmp_path / "moved", datalist=folder.datalist)
    assert [Path(case["image"]).parent for case in loaded] == 2 * [(tmp_path / "moved").resolve()]


def test_images_outside_the_data_folder_keep_their_paths(tmp_path):
    folder, cases = scored(tmp_path, ".png")
    (tmp_path / "other").mkdir()
    make_masks(folder, cases, 5.0, tmp_path / "other")
    assert [entry["image"] for entry in read_json(folder.datalist)["training"]] == [case["image"] for case in cases]


def test_a_mask_that_exists_stays(tmp_path):
    """An expert's correction, or what was there before a kill."""
    folder, cases = scored(tmp_path, ".png")
    edited = np.eye(3, 4, dtype=bool)
    write_image(folder.masks / "a.png", edited)
    make_masks(folder, cases, 5.0, tmp_path / "data")
    assert np.array_equal(read_image(folder.masks / "a.png").array > 0, edited)
    assert (folder.masks / "b.png").is_file()


def test_locked_regions_go_before_the_map(tmp_path):
    folder, cases = scored(tmp_path, ".png")
    normal, anomalous = np.zeros((3, 4), bool), np.zeros((3, 4), bool)
    normal[:, :2], anomalous[2, :] = True, True
    write_image(tmp_path / "normal.png", normal)
    write_image(tmp_path / "anomalous.png", anomalous)
    cases[0] |= {"lock_normal": str(tmp_path / "normal.png"), "lock_anomalous": str(tmp_path / "anomalous.png")}
    make_masks(folder, cases, 5.0, tmp_path / "data")
    mask = read_image(folder.masks / "a.png").array > 0
    assert mask.astype(int).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]


def test_a_lock_on_another_grid_is_refused_by_case(tmp_path):
    folder, cases = scored(tmp_path, ".png")
    write_image(tmp_path / "lock.png", np.ones((4, 4), bool))
    cases[0]["lock_normal"] = str(tmp_path / "lock.png")
    with pytest.raises(InputError, match=r"a: lock_normal \(4, 4\) is not on the image's grid \(3, 4\)"):
        make_masks(folder, cases, 5.0, tmp_path / "data")


def test_locked_regions_that_come_later_change_nothing_else(tmp_path):
    folder, cases = scored(tmp_path, ".png")
    make_masks(folder, cases, 5.0, tmp_path / "data")
    edited = np.eye(3, 4, dtype=bool)
    write_image(folder.masks / "a.png", edited)
    write_image(tmp_path / "lock.png", np.arange(12).reshape(3, 4) == 0)
    untouched = (folder.masks / "b.png").stat().st_mtime_ns
    cases[0]["lock_normal"] = str(tmp_path / "lock.png")
    lock_masks(folder, cases)
    edited[0, 0] = False
    assert np.array_equal(read_image(folder.masks / "a.png").array > 0, edited)
    assert (folder.masks / "b.png").stat().st_mtime_ns == untouched


def test_a_map_that_is_missing_is_named(tmp_path):
    folder, cases = scored(tmp_path, ".png")
    (folder.maps / "b_surprise.tif").unlink()
    with pytest.raises(InputError, match="maps: no surprise of case b"):
        make_masks(folder, cases, 5.0, tmp_path / "data")
    with pytest.raises(InputError, match="maps: no surprise of case b"):
        surprise_maps(folder, cases)


# ---- from masks to tokens ----


def test_suspects_are_masks_through_the_geometry_of_their_images(tmp_path):
    """A 6 x 8 picture padded to 8 x 12, so by one row and two columns, on a grid of 2 x 3."""
    write_image(tmp_path / "a.png", np.arange(48, dtype=np.uint8).reshape(6, 8))
    mask = np.zeros((6, 8), bool)
    mask[0:3, 0:2] = True  # all that the first cell holds of the picture: 6 of its 16 pixels
    write_image(tmp_path / "mask.png", mask)
    case = {"case": "a", "image": str(tmp_path / "a.png"), "mask": str(tmp_path / "mask.png"), "split": "training"}
    bare = {key: case[key] for key in ("case", "image")}
    steps = preprocessing((8, 12), 1, (0, 255), mask_keys=["mask"])
    for mode, cut, first in (("max", 0.5, True), ("area", 6 / 16, True), ("area", 7 / 16, False)):
        suspect = suspect_tokens([case, bare], steps, (2, 3), mode, cut)
        assert suspect.dtype == torch.bool
        assert suspect[0].tolist() == [[first, False, False], [False, False, False]]
        assert not suspect[1].any()


def test_agreement_by_hand():
    assert agreement(bits(1, 1, 0, 0), bits(1, 0, 1, 0)) == pytest.approx(1 / 3)
    assert agreement(bits(1, 1), bits(1, 1)) == agreement(bits(0, 0), bits(0, 0)) == 1.0
    assert agreement(bits(1, 0), bits(0, 1)) == 0.0


def test_recall_and_precision_by_hand():
    assert against_truth(bits(1, 1, 1, 0), bits(1, 0, 0, 1)) == {"recall": 1 / 2, "precision": 1 / 3}
    assert against_truth(bits(0, 0), bits(1, 0)) == {"recall": 0.0, "precision": 0.0}
    assert against_truth(bits(1, 0), bits(0, 0)) == {}


# ---- masks that somebody has edited ----


@pytest.fixture
def edited(tmp_path) -> tuple[RoundFolder, list[dict]]:
    """A round with a mask of a volume and of a picture, each on its image's grid."""
    folder = RoundFolder(tmp_path / "round_00")
    volume = np.arange(60, dtype=np.float32).reshape(5, 4, 3)
    write_image(tmp_path / "v.nii.gz", volume, AFFINE)
    write_image(tmp_path / "p.png", np.arange(60, dtype=np.uint8).reshape(10, 6))
    write_image(folder.masks / "v.nii.gz", volume > 50, like=tmp_path / "v.nii.gz")
    write_image(folder.masks / "p.png", np.arange(60).reshape(10, 6) > 50)
    cases = [{"case": case, "image": str(tmp_path / f"{case}{end}")} for case, end in (("v", ".nii.gz"), ("p", ".png"))]
    return folder, cases


def test_masks_on_their_images_grids_pass(edited):
    require_own_grid(*edited)
    folder, _ = edited
    Image.fromarray(np.zeros((10, 6), np.uint8)).convert("RGB").save(folder.masks / "p.png")
    require_own_grid(*edited)  # as another program saves it


def shorter(folder: RoundFolder) -> None:
    write_image(folder.masks / "p.png", np.ones((9, 6), bool))


def mirrored(folder: RoundFolder) -> None:
    turned = AFFINE.copy()
    turned[0] = [2.0, 0, 0, -8.0]  # the same places in mm, the first axis turned round
    write_image(folder.masks / "v.nii.gz", np.ones((5, 4, 3), bool), turned)


def shifted(folder: RoundFolder) -> None:
    moved = AFFINE.copy()
    moved[2, 3] = 3.0
    write_image(folder.masks / "v.nii.gz", np.ones((5, 4, 3), bool), moved)


def grey(folder: RoundFolder) -> None:
    write_image(folder.masks / "p.png", np.arange(60, dtype=np.uint8).reshape(10, 6))


def damaged(folder: RoundFolder) -> None:
    (folder.masks / "p.png").write_bytes(b"no picture")


def gone(folder: RoundFolder) -> None:
    (folder.masks / "p.png").unlink()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (shorter, r"p: its mask .*p\.png is not on the image's grid: \(9, 6\), image \(10, 6\)"),
        (mirrored, r"v: its mask .*v\.nii\.gz is not on the image's grid: affine off by up to"),
        (shifted, r"v: its mask .* affine off by up to 3 mm"),
        (grey, r"p\.png: a mask holds 0 and one other value, found"),
        (damaged, r"p\.png: cannot be read"),
        (gone, "round_00: the mask of case p is gone"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_named(edited, edit, words):
    edit(edited[0])
    with pytest.raises(InputError, match=words):
        require_own_grid(*edited)


def test_truth_as_mask_keeps_how_it_is_read():
    case = {"case": "a", "image": "i", "label": "l", "label_ignore": 255, "split": "training", "kind": "x"}
    assert truth_as_mask(case) == {"case": "a", "image": "i", "label_ignore": 255, "mask": "l"}
    assert truth_as_mask({"case": "a", "image": "i"}) == {"case": "a", "image": "i"}
