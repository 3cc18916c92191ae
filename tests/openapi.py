"""The OpenAPI description as tests hold answers against it."""

from __future__ import annotations

from typing import Any

from django.test import Client
from jsonschema import Draft202012Validator

from qwenstudio.door.described import DOOR_PATHS

JSON_TYPE = "application/json"


def read_schema() -> dict[str, Any]:
    """`/api/schema/`."""
    answer = Client().get("/api/schema/")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(schema: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(verb, path): found for path, verbs in schema["paths"].items() for verb, found in verbs.items()}


def closed(node: Any) -> Any:
    """The schema with every object closed: a field that is answered and not described is a fault."""
    if isinstance(node, dict):
        found = {name: closed(value) for name, value in node.items()}
        if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
            found["additionalProperties"] = False
        return found
    return [closed(item) for item in node] if isinstance(node, list) else node


def check(schema: dict[str, Any], verb: str, path: str, answer: Any) -> None:
    """Hold an answer against its operation: the status is described, the body fits and has nothing more."""
    operation = operations(schema)[verb, path]
    described = operation["responses"].get(str(answer.status_code))
    assert described is not None, f"{verb} {path} answers {answer.status_code}, which is not described"
    if "content" not in described:
        assert answer.content == b""
        return
    kind = answer["Content-Type"].partition(";")[0]
    assert kind in described["content"], (verb, path, kind)
    if kind.endswith("json"):
        root = {**closed(described["content"][kind]["schema"]), "components": closed(schema["components"])}
        Draft202012Validator(root).validate(answer.json())


def check_door(path: str, found: Any) -> None:
    """The same for what the async door answers to a POST."""
    (described,) = DOOR_PATHS[path].values()
    Draft202012Validator(closed(described["responses"]["200"]["content"][JSON_TYPE]["schema"])).validate(found)
