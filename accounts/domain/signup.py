"""How a person comes to be: by themselves where `STUDIO_SIGNUP` is open, or by an invitation."""

from __future__ import annotations

from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.utils import translation
from django.utils.translation import gettext as _

from accounts.domain.audit import record
from accounts.domain.invitations import accept_invitation
from accounts.domain.people import drop_stale_sign_ups, lock_person
from accounts.domain.tenants import create_tenant
from accounts.ids import uuid7
from accounts.models import Membership, User
from accounts.models.user import normal_email


def sign_up_person(*, email: str, name: str, password: str, language: str, invitation: str = "") -> User | None:
    """Make a person whose address is still to be verified; with an invitation they join its tenant and are verified.

    `None` when the address has an account already. The work is the same then, for an address of nobody, and is rolled
    back: neither the answer nor its time tells who has an account. Raises what `accept_invitation` raises.
    """
    drop_stale_sign_ups()
    taken = User.objects.with_email(email).exists()
    address = f"{uuid7().hex}@nobody.invalid" if taken else email
    try:
        with transaction.atomic():
            user = User(email=normal_email(address), name=name.strip(), language=language)
            user.is_unproven = not invitation
            user.password = make_password(password)
            user.save()
            record("sign_up", target=f"user:{user.pk}", personal=True)
            if taken:
                transaction.set_rollback(True)
            elif invitation:
                # The link was mailed to this address, and whose address it is `accept_invitation` compares.
                accept_invitation(token=invitation, user=user)
    except IntegrityError:
        return None  # somebody signed up with it at this very moment
    return None if taken else user


def give_own_tenant(user: User) -> None:
    """Who has signed up by themselves and now has a verified address gets a tenant of their own, once."""
    with transaction.atomic():
        # The row decides between two clicks on the same link.
        person = lock_person(user.pk)
        if person.last_login is not None or Membership.objects.filter(user_id=person.pk).exists():
            return
        with translation.override(person.language or translation.get_language()):
            name = _("%(name)s’s studio") % {"name": person.get_short_name()[:100]}
        create_tenant(name=name, owner=person)
