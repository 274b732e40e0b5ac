"""Several processes compute what one computes: torchrun with two ranks on gloo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_iltm.data.documents import read_csv, read_json, write_json
from monai_iltm.data.images import read_image
from monai_iltm.data.weights import save_in_one_step

pytestmark = pytest.mark.slow

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
EVALUATE = ("configs/inference.json", "configs/evaluate.json", "configs/multi_gpu_evaluate.json")
TRAIN = ("configs/train.json", "configs/multi_gpu_train.json")
# One plain gradient step, so that a difference of rounding stays one: Adam and Muon blow up what is near zero.
PLAIN_STEP = {
    "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.1},
    "lr_scheduler": {"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@optimizer", "factor": 1.0},
}
STEPS = {
    "vqvae": {"vqvae_epochs": 1, "vqvae_batch_size": 6, "head_dropout": 0.0, "vqvae_augment": False},
    "masked_transformer": {"prior_epochs": 1, "prior_batch_size": 6, "prior_dropout": 0.0},
}


def of(tiny: dict, config: Path, **settings: object) -> dict:
    """The settings that this config holds."""
    known = ConfigParser.load_config_file(config)
    return {key: value for key, value in {**tiny, **settings}.items() if key in known}


def assert_same_files(folder: Path, other: Path) -> None:
    """The same images, bit for bit, and the same tables apart from the time they took."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.suffix in (".tif", ".png", ".gz"))
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.suffix in (".tif", ".png", ".gz"))
    assert names
    for name in names:
        np.testing.assert_array_equal(read_image(folder / name).array, read_image(other / name).array, str(name))
    for path in folder.rglob("scores.csv"):
        rows, others = (read_csv(root / path.relative_to(folder)) for root in (folder, other))
        assert [{**row, "seconds": ""} for row in rows] == [{**row, "seconds": ""} for row in others]
    for path in folder.rglob("metrics.json"):
        assert read_json(path) == read_json(other / path.relative_to(folder))


@pytest.mark.parametrize("name", ["vqvae", "masked_transformer"])
def test_one_step_of_two_processes_is_one_of_one(name, command, run, tiny, weights, tmp_path):
    """The same global batch, the same weights after a step up to rounding, the same loss."""
    bundle, overlay = BUNDLES / name, tmp_path / "step.json"
    write_json(overlay, PLAIN_STEP)
    told = of(tiny, bundle / TRAIN[0], **STEPS[name], **weights(name))
    for ranks in (1, 2):
        out = tmp_path / str(ranks)
        if name == "vqvae":
            write_start(run(bundle, "train", **told, output_dir=str(tmp_path / "start")).parser, out)
        files = TRAIN if ranks == 2 else TRAIN[:1]
        done = command(bundle, *files, str(overlay), ranks=ranks, **told, output_dir=out)
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / ranks / "model.pt", weights_only=True) for ranks in "12")
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")
    losses = [float(read_csv(tmp_path / ranks / "history.csv")[-1]["loss"]) for ranks in "12"]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def write_start(parser: ConfigParser, out: Path) -> None:
    """A checkpoint from which training begins with a codebook that has started, so that nothing is drawn."""
    network = parser.get_parsed_content("network_def")
    network.codebook.ema_cluster_size.fill_(1.0)
    network.codebook.ema_w.copy_(network.codebook.embedding.weight)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
    state = {"network": network, "optimizer": optimiser, "scheduler": schedule}
    content = {name: item.state_dict() for name, item in state.items()}
    save_in_one_step(out / "checkpoint.pt", {**content, "epoch": 0, "iteration": 0})


@pytest.mark.parametrize("cases", [3, 1])
def test_evaluation_is_the_same(cases, command, run, tiny, weights, phantom, tmp_path):
    """Three cases for two processes, and one: a process may have nothing to do."""
    bundle = BUNDLES / "kde_inferer"
    content = read_json(phantom / "datalist.json")
    write_json(tmp_path / "list.json", {"testing": content["testing"][:cases]})
    told = {"surprise_threshold": 1.0, "datalist": str(tmp_path / "list.json"), **weights("kde_inferer")}
    run(bundle, "evaluate", **told, output_dir=str(tmp_path / "one"))
    known = of(tiny, bundle / EVALUATE[0], **told)
    done = command(bundle, *EVALUATE, ranks=2, **known, output_dir=tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert_same_files(tmp_path / "one", tmp_path / "two")
