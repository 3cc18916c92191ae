"""`python -m tests.proofs.quota`: 100 submits at once against a quota of 10, over and over, and never 11.

Two web processes with eight threads each and a database connection for every thread. In turns the quota is the plan's;
the plan's with a member's budget and a key's limit below it; and no quota at all, but one `Idempotency-Key` for all 100
requests. After every round the rows, the ledger and the counters must say what the clients were told.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.proofs.record import write_record

ROUNDS = 50  # against the plan's quota
OTHERS = 15  # rounds of each other kind
TOGETHER = 100
PROCESSES = 2
THREADS = 8  # qwenstudio/asgi.py
PLAN, BUDGET, KEY = 10, 7, 4  # images a day: of the tenant, of a member, of one of the member's keys
PROVES = (
    "accounts/domain/quotas.py",
    "accounts/domain/counters.py",
    "accounts/domain/ledger.py",
    "accounts/domain/limits.py",
    "generation/domain/submit.py",
    "generation/api/images.py",
    "qwenstudio/door/bridge.py",
)
BODY = {"model": "demo", "prompt": "at once", "width": 64, "height": 64, "seed": 7}


@dataclass(frozen=True)
class Round:
    """100 requests: the secrets they are sent with in turns, and how many of them may be accepted."""

    kind: str
    tenant: str
    secrets: Sequence[str]
    expected: int
    ceilings: dict[str, int] = field(default_factory=dict)  # of counters, by the id of their scope
    same_key: bool = False

    def most(self, owner: str) -> int:
        """What the counter of a tenant, member or key may say."""
        return self.ceilings.get(owner, self.expected)


def make_round(kind: str) -> Round:
    """A tenant of its own for each round, so that every round begins at nothing."""
    from accounts.enums import Role
    from accounts.models import MemberBudget
    from accounts.tenancy import in_tenant
    from tests.factories import make_key, make_member, make_plan, make_tenant

    plan = make_plan(
        images_per_day=None if kind == "same idempotency key" else PLAN,
        requests_per_minute=100_000,
        tenant_requests_per_minute=100_000,
        queue_length=100_000,
    )
    tenant, owner = make_tenant("At once", plan=plan)
    _, owners = make_key(tenant, owner)
    if kind in ("plan", "same idempotency key"):
        expected = PLAN if kind == "plan" else 1
        return Round(kind, str(tenant.pk), [owners], expected, same_key=kind != "plan")
    member = make_member(tenant, Role.MEMBER)
    with in_tenant(tenant.pk):
        MemberBudget.objects.create(tenant_id=tenant.pk, user=member, limits={"images_per_day": BUDGET})
    tight, tight_secret = make_key(tenant, member, limits={"images_per_day": KEY})
    _, loose_secret = make_key(tenant, member)
    ceilings = {str(tenant.pk): PLAN, str(member.pk): BUDGET, str(tight.pk): KEY}
    secrets, expected = {
        "plan, budget and key": ([tight_secret, loose_secret, owners], PLAN),
        "budget and key": ([tight_secret, loose_secret], BUDGET),
        "key": ([tight_secret], KEY),
    }[kind]
    return Round(kind, str(tenant.pk), secrets, expected, ceilings)


KINDS = ("plan", "plan, budget and key", "budget and key", "key", "same idempotency key")


async def send_together(urls: Sequence[str], one: Round, *, together: int) -> list[httpx.Response]:
    """All requests of a round, over connections that are open already, spread over the processes."""
    # None may expire: httpcore closes one that idled for 5 s even after it was picked for a request.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None)
    async with httpx.AsyncClient(limits=limits, timeout=120) as http:
        await asyncio.gather(*(http.get(f"{urls[number % len(urls)]}/healthz") for number in range(together)))
        headers = {"Idempotency-Key": "one for all"} if one.same_key else {}
        return await asyncio.gather(
            *(
                http.post(
                    f"{urls[number % len(urls)]}/api/v1/images",
                    json=BODY,
                    # Every secret meets every process.
                    headers={
                        **headers,
                        "Authorization": f"Bearer {one.secrets[number // len(urls) % len(one.secrets)]}",
                    },
                )
                for number in range(together)
            )
        )


def run_round(urls: Sequence[str], kind: str, *, superuser_url: str, together: int = TOGETHER) -> dict[str, Any]:
    """One round; what was answered, and every fault in words."""
    one = make_round(kind)
    answers = asyncio.run(send_together(urls, one, together=together))
    accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    faults = [f"answered {answer.status_code}: {answer.text[:200]}" for answer in refused if not is_quota(answer)]
    if one.same_key and refused:
        faults.append(f"{len(refused)} refused although nothing was limited")
    if not one.same_key and len(set(accepted)) != len(accepted):
        faults.append("an id was answered twice")
    return {
        "accepted": len(set(accepted)),
        "answers": Counter(str(answer.status_code) for answer in answers),
        "named": Counter(limit_of(answer) for answer in refused),
        "faults": [*faults, *compare_books(one, set(accepted), superuser_url=superuser_url)],
    }


def compare_books(one: Round, accepted: set[str], *, superuser_url: str) -> list[str]:
    """What was accepted, rows, ledger and counters: all must say the same."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:

        def ask(columns: str, rest: str) -> list[tuple[Any, ...]]:
            sql = f"SELECT {columns} FROM {rest}"
            return connection.execute(sql, {"tenant": one.tenant}).fetchall()  # type: ignore[arg-type]

        rows = {id for (id,) in ask("id::text", "generation_generation WHERE tenant_id = %(tenant)s")}
        entries = ask(
            "ref::text, kind, metric, amount", "accounts_ledgerentry WHERE tenant_id = %(tenant)s ORDER BY metric"
        )
        counters = ask(
            "scope, scope_id::text, (used + reserved)::int",
            "accounts_counter WHERE tenant_id = %(tenant)s AND metric = 'images' AND period = 'day'",
        )
    faults = []
    if len(accepted) != one.expected:
        faults.append(f"{len(accepted)} accepted, not {one.expected}")
    if rows != accepted:
        faults.append(f"{len(rows)} rows, and not those that were accepted")
    if sorted(ref for ref, *_ in entries) != sorted([*accepted, *accepted]):
        faults.append("the ledger has not two entries for each")
    if any(kind != "reserve" or (metric == "images" and amount != 1) for _, kind, metric, amount in entries):
        faults.append("the ledger has other entries than the reserves")
    if [count for scope, _, count in counters if scope == "tenant"] != [one.expected]:
        faults.append(f"the counters say {counters}")
    faults += [f"the {scope}'s counter says {count}" for scope, owner, count in counters if count > one.most(owner)]
    return faults


def is_quota(answer: httpx.Response) -> bool:
    """A refusal as it should be: 429 by name, with the time to come again."""
    return bool(
        answer.status_code == 429
        and answer.json()["code"] == "quota_exceeded"
        and int(answer.headers["Retry-After"]) > 0
        and limit_of(answer) in ("images_per_day", "member_images_per_day", "key_images_per_day")
    )


def limit_of(answer: httpx.Response) -> str:
    """Which limit a refusal names, by its header."""
    return answer.headers.get("RateLimit", "").partition(";")[0].strip('"')


@contextmanager
def watch_overlap(superuser_url: str) -> Iterator[dict[str, int]]:
    """The most statements of the web processes at one moment, and the most of them that waited for another's lock."""
    most = {"statements_at_once": 0, "waiting_for_locks": 0}
    ended = threading.Event()

    def watch() -> None:
        with psycopg.connect(superuser_url, autocommit=True) as connection:
            while not ended.wait(0.01):
                row = connection.execute(
                    "SELECT count(*) FILTER (WHERE state = 'active'), count(*) FILTER (WHERE wait_event_type = 'Lock')"
                    " FROM pg_stat_activity WHERE application_name LIKE 'qwenstudio-web-%'"
                ).fetchone()
                assert row is not None
                for name, count in zip(most, row, strict=True):
                    most[name] = max(most[name], count)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


@contextmanager
def running_fronts(
    folder: Path, *, processes: int = PROCESSES, target: str = "qwenstudio.asgi:front", **environment: str
) -> Iterator[list[str]]:
    """Several web processes on the same servers; their addresses."""
    from tests.qwenstudio.fronts import running_front

    with ExitStack() as stack:
        urls = []
        for number in range(processes):
            (own := folder / f"web-{number}").mkdir(parents=True)
            urls.append(stack.enter_context(running_front(own, target=target, **environment)).url)
        yield urls


def run_rounds(
    *, urls: Sequence[str], superuser_url: str, rounds: int = ROUNDS, others: int = OTHERS, together: int = TOGETHER
) -> dict[str, Any]:
    """All kinds, each as often as asked."""
    found: dict[str, Any] = {}
    with watch_overlap(superuser_url) as overlap:
        for kind in KINDS:
            times = rounds if kind == "plan" else others
            results = [run_round(urls, kind, superuser_url=superuser_url, together=together) for _ in range(times)]
            found[kind] = {
                "rounds": times,
                "accepted_per_round": dict(Counter(str(result["accepted"]) for result in results)),
                "answers": dict(sum((result["answers"] for result in results), Counter())),
                "limits_named": dict(sum((result["named"] for result in results), Counter())),
                "faults": [fault for result in results for fault in result["faults"]][:20],
            }
    return {"processes": len(urls), "threads": THREADS * len(urls), "together": together, **overlap, "kinds": found}


def is_good(counts: dict[str, Any]) -> bool:
    """Not one fault, and the requests did meet: statements of both processes waited for each other."""
    return not any(kind["faults"] for kind in counts["kinds"].values()) and counts["waiting_for_locks"] > 1


def main() -> int:
    """On servers of its own; 1 when a round was wrong."""
    from tests.proofs.studio import own_database  # it prepares the environment that Django reads

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-quota-"))
    with own_database(folder) as services:
        from tests.chaos.rig import offer_sleeping_model

        offer_sleeping_model()
        with running_fronts(folder, STUDIO_DB_POOL=str(THREADS)) as urls:
            counts = run_rounds(urls=urls, superuser_url=services.superuser_url)
    good = is_good(counts)
    write_record("quota", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(counts)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
