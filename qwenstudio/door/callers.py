"""Credentials -> Caller for the async side, by the same statements as `accounts/domain/callers.py`.

A key comes in `Authorization: Bearer|Token qs_…` or `X-Api-Key`; a browser shows the signed cookie `studio_pass` that
Django's side issues with its pages. A found caller is kept for `KEPT_S`, and one who asks often is looked up again
behind their back; a stream asks again every `RECHECK_S`, so that a revoked key, a suspended tenant, a session that was
ended or a new password ends it within five seconds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from psycopg import Error as DatabaseError

from accounts.domain.callers import (
    KEY_CALLER_SQL,
    KEY_DIRECTORY_SQL,
    KEY_TOUCH_SQL,
    SESSION_CALLER_SQL,
    Caller,
    caller_from_row,
    check_network,
)
from accounts.domain.keys import hash_secret, key_is_wellformed
from accounts.domain.passes import PASS_COOKIE, Pass, read_pass
from accounts.domain.places import refuse_wrong_key
from accounts.errors import InvalidKey, NotSignedIn, StudioError
from qwenstudio.door.bridge import Bridge
from qwenstudio.door.database import Database
from qwenstudio.door.http import Message, Request
from qwenstudio.door.remembered import Remembered

log = logging.getLogger(__name__)

KEPT_S = 2.0
RECHECK_S = 2.0
KEPT = 2000  # callers in memory
INNER_SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/api/v1/me",
    "root_path": "",
    "query_string": b"",
    "server": None,
}


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request shows: the SHA-256 of a key, or a member of a tenant by the signed cookie."""

    kind: Literal["key", "member"]
    sha256: str = ""
    user: UUID | None = None
    tenant: UUID | None = None
    session: str = ""
    address: str | None = None
    expires_at: float = math.inf  # Unix time; a member's pass is short-lived, so what it opened must be too

    def has_expired(self) -> bool:
        """Whether what it opened must end."""
        return time.time() >= self.expires_at


async def find_credential(pages: Bridge, request: Request) -> Credential:
    """The request's credential. Raises `InvalidKey` and `NotSignedIn`; a key or a fresh pass costs no query."""
    secret = request.key
    if secret is not None:
        if not key_is_wellformed(secret):
            raise InvalidKey
        return Credential(kind="key", sha256=hash_secret(secret), address=request.address)
    found = read_pass(request.cookie(PASS_COOKIE)) or await ask_pages(pages, request)
    if found is None:
        raise NotSignedIn("send an api key (Authorization: Bearer qs_…) or sign in")
    return Credential(
        kind="member",
        user=found.user,
        tenant=found.tenant,
        session=found.session,
        address=request.address,
        expires_at=found.expires_at,
    )


async def refusal_of_wrong_key(address: str | None) -> StudioError:
    """What to answer to one: as everywhere, and counted with the rest. In a thread, because Valkey may hang."""
    return await asyncio.to_thread(refuse_wrong_key, address=address)


async def ask_pages(pages: Bridge, request: Request) -> Pass | None:
    """A new pass for a session whose pass has run out: a page that was left open for long comes back for its stream."""
    if not request.cookie(settings.SESSION_COOKIE_NAME):
        return None
    headers = [(b"host", request.headers.get("host", "").encode("latin-1"))]
    headers.append((b"cookie", request.headers["cookie"].encode("latin-1")))
    # Whoever asks is who asked us: their address is judged by the networks, and both stand in their list of sessions.
    headers.append((b"user-agent", request.headers.get("user-agent", "").encode("latin-1")))
    client = (request.address, 0) if request.address else None
    scope = {**INNER_SCOPE, "headers": headers, "client": client, "studio.request_id": request.id}
    answer = await pages.ask(scope, no_body)
    for name, value in answer.headers:
        if name == b"set-cookie" and (morsel := SimpleCookie(value.decode("latin-1")).get(PASS_COOKIE)):
            return read_pass(morsel.value)
    return None


async def no_body() -> Message:
    """The body of a GET."""
    return {"type": "http.request", "body": b"", "more_body": False}


class Callers:
    """Looks callers up, and remembers them for a short time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[Credential, Remembered[Caller]] = OrderedDict()

    async def find(self, credential: Credential) -> Caller:
        """The caller. Raises `InvalidKey`, `NotSignedIn`, `NotAllowed`, and the driver's errors."""
        kept = self._kept.get(credential)
        if kept is None:
            kept = self._kept[credential] = Remembered(lambda: self._read(credential))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return await kept.get(KEPT_S)

    async def _read(self, credential: Credential) -> Caller:
        try:
            row = await self._look_up(credential)
            try:
                caller = caller_from_row(row)
                check_network(caller, address=credential.address)
            except StudioError as error:
                error.tenant, error.key = row["tenant_id"], row["key_id"]
                raise
        except StudioError:  # whoever was let in until now is not any longer
            self._kept.pop(credential, None)
            raise
        if row["touch"]:
            await self._touch(caller, address=credential.address)
        if credential in self._kept:  # those go first that were not asked for in a long time
            self._kept.move_to_end(credential)
        return caller

    async def _touch(self, caller: Caller, *, address: str | None) -> None:
        """Write down that a key is used; a stream does so every minute that it lives, and goes on where this fails."""
        try:
            await self._database.execute(KEY_TOUCH_SQL, tenant=caller.tenant, key=caller.key, address=address)
        except DatabaseError as error:
            log.warning("could not write the last use of a key: %s", type(error).__name__)

    async def _look_up(self, credential: Credential) -> dict[str, Any]:
        if credential.kind == "member":
            assert credential.tenant is not None  # noqa: S101  (read_pass always sets it)
            row = await self._database.fetch_one(
                SESSION_CALLER_SQL, tenant=credential.tenant, user=credential.user, session=credential.session
            )
            if row is None:
                raise NotSignedIn("your session has ended: sign in again")
            return row
        found = await self._database.fetch_one(KEY_DIRECTORY_SQL, sha256=credential.sha256)
        if found is None:
            raise InvalidKey
        row = await self._database.fetch_one(KEY_CALLER_SQL, tenant=found["tenant_id"], sha256=credential.sha256)
        if row is None:
            refused = InvalidKey()
            refused.tenant = found["tenant_id"]
            raise refused
        return row
