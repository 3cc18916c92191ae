"""Conversations in tests: a chat model whose upstream is a scripted one, and the streams of its answers."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async

from accounts.domain.callers import Caller
from accounts.tenancy import in_tenant
from generation.books.turns import Turn, begin_with, say, stop_answer
from generation.models import ChatModel, Message, Upstream
from qwenstudio.door.app import Door
from tests.generation.chat.scripted import DONE, USAGE, Script, Wire, event
from tests.qwenstudio.exchange import Exchange, make_scope


def offer_chat(port: int, *, slug: str = "talker", **fields: Any) -> ChatModel:
    """A chat model that a server on loopback answers for."""
    upstream, _ = Upstream.objects.update_or_create(
        slug=f"at-{port}", defaults={"kind": "openai", "base_url": f"http://127.0.0.1:{port}", "first_byte_s": 20}
    )
    model: ChatModel = ChatModel.objects.create(slug=slug, title=slug.title(), **fields)
    model.targets.create(upstream=upstream, name="theirs")
    return model


def begin(caller: Caller, text: str, **more: Any) -> Turn:
    """A conversation with its first turn."""
    with in_tenant(caller.tenant):
        return begin_with(by=caller, text=text, **more)


def add(caller: Caller, conversation: UUID, text: str) -> Turn:
    """A further turn."""
    with in_tenant(caller.tenant):
        return say(by=caller, conversation_id=conversation, text=text)


def stop(caller: Caller, conversation: UUID) -> None:
    """The wish that its answer ends."""
    with in_tenant(caller.tenant):
        stop_answer(by=caller, conversation_id=conversation)


def message(caller: Caller, id: UUID) -> Message:
    """A message as its row is now."""
    with in_tenant(caller.tenant):
        return Message.objects.get(pk=id)


async def in_thread(work: Any, *arguments: Any, **named: Any) -> Any:
    """Django's side, from a test of the door."""
    return await sync_to_async(work, thread_sensitive=True)(*arguments, **named)


def watching(cookie: str, conversation: UUID, *, after: str = "") -> Exchange:
    """A page that opens the events of a conversation."""
    headers = {"Cookie": cookie, **({"Last-Event-ID": after} if after else {})}
    return Exchange(make_scope("GET", f"/api/v1/conversations/{conversation}/events", headers=headers))


async def watch(door: Door, cookie: str, conversation: UUID, *, after: str = "") -> Exchange:
    """To the end of the stream."""
    return await asyncio.wait_for(watching(cookie, conversation, after=after).run(door), 30)


def text_of(events: list[dict[str, Any]]) -> str:
    """What a page shows that has followed these events."""
    text = ""
    for one in events:
        text = text + one["data"]["text"] if one["event"] == "piece" else one["data"]["text"]
    return text


def in_steps(*words: str, gates: dict[int, asyncio.Event] | None = None) -> Script:
    """An upstream that says these pieces; before some of them it waits until a test opens the gate."""

    async def run(wire: Wire) -> None:
        await wire.head()
        for place, word in enumerate(words):
            if gates and place in gates:
                gone = asyncio.ensure_future(wire.gone(30))
                opened = asyncio.ensure_future(gates[place].wait())
                await asyncio.wait((gone, opened), return_when=asyncio.FIRST_COMPLETED)
                opened.cancel()
                if gone.done():
                    raise ConnectionError
                gone.cancel()
            await wire.chunk(event({"content": word}))
        for last in (event({}, "stop"), event(None, usage=USAGE), DONE):
            await wire.chunk(last)
        await wire.chunk(b"")

    return run
