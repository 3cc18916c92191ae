"""What the protocol's tests say: submit, claim, draw, and the check that the books are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from accounts.domain.callers import Caller
from accounts.ids import uuid7
from accounts.tenancy import in_tenant
from generation.domain.claim import Claim, ClaimedRow, claim_pass
from generation.domain.finish import StoredImage
from generation.domain.request import GenerationRequest
from generation.domain.submit import submit_generation

HARDWARE = "test-machine"
Look = Callable[..., list[tuple[Any, ...]]]


def submit(caller: Caller, **fields: Any) -> UUID:
    """A request through the domain; returns its id."""
    values = {"model": "demo", "prompt": "a red circle", "width": 64, "height": 64, "seed": 7} | fields
    with in_tenant(caller.tenant):
        return submit_generation(caller=caller, request=GenerationRequest(**values)).id


def claim(**fields: Any) -> Claim | None:
    """What a worker of the pool gets next."""
    given: dict[str, Any] = {"lane": "blue", "pool": "demo", "models": {"demo": 8}, "hardware": HARDWARE}
    return claim_pass(**(given | {"worker": uuid7()} | fields))


def draw(row: ClaimedRow) -> list[StoredImage]:
    """Made-up pictures for a claimed row."""
    return [
        StoredImage(
            index=index, file=f"{row.tenant}/x/2026-11/{row.id}-{index}-{row.fence}.png",
            thumbnail=f"{row.tenant}/x/2026-11/{row.id}-{index}-{row.fence}-thumb.webp", format="png", sha256="ab" * 32,
            bytes=100, thumbnail_bytes=10, width=row.width, height=row.height, seed=seed,
            receipt={"seed": seed, "model": row.model},
        )
        for index, seed in row.seeds
    ]  # fmt: skip


def check_books(look: Look) -> None:
    """What must hold at any time: clocks count what the rows say, counters, ledger and storage what was
    delivered.
    """
    clocks = look(
        """SELECT c.tenant, c.queued, c.queued_ms, c.running, c.running_ms,
                  count(g.id) FILTER (WHERE g.status = 'queued'),
                  coalesce(sum(g.estimate_ms * (g.n - g.done) / g.n) FILTER (WHERE g.status = 'queued'), 0)::bigint,
                  count(g.id) FILTER (WHERE g.status = 'running'),
                  coalesce(sum(g.claimed_ms) FILTER (WHERE g.status = 'running'), 0)::bigint
             FROM generation_fairclock c
             LEFT JOIN generation_generation g ON g.tenant_id = c.tenant AND g.lane = c.lane AND g.pool = c.pool
            GROUP BY c.id"""
    )
    for tenant, *counts in clocks:
        assert counts[:4] == counts[4:], f"the clock of {tenant} has drifted: {counts}"
    # The ledger of what ended is what it cost; failed and never-begun ones cost nothing.
    wrong = look(
        """SELECT g.id, g.status, g.done, g.cost_ms, l.images, l.gpu_ms, l.ends FROM generation_generation g
             CROSS JOIN LATERAL (
               SELECT coalesce(sum(amount) FILTER (WHERE metric = 'images'), 0) AS images,
                      coalesce(sum(amount) FILTER (WHERE metric = 'gpu_ms'), 0) AS gpu_ms,
                      count(*) FILTER (WHERE kind <> 'reserve') AS ends
                 FROM accounts_ledgerentry e WHERE e.ref = g.id) l
            WHERE CASE g.status WHEN 'failed' THEN (l.images, l.gpu_ms, l.ends) <> (0, 0, 2)
                                WHEN 'succeeded' THEN (l.images, l.gpu_ms, l.ends) <> (g.n, g.cost_ms, 2)
                                WHEN 'canceled' THEN (l.images, l.gpu_ms, l.ends) <> (g.done, g.cost_ms, 2)
                                ELSE (l.images, l.gpu_ms, l.ends) <> (g.n, g.estimate_ms, 0) END"""
    )
    assert not wrong, wrong
    images = look(
        """SELECT g.id, g.done, count(i.id) FROM generation_generation g
             LEFT JOIN generation_image i ON i.generation_id = g.id GROUP BY g.id HAVING g.done <> count(i.id)"""
    )
    assert not images, images
    counters = look(
        """SELECT c.scope, c.metric, c.period, c.used, c.reserved, s.used, s.reserved FROM accounts_counter c
             CROSS JOIN LATERAL (
               SELECT coalesce(sum(w.amount) FILTER (WHERE w.closed), 0) AS used,
                      coalesce(sum(w.amount) FILTER (WHERE NOT w.closed), 0) AS reserved
                 FROM (SELECT sum(e.amount) AS amount, bool_or(e.kind <> 'reserve') AS closed
                         FROM accounts_ledgerentry e
                        WHERE e.tenant_id = c.tenant_id AND e.metric = c.metric
                          AND c.scope_id = CASE c.scope WHEN 'tenant' THEN e.tenant_id WHEN 'member' THEN e."user"
                                                        ELSE e.key END
                        GROUP BY e.ref) w) s
            WHERE (c.used, c.reserved) <> (s.used, s.reserved)"""
    )
    assert not counters, counters
    stored = look(
        """SELECT t.id, t.stored_bytes, s.bytes FROM accounts_tenant t CROSS JOIN LATERAL (
               SELECT coalesce(sum(size), 0) AS bytes FROM (
                 SELECT i.bytes + i.thumbnail_bytes AS size FROM generation_image i WHERE i.tenant_id = t.id
                 UNION ALL SELECT f.bytes FROM generation_inputfile f WHERE f.tenant_id = t.id) sizes) s
            WHERE t.stored_bytes <> s.bytes"""
    )
    assert not stored, stored
