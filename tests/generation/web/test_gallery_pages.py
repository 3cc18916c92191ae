"""The gallery without a browser: filters, selections without script, comparisons, the same again."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.enums import Role
from accounts.models import Plan
from accounts.tenancy import in_tenant
from generation.models import Generation, Selection
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_member, make_user
from tests.generation.api.calls import finish, rows, submitted

SMALL = {"width": 64, "height": 64}


@pytest.fixture(autouse=True)
def _model(db: object) -> None:
    offer_sleeping_model()


def drawn(person: Person, media: Path, **fields: object) -> UUID:
    generation = submitted(person, **SMALL | fields)
    finish(person, generation, media)
    return generation


def shown(person: Person, query: str = "") -> list[str]:
    text = person.client.get(f"/gallery/?{query}").content.decode()
    return re.findall(r'data-star="/api/v1/images/([0-9a-f-]{36})"', text)


def messages_of(client: Client, path: str = "/gallery/") -> str:
    return client.get(path).content.decode()


def test_filters_of_the_page(alice: Person, bob: Person, media: Path) -> None:
    first = drawn(alice, media, prompt="a red ＢＯＸ", seed=5)
    second = submitted(bob, prompt="盒子", width=128, height=64)
    today = f"{timezone.now():%Y-%m-%d}"
    tomorrow = f"{timezone.now() + timedelta(days=1):%Y-%m-%d}"
    assert shown(alice, "q=box+RED") == shown(alice, "status=succeeded") == shown(alice, "seed=5") == [str(first)]
    assert shown(alice, "size=128x64") == shown(alice, f"member={bob.user.pk}") == shown(alice, "q=盒") == [str(second)]
    assert shown(bob, f"member={bob.user.pk}") == [str(second)]
    both = [str(second), str(first)]
    assert shown(alice, f"from={today}&to={today}&model=demo") == both
    assert shown(alice, f"from={tomorrow}") == shown(alice, "to=2020-01-01") == shown(alice, "q=nothing") == []
    # What cannot be is as if it were not there.
    wrong = f"q={'x' * 0}&size=wide&seed=none&status=done&from=never&to=2026-13-45&starred=maybe&unheard=1"
    assert shown(alice, wrong) == both
    assert shown(alice, f"q={'x' * 32_768}") == []  # cut, and nothing holds two hundred x
    assert alice.client.get(f"/gallery/?member={uuid4()}").status_code == 404
    assert bob.client.get(f"/gallery/?member={alice.user.pk}").status_code == 404


def test_filters_stay_in_the_addresses_of_the_next_piece(alice: Person) -> None:
    for number in range(40):
        submitted(alice, prompt=f"box {number}", **SMALL)
    text = alice.client.get("/gallery/?q=box&status=queued").content.decode()
    more = re.search(r'<a class="button" rel="next" href="(/gallery/\?[^"]+)"', text)
    assert more is not None and "q=box&amp;status=queued&amp;cursor=" in more.group(1)
    rest = alice.client.get(more.group(1).replace("&amp;", "&")).content.decode()  # without script it is a page
    assert rest.count('class="shot-link"') == 4 and "<html" in rest
    newer = re.search(r'rel="prev" href="(/gallery/\?[^"]+)"', rest)
    assert newer is not None
    back = alice.client.get(newer.group(1).replace("&amp;", "&")).content.decode()
    assert back.count('class="shot-link"') == 36


def test_all_that_is_found_can_be_selected(alice: Person, mallory: Person) -> None:
    ids = {str(submitted(alice, prompt="box", **SMALL)) for _ in range(3)}
    submitted(alice, prompt="other", **SMALL)
    found = alice.client.get("/gallery/ids/?q=box").json()
    assert (set(found["ids"]), found["more"]) == (ids, False)
    assert mallory.client.get("/gallery/ids/").json() == {"ids": [], "more": False}
    assert alice.client.get(f"/gallery/ids/?member={mallory.user.pk}").status_code == 404


def test_the_page_costs_the_same_however_much_there_is(alice: Person, media: Path) -> None:
    def count(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert alice.client.get(path).status_code == 200
        return len(queries)

    paths = ("/gallery/", "/gallery/?q=house&starred=1", "/gallery/ids/", "/gallery/work/")
    picture = drawn(alice, media)
    alice.client.post("/gallery/zip/", {"id": [str(picture)]})
    alice.client.get("/gallery/")  # the message is read
    few = [count(path) for path in paths]
    for _ in range(6):
        drawn(alice, media)
    alice.client.post("/gallery/zip/", {"id": [str(picture)]})
    alice.client.get("/gallery/")
    assert [count(path) for path in paths] == few


def test_a_zip_without_script(alice: Person, bob: Person, mallory: Person, media: Path) -> None:
    ids = [str(drawn(alice, media)), str(drawn(alice, media))]
    assert alice.client.post("/gallery/zip/", {"id": ids})["Location"] == "/gallery/"
    text = messages_of(alice.client)
    assert "The zip is being made" in text and "Zip of 2 pictures" in text
    assert "Zip of 2 pictures" not in messages_of(bob.client)  # it is Alice's
    alice.client.post("/gallery/zip/", {})
    assert "must name 1 to 10000" in messages_of(alice.client)
    assert mallory.client.post("/gallery/zip/", {"id": ids}).status_code == 404
    alice.client.post("/gallery/zip/", {"id": [str(submitted(alice, **SMALL))]})
    assert "none of these generations has a picture" in messages_of(alice.client).lower()
    fragment = alice.client.get("/gallery/work/").content.decode()
    assert "load delay" in fragment  # something is under way: it asks again by itself
    with in_tenant(alice.tenant.pk):
        Selection.objects.update(status="ready", file="x", expires_at=timezone.now() + timedelta(hours=1))
    fragment = alice.client.get("/gallery/work/").content.decode()
    assert "load delay" not in fragment and "/files/zips/" in fragment


def test_deleting_without_script_asks_first(alice: Person, mallory: Person, media: Path) -> None:
    ids = [str(drawn(alice, media)), str(drawn(alice, media))]
    kept = drawn(alice, media)
    asked = alice.client.post("/gallery/delete/", {"id": ids})
    assert asked.status_code == 200 and "Delete 2 requests?" in asked.content.decode()
    assert len(rows(alice)) == 3
    fields = dict.fromkeys(re.findall(r'name="(id|sure)" value="[^"]+"', asked.content.decode()))
    assert set(fields) == {"id", "sure"}
    assert mallory.client.post("/gallery/delete/", {"id": ids, "sure": "1"}).status_code == 404
    assert alice.client.post("/gallery/delete/", {"id": ids, "sure": "1"})["Location"] == "/gallery/"
    assert [row.pk for row in rows(alice)] == [kept]
    assert "Deleted for good." in messages_of(alice.client)
    waiting = submitted(alice, **SMALL)
    alice.client.post("/gallery/delete/", {"id": [str(waiting)], "sure": "1"})
    assert "was left" in messages_of(alice.client)
    viewer = Client()
    viewer.force_login(make_member(alice.tenant, Role.VIEWER, user=make_user("viewer")))
    assert viewer.post("/gallery/delete/", {"id": [str(kept)], "sure": "1"}).status_code == 403
    assert 'data-do="delete"' not in messages_of(viewer) and 'data-do="zip"' in messages_of(viewer)
    assert len(rows(alice)) == 2


def test_two_side_by_side(alice: Person, mallory: Person, media: Path) -> None:
    left, right = drawn(alice, media, prompt="a <b>", seed=1), drawn(alice, media, prompt="another", seed=2)
    answer = alice.client.post("/gallery/compare/", {"id": [str(left), str(right)]})
    assert answer["Location"] == f"/gallery/compare/?left={left}&right={right}"
    text = alice.client.get(answer["Location"]).content.decode()
    assert text.count('<tr class="differs">') >= 2 and "a &lt;b&gt;" in text
    same = alice.client.get(f"/gallery/compare/?left={left}&right={left}&i=9&j=x").content.decode()
    assert 'class="differs"' not in same
    for ids in ([], [str(left)], [str(left)] * 3):
        assert alice.client.post("/gallery/compare/", {"id": ids})["Location"] == "/gallery/"
    assert "Select two pictures" in messages_of(alice.client)
    for one, other in ((left, uuid4()), ("x", right), ("", "")):
        assert alice.client.get(f"/gallery/compare/?left={one}&right={other}").status_code == 404
    assert mallory.client.get(f"/gallery/compare/?left={left}&right={right}").status_code == 404


def test_again_and_vary(alice: Person, mallory: Person, media: Path) -> None:
    first = drawn(alice, media, prompt="a box", seed=7)
    for way in ("again", "vary"):
        assert alice.client.post(f"/gallery/{first}/{way}/")["Location"] == "/studio/"
        assert mallory.client.post(f"/gallery/{first}/{way}/").status_code == 404
    same, other = (row for row in rows(alice) if row.retry_of == first)
    assert (same.seed, same.prompt, other.prompt) == (7, "a box", "a box") and other.seed != 7
    for way in ("again", "vary"):
        assert alice.client.post(f"/gallery/{same.pk}/{way}/")["Location"] == f"/gallery/{same.pk}/"  # it still waits
    assert "has not ended yet" in messages_of(alice.client, f"/gallery/{same.pk}/")
    assert len(rows(alice)) == 3
    page = alice.client.get(f"/gallery/{same.pk}/").content.decode()
    assert f'href="/gallery/{first}/"' in page  # again of the first one
    Plan.objects.update(queue_length=1)
    with in_tenant(alice.tenant.pk):
        Generation.objects.filter(pk=other.pk).update(status="canceled")
    alice.client.post(f"/gallery/{first}/again/")
    assert len(rows(alice)) == 3  # refused by a limit, and said so


def test_the_page_of_a_picture_tells_who_and_until_when(alice: Person, bob: Person, media: Path) -> None:
    generation = drawn(bob, media, metadata={"order": "<7>"})

    def page(person: Person) -> str:
        return person.client.get(f"/gallery/{generation}/").content.decode()

    assert "Kept until" not in page(alice) and "&lt;7&gt;" in page(alice)
    assert bob.user.get_short_name() in re.sub(r"(?s)<header.*?</header>", "", page(alice))
    carol = Client()
    carol.force_login(make_member(alice.tenant, user=make_user("carol")))
    assert "Asked for by" not in carol.get(f"/gallery/{generation}/").content.decode()
    Plan.objects.update(retention_days=30)
    until = f"{rows(alice)[0].created_at + timedelta(days=30):%Y-%m-%d}"
    assert f"<dd>{until}</dd>" in page(bob)
    assert "keeps pictures for 30 days" in messages_of(bob.client)


def test_the_pages_speak_chinese(alice: Person, media: Path) -> None:
    ids = [str(drawn(alice, media)) for _ in range(2)]
    chinese = {"Accept-Language": "zh-hans"}
    text = alice.client.get("/gallery/", headers=chinese).content.decode()
    assert "筛选" in text and "Select all found" not in text
    text = alice.client.get(f"/gallery/compare/?left={ids[0]}&right={ids[1]}", headers=chinese).content.decode()
    assert "对比" in text and "Drawn in" not in text
