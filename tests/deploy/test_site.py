"""What nginx adds to the running studio: headers, files, streams, bounds, logs. One fact, one test."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.conf import settings

from qwenstudio.headers import ADMIN_POLICY, DATA_POLICY, PAGE_POLICY, SECURITY_HEADERS
from qwenstudio.proxy.refusals import POLICY
from tests.chaos.rig import offer_sleeping_model
from tests.deploy.nginxes import RunningNginx, once, read_all, status_of
from tests.factories import Person, make_key
from tests.generation.api.calls import BODY, finish, submitted

pytestmark = [pytest.mark.needs_nginx, pytest.mark.timeout(300)]
GREEN = {"Cookie": "studio_lane=green"}  # live, and nobody is there


def key_of(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.secret}"}


# ---- headers

ANSWERS = [
    ("/sign-in/", {}, 200, PAGE_POLICY),  # Django's
    ("/admin/login/", {}, 302, ADMIN_POLICY),
    ("/api/v1/me", {}, 401, DATA_POLICY),
    ("/api/v1/events", {}, 401, DATA_POLICY),  # the async side's
    ("/static/studio/studio.css", {}, 200, POLICY),  # nginx's own
    ("/static/nothing.css", {}, 404, POLICY),
    ("/metrics", {}, 403, POLICY),
    ("/sign-in/", GREEN, 502, POLICY),
]


@pytest.mark.parametrize(("path", "headers", "status", "policy"), ANSWERS)
def test_every_answer_has_each_header_once(
    db: None, nginx: RunningNginx, path: str, headers: dict[str, str], status: int, policy: str
) -> None:
    with nginx.client() as client:
        answer = client.get(path, headers=headers)
    assert answer.status_code == status
    assert once(answer.headers, "Content-Security-Policy") == policy
    assert once(answer.headers, "Strict-Transport-Security") == "max-age=31536000"
    for name, value in SECURITY_HEADERS.items():
        assert once(answer.headers, name) == value
    assert re.fullmatch("[0-9a-f]{32}", once(answer.headers, "X-Request-ID"))
    assert answer.headers["Server"] == "nginx", "no version"


# ---- private pictures


@pytest.fixture
def image(alice: Person, media: Path) -> Any:
    offer_sleeping_model()
    return finish(alice, submitted(alice), media)


def test_nginx_sends_a_private_picture(nginx: RunningNginx, alice: Person, image: Any, media: Path) -> None:
    with nginx.client() as client:
        answer = client.get(f"/files/{image.pk}", headers=key_of(alice))
        known = client.get(f"/files/{image.pk}", headers={**key_of(alice), "If-None-Match": answer.headers["ETag"]})
        part = client.get(f"/files/{image.pk}", headers={**key_of(alice), "Range": "bytes=0-3"})
    assert (answer.status_code, answer.content) == (200, (media / image.file).read_bytes())
    assert "X-Accel-Redirect" not in answer.headers
    assert once(answer.headers, "Cache-Control") == "private, max-age=31536000, immutable"
    assert once(answer.headers, "Content-Type") == "image/png"
    assert once(answer.headers, "Content-Security-Policy") == DATA_POLICY
    assert once(answer.headers, "ETag") == f'"{image.sha256}"', "the application's, not one of nginx's"
    assert once(answer.headers, "Vary") == "Cookie, Authorization, X-Api-Key, Accept-Language"
    assert once(answer.headers, "Content-Disposition").startswith("inline; ")
    assert "Set-Cookie" not in answer.headers
    assert (known.status_code, known.content) == (304, b"")
    assert (part.status_code, part.content) == (206, answer.content[:4]), "only nginx answers ranges"
    assert nginx.log_line(part.headers["X-Request-ID"])["status"] == 206


def test_a_private_picture_has_no_address_of_its_own(nginx: RunningNginx, alice: Person, image: Any) -> None:
    with nginx.client() as client:
        for path in (f"/protected/{image.file}", f"//protected/{image.file}", f"/x/..%2fprotected/{image.file}"):
            assert client.get(path, headers=key_of(alice)).status_code in (400, 404), path


def test_a_private_picture_is_nobody_elses(nginx: RunningNginx, mallory: Person, image: Any) -> None:
    absent = UUID(int=image.pk.int ^ 1)
    with nginx.client() as client:
        answers = [client.get(f"/files/{found}", headers=key_of(mallory)) for found in (image.pk, absent)]
    assert [answer.status_code for answer in answers] == [404, 404]
    bodies = [{**answer.json(), "instance": "", "request_id": ""} for answer in answers]
    assert bodies[0] == bodies[1]


# ---- static files


def test_hashed_files_stay_for_a_year(nginx: RunningNginx, collected: Path) -> None:
    names = json.loads((collected / "static.json").read_text())["paths"]
    with nginx.client() as client:
        hashed = client.get(f"/static/{names['studio/js/studio.js']}")
        plain = client.get("/static/studio/js/studio.js")
    assert hashed.status_code == plain.status_code == 200
    assert once(hashed.headers, "Cache-Control") == "public, max-age=31536000, immutable"
    assert once(plain.headers, "Cache-Control") == "public, max-age=300"
    assert once(hashed.headers, "Content-Type") == "application/javascript; charset=utf-8"
    assert f'"./{Path(names["studio/js/words.js"]).name}"' in hashed.text, "modules import each other's hashed names"


def test_a_static_file_that_is_missing_is_not_kept(nginx: RunningNginx) -> None:
    with nginx.client() as client:
        answer = client.get("/static/studio/nothing.0123456789ab.css")
    assert answer.status_code == 404
    assert "Cache-Control" not in answer.headers


def test_text_is_compressed_where_it_is_nobodys_secret(db: None, nginx: RunningNginx) -> None:
    with nginx.client(headers={"Accept-Encoding": "gzip"}) as client:
        assert client.get("/static/studio/studio.css").headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in client.get("/sign-in/").headers


def test_nginx_finds_no_file_outside(nginx: RunningNginx) -> None:
    with nginx.plug() as plug:
        plug.sendall(b"GET /static/..%2f..%2fnginx.conf HTTP/1.1\r\nHost: studio.test\r\nConnection: close\r\n\r\n")
        assert status_of(read_all(plug)) in (400, 404)


# ---- streams


def test_events_arrive_as_they_happen(nginx: RunningNginx, alice: Person) -> None:
    offer_sleeping_model()
    generation = submitted(alice)
    events = f"/api/v1/images/{generation}/events"
    names: list[str] = []
    with nginx.client(headers=key_of(alice)) as client, client.stream("GET", events) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if not line.startswith("event: "):
                continue
            names.append(line.removeprefix("event: "))
            if len(names) == 1:  # the opening is here, and the stream still open: only now something happens
                assert client.post(f"/api/v1/images/{generation}/cancel").status_code == 200
            if names[-1] == "canceled":
                break
    assert names[0] == "queued" and names[-1] == "canceled"


def test_a_submit_that_waits_is_held_by_the_async_side(nginx: RunningNginx, alice: Person) -> None:
    offer_sleeping_model()
    with nginx.client(headers=key_of(alice)) as client:
        answer = client.post("/api/v1/images", json=BODY, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202, "nobody draws here: after a second it is accepted and no more"
    line = nginx.log_line(answer.headers["X-Request-ID"])
    assert line["upstream"].endswith(f":{nginx.site.lanes['blue'].stream}")


# ---- bounds


def test_a_body_over_the_cap_is_refused(nginx: RunningNginx) -> None:
    body = b"x" * (nginx.site.body_bytes + 1)
    with nginx.client() as client:
        problem = client.post("/api/v1/keys", content=body)
        page = client.post("/sign-in/", content=body)
    assert (problem.status_code, page.status_code) == (413, 413)
    assert problem.headers["Content-Type"] == "application/problem+json"
    found = problem.json()
    assert found == {
        "type": "urn:qwenstudio:problem:body_too_large",
        "title": "Request Entity Too Large",
        "status": 413,
        "detail": "the body is longer than 1048576 bytes, the most that this address takes",
        "instance": "/api/v1/keys",
        "code": "body_too_large",
        "request_id": problem.headers["X-Request-ID"],
    }
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "That is too large" in page.text and "内容过大" in page.text


def test_a_body_of_the_cap_reaches_the_application(nginx: RunningNginx, alice: Person) -> None:
    with nginx.client(headers=key_of(alice)) as client:
        answer = client.post("/api/v1/images", content=b"x" * nginx.site.body_bytes)
    assert answer.status_code == 400, "no JSON"
    assert nginx.log_line(answer.headers["X-Request-ID"])["upstream"] != ""


@pytest.mark.parametrize("path", settings.PICTURE_BODY_PATHS)
def test_only_requests_with_pictures_may_be_longer(nginx: RunningNginx, alice: Person, path: str) -> None:
    with nginx.client(headers=key_of(alice)) as client:
        taken = client.post(path, content=b"x" * (nginx.site.body_bytes + 1))
        refused = client.post(path, content=b"x" * (nginx.site.picture_bytes + 1))
    assert (taken.status_code, refused.status_code) == (400, 413)
    assert str(nginx.site.picture_bytes) in refused.text


def test_an_address_over_the_cap_is_refused(nginx: RunningNginx) -> None:
    with nginx.client() as client:
        answer = client.get("/" + "a" * 9000)
    assert answer.status_code == 414
    assert once(answer.headers, "Content-Security-Policy") == POLICY


@pytest.mark.parametrize("headers", [{"Cookie": f"a={'x' * 9000}"}, {f"X-{n}": "x" * 7000 for n in range(6)}])
def test_headers_over_the_cap_are_refused(nginx: RunningNginx, headers: dict[str, str]) -> None:
    with nginx.client() as client:
        answer = client.get("/api/v1/me", headers=headers)
    assert answer.status_code == 431
    assert answer.json()["code"] == "headers_too_large" and answer.json()["status"] == 431


def test_headers_below_the_cap_reach_the_application(db: None, nginx: RunningNginx) -> None:
    with nginx.client() as client:
        answer = client.get("/api/v1/me", headers={f"X-{n}": "x" * 7000 for n in range(3)})
    assert answer.json()["code"] == "not_signed_in"


# ---- who asks


def test_a_forged_address_is_not_believed(nginx: RunningNginx, alice: Person) -> None:
    _, secret = make_key(alice.tenant, alice.user, networks=["203.0.113.0/24"])
    _, own = make_key(alice.tenant, alice.user, networks=["127.0.0.0/8"])
    forged = {"X-Forwarded-For": "203.0.113.5", "X-Real-IP": "203.0.113.5", "Forwarded": "for=203.0.113.5"}
    with nginx.client(headers=forged) as client:
        for path in ("/api/v1/me", "/api/v1/events"):
            refused = client.get(path, headers={"X-Api-Key": secret})
            assert refused.status_code in (401, 403), path
        assert client.get("/api/v1/me", headers={"X-Api-Key": own}).status_code == 200


def test_django_knows_that_the_client_came_over_tls(nginx: RunningNginx, db: None, lane: Any) -> None:
    """Behind TLS, and there only, Django refuses a form whose Referer is another site's."""
    with nginx.client() as client:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/sign-in/").text)
        assert token is not None
        form = {"csrfmiddlewaretoken": token[1], "login": "nobody@example.com"}
        ours = client.post("/sign-in/", data=form, headers={"Referer": "https://studio.test/sign-in/"})
        foreign = client.post("/sign-in/", data=form, headers={"Referer": "https://evil.example/"})
    assert foreign.status_code == 403
    assert ours.status_code != 403


def test_metrics_are_for_the_networks_named(nginx: RunningNginx) -> None:
    with nginx.client() as client:
        for path in ("/metrics", "/metrics/", "/%6detrics", "/.//metrics"):
            assert client.get(path).status_code in (400, 403), path
        last = client.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})
    assert last.status_code == 403
    assert nginx.log_line(last.headers["X-Request-ID"])["path"] == "/metrics"
    assert not any(line["path"] == "/metrics" and line["upstream"] for line in nginx.log_lines())


@pytest.mark.parametrize("path", ["/a/../admin/", "/a/%2e%2e/admin/", "/admin/../x/", "/./admin/", "/x/.."])
def test_a_path_with_dots_reaches_nobody(nginx: RunningNginx, path: str) -> None:
    with nginx.plug() as plug:
        plug.sendall(f"GET {path}?a=1 HTTP/1.1\r\nHost: studio.test\r\nConnection: close\r\n\r\n".encode())
        answer = read_all(plug)
    assert status_of(answer) == 400
    (request_id,) = re.findall(r"(?i)x-request-id: (\S+)", answer.decode())
    assert nginx.log_line(request_id)["upstream"] == ""


# ---- logs


def test_the_log_is_json_without_secrets(nginx: RunningNginx, alice: Person) -> None:
    odd = 'quote" and \\ and \x01'
    with nginx.client(headers={**key_of(alice), "User-Agent": odd.encode("latin-1").decode("latin-1")}) as client:
        found = client.get("/api/v1/images?q=a+secret+prompt", headers={"Referer": "https://x/?q=a+secret+prompt"})
        answers = [
            found,
            client.get("/sign-in/link/a-secret-token/"),
            client.get("/gallery/?q=a+secret+prompt", headers=GREEN),  # an error of nginx's own
            client.get("/account/password/reset/sent/"),
        ]
    lines = [nginx.log_line(answer.headers["X-Request-ID"]) for answer in answers]
    assert lines[0] | {"seconds": 0, "upstream_seconds": "", "time": "", "bytes": 0} == {
        "time": "",
        "request_id": found.headers["X-Request-ID"],
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/api/v1/images",
        "protocol": "HTTP/1.1",
        "tls": "TLSv1.3",
        "status": found.status_code,
        "bytes": 0,
        "seconds": 0,
        "lane": "blue",
        "upstream": f"127.0.0.1:{nginx.site.lanes['blue'].web}",
        "upstream_status": str(found.status_code),
        "upstream_seconds": "",
        "agent": odd,
    }
    assert [line["path"] for line in lines[1:]] == ["/sign-in/link/…", "/gallery/", "/account/password/reset/sent/"]
    assert (lines[2]["status"], lines[2]["upstream_status"], lines[2]["lane"]) == (502, "502", "green")
    written = nginx.all_logs()
    for secret in (alice.secret, "prompt", "a-secret-token"):
        assert secret not in written


# ---- nginx's own pages


def test_the_page_for_waiting_is_calm(nginx: RunningNginx) -> None:
    with nginx.client(headers=GREEN) as client:
        page = client.get("/gallery/?q=x")
        problem = client.post("/api/v1/images", json=BODY)
        stream = client.get("/api/v1/events")
        openai = [client.post("/v1/images/generations", json=BODY), client.get("/v1/models")]
    for answer in openai:
        assert (answer.status_code, answer.headers["Content-Type"]) == (502, "application/json")
        assert answer.json()["error"]["message"]
        assert answer.json()["error"] == {
            "message": answer.json()["error"]["message"], "type": "server_error", "param": None, "code": "no_answer"
        }  # fmt: skip
        assert once(answer.headers, "Retry-After") == "5"
    assert page.status_code == problem.status_code == stream.status_code == 502
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Back in a moment" in page.text and "马上回来" in page.text
    assert "<script" not in page.text and page.headers["X-Request-ID"] in page.text
    assert "Set-Cookie" not in page.headers, "nobody is kept in a lane that does not answer"
    for answer in (page, problem, stream):
        assert once(answer.headers, "Retry-After") == "5"
    for answer in (problem, stream):
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "no_answer"
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


def test_an_address_cannot_write_into_a_problem(nginx: RunningNginx) -> None:
    with nginx.plug() as plug:
        plug.sendall(
            b'GET /api/"},{"x HTTP/1.1\r\nHost: studio.test\r\nCookie: studio_lane=green\r\nConnection: close\r\n\r\n'
        )
        body = read_all(plug).partition(b"\r\n\r\n")[2]
    text = body.partition(b"{")[1] + body.partition(b"{")[2].rpartition(b"}")[0] + b"}"
    assert json.loads(text)["instance"] == "/api/"


# ---- lanes


def test_a_page_keeps_its_visitor_in_the_lane(db: None, nginx: RunningNginx) -> None:
    with nginx.client() as client:
        page = client.get("/sign-in/")
        api = client.get("/api/v1/me")
        again = client.get("/sign-in/", headers={"Cookie": "studio_lane=blue"})
        gone = client.get("/sign-in/", headers={"Cookie": "studio_lane=purple"})
    cookie = "studio_lane=blue; Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=Lax"
    given = [[value for value in answer.headers.get_list("Set-Cookie") if "studio_lane" in value]
             for answer in (page, api, again, gone)]  # fmt: skip
    assert given == [[cookie], [], [], [cookie]]


def test_only_this_machine_is_told_the_lane(nginx: RunningNginx) -> None:
    with nginx.client() as client:
        assert client.get("/.well-known/studio-lane").json() == {"lane": "blue", "serial": 1}
    plain = httpx.get(f"http://127.0.0.1:{nginx.site.http_port}/.well-known/studio-lane", timeout=60)
    assert plain.json() == {"lane": "blue", "serial": 1}
    text = nginx.places.site.read_text()
    for block in re.findall(r"location = /.well-known/studio-lane \{(.*?)\}", text, re.DOTALL):
        assert re.findall(r"(?:allow|deny) \S+;", block) == ["allow 127.0.0.1;", "allow ::1;", "deny all;"]


def test_gzip_is_real(nginx: RunningNginx) -> None:
    with (
        nginx.client(headers={"Accept-Encoding": "gzip"}) as client,
        client.stream("GET", "/static/studio/studio.css") as answer,
    ):
        assert b"--accent" in gzip.decompress(b"".join(answer.iter_raw()))
