"""Which cases are shown."""

from __future__ import annotations

from monai_iltm.report.cases import Rated, choose


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
