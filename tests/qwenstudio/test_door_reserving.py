"""Calls of many tenants in one statement: each tenant's troubles stay its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from accounts.domain.callers import Caller
from accounts.errors import StudioError
from accounts.ids import uuid7
from generation.books.calls import OpenCall, Wish
from qwenstudio.door import reserving as module
from qwenstudio.door.books import TableBooks
from qwenstudio.door.booktables import Tables
from qwenstudio.door.reserving import Reserving
from tests.factories import Person
from tests.qwenstudio.test_door_books import check_books, limited, play, reserve, used

Sql = psycopg.Connection[tuple[Any, ...]]
Statement = Mapping[str, Any]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[UUID, int]]]:
    """The tenants of each reserving statement, and how many calls of each went with it."""
    found: list[list[tuple[UUID, int]]] = []
    call = Tables.call

    async def watched(self: Tables, sql: str, ask: Callable[[], Statement]) -> Any:
        if sql != module.RESERVE_SQL:
            return await call(self, sql, ask)

        def told() -> Statement:
            asked = ask()
            found.append([(one["tenant"], len(one["calls"])) for one in asked["tenants"]])
            return asked

        return await call(self, sql, told)

    monkeypatch.setattr(Tables, "call", watched)
    return found


def test_many_tenants_go_together(
    alice: Person, mallory: Person, admin_sql: Sql, statements: list[list[tuple[UUID, int]]]
) -> None:
    async def scene(books: TableBooks) -> None:
        first = asyncio.create_task(reserve(books, alice.caller))
        await asyncio.sleep(0)  # it goes alone: an idle studio waits for nobody
        rest = [reserve(books, person.caller, tokens) for person in (mallory, alice) for tokens in (10, 20, 30)]
        calls = await asyncio.gather(first, *rest)
        assert [(call.tenant, call.tokens) for call in calls] == [
            (alice.tenant.pk, 10),
            *((person.tenant.pk, tokens) for person in (mallory, alice) for tokens in (10, 20, 30)),
        ]
        await asyncio.gather(*(books.settle(call, used(1, 1)) for call in calls))

    play(scene)
    assert statements == [[(alice.tenant.pk, 1)], [(mallory.tenant.pk, 3), (alice.tenant.pk, 3)]]
    for person, count in ((alice, 4), (mallory, 3)):
        rows = admin_sql.execute("SELECT count(*) FROM generation_chatcall WHERE tenant_id = %s", [person.tenant.pk])
        assert rows.fetchone() == (count,)
        check_books(admin_sql, person.caller)


def test_each_is_refused_for_itself(alice: Person, mallory: Person, admin_sql: Sql) -> None:
    poor, rich = limited(alice.caller, tokens_per_day=25), limited(mallory.caller, tokens_per_day=1000)

    async def scene(books: TableBooks) -> None:
        await reserve(books, rich)
        found = await asyncio.gather(
            *(reserve(books, caller) for caller in (poor, rich, poor, rich, poor)), return_exceptions=True
        )
        assert [isinstance(one, StudioError) for one in found] == [False, False, False, False, True]
        assert [one.left.left for one in found if isinstance(one, OpenCall) and one.left] == [5, 970, 5, 970]

    play(scene)
    for caller in (poor, rich):
        check_books(admin_sql, caller)


def held(sql: Sql, caller: Caller) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection whose transaction holds a tenant's counters."""
    other = psycopg.connect(sql.info.dsn, password=sql.info.password)
    other.execute("SELECT FROM accounts_counter WHERE tenant_id = %s FOR UPDATE", [caller.tenant])
    return other


def test_nobody_waits_for_what_is_held_of_somebody_else(alice: Person, mallory: Person, admin_sql: Sql) -> None:
    async def scene(books: TableBooks) -> None:
        await books.settle(await reserve(books, alice.caller), used(1, 1))  # there are counters to be held
        with held(admin_sql, alice.caller) as other:
            waits = asyncio.create_task(reserve(books, alice.caller))
            for _ in range(5):  # each would wait for as long as it is held
                async with asyncio.timeout(5):
                    await books.settle(await reserve(books, mallory.caller), used(1, 1))
            assert not waits.done()
            other.rollback()
            async with asyncio.timeout(5):
                await books.settle(await waits, used(1, 1))

    play(scene)
    for person in (alice, mallory):
        check_books(admin_sql, person.caller)


def test_patience_ends(alice: Person, admin_sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)

    async def scene(books: TableBooks) -> None:
        await books.settle(await reserve(books, alice.caller), used(1, 1))
        with held(admin_sql, alice.caller) as other:
            began = time.monotonic()
            found = await asyncio.gather(*(reserve(books, alice.caller) for _ in range(3)), return_exceptions=True)
            assert all(isinstance(one, errors.LockNotAvailable) for one in found), found
            assert time.monotonic() - began >= 0.2
            other.rollback()
        await books.settle(await reserve(books, alice.caller), used(1, 1))

    play(scene)
    check_books(admin_sql, alice.caller)


def test_a_tenant_that_is_gone_fails_alone(alice: Person, mallory: Person, admin_sql: Sql) -> None:
    """The door remembers a caller for some seconds: its organisation may have been deleted meanwhile."""
    gone = limited(alice.caller)
    object.__setattr__(gone, "tenant", uuid7())

    async def scene(books: TableBooks) -> None:
        await reserve(books, mallory.caller)
        found = await asyncio.gather(
            *(reserve(books, caller) for caller in (mallory.caller, gone, alice.caller)), return_exceptions=True
        )
        assert isinstance(found[1], errors.ForeignKeyViolation), found
        for call in (found[0], found[2]):
            assert isinstance(call, OpenCall)
            await books.settle(call, used(1, 1))

    play(scene)
    for person in (alice, mallory):
        check_books(admin_sql, person.caller)


class Scripted:
    """A database that answers each call; `sent` are the calls of each tenant, statement by statement."""

    def __init__(self) -> None:
        self.sent: list[dict[UUID, int]] = []
        self.fails: BaseException | None = None

    async def call(self, sql: str, ask: Callable[[], Statement]) -> list[dict[str, Any]]:
        asked = ask()["tenants"]
        self.sent.append({one["tenant"]: len(one["calls"]) for one in asked})
        await asyncio.sleep(0)
        if self.fails is not None:
            failed, self.fails = self.fails, None
            raise failed
        row = {"code": None, "why": None, "refused": None, "today": None, "resets_in_s": 1}
        sums = {"tenant_sum": None, "member_sum": None, "key_sum": None}
        return [{**row, **sums, "tenant": one["tenant"]} for one in asked for _ in one["calls"]]


def asking(caller: Caller, tenants: Sequence[UUID]) -> list[Wish]:
    wishes = []
    for tenant in tenants:
        own = limited(caller)
        object.__setattr__(own, "tenant", tenant)
        wishes.append(Wish(caller=own, model="chat", prompt_chars=1, tokens=1))
    return wishes


def test_a_crowd_does_not_push_others_out(alice: Person) -> None:
    """A thousand calls of one tenant and one each of thirty others: nobody waits for more than a few statements."""
    crowd, others = uuid7(), [uuid7() for _ in range(30)]

    async def run() -> None:
        tables = Scripted()
        reserving = Reserving(tables, ended_of=lambda tenant: (), note=lambda call: None)
        answers = [reserving.ask(wish) for wish in asking(alice.caller, [crowd] * 1000 + others)]
        await asyncio.gather(*answers)
        place = {tenant: number for number, sent in enumerate(tables.sent) for tenant in sent if tenant != crowd}
        assert place.keys() == set(others) and max(place.values()) <= 2
        assert all(len(sent) <= module.TENANTS and sum(sent.values()) <= module.CALLS for sent in tables.sent)
        assert sum(sent.get(crowd, 0) for sent in tables.sent) == 1000
        assert sum(sum(sent.values()) for sent in tables.sent) == 1030

    asyncio.run(asyncio.wait_for(run(), 30))


def test_after_a_failure_the_next_go_on(alice: Person) -> None:
    async def run() -> None:
        tables = Scripted()
        tables.fails = psycopg.OperationalError("gone")
        reserving = Reserving(tables, ended_of=lambda tenant: (), note=lambda call: None)
        first = [reserving.ask(wish) for wish in asking(alice.caller, [uuid7()] * 3)]
        await asyncio.sleep(0)
        second = [reserving.ask(wish) for wish in asking(alice.caller, [uuid7()] * 3)]
        found = await asyncio.gather(*first, *second, return_exceptions=True)
        assert [type(one) for one in found] == [psycopg.OperationalError] * 3 + [OpenCall] * 3

    asyncio.run(asyncio.wait_for(run(), 30))
