"""Random variants of a training image, its mask with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose, RandAffined, RandFlipd, RandScaleIntensityd, ScaleIntensityRanged


class Untracked(Compose):
    """Transforms whose results are plain tensors: to keep track of every step would take most of the time."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        tracked = get_track_meta()
        set_track_meta(False)
        try:
            return super().__call__(*arguments, **options)
        finally:
            set_track_meta(tracked)


def augmentation(
    rotation: float = 0.0,
    scale: float = 0.0,
    shift: Sequence[float] | float = 0.0,
    flip_axes: Sequence[int] = (),
    gain: float = 0.0,
    spatial_dims: int = 2,
) -> Compose:
    """Random affine, flips and intensity gain for "image" f32 [C, *S] in [0, 1] and "mask" [1, *S], or one of them.

    Args:
        rotation: largest angle in radians about every axis.
        scale: largest relative change of size; shift: largest move in voxels, one number or one an axis.
        flip_axes: axes along which half of the variants are turned round: only where anatomy or texture allows it.
        gain: largest relative change of intensity; values stay in [0, 1].

    Draws come from the transform's own state: `set_random_state(seed)`.
    """
    keys = ["image", "mask"]
    turns = rotation if spatial_dims == 2 else (rotation,) * 3
    moves = (shift,) * spatial_dims if isinstance(shift, (int, float)) else tuple(shift)
    affine = RandAffined(
        keys,
        prob=1.0,
        rotate_range=turns,
        scale_range=(scale,) * spatial_dims,
        translate_range=moves,
        mode=("bilinear", "nearest"),
        padding_mode="border",
        allow_missing_keys=True,
    )
    steps: list[Any] = [affine] if rotation or scale or any(moves) else []  # images that only turn stay exact
    steps += [RandFlipd(keys, prob=0.5, spatial_axis=axis, allow_missing_keys=True) for axis in flip_axes]
    if gain:
        steps.append(RandScaleIntensityd(["image"], factors=gain, prob=1.0, allow_missing_keys=True))
        steps.append(ScaleIntensityRanged(["image"], 0.0, 1.0, 0.0, 1.0, clip=True, allow_missing_keys=True))
    return Untracked(steps)
