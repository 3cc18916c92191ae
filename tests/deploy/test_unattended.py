"""What an installation does by itself, and what it has set so that nobody has to: timers, guard, logs, networks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from qwenstudio.units.layout import Layout
from tests.deploy.installed import ROOT, install


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that tests only look at."""
    folder = tmp_path_factory.mktemp("server")
    install(folder)
    return folder


@pytest.mark.parametrize(
    ("timer", "words"),
    [
        ("studio-backup", "backup /var/backups/qwenstudio --keep 14"),
        ("studio-backup-verify", "backup --verify /var/backups/qwenstudio"),
        ("studio-doctor", "doctor --mail"),
        ("studio-daily", "daily --log -"),
    ],
)
def test_what_nobody_has_to_think_of_is_timed(root: Path, timer: str, words: str) -> None:
    """Each timer is enabled, and what it starts is a command that exists with these words."""
    layout = Layout(root)
    assert (layout.units / "timers.target.wants" / f"{timer}.timer").resolve() == layout.units / f"{timer}.timer"
    assert layout.put_in_front(f"/usr/local/bin/studio {words}") in (layout.units / f"{timer}.service").read_text()
    parts = words.split()
    done = subprocess.run([sys.executable, "manage.py", parts[0], "--help"], cwd=ROOT, capture_output=True, text=True)
    assert all(part in done.stdout for part in parts if part.startswith("--")), done.stdout


def test_a_look_that_found_something_is_no_failed_unit(root: Path) -> None:
    assert "SuccessExitStatus=1" in (Layout(root).units / "studio-doctor.service").read_text()


def test_metrics_of_gpu_machines_are_there_and_off(root: Path) -> None:
    layout = Layout(root)
    assert "manage.py metrics --listen" in (layout.units / "studio-metrics@.service").read_text()
    assert not list(layout.units.glob("*.wants/studio-metrics*"))


def test_the_guard_has_nothing_to_say(root: Path) -> None:
    """Of what was written: no server has to run for that. That mails lie in a folder is a warning, and the only one."""
    clean = {"PATH": os.environ["PATH"]}
    line = [str(Layout(root).command), "check", "--deploy"]
    done = subprocess.run(line, capture_output=True, text=True, env=clean, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(re.findall(r"\w+\.[EW]\d+", done.stdout + done.stderr)) == {"studio.W117"}
    weak = Layout(root).secret("secret-key")
    kept = weak.read_text()
    weak.write_text("changeme")
    try:
        done = subprocess.run(line, capture_output=True, text=True, env=clean, timeout=170)
    finally:
        weak.write_text(kept)
    assert (done.returncode, "studio.E102" in done.stderr) == (1, True)


INSTALLER = f"import sys; sys.path[:0] = [{str(ROOT / 'deploy')!r}, {str(ROOT)!r}]\n"


def by_installer(code: str) -> str:
    """What code printed that sees the installer's modules."""
    done = subprocess.run([sys.executable, "-I", "-c", INSTALLER + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_installer_says_what_the_guard_refuses() -> None:
    """A named URL with a weak password, for one: before anything starts with it."""
    said = by_installer(
        "from installer.plan import InstallError, carry_out\n"
        "from installer.units import guard_step\n"
        "class Site:\n"
        "    def manage(self, *words):\n"
        "        raise InstallError(' '.join(words) + ': studio.E104')\n"
        "try:\n"
        "    carry_out([guard_step(Site())], say=print)\n"
        "except InstallError as error:\n"
        "    print(error)\n"
    )
    assert "check --deploy: studio.E104" in said and "Run the same line again" in said


@pytest.mark.parametrize(
    ("address", "added"),
    [
        ("203.0.113.9", "203.0.113.9/32"),
        ("2001:db8::7", "2001:db8::7/128"),
        ("192.168.1.4", ""),
        ("127.0.0.1", ""),
        ("fe80::1%eth0", ""),
        ("", ""),
        ("UNKNOWN", ""),
    ],
)
def test_whoever_installs_it_from_afar_gets_into_the_admin(address: str, added: str) -> None:
    found = by_installer(f"from installer.settings import admin_networks\nprint(admin_networks({address!r}))")
    assert found == (f"127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 {added}" if added else "")


def test_the_address_is_found_behind_sudo(tmp_path: Path) -> None:
    """A parent knows it when our own environment was emptied."""
    tree = {40: (30, b"A=1"), 30: (20, b"B=2"), 20: (1, b"C=3\0SSH_CONNECTION=203.0.113.9 51234 192.0.2.1 22\0")}
    for process, (parent, environment) in tree.items():
        (tmp_path / str(process)).mkdir()
        (tmp_path / str(process) / "environ").write_bytes(environment)
        (tmp_path / str(process) / "stat").write_text(f"{process} (a b) c) S {parent} 1 1")
    code = "from pathlib import Path\nfrom installer.machine import operator_address\n"
    code += f"print(operator_address(40, Path({str(tmp_path)!r})))"
    assert by_installer(code) == "203.0.113.9"
    (tmp_path / "20" / "environ").write_bytes(b"")
    assert by_installer(code) == ""


def test_nginx_logs_are_turned(root: Path) -> None:
    """Debian's own file turns everything that ends in .log there; the installer brings the program."""
    rules = Path("/etc/logrotate.d/nginx")
    if not rules.is_file():
        pytest.skip("nginx is not Debian's here")
    patterns = rules.read_text().partition("{")[0].split()
    logs = re.findall(r"^\s*(?:access|error)_log\s+(\S+\.log)", Layout(root).site.read_text(), re.MULTILINE)
    assert len(set(logs)) == 2
    for log in logs:
        assert any(fnmatch(log.removeprefix(str(root)), pattern) for pattern in patterns), log
