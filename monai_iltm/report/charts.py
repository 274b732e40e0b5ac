"""Line charts as inline SVG: few ticks, direct labels at the line's end, no legend box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.ticker import MaxNLocator

from monai_iltm.report.words import safe

INK, MUTED, RULE = "#1c2733", "#66727f", "#e4e8ec"
BLUE, OCHRE, TEAL = "#1f5a92", "#b3701a", "#0f766e"
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 356, 208, 50, 12, 36
CHARACTER = 6.1  # width in pixels of an average character at 11.5 px, to leave room for the labels


@dataclass(frozen=True)
class Line:
    """A named line through (x, y) points; `dots` marks each point, for a few rounds rather than many epochs."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str = BLUE
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """What is drawn: lines over one x axis and dashed reference levels (label, value)."""

    title: str
    x_label: str
    lines: Sequence[Line]
    levels: Sequence[tuple[str, float]] = field(default_factory=tuple)
    unit: str = ""
    floor: float | None = None
    ceiling: float | None = None
    log: bool = False


def chart_html(chart: Chart) -> str:
    """The chart as <figure>; a short note in place of the lines where there are no points yet."""
    drawn = [line for line in chart.lines if line.points]
    body = _svg(chart, drawn) if drawn else '<p class="none">Nothing to draw yet.</p>'
    return f'<figure class="chart"><figcaption>{safe(chart.title)}</figcaption>{body}</figure>'


def _svg(chart: Chart, lines: Sequence[Line]) -> str:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + [value for _, value in chart.levels]
    log = chart.log and min(ys) > 0 and max(ys) > 10 * min(ys)
    labels = [line.label for line in lines] + [label for label, _ in chart.levels]
    right = WIDTH - 12 - CHARACTER * max((len(label) for label in labels), default=0)
    y_ticks = _log_ticks(min(ys), max(ys)) if log else _ticks(*_limits(chart, ys))
    low, high = y_ticks[0], y_ticks[-1]
    if log:
        low, high = min(low, min(ys)), max(high, max(ys))

    def at_x(x: float) -> float:
        start, end = min(xs), max(xs)
        return LEFT + 8 + (right - LEFT - 16) * ((x - start) / (end - start) if end > start else 0.5)

    def at_y(y: float) -> float:
        part = math.log(y / low) / math.log(high / low) if log else (y - low) / (high - low)
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * part

    parts = [_y_axis(y_ticks, at_y, right, chart.unit), _x_axis(chart.x_label, xs, at_x, right)]
    parts += [_level(at_y(value), right) for _, value in chart.levels]
    parts += [_line(line, at_x, at_y) for line in lines]
    ends = [(at_y(line.points[-1][1]), line.label, line.colour) for line in lines]
    ends += [(at_y(value), label, MUTED) for label, value in chart.levels]
    parts.append(_end_labels(ends, right))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{safe(chart.title)}">{"".join(parts)}</svg>'


def _limits(chart: Chart, ys: Sequence[float]) -> tuple[float, float]:
    low = min(ys) if chart.floor is None else min(chart.floor, *ys)
    high = max(ys) if chart.ceiling is None else max(chart.ceiling, *ys)
    if high - low < 1e-9:
        return low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    return low, high


def _ticks(low: float, high: float) -> list[float]:
    return [float(tick) for tick in MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if len(powers) > 4 else (1, 3)
    ticks = [step * 10.0**power for power in powers for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside or [low, high]


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".") if 1e-4 <= abs(value) < 1e4 or value == 0 else f"{value:.0e}"


def _y_axis(ticks, at_y, right: float, unit: str) -> str:
    return "".join(
        f'<line x1="{LEFT}" x2="{right:.1f}" y1="{at_y(tick):.1f}" y2="{at_y(tick):.1f}" stroke="{RULE}"/>'
        f'<text x="{LEFT - 6}" y="{at_y(tick) + 4:.1f}" text-anchor="end" fill="{MUTED}">{_number(tick)}{unit}</text>'
        for tick in ticks
    )


def _x_axis(label: str, xs: Sequence[float], at_x, right: float) -> str:
    first, last = min(xs), max(xs)
    ticks = MaxNLocator(nbins=6, integer=True).tick_values(first, last) if last > first else [first]
    y = HEIGHT - BOTTOM + 16
    texts = [
        f'<text x="{at_x(tick):.1f}" y="{y}" text-anchor="middle" fill="{MUTED}">{_number(float(tick))}</text>'
        for tick in ticks
        if first <= tick <= last
    ]
    middle = (LEFT + right) / 2
    return "".join(texts) + f'<text x="{middle:.1f}" y="{y + 15}" text-anchor="middle" fill="{MUTED}">{label}</text>'


def _line(line: Line, at_x, at_y) -> str:
    points = [(at_x(x), at_y(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = points if line.dots or len(points) == 1 else []
    circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{line.colour}"/>' for x, y in dots)
    return f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="1.8"/>{circles}'


def _level(y: float, right: float) -> str:
    return f'<line x1="{LEFT}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{MUTED}" stroke-dasharray="3 3"/>'


def _end_labels(ends: list[tuple[float, str, str]], right: float) -> str:
    """Labels beside the line ends, pushed apart where they would overlap, kept inside the picture."""
    heights: list[float] = []
    for y, _, _ in sorted(ends):
        heights.append(max(y, heights[-1] + 13) if heights else y)
    spill = max(0.0, heights[-1] - (HEIGHT - BOTTOM + 2)) if heights else 0.0
    for index in reversed(range(len(heights))):
        heights[index] = min(heights[index], (heights[index + 1] - 13) if index + 1 < len(heights) else 1e9)
        if index + 1 == len(heights):
            heights[index] -= spill
    return "".join(
        f'<text x="{right + 7:.1f}" y="{height + 4:.1f}" fill="{colour}">{safe(label)}</text>'
        for (_, label, colour), height in zip(sorted(ends), heights, strict=True)
    )
