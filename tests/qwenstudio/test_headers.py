"""The headers of every answer: request id, policy, no foreign host; and error pages in our look."""

from __future__ import annotations

import logging

import pytest
from django.test import Client

from qwenstudio.headers import ADMIN_POLICY, DOCS_POLICY, PAGE_POLICY, content_policy
from tests.factories import Person


def test_our_pages_allow_nothing_inline_and_nobody_else(alice: Person) -> None:
    answer = alice.client.get("/studio/")
    policy = answer["Content-Security-Policy"]
    assert policy == PAGE_POLICY
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert b"<style" not in answer.content
    assert b' style="' not in answer.content
    assert b" onclick=" not in answer.content


def test_no_policy_names_a_host() -> None:
    for policy in (
        PAGE_POLICY,
        ADMIN_POLICY,
        DOCS_POLICY,
        content_policy("/files/x"),
        content_policy("/api/v1/images"),
    ):
        assert "http" not in policy
        assert "*" not in policy
        assert "unsafe-eval" not in policy
        assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in ADMIN_POLICY.split("script-src")[1].split(";")[0]


def test_request_id_is_ours(db: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="qwenstudio.access"):
        answer = Client().get("/sign-in/?next=/secret-prompt/", headers={"X-Request-ID": "theirs"})
    assert len(answer["X-Request-ID"]) == 32
    assert answer["X-Request-ID"] != "theirs"
    assert answer["X-Content-Type-Options"] == "nosniff"
    lines = [record.getMessage() for record in caplog.records if record.name == "qwenstudio.access"]
    assert lines == ["GET /sign-in/ 200"]  # one line, and no query


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_not_found_is_a_page_of_ours(alice: Person, language: str) -> None:
    answer = alice.client.get("/nothing/", headers={"Accept-Language": language})
    assert answer.status_code == 404
    text = answer.content.decode()
    assert answer["X-Request-ID"] in text
    assert ("Nothing here" if language == "en" else "这里什么也没有") in text


def test_a_crash_is_a_page_of_ours(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: object, **kwargs: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("generation.web.gallery.list_generations", crash)
    alice.client.raise_request_exception = False
    answer = alice.client.get("/gallery/")
    assert answer.status_code == 500
    assert b"Something broke" in answer.content
    assert b"on purpose" not in answer.content


def test_a_missing_csrf_token_is_explained(alice: Person) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice.user)
    answer = client.post("/sign-out/")
    assert answer.status_code == 403
    assert b"open for too long" in answer.content
