"""Tenants, their members and the plans they are on."""

from __future__ import annotations

from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.enums import ExportStatus, Role
from accounts.ids import uuid7
from accounts.models.base import TenantModel
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
    requests_per_minute = models.PositiveIntegerField(
        _("requests a minute"), default=600, help_text=_("Of one key, or of one member without a key.")
    )
    tenant_requests_per_minute = models.PositiveIntegerField(
        _("requests a minute of all together"),
        default=6000,
        help_text=_("Of all keys and members of a tenant: more keys are no more requests."),
    )
    chat_requests_per_minute = models.PositiveIntegerField(_("chat requests a minute"), default=30)
    concurrent_chats = models.PositiveIntegerField(_("chat calls at once"), default=16, db_default=16)
    cancels_per_day = models.PositiveIntegerField(
        _("cancelled while waiting, a day"),
        null=True,
        blank=True,
        default=5000,
        help_text=_("Beyond it nothing new is taken until tomorrow: refunds are free, their rows are not."),
    )
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
    limits = models.JSONField(
        _("limits of its own"),
        default=dict,
        blank=True,
        help_text=_("What differs from the plan, by the plan's field names; null means no limit."),
    )
    networks = ArrayField(
        models.CharField(max_length=50),
        verbose_name=_("networks"),
        default=list,
        blank=True,
        help_text=_("Keys and members may come from these only; empty means from anywhere."),
    )
    logo = models.CharField(max_length=200, blank=True, editable=False)  # a path under STUDIO_MEDIA
    keeps_chats = models.BooleanField(
        _("keeps the words of API calls"),
        default=False,
        db_default=False,
        help_text=_("What programs send to chat models and what these answer. Without it only counts are kept."),
    )
    # What its stored pictures and thumbnails take; moved in the transactions that add and remove them.
    stored_bytes = models.BigIntegerField(_("bytes stored"), default=0, editable=False)
    note = models.TextField(_("note for staff"), blank=True)
    suspended_at = models.DateTimeField(_("suspended"), null=True, blank=True)
    delete_after = models.DateTimeField(_("to be deleted"), null=True, blank=True, editable=False)
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
        # Django's own three are not enough: whoever makes owners decides who sees a tenant's pictures.
        permissions = [("manage_members", "Can decide who belongs to a tenant")]
        constraints = [models.UniqueConstraint("tenant", "user", name="accounts_membership_unique")]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class MemberBudget(TenantModel):
    """What one member may use at most, beside all that holds for the tenant (`accounts.domain.limits.Budget`)."""

    user = models.ForeignKey("accounts.User", verbose_name=_("member"), on_delete=models.CASCADE, related_name="+")
    limits = models.JSONField(_("limits"), default=dict)

    class Meta(TenantModel.Meta):
        abstract = False
        constraints = [models.UniqueConstraint("tenant", "user", name="accounts_memberbudget_unique")]


class Invitation(TenantModel):
    """Asks a person to join with a role. The secret in its link is in `TokenDirectory`, by its hash."""

    email = models.EmailField(_("e-mail"), max_length=254)
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, default=Role.MEMBER)
    invited_by = models.UUIDField(_("invited by"), null=True)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("expires"))
    accepted_at = models.DateTimeField(_("accepted"), null=True)
    accepted_by = models.UUIDField(null=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        indexes = [models.Index(fields=["tenant", "-created_at"], name="accounts_invitation_time")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "email"],
                condition=models.Q(accepted_at=None, revoked_at=None),
                name="accounts_invitation_open",
            )
        ]


class Export(TenantModel):
    """Everything that a tenant has, as one file that waits for some days to be fetched."""

    requested_by = models.UUIDField(_("asked for by"), null=True)
    status = models.CharField(_("status"), max_length=10, choices=ExportStatus.choices, default=ExportStatus.WAITING)
    done = models.PositiveIntegerField(default=0)  # of `total` images
    total = models.PositiveIntegerField(default=0)
    file = models.CharField(max_length=200, blank=True)  # a path under STUDIO_MEDIA
    bytes = models.BigIntegerField(default=0)
    error = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(_("expires"), null=True)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("export")
        verbose_name_plural = _("exports")
        indexes = [models.Index(fields=["tenant", "-created_at"], name="accounts_export_time")]
