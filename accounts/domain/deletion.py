"""Deleting an account: the person goes, what belongs to others stays.

The row of the person stays too, without anything that is theirs: pictures, the ledger and the audit log name its id.
"""

from __future__ import annotations

from collections.abc import Sequence

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from accounts.domain.audit import record
from accounts.domain.errands import add_errand
from accounts.domain.mail import queue_mail
from accounts.domain.members import TenantChoice, end_membership, tenants_of
from accounts.domain.people import lock_person
from accounts.domain.sessions import end_sessions
from accounts.enums import ErrandKind, Role
from accounts.errors import InvalidField, LastOwner
from accounts.models import Invitation, Membership, TokenDirectory, User
from accounts.models.user import GONE
from accounts.tenancy import in_tenant


class Pictures(models.TextChoices):
    """What becomes of the pictures of somebody who goes."""

    HAND_OVER = "hand_over", _("Leave my pictures to the organisation")
    DELETE = "delete", _("Delete my pictures")


def only_owner_of(user: User) -> list[TenantChoice]:
    """The tenants that would have no owner without this person. One that is to be deleted anyway does not count."""
    owned = [choice for choice in tenants_of(user.pk) if choice.role == Role.OWNER and choice.state != "closing"]
    others = Membership.objects.filter(tenant_id__in=[choice.id for choice in owned], role=Role.OWNER)
    shared = set(others.exclude(user_id=user.pk).values_list("tenant_id", flat=True))
    return [choice for choice in owned if choice.id not in shared]


def delete_person(*, user: User, pictures: str) -> None:
    """Remove a person: memberships, keys, sessions, factors, name and address; their pictures as they have chosen.

    Raises `LastOwner` naming the tenants, and `InvalidField`; nothing is changed then.
    """
    if pictures not in Pictures.values:
        raise InvalidField(f"pictures must be one of {', '.join(Pictures.values)}", field="pictures")
    with transaction.atomic():
        person = lock_person(user.pk)
        choices = sorted(tenants_of(person.pk), key=lambda choice: choice.id)  # everybody locks in one order
        _lock_owners(choices)
        if only := only_owner_of(person):
            raise LastOwner([choice.name for choice in only])
        for choice in choices:
            with in_tenant(choice.id):
                _leave(person, choice, pictures=pictures)
        queue_mail("account_deleted", to=person.email, language=person.language)
        _blank(person)
        record("account.deleted", target=f"user:{person.pk}", detail={"pictures": pictures}, personal=True)


def _lock_owners(choices: Sequence[TenantChoice]) -> None:
    # As accounts.domain.members does: two owners who leave at the same moment wait for each other here.
    rows = Membership.objects.select_for_update().filter(tenant_id__in=[choice.id for choice in choices])
    list(rows.filter(role=Role.OWNER).order_by("tenant_id", "id"))


def _leave(person: User, choice: TenantChoice, *, pictures: str) -> None:
    """Out of one tenant; runs in its scope."""
    # First, because who sets a budget or makes a key locks it first.
    Membership.objects.filter(tenant_id=choice.id, user_id=person.pk).delete()
    Invitation.objects.filter(email=person.email).update(email=_nobody(person))
    end_membership(user_id=person.pk)
    record("member.left", target=f"user:{person.pk}", detail={"account": "deleted", "pictures": pictures})
    if pictures == Pictures.DELETE:
        add_errand(kind=ErrandKind.DELETE_PICTURES, ref=person.pk, tenant=choice.id)


def _blank(person: User) -> None:
    person.email, person.name, person.language = _nobody(person), "", ""
    person.is_active = person.is_staff = person.is_superuser = False
    person.last_login = None
    person.set_unusable_password()
    person.save()
    person.groups.clear()
    person.user_permissions.clear()
    end_sessions(person.pk)
    EmailAddress.objects.filter(user_id=person.pk).delete()
    Authenticator.objects.filter(user_id=person.pk).delete()
    TokenDirectory.objects.filter(user_id=person.pk).delete()


def _nobody(person: User) -> str:
    return f"{person.pk.hex}{GONE}"
