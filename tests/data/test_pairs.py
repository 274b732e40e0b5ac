from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.data.layouts import autopet_cases, folder_cases, mvtec_cases
from monai_iltm.data.pairs import is_truth, pair_with_truth, unpaired
from monai_iltm.data.prepare import prepare
from monai_iltm.engines.begin import begin_run


def plant(root: Path, *paths: str) -> Path:
    """Images of random values; what is truth by its name, binary."""
    for index, path in enumerate(paths):
        shape = (6, 8) if ".nii" not in path else (4, 5, 6)
        values = np.random.default_rng(index).integers(0, 250, shape, dtype=np.uint8)
        write_image(root / path, values > 200 if is_truth(path) else values)
    return root


@pytest.mark.parametrize(
    "folder",
    [
        "labels",
        "Label",
        "gt",
        "GT",
        "ground_truth",
        "GroundTruth",
        "masks",
        "Mask",
        "segmentations",
        "seg",
        "labelsTr",
        "Annotations",
        "train_masks",
        "ISIC_Training_GroundTruth",
        "SegmentationClass",
        "ground truth",
    ],
)
def test_folders_of_truth(tmp_path, folder):
    plant(tmp_path, "images/a.png", "images/b.png", f"{folder}/a.png")
    assert folder_cases(tmp_path)["training"] == [
        {"case": "images__a", "image": "images/a.png", "label": f"{folder}/a.png"},
        {"case": "images__b", "image": "images/b.png"},
    ]
    assert prepare(tmp_path).problems == []


@pytest.mark.parametrize("folder", ["with_mask", "segments", "masked", "images", "imagesTr", "legend"])
def test_folders_that_are_no_truth(folder):
    assert not is_truth(f"{folder}/a.png")


@pytest.mark.parametrize(
    "name",
    [
        "{}_mask",
        "{}_Mask",
        "{}_label",
        "{}-seg",
        "{}_seg",
        "{}_gt",
        "{}_GT",
        "{}_segmentation",
        "{}-label",
        "{}.mask",
        "{}_ground_truth",
        "{}_labels",
        "mask_{}",
        "seg-{}",
        "{}_labelmap",
    ],
)
@pytest.mark.parametrize(("place", "end"), [("{}", ".png"), ("labels/{}", ".png"), ("{}", ".tif")])
def test_names_of_truth_beside_images_and_in_folders_of_truth(tmp_path, name, place, end):
    plant(tmp_path, "p1.png", "p2.png", place.format(name.format("p1")) + end)
    assert folder_cases(tmp_path)["training"] == [
        {"case": "p1", "image": "p1.png", "label": place.format(name.format("p1")) + end},
        {"case": "p2", "image": "p2.png"},
    ]
    assert prepare(tmp_path).problems == []


@pytest.mark.parametrize("name", ["label_maker", "segment", "masked", "gta_5", "x_masked", "mask5", "p_label_1"])
def test_names_that_are_no_truth(name):
    assert is_truth(f"{name}.png") == name.startswith("label_")  # which may be label maps: named, not taken


def test_volumes_with_their_mask_beside_them(tmp_path):
    plant(tmp_path, "p1/t1.nii.gz", "p1/seg.nii.gz", "p2/x.nii.gz", "p2/x-seg.nii.gz", "p3/x.nii", "p3/x_Mask.nii.gz")
    entries = folder_cases(tmp_path)["training"]
    assert [entry["label"] for entry in entries] == ["p1/seg.nii.gz", "p2/x-seg.nii.gz", "p3/x_Mask.nii.gz"]


def test_a_mask_beside_images_serves_its_own_folder_alone(tmp_path):
    plant(tmp_path, "a/1.png", "a/1_mask.png", "b/1.png", "b/2.png", "2_mask.png")
    assert [entry.get("label") for entry in folder_cases(tmp_path)["training"]] == ["a/1_mask.png", None, None]
    assert [(p.file, p.what) for p in prepare(tmp_path).problems] == [("2_mask.png", "mask without its image")]


def test_what_looks_like_a_mask_is_never_an_image_in_silence(tmp_path, capsys):
    plant(tmp_path, "p1.png", "p2.png", "gone_mask.png", "two/a.png", "two/b.png", "two/seg.png", "gt/other.png")
    cases = [entry["case"] for entry in folder_cases(tmp_path)["training"]]
    assert cases == ["p1", "p2", "two__a", "two__b"]
    assert [(p.file, p.what) for p in prepare(tmp_path).problems] == [
        (name, "mask without its image") for name in ("gone_mask.png", "gt/other.png", "two/seg.png")
    ]
    begin_run(tmp_path / "run", tmp_path, {})
    assert "3 masks without an image: gone_mask.png, gt/other.png, two/seg.png" in capsys.readouterr().out


def test_masks_alone_are_told(tmp_path):
    plant(tmp_path, "p1_seg.nii.gz", "p2_seg.nii.gz")
    with pytest.raises(InputError, match=r"all 2 image files are named like masks, p1_seg.nii.gz among them"):
        folder_cases(tmp_path)


def test_two_masks_of_one_image_are_refused(tmp_path):
    plant(tmp_path, "p1.png", "p1_mask.png", "p1_label.png")
    with pytest.raises(InputError, match=r"p1\.png has 2 masks \(p1_label\.png, p1_mask\.png\): merge them"):
        folder_cases(tmp_path)


# ---- MVTec LOCO: a folder an image ----


def loco(root: Path, *masks: str) -> Path:
    good = [f"box/train/good/{i:03d}.png" for i in range(3)]
    return plant(root, *good, "box/test/good/000.png", "box/test/dent/000.png", "box/test/dent/001.png", *masks)


def test_a_single_file_in_a_folder_of_the_images_name_is_its_truth(tmp_path):
    loco(tmp_path, "box/ground_truth/dent/000/000.png", "box/ground_truth/dent/001/000.png")
    for entries in (folder_cases(tmp_path / "box")["testing"], mvtec_cases(tmp_path, "box")["testing"]):
        found = [entry.get("label", "").removeprefix("box/") for entry in entries]
        assert found == ["ground_truth/dent/000/000.png", "ground_truth/dent/001/000.png", ""]
    assert prepare(tmp_path / "box").problems == []


def test_several_files_there_are_refused_by_name(tmp_path):
    loco(tmp_path, "box/ground_truth/dent/000/000.png", "box/ground_truth/dent/000/001.png")
    for layout in (lambda: folder_cases(tmp_path / "box"), lambda: mvtec_cases(tmp_path, "box")):
        with pytest.raises(InputError, match=r"test/dent/000.png has 2 masks .*000/001.png\): merge them into one"):
            layout()


def test_mvtec_without_a_truth_misses_the_usual_name(tmp_path):
    loco(tmp_path)
    assert mvtec_cases(tmp_path, "box")["testing"][0]["label"] == "box/ground_truth/dent/000_mask.png"


# ---- TotalSegmentator: organs ----


def test_organs_beside_one_image_are_neither_images_nor_truth(tmp_path):
    for case in ("s0001", "s0002"):
        plant(
            tmp_path, f"{case}/ct.nii.gz", f"{case}/segmentations/liver.nii.gz", f"{case}/segmentations/spleen.nii.gz"
        )
    prepared = prepare(tmp_path)
    assert prepared.datalist["training"] == [
        {"case": "s0001__ct", "image": "s0001/ct.nii.gz"},
        {"case": "s0002__ct", "image": "s0002/ct.nii.gz"},
    ]
    assert prepared.problems == []
    (note,) = prepared.notes
    assert note.startswith("4 masks of other names than the images, taken for no truth: s0001/segmentations/liver")
    assert unpaired(["a/x.png", "a/masks/y.png", "b/x.png"]).masks == []
    assert unpaired(["a/x.png", "a/z.png", "a/masks/y.png"]).masks == ["a/masks/y.png"]


def test_a_layout_that_states_its_truth_has_no_stray_beside_it(tmp_path):
    """AutoPET: an empty SEG is no label, and no mask without its image either."""
    for patient in range(3):
        volume = np.random.default_rng(patient).random((5, 6, 7))
        for name in ("SUV", "CTres"):
            write_image(tmp_path / f"p{patient}/study/{name}.nii.gz", volume)
        write_image(tmp_path / f"p{patient}/study/SEG.nii.gz", (volume > 0.9) & (patient > 1))
    assert prepare(tmp_path, lambda root: autopet_cases(root, test_share=0)).problems == []


# ---- run says what is missing ----


def test_a_run_says_when_no_test_image_has_a_truth(tmp_path, capsys):
    plant(tmp_path, "train/1.png", "train/2.png", "test/dent/1.png", "test/good/2.png")
    begin_run(tmp_path / "run", tmp_path, {})
    assert "no test image has a mask of its truth (test/dent/1.png)" in capsys.readouterr().out
    plant(tmp_path, "masks/dent/1.png")
    begin_run(tmp_path / "other", tmp_path, {})
    assert "truth" not in capsys.readouterr().out


def test_what_lies_in_neither_split_is_told(tmp_path):
    plant(tmp_path, "train/1.png", "train/2.png", "test/1.png", "extra/1.png", "masks/test/1.png")
    assert prepare(tmp_path).notes == ["1 image left out, neither in train* nor in test*: extra/1.png"]


# ---- files that came after the list ----


def test_files_that_came_later_are_told_with_how_to_renew(tmp_path):
    plant(tmp_path, "a.png", "b.png", "b_mask.png")
    write_json(tmp_path / "datalist.json", prepare(tmp_path).datalist)
    assert prepare(tmp_path).notes == []
    plant(tmp_path, "c.png", "d.png", "masks/a.png")
    (note,) = prepare(tmp_path).notes
    assert note.startswith("3 files of the folder not in datalist.json, c.png, d.png, masks/a.png: delete it, or --r")
    assert prepare(tmp_path).problems == []


def test_files_that_a_manifest_leaves_out_are_told(tmp_path):
    plant(tmp_path, "a.png", "b.png", "c.png")
    rows = "".join(f"./{name}.png,normal,,train-pool,\n" for name in "ab")
    (tmp_path / "manifest.csv").write_text("path,label,mask_path,split,kind\n" + rows)
    assert prepare(tmp_path).notes == ["1 file of the folder not in manifest.csv, c.png"]


def test_whole_paths_count_as_listed(tmp_path):
    plant(tmp_path, "a.png", "b.png")
    entries = [{"case": name, "image": str(tmp_path / f"{name}.png")} for name in "ab"]
    write_json(tmp_path / "datalist.json", {"training": entries})
    assert prepare(tmp_path).notes == []


def test_pairs_stand_by_their_nearest_folder():
    assert pair_with_truth(["x/y/1.png"], ["gt/1.png", "x/gt/1.png"]) == {"x/y/1.png": "x/gt/1.png"}
