"""/api/v1/keys: everything that the page can do, by program, and every refusal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.domain.keys import revoke_key
from accounts.enums import Role
from accounts.ids import uuid7
from accounts.models import ApiKey, AuditEvent, KeySecret, Membership
from accounts.tenancy import in_tenant
from tests.accounts.api.keycalls import KEYS, actions, manager_key, patch, post, reread, works
from tests.factories import Person, make_key, make_member, make_person
from tests.openapi import check, read_schema

# ---- the happy path, held against the description


def test_a_keys_whole_life(alice: Person) -> None:
    schema, one = read_schema(), KEYS + "/{key}"
    wanted = {
        "name": "ci",
        "scopes": ["usage:read", "images:read", "images:read"],
        "networks": ["127.0.0.5/8", "127.0.0.0/8", "::ffff:192.0.2.0/120"],
        "limits": {"images_per_day": 5, "tokens_per_day": None},
        "expires_at": "2999-12-31T23:59:59Z",
    }
    made = post(alice.client, KEYS, wanted)
    check(schema, "post", KEYS, made)
    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    body = made.json()
    secret, key_id = body.pop("secret"), body["id"]
    assert made["Location"].endswith(f"{KEYS}/{key_id}")
    assert body["scopes"] == ["images:read", "usage:read"]
    assert body["networks"] == ["127.0.0.0/8", "192.0.2.0/24"]
    assert body["limits"] == {"images_per_day": 5}
    assert (body["state"], body["prefix"]) == ("live", secret[:14])
    assert body["member"] == {"id": str(alice.user.pk), "name": alice.user.name}
    assert works(secret)

    found = alice.client.get(f"{KEYS}/{key_id}")
    check(schema, "get", one, found)
    assert secret not in found.content.decode()
    assert found.json() == body | {
        "last_used_at": found.json()["last_used_at"],
        "last_used_ip": "127.0.0.1",
    }

    changed = patch(alice.client, key_id, {"name": "build", "limits": {"max_steps": 4}, "expires_at": None})
    check(schema, "patch", one, changed)
    assert changed.json()["limits"] == {"images_per_day": 5, "max_steps": 4}
    assert (changed.json()["name"], changed.json()["expires_at"]) == ("build", None)

    rotated = post(alice.client, f"{KEYS}/{key_id}/rotate", {"overlap_s": 60})
    check(schema, "post", one + "/rotate", rotated)
    second = rotated.json()["secret"]
    assert rotated["Cache-Control"] == "no-store" and rotated.json()["prefix"] == second[:14]
    assert [held["prefix"] for held in rotated.json()["secrets"]] == [second[:14], secret[:14]]
    assert works(secret) and works(second)
    overlapping = post(alice.client, f"{KEYS}/{key_id}/rotate")
    check(schema, "post", one + "/rotate", overlapping)
    assert (overlapping.status_code, overlapping.json()["code"]) == (409, "rotation_overlaps")

    finished = post(alice.client, f"{KEYS}/{key_id}/finish-rotation")
    check(schema, "post", one + "/finish-rotation", finished)
    assert len(finished.json()["secrets"]) == 1
    assert not works(secret) and works(second)

    ended = alice.client.delete(f"{KEYS}/{key_id}")
    check(schema, "delete", one, ended)
    assert alice.client.delete(f"{KEYS}/{key_id}").status_code == 204
    assert not works(second)
    gone = alice.client.get(f"{KEYS}/{key_id}").json()
    assert (gone["state"], gone["secrets"]) == ("revoked", []) and gone["revoked_at"]
    told = ["key.made", "key.changed", "key.rotated", "key.rotation_finished", "key.revoked"]
    assert [action for action in actions(alice) if action.startswith("key.")][-5:] == told
    with in_tenant(alice.tenant.pk):
        assert not KeySecret.objects.filter(key_id=key_id).exists()
        assert secret not in str(list(AuditEvent.objects.values_list("detail", flat=True)))


# ---- lists


def test_list_is_ones_own_and_everybodys_for_admins(alice: Person, bob: Person, mallory: Person) -> None:
    def ids(client: Client, query: str = "") -> set[str]:
        answer = client.get(f"{KEYS}{query}")
        check(schema, "get", KEYS, answer)
        return {key["id"] for key in answer.json()["results"]}

    schema = read_schema()
    with in_tenant(bob.tenant.pk):
        revoke_key(by=bob.caller, key_id=bob.key.pk)
    assert ids(alice.client) == {str(alice.key.pk), str(bob.key.pk)}
    assert ids(bob.client) == {str(bob.key.pk)}
    assert ids(mallory.client) == {str(mallory.key.pk)}
    assert ids(alice.client, "?revoked=true") == {str(bob.key.pk)}
    assert ids(alice.client, "?revoked=false") == {str(alice.key.pk)}
    # An owner's key sees everybody's with the scope `admin` only.
    own, narrow = manager_key(alice)
    wide, broad = manager_key(alice, "admin")
    assert ids(narrow) == {str(alice.key.pk), str(own.pk), str(wide.pk)}
    assert ids(broad) == {str(alice.key.pk), str(bob.key.pk), str(own.pk), str(wide.pk)}


def test_list_in_pages_under_a_constant_number_of_queries(alice: Person) -> None:
    def queries(address: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert alice.client.get(address).status_code == 200
        return len(captured)

    queries(KEYS)
    few = queries(KEYS)
    for _ in range(6):
        make_key(alice.tenant, alice.user)
    assert queries(KEYS) == few
    seen: list[str] = []
    address: str | None = f"{KEYS}?limit=3&revoked=false"
    while address:
        page = alice.client.get(address.replace("http://127.0.0.1:8000", "")).json()
        seen += [key["id"] for key in page["results"]]
        address = page["next"]
    assert len(seen) == len(set(seen)) == 7
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("query", ["revoked=yes", "limit=0", "limit=101", "cursor=x", "state=live", "revoked=true&q=x"])
def test_bad_queries(alice: Person, query: str) -> None:
    answer = alice.client.get(f"{KEYS}?{query}")
    assert answer.status_code == 400
    assert set(answer.json()["errors"]) <= {part.partition("=")[0] for part in query.split("&")}


# ---- who may


def test_foreign_and_random_ids_are_one_404(alice: Person, bob: Person, mallory: Person) -> None:
    answers = set()
    for client, key in ((mallory.client, alice.key.pk), (bob.client, alice.key.pk), (alice.client, uuid7())):
        for method, path in [
            ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/finish-rotation"),
        ]:  # fmt: skip
            answer = client.generic(method, f"{KEYS}/{key}{path}", "{}", content_type="application/json")
            body = answer.json()
            assert body.pop("request_id") and body.pop("instance")
            answers.add((answer.status_code, str(body)))
    assert len(answers) == 1 and answers.pop()[0] == 404
    assert works(alice.secret) and "key.revoked" not in actions(alice)


@pytest.mark.parametrize("client", ["viewer", "viewers old key", "key without the scope"])
def test_who_may_not_make_keys(alice: Person, client: str) -> None:
    viewer = make_person(alice.tenant, make_member(alice.tenant))
    _, old = manager_key(viewer)
    Membership.objects.filter(user=viewer.user).update(role=Role.VIEWER)
    caller = {"viewer": viewer.client, "viewers old key": old, "key without the scope": alice.api}[client]
    with in_tenant(alice.tenant.pk):
        before = ApiKey.objects.count()
    for answer in (
        caller.get(KEYS),
        post(caller, KEYS, {"name": "x", "scopes": ["images:read"]}),
        post(caller, f"{KEYS}/{viewer.key.pk}/rotate"),
        patch(caller, viewer.key, {"name": "x"}),
        caller.delete(f"{KEYS}/{viewer.key.pk}"),
    ):
        assert (answer.status_code, answer.json()["code"]) in ((403, "not_allowed"), (404, "not_found"))
    with in_tenant(alice.tenant.pk):
        assert ApiKey.objects.count() == before and not ApiKey.objects.exclude(revoked_at=None).exists()


def test_nobody_is_401(db: None) -> None:
    for path in (KEYS, f"{KEYS}/{uuid7()}"):
        assert Client().get(path).status_code == 401
    assert post(Client(), f"{KEYS}/self/revoke").status_code == 401


def test_session_needs_the_csrf_token(alice: Person) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice.user)
    for answer in (
        post(strict, KEYS, {"name": "x", "scopes": ["images:read"]}),
        post(strict, f"{KEYS}/{alice.key.pk}/rotate"),
        strict.delete(f"{KEYS}/{alice.key.pk}"),
    ):
        assert answer.status_code == 403
    assert works(alice.secret)


# ---- what a body may be


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "two\nlines"}),
        ("name", {"name": "x" * 81}),
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": "images:read"}),
        ("scopes", {"scopes": ["images:all"]}),
        ("networks", {"networks": ["10.0.0.0/99"]}),
        ("networks", {"networks": ["fe80::1%eth0"]}),
        ("networks", {"networks": [f"10.0.{n}.0/24" for n in range(51)]}),
        ("limits", {"limits": {"max_images": 4}}),
        ("limits", {"limits": {"images_per_day": "4"}}),
        ("limits", {"limits": {"images_per_day": 0}}),
        ("limits", {"limits": [4]}),
        ("expires_at", {"expires_at": "2001-01-01T00:00:00Z"}),
        ("expires_at", {"expires_at": "soon"}),
        ("id", {"id": "x"}),
        ("secrets", {"secrets": []}),
        ("last_used_ip", {"last_used_ip": "192.0.2.1"}),
        ("revoked_at", {"revoked_at": None}),
        ("member", {"member": {}}),
        ("user", {"user": "x"}),
        ("tenant", {"tenant": "x"}),
    ],
)
def test_bad_bodies_name_their_field(alice: Person, field: str, body: dict[str, Any]) -> None:
    before = reread(alice, alice.key)
    for answer in (
        post(alice.client, KEYS, {"name": "x", "scopes": ["images:read"]} | body),
        patch(alice.client, alice.key, body),
    ):
        assert answer.status_code == 400, answer.content
        assert list(answer.json()["errors"]) == [field]
    after = reread(alice, alice.key)
    assert (after.name, after.scopes, after.limits) == (before.name, before.scopes, before.limits)
    with in_tenant(alice.tenant.pk):
        assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("body", [[], "x", 5])
def test_body_must_be_an_object(alice: Person, body: Any) -> None:
    answer = alice.client.post(KEYS, f"{body!r}".replace("'", '"'), content_type="application/json")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["body"])


@pytest.mark.parametrize("overlap", [-1, 604_801, "soon", None, 1.5])
def test_bad_overlaps(alice: Person, overlap: Any) -> None:
    answer = post(alice.client, f"{KEYS}/{alice.key.pk}/rotate", {"overlap_s": overlap})
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["overlap_s"])
    with in_tenant(alice.tenant.pk):
        assert KeySecret.objects.count() == 1


@pytest.mark.parametrize("path", ["/{}/finish-rotation", "/self/revoke"])
def test_routes_without_a_body_take_none(alice: Person, path: str) -> None:
    answer = post(alice.api if "self" in path else alice.client, KEYS + path.format(alice.key.pk), {"sure": True})
    assert (answer.status_code, answer.json()["errors"]) == (400, {"sure": ["unknown field"]})
    assert works(alice.secret)


def test_times_are_utc(alice: Person) -> None:
    body = alice.client.get(f"{KEYS}/{alice.key.pk}").json()
    assert body["created_at"].endswith("Z") and datetime.fromisoformat(body["created_at"])
