"""Where a body ends. Each decoder is fed bytes, gives back those of the body, and keeps what comes after its end."""

from __future__ import annotations

from typing import Protocol

from generation.chat.wire.bounds import CHUNK_LINE_BYTES, TRAILER_BYTES
from generation.chat.wire.errors import Malformed
from generation.chat.wire.head import Head

_HEX = frozenset(b"0123456789abcdefABCDEF")


class Body(Protocol):
    """A body as it comes."""

    done: bool

    def feed(self, data: bytes) -> bytes:
        """The body's bytes among these. Raises `Malformed`."""
        ...

    def may_end(self) -> bool:
        """Whether the end of the connection is the end of the body."""
        ...


class ByLength:
    """As many bytes as the head says."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The body's bytes among these; what comes after them is nobody's."""
        mine, self.rest = data[: self._left], data[self._left :]
        self._left -= len(mine)
        self.done = self._left == 0
        return mine

    def may_end(self) -> bool:
        """Only when all have come."""
        return self.done


class ByEnd:
    """Everything up to the end of the connection: the oldest way, in which a cut looks like an end."""

    done = False
    rest = b""

    def feed(self, data: bytes) -> bytes:
        """All of them."""
        return data

    def may_end(self) -> bool:
        """At any time."""
        return True


class ByChunks:
    """RFC 9112, section 7.1. Extensions and trailers are passed over."""

    def __init__(self) -> None:
        self._line = b""  # of a size or a trailer, as far as it has come
        self._left = 0  # bytes of the chunk that are still to come
        self._state = "size"  # then data, gap (the line end after data), trailer
        self._trailers = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The chunks' bytes among these."""
        parts: list[bytes] = []
        at = self._take_whole(data, parts)
        while at < len(data) and not self.done:
            if self._state == "data":
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                if not self._left:
                    self._state = "gap"
                continue
            end = data.find(b"\n", at)
            piece = data[at:] if end < 0 else data[at:end]
            self._line += piece
            if len(self._line) > (TRAILER_BYTES if self._state == "trailer" else CHUNK_LINE_BYTES):
                raise Malformed("a line between chunks is too long")
            if end < 0:
                break
            at = end + 1
            line, self._line = self._line.rstrip(b"\r"), b""
            self._take_line(line)
        if self.done:
            self.rest = data[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def may_end(self) -> bool:
        """Only after the last chunk."""
        return self.done

    def _take_whole(self, data: bytes, parts: list[bytes]) -> int:
        """The chunks that are whole in these bytes, which is nearly all of them; returns where the rest begins."""
        at = 0
        if self._state != "size" or self._line:
            return at
        while (end := data.find(b"\r\n", at, at + 18)) > at:
            digits = data[at:end]
            if not _HEX.issuperset(digits) or len(digits) > 8:
                break
            stop = end + 2 + int(digits, 16)
            if stop == end + 2 or data[stop : stop + 2] != b"\r\n":
                break  # the last one, or one that is not whole yet, or wrong
            parts.append(data[end + 2 : stop])
            at = stop + 2
        return at

    def _take_line(self, line: bytes) -> None:
        if self._state == "size":
            self._take_size(line)
        elif self._state == "gap":
            if line:
                raise Malformed("a chunk is longer than it says")
            self._state = "size"
        elif not line:
            self.done = True
        else:
            self._trailers += len(line)
            if self._trailers > TRAILER_BYTES:
                raise Malformed("too many trailers")

    def _take_size(self, line: bytes) -> None:
        digits = line.partition(b";")[0].strip()
        if not 0 < len(digits) <= 8 or not _HEX.issuperset(digits):
            raise Malformed("a chunk without a size")
        self._left = int(digits, 16)
        self._state = "data" if self._left else "trailer"


def body_of(head: Head) -> ByLength | ByChunks | ByEnd:
    """How this answer's body comes. Raises `Malformed`."""
    if head.status in (204, 304):
        return ByLength(0)
    if head.is_chunked:
        return ByChunks()
    length = head.length
    return ByEnd() if length is None else ByLength(length)
