"""What the first two stages tell of themselves: reconstruction error, codes in use, nats a token."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from monai_iltm.data.documents import read_csv, read_json, write_json
from monai_iltm.data.images import write_image
from monai_iltm.engines import reconstruction, token_surprise
from monai_iltm.networks import VQVAE, LatentPrior, MaskedTransformer
from monai_iltm.ops.likelihood import token_log_likelihood
from monai_iltm.ops.tokens import pool_mask
from monai_iltm.store import ResultFolder


def engine_of(network, **more) -> SimpleNamespace:
    state = SimpleNamespace(device=torch.device("cpu"), output=None)
    return SimpleNamespace(network=network, state=state, fire_event=lambda _: None, **more)


def pair() -> LatentPrior:
    torch.manual_seed(0)
    vqvae = VQVAE(2, 1, (8, 8), 1, num_embeddings=8, embedding_dim=4)
    vqvae.train()(torch.rand(4, 1, 16, 16))
    return LatentPrior(vqvae, MaskedTransformer(8, (4, 4), width=8, depth=1, heads=2, order="any", groups=2)).eval()


def test_a_reconstruction_step_returns_the_image_and_its_code_counts():
    vqvae, image = pair().vqvae, torch.rand(3, 1, 16, 16)
    out = reconstruction.reconstruction_step(engine_of(vqvae, inferer=lambda x, net: net(x)), {"image": image})
    assert torch.equal(out["pred"], vqvae(image))
    codes = vqvae.index_quantize(image).flatten(1)
    assert out["code_counts"].tolist() == [[int((row == code).sum()) for code in range(8)] for row in codes]


def test_code_use_by_hand():
    assert reconstruction.code_use(np.array([3, 3, 0, 0])) == {"perplexity": pytest.approx(2), "codes_in_use": 2}
    assert reconstruction.code_use(np.array([0, 7])) == {"perplexity": pytest.approx(1), "codes_in_use": 1}
    uneven = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert reconstruction.code_use(np.array([3, 1]))["perplexity"] == pytest.approx(uneven)


def test_reconstruction_errors_by_hand(tmp_path):
    """Off by 0.1 everywhere: an MSE of 0.01, which is 20 dB; a perfect copy has 100 dB."""
    results, cases = ResultFolder(tmp_path / "out"), []
    for name, off, counts in (("a", 0.1, [4, 0]), ("b", 0.0, [0, 4])):
        write_image(tmp_path / f"{name}.png", np.full((2, 3), 51, np.uint8))
        write_image(tmp_path / f"out/{name}_reconstruction.tif", np.full((2, 3), 51 / 255 + off, np.float32))
        write_json(results.record(name), {"code_counts": counts})
        cases.append({"case": name, "image": str(tmp_path / f"{name}.png")})
    reconstruction.write_metrics(tmp_path / "out", cases, (0, 255))
    figures = read_json(results.metrics)
    assert figures["mse"] == pytest.approx(0.005, rel=1e-4)
    assert figures["mae"] == pytest.approx(0.05, rel=1e-4)
    assert figures["psnr"] == pytest.approx(60, abs=0.01)
    assert (figures["perplexity"], figures["codes_in_use"], figures["cases"]) == (pytest.approx(2), 2, 2)
    assert [row["case"] for row in read_csv(results.scores)] == ["a", "b"]


@pytest.mark.parametrize("masked", [False, True])
def test_a_token_step_scores_trusted_tokens_alone(masked):
    network, image = pair(), torch.rand(2, 1, 16, 16)
    mask = torch.zeros(2, 1, 16, 16)
    mask[0, :, :8, :8] = 1.0
    batch = {"image": image, **({"mask": mask} if masked else {})}
    out = token_surprise.TokenStep()(engine_of(network), batch)
    suspect = pool_mask(mask, (4, 4)).flatten(1) & masked
    nats = -token_log_likelihood(network.transformer, network.tokens(image), suspect)
    assert out["pred"].shape == image.shape
    assert torch.equal(out["pred"][:, 0, ::4, ::4].flatten(1), nats)
    assert out["trusted_tokens"].tolist() == ([12, 16] if masked else [16, 16])
    assert out["suspect_share"].tolist() == ([0.25, 0.0] if masked else [0.0, 0.0])
    for i in range(2):
        assert out["token_score"][i].item() == pytest.approx(nats[i][~suspect[i]].sum().item(), rel=1e-5)


def test_nats_a_token_are_pooled_over_cases(tmp_path):
    results = ResultFolder(tmp_path)
    write_json(results.record("a"), {"token_score": 30.0, "trusted_tokens": 10})
    write_json(results.record("b"), {"token_score": 0.0, "trusted_tokens": 0})
    cases = [{"case": "a"}, {"case": "b"}]
    token_surprise.write_metrics(tmp_path, cases)
    assert read_json(results.metrics) == {"nats_per_token": 3.0, "tokens": 10, "cases": 2}
    token_surprise.write_metrics(tmp_path, cases[1:])
    assert read_json(results.metrics)["nats_per_token"] is None
