"""What listens on this machine beyond loopback although only nginx, or nobody, should reach it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from qwenstudio.doctor.finding import Finding, Level
from qwenstudio.doctor.room import LOCAL
from qwenstudio.proxy import ProxyError
from qwenstudio.proxy.places import places_of
from qwenstudio.proxy.site import LanePorts, read_ports
from qwenstudio.settings import database_urls
from qwenstudio.units.layout import LANES, STREAM_PORTS, WEB_PORTS, Layout

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
LISTENING = "0A"


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket of this machine."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int


def check_ports() -> Iterator[Finding]:
    """Every port of ours that listens does so on loopback alone."""
    ours = find_ports()
    every = read_listeners()
    if every is None:
        return
    listeners = [listener for listener in every if listener.port in ours]
    level: Level = "fail" if settings.PRODUCTION else "warn"
    for listener in sorted(listeners, key=lambda found: found.port):
        if not is_loopback(listener.address):
            title = ours[listener.port]
            text = f"port {listener.port} answers on {listener.address}, past nginx and its limits"
            yield Finding(level, f"port of {title}", text, f"bind it to 127.0.0.1 (ss -ltnp sport = :{listener.port})")
    open_ports = {found.port for found in listeners if not is_loopback(found.address)}
    well = sorted({found.port for found in listeners} - open_ports)
    if well or not open_ports:
        text = f"on loopback alone: {', '.join(str(port) for port in well)}" if well else "none of ours is open here"
        yield Finding("ok", "ports", text)


def find_ports() -> dict[int, str]:
    """The ports of the studio's own servers, and of its database and Redis where they are on this machine."""
    found = {settings.STUDIO_STREAM_PORT: "streams", settings.STUDIO_PORT: "pages"} | lane_ports()
    try:
        database = conninfo_to_dict(database_urls["web"]) if database_urls["web"] else {"host": "elsewhere"}
    except ProgrammingError:
        database = {"host": "elsewhere"}
    if str(database.get("host") or "") in LOCAL or str(database.get("host")).startswith("/"):
        found[int(str(database.get("port") or 5432))] = "PostgreSQL"
    redis = urlsplit(settings.REDIS_URL)
    if redis.scheme != "unix" and redis.hostname in LOCAL:
        found[redis.port or 6379] = "Redis"
    return found


def lane_ports() -> dict[int, str]:
    """The ports of both lanes, by their settings where these are here to be read."""
    found: dict[int, str] = {}
    for lane in LANES:
        try:
            ports = read_ports(places_of(Layout.here()), lane)
        except ProxyError:  # not for this account
            ports = LanePorts(web=WEB_PORTS[lane], stream=STREAM_PORTS[lane])
        found |= {ports.web: f"pages of {lane}", ports.stream: f"streams of {lane}"}
    return found


def read_listeners() -> list[Listener] | None:
    """From Linux's own tables; None elsewhere."""
    found, tables = [], [table for table in TABLES if table.exists()]
    for table in tables:
        rows = table.read_text(encoding="ascii").splitlines()[1:]
        for row in rows:
            words = row.split()
            if len(words) > 3 and words[3] == LISTENING:
                address, _, port = words[1].partition(":")
                found.append(Listener(read_address(address), int(port, 16)))
    return list(dict.fromkeys(found)) if tables else None


def read_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """`0100007F` is 127.0.0.1: words of four bytes, each in the machine's own order (little-endian where we run)."""
    packed = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    return ipaddress.ip_address(packed)


def is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Also where IPv6 spells an IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
