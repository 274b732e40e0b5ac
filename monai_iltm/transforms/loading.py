"""From a file, or from memory, to one form: MetaTensors [C, *S] whose axes any loader's image has in one order."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, LoadImaged, MapTransform
from monai.utils import MetaKeys, convert_to_tensor

from monai_iltm.data.readers import ImageFileReader
from monai_iltm.data.truth import read_mask

COLUMNS_FIRST = {"width", "height", "mode"}  # what the meta data of MONAI's picture reader hold, and no other's


def image_loader(keys: Sequence[str], most_bytes: int | None = None) -> LoadImaged:
    """MONAI's loader with this package's reader for volumes and pictures; f32 in the file's own axes.

    most_bytes: of memory that a file may take, None: the reader's default. Missing keys are left.
    """
    loader = LoadImaged(keys, image_only=True, allow_missing_keys=True)
    loader.register(ImageFileReader() if most_bytes is None else ImageFileReader(most_bytes))
    return loader


class LoadMaskd(MapTransform):
    """Reads masks as `read_mask` does: f32 [*S], 1 where a voxel is marked; missing keys are left.

    A mask that is a case's truth is read by the case's "label_threshold" and "label_ignore".
    Raises InputError for a file that is no mask.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(keys, allow_missing_keys=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            file = read_mask(out[key], out.get("label_threshold"), out.get("label_ignore"))
            meta = {"filename_or_obj": str(out[key]), MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan")}
            out[key] = MetaTensor(torch.from_numpy(file.array).float(), affine=_affine(file.affine), meta=meta)
        return out


class ChannelFirstd(MapTransform, InvertibleTransform):
    """Whatever a loader, or a program without one, hands over -> MetaTensor f32 [C, *S], pictures [C, row, col].

    Taken are [*S], [C, *S], [*S, C] and trailing axes of one. A picture that MONAI's own reader has turned to
    [col, row] is turned back, and its results turn again when they are brought back to the image's grid.

    Args:
        keys: images and masks; spatial_dims: 2 or 3; channels: of the image, by which [C, *S] and [*S, C] are told
            apart, a mask has one.
    """

    def __init__(self, keys: Sequence[str], spatial_dims: int, channels: int = 1) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.spatial_dims, self.channels = spatial_dims, channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            image = convert_to_tensor(out[key], dtype=torch.float32, track_meta=True)
            image = self._channel_first(image, self.channels if key == "image" else 1)
            turned = self.spatial_dims == 2 and image.meta.keys() >= COLUMNS_FIRST
            out[key] = image.transpose(-2, -1) if turned else image
            self.push_transform(out, key, extra_info={"turned": turned})
        return out

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            if self.pop_transform(out, key)["extra_info"]["turned"]:
                out[key] = out[key].transpose(-2, -1)
        return out

    def _channel_first(self, image: Any, channels: int) -> Any:
        axes = self.spatial_dims + 1
        while image.ndim > axes and image.shape[-1] == 1:
            image = image[..., 0]
        if image.ndim <= self.spatial_dims:
            return image[None]
        last = image.ndim == axes and image.shape[-1] == channels
        if last and (image.shape[0] != channels or _is_last(image.meta.get(MetaKeys.ORIGINAL_CHANNEL_DIM))):
            return image.moveaxis(-1, 0)
        return image


def _is_last(axis: Any) -> bool:
    """Whether the meta data say that the channels are the last axis."""
    return not isinstance(axis, str) and axis == -1


def _affine(affine: Any) -> torch.Tensor:
    return torch.eye(4, dtype=torch.float64) if affine is None else torch.as_tensor(affine, dtype=torch.float64)
