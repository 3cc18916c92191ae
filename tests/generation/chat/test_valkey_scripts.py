"""Scripts in a real Valkey over our own connection, and in servers that are none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis import Redis

from generation.chat.wire.errors import WireError
from generation.chat.wire.valkey import Script, ScriptRefused, Scripts, ValkeyAway, read_reply

COUNT = Script("return {redis.call('INCRBY', KEYS[1], ARGV[1]), 7}")


@pytest.fixture
async def scripts(redis: Redis, redis_url: str) -> AsyncIterator[Scripts]:
    found = Scripts(redis_url, patience_s=5)
    yield found
    found.close()


async def test_a_script_is_loaded_when_it_is_first_run(scripts: Scripts, redis: Redis) -> None:
    redis.script_flush()
    assert await scripts.run(COUNT, ["n"], [3]) == [3, 7]
    assert await scripts.run(COUNT, ["n"], [-1]) == [2, 7]
    assert await scripts.run(Script("return #KEYS + #ARGV"), ["a", "b"], ["ü x\r\n", 5]) == [4]
    assert await scripts.run(Script("return string.len(ARGV[1])"), [], ["ü\r\n"]) == [4]
    redis.script_flush()
    assert await scripts.run(COUNT, ["n"], [1]) == [3, 7]


async def test_many_at_once_get_their_own_answers(scripts: Scripts) -> None:
    echo = Script("return tonumber(ARGV[1])")
    assert await asyncio.gather(*(scripts.run(echo, [], [n]) for n in range(500))) == [[n] for n in range(500)]


async def test_one_who_leaves_disturbs_nobody(scripts: Scripts) -> None:
    echo = Script("return tonumber(ARGV[1])")
    await scripts.run(echo, [], [0])
    tasks = [asyncio.create_task(scripts.run(echo, [], [n])) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[1::2] == [[n] for n in range(1, 20, 2)]
    assert await scripts.run(echo, [], [99]) == [99]


async def test_errors_are_told_and_the_connection_goes_on(scripts: Scripts) -> None:
    with pytest.raises(ScriptRefused):
        await scripts.run(Script("return redis.call('NO-SUCH')"), [], [])
    with pytest.raises(ScriptRefused, match="no numbers"):
        await scripts.run(Script("return redis.status_reply('x')"), [], [])
    assert await scripts.run(COUNT, ["n"], [1]) == [1, 7]


async def test_it_connects_anew(scripts: Scripts, redis: Redis) -> None:
    assert await scripts.run(COUNT, ["n"], [1]) == [1, 7]
    redis.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)
    assert await scripts.run(COUNT, ["n"], [1]) == [2, 7]


async def test_databases_and_passwords(redis: Redis, redis_url: str) -> None:
    other = Scripts(redis_url.replace("/0", "/3"), patience_s=5)
    assert await other.run(COUNT, ["elsewhere"], [1]) == [1, 7]
    other.close()
    assert not redis.exists("elsewhere")
    redis.execute_command("SELECT", 3)
    redis.flushdb()
    redis.execute_command("SELECT", 0)
    wrong = Scripts("redis://:wrong@" + redis_url.partition("@")[2], patience_s=5)
    with pytest.raises(ValkeyAway):
        await wrong.run(COUNT, ["n"], [1])


async def test_nobody_is_there() -> None:
    with pytest.raises(ValkeyAway, match="cannot connect"):
        await Scripts("redis://127.0.0.1:1/0").run(COUNT, ["n"], [1])
    with pytest.raises(ValkeyAway, match="cannot connect"):
        await Scripts("unix:///no/such/socket").run(COUNT, ["n"], [1])


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*9999999\r\n", b":x\r\n"])
async def test_somebody_else_is_there(says: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(says)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    scripts = Scripts(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", patience_s=0.1)
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(ValkeyAway):
            await scripts.run(COUNT, ["n"], [1])
    assert time.monotonic() - began < 1
    server.close()


def test_replies() -> None:
    whole = b"*2\r\n:1\r\n*1\r\n:-2\r\n+OK\r\n-ERR no\r\n"
    assert read_reply(whole, 0) == ([1, [-2]], 17)
    assert read_reply(whole, 17) == ("OK", 22)
    error = read_reply(whole, 22)
    assert error is not None and isinstance(error[0], ScriptRefused)
    for cut in range(17):
        assert read_reply(whole[:cut], 0) is None
    for wrong in (b"$3\r\nabc\r\n", b":\r\n", b"*-1\r\n", b"?\r\n"):
        with pytest.raises(WireError):
            read_reply(wrong, 0)
