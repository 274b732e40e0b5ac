"""Several processes compute what one computes: torchrun with two ranks on gloo."""

from __future__ import annotations

import shutil
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
    "optimizer": {"_target_": "torch.optim.SGD", "params": "$@loss.parameters()", "lr": 1.0},
    "lr_scheduler": {"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@optimizer", "factor": 1.0},
}
STEPS = {
    "vqvae": {"vqvae_epochs": 1, "vqvae_batch_size": 6, "head_dropout": 0.0, "vqvae_augment": False},
    "masked_transformer": {"prior_epochs": 1, "prior_batch_size": 6, "prior_dropout": 0.0},
}


def assert_same_files(folder: Path, other: Path) -> None:
    """The same images, bit for bit, and the same tables apart from the time they took."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.suffix in (".tif", ".png", ".gz"))
    assert names == sorted(
        path.relative_to(other) for path in other.rglob("*") if path.suffix in (".tif", ".png", ".gz")
    )
    assert names
    for name in names:
        np.testing.assert_array_equal(read_image(folder / name).array, read_image(other / name).array, str(name))
    for path in folder.rglob("scores.csv"):
        rows, others = (read_csv(root / path.relative_to(folder)) for root in (folder, other))
        assert [{**row, "seconds": ""} for row in rows] == [{**row, "seconds": ""} for row in others]
    for path in folder.rglob("metrics.json"):
        assert read_json(path) == read_json(other / path.relative_to(folder))


@pytest.mark.parametrize("name", ["vqvae", "masked_transformer"])
def test_one_step_of_two_processes_is_one_of_one(name, command, run, of, weights, tmp_path):
    """The same global batch, the same weights after a step in float32 up to rounding, the same loss."""
    bundle, overlay = BUNDLES / name, tmp_path / "step.json"
    write_json(overlay, PLAIN_STEP)
    told = of([bundle / TRAIN[0]], **STEPS[name], amp=False, **weights(name))
    one, two = tmp_path / "one", tmp_path / "two"
    if name == "vqvae":
        start = write_start(run(bundle, "train", **told, output_dir=str(tmp_path)).parser, one / "checkpoint.pt")
        two.mkdir()
        shutil.copy(start, two)
    run(bundle, "train", overlay, **told, output_dir=str(one))
    done = command(bundle, *TRAIN, str(overlay), ranks=2, **told, output_dir=two)
    assert done.returncode == 0, done.stderr
    after, other = (torch.load(out / "model.pt", weights_only=True) for out in (one, two))
    assert after.keys() == other.keys()
    for key in after:
        told = f"{key}: {{}}".format
        torch.testing.assert_close(other[key], after[key], rtol=1e-4, atol=1e-6, msg=told)
    losses = [float(read_csv(out / "history.csv")[-1]["loss"]) for out in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def write_start(parser: ConfigParser, path: Path) -> Path:
    """A checkpoint from which training begins with a codebook that has started, so that nothing is drawn."""
    network = parser.get_parsed_content("network_def")
    network.codebook.ema_cluster_size.fill_(1.0)
    network.codebook.ema_w.copy_(network.codebook.embedding.weight)
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
    state = {"network": network, "optimizer": optimiser, "scheduler": schedule}
    content = {name: item.state_dict() for name, item in state.items()}
    save_in_one_step(path, {**content, "start_over": {"last": 0}, "epoch": 0, "iteration": 0})
    return path


def test_a_codebook_starts_in_two_processes(command, of, tmp_path):
    """What one process draws for a code, all have: training goes on, and more than one code is in use."""
    bundle = BUNDLES / "vqvae"
    done = command(bundle, *TRAIN, ranks=2, **of([bundle / TRAIN[0]]), output_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    history = read_csv(tmp_path / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert all(float(row["perplexity"]) > 1.5 for row in history)


@pytest.mark.parametrize(("name", "cases"), [("kde_inferer", 3), ("masked_transformer", 3), ("vqvae", 1)])
def test_evaluation_is_the_same(name, cases, command, run, of, weights, phantom, tmp_path):
    """Three cases for two processes, and one: a process may have nothing to do."""
    bundle = BUNDLES / name
    content = read_json(phantom / "datalist.json")
    write_json(tmp_path / "list.json", {"testing": content["testing"][:cases]})
    told = {"datalist": str(tmp_path / "list.json"), **weights(name, "evaluate")}
    if name == "kde_inferer":
        told["surprise_threshold"] = 1.0
    run(bundle, "evaluate", **told, output_dir=str(tmp_path / "one"))
    known = of([bundle / EVALUATE[0]], **told)
    done = command(bundle, *EVALUATE, ranks=2, **known, output_dir=tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert_same_files(tmp_path / "one", tmp_path / "two")


def test_rounds_are_the_same_from_the_same_weights(command, run, of, tmp_path):
    """With round 0's weights in place two processes make its very maps, masks and figures.

    Then they go on by themselves, through the next round, the bracket, the bundle and the report.
    """
    bundle, one, two = BUNDLES / "iltm", tmp_path / "one", tmp_path / "two"
    told = of([bundle / TRAIN[0]])
    run(bundle, "train", **told, output_dir=str(one))
    for name in ("vqvae", "round_00"):
        (two / name).mkdir(parents=True)
        for kept in ("model.pt", "history.csv"):
            shutil.copy(one / name / kept, two / name)
    done = command(
        bundle,
        *TRAIN,
        ranks=2,
        **{**told, "train::trainer::max_epochs": 2, "train::handlers::2::bracket": True},
        output_dir=two,
    )
    assert done.returncode == 0, done.stderr
    assert_same_files(one / "round_00", two / "round_00")
    here, there = (read_json(run / "round_00" / "round.json") for run in (one, two))
    assert {**here, "verdict": ""} == {**there, "verdict": ""}
    assert len(read_csv(two / "round_01" / "history.csv")) == 2
    for name in ("round_01/metrics.json", "bracket/oracle/metrics.json", "bundle/models/model.pt", "report.html"):
        assert (two / name).is_file(), name
