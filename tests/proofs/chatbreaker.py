"""`python -m tests.proofs.chatbreaker`: an upstream fails in four ways; what the breaker does, in figures.

Two doors run as `studio-stream@.service` does and share their state in Valkey. In each round the upstream begins to
fail: by 500, by a connection that is cut, by no JSON, or by silence (the first byte must come within half a second
here). Counted are the requests that still reach it, how soon the others are refused while the breaker is open, how many
reach it when its rest is over and everybody asks at once at both doors, and when the first answer comes after it is
well again. An upstream that sends nonsense is back by its probe's first byte, and needs five failures more: of it the
second crowd says nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.gateway import studio
from benchmarks.gateway.load import Place, quantile
from generation.chat.breaker import Rules
from tests.generation.chat.scripted import Script, Served, Wire, hang, hello, serving, status
from tests.proofs.record import write_record
from tests.proofs.studio import own_database

ROUNDS = 3
FIRST_BYTE_S = 0.5
FAST_MS = 50.0
FAST_REQUESTS = 200
FAST_S = 3.0
"""So many requests one after the other while the breaker is open, and as many `AT_ONCE`; each no longer than this."""
AT_ONCE = 4
CROWD = 40
"""Who ask when the rest is over, at both doors."""
PROBE_S = 0.3
"""That the probe takes to be answered: long enough for all others to come meanwhile."""
PROVES = ("generation/chat", "qwenstudio/door/chat.py", "qwenstudio/door/chatguard.py")
BODY = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


async def cut(wire: Wire) -> None:
    """The connection ends without an answer."""
    raise ConnectionError


async def no_json(wire: Wire) -> None:
    """A stream that is none."""
    await wire.stream(b"data: {nonsense\n\n")


class Well:
    """Good answers, each after a moment; remembers how many had come before the first one was answered."""

    def __init__(self) -> None:
        self.came = self.probes = 0

    async def __call__(self, wire: Wire) -> None:
        """Answer."""
        self.came += 1
        await asyncio.sleep(PROBE_S)
        self.probes = self.probes or self.came
        await hello(wire)


WAYS: Mapping[str, Script] = {"500": status(500), "cut": cut, "no_json": no_json, "silence": hang}


@dataclass(slots=True)
class Told:
    """Answers: status, milliseconds, and seconds of `Retry-After` where there are any."""

    all: list[tuple[int, float, float | None]] = field(default_factory=list)

    @property
    def statuses(self) -> dict[str, int]:
        """How often each."""
        return dict(Counter(str(status) for status, _, _ in self.all))


async def ask(
    doors: Sequence[httpx.AsyncClient], requests: int, *, at_once: int, told: Told, seconds: float = 60.0
) -> Told:
    """So many requests, at the doors in turns; no more are begun after so long."""
    numbers, until = iter(range(requests)), time.monotonic() + seconds

    async def some() -> None:
        for number in numbers:
            if time.monotonic() > until:
                return
            began = time.perf_counter()
            answer = await doors[number % len(doors)].post("/v1/chat/completions", json=BODY)
            rest = answer.headers.get("retry-after")
            told.all.append((answer.status_code, (time.perf_counter() - began) * 1000, rest and float(rest)))

    await asyncio.gather(*(some() for _ in range(at_once)))
    return told


async def play_round(doors: Sequence[httpx.AsyncClient], served: Served, way: str) -> dict[str, Any]:
    """From well to well."""
    rest_s = Rules().rest_s
    served.script = hello
    await ask(doors, 4, at_once=1, told=Told())
    served.asked.clear()

    served.script = WAYS[way]
    failing = Told()
    while not any(rest is not None and rest > 5 for _, _, rest in failing.all) and len(failing.all) < 50:
        await ask(doors[:1], 1, at_once=1, told=failing)
    opened, reached = time.monotonic(), len(served.asked)
    await asyncio.sleep(0.3)  # the other door believes for a quarter of a second what it knew
    served.asked.clear()
    one, some = Told(), Told()
    await ask(doors, FAST_REQUESTS, at_once=1, told=one, seconds=FAST_S)
    await ask(doors, FAST_REQUESTS, at_once=AT_ONCE, told=some, seconds=FAST_S)
    refused = one.all + some.all
    assert time.monotonic() - opened < rest_s - 0.5, "too slow to look at an open breaker: its rest was over"
    reached_open = len(served.asked)

    # It goes on failing: the crowd's probe fails, and everybody else is refused.
    await asyncio.sleep(opened + rest_s + 0.3 - time.monotonic())
    crowd_failing = await ask(doors, CROWD, at_once=CROWD, told=Told())
    probes_failing = len(served.asked) - reached_open

    # It is well again: who asks all the time has an answer within one rest.
    served.script, well = (script := Well()), time.monotonic()
    waiting = Told()
    while not any(code == 200 for code, _, _ in waiting.all) and time.monotonic() < well + 3 * rest_s:
        waiting = await ask(doors, CROWD, at_once=CROWD, told=Told())
        await asyncio.sleep(0.1)
    closed_after = time.monotonic() - well
    served.script = hello
    await asyncio.sleep(0.3)
    after = await ask(doors, CROWD, at_once=AT_ONCE, told=Told())
    return {
        "way": way,
        "failures_until_open": sum(rest is None or rest <= 5 for _, _, rest in failing.all),
        "reached_until_open": reached,  # more where a kept connection had ended: that is asked anew, and counts once
        "reached_while_open": reached_open,
        "refused": len(refused),
        "refused_statuses": Told(refused).statuses,
        "without_retry_after": sum(rest is None for _, _, rest in refused),
        "fast_p50_ms": round(quantile([ms for _, ms, _ in one.all], 0.5), 2),
        "fast_p99_ms": round(quantile([ms for _, ms, _ in one.all], 0.99), 2),
        "fast_p99_ms_at_4_at_once": round(quantile([ms for _, ms, _ in some.all], 0.99), 2),
        "probes_of_a_crowd_while_failing": probes_failing,
        "crowd_while_failing": crowd_failing.statuses,
        "probes_of_a_crowd_when_well": script.probes,
        "answered_after_it_was_well_s": round(closed_after, 2),
        "after": after.statuses,
    }


def make_rows(port: int) -> tuple[str, ...]:
    """The upstream and its model; keys."""
    from generation.models import ChatModel, ChatTarget, Upstream

    Upstream.objects.create(
        slug="mock", base_url=f"http://127.0.0.1:{port}", first_byte_s=FIRST_BYTE_S, concurrency=studio.CONCURRENCY
    )
    ChatModel.objects.create(slug="chat", title="chat")
    ChatTarget.objects.create(model_id="chat", upstream_id="mock", name="theirs")
    return studio.make_keys(1)


def client(place: Place) -> httpx.AsyncClient:
    """Of one door."""
    headers = {"Authorization": f"Bearer {place.keys[0]}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{place.port}", headers=headers, timeout=60, limits=limits)


async def measure(folder: Path, *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Every way, so often; raw counts."""
    async with serving(hello) as served:
        with ExitStack() as stack:
            services = await asyncio.to_thread(stack.enter_context, own_database(folder / "studio"))
            keys = await asyncio.to_thread(make_rows, served.port)
            places = []
            for name in ("first", "second"):
                (folder / name).mkdir()
                door = await asyncio.to_thread(stack.enter_context, studio.running_door(folder / name, services, keys))
                places.append(door.place)
            async with client(places[0]) as first, client(places[1]) as second:
                found = [await play_round((first, second), served, way) for _ in range(rounds) for way in WAYS]
            books = await asyncio.to_thread(studio.count_calls, services.superuser_url)
    return {
        "rest_s": Rules().rest_s,
        "failures_allowed": Rules().failures,
        "bound_ms": FAST_MS,
        "rounds": found,
        "worst": {
            "failures_until_open": max(one["failures_until_open"] for one in found),
            "reached_while_open": max(one["reached_while_open"] for one in found),
            "fast_p99_ms": max(one["fast_p99_ms"] for one in found),
            "probes": max(one[f"probes_of_a_crowd_{when}"] for one in found for when in ("while_failing", "when_well")),
            "answered_after_it_was_well_s": max(one["answered_after_it_was_well_s"] for one in found),
        },
        "books": books,
    }


def is_good(counts: Mapping[str, Any]) -> bool:
    """Within every bound, in every round."""
    return (
        all(
            one["failures_until_open"] <= (1 if one["way"] == "silence" else counts["failures_allowed"])
            and one["reached_while_open"] == 0
            and one["refused_statuses"] == {"503": one["refused"]}
            and one["without_retry_after"] == 0
            and one["fast_p99_ms"] < counts["bound_ms"]
            and one["probes_of_a_crowd_while_failing"] == 1
            and one["probes_of_a_crowd_when_well"] == 1
            and one["answered_after_it_was_well_s"] <= counts["rest_s"] + 1
            and one["after"] == {"200": CROWD}
            for one in counts["rounds"]
        )
        and not counts["books"]["tokens_still_reserved"]
    )


def main() -> int:
    """On servers of its own; 1 when a bound was missed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qwenstudio-chatbreaker-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run under another account
        counts = asyncio.run(measure(folder))
    good = is_good(counts)
    write_record("chatbreaker", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(json.dumps(counts, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
