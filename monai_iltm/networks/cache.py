"""Keys and values that are computed once and looked at often."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_iltm.networks.attention import attend, attend_two
from monai_iltm.networks.prefix import Prefix
from monai_iltm.networks.token_transformer import TokenTransformer

# Entries fed at once: their mask is CHUNK x L, however far apart two suspects are.
CHUNK = 256
# Share of a raster sequence from which what all draws have in common is held once.
SHARED_FROM = 0.25


class RasterCache:
    """Keys and values of the part of a raster sequence that is settled, for R draws of one case.

    Up to the first suspect all draws are alike and go through the network as one. Where that is a good part of the
    sequence its keys and values are held once, and all draws look at them together; else every draw holds its own.
    Holds 2 R (L - shared) W numbers a layer, and 2 shared W.
    """

    def __init__(self, transformer: TokenTransformer, draws: int) -> None:
        self.transformer, self.draws, self.settled, self.shared = transformer, draws, 0, 0
        self.common: list[tuple[Tensor, Tensor]] = []
        self.layers: list[tuple[Tensor, Tensor]] = []

    def extend(self, tokens: Tensor, stop: int) -> Tensor:
        """Feed the entries up to stop - 1 of ``tokens`` i64 [R, L]; logits [R, K] that predict token stop - 1."""
        alike = self.settled == 0
        if alike and stop > SHARED_FROM * self.transformer.length:
            self.shared = stop
        codes = self.transformer.shifted(tokens[: 1 if alike else None, :stop])
        chunk = CHUNK if alike or not self.shared else max(1, CHUNK // self.draws)
        for start in range(self.settled, stop, chunk):
            x = self._feed(codes[:, start : start + chunk], start)
        self.settled = stop
        return self.transformer.logits(x[:, -1]).expand(self.draws, -1)

    def _feed(self, codes: Tensor, start: int) -> Tensor:
        """Entries i64 [R or 1, n] that stand at start..start + n - 1 through all layers.

        Returns [R or 1, 1, W], what leaves the last layer for the last of them: for the others nobody reads it.
        """
        n, device = codes.shape[1], codes.device
        stop = start + n
        x = self.transformer.entries(codes, torch.arange(start, stop, device=device).expand_as(codes))
        # Entry i of the chunk sees everything settled and the chunk up to itself.
        first = self.shared if start >= self.shared else 0
        visible = torch.ones(n, stop - first, dtype=torch.bool, device=device).tril(start - first) if n > 1 else None
        for layer, block in enumerate(self.transformer.layers()):
            q, *new = block.project(x)
            k, v = (kept[: len(codes), :, : stop - first] for kept in self._keep(layer, new, start))
            if block is self.transformer.blocks[-1]:
                q, x, visible = q[:, :, -1:], x[:, -1:], None
            if first:
                common = self.common[layer]
                attended = attend_two(q[None], common, (k[None], v[None]), None, visible)[0]
            else:
                attended = attend(q, k, v, visible)
            x = block.update(x, attended)
        return x

    def _keep(self, layer: int, new: Sequence[Tensor], start: int) -> tuple[Tensor, Tensor]:
        """Put keys and values [R or 1, H, n, d] of new entries to those of their kind, and return these."""
        common = start < self.shared
        kept = self.common if common else self.layers
        if len(kept) == layer:
            rows, length = (1, self.shared) if common else (self.draws, self.transformer.length - self.shared)
            shape = (rows, new[0].shape[1], length, new[0].shape[3])
            kept.append((new[0].new_empty(shape), new[0].new_empty(shape)))
        place = start if common else start - self.shared
        for there, entries in zip(kept[layer], new, strict=True):
            there[:, :, place : place + entries.shape[2]] = entries
        return kept[layer]


class DrawCache:
    """What each of R draws has filled in so far, beside the prefix of its case, which all draws share.

    Room for ``steps`` codes a draw is made once: 2 B R steps W numbers a layer.
    """

    def __init__(self, transformer: TokenTransformer, prefix: Prefix, draws: int, steps: int) -> None:
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
            if block is self.transformer.blocks[-1]:  # of the codes nobody reads what leaves it
                q, x, seen = q[..., c:, :], x[:, c:], None
            x = block.update(x, attend_two(q, shared, (k, v), self.prefix.visible, seen).flatten(0, 1))
        return self.transformer.logits(x).unflatten(0, (b, r))
