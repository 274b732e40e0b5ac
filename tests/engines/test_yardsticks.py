from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_iltm.data.images import write_image
from monai_iltm.engines.yardsticks import MAD_FLOOR, Yardsticks, _robust_z
from monai_iltm.networks import VQVAE
from monai_iltm.transforms import preprocessing


def test_the_robust_z_by_hand():
    """Pixel 1: 0.1, 0.2, 0.4 have the median 0.2 and deviations 0.1, 0, 0.2, so a MAD of 0.1. Pixel 2 never varies."""
    images = [torch.tensor([[[value, 0.5]]]) for value in (0.1, 0.4, 0.2)]
    z = _robust_z(images)(torch.tensor([[[0.5, 0.6]]]))
    assert z.shape == (1, 1, 2)
    assert z.flatten().tolist() == pytest.approx([0.3 / (0.1 + MAD_FLOOR), 0.1 / MAD_FLOOR])


def test_the_robust_z_of_colours_is_their_mean():
    images = [torch.full((3, 1, 1), value) for value in (0.2, 0.4, 0.6)]
    z = _robust_z(images)(torch.tensor([0.4, 0.9, 0.4]).view(3, 1, 1))
    assert z.item() == pytest.approx(0.5 / (0.2 + MAD_FLOOR) / 3)


def test_trivial_detectors_on_a_bright_spot(tmp_path):
    """It is brighter than everything, in places where training images never are: two of three find it alone."""
    rng, training = np.random.default_rng(0), []
    for index in range(5):
        write_image(tmp_path / f"{index}.png", rng.integers(90, 110, (10, 12), dtype=np.uint8))
        training.append({"case": str(index), "image": str(tmp_path / f"{index}.png")})
    picture, truth = rng.integers(90, 110, (10, 12), dtype=np.uint8), np.zeros((10, 12), bool)
    truth[3:5, 6:9] = True
    write_image(tmp_path / "ill.png", np.where(truth, 250, picture).astype(np.uint8))
    write_image(tmp_path / "truth.png", truth)
    ill = {"case": "ill", "image": str(tmp_path / "ill.png"), "label": str(tmp_path / "truth.png")}
    well = {**training[0], "normal": True}
    network = VQVAE(2, 1, (4, 4), 1, num_embeddings=4, embedding_dim=2)
    figures = Yardsticks(preprocessing((12, 12), 1, (0, 255)), network)._trivial(training, [ill, well])
    assert figures.keys() == {"raw_intensity", "robust_z", "vqvae_residual"}
    for name in ("raw_intensity", "robust_z"):
        assert figures[name]["auroc"] == figures[name]["image_auroc"] == figures[name]["anomalous_auroc"] == 1
    assert 0 <= figures["vqvae_residual"]["auroc"] <= 1
