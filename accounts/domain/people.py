"""People: their one address and whether it is proven, and what follows when staff disable somebody.

`User.email` is the address. allauth's `EmailAddress` beside it says whether it was verified, and holds the one that a
person wants to change to until they have shown that it is theirs. Whoever was made by staff, the demo or a command
counts as verified: somebody who answers for them typed the address.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from allauth.account.models import EmailAddress
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.signals import post_save
from django.utils import timezone

from accounts.domain.audit import record
from accounts.domain.sessions import end_sessions
from accounts.domain.sql import execute
from accounts.models import Membership, TokenDirectory, User

if TYPE_CHECKING:
    from django.db.models import QuerySet

STALE_AFTER = timedelta(days=7)  # longer than any link to verify an address lives
STALE_AT_ONCE = 20


def keep_address(user: User, *, verified: bool = True) -> None:
    """Give a person whose address is new, or older than allauth here, its `EmailAddress`; drop all others.

    Does nothing where it is there already, verified or not.
    """
    if EmailAddress.objects.filter(user_id=user.pk, email=user.email).exists():
        return
    with transaction.atomic():
        EmailAddress.objects.filter(user_id=user.pk).delete()
        row = EmailAddress(user_id=user.pk, email=user.email, verified=verified, primary=True)
        EmailAddress.objects.bulk_create([row], ignore_conflicts=True)  # another request may be faster


def prove_address(user: User) -> bool:
    """Write down that a person has shown that their address is theirs; whether that is news."""
    keep_address(user)
    return bool(EmailAddress.objects.filter(user_id=user.pk, email=user.email, verified=False).update(verified=True))


def address_to_prove(user: User) -> EmailAddress | None:
    """The address of somebody who has signed up and not shown yet that it is theirs; they do not come in."""
    return EmailAddress.objects.filter(user_id=user.pk, email=user.email, primary=True, verified=False).first()


def drop_wished_addresses(user: User) -> None:
    """Forget the address that somebody wanted for a person and nobody has verified; the link to it is worth nothing."""
    EmailAddress.objects.filter(user_id=user.pk, primary=False, verified=False).exclude(email=user.email).delete()


def drop_squatters(email: str, *, but: UUID) -> None:
    """Make room for whoever has proven that an address is theirs: sign-ups with it that nobody ever verified go."""
    for user in _never_proven(User.objects.with_email(email).exclude(pk=but)):
        _forget(user)


def drop_stale_sign_ups() -> None:
    """Forget sign-ups whose address nobody has verified for a week, a few at a time; each sign-up calls it."""
    old = User.objects.filter(created_at__lt=timezone.now() - STALE_AFTER)
    for user in _never_proven(old).order_by("created_at")[:STALE_AT_ONCE]:
        _forget(user)


def lock_person(user: UUID) -> User:
    """The row of a person who comes into a tenant or deletes their account; locked before any row of a tenant.

    It does not hold up whoever merely inserts what points to the person.
    """
    return User.objects.select_for_update(no_key=True).get(pk=user)


def change_profile(user: User, *, name: str, language: str) -> None:
    """What others see, and the language of pages and mails; an empty one is the browser's."""
    user.name, user.language = name.strip(), language
    user.save(update_fields=["name", "language"])


def _never_proven(users: QuerySet[User]) -> QuerySet[User]:
    """Of these, who signed up, never verified the address, never came in and belongs nowhere."""
    unproven = EmailAddress.objects.filter(user_id=OuterRef("pk"), primary=True, verified=False)
    belongs = Membership.objects.filter(user_id=OuterRef("pk"))
    return users.filter(Exists(unproven), ~Exists(belongs), last_login=None, is_staff=False)


def _forget(user: User) -> None:
    """Delete somebody who never came in: they own nothing but what is named here."""
    with transaction.atomic():
        EmailAddress.objects.filter(user_id=user.pk).delete()
        TokenDirectory.objects.filter(user_id=user.pk).delete()
        # Django's own cascade would look into the tenants' tables, which nobody in no tenant may.
        execute("DELETE FROM accounts_user WHERE id = %(id)s", id=user.pk)
        record("sign_up.forgotten", target=f"user:{user.pk}", personal=True)


def _on_saved(*, instance: User, update_fields: Collection[str] | None = None, raw: bool = False, **_: Any) -> None:
    """Whoever saves a person, keep the address in step; a disabled person's sessions end for good."""
    if raw:
        return
    if update_fields is None or "email" in update_fields:
        keep_address(instance, verified=not instance.is_unproven)
    if not instance.is_active and (update_fields is None or "is_active" in update_fields):
        end_sessions(instance.pk)


def connect() -> None:
    """Called once, when the app is ready."""
    post_save.connect(_on_saved, sender=User, dispatch_uid="accounts.people")
