"""Reading, listing, starring, cancelling, retrying and removing: one's own, and nobody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.ids import uuid7
from accounts.models import Errand
from accounts.tenancy import in_tenant
from tests.factories import Person, make_key
from tests.generation.api.calls import IMAGES, finish, ledger, rows, submit, submitted

VERBS = [
    ("get", ""), ("patch", ""), ("delete", ""), ("post", "/cancel"), ("post", "/retry"), ("post", "/vary"),
    ("get", "/events"),
]  # fmt: skip


def call(person: Person, verb: str, generation: UUID | str, suffix: str) -> Any:
    """One verb on one generation."""
    data = {"starred": True} if verb == "patch" else None
    return getattr(person.api, verb)(f"{IMAGES}/{generation}{suffix}", data, content_type="application/json") if data \
        else getattr(person.api, verb)(f"{IMAGES}/{generation}{suffix}")  # fmt: skip


def comparable(answer: Any) -> Any:
    """An answer without what differs by request: the ids in it, and the time left."""
    body = {name: value for name, value in answer.json().items() if name not in ("instance", "request_id")}
    headers = {name: value for name, value in answer.headers.items() if name not in ("X-Request-ID", "RateLimit")}
    return answer.status_code, body, headers


@pytest.mark.parametrize(("verb", "suffix"), VERBS)
def test_foreign_deleted_and_random_ids_get_one_answer(
    alice: Person, mallory: Person, media: Path, verb: str, suffix: str
) -> None:
    foreign = submitted(alice)
    deleted = submitted(mallory)
    finish(mallory, deleted, media)
    assert call(mallory, "delete", deleted, "").status_code == 204
    before = rows(alice)[0]
    answers = [comparable(call(mallory, verb, found, suffix)) for found in (foreign, deleted, uuid7())]
    assert answers[0][0] == 404
    assert answers[0] == answers[1] == answers[2]
    after = rows(alice)[0]
    assert (after.status, after.starred, after.cancel_requested_at) == (before.status, False, None)
    assert len(rows(mallory)) == 0
    assert call(alice, "get", foreign, "").status_code == 200  # the control: her own is there


@pytest.mark.parametrize("path", ["nonsense", "123", "%00", "01a1fc51-f1f6-7d79-b0f9-83b32cf51d9g"])
def test_what_is_no_id_is_not_found(alice: Person, path: str) -> None:
    answer = alice.api.get(f"{IMAGES}/{path}")
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"


def test_members_of_a_tenant_share_their_pictures(alice: Person, bob: Person) -> None:
    generation = submitted(alice)
    assert bob.api.get(f"{IMAGES}/{generation}").json()["id"] == str(generation)
    assert [found["id"] for found in bob.client.get(IMAGES).json()["results"]] == [str(generation)]


def test_finished_generation_tells_everything(alice: Person, media: Path) -> None:
    generation = submitted(alice, seed=5)
    image = finish(alice, generation, media)
    body = alice.api.get(f"{IMAGES}/{generation}").json()
    assert body["status"] == "succeeded"
    assert body["images"][0]["url"].endswith(f"/files/{image.pk}")
    assert body["images"][0]["thumbnail_url"].endswith(f"/files/{image.pk}/thumbnail")
    assert body["images"][0]["seed"] == 5
    assert body["cost"] == {"gpu_ms": 321}
    assert body["error"] is None and body["queue"] is None
    assert body["created_at"].endswith("Z") and body["finished_at"].endswith("Z")


def test_star_and_unstar(alice: Person) -> None:
    generation = submitted(alice)
    url = f"{IMAGES}/{generation}"
    for starred in (True, False):
        answer = alice.api.patch(url, {"starred": starred}, content_type="application/json")
        assert answer.status_code == 200 and answer.json()["starred"] is starred
        assert rows(alice)[0].starred is starred
    for wrong in ({"starred": "yes"}, {"status": "succeeded"}, {"starred": True, "tenant": "x"}, {}, []):
        answer = alice.api.patch(url, wrong, content_type="application/json")
        assert answer.status_code == 400, wrong
    row = rows(alice)[0]
    assert (row.starred, row.status) == (False, "queued")


def test_cancel_waiting_refunds_it(alice: Person) -> None:
    generation = submitted(alice, n=3)
    assert ledger(alice)["images"] == 3
    answer = alice.api.post(f"{IMAGES}/{generation}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert rows(alice)[0].status == "canceled"
    assert ledger(alice) == {"images": 0, "gpu_ms": 0}


def test_cancel_finished_is_409(alice: Person, media: Path) -> None:
    generation = submitted(alice)
    finish(alice, generation, media)
    answer = alice.api.post(f"{IMAGES}/{generation}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_finished")
    assert rows(alice)[0].status == "succeeded"


def test_retry_is_a_generation_of_its_own(alice: Person, media: Path) -> None:
    first = submitted(alice, seed=5)
    assert alice.api.post(f"{IMAGES}/{first}/retry").status_code == 409  # it still waits
    finish(alice, first, media)
    answer = alice.api.post(f"{IMAGES}/{first}/retry")
    assert answer.status_code == 202
    body = answer.json()
    assert body["id"] != str(first) and body["retry_of"] == str(first)
    assert answer["Location"].endswith(body["id"])
    assert (body["prompt"], body["status"]) == (rows(alice)[0].prompt, "queued")
    assert len(rows(alice)) == 2


def test_vary_is_the_same_with_another_seed(alice: Person, media: Path) -> None:
    first = submitted(alice, seed=5, negative_prompt="fog", metadata={"a": "b"})
    assert alice.api.post(f"{IMAGES}/{first}/vary").status_code == 409  # it still waits
    finish(alice, first, media)
    again = alice.api.post(f"{IMAGES}/{first}/retry").json()
    other = alice.api.post(f"{IMAGES}/{first}/vary")
    assert other.status_code == 202
    body = other.json()
    assert (again["seed"], again["retry_of"], body["retry_of"]) == (5, str(first), str(first))
    assert body["seed"] != 5
    one = alice.api.get(f"{IMAGES}/{first}").json()
    for name in ("model", "prompt", "negative_prompt", "width", "height", "num_inference_steps", "n", "metadata"):
        assert body[name] == one[name] == again[name], name


def test_remove_takes_row_and_files(alice: Person, media: Path) -> None:
    generation = submitted(alice)
    assert alice.api.delete(f"{IMAGES}/{generation}").status_code == 409  # it still waits
    image = finish(alice, generation, media)
    answer = alice.api.delete(f"{IMAGES}/{generation}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert rows(alice) == []
    with in_tenant(alice.tenant.pk):
        [errand] = Errand.objects.all()  # the files go with the errand, which outlives a crash
    assert image.file in str(errand.data)
    assert alice.api.get(f"/files/{image.pk}").status_code == 404


def test_reader_may_not_write(alice: Person) -> None:
    generation = submitted(alice)
    _, secret = make_key(alice.tenant, alice.user, scopes=["images:read"])
    headers = {"Authorization": f"Bearer {secret}"}
    url = f"{IMAGES}/{generation}"
    assert alice.api.get(url, headers=headers).status_code == 200
    assert alice.api.delete(url, headers=headers).status_code == 403
    assert alice.api.post(f"{url}/cancel", headers=headers).status_code == 403
    assert rows(alice)[0].status == "queued"


def test_list_pages_newest_first_without_gaps(alice: Person, mallory: Person) -> None:
    made = [str(submitted(alice, prompt=f"picture {number}")) for number in range(7)]
    submitted(mallory)
    url: str | None = f"{IMAGES}?limit=3"
    seen: list[list[str]] = []
    while url:
        page = alice.api.get(url).json()
        seen.append([found["id"] for found in page["results"]])
        url = page["next"]
    assert [len(page) for page in seen] == [3, 3, 1]
    assert [found for page in seen for found in page] == made[::-1]
    assert page["previous"]
    back = alice.api.get(page["previous"]).json()
    assert [found["id"] for found in back["results"]] == seen[1]


def test_list_filters(alice: Person, media: Path) -> None:
    red, blue = submitted(alice, prompt="a RED circle"), submitted(alice, prompt="a blue square, 红色")
    finish(alice, red, media)
    alice.api.patch(f"{IMAGES}/{blue}", {"starred": True}, content_type="application/json")

    def find(query: str) -> list[str]:
        return [found["id"] for found in alice.api.get(f"{IMAGES}?{query}").json()["results"]]

    assert find("q=red") == [str(red)]
    assert find("q=红色") == [str(blue)]
    assert find("q=%25") == []  # no wildcard of the database's
    assert find("status=succeeded") == [str(red)]
    assert find("starred=true") == [str(blue)]
    assert find("model=demo") == [str(blue), str(red)]
    assert find("model=other") == []
    assert find("created_after=2099-01-01T00:00:00Z") == []
    assert len(find("created_after=2020-01-01T00:00:00Z")) == 2
    assert find("created_before=2020-01-01T00:00:00Z") == []
    assert find("q=SQUARE+红&size=64x64") == find("size=64X64&q=红") == [str(blue)]
    assert find("size=128x64") == [] and find("seed=1") == []
    assert find(f"member={alice.user.pk}") == [str(blue), str(red)]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "cursor=nonsense", "status=unknown", "starred=maybe", "created_after=yesterday",
     "created_after=2026-01-01T00:00:00%2B00:00:01.500000", "created_after=2026-01-01T00:00:00%2B23:59",
     "q=%00", "unheard_of=1", "model=%00", "created_before=soon", "size=64", "seed=-1", f"q={'x' * 201}",
     f"q={'%E7%BA%A2' * 201}"],
)  # fmt: skip
def test_wrong_filter_is_refused(alice: Person, query: str) -> None:
    answer = alice.api.get(f"{IMAGES}?{query}")
    assert answer.status_code == 400
    assert query.split("=")[0] in answer.json()["errors"]


def test_list_runs_a_constant_number_of_queries(alice: Person, media: Path) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert alice.api.get(f"{IMAGES}?limit=50").status_code == 200
        return len(queries)

    finish(alice, submitted(alice), media)
    submitted(alice)
    few = count()
    for number in range(12):
        generation = submitted(alice)
        if number % 2:
            finish(alice, generation, media)
    assert count() == few


def test_wrong_verb_is_405(alice: Person) -> None:
    assert alice.api.put(IMAGES).status_code == 405
    assert alice.api.get(f"{IMAGES}/{uuid7()}/cancel").status_code == 405


def test_answers_are_not_cached(alice: Person) -> None:
    assert submit(alice)["Cache-Control"] == "no-store"
    assert alice.api.get(IMAGES)["Cache-Control"] == "no-store"


@pytest.mark.parametrize("who", ["nobody", "a stranger"])
def test_a_member_who_is_not_there_to_see_is_a_404(alice: Person, bob: Person, mallory: Person, who: str) -> None:
    member = uuid7() if who == "nobody" else mallory.user.pk
    answers = [comparable(alice.client.get(f"{IMAGES}?member={member}"))]
    answers.append(comparable(bob.client.get(f"{IMAGES}?member={alice.user.pk}")))  # members do not see the members
    assert [status for status, _, _ in answers] == [404, 404]
    assert answers[0] == answers[1]


def test_a_search_of_thirty_thousand_characters_is_refused_by_its_bound(alice: Person) -> None:
    answer = alice.api.get(f"{IMAGES}?q={'x' * 32_768}")
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"q": ["q is too long, max 200 chars"]}


def test_searching_costs_the_same_statements_however_much_is_found(alice: Person, media: Path) -> None:
    def count(query: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert alice.api.get(f"{IMAGES}?limit=50&{query}").status_code == 200
        return len(queries)

    queries = ("q=house", "q=red+box&starred=true", f"member={alice.user.pk}&size=64x64&status=succeeded")
    finish(alice, submitted(alice, prompt="a red box, a house"), media)
    few = [count(query) for query in queries]
    for _ in range(8):
        finish(alice, submitted(alice, prompt="a red box, a house"), media)
    assert [count(query) for query in queries] == few
