"""Bytes into lines, whatever the borders of packets."""

from __future__ import annotations

from generation.chat.upstreams.dialect import AnswerError

LINE_BYTES = 1_048_576


class Lines:
    """Gives back complete lines, without their ends (LF or CRLF)."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # of a line that has not ended; joined once, however small they come
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete. Raises `AnswerError` for one that is too long."""
        if b"\n" not in data:
            self._keep(data)
            return []
        *lines, rest = (b"".join([*self._parts, data]) if self._parts else data).split(b"\n")
        self._parts, self._size = [], 0
        self._keep(rest)
        return [line[:-1] if line.endswith(b"\r") else line for line in lines]

    def end(self) -> bytes:
        """What is left: a last line without an end."""
        rest = b"".join(self._parts)
        self._parts, self._size = [], 0
        return rest.rstrip(b"\r")

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > LINE_BYTES:
                raise AnswerError(f"a line has more than {LINE_BYTES} bytes")
