"""A mail server for tests, on loopback: it speaks as much SMTP as its test wants, and takes no mail."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from pathlib import Path
from typing import Any


class MailServer:
    """Use as a context manager; `heard` holds every command."""

    def __init__(
        self, *, starttls: bool = False, password: str = "", certificate: tuple[Path, Path] | None = None,
        from_the_start: bool = False,
    ) -> None:  # fmt: skip
        self._starttls, self._password, self._from_the_start = starttls, password, from_the_start
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self.heard: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> MailServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            try:
                with client:
                    self._talk(client)
            except (OSError, ValueError):
                continue  # the client did not believe our certificate, or left

    def _talk(self, client: Any) -> None:
        secure = self._from_the_start
        if secure and self._context:
            client = self._context.wrap_socket(client, server_side=True)
        client.sendall(b"220 test\r\n")
        stream = client.makefile("rb")
        while text := stream.readline():
            command = text.decode().strip()
            self.heard.append(command)
            verb = command.split(" ")[0].upper()
            if verb == "EHLO":
                lines = ["test", *(["STARTTLS"] if self._starttls and not secure else [])]
                lines += ["AUTH PLAIN"] if self._password else []
                answer = "".join(f"250{'-' if line != lines[-1] else ' '}{line}\r\n" for line in lines)
                client.sendall(answer.encode())
            elif verb == "STARTTLS" and self._context:
                client.sendall(b"220 go on\r\n")
                client, secure = self._context.wrap_socket(client, server_side=True), True
                stream = client.makefile("rb")
            elif verb == "AUTH":
                sent = base64.b64decode(command.split(" ")[2]).split(b"\0")[-1].decode()
                client.sendall(b"235 yes\r\n" if sent == self._password else b"535 no\r\n")
            elif verb == "QUIT":
                client.sendall(b"221 bye\r\n")
                return
            else:
                client.sendall(b"502 what?\r\n")
