"""write_report: one file that needs nothing else, tells what exists and keeps what must not be told."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from monai_iltm.data.documents import read_json, write_csv, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.report import write_report
from monai_iltm.report.pictures import address, heat, surprise_scale
from monai_iltm.report.story import read_story
from monai_iltm.report.words import METRICS

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


class Reader(HTMLParser):
    """The tags and attributes that a browser finds in a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(run: Path) -> str:
    path = write_report(run)
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("shape", "colour"), [((24, 32), False), ((24, 32), True), ((16, 20, 24), False)])
def test_a_finished_run_has_all_parts_the_judgement_first(make_run, shape, colour):
    text = text_of(make_run(shape, colour, testing=4))
    parts = [
        "Useful, but short of perfect masks: ",
        "Masks settled after 3 rounds",
        "<h2>Rounds</h2>",
        "Raw intensity<",
    ]
    parts += ["Oracle masks<", "Clean training<", "<h2>How the masks settled</h2>", "<h2>How accurate</h2>"]
    parts += ["Worst found", "Best found", "Normal images", "<h2>Training</h2>", "Settings and versions"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "Research use only, not a medical device" in text
    assert text.count("data:image/png;base64,") > 15
    assert text.count("<svg") == 12


def test_it_needs_no_network_and_tells_no_path(make_run, tmp_path):
    run = make_run()
    text = text_of(run)
    read = Reader(text)
    assert read.tags.isdisjoint({"script", "link", "iframe", "object", "base"})
    addresses = [value or "" for name, value in read.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("data:image/png", "#")) for value in addresses)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text
    for secret in (str(tmp_path), "private", "server.local"):
        assert secret not in text
    assert [path.name for path in run.iterdir() if path.name.startswith(".part")] == []


def test_the_same_run_gives_the_same_page(make_run):
    run = make_run(testing=2)
    assert text_of(run) == text_of(run)


def test_whatever_a_run_holds_is_escaped(make_run):
    """Ids, kinds, names of folders, of settings, of columns and of detectors: every text that others may choose."""
    run = make_run(testing=2)
    expected = Reader(text_of(run)).tags
    about, datalist = read_json(run / "run.json"), read_json(run / "datalist.json")
    about |= {"settings": {HOSTILE: HOSTILE}, "versions": {HOSTILE: HOSTILE}, "started": HOSTILE, "seed": HOSTILE}
    write_json(run / "run.json", about)
    write_json(run / "trivial.json", read_json(run / "trivial.json") | {HOSTILE: {"average_precision": 0.1}})
    write_csv(run / "vqvae/history.csv", [{"epoch": 1, HOSTILE: 2.0}])
    (run / "vqvae").rename(run / HOSTILE)
    for entry in (datalist["testing"][0], *datalist["training"]):
        for path in [*run.glob(f"round_*/*/{entry['case']}_*"), *run.glob(f"round_*/masks/{entry['case']}.*")]:
            path.rename(path.with_name(path.name.replace(entry["case"], HOSTILE + entry["case"])))
        entry |= {"case": HOSTILE + entry["case"], "kind": HOSTILE}
    write_json(run / "datalist.json", datalist)
    hostile = run.rename(run.with_name(HOSTILE))
    page = text_of(hostile)
    read = Reader(page)
    assert read.tags == expected
    assert "onerror" not in {name for name, _ in read.attributes}
    assert "<img src=x" not in page
    assert read.text.count(HOSTILE) > 12


def test_settings_are_shown_whatever_they_are_called(make_run):
    text = text_of(make_run(testing=2))
    for name, value in (("vqvae::network_def::channels", "[8, 16]"), ("scoring::inferer::draws", "12")):
        assert f"<tr><th>{name}</th><td>{value}</td></tr>" in text


def test_every_stage_that_is_found_has_its_curves(make_run):
    run = make_run(testing=2)
    (run / "vqvae").rename(run / "teacher")
    for index in range(3):
        write_csv(run / f"round_{index:02d}/student/history.csv", [{"epoch": 1, "margin": 0.5, "seconds": 90.0}])
    training = text_of(run).split("<h2>Training</h2>")[1]
    assert re.findall(r"<h3>(.*?)</h3>", training)[:3] == [
        "teacher: 40 epochs",
        "Training in each round",
        "student in each round",
    ]
    titles = re.findall(r"<figcaption>(.*?)</figcaption>", training)
    assert titles == ["loss", "reconstruction", "commitment", "perplexity", "codes in use", "loss", "margin"]


def test_every_test_image_is_on_the_same_scale(make_run):
    run, base = make_run(testing=2), np.linspace(0, 4, 24 * 32, dtype=np.float32).reshape(24, 32)
    for times, case in ((1, "testing_000"), (2, "testing_001")):
        write_image(run / f"round_02/test/{case}_surprise.tif", times * base)
    text, scale = text_of(run), surprise_scale(read_story(run))
    assert text.count('class="bar"') == 1
    assert all(address(heat(times * base, scale)) in text for times in (1, 2))


def test_the_table_holds_each_rounds_own_figures(make_run):
    run = make_run()
    text = text_of(run)
    for index in range(3):
        figures = read_json(run / f"round_{index:02d}/metrics.json")
        (row,) = re.findall(rf"<th>Round {index}</th>(.*?)</tr>", text)
        told = re.findall(r"<td[^>]*>(.*?)</td>", row)[3:]
        assert told == [f"{figures[start + name]:.3f}" for name in METRICS for start in ("", "residual_")]


def test_without_truth_it_tells_what_the_masks_did_and_what_to_look_at(make_run):
    run = make_run()
    datalist = read_json(run / "datalist.json")
    bare = {split: [{key: e[key] for key in ("case", "image")} for e in cases] for split, cases in datalist.items()}
    write_json(run / "datalist.json", bare)
    shutil.rmtree(run / "bracket")
    for path in (run / "trivial.json", *run.glob("round_*/metrics.json")):
        path.unlink()
    text = text_of(run)
    assert "Not measured, as no truth of the test images is known. Masks settled after 3 rounds" in text
    (advice,) = re.findall(r"<h2>What to look at</h2>(.*?)</ul>", text, re.S)
    assert "5.3 % of the training tokens are left out; after round 0 it was 4.4 %" in advice
    assert "overlap by 0.95" in advice
    first = re.search(r"<b>(testing_\d+)</b>", text)[1]
    assert f"Most surprising: {first}, testing_" in advice
    assert "highest image score first" in text
    assert "AUROC" not in text


def test_with_truth_there_is_no_such_advice(make_run):
    assert "What to look at" not in text_of(make_run(testing=2))


def test_without_test_images_training_images_are_shown(make_run):
    text = text_of(make_run(testing=0))
    assert "Round 2, training images, as no test image has been scored." in text
    assert re.findall(r"<b>(training_\d+)</b>", text)[:4] == [f"training_{index:03d}" for index in range(4)]


@pytest.mark.parametrize(
    "missing",
    ["vqvae", "round_02/calibration.json", "round_02/scores.csv", "round_02/test", "datalist.json", "round_02/masks"],
)
def test_a_missing_piece_is_no_error(make_run, missing):
    run = make_run()
    path = run / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "Masks settled" in text_of(run)


@pytest.mark.parametrize(
    "damaged",
    [
        "trivial.json",
        "datalist.json",
        "round_02/calibration.json",
        "round_02/metrics.json",
        "round_02/scores.csv",
        "round_02/history.csv",
        "round_00/round.json",
        "run.json",
    ],
)
def test_a_half_written_piece_is_no_error(make_run, damaged):
    run = make_run()
    (run / damaged).write_bytes((run / damaged).read_bytes()[:20] + b"\xff")
    assert "Masks settled" in text_of(run)


@pytest.mark.parametrize("odd", [[], "text", {"training": 3, "testing": [7, {"case": 1}, {"case": "a"}]}])
def test_records_of_another_form_are_no_error(make_run, odd):
    run = make_run(testing=2)
    for name in ("datalist.json", "trivial.json", "round_02/metrics.json", "round_01/round.json"):
        write_json(run / name, odd)
    write_json(run / "run.json", {"settings": odd, "versions": odd})
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
