"""Whoever comes by a signed link: no caller, but the tenant that the link is of still says who may look in."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings

from accounts.domain.addresses import address_is_in
from accounts.models import Tenant


def may_look_in(tenant: UUID, *, address: str | None) -> bool:
    """Whether a tenant is open and its networks, and the studio's, let this address in. Runs in the tenant's scope."""
    row = Tenant.objects.filter(pk=tenant).values("suspended_at", "delete_after", "networks").first()
    if row is None or row["suspended_at"] is not None or row["delete_after"] is not None:
        return False
    return address_is_in(address, row["networks"] or ()) and address_is_in(address, settings.STUDIO_NETWORKS)
