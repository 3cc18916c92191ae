"""`<id:name>` in routes: a text that is no id gets the very answer of an id that does not exist.

With Django's `<uuid:name>` it would be another route's 404, in other words.
"""

from __future__ import annotations

from uuid import UUID

from django.urls import register_converter

from accounts.ids import read_id


class IdConverter:
    """Any one part of a path; the view gets a UUID."""

    regex = "[^/]+"

    def to_python(self, value: str) -> UUID:
        return read_id(value)

    def to_url(self, value: UUID | str) -> str:
        return str(value)


register_converter(IdConverter, "id")
