"""Wake-ups: RQ jobs that say only "there is work". Losing one costs at most a sweep (5 s), never work.

Redis keys, all RQ's own: `rq:queue:gpu-<lane>-<pool>` and `rq:queue:errands-<lane>` (lists of job ids),
`rq:workers:<queue>` (who listens), `rq:job:<id>`.
"""

from __future__ import annotations

import logging

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from accounts.valkey import breaker, redis_client
from generation.queue.jobs import ERRAND_TURN, GPU_TURN, StudioJob

logger = logging.getLogger(__name__)

_KEEP_S = 600  # a wake-up that nobody took: the sweep has long written another


def pool_queue(*, lane: str, pool: str) -> str:
    """The name of the only queue that a pool's workers listen to."""
    return f"gpu-{lane}-{pool}"


def errand_queue(*, lane: str) -> str:
    """The name of the queue of a lane's errand workers."""
    return f"errands-{lane}"


def wake_pool(*, lane: str, pool: str) -> bool:
    """Wake one worker of a pool; whether a wake-up is under way now. Takes at most a second or two, never raises."""
    return _wake(pool_queue(lane=lane, pool=pool), GPU_TURN, pool)


def wake_errands(lane: str) -> bool:
    """Wake an errand worker; likewise."""
    return _wake(errand_queue(lane=lane), ERRAND_TURN)


def _wake(queue: str, function: str, *args: str) -> bool:
    return breaker.attempt(f"wake {queue}", lambda: _add_job(redis_client(), queue, function, args))


def _add_job(connection: Redis, name: str, function: str, args: tuple[str, ...]) -> None:
    queue = Queue(name, connection=connection, job_class=StudioJob, serializer=JSONSerializer)
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.llen(queue.key)
        pipeline.scard(f"rq:workers:{name}")
        waiting, workers = pipeline.execute()
    if waiting >= max(1, workers):
        return  # each worker claims until nothing is left: more wake-ups than workers wake nobody
    # No time-out: RQ's would raise in the middle of a forward (deadlines are the worker's own).
    queue.enqueue_call(
        function, args=args, timeout=-1, ttl=_KEEP_S, result_ttl=0, failure_ttl=_KEEP_S, description=name
    )
