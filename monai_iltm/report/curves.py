"""Which charts the report draws: masks over the rounds, accuracy over the rounds, every stage's training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from monai_iltm.report.charts import Chart, Line, shades
from monai_iltm.report.story import Story, Training, evenly, finite
from monai_iltm.report.words import yardsticks

MOST_ROUNDS = 6  # lines in one chart
NO_CURVE = ("epoch", "seconds")  # columns of a history that tell when, and not how well


def mask_charts(story: Story) -> list[Chart]:
    """Suspect share, overlap with the last round, precision against truth where it is known."""
    share = [None if one.suspect_share is None else 100 * one.suspect_share for one in story.rounds]
    overlap = _by_round("overlap", [one.record.get("jaccard") for one in story.rounds])
    charts = [
        Chart("Suspect training tokens", "round", "share, %", [_by_round("suspect", share)], floor=0),
        Chart("Overlap with the round before", "round", "Jaccard index", [overlap], floor=0, ceiling=1),
    ]
    known = [told if isinstance(told := one.record.get("training_mask"), dict) else {} for one in story.rounds]
    lines = [_by_round(name, [truth.get(name) for truth in known]) for name in ("recall", "precision")]
    charts.append(
        Chart("Training masks against truth (chose nothing)", "round", "share of tokens", lines, floor=0, ceiling=1)
    )
    return drawable(charts)


def accuracy_charts(story: Story) -> list[Chart]:
    """Figures of the rounds between the detectors that learn little and the bracket; none where no truth is known."""
    return drawable(
        [
            _accuracy_chart(story, "average_precision", "Average precision, test pixels", 0.0),
            _accuracy_chart(story, "auroc", "AUROC, test pixels"),
            _accuracy_chart(story, "image_auroc", "Image AUROC"),
        ]
    )


def training_charts(story: Story) -> list[tuple[str, list[Chart]]]:
    """(title, charts) of every stage found: those that all rounds share, then those of the rounds, round by round."""
    shared = [(_titled(training), _stage_charts({"": training})) for training in story.trainings]
    stages: dict[str, dict[str, Training]] = {}
    for one in evenly([one for one in [*story.rounds, story.unfinished] if one and one.trainings], MOST_ROUNDS):
        for training in one.trainings:
            stage = "" if training.name == one.folder.path.name else training.name
            stages.setdefault(stage, {})[one.name] = training
    shared += [(f"{stage or 'Training'} in each round", _stage_charts(rounds)) for stage, rounds in stages.items()]
    return [(title, charts) for title, charts in shared if charts]


def drawable(charts: Iterable[Chart]) -> list[Chart]:
    """Those that have a point to draw."""
    return [chart for chart in charts if any(line.points for line in chart.lines)]


def _titled(training: Training) -> str:
    seconds = sum(row.get("seconds", 0.0) for row in training.rows)
    return f"{training.name}: {len(training.rows)} epochs{f' in {seconds / 60:.1f} minutes' if seconds else ''}"


def _stage_charts(trainings: dict[str, Training]) -> list[Chart]:
    """A chart for each column of the histories, a line for each training by its name; light to dark where several."""
    columns = dict.fromkeys(column for training in trainings.values() for row in training.rows for column in row)
    colours = shades(len(trainings)) if len(trainings) > 1 else [None]
    charts = []
    for column in (column for column in columns if column not in NO_CURVE):
        named = zip(trainings.items(), colours, strict=True)
        lines = [Line(name, _by_epoch(training, column), colour=colour) for (name, training), colour in named]
        word = column.replace("_", " ")
        charts.append(Chart(word, "epoch", word, lines, log=True))
    return drawable(charts)


def _accuracy_chart(story: Story, metric: str, title: str, floor: float | None = None) -> Chart:
    lines = [
        _by_round(label, [one.metrics.get(name) for one in story.rounds])
        for label, name in (("by the map", metric), ("by the residual", f"residual_{metric}"))
    ]
    beside = {end.name: end.metrics for end in story.brackets} | yardsticks(story)
    levels = [(name, value) for name, figures in beside.items() if (value := finite(figures.get(metric))) is not None]
    return Chart(title, "round", title.partition(",")[0], lines, levels, floor=floor)


def _by_epoch(training: Training, column: str) -> list[tuple[float, float]]:
    return [(row.get("epoch", index), row[column]) for index, row in enumerate(training.rows) if column in row]


def _by_round(label: str, values: Sequence[Any]) -> Line:
    points = [(index, number) for index, value in enumerate(values) if (number := finite(value)) is not None]
    return Line(label, points, dots=True)
