"""The trunk of a transformer over code tokens: entries in, blocks in reach, logits out, whatever the order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from monai_iltm.networks.attention import Block


class TokenTransformer(nn.Module):
    """Tokens on a grid as entries of a transformer; who looks at whom is for what rests on it.

    Args:
        num_codes: K, size of the codebook. The embedding also has BOS = K and MASK = K + 1; codes alone have logits.
        grid: cells per axis; L = prod(grid). Positions are one learned table per axis, summed.
        width, depth, heads: features of an entry, blocks, attention heads.
        dropout: in training, on the entries and the residual branches.
    """

    def __init__(
        self, num_codes: int, grid: Sequence[int], width: int, depth: int, heads: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_codes, self.grid, self.length = num_codes, tuple(grid), math.prod(grid)
        self.bos, self.mask = num_codes, num_codes + 1
        self.embedding = nn.Embedding(num_codes + 2, width)
        self.axes = nn.ModuleList(nn.Embedding(n, width) for n in grid)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_codes)
        self.dropout = nn.Dropout(dropout)
        self.apply(_initialise)

    def layers(self) -> list[Block]:
        """The blocks, with their type."""
        return cast("list[Block]", list(self.blocks))

    def entries(self, codes: Tensor, where: Tensor) -> Tensor:
        """Entries [B, n, W]: ``codes`` i64 [B, n] (MASK for a query) at sequence positions ``where`` i64 [B, n]."""
        x = self.embedding(codes)
        for table in reversed(cast("list[nn.Embedding]", list(self.axes))):  # the last axis moves fastest
            x = x + table(where % table.num_embeddings)
            where = where // table.num_embeddings
        return self.dropout(x)

    def logits(self, x: Tensor) -> Tensor:
        """Entries [B, n, W] to logits [B, n, K]."""
        return self.head(self.norm(x))

    def shifted(self, tokens: Tensor) -> Tensor:
        """Codes i64 [B, n] of which each stands where the next token is predicted: BOS, then all but the last."""
        return F.pad(tokens[:, :-1], (1, 0), value=self.bos)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
