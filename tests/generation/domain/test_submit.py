"""Taking requests: all or nothing, once per idempotency key, whatever Redis does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection
from redis import Redis

from accounts.domain.callers import Caller
from accounts.errors import InvalidRequest, QuotaExceeded
from accounts.tenancy import in_tenant
from accounts.valkey import breaker, redis_client
from generation.domain.request import GenerationRequest
from generation.domain.submit import Submitted, submit_generation
from generation.errors import KeyReused, ModelNotFound, QueueFull
from generation.models import Model, ModelGrant
from tests.factories import Person
from tests.generation.domain.desk import Look, check_books, submit

REQUEST = GenerationRequest(model="demo", prompt="a red circle", width=64, height=64, seed=7)


def send(
    caller: Caller, key: str | None = None, body: str = "b" * 64, request: GenerationRequest = REQUEST
) -> Submitted:
    """As one request of the web does it: the connection goes back to the pool at its end."""
    try:
        with in_tenant(caller.tenant):
            return submit_generation(caller=caller, request=request, idempotency_key=key, body_sha256=body)
    finally:
        connection.close()


def limited(person: Person, **limits: int) -> Caller:
    return replace(person.caller, plan=replace(person.caller.plan, **limits))


def test_row_ledger_clock_wake_up_and_event(alice: Person, look: Look, redis: Redis) -> None:
    id = submit(alice.key_caller, n=2, metadata={"a": 1})
    row = look('SELECT status, fence, lane, pool, n, seed, estimate_ms, "user", key, params ->> \'metadata\' '
               "FROM generation_generation WHERE id = %s", id)  # fmt: skip
    assert row == [("queued", 0, "blue", "demo", 2, 7, 120, alice.user.pk, alice.key.pk, '{"a": 1}')]
    assert look("SELECT metric, amount, kind FROM accounts_ledgerentry ORDER BY metric") == [
        ("gpu_ms", 120, "reserve"), ("images", 2, "reserve"),
    ]  # fmt: skip
    assert look("SELECT queued, queued_ms, running FROM generation_fairclock") == [(1, 120, 0)]
    assert redis.llen("rq:queue:gpu-blue-demo") == 1
    assert [fields[b"k"] for _, fields in redis.xrange("qs:bus")] == [b"queued"]  # type: ignore[union-attr]
    check_books(look)


def test_many_submits_leave_one_wake_up(alice: Person, redis: Redis) -> None:
    for _ in range(5):
        submit(alice.caller)
    assert redis.llen("rq:queue:gpu-blue-demo") == 1


def test_random_seed_where_none_was_given(alice: Person, look: Look) -> None:
    submit(alice.caller, seed=None)
    submit(alice.caller, seed=None)
    seeds = {row[0] for row in look("SELECT seed FROM generation_generation")}
    assert len(seeds) == 2 and all(0 <= seed < 2**32 for seed in seeds)


def test_same_key_same_body(alice: Person, look: Look) -> None:
    first, second = send(alice.caller, "k1"), send(alice.caller, "k1")
    assert not first.replayed and second.replayed and first.id == second.id
    assert look("SELECT count(*) FROM generation_generation") == [(1,)]
    check_books(look)


def test_what_was_accepted_is_answered_so_whatever_has_become_of_model_and_plan(alice: Person, look: Look) -> None:
    """The answer was lost on its way; a refusal now would let the client believe that nothing was charged."""
    first = send(alice.caller, "k1")
    Model.objects.update(enabled=False)
    again = send(limited(alice, images_per_day=0, max_pixels=256), "k1")
    assert again.replayed and again.id == first.id
    with pytest.raises(ModelNotFound):
        send(alice.caller, "k2")


def test_same_key_other_body(alice: Person, look: Look) -> None:
    send(alice.caller, "k1")
    with pytest.raises(KeyReused):
        send(alice.caller, "k1", body="c" * 64)
    assert look("SELECT count(*) FROM generation_generation") == [(1,)]


def test_another_callers_key_is_another_key(alice: Person, bob: Person, mallory: Person) -> None:
    ids = {send(person.caller, "k1").id for person in (alice, bob, mallory)} | {send(alice.key_caller, "k1").id}
    assert len(ids) == 4


def test_a_key_of_yesterday_is_free_again(alice: Person, look: Look) -> None:
    first = send(alice.caller, "k1")
    look("UPDATE generation_idempotency SET created_at = now() - interval '25 hours' RETURNING 1")
    second = send(alice.caller, "k1", body="c" * 64)
    assert not second.replayed and second.id != first.id


def test_a_refused_request_leaves_its_key_free(alice: Person, look: Look) -> None:
    with pytest.raises(QuotaExceeded):
        send(limited(alice, images_per_day=0), "k1")
    assert look("SELECT count(*) FROM generation_idempotency") == [(0,)]
    assert not send(alice.caller, "k1").replayed


def test_the_same_key_a_hundred_times_at_once(alice: Person, look: Look) -> None:
    answers: list[UUID] = []
    errors: list[Exception] = []
    gate = threading.Barrier(20)

    def work() -> None:
        try:
            gate.wait(timeout=30)
            for _ in range(5):
                answers.append(send(alice.caller, "k1").id)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not errors
    assert len(answers) == 100 and len(set(answers)) == 1
    assert look("SELECT count(*) FROM generation_generation") == [(1,)]
    assert look("SELECT count(*) FROM accounts_ledgerentry") == [(2,)]
    check_books(look)


def test_a_quota_of_ten_under_a_hundred_requests(alice: Person, look: Look) -> None:
    caller = limited(alice, images_per_day=10)
    outcomes: list[bool] = []

    def work() -> None:
        for _ in range(10):
            try:
                send(caller)
                outcomes.append(True)
            except QuotaExceeded:
                outcomes.append(False)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (outcomes.count(True), outcomes.count(False)) == (10, 90)
    assert look("SELECT count(*) FROM generation_generation") == [(10,)]
    check_books(look)


def test_queue_length_is_exact_in_parallel(alice: Person, look: Look) -> None:
    caller = limited(alice, queue_length=7)
    outcomes: list[bool] = []

    def work() -> None:
        for _ in range(4):
            try:
                send(caller)
                outcomes.append(True)
            except QueueFull as error:
                outcomes.append(error.retry_after_s is None)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert outcomes.count(True) == 7
    check_books(look)


def test_refusals_leave_nothing(alice: Person, mallory: Person, look: Look) -> None:
    Model.objects.filter(slug="demo").update(public=False)
    with in_tenant(mallory.tenant.pk):
        ModelGrant.objects.create(model_id="demo")
    with pytest.raises(ModelNotFound) as hidden:
        send(alice.caller)
    with pytest.raises(ModelNotFound) as absent:
        send(alice.caller, request=replace(REQUEST, model="nope"))
    assert str(hidden.value).replace("demo", "nope") == str(absent.value)
    assert send(mallory.caller).id
    Model.objects.filter(slug="demo").update(enabled=False)
    with pytest.raises(ModelNotFound):
        send(mallory.caller)
    Model.objects.filter(slug="demo").update(enabled=True, public=True)
    for bad in ({"width": 72}, {"width": 4096}, {"num_inference_steps": 9}, {"seed": 2**63 - 1, "n": 2}):
        with pytest.raises(InvalidRequest) as refused:
            send(alice.caller, request=replace(REQUEST, **bad))
        assert next(iter(bad)) in refused.value.fields
    for limits, field in (({"max_pixels": 100}, "width"), ({"max_steps": 2}, "num_inference_steps")):
        with pytest.raises(InvalidRequest) as refused:
            send(limited(alice, **limits))
        assert field in refused.value.fields
    with pytest.raises(InvalidRequest):
        send(limited(alice, max_images=1), request=replace(REQUEST, n=2))
    assert look("SELECT count(*) FROM generation_generation WHERE tenant_id = %s", alice.tenant.pk) == [(0,)]
    assert look("SELECT count(*) FROM accounts_ledgerentry WHERE tenant_id = %s", alice.tenant.pk) == [(0,)]


def test_statements_of_a_submit(alice: Person) -> None:
    from django.test.utils import CaptureQueriesContext

    submit(alice.caller)
    with in_tenant(alice.tenant.pk), CaptureQueriesContext(connection) as queries:
        submit_generation(caller=alice.caller, request=REQUEST, idempotency_key="k", body_sha256="d" * 64)
    work = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(work) <= 10, "\n".join(sql[:100] for sql in work)


@pytest.fixture
def silent_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        monkeypatch.setattr(settings, "REDIS_URL", f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        redis_client.cache_clear()
        yield listener
    redis_client.cache_clear()


def test_redis_refused(alice: Person, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:9/0")
    redis_client.cache_clear()
    submit(alice.caller)
    assert look("SELECT status FROM generation_generation") == [("queued",)]


def test_redis_hanging(alice: Person, look: Look, silent_redis: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "_rest_s", 600.0)
    submit(alice.caller)
    assert look("SELECT status FROM generation_generation") == [("queued",)]
    assert breaker.rests
    silent_redis.setblocking(False)
    silent_redis.accept()[0].close()
    submit(alice.caller)
    with pytest.raises(BlockingIOError):
        silent_redis.accept()  # the next one does not ask it again
    assert look("SELECT count(*) FROM generation_generation") == [(2,)]
