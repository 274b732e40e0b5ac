"""The steps of the bench: what is timed, against which reference, beside which floor."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bench_reference as plain
import torch
import torch.nn.functional as F
from bench_measure import Step, agree, equal
from monai.bundle import ConfigParser
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from monai_iltm.data.documents import read_json
from monai_iltm.engines.optimiser import MuonAdamW
from monai_iltm.engines.prior import PriorObjective, PriorStep
from monai_iltm.engines.vqvae import ReconstructionLoss, vqvae_step
from monai_iltm.inferers import KDEInferer
from monai_iltm.networks import VQVAE, LatentPrior, MaskedTransformer, token_grid
from monai_iltm.ops.density import kde_log_density
from monai_iltm.ops.flagging import flag
from monai_iltm.ops.healing import heal
from monai_iltm.ops.likelihood import p_value, token_log_likelihood

HOME = Path(__file__).resolve().parents[1]
SEED = 0
SUSPECT_SHARE = 0.05
DENSITY_OPERATIONS = 25  # a value: moments, squared distance, minimum, and the exponential as a polynomial
NATS = 1e-3  # by which a log-density or log-likelihood may differ from the reference's


def density(device: torch.device, small: bool) -> Iterator[Step]:
    """The kernel density estimate of every voxel. Reference: scikit-learn's, fitted to the reconstructions' values at
    one voxel after another. Floor: the reconstructions read once, or 25 operations a value, whichever takes longer."""
    count, voxels, few = (20, 4000, 20) if small else (300, 1_000_000, 300)
    generator = torch.Generator().manual_seed(SEED)
    middle, spread = torch.rand(2, voxels, generator=generator)
    recons = torch.randn(count, 1, 1, voxels, generator=generator).mul_(0.2 * spread).add_(middle)
    image = (middle + 0.3 * torch.randn(voxels, generator=generator)).view(1, 1, -1)  # from the mode to far out
    which = spread_out(voxels, few)
    columns = image[0, 0, which].numpy(), recons[:, 0, 0, which].numpy()
    image, recons = image.to(device), recons.to(device)
    yield Step(
        "density",
        f"{count} reconstructions x {voxels} voxels",
        lambda: kde_log_density(image, recons),
        reference={"density": (lambda _: plain.voxel_by_voxel(*columns, 0.05), voxels / few)},
        scaled=f"{few} of {voxels} voxels",
        check=lambda ours, plainly: agree(f"nats at {few} voxels", ours[0, 0, which].cpu(), plainly["density"], NATS),
        floor_bytes=recons.nbytes,
        floor_flops=DENSITY_OPERATIONS * recons.numel(),
        target=">= 1500 x, <= 3 x floor",
    )


def healing(device: torch.device, small: bool) -> Iterator[Step]:
    """All draws of all suspect tokens. Reference: for every draw, one at a time, and every suspect, the whole prefix
    through the network again (order "any": a new prefix of the trusted and the already drawn tokens, then a query).
    Floor: the matrix products of the entries that cannot be avoided, 24 W^2 + 4 W keys operations an entry and block
    (W the width, a multiply-add is two), in the last block keys and values alone where nothing is read. Raster: the
    same dice must give the reference's tokens. Any: a prefix made anew is another distribution, so the tokens of four
    draws, with their dice, are held against one pass over all of them."""
    grid, draws, few = ((8, 8), 6, 3) if small else ((32, 32), 60, 8)
    for order, kind in (("raster", "scattered"), ("raster", "clustered"), ("any", "scattered")):
        net = large_prior(order, grid, device, small)
        tokens, suspect = codes_of(net, 1, net.length), suspects(grid, kind).to(device)[None]
        step = healing_step(net, tokens, suspect, draws, few)
        target = ">= 22 x, <= 2 x floor" if order == "raster" else ">= 150 x, <= 3 x floor"
        yield replace(step, name=f"{step.name}, {kind}", target=target)


def healing_step(
    net: MaskedTransformer, tokens: Tensor, suspect: Tensor, draws: int, few: int, seed: int = SEED
) -> Step:
    """Healing of one case, tokens i64 [1, L], suspect bool [1, L]; the reference throws the very dice of ours."""
    count, generator = int(suspect.sum()), torch.Generator().manual_seed(seed)
    where = suspect[0].nonzero()[:, 0].expand(draws, -1)  # [n, S], in the order of each draw
    if net.order == "any":
        where = where.gather(1, torch.rand(draws, count, generator=generator).argsort(-1).to(where.device))
    dice = torch.rand(draws, count, generator=generator).to(tokens.device)
    steps, some = spread_out(count, few), range(min(draws, 4))
    entries, flops = plain.healing_flops(net, suspect[0], draws)

    def redraw(healed: Tensor) -> Tensor:
        one = plain.redraw_any if net.order == "any" else plain.redraw_raster
        return one(net, healed[0, 0], suspect[0], where[0], dice[0], steps)

    def check(healed: Tensor, plainly: dict[str, Any]) -> str:
        if net.order == "raster":
            return equal("redrawn tokens", healed[0, 0, where[0, steps]], plainly["healing"])
        law = [plain.joint_codes(net, healed[i, 0], suspect[0], where[i], dice[i]) for i in some]
        return equal("redrawn tokens", torch.stack([healed[i, 0, where[i]] for i in some]), torch.stack(law))

    return Step(
        f"healing {net.order}",
        f"L = {net.length}, {shape_of(net)}, {count} suspects, {draws} draws, {entries} entries",
        lambda: heal(net, tokens, suspect, draws, torch.Generator().manual_seed(seed)),
        reference={"healing": (redraw, draws * count / few)},
        scaled=f"1 of {draws} draws, {few} of {count} suspects spread over it",
        check=check,
        floor_flops=flops,
    )


def decode(device: torch.device, small: bool) -> Iterator[Step]:
    """Images of the healed tokens, as the inferer makes them: the trunk once a draw, the head once a dropout pass.
    Reference: a whole decode for every image. Floor: our convolutions on their own, without bias or activation. All
    three do a few draws and are scaled alike."""
    size, widths, draws, decodes, few = (32, (8, 8, 16), 6, 2, 3) if small else (256, (128, 128, 256), 60, 5, 4)
    for layers in (3, 1):
        vqvae = VQVAE(2, 1, widths, layers, num_embeddings=256, embedding_dim=widths[0])
        grid = token_grid((size, size), vqvae)
        network = LatentPrior(vqvae, MaskedTransformer(256, grid, 8, 1, 1, "any")).to(device).eval()
        step = decode_step(network, codes_of(network.transformer, few, network.transformer.length), draws, decodes)
        floor = plain.bare_convolutions(step.ours)
        yield replace(step, name=f"decode, residual layers: {layers}", floor=floor)


def decode_step(network: LatentPrior, codes: Tensor, draws: int, decodes: int, seed: int = SEED) -> Step:
    """Decoding of codes i64 [n, L], all different, in the order of the inferer, which sorts them."""
    codes, grid = torch.unique(codes, dim=0), network.transformer.grid
    inferer, weight = KDEInferer(draws, decodes, alpha=SUSPECT_SHARE), draws / len(codes)

    @torch.no_grad()
    def ours() -> Tensor:
        return torch.cat(list(inferer._decode(network, codes, seed)))[:, 0]

    def each(_: Any) -> Tensor:  # the inferer seeds its dropout by one more than its draws
        return plain.decode_each(network.vqvae, codes.unflatten(1, grid), decodes, seed + 1)

    def check(ours: Tensor, plainly: dict[str, Any]) -> str:
        return agree("images", ours, plainly["decode"], 1e-4 * float(plainly["decode"].abs().max()))

    return Step(
        "decode",
        f"{draws} draws x {decodes}, {' x '.join(str(n * network.vqvae.factor) for n in grid)}",
        ours,
        weight=weight,
        reference={"decode": (each, weight)},
        scaled=f"{len(codes)} of {draws} draws; ours alike",
        check=check,
        target=">= 4.5 x, <= 1.5 x floor",
    )


def likelihood(device: torch.device, small: bool) -> Iterator[Step]:
    """The log-likelihood of every token, in one pass. Reference: MONAI's VQVAETransformerInferer.get_likelihood with
    its DecoderOnlyTransformer of the same size and weights, whose context is half the sequence: the first half takes
    one pass, every later token another over the window before it. Up to there both must agree. What is not finite is
    counted with these weights, and again with all logits times 100: a prior that is sure of what it says."""
    grid, more = ((4, 8), 4) if small else ((32, 32), 8)
    net = large_prior("raster", grid, device, small)
    tokens, window = codes_of(net, net.length), net.length // 2
    theirs = plain.monai_prior(net, window)
    slides = (net.length - window) / more
    entries = len(net.blocks) * net.length
    flops = plain.block_flops(net, entries, entries, (net.length + 1) / 2) + plain.logit_flops(net, net.length)

    def first(_: Any) -> Tensor:
        return plain.monai_likelihood(theirs, tokens[:window])

    def check(ours: Tensor, plainly: dict[str, Any]) -> str:
        told = agree(f"nats at {window} tokens", ours[0, :window], plainly["slides"][:window], NATS)
        pairs, sure = [(ours[0], plainly["slides"])], (copy.deepcopy(net), copy.deepcopy(theirs))
        for parameter in (*sure[0].head.parameters(), *sure[1].to_logits[1].parameters()):
            parameter.data.mul_(100)
        pairs += [(token_log_likelihood(sure[0], tokens[None])[0], plain.monai_likelihood(sure[1], tokens[:window]))]
        lost = [int((~p[:window].isfinite()).sum()) for pair in pairs for p in pair]
        return told + "; not finite: ours {}, MONAI's {}; at logits x 100: ours {}, MONAI's {}".format(*lost)

    yield Step(
        "likelihood",
        f"L = {net.length}, {shape_of(net)}",
        lambda: token_log_likelihood(net, tokens[None]),
        # the whole = the first window + slides x what a few more tokens take beside it
        reference={
            "first": (first, 1 - slides),
            "slides": (lambda _: plain.monai_likelihood(theirs, tokens[: window + more]), slides),
        },
        scaled=f"the first {window} tokens, then {more} of {net.length - window} more",
        check=check,
        floor_flops=flops,
        target=">= 100 x",
    )


def train(device: torch.device, small: bool) -> Iterator[Step]:
    """One training step of the VQ-VAE and of the prior, preset phantom2d. Floor: the VQ-VAE's convolutions on their
    own, forward and backward; all matrix products of the prior's step, the optimiser's too. There is no reference."""
    count, size, several = (2, 16, 2) if small else (16, 64, 8)
    settings = read_json(HOME / "configs" / "phantom2d.json") | {"image_size": [size, size]}
    parser = bundle(**settings)
    network = parser.get_parsed_content("network_def").to(device).train()
    vqvae, net, picture = network.vqvae, network.transformer, torch.rand(count, 1, size, size, device=device)
    one: Any = SimpleNamespace(state=SimpleNamespace(device=device), network=vqvae, amp=False)
    one.optimizer = torch.optim.Adam(vqvae.parameters(), parser["vqvae_learning_rate"])
    one.loss_function = ReconstructionLoss(parser["spectral_weight"])
    yield Step(
        "VQ-VAE step",
        f"batch {count} of {size} x {size}, widths {parser['vqvae_widths']}",
        lambda: vqvae_step(one, {"image": picture}),
        floor=plain.bare_convolutions(lambda: vqvae(picture), backward=True),
    )
    other: Any = SimpleNamespace(state=SimpleNamespace(device=device), network=PriorObjective(net), amp=False)
    other.optimizer, step = MuonAdamW(net), PriorStep()
    batch = {"tokens": codes_of(net, count, net.length), "suspect": torch.rand(count, net.length) < SUSPECT_SHARE}

    def steps() -> None:
        for other.state.iteration in range(1, several + 1):  # each draws the length of its prefix
            step(other, batch)

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        steps()
    flops = counter.get_total_flops() / several
    told = f"batch {count}, L = {net.length}, {shape_of(net)}; mean of {several} steps"
    yield Step("prior step", told, steps, weight=1 / several, floor_flops=flops)


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
    as_published = {"alpha": alpha, "threshold_times_uniform": None, "levels": [1.0], "at_once": 1}
    inferer = bundle(**as_published, **tiny).get_parsed_content("train::inferer")
    seed, voxels = inferer._generator(picture[0]).initial_seed(), spread_out(size * size, few_voxels)

    def flagged(_: Any = None) -> Tensor:
        return flag(net, network.tokens(picture), inferer.rules[0], inferer.looks)[0]

    suspect = flagged()
    heals = healing_step(net, tokens, suspect, inferer.draws, few, seed)
    healed = heals.ours()
    some = torch.unique(healed[:, 0], dim=0)[:few]
    decodes = decode_step(network, some, inferer.draws, inferer.decodes, seed)
    with torch.no_grad():
        recons = torch.cat(list(inferer._decode(network, healed[:, 0], seed)))[:, 0]
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
            net = parser.get_parsed_content("transformer").to(device).eval()
            suspect = suspects((n, n), "scattered", count).to(device)[None]
            step = healing_step(net, codes_of(net, 1, net.length), suspect, times, 1)
            yield replace(step, reference={}, scaled="", check=None, curve=curve, value=value)
    for n in (10**power for power in powers):
        x, r = torch.rand(1, 1, n, device=device), torch.rand(60, 1, 1, n, device=device)
        step = Step("density", f"60 reconstructions x {n} voxels", lambda x=x, r=r: kde_log_density(x, r))
        yield replace(step, curve="voxels", value=n)


# ---- parts ----


def bundle(**settings: Any) -> ConfigParser:
    """The config of the iltm bundle with some settings changed: its networks and inferer are built by their names."""
    return ConfigParser(read_json(HOME / "bundles" / "iltm" / "configs" / "train.json") | settings)


def large_prior(order: str, grid: Sequence[int], device: torch.device, small: bool) -> MaskedTransformer:
    """A large prior in eval mode; its random weights are large enough for every token of the context to matter."""
    width, depth, heads = (32, 2, 2) if small else (256, 12, 8)
    net = MaskedTransformer(256, grid, width, depth, heads, order).to(device).eval()
    for parameter in net.parameters():
        parameter.data.mul_(4 if parameter.ndim == 2 else 1)
    return net


def codes_of(net: MaskedTransformer, *shape: int) -> Tensor:
    """Random codes on the device of a prior."""
    codes = torch.randint(net.num_codes, shape, generator=torch.Generator().manual_seed(SEED))
    return codes.to(net.head.weight.device)


def suspects(grid: Sequence[int], kind: str, count: int | None = None) -> Tensor:
    """Suspects bool [L], 5 % or a count: "scattered" at random, or "clustered" about the middle of the grid."""
    rows, columns = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in grid), indexing="ij")
    rank = (rows.square() + columns.square()).flatten()
    if kind == "scattered":
        rank = torch.rand(len(rank), generator=torch.Generator().manual_seed(SEED))
    count = max(1, round(SUSPECT_SHARE * len(rank))) if count is None else count
    return torch.zeros(len(rank), dtype=torch.bool).scatter(0, rank.argsort()[:count], True)


def spread_out(count: int, few: int) -> list[int]:
    """``few`` of ``count`` indices: the middles of as many equal parts."""
    return [int((i + 0.5) * count / few) for i in range(few)]


def shape_of(net: MaskedTransformer) -> str:
    return f"{len(net.blocks)} layers x {net.embedding.embedding_dim}"


VERBS = {verb.__name__: verb for verb in (density, healing, decode, likelihood, train, image, scaling)}
