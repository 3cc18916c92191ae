"""Golden cases and comparisons in the admin: who sees them, what the pages say, how many queries they take."""

from __future__ import annotations

import hashlib
import html
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.domain.media import media_path, write_atomic
from accounts.ids import uuid7
from accounts.models import AuditEvent
from accounts.tenancy import across_tenants
from generation.models import ComparedCase, Comparison, GoldenCase, Lane, Model, Release
from generation.releases.compare.paths import picture_path
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_user
from tests.generation.releases.painter import encode, scene

LIST = "/admin/generation/comparison/"
SUMMARY = {
    "model": "demo", "cases": 2, "new_ms": 1200.0, "old_ms": 500.0, "new_wait_ms": 4.0, "old_wait_ms": 20_500.0,
    "new_errors": {"bad_frame": 1}, "old_errors": {},
    "reasons": [{"code": "slower", "level": "red", "value": 2.4, "limit": 2.0, "new_ms": 1200.0, "old_ms": 500.0}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _model(db: None, media: Path) -> None:
    offer_sleeping_model()


def keep(seed: int) -> str:
    data = encode(scene(seed))
    sha256 = hashlib.sha256(data).hexdigest()
    write_atomic(picture_path(sha256), data)
    return sha256


def make_comparison(*, cases: int = 1, **fields: Any) -> Comparison:
    values = {
        "lane": "green", "release_name": "1.1", "against": "blue", "against_release": "1.0", "verdict": "red",
        "by_model": [SUMMARY], "by": "olga", "finished_at": timezone.now(),
    }  # fmt: skip
    row = Comparison.objects.create(**values | fields)
    reason = {"code": "ssim", "level": "red", "value": 0.5, "limit": 0.975}
    for at in range(cases):
        add_case(row, f"case-{at}", verdict="red", reasons=[reason], ssim=0.5, bits=20, colour=12.0)
    return row


def add_case(row: Comparison, slug: str, **fields: Any) -> ComparedCase:
    values = {
        "comparison": row, "slug": slug, "model": "demo", "prompt": "a <red> circle", "params_sha256": "0" * 64,
        "params": {"width": 64, "height": 64, "steps": 4, "seed": 7, "negative_prompt": ""}, "tolerance": "close",
        "new_sha256": keep(1), "old_sha256": keep(2), "new_run_ms": 1200, "old_run_ms": 500, "new_wait_ms": 4,
    }  # fmt: skip
    return ComparedCase.objects.create(**values | fields)


def add_started_case(row: Comparison) -> ComparedCase:
    """An inpainting that is wrong outside its mask."""
    params = {"width": 64, "height": 64, "steps": 4, "seed": 7, "task": "inpaint", "strength": 0.9,
              "mask": "0.25,0.5,0.75,1", "starts_from": "red"}  # fmt: skip
    reasons = [{"code": "outside", "level": "red", "value": 12}]
    return add_case(row, "bitten", verdict="red", params=params, reasons=reasons, input_sha256=keep(3))


def page_of(row: Comparison) -> str:
    return f"{LIST}{row.pk}/change/"


def helper(*permissions: str) -> Client:
    user = make_user("helper", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_the_report(staff: Client) -> None:
    row = make_comparison()
    add_case(row, "nothing", verdict="red", reasons=[{"code": "failed", "level": "red", "error": "bad_frame"}],
             new_sha256="", new_error="bad_frame", new_run_ms=None)  # fmt: skip
    page = staff.get(page_of(row)).content.decode()
    assert "1.1 in green against blue (1.0)" in page
    assert '<p class="qs-verdict qs-large qs-red">red</p>' in page
    assert "by olga" in page
    for word in ("SSIM is 0.500, under 0.975", "2.4 times as slow, more than 2.0", "1 × NaN or a black frame",
                 "drawn in 1200 ms, waited 4 ms", "64 × 64, 4 steps, seed 7", "SSIM 0.500, hash 20 of 64, colour 12.0",
                 "it failed: NaN or a black frame", "1200 ms a picture against 500 ms"):  # fmt: skip
        assert word in page, word
    assert "a &lt;red&gt; circle" in page
    case = row.cases.get(slug="case-0")
    for sha256 in (case.new_sha256, case.old_sha256):
        assert f'src="{LIST}{row.pk}/pictures/{sha256}/"' in page


def test_the_report_shows_what_a_case_starts_from(staff: Client) -> None:
    row = make_comparison(cases=0)
    case = add_started_case(row)
    page = staff.get(page_of(row)).content.decode()
    address = f"{LIST}{row.pk}/pictures/{case.input_sha256}/"
    assert f'src="{address}"' in page
    assert staff.get(address).status_code == 200
    for word in ("from: red", "inpaint, strength 0.9, mask 0.25,0.5,0.75,1",
                 '<rect x="25" y="50" width="50" height="50"/>',
                 "12 pixels outside the mask are not those of the picture it starts from"):  # fmt: skip
        assert word in page, word
    assert page.index(address) < page.index(f"{LIST}{row.pk}/pictures/{case.new_sha256}/")
    assert "qs-three" not in staff.get(page_of(make_comparison())).content.decode()


def test_the_report_in_chinese(staff: Client) -> None:
    row = make_comparison()
    page = staff.get(page_of(row), headers={"Accept-Language": "zh-hans"}).content.decode()
    assert "SSIM is" not in page
    assert "红" in page


def test_one_that_has_not_ended(staff: Client) -> None:
    row = make_comparison(cases=0, verdict="", finished_at=None, by_model=[], whole=False, skipped=["dune"])
    page = staff.get(page_of(row)).content.decode()
    assert "it has no verdict" in page
    assert "qs-large" not in page
    assert "Only a part of the cases was drawn" in page
    assert "dune" in page


def test_pictures_are_for_those_who_may_see_comparisons(staff: Client, alice: Person) -> None:
    row, other = make_comparison(), make_comparison(cases=0)
    sha256 = row.cases.get().new_sha256
    address = f"{LIST}{row.pk}/pictures/{sha256}/"
    answer = staff.get(address)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/png"
    assert "private" in answer.headers["Cache-Control"]
    assert b"".join(answer.streaming_content) == media_path(picture_path(sha256)).read_bytes()  # type: ignore[attr-defined]
    assert staff.get(address, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304

    assert helper("view_comparison").get(address).status_code == 200
    assert helper("view_lane").get(address).status_code == 403
    assert helper("view_lane").get(page_of(row)).status_code == 403
    assert alice.client.get(address).status_code == 302
    assert Client().get(address).status_code == 302
    assert staff.post(address).status_code == 405

    # Of another comparison, of none, no hash, a file that is gone.
    for wrong in (
        f"{LIST}{other.pk}/pictures/{sha256}/",
        f"{LIST}{uuid7()}/pictures/{sha256}/",
        f"{LIST}{row.pk}/pictures/{'0' * 64}/",
        f"{LIST}{row.pk}/pictures/x/",
    ):
        assert staff.get(wrong).status_code == 404, wrong
    media_path(picture_path(sha256)).unlink()
    assert staff.get(address).status_code == 404


def test_a_comparison_cannot_be_changed(staff: Client) -> None:
    row = make_comparison()
    assert "name=" not in staff.get(page_of(row)).content.decode().split('id="content"')[1].replace('name="csrf', "")
    assert staff.get(f"{LIST}add/").status_code == 403
    assert staff.get(f"{LIST}{row.pk}/delete/").status_code == 403
    assert staff.get(f"{LIST}{row.pk}/history/").status_code == 404
    assert staff.get(f"{LIST}{uuid7()}/change/").status_code == 404


def count_queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(connection) as found:
        assert client.get(address).status_code == 200
    return len(found)


def test_the_queries_are_constant(staff: Client) -> None:
    row = make_comparison(cases=1)
    few = count_queries(staff, page_of(row)), count_queries(staff, LIST)
    for _ in range(15):
        make_comparison(cases=0)
    for at in range(1, 20):
        add_case(row, f"case-{at}", verdict="green", reasons=[])
    assert (count_queries(staff, page_of(row)), count_queries(staff, LIST)) == few


def test_the_list_says_verdicts(staff: Client) -> None:
    make_comparison()
    make_comparison(against="references", verdict="green")
    make_comparison(verdict="", finished_at=None)
    page = staff.get(LIST).content.decode()
    assert '<span class="qs-verdict qs-red">red</span>' in page
    assert "the references (1.0)" in page
    assert page.count("qs-verdict") == 2


def test_the_now_page_leads_to_the_last_comparison_of_what_runs(staff: Client) -> None:
    release = Release.objects.create(name="1.1", lane="green")
    Lane.objects.filter(name="green").update(state="ready", release=release)
    make_comparison(release=release, verdict="red")
    last = make_comparison(release=release, verdict="green")
    make_comparison(release=release, verdict="", finished_at=None)
    before = Release.objects.create(name="1.1", lane="green")
    make_comparison(release=before, verdict="yellow")
    page = staff.get("/admin/now/?part").content.decode()
    assert f'href="{page_of(last)}" class="qs-verdict qs-green"' in page
    assert "compared: green" in page
    assert page.count("qs-verdict") == 1
    assert "qs-verdict" not in helper("view_generation", "view_lane").get("/admin/now/?part").content.decode()


# ---- golden cases


def form(**fields: Any) -> dict[str, Any]:
    names = ("negative_prompt", "width", "height", "steps", "true_cfg_scale", "note", "starts_from", "strength", "mask")
    empty = dict.fromkeys(names, "") | {"task": "text-to-image"}
    return {
        "slug": "red", "model": "demo", "prompt": "a red circle", "seed": "7", "tolerance": "close", "position": "0",
        "enabled": "on", **empty, **fields,
    }  # fmt: skip


def test_a_case_is_added_and_changed_with_an_event(staff: Client) -> None:
    assert staff.post("/admin/generation/goldencase/add/", form()).status_code == 302
    case = GoldenCase.objects.get()
    assert (case.slug, case.seed, case.width, case.enabled) == ("red", 7, None, True)
    change = f"/admin/generation/goldencase/{case.pk}/change/"
    assert staff.post(change, form(seed="8", width="64", height="64")).status_code == 302
    case.refresh_from_db()
    assert (case.seed, case.width) == (8, 64)
    with across_tenants():
        actions = list(AuditEvent.objects.filter(action__startswith="admin.").values_list("action", flat=True))
    assert sorted(actions) == ["admin.goldencase.added", "admin.goldencase.changed"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": "65"}, "must be a multiple of 16"),
        ({"seed": "-1"}, "must be 0 to 9223372036854775807, got -1"),
        ({"steps": "1000"}, "must be 1 to 100, got 1000"),
        ({"prompt": "   "}, "This field is required"),
        ({"slug": "no slug"}, "valid"),
    ],
)
def test_what_no_request_could_ask_for_is_refused(staff: Client, fields: dict[str, str], words: str) -> None:
    answer = staff.post("/admin/generation/goldencase/add/", form(**fields))
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert not GoldenCase.objects.exists()


def test_helpers_may_look_and_not_change(staff: Client) -> None:
    GoldenCase.objects.create(slug="red", model_id="demo", prompt="a red circle")
    client = helper("view_goldencase")
    assert "a red circle" in client.get("/admin/generation/goldencase/").content.decode()
    assert client.post("/admin/generation/goldencase/add/", form(slug="blue")).status_code == 403
    assert GoldenCase.objects.count() == 1


def add_cases() -> dict[str, GoldenCase]:
    """One from text, one that starts from it, and one of another model."""
    entry = Model.objects.get(slug="demo").spec
    Model.objects.create(slug="other", title="Other", pool="demo", spec=entry)
    red = GoldenCase.objects.create(slug="red", model_id="demo", prompt="a red circle")
    more = {"task": "image-to-image", "starts_from": red}
    return {
        "red": red,
        "blue": GoldenCase.objects.create(slug="blue", model_id="demo", prompt="a blue circle", **more),
        "foreign": GoldenCase.objects.create(slug="foreign", model_id="other", prompt="a circle"),
    }


def test_a_case_that_starts_from_another_is_added(staff: Client) -> None:
    red = add_cases()["red"]
    fields = {"slug": "bitten", "task": "inpaint", "starts_from": str(red.pk), "strength": "0.9"}
    assert staff.post("/admin/generation/goldencase/add/", form(**fields, mask="0, 0, .5, 1")).status_code == 302
    case = GoldenCase.objects.get(slug="bitten")
    assert (case.task, case.starts_from_id, case.strength, case.mask) == ("inpaint", red.pk, 0.9, "0, 0, .5, 1")
    assert "inpaint" in staff.get("/admin/generation/goldencase/").content.decode()


@pytest.mark.parametrize(
    ("start", "fields", "words"),
    [
        ("red", {"task": "edit"}, "demo has no edit, its tasks are text-to-image, image-to-image, inpaint"),
        ("red", {"task": "text-to-image"}, "belongs to a case that starts from another one"),
        ("", {"task": "text-to-image", "mask": "0,0,1,.5"}, "belongs to a case that starts from another one"),
        ("", {"task": "text-to-image", "strength": "0.5"}, "belongs to a case that starts from another one"),
        ("", {}, "is required: the case whose picture it starts from"),
        ("blue", {}, "blue starts from a picture itself: a chain may have one step"),
        ("foreign", {}, "foreign is a case of other, it must be one of demo"),
        ("red", {"strength": "0"}, "must be more than 0, up to 1, got 0"),
        ("red", {"strength": "1.5"}, "must be more than 0, up to 1, got 1.5"),
        ("red", {"mask": "0,0,1,.5"}, "belongs to inpaint; leave it empty"),
        ("red", {"width": "64"}, "is that of the picture it starts from; leave it empty"),
        ("red", {"task": "inpaint"}, "must be four numbers from 0 to 1"),
        ("red", {"task": "inpaint", "mask": "0,0,.05,1"}, "right must be left and 0.1 at least, got 0 to 0.05"),
        ("red", {"task": "inpaint", "mask": "0,0,1,1.5"}, "bottom must be 0 to 1, got 1.5"),
        ("red", {"task": "inpaint", "mask": "0,0,1,1"}, "covers the whole picture"),
    ],
)
def test_what_cannot_start_from_a_picture_is_refused(
    staff: Client, start: str, fields: dict[str, str], words: str
) -> None:
    cases = add_cases()
    given = {"slug": "new", "task": "image-to-image", "starts_from": str(cases[start].pk) if start else ""} | fields
    answer = staff.post("/admin/generation/goldencase/add/", form(**given))
    assert answer.status_code == 200
    assert words in html.unescape(answer.content.decode())
    assert GoldenCase.objects.count() == len(cases)


def test_a_case_that_others_start_from_keeps_what_they_need(staff: Client) -> None:
    cases = add_cases()
    red, foreign = cases["red"], cases["foreign"]
    change = f"/admin/generation/goldencase/{red.pk}/change/"
    for fields, words in (
        ({"model": "other"}, "blue start from this case, which must be one of their model"),
        ({"task": "image-to-image", "starts_from": str(red.pk)}, "a case cannot start from its own picture"),
        ({"model": "other", "task": "image-to-image", "starts_from": str(foreign.pk)},
         "other cases start from this one: a chain may have one step"),
    ):  # fmt: skip
        answer = staff.post(change, form(**fields))
        assert answer.status_code == 200
        assert words in html.unescape(answer.content.decode()), words
    red.refresh_from_db()
    assert (red.model_id, red.task) == ("demo", "text-to-image")
    # It is not deleted alone, but with what starts from it.
    address, form_data = "/admin/generation/goldencase/", {"action": "delete_selected", "post": "yes"}
    staff.post(address, {**form_data, "_selected_action": [str(red.pk)]})
    assert GoldenCase.objects.count() == 3
    staff.post(address, {**form_data, "_selected_action": [str(red.pk), str(cases["blue"].pk)]})
    assert list(GoldenCase.objects.values_list("slug", flat=True)) == ["foreign"]


def test_a_case_that_can_no_longer_be_drawn_is_switched_off_in_the_list(staff: Client) -> None:
    cases = add_cases()
    GoldenCase.objects.filter(slug="blue").update(starts_from=None, mask="nonsense")
    data = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": str(cases["blue"].pk),
            "form-0-position": "4", "_save": "Save"}  # fmt: skip
    assert staff.post("/admin/generation/goldencase/", data).status_code == 302
    blue = GoldenCase.objects.get(slug="blue")
    assert (blue.enabled, blue.position) == (False, 4)
