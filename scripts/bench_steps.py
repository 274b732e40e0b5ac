"""The steps of the bench: what is timed, against which reference, beside which floor."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import bench_reference as plain
import torch
import torch.nn.functional as F
from bench_inputs import SEED, codes_of, large_prior, shape_of, spread_out, suspects
from bench_measure import Step, agree, equal
from torch import Tensor

from monai_iltm.inferers.reconstructions import Reconstructions
from monai_iltm.networks import VQVAE, LatentPrior, MaskedTransformer, token_grid
from monai_iltm.ops.density import kde_log_density
from monai_iltm.ops.healing import heal
from monai_iltm.ops.likelihood import token_log_likelihood

DENSITY_OPERATIONS = 25  # a value: moments, squared distance, minimum, and the exponential as a polynomial
ROUGH = 0.05  # of the largest value, by which an image decoded in bfloat16 may differ
NATS = 1e-3  # by which a log-density or log-likelihood may differ from the reference's


def density(device: torch.device, small: bool) -> Iterator[Step]:
    """The kernel density estimate of every voxel. Reference: scikit-learn's, fitted to the reconstructions' values at
    one voxel after another. Floor: the reconstructions read once, or 25 operations a value, whichever takes longer."""
    image, recons = density_inputs(device, small)
    count, voxels, few = len(recons), recons.shape[-1], 20 if small else 300
    which = spread_out(voxels, few)
    columns = image[0, 0, which].cpu().numpy(), recons[:, 0, 0, which].cpu().numpy()
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


def density_inputs(device: torch.device, small: bool) -> tuple[Tensor, Tensor]:
    """An image [1, 1, V], its values from the mode to far out, and its reconstructions [N, 1, 1, V]."""
    count, voxels = (20, 4000) if small else (300, 1_000_000)
    generator = torch.Generator().manual_seed(SEED)
    middle, spread = torch.rand(2, voxels, generator=generator)
    recons = torch.randn(count, 1, 1, voxels, generator=generator).mul_(0.2 * spread).add_(middle)
    image = (middle + 0.3 * torch.randn(voxels, generator=generator)).view(1, 1, -1)
    return image.to(device), recons.to(device)


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
    three do a few draws and are scaled alike; ours also in bfloat16 (`amp`), floor alike, the reference in float32.
    Where clustered suspects alone are redrawn, what they do not reach is decoded once for all draws; ours then does all
    draws. Told beside: how far one token reaches, in pixels, and the share of the image within reach of 5 % suspects.
    Where that is nearly all, as for scattered ones, there is nothing to leave out."""
    size, widths, draws, decodes, few = (32, (8, 8, 16), 6, 2, 3) if small else (256, (128, 128, 256), 60, 5, 4)
    for layers in (3, 1):
        vqvae = VQVAE(2, 1, widths, layers, num_embeddings=256, embedding_dim=widths[0])
        grid = token_grid((size, size), vqvae)
        network = LatentPrior(vqvae, MaskedTransformer(256, grid, 8, 1, 1, "any")).to(device).eval()
        codes, told = codes_of(network.transformer, draws, network.transformer.length), in_reach(network.vqvae, grid)
        kinds = {"": codes[:few]}
        if layers == 1:  # what three layers reach from the cluster is the whole image
            kinds[", clustered"] = torch.where(suspects(grid, "clustered").to(device), codes, codes[0])
        for kind, amp in itertools.product(kinds, (False, True)):
            step = decode_step(network, kinds[kind], draws, decodes, few, amp=amp)
            floor = plain.bare_convolutions(step.ours, amp=amp)
            name, check = named(f"decode, residual layers: {layers}{kind}", amp), partial(both, step.check, told)
            target = ">= 10 x, <= 1.5 x floor" if kind else step.target
            yield replace(step, name=name, floor=floor, check=check, target=target)


@torch.no_grad()
def in_reach(vqvae: VQVAE, grid: Sequence[int]) -> str:
    """How far a token in the middle changes the image, and the share of it that suspects change, in words."""
    codes = torch.zeros(2, *grid, dtype=torch.long, device=vqvae.codebook.embedding.weight.device)
    codes[(1, *(n // 2 for n in grid))] = 1
    first, second = vqvae.decode(vqvae.embed(codes))
    rows = (first != second).any(0).any(1).nonzero()
    pixels = int(rows.max() - rows.min()) + 1
    margin = math.ceil((pixels / vqvae.factor - 1) / 2)
    shares = []
    for kind in ("scattered", "clustered"):
        suspect = suspects(grid, kind).float().view(1, 1, *grid)
        shares.append(f"{F.max_pool2d(suspect, 2 * margin + 1, 1, margin).mean():.0%} {kind}")
    return f"a token reaches {pixels} pixels, suspects {' or '.join(shares)} of the image"


def named(name: str, amp: bool) -> str:
    return f"{name}, bfloat16" if amp else name


def both(check: Any, told: str, ours: Tensor, plainly: dict[str, Any]) -> str:
    return f"{check(ours, plainly)}; {told}"


def decode_step(
    network: LatentPrior, codes: Tensor, draws: int, decodes: int, few: int, seed: int = SEED, amp: bool = False
) -> Step:
    """Decoding of codes i64 [n, L], all different, in the order of ``Reconstructions``, which sorts them; the reference
    decodes a few of them."""
    codes, grid = torch.unique(codes, dim=0), network.transformer.grid

    @torch.no_grad()
    def ours() -> Tensor:
        return torch.cat(list(Reconstructions(network, codes, decodes, seed, amp, keep_gib=0.0)))[:, 0]

    def each(_: Any) -> Tensor:  # they seed their dropout by one more than the draws'
        return plain.decode_each(network.vqvae, codes[:few].unflatten(1, grid), decodes, seed + 1)

    def check(ours: Tensor, plainly: dict[str, Any]) -> str:
        allowed, whole = ROUGH if amp else 1e-4, plainly["decode"]
        return agree("images", ours[: len(whole)], whole, allowed * float(whole.abs().max()))

    return Step(
        "decode",
        f"{draws} draws x {decodes}, {' x '.join(str(n * network.vqvae.factor) for n in grid)}",
        ours,
        weight=draws / len(codes),
        reference={"decode": (each, draws / few)},
        scaled=f"{few} of {draws} draws{'; ours alike' if len(codes) == few else ''}",
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
