"""The network's own map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_iltm.inferers.base import MapInferer, Scored


class DirectInferer(MapInferer):
    """The output of a network, images f32 [B, C, *S] -> f32 [B, 1, *S], higher = stranger, is the map."""

    @torch.no_grad()
    def score(self, images: Tensor, network: Any, mask: Tensor | None = None) -> Scored:
        """surprise: in the network's own unit. Number: image_score_highest, the map's largest value."""
        surprise = network(images).float()
        return Scored(surprise, numbers={"image_score_highest": surprise.flatten(1).amax(1)})
