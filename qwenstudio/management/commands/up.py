"""`manage.py up`: the whole studio on this machine, with embedded servers where none are named."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from qwenstudio.databases import role_of
from qwenstudio.embedded import AlreadyRunning, EmbeddedError, Services, StateLock, start
from qwenstudio.embedded.account import LAUNCH
from qwenstudio.embedded.files import read_json, write_json
from qwenstudio.embedded.ports import is_free
from qwenstudio.processes import PROGRAMS, ROOT, manage, missing_for_chat
from qwenstudio.settings import database_urls, missing_urls
from qwenstudio.supervise import STATE, Console, Supervisor, end_strays
from qwenstudio.units.layout import Layout
from qwenstudio.units.supervised import Manager
from qwenstudio.units.unitfile import UnitError

READY_TIMEOUT_S = 60.0
PROBE_EVERY_S = 0.3
WORKER_READY = ("idle", "busy")


class StopAsked(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived before the children ran."""


class Command(BaseCommand):
    help = "Start everything: PostgreSQL and Valkey (unless DATABASE_URL and REDIS_URL are set), web, workers, ticker."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--only`: a part of the studio, for tests and for machines that share the work."""
        names = [program.name for program in PROGRAMS]
        parser.add_argument("--only", nargs="+", choices=names, default=names, help="start only these (default: all)")
        parser.add_argument(
            "--from-units", action="store_true", help="start the installed units instead, as systemd would"
        )
        parser.add_argument("--root", type=Path, help="where they are installed (default: STUDIO_ROOT, else /)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Take the lock, start, watch, stop."""
        if options["from_units"]:
            root: Path | None = options["root"]
            run_units(Layout(root.absolute()) if root else Layout.here())
            return
        refuse_missing_urls(options["only"])
        lock = StateLock(settings.STUDIO_VAR)
        try:
            lock.acquire(address=settings.STUDIO_URL, settings=own_address())
        except AlreadyRunning as error:
            raise CommandError(str(error)) from None
        try:
            Studio(names=options["only"]).run()
        except EmbeddedError as error:
            raise CommandError(str(error)) from None
        except StopAsked:
            return
        finally:
            lock.release()


class Studio:
    """One run from the first server to the last."""

    def __init__(self, *, names: list[str]) -> None:
        self.var: Path = settings.STUDIO_VAR
        self.names = names if settings.STUDIO_CHAT_DEMO else [name for name in names if name != "chat"]
        # JSON lines go out as they are: the collector behind us parses them. People get the console form.
        self.console = Console(sys.stdout, raw=os.environ.get("STUDIO_LOG") == "json")
        self.services: Services | None = None
        self.supervisor: Supervisor | None = None
        self.links: dict[str, str] = {}
        self.announced = False
        self.chat_ready = False
        self._begin = time.monotonic()
        self._probe_at = 0.0

    def run(self) -> None:
        """Until SIGINT or SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stop_early)
        end_strays(self.var, console=self.console)
        if "web" in self.names and not is_free(settings.STUDIO_PORT):
            port = settings.STUDIO_PORT
            raise CommandError(
                f"Port {port} is taken by another program. Choose a free one: STUDIO_PORT={port + 1} make run"
            )
        self.look_at_chat()
        try:
            environment = self._start_services()
            self._prepare(environment)
            assert self.supervisor is not None  # noqa: S101  (`_prepare` made it)
            self.supervisor.catch_signals()
            self.supervisor.start([program.name for program in PROGRAMS if not program.late])
            self.supervisor.run(each_tick=self._announce_when_ready)
        finally:
            self._stop()

    def look_at_chat(self) -> None:
        """Leave the demo chat model out where it cannot run, and say why: the rest of the studio needs it not."""
        if "chat" not in self.names:
            return
        why = ""
        if missing := missing_for_chat():
            why = f"{', '.join(missing)} missing: pip install -r requirements.txt"
        elif not is_free(settings.STUDIO_CHAT_PORT):
            why = f"port {settings.STUDIO_CHAT_PORT} is taken by another program: choose one with STUDIO_CHAT_PORT"
        if why:
            self.names = [name for name in self.names if name != "chat"]
            self.console.say(f"the demo chat model is not started ({why})")

    # ---- 1. servers

    def _start_services(self) -> dict[str, str]:
        """Start what is not named by the environment; returns the variables for all children."""
        base = {
            "STUDIO_LOG": "console",
            "PYTHONUNBUFFERED": "1",
            **({"STUDIO_COLOUR": "1"} if self.console.colour else {}),
            **os.environ,
            "STUDIO_VAR": str(self.var),
        }
        postgres, valkey = not wants("DATABASE_URL"), not wants("REDIS_URL")
        self.services = start(self.var, log=self.console.say, postgres=postgres, valkey=valkey)
        ours = self.services.environment()
        for name in ("SECRET_KEY", "STUDIO_ENCRYPTION_KEYS"):
            if wants(name):
                del ours[name]
        return base | ours

    # ---- 2. database and demo

    def _prepare(self, environment: dict[str, str]) -> None:
        """Migrate and bootstrap; both are over before the first child starts, or skipped where nothing changed."""
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # collected files, if any; WhiteNoise wants the folder
        digest = self._database_digest()
        prepared = digest and read_json(self.var / STATE).get("prepared") == digest
        if not prepared:
            self.console.say("preparing the database")
            self._call("migrate", "--verbosity", "0", environment=environment | {"STUDIO_PROCESS": "owner"})
        programs = [program for program in PROGRAMS if program.name in self.names]
        self.supervisor = Supervisor(
            programs,
            environment=environment,
            values={"port": settings.STUDIO_PORT, "chat_port": settings.STUDIO_CHAT_PORT},
            var=self.var,
            console=self.console,
            servers=self.services.ours if self.services else (),
        )
        if prepared:  # the models are there: load them while the links are made
            self.supervisor.start(["gpuworker"])
        chatting = {"STUDIO_PROCESS": "web", "STUDIO_CHAT_DEMO": str("chat" in self.names)}
        self.links = json.loads(self._call("bootstrap_demo", environment=environment | chatting))
        write_json(self.var / STATE, read_json(self.var / STATE) | {"prepared": digest})

    def _database_digest(self) -> str:
        """Names the embedded database and all migration files; an equal one was migrated and needs no second look.

        Empty for somebody else's database: others may have changed it.
        """
        if not (self.services and self.services.urls):
            return ""
        with psycopg.connect(self.services.urls["owner"], connect_timeout=5) as connection:
            row = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
        digest = hashlib.sha256(str(row).encode())
        for file in sorted(ROOT.glob("*/migrations/*.py")):
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()

    def _call(self, *words: str, environment: dict[str, str]) -> str:
        """Run one of our commands, tied to us, and return what it printed; its standard error goes into the log."""
        line = [sys.executable, "-I", str(LAUNCH), "--tie", str(os.getpid()), "--", *manage(*words)]
        process = subprocess.Popen(
            line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            output, errors = process.communicate()
        except BaseException:
            process.terminate()
            process.wait(10)
            raise
        if errors.strip():
            self.console.say(errors.strip(), name=words[0])
        if process.returncode != 0:
            raise CommandError(f"`manage.py {words[0]}` failed with exit code {process.returncode}; see above")
        return output

    # ---- 3. ready

    def _announce_when_ready(self) -> None:
        now = time.monotonic()
        if now < self._probe_at:
            return
        self._probe_at = now + PROBE_EVERY_S
        if self.announced:
            self._tell_of_chat()
            return
        waited = now - self._begin
        web, worker = self._web_is_ready(), self._worker_is_ready()
        if not (web and (worker or waited > READY_TIMEOUT_S or self._worker_has_failed())):
            return
        self.announced = True
        self.console.show(self._banner(seconds=waited, worker=worker))
        if self.supervisor is not None:
            self.supervisor.start()  # what is late

    def _web_is_ready(self) -> bool:
        return "web" not in self.names or answers(settings.STUDIO_PORT, "/healthz")

    def _tell_of_chat(self) -> None:
        """Once, when the demo chat model has loaded."""
        if self.chat_ready or "chat" not in self.names or not answers(settings.STUDIO_CHAT_PORT, "/health"):
            return
        self.chat_ready = True
        self.console.say(f"the demo chat model is ready, on 127.0.0.1:{settings.STUDIO_CHAT_PORT} alone", name="chat")

    def _worker_is_ready(self) -> bool:
        """The worker's own row says so (a global table, so the web role may read it)."""
        child = self.supervisor.child("gpuworker") if self.supervisor else None
        if child is None:
            return True
        url = self.services.urls.get("web") if self.services else None
        try:
            with psycopg.connect(url or database_urls["web"], connect_timeout=2) as connection:
                row = connection.execute(
                    "SELECT state FROM generation_worker WHERE pid = %s ORDER BY started_at DESC LIMIT 1", (child.pid,)
                ).fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and row[0] in WORKER_READY

    def _worker_has_failed(self) -> bool:
        """It ended at least once: waiting for it would hide the address, and its log lines say why."""
        child = self.supervisor.child("gpuworker") if self.supervisor else None
        return child is not None and child.restarts > 0

    def _banner(self, *, seconds: float, worker: bool) -> str:
        url = settings.STUDIO_URL
        rows = [
            ("Studio", self.links.get("studio_link", url)),
            ("Admin", self.links.get("admin_link", f"{url}/admin/")),
            ("Address", url),
            ("Accounts", f"passwords and API key: {self.var / 'demo.env'}"),
            ("Stop", f"Ctrl-C, or kill {os.getpid()}"),
        ]
        if not worker:
            why = "its log lines say why" if self._worker_has_failed() else "it still loads its models"
            rows.append(("Worker", f"is not ready yet: requests are accepted and wait; {why}"))
        if "chat" in self.names and not self.chat_ready:
            rows.append(("Chat", "the demo chat model loads now and answers in less than a minute; a line says when"))
        bold, plain = ("\x1b[1m", "\x1b[0m") if self.console.colour else ("", "")
        lines = [f"  {bold}{name:<10}{plain}{text}" for name, text in rows]
        head = f"  {bold}QwenStudio is ready{plain} ({seconds:.0f} s). The two links sign you in once."
        return "\n".join(["", head, "", *lines, ""])

    # ---- 4. stop

    def _stop(self) -> None:
        if self.supervisor is None and self.services is None:
            return
        self.console.say("stopping")
        try:
            if self.supervisor is not None:
                self.supervisor.catch_signals()
                self.supervisor.stop()
        finally:
            if self.services is not None:
                self.services.stop()
        self.console.say("stopped")


def own_address() -> dict[str, str]:
    """The variables of where this studio is, for commands that are typed beside it."""
    names = ("STUDIO_URL", "STUDIO_PORT", "STUDIO_CHAT_PORT")
    return {name: str(getattr(settings, name)) for name in names}


def run_units(layout: Layout) -> None:
    """Start what is enabled under this root and watch it until SIGINT or SIGTERM."""
    console = Console(sys.stdout, raw=os.environ.get("STUDIO_LOG", "json") == "json")
    lock = StateLock(layout.var)
    try:
        lock.acquire(address=f"the units of {layout.root}")
    except AlreadyRunning as error:
        raise CommandError(str(error)) from None
    try:
        manager = Manager(layout, console=console)
        manager.catch_signals()
        manager.run()
    except UnitError as error:
        raise CommandError(str(error)) from None
    finally:
        lock.release()


def answers(port: int, path: str) -> bool:
    """Whether a server on loopback answers 200."""
    probe = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        probe.request("GET", path)
        return probe.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        probe.close()


def stop_early(number: int, frame: FrameType | None) -> None:
    """A signal before the children run: unwind."""
    raise StopAsked


def refuse_missing_urls(names: list[str]) -> None:
    """Before anything starts: each role's URL is named, or none is and the database is ours."""
    for variable in ("DATABASE_OWNER_URL", "DATABASE_WORKER_URL"):
        if wants(variable) and not wants("DATABASE_URL"):
            raise CommandError(f"{variable} is set, DATABASE_URL is not: set both, or neither to get an own PostgreSQL")
    wanted = [program for program in PROGRAMS if program.name in names and program.role]
    needed = {"owner"} | {role_of(program.role) for program in wanted}  # `owner` migrates
    if reasons := [reason for role, reason in missing_urls.items() if role in needed]:
        raise CommandError("\n".join(reasons))


def wants(name: str) -> bool:
    """Whether the environment names it, itself or by its `_FILE`."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))
