"""Kernel density estimate of an image's own intensity among its healed reconstructions, at every voxel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from monai_iltm.ops.density_kernel import available, constants, fused_log_density

# Values of reconstructions worked on at once without the fused kernel: each takes some ten bytes of scratch memory.
BLOCK = 2**21
# A function that yields the reconstructions chunk by chunk, [n, B, C, *S] each, the same ones at every call.
Chunks = Callable[[], Iterable[Tensor]]


def kde_log_density(image: Tensor, recons: Tensor, bandwidth_floor: float = 0.05) -> Tensor:
    """Log-density of the image's intensity under a Gaussian kernel estimate over its reconstructions.

    Per voxel and channel h = sigma (4 / (3 N))^(1/5) + bandwidth_floor, with sigma the (population) standard deviation
    over the N reconstructions, and log f = logsumexp_j(-((x - r_j) / h)^2 / 2) - log(N h sqrt(2 pi)). Channels have a
    density each and their logs are summed (the paper is silent on colour).

    Args:
        image: f32 [B, C, *S] in [0, 1].
        recons: f32 [N, B, C, *S].
        bandwidth_floor: > 0, in units of the intensity range (0.05 on [0, 1] is 12.75 on 0..255).

    Returns:
        f32 [B, 1, *S], nats. A density has units: on 0..255 data it is log(255) per channel lower.

    Raises:
        ValueError: no reconstruction, another shape, or a floor that is not positive.

    Cost: on a CPU, with numba installed, ``recons`` is read once (``density_kernel``); else block by block of voxels.

    Source: Patel et al. 2023, equations 3 and 4; Silverman 1986 for the bandwidth.
    """
    _check_floor(bandwidth_floor)
    _check_shape(image, recons)
    if len(recons) == 0:
        raise ValueError("kde: no reconstruction to estimate a density from")
    x, r = image.float().reshape(-1), recons.float().reshape(len(recons), -1)
    if x.device.type == "cpu" and available():
        flat = fused_log_density(x, r, bandwidth_floor)
    else:
        width = max(1, BLOCK // len(r))
        blocks = zip(x.split(width), r.split(width, 1), strict=True)
        flat = torch.cat([_log_density(here, partial(list, [there]), bandwidth_floor)[0] for here, there in blocks])
    return flat.view(image.shape).sum(1, keepdim=True)


def stream_log_density(image: Tensor, chunks: Chunks, bandwidth_floor: float = 0.05) -> tuple[Tensor, Tensor]:
    """As ``kde_log_density``, from reconstructions that are never held whole; ``chunks`` is called twice.

    Returns:
        log-density f32 [B, 1, *S] in nats, and the mean reconstruction f32 [B, C, *S].
    """
    _check_floor(bandwidth_floor)
    log_density, mean = _log_density(image.float(), chunks, bandwidth_floor)
    return log_density.sum(1, keepdim=True), mean


def _log_density(image: Tensor, chunks: Chunks, bandwidth_floor: float) -> tuple[Tensor, Tensor]:
    """Log-density and mean reconstruction of every value of ``image``, whatever its shape, in two passes."""
    count, mean, sigma = _moments(image, chunks())
    silverman, log_norm = constants(count)
    h = sigma * silverman + bandwidth_floor
    log_sum = torch.full_like(image, -math.inf)
    for chunk in chunks():
        z = ((image - chunk.float()) / h).square_().mul_(-0.5)
        log_sum = torch.logaddexp(log_sum, z.logsumexp(0))
    return log_sum - h.log() - log_norm, mean


def _moments(image: Tensor, chunks: Iterable[Tensor]) -> tuple[int, Tensor, Tensor]:
    """Count, mean and population standard deviation over all chunks, by pairwise updates (Chan et al. 1983)."""
    count, mean, square = 0, torch.zeros_like(image), torch.zeros_like(image)
    for chunk in chunks:
        _check_shape(image, chunk)
        n = chunk.shape[0]
        if n == 0:
            continue
        chunk = chunk.float()
        chunk_mean = chunk.mean(0)
        delta = chunk_mean - mean
        total = count + n
        square = square + (chunk - chunk_mean).square().sum(0) + delta.square() * (count * n / total)
        mean = mean + delta * (n / total)
        count = total
    if count == 0:
        raise ValueError("kde: no reconstruction to estimate a density from")
    return count, mean, (square / count).sqrt()


def _check_floor(bandwidth_floor: float) -> None:
    if not bandwidth_floor > 0:
        raise ValueError(f"kde: bandwidth_floor is positive, found {bandwidth_floor}")


def _check_shape(image: Tensor, recons: Tensor) -> None:
    if recons.shape[1:] != image.shape:
        raise ValueError(f"kde: image is {tuple(image.shape)}, reconstructions are {tuple(recons.shape)}")
