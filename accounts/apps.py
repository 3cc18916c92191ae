"""Who: people, tenants, keys, limits."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")

    def ready(self) -> None:
        """Listen to what Django and allauth tell about people."""
        from accounts.web.receivers import connect  # its models are ready only now

        connect()
