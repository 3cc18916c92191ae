"""Conversations that outlive somebody: answers that nobody writes, plans' days, members who are gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import pytest

from accounts.domain.deletion import Pictures, delete_person
from accounts.models import Membership
from accounts.tenancy import across_tenants, in_tenant
from generation.books.presets import make_preset
from generation.domain import lostanswers as module
from generation.domain.lostanswers import end_lost_answers, forget_conversations, forget_words_of
from generation.models import ChatModel
from tests.factories import Person
from tests.qwenstudio.talking import begin

SQL = psycopg.Connection[tuple[Any, ...]]
Worker = Callable[[], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _model(db: object) -> None:
    ChatModel.objects.create(slug="talker", title="Talker")


def titles(sql: SQL) -> list[str]:
    return [title for (title,) in sql.execute("SELECT title FROM generation_conversation ORDER BY title").fetchall()]


def test_answers_that_nobody_writes_end(alice: Person, mallory: Person, admin_sql: SQL, as_worker: Worker) -> None:
    whose = {"fresh": alice, "died": alice, "wished": mallory, "never": mallory, "alive": alice}
    turns = {name: begin(person.caller, name) for name, person in whose.items()}
    running = "UPDATE generation_message SET status = 'running', fence = 1, text = %s, stop = %s, lease_until = now() "
    for name, text, wish, lease in (
        ("died", "Half", False, "- interval '2 minutes'"),
        ("wished", "", True, "- interval '2 minutes'"),
        ("alive", "Half", False, "+ interval '5 seconds'"),
    ):
        admin_sql.execute(running + lease + " WHERE id = %s", (text, wish, turns[name].answer.pk))
    admin_sql.execute(
        "UPDATE generation_message SET created_at = now() - interval '5 minutes' WHERE id = %s",
        (turns["never"].answer.pk,),
    )
    with as_worker():
        assert (end_lost_answers(), end_lost_answers()) == (3, 0)
    found = {
        name: admin_sql.execute(
            "SELECT status, text, code, fence FROM generation_message WHERE id = %s", (turn.answer.pk,)
        ).fetchone()
        for name, turn in turns.items()
    }
    assert found == {
        "fresh": ("waiting", "", "", 0),
        "died": ("broken", "Half", "answer_lost", 2),
        "wished": ("stopped", "", "", 2),
        "never": ("broken", "", "answer_lost", 1),
        "alive": ("running", "Half", "", 1),
    }


def test_kept_as_long_as_the_plan_says(alice: Person, admin_sql: SQL, as_worker: Worker) -> None:
    for name in ("old", "new"):
        begin(alice.caller, name)
    admin_sql.execute("UPDATE generation_conversation SET updated_at = now() - interval '3 days' WHERE title = 'old'")
    with as_worker():
        assert forget_conversations() == 0
        admin_sql.execute("UPDATE accounts_tenant SET limits = '{\"retention_days\": 2}'")
        assert forget_conversations() == 1
    assert titles(admin_sql) == ["new"]
    assert admin_sql.execute("SELECT count(*) FROM generation_message").fetchone() == (2,)


def test_of_members_who_are_gone(
    alice: Person, bob: Person, admin_sql: SQL, as_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month after they have left: they may come back until then. Some at a time, to the last."""
    monkeypatch.setattr(module, "TOGETHER", 2)
    for person in (alice, bob):
        for number in range(3):
            begin(person.caller, f"{person.user.name} {number}")
        with in_tenant(person.tenant.pk):
            make_preset(by=person.caller, name="Mine", text="x")
    Membership.objects.filter(user=bob.user).delete()
    with as_worker():
        assert forget_conversations() == 0
        for table in ("generation_conversation", "generation_chatpreset"):
            admin_sql.execute(f"UPDATE {table} SET updated_at = now() - interval '31 days'")  # type: ignore[arg-type]
        admin_sql.execute("UPDATE accounts_tenant SET limits = '{\"retention_days\": 400}'")
        assert forget_conversations() == 3
    assert titles(admin_sql) == ["alice 0", "alice 1", "alice 2"]
    assert admin_sql.execute('SELECT "user" FROM generation_chatpreset').fetchall() == [(alice.user.pk,)]


@pytest.mark.parametrize("how", ["themselves", "staff"])
def test_of_an_account_that_is_deleted(how: str, alice: Person, bob: Person, admin_sql: SQL, as_worker: Worker) -> None:
    """Whatever becomes of the pictures: words are nobody's to take over."""
    for person in (alice, bob):
        begin(person.caller, person.user.name)
        with in_tenant(person.tenant.pk):
            make_preset(by=person.caller, name="Mine", text="x")
    if how == "themselves":
        delete_person(user=bob.user, pictures=Pictures.HAND_OVER)
    else:
        with across_tenants():
            bob.user.delete()
    with as_worker():
        assert forget_conversations() == 1
    assert titles(admin_sql) == ["alice"]
    assert admin_sql.execute('SELECT "user" FROM generation_chatpreset').fetchall() == [(alice.user.pk,)]


def test_with_the_pictures_of_the_account(alice: Person, bob: Person, mallory: Person, admin_sql: SQL) -> None:
    for person in (alice, bob, mallory):
        begin(person.caller, person.user.name)
        with in_tenant(person.tenant.pk):
            make_preset(by=person.caller, name="Mine", text="x")
    with in_tenant(alice.tenant.pk):
        assert forget_words_of(tenant=alice.tenant.pk, users=[bob.user.pk, mallory.user.pk]) == 1
    assert titles(admin_sql) == ["alice", "mallory"]
    assert admin_sql.execute("SELECT count(*) FROM generation_chatpreset").fetchone() == (2,)
    assert admin_sql.execute(
        'SELECT count(*) FROM generation_message WHERE "user" = %s', (bob.user.pk,)
    ).fetchone() == (0,)
