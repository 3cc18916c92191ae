"""The LoRAs on offer: which a tenant may use, and what a request may ask of them."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.domain.callers import Caller
from generation.domain.request import LoraChoice
from generation.domain.resolve import OfferedLora
from generation.models import Lora, LoraGrant


def visible_loras(caller: Caller) -> list[Lora]:
    """The LoRAs that the caller's tenant may use, in their order. Runs in the tenant's scope."""
    return list(_visible(caller))


def offered_loras(choices: Iterable[LoraChoice], caller: Caller) -> dict[str, OfferedLora]:
    """Those of a request that its tenant may use, by name; nothing is asked where none is named."""
    names = [choice.name for choice in choices]
    if not names:
        return {}
    return {lora.slug: offer(lora) for lora in _visible(caller).filter(slug__in=names)}


def offer(lora: Lora) -> OfferedLora:
    """A LoRA as requests are held to it."""
    return OfferedLora(
        name=lora.slug,
        sha256=lora.sha256,
        fits=tuple(lora.fits),
        default_scale=lora.default_scale,
        min_scale=lora.min_scale,
        max_scale=lora.max_scale,
    )


def _visible(caller: Caller) -> QuerySet[Lora]:
    granted = LoraGrant.objects.filter(tenant_id=caller.tenant, lora=OuterRef("slug"))
    return Lora.objects.filter(Q(public=True) | Q(Exists(granted)), enabled=True)
