"""Every refusal of the API is a problem (RFC 9457) of one shape."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from accounts.api.bodies import STATUS_OF_KIND, problem_headers, status_of
from accounts.errors import InvalidField, QuotaExceeded, StudioError, Unavailable
from tests.factories import Person

pytestmark = pytest.mark.urls("tests.accounts.routes")


def problem(response: HttpResponse, *, status: int, code: str) -> dict[str, Any]:
    """The body of a refusal, whose shape is checked."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()  # type: ignore[attr-defined]
    assert body.keys() - {"errors", "limit"} == {"type", "title", "status", "detail", "instance", "code", "request_id"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:qwenstudio:problem:{code}"
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


def test_nobody_is_asked_for_credentials(db: None) -> None:
    response = Client().get("/api/v1/echo")
    body = problem(response, status=401, code="not_signed_in")
    assert body["instance"] == "/api/v1/echo" and body["title"] == "Unauthorized"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_bad_key_is_refused_everywhere(alice: Person) -> None:
    for method in ("get", "post", "put", "delete", "patch", "options"):
        response = getattr(Client(), method)("/api/v1/echo", headers={"X-Api-Key": "qs_live_nothing"})
        assert problem(response, status=401, code="invalid_api_key")["detail"] == "invalid api key"


def test_scope_is_asked_for(alice: Person) -> None:
    from accounts.enums import Scope
    from tests.factories import make_key

    _, secret = make_key(alice.tenant, alice.user, scopes=[Scope.IMAGES_READ.value])
    reader = Client(headers={"Authorization": f"Bearer {secret}"})
    assert reader.get("/api/v1/echo").status_code == 200
    body = problem(reader.post("/api/v1/echo", {}, content_type="application/json"), status=403, code="not_allowed")
    assert "images:write" in body["detail"] and "key" in body["detail"]


def test_method_without_scope_is_closed(alice: Person) -> None:
    problem(alice.api.delete("/api/v1/echo"), status=403, code="not_allowed")


def test_methods_and_types_that_are_not_taken(alice: Person) -> None:
    response = alice.api.get("/api/v1/strict")
    problem(response, status=403, code="not_allowed")
    problem(alice.api.post("/api/v1/echo", "a=1", content_type="text/plain"), status=415, code="unsupported_media_type")


def test_absent_and_unknown_routes_answer_alike(alice: Person) -> None:
    for client in (alice.api, alice.client, Client()):
        for method in ("get", "post", "delete"):
            problem(getattr(client, method)("/api/v1/no/such"), status=404, code="not_found")
    problem(alice.api.get("/api/v1/raises/missing"), status=404, code="not_found")


def test_quota_says_which_limit_and_when(alice: Person) -> None:
    response = alice.api.get("/api/v1/raises/quota")
    assert problem(response, status=429, code="quota_exceeded")["limit"] == "images_per_day"
    assert response.headers["Retry-After"] == "60"
    assert response.headers["RateLimit"] == '"images_per_day";r=0;t=60'
    assert response.headers["RateLimit-Policy"] == '"images_per_day";q=10;w=86400'


def test_database_errors_are_503_without_their_text(alice: Person) -> None:
    response = alice.api.get("/api/v1/raises/database")
    body = problem(response, status=503, code="unavailable")
    assert "refused" not in body["detail"] and response.headers["Retry-After"] == "5"


def test_unexpected_errors_are_500_without_their_text(alice: Person, caplog: pytest.LogCaptureFixture) -> None:
    alice.api.raise_request_exception = False
    body = problem(alice.api.get("/api/v1/raises/crash"), status=500, code="internal")
    assert "secret" not in str(body)
    assert any(record.exc_info and "secret detail" in str(record.exc_info[1]) for record in caplog.records)


def test_session_needs_the_csrf_token_to_change_something(alice: Person) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice.user)
    assert strict.get("/api/v1/echo").status_code == 200
    response = strict.post("/api/v1/echo", {}, content_type="application/json")
    assert "CSRF" in problem(response, status=403, code="not_allowed")["detail"]
    token = "a" * 32
    strict.cookies["studio_csrf"] = token
    response = strict.post("/api/v1/echo", {}, content_type="application/json", headers={"X-CSRFToken": token})
    assert response.status_code == 200
    keyed = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {alice.secret}"})
    assert keyed.post("/api/v1/echo", {}, content_type="application/json").status_code == 200, "keys need none"


def test_unknown_and_read_only_fields_are_refused_by_name(alice: Person) -> None:
    response = alice.api.post("/api/v1/strict", {"name": "ok", "made": "x", "nmae": 1}, content_type="application/json")
    body = problem(response, status=400, code="invalid")
    assert body["errors"] == {"made": ["read-only field"], "nmae": ["unknown field"]}
    response = alice.api.post("/api/v1/strict", {"name": "too long"}, content_type="application/json")
    body = problem(response, status=400, code="invalid")
    assert list(body["errors"]) == ["name"] and "5" in body["detail"] and body["detail"].startswith("name: ")
    response = alice.api.post("/api/v1/strict", [1], content_type="application/json")
    assert list(problem(response, status=400, code="invalid")["errors"]) == ["body"]


def test_accept_header_never_makes_a_406(alice: Person) -> None:
    response = alice.api.get("/api/v1/echo", headers={"Accept": "text/html"})
    assert response.status_code == 200 and response.headers["Content-Type"] == "application/json"


def test_every_kind_has_a_status() -> None:
    class Odd(StudioError):
        pass

    for kind, status in STATUS_OF_KIND.items():
        Odd.kind = kind
        assert status_of(Odd("x")) == status


def test_headers_by_kind() -> None:
    assert problem_headers(InvalidField("x")) == {}
    assert problem_headers(Unavailable("x")) == {"Retry-After": "5"}
    assert "RateLimit-Policy" not in problem_headers(QuotaExceeded("x", limit="l", retry_after_s=3))
