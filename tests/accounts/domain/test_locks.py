"""The order of locks (docs/data.md): whoever meets on the same rows waits, and never in a circle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connections, transaction

from accounts.domain.budgets import set_budget
from accounts.domain.callers import caller_of_member
from accounts.domain.deletion import delete_person
from accounts.domain.invitations import accept_invitation, invite_person, renew_invitation
from accounts.domain.keys import end_keys, lock_key
from accounts.domain.members import remove_member
from accounts.domain.rotate import forget_ended_secrets, rotate_key
from accounts.domain.sql import execute
from accounts.domain.tenants import found_tenant
from accounts.enums import Role
from accounts.errors import StudioError
from accounts.models import ApiKey, Invitation, KeyDirectory, KeySecret, MemberBudget, Membership, User
from accounts.tenancy import in_tenant
from tests.factories import Person, make_key, make_member, make_user
from tests.generation.domain.conftest import as_worker  # noqa: F401  (a fixture)
from tests.mails import invitation_token

SQL = psycopg.Connection[tuple[Any, ...]]
_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"


class Meanwhile:
    """Something that is done in a thread while this one holds locks."""

    def __init__(self, sql: SQL, act: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._sql = sql
        self._thread = threading.Thread(target=self._run, args=(act,))

    def until_it_waits(self) -> None:
        """Begin, and come back when it stands before one of our locks."""
        self._thread.start()
        while self._thread.is_alive() and self._sql.execute(_WAITS).fetchone() != (True,):
            self._thread.join(0.02)
        assert self._thread.is_alive(), "it should have met a lock of ours"

    def join(self) -> None:
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()

    def _run(self, act: Callable[[], object]) -> None:
        try:
            act()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()


@contextmanager
def meanwhile(sql: SQL, act: Callable[[], object]) -> Iterator[Meanwhile]:
    """The block holds its locks first; it calls `until_it_waits` and goes on."""
    other = Meanwhile(sql, act)
    yield other
    other.join()
    assert other.error is None, other.error


def in_scope(who: Person, act: Callable[..., object], **values: Any) -> Callable[[], object]:
    """The call in the person's tenant, for a thread of its own."""

    def run() -> object:
        with in_tenant(who.tenant.pk):
            return act(**values)

    return run


def test_a_key_that_ends_and_its_member_who_is_taken_out(alice: Person, bob: Person, admin_sql: SQL) -> None:
    take_out = in_scope(alice, remove_member, by=alice.caller, user_id=bob.user.pk)
    with meanwhile(admin_sql, take_out) as other, in_tenant(alice.tenant.pk), transaction.atomic():
        key = lock_key(by=bob.caller, key_id=bob.key.pk)
        other.until_it_waits()
        end_keys([key])
    assert not Membership.objects.filter(user=bob.user).exists()
    with in_tenant(alice.tenant.pk):
        assert ApiKey.objects.get(pk=bob.key.pk).revoked_at is not None
        assert not KeySecret.objects.filter(key=bob.key).exists()
    assert KeyDirectory.objects.count() == 1, "Alice's own"


def test_a_rotation_beside_the_end_of_a_membership_leaves_no_secret(alice: Person, bob: Person, admin_sql: SQL) -> None:
    take_out = in_scope(alice, remove_member, by=alice.caller, user_id=bob.user.pk)
    with meanwhile(admin_sql, take_out) as other, in_tenant(alice.tenant.pk), transaction.atomic():
        lock_key(by=bob.caller, key_id=bob.key.pk)
        other.until_it_waits()
        rotate_key(by=bob.caller, key_id=bob.key.pk)
    assert KeyDirectory.objects.count() == 1
    with in_tenant(alice.tenant.pk):
        assert not KeySecret.objects.filter(key=bob.key).exists()


def test_the_sweep_does_not_wait_for_keys(alice: Person, admin_sql: SQL, as_worker: Any) -> None:  # noqa: F811
    """It deletes secrets and then their entries, as the end of a key does; what somebody has in hand is theirs."""
    make_key(alice.tenant, alice.user)
    admin_sql.execute("UPDATE accounts_keysecret SET expires_at = now() - interval '1 second'")
    with psycopg.connect(admin_sql.info.dsn, password=admin_sql.info.password) as holder, as_worker():
        execute("SET statement_timeout = 10000")
        holder.execute("SELECT FROM accounts_keysecret WHERE key_id = %s FOR UPDATE", [alice.key.pk])
        assert forget_ended_secrets() == 1
        holder.rollback()
        assert forget_ended_secrets() == 1
    assert not KeyDirectory.objects.exists()


def test_a_budget_that_is_set_while_its_member_goes(alice: Person, bob: Person, admin_sql: SQL) -> None:
    with in_tenant(alice.tenant.pk):
        set_budget(by=alice.caller, user=bob.user.pk, limits={"images_per_day": 1})
    gone = meanwhile(admin_sql, lambda: delete_person(user=bob.user, pictures="hand_over"))
    with gone as other, in_tenant(alice.tenant.pk), transaction.atomic():
        Membership.objects.select_for_update().get(user=bob.user)
        other.until_it_waits()
        set_budget(by=alice.caller, user=bob.user.pk, limits={"images_per_day": 2})
    assert not Membership.objects.filter(user=bob.user).exists()
    with in_tenant(alice.tenant.pk):
        assert not MemberBudget.objects.exists()


@pytest.mark.parametrize("comes_in", ["accepts", "founds"])
def test_who_deletes_their_account_joins_nothing_meanwhile(
    alice: Person, admin_sql: SQL, settings: Any, comes_in: str
) -> None:
    settings.STUDIO_SIGNUP = "open"
    carol = make_user("carol")
    with in_tenant(alice.tenant.pk):
        invite_person(by=alice.caller, email=carol.email, role="owner")
    token = invitation_token(carol.email)
    refused: list[str] = []

    def come_in() -> None:
        try:
            accept_invitation(token=token, user=carol) if comes_in == "accepts" else found_tenant(user=carol, name="C")
        except StudioError as error:
            refused.append(error.code)

    with meanwhile(admin_sql, come_in) as other, transaction.atomic():
        User.objects.select_for_update().get(pk=carol.pk)
        other.until_it_waits()
        delete_person(user=carol, pictures="delete")
    assert refused == ["invitation_for_another" if comes_in == "accepts" else "not_allowed"]
    assert not Membership.objects.filter(user=carol).exists(), "nobody who is gone owns anything"


def test_a_sender_who_is_taken_out_while_they_renew(alice: Person, admin_sql: SQL) -> None:
    """The member's row comes before their invitations, for whoever takes out and for whoever renews."""
    ann = make_user("ann")
    make_member(alice.tenant, Role.ADMIN, user=ann)
    by = caller_of_member(user_id=ann.pk, tenant_id=alice.tenant.pk)
    with in_tenant(alice.tenant.pk):
        made = invite_person(by=by, email="carol@example.com", role="member")
    refused: list[str] = []

    def renew() -> None:
        try:
            with in_tenant(alice.tenant.pk):
                renew_invitation(by=by, invitation_id=made.pk)
        except StudioError as error:
            refused.append(error.code)

    with meanwhile(admin_sql, renew) as other, in_tenant(alice.tenant.pk), transaction.atomic():
        Membership.objects.select_for_update().get(user=ann)
        other.until_it_waits()
        remove_member(by=alice.caller, user_id=ann.pk)
    assert refused in (["invitation_revoked"], ["not_allowed"])
    with in_tenant(alice.tenant.pk):
        assert Invitation.objects.get().revoked_at is not None
