"""How well a prior predicts tokens: the cheap map, without healing."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_iltm.inferers.base import MapInferer, Scored
from monai_iltm.networks.latent_prior import LatentPrior
from monai_iltm.ops.likelihood import token_log_likelihood
from monai_iltm.ops.tokens import pool_mask, to_image_grid


class LikelihoodInferer(MapInferer):
    """-log p of every token in nats, brought to the image grid.

    Tokens under the mask are suspects: no other token reads them, and they do not count.

    Args:
        pool_mode, pool_cut: of ``ops.tokens.pool_mask``.
    """

    def __init__(self, pool_mode: str = "area", pool_cut: float = 0.5) -> None:
        super().__init__()
        self.pool_mode, self.pool_cut = pool_mode, pool_cut

    @torch.no_grad()
    def score(self, images: Tensor, network: LatentPrior, mask: Tensor | None = None) -> Scored:
        """Numbers: image_score_tokens, the sum of -log p over a case's trusted tokens in nats; nats_per_token, their
        mean (a prior that has learned nothing has log K); trusted_tokens; suspect_share in [0, 1]."""
        prior = network.transformer
        tokens = network.tokens(images)  # [B, L]
        suspect = torch.zeros_like(tokens, dtype=torch.bool)
        if mask is not None:
            suspect = pool_mask(mask, prior.grid, self.pool_mode, self.pool_cut).flatten(1)  # [B, L]
        unlikely = -token_log_likelihood(prior, tokens, suspect)
        total, trusted = torch.where(suspect, 0.0, unlikely).sum(1), (~suspect).sum(1)
        numbers = {
            "image_score_tokens": total,
            "nats_per_token": total / trusted.clamp(min=1),
            "trusted_tokens": trusted,
            "suspect_share": suspect.float().mean(1),
        }
        return Scored(to_image_grid(unlikely, prior.grid, images.shape[2:]), numbers=numbers)
