"""The page of usage and that of a budget: numbers as people read them, and nobody else's."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.domain.amounts import say_amount
from accounts.domain.usagechart import Sums, UsageReport
from accounts.ids import uuid7
from accounts.models import MemberBudget, Tenant
from accounts.tenancy import across_tenants, in_tenant
from accounts.web.chart import draw_chart, nice_top
from tests.accounts.ledgers import day, worked
from tests.factories import Person, make_member, make_person, make_plan


def page(person: Person, query: str = "", **headers: str) -> str:
    answer = person.client.get(f"/usage/{query}", headers=headers)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def test_owner_sees_everybody_member_only_oneself(alice: Person, bob: Person, mallory: Person) -> None:
    worked(alice, images=41, gpu_ms=90_000)
    worked(bob, images=17, gpu_ms=1_500)
    worked(mallory, images=77)
    text = page(alice, "?by=member")
    assert ">41<" in text and ">17<" in text and ">58<" in text and ">77<" not in text
    assert "1.5 min" in text and ">bob<" in text
    own = page(bob, "?by=model")
    assert ">17<" in own and ">41<" not in own and "alice" not in own.replace("alice-", "")
    assert "Member" not in own


def test_chart_is_svg_without_style_or_script(alice: Person) -> None:
    worked(alice, images=4, ago=2)
    text = page(alice)
    svg = re.findall(r"<svg class=\"chart-bars\".*?</svg>", text, re.DOTALL)[0]
    assert 'role="img"' in svg and f"the highest is 4 on {day(2)}" in svg
    assert svg.count("chart-day") == 30 and svg.count("series-1") == 1
    assert "style=" not in text and "<script>" not in text
    assert f"{day(2)}</th><td" in text  # the same in the table


def test_gauges_tell_what_is_left(alice: Person) -> None:
    with across_tenants():
        plan = make_plan(images_per_day=10, storage_bytes=1000)
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=plan, stored_bytes=1000)
        MemberBudget.objects.create(tenant_id=alice.tenant.pk, user=alice.user, limits={"images_per_month": 50})
    text = page(alice)
    assert "0 of 10" in text and "10 left" in text
    assert "Your budget:" in text and "0 of 50" in text
    assert "gauge-full" in text and "1.0 kB of 1.0 kB" in text


def test_file_is_streamed_inside_the_tenant(alice: Person, bob: Person, mallory: Person) -> None:
    worked(alice, images=4)
    worked(bob, images=6)
    worked(mallory, images=99)
    answer = alice.client.get("/usage/csv/?days=7")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == f'attachment; filename="usage-{day(6)}-{day(0)}.csv"'
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert len(lines) == 3 and not any(",99," in line for line in lines)
    own = b"".join(bob.client.get("/usage/csv/").streaming_content).decode().splitlines()
    assert len(own) == 2 and ",6," in own[1]


def test_foreign_filters_are_404_and_nonsense_is_passed_over(alice: Person, bob: Person, mallory: Person) -> None:
    for query in (f"?member={mallory.user.pk}", f"?member={uuid7()}", f"?key={mallory.key.pk}", "?key=x", "?model=%00"):
        for path in ("/usage/", "/usage/csv/"):
            assert alice.client.get(path + query).status_code == 404
    assert bob.client.get(f"/usage/?member={alice.user.pk}").status_code == 404
    assert '<option value="30" selected>' in page(alice, "?days=12345&by=soul&metric=love")


def test_nobody_is_led_to_the_sign_in(db: object) -> None:
    for path in ("/usage/", "/usage/csv/", f"/usage/budgets/{uuid7()}/"):
        assert Client().get(path).status_code == 302


def test_statements_of_the_page_do_not_grow(alice: Person) -> None:
    worked(alice, images=1)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            page(alice, "?by=member")
        return len(queries)

    before = count()
    for number in range(8):
        worked(make_person(alice.tenant, make_member(alice.tenant)), images=1, ago=number, model=f"m{number}")
    assert count() == before


def test_chinese(alice: Person) -> None:
    worked(alice, images=1, gpu_ms=90_000)
    text = page(alice, **{"Accept-Language": "zh-CN"})
    assert "用量" in text and "1.5 分钟" in text


def test_setting_a_budget(alice: Person, bob: Person, mallory: Person) -> None:
    path = f"/usage/budgets/{bob.user.pk}/"
    assert "Budget of bob" in alice.client.get(path).content.decode()
    answer = alice.client.post(path, {"images_per_day": "5", "gpu_seconds_per_month": "90"})
    assert answer.status_code == 302
    with in_tenant(alice.tenant.pk):
        assert MemberBudget.objects.get().limits == {"images_per_day": 5, "gpu_ms_per_month": 90_000}
    assert 'value="90"' in alice.client.get(path).content.decode()
    wrong = alice.client.post(path, {"images_per_day": "-5"})
    assert wrong.status_code == 400
    assert alice.client.post(path, {}).status_code == 302
    with in_tenant(alice.tenant.pk):
        assert not MemberBudget.objects.exists()


def test_who_may_not_set_a_budget(alice: Person, bob: Person, mallory: Person) -> None:
    assert bob.client.get(f"/usage/budgets/{bob.user.pk}/").status_code == 403
    assert bob.client.post(f"/usage/budgets/{bob.user.pk}/", {}).status_code == 403
    for stranger in (mallory.user.pk, uuid7()):
        for answer in (alice.client.get(f"/usage/budgets/{stranger}/"),
                       alice.client.post(f"/usage/budgets/{stranger}/", {"images_per_day": "5"})):  # fmt: skip
            assert answer.status_code == 404
    with in_tenant(mallory.tenant.pk):
        assert not MemberBudget.objects.exists()


@pytest.mark.parametrize(
    ("most", "top"), [(0, 2), (1, 2), (3, 4), (7, 10), (10, 10), (11, 20), (23, 26), (130, 200), (999, 1000)]
)
def test_upper_edge_is_round_and_its_half_is_whole(most: int, top: int) -> None:
    assert nice_top(most) == top
    assert nice_top(most) % 2 == 0


def test_bars_stand_on_each_other() -> None:
    report = UsageReport(days=[day(1), day(0)])
    report.by_day[day(0)] = {0: Sums(images=1), 1: Sums(images=2), 2: Sums(images=-3)}
    chart = draw_chart(report, metric="images")
    assert (chart.top, chart.middle) == (4, 2)
    assert chart.bars == {1: "M570 100h360v100h-360z", 0: "M570 50h360v50h-360z"}


def test_an_empty_chart_has_no_bars() -> None:
    chart = draw_chart(UsageReport(days=[day(1), day(0)]), metric="images")
    assert len(chart.days) == 2 and chart.bars == {} and chart.highest is None


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (1234, "images", "1,234"), (900, "gpu_ms", "0.9 s"), (4000, "gpu_ms", "4 s"), (59_000, "gpu_ms", "59 s"),
        (90_000, "gpu_ms", "1.5 min"), (7_200_000, "gpu_ms", "2 h"), (999, "bytes", "999 bytes"),
        (4_200_000_000, "bytes", "4.2 GB"),
    ],
)  # fmt: skip
def test_amounts_as_people_read_them(value: int, metric: str, text: str) -> None:
    assert say_amount(value, metric) == text
