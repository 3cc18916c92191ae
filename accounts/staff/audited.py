"""What staff change in the admin is recorded in the audit log: who, what, from which value to which, and no secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from accounts.domain.audit import record
from accounts.domain.codes import say_error
from accounts.errors import StudioError
from accounts.models import Tenant

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = admin.ModelAdmin

# Fields whose values nobody reads in a log: only that they were changed. A tenant's admins read their events too, and
# staff's note is not for them.
UNTOLD = frozenset({"password", "password1", "password2", "usable_password", "note", "credential"})
VALUE_CHARS = 500


class AuditedMixin(Base):
    """Records additions, changes and deletions beside Django's own history, in the same transaction.

    A rule of the domain that is broken on the way is said on the page, and nothing is changed.
    """

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Django asks for this once everything is saved and before it logs: here both forms are at hand."""
        request.studio_changes = {  # type: ignore[attr-defined]
            **_changes_of(form),
            **{name: rows for formset in formsets or () for name, rows in _rows_of(formset)},
        }
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: models.Model, message: Any) -> Any:
        """Called after an addition, inside its transaction."""
        self._record(request, obj, "added", _taken(request))
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: models.Model, message: Any) -> Any:
        """Likewise after a change; one that changed nothing is none."""
        changes = _taken(request)
        if changes:
            self._record(request, obj, "changed", changes)
        return super().log_change(request, obj, message)

    def delete_model(self, request: HttpRequest, obj: models.Model) -> None:
        """Delete one row."""
        with transaction.atomic():
            self._record(request, obj, "deleted", {"name": str(obj)})
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete the chosen rows, all or none."""
        with transaction.atomic():
            for obj in queryset:
                self._record(request, obj, "deleted", {"name": str(obj)})
            super().delete_queryset(request, queryset)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse | TemplateResponse:
        """The page of one row; what the domain refuses while it is saved is said above it."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except StudioError as error:
            messages.error(request, say_error(error))
            return HttpResponseRedirect(request.path)

    def _record(self, request: HttpRequest, obj: models.Model, verb: str, detail: Mapping[str, Any]) -> None:
        name = str(self.opts.model_name)
        record(f"admin.{name}.{verb}", target=f"{name}:{obj.pk}", detail=detail, tenant=_tenant_of(obj))


def _taken(request: HttpRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.__dict__.pop("studio_changes", {})
    return found


def _tenant_of(obj: models.Model) -> UUID | None:
    return obj.pk if isinstance(obj, Tenant) else getattr(obj, "tenant_id", None)


def _changes_of(form: Any) -> dict[str, Any]:
    """{field: [before, after]} of what a form changed."""
    changes: dict[str, Any] = {}
    for name in form.changed_data:
        if name in UNTOLD:
            changes["password" if "password" in name else name] = "changed"
        else:
            changes[name] = _difference(form.initial.get(name), form.cleaned_data.get(name))
    return changes


def _difference(before: Any, after: Any) -> list[Any]:
    """Both values; of two JSON objects the keys only in which they differ."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return [tell({name: value[name] for name in names if name in value}) for value in (before, after)]
    return [tell(before), tell(after)]


def _rows_of(formset: Any) -> Iterable[tuple[str, list[Any]]]:
    """What was added, changed and deleted in a table below a form, unless the domain has recorded it."""
    if getattr(formset, "records_itself", False):
        return
    name = formset.model._meta.model_name
    if formset.new_objects:
        yield f"{name} added", [str(row) for row in formset.new_objects]
    if formset.changed_objects:
        yield f"{name} changed", [[str(row), sorted(fields)] for row, fields in formset.changed_objects]
    if formset.deleted_objects:
        yield f"{name} deleted", [str(row) for row in formset.deleted_objects]


def tell(value: Any) -> Any:
    """A value as JSON holds it, cut to what a log needs."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, models.Model):
        return _name_of(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, QuerySet | list | tuple | set):
        return sorted(str(tell(item)) for item in value)
    with suppress(TypeError):
        if isinstance(value, Mapping):
            return {str(key): tell(item) for key, item in value.items()}
    return str(value)[:VALUE_CHARS]


def _name_of(row: models.Model) -> str:
    return str(row)[:VALUE_CHARS]
