"""Before anything long starts: how much memory each stage will take, and what is chosen so that it fits."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from math import prod
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from monai_iltm.data.documents import read_json
from monai_iltm.data.errors import InputError
from monai_iltm.distributed import is_main, trainers
from monai_iltm.engines.footprint import Line, free_bytes, line_of, resident_bytes
from monai_iltm.engines.method import SCORING, Method
from monai_iltm.engines.optimiser import MuonAdamW
from monai_iltm.engines.rules import BATCH_SIZE, require_possible
from monai_iltm.engines.step import TrainStep
from monai_iltm.inferers.kde import MOST_HELD
from monai_iltm.inferers.reconstructions import MOST_AT_ONCE
from monai_iltm.losses import VQVAELoss
from monai_iltm.networks import VQVAE, LatentPrior, MaskedTransformer
from monai_iltm.networks.attention import holds_weights
from monai_iltm.ops.flagging import flag, flag_rule
from monai_iltm.ops.healing import heal
from monai_iltm.store import RunFolder

GIB, FLOAT = 2**30, 4
CACHE_RATE, KEEP_GIB = "stages::vqvae::train::dataset::cache_rate", "inferer::keep_gib"
# What the steps are tried with: by its short name, and where it stands.
NUMBERS = {
    **{name: (SCORING, f"inferer::{name}") for name in ("draws", "decodes", "at_once")},
    "image_size": (SCORING, "images::size"),
    "image_channels": (SCORING, "images::channels"),
    "vqvae_batch_size": ("vqvae", BATCH_SIZE),
    "prior_batch_size": ("prior", BATCH_SIZE),
    "spectral_weight": ("vqvae", "loss::spectral_weight"),
    "cache_rate": ("vqvae", "train::dataset::cache_rate"),
    "augmented_versions": ("prior", "train::dataset::data::versions"),
}
# A stage is tried with at most so many voxels and tokens; more are predicted along the line through two such tries.
VOXELS, TOKENS = (2**15, 2**17), (2**8, 2**10)
# What a CPU's process takes beside the tensors, as the bench of memory saw it on two kinds of CPU: what libraries hold,
# and how many times the tensors' bytes the C library keeps, which does not give everything back that is free.
LIBRARIES = {"VQ-VAE": 60 * 2**20, "prior": 50 * 2**20, "scoring": 200 * 2**20}
KEPT = {"VQ-VAE": 1.4, "raster": 1.33, "any": 1.55, "any, weights held": 2.0, "scoring": 1.4}
FLAGGED = 0.25  # share of the tokens that one image's healing is expected to redraw at most


def plan(
    run: RunFolder,
    method: Method,
    settings: Mapping[str, Any],
    network: LatentPrior,
    device: torch.device,
    memory_gib: float | None = None,
) -> dict[str, Any]:
    """The settings, with ``CACHE_RATE`` lowered, ``KEEP_GIB`` chosen and ``side_by_side`` taken back, so that all fits.

    Args:
        run: begun; stages whose result it holds are left out. method: ILTM's stages, "vqvae" and "prior".
        settings: by id, as the rounds have them.
        network: untrained, on the CPU; it is not changed.
        memory_gib: all that this process may take, GiB; None: what is free, shared with this machine's other ranks.

    Raises InputError for a stage that does not fit whatever is chosen, with the batch size that would, and for settings
    that a later stage would refuse. Cost: a few steps at small sizes, seconds. Prints a line, where memory is known.
    """
    require_possible(method, settings)  # a draw too few would not even be tried
    there, resident = free_bytes(device), resident_bytes(device)
    if there is None or resident is None:
        return dict(settings)
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if device.type == "cpu" else 1
    budget = memory_gib * GIB if memory_gib else resident + there / ranks
    training = budget if memory_gib or trainers() > 1 else resident + there
    chosen, needs, numbers = dict(settings), {}, numbers_of(method, settings)
    rate = numbers["cache_rate"]
    image = numbers["image_channels"] * prod(numbers["image_size"]) * FLOAT
    if not (run.vqvae / "model.pt").is_file():
        step = vqvae_step_bytes(network.vqvae, network.transformer.grid, numbers, device)
        batch, size = _own_batch(numbers["vqvae_batch_size"]), prod(numbers["image_size"])
        needs["VQ-VAE"] = resident + step.at(batch * size)
        _require("VQ-VAE", needs["VQ-VAE"], training, "vqvae_batch_size", step, training - resident, size)
        cached = len(read_json(run.datalist)["training"]) * image
        room = (training - needs["VQ-VAE"]) / cached
        chosen[CACHE_RATE] = rate = round(max(0.0, min(numbers["cache_rate"], room - 0.01)), 2)
        needs["VQ-VAE"] += rate * cached
    step = prior_step_bytes(network.transformer, numbers, device)
    batch, size = _own_batch(numbers["prior_batch_size"]), network.transformer.length
    variants = 2 * (1 + numbers["augmented_versions"]) * image
    needs["prior"] = resident + max(step.at(batch * size), variants)
    _require("prior", needs["prior"], training, "prior_batch_size", step, training - resident, size)
    chosen["side_by_side"] = settings.get("side_by_side", True) and needs["prior"] <= budget
    least, most = scoring_bytes(network, numbers, device)
    _require("scoring", resident + least, budget)
    needs["scoring"] = min(resident + least + most, budget)
    chosen[KEEP_GIB] = round((needs["scoring"] - resident - least) / GIB, 2)
    _tell(needs, budget, training, rate)
    return chosen


def numbers_of(method: Method, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``NUMBERS`` and ``amp``, as ILTM's stages have them with these settings."""
    numbers = {name: method.value(part, one, settings) for name, (part, one) in NUMBERS.items()}
    return {**numbers, "amp": bool(settings.get("amp"))}


def _tell(needs: Mapping[str, float], budget: float, training: float, cache_rate: float) -> None:
    if not is_main():
        return
    told = ", ".join(f"{name} {need / GIB:.1f}" for name, need in needs.items())
    room = f"{budget / GIB:.1f} a process" + (f", {training / GIB:.1f} to train" if training > budget else "")
    print(f"memory, GiB of {room}: {told}; {cache_rate:.0%} of the images held")


def vqvae_step_bytes(vqvae: VQVAE, grid: Sequence[int], settings: Mapping[str, Any], device: torch.device) -> Line:
    """What one training step takes, over the voxels of a batch; a perceptual loss is not counted."""

    def attempt(batch: int, cells: Sequence[int]) -> None:
        images = torch.rand(batch, vqvae.in_channels, *(n * vqvae.factor for n in cells), device=device)
        train_vqvae(vqvae, images, settings)

    line = line_of(attempt, _own_batch(settings["vqvae_batch_size"]), grid, vqvae.factor ** len(grid), VOXELS, device)
    times = KEPT["VQ-VAE"] if len(grid) == 3 and not settings["amp"] else 1.0
    return line.held(times, LIBRARIES["VQ-VAE"])


def train_vqvae(vqvae: VQVAE, images: Tensor, settings: Mapping[str, Any]) -> None:
    """Two training steps of a copy: the second has the optimiser's state."""
    net = copy.deepcopy(vqvae).to(images.device)
    state = SimpleNamespace(device=images.device, iteration=0)
    engine = SimpleNamespace(network=VQVAELoss(net, settings["spectral_weight"]), amp=settings["amp"], state=state)
    engine.optimizer = torch.optim.Adam(net.parameters())
    for _ in range(2):
        TrainStep()(engine, {"image": images})


def prior_step_bytes(transformer: MaskedTransformer, settings: Mapping[str, Any], device: torch.device) -> Line:
    """What one training step takes, over the tokens of a batch."""

    def attempt(batch: int, cells: Sequence[int]) -> None:
        net = _on_grid(transformer, cells).to(device)
        tokens = torch.zeros(batch, net.length, dtype=torch.long, device=device)
        train_prior(net, tokens, _some(tokens), settings["amp"])

    line = line_of(attempt, _own_batch(settings["prior_batch_size"]), transformer.grid, 1, TOKENS, device)
    kind, length = transformer.order, transformer.length
    if kind == "any" and settings["amp"] and holds_weights(device, torch.bfloat16, length, length):
        kind = "any, weights held"
    return line.held(KEPT[kind], LIBRARIES["prior"])


def train_prior(net: MaskedTransformer, tokens: Tensor, suspect: Tensor, amp: bool) -> None:
    """Four training steps, whose share of targets, and their kind, are the same at every size.

    ``PriorStep`` draws these after numbers for all tokens, so that two sizes would not be comparable.
    """
    net, optimizer = net.train(), MuonAdamW(net)
    for seed in range(4):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(tokens.device.type, dtype=torch.bfloat16, enabled=amp):
            loss = net.loss(tokens, suspect, torch.Generator().manual_seed(seed))
        loss.backward()
        optimizer.step()


def scoring_bytes(network: LatentPrior, settings: Mapping[str, Any], device: torch.device) -> tuple[float, float]:
    """What scoring one image takes at least, and what keeping all of the decoder's features would add."""
    vqvae, net = copy.deepcopy(network.vqvae).to(device).eval(), network.transformer
    draws, decodes, voxels = settings["draws"], settings["decodes"], prod(settings["image_size"])
    image = voxels * settings["image_channels"] * FLOAT
    several = min(draws, max(1, MOST_AT_ONCE // voxels))
    masks = vqvae.head_masks(decodes, torch.Generator())

    @torch.no_grad()
    def attempt(batch: int, cells: Sequence[int]) -> None:
        codes = torch.zeros(batch, *cells, dtype=torch.long, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings["amp"]):
            vqvae.decode_heads(vqvae.decode_trunk(vqvae.embed(codes)), masks).float()

    decoding = line_of(attempt, several, net.grid, vqvae.factor ** len(net.grid), VOXELS, device).at(several * voxels)
    values = draws * decodes * image
    whole = values <= MOST_HELD * FLOAT
    wide = FLOAT // 2 if settings["amp"] else FLOAT
    features = draws * vqvae.head.in_channels * (voxels / 2 ** len(net.grid)) * wide
    density = values if whole else 2 * several * decodes * image
    healing = healing_bytes(net, settings, device).at(net.length)
    tensors = max(healing, decoding + density) + 8 * image
    return KEPT["scoring"] * tensors + LIBRARIES["scoring"], 0.0 if whole else features


def healing_bytes(transformer: MaskedTransformer, settings: Mapping[str, Any], device: torch.device) -> Line:
    """What it takes to flag one image's tokens and to redraw a share ``FLAGGED`` of them, over the number of tokens."""

    def attempt(_: int, cells: Sequence[int]) -> None:
        net = _on_grid(transformer, cells).to(device).eval()
        tokens = torch.zeros(1, net.length, dtype=torch.long, device=device)
        flag(net, tokens, flag_rule(threshold_times_uniform=1.0), looks=1)
        heal(net, tokens, _some(tokens), settings["draws"], torch.Generator(), settings["at_once"])

    return line_of(attempt, 1, transformer.grid, 1, TOKENS, device)


def _own_batch(batch: int) -> int:
    """This rank's part of a global batch, at most."""
    return -(-batch // trainers())


def _some(tokens: Tensor) -> Tensor:
    """Every so many positions, bool like the tokens: a share of ``FLAGGED``."""
    return (torch.arange(tokens.shape[1], device=tokens.device) % int(1 / FLAGGED) == 0).expand_as(tokens)


def _on_grid(net: MaskedTransformer, grid: Sequence[int]) -> MaskedTransformer:
    """An untrained transformer like this one, on another grid."""
    width, depth, heads = net.embedding.embedding_dim, len(net.blocks), net.layers()[0].heads
    return MaskedTransformer(net.num_codes, grid, width, depth, heads, net.order, net.dropout.p, net.groups)


def _require(
    stage: str, need: float, budget: float, name: str = "", step: Line | None = None, room: float = 0.0, size: int = 1
) -> None:
    if need <= budget:
        return
    told = f"{stage} needs {need / GIB:.1f} GiB, {budget / GIB:.1f} are there: "
    # A hundredth less: with that batch the line will be drawn through other tries.
    fitting = int(0.99 * (room - step.base) / (step.slope * size)) if step and step.slope else 0
    if fitting >= 1:
        raise InputError(told + f"--{name} {fitting * trainers()} would fit")
    raise InputError(told + ("smaller images" if step else "fewer draws, or smaller images"))
