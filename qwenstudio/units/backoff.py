"""Waits before a start that follows too many others: `ExecStartPre=` of every unit. Runs alone, on any Python.

systemd's own RestartSteps= is new (254), and its counter never forgets: a worker that is recycled once a day would wait
longest after a week. Here starts of the last five minutes count, in the unit's runtime folder: three are free, each
further one waits twice as long as the one before, at most half a minute.
"""

import os
import sys
import time
from pathlib import Path

WINDOW_S = 300.0
FREE = 3
LONGEST_S = 30.0


def pause_after(starts: int) -> float:
    """Seconds to wait before one more start, after `starts` within the window."""
    return 0.0 if starts < FREE else min(LONGEST_S, 2.0 ** min(starts - FREE, 10))


def note_start(file: Path, now: float) -> float:
    """Write this start down and say how long it has to wait."""
    try:
        words = file.read_text(encoding="ascii").split()
        starts = [float(word) for word in words]
    except (OSError, ValueError):
        starts = []
    starts = [start for start in starts if now - WINDOW_S < start <= now]  # after a boot the clock begins anew
    pause = pause_after(len(starts))
    try:
        file.write_text("\n".join(str(start) for start in [*starts, now + pause][-20:]), encoding="ascii")
    except OSError as error:
        print(f"{file} cannot be written: {error}", file=sys.stderr)
    return pause


def main() -> None:
    """Wait as long as it takes."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if not folder:
        return
    pause = note_start(Path(folder, "starts"), time.monotonic())
    if pause:
        print(f"started too often within five minutes; waiting {pause:g} s", file=sys.stderr, flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    main()
