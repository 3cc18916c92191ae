"""Which process of which lane gets a request, and how often. Stand-ins tell what they were sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from qwenstudio.proxy.lanes import LanesState
from qwenstudio.proxy.site import LanePorts
from tests.deploy.nginxes import RunningNginx, running_nginx
from tests.deploy.upstreams import Heard, Upstream, answer, upstream

pytestmark = [pytest.mark.needs_nginx, pytest.mark.timeout(300)]
BOTH = frozenset({"blue", "green"})


@dataclass
class Town:
    """Four stand-ins behind one nginx."""

    nginx: RunningNginx
    places: dict[str, Upstream]

    def who_heard(self) -> list[str]:
        return [name for name, place in self.places.items() if place.heard]


def act(heard: Heard) -> bytes | None:
    if heard.line.startswith("GET /swallowed") and heard.number > 1:
        return None  # an idle connection that was closed just then
    if heard.line.startswith("POST /swallowed"):
        return None
    kind = "text/html; charset=utf-8" if "/page" in heard.line or "/switch" in heard.line else "application/json"
    return answer(Content_Type=kind)


@pytest.fixture(params=[LanesState(live=BOTH, sticky=True)], ids=["sticky"])
def town(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Town]:
    with ExitStack() as stack:
        places = {
            name: stack.enter_context(upstream(act))
            for name in ("blue web", "blue stream", "green web", "green stream")
        }
        lanes = {
            lane: LanePorts(places[f"{lane} web"].port, places[f"{lane} stream"].port) for lane in ("blue", "green")
        }
        nginx = stack.enter_context(
            running_nginx(tmp_path, lanes=lanes, state=request.param, admin_networks=("192.0.2.0/24",))
        )
        yield Town(nginx, places)


WAIT = {"Prefer": "respond-async, wait=5"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "who"),
    [
        ("GET", "/", {}, "web"),
        ("GET", "/api/v1/images", {}, "web"),
        ("POST", "/api/v1/images", {}, "web"),
        ("POST", "/api/v1/images", {"Prefer": "return=minimal"}, "web"),
        ("POST", "/api/v1/images", WAIT, "stream"),
        ("GET", "/api/v1/images", WAIT, "web"),
        ("POST", "/api/v1/images/x/cancel", WAIT, "web"),
        ("GET", "/api/v1/events", {}, "stream"),
        ("GET", "/api/v1/images/0190/events", {}, "stream"),
        ("GET", "/api/v1/conversations/0190/events", {}, "stream"),
        ("GET", "/api/v1/conversations/0190", {}, "web"),
        ("GET", "/api/v1/images/0190/events/x", {}, "web"),
        ("GET", "/api/v1/images/a/b/events", {}, "web"),
        ("POST", "/v1/images/generations", {}, "stream"),
        ("POST", "/v1/images/edits", {}, "stream"),
        ("POST", "/v1/chat/completions", {}, "stream"),
        ("POST", "/v1/chat/completions/x", {}, "web"),
        ("POST", "/api/v1/sentiment", {}, "stream"),
        ("POST", "/v1/images/generations/x", {}, "web"),
        ("POST", "/v1/images/variations", {}, "web"),
        ("GET", "/v1/models", {}, "web"),
        ("GET", "/v1/models/demo", {}, "web"),
    ],
)
@pytest.mark.parametrize("lane", ["blue", "green"])
def test_by_path_and_lane(town: Town, method: str, path: str, headers: dict[str, str], who: str, lane: str) -> None:
    with town.nginx.client() as client:
        client.request(method, path, headers={**headers, "Cookie": f"studio_lane={lane}"})
    assert town.who_heard() == [f"{lane} {who}"]


@pytest.mark.parametrize(
    ("town", "cookie", "lane"),
    [
        (LanesState(live=BOTH, sticky=True), "", "blue"),
        (LanesState(live=BOTH, sticky=True), "purple", "blue"),
        (LanesState(live=BOTH, sticky=True), "green", "green"),
        (LanesState(live=BOTH, sticky=False), "green", "blue"),
        (LanesState(live=frozenset({"blue"}), sticky=True), "green", "blue"),
        (LanesState(default="green", live=BOTH, sticky=True), "", "green"),
        (LanesState(default="green", live=BOTH, sticky=True), "blue", "blue"),
    ],
    indirect=["town"],
)
def test_a_cookie_counts_while_sticky_and_for_live_lanes(town: Town, cookie: str, lane: str) -> None:
    with town.nginx.client() as client:
        answer = client.get("/page", headers={"Cookie": f"studio_lane={cookie}"} if cookie else {})
    assert answer.status_code == 200
    assert town.who_heard() == [f"{lane} web"]


@pytest.mark.parametrize(
    ("town", "path", "given"),
    [
        (LanesState(live=BOTH, sticky=True), "/page", True),
        (LanesState(live=BOTH, sticky=True), "/data", False),
        (LanesState(live=BOTH, sticky=True), "/switch/green", False),
        (LanesState(live=BOTH, sticky=False), "/page", False),
    ],
    indirect=["town"],
)
def test_a_cookie_is_given_to_pages_while_sticky(town: Town, path: str, given: bool) -> None:
    with town.nginx.client() as client:
        assert ("Set-Cookie" in client.get(path).headers) is given


def test_what_the_client_says_of_itself_is_replaced(town: Town) -> None:
    lies = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Proxy")
    with town.nginx.client() as client:
        client.get("/", headers=dict.fromkeys(lies, "1.2.3.4") | {"X_Forwarded_For": "1.2.3.4"})
    (heard,) = town.places["blue web"].heard
    told = {name: value for name, value in heard.headers.items() if value == "1.2.3.4"}
    assert told == {}
    assert heard.headers["x-forwarded-for"] == "127.0.0.1"
    assert heard.headers["x-forwarded-proto"] == "https"
    assert heard.headers["host"] == f"studio.test:{town.nginx.site.https_port}"


def test_a_client_s_own_request_id_is_passed_on(town: Town) -> None:
    """The application logs it beside its own."""
    with town.nginx.client() as client:
        client.get("/", headers={"X-Request-ID": "mine"})
    assert town.places["blue web"].heard[0].headers["x-request-id"] == "mine"


def test_reading_over_a_swallowed_connection_is_asked_again(town: Town) -> None:
    with town.nginx.client() as client:
        answers = [client.get("/swallowed").status_code for _ in range(6)]
    heard = town.places["blue web"].heard
    assert answers == [200] * 6
    assert any(one.number > 1 for one in heard), "connections were kept"


def test_writing_goes_over_a_new_connection_and_never_twice(town: Town) -> None:
    with town.nginx.client() as client:
        for _ in range(3):
            client.get("/")  # leaves a kept connection
        answers = [client.post("/api/v1/keys").status_code for _ in range(4)]
        swallowed = client.post("/swallowed")
    writes = [one for one in town.places["blue web"].heard if one.line.startswith("POST")]
    assert answers == [200] * 4
    assert [one.number for one in writes] == [1] * 5
    assert swallowed.status_code == 502
    assert sum("/swallowed" in one.line for one in writes) == 1, "it may have been done: nobody does it again"


def test_the_admin_is_for_the_networks_named(town: Town) -> None:
    with town.nginx.client() as client:
        for path in ("/admin", "/admin/", "/admin/login/?next=/admin/", "/%61dmin/", "/admin//x"):
            answer = client.get(path)
            assert answer.status_code == 403, path
            assert "Not from here" in answer.text and "此处无法访问" in answer.text
    assert town.who_heard() == []
