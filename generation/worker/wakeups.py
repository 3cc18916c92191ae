"""Waiting for a wake-up: RQ's SimpleWorker on one queue, without its loop.

Wake-ups only make things quicker: whoever waits here claims from PostgreSQL again after `wait`, woken or not. RQ's own
`work()` is not used: it installs signal handlers that write to Redis, and it does not return while Redis is away.
"""

from __future__ import annotations

import logging
import time

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty

from generation.worker.stop import StopFlag

logger = logging.getLogger(__name__)

_SLICE_S = 1  # how long one blocking read lasts: a request to end is seen after it
_BACK_OFF_S = 1.0


class NoDeathPenalty(BaseDeathPenalty):
    """RQ's would raise in the middle of a forward; deadlines are the phase clock's."""

    def setup_death_penalty(self) -> None:
        return None

    def cancel_death_penalty(self) -> None:
        return None


class Listener(SimpleWorker):
    """Executes a job in this process and thread (CUDA cannot survive a fork)."""

    death_penalty_class = NoDeathPenalty
    log_result_lifespan = False

    def _set_connection(self, connection: Redis) -> Redis:
        """Leave the time-outs alone: RQ raises them to seven minutes, which a hanging Redis would cost us."""
        return connection


class WakeUps:
    """One queue's wake-ups. Listening to a single queue makes RQ move a job instead of popping it."""

    def __init__(self, *, queue: str, name: str, connection: Redis, job_class: type[Job]) -> None:
        self._queue = Queue(queue, connection=connection, job_class=job_class, serializer=JSONSerializer)
        self._connection = connection
        self._name = name
        self._job_class = job_class
        self._listener: Listener | None = None
        self._down = False

    def wait(self, seconds: float, *, stop: StopFlag) -> None:
        """Execute the next wake-up, or return after `seconds` (sooner when asked to end). Never raises for Redis."""
        until = time.monotonic() + seconds
        while not stop.asked and time.monotonic() < until:
            try:
                if self._take_one():
                    return
            except (RedisError, OSError) as error:
                self._say_down(error)
                stop.wait(_BACK_OFF_S)
                return

    def leave(self) -> None:
        """Sign off, as far as Redis can be reached."""
        if self._listener is None:
            return
        try:
            self._listener.register_death()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            logger.warning("could not sign off in Redis: %s", error)

    def _take_one(self) -> bool:
        listener = self._sign_on()
        try:
            found = Queue.dequeue_any(
                [self._queue],
                timeout=_SLICE_S,
                connection=self._connection,
                job_class=self._job_class,
                serializer=JSONSerializer,
            )
        except DequeueTimeout:
            found = None
        if self._down:
            self._down = False
            logger.info("Redis answers again")
        if found is None:
            return False
        listener.execute_job(*found)
        return True

    def _sign_on(self) -> Listener:
        """Show this process among RQ's workers, again after a flush."""
        if self._listener is None:
            self._listener = Listener(
                [self._queue],
                name=self._name,
                connection=self._connection,
                job_class=self._job_class,
                serializer=JSONSerializer,
            )
        listener = self._listener
        if not self._connection.hexists(listener.key, "birth"):
            self._connection.delete(listener.key)  # a heartbeat after a flush leaves half a hash behind
            listener.register_birth()  # type: ignore[no-untyped-call]
        listener.heartbeat()
        if listener.should_run_maintenance_tasks:
            listener.run_maintenance_tasks()  # type: ignore[no-untyped-call]
        return listener

    def _say_down(self, error: Exception) -> None:
        if not self._down:
            self._down = True
            logger.warning("Redis is away, claiming from PostgreSQL every second: %s", error)
