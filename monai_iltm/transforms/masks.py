"""From a surprise map to the label map that a viewer shows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import MapTransform


class AnomalyMaskd(MapTransform):
    """Keeps the map under "surprise" and makes "pred" the label map u8 [1, *S]: 1 where surprise is above a threshold.

    Args:
        threshold: nats; None leaves "pred" as it is.
    """

    def __init__(self, threshold: float | None = None) -> None:
        super().__init__(["pred"])
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        out["surprise"] = out["pred"]
        if self.threshold is not None:
            out["pred"] = (out["surprise"] > self.threshold).to(torch.uint8)
        return out
