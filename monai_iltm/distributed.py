"""One process or many: the same configs run alone and under torchrun."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

from monai_iltm.ending import LAUNCHER, end_stopped, killed_lines, obey_launcher

TIMEOUT = timedelta(days=30)  # one rank may train while the others wait; torchrun notices one that dies
_left: list[Any] = []  # groups that this process has left
atexit.register(_left.clear)  # waits for gloo's threads: one that needs a Python which is ending aborts the process
_store: list[dist.Store] = []  # where the ranks find each other, once they have


def torchrun(processes: int, module: str, *arguments: str) -> None:
    """Run a module in several processes of this machine; where one fails, or this one is stopped, all end.

    One that a signal has killed is named with it: it could not tell itself.

    Each gets its share of the cores, unless OMP_NUM_THREADS says otherwise.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    os.environ[LAUNCHER] = str(os.getpid())
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the process itself has told
    try:
        elastic_launch(launch, sys.executable)("-m", module, *arguments)
    except ChildFailedError as error:
        for line in killed_lines(error.failures.values()):
            print(f"\n{line}", file=sys.stderr)  # below a bar that stands open
        sys.exit(1)
    except SignalException as stop:
        end_stopped(stop.sigval)


def rank_device() -> torch.device:
    """This process's device: its own GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def fast_bfloat16() -> bool:
    """Whether this process's device is made for bfloat16: recent GPUs, and CPUs with AMX, where matrices multiply
    several times faster than in float32, or with AVX-512's part of it, where convolutions take about half the time."""
    device = rank_device()
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def start_processes() -> None:
    """Join torchrun's process group, nccl on GPUs and gloo else; without torchrun, or when joined, nothing happens."""
    if "RANK" in os.environ and not dist.is_initialized():
        obey_launcher()
        os.environ.pop("SLURM_JOB_ID", None)  # with it ignite puts SLURM's local rank, torchrun's own, on every process
        if torch.cuda.is_available():
            torch.cuda.set_device(rank_device())
        if not _store:
            _store.append(next(dist.rendezvous("env://", timeout=TIMEOUT))[0])
            _store[0].set_timeout(TIMEOUT)
        dist.init_process_group(
            "nccl" if torch.cuda.is_available() else "gloo",
            store=dist.PrefixStore(f"group {len(_left)}", _store[0]),
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=TIMEOUT,
        )
        idist.sync()


def have_met() -> bool:
    """Whether torchrun's processes know of each other, joined at the moment or not."""
    return bool(_store) or dist.is_initialized()


def stop_processes() -> None:
    """Leave the process group, where there is one.

    A reference to the group stays: a DistributedDataParallel that outlives the group else frees it with Python's lock
    held, and waits for gloo's thread, which may wait for that lock to let go of its last tensors; neither goes on.
    """
    if dist.is_initialized():
        _left.append(dist.group.WORLD)
        dist.destroy_process_group()
        idist.sync()


def trainers() -> int:
    """How many processes train together: all, but one where all are on one machine's CPU.

    There a process alone computes a step with the threads of all, and no gradient is sent.
    """
    world = idist.get_world_size()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
    return 1 if here == world and rank_device().type == "cpu" else world


def train(stages: Sequence[Callable[[], None]]) -> None:
    """Run training stages that do not rest on each other, the same on every rank.

    Where ``trainers`` is 1 they run side by side outside the group, a process each and more in turn, with the threads
    of all, as far as there are cores; a process without a stage waits. Else all ranks train each of them together.
    """
    if not stages:
        return
    world, rank, own = idist.get_world_size(), idist.get_rank(), torch.get_num_threads()
    if trainers() == world:
        for stage in stages:
            stage()
        return
    barrier()
    stop_processes()
    threads = min(world * own, os.cpu_count() or 1)  # more than the cores, and each step waits for its last thread
    share, left = divmod(threads, min(len(stages), world))
    torch.set_num_threads(max(1, share + (rank < left)))
    for stage in stages[rank::world]:
        stage()
    torch.set_num_threads(own)
    start_processes()


def parallel(module: nn.Module, device: torch.device) -> nn.Module:
    """The module on its device, wrapped for gradient averaging where several processes train it."""
    module = module.to(device)
    if idist.get_world_size() == 1:
        return module
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def inner(module: nn.Module) -> Any:
    """The module itself, without the wrapper of ``parallel``."""
    return module.module if isinstance(module, DistributedDataParallel) else module


def own_rows(rows: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform numbers f32 [rows, length] for this rank's part of a global batch, which all ranks draw alike."""
    rank, world = idist.get_rank(), idist.get_world_size()
    return torch.rand(rows * world, length, generator=generator)[rank::world]


def own_share(cases: list) -> list:
    """This rank's cases: every world-size-th."""
    return cases[idist.get_rank() :: idist.get_world_size()]


def is_main() -> bool:
    """Whether this process writes and prints."""
    return idist.get_rank() == 0


def barrier() -> None:
    """Wait for all ranks."""
    if idist.get_world_size() > 1:
        idist.barrier()


def gathered(own: list[Any]) -> list[Any]:
    """What the ranks made of ``own_share``, in the order of the cases, on every rank."""
    world = idist.get_world_size()
    if world == 1:
        return own
    parts: list[list[Any]] = [[]] * world
    dist.all_gather_object(parts, own)
    return [parts[index % world][index // world] for index in range(sum(map(len, parts)))]
