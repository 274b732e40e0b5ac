"""The table of rounds, between the trivial detectors and the bracket, and the words that explain it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monai_iltm.report.story import Stage, Story, finite
from monai_iltm.report.words import (
    COLUMN_LEGEND,
    METRIC_LEGEND,
    METRICS,
    ROW_LEGEND,
    TRIVIAL,
    decimal,
    percent,
    safe,
)

MASK_COLUMNS: dict[str, Callable[[Stage], str]] = {
    "Suspect": lambda stage: percent(stage.suspect_share),
    "Change": lambda stage: percent(stage.change),
    "Overlap": lambda stage: decimal(stage.record.get("jaccard"), 2),
}


def table_html(story: Story) -> str:
    """Trivial detectors, rounds, bracket, then the legend; only columns for which a number exists."""
    metrics = known_metrics(story)
    trivial = {TRIVIAL[name]: story.trivial[name] for name in TRIVIAL if metrics and story.trivial.get(name)}
    rows = [_trivial_row(name, values, metrics) for name, values in trivial.items()]
    rows += [_stage_row(stage, metrics, stage is story.rounds[-1]) for stage in story.rounds]
    brackets = [stage for stage in story.brackets if metrics and stage.metrics]
    rows += [_stage_row(stage, metrics, False, "bracket") for stage in brackets]
    names = [*trivial, *(stage.name for stage in story.rounds), *(stage.name for stage in brackets)]
    note = "" if metrics else "<p>No truth is known for this data, so there are no accuracy figures.</p>"
    table = f'<div class="wide"><table>{_head(metrics)}<tbody>{"".join(rows)}</tbody></table></div>'
    return table + note + _legend(names, metrics)


def known_metrics(story: Story) -> list[str]:
    """The metrics, in table order, that at least one row has."""
    rows: list[Mapping[str, Any]] = [stage.metrics for stage in [*story.rounds, *story.brackets]]
    rows += list(story.trivial.values())
    return [name for name in METRICS if any(finite(row.get(name)) is not None for row in rows)]


def _head(metrics: Sequence[str]) -> str:
    if not metrics:
        return f"<thead><tr><th></th>{''.join(f'<th>{name}</th>' for name in MASK_COLUMNS)}</tr></thead>"
    top = "".join(f'<th rowspan="2">{name}</th>' for name in MASK_COLUMNS)
    top += "".join(f'<th colspan="2" class="group">{METRICS[name]}</th>' for name in metrics)
    pair = '<th class="pair">KDE</th><th>resid.</th>' * len(metrics)
    return f'<thead><tr><th rowspan="2"></th>{top}</tr><tr class="pairs">{pair}</tr></thead>'


def _trivial_row(name: str, values: Mapping[str, Any], metrics: Sequence[str]) -> str:
    """A detector without masks or healing has one score: it spans both columns of a pair."""
    cells = "<td></td>" * len(MASK_COLUMNS)
    cells += "".join(f'<td colspan="2" class="one pair">{decimal(values.get(metric))}</td>' for metric in metrics)
    return f'<tr class="aside"><th>{safe(name)}</th>{cells}</tr>'


def _stage_row(stage: Stage, metrics: Sequence[str], last: bool, kind: str = "") -> str:
    if kind:
        cells = "<td></td>" * len(MASK_COLUMNS)
    else:
        cells = "".join(f"<td>{text(stage)}</td>" for text in MASK_COLUMNS.values())
    for metric in metrics:
        cells += f'<td class="pair">{decimal(stage.metrics.get(metric))}</td>'
        cells += f'<td class="r">{decimal(stage.metrics.get(f"residual_{metric}"))}</td>'
    style = "last" if last else f"aside {kind}" if kind else ""
    return f'<tr class="{style}"><th>{safe(stage.name)}</th>{cells}</tr>'


def _legend(names: Sequence[str], metrics: Sequence[str]) -> str:
    shown = {name for name in names if name in ROW_LEGEND}
    shown |= {"Later rounds"} if any(name.startswith("Round ") and name != "Round 0" for name in names) else set()
    terms = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in ROW_LEGEND.items() if name in shown)
    return f'<dl class="legend">{terms}</dl><p class="legend">{COLUMN_LEGEND}{METRIC_LEGEND if metrics else ""}</p>'
