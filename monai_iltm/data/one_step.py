"""Files that are whole or not there: written beside their place, then put into it; and what killed commands leave."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from monai_iltm.data.errors import InputError

PREFIX = ".part-"
PathLike = str | os.PathLike  # as MONAI names it; whoever waits for a lock need not wait for MONAI first


@contextmanager
def in_one_step(path: PathLike, suffix: str = "") -> Iterator[str]:
    """The name of a new file beside ``path``: put in its place when the block ends well, else removed.

    It ends with ``suffix``, where a writer asks for one. Folders are made. A link at ``path`` is replaced, and what it
    points to stays as it is. Several processes may write to one place: the last one's file stays.

    Raises InputError, in one line, where the system refuses to write, as on a full disk.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=PREFIX, suffix=suffix, dir=path.parent)
    except OSError as error:
        raise InputError(f"{path.parent}: folder cannot be written ({error.strerror})") from error
    os.close(handle)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's 0600 would hide results from colleagues
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def folder_beside(path: PathLike) -> Path:
    """A new, empty folder beside ``path``, of a name that ``sweep`` knows."""
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=Path(path).parent))


def sweep(folder: PathLike, leave_out: Callable[[Path], bool] = lambda _: False) -> int:
    """Remove what killed commands have left half-written below a folder, and return how many files and folders.

    ``leave_out``: True of a folder below it that is somebody else's for now. Links are not followed.
    """
    swept = 0
    for place, folders, files in os.walk(str(folder)):
        parts = [Path(place, name) for name in (*folders, *files) if name.startswith(PREFIX)]
        for path in parts:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        swept += len(parts)
        folders[:] = [n for n in folders if not n.startswith(PREFIX) and not leave_out(Path(place, n))]
    return swept


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
