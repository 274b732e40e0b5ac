"""How far a run is, told from which files exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from monai_iltm.report.story import BRACKETS, Round, Story, Training, finite, read_story
from monai_iltm.report.words import METRICS, decimal, is_measured, judgement, percent, verdict, yardsticks

FINAL = ("converged", "collapsed", "oscillating", "max_rounds")
SHOWN = ("auroc", "average_precision", "aupro", "best_dice")


def status(run_folder: str | Path) -> str:
    """A few lines of plain text: name, stage in progress, rounds so far, what the same command will do next.

    Raises InputError where the folder is no run folder.
    """
    story = read_story(run_folder)
    stage, following = _stage(story)
    lines = [
        f"{story.name}: {len(story.training)} training images, {len(story.testing)} test images",
        f"Stage: {stage}",
        f"Masks: {verdict(story)}",
    ]
    if is_measured(story):
        lines.append(f"Result: {judgement(story).text}")
    if story.rounds:
        lines += ["", *_table(story)]
    return "\n".join([*lines, "", f"Next: {following}"])


def _stage(story: Story) -> tuple[str, str]:
    """What is being done, and what the same command will do when it is started again."""
    begun = next((training for training in story.trainings if not training.done), None)
    if not story.rounds and begun is not None:
        return f"{begun.name}, {_epochs(begun)}", f"go on training {begun.name} ({_epochs(begun)})."
    if not story.rounds and not story.trainings:
        return "not begun", "train the first stage."
    if not story.rounds or story.rounds[-1].record.get("verdict") not in FINAL:
        return _round_stage(story)
    open_ends = [end.path.name for end in map(story.run.bracket, BRACKETS) if _is_open(end.path, end.record)]
    if open_ends:
        return f"bracket, {open_ends[0]} in progress", f"finish the bracket ({', '.join(open_ends)})."
    if not (story.run.bundle / "models" / "model.pt").is_file():
        return "rounds done", "measure what they stand beside, and make the bundle."
    if not story.run.report.is_file():
        return "rounds done, report missing", "write the report."
    return "done", "nothing is left to do; see report.html."


def _round_stage(story: Story) -> tuple[str, str]:
    """The unfinished round's stage: training, training maps, masks, test cases."""
    name, current = f"round {len(story.rounds)}", story.unfinished
    if current is None or not current.trainings:
        return f"{name}, not begun", f"train {name}."
    begun = next((training for training in current.trainings if not training.done), None)
    if begun is not None:
        what = name if begun.name == current.folder.path.name else f"{begun.name} of {name}"
        return f"{name}, training, {_epochs(begun)}", f"go on training {what} ({_epochs(begun)})."
    return _scoring_stage(story, current, name)


def _scoring_stage(story: Story, current: Round, name: str) -> tuple[str, str]:
    folder, ids = current.folder, [entry["case"] for entry in story.training]
    scored = _done(folder.map(case) for case in ids)
    if scored < len(ids):
        progress = f"{scored} of {len(ids)} done"
        return f"{name}, scoring training images, {progress}", f"go on scoring the training images ({progress})."
    masked = _done(folder.mask(case) for case in ids)
    if masked < len(ids):
        return f"{name}, making masks, {masked} of {len(ids)} done", f"make the masks of {name}."
    tested = _done(folder.test_file(entry["case"], "surprise") for entry in story.testing)
    progress = f"{tested} of {len(story.testing)} done"
    return f"{name}, scoring test images, {progress}", f"go on scoring the test images ({progress})."


def _done(files: Iterable[Path | None]) -> int:
    return sum(file is not None for file in files)


def _is_open(folder: Path, record: Path) -> bool:
    """An end of the bracket that is begun, and not done."""
    return folder.is_dir() and not record.is_file()


def _epochs(training: Training) -> str:
    return f"{len(training.rows)} epochs done"


def _table(story: Story) -> list[str]:
    metrics = [name for name in SHOWN if any(finite(one.metrics.get(name)) is not None for one in story.rounds)]
    rows = [["", "suspect", "change", "overlap", *(METRICS[name] for name in metrics)]]
    for one in story.rounds:
        cells = [one.name, percent(one.suspect_share), percent(one.change), decimal(one.record.get("jaccard"), 2)]
        rows.append(cells + [decimal(one.metrics.get(name)) for name in metrics])
    if metrics:
        beside = yardsticks(story) | {end.name: end.metrics for end in story.brackets}
        rows += [[name, "", "", "", *(decimal(values.get(m)) for m in metrics)] for name, values in beside.items()]
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligned = []
    for name, *cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        aligned.append("  ".join([name.ljust(widths[0]), *padded]))
    return aligned
