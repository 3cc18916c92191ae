"""An upstream of OpenAI's kind that costs next to nothing: `python -m benchmarks.gateway.upstream --port 9000`.

The model's name says how it answers: `words-64-5` gives 64 words, one every 5 ms (0: all at once). A raw protocol of
asyncio and answers that are rendered once: what is measured is whoever stands before it. `GET /counts` tells how many
requests came, were answered to their end, and were left by their client.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
from functools import cache

import orjson

WORD = " tock"
MODEL = re.compile(r"words-(\d+)-(\d+)")
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
IDS = {"id": "chatcmpl-4f1c", "created": 1790000000}


def chunked(content: bytes) -> bytes:
    """As one chunk of the body."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def event(model: str, delta: dict[str, str] | None, finish: str | None = None, **more: object) -> bytes:
    """One event as vLLM writes them; `delta` None: without a choice."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    body = {**IDS, "object": "chat.completion.chunk", "model": model, "choices": [choice] if delta is not None else []}
    return chunked(b"data: " + orjson.dumps({**body, **more}) + b"\n\n")


def usage(words: int) -> dict[str, int]:
    """What an answer has cost."""
    return {"prompt_tokens": 24, "completion_tokens": words, "total_tokens": 24 + words}


@cache
def whole_answer(model: str, words: int) -> bytes:
    """One JSON."""
    message = {"role": "assistant", "content": WORD * words}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {**IDS, "object": "chat.completion", "model": model, "choices": [choice], "usage": usage(words)}
    content = orjson.dumps(body)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )


@cache
def stream_parts(model: str, words: int, counts: bool) -> tuple[bytes, bytes, bytes]:
    """What begins a stream, each of its words, and what ends it."""
    begin = SSE_HEAD + event(model, {"role": "assistant", "content": ""})
    end = event(model, {}, "stop") + (event(model, None, usage=usage(words)) if counts else b"")
    return begin, event(model, {"content": WORD}), end + chunked(b"data: [DONE]\n\n") + END


class Counts:
    """Of this process."""

    def __init__(self) -> None:
        self.asked = self.ended = self.left = 0


class Session(asyncio.Protocol):
    """One connection: a request, its answer, the next one."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio has connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._counts.left += 1
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """A request, or a part of one; nobody sends the next one before its answer has ended."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        _, _, length = head.partition(b"content-length:")
        size = int(length.partition(b"\r")[0]) if length else 0
        if len(self._buffer) < end + 4 + size:
            return
        body, self._buffer = self._buffer[end + 4 : end + 4 + size], b""
        if head.startswith(b"post"):
            self._answer(orjson.loads(body))
        elif head.startswith(b"get /counts"):
            self._write_json(vars(self._counts))
        else:
            self._write_json({"object": "list", "data": []})

    def _write(self, content: bytes) -> None:
        if self._transport is not None:
            self._transport.write(content)

    def _write_json(self, body: object) -> None:
        content = orjson.dumps(body)
        self._write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(content), content)
        )

    def _answer(self, asked: dict[str, object]) -> None:
        self._counts.asked += 1
        model = str(asked["model"])
        found = MODEL.fullmatch(model)
        if found is None:
            raise ValueError(f"the model must be named words-N-MS, not {model!r}")
        words, pause_s = int(found[1]), int(found[2]) / 1000
        if not asked.get("stream"):
            self._wait(words * pause_s, whole_answer(model, words))
            return
        options = asked.get("stream_options")
        counts = isinstance(options, dict) and bool(options.get("include_usage"))
        begin, word, end = stream_parts(model, words, counts)
        if not pause_s:
            self._end(begin + word * words + end)
            return
        self._write(begin)
        self._step(self._loop.time(), pause_s, word, words, end)

    def _wait(self, seconds: float, content: bytes) -> None:
        if not seconds:
            self._end(content)
            return
        self._timer = self._loop.call_later(seconds, self._end, content)

    def _step(self, due: float, pause_s: float, word: bytes, left: int, end: bytes) -> None:
        """One word; a loop that is late does not make the stream longer, as a GPU would not."""
        if not left:
            self._end(end)
            return
        self._write(word)
        due += pause_s
        self._timer = self._loop.call_at(due, self._step, due, pause_s, word, left - 1, end)

    def _end(self, content: bytes) -> None:
        self._timer = None
        self._write(content)
        self._counts.ended += 1


async def serve(port: int) -> None:
    """Until it is told to stop."""
    counts, stopped = Counts(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: Session(counts), "127.0.0.1", port, backlog=1024)
    await stopped.wait()
    server.close()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
