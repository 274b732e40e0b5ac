from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_iltm.data.errors import InputError
from monai_iltm.handlers import RequireFinite, ResumableTraining

LOWER = "train anew with a lower --vqvae_learning_rate, and with another output folder"


def train(network: nn.Module, folder, spoil=None, losses=(1.0, 2.0), epochs: int = 2) -> Engine:
    def step(engine: Engine, loss: float) -> dict:
        if spoil is not None and engine.state.epoch == 2:
            spoil(network)
        return {"loss": loss, "error": 0.5}

    engine = Engine(step)
    RequireFinite(network, "VQ-VAE", ["vqvae_learning_rate"]).attach(engine)
    ResumableTraining(folder / "model.pt", network, {"network": network}).attach(engine)
    engine.run(list(losses), max_epochs=epochs)
    return engine


def test_a_sound_training_goes_on(tmp_path):
    assert train(nn.BatchNorm1d(3), tmp_path).state.epoch == 2
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_step_that_diverges_ends_before_anything_is_written(tmp_path, loss):
    with pytest.raises(InputError, match=rf"^VQ-VAE, epoch 1: loss is {loss}: training has diverged; {LOWER}"):
        train(nn.Linear(2, 2), tmp_path, losses=(1.0, loss))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["weight", "running_mean"])  # a parameter and a buffer
def test_weights_that_diverge_do_not_take_the_place_of_sound_ones(tmp_path, name):
    def spoil(network: nn.Module) -> None:
        getattr(network, name).data[1] = float("nan")

    with pytest.raises(InputError, match=f"epoch 2: {name} holds values that are not finite"):
        train(nn.BatchNorm1d(3), tmp_path, spoil)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["epoch"] == 1
    assert all(value.isfinite().all() for value in state["network"].values())
    assert not (tmp_path / "model.pt").exists()


def test_other_ranks_and_later_handlers_do_not_hear_of_a_step_that_diverged(tmp_path):
    engine, heard = Engine(lambda *_: {"loss": float("nan")}), []
    RequireFinite(nn.Linear(1, 1), "prior", ["a", "b"]).attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: heard.append(1))
    with pytest.raises(InputError, match="a lower --a or --b,"):
        engine.run([0], max_epochs=1)
    assert heard == []
