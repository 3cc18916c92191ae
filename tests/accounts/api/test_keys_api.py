"""/api/v1/keys: everything that the page can do, by program, and every refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.domain import places
from accounts.domain.keys import new_secret, revoke_key
from accounts.enums import Role
from accounts.ids import uuid7
from accounts.models import ApiKey, AuditEvent, KeyDirectory, KeySecret, Membership
from accounts.tenancy import in_tenant
from tests.factories import Person, make_key, make_member, make_person
from tests.mails import waiting_mails
from tests.openapi import check, read_schema

KEYS = "/api/v1/keys"
LEAKED = f"{KEYS}/leaked"
WIDE = ("images:read", "images:write", "usage:read", "keys:write")


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    places.local.clear()
    yield
    places.local.clear()


def using(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})


def post(client: Client, path: str, body: Any = None, **more: Any) -> Any:
    return client.post(path, {} if body is None else body, content_type="application/json", **more)


def patch(client: Client, key: ApiKey | str, body: Any) -> Any:
    return client.patch(f"{KEYS}/{getattr(key, 'pk', key)}", body, content_type="application/json")


def works(secret: str) -> bool:
    return bool(using(secret).get("/api/v1/me").status_code == 200)


def reread(person: Person, key: ApiKey | str) -> ApiKey:
    with in_tenant(person.tenant.pk):
        return ApiKey.objects.get(pk=getattr(key, "pk", key))


def actions(person: Person) -> list[str]:
    with in_tenant(person.tenant.pk):
        return list(AuditEvent.objects.order_by("created_at", "id").values_list("action", flat=True))


def manager_key(person: Person, *scopes: str, **fields: Any) -> tuple[ApiKey, Client]:
    """A key that may manage keys, and a client with it."""
    key, secret = make_key(person.tenant, person.user, scopes=scopes or WIDE, **fields)
    return key, using(secret)


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
    # Signed in one sees one's own keys in whatever role; what a key sees its scopes say.
    assert caller.get(KEYS).status_code == (200 if client == "viewer" else 403)
    for answer in (
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


# ---- a key never exceeds what made or changes it


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


# ---- leaked


def test_a_key_ends_itself_whatever_its_scopes(alice: Person) -> None:
    key, secret = make_key(alice.tenant, alice.user, scopes=["usage:read"], limits={"requests_per_minute": 1})
    client = using(secret)
    assert client.get("/api/v1/me").status_code == 200
    assert client.get("/api/v1/me").status_code == 429, "and its minute is over"
    answer = post(client, f"{KEYS}/self/revoke")
    check(read_schema(), "post", f"{KEYS}/self/revoke", answer)
    assert (answer.status_code, answer.json()["state"], answer["Cache-Control"]) == (200, "revoked", "no-store")
    assert post(client, f"{KEYS}/self/revoke").status_code == 401
    assert reread(alice, key).revoked_at is not None
    with in_tenant(alice.tenant.pk):
        event = AuditEvent.objects.get(action="key.revoked_itself")
    assert (event.key, event.target, event.address) == (key.pk, f"key:{key.pk}", "127.0.0.1")
    assert [(mail["name"], mail["to"]) for mail in waiting_mails()] == [("key_revoked_itself", alice.user.email)]


def test_a_session_has_no_key_to_end(alice: Person) -> None:
    answer = post(alice.client, f"{KEYS}/self/revoke")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("way", ["body", "Authorization", "X-Api-Key"])
def test_whoever_finds_a_key_ends_it(alice: Person, mallory: Person, way: str) -> None:
    schema = read_schema()
    answers = set()
    for secret in (alice.secret, alice.secret, new_secret()):  # known, revoked by the first report, unknown
        headers = {} if way == "body" else {way: f"Bearer {secret}" if way == "Authorization" else secret}
        answer = post(Client(), LEAKED, {"key": secret} if way == "body" else None, headers=headers)
        check(schema, "post", LEAKED, answer)
        named = {name: value for name, value in answer.headers.items() if name != "X-Request-ID"}
        answers.add((answer.status_code, answer.content, str(sorted(named.items()))))
    assert len(answers) == 1 and answers.pop()[:2] == (202, b'{"status":"received"}')
    key = reread(alice, alice.key)
    assert key.revoked_at is not None and key.last_used_ip is None, "reporting a key is no use of it"
    assert not works(alice.secret) and works(mallory.secret)
    with in_tenant(alice.tenant.pk):
        event = AuditEvent.objects.get(action="key.leaked")
        assert not KeySecret.objects.exists()
    assert (event.user, event.key, event.address) == (None, None, "127.0.0.1")
    assert event.detail == {"name": "test key", "prefix": alice.secret[:14]}
    [mail] = waiting_mails()
    assert (mail["name"], mail["to"]) == ("key_leaked", alice.user.email)
    assert mail["subject"] == "Your API key test key was found and has been revoked"
    assert f"({alice.secret[:14]}…)" in mail["body"] and "http://127.0.0.1:8000/keys/" in mail["body"]
    assert alice.secret not in mail["body"]


def test_the_key_in_the_body_is_meant_not_the_reporters(alice: Person, mallory: Person) -> None:
    assert post(mallory.api, LEAKED, {"key": alice.secret}).status_code == 202
    assert works(mallory.secret) and not works(alice.secret)
    with in_tenant(alice.tenant.pk):
        assert AuditEvent.objects.get(action="key.leaked").user is None


def test_old_secret_of_a_rotation_ends_the_whole_key(alice: Person) -> None:
    new = post(alice.client, f"{KEYS}/{alice.key.pk}/rotate").json()["secret"]
    post(Client(), LEAKED, {"key": alice.secret})
    assert not works(new) and not works(alice.secret)


@pytest.mark.parametrize("body", [{}, {"key": ""}, {"key": "qs_live_x"}, {"key": 5}, {"key": "x", "name": "y"}])
def test_what_cannot_be_a_key_is_said(db: None, body: dict[str, Any]) -> None:
    answer = post(Client(), LEAKED, body)
    assert answer.status_code == 400
    assert set(answer.json()["errors"]) <= {"key", "name"}


def test_reports_are_counted_by_place(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LEAKED_KEYS", 2)
    answers = [post(Client(), LEAKED, {"key": new_secret()}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json()["code"] == "too_many_reports"
    assert 0 < int(answers[2]["Retry-After"]) <= places.WINDOW_S
    elsewhere = post(Client(REMOTE_ADDR="192.0.2.9"), LEAKED, {"key": alice.secret})
    assert elsewhere.status_code == 202 and not works(alice.secret)


def test_network_and_suspension_keep_no_leaked_key_alive(alice: Person) -> None:
    from accounts.domain.tenants import suspend_tenant

    _, secret = make_key(alice.tenant, alice.user, networks=["192.0.2.0/24"])
    suspend_tenant(alice.tenant, reason="test")
    assert post(Client(), LEAKED, {"key": secret}).status_code == 202
    assert not KeyDirectory.objects.filter(sha256=hashlib.sha256(secret.encode()).hexdigest()).exists()


def test_times_are_utc(alice: Person) -> None:
    body = alice.client.get(f"{KEYS}/{alice.key.pk}").json()
    assert body["created_at"].endswith("Z") and datetime.fromisoformat(body["created_at"])
