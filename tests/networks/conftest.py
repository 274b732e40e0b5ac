"""A transformer written out in loops, to hold the real one against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_iltm.networks import MaskedTransformer


@pytest.fixture(scope="session")
def loops() -> Callable[[MaskedTransformer, list[int], list[int | None], list[list[int]]], Tensor]:
    """The network, entry by entry and head by head: logits [n, K] of n entries.

    Entry i is code ``codes[i]`` at sequence position ``where[i]`` (None = no position) and reads the entries
    ``looks[i]`` in every block.
    """

    def run(net: MaskedTransformer, codes: list[int], where: list[int | None], looks: list[list[int]]) -> Tensor:
        x = torch.stack([_entry(net, c, w) for c, w in zip(codes, where, strict=True)])
        for block in net.layers():
            q, k, v = block.qkv(block.norm_attention(x)).chunk(3, -1)
            read = torch.stack([_attend(q[i], k[seen], v[seen], block.heads) for i, seen in enumerate(looks)])
            x = x + block.out(read)
            x = x + block.mlp(block.norm_mlp(x))
        return net.head(net.norm(x)).detach()

    return run


def _entry(net: MaskedTransformer, code: int, where: int | None) -> Tensor:
    place = () if where is None else np.unravel_index(where, net.grid)
    return net.embedding.weight[code] + sum(axis.weight[i] for axis, i in zip(net.axes, place, strict=False))


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    d = len(q) // heads
    parts = []
    for h in range(0, len(q), d):
        scores = [torch.dot(q[h : h + d], key[h : h + d]) / d**0.5 for key in k]
        parts.append(torch.stack(scores).softmax(0) @ v[:, h : h + d])
    return torch.cat(parts)
