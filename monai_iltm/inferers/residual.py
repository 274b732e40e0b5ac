"""The plain VQ-VAE: what a reconstruction misses, without masking and healing."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor


class ResidualInferer(Inferer):
    """|image - reconstruction|, mean over channels; the yardstick that the prior has to beat."""

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Images f32 [B, C, *S] in [0, 1] and a ``VQVAE`` in eval mode -> f32 [B, 1, *S] in units of intensity."""
        return (inputs - network(inputs)).abs().mean(1, keepdim=True)
