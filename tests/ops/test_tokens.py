from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_iltm.ops.tokens import check_tokens, fixed_groups, pack, pool_mask, to_image_grid, uniform


def mask_of(*rows: str) -> torch.Tensor:
    return torch.tensor([[c == "#" for c in row] for row in rows])[None, None]


PICTURE = mask_of("##..", "#...", "...#", "....")  # cells of 2 x 2 hold 3, 0, 0 and 1 anomalous voxels


@pytest.mark.parametrize(
    ("mode", "cut", "expected"),
    [
        ("max", 0.5, [[True, False], [False, True]]),
        ("area", 0.25, [[True, False], [False, True]]),
        ("area", 0.26, [[True, False], [False, False]]),  # 1 voxel of 4 is short of it
        ("area", 0.75, [[True, False], [False, False]]),
        ("area", 0.76, [[False, False], [False, False]]),
        ("area", 1e-12, [[True, False], [False, True]]),  # however low the cut, an empty cell is normal
    ],
)
def test_pool_mask_by_hand(mode, cut, expected):
    assert pool_mask(PICTURE, (2, 2), mode, cut).tolist() == [expected]
    assert pool_mask(PICTURE.float(), (2, 2), mode, cut).tolist() == [expected]


def test_pool_mask_of_a_volume_and_a_batch():
    mask = torch.zeros(2, 1, 2, 4, 6, dtype=torch.bool)
    mask[1, 0, :, 2:, 3:5] = True  # 8 voxels, in two cells of 2 x 2 x 2 along the last axis
    assert pool_mask(mask, (1, 2, 3), "max").nonzero().tolist() == [[1, 0, 1, 1], [1, 0, 1, 2]]
    assert pool_mask(mask, (1, 2, 3), cut=0.5).nonzero().tolist() == [[1, 0, 1, 1], [1, 0, 1, 2]]
    assert not pool_mask(mask, (1, 2, 3), cut=0.6).any()
    assert pool_mask(mask, (2, 4, 6)).flatten(1).tolist() == mask.flatten(1).tolist()


def test_the_cut_is_reached_though_its_product_is_a_hair_above():
    mask = torch.zeros(1, 1, 10, 10, dtype=torch.bool)
    mask[..., 0, :7] = True
    assert 0.07 * 100 > 7
    assert pool_mask(mask, (1, 1), "area", 0.07).all()
    assert not pool_mask(mask, (1, 1), "area", 0.08).any()


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 1000), st.integers(1, 100))
def test_a_cell_is_marked_from_the_first_voxel_that_reaches_the_cut(height, width, seed, percent):
    """In whole numbers: count * 100 >= percent * voxels."""
    mask = torch.rand(1, 1, 2 * height, 3 * width, generator=torch.Generator().manual_seed(seed)) < 0.4
    pooled = pool_mask(mask, (2, 3), "area", percent / 100)
    for i in range(2):
        for j in range(3):
            count = int(mask[0, 0, i * height : (i + 1) * height, j * width : (j + 1) * width].sum())
            assert bool(pooled[0, i, j]) == (count > 0 and 100 * count >= percent * height * width)


@pytest.mark.parametrize(
    ("mask", "grid", "mode", "cut", "words"),
    [
        (torch.zeros(1, 1, 5, 4), (2, 2), "area", 0.5, r"\(1, 1, 5, 4\)"),
        (torch.zeros(1, 1, 4, 4), (2, 2, 1), "area", 0.5, r"\(2, 2, 1\)"),
        (torch.zeros(1, 3, 4, 4), (2, 2), "area", 0.5, r"\(1, 3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), (2, 2), "mean", 0.5, "'mean'"),
        (torch.zeros(1, 1, 4, 4), (2, 2), "area", 0.0, "found 0.0"),
        (torch.zeros(1, 1, 4, 4), (2, 2), "area", 1.1, "found 1.1"),
    ],
)
def test_pool_mask_refuses(mask, grid, mode, cut, words):
    with pytest.raises(ValueError, match=words):
        pool_mask(mask, grid, mode, cut)


@pytest.mark.parametrize("grid", [(2, 3), (2, 1, 3)])
def test_a_value_spreads_over_its_cell_and_comes_back(grid):
    values = torch.arange(12.0).view(2, 6)
    size = [4 * n for n in grid]
    image = to_image_grid(values, grid, size)
    assert image.shape == (2, 1, *size)
    cells = image[(slice(None), 0, *[slice(1, None, 4)] * len(grid))]
    assert torch.equal(cells.flatten(1), values)
    assert torch.equal(pool_mask(image > 3, grid, "max").flatten(1), values > 3)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 50), st.none() | st.integers(0, 9))
def test_groups_are_even_and_cover_every_position(length, groups, seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    group = fixed_groups(length, groups, generator)
    sizes = torch.bincount(group, minlength=groups)
    assert group.shape == (length,)
    assert len(sizes) == groups
    assert sizes.max() - sizes.min() <= 1


def test_the_fixed_deal_is_the_same_whatever_ran_before():
    first = fixed_groups(30, 4)
    torch.rand(5)
    assert torch.equal(fixed_groups(30, 4), first)
    assert not torch.equal(fixed_groups(30, 4, torch.Generator().manual_seed(3)), first)


def test_pack_by_hand():
    keep = torch.tensor([[True, False, True, True], [False, False, False, True], [False] * 4])
    positions, valid = pack(keep)
    assert valid.tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert positions[valid].tolist() == [0, 2, 3, 3]
    assert pack(keep[:2, 1:3])[1].tolist() == [[True], [False]]


def test_pack_pads_to_a_multiple_but_to_the_length_at_most():
    keep = torch.tensor([[True, False, True, False, True], [False, True, True, True, False]])
    for multiple, size in ((1, 3), (2, 4), (3, 3), (4, 4), (7, 5)):
        positions, valid = pack(keep, multiple)
        assert positions.shape == (2, size)
        assert positions[:, :3].tolist() == [[0, 2, 4], [1, 2, 3]]
        assert valid is None if size == 3 else valid.tolist() == [[True] * 3 + [False] * (size - 3)] * 2


@pytest.mark.parametrize("keep", [torch.zeros(2, 4, dtype=torch.bool), torch.eye(3, dtype=torch.bool)])
def test_pack_without_padding_says_so(keep):
    positions, valid = pack(keep)
    assert valid is None
    assert positions.shape == (len(keep), int(keep[0].sum()))


@settings(max_examples=40)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 9), st.floats(0, 1))
def test_pack_lists_what_is_kept_and_pads_with_what_is_not(seed, rows, length, share):
    keep = torch.rand(rows, length, generator=torch.Generator().manual_seed(seed)) < share
    positions, valid = pack(keep)
    valid = torch.ones_like(positions, dtype=torch.bool) if valid is None else valid
    for row in range(rows):
        assert positions[row][valid[row]].tolist() == keep[row].nonzero()[:, 0].tolist()
        assert len(set(positions[row].tolist())) == positions.shape[1]  # healing scatters to them


def test_uniform_repeats_with_its_generator():
    device = torch.device("cpu")
    one, same = (uniform((4, 100), torch.Generator().manual_seed(0), device) for _ in range(2))
    assert torch.equal(one, same)
    assert 0 <= one.min() < 0.05 < 0.95 < one.max() < 1
    assert uniform((math.prod((2, 3)),), None, device).shape == (6,)


def test_check_tokens():
    tokens = torch.zeros(2, 6, dtype=torch.long)
    check_tokens(tokens, None, 6)
    check_tokens(tokens, tokens.bool(), 6)
    with pytest.raises(ValueError, match=r"\[B, 6\], found \(2, 2, 3\)"):
        check_tokens(tokens.unflatten(1, (2, 3)), None, 6)
    with pytest.raises(ValueError, match=r"torch.bool \(2, 6\), found torch.bool \(1, 6\)"):
        check_tokens(tokens, tokens[:1].bool(), 6)
