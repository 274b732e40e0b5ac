"""Before stage 2: images to tokens once, with their masks on the tokens' grid, and the weights it begins from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import PathLike
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import Tensor
from tqdm import tqdm

from monai_iltm.data.errors import InputError
from monai_iltm.data.weights import load_weights, read_saved, save_in_one_step
from monai_iltm.distributed import gathered, own_share
from monai_iltm.handlers.epochs import draws_bars, redraw_seconds
from monai_iltm.handlers.finite import advice
from monai_iltm.inferers.reconstructions import MOST_AT_ONCE
from monai_iltm.networks import LatentPrior
from monai_iltm.ops.tokens import pool_mask

MOST_EQUAL = 0.99  # share of the positions at which all images may have one token; background is less


@torch.no_grad()
def encode_cases(
    network: LatentPrior,
    cases: Sequence[dict[str, Any]],
    preprocessing: Compose,
    device: torch.device,
    augmentation: Compose | None = None,
    versions: int = 0,
    pool_mode: str = "area",
    pool_cut: float = 0.5,
    seed: int = 0,
    store: PathLike | None = None,
) -> list[dict[str, Tensor]]:
    """Tokens i64 [L] and suspect bool [L] of every case, as it is and in ``versions`` random variants.

    A mask (key "mask", True = suspect) goes through the same geometry as its image and is then pooled to the grid; a
    case without one has no suspect. A variant depends on seed, case id and its number alone. Several ranks share the
    work. Held in memory: 9 L bytes an entry.

    ``store``: a folder for the tokens of these networks, data and settings; what lies there is not encoded again, and
    of an image whose tokens are known its mask alone is turned; what is damaged there is made anew, with a word. 2 L
    bytes an entry. None: nothing is kept.

    Raises InputError where the images have one and the same tokens: the VQ-VAE has collapsed.
    """
    if not len(cases):
        return []
    network = network.to(device).eval()
    entries = []
    own, hidden = own_share(list(cases)), not draws_bars()
    for case in tqdm(own, "encoding", unit="case", leave=False, disable=hidden, mininterval=redraw_seconds()):
        name = str(case.get("case", case["image"]))
        path = None if store is None else Path(store) / f"{name}.pt"
        tokens = _stored(path, network, 1 + (versions if augmentation is not None else 0))
        items: list[dict[str, Tensor]] = [{}]
        if tokens is None or "mask" in case:
            keys = ("image", "mask") if tokens is None else ("mask",)
            items = _variants(preprocessing(case), keys, name, augmentation, versions, seed)
        if tokens is None:
            tokens = _encoded(network, torch.stack([item["image"] for item in items]), device)
            if path:
                save_in_one_step(path, {"tokens": tokens.to(torch.uint16)})  # no codebook has 65,536 codes
        suspect = torch.zeros_like(tokens, dtype=torch.bool)
        if "mask" in items[0]:
            masks = torch.stack([item["mask"] for item in items])
            suspect = pool_mask(masks > 0, network.transformer.grid, pool_mode, pool_cut).flatten(1)  # [B, L]
        entries.append([{"tokens": t, "suspect": s} for t, s in zip(tokens, suspect, strict=True)])
    cases_entries = gathered(entries)
    _require_alive(torch.stack([case[0]["tokens"] for case in cases_entries]))
    return [entry for case in cases_entries for entry in case]


def load_start(
    network: LatentPrior, vqvae_weights: PathLike, start_weights: PathLike | None = None, required: bool = True
) -> None:
    """The VQ-VAE's weights from stage 1, and, for a warm start, everything from an earlier round's model.

    required: False leaves the network as it is where stage 1 has left nothing yet.
    """
    if not required and not Path(vqvae_weights).is_file():
        return
    load_weights(network.vqvae, vqvae_weights)
    if start_weights is not None:
        load_weights(network, start_weights)


def _require_alive(tokens: Tensor) -> None:
    """Tokens i64 [cases, L] of several images must differ somewhere, or nothing that follows means anything."""
    equal = (tokens == tokens[0]).all(0).float().mean()
    if len(tokens) > 1 and equal > MOST_EQUAL:
        raise InputError(
            f"the VQ-VAE has collapsed: {len(tokens)} images have the same token at {equal:.1%} of the positions; "
            f"another --seed or more --vqvae_epochs may help too; {advice(['vqvae_learning_rate'])}"
        )


def _encoded(network: LatentPrior, images: Tensor, device: torch.device) -> Tensor:
    """Tokens i64 [B, L] on the CPU of images f32 [B, C, *S], a few at a time."""
    several = max(1, MOST_AT_ONCE // images[0, 0].numel())
    parts = [network.tokens(part.to(device)).cpu() for part in images.split(several)]
    return convert_to_tensor(torch.cat(parts), track_meta=False)


def _stored(path: Path | None, network: LatentPrior, count: int) -> Tensor | None:
    """The tokens in a file, i64 [count, L], None where there is none, or one that is not of this network and run."""
    if path is None or not path.is_file():
        return None
    shape, codes = (count, network.transformer.length), network.transformer.num_codes
    try:
        tokens = read_saved(path)["tokens"].long()
        if tokens.shape != shape or not 0 <= tokens.min() <= tokens.max() < codes:
            raise ValueError
    except Exception:  # whatever stands there instead
        tqdm.write(f"{path}: damaged, or of another run: made anew")
        return None
    return tokens


def _variants(
    item: dict[str, Any], keys: tuple[str, ...], case: str, augmentation: Compose | None, versions: int, seed: int
) -> list[dict[str, Tensor]]:
    """The image and its mask, those of ``keys`` that are there, as they are and in random variants, as plain tensors.

    A key moves alike whether the other is there or not.
    """
    plain: dict[str, Tensor] = {key: convert_to_tensor(item[key], track_meta=False) for key in keys if key in item}
    items = [plain]
    if augmentation is None:
        return items
    for version in range(1, versions + 1):
        augmentation.set_random_state(seed=_variant_seed(seed, case, version))
        items.append(augmentation(dict(plain)))
    return items


def _variant_seed(seed: int, case: str, version: int) -> int:
    name = f"{seed}/{case}/{version}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "little")
