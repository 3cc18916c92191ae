"""Steps: the `studio` command, static files, migrations, unit files; then everything starts."""

from __future__ import annotations

import os
import time
from pathlib import Path

from installer import files
from installer.machine import call
from installer.plan import Step
from installer.services import void
from installer.site import CHECKOUT, Site
from qwenstudio.units.catalog import TARGET, TICKER, lane_units

TEMPLATES = CHECKOUT / "deploy/systemd"
REDIS = "studio-redis.service"
ALIVE = ("active", "activating", "reloading")
ANY_MODEL = "from generation.models import Model; raise SystemExit(not Model.objects.exists())"


def steps(site: Site) -> list[Step]:
    """In order."""
    at, names = site.layout, unit_files(site)
    found = [*command_steps(site, names), static_step(site)]
    if site.is_beside:  # the rest is `studio release start`, and this command again when it serves
        return [*found, *([start_step(site, list(filter(is_timer, names)))] if site.start else [])]
    if site.start:
        found += [migrate_step(site), models_step(site)]
    wants = {name: template_of(name) for name in enabled(site)}
    found += [files.link(at.units / f"{TARGET}.wants" / name, f"../{file}", keep=True) for name, file in wants.items()]
    found.append(files.link(at.units / "multi-user.target.wants" / TARGET, f"../{TARGET}"))
    found.append(proxy_step(site))
    if site.layout.is_machine:
        found += debian_steps()
    if site.start:
        found.append(Step("nginx reads all that", lambda: has_read(site), lambda: reload_nginx(site)))
        found.append(start_step(site, [TARGET, *enabled(site), *filter(is_timer, names)]))
    return [*found, files.file(site, site.mark, f"{site.release}\n", keep=True)]


def command_steps(site: Site, names: list[str]) -> list[Step]:
    """The `studio` command and the units. Beside another release that one's stay, and what is new is added: they start
    processes of both.
    """
    at, keep = site.layout, site.is_beside
    command = at.put_in_front((CHECKOUT / "deploy/studio").read_text(encoding="utf-8"))
    found = [files.file(site, at.command, command, mode=0o755, keep=keep)]
    for name in names:
        text = at.put_in_front((TEMPLATES / name).read_text(encoding="utf-8"))
        found.append(files.file(site, at.units / name, text, keep=keep))
    return found + [
        files.link(at.units / "timers.target.wants" / name, f"../{name}", keep=keep) for name in filter(is_timer, names)
    ]


def is_timer(name: str) -> bool:
    """By its ending."""
    return name.endswith(".timer")


def template_of(name: str) -> str:
    """The file of an instance."""
    return f"{name.partition('@')[0]}@.service" if "@" in name else name


def unit_files(site: Site) -> list[str]:
    """The files that this installation needs."""
    redis = site.own_redis and site.distribution
    return [path.name for path in sorted(TEMPLATES.iterdir()) if redis or path.name != REDIS]


def enabled(site: Site) -> list[str]:
    """What starts with the machine: the default lane's units. The other lane is the affair of `studio release`."""
    lane = site.lane
    numbers = sorted({*site.layout.gpus, *map(str, range(max(1, site.gpus)))}, key=int)
    redis = [REDIS] if REDIS in unit_files(site) else []
    gpus = [f"studio-gpu@{lane}-{number}.service" for number in numbers]
    others = [name for name in lane_units(lane, layout=site.layout) if not name.startswith("studio-gpu@")]
    return [*redis, *others, *gpus, TICKER]


def static_step(site: Site) -> Step:
    """Each release adds its files by hashed names and keeps the list of them."""
    manifest = site.folder / "static.json"
    text = f"static files into {site.layout.static}"
    return Step(text, manifest.is_file, lambda: void(site.manage("collectstatic", "--noinput")))


def proxy_step(site: Site) -> Step:
    """nginx's site, its lanes, a certificate to begin with: `manage.py proxy write` knows how."""
    at = site.layout

    def is_done() -> bool:
        there = (
            at.lanes_conf.is_file() and at.site_link.is_symlink() and (at.proxy_settings / "certificate").is_symlink()
        )
        return there and at.site.read_text(encoding="utf-8") == site.manage("proxy", "render")

    def do() -> None:
        site.manage("proxy", "write")

    return Step(f"nginx: {at.site}", is_done, do)


def debian_steps() -> list[Step]:
    """Its own site would take requests for other names, and its 768 connections a worker are streams for few people."""
    default, main = Path("/etc/nginx/sites-enabled/default"), Path("/etc/nginx/nginx.conf")
    few, many = "worker_connections 768;", "worker_connections 4096;"

    def raise_them() -> None:
        main.write_text(main.read_text(encoding="utf-8").replace(few, many), encoding="utf-8")

    return [
        Step(f"nginx: {default} off", lambda: not os.path.lexists(default), default.unlink),
        Step(f"nginx: {many} in {main}", lambda: few not in main.read_text(encoding="utf-8"), raise_them),
    ]


def has_read(site: Site) -> bool:
    """Whether nginx runs, and its newest process is younger than the files."""
    files = (Path("/etc/nginx/nginx.conf"), Path("/etc/nginx/sites-enabled"), site.layout.site)
    ages = call(["ps", "-o", "etimes=", "-C", "nginx"]).split()
    return time.time() - min(map(int, ages)) >= max(path.stat().st_mtime for path in files)


def reload_nginx(site: Site) -> None:
    """After a test of the whole configuration; a reload is over when new workers run."""
    call(["nginx", "-t", "-q"])
    call(["systemctl", "reload-or-restart", "nginx"])
    until = time.monotonic() + 10
    while not has_read(site) and time.monotonic() < until:
        time.sleep(0.2)


def migrate_step(site: Site) -> Step:
    """All of them, as the tables' owner."""

    def is_done() -> bool:
        site.manage("migrate", "--check")
        return True

    return Step("migrations", is_done, lambda: void(site.manage("migrate", "--verbosity", "0")))


def models_step(site: Site) -> Step:
    """Where the database offers no model yet; later changes are `studio loadmodels`."""

    def is_done() -> bool:
        site.manage("shell", "-c", ANY_MODEL)
        return True

    text = f"models of {site.layout.etc}/models.toml"
    return Step(text, is_done, lambda: void(site.manage("loadmodels")))


def start_step(site: Site, names: list[str]) -> Step:
    """Reload what systemd knows, start what does not run."""

    def is_done() -> bool:
        return all(show(name, "NeedDaemonReload") == "no" and show(name, "ActiveState") in ALIVE for name in names)

    def do() -> None:
        call(["systemctl", "daemon-reload"])
        call(["systemctl", "start", "--no-block", *names])

    return Step(f"start {', '.join(names)}", is_done, do)


def show(name: str, what: str) -> str:
    """One property of a unit."""
    return call(["systemctl", "show", "--property", what, "--value", name]).strip()
