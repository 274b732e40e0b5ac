"""What a reconstruction misses, without masking and healing; the yardstick that a prior has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monai_iltm.inferers.base import MapInferer, Scored

SMALLEST_ERROR = 1e-10  # of intensities in [0, 1]: a perfect copy has 100 dB, not infinitely many


class ResidualInferer(MapInferer):
    """|image - reconstruction|, mean over channels, of any network that reconstructs.

    Args:
        scores: methods of the network, images -> [B], higher = stranger, such as "kl": numbers beside the errors.
    """

    def __init__(self, scores: Sequence[str] = ()) -> None:
        super().__init__()
        self.scores = tuple(scores)

    @torch.no_grad()
    def score(self, images: Tensor, network: Any, mask: Tensor | None = None) -> Scored:
        """surprise: in units of intensity. Picture: reconstruction. Numbers: mse, mae and psnr (dB) of each image, on
        the model's grid."""
        reconstruction = network(images)
        difference = images - reconstruction
        mse = difference.square().flatten(1).mean(1)
        numbers = {
            "mse": mse,
            "mae": difference.abs().flatten(1).mean(1),
            "psnr": -10 * mse.clamp(min=SMALLEST_ERROR).log10(),
        }
        numbers |= {name: getattr(network, name)(images) for name in self.scores}
        return Scored(difference.abs().mean(1, keepdim=True), {"reconstruction": reconstruction}, numbers)
