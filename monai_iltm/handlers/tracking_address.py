"""Where figures go: addresses of MLflow servers and SQLite files, told right from wrong before any long work."""

from __future__ import annotations

import contextlib
import re
import ssl
import sys
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import ignite.distributed as idist

from monai_iltm.data.errors import InputError

SQLITE = "sqlite:///"
SECONDS = 3.0  # that a server may take to answer; one that is there takes milliseconds


def require_address(address: object) -> None:
    """Hold the setting `tracking` to what can be written to; None is the run folder's own file.

    On rank 0 a server is asked once, for a few seconds at most: where it does not answer, a line says so.
    Raises InputError for all but http(s)://HOST[:PORT] and sqlite:///PATH.
    """
    if address is None or sqlite_file(address) is not None:
        return
    server = _server(address)
    if server is None:
        raise InputError(
            f"tracking: {_without_password(address)} is no address: write http://HOST:PORT or https://HOST for an "
            "MLflow server, sqlite:///PATH for a file"
        )
    if idist.get_rank() == 0 and not answers(str(address)):
        warn(f"the server {server.hostname} does not answer: the run goes on, and tells it all once it does")


def sqlite_file(address: object) -> Path | None:
    """The file that sqlite:///PATH names, PATH taken as it is written; None for other addresses."""
    text = str(address)
    return Path(text.removeprefix(SQLITE)) if text.startswith(SQLITE) and text.isprintable() and text[10:] else None


def answers(address: str, seconds: float = SECONDS) -> bool:
    """Whether a web server is there, the look-up of its name, for which no limit can be set, included."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_knock(address, seconds)), daemon=True)
    thread.start()
    thread.join(2 * seconds)
    return found == [True]


def warn(what: str) -> None:
    """One line on the terminal."""
    print(f"warning: tracking: {readable(what)}", file=sys.stderr, flush=True)


def readable(text: str) -> str:
    """A name or message from outside, of which nothing is left but what can be read, and stored as UTF-8."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _knock(address: str, seconds: float) -> bool:
    unchecked = ssl.create_default_context()  # nothing is told yet, and MLflow has its own settings for certificates
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    place = urlsplit(address)
    bare = place._replace(netloc=place.netloc.rpartition("@")[2], query="", fragment="").geturl()
    try:
        with urllib.request.urlopen(bare.rstrip("/") + "/health", timeout=seconds, context=unchecked):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500  # what asks for a password, or knows no such page, is there
    except (OSError, HTTPException, ValueError):
        return False


def _server(address: object) -> SplitResult | None:
    """The parts of a web address; None for what is none."""
    if not isinstance(address, str) or not address.isprintable() or re.search(r"\s", address):
        return None
    with contextlib.suppress(ValueError):  # of a port or an IPv6 address that is none
        place = urlsplit(address)
        if place.scheme in ("http", "https") and place.hostname and (place.port is None or place.port > 0):
            return place
    return None


def _without_password(address: object) -> str:
    return re.sub(r"//[^/]*@", "//...@", repr(address))
