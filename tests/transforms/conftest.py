"""Images on disk, one of every kind that comes through the door, with a bright blob and its mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_iltm.data.images import write_image

# A rotation about two axes, spacings of 2, 3 and 4 mm, a mirrored axis and an offset.
TURN = np.array([[0.8, -0.6, 0.0], [0.48, 0.64, -0.6], [0.36, 0.48, 0.8]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN @ np.diag([-2.0, 3.0, 4.0])
OBLIQUE[:3, 3] = [11.0, -7.0, 5.0]


def blob(size: tuple[int, ...]) -> np.ndarray:
    """A smooth bump, f64 [*size] in [0, 1], its middle at 0.4 of every axis, above 0.5 within a fifth of the size."""
    axes = np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.4 for n in size], indexing="ij")
    return np.exp(-np.log(2) * sum(axis**2 for axis in axes) / 0.2**2)


@pytest.fixture(scope="session")
def oblique() -> np.ndarray:
    """The affine of ``case_on_disk``: voxels of 2, 3 and 4 mm, turned and mirrored."""
    return OBLIQUE


@pytest.fixture
def case_on_disk(tmp_path) -> Callable[..., dict[str, Any]]:
    """Writes image and mask of a kind ("picture", "colour", "volume", "flat": 2D NIfTI) and returns the case."""

    def write(kind: str, size: tuple[int, ...], affine: np.ndarray | None = OBLIQUE) -> dict[str, Any]:
        bump = np.round(250 * blob(size)).astype(np.uint8)
        image = np.stack([bump, bump // 2, 250 - bump], -1) if kind == "colour" else bump
        end = ".png" if kind in ("picture", "colour") else ".nii.gz"
        paths = {key: Path(tmp_path) / f"{key}{end}" for key in ("image", "mask")}
        write_image(paths["image"], image, affine)
        write_image(paths["mask"], bump > 125, affine)
        return {"case": "case_7", **{key: str(path) for key, path in paths.items()}}

    return write
