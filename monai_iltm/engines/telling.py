"""A user's mistake, a full disk, a stop and a lost process are told in one line; all else keeps its traceback.

Imports nothing that takes long: a mistake is told at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import TracebackType

from monai_iltm.data.errors import InputError
from monai_iltm.ending import end_stopped, stop_plainly

# What raises a ValueError in these rooms refuses a setting.
REFUSING = tuple(f"monai_iltm.{room}." for room in ("networks", "losses", "inferers", "ops"))

# How gloo's and nccl's errors tell of a process that is gone.
PEER_LOST = ("Connection closed by peer", "Connection reset by peer", "remote process exited")

# What the system answers where there is no room for more: on the disk, in a quota, in a file.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def tell_plainly() -> None:
    """From now on a user's mistake, a full disk and a stop are told in one line; all else keeps its traceback."""
    sys.excepthook = _tell
    stop_plainly()


def plain_line(error: BaseException | None) -> str | None:
    """One line for the mistake that an error is, or stems from, for a full disk and a lost process; else None."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    while error is not None:
        if isinstance(error, InputError) or (isinstance(error, ValueError) and _raised_in(error).startswith(REFUSING)):
            return f"error: {error}"
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            where = f"{error.filename}: " if error.filename else ""
            return f"error: {where}no room to write ({error.strerror}); with more of it the same command goes on"
        if several and any(words in str(error) for words in PEER_LOST):
            ends = f"process {os.environ.get('RANK')} ends: another process of this run did, and tells why"
            return f"{ends}, unless the system has killed it, as where memory runs out"
        error = error.__cause__ or error.__context__
    return None


def _raised_in(error: BaseException) -> str:
    """Name of the module whose code raised an error; "" where it was not raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else trace.tb_frame.f_globals.get("__name__", "")


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if kind is KeyboardInterrupt:
        end_stopped(signal.SIGINT)
    line = plain_line(error)
    if line is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(line, file=sys.stderr)
