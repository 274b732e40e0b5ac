"""The healed versions of an image, decoded as they are asked for, as often as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from monai_iltm.networks.latent_prior import LatentPrior
from monai_iltm.networks.local_decoder import LocalDecoder

MOST_AT_ONCE = 2**17  # pixels decoded in one batch: much more would not stay in the cache


class Reconstructions:
    """Yields [n, 1, C, *S], the passes of a draw one after another, the same at every reading.

    Equal draws are decoded once, and where the draws differ in a part of the grid only what that reaches; pass j drops
    the same channels in every draw.

    Args:
        network: the pair. healed: tokens of the draws of one case, i64 [draws, L].
        decodes: passes of a draw; seed: of the channels that they drop.
        amp: decode in bfloat16.
        keep_gib: GiB of decoder features kept for another reading; 0 where there is none.
    """

    def __init__(
        self,
        network: LatentPrior,
        healed: Tensor,
        decodes: int,
        seed: int,
        amp: bool = False,
        keep_gib: float = 0.0,
    ) -> None:
        vqvae, grid = network.vqvae, network.transformer.grid
        distinct, self.which = torch.unique(healed, dim=0, return_inverse=True)
        self.several = max(1, MOST_AT_ONCE // (distinct.shape[1] * vqvae.factor ** len(grid)))
        self.order, self.distinct = self.which.argsort(stable=True), distinct.unflatten(1, grid)  # [n, *grid]
        self.low = partial(torch.autocast, healed.device.type, torch.bfloat16, enabled=amp)
        with self.low():
            self.decoder = LocalDecoder(vqvae, self.distinct, vqvae.head_masks(decodes, _generator(seed)))
        self.most_kept, self.kept = keep_gib * 2**30, dict[int, list[Tensor]]()

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, len(self.distinct), self.several):
            with self.low():
                images = self.decoder.images(self._features(start))  # [n, d, C, *S]
            here = self.order[(self.which[self.order] >= start) & (self.which[self.order] < start + self.several)]
            for part in here.split(self.several):
                yield images[self.which[part] - start].flatten(0, 1)[:, None]  # [n d, 1, C, *S]

    def _features(self, start: int) -> list[Tensor]:
        """What the decoder makes of the distinct draws from ``start`` on, before its head; kept as far as allowed."""
        if start in self.kept:
            return self.kept[start]
        features = self.decoder.features(self.distinct[start : start + self.several])
        if sum(part.nbytes for parts in (*self.kept.values(), features) for part in parts) <= self.most_kept:
            self.kept[start] = features
        return features


def _generator(seed: int) -> torch.Generator:
    """Of the channels that the passes drop, apart from the one that draws tokens."""
    return torch.Generator().manual_seed(seed + 1)
