"""/api/v1/styles, and `style` in requests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.factories import Person
from tests.generation.api.calls import BODY, ledger, rows, submit
from tests.generation.lorafiles import offer_lora

STYLES = "/api/v1/styles"
INK = {"name": "Ink", "prompt": "an ink drawing of {prompt}", "negative_prompt": "colour"}


@pytest.fixture
def boss(alice: Person) -> Any:
    """Alice, signed in: her key has no `admin`."""
    return alice.client


def send(client: Any, method: str, path: str = "", body: Any = None) -> Any:
    call = getattr(client, method)
    return call(f"{STYLES}{path}", body, content_type="application/json") if body is not None else call(STYLES + path)


def test_make_read_change_order_delete(boss: Any, alice: Person, bob: Person) -> None:
    assert send(bob.api, "get").json() == {"results": [], "next": None, "previous": None}
    answer = send(boss, "post", body=INK)
    assert answer.status_code == 201, answer.content
    ink = answer.json()
    assert ink == {
        **INK,
        "id": ink["id"],
        "position": 0,
        "created_at": ink["created_at"],
        "updated_at": ink["updated_at"],
    }
    assert answer.headers["Location"].endswith(f"{STYLES}/{ink['id']}")
    oil = send(boss, "post", body={"name": "Oil", "prompt": "oil, {prompt}"}).json()
    assert (oil["position"], oil["negative_prompt"]) == (1, "")
    moved = send(boss, "patch", f"/{oil['id']}", {"position": 0, "name": "Oil paint"})
    assert (moved.status_code, moved.json()["position"], moved.json()["name"]) == (200, 0, "Oil paint")
    assert [(one["name"], one["position"]) for one in send(bob.api, "get").json()["results"]] == [
        ("Oil paint", 0),
        ("Ink", 1),
    ]
    assert send(bob.api, "get", f"/{ink['id']}").json()["prompt"] == INK["prompt"]
    assert send(boss, "delete", f"/{oil['id']}").status_code == 204
    assert send(bob.api, "get", f"/{oil['id']}").status_code == 404
    assert [one["position"] for one in send(bob.api, "get").json()["results"]] == [0]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({**INK, "name": "Other", "position": -1}, 400, "position"), ({**INK, "x": 1}, 400, "x"),
        ({**INK, "id": "x"}, 400, "id"), ({"name": "Other"}, 400, "prompt"),
        ({**INK, "name": 5, "prompt": []}, 400, "prompt"),
        ({**INK, "name": ""}, 400, "name"), ({"name": "Other", "prompt": "without"}, 400, "prompt"),
        ({**INK, "name": "INK"}, 409, None),
    ],
)  # fmt: skip
def test_refused_by_name(boss: Any, body: dict[str, Any], status: int, field: str | None) -> None:
    assert send(boss, "post", body=INK).status_code == 201
    answer = send(boss, "post", body=body)
    assert answer.status_code == status, answer.content
    assert field is None or field in answer.json()["errors"]
    assert status == 400 or answer.json()["code"] == "style_exists"
    assert len(send(boss, "get").json()["results"]) == 1


def test_a_new_one_may_say_its_place(boss: Any) -> None:
    send(boss, "post", body=INK)
    assert send(boss, "post", body={"name": "First", "prompt": "{prompt}", "position": 0}).json()["position"] == 0
    assert [one["name"] for one in send(boss, "get").json()["results"]] == ["First", "Ink"]


def test_a_picture_in_a_style(boss: Any, alice: Person, bob: Person) -> None:
    send(boss, "post", body=INK)
    answer = submit(bob, style="ink", n=2)
    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert (body["prompt"], body["style"]) == (f"an ink drawing of {BODY['prompt']}", "Ink")
    assert body["negative_prompt"] == "colour"
    assert submit(bob).json()["style"] is None
    for nothing in ("", None):
        assert submit(bob, style=nothing).json()["prompt"] == BODY["prompt"]
    assert ledger(alice)["images"] == 2 + 3


def test_a_style_that_is_none_draws_nothing(alice: Person, mallory: Person) -> None:
    assert send(mallory.client, "post", body=INK).status_code == 201
    answers = {name: submit(alice, style=name) for name in ("Ink", "Nix")}
    texts = {
        answer.content.decode().replace(name, "it").replace(answer.json()["request_id"], "")
        for name, answer in answers.items()
    }
    assert len(texts) == 1  # another tenant's is answered like none
    assert [answer.status_code for answer in answers.values()] == [400, 400]
    assert "style" in answers["Ink"].json()["errors"]
    for wrong in (5, ["Ink"], "x" * 101):
        assert "style" in submit(alice, style=wrong).json()["errors"]
    assert rows(alice) == []


def test_estimates_and_grids_know_it(boss: Any, alice: Person) -> None:
    send(boss, "post", body=INK)
    offer_lora()
    asked = {**BODY, "style": "Ink"}
    plain = alice.api.post("/api/v1/estimates", BODY, content_type="application/json").json()["gpu_ms"]
    guided = alice.api.post("/api/v1/estimates", {**asked, "true_cfg_scale": 4}, content_type="application/json")
    assert guided.json()["gpu_ms"] > plain  # its negative prompt makes two forwards of one
    grid = {**asked, "lora": "style", "scales": [0, 1], "width": 64, "height": 64}
    made = alice.api.post("/api/v1/grids", grid, content_type="application/json").json()["results"]
    assert {(one["prompt"], one["style"]) for one in made} == {(f"an ink drawing of {BODY['prompt']}", "Ink")}
    wrong = alice.api.post("/api/v1/grids", {**grid, "style": "none"}, content_type="application/json")
    assert "style" in wrong.json()["errors"]


def test_the_same_key_with_another_style_is_another_body(boss: Any, alice: Person) -> None:
    send(boss, "post", body=INK)
    first = submit(alice, {"Idempotency-Key": "k"}, style="Ink")
    assert submit(alice, {"Idempotency-Key": "k"}, style="Ink").json()["id"] == first.json()["id"]
    assert submit(alice, {"Idempotency-Key": "k"}).status_code == 422
    assert len(rows(alice)) == 1
