"""People. They sign in by e-mail address."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.ids import uuid7
from accounts.tenancy import give_back_connection

# Where the address of a person was who has deleted their account; the name is reserved and never resolves (RFC 2606).
GONE = "@deleted.invalid"


def normal_email(email: str) -> str:
    """One spelling per address: trimmed and lower case, as mail providers treat it."""
    return email.strip().lower()


class UserManager(BaseUserManager["User"]):
    """Makes users; the e-mail address is the name."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=normal_email(email), **fields)
        # Not `set_password`: that would tell the validators of a change, and this is a beginning.
        user.password = make_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def with_email(self, email: str) -> models.QuerySet[User]:
        """The person with this address, if there is one, by the index of lower-case addresses."""
        return self.alias(address=Lower("email")).filter(address=normal_email(email))

    def get_by_natural_key(self, username: str | None) -> User:
        return self.with_email(username or "").get()


class User(AbstractBaseUser, PermissionsMixin):
    """A person; global, because one person may belong to several tenants."""

    # Set before the first save by a sign-up: the address is still to be verified. Everybody else's counts as verified.
    is_unproven = False

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(_("e-mail"), max_length=254)
    name = models.CharField(_("name"), max_length=120, blank=True)
    language = models.CharField(_("language"), max_length=10, blank=True, choices=settings.LANGUAGES)
    is_active = models.BooleanField(_("active"), default=True)
    is_staff = models.BooleanField(_("staff"), default=False, help_text=_("May enter the admin."))
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [models.UniqueConstraint(Lower("email"), name="accounts_user_email_unique")]

    def __str__(self) -> str:
        return self.email

    @property
    def is_gone(self) -> bool:
        """Whether they have deleted their account; the row stays for what refers to it."""
        return self.email.endswith(GONE)

    def check_password(self, raw_password: str | None) -> bool:
        """As Django's, without a connection in hand: hashing takes a third of a second."""
        give_back_connection()
        return super().check_password(raw_password)

    def set_password(self, raw_password: str | None) -> None:
        """As Django's, likewise; an unknown address costs a sign-in this one."""
        give_back_connection()
        super().set_password(raw_password)

    def get_short_name(self) -> str:
        if self.is_gone:
            return gettext("somebody who left")
        return self.name or self.email.split("@")[0]
