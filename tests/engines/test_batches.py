from __future__ import annotations

from collections import Counter
from pathlib import Path

import ignite.distributed as idist
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_iltm.data.errors import InputError
from monai_iltm.engines.batches import GlobalBatches
from monai_iltm.engines.method import read_method
from monai_iltm.engines.rules import require_possible

METHOD = read_method(Path(__file__).resolve().parents[2] / "bundles", "iltm")


def global_batches(count: int, batch_size: int, world: int = 1, seed: int = 0, epoch: int = 1) -> list[list[list[int]]]:
    """[rank][step] -> cases, as ``world`` processes would see them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idist, "get_world_size", lambda: world)
        ranks = []
        for rank in range(world):
            patch.setattr(idist, "get_rank", lambda rank=rank: rank)
            batches = GlobalBatches(count, batch_size, seed)
            batches.set_epoch(epoch)
            ranks.append(list(batches))
            assert len(ranks[-1]) == len(batches)
        return ranks


@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 5), st.integers(1, 5))
def test_any_number_of_processes_makes_the_same_steps(count, quarter, seed, epoch):
    (alone,) = global_batches(count, 4 * quarter, 1, seed, epoch)
    for world in (2, 4):
        ranks = global_batches(count, 4 * quarter, world, seed, epoch)
        for step, batch in enumerate(alone):
            shares = [rank[step] for rank in ranks]
            assert {len(share) for share in shares} == {4 * quarter // world}
            assert sorted(case for share in shares for case in share) == sorted(batch)
            # case i of the global batch goes to rank i % world, which is how the priors' noise is dealt
            assert [shares[i % world][i // world] for i in range(len(batch))] == batch


@given(st.integers(1, 30), st.integers(1, 12))
def test_every_case_is_seen_and_the_last_batch_is_filled(count, batch_size):
    (batches,) = global_batches(count, batch_size)
    assert {len(batch) for batch in batches} == {batch_size}
    assert len(batches) == -(-count // batch_size)
    times = Counter(case for batch in batches for case in batch)
    assert sorted(times) == list(range(count))
    assert max(times.values()) - min(times.values()) <= 1


def test_the_last_batch_is_filled_from_the_beginning():
    (batches,) = global_batches(5, 3)
    assert batches[1][2] == batches[0][0]


def test_order_depends_on_seed_and_epoch_alone():
    assert global_batches(20, 4) == global_batches(20, 4)
    assert global_batches(20, 4) != global_batches(20, 4, epoch=2)
    assert global_batches(20, 4) != global_batches(20, 4, seed=1)


def test_one_object_goes_through_epochs():
    """What a resumed run draws at epoch 3 is what an undisturbed one does."""
    batches = GlobalBatches(9, 3)
    seen = []
    for epoch in (1, 2, 3):
        batches.set_epoch(epoch)
        seen.append(list(batches))
    resumed = GlobalBatches(9, 3)
    resumed.set_epoch(3)
    assert list(resumed) == seen[2]
    assert seen[0] != seen[1] != seen[2]


@pytest.mark.parametrize("batch_size", [0, -2])
def test_a_batch_of_nothing_is_refused(batch_size):
    with pytest.raises(InputError, match=f"a batch holds at least one case, found {batch_size}"):
        GlobalBatches(8, batch_size)


def test_batches_of_no_case_are_refused_once_one_is_wanted():
    """Not before: a bundle can be looked at before its data is there."""
    batches = GlobalBatches(0, 4)
    assert len(batches) == 0
    with pytest.raises(InputError, match="there is no case to train with"):
        list(batches)


@pytest.mark.parametrize(("batch_size", "world"), [(3, 2), (2, 4)])
def test_a_batch_that_does_not_divide_is_refused(batch_size, world):
    with pytest.raises(InputError, match=f"the batch size {batch_size} does not divide among {world} processes"):
        global_batches(8, batch_size, world)


def test_a_batch_that_does_not_divide_is_refused_before_the_first_stage(monkeypatch):
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    with pytest.raises(InputError, match="prior_batch_size 5 does not divide among 2 processes: choose a multiple"):
        require_possible(
            METHOD, {"stages::vqvae::train::trainer::batch_size": 4, "stages::prior::train::trainer::batch_size": 5}
        )
