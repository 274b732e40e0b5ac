"""report.html: one file that needs nothing else, from the templates beside this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from monai_iltm.data.documents import write_in_one_step
from monai_iltm.report.cases import Gallery, Moves, gallery, moves
from monai_iltm.report.charts import Chart, svg
from monai_iltm.report.curves import accuracy_charts, mask_charts, training_charts
from monai_iltm.report.pictures import GONE, HEAT_STOPS, NEW, SUSPECT, surprise_scale
from monai_iltm.report.story import Story, finite, read_story
from monai_iltm.report.words import (
    METRICS,
    decimal,
    gain,
    is_measured,
    judgement,
    listed,
    percent,
    redact,
    training_masks,
    verdict,
    yardsticks,
)

KEY = (("suspect", SUSPECT), ("newly suspect", NEW), ("no longer suspect", GONE))


@dataclass(frozen=True)
class Row:
    """A line of the table of rounds; `kind` "aside" for what rounds stand beside, "last" for the last of them."""

    name: str
    kind: str
    masks: list[str]
    figures: list[str]


def write_page(run_folder: str | Path) -> Path:
    """Write report.html and return its path (``monai_iltm.report.write_report``)."""
    story = read_story(run_folder)
    page = render(story)
    write_in_one_step(story.run.report, lambda stream: stream.write(page))
    return story.run.report


def render(story: Story) -> str:
    """The page as text; whatever a run folder holds is escaped."""
    room = Environment(
        loader=PackageLoader("monai_iltm.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters |= {"svg": _drawn, "redact": redact}
    scale, metrics = surprise_scale(story), _known_metrics(story)
    shown, moved = gallery(story, scale), moves(story)
    return room.get_template("page.html").render(
        name=story.name,
        judgement=judgement(story),
        told=[sentence for sentence in _told(story) if sentence],
        advice=[] if is_measured(story) else _look_at(story, shown, moved),
        tiles=_tiles(story),
        metrics=[METRICS[name] for name in metrics],
        rows=_rows(story, metrics),
        rounds=story.rounds,
        mask_charts=mask_charts(story),
        accuracy_charts=accuracy_charts(story),
        training_charts=training_charts(story),
        scale=scale,
        stops=HEAT_STOPS,
        gallery=shown,
        moves=moved,
        key=KEY,
        tables=_tables(story.about),
    )


def _told(story: Story) -> list[str]:
    """What the first line leaves out: it holds the verdict on the masks itself where nothing is measured."""
    return [verdict(story) if is_measured(story) else "", gain(story), training_masks(story)]


def _look_at(story: Story, shown: Gallery | None, moved: Moves | None) -> list[str]:
    """Without a truth: what the masks did, and where a person who knows such images should look."""
    shares = [one.suspect_share for one in story.rounds if one.suspect_share is not None]
    advice = []
    if shares:
        before = f"; after round 0 it was {percent(shares[0])}" if len(shares) > 1 else ""
        advice.append(
            f"{percent(shares[-1])} of the training tokens are left out{before}. Is about as much of these images "
            "abnormal? Much more takes what is normal out of the training, much less leaves anomalies in."
        )
    overlap = finite(story.rounds[-1].record.get("jaccard")) if story.rounds else None
    if overlap is not None:
        advice.append(
            f"The last two rounds' masks overlap by {overlap:.2f} (1: the same). Masks that still move mean that "
            "another round may change the result."
        )
    if moved is not None:
        advice.append(f"The mask of {moved.case} moved most (below): does it lie on what you would call abnormal?")
    if shown is not None and shown.groups:
        first = [case.name for case in shown.groups[0][1][:3]]
        advice.append(
            f"Most surprising: {listed(first)} (below). Is what is dark there abnormal, or only rare? And is anything "
            "abnormal left pale in the images with the lowest scores?"
        )
    return advice


def _tiles(story: Story) -> list[tuple[str, str, str]]:
    normal = sum(bool(entry.get("normal")) for entry in story.testing)
    labelled = sum(bool(entry.get("label")) for entry in story.testing)
    test_note = f"{labelled} anomalous, {normal} normal" if labelled or normal else "truth not known"
    tiles = [(str(len(story.training)), "training images", "labels not used")]
    tiles.append((str(len(story.testing)), "test images", test_note if story.testing else "none"))
    if story.rounds:
        last = story.rounds[-1]
        tiles.append((percent(last.suspect_share), "suspect tokens", f"after {last.name.lower()}"))
        for metric, name in (("average_precision", "average precision"), ("auroc", "AUROC")):
            if finite(last.metrics.get(metric)) is not None:
                tiles.append((decimal(last.metrics[metric]), name, "test pixels, last round"))
    return tiles


def _known_metrics(story: Story) -> list[str]:
    """The metrics, in table order, that at least one row has."""
    rows = [one.metrics for one in [*story.rounds, *story.brackets]] + list(story.trivial.values())
    return [name for name in METRICS if any(finite(row.get(name)) is not None for row in rows)]


def _rows(story: Story, metrics: Sequence[str]) -> list[Row]:
    """Detectors that learn little, rounds, bracket."""
    if not story.rounds:
        return []
    rows = [Row(name, "aside", [], _figures(one, metrics)) for name, one in yardsticks(story).items() if metrics]
    for one in story.rounds:
        masks = [percent(one.suspect_share), percent(one.change), decimal(one.record.get("jaccard"), 2)]
        rows.append(Row(one.name, "last" if one is story.rounds[-1] else "", masks, _figures(one.metrics, metrics)))
    ends = [end for end in story.brackets if metrics and end.metrics]
    return rows + [Row(end.name, "aside", [], _figures(end.metrics, metrics)) for end in ends]


def _figures(figures: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    """By the map and by the residual, in turn; a detector without a healed version has the first alone."""
    return [decimal(figures.get(start + name)) for name in metrics for start in ("", "residual_")]


def _tables(about: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """How the run was made, whatever its settings are called."""
    run = {name: about[name] for name in ("started", "seed") if about.get(name) is not None}
    tables = [("Run", run), ("Settings", about.get("settings")), ("Versions", about.get("versions"))]
    return [(title, pairs) for title, pairs in tables if isinstance(pairs, dict) and pairs]


def _drawn(chart: Chart) -> Markup:
    return Markup(svg(chart))  # matplotlib has escaped the names in it
