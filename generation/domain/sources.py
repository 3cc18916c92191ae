"""What a request may give as a picture: a data URL, the bytes of a multipart part, or the id of one that is there.

Nothing is ever fetched: an address of the web is refused by name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from generation.domain.inputguard import MAX_BYTES
from generation.engine.request import MAX_INPUTS

TYPES = ("image/png", "image/jpeg", "image/webp")
# What programs say that do not know, or do not care: the bytes decide.
UNSAID = ("", "application/octet-stream", "image/jpg", "image/*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One picture of a request: bytes that were sent, or the id of a stored input or produced image.

    `alpha`: a mask as OpenAI's API has it, whose transparent part is what is drawn anew.
    """

    id: UUID | None = None
    data: bytes = b""
    alpha: bool = False

    @property
    def key(self) -> str:
        """What makes two of them the same."""
        said = str(self.id) if self.id else hashlib.sha256(self.data).hexdigest()
        return f"{said}:alpha" if self.alpha else said


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart part: its bytes, as they came, and the type that its sender has written beside it."""

    data: bytes
    content_type: str = ""


def read_sources(value: object) -> tuple[Source, ...]:
    """`image`: one, or a list. Raises ValueError."""
    given = value if isinstance(value, list | tuple) else [value]
    if not 1 <= len(given) <= MAX_INPUTS:
        raise ValueError(f"has {len(given)} entries, it takes 1 to {MAX_INPUTS}")
    return tuple(read_source(one) for one in given)


def read_source(value: object) -> Source:
    """One picture. Raises ValueError with what is wrong."""
    if isinstance(value, Upload):
        check_type(value.content_type)
        check_length(len(value.data))
        return Source(data=value.data)
    if isinstance(value, UUID):
        return Source(id=value)
    if not isinstance(value, str):
        kind = "an object" if isinstance(value, Mapping) else "something else"
        raise ValueError(f"must be a data URL, a file or the id of an image, got {kind}")
    if value[:5].lower() == "data:":
        return Source(data=read_data_url(value))
    if value[:8].lower().startswith(("http:", "https:", "file:", "ftp:")):
        raise ValueError("is an address: none is fetched, send a data URL, a file or the id of an image")
    try:
        found = UUID(value)
        if str(found) != value.lower():  # Python also reads `{…}` and `urn:uuid:…`
            raise ValueError
    except ValueError:
        raise ValueError("must be a data URL, a file or the id (a UUID) of an image of yours") from None
    return Source(id=found)


def read_data_url(url: str) -> bytes:
    """The bytes in `data:image/png;base64,…`. Raises ValueError."""
    head, comma, text = url.partition(",")
    kind, *marks = head[5:200].split(";")
    if not comma or not marks or marks[-1].strip().lower() != "base64":
        raise ValueError("must be a data URL of base64: data:image/png;base64,…")
    check_type(kind)
    check_length(len(text) // 4 * 3 - 2)
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("holds something that is no base64") from None


def check_type(said: str) -> None:
    """The type that a sender has written; what the bytes are is looked at later. Raises ValueError."""
    kind = said.partition(";")[0].strip().lower()
    if kind not in TYPES and kind not in UNSAID:
        raise ValueError(f"must be PNG, JPEG or WebP ({', '.join(TYPES)}), got {kind[:60]}")


def check_length(size: int) -> None:
    """Raises ValueError for a file that is larger than any that is taken."""
    if size > MAX_BYTES:
        raise ValueError(f"is too large, max {MAX_BYTES} bytes")
