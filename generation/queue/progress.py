"""Events for whoever watches: one Redis stream for all, `qs:bus`.

Fields: `t` tenant, `g` generation, `k` kind, `d` JSON (`progress`: {step, steps}; `preview`: {data, index}; else {}).
It makes streams quicker and is never the truth: they open and repeat with what PostgreSQL says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import orjson

from accounts.valkey import breaker, redis_client

STREAM = "qs:bus"
KEPT = 4096  # entries, about

Kind = Literal["queued", "progress", "preview", "succeeded", "failed", "canceled"]


def publish(*, tenant: UUID, generation: UUID, kind: Kind | str, data: Mapping[str, Any] | None = None) -> bool:
    """Add an event; whether it was. Takes at most a second or two, never raises for Redis."""
    fields: dict[Any, Any] = {"t": str(tenant), "g": str(generation), "k": str(kind), "d": orjson.dumps(data or {})}
    return breaker.attempt(
        f"publish {kind}", lambda: redis_client().xadd(STREAM, fields, maxlen=KEPT, approximate=True)
    )
