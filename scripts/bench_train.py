"""The bench of training: one step of each stage."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace

import bench_reference as plain
import torch
from bench_inputs import SUSPECT_SHARE, bundle, codes_of, preset, shape_of
from bench_measure import Step
from bench_steps import named
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from monai_iltm.engines.optimiser import MuonAdamW
from monai_iltm.engines.step import TrainStep
from monai_iltm.losses import TokenLoss, VQVAELoss


def train(device: torch.device, small: bool) -> Iterator[Step]:
    """One training step of the VQ-VAE and of the prior, preset phantom2d, in float32 and in bfloat16 (`amp`). Floor:
    the VQ-VAE's convolutions on their own, forward and backward; all matrix products of the prior's step, the
    optimiser's too, at the rate of float32. There is no reference."""
    size, several = (16, 2) if small else (64, 8)
    settings = preset("phantom2d") | {"image_size": [size, size]}
    images, sequences = (2, 2) if small else (settings["vqvae_batch_size"], settings["prior_batch_size"])
    network = bundle(**settings).get_parsed_content("network_def").to(device).train()
    vqvae, net, picture = network.vqvae, network.transformer, torch.rand(images, 1, size, size, device=device)
    suspect = (torch.rand(sequences, net.length) < SUSPECT_SHARE).to(device)
    batch = {"tokens": codes_of(net, sequences, net.length), "suspect": suspect}
    # what a step reads of a trainer
    one, other = (SimpleNamespace(state=SimpleNamespace(device=device, iteration=1)) for _ in range(2))
    one.network, other.network = VQVAELoss(vqvae, settings["spectral_weight"]), TokenLoss(net)
    one.optimizer = torch.optim.Adam(vqvae.parameters(), settings["vqvae_learning_rate"])
    other.optimizer = MuonAdamW(net)

    def reconstruct(amp: bool) -> None:
        one.amp = amp
        TrainStep()(one, {"image": picture})

    def predict(amp: bool) -> None:
        other.amp = amp
        for other.state.iteration in range(1, several + 1):  # each draws the length of its prefix
            TrainStep(clip=1.0)(other, batch)

    for amp in (False, True):
        yield Step(
            named("VQ-VAE step", amp),
            f"batch {images} of {size} x {size}, widths {settings['vqvae_widths']}",
            partial(reconstruct, amp),
            floor=plain.bare_convolutions(lambda: vqvae(picture), backward=True, amp=amp),
        )
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        predict(False)
    flops = counter.get_total_flops() / several
    told = f"batch {sequences}, L = {net.length}, {shape_of(net)}; mean of {several} steps"
    for amp in (False, True):
        yield Step(named("prior step", amp), told, partial(predict, amp), weight=1 / several, floor_flops=flops)
