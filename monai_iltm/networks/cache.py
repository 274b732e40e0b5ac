"""Keys and values that are computed once and looked at often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from monai_iltm.networks.attention import attend, attend_two

if TYPE_CHECKING:
    from monai_iltm.networks.masked_transformer import MaskedTransformer

# Entries fed at once: their mask is CHUNK x L, however far apart two suspects are.
CHUNK = 256


@dataclass(frozen=True)
class Prefix:
    """What trusted tokens offer to queries in order "any": keys and values [B, H, P + 1, d] a layer, BOS first.

    ``visible`` is bool [B, 1, 1, P + 1], False = padding; None where no row is padded.
    """

    layers: list[tuple[Tensor, Tensor]]
    visible: Tensor | None


class RasterCache:
    """Keys and values of the part of a raster sequence that is settled, for R draws of one case.

    Up to the first suspect all draws are alike and go through the network as one. Holds 2 R L W numbers a layer.
    """

    def __init__(self, transformer: MaskedTransformer, draws: int) -> None:
        self.transformer, self.draws, self.settled = transformer, draws, 0
        self.layers: list[tuple[Tensor, Tensor]] = []

    def extend(self, tokens: Tensor, stop: int) -> Tensor:
        """Feed the entries up to stop - 1 of ``tokens`` i64 [R, L]; logits [R, K] that predict token stop - 1."""
        alike = self.settled == 0
        codes, _ = self.transformer.raster_inputs(tokens[: 1 if alike else None, :stop], None)
        for start in range(self.settled, stop, CHUNK):
            x = self._feed(codes[:, start : start + CHUNK], start)
        self.settled = stop
        return self.transformer.logits(x[:, -1]).expand(self.draws, -1)

    def _feed(self, codes: Tensor, start: int) -> Tensor:
        """Entries i64 [R or 1, n] that stand at start..start + n - 1 through all layers, [R or 1, n, W]."""
        n, device = codes.shape[1], codes.device
        stop = start + n
        x = self.transformer.entries(codes, torch.arange(start, stop, device=device).expand_as(codes))
        # Entry i of the chunk sees everything settled and the chunk up to itself.
        visible = torch.ones(n, stop, dtype=torch.bool, device=device).tril(start) if n > 1 else None
        for layer, block in enumerate(self.transformer.layers()):
            q, *new = block.project(x)
            if len(self.layers) == layer:
                shape = (self.draws, q.shape[1], self.transformer.length, q.shape[3])
                self.layers.append((q.new_empty(shape), q.new_empty(shape)))
            for kept, entries in zip(self.layers[layer], new, strict=True):
                kept[:, :, start:stop] = entries
            k, v = (kept[: len(codes), :, :stop] for kept in self.layers[layer])
            x = block.update(x, attend(q, k, v, visible))
        return x


class DrawCache:
    """What each of R draws has filled in so far, beside the prefix of its case, which all draws share.

    Room for ``steps`` codes a draw is made once: 2 B R steps W numbers a layer.
    """

    def __init__(self, transformer: MaskedTransformer, prefix: Prefix, draws: int, steps: int) -> None:
        self.transformer, self.prefix, self.filled = transformer, prefix, 0
        b, h, _, d = prefix.layers[0][0].shape
        room = (b, draws, h, steps, d)
        self.layers = [(k.new_empty(room), v.new_empty(room)) for k, v in prefix.layers]

    def step(self, codes: Tensor, where: Tensor) -> Tensor:
        """Feed the codes just drawn and ask for the next ones, in one pass.

        Args:
            codes: i64 [B, R, c], the codes just drawn; none at the first step.
            where: i64 [B, R, c + q], their positions, then those asked for, which do not see each other.

        Returns:
            logits [B, R, q, K].
        """
        (b, r, c), n = codes.shape, where.shape[2]
        old, self.filled = self.filled, self.filled + c  # codes become keys, queries never do
        asked = codes.new_full((b, r, n - c), self.transformer.mask)
        x = self.transformer.entries(torch.cat([codes, asked], 2).flatten(0, 1), where.flatten(0, 1))  # [B R, n, W]
        seen = torch.ones(n, self.filled, dtype=torch.bool, device=codes.device).tril(old) if c > 1 else None
        for block, shared, own in zip(self.transformer.layers(), self.prefix.layers, self.layers, strict=True):
            q, *new = (t.unflatten(0, (b, r)) for t in block.project(x))
            for kept, entries in zip(own, new, strict=True):
                kept[..., old : self.filled, :] = entries[..., :c, :]
            k, v = (kept[..., : self.filled, :] for kept in own)
            x = block.update(x, attend_two(q, shared, (k, v), self.prefix.visible, seen).flatten(0, 1))
        return self.transformer.logits(x[:, c:]).unflatten(0, (b, r))
