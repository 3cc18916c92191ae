"""The guard of `transformers serve`: what it starts, when it says so, and that a dead server is ended with it.

The server is a stand-in of the same name that dies on command; the true one runs in
`tests/clients/test_transformers_serve.py`.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from qwenstudio.embedded.ports import free_port
from qwenstudio.units.chatguard import DEAD, command

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    dead = False

    def do_GET(self):
        if self.path == "/die":
            Handler.dead = True
        seen = {"arguments": sys.argv[1:], "offline": os.environ.get("HF_HUB_OFFLINE"),
                "updates": os.environ.get("HF_HUB_DISABLE_UPDATE_CHECK")}
        self.send_response(503 if Handler.dead and self.path == "/health" else 200)
        self.end_headers()
        self.wfile.write(json.dumps(seen).encode())

    def log_message(self, format, *args):
        print('INFO:     127.0.0.1:1 - "GET %s HTTP/1.1" 200 OK' % self.path, flush=True)

print("[transformers] Loading", flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@dataclass
class Guarded:
    """A guard, its stand-in, and what it has said."""

    process: subprocess.Popen[str]
    port: int
    hears: socket.socket

    def heard(self) -> str:
        return self.hears.recv(4096).decode()

    def ask(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        found = connection.getresponse().read()
        connection.close()
        return found


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """One that is ready."""
    package = tmp_path / "transformers" / "cli"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "transformers.py").write_text(STAND_IN)
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.bind(str(tmp_path / "notify"))
        hears.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        line = [sys.executable, "-m", "qwenstudio.units.chatguard", str(port), "a/model", "--device", "cpu"]
        process = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        found = Guarded(process, port, hears)
        try:
            assert found.heard() == "READY=1"
            yield found
        finally:
            for one in [*psutil.Process(process.pid).children(), process] if process.poll() is None else []:
                one.kill()
            process.communicate()


def test_it_serves_one_model_on_loopback_off_the_network_and_says_that_it_moves(guarded: Guarded) -> None:
    assert guarded.heard() == "WATCHDOG=1"
    seen = json.loads(guarded.ask("/"))
    arguments = seen["arguments"]
    assert arguments[:2] == ["serve", "a/model"]
    assert arguments[arguments.index("--host") + 1] == "127.0.0.1"
    assert "--continuous-batching" in arguments
    assert arguments[arguments.index("--cb-num-blocks") + 1] == "256"
    assert (seen["offline"], seen["updates"]) == ("1", "1")


def test_a_server_that_is_dead_inside_is_ended_for_a_new_start(guarded: Guarded) -> None:
    (server,) = psutil.Process(guarded.process.pid).children()
    guarded.ask("/die")
    output, _ = guarded.process.communicate(timeout=60)
    assert guarded.process.returncode == DEAD
    assert not server.is_running()
    assert "the server is dead (503): ending it" in output
    assert "[transformers] Loading" in output
    assert "200 OK" not in output, "our own questions would be all there is to read"


def test_the_end_is_handed_on(guarded: Guarded) -> None:
    (server,) = psutil.Process(guarded.process.pid).children()
    guarded.process.send_signal(signal.SIGTERM)
    guarded.process.communicate(timeout=60)
    assert guarded.process.returncode == 0
    assert not server.is_running()


def test_bounds_may_be_moved_and_what_keeps_it_to_itself_may_not() -> None:
    line = command("18795", "m", ["--cb-num-blocks", "64", "--dtype", "float32"])
    assert line.count("--cb-num-blocks") == 1 and line[-2:] == ["--dtype", "float32"]
    assert line[line.index("--cb-max-batch-tokens") + 1] == "512"
    for option in ("--host", "--host=0.0.0.0", "--port", "--enable-cors", "--trust-remote-code"):
        with pytest.raises(ValueError, match="keeps the server to itself"):
            command("18795", "m", [option])
