"""The masked transformer's training loss as a module's forward, which is where gradients of several ranks average."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from monai_iltm.distributed import own_rows
from monai_iltm.networks.masked_transformer import MaskedTransformer


class TokenLoss(nn.Module):
    """Mean -log p of the tokens that are not suspect; no gradient depends on a suspect.

    Args:
        transformer: what is trained.
    """

    def __init__(self, transformer: MaskedTransformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """``batch["tokens"]`` i64 [B, L] and ``batch["suspect"]`` bool [B, L] -> loss, a scalar in nats.

        What is drawn depends on the generator and a token's place in the global batch, so that any number of ranks
        draws alike.
        """
        tokens, suspect = batch["tokens"], batch["suspect"]
        noise = own_rows(len(tokens), tokens.shape[1], generator).to(tokens.device)
        return {"loss": self.transformer.loss(tokens, suspect, generator, noise)}
