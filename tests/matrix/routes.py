"""Every route, method and input of the studio, read from the URLconf, the API's description and the syntax trees.

An operation is written `GET /api/v1/images/{generation}`. Its inputs are what a client can put something into: parts of
the path, query parameters, headers, fields of a body.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django import forms
from django.contrib.admindocs.views import simplify_regex
from django.urls import URLPattern, URLResolver, get_resolver

ROOT = Path(__file__).resolve().parents[2]
VERBS = ("get", "post", "put", "patch", "delete")
_BRACES = re.compile(r"\{(\w+)\}")
_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")
# Modules that read what a client sends: pages, the API, the project's own views.
READERS = ("accounts/web", "accounts/api", "generation/web", "generation/api")


@dataclass(frozen=True)
class Route:
    """One pattern of the URLconf; `path` has `{name}` where the pattern has a variable part."""

    path: str
    variables: tuple[str, ...]
    callback: Callable[..., Any]

    @property
    def view(self) -> type[Any] | None:
        """The class behind it, where it is one."""
        found: type[Any] | None = getattr(self.callback, "cls", None) or getattr(self.callback, "view_class", None)
        return found

    @property
    def is_admin(self) -> bool:
        return self.path.startswith("/admin/")

    @property
    def operations(self) -> list[str]:
        """`METHOD path` for every method that the route knows."""
        return [f"{method} {self.path}" for method in self.methods]

    @property
    def methods(self) -> list[str]:
        """Its methods, without HEAD and OPTIONS; an error where a view does not say."""
        declared, found = _declared_methods(self.callback), list(VERBS)
        if self.view is not None:
            allowed = getattr(self.view, "http_method_names", VERBS)
            found = [verb for verb in VERBS if verb in allowed and hasattr(self.view, verb)]
        elif declared is None:
            raise AssertionError(f"{self.path}: the view does not say its methods (require_safe, require_POST …)")
        return [verb.upper() for verb in found if declared is None or verb.upper() in declared]


def all_routes() -> list[Route]:
    """Every pattern, in the order of the URLconf."""
    return list(_walk(get_resolver().url_patterns, ""))


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[Route]:
    for pattern in patterns:
        whole = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, whole)
        else:
            path = _VARIABLE.sub(r"{\1}", simplify_regex(whole))
            yield Route(path, tuple(_BRACES.findall(path)), pattern.callback)


def _declared_methods(view: Callable[..., Any]) -> list[str] | None:
    """What `require_http_methods` and its kin around a view allow: it stands in their closures."""
    layer: Any = view
    while layer is not None:
        for name, cell in zip(layer.__code__.co_freevars, layer.__closure__ or (), strict=True):
            if name == "request_method_list":
                found: list[str] = list(cell.cell_contents)
                return found
        layer = getattr(layer, "__wrapped__", None)
    return None


# ---- inputs of the API, as it is described


@cache
def described_inputs() -> dict[str, frozenset[tuple[str, str]]]:
    """For every operation of the API: (query, header or body; name)."""
    from tests.openapi import operations, read_schema

    schema = read_schema()
    found = {}
    for (verb, path), operation in operations(schema).items():
        inputs = {
            (one["in"], one["name"])
            for one in operation.get("parameters", ())
            if one["in"] in ("query", "header", "cookie")
        }
        for content in operation.get("requestBody", {}).get("content", {}).values():
            inputs |= {("body", name) for name in _fields(content["schema"], schema)}
        found[f"{verb.upper()} {path}"] = frozenset(inputs)
    return found


def _fields(node: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The fields of a body, `loras.name` for those inside."""
    if "$ref" in node:
        node = schema["components"]["schemas"][node["$ref"].rsplit("/", 1)[-1]]
    for part in (*node.get("allOf", ()), *node.get("oneOf", ()), *node.get("anyOf", ())):
        yield from _fields(part, schema, prefix)
    for name, child in node.get("properties", {}).items():
        if not child.get("readOnly"):
            yield prefix + name
            yield from _fields(child.get("items", child), schema, f"{prefix}{name}.")


# ---- inputs that the code reads, described or not


def read_names() -> set[tuple[str, str]]:
    """(module, name) of everything that a view reads by its name from query, form, headers or cookies."""
    found = set()
    for folder in READERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            module = file.relative_to(ROOT).as_posix()
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found |= {(module, name) for name in _names_in(tree)}
    return found


def _names_in(tree: ast.AST) -> Iterator[str]:
    sources = ("GET", "POST", "FILES", "headers", "COOKIES", "query_params", "data", "query", "META")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if node.func.attr in ("get", "getlist", "pop") and _last_name(node.func.value) in sources:
                yield from _constant(node.args[0])
        elif isinstance(node, ast.Subscript) and _last_name(node.value) in sources and isinstance(node.ctx, ast.Load):
            yield from _constant(node.slice)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check_parameters":
            for word in node.args[1:]:
                yield from _constant(word)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _constant(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def form_fields() -> set[tuple[str, str]]:
    """(form, field) of every form of our pages; the admin's are staff's."""
    found = set()
    waiting: list[type[Any]] = [forms.BaseForm]
    while waiting:
        for child in waiting.pop().__subclasses__():
            waiting.append(child)
            if child.__module__.startswith(("accounts.web", "generation.web")):
                found |= {(child.__name__, name) for name in getattr(child, "base_fields", {})}
    return found
