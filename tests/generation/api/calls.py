"""Calls that the API's tests have in common, and looks behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from PIL import Image as Picture

from accounts.ids import uuid7
from accounts.models import LedgerEntry
from accounts.tenancy import in_tenant
from generation.domain.receipts import sign_receipt
from generation.enums import Status
from generation.models import Generation, Image, Receipt
from tests.factories import Person

IMAGES = "/api/v1/images"
BODY = {"model": "demo", "prompt": "a white house on the left of a meadow at night"}


def submit(person: Person, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """POST /api/v1/images with the person's key."""
    return person.api.post(IMAGES, {**BODY, **fields}, content_type="application/json", headers=headers or {})


def submitted(person: Person, **fields: Any) -> UUID:
    """The id of an accepted generation."""
    answer = submit(person, **fields)
    assert answer.status_code == 202, answer.content
    return UUID(answer.json()["id"])


def rows(person: Person) -> list[Generation]:
    """The tenant's generations."""
    with in_tenant(person.tenant.pk):
        return list(Generation.objects.order_by("created_at"))


def ledger(person: Person, generation: UUID | None = None) -> dict[str, int]:
    """What the tenant's ledger adds up to, by metric; of one generation or of all."""
    with in_tenant(person.tenant.pk):
        entries = LedgerEntry.objects.all() if generation is None else LedgerEntry.objects.filter(ref=generation)
        found: dict[str, int] = {}
        for entry in entries:
            found[entry.metric] = found.get(entry.metric, 0) + entry.amount
    return found


def finish(person: Person, generation: UUID, media: Path) -> Image:
    """End a generation as a worker would have left it: row, image row, files."""
    with in_tenant(person.tenant.pk):
        row = Generation.objects.get(pk=generation)
        folder = f"{person.tenant.pk}/{person.user.pk}/2026-11"
        (media / folder).mkdir(parents=True, exist_ok=True)
        name = f"{folder}/{generation}-0-1"
        Picture.new("RGB", (64, 64), (200, 30, 30)).save(media / f"{name}.png")
        Picture.new("RGB", (32, 32), (200, 30, 30)).save(media / f"{name}.thumb.webp")
        image = Image.objects.create(
            id=uuid7(), generation=row, index=0, file=f"{name}.png", thumbnail=f"{name}.thumb.webp", format="png",
            sha256="ab" * 32, bytes=(media / f"{name}.png").stat().st_size, width=64, height=64, seed=row.seed,
        )  # fmt: skip
        Generation.objects.filter(pk=generation).update(
            status=Status.SUCCEEDED,
            done=1,
            fence=1,
            cost_ms=321,
            started_at=row.created_at,
            finished_at=image.created_at,
        )
        receipt = {"seed": image.seed, "model": row.model_id}
        Receipt.objects.create(image=image, body=receipt, signature=sign_receipt(receipt))
    return image
