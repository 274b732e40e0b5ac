"""The chart maker: lines and levels as SVG that needs nothing else, by matplotlib, the same bytes for the same data."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

# Of Okabe and Ito's colours, told apart with any kind of colour vision; each has a marker of its own too.
COLOURS, MARKERS = ("#0072B2", "#D55E00", "#009E73", "#A6487F"), ("o", "s", "^", "D")
INK, MUTED, RULE = "#1c2733", "#5d6874", "#e1e6eb"
UNTOLD = ("Date", "Creator", "Format", "Type")  # nothing that differs from day to day, no address of others
LINE_HEIGHT = 0.075  # of a label, as a share of the height of the axes
LOOK = {
    "svg.fonttype": "none",  # text stays text: it is found, read aloud and set in the page's own letters
    "svg.hashsalt": "monai_iltm",
    "text.parse_math": False,  # a name with two dollars is no formula
    "text.color": INK,
    "font.size": 9.5,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": RULE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
}


@dataclass(frozen=True)
class Line:
    """A named line through (x, y) points; `dots` marks each point, for a few rounds rather than many epochs."""

    label: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    colour: str | None = None


@dataclass(frozen=True)
class Chart:
    """What is drawn: lines over one x axis, and dashed levels (label, value) that they stand beside.

    x_label, y_label: with the unit. floor, ceiling: ends of the y axis, where nothing lies beyond them. log: its scale,
    where all is above 0 and spans more than a factor of ten.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    levels: Sequence[tuple[str, float]] = ()
    floor: float | None = None
    ceiling: float | None = None
    log: bool = False


def svg(chart: Chart) -> str:
    """The chart as an <svg> element, its names escaped; empty where no line has a point.

    Colours, markers and labels at the ends of the lines tell them apart; there is no legend to look up.
    """
    lines = [line for line in chart.lines if len(line.points)]
    if not lines:
        return ""
    with style.context(["default", LOOK]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's browser has other fonts
        figure = Figure(figsize=(4.9, 2.9), layout="constrained")
        _draw(figure.add_subplot(), chart, lines)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(UNTOLD))
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def shades(count: int) -> list[str]:
    """Colours for lines in an order, light to dark."""
    return [to_hex(colormaps["Blues"](0.45 + 0.55 * (index + 1) / count)) for index in range(count)]


def _draw(axes: Axes, chart: Chart, lines: Sequence[Line]) -> None:
    ends = []
    for index, line in enumerate(lines):
        x, y = np.asarray(line.points, dtype=float).T
        place = index % len(COLOURS)
        colour = line.colour or COLOURS[place]
        marker = MARKERS[place] if line.dots or len(x) == 1 else None
        axes.plot(x, y, color=colour, marker=marker, clip_on=False)
        ends.append((y[-1], line.label, colour))
    for label, value in chart.levels:
        axes.axhline(value, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
        ends.append((value, label, MUTED))
    _set_axes(axes, chart, np.array([x for line in lines for x, _ in line.points]))
    if len(ends) > 1:  # the title names a single line
        _label_ends(axes, ends)


def _set_axes(axes: Axes, chart: Chart, xs: np.ndarray) -> None:
    low, high = axes.dataLim.intervaly
    if chart.log and low > 0 and high > 10 * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    if chart.floor is not None and low >= chart.floor:
        axes.set_ylim(bottom=chart.floor)
    if chart.ceiling is not None and high <= chart.ceiling:
        axes.set_ylim(top=chart.ceiling)
    if xs.min() == xs.max():
        axes.set_xticks(xs[:1])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Each label at the right, at the height of its line, or as near as those around it allow."""
    to_share = axes.transData + axes.transAxes.inverted()
    heights = [to_share.transform((axes.get_xlim()[0], y))[1] for y, _, _ in ends]
    for (_, label, colour), height in zip(ends, apart(heights, LINE_HEIGHT), strict=True):
        axes.annotate(label, (1.02, height), xycoords="axes fraction", color=colour, va="center", annotation_clip=False)


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """The same heights, moved up, and down again from 1, until each is `gap` from the next; their order stays."""
    order = np.argsort(heights, kind="stable")
    moved = np.asarray(heights, dtype=float)[order]
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    for index in reversed(range(len(moved))):
        above = moved[index + 1] - gap if index + 1 < len(moved) else 1.0
        moved[index] = min(moved[index], above)
    result = np.empty(len(moved))
    result[order] = moved
    return result.tolist()
