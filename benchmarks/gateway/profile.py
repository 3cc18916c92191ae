"""Where the door's time goes: `python -m benchmarks.gateway.profile --pyspy PATH [--connections 16] [--seconds 20]`.

py-spy looks 500 times a second at the process that answers, while it is asked, and sees what holds the interpreter:
that is nearly all of its processor time, waiting is not counted. What it saw is told by part: the deepest frame of each
sample that belongs to one says whose time it was. Writes `benchmarks/results/gateway_profile.json`; fails where py-spy
saw too little.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.gateway import studio
from benchmarks.gateway.__main__ import SHORT, STREAM
from benchmarks.gateway.load import Question, ask
from benchmarks.gateway.running import cpu_seconds, running_upstream
from benchmarks.results import keep, options_of, surroundings
from tests.proofs.studio import own_database

RATE = 500  # samples a second
LEAST = 500  # samples, for shares that mean something

# The part of a frame, by the file that it lies in: the first that fits.
PARTS = (
    ("generation/chat/wire/valkey", "rates in Valkey"),
    ("door/chatrates", "rates in Valkey"),
    ("generation/chat/breaker", "breaker"),
    ("generation/chat/slots", "breaker"),
    ("generation/chat/wire/", "the upstream's connection"),
    ("generation/chat/upstreams/", "the upstream's protocol"),
    ("generation/chat/relay", "the upstream's protocol"),
    ("generation/books/", "books in PostgreSQL"),
    ("door/book", "books in PostgreSQL"),
    ("door/reserving", "books in PostgreSQL"),
    ("psycopg", "books in PostgreSQL"),
    ("generation/chat/strictjson", "reading the body"),
    ("generation/chat/reader", "reading the body"),
    ("generation/chat/", "writing the answer"),
    ("door/chatanswers", "writing the answer"),
    ("door/callers", "who asks"),
    ("accounts/domain/callers", "who asks"),
    ("accounts/meters", "metrics"),
    ("prometheus_client", "metrics"),
    ("qwenstudio/logs", "access log"),
    ("logging/", "access log"),
    ("qwenstudio/", "the door itself"),
    ("accounts/", "the door itself"),
    ("granian", "server and event loop"),
    ("asyncio", "server and event loop"),
    ("uvloop", "server and event loop"),
)
REST = "server and event loop"


def part_of(stack: str) -> str:
    """Whose time a sample is: `a (file:1);b (file:2)`, the deepest frame last."""
    for frame in reversed(stack.split(";")):
        for mark, part in PARTS:
            if mark in frame:
                return part
    return REST


def read_samples(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Stacks and how often each was seen, of py-spy's raw form."""
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if stack:
            yield stack, int(count)


def shares(samples: Iterable[tuple[str, int]]) -> dict[str, float]:
    """Of each part, the largest first. Raises `SystemExit` where there is too little to tell."""
    found: Counter[str] = Counter()
    for stack, count in samples:
        found[part_of(stack)] += count
    total = found.total()
    if total < LEAST:
        raise SystemExit(f"py-spy saw {total} samples, {LEAST} are needed")
    return {part: round(count / total, 3) for part, count in found.most_common()}


def main() -> int:
    """Measure, print, keep."""
    parser = options_of("gateway_profile", __doc__)
    parser.add_argument("--pyspy", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--tenants", type=int, default=8)
    parser.add_argument("--stacks", type=Path, help="where the stacks themselves are kept")
    options = parser.parse_args()
    result = surroundings()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        folder.chmod(0o755)  # PostgreSQL may run under another account
        upstream, _ = stack.enter_context(running_upstream(folder))
        services = stack.enter_context(own_database(folder / "studio"))
        keys = studio.make_rows(upstream, [SHORT, STREAM], tenants=options.tenants)
        found = stack.enter_context(studio.running_door(folder, services, keys))
        result["parts"] = {}
        for name, question in (("whole", SHORT), ("streams", STREAM)):
            raw = options.stacks.with_suffix(f".{name}") if options.stacks else folder / name
            result["parts"][name] = look_at(found, question, raw, options)
    keep(result, options.out)
    return 0


def look_at(found: studio.Studio, question: Question, raw: Path, options: argparse.Namespace) -> dict[str, object]:
    """Shares of the parts, and milliseconds of an answer."""
    asyncio.run(ask(found.place, question, connections=options.connections, seconds=2))
    words = [str(options.pyspy), "record", "--rate", str(RATE), "--duration", f"{options.seconds:.0f}", "--gil"]
    words += ["--format", "raw", "--output", str(raw), "--pid", str(found.worker.pid)]
    before = cpu_seconds(found.door)
    spy = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    answers = asyncio.run(ask(found.place, question, connections=options.connections, seconds=options.seconds + 1))
    spent = cpu_seconds(found.door) - before
    if spy.wait(60):
        raise SystemExit("py-spy has failed")
    parts = shares(read_samples(raw.read_text(encoding="utf-8").splitlines()))
    each_ms = 1000 * spent / max(1, len(answers.whole_ms))
    return {
        "cpu_ms_per_answer": round(each_ms, 3),
        "shares": parts,
        "ms": {part: round(share * each_ms, 3) for part, share in parts.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
