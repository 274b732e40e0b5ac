"""From an image file to the model's grid: load, check, turn, resample, scale, resize or pad; all of it is undone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms import Compose, Invertd, Orientationd, Resized, Spacingd, SpatialPadd
from monai.utils import convert_to_tensor

from monai_iltm.data.claims import GIB
from monai_iltm.transforms.intensity import IntensityRange, scaling
from monai_iltm.transforms.loading import ChannelFirstd, LoadMaskd, image_loader
from monai_iltm.transforms.refusing import RequireFitd, RequireSoundd


def preprocessing(
    image_size: Sequence[int],
    channels: int = 1,
    intensity_range: IntensityRange = None,
    spacing: Sequence[float] | None = None,
    resize: bool = False,
    mask_keys: Sequence[str] = (),
    orientation: str | None = None,
    expected_range: Sequence[float] | None = None,
    training_intensities: Mapping[str, Sequence[float]] | None = None,
    max_read_gib: float | None = None,
) -> Compose:
    """Case with "image" (and masks) as paths -> MetaTensors, image f32 [C, *image_size] in [0, 1], masks 0/1.

    Each step but the first two, the loaders, also takes what another loader, or a program, has put into memory.
    Refused, by case and file, is what ``RequireSoundd`` and ``RequireFitd`` refuse.

    Args:
        image_size: the model's grid in voxels; every axis a multiple of the VQ-VAE's factor.
        channels: of the image; another number is refused by name.
        intensity_range: values that become 0 and 1, all else is clipped; None takes each image's own percentiles,
            "median" 0 and twice its own median, for pictures of one kind of thing that were exposed differently.
        spacing: mm to resample volumes to, None keeps the file's.
        resize: interpolate to image_size; else pad around the image, which must not be larger.
        mask_keys: keys of masks that go through the same geometry (nearest), left alone where missing.
        orientation: to which volumes are turned, as "RAS": where their axes point, by their affine; None: as the file
            has them.
        expected_range: intensities beyond it are refused; None: no check.
        training_intensities: of the training images, from ``summary_of``; None: not compared.
        max_read_gib: memory that reading a file may take.

    Undo with ``ToImageGridd``.
    """
    masks, spatial_dims = list(mask_keys), len(image_size)
    keys = ["image", *masks]
    most_bytes = None if max_read_gib is None else int(max_read_gib * GIB)
    steps: list[Any] = [image_loader(["image"], most_bytes), *([LoadMaskd(masks)] if masks else [])]
    steps.append(ChannelFirstd(keys, spatial_dims, channels))
    steps.append(RequireSoundd(channels, spatial_dims, expected_range, intensity_range, training_intensities))
    if orientation is not None and spatial_dims == 3:
        steps.append(Orientationd(keys, orientation, labels=None, allow_missing_keys=True))
    steps.append(scaling(intensity_range))
    if spacing is not None:
        modes = ["bilinear", *["nearest"] * len(masks)]
        steps.append(Spacingd(keys, spacing, mode=modes, padding_mode="border", allow_missing_keys=True))
    return Compose([*steps, *(_resized(keys, image_size) if resize else _padded(keys, image_size))])


def _resized(keys: Sequence[str], image_size: Sequence[int]) -> list[Any]:
    """The image, first among the keys, and masks interpolated to a size."""
    linear, masks = {2: "bilinear", 3: "trilinear"}[len(image_size)], len(keys) - 1
    modes = [linear, *["nearest-exact"] * masks]  # "nearest" would move a mask by half a voxel
    return [Resized(keys, image_size, mode=modes, anti_aliasing=[True, *[False] * masks], allow_missing_keys=True)]


def _padded(keys: Sequence[str], image_size: Sequence[int]) -> list[Any]:
    return [RequireFitd(image_size), SpatialPadd(keys, image_size, allow_missing_keys=True)]


class ToImageGridd(Invertd):
    """Bring results f32 [C, *image_size] back to the grid of the file their image came from.

    Args:
        keys: results; transform: the preprocessing the image went through.
    """

    def __init__(self, keys: Sequence[str], transform: Compose) -> None:
        super().__init__(keys, transform, orig_keys="image", nearest_interp=False, allow_missing_keys=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = convert_to_tensor(out[key], track_meta=True)  # plain tensors would be left as they are
        return super().__call__(out)
