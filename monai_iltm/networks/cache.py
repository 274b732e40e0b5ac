"""Keys and values that are computed once and looked at often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from monai_iltm.networks.attention import attend

if TYPE_CHECKING:
    from monai_iltm.networks.masked_transformer import MaskedTransformer


@dataclass(frozen=True)
class Prefix:
    """What trusted tokens offer to queries in order "any": keys and values [B, H, P + 1, d] a layer, BOS first.

    ``visible`` is bool [B, P + 1], False = padding; None where no row is padded.
    """

    layers: list[tuple[Tensor, Tensor]]
    visible: Tensor | None

    def visible_with(self, contents: int) -> tuple[Tensor, Tensor]:
        """Who sees the prefix and n contents, bool [B or 1, 1, n, P + 1 + n] each: the contents, then the queries.

        Contents see earlier ones and themselves, queries earlier ones alone.
        """
        keys = self.layers[0][0]
        ones = torch.ones(contents, contents, dtype=torch.bool, device=keys.device)
        known = self.visible
        if known is None:
            known = torch.ones(1, keys.shape[2], dtype=torch.bool, device=keys.device)
        known = known[:, None, None].expand(-1, 1, contents, -1)
        earlier = [ones.tril(diagonal).expand(len(known), 1, contents, contents) for diagonal in (0, -1)]
        return torch.cat([known, earlier[0]], -1), torch.cat([known, earlier[1]], -1)


class RasterCache:
    """Keys and values of the part of a raster sequence that is settled, for R draws of one case.

    Up to the first suspect all draws are alike and go through the network as one.
    """

    def __init__(self, transformer: MaskedTransformer, draws: int) -> None:
        self.transformer, self.draws = transformer, draws
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def extend(self, tokens: Tensor, start: int, stop: int) -> Tensor:
        """Feed entries start..stop-1 of ``tokens`` i64 [R, L]; logits [R, K] that predict token stop - 1."""
        net = self.transformer
        rows = tokens[:1] if start == 0 else tokens
        codes, _ = net.raster_inputs(rows, None)
        where = torch.arange(start, stop, device=tokens.device).expand(len(rows), -1)
        x = net.entries(codes[:, start:stop], where)
        # Entry i of the chunk sees everything settled and the chunk up to itself.
        visible = torch.ones(stop - start, stop, dtype=torch.bool, device=tokens.device).tril(start)
        for layer, block in enumerate(net.blocks):
            q, k, v = block.project(x)
            k, v = self._settle(layer, k, v, start, stop)
            x = block.update(x, attend(q, k[: len(rows)], v[: len(rows)], visible if stop - start > 1 else None))
        return net.logits(x[:, -1]).expand(self.draws, -1)

    def _settle(self, layer: int, k: Tensor, v: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
        if start == 0:
            shape = (self.draws, k.shape[1], self.transformer.length, k.shape[3])
            self.keys.append(k.new_empty(shape))
            self.values.append(v.new_empty(shape))
        self.keys[layer][:, :, start:stop] = k
        self.values[layer][:, :, start:stop] = v
        return self.keys[layer][:, :, :stop], self.values[layer][:, :, :stop]
