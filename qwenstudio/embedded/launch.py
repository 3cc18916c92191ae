"""Becomes another program, under another account or tied to its parent's life. Runs alone: `python -I launch.py …`.

    launch.py [--namespace UID:GID | --account UID:GID] [--nice N] [--tie PID [--signal NAME]] -- PROGRAM ARGUMENT…

`--namespace`: a user namespace of our own in which we are UID:GID; outside of it files stay ours. PostgreSQL refuses
to run as root, and this satisfies it without opening any folder to another account.
`--account`: become that account for good.
`--nice`: leave the processor to others first; below 0 only root may.
`--tie`: get SIGTERM (or the signal named) when the process PID, our parent, dies. Linux does that by itself
(PR_SET_PDEATHSIG); elsewhere a small child looks every second.
The program keeps our process id.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import time

CLONE_NEWUSER = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
GRACE_S = 60.0


def enter_namespace(uid: int, gid: int) -> None:
    """Leave for a user namespace where we are `uid`:`gid`; raises OSError where the kernel or a sandbox forbids it."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")
    for name, content in (
        ("setgroups", "deny"),  # the kernel wants this before an unprivileged gid_map
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(content)


def become(uid: int, gid: int) -> None:
    """Give up root for `uid`:`gid`, without a way back."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def tie_to(parent: int, number: signal.Signals) -> None:
    """Arrange for a signal when `parent` dies."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), "prctl")
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)
    else:
        start_watcher(parent, number)


def start_watcher(parent: int, number: signal.Signals) -> None:
    """Fork a child that ends us when `parent` is gone, and itself when we are."""
    target = os.getpid()
    if os.fork() != 0:
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    while os.getppid() == target and is_alive(parent):
        time.sleep(1)
    deadline = time.monotonic() + GRACE_S
    while os.getppid() == target:
        os.kill(target, number)
        time.sleep(1)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
    os._exit(0)


def is_alive(pid: int) -> bool:
    """Whether the process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def ids(text: str) -> tuple[int, int]:
    """`UID:GID` as numbers."""
    uid, _, gid = text.partition(":")
    return int(uid), int(gid)


def main() -> None:
    """Read the arguments, change what they ask for, become the program."""
    parser = argparse.ArgumentParser(prog="launch")
    parser.add_argument("--namespace", type=ids)
    parser.add_argument("--account", type=ids)
    parser.add_argument("--nice", type=int)
    parser.add_argument("--tie", type=int)
    parser.add_argument("--signal", type=lambda name: signal.Signals[f"SIG{name}"], default=signal.SIGTERM)
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    if options.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
    if options.namespace:
        enter_namespace(*options.namespace)
    if options.account:
        become(*options.account)
    if options.tie:  # last: changing the account clears it
        tie_to(options.tie, options.signal)
    os.execvp(options.program[0], options.program)  # noqa: S606  (becoming it is the point)


if __name__ == "__main__":
    main()
