"""report.html: one file that needs nothing else, put together from the parts of this package."""

from __future__ import annotations

from pathlib import Path
from string import Template

from monai_iltm.data.documents import write_in_one_step
from monai_iltm.report.cases import cases_html
from monai_iltm.report.curves import accuracy_charts, mask_charts, training_charts
from monai_iltm.report.moves import moves_html
from monai_iltm.report.pixels import colour_bar, surprise_scale
from monai_iltm.report.story import Story, finite, read_story
from monai_iltm.report.style import CSS
from monai_iltm.report.table import table_html
from monai_iltm.report.words import accuracy, decimal, percent, redact, safe, shortfall, verdict

# The policy forbids every request: what is not in this file cannot be shown.
PAGE = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$name</title><style>$css</style></head><body><main>
<p class="use">Research use only, not a medical device</p>
<header><h1>$name</h1>$shortfall<p class="verdict">$verdict</p><p class="accuracy">$accuracy</p>$tiles</header>
$body
<footer>Anomaly maps by iterative latent token masking (monai_iltm). Research use only, not a medical device.</footer>
</main></body></html>
"""
)


def write_report(run_folder: str | Path) -> Path:
    """Write report.html into a run folder, finished or not, and return its path.

    The page holds no absolute path, no server address and no header field of an image; cases appear by id.
    Raises InputError where the folder is no run folder. Reads at most 120 test cases and 40 training masks.
    """
    story = read_story(run_folder)
    page, path = render(story), Path(story.run.report)
    write_in_one_step(path, lambda stream: stream.write(page))
    return path


def render(story: Story) -> str:
    """The page as text."""
    scale = surprise_scale(story)
    cases = colour_bar(scale) + cases_html(story, scale)
    sections = [
        ("Rounds", _rounds(story)),
        ("How the masks settled", mask_charts(story) if story.rounds else ""),
        ("How accurate", accuracy_charts(story)),
        ("Training", training_charts(story)),
        ("Cases", cases),
        ("One training image over the rounds", moves_html(story)),
    ]
    body = "".join(f"<section><h2>{title}</h2>{content}</section>" for title, content in sections if content)
    return PAGE.substitute(
        name=safe(story.name),
        css=CSS,
        shortfall=_shortfall(story),
        verdict=safe(verdict(story)),
        accuracy=safe(accuracy(story)),
        tiles=_tiles(story),
        body=body + _settings(story),
    )


def _shortfall(story: Story) -> str:
    told = shortfall(story)
    return f'<p class="verdict shortfall">{safe(told)}</p>' if told else ""


def _rounds(story: Story) -> str:
    return table_html(story) if story.rounds else '<p class="none">No round is finished yet.</p>'


def _tiles(story: Story) -> str:
    normal = sum(bool(entry.get("normal")) for entry in story.testing)
    labelled = sum(bool(entry.get("label")) for entry in story.testing)
    test_note = f"{labelled} anomalous, {normal} normal" if labelled or normal else "truth not known"
    tiles = [(str(len(story.training)), "training images", "labels not used")]
    tiles.append((str(len(story.testing)), "test images", test_note))
    if story.rounds:
        last = story.rounds[-1]
        tiles.append((percent(last.suspect_share), "suspect tokens", f"after {last.name.lower()}"))
        for metric, name in (("average_precision", "average precision"), ("auroc", "AUROC")):
            if finite(last.metrics.get(metric)) is not None:
                tiles.append((decimal(last.metrics[metric]), name, "test pixels, last round"))
    cells = "".join(f"<div><b>{value}</b><span>{name}</span><small>{note}</small></div>" for value, name, note in tiles)
    return f'<div class="tiles">{cells}</div>'


def _settings(story: Story) -> str:
    about = story.about
    groups = [
        ("Run", {key: about[key] for key in ("started", "seed") if about.get(key) is not None}),
        ("Settings", story.settings),
        ("Versions", about.get("versions") or {}),
    ]
    tables = "".join(_pairs(title, pairs) for title, pairs in groups if pairs)
    return f"<details><summary>Settings and versions</summary>{tables}</details>" if tables else ""


def _pairs(title: str, pairs: dict) -> str:
    rows = "".join(f"<tr><th>{safe(key)}</th><td>{safe(redact(pairs[key]))}</td></tr>" for key in pairs)
    return f'<h3>{title}</h3><table class="pairs-table">{rows}</table>'
