from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset, decollate_batch
from monai.transforms import Compose

from monai_iltm.data.contamination import sha256
from monai_iltm.data.documents import read_json
from monai_iltm.data.images import read_image, write_image
from monai_iltm.engines.scoring import UnclaimedCases
from monai_iltm.handlers import CaseProgress, SaveResults
from monai_iltm.store import ResultFolder
from monai_iltm.transforms import AnomalyMaskd, ToImageGridd, preprocessing

OBLIQUE = np.array([[0.0, -2.0, 0.1, 4.0], [1.5, 0.0, 0.0, -3.0], [0.0, 0.2, 3.0, 1.0], [0.0, 0.0, 0.0, 1.0]])


class State:
    """What a MONAI evaluator holds after an iteration."""

    epoch_length = 1

    def __init__(self, batch: list, output: list) -> None:
        self.batch, self.output = batch, output


class Evaluator:
    def __init__(self, state: State) -> None:
        self.state = state


def scored(tmp_path, end: str, size: tuple[int, ...], channels: int, threshold: float | None = 0.5) -> Evaluator:
    """A batch of two cases whose surprise is 1 in the first half of the image and 0 in the second."""
    grid = (8, 8) if len(size) == 2 else (8, 8, 8)
    transform, cases = preprocessing(grid, channels, (0, 255)), []
    for case in ("a.v1", "b"):
        array = np.random.default_rng(len(case)).integers(0, 256, (*size, *[3] * (channels == 3)), dtype=np.uint8)
        write_image(tmp_path / f"{case}{end}", array, OBLIQUE)
        cases.append({"case": case, "image": str(tmp_path / f"{case}{end}")})
    (batch,) = DataLoader(Dataset(cases, transform), batch_size=2)
    pred = torch.zeros(2, 1, *grid)
    pred[:, :, : grid[0] // 2] = 1.0
    numbers = {"score": torch.tensor([1.5, 2.5]), "counts": torch.tensor([[1, 2], [3, 4]])}
    result = {"pred": pred, "healed": batch["image"].as_tensor(), "numbers": numbers}
    items = decollate_batch(batch)
    back = Compose([ToImageGridd(["pred", "healed"], transform), AnomalyMaskd(threshold)])
    output = [back({**item, **one}) for item, one in zip(items, decollate_batch(result), strict=True)]
    return Evaluator(State(items, output))


def save(evaluator: Evaluator, folder, **options) -> ResultFolder:
    handler = SaveResults(folder, **options)
    handler.start(evaluator)
    handler(evaluator)
    return ResultFolder(folder)


@pytest.mark.parametrize(
    ("end", "size", "channels"), [(".png", (5, 7), 1), (".png", (5, 7), 3), (".nii.gz", (5, 7, 6), 1)]
)
def test_results_lie_in_the_images_own_grid(tmp_path, end, size, channels):
    results = save(scored(tmp_path, end, size, channels), tmp_path / "out")
    assert results.cases() == ["a.v1", "b"]
    for case in results.cases():
        image = read_image(tmp_path / f"{case}{end}")
        surprise, mask, healed = (read_image(results.require(case, kind)) for kind in ("surprise", "mask", "healed"))
        assert surprise.array.shape == mask.array.shape == size
        assert surprise.array.dtype == np.float32
        expected = np.zeros(size)
        expected[: 4 - (8 - size[0]) // 2] = 1  # the image lies in the middle of the grid
        np.testing.assert_array_equal(surprise.array, expected)
        np.testing.assert_array_equal(mask.array > 0, expected > 0)
        np.testing.assert_allclose(healed.array, image.array / 255, atol=1e-6)
        if image.affine is not None:
            for file in (surprise, mask, healed):
                np.testing.assert_allclose(file.affine, image.affine, atol=1e-5)


def test_the_record_holds_numbers_and_is_written_last(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("monai_iltm.handlers.results.write_image", lambda path, *_, **__: written.append(path.name))
    monkeypatch.setattr("monai_iltm.handlers.results.write_json", lambda path, _: written.append(path.name))
    save(scored(tmp_path, ".png", (5, 7), 1), tmp_path / "out", kinds=["surprise", "healed"])
    assert written == ["a.v1_surprise.tif", "a.v1_healed.tif", "a.v1.json", "b_surprise.tif", "b_healed.tif", "b.json"]


def test_numbers_of_any_kind_come_into_the_record(tmp_path):
    results = save(scored(tmp_path, ".png", (5, 7), 1), tmp_path / "out")
    record = read_json(results.record("b"))
    assert record.pop("seconds") >= 0
    assert record.pop("image") == sha256(tmp_path / "b.png")
    assert all(record.pop(name) >= 0 for name in ("lowest", "mean", "highest"))  # of the image's intensities
    assert record == {"numbers": {"score": 2.5, "counts": [3, 4]}}


def test_only_the_kinds_asked_for_are_written(tmp_path):
    results = save(scored(tmp_path, ".png", (5, 7), 1), tmp_path / "out", kinds=["surprise"])
    assert {path.name for path in (tmp_path / "out").glob("*.*")} == {"a.v1_surprise.tif", "b_surprise.tif"}
    assert results.find("b", "mask") is None


def test_without_a_threshold_there_is_no_mask(tmp_path):
    results = save(scored(tmp_path, ".png", (5, 7), 1, threshold=None), tmp_path / "out")
    assert results.find("b", "mask") is None
    assert results.find("b", "surprise")


def test_the_bar_counts_the_cases_that_all_processes_have_taken(tmp_path, capsys):
    cases, claims = [{"case": case} for case in "abcd"], ResultFolder(tmp_path).claims
    loader = DataLoader(Dataset(cases), batch_size=1, sampler=UnclaimedCases(cases, tmp_path))
    # while this process is at work on a and c, another takes b and d
    engine = Engine(lambda _, batch: (claims / {"a": "b", "c": "d"}[batch["case"][0]]).touch())
    CaseProgress("round 0: testing maps").attach(engine)
    engine.run(loader)
    told = capsys.readouterr().err
    assert "round 0: testing maps" in told
    assert "3/4" in told
