"""OpenAI's images through the door: waiting, streaming, and what ends a wait."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
from django.db import transaction
from django.test import Client
from openai.types import ImagesResponse
from openai.types.image_gen_completed_event import ImageGenCompletedEvent
from openai.types.image_gen_partial_image_event import ImageGenPartialImageEvent
from PIL import Image as Picture
from redis import Redis

from accounts.domain.keys import revoke_key
from accounts.domain.tenants import suspend_tenant
from accounts.tenancy import in_tenant
from generation.domain.resolve import guess_tokens
from generation.models import Generation, Image, Receipt
from qwenstudio.door import hub as hub_module
from qwenstudio.door import imageanswers, pictures
from qwenstudio.door.app import Door
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person
from tests.generation.api.calls import finish, ledger, rows
from tests.qwenstudio.doors import running_door
from tests.qwenstudio.exchange import PATIENCE_S, Exchange, make_scope
from tests.qwenstudio.test_door_streams import NOBODY, cancel, in_thread, leave, new_row, play, start, tell

PATH = "/v1/images/generations"
BODY = {"model": "demo", "prompt": "a white house", "size": "64x64", "seed": 7}
PREVIEW = io.BytesIO()
Picture.new("RGB", (16, 16), (200, 30, 30)).save(PREVIEW, "WEBP")
PREVIEW_URL = "data:image/webp;base64," + base64.b64encode(PREVIEW.getvalue()).decode()


@pytest.fixture(autouse=True)
def _model(db: None) -> None:
    offer_sleeping_model()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest wait takes a second."""
    monkeypatch.setattr(pictures, "MAX_WAIT_S", 1.0)


class Clock:
    """Of waits that end when the test says so, and not before."""

    def __init__(self) -> None:
        self.waiters: list[pictures.Waiter] = []

    def ring(self) -> None:
        """The time of everybody who waits is up."""
        for waiter in self.waiters:
            waiter._until = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The longest wait ends when it rings; a waiter looks at it several times a second."""
    found = Clock()

    class Waiter(pictures.Waiter):
        def __init__(self, *words: Any, **named: Any) -> None:
            super().__init__(*words, **named)
            found.waiters.append(self)

    monkeypatch.setattr(pictures, "Waiter", Waiter)
    monkeypatch.setattr(pictures, "RECHECK_S", 0.1)
    return found


async def listening(door: Door, generation: UUID) -> None:
    """Until somebody waits for it, and has seen where it stands."""
    async with asyncio.timeout(PATIENCE_S):
        while not any(mailbox.seen for mailbox in door.house.hub._of_generation.get(generation, ())):
            await asyncio.sleep(0.01)


async def counted(person: Person, number: int) -> None:
    """Until so many of the person's are stored."""
    async with asyncio.timeout(PATIENCE_S):
        while len(await in_thread(rows, person)) < number:
            await asyncio.sleep(0.02)


def ask(door: Door, person: Person | None, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """A request for pictures: the exchange and its task."""
    credential = {"Authorization": f"Bearer {person.secret}"} if person else {}
    exchange = Exchange(
        make_scope("POST", PATH, headers={"Content-Type": "application/json", **credential, **(headers or {})}),
        body=orjson.dumps({**BODY, **fields}),
    )
    return exchange, asyncio.create_task(exchange.run(door))


async def ended(task: asyncio.Task[Any]) -> None:
    await asyncio.wait_for(task, PATIENCE_S)


def end(person: Person, generation: UUID, media: Path, **tokens: int) -> Image:
    """As a worker ends it, its counted tokens in the receipt."""
    image = finish(person, generation, media)
    with in_tenant(person.tenant.pk):
        receipt = Receipt.objects.get(image=image)
        receipt.body = {**receipt.body, **tokens}
        receipt.save()
    return image


def state(person: Person) -> list[tuple[str, bool]]:
    return [(row.status, row.cancel_is_free) for row in rows(person)]


def blocks(exchange: Exchange) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream."""
    return [(event["event"], event["data"]) for event in exchange.events]


# ---- the answer at the end


@pytest.mark.parametrize("with_bus", [True, False], ids=["bus", "poll"])
def test_the_picture_is_in_the_answer(alice: Person, media: Path, redis: Redis, settings: Any, with_bus: bool) -> None:
    if not with_bus:
        settings.REDIS_URL = NOBODY

    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, user="u-1")
        generation = await new_row(alice)
        await asyncio.sleep(0.2)
        assert not task.done() and not exchange.messages
        image = await in_thread(end, alice, generation, media, prompt_tokens=5)
        if with_bus:
            await in_thread(tell, alice, generation, "succeeded")
        await ended(task)
        assert (exchange.status, exchange.headers["content-type"]) == (200, "application/json")
        assert int(exchange.headers["content-length"]) == len(exchange.received)
        body = exchange.json
        ImagesResponse.model_validate(body, strict=True)
        assert base64.b64decode(body["data"][0]["b64_json"]) == (media / image.file).read_bytes()
        [row] = await in_thread(rows, alice)
        assert body == {
            "created": int(row.finished_at.timestamp()),
            "background": "opaque",
            "data": [{"b64_json": body["data"][0]["b64_json"]}],
            "output_format": "png",
            "size": "64x64",
            "usage": {
                "input_tokens": 5,
                "input_tokens_details": {"image_tokens": 0, "text_tokens": 5},
                "output_tokens": 16,
                "output_tokens_details": {"image_tokens": 16, "text_tokens": 0},
                "total_tokens": 21,
            },
            "safety_identifier": "u-1",
        }
        assert exchange.headers["location"].endswith(str(generation))
        assert exchange.headers["x-request-id"]
        assert exchange.headers["x-ratelimit-limit-requests"]
        assert exchange.headers["cache-control"] == "no-store"
        assert "sandbox" in exchange.headers["content-security-policy"]
        names = [name for name, _ in exchange.messages[0]["headers"]]
        assert len(names) == len(set(names)), "each header once"

    play(scene)


def test_several_large_pictures_come_piece_by_piece(
    alice: Person, media: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are cut, the answer is one JSON of the length that it announces."""
    monkeypatch.setattr("qwenstudio.door.imagebytes.PIECE", 30)

    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, n=3)
        generation = await new_row(alice)
        stored = await in_thread(end_with_three, alice, generation, media)
        await in_thread(tell, alice, generation, "succeeded")
        await ended(task)
        assert int(exchange.headers["content-length"]) == len(exchange.received)
        assert [base64.b64decode(one["b64_json"]) for one in exchange.json["data"]] == stored
        assert exchange.json["usage"]["output_tokens"] == 3 * 16
        assert exchange.json["usage"]["input_tokens"] == guess_tokens("a white house")
        assert len(exchange.messages) > 10

    play(scene)


def end_with_three(person: Person, generation: UUID, media: Path) -> list[bytes]:
    """At once, so that nobody sees a generation that has ended with some of its pictures."""
    with transaction.atomic():
        return multiply(person, end(person, generation, media), media, 3)


def end_without_file(person: Person, generation: UUID, media: Path) -> None:
    """At once, so that nobody reads the picture before it is gone."""
    with transaction.atomic():
        (media / end(person, generation, media).file).unlink()


def multiply(person: Person, first: Image, media: Path, times: int) -> list[bytes]:
    """Further pictures of a generation, each of other bytes; what all of them hold."""
    contents = [(media / first.file).read_bytes()]
    with in_tenant(person.tenant.pk):
        for index in range(1, times):
            file = first.file.replace("-0-1", f"-{index}-1")
            Picture.new("RGB", (64, 64), (index, 0, 0)).save(media / file)
            contents.append((media / file).read_bytes())
            fields = {"thumbnail": first.thumbnail, "format": "png", "sha256": "cd" * 32, "bytes": 1}
            Image.objects.create(
                generation_id=first.generation_id, index=index, file=file, width=64, height=64, seed=7 + index, **fields
            )
    return contents


def test_links_instead_of_bytes(alice: Person, media: Path, redis: Redis) -> None:
    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, response_format="url")
        generation = await new_row(alice)
        image = await in_thread(end, alice, generation, media)
        await in_thread(tell, alice, generation, "succeeded")
        await ended(task)
        [one] = exchange.json["data"]
        ImagesResponse.model_validate(exchange.json, strict=True)
        assert list(one) == ["url"]
        address = httpx.URL(one["url"])
        answer = await in_thread(Client().get, address.raw_path.decode())
        assert (answer.status_code, answer.getvalue()) == (200, (media / image.file).read_bytes())

    play(scene)


def test_refusals_are_djangos_and_wait_for_nothing(alice: Person) -> None:
    cases: list[tuple[Person | None, dict[str, Any], int, str, str | None]] = [
        (None, {}, 401, "not_signed_in", None),
        (alice, {"size": "63x63"}, 400, "invalid_request", "size"),
        (alice, {"model": "nobodys"}, 404, "model_not_found", "model"),
    ]

    async def scene(door: Door) -> None:
        for person, fields, status, code, param in cases:
            exchange, task = ask(door, person, **fields)
            await ended(task)
            assert exchange.status == status
            assert (exchange.json["error"]["code"], exchange.json["error"]["param"]) == (code, param)
        exchange = Exchange(make_scope("GET", PATH, headers={"X-Api-Key": alice.secret}))
        await exchange.run(door)
        assert (exchange.status, exchange.json["error"]["code"]) == (405, "method_not_allowed")
        exchange = Exchange(make_scope("POST", "/v1/images/edits", headers={"X-Api-Key": alice.secret}), body=b"{}")
        await exchange.run(door)
        assert exchange.status == 400  # an empty one
        exchange = Exchange(make_scope("POST", PATH, headers={"X-Api-Key": alice.secret, "Host": "elsewhere.test"}))
        await exchange.run(door)
        assert (exchange.status, exchange.json["error"]["code"]) == (400, "unknown_host")

    play(scene)
    assert rows(alice) == []


def test_failed_picture(alice: Person, redis: Redis) -> None:
    async def scene(door: Door) -> None:
        for code, status, kind in (("engine_error", 500, "server_error"), ("refused", 400, "invalid_request_error")):
            exchange, task = ask(door, alice)
            generation = await new_row(alice)
            await in_thread(fail, alice, generation, code)
            await in_thread(tell, alice, generation, "failed")
            await ended(task)
            assert (exchange.status, exchange.headers["x-should-retry"]) == (status, "false")
            assert exchange.json["error"] == {"message": "why", "type": kind, "param": None, "code": code}
            await in_thread(forget_all, alice)

    play(scene)


def fail(person: Person, generation: UUID, code: str) -> None:
    with in_tenant(person.tenant.pk):
        Generation.objects.filter(pk=generation).update(status="failed", error_code=code, error_message="why")


def forget_all(person: Person) -> None:
    with in_tenant(person.tenant.pk):
        Generation.objects.all().delete()


# ---- what ends a wait


def test_a_wait_in_vain_is_given_up(alice: Person, short: None) -> None:
    """503 that is not to be repeated, everything given back, and the key free for another try."""

    async def scene(door: Door) -> None:
        for number in (1, 2):
            began = time.monotonic()
            exchange, task = ask(door, alice, {"Idempotency-Key": "k"})
            await ended(task)
            assert time.monotonic() - began >= 1
            assert (exchange.status, exchange.headers["x-should-retry"]) == (503, "false")
            error = exchange.json["error"]
            assert (error["code"], error["type"], error["param"]) == ("took_too_long", "server_error", None)
            assert exchange.headers["retry-after"] and exchange.headers["x-ratelimit-limit-requests"]
            assert await in_thread(state, alice) == [("canceled", True)] * number

    play(scene)
    assert ledger(alice) == {"images": 0, "gpu_ms": 0}


def test_what_runs_is_asked_to_end_at_our_cost(alice: Person, clock: Clock) -> None:
    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice)
        generation = await new_row(alice)
        await listening(door, generation)
        await in_thread(start, alice, generation)
        clock.ring()
        await ended(task)
        assert exchange.status == 503

    play(scene)
    [row] = rows(alice)
    assert (row.status, row.cancel_is_free) == ("running", True)
    assert row.cancel_requested_at is not None


def test_done_in_the_last_moment_is_delivered(
    alice: Person, media: Path, clock: Clock, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has heard of its end yet, but the cancelling has."""
    settings.REDIS_URL = NOBODY
    monkeypatch.setattr(hub_module, "POLL_S", 60.0)

    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice)
        generation = await new_row(alice)
        await listening(door, generation)
        await in_thread(end, alice, generation, media)
        clock.ring()
        await ended(task)
        assert exchange.status == 200 and exchange.json["data"]

    play(scene)
    assert state(alice) == [("succeeded", False)]


def test_client_that_leaves_cancels_nothing(alice: Person, clock: Clock) -> None:
    async def scene(door: Door) -> None:
        for number, stream in enumerate((False, True), start=1):
            exchange, task = ask(door, alice, stream=stream)
            await counted(alice, number)
            await listening(door, UUID(str((await in_thread(rows, alice))[number - 1].pk)))
            await leave(exchange, task)
            assert not exchange.messages
        clock.ring()
        await asyncio.sleep(0.5)  # nor does the time that it would have waited

    play(scene)
    assert state(alice) == [("queued", False)] * 2


def test_cancelled_by_somebody(alice: Person, redis: Redis) -> None:
    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice)
        await in_thread(cancel, alice, await new_row(alice))
        await ended(task)
        assert (exchange.status, exchange.headers["x-should-retry"]) == (409, "false")
        assert exchange.json["error"]["code"] == "canceled"

    play(scene)
    assert state(alice) == [("canceled", False)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("how", ["revoked", "suspended"])
def test_caller_who_may_no_longer(alice: Person, how: str, stream: bool) -> None:
    """Within a few seconds; what was accepted goes on, it is the tenant's."""

    def take_away() -> None:
        if how == "revoked":
            with in_tenant(alice.tenant.pk):
                revoke_key(by=alice.caller, key_id=alice.key.pk)
        else:
            suspend_tenant(alice.tenant, reason="unpaid")

    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, stream=stream)
        await new_row(alice)
        await in_thread(take_away)
        await ended(task)
        expected = (401, "invalid_api_key") if how == "revoked" else (403, "tenant_suspended")
        assert (exchange.status, exchange.json["error"]["code"]) == expected

    play(scene)
    assert state(alice) == [("queued", False)]


def test_server_that_stops_lets_clients_try_again(alice: Person) -> None:
    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, {"Idempotency-Key": "k"})
        await listening(door, await new_row(alice))
        door.house.hub.begin_close()
        await ended(task)
        assert (exchange.status, exchange.headers["x-should-retry"]) == (503, "true")
        assert (exchange.json["error"]["code"], exchange.headers["retry-after"]) == ("studio_stops", "1")

    async def again(door: Door) -> None:
        exchange, task = ask(door, alice, {"Idempotency-Key": "k"})
        await counted(alice, 2)
        await leave(exchange, task)

    play(scene)
    play(again)
    assert state(alice) == [("canceled", True), ("queued", False)]


def test_too_many_waiters_are_refused_and_nothing_is_left(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAILBOXES_PER_TENANT", 0)

    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice)
        await ended(task)
        assert (exchange.status, exchange.json["error"]["code"]) == (429, "rate_limit_exceeded")

    play(scene)
    assert state(alice) == [("canceled", True)]


def test_deleted_while_somebody_waits(alice: Person) -> None:
    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice)
        await listening(door, await new_row(alice))
        await in_thread(forget_all, alice)
        await ended(task)
        assert (exchange.status, exchange.json["error"]["code"]) == (404, "not_found")

    play(scene)


@pytest.mark.parametrize("stream", [False, True])
def test_deleted_while_it_is_sent(alice: Person, media: Path, redis: Redis, stream: bool) -> None:
    """The row was read, the file is gone: the answer of one that is not there, and no half of an event."""

    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, stream=stream)
        generation = await new_row(alice)
        await in_thread(end_without_file, alice, generation, media)
        await in_thread(tell, alice, generation, "succeeded")
        await ended(task)
        assert (exchange.status, exchange.json["error"]["code"]) == (404, "not_found")

    play(scene)


def test_the_answer_of_a_repeated_key(alice: Person, media: Path, redis: Redis) -> None:
    """While the first is drawn 409; afterwards its very answer, at once."""

    async def scene(door: Door) -> None:
        key = {"Idempotency-Key": '"order-17"'}
        first, waiting = ask(door, alice, key)
        generation = await new_row(alice)
        second, refused = ask(door, alice, key)
        await ended(refused)
        assert (second.status, second.json["error"]["code"]) == (409, "idempotency_in_progress")
        await in_thread(end, alice, generation, media)
        await in_thread(tell, alice, generation, "succeeded")
        await ended(waiting)
        third, repeated = ask(door, alice, key)
        await ended(repeated)
        assert (third.status, third.headers["idempotency-replayed"]) == (200, "true")
        assert third.json == first.json

    play(scene)
    assert len(rows(alice)) == 1 and ledger(alice)["images"] == 1


def test_many_waiters_hold_no_thread(alice: Person) -> None:
    async def scene(door: Door) -> None:
        waiting = [ask(door, alice) for _ in range(20)]
        async with asyncio.timeout(120):
            while len(await in_thread(rows, alice)) < 20:
                await asyncio.sleep(0.1)
        page = await asyncio.wait_for(Exchange(make_scope("GET", "/healthz")).run(door.house.pages), PATIENCE_S)
        assert page.status == 200
        assert not [task for _, task in waiting if task.done()]
        door.house.hub.begin_close()
        await asyncio.wait_for(asyncio.gather(*(task for _, task in waiting)), PATIENCE_S)
        assert {exchange.status for exchange, _ in waiting} == {503}

    play(scene)


# ---- streams


def test_stream_of_partial_pictures_and_the_finished_one(alice: Person, media: Path, redis: Redis) -> None:
    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, stream=True, partial_images=3, output_format="jpeg", safety_identifier="s-1")
        generation = await new_row(alice)
        await listening(door, generation)
        for step in range(1, 5):
            await in_thread(tell, alice, generation, "preview", data=PREVIEW_URL, index=0)
            await in_thread(tell, alice, generation, "progress", step=step, steps=4)
        await exchange.until(b'"partial_image_index":2')
        assert exchange.status == 200
        assert exchange.headers["content-type"].startswith("text/event-stream")
        assert exchange.headers["x-accel-buffering"] == "no"
        assert exchange.headers["x-ratelimit-limit-requests"]
        image = await in_thread(end, alice, generation, media, prompt_tokens=5)
        await in_thread(tell, alice, generation, "succeeded")
        await ended(task)
        *partials, (name, completed) = blocks(exchange)
        assert [name for name, _ in partials] == ["image_generation.partial_image"] * 3
        for index, (_, event) in enumerate(partials):
            ImageGenPartialImageEvent.model_validate(event, strict=True)
            content = event.pop("b64_json")
            assert Picture.open(io.BytesIO(base64.b64decode(content))).format == "JPEG"
            assert Picture.open(io.BytesIO(base64.b64decode(content))).size == (64, 64)
            assert abs(event.pop("created_at") - time.time()) < 600
            assert event == {
                "type": "image_generation.partial_image", "background": "opaque", "output_format": "jpeg",
                "partial_image_index": index, "quality": "auto", "size": "64x64",
            }  # fmt: skip
        assert name == "image_generation.completed"
        ImageGenCompletedEvent.model_validate(completed, strict=True)
        assert base64.b64decode(completed.pop("b64_json")) == (media / image.file).read_bytes()
        assert abs(completed.pop("created_at") - time.time()) < 600
        assert completed == {
            "type": "image_generation.completed", "background": "opaque", "output_format": "png", "quality": "auto",
            "size": "64x64", "safety_identifier": "s-1",
            "usage": {
                "input_tokens": 5, "input_tokens_details": {"image_tokens": 0, "text_tokens": 5},
                "output_tokens": 16, "total_tokens": 21,
            },
        }  # fmt: skip

    play(scene)


@pytest.mark.parametrize(("partials", "expected"), [(0, 0), (1, 1), (2, 2)])
def test_no_more_partials_than_asked_for(
    alice: Person, media: Path, redis: Redis, partials: int, expected: int
) -> None:
    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, stream=True, partial_images=partials)
        generation = await new_row(alice)
        await listening(door, generation)
        for _ in range(4):
            await in_thread(tell, alice, generation, "preview", data=PREVIEW_URL, index=0)
        await in_thread(tell, alice, generation, "preview", data="data:image/webp;base64,broken", index=0)
        await in_thread(end, alice, generation, media)
        await in_thread(tell, alice, generation, "succeeded")
        await ended(task)
        assert [name.rpartition(".")[2] for name, _ in blocks(exchange)] == ["partial_image"] * expected + ["completed"]

    play(scene)


def test_stream_tells_each_of_several_pictures_when_it_is_there(alice: Person, media: Path, redis: Redis) -> None:
    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, stream=True, n=2)
        generation = await new_row(alice)
        await listening(door, generation)
        first = await in_thread(store_the_first, alice, generation, media)
        await in_thread(tell, alice, generation, "queued")
        await exchange.until(b"image_generation.completed")
        assert not task.done()
        stored = await in_thread(multiply, alice, first, media, 2)
        await in_thread(succeed, alice, generation)
        await in_thread(tell, alice, generation, "succeeded")
        await ended(task)
        assert [base64.b64decode(event["b64_json"]) for _, event in blocks(exchange)] == stored

    play(scene)


def store_the_first(person: Person, generation: UUID, media: Path) -> Image:
    """Of several: the generation waits for its next turn."""
    with transaction.atomic():
        image = finish(person, generation, media)
        with in_tenant(person.tenant.pk):
            Generation.objects.filter(pk=generation).update(status="queued", done=1, finished_at=None)
    return image


def succeed(person: Person, generation: UUID) -> None:
    with in_tenant(person.tenant.pk):
        row = Generation.objects.get(pk=generation)
        Generation.objects.filter(pk=generation).update(status="succeeded", done=2, finished_at=row.created_at)


def test_stream_is_right_without_redis(alice: Person, media: Path, settings: Any) -> None:
    settings.REDIS_URL = NOBODY

    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, stream=True, partial_images=2)
        await in_thread(end, alice, await new_row(alice), media)
        await ended(task)
        assert [name for name, _ in blocks(exchange)] == ["image_generation.completed"]

    play(scene)


def test_a_quiet_stream_is_kept_alive_and_ends_with_an_error(
    alice: Person, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "KEEP_ALIVE_S", 0.2)

    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, stream=True)
        await exchange.until(b": keep-alive")
        await ended(task)
        [(name, event)] = blocks(exchange)
        assert (name, exchange.status) == ("error", 200)
        assert event["type"] == "error"
        assert (event["error"]["code"], event["error"]["type"]) == ("took_too_long", "server_error")

    play(scene)
    assert state(alice) == [("canceled", True)]


def test_a_stream_that_has_not_begun_is_refused_with_a_status(alice: Person, short: None) -> None:
    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, stream=True)
        await ended(task)
        assert (exchange.status, exchange.headers["x-should-retry"]) == (503, "false")

    play(scene)


def test_reader_that_takes_nothing_is_given_up(
    alice: Person, media: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imageanswers, "STALL_S", 0.3)

    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice)
        exchange.stalled = True
        generation = await new_row(alice)
        await in_thread(end, alice, generation, media)
        await in_thread(tell, alice, generation, "succeeded")
        await ended(task)

    play(scene)


def test_foreign_news_reach_nobody(alice: Person, mallory: Person, media: Path, redis: Redis) -> None:
    """An event with the right id and another tenant's name is none."""

    async def scene(door: Door) -> None:
        exchange, task = ask(door, alice, stream=True, partial_images=3)
        generation = await new_row(alice)
        await listening(door, generation)
        for _ in range(3):
            await in_thread(tell, mallory, generation, "preview", data=PREVIEW_URL, index=0)
        await in_thread(tell, mallory, generation, "succeeded")
        await asyncio.sleep(0.5)
        assert not task.done() and not exchange.messages
        await leave(exchange, task)

    play(scene)


# ---- the door itself


def test_what_the_door_takes() -> None:
    async def scene() -> None:
        async with running_door() as door:
            for method, path in (("POST", PATH), ("GET", PATH), ("POST", "/v1/images/edits")):
                assert door.takes(make_scope(method, path))
            for method, path in (("GET", "/v1/models"), ("POST", "/v1/images/variations")):
                assert not door.takes(make_scope(method, path))

    asyncio.run(scene())
