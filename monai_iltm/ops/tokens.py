"""Between the code grid and the token sequence, and from image masks to suspect tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def check_tokens(tokens: Tensor, suspect: Tensor | None, length: int) -> None:
    """Raise ValueError for tokens that are not [B, ``length``], or suspects that are not bool of the same shape."""
    if tokens.ndim != 2 or tokens.shape[1] != length:
        raise ValueError(f"expected tokens [B, {length}], found {tuple(tokens.shape)}")
    if suspect is not None and (suspect.dtype != torch.bool or suspect.shape != tokens.shape):
        raise ValueError(
            f"expected suspects torch.bool {tuple(tokens.shape)}, found {suspect.dtype} {tuple(suspect.shape)}"
        )


def pool_mask(mask: Tensor, grid: Sequence[int], mode: str = "area", cut: float = 0.5) -> Tensor:
    """Bring an image mask to the code grid.

    Args:
        mask: bool (or 0/1) [B, 1, *S], True = anomalous; every axis of S a multiple of the grid's.
        grid: cells per axis, g.
        mode: ``area`` marks a cell whose share of anomalous voxels is at least ``cut``; ``max`` marks a cell that
            holds any anomalous voxel.
        cut: share in (0, 1], used by ``area``.

    Returns:
        bool [B, *g], True = suspect.

    Raises:
        ValueError: an axis that does not divide, several channels, another mode, a cut outside (0, 1].
    """
    size = tuple(mask.shape[2:])
    if mask.shape[1] != 1 or len(size) != len(grid) or any(s % g for s, g in zip(size, grid, strict=True)):
        raise ValueError(f"pool_mask: a mask [B, 1, *S] on the grid {tuple(grid)}, found {tuple(mask.shape)}")
    if mode not in ("area", "max"):
        raise ValueError(f"pool_mask: mode is 'area' or 'max', found {mode!r}")
    if not 0 < cut <= 1:
        raise ValueError(f"pool_mask: cut lies in (0, 1], found {cut}")
    cell = [s // g for s, g in zip(size, grid, strict=True)]
    pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[len(grid)]
    count = pool(mask.float(), cell, divisor_override=1)[:, 0]
    # The product may land a hair above a whole number: 0.07 * 100 is 7.000000000000001, and 7 voxels are enough.
    needed = math.ceil(cut * math.prod(cell) - 1e-9) if mode == "area" else 1
    return count >= max(needed, 1)


def to_image_grid(values: Tensor, grid: Sequence[int], size: Sequence[int]) -> Tensor:
    """Spread one value per token over its cell: [B, L] with L = prod(grid) -> [B, 1, *size], nearest."""
    return F.interpolate(values.reshape(-1, 1, *grid), size=tuple(size), mode="nearest")


def fixed_groups(length: int, groups: int, generator: torch.Generator | None = None) -> Tensor:
    """Deal the positions of a sequence into groups of equal size (up to one), at random.

    Returns:
        int64 [length] on the CPU, group of every position, 0..groups-1. Without a generator always the same deal.
    """
    generator = generator or torch.Generator().manual_seed(0)
    return torch.randperm(length, generator=generator, device=generator.device).cpu() % groups


def pack(keep: Tensor, multiple: int = 1) -> tuple[Tensor, Tensor | None]:
    """Positions of the True entries of each row, in rising order, padded to the longest row.

    Args:
        keep: bool [B, L].
        multiple: pad further, to a multiple of this, but to L at most.

    Returns:
        positions int64 [B, P]; valid bool [B, P], False at the padding, or None where no row needs padding.
    """
    counts = keep.sum(1)
    longest = min(round_up(int(counts.max()), multiple), keep.shape[1])
    positions = torch.argsort((~keep).to(torch.uint8), dim=1, stable=True)[:, :longest]
    if bool((counts == longest).all()):
        return positions, None
    return positions, torch.arange(longest, device=keep.device) < counts[:, None]


def round_up(count: int, multiple: int) -> int:
    """The smallest multiple that is no less than ``count``."""
    return -(-count // multiple) * multiple


def uniform(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Uniform f32 in [0, 1) on ``device``, drawn where the generator lives."""
    source = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=source).to(device)
