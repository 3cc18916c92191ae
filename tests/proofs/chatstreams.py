"""`python -m tests.proofs.chatstreams`: 200 people read answers of the chat gateway at once, for five minutes.

Each answer has 100 words, one every 100 ms; a connection asks again as soon as it has its answer, and they do not begin
in the same moment: 20 new streams and 2000 words a second. The door runs as `studio-stream@.service` does, with its
books in PostgreSQL and its counters in Valkey; upstream, readers, database and all are on this machine. Before and
after the upstream is asked directly, at the same rate: what the gateway adds to the first word is the difference.

Where `LITELLM` names an environment with LiteLLM's proxy (`benchmarks/gateway/peers.py` makes one), both are also asked
at a rate that both can hold.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gateway import peers, studio
from benchmarks.gateway.load import Found, Place, Question, ask, quantile
from benchmarks.gateway.running import counts_of, cpu_seconds, memory_mb, running_upstream
from tests.proofs.record import write_record
from tests.proofs.studio import own_database

STREAMS = 200
SECONDS = 300.0
BESIDE_S = 60.0
"""Of the upstream alone, before and after, and of each at the slow rate."""
QUICK = Question(words=100, pause_ms=100, stream=True)
SLOW = Question(words=10, pause_ms=2000, stream=True)
ADDED_MS = 100.0
PROVES = ("qwenstudio/door", "generation/chat", "generation/books", "qwenstudio/asgi.py", "benchmarks/gateway/load.py")


def measure(folder: Path, *, seconds: float = SECONDS, beside_s: float = BESIDE_S) -> dict[str, Any]:
    """Everything, one after the other; raw counts."""
    home = os.environ.get("LITELLM")
    with ExitStack() as stack:
        upstream, _ = stack.enter_context(running_upstream(folder))
        services = stack.enter_context(own_database(folder / "studio"))
        keys = studio.make_rows(upstream, [QUICK, SLOW], tenants=8)
        door = stack.enter_context(studio.running_door(folder, services, keys))
        before = read_for(upstream, QUICK, beside_s)
        found = read_for(door.place, QUICK, seconds, process=door.door)
        after = read_for(upstream, QUICK, beside_s)
        slow = {"upstream": read_for(upstream, SLOW, beside_s), "studio": read_for(door.place, SLOW, beside_s)}
        if home:
            program = peers.install_litellm(Path(home))
            place, _ = stack.enter_context(peers.running_litellm(folder / "litellm", program, upstream, [SLOW]))
            slow["litellm"] = read_for(place, SLOW, beside_s)
        return {
            "streams": STREAMS,
            "bound_ms": ADDED_MS,
            "studio": found,
            "upstream_before": before,
            "upstream_after": after,
            "added_first_p95_ms": added(found, before, after),
            "at_a_slow_rate": slow,
            "upstream_counts": counts_of(upstream),
            "books": studio.count_calls(services.superuser_url),
        }


def read_for(
    place: Place, question: Question, seconds: float, *, process: psutil.Process | None = None
) -> dict[str, Any]:
    """One place, by all at once."""
    cpu = cpu_seconds(process) if process else 0.0
    length_s = question.words * question.pause_ms / 1000
    found = asyncio.run(ask(place, question, connections=STREAMS, seconds=seconds, spread_s=length_s))
    if process is None:
        return describe(found)
    spent = cpu_seconds(process) - cpu
    return {**describe(found), "cores": round(spent / seconds, 3), "memory_mb": memory_mb(process)}


def describe(found: Found) -> dict[str, Any]:
    """Counts and times."""
    return {
        "seconds": round(found.seconds, 1),
        "answers": len(found.whole_ms),
        "words_per_second": round(found.words_per_second, 1),
        "failures": dict(found.failures),
        **(times_of(found) if found.whole_ms else {}),
    }


def times_of(found: Found) -> dict[str, float]:
    """Milliseconds to the first word and to the end."""
    first = {f"first_p{round(100 * share)}_ms": quantile(found.first_ms, share) for share in (0.5, 0.95, 0.99)}
    times = {**first, "first_max_ms": max(found.first_ms), "whole_p95_ms": quantile(found.whole_ms, 0.95)}
    return {name: round(value, 1) for name, value in times.items()}


def added(found: Mapping[str, Any], *direct: Mapping[str, Any]) -> float:
    """To the first word, at the 95th percentile."""
    return round(float(found["first_p95_ms"]) - min(float(one["first_p95_ms"]) for one in direct), 1)


def is_good(counts: Mapping[str, Any]) -> bool:
    """No failure, first words in time, and every call is in the books."""
    found, calls = counts["studio"], counts["books"]
    return bool(
        not found["failures"]
        and not counts["at_a_slow_rate"]["studio"]["failures"]
        and found["answers"] > STREAMS
        and counts["added_first_p95_ms"] < ADDED_MS
        and set(calls) == {"done", "tokens_still_reserved"}
        and not calls["tokens_still_reserved"]
    )


def main() -> int:
    """On servers of its own; 1 when a bound was missed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qwenstudio-chatstreams-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run under another account
        load = os.getloadavg()
        counts = {"load_before": [round(one, 2) for one in load], **measure(folder)}
    good = is_good(counts)
    write_record("chatstreams", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(counts)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
