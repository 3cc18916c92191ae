"""Sessions and links that have ended are forgotten; what still holds stays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.domain.expired import forget_expired
from accounts.models import TokenDirectory
from generation.worker.ticker import clean_files
from tests.factories import Person
from tests.generation.domain.conftest import as_worker  # noqa: F401  (a fixture)

pytestmark = pytest.mark.django_db
AsWorker = Callable[[], AbstractContextManager[None]]


def make_session(person: Person, key: str, *, days: float) -> None:
    """One that ends in so many days, last used two days ago."""
    now = timezone.now()
    Session.objects.create(session_key=key, session_data="", expire_date=now + timedelta(days=days))
    UserSession.objects.create(user=person.user, session_key=key, ip="192.0.2.1", last_seen_at=now - timedelta(days=2))


def make_link(person: Person, digest: str, *, days: float) -> None:
    ends = timezone.now() + timedelta(days=days)
    TokenDirectory.objects.create(sha256=digest, purpose="sign_in", user=person.user, expires_at=ends)


def test_what_has_ended_goes(alice: Person, as_worker: AsWorker) -> None:  # noqa: F811
    for key, days in (("alive", 1.0), ("ended", -1.0)):
        make_session(alice, key, days=days)
    make_session(alice, "signed-out", days=1)
    Session.objects.filter(pk="signed-out").delete()
    for digest, days in (("new", 1.0), ("old", -29.0), ("oldest", -31.0)):
        make_link(alice, digest, days=days)
    with as_worker():
        assert forget_expired() == 4
        assert forget_expired() == 0
    assert {row.session_key for row in Session.objects.filter(pk__in=["alive", "ended"])} == {"alive"}
    listed = UserSession.objects.filter(session_key__in=["alive", "ended", "signed-out"])
    assert {row.session_key for row in listed} == {"alive"}
    assert set(TokenDirectory.objects.values_list("sha256", flat=True)) == {"new", "old"}


def test_the_ticker_does_it(alice: Person, as_worker: AsWorker, media: Path) -> None:  # noqa: F811
    make_session(alice, "ended", days=-1)
    with as_worker():
        clean_files()
    assert not Session.objects.filter(pk="ended").exists()
