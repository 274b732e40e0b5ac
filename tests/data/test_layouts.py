from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_iltm.data.checks import check_cases
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.data.layouts import autopet_cases, folder_cases, manifest_cases, mvtec_cases


def tree(root: Path, *paths: str) -> Path:
    """Random pictures and volumes at the paths; those of a truth folder hold 0 and 1."""
    for index, path in enumerate(paths):
        values = np.random.default_rng(index).integers(0, 256, (6, 8) if ".nii" not in path else (4, 5, 6))
        is_truth = any(name in path for name in ("ground_truth", "labels", "masks"))
        write_image(root / path, values > 200 if is_truth else values.astype(np.uint8))
    return root


def test_folder_without_splits_is_training(tmp_path):
    tree(tmp_path, "b/x.png", "a.tif", "b/y.nii.gz", "labels/a.png", ".hidden.png")
    (tmp_path / "notes.txt").write_text("no image")
    assert folder_cases(tmp_path) == {
        "training": [
            {"case": "a", "image": "a.tif", "label": "labels/a.png"},
            {"case": "b__x", "image": "b/x.png"},
            {"case": "b__y", "image": "b/y.nii.gz"},
        ]
    }


@pytest.mark.parametrize("truth", ["ground_truth/test/hole/1_mask.png", "masks/hole/1.png", "labels/1.tif"])
def test_folder_with_splits_and_truth(tmp_path, truth):
    tree(tmp_path, "Train/2.png", "test/hole/1.png", "test/good/3.png", "other/9.png", truth)
    assert folder_cases(tmp_path) == {
        "training": [{"case": "Train__2", "image": "Train/2.png"}],
        "testing": [
            {"case": "test__good__3", "image": "test/good/3.png", "normal": True},
            {"case": "test__hole__1", "image": "test/hole/1.png", "label": truth},
        ],
    }


def test_folder_takes_the_nearest_truth(tmp_path):
    tree(tmp_path, "train/1.png", "train/masks/1.png", "test/1.png", "test/masks/1.png")
    datalist = folder_cases(tmp_path)
    assert datalist["training"][0]["label"] == "train/masks/1.png"
    assert datalist["testing"][0]["label"] == "test/masks/1.png"


def test_folder_refuses_ambiguous_truth(tmp_path):
    tree(tmp_path, "train/1.png", "test/1.png", "masks/1.png")
    with pytest.raises(InputError, match=r"masks/1.png could be the truth of test/1.png and of train/1.png"):
        folder_cases(tmp_path)


def test_folder_uses_a_given_datalist(tmp_path):
    given = {"training": [{"case": "mine", "image": "x.png"}]}
    (tmp_path / "datalist.json").write_text(json.dumps(given))
    assert folder_cases(tmp_path) == given
    for broken in ("{", "[]", '{"training": 3}'):
        (tmp_path / "datalist.json").write_text(broken)
        with pytest.raises(InputError, match=r"datalist\.json"):
            folder_cases(tmp_path)


def test_folder_follows_links_once(tmp_path):
    tree(tmp_path / "real", "1.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "train").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "root")
    assert [entry["image"] for entry in folder_cases(tmp_path / "root")["training"]] == ["train/1.png"]


def test_folder_missing(tmp_path):
    with pytest.raises(InputError, match="folder not found"):
        folder_cases(tmp_path / "nowhere")


def manifest(root: Path) -> Path:
    """4 anomalous (one of kind uneven) and 6 normal in the pool, 3 in the test, 1 clean."""
    rows = ["path,label,mask_path,split,kind,group,source_path"]
    for i in range(4):
        kind = "uneven" if i == 0 else "crack"
        rows.append(f"train-pool/a{i}.png,anomaly,ground_truth/a{i}_mask.png,train-pool,{kind},g{i},s")
    rows += [f'train-pool/n{i}.png,normal,,train-pool,free,g{i},"s, t"' for i in range(6)]
    rows += [f"test/{k}.png,anomaly,ground_truth/{k}_mask.png,test,{k},g,s" for k in ("uneven", "crack")]
    rows += ["test/n.png,normal,,test,free,g,s", "train-clean/c.png,normal,,train-clean,free,g,s"]
    fields = [row.split(",") for row in rows[1:]]
    tree(root, *(row[0] for row in fields), *(row[2] for row in fields if row[2]))
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root


def test_manifest(tmp_path):
    datalist = manifest_cases(manifest(tmp_path))
    assert {name: len(part) for name, part in datalist.items()} == {"training": 10, "testing": 3, "clean": 1}
    assert datalist["testing"][:2] == [
        {"case": "test__crack", "image": "test/crack.png", "label": "ground_truth/crack_mask.png", "kind": "crack"},
        {"case": "test__n", "image": "test/n.png", "normal": True, "kind": "free"},
    ]
    assert check_cases(datalist, tmp_path) == []


def test_manifest_contaminated_and_without_a_kind(tmp_path):
    datalist = manifest_cases(manifest(tmp_path), contamination=0.75, exclude_kinds=["uneven"])
    assert [entry["case"] for entry in datalist["testing_apart"]] == ["test__uneven"]
    assert [entry["case"] for entry in datalist["testing"]] == ["test__crack", "test__n"]
    kinds = [entry["kind"] for entry in datalist["training"]]
    assert sorted(kinds) == ["crack"] * 3 + ["free"]
    assert datalist["protocol"]["contamination"] == 0.75
    assert check_cases(datalist, tmp_path) == []


def test_manifest_errors(tmp_path):
    with pytest.raises(InputError, match=r"manifest.csv: file not found"):
        manifest_cases(tmp_path)
    head = "path,label,mask_path,split,kind\n"
    for text, told in [
        ("path,label\n", "without the columns kind, mask_path, split"),
        (head + "a.png,odd,,test,k\n", "line 2: label 'odd'"),
        (head + "a.png,normal,,test,k\nb.png,normal,,val,k\n", "line 3: split 'val'"),
    ]:
        (tmp_path / "manifest.csv").write_text(text)
        with pytest.raises(InputError, match=told):
            manifest_cases(tmp_path)


@pytest.fixture
def mvtec(tmp_path):
    """Category nut: 8 good to train, 2 good, 4 crack and 4 hole to test; and another category."""
    paths = [f"nut/train/good/{i:03d}.png" for i in range(8)] + [f"nut/test/good/{i:03d}.png" for i in range(2)]
    for kind in ("crack", "hole"):
        paths += [f"nut/test/{kind}/{i:03d}.png" for i in range(4)]
        paths += [f"nut/ground_truth/{kind}/{i:03d}_mask.png" for i in range(4)]
    return tree(tmp_path, *paths, "bolt/train/good/000.png")


def test_mvtec(mvtec):
    datalist = mvtec_cases(mvtec, "nut")
    assert {name: len(part) for name, part in datalist.items()} == {"training": 8, "testing": 10}
    assert datalist["training"][0] == {
        "case": "nut__train__good__000",
        "image": "nut/train/good/000.png",
        "normal": True,
        "kind": "good",
    }
    assert datalist["testing"][1] == {
        "case": "nut__test__crack__001",
        "image": "nut/test/crack/001.png",
        "label": "nut/ground_truth/crack/001_mask.png",
        "kind": "crack",
    }
    assert check_cases(datalist, mvtec) == []
    with pytest.raises(InputError, match="folder not found"):
        mvtec_cases(mvtec, "screw")


def test_mvtec_contaminated(mvtec):
    datalist = mvtec_cases(mvtec, "nut", contamination=0.5)
    drawn = {entry["image"] for entry in datalist["training"] if not entry.get("normal")}
    kept = {entry["image"] for entry in datalist["testing"]}
    assert (len(drawn), len(datalist["training"]), len(kept)) == (4, 8, 6)
    assert not drawn & kept
    assert {entry["kind"] for entry in datalist["testing"]} == {"crack", "hole", "good"}
    assert check_cases(datalist, mvtec) == []
    assert mvtec_cases(mvtec, "nut", contamination=0.5) == datalist
    assert mvtec_cases(mvtec, "nut", contamination=0.5, seed=1) != datalist


def test_mvtec_overlap_keeps_the_test_set(mvtec):
    datalist = mvtec_cases(mvtec, "nut", contamination=0.8, overlap=True)
    assert len(datalist["testing"]) == 10
    assert datalist["protocol"]["anomalous"] == 8
    assert check_cases(datalist, mvtec) == []  # one id in both lists is one image, and allowed


def test_autopet(tmp_path):
    affine = np.diag([4.0, 4, 3, 1])
    for patient in range(5):
        for study in range(1 + patient % 2):
            folder = tmp_path / f"PETCT_{patient}" / f"study-{study}"
            volume = np.random.default_rng(patient).random((5, 6, 7))
            for name in ("SUV", "CTres"):
                write_image(folder / f"{name}.nii.gz", volume, affine)
            write_image(folder / "SEG.nii.gz", (volume > 0.9) & (patient > 1), affine)
    (tmp_path / "PETCT_9" / "no-seg").mkdir(parents=True)
    write_image(tmp_path / "PETCT_9" / "no-seg" / "SUV.nii.gz", volume, affine)
    datalist = autopet_cases(tmp_path, test_share=0.4)
    entries = datalist["training"] + datalist["testing"]
    assert len(entries) == 7
    patients = {name: {entry["case"].split("__")[0] for entry in part} for name, part in datalist.items()}
    assert (len(patients["training"]), len(patients["testing"])) == (3, 2)
    assert not patients["training"] & patients["testing"]
    healthy = {"case": "PETCT_0__study-0", "image": "PETCT_0/study-0/SUV.nii.gz", "normal": True, "kind": "healthy"}
    assert healthy in entries
    assert all(("label" in entry) == (entry["case"] >= "PETCT_2") for entry in entries)
    assert check_cases(datalist, tmp_path) == []
    assert autopet_cases(tmp_path, test_share=0)["testing"] == []
    with pytest.raises(InputError, match="test_share"):
        autopet_cases(tmp_path, test_share=1)
    (tmp_path / "PETCT_0" / "study-0" / "SEG.nii.gz").write_bytes(b"")
    assert [problem.what for problem in check_cases(autopet_cases(tmp_path), tmp_path)] == ["label: empty file"]


@pytest.mark.parametrize("name", ["magnetic_tile", "phantom_hard_2d", "sts_fdgpet_3d"])
def test_measuring_sets_are_listed_whole(name, measuring_set):
    folder = measuring_set(name)
    datalist = manifest_cases(folder)
    lines = len((folder / "manifest.csv").read_text().splitlines()) - 1
    assert sum(len(part) for part in datalist.values()) == lines
