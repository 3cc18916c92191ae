"""The errand worker: the GPU worker's loop around errands. Loads no torch."""

from __future__ import annotations

import logging
import os
import socket

from accounts.domain import mail  # noqa: F401  (registers the handler that sends e-mails)
from accounts.domain.errands import claim_errand, run_errand
from accounts.logcontext import bind_log
from accounts.valkey import blocking_connection
from generation.domain import remove  # noqa: F401  (registers the handler that deletes files)
from generation.queue.jobs import StudioJob
from generation.queue.wake import errand_queue
from generation.worker import loop
from generation.worker.database import insist
from generation.worker.stop import StopFlag
from generation.worker.wakeups import WakeUps

logger = logging.getLogger(__name__)


def serve_errands(*, lane: str, stop: StopFlag) -> None:
    """Run errands until asked to end. One at a time: a long one is another process's reason to exist."""
    wakeups = WakeUps(
        queue=errand_queue(lane=lane),
        name=f"errands-{socket.gethostname()}-{os.getpid()}",
        connection=blocking_connection(),
        job_class=StudioJob,
    )
    logger.info("errand worker is ready")
    loop.work(errand_turn, wakeups=wakeups, stop=stop)


def errand_turn() -> bool:
    """Claim one errand and run it; whether there was one."""
    claimed = claim_errand(f"{socket.gethostname()}-{os.getpid()}")
    if claimed is None:
        return False
    with bind_log(tenant=claimed.tenant, errand=claimed.id, kind=claimed.kind):
        # A handler that fails is written down by run_errand; what comes through here is the database going away.
        outcome = insist(lambda: run_errand(claimed), what="run an errand").value
        logger.info("errand %s", outcome)
    return True
