"""The books of chat calls: what is reserved and settled, exactly once and never beyond a limit."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connections

from accounts.domain.callers import Caller
from accounts.domain.errands import ClaimedErrand
from accounts.domain.limits import Budget, KeyLimits
from accounts.domain.rebuild import rebuild_counters
from accounts.errors import QuotaExceeded, StudioError
from accounts.ids import uuid7
from accounts.tenancy import in_tenant
from generation.books import offers
from generation.books.calls import FLUSH_SQL
from generation.chat.books import Kept
from generation.chat.deltas import Usage
from generation.chat.filters.rules import Rule, RuleSet, compile_rules
from generation.chat.record import CallRecord
from generation.domain.forget import StillDrawn, delete_pictures
from generation.domain.lostcalls import forget_calls, forget_words, settle_lost_calls
from generation.models import PromptRule
from qwenstudio.door import books as module
from qwenstudio.door.books import TableBooks
from tests.factories import Person
from tests.generation.domain.conftest import as_worker  # noqa: F401  (a fixture)

Sql = psycopg.Connection[tuple[Any, ...]]
Worker = Callable[[], AbstractContextManager[None]]


def limited(caller: Caller, **plan: Any) -> Caller:
    """The caller with another plan."""
    return replace(caller, plan=replace(caller.plan, **{"concurrent_chats": 1000, **plan}))


def play(*scenes: Callable[[TableBooks], Awaitable[None]]) -> None:
    """Each scene with books of its own, as processes have them, at the same time."""

    async def run() -> None:
        all_books = [TableBooks() for _ in scenes]
        for books in all_books:
            await books.open()
        try:
            await asyncio.gather(*(scene(books) for scene, books in zip(scenes, all_books, strict=True)))
        finally:
            for books in all_books:
                await books.close()

    asyncio.run(asyncio.wait_for(run(), 30))
    connections.close_all()


def used(prompt: int, completion: int, outcome: Any = "done") -> CallRecord:
    """A call that has ended."""
    record = CallRecord(prompt_estimate=3, upstream="one", attempts=1, usage=Usage(prompt, completion), finish="stop")
    record.note_first_byte()
    record.end(outcome)
    return record


def failed() -> CallRecord:
    """A call that nobody answered."""
    record = CallRecord(prompt_estimate=3, upstream="one", attempts=2)
    record.end("unavailable")
    return record


async def reserve(books: TableBooks, caller: Caller, tokens: int = 10, **more: Any) -> Any:
    return await books.reserve(caller, **{"model": "chat", "prompt_chars": 5, "tokens": tokens, **more})


def check_books(sql: Sql, caller: Caller) -> None:
    """What must hold at any time: the ledger is what the calls cost, the counters are the ledger's sums."""
    wrong = sql.execute(
        """SELECT c.id, c.outcome, c.tokens, c.tokens_in + c.tokens_out, sum(e.amount), count(*)
             FROM generation_chatcall c LEFT JOIN accounts_ledgerentry e ON e.ref = c.id GROUP BY c.id
           HAVING CASE WHEN c.outcome = 'running' THEN (sum(e.amount), count(*)) <> (c.tokens, 1)
                       ELSE sum(e.amount) <> c.tokens_in + c.tokens_out OR count(*) > 2 END"""
    ).fetchall()
    assert not wrong, wrong
    with in_tenant(caller.tenant):
        assert rebuild_counters(caller.tenant) == 0, "the counters are not what the ledger says"
    connections.close_all()


def counters(sql: Sql) -> dict[tuple[str, str], tuple[int, int]]:
    """(scope, period) -> used and reserved tokens."""
    rows = sql.execute("SELECT scope, period, used, reserved FROM accounts_counter WHERE metric = 'tokens'")
    return {(scope, period): (used, reserved) for scope, period, used, reserved in rows.fetchall()}


def test_a_call_is_reserved_and_settled(alice: Person, admin_sql: Sql) -> None:
    caller = limited(alice.key_caller, tokens_per_day=1000)

    async def scene(books: TableBooks) -> None:
        call = await reserve(books, caller, 520)
        assert (call.tokens, call.fence, call.tenant, call.key) == (520, 1, caller.tenant, caller.key)
        assert (call.left.limit, call.left.left) == (1000, 480) and 0 < call.left.resets_in_s <= 86_400
        row = admin_sql.execute(
            'SELECT tenant_id, "user", key, model, lane, outcome, tokens, prompt_chars, lease_until > now() + '
            "interval '50 seconds' FROM generation_chatcall"
        ).fetchone()
        assert row == (caller.tenant, caller.user, caller.key, "chat", "blue", "running", 520, 5, True)
        assert set(counters(admin_sql).values()) == {(0, 520)} and len(counters(admin_sql)) == 6
        await asyncio.to_thread(check_books, admin_sql, caller)
        await books.settle(call, used(7, 2))
        assert (await books.tokens_left(caller)).left == 991  # type: ignore[union-attr]

    play(scene)
    row = admin_sql.execute(
        "SELECT outcome, finish, upstream, attempts, tokens_in, tokens_out, estimated, first_byte_ms >= 0, "
        "total_ms >= 0, lease_until, prompt, answer FROM generation_chatcall"
    ).fetchone()
    assert row == ("done", "stop", "one", 1, 7, 2, False, True, True, None, None, None)
    assert set(counters(admin_sql).values()) == {(9, 0)}
    entries = admin_sql.execute('SELECT kind, amount, label, "user", key FROM accounts_ledgerentry ORDER BY created_at')
    assert entries.fetchall() == [
        ("reserve", 520, "chat", caller.user, caller.key),
        ("settle", -511, "chat", caller.user, caller.key),
    ]
    check_books(admin_sql, caller)


def test_what_nobody_answered_is_given_back(alice: Person, admin_sql: Sql) -> None:
    async def scene(books: TableBooks) -> None:
        await books.settle(await reserve(books, alice.caller), failed())

    play(scene)
    kinds = admin_sql.execute("SELECT kind, amount, reason FROM accounts_ledgerentry ORDER BY created_at").fetchall()
    assert kinds == [("reserve", 10, ""), ("refund", -10, "unavailable")]
    assert set(counters(admin_sql).values()) == {(0, 0)}
    check_books(admin_sql, alice.caller)


def test_a_call_is_settled_once(alice: Person, admin_sql: Sql) -> None:
    async def scene(books: TableBooks) -> None:
        call = await reserve(books, alice.caller)
        await books.settle(replace(call, fence=2), used(100, 100))  # somebody else's by now
        await asyncio.to_thread(check_books, admin_sql, alice.caller)
        await asyncio.gather(*(books.settle(call, used(3, 4)) for _ in range(5)))
        await books.settle(call, used(30, 40))

    play(scene)
    assert set(counters(admin_sql).values()) == {(7, 0)}
    assert admin_sql.execute("SELECT count(*) FROM accounts_ledgerentry").fetchone() == (2,)
    check_books(admin_sql, alice.caller)


async def outcomes(books: TableBooks, caller: Caller, count: int, tokens: int = 10) -> Counter[str]:
    """So many calls at once: how many were taken, and by what limit the others were refused."""
    found = await asyncio.gather(*(reserve(books, caller, tokens) for _ in range(count)), return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, StudioError):
            raise one
    return Counter(str(one.limit) if isinstance(one, StudioError) else "taken" for one in found)


@pytest.mark.parametrize("whose", ["", "member_", "key_"])
def test_a_hundred_at_once_against_a_limit(whose: str, alice: Person, admin_sql: Sql) -> None:
    """From two processes, in batches and alone: exactly as many as fit."""
    caller = limited(alice.key_caller, tokens_per_day=105 if not whose else None)
    if whose == "member_":
        caller = replace(caller, budget=Budget(tokens_per_day=105))
    if whose == "key_":
        caller = replace(caller, key_limits=KeyLimits(tokens_per_day=105))
    found: Counter[str] = Counter()

    async def scene(books: TableBooks) -> None:
        found.update(await outcomes(books, caller, 50))

    play(scene, scene)
    assert found == {"taken": 10, f"{whose}tokens_per_day": 90}
    assert {value for (_, period), value in counters(admin_sql).items() if period == "day"} == {(0, 100)}
    check_books(admin_sql, caller)


def test_smaller_calls_fit_where_a_large_one_does_not(alice: Person, admin_sql: Sql) -> None:
    caller = limited(alice.caller, tokens_per_day=100)

    async def scene(books: TableBooks) -> None:
        found = await asyncio.gather(
            *(reserve(books, caller, tokens) for tokens in (60, 101, 60, 40)), return_exceptions=True
        )
        assert [isinstance(one, StudioError) for one in found] == [False, True, True, False]
        assert isinstance(found[1], QuotaExceeded) and "does not allow 101 at once; ask for less" in found[1].message
        assert isinstance(found[2], QuotaExceeded) and found[2].message.startswith("the limit of 100 tokens a day")

    play(scene)
    check_books(admin_sql, caller)


@pytest.mark.parametrize("of_key", [False, True])
def test_calls_at_once(of_key: bool, alice: Person, bob: Person, admin_sql: Sql) -> None:
    caller = limited(alice.key_caller, concurrent_chats=1000 if of_key else 7)
    if of_key:
        caller = replace(caller, key_limits=KeyLimits(concurrent_chats=7))
    found: Counter[str] = Counter()

    async def scene(books: TableBooks) -> None:
        found.update(await outcomes(books, caller, 30))

    play(scene, scene)
    assert found == {"taken": 7, "key_concurrent_chats" if of_key else "concurrent_chats": 53}
    check_books(admin_sql, caller)

    async def others(books: TableBooks) -> None:
        """Another key of the tenant's is bound by the tenant's limit alone."""
        other = limited(bob.key_caller, concurrent_chats=1000 if of_key else 7)
        assert await outcomes(books, other, 1) == ({"taken": 1} if of_key else {"concurrent_chats": 1})

    play(others)


def test_a_place_is_free_as_soon_as_its_call_is_over(
    alice: Person, admin_sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLE_EVERY_S", 0.2)
    caller = limited(alice.caller, concurrent_chats=1)

    async def scene(books: TableBooks) -> None:
        settled = []
        for _ in range(5):  # one client, one after the other: none of them waits for the books
            call = await reserve(books, caller)
            with pytest.raises(StudioError, match="max 1 for your organisation"):
                await reserve(books, caller)
            settled.append(asyncio.create_task(books.settle(call, used(1, 1))))
            await asyncio.sleep(0)
        await asyncio.gather(*settled)

    play(scene)
    assert admin_sql.execute("SELECT count(*) FROM generation_chatcall WHERE outcome = 'done'").fetchone() == (5,)
    check_books(admin_sql, caller)


def test_rules_are_compiled_in_a_thread(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant's admin may write rules that take seconds: everybody else's answers go on meanwhile."""
    threads: list[int] = []

    def watched(rules: tuple[Rule, ...]) -> RuleSet | None:
        before = compile_rules.cache_info().misses
        found = compile_rules(rules)
        if compile_rules.cache_info().misses > before:
            threads.append(threading.get_ident())
        return found

    monkeypatch.setattr(offers, "compile_rules", watched)
    with in_tenant(alice.tenant.pk):
        PromptRule.objects.create(tenant=alice.tenant, text=f"word {uuid7()}"[:40])

    async def scene(books: TableBooks) -> None:
        found = await books.rules_of(alice.caller)
        assert found is not None and len(threads) == 1 and threads[0] != threading.get_ident()

    play(scene)


def test_what_is_left_is_not_asked_for_each_refusal(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is refused a thousand times a second must not hold the connections that others reserve over."""
    caller, asked = limited(alice.key_caller, tokens_per_day=1000), 0
    fetch = module.Tables.fetch_scoped

    async def counted(self: Any, sql: str, **parameters: Any) -> Any:
        nonlocal asked
        asked += 1
        return await fetch(self, sql, **parameters)

    monkeypatch.setattr(module.Tables, "fetch_scoped", counted)

    async def scene(books: TableBooks) -> None:
        found = [await books.tokens_left(caller) for _ in range(20)]
        assert {left.left for left in found if left} == {1000} and asked == 1
        narrower = limited(caller, tokens_per_day=10)
        assert (await books.tokens_left(narrower)).limit == 10  # type: ignore[union-attr]

    play(scene)


def test_who_does_not_wait_pays_nothing(alice: Person, admin_sql: Sql) -> None:
    async def scene(books: TableBooks) -> None:
        task = asyncio.create_task(reserve(books, alice.caller))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            while admin_sql.execute("SELECT outcome FROM generation_chatcall").fetchall() != [("client_gone",)]:
                await asyncio.sleep(0.01)

    play(scene)
    check_books(admin_sql, alice.caller)


def test_words_are_kept_as_the_database_takes_them(alice: Person, admin_sql: Sql) -> None:
    async def scene(books: TableBooks) -> None:
        call = await reserve(books, alice.caller)
        await books.settle(call, used(1, 1), Kept(prompt="user: h\x00i", answer="\ud800 好"))

    play(scene)
    assert admin_sql.execute("SELECT prompt, answer FROM generation_chatcall").fetchall() == [("user: hi", "? 好")]


def test_dead_connections_are_replaced(alice: Person, admin_sql: Sql) -> None:
    kill = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE usename = 'studio_web' AND backend_start > %s"""

    async def scene(books: TableBooks) -> None:
        began = admin_sql.execute("SELECT now()").fetchone()
        call = await reserve(books, alice.caller)
        await asyncio.gather(*(books.list_offers(alice.caller) for _ in range(5)))
        admin_sql.execute(kill, began)
        await books.settle(call, used(1, 1))
        admin_sql.execute(kill, began)
        await books.settle(await reserve(books, alice.caller), used(1, 1))

    play(scene)
    assert counters(admin_sql)["tenant", "day"] == (4, 0)
    check_books(admin_sql, alice.caller)


def test_a_call_that_a_crash_has_forgotten_is_written_anew(alice: Person, admin_sql: Sql) -> None:
    """Reserving waits for no disk: a crash of the database may lose what was reserved in its last half second."""

    async def scene(books: TableBooks) -> None:
        call = await reserve(books, alice.key_caller)
        for table in ("generation_chatcall", "accounts_ledgerentry", "accounts_counter"):
            admin_sql.execute(f"DELETE FROM {table}")
        await books.settle(call, used(5, 6))
        await books.settle(call, used(5, 6))

    play(scene)
    found = admin_sql.execute("SELECT outcome, model, tokens, tokens_in, tokens_out FROM generation_chatcall")
    assert found.fetchall() == [("done", "chat", 0, 5, 6)]
    assert set(counters(admin_sql).values()) == {(11, 0)}
    check_books(admin_sql, alice.caller)


def test_what_may_not_be_on_the_disk_is_settled_again(
    alice: Person, admin_sql: Sql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The database commits, and dies before it has said that it is written."""
    monkeypatch.setattr(module, "RETRY_S", 0.5)  # longer than the pause below: it happens between two tries
    monkeypatch.setattr(module, "FLUSH_SQL", "SELECT pg_terminate_backend(pg_backend_pid())")

    async def scene(books: TableBooks) -> None:
        settled = asyncio.create_task(books.settle(await reserve(books, alice.key_caller), used(5, 6)))
        async with asyncio.timeout(10):
            while "may not be on the disk yet" not in caplog.text:
                await asyncio.sleep(0.01)
        assert admin_sql.execute("SELECT outcome FROM generation_chatcall").fetchall() == [("done",)]
        with admin_sql.transaction():  # what it had goes with it
            for table in ("generation_chatcall", "accounts_ledgerentry", "accounts_counter"):
                admin_sql.execute(f"DELETE FROM {table}")
        assert not settled.done()
        monkeypatch.undo()
        await settled
        await books.settle(await reserve(books, alice.key_caller), used(1, 1))

    play(scene)
    assert set(counters(admin_sql).values()) == {(13, 0)}
    check_books(admin_sql, alice.caller)


def test_nobody_holds_a_lock_while_it_waits_for_the_disk(alice: Person, admin_sql: Sql) -> None:
    with psycopg.connect(admin_sql.info.dsn, password=admin_sql.info.password, autocommit=True) as other:
        other.execute("SET synchronous_commit TO on")  # servers for tests have it off
        for function in ("chat_reserve", "chat_settle"):
            with other.transaction():
                other.execute(f"SELECT {function}(%s::jsonb)", [f'{{"tenant": "{alice.tenant.pk}", "calls": []}}'])
                assert other.execute("SHOW synchronous_commit").fetchone() == ("off",)
        mark = other.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        other.execute(FLUSH_SQL)
        assert other.execute("SELECT pg_current_wal_flush_lsn() >= %s", mark).fetchone() == (True,)


def test_long_calls_keep_their_lease(alice: Person, admin_sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.05)

    async def scene(books: TableBooks) -> None:
        call = await reserve(books, alice.caller)
        admin_sql.execute("UPDATE generation_chatcall SET lease_until = now() - interval '1 second'")
        async with asyncio.timeout(10):
            while admin_sql.execute("SELECT lease_until > now() FROM generation_chatcall").fetchone() != (True,):
                await asyncio.sleep(0.01)
        await books.settle(call, used(1, 1))

    play(scene)


def test_calls_of_a_dead_process_are_given_back(
    alice: Person,
    mallory: Person,
    admin_sql: Sql,
    as_worker: Worker,  # noqa: F811
) -> None:
    async def scene(books: TableBooks) -> None:
        calls = [await reserve(books, person.caller) for person in (alice, alice, mallory)]
        assert await asyncio.to_thread(swept) == 0  # their leases hold
        admin_sql.execute("UPDATE generation_chatcall SET lease_until = now() - interval '1 second' WHERE id <> %s",
                          [calls[0].id])  # fmt: skip
        full = limited(alice.caller, concurrent_chats=2)
        third = await reserve(books, full)  # what has lost its lease holds no place
        assert await asyncio.to_thread(swept) == 2
        assert await asyncio.to_thread(swept) == 0
        await asyncio.gather(*(books.settle(call, used(2, 3)) for call in (*calls, third)))

    def swept() -> int:
        try:
            return settle_lost_calls()
        finally:
            connections.close_all()

    with as_worker():
        play(scene)
    found = admin_sql.execute("SELECT outcome, tokens_in FROM generation_chatcall ORDER BY id").fetchall()
    assert found == [("done", 2), ("lost", 0), ("lost", 0), ("done", 2)]
    for person in (alice, mallory):
        check_books(admin_sql, person.caller)


def test_old_calls_and_words_are_forgotten(
    alice: Person,
    bob: Person,
    admin_sql: Sql,
    as_worker: Worker,  # noqa: F811
) -> None:
    async def scene(books: TableBooks) -> None:
        for caller in (alice.caller, bob.caller):
            await books.settle(await reserve(books, caller), used(1, 1), Kept(prompt="a", answer="b"))

    play(scene)
    words = "SELECT count(prompt) + count(answer) FROM generation_chatcall"
    with as_worker():
        assert forget_calls() == 0
        assert admin_sql.execute(words).fetchone() == (4,)
        admin_sql.execute("UPDATE accounts_tenant SET limits = '{\"retention_days\": 2}'")
        admin_sql.execute("UPDATE generation_chatcall SET created_at = now() - interval '3 days' WHERE \"user\" = %s",
                          [alice.user.pk])  # fmt: skip
        assert forget_calls() == 0
        assert admin_sql.execute(words).fetchone() == (2,)
    with in_tenant(alice.tenant.pk):
        assert forget_words(tenant=alice.tenant.pk, users=[bob.user.pk]) == 1
    assert admin_sql.execute(words).fetchone() == (0,)
    old = uuid7().int - (int(timedelta(days=91).total_seconds() * 1000) << 80)
    with as_worker():
        admin_sql.execute('UPDATE generation_chatcall SET id = %s WHERE "user" = %s', [UUID(int=old), bob.user.pk])
        assert forget_calls() == 1
    assert admin_sql.execute('SELECT "user" FROM generation_chatcall').fetchall() == [(alice.user.pk,)]
    assert admin_sql.execute("SELECT count(*) FROM accounts_ledgerentry").fetchone() == (4,)


def test_words_of_a_person_who_leaves_in_mid_call_go_too(alice: Person, admin_sql: Sql) -> None:
    """The errand behind a deleted account comes again until the last call has been settled."""

    def forget() -> None:
        with in_tenant(alice.tenant.pk):
            delete_pictures(
                ClaimedErrand(uuid7(), alice.tenant.pk, "delete_pictures", alice.user.pk, data={}, attempt=1, fence=1)
            )
        connections.close_all()

    async def scene(books: TableBooks) -> None:
        call = await reserve(books, alice.key_caller)
        with pytest.raises(StillDrawn):
            await asyncio.to_thread(forget)
        await books.settle(call, used(1, 1), Kept(prompt="secret", answer="words"))
        await asyncio.to_thread(forget)

    play(scene)
    assert admin_sql.execute("SELECT outcome, prompt, answer FROM generation_chatcall").fetchall() == [
        ("done", None, None)
    ]


def test_usage_shows_chat_beside_pictures(alice: Person) -> None:
    async def scene(books: TableBooks) -> None:
        await books.settle(await reserve(books, alice.key_caller, 500), used(700, 34))
        await reserve(books, alice.key_caller, 66)  # what is under way counts with what is set aside

    play(scene)
    (row,) = alice.client.get("/api/v1/usage?group_by=key,model").json()["results"]
    assert (row["model"], row["tokens"], row["images"]) == ("chat", 800, 0)
    assert row["key"]["id"] == str(alice.key.pk)
    page = alice.client.get("/usage/?metric=tokens&by=model").content.decode()
    assert "800" in page and ">chat<" in page
    assert b"chat,0,0,800" in b"".join(alice.client.get("/usage/csv/").streaming_content)  # type: ignore[arg-type]
