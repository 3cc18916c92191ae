"""Styles: who may change them, their order and bounds, and the words that a row gets."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.errors import InvalidField, InvalidRequest, NotAllowed, NotFound
from accounts.models import AuditEvent
from accounts.tenancy import in_tenant
from generation.domain.retry import retry_generation
from generation.domain.styles import (
    MAX_STYLES,
    change_style,
    delete_style,
    get_style,
    list_styles,
    make_style,
)
from generation.enums import Status
from generation.errors import StyleExists, TooManyStyles
from generation.models import Generation, Style
from tests.at_once import at_once
from tests.factories import Person
from tests.generation.domain.desk import submit

WATERCOLOUR = "a watercolour of {prompt}, soft edges"


def made(person: Person, name: str = "Watercolour", prompt: str = WATERCOLOUR, **more: str) -> Style:
    with in_tenant(person.tenant.pk):
        return make_style(by=person.caller, name=name, prompt=prompt, **more)


def names(person: Person) -> list[tuple[str, int]]:
    with in_tenant(person.tenant.pk):
        return [(row.name, row.position) for row in list_styles()]


def drawn(person: Person, **fields: Any) -> Generation:
    generation = submit(person.caller, **fields)
    with in_tenant(person.tenant.pk):
        row: Generation = Generation.objects.get(pk=generation)
    return row


def test_the_row_keeps_the_words_that_are_drawn(alice: Person) -> None:
    made(alice, negative_prompt="photo, text")
    row = drawn(alice, prompt="a {prompt} sign", negative_prompt="people ", style="waterCOLOUR")
    assert row.prompt == "a watercolour of a {prompt} sign, soft edges"
    assert row.negative_prompt == "people, photo, text"
    assert row.params["style"] == "Watercolour"
    assert row.folded == "a watercolour of a {prompt} sign, soft edges"
    alone = drawn(alice, prompt="a cat", style="Watercolour")
    assert alone.negative_prompt == "photo, text"
    assert "style" not in drawn(alice, prompt="a cat").params


def test_again_draws_the_same_words_whatever_became_of_the_style(alice: Person) -> None:
    style = made(alice)
    first = drawn(alice, prompt="a cat", style="Watercolour")
    with in_tenant(alice.tenant.pk):
        Generation.objects.filter(pk=first.pk).update(status=Status.SUCCEEDED)
        change_style(by=alice.caller, style_id=style.pk, prompt="an oil painting of {prompt}")
        again = Generation.objects.get(pk=retry_generation(first.pk, alice.caller).id)
        delete_style(by=alice.caller, style_id=style.pk)
        varied = Generation.objects.get(pk=retry_generation(first.pk, alice.caller, vary=True).id)
    for row in (again, varied):
        assert (row.prompt, row.params["style"]) == (first.prompt, "Watercolour")
    with pytest.raises(InvalidRequest, match="no style named 'Watercolour'"):
        submit(alice.caller, prompt="a cat", style="Watercolour")


def test_words_that_are_too_long_together(alice: Person) -> None:
    made(alice, negative_prompt="text")
    long = "x" * (32768 - 20)
    with pytest.raises(InvalidRequest) as caught:
        submit(alice.caller, prompt=long, negative_prompt="y" * 32768, style="Watercolour")
    assert caught.value.fields.keys() == {"prompt", "negative_prompt"}
    assert "max 32768" in caught.value.message


def test_order_stays_dense(alice: Person) -> None:
    rows = [made(alice, name) for name in "abcd"]
    with in_tenant(alice.tenant.pk):
        change_style(by=alice.caller, style_id=rows[3].pk, position=0)
    assert names(alice) == [("d", 0), ("a", 1), ("b", 2), ("c", 3)]
    with in_tenant(alice.tenant.pk):
        change_style(by=alice.caller, style_id=rows[0].pk, position=99)
        delete_style(by=alice.caller, style_id=rows[1].pk)
    assert names(alice) == [("d", 0), ("c", 1), ("a", 2)]
    made(alice, "e")
    assert names(alice)[-1] == ("e", 3)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": " "}, "name"), ({"name": "x" * 61}, "name"), ({"name": "two\nlines"}, "name"),
        ({"name": "turned\u202e"}, "name"), ({"prompt": "no slot"}, "prompt"),
        ({"prompt": "{prompt} {prompt}"}, "prompt"),
        ({"prompt": "{prompt}" + "x" * 2000}, "prompt"), ({"prompt": "{prompt}\x00"}, "prompt"),
        ({"negative_prompt": "x" * 2001}, "negative_prompt"), ({"negative_prompt": "\ud800"}, "negative_prompt"),
    ],
)  # fmt: skip
def test_bounds(alice: Person, wrong: dict[str, str], field: str) -> None:
    row = made(alice)
    with in_tenant(alice.tenant.pk):
        for call in (
            lambda: make_style(by=alice.caller, **{"name": "b", "prompt": "{prompt}", **wrong}),
            lambda: change_style(by=alice.caller, style_id=row.pk, **wrong),
        ):
            with pytest.raises(InvalidField) as caught:
                call()
            assert caught.value.field == field
    assert names(alice) == [("Watercolour", 0)]


def test_one_of_a_name_and_a_hundred_of_all(alice: Person, mallory: Person) -> None:
    made(alice, "Pencil"), made(alice, "Oil")
    made(mallory, "pencil")  # another tenant's names are its own
    for name in ("PENCIL", " pencil "):
        with pytest.raises(StyleExists):
            made(alice, name)
    with in_tenant(alice.tenant.pk):
        row = Style.objects.get(name="Oil")
        with pytest.raises(StyleExists):
            change_style(by=alice.caller, style_id=row.pk, name="pencil")
        assert change_style(by=alice.caller, style_id=row.pk, name="OIL").name == "OIL"
        for n in range(2, MAX_STYLES):
            Style.objects.create(tenant_id=alice.tenant.pk, name=f"s{n}", prompt="{prompt}", position=n)
    with pytest.raises(TooManyStyles):
        made(alice, "one more")


def test_ten_at_once_stand_in_a_row(alice: Person) -> None:
    at_once([lambda n=n: made(alice, f"s{n}") for n in range(10)])
    assert [position for _, position in names(alice)] == list(range(10))


def test_only_admins_change_them_and_all_is_written_down(alice: Person, bob: Person, mallory: Person) -> None:
    row = made(alice)
    with in_tenant(alice.tenant.pk):
        for call in (
            lambda: make_style(by=bob.caller, name="b", prompt="{prompt}"),
            lambda: change_style(by=bob.caller, style_id=row.pk, name="b"),
            lambda: delete_style(by=bob.caller, style_id=row.pk),
        ):
            with pytest.raises(NotAllowed):
                call()
        change_style(by=alice.caller, style_id=row.pk, name="Ink")
        change_style(by=alice.caller, style_id=row.pk, name="Ink", position=0)  # nothing new
    with in_tenant(mallory.tenant.pk):
        for missing in (
            lambda: get_style(row.pk),
            lambda: change_style(by=mallory.caller, style_id=row.pk, name="mine"),
            lambda: delete_style(by=mallory.caller, style_id=row.pk),
        ):
            with pytest.raises(NotFound):
                missing()
    with pytest.raises(InvalidRequest, match="no style named 'Ink'"):
        submit(mallory.caller, prompt="x", style="Ink")
    with in_tenant(alice.tenant.pk):
        delete_style(by=alice.caller, style_id=row.pk)
        events = AuditEvent.objects.filter(action__startswith="style.").order_by("created_at", "id")
        assert [(one.action, one.detail) for one in events] == [
            ("style.made", {"name": "Watercolour"}),
            ("style.changed", {"name": "Ink"}),
            ("style.deleted", {"name": "Ink"}),
        ]
        assert {one.target for one in events} == {f"style:{row.pk}"}


def test_a_request_without_one_asks_nothing(alice: Person) -> None:
    made(alice)
    with CaptureQueriesContext(connection) as queries:
        submit(alice.caller, prompt="x")
    assert not [query for query in queries if "generation_style" in query["sql"]]
