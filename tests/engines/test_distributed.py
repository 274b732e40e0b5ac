from __future__ import annotations

import os
import sys

import pytest

LEAVE_AND_FREE = """
import os, sys
import torch, torch.distributed as dist
from monai_iltm.engines.distributed import barrier, parallel, start_processes, stop_processes
torch.set_num_threads(1)
for port in sys.argv[1:]:
    os.environ["MASTER_PORT"] = port
    start_processes()
    network = parallel(torch.nn.Linear(8, 8), torch.device("cpu"))
    network(torch.rand(4, 8)).sum().backward()
    works = [dist.all_reduce(torch.rand(4), async_op=True) for _ in range(4)]
    for work in works:
        work.wait()
    del works, work
    barrier()
    stop_processes()
    del network
"""


@pytest.mark.slow
def test_a_network_that_outlives_its_group_does_not_hang_two_processes(free_ports, two_ranks):
    """Where the wrapped network was the group's last owner, this hung within the first few turns."""
    command = [sys.executable, "-c", LEAVE_AND_FREE, *free_ports(12)]
    told = {**os.environ, "MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"}
    two_ranks(lambda _: command, lambda rank: {**told, "RANK": str(rank), "LOCAL_RANK": "0"})
