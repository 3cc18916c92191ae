"""The sweep takes secrets of API keys that have ended out of the directory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.domain.callers import caller_of_key
from accounts.domain.keys import hash_secret
from accounts.domain.rotate import rotate_key
from accounts.models import ApiKey, KeyDirectory, KeySecret
from accounts.tenancy import across_tenants, in_tenant
from generation.domain import sweep as sweep_module
from generation.domain.sweep import sweep
from tests.factories import Person, make_key


def test_ended_secrets_leave_the_directory(
    alice: Person,
    mallory: Person,
    as_worker: Callable[[], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_module, "_forgot_at", float("-inf"))
    past = timezone.now() - timedelta(seconds=1)
    with in_tenant(alice.tenant.pk):
        _, new = rotate_key(by=alice.caller, key_id=alice.key.pk)
        KeySecret.objects.exclude(expires_at=None).update(expires_at=past)
    with in_tenant(mallory.tenant.pk):
        ApiKey.objects.update(expires_at=past)
    _, later = make_key(mallory.tenant, mallory.user, expires_at=timezone.now() + timedelta(days=1))
    with as_worker():
        assert sweep().secrets_ended == 2
        assert sweep().secrets_ended == 0
    left = set(KeyDirectory.objects.values_list("sha256", flat=True))
    assert left == {hash_secret(new), hash_secret(later)}
    for person, secret in ((alice, new), (mallory, later)):
        with in_tenant(person.tenant.pk):
            assert KeySecret.objects.get().sha256 == hash_secret(secret)
        assert caller_of_key(secret, address=None)
    with in_tenant(mallory.tenant.pk):
        assert ApiKey.objects.count() == 2, "the key itself stays in the list"


def test_keys_of_a_person_whom_staff_have_deleted_leave_it_too(
    alice: Person, bob: Person, as_worker: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "_forgot_at", float("-inf"))
    with across_tenants():
        bob.user.delete()
    assert KeyDirectory.objects.count() == 2
    with as_worker():
        assert sweep().secrets_ended == 1
    assert [row.sha256 for row in KeyDirectory.objects.all()] == [hash_secret(alice.secret)]
