"""An answer's status line and headers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from generation.chat.wire.errors import Malformed

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [^\r\n]*)?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
MAX_HEADERS = 100


@dataclass(frozen=True, slots=True)
class Head:
    """Header names are lower case; where one is repeated its values are joined."""

    status: int
    headers: dict[str, str]
    keeps: bool  # whether the connection may serve another request

    @property
    def media_type(self) -> str:
        """The type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def length(self) -> int | None:
        """How long the body says it is. Raises `Malformed`."""
        text = self.headers.get("content-length")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise Malformed(f"Content-Length is {text[:40]!r}")
        return int(text)

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks. Raises `Malformed` for any other coding, and for two lengths at once."""
        coding = self.headers.get("transfer-encoding")
        if coding is None:
            return False
        if coding.strip().lower() != "chunked" or "content-length" in self.headers:
            raise Malformed(f"Transfer-Encoding is {coding[:40]!r}, beside a length or not")
        return True


def read_head(raw: bytes) -> Head:
    """The head of an answer, without the empty line that ends it. Raises `Malformed`."""
    lines = raw.split(b"\r\n") if b"\r\n" in raw else raw.split(b"\n")
    found = _STATUS.fullmatch(lines[0])
    if found is None:
        raise Malformed(f"the first line is {lines[0][:80]!r}")
    if len(lines) > MAX_HEADERS:
        raise Malformed(f"more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            raise Malformed(f"no header: {line[:80]!r}")
        key, text = name.decode().lower(), value.strip().decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    words = headers.get("connection", "").lower()
    keeps = "close" not in words and (found[1] == b"1" or "keep-alive" in words)
    return Head(status=int(found[2]), headers=headers, keeps=keeps)
