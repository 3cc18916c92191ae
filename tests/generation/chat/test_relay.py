"""The relay with real servers: whom it asks, what it repeats, and what the client is told when they fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from accounts.errors import InvalidRequest, StudioError
from generation.chat.breaker import Breaker, BreakerOpen, Rules
from generation.chat.deltas import Delta, Usage
from generation.chat.record import CallRecord
from generation.chat.refusing import shown_error
from generation.chat.relay import Relay
from generation.chat.request import ChatRequest, Message, TextPart, ToolCall
from generation.chat.targets import Offer, Target
from generation.chat.upstreams.openai import StreamReader
from generation.chat.wire.bounds import Times
from generation.errors import ChatBroken, ChatBusy, ChatRefused, ChatUnavailable
from tests.generation.chat.rests import end_rest
from tests.generation.chat.scripted import (
    DONE,
    HELLO,
    IMPATIENT,
    PATIENT,
    QUICK,
    USAGE,
    Served,
    Wire,
    event,
    hang,
    hello,
    line,
    reset,
    says,
    serving,
    status,
)

HI = ChatRequest(model="chat", messages=(Message(role="user", parts=(TextPart("hi there"),)),), prompt_chars=8)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    found = Relay(Breaker(rules=Rules(rest_s=600)), queue_s=0.2)
    yield found
    assert found.leases.slots.is_quiet(), "a place was not given back"
    found.close()


async def ask(relay: Relay, offer: Offer, record: CallRecord | None = None, request: ChatRequest = HI) -> list[Delta]:
    """The whole answer's deltas that say something."""
    async with await relay.open(request, offer, record) as answer:
        return [delta async for delta in answer.deltas() if delta]


async def listen(
    relay: Relay, offer: Offer, record: CallRecord, heard: list[Delta], began: asyncio.Event | None = None
) -> None:
    """The same, each as it comes."""
    async with await relay.open(HI, offer, record) as answer:
        async for delta in answer.deltas():
            heard.append(delta)
            if began is not None:
                began.set()


def words(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def both(one: Served, two: Served, *, times: Times = IMPATIENT) -> Offer:
    """Two upstreams, the first by far the heavier: it is asked first. The times are of the first."""
    first = one.upstream(id="one", weight=100, times=times)
    second = two.upstream(id="two")
    return Offer(slug="chat", targets=(Target(upstream=first, model="theirs"), Target(upstream=second, model="theirs")))


async def test_an_answer(relay: Relay) -> None:
    async with serving(hello) as served:
        record, began = CallRecord(), time.monotonic()
        found = await ask(relay, served.offer(), record)
        took_ms = 1000 * (time.monotonic() - began)
        assert words(found) == "Hello world" and found[-1].usage == Usage(7, 2)
        assert served.asked[0].json["model"] == "theirs"
        assert (record.outcome, record.finish, record.upstream, record.attempts) == ("done", "stop", "one", 1)
        assert (record.tokens_in, record.tokens_out, record.is_estimated) == (7, 2, False)
        assert record.first_byte_ms is not None and record.total_ms is not None
        assert record.first_byte_ms <= record.total_ms <= took_ms + 1


async def test_the_connection_is_used_again(relay: Relay) -> None:
    async with serving(hello) as served:
        for _ in range(4):
            await ask(relay, served.offer())
        assert served.connections == 1


async def test_an_upstream_that_counts_nothing(relay: Relay) -> None:
    async with serving(lambda wire: wire.stream(event({"content": "x" * 40}, "stop"), DONE)) as served:
        record = CallRecord()
        found = await ask(relay, served.offer(), record)
        assert record.is_estimated and record.tokens_out == 10 and record.tokens_in == 7
        assert found[-1].usage == Usage(7, 10)


@pytest.mark.parametrize(
    "usage", [{}, {"prompt_tokens": 7}, {**USAGE, "completion_tokens": 0}, {**USAGE, "completion_tokens": -5}]
)
async def test_a_count_that_cannot_be(relay: Relay, usage: dict[str, int]) -> None:
    """An answer that has words is not free because its server says so, or says nothing."""
    async with serving(lambda wire: wire.stream(event({"content": "x" * 40}, "stop"), event(None, usage=usage))) as one:
        record = CallRecord()
        found = await ask(relay, one.offer(), record)
        assert (record.tokens_in, record.tokens_out, record.is_estimated) == (7, 10, True)
        assert found[-1].usage == Usage(7, 10)


async def test_ollama(relay: Relay) -> None:
    async def run(wire: Wire) -> None:
        await wire.head(media_type="application/x-ndjson")
        await wire.chunk(line(message={"role": "assistant", "content": "Hello"}, done=False))
        await wire.chunk(line(done=True, done_reason="stop", prompt_eval_count=3, eval_count=1))
        await wire.chunk(b"")

    async with serving(run) as served:
        record = CallRecord()
        assert words(await ask(relay, served.offer("ollama"), record)) == "Hello"
        assert served.asked[0].path == "/api/chat" and (record.tokens_in, record.tokens_out) == (3, 1)


@pytest.mark.parametrize("script", [hang, reset, status(500), status(503), status(302), status(429), status(404)])
async def test_before_the_first_byte_another_is_asked_once(relay: Relay, script: Any) -> None:
    async with serving(script) as bad, serving(hello) as good:
        record = CallRecord()
        assert words(await ask(relay, both(bad, good), record)) == "Hello world"
        assert (record.upstream, record.attempts, record.outcome) == ("two", 2, "done")
        assert (len(bad.asked), len(good.asked)) == (1, 1)


@pytest.mark.parametrize("script", [hang, reset, status(500)])
async def test_not_a_third_time(relay: Relay, script: Any) -> None:
    async with serving(script) as one, serving(script) as two, serving(hello) as three:
        offer = both(one, two)
        slow = offer.targets[1].upstream
        offer = Offer(
            slug="chat", targets=(offer.targets[0], Target(upstream=replace(slow, times=IMPATIENT), model="m"))
        )
        third = Target(upstream=three.upstream(id="three", weight=1), model="theirs")
        record = CallRecord()
        with pytest.raises(ChatUnavailable) as caught:
            await ask(relay, Offer(slug="chat", targets=(*offer.targets, third)), record)
        assert caught.value.retry_after_s and record.outcome == "unavailable"
        assert (record.tokens_in, record.tokens_out) == (0, 0)
        assert len(one.asked) + len(two.asked) + len(three.asked) == 2


@pytest.mark.parametrize("cut", [reset, hang])
async def test_after_the_first_byte_nothing_is_repeated(relay: Relay, cut: Any) -> None:
    async def run(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(HELLO[1])
        await cut(wire)

    async with serving(run) as bad, serving(hello) as good:
        record = CallRecord()
        heard: list[Delta] = []
        with pytest.raises(ChatBroken):
            await listen(relay, both(bad, good, times=replace(PATIENT, idle=0.3)), record, heard)
        assert words(heard) == "Hello" and record.outcome == "broken" and not good.asked
        assert record.tokens_out == 2  # what came is counted


BAD = [b"data: {broken\n\n", b'data: {"error": {"message": "CUDA out of memory"}}\n\n', event({"content": 5})]


@pytest.mark.parametrize("rest", BAD)
async def test_an_answer_that_turns_bad(relay: Relay, rest: bytes) -> None:
    heard = asyncio.Event()

    async def run(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(HELLO[1])
        await heard.wait()
        await wire.chunk(rest + b"".join(HELLO[2:]))

    async with serving(run) as served:
        found: list[Delta] = []
        with pytest.raises(ChatBroken) as caught:
            await listen(relay, served.offer(), CallRecord(), found, heard)
        assert "CUDA" not in caught.value.message and words(found) == "Hello"


@pytest.mark.parametrize("rest", BAD)
async def test_an_answer_that_is_bad_from_the_start_is_none(relay: Relay, rest: bytes) -> None:
    """Nobody has heard of it, so another server is asked; as a probe it closes no breaker."""
    relay.leases.breaker = Breaker(rules=Rules(failures=1, rest_s=600))
    async with serving(lambda wire: wire.stream(rest)) as bad, serving(hello) as good:
        record = CallRecord()
        assert words(await ask(relay, both(bad, good, times=PATIENT), record)) == "Hello world"
        assert (record.attempts, record.upstream, len(bad.asked)) == (2, "two", 1)
        await end_rest(relay.leases.breaker, "one")
        with pytest.raises(ChatUnavailable) as caught:  # the probe
            await ask(relay, bad.offer())
        assert "CUDA" not in caught.value.message and len(bad.asked) == 2
        with pytest.raises(BreakerOpen):
            await relay.leases.breaker.admit("one", probe_s=1)


async def test_a_kept_connection_that_died_is_replaced(relay: Relay) -> None:
    async with serving(says(hello, reset, hello)) as served:
        for _ in range(2):
            assert words(await ask(relay, served.offer())) == "Hello world"
        assert (len(served.asked), served.connections) == (3, 2)
        assert (await relay.leases.breaker.admit("one", probe_s=1)).probe == ""


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_what_the_server_does_not_take_is_the_clients_matter(relay: Relay, code: int) -> None:
    body = {"error": {"message": "theirs has 4096 tokens of context; see http://10.0.0.5/x and /srv/models/q.bin"}}
    async with serving(status(code, body)) as served, serving(hello) as other:
        record = CallRecord()
        with pytest.raises(ChatRefused) as caught:
            await ask(relay, both(served, other), record)
        assert caught.value.message.endswith("chat has 4096 tokens of context; see … and …")
        assert record.outcome == "refused" and not other.asked


@pytest.mark.parametrize("code", [401, 403, 404, 429])
async def test_what_staff_must_see_to_is_not_told(relay: Relay, code: int) -> None:
    async with serving(status(code, {"error": {"message": "invalid key sk-secret"}})) as served:
        with pytest.raises(ChatUnavailable) as caught:
            await ask(relay, served.offer())
        assert "secret" not in caught.value.message


@pytest.mark.parametrize("code", [400, 401, 404, 422, 429])
async def test_4xx_never_open_the_breaker(relay: Relay, code: int) -> None:
    async with serving(status(code)) as served:
        for _ in range(12):
            with pytest.raises((ChatRefused, ChatUnavailable)):
                await ask(relay, served.offer())
        assert len(served.asked) == 12


@pytest.mark.parametrize("script", [status(500), reset])
async def test_five_failures_open_the_breaker(relay: Relay, script: Any) -> None:
    async with serving(script) as served:
        for _ in range(5):
            with pytest.raises(ChatUnavailable):
                await ask(relay, served.offer())
        with pytest.raises(ChatUnavailable) as caught:
            await ask(relay, served.offer())
        assert 540 < (caught.value.retry_after_s or 0) <= 600
        assert len(served.asked) == 5


async def test_no_first_byte_opens_it_at_once_and_one_probe_closes_it(relay: Relay) -> None:
    async with serving(says(hang, hello)) as served:
        with pytest.raises(ChatUnavailable):
            await ask(relay, served.offer(times=IMPATIENT))
        with pytest.raises(ChatUnavailable):
            await ask(relay, served.offer())
        assert len(served.asked) == 1
        await end_rest(relay.leases.breaker, "one")
        found = await asyncio.gather(*(ask(relay, served.offer()) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(one, list) for one in found) == 1 and len(served.asked) == 2
        assert words(await ask(relay, served.offer())) == "Hello world"


async def test_answers_that_break_off_open_it_too(relay: Relay) -> None:
    async with serving(lambda wire: wire.stream(HELLO[1])) as served:
        for _ in range(5):
            with pytest.raises(ChatBroken):
                await ask(relay, served.offer())
        with pytest.raises(ChatUnavailable):
            await ask(relay, served.offer())


async def test_an_open_breaker_sends_everybody_to_the_other(relay: Relay) -> None:
    async with serving(status(500)) as bad, serving(hello) as good:
        for _ in range(9):
            assert words(await ask(relay, both(bad, good))) == "Hello world"
        assert len(bad.asked) == 5 and len(good.asked) == 9


async def test_a_client_that_leaves_stops_the_upstream_at_once(relay: Relay) -> None:
    gone = asyncio.Event()

    async def run(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(HELLO[1])
        assert await wire.gone()
        gone.set()
        raise ConnectionError

    async with serving(run) as served:
        record = CallRecord()
        offer = served.offer()
        heard = asyncio.Event()

        async def listen() -> None:
            async with await relay.open(HI, offer, record) as answer:
                async for _ in answer.deltas():
                    heard.set()

        task = asyncio.create_task(listen())
        await heard.wait()
        task.cancel()
        async with asyncio.timeout(30):  # by nothing else: the client's own bounds are longer
            await gone.wait()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert record.outcome == "client_gone" and record.tokens_out == 2


async def test_a_client_that_leaves_before_the_first_byte(relay: Relay) -> None:
    async with serving(hang) as served:
        record = CallRecord()
        task = asyncio.create_task(ask(relay, served.offer(), record))
        while not served.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert record.outcome == "client_gone" and record.tokens_in == 0


async def test_a_place_is_waited_for_but_not_for_long(relay: Relay) -> None:
    go = asyncio.Event()

    async def run(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(HELLO[1])
        await go.wait()
        await wire.chunk(b"".join(HELLO[2:]))
        await wire.chunk(b"")

    async with serving(run) as served:
        offer = served.offer(concurrency=1)
        first = asyncio.create_task(ask(relay, offer))
        while not served.asked:
            await asyncio.sleep(0.01)
        record = CallRecord()
        with pytest.raises(ChatBusy) as caught:
            await ask(relay, offer, record)
        assert caught.value.retry_after_s and record.outcome == "unavailable"
        relay.leases._queue_s = 60.0
        second = asyncio.create_task(ask(relay, offer))
        await asyncio.sleep(0.02)
        go.set()
        assert words(await first) == words(await second) == "Hello world"
        assert len(served.asked) == 2


async def test_a_model_that_loads_has_longer_until_it_is_warm(relay: Relay) -> None:
    async def slow(wire: Wire) -> None:
        await asyncio.sleep(0.45)
        await wire.stream(*HELLO)

    async with serving(slow) as served:
        offer = served.offer(loading_s=60.0, times=replace(PATIENT, first_byte=0.3))
        assert words(await ask(relay, offer)) == "Hello world"
        with pytest.raises(ChatUnavailable):  # it is loaded now: 0.3 s are its bound
            await ask(relay, offer)


async def test_a_call_that_this_upstream_cannot_be_asked(relay: Relay) -> None:
    call = Message(role="assistant", tool_calls=(ToolCall(id="c", name="a", arguments="["),))
    async with serving(hello) as served:
        with pytest.raises(InvalidRequest):
            await ask(relay, served.offer("ollama"), request=ChatRequest(model="c", messages=(call,), prompt_chars=1))
        assert not served.asked


async def test_hostile_servers_leave_the_relay_well(relay: Relay) -> None:
    """Many at once, of every kind; each client has an answer or an error in a bounded time, and no place is lost."""

    async def drip(wire: Wire) -> None:
        await wire.head()
        while True:
            await wire.chunk(b":")
            await asyncio.sleep(0.05)

    async def flood(wire: Wire) -> None:
        await wire.head()
        while True:
            await wire.chunk(HELLO[1] * 400)

    async def lies(wire: Wire) -> None:
        await wire.head(Content_Length="100000")
        await wire.send(HELLO[1])
        raise ConnectionError

    async with asyncio.timeout(60):
        for script in (hang, reset, drip, flood, lies, status(500), hello):
            async with serving(script) as served:
                offer = served.offer(id=str(script), concurrency=20, times=QUICK)
                found = await asyncio.gather(*(ask(relay, offer) for _ in range(6)), return_exceptions=True)
                assert all(isinstance(one, StudioError | list) for one in found), found


async def test_an_answer_that_our_own_reader_trips_over(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is broken like any other: a part of an answer that just ends would be taken for the whole."""
    feed, heard = StreamReader.feed, asyncio.Event()

    def trip(self: StreamReader, data: bytes) -> list[Delta]:
        if heard.is_set():
            raise KeyError("a case that nobody thought of")
        return feed(self, data)

    async def run(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(HELLO[1])
        await heard.wait()
        await wire.chunk(HELLO[2])

    monkeypatch.setattr(StreamReader, "feed", trip)
    async with serving(run) as served:
        record = CallRecord()
        with pytest.raises(ChatBroken):
            await listen(relay, served.offer(), record, [], heard)
        assert record.outcome == "broken"
        with pytest.raises(ChatUnavailable):  # from its first byte on: there is no answer
            await ask(relay, served.offer())


async def test_a_slow_client_is_not_the_servers_fault(relay: Relay) -> None:
    """Its answer ends in time all the same, but opens no breaker: five such clients would rest a server for all."""
    relay.leases.breaker = Breaker(rules=Rules(failures=1, rest_s=60))
    sent = asyncio.Event()

    async def run(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(HELLO[1])
        await sent.wait()
        await wire.chunk(b"".join(HELLO[2:4]))
        await wire.gone()
        raise ConnectionError

    async def take_slowly(offer: Offer) -> None:
        async with await relay.open(HI, offer) as answer:
            async for _ in answer.batches():
                sent.set()
                await asyncio.sleep(0.6)

    times = Times(first_byte=0.3, idle=5, total=0.5)
    async with serving(run) as served:
        with pytest.raises(ChatBroken):
            await take_slowly(served.offer(times=times))
        assert await relay.leases.breaker.admit("one", probe_s=1)
        sent.clear()
        with pytest.raises(ChatBroken):  # nothing came while we waited: that is the server's
            await ask(relay, served.offer(times=times))
        with pytest.raises(BreakerOpen):
            await relay.leases.breaker.admit("one", probe_s=1)


SAID = "my secret words"


@pytest.mark.parametrize(
    "script",
    [
        lambda wire: wire.stream(b'data: {"choices": [{"delta": {"content": "' + SAID.encode() + b"\n\n"),
        lambda wire: wire.stream(b"data: [" + orjson.dumps(SAID) + b"]\n\n"),
        lambda wire: wire.stream(b'data: {"error": "error parsing tool call: raw=\'' + SAID.encode() + b"'\"}\n\n"),
        lambda wire: wire.send(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + SAID.encode() + b"\r\n\r\n"),
    ],
)
async def test_words_are_in_no_log(relay: Relay, script: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What a model says stands in its answer alone, also where that cannot be read."""
    async with serving(script) as served:
        with pytest.raises(StudioError):
            await ask(relay, served.offer())
    assert "upstream one" in caplog.text and SAID not in caplog.text


async def test_a_credential_is_told_to_nobody(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    said = {"error": {"message": "no such field, you sent Authorization: Bearer sk-5ecret"}}
    async with serving(status(400, said)) as served:
        with pytest.raises(ChatRefused) as caught:
            await ask(relay, served.offer(credential="sk-5ecret"))
        assert "no such field" in caught.value.message and "sk-5ecret" not in caught.value.message + caplog.text


def test_messages_of_servers() -> None:
    assert shown_error("", "theirs", "ours") == "the model's server refuses this request"
    assert len(shown_error("x" * 9999, "theirs", "ours")) < 400
    assert "\n" not in shown_error("a\nb", "theirs", "ours")
    for place in (
        *("10.1.2.3", "10.1.2.3:8000", "[fd00::7]:80", "fd00:ec2::254", "http://gpu7:8000/v1", "tcp://gpu7:80"),
        *("/srv/models/qwen", "C:\\models\\qwen", "~/models/qwen", "gpu7.lan:8000", "localhost:8000"),
    ):
        assert shown_error(f"at {place}, no", "theirs", "ours").endswith("at …, no"), place
    began = time.thread_time()
    for long in ("a.", "a-", "1.", "a", "/a", ":", "f:", "~/"):
        shown_error(long * 30_000, "theirs", "ours")
    assert time.thread_time() - began < 0.2
    for words in (
        "at most 4096/8192 tokens",
        "messages[0].content: 1:2",
        "and/or",
        "12:30:15",
        "1.5.0",
        "qwen3:32",
        "std::vector",
        "line:12",
    ):
        assert shown_error(words, "theirs", "ours").endswith(words)
