from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_iltm.data.cases import load_cases
from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.data.layouts import folder_cases
from monai_iltm.data.prepare import prepare


def plant(root: Path, *paths: str) -> Path:
    for index, path in enumerate(paths):
        values = np.random.default_rng(index).random((4, 5, 6)).astype(np.float32)
        write_image(root / path, values > 0.8 if "/labels" in f"/{path}" else values)
    return root


def test_nnunets_names_end_in_a_channel(tmp_path):
    plant(tmp_path, *(f"imagesTr/pet_{i:03d}_0000.nii.gz" for i in range(2)), "labelsTr/pet_000.nii.gz")
    plant(tmp_path, "imagesTs/pet_002_0000.nii.gz", "labelsTs/pet_002.nii.gz")
    write_json(tmp_path / "dataset.json", {"channel_names": {"0": "PET"}, "labels": {"background": 0, "lesion": 1}})
    assert folder_cases(tmp_path) == {
        "training": [
            {"case": "pet_000", "image": "imagesTr/pet_000_0000.nii.gz", "label": "labelsTr/pet_000.nii.gz"},
            {"case": "pet_001", "image": "imagesTr/pet_001_0000.nii.gz"},
        ],
        "testing": [{"case": "pet_002", "image": "imagesTs/pet_002_0000.nii.gz", "label": "labelsTs/pet_002.nii.gz"}],
    }
    assert prepare(tmp_path).problems == []
    assert [case["case"] for case in load_cases(tmp_path, "testing")] == ["pet_002"]


def test_the_decathlons_bear_the_same_name(tmp_path):
    plant(
        tmp_path, "imagesTr/la_007.nii.gz", "imagesTr/la_009.nii.gz", "labelsTr/la_007.nii.gz", "imagesTs/la_1.nii.gz"
    )
    plant(tmp_path, "imagesTr/._la_007.nii.gz", "labelsTr/la_044.nii.gz")
    training = [{"image": "./imagesTr/la_007.nii.gz", "label": "./labelsTr/la_007.nii.gz"}]
    write_json(tmp_path / "dataset.json", {"training": training, "test": ["./imagesTs/la_1.nii.gz"]})
    datalist = folder_cases(tmp_path)
    assert [(entry["case"], entry.get("label")) for entry in datalist["training"]] == [
        ("la_007", "labelsTr/la_007.nii.gz"),
        ("la_009", None),
    ]
    assert [entry["case"] for entry in datalist["testing"]] == ["la_1"]
    assert [(p.file, p.what) for p in prepare(tmp_path).problems] == [
        ("labelsTr/la_044.nii.gz", "mask without its image")
    ]


def test_numbers_of_four_digits_are_no_channels_where_labels_bear_them(tmp_path):
    plant(tmp_path, "imagesTr/x_0000.nii.gz", "imagesTr/x_0001.nii.gz", "labelsTr/x_0000.nii.gz")
    assert [entry["case"] for entry in folder_cases(tmp_path)["training"]] == ["x_0000", "x_0001"]


def test_several_channels_are_refused_by_name(tmp_path):
    plant(tmp_path, *(f"imagesTr/p{i}_{c:04d}.nii.gz" for i in range(2) for c in range(2)), "labelsTr/p0.nii.gz")
    with pytest.raises(InputError, match=r"p0 has several channels, a file each \(imagesTr/p0_0000.*p0_0001.nii.gz\)"):
        folder_cases(tmp_path)


def test_the_folder_above_is_refused(tmp_path):
    plant(tmp_path, "Task02/imagesTr/a.nii.gz", "Task02/imagesTs/b.nii.gz", "Task02/labelsTr/a.nii.gz")
    with pytest.raises(InputError, match=r"holds Task02/imagesTr/a.nii.gz: give the folder in which imagesTr lies"):
        folder_cases(tmp_path)


def test_one_id_in_both_is_named(tmp_path):
    plant(tmp_path, "imagesTr/a.nii.gz", "imagesTr/b.nii.gz", "imagesTs/a.nii.gz", "labelsTs/a.nii.gz")
    assert [(p.file, p.what) for p in prepare(tmp_path).problems] == [("imagesTs/a.nii.gz", "duplicate id")]
