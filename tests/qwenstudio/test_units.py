"""The small service manager, with small programs in place of the studio's: it does what the unit files say."""

from __future__ import annotations

import io
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qwenstudio import notify
from qwenstudio.supervise import Console
from qwenstudio.units import backoff
from qwenstudio.units.catalog import lane_units
from qwenstudio.units.control import Supervised, UnitsError, pick_units
from qwenstudio.units.doorway import enable
from qwenstudio.units.layout import Layout
from qwenstudio.units.supervised import Manager
from qwenstudio.units.unitfile import (
    UnitError,
    parse_seconds,
    put_variables,
    quote,
    read_environment,
    read_unit,
    split_words,
    unquote,
)

ROOT = Path(__file__).resolve().parents[2]
SAYS_IT_MOVES = """
import signal, sys, time
sys.path.insert(0, {root!r})
from qwenstudio import notify
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
notify.ready("here I am")
notify.watchdog(lambda: True, every_s=0.1)
while True:
    time.sleep(1)
"""
STARTS_A_CHILD = """
import os, sys, time
sys.path.insert(0, {root!r})
from qwenstudio import notify
if os.fork() == 0:
    notify.ready()
    notify.watchdog(lambda: True, every_s=0.1)
while True:
    time.sleep(1)
"""


def wait_for(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class House:
    """A root with unit files, and a manager in a thread behind its socket."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.output = io.StringIO()
        self.units = Supervised(self.layout.socket)
        self.manager: Manager | None = None
        self._thread: threading.Thread | None = None
        self.layout.units.mkdir(parents=True)
        self.layout.var.mkdir(parents=True)

    def write(self, name: str, code: str, *directives: str, enabled: bool = True) -> str:
        program = self.layout.root / f"{name}.py"
        program.write_text(textwrap.dedent(code).format(root=str(ROOT)))
        lines = ["[Service]", f"ExecStart={sys.executable} -u {program}", *directives]
        (self.layout.units / name).write_text("\n".join(lines) + "\n")
        if enabled:
            enable(self.layout, [name])
        return name

    def start(self) -> None:
        self.manager = Manager(self.layout, console=Console(self.output))
        self._thread = threading.Thread(target=self.manager.run)
        self._thread.start()
        wait_for(self.units.answers)

    def state(self, name: str) -> str:
        return self.units.states([name])[name]

    def pid(self, name: str) -> int:
        wait_for(lambda: self.units.main_pid(name))
        found = self.units.main_pid(name)
        assert found is not None
        return found

    def end(self) -> None:
        if self.manager is not None and self._thread is not None:
            self.manager.stopping = True
            self._thread.join(60)
            assert not self._thread.is_alive()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path / "root")
    yield found
    found.end()


NOTIFIES = ("Type=notify", "WatchdogSec=1", "Restart=always", "RestartSec=50ms", "TimeoutAbortSec=1", "KillMode=mixed")


def test_a_unit_is_active_once_it_says_so(house: House) -> None:
    late = "import time\ntime.sleep(600)\n"
    house.write("studio-a.service", SAYS_IT_MOVES, *NOTIFIES)
    house.write("studio-b.service", late, *NOTIFIES)
    house.start()
    wait_for(lambda: house.state("studio-a.service") == "active")
    assert house.state("studio-b.service") == "activating"
    assert "a: here I am" in house.output.getvalue()
    assert stat.S_IMODE(house.layout.socket.stat().st_mode) == 0o600


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_killed_and_stopped_processes_begin_again(house: House, how: signal.Signals) -> None:
    name = house.write("studio-a.service", SAYS_IT_MOVES, *NOTIFIES)
    house.start()
    wait_for(lambda: house.state(name) == "active")
    first = house.pid(name)
    os.kill(first, how)
    wait_for(lambda: house.units.main_pid(name) not in (first, None) and house.state(name) == "active")
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_process_that_says_no_more_is_aborted(house: House) -> None:
    silent = SAYS_IT_MOVES.replace("lambda: True", "lambda: time.monotonic() < begin + 2").replace(
        "notify.ready", "begin = time.monotonic()\nnotify.ready"
    )
    name = house.write("studio-a.service", silent, *NOTIFIES)
    house.start()
    wait_for(lambda: "killed by SIGABRT" in house.output.getvalue())
    wait_for(lambda: house.output.getvalue().count("a is active") > 1)
    assert house.state(name) in ("active", "activating")


def test_only_those_may_speak_whom_the_unit_names(house: House) -> None:
    house.write("studio-a.service", STARTS_A_CHILD, *NOTIFIES, "NotifyAccess=main", "TimeoutStartSec=2")
    house.write("studio-b.service", STARTS_A_CHILD, *NOTIFIES, "NotifyAccess=all")
    house.start()
    wait_for(lambda: house.state("studio-b.service") == "active")
    wait_for(lambda: "a is not ready in time" in house.output.getvalue())
    assert "a is active" not in house.output.getvalue()


def test_stop_waits_for_the_end_and_kills_in_the_end(house: House) -> None:
    stubborn = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)\n"
    name = house.write("studio-a.service", stubborn, "TimeoutStopSec=1", "Restart=always")
    house.start()
    pid = house.pid(name)
    wait_for(lambda: b"studio-a" in Path(f"/proc/{pid}/cmdline").read_bytes())
    time.sleep(0.3)  # until it ignores SIGTERM
    house.units.stop([name])
    assert house.state(name) == "inactive"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    house.units.start([name])
    wait_for(lambda: house.state(name) == "active")


def test_restart_gives_another_process(house: House) -> None:
    name = house.write("studio-a.service", SAYS_IT_MOVES, *NOTIFIES)
    house.start()
    first = house.pid(name)
    wait_for(lambda: house.state(name) == "active")
    house.units.restart([name])
    wait_for(lambda: house.units.main_pid(name) not in (first, None) and house.state(name) == "active")


def test_a_unit_is_recycled_by_age(house: House) -> None:
    name = house.write("studio-a.service", SAYS_IT_MOVES, *NOTIFIES, "RuntimeMaxSec=1")
    house.start()
    wait_for(lambda: "a has reached its age" in house.output.getvalue())
    wait_for(lambda: house.output.getvalue().count("a is active") > 1)
    house.units.stop([name])


def test_what_is_not_wanted_any_more_stays_down(house: House) -> None:
    name = house.write("studio-a.service", "raise SystemExit(4)\n", "Restart=on-failure", "RestartSec=50ms")
    other = house.write("studio-b.service", "raise SystemExit(4)\n")
    house.start()
    wait_for(lambda: house.output.getvalue().count("a ended (exit code 4)") > 2)
    wait_for(lambda: house.state(other) == "failed")
    house.units.stop([name])
    assert house.state(name) == "inactive"


def test_templates_drop_ins_and_environment_files(house: House) -> None:
    env = house.layout.root / "lane.env"
    env.write_text("# a comment\nPORT=18787\nWORDS=\"two words\"\nPRICE='$5'\n")
    out = house.layout.root / "out"
    program = house.layout.root / "say.py"
    program.write_text(
        "import os, sys\nopen(sys.argv[1], 'a').write(repr((sys.argv[2:], os.environ['LANE'], os.getcwd())) + '\\n')\n"
    )
    (house.layout.units / "studio-x@.service").write_text(
        f"[Unit]\nDescription=x %i\n[Service]\nEnvironment=LANE=%i 'A=b c'\nEnvironmentFile={env}\n"
        f"EnvironmentFile=-/not/there\nWorkingDirectory={house.layout.root}\n"
        f'ExecStartPre=-/not/there\nExecStart={sys.executable} {program} {out} ${{PORT}} $WORDS "${{WORDS}}" \\\n'
        "    '%%' $$ %p %I\n"
    )
    drop_in = house.layout.units / "studio-x@.service.d"
    drop_in.mkdir()
    (drop_in / "memory.conf").write_text("[Service]\nMemoryMax=1G\nEnvironment=LANE=of-the-drop-in\n")
    house.write("studio-y.service", SAYS_IT_MOVES, *NOTIFIES)
    house.start()
    house.units.start(["studio-x@blue-0.service"])
    wait_for(out.exists)
    wait_for(out.read_text)
    words = ["18787", "two", "words", "two words", "%", "$", "studio-x", "blue/0"]
    assert out.read_text() == f"{(words, 'of-the-drop-in', str(house.layout.root))!r}\n"


def test_a_drop_in_says_who_comes_last(house: House) -> None:
    out = house.layout.root / "out"
    code = f"import os, time\nopen({str(out)!r}, 'w').write(str(os.getpriority(os.PRIO_PROCESS, 0)))\ntime.sleep(600)\n"
    name = house.write("studio-a.service", code)
    (house.layout.units / f"{name}.d").mkdir()
    (house.layout.units / f"{name}.d" / "nice.conf").write_text("[Service]\nNice=19\n")
    house.start()
    wait_for(lambda: out.exists() and out.read_text())
    assert out.read_text() == "19"


@pytest.mark.parametrize(
    "line",
    [
        "WatchdogSek=5",
        "PrivateFoo=yes",
        "Type=dbus",
        "WorkingDirectory=%t/x",
        "TimeoutStopSec=soon",
        "ExecStart=two",
        "KillMode=none",
        "Nice=20",
        "Nice=low",
    ],
)
def test_an_unknown_directive_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "studio-a.service").write_text(f"[Service]\nExecStart=/bin/true\n{line}\n")
    with pytest.raises(UnitError):
        read_unit(tmp_path, "studio-a.service")


def test_the_repository_s_units_are_understood() -> None:
    folder = ROOT / "deploy" / "systemd"
    for name in [*lane_units("blue"), "studio-gpu@blue-0.service", "studio-ticker.service"]:
        unit = read_unit(folder, name)
        assert unit.notifies and unit.watchdog_s == 5 and unit.restart == "always", name


def test_nobody_who_manages_units_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UnitsError, match="up --from-units --root"):
        pick_units(Layout(tmp_path))


def test_units_are_picked_by_the_socket(house: House) -> None:
    house.write("studio-a.service", SAYS_IT_MOVES, *NOTIFIES)
    house.start()
    units = pick_units(house.layout)
    with pytest.raises(UnitsError, match="no such unit"):
        units.start(["studio-web@blue.service"])
    with pytest.raises(UnitsError, match="no name of a service"):
        units.start(["../studio-a.service"])
    units.disable(["studio-a.service"])
    assert not (house.layout.units / "studio.target.wants" / "studio-a.service").is_symlink()
    units.enable(["studio-a.service"])
    assert (house.layout.units / "studio.target.wants" / "studio-a.service").exists()


def test_a_long_path_has_a_socket_too(tmp_path: Path) -> None:
    house = House(tmp_path / ("x" * 60) / ("y" * 60))
    house.write("studio-a.service", SAYS_IT_MOVES, *NOTIFIES)
    try:
        house.start()
        assert house.state("studio-a.service") in ("active", "activating")
    finally:
        house.end()


# ---- words


def test_words_and_times() -> None:
    assert split_words("""a 'b c' "d \\"e" f\\ g ''""", where="here") == ["a", "b c", 'd "e', "f g", ""]
    assert put_variables(["${A}x", "$A", "$$A", "$B"], {"A": "1 2"}) == ["1 2x", "1", "2", "$A"]
    assert [parse_seconds(text, what="") for text in ("5", "200ms", "1min 30s", "1d", "infinity", "0")] == [
        5, 0.2, 90, 86400, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["plain", "https://a.b/c?d=e", "two words", 'q"uo$te`\\', "", "it's"])
def test_values_come_back_from_environment_files(tmp_path: Path, value: str) -> None:
    file = tmp_path / "a.env"
    file.write_text(f"NAME={quote(value)}\n")
    assert read_environment(file) == {"NAME": value}
    assert unquote(quote(value)) == value
    shown = subprocess.run(["sh", "-c", f'. {file}; printf %s "$NAME"'], capture_output=True, text=True, check=True)
    assert shown.stdout == value


def test_a_root_goes_in_front_of_every_path(tmp_path: Path) -> None:
    layout = Layout(Path("/srv/opt/qwenstudio/r"))
    text = "EnvironmentFile=-/etc/qwenstudio/a.env\nExecStart=/bin/sh -c '. \"/opt/qwenstudio/x\"'\n"
    moved = layout.put_in_front(text)
    assert moved == (
        "EnvironmentFile=-/srv/opt/qwenstudio/r/etc/qwenstudio/a.env\n"
        "ExecStart=/bin/sh -c '. \"/srv/opt/qwenstudio/r/opt/qwenstudio/x\"'\n"
    )
    assert Layout().put_in_front(text) == text


# ---- the pause between starts


def test_quick_ends_lengthen_the_pause(tmp_path: Path) -> None:
    file, now, pauses = tmp_path / "starts", 1000.0, []
    for _ in range(10):
        pauses.append(backoff.note_start(file, now))
        now += pauses[-1] + 1
    assert pauses == [0, 0, 0, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.note_start(file, now + 400) == 0
    assert backoff.note_start(file, 5.0) == 0, "after a boot the clock begins anew"
    file.write_text("rubbish")
    assert backoff.note_start(file, now) == 0


# ---- notify


@pytest.fixture
def ears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
        yield listener


def test_without_a_socket_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify.ready() and notify.watchdog(lambda: True) is None and notify.watch_server(1) is None


def test_words_arrive(ears: socket.socket) -> None:
    assert notify.ready("well")
    assert ears.recv(100) == b"READY=1\nSTATUS=well"


def test_the_watchdog_of_another_process_is_not_ours(ears: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_PID", "1")
    if os.getppid() != 1:
        assert notify.watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert notify.watchdog_s() == 2
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    assert notify.watchdog_s() == 2, "a server's worker speaks for its parent"


def test_who_cannot_say_whether_he_moves_does_not(caplog: pytest.LogCaptureFixture) -> None:
    assert notify.ask(lambda: True)
    assert not notify.ask(lambda: 1 / 0 > 0)


def test_a_server_moves_while_its_port_answers_or_requests_end(ears: socket.socket, tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        watch = notify.ServerWatch(deaf.getsockname()[1])
        watch.turn()
        notify.count_finished()
        watch.turn()
        watch.turn()
    assert ears.recv(100) == b"WATCHDOG=1", "the turn after a request had ended"
    ears.setblocking(False)
    with pytest.raises(BlockingIOError):
        ears.recv(100)


def test_a_silent_sibling_is_noticed(ears: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "probe", lambda port: True)
    watch = notify.ServerWatch(1)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    try:
        monkeypatch.setattr(os, "getppid", lambda: parent)
        file = tmp_path / f"alive-{child}"
        file.touch()
        now = time.monotonic()
        os.utime(file, (now, now))
        watch.turn()
        assert ears.recv(100) == b"WATCHDOG=1"
        os.utime(file, (now - 10, now - 10))
        watch.turn()
        assert ears.recv(100).startswith(b"WATCHDOG=trigger")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    watch.turn()
    assert ears.recv(100) == b"WATCHDOG=1"
    assert not file.exists()
