"""What the next round leaves out, and that another method than latent token masking goes round with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_iltm.data.cases import load_cases
from monai_iltm.data.documents import read_csv, read_json, write_csv
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image, write_image
from monai_iltm.engines import marks
from monai_iltm.engines.marks import Drop, Mask
from monai_iltm.engines.names import full_ids
from monai_iltm.engines.package import package_bundle
from monai_iltm.engines.rounds import Rounds
from monai_iltm.engines.yardsticks import Yardsticks
from monai_iltm.store import RoundFolder
from monai_iltm.transforms import preprocessing

SAMPLE = np.arange(64, dtype=np.float32)
CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "iltm" / "configs"


@pytest.fixture
def scored(tmp_path) -> tuple[RoundFolder, list[dict[str, Any]]]:
    """A round with maps and scores of four cases, a to d: d scores highest, then b; b has a label with an anomaly."""
    folder, cases = RoundFolder(tmp_path / "run" / "round_00"), []
    for index, (case, score) in enumerate({"a": 1.0, "b": 3.0, "c": 2.0, "d": 4.0}.items()):
        image = np.random.default_rng(index).integers(0, 255, (8, 8), dtype=np.uint8)
        write_image(tmp_path / "data" / f"{case}.png", image)
        write_image(folder.maps / f"{case}_surprise.tif", np.arange(64, dtype=np.float32).reshape(8, 8) + score)
        cases.append({"case": case, "image": str((tmp_path / "data" / f"{case}.png").resolve()), "score": score})
    write_csv(folder.maps / "scores.csv", [{"case": c["case"], "image_score_surprise": c["score"]} for c in cases])
    for case, anomalous in (("b", True), ("c", False)):
        write_image(tmp_path / "data" / f"{case}_label.png", np.full((8, 8), anomalous))
        next(c for c in cases if c["case"] == case)["label"] = str(tmp_path / "data" / f"{case}_label.png")
    return folder, cases


def test_the_images_that_score_highest_are_dropped(scored, tmp_path):
    folder, cases = scored
    drop = Drop(0.5)
    assert drop.make(folder, cases, tmp_path / "data", SAMPLE) == 3.0
    assert [case["case"] for case in load_cases(tmp_path / "data", datalist=folder.datalist)] == ["a", "c"]
    assert read_json(folder.datalist)["training"][0] == {"case": "a", "image": "a.png"}
    assert drop.made(folder, cases).tolist() == [False, True, False, True]
    assert drop.true(cases).tolist() == [False, True, False, False]
    assert [entry["case"] for entry in drop.oracle(cases)] == ["a", "c", "d"]


def test_at_least_one_image_is_dropped_and_never_one_that_is_known_to_be_normal(scored, tmp_path):
    folder, cases = scored
    cases[3]["lock_normal"] = cases[3]["image"]
    Drop(0.01).make(folder, cases, tmp_path / "data", SAMPLE)
    assert len(read_json(folder.datalist)["training"]) == 4
    Drop(0.5).make(folder, cases, tmp_path / "data", SAMPLE)
    assert [entry["case"] for entry in read_json(folder.datalist)["training"]] == ["a", "c", "d"]


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_is_none_and_not_all(share):
    with pytest.raises(InputError, match=r"share of images .* lies in \(0, 1\), found"):
        Drop(share)


def test_masks_are_pooled_once_and_anew_where_one_is_edited(scored, tmp_path, monkeypatch):
    folder, cases = scored
    mask = Mask(preprocessing((8, 8), 1, (0, 255), mask_keys=["mask"]), (2, 2), share=0.25)
    mask.make(folder, cases, tmp_path / "data", SAMPLE)
    first = mask.made(folder, cases)
    assert first.shape == (4, 2, 2)
    assert first.any()
    monkeypatch.setattr(marks, "suspect_tokens", None)  # whoever pools again fails
    assert torch.equal(mask.made(folder, cases), first)
    monkeypatch.undo()
    write_image(folder.masks / "a.png", np.ones((8, 8), bool))
    assert mask.made(folder, cases)[0].all()
    folder.pooled.write_bytes(b"damaged")
    assert mask.made(folder, cases)[0].all()


# ---- rounds round another method ----

SETTINGS = {"image_size": [32, 32], "mask_share": 0.1, "mask_density": None, "max_rounds": 2, "tolerance": 0.0}
DENSE = {"train::trainer::max_epochs": 3, "train::trainer::batch_size": 3, "network_def::latent": 8}
DROP = {"_target_": "monai_iltm.engines.marks.Drop", "share": 0.34}


@pytest.fixture
def dense(tmp_path, phantom) -> Callable[..., Rounds]:
    """Builder of rounds round the dense VAE."""

    def build(**settings: Any) -> Rounds:
        files = [CONFIGS / "train.json", CONFIGS.parents[2] / "configs" / "dense_vae.json"]
        parser = ConfigParser(ConfigParser.load_config_files([str(path) for path in files]))
        paths = {"bundle_root": str(CONFIGS.parent), "dataset_dir": str(phantom), "output_dir": str(tmp_path / "run")}
        inner = {f"settings::{name}": value for name, value in DENSE.items()}
        parser.update({**full_ids(SETTINGS), **paths, "train::handlers": [], **inner, **settings})
        return parser.get_parsed_content("train::trainer")

    return build


@pytest.mark.slow
def test_masks_of_pixels_go_round_a_dense_vae(dense):
    rounds = dense()
    rounds.run()
    first, second = rounds.folder.rounds()
    share = np.mean([read_image(path).array > 0 for path in sorted(first.masks.iterdir())])
    assert share == pytest.approx(0.1, abs=0.002)
    record = read_json(second.record)
    assert record["tokens"] == 6 * 32 * 32  # pixels, as there are no tokens
    assert record["suspect_tokens"] == pytest.approx(0.1 * 6 * 32 * 32, rel=0.02)
    assert {"kl", "mse", "image_score_surprise"} <= read_csv(second.scores)[0].keys()
    assert 0 <= read_json(second.metrics)["image_auroc_kl"] <= 1
    weights = [torch.load(folder.model, weights_only=True) for folder in (first, second)]
    assert any(not torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.slow
def test_a_killed_run_of_it_ends_as_an_undisturbed_one(dense, tmp_path):
    dense().run()
    expected = {path.relative_to(tmp_path): path.read_bytes() for path in sorted((tmp_path / "run").rglob("*.tif"))}
    for path in ("round_01", "round_00/test", "round_00/metrics.json", "round_00/round.json", "round_00/scores.csv"):
        gone = tmp_path / "run" / path
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    dense().run()
    found = {path.relative_to(tmp_path): path.read_bytes() for path in sorted((tmp_path / "run").rglob("*.tif"))}
    assert found == expected


@pytest.mark.slow
def test_whole_images_are_left_out_and_the_bundle_that_scores_is_packed(dense):
    rounds = dense(marks=DROP)
    rounds.run()
    first, second = rounds.folder.rounds()
    assert len(read_json(first.datalist)["training"]) == 4
    assert (read_json(second.record)["tokens"], read_json(second.record)["suspect_tokens"]) == (6, 2)
    assert not first.masks.exists()
    ends = Yardsticks(rounds.method.preprocessing(rounds.settings))._trainings(rounds)
    assert [one.folder.title for one in ends] == ["bracket clean"]  # no image without an anomaly is left for the oracle
    package_bundle(rounds.folder, rounds.method, rounds.settings)
    config = read_json(rounds.folder.bundle / "configs" / "inference.json")
    assert (config["network_def"]["latent"], config["images"]["size"]) == (8, [32, 32])
    assert (rounds.folder.bundle / "models" / "model.pt").read_bytes() == second.model.read_bytes()


def test_marks_that_a_method_cannot_honour_are_refused(dense, monkeypatch):
    monkeypatch.setattr(Drop, "level", "hours")
    with pytest.raises(RuntimeError) as caught:
        dense(marks=DROP)
    assert "dense_vae cannot leave out hours, only places and images" in str(caught.value.__cause__)
