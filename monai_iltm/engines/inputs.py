"""What a run rests on, held to its hashes: images and labels while it is at work, labels and masks between commands."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_iltm.data.contamination import sha256
from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError, some_names
from monai_iltm.data.records import read_record
from monai_iltm.distributed import barrier, gathered, is_main, own_share
from monai_iltm.store import RoundFolder, RunFolder

Cases = Sequence[Mapping[str, Any]]
Hashes = dict[str, str]  # sha256 by case id


class Inputs:
    """The images and labels of a run's cases, which must stay what they are while a command is at work.

    A file whose size and time are those of the beginning is the same; of another the hash decides.

    Args:
        cases: with whole paths.
        images, labels: sha256 by case id; a case may stand in neither.
    """

    def __init__(
        self, cases: Iterable[Mapping[str, Any]], images: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        self.files: dict[tuple[str, str, str], tuple[int, int]] = {}
        for case in cases:
            for key, hashes in (("image", images), ("label", labels)):
                if case.get(key) and case["case"] in hashes:
                    self.files[case["case"], str(case[key]), hashes[case["case"]]] = _stamp(case[key])

    def require_same(self) -> None:
        """Raise InputError for the first file that has been replaced, or is gone; rank 0 looks."""
        if not is_main():
            return
        for (case, path, expected), stamp in self.files.items():
            now = _stamp(path)
            if now != stamp:
                if sha256(path) != expected:
                    raise InputError(
                        f"{case}: {path} was replaced while the run was at work: put back what was there, or take "
                        "another output folder; of a label it is enough to give the same command again"
                    )
                self.files[case, path, expected] = now


def hashes_of(cases: Cases, key: str) -> Hashes:
    """sha256 of what the cases have under a key; the ranks share the work."""
    own = [sha256(case[key]) if case.get(key) else "" for case in own_share(list(cases))]
    return {case["case"]: value for case, value in zip(cases, gathered(own), strict=True) if value}


def truth_of_run(training: Cases, testing: Cases) -> dict[str, Hashes]:
    """What the figures of a run rest on: hashes of the labels, and "normal" of what is known to be normal."""
    normal = {case["case"]: "normal" for case in testing if case.get("normal") and not case.get("label")}
    return {"training": hashes_of(training, "label"), "testing": {**normal, **hashes_of(testing, "label")}}


def forget_replaced(run: RunFolder, truth: Mapping[str, Hashes]) -> bool:
    """Remove figures that rest on other labels than these, with a word, so that they are made anew.

    Returns whether the training labels are others: what the rounds' records tell of them is to be told anew, before
    ``keep_truth`` notes the labels. The same on every rank.
    """
    before: Mapping[str, Hashes] = truth
    if run.truth.is_file():
        kinds = {"training": dict, "testing": dict}
        before = read_record(run.truth, kinds, "remove it, and metrics.json of the rounds whose figures are in doubt")
    barrier()  # before anybody changes what others still read
    if is_main() and before["testing"] != truth["testing"]:
        folders = [run.round(index) for index in range(len(run.rounds()) + 1)]
        _remove("test", before["testing"], truth["testing"], [*_figures(folders, run), run.trivial])
    if is_main() and before["training"] != truth["training"]:
        _remove("training", before["training"], truth["training"], [run.bracket("oracle").path])
    barrier()
    return before["training"] != truth["training"]


def keep_truth(run: RunFolder, truth: Mapping[str, Hashes]) -> None:
    """Note which labels the figures rest on, once nothing is left that rests on others."""
    if is_main():
        write_json(run.truth, truth)
    barrier()


def note_masks(folder: RoundFolder, before: RoundFolder, cases: Cases) -> None:
    """As a round begins: which masks of the round before it learns from; a round that goes on keeps its note."""
    if is_main() and not folder.learned_from.is_file():
        write_json(folder.learned_from, _masks(before, cases))


def tell_changed_masks(run: RunFolder, cases: Cases) -> None:
    """Print a line for each round that has learned from masks that were changed since."""
    for index in range(1, len(run.rounds()) + 1):
        folder, before = run.round(index), run.round(index - 1)
        if is_main() and folder.learned_from.is_file():
            noted = read_record(folder.learned_from, {}, "remove it, and masks that were changed are not told")
            now = _masks(before, cases)
            changed = sorted(case for case in {*noted, *now} if noted.get(case) != now.get(case))
            if changed:
                print(
                    f"round {index} has learned from other masks than those in {before.masks}: {some_names(changed)} "
                    f"changed since; to train it from these, remove {folder.path} and the rounds after it"
                )


def _masks(folder: RoundFolder, cases: Cases) -> Hashes:
    masks = {case["case"]: folder.mask(case["case"]) for case in cases}
    return {case: sha256(path) for case, path in masks.items() if path}


def _figures(folders: Sequence[RoundFolder], run: RunFolder) -> list[Path]:
    brackets = [run.bracket(name) for name in ("oracle", "clean")]
    return [path for folder in (*folders, *brackets) for path in (folder.metrics, folder.scores)]


def _remove(split: str, before: Hashes, now: Hashes, paths: Sequence[Path]) -> None:
    there = [path for path in paths if path.exists()]
    if there:
        changed = sorted(case for case in {*before, *now} if before.get(case) != now.get(case))
        whose = f"{split} labels are others than before, of {some_names(changed)}"
        print(f"{whose}: the figures that rest on them are made anew")
    for path in there:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _stamp(path: Any) -> tuple[int, int]:
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return stat.st_size, stat.st_mtime_ns
