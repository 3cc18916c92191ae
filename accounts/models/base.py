"""What every tenant table has in common."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.ids import uuid7
from accounts.tenancy import TenantManager, current_scope, current_tenant


class TenantModel(models.Model):
    """A row that belongs to one tenant; `accounts.rls.protect` guards its table.

    Foreign keys between tenant tables have no constraint of their own (`db_constraint=False`): the composite one
    `(tenant_id, x_id) -> (tenant_id, id)` is emitted by the migration.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("accounts.Tenant", verbose_name=_("tenant"), on_delete=models.CASCADE, related_name="+")

    objects: TenantManager[Any] = TenantManager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(self.pk)

    def save(self, **kwargs: Any) -> None:
        """Take the tenant from the scope where none was given."""
        # Django leaves it None until it is set, whatever the type says.
        if getattr(self, "tenant_id", None) is None and not current_scope().across:
            self.tenant_id = current_tenant()
        super().save(**kwargs)
