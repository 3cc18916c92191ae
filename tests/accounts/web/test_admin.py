"""The admin: staff only, across tenants, constant queries, history read-only, both languages."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from accounts.tenancy import in_tenant
from generation.domain.request import GenerationRequest
from generation.domain.submit import submit_generation
from generation.models import Model
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_tenant, make_user

SQL = psycopg.Connection[tuple[object, ...]]
LISTS = (
    "accounts/user", "accounts/tenant", "accounts/plan", "accounts/apikey", "accounts/ledgerentry",
    "accounts/auditevent", "accounts/errand", "generation/model", "generation/generation", "generation/failure",
    "generation/worker", "generation/pool",
)  # fmt: skip


@pytest.fixture
def staff(db: object) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.org", None))
    return client


def submit(person: Person) -> UUID:
    with in_tenant(person.tenant.pk):
        request = GenerationRequest(model="demo", prompt="a red circle", width=64, height=64)
        return submit_generation(caller=person.caller, request=request).id


@pytest.mark.parametrize("path", LISTS)
def test_lists_show_all_tenants_in_constant_queries(staff: Client, alice: Person, mallory: Person, path: str) -> None:
    offer_sleeping_model()
    submit(alice)
    submit(mallory)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            answer = staff.get(f"/admin/{path}/")
        assert answer.status_code == 200
        return len(queries)

    before = count()
    for number in range(5):
        make_tenant(f"T{number}", owner=make_user("more"))
        submit(alice)
    assert count() == before
    assert before < 15


def test_tenant_page_has_members_and_keys(staff: Client, alice: Person, mallory: Person) -> None:
    text = staff.get(f"/admin/accounts/tenant/{alice.tenant.pk}/change/").content.decode()
    assert alice.user.email in text
    assert alice.key.prefix in text
    assert mallory.key.prefix not in text
    assert alice.secret not in text


def test_suspending_stops_a_tenant_at_once(staff: Client, alice: Person, mallory: Person) -> None:
    def act(action: str) -> None:
        form = {"action": action, "_selected_action": [str(alice.tenant.pk)], "reason": "unpaid"}
        assert staff.post("/admin/accounts/tenant/", form).status_code == 302

    act("suspend")
    assert alice.api.get("/api/v1/me").status_code == 403
    assert mallory.api.get("/api/v1/me").status_code == 200
    act("resume")
    assert alice.api.get("/api/v1/me").status_code == 200


def test_history_cannot_be_changed(staff: Client, alice: Person, admin_sql: SQL) -> None:
    offer_sleeping_model()
    generation = submit(alice)
    entry = admin_sql.execute("SELECT id FROM accounts_ledgerentry LIMIT 1").fetchone()
    assert entry is not None
    for path in (f"accounts/ledgerentry/{entry[0]}", f"generation/generation/{generation}"):
        assert staff.get(f"/admin/{path}/change/").status_code == 200
        assert staff.post(f"/admin/{path}/change/", {"amount": 0}).status_code == 403
        assert staff.post(f"/admin/{path}/delete/", {"post": "yes"}).status_code == 403
    assert staff.get("/admin/accounts/auditevent/add/").status_code == 403


def test_cancel_and_retry(staff: Client, alice: Person, admin_sql: SQL) -> None:
    offer_sleeping_model()
    generation = submit(alice)

    def act(action: str) -> None:
        staff.post("/admin/generation/generation/", {"action": action, "_selected_action": [str(generation)]})

    act("cancel")
    assert admin_sql.execute("SELECT status FROM generation_generation").fetchall() == [("canceled",)]
    images = "SELECT coalesce(sum(amount), 0)::int FROM accounts_ledgerentry WHERE metric = 'images'"
    assert admin_sql.execute(images).fetchone() == (0,)
    act("retry")
    rows = 'SELECT status, retry_of, "user" FROM generation_generation ORDER BY created_at'
    assert admin_sql.execute(rows).fetchall()[1:] == [("queued", generation, alice.user.pk)]
    assert admin_sql.execute(images).fetchone() == (1,)


def test_pools_pause_and_resume(staff: Client, alice: Person, admin_sql: SQL) -> None:
    admin_sql.execute("INSERT INTO generation_pool (lane, name, paused_reason, vtime) VALUES ('blue', 'demo', '', 0)")
    pool = admin_sql.execute("SELECT id FROM generation_pool").fetchone()
    assert pool is not None
    form = {"action": "pause", "_selected_action": [str(pool[0])], "reason": "new disks"}
    staff.post("/admin/generation/pool/", form)
    assert b"paused drawing: new disks" in alice.client.get("/studio/").content
    staff.post("/admin/generation/pool/", {"action": "resume", "_selected_action": [str(pool[0])]})
    assert b"paused drawing" not in alice.client.get("/studio/").content


def test_a_broken_entry_is_refused(staff: Client, admin_sql: SQL) -> None:
    offer_sleeping_model()
    form = {
        "title": "Demo", "pool": "demo", "spec": '{"family": "nonsense", "path": "x"}', "position": "0",
        "modelgrant-TOTAL_FORMS": "0", "modelgrant-INITIAL_FORMS": "0",
        "modelgrant_set-TOTAL_FORMS": "0", "modelgrant_set-INITIAL_FORMS": "0",
        "+-TOTAL_FORMS": "0", "+-INITIAL_FORMS": "0",
    }  # fmt: skip
    answer = staff.post("/admin/generation/model/demo/change/", form)
    assert answer.status_code == 200
    assert "nonsense" in answer.content.decode()
    assert Model.objects.get(slug="demo").spec["family"] == "qwen-image"


def test_chinese(staff: Client) -> None:
    text = staff.get("/admin/", headers={"Accept-Language": "zh-CN"}).content.decode()
    assert "QwenStudio 管理后台" in text
    assert "租户" in text
    assert "账目" in text
