"""The way into the admin: by our own form, with its throttle and its audit, and without a circle for anybody."""

from __future__ import annotations

import psycopg
import pytest
from django.test import Client

from accounts.models import User
from accounts.web.throttle import PER_PERSON
from tests.factories import Person

PASSWORD = "correct horse battery staple"
SQL = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def boss(db: object) -> User:
    return User.objects.create_superuser("boss@example.org", PASSWORD)


def test_staff_sign_in_by_our_form_and_come_back(boss: User, admin_sql: SQL) -> None:
    client = Client()
    answer = client.get("/admin/accounts/user/", follow=True)
    assert answer.redirect_chain[-1] == ("/sign-in/?next=/admin/accounts/user/", 302)
    form = {"email": "BOSS@example.org", "password": PASSWORD, "next": answer.context["next"]}
    answer = client.post("/sign-in/", form, follow=True)
    assert (answer.status_code, answer.redirect_chain) == (200, [("/admin/accounts/user/", 302)])
    events = "SELECT result, target FROM accounts_auditevent WHERE action = 'sign_in'"
    assert admin_sql.execute(events).fetchall() == [("ok", f"user:{boss.pk}")]
    assert client.get("/admin/login/")["Location"] == "/admin/now/"


def test_the_admins_own_form_lets_nobody_in(boss: User) -> None:
    client = Client()
    for _ in range(PER_PERSON):
        client.post("/sign-in/", {"email": boss.email, "password": "wrong"})
    assert client.post("/sign-in/", {"email": boss.email, "password": PASSWORD}).status_code == 429
    assert client.post("/admin/login/", {"username": boss.email, "password": PASSWORD}).status_code == 405
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("path", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_next_stays_here(boss: User, path: str) -> None:
    client = Client()
    assert client.get("/admin/login/", {"next": path})["Location"] == "/sign-in/?next=/admin/now/"
    client.force_login(boss)
    assert client.get("/admin/login/", {"next": path})["Location"] == "/admin/now/"


@pytest.mark.parametrize("path", ["/admin/", "/admin/accounts/tenant/", "/sign-in/?next=/admin/", "/admin/login/"])
def test_members_are_told_and_run_in_no_circle(alice: Person, path: str) -> None:
    answer = alice.client.get(path, follow=True)
    assert answer.status_code == 403
    assert b"You may not see this" in answer.content


def test_staff_sign_out_and_change_their_password(boss: User, admin_sql: SQL) -> None:
    client = Client()
    client.force_login(boss)
    # Not by Django's own form: it counts no wrong tries and sends no mail.
    words = {"old_password": PASSWORD, "new_password1": "another long one", "new_password2": "another long one"}
    for answer in (client.get("/admin/password_change/"), client.post("/admin/password_change/", words)):
        assert answer["Location"] == "/account/password/"
    words = {"oldpassword": PASSWORD, "password": "another long one"}
    assert client.post("/account/password/", words).status_code == 302
    boss.refresh_from_db()
    assert boss.check_password("another long one")
    assert client.post("/admin/logout/")["Location"] == "/sign-in/"
    assert client.get("/admin/")["Location"] == "/admin/login/?next=/admin/"
