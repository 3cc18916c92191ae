"""Runs the studio's own Redis or Valkey and tells systemd that it moves: `redisguard PROGRAM CONFIGURATION`.

Neither of them feeds a watchdog, so one that hangs or was stopped would stay so: nothing lost, because the sweep does
without it, but every event late until somebody notices. This asks it PING every second, as `notify.py` asks the others.
Any answer counts, also that it still loads. Standard library only.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType

from qwenstudio import notify

PAUSE_S = 1.0
ANSWER_S = 1.0


def address(configuration: str) -> tuple[str, int]:
    """Where it listens, by its own configuration."""
    found = {}
    for line in configuration.splitlines():
        words = line.split()
        if len(words) > 1:
            found[words[0]] = words[1]
    return found.get("bind", "127.0.0.1"), int(found.get("port", "6379"))


def answer(where: tuple[str, int]) -> str:
    """What it says to PING, shown no password; empty where it says nothing."""
    try:
        with socket.create_connection(where, timeout=ANSWER_S) as talk:
            talk.settimeout(ANSWER_S)
            talk.sendall(b"PING\r\n")
            return talk.recv(200).decode("ascii", "replace")
    except OSError:
        return ""


def guard(server: subprocess.Popen[bytes], where: tuple[str, int]) -> int:
    """Ask until it has ended; its exit code."""
    ready = False
    while True:
        said = answer(where)
        if said and server.poll() is None:
            notify.send("WATCHDOG=1")
            if not ready and not said.startswith("-LOADING"):
                notify.ready()
                ready = True
        try:
            return server.wait(PAUSE_S if ready else PAUSE_S / 10)
        except subprocess.TimeoutExpired:
            continue


def main(arguments: list[str]) -> int:
    """Start it, hand on the signals that end it, and end with it."""
    program, configuration = arguments
    where = address(Path(configuration).read_text(encoding="utf-8"))
    server = subprocess.Popen([program, configuration])

    def hand_on(number: int, _: FrameType | None) -> None:
        server.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    code = guard(server, where)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
