"""The prior: one transformer over code tokens that never reads a suspect, in two orders of prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_iltm.networks.attention import attend_last
from monai_iltm.networks.cache import DrawCache, RasterCache
from monai_iltm.networks.prefix import joint, marginal, prefix
from monai_iltm.networks.token_transformer import TokenTransformer
from monai_iltm.ops.likelihood import log_probability
from monai_iltm.ops.tokens import check_tokens, fixed_groups, pack, round_up, uniform


class MaskedTransformer(TokenTransformer):
    """Distribution of code tokens on a grid, p(token | trusted tokens), for training sets that hold anomalies.

    Non-interference: no logit and no gradient depends on which code stands at a suspect position. The suspect's input
    embedding is replaced by MASK and its key is dropped; BOS is always visible, so that no softmax is over nothing.

    Args:
        num_codes: K, size of the codebook. The embedding also has BOS = K and MASK = K + 1; codes alone have logits.
        grid: cells per axis, 2D or 3D; L = prod(grid). Positions are one learned table per axis, summed.
        width, depth, heads: features of an entry, blocks, attention heads.
        order: "raster" predicts a token from the trusted ones before it in row-major order; "any" from any set of
            trusted tokens (module ``prefix``).
        dropout: in training, on the residual branches.
        groups: "any" scores a sequence in this many groups, each hidden in turn and predicted from the rest.
        paper_masking: raster only, for comparison: rows and columns of suspects are masked in the attention, as
            published, but their embedding stays in place, and so **leaks** to the next position.

    Raises:
        ValueError: an unknown order, a grid that is not 2D or 3D, a width that heads do not divide, no group.

    Source: Patel et al. 2023, section 3.2 (raster); arXiv 2307.14701 for the direction of "any".
    """

    def __init__(
        self,
        num_codes: int,
        grid: Sequence[int],
        width: int = 96,
        depth: int = 4,
        heads: int = 4,
        order: str = "any",
        dropout: float = 0.0,
        groups: int = 8,
        paper_masking: bool = False,
    ) -> None:
        if order not in ("raster", "any"):
            raise ValueError(f"MaskedTransformer: order is 'raster' or 'any', found {order!r}")
        if len(grid) not in (2, 3) or width % heads or groups < 1:
            found = f"grid {tuple(grid)}, width {width}, heads {heads}, groups {groups}"
            raise ValueError(f"MaskedTransformer: grid is 2D or 3D, heads divide width, groups >= 1; found {found}")
        if paper_masking and order != "raster":
            raise ValueError("MaskedTransformer: paper_masking exists for order 'raster' only")
        super().__init__(num_codes, grid, width, depth, heads, dropout)
        self.order, self.groups, self.paper_masking = order, groups, paper_masking
        self.register_buffer("deal", fixed_groups(self.length, groups), persistent=False)  # a constant when traced

    def forward(
        self, tokens: Tensor, suspect: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Logits of every token given its trusted context.

        Args:
            tokens: i64 [B, L]; suspect: bool [B, L], True = leave out; generator: "any" deals its groups by it, anew.

        Returns:
            [B, L, K]; logits[:, i] predicts token i.

        Raises:
            ValueError: tokens of another length than the grid's, suspects that are not bool [B, L].
        """
        check_tokens(tokens, suspect, self.length)
        if self.order == "raster":
            return self._raster_logits(tokens, suspect)
        return self._left_out_logits(tokens, suspect, generator)

    def loss(
        self,
        tokens: Tensor,
        suspect: Tensor | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Training loss: mean -log p over trusted targets of a sequence, averaged over the batch; a scalar in nats.

        Every sequence counts alike, so that a batch split over ranks has the loss of the whole. A sequence without a
        trusted token adds 0, and no gradient.

        Args:
            tokens, suspect: as in ``forward``.
            generator: for "any" draws the share of targets, and whether queries see the prefix alone (the marginal,
                used to flag) or also the targets before them (the joint, used to heal).
            noise: f32 [B, L] in [0, 1) that orders the tokens of "any"; drawn from ``generator`` if not given.
        """
        check_tokens(tokens, suspect, self.length)
        if suspect is None:
            suspect = torch.zeros_like(tokens, dtype=torch.bool)
        if self.order == "raster":
            return _mean_per_sequence(-log_probability(self._raster_logits(tokens, suspect), tokens), ~suspect)
        return self._prefix_loss(tokens, suspect, generator, noise)

    # ---- raster ----

    def _raster_logits(self, tokens: Tensor, suspect: Tensor | None) -> Tensor:
        codes, dropped = self.raster_inputs(tokens, suspect)
        where = torch.arange(self.length, device=tokens.device).expand_as(codes)
        x = self.entries(codes, where)
        for block in self.layers():
            q, k, v = block.project(x)
            attended = attend_last(q, k, v, dropped)
            if self.paper_masking and dropped is not None:
                attended = attended.masked_fill(dropped[:, None, :, None], 0.0)
            x = block.update(x, attended)
        return self.logits(x)

    def raster_inputs(self, tokens: Tensor, suspect: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """BOS and the tokens shifted by one, MASK for suspects; and which entries are no key, bool [B, L] or None."""
        codes = self.shifted(tokens)
        if suspect is None or not bool(suspect.any()):
            return codes, None
        dropped = F.pad(suspect[:, :-1], (1, 0), value=False)
        return (codes if self.paper_masking else codes.masked_fill(dropped, self.mask)), dropped

    def cache(self, draws: int) -> RasterCache:
        """An empty store of keys and values for healing ``draws`` versions of one case."""
        return RasterCache(self, draws)

    # ---- any ----

    def draw_cache(self, tokens: Tensor, trusted: Tensor, draws: int, steps: int) -> DrawCache:
        """An empty store for healing ``draws`` versions of each case, ``steps`` codes each, beside the prefix that they
        share: the ``trusted`` (bool [B, L]) of the ``tokens`` (i64 [B, L])."""
        return DrawCache(self, prefix(self, tokens, trusted), draws, steps)

    def _left_out_logits(self, tokens: Tensor, suspect: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Each group hidden in turn and predicted from the trusted rest; the groups are folded into the batch."""
        b, g = len(tokens), self.groups
        group = cast("Tensor", self.deal) if generator is None else fixed_groups(self.length, g, generator)
        hidden = group.to(tokens.device) == torch.arange(g, device=tokens.device)[:, None]  # [G, L]
        trusted = (~hidden).expand(b, g, -1)
        if suspect is not None:
            trusted = trusted & ~suspect[:, None]
        where, valid = pack(hidden)
        logits = marginal(self, tokens.repeat_interleave(g, 0), trusted.flatten(0, 1), where.repeat(b, 1))
        logits = logits.unflatten(0, (b, g))  # [B, G, n, K]
        real = torch.ones_like(where, dtype=torch.bool) if valid is None else valid
        out = logits.new_empty(b, self.length, self.num_codes)
        out[:, where[real]] = logits[:, real]
        return out

    def _prefix_loss(
        self, tokens: Tensor, suspect: Tensor, generator: torch.Generator | None, noise: Tensor | None
    ) -> Tensor:
        device = tokens.device
        share, kind = uniform((2,), generator, device).tolist()
        targets = ((0.08 + 0.6 * share) * (~suspect).sum(1)).ceil().long()  # one at least where any is trusted
        # Padded: a CPU's kernels are made anew for every other length, where that took a fifth of a step.
        multiple = max(8, -(-self.length // 32)) if device.type == "cpu" else 1
        longest = round_up(max(int(targets.max()), 1), multiple)  # without any target too, for a loss of 0
        # Trusted tokens in random order come first: the leading ones are the targets, the rest the prefix.
        noise = uniform(tuple(tokens.shape), generator, device) if noise is None else noise
        where = (noise + 2.0 * suspect).argsort(1)[:, :longest]
        real = torch.arange(where.shape[1], device=device) < targets[:, None]
        target = torch.zeros_like(suspect).scatter(1, where, real)
        logits = (joint if kind < 0.5 else marginal)(self, tokens, ~suspect & ~target, where, multiple)
        return _mean_per_sequence(-log_probability(logits, tokens.gather(1, where)), real)


def _mean_per_sequence(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over the counted entries of each row, then over rows; a row without any adds 0."""
    kept = torch.where(counted, values, 0.0)
    return (kept.sum(1) / counted.sum(1).clamp(min=1)).mean()
