"""Wake-ups and events: few, harmless, and never in anybody's way."""

from __future__ import annotations

from uuid import uuid4

import orjson
import pytest
from django.conf import settings
from redis import Redis
from rq import Queue
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.serializers import JSONSerializer

from accounts.valkey import breaker, redis_client
from generation.queue import progress
from generation.queue.jobs import GPU_TURN, ForeignJob, StudioJob
from generation.queue.progress import publish
from generation.queue.wake import errand_queue, pool_queue, wake_errands, wake_pool


def test_one_wake_up_without_workers(redis: Redis) -> None:
    assert all(wake_pool(lane="blue", pool="demo") for _ in range(5))
    assert redis.llen("rq:queue:gpu-blue-demo") == 1
    [id] = redis.lrange("rq:queue:gpu-blue-demo", 0, -1)  # type: ignore[misc]
    job = StudioJob.fetch(id.decode(), connection=redis)
    assert (job.func_name, list(job.args), job.timeout) == (GPU_TURN, ["demo"], -1)


def test_as_many_as_workers(redis: Redis) -> None:
    redis.sadd("rq:workers:gpu-blue-demo", "a", "b", "c")
    for _ in range(6):
        wake_pool(lane="blue", pool="demo")
    assert redis.llen("rq:queue:gpu-blue-demo") == 3


def test_errands(redis: Redis) -> None:
    assert wake_errands("green") and redis.llen(f"rq:queue:{errand_queue(lane='green')}") == 1
    assert pool_queue(lane="green", pool="big") == "gpu-green-big"


@pytest.mark.parametrize("function", ["os.system", "generation.domain.sweep.sweep", "generation.worker"])
def test_no_foreign_function_runs(redis: Redis, function: str) -> None:
    queue = Queue("gpu-blue-demo", connection=redis, job_class=Job, serializer=JSONSerializer)
    job = StudioJob.fetch(queue.enqueue_call(function, args=("x",)).id, connection=redis)
    with pytest.raises(ForeignJob):
        job.perform()


def test_no_strange_arguments(redis: Redis) -> None:
    queue = Queue("gpu-blue-demo", connection=redis, job_class=Job, serializer=JSONSerializer)
    for args, kwargs in ((([1],), {}), (("x" * 41,), {}), ((), {"pool": "demo"})):
        job = StudioJob.fetch(queue.enqueue_call(GPU_TURN, args=args, kwargs=kwargs).id, connection=redis)
        with pytest.raises(ForeignJob):
            job.perform()


def test_a_pickle_is_never_opened(redis: Redis) -> None:
    queue = Queue("gpu-blue-demo", connection=redis)  # RQ's default serializer
    job = StudioJob.fetch(queue.enqueue_call(GPU_TURN, args=("demo",)).id, connection=redis)
    with pytest.raises(DeserializationError):
        job.perform()


def test_events(redis: Redis) -> None:
    tenant, generation = uuid4(), uuid4()
    assert publish(tenant=tenant, generation=generation, kind="progress", data={"step": 1, "steps": 4})
    [(_, fields)] = redis.xrange("qs:bus")  # type: ignore[misc]
    assert fields[b"t"].decode() == str(tenant) and fields[b"g"].decode() == str(generation)
    assert fields[b"k"] == b"progress" and orjson.loads(fields[b"d"]) == {"step": 1, "steps": 4}


def test_redis_down_is_said_and_not_raised(monkeypatch: pytest.MonkeyPatch, redis: Redis) -> None:
    monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:9/0")
    redis_client.cache_clear()
    assert not wake_pool(lane="blue", pool="demo") and breaker.rests
    with monkeypatch.context() as resting:
        resting.setattr(progress, "redis_client", lambda: pytest.fail("it rests: nobody asks"))
        assert not publish(tenant=uuid4(), generation=uuid4(), kind="queued")
    monkeypatch.undo()
    redis_client.cache_clear()
    breaker.reset()
    assert wake_pool(lane="blue", pool="demo")
