from __future__ import annotations

import pytest
import torch

from monai_iltm.networks import VQVAE, LatentPrior, MaskedTransformer
from monai_iltm.networks.latent_prior import token_grid
from monai_iltm.ops.likelihood import token_log_likelihood


def pair(order: str = "any", grid: tuple[int, ...] = (3, 5), codes: int = 6) -> LatentPrior:
    torch.manual_seed(0)
    vqvae = VQVAE(len(grid), 1, channels=(8, 8), num_res_layers=1, num_embeddings=6, embedding_dim=4)
    return LatentPrior(vqvae, MaskedTransformer(codes, grid, width=16, depth=1, heads=2, order=order, groups=4)).eval()


@pytest.mark.parametrize("grid", [(3, 5), (3, 1, 5)])
@pytest.mark.parametrize("order", ["raster", "any"])
def test_the_score_is_minus_log_p_of_each_cell(order, grid):
    net = pair(order, grid)
    image = torch.rand(2, 1, *(4 * n for n in grid))
    scores = net(image)
    assert scores.shape == image.shape
    cells = scores[(slice(None), 0, *[slice(None, None, 4)] * len(grid))]
    assert torch.equal(cells.flatten(1), -token_log_likelihood(net.transformer, net.tokens(image)))
    for axis in range(2, image.ndim):  # one value a cell
        assert torch.equal(scores, scores.unfold(axis, 4, 4)[..., 0].repeat_interleave(4, axis))


@pytest.mark.parametrize("grid", [(3, 5), (3, 1, 5)])
def test_the_raster_pair_is_one_graph_of_what_onnx_knows(grid):
    """Neither lengths that depend on the image nor a median, for which ONNX has no operator."""
    net, image = pair("raster", grid), torch.rand(1, 1, *(4 * n for n in grid))
    program = torch.export.export(net, (image,))
    assert [node for node in program.graph.nodes if "median" in str(node.target)] == []
    other = torch.rand_like(image)
    torch.testing.assert_close(program.module()(other), net(other))


def test_tokens_run_row_by_row():
    net = pair()
    image = torch.rand(1, 1, 12, 20)
    codes = net.vqvae.index_quantize(image)
    tokens = net.tokens(image)
    assert [tokens[0, 5 * row + column] for row in range(3) for column in range(5)] == codes.flatten().tolist()


def test_one_state_dict_holds_both(tmp_path):
    net = pair()
    torch.save(net.state_dict(), tmp_path / "model.pt")
    other = pair()
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    image = torch.rand(1, 1, 12, 20)
    assert torch.equal(other(image), net(image))


@pytest.mark.parametrize("training", [False, True])
def test_scoring_writes_nothing(training):
    net = pair().train(training)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert not net(torch.rand(1, 1, 12, 20)).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_another_size_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"\(12, 20\), found \(12, 16\)"):
        pair()(torch.rand(1, 1, 12, 16))


def test_a_pair_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="6 codes in 2D"):
        pair(codes=5)
    vqvae = VQVAE(3, 1, channels=(8,), num_res_layers=1, num_embeddings=6, embedding_dim=4)
    with pytest.raises(ValueError, match="3D"):
        LatentPrior(vqvae, pair().transformer)


def test_the_grid_of_an_image_size():
    vqvae = pair().vqvae  # factor 4
    assert token_grid((12, 20), vqvae) == (3, 5)
    assert token_grid((4, 8, 12), vqvae) == (1, 2, 3)
    with pytest.raises(ValueError, match=r"\(12, 18\).*factor 4"):
        token_grid((12, 18), vqvae)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("order", ["raster", "any"])
def test_a_trace_scores_other_images_alike(order):
    """The model zoo exports by trace: nothing may be drawn anew, or fixed, by the image that it was traced on."""
    net = pair(order)
    with torch.no_grad():
        traced = torch.jit.trace(net, torch.rand(1, 1, 12, 20), check_trace=False)
    for _ in range(3):
        image = torch.rand(1, 1, 12, 20)
        assert torch.allclose(traced(image), net(image), atol=1e-5)
