"""One picture of one side: what is wanted, what came, how long it took; and the studio's own tenant it is drawn for.

A golden picture takes everybody's way: a row of `generation_generation`, claimed, drawn, stored and finished by a true
worker of the lane. So it needs a tenant. It is the studio's own: nobody is a member of it, so nobody has it in a
gallery, its quotas are nobody's, and its rows and files are removed as soon as a picture has been taken. It has a clock
like every tenant, and one picture is asked for at a time, so a comparison is fair to those who wait.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from accounts.domain.callers import Caller
from accounts.domain.limits import PLAN_COLUMNS, PlanLimits
from accounts.domain.media import media_path
from accounts.domain.roles import ROLE_SCOPES
from accounts.enums import Role
from accounts.errors import StudioError
from accounts.models import Plan, Tenant
from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.catalog import spec_of
from generation.domain.remove import remove_generation
from generation.domain.request import GenerationRequest
from generation.domain.resolve import resolve
from generation.domain.submit import submit_generation
from generation.engine.request import MAX_SIDE, MAX_STEPS
from generation.enums import FINAL, Status
from generation.errors import AlreadyFinished, GenerationNotFound, NotFinished, ReleaseRefused
from generation.models import Generation, GoldenCase, Image, ModelGrant, Receipt

TENANT = UUID("c0a4a7e5-0000-7000-8000-000000000001")
TENANT_NAME = "QwenStudio: golden pictures"
PLAN = "golden-pictures"
LOOK_EVERY_S = 0.1
PICTURE_S = 300.0  # for one, waiting included


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A golden case as it is drawn now: the model's defaults are in `params`, which is all that its picture follows
    from.
    """

    slug: str
    position: int
    model: str
    tolerance: str
    request: GenerationRequest
    params: dict[str, Any]
    refused: str = ""
    """Why the model's entry does not allow it: then `params` are what staff wrote."""

    @property
    def params_sha256(self) -> str:
        """A reference counts only where this is the same."""
        text = json.dumps([self.model, self.request.prompt, self.params], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What one side has of a case: a picture, or the code of an error. Milliseconds by the database's clock.

    `run_ms` is from the claim until the picture was stored.
    """

    data: bytes = b""
    error: str = ""
    wait_ms: int | None = None
    run_ms: int | None = None
    hardware: str = ""

    @property
    def sha256(self) -> str:
        """Of the file; empty where there is none."""
        return hashlib.sha256(self.data).hexdigest() if self.data else ""


def want(case: GoldenCase) -> Wanted:
    """What a case asks for, resolved against its model's entry."""
    request = GenerationRequest(
        model=case.model_id,
        prompt=case.prompt,
        negative_prompt=case.negative_prompt,
        width=case.width,
        height=case.height,
        num_inference_steps=case.steps,
        true_cfg_scale=case.true_cfg_scale,
        seed=case.seed,
    )
    names = ("negative_prompt", "width", "height", "steps", "seed")
    refused, params = "", {name: getattr(case, name) for name in names}
    try:
        found = resolve(request, spec_of(case.model), _LIMITS)
    except (StudioError, ValueError) as error:  # the entry was changed after the case was written
        refused = str(error)[:200]
    else:
        params = {name: getattr(found, name) for name in names}
        params["true_cfg_scale"] = found.true_cfg_scale if found.guided else 1.0
    return Wanted(
        slug=case.slug,
        position=case.position,
        model=case.model_id,
        tolerance=case.tolerance,
        request=request,
        params=params,
        refused=refused,
    )


def draw_alone(wanted: Wanted, *, lane: str, release: str, timeout_s: float = PICTURE_S) -> Drawn:
    """Let a worker of the lane draw one picture, in a pass of its own, take it and remove every trace of it.

    Whatever goes wrong is the picture's error; only a database that is away raises.
    """
    if wanted.refused:
        return Drawn(error="refused")
    with in_tenant(TENANT):
        try:
            id = submit_generation(caller=_CALLER, request=wanted.request, lane=lane, alone=True).id
        except StudioError as error:
            return Drawn(error=error.code)
        try:
            return _take(_wait(id, lane=lane, timeout_s=timeout_s), lane=lane, release=release)
        finally:
            _remove(id)


def open_tenant(models: set[str]) -> None:
    """Make the studio's own tenant and its plan where they are missing, and let it use these models.

    Raises `ReleaseRefused` where staff have suspended it.
    """
    plan, _ = Plan.objects.get_or_create(
        slug=PLAN, defaults={"title": TENANT_NAME, **{name: getattr(_LIMITS, name) for name in PLAN_COLUMNS[1:]}}
    )
    with in_tenant(TENANT):
        note = "Golden pictures of `release compare` are drawn for it and removed at once. Nobody is its member."
        tenant, _ = Tenant.objects.get_or_create(pk=TENANT, defaults={"name": TENANT_NAME, "plan": plan, "note": note})
        if tenant.suspended_at is not None:
            raise ReleaseRefused(f"the tenant {tenant.name!r} is suspended, so nothing is drawn for it: resume it")
        for model in models:
            ModelGrant.objects.get_or_create(tenant_id=TENANT, model_id=model)


def clear_left() -> int:
    """Remove what a comparison that was killed has left; how many rows. What still runs is cancelled first."""
    with in_tenant(TENANT):
        ids = list(Generation.objects.values_list("pk", flat=True))
        for id in ids:
            _remove(id)
    return len(ids)


def _wait(id: UUID, *, lane: str, timeout_s: float) -> Generation | str:
    """The row once it has ended, or the code of what kept it from that."""
    until = time.monotonic() + timeout_s
    while True:
        row: Generation | None = Generation.objects.filter(pk=id).first()
        if row is None or row.lane != lane:
            return "moved"  # its worker went away, and the ticker gave it to the lane that serves
        if row.status in FINAL:
            return row
        if time.monotonic() > until:
            return "timeout"
        time.sleep(LOOK_EVERY_S)


def _take(row: Generation | str, *, lane: str, release: str) -> Drawn:
    if isinstance(row, str):
        return Drawn(error=row)
    found = Drawn(wait_ms=_ms(row.created_at, row.started_at), run_ms=_ms(row.started_at, row.finished_at))
    if row.status != Status.SUCCEEDED:
        return replace(found, error=row.error_code or row.status)
    image = Image.objects.get(generation_id=row.pk)
    receipt = Receipt.objects.get(image_id=image.pk).body
    if (receipt["lane"], receipt["release"]) != (lane, release):
        return replace(found, error="elsewhere")
    if receipt["batch_size"] != 1:
        return replace(found, error="not_alone")
    try:
        data = media_path(image.file).read_bytes()
    except OSError:
        return replace(found, error="no_file")
    if hashlib.sha256(data).hexdigest() != image.sha256:
        return replace(found, error="other_file")
    return replace(found, data=data, hardware=str(receipt["hardware"]))


def _remove(id: UUID) -> None:
    """As far as its worker lets go of it; the next comparison removes the rest."""
    with suppress(GenerationNotFound, AlreadyFinished):
        cancel_generation(id)
    with suppress(GenerationNotFound, NotFinished):
        remove_generation(id)


def _ms(since: datetime | None, until: datetime | None) -> int | None:
    return None if since is None or until is None else max(0, round((until - since).total_seconds() * 1000))


_LIMITS = PlanLimits(
    slug=PLAN,
    weight=1,
    gpu_ms_per_day=None,
    gpu_ms_per_month=None,
    images_per_day=None,
    images_per_month=None,
    tokens_per_day=None,
    concurrent_generations=100,  # one is asked for at a time; a worker that hangs must not stop the other lane
    queue_length=100,
    max_pixels=MAX_SIDE * MAX_SIDE,
    max_steps=MAX_STEPS,
    max_images=1,
    requests_per_minute=600,
    tenant_requests_per_minute=600,
    chat_requests_per_minute=1,
    concurrent_chats=1,
    cancels_per_day=None,
    storage_bytes=None,
    retention_days=None,
)
_CALLER = Caller(
    tenant=TENANT,
    user=None,
    role=Role.OWNER.value,
    scopes=ROLE_SCOPES[Role.OWNER],
    key=None,
    plan=_LIMITS,
    tenant_name=TENANT_NAME,
)
