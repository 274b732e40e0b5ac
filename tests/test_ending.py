"""How commands end before their time, seen from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from monai_iltm.ending import LAUNCHER, killed_lines

WAIT = """
import sys, time
from monai_iltm.engines.telling import tell_plainly
tell_plainly()
print("ready", flush=True)
time.sleep(60)
"""
OBEY = """
import os, time
from monai_iltm.ending import obey_launcher
obey_launcher()
print(os.getpid(), flush=True)
time.sleep(120)
"""
LAUNCH = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(120)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_one_line_and_the_exit_code_of_its_signal(number):
    started = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-c", WAIT],
        **started,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=240)
    assert told.split("\n") == ["", "stopped; the same command goes on where it was", ""]
    assert process.returncode == 128 + number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_of_several_ends_without_a_word(number):
    started = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", OBEY], **started) as process:
        process.stdout.readline()
        process.send_signal(number)
        assert process.communicate(timeout=240) == ("", "")
    assert process.returncode == -number


def test_a_process_whose_launcher_is_killed_ends_too():
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCH, OBEY], stdout=subprocess.PIPE, text=True)
    worker = int(launcher.stdout.readline())
    launcher.kill()
    launcher.wait()
    ends = time.monotonic() + 20
    while lives(worker):
        assert time.monotonic() < ends, "the process outlives its launcher"
        time.sleep(0.1)
    launcher.stdout.close()


def test_a_process_whose_launcher_is_gone_before_it_looks_ends_at_once():
    """Whoever has started this one is not the launcher that it was told of."""
    gone = subprocess.run([sys.executable, "-c", OBEY], env={**os.environ, LAUNCHER: "1"}, timeout=240, check=False)
    assert gone.returncode == 1


def test_a_killed_process_is_named_with_its_signal():
    failures = [SimpleNamespace(local_rank=r, exitcode=c) for r, c in enumerate([1, -9, -15, -7])]
    killed, bus = killed_lines(failures)
    assert killed.startswith("process 1 was killed by SIGKILL (signal 9); the system does that where memory runs out")
    assert bus == "process 3 was killed by SIGBUS (signal 7)"


def lives(process: int) -> bool:
    """Whether a process is there, and not merely waiting for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
