"""Order "any": what a set of trusted tokens, the prefix, says of tokens outside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_iltm.networks.attention import attend, attend_last
from monai_iltm.networks.token_transformer import TokenTransformer
from monai_iltm.ops.tokens import pack


@dataclass(frozen=True)
class Prefix:
    """What trusted tokens offer to queries: keys and values [B, H, P + 1, d] a layer, BOS first.

    ``visible`` is bool [B, 1, 1, P + 1], False = padding; None where no row is padded.
    """

    layers: list[tuple[Tensor, Tensor]]
    visible: Tensor | None


def prefix(transformer: TokenTransformer, tokens: Tensor, trusted: Tensor) -> Prefix:
    """Keys and values of the trusted tokens, which see each other in both directions, and of BOS.

    Args:
        tokens: i64 [B, L]; trusted: bool [B, L], True = part of the prefix.
    """
    x, visible = _entries(transformer, tokens, trusted)
    layers = []
    for block in transformer.layers():
        q, k, v = block.project(x)
        layers.append((k, v))
        if block is not transformer.blocks[-1]:  # what leaves the last block is read by nobody
            x = block.update(x, attend(q, k, v, visible))
    return Prefix(layers, visible)


def marginal(
    transformer: TokenTransformer, tokens: Tensor, trusted: Tensor, where: Tensor, multiple: int = 1
) -> Tensor:
    """Logits [B, n, K] of the tokens at ``where`` i64 [B, n], each from the prefix alone; arguments as ``prefix`` has.

    Queries look at the keys that the prefix looks at, so both go through a block as one. The prefix is padded to a
    ``multiple`` of tokens, which changes no logit.
    """
    x, visible = _entries(transformer, tokens, trusted, multiple)
    m = x.shape[1]
    x = torch.cat([x, transformer.entries(torch.full_like(where, transformer.mask), where)], 1)
    for block in transformer.layers():
        q, k, v = block.project(x)
        if block is transformer.blocks[-1]:
            q, x = q[:, :, m:], x[:, m:]
        x = block.update(x, attend(q, k[:, :, :m], v[:, :, :m], visible))
    return transformer.logits(x)


def joint(transformer: TokenTransformer, tokens: Tensor, trusted: Tensor, where: Tensor, multiple: int = 1) -> Tensor:
    """Logits as ``marginal`` has them, but the i-th token is also told which tokens stand at the i places before it."""
    x, visible = _entries(transformer, tokens, trusted, multiple)
    m, n = x.shape[1], where.shape[1]
    codes = torch.cat([tokens.gather(1, where), torch.full_like(where, transformer.mask)], 1)
    x = torch.cat([x, transformer.entries(codes, where.repeat(1, 2))], 1)  # prefix, the tokens at ``where``, queries
    dropped = None if visible is None else F.pad(~visible[:, 0, 0], (0, n))
    earlier = None if dropped is None else dropped[:, :-1]
    for block in transformer.layers():
        q, k, v = block.project(x)
        k, v = k[:, :, : m + n], v[:, :, : m + n]
        attended = [attend_last(q[:, :, m + n :], k[:, :, :-1], v[:, :, :-1], earlier)]
        if block is transformer.blocks[-1]:
            x = x[:, m + n :]
        else:
            first = attend(q[:, :, :m], k[:, :, :m], v[:, :, :m], visible)
            attended = [first, attend_last(q[:, :, m : m + n], k, v, dropped), *attended]
        x = block.update(x, torch.cat(attended, 2))
    return transformer.logits(x)


def _entries(
    transformer: TokenTransformer, tokens: Tensor, trusted: Tensor, multiple: int = 1
) -> tuple[Tensor, Tensor | None]:
    """BOS and the trusted tokens as entries [B, P + 1, W], and which are no padding, as ``Prefix.visible``."""
    where, valid = pack(trusted, multiple)
    bos = transformer.embedding.weight[transformer.bos].expand(len(tokens), 1, -1)
    visible = None if valid is None else F.pad(valid, (1, 0), value=True)[:, None, None]
    return torch.cat([bos, transformer.entries(tokens.gather(1, where), where)], 1), visible
