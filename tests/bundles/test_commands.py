"""Bundles as users start them, `python -m monai.bundle run`, and what a mistake looks like there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # a command takes some seconds to import all it needs
BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
VQVAE = BUNDLES / "vqvae"


def test_training_by_command(command, tiny, tmp_path):
    """The bundle's own logging says each thing once, and nothing of an epoch: the bar does."""
    small = {"images::size": tiny["image_size"], "vqvae::channels": tiny["vqvae_widths"]}
    small |= {"dataset_dir": tiny["dataset_dir"], "train::trainer::max_epochs": 2}
    done = command(VQVAE, "configs/train.json", output_dir=tmp_path / "out", **small)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.pt", "history.csv"}
    lines = Counter(line.split(" ", 2)[-1] for line in done.stdout.splitlines() if line)
    assert [line for line, count in lines.items() if count > 1 and "---" not in line] == []
    assert "Epoch" not in done.stdout
    assert "VQ-VAE" in done.stderr


@pytest.mark.parametrize("mistake", ["name", "old", "folder", "weights"])
def test_a_mistake_is_one_plain_line(command, tiny, tmp_path, mistake):
    file = tmp_path / "file"
    file.touch()
    told = {"dataset_dir": tiny["dataset_dir"], "output_dir": tmp_path / "out"}
    wrong, words = {
        "name": ({"images::siz": [32, 32]}, "no setting is called 'images::siz': did you mean 'images::size'?"),
        "old": ({"image_size": [32, 32]}, "image_size is called images::size here: write --images::size [32, 32]"),
        "folder": ({"output_dir": file / "out"}, f"{file / 'out'}: output folder cannot be written (Not a directory)"),
        "weights": ({"weights": tmp_path / "none.pt"}, f"{tmp_path / 'none.pt'}: weight file not found"),
    }[mistake]
    done = command(VQVAE, "configs/inference.json", **{**told, **wrong})
    assert done.returncode != 0
    assert done.stderr == f"error: {words}\n"


def test_a_network_that_cannot_be_is_one_plain_line_before_anything_is_made(command, tiny, tmp_path):
    told = {"dataset_dir": tiny["dataset_dir"], "output_dir": tmp_path / "out"}
    told |= {"settings::transformer::width": 16, "settings::transformer::heads": 3}
    done = command(BUNDLES / "iltm", "configs/train.json", **told)
    assert done.returncode != 0
    assert done.stderr.startswith("error: MaskedTransformer: grid is 2D or 3D, heads divide width")
    assert "width 16, heads 3" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*.pt"))
