"""What a bundle takes for an image: its grid, its channels, its intensities, and how a file is brought to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from monai.transforms import Compose

from monai_iltm.data.errors import InputError
from monai_iltm.data.prepare import image_limits
from monai_iltm.transforms import preprocessing


@dataclass(frozen=True)
class Images:
    """The images that a network is trained on and scores, the same in every stage and in the deployed bundle.

    Args:
        size: of the network's grid in voxels, 2D or 3D. channels: of an image.
        intensity_range: what becomes 0 and 1; None takes each image's own percentiles, "median" 0 and twice its median.
        expected_range: intensities beyond it are refused; None: no check.
        spacing: mm that volumes are resampled to; None keeps the file's.
        resize: interpolate to ``size``; else pad around the image, which must not be larger.
        orientation: to which volumes are turned, as "RAS"; None: as the file has them.
        max_read_gib: memory that reading one file may take.
        training_intensities: of the training images, which new ones are held against; None: not compared.
        spatial_dims: 2 or 3, where a user wants it checked against ``size``.

    Raises InputError where ``spatial_dims`` is not that of ``size``.
    """

    size: Sequence[int] = (64, 64)
    channels: int = 1
    intensity_range: Sequence[float] | str | None = (0, 255)
    expected_range: Sequence[float] | None = (0, 255)
    spacing: Sequence[float] | None = None
    resize: bool = False
    orientation: str | None = "RAS"
    max_read_gib: float = 2.0
    training_intensities: Mapping[str, Sequence[float]] | None = None
    spatial_dims: int | None = None

    def __post_init__(self) -> None:
        if self.spatial_dims not in (None, self.dims):
            raise InputError(f"spatial_dims is {self.spatial_dims}, but image_size has {self.dims} axes: {self.size}")

    @property
    def dims(self) -> int:
        """2 or 3."""
        return len(self.size)

    def values(self) -> dict[str, Any]:
        """Every field but those that concern the deployed bundle or the check alone."""
        values = asdict(self)
        return {name: values[name] for name in values if name not in ("training_intensities", "spatial_dims")}

    def preprocessing(self, mask_keys: Sequence[str] = ()) -> Compose:
        """File to tensor, see ``transforms.preprocessing``; masks go through the same geometry."""
        return preprocessing(
            self.size,
            self.channels,
            self.intensity_range,
            self.spacing,
            self.resize,
            mask_keys,
            self.orientation,
            self.expected_range,
            self.training_intensities,
            self.max_read_gib,
        )

    def limits(self, factor: int, allow_outside: bool = False) -> dict[str, Any]:
        """What a file is held to at the door, see ``image_limits``; factor: voxels a token and axis."""
        return image_limits(
            self.size,
            factor,
            self.channels,
            self.expected_range,
            self.spacing,
            self.resize,
            self.intensity_range,
            self.orientation,
            self.max_read_gib,
            allow_outside,
        )
