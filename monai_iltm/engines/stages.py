"""The stages of a method in a run folder: what is done is left, what was killed goes on, what waits trains beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from monai_iltm.distributed import train, trainers
from monai_iltm.engines.method import SCORING, Method, Stage, run_stage
from monai_iltm.store import RoundFolder, RunFolder


@dataclass(frozen=True)
class Training:
    """The stages of a round, or of an end of the bracket, into a folder, from a part of a datalist with its masks."""

    folder: RoundFolder
    datalist: Path
    split: str = "training"


class Stages:
    """The stages of a run; one that was killed goes on from its last epoch or case.

    ``waiting`` holds trainings that need the stages before the rounds alone: where a process is free while a round
    trains, one of them trains beside it.

    Args:
        run: the run folder. method: what is trained. settings: values for the stages, by id.
        warm_start: a round starts from the last one's weights, in stages that can.
    """

    def __init__(self, run: RunFolder, method: Method, settings: Mapping[str, Any], warm_start: bool = False) -> None:
        self.run, self.method, self.settings, self.warm_start = run, method, settings, warm_start
        self.waiting: list[Training] = []

    def train_once(self) -> None:
        """The stages before the rounds that are not done."""
        before = Training(RoundFolder(self.run.path), self.run.datalist)
        for stage in self.method.stages:
            if stage.once and not self._model(stage, before.folder).is_file():
                train([partial(self._train, stage, before, stage.title)])

    def train_round(self, training: Training) -> None:
        """A round's stages; beside them, where a process would else wait and memory allows it, those of one that waits.

        Round 0 makes of the training images what all keep: what reads the same images waits for that.
        """
        free = trainers() < idist.get_world_size() and self.settings.get("side_by_side", True)
        due = [other for other in self.waiting if not other.folder.model.is_file()]
        able = [other for other in due if training.folder.index or other.split != training.split]
        self.train_all(training, *(able[:1] if free else []))

    def train_all(self, *trainings: Training) -> None:
        """The stages of each that are not done; the trainings do not rest on each other (``distributed.train``)."""
        for stage in self.method.stages:
            due = [one for one in trainings if not stage.once and not self._model(stage, one.folder).is_file()]
            name = f"{' and '.join(one.folder.title for one in due)}: {stage.title}"
            train([partial(self._train, stage, one, name) for one in due])

    def score(self, folder: RoundFolder, output: Path, split: str, **told: Any) -> None:
        """Score a split with a folder's weights, cases that are done excepted; told: further values, by id."""
        own = {
            "stage_name": f"{folder.title}: {split} maps",
            "output_dir": str(output),
            "weights": str(folder.model),
            "cases::check": False,
            "cases::datalist": str(self.run.datalist),
            "cases::split": {"testing": ["testing", "testing_apart"]}.get(split, split),
        }
        settings = {**self.method.of_part(SCORING, self.settings), **own, **told}
        config = "evaluate" if split == "testing" else "inference"
        run_stage(self.method.bundles / self.method.scorer, config, settings)

    def _train(self, stage: Stage, training: Training, name: str) -> None:
        model = {one.name: self._model(one, training.folder) for one in self.method.stages}
        told: dict[str, Any] = {setting: str(model[other]) for setting, other in stage.takes.items()}
        told |= {setting: str(self.run.kept(model[other])) for setting, other in stage.keeps.items()}
        folder = training.folder
        if stage.warm and self.warm_start and folder.is_round and folder.index:
            told[stage.warm] = str(self._model(stage, self.run.round(folder.index - 1)))
        told |= {
            "stage_name": name,
            "output_dir": str(model[stage.name].parent),
            "cases::check": False,
            "cases::datalist": str(training.datalist),
            "cases::split": training.split,
        }
        settings = self.method.of_part(stage.name, self.settings, first=folder == self.run.round(0))
        run_stage(self.method.bundles / stage.bundle, stage.config, {**settings, **told})

    def _model(self, stage: Stage, folder: RoundFolder) -> Path:
        if stage.once:
            return self.run.path / stage.name / "model.pt"
        return folder.model if stage is self.method.stages[-1] else folder.path / stage.name / "model.pt"
