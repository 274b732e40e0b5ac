"""How one training image's mask moved over the rounds, as small multiples."""

from __future__ import annotations

from typing import Any

import numpy as np

from monai_iltm.report.cases import picture_html
from monai_iltm.report.pixels import GONE, NEW, SUSPECT, TRUTH, grey_png, overlay_png, window_of
from monai_iltm.report.story import Stage, Story, evenly
from monai_iltm.report.volumes import View, load_case, projection, read_array, views
from monai_iltm.report.words import percent, safe

MOST_CANDIDATES, MOST_ROUNDS = 40, 6


def moves_html(story: Story) -> str:
    """The training image whose mask changed most, its mask after each round, and the truth where it is known."""
    stages = evenly([stage for stage in story.rounds if stage.folder.masks.is_dir()], MOST_ROUNDS)
    entry = _most_moved(story, stages)
    arrays = load_case(story, entry, stages[-1], training=True) if entry else None
    if arrays is None or entry is None:
        return '<p class="none">No mask has been made yet.</p>'
    view = projection(arrays) if len(arrays.spacing) == 3 else views(arrays)[0]
    window = window_of(arrays, view)
    image = view.take(arrays.image)
    pictures = [_one(grey_png(image, window, arrays.medical), view, "Image")]
    before: np.ndarray | None = None
    for stage in stages:
        seen = load_case(story, entry, stage, training=True)
        if seen is None or seen.mask is None:
            continue
        mask = seen.mask
        source = overlay_png(image, window, arrays.medical, _areas(view.take(mask), before))
        pictures.append(_one(source, view, f"{stage.name}: {percent(float(mask.mean()))}"))
        before = view.take(mask)
    if arrays.truth is not None:
        source = overlay_png(image, window, arrays.medical, [(view.take(arrays.truth), TRUTH)])
        pictures.append(_one(source, view, f"Truth: {percent(float(arrays.truth.mean()))}"))
    solid = ", maximum projection from the front" if len(arrays.spacing) == 3 else ""
    words = f"<p><b>{safe(arrays.case)}</b>{solid}. Share of the image that is suspect after each round. {_key()}</p>"
    return f'{words}<div class="moves">{"".join(pictures)}</div>'


def _most_moved(story: Story, stages: list[Stage]) -> dict[str, Any] | None:
    """The case whose first and last masks differ most; with a single round, the one with the largest mask."""
    best, most = None, -1
    for entry in evenly(story.training, MOST_CANDIDATES):
        masks = [read_array(path)[0] for stage in stages if (path := stage.folder.mask(entry["case"]))]
        whole = [mask > 0 for mask in masks if mask is not None]
        if not whole or whole[0].shape != whole[-1].shape:
            continue
        moved = int((whole[0] ^ whole[-1]).sum()) if len(whole) > 1 else int(whole[0].sum())
        if moved > most:
            best, most = entry, moved
    return best


def _areas(mask: np.ndarray, before: np.ndarray | None) -> list[tuple[np.ndarray, str]]:
    if before is None:
        return [(mask, SUSPECT)]
    return [(before & ~mask, GONE), (mask & before, SUSPECT), (mask & ~before, NEW)]


def _key() -> str:
    entries = (("suspect", SUSPECT), ("newly suspect", NEW), ("no longer suspect", GONE))
    return " ".join(f'<span class="key"><i style="background:{colour}"></i>{text}</span>' for text, colour in entries)


def _one(source: str, view: View, caption: str) -> str:
    return f"<figure>{picture_html(source, view)}<figcaption>{safe(caption)}</figcaption></figure>"
