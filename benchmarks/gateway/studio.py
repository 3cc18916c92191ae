"""Our door as `studio-stream@.service` runs it, with its books in PostgreSQL and its counters in Valkey."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.gateway.load import Place, Question
from benchmarks.gateway.running import running
from benchmarks.results import ROOT
from qwenstudio.embedded import Services
from qwenstudio.embedded.ports import free_port
from qwenstudio.units.unitfile import read_unit

UNIT = "studio-stream@blue.service"
CONCURRENCY = 4096
MANY = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Where it answers, and who does the work."""

    place: Place
    door: psutil.Process
    postgres: psutil.Process
    valkey: psutil.Process

    @property
    def worker(self) -> psutil.Process:
        """The process that answers: of the server's the one that has loaded the application."""
        return max(self.door.children(recursive=True), key=lambda one: one.memory_info().rss)


def granian_words(port: int) -> list[str]:
    """The command line of the unit, with our Python and port."""
    words = read_unit(ROOT / "deploy" / "systemd", UNIT).start
    return [sys.executable, *(word.replace("${STUDIO_STREAM_PORT}", str(port)) for word in words[1:])]


def make_rows(upstream: Place, questions: Sequence[Question], *, tenants: int) -> tuple[str, ...]:
    """The upstream, a model for each question, and tenants with a key each; the keys."""
    from generation.models import ChatModel, ChatTarget, Upstream

    Upstream.objects.create(
        slug="mock", base_url=f"http://127.0.0.1:{upstream.port}", first_byte_s=60, concurrency=CONCURRENCY
    )
    for model in sorted({question.model for question in questions}):
        ChatModel.objects.create(slug=model, title=model)
        ChatTarget.objects.create(model_id=model, upstream_id="mock", name=model)
    return make_keys(tenants)


def make_keys(tenants: int) -> tuple[str, ...]:
    """A key for each of so many tenants.

    Limits are set and far away, so that all of them are counted: requests of the minute, tokens of the day, calls at
    once.
    """
    from django.db import connections

    from accounts.enums import Scope
    from tests.factories import make_key, make_plan, make_tenant

    plan = make_plan(
        requests_per_minute=MANY,
        tenant_requests_per_minute=MANY,
        chat_requests_per_minute=MANY,
        concurrent_chats=CONCURRENCY,
        tokens_per_day=2**53 - 1,
    )
    keys = []
    for number in range(tenants):
        tenant, owner = make_tenant(f"Tenant {number + 1}", plan=plan)
        keys.append(make_key(tenant, owner, scopes=[Scope.CHAT.value])[1])
    connections.close_all()
    connections["default"].close_pool()  # type: ignore[attr-defined]
    return tuple(keys)


@contextmanager
def running_door(folder: Path, services: Services, keys: tuple[str, ...]) -> Iterator[Studio]:
    """The door alone, one process, as it stands behind nginx."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "STUDIO_PROCESS": "stream", "STUDIO_URL": url, "STUDIO_STREAM_PORT": str(port)}
    words = granian_words(port)
    with running(words, log=folder / "door.log", environment=environment, ready=f"{url}/healthz") as process:
        assert services.postgres is not None and services.valkey is not None
        yield Studio(
            place=Place(port=port, keys=keys),
            door=process,
            postgres=psutil.Process(services.postgres.pid),
            valkey=psutil.Process(services.valkey.pid),
        )


def count_calls(url: str, *, seconds: float = 10.0) -> dict[str, int]:
    """What the books say, as the database's administrator sees them: calls by their outcome, what is still reserved.

    The last calls are settled a moment after their answers: it waits until nothing is reserved, for so long.
    """
    import psycopg

    until = time.monotonic() + seconds
    with psycopg.connect(url, autocommit=True) as admin:
        while True:
            rest = admin.execute("SELECT coalesce(sum(reserved), 0) FROM accounts_counter WHERE metric = 'tokens'")
            reserved = int((rest.fetchone() or (0,))[0])
            if not reserved or time.monotonic() > until:
                break
            time.sleep(0.05)
        found = admin.execute("SELECT outcome, count(*) FROM generation_chatcall GROUP BY 1 ORDER BY 1").fetchall()
        return {**dict(found), "tokens_still_reserved": reserved}
