"""The end of a tenant, and its undoing within the days of grace.

Everything is refused from the next request on, as for a suspended tenant. What waits or runs is cancelled by an errand
at once; what there is goes by another one when the days are over (`generation/domain/erase.py`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.domain.addresses import address_is_in
from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.errands import add_errand
from accounts.domain.mail import queue_mail
from accounts.domain.members import owners_of
from accounts.domain.roles import Right
from accounts.enums import ErrandKind
from accounts.errors import AlreadyClosing, NameDiffers, NotAllowed, NotFound, TenantNotClosing
from accounts.models import Membership, Tenant, User
from accounts.tenancy import in_tenant

GRACE = timedelta(days=30)
PATH = "/organisations/"


def ask_deletion(*, by: Caller, confirm: str) -> datetime:
    """Delete the caller's tenant after `GRACE`; returns the moment. `confirm` is its name as it stands.

    Raises `NotAllowed`, `NameDiffers`, `AlreadyClosing`.
    """
    by.require(Right.DELETE_TENANT)
    with transaction.atomic():
        tenant = Tenant.objects.select_for_update().get(pk=by.tenant)
        if tenant.delete_after is not None:
            raise AlreadyClosing
        if confirm.strip() != tenant.name:
            raise NameDiffers
        tenant.delete_after = timezone.now() + GRACE
        tenant.save(update_fields=["delete_after"])
        # The installation's own errands: a tenant's would be erased with it while they run.
        for due_at in (timezone.now(), tenant.delete_after):
            add_errand(kind=ErrandKind.DELETE_TENANT, ref=tenant.pk, tenant=None, due_at=due_at)
        record("tenant.closing", target=f"tenant:{tenant.pk}", detail={"after": f"{tenant.delete_after:%Y-%m-%d}"})
        _tell_owners("tenant_closing", tenant, by=by.user)
    return tenant.delete_after


def keep_tenant(*, user: User, tenant_id: UUID, address: str | None) -> Tenant:
    """Undo that. There is no caller for a tenant that refuses everybody, so the owner is looked up here.

    Raises `NotFound` for a tenant that is not theirs, `NotAllowed` for who is no owner or in no network of it, and
    `TenantNotClosing` also when the time is over.
    """
    membership = Membership.objects.filter(user=user, tenant_id=tenant_id).first()
    if membership is None:
        raise NotFound("no such organisation")
    if not Right.DELETE_TENANT.is_held_by(membership.role):
        raise NotAllowed("only an owner can keep this organisation; ask one of them")
    with in_tenant(tenant_id), transaction.atomic():
        tenant = Tenant.objects.select_for_update().get(pk=tenant_id)
        if not (address_is_in(address, tenant.networks) and address_is_in(address, settings.STUDIO_NETWORKS)):
            raise NotAllowed("your organisation does not let your address in; ask one of its admins")
        # The database's clock, as for the errand that deletes: of the two one comes first.
        if not Tenant.objects.filter(pk=tenant_id, delete_after__gt=Now()).update(delete_after=None):
            raise TenantNotClosing
        record("tenant.kept", target=f"tenant:{tenant_id}")
        _tell_owners("tenant_kept", tenant, by=user.pk)
    return tenant


def _tell_owners(mail: str, tenant: Tenant, *, by: UUID | None) -> None:
    owners = owners_of(tenant.pk)
    who = next((owner.get_short_name() for owner in owners if owner.pk == by), "")
    for owner in owners:
        context = {
            "tenant": tenant.name,
            "who": who,
            "after": f"{tenant.delete_after:%Y-%m-%d}",
            "link": f"{settings.STUDIO_URL}{PATH}",
        }
        queue_mail(mail, to=owner.email, language=owner.language, context=context, tenant=tenant.pk)
