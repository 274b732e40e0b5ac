from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.handlers import IgniteMetricHandler, from_engine

from monai_iltm.data.documents import read_json, write_json
from monai_iltm.metrics import (
    BestDice,
    BestDicePerCase,
    MetricError,
    PixelAUPRO,
    PixelAUROC,
    PixelAveragePrecision,
    PixelMetric,
    aupro,
    auroc,
    average_precision,
    best_dice,
    best_dice_per_case,
)

PAIRS = [
    (PixelAUROC(), auroc),
    (PixelAveragePrecision(), average_precision),
    (PixelAUPRO(), aupro),
    (BestDice(), best_dice),
    (BestDicePerCase(), best_dice_per_case),
]


def ragged_cases(count: int = 5) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Maps [1, *S] and bool masks, each case of another size."""
    generator = torch.Generator().manual_seed(0)
    masks = [torch.rand(1, 6 + index, 8, generator=generator) < 0.3 for index in range(count)]
    return [torch.randn(mask.shape, generator=generator) + mask for mask in masks], masks


@pytest.mark.parametrize(("metric", "figure"), PAIRS)
def test_equals_its_function_through_the_ignite_handler(metric: PixelMetric, figure):
    maps, masks = ragged_cases()
    engine = Engine(lambda _, batch: batch)
    handler = IgniteMetricHandler(metric, output_transform=from_engine(["pred", "label"]), save_details=False)
    handler.attach(engine, "figure")
    batches = [
        [{"pred": MetaTensor(one), "label": MetaTensor(mask.float())}] for one, mask in zip(maps, masks, strict=True)
    ]
    for _ in range(2):  # a second epoch starts from nothing
        engine.run(batches)
        assert engine.state.metrics["figure"] == figure(maps, masks)


def test_takes_batches_and_options():
    maps, masks = (one[0].repeat(3, 1, 1, 1) for one in ragged_cases(1))
    metric = PixelAUPRO(fpr_limit=0.1)
    metric(maps[:2], masks[:2])
    metric(maps[2:], masks[2:].to(torch.uint8))
    assert len(metric) == 3
    assert metric.aggregate() == aupro(maps, masks, 0.1)
    metric.reset()
    with pytest.raises(MetricError, match="no case"):
        metric.aggregate()


def test_refuses_bad_batches():
    maps, masks = ragged_cases(2)
    with pytest.raises(MetricError, match="0 or 1"):
        BestDice()(maps, [mask * 255.0 for mask in masks])
    with pytest.raises(MetricError, match="its label"):
        BestDice()(maps, masks[::-1])
    with pytest.raises(MetricError, match="2 maps but 1 labels"):
        BestDice()(maps, masks[:1])
    with pytest.raises(MetricError, match="no labels"):
        BestDice()(maps)


def one_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    maps, masks = ragged_cases()
    figures = []
    for own in (range(rank, 5, 2), range(5) if rank else ()):  # 3 cases and 2; none and all
        metric = PixelAUPRO()
        if own:
            metric([maps[case] for case in own], [masks[case] for case in own])
        figures.append(metric.aggregate())
    write_json(Path(folder, f"rank{rank}"), figures)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_see_all_cases(two_ranks, tmp_path: Path):
    two_ranks(lambda rank: [sys.executable, __file__, str(tmp_path), str(rank)], lambda _: None)
    expected = aupro(*ragged_cases())
    for index in range(2):
        assert read_json(tmp_path / f"rank{index}") == pytest.approx([expected] * 2, abs=1e-12)


if __name__ == "__main__":
    one_rank(int(sys.argv[2]), sys.argv[1])
