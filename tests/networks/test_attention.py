from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_iltm.networks import attention
from monai_iltm.networks.attention import HeldAttention, attend, attend_last, attend_two


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.double) -> Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed)).to(dtype)


def dense(q: Tensor, k: Tensor, v: Tensor, sees: Tensor) -> Tensor:
    """softmax(q k / sqrt d) v where ``sees``, with the whole matrix written out in float64."""
    score = q.double() @ k.double().transpose(-1, -2) / q.shape[-1] ** 0.5
    return score.masked_fill(~sees, -torch.inf).softmax(-1) @ v.double()


def test_by_hand():
    """One query, two keys with scores 0 and log 3: weights 1/4 and 3/4."""
    q = torch.ones(1, 1, 1, 1)
    k, v = torch.tensor([1.0, 3.0]).log().view(1, 1, 2, 1), torch.tensor([4.0, 8.0]).view(1, 1, 2, 1)
    assert attend(q, k, v).item() == pytest.approx(0.25 * 4 + 0.75 * 8)
    assert attend(q, k, v, torch.tensor([[[[True, False]]]])).item() == pytest.approx(4)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9), st.floats(0, 1))
def test_the_last_queries_see_what_lies_before_them(seed, n, before, share):
    m, generator = n + before, torch.Generator().manual_seed(seed)
    dropped = torch.rand(2, m, generator=generator) < share
    dropped[:, 0] = False
    q, k, v = random(2, 3, n, 4, seed=seed), random(2, 3, m, 4, seed=seed + 1), random(2, 3, m, 4, seed=seed + 2)
    sees = torch.ones(n, m, dtype=torch.bool).tril(before)
    assert torch.allclose(attend_last(q, k, v), dense(q, k, v, sees), atol=1e-12)
    sees = sees & ~dropped[:, None, None]
    assert torch.allclose(attend_last(q, k, v, dropped), dense(q, k, v, sees), atol=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 9), st.floats(0, 1))
def test_causal_without_dropped_keys(seed, n, share):
    dropped = torch.rand(2, n, generator=torch.Generator().manual_seed(seed)) < share
    dropped[:, 0] = False
    q, k, v = (random(2, 3, n, 4, seed=seed + i) for i in range(3))
    sees = torch.ones(n, n, dtype=torch.bool).tril() & ~dropped[:, None, None]
    assert torch.allclose(attend_last(q, k, v, dropped), dense(q, k, v, sees), atol=1e-12)


@pytest.mark.parametrize("drop", [False, True])
def test_blocks_computed_again_have_the_same_gradients(monkeypatch, drop):
    q, k, v = (random(2, 2, n, 4, seed=n).requires_grad_() for n in (300, 307, 307))
    dropped = torch.arange(307).expand(2, -1) % 3 == 1 if drop else None
    found = []
    for most in (2**30, 0):
        monkeypatch.setattr(attention, "MOST_KEPT", most)
        out = attend_last(q, k, v, dropped)
        found.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("steps", [0, 4])
def test_shared_and_own_keys_are_one_set_of_keys(padded, steps):
    b, r, h, n, m, d = 2, 3, 2, 2, 5, 4
    q = random(b, r, h, n, d)
    shared = random(b, h, m, d, seed=1), random(b, h, m, d, seed=2)
    own = random(b, r, h, steps, d, seed=3), random(b, r, h, steps, d, seed=4)
    visible = torch.tensor([[True] * 5, [True] * 2 + [False] * 3]) if padded else None
    k, v = (torch.cat([s[:, None].expand(-1, r, -1, -1, -1), o], 3) for s, o in zip(shared, own, strict=True))
    sees = torch.ones(b, m + steps, dtype=torch.bool)
    if visible is not None:
        sees[:, :m] = visible
    by_hand = dense(q, k, v, sees[:, None, None, None])
    padding = None if visible is None else visible[:, None, None]
    assert torch.allclose(attend_two(q, shared, own, padding), by_hand, atol=1e-12)


@pytest.mark.parametrize(
    "visible",
    [
        None,
        torch.tensor([[True] * 6, [True] * 2 + [False] * 4])[:, None, None],
        torch.ones(5, 6, dtype=torch.bool).tril(1),
        torch.eye(6, dtype=torch.bool)[:5],  # no key is visible to all queries
    ],
)
def test_held_weights_give_the_attention_and_the_gradients_of_torch(visible):
    q, k, v = (random(2, 3, n, 4, seed=n).requires_grad_() for n in (5, 6, 7))
    k, v = k[:, :, :6], v[:, :, :6]
    found = []
    for function in (HeldAttention.apply, torch.nn.functional.scaled_dot_product_attention):
        out = function(q, k, v, visible)
        found.append((out, *torch.autograd.grad((out * random(*out.shape, seed=1)).sum(), (q, k, v))))
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("most", [0, 2**16])
def test_bfloat16_on_a_cpu_is_as_good_as_its_digits(monkeypatch, most):
    """Held weights or torch's own attention: each within the three digits of bfloat16, in all gradients too."""
    monkeypatch.setattr(attention, "MOST_WEIGHTS", most)
    exact = [random(2, 3, n, 8, seed=n).requires_grad_() for n in (5, 6, 7)]
    low = [x.detach().bfloat16().requires_grad_() for x in exact]
    exact_out, out = (attend(q, k, v[:, :, :6]) for q, k, v in (exact, low))
    assert out.dtype == torch.bfloat16
    gradients = (torch.autograd.grad(o.double().square().sum(), x) for o, x in ((exact_out, exact), (out, low)))
    for one, other in zip(*gradients, strict=True):
        assert (one - other).norm() < 0.02 * one.norm()
    assert (exact_out - out).norm() < 0.01 * exact_out.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_drops_keys_exactly_and_has_finite_gradients(dtype):
    q, k, v = (random(1, 2, 6, 8, seed=i, dtype=dtype).requires_grad_() for i in range(3))
    dropped = torch.tensor([[False, True, False, True, True, False]])
    out = attend_last(q, k, v, dropped)
    sees = torch.ones(6, 6, dtype=torch.bool).tril() & ~dropped[:, None, None]
    assert torch.allclose(out.double(), dense(q, k, v, sees), atol=0.02)
    grads = torch.autograd.grad(out.float().square().sum(), (q, k, v))
    assert all(g.isfinite().all() for g in grads)
    assert all(torch.equal(g[:, :, dropped[0]], torch.zeros_like(g[:, :, dropped[0]])) for g in grads[1:])
    visible = torch.tensor([[True, False, True, True, False, False]])
    own = k[:, None, :, :0], v[:, None, :, :0]
    assert attend_two(q[:, None], (k, v), own, visible[:, None, None]).isfinite().all()
