"""Taking a request: one transaction with its idempotency row, its reserve, its place in the queue and the row itself.

Order of locks, here and wherever a generation moves: idempotency, generation, inputs, counters, clock, tenant, cost.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from accounts.domain.callers import Caller
from accounts.domain.quotas import reserve
from accounts.domain.sql import fetch_one
from accounts.domain.stored import check_stored
from accounts.enums import Metric
from accounts.errors import InvalidRequest
from accounts.ids import uuid7
from accounts.logcontext import log_fields
from accounts.tenancy import current_scope, in_tenant
from generation.domain.catalog import find_model, spec_of
from generation.domain.clocks import enter_queue
from generation.domain.cost import estimate_image_ms
from generation.domain.inputs import kept, lock_inputs, name_inputs, prepare_inputs, use_inputs
from generation.domain.loras import offered_loras
from generation.domain.request import GenerationRequest, hash_request
from generation.domain.resolve import ResolvedRequest, resolve
from generation.domain.searchtext import fold
from generation.domain.styles import apply_style
from generation.domain.tasks import NO_INPUTS, Inputs
from generation.engine.catalog import ModelSpec
from generation.enums import Status, Task
from generation.errors import KeyReused, StillRunning
from generation.meters import SUBMITTED
from generation.models import Generation
from generation.models.generation import LORA_VERSION, SCHEMA_VERSION, TASK_VERSION
from generation.queue.progress import publish
from generation.queue.wake import wake_pool

logger = logging.getLogger(__name__)

# A row of ours, or one of more than a day ago that becomes ours; none: somebody has this key. A parallel request with
# the same key waits here until the first has committed or rolled back.
_TAKE_KEY_SQL = """
INSERT INTO generation_idempotency AS i
       (id, tenant_id, caller, idempotency_key, body_sha256, generation_id, created_at)
VALUES (%(id)s, %(tenant)s, %(caller)s, %(key)s, %(body)s, %(generation)s, now())
ON CONFLICT (tenant_id, caller, idempotency_key) DO UPDATE
   SET body_sha256 = excluded.body_sha256, generation_id = excluded.generation_id, created_at = excluded.created_at
 WHERE i.created_at < now() - interval '24 hours'
RETURNING id
"""
_FIND_KEY_SQL = """
SELECT body_sha256, generation_id FROM generation_idempotency
 WHERE tenant_id = %(tenant)s AND caller = %(caller)s AND idempotency_key = %(key)s
   AND created_at >= now() - interval '24 hours'
"""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The accepted generation; `replayed` when an earlier request with the same idempotency key had made it."""

    id: UUID
    replayed: bool


def submit_generation(
    *,
    caller: Caller,
    request: GenerationRequest,
    idempotency_key: str | None = None,
    body_sha256: str | None = None,
    retry_of: UUID | None = None,
    lane: str | None = None,
    alone: bool = False,
) -> Submitted:
    """Store a request and reserve what it will cost, all or nothing; after the commit, try to wake a worker.

    `lane`: to be drawn there, instead of in the lane that took it. `alone`: no other row shares its pass, because its
    batch key is its own.

    Raises `ModelNotFound`, `TaskNotOffered`, `InputNotFound`, `PictureRefused`, `WebhookNotFound`, `InvalidRequest`,
    `QueueFull`, `QuotaExceeded`, `StorageFull`, `KeyReused` (the same key, another body); then there is no row and no
    charge. Redis may be down or hang: then the sweep wakes the worker.
    """
    body = body_sha256 or hash_request(request)
    with scope_of(caller):
        # Before anything is judged: what was accepted once is answered so, whatever has become of model and plan.
        if idempotency_key is not None and (earlier := find_key(caller, key=idempotency_key, body=body)):
            return Submitted(earlier, replayed=True)
        spec = spec_of(find_model(request.model, caller))
        prepared = prepare_inputs(request, spec)
        generation = make_generation(
            caller=caller, request=request, spec=spec, inputs=prepared.inputs, retry_of=retry_of, lane=lane, alone=alone
        )
        with kept(prepared, caller) as inputs, transaction.atomic():
            name_inputs(generation, inputs)
            if idempotency_key is not None:
                earlier = take_key(caller, generation.id, key=idempotency_key, body=body)
                if earlier is not None:
                    return Submitted(earlier, replayed=True)
            insert(caller, generation)
            transaction.on_commit(lambda: announce(generation), robust=True)
    return Submitted(generation.id, replayed=False)


def scope_of(caller: Caller) -> AbstractContextManager[None]:
    """The caller's tenant in scope, where it is not already."""
    return nullcontext() if current_scope().tenant == caller.tenant else in_tenant(caller.tenant)


def make_generation(
    *,
    caller: Caller,
    request: GenerationRequest,
    spec: ModelSpec,
    inputs: Inputs = NO_INPUTS,
    retry_of: UUID | None = None,
    lane: str | None = None,
    alone: bool = False,
) -> Generation:
    """The row of a request, not yet stored; its inputs are named once they are. Raises what is wrong with it.

    `spec`: that of the request's model.
    """
    request = apply_style(request)
    offered = offered_loras(request.loras, caller)
    resolved = resolve(request, spec, caller.plan, offered=offered, inputs=inputs)
    image_ms = estimate_image_ms(resolved, spec)
    identity = uuid7()
    return Generation(
        id=identity,
        tenant_id=caller.tenant,
        user=caller.user,
        key=caller.key,
        lane=lane or settings.STUDIO_LANE,
        pool=resolved.pool,
        model_id=resolved.model,
        task=resolved.task,
        prompt=resolved.prompt,
        folded=fold(resolved.prompt),
        negative_prompt=resolved.negative_prompt,
        width=resolved.width,
        height=resolved.height,
        steps=resolved.steps,
        seed=resolved.seed,
        n=resolved.n,
        params=resolved.params,
        schema_version=_version_of(resolved),
        batch_key=identity.hex if alone else resolved.batch_key,
        retry_of=retry_of,
        request_id=log_fields().get("request_id", "")[:40],
        estimate_ms=image_ms * resolved.n,
        created_at=Now(),  # the database's clock: rows of several web machines stand in one order
        queued_at=Now(),
    )


def _version_of(resolved: ResolvedRequest) -> int:
    if resolved.task != Task.TEXT_TO_IMAGE:
        return TASK_VERSION
    return LORA_VERSION if resolved.params["loras"] else SCHEMA_VERSION


def announce(generation: Generation) -> None:
    """Tell workers and watchers about a stored row. Both are only quicker this way; never raises for Redis."""
    SUBMITTED.labels(generation.lane, generation.model_id).inc()
    wake_pool(lane=generation.lane, pool=generation.pool)
    publish(tenant=generation.tenant_id, generation=generation.id, kind=Status.QUEUED.value)


def take_key(caller: Caller, generation: UUID, *, key: str, body: str) -> UUID | None:
    """Make an idempotency key ours; the id of the generation that it has made before, or None. Raises `KeyReused`."""
    names = _key_names(caller, key)
    if fetch_one(_TAKE_KEY_SQL, id=uuid7(), body=body, generation=generation, **names):
        return None
    found = find_key(caller, key=key, body=body)
    if found is None:
        reason = "the first request with this Idempotency-Key is still being taken, try again"
        raise StillRunning(reason, retry_after_s=1)
    return found


def find_key(caller: Caller, *, key: str, body: str) -> UUID | None:
    """The generation that this key has made, or None. Raises `KeyReused`, and `InvalidRequest` for a bad key."""
    row = fetch_one(_FIND_KEY_SQL, **_key_names(caller, key))
    if row is None or row["generation_id"] is None:
        return None
    if row["body_sha256"] != body:
        raise KeyReused("this Idempotency-Key came with another body before; use a new key for a new request")
    found: UUID = row["generation_id"]
    return found


def _key_names(caller: Caller, key: str) -> dict[str, object]:
    if not 1 <= len(key) <= 255 or not key.isprintable():
        raise InvalidRequest("Idempotency-Key must have 1 to 255 printable characters", field="Idempotency-Key")
    return {"tenant": caller.tenant, "caller": caller.key or caller.user or caller.tenant, "key": key}


def insert(caller: Caller, generation: Generation) -> None:
    """Reserve what a row costs, give it its place in the queue, store it. Inside the caller's transaction."""
    check_stored(caller)
    lock_inputs(generation)
    generation.charged_on = reserve(
        ref=generation.id,
        tenant=caller.tenant,
        user=caller.user,
        key=caller.key,
        plan=caller.plan,
        key_limits=caller.key_limits,
        budget=caller.budget,
        amounts=reserved_amounts(estimate_ms=generation.estimate_ms, n=generation.n),
        label=generation.model_id,
    )
    enter_queue(
        lane=generation.lane,
        pool=generation.pool,
        tenant=caller.tenant,
        weight=caller.plan.weight,
        ms=generation.estimate_ms,
        limit=caller.plan.queue_length,
    )
    generation.save(force_insert=True)
    use_inputs(generation)


def reserved_amounts(*, estimate_ms: int, n: int) -> dict[Metric, int]:
    """What a generation sets aside: its estimate and its images."""
    return {Metric.GPU_MS: estimate_ms, Metric.IMAGES: n}
