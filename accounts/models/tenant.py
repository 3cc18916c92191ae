"""Tenants, their members and the plans they are on."""

from __future__ import annotations

from typing import ClassVar, Self

from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.enums import Role
from accounts.ids import uuid7
from accounts.tenancy import TenantManager


class Plan(models.Model):
    """The limits a tenant has. An empty limit means: none."""

    slug = models.SlugField(_("slug"), unique=True)
    title = models.CharField(_("title"), max_length=80)
    weight = models.PositiveSmallIntegerField(
        _("weight"),
        default=1,
        validators=[MinValueValidator(1)],
        help_text=_("Share of the GPUs beside other tenants."),
    )
    gpu_ms_per_day = models.BigIntegerField(_("GPU milliseconds a day"), null=True, blank=True)
    gpu_ms_per_month = models.BigIntegerField(_("GPU milliseconds a month"), null=True, blank=True)
    images_per_day = models.BigIntegerField(_("images a day"), null=True, blank=True)
    images_per_month = models.BigIntegerField(_("images a month"), null=True, blank=True)
    tokens_per_day = models.BigIntegerField(_("chat tokens a day"), null=True, blank=True)
    concurrent_generations = models.PositiveIntegerField(_("generations at once"), default=8)
    queue_length = models.PositiveIntegerField(_("generations waiting"), default=500)
    max_pixels = models.PositiveIntegerField(_("pixels per image"), default=2048 * 2048)
    max_steps = models.PositiveSmallIntegerField(_("steps"), default=50)
    max_images = models.PositiveSmallIntegerField(_("images per request"), default=10)
    requests_per_minute = models.PositiveIntegerField(_("requests a minute"), default=600)
    chat_requests_per_minute = models.PositiveIntegerField(_("chat requests a minute"), default=30)
    storage_bytes = models.BigIntegerField(_("storage in bytes"), null=True, blank=True)
    retention_days = models.PositiveIntegerField(_("days images are kept"), null=True, blank=True)

    class Meta:
        verbose_name = _("plan")
        verbose_name_plural = _("plans")

    def __str__(self) -> str:
        return self.title


class Tenant(models.Model):
    """A customer organisation; owns every row that is not global."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(_("name"), max_length=120)
    plan = models.ForeignKey(Plan, verbose_name=_("plan"), on_delete=models.PROTECT, related_name="+")
    note = models.TextField(_("note for staff"), blank=True)
    suspended_at = models.DateTimeField(_("suspended"), null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[TenantManager[Self]] = TenantManager()

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A user in a tenant, with a role."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, verbose_name=_("tenant"), on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(
        "accounts.User", verbose_name=_("user"), on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = [models.UniqueConstraint("tenant", "user", name="accounts_membership_unique")]

    def __str__(self) -> str:
        return f"{self.user_id} ({self.role})"
