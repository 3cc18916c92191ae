"""Who goes next: start-time fair queueing over tenants (Goyal, Vin and Cheng, 1996); `docs/fairness.md` explains it.

Pure arithmetic on virtual clocks: the claim and the simulator in the tests use the same functions. A clock is GPU
milliseconds ÷ weight. A pass begins with the tenant whose clock is lowest; its seats are then given, image by image, to
the lowest clock among rows that can share it, each seat moving its tenant's clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

PASS_MS = 20_000  # about how long a pass may last
PASS_IMAGES = 8  # and how many images it may hold
SEARCHED = 64  # clocks looked at for filling a pass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A waiting row that could share the pass: its tenant's clock, and how many images it has left."""

    id: UUID
    tenant: UUID
    vtime: float
    weight: int
    free: int  # generations that its tenant may have running beside those that run
    left: int


def count_seats(*, image_ms: float, batch_max: int) -> int:
    """How many images of this cost a pass may hold: at least one."""
    return max(1, min(PASS_IMAGES, batch_max, int(PASS_MS / max(1.0, image_ms))))


def window_ms(image_ms: float) -> float:
    """The longest pass in GPU milliseconds. No clock is moved further than this ÷ weight beyond the lowest one."""
    return max(float(PASS_MS), image_ms)


def fill_pass(rows: Sequence[Waiting], *, head: UUID, start: float, image_ms: float, seats: int) -> dict[UUID, int]:
    """Give the pass's seats to rows: how many images of which row are drawn.

    `rows` are in each tenant's own order, the head's row is among them and gets the first seat; `start` is its clock.
    A tenant whose clock would end more than one longest pass ÷ weight beyond `start` gets no seat, even a free one:
    otherwise whoever rides along with others' passes would run away from those that wait for a pass of their own.
    """
    queues: dict[UUID, list[Waiting]] = {}
    for row in sorted(rows, key=lambda row: row.id != head):
        queues.setdefault(row.tenant, []).append(row)
    chosen: dict[UUID, int] = {}
    order: list[tuple[float, int, UUID]] = []
    for rank, (tenant, queue) in enumerate(queues.items()):
        heapq.heappush(order, (queue[0].vtime, rank, tenant))
    first = next(row.tenant for row in rows if row.id == head)
    granted: dict[UUID, int] = dict.fromkeys(queues, 0)
    while order and seats > 0:
        tag, rank, tenant = _pop(order, first if not chosen else None)
        row = queues[tenant][0]
        is_new = row.id not in chosen
        fits = tag + image_ms / row.weight <= start + window_ms(image_ms) / row.weight + 1e-6
        if chosen and (not fits or (is_new and granted[tenant] >= row.free)):
            continue  # nothing more of this tenant
        chosen[row.id] = chosen.get(row.id, 0) + 1
        granted[tenant] += is_new
        seats -= 1
        if chosen[row.id] >= row.left:
            queues[tenant].pop(0)
        if queues[tenant]:
            heapq.heappush(order, (tag + image_ms / row.weight, rank, tenant))
    return chosen


def _pop(order: list[tuple[float, int, UUID]], first: UUID | None) -> tuple[float, int, UUID]:
    """The lowest clock; before anything is chosen, the head's (its clock is the lowest of all that may run)."""
    if first is None:
        return heapq.heappop(order)
    entry = next(entry for entry in order if entry[2] == first)
    order.remove(entry)
    heapq.heapify(order)
    return entry
