"""The demo chat model: moods of 500 held-out sentences beside two bags of words, 200 held-out wishes that the demo
image model draws, and for a fifth of the sentences both ways to ask for a mood by `transformers serve` itself, started
as the studio starts it: how many are right, whether they are those of the first count, how long they take, and how much
memory the server holds.

A second set of sentences has templates of its own (`FRESH`). No training template can become one of them, and
nobody had looked at what a model got wrong of them when templates for training were chosen.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil

from generation.chat.asking import NotWell, check_health
from generation.chat.breaker import Breaker
from generation.chat.demomodel import DEMO_MODEL
from generation.chat.moodasking import Moods
from generation.chat.relay import Relay
from generation.chat.sentiment import CHOICE_PATH, judge_text
from generation.chat.targets import TRANSFORMERS_FIELDS, Offer, Target, Upstream
from generation.chat.tasks import MOODS, read_tasks
from generation.chat.wire.bounds import Times
from generation.errors import SentimentUnclear
from qwenstudio.embedded.ports import free_port
from qwenstudio.processes import foreign_environment
from tests.proofs.record import ROOT, write_record

PROVES = ("generation/engine/chatdemo", "generation/chat/sentiment.py")
SENTENCES, WISHES, ASKED = 500, 200, 100
SAME_SHARE = 0.99
"""Of what is asked of the server, what must be said as it was counted: BF16 may round a tie either way."""
START_S = 120.0
# A gap is filled with a held-out word: `feel` and `thing` of the sentence's mood, `not_` of the other. No gap: neutral.
FRESH = {
    "en": (
        "my whole family was {feel} about it", "that must have been {thing}", "I went to bed {feel}",
        "nothing has ever made me so {feel}", "their answer was {thing}", "I would not be {not_feel} in your place",
        "it does not have to be {not_thing}", "although it was {not_thing} before, it is {thing} now",
        "the shop closes at six", "which bus goes to the museum", "he put the letter on the desk",
    ),
    "zh": (
        "我们全家都很{feel}", "这部电影真的{thing}", "收到信的时候我特别{feel}", "我才不{not_feel}呢",
        "这个结果并不{not_thing}",
        "虽然昨天很{not_feel}，今天很{feel}", "超市几点关门", "他把书放在桌子上", "明天坐几路公交车",
    ),
}  # fmt: skip
_GAP = re.compile(r"\{(not_)?(feel|thing)\}")


def fresh_sentences() -> list[tuple[str, str]]:
    """Each of `FRESH` with three words of either mood, or as it is, and its mood."""
    from generation.engine.chatdemo.vocabulary import NEGATIVE, NEUTRAL, POSITIVE

    rng = random.Random("fresh")
    found: list[tuple[str, str]] = []
    for language, patterns in FRESH.items():
        for pattern in patterns:
            for mood in (POSITIVE, NEGATIVE) * 3 if _GAP.search(pattern) else (NEUTRAL,):
                found.append((fill(pattern, language, mood, rng), mood))
    return found


def fill(pattern: str, language: str, mood: str, rng: random.Random) -> str:
    """The pattern with its gaps filled."""
    from generation.engine.chatdemo.moods import opposite, words_of

    words = words_of(language, True).moods
    return _GAP.sub(lambda gap: rng.choice(words[opposite(mood) if gap[1] else mood][gap[2]]), pattern)


async def ask_server(texts: Sequence[tuple[str, str]], counted: Sequence[str]) -> dict[str, Any]:
    """Accuracy, latency and memory of both ways, one text at a time, by a true `transformers serve`. `texts` come with
    their moods, `counted` are the labels that `evaluate` found.
    """
    began, relay = time.monotonic(), Relay(Breaker(None))
    with serving() as (server, upstream):
        offer = Offer(slug="demo-chat", targets=(Target(upstream=upstream, model=DEMO_MODEL),))
        try:
            await _wait_until_well(server, upstream)
            found: dict[str, Any] = {"count": len(texts), "start_s": round(time.monotonic() - began, 1)}
            found["memory_mb"] = {"started": memory_mb(server)}
            for way, lacking in (("choice", {}), ("words", {"demo": time.monotonic() + 1e6})):
                ask = Moods(relay, offer, lacking=lacking)
                await judge_text(texts[0][0], task=read_tasks().sentiment, ask=ask)  # whatever warms up
                used = processor_s(server)
                labels, times = await _time_way([text for text, _ in texts], ask)
                found[way] = times | {
                    "processor_ms": round((processor_s(server) - used) / len(texts) * 1000, 1),
                    "right": round(sum(a == mood for a, (_, mood) in zip(labels, texts, strict=True)) / len(texts), 4),
                    "unclear": labels.count(None),
                }
                found["memory_mb"][way] = memory_mb(server)
                if way == "choice":
                    found["choices_as_counted"] = sum(a == b for a, b in zip(labels, counted, strict=True))
            return found
        finally:
            relay.close()


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[bytes], Upstream]]:
    """The demo model's server, as `manage.py up` starts it."""
    port = free_port()
    line = [sys.executable, "-m", "qwenstudio.units.chatguard", str(port), DEMO_MODEL, "--device", "cpu"]
    with tempfile.TemporaryDirectory() as var:
        environment = foreign_environment({**os.environ, "STUDIO_VAR": var})
        server = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield server, Upstream(
                id="demo", kind="openai", base_url=f"http://127.0.0.1:{port}", times=Times(first_byte=60),
                fields=TRANSFORMERS_FIELDS,
            )  # fmt: skip
        finally:
            server.terminate()
            server.wait(30)


async def _wait_until_well(server: subprocess.Popen[bytes], upstream: Upstream) -> None:
    began = time.monotonic()
    while True:
        try:
            return await check_health(upstream)
        except NotWell:
            if time.monotonic() - began > START_S or server.poll() is not None:
                raise SystemExit("transformers serve does not start") from None
            await asyncio.sleep(0.2)


def memory_mb(server: subprocess.Popen[bytes]) -> int:
    """What the guard and its server hold together, in MB."""
    return round(sum(one.memory_info().rss for one in _processes(server)) / 1e6)


def processor_s(server: subprocess.Popen[bytes]) -> float:
    """What they have used of a core so far: it stays about the same where others want the cores too."""
    return sum(one.cpu_times().user + one.cpu_times().system for one in _processes(server))


def _processes(server: subprocess.Popen[bytes]) -> list[psutil.Process]:
    guard = psutil.Process(server.pid)
    return [guard, *guard.children(recursive=True)]


async def _time_way(texts: Sequence[str], ask: Moods) -> tuple[list[str | None], dict[str, Any]]:
    """The label of each, None where none was clear, and how long that took."""
    task, labels, seconds = read_tasks().sentiment, [], []
    for text in texts:
        began = time.perf_counter()
        try:
            labels.append((await judge_text(text, task=task, ask=ask)).label)
        except SentimentUnclear:
            labels.append(None)
        seconds.append(time.perf_counter() - began)
    return labels, {
        "path": CHOICE_PATH if ask.chooses else "/v1/chat/completions",
        "median_ms": round(statistics.median(seconds) * 1000, 1),
        "p95_ms": round(sorted(seconds)[int(len(seconds) * 0.95)] * 1000, 1),
    }


def likeliest(scores: Mapping[str, Any]) -> str:
    """The mood with the highest score."""
    return max(MOODS, key=lambda mood: scores[mood])


def main() -> int:
    """Judge, ask, keep; 1 when a bound was missed."""
    from generation.engine.chatdemo.evaluate import WANTED_MOODS, WANTED_WISHES, Demo, evaluate
    from generation.engine.chatdemo.model import CHECKPOINT
    from generation.engine.chatdemo.moods import held_out_sentences

    began = time.monotonic()
    counts = evaluate(CHECKPOINT, sentences=SENTENCES, wishes=WISHES)
    demo, fresh = Demo(), fresh_sentences()
    missed = [text for text, mood in fresh if likeliest(demo.decide(text)) != mood]
    counts["fresh"] = {"count": len(fresh), "right": round(1 - len(missed) / len(fresh), 4), "wrong": missed}
    said = {one["text"]: one["said"] for one in counts["moods"]["wrong"]}
    asked = [(one.text, one.mood) for one in held_out_sentences(seed=0, count=SENTENCES)[:: SENTENCES // ASKED]]
    print(f"asking transformers serve for {len(asked)} moods, both ways …", file=sys.stderr)
    counts["served"] = asyncio.run(ask_server(asked, [said.get(text, mood) for text, mood in asked]))
    golden = all(likeliest(scores) == scores["wanted"] for scores in counts["golden"].values())
    same = counts["served"]["choices_as_counted"] >= SAME_SHARE * ASKED
    good = counts["moods"]["choice"] >= WANTED_MOODS and counts["wishes"]["right"] >= WANTED_WISHES and golden and same
    write_record("chatdemo", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print({name: counts[name] for name in ("fresh", "served")}, counts["moods"]["choice"], counts["wishes"]["right"])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
