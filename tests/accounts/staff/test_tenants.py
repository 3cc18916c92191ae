"""A tenant in the admin: suspended with a reason, its keys revoked, its members changed by the domain's rules."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.enums import Role
from accounts.ids import uuid7
from accounts.models import Invitation, Membership, User
from accounts.tenancy import in_tenant
from generation.models import Model, ModelGrant
from tests.chaos.rig import make_entry, offer_sleeping_model
from tests.factories import Person, make_member, make_user

SQL = psycopg.Connection[tuple[Any, ...]]
EVENTS = 'SELECT action, target, detail, tenant_id, "user" FROM accounts_auditevent ORDER BY id'


def page(person: Person, deed: str = "change") -> str:
    return f"/admin/accounts/tenant/{person.tenant.pk}/{deed}/"


def form(person: Person, members: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """The tenant's page as a browser sends it; `members` as (id, user, role, DELETE)."""
    known = sum(1 for member in members if "id" in member)
    values: dict[str, Any] = {"name": person.tenant.name, "plan": person.tenant.plan_id, "note": "", **fields}
    values |= {"membership-TOTAL_FORMS": len(members), "membership-INITIAL_FORMS": known}
    for number, member in enumerate(members):
        values |= {f"membership-{number}-{name}": value for name, value in member.items()}
        values[f"membership-{number}-tenant"] = person.tenant.pk
    for more in ("apikey", "invitation", "modelgrant", "chatgrant"):
        values |= {f"{more}-TOTAL_FORMS": 0, f"{more}-INITIAL_FORMS": 0}
    return values


def row(person: Person, user: User, role: str, **more: Any) -> dict[str, Any]:
    member = Membership.objects.get(tenant=person.tenant, user=user)
    return {"id": member.pk, "user": user.pk, "role": role, **more}


def roles(person: Person) -> dict[str, str]:
    return dict(Membership.objects.filter(tenant=person.tenant).values_list("user__email", "role"))


def helper_with(*codenames: str) -> tuple[User, Client]:
    helper = make_user("helper", is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(helper)
    return helper, client


def test_suspending_needs_a_reason_which_is_kept(staff: Client, alice: Person, admin_sql: SQL) -> None:
    answer = staff.post(page(alice, "suspend"), {"reason": "  "}, follow=True)
    assert "Say why" in answer.content.decode()
    assert alice.api.get("/api/v1/me").status_code == 200
    answer = staff.post(page(alice, "suspend"), {"reason": "invoice 17 is unpaid"}, follow=True)
    assert answer.redirect_chain == [(page(alice), 302)]
    assert "invoice 17 is unpaid" in answer.content.decode()
    assert alice.api.get("/api/v1/me").status_code == 403
    staff.post(page(alice, "resume"), {"reason": "paid"})
    assert alice.api.get("/api/v1/me").status_code == 200
    events = [event for event in admin_sql.execute(EVENTS).fetchall() if event[0].startswith("tenant.s")]
    assert [(action, detail, tenant) for action, _, detail, tenant, _ in events] == [
        ("tenant.suspended", {"reason": "invoice 17 is unpaid"}, alice.tenant.pk)
    ]


def test_the_list_suspends_with_one_reason(staff: Client, alice: Person, mallory: Person, admin_sql: SQL) -> None:
    chosen = {"_selected_action": [str(alice.tenant.pk), str(mallory.tenant.pk)], "action": "suspend"}
    answer = staff.post("/admin/accounts/tenant/", {**chosen, "reason": ""}, follow=True)
    assert answer.content.decode().count("Say why") == 1
    assert alice.api.get("/api/v1/me").status_code == 200
    answer = staff.post("/admin/accounts/tenant/", {**chosen, "reason": "moving house"}, follow=True)
    assert "2 tenants suspended." in answer.content.decode()
    assert alice.api.get("/api/v1/me").status_code == mallory.api.get("/api/v1/me").status_code == 403
    staff.post("/admin/accounts/tenant/", {**chosen, "action": "resume", "reason": "moved"})
    assert alice.api.get("/api/v1/me").status_code == 200
    reasons = "SELECT detail ->> 'reason' FROM accounts_auditevent WHERE action LIKE 'tenant.%%ed' ORDER BY id"
    assert admin_sql.execute(reasons.replace("%%", "%")).fetchall() == [("moving house",)] * 2 + [("moved",)] * 2


def test_a_key_is_revoked_from_its_tenants_page(staff: Client, alice: Person, mallory: Person, admin_sql: SQL) -> None:
    url = page(alice, f"keys/{alice.key.pk}/revoke")
    assert url in staff.get(page(alice)).content.decode()
    assert staff.get(url).status_code == 405
    # Another tenant's key under this one's page is no key at all.
    answer = staff.post(page(alice, f"keys/{mallory.key.pk}/revoke"), follow=True)
    assert "No such api key" in answer.content.decode()
    assert mallory.api.get("/api/v1/me").status_code == 200
    staff.post(url)
    assert alice.api.get("/api/v1/me").status_code == 401
    assert url not in staff.get(page(alice)).content.decode()
    (event,) = [event for event in admin_sql.execute(EVENTS).fetchall() if event[0] == "key.revoked"]
    assert (event[1], event[3]) == (f"key:{alice.key.pk}", alice.tenant.pk)
    assert staff.post(f"/admin/accounts/tenant/{uuid7()}/keys/{alice.key.pk}/revoke/").status_code == 404


def test_a_suspended_tenants_key_can_be_revoked(staff: Client, alice: Person) -> None:
    staff.post(page(alice, "suspend"), {"reason": "leaked key"})
    staff.post(page(alice, f"keys/{alice.key.pk}/revoke"))
    staff.post(page(alice, "resume"), {"reason": "done"})
    assert alice.api.get("/api/v1/me").status_code == 401


def test_deeds_ask_for_their_permissions(alice: Person) -> None:
    _, client = helper_with("view_tenant", "view_apikey", "view_membership", "add_membership", "change_membership")
    text = client.get(page(alice)).content.decode()
    assert "/revoke/" not in text and "/suspend/" not in text
    for deed in ("suspend", "resume", f"keys/{alice.key.pk}/revoke"):
        assert client.post(page(alice, deed), {"reason": "x"}).status_code == 403
    assert client.post(page(alice), form(alice, [])).status_code == 403
    assert alice.api.get("/api/v1/me").status_code == 200


def test_members_are_changed_by_the_domain(staff: Client, alice: Person, admin_sql: SQL) -> None:
    bob, carol = make_member(alice.tenant, user=make_user("bob")), make_user("carol")
    sent = [
        row(alice, alice.user, Role.MEMBER),
        row(alice, bob, Role.OWNER),  # alice stops being an owner in the same click: no order leaves the tenant bare
        {"user": carol.pk, "role": Role.VIEWER},
    ]
    assert staff.post(page(alice), form(alice, sent)).status_code == 302
    assert roles(alice) == {alice.user.email: "member", bob.email: "owner", carol.email: "viewer"}
    sent = [row(alice, alice.user, Role.MEMBER, DELETE="on"), row(alice, bob, Role.OWNER), row(alice, carol, "viewer")]
    assert staff.post(page(alice), form(alice, sent)).status_code == 302
    assert roles(alice) == {bob.email: "owner", carol.email: "viewer"}
    who = User.objects.get(email="staff@example.org").pk
    events = [
        event for event in admin_sql.execute(EVENTS).fetchall() if event[4] == who and event[0].startswith("member.")
    ]
    assert [(action, target, detail, tenant) for action, target, detail, tenant, _ in events] == [
        ("member.added", f"user:{carol.pk}", {"role": "viewer"}, alice.tenant.pk),
        ("member.role", f"user:{bob.pk}", {"from": "member", "to": "owner"}, alice.tenant.pk),
        ("member.role", f"user:{alice.user.pk}", {"from": "owner", "to": "member"}, alice.tenant.pk),
        ("member.removed", f"user:{alice.user.pk}", {}, alice.tenant.pk),
    ]


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"DELETE": "on"}])
def test_the_last_owner_stays(staff: Client, alice: Person, change: dict[str, str]) -> None:
    sent = [{**row(alice, alice.user, Role.OWNER), **change}]
    answer = staff.post(page(alice), form(alice, sent, name="renamed"), follow=True)
    assert "last owner" in answer.content.decode()
    assert roles(alice) == {alice.user.email: "owner"}
    with in_tenant(alice.tenant.pk):
        alice.tenant.refresh_from_db()
    assert alice.tenant.name == "A"  # nothing of the page was saved


def test_who_may_change_tenants_lets_nobody_in(alice: Person) -> None:
    """Django's permissions on memberships alone do nothing, and the named one does not for oneself."""
    helper, client = helper_with("change_tenant", "view_tenant", "add_membership", "change_membership", "view_user")
    sent = [row(alice, alice.user, Role.VIEWER), {"user": helper.pk, "role": Role.OWNER}]
    assert client.post(page(alice), form(alice, sent)).status_code == 302
    assert roles(alice) == {alice.user.email: "owner"}
    helper.user_permissions.add(Permission.objects.get(codename="manage_members"))
    answer = client.post(page(alice), form(alice, [row(alice, alice.user, "owner"), sent[1]]), follow=True)
    assert "ask a superuser" in answer.content.decode()
    assert roles(alice) == {alice.user.email: "owner"}
    other = make_user("other")
    sent = [row(alice, alice.user, "owner"), {"user": other.pk, "role": "member"}]
    assert client.post(page(alice), form(alice, sent)).status_code == 302
    assert roles(alice) == {alice.user.email: "owner", other.email: "member"}


def test_a_person_who_is_a_last_owner_is_not_deleted(staff: Client, alice: Person) -> None:
    url = f"/admin/accounts/user/{alice.user.pk}/delete/"
    assert "A: alice" in staff.get(url).content.decode()
    assert staff.post(url, {"post": "yes"}).status_code in (200, 403)
    assert User.objects.filter(pk=alice.user.pk).exists()
    make_member(alice.tenant, Role.OWNER)
    staff.post(url, {"post": "yes"})
    assert not User.objects.filter(pk=alice.user.pk).exists()


def test_models_of_a_tenant_and_invitations(staff: Client, alice: Person, admin_sql: SQL) -> None:
    offer_sleeping_model()
    Model.objects.create(slug="private", title="Private one", pool="demo", spec=make_entry(), public=False)
    with in_tenant(alice.tenant.pk):
        Invitation.objects.create(email="invited@example.com", expires_at="2030-01-01T00:00:00Z")
    text = staff.get(page(alice)).content.decode()
    assert "invited@example.com" in text and "Private one" in text
    assert ">Sleeping<" not in text  # for everybody anyway
    sent = form(alice, [row(alice, alice.user, "owner")])
    sent |= {"modelgrant-TOTAL_FORMS": 1, "modelgrant-0-model": "private", "modelgrant-0-tenant": alice.tenant.pk}
    assert staff.post(page(alice), sent).status_code == 302
    assert "private" in {model["id"] for model in alice.api.get("/api/v1/models").json()["results"]}
    with in_tenant(alice.tenant.pk):
        assert ModelGrant.objects.count() == 1
    (event,) = [event for event in admin_sql.execute(EVENTS).fetchall() if event[0] == "admin.tenant.changed"]
    assert event[2] == {"modelgrant added": [f"private for {alice.tenant.pk}"]}


def test_usage_is_shown(staff: Client, alice: Person, admin_sql: SQL) -> None:
    admin_sql.execute(
        "INSERT INTO accounts_counter (id, tenant_id, scope, scope_id, metric, period, starts_on, used, reserved)"
        " SELECT gen_random_uuid(), %(t)s, 'tenant', %(t)s, m, p, date_trunc(p, now() AT TIME ZONE 'UTC')::date, n, 2"
        "   FROM (VALUES ('images', 'day', 7), ('images', 'month', 70), ('gpu_ms', 'day', 1500),"
        "                ('gpu_ms', 'month', 15000)) AS v (m, p, n)",
        {"t": alice.tenant.pk},
    )
    text = staff.get(page(alice)).content.decode()
    assert "7 images and 1.5 GPU seconds; 2 images set aside" in text
    assert "70 images and 15.0 GPU seconds" in text
