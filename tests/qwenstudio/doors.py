"""A running door for tests: Django's pages behind it, its own pool, the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

from django.conf import settings
from django.middleware.csrf import _unmask_cipher_token, get_token
from django.test import RequestFactory

from accounts.domain.passes import PASS_COOKIE
from generation.chat.books import Books
from generation.chat.wire import valkey
from qwenstudio.door.app import Door
from qwenstudio.door.bridge import Bridge
from qwenstudio.wsgi import application
from tests.factories import Person
from tests.qwenstudio.exchange import PATIENCE_S


def pass_cookie(person: Person) -> str:
    """The cookie header of a person's browser at the door: the pass that a page has given it, no session."""
    person.client.get("/api/v1/me")
    return f"{PASS_COOKIE}={person.client.cookies[PASS_COOKIE].value}"


def page_headers(person: Person) -> dict[str, str]:
    """What a page of ours sends, opened by this person: the pass, and the proof that it is ours."""
    token = get_token(RequestFactory().get("/"))  # as a page shows it, with its mask
    cookie = f"{pass_cookie(person)}; {settings.CSRF_COOKIE_NAME}={_unmask_cipher_token(token)}"
    return {"Cookie": cookie, "Origin": settings.STUDIO_URL, "X-CSRFToken": token}


@asynccontextmanager
async def running_door(*, books: Books | None = None) -> AsyncIterator[Door]:
    """Started and stopped as a server would."""
    with patch.object(valkey, "PATIENCE_S", PATIENCE_S):  # a busy machine may keep Valkey for a second
        door = Door(pages=Bridge(application, threads=4), books=books)
        await door.start()
        try:
            yield door
        finally:
            await door.stop()
