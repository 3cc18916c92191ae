"""Produced files and how they were made."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.base import TenantModel
from generation.enums import OutputFormat
from generation.models.generation import Generation


class Image(TenantModel):
    """One produced file. `file` and `thumbnail` are paths under `STUDIO_MEDIA`."""

    generation = models.ForeignKey(
        Generation, on_delete=models.CASCADE, related_name="images", db_constraint=False, verbose_name=_("generation")
    )
    index = models.PositiveSmallIntegerField()
    file = models.CharField(max_length=200)
    thumbnail = models.CharField(max_length=200)
    format = models.CharField(max_length=5, choices=OutputFormat.choices)
    sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    thumbnail_bytes = models.BigIntegerField(default=0)  # counts for the tenant's storage like the file itself
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    seed = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("image")
        verbose_name_plural = _("images")
        constraints = [models.UniqueConstraint("tenant", "generation", "index", name="generation_image_unique")]


class Receipt(TenantModel):
    """How an image was made: model, revision, seed, size, steps, dtype, bucket, batch size, release. Signed."""

    image = models.OneToOneField(Image, on_delete=models.CASCADE, related_name="receipt", db_constraint=False)
    body = models.JSONField()
    signature = models.CharField(max_length=100)

    class Meta(TenantModel.Meta):
        abstract = False
