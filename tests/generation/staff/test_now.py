"""The page that staff see first: what runs, what waits and why, what can be done; no prompts, constant queries."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.domain.tenants import suspend_tenant
from accounts.ids import uuid7
from accounts.models import Errand
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.pools import pause_pool
from generation.domain.request import GenerationRequest
from generation.domain.submit import submit_generation
from generation.models import Failure, Model, Pool, Worker
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_person, make_plan, make_tenant, make_user

SQL = psycopg.Connection[tuple[Any, ...]]
PROMPT = "a secret lighthouse"


@pytest.fixture(autouse=True)
def _model(db: None) -> None:
    offer_sleeping_model()
    Pool.objects.create(lane="blue", name="demo")


def submit(person: Person, model: str = "demo") -> UUID:
    with in_tenant(person.tenant.pk):
        request = GenerationRequest(model=model, prompt=PROMPT, width=64, height=64)
        return submit_generation(caller=person.caller, request=request).id


def add_worker(state: str = "idle", **fields: Any) -> Worker:
    values = {"name": f"gpu-{uuid7().hex[-6:]}", "pid": 1, "lane": "blue", "pool": "demo", "serves": ["demo"]}
    return Worker.objects.create(state=state, **values | fields)


def claim(admin_sql: SQL, generation: UUID, worker: Worker | None = None) -> None:
    """What a claim writes, as far as the page reads it."""
    admin_sql.execute(
        "UPDATE generation_generation SET status = 'running', step = 3, worker = %s, started_at = now(),"
        " lease_until = now() + interval '30 s' WHERE id = %s",
        [worker and worker.pk, generation],
    )
    admin_sql.execute(
        "UPDATE generation_fairclock c SET queued = queued - 1, running = running + 1"
        "  FROM generation_generation g WHERE g.id = %s AND c.tenant = g.tenant_id",
        [generation],
    )


def part(client: Client, name: str) -> str:
    """The words of one part of the page."""
    text = client.get("/admin/now/?part").content.decode()
    found = re.search(rf'<section id="now-{name}".*?</section>', text, re.S)
    assert found is not None
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found.group())).split())


def test_what_runs(staff: Client, alice: Person, admin_sql: SQL) -> None:
    worker = add_worker("busy", name="gpu-1")
    wanted = submit(alice)
    claim(admin_sql, wanted, worker)
    said = part(staff, "running")
    for word in (str(wanted), alice.tenant.name, "Sleeping", "64 × 64", "3 of 4", "gpu-1"):
        assert word in said
    assert PROMPT not in staff.get("/admin/now/").content.decode()


def test_why_it_waits(staff: Client, alice: Person, admin_sql: SQL) -> None:
    """Each reason in its turn, from the innermost to the outermost."""
    wanted = submit(alice)
    assert "no worker of this pool is running" in part(staff, "waits")
    loading = add_worker("loading", serves=[])
    assert "are still loading" in part(staff, "waits")
    worker = add_worker("idle")
    assert "it is next, as soon as a worker is free" in part(staff, "waits")
    worker.drain_requested_at = timezone.now()
    worker.save()
    assert "are still loading" in part(staff, "waits")
    loading.delete()
    assert "every worker of this pool is drained" in part(staff, "waits")
    worker.drain_requested_at, worker.serves = None, ["another"]
    worker.save()
    assert "no running worker serves Sleeping" in part(staff, "waits")
    Model.objects.filter(slug="demo").update(enabled=False)
    assert "Sleeping is switched off" in part(staff, "waits")
    Model.objects.filter(slug="demo").update(enabled=True)
    worker.serves = ["demo"]
    worker.save()
    admin_sql.execute("UPDATE generation_worker SET seen_at = now() - interval '2 minutes'")
    assert "no worker of this pool is running" in part(staff, "waits")
    assert "silent" in part(staff, "workers")
    admin_sql.execute("UPDATE generation_worker SET seen_at = now()")
    with across_tenants():
        pause_pool(lane="blue", name="demo", reason="new disks until noon", by=alice.user.pk)
    assert f"paused by {alice.user.email}: new disks until noon" in part(staff, "waits")
    suspend_tenant(alice.tenant, reason="unpaid")
    assert "the tenant is suspended" in part(staff, "waits")
    assert str(wanted) not in part(staff, "waits")  # by tenant


def test_a_lane_that_was_left_waits_for_the_one_that_serves(staff: Client, alice: Person, admin_sql: SQL) -> None:
    """The sweep hands its rows over within seconds; until then the page says no other than the studio does."""
    submit(alice)
    admin_sql.execute("UPDATE generation_generation SET lane = 'green'")
    admin_sql.execute("UPDATE generation_fairclock SET lane = 'green'")
    assert "no worker of this pool is running" in part(staff, "waits")
    worker = add_worker("idle")
    assert "it is next, as soon as a worker is free" in part(staff, "waits")
    worker.lane = "green"
    worker.serves = ["another"]
    worker.save()
    assert "no running worker serves Sleeping" in part(staff, "waits")


def test_limits_and_fair_share(staff: Client, admin_sql: SQL) -> None:
    add_worker("busy")
    people = []
    for name in ("One", "Two", "Three"):
        tenant, owner = make_tenant(name, owner=make_user(), plan=make_plan(concurrent_generations=1))
        people.append(make_person(tenant, owner))
    first, second, third = people
    claim(admin_sql, submit(first))
    for person in people:
        submit(person)
    admin_sql.execute("UPDATE generation_fairclock SET vtime = 100 WHERE tenant = %s", [second.tenant.pk])
    admin_sql.execute("UPDATE generation_fairclock SET vtime = 200 WHERE tenant = %s", [third.tenant.pk])
    said = part(staff, "waits")
    assert "it draws 1 at once, which is its limit" in said
    assert said.index("Two") < said.index("it is next")
    assert "fair share: 1 other tenant goes first" in said  # the one at its limit does not count
    assert "3 3" in part(staff, "pools")  # waiting, tenants
    admin_sql.execute("UPDATE accounts_tenant SET limits = '{\"concurrent_generations\": 2}'")
    assert "fair share: 2 other tenants go first" in part(staff, "waits")


def test_failures_have_the_workers_lines(staff: Client, alice: Person, admin_sql: SQL) -> None:
    wanted = submit(alice)
    admin_sql.execute("UPDATE generation_generation SET status = 'failed', finished_at = now()")
    with in_tenant(alice.tenant.pk):
        for number in range(3):
            Failure.objects.create(
                generation_id=wanted, code="engine_error", worker_name="gpu-1", lines=f"<b>line</b> {number}"
            )
    said = part(staff, "failures")
    assert f"engine_error {wanted} · A · Sleeping · 3 tries, failed for good" in said
    assert "last lines of gpu-1 <b>line</b> 2" in said
    assert "line</b> 0" not in said  # the newest of a generation
    add_worker("failed", detail="model demo: config.json is missing")
    assert "failed model demo: config.json is missing" in part(staff, "workers")


def test_usage_of_today(staff: Client, alice: Person, mallory: Person, admin_sql: SQL) -> None:
    submit(alice)
    admin_sql.execute("UPDATE accounts_counter SET used = 12 WHERE metric = 'images'")
    admin_sql.execute("UPDATE accounts_counter SET used = 65000, reserved = 3000 WHERE metric = 'gpu_ms'")
    assert "A 12 65 s 3.0 s all 12 65 s" in part(staff, "usage")
    admin_sql.execute("UPDATE accounts_counter SET starts_on = starts_on - 1 WHERE period = 'day'")
    assert "Nothing yet." in part(staff, "usage")


def add_errand(**fields: Any) -> Errand:
    with across_tenants():
        return Errand.objects.create(kind="send_mail", tenant_id=None, data={"sealed": "xyz"}, **fields)


def test_errands_are_tried_again_and_dropped(staff: Client, admin_sql: SQL) -> None:
    failed = {"failed_at": timezone.now(), "attempt": 8, "error": "SMTP says no"}
    again, gone = add_errand(**failed), add_errand(**failed)
    add_errand(due_at=timezone.now() - timedelta(minutes=5))
    said = part(staff, "errands")
    assert "0 running, 1 due, 0 for later, 2 failed. The oldest has been due for 5 min." in said
    assert "send an e-mail" in said and "SMTP says no" in said and "xyz" not in said
    assert staff.post(f"/admin/now/errands/{again.pk}/retry/").status_code == 302
    assert staff.post(f"/admin/now/errands/{gone.pk}/drop/").status_code == 302
    rows = "SELECT id, attempt, failed_at, due_at <= now() FROM accounts_errand WHERE id = ANY(%s)"
    assert admin_sql.execute(rows, [[again.pk, gone.pk]]).fetchall() == [(again.pk, 0, None, True)]
    events = "SELECT action, target, detail FROM accounts_auditevent ORDER BY id"
    assert admin_sql.execute(events).fetchall() == [
        ("errand.retried", f"errand:{again.pk}", {"kind": "send_mail"}),
        ("errand.dropped", f"errand:{gone.pk}", {"kind": "send_mail"}),
    ]
    # What has not failed is nobody's to drop.
    assert staff.post(f"/admin/now/errands/{again.pk}/drop/").status_code == 302
    assert admin_sql.execute("SELECT count(*) FROM accounts_errand").fetchone() == (2,)


def test_drain_and_undo(staff: Client, admin_sql: SQL) -> None:
    worker = add_worker("busy", name="gpu-1")
    assert "drawing" in part(staff, "workers")
    staff.post(f"/admin/now/workers/{worker.pk}/drain/")
    assert "finishing, then drained" in part(staff, "workers")
    staff.post(f"/admin/now/workers/{worker.pk}/undrain/")
    assert "drawing" in part(staff, "workers")
    events = 'SELECT action, "user" IS NOT NULL, address FROM accounts_auditevent ORDER BY id'
    rows = admin_sql.execute(events).fetchall()
    assert [(action, who, str(where)) for action, who, where in rows] == [
        ("worker.drained", True, "127.0.0.1"), ("worker.undrained", True, "127.0.0.1"),
    ]  # fmt: skip
    stopped = add_worker("stopped")
    answer = staff.post(f"/admin/now/workers/{stopped.pk}/drain/", follow=True)
    assert "No such worker is running" in answer.content.decode()
    assert staff.post(f"/admin/now/workers/{uuid7()}/drain/").status_code == 302


def test_pause_with_a_reason_and_resume(staff: Client, alice: Person, admin_sql: SQL) -> None:
    answer = staff.post("/admin/now/pools/blue/demo/pause/", {"reason-blue-demo": " "}, follow=True)
    assert "Say why" in answer.content.decode()
    staff.post("/admin/now/pools/blue/demo/pause/", {"reason-blue-demo": "new disks"})
    assert "paused by staff@example.org: new disks" in part(staff, "pools")
    for language, words in (("en", "Staff have paused drawing: new disks"), ("zh-CN", "工作人员已暂停绘制：new disks")):
        assert words in alice.client.get("/studio/state/", headers={"Accept-Language": language}).json()["notices"]
    staff.post("/admin/now/pools/blue/demo/resume/")
    assert "new disks" not in part(staff, "pools")
    assert not any("paused" in notice for notice in alice.client.get("/studio/state/").json()["notices"])
    rows = admin_sql.execute("SELECT action, target, detail FROM accounts_auditevent ORDER BY id").fetchall()
    assert rows[-2:] == [
        ("pool.paused", "pool:blue/demo", {"reason": "new disks"}), ("pool.resumed", "pool:blue/demo", {}),
    ]  # fmt: skip
    staff.post("/admin/now/pools/green/nowhere/pause/", {"reason-green-nowhere": "x"})
    assert admin_sql.execute("SELECT count(*) FROM generation_pool").fetchone() == (1,)


def test_queries_are_constant(staff: Client, alice: Person, admin_sql: SQL) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert staff.get("/admin/now/").status_code == 200
        return len(queries)

    add_worker("busy")
    claim(admin_sql, submit(alice))
    submit(alice)
    with in_tenant(alice.tenant.pk):
        Failure.objects.create(generation_id=submit(alice), code="lost")
    add_errand(failed_at=timezone.now())
    before = count()
    for number in range(4):
        tenant, owner = make_tenant(f"T{number}", owner=make_user())
        person = make_person(tenant, owner)
        claim(admin_sql, submit(person))
        with in_tenant(tenant.pk):
            Failure.objects.create(generation_id=submit(person), code="lost")
        add_worker("busy")
        add_errand(failed_at=timezone.now())
    assert count() == before
    assert before <= 15


def test_staff_without_the_permission_are_led_to_what_they_may_see(db: None) -> None:
    helper = make_user("helper", is_staff=True)
    client = Client()
    client.force_login(helper)
    assert client.get("/admin/now/")["Location"] == "/admin/"
    worker = add_worker("busy")
    for path in (f"workers/{worker.pk}/drain", "pools/blue/demo/pause", f"errands/{uuid7()}/drop"):
        assert client.post(f"/admin/now/{path}/").status_code == 403
    helper.user_permissions.add(Permission.objects.get(codename="view_generation"))
    text = client.get("/admin/now/").content.decode()
    assert worker.name in text
    assert "formaction" not in text  # looking is all they may


def test_members_and_strangers_do_not_see_it(alice: Person) -> None:
    assert alice.client.get("/admin/now/").status_code == 302
    assert Client().get("/admin/now/").status_code == 302
    assert alice.api.get("/admin/now/").status_code == 302


def test_get_changes_nothing_and_post_needs_a_token(staff: Client, db: None) -> None:
    worker = add_worker("busy")
    assert staff.get(f"/admin/now/workers/{worker.pk}/drain/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user("boss", is_staff=True, is_superuser=True))
    assert strict.post(f"/admin/now/workers/{worker.pk}/drain/").status_code == 403
    worker.refresh_from_db()
    assert worker.drain_requested_at is None


def test_chinese(staff: Client, alice: Person) -> None:
    submit(alice)
    text = staff.get("/admin/now/", headers={"Accept-Language": "zh-CN"}).content.decode()
    for words in ("此刻", "正在等待的及其原因", "此资源池没有正在运行的工作进程"):
        assert words in text
