"""One valid row of any model, made from its fields, so that the tests of tenancy cover a new table by themselves."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.ids import uuid7
from accounts.models import Tenant
from accounts.tenancy import GLOBAL_TABLES


def tenant_models() -> list[type[models.Model]]:
    """Every model whose table is not listed as global."""
    return [model for model in apps.get_models() if model._meta.managed and model._meta.db_table not in GLOBAL_TABLES]


def tenant_column(model: type[models.Model]) -> str:
    """The column that names the tenant."""
    return "id" if model is Tenant else "tenant_id"


def make_row(model: type[models.Model], *, tenant: UUID) -> models.Model:
    """Store one row of a tenant, with the rows it points to. Runs under `across_tenants`."""
    if model is Tenant:
        return Tenant.objects.get(pk=tenant)
    values = {field.name: _value(field, tenant) for field in model._meta.concrete_fields if _must_have(field)}
    return model._base_manager.create(**values)


def _must_have(field: models.Field[Any, Any]) -> bool:
    if field.name == "tenant":
        return True
    made_by_database = field.primary_key and not isinstance(field, models.CharField)
    return not (field.null or field.has_default() or made_by_database)


def _value(field: models.Field[Any, Any], tenant: UUID) -> Any:
    if isinstance(field, models.ForeignKey):
        parent = field.remote_field.model
        return Tenant.objects.get(pk=tenant) if parent is Tenant else make_row(parent, tenant=tenant)
    if field.choices:
        return field.choices[0][0]
    if isinstance(field, ArrayField | models.JSONField):
        return []
    if isinstance(field, models.UUIDField):
        return uuid7()
    if isinstance(field, models.DateTimeField):
        return datetime.now(UTC)
    if isinstance(field, models.DateField):
        return date(2026, 1, 1)
    if isinstance(field, models.BooleanField):
        return True
    if isinstance(field, models.EmailField):
        return f"{uuid7().hex}@example.com"
    if isinstance(field, models.CharField | models.TextField):
        return uuid7().hex[-12:][: field.max_length]
    return 1
