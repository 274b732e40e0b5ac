from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_iltm.data.checks import Problem, check_cases, format_problems, require_sound
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.data.layouts import folder_cases
from monai_iltm.data.prepare import image_limits, prepare
from monai_iltm.data.volumes import read_volume

PIXDIM, SROW_X, SROW_Y = 76 + 4, 280, 296  # byte offsets of spacing and affine in a NIfTI-1 header
AFFINE = np.diag([2.0, 2, 3, 1])
UNREADABLE = "truncated or unreadable file"


def picture(seed: int = 0, shape: tuple[int, ...] = (16, 18)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape, dtype=np.uint8)


def volume(seed: int = 0, shape: tuple[int, ...] = (8, 9, 10)) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.fixture
def pictures(tmp_path) -> Path:
    for index in range(3):
        write_image(tmp_path / f"ok{index}.png", picture(index))
    return tmp_path


@pytest.fixture
def volumes(tmp_path) -> Path:
    for index in range(3):
        write_image(tmp_path / f"ok{index}.nii", volume(index), AFFINE)
    return tmp_path


def patch_header(path: Path, offset: int, *values: float) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 4 * len(values)] = struct.pack(f"<{len(values)}f", *values)
    path.write_bytes(raw)


def found(folder: Path, **limits) -> list[tuple[str, str]]:
    """(file, what is wrong) of every problem of a folder."""
    return [(problem.file, problem.what) for problem in prepare(folder, **limits).problems]


def test_a_sound_folder_has_no_problem(volumes):
    prepared = prepare(volumes, min_size=(8, 9, 10), value_range=(0, 1))
    assert (prepared.problems, prepared.notes) == ([], [])
    assert [entry["case"] for entry in prepared.datalist["training"]] == ["ok0", "ok1", "ok2"]


def test_files_that_cannot_be_read(pictures):
    whole = (pictures / "ok0.png").read_bytes()
    (pictures / "cut.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "empty.png").touch()
    (pictures / "text.tif").write_text("no picture")
    (pictures / "volume.nii.gz").write_text("no volume")
    assert found(pictures) == [
        ("cut.png", UNREADABLE),
        ("empty.png", "empty file"),
        ("text.tif", UNREADABLE),
        ("volume.nii.gz", UNREADABLE),
    ]
    assert not any(str(pictures) in problem.found for problem in prepare(pictures).problems)


def test_missing_file(pictures):
    datalist = {"training": [{"case": str(i), "image": f"ok{i}.png", "label": f"no{i}.png"} for i in range(4)]}
    problems = check_cases(datalist, pictures)
    assert Problem("0", "no0.png", "label: missing file", "no such file") in problems
    assert Problem("3", "ok3.png", "missing file", "no such file") in problems
    assert len(problems) == 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["bad.tif", "bad.nii.gz"])
def test_intensities_that_are_not_finite(tmp_path, bad, name):
    values = volume(shape=(8, 9) if name == "bad.tif" else (8, 9, 10))
    write_image(tmp_path / ("ok" + name), values, AFFINE)
    values[1, 2] = bad
    write_image(tmp_path / name, values, AFFINE)
    problem = prepare(tmp_path).problems
    assert [(p.file, p.what) for p in problem] == [(name, "NaN or infinite intensities")]
    assert problem[0].found == f"{np.count_nonzero(~np.isfinite(values))} of {values.size} values"


def test_nothing_finite_at_all(pictures):
    write_image(pictures / "nan.tif", np.full((16, 18), np.nan))
    assert found(pictures, value_range=(0, 255)) == [("nan.tif", "NaN or infinite intensities")]


@pytest.mark.parametrize(
    ("offset", "values", "what"),
    [
        (SROW_X, (np.nan, 0, 0, 0), "non-finite affine"),
        (SROW_X, (2, 0, 0, np.inf), "non-finite affine"),
        (SROW_X, (0, 0, 0, 0), "singular affine"),
        (SROW_Y, (2, 0, 0, 0), "singular affine"),
        (PIXDIM, (0,), "spacing not positive"),
        (PIXDIM, (2, -2), "spacing not positive"),
        (PIXDIM, (2, 2, np.nan), "spacing not positive"),
    ],
)
def test_broken_geometry_is_seen_in_the_raw_header(volumes, capfd, offset, values, what):
    patch_header(volumes / "ok1.nii", offset, *values)
    assert found(volumes) == [("ok1.nii", what)]
    assert capfd.readouterr().err == ""  # nibabel's own words on what it repaired stay out of the table


def test_tiny_and_oblique_voxels_are_sound(tmp_path):
    turned = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, 5], [0, 0, 2.0, 5], [0, 0, 0, 1]])
    for index, affine in enumerate([turned, np.diag([1e-4, 1e-4, 1e-4, 1])]):
        write_image(tmp_path / f"{index}.nii.gz", volume(index), affine)
    assert found(tmp_path) == []


@pytest.mark.parametrize("shape", [(8, 9, 10, 3), (8, 9, 10, 1, 2)])
def test_more_than_three_axes(volumes, shape):
    write_image(volumes / "time.nii", volume(shape=shape), AFFINE)
    assert found(volumes) == [("time.nii", f"{len(shape)}D volume")]


def test_mixed_dimensions_and_channels(pictures):
    write_image(pictures / "colour.png", picture(shape=(16, 18, 3)))
    write_image(pictures / "volume.nii.gz", volume(), AFFINE)
    problems = prepare(pictures).problems
    assert [(p.file, p.what, p.found) for p in problems] == [
        ("colour.png", "mixed channels", "3, most images have 1"),
        ("volume.nii.gz", "mixed dimensions", "3D, most images are 2D"),
    ]


def test_constant_and_small_images(pictures):
    write_image(pictures / "flat.png", np.full((16, 18), 7, np.uint8))
    write_image(pictures / "small.png", picture(shape=(15, 18)))
    problems = prepare(pictures, min_size=16).problems
    assert [(p.file, p.what, p.found) for p in problems] == [
        ("flat.png", "constant image", "every value 7"),
        ("small.png", "image too small", "(15, 18), smallest grid (16, 16)"),
    ]
    assert found(pictures, min_size=(15, 19))[0] == ("flat.png", "constant image")
    assert ("ok0.png", "image too small") in found(pictures, min_size=(15, 19))
    assert ("ok0.png", "wrong number of dimensions") in found(pictures, min_size=(8, 8, 8))


@pytest.mark.parametrize(
    ("size", "factor", "resize", "what"),
    [
        ((16, 18), 2, False, set()),
        ((16, 17), 1, False, {"image too large"}),
        ((16, 17), 1, True, set()),
        ((34, 34), 17, False, {"image too small"}),
        ((34, 34), 17, True, {"image too small"}),
    ],
)
def test_a_models_grid_says_what_fits(pictures, size, factor, resize, what):
    """Pictures of 16 x 18."""
    assert {told for _, told in found(pictures, **image_limits(size, factor, resize=resize))} == what


def test_other_channels_than_the_models(pictures):
    found = {(p.what, p.found) for p in prepare(pictures, channels=3).problems}
    assert found == {("wrong number of channels", "1, expected 3 (setting image_channels)")}
    assert prepare(pictures, channels=1).problems == []


def test_intensities_out_of_range(pictures):
    write_image(pictures / "wide.tif", picture().astype(np.float32) * 10)
    write_image(pictures / "edge.tif", picture().astype(np.float32) * 0 + np.linspace(-2.5, 257.5, 18))
    problems = prepare(pictures, value_range=(0, 255)).problems
    assert [(p.file, p.what) for p in problems] == [("wide.tif", "intensities out of range")]
    assert problems[0].found.endswith("expected 0 to 255 (setting expected_range, +- 1%)")
    assert len(found(pictures, value_range=(0, 255), tolerance=0)) == 2


def test_ids(pictures):
    write_image(pictures / "ok0.tif", picture())
    write_image(pictures / "a" / "b.png", picture())
    write_image(pictures / "a__b.png", picture())
    assert found(pictures) == [("a__b.png", "duplicate id"), ("ok0.tif", "duplicate id")]
    entries = [{"image": "ok0.png"}, {"case": "x/y", "image": "ok1.png"}, {"case": "z"}]
    problems = check_cases({"training": entries}, pictures)
    assert [p.what for p in problems] == ["case without id", "id is no file name", "case without an image"]


def test_one_id_in_two_lists_is_one_image(pictures):
    entries = [{"case": f"c{i}", "image": f"ok{i}.png"} for i in range(3)]
    assert check_cases({"training": entries[:2], "testing": entries[1:]}, pictures) == []
    other = [{"case": "c0", "image": "ok2.png"}]
    assert [p.what for p in check_cases({"training": entries[:2], "testing": other}, pictures)] == ["duplicate id"]


def test_masks(volumes):
    for index, (shape, affine) in enumerate(
        [((8, 9, 10), AFFINE + 1e-4), ((8, 9, 11), AFFINE), ((8, 9, 10), np.diag([2.0, 2, 3.2, 1]))]
    ):
        write_image(volumes / "masks" / f"ok{index}.nii", volume(shape=shape) > 0.5, affine)
    write_image(volumes / "masks" / "gone_mask.nii", volume() > 0.5, AFFINE)
    problems = prepare(volumes).problems
    assert [(p.case, p.file, p.what, p.found) for p in problems] == [
        ("ok1", "masks/ok1.nii", "label on another grid", "(8, 9, 11), image (8, 9, 10)"),
        ("ok2", "masks/ok2.nii", "label on another grid", "affine off by up to 1.8 mm"),
        ("", "masks/gone_mask.nii", "mask without its image", "no image of this name"),
    ]


def test_masks_may_be_empty_or_coloured_but_hold_two_values(pictures):
    write_image(pictures / "masks" / "ok0.png", np.zeros((16, 18), bool))
    coloured = np.zeros((16, 18, 3), np.uint8)
    coloured[2:5, 3:9] = (200, 0, 30)
    write_image(pictures / "masks" / "ok1.png", coloured)
    assert found(pictures) == []
    write_image(pictures / "masks" / "ok2.png", picture() // 50)
    (problem,) = prepare(pictures).problems
    assert (problem.case, problem.file) == ("ok2", "masks/ok2.png")
    assert "a mask holds 0 and one other value" in problem.found
    entries = [{"case": f"ok{i}", "image": f"ok{i}.png", "label": f"masks/ok{i}.png"} for i in range(3)]
    assert check_cases({"training": [entry | {"label_threshold": 1} for entry in entries]}, pictures) == []


def test_what_is_worth_knowing_is_a_line_a_kind(pictures):
    for index in range(2):
        stored = Image.fromarray(picture(index + 5))
        exif = stored.getexif()
        exif[274] = 3
        stored.save(pictures / f"turned{index}.png", exif=exif)
    assert prepare(pictures).notes == ["2 files: turned by its EXIF orientation 3, the first turned0.png"]


def test_ambiguous_masks_under_another_layout(pictures):
    for name in ("train/1.png", "test/1.png", "masks/1.png"):
        write_image(pictures / name, picture())
    entries = [{"case": str(i), "image": f"ok{i}.png"} for i in range(2)]
    assert [p.what for p in prepare(pictures, lambda _: {"training": entries}).problems] == ["ambiguous masks"]


def test_empty_folder_and_single_image(tmp_path):
    assert [(p.what, p.found) for p in prepare(tmp_path).problems] == [("no training images", "0, at least 2 needed")]
    write_image(tmp_path / "one.png", picture())
    assert [p.what for p in prepare(tmp_path).problems] == ["a single image among training images"]
    assert prepare(tmp_path, fewest=1).problems == []
    with pytest.raises(InputError, match="not found"):
        prepare(tmp_path / "nowhere")


def test_prepare_takes_a_manifest(pictures):
    (pictures / "manifest.csv").write_text("path,label,mask_path,split,kind\nok0.png,normal,,train-pool,free\n")
    prepared = prepare(pictures)
    assert [entry["case"] for entry in prepared.datalist["training"]] == ["ok0"]
    assert [p.what for p in prepared.problems] == ["a single image among training images"]


def test_all_problems_come_in_one_table(pictures):
    (pictures / "empty.png").touch()
    write_image(pictures / "flat.png", np.zeros((4, 5), np.uint8))
    table = format_problems(prepare(pictures, min_size=8).problems).splitlines()
    assert table[0].split() == ["case", "file", "problem", "found"]
    assert [line.split()[1] for line in table[2:]] == ["empty.png", "flat.png", "flat.png"]
    assert table[2].index("empty file") == table[3].index("constant image") == table[0].index("problem")


def test_training_refuses_by_name_or_skips(pictures):
    (pictures / "empty.png").touch()
    write_image(pictures / "flat.png", np.zeros((16, 18), np.uint8))
    datalist = folder_cases(pictures) | {"protocol": {"seed": 0}}
    with pytest.raises(InputError, match=r"2 cases with problems:(.|\n)*empty +empty.png(.|\n)*flat +flat.png"):
        require_sound(datalist, pictures)
    sound, skipped, _ = require_sound(datalist, pictures, skip_bad=True)
    assert [entry["case"] for entry in sound["training"]] == ["ok0", "ok1", "ok2"]
    assert sound["protocol"] == {"seed": 0}
    assert [problem.case for problem in skipped] == ["empty", "flat"]
    assert require_sound(sound, pictures) == (sound, [], [])
    for index in range(2):
        (pictures / f"ok{index}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"too little is left(.|\n)*a single image"):
        require_sound(datalist, pictures, skip_bad=True)


def test_skipping_keeps_the_first_of_two_ids(pictures):
    write_image(pictures / "ok0.tif", picture())
    sound, skipped, _ = require_sound(folder_cases(pictures), pictures, skip_bad=True)
    assert [entry["image"] for entry in sound["training"]] == ["ok0.png", "ok1.png", "ok2.png"]
    assert [problem.file for problem in skipped] == ["ok0.tif"]


def test_every_file_is_read_once(volumes, monkeypatch):
    opened = []

    def counted(path: Path, most_bytes: int) -> object:
        opened.append(path)
        return read_volume(path, most_bytes)

    monkeypatch.setattr("monai_iltm.data.images.read_volume", counted)
    entries = [{"case": f"c__repeat_{i}", "image": "ok0.nii"} for i in range(5)]
    assert check_cases({"training": entries}, volumes) == []
    assert len(opened) == 1
