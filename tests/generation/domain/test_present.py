"""What people see: the JSON of the contract, an honest place in the queue, and nobody else's prompts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.test import override_settings

from accounts.errors import InvalidField, InvalidRequest
from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.estimate import estimate
from generation.domain.finish import fail_row, finish_slice
from generation.domain.gallery import find_image, get_generation, list_active
from generation.domain.history import Filters, list_generations, read_filters
from generation.domain.receipts import receipt_is_ours
from generation.domain.remove import remove_generation
from generation.domain.request import GenerationRequest, LoraChoice
from generation.domain.retry import retry_generation
from generation.domain.star import star_generation
from generation.errors import AlreadyFinished, GenerationNotFound, NotFinished
from generation.models import LoraGrant, Receipt
from tests.factories import Person
from tests.generation.domain.desk import Look, check_books, claim, draw, submit
from tests.generation.lorafiles import offer_lora

AsWorker = Callable[[], AbstractContextManager[None]]
KEYS = {
    "id", "status", "model", "prompt", "negative_prompt", "width", "height", "num_inference_steps", "true_cfg_scale",
    "seed", "n", "loras", "grid", "output_format", "metadata", "starred", "retry_of", "queue", "progress", "images",
    "timings", "cost", "error", "created_at", "started_at", "finished_at", "warnings", "urls", "task", "strength",
    "inputs", "mask", "style",
}  # fmt: skip


def show_worker(look: Look, state: str = "idle") -> None:
    look("INSERT INTO generation_worker (id, name, pid, lane, pool, serves, state, detail, hardware, device, dtype,"
         " memory_total, memory_used, release, passes, started_at, seen_at) VALUES (gen_random_uuid(), 'w', 1, 'blue',"
         " 'demo', %s, %s, '', '', '', '', 0, 0, '', 0, now(), now()) RETURNING 1",
         "[]" if state == "loading" else '["demo"]', state)  # fmt: skip


def see(person: Person, id: UUID) -> dict[str, Any]:
    with in_tenant(person.tenant.pk):
        return get_generation(id)


def run(as_worker: AsWorker, **warning: str) -> UUID:
    """Draw the next pass's first row to its end."""
    with as_worker():
        taken = claim(models={"demo": 1})
        assert taken is not None
        warnings = [warning] if warning else []
        assert finish_slice(row=taken.rows[0], images=draw(taken.rows[0]), run_ms=61, warnings=warnings) == "finished"
        return taken.rows[0].id


def test_a_waiting_one(alice: Person, look: Look) -> None:
    show_worker(look)
    id = submit(alice.caller, prompt="a blue star", metadata={"k": "v"})
    body = see(alice, id)
    assert set(body) == KEYS
    assert body["status"] == "queued" and body["images"] == [] and body["error"] is None
    assert body["queue"] == {
        "position": 1, "eta_ms": 60, "eta_range_ms": [30, 2450], "ahead": {"own": 0, "others": 0}, "reason": None
    }  # fmt: skip
    assert body["progress"] == {"step": 0, "steps": 4} and body["metadata"] == {"k": "v"}
    assert str(body["created_at"]).endswith("Z")


def test_a_finished_one(alice: Person, as_worker: AsWorker, look: Look) -> None:
    id = submit(alice.caller)
    assert run(as_worker, code="prompt_cut", detail="512 of 600 tokens") == id
    body = see(alice, id)
    assert body["status"] == "succeeded" and body["queue"] is None and body["cost"] == {"gpu_ms": 61}
    assert body["progress"] == {"step": 4, "steps": 4}
    assert body["warnings"] == [{"code": "prompt_cut", "detail": "512 of 600 tokens"}]
    [image] = body["images"]
    assert str(image["url"]).endswith(f"/files/{image['id']}")
    with in_tenant(alice.tenant.pk):
        found = find_image(UUID(image["id"]))
        assert found is not None and str(id) in found["file"]
        receipt = Receipt.objects.get()
    assert receipt_is_ours(receipt.body, receipt.signature)
    assert not receipt_is_ours({**receipt.body, "seed": 8}, receipt.signature)
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=["older", settings.SECRET_KEY]):
        assert receipt_is_ours(receipt.body, receipt.signature)
        assert not receipt_is_ours({**receipt.body, "seed": 8}, receipt.signature)
    with override_settings(SECRET_KEY="another"):
        assert not receipt_is_ours(receipt.body, receipt.signature)


def test_a_failed_one_and_its_retry(alice: Person, as_worker: AsWorker) -> None:
    id = submit(alice.caller, n=2, output_format="webp")
    with as_worker():
        taken = claim()
        assert taken is not None
        fail_row(row=taken.rows[0], code="bad_frame", message="black", retry=False)
    assert see(alice, id)["error"] == {"code": "bad_frame", "message": "black"}
    with in_tenant(alice.tenant.pk):
        again = retry_generation(id, alice.caller)
        third = None
        with pytest.raises(NotFinished):
            third = retry_generation(again.id, alice.caller)
        assert third is None
    body = see(alice, again.id)
    assert (body["retry_of"], body["seed"], body["n"], body["output_format"]) == (str(id), 7, 2, "webp")


def test_the_place_goes_by_the_clocks(alice: Person, mallory: Person, as_worker: AsWorker, look: Look) -> None:
    show_worker(look)
    for _ in range(20):
        submit(alice.caller)
    with as_worker():
        claim()
    theirs = submit(mallory.caller, width=128, prompt="secret")
    queue = see(mallory, theirs)["queue"]
    assert queue["position"] == 1 and queue["ahead"] == {"own": 0, "others": 0}
    last = [submit(alice.caller) for _ in range(3)][-1]
    queue = see(alice, last)["queue"]
    assert queue["ahead"] == {"own": 14, "others": 1} and queue["position"] == 16
    assert queue["eta_ms"] > 15 * 60
    with in_tenant(alice.tenant.pk):
        assert "secret" not in str(list_generations())


def test_why_nobody_can_say(alice: Person, look: Look) -> None:
    id = submit(alice.caller)
    queue = see(alice, id)["queue"]
    assert queue["eta_ms"] is None and queue["reason"]["code"] == "no_worker"
    show_worker(look, "loading")
    assert see(alice, id)["queue"]["reason"]["code"] == "loading"
    show_worker(look)
    assert see(alice, id)["queue"]["reason"] is None
    # A worker of the pool that serves something else helps nobody here; a model that is off gets none at all.
    look("UPDATE generation_worker SET serves = '[\"other\"]' RETURNING 1")
    assert see(alice, id)["queue"]["reason"]["code"] == "loading"
    look("DELETE FROM generation_worker WHERE state = 'loading' RETURNING 1")
    assert see(alice, id)["queue"]["reason"]["code"] == "no_worker"
    look("UPDATE generation_model SET enabled = false RETURNING 1")
    assert see(alice, id)["queue"]["reason"]["code"] == "model_off"
    look("UPDATE generation_model SET enabled = true RETURNING 1")
    look("UPDATE generation_worker SET serves = '[\"demo\"]' RETURNING 1")
    look("INSERT INTO generation_pool (lane, name, paused_at, paused_reason, vtime) VALUES "
         "('blue', 'demo', now(), 'new cards', 0) RETURNING 1")  # fmt: skip
    assert see(alice, id)["queue"]["reason"] == {"code": "paused", "detail": "new cards"}
    with in_tenant(alice.tenant.pk):
        said = estimate(GenerationRequest(model="demo", prompt="x", n=3), caller=alice.caller)
    assert (said["gpu_ms"], said["images"], said["wait_ms"]) == (180, 3, None)
    assert said["queue"]["ahead"] == {"own": 1, "others": 0} and said["queue"]["reason"]["code"] == "paused"


def test_drained_workers_and_absent_models_are_named(alice: Person, look: Look) -> None:
    id = submit(alice.caller)
    show_worker(look)
    look("UPDATE generation_worker SET drain_requested_at = now() RETURNING 1")
    assert see(alice, id)["queue"]["reason"]["code"] == "drained"
    look("UPDATE generation_worker SET drain_requested_at = NULL, resident = '[\"other\"]', load_ms = 5000 RETURNING 1")
    queue = see(alice, id)["queue"]
    assert queue["reason"]["code"] == "not_in_memory"
    assert 5000 < queue["eta_ms"] < 6000 and queue["eta_range_ms"][0] <= queue["eta_ms"]
    look("UPDATE generation_worker SET resident = '[\"demo\"]' RETURNING 1")
    assert see(alice, id)["queue"]["reason"] is None


def test_a_lora_that_no_worker_has_in_memory_is_named_as_the_request_names_it(
    alice: Person, mallory: Person, look: Look
) -> None:
    style, ink = offer_lora("style"), offer_lora("ink")
    with in_tenant(mallory.tenant.pk):
        LoraGrant.objects.create(tenant=mallory.tenant, lora=offer_lora("mallorys-own", public=False))
    uses = (LoraChoice(name="style"), LoraChoice(name="ink"))
    both, one = submit(alice.caller, loras=uses), submit(alice.caller, loras=uses[:1])
    plain, theirs = submit(alice.caller), submit(mallory.caller, loras=(LoraChoice(name="mallorys-own"),))

    def reason(person: Person, id: UUID) -> Any:
        return see(person, id)["queue"]["reason"]

    show_worker(look)
    assert reason(alice, both) is None, "a worker of the release before does not say what it has"
    look("UPDATE generation_worker SET loras = '[]' RETURNING 1")
    said = {
        "code": "lora_not_in_memory", "detail": "the LoRA style is not in memory: it is loaded when its turn comes"
    }  # fmt: skip
    assert reason(alice, one) == said
    assert reason(alice, both) == said | {
        "detail": "the LoRAs style, ink are not in memory: they are loaded when their turn comes"
    }
    assert "mallorys-own" in reason(mallory, theirs)["detail"]
    assert reason(alice, plain) is None
    assert see(alice, one)["queue"]["eta_ms"] is not None
    with in_tenant(alice.tenant.pk):
        asked = estimate(GenerationRequest(model="demo", prompt="x", loras=uses[1:]), caller=alice.caller)
        assert "the LoRA ink" in asked["queue"]["reason"]["detail"]
        assert estimate(GenerationRequest(model="demo", prompt="x"), caller=alice.caller)["queue"]["reason"] is None

    look("UPDATE generation_worker SET loras = jsonb_build_array(%s::text) RETURNING 1", style.sha256)
    assert reason(alice, one) is None and "the LoRA ink is" in reason(alice, both)["detail"]
    show_worker(look)  # a second one, which has the other: whichever claims it
    look("UPDATE generation_worker SET loras = jsonb_build_array(%s::text) WHERE loras IS NULL RETURNING 1", ink.sha256)
    assert reason(alice, both) is None
    look("UPDATE generation_worker SET resident = '[\"other\"]' RETURNING 1")
    assert reason(alice, both)["code"] == "not_in_memory"


def test_the_range_holds_the_guess(alice: Person, mallory: Person, look: Look) -> None:
    show_worker(look)
    for person in (alice, mallory, alice, mallory):
        submit(person.caller, n=10)
    queue = see(alice, submit(alice.caller))["queue"]
    low, high = queue["eta_range_ms"]
    assert 0 < low < queue["eta_ms"] < high


def test_estimate_stores_nothing(alice: Person, look: Look) -> None:
    show_worker(look)
    with in_tenant(alice.tenant.pk):
        said = estimate(GenerationRequest(model="demo", prompt="x", width=128, height=128), caller=alice.caller)
    assert said["gpu_ms"] == 240 and said["wait_ms"] == 0
    assert look("SELECT count(*) FROM generation_generation") == [(0,)]


def test_nobody_elses(alice: Person, mallory: Person) -> None:
    id = submit(alice.caller)
    with in_tenant(mallory.tenant.pk):
        for act in (get_generation, cancel_generation, remove_generation):
            with pytest.raises(GenerationNotFound):
                act(id)
        with pytest.raises(GenerationNotFound):
            retry_generation(id, mallory.caller)
        with pytest.raises(GenerationNotFound):
            star_generation(id, data={"starred": True})
        assert find_image(uuid4()) is None
        assert list_generations().results == []
    assert see(alice, id)["status"] == "queued"


def test_lists_filter_and_page(alice: Person, bob: Person, as_worker: AsWorker) -> None:
    ids = [submit(alice.caller, prompt=f"star {number} 100%") for number in range(3)]
    theirs = submit(bob.caller, prompt="a boat")
    run(as_worker)
    with in_tenant(alice.tenant.pk):
        star_generation(ids[1], data={"starred": True})
        first = list_generations(limit=3)
        assert [item["id"] for item in first.results] == [str(theirs), str(ids[2]), str(ids[1])] and first.next
        rest = list_generations(limit=3, cursor=first.next)
        assert [item["id"] for item in rest.results] == [str(ids[0])] and rest.next is None
        assert [item["id"] for item in list_generations(Filters(q="BOAT")).results] == [str(theirs)]
        assert len(list_generations(Filters(q="100%")).results) == 3 and not list_generations(Filters(q="100_")).results
        assert [item["id"] for item in list_generations(Filters(status="succeeded")).results] == [str(ids[0])]
        assert len(list_generations(Filters(status="queued")).results) == 3
        assert [item["id"] for item in list_generations(Filters(starred=True)).results] == [str(ids[1])]
        assert list_generations(Filters(created_after=datetime(2999, 1, 1, tzinfo=UTC))).results == []
        assert [item["id"] for item in list_active(bob.user.pk)] == [str(theirs)]
        with pytest.raises(InvalidField):
            list_generations(cursor="x")
        for bad in ({"status": "x"}, {"starred": "1"}, {"created_after": "today"}, {"q": "a\x00"}):
            with pytest.raises(InvalidField):
                read_filters(bad, by=alice.caller)
        for wrong in ({"starred": 1}, {}, {"starred": True, "prompt": "x"}):
            with pytest.raises(InvalidRequest):
                star_generation(ids[0], data=wrong)


def test_statements_of_a_list_do_not_grow(alice: Person) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for more in (1, 9):
        for _ in range(more):
            submit(alice.caller)
        with in_tenant(alice.tenant.pk), CaptureQueriesContext(connection) as queries:
            list_generations()
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 3


def test_cancelling(alice: Person, as_worker: AsWorker, look: Look) -> None:
    waiting, done = submit(alice.caller), None
    with in_tenant(alice.tenant.pk):
        assert cancel_generation(waiting) == "canceled"
        assert cancel_generation(waiting) == "canceled"
    done = submit(alice.caller)
    assert run(as_worker) == done
    with in_tenant(alice.tenant.pk), pytest.raises(AlreadyFinished):
        cancel_generation(done)
    check_books(look)


def test_removing(alice: Person, as_worker: AsWorker, look: Look) -> None:
    id = submit(alice.caller)
    with in_tenant(alice.tenant.pk), pytest.raises(NotFinished):
        remove_generation(id)
    run(as_worker)
    with in_tenant(alice.tenant.pk):
        remove_generation(id)
    assert look("SELECT (SELECT count(*) FROM generation_generation), (SELECT count(*) FROM generation_image),"
                " (SELECT count(*) FROM generation_receipt)") == [(0, 0, 0)]  # fmt: skip
    [(kind, ref, data)] = look("SELECT kind, ref, data FROM accounts_errand")
    assert (kind, ref, len(data["paths"])) == ("delete_files", id, 2)
    assert look("SELECT sum(amount) FROM accounts_ledgerentry WHERE metric = 'images'") == [(1,)], "the ledger stays"
