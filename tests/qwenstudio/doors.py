"""A running door for tests: Django's pages behind it, its own pool, the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from accounts.domain.passes import PASS_COOKIE
from generation.chat.books import Books
from qwenstudio.door.app import Door
from qwenstudio.door.bridge import Bridge
from qwenstudio.wsgi import application
from tests.factories import Person


def pass_cookie(person: Person) -> str:
    """The cookie header of a person's browser at the door: the pass that a page has given it, no session."""
    person.client.get("/api/v1/me")
    return f"{PASS_COOKIE}={person.client.cookies[PASS_COOKIE].value}"


@asynccontextmanager
async def running_door(*, books: Books | None = None) -> AsyncIterator[Door]:
    """Started and stopped as a server would."""
    door = Door(pages=Bridge(application, threads=4), books=books)
    await door.start()
    try:
        yield door
    finally:
        await door.stop()
