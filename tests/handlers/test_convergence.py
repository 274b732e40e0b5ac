from __future__ import annotations

import pytest

from monai_iltm.handlers.convergence import Masked, verdict


def rounds(*counts: int, tokens: int = 1000) -> list[Masked]:
    return [Masked(count, tokens) for count in counts]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([100], "continue"),
        ([100, 102], "continue"),
        ([100, 101], "continue"),  # a change of 1 % is not less than 1 %
        ([1000, 1009], "converged"),
        ([1000, 991], "converged"),
        ([100, 100], "converged"),
        ([100, 200, 200], "converged"),
        ([200, 200, 100], "continue"),  # the last change alone counts
        ([0], "collapsed"),
        ([100, 0], "collapsed"),
        ([0, 0], "collapsed"),
        ([9001], "collapsed"),
        ([9000], "continue"),
        ([100, 9500], "collapsed"),
        ([100, 110, 121, 133, 146], "max_rounds"),
        ([100, 110, 121, 133, 133], "converged"),  # also in the last round
    ],
)
def test_by_the_number_of_suspects(counts, expected):
    assert verdict(rounds(*counts, tokens=10_000), max_rounds=5) == expected


def test_tolerance_is_relative_to_the_round_before():
    assert verdict(rounds(100, 104), 9, tolerance=0.05) == "converged"
    assert verdict(rounds(100, 105), 9, tolerance=0.05) == "continue"
    assert verdict(rounds(100, 100), 9, tolerance=0.0) == "continue"
    assert Masked(90, 1000).change_from(Masked(100, 1000)) == pytest.approx(0.1)
    assert Masked(3, 1000).change_from(Masked(0, 1000)) == 3


def swinging(*overlaps: tuple[float | None, float | None]) -> list[Masked]:
    """Rounds whose counts never settle, with (overlap with the last, with the one before)."""
    return [Masked(100 + 20 * (index % 2), 1000, *pair) for index, pair in enumerate(overlaps)]


def test_two_swings_in_succession_are_an_oscillation():
    start = [(None, None), (0.5, None)]
    assert verdict(swinging(*start, (0.3, 0.9), (0.3, 0.9)), 9) == "oscillating"
    assert verdict(swinging(*start, (0.3, 0.9)), 9) == "continue"
    assert verdict(swinging(*start, (0.3, 0.9), (0.9, 0.3)), 9) == "continue"
    assert verdict(swinging(*start, (0.9, 0.3), (0.3, 0.9)), 9) == "continue"
    assert verdict(swinging(*start, (0.6, 0.6), (0.6, 0.6)), 9) == "continue"
    assert verdict(swinging(*start, (0.9, 0.3), (0.3, 0.9), (0.3, 0.9)), 9) == "oscillating"


def test_masks_of_a_fixed_share_must_also_overlap():
    moved = [Masked(100, 1000), Masked(100, 1000, overlap=0.3)]
    assert verdict(moved, 9) == "converged"
    assert verdict(moved, 9, least_overlap=0.9) == "continue"
    assert verdict([moved[0], Masked(100, 1000, overlap=0.95)], 9, least_overlap=0.9) == "converged"


def test_the_limit_ends_what_has_not_ended_by_itself():
    assert verdict(rounds(100, 150), 2) == "max_rounds"
    assert verdict(rounds(100, 150), 1) == "max_rounds"
    assert verdict(rounds(100, 150), 3) == "continue"
    assert verdict(swinging((None, None), (0.5, None), (0.3, 0.9), (0.3, 0.9)), 4) == "oscillating"
