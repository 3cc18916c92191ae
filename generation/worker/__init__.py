"""The GPU worker: a door of the house, like HTTP. It fetches, calls a domain function, and answers.

`turn` is what a wake-up names. Importing this package loads neither torch nor Django's models, so that the web may name
it too.
"""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


def turn(pool: str) -> None:
    """One bounded turn: claim a pass and draw it. Runs inside `gpuworker` only."""
    from generation.worker.database import UNREACHABLE  # the models must be loaded
    from generation.worker.serve import current_worker

    worker = current_worker()
    if worker is None:
        raise RuntimeError("a wake-up for GPU workers was taken by another process")
    try:
        worker.turn()
    except UNREACHABLE as error:
        logger.warning("woken, but the database is out of reach: %s", error)
