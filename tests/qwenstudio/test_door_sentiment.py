"""Moods through the door: who may ask, what is answered, what is counted, and how a request ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from redis import Redis

from accounts.enums import Scope
from accounts.models import ApiKey, Tenant
from accounts.tenancy import across_tenants
from generation.chat.tasks import MOODS
from generation.chat.wire.bounds import Times
from qwenstudio.door.app import Door
from tests.factories import Person, make_key, make_plan
from tests.generation.chat.scripted import IMPATIENT, Served, Wire, hang
from tests.generation.chat.test_moodasking import SCORES, choosing, saying
from tests.openapi import check_door
from tests.qwenstudio.doors import page_headers
from tests.qwenstudio.exchange import PATIENCE_S
from tests.qwenstudio.memorybooks import MemoryBooks
from tests.qwenstudio.test_door_chat import ask as ask_at
from tests.qwenstudio.test_door_chat import asking, play

PATH = "/api/v1/sentiment"
HAPPY = {"text": "今天心情真好"}
ask = partial(ask_at, path=PATH)


@pytest.fixture
def key(alice: Person) -> tuple[ApiKey, str]:
    """A key of Alice's that may ask for moods."""
    return make_key(alice.tenant, alice.user, scopes=[Scope.SENTIMENT.value])


@pytest.fixture
def secret(key: tuple[ApiKey, str]) -> str:
    return key[1]


def test_one_text_and_a_list(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answer = await ask(door, secret, HAPPY)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        used = {"usage": {"input_tokens": 36, "output_tokens": 1}}
        assert answer.json == {"model": "chat", "label": "positive", "scores": SCORES, **used}
        check_door(PATH, answer.json)
        assert answer.headers["ratelimit"].startswith('"chat_requests_per_minute";r=29;')
        assert answer.headers["x-request-id"] and answer.headers["cache-control"] == "no-store"

        answer = await ask(door, secret, {"texts": ["so good", "so bad"], "model": "chat"})
        assert [one["label"] for one in answer.json["results"]] == ["positive"] * 2
        check_door(PATH, answer.json)
        assert answer.headers["ratelimit"].startswith('"chat_requests_per_minute";r=28;'), "a list counts once"
        assert [asked.path for asked in served.asked] == ["/v1/systemone"] * 3
        assert list(served.asked[0].json["questions"]["mood"]["criteria"]) == list(MOODS)
        (_, one), (reservation, many) = books.settled
        assert (one.outcome, one.tokens_in, one.upstream) == ("done", 36, "one")
        assert (many.outcome, many.tokens_in, many.tokens_out, books.used) == ("done", 72, 2, 37 + 74)
        assert reservation.tokens > many.tokens_in + many.tokens_out

    play(scene, choosing())


def test_a_server_that_cannot_choose_is_asked_in_words(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        for _ in range(2):
            answer = await ask(door, secret, HAPPY)
            assert (answer.json["label"], answer.json["scores"]) == ("negative", None)
            check_door(PATH, answer.json)
        paths = [asked.path for asked in served.asked]
        assert paths == ["/v1/systemone", *["/v1/chat/completions"] * 2], "this process remembers who cannot"
        answer = await ask(door, secret, HAPPY)
        assert (answer.status, answer.json["code"]) == (503, "sentiment_unclear")
        assert [record.outcome for _, record in books.settled] == ["done", "done", "broken"]
        assert books.settled[-1][1].tokens_in == 80, "what was asked twice counts twice"

    play(scene, saying("negative", "negative", "a red circle", "a red circle"))


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({}, 400, "invalid_request", 'send either "text" or "texts"'),
        ({"text": "a", "api_base": "http://evil"}, 400, "invalid_request", "unknown field 'api_base'"),
        ({"text": "x" * 4001}, 400, "invalid_request", "text too long, max 4000 chars"),
        ({"texts": ["a"] * 101}, 400, "invalid_request", "texts must be a list of 1 to 100 texts"),
        (b'{"text": "a", "text": "b"}', 400, "malformed_json", "the field 'text' occurs twice"),
        (b"[" * 1000, 400, "malformed_json", "deeper than 32 levels"),
        (b'{"text": "' + b"x" * 1_048_576 + b'"}', 413, "body_too_large", "more than 1048576 bytes"),
        ({"text": "a", "model": "other"}, 400, "model_not_found", "no model named 'other'"),
    ],
)
def test_wrong_bodies_reach_no_upstream(
    secret: str, redis: Redis, body: Any, status: int, code: str, message: str
) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answer = await ask(door, secret, body)
        assert (answer.status, answer.json["code"]) == (status, code), answer.json
        assert answer.headers["content-type"] == "application/problem+json"
        assert message in answer.json["detail"]
        assert not served.asked and not books.settled

    play(scene, choosing())


def test_a_text_that_the_model_cannot_read_is_named(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        most = 200 - len(door.chat.tasks.sentiment.prompt.system)
        books.offer = replace(books.offer, max_prompt_chars=200)
        assert (await ask(door, secret, {"text": "x" * most})).status == 200
        answer = await ask(door, secret, {"texts": ["fits", "x" * (most + 1)]})
        said = [f"texts[1] too long, max {most} chars for chat"]
        assert (answer.status, answer.json["errors"]) == (400, {"texts[1]": said})
        assert len(served.asked) == len(books.settled) == 1

    play(scene, choosing())


def test_who_may_not_ask(alice: Person, secret: str, redis: Redis) -> None:
    _, drawing = make_key(alice.tenant, alice.user, scopes=[Scope.CHAT.value, Scope.IMAGES_READ.value])

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        for who, status, code in ((None, 401, "not_signed_in"), (f"{secret}x", 401, "invalid_api_key")):
            answer = await ask(door, who, HAPPY)
            assert (answer.status, answer.json["code"]) == (status, code), answer.json
        answer = await ask(door, drawing, HAPPY)
        assert answer.status == 403 and "sentiment" in answer.json["detail"]
        answer = await ask(door, secret, HAPPY, method="GET")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert not served.asked and not books.settled

    play(scene, choosing())


def test_limits_of_the_minute_and_the_day(secret: str, alice: Person, redis: Redis) -> None:
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=make_plan(chat_requests_per_minute=2))

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        books.tokens = 60
        assert (await ask(door, secret, HAPPY)).status == 200
        answer = await ask(door, secret, {"texts": ["so good"] * 50})
        assert (answer.status, answer.json["code"]) == (429, "quota_exceeded")
        answer = await ask(door, secret, HAPPY)
        assert (answer.status, answer.json["code"]) == (429, "rate_limited")
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert len(served.asked) == len(books.settled) == 1

    play(scene, choosing())


def test_a_page_of_ours_may_ask_and_nobody_elses(alice: Person, mallory: Person, redis: Redis) -> None:
    ours = page_headers(alice)
    there = {**ours, "X-Studio-Tenant": str(alice.tenant.pk)}

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        for headers in (ours, there):
            answer = await ask(door, None, HAPPY, **headers)
            assert (answer.status, answer.json["label"]) == (200, "positive")
        refused = [
            ({"X-CSRFToken": ""}, "CSRF failed"),
            ({"X-CSRFToken": "x" * 64}, "CSRF failed"),
            ({"Origin": "https://evil.example"}, "CSRF failed"),
            ({"X-Studio-Tenant": str(mallory.tenant.pk)}, "another organisation"),
        ]
        for headers, detail in refused:
            answer = await ask(door, None, HAPPY, **{**ours, **headers})
            assert answer.status in (403, 409) and detail in answer.json["detail"], answer.json
        answer = await ask(door, None, HAPPY)
        assert (answer.status, answer.json["code"]) == (401, "not_signed_in")
        assert len(served.asked) == len(books.settled) == 2

    play(scene, choosing())


def test_a_server_that_does_not_answer(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answer = await ask(door, secret, HAPPY)
        assert (answer.status, answer.json["code"]) == (503, "chat_unavailable")
        assert answer.headers["retry-after"]
        assert [record.outcome for _, record in books.settled] == ["unavailable"]
        assert books.used == 0

    play(scene, hang, times=IMPATIENT)


def test_a_client_that_leaves_stops_the_server(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        gone = asyncio.Event()

        async def wait(wire: Wire) -> None:
            if await wire.gone():
                gone.set()
            raise ConnectionError

        served.script = wait
        leaving = asking(secret, {"texts": ["a", "b"]}, path=PATH)
        task = asyncio.create_task(leaving.run(door))
        await until_asked(served, 2)
        leaving.left.set()
        await asyncio.wait_for(gone.wait(), PATIENCE_S)
        await asyncio.wait_for(task, PATIENCE_S)
        assert [record.outcome for _, record in books.settled] == ["client_gone"]

    play(scene, times=Times(first_byte=30, idle=30))


async def until_asked(served: Served, count: int) -> None:
    """Until so many requests have come."""
    while len(served.asked) < count:
        await asyncio.sleep(0.01)
