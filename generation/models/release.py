"""The two lanes, and the releases that were put into them. Global; none holds a tenant's data."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.ids import uuid7
from generation.enums import LaneState, ReleaseMode, ReleaseState


class Release(models.Model):
    """One release's stay in one lane: the same code started twice is two rows."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(_("release"), max_length=40)
    lane = models.CharField(_("lane"), max_length=10)
    mode = models.CharField(_("way"), max_length=20, choices=ReleaseMode.choices, default=ReleaseMode.SIDE_BY_SIDE)
    state = models.CharField(_("state"), max_length=10, choices=ReleaseState.choices, default=ReleaseState.TRYING)
    detail = models.CharField(_("detail"), max_length=500, blank=True)
    pause_ms = models.PositiveIntegerField(_("pause in ms"), null=True)  # no worker drew for so long at its promotion
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    promoted_at = models.DateTimeField(_("promoted"), null=True)  # for the first time
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("release")
        verbose_name_plural = _("releases")
        indexes = [models.Index(fields=["-started_at"], name="generation_release_time")]

    def __str__(self) -> str:
        return f"{self.name} ({self.lane})"


class Lane(models.Model):
    """Blue or green, as the release commands left it. The rows are made by the migration and never deleted."""

    name = models.CharField(_("lane"), max_length=10, primary_key=True)
    state = models.CharField(_("state"), max_length=10, choices=LaneState.choices, default=LaneState.STOPPED)
    release = models.ForeignKey(
        Release, verbose_name=_("release"), on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    serves = models.JSONField(_("models"), default=list)  # slugs that its workers must serve before it is ready
    detail = models.CharField(_("detail"), max_length=500, blank=True)
    changed_at = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        verbose_name = _("lane")
        verbose_name_plural = _("lanes")
        constraints = [
            # Two defaults would be two truths.
            models.UniqueConstraint(fields=["state"], condition=Q(state="serving"), name="generation_lane_default")
        ]

    def __str__(self) -> str:
        return self.name
