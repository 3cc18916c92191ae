"""deploy/install into a folder: what it writes, a second time, half of it, taken away again."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from qwenstudio.proxy import LanesState, render_lanes
from qwenstudio.releasing import Folders
from qwenstudio.units.catalog import enabled_units, lane_units
from qwenstudio.units.layout import Layout
from qwenstudio.units.unitfile import read_environment, read_unit
from tests.deploy.installed import DOMAIN, ROOT, install, run_install


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that tests only look at."""
    folder = tmp_path_factory.mktemp("server")
    install(folder)
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where release 1.0 was installed, and beside it what lies there then: an installation takes seconds of a core."""
    root = tmp_path_factory.mktemp("first") / "root"
    install(root, release="1.0")
    copy(root, root.with_name("kept"))
    return root


@pytest.fixture
def installed(first: Path) -> Path:
    """Release 1.0 as it was just installed; what the test before has changed there is gone."""
    shutil.rmtree(first)
    copy(first.with_name("kept"), first)
    return first


def copy(source: Path, target: Path) -> None:
    """With links, modes and times, as `contents` sees them: nothing of the one is shared with the other."""
    shutil.copytree(source, target, symlinks=True)


def contents(root: Path) -> dict[str, tuple[int, int, str]]:
    """Every file, link and folder with mode and time; the bytecode that commands leave does not count."""
    found = {}
    for path in root.rglob("*"):
        if "__pycache__" not in path.parts and not path.is_dir():
            state, target = path.lstat(), os.readlink(path) if path.is_symlink() else ""
            found[str(path.relative_to(root))] = (state.st_mode, state.st_mtime_ns, target)
    return found


def test_a_second_time_nothing_changes(root: Path) -> None:
    before = contents(root)
    assert "Nothing changes" in install(root)
    assert contents(root) == before


def test_everything_has_its_place(root: Path) -> None:
    layout = Layout(root)
    (release,) = layout.releases.iterdir()
    assert layout.current.resolve() == release
    assert (release / "RELEASE").read_text().strip() == release.name
    assert (release / "manage.py").is_file() and not (release / ".git").exists()
    assert enabled_units(layout) == sorted([*lane_units("blue", layout=layout), "studio-ticker.service"])
    assert {path.name for path in layout.gpu_settings.iterdir()} == {"0.env"}
    assert "server_name studio.test" in layout.site.read_text()
    assert layout.lanes_conf.is_file()


def test_secrets_are_random_and_private(root: Path, installed: Path) -> None:
    layout = Layout(root)
    for path in layout.secrets.iterdir():
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o600 if path.name == "database-owner-url" else 0o640), path.name
    settings = layout.settings.read_text()
    for path in layout.secrets.iterdir():
        assert path.read_text().strip() not in settings
    assert stat.S_IMODE(layout.var.stat().st_mode) == 0o710
    assert stat.S_IMODE(layout.media.stat().st_mode) == 0o2750
    assert "database-owner-url" not in settings, "what binds the pages must not be undone by them"
    other = Layout(installed)
    for path in layout.secrets.iterdir():
        assert path.read_text() != other.secret(path.name).read_text(), path.name


def test_units_hold_no_path_of_another_root(root: Path) -> None:
    layout = Layout(root)
    for path in layout.units.glob("studio*.service"):
        for found in re.findall(r"\S*/(?:opt|etc|var/lib|run)/qwenstudio\S*", path.read_text()):
            assert str(root) in found or found.startswith("#"), f"{path.name}: {found}"
    for name in enabled_units(layout):
        assert read_unit(layout.units, name).restart == "always"


@pytest.mark.needs_systemd
def test_systemd_has_nothing_to_say(root: Path) -> None:
    folder = Layout(root).units
    names = [*enabled_units(Layout(root)), "studio.target"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(folder / name) for name in names)],
        capture_output=True, text=True, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.needs_systemd
def test_systemd_would_have_something_to_say(root: Path, tmp_path: Path) -> None:
    text = (Layout(root).units / "studio-ticker.service").read_text().replace("WatchdogSec", "WatchdogSek")
    (tmp_path / "studio-wrong.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "studio-wrong.service")],
        capture_output=True,
        text=True,
    )
    assert "WatchdogSek" in done.stderr


@pytest.mark.needs_systemd
def test_units_of_the_repository_are_right_too(tmp_path: Path) -> None:
    """All of them, those that this installation did not need as well; programs are stand-ins."""
    layout = Layout(tmp_path / "root")
    programs = [layout.command, layout.opt / "redis-server"]
    programs += [folder / ".venv/bin/python" for folder in (layout.lane("blue"), layout.current)]
    for program in programs:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    folder = tmp_path / "units"
    folder.mkdir()
    names = []
    for path in sorted((ROOT / "deploy" / "systemd").iterdir()):
        (folder / path.name).write_text(layout.put_in_front(path.read_text()))
        names.append(path.name.replace("@.", "@blue-0." if "gpu" in path.name else "@blue."))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(folder / name) for name in names)],
        capture_output=True, text=True, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_plan_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "nobody"
    said = run_install("--domain", DOMAIN, "--root", str(root), "--no-start", "--dry-run")
    assert "to do  release" in said and "nothing was changed" in said
    assert not root.exists()


def test_half_an_installation_is_finished(tmp_path: Path) -> None:
    root = tmp_path / "half"
    layout = Layout(root)
    layout.units.parent.mkdir(parents=True)
    layout.units.write_text("in the way")
    said = run_install("--domain", DOMAIN, "--root", str(root), "--no-start", "--venv", sys.prefix, code=1)
    assert "Run the same line again" in said and "studio-" in said
    key = layout.secret("secret-key").read_text()
    (layout.opt / "releases" / ".broken.new").mkdir()
    layout.settings.write_text("# mine\nSTUDIO_URL=https://old.test\nSTUDIO_SIGNUP=open\n")
    layout.units.unlink()
    install(root)
    assert layout.secret("secret-key").read_text() == key
    found = read_environment(layout.settings)
    assert found["STUDIO_URL"] == f"https://{DOMAIN}" and found["STUDIO_SIGNUP"] == "open" and found["REDIS_URL_FILE"]
    assert layout.settings.read_text().startswith("# mine\n")
    assert "Nothing changes" in install(root)


def test_through_a_pipe_each_step_is_seen_before_what_went_wrong(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.units.parent.mkdir(parents=True)
    layout.units.write_text("in the way")
    line = [sys.executable, "-I", str(ROOT / "deploy/install"), "--domain", DOMAIN, "--root", str(tmp_path)]
    done = subprocess.run(
        [*line, "--no-start", "--venv", sys.prefix], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.stdout.strip().endswith("it goes on here."), done.stdout


def test_a_checkout_without_git_is_told_so(tmp_path: Path) -> None:
    line = [
        sys.executable,
        "-I",
        str(ROOT / "deploy/install"),
        "--domain",
        DOMAIN,
        "--dry-run",
        "--root",
        str(tmp_path),
    ]
    environment = {"PATH": str(tmp_path)}
    done = subprocess.run([*line, "--no-start"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "apt-get install git" in done.stderr


def test_settings_of_hand_stay_and_lanes_are_not_moved(installed: Path) -> None:
    root, layout = installed, Layout(installed)
    layout.lane_env("blue").write_text("STUDIO_LANE=blue\nSTUDIO_PORT=28787\nSTUDIO_STREAM_PORT=28789\n")
    layout.lane("green").symlink_to(os.readlink(layout.lane("blue")))
    layout.current.unlink()
    layout.current.symlink_to("lanes/green")
    install(root, release="1.0")
    assert "28787" in layout.lane_env("blue").read_text()
    assert os.readlink(layout.current) == "lanes/green"
    assert "studio-web@green.service" in enabled_units(layout)
    (layout.units / "studio.target.wants" / "studio-web@blue.service").unlink()
    install(root, release="1.0")
    assert "studio-web@blue.service" not in enabled_units(layout), "what a release has switched off stays off"


def test_a_second_release_is_put_beside_the_first(installed: Path) -> None:
    """What runs may be changed by nothing but a release command: links, units, site and settings stay as they are."""
    root, layout = installed, Layout(installed)
    old = "# as 1.0 had it\n"
    for path in (layout.units / "studio-web@.service", layout.command, layout.site):
        path.write_text(old + path.read_text())
    settings = layout.settings.read_text().replace("STUDIO_SIGNUP", "X").replace(f"https://{DOMAIN}", "https://a.test")
    layout.settings.write_text(settings.replace("STUDIO_ACCEL_PREFIX=/protected/\n", ""))
    (layout.units / "studio-backup.timer").unlink()
    (layout.units / "timers.target.wants" / "studio-backup.timer").unlink()
    (layout.units / "studio.target.wants" / "studio-gpu@blue-0.service").unlink()  # during a hand-over
    before = contents(root)
    said = install(root, release="1.1")
    assert "lies beside 1.0, which serves in blue" in said
    assert "`studio release start green --release 1.1`" in said
    after = contents(root)
    new, shared = f"{layout.releases.relative_to(root)}/1.1/", str(layout.static.relative_to(root))
    added = {name for name in after if name not in before and not name.startswith((new, shared))}
    units = layout.units.relative_to(root)
    assert added == {f"{units}/studio-backup.timer", f"{units}/timers.target.wants/studio-backup.timer"}
    changed = {name for name in before if after.get(name) != before[name] and not name.startswith(shared)}
    assert changed == {str(layout.settings.relative_to(root))}
    assert layout.settings.read_text() == settings.replace("STUDIO_ACCEL_PREFIX=/protected/\n", "") + (
        "STUDIO_ACCEL_PREFIX=/protected/\n"
    )
    assert (layout.release("1.1") / "static.json").is_file()
    assert Folders(layout).installed() == ["1.1", "1.0"]
    assert "Nothing changes" in install(root, release="1.1")

    # When it serves, units and all become its own.
    folders = Folders(layout)
    folders.link("green", "1.1")
    folders.make_current("green")
    install(root, release="1.1")
    for path in (layout.units / "studio-web@.service", layout.command, layout.site):
        assert not path.read_text().startswith(old), path
    assert os.readlink(layout.lane("blue")) == "../releases/1.0"
    assert "lies beside 1.1" in install(root, release="1.0")


def test_an_installation_that_was_cut_off_is_finished_by_another_release(tmp_path: Path) -> None:
    root = tmp_path / "root"
    layout = Layout(root)
    layout.site.parent.mkdir(parents=True)
    layout.site.mkdir()  # in the way of the last but one step
    words = ["--domain", DOMAIN, "--root", str(root), "--no-start", "--venv", sys.prefix]
    run_install(*words, code=1, release="1.0")
    layout.site.rmdir()
    install(root, release="1.1")
    assert os.readlink(layout.lane("blue")) == "../releases/1.1", "nothing has served yet"
    assert layout.lanes_conf.is_file()


def test_installed_again_it_is_the_lane_that_served(installed: Path) -> None:
    root, layout = installed, Layout(installed)
    run_install("--uninstall", "--root", str(root), "--no-start")
    layout.lanes_conf.write_text(render_lanes(LanesState("green", frozenset({"green"}))))
    install(root)
    assert os.readlink(layout.current) == "lanes/green"
    assert "studio-web@green.service" in enabled_units(layout)


def test_a_further_gpu_is_found_by_the_same_line(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run is enough: its settings, and its worker among what starts."""
    root, tool = installed, tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'GPU 0: one'\necho 'GPU 1: two'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    install(root, release="1.0")
    layout = Layout(root)
    assert layout.gpus == ["0", "1"] and "CUDA_VISIBLE_DEVICES=1\n" in layout.gpu_env(1).read_text()
    wants = {path.name for path in (layout.units / "studio.target.wants").iterdir()}
    assert {"studio-gpu@blue-0.service", "studio-gpu@blue-1.service"} <= wants
    assert "Nothing changes" in install(root, release="1.0")


def test_the_address_follows_the_domain_and_a_port_stays(installed: Path) -> None:
    root = installed
    settings = Layout(root).settings
    settings.write_text(settings.read_text().replace(f"https://{DOMAIN}", f"https://{DOMAIN}:8443"))
    install(root, release="1.0")
    assert read_environment(settings)["STUDIO_URL"] == f"https://{DOMAIN}:8443"
    words = ["--root", str(root), "--no-start", "--venv", sys.prefix]
    run_install("--domain", "other.test", *words, release="1.0")
    assert read_environment(settings)["STUDIO_URL"] == "https://other.test"


def test_uninstall_keeps_the_data(installed: Path) -> None:
    root, layout = installed, Layout(installed)
    picture = layout.media / "tenant" / "picture.png"
    picture.parent.mkdir()
    picture.write_text("a picture")
    said = run_install("--uninstall", "--root", str(root), "--no-start")
    assert str(layout.var) in said and str(layout.etc) in said
    assert picture.read_text() == "a picture"
    assert layout.secret("secret-key").is_file()
    assert not layout.opt.exists() and not layout.command.exists() and not os.path.lexists(layout.site_link)
    assert not list(layout.units.rglob("studio*"))
    assert not [path for path in (root / "etc/nginx").rglob("*") if not path.is_dir()], "nginx has nothing of ours"
    key = layout.secret("secret-key").read_text()
    assert "Nothing is installed here" in run_install("--uninstall", "--root", str(root), "--no-start")
    install(root)
    assert layout.secret("secret-key").read_text() == key
    assert picture.is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--root", "/tmp/x", "--no-start"], "--domain is missing"),
        (["--domain", "not a name", "--dry-run"], "no domain name"),
        (["--domain", "a.test", "--root", "/tmp/x"], "add --no-start"),
        (["--domain", "a.test", "--database-url", "postgresql://x", "--dry-run"], "go together"),
    ],
)
def test_wrong_words_are_refused(words: list[str], said: str) -> None:
    assert said in run_install(*words, code=2)


@pytest.mark.parametrize("release", ["debian 12", "debian 13", "ubuntu 22.04", "ubuntu 24.04", "fedora 41"])
def test_distributions(tmp_path: Path, release: str) -> None:
    """What each of them gets; another one is refused by name."""
    name, version = release.split()
    (tmp_path / "os-release").write_text(f'NAME="x"\nID={name}\nVERSION_ID="{version}"\n')
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'deploy')!r}, {str(ROOT)!r}]\n"
        "from pathlib import Path\nfrom installer.machine import *\n"
        f"print(*packages(read_distribution(Path({str(tmp_path / 'os-release')!r})), database=True, redis=True))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    if name == "fedora":
        assert "InstallError: fedora 41 is not one of those that are known: Ubuntu 22.04" in done.stderr
        return
    words = done.stdout.split()
    assert {"nginx", "postgresql", "postgresql-client", "certbot", "logrotate"} <= set(words) and any(
        re.fullmatch(r"python3\.1[1-9]-venv", word) for word in words
    )
    assert ("redis-server" in words or "valkey-server" in words) == (release != "ubuntu 22.04")


def test_a_python_before_its_release_is_completed(tmp_path: Path) -> None:
    """Ubuntu 22.04's 3.11.0rc1: torch's import names two functions that it does not have."""
    purelib = tmp_path / "site-packages"
    purelib.mkdir()
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'deploy')!r}, {str(ROOT)!r}]\n"
        "import sysconfig\nfrom installer.release import COMPLETE\n"
        f"sysconfig.get_path = lambda name: {str(purelib)!r}\n"
        "exec(COMPLETE)\n"
        "del sys.get_int_max_str_digits, sys.set_int_max_str_digits\n"
        "exec(COMPLETE)\n"
        "import site; site.addsitedir(sysconfig.get_path('purelib'))\n"
        "print(sys.get_int_max_str_digits())\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr
    complete = code.replace("del sys.get_int_max_str_digits, sys.set_int_max_str_digits\n", "")
    for path in purelib.iterdir():
        path.unlink()
    subprocess.run([sys.executable, "-I", "-c", complete], check=True, capture_output=True)
    assert not list(purelib.iterdir()), "a whole one is left alone"
