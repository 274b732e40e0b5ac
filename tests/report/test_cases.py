"""Which cases are shown, and with which pictures."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from monai_iltm.data.documents import read_csv, read_json, write_json
from monai_iltm.data.images import read_image, write_image
from monai_iltm.report.cases import Rated, choose, gallery, moves, ranked
from monai_iltm.report.pictures import Scale
from monai_iltm.report.story import read_story
from monai_iltm.report.volumes import load_case

SCALE = Scale(0.0, 5.0)


def rated(name: str, score: float | None, precision: float | None = None, normal: bool = False) -> Rated:
    return Rated({"case": name, "image": f"{name}.png"}, score, precision, normal)


def names(groups) -> list[list[str]]:
    return [[case.entry["case"] for case in members] for _, members in groups]


def test_truth_ranks_by_average_precision():
    cases = [rated(letter, 0.0, index / 10) for index, letter in enumerate("abcdefg")]
    cases += [rated("n", 5.0, normal=True), rated("m", 9.0, normal=True)]
    assert names(choose(cases)) == [["a", "b", "c"], ["g", "f", "e"], ["m", "n"]]


def test_no_case_is_shown_twice():
    assert names(choose([rated("a", 1.0, 0.5), rated("b", 2.0, 0.7), rated("c", 2.0, 0.9)])) == [["a", "b"], ["c"]]
    assert choose([rated("n", 1.0, normal=True)]) == []


def test_without_truth_the_image_score_ranks_and_the_middle_is_left_out():
    assert names(ranked([rated(letter, float(i)) for i, letter in enumerate("abc")])) == [list("cba")]
    many = ranked([rated(letter, float(i)) for i, letter in enumerate("abcdefghijkl")])
    assert names(many) == [list("lkjihg"), list("cba")]
    assert "after 3 that are not shown" in many[1][0]
    assert names(ranked([rated("b", None), rated("a", None)])) == [["b", "a"]]


def test_training_images_stand_in_the_order_of_scores_csv_where_there_are_no_test_images(make_run):
    run = make_run(testing=0)
    for case in ("training_000", "training_001"):
        image = read_image(run.parent / f"private/data/images/{case}.png").array
        write_image(run / f"round_02/maps/{case}_healed.tif", image.astype(np.float32) / 255)
    shown = gallery(read_story(run), SCALE)
    ((_, cases),) = shown.groups
    scores = {row["case"]: float(row["image_score_surprise"]) for row in read_csv(run / "round_02/maps/scores.csv")}
    assert [case.name for case in cases] == sorted(scores, key=scores.get, reverse=True)
    assert shown.columns == ["Image", "Healed mean", "Surprise", "Mask", "Truth"]
    panels = {case.name: case.planes[0][1] for case in cases}
    assert all(panels["training_000"])
    assert panels["training_003"][1] is None


def test_a_column_that_no_case_fills_is_left_out(make_run):
    run = make_run(testing=0)
    assert gallery(read_story(run), SCALE).columns == ["Image", "Surprise", "Mask", "Truth"]
    datalist = read_json(run / "datalist.json")
    write_json(
        run / "datalist.json", {"training": [{k: e[k] for k in ("case", "image")} for e in datalist["training"]]}
    )
    assert gallery(read_story(run), SCALE).columns == ["Image", "Surprise", "Mask"]


def test_the_last_round_that_has_maps_is_shown(make_run):
    run = make_run(testing=2)
    shutil.rmtree(run / "round_02/test")
    shutil.rmtree(run / "round_02/maps")
    assert gallery(read_story(run), SCALE).title == "Round 1, test images"


def test_a_truth_is_read_by_its_entrys_own_rule(make_run):
    """A label of several values, as one of tissues is, marks those above the threshold that the data set states."""
    run = make_run(testing=1)
    datalist = read_json(run / "datalist.json")
    label = run.parent / "private/data" / datalist["testing"][0]["label"]
    values = np.zeros((24, 32), dtype=np.uint8)
    values[:, :16], values[:3, :4] = 1, 2
    write_image(label, values)
    datalist["testing"][0]["label_threshold"] = 1
    write_json(run / "datalist.json", datalist)
    story = read_story(run)
    assert load_case(story, story.testing[0], story.rounds[-1].folder).truth.sum() == 12


@pytest.mark.parametrize("shape", [(24, 32), (16, 20, 24)])
def test_the_training_image_whose_mask_moved_most_is_shown(make_run, shape):
    run = make_run(shape)
    for index in (0, 2):
        path = next((run / f"round_{index:02d}/masks").glob("training_002*"))
        write_image(path, np.full(shape, index == 2), like=read_image(path))
    moved = moves(read_story(run))
    assert moved.case == "training_002"
    assert [panel.caption for panel in moved.panels][0::3] == ["Image", "Round 2: 100.0 %"]
    assert moved.solid == (len(shape) == 3)
