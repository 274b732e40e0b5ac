"""How much memory a piece of work takes: its tensors are counted at small sizes, and larger ones predicted."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Line:
    """Bytes that a step takes at a size (voxels or tokens of a batch)."""

    base: float
    slope: float

    def at(self, size: float) -> float:
        return self.base + self.slope * size

    def held(self, times: float, more: float) -> Line:
        """The line of so many times these bytes, and some more whatever the size."""
        return Line(self.base * times + more, self.slope * times)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that come into being while it is entered; ``peak`` is the most at once.

    Deterministic, on any device. A convolution counts its inputs and outputs twice while it runs, for it brings them
    into a layout of its own, in bfloat16 and 3D with the channels filled up to 16, or with AMX to 32. Not seen: what
    libraries hold for themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        scratch = 0
        if "convolution" in func.__name__:
            scratch = sum(_laid_out(tensor) for tensor in tree_leaves((args, out)) if isinstance(tensor, Tensor))
        self.peak = max(self.peak, self.now + scratch)
        return out

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.alive:
            return

        def gone(_: Any) -> None:
            self.now -= size
            del self.alive[key]

        self.alive[key] = weakref.ref(storage, gone)
        self.now += size


def _laid_out(tensor: Tensor) -> int:
    """Bytes of an operand of a convolution in the layout that the CPU's library works in."""
    if tensor.dtype != torch.bfloat16 or tensor.ndim != 5:
        return tensor.nbytes
    block = 32 if torch.cpu.get_capabilities().get("amx_bf16") else 16
    return tensor.nbytes // tensor.shape[1] * -(-tensor.shape[1] // block) * block


def line_of(
    attempt: Callable[[int, Sequence[int]], None],
    batch: int,
    grid: Sequence[int],
    cell: int,
    limits: tuple[int, int],
    device: torch.device,
) -> Line:
    """Peak bytes of a step over its size, from the step itself at one or two sizes.

    Args:
        attempt: does the step for a batch size and a grid. batch, grid: at which it is wanted.
        cell: size of one cell; limits: a smaller and a larger size at which it is tried, where the whole is no smaller.
    """
    peaks = {}
    for few, cells in {reduced(batch, grid, limit // cell) for limit in limits}:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), LiveBytes() as live:
            attempt(few, cells)
        peaks[few * prod(cells) * cell] = live.peak
    (small, low), (large, high) = min(peaks.items()), max(peaks.items())
    if large == small:
        return Line(0.0, high / large)
    slope = (high - low) / (large - small)
    return Line(high - slope * large, slope)


def reduced(batch: int, grid: Sequence[int], most: int) -> tuple[int, tuple[int, ...]]:
    """Batch and grid, the batch halved, then the longest axes, until there are at most so many cells."""
    cells = list(grid)
    while batch * prod(cells) > most and (batch > 1 or max(cells) > 1):
        if batch > 1:
            batch = (batch + 1) // 2
        else:
            longest = cells.index(max(cells))
            cells[longest] = (cells[longest] + 1) // 2
    return batch, tuple(cells)


def resident_bytes(device: torch.device) -> int | None:
    """What this process holds now; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def free_bytes(device: torch.device) -> int | None:
    """What is left on the device, within the limit of this process's container; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with suppress(OSError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        left = [int(lines["MemAvailable"].split()[0]) * 1024]
        with suppress(OSError, ValueError):  # no such file, or "max": no limit
            limit, used = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
            parts = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
            left.append(limit - used + int(parts["inactive_file"]))  # files that were read: given back when needed
        return min(left)
    return None
