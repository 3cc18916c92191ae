"""The OpenAPI description: valid, complete, and true to what is answered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import get_resolver
from drf_spectacular.validation import validate_schema

from generation.models import Model
from qwenstudio.door.described import DOOR_PATHS
from tests.factories import Person
from tests.generation.api.calls import BODY, finish, submit, submitted
from tests.openapi import check, operations, read_schema
from tests.pictures import data_url, mask, png

WANTED = {
    ("get", "/api/v1/images"), ("post", "/api/v1/images"),
    ("get", "/api/v1/images/{generation}"), ("patch", "/api/v1/images/{generation}"),
    ("delete", "/api/v1/images/{generation}"),
    ("post", "/api/v1/images/{generation}/cancel"), ("post", "/api/v1/images/{generation}/retry"),
    ("post", "/api/v1/images/{generation}/vary"),
    ("get", "/api/v1/zips"), ("post", "/api/v1/zips"), ("get", "/api/v1/zips/{zip}"),
    ("get", "/api/v1/deletions"), ("post", "/api/v1/deletions"), ("get", "/api/v1/deletions/{deletion}"),
    ("post", "/api/v1/inputs"),
    ("get", "/api/v1/styles"), ("post", "/api/v1/styles"), ("get", "/api/v1/styles/{style}"),
    ("patch", "/api/v1/styles/{style}"), ("delete", "/api/v1/styles/{style}"),
    ("get", "/api/v1/rules"), ("post", "/api/v1/rules"), ("get", "/api/v1/rules/{rule}"),
    ("patch", "/api/v1/rules/{rule}"), ("delete", "/api/v1/rules/{rule}"),
    ("get", "/api/v1/conversations"), ("post", "/api/v1/conversations"),
    ("get", "/api/v1/conversations/{conversation}"), ("patch", "/api/v1/conversations/{conversation}"),
    ("delete", "/api/v1/conversations/{conversation}"),
    ("get", "/api/v1/conversations/{conversation}/messages"),
    ("post", "/api/v1/conversations/{conversation}/messages"), ("put", "/api/v1/messages/{message}"),
    ("post", "/api/v1/conversations/{conversation}/answer"), ("post", "/api/v1/conversations/{conversation}/stop"),
    ("get", "/api/v1/conversations/{conversation}/events"),
    ("get", "/api/v1/presets"), ("post", "/api/v1/presets"), ("get", "/api/v1/presets/{preset}"),
    ("patch", "/api/v1/presets/{preset}"), ("delete", "/api/v1/presets/{preset}"),
    ("get", "/api/v1/images/{generation}/events"), ("get", "/api/v1/events"),
    ("get", "/api/v1/me"), ("get", "/api/v1/models"), ("post", "/api/v1/estimates"),
    ("get", "/api/v1/keys"), ("post", "/api/v1/keys"), ("post", "/api/v1/keys/leaked"),
    ("post", "/api/v1/keys/self/revoke"), ("get", "/api/v1/keys/{key}"), ("patch", "/api/v1/keys/{key}"),
    ("delete", "/api/v1/keys/{key}"), ("post", "/api/v1/keys/{key}/rotate"),
    ("post", "/api/v1/keys/{key}/finish-rotation"),
    ("get", "/api/v1/loras"), ("post", "/api/v1/grids"),
    ("get", "/api/v1/members"), ("get", "/api/v1/members/{member}"), ("patch", "/api/v1/members/{member}"),
    ("delete", "/api/v1/members/{member}"),
    ("get", "/api/v1/invitations"), ("post", "/api/v1/invitations"), ("get", "/api/v1/invitations/{invitation}"),
    ("delete", "/api/v1/invitations/{invitation}"), ("post", "/api/v1/invitations/{invitation}/renew"),
    ("get", "/api/v1/tenant"), ("patch", "/api/v1/tenant"),
    ("get", "/api/v1/exports"), ("post", "/api/v1/exports"), ("get", "/api/v1/exports/{export}"),
    ("post", "/v1/images/generations"), ("post", "/v1/images/edits"),
    ("get", "/v1/models"), ("get", "/v1/models/{model}"),
    ("get", "/api/v1/usage"), ("get", "/api/v1/members/{member}/budget"), ("put", "/api/v1/members/{member}/budget"),
}  # fmt: skip


@pytest.fixture(scope="module")
def schema(django_db_setup: None) -> dict[str, Any]:
    return read_schema()


def test_is_valid_openapi_31(schema: dict[str, Any]) -> None:
    assert schema["openapi"].startswith("3.1")
    validate_schema(schema)
    assert schema["servers"]


def test_every_route_of_the_api_is_described(schema: dict[str, Any]) -> None:
    doors = {(verb, path) for path, verbs in DOOR_PATHS.items() for verb in verbs}  # no view answers there
    assert set(operations(schema)) == WANTED | doors
    groups = [group for group in get_resolver().url_patterns if str(group.pattern) in ("api/v1/", "v1/")]
    patterns = [f"/{group.pattern}{route.pattern}" for group in groups for route in group.url_patterns]
    routes = {re.sub(r"<\w+:(\w+)>", r"{\1}", pattern) for pattern in patterns}
    assert {path for _, path in WANTED} == routes


def test_every_operation_names_credentials_refusals_and_itself(schema: dict[str, Any]) -> None:
    names = set()
    for (verb, path), operation in operations(schema).items():
        names.add(operation["operationId"])
        assert operation["summary"], path
        assert {"apiKey"} <= {name for option in operation["security"] for name in option}, path
        assert {"401", "403", "429", "503"} <= set(operation["responses"]), path
        if "{" in path:
            assert "404" in operation["responses"]
        if verb in ("post", "patch") and "requestBody" in operation:
            assert {"400", "413", "415"} <= set(operation["responses"])
            for media_type, content in operation["requestBody"]["content"].items():
                assert content.get("examples") or media_type == "multipart/form-data", path
        kind = "application/json" if path.startswith("/v1/") else "application/problem+json"
        for status, answer in operation["responses"].items():
            if status[0] in "45" or status == "default":
                assert list(answer["content"]) == [kind], (path, status)
    assert len(names) == len(operations(schema)), "each has a name of its own"
    assert set(schema["components"]["securitySchemes"]) == {"apiKey", "session"}


def test_answers_are_as_described(schema: dict[str, Any], alice: Person, mallory: Person, media: Path) -> None:
    api, images, one = alice.api, "/api/v1/images", "/api/v1/images/{generation}"
    check(schema, "post", images, submit(alice, metadata={"a": "b"}))
    check(schema, "post", images, submit(alice, width=100, unheard_of=1))
    check(schema, "post", images, api.generic("POST", images, b"x", content_type="text/plain"))
    check(schema, "post", images, api.generic("POST", images, b"x" * 32_000_001, content_type="application/json"))
    check(schema, "post", images, Client().post(images, BODY, content_type="application/json"))
    done = submitted(alice)
    finish(alice, done, media)
    check(schema, "get", images, api.get(images))
    check(schema, "get", images, api.get(f"{images}?limit=0"))
    check(schema, "get", one, api.get(f"{images}/{done}"))
    check(schema, "get", one, mallory.api.get(f"{images}/{done}"))
    check(schema, "patch", one, api.patch(f"{images}/{done}", {"starred": True}, content_type="application/json"))
    check(schema, "patch", one, api.patch(f"{images}/{done}", {"x": True}, content_type="application/json"))
    check(schema, "post", f"{one}/cancel", api.post(f"{images}/{done}/cancel"))
    check(schema, "post", f"{one}/retry", api.post(f"{images}/{done}/retry"))
    inputs = "/api/v1/inputs"
    check(schema, "post", inputs, api.post(inputs, {"mask": data_url(mask())}, content_type="application/json"))
    check(schema, "post", inputs, api.post(inputs, {"image": "x"}, content_type="application/json"))
    check(schema, "post", inputs, api.post(inputs, {"image": str(uuid4())}, content_type="application/json"))
    Model.objects.update(spec=Model.objects.get().spec | {"tasks": ["text-to-image", "image-to-image", "inpaint"]})
    check(schema, "post", images, submit(alice, image=data_url(png()), mask=data_url(mask())))
    check(schema, "post", images, submit(alice, image="x"))
    check(schema, "post", images, submit(alice, image=str(uuid4())))
    waiting = submitted(alice)
    check(schema, "post", f"{one}/retry", api.post(f"{images}/{waiting}/retry"))
    check(schema, "get", f"{one}/events", api.get(f"{images}/{waiting}/events"))
    check(schema, "delete", one, api.delete(f"{images}/{waiting}"))
    check(schema, "post", f"{one}/cancel", api.post(f"{images}/{waiting}/cancel"))
    check(schema, "delete", one, api.delete(f"{images}/{waiting}"))
    check(schema, "get", "/api/v1/events", api.get("/api/v1/events"))
    check(schema, "get", "/api/v1/me", api.get("/api/v1/me"))
    check(schema, "get", "/api/v1/me", alice.client.get("/api/v1/me"))
    check(schema, "get", "/api/v1/models", api.get("/api/v1/models"))
    for wanted in (BODY, {**BODY, "n": 11}):
        answer = api.post("/api/v1/estimates", wanted, content_type="application/json")
        check(schema, "post", "/api/v1/estimates", answer)


def test_answers_in_openais_shapes_are_as_described(schema: dict[str, Any], alice: Person) -> None:
    api, images, model = alice.api, "/v1/images/generations", "/v1/models/{model}"
    for body in (BODY, {**BODY, "size": "x"}, {**BODY, "model": "nobodys"}):
        check(schema, "post", images, api.post(images, body, content_type="application/json"))
    check(schema, "post", images, api.generic("POST", images, b"x", content_type="text/plain"))
    check(schema, "post", images, Client().post(images, BODY, content_type="application/json"))
    for more in ({}, {"image": data_url(png())}):
        answer = api.post("/v1/images/edits", {"model": "demo", "prompt": "x", **more})
        check(schema, "post", "/v1/images/edits", answer)
    check(schema, "get", "/v1/models", api.get("/v1/models"))
    check(schema, "get", model, api.get("/v1/models/demo"))
    check(schema, "get", model, api.get("/v1/models/nobodys"))


def test_example_of_the_description_is_accepted(schema: dict[str, Any], alice: Person) -> None:
    for path in ("/api/v1/images", "/v1/images/generations"):
        examples = operations(schema)["post", path]["requestBody"]["content"]["application/json"]["examples"]
        for example in examples.values():
            assert alice.api.post(path, example["value"], content_type="application/json").status_code == 202


def test_unknown_route_is_a_problem_too() -> None:
    for path in ("/api/v1/nothing", "/api/", "/api/v2/images"):
        for answer in (Client().get(path), Client().post(path)):
            assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert Client().get("/v1/nothing").json()["error"]["code"] == "not_found"


def test_page_names_no_other_host(db: None) -> None:
    for path in ("/api/docs/", "/api/docs/?script="):
        page = Client().get(path)
        assert page.status_code == 200
        assert not re.search(rb"(src|href)=\"(https?:)?//", page.content)
    assert "unsafe-eval" not in page["Content-Security-Policy"]


def test_the_description_says_how_to_begin_and_what_belongs_together(schema: dict[str, Any]) -> None:
    assert "Authorize" in schema["info"]["description"]
    assert "/api/schema/" in schema["info"]["description"]
    used = {tag for operation in operations(schema).values() for tag in operation["tags"]}
    assert used == {tag["name"] for tag in schema["tags"]}


def test_its_page_is_the_studios(client: Client) -> None:
    page = client.get("/api/docs/").content.decode()
    assert "studio/icon.svg" in page
    assert "studio/js/docs.js" in page
