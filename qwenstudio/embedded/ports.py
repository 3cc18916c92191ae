"""Free ports on loopback, and which process is behind one."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil

HOST = "127.0.0.1"


def free_port() -> int:
    """A port nobody listens on now; the caller tries again when somebody was faster."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether we could listen on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def find_process(pid: int, *, program: str, mark: Path) -> psutil.Process | None:
    """The process `pid` if it runs `program` with `mark` among its arguments: a reused pid is not ours."""
    try:
        process = psutil.Process(pid)
        line = process.cmdline()
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    if not line or Path(line[0]).name.split(":")[0] != program:
        return None
    return process if str(mark) in " ".join(line) else None


def search_process(*, program: str, mark: Path) -> psutil.Process | None:
    """The same among all processes, for when a pid file is gone but its server is not."""
    for pid in psutil.pids():
        if (found := find_process(pid, program=program, mark=mark)) is not None:
            return found
    return None


def find_orphans(*, program: str, folder: Path) -> list[psutil.Process]:
    """Workers of a dead server: named `program: …`, at work in `folder`, their parent somewhere else."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if line and line[0].startswith(f"{program}: ") and process.cwd() == str(folder.resolve()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for process in found if not works_in(process.ppid(), folder)]


def works_in(pid: int, folder: Path) -> bool:
    """Whether the process lives and has `folder` as its working directory."""
    try:
        return bool(psutil.Process(pid).cwd() == str(folder.resolve()))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def listens(process: psutil.Process, port: int) -> bool:
    """Whether it is this process that listens on `port`."""
    try:
        connections = process.net_connections(kind="tcp4")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections)
