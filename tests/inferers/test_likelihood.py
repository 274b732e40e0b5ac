from __future__ import annotations

import pytest
import torch

from monai_iltm.inferers import LikelihoodInferer
from monai_iltm.ops.likelihood import token_log_likelihood
from monai_iltm.ops.tokens import pool_mask


@pytest.mark.parametrize("masked", [False, True])
def test_trusted_tokens_alone_are_scored(pair, masked):
    network, image = pair(), torch.rand(2, 1, 16, 16)
    mask = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    mask[0, :, :8, :8] = True
    scored = LikelihoodInferer().score(image, network, mask if masked else None)
    suspect = pool_mask(mask, (4, 4)).flatten(1) & masked
    nats = -token_log_likelihood(network.transformer, network.tokens(image), suspect)
    assert scored.surprise.shape == image.shape
    assert torch.equal(scored.surprise[:, 0, ::4, ::4].flatten(1), nats)
    assert scored.numbers["trusted_tokens"].tolist() == ([12, 16] if masked else [16, 16])
    assert scored.numbers["suspect_share"].tolist() == ([0.25, 0.0] if masked else [0.0, 0.0])
    for i in range(2):
        trusted = nats[i][~suspect[i]]
        assert scored.numbers["image_score_tokens"][i].item() == pytest.approx(trusted.sum().item(), rel=1e-5)
        assert scored.numbers["nats_per_token"][i].item() == pytest.approx(trusted.mean().item(), rel=1e-5)


def test_a_case_without_a_trusted_token_scores_nothing(pair):
    numbers = LikelihoodInferer().score(torch.rand(1, 1, 16, 16), pair(), torch.ones(1, 1, 16, 16) > 0).numbers
    assert numbers["image_score_tokens"].item() == numbers["nats_per_token"].item() == 0
