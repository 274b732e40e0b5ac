"""Between the code grid and the token sequence, and from image masks to suspect tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def pool_mask(mask: Tensor, grid: Sequence[int], mode: str = "area", cut: float = 0.5) -> Tensor:
    """Bring an image mask to the code grid.

    Args:
        mask: bool (or 0/1) [B, 1, *S], True = anomalous; every axis of S a multiple of the grid's.
        grid: cells per axis, g.
        mode: ``area`` marks a cell whose share of anomalous voxels is at least ``cut`` (and above 0); ``max`` marks a
            cell that holds any anomalous voxel.
        cut: share in (0, 1], used by ``area``.

    Returns:
        bool [B, *g], True = suspect.

    Raises:
        ValueError: an axis that does not divide, another mode, a cut outside (0, 1].
    """
    size = mask.shape[2:]
    if len(size) != len(grid) or any(s % g for s, g in zip(size, grid, strict=True)):
        raise ValueError(f"pool_mask: a mask of size {tuple(size)} does not divide into the grid {tuple(grid)}")
    if mode not in ("area", "max"):
        raise ValueError(f"pool_mask: mode is 'area' or 'max', found {mode!r}")
    if not 0 < cut <= 1:
        raise ValueError(f"pool_mask: cut lies in (0, 1], found {cut}")
    cell = [s // g for s, g in zip(size, grid, strict=True)]
    pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[len(grid)]
    share = pool(mask.float(), cell)[:, 0]
    # One voxel short of the cut is not the cut; half a voxel of slack absorbs float32 rounding of the mean.
    slack = 0.5 / torch.tensor(cell).prod().item()
    return share > 0 if mode == "max" else (share > 0) & (share > cut - slack)


def to_image_grid(values: Tensor, grid: Sequence[int], size: Sequence[int]) -> Tensor:
    """Spread one value per token over its cell: [B, L] with L = prod(grid) -> [B, 1, *size], nearest."""
    return F.interpolate(values.reshape(-1, 1, *grid), size=tuple(size), mode="nearest")


def fixed_groups(length: int, groups: int, generator: torch.Generator | None = None) -> Tensor:
    """Deal the positions of a sequence into groups of equal size (up to one), at random.

    Returns:
        int64 [length] on the CPU, group of every position, 0..groups-1. Without a generator always the same deal.
    """
    generator = generator or torch.Generator().manual_seed(0)
    deal = torch.randperm(length, generator=generator, device=generator.device).cpu() % groups
    return deal


def pack(keep: Tensor) -> tuple[Tensor, Tensor | None]:
    """Positions of the True entries of each row, in rising order, padded to the longest row.

    Args:
        keep: bool [B, L].

    Returns:
        positions int64 [B, P]; valid bool [B, P], False at the padding, or None where no row needs padding.
    """
    counts = keep.sum(1)
    longest = int(counts.max())
    positions = torch.argsort((~keep).to(torch.uint8), dim=1, stable=True)[:, :longest]
    if bool((counts == longest).all()):
        return positions, None
    return positions, torch.arange(longest, device=keep.device) < counts[:, None]


def keyed_uniform(keys: Tensor, count: int) -> Tensor:
    """Uniform numbers that depend on their row's key alone, whatever batch, rank or device it stands in.

    Args:
        keys: int64 [B].
        count: numbers per key.

    Returns:
        f32 [B, count] in [0, 1). Source: the splitmix64 finaliser (Steele, Lea and Flood, OOPSLA 2014), in wrapping
        int64 arithmetic.
    """
    steps = torch.arange(1, count + 1, device=keys.device)
    state = _mix(keys)[:, None] + steps * -7046029254386353131  # 0x9E3779B97F4A7C15, the golden-ratio increment
    return (_shift(_mix(state), 40).double() / 2**24).float()


def _mix(state: Tensor) -> Tensor:
    state = (state ^ _shift(state, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    state = (state ^ _shift(state, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return state ^ _shift(state, 31)


def _shift(state: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch's own keeps the sign."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def uniform(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Uniform f32 in [0, 1) on ``device``, drawn where the generator lives."""
    source = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=source).to(device)
