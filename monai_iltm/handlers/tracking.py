"""Rounds in MLflow: one run for the whole, one nested in it for each round, all of them named and closed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from monai_iltm.data.documents import read_json
from monai_iltm.handlers.tracking_address import readable, require_address, warn
from monai_iltm.handlers.tracking_figures import changed, curve, parameters, round_figures, yardstick_figures
from monai_iltm.handlers.tracking_store import TrackingStore, connected
from monai_iltm.report.pictures import write_pictures
from monai_iltm.report.words import redact
from monai_iltm.store import RoundFolder, RunFolder

if TYPE_CHECKING:
    from mlflow.entities import Run

FINISHED = "FINISHED"  # MLflow's own word for a run that ended well
PARENT = "mlflow.parentRunId"  # the tag by which it nests one in another


class MLflowRounds:
    """Writes figures, curves and pictures of the finished rounds, on rank 0, after each; and the rest at the end.

    It never stops a run: what cannot be told ends in one line, and is told with a later round, or by the same command.

    Args:
        run: the run folder.
        settings: written once as parameters, without those that tell of folders or servers.
        address: of a server, or sqlite:///PATH; None keeps everything in the run folder: mlflow.db, an SQLite file,
            and the artifacts in mlflow.
        experiment: name under which runs are listed.
    """

    def __init__(
        self, run: RunFolder, settings: Mapping[str, Any], address: str | None = None, experiment: str = "monai_iltm"
    ) -> None:
        self.run, self.settings, self.address, self.experiment = run, settings, address, experiment

    def begin(self) -> None:
        """Before any long work: raise InputError for what is no address, and say where a server does not answer."""
        require_address(self.address)

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, _: Engine) -> None:
        self._tell()

    def finish(self) -> None:
        """After all else: what has not been told yet, the yardsticks, the bracket and the report."""
        if idist.get_rank() == 0 and self.run.rounds():
            self._tell(end=True)

    def _tell(self, end: bool = False) -> None:
        try:
            with connected(self.address, self.run.path / "mlflow.db") as store:
                whole = self._tell_rounds(store)
                if end:
                    store.client.log_batch(whole, yardstick_figures(self.run))
                    if self.run.report.is_file():
                        store.keep_file(whole, self.run.report)
                store.client.set_terminated(whole, FINISHED)
        except Exception as error:  # whatever it is: the run has cost hours, and all of it is on disk
            first_line = (str(error) or type(error).__name__).splitlines()[0]
            warn(f"{redact(first_line)[:200]}; the run goes on, and what is left is told later")

    def _tell_rounds(self, store: TrackingStore) -> str:
        """The id of the run for the whole, once every round is told; a resumed run goes on in those it had."""
        runs = _Runs(store, store.experiment(self.experiment), self.run)
        whole = runs.find(runs.folder, _milliseconds(runs.started))
        new = [one for one in parameters(self.settings) if one.key not in whole.data.params]  # MLflow takes each once
        store.client.log_batch(whole.info.run_id, params=new)
        for stage in self.run.stages():
            store.client.log_batch(whole.info.run_id, curve(stage / "history.csv", stage.name))
        rounds = [(folder, self._round(runs, folder, whole)) for folder in self.run.rounds()]
        for folder, child in rounds:  # figures that are told again change nothing; those of late labels are added
            store.client.log_batch(whole.info.run_id, round_figures(folder, folder.index))
            store.client.log_batch(child.info.run_id, [*round_figures(folder), *curve(folder.history, "prior")])
        for folder, child in rounds:
            if child.info.status != FINISHED:  # told for the first time, or the program was killed in the midst of it
                self._tell_pictures(store, child, folder)
                store.client.set_terminated(child.info.run_id, FINISHED, changed(folder.record))
        return whole.info.run_id

    def _round(self, runs: _Runs, folder: RoundFolder, whole: Run) -> Run:
        before = self.run.round(folder.index - 1).record if folder.index else self.run.vqvae / "history.csv"
        return runs.find(folder.path.name, changed(before if before.is_file() else folder.record), whole.info.run_id)

    def _tell_pictures(self, store: TrackingStore, child: Run, folder: RoundFolder) -> None:
        with tempfile.TemporaryDirectory() as made:
            for path in write_pictures(self.run.path, folder, Path(made)):
                store.keep_file(child.info.run_id, path, "pictures")


class _Runs:
    """MLflow's runs of one run folder, found by its start and its name, or made."""

    def __init__(self, store: TrackingStore, experiment: str, run: RunFolder) -> None:
        self.store, self.experiment = store, experiment
        # not the whole path: it tells of people and machines; the start keeps runs of one name on a server apart
        self.folder = readable(run.path.resolve().name) or "run"
        self.started = re.sub(r"[^\w:.+-]", "", str(read_json(run.record).get("started")))
        found = store.runs(experiment, {"started": self.started})  # in which no quotes are left
        self.known = [one for one in found if one.data.tags.get("folder") == self.folder]

    def find(self, name: str, began: int | None, parent: str | None = None) -> Run:
        """The run of a name within a parent, made where there is none."""
        for one in self.known:
            if one.info.run_name == name and one.data.tags.get(PARENT) == parent:
                return one
        tags = {"folder": self.folder, "started": self.started} | ({PARENT: parent} if parent else {})
        return self.store.client.create_run(self.experiment, began, tags, name)


def _milliseconds(moment: str) -> int | None:
    """Since 1970, of a time as run.json notes it; None, which MLflow takes for now, where it is none."""
    try:
        return int(1000 * datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return None
