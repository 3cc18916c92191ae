"""API keys: their look, who may make them, and that every bad one gets the same answer."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.domain import keys
from accounts.domain.callers import caller_of_key, caller_of_member
from accounts.domain.keys import key_is_wellformed, make_key, new_secret, revoke_key
from accounts.domain.limits import KeyLimits
from accounts.domain.tenants import restore_tenant, suspend_tenant
from accounts.enums import Role, Scope
from accounts.errors import InvalidField, InvalidKey, NotAllowed, NotFound, TooManyKeys
from accounts.models import ApiKey, AuditEvent, KeyDirectory, KeySecret, Membership
from accounts.tenancy import in_tenant
from tests.factories import Person, make_member
from tests.factories import make_key as make_test_key


def test_new_keys_have_the_promised_shape() -> None:
    secrets = {new_secret() for _ in range(200)}
    assert len(secrets) == 200
    for secret in secrets:
        assert re.fullmatch(r"qs_live_[0-9A-Za-z]{36,}", secret)
        assert key_is_wellformed(secret)


def test_one_changed_character_breaks_the_checksum() -> None:
    secret = new_secret()
    for place in range(len("qs_live_"), len(secret)):
        other = "a" if secret[place] != "a" else "b"
        assert not key_is_wellformed(secret[:place] + other + secret[place + 1 :])


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "qs_live_",
        "qs_live_" + "a" * 36,
        "sk-123",
        "qs_live_" + "ä" * 40,
        pytest.param(new_secret() + "\n", id="a line's end"),
        "qs_live_" + "0" * 500,
    ],
)
def test_malformed_keys_cost_no_query(secret: str, db: None) -> None:
    with CaptureQueriesContext(connection) as queries, pytest.raises(InvalidKey):
        caller_of_key(secret, address=None)
    assert len(queries) == 0


def test_secret_is_stored_as_its_hash_only(alice: Person, admin_sql: psycopg.Connection[tuple[object, ...]]) -> None:
    hashed = hashlib.sha256(alice.secret.encode()).hexdigest()
    with in_tenant(alice.tenant.pk):
        assert KeySecret.objects.get().sha256 == hashed
    assert KeyDirectory.objects.get().tenant_id == alice.tenant.pk
    for table in ("accounts_apikey", "accounts_keysecret", "accounts_keydirectory", "accounts_auditevent"):
        rows = admin_sql.execute(f"SELECT t::text FROM {table} t").fetchall()
        assert rows and not any(alice.secret in str(row[0]) for row in rows)


def test_key_gives_its_caller(alice: Person) -> None:
    caller = caller_of_key(alice.secret, address="192.0.2.7")
    assert (caller.tenant, caller.user, caller.key) == (alice.tenant.pk, alice.user.pk, alice.key.pk)
    assert caller.scopes == {"images:read", "images:write", "usage:read"}
    assert (caller.role, caller.plan.slug, caller.tenant_name) == ("owner", "default", "A")


def test_key_check_costs_two_statements_and_no_write(alice: Person) -> None:
    caller_of_key(alice.secret, address=None)
    with CaptureQueriesContext(connection) as queries:
        caller_of_key(alice.secret, address=None)
    assert len(queries) == 2, queries.captured_queries


def test_last_use_is_written_once_a_minute(alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        ApiKey.objects.update(last_used_at=None)
        caller_of_key(alice.secret, address="192.0.2.7")
        first = ApiKey.objects.get()
        assert first.last_used_ip == "192.0.2.7" and first.last_used_at is not None
        caller_of_key(alice.secret, address="192.0.2.8")
        assert ApiKey.objects.get().last_used_ip == "192.0.2.7"
        ApiKey.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
        caller_of_key(alice.secret, address="2001:db8::1")
        assert ApiKey.objects.get().last_used_ip == "2001:db8::1"


def spoil(person: Person, how: str) -> str:
    """Make a person's key bad in one way; returns the secret to send."""
    past = timezone.now() - timedelta(seconds=1)
    with in_tenant(person.tenant.pk):
        if how == "unknown":
            return new_secret()
        if how == "expired":
            ApiKey.objects.update(expires_at=past)
        elif how == "secret expired":
            KeySecret.objects.update(expires_at=past)
        elif how == "revoked":
            revoke_key(by=person.caller, key_id=person.key.pk)
        elif how == "revoked in the table only":
            ApiKey.objects.update(revoked_at=past)
        elif how == "member left":
            Membership.objects.filter(user=person.user).delete()
        elif how == "user disabled":
            person.user.is_active = False
            person.user.save()
        elif how == "bad checksum":
            return person.secret[:-1] + ("a" if person.secret[-1] != "a" else "b")
    return person.secret


BAD = [
    "unknown",
    "expired",
    "secret expired",
    "revoked",
    "revoked in the table only",
    "member left",
    "user disabled",
    "bad checksum",
]


@pytest.mark.parametrize("how", BAD)
def test_bad_keys_are_refused_alike(how: str, bob: Person) -> None:
    assert caller_of_key(bob.secret, address=None)
    secret = spoil(bob, how)
    with pytest.raises(InvalidKey) as refused:
        caller_of_key(secret, address=None)
    assert (refused.value.message, refused.value.code, refused.value.fields) == (
        "invalid api key",
        "invalid_api_key",
        {},
    )


@pytest.mark.urls("tests.accounts.routes")
def test_bad_keys_get_identical_answers(alice: Person, bob: Person, mallory: Person) -> None:
    answers = set()
    for person, how in ((alice, "expired"), (bob, "revoked"), (mallory, "unknown"), (mallory, "bad checksum")):
        response = person.client.get("/api/v1/echo", headers={"Authorization": f"Bearer {spoil(person, how)}"})
        body = response.json()
        assert body.pop("request_id")
        names = {name: value for name, value in response.headers.items() if name != "X-Request-ID"}
        answers.add((response.status_code, str(sorted(body.items())), str(sorted(names.items()))))
    assert len(answers) == 1
    assert answers.pop()[0] == 401


def test_suspension_counts_from_the_next_request_on(alice: Person) -> None:
    suspend_tenant(alice.tenant, reason="unpaid")
    with pytest.raises(NotAllowed, match="suspended"):
        caller_of_key(alice.secret, address=None)
    with pytest.raises(NotAllowed, match="suspended"):
        caller_of_member(user_id=alice.user.pk, tenant_id=alice.tenant.pk)
    restore_tenant(alice.tenant, reason="paid")
    assert caller_of_key(alice.secret, address=None).tenant == alice.tenant.pk


def test_key_loses_what_its_member_loses(bob: Person) -> None:
    Membership.objects.filter(user=bob.user).update(role=Role.VIEWER)
    assert caller_of_key(bob.secret, address=None).scopes == {"images:read", "usage:read"}


@pytest.mark.parametrize(
    ("address", "allowed"), [("192.0.2.9", True), ("2001:db8::5", True), ("198.51.100.1", False), (None, False)]
)
def test_key_works_from_its_networks_only(address: str | None, allowed: bool, alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        _, secret = make_key(
            by=alice.caller, name="office", scopes=["images:read"], networks=["192.0.2.0/24", "2001:db8::/32"]
        )
    if allowed:
        assert caller_of_key(secret, address=address).tenant == alice.tenant.pk
        return
    with pytest.raises(NotAllowed, match="your address"):
        caller_of_key(secret, address=address)
    with in_tenant(alice.tenant.pk):
        assert ApiKey.objects.get(name="office").last_used_at is None


def test_key_never_exceeds_its_maker(bob: Person) -> None:
    with in_tenant(bob.tenant.pk):
        before = ApiKey.objects.count(), KeyDirectory.objects.count()
        with pytest.raises(NotAllowed, match="admin"):
            make_key(by=bob.caller, name="more", scopes=[Scope.ADMIN.value])
        assert (ApiKey.objects.count(), KeyDirectory.objects.count()) == before


def test_viewers_make_no_keys(alice: Person) -> None:
    viewer = make_member(alice.tenant, Role.VIEWER)
    caller = caller_of_member(user_id=viewer.pk, tenant_id=alice.tenant.pk)
    with in_tenant(alice.tenant.pk), pytest.raises(NotAllowed):
        make_key(by=caller, name="mine", scopes=["images:read"])


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", {"name": "  "}),
        ("name", {"name": "x" * 81}),
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": ["images:all"]}),
        ("networks", {"networks": ["10.0.0.0/99"]}),
        ("expires_at", {"expires_at": timezone.now() - timedelta(days=1)}),
        ("limits", {"limits": {"max_images": 4}}),
        ("limits", {"limits": {"max_steps": 0}}),
        ("limits", {"limits": {"max_steps": 2**31}}),
        ("limits", {"limits": {"images_per_day": True}}),
        ("limits", {"limits": {"images_per_day": "4"}}),
    ],
)
def test_bad_values_name_their_field(field: str, values: dict[str, object], alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        before = ApiKey.objects.count()
        with pytest.raises(InvalidField) as refused:
            make_key(**({"by": alice.caller, "name": "k", "scopes": ["images:read"]} | values))  # type: ignore[arg-type]
        assert list(refused.value.fields) == [field]
        assert ApiKey.objects.count() == before


def test_limits_lower_what_the_plan_allows_and_never_raise_it(alice: Person) -> None:
    limits = {"max_steps": 3, "max_pixels": 2**31 - 1, "requests_per_minute": 5, "images_per_day": 2}
    _, secret = make_test_key(alice.tenant, alice.user, limits=limits)
    caller = caller_of_key(secret, address=None)
    plan = alice.caller.plan
    assert caller.plan == replace(plan, max_steps=3, requests_per_minute=5)
    assert plan.images_per_day != 2 and caller.key_limits == KeyLimits(**limits)
    assert alice.key_caller.key_limits == KeyLimits() and alice.key_caller.plan == plan


@pytest.mark.parametrize("narrow", [{"limits": {"images_per_day": 2}}, {"networks": ["192.0.2.0/24"]}])
def test_limited_key_makes_no_keys_that_are_not(alice: Person, narrow: dict[str, Any]) -> None:
    _, secret = make_test_key(alice.tenant, alice.user, scopes=["images:read", "keys:write"], **narrow)
    caller = caller_of_key(secret, address="192.0.2.7")
    with in_tenant(alice.tenant.pk), pytest.raises(NotAllowed, match="limits or networks"):
        make_key(by=caller, name="more", scopes=["images:read"])


def test_a_members_keys_are_counted(alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that live, and nobody else's."""
    with in_tenant(alice.tenant.pk):
        had = ApiKey.objects.filter(user=alice.user).count()
        monkeypatch.setattr(keys, "MAX_LIVE", had + 2)
        first, _ = make_key(by=alice.caller, name="one", scopes=["images:read"])
        make_key(by=alice.caller, name="two", scopes=["images:read"], expires_at=timezone.now() + timedelta(days=1))
        with pytest.raises(TooManyKeys, match=f"{had + 2} live keys at most"):
            make_key(by=alice.caller, name="three", scopes=["images:read"])
        make_key(by=bob.caller, name="Bob's", scopes=["images:read"])
        revoke_key(by=alice.caller, key_id=first.pk)
        make_key(by=alice.caller, name="in its place", scopes=["images:read"])
        ApiKey.objects.filter(name="two").update(expires_at=timezone.now())
        make_key(by=alice.caller, name="in the place of what has ended", scopes=["images:read"])
        assert ApiKey.objects.filter(user=alice.user).count() == had + 4


def test_who_was_taken_out_meanwhile_makes_no_key(alice: Person, bob: Person) -> None:
    """It would live again as soon as they come back."""
    Membership.objects.filter(tenant=alice.tenant, user=bob.user).delete()
    with in_tenant(alice.tenant.pk), pytest.raises(NotAllowed, match="no longer a member"):
        make_key(by=bob.caller, name="late", scopes=["images:read"])


def test_limits_of_a_later_release_are_passed_over(alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        ApiKey.objects.filter(pk=alice.key.pk).update(limits={"max_steps": 3, "chat_tokens_per_day": 9})
    assert caller_of_key(alice.secret, address=None).key_limits == KeyLimits(max_steps=3)


def test_revoking_is_audited_and_may_repeat(alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        first = revoke_key(by=alice.caller, key_id=alice.key.pk)
        again = revoke_key(by=alice.caller, key_id=alice.key.pk)
        assert again.revoked_at == first.revoked_at
        events = AuditEvent.objects.filter(action="key.revoked").values_list("target", flat=True)
        assert list(events) == [f"key:{alice.key.pk}"]
    assert not KeyDirectory.objects.exists()


def test_others_keys_are_not_there(alice: Person, bob: Person, mallory: Person) -> None:
    for stranger in (bob, mallory):  # a member of the same tenant who is no admin, and another tenant's owner
        with in_tenant(stranger.tenant.pk), pytest.raises(NotFound):
            revoke_key(by=stranger.caller, key_id=alice.key.pk)
    assert caller_of_key(alice.secret, address=None)
    with in_tenant(alice.tenant.pk):
        revoke_key(by=alice.caller, key_id=bob.key.pk)  # an owner may end a member's key
    with pytest.raises(InvalidKey):
        caller_of_key(bob.secret, address=None)
