"""write_report: one file that needs nothing else, tells what exists and keeps what must not be told."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_iltm.data.documents import read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.report import write_report
from monai_iltm.report.pixels import heat_png, surprise_scale
from monai_iltm.report.story import read_story
from monai_iltm.report.words import METRICS


def text_of(run: Path) -> str:
    path = write_report(run)
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("shape", "colour"), [((24, 32), False), ((24, 32), True), ((16, 20, 24), False)])
def test_a_finished_run_has_all_parts(make_run, shape, colour):
    text = text_of(make_run(shape, colour, testing=4))
    parts = ["Masks settled after 3 rounds: suspect tokens changed by 1.2 %.", "Raw intensity", "Oracle masks"]
    parts += ["Clean training", "<h2>How the masks settled</h2>", "<h2>How accurate</h2>", "<h2>Training</h2>"]
    parts += ["Worst found", "Best found", "Normal images", "Settings and versions"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "Research use only, not a medical device" in text
    assert text.count("data:image/png;base64,") > 15


def test_it_needs_no_network_and_tells_no_path(make_run, tmp_path):
    run = make_run()
    text = text_of(run)
    assert not re.search(r"<script|<link|@import|url\(|(src|href)=\"(?!data:)", text)
    assert "default-src 'none'" in text
    for secret in (str(tmp_path), "private", "server.local"):
        assert secret not in text
    assert not list(run.glob("*.part"))


def test_every_test_image_is_on_the_same_scale(make_run):
    run, base = make_run(testing=2), np.linspace(0, 4, 24 * 32, dtype=np.float32).reshape(24, 32)
    for times, case in ((1, "testing_000"), (2, "testing_001")):
        write_image(run / f"round_02/test/{case}_surprise.tif", times * base)
    text, scale = text_of(run), surprise_scale(read_story(run))
    assert text.count('class="bar"') == 1
    assert all(heat_png(times * base, scale) in text for times in (1, 2))


def test_the_table_holds_each_rounds_own_figures(make_run):
    run = make_run()
    text = text_of(run)
    for index in range(3):
        figures = read_json(run / f"round_{index:02d}/metrics.json")
        (row,) = re.findall(rf"<th>Round {index}</th>(.*?)</tr>", text)
        told = re.findall(r"<td[^>]*>(.*?)</td>", row)[3:]
        assert told == [f"{figures[start + name]:.3f}" for name in METRICS for start in ("", "residual_")]


def test_the_training_image_whose_mask_moved_most_is_shown(make_run):
    run = make_run()
    for index in (0, 2):
        write_image(run / f"round_{index:02d}/masks/training_002.png", np.full((24, 32), index == 2))
    moves = text_of(run).split("<h2>One training image over the rounds</h2>")[1]
    assert "training_002" in moves
    assert "Round 2: 100.0 %" in moves


def test_hostile_names_are_escaped(make_run):
    run = make_run(testing=2)
    about = read_json(run / "run.json")
    about["settings"]["note"] = "<img src=x onerror=alert(1)>"
    write_json(run / "run.json", about)
    assert "<img src=x" not in text_of(run)


def test_without_truth_there_are_no_accuracy_figures(make_run):
    run = make_run()
    datalist = read_json(run / "datalist.json")
    bare = {split: [{key: e[key] for key in ("case", "image")} for e in cases] for split, cases in datalist.items()}
    write_json(run / "datalist.json", bare)
    shutil.rmtree(run / "bracket")
    for path in (run / "trivial.json", *run.glob("round_*/metrics.json")):
        path.unlink()
    text = text_of(run)
    assert "No truth is known" in text
    assert "Highest image score" in text
    assert "AUROC" not in text


def test_without_test_cases_training_images_are_shown(make_run):
    text = text_of(make_run(testing=0))
    assert "training images; no test image has been scored" in text


@pytest.mark.parametrize(
    "missing", ["vqvae", "round_02/calibration.json", "round_02/scores.csv", "round_02/test", "datalist.json"]
)
def test_a_missing_piece_is_no_error(make_run, missing):
    run = make_run()
    path = run / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "Masks settled" in text_of(run)


@pytest.mark.parametrize(
    "damaged", ["trivial.json", "datalist.json", "round_02/calibration.json", "round_02/metrics.json"]
)
def test_a_half_written_piece_is_no_error(make_run, damaged):
    run = make_run()
    (run / damaged).write_text((run / damaged).read_text()[:20])
    assert "Masks settled" in text_of(run)


def test_a_damaged_image_is_left_out(make_run, tmp_path):
    run = make_run()
    images = sorted((tmp_path / "private/data/images").glob("testing*"))
    for image in images[:2]:
        image.write_bytes(b"no picture")
    assert "testing_000" not in text_of(run)


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_run_in_progress(make_run, rounds):
    run = make_run(rounds=rounds)
    if rounds:
        record = read_json(run / "round_00/round.json")
        write_json(run / "round_00/round.json", record | {"verdict": "continue"})
    (run / "round_01").mkdir()
    assert "In progress" in text_of(run)


def test_a_run_with_nothing_but_its_record(tmp_path):
    write_json(tmp_path / "run.json", {"settings": {}, "seed": 0})
    assert "No case has been scored yet" in text_of(tmp_path)


def test_no_run_folder_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"holds no run\.json"):
        write_report(tmp_path)
