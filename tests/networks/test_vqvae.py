from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.layers.vector_quantizer import EMAQuantizer
from torch import Tensor

from monai_iltm.networks import VQVAE
from monai_iltm.networks.vqvae import Codebook

SIZES = {2: (20, 12), 3: (12, 20, 4)}  # grids of odd sizes: 5 x 3 and 3 x 5 x 1


def small(dims: int = 2, **options) -> VQVAE:
    torch.manual_seed(0)
    return VQVAE(dims, 2, channels=(6, 8), num_res_layers=1, num_embeddings=7, embedding_dim=4, **options)


def images(dims: int = 2) -> Tensor:
    return torch.rand(3, 2, *SIZES[dims], generator=torch.Generator().manual_seed(1))


def line_codebook(*codes: float, decay: float = 0.5, **options) -> Codebook:
    """Codes on a line, each with a running count of 1, in training mode."""
    book = Codebook(2, len(codes), 1, 0.25, decay, **options).train()
    book.embedding.weight.data = torch.tensor(codes)[:, None]
    book.ema_w.copy_(book.embedding.weight.data)
    book.ema_cluster_size.fill_(1)
    book.started.fill_(True)
    return book


def on_line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


@pytest.mark.parametrize("dims", [2, 3])
def test_training_returns_image_and_loss_eval_the_image_alone(dims):
    net, x = small(dims), images(dims)
    reconstruction, loss = net.train()(x)
    assert reconstruction.shape == x.shape
    assert loss.shape == ()
    image = net.eval()(x)
    assert torch.is_tensor(image)
    assert torch.equal(image, net.decode(net.embed(net.index_quantize(x))))
    assert net.index_quantize(x).shape == (3, *(n // net.factor for n in SIZES[dims]))


@pytest.mark.parametrize("dims", [2, 3])
def test_trunk_and_head_are_the_decoder(dims):
    net = small(dims).train()  # the head drops only where it is told to
    vectors = net.embed(torch.randint(7, (2, *(n // 4 for n in SIZES[dims]))))
    features = net.decode_trunk(vectors)
    assert features.shape == (2, 6, *(n // 2 for n in SIZES[dims]))
    assert torch.equal(net.decode_head(features), net.decode(vectors))
    assert torch.equal(net.decode(vectors), net.decoder(vectors))


def test_head_dropout_drops_whole_channels_of_each_row():
    net, p = small(head_dropout=0.25), 0.25
    net.decoder.blocks[-1] = torch.nn.Identity()
    features = torch.rand(500, 6, 2, 3) + 1
    dropped = net.decode_head(features, drop=True, generator=torch.Generator().manual_seed(0))
    ratio = dropped / features
    assert torch.allclose(ratio, ratio[..., :1, :1].expand_as(ratio))
    kept = ratio[..., 0, 0] > 0
    assert torch.allclose(ratio[..., 0, 0], kept / (1 - p))
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.03)  # 2.4 standard deviations
    assert not torch.equal(kept[0], kept[1]) or not torch.equal(kept[0], kept[2])


def test_head_dropout_repeats_with_its_generator():
    net, x = small(head_dropout=0.5).eval(), images()
    features = net.decode_trunk(net.embed(net.index_quantize(x)))
    one, same, other = (net.decode_head(features, True, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(small(head_dropout=0.0).eval().decode_head(features, True), net.decode_head(features))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_several_heads_are_one_head_after_another(dims, p):
    """The second pass drops everything, as it may with few channels: the bias alone is left."""
    net = small(dims, head_dropout=p).eval()
    features = net.decode_trunk(net.embed(net.index_quantize(images(dims))))
    kept = net.head_masks(4, torch.Generator().manual_seed(0))
    assert kept.all() == (p == 0)
    kept[1] = False
    one_by_one = [net.decode_head(features * row.view(1, -1, *[1] * dims) / (1 - p)) for row in kept]
    torch.testing.assert_close(net.decode_heads(features, kept), torch.stack(one_by_one), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_queries_leave_the_state_as_it_was_in_training_mode_too(dims):
    net, x = small(dims).train(), images(dims)
    net(x)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    codes = net.index_quantize(x)
    net.decode_samples(codes)
    net.decode_head(net.decode_trunk(net.embed(codes)), drop=True)
    assert torch.equal(net.encode_stage_2_inputs(x), net.embed(codes))
    net.decode_stage_2_outputs(net.encode(x))
    net.eval()(x)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("dims", [2, 3])
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_quantise_picks_the_nearest_code(dims, seed):
    generator = torch.Generator().manual_seed(seed)
    book = Codebook(dims, 9, 4)
    book.embedding.weight.data.normal_(generator=generator)
    x = torch.randn(2, 4, *(3, 5, 1)[:dims], generator=generator)
    flat, _, indices = book.quantize(x)
    distances = torch.cdist(x.flatten(2).transpose(1, 2).double(), book.embedding.weight.double())
    assert torch.equal(indices.flatten(1), distances.argmin(-1))
    assert torch.equal(flat, x.movedim(1, -1).reshape(-1, 4))
    assert torch.equal(book.embed(indices).movedim(1, -1), book.embedding.weight[indices])


def test_codes_far_from_the_origin_and_close_together_are_told_apart():
    """Around 10 float32 keeps |c|^2 - 2 x c to 1e-5; these codes lie 1e-4 apart, their squared distances at 1e-8."""
    codes = torch.linspace(10, 10.0008, 9)
    book = line_codebook(*codes.tolist())
    assert book.quantize(on_line(*codes.tolist()))[2].flatten().tolist() == list(range(9))


def test_ema_update_and_commitment_by_hand():
    """Inputs 1, 3 -> code 0; 12 -> code 10. Counts 1.5 and 1, sums 2 and 11: codes 4 / 3 and 11."""
    book = line_codebook(0.0, 10.0)
    quantised, loss, indices = book(on_line(1, 3, 12))
    assert indices.flatten().tolist() == [0, 0, 1]
    assert quantised.flatten().tolist() == [0, 0, 10]
    assert loss.item() == pytest.approx(0.25 * (1 + 9 + 4) / 3)
    assert book.ema_cluster_size.tolist() == [1.5, 1]
    assert book.ema_w.flatten().tolist() == [2, 11]
    assert book.embedding.weight.flatten().tolist() == pytest.approx([4 / 3, 11], rel=1e-4)


def test_ema_update_equals_monais():
    torch.manual_seed(0)
    ours, theirs = Codebook(3, 8, 4, 0.25, 0.9, revive_below=0.0), EMAQuantizer(3, 8, 4, 0.25, 0.9)
    ours.started.fill_(True)
    ours.load_state_dict(theirs.state_dict() | {"started": ours.started})
    for _ in range(4):
        x = torch.randn(2, 4, 3, 5, 2)
        for a, b in zip(ours(x), theirs(x), strict=True):
            assert torch.allclose(a, b, atol=1e-6)
        for name, value in theirs.state_dict().items():
            assert torch.allclose(ours.state_dict()[name], value, atol=1e-5)


def test_gradients_pass_straight_through_and_commit():
    """d(sum q + loss) / dx = 1 + 0.25 * 2 (x - code) / n."""
    book, x = line_codebook(0.0, 10.0), on_line(1, 3, 12).requires_grad_()
    quantised, loss, _ = book(x)
    (quantised.sum() + loss).backward()
    assert x.grad.flatten().tolist() == pytest.approx([1 + 0.5 / 3 * d for d in (1, 3, 2)])


def test_the_first_batch_puts_every_code_on_an_encoder_output():
    torch.manual_seed(0)
    book, x = Codebook(2, 16, 4, decay=0.99).train(), 5 + torch.randn(2, 4, 8, 8)
    book(x)
    assert bool(book.started)
    assert torch.cdist(book.embedding.weight, x.movedim(1, -1).reshape(-1, 4)).amin(1).max() < 0.2
    assert len(book.quantize(x)[2].unique()) > 8  # from counts of 0 a decay like this left a single code


def test_evaluation_does_not_start_the_codebook():
    book = Codebook(2, 16, 4).eval()
    book(torch.randn(1, 4, 2, 2))
    assert not bool(book.started)


def test_a_dead_code_is_revived():
    """The count of the far code halves every step; below a hundredth of the mean it moves to an input."""
    torch.manual_seed(0)
    book = line_codebook(0.0, 100.0)
    for _ in range(6):
        book(on_line(1, 2, 3))
    assert book.ema_cluster_size[1] == 0.5**6
    assert book.embedding.weight[1].item() == pytest.approx(100, rel=0.01)
    book(on_line(1, 2, 3))
    assert book.ema_cluster_size[1] == 1
    assert min(abs(book.embedding.weight[1].item() - x) for x in (1, 2, 3)) < 0.01


def test_state_dict_round_trip_keeps_a_started_codebook():
    net = small().train()
    net(images())
    other = small()
    assert not bool(other.codebook.started)
    other.load_state_dict(net.state_dict())
    assert bool(other.codebook.started)
    before = other.codebook.embedding.weight.clone()
    assert torch.equal(other.eval()(images()), net.eval()(images()))
    other.codebook.decay = 1.0
    other.train()(images())
    assert torch.allclose(other.codebook.embedding.weight, before, atol=1e-4)  # no second start


@pytest.mark.parametrize("dims", [2, 3])
def test_a_new_start_tells_dark_images_apart_by_their_signal(dims):
    """Its encoder is linear in the image: no bias that a dark image would drown in. A seed means the same weights."""
    net, x = small(dims).train(), images(dims)
    net(x)
    drawn = torch.rand(1, generator=torch.random.default_generator.clone_state())
    net.start_over(seed=3)
    assert torch.equal(torch.rand(1), drawn)  # nobody else's random numbers have moved
    assert not bool(net.codebook.started)
    latent = net.encode(x)
    assert torch.allclose(net.encode(0.01 * x), 0.01 * latent, rtol=1e-3, atol=1e-7)
    assert latent.flatten(2).std(2).mean() > 0.2 * latent.abs().mean()
    other = small(dims)
    other.start_over(seed=3)
    assert torch.equal(other.encode(x), latent)
    assert torch.equal(other.decode(latent), net.decode(latent))
    other.start_over(seed=4)
    assert not torch.equal(other.encode(x), latent)


def test_a_few_steps_of_training_improve_the_reconstruction():
    net, x = small().train(), images()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    errors = []
    for _ in range(40):
        reconstruction, loss = net(x)
        error = torch.nn.functional.mse_loss(reconstruction, x)
        optimiser.zero_grad()
        (error + loss).backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]
