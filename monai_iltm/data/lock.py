"""One command at a time in an output folder: a lock that the system itself lets go when its process dies."""

from __future__ import annotations

import atexit
import os
import re
import socket
import sys
import time
from pathlib import Path

from monai_iltm.data.errors import InputError
from monai_iltm.data.one_step import PathLike, sweep

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

NAME = ".monai_iltm.lock"  # of our own: others keep a .lock, and it would be taken for theirs
PATIENCE = 60.0  # seconds: a command that was just told to stop, here or on another machine, needs some to end
_held: dict[Path, int] = {}  # folder -> the open lock file of this process


def hold_folder(folder: PathLike, patience: float = PATIENCE) -> None:
    """Make an output folder this process's own until it ends, and remove what killed commands have left half-written.

    A folder inside one that this process holds already is its own too. Where another command is at work, its end is
    waited for, ``patience`` seconds at most. Where the file system knows no locks a line says so, and the work goes on.

    Raises InputError where the other command is still at work then.
    """
    folder = Path(folder).resolve()
    if any(_is_held(place) for place in (folder, *folder.parents)):
        return
    try:
        _held[folder] = _wait(folder, patience)
    except OSError as error:
        print(
            f"{folder}: cannot be locked ({error.strerror}): see that no other command is at work there",
            file=sys.stderr,
        )
        return
    if count := sweep(folder, leave_out=_others):
        print(f"{folder}: {count} unfinished files of a command that was killed are removed", file=sys.stderr)


def release_all() -> None:
    """Let go of all folders; the end of the process does it too."""
    for folder, lock in _held.items():
        if _is_of(lock, folder / NAME):
            (folder / NAME).unlink(missing_ok=True)  # before it is let go: whoever waits for this file begins again
        os.close(lock)
    _held.clear()


atexit.register(release_all)


def _wait(folder: Path, patience: float) -> int:
    ends, told = time.monotonic() + patience, False
    while (lock := _take(folder / NAME)) is None:
        busy = f"another command is at work in {folder}{_holder(folder / NAME)}"
        if time.monotonic() >= ends:
            raise InputError(f"{busy}: let it end, or stop it, or take another output folder")
        if not told:
            print(f"{busy}; waiting for its end, {patience:.0f} s at most", file=sys.stderr, flush=True)
        told = True
        time.sleep(0.2)
    return lock


def _take(path: Path) -> int | None:
    """The open file of a lock, None where another process has it. Raises OSError where there are no locks."""
    if fcntl is None:
        raise OSError(None, "this system has none that end with their process")
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                return None
            raise
        if _is_of(lock, path):
            os.ftruncate(lock, 0)
            os.write(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return lock
        os.close(lock)  # its last owner has removed the file meanwhile


def _is_of(lock: int, path: Path) -> bool:
    """Whether an open file still is the one at a path."""
    try:
        return os.path.samestat(os.fstat(lock), os.lstat(path))
    except OSError:
        return False


def _is_held(folder: Path) -> bool:
    return folder in _held and _is_of(_held[folder], folder / NAME)


def _others(folder: Path) -> bool:
    """Whether another command is at work in a folder."""
    if fcntl is None or _is_held(folder) or not (folder / NAME).is_file():
        return False
    try:
        lock = os.open(folder / NAME, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _holder(path: Path) -> str:
    """Who has a lock, as its file tells."""
    try:
        found = re.fullmatch(r"process \d+ on [\w.-]+", path.read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return ""
    return f" ({found.group()})" if found else ""
