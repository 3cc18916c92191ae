"""The outer loop: work that depends on neither Redis nor one connection to PostgreSQL."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from accounts.domain.sql import fetch_one
from generation.worker import loop
from generation.worker.errands import errand_turn
from generation.worker.stop import StopFlag
from generation.worker.wakeups import WakeUps

QUEUE = "gpu-blue-test"
woken: list[float] = []


def wake_up() -> None:
    woken.append(time.monotonic())


def make_wakeups(url: str, **options: object) -> WakeUps:
    connection = Redis.from_url(url, socket_timeout=3, socket_connect_timeout=1, **options)
    return WakeUps(queue=QUEUE, name=f"test-{time.monotonic_ns()}", connection=connection, job_class=Job)


@pytest.fixture
def stop() -> StopFlag:
    return StopFlag()


def test_wake_up_is_executed_in_this_thread(redis: Redis, redis_url: str, stop: StopFlag) -> None:
    woken.clear()
    Queue(QUEUE, connection=redis, serializer=JSONSerializer).enqueue(wake_up, result_ttl=0)
    wakeups = make_wakeups(redis_url)
    wakeups.wait(5, stop=stop)
    wakeups.leave()
    assert len(woken) == 1
    assert Queue(QUEUE, connection=redis, serializer=JSONSerializer).count == 0
    assert Queue(QUEUE, connection=redis, serializer=JSONSerializer).intermediate_queue.get_job_ids() == []


def test_waiting_ends_soon_when_asked_to_end(redis_url: str, redis: Redis, stop: StopFlag) -> None:
    wakeups = make_wakeups(redis_url)
    threading.Timer(0.2, stop.ask).start()
    started = time.monotonic()
    wakeups.wait(30, stop=stop)
    assert time.monotonic() - started < 20


def test_registers_again_after_a_flush(redis: Redis, redis_url: str, stop: StopFlag) -> None:
    wakeups = make_wakeups(redis_url)
    wakeups.wait(0.5, stop=stop)
    assert redis.scard("rq:workers") == 1
    redis.flushall()
    wakeups.wait(0.5, stop=stop)
    assert redis.scard("rq:workers") == 1
    assert redis.scard(f"rq:workers:{QUEUE}") == 1


def test_redis_refusing_is_survived(stop: StopFlag) -> None:
    wakeups = make_wakeups("redis://127.0.0.1:1/0")
    turns: list[float] = []

    def turn() -> bool:
        turns.append(time.monotonic())
        if len(turns) == 2:
            stop.ask()
        return False

    started = time.monotonic()
    loop.work(turn, wakeups=wakeups, stop=stop, idle_s=60)
    # It claims again after a second, not after the wait that Redis would have served.
    assert len(turns) == 2
    assert 0.5 < time.monotonic() - started < 40


def test_claims_until_nothing_is_left(redis: Redis, redis_url: str, stop: StopFlag) -> None:
    left = [True, True, True, False]

    def turn() -> bool:
        found = left.pop(0)
        if not left:
            stop.ask()
        return found

    loop.work(turn, wakeups=make_wakeups(redis_url), stop=stop)
    assert left == []


@pytest.mark.parametrize("where", ["before a statement", "before a scope", "in a transaction"])
def test_database_away_is_survived(
    redis: Redis, redis_url: str, stop: StopFlag, admin_sql: psycopg.Connection[tuple[Any, ...]], where: str
) -> None:
    turns = []

    def lose_connection() -> None:
        connection.ensure_connection()
        admin_sql.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.connection.info.backend_pid,))

    def turn() -> bool:
        turns.append(where)
        if len(turns) == 2:
            stop.ask()
            return errand_turn()
        with transaction.atomic() if where == "in a transaction" else nullcontext():
            lose_connection()
            if where == "before a statement":
                fetch_one("SELECT 1 AS one")
            return errand_turn()  # enters a scope before anything else

    loop.work(turn, wakeups=make_wakeups(redis_url), stop=stop, idle_s=0.1)
    assert turns == [where, where]


def test_second_request_to_end_changes_nothing(stop: StopFlag) -> None:
    stop.ask()
    time.sleep(0.05)
    stop.ask()
    assert stop.seconds >= 0.05
