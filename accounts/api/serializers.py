"""Bodies of write routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers


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
