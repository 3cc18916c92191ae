"""Bodies of write routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know, and those that only we write, by their names."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            wrong = {
                str(name): ["read-only field" if name in self.fields else "unknown field"]
                for name in data
                if name not in writable
            }
            if wrong:
                raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)


class NoBody(StrictSerializer):
    """For routes that need nothing but their address: whatever is sent is an unknown field."""


def read_body(form: type[StrictSerializer], request: Request, *, partial: bool = False) -> dict[str, Any]:
    """The values of a body that a form accepts; no body is an empty one. Raises what the form refuses."""
    found = form(data=request.data, partial=partial)
    found.is_valid(raise_exception=True)
    return dict(found.validated_data)
