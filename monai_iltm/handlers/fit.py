"""What is not learned by steps is fitted when they are done."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from torch import nn


class FitNetwork:
    """When a training is over, ``network.fit(batches)`` fills buffers from the training images, and its weights stay.

    Stands before what writes model.pt. Every process fits the same on all images, in their order; a training that was
    killed meanwhile fits anew.

    Args:
        network: what is deployed, with ``fit(batches)``: an iterable of f32 [B, C, *S], on its own device.
        seed: of what is drawn meanwhile, as by an augmentation. batch_size: images at once.
    """

    def __init__(self, network: nn.Module, seed: int = 0, batch_size: int = 16) -> None:
        self.network, self.seed, self.batch_size = network, seed, batch_size

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Any) -> None:
        dataset = engine.state.dataloader.dataset
        if getattr(dataset, "transform", None) is not None:
            dataset.transform.set_random_state(seed=self.seed)
        device = next(self.network.parameters()).device
        network: Any = self.network.eval()
        network.fit(batch["image"].to(device) for batch in DataLoader(dataset, batch_size=self.batch_size))
