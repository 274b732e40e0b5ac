"""Which tokens are not to be trusted, by how unlikely the prior holds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monai_iltm.ops.likelihood import log_probability, p_value

# logits [B, L, K], tokens [B, L] -> suspect bool [B, L]
Rule = Callable[[Tensor, Tensor], Tensor]


def flag_rule(
    alpha: float | None = None, threshold: float | None = None, threshold_times_uniform: float | None = None
) -> Rule:
    """The rule that marks a token suspect; exactly one number is given.

    Args:
        alpha: marks a p-value below it, about this share of a healthy image whatever K is (see ``p_value``).
        threshold: marks p below it; its meaning depends on K. The paper: 0.005.
        threshold_times_uniform: marks p below this many times 1 / K. The paper: 1.28 at K = 256.

    Raises:
        ValueError: none or several given, or one outside its range.
    """
    numbers = {"alpha": alpha, "threshold": threshold, "threshold_times_uniform": threshold_times_uniform}
    given = {name: value for name, value in numbers.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"flag: exactly one of alpha, threshold, threshold_times_uniform is given, found {given}; "
            "on the command line '$None' takes one back"
        )
    name, value = given.popitem()
    if not value > 0 or (value >= 1 and name != "threshold_times_uniform"):
        raise ValueError(f"flag: {name} is positive, and below 1 where it is a probability; found {value}")
    if name == "alpha":
        return lambda logits, tokens: p_value(logits, tokens) < value
    if name == "threshold":
        return lambda logits, tokens: log_probability(logits, tokens).exp() < value
    return lambda logits, tokens: log_probability(logits, tokens).exp() < value / logits.shape[-1]


@torch.no_grad()
def flag(
    transformer: Any,
    tokens: Tensor,
    rule: Rule,
    looks: int = 1,
    generator: torch.Generator | None = None,
    amp: bool = False,
) -> tuple[Tensor, Tensor]:
    """Suspect tokens and the logits behind them.

    Every look after the first hides the suspects so far from all contexts, so that a lesion does not vouch for itself;
    its own verdict replaces the one before.

    Args:
        transformer: a ``MaskedTransformer``; tokens: i64 [B, L]; rule: from ``flag_rule``.
        looks: 1 is the paper's; 2 suits order "any".
        generator: deals the groups of order "any"; None keeps the fixed deal.
        amp: every look but the last, which alone is told, in bfloat16.

    Returns:
        suspect bool [B, L], True = redraw; logits f32 [B, L, K] of the last look.

    Cost: ``looks`` passes, of L tokens (raster) or groups x L (any).
    """
    if looks < 1:
        raise ValueError(f"flag: looks is at least 1, found {looks}")
    suspect = torch.zeros_like(tokens, dtype=torch.bool)
    for look in range(1, looks + 1):
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=amp and look < looks):
            logits = transformer(tokens, suspect=suspect, generator=generator)
        suspect = rule(logits, tokens)
    return suspect, logits
