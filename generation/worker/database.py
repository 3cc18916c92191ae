"""Talking to PostgreSQL from a process that outlives its restarts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connection

logger = logging.getLogger(__name__)

# Out of reach, restarting, or the connection broke: another try may do. InternalError is what psycopg makes of "session
# ended: idle in a transaction" (25P03), which a process hears that was frozen and wakes up.
UNREACHABLE = (OperationalError, InterfaceError, InternalError)
PATIENCE_S = 120.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the database said. After a repeat it is ambiguous: the first try may have been committed unheard."""

    value: T
    repeated: bool


def insist(act: Callable[[], T], *, what: str, patience_s: float = PATIENCE_S) -> Answer[T]:
    """Run `act` (one transaction of its own) until the database answers, each time on a new connection.

    Every act here is fenced, so a repeat of one that was committed changes nothing. Raises what the database raised
    last when it stays away for `patience_s` seconds.
    """
    until = time.monotonic() + patience_s
    pause, repeated = 0.2, False
    while True:
        try:
            return Answer(act(), repeated)
        except UNREACHABLE as error:
            connection.close()
            if time.monotonic() + pause > until:
                raise
            logger.warning("database out of reach while I %s, again in %.1f s: %s", what, pause, error)
        time.sleep(pause)
        pause, repeated = min(2 * pause, 2.0), True
