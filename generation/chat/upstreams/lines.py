"""Bytes into lines, whatever the borders of packets."""

from __future__ import annotations

from generation.chat.upstreams.dialect import AnswerError

LINE_BYTES = 1_048_576


class Lines:
    """Gives back complete lines, without their ends (LF or CRLF)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete. Raises `AnswerError` for one that is too long."""
        *lines, self._rest = (self._rest + data if self._rest else data).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            raise AnswerError(f"a line has more than {LINE_BYTES} bytes")
        return [line[:-1] if line.endswith(b"\r") else line for line in lines]

    def end(self) -> bytes:
        """What is left: a last line without an end."""
        rest, self._rest = self._rest, b""
        return rest.rstrip(b"\r")
