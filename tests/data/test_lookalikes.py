from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_iltm.data.cases import load_cases
from monai_iltm.data.checks import require_sound
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.data.layouts import folder_cases
from monai_iltm.data.prepare import prepare


def image(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, shape, dtype=np.uint8)


def classes(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, shape, dtype=np.uint8)


def pairs(root: Path, first: str, second: str, maps=classes, end: str = ".png", count: int = 3) -> Path:
    """Images in `first`, maps of the same names in `second`."""
    shape = (9, 11) if end == ".png" else (5, 6, 7)
    for index in range(count):
        write_image(root / first / f"{index}{end}", image(index, shape))
        write_image(root / second / f"{index}{end}", maps(index + 50, shape))
    return root


@pytest.mark.parametrize("end", [".png", ".nii.gz"])
@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ("ct", "organs", ("organs", "ct")),
        ("img/train", "anno/train", ("anno", "img")),
        ("train/x", "train/y", ("train/y", "train/x")),
        ("z", "a", ("a", "z")),
    ],
)
def test_maps_under_names_of_images_are_named_with_both_folders(tmp_path, first, second, named, end):
    pairs(tmp_path, first, second, end=end)
    (problem,) = prepare(tmp_path).problems
    assert (problem.file, problem.what) == (named[0], "label maps among the images")
    assert f"under the names of {named[1]}: call the folder labels" in problem.found
    with pytest.raises(InputError, match="label maps among the images"):
        load_cases(tmp_path)


def test_such_cases_can_be_left_out(tmp_path):
    pairs(tmp_path, "ct", "organs")
    sound, (problem,), _ = require_sound(folder_cases(tmp_path), tmp_path, skip_bad=True)
    assert [entry["image"] for entry in sound["training"]] == ["ct/0.png", "ct/1.png", "ct/2.png"]
    assert problem.file == "organs"


def test_images_of_equal_names_are_images(tmp_path):
    assert prepare(pairs(tmp_path / "two", "t1", "t2", maps=image)).problems == []
    pairs(tmp_path / "binary", "a", "b", maps=classes)
    for index in range(3):
        write_image(tmp_path / "binary/a" / f"{index}.png", classes(index, (9, 11)))
    assert prepare(tmp_path / "binary").problems == []  # drawings of few values on both sides


def test_maps_of_other_names_or_of_one_are_not_judged(tmp_path):
    pairs(tmp_path, "a", "b", count=1)
    write_image(tmp_path / "a/1.png", image(7, (9, 11)))
    assert prepare(tmp_path).problems == []
    for index in range(2, 5):
        write_image(tmp_path / "b" / f"other{index}.png", classes(index, (9, 11)))
    assert prepare(tmp_path).problems == []
