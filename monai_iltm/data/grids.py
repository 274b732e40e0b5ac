"""Grids of images: a shape, and for volumes where its voxels lie."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from monai_iltm.data.errors import InputError

TOLERANCE = 0.1  # of a voxel: headers hold rounded numbers
Grid = tuple[tuple[int, ...], np.ndarray | None]  # (shape [*S] without channels, affine f64 [4, 4] to mm or None)


def grids_apart(image: Grid, other: Grid) -> str | None:
    """How another grid differs from the image's, in words, or None.

    Affines agree where the corners of the grid come within a tenth of a voxel; one that is not finite is reported with
    its file and differs from none.
    """
    (shape, affine), (other_shape, other_affine) = image, other
    if shape != other_shape:
        return f"{other_shape}, image {shape}"
    if affine is None or other_affine is None:
        return None if (affine is None) == (other_affine is None) else "a picture beside a volume"
    if not (np.isfinite(affine).all() and np.isfinite(other_affine).all()):
        return None
    apart = corners_apart(shape, affine, other_affine)
    return f"affine off by up to {apart:.4g} mm" if apart > TOLERANCE * voxel_size(affine).min() else None


def require_grid(name: str, image: Grid, other: Grid) -> None:
    """Raise InputError where another grid is not the image's; `name` says whose it is: "case a: its mask b.png"."""
    if difference := grids_apart(image, other):
        raise InputError(f"{name} is not on the image's grid: {difference}")


def corners_apart(shape: Sequence[int], affine: np.ndarray, other: np.ndarray) -> float:
    """The largest distance along an axis, in mm, between the corners of a grid as two affines place them."""
    sides = [(0, size - 1) for size in (*shape, 1, 1)[:3]]
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*sides)])
    return float(np.abs(corners @ (affine - other).T).max())


def voxel_size(affine: np.ndarray) -> np.ndarray:
    """Lengths f64 [3] of a voxel's sides in mm."""
    return np.linalg.norm(affine[:3, :3], axis=0)
