"""Where wrong passwords are counted: an IPv4 address is a place, and so is a whole IPv6 network of 64 bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.cache import cache
from django.test import Client
from redis import Redis

from accounts import valkey
from accounts.web.throttle import (
    PER_ADDRESS,
    PER_PERSON,
    WINDOW_S,
    Throttle,
    count_failure,
    forget_failures,
    wait_before_sign_in,
)

ROOT = Path(__file__).resolve().parents[3]

EMAIL = "somebody@example.com"


@pytest.fixture(autouse=True)
def nothing_counted(redis: Redis) -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture(params=["Valkey", "this process"])
def counted_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Everything twice: with Valkey, and while it is away."""
    if request.param == "this process":
        lose_valkey(monkeypatch)
    yield request.param
    valkey.redis_client.cache_clear()


def lose_valkey(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers at its address."""
    monkeypatch.setattr("django.conf.settings.REDIS_URL", "")
    valkey.redis_client.cache_clear()


def find_valkey(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """It is back, and the rest after the failure is over."""
    monkeypatch.setattr("django.conf.settings.REDIS_URL", url)
    valkey.redis_client.cache_clear()
    valkey.breaker.reset()


def fail(times: int, *, email: str = EMAIL, address: str = "192.0.2.7") -> None:
    for _ in range(times):
        count_failure(email=email, address=address)


def waits(*, email: str = EMAIL, address: str = "192.0.2.7") -> bool:
    return wait_before_sign_in(email=email, address=address) > 0


def in_another_process(code: str) -> str:
    """Another web process of the same studio."""
    program = (
        "import django; django.setup()\n"
        "from accounts.web.throttle import count_failure, forget_failures, wait_before_sign_in\n"
        f"who = dict(email={EMAIL!r}, address='192.0.2.7')\n{code}"
    )
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


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
def test_places(counted: str | None, asked: str | None, same: bool, counted_in: str) -> None:
    for _ in range(PER_PERSON):
        count_failure(email=EMAIL, address=counted)
    assert (wait_before_sign_in(email=EMAIL, address=asked) > 0) == same


def test_changing_addresses_and_names_within_a_network_waits_too(counted_in: str) -> None:
    for number in range(PER_ADDRESS):
        count_failure(email=f"{number}@example.com", address=f"2001:db8:0:1::{number:x}")
    assert wait_before_sign_in(email=EMAIL, address="2001:db8:0:1:a::1") > 0
    assert wait_before_sign_in(email=EMAIL, address="2001:db8:0:3::1") == 0


def test_the_page_counts_networks(db: None, counted_in: str) -> None:
    def post(address: str) -> int:
        return Client(REMOTE_ADDR=address).post("/sign-in/", {"email": EMAIL, "password": "wrong"}).status_code

    assert [post(f"2001:db8:0:1::{number:x}") for number in range(PER_PERSON + 1)] == [400] * PER_PERSON + [429]
    assert post("2001:db8:0:2::1") == 400


def test_a_crowd_pushes_no_count_out(counted_in: str) -> None:
    """Somebody with a network of 48 bits has 65,536 places; the cache has room for all that they can fill."""
    for _ in range(PER_PERSON):
        count_failure(email=EMAIL, address="192.0.2.7")
    for number in range(2000):
        count_failure(email=f"{number}@example.com", address=f"2001:db8:0:{number:x}::1")
    assert wait_before_sign_in(email=EMAIL, address="192.0.2.7") > 0


def test_processes_share_counts() -> None:
    fail(PER_PERSON - 1)
    assert not waits()
    assert in_another_process("count_failure(**who); print(wait_before_sign_in(**who) > 0)") == "True"
    assert waits(), "the other one's try counts here"
    in_another_process("forget_failures(**who)")
    assert not waits(), "and so does its right password"


def test_a_restart_keeps_them() -> None:
    fail(PER_PERSON)
    cache.clear()  # a new process has an empty memory
    assert waits()
    assert in_another_process("print(wait_before_sign_in(**who))") not in ("", "0")


def test_a_right_password_forgets_the_person_and_not_the_place(counted_in: str) -> None:
    fail(PER_PERSON)
    fail(PER_ADDRESS - PER_PERSON - 1, email="others@example.com")
    forget_failures(email=EMAIL, address="192.0.2.7")
    assert not waits()
    fail(1)
    assert waits(), "that was one of too many from this place"
    assert not waits(address="192.0.2.8")


def test_valkey_goes_and_comes_back(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    fail(PER_PERSON - 1)
    lose_valkey(monkeypatch)
    assert not waits()
    fail(1)
    assert waits(), "this process has counted those of before, too"
    assert not waits(email="somebody.else@example.com") and not waits(address="192.0.2.8")
    find_valkey(monkeypatch, redis_url)
    assert not waits(), "there it is one try less, which is made up for"
    fail(1)
    assert waits()
    lose_valkey(monkeypatch)
    forget_failures(email=EMAIL, address="192.0.2.7")
    assert not waits()


def test_nobody_waits_longer_than_a_window(redis: Redis, counted_in: str) -> None:
    fail(PER_ADDRESS * 3)
    assert 0 < wait_before_sign_in(email=EMAIL, address="192.0.2.7") <= WINDOW_S
    lifetimes = [redis.pttl(name) for name in redis.scan_iter("qs:tries:*")]
    assert len(lifetimes) == (2 if counted_in == "Valkey" else 0)
    assert all(0 < lifetime <= WINDOW_S * 1000 for lifetime in lifetimes)


def test_a_count_whose_end_was_lost_ends(redis: Redis) -> None:
    """`PERSIST` by hand, say: without an end the place would wait for ever."""
    fail(PER_PERSON)
    for name in redis.scan_iter("qs:tries:*"):
        redis.persist(name)
    assert not waits()
    fail(1)
    assert waits()
    assert all(redis.pttl(name) > 0 for name in redis.scan_iter("qs:tries:*"))


def test_counts_at_once_are_all_counted(counted_in: str) -> None:
    many = Throttle("many", per_person=200, per_place=1000)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: many.count(person=EMAIL, address="192.0.2.7"), range(199)))
    assert many.wait(person=EMAIL, address="192.0.2.7") == 0
    many.count(person=EMAIL, address="192.0.2.7")
    assert many.wait(person=EMAIL, address="192.0.2.7") > 0


def test_no_address_or_name_stands_in_valkey(redis: Redis) -> None:
    fail(1)
    names = b" ".join(redis.scan_iter("*")).decode()
    assert "qs:tries:sign-in" in names and EMAIL not in names and "192.0.2.7" not in names
