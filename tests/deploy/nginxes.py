"""A real nginx with the studio's site: its own folder, high ports on loopback, a self-signed certificate."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from qwenstudio.embedded.ports import free_port
from qwenstudio.proxy.certificates import ensure_certificate
from qwenstudio.proxy.lanes import LanesState, render_lanes
from qwenstudio.proxy.places import Places
from qwenstudio.proxy.site import LanePorts, Site, render_main, render_site
from tests.needs import find_nginx

DOMAIN = "studio.test"
START_S = 60.0
# Debian's own file, in small: the studio's lines are read where Debian's nginx reads them.
MAIN = """
{user}
daemon off;
worker_processes 2;
pid {root}/nginx.pid;
error_log {root}/var/log/nginx/error.log;
include {root}/etc/nginx/modules-enabled/*.conf;
events {{ worker_connections 1024; }}
http {{
    include {mime};
    default_type application/octet-stream;
    access_log {root}/var/log/nginx/access.log;
    client_body_temp_path {root}/tmp/body;
    proxy_temp_path {root}/tmp/proxy;
    fastcgi_temp_path {root}/tmp/fastcgi;
    uwsgi_temp_path {root}/tmp/uwsgi;
    scgi_temp_path {root}/tmp/scgi;
    include {root}/etc/nginx/sites-enabled/*;
}}
"""
MIME_TYPES = ("/etc/nginx/mime.types", "/opt/homebrew/etc/nginx/mime.types")


class Pinned(httpx.HTTPTransport):
    """Asks 127.0.0.1 and speaks TLS for the studio's name."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = DOMAIN
        return super().handle_request(request)


@dataclass
class RunningNginx:
    """A server under test."""

    site: Site
    process: subprocess.Popen[bytes]
    others: list[int] = field(default_factory=list)

    @property
    def places(self) -> Places:
        return self.site.places

    @property
    def root(self) -> Path:
        return self.places.root

    @property
    def line(self) -> str:
        """The command line of this nginx."""
        return f"{find_nginx()} -c {self.root}/nginx.conf"

    def settings(self) -> dict[str, Any]:
        """Django's settings for whoever applies lanes and asks."""
        return {
            "STUDIO_URL": self.site.url,
            "STUDIO_HTTP_PORT": self.site.http_port,
            "STUDIO_NGINX_TEST": f"{self.line} -t -q",
            "STUDIO_NGINX_RELOAD": f"{self.line} -s reload",
        }

    def trust(self) -> ssl.SSLContext:
        """A client's context that takes this server's certificate and no other."""
        return ssl.create_default_context(cafile=str(self.places.certificate / "fullchain.pem"))

    def client(self, **options: Any) -> httpx.Client:
        """A client over TLS; redirects are shown, not followed."""
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.site.https_port}",
            transport=Pinned(verify=self.trust()),
            headers={"Host": f"{DOMAIN}:{self.site.https_port}", **options.pop("headers", {})},
            timeout=60,
            **options,
        )

    @contextmanager
    def plug(self, *, context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
        """A bare connection over TLS."""
        with (
            socket.create_connection(("127.0.0.1", self.site.https_port), timeout=60) as plain,
            (context or self.trust()).wrap_socket(plain, server_hostname=DOMAIN) as plug,
        ):
            yield plug

    def log_lines(self) -> list[dict[str, Any]]:
        """The access log; raises where a line is no JSON. A last line that is still being written does not count."""
        written = (self.places.logs / "qwenstudio.access.log").read_text(encoding="utf-8")
        return [json.loads(line) for line in written.splitlines(keepends=True) if line.endswith("\n")]

    def log_line(self, request_id: str) -> dict[str, Any]:
        """The access log's line of a request: nginx writes it a moment after its client has the answer."""
        until = time.monotonic() + START_S
        while not (found := [line for line in self.log_lines() if line["request_id"] == request_id]):
            assert time.monotonic() < until, f"the access log does not know {request_id}"
            time.sleep(0.02)
        return found[-1]

    def all_logs(self) -> str:
        """Whatever nginx has written."""
        return "\n".join(path.read_text(encoding="utf-8") for path in sorted(self.places.logs.iterdir()))

    def workers(self) -> list[int]:
        """The worker processes."""
        import psutil

        return [child.pid for child in psutil.Process(self.process.pid).children()]


@contextmanager
def running_nginx(
    root: Path,
    *,
    lanes: dict[str, LanePorts],
    state: LanesState | None = None,
    static: Path | None = None,
    media: Path | None = None,
    **values: Any,
) -> Iterator[RunningNginx]:
    """Write everything, start nginx, wait until it answers."""
    for _ in range(3):  # somebody may have been faster at a port
        site = Site(
            url=f"https://{DOMAIN}:{free_port()}",
            http_port=free_port(),
            places=Places(root),
            static=static or root / "static",
            media=media or root / "media",
            lanes=lanes,
            listen=("127.0.0.1",),
            **values,
        )
        write_files(site, state or LanesState())
        process = subprocess.Popen(
            [str(find_nginx()), "-c", f"{root}/nginx.conf"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        found = RunningNginx(site, process)
        if _answers(found):
            break
        process.wait()
    else:
        raise RuntimeError(f"nginx did not start:\n{(root / 'var/log/nginx/error.log').read_text()[-3000:]}")
    try:
        yield found
    finally:
        found.process.terminate()
        found.process.wait(30)


def write_files(site: Site, state: LanesState) -> None:
    """What an installation writes, below a folder of its own."""
    places, root = site.places, site.places.root
    for folder in (root / "tmp", places.logs, places.acme, places.site_link.parent, places.main.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (places.lanes, render_lanes(state)),
        (places.site, render_site(site)),
        (places.main, render_main(site)),
        (root / "nginx.conf", main_file(root)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    ensure_certificate(places, DOMAIN)
    if not places.site_link.exists():
        places.site_link.symlink_to(places.site)


def main_file(root: Path) -> str:
    """nginx.conf. As root its workers would be somebody who cannot read a test's folder."""
    mime = next(path for path in MIME_TYPES if Path(path).exists())
    return MAIN.format(root=root, mime=mime, user="user root root;" if os.geteuid() == 0 else "")


def _answers(nginx: RunningNginx) -> bool:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and nginx.process.poll() is None:
        try:
            with nginx.plug():
                return True
        except OSError:
            time.sleep(0.05)
    return False


def status_of(head: bytes) -> int:
    """The status in the first line of an answer; 0 where there was none."""
    found = re.match(rb"HTTP/1\.1 (\d{3})", head)
    return int(found[1]) if found else 0


def read_all(plug: socket.socket) -> bytes:
    """Until the other side closes."""
    parts: list[bytes] = []
    try:
        while part := plug.recv(65536):
            parts.append(part)
    except (ConnectionError, ssl.SSLError):
        pass
    return b"".join(parts)


def once(headers: Sequence[tuple[str, str]] | httpx.Headers, name: str) -> str:
    """The one value of a header; fails where there are none or two."""
    pairs = headers.multi_items() if isinstance(headers, httpx.Headers) else headers
    found = [value for key, value in pairs if key.lower() == name.lower()]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]
