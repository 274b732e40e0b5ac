"""Every config of every bundle from end to end on tiny data, and what it leaves on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import MAEMetric, MSEMetric, PSNRMetric

from monai_iltm.data.documents import read_csv, read_json, write_json
from monai_iltm.data.images import read_image, write_image

PROJECT = Path(__file__).resolve().parents[2]
BUNDLES = PROJECT / "bundles"


def test_config_runs_and_has_all_properties(bundle, config, run, weights, tmp_path):
    """MONAI's list of missing properties is empty, and the results are there."""
    done = run(bundle, config, output_dir=str(tmp_path), **weights(bundle.name, config))
    assert done.missing == []
    left = {path.name for path in tmp_path.iterdir()}
    made = {"train": {"model.pt", "history.csv"}, "inference": {"cases"}, "evaluate": {"cases", "metrics.json"}}
    whole = {"run.json", "vqvae", "round_00", "trivial.json", "bundle", "report.html", "mlflow.db"}
    assert (whole if bundle.name == "iltm" else made[config]) <= left


def test_reconstructions_and_their_error(run, weights, phantom, tmp_path):
    run(BUNDLES / "vqvae", "evaluate", output_dir=str(tmp_path), **weights("vqvae", "evaluate"))
    cases = read_json(phantom / "datalist.json")["testing"]
    pairs = [(tmp_path / f"{case['case']}_reconstruction.tif", phantom / case["image"]) for case in cases]
    made = torch.stack([torch.from_numpy(read_image(ours).array)[None] for ours, _ in pairs])
    real = torch.stack([torch.from_numpy(read_image(file).array / np.float32(255))[None] for _, file in pairs])
    figures = read_json(tmp_path / "metrics.json")
    for name, metric in {"mse": MSEMetric(), "mae": MAEMetric(), "psnr": PSNRMetric(max_val=1.0)}.items():
        assert figures[name] == pytest.approx(metric(made, real).mean().item(), rel=1e-4)
    assert {row["case"] for row in read_csv(tmp_path / "scores.csv")} == {case["case"] for case in cases}


def test_masked_tokens_neither_count_nor_speak(run, weights, phantom, tmp_path):
    """A quarter of the tokens is left to count, and nothing of it changes with what stands under the mask."""
    listed = masked_list(phantom, tmp_path)
    told = weights("masked_transformer", "evaluate")
    run(BUNDLES / "masked_transformer", "evaluate", output_dir=str(tmp_path / "a"), datalist=str(listed), **told)
    figures = read_json(tmp_path / "a" / "metrics.json")
    assert figures["trusted_tokens"] == 64 / 4
    assert 0 < figures["nats_per_token"] < 2 * math.log(8)
    changed = read_json(listed)
    for case in changed["testing"]:
        image = read_image(phantom / case["image"]).array.copy()
        image[:4] = 255 * (np.indices(image[:4].shape).sum(0) // 2 % 2)  # reaches 20 rows further: masked
        case["image"] = str(tmp_path / f"{case['case']}.png")
        write_image(case["image"], image)
    write_json(tmp_path / "changed.json", changed)
    told |= {"datalist": str(tmp_path / "changed.json"), "allow_outside": True}
    run(BUNDLES / "masked_transformer", "evaluate", output_dir=str(tmp_path / "b"), **told)
    again = read_json(tmp_path / "b" / "metrics.json")
    assert all(again[name] == figures[name] for name in ("nats_per_token", "trusted_tokens", "cases"))
    touched = []
    for case in changed["testing"]:
        before, after = (read_image(tmp_path / out / f"{case['case']}_surprise.tif").array for out in "ab")
        touched.append((before[:24] != after[:24]).any())
        np.testing.assert_array_equal(before[24:], after[24:])
    assert any(touched)  # some code under the mask did change


def test_prior_is_trained_without_masked_tokens(run, weights, phantom, tmp_path):
    """The mask decides what is learned; a datalist without one gives another prior from the same seed."""
    listed = masked_list(phantom, tmp_path)
    models = []
    for name, datalist in (("masked", str(listed)), ("again", str(listed)), ("whole", None)):
        told = {**weights("masked_transformer"), "datalist": datalist, "output_dir": str(tmp_path / name)}
        done = run(BUNDLES / "masked_transformer", "train", **told)
        suspects = [int(entry["suspect"].sum()) for entry in done.parser.get_parsed_content("train::dataset").data]
        assert suspects == [48 if datalist else 0] * 6
        models.append(torch.load(tmp_path / name / "model.pt", weights_only=True))
    same = [all(torch.equal(models[0][key], other[key]) for key in other) for other in models[1:]]
    assert same == [True, False]


def test_evaluation_writes_figures_and_maps(run, weights, phantom, tmp_path):
    told = {**weights("kde_inferer"), "surprise_threshold": 1.0, "output_dir": str(tmp_path)}
    run(BUNDLES / "kde_inferer", "evaluate", **told)
    figures = read_json(tmp_path / "metrics.json")
    assert {"auroc", "average_precision", "aupro", "best_dice", "image_auroc", "cases"} <= figures.keys()
    for case in read_json(phantom / "datalist.json")["testing"]:
        surprise = read_image(tmp_path / f"{case['case']}_surprise.tif").array
        mask = read_image(tmp_path / f"{case['case']}_mask.png").array
        np.testing.assert_array_equal(mask > 0, surprise > 1.0)
        assert read_image(tmp_path / f"{case['case']}_healed.tif").array.shape == surprise.shape == (32, 32)


def test_only_the_kinds_that_are_asked_for(run, weights, tmp_path):
    told = {**weights("kde_inferer"), "kinds": ["surprise"], "output_dir": str(tmp_path), "split": "testing"}
    run(BUNDLES / "kde_inferer", "inference", **told)
    kinds = {path.stem.rsplit("_", 1)[1] for path in tmp_path.glob("testing_*")}
    assert kinds == {"surprise"}


def masked_list(phantom: Path, folder: Path) -> Path:
    """A datalist whose cases all have the same mask beside it: the upper three quarters."""
    mask = np.zeros((32, 32), dtype=bool)
    mask[:24] = True
    write_image(folder / "masks" / "upper.png", mask)
    content = json.loads((phantom / "datalist.json").read_text())
    for split in ("training", "testing"):
        content[split] = [{**case, "mask": "masks/upper.png"} for case in content[split]]
    write_json(folder / "masked.json", content)
    return folder / "masked.json"
