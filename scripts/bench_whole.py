"""The bench beyond single steps: one whole image, and how time grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import bench_reference as plain
import torch
import torch.nn.functional as F
from bench_inputs import SEED, SUSPECT_SHARE, bundle, codes_of, spread_out, suspects
from bench_measure import Step, agree, equal
from bench_steps import NATS, decode_step, healing_step
from torch import Tensor

from monai_iltm.inferers.reconstructions import Reconstructions
from monai_iltm.ops.density import kde_log_density
from monai_iltm.ops.flagging import flag
from monai_iltm.ops.likelihood import p_value


def image(device: torch.device, small: bool) -> Iterator[Step]:
    """One image, from flagging to density, with the default settings of the iltm bundle, random weights, codes that are
    drawn from the encoder's outputs, one level and an alpha that flags about 5 % of the tokens, one suspect a step, so
    that the reference does the same work: not a measurement of quality.
    Reference: the sum of the references above, each of a part and scaled; flagging is ours; the density where a suspect
    reaches alone, since the published code leaves out the rest."""
    size, few, few_voxels = (32, 2, 20) if small else (256, 3, 200)
    tiny = {"draws": 4, "decodes": 2, "vqvae_widths": [8, 8]} if small else {}
    tiny |= {"image_size": [size, size]}
    network = bundle(**tiny).get_parsed_content("network_def").to(device).eval()
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.rand(1, 1, size // 8, size // 8, generator=generator)
    picture = F.interpolate(noise, (size, size), mode="bilinear").to(device)
    vqvae, net = network.vqvae, network.transformer
    with torch.no_grad():
        features = vqvae.encode(picture).flatten(2)[0].T
        chosen = torch.randperm(len(features), generator=generator)[: net.num_codes].to(device)
        vqvae.codebook.embedding.weight.copy_(features[chosen])
        tokens = network.tokens(picture)
        alpha = float(p_value(net(tokens), tokens).quantile(SUSPECT_SHARE))
    as_published = {"alpha": alpha, "threshold_times_uniform": None, "levels": [1.0], "at_once": 1, "amp": False}
    inferer = bundle(**as_published, **tiny).get_parsed_content("train::inferer")
    seed, voxels = inferer._generator(picture[0]).initial_seed(), spread_out(size * size, few_voxels)

    def flagged(_: Any = None) -> Tensor:
        return flag(net, network.tokens(picture), inferer.rules[0], inferer.looks)[0]

    suspect = flagged()
    heals = healing_step(net, tokens, suspect, inferer.draws, few, seed)
    healed = heals.ours()
    some = torch.unique(healed[:, 0], dim=0)[:few]
    decodes = decode_step(network, some, inferer.draws, inferer.decodes, len(some), seed)
    with torch.no_grad():
        recons = torch.cat(list(Reconstructions(network, healed[:, 0], inferer.decodes, seed, inferer.amp)))[:, 0]
        plainly = vqvae.decode(vqvae.embed(torch.cat([tokens, some]).unflatten(1, net.grid)))
    reached = int((plainly[1:] != plainly[0]).any(0).sum())
    columns = picture.flatten().cpu()[voxels].numpy(), recons.flatten(1).cpu()[:, voxels].numpy()

    def check(ours: Any, plainly: dict[str, Any]) -> str:
        parts = [equal("flags", ours.suspect, plainly["flag"]), heals.check(healed, plainly)]
        parts += [decodes.check(recons[: len(some) * inferer.decodes], plainly)]
        log_density = -ours.surprise.flatten().cpu()[voxels]
        return "; ".join([*parts, agree(f"nats at {few_voxels} voxels", log_density, plainly["density"], NATS)])

    def by_voxel(_: Any) -> Tensor:
        return plain.voxel_by_voxel(*columns, inferer.bandwidth_floor)

    redraw, redraws = heals.reference["healing"]
    parts = {"flag": (flagged, 1.0), "healing": (lambda _: redraw(healed), redraws)}
    yield Step(
        "image",
        f"{size} x {size}, L = {net.length}, {int(suspect.sum())} suspects, {inferer.draws} draws x {inferer.decodes}",
        lambda: inferer.heal(picture, network),
        reference={**parts, **decodes.reference, "density": (by_voxel, reached / few_voxels)},
        scaled=f"healing {heals.scaled}; decode {len(some)} draws; density {few_voxels} of {reached} voxels in reach",
        check=check,
        target=">= 100 x",
    )
    rough = bundle(**as_published | {"amp": True}, **tiny).get_parsed_content("train::inferer")

    def compare(ours: Any, _: Any) -> str:
        difference = (ours.surprise - inferer.heal(picture, network).surprise).abs()
        return f"nats, against float32: mean {difference.mean():.2g}, largest {difference.max():.2g}"

    yield Step("image, bfloat16", "the same", lambda: rough.heal(picture, network), check=compare)


def scaling(device: torch.device, small: bool) -> Iterator[Step]:
    """How our time grows: healing with tokens, suspects and draws, the density with voxels; the bundle's default prior.
    Where nothing else is said 1024 tokens, 5 % suspects, 12 draws, 60 reconstructions. Dotted: proportional growth."""
    sides, counts, many, powers = ((8, 16, 32, 48), (8, 16, 32, 64, 128, 256), (1, 4, 16, 64), (3, 4, 5, 6))
    side, draws = 32, 12
    if small:
        sides, counts, many, powers, side, draws = (4, 6), (2, 4), (1, 2), (2, 3), 6, 2
    points = [("tokens", n * n, n, None, draws) for n in sides]
    points += [("suspects", n, side, n, draws) for n in counts] + [("draws", n, side, None, n) for n in many]
    for order in ("raster", "any"):
        for curve, value, n, count, times in points:
            factor = 4  # of the default VQ-VAE
            parser = bundle(image_size=[factor * n, factor * n], order=order)
            net = parser.get_parsed_content("network_def").transformer.to(device).eval()
            suspect = suspects((n, n), "scattered", count).to(device)[None]
            step = healing_step(net, codes_of(net, 1, net.length), suspect, times, 1)
            yield replace(step, reference={}, scaled="", check=None, curve=curve, value=value)
    for n in (10**power for power in powers):
        x, r = torch.rand(1, 1, n, device=device), torch.rand(60, 1, 1, n, device=device)
        step = Step("density", f"60 reconstructions x {n} voxels", lambda x=x, r=r: kde_log_density(x, r))
        yield replace(step, curve="voxels", value=n)
