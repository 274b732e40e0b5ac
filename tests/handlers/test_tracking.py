from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from ignite.engine import Engine
from mlflow.tracking import MlflowClient

from monai_iltm.data.documents import read_json, write_csv, write_json
from monai_iltm.data.images import write_image
from monai_iltm.engines.begin import open_run
from monai_iltm.handlers import MLflowRounds
from monai_iltm.handlers.tracking_store import make_database, sqlite_address
from monai_iltm.store import RunFolder

pytestmark = pytest.mark.slow  # MLflow takes seconds to make a data base
ONE_LINE = "the run goes on, and what is left is told later\n"


def finished_round(run: RunFolder, index: int, auroc: float = 0.9, **more: float) -> None:
    folder = run.round(index)
    write_csv(folder.history, [{"epoch": epoch, "loss": 3.0 - epoch, "seconds": 2} for epoch in (1, 2)])
    write_json(folder.metrics, {"auroc": auroc, **more})
    write_json(folder.record, {"round": index, "suspect_tokens": 40 + index, "verdict": "continue", "change": None})


def begun(path: Path, started: str = "2026-01-01") -> RunFolder:
    run = open_run(path, {}, {}, "data", started=started)
    write_csv(run.vqvae / "history.csv", [{"epoch": 1, "loss": 0.5, "seconds": 30}])
    return run


def with_pictures(run: RunFolder, data: Path, index: int = 0) -> None:
    """A test image with its map, an image's own size."""
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    write_image(data / "a.png", image)
    write_json(run.datalist, {"training": [], "testing": [{"case": "a", "image": str(data / "a.png")}]})
    write_image(run.round(index).test / "a_surprise.tif", image.astype(np.float32))


def rounds(run: RunFolder, address: str | None = None) -> MLflowRounds:
    return MLflowRounds(run, {"num_codes": 64, "long": "x" * 900}, address)


def tell(run: RunFolder, index: int, address: str | None = None) -> None:
    engine = Engine(lambda *_: None)
    rounds(run, address).attach(engine)
    engine.load_state_dict({"epoch": index, "epoch_length": 1, "max_epochs": index + 1})
    engine.run([None])


def runs(database: Path) -> dict[str, list]:
    with sqlite_address(database) as address:
        client = MlflowClient(address)
        (experiment,) = [e for e in client.search_experiments() if e.name == "monai_iltm"]
        found: dict[str, list] = {}
        for run in client.search_runs([experiment.experiment_id]):
            found.setdefault(run.info.run_name, []).append(run)
    return found


def asked(database: Path, question: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(database)) as file:
        return file.execute(question).fetchall()


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory) -> Path:
    """MLflow's tables, whole and without a run: to be copied, for they take seconds."""
    database = tmp_path_factory.mktemp("empty") / "mlflow.db"
    make_database(database)
    return database


@pytest.fixture
def run(tmp_path, empty_database) -> RunFolder:
    """A run with one round and a database in which nothing is told."""
    run = begun(tmp_path / "demo")
    finished_round(run, 0)
    shutil.copy(empty_database, run.path)
    return run


def test_rounds_are_runs_in_a_run_named_and_closed_and_none_is_lost(tmp_path, empty_database):
    server = Path(shutil.copy(empty_database, tmp_path / "server.db"))
    address = f"sqlite:///{server}"
    run = begun(tmp_path / "demo")
    finished_round(run, 0)
    tell(run, 0, address)
    finished_round(run, 1)  # killed before it was told
    finished_round(run, 2, 0.95)
    tell(run, 2, address)

    found = runs(server)
    assert sorted(found) == ["demo", "round_00", "round_01", "round_02"]
    assert all(len(group) == 1 and group[0].info.status == "FINISHED" for group in found.values())
    (whole,), (last,) = found["demo"], found["round_02"]
    assert last.data.tags["mlflow.parentRunId"] == whole.info.run_id
    figures = {"auroc": 0.95, "round/suspect_tokens": 42}
    assert last.data.metrics == {**figures, "prior/loss": 1.0, "prior/seconds": 4}
    assert whole.data.metrics == {**figures, "vqvae/loss": 0.5, "vqvae/seconds": 30}
    assert whole.data.params == {"num_codes": "64", "long": "x" * 500}
    history = MlflowClient(address).get_metric_history(whole.info.run_id, "round/suspect_tokens")
    assert [(point.step, point.value) for point in history] == [(0, 40), (1, 41), (2, 42)]
    assert str(tmp_path) not in str([run.data.tags for group in found.values() for run in group])

    other = begun(tmp_path / "elsewhere" / "demo", "2026-02-02")  # another run that happens to have the name
    finished_round(other, 0, 0.1)
    tell(other, 0, address)
    assert len(runs(server)["demo"]) == 2
    assert {run.data.metrics["auroc"] for run in runs(server)["round_00"]} == {0.9, 0.1}


@pytest.mark.parametrize(
    "name", ["demo", "it's mine", "a%20b", "what?", "a#b", 'two "quotes" `x`', "round_00", "x\udcff"]
)
def test_a_run_folder_may_be_called_anything(tmp_path, empty_database, name):
    run = begun(tmp_path / name, started="it's 5 o'clock")
    finished_round(run, 0)
    shutil.copy(empty_database, run.path)
    for _ in range(2):  # found again
        rounds(run).finish()
    found = runs(run.path / "mlflow.db")
    assert sum(len(group) for group in found.values()) == 2
    assert found["round_00"][0].data.metrics["auroc"] == 0.9
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_database_is_made_whole_and_tells_of_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = begun(tmp_path / "it's%20?")
    finished_round(run, 0)
    tell(run, 0)
    database = run.path / "mlflow.db"
    assert sorted(runs(database)) == ["it's%20?", "round_00"]
    assert asked(database, "SELECT artifact_location FROM experiments") == [("mlflow-artifacts:/0",), ("mlflow",)]
    assert str(tmp_path).encode() not in database.read_bytes()
    assert not list(run.path.glob(".part-*"))
    assert [path.name for path in tmp_path.iterdir()] == [run.path.name]
    assert database.stat().st_mode & 0o777 == run.path.stat().st_mode & 0o666


def test_a_kill_while_the_database_is_made_leaves_none(tmp_path):
    run = begun(tmp_path / "demo")
    finished_round(run, 0)
    child = "import sys; from pathlib import Path; from monai_iltm.handlers import MLflowRounds;"
    child += "from monai_iltm.store import RunFolder; MLflowRounds(RunFolder(Path(sys.argv[1])), {}).finish()"
    process = subprocess.Popen([sys.executable, "-c", child, str(run.path)])
    while process.poll() is None and not any(path.stat().st_size > 50_000 for path in run.path.glob(".part-*.db")):
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert list(run.path.glob(".part-*.db"))
    assert not (run.path / "mlflow.db").exists()


@pytest.mark.parametrize("damage", ["empty", "no tables", "half the tables", "no version", "text", "page"])
def test_a_damaged_database_is_set_aside_with_a_line(run, capfd, damage):
    database = run.path / "mlflow.db"
    if damage in ("empty", "text"):
        database.write_bytes(b"" if damage == "empty" else b"no database" * 100)
    elif damage == "page":
        content = bytearray(database.read_bytes())
        content[4096:] = os.urandom(len(content) - 4096)
        database.write_bytes(content)
    else:
        with contextlib.closing(sqlite3.connect(database)) as file, file:
            file.execute("PRAGMA writable_schema = ON")
            if damage == "no version":
                file.execute("DELETE FROM alembic_version")
            else:
                kept = "name IN ('runs', 'metrics')" if damage == "half the tables" else "FALSE"
                file.execute(f"DELETE FROM sqlite_master WHERE NOT ({kept})")
    tell(run, 0)
    assert sorted(runs(database)) == ["demo", "round_00"]
    assert (run.path / "mlflow_damaged.db").is_file()
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "mlflow_damaged.db" in told


def test_a_database_of_somebody_else_is_never_set_aside(run, capfd):
    database = run.path / "theirs.db"
    with contextlib.closing(sqlite3.connect(database)) as file, file:
        file.execute("CREATE TABLE patients (name TEXT)")
    tell(run, 0, f"sqlite:///{database}")
    assert asked(database, "SELECT name FROM sqlite_master") == [("patients",)]
    told = capfd.readouterr().err
    assert told.endswith(ONE_LINE)
    assert told.count("\n") == 1
    assert "theirs.db" in told


def test_a_locked_database_costs_seconds_and_a_line_and_is_told_later(run, capfd):
    database = run.path / "mlflow.db"
    began = time.monotonic()
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        tell(run, 0)
    assert time.monotonic() - began < 60
    told = capfd.readouterr().err
    assert told.endswith(ONE_LINE)
    assert told.count("\n") == 1
    rounds(run).finish()  # the next command
    assert sorted(runs(database)) == ["demo", "round_00"]


def test_a_full_disk_costs_a_line_and_leaves_nothing_half_made(tmp_path):
    run = begun(tmp_path / "demo")
    finished_round(run, 0)
    child = "import resource, sys; from pathlib import Path; from monai_iltm.handlers import MLflowRounds;"
    child += "from monai_iltm.store import RunFolder; rounds = MLflowRounds(RunFolder(Path(sys.argv[1])), {});"
    child += "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); rounds.finish(); print('goes on')"
    done = subprocess.run([sys.executable, "-c", child, str(run.path)], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout == "goes on\n"
    assert done.stderr.endswith(ONE_LINE)
    assert done.stderr.count("\n") == 1
    assert not list(run.path.glob("*.db"))
    assert not list(run.path.glob(".part-*"))


def test_kinds_of_anomalies_become_names_that_mlflow_takes(run):
    kinds = ["crack (deep)", "crack [deep]", "a/b", "..", "Riß", "100 %", "x" * 400]
    finished_round(run, 0, **{kind: index / 10 for index, kind in enumerate(kinds)})
    tell(run, 0)
    told = runs(run.path / "mlflow.db")["round_00"][0].data.metrics
    names = ["crack _deep_", "crack _deep__", "a_b", "_..", "Riß", "100 _", "x" * 200]
    assert {name: told[f"test/{name}"] for name in names} == {name: index / 10 for index, name in enumerate(names)}


def test_settings_that_tell_of_places_are_left_out(run):
    places = ["/home/dr_miller", "~/mustermann", "C:\\patients", "\\\\nas\\x", "http://user:secret@server", ["/a/b.pt"]]
    settings = {f"setting_{index}": place for index, place in enumerate(places)}
    settings |= {"dataset_dir": "mustermann", "tracking": "x", "levels": [1.0, 0.5], "weights": "nets/perceptual.pt"}
    MLflowRounds(run, settings).finish()
    params = runs(run.path / "mlflow.db")["demo"][0].data.params
    assert params == {"levels": "[1.0, 0.5]", "weights": "nets/perceptual.pt"}


def test_at_the_end_come_yardsticks_bracket_report_and_what_was_not_told(run, tmp_path):
    with_pictures(run, tmp_path)
    write_json(run.trivial, {"robust_z": {"auroc": 0.7, "anomalous_auroc": 0.6}})
    write_json(run.bracket("oracle").metrics, {"average_precision": 0.8})
    run.report.write_text("the report")
    for _ in range(2):
        rounds(run).finish()
    (whole,), (child,) = (runs(run.path / "mlflow.db")[name] for name in ("demo", "round_00"))
    beside = {name: value for name, value in whole.data.metrics.items() if name.startswith(("trivial", "bracket"))}
    assert beside == {"trivial/robust_z/auroc": 0.7, "bracket/oracle/average_precision": 0.8}
    assert (run.path / whole.info.artifact_uri / "report.html").read_text() == "the report"
    assert [path.name for path in (run.path / child.info.artifact_uri / "pictures").iterdir()] == ["0_a.png"]
    assert asked(run.path / "mlflow.db", "SELECT count(*) FROM metrics WHERE key = 'auroc'") == [(2,)]
    tags = asked(run.path / "mlflow.db", "SELECT key, value FROM experiment_tags")
    assert tags == [("mlflow.experimentKind", "custom_model_development")]


def test_without_a_round_there_is_nothing_to_tell(tmp_path):
    rounds(begun(tmp_path / "demo")).finish()
    assert not (tmp_path / "demo" / "mlflow.db").exists()


def test_nothing_is_looked_up_and_nothing_written_at_home(run, tmp_path):
    child = """
import socket, sys
from pathlib import Path

def look_up(*_, **__):
    print("looked up")
    raise OSError

socket.getaddrinfo = look_up
from monai_iltm.handlers import MLflowRounds
from monai_iltm.store import RunFolder

MLflowRounds(RunFolder(Path(sys.argv[1])), {}).finish()
import time; time.sleep(2)
"""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("CI", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "PYTEST_CURRENT_TEST")
    }
    done = subprocess.run(
        [sys.executable, "-c", child, str(run.path)],
        capture_output=True,
        text=True,
        env={**kept, "HOME": str(tmp_path / "home")},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(runs(run.path / "mlflow.db")) == ["demo", "round_00"]
    assert not list((tmp_path / "home").rglob("*mlflow*"))


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Answers that it is there, and nothing that MLflow asks."""

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Silent)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://user:secret@127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_gets_away_costs_seconds_and_a_line(run, silent_server, capfd):
    began = time.monotonic()
    rounds(run, silent_server).finish()
    assert time.monotonic() - began < 90
    told = capfd.readouterr()
    assert told.err.endswith(ONE_LINE)
    assert told.err.count("\n") == 1
    assert "secret" not in told.err
    assert told.out == ""


def test_a_server_that_is_down_is_told_of_in_a_line(run, capfd):
    began = time.monotonic()
    tell(run, 0, "http://user:secret@127.0.0.1:9")
    assert time.monotonic() - began < 60
    told = capfd.readouterr().err
    assert told == f"warning: tracking: the server 127.0.0.1 does not answer; {ONE_LINE}"
    assert read_json(run.record)["started"]  # and nothing else happened to the run
