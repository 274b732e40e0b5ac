"""How far a run is, told from which files exist."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_iltm.report.story import Story, finite, read_story
from monai_iltm.report.words import TRIVIAL, decimal, percent, shortfall, verdict

FINAL = ("converged", "collapsed", "oscillating", "max_rounds")
METRICS = {"auroc": "AUROC", "average_precision": "AP", "aupro": "AUPRO", "best_dice": "Dice"}


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
        *([f"Result: {told}"] if (told := shortfall(story)) else []),
    ]
    if story.rounds:
        lines += ["", *_table(story)]
    return "\n".join([*lines, "", f"Next: {following}"])


def _stage(story: Story) -> tuple[str, str]:
    """What is being done, and what the same command will do when it is started again."""
    if not (Path(story.run.vqvae) / "model.pt").is_file() and not story.rounds:
        done = _epochs(len(story.vqvae), story.setting("vqvae_epochs"))
        if not story.vqvae:
            return "VQ-VAE, not begun", "train the VQ-VAE."
        return f"VQ-VAE, {done}", f"go on training the VQ-VAE ({done})."
    if not story.rounds or story.rounds[-1].record.get("verdict") not in FINAL:
        return _round_stage(story)
    open_ends = _open_brackets(story)
    if open_ends:
        return f"bracket, {open_ends[0]} in progress", f"finish the bracket ({', '.join(open_ends)})."
    if not (story.run.bundle / "models" / "model.pt").is_file():
        return "rounds done", "measure what they stand beside, and make the bundle."
    if not Path(story.run.report).is_file():
        return "rounds done, report missing", "write the report."
    return "done", "nothing is left to do; see report.html."


def _round_stage(story: Story) -> tuple[str, str]:
    """The unfinished round's stage: prior, training maps, masks, test cases."""
    number, current = len(story.rounds), story.unfinished
    name = f"round {number}"
    if current is None:
        return f"{name}, not begun", f"train the prior of {name}."
    folder, cases = current.folder, len(story.training)
    if not folder.model.is_file():
        done = _epochs(len(current.history), story.setting("prior_epochs", "transformer_epochs"))
        return f"{name}, training the prior, {done}", f"go on training the prior of {name} ({done})."
    scored = sum(folder.map(entry["case"]) is not None for entry in story.training)
    if scored < cases:
        progress = f"{scored} of {cases} done"
        return f"{name}, scoring training images, {progress}", f"go on scoring the training images ({progress})."
    masked = sum(folder.mask(entry["case"]) is not None for entry in story.training)
    if masked < cases:
        return f"{name}, making masks, {masked} of {cases} done", f"make the masks of {name}."
    tested = sum(folder.test_file(entry["case"], "surprise") is not None for entry in story.testing)
    progress = f"{tested} of {len(story.testing)} done"
    return f"{name}, scoring test images, {progress}", f"go on scoring the test images ({progress})."


def _open_brackets(story: Story) -> list[str]:
    """Ends of the bracket whose folder exists and has no round.json yet."""
    folders = [story.run.path / "bracket" / name for name in ("oracle", "clean")]
    return [folder.name for folder in folders if folder.is_dir() and not (folder / "round.json").is_file()]


def _epochs(done: int, total: object) -> str:
    number = finite(total)
    return f"{done} epochs done" if number is None else f"{done} of {number:.0f} epochs done"


def _table(story: Story) -> list[str]:
    metrics = [name for name in METRICS if any(finite(stage.metrics.get(name)) is not None for stage in story.rounds)]
    rows = [["", "suspect", "change", "overlap", *(METRICS[name] for name in metrics)]]
    for stage in story.rounds:
        cells = [stage.name, percent(stage.suspect_share), percent(stage.change)]
        cells.append(decimal(stage.record.get("jaccard"), 2))
        rows.append(cells + [decimal(stage.metrics.get(name)) for name in metrics])
    if metrics:
        beside = {TRIVIAL[name]: story.trivial[name] for name in TRIVIAL if story.trivial.get(name)}
        beside |= {stage.name: stage.metrics for stage in story.brackets}
        rows += [[name, "", "", "", *(decimal(values.get(m)) for m in metrics)] for name, values in beside.items()]
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligned = []
    for name, *cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        aligned.append("  ".join([name.ljust(widths[0]), *padded]))
    return aligned
