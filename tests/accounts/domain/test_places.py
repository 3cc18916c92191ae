"""Wrong keys are counted by place, and nobody else waits for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from accounts import valkey
from accounts.domain import places
from accounts.domain.places import place_of, refuse_wrong_key
from accounts.errors import InvalidKey


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, redis: Redis) -> Iterator[None]:
    monkeypatch.setattr(places, "WRONG_KEYS", 3)
    places.local.clear()
    yield
    places.local.clear()


@pytest.fixture
def valkey_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("django.conf.settings.REDIS_URL", "")
    valkey.redis_client.cache_clear()
    valkey.breaker.reset()
    yield
    valkey.redis_client.cache_clear()
    valkey.breaker.reset()


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::"),
        ("2001:db8:0:1::9", "2001:db8:0:1::"),
        (None, "unknown"),
        ("", "unknown"),
    ],
)
def test_place(address: str | None, place: str) -> None:
    assert place_of(address) == place


def codes(address: str | None, times: int) -> list[str]:
    return [refuse_wrong_key(address=address).code for _ in range(times)]


def check_counts() -> None:
    few, many = InvalidKey.code, "too_many_wrong_keys"
    assert codes("192.0.2.7", 5) == [few, few, few, many, many]
    assert codes("192.0.2.8", 1) == [few]
    assert codes("2001:db8:0:1::1", 2) + codes("2001:db8:0:1:9::2", 2) == [few, few, few, many]
    assert codes(None, 4)[-1] == many


def test_counts_are_a_places_own(redis: Redis) -> None:
    check_counts()
    names = [name.decode() for name in redis.keys("qs:places:*")]
    assert len(names) == 4 and not any("192.0.2" in name for name in names)
    assert all(0 < redis.ttl(name) <= places.WINDOW_S for name in names)
    refused = refuse_wrong_key(address="192.0.2.7")
    assert refused.retry_after_s and 0 < refused.retry_after_s <= places.WINDOW_S


def test_counts_without_valkey(valkey_away: None) -> None:
    check_counts()


def test_local_counts_begin_anew_and_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = places.LocalCounts()
    assert [counts.add("a", window_s=60)[0] for _ in range(3)] == [1, 2, 3]
    assert counts.add("b", window_s=0)[0] == counts.add("b", window_s=0)[0] == 1
    monkeypatch.setattr(places, "REMEMBERED", 2)
    for name in "cde":
        counts.add(name, window_s=60)
    assert counts.add("a", window_s=60)[0] == 1, "forgotten"
    assert counts.add("e", window_s=60)[0] == 2
