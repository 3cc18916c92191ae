"""A whole server in a folder: installed units of both lanes on free ports, behind the real nginx with its own site.

Everything is the installation's own: units, `studio` command, the site that `proxy write` makes. What differs from a
server is the root, the ports, and where it is asked for an engine that sleeps (a drop-in of the GPU unit).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenstudio.embedded import Services
from qwenstudio.embedded.ports import free_port
from qwenstudio.proxy.places import Places
from qwenstudio.proxy.site import LanePorts, Site
from qwenstudio.releasing import point
from qwenstudio.units.catalog import lane_units
from qwenstudio.units.layout import LANES, Layout
from qwenstudio.units.unitfile import read_environment
from tests.deploy.installed import DOMAIN, Installed, clean_environment, let_sleep, managed, set_up, studio, wait_for
from tests.deploy.nginxes import RunningNginx, main_file
from tests.needs import find_nginx

START_S = 180.0
"""No bound of the product's: a busy machine may take so long."""


@dataclass
class Typed:
    """What a command said, and how long it took."""

    said: str
    code: int
    seconds: float

    def ms(self, pattern: str) -> int:
        """The milliseconds that it names, by a pattern with one group."""
        found = re.search(pattern, self.said)
        assert found, self.said
        return int(found[1])


@dataclass
class Server:
    """A running one."""

    layout: Layout
    services: Services
    nginx: RunningNginx
    installed: Installed

    def release(self, *words: str, fails: bool | None = False, seconds: float = 400) -> Typed:
        """`studio release …` to its end; `fails` says how it must end (None: either way)."""
        began = time.monotonic()
        line = [str(self.layout.command), "release", *words, *(() if words[0] == "status" else ("--yes",))]
        done = subprocess.run(line, capture_output=True, text=True, timeout=seconds, env=clean_environment())
        said = done.stdout + done.stderr
        assert fails is None or (done.returncode != 0) is fails, said
        return Typed(said, done.returncode, time.monotonic() - began)

    def type(self, *words: str) -> subprocess.Popen[str]:
        """`studio release …`, begun."""
        line = [str(self.layout.command), "release", *words, "--yes"]
        return subprocess.Popen(
            line, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=clean_environment(),
        )  # fmt: skip

    def default(self) -> str:
        """The lane that nginx itself names."""
        with self.nginx.client() as client:
            return str(client.get("/.well-known/studio-lane").json()["lane"])

    def reload(self) -> None:
        """`nginx -s reload`, and nothing else."""
        subprocess.run([*self.nginx.line.split(), "-s", "reload"], check=True, timeout=30)

    def states(self, lane: str) -> dict[str, str]:
        return self.installed.units.states(lane_units(lane, layout=self.layout))

    def wait_serving(self, lane: str = "blue") -> None:
        """Until all units of a lane run."""

        def is_active() -> bool:
            assert self.installed.process.poll() is None, self.installed.said()
            return bool(self.installed.state("ticker")) and set(self.states(lane).values()) == {"active"}

        wait_for(is_active, seconds=START_S, what=f"the units of {lane}")

    def requests(self, lane: str) -> list[dict[str, Any]]:
        """What nginx has sent to a lane, by its access log."""
        ports = {f"127.0.0.1:{port}" for port in self.ports(lane)}
        return [line for line in self.nginx.log_lines() if ports & set(line["upstream"].split(", "))]

    def ports(self, lane: str) -> tuple[int, int]:
        """Of pages and of streams."""
        found = read_environment(self.layout.lane_env(lane))
        return int(found["STUDIO_PORT"]), int(found["STUDIO_STREAM_PORT"])

    def add_release(self, name: str, **changes: str) -> Path:
        """One more release: a copy of the installed one; `changes` are files' new ends."""
        return add_release(self.layout, name, changes)


def add_release(layout: Layout, name: str, changes: dict[str, str]) -> Path:
    """A copy by hard links, except for what differs; it becomes the newest."""
    source, target = layout.lane("blue").resolve(), layout.release(name)
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)
    replace(target / "RELEASE", f"{name}\n")
    for path, text in changes.items():
        file = target / path
        replace(file, (file.read_text(encoding="utf-8") if file.exists() else "") + text)
    os.utime(target)
    return target


def replace(file: Path, text: str) -> None:
    """Write a file anew without touching those that share its content; stale bytecode goes."""
    file.unlink(missing_ok=True)
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()
    file.write_text(text, encoding="utf-8")


def prepare(root: Path, services: Services, *, engine: str = "sleeping", **gpu: str) -> Layout:
    """Install with an nginx of its own; `gpu` is what the worker's environment says besides."""
    layout = set_up(root, services)
    nginx = find_nginx()
    lines = layout.settings.read_text(encoding="utf-8").splitlines()
    values = {
        "STUDIO_URL": f"https://{DOMAIN}:{free_port()}",
        "STUDIO_HTTP_PORT": str(free_port()),
        "STUDIO_LISTEN": "127.0.0.1",
        "STUDIO_NGINX_TEST": f'"{nginx} -c {root}/nginx.conf -t -q"',
        "STUDIO_NGINX_RELOAD": f'"{nginx} -c {root}/nginx.conf -s reload"',
        # All clients of a test come from one address.
        "STUDIO_ADDRESS_RATE": "100000",
        "STUDIO_ADDRESS_CONNECTIONS": "5000",
    }
    kept = [line for line in lines if line.partition("=")[0] not in values]
    layout.settings.write_text("\n".join([*kept, *(f"{key}={value}" for key, value in values.items())]) + "\n")
    if engine == "sleeping":
        let_sleep(layout)
    with layout.gpu_env("0").open("a", encoding="utf-8") as file:
        file.writelines(f"{key}={value}\n" for key, value in gpu.items())
    (root / "tmp").mkdir()
    (root / "nginx.conf").write_text(main_file(root), encoding="utf-8")
    studio(layout, "proxy", "write")
    if engine != "sleeping":
        studio(layout, "loadmodels")
    return layout


@contextmanager
def proxied(layout: Layout) -> Iterator[RunningNginx]:
    """nginx as the installation wants it."""
    values = read_environment(layout.settings)
    lanes = {lane: read_environment(layout.lane_env(lane)) for lane in LANES}
    site = Site(
        url=values["STUDIO_URL"],
        http_port=int(values["STUDIO_HTTP_PORT"]),
        places=Places(layout.root),
        static=layout.static,
        media=layout.media,
        lanes={name: LanePorts(int(at["STUDIO_PORT"]), int(at["STUDIO_STREAM_PORT"])) for name, at in lanes.items()},
        listen=("127.0.0.1",),
    )
    process = subprocess.Popen([str(find_nginx()), "-c", f"{layout.root}/nginx.conf"], stdin=subprocess.DEVNULL)
    found = RunningNginx(site, process)
    try:
        wait_for(lambda: has_answered(found), seconds=60, what="nginx")
        yield found
    finally:
        process.terminate()
        process.wait(30)


def has_answered(nginx: RunningNginx) -> bool:
    """Whether somebody takes a connection over TLS."""
    assert nginx.process.poll() is None, "nginx has ended"
    try:
        with nginx.plug():
            return True
    except OSError:
        return False


@contextmanager
def running_server(
    root: Path, services: Services, *, engine: str = "sleeping", planted: dict[str, str] | None = None, **gpu: str
) -> Iterator[Server]:
    """Install, start, and wait until blue serves; `planted` are changes of the release that blue is."""
    layout = prepare(root, services, engine=engine, **gpu)
    if planted:
        add_release(layout, "planted", planted)
        point(layout.lane("blue"), to=layout.release("planted"))
    with proxied(layout) as nginx, managed(layout) as installed:
        server = Server(layout, services, nginx, installed)
        server.wait_serving()
        yield server


def read_json_lines(file: Path) -> list[dict[str, Any]]:
    """One object a line."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
