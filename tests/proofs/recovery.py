"""`python -m tests.proofs.recovery`: whatever is stopped, killed or hangs serves again within ten seconds.

An installed server behind its nginx with the real demo model, its units run by `manage.py up --from-units`. Each kind
of process is stopped (SIGSTOP), killed (SIGKILL) and, where a request can do that, hung inside its code; Valkey,
PostgreSQL and nginx's workers as well. Measured is the time until a new process serves, or, for what the studio can do
without, until requests are answered and pictures drawn. A pass that hangs is given its deadline first.
"""

from __future__ import annotations

import http.client
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.proofs.record import write_record

WITHIN_S = 10.0
DEADLINE_S = 30.0  # of a phase that was measured (generation/worker/clock.py)
KINDS = ("web", "stream", "worker", "ticker", "gpu")
PROVES = (
    "deploy/systemd",
    "qwenstudio/units",
    "qwenstudio/notify.py",
    "generation/worker",
    "generation/engine",
    "qwenstudio/door",
    "tests/deploy/server.py",
)
# What a request may do to a process, in a copy of the release.
PLANTED = {
    "qwenstudio/wsgi.py": '''

_real = application


def application(environ, start_response):
    """Planted."""
    if environ["PATH_INFO"] == "/planted-hang":
        __import__("time").sleep(3600)
    return _real(environ, start_response)
''',
    "qwenstudio/asgi.py": '''

_real = door


async def door(scope, receive, send):
    """Planted."""
    if scope.get("path") == "/planted-hang":
        __import__("time").sleep(3600)
    await _real(scope, receive, send)
''',
    "generation/engine/run.py": '''

_real = run_pass


def run_pass(model, rows, hooks):
    """Planted."""
    if any("HANG" in row.prompt for row in rows):
        hooks.phase("encode", {"rows": len(rows)})
        time.sleep(3600)
    return _real(model, rows, hooks)
''',
}


class Case:
    """Times of one server's recoveries."""

    def __init__(self, server: Any, visitor: Any) -> None:
        self.server, self.visitor = server, visitor
        self.found: list[dict[str, Any]] = []

    def note(self, what: str, how: str, seconds: float, **more: Any) -> None:
        self.found.append({"what": what, "how": how, "again_after_s": round(seconds, 1), **more})
        print(f"{what}, {how}: {seconds:.1f} s {more or ''}", flush=True)

    def signal(self, kind: str, number: signal.Signals, *, which: str = "serving") -> None:
        """Stop or kill a unit's process, and wait for its successor."""
        from tests.deploy.installed import wait_for

        installed = self.server.installed
        self._settle(kind)
        old = installed.serving(kind)
        os.kill(old if which == "serving" else installed.main(kind), number)
        began = time.monotonic()
        wait_for(lambda: installed.serving(kind) not in (old, None), seconds=120, what=f"another {kind}")
        gone = time.monotonic() - began
        wait_for(lambda: installed.serves(kind), seconds=120, what=f"{kind} again")
        seconds = time.monotonic() - began
        name = kind if which == "serving" else f"{kind}'s parent"
        cost = {"start_cpu_s": used_s(installed.serving(kind))} if kind == "gpu" else {}
        self.note(name, number.name, seconds, noticed_after_s=round(gone, 1), **cost)

    def hang(self, kind: str, requests: int) -> None:
        """Requests that never end: on every thread there is."""
        from tests.deploy.installed import wait_for

        installed = self.server.installed
        self._settle(kind)
        old, port = installed.main(kind), installed.port(kind)
        for _ in range(requests):
            threading.Thread(target=ask_and_wait, args=(port,), daemon=True).start()
        began = time.monotonic()
        wait_for(lambda: installed.main(kind) not in (old, None), seconds=120, what=f"another {kind}")
        wait_for(lambda: installed.serves(kind), seconds=120, what=f"{kind} again")
        self.note(kind, "hung", time.monotonic() - began)

    def hang_pass(self) -> None:
        """A pass that never ends, of a size that was measured."""
        from tests.deploy.installed import wait_for

        self._settle("gpu")
        self.draw("a red circle")
        old = self.server.installed.main("gpu")
        hung = self.submit("HANG")
        wait_for(lambda: self.look(hung)["status"] == "running", seconds=60, what="the pass to begin")
        began = time.monotonic()
        wait_for(lambda: self.server.installed.main("gpu") not in (old, None), seconds=120, what="another worker")
        ended = time.monotonic() - began
        self.ask("POST", f"/api/v1/images/{hung}/cancel")  # or its successor would draw it, when the lease has run out
        wait_for(lambda: self.server.installed.serves("gpu"), seconds=120, what="the worker again")
        again = time.monotonic() - began
        self.note("gpu", "hung pass", again - DEADLINE_S, hung_s=round(ended, 1), deadline_s=DEADLINE_S)

    def beside(self, what: str, how: str, act: Callable[[], None], *, after: Callable[[], None] = lambda: None) -> None:
        """Something that the studio needs is gone: until a page comes and a picture is drawn."""
        self._settle("gpu")
        self.draw("a red circle")
        act()
        began = time.monotonic()
        try:
            seconds = {"page_s": self.until(self.has_page, began), "picture_s": self.until(self.has_drawn, began)}
        finally:
            after()
        self.note(what, how, max(seconds.values()), **{key: round(value, 1) for key, value in seconds.items()})

    # ---- asking

    @staticmethod
    def until(condition: Callable[[], bool], began: float) -> float:
        while not condition():
            assert time.monotonic() - began < 120, "not within two minutes"
            time.sleep(0.1)
        return time.monotonic() - began

    def has_page(self) -> bool:
        """A page by a new connection, three times: every process and every worker of nginx has its turn."""
        try:
            return all(self.ask("GET", "/studio/", session=True)[0] == 200 for _ in range(3))
        except OSError:
            return False

    def has_drawn(self) -> bool:
        with suppress(OSError, KeyError, AssertionError):
            self.draw("a red circle", seconds=20)
            return True
        return False

    def draw(self, prompt: str, *, seconds: float = 60) -> None:
        """A whole picture."""
        id, until = self.submit(prompt), time.monotonic() + seconds
        while self.look(id)["status"] != "succeeded":
            assert time.monotonic() < until, f"{prompt} is not drawn"
            time.sleep(0.05)

    def submit(self, prompt: str) -> str:
        status, found = self.ask("POST", "/api/v1/images", {"model": "demo", "prompt": prompt})
        assert status == 202, found
        return str(found["id"])

    def look(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/api/v1/images/{id}")[1]
        return found

    def ask(self, method: str, path: str, body: object = None, *, session: bool = False) -> tuple[int, Any]:
        """One request over a connection of its own, through nginx; OSError where nothing comes within 3 s."""
        import httpx

        headers = {"Authorization": f"Bearer {self.visitor.secret}"}
        if session:
            headers = {"Cookie": f"studio_session={self.visitor.session}"}
        try:
            with self.server.nginx.client(headers=headers) as http_client:
                answer = http_client.request(method, path, json=body, timeout=3)
        except httpx.HTTPError as error:
            raise OSError(repr(error)) from None
        is_json = "json" in answer.headers.get("content-type", "")
        return answer.status_code, answer.json() if is_json else answer.text

    def _settle(self, kind: str) -> None:
        """It serves, and what was started before does not count against it: each fault comes alone."""
        from tests.deploy.installed import wait_for

        wait_for(lambda: self.server.installed.serves(kind), seconds=120, what=f"{kind} before")
        for file in self.server.layout.run.rglob("starts"):
            file.unlink(missing_ok=True)
        time.sleep(1.5)


def used_s(pid: int | None) -> float | None:
    """Seconds of a core that a process has used: what its start costs, however busy the machine is."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        times = psutil.Process(pid).cpu_times()
        return round(times.user + times.system, 1)
    return None


def ask_and_wait(port: int) -> None:
    """A request that nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/planted-hang", headers={"Host": "studio.test", "X-Forwarded-Proto": "https"})
        connection.getresponse()
    connection.close()


@contextmanager
def going_on(pid: int) -> Iterator[None]:
    """Let a stopped process go on in the end."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def recover(server: Any, visitor: Any) -> list[dict[str, Any]]:
    """Every process, every way."""
    case = Case(server, visitor)
    for kind in KINDS:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            case.signal(kind, number)
    for kind in ("web", "stream"):
        case.signal(kind, signal.SIGKILL, which="main")
    case.hang("web", 60)
    case.hang("stream", 1)
    case.hang_pass()
    recover_others(case)
    return case.found


def recover_others(case: Case) -> None:
    """What is not a unit here: nginx's workers, Valkey, PostgreSQL. On a server the latter two are units of others."""
    services, nginx = case.server.services, case.server.nginx
    worker = nginx.workers()[0]
    case.beside("nginx worker", "SIGKILL", lambda: os.kill(worker, signal.SIGKILL))
    valkey = services.valkey.pid
    with going_on(valkey):
        case.beside("valkey", "SIGSTOP", lambda: os.kill(valkey, signal.SIGSTOP))
    case.beside("valkey", "SIGKILL", lambda: os.kill(valkey, signal.SIGKILL))
    services.cache.start_again()
    case.beside("valkey", "started again", lambda: None)
    case.beside("PostgreSQL", "stopped and started", lambda: restart_postgres(services, kill=False))
    case.beside("PostgreSQL", "SIGKILL and started", lambda: restart_postgres(services, kill=True))


def restart_postgres(services: Any, *, kill: bool) -> None:
    """As its own unit does; the clock starts when it is gone."""
    old = services.postgres
    if kill:
        os.kill(old.pid, signal.SIGKILL)
    else:
        old.ask_to_stop()
    old.wait(timeout_s=60)
    services.database.start_again()


def is_good(found: Sequence[dict[str, Any]]) -> bool:
    """All within their time."""
    return bool(found) and all(one["again_after_s"] <= WITHIN_S for one in found)


def main() -> int:
    """On servers of its own; 1 when something took too long."""
    from tests.proofs.studio import own_database  # it prepares the environment that Django reads

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-recovery-"))
    with own_database(folder) as services:
        from tests.deploy.crowd import make_visitors
        from tests.deploy.server import running_server

        visitors = make_visitors(1)
        with running_server(folder / "server", services, engine="torch", planted=PLANTED) as server:
            found = recover(server, visitors[0])
    good = is_good(found)
    counts = {"passed": good, "within_s": WITHIN_S, "cases": len(found), "found": found}
    write_record("recovery", proves=PROVES, counts=counts, seconds=time.monotonic() - began)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
