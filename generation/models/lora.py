"""The LoRAs that staff offer."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.base import TenantModel
from generation.engine.request import MAX_LORA_SCALE

_BOUNDS = (MinValueValidator(-MAX_LORA_SCALE), MaxValueValidator(MAX_LORA_SCALE))


class Lora(models.Model):
    """A style adapter. Its file never changes: another file is another LoRA, or "again" would draw another picture.

    `fits` are the models whose layers it has, as `generation/domain/lorafiles.py` found.
    """

    slug = models.SlugField(_("slug"), primary_key=True, max_length=60)
    title = models.CharField(_("title"), max_length=120)
    description = models.CharField(
        _("description"), max_length=300, blank=True, help_text=_("One sentence for those who choose it.")
    )
    trigger_words = models.CharField(
        _("trigger words"), max_length=200, blank=True, help_text=_("Words of a prompt that it was trained on.")
    )
    family = models.CharField(_("family"), max_length=40)
    sha256 = models.CharField(_("SHA-256"), max_length=64, unique=True, editable=False)
    bytes = models.BigIntegerField(_("bytes"), editable=False)
    rank = models.PositiveSmallIntegerField(_("rank"), editable=False)
    fits = models.JSONField(_("fits"), default=list, editable=False)
    default_scale = models.FloatField(_("usual strength"), default=1.0, validators=_BOUNDS)
    min_scale = models.FloatField(_("least strength"), default=-MAX_LORA_SCALE, validators=_BOUNDS)
    max_scale = models.FloatField(_("greatest strength"), default=MAX_LORA_SCALE, validators=_BOUNDS)
    enabled = models.BooleanField(_("enabled"), default=True)
    public = models.BooleanField(_("for all tenants"), default=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    licence = models.CharField(_("licence"), max_length=120, blank=True)
    source = models.CharField(_("source"), max_length=300, blank=True, help_text=_("Where the file comes from."))
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("LoRA")
        verbose_name_plural = _("LoRAs")
        ordering = ["position", "slug"]
        constraints = [
            models.CheckConstraint(
                condition=Q(min_scale__lte=F("default_scale")) & Q(default_scale__lte=F("max_scale")),
                name="generation_lora_scales",
                violation_error_message=_("The usual strength must lie between the least and the greatest."),
            )
        ]

    def __str__(self) -> str:
        return self.title


class LoraGrant(TenantModel):
    """Lets one tenant use a LoRA that is not for all."""

    lora = models.ForeignKey(Lora, verbose_name=_("LoRA"), on_delete=models.CASCADE, related_name="+")

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("LoRA grant")
        verbose_name_plural = _("LoRA grants")
        constraints = [models.UniqueConstraint("tenant", "lora", name="generation_loragrant_unique")]

    def __str__(self) -> str:
        return f"{self.lora_id} for {self.tenant_id}"


class LoraCost(models.Model):
    """How much longer an image takes with so many LoRAs than without, measured. Newest weigh most."""

    model = models.ForeignKey("generation.Model", on_delete=models.CASCADE, related_name="+")
    hardware = models.CharField(max_length=80)
    loras = models.PositiveSmallIntegerField()  # how many
    factor = models.FloatField()
    samples = models.PositiveIntegerField(default=1)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint("model", "hardware", "loras", name="generation_loracost_unique")]
