"""Sending an operation, and what is compared: the answer without what must differ, and everything that is stored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from django.test import Client

from tests.matrix.house import Look
from tests.matrix.table import Op

# Different from answer to answer, whatever is asked.
VOLATILE_HEADERS = {"x-request-id", "ratelimit", "date", "expires", "set-cookie", "content-length", "server"}
VOLATILE_HEADERS |= {f"x-ratelimit-{what}-requests" for what in ("remaining", "reset")}
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")
_TOKEN = re.compile(r'(csrfmiddlewaretoken" value=|data-csrf=|X-CSRFToken": ?)"\w+"')
# Columns that being asked changes, and tables that follow who asks.
UNSEEN_COLUMNS = {"last_used_at", "last_used_ip", "last_seen_at", "last_login"}
LISTS = {"ids"}  # fields of a body that hold several
UNSEEN_TABLES = {"django_session"}  # its rows go together with those of usersessions_usersession


@dataclass(frozen=True)
class Shape:
    """An answer without its request id, without the id that was asked for and without the rest of the minute."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


def send(client: Client, operation: str, op: Op, ids: Mapping[tuple[str, str], Any]) -> Any:
    """Call an operation with these ids in their places."""
    method, _, path = operation.partition(" ")
    body = op.body() if callable(op.body) else op.body
    query, body, headers = {}, dict(body or {}), {}
    for name, value in op.fixed.items():
        path = path.replace(f"{{{name}}}", value)
    for (place, name), value in ids.items():
        if place == "path":
            path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
        elif place == "query":
            query[name] = str(value)
        elif place == "body":
            body[name] = [str(value)] if name in LISTS else str(value)
        else:
            headers[name] = str(value)
    if query:
        path += "?" + urlencode(query)
    if method == "GET":
        return client.get(path, headers=headers)
    if op.by_key:
        sent = body if op.body is not None else None
        content = json.dumps(sent) if sent is not None else ""
        return client.generic(method, path, content, content_type="application/json", headers=headers)
    return client.generic(
        method, path, urlencode(body, doseq=True), content_type="application/x-www-form-urlencoded", headers=headers
    )


def shape_of(answer: Any, asked: object = "") -> Shape:
    """What two answers must have in common to tell nothing apart."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    text = (b"".join(answer.streaming_content) if answer.streaming else answer.content).decode(errors="replace")
    kind = headers.get("content-type", "")
    if "json" in kind and text:
        found = json.loads(text)
        if isinstance(found, dict):
            found.pop("request_id", None)
            found.pop("instance", None)
        text = json.dumps(found, sort_keys=True)
    request = answer.wsgi_request
    for own in (request.get_full_path(), quote(request.path), request.path):  # a page names its own address
        text = text.replace(own, "<path>").replace(escape(own), "<path>")
    if len(str(asked)) > 8:  # the field of a filter holds what was looked for
        text = text.replace(escape(str(asked)), "<id>")
    text = _TOKEN.sub(r'\1"-"', _REQUEST_ID.sub("-", text))
    kept = tuple(sorted((name, value) for name, value in headers.items() if name not in VOLATILE_HEADERS))
    return Shape(answer.status_code, kept, text)


def code_of(answer: Any) -> str:
    """The code of a refusal: a problem's, or that of OpenAI's error."""
    body = answer.json()
    return str(body["error"]["code"] if "error" in body else body["code"])


def tell_apart(one: Shape, other: Shape) -> str:
    """In which words two answers differ."""
    if one.status != other.status:
        return f"{one.status}, not {other.status}"
    odd = [f"{name}: {value}" for name, value in {*one.headers} ^ {*other.headers}]
    return "; ".join(odd) or f"...{_rest(one.body, other.body)}, not ...{_rest(other.body, one.body)}"


def _rest(one: str, other: str) -> str:
    same = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return one[max(0, same - 20) : same + 60]


class Stored:
    """Everything that the database and the folder of files hold, as one value per table."""

    def __init__(self, look: Look, media: Path) -> None:
        self._look, self._media = look, media
        columns = look(
            "SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) FROM information_schema.columns"
            " WHERE table_schema = 'public' GROUP BY table_name"
        )
        self._sql = " UNION ALL ".join(
            self._table(table, [name for name in names if name not in UNSEEN_COLUMNS])
            for table, names in columns
            if table not in UNSEEN_TABLES
        )

    @staticmethod
    def _table(table: str, names: list[str]) -> str:
        # A refusal may be written down as one; what says "ok" may not be there.
        only = " WHERE result = 'ok'" if table == "accounts_auditevent" else ""
        row = ", ".join(f'"{name}"' for name in names)
        return (
            f"SELECT '{table}', count(*), md5(coalesce(string_agg(r, '|' ORDER BY r), ''))"
            f" FROM (SELECT ROW({row})::text AS r FROM {table}{only}) t"
        )

    def now(self) -> dict[str, Any]:
        """The present state."""
        found: dict[str, Any] = {table: rest for table, *rest in self._look(self._sql)}
        found["files"] = sorted(str(path) for path in self._media.rglob("*") if path.is_file())
        return found


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What is no longer the same."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
