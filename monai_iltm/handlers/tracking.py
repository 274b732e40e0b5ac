"""Rounds in MLflow: one run for the whole, one nested in it for each round, all of them named and closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from monai_iltm.data.documents import read_csv, read_json
from monai_iltm.store import RoundFolder, RunFolder

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

FINISHED = "FINISHED"  # MLflow's own word for a run that ended well
LONGEST_PARAMETER = 500  # characters that every MLflow store takes


class MLflowRounds:
    """Writes each finished round's figures and curves, on rank 0.

    Args:
        run: the run folder.
        settings: written once as parameters.
        address: of a server; None keeps everything in mlflow.db, an SQLite file in the run folder.
        experiment: name under which runs are listed.
    """

    def __init__(
        self, run: RunFolder, settings: Mapping[str, Any], address: str | None = None, experiment: str = "monai_iltm"
    ) -> None:
        self.run, self.settings, self.experiment = run, settings, experiment
        self.address = address or f"sqlite:///{(run.path / 'mlflow.db').resolve()}"

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        from mlflow.tracking import MlflowClient  # takes seconds to import: only where a round is told

        client = MlflowClient(self.address)
        experiment = self._experiment(client)
        whole = self._find(client, experiment, self.run.path.resolve().name, self.settings)
        for folder in self.run.rounds():
            child = self._find(client, experiment, folder.path.name, {}, whole)
            told = client.get_run(child).info.status == FINISHED  # else the program was killed before it came to that
            if not told or folder.index == engine.state.epoch - 1:
                self._tell(client, whole, child, folder)
        client.set_terminated(whole, FINISHED)

    def _tell(self, client: MlflowClient, whole: str, child: str, folder: RoundFolder) -> None:
        for name, value in _numbers(folder):
            client.log_metric(child, name, value)
            client.log_metric(whole, name, value, step=folder.index)
        for row in read_csv(folder.history):
            client.log_metric(child, "prior_loss", float(row["loss"]), step=int(row["epoch"]))
        client.set_terminated(child, FINISHED)

    def _experiment(self, client: MlflowClient) -> str:
        known = client.get_experiment_by_name(self.experiment)
        if known:
            return known.experiment_id
        place = None if self.address.startswith("http") else (self.run.path / "mlflow").resolve().as_uri()
        return client.create_experiment(self.experiment, artifact_location=place)

    def _find(
        self, client: MlflowClient, experiment: str, name: str, parameters: Mapping, parent: str | None = None
    ) -> str:
        """The id of the run of this name and folder; a resumed run goes on in the one it had."""
        # not the whole path: it tells of people and machines; the start keeps runs of one name on a server apart
        tags = {"folder": self.run.path.resolve().name, "started": str(read_json(self.run.record).get("started"))}
        tags |= {"mlflow.parentRunId": parent} if parent else {}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = client.search_runs([experiment], f"{query} and attributes.run_name = '{name}'", max_results=1)
        if found:
            return found[0].info.run_id
        created = client.create_run(experiment, tags=tags, run_name=name).info.run_id
        for key, value in parameters.items():
            client.log_param(created, key, str(value)[:LONGEST_PARAMETER])
        return created


def _numbers(folder: RoundFolder) -> list[tuple[str, float]]:
    """Figures of a round, of its record and, where truth exists, of the test split."""
    content = read_json(folder.record) | (read_json(folder.metrics) if folder.metrics.is_file() else {})
    return [(name, float(value)) for name, value in content.items() if isinstance(value, (int, float))]
