"""What the steps of the bench are timed on: the same at every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from monai_iltm.data.documents import read_json
from monai_iltm.engines.names import full_ids, short_name
from monai_iltm.networks import MaskedTransformer

HOME = Path(__file__).resolve().parents[1]
SEED = 0
SUSPECT_SHARE = 0.05


# Of the networks that are timed, where nothing else is said.
NETWORKS = {"vqvae_widths": [64, 64], "vqvae_residual_layers": 2, "num_codes": 64, "code_features": 32}


def bundle(**settings: Any) -> ConfigParser:
    """The config of the iltm bundle with settings by short name: its networks and inferer are built by their names."""
    own = HOME / "bundles" / "iltm"
    parser = ConfigParser(read_json(own / "configs" / "train.json"))
    parser.update({"bundle_root": str(own), **full_ids({**NETWORKS, **settings})})
    return parser


def preset(name: str) -> dict[str, Any]:
    """The settings of a file in configs/, by short name."""
    return {short_name(one): value for one, value in read_json(HOME / "configs" / f"{name}.json").items()}


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
