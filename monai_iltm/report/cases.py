"""Which cases the report shows and how: the best and the worst found, and the one whose mask moved most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from sklearn.metrics import average_precision_score

from monai_iltm.data.images import is_volume
from monai_iltm.report.pictures import (
    GONE,
    NEW,
    PANELS,
    SUSPECT,
    TRUTH,
    Scale,
    address,
    grey,
    overlay,
    panels,
    window_of,
)
from monai_iltm.report.story import Round, Story, evenly, finite, read_lines
from monai_iltm.report.volumes import CaseArrays, View, load_case, projection, read_array, views
from monai_iltm.report.words import percent
from monai_iltm.store import ResultFolder

MOST_RATED = 120  # cases looked at; spread evenly where there are more
MOST_RANKED, MOST_RANKED_SOLID = 9, 3  # cases shown by their score alone
MOST_CANDIDATES, MOST_ROUNDS = 40, 6  # masks that are compared, and rounds that are shown
TALLEST = 1.25  # of a picture: its height as a multiple of its width
SCORE = "image_score_surprise"  # the column that scores.csv is ordered by


@dataclass(frozen=True)
class Rated:
    """A case with its image score and, where it holds a known anomaly, its own average precision."""

    entry: dict[str, Any]
    score: float | None = None
    precision: float | None = None
    normal: bool = False

    @property
    def solid(self) -> bool:
        """A volume: it takes the room of three pictures."""
        return is_volume(self.entry["image"])


@dataclass(frozen=True)
class Panel:
    """A picture in the page: its data address, width in %, width / height, and the place of the maximum in %."""

    source: str
    caption: str
    width: float
    ratio: float
    cross: tuple[float, float] | None


@dataclass(frozen=True)
class Shown:
    """A case as it is shown: what is said of it, and its planes (name, a panel for each column or None)."""

    name: str
    facts: list[str]
    planes: list[tuple[str, list[Panel | None]]]


@dataclass(frozen=True)
class Gallery:
    """Groups of cases (title, cases) under the same columns."""

    title: str
    columns: list[str]
    groups: list[tuple[str, list[Shown]]]


@dataclass(frozen=True)
class Moves:
    """One training image over the rounds: its id, whether it is a volume, and its pictures."""

    case: str
    solid: bool
    panels: list[Panel]


def gallery(story: Story, scale: Scale) -> Gallery | None:
    """Cases of the last round that has maps: of the test images, else of the training images; None where none has."""
    for one in reversed(story.rounds):
        tested = [entry for entry in story.testing if one.folder.test_file(entry["case"], "surprise")]
        trained = [entry for entry in story.training if one.folder.map(entry["case"])]
        if tested:
            known = any(entry.get("label") or entry.get("normal") for entry in tested)
            rated = _scored(tested, one.folder.scores)
            groups = choose(list(_measured(story, one, rated))) if known else ranked(rated)
            return _hung(story, one, groups or ranked(rated), scale, training=False)
        if trained:
            groups = ranked(_scored(trained, ResultFolder(one.folder.maps).scores))
            return _hung(story, one, groups, scale, training=True)
    return None


def choose(rated: Sequence[Rated]) -> list[tuple[str, list[Rated]]]:
    """Named groups of at most three cases (two for volumes), no case twice; none where no anomaly is known.

    Lowest and highest average precision, and the normal images with the highest score.
    """
    many = 2 if any(case.solid for case in rated) else 3
    known = sorted((case for case in rated if case.precision is not None), key=lambda case: case.precision or 0.0)
    if not known:
        return []
    most = min(many, (len(known) + 1) // 2)
    normal = sorted((case for case in rated if case.normal), key=lambda case: -(case.score or 0.0))
    groups = [
        ("Worst found: lowest average precision", known[:most]),
        ("Best found: highest average precision", known[::-1][: min(many, len(known) - most)]),
        ("Normal images with the highest score", normal[: max(1, many - 1)]),
    ]
    return [(title, members) for title, members in groups if members]


def ranked(rated: Sequence[Rated]) -> list[tuple[str, list[Rated]]]:
    """Cases by their score, highest first, as scores.csv is ordered; the middle is left out where there are many."""
    if not any(case.score is not None for case in rated):
        return [("Cases without a score", list(rated[:MOST_RANKED]))]
    ordered = sorted(rated, key=lambda case: -(case.score if case.score is not None else -np.inf))
    most = MOST_RANKED_SOLID if any(case.solid for case in rated) else MOST_RANKED
    if len(ordered) <= most:
        return [("All, highest image score first", ordered)]
    top = (2 * most + 2) // 3
    left = len(ordered) - most
    return [
        ("Highest image score first", ordered[:top]),
        (f"Lowest image score, after {left} that are not shown", ordered[len(ordered) - (most - top) :]),
    ]


def moves(story: Story) -> Moves | None:
    """The training image whose mask changed most, its mask after each round, and the truth where it is known."""
    rounds = evenly([one for one in story.rounds if one.folder.masks.is_dir()], MOST_ROUNDS)
    entry = _most_moved(story, rounds)
    arrays = load_case(story, entry, rounds[-1].folder, training=True) if entry else None
    if arrays is None or entry is None:
        return None
    solid = len(arrays.spacing) == 3
    view = projection(arrays) if solid else views(arrays)[0]
    masks = [(one.name, seen.mask) for one in rounds if (seen := load_case(story, entry, one.folder, training=True))]
    return Moves(arrays.case, solid, list(_moved(arrays, view, [(name, m) for name, m in masks if m is not None])))


def _moved(arrays: CaseArrays, view: View, masks: Sequence[tuple[str, np.ndarray]]) -> Iterator[Panel]:
    window, image = window_of(arrays, view), view.take(arrays.image)

    def over(areas: list[tuple[np.ndarray, str]], caption: str) -> Panel:
        return _panel(overlay(image, window, arrays.medical, areas), view, caption)

    yield _panel(grey(image, window, arrays.medical), view, "Image")
    before: np.ndarray | None = None
    for name, mask in masks:
        now = view.take(mask)
        areas = [(now, SUSPECT)]
        if before is not None:
            areas = [(before & ~now, GONE), (now & before, SUSPECT), (now & ~before, NEW)]
        yield over(areas, f"{name}: {percent(mask.mean())}")
        before = now
    if arrays.truth is not None:
        yield over([(view.take(arrays.truth), TRUTH)], f"Truth: {percent(arrays.truth.mean())}")


def _most_moved(story: Story, rounds: Sequence[Round]) -> dict[str, Any] | None:
    """The case whose first and last masks differ most; with a single round, the one with the largest mask."""
    best, most = None, -1
    for entry in evenly(story.training, MOST_CANDIDATES):
        masks = [read_array(path)[0] for one in rounds if (path := one.folder.mask(entry["case"]))]
        whole = [mask > 0 for mask in masks if mask is not None]
        if not whole or whole[0].shape != whole[-1].shape:
            continue
        moved = int((whole[0] ^ whole[-1]).sum()) if len(whole) > 1 else int(whole[0].sum())
        if moved > most:
            best, most = entry, moved
    return best


def _scored(entries: Sequence[dict[str, Any]], scores: Any) -> list[Rated]:
    """With the image scores that a person would sort by."""
    score = {row.get("case"): finite(row.get(SCORE)) for row in read_lines(scores)}
    return [Rated(entry, score.get(entry["case"])) for entry in entries]


def _measured(story: Story, one: Round, rated: Sequence[Rated]) -> Iterator[Rated]:
    """With their own average precision, where an anomaly is known."""
    for case in evenly(rated, MOST_RATED):
        arrays = load_case(story, case.entry, one.folder)
        if arrays is None or arrays.surprise is None or arrays.truth is None:
            continue
        precision = None
        if arrays.truth.any():
            precision = float(average_precision_score(arrays.truth.ravel(), arrays.surprise.ravel()))
        yield Rated(case.entry, case.score, precision, normal=precision is None)


def _hung(story: Story, one: Round, groups: Sequence[tuple[str, list[Rated]]], scale: Scale, training: bool) -> Gallery:
    """The groups as pictures, a case in memory at a time; a column that no case fills is left out."""
    hung = []
    for title, cases in groups:
        loaded = ((case, load_case(story, case.entry, one.folder, training)) for case in cases)
        hung.append((title, [_shown(case, arrays, scale) for case, arrays in loaded if arrays is not None]))
    rows = [row for _, cases in hung for case in cases for _, row in case.planes]
    kept = [place for place in range(len(PANELS)) if any(row[place] is not None for row in rows)]
    for row in rows:
        row[:] = [row[place] for place in kept]
    what = "training images, as no test image has been scored" if training else "test images"
    filled = [(title, cases) for title, cases in hung if cases]
    return Gallery(f"{one.name}, {what}", [PANELS[place] for place in kept], filled)


def _shown(case: Rated, arrays: CaseArrays, scale: Scale) -> Shown:
    facts = [case.entry["kind"]] if isinstance(case.entry.get("kind"), str) else []
    facts += [] if case.precision is None else [f"AP {case.precision:.3f}"]
    facts += [] if case.score is None else [f"score {case.score:,{'.4g' if abs(case.score) < 1000 else '.0f'}}"]
    planes = []
    for view in views(arrays):
        named = zip(panels(arrays, view, scale), PANELS, strict=True)
        planes.append((view.name, [None if one is None else _panel(one, view, name) for one, name in named]))
    return Shown(arrays.case, facts, planes)


def _panel(picture: Image.Image, view: View, caption: str) -> Panel:
    """In its true proportions; tall ones are made narrower."""
    cross = None if view.cross is None else (100 * view.cross[0], 100 * view.cross[1])
    return Panel(address(picture), caption, min(100.0, 100 * TALLEST / view.aspect), 1 / view.aspect, cross)
