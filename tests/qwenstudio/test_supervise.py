"""The supervisor, with small programs in place of the studio's: restarts, stops, kills, strays."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import redis as redis_client

from qwenstudio import supervise
from qwenstudio.embedded import start
from qwenstudio.embedded.account import LAUNCH
from qwenstudio.processes import PROGRAMS, Program, environment_of, torch_environment, usable_cores
from qwenstudio.supervise import STATE, Backoff, Console, EmbeddedServer, Supervisor, end_strays

SLEEP = "import time; print('awake', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
PARENT = f"""
import subprocess, sys
p = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
print(p.pid, flush=True)
p.wait()
"""
POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("bye", flush=True)))
print("ready", flush=True)
time.sleep(600)
"""


def program(name: str, code: str, *, stop_s: float = 60.0) -> Program:
    return Program(name, "web", (sys.executable, "-u", "-c", code), stop_s=stop_s)


def wait_for(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Rig:
    """A supervisor whose loop the test turns by hand."""

    def __init__(self, var: Path) -> None:
        self.var, self.output = var, io.StringIO()
        self.console = Console(self.output)
        self.supervisor: Supervisor | None = None

    def run(self, *programs: Program, servers: Sequence[EmbeddedServer] = ()) -> Supervisor:
        self.supervisor = Supervisor(
            programs,
            environment=dict(os.environ),
            values={"port": 1},
            var=self.var,
            console=self.console,
            servers=servers,
        )
        self.supervisor.start()
        return self.supervisor

    def turn_until(self, condition: Callable[[], object], *, seconds: float = 60.0) -> None:
        assert self.supervisor is not None
        supervisor = self.supervisor

        def turn() -> object:
            supervisor._watch()
            return condition()

        wait_for(turn, seconds=seconds)

    @property
    def text(self) -> str:
        return self.output.getvalue()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    if made.supervisor is not None:
        made.supervisor.stop()


def test_lines_carry_their_speaker(rig: Rig) -> None:
    rig.run(program("one", "print('a\\nb')" + "; import time; time.sleep(600)"))
    wait_for(lambda: rig.text.count("\n") == 2)
    assert rig.text == "one       │ a\none       │ b\n"


def test_a_crashed_child_is_started_again_later_each_time(rig: Rig) -> None:
    supervisor = rig.run(program("bad", "raise SystemExit(70)"), program("good", SLEEP))
    good = supervisor.children[1].pid
    rig.turn_until(lambda: supervisor.children[0].restarts == 3)
    assert "bad ended (exit code 70); starting it again in 0.5 s" in rig.text
    assert "in 1 s" in rig.text
    assert "in 2 s" in rig.text
    assert supervisor.children[1].pid == good


def test_a_child_that_refuses_waits_longer_however_long_it_lived(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may load for minutes before it finds the file that is broken."""
    for name, seconds in (("FIRST_REFUSED_DELAY_S", 0.1), ("LONGEST_REFUSED_DELAY_S", 0.4)):
        monkeypatch.setattr(supervise, name, seconds)
    loading = Program("worker", "web", (sys.executable, "-c", "raise SystemExit(3)"), healthy_after_s=0.0)
    supervisor = rig.run(loading)
    rig.turn_until(lambda: supervisor.children[0].restarts == 4)
    said = [line.partition("│ ")[2] for line in rig.text.splitlines()]
    assert said == [
        f"worker cannot work: its line above says why; trying it again in {seconds} s"
        for seconds in (0.1, 0.2, 0.4, 0.4)
    ]


def test_a_crash_after_refusals_and_a_healthy_life_is_soon_repaired() -> None:
    backoff = Backoff()
    assert [backoff.lengthen_refused() for _ in range(8)] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.lengthen(healthy=False) == 30
    assert backoff.lengthen(healthy=True) == 0.5


def test_a_killed_child_takes_its_own_children_along(rig: Rig) -> None:
    supervisor = rig.run(program("parent", PARENT))
    wait_for(lambda: re.search(r"\d\n", rig.text))
    grandchild = int(re.findall(r"\d+", rig.text)[0])
    first = supervisor.children[0].pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    rig.turn_until(lambda: supervisor.children[0].pid not in (None, first))
    assert "killed by SIGKILL" in rig.text
    wait_for(lambda: not psutil.pid_exists(grandchild))


def test_a_dead_server_is_started_again_once_its_port_is_free(rig: Rig, tmp_path: Path) -> None:
    services = start(tmp_path / "var", log=lambda text: None, postgres=False, durable=False, tie=True)
    try:
        rig.run(servers=services.ours)
        first, port = services.valkey, services.ours[0].port
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        first.wait(timeout_s=10)
        with socket.create_server(("127.0.0.1", port)) as stranger:
            stranger.setblocking(False)
            rig.turn_until(lambda: f"Valkey cannot be started: another program took port {port}" in rig.text)
            with pytest.raises(BlockingIOError):  # it learned no password
                stranger.accept()
        rig.turn_until(lambda: f"Valkey: started again on port {port}" in rig.text)
        assert "Valkey ended (see " in rig.text
        with redis_client.Redis.from_url(services.redis_url) as client:
            wait_for(lambda: answers(client))
        second = services.valkey
        assert second is not None
        assert second.pid != first.pid
    finally:
        services.stop()
    assert not second.is_running(), "the new one is stopped with the studio"


def answers(client: redis_client.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis_client.ConnectionError:
        return False


def test_a_disk_that_takes_nothing_ends_no_studio(rig: Rig, tmp_path: Path) -> None:
    supervisor = rig.run(program("bad", "raise SystemExit(1)"))
    supervisor.state_file = tmp_path / "gone" / STATE
    rig.turn_until(lambda: "cannot be written" in rig.text)
    rig.turn_until(lambda: supervisor.children[0].restarts == 2)


def test_stop_is_clean_and_stubborn_children_are_killed(rig: Rig) -> None:
    supervisor = rig.run(program("polite", POLITE), program("stubborn", STUBBORN, stop_s=1.0))
    pids = [child.pid for child in supervisor.children]
    wait_for(lambda: "awake" in rig.text and "ready" in rig.text)
    begin = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - begin < 60, "it must not wait for the stubborn one's ten minutes"
    assert "polite    │ bye" in rig.text
    assert "stubborn does not stop; killing it" in rig.text
    assert not [pid for pid in pids if pid is not None and psutil.pid_exists(pid)]


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from qwenstudio.processes import Program
from qwenstudio.supervise import Console, Supervisor
programs = [Program(n, "web", (sys.executable, "-c", {SLEEP!r})) for n in ("one", "two")]
s = Supervisor(programs, environment=dict(os.environ), values={{}}, var=Path(sys.argv[1]), console=Console(sys.stderr))
s.start()
print(*[child.pid for child in s.children], flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert all(psutil.pid_exists(pid) for pid in pids)
    process.kill()
    process.wait()
    wait_for(lambda: not [pid for pid in pids if psutil.pid_exists(pid)])


def test_the_watcher_ends_a_child_where_the_kernel_does_not() -> None:
    """What other systems than Linux use; it works here too."""
    launch = f"""
import runpy, sys
sys.platform, sys.argv = "darwin", sys.argv[1:]
runpy.run_path({str(LAUNCH)!r}, run_name="__main__")
"""
    code = f"""
import os, subprocess, sys
line = [sys.executable, "-c", {launch!r}, "launch", "--tie", str(os.getpid()), "--", sys.executable, "-c", {SLEEP!r}]
print(subprocess.Popen(line, stdout=subprocess.DEVNULL).pid, flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    wait_for(lambda: len(psutil.Process(pid).children()) == 1)
    watcher = psutil.Process(pid).children()[0].pid
    process.kill()
    process.wait()
    wait_for(lambda: not psutil.pid_exists(pid) and not psutil.pid_exists(watcher))


def test_strays_are_ended_and_strangers_spared(rig: Rig, tmp_path: Path) -> None:
    stray = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True, stdout=subprocess.DEVNULL)
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True, stdout=subprocess.DEVNULL)
    created = psutil.Process(stray.pid).create_time()
    (tmp_path / STATE).write_text(
        f'{{"children": {{"web": {{"pid": {stray.pid}, "created": {created}}}, '
        f'"ticker": {{"pid": {stranger.pid}, "created": {created - 1000}}}}}}}'
    )
    end_strays(tmp_path, console=rig.console)
    assert not psutil.pid_exists(stray.pid)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_torch_processes_share_the_cores_and_sleep_while_they_wait() -> None:
    assert torch_environment(1)["OMP_NUM_THREADS"] == str(usable_cores())
    assert torch_environment(10_000)["OMP_NUM_THREADS"] == "1"
    worker = next(program for program in PROGRAMS if program.torch)
    found = environment_of(worker, base={"OMP_NUM_THREADS": "7"}, torch_processes=1)
    assert (found["OMP_WAIT_POLICY"], found["GOMP_SPINCOUNT"]) == ("PASSIVE", "0")
    assert found["OMP_NUM_THREADS"] == "7", "what the user set stays"
    assert found["STUDIO_PROCESS"] == "worker"
    web = next(program for program in PROGRAMS if program.name == "web")
    assert "OMP_WAIT_POLICY" not in environment_of(web, base={}, torch_processes=1)
