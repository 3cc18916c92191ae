"""Requests and answers of the raw ASGI side."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
from django.conf import settings

from accounts.api.bodies import refusal_body, refusal_headers, status_of
from accounts.api.credentials import key_of
from accounts.domain.addresses import client_address
from accounts.errors import StudioError
from accounts.ids import uuid7
from accounts.meters import count_refusal
from qwenstudio.headers import SECURITY_HEADERS, content_policy

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

PRINTABLE = re.compile(r"[\x21-\x7e]{1,64}")


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the door sees it; header names are lower case, repeated ones are joined."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    address: str | None
    id: str = field(default_factory=lambda: uuid7().hex)

    @property
    def client_request_id(self) -> str:
        """The client's own `X-Request-ID`, for the log only; empty where it is absent or not plain text."""
        found = self.headers.get("x-request-id", "")
        return found if PRINTABLE.fullmatch(found) else ""

    @property
    def key(self) -> str | None:
        """The API key in the headers, well formed or not; None where there is none."""
        names = {"authorization": "HTTP_AUTHORIZATION", "x-api-key": "HTTP_X_API_KEY"}
        return key_of({wsgi: self.headers[name] for name, wsgi in names.items() if name in self.headers})

    def cookie(self, name: str) -> str:
        """A cookie's value as it came, or nothing.

        Ours need no unquoting, whose time in Python before 3.12.6 grows with the square of the length (CVE-2024-7592).
        """
        for part in self.headers.get("cookie", "").split(";"):
            found, _, value = part.strip().partition("=")
            if found == name:
                return value
        return ""


def read_request(scope: Scope) -> Request:
    """The parts of an ASGI scope that the door uses."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joint = "; " if name == "cookie" else ", "
        headers[name] = headers[name] + joint + value if name in headers else value
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        address=client_address(
            remote=peer_of(scope),
            forwarded=headers.get("x-forwarded-for", ""),
            trusted=settings.STUDIO_TRUSTED_PROXIES,
        ),
    )


def peer_of(scope: Scope) -> str:
    """The other end of the connection; empty where it has no address (a Unix socket)."""
    return scope["client"][0] if scope.get("client") else ""


async def send_bytes(send: Send, content: bytes, *, content_type: str) -> None:
    """A complete answer that no cache keeps."""
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def send_json(
    send: Send,
    status: int,
    body: Any,
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    media_type: str = "application/json",
) -> None:
    """A complete JSON answer that no cache keeps."""
    content = orjson.dumps(body)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", media_type.encode()),
                (b"content-length", str(len(content)).encode()),
                (b"cache-control", b"no-store"),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": content})


def own_headers(request: Request) -> Headers:
    """What every answer of the door carries: our request id and the security headers."""
    return [(b"x-request-id", request.id.encode()), *_security(content_policy(request.path))]


@cache
def _security(policy: str) -> Headers:
    headers = {**SECURITY_HEADERS, "Content-Security-Policy": policy}
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


async def send_problem(
    send: Send, request: Request, status: int, *, code: str, detail: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """A refusal of the door's own."""
    count_refusal(code)
    body, media_type = refusal_body(status, code, detail, path=request.path, request_id=request.id)
    await send_json(send, status, body, headers=[*headers, *own_headers(request)], media_type=media_type)


async def send_refusal(
    send: Send, request: Request, error: StudioError, *, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """A refusal of the domain's, exactly as Django's side would answer it."""
    count_refusal(error.code)
    status = status_of(error, request.path)
    body, media_type = refusal_body(
        status,
        error.code,
        error.message,
        path=request.path,
        request_id=request.id,
        errors=error.fields,
        limit=error.limit,
    )
    own = refusal_headers(error, path=request.path)
    more = [(name.lower().encode(), value.encode()) for name, value in own.items()]
    await send_json(send, status, body, headers=[*more, *headers, *own_headers(request)], media_type=media_type)
