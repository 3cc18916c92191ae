"""/api/v1/loras and /api/v1/grids, and LoRAs in /api/v1/images and estimates."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.tenancy import in_tenant
from generation.models import LoraGrant
from tests.factories import Person
from tests.generation.api.calls import BODY, ledger, rows, submit
from tests.generation.lorafiles import offer_lora

GRID = {**BODY, "width": 64, "height": 64, "n": 2, "lora": "style", "scales": [0, 0.5, 1]}


def post(person: Person, path: str, body: Any, **headers: str) -> Any:
    return person.api.post(f"/api/v1/{path}", body, content_type="application/json", headers=headers)


def test_the_list_is_what_the_tenant_may_use(alice: Person, mallory: Person) -> None:
    offer_lora("b", position=2), offer_lora("off", enabled=False)
    offer_lora("a", position=1, description="Soft light", trigger_words="portrait", default_scale=0.8, max_scale=1.5)
    offer_lora("private", public=False, position=3)
    with in_tenant(mallory.tenant.pk):
        LoraGrant.objects.create(lora_id="private")
    answer = alice.api.get("/api/v1/loras")
    assert answer.status_code == 200
    assert (answer.json()["next"], answer.json()["previous"]) == (None, None)
    first, second = answer.json()["results"]
    assert first == {
        "id": "a", "title": "A", "description": "Soft light", "trigger_words": "portrait", "models": ["demo"],
        "scale": {"default": 0.8, "min": -2.0, "max": 1.5}, "rank": 4, "licence": "",
    }  # fmt: skip
    assert second["id"] == "b"
    assert [lora["id"] for lora in mallory.api.get("/api/v1/loras").json()["results"]] == ["a", "b", "private"]
    assert alice.api.get("/api/v1/loras?x=1").status_code == 400


def test_an_image_with_a_lora(alice: Person) -> None:
    offer_lora()
    answer = submit(alice, loras=[{"name": "style", "scale": 0.5}])
    assert answer.status_code == 202
    assert answer.json()["loras"] == [{"name": "style", "scale": 0.5}]
    assert submit(alice, loras=[{"name": "style"}]).json()["loras"] == [{"name": "style", "scale": 1.0}]
    plain = post(alice, "estimates", BODY).json()["gpu_ms"]
    assert post(alice, "estimates", {**BODY, "loras": [{"name": "style"}]}).json()["gpu_ms"] > plain


@pytest.mark.parametrize(
    "loras",
    [
        '[{"name": "never"}]', '[{"name": "private"}]', '[{"name": "style", "scale": NaN}]',
        '[{"name": "style", "scale": 2.5}]', '[{"name": "style", "scale": Infinity}]',
        '[{"name": "style"}, {"name": "style"}]',
        '[{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}, {"name": "e"}]', '[{"name": "elsewhere"}]',
        '[{"name": ""}]', '[{"name": "a\\u0000"}]', '[{}]', '[[]]', '"style"',
        '[{"name": "style", "path": "/etc/passwd"}]',
    ],
)  # fmt: skip
def test_loras_that_are_refused_by_name(alice: Person, loras: str) -> None:
    offer_lora(), offer_lora("private", public=False), offer_lora("elsewhere", fits=["large"])
    for path in ("images", "estimates"):
        body = f'{{"model": "demo", "prompt": "x", "loras": {loras}}}'
        answer = post(alice, path, body)
        assert answer.status_code == 400, answer.content
        problem = answer.json()
        no_json = any(word in loras for word in ("NaN", "Infinity", "u0000"))
        assert problem["code"] == ("malformed_json" if no_json else "invalid_request")
        assert no_json or "loras" in problem["errors"]
    assert rows(alice) == []
    assert ledger(alice) == {}


def test_a_foreign_one_is_answered_like_none(alice: Person, mallory: Person) -> None:
    offer_lora("foreign", public=False)
    with in_tenant(mallory.tenant.pk):
        LoraGrant.objects.create(lora_id="foreign")
    assert submit(mallory, loras=[{"name": "foreign"}]).status_code == 202
    answers = [submit(alice, loras=[{"name": name}]) for name in ("foreign", "neverno")]
    texts = [
        answer.content.decode().replace(name, "it")
        for answer, name in zip(answers, ("foreign", "neverno"), strict=True)
    ]
    ids = [answer.json()["request_id"] for answer in answers]
    assert texts[0].replace(ids[0], "") == texts[1].replace(ids[1], "")


def test_a_grid(alice: Person, mallory: Person) -> None:
    offer_lora()
    answer = post(alice, "grids", GRID, **{"Idempotency-Key": "one"})
    assert answer.status_code == 202, answer.content
    made = answer.json()["results"]
    assert [one["loras"] for one in made] == [[{"name": "style", "scale": scale}] for scale in (0, 0.5, 1)]
    assert {one["grid"] for one in made} == {made[0]["id"]}
    assert {(one["n"], one["seed"]) for one in made} == {(2, made[0]["seed"])}
    again = post(alice, "grids", GRID, **{"Idempotency-Key": "one"})
    assert [one["id"] for one in again.json()["results"]] == [one["id"] for one in made]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert post(alice, "grids", {**GRID, "n": 1}, **{"Idempotency-Key": "one"}).status_code == 422
    assert len(rows(alice)) == 3
    assert ledger(alice)["images"] == 6
    assert mallory.api.get(f"/api/v1/images/{made[0]['id']}").status_code == 404
    for wrong in ({**GRID, "scales": [1]}, {**GRID, "lora": "never"}, {**GRID, "x": 1}, []):
        assert post(alice, "grids", wrong).status_code == 400
    assert len(rows(alice)) == 3
