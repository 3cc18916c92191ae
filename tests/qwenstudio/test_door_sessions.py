"""An event stream lives no longer than the session that opened it: it asks again every two seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.domain.sessions import end_other_sessions, end_session, list_sessions
from qwenstudio.door import callers as callers_module
from qwenstudio.door import streams as streams_module
from tests.factories import Person
from tests.qwenstudio.doors import pass_cookie, running_door
from tests.qwenstudio.exchange import PATIENCE_S, Exchange, make_scope

NEW = "another pair of words"
Ending = Callable[[Person], object]


def end_it_elsewhere(person: Person) -> None:
    (row,) = list_sessions(user=person.user.pk, session_key=None)
    end_session(user=person.user.pk, id=row.id)


def end_all_others(person: Person) -> None:
    end_other_sessions(user=person.user.pk, session_key=None)


def sign_out(person: Person) -> None:
    person.client.post("/sign-out/")


def disable(person: Person) -> None:
    person.user.is_active = False
    person.user.save()


def change_password(person: Person) -> None:
    person.user.set_password(NEW)
    person.user.save()


def change_it_behind_our_back(person: Person) -> None:
    """Not by any code of ours that could delete sessions."""
    type(person.user).objects.filter(pk=person.user.pk).update(password="!another")


def lose_the_session_row(person: Person) -> None:
    Session.objects.all().delete()


ENDINGS = [
    end_it_elsewhere,
    end_all_others,
    sign_out,
    disable,
    change_password,
    change_it_behind_our_back,
    lose_the_session_row,
]


@pytest.mark.parametrize("end", ENDINGS)
def test_a_stream_ends_with_its_session(bob: Person, end: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "RECHECK_S", 0.2)
    monkeypatch.setattr(callers_module, "KEPT_S", 0.0)
    cookie = pass_cookie(bob)

    async def scene() -> None:
        async with running_door() as door:
            exchange = Exchange(make_scope("GET", "/api/v1/events", headers={"Cookie": cookie}))
            task = asyncio.create_task(exchange.run(door))
            await exchange.until(b"retry")
            await asyncio.sleep(0.6)
            assert not task.done(), "it lives as long as the session"
            await sync_to_async(end, thread_sensitive=True)(bob)
            await asyncio.wait_for(task, PATIENCE_S)
            again = Exchange(make_scope("GET", "/api/v1/events", headers={"Cookie": cookie}))
            await again.run(door)
            assert (again.status, again.json["code"]) == (401, "not_signed_in")

    asyncio.run(scene())


def test_the_bound_that_the_docs_promise(bob: Person) -> None:
    """Four seconds: two between the questions, two for which an answer is kept."""
    assert streams_module.RECHECK_S + callers_module.KEPT_S == 4.0
    cookie = pass_cookie(bob)

    async def scene() -> None:
        async with running_door() as door:
            exchange = Exchange(make_scope("GET", "/api/v1/events", headers={"Cookie": cookie}))
            task = asyncio.create_task(exchange.run(door))
            await exchange.until(b"retry")
            await sync_to_async(end_all_others, thread_sensitive=True)(bob)
            await asyncio.wait_for(task, PATIENCE_S)  # it measures nothing: a busy machine may take longer

    asyncio.run(scene())


def test_another_session_of_the_same_person_goes_on(bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "RECHECK_S", 0.2)
    monkeypatch.setattr(callers_module, "KEPT_S", 0.0)
    here = pass_cookie(bob)
    other = Client()
    other.force_login(bob.user)
    other.get("/api/v1/me")

    async def scene() -> None:
        async with running_door() as door:
            exchange = Exchange(make_scope("GET", "/api/v1/events", headers={"Cookie": here}))
            task = asyncio.create_task(exchange.run(door))
            await exchange.until(b"retry")
            end = sync_to_async(end_other_sessions, thread_sensitive=True)
            assert await end(user=bob.user.pk, session_key=bob.client.session.session_key) == 1
            await asyncio.sleep(1)
            assert not task.done()
            exchange.left.set()
            await asyncio.wait_for(task, PATIENCE_S)

    asyncio.run(scene())
