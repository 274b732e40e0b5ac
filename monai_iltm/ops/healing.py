"""Redraw every suspect token from the prior, many times; trusted tokens stay as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_iltm.ops.tokens import check_tokens, pack, uniform


@torch.no_grad()
def heal(
    transformer: Any, tokens: Tensor, suspect: Tensor, draws: int, generator: torch.Generator | None = None
) -> Tensor:
    """Plausible healthy versions of token sequences.

    Args:
        transformer: a ``MaskedTransformer`` in eval mode.
        tokens: i64 [B, L]; suspect: bool [B, L], True = redraw.
        draws: n.
        generator: source of every draw; the same state gives the same tokens.

    Returns:
        i64 [n, B, L], equal to ``tokens`` where not suspect.

    Raises:
        ValueError: no draw, tokens or suspects of another shape or type.

    Cost: raster n L tokens through the network once each (key/value cache); any L + 2 n S for S suspects (the trusted
    prefix is computed once and shared by all draws, each of which fills the suspects in an order of its own).
    """
    if draws < 1:
        raise ValueError(f"heal: draws is at least 1, found {draws}")
    check_tokens(tokens, suspect, transformer.length)
    if not bool(suspect.any()):
        return tokens.expand(draws, -1, -1).clone()
    if transformer.order == "any":
        return _heal_any(transformer, tokens, suspect, draws, generator)
    rows = [_heal_raster(transformer, t, s, draws, generator) for t, s in zip(tokens, suspect, strict=True)]
    return torch.stack(rows, 1)


def _heal_any(
    transformer: Any, tokens: Tensor, suspect: Tensor, draws: int, generator: torch.Generator | None
) -> Tensor:
    """Prefix form: cases with fewer suspects than others go on drawing at a position that is thrown away."""
    where, valid = pack(suspect)
    b, s = where.shape
    order = uniform((b, draws, s), generator, tokens.device)
    if valid is not None:
        order = order + 2.0 * ~valid[:, None]  # padding last, so that it can inform nothing
    order = order.argsort(-1)
    where = where[:, None].expand(-1, draws, -1).gather(2, order)  # [B, n, S]
    dice = uniform((b, draws, s), generator, tokens.device)
    cache = transformer.draw_cache(transformer.prefix(tokens, ~suspect), draws, s)
    drawn = torch.empty(b, draws, s, dtype=torch.long, device=tokens.device)
    mask = torch.full((b, draws, 1), transformer.mask, device=tokens.device)
    for i in range(s):
        last = max(i - 1, 0)
        logits = cache.step(torch.cat([drawn[..., last:i], mask], -1), where[..., last : i + 1])
        drawn[..., i] = draw_code(logits, dice[..., i])
    if valid is not None:
        real = valid[:, None].expand(-1, draws, -1).gather(2, order)
        drawn = torch.where(real, drawn, tokens[:, None].expand(-1, draws, -1).gather(2, where))
    return tokens[:, None].repeat(1, draws, 1).scatter(2, where, drawn).transpose(0, 1)


def _heal_raster(
    transformer: Any, tokens: Tensor, suspect: Tensor, draws: int, generator: torch.Generator | None
) -> Tensor:
    """One case, all draws in one batch; the stretch between two suspects goes through the network in one chunk."""
    where = suspect.nonzero()[:, 0].tolist()
    dice = uniform((draws, len(where)), generator, tokens.device)
    healed = tokens.repeat(draws, 1)
    cache = transformer.cache(draws)
    for i, position in enumerate(where):
        logits = cache.extend(healed, position + 1)
        healed[:, position] = draw_code(logits, dice[:, i])
    return healed


def draw_code(logits: Tensor, dice: Tensor) -> Tensor:
    """Codes i64 [...] drawn from logits [..., K] by uniform numbers f32 [...] in [0, 1) (inverse distribution)."""
    cumulative = logits.float().softmax(-1).cumsum(-1)
    # The last sum may fall short of 1 by rounding: the dice are scaled to it, so that no index runs over.
    dice = dice[..., None] * cumulative[..., -1:]
    return torch.searchsorted(cumulative, dice, right=True)[..., 0].clamp(max=logits.shape[-1] - 1)
