"""Which lines the report draws: masks over the rounds, accuracy over the rounds, training, codebook."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.colors import to_hex

from monai_iltm.report.charts import BLUE, OCHRE, TEAL, Chart, Line, chart_html
from monai_iltm.report.story import Stage, Story, evenly, finite
from monai_iltm.report.words import TRIVIAL

MOST_PRIOR_CURVES = 6


def mask_charts(story: Story) -> str:
    """Suspect share, overlap with the last round, precision against truth where it is known."""
    share = [(100 * value) if (value := stage.suspect_share) is not None else None for stage in story.rounds]
    charts = [
        Chart("Suspect training tokens", "round", [Line("suspect", _points(share), dots=True)], unit=" %", floor=0),
        Chart(
            "Overlap with the round before (Jaccard)",
            "round",
            [Line("overlap", _points([stage.record.get("jaccard") for stage in story.rounds]), dots=True)],
            floor=0,
            ceiling=1,
        ),
    ]
    truth = [stage.record.get("training_mask") or {} for stage in story.rounds]
    if any(truth):
        lines = [
            Line(name, _points([entry.get(name) for entry in truth]), colour, dots=True)
            for name, colour in (("recall", TEAL), ("precision", OCHRE))
        ]
        charts.append(Chart("Training masks against truth (only shown)", "round", lines, floor=0, ceiling=1))
    return _row(charts)


def accuracy_charts(story: Story) -> str:
    """AP and AUROC of the rounds between the trivial detectors and the bracket; empty where no truth is known."""
    charts = [
        _accuracy_chart(story, "average_precision", "Average precision, test pixels", floor=0),
        _accuracy_chart(story, "auroc", "AUROC, test pixels", floor=None),
        _accuracy_chart(story, "image_auroc", "Image AUROC", floor=None),
    ]
    return _row([chart for chart in charts if any(line.points for line in chart.lines)])


def training_charts(story: Story) -> str:
    """Losses of the VQ-VAE and of each round's prior, and how much of the codebook is used."""
    charts = []
    if story.vqvae:
        total = [Line("loss", _history(story.vqvae, "loss"), BLUE)]
        parts = [Line(n, _history(story.vqvae, n), c) for n, c in (("reconstruction", OCHRE), ("commitment", TEAL))]
        charts.append(Chart("VQ-VAE loss", "epoch", total + parts, log=True))
        charts.append(_codebook_chart(story))
    stages = [stage for stage in [*story.rounds, story.unfinished] if stage and stage.history]
    if stages:
        charts.append(Chart("Prior loss (nats a token)", "epoch", _prior_lines(evenly(stages, MOST_PRIOR_CURVES))))
    return _row(charts)


def _accuracy_chart(story: Story, metric: str, title: str, floor: float | None) -> Chart:
    lines = [
        Line(label, _points([stage.metrics.get(name) for stage in story.rounds]), colour, dots=True)
        for label, name, colour in (("KDE", metric, BLUE), ("mean residual", f"residual_{metric}", OCHRE))
    ]
    known = [(stage.name, finite(stage.metrics.get(metric))) for stage in story.brackets]
    known += [(TRIVIAL[name], finite(story.trivial.get(name, {}).get(metric))) for name in TRIVIAL]
    levels = [(label, value) for label, value in known if value is not None]
    return Chart(title, "round", lines, levels, floor=floor)


def _codebook_chart(story: Story) -> Chart:
    lines = [
        Line("in use", _history(story.vqvae, "codes_in_use"), BLUE),
        Line("perplexity", _history(story.vqvae, "perplexity"), OCHRE),
    ]
    codes = finite(story.setting("num_codes", "num_embeddings", "codes", "vqvae_num_embeddings", "codebook_size"))
    levels = [("all codes", codes)] if codes else []
    return Chart("Codebook: codes in use, perplexity", "epoch", lines, levels, floor=0)


def _prior_lines(stages: Sequence[Stage]) -> list[Line]:
    """Light to dark with the rounds."""
    shades = [to_hex(colormaps["Blues"](0.4 + 0.6 * (i + 1) / len(stages))) for i in range(len(stages))]
    return [Line(s.name.lower(), _history(s.history, "loss"), c) for s, c in zip(stages, shades, strict=True)]


def _history(rows: Sequence[dict[str, float]], column: str) -> list[tuple[float, float]]:
    return [(row.get("epoch", index), row[column]) for index, row in enumerate(rows) if column in row]


def _points(values: Sequence[float | None]) -> list[tuple[float, float]]:
    return [(index, number) for index, value in enumerate(values) if (number := finite(value)) is not None]


def _row(charts: Sequence[Chart]) -> str:
    return f'<div class="charts">{"".join(chart_html(chart) for chart in charts)}</div>' if charts else ""
