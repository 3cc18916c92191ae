"""Another address: verified before it takes effect, the old one is told; and addresses that staff set."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts.models import User
from tests.accounts.people import (
    PASSWORD,
    SQL,
    add_factor,
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


@pytest.fixture
def carol(db: None) -> User:
    return make_person()


@pytest.fixture
def browser(carol: User) -> Client:
    client, _ = sign_in(carol)
    confirm(client)
    return client


def wish(client: Client, email: str) -> Any:
    return client.post("/account/email/", {"email": email, "action_add": "1"})


def addresses(user: User) -> list[tuple[str, bool, bool]]:
    rows = EmailAddress.objects.filter(user=user).order_by("email")
    return [(row.email, row.verified, row.primary) for row in rows]


def test_a_new_address_counts_when_it_is_verified(carol: User, browser: Client, admin_sql: SQL) -> None:
    old = carol.email
    assert wish(browser, "Caroline@Example.com")["Location"] == "/account/email/"
    assert b"caroline@example.com" in browser.get("/account/email/").content
    carol.refresh_from_db()
    assert carol.email == old, "nothing has changed yet"
    assert addresses(carol) == [(old, True, True), ("caroline@example.com", False, False)]

    path = link_in("verify_change", "caroline@example.com")
    assert browser.post(path)["Location"] == "/account/"
    carol.refresh_from_db()
    assert carol.email == "caroline@example.com"
    assert addresses(carol) == [("caroline@example.com", True, True)]
    (told,) = waiting_mails("email_changed")
    assert told["to"] == old and "caroline@example.com" in told["body"]
    assert sign_in(carol)[1]["Location"] == "/"
    assert Client().post("/sign-in/", {"email": old, "password": PASSWORD}).status_code == 400
    names = [row[0] for row in events(admin_sql, "email.change_asked", "email.verified", "email.changed")]
    assert names == ["email.change_asked", "email.verified", "email.changed"]
    assert "caroline" not in str(admin_sql.execute("SELECT detail, target FROM accounts_auditevent").fetchall())


def test_the_link_works_in_another_browser_and_signs_nobody_in(carol: User, browser: Client) -> None:
    wish(browser, "caroline@example.com")
    phone = Client()
    assert phone.post(link_in("verify_change", "caroline@example.com"))["Location"] == "/sign-in/"
    assert phone.get("/account/").status_code == 302
    carol.refresh_from_db()
    assert carol.email == "caroline@example.com"


def test_the_password_is_asked_for(carol: User) -> None:
    client, _ = sign_in(carol)
    assert "/account/confirm/" in wish(client, "caroline@example.com")["Location"]
    assert addresses(carol) == [(carol.email, True, True)]


def test_it_can_be_sent_again_or_dropped(carol: User, browser: Client) -> None:
    wish(browser, "caroline@example.com")
    browser.post("/account/email/", {"email": "caroline@example.com", "action_send": "1"})
    assert len(waiting_mails("verify_change")) == 2
    browser.post("/account/email/", {"email": "caroline@example.com", "action_remove": "1"})
    assert addresses(carol) == [(carol.email, True, True)]
    assert Client().get(link_in("verify_change", "caroline@example.com")).status_code == 410


def test_a_second_wish_replaces_the_first(carol: User, browser: Client) -> None:
    wish(browser, "one@example.com")
    wish(browser, "two@example.com")
    assert [row[0] for row in addresses(carol)] == [carol.email, "two@example.com"]
    assert Client().get(link_in("verify_change", "one@example.com")).status_code == 410


def test_somebody_elses_address_is_not_told_apart_and_never_taken(carol: User, browser: Client) -> None:
    dora = make_person("dora")
    assert wish(browser, dora.email).status_code == wish(browser, "free@example.com").status_code == 302
    wish(browser, dora.email)
    answer = browser.post(link_in("verify_change", dora.email), follow=True)
    assert b"belongs to another account" in answer.content
    carol.refresh_from_db()
    assert carol.email == "carol@example.com" and addresses(dora) == [(dora.email, True, True)]


def test_an_unverified_sign_up_is_in_nobodys_way(carol: User, browser: Client, settings: Any) -> None:
    settings.STUDIO_SIGNUP = "open"
    wish(browser, "mine@example.com")
    Client().post("/sign-up/", {"name": "Eve", "email": "mine@example.com", "password": PASSWORD})
    browser.post(link_in("verify_change", "mine@example.com"))
    carol.refresh_from_db()
    assert carol.email == "mine@example.com"
    assert not User.objects.filter(name="Eve").exists()


@pytest.mark.parametrize("how", ["reset", "change", "staff"])
def test_a_new_password_ends_the_wish(carol: User, browser: Client, how: str) -> None:
    """Whoever knew the old password may have asked for it: their mailbox must be no way back in."""
    wish(browser, "thief@example.com")
    path = link_in("verify_change", "thief@example.com")
    if how == "reset":
        Client().post("/account/password/reset/", {"email": carol.email})
        owner = Client()
        form = owner.get(link_in("reset_password", carol.email))["Location"]
        assert owner.post(form, {"password": NEW}).status_code == 302
    elif how == "change":
        fields = {"oldpassword": PASSWORD, "password": NEW}
        assert sign_in(carol)[0].post("/account/password/", fields).status_code == 302
    else:
        carol.set_password(NEW)
        carol.save()
    assert addresses(carol) == [(carol.email, True, True)]
    assert Client().post(path).status_code == 410
    carol.refresh_from_db()
    assert (carol.email, carol.check_password(NEW)) == ("carol@example.com", True)


def test_ones_own_and_nonsense_are_refused(carol: User, browser: Client) -> None:
    assert wish(browser, carol.email.upper()).status_code == 400
    assert wish(browser, "no address").status_code == 400
    assert not waiting_mails()


def test_wishes_are_bounded(browser: Client) -> None:
    statuses = [wish(browser, f"p{n}@example.com").status_code for n in range(6)]
    assert statuses == [302] * 5 + [429]
    forget_tries()
    assert wish(browser, "p@example.com").status_code == 302


def test_a_second_factor_forbids_no_new_address(carol: User, browser: Client) -> None:
    add_factor(carol)
    assert wish(browser, "caroline@example.com").status_code == 302
    browser.post(link_in("verify_change", "caroline@example.com"))
    carol.refresh_from_db()
    assert carol.email == "caroline@example.com"


# ---- addresses that somebody else answers for


def test_people_made_by_staff_commands_or_the_demo_count_as_verified(db: None) -> None:
    for user in (make_person("a"), User.objects.create_superuser("b@example.com", PASSWORD)):
        assert addresses(user) == [(user.email, True, True)]
        assert sign_in(user)[1]["Location"] == "/"


def test_people_from_before_are_taken_over_at_their_sign_in(carol: User) -> None:
    EmailAddress.objects.all().delete()  # as a release without allauth left them
    assert sign_in(carol)[1]["Location"] == "/"
    assert addresses(carol) == [(carol.email, True, True)]
    EmailAddress.objects.all().delete()
    client = Client()
    client.force_login(carol)
    client.get("/account/email/")
    assert addresses(carol) == [(carol.email, True, True)]


def test_an_address_that_staff_change_is_the_only_one_at_once(carol: User, browser: Client) -> None:
    wish(browser, "caroline@example.com")
    staff, _ = sign_in(make_person("boss", is_staff=True, is_superuser=True))
    page = staff.get(f"/admin/accounts/user/{carol.pk}/change/")
    form = page.context["adminform"].form
    data = {name: value for name in form.fields if (value := form.get_initial_for_field(form.fields[name], name))}
    data |= {"email": "New@Example.com", "is_active": "on"}
    data.pop("password", None), data.pop("groups", None), data.pop("user_permissions", None)
    assert staff.post(f"/admin/accounts/user/{carol.pk}/change/", data).status_code == 302
    assert addresses(carol) == [("new@example.com", True, True)]
    assert Client().post("/sign-in/", {"email": "carol@example.com", "password": PASSWORD}).status_code == 400
    Client().post("/account/password/reset/", {"email": "carol@example.com"})
    assert [mail["name"] for mail in waiting_mails() if mail["to"] == "carol@example.com"] == ["no_account"]
