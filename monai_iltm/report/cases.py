"""Which cases the report shows, and how one looks: image, healed mean, surprise, mask, truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from monai_iltm.data.documents import read_csv
from monai_iltm.report.pixels import (
    SUSPECT,
    TRUTH,
    Scale,
    grey_png,
    heat_png,
    overlay_png,
    window_of,
)
from monai_iltm.report.story import Stage, Story, evenly, finite
from monai_iltm.report.volumes import CaseArrays, View, load_case, views
from monai_iltm.report.words import safe
from monai_iltm.store import ResultFolder

MOST_RATED = 120  # cases looked at; spread evenly where there are more
PANELS = ("Image", "Healed mean", "Surprise", "Mask", "Truth")


@dataclass(frozen=True)
class Rated:
    """A case with its image score and, where it holds a known anomaly, its own average precision."""

    entry: dict[str, Any]
    score: float | None
    precision: float | None
    normal: bool
    solid: bool


def cases_html(story: Story, scale: Scale) -> str:
    """The groups of shown cases of the last round that has maps; a note where there is none."""
    for stage in reversed(story.rounds):
        for training in (False, True):
            rated = _rate(story, stage, training)
            if rated:
                return _groups_html(story, stage, rated, scale, training)
    return '<p class="none">No case has been scored yet.</p>'


def choose(rated: list[Rated]) -> list[tuple[str, list[Rated]]]:
    """Named groups of at most three cases (two for volumes), no case twice.

    With truth: lowest and highest average precision, and the normal images with the highest score. Without: highest
    and lowest image score.
    """
    many = 2 if any(case.solid for case in rated) else 3
    known = sorted((case for case in rated if case.precision is not None), key=lambda case: case.precision or 0.0)
    scored = sorted((case for case in rated if case.score is not None), key=lambda case: case.score or 0.0)
    if not known:
        most = min(many, (len(scored) + 1) // 2)
        low = scored[: min(many, len(scored) - most)]
        groups = [("Highest image score", scored[::-1][:most]), ("Lowest image score", low)]
    else:
        most = min(many, (len(known) + 1) // 2)
        best = known[::-1][: min(many, len(known) - most)]
        normal = [case for case in scored[::-1] if case.normal][: max(1, many - 1)]
        groups = [
            ("Worst found: lowest average precision", known[:most]),
            ("Best found: highest average precision", best),
            ("Normal images with the highest score", normal),
        ]
    return [(title, members) for title, members in groups if members]


def panels(arrays: CaseArrays, view: View, scale: Scale) -> list[str]:
    """One plane as PNG data addresses, in the order of PANELS; empty for what is not known."""
    window, invert = window_of(arrays, view), arrays.medical
    image = view.take(arrays.image)
    sources = [grey_png(image, window, invert)]
    sources.append("" if arrays.healed is None else grey_png(view.take(arrays.healed), window, invert))
    sources.append("" if arrays.surprise is None else heat_png(view.take(arrays.surprise), scale))
    for area, colour in ((arrays.mask, SUSPECT), (arrays.truth, TRUTH)):
        sources.append("" if area is None else overlay_png(image, window, invert, [(view.take(area), colour)]))
    return sources


def panels_html(arrays: CaseArrays, view: View, scale: Scale) -> str:
    """The panels of one plane; an empty place for what is not known."""
    return "".join(picture_html(source, view) for source in panels(arrays, view, scale))


def picture_html(source: str, view: View) -> str:
    """One picture in its true proportions, with marks at the edge for the place of the maximum."""
    if not source:
        return '<div class="panel none">&ndash;</div>'
    width = min(100.0, 100 * 1.25 / view.aspect)  # tall ones are made narrower: at most 1.25 times as high as wide
    marks = ""
    if view.cross:
        marks = f'<i class="h" style="top:{100 * view.cross[1]:.1f}%"></i>'
        marks += f'<i class="v" style="left:{100 * view.cross[0]:.1f}%"></i>'
    style = f"width:{width:.1f}%;aspect-ratio:{1 / view.aspect:.4f}"
    return f'<div class="panel"><div class="frame" style="{style}"><img src="{source}" alt="">{marks}</div></div>'


def _groups_html(story: Story, stage: Stage, rated: list[Rated], scale: Scale, training: bool) -> str:
    what = "training images; no test image has been scored" if training else "test images"
    parts = [f"<p>{safe(stage.name)}, {what}.</p>"]
    for title, members in choose(rated):
        parts.append(f"<h3>{title}</h3>{_head_html()}")
        for member in members:
            arrays = load_case(story, member.entry, stage, training)
            parts.append("" if arrays is None else _case_html(arrays, member, scale))
    return "".join(parts)


def _head_html() -> str:
    return '<div class="case head"><div></div>' + "".join(f"<div>{name}</div>" for name in PANELS) + "</div>"


def _case_html(arrays: CaseArrays, rated: Rated, scale: Scale) -> str:
    name = safe(arrays.case).replace("_", "_<wbr>")
    facts = [f"<b>{name}</b>"]
    if rated.entry.get("kind"):
        facts.append(safe(rated.entry["kind"]))
    if rated.precision is not None:
        facts.append(f"AP {rated.precision:.3f}")
    if rated.score is not None:
        facts.append(f"score {rated.score:,.4g}")
    rows = []
    for number, view in enumerate(views(arrays)):
        words = (facts if number == 0 else []) + ([f"<em>{view.name}</em>"] if view.name else [])
        label = "".join(f"<span>{word}</span>" for word in words)
        rows.append(f'<div class="case"><div class="label">{label}</div>{panels_html(arrays, view, scale)}</div>')
    return f'<div class="{"solid" if len(rows) > 1 else ""}">{"".join(rows)}</div>'


def _rate(story: Story, stage: Stage, training: bool) -> list[Rated]:
    entries = story.training if training else story.testing
    find = stage.folder.map if training else lambda case: stage.folder.test_file(case, "surprise")
    scores = _scores(ResultFolder(stage.folder.maps).scores if training else stage.folder.scores)
    present = [entry for entry in entries if find(entry["case"])]
    rated = (_rate_case(story, entry, stage, scores, training) for entry in evenly(present, MOST_RATED))
    return [case for case in rated if case]


def _rate_case(story: Story, entry: dict, stage: Stage, scores: dict[str, float], training: bool) -> Rated | None:
    arrays = load_case(story, entry, stage, training)
    if arrays is None or arrays.surprise is None:
        return None
    score = scores.get(entry["case"], float(arrays.surprise.mean()))
    precision, normal = None, arrays.truth is not None and not arrays.truth.any()
    if arrays.truth is not None and arrays.truth.any():
        precision = float(average_precision_score(arrays.truth.ravel(), np.nan_to_num(arrays.surprise).ravel()))
    return Rated(entry, score, precision, normal, arrays.surprise.ndim == 3)


def _scores(path: Path) -> dict[str, float]:
    """Image scores by case, from the scores.csv that a person would sort by."""
    if not path.is_file():
        return {}
    rows = read_csv(path)
    pairs = ((row.get("case", ""), finite(row.get("image_score_surprise"))) for row in rows)
    return {case: score for case, score in pairs if score is not None}
