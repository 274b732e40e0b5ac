from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from monai_iltm.data.documents import read_csv, read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.engines.evaluation import residual_of, truth_of, write_metrics
from monai_iltm.engines.scoring import write_scores
from monai_iltm.store import ResultFolder

SURPRISE = {"ill": [[1.5, 1.0], [0.0, 0.0]], "well": [[2.0, 0.0], [0.0, 0.0]]}
HEALED = {"ill": [[0.0, 0.0], [0.2, 0.0]], "well": [[0.0, 0.1], [0.0, 0.0]]}
TRUTH = [[True, False], [False, False]]


def case_on_disk(tmp_path: Path, name: str, truth: list | None, split: str = "testing", like: str = "ill") -> dict:
    """A case with an image of one bright pixel, (0, 0) = 1.0, and its results."""
    image = np.zeros((2, 2), np.uint8)
    image[0, 0] = 255
    write_image(tmp_path / f"{name}.png", image)
    write_image(tmp_path / f"out/{name}_surprise.tif", np.array(SURPRISE[like], np.float32))
    write_image(tmp_path / f"out/{name}_healed.tif", np.array(HEALED[like], np.float32))
    record = {"numbers": {"odd": 3.0, "share": 0.25}, "seconds": 0.1}
    write_json(ResultFolder(tmp_path / "out").record(name), record)
    case = {"case": name, "image": str(tmp_path / f"{name}.png"), "split": split}
    if truth is None:
        return case | {"normal": True}
    write_image(tmp_path / f"{name}_truth.png", np.array(truth))
    return case | {"label": str(tmp_path / f"{name}_truth.png")}


def figures(tmp_path: Path, *cases: dict) -> dict | None:
    write_scores(tmp_path / "out", 1.2)
    write_metrics(tmp_path / "out", cases, (0, 255), restored="healed")
    path = ResultFolder(tmp_path / "out").metrics
    return read_json(path) if path.is_file() else None


def test_figures_by_hand(tmp_path):
    """One anomalous pixel among eight, its surprise the second highest: one of seven is above it."""
    cases = [case_on_disk(tmp_path, "ill", TRUTH), case_on_disk(tmp_path, "well", None, like="well")]
    found = figures(tmp_path, *cases)
    assert found["cases"] == 2
    assert found["auroc"] == pytest.approx(6 / 7)
    assert found["average_precision"] == pytest.approx(1 / 2)
    assert found["best_dice"] == pytest.approx(2 / 3)
    assert found["anomalous_auroc"] == found["anomalous_average_precision"] == found["anomalous_best_dice"] == 1
    # residuals: 1.0 on the anomaly; 1.0 on the other image's bright pixel, 0.2 and 0.1 elsewhere
    assert found["residual_auroc"] == pytest.approx(6.5 / 7)
    assert found["residual_anomalous_auroc"] == 1
    # image scores: surprise above 1.2 is 0.3 and 0.8; mean residuals are 1.2 / 4 and 1.1 / 4
    assert found["image_auroc"] == 0
    assert found["residual_image_auroc"] == 1


def test_figures_equal_scikit_learn(tmp_path):
    rng = np.random.default_rng(0)
    cases, truths, maps = [], [], []
    for index in range(4):
        case = case_on_disk(tmp_path, f"c{index}", TRUTH)
        truths.append(rng.random((2, 2)) < 0.4)
        maps.append(rng.random((2, 2)).astype(np.float32))
        truths[-1][0, 0] = index < 2
        write_image(Path(case["label"]), truths[-1])
        write_image(tmp_path / f"out/c{index}_surprise.tif", maps[-1])
        cases.append(case)
    found = figures(tmp_path, *cases)
    truth, values = np.concatenate(truths, None), np.concatenate(maps, None)
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, values))
    assert found["average_precision"] == pytest.approx(average_precision_score(truth, values))


def test_cases_that_stand_apart_count_nowhere_else(tmp_path):
    main = [case_on_disk(tmp_path, "ill", TRUTH), case_on_disk(tmp_path, "well", None, like="well")]
    alone = figures(tmp_path, *main)
    apart = case_on_disk(tmp_path, "odd", [[False, True], [True, True]], "testing_apart")
    found = figures(tmp_path, *main, apart)
    assert {name: value for name, value in found.items() if not name.startswith("apart_")} == alone
    assert found["apart_cases"] == 1
    assert found["apart_auroc"] == 0  # the only normal pixel is the most surprising one


def test_each_kind_of_anomaly_has_figures_of_its_own(tmp_path):
    """The kind that stands apart too; one kind alone would only repeat the whole."""
    well = case_on_disk(tmp_path, "well", None, like="well") | {"kind": "good"}
    hole = case_on_disk(tmp_path, "ill", TRUTH) | {"kind": "big_hole"}
    odd = case_on_disk(tmp_path, "odd", [[False, True], [True, True]], "testing_apart") | {"kind": "odd"}
    assert not any(name.startswith("kind_") for name in figures(tmp_path, well, hole))
    found = figures(tmp_path, well, hole, odd)
    assert found["kind_big_hole_auroc"] == 1
    assert found["kind_odd_auroc"] == 0
    assert not any(name.startswith("kind_good") for name in found)


def test_cases_of_unknown_truth_are_left_out(tmp_path):
    cases = [case_on_disk(tmp_path, "ill", TRUTH), case_on_disk(tmp_path, "unknown", None, like="well")]
    del cases[1]["normal"]
    assert figures(tmp_path, *cases)["cases"] == 1


@pytest.mark.parametrize("truth", [None, [[False, False], [False, False]]])
def test_without_an_anomalous_pixel_there_are_no_figures(tmp_path, truth):
    """An empty label must not end a run of hours either."""
    assert figures(tmp_path, case_on_disk(tmp_path, "well", truth)) is None


def test_an_image_that_is_anomalous_throughout_ends_nothing(tmp_path):
    """Among the anomalous images no pixel is normal then, so that these have no figures; all images have."""
    ill, well = case_on_disk(tmp_path, "ill", [[True, True], [True, True]]), case_on_disk(tmp_path, "well", None)
    assert figures(tmp_path, ill) is None
    assert not any(name.startswith("anomalous_") for name in figures(tmp_path, ill, well))
    assert "auroc" in figures(tmp_path, ill, well)


def test_if_every_image_is_anomalous_there_is_no_image_figure(tmp_path):
    found = figures(tmp_path, case_on_disk(tmp_path, "ill", TRUTH))
    assert "image_auroc" not in found
    assert found["auroc"] == found["anomalous_auroc"] == 1


def test_a_case_without_results_is_named(tmp_path):
    case = case_on_disk(tmp_path, "ill", TRUTH)
    write_scores(tmp_path / "out")
    (tmp_path / "out/ill_surprise.tif").unlink()
    with pytest.raises(InputError, match="no surprise of case ill"):
        write_metrics(tmp_path / "out", [case], (0, 255))


def test_numbers_of_a_case_are_scores_and_means_where_they_are_asked_for(tmp_path):
    """Without a truth the means alone are told."""
    cases = [case_on_disk(tmp_path, "ill", TRUTH), case_on_disk(tmp_path, "well", None, like="well")]
    write_json(ResultFolder(tmp_path / "out").record("well"), {"numbers": {"odd": 1.0, "share": 0.75}, "seconds": 0.1})
    unknown = [{"case": case["case"], "image": case["image"]} for case in cases]
    write_scores(tmp_path / "out")
    path = ResultFolder(tmp_path / "out").metrics
    write_metrics(tmp_path / "out", unknown)
    assert not path.exists()
    write_metrics(tmp_path / "out", unknown, means=["odd", "share"])
    assert read_json(path) == {"odd": 2.0, "share": 0.5, "cases": 2}
    write_metrics(tmp_path / "out", cases, scores=["odd", "share"])
    assert (read_json(path)["image_auroc_odd"], read_json(path)["image_auroc_share"]) == (1.0, 0.0)
    assert not any(name.startswith("residual_") for name in read_json(path))


def test_scores_are_a_row_a_case_highest_first(tmp_path):
    case_on_disk(tmp_path, "ill", TRUTH)
    case_on_disk(tmp_path, "well", None, like="well")
    write_scores(tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "scores.csv")
    assert [(row["case"], float(row["image_score_surprise"])) for row in rows] == [("ill", 2.5), ("well", 2.0)]
    assert (rows[0]["odd"], rows[0]["share"], rows[0]["seconds"]) == ("3.0", "0.25", "0.1")
    write_scores(tmp_path / "out", 1.2)
    rows = read_csv(tmp_path / "out" / "scores.csv")
    assert [row["case"] for row in rows] == ["well", "ill"]
    assert [float(row["image_score_surprise"]) for row in rows] == pytest.approx([0.8, 0.3], abs=1e-6)


# ---- truth and residual in every format ----


@pytest.mark.parametrize(("end", "size"), [(".png", (3, 4)), (".png", (3, 4, 3)), (".nii.gz", (3, 4, 5))])
def test_a_normal_case_is_normal_everywhere(tmp_path, end, size):
    write_image(tmp_path / f"a{end}", np.ones(size, np.uint8))
    truth = truth_of({"case": "a", "image": str(tmp_path / f"a{end}"), "normal": True})
    assert truth.shape == (size[:2] if end == ".png" else size)
    assert truth.dtype == bool
    assert not truth.any()


@pytest.mark.parametrize(("end", "size"), [(".png", (3, 4, 3)), (".nii.gz", (3, 4, 3))])
def test_channels_of_a_picture_are_averaged_and_slices_of_a_volume_are_not(tmp_path, end, size):
    image = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    write_image(tmp_path / f"a{end}", image)
    healed = tmp_path / ("a_healed.tif" if end == ".png" else "a_healed.nii.gz")
    write_image(healed, np.full(size, 0.5, np.float32))
    case = {"case": "a", "image": str(tmp_path / f"a{end}"), "normal": True}
    residual = residual_of(ResultFolder(tmp_path), case, (0, 255))
    expected = np.abs(image / 255 - 0.5)
    np.testing.assert_allclose(residual, expected.mean(-1) if end == ".png" else expected, atol=1e-6)
