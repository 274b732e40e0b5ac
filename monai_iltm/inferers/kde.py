"""Iterative latent token masking's anomaly map: flag, heal, decode, estimate a density at every voxel."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from monai.networks.layers import GaussianFilter
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_iltm.inferers.base import MapInferer, Scored
from monai_iltm.inferers.reconstructions import Reconstructions
from monai_iltm.networks.latent_prior import LatentPrior
from monai_iltm.ops.density import kde_log_density, stream_log_density
from monai_iltm.ops.flagging import flag, flag_rule
from monai_iltm.ops.healing import heal
from monai_iltm.ops.likelihood import log_probability

MOST_HELD = 2**27  # reconstructed values held for the density: 512 MB; where there are more they are made twice


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


class KDEInferer(MapInferer):
    """Surprise map of images: -log density of every voxel's intensity among many healed versions of its image.

    Unlikely tokens are redrawn ``draws`` times, each draw is decoded ``decodes`` times with dropout in the decoder's
    head, and a Gaussian kernel estimate over the draws x decodes values scores the real one. The dropped channels are
    drawn once a case and are the same for all its draws. Each case has a generator of its own, seeded by its pixels:
    its map depends on neither batch, rank nor order.

    Args:
        draws, decodes: n and d; the paper: 60 and 5.
        alpha, threshold, threshold_times_uniform: exactly one, the flag rule (``ops.flagging.flag_rule``).
        looks: passes of flagging (``ops.flagging.flag``).
        bandwidth_floor: eps of the kernel, in units of the intensity range.
        levels: after the looks, which use the first, the flag rule's number times each of these; the map is the mean
            over all of them, so that a token is not simply trusted or not. The paper: 1 alone.
        blur: sigma in voxels of a Gaussian that image and reconstructions go through before the density: local means
            are compared, which the scanner's noise hides less. 0, as in the paper, compares single voxels.
        at_once: suspects that a draw fills in one step of order "any" (``ops.healing.heal``).
        seed: another seed, other draws.
        amp: decode, and look where another look follows, in bfloat16: faster where the device is made for it, and the
            map is a little rougher (docs/performance.md). Tokens, the last look, redrawing and density stay in float32.
        keep_gib: where the reconstructions exceed 512 MB, GiB of decoder features kept for their second making, so that
            less of the decoder runs again; the map is the same.

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
        levels: Sequence[float] = (1.0,),
        blur: float = 0.0,
        at_once: int = 1,
        seed: int = 0,
        amp: bool = False,
        keep_gib: float = 1.0,
    ) -> None:
        super().__init__()
        if min(draws, decodes, looks, at_once) < 1:
            raise ValueError(f"KDEInferer: at least one of each, found {draws=}, {decodes=}, {looks=}, {at_once=}")
        if blur < 0 or not levels:
            raise ValueError(f"KDEInferer: blur is at least 0 and one level is given, found {blur=}, {levels=}")
        flag_rule(alpha, threshold, threshold_times_uniform)  # each number as it is given must make sense
        numbers = {"alpha": alpha, "threshold": threshold, "threshold_times_uniform": threshold_times_uniform}
        given = {name: value for name, value in numbers.items() if value is not None}
        self.alpha, self.threshold, self.threshold_times_uniform = alpha, threshold, threshold_times_uniform
        self.levels = tuple(levels)
        self.rules = [flag_rule(**{name: value * level for name, value in given.items()}) for level in levels]
        self.draws, self.decodes, self.looks = draws, decodes, looks
        self.bandwidth_floor, self.blur, self.at_once, self.seed = bandwidth_floor, blur, at_once, seed
        self.amp, self.keep_gib = amp, keep_gib

    def score(self, images: Tensor, network: LatentPrior, mask: Tensor | None = None) -> Scored:
        """surprise in nats. Picture: healed, the mean of the healed versions. Numbers: image_score_tokens, the sum of
        -log p over suspect tokens in nats, and suspect_share in [0, 1]."""
        healing = self.heal(images, network)
        unlikely = torch.where(healing.suspect, -healing.log_p, 0.0)  # [B, L]
        numbers = {"image_score_tokens": unlikely.sum(1), "suspect_share": healing.suspect.float().mean(1)}
        return Scored(healing.surprise, {"healed": healing.mean}, numbers)

    @torch.no_grad()
    def heal(self, inputs: Tensor, network: LatentPrior) -> Healing:
        """The surprise map with all that led to it. Cost a case: see ``ops.healing.heal``, and draws trunks and
        about as many heads of the decoder; heads, and trunks that are not kept, twice where the reconstructions exceed
        512 MB."""
        images = convert_to_tensor(inputs, track_meta=False).float()
        network.eval()
        cases = [self._one(image[None], network) for image in images]
        return Healing(*(torch.cat(parts) for parts in zip(*cases, strict=True)))

    def _one(self, image: Tensor, network: LatentPrior) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Surprise, healed mean, log p and suspects of one case, an image [1, C, *S]."""
        generator = self._generator(image)
        tokens = network.tokens(image)  # [1, L]
        suspect, logits = flag(network.transformer, tokens, self.rules[0], self.looks, amp=self.amp)
        suspects = [suspect, *(rule(logits, tokens) for rule in self.rules[1:])]
        scored = [self._density(image, network, tokens, level, generator) for level in suspects]
        log_density, mean = (torch.stack(parts).mean(0) for parts in zip(*scored, strict=True))
        return -log_density, mean, log_probability(logits, tokens), suspect

    def _density(
        self, image: Tensor, network: LatentPrior, tokens: Tensor, suspect: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Log-density of the (blurred) image among its healed versions, and the mean of those, which is not blurred."""
        healed = heal(network.transformer, tokens, suspect, self.draws, generator, self.at_once)[:, 0]  # [draws, L]
        held = self.draws * self.decodes * image.numel() <= MOST_HELD  # else they are decoded twice
        seed, keep = generator.initial_seed(), 0.0 if held else self.keep_gib
        versions = _Blurred(Reconstructions(network, healed, self.decodes, seed, self.amp, keep), self.blur)
        own = _blurred(image, self.blur)
        if held:
            values = _gathered(versions, image.new_empty(self.draws * self.decodes, *image.shape))
            log_density = kde_log_density(own, values, self.bandwidth_floor)
        else:
            log_density, _ = stream_log_density(own, versions.__iter__, self.bandwidth_floor)
        return log_density, versions.mean

    def _generator(self, image: Tensor) -> torch.Generator:
        """On the CPU, seeded by the case's pixels and this inferer's seed."""
        content = image.cpu().contiguous().numpy().tobytes()
        # Both in 32 bits: torch's generator on the CPU drops what a seed holds above them.
        return torch.Generator().manual_seed(zlib.crc32(str(self.seed).encode(), zlib.crc32(content)))


class _Blurred:
    """Reconstructions [n, 1, C, *S] on their way to the density: blurred, and averaged as they are."""

    def __init__(self, versions: Iterable[Tensor], blur: float) -> None:
        self.versions, self.blur = versions, blur
        self.total, self.count = torch.zeros(()), 0

    def __iter__(self) -> Iterator[Tensor]:
        for chunk in self.versions:
            self.total, self.count = self.total.to(chunk) + chunk.sum(0), self.count + len(chunk)
            yield _blurred(chunk.flatten(0, 1), self.blur).unflatten(0, (-1, 1))  # [n, 1, C, *S]

    @property
    def mean(self) -> Tensor:
        """Of all that came by, [1, C, *S]."""
        return self.total / self.count


def _gathered(chunks: Iterable[Tensor], room: Tensor) -> Tensor:
    """``room`` [N, ...], filled with the chunks one after another."""
    filled = 0
    for chunk in chunks:
        room[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return room


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """Images [N, C, *S] as the density sees them."""
    return images if sigma == 0 else GaussianFilter(images.ndim - 2, sigma)(images)
