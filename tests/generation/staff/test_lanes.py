"""Lanes on the now page, and a browser of staff's that looks at the other one."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import AuditEvent
from accounts.tenancy import across_tenants
from generation.enums import LaneState
from generation.models import Lane, Release
from generation.staff.switch import COOKIE
from tests.factories import Person, make_user


@pytest.fixture
def two_lanes(db: object) -> None:
    """Blue serves, green is ready."""
    Lane.objects.filter(name="blue").update(release=Release.objects.create(name="1.0", lane="blue"))
    Lane.objects.filter(name="green").update(
        state=LaneState.READY, release=Release.objects.create(name="1.1", lane="green"), detail="the way was <chosen>"
    )


def helper(*permissions: str) -> Client:
    user = make_user("helper", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_one_lane_is_one_quiet_line(staff: Client) -> None:
    page = staff.get("/admin/now/").content.decode()
    assert "blue serves alone, with release –" in page
    assert "/switch/" not in page


def test_two_lanes_are_shown_with_a_way_to_the_other(staff: Client, two_lanes: None) -> None:
    page = staff.get("/admin/now/?part").content.decode()
    assert page.index("<td>1.0<") < page.index("<td>1.1<"), "the one that serves comes first"
    assert "the way was &lt;chosen&gt;" in page
    assert 'formaction="/switch/green"' in page
    assert 'formaction="/switch/blue"' not in page, "the page comes from there"


def test_a_failed_lane_is_not_to_be_looked_at(staff: Client, two_lanes: None) -> None:
    Lane.objects.filter(name="green").update(state=LaneState.FAILED)
    assert "/switch/" not in staff.get("/admin/now/").content.decode()
    answer = staff.post("/switch/green", follow=True)
    assert "Green does not run." in answer.content.decode()
    assert COOKIE not in staff.cookies


def test_switching_sets_the_cookie_that_the_proxy_reads(staff: Client, two_lanes: None) -> None:
    answer = staff.post("/switch/green")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/now/")
    cookie = answer.cookies[COOKIE]
    assert (cookie.value, cookie["max-age"], cookie["path"], cookie["httponly"]) == ("green", 3600, "/", True)
    with across_tenants():
        event = AuditEvent.objects.get(action="lane.switched")
    assert event.target == "lane:green"
    assert event.tenant_id is None


def test_an_address_that_was_typed_changes_nothing(staff: Client, two_lanes: None) -> None:
    answer = staff.get("/switch/green")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/now/")
    assert COOKIE not in answer.cookies
    assert staff.post("/switch/red").status_code == 404


def test_nobody_but_staff_may(alice: Person, two_lanes: None) -> None:
    for client in (Client(), alice.client, alice.api):
        answer = client.post("/switch/green")
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/")
        assert COOKIE not in answer.cookies
    assert helper().post("/switch/green").status_code == 403
    assert helper("view_lane").post("/switch/green").cookies[COOKIE].value == "green"
    with_token = Client(enforce_csrf_checks=True)
    with_token.force_login(make_user("boss", is_staff=True, is_superuser=True))
    assert with_token.post("/switch/green").status_code == 403


def test_who_may_not_see_lanes_sees_none(two_lanes: None) -> None:
    page = helper("view_generation").get("/admin/now/").content.decode()
    assert "now-lanes" not in page
    assert "now-lanes" in helper("view_generation", "view_lane").get("/admin/now/").content.decode()
