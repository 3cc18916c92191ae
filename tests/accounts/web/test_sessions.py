"""Where one is signed in: the list, and every way in which a session ends."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.domain.sessions import describe_browser, list_sessions
from accounts.models import User
from tests.accounts.people import SQL, add_factor, code_now, events, make_person, sign_in
from tests.factories import Person

pytestmark = pytest.mark.usefixtures("quick_hashes")
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
    "Mobile/15E148 Safari/604.1"
)


@pytest.fixture
def carol(db: None) -> User:
    return make_person()


def at(agent: str, address: str, user: User) -> Client:
    client = Client(REMOTE_ADDR=address, headers={"User-Agent": agent})
    sign_in(user, client=client)
    return client


def test_the_list_names_browsers_and_addresses(carol: User) -> None:
    here, _phone = at(FIREFOX, "192.0.2.1", carol), at(IPHONE, "2001:db8::7", carol)
    page = here.get("/account/sessions/").content.decode()
    for words in ("Firefox on Linux", "192.0.2.1", "Safari on iOS", "2001:db8::7", "this one", "in use now"):
        assert words in page
    assert page.index("Firefox") < page.index("Safari"), "the present one first"
    assert here.cookies["studio_session"].value not in page


def test_nobody_sees_or_ends_anothers(alice: Person, mallory: Person) -> None:
    alice.client.get("/studio/")
    mallory.client.get("/studio/")
    (row,) = list_sessions(user=alice.user.pk, session_key=None)
    assert len(list_sessions(user=mallory.user.pk, session_key=None)) == 1
    assert mallory.client.post(f"/account/sessions/{row.id}/end/").status_code == 404
    assert mallory.client.post("/account/sessions/999999/end/").status_code == 404
    mallory.client.post("/account/sessions/end-others/")
    assert alice.client.get("/studio/").status_code == 200


def test_end_one_there(carol: User, admin_sql: SQL) -> None:
    here, phone = at(FIREFOX, "192.0.2.1", carol), at(IPHONE, "192.0.2.2", carol)
    (other,) = [row for row in list_sessions(user=carol.pk, session_key=None) if row.address == "192.0.2.2"]
    assert here.post(f"/account/sessions/{other.id}/end/")["Location"] == "/account/sessions/"
    assert phone.get("/account/").status_code == 302
    assert here.get("/account/").status_code == 200
    assert Session.objects.count() == UserSession.objects.count() == 1
    assert [row[0] for row in events(admin_sql, "session.ended")] == ["session.ended"]


def test_end_all_others(carol: User, admin_sql: SQL) -> None:
    here, others = at(FIREFOX, "192.0.2.1", carol), [at(IPHONE, f"192.0.2.{n}", carol) for n in (2, 3)]
    answer = here.post("/account/sessions/end-others/", follow=True)
    assert b"Signed out in 2 other browsers." in answer.content
    assert [client.get("/account/").status_code for client in (here, *others)] == [200, 302, 302]
    assert [row[0] for row in events(admin_sql, "session.ended")] == ["session.ended"]


def test_ending_the_present_one_is_a_sign_out(carol: User, admin_sql: SQL) -> None:
    here = at(FIREFOX, "192.0.2.1", carol)
    (row,) = list_sessions(user=carol.pk, session_key=None)
    assert here.post(f"/account/sessions/{row.id}/end/")["Location"] == "/sign-in/"
    assert here.get("/account/").status_code == 302
    assert [row[0] for row in events(admin_sql, "sign_out", "session.ended")] == ["sign_out"]


@pytest.mark.parametrize("path", ["/sign-out/", "/admin/logout/"])
def test_sign_out_deletes_the_session(path: str, db: None, admin_sql: SQL) -> None:
    boss = make_person("boss", is_staff=True, is_superuser=True)
    client, _ = sign_in(boss)
    held = client.cookies["studio_session"].value
    client.get("/account/")
    client.post(path)
    client.cookies["studio_session"] = held
    assert client.get("/account/").status_code == 302
    assert not Session.objects.filter(session_key=held).exists()
    assert not UserSession.objects.exists()
    assert events(admin_sql, "sign_out") == [("sign_out", "ok", None)]


def test_disabling_ends_them_for_good(carol: User) -> None:
    client, _ = sign_in(carol)
    assert client.get("/account/").status_code == 200
    carol.is_active = False
    carol.save()
    assert client.get("/account/").status_code == 302
    assert not Session.objects.filter(session_key=client.cookies["studio_session"].value).exists()
    carol.is_active = True
    carol.save()
    assert client.get("/account/").status_code == 302, "it does not come back with the person"
    assert sign_in(carol)[1]["Location"] == "/"


def test_the_session_rotates_at_every_stage_of_the_sign_in(carol: User) -> None:
    add_factor(carol)
    client = Client()
    session = client.session  # planted by somebody who knows its key
    session["planted"] = True
    session.save()
    planted = session.session_key
    client.cookies["studio_session"] = planted
    _, answer = sign_in(carol, client=client)
    assert answer["Location"] == "/sign-in/code/"
    between = client.cookies["studio_session"].value
    assert client.post("/sign-in/code/", {"code": code_now()})["Location"] == "/"
    after = client.cookies["studio_session"].value
    assert len({planted, between, after}) == 3
    assert list(Session.objects.values_list("session_key", flat=True)) == [after]


def test_signing_in_as_somebody_else_ends_what_was_before(carol: User, alice: Person) -> None:
    add_factor(carol)
    held = alice.client.session.session_key
    _, answer = sign_in(carol, client=alice.client)
    assert answer["Location"] == "/sign-in/code/"
    assert alice.client.get("/studio/").status_code == 302, "neither of the two is in now"
    assert not Session.objects.filter(session_key=held).exists()


def test_a_session_is_noted_once_a_minute(carol: User, admin_sql: SQL) -> None:
    client, _ = sign_in(carol)
    key = client.cookies["studio_session"].value

    def seen() -> Any:
        return UserSession.objects.get(session_key=key).last_seen_at

    before = seen()
    client.get("/account/")
    assert seen() == before
    UserSession.objects.update(last_seen_at=timezone.now() - timezone.timedelta(minutes=2))
    client.get("/account/", REMOTE_ADDR="192.0.2.99")
    assert seen() > before
    assert UserSession.objects.get(session_key=key).ip == "192.0.2.99"


def test_a_page_does_not_even_lock_the_row(carol: User, admin_sql: SQL) -> None:
    """Who locks a row or takes a number of the sequence waits for the disk."""
    client, _ = sign_in(carol)

    def traces() -> Any:
        return admin_sql.execute(
            "SELECT s.xmin, s.xmax, q.last_value FROM usersessions_usersession s, usersessions_usersession_id_seq q"
        ).fetchall()

    before = traces()
    assert client.get("/account/").status_code == 200
    assert len(before) == 1 and traces() == before


def test_who_was_signed_in_before_this_release_is_in_the_list_too(alice: Person) -> None:
    UserSession.objects.all().delete()
    alice.client.get("/studio/")
    assert len(list_sessions(user=alice.user.pk, session_key=None)) == 1


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (IPHONE, "Safari on iOS"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 "
         "Safari/537.36 Edg/131.0.0.0", "Edge on Windows"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile "
         "Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.1 Safari/605.1.15",
         "Safari on macOS"),
        ("curl/8.5.0", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_browsers_by_their_own_words(agent: str, words: str) -> None:
    assert describe_browser(agent) == words
