"""The outer loop: train, score the training set, mark what stands out, again, until the marks settle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, EventEnum, Events

from monai_iltm.data.cases import load_cases
from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.records import read_record
from monai_iltm.distributed import barrier, is_main
from monai_iltm.engines.ids import parts
from monai_iltm.engines.inputs import (
    Inputs,
    forget_replaced,
    keep_truth,
    note_masks,
    tell_changed_masks,
    truth_of_run,
)
from monai_iltm.engines.marks import Marks
from monai_iltm.engines.masks import against_truth, agreement, surprise_maps, surprise_sample
from monai_iltm.engines.method import Method
from monai_iltm.engines.records import read_loss, read_round, read_threshold
from monai_iltm.engines.rules import Rules, require_possible
from monai_iltm.engines.scoring import forget_others
from monai_iltm.engines.stages import Stages, Training
from monai_iltm.handlers.convergence import Masked, masked_in, verdict
from monai_iltm.store import RoundFolder, RunFolder


class RoundEvents(EventEnum):
    """What a user can hook into, beside ignite's own: an epoch of the outer engine is a round."""

    TRAINED = "trained"
    TRAINING_SCORED = "training_scored"
    MARKED = "marked"
    TEST_SCORED = "test_scored"


class Rounds(Engine):
    """Ignite engine whose epochs are the rounds round a method; its stages are bundles, and only files pass between.

    A round that has its ``round.json`` is not run again; inside a round every stage that has its result is skipped, and
    one that was killed goes on from its last epoch or case. ``state.output`` holds the round's record.

    Args:
        run: the run folder.
        method: what is trained and scores. settings: values for its stages, by id.
        marks: what a round leaves out for the next. rules: of falling and stopping; max_epochs: rounds at most.
        handlers: objects with ``attach(engine)``.
        begin: checks the data and opens the run folder; plan: the settings as they fit into memory. Both are asked
            when the rounds begin, so that a workflow can be looked at before its data is there.

    Raises InputError for settings that a later stage, after hours, would refuse, and for marks that the method cannot
    honour.
    """

    def __init__(
        self,
        run: RunFolder,
        method: Method,
        settings: Mapping[str, Any],
        marks: Marks,
        rules: Rules,
        max_epochs: int,
        handlers: Sequence[Any] = (),
        begin: Callable[[], Any] | None = None,
        plan: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(lambda engine, index: self._round(index))
        require_possible(method, settings)
        if marks.level not in method.marks:
            raise InputError(f"{method.scorer} cannot leave out {marks.level}, only {' and '.join(method.marks)}")
        self.folder, self.method, self.settings = run, method, dict(settings)
        self.stages = Stages(run, method, settings, rules.warm_start)
        self.marks, self.rules, self.max_rounds = marks, rules, max_epochs
        self.begin, self.plan = begin, plan
        self.register_events(*RoundEvents)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._end)
        for handler in handlers:
            handler.attach(self)

    def run(self, *_: Any, **__: Any) -> Any:
        """All rounds that are still to be done; returns ignite's state."""
        if self.begin is not None:
            self.begin()
        if self.plan is not None:
            self.settings = self.stages.settings = dict(self.plan())
        done = [masked_in(read_round(folder)) for folder in self.folder.rounds()]
        self._hold_inputs()
        self.stages.train_once()
        for folder in self.folder.rounds():
            self.score_test(folder)  # labels may have come since
        if done and self._renewed_verdict(done) != "continue":
            return self.state
        self.load_state_dict({"epoch": len(done), "epoch_length": 1, "max_epochs": self.max_rounds})
        return super().run([None])

    def _round(self, _: Any) -> dict[str, Any]:
        folder = self.folder.round(self.state.epoch - 1)
        if folder.index and is_main():
            self.marks.renew(self.folder.round(folder.index - 1), self.cases("training"))
        barrier()
        self.inputs.require_same()
        datalist = self.folder.datalist
        if folder.index:
            datalist = self.folder.round(folder.index - 1).datalist
            note_masks(folder, self.folder.round(folder.index - 1), self.cases("training"))
        self.stages.train_round(Training(folder, datalist))
        self.fire_event(RoundEvents.TRAINED)
        # without test images the report shows these, with all their pictures
        fewer = {"handlers::0::kinds": ["surprise"]} if self.cases("testing") else {}
        self.score(folder, folder.maps, "training", **fewer)
        self.fire_event(RoundEvents.TRAINING_SCORED)
        sample = surprise_sample(surprise_maps(folder, self.cases("training")))
        record = self._mark(folder, sample)
        self._calibrate(folder, sample)
        self.fire_event(RoundEvents.MARKED)
        self.score_test(folder)
        self.inputs.require_same()
        self.fire_event(RoundEvents.TEST_SCORED)
        if is_main():
            write_json(folder.record, record)
        barrier()
        return record

    def _end(self) -> None:
        """At the end of the epoch, and not before: an engine that is terminated inside one never tells of its end."""
        if self.state.output["verdict"] != "continue":  # type: ignore[index]
            self.terminate()

    def score(self, folder: RoundFolder, output: Path, split: str, **told: Any) -> None:
        """Stage 3 over a split, cases that are done excepted."""
        self.stages.score(folder, output, split, **{**self._flags(folder), **told})

    def score_test(self, folder: RoundFolder) -> None:
        """Test maps, masks, scores and metrics of a prior; what there is nothing to make of is left out.

        The bracket's are made anew where rounds have been added: it is scored with the last round's numbers.
        """
        cases = self.cases("testing")
        threshold = read_threshold(self._peer(folder))
        if is_main() and not folder.is_round:
            forget_others(folder, {**self._flags(folder), "surprise_threshold": threshold})
        barrier()
        if folder.metrics.is_file() or (folder.scores.is_file() and not any(case.get("label") for case in cases)):
            return
        if cases:
            self.score(folder, folder.test, "testing", surprise_threshold=threshold)
        if is_main():
            for name in ("scores.csv", "metrics.json"):
                if (folder.test / name).is_file():
                    (folder.test / name).rename(folder.path / name)
        barrier()

    def cases(self, split: str) -> Sequence[dict[str, Any]]:
        """The run's cases of a split, whole paths."""
        return load_cases(self.settings["dataset_dir"], split, self.folder.datalist, check=False, fewest=0)

    def _mark(self, folder: RoundFolder, sample: np.ndarray) -> dict[str, Any]:
        """Marks, their counts, and whether another round is due."""
        training = self.cases("training")
        limit = self.marks.make(folder, training, self.settings["dataset_dir"], sample)
        marked = self.marks.made(folder, training)
        earlier = [self.folder.round(index) for index in range(folder.index)]
        overlaps = [agreement(marked, self.marks.made(other, training)) for other in reversed(earlier[-2:])]
        now = Masked(int(marked.sum()), marked.numel(), *overlaps)
        before = [masked_in(read_round(other)) for other in earlier]
        return {
            "round": folder.index,
            "suspect_tokens": now.suspect,
            "tokens": now.tokens,
            "change": now.change_from(before[-1]) if before else None,
            "jaccard": now.overlap,
            "jaccard_before": now.overlap_before,
            "mask_threshold": limit,
            **{parts(one)[-1]: value for one, value in self._flags(folder).items() if value},
            "loss": read_loss(folder),
            "training_mask": against_truth(marked, self.marks.true(training)),
            "verdict": self._verdict([*before, now]),
        }

    def _hold_inputs(self) -> None:
        """Images and labels are the run's own from here on; what rests on labels that were replaced is made anew."""
        training, testing = self.cases("training"), self.cases("testing")
        truth = truth_of_run(training, testing)
        if forget_replaced(self.folder, truth):
            for folder in self.folder.rounds():
                told = against_truth(self.marks.made(folder, training), self.marks.true(training))
                if is_main():
                    write_json(folder.record, {**read_round(folder), "training_mask": told})
        keep_truth(self.folder, truth)
        tell_changed_masks(self.folder, training)
        images = read_record(self.folder.record, {"cases": dict}, "take another output folder")["cases"]
        self.inputs = Inputs([*training, *testing], images, {**truth["testing"], **truth["training"]})

    def _verdict(self, rounds: Sequence[Masked]) -> str:
        return verdict(rounds, self.max_rounds, self.rules.tolerance, self.rules.settled_overlap)

    def _renewed_verdict(self, done: Sequence[Masked]) -> str:
        """The verdict by the rules as they are now, in the last round's record too."""
        folder, verdict = self.folder.rounds()[-1], self._verdict(done)
        record = read_round(folder)
        barrier()
        if is_main() and record["verdict"] != verdict:
            write_json(folder.record, {**record, "verdict": verdict})
        barrier()
        return verdict

    def _calibrate(self, folder: RoundFolder, sample: np.ndarray) -> None:
        """The threshold of deployed masks: the surprise that a stated share of the training voxels exceeds."""
        if is_main():
            limit = float(np.quantile(sample, 1 - self.rules.false_alarm))
            write_json(folder.calibration, {"threshold": limit, "false_alarm": self.rules.false_alarm})
        barrier()

    def _peer(self, folder: RoundFolder) -> RoundFolder:
        """The round whose numbers a folder is scored with: its own; the bracket stands beside the last one."""
        return folder if folder.is_round else self.folder.rounds()[-1]

    def _flags(self, folder: RoundFolder) -> dict[str, float | None]:
        return self.method.fallen(self.settings, self.rules.flag_decay, self._peer(folder).index)
