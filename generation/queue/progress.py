"""Events for whoever watches: one Redis stream for all, `qs:bus`.

Fields: `t` tenant, `g` generation, `k` kind, `d` JSON (`progress`: {step, steps}; `preview`: {data, index}; else {}).
It makes streams quicker and is never the truth: they open and repeat with what PostgreSQL says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast
from uuid import UUID

import orjson

from accounts.valkey import breaker, redis_client

STREAM = "qs:bus"
KEPT = 4096  # entries, about
_CHUNK = 500

Kind = Literal["queued", "progress", "preview", "succeeded", "failed", "canceled"]


def publish(*, tenant: UUID, generation: UUID, kind: Kind | str, data: Mapping[str, Any] | None = None) -> bool:
    """Add an event; whether it was. Takes at most a second or two, never raises for Redis."""
    fields: dict[Any, Any] = {"t": str(tenant), "g": str(generation), "k": str(kind), "d": orjson.dumps(data or {})}
    return breaker.attempt(
        f"publish {kind}", lambda: redis_client().xadd(STREAM, fields, maxlen=KEPT, approximate=True)
    )


def forget_tenant(tenant: UUID) -> bool:
    """Take a tenant's events out of the stream, which keeps its last entries for as long as nobody adds any."""
    return breaker.attempt("forget a tenant", lambda: _delete_entries(str(tenant).encode()))


def _delete_entries(tenant: bytes) -> None:
    client, after = redis_client(), "-"
    while entries := cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(STREAM, min=after, count=_CHUNK)):
        gone = [entry for entry, fields in entries if fields.get(b"t") == tenant]
        if gone:
            client.xdel(STREAM, *gone)
        after = f"({entries[-1][0].decode()}"
