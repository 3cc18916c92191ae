"""Durable other work: whatever is no generation but must happen."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.enums import ErrandKind
from accounts.ids import uuid7
from accounts.tenancy import TenantManager


class Errand(models.Model):
    """One piece of work with lease and fence, inserted in the transaction that wants it.

    `tenant` is empty for the installation's own errands (a password reset belongs to a person, not to a tenant); the
    web role can insert those only under `across_tenants()`. Finished errands are deleted, failed ones stay for staff.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        "accounts.Tenant", verbose_name=_("tenant"), on_delete=models.CASCADE, related_name="+", null=True
    )
    kind = models.CharField(_("kind"), max_length=30, choices=ErrandKind.choices)
    ref = models.UUIDField(null=True)
    data = models.JSONField(default=dict)
    due_at = models.DateTimeField(_("due"), default=timezone.now)
    attempt = models.PositiveSmallIntegerField(_("tries"), default=0)
    fence = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(_("failed"), null=True)
    error = models.CharField(_("error"), max_length=500, blank=True)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    objects: ClassVar[TenantManager[Self]] = TenantManager()

    class Meta:
        verbose_name = _("errand")
        verbose_name_plural = _("errands")
        indexes = [models.Index(fields=["due_at"], name="accounts_errand_due", condition=Q(failed_at=None))]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, {self.created_at:%Y-%m-%d %H:%M} UTC"
