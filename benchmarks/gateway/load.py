"""Asks one thing over and over on kept connections: raw asyncio, so that the asking costs little beside the answering.

Each answer is looked at: its status, and that all its words have come. What is not so is a failure, whatever the time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import orjson

from benchmarks.gateway.upstream import WORD

MARK = WORD.encode()
PATIENCE_S = 60.0
"""For what is under way when the time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who is asked: a server of this machine, and the keys by which clients come, in turns."""

    port: int
    path: str = "/v1/chat/completions"
    keys: tuple[str, ...] = ("",)

    def request(self, question: Question, number: int) -> bytes:
        """The bytes of a client's request."""
        key = self.keys[number % len(self.keys)]
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
            f"{authorization}Content-Length: {len(question.body)}\r\n\r\n"
        )
        return head.encode() + question.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: so many words, one every `pause_ms`, as a stream or as one JSON."""

    words: int
    pause_ms: int = 0
    stream: bool = False
    prompt: str = "Name the sea between Wales and Ireland, and say how deep it is. " * 2

    @property
    def model(self) -> str:
        """The model's name, which tells the upstream."""
        return f"words-{self.words}-{self.pause_ms}"

    @property
    def body(self) -> bytes:
        """As clients send it."""
        messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": self.prompt}]
        more = {"stream": True} if self.stream else {}
        return orjson.dumps({"model": self.model, "messages": messages, "temperature": 0.7, **more})


@dataclass(slots=True)
class Found:
    """What came of it. Times in milliseconds, by answer."""

    seconds: float = 0.0
    whole_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    words: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Good answers."""
        return len(self.whole_ms) / self.seconds

    @property
    def words_per_second(self) -> float:
        """Words of good answers and of those that were still under way."""
        return self.words / self.seconds


class Asker(asyncio.Protocol):
    """One connection, which asks again as soon as it has its answer, until `ends`."""

    def __init__(self, request: bytes, question: Question, found: Found, *, ends: float, most: int) -> None:
        self._request = request
        self._question = question
        self._found = found
        self._ends = ends
        self._left = most
        self._transport: asyncio.Transport | None = None
        self._began = 0.0
        self._buffer = bytearray()
        self._body_at = 0  # 0: the head is not whole yet
        self._length = -1  # -1: in chunks
        self._first = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio has connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has ended it."""
        if not self.done.done():
            self._found.failures["connection lost"] += 1
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        now = time.perf_counter()
        self._buffer += data
        if self._question.stream:
            words = data.count(MARK)
            if words and now <= self._ends:
                self._found.words += words
            if words and not self._first:
                self._first = now
        if not self._body_at and not self._read_head():
            return
        if self._is_whole():
            self._note(now)
            self._ask()

    def _ask(self) -> None:
        now = time.perf_counter()
        if now >= self._ends or not self._left or self.done.done():
            self._stop()
            return
        self._left -= 1
        self._buffer.clear()
        self._body_at, self._first, self._began = 0, 0.0, now
        if self._transport is not None:
            self._transport.write(self._request)

    def _stop(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        if self._transport is not None:
            self._transport.abort()

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._body_at = end + 4
        _, _, length = bytes(self._buffer[:end]).lower().partition(b"content-length:")
        self._length = int(length.partition(b"\r")[0]) if length else -1
        return True

    def _is_whole(self) -> bool:
        if self._length >= 0:
            return len(self._buffer) >= self._body_at + self._length
        return self._buffer.endswith(b"\r\n0\r\n\r\n") or self._buffer[self._body_at :] == b"0\r\n\r\n"

    def _note(self, now: float) -> None:
        status = bytes(self._buffer[9:12])
        body = bytes(self._buffer[self._body_at :])
        words = body.count(MARK)
        if words != self._question.words and self._length < 0:
            body = join_chunks(body)  # a proxy may cut in the middle of a word
            words = body.count(MARK)
        if status != b"200":
            self._found.failures[status.decode("latin-1") + " " + body[:120].decode("latin-1")] += 1
        elif words != self._question.words or (self._question.stream and b"[DONE]" not in body[-40:]):
            self._found.failures["not all words"] += 1
        elif now <= self._ends:
            self._found.whole_ms.append((now - self._began) * 1000)
            self._found.first_ms.append(((self._first or now) - self._began) * 1000)


def join_chunks(body: bytes) -> bytes:
    """The content of a body in chunks."""
    parts, at = [], 0
    while (end := body.find(b"\r\n", at)) >= 0 and (size := int(body[at:end], 16)):
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size
    return b"".join(parts)


async def ask(
    place: Place,
    question: Question,
    *,
    connections: int,
    seconds: float = 3600.0,
    each: int = 1_000_000_000,
    spread_s: float = 0.0,
) -> Found:
    """So many connections at once, for some seconds or until each has asked so often.

    The connections begin one after the other within `spread_s`, so that answers of the same length do not all begin in
    the same moment.
    """
    found, loop = Found(), asyncio.get_running_loop()
    began = time.perf_counter()
    askers = []
    for number in range(connections):
        await asyncio.sleep(began + number * spread_s / connections - time.perf_counter())
        request = place.request(question, number)
        _, asker = await loop.create_connection(
            lambda request=request: Asker(request, question, found, ends=began + seconds, most=each),  # type: ignore[misc]
            "127.0.0.1",
            place.port,
        )
        askers.append(asker)
    done = [asker.done for asker in askers]
    _, late = await asyncio.wait(done, timeout=seconds + PATIENCE_S)
    if late:
        found.failures["no answer"] += len(late)
    found.seconds = min(seconds, time.perf_counter() - began)
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
