"""API keys and one-time tokens. Only SHA-256 hashes are stored."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.enums import Scope, TokenPurpose
from accounts.models.base import TenantModel


class ApiKey(TenantModel):
    """A key of a tenant, acting for one member; its secrets are rows of their own, so that two can live at once."""

    user = models.ForeignKey("accounts.User", verbose_name=_("acts for"), on_delete=models.CASCADE, related_name="+")
    name = models.CharField(_("name"), max_length=80)
    prefix = models.CharField(_("prefix"), max_length=16, editable=False)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope.choices), verbose_name=_("scopes"))
    networks = ArrayField(models.CharField(max_length=50), verbose_name=_("networks"), default=list, blank=True)
    limits = models.JSONField(_("limits"), default=dict, blank=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    last_used_ip = models.GenericIPAddressField(_("last address"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        indexes = [
            models.Index(fields=["tenant", "user"], name="accounts_apikey_owner"),
            models.Index(fields=["prefix"], name="accounts_apikey_prefix"),  # staff's search
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        """`live`, `ended` (its last day is over) or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "ended" if self.expires_at is not None and self.expires_at <= timezone.now() else "live"

    def live_secrets(self) -> list[KeySecret]:
        """The secrets that open it, newest first; two while it is rotated."""
        now = timezone.now()
        if not self.is_live:
            return []
        live = [secret for secret in self.secrets.all() if secret.expires_at is None or secret.expires_at > now]
        return sorted(live, key=lambda secret: secret.created_at, reverse=True)

    @property
    def is_live(self) -> bool:
        """Whether it can be used."""
        return self.state == "live"


class KeySecret(TenantModel):
    """One secret of a key; a rotation adds the second and gives the first an end."""

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="secrets", db_constraint=False)
    sha256 = models.CharField(max_length=64, editable=False)
    prefix = models.CharField(max_length=16, editable=False, blank=True)  # empty: the key's
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantModel.Meta):
        abstract = False
        constraints = [models.UniqueConstraint("tenant", "sha256", name="accounts_keysecret_unique")]


class KeyDirectory(models.Model):
    """Answers "whose key is this?" before a tenant is known, and nothing else."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    tenant = models.ForeignKey("accounts.Tenant", on_delete=models.CASCADE, related_name="+")


class TokenDirectory(models.Model):
    """A one-time token by its hash: whom it signs in, or which invitation of which tenant it is."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    purpose = models.CharField(max_length=20, choices=TokenPurpose.choices)
    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="+", null=True)
    tenant = models.ForeignKey("accounts.Tenant", on_delete=models.CASCADE, related_name="+", null=True)
    ref = models.UUIDField(null=True)
    next_path = models.CharField(max_length=200, blank=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
