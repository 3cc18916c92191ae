"""Who may pass the door: keys, passes, sessions; revoked, foreign, forged."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.core import signing
from django.test import Client
from django.utils import timezone

from accounts.domain import places
from accounts.domain.keys import new_secret, revoke_key
from accounts.domain.passes import PASS_COOKIE, PASS_SALT, issue_pass, read_pass
from accounts.errors import InvalidKey, NotAllowed, NotSignedIn, StudioError
from accounts.ids import uuid7
from accounts.models import ApiKey, Membership, Tenant
from accounts.tenancy import across_tenants, in_tenant
from qwenstudio.door import callers as callers_module
from qwenstudio.door.callers import Credential, find_credential
from qwenstudio.door.http import read_request
from tests.factories import Person, make_key
from tests.qwenstudio.doors import pass_cookie, running_door
from tests.qwenstudio.exchange import Exchange, make_scope

EVENTS = "/api/v1/events"


def find(headers: dict[str, str], *, times: int = 1) -> object:
    """The caller whom the door finds for these headers, or the refusal."""

    async def scene() -> object:
        async with running_door() as door:
            try:
                for _ in range(times):
                    credential = await find_credential(
                        door.house.pages, read_request(make_scope("GET", EVENTS, headers=headers))
                    )
                    caller = await door.house.callers.find(credential)
            except StudioError as error:
                return error
            return caller

    return asyncio.run(scene())


@pytest.mark.parametrize("form", ["Authorization: Bearer {}", "Authorization: Token {}", "X-Api-Key: {}"])
def test_key_is_the_caller_that_django_finds(alice: Person, form: str) -> None:
    name, value = form.format(alice.secret).split(": ", 1)
    assert find({name: value}) == alice.key_caller


def test_pass_is_the_caller_that_django_finds(bob: Person) -> None:
    assert find({"Cookie": pass_cookie(bob)}) == bob.caller


@pytest.mark.parametrize("secret", ["", "qs_live_wrong", "{}x", "sk-123"])
def test_malformed_key_is_refused(alice: Person, secret: str) -> None:
    assert isinstance(find({"Authorization": f"Bearer {secret.format(alice.secret)}"}), InvalidKey)


def test_unknown_expired_and_revoked_keys_get_one_answer(alice: Person, mallory: Person) -> None:
    with in_tenant(alice.tenant.pk):
        ApiKey.objects.filter(pk=alice.key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    with in_tenant(mallory.tenant.pk):
        revoke_key(by=mallory.caller, key_id=mallory.key.pk)
    answers = [find({"X-Api-Key": secret}) for secret in (alice.secret, mallory.secret)]
    assert [(type(answer), str(answer)) for answer in answers] == [(InvalidKey, "invalid api key")] * 2


def test_bad_key_is_not_saved_by_a_good_cookie(bob: Person) -> None:
    found = find({"Authorization": "Bearer nonsense", "Cookie": pass_cookie(bob)})
    assert isinstance(found, InvalidKey)


@pytest.mark.parametrize(
    "cookie",
    ["", "nonsense", signing.dumps({"user": str(uuid7()), "tenant": str(uuid7())}, salt="another.salt"),
     signing.dumps(["no", "object"], salt=PASS_SALT)],
    ids=["empty", "nonsense", "another salt", "no object"],
)  # fmt: skip
def test_forged_pass_is_refused(db: None, cookie: str) -> None:
    assert isinstance(find({"Cookie": f"{PASS_COOKIE}={cookie}"}), NotSignedIn)


def test_pass_ends_with_the_membership(bob: Person) -> None:
    cookie = {"Cookie": pass_cookie(bob)}
    Membership.objects.filter(user=bob.user).delete()
    assert isinstance(find(cookie), NotSignedIn)


def test_pass_for_another_tenant_is_worth_nothing(bob: Person, mallory: Person) -> None:
    own = read_pass(pass_cookie(bob).partition("=")[2])
    assert own is not None
    cookie = issue_pass(user=bob.user.pk, tenant=mallory.tenant.pk, session=own.session)
    found = find({"Cookie": f"{PASS_COOKIE}={cookie}"})
    assert isinstance(found, NotSignedIn)


def test_session_gets_a_new_pass_when_its_own_has_run_out(bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    session = bob.client.cookies["studio_session"].value
    assert find({"Cookie": f"studio_session={session}"}) == bob.caller
    assert isinstance(find({"Cookie": "studio_session=nonsense"}), NotSignedIn)


def test_a_new_pass_is_for_who_asks_from_where_they_ask(bob: Person) -> None:
    """The networks judge the client's address, and the list of sessions shows it: nobody hides behind the door."""
    bob.client.get("/account/")
    session = bob.client.cookies["studio_session"].value
    UserSession.objects.update(ip="::", user_agent="", last_seen_at=timezone.now() - timedelta(minutes=2))
    with in_tenant(bob.tenant.pk):
        Tenant.objects.update(networks=["127.0.0.0/8"])
    agent = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"
    assert not isinstance(find({"Cookie": f"studio_session={session}", "User-Agent": agent}), StudioError)
    shown = UserSession.objects.filter(session_key=session).values_list("ip", "user_agent")
    assert list(shown) == [("127.0.0.1", agent)]
    with in_tenant(bob.tenant.pk):
        Tenant.objects.update(networks=["192.0.2.0/24"])
    assert isinstance(find({"Cookie": f"studio_session={session}"}), NotSignedIn)


def test_suspended_tenant_is_refused(alice: Person) -> None:
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(suspended_at=timezone.now())
    assert isinstance(find({"X-Api-Key": alice.secret}), NotAllowed)


def test_key_tied_to_networks(alice: Person) -> None:
    _, inside = make_key(alice.tenant, alice.user, networks=["127.0.0.0/8"])
    _, outside = make_key(alice.tenant, alice.user, networks=["192.0.2.0/24"])
    assert not isinstance(find({"X-Api-Key": inside}), StudioError)
    assert isinstance(find({"X-Api-Key": outside}), NotAllowed)
    # Nobody here is a trusted proxy: the header proves nothing.
    assert isinstance(find({"X-Api-Key": outside, "X-Forwarded-For": "192.0.2.1"}), NotAllowed)


def test_use_of_a_key_is_written_as_everywhere(alice: Person) -> None:
    def used() -> ApiKey:
        with in_tenant(alice.tenant.pk):
            return ApiKey.objects.get(pk=alice.key.pk)

    def pretend(**fields: object) -> None:
        with in_tenant(alice.tenant.pk):
            ApiKey.objects.filter(pk=alice.key.pk).update(**fields)

    pretend(last_used_at=None, last_used_ip=None)
    assert find({"X-Api-Key": alice.secret}, times=2) == alice.key_caller
    first = used().last_used_at
    assert first is not None and used().last_used_ip == "127.0.0.1"
    pretend(last_used_ip="192.0.2.1")
    find({"X-Api-Key": alice.secret})
    assert (used().last_used_at, used().last_used_ip) == (first, "192.0.2.1"), "once a minute at most"
    pretend(last_used_at=timezone.now() - timedelta(seconds=61))
    find({"X-Api-Key": alice.secret})
    assert used().last_used_ip == "127.0.0.1" and used().last_used_at > first - timedelta(seconds=1)  # type: ignore[operator]


def test_refused_address_is_no_use_of_a_key(alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        ApiKey.objects.filter(pk=alice.key.pk).update(networks=["192.0.2.0/24"], last_used_at=None)
    assert isinstance(find({"X-Api-Key": alice.secret}), NotAllowed)
    with in_tenant(alice.tenant.pk):
        assert ApiKey.objects.get(pk=alice.key.pk).last_used_at is None


def test_a_last_use_that_cannot_be_written_stops_nobody(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_tenant(alice.tenant.pk):
        ApiKey.objects.filter(pk=alice.key.pk).update(last_used_at=None)
    monkeypatch.setattr(callers_module, "KEY_TOUCH_SQL", "SELECT 1 / 0")
    assert find({"X-Api-Key": alice.secret}) == alice.key_caller


def test_wrong_keys_are_counted_with_those_of_the_pages(
    alice: Person, redis: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "WRONG_KEYS", 3)
    assert Client().get("/api/v1/me", headers={"X-Api-Key": new_secret()}).status_code == 401

    async def ask(*secrets: str) -> list[Exchange]:
        answers = []
        async with running_door() as door:
            for secret in secrets:
                exchange = Exchange(make_scope("GET", EVENTS, headers={"X-Api-Key": secret}))
                task = asyncio.create_task(exchange.run(door))
                while not exchange.status:
                    await exchange.news.wait()
                    exchange.news.clear()
                exchange.left.set()
                await task
                answers.append(exchange)
        return answers

    answers = asyncio.run(ask(new_secret(), "qs_live_malformed", new_secret(), alice.secret, "sk-1", alice.secret))
    assert [answer.status for answer in answers] == [401, 401, 429, 200, 429, 200]
    assert answers[2].json["code"] == "too_many_wrong_keys"
    assert 0 < int(answers[2].headers["retry-after"]) <= places.WINDOW_S
    assert Client().get("/api/v1/me", headers={"X-Api-Key": new_secret()}).status_code == 429


def test_found_caller_is_kept_for_seconds_only(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with running_door() as door:
            request = read_request(make_scope("GET", EVENTS, headers={"X-Api-Key": alice.secret}))
            credential = await find_credential(door.house.pages, request)
            monkeypatch.setattr(callers_module, "KEPT_S", 600.0)
            await door.house.callers.find(credential)
            await asyncio.to_thread(revoke)
            await door.house.callers.find(credential)  # from memory
            monkeypatch.setattr(callers_module, "KEPT_S", 0.0)
            with pytest.raises(InvalidKey):
                await door.house.callers.find(credential)

    def revoke() -> None:
        with in_tenant(alice.tenant.pk):
            revoke_key(by=alice.caller, key_id=alice.key.pk)

    asyncio.run(scene())


def test_many_at_once_are_looked_up_once(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def scene() -> None:
        async with running_door() as door:
            callers = door.house.callers
            look_up = callers._look_up

            async def count(credential: Credential) -> dict[str, object]:
                asked.append(credential)
                return await look_up(credential)

            monkeypatch.setattr(callers, "_look_up", count)
            request = read_request(make_scope("GET", EVENTS, headers={"X-Api-Key": alice.secret}))
            credential = await find_credential(door.house.pages, request)
            found = await asyncio.gather(*(callers.find(credential) for _ in range(50)))
            assert set(map(id, found)) == {id(found[0])} and found[0] == alice.key_caller

    asyncio.run(scene())
    assert len(asked) == 1


def test_answers_outside_of_a_stream() -> None:
    async def ask(method: str, path: str, **headers: str) -> Exchange:
        async with running_door() as door:
            return await Exchange(make_scope(method, path, headers=headers)).run(door)

    refused = asyncio.run(ask("GET", EVENTS))
    assert refused.status == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.headers["content-security-policy"].startswith("default-src 'none'")
    assert refused.json["request_id"] == refused.headers["x-request-id"]
    assert asyncio.run(ask("POST", EVENTS)).status == 405
    stranger = asyncio.run(ask("GET", EVENTS, host="evil.example"))
    assert (stranger.status, stranger.json["code"]) == (400, "unknown_host")
    mine = asyncio.run(ask("GET", EVENTS, **{"x-request-id": "client-chosen"}))
    assert mine.headers["x-request-id"] != "client-chosen"


def test_no_database_is_503(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connection  # here: its settings are changed before the door reads them

    monkeypatch.setitem(connection.settings_dict, "PORT", "1")

    async def scene() -> Exchange:
        monkeypatch.setattr("qwenstudio.door.database.WAIT_S", 0.5)
        async with running_door() as door:
            return await Exchange(make_scope("GET", EVENTS, headers={"X-Api-Key": alice.secret})).run(door)

    answer = asyncio.run(scene())
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
