"""A studio as `deploy/install` makes it: its units under `manage.py up --from-units`, its nginx with TLS in front."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from qwenstudio.embedded import Services
from qwenstudio.embedded.ports import free_port
from qwenstudio.units.layout import Layout
from tests.deploy.installed import DOMAIN, UNITS, Installed, database_words, install, managed, studio, wait_for
from tests.needs import find_nginx

HOST = "localhost"
"""No name that the installer takes (it wants a real one), but one that every client can resolve."""
READY_S = 180.0
DRAIN_S = 900.0
TENANT_OF = 20
"""Clients of one tenant."""
SCOPES = ("images:read", "images:write", "usage:read")


@dataclass(frozen=True)
class Site:
    """Where it answers."""

    url: str
    installed: Installed


@contextmanager
def installed_studio(root: Path, services: Services, *, nice: int = 19) -> Iterator[Site]:
    """Install, start, wait until everything serves; ends all of it."""
    layout, https, plain = Layout(root), free_port(), free_port()
    install(root, *database_words(services))
    url = f"https://{HOST}:{https}"
    write_settings(layout, services, url=url, plain=plain, nice=nice)
    studio(layout, "migrate", "--verbosity", "0")
    studio(layout, "loadmodels")
    studio(layout, "proxy", "write")
    with running_units(layout) as installed, running_nginx(root, https):
        yield Site(url, installed)


def write_settings(layout: Layout, services: Services, *, url: str, plain: int, nice: int) -> None:
    """What differs from a server: ports, one address for everybody, a GPU worker that comes last with one thread."""
    ours = services.environment()
    layout.secret("secret-key").write_text(os.environ["SECRET_KEY"] + "\n")
    layout.secret("encryption-keys").write_text(ours["STUDIO_ENCRYPTION_KEYS"] + "\n")
    text = layout.settings.read_text(encoding="utf-8").replace(f"STUDIO_URL=https://{DOMAIN}\n", f"STUDIO_URL={url}\n")
    assert url in text
    nginx = f"{find_nginx()} -c {layout.root}/nginx.conf"
    text += (
        f"STUDIO_LISTEN=127.0.0.1\nSTUDIO_HTTP_PORT={plain}\n"
        f'STUDIO_NGINX_TEST="{nginx} -t -q"\nSTUDIO_NGINX_RELOAD="{nginx} -s reload"\n'
        "STUDIO_ADDRESS_RATE=2000\nSTUDIO_ADDRESS_CONNECTIONS=5000\n"
    )
    layout.settings.write_text(text, encoding="utf-8")
    layout.lane_env("blue").write_text(
        f"STUDIO_LANE=blue\nSTUDIO_PORT={free_port()}\nSTUDIO_STREAM_PORT={free_port()}\n", encoding="utf-8"
    )
    gpu = layout.gpu_env(0)
    lines = [line for line in gpu.read_text(encoding="utf-8").splitlines() if not line.startswith("OMP_NUM_THREADS=")]
    gpu.write_text("\n".join([*lines, "OMP_NUM_THREADS=1"]) + "\n", encoding="utf-8")
    folder = layout.units / "studio-gpu@.service.d"
    folder.mkdir(exist_ok=True)
    (folder / "nice.conf").write_text(f"[Service]\nNice={nice}\n", encoding="utf-8")


@contextmanager
def running_units(layout: Layout) -> Iterator[Installed]:
    """`manage.py up --from-units`, until every unit serves."""
    with managed(layout) as installed:
        for kind in UNITS:
            wait_for(
                lambda kind=kind: installed.process.poll() is not None or serves(installed, kind),
                seconds=READY_S,
                what=kind,
            )
            if installed.process.poll() is not None:
                raise SystemExit(installed.said()[-3000:])
        yield installed


def serves(installed: Installed, kind: str) -> bool:
    """Whether a unit is ready, and a server answers."""
    if kind in ("web", "stream"):
        return installed.state(kind) == "active" and installed.ask(kind, "GET", "/healthz")[0] in (200, 400)
    return installed.state(kind) == "active"


@contextmanager
def running_nginx(root: Path, port: int) -> Iterator[None]:
    """nginx with what `studio proxy write` has written, or a site of somebody else's in the same places."""
    from tests.deploy.nginxes import main_file  # needs Django's settings, which are made last

    for folder in ("tmp", "var/log/nginx"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    text = main_file(root).replace("worker_connections 1024;", "worker_connections 4096;")
    (root / "nginx.conf").write_text(text, encoding="utf-8")
    with (root / "nginx.log").open("wb") as log:
        process = subprocess.Popen([str(find_nginx()), "-c", f"{root}/nginx.conf"], stdout=log, stderr=log)
    try:
        wait_for(lambda: process.poll() is not None or answers(port), seconds=30, what="nginx")
        if process.poll() is not None:
            raise SystemExit((root / "nginx.log").read_text())
        yield
    finally:
        process.terminate()
        process.wait(30)


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


# ---- who comes


def make_accounts(file: Path, clients: int) -> None:
    """As many people as clients, each with a key, in tenants of twenty whose plan refuses none of this load.

    All have one password, hashed once: hashing takes a third of a second.
    """
    from django.contrib.auth.hashers import make_password
    from django.db import connections

    from tests.factories import make_key, make_member, make_plan, make_tenant, make_user

    rates = {"requests_per_minute": 100_000, "tenant_requests_per_minute": 1_000_000}
    plan = make_plan(**rates, queue_length=100_000, concurrent_generations=1000)
    password = os.urandom(12).hex()
    hashed = make_password(password)
    lines = []
    tenant = None
    for number in range(clients):
        user = make_user(f"client-{number}")
        user.password = hashed
        user.save()
        if number % TENANT_OF == 0:
            tenant, _ = make_tenant(f"Team {number // TENANT_OF + 1}", owner=user, plan=plan)
        else:
            assert tenant is not None
            make_member(tenant, user=user)
        lines += [f"{user.email} {password}", make_key(tenant, user, scopes=SCOPES)[1]]  # type: ignore[arg-type]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    connections.close_all()
    connections["default"].close_pool()  # type: ignore[attr-defined]


# ---- what became of it

AFTER_SQL = """
SELECT g.status, g.n, g.attempt, g.lost,
       (SELECT count(*) FROM generation_image i WHERE i.tenant_id = g.tenant_id AND i.generation_id = g.id),
       (SELECT count(*) FROM accounts_ledgerentry l
         WHERE l.tenant_id = g.tenant_id AND l.ref = g.id AND l.metric = 'images' AND l.kind = 'settle'),
       (SELECT array_agg(i.file) FROM generation_image i WHERE i.tenant_id = g.tenant_id AND i.generation_id = g.id)
  FROM generation_generation g WHERE g.id = ANY(%s)
"""


def wait_until_drawn(url: str) -> float:
    """Let the worker draw what is left when the clients have gone; the seconds that it took."""
    began = time.monotonic()
    with psycopg.connect(url, autocommit=True) as admin:
        while time.monotonic() - began < DRAIN_S:
            left = admin.execute("SELECT count(*) FROM generation_generation WHERE status IN ('queued', 'running')")
            if (left.fetchone() or (0,))[0] == 0:
                break
            time.sleep(1)
    return time.monotonic() - began


def count_generations(url: str) -> int:
    """All that there are."""
    with psycopg.connect(url, autocommit=True) as admin:
        return (admin.execute("SELECT count(*) FROM generation_generation").fetchone() or (0,))[0]


def look_after(url: str, generations: list[str], media: Path, *, before: int) -> dict[str, Any]:
    """Each accepted generation against its rows, its files and its ledger entries; so many were there before."""
    found: dict[str, int] = {"accepted": len(generations)}

    def count(name: str, amount: int = 1) -> None:
        found[name] = found.get(name, 0) + amount

    with psycopg.connect(url, autocommit=True) as admin:
        rows = admin.execute(AFTER_SQL, (generations,)).fetchall()
    count("rows", len(rows))
    count("rows_nobody_knows_of", count_generations(url) - before - len(rows))
    for status, n, attempts, lost, images, settles, files in rows:
        count(status)
        count("attempts_that_failed", attempts)
        count("leases_lost", lost)
        once = status == "succeeded" and images == n and settles == 1
        once = once and all((media / file).is_file() for file in files or ())
        count("finished_once" if once else "not_finished_once")
    return found


def memory_of(installed: Installed) -> dict[str, float]:
    """Megabytes of each unit with its children."""
    import psutil

    found = {}
    for kind in UNITS:
        main = installed.main(kind)
        if main is not None:
            family = [psutil.Process(main), *psutil.Process(main).children(recursive=True)]
            found[kind] = round(sum(one.memory_info().rss for one in family) / 1e6)
    return found


def cpu_of(installed: Installed) -> dict[str, float]:
    """Seconds of processor time of each unit with its children so far."""
    import psutil

    found = {}
    for kind in UNITS:
        main = installed.main(kind)
        if main is not None:
            family = [psutil.Process(main), *psutil.Process(main).children(recursive=True)]
            found[kind] = round(sum(sum(one.cpu_times()[:2]) for one in family), 1)
    return found


def load_json(path: Path) -> Any:
    """A file's JSON."""
    return json.loads(path.read_text(encoding="utf-8"))
