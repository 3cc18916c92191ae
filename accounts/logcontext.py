"""What every log line says about its surroundings; `qwenstudio/logs.py` writes it out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_fields: ContextVar[dict[str, str]] = ContextVar("log_fields", default={})  # noqa: B039  (never changed in place)


def log_fields() -> dict[str, str]:
    """The fields bound at this point: `request_id`, `tenant`, `member`, `key`, `generation`."""
    return dict(_fields.get())


@contextmanager
def bind_log(**fields: object) -> Iterator[None]:
    """Add fields to every log line written inside the block; `None` values are left out."""
    token = _fields.set({**_fields.get(), **{name: str(value) for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _fields.reset(token)
