"""Iterative latent token masking's anomaly map: flag, heal, decode, estimate a density at every voxel."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_iltm.networks.latent_prior import LatentPrior
from monai_iltm.ops.density import stream_log_density
from monai_iltm.ops.flagging import flag, flag_rule
from monai_iltm.ops.healing import heal

MOST_HELD = 2**27  # reconstructed values kept for the second pass of the density: 512 MB; above, decoded again
MOST_AT_ONCE = 2**21  # pixels decoded in one batch; the decoder's features take some hundred bytes for each


@dataclass(frozen=True)
class Healing:
    """All that scoring one batch yields; cases in the order of the images.

    surprise: f32 [B, 1, *S], -log density of the image's own intensity, nats, higher = more anomalous.
    mean: f32 [B, C, *S], mean of the healed reconstructions, intensity.
    log_p: f32 [B, L], nats; suspect: bool [B, L], True = redrawn.
    """

    surprise: Tensor
    mean: Tensor
    log_p: Tensor
    suspect: Tensor


class KDEInferer(Inferer):
    """Surprise map of images: -log density of every voxel's intensity among many healed versions of its image.

    Unlikely tokens are redrawn ``draws`` times, each draw is decoded ``decodes`` times with dropout in the decoder's
    head, and a Gaussian kernel estimate over the draws x decodes values scores the real one. Each case has a generator
    of its own, seeded by its pixels: its map depends on neither batch, rank nor order.

    Args:
        draws, decodes: n and d; the paper: 60 and 5.
        alpha, threshold, threshold_times_uniform: exactly one, the flag rule (``ops.flagging.flag_rule``).
        looks: passes of flagging (``ops.flagging.flag``).
        bandwidth_floor: eps of the kernel, in units of the intensity range.
        smoothing: odd width in voxels of the box that the surprise is averaged over; 1 leaves it as it is.
        seed: another seed, other draws.

    Source: Patel et al. 2023, section 3; flagging by p-value and several looks are ours.
    """

    def __init__(
        self,
        draws: int = 60,
        decodes: int = 5,
        alpha: float | None = None,
        threshold: float | None = None,
        threshold_times_uniform: float | None = None,
        looks: int = 2,
        bandwidth_floor: float = 0.05,
        smoothing: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if smoothing < 1 or smoothing % 2 == 0:
            raise ValueError(f"KDEInferer: smoothing is an odd width in voxels, found {smoothing}")
        self.rule = flag_rule(alpha, threshold, threshold_times_uniform)
        self.draws, self.decodes, self.looks = draws, decodes, looks
        self.bandwidth_floor, self.smoothing, self.seed = bandwidth_floor, smoothing, seed

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Images f32 [B, C, *S] in [0, 1] and a ``LatentPrior`` -> surprise f32 [B, 1, *S], nats."""
        return self.heal(inputs, network).surprise

    @torch.no_grad()
    def heal(self, inputs: Tensor, network: LatentPrior) -> Healing:
        """The surprise map with all that led to it. Cost a case: see ``ops.healing.heal``, and draws trunks and
        draws x decodes heads of the decoder, twice where the reconstructions exceed 512 MB."""
        images = convert_to_tensor(inputs, track_meta=False).float()
        network.eval()
        cases = [self._one(image[None], network) for image in images]
        return Healing(*(torch.cat(parts) for parts in zip(*cases, strict=True)))

    def _one(self, image: Tensor, network: LatentPrior) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        generator = self._generator(image)
        tokens = network.tokens(image)
        suspect, log_p = flag(network.transformer, tokens, self.rule, self.looks)
        healed = heal(network.transformer, tokens, suspect, self.draws, generator)
        chunks = partial(self._decode, network, healed[:, 0], generator.initial_seed())
        if self.draws * self.decodes * image.numel() <= MOST_HELD:
            held = list(chunks())
            log_density, mean = stream_log_density(image, lambda: held, self.bandwidth_floor)
        else:
            log_density, mean = stream_log_density(image, chunks, self.bandwidth_floor)
        return self._smooth(-log_density), mean, log_p, suspect

    def _generator(self, image: Tensor) -> torch.Generator:
        """On the CPU, seeded by the case's pixels and this inferer's seed."""
        content = image.cpu().contiguous().numpy().tobytes()
        return torch.Generator().manual_seed(zlib.crc32(content) + self.seed * 2**32)

    def _decode(self, network: LatentPrior, healed: Tensor, seed: int) -> Iterator[Tensor]:
        """Reconstructions [n, 1, C, *S], draw by draw, the same at every call; equal draws share one trunk."""
        vqvae, grid = network.vqvae, network.transformer.grid
        generator = torch.Generator().manual_seed(seed + 1)
        distinct, which = torch.unique(healed, dim=0, return_inverse=True)
        several = max(1, MOST_AT_ONCE // (distinct.shape[1] * vqvae.factor ** len(grid)))
        order = which.argsort(stable=True)
        for start in range(0, len(distinct), several):
            features = vqvae.decode_trunk(vqvae.embed(distinct[start : start + several].unflatten(1, grid)))
            here = order[(which[order] >= start) & (which[order] < start + several)]
            for part in here.split(several):
                rows = features[which[part] - start].repeat_interleave(self.decodes, 0)
                yield vqvae.decode_head(rows, drop=True, generator=generator)[:, None]

    def _smooth(self, surprise: Tensor) -> Tensor:
        if self.smoothing == 1:
            return surprise
        pool = {4: F.avg_pool2d, 5: F.avg_pool3d}[surprise.ndim]
        return pool(surprise, self.smoothing, 1, self.smoothing // 2, count_include_pad=False)
