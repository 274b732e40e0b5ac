"""What a model refuses by itself, wherever it is deployed: all that an image alone can tell."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms import MapTransform

from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.intensities import not_filled, out_of_range, unlike_training

logger = logging.getLogger(__name__)


class RequireSoundd(MapTransform):
    """Refuses an image that the model cannot judge, by case and file; adds the numbers "lowest", "mean" and "highest".

    Refused are: other dimensions or channels than the model's, intensities that are not finite, out of
    `expected_range`, or all black or all white once scaled by `intensity_range`. One that departs from the training
    images is told in the log, and marked: "warning" is the reason, else "".

    Args:
        channels, spatial_dims: of an image f32 [C, *S].
        expected_range: lowest and highest intensity, None: any. intensity_range: see ``preprocessing``.
        training: what `data.intensities.summary_of` told of the training images.
    """

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        expected_range: Sequence[float] | None = None,
        intensity_range: Any = None,
        training: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        super().__init__(["image"])
        self.channels, self.spatial_dims = channels, spatial_dims
        self.expected_range, self.intensity_range, self.training = expected_range, intensity_range, training

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        image, name = data["image"], case_name(data)
        if image.ndim != self.spatial_dims + 1 or image.shape[0] != self.channels:
            raise InputError(
                f"{name}: {image.ndim - 1}D with {image.shape[0]} channels, the model takes "
                f"{self.spatial_dims}D with {self.channels}"
            )
        low, high = (float(end) for end in image.aminmax())  # a NaN is both, and an infinity one of the ends
        if not abs(low) + abs(high) < float("inf"):
            raise InputError(f"{name}: NaN or infinite intensities")
        if found := out_of_range(low, high, self.expected_range):
            raise InputError(f"{name}: intensities out of range, {found}")
        if found := not_filled(low, high, self.intensity_range):
            raise InputError(f"{name}: intensities that fill no range, {found}")
        mean = float(image.mean())
        warning = unlike_training(mean, self.training) or ""
        if warning:
            logger.warning("%s: %s", name, warning)
        return {**data, "lowest": low, "mean": mean, "highest": high, "warning": warning}


class RequireFitd(MapTransform):
    """Refuses an image larger than the grid it is to be padded to."""

    def __init__(self, image_size: Sequence[int]) -> None:
        super().__init__(["image"])
        self.image_size = tuple(image_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        size = tuple(data["image"].shape[1:])
        if any(n > most for n, most in zip(size, self.image_size, strict=True)):
            raise InputError(
                f"{case_name(data)}: size {size} is larger than image_size {self.image_size}: "
                "choose a larger image_size, a coarser spacing, or resize"
            )
        return dict(data)


def case_name(data: Mapping[Hashable, Any]) -> str:
    """What messages call a case: its id, else its file."""
    meta = getattr(data["image"], "meta", {})
    return shown(str(data.get("case") or meta.get("filename_or_obj", "image")))
