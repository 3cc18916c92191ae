"""The page of API keys."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from datetime import timedelta
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.domain import places
from accounts.domain.keys import new_secret
from accounts.enums import Role
from accounts.ids import uuid7
from accounts.models import ApiKey, AuditEvent, KeySecret, Membership
from accounts.tenancy import in_tenant
from tests.factories import Person, make_key
from tests.mails import waiting_mails

SECRET = re.compile(r"qs_live_\w{30,}")


def works(secret: str) -> bool:
    return bool(Client(headers={"X-Api-Key": secret}).get("/api/v1/me").status_code == 200)


def stored(person: Person) -> ApiKey:
    with in_tenant(person.tenant.pk):
        return ApiKey.objects.get(pk=person.key.pk)


def form_of(person: Person, **wish: Any) -> dict[str, Any]:
    """What a browser sends of the form of a person's key."""
    return {"name": person.key.name, "scopes": person.key.scopes, **wish}


def test_a_key_is_shown_once_and_works(alice: Person) -> None:
    answer = alice.client.post("/keys/", {"name": "ci", "scopes": ["images:read"]})
    assert answer.status_code == 201
    secret = re.search(r"qs_live_\w{30,}", answer.content.decode())
    assert secret is not None
    assert answer.content.decode().count(secret.group()) == 4  # itself, and in the samples
    assert "no-store" in answer["Cache-Control"]
    assert secret.group() not in alice.client.get("/keys/").content.decode()
    with in_tenant(alice.tenant.pk):
        key = ApiKey.objects.get(name="ci")
    assert key.scopes == ["images:read"]
    found = alice.client.__class__(headers={"Authorization": f"Bearer {secret.group()}"}).get("/api/v1/me")
    assert (found.status_code, found.json()["scopes"]) == (200, ["images:read"])

    alice.client.post(f"/keys/{key.pk}/revoke/")
    again = alice.client.__class__(headers={"Authorization": f"Bearer {secret.group()}"}).get("/api/v1/me")
    assert again.status_code == 401


def test_refusals_stand_beside_their_field(alice: Person, bob: Person) -> None:
    answer = alice.client.post("/keys/", {"name": "", "scopes": []})
    assert answer.status_code == 400
    assert answer.content.decode().count("field-error") == 2
    assert bob.client.post("/keys/", {"name": "x", "scopes": ["admin"]}).status_code == 400
    with in_tenant(alice.tenant.pk):
        assert ApiKey.objects.count() == 2  # the fixtures' own


def test_members_see_their_own_owners_see_all(alice: Person, bob: Person, mallory: Person) -> None:
    bob.client.post("/keys/", {"name": "bobs key", "scopes": ["images:read"]})
    assert "bobs key" in alice.client.get("/keys/").content.decode()
    assert alice.key.prefix not in bob.client.get("/keys/").content.decode()
    assert "bobs key" not in mallory.client.get("/keys/").content.decode()
    assert mallory.client.post(f"/keys/{bob.key.pk}/revoke/").status_code == 404
    assert bob.client.post(f"/keys/{alice.key.pk}/revoke/").status_code == 404
    with in_tenant(alice.tenant.pk):
        assert not ApiKey.objects.exclude(revoked_at=None).exists()


def test_key_with_limits(alice: Person) -> None:
    form = {"name": "ci", "scopes": ["images:read"], "images_per_day": "20", "networks": "192.0.2.0/24, 2001:db8::/32"}
    answer = alice.client.post("/keys/", {**form, "expires_on": "2999-12-31"})
    assert answer.status_code == 201
    with in_tenant(alice.tenant.pk):
        key = ApiKey.objects.get(name="ci")
    assert (key.limits, key.networks) == ({"images_per_day": 20}, ["192.0.2.0/24", "2001:db8::/32"])
    assert key.expires_at.isoformat().startswith("2999-12-31T23:59:59")
    assert "images a day: 20" in answer.content.decode()


def test_python_sample_bears_refusals_that_pass(alice: Person) -> None:
    page = alice.client.post("/keys/", {"name": "ci", "scopes": ["images:write"]}).content.decode()
    found = re.search(r'<pre class="code" id="sample-python"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert found is not None
    answers = [(429, {}), (503, {}), (200, {"images": [{"url": "http://studio/files/1"}]})]
    keys = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append((self.headers["Authorization"], self.headers["Idempotency-Key"]))
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = answers.pop(0)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sample = unescape(found[1]).replace(settings.STUDIO_URL, f"http://127.0.0.1:{server.server_port}")
        done = subprocess.run([sys.executable, "-c", sample], capture_output=True, text=True, timeout=60)
        server.shutdown()
    assert (done.returncode, done.stdout) == (0, "http://studio/files/1\n"), done.stderr
    assert len(keys) == 3 and len(set(keys)) == 1, "the same request each time"


@pytest.mark.parametrize(
    ("field", "value"), [("images_per_day", "0"), ("max_steps", "many"), ("expires_on", "soon"), ("networks", "here")]
)
def test_wrong_limit_is_refused_and_the_form_kept_open(alice: Person, field: str, value: str) -> None:
    answer = alice.client.post("/keys/", {"name": "ci", "scopes": ["images:read"], field: value})
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "field-error" in page or "notice-error" in page
    assert '<details class="more" open>' in page
    with in_tenant(alice.tenant.pk):
        assert not ApiKey.objects.filter(name="ci").exists()


# ---- one key


def test_key_is_changed_and_only_in_what_was_changed(alice: Person) -> None:
    end = timezone.now() + timedelta(days=9, hours=3)
    limits = {"images_per_day": 9, "gpu_ms_per_day": 1500, "max_of_a_later_release": 3}
    with in_tenant(alice.tenant.pk):
        ApiKey.objects.filter(pk=alice.key.pk).update(limits=limits, expires_at=end)
    page = alice.client.get(f"/keys/{alice.key.pk}/").content.decode()
    assert 'value="1.5"' in page and f'value="{end:%Y-%m-%d}"' in page
    same = form_of(alice, images_per_day="9", gpu_ms_per_day="1.5", expires_on=f"{end:%Y-%m-%d}")
    assert alice.client.post(f"/keys/{alice.key.pk}/", same).status_code == 302
    assert (stored(alice).limits, stored(alice).expires_at) == (limits, end), "not cut to the end of the day"
    with in_tenant(alice.tenant.pk):
        assert not AuditEvent.objects.filter(action="key.changed").exists()
    other = same | {"images_per_day": "", "gpu_ms_per_day": "2", "name": "new", "expires_on": "", "networks": "::1"}
    answer = alice.client.post(f"/keys/{alice.key.pk}/", other | {"scopes": ["images:read"]}, follow=True)
    assert "notice-success" in answer.content.decode()
    found = stored(alice)
    assert found.limits == {"gpu_ms_per_day": 2000, "max_of_a_later_release": 3}
    assert (found.name, found.expires_at, found.networks) == ("new", None, ["::1/128"])
    assert found.scopes == ["images:read"]


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({"name": ""}, 400),
        ({"scopes": []}, 400),
        ({"scopes": ["images:read", "admin"]}, 400),
        ({"networks": "here"}, 400),
        ({"max_steps": "0"}, 400),
        ({"expires_on": "2001-01-01"}, 400),
    ],
)
def test_refused_change_stands_beside_its_field(alice: Person, wish: dict[str, Any], status: int) -> None:
    answer = alice.client.post(f"/keys/{alice.key.pk}/", form_of(alice, **wish))
    assert answer.status_code == status
    assert answer.content.decode().count("field-error") == 1
    assert (stored(alice).name, stored(alice).limits) == ("test key", {})


def test_admin_narrows_others_keys_and_nothing_else(alice: Person, bob: Person) -> None:
    with in_tenant(bob.tenant.pk):
        ApiKey.objects.filter(pk=bob.key.pk).update(limits={"max_steps": 4})
    page = alice.client.get(f"/keys/{bob.key.pk}/").content.decode()
    assert 'name="name"' not in page and "rotate/" not in page
    wish = form_of(bob, max_steps="5")
    assert alice.client.post(f"/keys/{bob.key.pk}/", wish).status_code == 403
    assert alice.client.post(f"/keys/{bob.key.pk}/rotate/", {"overlap_s": "0"}).status_code == 403
    assert stored(bob).limits == {"max_steps": 4} and works(bob.secret)
    assert alice.client.post(f"/keys/{bob.key.pk}/", wish | {"max_steps": "3", "name": "mine"}).status_code == 302
    assert (stored(bob).limits, stored(bob).name) == ({"max_steps": 3}, "test key")


def test_rotation_on_its_page(alice: Person) -> None:
    answer = alice.client.post(f"/keys/{alice.key.pk}/rotate/", {"overlap_s": "3600"})
    assert answer.status_code == 200 and "no-store" in answer["Cache-Control"]
    found = SECRET.search(answer.content.decode())
    assert found is not None and works(found.group()) and works(alice.secret)
    page = alice.client.get(f"/keys/{alice.key.pk}/").content.decode()
    assert found.group() not in page and alice.secret[:14] in page and found.group()[:14] in page
    again = alice.client.post(f"/keys/{alice.key.pk}/rotate/", {"overlap_s": "0"})
    assert again.status_code == 409 and "end the old secret now" in again.content.decode()
    assert alice.client.post(f"/keys/{alice.key.pk}/finish-rotation/").status_code == 302
    assert works(found.group()) and not works(alice.secret)


@pytest.mark.parametrize("overlap", ["", "-1", "5", "soon", "999999999"])
def test_overlap_is_one_of_those_on_offer(alice: Person, overlap: str) -> None:
    assert alice.client.post(f"/keys/{alice.key.pk}/rotate/", {"overlap_s": overlap}).status_code == 400
    with in_tenant(alice.tenant.pk):
        assert KeySecret.objects.count() == 1


def test_foreign_and_unknown_keys_have_no_page(alice: Person, bob: Person, mallory: Person) -> None:
    for client, key in ((bob.client, alice.key.pk), (mallory.client, alice.key.pk), (alice.client, uuid7())):
        assert client.get(f"/keys/{key}/").status_code == 404
        for path in ("", "rotate/", "finish-rotation/", "revoke/"):
            assert client.post(f"/keys/{key}/{path}", {"overlap_s": "0", "name": "x"}).status_code == 404
    assert works(alice.secret) and stored(alice).name == "test key"


def test_ended_key_is_to_look_at(alice: Person) -> None:
    alice.client.post(f"/keys/{alice.key.pk}/revoke/")
    page = alice.client.get(f"/keys/{alice.key.pk}/").content.decode()
    assert "revoked" in page and "<form method" not in page.partition("<main")[2].partition("</main")[0]
    assert alice.client.post(f"/keys/{alice.key.pk}/", form_of(alice, name="x")).status_code == 409
    assert alice.client.post(f"/keys/{alice.key.pk}/rotate/", {"overlap_s": "0"}).status_code == 409
    assert alice.client.post(f"/keys/{alice.key.pk}/finish-rotation/").status_code == 409
    assert "test key" not in alice.client.get("/keys/").content.decode()
    assert "test key" in alice.client.get("/keys/?revoked=true").content.decode()


def test_viewer_looks_at_their_old_keys(bob: Person) -> None:
    Membership.objects.filter(user=bob.user).update(role=Role.VIEWER)
    page = bob.client.get("/keys/").content.decode()
    assert "test key" in page and 'name="scopes"' not in page
    assert f"/keys/{bob.key.pk}/" not in page and bob.client.get(f"/keys/{bob.key.pk}/").status_code == 403
    for path in ("", "rotate/", "finish-rotation/", "revoke/"):
        answer = bob.client.post(
            f"/keys/{bob.key.pk}/{path}", form_of(bob, name="x", scopes=["images:read"], overlap_s="0")
        )
        assert answer.status_code == 403, path
    assert works(bob.secret) and stored(bob).name == "test key"


def test_list_takes_a_constant_number_of_queries(alice: Person) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert alice.client.get("/keys/").status_code == 200
        return len(captured)

    queries()
    few = queries()
    for _ in range(8):
        make_key(alice.tenant, alice.user)
    assert queries() == few


def test_long_list_has_pages(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.web.keys.SHOWN", 2)
    for _ in range(2):
        make_key(alice.tenant, alice.user)
    first = alice.client.get("/keys/").content.decode()
    link = re.search(r'rel="next" href="(\?cursor=[^"]+)"', first)
    assert link is not None and first.count("key-name") == 2
    second = alice.client.get(f"/keys/{link[1]}").content.decode()
    assert second.count("key-name") == 1 and 'rel="prev"' in second
    assert alice.client.get("/keys/?cursor=x").status_code == 404


# ---- leaked


@pytest.mark.parametrize("who", ["nobody", "mallory", "alice"])
def test_whoever_has_found_a_key_ends_it(alice: Person, mallory: Person, who: str) -> None:
    client = {"nobody": Client(), "mallory": mallory.client, "alice": alice.client}[who]
    assert client.get("/keys/leaked/").status_code == 200
    pages = [client.post("/keys/leaked/", {"key": f" {secret} "}) for secret in (alice.secret, new_secret())]
    assert [page.status_code for page in pages] == [202, 202]
    assert len({re.sub(r"\b\w{64}\b", "", page.content.decode()) for page in pages}) == 1
    assert not works(alice.secret) and works(mallory.secret)
    with in_tenant(alice.tenant.pk):
        assert AuditEvent.objects.get(action="key.leaked").user is None
    assert [mail["to"] for mail in waiting_mails()] == [alice.user.email]


def test_what_is_no_key_is_said(db: None) -> None:
    for key in ("", "qs_live_x", new_secret()[:-1], "x" * 300):
        answer = Client().post("/keys/leaked/", {"key": key})
        assert answer.status_code == 400 and answer.content.decode().count("field-error") == 1


def test_reports_from_one_place_wait(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LEAKED_KEYS", 1)
    codes = [Client().post("/keys/leaked/", {"key": new_secret()}).status_code for _ in range(2)]
    assert codes == [202, 429]
    assert Client(enforce_csrf_checks=True).post("/keys/leaked/", {"key": alice.secret}).status_code == 403
    assert works(alice.secret)
