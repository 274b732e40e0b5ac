"""Intensities to [0, 1]: by a stated range, by an image's own percentiles or by its median."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, ScaleIntensityRanged
from monai.transforms.utils_pytorch_numpy_unification import percentile
from monai.utils import convert_to_numpy

from monai_iltm.data.errors import InputError
from monai_iltm.transforms.refusing import case_name

PERCENTILES = (0.5, 99.5)  # of an image's own intensities, where no range is stated
IntensityRange = Sequence[float] | str | None


def scaling(intensity_range: IntensityRange) -> MapTransform:
    """The transform of "image" for a setting `intensity_range` (see ``preprocessing``).

    Raises InputError for what is no range.
    """
    if intensity_range is None or intensity_range == "median":
        return _ByItsOwnd(intensity_range is not None)
    if isinstance(intensity_range, str) or len(intensity_range) != 2 or intensity_range[0] >= intensity_range[1]:
        raise InputError(f"intensity_range is [low, high], 'median' or None, found {intensity_range!r}")
    low, high = intensity_range
    return ScaleIntensityRanged(["image"], low, high, 0.0, 1.0, clip=True)


def scale_intensity(array: np.ndarray, intensity_range: IntensityRange) -> np.ndarray:
    """An image as its file holds it, scaled to f32 in [0, 1] just as ``preprocessing`` does."""
    image = torch.from_numpy(array.astype(np.float32))[None]
    return convert_to_numpy(scaling(intensity_range)({"image": image})["image"])[0]


class _ByItsOwnd(MapTransform):
    """Scales by the image's own percentiles, or by its median; refuses an image where these leave no range."""

    def __init__(self, by_median: bool) -> None:
        super().__init__(["image"])
        self.by_median = by_median

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        low, high = self._range(data["image"])
        if low >= high:
            raise InputError(
                f"{case_name(data)}: nearly all of its intensities are {high:g}, so that its own "
                f"{'median' if self.by_median else 'percentiles'} cannot scale them: state intensity_range"
            )
        return ScaleIntensityRanged(self.keys, low, high, 0.0, 1.0, clip=True)(data)

    def _range(self, image: Any) -> tuple[float, float]:
        if self.by_median:
            return 0.0, 2 * float(percentile(image, 50))
        low, high = (float(percentile(image, q)) for q in PERCENTILES)
        return low, high
