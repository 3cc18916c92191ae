"""POST /api/v1/images: accepted, refused, repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.domain.budgets import set_budget
from accounts.models import Plan, Tenant
from accounts.tenancy import across_tenants, in_tenant
from tests.factories import Person, make_key, make_person, make_plan, make_tenant
from tests.generation.api.calls import BODY, IMAGES, ledger, rows, submit, submitted


def test_accepted_request_is_a_row_and_a_reserve(alice: Person) -> None:
    answer = submit(alice, seed=7, n=2, metadata={"order": "17"})
    assert answer.status_code == 202
    body = answer.json()
    assert answer["Location"].endswith(f"{IMAGES}/{body['id']}")
    assert answer["Content-Type"] == "application/json"
    assert (body["status"], body["prompt"], body["seed"], body["n"]) == ("queued", BODY["prompt"], 7, 2)
    assert body["queue"]["position"] == 1
    [row] = rows(alice)
    assert str(row.pk) == body["id"]
    assert (row.user, row.key, row.status) == (alice.user.pk, alice.key.pk, "queued")
    assert ledger(alice) == {"images": 2, "gpu_ms": row.estimate_ms}


@pytest.mark.parametrize("number", ["1e300", "-1e19", "9.2e18", "5e-324", "-0.0"])
def test_no_number_in_the_metadata_spoils_the_list(alice: Person, number: str) -> None:
    """What is taken is given back; the database writes a large float as an integer."""
    body = json.dumps(BODY | {"metadata": {"x": 0}}).replace('"x": 0', f'"x": {number}')
    answer = alice.api.post(IMAGES, body, content_type="application/json")
    assert answer.status_code == (400 if "1e300" in number or "e19" in number else 202)
    listed = alice.api.get(IMAGES)
    assert listed.status_code == 200
    assert [one["metadata"]["x"] for one in listed.json()["results"]] == [float(number)] * (answer.status_code == 202)


def test_session_submits_with_its_csrf_token_only(bob: Person) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(bob.user)
    refused = browser.post(IMAGES, BODY, content_type="application/json")
    assert refused.status_code == 403
    assert rows(bob) == []
    browser.cookies["studio_csrf"] = token = "a" * 32
    accepted = browser.post(IMAGES, BODY, content_type="application/json", headers={"X-CSRFToken": token})
    assert accepted.status_code == 202
    [row] = rows(bob)
    assert (row.user, row.key) == (bob.user.pk, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unheard_of", 1), ("prompt", ""), ("prompt", "   "), ("prompt", 7), ("prompt", None), ("prompt", "x" * 32_769),
        ("width", 63), ("width", 100), ("width", "64"), ("width", True), ("width", 1_000_000), ("height", -16),
        ("num_inference_steps", 0), ("num_inference_steps", 1000), ("n", 0), ("n", 11), ("n", 1.5),
        ("seed", -1), ("seed", 1.5), ("true_cfg_scale", -1), ("true_cfg_scale", "4"), ("loras", "portrait"),
        ("loras", [{"name": "of somebody else"}]), ("output_format", "svg"), ("metadata", [1]),
        ("webhook", "x"), ("model", "unknown"), ("model", ""), ("model", 1),
    ],
)  # fmt: skip
def test_wrong_field_is_named_and_nothing_is_stored(alice: Person, field: str, value: Any) -> None:
    answer = submit(alice, **{field: value})
    assert answer.status_code == 400, answer.content
    body = answer.json()
    assert answer["Content-Type"] == "application/problem+json"
    assert field in body["errors"], body
    assert body["request_id"] == answer["X-Request-ID"]
    assert rows(alice) == [] and ledger(alice) == {}


def test_unknown_webhook_is_missing_and_nothing_is_stored(alice: Person) -> None:
    answer = submit(alice, webhook="01a1fc51-f1f6-7d79-b0f9-83b32cf51d9f")
    assert (answer.status_code, answer.json()["errors"]) == (404, {"webhook": ["no such webhook endpoint"]})
    assert rows(alice) == [] and ledger(alice) == {}


def test_too_long_prompt_has_the_promised_words(alice: Person) -> None:
    assert "prompt too long, max 32768 chars" in submit(alice, prompt="x" * 100_000).json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b'"text"', 400), (b"null", 400),
        (b'{"model": "demo", "prompt": "a\\u0000b"}', 400), (b'{"model": "demo", "prompt": "\\ud800"}', 400),
        (b'{"model": "demo", "prompt": "x", "seed": NaN}', 400), (b'{"model": "demo", "model": "demo"}', 400),
        (b'{"model": "demo", "prompt": "\xff"}', 400), (b"[" * 100_000, 400), (b"x" * 32_000_001, 413),
    ],
)  # fmt: skip
def test_malformed_body_is_refused(alice: Person, body: bytes, status: int) -> None:
    answer = alice.api.generic("POST", IMAGES, body, content_type="application/json")
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    assert rows(alice) == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_other_content_is_415(alice: Person, kind: str) -> None:
    assert alice.api.generic("POST", IMAGES, b"prompt=x", content_type=kind).status_code == 415
    assert rows(alice) == []


def test_repeated_key_makes_nothing_new(alice: Person) -> None:
    first = submit(alice, headers={"Idempotency-Key": '"order-17"'})
    second = submit(alice, headers={"Idempotency-Key": "order-17"})  # bare is the same key
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert "Idempotency-Replayed" not in first and second["Idempotency-Replayed"] == "true"
    assert len(rows(alice)) == 1 and ledger(alice)["images"] == 1


def test_key_with_another_body_is_422(alice: Person) -> None:
    submit(alice, headers={"Idempotency-Key": "k"})
    answer = submit(alice, headers={"Idempotency-Key": "k"}, seed=8)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(rows(alice)) == 1


def test_keys_are_each_callers_own(alice: Person, bob: Person, mallory: Person) -> None:
    ids = {submit(person, headers={"Idempotency-Key": "same"}).json()["id"] for person in (alice, bob, mallory)}
    assert len(ids) == 3


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "grün"])
def test_bad_idempotency_key_is_refused(alice: Person, key: str) -> None:
    answer = submit(alice, headers={"Idempotency-Key": key})
    assert answer.status_code == 400
    assert rows(alice) == []


def test_longest_idempotency_key_is_taken(alice: Person) -> None:
    assert submit(alice, headers={"Idempotency-Key": "x" * 255}).status_code == 202


def test_key_without_the_scope_is_403(alice: Person) -> None:
    _, secret = make_key(alice.tenant, alice.user, scopes=["images:read"])
    answer = Client(headers={"X-Api-Key": secret}).post(IMAGES, BODY, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert rows(alice) == []


@pytest.mark.parametrize("secret", ["", "qs_live_nonsense", "{}x"])
def test_bad_key_is_401(alice: Person, secret: str) -> None:
    answer = Client(headers={"Authorization": f"Bearer {secret.format(alice.secret)}"}).post(
        IMAGES, BODY, content_type="application/json"
    )
    assert (answer.status_code, answer.json()["detail"]) == (401, "invalid api key")
    assert answer["WWW-Authenticate"].startswith("Bearer")


def limited(**limits: Any) -> Person:
    """Somebody on a plan with these limits."""
    plan: Plan = make_plan(**limits)
    return make_person(*make_tenant("Limited", plan=plan))


def test_used_up_quota_is_429_and_changes_nothing() -> None:
    person = limited(images_per_day=3)
    submitted(person, n=3)
    answer = submit(person)
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert 0 < int(answer["Retry-After"]) <= 86_400
    assert answer["RateLimit"].startswith('"images_per_day";r=0;t=')
    assert answer["RateLimit-Policy"] == '"images_per_day";q=3;w=86400'
    assert len(rows(person)) == 1 and ledger(person)["images"] == 3


def test_full_queue_is_429() -> None:
    person = limited(queue_length=1)
    submitted(person)
    answer = submit(person)
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
    assert answer.json()["limit"] == "queue_length"
    assert "1 generations of your organisation are waiting" in answer.json()["detail"]
    assert answer["Retry-After"] == "10" and answer["RateLimit"] == '"queue_length";r=0;t=10'
    assert len(rows(person)) == 1 and ledger(person)["images"] == 1


def test_used_up_budget_names_the_member(alice: Person, bob: Person) -> None:
    with in_tenant(alice.tenant.pk):
        set_budget(by=alice.caller, user=bob.user.pk, limits={"images_per_day": 1})
    submitted(bob)
    answer = submit(bob)
    assert (answer.status_code, answer.json()["limit"]) == (429, "member_images_per_day")
    assert answer["RateLimit-Policy"] == '"member_images_per_day";q=1;w=86400'
    assert 0 < int(answer["Retry-After"]) <= 86_400
    assert submit(alice).status_code == 202


def test_full_storage_is_no_429() -> None:
    person = limited(storage_bytes=1000)
    with across_tenants():
        Tenant.objects.filter(pk=person.tenant.pk).update(stored_bytes=1000)
    answer = submit(person)
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (409, "storage_full", "storage_bytes")
    assert "Retry-After" not in answer and "delete some" in answer.json()["detail"]
    assert rows(person) == [] and ledger(person) == {}


def test_cancelled_submits_do_not_go_on_for_ever() -> None:
    person = limited(cancels_per_day=3)
    for _ in range(3):
        assert person.api.post(f"{IMAGES}/{submitted(person)}/cancel").json()["status"] == "canceled"
    answer = submit(person)
    assert (answer.status_code, answer.json()["limit"]) == (429, "cancels_per_day")
    assert 0 < int(answer["Retry-After"]) <= 86_400
    assert answer["RateLimit-Policy"] == '"cancels_per_day";q=3;w=86400'
    assert len(rows(person)) == 3 and ledger(person) == {"images": 0, "gpu_ms": 0}
    [*_, last] = rows(person)
    assert person.api.delete(f"{IMAGES}/{last.pk}").status_code == 204
    assert submit(person).status_code == 429  # the ledger remembers what the rows do not


def test_all_keys_of_a_tenant_share_its_minute(bob: Person) -> None:
    person = limited(tenant_requests_per_minute=4)
    keys = [make_key(person.tenant, person.user)[1] for _ in range(3)]
    clients = [person.client, *(Client(headers={"X-Api-Key": secret}) for secret in keys)]
    answers = [client.get(IMAGES) for client in clients]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert answers[-1]["RateLimit"].split(", ")[1].startswith('"tenant_requests_per_minute";r=0;t=')
    refused = clients[1].get(IMAGES)
    assert (refused.status_code, refused.json()["limit"]) == (429, "tenant_requests_per_minute")
    assert refused["RateLimit-Policy"] == '"tenant_requests_per_minute";q=4;w=60'
    assert 0 < int(refused["Retry-After"]) <= 60
    assert bob.api.get(IMAGES).status_code == 200


def test_one_client_in_a_loop_does_not_shut_out_its_colleagues() -> None:
    person = limited(requests_per_minute=2, tenant_requests_per_minute=4)
    loops = [person.api.get(IMAGES).status_code for _ in range(10)]
    assert loops == [200, 200] + [429] * 8
    assert [person.client.get(IMAGES).status_code for _ in range(2)] == [200, 200]


def test_impolite_client_is_429_and_told_when(bob: Person) -> None:
    person = limited(requests_per_minute=3)
    answers = [person.api.get(IMAGES) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer["RateLimit"].split(";")[1] for answer in answers[:3]] == ["r=2", "r=1", "r=0"]
    refused = answers[3]
    assert refused.json()["code"] == "rate_limited"
    assert 0 < int(refused["Retry-After"]) <= 60
    assert refused["RateLimit-Policy"] == '"requests_per_minute";q=3;w=60'
    assert person.client.get(IMAGES).status_code == 200  # the person is not the key
    assert bob.api.get(IMAGES).status_code == 200


def test_nobody_is_counted_while_valkey_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    from accounts import valkey

    person = limited(requests_per_minute=1)
    monkeypatch.setattr(valkey, "_NOBODY", "redis://127.0.0.1:1/0")
    monkeypatch.setattr("django.conf.settings.REDIS_URL", "")
    valkey.redis_client.cache_clear()
    try:
        assert [submit(person).status_code for _ in range(3)] == [202, 202, 202]
    finally:
        valkey.redis_client.cache_clear()
        valkey.breaker.reset()
    assert len(rows(person)) == 3


def test_key_has_limits_of_its_own(alice: Person) -> None:
    limits = {"images_per_day": 2, "max_steps": 3, "max_pixels": 128 * 128}
    _, secret = make_key(alice.tenant, alice.user, limits=limits)
    client = Client(headers={"Authorization": f"Bearer {secret}"})

    def ask(**values: Any) -> Any:
        body = BODY | {"num_inference_steps": 3} | values
        return client.post(IMAGES, body, content_type="application/json")

    assert ask(num_inference_steps=4).json()["errors"] == {"num_inference_steps": ["over your limit of 3 steps, got 4"]}
    assert "over your limit of 16384 pixels" in str(ask(width=256, height=128).json()["errors"]["width"])
    assert ask(n=2).status_code == 202
    refused = ask()
    assert refused.status_code == 429
    assert refused.json()["code"] == "quota_exceeded"
    assert "this key's limit of 2 images a day" in refused.json()["detail"]
    assert int(refused["Retry-After"]) > 0
    assert "key_images_per_day" in refused["RateLimit-Policy"]
    assert submit(alice).status_code == 202  # another key of the same person is not held up
