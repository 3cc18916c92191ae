"""The account page, and the pages behind it: for whoever is signed in, in both languages, and for nobody else."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import get_resolver

from accounts.models import User
from tests.accounts.people import add_factor, confirm, make_person, sign_in
from tests.factories import Person, make_user

pytestmark = pytest.mark.usefixtures("quick_hashes")
OWN = (
    "/account/",
    "/account/email/",
    "/account/password/",
    "/account/sessions/",
    "/account/delete/",
    "/account/confirm/",
    "/account/second-factor/",
    "/account/second-factor/set-up/",
)
FOR_ALL = (
    "/sign-in/",
    "/sign-up/",
    "/account/verify/",
    "/account/inactive/",
    "/account/password/reset/",
    "/account/password/reset/sent/",
    "/account/password/reset/done/",
)


def test_the_header_leads_there(alice: Person) -> None:
    assert 'href="/account/"' in alice.client.get("/studio/").content.decode()
    page = alice.client.get("/account/").content.decode()
    for path in OWN[1:5]:
        assert f'href="{path}"' in page or path == "/account/password/"
    assert 'href="/account/password/set/"' in page  # the tests' people have none


@pytest.mark.parametrize("name", ["Carol\nPay at http://evil.example", "Carol\r", "\u202elorac", "\x1b[1m"])
def test_names_are_one_line(db: None, name: str) -> None:
    """They stand in mails to people who do not know them."""
    person = make_person()
    client, _ = sign_in(person)
    for typed, status in ((f"{name} x", 400), ("Carol 👩‍👩‍👧 图", 302)):
        assert client.post("/account/", {"name": typed, "language": ""}).status_code == status
    person.refresh_from_db()
    assert person.name == "Carol 👩‍👩‍👧 图"


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_every_page_opens_and_is_ours(db: None, language: str) -> None:
    client, _ = sign_in(make_person(language=language))
    confirm(client)
    for path in OWN:
        answer = client.get(path)
        assert answer.status_code == 200, path
        page = answer.content.decode()
        assert "studio/studio.css" in page and "studio/js/common.js" in page
        assert "no-store" in answer["Cache-Control"] or "max-age=0" in answer["Cache-Control"]
        assert ("跳到正文" in page) == (language == "zh-hans"), path
        assert ("Skip to the content" in page) == (language == "en"), path
        assert not re.search(r'\sstyle="|\son\w+="|<script>', page), "the policy forbids it"


@pytest.mark.parametrize("path", OWN)
def test_nobody_else_gets_in(db: None, path: str) -> None:
    for answer in (Client().get(path), Client().post(path)):
        assert answer.status_code == (
            405 if path == "/account/sessions/" and answer.wsgi_request.method == "POST" else 302
        )
        assert answer.get("Location", "/sign-in/").startswith(("/sign-in/", "/account/confirm/"))


@pytest.mark.parametrize("path", FOR_ALL)
def test_pages_for_all_open(db: None, path: str) -> None:
    answer = Client().get(path)
    assert answer.status_code in (200, 403)
    assert "studio/studio.css" in answer.content.decode()


def test_name_and_language(db: None) -> None:
    user = make_person()
    client, _ = sign_in(user)
    answer = client.post("/account/", {"name": "  Carol Wu ", "language": "zh-hans"})
    assert answer["Location"] == "/account/"
    assert answer.cookies["django_language"].value == "zh-hans"
    user.refresh_from_db()
    assert (user.name, user.language) == ("Carol Wu", "zh-hans")
    for form in ({"name": "", "language": ""}, {"name": "x" * 121, "language": ""}, {"name": "x", "language": "tlh"}):
        assert client.post("/account/", form).status_code == 400
    user.refresh_from_db()
    assert user.name == "Carol Wu"


def test_staff_without_a_tenant_have_one_too(db: None) -> None:
    client = Client()
    client.force_login(make_user("staff", is_staff=True))
    assert client.get("/account/").status_code == 200


def test_a_key_opens_none_of_it(alice: Person) -> None:
    for path in OWN:
        assert alice.api.get(path).status_code == 302


def test_what_we_do_not_use_is_not_served(db: None) -> None:
    """allauth brings more than thirty routes; these are all that there are."""
    names = {name for name in get_resolver().reverse_dict if isinstance(name, str)}
    assert {name for name in names if name.startswith(("account_", "mfa_", "usersessions"))} == {
        "account_change_password",
        "account_confirm_email",
        "account_email",
        "account_email_verification_sent",
        "account_inactive",
        "account_login",
        "account_logout",
        "account_reauthenticate",
        "account_reset_password",
        "account_reset_password_done",
        "account_reset_password_from_key",
        "account_reset_password_from_key_done",
        "account_set_password",
        "account_signup",
        "mfa_activate_totp",
        "mfa_authenticate",
        "mfa_deactivate_totp",
        "mfa_download_recovery_codes",
        "mfa_generate_recovery_codes",
        "mfa_index",
        "mfa_reauthenticate",
        "mfa_view_recovery_codes",
    }


def test_the_list_of_sessions_costs_the_same_however_long(db: None) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    user = make_person()
    client, _ = sign_in(user)

    def count(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        return len(queries)

    before = [count("/account/sessions/"), count("/account/")]
    for _ in range(6):
        sign_in(user)
    assert [count("/account/sessions/"), count("/account/")] == before


def test_the_pages_of_a_second_factor(db: None) -> None:
    user = make_person()
    client, _ = sign_in(user)
    confirm(client)
    add_factor(user)
    for path in ("/account/second-factor/", "/account/second-factor/remove/", "/account/second-factor/confirm/"):
        assert client.get(path).status_code == 200
    assert client.get("/account/second-factor/recovery-codes/").status_code == 404, "none were made"
    assert User.objects.count() == 1
