"""The package's images for MONAI's loaders, so that training, scoring and a deployed bundle see the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from monai_iltm.data.claims import MOST_BYTES
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.grids import grids_apart
from monai_iltm.data.images import IMAGE_SUFFIXES, ImageFile, read_image, suffix


class ImageFileReader(ImageReader):
    """Volumes and pictures for monai.transforms.LoadImaged, as ``read_image`` reads them.

    Pictures have axes [row, col] and the identity as affine; volumes the affine in mm. Several names become the
    channels of one image, as with MONAI's readers. Raises InputError as ``read_image`` does.

    Args:
        most_bytes: memory that reading one file may take.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        super().__init__()
        self.most_bytes = most_bytes

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True where every name is an image's."""
        return all(suffix(name) in IMAGE_SUFFIXES for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[ImageFile]:
        """One image a file. Raises InputError where several do not share one grid."""
        names = ensure_tuple(data)
        files = [read_image(name, self.most_bytes) for name in names]
        for name, file in zip(names, files, strict=True):
            if difference := grids_apart(files[0].grid, file.grid):
                raise InputError(f"{shown(name)}: channels of one image differ in their grids: {difference}")
            if len(files) > 1 and file.array.ndim != len(file.grid[0]):
                raise InputError(f"{shown(name)}: only grey images can be stacked as channels")
        return files

    def get_data(self, img: list[ImageFile]) -> tuple[np.ndarray, dict]:
        """The array [*S] or [*S, C] and MONAI's meta data (affine, spatial_shape, original_channel_dim)."""
        array = img[0].array if len(img) == 1 else np.stack([file.array for file in img], axis=-1)
        shape, affine = img[0].grid
        meta = {
            MetaKeys.AFFINE: np.eye(4) if affine is None else affine,
            MetaKeys.ORIGINAL_AFFINE: np.eye(4) if affine is None else affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if array.ndim > len(shape) else float("nan"),
        }
        return array, meta if affine is None else {**meta, MetaKeys.SPACE: SpaceKeys.RAS}
