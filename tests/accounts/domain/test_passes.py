"""The browser's pass: signed, short-lived, and worth nothing when anything in it was changed."""

from __future__ import annotations

import pytest
from django.core import signing

from accounts.domain.passes import PASS_SALT, PASS_SECONDS, Pass, issue_pass, read_pass
from accounts.ids import uuid7

STAMP = "0123456789abcdef0123456789abcdef"


def test_pass_comes_back() -> None:
    user, tenant = uuid7(), uuid7()
    assert read_pass(issue_pass(user=user, tenant=tenant, session=STAMP)) == Pass(
        user=user, tenant=tenant, session=STAMP
    )


def test_pass_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    value = issue_pass(user=uuid7(), tenant=uuid7(), session=STAMP)
    now = signing.time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + PASS_SECONDS - 5)
    assert read_pass(value) is not None
    monkeypatch.setattr(signing.time, "time", lambda: now + PASS_SECONDS + 5)
    assert read_pass(value) is None


def test_changed_or_foreign_values_are_no_pass() -> None:
    value = issue_pass(user=uuid7(), tenant=uuid7(), session=STAMP)
    body, _, rest = value.partition(":")
    other = issue_pass(user=uuid7(), tenant=uuid7(), session=STAMP).partition(":")[0]
    assert read_pass(f"{other}:{rest}") is None
    assert read_pass(signing.dumps({"user": str(uuid7()), "tenant": str(uuid7())}, salt="other")) is None
    # A pass of the release before this one knows no session: the pages give a new one.
    old = {"user": str(uuid7()), "tenant": str(uuid7()), "at": int(signing.time.time())}
    assert read_pass(signing.dumps(old, salt=PASS_SALT)) is None
    for data in ({}, {"user": "x", "tenant": "y"}, [1], "text", None):
        assert read_pass(signing.dumps(data, salt=PASS_SALT)) is None
    for text in ("", body, "a:b:c", "ä"):
        assert read_pass(text) is None


def test_pass_tells_when_it_ends() -> None:
    found = read_pass(issue_pass(user=uuid7(), tenant=uuid7(), session=STAMP))
    assert found is not None
    assert abs(found.expires_at - signing.time.time() - PASS_SECONDS) < 60
