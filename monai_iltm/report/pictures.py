"""The panels of some cases as picture files, for programs that show a run in their own way."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from PIL import Image

from monai_iltm.report.cases import panels
from monai_iltm.report.pixels import PANEL_PIXELS, Scale, surprise_scale
from monai_iltm.report.story import evenly, read_story
from monai_iltm.report.volumes import CaseArrays, load_case, views
from monai_iltm.store import RoundFolder

MOST_CASES, GAP = 6, 4  # pictures a round; pixels between two panels
TALLEST = 3  # of a panel: its height as a multiple of its width


def write_pictures(run_folder: Path, folder: RoundFolder, target: Path) -> list[Path]:
    """A PNG for each of some test cases of a finished round: image, healed mean, surprise, mask, truth, side by side.

    Cases are spread evenly over the list, so that the same ones are shown of every round; of a volume, the axial plane
    through the highest surprise. What is not known stays white.
    """
    story = read_story(run_folder)
    stage = next(stage for stage in story.rounds if stage.folder.path == folder.path)
    present = [entry for entry in story.testing if folder.test_file(entry["case"], "surprise")]
    scale, written = surprise_scale(story), []
    for number, entry in enumerate(evenly(present, MOST_CASES)):
        arrays = load_case(story, entry, stage)
        if arrays is not None:
            name = re.sub(r"[^\w.-]", "_", entry["case"], flags=re.ASCII)[:100]
            written.append(target / f"{number}_{name}.png")
            _strip(arrays, scale).save(written[-1])
    return written


def _strip(arrays: CaseArrays, scale: Scale) -> Image.Image:
    """The panels of a case's first view, in a row."""
    view = views(arrays)[0]
    width, height = PANEL_PIXELS, max(1, round(PANEL_PIXELS * min(view.aspect, TALLEST)))
    sources = panels(arrays, view, scale)
    strip = Image.new("RGB", (len(sources) * (width + GAP) - GAP, height), "white")
    for place, source in enumerate(sources):
        if source:
            with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as panel:
                strip.paste(panel.convert("RGB").resize((width, height)), (place * (width + GAP), 0))
    return strip
