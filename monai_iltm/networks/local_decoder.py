"""Decode token grids that equal one another outside a few boxes: exactly, and only what the boxes reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from monai.networks.nets.vqvae import VQVAEResidualUnit
from torch import Tensor

from monai_iltm.networks.vqvae import VQVAE

Box = tuple[Any, ...]  # an index into [..., *grid]
WORTHWHILE = 0.8  # of the pixels: where the boxes reach more, all are decoded whole


@dataclass(frozen=True)
class Pass:
    """What one block of the decoder does with a box: ``around`` is what it must see of its input, ``inside`` the part
    of that which may differ between the grids, ``reached`` the part of its output that then may, ``cut`` the same
    counted from the output of ``around``."""

    around: Box
    inside: Box
    reached: Box
    cut: Box


class LocalDecoder:
    """A VQ-VAE's decoder for token grids that differ in some positions only, as the draws of one healed image do.

    The first grid is decoded whole. Of the others every block computes what the differing positions reach up to there;
    what surrounds that is found in the first one's. The images are those of whole decodes up to rounding, at the cost
    of the boxes' share of the image. Boxes that would reach most of it are not worth it: then all is decoded whole.

    Args:
        vqvae: in eval mode. codes: i64 [n, *g], all grids that will be asked for.
        kept: bool [d, W], the channels of the head's dropout passes (``VQVAE.head_masks``).
    """

    def __init__(self, vqvae: VQVAE, codes: Tensor, kept: Tensor) -> None:
        self.vqvae, self.kept = vqvae, kept
        self.paths = _paths(vqvae, (codes != codes[0]).any(0))
        reached = sum(_size(path[-1].reached) for path in self.paths)
        self.whole = not self.paths or reached > WORTHWHILE * codes[0].numel() * vqvae.factor ** (codes.ndim - 1)
        if self.whole:
            return
        self.around: list[list[Tensor]] = [[] for _ in self.paths]
        first = vqvae.embed(codes[:1])
        for number, block in enumerate(vqvae.decoder.blocks):
            for held, path in zip(self.around, self.paths, strict=True):
                held.append(first[path[number].around].clone())
            first = block(first) if number + 1 < len(vqvae.decoder.blocks) else first
        self.first = vqvae.decode_heads(first, kept).transpose(0, 1).float()

    def features(self, codes: Tensor) -> list[Tensor]:
        """Codes i64 [m, *g] to what ``images`` makes images of: the inputs of the head, a tensor a box."""
        values = self.vqvae.embed(codes)
        if self.whole:
            return [self.vqvae.decode_trunk(values)]
        return [self._through(values, path, held) for path, held in zip(self.paths, self.around, strict=True)]

    def images(self, features: Sequence[Tensor]) -> Tensor:
        """What ``features`` returned to images f32 [m, d, C, *S], a dropout pass after another."""
        if self.whole:
            return self.vqvae.decode_heads(features[0], self.kept).transpose(0, 1).float()
        images = self.first.repeat(len(features[0]), *[1] * (self.first.ndim - 1))
        for path, values in zip(self.paths, features, strict=True):
            patch = self.vqvae.decode_heads(values, self.kept)[path[-1].cut]
            images[path[-1].reached] = patch.transpose(0, 1).float()
        return images

    def _through(self, values: Tensor, path: Sequence[Pass], around: Sequence[Tensor]) -> Tensor:
        """Code vectors of whole grids to the head's input around a box."""
        values = values[path[0].around]
        for step, following, held, block in zip(path, path[1:], around[1:], self.vqvae.decoder.blocks, strict=False):
            inner = block(values)[step.cut]
            values = torch.cat([held] * len(inner))  # keeps the layout, channels last
            values[following.inside] = inner
        return values


def _paths(vqvae: VQVAE, differ: Tensor) -> list[list[Pass]]:
    """For every box of positions that differ, bool [*g], what each block of the decoder does with it."""
    where = differ.nonzero().cpu()
    reach = _path(vqvae, [(0, 1)], [10**6])[-1].reached[1].stop / vqvae.factor - 1  # in tokens, to one side
    return [
        _path(vqvae, [(int(axis.min()), int(axis.max()) + 1) for axis in group.T], differ.shape)
        for group in (_apart(where, 2 * reach) if len(where) else [])
    ]


def _path(vqvae: VQVAE, box: Sequence[tuple[int, int]], size: Sequence[int]) -> list[Pass]:
    """The box through the decoder: a convolution of 3 reaches one cell further, a residual unit two; a transposed
    convolution of 4, stride 2, makes cells 2 i - 1 to 2 i + 2 of cell i."""
    path = []
    for block in vqvae.decoder.blocks:
        up = bool(getattr(block, "is_transposed", False))
        reach = 2 if isinstance(block, VQVAEResidualUnit) else 1
        times, more = (2, 1) if up else (1, reach)
        margin = 1 if up else 2 * reach
        around = [(max(low - margin, 0), min(high + margin, n)) for (low, high), n in zip(box, size, strict=True)]
        size = [times * n for n in size]
        reached = [
            (max(times * low - more, 0), min(times * high + more, n)) for (low, high), n in zip(box, size, strict=True)
        ]
        path.append(
            Pass(
                around=_box(around, [0] * len(size)),
                inside=_box(box, [low for low, _ in around]),
                reached=_box(reached, [0] * len(size)),
                cut=_box(reached, [times * low for low, _ in around]),
            )
        )
        box = reached
    return path


def _apart(where: Tensor, gap: float) -> list[Tensor]:
    """Positions i64 [N, dims] in groups: two of them are more than ``gap`` apart along some axis."""
    for axis in range(where.shape[1]):
        values = where[:, axis].unique()
        jumps = (values.diff() > gap + 1).nonzero()
        if len(jumps):
            low = where[:, axis] <= values[jumps[0]]
            return _apart(where[low], gap) + _apart(where[~low], gap)
    return [where]


def _box(bounds: Sequence[tuple[int, int]], origin: Sequence[int]) -> Box:
    return (..., *(slice(low - at, high - at) for (low, high), at in zip(bounds, origin, strict=True)))


def _size(box: Box) -> int:
    return prod(part.stop - part.start for part in box[1:])
