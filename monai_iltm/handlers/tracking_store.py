"""MLflow's store as a run reaches it: a server that answers, or an SQLite file that is whole."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from monai_iltm.data.errors import InputError
from monai_iltm.handlers.tracking_address import SECONDS, answers, sqlite_file, warn

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

# Nothing is looked up, sent or counted that a user did not ask for.
SILENCE = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
# A server that went away is given up in seconds, not in MLflow's four minutes; a user's own values hold. Without a pool
# no connection stays open to a file that is to be renamed.
HASTE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
LOGGERS = ("mlflow", "alembic", "sqlalchemy", "urllib3")  # they print tracebacks of what is told here in a line
ARTIFACTS = "mlflow"  # folder beside an SQLite file, and in it as a relative path: it tells of no machine
KIND = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's page shows training runs, not traces of agents
COMPANIONS = ("-journal", "-wal", "-shm")  # of an SQLite file: they would be replayed into another of its name


@dataclass(frozen=True)
class TrackingStore:
    """An MLflow client, and the SQLite file behind it; None for a server."""

    client: MlflowClient
    database: Path | None

    def experiment(self, name: str) -> str:
        """The id of an experiment, which is made where there is none of this name."""
        known = self.client.get_experiment_by_name(name)
        if known is None:
            made = self.client.create_experiment(name, tags=KIND)
            if self.database is not None:
                with contextlib.closing(sqlite3.connect(self.database, timeout=SECONDS)) as file, file:
                    # MLflow makes every path absolute when it writes it, and reads a relative one all the same
                    file.execute("UPDATE experiments SET artifact_location = ? WHERE name = ?", (ARTIFACTS, name))
            return made
        for key, value in KIND.items():
            if key not in known.tags:
                self.client.set_experiment_tag(known.experiment_id, key, value)
        return known.experiment_id

    def runs(self, experiment: str, tags: Mapping[str, str]) -> list[Run]:
        """The runs that bear these tags, whose values hold no quotes."""
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        page = self.client.search_runs([experiment], query)
        found = list(page)
        while page.token:
            page = self.client.search_runs([experiment], query, page_token=page.token)
            found += page
        return found

    def keep_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Store a copy of a file with a run, in a folder of its artifacts."""
        place = self.client.get_run(run_id).info.artifact_uri
        if self.database is None or urlsplit(place).scheme or PurePath(place).is_absolute():
            self.client.log_artifact(run_id, str(path), folder)
            return
        target = self.database.parent / place / (folder or "")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / path.name)


@contextlib.contextmanager
def connected(address: str | None, own: Path) -> Iterator[TrackingStore]:
    """The store at an address, of None the file `own`, with MLflow's own messages held back.

    Raises OSError or sqlite3.Error, in seconds, for a server that does not answer and a file that cannot be written;
    what MLflow raises afterwards passes.
    """
    os.environ.update(SILENCE)
    for name, value in HASTE.items():
        os.environ.setdefault(name, value)
    with _quiet(), contextlib.ExitStack() as opened:
        from mlflow.telemetry import set_telemetry_client
        from mlflow.tracking import MlflowClient  # takes seconds to import: only where a round is told

        set_telemetry_client()  # MONAI may have imported MLflow before the words above stood there
        database = own if address is None else sqlite_file(address)
        if database is None:
            if not answers(str(address)):
                raise ConnectionError(f"the server {urlsplit(str(address)).hostname} does not answer")
            yield TrackingStore(MlflowClient(address), None)
            return
        database = Path(os.path.abspath(database))
        require_database(database, ours=address is None)
        yield TrackingStore(MlflowClient(opened.enter_context(sqlite_address(database))), database)


def require_database(database: Path, ours: bool) -> None:
    """See that an SQLite file holds all of MLflow's tables and can be written; make it where it is not there.

    One of ours that a kill, a full disk or a damage has left without them is set aside with a line. Raises
    InputError for such a file of somebody else, sqlite3.Error for one that is locked or must not be written.
    """
    if database.exists() and not _is_whole(database):
        if not ours:
            raise InputError(f"{database.name}: not an MLflow database, or a damaged one")
        aside = database.with_name(f"{database.stem}_damaged{database.suffix}")
        for end in ("", *COMPANIONS):
            if Path(f"{database}{end}").exists():
                os.replace(f"{database}{end}", f"{aside}{end}")
        warn(f"{database.name} was damaged or half made: now {aside.name}, and all rounds are told anew")
    if not database.exists():
        make_database(database)


@contextlib.contextmanager
def sqlite_address(path: Path) -> Iterator[str]:
    """An address by which MLflow reaches a file, whatever its folders are called.

    MLflow, alembic and SQLAlchemy read `%`, `?` and quotes in an address each in its own way: a link that has none of
    them stands for such a path while it is used.
    """
    if re.fullmatch(r"[\w./:+-]+", path.as_posix(), re.ASCII):
        yield f"sqlite:///{path.as_posix()}"
        return
    with tempfile.TemporaryDirectory(prefix="monai_iltm_") as folder:
        link = Path(folder, "mlflow.db")
        link.symlink_to(path)
        yield f"sqlite:///{link.as_posix()}"


def _is_whole(database: Path) -> bool:
    """Whether MLflow has come to the end of making it: it names the version, then the first experiment."""
    with contextlib.closing(sqlite3.connect(database, timeout=SECONDS, isolation_level=None)) as file:
        try:
            sound = file.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            whole = sound and {"alembic_version", "experiments"} <= tables
            whole = whole and file.execute("SELECT count(*) FROM alembic_version").fetchone() > (0,)
            whole = whole and file.execute("SELECT count(*) FROM experiments").fetchone() > (0,)
            if whole:
                file.execute("BEGIN IMMEDIATE")  # MLflow would try for minutes where this fails
                file.execute("ROLLBACK")
        except sqlite3.OperationalError:
            raise  # locked, or not to be read or written: no reason to call it damaged
        except sqlite3.DatabaseError:
            return False
    return whole


def make_database(database: Path) -> None:
    """All tables in a file beside, which takes the name when it is whole: a kill leaves none that is half made."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=".db", dir=database.parent)
    os.close(handle)
    try:
        with contextlib.suppress(OSError):  # mkstemp's are for the owner alone; this is for whom the folder is
            os.chmod(name, database.parent.stat().st_mode & 0o666)
        with sqlite_address(Path(name)) as address:
            SqlAlchemyStore(address, "mlflow-artifacts:/")  # MLflow's own experiment would tell of the present folder
        for end in COMPANIONS:
            Path(f"{database}{end}").unlink(missing_ok=True)
        os.replace(name, database)
    finally:
        for end in ("", *COMPANIONS):
            Path(f"{name}{end}").unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
