from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_iltm.transforms import AnomalyMaskd, augmentation, preprocessing

MOVES = {"rotation": 0.3, "scale": 0.1, "shift": 2.0, "flip_axes": (0, 1)}


def item_with_blob(case_on_disk, kind: str = "picture", size: tuple[int, ...] = (48, 40)) -> dict:
    transform = preprocessing(size, 1, (0, 250), mask_keys=["mask"])
    return transform(case_on_disk(kind, size))


def variant(item: dict, seed: int, **options) -> dict:
    transform = augmentation(**options, spatial_dims=item["image"].ndim - 1)
    transform.set_random_state(seed=seed)
    return transform(dict(item))


@pytest.mark.parametrize(("kind", "size"), [("picture", (48, 40)), ("volume", (24, 20, 16))])
def test_the_mask_moves_with_its_image(case_on_disk, kind, size):
    item = item_with_blob(case_on_disk, kind, size)
    for seed in range(8):
        moved = variant(item, seed, **MOVES)
        bright, mask = moved["image"] > 0.5, moved["mask"]
        assert moved["image"].shape == mask.shape == item["image"].shape
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert 2 * (bright * mask).sum() / (bright.sum() + mask.sum()) > 0.85
        assert not torch.equal(moved["image"], item["image"])


def test_a_flip_is_exact(case_on_disk):
    item = item_with_blob(case_on_disk)
    seen = set()
    for seed in range(12):
        moved = variant(item, seed, flip_axes=(1,))
        turned = not torch.equal(moved["image"], item["image"])
        for key in ("image", "mask"):
            assert torch.equal(moved[key], item[key].flip(2) if turned else item[key])
        seen.add(turned)
    assert seen == {False, True}


def test_without_any_setting_nothing_changes(case_on_disk):
    item = item_with_blob(case_on_disk)
    same = variant(item, 0)
    assert all(torch.equal(same[key], item[key]) for key in ("image", "mask"))


def test_a_shift_goes_no_further_than_asked(case_on_disk):
    item = item_with_blob(case_on_disk)
    middle = item["mask"][0].nonzero().float().mean(0)
    for seed in range(8):
        moved = variant(item, seed, shift=(3.0, 0.0))["mask"][0].nonzero().float().mean(0)
        assert abs(moved[0] - middle[0]) <= 3.6  # a mask moves by whole pixels
        assert abs(moved[1] - middle[1]) < 0.6


def test_equal_seeds_give_equal_variants(case_on_disk):
    item = item_with_blob(case_on_disk)
    first, again, other = (variant(item, seed, gain=0.2, **MOVES) for seed in (3, 3, 4))
    for key in ("image", "mask"):
        assert torch.equal(first[key], again[key])
        assert not torch.equal(first[key], other[key])


@pytest.mark.parametrize("gain", [0.0, 0.6])
def test_values_stay_between_zero_and_one(case_on_disk, gain):
    item = item_with_blob(case_on_disk)
    for seed in range(8):
        image = variant(item, seed, gain=gain, **MOVES)["image"]
        assert image.min() >= 0
        assert image.max() <= 1


def test_the_gain_leaves_the_mask_alone(case_on_disk):
    item = item_with_blob(case_on_disk)
    brighter = variant(item, 1, gain=0.5)
    assert torch.equal(brighter["mask"], item["mask"])
    ratio = (brighter["image"] / item["image"])[(item["image"] > 0.1) & (brighter["image"] < 1)]
    assert ratio.std() < 1e-3
    assert abs(ratio.mean() - 1) > 0.01


def test_an_image_without_a_mask_is_moved_alone(case_on_disk):
    item = item_with_blob(case_on_disk)
    alone = variant({"image": item["image"]}, 5, **MOVES)
    assert "mask" not in alone
    assert torch.equal(alone["image"], variant(item, 5, **MOVES)["image"])


def test_the_item_itself_is_left_as_it_was(case_on_disk):
    item = item_with_blob(case_on_disk)
    before = {key: item[key].clone() for key in ("image", "mask")}
    variant(item, 0, gain=0.3, **MOVES)
    assert all(torch.equal(item[key], before[key]) for key in before)


# ---- from a surprise map to a label map ----


def test_the_label_map_is_what_exceeds_the_threshold():
    surprise = MetaTensor(torch.tensor([[[-1.0, 2.0], [2.5, np.inf]]]))
    out = AnomalyMaskd(2.0)({"pred": surprise, "case": "a"})
    assert out["pred"].tolist() == [[[0, 0], [1, 1]]]
    assert out["pred"].dtype == torch.uint8
    assert out["surprise"] is surprise
    assert out["case"] == "a"


def test_without_a_threshold_the_map_stays():
    surprise = torch.rand(1, 3, 3)
    out = AnomalyMaskd()({"pred": surprise})
    assert out["pred"] is out["surprise"] is surprise
