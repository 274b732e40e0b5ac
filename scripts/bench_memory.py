"""The bench of memory: what the planner says beforehand beside what a step then takes, and whole bodies."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import torch
from bench_inputs import HOME, SEED, SUSPECT_SHARE, bundle, codes_of
from bench_measure import Step
from bench_steps import named
from monai.transforms import Compose

from monai_iltm.data.phantom3d import write_phantom3d
from monai_iltm.engines import memory as planner
from monai_iltm.inferers import KDEInferer
from monai_iltm.networks import LatentPrior
from monai_iltm.ops.likelihood import p_value
from monai_iltm.transforms import ToImageGridd, preprocessing

KEPT_GIB = 1.0
MEASURED = Path(os.environ.get("ILTM_DATA", HOME.parent / "shared" / "data"))
REAL = MEASURED / "sts001_wholebody_fdgpet_3d" / "test" / "STS_001_wb_suv.nii.gz"


def memory(device: torch.device, small: bool) -> Iterator[Step]:
    """Training steps of the VQ-VAE and the prior, and one image scored: the peak that the planner predicts from small
    tries, beside the peak of one run. Random weights, 5 % suspects, otherwise the default prior of the bundle."""
    defaults = {"spectral_weight": 0.0, "amp": False, "decodes": 5, "at_once": 4, "image_channels": 1}
    for size, batch in [((32, 32), 2)] if small else [((256, 256), 16), ((96, 96, 96), 4), ((208, 168, 216), 1)]:
        for amp in (False, True):
            net = pair(size, "any", device)
            told = {**defaults, "vqvae_batch_size": batch, "amp": amp}
            line = planner.vqvae_step_bytes(net.vqvae, net.transformer.grid, told, device)
            run = partial(planner.train_vqvae, net.vqvae, torch.rand(batch, 1, *size, device=device), told)
            yield row(named("VQ-VAE step", amp), f"{batch} of {shown(size)}", run, line.at(batch * prod(size)))
    both = ("raster", "any")
    large = [((64, 64), 4, both, False), ((26, 21, 27), 1, both, False), ((16, 16), 16, ("any",), True)]
    for grid, batch, orders, amp in [((8, 8), 2, both, False)] if small else large:
        for order in orders:
            net = pair([8 * n for n in grid], order, device).transformer
            line = planner.prior_step_bytes(net, {**defaults, "prior_batch_size": batch, "amp": amp}, device)
            tokens = codes_of(net, batch, net.length)
            suspect = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(SEED)) < SUSPECT_SHARE
            run = partial(planner.train_prior, net, tokens, suspect.to(device), amp)
            size = f"{batch} of {net.length} tokens"
            yield row(named(f"prior step, {order}", amp), size, run, line.at(batch * net.length))
    for size, draws in [((32, 32), 4)] if small else [((256, 256), 60), ((96, 96, 96), 60), ((208, 168, 216), 4)]:
        net = pair(size, "any", device)
        least, most = planner.scoring_bytes(net, {**defaults, "image_size": size, "draws": draws}, device)
        run = scorer(net, draws, 5, torch.rand(1, 1, *size, device=device))
        yield row("scoring", f"{shown(size)}, {draws} draws x 5", run, least + min(most, KEPT_GIB * planner.GIB))


def bodies(device: torch.device, small: bool) -> Iterator[Step]:
    """Whole bodies from file to map in the file's own grid: a phantom, and a real FDG-PET scan where the measuring data
    are there. A token for 8 voxels along each axis, random weights, 5 % of the tokens flagged, one level. One run."""
    shape, draws = ((32, 32, 32), 2) if small else ((208, 168, 216), 60)
    with tempfile.TemporaryDirectory() as folder:
        data = write_phantom3d(folder, training=1, testing=0, clean=0, shape=shape).parent
        volumes = {"phantom": next(data.glob("images/*"))}
        if REAL.is_file() and not small:
            volumes["real scan"] = REAL
        for name, path in volumes.items():
            shape = nib.load(path).shape
            size = [8 * -(-n // 8) for n in shape]
            transform = preprocessing(size, 1, (0, 15))
            image = transform({"image": str(path)})["image"].as_tensor()
            score = scorer(pair(size, "any", device), draws, 5, image[None].to(device))

            def run(transform: Compose = transform, path: Path = path, score: Any = score) -> Any:
                item = transform({"image": str(path)})
                item["pred"] = score().surprise[0].cpu()
                return ToImageGridd(["pred"], transform)(item)["pred"]

            yield Step(
                f"whole body, {name}", f"{shown(shape)}, {draws} draws x 5", run, once=True, target="<= 8192 MiB"
            )


def row(name: str, size: str, run: Callable[[], Any], predicted: float) -> Step:
    return Step(name, size, run, once=True, predicted_mib=predicted / 2**20, target="predicted within 25 %")


def pair(size: Sequence[int], order: str, device: torch.device) -> LatentPrior:
    """Untrained networks, a token for 8 pixels along each axis."""
    told = {"image_size": list(size), "order": order, "num_codes": 128}
    network = bundle(**told, vqvae_widths=[16, 32, 64], vqvae_residual_layers=1).get_parsed_content("network_def")
    return network.to(device)


def scorer(net: LatentPrior, draws: int, decodes: int, image: torch.Tensor) -> Callable[[], Any]:
    """Scores the image with 5 % of its tokens flagged."""
    net.eval()
    with torch.no_grad():
        tokens = net.tokens(image)
        alpha = float(p_value(net.transformer(tokens), tokens).quantile(SUSPECT_SHARE))
    inferer = KDEInferer(draws, decodes, alpha=alpha, looks=1, at_once=4, keep_gib=KEPT_GIB)
    return partial(inferer.heal, image, net)


def shown(size: Sequence[int]) -> str:
    return " x ".join(str(n) for n in size)
