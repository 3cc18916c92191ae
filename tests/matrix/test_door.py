"""The async door's operations through the real front: the answers of the matrix, and Django's own, to the letter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from django.test import Client

from accounts.domain.tenants import suspend_tenant
from accounts.enums import Role, Scope
from accounts.ids import uuid7
from tests.factories import Person
from tests.matrix.asking import Stored, difference
from tests.matrix.house import KINDS, House, with_key
from tests.matrix.table import BODY
from tests.matrix.test_ids import texts
from tests.qwenstudio.fronts import RunningFront, running_front

pytestmark = pytest.mark.timeout(300)
IMAGES = "/api/v1/images"


@pytest.fixture(scope="module")
def front(test_database: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFront]:
    with running_front(tmp_path_factory.mktemp("front"), STUDIO_STREAMS="100000") as found:
        yield found


@pytest.fixture
def http(front: RunningFront) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=front.url, timeout=60) as client:
        yield client


def by_key(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.secret}"}


def by_session(person: Person) -> dict[str, str]:
    cookie = f"studio_session={person.client.cookies['studio_session'].value}; studio_csrf={'c' * 32}"
    return {"Cookie": cookie, "X-CSRFToken": "c" * 32}


def told(answer: Any) -> tuple[int, dict[str, Any], str]:
    """Status, problem without what must differ, type: of httpx's answers and of Django's."""
    body = answer.json()
    del body["request_id"], body["instance"]
    return answer.status_code, body, answer.headers["Content-Type"]


@pytest.mark.parametrize(("rows", "root"), [("ended", IMAGES), ("conversation", "/api/v1/conversations")])
@pytest.mark.parametrize("credentials", [by_key, by_session])
def test_streams_of_foreign_deleted_random_and_no_ids(
    house: House, stored: Stored, http: httpx.Client, credentials: Any, rows: str, root: str
) -> None:
    alice = house.person(Role.OWNER)
    kind = KINDS[rows]
    foreign, gone, own = kind.make(house, house.mallory), kind.lose(house, alice), kind.make(house, alice)
    others = [kind.make(house, house.alice)] if kind.personal else []
    http.get("/account/", headers=credentials(alice))  # the session is noted
    before = stored.now()
    random = [uuid4(), uuid7(), UUID(int=0)]
    wrong = [foreign, *others, gone, *random, *(text for text in texts(own) if text != "%00")]
    answers = [told(http.get(f"{root}/{quoted(id)}/events", headers=credentials(alice))) for id in wrong]
    assert [answer for answer in answers if answer != answers[0]] == []
    assert answers[0] == told(alice.api.get(f"{root}/{uuid4()}/events")), "Django's own answer is another"
    assert answers[0][0] == 404
    assert difference(before, stored.now()) == []
    control = http.get(f"{root}/{own}/events", headers=credentials(alice))
    assert (control.status_code, "event: " in control.text) == (200, True)


@pytest.mark.parametrize("credentials", [by_key, by_session])
def test_waiting_submits_with_a_webhook(house: House, stored: Stored, http: httpx.Client, credentials: Any) -> None:
    http.get("/account/", headers=credentials(house.alice))  # the session is noted
    before = stored.now()
    headers = {**credentials(house.alice), "Prefer": "wait=1"}
    answers = [told(http.post(IMAGES, json={**BODY, "webhook": str(id)}, headers=headers)) for id in (uuid4(), uuid7())]
    assert answers[0] == answers[1]
    assert answers[0][0] == 404
    assert difference(before, stored.now()) == []
    assert http.post(IMAGES, json=BODY, headers=headers).status_code == 202  # nobody draws here: the time runs out


def test_refusals_are_djangos_own(house: House, stored: Stored, http: httpx.Client) -> None:
    """Without credentials, with a bad key, without the scope, suspended: for every operation that the door takes."""
    own = KINDS["ended"].make(house, house.alice)
    talk = KINDS["conversation"].make(house, house.alice)
    small = with_key(house.alice.tenant, house.person(Role.OWNER).user, scopes=(Scope.SENTIMENT.value,))
    viewer = house.person(Role.VIEWER)
    wrong = house.alice.secret[:-1] + ("A" if house.alice.secret[-1] != "A" else "B")
    operations = [
        ("GET", f"{IMAGES}/{own}/events", {}),
        ("GET", f"/api/v1/conversations/{talk}/events", {}),
        ("GET", "/api/v1/events", {}),
        ("POST", IMAGES, {"Prefer": "wait=1"}),
    ]
    before = stored.now()

    def compare(headers: dict[str, str], status: int, only: str = "") -> None:
        for method, path, more in operations:
            if only and method != only:
                continue
            content = {"json": BODY} if method == "POST" else {}
            answer = told(http.request(method, path, headers={**headers, **more}, **content))
            assert answer[0] == status
            django = Client(headers=headers).generic(
                method, path, httpx.Request(method, "http://x", **content).content, content_type="application/json"
            )
            assert answer == told(django), (method, path)

    compare({}, 401)
    compare({"Authorization": f"Bearer {wrong}"}, 401)
    compare({"X-Api-Key": "x"}, 401)
    compare(by_key(small), 403)
    compare(by_key(viewer), 403, only="POST")
    assert difference(before, stored.now()) == []
    suspend_tenant(house.alice.tenant, reason="the matrix")
    before = stored.now()
    compare(by_key(house.alice), 403)
    assert difference(before, stored.now()) == []


def test_other_methods_are_refused(house: House, stored: Stored, http: httpx.Client) -> None:
    own = KINDS["ended"].make(house, house.alice)
    before = stored.now()
    for path in (f"{IMAGES}/{own}/events", "/api/v1/events"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = http.request(method, path, headers=by_key(house.alice))
            assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
            assert answer.headers["Allow"].startswith("GET")
    assert difference(before, stored.now()) == []


def quoted(id: object) -> str:
    """An id as a part of a path."""
    from urllib.parse import quote

    return quote(str(id), safe="")
