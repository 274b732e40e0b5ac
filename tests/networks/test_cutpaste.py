from __future__ import annotations

import pytest
import torch

from monai_iltm.networks.cutpaste import HIDDEN, CutPaste, CutPasteLoss


@pytest.fixture
def network() -> CutPaste:
    torch.manual_seed(0)
    return CutPaste((32, 32), 1, patch=16, stride=4, widths=(4, 4, 8, 8)).eval()


@pytest.mark.parametrize("size", [(32, 32, 32), (32, 30), (8, 32)])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(ValueError, match="CutPaste: image_size is 2D"):
        CutPaste(size, patch=16)


@pytest.mark.parametrize(("patch", "stride"), [(4, 8), (15, 4)])
def test_a_stride_that_does_not_fit_a_patch_is_refused(patch, stride):
    with pytest.raises(ValueError, match="CutPaste: image_size is 2D"):
        CutPaste((48, 48), patch=patch, stride=stride)


def test_a_map_lies_on_the_images_grid(network):
    with torch.no_grad():
        images = torch.rand(2, 1, 32, 40)
        assert network.distances(images).shape == (2, 1, 8, 10)
        assert network(images).shape == (2, 1, 32, 40)


def test_a_constant_distance_stays_what_it_is(network):
    """Spreading is an average, at the edges too."""
    network.distances = lambda image: torch.full((1, 1, 8, 10), 3.0)
    torch.testing.assert_close(network(torch.zeros(1, 1, 32, 40)), torch.full((1, 1, 32, 40), 3.0))


def test_one_far_patch_stands_out_where_it_is(network):
    """The patch of row 3, column 6 has its middle between the pixels 13 and 14, and 25 and 26."""
    far = torch.zeros(1, 1, 8, 10)
    far[0, 0, 3, 6] = 1.0
    network.distances = lambda image: far
    found = network(torch.zeros(1, 1, 32, 40))[0, 0]
    assert {tuple(place) for place in (found > 0.999 * found.max()).nonzero().tolist()} == {
        (row, column) for row in (13, 14) for column in (25, 26)
    }


def test_a_fit_makes_the_embeddings_of_its_images_white(network):
    torch.manual_seed(1)
    images = [torch.rand(8, 1, 32, 32) for _ in range(4)]
    with torch.no_grad():
        network.fit(images)
        embedded = torch.cat([part for batch in images for part in network._embedded(batch)])
        white = (embedded - network.mean) @ network.whitening
    assert white.mean(0).abs().max() < 1e-3
    spread = torch.cov(white.T).diagonal()
    assert spread.shape == (HIDDEN,)
    assert spread.max() < 1.2  # shrinkage lowers it where there is little
    assert spread.mean() > 0.05


def test_the_fit_travels_in_the_state_dict(network):
    with torch.no_grad():
        network.fit([torch.rand(8, 1, 32, 32)])
    other = CutPaste((32, 32), 1, patch=16, stride=4, widths=(4, 4, 8, 8)).eval()
    other.load_state_dict(network.state_dict())
    images = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(other(images), network(images))


def test_the_loss_of_a_classifier_that_knows_nothing(network):
    """ln 3, and a third told apart."""
    torch.nn.init.zeros_(network.classifier.weight)
    torch.nn.init.zeros_(network.classifier.bias)
    parts = CutPasteLoss(network, crops=2)({"image": torch.rand(3, 1, 32, 32)}, torch.Generator().manual_seed(0))
    assert parts["loss"].item() == pytest.approx(torch.tensor(3.0).log().item())
    assert parts["accuracy"].item() == pytest.approx(1 / 3)
