from __future__ import annotations

import pytest
import torch

from monai_iltm.networks import cache
from monai_iltm.networks.prefix import joint, marginal, prefix


@pytest.mark.parametrize("chunk", [1, 3, 256])
@pytest.mark.parametrize("stops", [[1, 2, 7], [4, 12], [12], list(range(1, 13))])
def test_raster_in_chunks_equals_the_whole_sequence(tiny, monkeypatch, chunk, stops):
    monkeypatch.setattr(cache, "CHUNK", chunk)
    net = tiny("raster")
    tokens = torch.randint(net.num_codes, (3, net.length), generator=torch.Generator().manual_seed(0))
    tokens[:, : stops[0] - 1] = tokens[0, : stops[0] - 1]  # draws are alike up to the first suspect
    kept = net.cache(draws=3)
    for stop in stops:
        assert torch.allclose(kept.extend(tokens, stop), net(tokens)[:, stop - 1], atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_steps_beside_a_shared_prefix_equal_joint_queries(tiny, share):
    net, draws = tiny("any"), 4
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(net.num_codes, (2, net.length), generator=generator)
    trusted = torch.rand(2, net.length, generator=generator) < share  # an uneven prefix
    trusted[:, :5] = False
    where = torch.rand(2, draws, 5, generator=generator).argsort(-1)
    codes = torch.randint(net.num_codes, (2, draws, 5), generator=generator)
    kept = net.draw_cache(tokens, trusted, draws, 5)
    copies = tokens[:, None].repeat(1, draws, 1).scatter(2, where, codes).flatten(0, 1)
    whole = joint(net, copies, trusted.repeat_interleave(draws, 0), where.flatten(0, 1)).unflatten(0, (2, draws))
    for i in range(5):
        last = max(i - 1, 0)
        logits = kept.step(codes[..., last:i], where[..., last : i + 1])[..., 0, :]
        assert torch.allclose(logits, whole[:, :, i], atol=1e-12)


def test_a_prefix_of_nothing_is_bos_alone(tiny):
    net = tiny("any")
    tokens = torch.zeros(2, net.length, dtype=torch.long)
    nothing = torch.zeros_like(tokens, dtype=torch.bool)
    alone = prefix(net, tokens, nothing)
    assert alone.visible is None
    assert alone.layers[0][0].shape == (2, 2, 1, 4)
    assert marginal(net, tokens, nothing, torch.zeros(2, 1, dtype=torch.long)).isfinite().all()
