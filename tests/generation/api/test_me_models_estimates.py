"""Who am I, what may I draw with, what would it cost."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.tenancy import in_tenant
from generation.models import Model, ModelGrant
from tests.factories import Person
from tests.generation.api.calls import BODY, ledger, rows, submit, submitted


def test_me_by_key_and_by_session(alice: Person, bob: Person) -> None:
    by_key = alice.api.get("/api/v1/me").json()
    assert by_key["tenant"] == {"id": str(alice.tenant.pk), "name": alice.tenant.name}
    assert by_key["key"] == {"id": str(alice.key.pk)}
    assert by_key["member"] == {"id": str(alice.user.pk), "role": "owner"}
    assert by_key["scopes"] == ["images:read", "images:write", "usage:read"]
    by_session = bob.client.get("/api/v1/me").json()
    assert by_session["key"] is None
    assert by_session["member"]["role"] == "member"


def test_me_tells_what_is_left(alice: Person) -> None:
    submitted(alice, n=2)
    limits = {found["limit"]: found for found in alice.api.get("/api/v1/me").json()["limits"]}
    assert limits["images_per_day"]["reserved"] == 2


@pytest.mark.parametrize("path", ["me", "models", "images", "events"])
def test_nobody_is_401(path: str) -> None:
    answer = Client().get(f"/api/v1/{path}")
    assert answer.status_code == 401
    assert answer.json()["code"] == "not_signed_in"


def test_nobody_gets_an_estimate() -> None:
    answer = Client().post("/api/v1/estimates", BODY, content_type="application/json")
    assert answer.status_code == 401
    assert answer.json()["code"] == "not_signed_in"


def test_models_are_those_of_the_tenant(alice: Person, mallory: Person) -> None:
    demo = Model.objects.get(slug="demo")
    Model.objects.create(slug="private", title="Private", pool="demo", spec=demo.spec, public=False)
    Model.objects.create(slug="off", title="Off", pool="demo", spec=demo.spec, enabled=False)
    with in_tenant(alice.tenant.pk):
        ModelGrant.objects.create(model_id="private")

    def names(person: Person) -> set[str]:
        return {found["id"] for found in person.api.get("/api/v1/models").json()["results"]}

    assert names(alice) == {"demo", "private"}
    assert names(mallory) == {"demo"}
    assert submit(mallory, model="private").json() | {"request_id": "", "errors": {}, "detail": ""} == submit(
        mallory, model="off"
    ).json() | {"request_id": "", "errors": {}, "detail": ""}
    assert rows(mallory) == []
    assert submit(alice, model="private").status_code == 202


def test_models_say_no_paths(alice: Person) -> None:
    [model] = alice.api.get("/api/v1/models").json()["results"]
    assert model["defaults"]["num_inference_steps"] == 4
    assert "path" not in model and "sleeping" not in str(model).lower().replace("'title': 'sleeping'", "")


def test_estimate_stores_nothing(alice: Person) -> None:
    one = alice.api.post("/api/v1/estimates", BODY, content_type="application/json")
    four = alice.api.post("/api/v1/estimates", BODY | {"n": 4}, content_type="application/json")
    assert one.status_code == 200, one.content
    assert four.json()["gpu_ms"] == 4 * one.json()["gpu_ms"] > 0
    assert (one.json()["images"], four.json()["images"]) == (1, 4)
    assert rows(alice) == [] and ledger(alice) == {}


def test_estimate_is_what_is_reserved(alice: Person) -> None:
    estimate = alice.api.post("/api/v1/estimates", BODY | {"n": 3}, content_type="application/json").json()
    submitted(alice, n=3)
    assert ledger(alice) == {"images": 3, "gpu_ms": estimate["gpu_ms"]}


def test_estimate_refuses_like_submit(alice: Person) -> None:
    for wrong in ({"width": 100}, {"unheard_of": 1}, {"model": "unknown"}):
        answers = [
            alice.api.post(path, BODY | wrong, content_type="application/json")
            for path in ("/api/v1/estimates", "/api/v1/images")
        ]
        assert answers[0].status_code == answers[1].status_code == 400
        assert answers[0].json()["errors"] == answers[1].json()["errors"]
    assert rows(alice) == []
