"""Sizes and times within which an upstream answers."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 32_768  # status line and headers together
CHUNK_LINE_BYTES = 256  # a chunk's size with its extensions
TRAILER_BYTES = 8192
ANSWER_BYTES = 8_388_608


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. `first_byte` counts from the call to the first byte of the body, connecting included."""

    connect: float = 2.0
    first_byte: float = 3.0
    idle: float = 30.0
    total: float = 600.0

    def __post_init__(self) -> None:
        for name in ("connect", "first_byte", "idle", "total"):
            value = getattr(self, name)
            if not 0 < value <= 86_400:
                raise ValueError(f"{name} must be more than 0 and at most 86400 seconds, got {value}")
