"""SVG charts: well formed for any series, labels apart from one another."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest

from monai_iltm.report.charts import Chart, Line, chart_html


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("ys", [[1.0], [2.0, 2.0], [0.0, 5.0], [1e-7, 3e4], [-1.0, 1.0], [0.004, 0.1, 0.02]])
def test_any_series_gives_a_finite_picture(ys, log):
    html = chart_html(Chart("a < b", "epoch", [Line("loss", list(enumerate(ys)))], log=log))
    ElementTree.fromstring(html)
    assert "nan" not in html
    assert "inf" not in html


def test_labels_of_equal_lines_do_not_overlap():
    html = chart_html(Chart("t", "x", [Line(f"line {i}", [(0, 0.0), (1, 0.0)]) for i in range(6)]))
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)" fill="[^"]+">line', html))
    assert len(heights) == 6
    assert all(lower - upper >= 12.9 for upper, lower in itertools.pairwise(heights))
    assert heights[-1] < 208


def test_nothing_to_draw_is_said():
    assert "Nothing to draw yet" in chart_html(Chart("t", "x", [Line("a", [])]))
