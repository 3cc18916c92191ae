"""Rotation: two live secrets at most, and when the old one ends."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.domain.callers import caller_of_key
from accounts.domain.keys import hash_secret
from accounts.domain.rotate import DEFAULT_OVERLAP_S, MAX_OVERLAP_S, finish_rotation, rotate_key
from accounts.errors import InvalidField, InvalidKey, RotationOverlaps
from accounts.models import AuditEvent, KeyDirectory, KeySecret
from accounts.tenancy import in_tenant
from tests.at_once import at_once
from tests.factories import Person, make_key


def rotate(person: Person, **wish: int) -> str:
    with in_tenant(person.tenant.pk):
        return rotate_key(by=person.caller, key_id=person.key.pk, **wish)[1]


def key_of(secret: str) -> UUID | None:
    return caller_of_key(secret, address=None).key


def let_the_old_one_end(person: Person) -> None:
    with in_tenant(person.tenant.pk):
        past = timezone.now() - timedelta(seconds=1)
        assert KeySecret.objects.filter(key=person.key).exclude(expires_at=None).update(expires_at=past) == 1


def test_both_secrets_open_the_same_key_until_the_overlap_ends(alice: Person) -> None:
    before = timezone.now()
    new = rotate(alice)
    assert new != alice.secret
    assert key_of(alice.secret) == key_of(new) == alice.key.pk
    with in_tenant(alice.tenant.pk):
        old, fresh = KeySecret.objects.order_by("created_at")
        assert (old.sha256, fresh.sha256) == (hash_secret(alice.secret), hash_secret(new))
        assert (old.prefix, fresh.prefix, fresh.expires_at) == (alice.secret[:14], new[:14], None)
        assert old.expires_at is not None
        assert abs(old.expires_at - before - timedelta(seconds=DEFAULT_OVERLAP_S)) < timedelta(minutes=1)
        event = AuditEvent.objects.get(action="key.rotated")
    assert event.detail == {"name": "test key", "overlap_s": DEFAULT_OVERLAP_S}
    let_the_old_one_end(alice)
    with pytest.raises(InvalidKey):
        key_of(alice.secret)
    assert key_of(new) == alice.key.pk


def test_no_overlap_ends_the_old_one_at_once(alice: Person) -> None:
    new = rotate(alice, overlap_s=0)
    with pytest.raises(InvalidKey):
        key_of(alice.secret)
    assert key_of(new) == alice.key.pk
    assert KeyDirectory.objects.count() == 1
    assert rotate(alice, overlap_s=0) != new, "nothing overlaps, so it may be done again"


def test_overlapping_rotation_says_when_the_old_one_ends(alice: Person) -> None:
    rotate(alice, overlap_s=3600)
    with pytest.raises(RotationOverlaps) as refused:
        rotate(alice, overlap_s=0)
    assert f"{refused.value.ends_at:%Y-%m-%d %H:%M} UTC" in refused.value.message
    assert refused.value.code == "rotation_overlaps"
    with in_tenant(alice.tenant.pk):
        assert KeySecret.objects.count() == 2
        assert AuditEvent.objects.filter(action="key.rotated").count() == 1


def test_ended_secret_is_forgotten_by_the_next_rotation(alice: Person) -> None:
    first = rotate(alice, overlap_s=3600)
    let_the_old_one_end(alice)
    assert KeyDirectory.objects.filter(sha256=hash_secret(alice.secret)).exists()
    second = rotate(alice, overlap_s=3600)
    assert not KeyDirectory.objects.filter(sha256=hash_secret(alice.secret)).exists()
    assert key_of(first) == key_of(second) == alice.key.pk


def test_old_secret_can_be_ended_early(alice: Person) -> None:
    new = rotate(alice)
    with in_tenant(alice.tenant.pk):
        finish_rotation(by=alice.caller, key_id=alice.key.pk)
        finish_rotation(by=alice.caller, key_id=alice.key.pk)
        assert AuditEvent.objects.filter(action="key.rotation_finished").count() == 1
    with pytest.raises(InvalidKey):
        key_of(alice.secret)
    assert key_of(new) == alice.key.pk


@pytest.mark.parametrize("overlap", [-1, MAX_OVERLAP_S + 1])
def test_overlap_has_its_bounds(alice: Person, overlap: int) -> None:
    with pytest.raises(InvalidField, match="604800"):
        rotate(alice, overlap_s=overlap)
    assert key_of(alice.secret)
    assert rotate(alice, overlap_s=MAX_OVERLAP_S)


def test_parallel_rotations_leave_two_secrets(alice: Person) -> None:
    _, other = make_key(alice.tenant, alice.user)
    assert at_once([lambda: rotate(alice, overlap_s=60)] * 6) == {"done": 1, "rotation_overlaps": 5}
    with in_tenant(alice.tenant.pk):
        assert KeySecret.objects.filter(key=alice.key).count() == 2
    assert key_of(other)
