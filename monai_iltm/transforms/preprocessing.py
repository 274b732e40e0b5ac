"""From an image file to the model's grid: load, resample, scale to [0, 1], resize or pad; all of it can be undone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Compose,
    Invertd,
    LoadImaged,
    MapTransform,
    Resized,
    ScaleIntensityRanged,
    Spacingd,
    SpatialPadd,
)
from monai.transforms.utils_pytorch_numpy_unification import percentile
from monai.utils import convert_to_numpy, convert_to_tensor

from monai_iltm.data.errors import InputError
from monai_iltm.data.readers import ImageFileReader

PERCENTILES = (0.5, 99.5)  # of an image's own intensities, where no range is stated
IntensityRange = Sequence[float] | str | None


def image_loader(keys: Sequence[str]) -> LoadImaged:
    """MONAI's loader, channel first, f32 [C, *S], with this package's reader; missing keys are left."""
    loader = LoadImaged(keys, image_only=True, ensure_channel_first=True, allow_missing_keys=True)
    loader.register(ImageFileReader())
    return loader


def preprocessing(
    image_size: Sequence[int],
    channels: int = 1,
    intensity_range: IntensityRange = None,
    spacing: Sequence[float] | None = None,
    resize: bool = False,
    mask_keys: Sequence[str] = (),
) -> Compose:
    """Case with "image" (and masks) as paths -> MetaTensors, image f32 [C, *image_size] in [0, 1], masks 0/1.

    Args:
        image_size: the model's grid in voxels; every axis a multiple of the VQ-VAE's factor.
        channels: of the image; another number is refused by name.
        intensity_range: values that become 0 and 1, all else is clipped; None takes each image's own percentiles,
            "median" 0 and twice its own median, for pictures of one kind of thing that were exposed differently.
        spacing: mm to resample volumes to, None keeps the file's.
        resize: interpolate to image_size; else pad around the image, which must not be larger.
        mask_keys: keys of masks that go through the same geometry (nearest), left alone where missing.

    Undo with ``ToImageGridd``.
    """
    masks = list(mask_keys)
    keys = ["image", *masks]
    linear = {2: "bilinear", 3: "trilinear"}[len(image_size)]
    steps: list[Any] = [image_loader(keys), _Checkd(channels, len(image_size)), _scaling(intensity_range)]
    if spacing is not None:
        modes = ["bilinear", *["nearest"] * len(masks)]
        steps.append(Spacingd(keys, spacing, mode=modes, padding_mode="border", allow_missing_keys=True))
    if masks:
        steps.append(_Binaryd(masks, allow_missing_keys=True))
    if resize:
        modes = [linear, *["nearest-exact"] * len(masks)]  # "nearest" would move a mask by half a voxel
        smooth = [True, *[False] * len(masks)]
        steps.append(Resized(keys, image_size, mode=modes, anti_aliasing=smooth, allow_missing_keys=True))
    else:
        steps += [_Fitsd(image_size), SpatialPadd(keys, image_size, allow_missing_keys=True)]
    return Compose(steps)


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


def scale_intensity(array: np.ndarray, intensity_range: IntensityRange) -> np.ndarray:
    """An image as its file holds it, scaled to f32 in [0, 1] just as ``preprocessing`` does."""
    image = torch.from_numpy(array.astype(np.float32))[None]
    return convert_to_numpy(_scaling(intensity_range)({"image": image})["image"])[0]


def _scaling(intensity_range: IntensityRange) -> MapTransform:
    if intensity_range is None or intensity_range == "median":
        return _ByItsOwnd(intensity_range is not None)
    if isinstance(intensity_range, str) or len(intensity_range) != 2:
        raise InputError(f"intensity_range is [low, high], 'median' or None, found {intensity_range!r}")
    low, high = intensity_range
    return ScaleIntensityRanged(["image"], low, high, 0.0, 1.0, clip=True)


class _ByItsOwnd(MapTransform):
    """Scales by the image's own percentiles, or by its median; refuses an image where these leave no range."""

    def __init__(self, by_median: bool) -> None:
        super().__init__(["image"])
        self.by_median = by_median

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        low, high = self._range(data["image"])
        if low >= high:
            raise InputError(
                f"{_name(data)}: nearly all of its intensities are {high:g}, so that its own "
                f"{'median' if self.by_median else 'percentiles'} cannot scale them: state intensity_range"
            )
        return ScaleIntensityRanged(self.keys, low, high, 0.0, 1.0, clip=True)(data)

    def _range(self, image: Any) -> tuple[float, float]:
        if self.by_median:
            return 0.0, 2 * float(percentile(image, 50))
        low, high = (float(percentile(image, q)) for q in PERCENTILES)
        return low, high


class _Checkd(MapTransform):
    """Refuses an image of other channels or dimensions than the model's, by case and file."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__(["image"])
        self.channels, self.spatial_dims = channels, spatial_dims

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        image = data["image"]
        if image.ndim != self.spatial_dims + 1 or image.shape[0] != self.channels:
            raise InputError(
                f"{_name(data)}: {image.ndim - 1}D with {image.shape[0]} channels, the model takes "
                f"{self.spatial_dims}D with {self.channels}"
            )
        return dict(data)


class _Fitsd(MapTransform):
    """Refuses an image larger than the grid it is to be padded to."""

    def __init__(self, image_size: Sequence[int]) -> None:
        super().__init__(["image"])
        self.image_size = tuple(image_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        size = tuple(data["image"].shape[1:])
        if any(n > most for n, most in zip(size, self.image_size, strict=True)):
            raise InputError(
                f"{_name(data)}: size {size} is larger than image_size {self.image_size}: "
                "choose a larger image_size, a coarser spacing, or resize"
            )
        return dict(data)


class _Binaryd(MapTransform):
    """Masks of any number type to 0 and 1."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = (out[key] > 0).to(torch.float32)
        return out


def _name(data: Mapping[Hashable, Any]) -> str:
    meta = getattr(data["image"], "meta", {})
    return str(data.get("case") or meta.get("filename_or_obj", "image"))
