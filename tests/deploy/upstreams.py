"""A stand-in for the application where a test needs one that misbehaves or tells what it was sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Heard:
    """One request as it arrived."""

    connection: int
    number: int
    """The how manieth on its connection, from 1."""
    line: str
    headers: dict[str, str]


Act = Callable[[Heard], bytes | None]
"""What to answer; None closes the connection without a word."""


@dataclass
class Upstream:
    """A listening socket that writes down what it hears."""

    port: int
    heard: list[Heard] = field(default_factory=list)


def answer(body: bytes = b"ok", *, status: str = "200 OK", **headers: str) -> bytes:
    """A complete answer that keeps the connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def upstream(act: Act = lambda heard: answer()) -> Iterator[Upstream]:
    """Serve until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Upstream(server.getsockname()[1])
        threading.Thread(target=_accept, args=(server, found, act), daemon=True).start()
        yield found


def _accept(server: socket.socket, found: Upstream, act: Act) -> None:
    number = 0
    while True:
        try:
            plug, _ = server.accept()
        except OSError:
            return
        number += 1
        threading.Thread(target=_serve, args=(plug, number, found, act), daemon=True).start()


def _serve(plug: socket.socket, connection: int, found: Upstream, act: Act) -> None:
    with plug, plug.makefile("rb") as stream:
        number = 0
        while line := stream.readline().decode("latin-1").strip():
            headers = {}
            while row := stream.readline().decode("latin-1").strip():
                name, _, value = row.partition(":")
                headers[name.lower()] = value.strip()
            stream.read(int(headers.get("content-length", 0)))
            number += 1
            heard = Heard(connection, number, line, headers)
            found.heard.append(heard)
            reply = act(heard)
            if reply is None:
                return
            try:
                plug.sendall(reply)
            except OSError:
                return
