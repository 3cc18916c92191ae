"""Where wrong passwords are counted: an IPv4 address is a place, and so is a whole IPv6 network of 64 bits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.web.throttle import PER_ADDRESS, PER_PERSON, count_failure, wait_before_sign_in

EMAIL = "somebody@example.com"


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.mark.parametrize(
    ("counted", "asked", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:0DB8:0000:0001::2", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8", False),
        ("192.0.2.7", "192.0.2.8", False),
        (None, None, True),
        (None, "192.0.2.7", False),
    ],
)
def test_places(counted: str | None, asked: str | None, same: bool) -> None:
    for _ in range(PER_PERSON):
        count_failure(email=EMAIL, address=counted)
    assert (wait_before_sign_in(email=EMAIL, address=asked) > 0) == same


def test_changing_addresses_and_names_within_a_network_waits_too() -> None:
    for number in range(PER_ADDRESS):
        count_failure(email=f"{number}@example.com", address=f"2001:db8:0:1::{number:x}")
    assert wait_before_sign_in(email=EMAIL, address="2001:db8:0:1:a::1") > 0
    assert wait_before_sign_in(email=EMAIL, address="2001:db8:0:3::1") == 0


def test_the_page_counts_networks(db: None) -> None:
    def post(address: str) -> int:
        return Client(REMOTE_ADDR=address).post("/sign-in/", {"email": EMAIL, "password": "wrong"}).status_code

    assert [post(f"2001:db8:0:1::{number:x}") for number in range(PER_PERSON + 1)] == [400] * PER_PERSON + [429]
    assert post("2001:db8:0:2::1") == 400


def test_a_crowd_pushes_no_count_out() -> None:
    """Somebody with a network of 48 bits has 65,536 places; the cache has room for all that they can fill."""
    for _ in range(PER_PERSON):
        count_failure(email=EMAIL, address="192.0.2.7")
    for number in range(2000):
        count_failure(email=f"{number}@example.com", address=f"2001:db8:0:{number:x}::1")
    assert wait_before_sign_in(email=EMAIL, address="192.0.2.7") > 0
