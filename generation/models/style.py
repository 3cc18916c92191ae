"""Prompt templates that a tenant makes for its members."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.base import TenantModel


class Style(TenantModel):
    """What stands around somebody's words: `prompt` has `{prompt}` in it, once. `position`: 0 is the first."""

    name = models.CharField(_("name"), max_length=60)
    prompt = models.TextField(_("prompt template"))
    negative_prompt = models.TextField(_("negative prompt"), blank=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("style")
        verbose_name_plural = _("styles")
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint("tenant", Lower("name"), name="generation_style_name")]

    def __str__(self) -> str:
        return self.name
