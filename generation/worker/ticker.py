"""The ticker: one process of any number sweeps, every five seconds, directly and through no queue."""

from __future__ import annotations

import logging
import threading
import time

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from accounts.domain.expired import forget_expired
from generation.domain.lostcalls import forget_calls
from generation.domain.retention import ask_retention
from generation.domain.selections import forget_selections
from generation.domain.storage import janitor
from generation.domain.stored import rebuild_all_stored
from generation.domain.sweep import sweep
from generation.meters import SWEPT_AT
from generation.worker.clock import PhaseClock
from generation.worker.database import UNREACHABLE
from generation.worker.stop import StopFlag
from qwenstudio import notify

logger = logging.getLogger(__name__)

EVERY_S = 5.0
CLEAN_EVERY_S = 3600.0
LOCK = 0x71735F7469636B65  # "qs_ticke": the advisory lock's key, the same in every lane
SWEEP_S = 30.0  # milliseconds in practice; one that takes so long waits for what will not come
SILENT_S = 15  # a holder that says nothing for so long (three ticks) is frozen: its session ends, and with it the lock


def tick(*, stop: StopFlag, every_s: float = EVERY_S) -> None:
    """Sweep until asked to end. The lock is its session's: a dead holder frees it by dying, a frozen one by silence."""
    holder, cleaned_at = False, time.monotonic()
    clock = PhaseClock()
    notify.watchdog(lambda: clock.find_overdue() is None)
    notify.ready()
    while not stop.asked:
        started = time.monotonic()
        clock.enter("ticker", "sweep", "sweep", allow_s=SWEEP_S)
        try:
            held = _hold_lock()
            if held and not holder:
                logger.info("ticker holds the lock and sweeps")
            holder = held
            if holder:
                report = sweep()
                logger.debug("swept: %s", report)
                SWEPT_AT.labels(settings.STUDIO_LANE).set_to_current_time()
                if time.monotonic() - cleaned_at > CLEAN_EVERY_S:
                    cleaned_at = time.monotonic()
                    # A large folder takes minutes to look through, and sweeps cannot wait for that.
                    threading.Thread(target=clean_files, name="janitor", daemon=True).start()
        except UNREACHABLE as error:
            logger.warning("database out of reach, the next tick tries again: %s", error)
            connection.close()
            holder = False
        except ImproperlyConfigured:
            raise  # the database's role is a wrong one, which no later tick changes
        except Exception:  # one bad row must not stop the sweeps that others wait for
            logger.exception("sweep failed")
        clock.leave("ticker")
        stop.wait(max(0.1, every_s - (time.monotonic() - started)))
    notify.stopping()
    connection.close()


def clean_files() -> None:
    """Compare files and rows once, count what they take, forget what has ended; over a connection of this thread."""
    try:
        report = janitor()
        logger.info("janitor: %d images looked at, %d files without a row", report.checked, len(report.orphans))
        rebuild_all_stored()
        logger.info("janitor: %d sessions and links have ended and are forgotten", forget_expired())
        logger.info("janitor: %d tenants have pictures that their plans keep no longer", ask_retention())
        forget_selections()
        logger.info("janitor: %d chat calls were kept long enough", forget_calls())
    except Exception:  # the next hour tries again
        logger.exception("janitor failed")
    finally:
        connection.close()


def _hold_lock() -> bool:
    """Whether this connection holds the ticker's lock, taking it where it is free."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('idle_session_timeout', %s, false)", (f"{SILENT_S}s",))
        # Session locks count: asking again for a held one would add to it, so look first.
        cursor.execute(
            "SELECT CASE WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            " AND granted AND (classid::bigint << 32) + objid::bigint = %(key)s) THEN true"
            " ELSE pg_try_advisory_lock(%(key)s) END",
            {"key": LOCK},
        )
        row = cursor.fetchone()
    return bool(row and row[0])
