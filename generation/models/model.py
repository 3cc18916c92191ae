"""The models that staff offer."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.base import TenantModel


class Model(models.Model):
    """An image model. `spec` is its entry of `deploy/models.toml` (`generation/engine/catalog.py` checks it)."""

    slug = models.SlugField(_("slug"), primary_key=True, max_length=60)
    title = models.CharField(_("title"), max_length=120)
    pool = models.CharField(_("pool"), max_length=40, help_text=_("Workers of one pool serve the same models."))
    spec = models.JSONField(_("entry"))
    enabled = models.BooleanField(_("enabled"), default=True)
    public = models.BooleanField(_("for all tenants"), default=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("model")
        verbose_name_plural = _("models")
        ordering = ["position", "slug"]

    def __str__(self) -> str:
        return self.title


class ModelGrant(TenantModel):
    """Lets one tenant use a model that is not for all."""

    model = models.ForeignKey(Model, verbose_name=_("model"), on_delete=models.CASCADE, related_name="+")

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("model grant")
        verbose_name_plural = _("model grants")
        constraints = [models.UniqueConstraint("tenant", "model", name="generation_modelgrant_unique")]

    def __str__(self) -> str:
        return f"{self.model_id} for {self.tenant_id}"
