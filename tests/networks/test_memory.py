"""A volume has ten thousand tokens and more: nothing may be as large as L x L, nor a prefix be copied for a draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from monai_iltm.engines.footprint import LiveBytes
from monai_iltm.networks import MaskedTransformer, attention
from monai_iltm.ops.healing import heal
from monai_iltm.ops.likelihood import token_log_likelihood

GRID = (32, 32)
L = 1024


class LargestTensor(TorchDispatchMode):
    """Remembers the largest number of values that any operation gave back, forward and backward."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(value, torch.Tensor):
                self.largest = max(self.largest, value.numel() if value.stride() and 0 not in value.stride() else 0)
        return out


def largest(work: Callable[[], Any]) -> int:
    with LargestTensor() as seen:
        work()
    return seen.largest


def case(order: str, groups: int = 2) -> tuple[MaskedTransformer, torch.Tensor, torch.Tensor]:
    net = MaskedTransformer(4, GRID, width=16, depth=1, heads=1, order=order, groups=groups).eval()
    generator = torch.Generator().manual_seed(0)
    return net, torch.randint(4, (1, L), generator=generator), torch.rand(1, L, generator=generator) < 0.02


@pytest.mark.parametrize("order", ["raster", "any"])
def test_nothing_is_as_large_as_length_times_length(order):
    net, tokens, suspect = case(order)
    suspect[:, 1:600] = False  # a long stretch between two suspects
    for draw in range(4):  # marginal and joint
        generator = torch.Generator().manual_seed(draw)
        assert largest(lambda: net.loss(tokens, suspect, generator).backward()) < L * L / 4  # noqa: B023
    assert largest(lambda: token_log_likelihood(net, tokens, suspect)) < L * L / 4
    assert largest(lambda: heal(net, tokens, suspect, 2)) < L * L / 2  # 256 x L at a time
    assert all(value.numel() < L * L / 4 for value in net.state_dict().values())
    assert all(value.numel() <= L for value in net.buffers())


@pytest.mark.parametrize("order", ["raster", "any"])
def test_what_training_holds_grows_with_the_length_alone(order, monkeypatch):
    """Blocks of attention that are each small could still, kept for the gradient, add up to a square."""
    monkeypatch.setattr(attention, "MOST_KEPT", 0)
    peaks = []
    for side in (32, 64):
        net = MaskedTransformer(4, (side, side), width=16, depth=1, heads=1, order=order)
        tokens, generator = torch.zeros(1, side * side, dtype=torch.long), torch.Generator().manual_seed(1)
        assert torch.rand(2, generator=torch.Generator().manual_seed(1))[1] < 0.5  # the joint, of which there is more
        with LiveBytes() as live:
            net.loss(tokens, torch.arange(side * side)[None] % 9 == 3, generator).backward()
        peaks.append(live.peak)
    assert peaks[1] < 4.5 * peaks[0]


def test_the_watch_sees_a_square():
    q = torch.zeros(1, 1, L, 4, requires_grad=True)
    sees = torch.ones(L, L, dtype=torch.bool)
    attend = torch.nn.functional.scaled_dot_product_attention
    assert largest(lambda: attend(q, q, q, attn_mask=sees)) >= L * L


def test_draws_share_the_keys_of_the_prefix():
    net, tokens, suspect = case("any")
    draws, width = 64, 16
    assert largest(lambda: heal(net, tokens, suspect, draws)) < draws * (L - int(suspect.sum())) * width / 4


@pytest.mark.parametrize("order", ["raster", "any"])
def test_long_sequences_have_finite_scores(order):
    net, tokens, suspect = case(order, groups=8)
    log_p = token_log_likelihood(net, tokens, suspect)
    assert log_p.isfinite().all()
    assert (log_p <= 0).all()
