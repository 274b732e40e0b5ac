from __future__ import annotations

import socket
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from monai_iltm.data.errors import InputError
from monai_iltm.handlers.tracking_address import answers, require_address, sqlite_file


@pytest.mark.parametrize("address", [None, "sqlite:///mlflow.db", "sqlite:////srv/it's %20 ?.db"])
def test_files_are_taken_without_a_word(address, capfd):
    require_address(address)
    assert capfd.readouterr() == ("", "")


def test_the_path_of_a_file_is_taken_as_it_is_written():
    assert sqlite_file("sqlite:////srv/a%20b?.db") == Path("/srv/a%20b?.db")
    assert sqlite_file("sqlite:///mlflow.db") == Path("mlflow.db")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "URL",
        "server:5000",
        "ftp://server",
        "http://",
        "http://server:x",
        "http://server:70000",
        "http://[::1",
        True,
        5000,
        "sqlite://",
        "sqlite:///",
        "http://a b",
        "http://server\n",
        "postgresql://u:secret@server/db",
        "/srv/x",
    ],
)
def test_other_addresses_are_refused_in_a_line_without_their_password(address):
    with pytest.raises(InputError, match=r"tracking: .* is no address: write http://HOST:PORT") as refused:
        require_address(address)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_told_of_and_not_refused(capfd):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        require_address(f"http://user:secret@127.0.0.1:{free.getsockname()[1]}")
    told = capfd.readouterr().err
    assert told.startswith("warning: tracking: the server 127.0.0.1 does not answer")
    assert told.count("\n") == 1
    assert "secret" not in told


def test_a_server_that_takes_a_connection_and_is_silent_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.2)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(("status", "there"), [(200, True), (401, True), (404, True), (502, False)])
def test_what_asks_for_a_password_is_there_and_a_proxy_before_nothing_is_not(status, there):
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        assert answers(f"http://user:secret@127.0.0.1:{server.server_port}") is there
        thread.join()
