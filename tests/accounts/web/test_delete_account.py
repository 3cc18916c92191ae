"""Deleting one's account: what goes, what stays, whose pictures they are then, and who cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.domain.closing import ask_deletion
from accounts.domain.deletion import delete_person
from accounts.domain.errands import claim_errand, run_errand
from accounts.domain.invitations import invite_person
from accounts.domain.members import change_role, tenants_of
from accounts.domain.signin import make_sign_in_link
from accounts.errors import InvalidField, LastOwner
from accounts.models import ApiKey, Invitation, KeyDirectory, MemberBudget, Membership, TokenDirectory, User
from accounts.tenancy import in_tenant
from generation.domain import forget, remove  # noqa: F401  (register their handlers, as the worker does)
from generation.models import Generation, Image
from tests.accounts.people import PASSWORD, add_factor, confirm, events, make_person, sign_in
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_tenant
from tests.generation.api.calls import finish, submitted
from tests.mails import waiting_mails

pytestmark = pytest.mark.usefixtures("quick_hashes")
SMALL = {"width": 64, "height": 64}


@pytest.fixture(autouse=True)
def _model(db: None) -> None:
    offer_sleeping_model()


def with_password(person: Person) -> Client:
    """Their browser, a moment after they have typed their password again."""
    person.user.set_password(PASSWORD)
    person.user.save()
    client, _ = sign_in(person.user)
    confirm(client)
    return client


def errands() -> None:
    """Everything that waits, done."""
    while (claimed := claim_errand("test")) is not None:
        assert run_errand(claimed) == "done", claimed


def drawn(person: Person, media: Path, n: int = 1) -> list[Any]:
    found = []
    for _ in range(n):
        generation = submitted(person, **SMALL)
        finish(person, generation, media)
        found.append(generation)
    return found


def files(media: Path) -> list[Path]:
    return [path for path in media.rglob("*") if path.is_file()]


def test_the_page_says_what_happens_and_asks_for_the_password(bob: Person, admin_sql: psycopg.Connection[Any]) -> None:
    bob.user.set_password(PASSWORD)
    bob.user.save()
    client, _ = sign_in(bob.user)
    assert client.get("/account/delete/")["Location"].startswith("/account/confirm/")
    assert client.post("/account/delete/", {"pictures": "delete"})["Location"].startswith("/account/confirm/")
    assert User.objects.get(pk=bob.user.pk).is_active
    confirm(client)
    page = client.get("/account/delete/").content.decode()
    for words in (
        "You leave these organisations:",
        "<strong>A</strong>",
        "cannot be undone",
        'value="hand_over" checked',
    ):
        assert words in page


def test_pictures_stay_with_the_tenant(
    alice: Person, bob: Person, media: Path, admin_sql: psycopg.Connection[Any]
) -> None:
    (generation,) = drawn(bob, media)
    with in_tenant(bob.tenant.pk):
        MemberBudget.objects.create(user=bob.user, limits={"images_per_day": 5})
    add_factor(bob.user)
    make_sign_in_link(bob.user, "/studio/")
    Authenticator.objects.all().delete()
    client, other = with_password(bob), sign_in(bob.user)[0]
    old = bob.user.email
    answer = client.post("/account/delete/", {"pictures": "hand_over"})
    assert answer["Location"] == "/sign-in/"
    assert b"Your account is deleted." in client.get("/sign-in/").content

    # 1. Nobody gets in any more
    assert [one.get("/account/").status_code for one in (client, other)] == [302, 302]
    assert bob.api.get("/api/v1/me").status_code == 401
    assert sign_in(bob.user)[1].status_code == 400
    assert not Session.objects.filter(session_key=other.cookies["studio_session"].value).exists()

    # 2. Nothing of the person is left but an id
    row = User.objects.get(pk=bob.user.pk)
    assert (row.name, row.language, row.is_active, row.has_usable_password()) == ("", "", False, False)
    assert row.email.endswith("@deleted.invalid") and row.get_short_name() == "somebody who left"
    assert not Membership.objects.filter(user=row).exists()
    for model in (EmailAddress, Authenticator, TokenDirectory):
        assert not model.objects.filter(user=row).exists()
    with in_tenant(bob.tenant.pk):
        assert ApiKey.objects.get(user=row).revoked_at is not None
        assert not MemberBudget.objects.exists()
    assert KeyDirectory.objects.count() == 1, "alice's"

    # 3. The picture is the tenant's
    errands()
    assert len(files(media)) == 2
    assert alice.client.get(f"/gallery/{generation}/").status_code == 200
    with in_tenant(alice.tenant.pk):
        assert Generation.objects.get().user == row.pk

    # 4. It is written down, and the old address was told
    found = events(admin_sql, "account.deleted", "member.left", "key.revoked")
    assert sorted(name for name, _, _ in found) == ["account.deleted", "key.revoked", "member.left"]
    assert old not in str(admin_sql.execute("SELECT detail, target FROM accounts_auditevent").fetchall())


def test_the_old_address_is_told(alice: Person, bob: Person) -> None:
    old = bob.user.email
    delete_person(user=bob.user, pictures="hand_over")
    assert [mail["to"] for mail in waiting_mails("account_deleted")] == [old]


def test_pictures_are_deleted_everywhere_one_belongs(alice: Person, bob: Person, mallory: Person, media: Path) -> None:
    drawn(bob, media, 3)
    (kept,) = drawn(alice, media)
    waiting = submitted(bob, **SMALL)
    client = with_password(bob)
    assert client.post("/account/delete/", {"pictures": "delete"}).status_code == 302
    errands()
    with in_tenant(alice.tenant.pk):
        assert list(Generation.objects.values_list("pk", flat=True)) == [kept]
        assert Image.objects.count() == 1
        assert not Generation.objects.filter(pk=waiting).exists(), "what waited was cancelled first"
    assert len(files(media)) == 2, "a picture and its thumbnail, alice's"
    assert all(str(alice.user.pk) in str(path) for path in files(media))


def test_what_a_worker_draws_goes_when_it_has_let_go(alice: Person, bob: Person, media: Path) -> None:
    generation = submitted(bob, **SMALL)
    with in_tenant(bob.tenant.pk):
        Generation.objects.filter(pk=generation).update(status="running")
    delete_person(user=bob.user, pictures="delete")
    claimed = claim_errand("test", slow=True)
    assert claimed is not None and claimed.kind == "delete_pictures"
    assert run_errand(claimed) == "retry"
    with in_tenant(bob.tenant.pk):
        assert Generation.objects.get().cancel_requested_at is not None
        Generation.objects.update(status="canceled")
    from accounts.domain.sql import execute
    from accounts.tenancy import across_tenants

    with across_tenants():
        execute("UPDATE accounts_errand SET due_at = now()")
    errands()
    with in_tenant(bob.tenant.pk):
        assert not Generation.objects.exists()


def test_the_last_owner_stays(alice: Person, bob: Person) -> None:
    second, _ = make_tenant("Second", owner=alice.user)
    client = with_password(alice)
    page = client.get("/account/delete/").content.decode()
    assert "<strong>A</strong>" in page and "<strong>Second</strong>" in page and "Make somebody else an owner" in page
    assert "Delete my account" not in page
    assert client.post("/account/delete/", {"pictures": "hand_over"}).status_code == 409
    with pytest.raises(LastOwner, match=r"\(A, Second\)"):
        delete_person(user=alice.user, pictures="hand_over")
    alice.user.refresh_from_db()
    assert alice.user.is_active and len(tenants_of(alice.user.pk)) == 2

    with in_tenant(alice.tenant.pk):
        change_role(by=alice.caller, user_id=bob.user.pk, role="owner")
    with pytest.raises(LastOwner, match=r"\(Second\)"):
        delete_person(user=alice.user, pictures="hand_over")
    from accounts.domain.callers import caller_of_member

    with in_tenant(second.pk):
        ask_deletion(by=caller_of_member(user_id=alice.user.pk, tenant_id=second.pk), confirm="Second")
    delete_person(user=alice.user, pictures="hand_over")
    assert not User.objects.get(pk=alice.user.pk).is_active


def test_an_invitation_forgets_the_address(alice: Person) -> None:
    carol = make_person()
    with in_tenant(alice.tenant.pk):
        invite_person(by=alice.caller, email=carol.email, role="member")
    from accounts.domain.invitations import accept_invitation
    from tests.mails import invitation_token

    accept_invitation(token=invitation_token(carol.email), user=carol)
    delete_person(user=carol, pictures="hand_over")
    with in_tenant(alice.tenant.pk):
        assert Invitation.objects.get().email.endswith("@deleted.invalid")


def test_nonsense_is_refused_and_changes_nothing(bob: Person) -> None:
    client = with_password(bob)
    for choice in ("", "burn", "delete, hand_over"):
        assert client.post("/account/delete/", {"pictures": choice}).status_code == 400
    with pytest.raises(InvalidField):
        delete_person(user=bob.user, pictures="burn")
    assert User.objects.get(pk=bob.user.pk).is_active


def test_who_has_no_password_needs_a_fresh_sign_in(db: None) -> None:
    user = make_person("nopass")
    user.set_unusable_password()
    user.save()
    path = make_sign_in_link(user, "/account/delete/").split("8000", 1)[1]
    client = Client()
    assert client.post(path, follow=True).redirect_chain[-1] == ("/account/delete/", 302)
    assert client.get("/account/delete/").status_code == 200
    User.objects.update(last_login="2020-01-01T00:00:00Z")
    stale = client.get("/account/delete/", follow=True)
    assert (stale.status_code, stale.redirect_chain) == (403, [])
    assert "Set a password" in stale.content.decode() and "Delete my account" not in stale.content.decode()
    assert client.post("/account/delete/", {"pictures": "delete"}).status_code == 403
    assert User.objects.get(pk=user.pk).is_active


def test_the_address_is_free_again(bob: Person) -> None:
    old = bob.user.email
    delete_person(user=bob.user, pictures="hand_over")
    assert User.objects.create_user(old, PASSWORD).email == old


def test_who_has_one_organisation_is_offered_no_other(bob: Person) -> None:
    page = with_password(bob).get("/account/delete/").content.decode()
    assert "You leave these organisations:" in page
    assert "switcher" not in page
