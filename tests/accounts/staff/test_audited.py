"""What staff change is in the audit log: who, what, from which value to which, and no secrets."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from accounts.models import Plan, User
from accounts.staff.audited import tell
from generation.models import Model
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_plan, make_user

SQL = psycopg.Connection[tuple[Any, ...]]
DEFAULTS = {field.name: field.default for field in Plan._meta.fields if isinstance(field.default, int)}
PLAN = DEFAULTS | {"title": "Large", "slug": "large", "weight": 2}


def events(sql: SQL) -> list[tuple[Any, ...]]:
    """(action, target, detail) of the admin's own events."""
    return sql.execute(
        "SELECT action, target, detail FROM accounts_auditevent WHERE action LIKE 'admin.%' ORDER BY id"
    ).fetchall()


def boss() -> UUID:
    return User.objects.get(email="staff@example.org").pk


def test_plans(staff: Client, admin_sql: SQL) -> None:
    assert staff.post("/admin/accounts/plan/add/", PLAN).status_code == 302
    plan = Plan.objects.get(slug="large")
    url = f"/admin/accounts/plan/{plan.pk}/change/"
    staff.post(url, {**PLAN, "images_per_day": 100, "weight": 4})
    staff.post(url, {**PLAN, "images_per_day": 100, "weight": 4})  # nothing changes
    staff.post(f"/admin/accounts/plan/{plan.pk}/delete/", {"post": "yes"})
    target = f"plan:{plan.pk}"
    added, *rest = events(admin_sql)
    assert added[:2] == ("admin.plan.added", target)
    assert added[2] | {"slug": [None, "large"], "weight": [None, 2]} == added[2]
    assert rest == [
        ("admin.plan.changed", target, {"weight": [2, 4], "images_per_day": [None, 100]}),
        ("admin.plan.deleted", target, {"name": "Large"}),
    ]
    columns = "SELECT DISTINCT \"user\", host(address), tenant_id, request_id <> '' FROM accounts_auditevent"
    assert admin_sql.execute(f"{columns} WHERE action LIKE 'admin.%'").fetchall() == [(boss(), "127.0.0.1", None, True)]


def test_several_at_once(staff: Client, admin_sql: SQL) -> None:
    plans = [make_plan(), make_plan()]
    chosen = {"action": "delete_selected", "_selected_action": [str(plan.pk) for plan in plans], "post": "yes"}
    staff.post("/admin/accounts/plan/", chosen)
    assert [(action, detail) for action, _, detail in events(admin_sql)] == [
        ("admin.plan.deleted", {"name": plan.title}) for plan in sorted(plans, key=lambda plan: plan.title)
    ]


def test_models_by_form_and_by_list(staff: Client, alice: Person, admin_sql: SQL) -> None:
    offer_sleeping_model()
    spec = Model.objects.get(slug="demo").spec
    form = {
        "title": "Renamed", "pool": "demo", "spec": json.dumps(spec | {"max_steps": 6}), "position": 0, "enabled": "on",
        "modelgrant-TOTAL_FORMS": 1, "modelgrant-INITIAL_FORMS": 0, "modelgrant-0-tenant": alice.tenant.pk,
        "modelgrant-0-model": "demo",
    }  # fmt: skip
    assert staff.post("/admin/generation/model/demo/change/", form).status_code == 302
    ((action, target, detail),) = events(admin_sql)
    assert (action, target) == ("admin.model.changed", "model:demo")
    assert detail["title"] == ["Sleeping", "Renamed"]
    assert detail["public"] == [True, False]
    assert detail["spec"] == [{"max_steps": 8}, {"max_steps": 6}]
    assert detail["modelgrant added"] == [f"demo for {alice.tenant.pk}"]
    rows = {
        "form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-slug": "demo", "form-0-position": 3, "_save": "Save",
    }  # fmt: skip
    assert staff.post("/admin/generation/model/", rows).status_code == 302
    assert events(admin_sql)[1:] == [
        ("admin.model.changed", "model:demo", {"enabled": [True, False], "position": [0, 3]})
    ]


def test_privileges_and_passwords(staff: Client, admin_sql: SQL) -> None:
    member = make_user("member")
    group = Group.objects.get(name="support")
    permission = Permission.objects.get(codename="change_worker")
    form = {
        "email": member.email, "name": "Renamed", "language": "", "is_active": "on", "is_staff": "on",
        "groups": [group.pk], "user_permissions": [permission.pk],
    }  # fmt: skip
    assert staff.post(f"/admin/accounts/user/{member.pk}/change/", form).status_code == 302
    passwords = {"usable_password": "true", "password1": "another long one", "password2": "another long one"}
    url = f"/admin/accounts/user/{member.pk}/password/"
    assert staff.post(url, {**passwords, "set-password": "1"}).status_code == 302
    staff.post("/admin/accounts/user/add/", {"email": "New@example.org", **passwords})
    told = events(admin_sql)
    assert told[0] == (
        "admin.user.changed",
        f"user:{member.pk}",
        {
            "name": ["member", "Renamed"],
            "is_staff": [False, True],
            "groups": [[], ["support"]],
            "user_permissions": [[], [str(permission)]],
        },
    )
    assert told[1] == ("admin.user.changed", f"user:{member.pk}", {"password": "changed"})
    assert told[2][0] == "admin.user.added"
    assert told[2][2]["email"] == [None, "new@example.org"]
    everything = str(admin_sql.execute("SELECT * FROM accounts_auditevent").fetchall())
    assert "another long one" not in everything and "pbkdf2" not in everything and "argon" not in everything


def test_groups(staff: Client, admin_sql: SQL) -> None:
    permission = Permission.objects.get(codename="view_plan")
    assert staff.post("/admin/auth/group/add/", {"name": "planners", "permissions": [permission.pk]}).status_code == 302
    ((action, _, detail),) = events(admin_sql)
    assert action == "admin.group.added"
    assert detail == {"name": [None, "planners"], "permissions": [None, [str(permission)]]}


def test_a_note_is_staffs_own_and_the_event_is_the_tenants(staff: Client, alice: Person, admin_sql: SQL) -> None:
    form = {"name": "Renamed", "plan": alice.tenant.plan_id, "note": "they never pay"}
    for prefix in ("membership", "apikey", "invitation", "modelgrant", "chatgrant"):
        form |= {f"{prefix}-TOTAL_FORMS": 0, f"{prefix}-INITIAL_FORMS": 0}
    assert staff.post(f"/admin/accounts/tenant/{alice.tenant.pk}/change/", form).status_code == 302
    rows = "SELECT action, detail, tenant_id FROM accounts_auditevent WHERE action LIKE 'admin.%'"
    assert admin_sql.execute(rows).fetchall() == [
        ("admin.tenant.changed", {"name": ["A", "Renamed"], "note": "changed"}, alice.tenant.pk)
    ]


def test_a_change_without_its_event_does_not_happen(staff: Client, admin_sql: SQL) -> None:
    admin_sql.execute("REVOKE INSERT ON accounts_auditevent FROM studio_staff")
    staff.raise_request_exception = False
    plan = make_plan()
    member = make_user("member")
    try:
        assert staff.post("/admin/accounts/plan/add/", PLAN).status_code == 500
        assert staff.post(f"/admin/accounts/plan/{plan.pk}/delete/", {"post": "yes"}).status_code == 500
        chosen = {"action": "delete_selected", "_selected_action": [str(plan.pk)], "post": "yes"}
        assert staff.post("/admin/accounts/plan/", chosen).status_code == 500
        words = {"usable_password": "true", "password1": "another long one", "password2": "another long one"}
        url = f"/admin/accounts/user/{member.pk}/password/"
        assert staff.post(url, {**words, "set-password": "1"}).status_code == 500
    finally:
        admin_sql.execute("GRANT INSERT ON accounts_auditevent TO studio_staff")
    assert not Plan.objects.filter(slug="large").exists()
    assert Plan.objects.filter(pk=plan.pk).exists()
    member.refresh_from_db()
    assert not member.has_usable_password()


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, None), (3, 3), (True, True), ("x" * 900, "x" * 500), (["b", "a"], ["a", "b"]), ({"k": [1]}, {"k": ["1"]})],
)
def test_values_are_told_briefly(value: Any, told: Any) -> None:
    assert tell(value) == told
