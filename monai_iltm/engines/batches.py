"""Which cases make a step: the same ones whatever the number of processes, and after a resume."""

from __future__ import annotations

from collections.abc import Iterator

import ignite.distributed as idist
import torch
from torch.utils.data import Sampler

from monai_iltm.data.errors import InputError


def require_shares(batch_size: int, processes: int, name: str = "the batch size") -> None:
    """Raise InputError where a global batch is no multiple of the number of processes that train."""
    if batch_size % processes:
        told = f"{name} {batch_size} does not divide among {processes} processes"
        raise InputError(f"{told}: choose a multiple of {processes}")


class GlobalBatches(Sampler[list[int]]):
    """Batches over all ranks, shuffled by seed and epoch alone; each rank gets its share of every batch.

    The last batch is filled from the beginning of the epoch's order, so that all batches, and all ranks' shares, are
    of one size.

    Args:
        count: cases; batch_size: of the global batch, a multiple of the number of processes; seed.

    Raises:
        InputError: a batch size that does not divide among the processes, and, once a batch is wanted, no case.
    """

    def __init__(self, count: int, batch_size: int, seed: int = 0) -> None:
        if batch_size < 1:
            raise InputError(f"a batch holds at least one case, found {batch_size}")
        require_shares(batch_size, idist.get_world_size())
        self.count, self.batch_size, self.seed, self.epoch = count, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Another epoch, another order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if not self.count:
            raise InputError("there is no case to train with")
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        order = torch.randperm(self.count, generator=generator)
        order = order.repeat(-(-len(self) * self.batch_size // self.count))[: len(self) * self.batch_size]
        rank, world = idist.get_rank(), idist.get_world_size()
        for batch in order.view(len(self), self.batch_size).tolist():
            yield batch[rank::world]
