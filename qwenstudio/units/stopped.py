"""Ends its parent where somebody has stopped it (SIGSTOP). Runs alone, beside a process that is slow to start.

A stopped process says nothing, and the watchdog ends it after some seconds of silence; a GPU worker whose start takes
long has no such seconds to give away. That it is stopped can be seen from outside and is never mistaken for a busy
machine, so nobody has to wait. Where a debugger holds it (state `t`) nothing happens.
"""

import os
import signal
import sys
import time
from pathlib import Path

LOOK_S = 0.5
SEEN = 3
"""Looks in a row: whoever stops and continues a process for a moment is let."""


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped; raises OSError where there is none."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] == "T"


def watch(pid: int) -> None:
    """Until the parent is gone."""
    seen = 0
    while os.getppid() == pid:
        seen = seen + 1 if is_stopped(pid) else 0
        if seen == SEEN:
            print(f"process {pid} was stopped by somebody; ending it", file=sys.stderr, flush=True)
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(LOOK_S)


def main() -> None:
    """The parent's number is its only argument: it may have ended before we began."""
    # Signals to the parent's group are the parent's affair; we end with it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        watch(int(sys.argv[1]))
    except (OSError, ValueError, IndexError):
        return


if __name__ == "__main__":
    main()
