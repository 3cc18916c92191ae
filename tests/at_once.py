"""Several things that begin at the same moment, each in a thread with a connection of its own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from django.db import connections

from accounts.errors import StudioError


def at_once(acts: Sequence[Callable[[], object]]) -> Counter[str]:
    """How often each outcome was met: `done`, the code of a refusal, or any other error as Python shows it."""
    outcomes: list[str] = []  # appending is atomic
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        try:
            start.wait(timeout=30)
            act()
            outcomes.append("done")
        except StudioError as error:
            outcomes.append(error.code)
        except Exception as error:  # a thread's error would be lost otherwise
            outcomes.append(repr(error))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return Counter(outcomes)
