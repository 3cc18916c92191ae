"""What somebody does with many generations at once."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.base import TenantModel
from generation.enums import Act, SelectionStatus


class Selection(TenantModel):
    """A zip of many pictures, or their end: what was chosen, how far it is, and the file where there is one."""

    act = models.CharField(_("what"), max_length=10, choices=Act.choices)
    requested_by = models.UUIDField(_("asked for by"), null=True)
    # Generations: those that were chosen, of a zip that is ready those in it. Emptied when all is over.
    ids = ArrayField(models.UUIDField(), default=list)
    status = models.CharField(
        _("status"), max_length=10, choices=SelectionStatus.choices, default=SelectionStatus.WAITING
    )
    done = models.PositiveIntegerField(default=0)  # images of a zip, generations of a deletion
    total = models.PositiveIntegerField(default=0)
    left = models.PositiveIntegerField(default=0)  # generations that had not ended, so they were not deleted
    file = models.CharField(max_length=200, blank=True)  # a path under STUDIO_MEDIA
    bytes = models.BigIntegerField(default=0)
    error = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(_("expires"), null=True)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("selection")
        verbose_name_plural = _("selections")
        indexes = [
            models.Index(fields=["tenant", "requested_by", "-created_at", "-id"], name="generation_selection_own"),
            models.Index(fields=["created_at"], name="generation_selection_age"),
        ]
