"""What bench.py holds the package against: plain references that do what the published research code does, and floors.

A reference takes no short cut: every voxel has an estimate of its own, every suspect of every draw sends the whole
prefix through the network again, every reconstruction is a whole decode. Networks and attention are the package's own,
so that what is compared is the work and not the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers import VQVAETransformerInferer
from monai.networks.nets import DecoderOnlyTransformer
from monai.utils.ordering import Ordering
from sklearn.neighbors import KernelDensity
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from monai_iltm.networks import VQVAE, MaskedTransformer
from monai_iltm.networks.attention import attend_last
from monai_iltm.networks.prefix import joint, marginal


def voxel_by_voxel(x: np.ndarray, recons: np.ndarray, bandwidth_floor: float) -> Tensor:
    """Log-density f64 [V], nats, of x f32 [V] among recons f32 [N, V]: scikit-learn's, one voxel after another."""
    log_density = []
    for value, values in zip(x, recons.T, strict=True):
        h = values.std(dtype=np.float64) * (4 / (3 * len(values))) ** 0.2 + bandwidth_floor
        log_density += KernelDensity(bandwidth=h).fit(values[:, None]).score_samples([[value]]).tolist()
    return torch.tensor(log_density, dtype=torch.float64)


def code_of(logits: Tensor, dice: Tensor) -> Tensor:
    """The code i64 [] that one die in [0, 1) picks from the distribution of logits [K]."""
    return (logits.double().softmax(-1).cumsum(-1) <= dice).sum().clamp(max=len(logits) - 1)


@torch.no_grad()
def redraw_raster(
    net: MaskedTransformer, healed: Tensor, suspect: Tensor, where: Tensor, dice: Tensor, steps: Iterable[int]
) -> Tensor:
    """Codes of one draw at some of its suspects, each from the whole prefix of healed tokens, BOS first.

    healed: i64 [L]; suspect: bool [L]; where: i64 [S], the suspects in rising order; dice: f32 [S]; steps: indices
    into both.
    """
    codes = []
    for step in steps:
        prefix = F.pad(healed[: where[step]], (1, 0), value=net.bos)[None]
        x = net.entries(prefix, torch.arange(prefix.shape[1], device=healed.device)[None])
        for block in net.layers():
            x = block.update(x, attend_last(*block.project(x)))
        codes.append(code_of(net.logits(x)[0, -1], dice[step]))
    return torch.stack(codes)


@torch.no_grad()
def redraw_any(
    net: MaskedTransformer, healed: Tensor, suspect: Tensor, where: Tensor, dice: Tensor, steps: Iterable[int]
) -> Tensor:
    """Codes of one draw at some of its suspects, each from a new prefix: all trusted tokens and those drawn before.

    healed: i64 [L]; suspect: bool [L]; where: i64 [S], the suspects in the order of this draw; dice: f32 [S].
    """
    codes = []
    for step in steps:
        known = ~suspect
        known[where[:step]] = True
        logits = marginal(net, healed[None], known[None], where[None, step : step + 1])
        codes.append(code_of(logits[0, 0], dice[step]))
    return torch.stack(codes)


@torch.no_grad()
def joint_codes(net: MaskedTransformer, healed: Tensor, suspect: Tensor, where: Tensor, dice: Tensor) -> Tensor:
    """Codes i64 [S] that one draw must have filled in, by one pass over all of it (the joint law, no cache)."""
    logits = joint(net, healed[None], ~suspect[None], where[None])[0]
    return torch.stack([code_of(*pair) for pair in zip(logits, dice, strict=True)])


@torch.no_grad()
def decode_each(vqvae: VQVAE, codes: Tensor, decodes: int, seed: int) -> Tensor:
    """Codes i64 [n, *g] to images [n decodes, C, *S]: a whole decode for every image, one at a time."""
    kept = vqvae.head_masks(decodes, torch.Generator().manual_seed(seed)) / (1 - vqvae.head_dropout)
    images = []
    for one in codes:
        for row in kept.to(codes.device):
            features = vqvae.decode_trunk(vqvae.embed(one[None]))
            images.append(vqvae.decode_head(features * row.view(1, -1, *[1] * (codes.ndim - 1))))
    return torch.cat(images)


@torch.no_grad()
def monai_prior(net: MaskedTransformer, window: int) -> DecoderOnlyTransformer:
    """MONAI's transformer with the weights of a raster prior, its context ``window`` tokens: up to there it is equal.

    MONAI's has no bias on queries, keys and values, no norm before its logits and a logit for BOS: the biases must be
    0, the norm is put in front of its last layer, and BOS has a logit that no other comes near.
    """
    width, codes = net.embedding.embedding_dim, net.num_codes
    prior = DecoderOnlyTransformer(codes + 1, window, width, len(net.blocks), net.blocks[0].heads)
    prior = prior.to(net.embedding.weight.device).eval()
    prior.token_embeddings.weight.copy_(net.embedding.weight[: codes + 1])
    where = torch.arange(window, device=net.embedding.weight.device)
    rows, columns = (table.weight for table in net.axes)
    prior.position_embeddings.embedding.weight.copy_(rows[where // len(columns)] + columns[where % len(columns)])
    for theirs, block in zip(prior.blocks, net.layers(), strict=True):
        for part, weight in zip(
            (theirs.attn.to_q, theirs.attn.to_k, theirs.attn.to_v), block.qkv.weight.chunk(3), strict=True
        ):
            part.weight.copy_(weight)
        pairs = [
            (theirs.norm1, block.norm_attention),
            (theirs.attn.out_proj, block.out),
            (theirs.norm2, block.norm_mlp),
        ]
        pairs += [(theirs.mlp.linear1, block.mlp[0]), (theirs.mlp.linear2, block.mlp[2])]
        for part, own in pairs:
            part.load_state_dict(own.state_dict())
    prior.to_logits.weight[:codes], prior.to_logits.bias[:codes] = net.head.weight, net.head.bias
    prior.to_logits.weight[codes], prior.to_logits.bias[codes] = 0, -1e4
    prior.to_logits = nn.Sequential(net.norm, prior.to_logits)
    return prior


def monai_likelihood(prior: DecoderOnlyTransformer, codes: Tensor) -> Tensor:
    """MONAI's log-likelihood f32 [n] of a sequence of codes i64 [n]; the VQ-VAE it asks for only hands them over."""
    vqvae: Any = SimpleNamespace(index_quantize=lambda inputs: inputs, num_embeddings=prior.num_tokens - 1)
    ordering = Ordering("raster_scan", 2, (1, 1, len(codes)))
    return VQVAETransformerInferer().get_likelihood(codes.view(1, 1, -1), vqvae, prior, ordering).flatten()


def block_flops(net: MaskedTransformer, stored: float, updated: float, keys: float) -> float:
    """Operations of the matrix products in blocks of width W; a multiply-add is two.

    stored: times that an entry becomes a key and a value, 4 W^2 each; updated: times that it looks at ``keys`` others
    and goes through the rest of a block, 20 W^2 + 4 W keys.
    """
    width = net.embedding.embedding_dim
    return stored * 4 * width**2 + updated * (20 * width**2 + 4 * width * keys)


def logit_flops(net: MaskedTransformer, entries: int) -> float:
    return entries * 2 * net.embedding.embedding_dim * net.num_codes


def healing_flops(net: MaskedTransformer, suspect: Tensor, draws: int) -> tuple[int, float]:
    """Entries and operations that healing the suspects bool [L] of one case cannot avoid.

    Raster: what precedes the first suspect is shared by all draws, what follows the last informs nobody. Any: the
    trusted prefix once (BOS is its first), then the content and the query of every suspect and draw; no query is a
    key. In the last block only what has an output is updated.
    """
    depth, where = len(net.blocks), suspect.nonzero()[:, 0]
    count, first, last = len(where), int(where[0]) + 1, int(where[-1]) + 1
    if net.order == "raster":
        own = draws * (last - first)
        entries, flops = first + own, block_flops(net, depth * first, (depth - 1) * first + 1, (first + 1) / 2)
        outputs = draws * (count - 1)
        flops += block_flops(net, depth * own, (depth - 1) * own + outputs, (first + last + 1) / 2)
    else:
        prefix, contents, queries = len(suspect) - count + 1, draws * (count - 1), draws * count
        entries, kept = prefix + contents + queries, prefix + contents
        flops = block_flops(net, depth * kept, (depth - 1) * kept + depth * queries, prefix)
    return entries, flops + logit_flops(net, draws * count)


class Convolutions(TorchFunctionMode):
    """Remembers every convolution that is called: the function, its inputs and gradients, and what else it was told."""

    def __init__(self, backward: bool) -> None:
        self.backward = backward
        self.calls: list[tuple[Callable[..., Tensor], tuple[Any, ...], tuple[Tensor, ...], Tensor]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if function in (F.conv2d, F.conv_transpose2d):
            x, weight, _, *others = args
            x = x.detach().clone().requires_grad_(self.backward and x.requires_grad)
            weight = weight.detach().clone().requires_grad_(self.backward)
            wanted = (x, weight) if x.requires_grad else (weight,)
            self.calls.append((function, (x, weight, None, *others), wanted, torch.ones_like(output)))
        return output


def bare_convolutions(run: Callable[[], Any], backward: bool = False, amp: bool = False) -> Callable[[], None]:
    """The 2D convolutions that one ``run`` makes, on their own: no bias, activation, dropout or norm.

    With ``backward`` also their gradients, of the weights always, of the input where the run needed it; with ``amp`` in
    bfloat16, as autocast has it.
    """
    with Convolutions(backward) as seen:
        run()

    def floor() -> None:
        for function, inputs, wanted, gradient in seen.calls:
            with torch.autocast(gradient.device.type, torch.bfloat16, enabled=amp):
                output = function(*inputs)
            if backward:
                torch.autograd.grad(output, wanted, gradient.to(output.dtype))

    return floor
