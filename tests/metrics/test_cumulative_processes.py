"""The metrics over several processes: what all of them saw counts, wherever it was seen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PATIENCE = 120
MEASURE = """
import os, torch, torch.distributed as dist
from monai_iltm.metrics import PixelAUROC, auroc
dist.init_process_group("gloo")
rank, dice = dist.get_rank(), torch.Generator().manual_seed(0)
maps = [torch.rand(1, n, 4, generator=dice) for n in (3, 5, 8)]
labels = [torch.rand(one.shape, generator=dice) > 0.5 for one in maps]
for holders in ((0, 0, 0), (1, 0, 1)):  # which process sees a case: the first all of them, and both
    metric = PixelAUROC()
    own = [case for case, holder in enumerate(holders) if holder == rank]
    if own:
        metric([maps[case] for case in own], [labels[case] for case in own])
    assert metric.aggregate() == auroc(maps, labels), holders
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_a_process_that_saw_no_case_is_no_hindrance(free_ports):
    told = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_ports(1)[0], "WORLD_SIZE": "2"}
    ranks = [subprocess.Popen([sys.executable, "-c", MEASURE], env={**told, "RANK": str(rank)}) for rank in (0, 1)]
    try:
        assert [process.wait(PATIENCE) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
