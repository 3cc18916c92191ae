"""nginx's site and its lines for the main context, from the templates in `deploy/nginx/`."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from qwenstudio.headers import SECURITY_HEADERS
from qwenstudio.proxy import refusals
from qwenstudio.proxy.errors import ProxyError
from qwenstudio.proxy.lanes import LANES
from qwenstudio.proxy.places import HasRoot, Places, places_of
from qwenstudio.proxy.traffic import LANE_PATH

TEMPLATES = Path(__file__).resolve().parents[2] / "deploy" / "nginx"
HSTS = "max-age=31536000"
HTTP2_DIRECTIVE_SINCE = (1, 25, 1)
DEFAULT_PORTS = {"blue": (18787, 18789), "green": (18788, 18790)}
ACCEL_PREFIX = "/protected/"
_HOLE = re.compile(r"\{\{ (\w+) \}\}")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


@cache
def nginx_version() -> tuple[int, ...]:
    """The version of this machine's nginx; an old one where there is none, whose words newer ones know too."""
    program = settings.STUDIO_NGINX_TEST.split()[0]
    try:
        done = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return (1, 18)
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", done.stderr + done.stdout)
    return tuple(int(number) for number in found.groups()) if found else (1, 18)


@dataclass(frozen=True)
class LanePorts:
    """Where a lane listens on loopback."""

    web: int
    stream: int


@dataclass(frozen=True)
class Site:
    """Everything that differs from one installation to the next."""

    url: str
    """`https://studio.example.org`, with a port where it is not 443."""
    places: Places
    static: Path
    media: Path
    lanes: Mapping[str, LanePorts]
    accel_prefix: str = ACCEL_PREFIX
    body_bytes: int = 1_048_576
    picture_bytes: int = field(default_factory=lambda: int(settings.PICTURE_BODY_BYTES))
    picture_paths: Sequence[str] = field(default_factory=lambda: tuple(settings.PICTURE_BODY_PATHS))
    """Where requests may hold pictures: the template has a location for each."""
    http_port: int = 80
    listen: Sequence[str] = ()
    """Addresses; none: all of the machine's."""
    admin_networks: Sequence[str] = ()
    metrics_networks: Sequence[str] = ()
    rate: int = 200
    """Requests a second of one address, files of nginx's own not counted."""
    burst: int = 2000
    connections: int = 500
    """Requests of one address at a time; over HTTP/2 a connection has many."""
    header_timeout_s: int = 10
    body_timeout_s: int = 15
    read_timeout_s: int = 60
    stream_timeout_s: int = 90
    """Longer than a wait (60 s) with its submit, and than six keep-alives of a stream."""
    image_timeout_s: int = 330
    """Longer than OpenAI's images wait (300 s) with their submit."""
    chat_timeout_s: int = 630
    """Longer than a whole chat answer (600 s) with the wait for its first byte."""
    shutdown_timeout_s: int = 330
    """Of a worker of nginx after a reload: nobody who waits loses the connection."""
    version: tuple[int, ...] = field(default_factory=nginx_version)

    @property
    def domain(self) -> str:
        """The host name."""
        return urlsplit(self.url).hostname or ""

    @property
    def https_port(self) -> int:
        """Where TLS is spoken."""
        return urlsplit(self.url).port or 443


def read_site(layout: HasRoot) -> Site:
    """The site of this installation, from its settings. Raises `ProxyError`."""
    places = places_of(layout)
    return Site(
        url=settings.STUDIO_URL,
        places=places,
        static=Path(settings.STATIC_ROOT),
        media=Path(settings.STUDIO_MEDIA),
        lanes={lane: read_ports(places, lane) for lane in LANES},
        accel_prefix=settings.STUDIO_ACCEL_PREFIX or ACCEL_PREFIX,
        body_bytes=settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0,
        http_port=settings.STUDIO_HTTP_PORT,
        listen=settings.STUDIO_LISTEN,
        admin_networks=[str(network) for network in settings.STUDIO_ADMIN_NETWORKS],
        metrics_networks=[str(network) for network in settings.STUDIO_METRICS_NETWORKS],
        rate=settings.STUDIO_ADDRESS_RATE,
        burst=10 * settings.STUDIO_ADDRESS_RATE,
        connections=settings.STUDIO_ADDRESS_CONNECTIONS,
    )


def read_ports(places: Places, lane: str) -> LanePorts:
    """A lane's ports, from the file of its units' variables where there is one. Raises `ProxyError`."""
    web, stream = DEFAULT_PORTS[lane]
    path = places.lane_file(lane)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        return LanePorts(web=int(found.get("STUDIO_PORT", web)), stream=int(found.get("STUDIO_STREAM_PORT", stream)))
    except (OSError, ValueError) as error:
        raise ProxyError(f"{path}: {error}") from None


def render_site(site: Site) -> str:
    """The whole site. Raises `ProxyError` for values that nginx could not be told."""
    check_site(site)
    listen = list(site.listen) or ["", *(["[::]"] if has_ipv6() else [])]
    places = site.places
    return fill(
        "qwenstudio.conf.template",
        lanes_file=places.lanes,
        upstreams=_upstreams(site.lanes),
        refusals=refusals.render_refusals(
            body_bytes=site.body_bytes, picture_bytes=site.picture_bytes, picture_paths=site.picture_paths
        ),
        header_maps=_header_maps(),
        headers=_headers(indent=4),
        headers_plain=_headers(indent=4, hsts=False),
        headers_deep=_headers(indent=8),
        listen_plain="\n".join(f"    listen {_socket(address, site.http_port)};" for address in listen),
        listen_tls=_listen_tls(site, listen),
        domain=site.domain,
        url=site.url,
        certificate=places.certificate,
        acme=places.acme,
        access_log=places.logs / "qwenstudio.access.log",
        error_log=places.logs / "qwenstudio.error.log",
        lane_path=LANE_PATH,
        rate=site.rate,
        burst=site.burst,
        connections=site.connections,
        body_bytes=site.body_bytes,
        picture_bytes=site.picture_bytes,
        header_timeout=f"{site.header_timeout_s}s",
        body_timeout=f"{site.body_timeout_s}s",
        read_timeout=f"{site.read_timeout_s}s",
        stream_timeout=f"{site.stream_timeout_s}s",
        image_timeout=f"{site.image_timeout_s}s",
        chat_timeout=f"{site.chat_timeout_s}s",
        static=site.static,
        media=site.media,
        accel_prefix=site.accel_prefix,
        admin_networks=_allow(site.admin_networks),
        metrics_networks=_allow(site.metrics_networks),
        page_body=refusals.page_body(),
        problem_body=refusals.problem_body(),
        openai_body=refusals.openai_body(),
    )


def render_main(site: Site) -> str:
    """The lines for nginx's main context."""
    return fill("main.conf.template", shutdown_timeout=f"{site.shutdown_timeout_s}s")


def check_site(site: Site) -> None:
    """Raise `ProxyError` for what must not come into the file."""
    parts = urlsplit(site.url)
    if parts.scheme != "https" or parts.path or not _HOST.fullmatch(site.domain):
        raise ProxyError(f"STUDIO_URL must be https:// and a host name, not {site.url}: nginx speaks TLS for it")
    if not re.fullmatch(r"/[a-z0-9_-]+/", site.accel_prefix):
        raise ProxyError(f"STUDIO_ACCEL_PREFIX must be one word between slashes, not {site.accel_prefix}")
    for path in (site.static, site.media, site.places.root):
        if not path.is_absolute() or re.search(r"[\s;{}\"'$\\]", str(path)):
            raise ProxyError(f"nginx cannot be told this path: {path}")


def fill(name: str, **values: object) -> str:
    """A template with every hole filled. Raises KeyError for a hole without a value."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    return _HOLE.sub(lambda hole: str(values[hole[1]]), text)


def has_ipv6() -> bool:
    """Whether this machine can listen on IPv6: nginx does not start where it cannot."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _upstreams(lanes: Mapping[str, LanePorts]) -> str:
    """For each lane: pages over kept connections, the same over new ones, and what waits."""
    blocks = []
    for lane, ports in lanes.items():
        blocks += [
            # Granian ends a connection that idles for 30 s: nginx must be the one that closes.
            _upstream(f"studio_web_{lane}", ports.web, "keepalive 32;", "keepalive_timeout 15s;"),
            _upstream(f"studio_web_{lane}_new", ports.web),
            _upstream(f"studio_stream_{lane}", ports.stream),
        ]
    return "\n".join(blocks)


def _upstream(name: str, port: int, *lines: str) -> str:
    server = f"server 127.0.0.1:{port} max_fails=3 fail_timeout=5s;"
    return f"upstream {name} {{\n    least_conn;\n    {server}\n" + "".join(f"    {line}\n" for line in lines) + "}"


def _listen_tls(site: Site, listen: Sequence[str]) -> str:
    old = site.version < HTTP2_DIRECTIVE_SINCE
    lines = [f"    listen {_socket(address, site.https_port)} ssl{' http2' if old else ''};" for address in listen]
    return "\n".join(lines if old else [*lines, "    http2 on;"])


def _socket(address: str, port: int) -> str:
    return f"{address}:{port}" if address else str(port)


def _variable(header: str) -> str:
    return "$studio_" + header.lower().replace("-", "_")


def _header_maps() -> str:
    """A header's own value where the application has sent none."""
    sent, first = "content_security_policy", refusals.quote(refusals.POLICY)
    lines = [
        f'map $upstream_http_{sent} $studio_first_policy {{ "" {first}; default $upstream_http_{sent}; }}',
        f'map $sent_http_{sent} $studio_{sent} {{ "" $studio_first_policy; default ""; }}',
    ]
    for name, value in {**SECURITY_HEADERS, "Strict-Transport-Security": HSTS}.items():
        sent = "$sent_http_" + name.lower().replace("-", "_")
        lines.append(f'map {sent} {_variable(name)} {{ "" {refusals.quote(value)}; default ""; }}')
    return "\n".join(lines)


def _headers(*, indent: int, hsts: bool = True) -> str:
    names = ["Content-Security-Policy", *SECURITY_HEADERS, *(["Strict-Transport-Security"] if hsts else [])]
    pairs = [*((name, _variable(name)) for name in names), ("X-Request-ID", "$studio_new_id")]
    pairs.append(("Retry-After", "$studio_retry_after"))
    return "\n".join(f"{' ' * indent}add_header {name} {value} always;" for name, value in pairs)


def _allow(networks: Sequence[str]) -> str:
    return "\n".join([*(f"        allow {network};" for network in networks), "        deny all;"])
