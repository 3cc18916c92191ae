"""The page of the team, the way in by an invitation's link, and the organisations of a person."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.domain.closing import ask_deletion
from accounts.domain.members import tenants_of
from accounts.domain.passes import PASS_COOKIE, read_pass
from accounts.domain.tenants import change_tenant, suspend_tenant
from accounts.enums import Role
from accounts.models import ApiKey, Invitation, MemberBudget, Membership, Tenant
from accounts.tenancy import across_tenants, in_tenant
from tests.factories import Person, make_member, make_person, make_tenant, make_user
from tests.generation.api.calls import BODY, rows
from tests.mails import invitation_token, waiting_mails


def text(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def role_of(person: Person, tenant: Tenant | None = None) -> str | None:
    rows = Membership.objects.filter(user=person.user, tenant=tenant or person.tenant)
    return rows.values_list("role", flat=True).first()


@pytest.fixture
def admin(alice: Person) -> Person:
    return make_person(alice.tenant, make_member(alice.tenant, Role.ADMIN, user=make_user("ann")))


def test_members_see_whom_to_ask_and_nobody_else(alice: Person, bob: Person, mallory: Person) -> None:
    make_member(alice.tenant, user=make_user("carol"))
    page = bob.client.get("/team/")
    assert page.status_code == 200
    words = text(page)
    assert alice.user.email in words and "Your role here: member." in words
    assert "carol" not in words and mallory.user.email not in words and "/team/organisation/" not in words
    assert bob.client.post("/team/", {"email": "x@example.com", "role": "member"}).status_code == 403
    for path in ("/team/organisation/", "/team/audit/", "/team/audit/csv/"):
        assert bob.client.get(path).status_code == 403
    assert waiting_mails() == []


def test_admins_invite_renew_and_take_back(admin: Person, alice: Person) -> None:
    page = admin.client.get("/team/")
    assert '<option value="owner"' not in page.content.decode(), "admins make no owners"
    assert '<option value="owner"' in alice.client.get("/team/").content.decode()
    said = admin.client.post("/team/", {"email": "carol@example.com", "role": "viewer"}, follow=True)
    assert "on its way to carol@example.com" in text(said)
    twice = admin.client.post("/team/", {"email": "carol@example.com", "role": "viewer"})
    assert twice.status_code == 409 and "open invitation already" in text(twice)
    assert admin.client.post("/team/", {"email": "o@example.com", "role": "owner"}).status_code == 400
    with in_tenant(admin.tenant.pk):
        made = Invitation.objects.get()
    again = admin.client.post(f"/team/invitations/{made.pk}/renew/", follow=True)
    assert "the old one is worth nothing" in text(again) and len(waiting_mails("invitation")) == 2
    gone = admin.client.post(f"/team/invitations/{made.pk}/revoke/", follow=True)
    assert "taken back" in text(gone) and "carol@example.com" not in text(admin.client.get("/team/"))
    late = admin.client.post(f"/team/invitations/{made.pk}/renew/", follow=True)
    assert "This invitation was taken back" in text(late)


def test_roles_change_and_members_go(alice: Person, bob: Person, admin: Person, mallory: Person) -> None:
    said = alice.client.post(f"/team/members/{bob.user.pk}/role/", {"role": "viewer"}, follow=True)
    assert "bob is viewer now." in text(said) and role_of(bob) == "viewer"
    assert admin.client.post(f"/team/members/{alice.user.pk}/role/", {"role": "viewer"}).status_code == 403
    own = alice.client.post(f"/team/members/{alice.user.pk}/role/", {"role": "viewer"}, follow=True)
    assert "You cannot change your own role" in text(own) and role_of(alice) == "owner"
    assert alice.client.post(f"/team/members/{mallory.user.pk}/role/", {"role": "viewer"}).status_code == 404
    assert bob.client.post(f"/team/members/{admin.user.pk}/remove/").status_code == 403
    alice.client.post(f"/team/members/{bob.user.pk}/remove/")
    assert role_of(bob) is None and bob.api.get("/api/v1/me").status_code == 401
    assert bob.client.get("/team/").status_code == 403, "their session belongs to no tenant any more"


def test_leaving(alice: Person, bob: Person) -> None:
    last = alice.client.post("/team/leave/", follow=True)
    assert role_of(alice) == "owner" and "last owner" in text(last)
    left = bob.client.post("/team/leave/", follow=True)
    assert role_of(bob) is None and "You have left A." in text(left) and "You belong to no organisation" in text(left)


def test_team_costs_the_same_however_large(alice: Person) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert alice.client.get("/team/").status_code == 200
        return len(queries)

    make_member(alice.tenant)
    alice.client.get("/team/")
    few = cost()
    for number in range(12):
        make_member(alice.tenant)
        alice.client.post("/team/", {"email": f"c{number}@example.com", "role": "member"})
    alice.client.get("/team/")
    assert cost() == few <= 15


# ---- by the link


def invited(by: Person, email: str, role: str = "viewer") -> str:
    assert by.client.post("/team/", {"email": email, "role": role}).status_code == 302
    return f"/join/{invitation_token(email)}/"


def test_right_person_joins_with_one_click_and_lands_there(alice: Person, mallory: Person) -> None:
    link = invited(alice, mallory.user.email)
    page = mallory.client.get(link)
    assert (page.status_code, "no-store" in page["Cache-Control"]) == (200, True)
    assert "alice invites you to draw with A." in text(page) and "viewer" in text(page)
    assert role_of(mallory, alice.tenant) is None, "looking is not accepting"
    done = mallory.client.post(link, follow=True)
    assert "Welcome to A." in text(done) and role_of(mallory, alice.tenant) == "viewer"
    assert mallory.client.get("/api/v1/me").json()["tenant"]["name"] == "A"
    again = mallory.client.post(link)
    assert again.status_code == 410 and "accepted already" in text(again)


def test_somebody_else_is_told_and_can_sign_out(alice: Person, mallory: Person) -> None:
    link = invited(alice, "carol@example.com")
    page = mallory.client.get(link)
    assert "This invitation is for carol@example.com, and you are signed in as" in text(page)
    refused = mallory.client.post(link)
    assert refused.status_code == 403 and "This invitation is for carol@example.com" in text(refused)
    assert role_of(mallory, alice.tenant) is None
    out = mallory.client.post(link, {"as": "somebody else"}, follow=True)
    assert "Create an account" in text(out) and f"/sign-in/?next={link}" in out.content.decode()


def test_strangers_sign_in_or_up(alice: Person) -> None:
    link = invited(alice, "carol@example.com")
    page = Client().get(link)
    assert link.replace("/join/", "/sign-up/") in page.content.decode()
    assert Client().post(link).status_code == 200, "a post without a person only shows the page"
    with override_settings(STUDIO_SIGNUP="closed"):
        assert "/sign-up/" not in Client().get(link).content.decode()


@pytest.mark.parametrize(("spoil", "status", "words"), [
    ("unknown", 404, "not known here"), ("expired", 410, "has expired"), ("revoked", 410, "taken back"),
    ("suspended", 410, "takes nobody in"),
])  # fmt: skip
def test_links_that_do_not_work_say_why(alice: Person, mallory: Person, spoil: str, status: int, words: str) -> None:
    link = invited(alice, mallory.user.email)
    if spoil == "unknown":
        link = "/join/nonsense/"
    elif spoil == "suspended":
        suspend_tenant(alice.tenant, reason="test")
    else:
        changed = {"expired": {"expires_at": timezone.now()}, "revoked": {"revoked_at": timezone.now()}}[spoil]
        with across_tenants():
            Invitation.objects.update(**changed)
    for answer in (mallory.client.get(link), mallory.client.post(link), Client().get(link)):
        assert answer.status_code == status and words in text(answer)
    assert role_of(mallory, alice.tenant) is None


def test_the_log_has_no_token(alice: Person, caplog: pytest.LogCaptureFixture) -> None:
    link = invited(alice, "carol@example.com")
    with caplog.at_level("INFO", logger="qwenstudio.access"):
        Client().get(link)
    assert "/join/…" in caplog.text and link not in caplog.text


# ---- several organisations


def test_switcher_remembers_and_the_pass_follows(alice: Person, mallory: Person) -> None:
    assert "data-menu" in (page := alice.client.get("/studio/").content.decode()) and "switcher" not in page
    make_member(mallory.tenant, Role.VIEWER, user=alice.user)
    assert "switcher" in alice.client.get("/studio/").content.decode()
    answer = alice.client.post("/organisations/switch/", {"tenant": str(mallory.tenant.pk)})
    assert answer.status_code == 302
    found = read_pass(answer.cookies[PASS_COOKIE].value)
    assert found is not None and found.tenant == mallory.tenant.pk, "with this very answer"
    assert alice.client.get("/api/v1/me").json()["tenant"]["name"] == "B"
    assert alice.client.get("/api/v1/me").json()["member"]["role"] == "viewer"
    alice.client.post("/organisations/switch/", {"tenant": str(alice.tenant.pk)})
    assert alice.client.get("/api/v1/me").json()["tenant"]["name"] == "A"


def test_a_tab_of_the_other_organisation_draws_nothing_there(alice: Person, mallory: Person) -> None:
    make_member(mallory.tenant, user=alice.user)
    shown = {"X-Studio-Tenant": str(alice.tenant.pk)}
    assert f'data-tenant="{alice.tenant.pk}"' in alice.client.get("/studio/").content.decode()
    assert alice.client.get("/api/v1/me", headers=shown).status_code == 200
    alice.client.post("/organisations/switch/", {"tenant": str(mallory.tenant.pk)})
    late = alice.client.post("/api/v1/images", BODY, content_type="application/json", headers=shown)
    assert (late.status_code, late.json()["code"]) == (403, "tenant_switched")
    form = {"email": "carol@example.com", "role": "member", "here": str(alice.tenant.pk)}
    told = alice.client.post("/team/", form, follow=True)
    assert "in another organisation since" in text(told) and waiting_mails() == []
    alice.client.post("/team/leave/", {"here": str(alice.tenant.pk)})
    assert role_of(alice, mallory.tenant) == "member"
    alice.client.post("/keys/", {"name": "x", "scopes": "images:read", "here": str(alice.tenant.pk)})
    with in_tenant(mallory.tenant.pk):
        assert not ApiKey.objects.filter(user=alice.user).exists()
    for person in (alice, mallory):
        assert rows(person) == []
    assert alice.api.get("/api/v1/me", headers={"X-Studio-Tenant": "x"}).status_code == 200, "a key has one tenant"


def test_a_tab_of_the_other_organisation_touches_nobody_who_is_in_both(alice: Person, bob: Person) -> None:
    second, _ = make_tenant("Second", owner=alice.user)
    make_member(second, user=bob.user)
    shown = alice.client.get("/team/").content.decode()
    assert shown.count(f'name="here" value="{alice.tenant.pk}"') >= 3
    alice.client.post("/organisations/switch/", {"tenant": str(second.pk)})
    here = {"here": str(alice.tenant.pk)}
    for path, fields in (
        (f"/team/members/{bob.user.pk}/remove/", {}),
        (f"/team/members/{bob.user.pk}/role/", {"role": "admin"}),
        (f"/usage/budgets/{bob.user.pk}/", {"images_per_day": "1"}),
    ):
        assert "in another organisation since" in text(alice.client.post(path, {**fields, **here}, follow=True))
    assert role_of(bob, second) == role_of(bob, alice.tenant) == "member"
    with in_tenant(second.pk):
        assert not MemberBudget.objects.exists()
    alice.client.post(f"/team/members/{bob.user.pk}/remove/", {"here": str(second.pk)})
    assert (role_of(bob, second), role_of(bob, alice.tenant)) == (None, "member")


def test_foreign_and_random_tenants_are_not_there_to_switch_to(alice: Person, mallory: Person) -> None:
    for tenant in (mallory.tenant.pk, "01a20000-0000-7000-8000-000000000000", "x"):
        assert alice.client.post("/organisations/switch/", {"tenant": str(tenant)}).status_code == 404
        assert alice.client.get("/api/v1/me").json()["tenant"]["name"] == "A"
    assert alice.client.post(f"/organisations/{mallory.tenant.pk}/keep/").status_code == 404
    assert Client().get("/organisations/").status_code == 302


def test_closed_tenant_leads_to_the_next_one(alice: Person, mallory: Person) -> None:
    make_member(mallory.tenant, Role.MEMBER, user=alice.user)
    suspend_tenant(alice.tenant, reason="unpaid")
    assert alice.client.get("/api/v1/me").json()["tenant"]["name"] == "B"
    page = alice.client.get("/organisations/")
    assert "Suspended." in text(page) and "You are working here." in text(page)
    answer = alice.client.post("/organisations/switch/", {"tenant": str(alice.tenant.pk)}, follow=True)
    assert "This organisation is suspended" in text(answer)


def test_further_organisations_only_where_the_studio_is_open(alice: Person) -> None:
    assert "New organisation" not in text(alice.client.get("/organisations/"))
    refused = alice.client.post("/organisations/new/", {"name": "Second"})
    assert refused.status_code == 403 and len(tenants_of(alice.user.pk)) == 1
    with override_settings(STUDIO_SIGNUP="open"):
        assert "New organisation" in text(alice.client.get("/organisations/"))
        assert alice.client.post("/organisations/new/", {"name": " "}).status_code == 400
        made = alice.client.post("/organisations/new/", {"name": "Second"}, follow=True)
        assert "Second is yours." in text(made)
        assert alice.client.get("/api/v1/me").json()["tenant"]["name"] == "Second"


def test_closing_tenant_shows_the_day_and_owners_keep_it(alice: Person, bob: Person) -> None:
    wrong = alice.client.post("/team/organisation/delete/", {"confirm": "B"})
    assert wrong.status_code == 400 and "exactly as it stands" in text(wrong)
    asked = alice.client.post("/team/organisation/delete/", {"confirm": "A"}, follow=True)
    day = (timezone.now() + timedelta(days=30)).date()
    assert f"Will be deleted on {day}" in text(asked) and "Keep it" in text(asked)
    assert alice.api.get("/api/v1/me").status_code == 403
    assert alice.client.get("/studio/", follow=True).redirect_chain[-1][0] == "/organisations/"
    theirs = bob.client.get("/organisations/")
    assert f"Will be deleted on {day}" in text(theirs) and "Keep it" not in text(theirs)
    denied = bob.client.post(f"/organisations/{alice.tenant.pk}/keep/", follow=True)
    assert "Only an owner" in text(denied)
    kept = alice.client.post(f"/organisations/{alice.tenant.pk}/keep/", follow=True)
    assert "A stays." in text(kept) and alice.client.get("/studio/").status_code == 200
    assert bob.client.post("/team/organisation/delete/", {"confirm": "A"}).status_code == 403


def test_someone_invited_into_a_network_they_are_not_in(alice: Person, mallory: Person) -> None:
    link = invited(alice, mallory.user.email)
    with in_tenant(alice.tenant.pk):
        change_tenant(by=alice.caller, address="192.0.2.1", networks=["192.0.2.0/24"])
    done = mallory.client.post(link, follow=True)
    assert role_of(mallory, alice.tenant) == "viewer" and "address" in text(done)
    assert mallory.client.get("/api/v1/me").json()["tenant"]["name"] == "B"


def test_page_of_organisations_needs_no_tenant(db: None) -> None:
    loner = make_user("loner")
    client = Client()
    client.force_login(loner)
    assert "You belong to no organisation." in text(client.get("/organisations/"))
    _, owner = make_tenant("C")
    client.force_login(owner)
    tenant = tenants_of(owner.pk)[0]
    with in_tenant(tenant.id):
        from accounts.domain.callers import caller_of_member

        ask_deletion(by=caller_of_member(user_id=owner.pk, tenant_id=tenant.id), confirm="C")
    assert "Keep it" in text(client.get("/organisations/"))
