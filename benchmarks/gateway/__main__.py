"""The chat gateway beside LiteLLM's proxy, a bare nginx, and the upstream asked directly, in one run and in turns.

    python -m benchmarks.gateway [--rounds 5] [--seconds 5] [--only direct nginx studio litellm] [--litellm FOLDER]

All of it runs on this machine: the upstream, who asks, PostgreSQL (which waits for its disk) and Valkey too. In each
round every gateway is asked one after another on one connection, then on 16 and on 64 at once, then for streams on 64;
the next round begins with the next gateway. Ratios are taken within a round, and their median counts. Targets: 10 times
LiteLLM's requests a second, at most 1.5 ms added at the median. Prints and keeps JSON; 1 when one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gateway import peers, studio
from benchmarks.gateway.load import Found, Place, Question, ask, quantile
from benchmarks.gateway.running import counts_of, cpu_seconds, memory_mb, running_upstream
from benchmarks.results import keep, options_of, surroundings
from tests.needs import INSTALL, find_nginx
from tests.proofs.studio import own_database

WAYS = ("direct", "nginx", "studio", "litellm")
SHORT = Question(words=16)
STREAM = Question(words=64, pause_ms=5, stream=True)
LOADS = (16, 64)
STREAMS = 64
AIM_RATIO, AIM_MS = 10.0, 1.5


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to the upstream, and the processes that it is made of."""

    name: str
    place: Place
    processes: Mapping[str, psutil.Process] = field(default_factory=dict)


def main() -> int:
    """Measure, print, keep; 1 when a target is missed or an answer was wrong."""
    options = read_options()
    if "nginx" in options.only and find_nginx() is None:
        raise SystemExit(f"nginx is missing; install it: {INSTALL['nginx']}")
    before = surroundings()
    with all_ways(options) as (ways, upstream, rest):
        runs = [run for number in range(options.rounds) for run in measure_round(ways, number, options)]
        memory = {way.name: {name: memory_mb(one) for name, one in way.processes.items()} for way in ways}
        rest |= {"upstream": counts_of(upstream)}
        rest |= {"books": studio.count_calls(rest.pop("superuser_url"))} if "superuser_url" in rest else {}
    summary = summarize(runs)
    missed = missed_targets(summary)
    given = {name: getattr(options, name) for name in ("rounds", "seconds", "each", "tenants")}
    keep(
        {**before, **given, **rest, "missed": missed, "summary": summary, "memory_mb": memory, "runs": runs},
        options.out,
    )
    return 1 if missed else 0


def read_options() -> argparse.Namespace:
    """What was asked for."""
    parser = options_of("gateway", __doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--each", type=int, default=200, help="requests of one connection alone")
    parser.add_argument("--tenants", type=int, default=8, help="of the studio; clients come with their keys in turns")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    state = Path(os.environ.get("STUDIO_VAR") or tempfile.gettempdir())
    parser.add_argument("--litellm", type=Path, default=state / "litellm", help="environment, made where it is missing")
    return parser.parse_args()


# ---- who stands in between


@contextmanager
def all_ways(options: argparse.Namespace) -> Iterator[tuple[list[Way], Place, dict[str, Any]]]:
    """Everything that was asked for, started; also what is to be told of it besides figures."""
    questions = [SHORT, STREAM]
    rest: dict[str, Any] = {"versions": {"granian": metadata.version("granian")}, "not_measured": {}}
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="qwenstudio-bench-", ignore_cleanup_errors=True))
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run under another account
        upstream, process = stack.enter_context(running_upstream(folder))
        ways = [Way(name="direct", place=upstream, processes={"upstream": process})]
        if "nginx" in options.only:
            place, process = stack.enter_context(peers.running_nginx(folder / "nginx", upstream))
            ways.append(Way(name="nginx", place=place, processes={"gateway": process}))
            rest["versions"]["nginx"] = peers.nginx_version()
        if "litellm" in options.only:
            ways += start_litellm(stack, folder, upstream, questions, options.litellm, rest)
        if "studio" in options.only:
            ways.append(start_studio(stack, folder, upstream, questions, options.tenants, rest))
        yield ways, upstream, rest


def start_litellm(
    stack: ExitStack, folder: Path, upstream: Place, questions: Sequence[Question], home: Path, rest: dict[str, Any]
) -> list[Way]:
    """LiteLLM, where it can be installed."""
    try:
        program = peers.install_litellm(home)
    except peers.NotInstalled as error:
        rest["not_measured"]["litellm"] = str(error)
        return []
    rest["versions"]["litellm"] = peers.litellm_version(program)
    place, process = stack.enter_context(peers.running_litellm(folder / "litellm", program, upstream, questions))
    return [Way(name="litellm", place=place, processes={"gateway": process})]


def start_studio(
    stack: ExitStack, folder: Path, upstream: Place, questions: Sequence[Question], tenants: int, rest: dict[str, Any]
) -> Way:
    """Our door and its books."""
    services = stack.enter_context(own_database(folder / "studio"))
    keys = studio.make_rows(upstream, questions, tenants=tenants)
    found = stack.enter_context(studio.running_door(folder, services, keys))
    rest["superuser_url"] = services.superuser_url
    processes = {"gateway": found.door, "postgres": found.postgres, "valkey": found.valkey}
    return Way(name="studio", place=found.place, processes=processes)


# ---- rounds


def measure_round(ways: Sequence[Way], number: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each load on each way, in another order than the last time."""
    turned = [*ways[number % len(ways) :], *ways[: number % len(ways)]]
    loads: list[tuple[str, Question, int, dict[str, Any]]] = [("one", SHORT, 1, {"each": options.each})]
    loads += [(f"whole_{many}", SHORT, many, {"seconds": options.seconds}) for many in LOADS]
    loads.append((f"streams_{STREAMS}", STREAM, STREAMS, {"seconds": options.seconds}))
    for load, question, connections, bounds in loads:
        for way in turned:
            asyncio.run(ask(way.place, question, connections=connections, each=2))  # everything is open and warm
            before = {name: cpu_seconds(process) for name, process in way.processes.items()}
            found = asyncio.run(ask(way.place, question, connections=connections, **bounds))
            cpu = {name: cpu_seconds(process) - before[name] for name, process in way.processes.items()}
            yield {"round": number, "way": way.name, "load": load, **describe(found, cpu)}
            print(f"round {number + 1}: {load}, {way.name}", file=sys.stderr, flush=True)


def describe(found: Found, cpu: Mapping[str, float]) -> dict[str, Any]:
    """One measurement's figures."""
    answers = len(found.whole_ms)
    times = {} if not answers else {"p50_ms": quantile(found.whole_ms, 0.5), "p99_ms": quantile(found.whole_ms, 0.99)}
    if answers:
        times["first_p50_ms"] = quantile(found.first_ms, 0.5)
        times["first_p99_ms"] = quantile(found.first_ms, 0.99)
    return {
        "answers": answers,
        "per_second": round(found.per_second, 1),
        "words_per_second": round(found.words_per_second),
        **{name: round(value, 3) for name, value in times.items()},
        "cpu_ms_per_answer": {name: round(1000 * value / max(1, answers), 3) for name, value in cpu.items()},
        "failures": dict(found.failures),
    }


# ---- what they say


def summarize(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians of each way, what it adds to the direct one, and the studio's ratios to the others."""
    table: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for run in runs:
        table.setdefault(run["way"], {}).setdefault(run["load"], []).append(run)
    found: dict[str, Any] = {
        way: {load: medians_of(rounds) for load, rounds in loads.items()} for way, loads in table.items()
    }
    for way, loads in table.items():
        if way != "direct":
            found[way]["added"] = added_by(loads["one"], table["direct"]["one"])
    for peer in ("litellm", "nginx"):
        if "studio" in table and peer in table:
            found[f"studio_to_{peer}"] = {
                load: ratios(table["studio"][load], table[peer][load]) for load in table["studio"] if load != "one"
            }
    return found


def medians_of(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of every figure of one way under one load, over the rounds."""
    names = ("per_second", "words_per_second", "p50_ms", "p99_ms", "first_p50_ms", "first_p99_ms")
    found: dict[str, Any] = {
        name: round(statistics.median(values), 3)
        for name in names
        if (values := [run[name] for run in rounds if name in run])
    }
    parts = rounds[0]["cpu_ms_per_answer"]
    found["cpu_ms_per_answer"] = {
        part: round(statistics.median(run["cpu_ms_per_answer"][part] for run in rounds), 3) for part in parts
    }
    found["failures"] = sum(sum(run["failures"].values()) for run in rounds)
    return found


def added_by(rounds: Sequence[Mapping[str, Any]], direct: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Milliseconds more than the direct way takes in the same round."""
    return {
        name: round(statistics.median(one[name] - other[name] for one, other in zip(rounds, direct, strict=True)), 3)
        for name in ("p50_ms", "p99_ms")
        if name in rounds[0]
    }


def ratios(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Ours ÷ theirs, round by round."""
    name = "words_per_second" if ours[0]["load"].startswith("streams") else "per_second"
    found = [one[name] / other[name] for one, other in zip(ours, theirs, strict=True) if other[name]]
    if not found:
        return {}
    return {"median": round(statistics.median(found), 2), "low": round(min(found), 2), "high": round(max(found), 2)}


def missed_targets(summary: Mapping[str, Any]) -> list[str]:
    """In words."""
    missed = [
        f"{way}: {figures['failures']} failures ({load})"
        for way in WAYS
        for load, figures in summary.get(way, {}).items()
        if figures.get("failures")
    ]
    added = summary.get("studio", {}).get("added", {}).get("p50_ms", 0)
    if added > AIM_MS:
        missed.append(f"the studio adds {added} ms at the median, more than {AIM_MS}")
    for load in (f"whole_{many}" for many in LOADS):
        ratio = summary.get("studio_to_litellm", {}).get(load, {}).get("median", AIM_RATIO)
        if ratio < AIM_RATIO:
            missed.append(f"{load}: {ratio} times LiteLLM's requests a second, not {AIM_RATIO:g}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
