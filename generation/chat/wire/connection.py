"""One TCP (or TLS) connection, as a protocol of asyncio: what has come waits in a bounded buffer, a clock ends it.

Streams of the standard library would do; this has one layer less between the socket and whoever waits, one timer for
all of an answer's bounds, and an end that takes effect at once (`abort`): a client that leaves must free its upstream
now, not when a write has been flushed.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from typing import cast

from generation.chat.wire.errors import BrokenOff, CannotConnect, TookTooLong

BUFFER_BYTES = 262_144  # beyond it the socket is not read: an upstream cannot fill our memory ahead of its client


class Connection(asyncio.Protocol):
    """Reads and writes bytes until it is closed. One user at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._ended = False  # nothing more will come
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._why = ""
        self._late = ""  # `_why`, once the clock has run out
        self._was_awaited = False  # in that moment
        self.idle_since = 0.0
        self.used = 0  # requests it has served

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio has connected."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._buffer += data
        if len(self._buffer) > BUFFER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """The other side will send nothing more: for us that is the end."""
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._ended = True
        self._stop_clock()
        self._wake()

    # ---- our side

    @property
    def is_open(self) -> bool:
        """Whether it may carry another request: neither side has ended it, and nothing came unasked."""
        return not self._ended and not self._buffer and self._transport is not None and not self._transport.is_closing()

    @property
    def is_fresh(self) -> bool:
        """Whether it was made for the request that it carries."""
        return self.used <= 1

    @property
    def has_bytes(self) -> bool:
        """Whether something waits to be read."""
        return bool(self._buffer)

    def write(self, data: bytes) -> None:
        """Send; small requests are never waited for. Raises `BrokenOff`."""
        if self._transport is None or self._transport.is_closing():
            raise BrokenOff("the connection is closed", stale=True)
        self.used += 1
        self._transport.write(data)

    async def read(self) -> bytes:
        """What has come, at least one byte; empty at the end. Raises `TookTooLong` when the clock has run out."""
        if not self._buffer and not self._ended:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._late and not self._buffer:
            raise TookTooLong(self._late, first=False, waited=self._was_awaited)
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._paused and self._transport is not None and not self._ended:
            self._paused = False
            self._transport.resume_reading()
        return data

    def unread(self, data: bytes) -> None:
        """Put back what belongs to whatever comes next."""
        self._buffer[:0] = data

    def set_clock(self, deadline: float, late: str) -> None:
        """End the connection at a moment of the loop's clock; `late` says what was too slow.

        Where a timer fires before that moment this costs nothing: it looks at the clock anew then.
        """
        self._deadline, self._why = deadline, late
        if self._timer is None or self._timer.when() > deadline:
            self._stop_timer()
            self._timer = self._loop.call_at(deadline, self._ring)

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._ended = True
        self._stop_clock()
        if self._transport is not None:
            self._transport.abort()

    def rest(self) -> None:
        """It waits for its next request."""
        self._stop_clock()
        self.idle_since = time.monotonic()

    def _ring(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
            return
        self._late, self._was_awaited = self._why, self._waiter is not None
        self.abort()
        self._wake()

    def _stop_clock(self) -> None:
        self._deadline = 0.0
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def connect(
    addresses: Sequence[str], port: int, *, host: str, tls: ssl.SSLContext | None, seconds: float
) -> Connection:
    """A connection to the first address that answers within the time. Raises `CannotConnect`."""
    loop = asyncio.get_running_loop()
    why = "no address"
    try:
        async with asyncio.timeout(seconds):
            for address in addresses:
                try:
                    _, connection = await loop.create_connection(
                        Connection, address, port, ssl=tls, server_hostname=host if tls else None
                    )
                except (OSError, ssl.SSLError) as error:
                    why = f"{address} port {port}: {error}"
                    continue
                return connection
    except TimeoutError:
        raise CannotConnect(f"no connection to {host} within {seconds:g} s") from None
    raise CannotConnect(why)
