"""Sign-up by oneself, by invitation and not at all; the address is verified before anybody comes in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import hashers
from django.test import Client
from django.utils import timezone

from accounts.domain.invitations import invite_person, revoke_invitation
from accounts.domain.members import tenants_of
from accounts.models import Invitation, Membership, Tenant, User
from accounts.tenancy import in_tenant
from tests.accounts.people import PASSWORD, SQL, events, link_in, make_person, sign_in
from tests.factories import Person
from tests.mails import invitation_token, waiting_mails

pytestmark = pytest.mark.usefixtures("quick_hashes")
FORM = {"name": "Dora", "email": "Dora@Example.com", "password": PASSWORD}


@pytest.fixture
def open_studio(settings: Any) -> None:
    settings.STUDIO_SIGNUP = "open"


def invite(alice: Person, email: str, role: str = "member") -> str:
    with in_tenant(alice.tenant.pk):
        invite_person(by=alice.caller, email=email, role=role)
    return invitation_token(email)


# ---- open


def test_sign_up_verify_and_a_studio_of_ones_own(db: None, open_studio: None, admin_sql: SQL) -> None:
    client = Client(headers={"Accept-Language": "en"})
    client.get("/sign-up/")
    assert client.post("/sign-up/", FORM)["Location"] == "/account/verify/"
    assert b"Check your mailbox" in client.get("/account/verify/").content
    user = User.objects.get()
    assert (user.email, user.name, user.language) == ("dora@example.com", "Dora", "en")
    assert not Membership.objects.exists() and user.last_login is None
    assert client.get("/studio/").status_code == 302  # not in yet

    path = link_in("verify_address", "dora@example.com")
    assert client.get(path).status_code == 200
    assert not EmailAddress.objects.get().verified, "looking at the page proves nothing"
    before = client.cookies["studio_session"].value
    assert client.post(path)["Location"] == "/studio/"
    assert client.cookies["studio_session"].value != before, "the session rotates at sign-in"
    assert EmailAddress.objects.get().verified
    (choice,) = tenants_of(user.pk)
    assert (choice.name, choice.role) == ("Dora’s studio", "owner")
    with in_tenant(choice.id):
        assert Tenant.objects.get().plan.slug == "default"
    assert client.get("/studio/").status_code == 200
    assert [row[0] for row in events(admin_sql, "sign_up", "email.verified", "sign_in")] == [
        "sign_up", "email.verified", "sign_in"
    ]  # fmt: skip
    assert Client().post(path).status_code == 410, "once"


def test_another_browser_verifies_but_is_not_let_in(db: None, open_studio: None) -> None:
    Client().post("/sign-up/", FORM)
    other = Client()
    assert other.post(link_in("verify_address", "dora@example.com"))["Location"] == "/sign-in/"
    assert other.get("/studio/").status_code == 302
    user = User.objects.get()
    assert [choice.role for choice in tenants_of(user.pk)] == ["owner"]
    assert sign_in(user)[1]["Location"] == "/"


def test_unverified_people_do_not_get_in_and_are_sent_the_link_again(db: None, open_studio: None) -> None:
    Client().post("/sign-up/", FORM)
    client, answer = sign_in(User.objects.get(), FORM["password"])
    assert answer.status_code == 400 and b"We have sent it again." in answer.content
    assert client.get("/studio/").status_code == 302
    assert len(waiting_mails("verify_address")) == 2


@pytest.mark.parametrize("email", ["caro\u0131@example.com", '"\x1b[1m"@example.com'])
def test_an_address_that_looks_like_another_is_none(db: None, open_studio: None, email: str) -> None:
    form = {"name": "Carol", "email": email, "password": "a few words of mine"}
    assert Client().post("/sign-up/", form).status_code == 400
    assert not User.objects.exists()


def test_the_password_of_a_sign_up_does_not_tell_whether_there_was_an_account(db: None, open_studio: None) -> None:
    """Whoever signs up with somebody's address knows the password if the address was new, and only then."""
    carol, answers = make_person(password="another pair of words"), []
    for email in (carol.email, "new@example.com"):
        Client().post("/sign-up/", {**FORM, "email": email})
        client = Client()
        answer = client.post("/sign-in/", {"email": email, "password": FORM["password"]})
        page = strip_csrf(answer.content.decode().replace(email, "-"))
        answers.append((answer.status_code, answer.get("Location"), sorted(client.cookies), page))
    assert answers[0] == answers[1]


def test_a_known_address_gets_the_same_answer_and_another_mail(db: None, open_studio: None) -> None:
    carol = make_person()
    answers = []
    for email in (carol.email, "new@example.com"):
        client = Client()
        answer = client.post("/sign-up/", {**FORM, "email": email})
        page = client.get("/account/verify/").content.decode()
        answers.append((answer.status_code, answer["Location"], sorted(client.cookies), strip_csrf(page)))
    assert answers[0] == answers[1]
    assert [(mail["name"], mail["to"]) for mail in waiting_mails()] == [
        ("account_exists", carol.email), ("verify_address", "new@example.com")
    ]  # fmt: skip
    assert User.objects.count() == 2
    assert sign_in(carol)[1]["Location"] == "/", "the old password stays"


def test_a_known_address_takes_the_same_work(db: None, open_studio: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One password is hashed either way: the time of the answer is that of the hash."""
    carol, hashed = make_person(), []
    encode = hashers.PBKDF2PasswordHasher.encode

    def count(self: Any, password: str, salt: str, iterations: int | None = None) -> str:
        hashed.append(password)
        return encode(self, password, salt, 1)

    monkeypatch.setattr(hashers.PBKDF2PasswordHasher, "encode", count)  # the quick one's too
    for email in (carol.email, "new@example.com"):
        Client().post("/sign-up/", {**FORM, "email": email})
        assert hashed == [PASSWORD]
        hashed.clear()


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("short", "at least 10"),
        ("qwertyuiop", "too common"),
        ("8316592047", "entirely numeric"),
        ("dora@example.com", "too similar"),
        ("", "required"),
    ],
)
def test_weak_passwords_are_refused(db: None, open_studio: None, password: str, says: str) -> None:
    answer = Client().post("/sign-up/", {**FORM, "password": password})
    assert answer.status_code == 400
    assert says in answer.content.decode()
    assert not User.objects.exists() and not waiting_mails()


def test_one_place_signs_up_so_often_and_no_more(db: None, open_studio: None) -> None:
    client = Client(REMOTE_ADDR="192.0.2.7")
    statuses = [client.post("/sign-up/", {**FORM, "email": f"p{n}@example.com"}).status_code for n in range(21)]
    assert statuses == [302] * 20 + [429]
    assert User.objects.count() == 20
    assert Client(REMOTE_ADDR="192.0.2.8").post("/sign-up/", FORM).status_code == 302


def test_sign_ups_that_nobody_verified_are_forgotten(db: None, open_studio: None, alice: Person) -> None:
    Client().post("/sign-up/", FORM)
    week = timezone.now() - timedelta(days=8)
    User.objects.update(created_at=week)
    Client().post("/sign-up/", {**FORM, "email": "other@example.com"})
    assert not User.objects.filter(email="dora@example.com").exists()
    assert User.objects.filter(pk=alice.user.pk).exists(), "old, and verified"


def test_two_clicks_make_one_studio(db: None, open_studio: None) -> None:
    from accounts.domain.signup import give_own_tenant

    Client().post("/sign-up/", FORM)
    user = User.objects.get()
    for _ in range(2):
        give_own_tenant(user)
    assert len(tenants_of(user.pk)) == 1


# ---- by invitation


def test_an_invitation_makes_a_member_at_once(alice: Person, admin_sql: SQL) -> None:
    token = invite(alice, "dora@example.com", role="viewer")
    client = Client()
    page = client.get(f"/sign-up/{token}/").content.decode()
    assert 'value="dora@example.com"' in page and "readonly" in page and "You are invited to A." in page
    assert client.post(f"/sign-up/{token}/", FORM)["Location"] == "/studio/"
    assert client.get("/gallery/").status_code == 200
    user = User.objects.get(email="dora@example.com")
    assert [(choice.id, choice.role) for choice in tenants_of(user.pk)] == [(alice.tenant.pk, "viewer")]
    assert EmailAddress.objects.get(user=user).verified
    assert [mail["name"] for mail in waiting_mails() if mail["to"] == user.email] == ["invitation"]
    assert [row[:2] for row in events(admin_sql, "sign_up", "sign_in")] == [("sign_up", "ok"), ("sign_in", "ok")]
    used = Client().get(f"/sign-up/{token}/")
    assert used.status_code == 410 and "has been accepted already" in used.content.decode()


def test_an_invitation_is_for_its_address(alice: Person) -> None:
    token = invite(alice, "dora@example.com")
    answer = Client().post(f"/sign-up/{token}/", {**FORM, "email": "eve@example.com"})
    assert answer.status_code == 400
    assert "This invitation is for dora@example.com." in answer.content.decode()
    assert not User.objects.filter(name="Dora").exists()
    with in_tenant(alice.tenant.pk):
        assert Invitation.objects.get().accepted_at is None


def test_an_invitation_that_ends_meanwhile_leaves_nobody(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    token = invite(alice, "dora@example.com")
    with in_tenant(alice.tenant.pk):
        invitation = Invitation.objects.get()

    def end_first(request: Any) -> None:
        with in_tenant(alice.tenant.pk):
            revoke_invitation(by=alice.caller, invitation_id=invitation.pk)

    monkeypatch.setattr("accounts.domain.signup.drop_stale_sign_ups", lambda: end_first(None))
    answer = Client().post(f"/sign-up/{token}/", FORM)
    assert answer.status_code == 400 and "taken back" in answer.content.decode()
    assert not User.objects.filter(name="Dora").exists()


def test_who_has_an_account_is_led_to_sign_in(alice: Person) -> None:
    carol = make_person()
    token = invite(alice, carol.email)
    answer = Client().post(f"/sign-up/{token}/", {**FORM, "email": carol.email})
    assert answer.status_code == 400
    assert "There is an account with this address" in answer.content.decode()
    assert not tenants_of(carol.pk)


def test_who_is_signed_in_is_led_to_accept(alice: Person, mallory: Person) -> None:
    token = invite(alice, mallory.user.email)
    assert mallory.client.get(f"/sign-up/{token}/")["Location"] == f"/join/{token}/"
    assert mallory.client.get("/sign-up/")["Location"] == "/"


def test_an_unknown_token_is_none(db: None) -> None:
    answer = Client().get("/sign-up/nonsense/")
    assert answer.status_code == 410
    assert b"This invitation does not work" in answer.content


# ---- closed


@pytest.mark.parametrize(("mode", "says"), [("invited", "By invitation"), ("closed", "No sign-up here")])
@pytest.mark.parametrize("contact", ["", "it@example.com", "Ask Eve in room 12."])
def test_closed_studios_say_whom_to_ask(db: None, settings: Any, mode: str, says: str, contact: str) -> None:
    settings.STUDIO_SIGNUP, settings.STUDIO_CONTACT = mode, contact
    for answer in (Client().get("/sign-up/"), Client().post("/sign-up/", FORM)):
        page = answer.content.decode()
        assert answer.status_code == 403 and says in page and contact in page
        assert ("mailto:it@example.com" in page) == ("@" in contact)
    assert not User.objects.exists()


def test_a_closed_studio_takes_no_invitation_for_a_new_account(alice: Person, settings: Any) -> None:
    token = invite(alice, "dora@example.com")
    settings.STUDIO_SIGNUP = "closed"
    assert Client().post(f"/sign-up/{token}/", FORM).status_code == 403
    assert not User.objects.filter(name="Dora").exists()


def strip_csrf(page: str) -> list[str]:
    return [line for line in page.splitlines() if "csrf" not in line.lower()]
