"""The kernel density estimate on a CPU, fused: every value is read once, and what it leaves stays in the cache."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Voxels of one tile: with 300 reconstructions their squared distances take 600 kB of the second-level cache.
TILE = 512


def fused_log_density(image: Tensor, recons: Tensor, bandwidth_floor: float) -> Tensor:
    """Log-density f32 [V], nats, of image f32 [V] among recons f32 [N, V] on the CPU; see ``density.kde_log_density``.

    Cost: N V values read once, about 25 operations each; memory beside the input TILE N values a thread.
    """
    count, voxels = recons.shape
    out = torch.empty_like(image)
    x, r, y = image.numpy(), recons.contiguous().numpy(), out.numpy()
    silverman, log_norm = map(np.float32, constants(count))
    share = -(-voxels // (torch.get_num_threads() * TILE)) * TILE
    kernel = _compiled()

    def part(start: int) -> None:
        kernel(x, r, start, min(start + share, voxels), np.float32(bandwidth_floor), silverman, log_norm, y)

    starts = range(0, voxels, share)
    if len(starts) == 1:
        part(0)
    else:
        with ThreadPoolExecutor(len(starts)) as pool:  # the kernel lets go of Python's lock
            list(pool.map(part, starts))
    return out


def constants(count: int) -> tuple[float, float]:
    """What the number of values alone decides: Silverman's factor of sigma, and log(N sqrt(2 pi))."""
    return (4 / (3 * count)) ** 0.2, math.log(count * math.sqrt(2 * math.pi))


@cache
def available() -> bool:
    """Whether numba is there to compile the kernel (``pip install monai_iltm[fast]``)."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


@cache
def _compiled() -> Any:
    """The kernel as machine code: a few seconds the first time, from numba's cache on disk after that."""
    import numba

    compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
    return compiled(_log_density)


# Tile by tile: moments and squared distances in one pass over memory, kernel sums in one over the cache. The first
# takes four rows at once: sums and minima are read and written a quarter as often. The inner loops are plain enough to
# become vector instructions, for which all arrays must lie without gaps, minimum and maximum be comparisons, and
# 2 ** t, with t <= 0, be written out: the Taylor polynomial of degree 5 on what rounding leaves (|f| <= 1/2, relative
# error below 3e-6), and the whole part as a float's exponent bits.
def _log_density(image, recons, begin, end, floor, silverman, log_norm, out):
    """Voxels begin..end - 1 of image f32 [V] among recons f32 [N, V], into out f32 [V]."""
    count = len(recons)
    squares = np.empty((-(-count // 4) * 4, TILE), np.float32)
    sums, more, nearest = np.empty(TILE, np.float32), np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    log2e, half, one, share = np.float32(math.log2(math.e)), np.float32(0.5), np.float32(1), np.float32(1 / count)
    least, bias, exponent = np.float32(-126), np.float32(127), np.float32(2**23)
    c5, c4, c3 = np.float32(1.3333558146e-3), np.float32(9.6181291076e-3), np.float32(5.5504108665e-2)
    c2, c1 = np.float32(2.4022650696e-1), np.float32(6.9314718056e-1)
    for start in range(begin, end, TILE):
        stop = min(start + TILE, end)
        width, first, here = stop - start, recons[0, start:stop], image[start:stop]
        sums[:], more[:], nearest[:] = 0, 0, np.inf
        for j in range(0, count, 4):
            # Where no row is left the first stands in: about itself it has no moments, and what it leaves is not read.
            j1, j2, j3 = j + 1 if j + 1 < count else 0, j + 2 if j + 2 < count else 0, j + 3 if j + 3 < count else 0
            row0, row1 = recons[j, start:stop], recons[j1, start:stop]
            row2, row3 = recons[j2, start:stop], recons[j3, start:stop]
            square0, square1, square2, square3 = squares[j], squares[j + 1], squares[j + 2], squares[j + 3]
            for i in range(width):
                about = first[i]  # moments about the first value: exact where all are nearly equal
                d0, d1, d2, d3 = row0[i] - about, row1[i] - about, row2[i] - about, row3[i] - about
                sums[i] += d0 + d1 + d2 + d3
                more[i] += d0 * d0 + d1 * d1 + d2 * d2 + d3 * d3
            for i in range(width):
                about = here[i]
                z0, z1, z2, z3 = row0[i] - about, row1[i] - about, row2[i] - about, row3[i] - about
                z0, z1, z2, z3 = z0 * z0, z1 * z1, z2 * z2, z3 * z3
                square0[i], square1[i], square2[i], square3[i] = z0, z1, z2, z3
                near, other, old = z0 if z0 < z1 else z1, z2 if z2 < z3 else z3, nearest[i]
                near = near if near < other else other
                nearest[i] = near if near < old else old
        for i in range(width):
            mean = sums[i] * share
            h = np.sqrt(max(more[i] * share - mean * mean, np.float32(0))) * silverman + floor
            more[i] = -half * log2e / (h * h)
            out[start + i] = -half * nearest[i] / (h * h) - np.log(h) - log_norm
            nearest[i] *= more[i]
            sums[i] = 0
        for j in range(count):
            square = squares[j]
            for i in range(width):
                t = square[i] * more[i] - nearest[i]
                t = t if t > least else least
                whole = np.float32(np.int32(t - half))  # the nearest whole number: t is not positive
                f = t - whole
                p = (((((c5 * f + c4) * f + c3) * f + c2) * f + c1) * f) + one
                sums[i] += p * np.int32((whole + bias) * exponent).view(np.float32)
        for i in range(width):
            out[start + i] += np.log(sums[i])
