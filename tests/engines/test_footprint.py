from __future__ import annotations

from collections.abc import Sequence
from math import prod

import pytest
import torch

from monai_iltm.engines.footprint import Line, LiveBytes, line_of, reduced

CPU = torch.device("cpu")


def test_tensors_count_while_they_live():
    with LiveBytes() as live:
        a = torch.zeros(100)
        b = a + 1
        view = b[:50]  # the same storage
        assert live.now == 800
        del a
        assert live.now == 400
        del b
        assert live.now == 400
        del view
        assert live.now == 0
    assert live.peak == 800


def test_what_autograd_keeps_counts():
    x = torch.zeros(100, requires_grad=True)
    with LiveBytes() as live:
        y = x.exp().sin()
        held = live.now
        y.sum().backward()
        del y
    assert held == 800
    assert live.now == 400  # the gradient


def test_a_convolution_counts_its_tensors_twice():
    x, w = torch.zeros(1, 1, 8, 8), torch.zeros(3, 1, 3, 3)
    with LiveBytes() as live:
        y = torch.nn.functional.conv2d(x, w, padding=1)
    assert live.peak == 2 * y.nbytes + x.nbytes + w.nbytes


@pytest.mark.parametrize(
    ("batch", "grid", "most", "found"),
    [
        (4, (8, 8), 1000, (4, (8, 8))),
        (4, (8, 8), 128, (2, (8, 8))),
        (3, (8, 8), 64, (1, (8, 8))),
        (4, (8, 6), 24, (1, (4, 6))),
        (1, (3, 3, 3), 1, (1, (1, 1, 1))),
        (1, (2, 2), 0, (1, (1, 1))),
    ],
)
def test_the_batch_is_halved_first_then_the_longest_axis(batch, grid, most, found):
    assert reduced(batch, grid, most) == found


def test_a_linear_step_is_predicted_to_the_byte():
    def attempt(batch: int, cells: Sequence[int]) -> None:
        held = torch.zeros(1000), torch.zeros(3 * batch * prod(cells) * 2)
        del held

    line = line_of(attempt, 16, (64, 64), 2, (256, 1024), CPU)
    assert line == Line(4000.0, 12.0)
    assert line.at(16 * 64 * 64 * 2) == 4000 + 12 * 16 * 64 * 64 * 2
    assert line.held(2, 5).at(0) == 8005


def test_what_is_small_is_tried_as_it_is():
    sizes = []
    line_of(lambda batch, cells: sizes.append((batch, cells)), 2, (4, 4), 1, (64, 256), CPU)
    assert sizes == [(2, (4, 4))]
