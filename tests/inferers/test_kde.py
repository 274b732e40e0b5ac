from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_iltm.inferers import KDEInferer, kde, reconstructions
from monai_iltm.networks import LatentPrior
from monai_iltm.ops.density import kde_log_density
from monai_iltm.ops.healing import heal

SHAPES = [((4, 4), 1), ((4, 3), 3), ((2, 3, 2), 1)]  # grid, channels
NONE, SOME, ALL = {"alpha": 1e-9}, {"alpha": 0.4}, {"threshold_times_uniform": 1e6}  # of the tokens are suspect


def images_for(net: LatentPrior, count: int = 3) -> Tensor:
    size = [n * net.vqvae.factor for n in net.transformer.grid]
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, net.vqvae.in_channels, *size, generator=generator)


def inferer_of(rule: dict = SOME, **options) -> KDEInferer:
    return KDEInferer(**{"draws": 5, "decodes": 3, **rule, **options})


def naive_suspects(net: LatentPrior, tokens: Tensor, alphas: list[float], looks: int) -> list[Tensor]:
    """The looks use the first of the alphas; what the last one sees is judged by each of them."""
    suspect = torch.zeros_like(tokens, dtype=torch.bool)
    for _ in range(looks):
        p = net.transformer(tokens, suspect=suspect).softmax(-1)
        own = p.gather(-1, tokens[..., None])
        mass = (p * (p <= own)).sum(-1)
        suspect = mass < alphas[0]
    return [mass < alpha for alpha in alphas]


def naive_blur(images: Tensor, sigma: float) -> Tensor:
    """Every axis of [N, C, *S] times a matrix of Gaussian weights, each the mass of its pixel, cut at 4 sigma."""
    reach, t = int(4 * sigma + 0.5), math.sqrt(0.5) / sigma
    for axis in range(2, images.ndim):
        n = images.shape[axis]
        matrix = [[_mass(i - j, t) if abs(i - j) <= reach else 0.0 for j in range(n)] for i in range(n)]
        images = torch.tensordot(images, torch.tensor(matrix), dims=([axis], [1])).movedim(-1, axis)
    return images


def _mass(x: int, t: float) -> float:
    return 0.5 * (math.erf(t * (x + 0.5)) - math.erf(t * (x - 0.5)))


@torch.no_grad()
def naive_map(net: LatentPrior, image: Tensor, inferer: KDEInferer, alphas: list[float], blur: float) -> Tensor:
    """Flag, heal, decode every draw on its own as often as asked, estimate the density of all of them at once."""
    vqvae, grid = net.vqvae, net.transformer.grid
    tokens = vqvae.index_quantize(image).flatten(1)
    generator = inferer._generator(image)
    maps = []
    for suspect in naive_suspects(net, tokens, alphas, inferer.looks):
        healed = heal(net.transformer, tokens, suspect, inferer.draws, generator, inferer.at_once)[:, 0]
        dice, recons = torch.Generator().manual_seed(generator.initial_seed() + 1), []
        width = vqvae.decode_trunk(vqvae.embed(tokens.view(1, *grid))).shape[1]
        masks = torch.rand(inferer.decodes, width, generator=dice) >= vqvae.head_dropout
        for draw in sorted(healed.tolist()):
            features = vqvae.decode_trunk(vqvae.embed(torch.tensor(draw).view(1, *grid)))
            for mask in masks:
                kept = mask.view(1, -1, *[1] * len(grid)) / (1 - vqvae.head_dropout)
                recons.append(vqvae.decode_head(features * kept))
        seen = [naive_blur(one, blur) if blur else one for one in (image, *recons)]
        maps.append(-kde_log_density(seen[0], torch.stack(seen[1:]), inferer.bandwidth_floor))
    return sum(maps) / len(maps)


@pytest.mark.parametrize("order", ["raster", "any"])
@pytest.mark.parametrize(("grid", "channels"), SHAPES)
@pytest.mark.parametrize(("levels", "blur", "at_once"), [((1.0,), 0.0, 1), ((0.6, 1.5), 0.8, 3)])
def test_the_map_is_flag_heal_decode_and_density(pair, order, grid, channels, levels, blur, at_once):
    net = pair(order, grid, channels)
    inferer = inferer_of(looks=2, bandwidth_floor=0.07, levels=levels, blur=blur, at_once=at_once)
    suspect = inferer.heal(images_for(net), net).suspect
    assert 0 < suspect.sum() < suspect.numel()
    for image in images_for(net):
        surprise = inferer(image[None], net)
        assert surprise.shape == (1, 1, *image.shape[1:])
        expected = naive_map(net, image[None], inferer, [0.4 * level for level in levels], blur)
        torch.testing.assert_close(surprise, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("order", ["raster", "any"])
@pytest.mark.parametrize(("grid", "channels"), SHAPES)
def test_one_draw_decoded_once_is_a_normal_density_about_it(pair, order, grid, channels):
    net = pair(order, grid, channels)
    images = images_for(net)
    healing = inferer_of(ALL, draws=1, decodes=1).heal(images, net)
    density = torch.distributions.Normal(healing.mean, 0.05).log_prob(images).sum(1, keepdim=True)
    torch.testing.assert_close(healing.surprise, -density, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("rule", [NONE, SOME, ALL])
@pytest.mark.parametrize("order", ["raster", "any"])
def test_a_map_depends_on_neither_batch_nor_order(pair, order, rule):
    net = pair(order)
    images, inferer = images_for(net, 4), inferer_of(rule)
    together = inferer.heal(images, net)
    turned = inferer(images.flip(0), net).flip(0)
    assert torch.equal(together.surprise, turned)
    for i in range(4):
        alone = inferer.heal(images[i : i + 1], net)
        for name in ("surprise", "mean", "log_p", "suspect"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[i]), name


def test_another_seed_gives_other_draws(pair):
    net = pair()
    images = images_for(net)
    maps = [inferer_of(seed=seed)(images, net) for seed in (0, 0, 1, 2**31)]
    assert torch.equal(maps[0], maps[1])
    assert all(not torch.equal(maps[0][i], other[i]) for other in maps[2:] for i in range(len(images)))


def test_other_pixels_give_other_draws(pair):
    net = pair()
    image = images_for(net, 1)
    near = (image + 1e-6).clamp(0, 1)
    assert inferer_of()._generator(image).initial_seed() != inferer_of()._generator(near).initial_seed()


def test_equal_images_have_equal_maps(pair):
    net = pair()
    image = images_for(net, 1)
    first, second = inferer_of()(torch.cat([image, image]), net)
    assert torch.equal(first, second)


@pytest.mark.parametrize("order", ["raster", "any"])
def test_streamed_equals_held(pair, monkeypatch, order):
    net, inferer = pair(order), inferer_of(levels=[0.5, 1.0], blur=0.7)
    images = images_for(net)
    held = inferer.heal(images, net)
    monkeypatch.setattr(kde, "MOST_HELD", 0)
    streamed = inferer.heal(images, net)
    assert torch.allclose(held.surprise, streamed.surprise, rtol=1e-5, atol=1e-4)
    assert torch.allclose(held.mean, streamed.mean)


@pytest.mark.parametrize("order", ["raster", "any"])
def test_features_kept_for_the_second_making_change_nothing(pair, monkeypatch, order):
    """Kept all, some or none: the trunk runs once a chunk, in between, or twice."""
    net = pair(order)
    image, trunk, calls = images_for(net, 1), net.vqvae.decode_trunk, []
    monkeypatch.setattr(kde, "MOST_HELD", 0)
    monkeypatch.setattr(reconstructions, "MOST_AT_ONCE", 1)  # a draw a chunk
    monkeypatch.setattr(net.vqvae, "decode_trunk", lambda codes: calls.append(1) or trunk(codes))
    features = trunk(net.vqvae.embed(net.tokens(image).unflatten(1, net.transformer.grid))).nbytes
    maps, runs = [], []
    for room in (0, 2 * features, 2**30):
        calls.clear()
        maps.append(inferer_of(ALL, keep_gib=room / 2**30)(image, net))
        runs.append(len(calls))
    assert runs == [10, 8, 5]
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])


@pytest.mark.parametrize("at_once", [1, 600, 1100])
@pytest.mark.parametrize("rule", [NONE, SOME, ALL])
def test_the_size_of_a_chunk_does_not_matter(pair, monkeypatch, rule, at_once):
    """Images have 256 pixels: one, two and four draws at once."""
    net = pair()
    images = images_for(net)
    whole = inferer_of(rule).heal(images, net)
    monkeypatch.setattr(reconstructions, "MOST_AT_ONCE", at_once)
    parts = inferer_of(rule).heal(images, net)
    torch.testing.assert_close(parts.surprise, whole.surprise, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(parts.mean, whole.mean)


@pytest.mark.parametrize("order", ["raster", "any"])
def test_without_a_suspect_the_map_is_reconstruction_noise(pair, order):
    net = pair(order)
    image = images_for(net, 1)
    healing = inferer_of(NONE, draws=4, decodes=50).heal(image, net)
    assert not healing.suspect.any()
    assert torch.isfinite(healing.surprise).all()
    # 200 dropout decodes of one code grid: their mean is the decode without dropout
    torch.testing.assert_close(healing.mean, net.vqvae(image), atol=0.03, rtol=0.1)


def test_without_suspect_and_dropout_it_is_a_normal_density_of_the_residual(pair):
    net = pair(dropout=0.0)
    image = images_for(net, 1)
    surprise = inferer_of(NONE)(image, net)
    density = torch.distributions.Normal(net.vqvae(image), 0.05).log_prob(image)
    torch.testing.assert_close(surprise, -density, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("order", ["raster", "any"])
@pytest.mark.parametrize(("grid", "channels"), SHAPES)
def test_with_all_suspect_everything_is_redrawn(pair, order, grid, channels):
    net = pair(order, grid, channels)
    healing = inferer_of(ALL).heal(images_for(net), net)
    assert healing.suspect.all()
    assert torch.isfinite(healing.surprise).all()
    assert healing.log_p.le(0).all()


@pytest.mark.parametrize("training", [False, True])
def test_scoring_writes_nothing(pair, training):
    """Neither weights nor codebook nor the global random state, whatever mode the network came in."""
    net, images = pair(), images_for(pair())
    expected = inferer_of()(images, net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    again = inferer_of()(images, net.train(training))
    assert torch.equal(again, expected)
    assert not again.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_float32_under_autocast(pair):
    net = pair()
    images = images_for(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        healing = inferer_of(blur=0.6).heal(images.bfloat16(), net)
    assert healing.surprise.dtype == healing.mean.dtype == healing.log_p.dtype == torch.float32
    assert torch.isfinite(healing.surprise).all()


def test_a_meta_tensor_in_a_plain_tensor_out(pair):
    net = pair()
    images = images_for(net)
    surprise = inferer_of()(MetaTensor(images), net)
    assert type(surprise) is Tensor
    assert torch.equal(surprise, inferer_of()(inputs=images, network=net))  # MONAI Deploy calls by keyword


@pytest.mark.parametrize("grid", [(4, 3), (2, 2, 2)])
def test_blur_compares_local_means_and_leaves_the_healed_mean_sharp(pair, grid):
    net = pair(grid=grid)
    images = images_for(net, 1)
    plain, soft = inferer_of().heal(images, net), inferer_of(blur=0.7).heal(images, net)
    torch.testing.assert_close(soft.mean, plain.mean)
    assert not torch.allclose(soft.surprise, plain.surprise)


def test_levels_average_the_maps_of_stricter_and_milder_rules(pair):
    net = pair()
    images = images_for(net, 1)
    none = inferer_of(NONE, levels=(1.0, 0.5)).heal(images, net)
    torch.testing.assert_close(none.surprise, inferer_of(NONE).heal(images, net).surprise)
    mixed = inferer_of(alpha=0.5, levels=(1.0, 1e-9)).heal(images, net)
    first = inferer_of(alpha=0.5).heal(images, net)
    torch.testing.assert_close(mixed.surprise, (first.surprise + none.surprise) / 2)
    assert torch.equal(mixed.suspect, first.suspect)


@pytest.mark.parametrize("levels", [(0.0, 1.0), (1.0, 3.0)])
def test_every_level_is_a_rule_that_makes_sense(levels):
    with pytest.raises(ValueError, match="alpha is positive, and below 1"):
        inferer_of(levels=levels)


@pytest.mark.parametrize("wrong", [{"blur": -0.5}, {"levels": ()}])
def test_blur_and_levels_are_checked(wrong):
    with pytest.raises(ValueError, match="blur is at least 0 and one level is given"):
        inferer_of(**wrong)


@pytest.mark.parametrize("rule", [{}, {"alpha": 0.05, "threshold": 0.005}])
def test_the_flag_rule_is_exactly_one_number(rule):
    with pytest.raises(ValueError, match="exactly one"):
        KDEInferer(**rule)


@pytest.mark.parametrize("name", ["draws", "decodes", "looks", "at_once"])
def test_numbers_below_one_are_refused_at_once(name):
    with pytest.raises(ValueError, match=f"{name}=0"):
        inferer_of(**{name: 0})


def test_another_size_is_refused_with_both_sizes(pair):
    with pytest.raises(ValueError, match=r"\(16, 16\), found \(16, 12\)"):
        inferer_of()(torch.rand(1, 1, 16, 12), pair())


def test_a_score_tells_what_healing_led_to(pair):
    net, inferer = pair(), inferer_of()
    scored, healing = inferer.score(images_for(net), net), inferer.heal(images_for(net), net)
    assert torch.equal(scored.surprise, healing.surprise)
    assert torch.equal(scored.pictures["healed"], healing.mean)
    for i in range(3):
        score = -healing.log_p[i][healing.suspect[i]].sum().item()
        assert scored.numbers["image_score_tokens"][i].item() == pytest.approx(score, rel=1e-5)
    assert scored.numbers["suspect_share"].tolist() == pytest.approx(healing.suspect.double().mean(1).tolist())
