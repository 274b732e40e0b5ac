"""A network is fitted when its training is over, before it is saved."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from torch import nn

from monai_iltm.handlers import FitNetwork, ResumableTraining


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("mean", torch.zeros(()))

    def fit(self, images) -> None:
        assert not self.training
        self.mean.copy_(torch.cat(list(images)).mean())


def test_the_fit_is_in_what_is_saved(tmp_path):
    network, data = Mean(), [{"image": torch.full((1, 2, 2), float(n))} for n in range(5)]
    engine = Engine(lambda *_: None)
    for handler in (FitNetwork(network, batch_size=2), ResumableTraining(tmp_path / "model.pt", network, {})):
        handler.attach(engine)
    engine.run(DataLoader(Dataset(data)), max_epochs=2)
    assert torch.load(tmp_path / "model.pt", weights_only=True)["mean"] == 2.0
