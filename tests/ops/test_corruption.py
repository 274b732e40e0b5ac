from __future__ import annotations

import math

import pytest
import torch

from monai_iltm.ops.corruption import cut_paste, paste, scar


def image(seed: int = 0, shape: tuple[int, ...] = (2, 24, 20)) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_part_is_copied_as_it_is_and_the_rest_stays():
    """Rows 2 to 5 and columns 3 to 5 over rows 10 to 13 and columns 12 to 14."""
    one = image()
    changed, inside = paste(one, torch.tensor([3.5, 4.0]), torch.tensor([11.5, 13.0]), torch.tensor([4.0, 3.0]))
    expected = one.clone()
    expected[:, 10:14, 12:15] = one[:, 2:6, 3:6]
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=0)
    assert inside.nonzero()[:, 1:].min(0).values.tolist() == [10, 12]
    assert inside.sum() == 12


def test_a_part_turned_by_a_right_angle_lies_on_its_side():
    one = image()
    changed, inside = paste(
        one, torch.tensor([10.0, 10.0]), torch.tensor([10.0, 10.0]), torch.tensor([7.0, 3.0]), math.pi / 2
    )
    assert inside.sum() == 21
    assert inside.any(2).sum() == 3
    torch.testing.assert_close(changed[:, 9:12, 7:14], one[:, 7:14, 9:12].rot90(1, (1, 2)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("corrupt", [cut_paste, scar])
def test_what_is_drawn_lies_in_the_image_and_depends_on_the_generator_alone(corrupt):
    one = image()
    for seed in range(50):
        changed, inside = corrupt(one, seeded(seed))
        assert 0 < inside.sum() < inside.numel()
        assert torch.equal(torch.where(inside, 0, changed), torch.where(inside, 0, one))
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert torch.equal(changed, corrupt(one, seeded(seed))[0])
        assert not torch.equal(changed, corrupt(one, seeded(seed + 1000))[0])


def test_a_patch_has_the_share_of_the_image_that_is_asked_for():
    one, areas = image(shape=(1, 100, 100)), []
    for seed in range(100):
        _, inside = cut_paste(one, seeded(seed), area=(0.04, 0.09))
        areas.append(inside.float().mean().item())
    assert min(areas) >= 0.035
    assert max(areas) <= 0.1
    assert max(areas) - min(areas) > 0.03


def test_without_jitter_the_part_is_the_images_own():
    one = torch.full((1, 16, 16), 0.5)
    assert torch.equal(cut_paste(one, seeded(0), jitter=0.0)[0], one)
    assert not torch.equal(cut_paste(one, seeded(0), jitter=0.2)[0], one)


def test_a_scar_has_the_size_that_is_asked_for():
    """Ten to 25 pixels long and two to sixteen wide, where the image has room."""
    one, longest = image(shape=(1, 64, 64)), []
    for seed in range(60):
        _, inside = scar(one, seeded(seed), angle=0.0)
        longest.append(int(inside[0].any(1).sum()))
        assert 2 <= int(inside[0].any(0).sum()) <= 16
    assert min(longest) >= 10
    assert max(longest) <= 25
    assert max(longest) - min(longest) > 10


@pytest.mark.parametrize("corrupt", [cut_paste, scar])
def test_a_volume_is_refused(corrupt):
    with pytest.raises(ValueError, match=r"an image \[C, H, W\], found \(1, 8, 8, 8\)"):
        corrupt(torch.rand(1, 8, 8, 8), seeded(0))
