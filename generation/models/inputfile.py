"""Pictures that generations start from, and their masks."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.base import TenantModel
from generation.enums import InputKind
from generation.models.generation import Generation


class InputFile(TenantModel):
    """One PNG that the studio has made of what was sent; the same bytes are one row of their tenant.

    It goes with the last generation that uses it; one that none has used goes a day after `unused_since`.
    """

    user = models.UUIDField(_("member"), null=True)  # who sent it first
    kind = models.CharField(max_length=10, choices=InputKind.choices)
    file = models.CharField(max_length=200)  # a path under STUDIO_MEDIA
    sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    unused_since = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("input picture")
        verbose_name_plural = _("input pictures")
        constraints = [models.UniqueConstraint("tenant", "sha256", name="generation_inputfile_unique")]
        indexes = [
            models.Index(
                fields=["unused_since"], name="generation_input_unused", condition=Q(unused_since__isnull=False)
            )
        ]


class InputUse(TenantModel):
    """That a generation starts from an input: `place` is its place among the images, a mask comes after them."""

    generation = models.ForeignKey(Generation, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    input = models.ForeignKey(InputFile, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    place = models.PositiveSmallIntegerField()

    class Meta(TenantModel.Meta):
        abstract = False
        constraints = [models.UniqueConstraint("tenant", "generation", "place", name="generation_inputuse_unique")]
        indexes = [models.Index(fields=["tenant", "input"], name="generation_inputuse_input")]
