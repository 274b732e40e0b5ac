"""A tiny prior with weights large enough to matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from monai_iltm.networks import MaskedTransformer


@pytest.fixture(scope="session")
def tiny() -> Callable[..., MaskedTransformer]:
    """Builder of a small float64 transformer in eval mode; the same arguments give the same weights."""

    def build(order: str, grid: tuple[int, ...] = (3, 4), codes: int = 5, **options) -> MaskedTransformer:
        net = MaskedTransformer(codes, grid, width=8, depth=2, heads=2, order=order, **options).double().eval()
        generator = torch.Generator().manual_seed(7)
        for parameter in net.parameters():
            parameter.data.normal_(0, 0.5, generator=generator)
        return net

    return build
