"""`python -m tests.proofs.chatbodies`: 10,000 hostile bodies through the door, and what the upstreams get of them.

Bodies with planted fields at every depth, values of other kinds, broken bytes, and forms that have confused readers
before come to the door as `studio-stream@.service` runs it, half of them for an upstream of OpenAI's kind and half for
one of Ollama's. The upstreams keep every request: nothing in it may be outside the allow-list, no header may be a
client's, and what was refused may not have come at all.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from benchmarks.gateway import studio
from benchmarks.gateway.load import Place
from generation.chat.reader import MAX_BODY_BYTES
from tests.generation.chat.scripted import Asked, Served, Wire, hello, line, serving
from tests.generation.chat.test_fuzz import GOOD, MARK, UPSTREAM_KEYS, names_in, spoil
from tests.proofs.record import write_record
from tests.proofs.studio import own_database

BODIES = 10_000
AT_ONCE = 16
SEED = 17
PATHS = {"openai": "/v1/chat/completions", "ollama": "/api/chat"}
HEADERS = {"host", "accept-encoding", "content-length", "content-type", "accept"}
CLIENT_HEADERS = {
    "X-Forwarded-For": f"203.0.113.9, {MARK}",
    "X-Api-Base": f"http://{MARK}/",
    "Cookie": f"session={MARK}",
    "OpenAI-Organization": MARK,
    "Traceparent": MARK,
}
SHARES = {"planted": 0.8, "noise": 0.1, "forms": 0.1}
PROVES = ("generation/chat", "qwenstudio/door/chat.py", "qwenstudio/door/chatguard.py", "qwenstudio/door/bridge.py")


def forms(chance: random.Random) -> bytes:
    """A body of a form that has confused readers before."""
    good = json.dumps(GOOD)
    depth = chance.randint(40, 3000)
    image = {"type": "image_url", "image_url": {"url": f"http://{MARK}.example/x.png"}}
    return chance.choice(
        [
            good[:-1] + f', "model": "{MARK}"}}',
            good[:-1] + ', "temperature": NaN}',
            good[:-1] + ', "seed": 1e999}',
            good[:-1] + f', "x": {"[" * depth}{"]" * depth}}}',
            good[:-1] + f', "x": {"1" * 5000}}}',
            good.replace('"be kind"', json.dumps([image])),
            good.replace('"be kind"', json.dumps(MARK * 20_000)),
            good.replace('"be kind"', json.dumps("x" * 1_200_000)),
            good.replace('"model"', '"\\u006dodel"'),
            good.replace('"be kind"', '"\\ud800"'),
            f"[{good}]",
            f"{good}\n{good}",
            f"\ufeff{good}",
            "",
            "null",
        ]
    ).encode()


def noise(chance: random.Random) -> bytes:
    """A good body with some bytes changed."""
    body = bytearray(json.dumps(GOOD).encode())
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(body))
        body[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
    return bytes(body)


def bodies(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Kinds of upstream, kinds of body, and bodies."""
    chance = random.Random(seed)
    makers = {"planted": spoil, "noise": noise, "forms": forms}
    for number in range(count):
        kind = ("openai", "ollama")[number % 2]
        form = chance.choices(list(SHARES), list(SHARES.values()))[0]
        body = makers[form](chance)
        yield kind, form, body.replace(b'odel": "chat"', b'odel": "by-%b"' % kind.encode())


async def answer(wire: Wire) -> None:
    """As the kind of the path does."""
    if wire.asked.path == PATHS["openai"]:
        await hello(wire)
        return
    last = line(message={"role": "assistant", "content": ""}, done=True, done_reason="stop", eval_count=1)
    await wire.head(media_type="application/x-ndjson")
    await wire.chunk(line(message={"role": "assistant", "content": "hi"}, done=False) + last)
    await wire.chunk(b"")


def wrong_in(kind: str, asked: Asked) -> str:
    """What is outside of the allow-list in a request that reached an upstream; nothing where all is well."""
    sent = asked.json
    if unknown := names_in(sent) - UPSTREAM_KEYS[kind]:
        return f"fields {sorted(unknown)}"
    if asked.path != PATHS[kind] or asked.method != "POST":
        return f"{asked.method} {asked.path}"
    if others := set(asked.headers) - HEADERS:
        return f"headers {sorted(others)}"
    if sent["model"] != "theirs" or sent["stream"] is not True:
        return f"model {sent['model']!r}, stream {sent['stream']!r}"
    options = {**sent.get("options", {}), "stop": None}  # a client's own words, like its messages
    said = [options, sorted(asked.headers.items()), *(sent.get(name) for name in ("stream_options", "tool_choice"))]
    return f"{MARK} in {said}" if MARK in json.dumps(said) else ""


async def status_of(http: httpx.AsyncClient, path: str, body: bytes, headers: Mapping[str, str]) -> str:
    """What it is answered. Without nginx before it the door cuts off who goes on sending what it refuses unread."""
    try:
        return str((await http.post(path, content=body, headers=headers)).status_code)
    except httpx.TransportError:
        if len(body) <= MAX_BODY_BYTES:
            raise
        return "413"


async def ask_all(place: Place, count: int, seed: int) -> dict[str, Counter[str]]:
    """Each body once, some at a time; statuses by the kind of body."""
    found: dict[str, Counter[str]] = {form: Counter() for form in SHARES}
    waiting = enumerate(bodies(count, seed))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{place.port}", timeout=60) as http:

        async def ask_some() -> None:
            for number, (_, form, body) in waiting:
                key = place.keys[number % len(place.keys)]
                headers = {**CLIENT_HEADERS, "Authorization": f"Bearer {key}", "Content-Type": "application/json"}
                found[form][await status_of(http, f"{place.path}?api_base={MARK}", body, headers)] += 1

        await asyncio.gather(*(ask_some() for _ in range(AT_ONCE)))
    return found


def make_rows(ports: Mapping[str, int]) -> tuple[str, ...]:
    """An upstream of each kind with one model; keys."""
    from generation.models import ChatModel, ChatTarget, Upstream

    for kind, port in ports.items():
        slug = f"by-{kind}"
        Upstream.objects.create(
            slug=slug, kind=kind, base_url=f"http://127.0.0.1:{port}", first_byte_s=60, concurrency=AT_ONCE
        )
        ChatModel.objects.create(slug=slug, title=slug)
        ChatTarget.objects.create(model_id=slug, upstream_id=slug, name="theirs")
    return studio.make_keys(4)


async def measure(folder: Path, *, count: int = BODIES, seed: int = SEED) -> dict[str, Any]:
    """Ask, and look at what came; raw counts."""
    async with serving(answer) as first, serving(answer) as second:
        served: dict[str, Served] = {"openai": first, "ollama": second}
        with ExitStack() as stack:
            services = await asyncio.to_thread(stack.enter_context, own_database(folder / "studio"))
            keys = await asyncio.to_thread(make_rows, {kind: one.port for kind, one in served.items()})
            door = await asyncio.to_thread(stack.enter_context, studio.running_door(folder, services, keys))
            statuses = await ask_all(door.place, count, seed)
            books = await asyncio.to_thread(studio.count_calls, services.superuser_url)
            log = (folder / "door.log").read_text(encoding="utf-8", errors="replace")
    wrong = Counter(filter(None, (wrong_in(kind, asked) for kind, one in served.items() for asked in one.asked)))
    return {
        "seed": seed,
        "bodies": count,
        "statuses": {form: dict(sorted(found.items())) for form, found in statuses.items()},
        "reached": {kind: len(one.asked) for kind, one in served.items()},
        "outside_the_allow_list": dict(wrong.most_common(20)),
        "books": books,
        "errors_in_the_log": [text for text in log.splitlines() if '"level":"error"' in text][:10],
    }


def is_good(counts: Mapping[str, Any]) -> bool:
    """Nothing came through, nothing broke, what was refused reached nobody, and enough was taken to mean something."""
    statuses: Counter[str] = Counter()
    for found in counts["statuses"].values():
        statuses.update(found)
    taken: Sequence[int] = list(counts["reached"].values())
    return bool(
        statuses.total() == counts["bodies"]
        and not any(status.startswith("5") for status in statuses)
        and not counts["outside_the_allow_list"]
        and not counts["errors_in_the_log"]
        and sum(taken) == statuses["200"] == counts["books"].get("done")
        and min(taken) > counts["bodies"] / 5
        and not counts["books"]["tokens_still_reserved"]
    )


def main() -> int:
    """On servers of its own; 1 when something came through."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qwenstudio-chatbodies-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run under another account
        counts = asyncio.run(measure(folder))
    good = is_good(counts)
    write_record("chatbodies", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(json.dumps(counts, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
