"""A key never exceeds its member, nor what makes or changes it; and what has ended stays so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import ApiKey, KeySecret
from accounts.tenancy import in_tenant
from tests.accounts.api.keycalls import KEYS, WIDE, actions, manager_key, patch, post, reread, using, works
from tests.factories import Person, make_key


def test_key_makes_keys_within_itself_only(alice: Person) -> None:
    _, maker = manager_key(alice, "images:read", "keys:write", expires_at=timezone.now() + timedelta(days=2))
    day = (timezone.now() + timedelta(days=1)).isoformat()
    later = (timezone.now() + timedelta(days=3)).isoformat()
    made = post(maker, KEYS, {"name": "within", "scopes": ["images:read"], "expires_at": day})
    assert made.status_code == 201 and works(made.json()["secret"])
    for wish in (
        {"scopes": ["images:write"], "expires_at": day},
        {"scopes": ["admin"], "expires_at": day},
        {"scopes": ["images:read"]},
        {"scopes": ["images:read"], "expires_at": later},
    ):
        assert post(maker, KEYS, {"name": "more", **wish}).status_code == 403
    for narrow in ({"limits": {"images_per_day": 1}}, {"networks": ["127.0.0.0/8"]}):
        _, limited = manager_key(alice, "images:read", "keys:write", **narrow)
        assert post(limited, KEYS, {"name": "more", "scopes": ["images:read"]}).status_code == 403
    with in_tenant(alice.tenant.pk):
        assert not ApiKey.objects.filter(name="more").exists()


def test_key_gets_hold_of_no_key_that_exceeds_it(alice: Person) -> None:
    """Rotating another key would hand out its secret."""
    strong, _ = make_key(alice.tenant, alice.user, scopes=["admin", "images:read"])
    equal, _ = make_key(alice.tenant, alice.user, scopes=["images:read"])
    _, weak = manager_key(alice, "images:read", "keys:write")
    _, limited = manager_key(alice, "images:read", "keys:write", limits={"images_per_day": 1})
    for client, key in ((weak, strong), (limited, equal), (limited, strong)):
        assert post(client, f"{KEYS}/{key.pk}/rotate").status_code == 403
        assert patch(client, key, {"limits": {"max_steps": 2}}).status_code == 403
    with in_tenant(alice.tenant.pk):
        assert not KeySecret.objects.filter(key=strong).exclude(expires_at=None).exists()
    answer = post(weak, f"{KEYS}/{equal.pk}/rotate")
    assert answer.status_code == 200 and works(answer.json()["secret"])
    assert weak.delete(f"{KEYS}/{strong.pk}").status_code == 204, "ending one's own keys is always right"


def test_limited_key_rotates_itself(alice: Person) -> None:
    own, client = manager_key(alice, "images:read", "keys:write", limits={"images_per_day": 1})
    answer = post(client, f"{KEYS}/{own.pk}/rotate", {"overlap_s": 0})
    assert answer.status_code == 200
    assert client.get("/api/v1/me").status_code == 401
    found = using(answer.json()["secret"]).get(f"{KEYS}/{own.pk}").json()
    assert found["limits"] == {"images_per_day": 1}


NARROW = {
    "limits": {"images_per_day": 5},
    "networks": ["127.0.0.0/8"],
    "expires_at": "2999-01-01T00:00:00Z",
    "scopes": ["images:read", "keys:write"],
}
WIDER = [
    {"limits": {"images_per_day": 6}},
    {"limits": {"images_per_day": None}},
    {"networks": []},
    {"networks": ["127.0.0.0/8", "192.0.2.0/24"]},
    {"networks": ["0.0.0.0/0"]},
    {"expires_at": None},
    {"expires_at": "2999-01-01T00:00:01Z"},
    {"scopes": ["images:read", "images:write", "keys:write"]},
]
NARROWER = [
    {"limits": {"images_per_day": 4, "max_steps": 2}},
    {"networks": ["127.0.0.1", "127.1.0.0/16"]},
    {"expires_at": "2998-01-01T00:00:00Z"},
    {"scopes": ["images:read"]},
]


@pytest.mark.parametrize("wish", WIDER)
def test_only_the_member_signed_in_widens_a_key(alice: Person, bob: Person, wish: dict[str, Any]) -> None:
    made = post(bob.client, KEYS, {"name": "narrow", **NARROW}).json()
    before = reread(bob, made["id"])
    # The key itself, another key of its member's, and an owner: none of them.
    for client in (using(made["secret"]), manager_key(bob)[1], alice.client, manager_key(alice, "admin", *WIDE)[1]):
        answer = patch(client, made["id"], wish | {"limits": {"max_steps": 1, **wish.get("limits", {})}})
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed"), answer.content
        assert list(answer.json()["errors"]) == list(wish)
    after = reread(bob, made["id"])
    assert (after.limits, after.networks, after.scopes) == (before.limits, before.networks, before.scopes)
    assert after.expires_at == before.expires_at
    assert patch(bob.client, made["id"], wish).status_code == (403 if "scopes" in wish else 200)


@pytest.mark.parametrize("wish", NARROWER)
def test_admins_and_keys_may_narrow(alice: Person, bob: Person, wish: dict[str, Any]) -> None:
    for client in (alice.client, None):
        made = post(bob.client, KEYS, {"name": "narrow", **NARROW}).json()
        answer = patch(client or using(made["secret"]), made["id"], wish)
        assert answer.status_code == 200, answer.content
        body = answer.json()
        assert all(body[name] == value or name in ("networks", "limits") for name, value in wish.items())
    assert body["networks"] == (["127.0.0.1/32", "127.1.0.0/16"] if "networks" in wish else ["127.0.0.0/8"])


def test_admins_neither_rename_nor_rotate_others_keys(alice: Person, bob: Person) -> None:
    assert patch(alice.client, bob.key, {"name": "mine"}).status_code == 403
    assert post(alice.client, f"{KEYS}/{bob.key.pk}/rotate").status_code == 403
    assert reread(bob, bob.key).name == "test key"
    assert works(bob.secret)
    assert alice.client.delete(f"{KEYS}/{bob.key.pk}").status_code == 204
    assert not works(bob.secret)


def test_a_change_counts_from_the_next_request_on(alice: Person) -> None:
    assert works(alice.secret)
    patch(alice.client, alice.key, {"networks": ["192.0.2.0/24"]})
    assert alice.api.get("/api/v1/me").status_code == 403
    patch(alice.client, alice.key, {"networks": [], "scopes": ["usage:read"], "limits": {"max_steps": 3}})
    body = alice.api.get("/api/v1/me").json()
    assert (body["scopes"], body["plan"]["max_steps"]) == (["usage:read"], 3)


def test_a_refused_change_changes_nothing(alice: Person) -> None:
    answer = patch(alice.client, alice.key, {"name": "new", "limits": {"max_steps": 2}, "scopes": ["admin"]})
    assert answer.status_code == 403
    key = reread(alice, alice.key)
    assert (key.name, key.limits) == ("test key", {})
    assert "key.changed" not in actions(alice)


@pytest.mark.parametrize("how", ["revoked", "ended"])
def test_what_has_ended_stays_so(alice: Person, how: str) -> None:
    past = timezone.now() - timedelta(seconds=1)
    with in_tenant(alice.tenant.pk):
        field = {"revoked": "revoked_at", "ended": "expires_at"}[how]
        ApiKey.objects.filter(pk=alice.key.pk).update(**{field: past})
    for answer in (
        patch(alice.client, alice.key, {"expires_at": None}),
        post(alice.client, f"{KEYS}/{alice.key.pk}/rotate"),
        post(alice.client, f"{KEYS}/{alice.key.pk}/finish-rotation"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "key_ended")
    assert not works(alice.secret)
    assert alice.client.get(f"{KEYS}/{alice.key.pk}").json()["state"] == how
