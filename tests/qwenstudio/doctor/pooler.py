"""A small pooler in front of PostgreSQL, as PgBouncer is one: it lends a few server sessions to its clients.

In transaction mode a client has a session for as long as its transaction; in session mode for as long as it stays.
`silent` lets everybody in and answers nothing afterwards.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from typing import Any

import psycopg

SSL, GSS = 80877103, 80877104


class Pooler:
    """Use as a context manager; `url` is a URL through it."""

    def __init__(self, url: str, *, mode: str = "transaction", sessions: int = 4, silent: bool = False) -> None:
        self._mode, self._silent = mode, silent
        self._connections = [] if silent else [psycopg.connect(url, sslmode="disable") for _ in range(sessions)]
        self._free = [self._socket_of(connection) for connection in self._connections]
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        user = url.partition("//")[2].partition(":")[0]
        database = url.rpartition("/")[2].partition("?")[0]
        self.url = f"postgresql://{user}:x@127.0.0.1:{self._listener.getsockname()[1]}/{database}"

    def __enter__(self) -> Pooler:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _socket_of(self, connection: psycopg.Connection[Any]) -> socket.socket:
        connection.rollback()
        raw = socket.socket(fileno=os.dup(connection.pgconn.socket))
        raw.setblocking(True)
        return raw

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        session: socket.socket | None = None
        try:
            self._greet(client)
            while True:
                kind, message = read_message(client)
                if kind == b"X":
                    return
                if self._silent:
                    continue
                session = session or self._take()
                session.sendall(message)
                if kind not in (b"Q", b"S"):
                    continue
                ready = self._answer(client, session)
                if ready[-1:] == b"I" and self._mode == "transaction":
                    self._give(session)
                    session = None
                client.sendall(ready)  # who has read this may count on the session being free
        except (OSError, EOFError):
            return
        finally:
            client.close()
            if session is not None:
                self._give(session)

    def _greet(self, client: socket.socket) -> None:
        while struct.unpack("!i", (startup := read_exactly(client, *_length(client)))[:4])[0] in (SSL, GSS):
            client.sendall(b"N")
        assert startup
        client.sendall(b"R" + struct.pack("!ii", 8, 0))
        for name, value in (("server_version", "15.0"), ("client_encoding", "UTF8"), ("integer_datetimes", "on")):
            text = f"{name}\0{value}\0".encode()
            client.sendall(b"S" + struct.pack("!i", len(text) + 4) + text)
        client.sendall(b"K" + struct.pack("!iii", 12, 4711, 4712) + b"Z" + struct.pack("!i", 5) + b"I")

    def _answer(self, client: socket.socket, session: socket.socket) -> bytes:
        """Hand on everything up to `ReadyForQuery`, which is returned; its last byte is the session's state."""
        while True:
            kind, message = read_message(session)
            if kind == b"Z":
                return message
            client.sendall(message)

    def _take(self) -> socket.socket:
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            return self._free.pop()  # the one that was used last, as PgBouncer does

    def _give(self, session: socket.socket) -> None:
        with self._changed:
            self._free.append(session)
            self._changed.notify()


def _length(client: socket.socket) -> tuple[int]:
    (length,) = struct.unpack("!i", read_exactly(client, 4))
    return (length - 4,)


def read_message(side: socket.socket) -> tuple[bytes, bytes]:
    """Its kind, and all of it."""
    head = read_exactly(side, 5)
    return head[:1], head + read_exactly(side, struct.unpack("!i", head[1:])[0] - 4)


def read_exactly(side: socket.socket, size: int) -> bytes:
    """So many bytes; EOFError when the other side left."""
    found = b""
    while len(found) < size:
        piece = side.recv(size - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found
