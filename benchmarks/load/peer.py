"""`peer_app.py` as such apps are run: gunicorn's sync workers, nginx with TLS in front."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.load.studio import HOST, answers, running_nginx
from qwenstudio.embedded.ports import free_port
from tests.deploy.installed import ROOT, wait_for

WORKERS = 2
"""One for each core here: each holds the weights, and draws on one thread."""
TIMEOUT_S = 120
"""gunicorn's own 30 s would end workers in the middle of a picture that others keep from the processor."""
SITE = """
server {{
    listen 127.0.0.1:{https} ssl http2;
    server_name {host};
    ssl_certificate {certificate}/fullchain.pem;
    ssl_certificate_key {certificate}/privkey.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    client_max_body_size 1m;
    location /static/ {{ alias {static}/; expires 1y; }}
    location / {{
        proxy_pass http://127.0.0.1:{port};
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto https;
        proxy_read_timeout {timeout}s;
    }}
}}
"""


@dataclass(frozen=True)
class Peer:
    """Where it answers, and the process of gunicorn."""

    url: str
    process: subprocess.Popen[bytes]

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time so far."""
        return {"gunicorn": round(sum(sum(one.cpu_times()[:2]) for one in self._family()), 1)}

    def memory(self) -> dict[str, float]:
        """Megabytes."""
        return {"gunicorn": round(sum(one.memory_info().rss for one in self._family()) / 1e6)}

    def _family(self) -> list[psutil.Process]:
        main = psutil.Process(self.process.pid)
        return [main, *main.children(recursive=True)]


@contextmanager
def running_peer(root: Path, accounts: Path) -> Iterator[Peer]:
    """Start both, wait until they answer; ends them."""
    from qwenstudio.proxy.certificates import ensure_certificate  # needs Django's settings, which are made last
    from qwenstudio.proxy.places import Places

    port, https, places = free_port(), free_port(), Places(root)
    static = root / "static"
    for folder in (static, root / "var/log/nginx", places.site_link.parent, places.main.parent):
        folder.mkdir(parents=True, exist_ok=True)
    (static / "style.css").write_text("body { font-family: sans-serif }\n" * 200, encoding="utf-8")
    ensure_certificate(places, HOST)
    text = SITE.format(
        https=https, host=HOST, certificate=places.certificate, static=static, port=port, timeout=TIMEOUT_S
    )  # fmt: skip
    (places.site_link.parent / "peer.conf").write_text(text, encoding="utf-8")
    with running_gunicorn(root, accounts, port) as process, running_nginx(root, https):
        yield Peer(f"https://{HOST}:{https}", process)


@contextmanager
def running_gunicorn(root: Path, accounts: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Until its workers have loaded their pipelines."""
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    environment |= {
        "PEER_FOLDER": str(root / "peer"),
        "PEER_ACCOUNTS": str(accounts),
        "PEER_SECRET": secrets.token_hex(16),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    line = [sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--worker-class", "sync"]
    line += ["--timeout", str(TIMEOUT_S), "--bind", f"127.0.0.1:{port}", "benchmarks.load.peer_app:app"]
    log = root / "gunicorn.log"
    with log.open("wb") as output:
        process = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        wait_for(lambda: process.poll() is not None or serves(port), seconds=180, what="gunicorn")
        if process.poll() is not None:
            raise SystemExit(log.read_text())
        yield process
    finally:
        process.terminate()
        process.wait(TIMEOUT_S + 10)


def serves(port: int) -> bool:
    """Whether a worker answers: gunicorn listens long before its workers have loaded anything."""
    import httpx

    if not answers(port):
        return False
    try:
        return httpx.get(f"http://127.0.0.1:{port}/login", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
