"""`python -m tests.proofs.faults`: a release with a planted fault never gets a user.

An installed server behind its nginx, with people on it all the time. One release after the other is started in green,
each a copy of the one that runs with something broken in its code, its migrations or on its port, and everything is
tried to promote it. nginx's log says how many of the users' requests were sent to green: none may be.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.proofs.record import write_record

CLIENTS = 8
PAUSE_S = 0.4
START_S = 25
PROVES = (
    "generation/releases",
    "qwenstudio/proxy",
    "qwenstudio/releasing.py",
    "qwenstudio/health.py",
    "qwenstudio/units",
    "tests/deploy/server.py",
    "tests/proofs/faults.py",
)
WSGI = "qwenstudio/wsgi.py"
WRAPPED = '''

_real = application


def application(environ, start_response):
    """Planted."""
    if environ["PATH_INFO"] in ("/readyz", "/healthz"):
        return _real(environ, start_response)
    {what}
'''
DIES = """

import threading as _threading, time as _time, signal as _signal
from django.conf import settings as _settings

_dead, _now = _settings.STUDIO_VAR / "planted-dead", _settings.STUDIO_VAR / "planted-now"
if _dead.exists():
    raise SystemExit("planted")


def _die():
    while not _now.exists():
        _time.sleep(0.05)
    _dead.touch()
    os.kill(os.getppid(), _signal.SIGKILL)


_threading.Thread(target=_die, daemon=True).start()
"""
NO_MODEL = """

def _broken(self, spec):
    raise CheckpointError(file="planted", reason="is broken on purpose", remedy="plant nothing")


Sleeping.load = _broken
"""
WRONG_PICTURES = """

_right = draw


def draw(latents, fmt="png", quality=None):
    other = Latents(latents.key, latents.prompt, latents.seed + 1, latents.width, latents.height)
    return _right(other, fmt, quality)
"""
MIGRATION = '''"""Planted."""

from django.db import migrations


class Migration(migrations.Migration):
    expands = {expands}
    dependencies = [("generation", "{last}")]
    operations = [{operation}]
'''


@dataclass(frozen=True)
class Fault:
    """What is broken, and the words with which it must be refused."""

    name: str
    words: str
    changes: dict[str, str] = field(default_factory=dict)
    migration: dict[str, object] | None = None
    beside: Callable[[Any], Any] | None = None
    """Around the whole try."""
    after_start: Callable[[Any], None] | None = None
    """It starts well; this happens before it is promoted."""


@contextmanager
def stranger(server: Any) -> Iterator[None]:
    """Another program listens on green's port, and says yes to everything."""

    class Yes(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: Any) -> None:
            return

    listener = ThreadingHTTPServer(("127.0.0.1", server.ports("green")[0]), Yes)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        listener.shutdown()
        listener.server_close()


def let_die(server: Any) -> None:
    """Green's pages die now, and whenever they are started again."""
    (server.layout.var / "planted-now").touch()
    until = time.monotonic() + 30
    while not (server.layout.var / "planted-dead").exists():
        assert time.monotonic() < until, "nobody died"
        time.sleep(0.05)


FAULTS = (
    Fault("does not start", r"pages on port \d+: no answer", {WSGI: "\nraise RuntimeError('planted')\n"}),
    Fault("its port is taken", r"this is release None of None", beside=stranger),
    Fault(
        "is never ready", r"/readyz says 503 storage: planted",
        {"qwenstudio/health.py": "\n\ndef _look():\n    return Readiness(failed={'storage': 'planted'})\n"},
    ),
    Fault(
        "is slow", r"/sign-in/ took \d",
        {WSGI: WRAPPED.format(what="__import__('time').sleep(6)\n    return _real(environ, start_response)")},
    ),
    Fault(
        "answers pages with 500", r"/sign-in/ says 500 instead of 200",
        {WSGI: WRAPPED.format(what="start_response('500 Planted', [])\n    return [b'']")},
    ),
    Fault("dies when it was ready", r"was ready and is so no more", {WSGI: DIES}, after_start=let_die),
    Fault(
        "takes a column away", r"takes something away .* removes generation\.generation\.prompt",
        migration={"expands": False, "operation": 'migrations.RemoveField("generation", "prompt")'},
    ),
    Fault(
        "its migration fails", r"division by zero",
        migration={"expands": True, "operation": 'migrations.RunSQL("SELECT 1/0")'},
    ),
    Fault("its model is broken", r"is broken on purpose", {"tests/chaos/sleeping.py": NO_MODEL}),
    Fault("draws wrong pictures", r"the comparison says no: .* is red", {"tests/chaos/sleeping.py": WRONG_PICTURES}),
    Fault("is another release than it says", r"this is release somebody of green", {"RELEASE": ""}),
)  # fmt: skip


def try_fault(server: Any, fault: Fault, *, number: int, timeout_s: int = START_S) -> dict[str, Any]:
    """Start and promote a broken release by all means; what became of it."""
    name, began = f"broken-{number}", time.monotonic()
    folder = server.add_release(name, **fault.changes)
    if "RELEASE" in fault.changes:
        replace_release(folder)
    if fault.migration is not None:
        last = max(path.stem for path in (folder / "generation/migrations").glob("0*.py"))
        file = folder / "generation/migrations/0999_planted.py"
        file.write_text(MIGRATION.format(last=last, **fault.migration), encoding="utf-8")
    with fault.beside(server) if fault.beside else nullcontext():
        said = [server.release("start", "green", "--release", name, "--timeout", str(timeout_s), fails=None)]
        if fault.after_start is not None and said[0].code == 0:
            fault.after_start(server)
        said.append(server.release("promote", "green", "--timeout", str(timeout_s), fails=None))
        lane = server.default()
        server.release("finish", fails=None)
    told = " ".join(" ".join(one.said for one in said).split())
    return {
        "fault": fault.name,
        "refused": said[-1].code != 0 and lane == "blue",
        "by": "promote" if said[0].code == 0 else "start",
        "said_why": bool(re.search(fault.words, told)),
        "seconds": round(time.monotonic() - began, 1),
        **({} if re.search(fault.words, told) else {"said": told[-1500:]}),
    }


def replace_release(folder: Path) -> None:
    """It calls itself by another name than its folder."""
    from tests.deploy.server import replace

    replace(folder / "RELEASE", "somebody\n")


def try_all(
    server: Any, visitors: Sequence[Any], *, folder: Path, faults: Sequence[Fault] = FAULTS, timeout_s: int = START_S
) -> dict[str, Any]:
    """Every fault, with people there; raw counts."""
    from tests.deploy.crowd import crowd

    log = folder / "clients.jsonl"
    with crowd(server.nginx, visitors, log=log, clients=CLIENTS, streams=4, pause_s=PAUSE_S) as found:
        found.wait_for(CLIENTS)
        tried = [
            try_fault(server, fault, number=number, timeout_s=timeout_s) for number, fault in enumerate(faults, start=1)
        ]
        found.stop_asking()
    counts = found.as_json()
    return {
        "faults": len(tried),
        "refused": sum(one["refused"] for one in tried),
        "said_why": sum(one["said_why"] for one in tried),
        "users_requests": counts["requests"],
        "users_requests_failed": counts["failed"],
        "users_requests_sent_to_green": len(server.requests("green")),
        "users_requests_sent_to_blue": len(server.requests("blue")),
        "failures": counts["failures"],
        "tried": tried,
    }


def is_good(counts: dict[str, Any], *, faults: int = len(FAULTS)) -> bool:
    """All were refused, for their own reason, and nobody met one."""
    return bool(
        counts["faults"] == counts["refused"] == counts["said_why"] == faults
        and counts["users_requests_sent_to_green"] == counts["users_requests_failed"] == 0
        and counts["users_requests_sent_to_blue"] > 0
    )


def main() -> int:
    """On servers of its own; 1 when a broken release got through, or somebody met one."""
    from tests.proofs.studio import own_database  # it prepares the environment that Django reads

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-faults-"))
    with own_database(folder) as services:
        from generation.releases.compare.shipped import add_shipped
        from tests.chaos.rig import offer_sleeping_model
        from tests.deploy.crowd import make_visitors
        from tests.deploy.server import running_server

        offer_sleeping_model()
        add_shipped()
        visitors = make_visitors(2)
        with running_server(folder / "server", services) as server:
            counts = try_all(server, visitors, folder=folder)
    good = is_good(counts)
    write_record("faults", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(counts)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
