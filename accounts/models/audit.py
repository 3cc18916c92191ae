"""Who did what, when, from where; without prompts and secrets."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.ids import uuid7
from accounts.tenancy import TenantManager


class AuditEvent(models.Model):
    """One event. Append-only for every role. Without a tenant: staff's and the installation's own."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        "accounts.Tenant", verbose_name=_("tenant"), on_delete=models.CASCADE, related_name="+", null=True
    )
    action = models.CharField(_("action"), max_length=60)
    result = models.CharField(_("result"), max_length=20, default="ok")
    user = models.UUIDField(_("user"), null=True)
    key = models.UUIDField(_("key"), null=True)
    target = models.CharField(_("target"), max_length=120, blank=True)
    address = models.GenericIPAddressField(_("address"), null=True)
    request_id = models.CharField(_("request"), max_length=40, blank=True)
    detail = models.JSONField(_("detail"), default=dict)
    created_at = models.DateTimeField(_("time"), default=timezone.now)

    objects: ClassVar[TenantManager[Self]] = TenantManager()

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="accounts_audit_time"),
            # staff's list and search
            models.Index(fields=["-created_at", "-id"], name="accounts_audit_all"),
            models.Index(fields=["request_id"], name="accounts_audit_request", condition=~models.Q(request_id="")),
        ]

    def __str__(self) -> str:
        return f"{self.action}, {self.created_at:%Y-%m-%d %H:%M:%S} UTC"
