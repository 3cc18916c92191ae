"""Passwords: forgotten, changed, weak; one answer for known and unknown addresses; what ends with the old one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.domain.members import tenants_of
from accounts.models import User
from accounts.web.throttle import PER_PERSON
from tests.accounts.people import (
    PASSWORD,
    SQL,
    add_factor,
    code_now,
    confirm,
    events,
    forget_tries,
    link_in,
    make_person,
    sign_in,
)
from tests.mails import waiting_mails

pytestmark = pytest.mark.usefixtures("quick_hashes")
NEW = "another pair of words"
WEAK = [
    ("short", "at least 10"),
    ("qwertyuiop", "too common"),
    ("8316592047", "numeric"),
    ("carol@exam", "too similar"),
]


@pytest.fixture
def carol(db: None) -> User:
    return make_person()


def ask(email: str, client: Client | None = None) -> Any:
    return (client or Client()).post("/account/password/reset/", {"email": email})


def open_link(client: Client, user: User) -> str:
    """Follow the link of the newest mail; the address of the form behind it has no secret in it."""
    answer = client.get(link_in("reset_password", user.email))
    assert answer.status_code == 302 and answer["Location"].endswith("-set-password/")
    return str(answer["Location"])


# ---- forgotten


def test_reset_by_mail(carol: User, admin_sql: SQL) -> None:
    elsewhere, _ = sign_in(carol)
    client = Client()
    assert ask(carol.email.upper(), client)["Location"] == "/account/password/reset/sent/"
    assert b"If there is an account" in client.get("/account/password/reset/sent/").content
    form = open_link(client, carol)
    assert client.get(form).status_code == 200
    assert client.post(form, {"password": NEW})["Location"] == "/account/password/reset/done/"
    assert client.get("/account/password/reset/done/").status_code == 200
    carol.refresh_from_db()
    assert carol.check_password(NEW)
    assert elsewhere.get("/account/").status_code == 302, "signed out everywhere"
    assert b"This link is spent" in Client().get(link_in("reset_password", carol.email)).content
    assert sign_in(carol, NEW)[1]["Location"] == "/"
    found = [row[:2] for row in events(admin_sql, "password.reset_asked", "password.changed", "password.reset")]
    assert found == [("password.reset_asked", "ok"), ("password.changed", "ok"), ("password.reset", "ok")]
    assert [mail["to"] for mail in waiting_mails("password_changed")] == [carol.email]


def test_known_unknown_and_disabled_get_one_answer(carol: User, admin_sql: SQL) -> None:
    gone = make_person("gone", is_active=False)
    answers = [ask(email) for email in (carol.email, "nobody@example.com", gone.email)]
    assert {(answer.status_code, answer["Location"]) for answer in answers} == {(302, "/account/password/reset/sent/")}
    assert [mail["name"] for mail in waiting_mails()] == ["reset_password", "no_account", "no_account"]
    assert [row[1] for row in events(admin_sql, "password.reset_asked")] == ["ok", "unknown", "unknown"]


def test_links_come_from_the_studios_address_and_not_from_the_host(carol: User, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    settings.STUDIO_URL = "https://studio.example.org"
    Client().post("/account/password/reset/", {"email": carol.email}, headers={"Host": "evil.example"})
    Client().post("/account/password/reset/", {"email": "x@example.com"}, headers={"Host": "evil.example"})
    for mail in waiting_mails():
        assert "evil.example" not in mail["body"] and "https://studio.example.org" in mail["body"]


def test_mails_speak_the_readers_language(carol: User) -> None:
    ask(carol.email, Client(headers={"Accept-Language": "zh-hans"}))  # she has chosen none: the request's
    User.objects.update(language="en")
    ask(carol.email, Client(headers={"Accept-Language": "zh-hans"}))  # her own wins
    ask("nobody@example.com", Client(headers={"Accept-Language": "zh-hans"}))
    assert [mail["subject"] for mail in waiting_mails()] == ["新密码", "A new password", "此地址没有账户"]


def test_a_used_old_or_changed_link_is_spent(carol: User, settings: Any) -> None:
    ask(carol.email)
    path = link_in("reset_password", carol.email)
    for bad in (path[:-3] + "x/", "/account/password/reset/zzz-abc/", "/account/password/reset/0-0/"):
        assert b"This link is spent" in Client().get(bad).content
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert b"This link is spent" in Client().get(path).content


def test_reset_does_not_pass_the_second_factor(carol: User) -> None:
    add_factor(carol)
    ask(carol.email)
    client = Client()
    client.post(open_link(client, carol), {"password": NEW})
    assert client.get("/account/").status_code == 302
    assert sign_in(carol, NEW)[1]["Location"] == "/sign-in/code/"


def test_who_was_forestalled_takes_the_account_by_a_reset(db: None, settings: Any) -> None:
    """Somebody else has signed up with your address, and waits for you to verify it."""
    settings.STUDIO_SIGNUP = "open"
    form = {"name": "Eve", "email": "dora@example.com", "password": "the password of Eve"}
    Client().post("/sign-up/", form)
    dora = User.objects.get()
    client = Client()
    ask(dora.email, client)
    client.post(open_link(client, dora), {"password": NEW})
    assert EmailAddress.objects.get().verified and len(tenants_of(dora.pk)) == 1
    assert sign_in(dora, "the password of Eve")[1].status_code == 400
    assert sign_in(dora, NEW)[1]["Location"] == "/"


def test_an_address_that_is_only_wanted_gets_no_links(carol: User) -> None:
    """Whoever sits at somebody's open browser must not get at the account by a mailbox of theirs."""
    client, _ = sign_in(carol)
    confirm(client)
    client.post("/account/email/", {"email": "eve@example.com", "action_add": "1"})
    ask("eve@example.com")
    assert [mail["name"] for mail in waiting_mails() if mail["to"] == "eve@example.com"] == [
        "verify_change", "no_account"
    ]  # fmt: skip


def test_asking_is_bounded_by_place_and_locks_nobody_out(carol: User) -> None:
    bad = Client(REMOTE_ADDR="192.0.2.7")
    statuses = [ask(carol.email, bad).status_code for _ in range(6)]
    assert statuses == [302] * 5 + [429]
    waiting = ask(carol.email, bad)
    assert 0 < int(waiting["Retry-After"]) <= 3600 and b"Please wait" in waiting.content
    assert ask(carol.email, Client(REMOTE_ADDR="192.0.2.8")).status_code == 302
    assert ask("nobody@example.com", bad).status_code == 302, "another person from there"
    # The mailbox is not flooded, and the link in it works.
    assert len(waiting_mails("reset_password")) == 5
    client = Client()
    assert client.post(open_link(client, carol), {"password": NEW}).status_code == 302


def test_one_place_asks_for_so_many_addresses(db: None) -> None:
    client = Client(REMOTE_ADDR="2001:db8::1")
    statuses = [ask(f"p{n}@example.com", client).status_code for n in range(21)]
    assert statuses == [302] * 20 + [429]
    assert ask("p@example.com", Client(REMOTE_ADDR="2001:db8::ffff")).status_code == 429, "the same network"


@pytest.mark.parametrize(("password", "says"), WEAK)
def test_weak_ones_are_refused_at_the_reset(carol: User, password: str, says: str) -> None:
    ask(carol.email)
    client = Client()
    answer = client.post(open_link(client, carol), {"password": password})
    assert answer.status_code == 400 and says in answer.content.decode()
    carol.refresh_from_db()
    assert carol.check_password(PASSWORD)


# ---- changed


def test_change_ends_every_other_session(carol: User, admin_sql: SQL) -> None:
    (here, _), (elsewhere, _) = sign_in(carol), sign_in(carol)
    before = here.cookies["studio_session"].value
    assert elsewhere.get("/account/").status_code == 200
    answer = here.post("/account/password/", {"oldpassword": PASSWORD, "password": NEW})
    assert answer["Location"] == "/account/"
    assert here.get("/account/").status_code == 200
    assert here.cookies["studio_session"].value != before, "and the own one gets a new key"
    assert elsewhere.get("/account/").status_code == 302
    assert Session.objects.count() == 1, "the rows are gone, not only worthless"
    carol.refresh_from_db()
    assert carol.check_password(NEW)
    assert [row[0] for row in events(admin_sql, "password.changed")] == ["password.changed"]
    assert [mail["to"] for mail in waiting_mails("password_changed")] == [carol.email]


@pytest.mark.parametrize(("password", "says"), WEAK)
def test_weak_ones_are_refused_at_the_change(carol: User, password: str, says: str) -> None:
    client, _ = sign_in(carol)
    answer = client.post("/account/password/", {"oldpassword": PASSWORD, "password": password})
    assert answer.status_code == 400 and says in answer.content.decode()
    carol.refresh_from_db()
    assert carol.check_password(PASSWORD)


def test_the_old_one_is_asked_for_so_often(carol: User) -> None:
    client, _ = sign_in(carol)
    form = {"oldpassword": "wrong", "password": NEW}
    statuses = [client.post("/account/password/", form).status_code for _ in range(PER_PERSON + 1)]
    assert statuses == [400] * PER_PERSON + [429]
    right = client.post("/account/password/", {"oldpassword": PASSWORD, "password": NEW})
    assert right.status_code == 429 and int(right["Retry-After"]) > 0
    forget_tries()
    assert client.post("/account/password/", {"oldpassword": PASSWORD, "password": NEW}).status_code == 302


def test_who_has_none_sets_one(db: None) -> None:
    user = make_person("nopass", password="x")
    user.set_unusable_password()
    user.save()
    client = Client()
    client.force_login(user)
    assert client.get("/account/password/")["Location"] == "/account/password/set/"
    assert client.post("/account/password/set/", {"password": "short"}).status_code == 400
    assert client.post("/account/password/set/", {"password": NEW}).status_code == 302
    user.refresh_from_db()
    assert user.check_password(NEW)


@pytest.mark.parametrize("by", ["staff", "themselves", "command"])
def test_however_it_is_changed_sessions_end(carol: User, by: str, admin_sql: SQL) -> None:
    boss = make_person("boss", is_staff=True, is_superuser=True)
    target = boss if by == "themselves" else carol
    elsewhere, _ = sign_in(target)
    elsewhere.get("/account/")
    if by == "command":
        carol.set_password(NEW)
        carol.save()
    else:
        client, _ = sign_in(boss)
        path = "/account/password/" if by == "themselves" else f"/admin/accounts/user/{carol.pk}/password/"
        form = {"oldpassword": PASSWORD, "password": NEW} if by == "themselves" else {
            "usable_password": "true", "password1": NEW, "password2": NEW
        }  # fmt: skip
        assert client.post(path, form).status_code == 302
        assert client.get("/admin/").status_code == 200, "the own browser stays"
    assert elsewhere.get("/account/").status_code == 302
    assert not Session.objects.filter(session_key=elsewhere.cookies["studio_session"].value).exists()
    target_of = "SELECT count(*) FROM accounts_auditevent WHERE action = 'password.changed' AND target = %s"
    assert admin_sql.execute(target_of, [f"user:{target.pk}"]).fetchone() == (1,)


# ---- once more, before something that matters


def test_the_password_is_asked_for_again_and_then_for_a_while_not(carol: User) -> None:
    client, _ = sign_in(carol)
    answer = client.get("/account/delete/")
    assert answer["Location"] == "/account/confirm/?next=%2Faccount%2Fdelete%2F"
    page = client.get(answer["Location"]).content.decode()
    assert 'name="next" value="/account/delete/"' in page
    wrong = client.post("/account/confirm/", {"password": "wrong", "next": "/account/delete/"})
    assert wrong.status_code == 400 and b"This is not your password." in wrong.content
    assert client.post("/account/confirm/", {"password": PASSWORD, "next": "/account/delete/"})["Location"] == (
        "/account/delete/"
    )
    assert client.get("/account/delete/").status_code == 200


def test_a_code_will_do_too(carol: User) -> None:
    add_factor(carol)
    client, _ = sign_in(carol)
    client.post("/sign-in/code/", {"code": code_now()})
    assert b"Use a code instead" in client.get("/account/confirm/?next=/account/delete/").content
    form = {"code": code_now(step=1), "next": "/account/delete/"}
    assert client.post("/account/second-factor/confirm/", form)["Location"] == "/account/delete/"
    assert client.get("/account/delete/").status_code == 200


@pytest.mark.parametrize("path", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_next_stays_here(carol: User, path: str) -> None:
    client, _ = sign_in(carol)
    assert client.post("/account/confirm/", {"password": PASSWORD, "next": path})["Location"] == "/"


def test_a_link_to_verify_lives_three_days(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.STUDIO_SIGNUP = "open"
    Client().post("/sign-up/", {"name": "Dora", "email": "dora@example.com", "password": PASSWORD})
    path = link_in("verify_address", "dora@example.com")
    later = (timezone.now() + timedelta(days=3, minutes=1)).timestamp()
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)
    assert Client().get(path).status_code == 410


def test_a_short_password_is_refused_in_the_language_of_the_page(db: None, settings: Any) -> None:
    settings.STUDIO_SIGNUP = "open"
    form = {"name": "Nora", "email": "nora@example.com", "password": "Kurz!8"}
    english = Client().post("/sign-up/", form).content.decode()
    chinese = Client().post("/sign-up/", form, headers={"Accept-Language": "zh-hans"}).content.decode()
    assert "Too short: at least 10 characters are needed." in english
    assert "太短：至少需要 10 个字符。" in chinese
    assert "Too short" not in chinese
