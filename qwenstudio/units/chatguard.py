"""Runs `transformers serve` for one model and ends it where it is dead: `chatguard PORT MODEL [OPTION…]`.

The server listens on loopback alone, stays off the network and serves this model only; still everybody on the machine
may unload it (`/reset`), so other people's accounts do not belong there. When the thread that answers everybody
dies, the process lives on and says 503 for ever: then, and where it says nothing for a minute, this ends it and itself,
for whoever starts both again. systemd hears that it moves (`notify.py`). Standard library only.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

from qwenstudio import notify

PAUSE_S = 1.0
ANSWER_S = 2.0
SILENT_S = 60.0
DEAD = 4
"""Our exit code where the server had to be ended."""
STOP_S = 15.0
FIXED = ("--host", "--port", "--enable-cors", "--trust-remote-code")
"""Options that nobody may set: they are what keeps the server to itself."""
SERVE = (
    "--host", "127.0.0.1", "--log-level", "error",
    # Without it one thread serves everybody, and a request that nobody waits for keeps all others waiting.
    "--continuous-batching",
)  # fmt: skip
BOUNDS = {"--cb-num-blocks": "256", "--cb-max-batch-tokens": "512"}
"""Without them its cache takes nearly all memory that is free."""
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
NOISE = ('HTTP/1.1" 200 OK', "Loading weights:", "INFO:     Waiting for application", "INFO:     Started server")
"""Lines that say that all is well; calls are in the studio's own log."""


def command(port: str, model: str, options: list[str]) -> list[str]:
    """The server's command line. Raises ValueError for an option that nobody may set."""
    for option in options:
        if option.partition("=")[0] in FIXED:
            raise ValueError(f"{option} cannot be set: it is what keeps the server to itself")
    bounds = [word for name, value in BOUNDS.items() if name not in options for word in (name, value)]
    program = [sys.executable, "-m", "transformers.cli.transformers", "serve", model]
    return [*program, *SERVE, "--port", port, *bounds, *options]


def ask(port: str) -> int:
    """The status of `/health`; 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=ANSWER_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def guard(server: subprocess.Popen[bytes], port: str, *, silent_s: float = SILENT_S) -> int:
    """Ask until it has ended; its exit code, or `DEAD` where it was ended."""
    well: float | None = None  # when it last said so; None while it loads
    while True:
        status = ask(port)
        now = time.monotonic()
        if status == http.client.OK and server.poll() is None:
            if well is None:
                notify.ready()
            notify.send("WATCHDOG=1")
            well = now
        elif well is not None and (status >= http.client.INTERNAL_SERVER_ERROR or now - well > silent_s):
            print(f"the server is dead ({status or 'no answer'}): ending it", flush=True)
            return end(server) or DEAD
        try:
            return server.wait(PAUSE_S if well is not None else PAUSE_S / 5)
        except subprocess.TimeoutExpired:
            continue


def end(server: subprocess.Popen[bytes]) -> int:
    """SIGTERM, then SIGKILL; 0, for the caller has a code of its own."""
    server.terminate()
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    return 0


def relay(server: subprocess.Popen[bytes]) -> None:
    """Its output, without a line for each of our questions."""
    assert server.stdout is not None  # noqa: S101  (we asked for a pipe)
    for line in server.stdout:
        text = line.decode(errors="replace").rstrip()
        if text and not any(noise in text for noise in NOISE):
            print(text, flush=True)


def main(arguments: list[str]) -> int:
    """Start it, hand on the signals that end it, and end with it."""
    port, model, *options = arguments
    server = subprocess.Popen(
        command(port, model, options),
        env={**os.environ, **OFFLINE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    asked = False

    def hand_on(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = True
        server.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    threading.Thread(target=relay, args=(server,), daemon=True).start()
    code = guard(server, port)
    if asked:  # it ends by the signal, and that is well
        return 0
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
