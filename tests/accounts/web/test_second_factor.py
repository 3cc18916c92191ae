"""TOTP and recovery codes: set up, asked for, each code once, sealed at rest; staff who must have one."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from allauth.mfa.models import Authenticator
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.domain.factors import has_second_factor
from accounts.domain.signin import make_sign_in_link
from accounts.models import User
from accounts.web.throttle import CODE_ANYWHERE, CODES_ANYWHERE, PER_PERSON, Throttle
from tests.accounts.people import (
    SECRET,
    SQL,
    add_factor,
    code_now,
    confirm,
    events,
    forget_tries,
    half_minute,  # noqa: F401  (a fixture)
    make_person,
    secret_of,
    sign_in,
)
from tests.factories import Person
from tests.mails import waiting_mails

pytestmark = pytest.mark.usefixtures("quick_hashes", "half_minute")
SET_UP = "/account/second-factor/set-up/"
CODES = "/account/second-factor/recovery-codes/"


@pytest.fixture
def carol(db: None) -> User:
    return make_person()


def shown_secret(client: Client) -> str:
    return str(client.get(SET_UP).context["form"].secret)


def set_up(client: Client) -> list[str]:
    """Switch it on as a person does; returns the recovery codes."""
    confirm(client)
    secret = shown_secret(client)
    assert client.post(SET_UP, {"code": code_now(secret)})["Location"] == CODES
    return list(client.get(CODES).context["unused_codes"])


def at_code_page(user: User, **extra: Any) -> Client:
    client, answer = sign_in(user, client=Client(**extra))
    assert answer["Location"] == "/sign-in/code/"
    return client


# ---- setting up


def test_set_up_with_a_code_of_the_app(carol: User, admin_sql: SQL) -> None:
    client, _ = sign_in(carol)
    assert client.get(SET_UP)["Location"].startswith("/account/confirm/")
    confirm(client)
    page = client.get(SET_UP).content.decode()
    assert 'src="data:image/svg+xml;base64,' in page
    assert client.post(SET_UP, {"code": "000000"}).status_code == 400
    assert not has_second_factor(carol.pk)
    codes = set_up(client)
    assert len(codes) == 10
    assert b"recovery codes left" in client.get("/account/").content
    assert [row[0] for row in events(admin_sql, "factor.added")] == ["factor.added"] * 2  # the app, the codes
    assert [mail["name"] for mail in waiting_mails()] == ["factor_added"]
    download = client.get(f"{CODES}download/")
    assert download["Content-Disposition"].startswith("attachment") and codes[0] in download.content.decode()


def test_secrets_are_sealed_wherever_they_lie(carol: User, admin_sql: psycopg.Connection[Any]) -> None:
    client, _ = sign_in(carol)
    confirm(client)
    secret = shown_secret(client)
    pending = [session.get_decoded() for session in Session.objects.all()]
    assert secret not in json.dumps(pending), "also before it is switched on"
    client.post(SET_UP, {"code": code_now(secret)})
    codes = list(client.get(CODES).context["unused_codes"])
    stored = str(admin_sql.execute("SELECT data::text FROM mfa_authenticator").fetchall())
    assert secret not in stored and not any(code in stored for code in codes)
    assert secret_of(carol) == secret


def test_new_codes_end_the_old_ones(carol: User) -> None:
    client, _ = sign_in(carol)
    old = set_up(client)
    assert client.post(f"{CODES}new/")["Location"] == CODES
    new = list(client.get(CODES).context["unused_codes"])
    assert len(new) == 10 and not set(old) & set(new)
    assert at_code_page(carol).post("/sign-in/code/", {"code": old[0]}).status_code == 400
    assert "recovery_codes" in [mail["name"] for mail in waiting_mails()]


def test_remove(carol: User, admin_sql: SQL) -> None:
    client, _ = sign_in(carol)
    set_up(client)
    assert client.get("/account/second-factor/remove/").status_code == 200
    assert client.post("/account/second-factor/remove/").status_code == 302
    assert not Authenticator.objects.exists()
    assert [row[0] for row in events(admin_sql, "factor.removed")] == ["factor.removed"] * 2
    assert "factor_removed" in [mail["name"] for mail in waiting_mails()]
    assert sign_in(carol)[1]["Location"] == "/"


def test_codes_and_removal_ask_for_the_password(carol: User) -> None:
    add_factor(carol)
    client = at_code_page(carol)
    client.post("/sign-in/code/", {"code": code_now()})
    for path in ("/account/second-factor/remove/", f"{CODES}new/"):
        assert client.get(path)["Location"].startswith("/account/confirm/")
        assert client.post(path)["Location"].startswith("/account/confirm/")
    assert has_second_factor(carol.pk)


# ---- at sign-in


def test_a_code_is_asked_for_and_lets_in(carol: User, admin_sql: SQL) -> None:
    add_factor(carol)
    client, answer = sign_in(carol, next="/account/sessions/")
    assert answer["Location"] == "/sign-in/code/"
    assert client.get("/account/").status_code == 302, "not in yet"
    assert not events(admin_sql, "sign_in")
    wrong = client.post("/sign-in/code/", {"code": "000000"})
    assert wrong.status_code == 400 and b"This code is wrong" in wrong.content
    assert client.post("/sign-in/code/", {"code": code_now()})["Location"] == "/account/sessions/"
    assert client.get("/account/").status_code == 200
    assert events(admin_sql, "second_factor", "sign_in") == [
        ("second_factor", "refused", None), ("sign_in", "ok", None)
    ]  # fmt: skip
    detail = admin_sql.execute("SELECT detail FROM accounts_auditevent WHERE action = 'sign_in'").fetchone()
    assert detail == ({"way": "password", "factor": "totp"},)


def test_a_code_works_once_in_any_process(carol: User) -> None:
    add_factor(carol)
    code = code_now()
    first, second = at_code_page(carol), at_code_page(carol)
    assert first.post("/sign-in/code/", {"code": code}).status_code == 302
    forget_tries()  # another process has another memory
    assert second.post("/sign-in/code/", {"code": code}).status_code == 400
    assert second.post("/sign-in/code/", {"code": code_now(step=-1)}).status_code == 400, "nor does an older one"
    assert second.post("/sign-in/code/", {"code": code_now(step=1)}).status_code == 302


def test_the_code_of_the_set_up_is_no_second_one(carol: User) -> None:
    client, _ = sign_in(carol)
    confirm(client)
    code = code_now(client.get(SET_UP).context["form"].secret)
    assert client.post(SET_UP, {"code": code}).status_code == 302
    assert at_code_page(carol).post("/sign-in/code/", {"code": code}).status_code == 400
    next_one = code_now(secret_of(carol), step=1)
    assert at_code_page(carol).post("/sign-in/code/", {"code": next_one}).status_code == 302


def test_a_clock_may_be_half_a_minute_off(carol: User) -> None:
    add_factor(carol)
    client = at_code_page(carol)
    assert client.post("/sign-in/code/", {"code": code_now(step=3)}).status_code == 400
    assert (
        client.post("/sign-in/code/", {"code": f" {code_now(step=-1)[:3]} {code_now(step=-1)[3:]}"}).status_code == 302
    )


def test_a_recovery_code_works_once_and_says_how_many_are_left(carol: User) -> None:
    client, _ = sign_in(carol)
    codes = set_up(client)
    other = at_code_page(carol)
    answer = other.post("/sign-in/code/", {"code": codes[3]}, follow=True)
    assert b"You have 9 recovery codes left." in other.get("/account/").content or b"9 recovery" in answer.content
    assert at_code_page(carol).post("/sign-in/code/", {"code": codes[3]}).status_code == 400
    assert at_code_page(carol).post("/sign-in/code/", {"code": codes[4]}).status_code == 302


def test_a_lost_key_of_the_studio_is_no_error_and_no_way_in(carol: User, settings: Any) -> None:
    client, _ = sign_in(carol)
    codes = set_up(client)
    code = code_now(secret_of(carol), step=1)
    settings.STUDIO_ENCRYPTION_KEYS = ["another one"]
    other = at_code_page(carol)
    for typed in (code, codes[0]):
        assert other.post("/sign-in/code/", {"code": typed}).status_code == 400
    assert client.get("/account/").status_code == 200


def test_one_time_links_ask_for_it_too(carol: User) -> None:
    add_factor(carol)
    path = make_sign_in_link(carol, "/account/sessions/").split("8000", 1)[1]
    client = Client()
    assert client.post(path)["Location"] == "/sign-in/code/"
    assert client.get("/account/").status_code == 302
    assert client.post("/sign-in/code/", {"code": code_now()})["Location"] == "/account/sessions/"


def test_without_a_password_the_page_of_codes_is_no_way_in(carol: User) -> None:
    add_factor(carol)
    client = Client()
    assert client.get("/sign-in/code/")["Location"] == "/sign-in/"
    assert client.post("/sign-in/code/", {"code": code_now()})["Location"] == "/sign-in/"
    assert client.get("/account/").status_code == 302


def test_who_is_disabled_between_the_two_steps_stays_out(carol: User) -> None:
    add_factor(carol)
    client = at_code_page(carol)
    User.objects.update(is_active=False)
    client.post("/sign-in/code/", {"code": code_now()})
    assert client.get("/account/").status_code == 302


@pytest.mark.parametrize("meanwhile", ["changed", "disabled"])
def test_a_sign_in_that_waits_for_its_code_ends_as_sessions_do(carol: User, meanwhile: str, admin_sql: SQL) -> None:
    add_factor(carol)
    thief = at_code_page(carol)
    if meanwhile == "changed":
        carol.set_password("another pair of words")
    carol.is_active = meanwhile == "changed"
    carol.save()
    answer = thief.post("/sign-in/code/", {"code": code_now()}, follow=True)
    assert answer.redirect_chain[-1][0] == "/sign-in/"
    assert b"sign in again" in answer.content
    User.objects.update(is_active=True)
    assert thief.get("/account/").status_code == 302, "also when they are let in again"
    assert [row[1] for row in events(admin_sql, "sign_in")] == []


def test_wrong_codes_wait_but_lock_nobody_out(carol: User) -> None:
    add_factor(carol)
    bad = at_code_page(carol, REMOTE_ADDR="192.0.2.7")
    statuses = [bad.post("/sign-in/code/", {"code": f"{n:06}"}).status_code for n in range(PER_PERSON + 1)]
    assert statuses == [400] * PER_PERSON + [429]
    refused = bad.post("/sign-in/code/", {"code": code_now()})
    assert refused.status_code == 429 and int(refused["Retry-After"]) > 0
    good = at_code_page(carol, REMOTE_ADDR="192.0.2.8")
    assert good.post("/sign-in/code/", {"code": code_now()}).status_code == 302


def test_guessing_from_many_places_ends_but_not_for_a_known_browser(
    carol: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, _ = sign_in(carol)
    add_factor(carol)
    known.post("/sign-out/")
    few = Throttle("code-anywhere", per_person=4, per_place=1_000_000)
    monkeypatch.setattr("accounts.web.account_forms.CODE_ANYWHERE", few)
    for number in range(4):
        stranger = at_code_page(carol, REMOTE_ADDR=f"192.0.2.{number}")
        assert stranger.post("/sign-in/code/", {"code": "000000"}).status_code == 400
    stranger = at_code_page(carol, REMOTE_ADDR="192.0.2.200")
    assert stranger.post("/sign-in/code/", {"code": code_now()}).status_code == 429
    sign_in(carol, client=known)
    assert known.post("/sign-in/code/", {"code": code_now()}).status_code == 302

    carol.set_password("another pair of words")
    carol.save()
    stranger, _ = sign_in(carol, "another pair of words", client=Client(REMOTE_ADDR="192.0.2.200"))
    assert stranger.post("/sign-in/code/", {"code": code_now(step=1)}).status_code == 302, "nobody stays locked out"


def test_guessing_for_years_finds_no_code() -> None:
    """Three codes of a million are right: those of the present half minute and of its neighbours."""
    tries_a_year = CODES_ANYWHERE * 365 * 86_400 / CODE_ANYWHERE.window_s
    assert tries_a_year * 3 / 1_000_000 < 0.1


# ---- staff


@pytest.fixture
def boss(db: None) -> User:
    return make_person("boss", is_staff=True, is_superuser=True)


def test_staff_must_have_one_where_the_studio_asks(boss: User, settings: Any) -> None:
    client, _ = sign_in(boss)
    assert client.get("/admin/").status_code == 200, "not asked for unless it is set"
    settings.STUDIO_STAFF_2FA = True
    for path in ("/admin/", "/admin/accounts/user/", "/admin/accounts/tenant/?q=x"):
        assert client.get(path)["Location"] == f"{SET_UP}?staff=1"
    form = {"email": "new@example.com", "usable_password": "false"}
    assert client.post("/admin/accounts/user/add/", form).status_code == 403
    assert not User.objects.filter(email="new@example.com").exists()

    confirm(client)
    page = client.get(f"{SET_UP}?staff=1")
    assert b"the admin opens once you have one" in page.content
    client.post(SET_UP, {"code": code_now(page.context["form"].secret)})
    assert b"To the admin" in client.get(CODES).content
    assert client.get("/admin/").status_code == 200
    client.post("/account/second-factor/remove/")
    assert client.get("/admin/").status_code == 302, "and again without it"
    assert client.post("/admin/logout/").status_code == 302, "out is always possible"


@pytest.mark.parametrize("secret", ["", "x", "qs_live_wrong", "good"])
def test_a_key_beside_the_session_is_no_way_round(boss: User, alice: Person, settings: Any, secret: str) -> None:
    settings.STUDIO_STAFF_2FA = True
    client, _ = sign_in(boss)
    for header, value in (("X-Api-Key", "{}"), ("Authorization", "Bearer {}")):
        headers = {header: value.format(alice.secret if secret == "good" else secret)}
        assert client.get("/admin/accounts/user/", headers=headers)["Location"] == f"{SET_UP}?staff=1"
        form = {"password1": "a new one for alice", "password2": "a new one for alice", "usable_password": "true"}
        path = f"/admin/accounts/user/{alice.user.pk}/password/"
        assert client.post(path, form, headers=headers).status_code == 403
    assert not User.objects.get(pk=alice.user.pk).has_usable_password()


def test_staff_sign_in_to_the_admin_with_it(boss: User, settings: Any) -> None:
    settings.STUDIO_STAFF_2FA = True
    add_factor(boss)
    client, answer = sign_in(boss, next="/admin/accounts/user/")
    assert answer["Location"] == "/sign-in/code/"
    assert client.get("/admin/").status_code == 302
    assert client.post("/sign-in/code/", {"code": code_now()}, follow=True).redirect_chain == [
        ("/admin/accounts/user/", 302)
    ]


def test_members_are_not_asked_for_it(carol: User, settings: Any) -> None:
    settings.STUDIO_STAFF_2FA = True
    client, _ = sign_in(carol)
    assert client.get("/account/").status_code == 200
    assert client.get("/admin/", follow=True).status_code == 403


def test_staff_take_a_lost_one_away(boss: User, carol: User, admin_sql: SQL) -> None:
    add_factor(carol)
    staff, _ = sign_in(boss)
    form = {"action": "drop_factors", "_selected_action": [str(carol.pk)]}
    assert b"signs in without a code now" in staff.post("/admin/accounts/user/", form, follow=True).content
    assert not has_second_factor(carol.pk)
    assert [mail["to"] for mail in waiting_mails("factor_dropped")] == [carol.email]
    assert [row[0] for row in events(admin_sql, "factor.removed")] == ["factor.removed"]


def test_staff_do_not_take_a_colleagues_away(carol: User, db: None) -> None:
    from django.contrib.auth.models import Permission

    helper = make_person("helper", is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__in=("view_user", "change_user")))
    boss = make_person("boss", is_staff=True, is_superuser=True)
    add_factor(boss)
    staff, _ = sign_in(helper)
    staff.post("/admin/accounts/user/", {"action": "drop_factors", "_selected_action": [str(boss.pk)]})
    assert has_second_factor(boss.pk)


def test_allauths_own_pages_are_not_in_the_admin(boss: User) -> None:
    client, _ = sign_in(boss)
    page = client.get("/admin/").content.decode()
    for path in ("mfa/authenticator", "account/emailaddress", "usersessions/usersession"):
        assert f"/admin/{path}/" not in page
        assert client.get(f"/admin/{path}/").status_code == 404


def test_the_secret_constant_is_one(carol: User) -> None:
    add_factor(carol)
    assert secret_of(carol) == SECRET
