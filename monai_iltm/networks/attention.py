"""The transformer block both orders share: who may look at whom is said by the caller, never stored."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Queries of one block of causal attention.
ROWS = 128
# Cases x queries x keys from which blocks are computed again for the gradient: all their masks would be quadratic.
MOST_KEPT = 2**22
# Queries x keys up to which all weights are held, where that is faster.
MOST_WEIGHTS = 2**16


class Block(nn.Module):
    """Pre-LayerNorm transformer block with its parts in reach, so that keys and values can be kept between calls.

    Args:
        width: features of an entry.
        heads: attention heads; ``width`` is a multiple of it.
        dropout: on the two residual branches, in training alone.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values of entries [B, n, W], each [B, H, n, W/H]."""
        b, n, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(b, n, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [3, B, H, n, W/H]
        return q, k, v

    def update(self, x: Tensor, attended: Tensor) -> Tensor:
        """Entries [B, n, W] after the attended values [B, H, n, W/H] and the MLP are added."""
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(x.shape)))
        return x + self.dropout(self.mlp(self.norm_mlp(x)))


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """Attention of q [B, H, n, d] to k, v [B, H, m, d]; ``visible`` bool, broadcastable to [B, H, n, m]."""
    if holds_weights(q.device, q.dtype, q.shape[2], k.shape[2]):
        return HeldAttention.apply(q, k, v, visible)
    return _attend(q, k, v, attn_mask=visible)


class HeldAttention(torch.autograd.Function):
    """Attention by matrix products in the type of its inputs, whose weights [B, H, n, m] are held for the gradient.

    In bfloat16 on a CPU it takes less than half the time of torch's attention in float32, which is faster there than
    torch's in bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
        score = (q * q.shape[-1] ** -0.5) @ k.mT
        if visible is not None:
            hidden = ~visible
            first = int(hidden.flatten(0, -2).any(0).int().argmax())  # keys before it are visible to all queries
            score[..., first:].masked_fill_(hidden[..., first:], -torch.inf)
        weight = score.softmax(-1)
        ctx.save_for_backward(q, k, v, weight)
        return weight @ v

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, weight = ctx.saved_tensors
        by_score = torch._softmax_backward_data(gradient @ v.mT, weight, -1, weight.dtype) * q.shape[-1] ** -0.5
        return by_score @ k, by_score.mT @ q, weight.mT @ gradient, None


def holds_weights(device: torch.device, dtype: torch.dtype, queries: int, keys: int) -> bool:
    """Whether attention between so many queries and keys of a case holds all its weights at once."""
    return _slow_in_torch(device, dtype) and queries * keys <= MOST_WEIGHTS


def _slow_in_torch(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cpu" and dtype == torch.bfloat16


def _attend(q: Tensor, k: Tensor, v: Tensor, **told: Any) -> Tensor:
    """torch's attention, in float32 where it is faster so."""
    if _slow_in_torch(q.device, q.dtype):
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), **told).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, **told)


def attend_last(q: Tensor, k: Tensor, v: Tensor, dropped: Tensor | None = None) -> Tensor:
    """Causal attention of the last n of m entries: query i of q [B, H, n, d] sees the keys 0..m - n + i of m.

    Queries go in blocks of ROWS, against the keys that the block may see: the mask is ROWS x m, never n x m. For long
    sequences a block's forward pass runs twice in training, so that all blocks' masks never exist together.

    Args:
        dropped: bool [B, m], True = no key for anyone (never the first); None = all are keys.
    """
    n, m = q.shape[2], k.shape[2]
    if dropped is None and n == m:
        return _attend(q, k, v, is_causal=True)

    def block(start: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = q[:, :, start : start + ROWS]
        seen = m - n + start + rows.shape[2]
        visible = torch.ones(rows.shape[2], seen, dtype=torch.bool, device=q.device).tril(m - n + start)
        if dropped is not None:
            visible = visible & ~dropped[:, None, None, :seen]
        return attend(rows, k[:, :, :seen], v[:, :, :seen], visible)

    again = torch.is_grad_enabled() and len(q) * n * m > MOST_KEPT
    compute = partial(checkpoint, block, use_reentrant=False) if again else block
    parts = [compute(start, q, k, v) for start in range(0, n, ROWS)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def attend_two(
    q: Tensor,
    shared: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    visible: Tensor | None,
    seen: Tensor | None = None,
) -> Tensor:
    """Attention of every draw to keys shared by all draws and to keys of its own, without copying the shared ones.

    Args:
        q: [B, R, H, n, d], R draws of each of B cases.
        shared: keys and values [B, H, m, d]; own: keys and values [B, R, H, s, d].
        visible: bool [B, 1, 1, m], False = padding among the shared keys (never the first); None = all real.
        seen: bool [n, s], True = this query sees this own key; None = all see all.

    Returns:
        [B, R, H, n, d].
    """
    b, r, h, n, d = q.shape
    m = shared[0].shape[2]
    q = q * d**-0.5
    score = q.transpose(1, 2).reshape(b, h, r * n, d) @ shared[0].transpose(-1, -2)  # [B, H, R n, m]
    if visible is not None:
        score = score.masked_fill(~visible, -torch.inf)
    score = score.view(b, h, r, n, m).transpose(1, 2)
    own_score = q @ own[0].transpose(-1, -2)
    if seen is not None:
        own_score = own_score.masked_fill(~seen, -torch.inf)
    weight = torch.cat([score, own_score], -1).softmax(-1)
    from_shared = weight[..., :m].transpose(1, 2).reshape(b, h, r * n, m) @ shared[1]
    return from_shared.view(b, h, r, n, d).transpose(1, 2) + weight[..., m:] @ own[1]
