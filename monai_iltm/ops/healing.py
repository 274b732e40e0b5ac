"""Redraw every suspect token from the prior, many times; trusted tokens stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_iltm.ops.tokens import check_tokens, pack, uniform


@torch.no_grad()
def heal(
    transformer: Any,
    tokens: Tensor,
    suspect: Tensor,
    draws: int,
    generator: torch.Generator | None = None,
    at_once: int = 1,
) -> Tensor:
    """Plausible healthy versions of token sequences.

    Args:
        transformer: a ``MaskedTransformer`` in eval mode.
        tokens: i64 [B, L]; suspect: bool [B, L], True = redraw.
        draws: n.
        generator: source of every draw; the same state gives the same tokens.
        at_once: suspects that a draw of order "any" fills in one step, none of them knowing the others. 1 samples from
            the prior exactly. More are faster; neighbours then seldom share a step (``apart``).

    Returns:
        i64 [n, B, L], equal to ``tokens`` where not suspect.

    Raises:
        ValueError: draws or at_once below 1, tokens or suspects of another shape or type.

    Cost: raster n L tokens through the network once each (key/value cache); any L + 2 n S for S suspects (the trusted
    prefix is computed once and shared by all draws, each of which fills the suspects in an order of its own), in
    S / at_once steps.
    """
    if min(draws, at_once) < 1:
        raise ValueError(f"heal: draws and at_once are at least 1, found {draws} and {at_once}")
    check_tokens(tokens, suspect, transformer.length)
    if not bool(suspect.any()):
        return tokens.expand(draws, -1, -1).clone()
    if transformer.order == "any":
        return _heal_any(transformer, tokens, suspect, draws, generator, at_once)
    rows = [_heal_raster(transformer, t, s, draws, generator) for t, s in zip(tokens, suspect, strict=True)]
    return torch.stack(rows, 1)


def _heal_any(
    transformer: Any, tokens: Tensor, suspect: Tensor, draws: int, generator: torch.Generator | None, at_once: int
) -> Tensor:
    """Prefix form: cases with fewer suspects than others go on drawing at a position that is thrown away."""
    where, valid = pack(suspect)
    b, s = where.shape
    # Case by case, as if each were alone: the numbers of one do not depend on how many suspects another has.
    pairs = [uniform((2, draws, n), generator, tokens.device) for n in suspect.sum(1).tolist()]
    order, dice = torch.stack([F.pad(pair, (0, s - pair.shape[2])) for pair in pairs], 1)
    if at_once > 1:
        order = apart(where, transformer.grid, order)
    if valid is not None:
        order = order + 2.0 * ~valid[:, None]  # padding last, so that it can inform nothing
    order = order.argsort(-1)
    where = where[:, None].expand(-1, draws, -1).gather(2, order)  # [B, n, S]
    cache = transformer.draw_cache(tokens, ~suspect, draws, s)
    drawn = torch.empty(b, draws, s, dtype=torch.long, device=tokens.device)
    done = 0
    for start in range(0, s, at_once):
        stop = min(start + at_once, s)
        logits = cache.step(drawn[..., done:start], where[..., done:stop])
        drawn[..., start:stop] = draw_code(logits, dice[..., start:stop])
        done = start
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


def apart(where: Tensor, grid: Sequence[int], noise: Tensor) -> Tensor:
    """Keys in [0, 1) that sort positions so that those in sequence are seldom neighbours, at random otherwise.

    Cells whose indices are even or odd along the same axes are a class; no two of a class touch. Each draw takes the
    classes one after another.

    Args:
        where: i64 [B, S], positions on the grid; noise: f32 [B, n, S] in [0, 1).

    Returns:
        f32 [B, n, S].
    """
    kind, classes = torch.zeros_like(where), 2 ** len(grid)
    for size in reversed(grid):  # the last axis moves fastest
        kind, where = 2 * kind + where % size % 2, where // size
    # The first suspect's noise turns the order of the classes, so that each draw begins with another.
    turned = (kind[:, None] + (noise[..., :1] * classes).long()) % classes
    return (turned + noise) / classes


def draw_code(logits: Tensor, dice: Tensor) -> Tensor:
    """Codes i64 [...] drawn from logits [..., K] by uniform numbers f32 [...] in [0, 1) (inverse distribution)."""
    cumulative = logits.float().softmax(-1).cumsum(-1)
    # The last sum may fall short of 1 by rounding: the dice are scaled to it, so that no index runs over.
    dice = dice[..., None] * cumulative[..., -1:]
    return torch.searchsorted(cumulative, dice, right=True)[..., 0].clamp(max=logits.shape[-1] - 1)
