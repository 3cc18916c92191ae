"""Steps: the `studio` command, static files, migrations, unit files; then everything starts."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from installer import files
from installer.machine import call
from installer.plan import Step
from installer.services import void
from installer.site import CHECKOUT, Site
from qwenstudio.units.catalog import TARGET, TICKER, lane_units

TEMPLATES = CHECKOUT / "deploy/systemd"
REDIS = "studio-redis.service"
STOP_S = 120
"""A GPU worker finishes its pass first."""
ALIVE = ("active", "activating", "reloading")
ANY_MODEL = "from generation.models import Model; raise SystemExit(not Model.objects.exists())"


def steps(site: Site) -> list[Step]:
    """In order."""
    at, names = site.layout, unit_files(site)
    found = [*command_steps(site, names), static_step(site)]
    if site.is_beside:  # the rest is `studio release start`, and this command again when it serves
        return [*found, *([start_step(site, list(filter(is_timer, names)))] if site.start else [])]
    if site.start:
        found += [guard_step(site), migrate_step(site), models_step(site)]
    wants = {name: template_of(name) for name in enabled(site)}
    found += [files.link(at.units / f"{TARGET}.wants" / name, f"../{file}", keep=True) for name, file in wants.items()]
    found.append(files.link(at.units / "multi-user.target.wants" / TARGET, f"../{TARGET}"))
    found.append(proxy_step(site))
    if site.layout.is_machine:
        found += debian_steps()
    if site.start:
        read = (Path("/etc/nginx/nginx.conf"), at.site_link.parent, at.site)
        found.append(Step("nginx reads all that", lambda: has_read(read), lambda: reload_nginx(read)))
        found.append(start_step(site, [TARGET, *enabled(site), *filter(is_timer, names)]))
        found.append(restart_step(site, [name for name in enabled(site) if name != REDIS]))
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


def has_read(paths: Sequence[Path]) -> bool:
    """Whether nginx runs, and its newest process is younger than these files and folders."""
    newest = max(begun(int(word)) for word in call(["ps", "-o", "pid=", "-C", "nginx"]).split())
    return newest >= max(path.stat().st_mtime for path in paths)


def begun(process: int) -> float:
    """When a process was started, to the hundredth of a second: `ps` tells whole ones."""
    words = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    ago = time.clock_gettime(time.CLOCK_BOOTTIME) - int(words[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - ago


def reload_nginx(paths: Sequence[Path]) -> None:
    """After a test of the whole configuration; a reload is over when new workers run."""
    call(["nginx", "-t", "-q"])
    call(["systemctl", "reload-or-restart", "nginx"])
    until = time.monotonic() + 10
    while not has_read(paths) and time.monotonic() < until:
        time.sleep(0.2)


def guard_step(site: Site) -> Step:
    """No process would start with settings that the guard refuses; here its words are read by whoever can mend them."""

    def is_done() -> bool:
        site.manage("check", "--deploy")
        return True

    return Step("settings fit for production (check --deploy)", is_done, lambda: void(is_done()))


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
    """Reload what systemd knows, also of what timers start; start what does not run."""
    started = [name.replace(".timer", ".service") for name in filter(is_timer, names)]

    def is_done() -> bool:
        known = all(show(name, "NeedDaemonReload") == "no" for name in [*names, *started])
        return known and all(map(is_coming, names))

    def do() -> None:
        call(["systemctl", "daemon-reload"])
        call(["systemctl", "start", "--no-block", *names])

    return Step(f"start {', '.join(names)}", is_done, do)


def restart_step(site: Site, names: list[str]) -> Step:
    """What runs has read its settings when it began: with another `--domain` it would refuse whoever asks for it."""

    def is_done() -> bool:
        changed = site.layout.settings.stat().st_mtime
        return all(began(name) >= changed for name in names)

    def do() -> None:
        call(["systemctl", "restart", "--no-block", *names])
        until = time.monotonic() + STOP_S
        while not is_done() and time.monotonic() < until:
            time.sleep(0.5)

    return Step(f"the units' settings are those of {site.layout.settings}", is_done, do)


def began(name: str) -> float:
    """When a unit's process was started; one that has none yet will read what is there."""
    at = int(show(name, "ExecMainStartTimestampMonotonic") or 0) / 1_000_000
    return time.time() - (time.monotonic() - at) if at else float("inf")


def is_coming(name: str) -> bool:
    """Whether it runs or is about to: a target waits in systemd's queue until the last of its units is ready."""
    return show(name, "ActiveState") in ALIVE or show(name, "Job") not in ("", "0")


def show(name: str, what: str) -> str:
    """One property of a unit."""
    return call(["systemctl", "show", "--property", what, "--value", name]).strip()
