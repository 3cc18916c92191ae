"""/api/v1/usage and budgets over HTTP: as described, for whom it is, and strict."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.ids import uuid7
from accounts.models import MemberBudget
from accounts.tenancy import in_tenant
from tests.accounts.ledgers import day, worked
from tests.factories import Person, make_key
from tests.openapi import check, read_schema

USAGE = "/api/v1/usage"
BUDGET = "/api/v1/members/{member}/budget"


@pytest.fixture(scope="module")
def schema(django_db_setup: None) -> dict[str, Any]:
    return read_schema()


@pytest.fixture
def office(alice: Person) -> Client:
    """Alice's key with the scope admin."""
    _, secret = make_key(alice.tenant, alice.user, scopes=["usage:read", "admin"])
    return Client(headers={"X-Api-Key": secret})


def put(client: Client, member: Any, body: Any) -> Any:
    return client.put(BUDGET.format(member=member), body, content_type="application/json")


def test_everybodys_with_the_scope_admin_else_ones_own(
    schema: dict[str, Any], alice: Person, bob: Person, mallory: Person, office: Client
) -> None:
    worked(alice, images=4, gpu_ms=100)
    worked(bob, images=2, ago=1, key=bob.key)
    worked(mallory, images=9)
    answer = office.get(USAGE)
    check(schema, "get", USAGE, answer)
    assert answer.json()["results"] == [
        {"day": str(day(0)), "images": 4, "gpu_ms": 100, "tokens": 0},
        {"day": str(day(1)), "images": 2, "gpu_ms": 0, "tokens": 0},
    ]
    for person, images in ((alice, 4), (bob, 2)):
        assert [row["images"] for row in person.api.get(USAGE).json()["results"]] == [images]
    grouped = office.get(f"{USAGE}?group_by=member,key,model")
    check(schema, "get", USAGE, grouped)
    rows = grouped.json()["results"]
    names = {(row["member"]["name"], row["key"] and row["key"]["name"], row["model"]) for row in rows}
    assert names == {("alice", None, "demo"), ("bob", "test key", "demo")}


def test_pages_can_be_followed(alice: Person, office: Client) -> None:
    for ago in range(5):
        worked(alice, images=ago + 1, ago=ago)
    first = office.get(f"{USAGE}?limit=2&group_by=day").json()
    assert [row["images"] for row in first["results"]] == [1, 2] and first["previous"] is None
    second = office.get(first["next"]).json()
    assert [row["images"] for row in second["results"]] == [3, 4]
    assert office.get(second["previous"]).json()["results"] == first["results"]
    assert office.get(second["next"]).json()["next"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("group_by=hour", "group_by"), ("from=x", "from"), ("to=2026-02-30", "to"), ("cursor=x", "cursor"),
        ("from=2026-02-01&to=2026-01-01", "from"), ("from=2020-01-01&to=2026-01-01", "from"), ("limit=0", "limit"),
        ("unheard=1", "unheard"), ("model=%00", "model"),
        ("model=a%20b", "model"),
    ],
)  # fmt: skip
def test_wrong_queries_name_the_field(schema: dict[str, Any], office: Client, query: str, field: str) -> None:
    answer = office.get(f"{USAGE}?{query}")
    check(schema, "get", USAGE, answer)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])


def test_foreign_ids_are_404_like_unknown_ones(
    schema: dict[str, Any], alice: Person, bob: Person, mallory: Person, office: Client
) -> None:
    for name, foreign, own in (("member", mallory.user.pk, bob.user.pk), ("key", mallory.key.pk, bob.key.pk)):
        answers = [office.get(f"{USAGE}?{name}={id}") for id in (foreign, uuid7(), "x")]
        check(schema, "get", USAGE, answers[0])
        bodies = [answer.json() | {"request_id": ""} for answer in answers]
        assert bodies[0] == bodies[1] == bodies[2] and bodies[0]["status"] == 404
        assert office.get(f"{USAGE}?{name}={own}").status_code == 200
    assert bob.api.get(f"{USAGE}?member={alice.user.pk}").status_code == 404
    assert bob.api.get(f"{USAGE}?member={bob.user.pk}").status_code == 200


def test_scope_is_needed(alice: Person) -> None:
    _, secret = make_key(alice.tenant, alice.user, scopes=["images:read"])
    answer = Client(headers={"X-Api-Key": secret}).get(USAGE)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert Client().get(USAGE).status_code == 401


def test_budget_is_read_and_set(schema: dict[str, Any], alice: Person, bob: Person, office: Client) -> None:
    answer = put(office, bob.user.pk, {"images_per_day": 5, "tokens_per_day": None})
    check(schema, "put", BUDGET, answer)
    whole = {"images_per_day": 5, "images_per_month": None, "gpu_ms_per_day": None, "gpu_ms_per_month": None}
    assert answer.json() == whole | {"tokens_per_day": None}
    read = bob.api.get(BUDGET.format(member=bob.user.pk))
    check(schema, "get", BUDGET, read)
    assert read.json() == answer.json()
    left = {found["limit"]: found["left"] for found in bob.api.get("/api/v1/me").json()["limits"]}
    assert left["member_images_per_day"] == 5
    assert put(office, bob.user.pk, {}).json()["images_per_day"] is None
    with in_tenant(alice.tenant.pk):
        assert not MemberBudget.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"images_per_day": 0}, "images_per_day"), ({"images_per_day": "5"}, "images_per_day"),
        ({"images_per_day": True}, "images_per_day"), ({"images_per_day": 1.5}, "images_per_day"),
        ({"max_steps": 3}, "max_steps"), ({"user": "x"}, "user"), ({"images_per_day": 2**40}, "images_per_day"),
    ],
)  # fmt: skip
def test_wrong_budgets_name_the_field(
    schema: dict[str, Any], bob: Person, office: Client, body: dict[str, Any], field: str
) -> None:
    answer = put(office, bob.user.pk, {"tokens_per_day": 4} | body)
    check(schema, "put", BUDGET, answer)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])
    with in_tenant(bob.tenant.pk):
        assert not MemberBudget.objects.exists()


def test_whose_budget_is_nobodys_business(alice: Person, bob: Person, mallory: Person, office: Client) -> None:
    for stranger in (mallory.user.pk, uuid7()):
        assert office.get(BUDGET.format(member=stranger)).status_code == 404
        assert put(office, stranger, {"images_per_day": 1}).status_code == 404
    assert bob.api.get(BUDGET.format(member=alice.user.pk)).status_code == 404
    assert put(bob.api, bob.user.pk, {}).status_code == 403
    assert put(alice.api, bob.user.pk, {}).status_code == 403  # without the scope admin
    assert put(mallory.client, bob.user.pk, {"images_per_day": 1}).status_code == 404


def test_me_tells_of_storage(schema: dict[str, Any], alice: Person) -> None:
    answer = alice.api.get("/api/v1/me")
    check(schema, "get", "/api/v1/me", answer)
    assert answer.json()["storage"] == {"quota": None, "used": 0, "left": None}
    assert answer.json()["plan"]["tenant_requests_per_minute"] == 6000
