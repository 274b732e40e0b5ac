from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import pytest
import torch

LEAVE_AND_FREE = """
import torch, torch.distributed as dist
from monai_iltm.distributed import barrier, parallel, start_processes, stop_processes
torch.set_num_threads(1)
for _ in range(12):
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


TRAIN = """
import json, os, sys
import ignite.distributed as idist, torch
from monai_iltm.distributed import gathered, own_share, start_processes, stop_processes, train, trainers
start_processes()
torch.set_num_threads(1)
os.cpu_count = lambda: int(sys.argv[3])
told = []
for names in ("", "a", "ab", "abc"):
    inside = []
    train([lambda name=name: inside.append([name, idist.get_world_size(), torch.get_num_threads()]) for name in names])
    cases = gathered([case * 10 for case in own_share([1, 2, 3])])
    assert (cases, idist.get_world_size(), torch.get_num_threads()) == ([10, 20, 30], 2, 1)
    told.append(inside)
assert trainers() == int(sys.argv[1])
stop_processes()
assert told == json.loads(sys.argv[2]), told
"""


@pytest.fixture
def told(free_ports) -> dict[str, str]:
    """What torchrun tells two processes, their ranks excepted."""
    return {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_ports(1)[0], "WORLD_SIZE": "2"}


def of_rank(told: dict[str, str], local_world: str) -> Callable[[int], dict[str, str]]:
    return lambda rank: {**told, "RANK": str(rank), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": local_world}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="with GPUs every process trains on its own")
@pytest.mark.parametrize("cores", [1, 2, 8])
def test_on_one_machines_cpu_stages_train_side_by_side_with_the_threads_of_all(told, two_ranks, cores):
    """A stage's name, the world and the threads that it sees: of none, one, two and three stages in each process."""
    first = [[], [["a", 1, min(2, cores)]], [["a", 1, 1]], [["a", 1, 1], ["c", 1, 1]]]
    inside = [json.dumps(first), json.dumps([[], [], [["b", 1, 1]], [["b", 1, 1]]])]
    two_ranks(lambda rank: [sys.executable, "-c", TRAIN, "1", inside[rank], str(cores)], of_rank(told, "2"))


@pytest.mark.slow
def test_on_several_machines_all_processes_train_each_stage(told, two_ranks):
    inside = json.dumps([[[name, 2, 1] for name in names] for names in ("", "a", "ab", "abc")])
    two_ranks(lambda _: [sys.executable, "-c", TRAIN, "2", inside, "8"], of_rank(told, "1"))


@pytest.mark.slow
def test_a_network_that_outlives_its_group_does_not_hang_two_processes(told, two_ranks):
    """Where the wrapped network was the group's last owner, this hung within the first few turns."""
    two_ranks(lambda _: [sys.executable, "-c", LEAVE_AND_FREE], of_rank(told, "1"))
