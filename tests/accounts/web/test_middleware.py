"""From a request to its caller: by key, by session, and for staff in the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.domain.keys import revoke_key
from accounts.domain.passes import PASS_COOKIE, Pass, issue_pass, read_pass
from accounts.domain.sessions import stamp_of
from accounts.domain.tenants import suspend_tenant
from accounts.enums import Role
from accounts.models import Membership
from accounts.tenancy import NOWHERE, current_scope, in_tenant
from tests.factories import Person, make_member, make_tenant, make_user

pytestmark = pytest.mark.urls("tests.accounts.routes")


PROGRAMS = "/api/who"  # where keys count


def ask(client: Client, path: str = "/who/", **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.get(path, **options).json()
    return found


def test_nobody_has_no_caller_and_no_scope(db: None) -> None:
    found = ask(Client())
    assert (found["caller"], found["error"], found["tenant"], found["across"]) == (None, None, None, False)
    assert found["actor"] == [None, None, "127.0.0.1"]


def test_session_gives_its_member(alice: Person) -> None:
    found = ask(alice.client)
    tenant, user = str(alice.tenant.pk), str(alice.user.pk)
    assert found["caller"] == {"tenant": tenant, "user": user, "key": None}
    assert (found["tenant"], found["actor"][:2]) == (tenant, [user, None])
    assert (found["log"]["tenant"], found["log"]["member"]) == (tenant, user)
    assert current_scope() == NOWHERE


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "Token {}"},
        {"Authorization": "bearer  {} "},
        {"X-Api-Key": "{}"},
    ],
)
def test_key_in_any_of_its_headers(headers: dict[str, str], alice: Person) -> None:
    found = ask(Client(), PROGRAMS, headers={name: value.format(alice.secret) for name, value in headers.items()})
    assert found["caller"]["key"] == str(alice.key.pk)
    assert found["actor"][1] == found["log"]["key"] == str(alice.key.pk)


def test_key_counts_before_the_session(alice: Person, mallory: Person) -> None:
    found = ask(alice.client, PROGRAMS, headers={"X-Api-Key": mallory.secret})
    assert found["tenant"] == str(mallory.tenant.pk)
    found = ask(alice.client, PROGRAMS, headers={"X-Api-Key": "qs_live_wrong"})
    assert (found["caller"], found["error"], found["tenant"]) == (None, "invalid_api_key", None), (
        "a bad key is no session"
    )


@pytest.mark.parametrize("path", ["/who/", "/admin/who/"])
def test_pages_are_for_people(alice: Person, mallory: Person, path: str) -> None:
    found = ask(alice.api, path)
    assert (found["caller"], found["error"], found["actor"][:2]) == (None, None, [None, None])
    for secret in (mallory.secret, "qs_live_wrong"):
        found = ask(alice.client, path, headers={"X-Api-Key": secret})
        assert found["caller"]["user"] == found["actor"][0] == str(alice.user.pk)
        assert found["caller"]["key"] is None


def test_proxys_own_password_is_no_key(alice: Person) -> None:
    found = ask(alice.client, headers={"Authorization": "Basic eDp5"})
    assert found["caller"]["user"] == str(alice.user.pk)


def test_chosen_tenant_counts(alice: Person, mallory: Person) -> None:
    make_member(mallory.tenant, Role.VIEWER, user=alice.user)
    assert ask(alice.client)["tenant"] == str(alice.tenant.pk), "the first one joined"
    session = alice.client.session
    session["tenant"] = str(mallory.tenant.pk)
    session.save()
    assert ask(alice.client)["tenant"] == str(mallory.tenant.pk)


@pytest.mark.parametrize("chosen", ["foreign", "left", "garbage"])
def test_tenant_that_is_not_ones_own_is_dropped(chosen: str, alice: Person, mallory: Person) -> None:
    session = alice.client.session
    session["tenant"] = "x" if chosen == "garbage" else str(mallory.tenant.pk)
    session.save()
    if chosen == "left":
        make_member(mallory.tenant, user=alice.user)
        assert ask(alice.client)["tenant"] == str(mallory.tenant.pk)
        Membership.objects.filter(user=alice.user, tenant=mallory.tenant).delete()
    assert ask(alice.client)["tenant"] == str(alice.tenant.pk)
    assert "tenant" not in alice.client.session


def test_person_without_tenant_has_no_caller(db: None) -> None:
    client = Client()
    client.force_login(make_user())
    found = ask(client)
    assert (found["caller"], found["error"], found["tenant"]) == (None, None, None)
    assert client.get("/api/v1/echo").status_code == 403


def test_suspended_tenant_is_refused_with_its_reason(alice: Person) -> None:
    suspend_tenant(alice.tenant, reason="test")
    for client in (alice.client, alice.api):
        found = ask(client, PROGRAMS)
        assert (found["caller"], found["error"], found["tenant"]) == (None, "tenant_suspended", None)
        response = client.get("/api/v1/echo")
        assert response.status_code == 403 and "suspended" in response.json()["detail"]


def test_revoked_key_is_refused_at_once(alice: Person) -> None:
    assert alice.api.get("/api/v1/echo").status_code == 200
    with in_tenant(alice.tenant.pk):
        revoke_key(by=alice.caller, key_id=alice.key.pk)
    assert alice.api.get("/api/v1/echo").status_code == 401


def test_disabled_user_loses_the_session(alice: Person) -> None:
    alice.user.is_active = False
    alice.user.save()
    assert ask(alice.client)["caller"] is None
    assert alice.api.get("/api/v1/echo").status_code == 401


def test_staff_work_across_tenants_in_the_admin_only(alice: Person) -> None:
    client = Client()
    client.force_login(make_user("staff", is_staff=True))
    assert ask(client, "/admin/who/")["across"] is True
    assert ask(client, "/who/")["across"] is False
    assert ask(alice.client, "/admin/who/")["across"] is False, "an owner is not staff"
    assert ask(Client(), "/admin/who/")["across"] is False
    found = ask(alice.api, "/admin/who/")
    assert (found["across"], found["tenant"]) == (False, None), "a key never opens the admin"


def test_key_request_costs_two_statements(alice: Person) -> None:
    ask(alice.api, PROGRAMS)
    with CaptureQueriesContext(connection) as queries:
        ask(alice.api, PROGRAMS)
    assert len(queries) == 2, queries.captured_queries


def test_forwarded_address_counts_from_trusted_proxies_only(alice: Person, settings: Any) -> None:
    import ipaddress

    headers = {"X-Forwarded-For": "198.51.100.66, 192.0.2.9"}
    assert ask(alice.client, headers=headers)["actor"][2] == "127.0.0.1"
    settings.STUDIO_TRUSTED_PROXIES = [ipaddress.ip_network("127.0.0.0/8")]
    assert ask(alice.client, headers=headers)["actor"][2] == "192.0.2.9"


def test_health_checks_ask_for_nobody(alice: Person) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert ask(alice.client, "/healthz")["caller"] is None
    assert len(queries) == 0


def test_database_down_is_a_503_for_programs(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("accounts.web.middleware.caller_of_key", refuse)
    response = alice.api.get("/api/v1/echo")
    assert response.status_code == 503 and response.headers["Retry-After"] == "5"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "unavailable" and "refused" not in response.content.decode()


def own_pass(person: Person) -> Pass:
    """The pass of the session that a person's client has."""
    stamp = stamp_of(person.client.session.session_key or "", person.user.password)
    return Pass(user=person.user.pk, tenant=person.tenant.pk, session=stamp)


def test_browser_gets_a_pass_to_the_door(alice: Person) -> None:
    cookie = alice.client.get("/who/").cookies[PASS_COOKIE]
    assert read_pass(cookie.value) == own_pass(alice)
    assert cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["max-age"] == 600
    assert PASS_COOKIE not in alice.client.get("/who/").cookies, "a fresh one is kept"
    assert PASS_COOKIE not in alice.api.get(PROGRAMS).cookies, "programs need none"


def test_foreign_or_forged_pass_is_replaced(alice: Person, mallory: Person) -> None:
    foreign = own_pass(mallory)
    stolen = issue_pass(user=foreign.user, tenant=foreign.tenant, session=foreign.session)
    old = issue_pass(user=alice.user.pk, tenant=alice.tenant.pk, session=stamp_of("gone", alice.user.password))
    for value in (stolen, old, "forged", alice.secret):
        alice.client.cookies[PASS_COOKIE] = value
        fresh = alice.client.get("/who/").cookies[PASS_COOKIE]
        assert read_pass(fresh.value) == own_pass(alice)


def test_pass_ends_with_the_session(alice: Person) -> None:
    alice.client.get("/who/")
    held = alice.client.cookies[PASS_COOKIE].value
    alice.client.logout()
    alice.client.cookies[PASS_COOKIE] = held
    assert alice.client.get("/who/").cookies[PASS_COOKIE].value == ""


def test_tenants_of_the_person_are_offered_in_templates(alice: Person, rf: Any) -> None:
    from accounts.web.context import studio

    second = make_tenant("Second", owner=alice.user)[0]
    request = rf.get("/")
    request.caller = alice.caller
    found = studio(request)
    assert [(tenant.id, tenant.name, tenant.role) for tenant in found["tenants"]] == [
        (alice.tenant.pk, "A", "owner"),
        (second.pk, "Second", "owner"),
    ]
    request.caller = None
    assert list(studio(request)["tenants"]) == []
