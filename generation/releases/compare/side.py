"""One picture of one side: what came, how long it took; and the studio's own tenant it is drawn for.

A golden picture takes everybody's way: a row of `generation_generation`, claimed, drawn, stored and finished by a true
worker of the lane. So it needs a tenant. It is the studio's own: nobody is a member of it, so nobody has it in a
gallery, its quotas are nobody's, and its rows and files are removed as soon as a picture has been taken. It has a clock
like every tenant, and one picture is asked for at a time, so a comparison is fair to those who wait.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from accounts.domain.callers import Caller
from accounts.domain.limits import PLAN_COLUMNS
from accounts.domain.media import media_path
from accounts.domain.roles import ROLE_SCOPES
from accounts.enums import Role
from accounts.errors import StudioError
from accounts.models import Plan, Tenant
from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.remove import remove_generation
from generation.domain.submit import submit_generation
from generation.enums import FINAL, Status
from generation.errors import AlreadyFinished, GenerationNotFound, NotFinished, ReleaseRefused
from generation.models import Generation, Image, ModelGrant, Receipt
from generation.releases.compare.wanted import LIMITS, PLAN, Wanted

TENANT = UUID("c0a4a7e5-0000-7000-8000-000000000001")
TENANT_NAME = "QwenStudio: golden pictures"
LOOK_EVERY_S = 0.1
PICTURE_S = 300.0  # for one, waiting included
NO_INPUT = "no_input"
"""The error of a case for which there is no picture to start from."""


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


def draw_alone(wanted: Wanted, *, lane: str, release: str, timeout_s: float = PICTURE_S) -> Drawn:
    """Let a worker of the lane draw one picture, in a pass of its own, take it and remove every trace of it.

    Whatever goes wrong is the picture's error; only a database that is away raises.
    """
    if wanted.refused:
        return Drawn(error="refused")
    if wanted.start is not None and not wanted.start.picture:
        return Drawn(error=NO_INPUT)
    request = wanted.start.fill(wanted.request) if wanted.start else wanted.request
    with in_tenant(TENANT):
        try:
            id = submit_generation(caller=_CALLER, request=request, lane=lane, alone=True).id
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
        slug=PLAN, defaults={"title": TENANT_NAME, **{name: getattr(LIMITS, name) for name in PLAN_COLUMNS[1:]}}
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


_CALLER = Caller(
    tenant=TENANT,
    user=None,
    role=Role.OWNER.value,
    scopes=ROLE_SCOPES[Role.OWNER],
    key=None,
    plan=LIMITS,
    tenant_name=TENANT_NAME,
)
