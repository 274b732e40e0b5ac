from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_iltm.data.cases import image_dataset, load_cases, read_datalist, with_truth_rule
from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.transforms import augmentation, preprocessing


def picture(seed: int, size: tuple[int, int] = (8, 12)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


@pytest.fixture
def data(tmp_path) -> Path:
    """Pictures a..d, truth of a and a locked region of b; a datalist elsewhere, with a mask beside it."""
    folder = tmp_path / "data"
    for index, name in enumerate("abcd"):
        write_image(folder / f"images/{name}.png", picture(index))
    write_image(folder / "truth/a.png", picture(0) > 128)
    write_image(folder / "locked/b.png", picture(1) > 128)
    write_image(tmp_path / "run/masks/a.png", picture(2) > 128)
    training = [
        {"case": "a", "image": "images/a.png", "label": "truth/a.png", "mask": "masks/a.png", "kind": "hole"},
        {"case": "b", "image": "images/b.png", "lock_normal": "locked/b.png", "lock_anomalous": "locked/b.png"},
    ]
    testing = [{"case": "c", "image": "images/c.png", "normal": True}, {"case": "d", "image": "images/d.png"}]
    write_json(tmp_path / "run/datalist.json", {"training": training, "testing": testing})
    return folder


def datalist_of(data: Path) -> Path:
    return data.parent / "run" / "datalist.json"


def rewrite(data: Path, **lists: list) -> Path:
    write_json(datalist_of(data), lists)
    return datalist_of(data)


def test_masks_lie_beside_the_datalist_and_all_else_in_the_data_folder(data):
    first, second = load_cases(data, "training", datalist_of(data))
    root, run = data.resolve(), datalist_of(data).resolve().parent
    assert first == {
        "case": "a",
        "image": str(root / "images/a.png"),
        "label": str(root / "truth/a.png"),
        "mask": str(run / "masks/a.png"),
        "kind": "hole",
        "split": "training",
    }
    assert second["lock_normal"] == second["lock_anomalous"] == str(root / "locked/b.png")
    assert "mask" not in second


def test_relative_folders_become_whole_paths(data, monkeypatch):
    monkeypatch.chdir(data.parent)
    cases = load_cases("data", ["training", "testing"], "run/datalist.json")
    assert all(Path(case["image"]).is_absolute() for case in cases)


def test_whole_paths_stay(data):
    image = str(data / "images/a.png")
    (case,) = load_cases(data, datalist=rewrite(data, training=[{"case": "a", "image": image}]))
    assert case["image"] == image


def test_splits_follow_one_another_and_a_missing_one_is_empty(data):
    cases = load_cases(data, ["testing", "clean", "training"], datalist_of(data))
    assert [(case["case"], case["split"]) for case in cases] == [
        ("c", "testing"),
        ("d", "testing"),
        ("a", "training"),
        ("b", "training"),
    ]


def test_a_case_of_two_splits_is_loaded_once(data):
    """As where anomalous test images contaminate the training set."""
    both = {"case": "a", "image": "images/a.png"}
    datalist = rewrite(data, training=[both], testing=[both, {"case": "b", "image": "images/b.png"}])
    cases = load_cases(data, ["training", "testing"], datalist)
    assert [(case["case"], case["split"]) for case in cases] == [("a", "training"), ("b", "testing")]


def test_a_case_twice_in_one_split_is_refused(data):
    entry = {"case": "a", "image": "images/a.png"}
    with pytest.raises(InputError, match="duplicate id"):
        load_cases(data, datalist=rewrite(data, training=[entry, entry]))


def test_one_id_for_two_images_is_refused(data):
    first, second = {"case": "a", "image": "images/a.png"}, {"case": "a", "image": "images/b.png"}
    with pytest.raises(InputError, match="duplicate id"):
        load_cases(data, ["training", "testing"], rewrite(data, training=[first], testing=[second]))


def test_without_a_datalist_the_folder_speaks(tmp_path):
    for index, path in enumerate(["train/good/1.png", "train/good/2.png", "test/broken/3.png"]):
        write_image(tmp_path / path, picture(index))
    cases = load_cases(tmp_path, "training")
    assert [Path(case["image"]).name for case in cases] == ["1.png", "2.png"]
    assert load_cases(tmp_path, ["testing"]) != []


def test_a_manifest_goes_before_the_folders_names(tmp_path):
    write_image(tmp_path / "x.png", picture(0))
    write_image(tmp_path / "y.png", picture(1))
    rows = ["path,label,mask_path,split,kind", "x.png,normal,,train-pool,", "y.png,anomaly,,test,dent"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    assert [case["case"] for case in load_cases(tmp_path, "training")] == ["x"]


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "datalist not found"), ("{nothing", "not a JSON file"), ("[1, 2]", "expected an object with lists")],
)
def test_what_is_no_datalist_is_told(data, text, words):
    path = data / "other.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=rf"other\.json: {words}"):
        read_datalist(data, path)


def test_a_missing_data_folder_is_told_once_a_case_is_wanted(tmp_path):
    """Until then a bundle can be looked at: it has no cases."""
    cases = load_cases(tmp_path / "nowhere")
    assert len(cases) == 0
    with pytest.raises(InputError, match="nowhere: folder not found"):
        list(cases)
    assert len(image_dataset(cases, preprocessing((8, 8)))) == 0


def test_how_labels_are_read_goes_with_every_entry_that_has_one():
    lists = {
        "training": [{"case": "a"}, {"case": "b", "label": "b.png", "label_threshold": 3}],
        "protocol": {"size": 2},
    }
    told = with_truth_rule(lists, {"label_threshold": 127, "label_ignore": 255, "draws": 3})
    assert told["training"][0] == {"case": "a"}
    assert told["training"][1] == {"case": "b", "label": "b.png", "label_threshold": 3, "label_ignore": 255}
    assert told["protocol"] == {"size": 2}
    assert with_truth_rule(lists, {"label_threshold": None}) is lists


# ---- checks ----


def spoil(data: Path) -> None:
    (data / "images/b.png").write_bytes((data / "images/b.png").read_bytes()[:40])


def test_bad_files_are_one_error_that_lists_them(data):
    spoil(data)
    write_image(data / "truth/a.png", picture(0, (8, 11)) > 128)
    with pytest.raises(InputError) as caught:
        load_cases(data, datalist=datalist_of(data))
    lines = str(caught.value).splitlines()
    assert any(line.startswith("a ") and "label on another grid" in line for line in lines)
    assert any(line.startswith("b ") and "images/b.png" in line for line in lines)


@pytest.mark.parametrize("key", ["lock_normal", "lock_anomalous"])
def test_a_locked_region_is_checked_like_a_mask(data, key):
    write_image(data / "locked/other.png", picture(1, (9, 9)) > 128)
    entries = [
        {"case": "a", "image": "images/a.png", key: "locked/other.png"},
        {"case": "b", "image": "images/b.png", key: "locked/missing.png"},
    ]
    with pytest.raises(InputError) as caught:
        load_cases(data, datalist=rewrite(data, training=entries))
    assert f"{key} on another grid" in str(caught.value)
    assert f"{key}: missing file" in str(caught.value)


def test_limits_hold_every_image_to_the_model(data):
    with pytest.raises(InputError, match="intensities out of range"):
        load_cases(data, datalist=datalist_of(data), limits={"value_range": (0, 1)})


def test_bad_cases_are_left_out_and_printed_on_demand(data, capsys):
    spoil(data)
    assert [case["case"] for case in load_cases(data, datalist=datalist_of(data), skip_bad=True)] == ["a"]
    assert capsys.readouterr().out.startswith("skipped b: images/b.png truncated or unreadable file")


def test_unchecked_nothing_is_read(data):
    spoil(data)
    assert [case["case"] for case in load_cases(data, datalist=datalist_of(data), check=False)] == ["a", "b"]


@pytest.mark.parametrize("check", [False, True])
def test_too_few_cases_are_refused(data, check):
    with pytest.raises(InputError, match=r"(?s)2.*at least 3 needed"):
        load_cases(data, "training", datalist_of(data), check=check, fewest=3)
    assert load_cases(data, "clean", datalist_of(data), check=False, fewest=0) == []
    with pytest.raises(InputError):
        load_cases(data, "clean", datalist_of(data), check=check)


def test_what_is_left_is_counted_again(data):
    spoil(data)
    with pytest.raises(InputError, match="too little is left"):
        load_cases(data, datalist=datalist_of(data), skip_bad=True, fewest=2)


# ---- images as tensors ----


@pytest.mark.parametrize("cache_rate", [0.0, 0.5, 1.0])
def test_images_as_plain_tensors(data, cache_rate):
    cases = load_cases(data, datalist=datalist_of(data))
    dataset = image_dataset(cases, preprocessing((8, 12), 1, (0, 255)), cache_rate=cache_rate)
    assert len(dataset) == 2
    for index in range(2):
        item = dataset[index]
        assert list(item) == ["image"]
        assert type(item["image"]) is torch.Tensor
        np.testing.assert_allclose(item["image"][0].numpy(), picture(index) / 255, atol=1e-6)


@pytest.mark.parametrize("cache_rate", [0.0, 1.0])
def test_images_are_augmented_anew_each_time(data, cache_rate):
    cases = load_cases(data, datalist=datalist_of(data))
    variants = augmentation(rotation=0.3, gain=0.2)
    dataset = image_dataset(cases, preprocessing((8, 12), 1, (0, 255)), variants, cache_rate)
    dataset.transform.set_random_state(seed=0)
    first, second = dataset[0]["image"], dataset[0]["image"]
    assert not torch.equal(first, second)
    dataset.transform.set_random_state(seed=0)
    assert torch.equal(dataset[0]["image"], first)
    assert type(first) is torch.Tensor
