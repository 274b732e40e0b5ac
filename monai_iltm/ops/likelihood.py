"""How likely every token is, given what may be trusted around it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LogitsFunction = Callable[..., Tensor]


def token_log_likelihood(
    transformer: LogitsFunction, tokens: Tensor, suspect: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Log-probability of every token given its context.

    Args:
        transformer: a ``MaskedTransformer``; its order decides the context (raster: trusted tokens before; any:
            trusted tokens outside the token's group).
        tokens: i64 [B, L], 0..K-1.
        suspect: bool [B, L], True = no other token may look at it. Suspects are scored too.
        generator: deals the groups of order "any" anew; None keeps the fixed deal.

    Returns:
        f32 [B, L] in nats, <= 0 and finite.
    """
    with torch.no_grad():
        logits = transformer(tokens, suspect=suspect, generator=generator)
    return log_probability(logits, tokens)


def log_probability(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p of ``tokens`` i64 [..., L] under ``logits`` [..., L, K]: f32 [..., L], nats."""
    return logits.float().log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


def p_value(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mass of all codes that are no likelier than the one that stands there: f32 [..., L] in [0, 1].

    Depends neither on the number of codes nor on how uncertain a place is by nature: flagging below 0.05 flags about
    5 % of what the prior holds for normal.
    """
    p = logits.float().softmax(-1)
    own = p.gather(-1, tokens[..., None])
    return torch.where(p <= own, p, 0.0).sum(-1).clamp(max=1.0)
