"""Which cases are shown."""

from __future__ import annotations

import re
from dataclasses import replace

from monai_iltm.data.documents import write_csv
from monai_iltm.report.cases import Rated, cases_html, choose
from monai_iltm.report.pixels import Scale
from monai_iltm.report.story import read_story


def rated(name: str, score: float | None, precision: float | None = None, normal: bool = False) -> Rated:
    return Rated({"case": name}, score, precision, normal, solid=False)


def names(groups) -> list[list[str]]:
    return [[case.entry["case"] for case in members] for _, members in groups]


def test_truth_ranks_by_average_precision():
    cases = [rated(letter, 0.0, index / 10) for index, letter in enumerate("abcdefg")]
    cases += [rated("n", 5.0, normal=True), rated("m", 9.0, normal=True)]
    assert names(choose(cases)) == [["a", "b", "c"], ["g", "f", "e"], ["m", "n"]]


def test_without_truth_the_image_score_ranks():
    assert names(choose([rated(letter, float(i)) for i, letter in enumerate("abcdefg")])) == [list("gfe"), list("abc")]


def test_no_case_is_shown_twice():
    assert names(choose([rated("a", 1.0, 0.5), rated("b", 2.0, 0.7), rated("c", 2.0, 0.9)])) == [["a", "b"], ["c"]]
    assert names(choose([rated("a", 1.0)])) == [["a"]]


def test_training_images_are_ranked_by_the_scores_that_lie_beside_their_maps(make_run):
    """Where no test image is scored: those of scores.csv, by which a person would sort, and not another score."""
    run = make_run(rounds=1)
    story = read_story(run)
    listed = {entry["case"]: float(len(story.training) - place) for place, entry in enumerate(story.training)}
    rows = [{"case": case, "image_score_surprise": score} for case, score in listed.items()]
    write_csv(story.rounds[0].folder.maps / "scores.csv", rows)
    page = cases_html(replace(story, testing=[]), Scale(0.0, 5.0))
    shown = re.findall(r"score ([\d.,]+)", page)
    assert [float(score) for score in shown][:2] == sorted(listed.values(), reverse=True)[:2]
