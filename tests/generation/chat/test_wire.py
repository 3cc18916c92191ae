"""The client against servers that do what they should not: each ends in a bounded time, with a bounded memory."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import resource
import time
from collections.abc import Awaitable, Callable

import pytest

from generation.chat.wire.addresses import is_allowed, resolve
from generation.chat.wire.body import ByChunks
from generation.chat.wire.bounds import ANSWER_BYTES, Times
from generation.chat.wire.client import Client, read_origin
from generation.chat.wire.errors import (
    AddressRefused,
    BrokenOff,
    CannotConnect,
    Malformed,
    TookTooLong,
    TooLarge,
    WireError,
)
from tests.generation.chat.scripted import QUICK, Served, Wire, hang, reset, serving

Server = Callable[[Wire], Awaitable[None]]


async def ask(client: Client, served: Served, *, times: Times = QUICK, most: int = ANSWER_BYTES) -> bytes:
    """One request, its answer read to the end."""
    origin = read_origin(f"http://127.0.0.1:{served.port}")
    response = await client.send(origin, "POST", "/x", headers=(("A", "b"),), body=b"body", times=times)
    try:
        return await response.read_all(most=most)
    finally:
        response.close()


def raw(*pieces: bytes, pause_s: float = 0) -> Server:
    """Sends these bytes, then ends the connection."""

    async def run(wire: Wire) -> None:
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(pause_s)
        wire.writer.close()
        await wire.writer.wait_closed()
        raise ConnectionError

    return run


OK = b"HTTP/1.1 200 OK\r\n"


async def test_a_request_and_its_answer() -> None:
    async def run(wire: Wire) -> None:
        await wire.stream(b"one ", b"two")

    async with serving(run) as served:
        client = Client()
        assert await ask(client, served) == b"one two"
        (asked,) = served.asked
        assert (asked.method, asked.path, asked.body) == ("POST", "/x", b"body")
        assert asked.headers == {
            "host": f"127.0.0.1:{served.port}",
            "accept-encoding": "identity",
            "content-length": "4",
            "a": "b",
        }
        client.close()


async def test_connections_are_kept() -> None:
    async def run(wire: Wire) -> None:
        await wire.answer(200, {"a": 1})

    async with serving(run) as served:
        client = Client()
        for _ in range(5):
            assert await ask(client, served) == b'{"a": 1}'
        assert (client.opened, served.connections, len(served.asked)) == (1, 1, 5)
        client.close()


async def test_a_connection_that_ended_while_it_rested_is_not_used() -> None:
    async def run(wire: Wire) -> None:
        await wire.answer(200, {})
        wire.writer.close()
        raise ConnectionError

    async with serving(run) as served:
        client = Client()
        for _ in range(3):
            assert await ask(client, served) == b"{}"
            await asyncio.sleep(0.02)  # the end of the connection arrives
        assert len(served.asked) == 3
        client.close()


async def test_a_kept_connection_that_ends_unanswered_is_told_apart() -> None:
    first = True

    async def run(wire: Wire) -> None:
        nonlocal first
        if not first:
            raise ConnectionError
        first = False
        await wire.answer(200, {})

    async with serving(run) as served:
        client = Client()
        await ask(client, served)
        with pytest.raises(BrokenOff) as caught:
            await ask(client, served)
        assert caught.value.stale
        with pytest.raises(BrokenOff) as caught:
            await ask(client, served)
        assert not caught.value.stale  # a fresh one: this is the server's doing
        assert len(served.asked) == 3  # nothing was sent twice


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (hang, TookTooLong),
        (reset, BrokenOff),
        (raw(b"garbage\r\n\r\n"), Malformed),
        (raw(b"HTTP/2 200 OK\r\n\r\n"), Malformed),
        (raw(OK + b"no header\r\n\r\n"), Malformed),
        (raw(OK + b"X: " + b"y" * 40_000), Malformed),
        (raw(OK + b"X: y\r\n" * 200 + b"\r\n"), Malformed),
        (raw(b"HTTP/1.1 103 Early\r\n\r\n" * 10), Malformed),
        (raw(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), Malformed),
        (raw(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), Malformed),
        (raw(OK + b"Content-Length: -5\r\n\r\n"), Malformed),
        (raw(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"), Malformed),
        (raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"), Malformed),
        (raw(OK + b"Content-Length: 100\r\n\r\nhello"), BrokenOff),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), BrokenOff),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n"), Malformed),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), Malformed),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n"), Malformed),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n"), Malformed),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"5;" + b"x" * 999), Malformed),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 9000), Malformed),
    ],
)
async def test_what_is_no_answer(script: Server, error: type[WireError]) -> None:
    async with serving(script) as served:
        client = Client()
        began = time.monotonic()
        with pytest.raises(error):
            await ask(client, served)
        assert time.monotonic() - began < 1
        assert not client._kept.get(read_origin(f"http://127.0.0.1:{served.port}"))


async def test_an_answer_may_be_cut_anywhere() -> None:
    answer = OK + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n"
    async with serving(raw(*(answer[at : at + 1] for at in range(len(answer))))) as served:
        assert await ask(Client(), served) == b"hello!"


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async with serving(raw(b"HTTP/1.0 200 OK\r\n\r\nhello")) as served:
        client = Client()
        assert await ask(client, served) == b"hello"
        assert client.opened == 1


async def test_bytes_after_the_end_spoil_the_connection() -> None:
    async def run(wire: Wire) -> None:
        await wire.send(OK + b"Content-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    async with serving(run) as served:
        client = Client()
        assert await ask(client, served) == b"hi"
        assert await ask(client, served) == b"hi"
        assert client.opened == 2


@pytest.mark.parametrize("after", [b"", OK + b"Transfer-Encoding: chunked\r\n\r\n"])
async def test_the_first_byte_has_a_bound(after: bytes) -> None:
    """A head alone is no first byte: servers send theirs before they begin to think."""

    async def run(wire: Wire) -> None:
        await wire.send(after)
        await wire.gone()

    async with serving(run) as served:
        began = time.monotonic()
        with pytest.raises(TookTooLong, match=r"no first byte within 0\.3 s") as caught:
            await ask(Client(), served)
        assert caught.value.first and 0.25 < time.monotonic() - began < 0.6


async def test_bytes_that_come_singly_have_a_bound_together() -> None:
    async def run(wire: Wire) -> None:
        await wire.head()
        while not wire.writer.is_closing():
            await wire.chunk(b"x")
            await asyncio.sleep(0.05)

    async with serving(run) as served:
        began = time.monotonic()
        with pytest.raises(TookTooLong, match="no end within 1 s") as caught:
            await ask(Client(), served)
        assert not caught.value.first and 0.9 < time.monotonic() - began < 1.5


async def test_a_server_that_falls_silent_has_a_bound() -> None:
    async def run(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"x")
        await wire.gone()

    async with serving(run) as served:
        began = time.monotonic()
        with pytest.raises(TookTooLong, match=r"no further byte within 0\.3 s"):
            await ask(Client(), served)
        assert 0.25 < time.monotonic() - began < 0.6


async def test_a_slow_client_is_not_the_servers_fault() -> None:
    async def run(wire: Wire) -> None:
        await wire.stream(b"one", b"two")

    async with serving(run) as served:
        origin = read_origin(f"http://127.0.0.1:{served.port}")
        response = await Client().send(origin, "GET", "/", times=Times(first_byte=0.3, idle=0.1, total=5))
        found = await response.read()
        await asyncio.sleep(0.25)
        while data := await response.read():
            found += data
        assert found == b"onetwo"


async def test_a_hundred_megabytes_are_not_taken() -> None:
    sent = 0

    async def run(wire: Wire) -> None:
        nonlocal sent
        await wire.head(Content_Length=str(100 * 2**20))
        for _ in range(1600):
            await wire.send(b"x" * 65_536)
            sent += 65_536

    async with serving(run) as served:
        gc.collect()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(TooLarge):
            await ask(Client(), served)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert sent < 20 * 2**20 and grown < 60_000, (sent, grown)  # kilobytes


async def test_a_client_that_does_not_read_stops_the_server() -> None:
    sent = 0

    async def run(wire: Wire) -> None:
        nonlocal sent
        await wire.head()
        while True:
            await wire.chunk(b"x" * 65_536)
            sent += 65_536

    async with serving(run) as served:
        origin = read_origin(f"http://127.0.0.1:{served.port}")
        response = await Client().send(origin, "GET", "/", times=QUICK)
        stood = -1
        while stood != sent:
            stood = sent
            await asyncio.sleep(0.1)
        assert sent < 16 * 2**20  # what two kernels' buffers hold, and ours
        response.close()


@pytest.mark.parametrize("after_head", [False, True])
async def test_cancelling_closes_the_connection_at_once(after_head: bool) -> None:
    closed: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def run(wire: Wire) -> None:
        if after_head:
            await wire.head()
            await wire.chunk(b"x")
        assert await wire.gone()
        closed.set_result(time.monotonic())
        raise ConnectionError

    async with serving(run) as served:
        task = asyncio.create_task(ask(Client(), served, times=Times(first_byte=5, idle=5)))
        while not served.asked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        left = time.monotonic()
        task.cancel()
        assert await closed - left < 0.2
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_nobody_listens() -> None:
    async with serving(hang) as served:
        port = served.port
    with pytest.raises(CannotConnect):
        await Client().send(read_origin(f"http://127.0.0.1:{port}"), "GET", "/", times=QUICK)
    with pytest.raises(CannotConnect, match="cannot resolve"):
        await Client().send(read_origin("http://no-such-host.invalid"), "GET", "/", times=QUICK)


async def test_redirects_are_not_followed() -> None:
    async def run(wire: Wire) -> None:
        await wire.answer(302, {}, Location="http://169.254.169.254/latest/meta-data/")

    async with serving(run) as served:
        response = await Client().send(read_origin(f"http://127.0.0.1:{served.port}"), "GET", "/", times=QUICK)
        assert response.head.status == 302
        response.close()


async def test_a_header_cannot_hold_another() -> None:
    async with serving(hang) as served:
        with pytest.raises(ValueError, match="line break"):
            await Client().send(
                read_origin(f"http://127.0.0.1:{served.port}"), "GET", "/", headers=(("A", "b\r\nC: d"),), times=QUICK
            )


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True),
        ("10.0.0.5", True),
        ("192.168.1.1", True),
        ("::1", True),
        ("8.8.8.8", True),
        ("169.254.169.254", False),
        ("169.254.1.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("fd00:ec2::23", False),
        ("fd20:ce::254", False),
        ("fd00:42::42", False),
        ("168.63.129.16", False),
        ("64:ff9b:1::a9fe:a9fe", False),
        ("::169.254.169.254", False),
        ("fd12::1", True),
        ("100.100.100.200", False),
        ("192.0.0.192", False),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_addresses(address: str, allowed: bool) -> None:
    assert is_allowed(ipaddress.ip_address(address)) is allowed


def test_link_local_addresses_where_staff_say_so_but_never_metadata() -> None:
    assert is_allowed(ipaddress.ip_address("169.254.7.7"), link_local=True)
    for address in (
        *("169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "169.254.42.42"),
        *("fe80::a9fe:a9fe", "fe80::a9fe:a9fe%eth0", "::ffff:169.254.170.2"),
    ):
        assert not is_allowed(ipaddress.ip_address(address), link_local=True), address


async def test_a_metadata_service_is_not_asked() -> None:
    with pytest.raises(AddressRefused):
        await Client().send(read_origin("http://169.254.169.254"), "GET", "/latest/meta-data/", times=QUICK)
    assert await resolve("localhost", 80)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "http://",
        "host:80",
        "http://user:pw@host",
        "http://host?x=1",
        "http://host#x",
        "http://host:99999",
        "http://host:0",
        "http://ho st",
        "http://host\r\nX: y",
        "http://höst",
    ],
)
def test_what_is_no_base_url(url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        read_origin(url)


def test_origins() -> None:
    assert read_origin("https://gpu.lan/base/").host_header == "gpu.lan"
    assert read_origin("http://[::1]:8080").host_header == "[::1]:8080"
    assert (read_origin("https://gpu.lan/base/").prefix, read_origin("https://gpu.lan").port) == ("/base", 443)


def test_chunks_in_every_cut() -> None:
    data = b"4\r\nWiki\r\n6;x\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n\r\nrest"
    for cut in range(len(data)):
        body = ByChunks()
        found = body.feed(data[:cut]) + (b"" if body.done else body.feed(data[cut:]))
        assert found == b"Wikipedia in \r\n\r\nchunks.", cut
        assert body.done


@pytest.mark.parametrize("field", ["connect", "first_byte", "idle", "total"])
def test_times_have_bounds(field: str) -> None:
    for wrong in (0, -1, 100_000):
        with pytest.raises(ValueError, match=field):
            Times(**{field: wrong})
