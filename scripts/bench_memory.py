"""The bench of the memory planner: what it says beforehand beside what the step then takes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from bench_inputs import SEED, SUSPECT_SHARE, bundle, codes_of
from bench_measure import Step
from torch import nn

from monai_iltm.engines import memory as planner
from monai_iltm.engines.optimiser import MuonAdamW
from monai_iltm.inferers import KDEInferer
from monai_iltm.networks import VQVAE, LatentPrior, MaskedTransformer
from monai_iltm.ops.likelihood import p_value

KEPT_GIB = 1.0


def memory(device: torch.device, small: bool) -> Iterator[Step]:
    """Training steps of the VQ-VAE and the prior, and one image scored: the peak that the planner predicts from small
    tries, beside the peak that is seen. Random weights, 5 % suspects, otherwise the default prior of the bundle."""
    defaults = {"spectral_weight": 0.0, "amp": False, "decodes": 5, "at_once": 4, "image_channels": 1}
    for size, batch in [((32, 32), 2)] if small else [((256, 256), 16), ((96, 96, 96), 4), ((208, 168, 216), 1)]:
        net = pair(size, "any", device)
        told = {**defaults, "vqvae_batch_size": batch}
        line = planner.vqvae_step_bytes(net.vqvae, net.transformer.grid, told, device)
        run = partial(train_vqvae, net.vqvae, torch.rand(batch, 1, *size, device=device))
        yield row("VQ-VAE step", f"{batch} of {shown(size)}", run, line.at(batch * prod(size)))
    for grid, batch in [((8, 8), 2)] if small else [((64, 64), 4), ((26, 21, 27), 1)]:
        for order in ("raster", "any"):
            net = pair([8 * n for n in grid], order, device)
            line = planner.prior_step_bytes(net.transformer, {**defaults, "prior_batch_size": batch}, device)
            length = net.transformer.length
            run = partial(train_prior, net.transformer, codes_of(net.transformer, batch, length))
            yield row(f"prior step, {order}", f"{batch} of {length} tokens", run, line.at(batch * length))
    for size, draws in [((32, 32), 4)] if small else [((256, 256), 60), ((96, 96, 96), 60), ((208, 168, 216), 4)]:
        net = pair(size, "any", device)
        least, most = planner.scoring_bytes(net, {**defaults, "image_size": size, "draws": draws}, device)
        run = scorer(net, draws, 5, torch.rand(1, 1, *size, device=device))
        yield row("scoring", f"{shown(size)}, {draws} draws x 5", run, least + min(most, KEPT_GIB * planner.GIB))


def row(name: str, size: str, run: Callable[[], Any], predicted: float) -> Step:
    return Step(name, size, run, predicted_mib=predicted / 2**20, target="predicted within 25 %")


def pair(size: Sequence[int], order: str, device: torch.device) -> LatentPrior:
    """Untrained networks, a token for 8 pixels along each axis."""
    vqvae = VQVAE(len(size), 1, (16, 32, 64), 1, 128, 32)
    net = bundle(image_size=list(size), num_codes=128, order=order, vqvae_widths=[16, 32, 64], spatial_dims=len(size))
    prior = net.get_parsed_content("transformer")
    return LatentPrior(vqvae, prior).to(device)


def train_vqvae(vqvae: VQVAE, images: torch.Tensor) -> None:
    net = copy.deepcopy(vqvae).train()
    optimiser = torch.optim.Adam(net.parameters())
    for _ in range(2):
        reconstruction, commitment = net(images)
        update(optimiser, nn.functional.mse_loss(reconstruction, images) + commitment)


def train_prior(transformer: MaskedTransformer, tokens: torch.Tensor) -> None:
    net = copy.deepcopy(transformer).train()
    optimiser = MuonAdamW(net)
    suspect = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(SEED)) < SUSPECT_SHARE
    for seed in range(4):
        update(optimiser, net.loss(tokens, suspect.to(tokens.device), torch.Generator().manual_seed(seed)))


def scorer(net: LatentPrior, draws: int, decodes: int, image: torch.Tensor) -> Callable[[], Any]:
    """Scores the image with 5 % of its tokens flagged."""
    net.eval()
    with torch.no_grad():
        tokens = net.tokens(image)
        alpha = float(p_value(net.transformer(tokens), tokens).quantile(SUSPECT_SHARE))
    inferer = KDEInferer(draws, decodes, alpha=alpha, looks=1, at_once=4, keep_gib=KEPT_GIB)
    return partial(inferer.heal, image, net)


def update(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def shown(size: Sequence[int]) -> str:
    return " x ".join(str(n) for n in size)
