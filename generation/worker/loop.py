"""The outer loop that GPU and errand workers share: claim until nothing is left, then wait for a wake-up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from django.db import connection

from generation.worker.database import UNREACHABLE
from generation.worker.stop import StopFlag

logger = logging.getLogger(__name__)

IDLE_S = 5.0  # the longest sleep between two claims
_BACK_OFF_S = 1.0


class Waiting(Protocol):
    """How a worker waits when there is nothing to do: `WakeUps`, or plain sleep."""

    def wait(self, seconds: float, *, stop: StopFlag) -> None:
        """Return at a wake-up, after the time, or when asked to end."""

    def leave(self) -> None:
        """The worker ends."""


def work(turn: Callable[[], bool], *, wakeups: Waiting, stop: StopFlag, idle_s: float = IDLE_S) -> None:
    """Run turns until asked to end. A turn says whether it found work.

    Neither Redis nor PostgreSQL going away ends it.
    """
    try:
        while not stop.asked:
            try:
                if turn():
                    continue
                wakeups.wait(idle_s, stop=stop)
            except UNREACHABLE as error:
                logger.warning("database out of reach, again in %.0f s: %s", _BACK_OFF_S, error)
                connection.close()
                stop.wait(_BACK_OFF_S)
    finally:
        wakeups.leave()
