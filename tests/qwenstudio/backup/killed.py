"""A backup or a restore that is killed (SIGKILL, no clean-up) at a step.

`python -m tests.qwenstudio.backup.killed backup|restore FOLDER OWNER_URL MEDIA STEP|- [COUNT]`: at the step whose text
begins with STEP, or, with COUNT, after so many files of it. Without either it prints each step and ends.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from django.conf import settings

from qwenstudio.backup.keys import Keys
from qwenstudio.backup.make import Source, Wanted, back_up
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.restore import Choice, Target, restore

KEYS = Keys("s" * 50, (), ("k" * 32,))


class Deadly(Progress):
    """Kills its own process."""

    def __init__(self, step: str, count: int) -> None:
        super().__init__()
        self.at, self.after, self.seen, self.here = step, count, 0, False

    def step(self, text: str) -> None:
        print(text, flush=True)
        self.here = text.startswith(self.at)
        if self.here and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)

    def count(self, text: str, *, done: int, total: int, size: int = 0) -> None:
        self.seen += self.here
        if self.here and self.seen == self.after:
            os.kill(os.getpid(), signal.SIGKILL)


def main(what: str, root: str, owner_url: str, media: str, step: str, count: str = "0") -> None:
    settings.configure()
    progress = Deadly(step, int(count))
    if what == "backup":
        source = Source(owner_url, Path(media), Path("none.toml"), "r1", {}, KEYS)
        back_up(Path(root), source=source, wanted=Wanted(keep=2), progress=progress)
        return
    migrations = frozenset(tuple(line.split(".", 1)) for line in sys.stdin.read().split())
    target = Target(
        owner_url, Path(media), "r1", migrations, KEYS,  # type: ignore[arg-type]
        migrate=lambda: None, rebuild=lambda: None,
    )  # fmt: skip
    restore(Path(root), target=target, choice=Choice(), progress=progress)


if __name__ == "__main__":
    main(*sys.argv[1:])
