"""How a command ends before its time: stopped by a person, killed by the system, or left alone by its launcher."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

STOPPED = "stopped; the same command goes on where it was"
LAUNCHER = "ILTM_LAUNCHER"  # process id of what has started this one, where that is ours


def stop_plainly() -> None:
    """From now on SIGTERM ends the program with one line and exit code 143; who has a handler of their own keeps it.

    Ctrl-C stays the exception that it is: `door.tell_plainly` tells it at the end.
    """
    if threading.current_thread() is not threading.main_thread() or "RANK" in os.environ:
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _stop)


def end_stopped(number: int) -> None:
    """Print that the program was stopped, and end it with the exit code that shells give a signal."""
    os.write(2, f"\n{STOPPED}\n".encode())  # print is not safe where a signal came amid another print
    raise SystemExit(128 + number)


@cache
def obey_launcher() -> None:
    """Of a process that torchrun has started: it ends when told to, without a word, and within seconds when its
    launcher is gone, even where that had no time to tell.

    torch waits for other processes where Python's own handlers are never called: the system's take their place.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
    launcher = int(os.environ.get(LAUNCHER, os.getppid()))
    threading.Thread(target=_end_without, args=(launcher,), daemon=True, name="watches the launcher").start()


def killed_lines(failures: Iterable[ProcessFailure]) -> list[str]:
    """A line for each process that a signal has ended, but not by SIGTERM, with which the launcher ends the others."""
    lines = []
    for failure in failures:
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
            name = signal.Signals(-failure.exitcode).name
            lines.append(f"process {failure.local_rank} was killed by {name} (signal {-failure.exitcode})")
            if failure.exitcode == -signal.SIGKILL:
                lines[-1] += (
                    "; the system does that where memory runs out: smaller batches or fewer processes need less"
                )
    return lines


def _stop(number: int, frame: FrameType | None) -> None:
    end_stopped(number)


def _end_without(launcher: int, every: float = 1.0) -> None:
    while os.getppid() == launcher:
        time.sleep(every)
    os._exit(1)  # files come into their place whole: nothing is to be closed
