"""What follows from a new password, by whichever way it was set."""

from __future__ import annotations

from django.contrib.auth.password_validation import MinimumLengthValidator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.domain.audit import record
from accounts.domain.people import drop_wished_addresses
from accounts.domain.sessions import end_sessions, present_session
from accounts.domain.signin import drop_sign_in_links
from accounts.models import User


class MinimumLength(MinimumLengthValidator):
    """Django's, whose sentence its own Chinese catalogue misses (5.2 asks for it by another name)."""

    def get_error_message(self) -> str:
        """What people read beside the field."""
        words = ngettext(
            "Too short: at least %(n)d character is needed.",
            "Too short: at least %(n)d characters are needed.",
            self.min_length,
        )
        return words % {"n": self.min_length}


class EndSessions:
    """One of Django's password validators, for the sake of `password_changed`: it is called with every change.

    So the person's sessions end wherever the password was changed: by themselves, by a reset, by staff in the admin, by
    a command. The one that changes it stays. One-time links and the wish for another address end too.
    """

    def validate(self, password: str, user: User | None = None) -> None:
        """Nothing is wrong with any password here."""

    def get_help_text(self) -> str:
        """What people read beside the field."""
        return _("A new password signs you out in every other browser.")

    def password_changed(self, password: str, user: User | None = None) -> None:
        """Called after the save."""
        if user is None or user.pk is None:
            return
        end_sessions(user.pk, but=present_session(user.pk))
        # Somebody else may have asked for them: a link to another mailbox would be a way back in.
        drop_wished_addresses(user)
        drop_sign_in_links(user)
        record("password.changed", target=f"user:{user.pk}", personal=True)
