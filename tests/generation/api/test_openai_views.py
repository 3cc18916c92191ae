"""/v1/ as far as Django goes: what is stored, what is refused in OpenAI's shape, what is told of limits and models."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError
from django.test import Client

from accounts.domain.limits import MAX_LARGE_LIMIT
from accounts.enums import Scope
from accounts.ids import uuid7
from accounts.models import Plan, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.cancel import cancel_generation
from generation.models import ChatGrant, ChatModel, Model, ModelGrant
from tests.chaos.rig import make_entry
from tests.factories import Person, make_key, make_plan
from tests.generation.api.calls import finish, ledger, rows
from tests.pictures import data_url, png

GENERATIONS = "/v1/images/generations"
BODY = {"model": "demo", "prompt": "a white house", "size": "64x64"}
SIX = {
    f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in ("requests", "tokens")
}  # fmt: skip


def ask(person: Person, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """POST /v1/images/generations with the person's key."""
    return person.api.post(GENERATIONS, {**BODY, **fields}, content_type="application/json", headers=headers or {})


def error_of(answer: Any) -> dict[str, Any]:
    """The error, which has OpenAI's four members and nothing beside."""
    assert answer["Content-Type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    found: dict[str, Any] = body["error"]
    return found


def limit(person: Person, **limits: Any) -> None:
    with across_tenants():
        Tenant.objects.filter(pk=person.tenant.pk).update(plan=make_plan(**limits))


def test_accepted_request_is_a_row_like_any_other(alice: Person) -> None:
    answer = ask(alice, seed=7, n=2, output_format="jpeg", output_compression=30, user="u-1", stream=True)
    assert answer.status_code == 202
    [row] = rows(alice)
    assert UUID(answer.json()["id"]) == row.pk
    assert answer["Location"].endswith(f"/api/v1/images/{row.pk}")
    assert (row.model_id, row.prompt, row.width, row.height, row.n, row.seed) == ("demo", "a white house", 64, 64, 2, 7)
    assert (row.params["output_format"], row.params["output_compression"]) == ("jpeg", 30)
    assert (row.user, row.key) == (alice.user.pk, alice.key.pk)
    assert "u-1" not in str(row.params)
    assert ledger(alice) == {"images": 2, "gpu_ms": row.estimate_ms}


def test_compression_is_kept_by_a_retry(alice: Person, media: Path) -> None:
    first = ask(alice, output_format="webp", output_compression=30).json()["id"]
    finish(alice, UUID(first), media)
    assert alice.api.post(f"/api/v1/images/{first}/retry").status_code == 202
    assert [row.params["output_compression"] for row in rows(alice)] == [30, 30]


def test_no_model_is_the_first_on_offer(alice: Person) -> None:
    entry = {**make_entry(), "title": "First"}
    Model.objects.create(slug="first", title="First", pool="demo", spec=entry, position=-1 + 1)
    Model.objects.filter(slug="demo").update(position=5)
    assert alice.api.post(GENERATIONS, {"prompt": "x"}, content_type="application/json").status_code == 202
    assert [row.model_id for row in rows(alice)] == ["first"]


def test_a_broken_entry_is_passed_by(alice: Person) -> None:
    Model.objects.create(slug="a-broken", title="Broken", pool="demo", position=0, spec={"family": "none"})
    Model.objects.filter(slug="demo").update(position=9)
    answer = alice.api.post(GENERATIONS, {"prompt": "x"}, content_type="application/json")
    assert answer.status_code == 202
    assert rows(alice)[0].model_id == "demo"


def test_without_any_model_it_is_missing(alice: Person) -> None:
    Model.objects.update(enabled=False)
    answer = alice.api.post(GENERATIONS, {"prompt": "x"}, content_type="application/json")
    assert (answer.status_code, error_of(answer)["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("prompt", "", "prompt"), ("size", "100x100", "size"), ("size", "1024x64", "size"), ("n", 11, "n"),
        ("seed", 1.5, "seed"), ("background", "transparent", "background"), ("output_format", "gif", "output_format"),
        ("response_format", "x", "response_format"), ("partial_images", 9, "partial_images"),
        ("num_inference_steps", 9, "num_inference_steps"), ("loras", [{"name": "foreign"}], "loras"),
        ("quality", "x", "quality"), ("output_compression", 5, "output_compression"), ("stream", "x", "stream"),
    ],
)  # fmt: skip
def test_wrong_field_is_the_param_and_nothing_is_stored(alice: Person, field: str, value: Any, param: str) -> None:
    answer = ask(alice, **{field: value})
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["param"], error["type"], error["code"]) == (param, "invalid_request_error", "invalid_request")
    assert rows(alice) == [] and ledger(alice) == {}


def test_foreign_model_is_as_missing_as_none(alice: Person, mallory: Person) -> None:
    Model.objects.create(slug="theirs", title="x", pool="demo", spec=make_entry(), public=False)
    with in_tenant(mallory.tenant.pk):
        ModelGrant.objects.create(tenant_id=mallory.tenant.pk, model_id="theirs")
    assert ask(mallory, model="theirs").status_code == 202
    answers = [ask(alice, model=slug) for slug in ("theirs", "nobodys")]
    for answer, slug in zip(answers, ("theirs", "nobodys"), strict=True):
        error = error_of(answer)
        assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert error["type"] == "invalid_request_error"
        assert slug in error["message"]
        looked = alice.api.get(f"/v1/models/{slug}")
        assert (looked.status_code, error_of(looked)) == (404, error)
    assert "theirs" not in [one["id"] for one in alice.api.get("/v1/models").json()["data"]]
    assert rows(alice) == []


def test_credentials_are_refused_in_openais_words(alice: Person) -> None:
    small, secret = make_key(alice.tenant, alice.user, scopes=(Scope.USAGE_READ.value,))
    cases = [
        ({}, 401, "not_signed_in"),
        ({"Authorization": "Bearer sk-wrong"}, 401, "invalid_api_key"),
        ({"Authorization": f"Bearer {secret}"}, 403, "not_allowed"),
    ]
    for headers, status, code in cases:
        for answer in (
            Client(headers=headers).post(GENERATIONS, BODY, content_type="application/json"),
            Client(headers=headers).get("/v1/models"),
        ):
            error = error_of(answer)
            assert (answer.status_code, error["code"], error["param"]) == (status, code, None)
            assert error["type"] == "invalid_request_error"
            assert ("WWW-Authenticate" in answer) is (status == 401)
            assert ({name.lower() for name in answer.headers} >= SIX) is (status == 403)  # only whom we know
    assert small.pk and rows(alice) == []


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_json"), (b"[]", "application/json", 400, "invalid_request"),
        (b"x" * 1_048_577, "application/json", 413, "body_too_large"),
        (b"x", "text/plain", 415, "unsupported_media_type"),
        (b'{"model": "demo", "prompt": "a\\u0000b"}', "application/json", 400, "malformed_json"),
    ],
)  # fmt: skip
def test_bad_body_is_openais_error(alice: Person, body: bytes, kind: str, status: int, code: str) -> None:
    answer = alice.api.generic("POST", GENERATIONS, body, content_type=kind)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert rows(alice) == []


def test_other_methods_and_paths(alice: Person) -> None:
    for answer in (alice.api.get(GENERATIONS), alice.api.delete("/v1/models")):
        assert (answer.status_code, error_of(answer)["code"]) == (405, "method_not_allowed")
    for answer in (alice.api.get("/v1/nothing"), Client().post("/v1/images/variations"), alice.api.get("/v1/models/")):
        assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


def test_no_database_is_a_503(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("no database")

    monkeypatch.setattr("accounts.web.middleware.caller_of_key", away)
    answer = ask(alice)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert error_of(answer)["type"] == "server_error"


# ---- quotas and rates


def test_used_up_quota(alice: Person) -> None:
    limit(alice, images_per_day=1)
    assert ask(alice).status_code == 202
    answer = ask(alice)
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["type"]) == (429, "insufficient_quota", "insufficient_quota")
    assert int(answer["Retry-After"]) >= 1
    assert (answer.get("x-should-retry") == "false") is (int(answer["Retry-After"]) > 60)
    assert {name.lower() for name in answer.headers} >= SIX
    assert len(rows(alice)) == 1


def test_full_queue(alice: Person) -> None:
    limit(alice, queue_length=1)
    assert ask(alice).status_code == 202
    answer = ask(alice)
    assert (answer.status_code, error_of(answer)["code"], error_of(answer)["type"]) == (429, "queue_full", "requests")
    assert "x-should-retry" not in answer  # by itself a client may try again


def test_six_headers_count_down(alice: Person) -> None:
    limit(alice, requests_per_minute=3, tokens_per_day=1000)
    answers = [alice.api.get("/v1/models") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer["x-ratelimit-limit-requests"] for answer in answers} == {"3"}
    assert all(answer["x-ratelimit-reset-requests"].endswith("s") for answer in answers)
    assert (answers[0]["x-ratelimit-limit-tokens"], answers[0]["x-ratelimit-remaining-tokens"]) == ("1000", "1000")
    assert answers[0]["RateLimit"].startswith('"requests_per_minute";r=2;')
    error = error_of(answers[3])
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "requests")


def test_what_is_unlimited_has_a_number_too(alice: Person) -> None:
    limit(alice, tokens_per_day=None)
    answer = alice.api.get("/v1/models")
    assert {name.lower() for name in answer.headers} >= SIX
    assert answer["x-ratelimit-remaining-tokens"] == str(MAX_LARGE_LIMIT)
    assert answer["x-ratelimit-reset-tokens"] == "0s"


def test_the_tenants_rate_counts_where_it_is_nearer(alice: Person) -> None:
    limit(alice, requests_per_minute=100, tenant_requests_per_minute=5)
    answer = alice.api.get("/v1/models")
    assert (answer["x-ratelimit-limit-requests"], answer["x-ratelimit-remaining-requests"]) == ("5", "4")


# ---- the same request again


def test_repeated_key_is_refused_while_the_first_is_drawn(alice: Person, media: Path) -> None:
    first = ask(alice, {"Idempotency-Key": "k"})
    again = ask(alice, {"Idempotency-Key": "k"})
    assert (again.status_code, error_of(again)["code"]) == (409, "idempotency_in_progress")
    assert int(again["Retry-After"]) >= 1
    finish(alice, UUID(first.json()["id"]), media)
    done = ask(alice, {"Idempotency-Key": "k"})
    assert (done.status_code, done["Idempotency-Replayed"]) == (202, "true")
    assert done.json() == first.json()
    other = ask(alice, {"Idempotency-Key": "k"}, seed=8)
    assert (other.status_code, error_of(other)["code"]) == (422, "idempotency_key_reused")
    assert len(rows(alice)) == 1 and ledger(alice)["images"] == 1


def test_a_cancelled_first_is_no_answer_to_repeat(alice: Person) -> None:
    first = ask(alice, {"Idempotency-Key": "k"}).json()["id"]
    with in_tenant(alice.tenant.pk):
        cancel_generation(UUID(first))
    again = ask(alice, {"Idempotency-Key": "k"})
    assert (again.status_code, "Idempotency-Replayed" in again) == (202, False)
    assert again.json()["id"] != first


# ---- models


def test_models_in_openais_shape(alice: Person) -> None:
    listed = alice.api.get("/v1/models").json()
    made = int(Model.objects.get(slug="demo").created_at.timestamp())
    demo = {"id": "demo", "object": "model", "created": made, "owned_by": "qwenstudio"}
    assert listed == {"object": "list", "data": [demo]}
    assert alice.api.get("/v1/models/demo").json() == demo
    Model.objects.update(enabled=False)
    assert alice.api.get("/v1/models").json()["data"] == []


def test_chat_models_are_for_the_scope_of_chat(alice: Person, mallory: Person) -> None:
    ChatModel.objects.create(slug="talker", title="Talker", position=1)
    ChatModel.objects.create(slug="theirs", title="Theirs", public=False)
    ChatModel.objects.create(slug="off", title="Off", enabled=False)
    with in_tenant(mallory.tenant.pk):
        ChatGrant.objects.create(tenant_id=mallory.tenant.pk, model_id="theirs")

    def seen(person: Person, *scopes: Scope) -> list[str]:
        _, secret = make_key(person.tenant, person.user, scopes=tuple(scope.value for scope in scopes))
        client = Client(headers={"Authorization": f"Bearer {secret}"})
        for slug, status in (("talker", 200), ("off", 404), ("theirs", 200 if person is mallory else 404)):
            found = client.get(f"/v1/models/{slug}").status_code
            assert found == (status if Scope.CHAT in scopes else 404)
        return [one["id"] for one in client.get("/v1/models").json()["data"]]

    assert seen(alice, Scope.CHAT) == ["talker"]
    assert seen(alice, Scope.IMAGES_READ) == ["demo"]
    assert seen(mallory, Scope.IMAGES_READ, Scope.CHAT) == ["demo", "theirs", "talker"]


# ---- edits


def offer_text_only() -> None:
    """The only model starts from no picture."""
    Model.objects.filter(slug="demo").update(spec={**make_entry(), "tasks": ["text-to-image"]})


def test_edits_say_what_the_model_does_instead(alice: Person) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    offer_text_only()
    picture = SimpleUploadedFile("a.png", b"x", content_type="image/png")
    answer = alice.api.post("/v1/images/edits", {"model": "demo", "prompt": "x", "image": picture})
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (400, "task_not_offered", "model")
    assert "'image-to-image'" in error["message"] and "text-to-image" in error["message"]
    assert rows(alice) == []


def test_edits_of_no_or_unknown_models(alice: Person) -> None:
    offer_text_only()
    for fields in ({"prompt": "x"}, {"model": "nobodys", "prompt": "x"}):
        fields["image"] = data_url(png())
        answer = alice.api.post("/v1/images/edits", fields)
        assert (answer.status_code, error_of(answer)["param"]) == (404, "model")
    for content in (b"", b"--x\r\nnonsense"):
        answer = alice.api.generic("POST", "/v1/images/edits", content, content_type="multipart/form-data; boundary=x")
        assert answer.status_code in (400, 404)
    large = alice.api.generic(
        "POST", "/v1/images/edits", b"x" * 32_000_001, content_type="multipart/form-data; boundary=x"
    )
    assert (large.status_code, error_of(large)["code"]) == (413, "body_too_large")


def test_default_plan_has_room(alice: Person) -> None:
    """The plans that come with the studio let the example of the docs through."""
    assert Plan.objects.exists() and uuid7()
    assert ask(alice, size="auto").status_code == 202
