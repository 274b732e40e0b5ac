from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monai_iltm.networks import VQVAE, local_decoder
from monai_iltm.networks.local_decoder import LocalDecoder

CORNER, MIDDLE, END = (slice(0, 2), slice(0, 1)), (slice(12, 14), slice(10, 13)), (slice(27, 28), slice(23, 24))


def vqvae_of(dims: int = 2, layers: int = 1, levels: int = 2) -> VQVAE:
    torch.manual_seed(0)
    net = VQVAE(dims, 2, channels=(6, 4, 8)[:levels], num_res_layers=layers, num_embeddings=16, embedding_dim=3).eval()
    net.codebook.embedding.weight.data.normal_()
    return net


def codes_that_differ(places: list[tuple[slice, ...]], grid: tuple[int, ...] = (28, 24), count: int = 4) -> Tensor:
    codes = torch.randint(16, (1, *grid)).repeat(count, *[1] * len(grid))
    for place in places:
        codes[(slice(1, None), *place)] = torch.randint(16, codes[(slice(1, None), *place)].shape)
    return codes


@torch.no_grad()
def check(vqvae: VQVAE, codes: Tensor) -> LocalDecoder:
    """The images are those of whole decodes."""
    kept = vqvae.head_masks(3, torch.Generator().manual_seed(1))
    kept[0] = False
    kept[0, 0] = True
    decoder = LocalDecoder(vqvae, codes, kept)
    whole = vqvae.decode_heads(vqvae.decode_trunk(vqvae.embed(codes)), kept).transpose(0, 1)
    torch.testing.assert_close(decoder.images(decoder.features(codes)), whole, atol=1e-5, rtol=1e-5)
    return decoder


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("places", [[CORNER], [MIDDLE], [END], [CORNER, END], [CORNER, MIDDLE, END]])
def test_images_are_those_of_whole_decodes(monkeypatch, layers, levels, places):
    monkeypatch.setattr(local_decoder, "WORTHWHILE", 10.0)
    decoder = check(vqvae_of(layers=layers, levels=levels), codes_that_differ(places))
    assert not decoder.whole


def test_so_they_are_in_three_dimensions():
    places = [(slice(1, 2), slice(2, 3), slice(3, 4)), (slice(1, 2), slice(2, 4), slice(20, 21))]
    decoder = check(vqvae_of(dims=3), codes_that_differ(places, (9, 8, 22)))
    assert len(decoder.paths) == 2


def test_no_more_is_decoded_than_a_position_reaches():
    """Sides of 19 pixels about a token of 4: 1 and 2 cells, doubled, 1 more, 2 more, doubled, 1 more."""
    vqvae, codes = vqvae_of(), codes_that_differ([(slice(12, 13), slice(10, 11))])
    decoder = check(vqvae, codes)
    assert [path[-1].reached for path in decoder.paths] == [(..., slice(29, 71), slice(21, 63))]
    with torch.no_grad():
        images = vqvae.decode(vqvae.embed(codes))
    rows, columns = ((images != images[:1]).any(0).any(0)).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (29, 70, 21, 62)


def test_places_whose_reaches_meet_are_one_box(monkeypatch):
    """Both reach 19 pixels, so that nine tokens of 4 pixels between them are too few and ten are enough."""
    monkeypatch.setattr(local_decoder, "WORTHWHILE", 10.0)
    for between, boxes in ((9, 1), (10, 2)):
        places = [(slice(3, 4), slice(5, 6)), (slice(4 + between, 5 + between), slice(5, 6))]
        assert len(check(vqvae_of(), codes_that_differ(places)).paths) == boxes


def test_what_reaches_most_of_the_image_is_decoded_whole():
    assert check(vqvae_of(), codes_that_differ([CORNER, (slice(8, 9), slice(7, 8))], (10, 9))).whole
    assert not check(vqvae_of(), codes_that_differ([MIDDLE])).whole


@pytest.mark.parametrize("count", [1, 3])
def test_equal_grids(count):
    check(vqvae_of(), codes_that_differ([], count=count))
