"""Tables below a row of the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.forms import BaseInlineFormSet
from django.http import HttpRequest

if TYPE_CHECKING:
    FormSetBase = BaseInlineFormSet[Any, Any, Any]
else:
    FormSetBase = BaseInlineFormSet


class NamedFormSet(FormSetBase):
    """Fields are named after the model: our foreign keys have no way back, whose name Django would take."""

    @classmethod
    def get_default_prefix(cls) -> str:
        """How the names of its fields begin."""
        return str(cls.model._meta.model_name) if cls.model else ""


class ReadInlineMixin:
    """A table to look at."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
