"""The servers that answer chat: whether they are well, and whether anybody but the gateway can reach them."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

from django.conf import settings

from generation.books.upstreams import read_upstream
from generation.chat.asking import NotWell, check_health
from generation.chat.targets import Upstream
from qwenstudio.doctor.asking import ask_database
from qwenstudio.doctor.finding import Finding, Level
from qwenstudio.doctor.ports import is_loopback, read_listeners

COLUMNS = (
    "slug",
    "kind",
    "base_url",
    "credential",
    "connect_s",
    "first_byte_s",
    "idle_s",
    "total_s",
    "loading_s",
    "concurrency",
    "weight",
    "takes",
    "link_local",
    "health_path",
)
_SQL = f"SELECT {', '.join(COLUMNS)} FROM generation_upstream WHERE enabled ORDER BY slug"  # noqa: S608  (our names)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_upstreams() -> Iterator[Finding]:
    """Each one that is switched on answers its own health check, and is not open to the world."""
    found = ask_database((_SQL, ()))
    for row in found[0] if found else ():
        yield from _check(dict(zip(COLUMNS, row, strict=True)))


def _check(row: dict[str, Any]) -> Iterator[Finding]:
    name = f"upstream {row['slug']}"
    try:
        upstream = read_upstream(row)
    except ValueError as error:
        yield Finding("fail", name, str(error), f"correct it: /admin/generation/upstream/{row['slug']}/change/")
        return
    addresses = resolve(upstream)
    if isinstance(addresses, str):
        yield Finding("fail", name, addresses, f"correct its base URL: {upstream.base_url}")
        return
    level: Level = "fail" if settings.PRODUCTION else "warn"
    for text, remedy in find_open(upstream, addresses):
        yield Finding(level, name, text, remedy)
    try:
        asyncio.run(check_health(upstream))
    except NotWell as error:
        yield Finding("warn", name, str(error), "start it, or switch it off in the admin: calls go to the others")
    else:
        yield Finding("ok", name, f"{upstream.base_url} is well")


def resolve(upstream: Upstream) -> list[Address] | str:
    """The addresses of its host, or why there are none."""
    origin = upstream.origin
    try:
        infos = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return f"{origin.host} has no address: {error}"
    return [ipaddress.ip_address(info[4][0]) for info in infos]


def find_open(upstream: Upstream, addresses: list[Address]) -> Iterator[tuple[str, str]]:
    """Where others reach it too: what is seen, and what to do."""
    port = upstream.origin.port
    if public := [address for address in addresses if address.is_global]:
        text = f"answers on the public address {public[0]}: whoever finds it needs no key of this studio"
        yield text, "put it into a private network, or let its firewall take this machine alone"
    if not all(is_loopback(address) for address in addresses):
        return
    for listener in read_listeners() or ():
        if listener.port == port and not is_loopback(listener.address):
            text = f"port {port} answers on {listener.address} too, past the gateway and its limits"
            yield text, "bind it to 127.0.0.1 (Ollama: OLLAMA_HOST=127.0.0.1)"
            return
