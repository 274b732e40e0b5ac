from __future__ import annotations

from pathlib import Path

import pytest
from ignite.engine import Engine
from mlflow.tracking import MlflowClient

from monai_iltm.data.documents import write_csv, write_json
from monai_iltm.handlers import MLflowRounds
from monai_iltm.store import RunFolder, open_run

pytestmark = pytest.mark.slow  # MLflow takes seconds to make a data base


def finished_round(run: RunFolder, index: int, auroc: float = 0.9) -> None:
    folder = run.round(index)
    write_csv(folder.history, [{"epoch": epoch, "loss": 3.0 - epoch} for epoch in (1, 2)])
    write_json(folder.metrics, {"auroc": auroc})
    write_json(folder.record, {"round": index, "suspect_tokens": 40 + index, "verdict": "continue", "change": None})


def begun(path: Path, started: str = "2026-01-01") -> RunFolder:
    return open_run(path, {}, {}, "data", started=started)


def tell(run: RunFolder, index: int, address: str) -> None:
    engine = Engine(lambda *_: None)
    MLflowRounds(run, {"num_codes": 64, "long": "x" * 900}, address).attach(engine)
    engine.load_state_dict({"epoch": index, "epoch_length": 1, "max_epochs": index + 1})
    engine.run([None])


def runs(address: str) -> dict[str, list]:
    client = MlflowClient(address)
    (experiment,) = [e for e in client.search_experiments() if e.name == "monai_iltm"]
    found: dict[str, list] = {}
    for run in client.search_runs([experiment.experiment_id]):
        found.setdefault(run.info.run_name, []).append(run)
    return found


def test_rounds_are_runs_in_a_run_named_and_closed_and_none_is_lost(tmp_path):
    address = f"sqlite:///{tmp_path / 'server.db'}"
    run = begun(tmp_path / "demo")
    finished_round(run, 0)
    tell(run, 0, address)
    finished_round(run, 1)  # killed before it was told
    finished_round(run, 2, 0.95)
    tell(run, 2, address)

    found = runs(address)
    assert sorted(found) == ["demo", "round_00", "round_01", "round_02"]
    assert all(len(group) == 1 and group[0].info.status == "FINISHED" for group in found.values())
    (whole,), (last,) = found["demo"], found["round_02"]
    assert last.data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert last.data.metrics == {"round": 2, "suspect_tokens": 42, "auroc": 0.95, "prior_loss": 1.0}
    assert whole.data.params == {"num_codes": "64", "long": "x" * 500}
    history = MlflowClient(address).get_metric_history(whole.info.run_id, "suspect_tokens")
    assert [(point.step, point.value) for point in history] == [(0, 40), (1, 41), (2, 42)]
    assert str(tmp_path) not in str([run.data.tags for group in found.values() for run in group])

    other = begun(tmp_path / "elsewhere" / "demo", "2026-02-02")  # another run that happens to have the name
    finished_round(other, 0, 0.1)
    tell(other, 0, address)
    assert len(runs(address)["demo"]) == 2
    assert {run.data.metrics["auroc"] for run in runs(address)["round_00"]} == {0.9, 0.1}


def test_without_an_address_all_is_kept_in_the_run_folder(tmp_path):
    run = begun(tmp_path / "demo")
    finished_round(run, 0)
    tell(run, 0, None)
    assert (tmp_path / "demo" / "mlflow.db").is_file()
    assert sorted(runs(f"sqlite:///{tmp_path / 'demo' / 'mlflow.db'}")) == ["demo", "round_00"]
