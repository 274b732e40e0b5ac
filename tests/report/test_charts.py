"""The chart maker: SVG that is well formed for any series and any name, and the same for the same data."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest

from monai_iltm.report.charts import Chart, Line, apart, svg

TEXT = "{http://www.w3.org/2000/svg}text"


def texts(picture: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(picture).iter(TEXT)]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("ys", [[1.0], [2.0, 2.0], [0.0, 5.0], [1e-7, 3e4], [-1.0, 1.0], [0.004, 0.1, 0.02]])
def test_any_series_gives_a_finite_picture_with_named_axes(ys, log):
    lines = [Line("training", list(enumerate(ys))), Line("none yet", [])]
    picture = svg(Chart("t", "epoch", "loss, nats", lines, [("level", 1.0)], log=log))
    assert not re.search(r"\bnan\b|\binf\b", picture)
    assert {"epoch", "loss, nats", "training", "level"} <= set(texts(picture))
    assert "none yet" not in picture
    assert not [told for told in texts(picture) if "$" in told or "\\" in told]


def test_names_are_text_whatever_they_hold():
    names = ["<script>alert(1)</script>", "a & b", "$\\frac{1}{$", "段階"]
    picture = svg(Chart("t", "x", "y", [Line(name, [(0, index), (1, index)]) for index, name in enumerate(names)]))
    assert set(names) <= set(texts(picture))


def test_the_same_data_give_the_same_bytes_without_a_date_or_an_address():
    one, again = (svg(Chart("t", "x", "y", [Line("a", [(0, 1.0), (1, 2.0)], dots=True)])) for _ in range(2))
    assert one == again
    assert "<metadata" not in one
    assert "<!DOCTYPE" not in one
    assert one.startswith("<svg")


def test_the_ends_of_an_axis_are_kept_unless_a_value_lies_beyond():
    def ticks(*ys: float) -> list[float]:
        told = texts(svg(Chart("t", "x", "y", [Line("a", list(enumerate(ys)))], floor=0, ceiling=1)))
        return [float(text.replace("\N{MINUS SIGN}", "-")) for text in told if text not in ("x", "y")][2:]

    assert (min(ticks(0.4, 0.5)), max(ticks(0.4, 0.5))) == (0.0, 1.0)
    assert max(ticks(0.4, 3.0)) > 1


def test_labels_stay_in_order_and_apart_and_inside():
    moved = apart([0.99, 0.5, 0.5, 0.98, 0.0], 0.1)
    assert moved == pytest.approx([1.0, 0.5, 0.6, 0.9, 0.0])
    assert all(above - below > 0.099 for below, above in itertools.pairwise(sorted(apart([0.5] * 9, 0.1))))


def test_nothing_to_draw_is_no_picture():
    assert svg(Chart("t", "x", "y", [Line("a", [])], [("level", 1.0)])) == ""
