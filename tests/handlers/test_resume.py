from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_iltm.data.errors import InputError
from monai_iltm.engines.optimiser import MuonAdamW, warmup_cosine
from monai_iltm.handlers import EpochSeed, ResumableTraining
from monai_iltm.networks import MaskedTransformer

EPOCHS, STEPS = 4, 2


class KilledError(Exception):
    """What ends a run in the middle."""


class NoSampler:
    def set_epoch(self, epoch: int) -> None:
        pass


def train(folder: Path, kill: tuple[Events, int] | None = None) -> tuple[dict, list[float]]:
    """The prior's own network, optimiser and schedule on random tokens, dropout and all: state dict, learning rates."""
    torch.manual_seed(0)
    network = MaskedTransformer(8, (2, 3), width=8, depth=1, heads=2, order="any", dropout=0.2)
    optimizer = MuonAdamW(network)
    scheduler = warmup_cosine(optimizer, EPOCHS, cases=STEPS, batch_size=1)
    rates = []

    def step(engine: Engine, batch: torch.Tensor) -> dict:
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(engine.state.iteration)
        loss = network.train().loss(batch, generator=generator)
        loss.backward()
        optimizer.step()
        scheduler.step()
        rates.append([group["lr"] for group in optimizer.param_groups])
        return {"loss": loss.item()}

    engine = Engine(step)
    engine.data_loader = SimpleNamespace(batch_sampler=NoSampler(), dataset=None)
    EpochSeed(5).attach(engine)
    objects = {"network": network, "optimizer": optimizer, "scheduler": scheduler}
    ResumableTraining(folder / "model.pt", network, objects).attach(engine)
    if kill is not None:
        event, epoch = kill

        @engine.on(event)
        def end(engine: Engine) -> None:
            if engine.state.epoch == epoch:
                raise KilledError

    data = torch.randint(8, (STEPS, 3, 6), generator=torch.Generator().manual_seed(1))
    engine.run(list(data), max_epochs=EPOCHS)
    return network.state_dict(), rates


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("event", [Events.EPOCH_STARTED, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED])
@pytest.mark.parametrize("epoch", [1, 3, EPOCHS])
def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path, event, epoch):
    expected, rates = train(tmp_path / "whole")
    with pytest.raises(KilledError):
        train(tmp_path / "killed", (event, epoch))
    assert not (tmp_path / "killed" / "model.pt").exists()
    resumed, remaining = train(tmp_path / "killed")
    assert same(resumed, expected)
    done = epoch if event is Events.EPOCH_COMPLETED else epoch - 1
    assert remaining == rates[done * STEPS :]  # no epoch twice, none left out
    assert same(torch.load(tmp_path / "killed" / "model.pt", weights_only=True), expected)


def test_killed_again_and_again(tmp_path):
    for epoch in range(1, EPOCHS + 1):
        with pytest.raises(KilledError):
            train(tmp_path / "killed", (Events.EPOCH_COMPLETED, epoch))
    assert same(train(tmp_path / "killed")[0], train(tmp_path / "whole")[0])


def test_at_the_end_the_model_alone_is_there(tmp_path):
    train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_until_then_the_checkpoint_is_plain_tensors_and_numbers(tmp_path):
    with pytest.raises(KilledError):
        train(tmp_path, (Events.EPOCH_COMPLETED, 2))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (state["epoch"], state["iteration"]) == (2, 2 * STEPS)


@pytest.mark.parametrize("content", [b"", {"network": {}}, {"epoch": 3}])
def test_a_checkpoint_of_another_training_is_refused_with_the_way_out(tmp_path, content):
    checkpoint = tmp_path / "checkpoint.pt"
    if isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        torch.save(content, checkpoint)
    with pytest.raises(InputError, match=r"checkpoint\.pt: not of this training .*; remove it"):
        train(tmp_path)
    assert not (tmp_path / "model.pt").exists()


def test_what_is_deployed_may_hold_more_than_what_is_trained(tmp_path):
    """As the pair of VQ-VAE and prior, of which the prior alone is trained."""
    pair = nn.ModuleDict({"fixed": nn.Linear(2, 2), "trained": nn.Linear(2, 2)})
    engine = Engine(lambda *_: None)
    ResumableTraining(tmp_path / "model.pt", pair, {"network": pair["trained"]}).attach(engine)
    engine.run([0], max_epochs=1)
    assert same(torch.load(tmp_path / "model.pt", weights_only=True), pair.state_dict())
