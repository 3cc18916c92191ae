"""Networks of key, tenant and installation: for keys and members, in the pages' process and behind the async door."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.domain.passes import PASS_COOKIE
from accounts.models import ApiKey, Tenant
from accounts.tenancy import in_tenant
from tests.factories import Person, make_key
from tests.qwenstudio.doors import running_door
from tests.qwenstudio.exchange import Exchange, make_scope

OFFICE = ["192.0.2.0/24", "2001:db8::/32"]
PROXY = "10.0.0.1"
Ask = Callable[[Person, str, str | None, dict[str, str]], int]


def ask_pages(person: Person, who: str, remote: str | None, headers: dict[str, str]) -> int:
    """The status of a question to Django from an address."""
    client = Client(REMOTE_ADDR=remote or "")
    if who == "key":
        headers = {**headers, "X-Api-Key": person.secret}
    else:
        client.force_login(person.user)
    return int(client.get("/api/v1/me", headers=headers).status_code)


def ask_door(person: Person, who: str, remote: str | None, headers: dict[str, str]) -> int:
    """The status of a stream."""
    if who == "key":
        shown = {"X-Api-Key": person.secret}
    else:
        # A page that was opened in the office, and a laptop that was carried out of it.
        person.client.get("/api/v1/me", REMOTE_ADDR="192.0.2.7")
        shown = {"Cookie": f"{PASS_COOKIE}={person.client.cookies[PASS_COOKIE].value}"}
    client = (remote, 50000) if remote else None

    async def scene() -> int:
        async with running_door() as door:
            asked = Exchange(make_scope("GET", "/api/v1/events", headers={**shown, **headers}, client=client))
            task = asyncio.create_task(asked.run(door))
            async with asyncio.timeout(20):
                while not asked.status:
                    await asked.news.wait()
                    asked.news.clear()
            asked.left.set()
            await task
            return asked.status

    return asyncio.run(scene())


DOORS = pytest.mark.parametrize("ask", [ask_pages, ask_door])
WHO = pytest.mark.parametrize("who", ["key", "member"])


@pytest.fixture
def behind_proxy(settings: Any) -> None:
    settings.STUDIO_TRUSTED_PROXIES = [ipaddress.ip_network("10.0.0.0/8")]


def tie(person: Person, whose: str, settings: Any, networks: list[str] = OFFICE) -> None:
    """Let a person come from these networks only: by their key, their tenant or the whole studio."""
    with in_tenant(person.tenant.pk):
        if whose == "key":
            ApiKey.objects.filter(pk=person.key.pk).update(networks=networks)
        elif whose == "tenant":
            Tenant.objects.filter(pk=person.tenant.pk).update(networks=networks)
    if whose == "studio":
        settings.STUDIO_NETWORKS = [ipaddress.ip_network(network) for network in networks]


@DOORS
@WHO
@pytest.mark.parametrize("whose", ["key", "tenant", "studio"])
def test_networks_hold(alice: Person, settings: Any, ask: Ask, who: str, whose: str) -> None:
    tie(alice, whose, settings)
    assert ask(alice, who, "192.0.2.7", {}) == 200
    is_bound = (who, whose) != ("member", "key")  # a key's networks are its own
    assert ask(alice, who, "198.51.100.1", {}) == (403 if is_bound else 200)
    if is_bound:
        with in_tenant(alice.tenant.pk):
            assert ApiKey.objects.get(pk=alice.key.pk).last_used_ip in (None, "192.0.2.7"), "a refusal is no use"


@DOORS
@pytest.mark.parametrize(
    ("remote", "forwarded", "status"),
    [
        # Nobody's proxy: the header proves nothing, whichever way it lies.
        ("198.51.100.1", "192.0.2.7", 403),
        ("192.0.2.7", "198.51.100.1", 200),
        # Our proxy says who it was; what stands left of that is the client's own invention.
        (PROXY, "192.0.2.7", 200),
        (PROXY, "198.51.100.1", 403),
        (PROXY, "192.0.2.7, 198.51.100.1", 403),
        (PROXY, "198.51.100.1, 192.0.2.7", 200),
        (PROXY, "192.0.2.7, 10.0.0.9", 200),
        (PROXY, "", 403),
        (PROXY, "192.0.2.7, nonsense", 403),
        # Other spellings of an address.
        ("::ffff:192.0.2.7", "", 200),
        (f"::ffff:{PROXY}", "::ffff:192.0.2.7", 200),
        ("2001:db8::5", "", 200),
        (PROXY, "2001:0DB8:0::5", 200),
        ("2001:db9::5", "", 403),
        # No address at all (a Unix socket): only our own proxy can say whose it is.
        (None, "", 403),
        (None, "192.0.2.7", 200),
        (None, "198.51.100.1", 403),
    ],
)
def test_address_behind_a_proxy(
    alice: Person, behind_proxy: None, settings: Any, ask: Ask, remote: str | None, forwarded: str, status: int
) -> None:
    tie(alice, "key", settings)
    assert ask(alice, "key", remote, {"X-Forwarded-For": forwarded} if forwarded else {}) == status


@DOORS
def test_no_address_and_no_proxy_is_outside(alice: Person, settings: Any, ask: Ask) -> None:
    assert ask(alice, "key", None, {}) == 200
    tie(alice, "tenant", settings)
    assert ask(alice, "key", None, {"X-Forwarded-For": "192.0.2.7"}) == 403
    assert ask(alice, "member", None, {}) == 403


@DOORS
def test_no_other_header_is_believed(alice: Person, behind_proxy: None, settings: Any, ask: Ask) -> None:
    tie(alice, "key", settings)
    # Underscores become dashes on their way into WSGI, so the server's bridge drops them before.
    lies = ["X-Real-IP", "Forwarded", "X-Forwarded-Host", *(["X_Forwarded_For"] if ask is ask_door else [])]
    for header in lies:
        assert ask(alice, "key", PROXY, {"X-Forwarded-For": "198.51.100.1", header: "192.0.2.7"}) == 403


def test_narrower_networks_come_on_top(alice: Person, settings: Any) -> None:
    """All three must let an address in."""
    _, secret = make_key(alice.tenant, alice.user, networks=["192.0.2.0/28"])
    tie(alice, "tenant", settings, ["192.0.2.0/24"])
    tie(alice, "studio", settings, ["192.0.2.8/29", "203.0.113.0/24"])

    def status(address: str) -> int:
        return int(Client(REMOTE_ADDR=address).get("/api/v1/me", headers={"X-Api-Key": secret}).status_code)

    assert status("192.0.2.9") == 200
    assert status("192.0.2.1") == status("192.0.2.100") == status("203.0.113.1") == 403
